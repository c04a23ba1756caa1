"""Venues → events in Redis."""

import asyncio
from collections.abc import Mapping
from functools import partial

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from bot.config import Settings
from bot.roles import report, role, rss_mb
from streams.bus import clock_mark
from streams.bus.conflate import Conflator
from streams.bus.connection import ANSWER_S, Keys
from streams.bus.liquidations import written_liquidations
from streams.bus.publisher import Publisher
from streams.bus.skew import ClockError
from streams.bus.writer import FLUSH_S, Writer
from streams.clock import Clock, WallClock
from streams.events import Ms
from streams.feed.hub import Hub, VenueAddress
from streams.feed.liquidations import KEPT_MS
from streams.feed.sources import SourceAddress, SourceClient, SourceStatus
from streams.feed.status import VenueStatus
from streams.sources import SOURCES
from streams.sources.series import OwnSeriesSource
from streams.venues import VENUES


class StreamsStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the streams role says of itself."""

    seen: Ms
    rss_mb: float
    written: int
    waiting: int
    venues: list[VenueStatus]
    sources: list[SourceStatus] = []
    clock: ClockError | None = None
    """That this machine's clock is wrong; None: it is not known to be."""


async def streams_role(settings: Settings, url: str, clock: Clock | None = None) -> None:
    """Venues → events in Redis. Runs until cancelled, then writes what it has accepted."""
    wall = WallClock()
    clock = clock or wall
    async with role(url, "streams") as (redis, lease):
        writer = Writer(redis, Keys().events, settings.keep, settings.max_mb * 1_000_000, lease)
        markets = settings.markets
        publisher = Publisher(writer, Conflator(markets.named), clock)
        if clock is wall:
            wall.on_step(publisher.step)
            await clock_mark.resume_clock(redis, Keys(), wall, publisher)
        # a story that is played has no past beside it
        known = partial(_remembered, redis) if clock is wall else None
        hub = Hub(places(settings), markets, publisher.publish, clock, known)
        sources = [
            SourceClient(place, publisher.publish, clock)
            for place in (context_sources(settings) if clock is wall else ())
        ]
        hub.resume(await written_liquidations(redis, Keys(), hub.repeating, KEPT_MS))

        def status() -> StreamsStatus:
            return StreamsStatus(
                seen=clock.seen(),
                rss_mb=rss_mb(),
                written=publisher.written,
                waiting=publisher.waiting,
                venues=hub.status(),
                sources=[source.status() for source in sources],
                clock=publisher.clock_error,
            )

        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(publisher.run())
                tasks.create_task(report(redis, "streams", status))
                tasks.create_task(hub.run())
                for source in sources:
                    tasks.create_task(source.run())
                if clock is wall:
                    tasks.create_task(clock_mark.keep_mark(redis, Keys(), wall, publisher))
        finally:
            await publisher.flush(FLUSH_S)


async def _remembered(redis: Redis) -> Mapping[str, Ms]:
    """What the rules remember of histories; nothing where they say nothing that can be read."""
    try:
        async with asyncio.timeout(ANSWER_S):
            saved = await redis.get(Keys().remembered)
        return _remembered_decoder.decode(saved) if isinstance(saved, bytes) else {}
    except (RedisError, OSError, TimeoutError, msgspec.MsgspecError):
        return {}


_remembered_decoder = msgspec.msgpack.Decoder(dict[str, Ms])


def places(settings: Settings) -> list[VenueAddress]:
    """The venues of the configuration."""
    return [
        VenueAddress(
            venue=VENUES[venue.name],
            websocket=venue.websocket,
            rest=venue.rest,
            leave_out=venue.leave_out,
            proxies=settings.proxies,
        )
        for venue in settings.venues
    ]


def context_sources(settings: Settings) -> list[SourceAddress]:
    """The context sources of the configuration, the operator's own series among them."""
    shipped = [
        SourceAddress(
            source=SOURCES[name], rest=settings.source_urls.get(name), proxies=settings.proxies
        )
        for name in settings.sources
    ]
    own = [
        SourceAddress(
            source=OwnSeriesSource(
                series.name,
                series.unit,
                url=series.url,
                column=series.column,
                every_s=series.every / 1000,
            ),
            file=series.file,
            proxies=settings.proxies,
        )
        for series in settings.series
    ]
    return shipped + own
