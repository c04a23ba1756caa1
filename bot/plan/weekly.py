"""When the weekly report of a chat is due, and what is remembered of those that were posted. Pure.

A week is from Monday to Sunday in UTC, the same for every reader; a report is of the last one that
is over. What is remembered is the week and not the time, so that no other time of day, time zone or
step of a clock posts a week twice.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from bot.plan.planner import WeeklyTime
from streams.durations import DAY, MINUTE
from streams.events import Ms

WEEK: Ms = 7 * DAY

LATEST: Ms = DAY
"""A report that could not be posted for so long after its time is left out."""

COMPLETE: Ms = 2 * MINUTE
"""So long after the end of a week all of it is recorded."""

_KEPT = 1_000
"""Of so many chats it is remembered which week they had last."""


class WeeklyPosts(msgspec.Struct, frozen=True, kw_only=True):
    """What was posted, as it is kept."""

    posted: Mapping[str, Ms] = {}
    """The key of a chat → the start of the last week of which its report was posted or left out."""
    told: Ms = 0
    """The start of the last week about which operators were told that a report is not to be had."""


class DueReport(msgspec.Struct, frozen=True, kw_only=True):
    """A report that is to be posted, or to be left out."""

    week: Ms
    """Its Monday, 00:00 UTC."""
    at: Ms
    """When it was to be posted."""
    too_late: bool


def last_week(now: Ms) -> Ms:
    """The Monday of the last week that is over at ``now``."""
    today = datetime.fromtimestamp(now / 1000, UTC)
    days = now // DAY - today.weekday() - 7
    return days * DAY


def due_report(wanted: WeeklyTime, posted: Ms | None, now: Ms) -> DueReport | None:
    """The report that is due at ``now``; None: none is.

    ``posted``: the week of the last report that was posted or left out; None: there was none, and
    then none that is too late was missed.
    """
    at = wanted.last_until(now)
    week = last_week(at)
    at = max(at, week + WEEK + COMPLETE)
    if now < at or (posted is not None and posted >= week):
        return None
    too_late = now - at > LATEST
    return None if too_late and posted is None else DueReport(week=week, at=at, too_late=too_late)


def with_posted(kept: WeeklyPosts, weeks: Mapping[str, Ms]) -> WeeklyPosts:
    """``kept`` with the reports of these ``weeks``, by the key of the chat."""
    posted = {key: week for key, week in kept.posted.items() if key not in weeks} | dict(weeks)
    newest = dict(list(posted.items())[-_KEPT:])
    return msgspec.structs.replace(kept, posted=newest)


def without_future(kept: WeeklyPosts, now: Ms) -> WeeklyPosts:
    """``kept`` after the clock was set back to ``now``. A week that has not begun takes its turn
    again, one that goes on or is over does not."""
    over = last_week(now)
    posted = {key: over if week > now else week for key, week in kept.posted.items()}
    return msgspec.structs.replace(kept, posted=posted, told=over if kept.told > now else kept.told)
