"""What is usual at an hour of day: against naive medians, and ready when it may be."""

from random import Random
from statistics import median

from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx, raises

from rules.windows import DAYS, READY_DAYS, Hours
from streams.durations import HOUR

FIRST = 497_000


def naive(values: dict[int, float], hour: int) -> float | None:
    """The definition once more: hours h-1, h, h+1 of the last 336, on at least five days."""
    newest = max(values)
    known = {h: x for h, x in values.items() if newest - 336 < h}
    near = [h for h in known if (h - hour) % 24 in (23, 0, 1) and hour - 337 <= h < hour]
    days = [
        sum(hour - 24 * day + by in known for by in (-1, 0, 1)) >= 2 for day in range(1, DAYS + 1)
    ]
    return median(known[h] for h in near) if sum(days) >= READY_DAYS else None


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_against_naive(seed):
    dice, hours, values = Random(seed), Hours(), dict[int, float]()
    missing, hour = dice.choice([0.0, 0.1, 0.4]), FIRST
    for _ in range(400):
        hour += 1 if dice.random() > 0.003 else dice.randint(2, 500)
        if dice.random() >= missing:
            values[hour] = float(dice.randint(1, 10**6))
            hours.put(hour, values[hour])
        if values and hour % 31 == 0:
            expected = naive(values, hour + 1)
            got = hours.normal((hour + 1) * HOUR + dice.randrange(HOUR))
            assert got == (None if expected is None else approx(expected))


def test_it_is_ready_after_five_days():
    hours = Hours()
    for n in range(24 * READY_DAYS - 1):
        hours.put(FIRST + n, 1.0)
    assert hours.normal((FIRST + n + 1) * HOUR) is None
    assert hours.days((FIRST + n + 1) * HOUR) == READY_DAYS - 1
    hours.put(FIRST + n + 1, 1.0)
    assert hours.normal((FIRST + n + 2) * HOUR) == 1.0


def test_each_hour_of_day_has_its_own_normal():
    hours = Hours()
    for n in range(24 * DAYS):
        hours.put(FIRST + n, 100.0 if (FIRST + n) % 24 < 12 else 40.0)
    by_hour = {(FIRST + n) % 24: hours.normal((FIRST + n) * HOUR) for n in range(336, 360)}
    assert (by_hour[6], by_hour[18]) == (100, 40)
    assert by_hour[11] == 100  # two of three hours


def test_it_costs_four_bytes_an_hour_and_is_what_it_was_after_loading():
    hours, loaded = Hours(), Hours()
    loaded.load(hours.dump())
    assert loaded.dump() == hours.dump() == [(-1).to_bytes(8, "little", signed=True), b""]
    for n in range(500):
        hours.put(FIRST + n, n)
    assert sum(map(len, hours.dump())) == 8 + 4 * 24 * DAYS
    loaded.load(hours.dump())
    assert loaded.normal((FIRST + 500) * HOUR) == hours.normal((FIRST + 500) * HOUR)
    with raises(ValueError, match="cut short"):
        loaded.load([b"", b"1234"])
