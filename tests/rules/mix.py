"""A realistic mix of events, the same every time, and rules like those of the example config."""

import random
from collections.abc import Iterator

from rules.alerts import Level
from rules.rule import Fires, Row, Rule
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
SECOND: Ms = 1_000
MINUTE: Ms = 60_000
HOUR: Ms = 3_600_000


def rule(
    metric: str,
    fires: Fires,
    levels: tuple[float, ...],
    clear: float,
    name: str = "",
    hold: tuple[Ms, ...] = (),
    floor_musd: float = 0.0,
    settlements: int = 0,
) -> Rule:
    """A rule for every asset; levels from watch upwards."""
    row = Row(levels=dict(zip(Level, levels, strict=False)), clear=clear, floor_musd=floor_musd)
    return Rule(
        name=name or metric,
        metric=metric,
        fires=fires,
        rows={},
        others=row,
        hold=dict(zip(Level, hold, strict=False)),
        settlements=settlements,
    )


def rules() -> list[Rule]:
    """Six rules over all four feeds."""
    holds = (2 * MINUTE, 2 * MINUTE, 0)
    return [
        rule("funding_8h_pct", "below", (-0.01, -0.03), 0.002, settlements=1),
        rule("funding_predicted_8h_pct", "below", (-0.02,), 0.0, hold=(5 * MINUTE,)),
        rule("oi_net_1h_pct", "below", (-3, -5, -8), -1.5, hold=holds),
        rule("oi_net_15m_pct", "below", (-2, -4, -6), -1.0, hold=holds),
        rule("depth_100bp_pct_of_normal", "below", (70, 55, 35), 85, hold=holds, floor_musd=0.1),
        rule("liq_10m_musd", "above", (1, 5, 20), 0.5),
    ]


def events(instruments: int, seconds: int, start: Ms = START) -> Iterator[AnyEvent]:
    """Events of ``instruments`` contracts, three venues an asset, with one Tick each second.

    A second brings each book and mark price once, a quarter of the funding estimates, a fifteenth
    of the open interest and a few liquidations; each hour every rate settles.
    """
    dice = random.Random(7)
    names = [(VENUES[i % 3], f"A{i // 3:03d}", 100.0 + i) for i in range(instruments)]
    for venue in VENUES:
        for kind in KINDS if venue == "hyperliquid" else (*KINDS, Kind.LIQUIDATION):
            yield FeedState(venue=venue, symbol="*", kind=kind, seen=start, up=True)
    for second in range(seconds):
        now = start + second * SECOND
        for i, (venue, asset, price) in enumerate(names):
            moved = price * dice.uniform(0.995, 1.005)
            seen = now + i * SECOND // instruments
            yield from _one(dice, i, second, venue, asset, moved, seen)
        yield Tick(seen=now + SECOND)


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
            rate=dice.gauss(0.0001, 0.0001), hours=8, settled=False,
        )  # fmt: skip
    if (second + i) % 15 == 0:
        base = (1e6 + i) * dice.uniform(0.99, 1.01)
        yield OpenInterest(
            venue=venue, symbol=symbol, asset=asset, at=at, seen=seen, base=base, usd=base * price
        )
    if (second + i) % 3600 == 30:
        yield Funding(
            venue=venue, symbol=symbol, asset=asset, at=seen - 30 * SECOND, seen=seen,
            rate=dice.gauss(0.0001, 0.0001), hours=1, settled=True,
        )  # fmt: skip
    if venue != "hyperliquid" and dice.random() < 0.003:
        usd = dice.paretovariate(1.1) * 1_000
        yield Liquidation(
            venue=venue, symbol=symbol, asset=asset, at=at, seen=seen,
            position=dice.choice(tuple(Position)), price=price, base=usd / price, usd=usd,
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
