"""Venues → events in Redis."""

import asyncio
from collections.abc import Callable

import msgspec
import structlog

from bot.config import Settings
from bot.roles import report, role, rss_mb
from streams.bus.conflate import Conflator
from streams.bus.connection import Keys, last_time
from streams.bus.publisher import Publisher
from streams.bus.writer import FLUSH_S, Writer
from streams.clock import Clock, ClockSetBack, WallClock
from streams.events import AnyEvent, Ms, clock_set_back
from streams.feed.hub import Hub, VenueAddress, VenueStatus
from streams.venues import VENUES

log = structlog.get_logger()

_MIND_S = 1.0


class StreamsStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the streams role says of itself."""

    seen: Ms
    rss_mb: float
    written: int
    waiting: int
    venues: list[VenueStatus]


async def streams_role(settings: Settings, url: str, clock: Clock | None = None) -> None:
    """Venues → events in Redis. Runs until cancelled, then writes what it has accepted."""
    wall = WallClock()
    clock = clock or wall
    async with role(url, "streams") as (redis, lease):
        wall.not_before(await last_time(redis, Keys().events))
        writer = Writer(redis, Keys().events, settings.keep, settings.max_mb * 1_000_000, lease)
        markets = settings.markets
        publisher = Publisher(writer, Conflator(markets.named), clock)
        hub = Hub(places(settings), markets, publisher.publish, clock)

        def status() -> StreamsStatus:
            return StreamsStatus(
                seen=clock.seen(),
                rss_mb=rss_mb(),
                written=publisher.written,
                waiting=publisher.waiting,
                venues=hub.status(),
            )

        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(publisher.run())
                tasks.create_task(report(redis, "streams", status))
                tasks.create_task(hub.run())
                if clock is wall:
                    tasks.create_task(mind(wall, publisher.publish))
        finally:
            await publisher.flush(FLUSH_S)


async def mind(clock: WallClock, publish: Callable[[AnyEvent], None]) -> None:
    """Says it when ``clock`` is set back. Raises ClockSetBack if that is too far to be made up for:
    sessions, books and polls all count with it, and begin anew."""
    while True:
        for step in clock.steps():
            said = clock_set_back(clock.seen(), step.back)
            log.warning("the clock of this machine was set back", how_far=said.detail)
            if not step.slewed:  # the rules see it by the next Tick, and say so
                raise ClockSetBack(f"the clock of this machine was set back {said.detail}")
            publish(said)
        await asyncio.sleep(_MIND_S)


def places(settings: Settings) -> list[VenueAddress]:
    """The venues of the configuration."""
    return [
        VenueAddress(
            venue=VENUES[venue.name],
            websocket=venue.websocket,
            rest=venue.rest,
            proxies=settings.proxies,
        )
        for venue in settings.venues
    ]
