"""/sectors: what baskets of coins did against the market, over a day and a week. Pure."""

from collections.abc import Iterable, Mapping

from bot.commands.context import Answer, Context, only
from bot.commands.market import as_of, of_sector, order, stale
from bot.commands.parsing import Command
from bot.lang import numbers
from bot.messages.headline import sector_title
from bot.messages.voice import Html
from rules.alerts import SectorFacts
from rules.metrics import metric
from rules.metrics.sector import SectorMetric
from rules.snapshot import Value
from streams.events import Ms

_Spans = Mapping[Ms, Value]
"""The values of a sector, by the length that they are of."""


def sectors(_command: Command, context: Context) -> Answer:
    """Each sector in a line, in the order of the rules, then the market itself."""
    if context.fresh is None:
        return only(stale(context))
    by_sector = _by_sector(context)
    if not by_sector:
        return only(context.say("ask.no_rule", command="sectors"))
    known = [
        facts
        for spans in by_sector.values()
        for value in spans.values()
        if isinstance(facts := value.facts, SectorFacts)
    ]
    lines = [_sector(name, spans, context) for name, spans in by_sector.items()]
    head = context.say("ask.sectors.head")
    blocks = [Html("\n".join([head, *lines, *_market(known, context)])), *_weights(known, context)]
    return Answer(blocks=(*blocks, as_of(context)))


def _by_sector(context: Context) -> dict[str, dict[Ms, Value]]:
    by_sector: dict[str, dict[Ms, Value]] = {}
    values = [value for value in context.values if of_sector(value)]
    for value in sorted(values, key=lambda v: order(v.metric, context)[0]):
        if isinstance(of := metric(value.metric), SectorMetric):
            by_sector.setdefault(of.sector, {})[of.span] = value
    return by_sector


def _sector(name: str, spans: _Spans, context: Context) -> Html:
    """``Layer 2: 24h −7.4% (−12.6%) · 7d unknown · 6 of 7 coins``."""
    title = sector_title(context.words, name)
    facts = [v.facts for _, v in sorted(spans.items()) if isinstance(v.facts, SectorFacts)]
    if not facts:
        return context.say("ask.sectors.unknown", sector=title)
    shown = [_span(span, value, context) for span, value in sorted(spans.items())]
    return context.say(
        "ask.sectors.line",
        sector=title,
        spans=Html(context.words.dot.join(shown)),
        known=str(min(of.known for of in facts)),
        coins=str(facts[0].coins),
    )


def _span(span: Ms, value: Value, context: Context) -> Html:
    window = context.words.window(span)
    if value.value is None or not isinstance(value.facts, SectorFacts):
        return context.say("ask.sectors.no_span", window=window)
    return context.say(
        "ask.sectors.span",
        window=window,
        value=f"{numbers.change(value.value)}%",
        pct=numbers.change(value.facts.pct),
    )


def _market(known: Iterable[SectorFacts], context: Context) -> list[Html]:
    """What all are compared with, if any is known."""
    by_span = {facts.span_ms: facts for facts in known}
    if not by_span:
        return []
    spans = [
        context.say(
            "ask.sectors.market_span",
            window=context.words.window(span),
            pct=numbers.change(facts.market_pct),
        )
        for span, facts in sorted(by_span.items())
    ]
    return [
        context.say(
            "ask.sectors.line",
            sector=context.say("ask.sectors.market"),
            spans=Html(context.words.dot.join(spans)),
            known=str(min(facts.market_known for facts in by_span.values())),
            coins=str(next(iter(by_span.values())).market_coins),
        )
    ]


def _weights(known: Iterable[SectorFacts], context: Context) -> list[Html]:
    """Whose baskets they are, and since when they are as they are; each kind of weights once."""
    fixed: dict[bool, Ms] = {}
    for facts in known:
        fixed[facts.by_cap] = max(facts.fixed_at, fixed.get(facts.by_cap, 0))
    return [
        context.say(
            "structure.sector_cap" if by_cap else "structure.sector_equal",
            date=context.words.day(at, context.now),
        )
        for by_cap, at in fixed.items()
    ]
