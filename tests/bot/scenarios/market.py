"""A small market for scenarios: coins on venues, moved in straight lines and told as events."""

from collections.abc import Iterator, Mapping

import msgspec

from streams.events import (
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
    Volume,
)

START: Ms = 1_790_985_600_000  # 3 Oct 2026 00:00 UTC
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
SETTLED_EVERY = 8 * HOUR
TICK_EVERY = 30 * SECOND


class Coin(msgspec.Struct):
    """A coin on each venue. ``oi``, ``depth``: million USD at the first price, both sides of the
    book; ``rate``: fraction per 8 h; ``burst``: million USD of longs liquidated each minute;
    ``spot``: billion USD traded on the spot market of each venue in 24 h, where 8 are of perpetuals
    (None: it has none), with a book of ``spot_depth``."""

    price: float = 100.0
    oi: float = 1_000.0
    depth: float = 20.0
    rate: float = 0.0001
    burst: float = 0.0
    spot: float | None = None
    spot_depth: float = 10.0


class Market:
    """Coins on venues. ``play`` moves values by name to where they shall be at the end."""

    def __init__(
        self, coins: Mapping[str, Coin], venues: tuple[str, ...] = ("binance", "bybit")
    ) -> None:
        self.now: Ms = START
        self.coins = dict(coins)
        self.venues = venues
        self.down: set[str] = set()
        self._first = {name: coin.price for name, coin in coins.items()}

    def play(
        self, minutes: float, step: Ms = 10 * SECOND, **moves: Mapping[str, float]
    ) -> Iterator[AnyEvent]:
        """So many minutes; ``moves``: coin → its new values, reached in a straight line."""
        steps = round(minutes * MINUTE / step)
        starts = {name: msgspec.structs.replace(self.coins[name]) for name in moves}
        for n in range(1, steps + 1):
            yield from self._ticks(self.now + step)
            for name, targets in moves.items():
                for field, target in targets.items():
                    begin = getattr(starts[name], field)
                    setattr(self.coins[name], field, begin + (target - begin) * n / steps)
            yield from self._moment(step)

    def turn(self, venue: str, up: bool, reason: str = "") -> Iterator[AnyEvent]:
        """All feeds of a venue come up or go down."""
        (self.down.discard if up else self.down.add)(venue)
        for kind in Kind:
            yield FeedState(venue=venue, symbol="*", kind=kind, seen=self.now, up=up, reason=reason)

    def _ticks(self, until: Ms) -> Iterator[AnyEvent]:
        while self.now < until:
            self.now = min(until, self.now + TICK_EVERY)
            yield Tick(seen=self.now)

    def _moment(self, step: Ms) -> Iterator[AnyEvent]:
        settles = self.now % SETTLED_EVERY < step
        for name, coin in self.coins.items():
            for venue in self.venues:
                if venue not in self.down:
                    yield from self._facts(name, coin, venue, settles)
            if coin.burst:
                yield self._liquidation(name, coin, step)

    def _facts(self, name: str, coin: Coin, venue: str, settles: bool) -> Iterator[AnyEvent]:
        where = {
            "venue": venue, "symbol": f"{name}USDT", "asset": name,
            "at": self.now, "seen": self.now,
        }  # fmt: skip
        yield Price(**where, mark=coin.price, index=coin.price)
        base = coin.oi * 1e6 / self._first[name]
        yield OpenInterest(**where, base=base, usd=base * coin.price)
        half = coin.depth * 5e5
        bands = tuple(Band(bp, half * bp / 25, half * bp / 25, True) for bp in (10, 25, 50, 100))
        yield Depth(**where, mid=coin.price, spread_bp=1.0, bands=bands)
        yield Funding(**where, rate=coin.rate, hours=8, settled=False)
        if coin.spot is not None:
            yield from self._spot(name, coin, venue)
        if settles:
            at = self.now // SETTLED_EVERY * SETTLED_EVERY
            yield Funding(**(where | {"at": at}), rate=coin.rate, hours=8, settled=True)

    def _spot(self, name: str, coin: Coin, venue: str) -> Iterator[AnyEvent]:
        """The same exchange's spot market, and what is traded at both in 24 hours."""
        yield Volume(
            venue=venue, symbol=f"{name}USDT", asset=name, at=self.now, seen=self.now, usd_24h=8e9
        )
        if coin.spot is None or f"{venue}-spot" in self.down:
            return
        where = {
            "venue": f"{venue}-spot", "symbol": f"{name}USDT", "asset": name,
            "at": self.now, "seen": self.now, "spot": True,
        }  # fmt: skip
        yield Price(**where, last=coin.price)
        yield Volume(**where, usd_24h=coin.spot * 1e9)
        half = coin.spot_depth * 5e5
        bands = tuple(Band(bp, half * bp / 25, half * bp / 25, True) for bp in (10, 25, 50, 100))
        yield Depth(**where, mid=coin.price, spread_bp=1.0, bands=bands)

    def _liquidation(self, name: str, coin: Coin, step: Ms) -> Liquidation:
        usd = coin.burst * 1e6 * step / MINUTE
        return Liquidation(
            venue=self.venues[0], symbol=f"{name}USDT", asset=name, at=self.now, seen=self.now,
            position=Position.LONG, price=coin.price, base=usd / coin.price, usd=usd,
            throttled=True,
        )  # fmt: skip
