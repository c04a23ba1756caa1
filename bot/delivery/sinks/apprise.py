"""Messages through the command ``apprise``, which knows a hundred services by their address.

It is a program of its own, if it is installed, and no package of ours: one process for each post,
with the address in its environment, where other users of the machine cannot see it, and the text on
its input. What it prints may hold parts of the address, so nothing of it is shown.

What its exit codes mean: https://github.com/caronc/apprise, ``AppriseResultStatus``; tried with
1.2.0 and 2.3.0.
"""

import asyncio
import contextlib
import errno
import io
import os
import re
import shutil
import signal
from collections.abc import Mapping, Sequence
from typing import NoReturn

from bot.delivery.pace import Limits
from bot.delivery.sinks import (
    ChatInfo,
    OneWay,
    OutcomeUnknown,
    Receipt,
    RefusalScope,
    Refused,
    RetryLater,
)
from bot.delivery.sinks.messenger import configured
from bot.delivery.sinks.services import AppriseCall, apprise_call
from bot.destination import Destination, Service, destination_key
from bot.messages.render import Message
from streams.proxies import NO_PROXIES, Proxies

COMMAND = "apprise"

_PAUSE_S = 30.0
"""After a service has asked to send less: the command does not say for how long."""

_SHORT_PAUSE_S = 10.0
"""After the machine had no process to give."""

_MOST_BYTES = 65_536
"""So much of what it prints is read; one that prints more is not waited for any longer than one
that hangs."""

_LAST_WORDS_S = 0.5
"""So long its output may stay open after its end, because a process that it has begun holds it."""

_TAKEN, _FAILED, _MISUSED, _NOBODY, _PARTLY, _SLOW = 0, 1, 2, 3, 4, 5

_STATUS = re.compile(r"\berror=(\d{3})\b")
_LESS = re.compile(r"\berror=429\b|too many requests", re.IGNORECASE)
_NO_ADDRESS = re.compile(
    r"^You must specify at least one service|- ERROR - Un(?:pars|load|support)\w+ ",
    re.M,
)
_SENT = re.compile(r" - INFO - Sent ")
"""Of one of several receivers that an address may name."""

_UNREACHED = "A Connection error occur"

_KEPT = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|XDG_\w+|DBUS_SESSION_BUS_ADDRESS"
    r"|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
)
"""What of our environment it gets: not our secrets."""


class Apprise(OneWay):
    """Posts to addresses by name, one process at a time for each. ``timeout``: seconds for one."""

    def __init__(
        self,
        addresses: Mapping[str, str],
        timeout: float = 20.0,
        proxies: Proxies = NO_PROXIES,
    ) -> None:
        self._timeout = timeout
        self._proxies = proxies
        self._accounts = {name: (address, asyncio.Lock()) for name, address in addresses.items()}
        self.limits = Limits(per_minute=20)

    async def check(self, to: Destination) -> ChatInfo:
        configured(self._accounts, Service.APPRISE, to)
        _program(to)
        return ChatInfo(title=destination_key(to))

    async def send(
        self,
        to: Destination,
        message: Message,
        *,
        key: str = "",
        reply_to: int | None = None,
        markup: bool = True,
    ) -> Receipt:
        address, turn = configured(self._accounts, Service.APPRISE, to)
        async with turn:
            code, output = await self._run(to, address, apprise_call(message))
        judge_end(code, output, destination_key(to))
        return Receipt()

    async def close(self) -> None:
        """No process outlives its post."""

    async def _run(self, to: Destination, address: str, call: AppriseCall) -> tuple[int, str]:
        """The exit code and what was printed. Raises SendError where there is no code."""
        name = destination_key(to)
        command = [
            _program(to), "-vv", "--input-format=text", f"--notification-type={call.kind}",
            f"--title={call.title}",
        ]  # fmt: skip
        try:
            end = await _ended(
                command, call.body.encode(), self._environment(address), self._timeout
            )
        except OSError as error:
            _not_started(name, error)
        if end is None:
            raise OutcomeUnknown(f"{name}: apprise takes longer than {self._timeout:g} s")
        return end

    def _environment(self, address: str) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
        proxies = {"HTTPS_PROXY": self._proxies.secure, "HTTP_PROXY": self._proxies.plain}
        env |= {variable: proxy for variable, proxy in proxies.items() if proxy}
        here = ("localhost", "127.0.0.1", "::1")  # reached without one by everything of ours
        # a body is UTF-8 whatever the locale says
        return env | {
            "NO_PROXY": ",".join((*self._proxies.bypass, *here)),
            "APPRISE_URLS": address,
            "PYTHONUTF8": "1",
        }


def judge_end(code: int, output: str, name: str) -> None:
    """Raises unless the exit ``code`` says that the message was taken. ``output``: what it printed
    with ``-vv``; ``name``: what the messenger is called."""
    if code == _TAKEN:
        return
    if code == _MISUSED:
        text = f"{name}: apprise does not know how Lowtide calls it: install a newer one"
        raise Refused(text, RefusalScope.CHAT)
    if code == _NOBODY or (code == _FAILED and _NO_ADDRESS.search(output)):
        raise Refused(f"{name} has no usable address", RefusalScope.CHAT)
    if code == _PARTLY or (code == _FAILED and _SENT.search(output)):
        text = f"{name}: apprise reaches some of its receivers and not all"
        raise OutcomeUnknown(text, answered=True)
    statuses = [int(status) for status in _STATUS.findall(output)]
    doubtful = [status for status in statuses if status >= 500 or status == 408]
    if code != _FAILED or doubtful or _UNREACHED in output:
        if doubtful:
            raise OutcomeUnknown(f"{name} answers {doubtful[0]}")
        if code in (_FAILED, _SLOW):
            raise OutcomeUnknown(f"{name} gives no answer: the connection broke")
        raise OutcomeUnknown(f"{name}: apprise ends with {code}", answered=True)
    if _LESS.search(output):
        raise RetryLater(_PAUSE_S, f"{name} asks to send less", flood=True)
    if not statuses:
        raise OutcomeUnknown(f"{name}: apprise ends with {code}", answered=True)
    closed = [status for status in statuses if status in (401, 403, 404, 410) or status < 400]
    if closed:
        text = f"{name} answers {closed[0]}: check its address and token"
        raise Refused(text, RefusalScope.CHAT)
    raise Refused(f"{name} refuses the message with {statuses[0]}", RefusalScope.MESSAGE)


def command_missing(name: str) -> str:
    """A sentence if the command that ``name`` needs is not there; "": it is."""
    return "" if shutil.which(COMMAND) else _missing(name)


def _missing(name: str) -> str:
    return (
        f"{name}: the command apprise is not on PATH: install it, such as by pipx install apprise"
    )


def _program(to: Destination) -> str:
    if program := shutil.which(COMMAND):
        return program
    raise Refused(_missing(destination_key(to)), RefusalScope.CHAT)


def _not_started(name: str, error: OSError) -> NoReturn:
    """Nothing was sent. What is broken is no use to try again soon; what is short may come back."""
    if error.errno in (errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR):
        text = f"{name}: the command apprise cannot be started: install it again"
        raise Refused(text, RefusalScope.CHAT) from None
    text = f"{name}: the command apprise cannot be started: {os.strerror(error.errno or 0)}"
    raise RetryLater(_SHORT_PAUSE_S, text) from None


async def _ended(
    command: Sequence[str], body: bytes, env: Mapping[str, str], limit_s: float
) -> tuple[int, str] | None:
    """The exit code of ``command`` and the beginning of what it prints; None if it takes longer
    than ``limit_s``: it is killed then, and with it what it has begun. Raises OSError: there is no
    process.

    The pipes are ours and not those of the process, which asyncio would else not call over for as
    long as something that it has begun holds them.
    """
    output, output_end = os.pipe()
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(output, "rb", 0)
    )
    printed = bytearray()
    reading = asyncio.create_task(_read(reader, printed))
    try:
        with os.fdopen(output_end, "wb", 0) as to_us, _pipe_with(body) as from_us:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=from_us, stdout=to_us, stderr=to_us, env=env,
                start_new_session=True,
            )  # fmt: skip
        try:
            async with asyncio.timeout(limit_s):
                code = await process.wait()
        except TimeoutError:
            return None
        finally:
            await _kill(process)
        await asyncio.wait([reading], timeout=_LAST_WORDS_S)
        return code, printed.decode("utf-8", "replace")
    finally:
        reading.cancel()
        transport.close()


def _pipe_with(body: bytes) -> io.FileIO:
    """A pipe's end from which ``body`` is read, all of which is in it already. Raises OSError: it
    does not fit."""
    end, ours = os.pipe()
    reader = io.FileIO(end, "rb")
    try:
        os.set_blocking(ours, False)
        if os.write(ours, body) < len(body):
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
    except OSError:
        reader.close()
        raise
    finally:
        os.close(ours)
    return reader


async def _read(reader: asyncio.StreamReader, printed: bytearray) -> None:
    """The rest of what is more than enough stays in the pipe, which stops whoever writes on."""
    while len(printed) < _MOST_BYTES and (chunk := await reader.read(_MOST_BYTES)):
        printed += chunk


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Unless it is over."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
