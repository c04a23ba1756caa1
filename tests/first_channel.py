"""From a wheel to the first message and to a channel, by the clock: ``make first-channel``.

The wheel goes into an environment of its own; all commands run in an empty folder. The Bot API is
our strict local one. What somebody types is there at once: their thinking is not in the times. Pip
must reach a package index, so this is no test; that the steps work is in ``test_package.py`` and
``tests/bot/init``.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bot.fake_telegram import TOKEN
from tests.bot.fake_updates import CHANNEL, FakeUpdates
from tests.wheel import built_wheel

MESSAGE = re.compile(r"[🟡🟠🔴]")


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Says how long it took."""
    began = time.monotonic()
    yield
    print(f"{time.monotonic() - began:6.1f} s  {what}", flush=True)


def first_message(lowtide: Path, folder: Path) -> str:
    """Of the demo, which is ended then."""
    with subprocess.Popen(
        [lowtide, "demo"], cwd=folder, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as demo:  # fmt: skip
        assert demo.stdout is not None
        try:
            return next(line for line in demo.stdout if MESSAGE.search(line)).strip()
        finally:
            demo.send_signal(signal.SIGTERM)
            demo.stdout.read()


async def channel(lowtide: Path, folder: Path) -> str:
    """What ``lowtide init`` posts to the channel."""
    async with FakeUpdates() as telegram:
        process = await asyncio.create_subprocess_exec(
            lowtide, "init", "--api-url", telegram.url, cwd=folder,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await process.communicate(f"{TOKEN}\n{CHANNEL}\nBTC ETH\n".encode())
        if process.returncode or not telegram.sent:
            sys.exit(f"nothing was posted:\n{out.decode()}")
        return telegram.sent[-1].text.splitlines()[0]


def main() -> None:
    """Each step with its time."""
    with tempfile.TemporaryDirectory(prefix="lowtide-first-") as temporary:
        folder = Path(temporary)
        empty = folder / "empty"
        empty.mkdir()
        with timed("a wheel"):
            built = built_wheel(folder)
        began = time.monotonic()
        with timed("installed in an environment of its own"):
            subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
            pip = [folder / "env" / "bin" / "pip", "install", "--quiet", "--only-binary", ":all:"]
            subprocess.run([*pip, built], check=True)
        lowtide = folder / "env" / "bin" / "lowtide"
        with timed("lowtide demo: its first message"):
            message = first_message(lowtide, empty)
        print(f"          {message}")
        with timed("lowtide init: a post in the channel"):
            post = asyncio.run(channel(lowtide, empty))
        print(f"          {post}")
        print(f"{time.monotonic() - began:6.1f} s  from the wheel to the channel")


if __name__ == "__main__":
    main()
