"""The price now and in the past, against everything that was ever told."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import mark, raises

from rules.prices import Prices

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
START = 1_790_006_400_000


@given(st.integers(0, 2**32), st.sampled_from([15 * MINUTE, HOUR, 24 * HOUR]))
@settings(max_examples=15, deadline=None)
def test_a_past_price_is_one_of_just_before(seed, window):
    dice, prices, rows, now = Random(seed), Prices(window), list[tuple[int, float]](), START
    for _ in range(150):
        now += dice.choice([300, SECOND, 15 * SECOND, window // 100])
        rows.append((now, dice.uniform(1, 2)))
        prices.take(rows[-1][1], now)
        if dice.random() < 0.1:
            again = Prices(window)
            again.load(prices.dump())
            assert again.dump() == prices.dump()
            prices = again
        spacing = 10 * SECOND if window <= HOUR else window // 288
        for t in (now - window, now - window // 2, now - 30 * SECOND):
            near = [x for at, x in rows if t - MINUTE - 2 * spacing <= at < t + spacing]
            found = prices.at(t)
            assert found is None or any(abs(found - x) < 1e-6 for x in near)
            # what came within a minute before is never missed
            assert found is not None or not [x for at, x in rows if t - MINUTE <= at <= t]
        assert prices.now(now + MINUTE) == rows[-1][1]
        assert prices.now(now + MINUTE + 1) is None


@mark.parametrize("window, slots", [(15 * MINUTE, 102), (HOUR, 372), (24 * HOUR, 372 + 290)])
def test_four_bytes_a_slot(window, slots):
    prices = Prices(window)
    for n in range(30 * 3600 // 5):
        prices.take(1.0, START + n * 5 * SECOND)
    assert sum(map(len, prices.dump())) <= 4 * slots + 40


def test_a_dump_of_shorter_or_longer_windows_is_used_as_far_as_it_goes():
    day, hour = Prices(24 * HOUR), Prices(HOUR)
    for n in range(1000):
        for prices in (day, hour):
            prices.take(float(n), START + n * 10 * SECOND)
    pairs = ((24 * HOUR, hour), (HOUR, day), (15 * MINUTE, hour), (4 * HOUR, day))
    for window, old in pairs:
        new = Prices(window)
        new.load(old.dump())
        assert new.at(START + 9_500 * SECOND) == 950
        assert new.now(START + 9_990 * SECOND) == 999
        new.take(7.0, START + 10_000 * SECOND)
        assert new.at(START + 10_000 * SECOND) == 7
    with raises(ValueError, match="cut short"):
        day.load([b""])
