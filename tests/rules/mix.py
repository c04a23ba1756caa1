"""A realistic mix of events, the same every time, and rules like those of the example config."""

import random
import time
import tracemalloc
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import NamedTuple

from rules import state
from rules.alerts import ALL, Level, Scope
from rules.composite import Composite
from rules.engine import Engine
from rules.rule import Fires, Row, Rule
from rules.windows import Hours
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import (
    BANDS_BP,
    AnyEvent,
    Band,
    Depth,
    FeedState,
    Funding,
    Kind,
    Liquidation,
    Ms,
    OpenInterest,
    Position,
    Price,
    Tick,
)

START: Ms = 1_790_000_000_000
VENUES = ("binance", "bybit", "hyperliquid")
KINDS = (Kind.FUNDING, Kind.OPEN_INTEREST, Kind.DEPTH, Kind.PRICE)
BATCH = 200


def rule(
    metric: str,
    fires: Fires,
    levels: tuple[float, ...],
    clear: float,
    name: str = "",
    family: str = "",
    hold: tuple[Ms, ...] = (),
    floor_musd: float = 0.0,
    settlements: int = 0,
    scope: Scope = "asset",
) -> Rule:
    """A rule for every asset, or for the market; levels from watch upwards."""
    row = Row(levels=dict(zip(Level, levels, strict=False)), clear=clear, floor_musd=floor_musd)
    return Rule(
        name=name or metric,
        family=family,
        metric=metric,
        fires=fires,
        rows={ALL: row} if scope == "market" else {},
        others=None if scope == "market" else row,
        hold=dict(zip(Level, hold, strict=False)),
        settlements=settlements,
        scope=scope,
    )


def rules() -> list[Rule]:
    """Rules like those of the shipped configuration, each with all its windows for every asset."""
    holds, quick = (2 * MINUTE, 2 * MINUTE, 0), (MINUTE, MINUTE, 0)
    drop = partial(rule, fires="below", family="oi_drop", floor_musd=5.0)
    thin = partial(rule, fires="below", hold=holds, floor_musd=0.1)
    return [
        rule("funding_8h_pct", "below", (-0.01, -0.03), 0.002, settlements=1),
        rule("funding_predicted_8h_pct", "below", (-0.02,), 0.0, hold=(15 * MINUTE,)),
        rule("funding_negative_share_pct", "above", (60, 80), 45, hold=holds, scope="market"),
        drop("oi_net_15m_pct", levels=(-2, -4, -6), clear=-1.0, hold=quick),
        drop("oi_net_1h_pct", levels=(-3, -5, -8), clear=-1.5, hold=holds),
        drop("oi_net_24h_pct", levels=(-5, -8, -15), clear=-4, hold=holds),
        rule("oi_total_net_1h_pct", "below", (-2, -4, -7), -1, hold=holds, scope="market"),
        thin("depth_25bp_pct_of_recent", levels=(70, 55, 35), clear=85, family="depth_thin"),
        thin("depth_100bp_pct_of_normal", levels=(70, 55, 35), clear=85),
        rule("liq_10m_musd", "above", (1, 5, 20), 0.5),
        rule("price_15m_pct", "below", (-3, -5, -8), -1.5, hold=quick, family="price_drop"),
        rule("price_1h_pct", "below", (-3, -5, -8), -1.5, hold=quick, family="price_drop"),
        rule("price_24h_pct", "below", (-5, -8, -15), -3, hold=quick, family="price_drop"),
    ]


CASCADE = Composite(
    name="cascade",
    level=Level.CRITICAL,
    within=HOUR,
    all_of=(
        ("oi_drop", Level.ALERT), ("liq_10m_musd", Level.ALERT), ("depth_thin", Level.WATCH),
    ),
    hides=("oi_drop", "liq_10m_musd", "depth_thin", "price_drop"),
)  # fmt: skip


def engine() -> Engine:
    """An engine with all of it."""
    return Engine(rules(), VENUES, [CASCADE])


def warmed(instruments: int, minutes: int = 36) -> tuple[Engine, Ms]:
    """An engine that has known these instruments for some time, and the time then.

    Depth has a recent normal, and one for every hour of day; events come sparsely, so the windows
    of a day are as full as that makes them.
    """
    judge, now = engine(), START
    for event in warming(instruments, minutes, START):
        judge.feed(event)
        now = event.seen
    filled = engine()
    filled.load(with_hours(judge.dump(), now))
    return filled, now


def warming(
    instruments: int, minutes: int, start: Ms, every: Ms = 12 * SECOND
) -> Iterator[AnyEvent]:
    """Events of each kind but liquidations, sparse: enough for a normal of each book."""
    dice, names = random.Random(11), _names(instruments)
    yield from _up(start)
    for now in range(start, start + minutes * MINUTE, every):
        for i, (venue, asset, price) in enumerate(names):
            yield from _all(dice, i, venue, asset, price, now)
        yield Tick(seen=now)


def with_hours(dumped: bytes, now: Ms, usd: float = 4e6) -> bytes:
    """The same state with two weeks of hourly medians, which no test could wait for."""
    dump, hours = state.decode(dumped, []), Hours()
    for hour in range(now // HOUR - 336, now // HOUR):
        hours.put(hour, usd)
    for view in dump.memory.views:
        for market in view.markets:
            for name, memo in market.memos.items():
                if name.startswith("depth."):
                    memo[-2:] = hours.dump()
    return state.encode(dump)


def events(instruments: int, seconds: int, start: Ms = START) -> Iterator[AnyEvent]:
    """Events of ``instruments`` contracts, three venues an asset, with one Tick each second.

    A second brings each book and mark price once, a quarter of the funding estimates, a fifteenth
    of the open interest and a few liquidations; each hour every rate settles.
    """
    dice, names = random.Random(7), _names(instruments)
    yield from _up(start)
    for second in range(seconds):
        now = start + second * SECOND
        for i, (venue, asset, price) in enumerate(names):
            moved = price * dice.uniform(0.995, 1.005)
            seen = now + i * SECOND // instruments
            yield from _one(dice, i, second, venue, asset, moved, seen)
        yield Tick(seen=now + SECOND)


def _names(instruments: int) -> list[tuple[str, str, float]]:
    return [(VENUES[i % 3], f"A{i // 3:03d}", 100.0 + i) for i in range(instruments)]


def _up(start: Ms) -> Iterator[FeedState]:
    for venue in VENUES:
        for kind in KINDS if venue == "hyperliquid" else (*KINDS, Kind.LIQUIDATION):
            yield FeedState(venue=venue, symbol="*", kind=kind, seen=start, up=True)


def _all(
    dice: random.Random, i: int, venue: str, asset: str, price: float, seen: Ms
) -> Iterator[AnyEvent]:
    """Events of each kind but liquidations."""
    for second in (-i % 60, (30 - i) % 3600):
        yield from _one(dice, i, second, venue, asset, price, seen)


def _one(
    dice: random.Random, i: int, second: int, venue: str, asset: str, price: float, seen: Ms
) -> Iterator[AnyEvent]:
    symbol, at = asset + "USDT", seen - 50
    yield Price(
        venue=venue, symbol=symbol, asset=asset, at=at, seen=seen, mark=price, index=price * 1.0001
    )
    yield _depth(dice, venue, asset, price, seen)
    if (second + i) % 4 == 0:
        yield Funding(
            venue=venue, symbol=symbol, asset=asset, at=at, seen=seen,
            rate=dice.gauss(0.0001, 0.0001), hours=8.0, settled=False,
        )  # fmt: skip
    if (second + i) % 15 == 0:
        base = (1e6 + i) * dice.uniform(0.99, 1.01)
        yield OpenInterest(
            venue=venue, symbol=symbol, asset=asset, at=at, seen=seen, base=base, usd=base * price
        )
    if (second + i) % 3600 == 30:
        yield Funding(
            venue=venue, symbol=symbol, asset=asset, at=seen - 30 * SECOND, seen=seen,
            rate=dice.gauss(0.0001, 0.0001), hours=1.0, settled=True,
        )  # fmt: skip
    if venue != "hyperliquid" and dice.random() < 0.003:
        usd = dice.paretovariate(1.1) * 1_000
        yield Liquidation(
            venue=venue, symbol=symbol, asset=asset, at=at, seen=seen,
            position=dice.choice(tuple(Position)), price=price, base=usd / price, usd=usd,
            throttled=venue == "binance",
        )  # fmt: skip


def _depth(dice: random.Random, venue: str, asset: str, price: float, seen: Ms) -> Depth:
    bands = tuple(
        Band(bp, bp * dice.uniform(8e3, 12e3), bp * dice.uniform(8e3, 12e3), True)
        for bp in BANDS_BP
    )
    return Depth(
        venue=venue, symbol=asset + "USDT", asset=asset, at=seen - 50, seen=seen,
        mid=price, spread_bp=0.5, bands=bands,
    )  # fmt: skip


class Point(NamedTuple):
    """What an engine of so many instruments does a second, on one core, and what its state costs.

    ``events_per_s``: the mean, with all Ticks; ``longest_tick_ms``: what waits for a Tick comes at
    once, and nothing else is done meanwhile; ``held_mb``: memory that a loaded engine holds;
    ``dump_mb``: the size of what it writes down.
    """

    instruments: int
    events_per_s: int
    longest_tick_ms: float
    held_mb: float
    dump_mb: float
    dump_s: float
    load_s: float


def point(instruments: int, seconds: int = 30) -> Point:
    """Measured on a warm engine over so many seconds of events; CPU time.

    Events are made in batches as a role reads them, so that they are as fresh in the processor's
    cache as events that were just decoded.
    """
    judge, now = warmed(instruments)
    mean, longest = _measured(judge, events(instruments, seconds, now + SECOND))
    began = time.process_time()
    dumped = judge.dump()
    dumped_at = time.process_time()
    engine().load(dumped)
    loaded_at = time.process_time()
    tracemalloc.start()
    again = engine()
    again.load(dumped)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return Point(
        instruments,
        round(mean),
        round(1000 * longest, 1),
        round(held / 1e6, 1),
        round(len(dumped) / 1e6, 1),
        round(dumped_at - began, 3),
        round(loaded_at - dumped_at, 3),
    )


def _measured(judge: Engine, story: Iterator[AnyEvent]) -> tuple[float, float]:
    """Events a second, and the seconds of the longest Tick."""
    spent, count, longest = 0.0, 0, 0.0
    while batch := list(islice(story, BATCH)):
        count += len(batch)
        began = time.process_time()
        for event in batch:
            if type(event) is Tick:
                ticked = time.process_time()
                judge.feed(event)
                longest = max(longest, time.process_time() - ticked)
            else:
                judge.feed(event)
        spent += time.process_time() - began
    return count / spent, longest
