"""What context sources say, beside the market and no part of it. Pure.

Of each source its last answer is remembered, for as long as that may be taken for what is so now;
then it says nothing. No rule asks for it but those on the market's capitalisation
(``rules.market_cap``), which takes supplies from it and prices from the market.
"""

from collections.abc import Collection, Iterable, Iterator

import msgspec

from streams.durations import DAY
from streams.events import (
    ContextFact,
    ContextFacts,
    MarketCap,
    Ms,
    OwnSeries,
    RateOdds,
    Release,
    Stablecoin,
    Supply,
)

CONTEXT = "context"
"""Stands for a metric's name where a number of a source is meant. The asset is then the source, and
which of its numbers it is: ``kalshi.hold``."""

SERIES = "series:"
"""What the name of a source begins with that is a series of the operator's own."""


class SourceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What one source says now."""

    source: str
    seen: Ms
    """When it was asked."""
    facts: tuple[ContextFact, ...]
    """Supplies of some coins alone."""


class ContextMemory(msgspec.Struct, array_like=True):
    """The last answer of each source. It is dumped as it is."""

    answers: dict[str, ContextFacts] = {}

    def take(self, event: ContextFacts, now: Ms) -> None:
        """A source answered. ``now``: the engine's time."""
        self.answers[event.source] = msgspec.structs.replace(event, seen=now)

    def now(self, now: Ms, assets: Collection[str]) -> list[SourceFacts]:
        """What is known, by source; of supplies those of ``assets``."""
        return [
            SourceFacts(
                source=name,
                seen=answer.seen,
                facts=tuple(
                    fact
                    for fact in answer.facts
                    if not isinstance(fact, Supply) or fact.asset in assets
                ),
            )
            for name, answer in sorted(self.answers.items())
            if now - answer.seen <= answer.good_for
        ]

    def forget(self, now: Ms) -> None:
        """Drops what may not be taken for what is so now."""
        for name, answer in [*self.answers.items()]:
            if now - answer.seen > answer.good_for:
                del self.answers[name]

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: how old anything is nobody knows."""
        self.answers.clear()


def context_numbers(answers: Iterable[SourceFacts]) -> Iterator[tuple[str, float]]:
    """What sources say in numbers, by name, for the metric log. Days are counted from 1970."""
    for answer in answers:
        for fact in answer.facts:
            for name, number in _numbers(fact):
                yield f"{answer.source}.{name}", number


def _numbers(fact: ContextFact) -> Iterator[tuple[str, float]]:
    match fact:
        case RateOdds():
            yield from (("cut", fact.cut), ("hold", fact.hold), ("hike", fact.hike))
            yield "meeting_day", fact.meeting_at // DAY
        case Stablecoin():
            yield f"{fact.asset}.supply", fact.supply
            if fact.price is not None:
                yield f"{fact.asset}.price", fact.price
        case MarketCap():
            yield "market_cap", fact.usd
            if fact.change_24h_pct is not None:
                yield "market_cap_24h_pct", fact.change_24h_pct
        case Supply():
            if fact.high is not None and fact.high_at is not None:
                yield f"{fact.asset}.high", fact.high
                yield f"{fact.asset}.high_day", fact.high_at // DAY
        case OwnSeries():
            yield from (("value", fact.value), ("day", fact.at // DAY), ("low", fact.low))
            yield from (("low_day", fact.low_at // DAY), ("first_day", fact.first_at // DAY))
            yield "sum_30d", fact.sum_30d
        case Release():
            pass  # a text
