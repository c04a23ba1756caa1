"""Streaks and records: what is claimed is true of what was observed, and of nothing else."""

from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import mark

from rules.alerts import Record, RecordKind
from rules.market import Market
from rules.metric import Reading
from rules.records import KEEP_DAYS, LULL, Trail, records
from streams.durations import DAY, HOUR, MINUTE

START = 1_790_035_200_000  # midnight
WEEK = 7 * DAY
LOW = RecordKind.LOWEST


def markets(*venues: str) -> list[Market]:
    return [Market(venue, "BTCUSDT", 0, {}, {}, 0) for venue in venues]


BOTH = markets("binance", "bybit")


class Watched:
    """A value watched every four minutes; low is bad."""

    def __init__(self) -> None:
        self.trail = Trail()
        self.now = START
        self.used = self.expected = BOTH

    def reading(self, value: float) -> Reading:
        return Reading(value=value, used=self.used, expected=self.expected)

    def until(self, at: float, value: float = 0.0, awake: bool = False) -> "Watched":
        """The same value up to ``at`` days after the start."""
        while self.now < START + round(at * DAY):
            self.trail.note(self.now, -value, self.reading(value), awake)
            self.now += 4 * MINUTE
        return self

    def dark(self, at: float) -> "Watched":
        """Nothing is observed up to ``at`` days after the start."""
        self.now = START + round(at * DAY)
        return self

    def records(self, value: float, after: int = WEEK) -> tuple[Record, ...]:
        reading = self.reading(value)
        self.trail.note(self.now, -value, reading, awake=True)
        return records(self.trail, "below", -value, reading, self.now, after, 0)


def days(record_list: tuple[Record, ...]) -> list[tuple[str, float | None, float]]:
    """(kind, since, record from) in days after the start."""
    return [
        (
            record.kind.value,
            None if record.since is None else round((record.since - START) / DAY, 2),
            round((record.record_from - START) / DAY, 2),
        )
        for record in record_list
    ]


def test_lowest_since_an_earlier_low():
    watched = Watched().until(10).until(10.05, -8, awake=True).until(50)
    assert days(watched.records(-5)) == [("lowest", 10, 0)]
    assert days(watched.records(-9)) == [("lowest", None, 0)]


def test_a_low_of_this_week_is_no_record():
    watched = Watched().until(45).until(45.05, -8, awake=True).until(50)
    assert watched.records(-5) == ()
    assert days(watched.records(-5, after=4 * DAY)) == [("lowest", 45, 0)]


def test_a_record_must_be_a_week_old():
    assert Watched().until(6.9).records(-5) == ()
    assert days(Watched().until(7.1).records(-5)) == [("lowest", None, 0)]


def test_an_excursion_does_not_stand_in_its_own_way():
    watched = Watched().until(30)
    # pending, a moment of quiet, and again: one excursion
    watched.until(30.01, -7, awake=True).until(30.015, 0).until(30.02, -6, awake=True)
    assert days(watched.records(-5)) == [("lowest", None, 0)]
    watched.until(30.03, -6, awake=True).until(30.03 + 3 * LULL / DAY, 0)
    assert watched.records(-5) == ()


def test_what_was_not_observed_is_not_claimed():
    watched = Watched().until(10).until(10.05, -8, awake=True).until(20).dark(24).until(50)
    # 4 of 40 days are missing since the low: the record begins where 95 % were seen
    assert days(watched.records(-5)) == [("lowest", None, 24)]
    watched = Watched().until(10).until(10.05, -8, awake=True).until(20).dark(21).until(50)
    assert days(watched.records(-5)) == [("lowest", 10, 0)]


def test_a_restart_after_a_long_absence_is_a_hole_and_nothing_else():
    assert days(Watched().until(10).dark(40).until(45).records(-5)) == []
    assert days(Watched().until(10).dark(40).until(48).records(-5)) == [("lowest", None, 40)]


def test_other_venues_make_no_record():
    watched = Watched().until(30)
    watched.used = BOTH[:1]
    assert watched.records(-5) == ()  # ex-Bybit
    watched.used = BOTH
    assert days(watched.records(-5)) == [("lowest", None, 0)]
    watched.used = watched.expected = markets("binance", "bybit", "okx")
    assert watched.records(-5) == ()
    # a set that stays begins a record of its own
    watched.until(38.5)
    assert days(watched.records(-5)) == [("lowest", None, 31)]


def test_an_outage_of_one_venue_is_not_observed_but_its_low_counts():
    watched = Watched().until(20)
    watched.used = BOTH[:1]
    watched.until(20.1, -8, awake=True)
    watched.used = BOTH
    watched.until(40)
    assert days(watched.records(-5)) == [("lowest", 20, 0)]
    watched = Watched().until(20)
    watched.used = BOTH[:1]
    watched.until(24)
    watched.used = BOTH
    assert days(watched.until(40).records(-5)) == [("lowest", None, 24)]


def test_high_is_the_mirror():
    trail, reading = Trail(), Reading(value=9.0, used=BOTH, expected=BOTH)
    for n in range(10 * 360):
        trail.note(START + n * 4 * MINUTE, 1.0, reading, awake=False)
    (record,) = records(trail, "above", 9.0, reading, START + 10 * DAY, WEEK, 0)
    assert record == Record(kind=RecordKind.HIGHEST, since=None, record_from=START)


@given(st.integers(0, 2**32))
@settings(max_examples=6, deadline=None)
def test_since_is_the_day_of_the_latest_value_as_low(seed):
    dice, watched, rows = Random(seed), Watched(), list[tuple[int, float]]()
    for day in range(1, 60):
        value = -float(dice.randint(0, 9))
        rows.append((watched.now // DAY, value))
        watched.until(day - 0.5, value)
        watched.until(day, 0.0)
    value = -float(dice.randint(1, 10))
    as_low = [day for day, x in rows if x <= value]
    record_list = watched.records(value, after=0)
    assert [None if r.since is None else r.since // DAY for r in record_list] == [
        max(as_low, default=None)
    ]


@mark.parametrize("gap, observed", [(4, True), (5, True), (6, False), (14, False)])
def test_what_lies_between_two_observations_further_apart_was_not_observed(gap, observed):
    trail, reading = Trail(), Reading(value=0.0, used=BOTH, expected=BOTH)
    for n in range(10 * DAY // (gap * MINUTE)):
        trail.note(START + n * gap * MINUTE, 0.0, reading, awake=False)
    now = START + 10 * DAY
    trail.note(now, 5.0, reading, awake=True)
    record_list = records(trail, "below", 5.0, reading, now, WEEK, 0)
    assert bool(record_list) is observed


# ── settlements ──


def settlements(*rates: float | None, start: int = START) -> tuple[Trail, Reading, int]:
    """Rates settled every 8 h, None for one that was missed; the last one and its time."""
    trail, reading, at = Trail(), Reading(value=0.0), start
    for n, rate in enumerate(rates):
        at = start + n * 8 * HOUR
        if rate is not None:
            reading = Reading(
                value=rate, used=BOTH, expected=BOTH, settled_at=at, interval_ms=8 * HOUR
            )
            trail.note(at + 40_000, -rate, reading, awake=rate < 0)
    return trail, reading, at


def streak(*rates: float | None, settled: int = 1) -> list[tuple[str, float | None, int]]:
    trail, reading, at = settlements(*rates)
    record_list = records(trail, "below", -reading.value, reading, at + 40_000, WEEK, settled)
    return [
        (r.kind.value, None if r.since is None else (r.since - START) / DAY, r.run)
        for r in record_list
        if r.kind is not LOW
    ]


def test_the_first_negative_since():
    calm = [0.01] * 90
    assert streak(0.01, 0.01, -0.01, *calm, -0.02) == [("first", after(2), 1)]
    assert streak(*calm, -0.02) == [("first", None, 1)]
    assert streak(*calm, -0.01, *calm[:6], -0.02) == []  # two days ago


def after(settlement: int) -> float:
    return settlement * 8 * HOUR / DAY


def test_the_longest_run_since():
    calm = [0.01] * 60
    early = [*calm, *[-0.01] * 5, *calm, *[-0.01] * 2, *calm]
    # the run of five ended at settlement 64, that of two at 126
    assert streak(*early, *[-0.01] * 4) == [("longest", after(64), 4)]
    assert streak(*early, *[-0.01] * 2) == [("longest", after(126), 2)]
    assert streak(*early, *[-0.01] * 6) == [("longest", None, 6)]
    # two in a row are the rule's own condition
    assert streak(*early, *[-0.01] * 2, settled=2) == [("first", after(126), 2)]


def test_a_missed_settlement_breaks_a_run():
    calm = [0.01] * 60
    assert streak(*calm, -0.01, -0.01, None, -0.01) == []
    assert streak(*calm, -0.01, None, *calm, -0.01)[0][2] == 1


def test_a_settlement_told_again_counts_once():
    trail, reading, at = settlements(0.01, -0.01, -0.01)
    for n in range(100):
        trail.note(at + 40_000 + n * 1000, 0.01, reading, awake=True)
    assert trail.run == 2


# ── size ──


@mark.parametrize("hours", [1, 8])
def test_it_stays_small_for_ever(hours):
    dice, trail = Random(1), Trail()
    for n in range(600 * 24 // hours):
        at = START + n * hours * HOUR
        rate = dice.gauss(0, 1) - n / 1000
        reading = Reading(
            value=rate, used=BOTH, expected=BOTH, settled_at=at, interval_ms=hours * HOUR
        )
        trail.note(at, rate, reading, awake=dice.random() < 0.5)
    assert len(trail.covered) == KEEP_DAYS
    assert min(at for at, _ in trail.peaks) >= at - KEEP_DAYS * DAY
    assert len(trail.peaks) <= KEEP_DAYS
    assert len(trail.runs) < 150
    assert len(msgspec.msgpack.encode(trail)) < 8_000


def test_quiet_days_cost_a_byte_each():
    trail = Watched().until(30).trail
    assert len(msgspec.msgpack.encode(trail)) < 150
