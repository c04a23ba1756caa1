"""Levels that a price came down to, against a second way of counting and what people would say."""

from collections.abc import Mapping
from itertools import pairwise
from math import exp
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.returns import STEP, STEPS
from rules.supports import (
    AWAY,
    BELOW,
    LEAST_HOURS,
    NEAR,
    RANGE_HOURS,
    SPAN,
    STANDS,
    STAYS,
    TenMinutes,
    round_levels,
    watched,
)
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Ms

START = 2_900_000 // STEPS * STEPS
"""A step at which an hour begins."""


def path(*points: tuple[int, float], wave: float = 60.0) -> dict[int, float]:
    """Prices from point to point, hours after START, on which each hour goes up and down."""
    prices: dict[int, float] = {}
    for (first, a), (last, b) in pairwise(points):
        for step in range(first * STEPS, last * STEPS + 1):
            share = (step / STEPS - first) / (last - first)
            prices[START + step] = a + share * (b - a) + wave * (step % 6 - 2.5) / 2.5
    return prices


FALL = path(
    (0, 92_000), (48, 90_500), (60, 80_100), (72, 88_000), (84, 80_090), (90, 84_000),
    (96, 80_110), (99, 82_500), (102, 80_080), (110, 81_900), (120, 78_500),
)  # fmt: skip
"""Down to 80,000 four times, less far up from it each time, and through it. The mean range of its
hours is some 300 to 450."""


def test_a_level_that_is_tested_again_and_again_and_lost():
    known = watched(FALL)
    assert known is not None
    lost = known.lost()
    assert lost is not None and lost.level == 80_000
    assert [round((test.at - START * STEP) / HOUR) for test in lost.held] == pytest.approx(
        [60, 84, 96, 102], abs=2
    )
    rebounds = [88_060, 84_060, 82_560, 81_960]
    assert lost.rebounds_pct == pytest.approx([x / 800 - 100 for x in rebounds], abs=0.2)
    assert lost.high_before == max(FALL.values())
    middle = sum(sorted(lost.rebounds_pct)[1:3]) / 2
    assert lost.regained_pct == pytest.approx(100 * middle / (lost.high_before / 800 - 100))
    assert lost.lost_at is not None and FALL[lost.lost_at // STEP] < 80_000
    assert known.standing() is None and known.price == FALL[max(FALL)]


def test_until_it_is_lost_it_stands():
    known = watched({step: price for step, price in FALL.items() if step < START + 108 * STEPS})
    assert known is not None
    standing = known.standing()
    assert standing is not None and standing.level == 80_000 and len(standing.tests) == 4
    assert standing.held == standing.tests and known.lost() is None


def test_it_stands_while_the_price_is_a_little_below_it():
    below = next(s for s in sorted(FALL) if FALL[s] < 80_000)
    known = watched({s: x for s, x in FALL.items() if s < below} | {below: 79_990.0})
    assert known is not None and known.price < 80_000
    standing = known.standing()
    assert standing is not None and standing.level == 80_000


def test_what_is_retaken_is_not_lost_and_begins_anew():
    back = path((120, 78_500), (130, 84_500), (140, 80_100), (144, 80_400))
    known = watched({**FALL, **back})
    assert known is not None and known.lost() is None
    standing = known.standing()
    assert standing is not None and standing.level == 80_000 and len(standing.tests) == 1


def test_a_wick_through_it_is_a_test_that_it_held():
    prices = path((0, 92_000), (48, 90_500), (60, 80_600), (61, 80_600), (90, 84_000))
    prices[START + 60 * STEPS + 3] = 78_000.0
    known = watched(prices)
    assert known is not None and known.lost() is None
    (support,) = [s for s in known.supports if s.level == 80_000]
    assert support.lost_at is None and support.tests[0].low == 78_000


def test_a_day_later_it_is_no_longer_told():
    on = path((120, 78_500), (170, 78_400))
    for hours, is_told in ((130, True), (170, False)):
        last = START + hours * STEPS
        known = watched({s: x for s, x in {**FALL, **on}.items() if s <= last})
        assert known is not None and (known.lost() is not None) is is_told


def test_a_level_of_the_operators_own():
    prices = path((0, 92_000), (48, 90_500), (60, 83_150), (72, 88_000), (84, 83_100), (90, 86_000))
    known = watched(prices, [83_000.0])
    assert known is not None
    assert [(s.level, len(s.tests)) for s in known.supports if s.level < 85_000] == [(83_000, 2)]
    without = watched(prices)
    assert without is not None and not [s for s in without.supports if s.level < 85_000]


def test_a_hole_loses_nothing():
    """That it is below before a hole, and after it, does not say that it was in it."""
    lost = watched(FALL)
    assert lost is not None and lost.supports[-1].lost_at is not None
    second = next(s.lost_at for s in lost.supports if s.level == 80_000) or 0
    first = second // STEP - 1
    prices = {s: x for s, x in FALL.items() if s <= first}
    assert prices[first] < 80_000
    for gap, is_lost in ((1, True), (2, False), (12 * STEPS, False)):
        known = watched(prices | {first + gap: 78_400.0})
        assert known is not None and (known.lost() is not None) is is_lost


def test_nothing_is_known_of_less_than_a_day():
    few = {s: x for s, x in FALL.items() if s < START + LEAST_HOURS * STEPS}
    assert watched(few) is None and watched({}) is None
    assert watched(dict.fromkeys(FALL, 100.0)) is None  # nothing moves: nobody knows what is far


def test_round_numbers():
    assert [*round_levels(95, 131)] == [95, 100, 110, 120, 130]
    assert [*round_levels(0.0475, 0.0551)] == [0.0475, 0.05, 0.055]
    assert [*round_levels(2_500, 3_001)] == [2_500, 2_750, 3_000]


Counted = dict[float, tuple[list[int], int | None]]
"""Level → the steps of its tests, and of its loss."""


def naive(prices: Mapping[int, float], named: tuple[float, ...]) -> Counted:
    """Each level by itself, every hour's range by its own."""
    steps = sorted(prices)

    def range_of(step: int) -> float | None:
        hour, of_hours = step // 6, list[float]()
        for h in range(hour - RANGE_HOURS, hour):
            known = [prices.get(6 * h + n) for n in range(7)]
            if None not in known:
                numbers = [x for x in known if x is not None]
                of_hours.append(max(numbers) - min(numbers))
        mean = sum(of_hours) / len(of_hours) if len(of_hours) >= LEAST_HOURS else 0.0
        return mean or None

    ranges = {step: range_of(step) for step in steps}
    counted: Counted = {}
    levels = {*round_levels(min(prices.values()) / 2, max(prices.values())), *named}
    for level in levels:
        tests: list[int] = []
        lost: int | None = None
        clear = False
        for step in steps:
            r = ranges[step]
            if r is None:
                continue
            if prices[step] >= level + AWAY * r:
                clear = True
                if lost:
                    tests, lost = [], None
            elif clear and prices[step] <= level + NEAR * r:
                clear = False
                tests = [*tests, step]
            row = [
                (x := prices.get(step - n)) is not None
                and (rr := ranges.get(step - n)) is not None
                and x < level - BELOW * rr
                for n in range(STAYS)
            ]
            if tests and lost is None and all(row):
                lost = step
        if tests:
            counted[level] = tests, lost
    return counted


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 10_000), holes=st.integers(0, 6), named=st.booleans())
def test_against_a_second_way_of_counting(seed: int, holes: int, named: bool):
    random, price = Random(seed), 100.0
    prices: dict[int, float] = {}
    for step in range(6 * 24 * 9):
        price *= exp(random.gauss(0, 0.003) + 0.002 * (1 - price / 100))
        prices[START + step] = price
    for _ in range(holes):
        first = START + random.randrange(6 * 24 * 9)
        for step in range(first, first + random.randrange(1, 90)):
            prices.pop(step, None)
    own = (96.5, 103.3) if named else ()
    known = watched(prices, own)
    if known is None:
        assert max(prices) // 6 * 6 - START < LEAST_HOURS * 6 + 90 * holes
        return
    counted = {
        s.level: ([t.at // STEP for t in s.tests], s.lost_at and s.lost_at // STEP)
        for s in known.supports
    }
    assert counted == naive(prices, own)
    for support in known.supports:
        edges = [t.at // STEP for t in support.tests] + [max(prices) + 1]
        for test, (first, end) in zip(support.tests, pairwise(edges), strict=True):
            between = {s: x for s, x in prices.items() if first <= s < end}
            assert test.low == min(between.values())
            low_at = min(s for s, x in between.items() if x == test.low)
            assert test.high == max(x for s, x in between.items() if s >= low_at)


def filled(prices: Mapping[int, float], now: Ms) -> TenMinutes:
    memo = TenMinutes()
    memo.fill({step * STEP: price for step, price in prices.items()}, now)
    return memo


def test_what_is_told_later_is_as_good_as_what_was_seen_and_lasts():
    now = (max(FALL) + 1) * STEP + MINUTE
    memo = filled(FALL, now)
    known = memo.watched(now)
    assert known is not None and known == watched({s: round(x, 9) for s, x in asked(memo).items()})
    again = TenMinutes()
    again.load(memo.dump())
    assert again.dump() == memo.dump() and again.watched(now) == known
    assert again.watched(now, (83_000.0,)) != known
    for cut in range(3):
        with pytest.raises(ValueError):
            TenMinutes().load(memo.dump()[:cut])
    # half of it later gives the same
    half = filled({s: x for s, x in FALL.items() if s % 2}, now)
    half.fill({s * STEP: x for s, x in FALL.items()}, now)
    assert half.watched(now) == known


def asked(memo: TenMinutes) -> dict[int, float]:
    """The prices as the memo holds them, at seven digits."""
    import struct

    number, floats = memo.dump()[1:]
    newest = int.from_bytes(number, "little", signed=True)
    values = struct.unpack(f"{len(floats) // 4}f", floats)
    size = len(values)
    return {
        step: values[step % size]
        for step in range(newest - size + 1, newest + 1)
        if values[step % size] == values[step % size]
    }


def test_it_is_not_known_long_after_the_newest_price():
    now = (max(FALL) + 1) * STEP + MINUTE
    memo = filled(FALL, now)
    assert memo.watched(now) is not None
    assert memo.watched(now + 3 * STEP) is None


def test_a_clock_that_is_set_back_leaves_what_is_over():
    now = (max(FALL) + 1) * STEP + MINUTE
    memo = filled(FALL, now)
    memo.set_back(now - DAY)
    assert max(asked(memo)) == (now - DAY) // STEP
    assert memo.watched(now - DAY) == watched(asked(memo))


def test_the_past_is_asked_for_until_a_month_is_known():
    last = START + SPAN
    prices = {step: 100.0 + step % 7 for step in range(last - SPAN, last + 1)}
    now = (last + 1) * STEP + MINUTE
    assert filled(prices, now).remembered() is None  # nothing was ever looked at
    memo = filled(prices, now)
    memo.step = last
    assert memo.remembered() == last * STEP
    hole = {step: x for step, x in prices.items() if not last - 30 < step < last - 20}
    with_hole = filled(hole, now)
    with_hole.step = last
    assert with_hole.remembered() == (last - 30) * STEP
    few = filled({step: x for step, x in prices.items() if step > last - SPAN // 2}, now)
    few.step = last
    assert few.remembered() is None


def test_it_stands_for_a_day():
    assert STANDS * STEP == DAY
