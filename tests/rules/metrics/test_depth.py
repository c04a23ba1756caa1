"""A book's depth: the median of a minute, kept without sorting, against sorting."""

from random import Random
from statistics import median

from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx, raises

from rules.metrics.depth import DepthSamples
from streams.durations import HOUR, MINUTE, SECOND

START = 1_790_006_400_000  # a full hour


class Naive:
    """Every sample that was ever taken."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, float, float]] = []

    def add(self, t: int, usd: float, bids: float) -> None:
        if self.rows and self.rows[-1][0] // SECOND == t // SECOND:
            self.rows.pop()
        self.rows.append((t, usd, bids))

    def current(self, now: int) -> float | None:
        last_minute = [row for row in self.rows if row[0] > now - MINUTE]
        if (
            len(last_minute) < 3
            or last_minute[-1][0] - last_minute[0][0] < 10 * SECOND
            or now - last_minute[-1][0] > 30_000
        ):
            return None
        return median(usd for _, usd, _ in last_minute)

    def minutes(self) -> list[tuple[int, float]]:
        by_minute: dict[int, list[tuple[int, float]]] = {}
        for t, usd, _ in self.rows:
            by_minute.setdefault(t // MINUTE, []).append((t, usd))
        return [
            (minute, median(usd for _, usd in rows))
            for minute, rows in list(by_minute.items())[:-1]
            if len(rows) >= 3 and rows[-1][0] - rows[0][0] >= 10 * SECOND
        ]

    def recent(self) -> float | None:
        known = self.minutes()
        medians = [usd for minute, usd in known if minute > known[-1][0] - 240]
        return median(medians) if len(medians) >= 30 else None


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_against_sorting_everything(seed):
    dice, naive, book, now = Random(seed), Naive(), DepthSamples(), START
    for n in range(600):
        now += dice.choice([100, 400, 900, 1_000, 2_000, 5_000])
        now += dice.randint(1, 5) * MINUTE if dice.random() < 0.01 else 0
        usd = float(dice.choice([dice.randint(1, 5), dice.uniform(1e5, 1e6)]))
        naive.add(now, usd, usd / 3)
        book.add(now, usd, usd / 3)
        later = now + dice.choice([0, 500, 7_000, 29_000, 40_000])
        if dice.random() < 0.5:
            # asking late forgets, and a restart remembers all the same
            assert book.current(later) == naive.current(later)
            now = later
        if dice.random() < 0.05:
            again = DepthSamples()
            again.load(book.dump())
            assert again.dump() == book.dump()
            book = again
        assert book.current(now) == naive.current(now)
        if n % 50 == 0 and naive.minutes():
            assert book.recent(now) == approx(naive.recent())


def filled(hours: int) -> tuple[DepthSamples, int]:
    """A book of so many hours, three samples in each minute, 1 MUSD more each hour of day."""
    book = DepthSamples()
    for minute in range(hours * 60):
        for n in range(3):
            t = START + minute * MINUTE + n * 20 * SECOND
            book.add(t, 1e6 * (1 + t // HOUR % 24), 1.0)
    return book, START + hours * HOUR


def test_the_normal_of_an_hour_is_ready_after_five_days():
    book, now = filled(5 * 24 - 1)
    assert (book.hourly(now), book.hours.days(now)) == (None, 4)
    book, now = filled(5 * 24)
    assert book.hours.days(now) == 5
    assert book.hourly(now) == approx(1e6 * (1 + now // HOUR % 24))


def test_an_hour_is_closed_by_the_first_minute_of_the_next():
    book, now = filled(1)
    assert book.hours.dump()[1] == b""
    for second in range(0, 80, 20):
        book.add(now + second * SECOND, 1.0, 1.0)
    assert book.hours.dump()[1] != b""


def test_an_hour_that_was_hardly_seen_is_not_remembered():
    book = DepthSamples()
    for minute in [*range(29), *range(60, 100), *range(120, 122)]:
        for n in range(3):
            book.add(START + minute * MINUTE + n * 20 * SECOND, 5e6, 1.0)
    newest, values = book.hours.dump()
    assert int.from_bytes(newest, "little") == START // HOUR + 1
    assert len(values) == 4 * 336
    assert book.recent(START + 123 * MINUTE) == 5e6


def test_a_dump_that_is_cut_short_is_refused():
    with raises(ValueError, match="cut short"):
        DepthSamples().load(DepthSamples().dump()[:-1])
