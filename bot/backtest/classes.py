"""What the first major did over a week beside other classes of assets, and for how many weeks in a
row it was the worst of them: by the prices of the metric log."""

from collections.abc import Sequence

from bot.backtest.week import WEEK, RecordedWeek
from bot.lang.words import Words
from bot.messages.headline import worst_weeks
from bot.messages.voice import Html
from rules.macro import CLASSES
from rules.snapshot import MACRO_PRICE, PRICE
from streams.durations import MINUTE


def change_pct(week: RecordedWeek, metric: str, asset: str) -> float | None:
    """Over a week of which both ends are known, %."""
    known = week.of(metric, asset)
    first, last = known.near(week.start), known.near(week.start + WEEK - MINUTE)
    return None if not first or last is None else 100 * (last / first - 1)


def class_changes(week: RecordedWeek, first: str) -> list[tuple[str, float]]:
    """Of ``first`` and of each class that is known, %, the worst first; nothing where it or all
    others are unknown."""
    own = change_pct(week, PRICE, first)
    others = [
        (asset, pct)
        for asset in CLASSES
        if (pct := change_pct(week, MACRO_PRICE, asset)) is not None
    ]
    if own is None or not others:
        return []
    return sorted([(first, own), *others], key=lambda each: each[1])


def weeks_worst(weeks: Sequence[RecordedWeek], first: str) -> tuple[int, bool]:
    """For how many of ``weeks``, the newest first, it was the worst, one after the other, and
    whether it may be more: the week before those is not known."""
    ranks = [class_changes(week, first) for week in weeks]
    count = 0
    while count < len(ranks) and ranks[count] and ranks[count][0][0] == first:
        count += 1
    return count, count == len(ranks) or not ranks[count]


def worst_in_words(weeks: Sequence[RecordedWeek], first: str, words: Words) -> Html:
    """``BTC the worst, weeks in a row: ≥ 3``."""
    count, may_be_more = weeks_worst(weeks, first)
    return worst_weeks(first, count, may_be_more, words)
