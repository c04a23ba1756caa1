"""Levels that a price came down to again and again, and what came of it. Pure.

A level is a round number, or one that the configuration names. It is tested where the price, having
been clearly above it, comes down to it. A test is held as long as the price does not stay below;
how strong it was is how far the price rose from the level until the next one. A level below which
the price stays is lost, until the price is clearly above it again; what it held before is then
forgotten.

How far is clear, near and below is measured by the asset itself: by the mean range of its hours in
the last week. Everything follows from the prices at full ten minutes of the last 30 days, so that
it does not matter whether they were seen or told later, and what lies in a hole is neither a test
nor a loss: there may be more tests than are counted, never fewer.

State of an asset: 30 days of prices at 4 bytes, which is 17 KB.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import floor, log10
from statistics import median
from typing import NamedTuple

from rules.market import Keep, View
from rules.returns import DAYS, LATE, MOST_KNOWN, SETTLES, STEP, STEPS
from rules.windows import Ring
from streams.durations import DAY
from streams.events import Ms

SPAN = DAYS * 24 * STEPS
"""So many prices are looked at."""

RANGE_HOURS = 24 * 7
LEAST_HOURS = 24
"""With fewer hours known nobody can say what is far for an asset."""

AWAY, NEAR, BELOW = 2.0, 0.5, 0.5
"""How many ranges above a level is clear of it, how many above is at it, and how many below it is
through it."""

STAYS = 2
"""So many prices in a row below a level lose it."""

STANDS = DAY // STEP
"""For so many steps it is told that a level was lost."""

LEAST_HELD = 2
"""A level that held so often is a support."""


class Test(NamedTuple):
    """That the price came down to a level."""

    at: Ms
    low: float
    """The lowest price until the next test."""
    high: float
    """The highest after that one."""


class Support(NamedTuple):
    """A level with its tests."""

    level: float
    tests: tuple[Test, ...]
    """The oldest first; of a level that was lost, the last is the one that lost it."""
    high_before: float
    """The highest price before the first test, as far back as is looked: what it fell from."""
    lost_at: Ms | None = None
    """When it was lost; None: it was not."""

    @property
    def held(self) -> tuple[Test, ...]:
        """The tests that it held."""
        return self.tests if self.lost_at is None else self.tests[:-1]

    @property
    def rebounds_pct(self) -> tuple[float, ...]:
        """How far the price rose from the level after each test that it held, %."""
        return tuple(max(0.0, 100 * (test.high / self.level - 1)) for test in self.held)

    @property
    def regained_pct(self) -> float | None:
        """The middle rebound in % of the fall before the first test; None: it never held."""
        fall = 100 * (self.high_before / self.level - 1)
        return 100 * median(self.rebounds_pct) / fall if self.held and fall > 0 else None


class Watched(NamedTuple):
    """What the prices of some time come to."""

    since: Ms
    """When the first one was."""
    supports: tuple[Support, ...]
    """Every level that was tested, the lowest first."""
    price: float
    """The newest."""
    until: Ms
    """When that was."""
    hour_range: float
    """The mean range of an hour then."""

    def standing(self) -> Support | None:
        """The highest level that was tested and is not lost; the price may be at it."""
        most = self.price + BELOW * self.hour_range
        held = [s for s in self.supports if s.lost_at is None and s.level <= most]
        return held[-1] if held else None

    def lost(self) -> Support | None:
        """Of the levels that were lost in the last day, the one that had held most often."""
        since = self.until - STANDS * STEP
        lost = [s for s in self.supports if s.lost_at is not None and s.lost_at > since]
        return max(lost, key=lambda support: len(support.held), default=None)


def watched(prices: Mapping[int, float], named: Iterable[float] = ()) -> Watched | None:
    """What ``prices`` come to: step (the number of ten minutes since the epoch) → price.

    ``named``: levels beside round ones. None: too little is known to say what is near a level.
    """
    steps = sorted(prices)
    hours: dict[int, list[int]] = {}
    for step in steps:
        hours.setdefault(step // STEPS, []).append(step)
    ranges = _ranges(prices, hours)
    if not hours or max(hours) not in ranges:
        return None
    low, high = min(prices.values()), max(prices.values())
    levels = round_levels(low - NEAR * max(ranges.values()), high)
    tracks = [_Track(level) for level in sorted({*levels, *named})]
    for hour, range_ in ranges.items():
        within = hours.get(hour)
        if within:
            of_hour = [prices[step] for step in within]
            low, high = min(of_hour), max(of_hour)
            for track in tracks:
                if track.may_change(low, high, range_):
                    for step, price in zip(within, of_hour, strict=True):
                        track.look(step, price, range_)
    supports = (track.support(prices, steps) for track in tracks)
    return Watched(
        since=steps[0] * STEP,
        supports=tuple(support for support in supports if support is not None),
        price=prices[steps[-1]],
        until=steps[-1] * STEP,
        hour_range=ranges[max(hours)],
    )


class _Track:
    """What became of one level, step by step."""

    __slots__ = ("clear", "last", "level", "lost", "tests", "through")

    def __init__(self, level: float) -> None:
        self.level = level
        self.clear = False
        """The price was clearly above it since it was tested."""
        self.tests: list[int] = []
        self.lost: int | None = None
        self.through = 0
        """How many prices in a row were below it."""
        self.last = 0

    def may_change(self, low: float, high: float, range_: float) -> bool:
        """Whether prices from ``low`` to ``high`` may be a test, a loss, or the end of one."""
        if self.clear:
            return low <= self.level + NEAR * range_
        over = self.lost is not None or not self.tests
        return not over or high >= self.level + AWAY * range_

    def look(self, step: int, price: float, range_: float) -> None:
        """The price at a step."""
        if price >= self.level + AWAY * range_:
            if self.lost is not None:
                self.tests, self.lost = [], None
            self.clear = True
        elif self.clear and price <= self.level + NEAR * range_:
            self.clear = False
            self.tests.append(step)
        in_a_row = step - self.last == 1
        self.through = (self.through * in_a_row + 1) if price < self.level - BELOW * range_ else 0
        self.last = step
        if self.through >= STAYS and self.tests and self.lost is None:
            self.lost = step

    def support(self, prices: Mapping[int, float], steps: Sequence[int]) -> Support | None:
        """The level with its tests; None: it was not tested."""
        if not self.tests:
            return None
        places = [bisect_left(steps, step) for step in self.tests]
        tests: list[Test] = []
        for first, end in zip(places, [*places[1:], len(steps)], strict=True):
            between = [prices[step] for step in steps[first:end]]
            low = min(between)
            tests.append(Test(steps[first] * STEP, low, max(between[between.index(low) :])))
        return Support(
            self.level,
            tuple(tests),
            high_before=max(prices[step] for step in steps[: places[0] + 1]),
            lost_at=None if self.lost is None else self.lost * STEP,
        )


def _ranges(prices: Mapping[int, float], hours: Iterable[int]) -> dict[int, float]:
    """Hour → the mean range of the hours of the week before, of ``hours`` of which it is known."""
    ranges: dict[int, float] = {}
    for hour in hours:
        known = [x for n in range(STEPS + 1) if (x := prices.get(hour * STEPS + n)) is not None]
        if len(known) == STEPS + 1:  # with the price at which the next hour begins
            ranges[hour] = max(known) - min(known)
    means: dict[int, float] = {}
    total, count = 0.0, 0
    for hour in range(min(hours, default=0), max(hours, default=-1) + 1):
        if count >= LEAST_HOURS and total > 0:
            means[hour] = total / count
        for changed, sign in ((hour, 1), (hour - RANGE_HOURS, -1)):
            if changed in ranges:
                total, count = total + sign * ranges[changed], count + sign
    return means


def round_levels(low: float, high: float) -> Iterator[float]:
    """The round numbers from ``low`` to ``high``: 10, 11, 12 … 20, 22.5, 25 … 50, 55, 60 … 100."""
    power = 10.0 ** (floor(log10(low)) - 1) if low > 0 else high
    while power <= high:
        for start, end, spacing in ((10, 20, 1.0), (20, 50, 2.5), (50, 100, 5.0)):
            for n in range(round((end - start) / spacing)):
                level = float(f"{(start + n * spacing) * power:.6g}")
                if low <= level <= high:
                    yield level
        power *= 10


class TenMinutes:
    """The prices of an asset at full ten minutes, and what they come to."""

    __slots__ = ("_answer", "_asked", "_prices", "_until", "step")

    def __init__(self) -> None:
        self.step = -1
        """The newest step that was looked at; -1: none was."""
        self._prices = Ring(SPAN + 1)
        self._asked: tuple[float, ...] | None = None
        self._answer: Watched | None = None
        self._until: Ms | None = 0  # 0: not looked for

    def learn(self, view: View, now: Ms) -> None:
        """The price at the last full ten minutes, once it is known which prices were passing
        spikes."""
        step = (now - SETTLES) // STEP
        if step > self.step:
            self._forget_answers()
            self.step = step
            if (price := view.price_at(step * STEP)) is not None and step > self._prices.newest:
                self._prices.put(step, price)

    def fill(self, prices: Mapping[Ms, float], now: Ms) -> None:
        """Prices of before that are told later, where none is known; the newest step is left to
        what is live."""
        last = max(self.step, (now - SETTLES) // STEP - 1)
        self._prices.fill([
            (at // STEP, price)
            for at, price in sorted(prices.items())
            if at % STEP == 0 and at <= last * STEP
        ])  # fmt: skip
        self._forget_answers()

    def watched(self, now: Ms, named: tuple[float, ...] = ()) -> Watched | None:
        """What the prices come to; None: that is not known now."""
        newest = self._prices.newest
        if (now - SETTLES) // STEP - newest >= LATE:
            return None
        if self._asked != named:
            steps = range(max(0, newest - SPAN), newest + 1)
            prices = {s: price for s in steps if (price := self._prices.at(s)) is not None}
            self._asked, self._answer = named, watched(prices, named)
        return self._answer

    def remembered(self) -> Ms | None:
        """Up to when the prices are known, without a hole within a week; None: too few are."""
        if self._until == 0:
            newest, known = self._prices.newest, self._prices
            steps = range(max(0, self.step - SPAN + 1), self.step + 1)
            week = range(max(0, self.step - RANGE_HOURS * STEPS), newest + 1)
            hole = next((step for step in week if known.at(step) is None), newest + 1)
            enough = self.step >= 0 and len(known.among(steps)) >= MOST_KNOWN * len(steps)
            self._until = (hole - 1) * STEP if enough else None
        return self._until

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: what is over stays."""
        over = now // STEP
        self._prices.cut(over)
        self.step = min(self.step, over)
        self._forget_answers()

    def dump(self) -> list[bytes]:
        """All of it as bytes, in this machine's byte order."""
        return [self.step.to_bytes(8, "little", signed=True), *self._prices.dump()]

    def load(self, dumped: Sequence[bytes]) -> None:
        """Takes over what was dumped. ValueError if it does not fit."""
        if len(dumped) != 3 or len(dumped[0]) != 8:
            raise ValueError("the dumped prices of levels are cut short: start without them")
        prices = Ring(SPAN + 1)
        prices.load(dumped[1:])
        self.step, self._prices = int.from_bytes(dumped[0], "little", signed=True), prices
        self._forget_answers()

    def _forget_answers(self) -> None:
        self._asked, self._until = None, 0


TEN_MINUTES = Keep("ten_minutes", TenMinutes)
"""Where they are kept, of each asset whose supports are watched."""
