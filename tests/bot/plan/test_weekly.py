"""When a weekly report is due: once for each week, whatever the clock and the configuration do."""

from datetime import UTC, datetime
from random import Random

import pytest

from bot.plan.planner import WeeklyTime
from bot.plan.weekly import (
    COMPLETE,
    LATEST,
    WEEK,
    WeeklyPosts,
    due_report,
    last_week,
    with_posted,
    without_future,
)
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Ms

MONDAY: Ms = 1_794_787_200_000  # 16 Nov 2026 00:00 UTC


def at(text: str) -> Ms:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def weekly(day: int, minute: int, zone: str) -> WeeklyTime:
    return WeeklyTime(weekday=day, minute=minute, zone=zone)


@pytest.mark.parametrize(
    ("time", "now", "expected"),
    [
        (weekly(0, 9 * 60, "Asia/Taipei"), "2026-11-16 01:00", "2026-11-16 01:00"),
        (weekly(0, 9 * 60, "Asia/Taipei"), "2026-11-16 00:59", "2026-11-09 01:00"),
        # a Monday morning in Tokyo is a Sunday evening in UTC
        (weekly(0, 0, "Asia/Tokyo"), "2026-11-15 15:00", "2026-11-15 15:00"),
        (weekly(6, 23 * 60, "America/New_York"), "2026-11-16 05:00", "2026-11-16 04:00"),
        # New York goes to summer time on 8 Mar, so a week has 167 hours there …
        (weekly(0, 9 * 60, "America/New_York"), "2026-03-09 12:59", "2026-03-02 14:00"),
        (weekly(0, 9 * 60, "America/New_York"), "2026-03-09 13:00", "2026-03-09 13:00"),
        # … half past two is not there that day, and half past one comes twice on 1 Nov
        (weekly(6, 2 * 60 + 30, "America/New_York"), "2026-03-08 07:30", "2026-03-08 07:30"),
        (weekly(6, 60 + 30, "America/New_York"), "2026-11-01 06:45", "2026-11-01 05:30"),
    ],
)
def test_a_time_of_the_week_is_by_the_clock_on_the_wall(time: WeeklyTime, now: str, expected: str):
    assert time.last_until(at(now)) == at(expected)


def test_the_last_week_is_over():
    for late in (0, HOUR, 6 * DAY + 23 * HOUR):
        assert last_week(MONDAY + WEEK + late) == MONDAY
    assert last_week(MONDAY + WEEK - 1) == MONDAY - WEEK


def test_a_report_is_due_from_its_time_on_and_a_day_later_left_out():
    wanted = weekly(0, 9 * 60, "Asia/Taipei")
    due = MONDAY + WEEK + HOUR
    assert due_report(wanted, MONDAY - WEEK, due - 1) is None
    report = due_report(wanted, MONDAY - WEEK, due)
    assert report is not None
    assert (report.week, report.at, report.too_late) == (MONDAY, due, False)
    late = due_report(wanted, MONDAY - WEEK, due + LATEST)
    assert late is not None and not late.too_late
    missed = due_report(wanted, MONDAY - WEEK, due + LATEST + 1)
    assert missed is not None and missed.too_late
    assert due_report(wanted, MONDAY, due + LATEST) is None
    # a chat that is new has missed nothing
    assert due_report(wanted, None, due + LATEST + 1) is None
    assert due_report(wanted, None, due + LATEST) == late


def test_a_week_is_recorded_before_it_is_reported():
    """At midnight in UTC the last minute of the week is not written yet."""
    wanted = weekly(0, 8 * 60, "Asia/Taipei")
    end = MONDAY + WEEK
    assert due_report(wanted, None, end + COMPLETE - 1) is None
    report = due_report(wanted, None, end + COMPLETE)
    assert report is not None and report.at == end + COMPLETE
    # a time before the end of the week is for the one before
    early = due_report(weekly(0, 7 * 60, "Asia/Taipei"), None, end - HOUR)
    assert early is not None and early.week == MONDAY - WEEK


@pytest.mark.parametrize("seed", range(20))
def test_each_week_is_reported_once_whatever_happens(seed: int):
    """Other times and zones, stops, clocks that go back: no week twice, none left out unsaid."""
    dice = Random(seed)
    wanted, kept, now = weekly(0, 540, "America/New_York"), WeeklyPosts(), MONDAY
    seen: list[Ms] = []
    while now < MONDAY + 20 * WEEK:
        now += dice.choice([MINUTE, HOUR, HOUR, 5 * HOUR, 30 * HOUR])
        if dice.random() < 0.05:
            now -= dice.choice([10_000, 3 * HOUR, 2 * DAY])
            kept = without_future(kept, now)
        if dice.random() < 0.05:
            zone = dice.choice(["Asia/Taipei", "America/New_York", "Pacific/Apia"])
            wanted = weekly(dice.randrange(7), dice.randrange(1_440), zone)
        report = due_report(wanted, kept.posted.get("chat"), now)
        if report is not None:
            kept = with_posted(kept, {"chat": report.week})
            seen.append(report.week)
    assert seen == sorted(set(seen))
    assert all(week + WEEK <= MONDAY + 20 * WEEK for week in seen)
    assert len(seen) >= 17


def test_a_clock_that_was_weeks_ahead_stops_no_later_report():
    wanted, now = weekly(0, 540, "UTC"), MONDAY + WEEK + 10 * HOUR
    ahead = with_posted(WeeklyPosts(told=MONDAY + 4 * WEEK), {"chat": MONDAY + 4 * WEEK})
    kept = without_future(ahead, now)
    assert due_report(wanted, kept.posted["chat"], now) is None
    report = due_report(wanted, kept.posted["chat"], now + WEEK)
    assert report is not None and report.week == MONDAY + WEEK > kept.told
    # one that was ahead by less than the week has posted that week
    kept = without_future(with_posted(WeeklyPosts(), {"chat": MONDAY}), MONDAY + DAY)
    assert due_report(wanted, kept.posted["chat"], MONDAY + WEEK + 10 * HOUR) is None
