"""The conditions that market notes name before they speak of a bottom: met, not met or not known.

Supports that are tested again and again, rebounds that stay weak, depth that is repaired, spot that
leads. What is measured is given beside each; what it means is left to the reader.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from bot.backtest.week import COVERED, WEEK, RecordedWeek
from bot.lang import numbers
from bot.lang.words import Words
from bot.messages.headline import times
from bot.messages.voice import Html, say
from rules.metrics.regime import REPAIRED_PCT
from rules.returns import STEP
from rules.snapshot import PRICE
from rules.supports import LEAST_HELD, SPAN, Support, Watched, watched
from streams.durations import DAY, MINUTE
from streams.events import Ms

DEPTH, SPOT = "depth_25bp_pct_of_normal", "spot_share_pct"

WEAK_PCT = 38.2
"""A rebound that regains less of the fall before it is weak: the least retracement that charts
count."""

LEADS_POINTS = 2.0
"""Spot leads if its share of the volume is so many points higher on the last day of a week than on
its first."""

MONTH_WEEKS = 5
"""So many weeks hold the prices that supports are looked for in."""


class Condition(NamedTuple):
    """One of them, of one asset."""

    asset: str
    name: str
    """The end of its phrase's key."""
    met: bool | None
    """None: not known."""
    text: Html
    """What was measured; empty: nothing was."""


def named_conditions(
    weeks: Sequence[RecordedWeek],
    majors: Sequence[str],
    named: Mapping[str, tuple[float, ...]],
    words: Words,
) -> Iterator[Condition]:
    """All of them at the end of the first of ``weeks``; the others are those before it."""
    for asset in majors:
        yield from _of_support(weeks, asset, named.get(asset, ()), words)
        yield _depth(weeks[0], asset, words)
        yield _spot(weeks[0], asset, words)


def supports_of(
    weeks: Sequence[RecordedWeek], asset: str, named: tuple[float, ...]
) -> Watched | None:
    """What the recorded prices of an asset come to at the end of the first of ``weeks``; None: they
    are too few, or end before it does."""
    end = (weeks[0].start + WEEK) // STEP
    prices: dict[int, float] = {}
    for week in reversed(weeks[:MONTH_WEEKS]):
        known = week.of(PRICE, asset)
        for at, price in zip(known.at, known.value, strict=True):
            if at % STEP == 0 and end - at // STEP <= SPAN:
                prices[at // STEP] = price
    return watched(prices, named) if prices and end - max(prices) <= 2 else None


def support_of_week(of: Watched, start: Ms) -> Support | None:
    """The support that was tested most often, of those that stand or were lost since ``start``."""
    standing = of.standing()
    lost = [support for support in of.supports if (support.lost_at or 0) >= start]
    return max(
        [*lost, *([standing] if standing else [])],
        key=lambda support: (len(support.tests), support.level),
        default=None,
    )


def support_in_words(support: Support, now: Ms, words: Words) -> Html:
    """``$80,000 tested 4 times since 2 Nov, lost on 21 Nov``."""
    key = "week.support" if support.lost_at is None else "week.support_lost"
    return say(
        words,
        key,
        price=words.price(support.level),
        times=times(words, len(support.tests)),
        day=words.day(support.tests[0].at, now),
        lost=words.day(support.lost_at or now, now),
    )


def rebounds_in_words(support: Support, words: Words) -> Html:
    """``+9.2%, +3.1%, the middle one 24% of the fall before``; nothing if it never held."""
    share = support.regained_pct
    if share is None:
        return Html()
    listed = words.comma.join(f"{numbers.change(pct)}%" for pct in support.rebounds_pct[-6:])
    return say(words, "week.rebounds", list=listed, pct=numbers.share(share))


def _of_support(
    weeks: Sequence[RecordedWeek], asset: str, named: tuple[float, ...], words: Words
) -> Iterator[Condition]:
    of, start = supports_of(weeks, asset, named), weeks[0].start
    support = None if of is None else support_of_week(of, start)
    if of is None:
        yield Condition(asset, "retested", None, Html())
        yield Condition(asset, "weak", None, Html())
    elif support is None:
        day = words.day(of.since, start)
        yield Condition(asset, "retested", False, say(words, "week.support_none", day=day))
        yield Condition(asset, "weak", None, Html())
    else:
        again = len(support.tests) >= LEAST_HELD and support.tests[-1].at >= start
        yield Condition(asset, "retested", again, support_in_words(support, start, words))
        share = support.regained_pct
        weak = None if share is None else share < WEAK_PCT
        yield Condition(asset, "weak", weak, rebounds_in_words(support, words))


def _depth(week: RecordedWeek, asset: str, words: Words) -> Condition:
    last = _of_day(week, DEPTH, asset, 6)
    if last is None:
        return Condition(asset, "depth", None, Html())
    text = say(words, "week.depth_last", pct=numbers.share(last))
    return Condition(asset, "depth", last >= REPAIRED_PCT, text)


def _spot(week: RecordedWeek, asset: str, words: Words) -> Condition:
    first, last = _of_day(week, SPOT, asset, 0), _of_day(week, SPOT, asset, 6)
    if first is None or last is None:
        return Condition(asset, "spot", None, Html())
    text = say(words, "week.spot_days", first=numbers.share(first), last=numbers.share(last))
    return Condition(asset, "spot", last - first >= LEADS_POINTS, text)


def _of_day(week: RecordedWeek, metric: str, asset: str, day: int) -> float | None:
    """The mean of a day of the week, counted from 0; None: too little of it is known."""
    start, known = week.start + day * DAY, week.of(metric, asset)
    values = [
        value for at, value in zip(known.at, known.value, strict=True) if start <= at < start + DAY
    ]
    return sum(values) / len(values) if len(values) >= COVERED * (DAY / MINUTE) else None
