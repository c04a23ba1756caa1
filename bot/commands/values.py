"""One metric now, in words: head and facts as posts tell them, or why it has no value. Pure."""

from collections.abc import Sequence

from bot.commands.context import Context
from bot.commands.reports import Venue
from bot.fact_lines import fact_lines
from bot.head_lines import amount, head, window_of
from bot.lang import numbers
from bot.voice import Html, Voice, title, topic
from rules.alerts import ALL, Alert, Level, Turn
from rules.metric import Warms
from rules.metrics import metric
from rules.metrics.depth import DepthMetric
from rules.standing import Value
from streams.events import Kind
from streams.venues import VENUES

RATES = ("funding", "predicted")


def order(metric_name: str, context: Context) -> tuple[int, bool]:
    """Where a metric stands among the rules, and whether its highest values are the worst."""
    for place, rule in enumerate(context.settings.rules):
        if rule.metric == metric_name:
            return place, rule.fires == "above"
    return len(context.settings.rules), topic(metric_name) == "liq"


def as_voice(value: Value, context: Context) -> Voice:
    """What speaks of ``value`` as it would of an alert."""
    above, standing = order(value.metric, context)[1], context.standing
    now = standing.seen if standing else context.now
    alert = Alert(
        id="", rule=value.metric, metric=value.metric, unit=value.unit, asset=value.asset,
        turn=Turn.OPEN, level=Level.WATCH, value=value.value or 0.0, threshold=0.0,
        fires="above" if above else "below", at=now, seen=now, opened_at=now,
        extreme=value.value or 0.0, extreme_at=now, post=False,
        missing=value.missing, facts=value.facts, price=value.price,
    )  # fmt: skip
    return Voice(alert, context.words)


def told(value: Value, context: Context) -> Html:
    """``value`` with its facts, a line each; of an unknown one why."""
    if value.value is None:
        return unknown(value, context)
    voice = as_voice(value, context)
    facts = fact_lines(voice)
    if voice.topic == "liq" and value.value == 0:
        del facts[:1]  # that both sides are 0
    lines = [_head(voice, value, context), *facts, *_settled(value, context)]
    if value.missing:
        names = ", ex-".join(title(venue) for venue in value.missing)
        lines.append(context.say("missing", venues=names))
    return Html("\n".join(line for line in lines if line))


def first_line(value: Value, context: Context) -> Html:
    """``value`` alone."""
    if value.value is None:
        return unknown(value, context)
    return _head(as_voice(value, context), value, context)


def _head(voice: Voice, value: Value, context: Context) -> Html:
    if voice.topic in RATES and value.value is not None:
        rate, apr = numbers.rate(value.value), numbers.percent(value.value * 3 * 365)
        return context.say(f"ask.head.{voice.topic}", asset=value.asset, rate=rate, apr=apr)
    if voice.topic == "liq" and value.value == 0:
        window = window_of(context.words, value.facts)
        return context.say("ask.head.no_liq", asset=value.asset, window=window)
    return head(voice)


def _settled(value: Value, context: Context) -> list[Html]:
    if value.settled_at is None or not value.interval_ms:
        return []
    time, hours = as_voice(value, context).time(value.settled_at), value.interval_ms / 3_600_000
    return [context.say("ask.settled", time=time, hours=f"{hours:g}")]


def short(value: Value, context: Context) -> str:
    """``BTC −0.0031``; ``≥`` stays where it is a lower bound, and 0 is what was reported."""
    of = topic(value.metric)
    if of == "liq" and value.value == 0:
        return f"{value.asset} 0"
    return f"{value.asset} {amount(context.words, of, value.value or 0.0, value.unit)}"


def unknown(value: Value, context: Context) -> Html:
    """That it cannot be said now, and why, as far as the feeds tell."""
    name = named(value.metric, context)
    asset = context.say("ask.market") if value.asset == ALL else value.asset
    return context.say("ask.cannot", asset=asset, name=name, why=why_unknown([value], context))


def why_unknown(values: Sequence[Value], context: Context) -> Html:
    """Which venues' feeds are lacking, or that days must pass; nothing if that is not known."""
    of = metric(values[0].metric)
    lacking = {v.title: kinds for v in context.reports.venues if (kinds := _lacking(v, of.kinds))}
    if lacking:
        kinds = sorted({kind for some in lacking.values() for kind in some})
        feeds = ", ".join(context.say(f"kind.{kind}") for kind in kinds)
        return context.say("ask.lack.feeds", kinds=feeds, venues=", ".join(lacking))
    if "streams" not in context.reports.running:
        return context.say("ask.lack.no_streams")
    if isinstance(of, Warms) and (not isinstance(of, DepthMetric) or of.hourly):
        return context.say("ask.lack.days")
    return Html()


def _lacking(venue: Venue, wanted: frozenset[Kind]) -> list[str]:
    """The feeds of these kinds that a venue has and that do not come now."""
    kinds = [kind for kind in venue.feeds if kind in wanted]
    return kinds if venue.trouble else [kind for kind in kinds if not venue.feeds[kind].up]


def named(metric_name: str, context: Context) -> Html:
    """``open interest in 1h``, ``depth ±0.25% against the last hours``."""
    of = metric(metric_name)
    values: dict[str, str] = {}
    key = topic(metric_name)
    if isinstance(of, DepthMetric):
        values["band"] = f"{of.bp / 100:g}"
        key = "depth_hour" if of.hourly else "depth"
    elif of.window:
        values["window"] = context.words.window(of.window)
    return context.say(f"ask.name.{key}", **values)


def without_liquidations(context: Context) -> Html:
    """The venues that publish none."""
    names = [
        VENUES[venue.name].SPEC.title
        for venue in context.settings.venues
        if Kind.LIQUIDATION not in VENUES[venue.name].SPEC.kinds
    ]
    if not names:
        return Html()
    key = "liq.not_available_one" if len(names) == 1 else "liq.not_available_many"
    return context.say(key, venues=", ".join(names))
