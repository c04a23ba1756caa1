"""The demo: the bundled story, played over real sockets to the same pipeline that runs live."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import msgspec
from redis.asyncio import Redis

from bot.commands import store
from bot.config import Settings, VenueSettings
from bot.config.chats import ChatSettings
from bot.delivery.post import Policy
from bot.delivery.rendering import with_present
from bot.delivery.sinks import Receipt, Sinks
from bot.delivery.sinks.console import Console
from bot.demo.playback import Playback
from bot.destination import ConsoleOutput, Destination
from bot.lang import LANGUAGES
from bot.messages.render import Message
from bot.messages.thread import delivery_message
from bot.plan import planner
from bot.roles.bot import bot_role
from bot.roles.rules import rules_role
from bot.roles.run import redis_url, start_all, stop_all
from bot.roles.streams import streams_role
from rules.alerts import Level
from streams.bus.connection import Keys, connect
from streams.clock import WallClock
from streams.durations import DAY
from streams.events import Ms

STORY = Path(__file__).parent / "crash.jsonl.gz"
MARKETS = ("BTC", "ETH"), ("SOL", "HYPE", "DOGE")
"""Majors and large assets of the story; the rest (PEPE) is its tail."""

_AFTER_SPEED = 600
"""How fast time goes on after the story, for what still waits to be told."""

_PUNCTUAL = Policy(late=DAY, expires=dict.fromkeys(Level, DAY))
"""A second of ours is many minutes of the story: nobody is late for that."""

_STANDING_EVERY_S = 1.0
"""What the rules see changes fast here."""

_QUIET_S = 0.7
_START_LIMIT_S = 15.0
_DRAIN_LIMIT_S = 10.0


class StoryClock(WallClock):
    """The time of the story for events, real time for sockets."""

    def __init__(self, playback: Playback) -> None:
        super().__init__()
        self._playback = playback

    def seen(self) -> Ms:
        """See streams.clock.Clock."""
        return self._playback.now()

    async def sleep(self, seconds: float) -> None:
        """See streams.clock.Clock."""
        await self._playback.sleep(seconds)


class TellingClock(StoryClock):
    """The time of the story, which goes on after its end, so that nothing waits for ever."""

    def __init__(self, playback: Playback) -> None:
        super().__init__(playback)
        self._finished = playback.finished
        self._ended: float | None = None

    def seen(self) -> Ms:
        """See streams.clock.Clock."""
        if not self._finished.is_set():
            return super().seen()
        self._ended = self._ended or time.monotonic()
        return super().seen() + round((time.monotonic() - self._ended) * 1000 * _AFTER_SPEED)


class DemoConsole(Console):
    """The terminal, until nobody reads there any more, as after ``lowtide demo | head``."""

    def __init__(self) -> None:
        super().__init__()
        self.left = asyncio.Event()
        """Set when nobody reads any more."""

    async def send(
        self,
        to: Destination,
        message: Message,
        *,
        key: str = "",
        reply_to: int | None = None,
        markup: bool = True,
    ) -> Receipt:
        try:
            return await super().send(to, message, key=key, reply_to=reply_to, markup=markup)
        except BrokenPipeError:
            self.left.set()
            return Receipt()


Aside = Callable[[Settings, str], Coroutine[None, None, None]]
"""What runs beside the demo, given its settings and the address of its Redis."""


async def play(
    settings: Settings, speed: float | None, story: Path = STORY, aside: Aside | None = None
) -> None:
    """Play ``story`` through the whole of Lowtide; messages go to the terminal.

    Raises BrokenPipeError as soon as nobody reads there any more.
    """
    with TemporaryDirectory(prefix="lowtide-demo-") as folder:
        async with Playback(story, speed=speed) as playback:
            mine = _settings(settings, playback, Path(folder))
            async with redis_url(mine) as url:
                await _play(mine, url, playback, aside)


def _settings(settings: Settings, playback: Playback, folder: Path) -> Settings:
    venues = tuple(
        VenueSettings(name=name, websocket=websocket, rest=rest)
        for name in ("binance", "bybit", "hyperliquid")
        for websocket, rest in (playback.urls(name),)
    )
    majors, large = MARKETS
    return msgspec.structs.replace(
        settings, venues=venues, majors=majors, large=large, tail=1, redis_url=None,
        data_dir=folder, token=None, chats=(ChatSettings(language=settings.language),),
    )  # fmt: skip


async def _play(
    settings: Settings, url: str, playback: Playback, aside: Aside | None = None
) -> None:
    clock, telling, console = StoryClock(playback), TellingClock(playback), DemoConsole()
    tasks = start_all(
        {
            "streams": lambda: streams_role(settings, url, clock),
            "rules": lambda: rules_role(settings, url, _STANDING_EVERY_S),
            "bot": lambda: bot_role(
                settings, url, lambda: Sinks(console), telling, policy=_PUNCTUAL
            ),
        }
    )
    watching = None if aside is None else asyncio.create_task(aside(settings, url))
    redis = connect(url, "demo")
    try:
        await _all_subscribed(playback)
        playback.start()
        ends = [asyncio.create_task(event.wait()) for event in (playback.finished, console.left)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in ends:
            task.cancel()
        if not console.left.is_set():
            await _drained(redis)
            await _tell_open(redis, console, settings.language)
        if console.left.is_set():
            raise BrokenPipeError
    finally:
        await redis.aclose()
        if watching is not None:
            watching.cancel()
            await asyncio.wait([watching])
        await stop_all(tasks)


async def _tell_open(redis: Redis, console: DemoConsole, language: str) -> None:
    """What is not over when the story ends, as it is then: the terminal has no edits."""
    seen = await store.open_episodes(redis)
    present = {alert.episode: alert for alert in seen.episodes} if seen is not None else {}
    kept = cast("dict[bytes, bytes]", await redis.hgetall(Keys().outbox))  # pyright: ignore[reportGeneralTypeIssues]  # it is awaitable
    plans = [planner.load(data) for name, data in kept.items() if name.startswith(b"plan ")]
    events = [event for plan in plans for event in planner.going_on(plan)]
    if events:
        print("Still going on when the story ends:\n", flush=True)  # noqa: T201
    for event in with_present(events, present):
        if isinstance(event, planner.Delivery):
            message = delivery_message(event, LANGUAGES[language])
            await console.send(ConsoleOutput(), message)


async def _all_subscribed(playback: Playback) -> None:
    """Return once the pipeline has connected and subscribed to all it wants."""
    topics, since = 0, time.monotonic()
    began = since
    while time.monotonic() - began < _START_LIMIT_S:
        await asyncio.sleep(0.05)
        if playback.topics != topics:
            topics, since = playback.topics, time.monotonic()
        elif topics and time.monotonic() - since > _QUIET_S:
            return


async def _drained(redis: Redis) -> None:
    """Return once every event has been judged and every alert told."""
    keys = Keys()
    for _ in range(int(_DRAIN_LIMIT_S / 0.1)):
        await asyncio.sleep(0.1)
        ends = [await redis.xrevrange(key, count=1) for key in (keys.events, keys.alerts)]
        marks = [await redis.get(keys.bookmark(role)) for role in ("rules", "bot")]
        last = [end[0][0] if end else None for end in ends]
        if last == [marks[0], marks[1]] and last[0] is not None:
            return
