"""When the summary of a chat is due, and what is remembered of those that were posted. Pure.

A summary is of the hour or the day before its time, and shows what is so when it is made; one that
could not be made in time is left out, since the next one comes soon.
"""

from collections.abc import Mapping

import msgspec

from bot.plan.planner import DailyTime, HourlyTime
from streams.durations import DAY, HOUR
from streams.events import Ms

_LATEST_SHARE = 6
"""One that could not be posted for this part of its span after its time is left out."""

_KEPT = 1_000
"""Of so many chats it is remembered which summary they had last."""


class SummaryPosts(msgspec.Struct, frozen=True, kw_only=True):
    """What was posted, as it is kept."""

    posted: Mapping[str, Ms] = {}
    """The key of a chat → the time of the last summary that was posted or left out."""


class DueSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A summary that is to be posted."""

    since: Ms
    """When what it tells of begins."""
    at: Ms
    """When it was to be posted, and when what it tells of ends."""

    @property
    def span(self) -> Ms:
        """``HOUR`` or ``DAY``."""
        return self.at - self.since

    @property
    def expires(self) -> Ms:
        """From then on it is left out."""
        return self.at + self.span // _LATEST_SHARE


def span_of(wanted: HourlyTime | DailyTime) -> Ms:
    """Of how long a time a summary is."""
    return HOUR if isinstance(wanted, HourlyTime) else DAY


def due_summary(wanted: HourlyTime | DailyTime, posted: Ms | None, now: Ms) -> DueSummary | None:
    """The summary that is due at ``now``; None: none is.

    ``posted``: the time of the last one that was posted or left out; None: there was none.
    """
    at = wanted.last_until(now)
    summary = DueSummary(since=at - span_of(wanted), at=at)
    if now >= summary.expires or (posted is not None and posted >= at):
        return None
    return summary


def with_summaries(kept: SummaryPosts, posted: Mapping[str, Ms]) -> SummaryPosts:
    """``kept`` with the summaries of these times, by the key of the chat."""
    times = {key: at for key, at in kept.posted.items() if key not in posted} | dict(posted)
    return SummaryPosts(posted=dict(list(times.items())[-_KEPT:]))


def not_ahead(kept: SummaryPosts, spans: Mapping[str, Ms], now: Ms) -> SummaryPosts:
    """``kept`` after the clock was set back to ``now``: none is awaited for longer than its span
    (by the key of the chat), and none of this one takes its turn again."""
    return SummaryPosts(
        posted={key: min(at, now + spans.get(key, DAY)) for key, at in kept.posted.items()}
    )
