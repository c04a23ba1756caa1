"""The summary of an hour or a day, which a chat gets by itself: what was reported, and what is so
now. Pure.
"""

from collections.abc import Callable, Iterable

import msgspec

from bot.commands.context import Context
from bot.commands.market import (
    as_of,
    by_metric,
    episode_line,
    first_line,
    past_episode_line,
    sorted_values,
    structure,
    worst_first,
)
from bot.messages.voice import Html, time, topic
from bot.plan.summaries import DueSummary
from rules.alerts import ALL, Alert, EpisodeKey, Level, Turn
from rules.metrics import metric
from rules.snapshot import Value
from streams.durations import DAY

EPISODES = 10
"""So many are told, the worst first."""

COINS = 5
"""So many of each metric."""

_CHARGED_OR_THERE = ("funding", "depth")
"""What has no window, and is so at any time."""


class EpisodeInSummary(msgspec.Struct, frozen=True):
    """An episode, and the highest level that was reported of it in the time summed up."""

    newest: Alert
    level: Level


def summary_head(due: DueSummary, context: Context) -> Html:
    """``The last 24 hours, to 09:00``."""
    key = "summary.day" if due.span == DAY else "summary.hour"
    return context.say(key, time=time(context.words, due.at, context.now))


def summary_body(due: DueSummary, wanted: Callable[[Alert], bool], context: Context) -> Html:
    """What was reported of ``context.alerts`` that are ``wanted``, and what is so now."""
    return Html("\n\n".join([_reported(due, wanted, context), *_present(due, context)]))


def _reported(due: DueSummary, wanted: Callable[[Alert], bool], context: Context) -> Html:
    turns = [a for a in context.alerts if due.since <= a.seen < due.at and wanted(a)]
    going_on = context.fresh.episodes if context.fresh is not None else ()
    episodes = sorted(
        _episodes(turns, filter(wanted, going_on)),
        key=lambda e: (-e.level, e.newest.opened_at, e.newest.id),
    )
    if not episodes:
        return context.say("summary.none")
    lines = [context.say("summary.alerts", len(episodes), count=str(len(episodes)))]
    for episode in episodes[:EPISODES]:
        if episode.newest.turn is Turn.CLOSE:
            lines.append(past_episode_line(episode.newest, episode.level, context))
        else:
            newest = msgspec.structs.replace(episode.newest, level=episode.level)
            lines.append(episode_line(newest, context))
    if len(episodes) > EPISODES:
        lines.append(context.say("ask.more", count=str(len(episodes) - EPISODES)))
    return Html("\n".join(lines))


def _episodes(turns: Iterable[Alert], open_now: Iterable[Alert]) -> list[EpisodeInSummary]:
    """Of ``turns``, the newest first, and of those that go on, though nothing was said of them: the
    episodes that were told by themselves, as they are now."""
    known: dict[EpisodeKey, EpisodeInSummary] = {}
    by_itself: set[EpisodeKey] = set()
    for alert in turns:
        newer = known.setdefault(alert.episode, EpisodeInSummary(alert, alert.level))
        if alert.level > newer.level:
            known[alert.episode] = EpisodeInSummary(newer.newest, alert.level)
        if _is_told(alert):
            by_itself.add(alert.episode)
    for alert in open_now:
        before = known.get(alert.episode)
        level = alert.level if before is None else before.level
        known[alert.episode] = EpisodeInSummary(alert, level)
        if before is None and _is_told(alert):
            by_itself.add(alert.episode)
    return [episode for key, episode in known.items() if key in by_itself]


def _is_told(alert: Alert) -> bool:
    return alert.post and not alert.hidden_by


def _present(due: DueSummary, context: Context) -> list[Html]:
    if context.fresh is None:
        return [context.say("summary.unknown")]
    values = sorted_values(context)
    if due.span == DAY:
        blocks = structure(context)
    else:
        of_market = [v for v in values if v.asset == ALL and v.value is not None]
        lines = Html("\n".join(first_line(v, context) for v in of_market))
        blocks = [lines] if lines else []
    lists = by_metric(v for v in values if _is_of(v, due))
    blocks += [worst_first(name, of, context, COINS) for name, of in lists]
    return [*blocks, as_of(context)]


def _is_of(value: Value, due: DueSummary) -> bool:
    """Whether it is a value of as long a time, or of no time at all."""
    window = metric(value.metric).window
    return window == due.span or topic(value.metric) in _CHARGED_OR_THERE
