"""Seams: Lowtide as an operator runs it, from a ``config.toml`` to local servers at its ends.

``System`` writes the configuration, starts the real roles as processes (``python -m bot run``, or
one role each) with their own Valkey, and has a server at every end: ``venue`` speaks Bybit's
protocol, ``telegram`` is the Bot API (messages out, commands in, edits), ``webhook`` receives HTTP,
``console`` is what the processes print. A test says what happens at one end and looks at the other;
but for the playback of recorded frames, no test here imports a name from ``bot``, ``rules`` or
``streams``.

    async with System(tmp_path, '[channel]\\nchat_id = -1001\\n') as system:
        await system.start()                          # or: start("streams", "rules", "bot")
        await system.liquidate("BTCUSDT", 6e6)        # at the venue: a long of 6 million USD
        await system.until(lambda: system.telegram.sent)
        system.telegram.say("/status", user=11)       # a person writes to the bot

The text given is what the test is about; markets, the venue's addresses and one rule (``liq``,
critical from 5 million USD of liquidations in ten minutes) are added by ``COMMON``. ``common``
replaces it, for other venues or rules. ``env`` adds variables of the environment, None takes one
away (``TELEGRAM_BOT_TOKEN`` is set unless taken away); processes that are started later get what
``system.environ`` is then. ``host``: the name under which the
configuration knows the servers' machine. ``system.log`` is what all processes logged.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from redis.asyncio import Redis

from tests.bot.fake_telegram import TOKEN
from tests.bot.fake_updates import FakeUpdates
from tests.bot.receiver import Receiver
from tests.seams.bybit import FakeBybit

ROOT = Path(__file__).parents[2]
ENDED = (0, -signal.SIGTERM)
"""Exit codes after SIGTERM; the second of a process that was not up yet."""

_ENDS = """
[telegram]
api_url = "{{telegram}}"
[markets]
venues = ["bybit"]
majors = ["BTC", "ETH"]
large  = [{large}]
tail   = "none"
[venues.bybit]
websocket = "{{websocket}}"
rest = "{{rest}}"
[redis]
{redis}data_dir = "data"
"""

_SHORT = """
[defaults]
cooldown  = "1s"
clear_for = "{clear_for}"
repost_if = 1.2
group_wait = {{{{ watch = "1s", alert = "1s" }}}}
[rules.liq]
metric = "liq_{window}_musd"
fires  = "above"
majors = {{{{ watch = 0.1, alert = 1, critical = 5, clear = 0.05 }}}}
large  = {{{{ watch = 0.1, alert = 1, critical = 5, clear = 0.05 }}}}
"""


def ends(large: Sequence[str] = ("SOL",), redis_url: str = "") -> str:
    """What a configuration says of the servers at its ends, for ``System``. ``redis_url``: of a
    server that is there already."""
    named = ", ".join(f'"{coin}"' for coin in large)
    return _ENDS.format(large=named, redis=f'url = "{redis_url}"\n' if redis_url else "")


def short(window: str = "10m", clear_for: str = "1s") -> str:
    """One rule, whose episodes begin, get worse and end all the time."""
    return _SHORT.format(window=window, clear_for=clear_for)


COMMON = ends() + short()


class System:
    """An async context manager: the servers, and the processes that were started."""

    def __init__(
        self,
        folder: Path,
        config: str,
        *,
        common: str = COMMON,
        env: Mapping[str, str | None] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self._host = host
        self.folder = folder
        self.telegram = FakeUpdates()
        self.webhook = Receiver()
        self.venue = FakeBybit()
        self._config = config
        self._common = common
        self.environ: dict[str, str | None] = dict(env or {})
        self._servers = contextlib.AsyncExitStack()
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def __aenter__(self) -> "System":
        for server in (self.telegram, self.webhook, self.venue):
            await self._servers.enter_async_context(server)
        self.write(self._config)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self.stop()
        finally:
            await self._servers.aclose()
            if error is not None:
                print(self.log)

    def write(self, config: str) -> None:
        """Put ``config`` and the common part into ``config.toml``. ``{webhook}`` in it is the
        address of the receiver."""
        common = self._common.format(
            telegram=self.telegram.url, websocket=self.venue.websocket, rest=self.venue.rest
        )
        if "[context]" not in config:
            common += "[context]\nsources = []\n"
        text = (config.replace("{webhook}", self.webhook.url) + common).replace(
            "//127.0.0.1:", f"//{self._host}:"
        )
        (self.folder / "config.toml").write_text(text, encoding="utf-8")

    @property
    def console(self) -> str:
        """What the processes have printed, with spaces for those at which no line breaks."""
        return self._read("console").replace("\u00a0", " ")

    @property
    def log(self) -> str:
        """What the processes have logged."""
        return self._read("log")

    async def stored(self) -> str:
        """Everything that is in the system's own Valkey, in one text."""
        redis = Redis(unix_socket_path=str(self.folder / "data" / "redis.sock"))
        entries: list[object] = []
        async for key in redis.scan_iter():
            match await redis.type(key):
                case b"hash":
                    entries.append((key, await redis.hgetall(key)))
                case b"stream":
                    entries.append((key, await redis.xrange(key)))
                case b"string":
                    entries.append((key, await redis.get(key)))
                case kind:
                    raise AssertionError(f"{key} is a {kind}, which is not read here yet")
        await redis.aclose()
        return "\n".join(map(str, entries))

    async def start(self, *commands: str, heard: Callable[[], object] | None = None) -> None:
        """Start ``lowtide run``, or a process for each of these commands. Returns once the venue
        has been subscribed to, if the streams role is among them; ``heard`` says when that is."""
        for command in commands or ("run",):
            self._running[command] = await self._process(command, "console", "log")
        if not commands or "streams" in commands:
            await self.until(heard or (lambda: self.venue.subscribers("allLiquidation.")))

    async def spawn(self, command: str) -> asyncio.subprocess.Process:
        """Start one more process, which is the caller's to end."""
        return await self._process(command, "console", "log")

    async def command(self, *arguments: str) -> tuple[int, str]:
        """Run one command to its end: its exit code, and what it printed and logged."""
        process = await self._process(arguments[0], "output", "output", *arguments[1:])
        code = await asyncio.wait_for(process.wait(), 30)
        text = self._read("output")
        (self.folder / "output").unlink()
        return code, text

    async def kill(self, command: str) -> None:
        """End a process without a chance to say goodbye."""
        process = self._running.pop(command)
        process.kill()
        await process.wait()

    async def stop(self) -> None:
        """SIGTERM to all, and wait until they have ended."""
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        ended = [await process.wait() for process in self._running.values()]
        self._running.clear()
        assert all(code in ENDED for code in ended), self.log

    async def liquidate(self, symbol: str, usd: float, *, long: bool = True) -> None:
        """At the venue a position of this size is liquidated."""
        await self.venue.liquidate(symbol, usd, long=long)

    async def until(self, reached: Callable[[], object], seconds: float = 20) -> None:
        """Return once ``reached`` says so."""
        async with asyncio.timeout(seconds):
            while not reached():
                await asyncio.sleep(0.02)

    async def _process(
        self, command: str, out: str, err: str, *arguments: str
    ) -> asyncio.subprocess.Process:
        env = {**os.environ, "TELEGRAM_BOT_TOKEN": TOKEN, **self.environ}
        env.pop("REDIS_URL", None)
        kept = {name: value for name, value in env.items() if value is not None}
        config = str(self.folder / "config.toml")
        with (self.folder / out).open("ab") as stdout, (self.folder / err).open("ab") as stderr:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bot", command, *arguments, "--config", config,
                cwd=ROOT, env=kept, stdout=stdout, stderr=stderr,
            )  # fmt: skip

    def _read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text(encoding="utf-8") if path.exists() else ""
