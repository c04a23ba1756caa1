"""The price now and in the past, against everything that was ever told."""

from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import mark, raises

from rules.windows import HELD, JUMP, LatestPrices, PriceWindow

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
START = 1_790_006_400_000


@given(st.integers(0, 2**32), st.sampled_from([15 * MINUTE, HOUR, 24 * HOUR]))
@settings(max_examples=15, deadline=None)
def test_a_past_price_is_one_of_just_before(seed, window):
    dice, prices, rows, now = Random(seed), PriceWindow(window), list[tuple[int, float]](), START
    spacing = 10 * SECOND if window <= HOUR else window // 288
    for _ in range(150):
        now += dice.choice([300, SECOND, 15 * SECOND, window // 100])
        rows.append((now, dice.uniform(1, 1 + JUMP)))
        prices.take(rows[-1][1], now)
        if dice.random() < 0.1:
            again = PriceWindow(window)
            again.load(prices.dump())
            assert again.dump() == prices.dump()
            again.doubted = prices.doubted
            prices = again
        for t in (now - window, now - window // 2, now - 30 * SECOND, now - SECOND, now):
            near = [x for at, x in rows if t - MINUTE - 2 * spacing <= at <= t]
            past = prices.at(t)
            assert past is None or any(abs(past - x) < 1e-6 for x in near)  # never a later one
            # what was in force when the slot of t began is never missed, but for a first one
            began = t - t % spacing
            confirmed = [now for (at, _), (now, _) in pairwise(rows) if now - at <= MINUTE]
            assert past is not None or not [at for at in confirmed if began - MINUTE <= at <= began]
        for length in (window // 2, window, 30 * SECOND):
            assert prices.before(length, now) == prices.at(now - length)
        assert prices.now(now + MINUTE) == rows[-1][1]
        assert prices.now(now + MINUTE + 1) is None


@mark.parametrize("window", [15 * MINUTE, HOUR, 24 * HOUR])
@mark.parametrize("wrong", [0, 3, 11])
def test_the_start_of_a_window_follows_what_is_mended_and_what_is_silent(window, wrong):
    prices, t = PriceWindow(window), START
    for second in range(200):
        t += SECOND if second < 120 else 7 * SECOND
        prices.take(90.0 if 60 <= second < 60 + wrong else 100.0 + second / 100, t)
        for now in (t, t + 4 * SECOND, t + 45 * SECOND):
            for length in (20 * SECOND, 40 * SECOND, MINUTE, window):
                assert prices.before(length, now) == prices.at(now - length)


def test_a_past_price_is_not_of_ten_seconds_later():
    prices = PriceWindow(HOUR)
    for second, price in ((0, 100.0), (9, 100.0), (13, 98.0), (18, 96.0), (31, 94.0)):
        prices.take(price, START + second * SECOND)
    # at 00:12 it was 100, and 98 is of a second later
    assert [prices.at(START + s * SECOND) for s in (12, 19, 30, 31)] == [100, 100, 96, 94]


def test_a_jump_counts_when_the_next_price_is_on_its_side():
    prices = PriceWindow(HOUR)
    readings = []
    for second, price in enumerate((100.0, 100.0, 88.0, 100.1, 88.0, 87.0, 112.0, 80.0, 79.0)):
        prices.take(price, START + second * 2 * SECOND)
        readings.append((prices.now(START + second * 2 * SECOND), prices.last))
    assert readings == [
        (100, None), (100, 100),
        (88, 100), (100.1, 100.1), (88, 100.1), (87, 87), (112, 87), (80, 87), (79, 79)
    ]  # fmt: skip


@mark.parametrize("window, slots", [(15 * MINUTE, 102), (HOUR, 372), (24 * HOUR, 372 + 290)])
def test_four_bytes_a_slot(window, slots):
    prices = PriceWindow(window)
    for n in range(30 * 3600 // 5):
        prices.take(1.0, START + n * 5 * SECOND)
    assert sum(map(len, prices.dump())) <= 4 * slots + 40


def test_a_dump_of_shorter_or_longer_windows_is_used_as_far_as_it_goes():
    day, hour = PriceWindow(24 * HOUR), PriceWindow(HOUR)
    for n in range(1000):
        for prices in (day, hour):
            prices.take(1000.0 + n, START + n * 10 * SECOND)
    pairs = ((24 * HOUR, hour), (HOUR, day), (15 * MINUTE, hour), (4 * HOUR, day))
    for window, old in pairs:
        new = PriceWindow(window)
        new.load(old.dump())
        assert new.at(START + 9_500 * SECOND) == 1950
        assert new.now(START + 9_990 * SECOND) == 1999
        new.take(2007.0, START + 10_000 * SECOND)
        assert new.at(START + 10_000 * SECOND) == 2007
    with raises(ValueError, match="cut short"):
        day.load([b""])


def test_what_was_held_is_the_mildest_of_some_seconds():
    latest = LatestPrices()
    for second in range(120):
        latest.take(100.0 if second < 60 else 88.0 - (second - 60) / 100, second * SECOND)
        fall = latest.held(100.0, second * SECOND)
        if HELD <= second * SECOND < 60 * SECOND + HELD - 5 * SECOND:
            assert fall == 100
        if second > 85:
            assert fall is not None and 87.6 < fall <= 88
    assert not latest.frozen(120 * SECOND)
    assert latest.moving(120 * SECOND)
    assert len(latest.blocks) <= 6


@mark.parametrize("window", [15 * MINUTE, HOUR, 24 * HOUR])
@mark.parametrize("factor", [0.88, 1.12, 3.0])
@mark.parametrize("seconds", [2, 10, 19])
@mark.parametrize("begins", [0, 3, 9])
def test_a_wrong_price_of_some_seconds_does_not_become_the_past(window, factor, seconds, begins):
    prices, wrong = PriceWindow(window), START + 10 * MINUTE + begins * SECOND
    for t in range(START, START + 80 * MINUTE, SECOND):
        prices.take(100.0 * (factor if wrong <= t < wrong + seconds * SECOND else 1.0), t)
        if wrong + HELD * 3 <= t <= wrong + 2 * window:
            assert prices.at(t - window) in (None, 100.0)
    assert prices.at(wrong + seconds * SECOND // 2) in (None, 100.0)


BEGINNINGS = [
    # one reading, then silence; a second of them each 4 s, and each 13 s
    ([(0, 1.14), (25, 1.0), (26, 1.0)], 1),
    ([(0, 0.8), (13, 1.0), (26, 1.0)], 13),
    ([(0, 1.3), (4, 1.31), (8, 1.3), (12, 1.0)], 4),
    ([(0, 0.5), (4, 0.5), (15, 0.51), (19, 1.0)], 1),
    ([(0, 0.967), (50, 3.0), (51, 1.0), (52, 1.0)], 1),
]
"""Factors by second, and how often the price is right after them, seconds."""


@mark.parametrize("window", [15 * MINUTE, HOUR, 24 * HOUR])
@mark.parametrize(("first", "every"), BEGINNINGS)
@mark.parametrize("begins", [0, 3, 9])
@mark.parametrize("hole", [None, 70, 400])
def test_a_wrong_price_at_a_beginning_does_not_become_the_past(window, first, every, begins, hole):
    prices, t0 = PriceWindow(window), START + 10 * MINUTE + begins * SECOND
    if hole is not None:
        for t in range(START, t0 - hole * SECOND, SECOND):
            prices.take(100.0, t)
    for second, factor in first:
        prices.take(100.0 * factor, t0 + second * SECOND)
    right = t0 + (first[-1][0] + every) * SECOND
    for t in range(right, right + window + 2 * MINUTE, every * SECOND):
        prices.take(100.0, t)
        if t - t0 > 2 * MINUTE:
            assert all(prices.before(length, t) in (None, 100.0) for length in (MINUTE, window))
    assert {prices.at(t) for t in range(t0, t0 + MINUTE, SECOND)} <= {None, 100.0}
    assert window > HOUR or prices.at(right + 30 * SECOND) == 100


@mark.parametrize("hole", [None, 70])
@mark.parametrize("every", [1, 4, 13])
def test_what_is_held_at_a_beginning_is_the_past(every, hole):
    """A price of half a minute, and a true fall after it."""
    prices, t0 = PriceWindow(HOUR), START + 10 * MINUTE + 4 * SECOND
    if hole is not None:
        for t in range(START, t0 - hole * SECOND, SECOND):
            prices.take(100.0, t)
    for t in range(t0, t0 + 3 * MINUTE, every * SECOND):
        prices.take(100.0 if t < t0 + 40 * SECOND else 80.0, t)
    # from the first slot on that begins after its first price
    assert prices.at(t0 + 6 * SECOND) == 100
    assert prices.at(t0 + 35 * SECOND) == 100
    assert prices.at(t0 + MINUTE + 10 * SECOND) == 80


def test_a_first_price_that_waits_for_its_second_outlives_a_restart():
    prices, t = PriceWindow(HOUR), START
    for price in (88.0, 100.0, 100.5):  # only the last two are near each other
        again = PriceWindow(HOUR)
        again.load(prices.dump())
        again.doubted = prices.doubted
        prices, t = again, t + 4 * SECOND
        prices.take(price, t)
    assert (prices.last, prices.doubted, prices.now(t)) == (100.5, None, 100.5)


@mark.parametrize("takes", [0, 5, 25, 60])
@mark.parametrize("left", [0.8, 1.25])
def test_a_move_that_stays_is_the_past_from_its_second_on(takes, left):
    prices, began, price_by_time = (
        PriceWindow(HOUR),
        START + 10 * MINUTE + 4 * SECOND,
        dict[int, float](),
    )
    for t in range(START, START + 20 * MINUTE, SECOND):
        moved = min(1.0, max(0.0, (t - began) / (takes * SECOND or 1)))
        price_by_time[t] = 100.0 * (1 + (left - 1) * moved)
        prices.take(price_by_time[t], t)
    for t in range(began - MINUTE, began + 2 * MINUTE, 10 * SECOND):
        slot = t - t % (10 * SECOND)
        # a jump is doubted until the next price, so it may begin a slot later
        assert min(abs(prices.at(t) - price_by_time[s]) for s in (slot, slot - SECOND)) < 1e-4
