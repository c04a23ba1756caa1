"""What stablecoins are worth in dollars, by the prices of the same coins in both. Pure.

A price in USD over the price of the same coin in USDT is what a USDT is worth. Only what is alike
is compared: index prices of perpetuals with index prices, trades of spot markets with trades. Each
side takes two exchanges that agree, and the answer two coins that agree, so that neither one venue
nor one coin can make it.

In a crash venues are behind each other, and then prices of two moments would be compared. So a coin
counts while its price has been calm on both sides. Where one side stands still after a fall, coins
that have fallen by different parts disagree, while of a stablecoin that is worth less all say the
same. What is told is the middle of some minutes, and unknown where too few of them are.

State of a stablecoin: 16 bytes for each ten seconds of three minutes.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rules.market import FRESH, Keep, Market, View, live_prices
from rules.metric import median
from streams.durations import MINUTE, SECOND
from streams.events import Ms

DOLLAR = "USD"
STABLECOINS = ("USDT", "USDC")

ALIKE = 0.0025
"""Prices, and what coins say, are the same if they are at most so far apart, as a fraction."""

CALM = 0.0015
"""A price is calm that is so near, as a fraction, to what it was in the ``CALM_FOR`` before."""

CALM_FOR: Ms = 30 * SECOND
_BACK: Sequence[Ms] = (10 * SECOND, 20 * SECOND, CALM_FOR)

LEAST = 2
"""So many exchanges on each side, and so many coins, must agree."""

STEP: Ms = 10 * SECOND
SPAN: Ms = 3 * MINUTE
"""What is told is the middle of what was seen in so long."""

LEAST_SEEN = SPAN // STEP // 2
_LATE: Ms = 3 * STEP
"""What was last seen so long ago is not now."""


class Implied(NamedTuple):
    """What a stablecoin is worth now."""

    rate: float
    """USD each."""
    by_asset: Mapping[str, float]
    """Coin → the rate by its prices, of those that agree; index prices first."""
    dollars: tuple[str, ...]
    """Exchanges whose prices in dollars are in it."""
    coins: tuple[str, ...]
    """Those whose prices in the stablecoin are."""


class StablecoinRate:
    """What one stablecoin was worth of late."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: list[tuple[Ms, float]] = []

    def due(self, now: Ms) -> bool:
        """Whether this step has not been seen yet."""
        return not self._seen or now // STEP > self._seen[-1][0] // STEP

    def take(self, rate: float, now: Ms) -> None:
        """What it is worth now."""
        self._seen.append((now, rate))
        while self._seen[0][0] <= now - SPAN:
            del self._seen[0]

    def rate(self, now: Ms) -> float | None:
        """USD each; None: too little of the last minutes is known."""
        seen = [rate for at, rate in self._seen if now - SPAN < at <= now]
        if len(seen) < LEAST_SEEN or now - self._seen[-1][0] > _LATE:
            return None
        return median(seen)

    def dump(self) -> list[bytes]:
        """All of it as bytes, in this machine's byte order."""
        times, rates = zip(*self._seen, strict=True) if self._seen else ((), ())
        return [array("q", times).tobytes(), array("d", rates).tobytes()]

    def load(self, dumped: Sequence[bytes]) -> None:
        """Takes over what was dumped. ValueError if it does not fit."""
        if len(dumped) != 2 or len(dumped[0]) != len(dumped[1]) or len(dumped[0]) % 8:
            raise ValueError("the dumped rates of a stablecoin are cut short: start without them")
        self._seen = [*zip(array("q", dumped[0]), array("d", dumped[1]), strict=True)]


RATES = {coin: Keep(f"stablecoin.{coin}", StablecoinRate) for coin in STABLECOINS}


def implied(assets: Mapping[str, View], coin: str, now: Ms) -> Implied | None:
    """What ``coin`` is worth at this moment; None: it is not known."""
    rates: list[tuple[str, float, _Side, _Side]] = []
    for name, asset in assets.items():
        for half in (asset, asset.spot):
            sides = [_side(half, quote, now) for quote in (DOLLAR, coin)]
            dollars, coins = sides
            if dollars is not None and coins is not None:
                rates.append((name, dollars.price / coins.price, dollars, coins))
    rate = agreed([rate for _, rate, _, _ in rates])
    if rate is None:
        return None
    alike = [each for each in rates if _near(each[1], rate)]
    by_asset: dict[str, float] = {}
    for name, of_asset, _, _ in alike:
        by_asset.setdefault(name, of_asset)
    if len(by_asset) < LEAST:
        return None
    return Implied(
        rate=rate,
        by_asset=by_asset,
        dollars=_named(dollars for _, _, dollars, _ in alike),
        coins=_named(coins for _, _, _, coins in alike),
    )


def agreed(values: Sequence[float]) -> float | None:
    """The middle of those that agree, if these are more than half, and two at least."""
    middle = median(values)
    if middle is None:
        return None
    near = [value for value in values if _near(value, middle)]
    return median(near) if len(near) >= LEAST and 2 * len(near) > len(values) else None


class _Side(NamedTuple):
    """A coin in one currency."""

    price: float
    exchanges: tuple[str, ...]
    """Those that agree on it."""


def _side(half: View, quote: str, now: Ms) -> _Side | None:
    """The price of a coin in ``quote``, if exchanges agree on it and it is calm."""
    prices: dict[str, float] = {}
    moves: list[float] = []
    for market, price in _quoted(half, quote, now).items():
        moved = _moved(market, price, now)
        if moved is not None:
            prices[market.exchange] = price
            moves.append(moved)
    price = agreed([*prices.values()])
    if price is None or (median(moves) or 0.0) > CALM:
        return None
    return _Side(price, tuple(name for name, own in prices.items() if _near(own, price)))


def _quoted(half: View, quote: str, now: Ms) -> Mapping[Market, float]:
    """One market in ``quote`` of each exchange, that with the most open interest, with its price
    where that is of now and not frozen."""
    chosen: dict[str, Market] = {}
    prices = half.once(live_prices, now)
    for market in prices:
        if market.quote != quote or now - market.prices.seen > FRESH:
            continue
        if market.prices.doubted is not None or market.prices.latest.frozen(now):
            continue
        other = chosen.get(market.exchange)
        if other is None or (market.oi_base or 0.0) > (other.oi_base or 0.0):
            chosen[market.exchange] = market
    return {market: prices[market] for market in chosen.values()}


def _moved(market: Market, price: float, now: Ms) -> float | None:
    """How far a price is from those of the last half minute, at most; None: they are unknown."""
    before = [market.prices.at(now - ago) for ago in _BACK]
    known = [x for x in before if x is not None]
    return max(abs(price / x - 1) for x in known) if len(known) == len(before) else None


def _near(value: float, middle: float) -> bool:
    return abs(value / middle - 1) <= ALIKE


def _named(sides: Iterator[_Side]) -> tuple[str, ...]:
    """Exchanges, each once."""
    return tuple(dict.fromkeys(name for side in sides for name in side.exchanges))
