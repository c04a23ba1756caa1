"""When a summary is due."""

from datetime import datetime
from zoneinfo import ZoneInfo

from pytest import mark

from bot.plan.planner import DailyTime, HourlyTime
from bot.plan.summaries import (
    DueSummary,
    SummaryPosts,
    due_summary,
    not_ahead,
    span_of,
    with_summaries,
)
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Ms

DAILY = DailyTime(minute=9 * 60, zone="Asia/Taipei")


def at(text: str, zone: str = "Asia/Taipei") -> Ms:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


NINE, TEN = at("2026-11-28 09:00"), at("2026-11-28 10:00")


@mark.parametrize(
    ("wanted", "posted", "now", "due"),
    [
        (DAILY, None, NINE - 1, None),  # of the day before it would be 24 h late
        (DAILY, None, NINE, NINE),
        (DAILY, NINE - DAY, NINE, NINE),
        (DAILY, NINE, NINE + 1, None),
        (DAILY, NINE - DAY, NINE + 4 * HOUR - 1, NINE),
        (DAILY, NINE - DAY, NINE + 4 * HOUR, None),  # too late, and the next one comes
        (DAILY, NINE, NINE + DAY, NINE + DAY),
        (DAILY, NINE + DAY, NINE, None),  # the clock was set back, and it was posted
        (HourlyTime(), None, TEN - 1, None),
        (HourlyTime(), None, TEN, TEN),
        (HourlyTime(), TEN - HOUR, TEN + 10 * MINUTE - 1, TEN),
        (HourlyTime(), TEN - HOUR, TEN + 10 * MINUTE, None),
        (HourlyTime(), TEN, TEN + 5 * MINUTE, None),
    ],
)
def test_when_it_is_due(wanted, posted, now, due):
    summary = due_summary(wanted, posted, now)
    assert (None if summary is None else summary.at) == due
    if summary is not None:
        assert summary.since == summary.at - span_of(wanted) == summary.at - summary.span


@mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-28", 24)])
def test_it_is_posted_by_the_clock_on_the_wall_and_always_of_24_hours(day, hours):
    wanted, zone = DailyTime(minute=9 * 60, zone="Europe/Berlin"), "Europe/Berlin"
    now = at(f"{day} 09:00", zone)
    assert due_summary(wanted, now - hours * HOUR, now) == DueSummary(since=now - DAY, at=now)
    assert due_summary(wanted, now - hours * HOUR, now - 1) is None


def test_none_is_posted_again_after_the_clock_was_set_back_and_none_is_awaited_for_long():
    kept = SummaryPosts(posted={"-1": NINE, "-2": TEN + 30 * HOUR, "-3": TEN + 8 * HOUR})
    spans = {"-1": DAY, "-2": DAY, "-3": HOUR}
    now = NINE - 3 * HOUR
    after = not_ahead(kept, spans, now)
    assert after.posted == {"-1": NINE, "-2": now + DAY, "-3": now + HOUR}
    assert due_summary(DAILY, after.posted["-1"], NINE) is None
    assert due_summary(DAILY, after.posted["-2"], NINE + DAY) is not None
    assert due_summary(HourlyTime(), after.posted["-3"], NINE) is not None


def test_of_a_thousand_chats_it_is_remembered_which_they_had_last():
    kept = SummaryPosts()
    for chat in range(1_200):
        kept = with_summaries(kept, {str(chat): NINE + chat})
    assert len(kept.posted) == 1_000 and kept.posted["1199"] == NINE + 1_199
    assert with_summaries(kept, {"1199": TEN}).posted["1199"] == TEN
