"""/regime: in which regime an asset or the market is, since when, and by what evidence. Pure."""

from collections.abc import Iterator

from bot.commands.context import Answer, Context, only
from bot.commands.market import (
    as_of,
    not_watched,
    regime_line,
    regime_subject,
    regime_unknown,
    regimes,
    stale,
)
from bot.commands.parsing import Command, asset_of
from bot.messages.facts import evidence_asked, evidence_in_words, evidence_name, rebounds
from bot.messages.headline import regime_in_words, times
from bot.messages.voice import Html, time
from rules.alerts import (
    ALL,
    Regime,
    RegimeCondition,
    RegimeEvidence,
    RegimeFacts,
    SupportFacts,
)
from rules.snapshot import Value

_FORCED = frozenset(
    {RegimeCondition.INTEREST_FALLS, RegimeCondition.PRICE_FALLS, RegimeCondition.LONGS_CLOSED}
)


def regime(command: Command, context: Context) -> Answer:
    """The regime of one asset; without one, of the market, and below it that of each asset."""
    if context.fresh is None:
        return only(stale(context))
    values = regimes(context)
    if not values:
        return only(context.say("ask.no_rule", command="regime"))
    if command.words:
        asset = asset_of(command.words[0])
        if asset in values:
            blocks = (_whole(values[asset], context), *_supports(asset, context))
            return Answer(blocks=(*blocks, as_of(context)))
        if any(v.asset == asset for v in context.values):
            return only(context.say("ask.no_rule_on", command="regime", asset=asset))
        return only(not_watched(asset, context))
    blocks = [_whole(values[ALL], context)] if ALL in values else []
    lines = [regime_line(value, context) for asset, value in values.items() if asset != ALL]
    return Answer(blocks=(*blocks, Html("\n".join(lines)), as_of(context)))


def _supports(asset: str, context: Context) -> Iterator[Html]:
    """What became of the levels that its price came down to."""
    words, now = context.words, context.now
    for value in context.values:
        facts = value.facts
        if value.asset != asset or not isinstance(facts, SupportFacts):
            continue
        lines: list[Html] = []
        if facts.lost is not None and facts.lost.held and facts.lost.lost_at is not None:
            lines.append(context.say(
                "ask.support.lost",
                price=words.price(facts.lost.level),
                times=times(words, facts.lost.held),
                time=time(words, facts.lost.lost_at, now),
            ))  # fmt: skip
        level = facts.standing
        if level is None:
            lines.append(context.say("ask.support.none", day=words.day(facts.since, now)))
        else:
            lines.append(context.say(
                "ask.support.standing",
                price=words.price(level.level),
                times=times(words, level.tests),
                day=words.day(level.first_at, now),
                last=words.day(level.last_at, now),
            ))  # fmt: skip
            lines += [context.say("ask.support.regained", **v) for v in rebounds(level, words)]
        yield Html("\n".join(lines))


def _whole(value: Value, context: Context) -> Html:
    facts = value.facts
    if not isinstance(facts, RegimeFacts):
        return regime_unknown(value, context)
    calm = facts.regime is Regime.CALM
    head = context.say(
        "ask.regime.head",
        asset=regime_subject(value, context),
        regime=regime_in_words(context.words, facts.regime),
        meaning=context.say("ask.regime.calm" if calm else f"regime.meaning.{facts.regime}"),
    )
    of_market = value.asset == ALL
    evidence = [_evidence(each, of_market, context) for each in facts.evidence]
    return Html("\n".join([head, _since(facts, context), *evidence]))


def _since(facts: RegimeFacts, context: Context) -> Html:
    at = time(context.words, facts.since, context.now)
    length = context.words.length(max(0, context.now - facts.since))
    if facts.before is None:
        return context.say("ask.regime.first", time=at, length=length)
    before = regime_in_words(context.words, facts.before)
    return context.say("ask.regime.since", time=at, length=length, regime=before)


def _evidence(evidence: RegimeEvidence, of_market: bool, context: Context) -> Html:
    """``Thin: depth 71% of normal at this hour (asked: ≤ 60%): not met``."""
    words, condition = context.words, evidence.condition
    label = context.say(f"ask.regime.of.{'forced' if condition in _FORCED else condition.value}")
    asked = evidence_asked(words, evidence, of_market)
    if evidence.value is None:
        name = evidence_name(words, condition)
        return context.say("ask.regime.no_value", label=label, name=name, asked=asked)
    met = {True: "met", False: "not_met", None: "undecided"}[evidence.met]
    return context.say(
        "ask.regime.line",
        label=label,
        text=evidence_in_words(words, evidence, of_market),
        asked=asked,
        met=context.say(f"ask.regime.{met}"),
    )
