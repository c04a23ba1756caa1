"""A Chromium without a screen, told what to do by the DevTools protocol.

https://chromedevtools.github.io/devtools-protocol/
"""

import asyncio
import base64
import contextlib
import itertools
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import websockets

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt install it")


class Browser:
    """One tab, and what it asked for and complained of."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.session = ""
        self.requests: list[str] = []
        """The URLs of all requests."""
        self.complaints: list[str] = []
        """Errors and warnings in the console, and uncaught exceptions."""

    async def listen(self) -> None:
        """Take what the browser says, until it is closed."""
        async for frame in self._socket:
            message: dict[str, Any] = msgspec.json.decode(frame)
            if (answer := self._answers.pop(message.get("id", 0), None)) is not None:
                answer.set_result(message)
            else:
                self._heard(message.get("method", ""), message.get("params", {}))

    def _heard(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.complaints.append(str(params["entry"]))
            case "Runtime.exceptionThrown":
                self.complaints.append(str(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.complaints.append(str(params["args"]))
            case _:
                pass

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol; its result."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        await self._socket.send(msgspec.json.encode(message).decode())
        reply = await asyncio.wait_for(answer, 20)
        assert "error" not in reply, reply
        return reply["result"]

    async def open(self, url: str) -> None:
        """Go there in the one tab."""
        if not self.session:
            target = await self.call("Target.createTarget", url="about:blank")
            session = await self.call(
                "Target.attachToTarget", targetId=target["targetId"], flatten=True
            )
            self.session = session["sessionId"]
            for domain in ("Page", "Network", "Log", "Runtime"):
                await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=url)

    async def look(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """From now on the window is so wide, and its owner likes it dark."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def says(self, script: str) -> Any:
        """What a piece of JavaScript comes to in the page."""
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True)
        return answer["result"].get("value")

    async def until(self, script: str, true: Callable[[Any], object], seconds: float = 20) -> Any:
        """What ``script`` comes to, once it is as ``true`` wants it."""
        value: Any = None
        try:
            async with asyncio.timeout(seconds):
                while not true(value := await self.says(script)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{script} stays {value!r}; {self.complaints}") from None
        return value

    async def picture(self, path: Path) -> None:
        """Take a picture of the whole page."""
        shot = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextlib.asynccontextmanager
async def browser() -> AsyncGenerator[Browser]:
    """A browser with a profile of its own, which is ended afterwards."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--no-proxy-server", "--disable-background-networking", "--disable-component-update",
            "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with contextlib.AsyncExitStack() as stack:
                url = await asyncio.wait_for(_devtools(process), 30)
                connecting = websockets.connect(url, max_size=None, proxy=None)
                tab = Browser(await stack.enter_async_context(connecting))
                listening = asyncio.create_task(tab.listen())
                stack.callback(listening.cancel)
                yield tab
                tab.session = ""
                with contextlib.suppress(TimeoutError, websockets.ConnectionClosed):
                    await tab.call("Browser.close")
        finally:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 5)
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _devtools(process: asyncio.subprocess.Process) -> str:
    """Where the browser listens."""
    assert process.stderr is not None
    while line := await process.stderr.readline():
        if b"DevTools listening on " in line:
            return line.decode().split()[-1]
    print("chromium ended", file=sys.stderr)
    raise AssertionError("chromium did not start")
