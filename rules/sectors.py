"""Baskets of coins, and what they are worth against another time. Pure.

A basket has its weights at the start of each month (UTC) and is left alone until the next one: what
rises weighs more from then on. Where most of its coins are not known at that moment, the weights
are those of the first full hour of the month at which they are; before that, those of the month
before. A coin counts in a move if its price is known at both ends of it and when the weights were
fixed: one that is delisted, listed or renamed between is left out of both ends, so that it moves
nothing. Weights are equal, or by capitalisation at the supplies of now, as ``rules.market_cap``
has them.

State of a coin of a basket: its price at each full hour of 39 days, 4 KB.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from math import ceil
from typing import Literal, NamedTuple

import msgspec

from rules.market import Keep, View
from rules.metric import LEAST_SHARE
from rules.returns import SETTLES
from rules.windows import Ring
from streams.durations import DAY, HOUR
from streams.events import Ms

LEAST_COINS = 3
"""What fewer do is what a coin does, not what a sector does."""

WEEK: Ms = 7 * DAY

UNIT_CHANGED = 20.0
"""Prices so many times apart are those of another unit, or of another coin of the name."""

_HOURS = 24 * (31 + 8)
"""A week that ends in a month needs the weights of the month before."""

Weight = Literal["equal", "cap"]


class Basket(msgspec.Struct, frozen=True):
    """Which coins it has, and how they are weighed."""

    coins: tuple[str, ...]
    weight: Weight = "equal"

    @property
    def least(self) -> int:
        """How many of them must be known."""
        return max(LEAST_COINS, ceil(LEAST_SHARE * len(self.coins)))


class BasketMove(NamedTuple):
    """What a basket did."""

    pct: float
    known: int
    """Of how many of its coins that is."""
    by_asset_pct: Mapping[str, float]
    """What each of these did."""
    fixed_at: Ms
    """When its weights were fixed."""


class Levels:
    """The price of a coin at each full hour."""

    __slots__ = ("_prices", "first")

    def __init__(self) -> None:
        self._prices = Ring(_HOURS)
        self.first = -1
        """The first hour whose price was ever known; -1: there is none."""

    def learn(self, view: View, now: Ms) -> None:
        """The price at the last full hour, once it is known which prices were passing spikes."""
        hour = settled_hour(now)
        if hour > self._prices.newest and (price := view.price_at(hour * HOUR)) is not None:
            self._prices.put(hour, price)
            self.first = hour if self.first < 0 else self.first

    def fill(self, prices: Mapping[Ms, float], now: Ms) -> None:
        """Prices of before that are told later, where none is known; the last hour is left to what
        is live."""
        last = settled_hour(now)
        hours = [
            (at // HOUR, price)
            for at, price in sorted(prices.items())
            if at % HOUR == 0 and at < last * HOUR
        ]
        if hours:
            self._prices.fill(hours)
            self.first = hours[0][0] if self.first < 0 else min(self.first, hours[0][0])

    def at(self, hour: int) -> float | None:
        """The price at a full hour, counted since the epoch; None: unknown."""
        return self._prices.at(hour)

    def remembered(self, now: Ms) -> Ms | None:
        """Up to when the hours are known; None: not those of a week."""
        last = settled_hour(now)
        hours = range(last - 24 * 7, last + 1)
        known = self._prices.among(hours)
        return self._prices.newest * HOUR if len(known) >= len(hours) - 1 else None

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: hours that are over stay."""
        self._prices.cut(now // HOUR)
        self._find_first()

    def dump(self) -> list[bytes]:
        """All of it as bytes, in this machine's byte order."""
        return self._prices.dump()

    def load(self, dumped: Sequence[bytes]) -> None:
        """Takes over what was dumped. ValueError if it does not fit."""
        self._prices = Ring(_HOURS)
        self._prices.load(dumped)
        self._find_first()

    def _find_first(self) -> None:
        newest = self._prices.newest
        hours = range(max(0, newest - _HOURS + 1), newest + 1)
        self.first = next((hour for hour in hours if self.at(hour) is not None), -1)


LEVELS = Keep("levels", Levels)
"""Where they are kept, of each coin of a basket."""


class _Side(NamedTuple):
    """One end of a move, or the moment of the weights: the prices that are known there."""

    at: Ms
    prices: Mapping[str, float]


def settled_hour(now: Ms) -> int:
    """The last full hour whose prices are settled, since the epoch."""
    return (now - SETTLES) // HOUR


def basket_move(
    basket: Basket,
    assets: Mapping[str, View],
    ends: Mapping[str, tuple[float, float]],
    span: tuple[Ms, Ms],
    supplies: Mapping[str, float],
) -> BasketMove | None:
    """What ``basket`` did over ``span``; None: too few of its coins are known.

    ``ends``: coin → its prices at both ends of ``span``, of the coins of which both are known.
    ``supplies``: coin → how many there are, of those that are known; asked for weights by
    capitalisation alone.
    """
    then, now = span
    of_ends = {coin: ends[coin] for coin in basket.coins if coin in ends}
    if len(of_ends) < basket.least:
        return None
    start = _Side(then, {coin: before for coin, (before, _) in of_ends.items()})
    end = _Side(now, {coin: after for coin, (_, after) in of_ends.items()})
    month = _month_of(settled_hour(now) * HOUR)
    fixed = _first_known(basket, assets, month, settled_hour(now) + 1)
    if fixed is None or fixed.at > then:  # the weights of the month before hold until then
        before = _first_known(basket, assets, _month_of(month - 1), month // HOUR)
        earlier = before if before is not None and before.at <= then else start
        sides = [(earlier, start, end)] if fixed is None else [
            (earlier, start, fixed), (fixed, fixed, end)
        ]  # fmt: skip
    else:
        sides = [(fixed, start, end)]
    ratio, known = 1.0, set(of_ends)
    for weighed, first, last in sides:
        units = _units(basket, weighed, supplies)
        coins = [c for c in units if _one_unit(c, weighed, first, last)]
        if len(coins) < basket.least:
            return None
        known &= set(coins)
        ratio *= sum([units[c] * last.prices[c] for c in coins]) / sum(
            [units[c] * first.prices[c] for c in coins]
        )
    return BasketMove(
        pct=100 * (ratio - 1),
        known=len(known),
        by_asset_pct={c: 100 * (after / before - 1) for c, (before, after) in of_ends.items()},
        fixed_at=sides[-1][0].at,
    )


def _units(basket: Basket, weighed: _Side, supplies: Mapping[str, float]) -> dict[str, float]:
    """How many of each coin are in the basket, of those that are known."""
    if basket.weight == "cap":
        return {c: supplies[c] for c in basket.coins if c in supplies and c in weighed.prices}
    return {c: 1 / weighed.prices[c] for c in basket.coins if c in weighed.prices}


def _one_unit(coin: str, *sides: _Side) -> bool:
    """Whether its price is known at all of them, and that of one and the same coin."""
    prices = [side.prices[coin] for side in sides if coin in side.prices]
    return len(prices) == len(sides) and max(prices) < UNIT_CHANGED * min(prices)


def _first_known(basket: Basket, assets: Mapping[str, View], month: Ms, until: int) -> _Side | None:
    """The first full hour from ``month`` on, before the hour ``until``, at which enough of the
    coins are known."""
    levels = {
        coin: memo
        for coin in basket.coins
        if (view := assets.get(coin)) is not None and (memo := view.memo(LEVELS)) is not None
    }
    if len(levels) < basket.least:
        return None
    began = sorted(memo.first for memo in levels.values() if memo.first >= 0)
    if len(began) < basket.least:
        return None
    first = max(month // HOUR, began[basket.least - 1])
    return next(_known_hours(basket, levels, range(first, until)), None)


def _known_hours(basket: Basket, levels: Mapping[str, Levels], hours: range) -> Iterator[_Side]:
    """The hours at which enough is known."""
    for hour in hours:
        prices = {
            coin: price for coin, memo in levels.items() if (price := memo.at(hour)) is not None
        }
        if len(prices) >= basket.least:
            yield _Side(hour * HOUR, prices)


def _month_of(at: Ms) -> Ms:
    """When the month of ``at`` began, UTC."""
    moment = datetime.fromtimestamp(at / 1000, UTC)
    first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return int(first.timestamp()) * 1000
