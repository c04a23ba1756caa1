"""What released versions saved, as fixtures: ``python -m tests.released FOLDER`` writes them anew.

Run by the version whose format is to be kept, from its root, with this file put beside its tests.
The names say the version of the format: ``engine-2.bin`` is ``rules.state.VERSION`` 2, and
``metrics-2.bin`` a metric log of the same version of Lowtide. A fixture is never written anew by
later code: what it shows is that later code can read it.
"""

import asyncio
import sys
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from streams.durations import DAY, HOUR, MINUTE, SECOND
from streams.events import AnyEvent, Band, Depth, FeedState, Kind, OpenInterest, Price, Tick
from tests.rules.facts import START, liquidation, settled

FOLDER = Path(__file__).parent / "released"
VENUES = ("binance", "bybit")
END = START + 3 * HOUR
FALL = END - 20 * MINUTE
"""From then on a tenth of the open interest goes in ten minutes, and four fifths of the depth."""


def _depth(venue: str, seen: int, usd: float) -> Depth:
    bands = tuple(Band(bp, usd * bp / 50, usd * bp / 50, True) for bp in (10, 25, 50, 100))
    where = {"venue": venue, "symbol": "BTCUSDT", "asset": "BTC", "at": seen, "seen": seen}
    return Depth(**where, mid=100.0, spread_bp=0.4, bands=bands)


def _market(seen: int, fallen: float) -> Iterator[AnyEvent]:
    for venue in VENUES:
        where = {"venue": venue, "symbol": "BTCUSDT", "asset": "BTC", "at": seen, "seen": seen}
        base, mark = 100_000 * (1 - 0.1 * fallen), 60_000 * (1 - 0.02 * fallen)
        yield OpenInterest(**where, base=base, usd=base * mark)
        yield Price(**where, mark=mark, index=mark)


def story() -> Iterator[AnyEvent]:
    """Seven mornings of an order book, a day of prices, three hours of everything, and a fall."""
    for venue in VENUES:
        for kind in (Kind.DEPTH, Kind.PRICE, Kind.OPEN_INTEREST, Kind.LIQUIDATION, Kind.FUNDING):
            yield FeedState(venue=venue, symbol="*", kind=kind, seen=START - 7 * DAY, up=True)
    for day in range(7, 0, -1):
        for seen in range(END - day * DAY - 2 * HOUR, END - day * DAY + HOUR, 15 * SECOND):
            for venue in VENUES:
                yield _depth(venue, seen, 60e6)
                if seen % (5 * MINUTE) == 0:
                    yield from _market(seen, 0.0)
            yield Tick(seen=seen)
    for seen in range(END - DAY + HOUR, START, 5 * MINUTE):
        yield from _market(seen, 0.0)
        yield Tick(seen=seen)
    for seen in range(START, END, 5 * SECOND):
        fallen = min(1.0, max(0.0, (seen - FALL) / (10 * MINUTE)))
        if seen == START:
            for venue in VENUES:
                yield settled(venue, START, 0.0001, seen=seen)
        if seen % (15 * SECOND) == 0:
            yield from _market(seen, fallen)
        for venue in VENUES:
            yield _depth(venue, seen, 60e6 * (1 - 0.8 * fallen))
        if fallen and seen % MINUTE == 0:
            yield liquidation("bybit", seen, 250_000.0, at_price=59_000.0)
        yield Tick(seen=seen)


class WrittenLog(NamedTuple):
    """A metric log, and what a released version put into it."""

    name: str
    """Of its file: the day."""
    content: bytes
    columns: list[tuple[str, str, str, str]]
    """Metric, asset, instrument and field of each number of a row."""
    rows: list[tuple[int, list[float | None]]]
    """Minutes since the epoch, each with its numbers, of single precision; None: unknown."""


def _engine(folder: Path) -> tuple[bytes, WrittenLog]:
    """The dump after ``story``, and the metric log of its last hours, which is in ``folder``."""
    # imported where they are used: earlier versions have other names
    from bot.config import load
    from bot.metriclog import MetricLog
    from rules.engine import Engine

    rows: list[tuple[int, Mapping[tuple[str, str, str, str], float]]] = []

    class KeptLog(MetricLog):
        def _append(self, path, minute, row):
            rows.append((minute, row))
            super()._append(path, minute, row)

    settings = load(Path("config.toml"), {})
    venues = [getattr(venue, "name", venue) for venue in settings.venues]
    composites = getattr(settings, "composites", None)
    engine = Engine(settings.rules, venues, *([] if composites is None else [composites]))
    log = KeptLog(folder, 400 * DAY, 1_000)
    for event in story():
        engine.feed(event)
        if isinstance(event, Tick) and event.seen >= START and log.due(event.seen):
            log.write(event.seen, engine.observed())
    columns = [*dict.fromkeys(tuple(column) for _, row in rows for column in row)]
    numbers = [(minute, [_single(row.get(column)) for column in columns]) for minute, row in rows]
    (path,) = folder.iterdir()
    return engine.dump(), WrittenLog(path.name, path.read_bytes(), columns, numbers)


def written_log(version: int) -> WrittenLog:
    """The fixture of that version."""
    import zlib

    packed = (FOLDER / f"metrics-{version}.bin").read_bytes()
    return msgspec.msgpack.decode(zlib.decompress(packed), type=WrittenLog)


def _single(number: float | None) -> float | None:
    """As a log keeps it; one that it does not have is NaN there."""
    return None if number is None or number != number else array("f", [number])[0]


def _alerts() -> list[object]:
    from bot.config import load
    from rules.engine import Engine

    settings = load(Path("config.toml"), {})
    engine = Engine(settings.rules, [v.name for v in settings.venues], settings.composites)
    return [output for event in story() for output in engine.feed(event)]


async def _outbox() -> bytes:
    """All that is saved of one chat: its plan, what is known of it, and its posts."""
    from redis.asyncio import Redis

    from bot.delivery.outgoing import outgoing
    from bot.delivery.pace import Limits
    from bot.delivery.post import ChatState, Policy
    from bot.delivery.queue import ChatQueue
    from bot.delivery.store import OutboxStore
    from bot.plan import planner
    from bot.plan.planner import PlanState
    from rules.alerts import Alert
    from streams.bus.connection import Keys, connect
    from streams.bus.embedded import Embedded

    server = Embedded(Path(sys.argv[1]).resolve() / "server", 20)
    await server.start()
    redis: Redis = connect(server.url, "released")
    store, chat, policy = OutboxStore(redis, Keys()), planner.Chat(id="@lowtide"), Policy()
    await store.claim()
    alerts = [output for output in _alerts() if isinstance(output, Alert)]
    last = alerts[-1].seen
    plan, deliveries = planner.plan(PlanState(), alerts, chat, (), last)
    line = ChatQueue("@lowtide", ChatState(chat="@lowtide", title="Lowtide", probe=True), Limits(),
                policy)  # fmt: skip
    posts = []
    for number, delivery in enumerate(deliveries, start=1):
        posts.append(outgoing(delivery, chat, line, posts, number, policy))
    await store.commit(f"{last}-0", {chat.key: plan}, posts)
    for post in posts:
        line.add(post)
    line.known("Lowtide channel", probe=True)
    line.sent(posts[0], 17, last)
    await store.save(line)
    fields = await redis.hgetall(Keys().outbox)
    await redis.aclose()
    await server.stop()
    return msgspec.msgpack.encode(fields)


def _write(folder: Path) -> None:
    import zlib

    dump, log = _engine(folder / "metrics")
    version = msgspec.msgpack.decode(dump)[0]
    (folder / f"engine-{version}.bin").write_bytes(zlib.compress(dump, 9))
    packed = zlib.compress(msgspec.msgpack.encode(log), 9)
    (folder / f"metrics-{version}.bin").write_bytes(packed)
    if version > 1:
        (folder / "outbox-1.bin").write_bytes(zlib.compress(asyncio.run(_outbox()), 9))


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
