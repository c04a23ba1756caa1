"""Venues → events in Redis."""

import asyncio

import msgspec

from bot.config import Settings
from bot.roles import FLUSH_S, report, role, rss_mb
from streams.bus import Keys
from streams.clock import Clock, WallClock
from streams.conflate import Conflator
from streams.events import Ms
from streams.hub import Hub, Place, VenueStatus
from streams.publisher import Publisher
from streams.venues import VENUES
from streams.writer import Writer


class StreamsStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the streams role says of itself."""

    seen: Ms
    rss_mb: float
    written: int
    waiting: int
    venues: list[VenueStatus]


async def streams_role(settings: Settings, url: str, clock: Clock | None = None) -> None:
    """Venues → events in Redis. Runs until cancelled, then writes what it has accepted."""
    clock = clock or WallClock()
    async with role(url, "streams") as redis:
        writer = Writer(redis, Keys().events, settings.keep, settings.max_mb * 1_000_000)
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
        finally:
            await publisher.flush(FLUSH_S)


def places(settings: Settings) -> list[Place]:
    """The venues of the configuration."""
    return [
        Place(venue=VENUES[venue.name], websocket=venue.websocket, rest=venue.rest)
        for venue in settings.venues
    ]
