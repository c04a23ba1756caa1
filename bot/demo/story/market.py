"""The market of the demo's story: prices, open interest, funding, depth and liquidations.

All curves run over minutes since START and are shaped after public reports of 10 October 2025:
bitcoin slid from about $117,000 after 20:50 UTC and fell to about $102,000 between 21:10 and
21:20; alternative coins lost 20 to 70 %; about $19 billion were liquidated over all venues in a
day, mostly longs; open interest shrank by about a third; books of the largest coins lost up to
98 % for minutes; funding turned negative. The minutes in between are invented.

Only + - * / are used, so that every machine computes the same numbers.
"""

from random import Random

import msgspec

from streams.durations import MINUTE, SECOND
from streams.events import Ms

START: Ms = 1_760_126_400_000
"""10 October 2025, 20:00 UTC."""

STEP_MS: Ms = 5 * SECOND
STEPS = 1_512
"""126 minutes: half an hour for depth to know its normal, and the settlement of 22:00."""


MAJORS = ("BTC", "ETH")
"""Coins whose books and tickers come at every step, those of the others at every second."""

Points = tuple[tuple[float, float], ...]

_FALL: Points = (
    (0, 0), (49, 0.015), (52, 0.05), (60, 0.17), (69, 0.28), (72, 0.50), (75, 0.77), (78, 1),
    (80, 0.93), (82, 0.76), (86, 0.60), (100, 0.42), (126, 0.32),
)  # fmt: skip
_UNWIND: Points = (
    (0, 0), (49, 0), (60, 0.05), (69, 0.13), (72, 0.35), (75, 0.62), (78, 0.82), (82, 0.93),
    (100, 1), (126, 1.02),
)  # fmt: skip
_DEPTH: Points = (
    (0, 1), (48, 1), (53, 0.62), (60, 0.55), (68, 0.45), (72, 0.16), (75, 0.05), (76, 0.02),
    (79.5, 0.02), (82, 0.06), (90, 0.2), (105, 0.42), (126, 0.6),
)  # fmt: skip
_CASCADE: Points = (
    (0, 0.0003), (49, 0.0006), (52, 0.035), (60, 0.04), (69, 0.05), (72, 0.3), (75, 0.8), (78, 1),
    (82, 0.4), (90, 0.08), (105, 0.015), (126, 0.004),
)  # fmt: skip
_LONG_SHARE: Points = ((0, 0.7), (50, 0.92), (79, 0.94), (84, 0.72), (126, 0.65))
_PREMIUM_BP: Points = ((0, 2), (49, 1), (60, -3), (75, -25), (78, -60), (86, -15), (126, -8))
_FUNDING: Points = ((0, 0), (49, 0.02), (60, 0.05), (69, 0.12), (75, 0.35), (82, 0.6), (126, 1))


def at(points: Points, minute: float) -> float:
    """The value of a curve at ``minute``, straight between its points, level beyond them."""
    before = points[0]
    for point in points:
        if minute < point[0]:
            share = (minute - before[0]) / (point[0] - before[0])
            return before[1] + share * (point[1] - before[1])
        before = point
    return before[1]


class Coin(msgspec.Struct, frozen=True, kw_only=True):
    """A coin in the story, in the units in which venues trade it (PEPE: thousands)."""

    name: str
    price: float
    """USD at the start."""
    drop: float
    """Loss of price at the low, a fraction."""
    shed: float
    """Share of the open interest (coins) that goes away."""
    funding: tuple[float, float]
    """Rate per 8 hours at the start and at the end, a fraction."""


COINS = (
    Coin(name="BTC", price=117_300, drop=0.128, shed=0.25, funding=(0.00006, -0.00018)),
    Coin(name="ETH", price=4_372, drop=0.205, shed=0.27, funding=(0.00005, -0.00025)),
    Coin(name="SOL", price=222.4, drop=0.25, shed=0.30, funding=(0.00004, -0.0004)),
    Coin(name="DOGE", price=0.2464, drop=0.48, shed=0.36, funding=(0.00008, -0.0005)),
    Coin(name="HYPE", price=45.2, drop=0.46, shed=0.36, funding=(0.0001, -0.0006)),
    Coin(name="PEPE", price=0.00942, drop=0.58, shed=0.40, funding=(0.00009, -0.0008)),
)


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A coin on a venue."""

    symbol: str
    coin: Coin
    tick: float
    grid: int
    """Distance of the book's levels, in ``tick``."""
    price_digits: int
    size_digits: int
    open_interest: float
    """Million USD at the start."""
    depth: float
    """Million USD of one side within 25 bp, at the start."""
    volume: float
    """Million USD in 24 hours."""
    liquidated: float = 0.0
    """Million USD in the whole story; 0: the venue does not publish it."""
    funding_hours: int = 8

    def sends(self, step: int) -> bool:
        """Whether the venue sends this coin's book and ticker at ``step``."""
        return step % 2 == 0 or self.coin.name in MAJORS


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A listed coin at one moment; prices per traded unit."""

    mark: float
    index: float
    open_interest: float
    """Coins."""
    volume: float
    """Of 24 h, USD."""
    low: float
    """The lowest mark so far."""
    funding: float
    """The predicted rate, a fraction per interval."""
    depth: float
    """A share of normal."""


class Mood(msgspec.Struct, frozen=True, kw_only=True):
    """What all coins and venues share at one moment."""

    minute: float
    fall: float
    unwind: float
    depth: float
    premium: float
    funding: float
    cascade_share: float
    """Share of the story's liquidations that falls into this step."""
    long_share: float
    tense: bool


def moods() -> list[Mood]:
    """The story, step by step."""
    minutes = [step * STEP_MS / MINUTE for step in range(STEPS + 1)]
    cascade = [at(_CASCADE, minute) for minute in minutes]
    total = sum(cascade)
    return [
        Mood(
            minute=minute,
            fall=at(_FALL, minute),
            unwind=at(_UNWIND, minute),
            depth=at(_DEPTH, minute),
            premium=at(_PREMIUM_BP, minute) / 10_000,
            funding=at(_FUNDING, minute),
            cascade_share=weight / total,
            long_share=at(_LONG_SHARE, minute),
            tense=48 <= minute <= 110,
        )
        for minute, weight in zip(minutes, cascade, strict=True)
    ]


class Wander:
    """A random walk that returns to 0; stays within about ``width``."""

    def __init__(self, random: Random, width: float) -> None:
        self._random = random
        self._stride = width * 0.35
        self.value = 0.0

    def step(self) -> float:
        """The next value."""
        self.value = self.value * 0.97 + (self._random.random() - 0.5) * self._stride
        return self.value


def price(coin: Coin, mood: Mood, wander: float, deep: float) -> float:
    """Mark price. Bitcoin follows the fall, others crash late; ``deep``: the venue's share of it"""
    crash = mood.fall if coin.name == "BTC" else 0.3 * mood.fall + 0.7 * mood.fall * mood.fall
    return coin.price * (1 - coin.drop * crash * deep) * (1 + wander)


def funding(listed: Listed, mood: Mood, hotter: float) -> float:
    """The running rate per interval of the contract; ``hotter`` multiplies the negative end."""
    first, last = listed.coin.funding
    rate = first + (last * hotter - first) * mood.funding
    return rate * listed.funding_hours / 8
