"""/funding, /oi, /depth, /liq and /top: what the rules see now. Pure."""

from collections.abc import Iterable, Sequence

from bot.commands.context import Answer, Context, only
from bot.commands.parsing import Command, asset_of
from bot.commands.values import (
    RATES,
    first_line,
    named,
    order,
    short,
    told,
    why_unknown,
    without_liquidations,
)
from bot.config_values import nearest
from bot.head_lines import amount, parts
from bot.messages import MARKS
from bot.voice import Html, time, topic
from rules.alerts import ALL, Alert, CascadeFacts
from rules.standing import Value

SHOWN = 12
TOP = 3
EPISODES = 15

_TOPICS = {
    "funding": ("funding", "predicted", "breadth"),
    "oi": ("oi", "total"),
    "depth": ("depth",),
    "liq": ("liq",),
}
_MARKET = ("breadth", "total")


def market(command: Command, context: Context) -> Answer:
    """/funding, /oi, /depth, /liq: of one asset with all facts, or of all at a glance."""
    if context.fresh is None:
        return only(stale(context))
    topics = _TOPICS[command.name]
    values = [v for v in context.values if topic(v.metric) in topics]
    values.sort(key=lambda v: order(v.metric, context)[0])
    if command.words:
        return _of_asset(command, asset_of(command.words[0]), values, context)
    whole = [told(v, context) for v in values if topic(v.metric) in _MARKET]
    lists = [_list(metric, of, context, SHOWN) for metric, of in _by_metric(values)]
    blocks = [*whole, *lists] or [context.say("ask.no_rule", command=command.name)]
    if command.name == "liq":
        blocks.append(without_liquidations(context))
    return Answer(blocks=(*blocks, _as_of(context)))


def _of_asset(command: Command, asset: str, values: Sequence[Value], context: Context) -> Answer:
    mine = [v for v in values if v.asset == asset]
    if mine:
        blocks = [told(v, context) for v in mine]
        return Answer(blocks=(*blocks, _as_of(context)))
    if any(v.asset == asset for v in context.values):
        return only(context.say("ask.no_rule_on", command=command.name, asset=asset))
    return only(not_watched(asset, context))


def not_watched(asset: str, context: Context) -> Html:
    """That nobody watches this asset; which one may be meant."""
    known = sorted({v.asset for v in context.values} | {*context.settings.tiers.listed, ALL})
    near = nearest(asset, known)
    if near and near != asset:
        return context.say("ask.not_watched_near", asset=asset, near=near)
    return context.say("ask.not_watched", asset=asset)


def stale(context: Context) -> Html:
    """That nothing can be said of now, and why."""
    if "rules" not in context.reports.running:
        return context.say("ask.stale.no_rules")
    if context.standing is None:
        return context.say("ask.stale.soon")
    age = context.words.length(context.now - context.standing.seen)
    return context.say("ask.stale.old", length=age)


def _as_of(context: Context) -> Html:
    seen = context.standing.seen if context.standing else context.now
    return context.say("ask.as_of", time=time(context.words, seen, context.now))


def _by_metric(values: Iterable[Value]) -> list[tuple[str, list[Value]]]:
    found: dict[str, list[Value]] = {}
    for value in values:
        if value.asset != ALL:
            found.setdefault(value.metric, []).append(value)
    return list(found.items())


def _list(metric: str, values: Sequence[Value], context: Context, most: int) -> Html:
    """The worst ones, and those of which nothing can be said."""
    above = order(metric, context)[1]
    known = [v for v in values if v.value is not None]
    known.sort(key=lambda v: ((-1 if above else 1) * (v.value or 0.0), v.asset))
    name = named(metric, context)
    name = Html(name[:1].upper() + name[1:])
    lines = [] if known else [context.say("ask.list_none", name=name)]
    if known:
        way = context.say("ask.highest_first" if above else "ask.lowest_first")
        lines.append(context.say("ask.list", name=name, way=way, count=str(len(known))))
        lines.append(Html(" · ".join(short(v, context) for v in known[:most])))
    if unknown := [v for v in values if v.value is None]:
        names = ", ".join(v.asset for v in unknown[:SHOWN])
        if len(unknown) > SHOWN:
            names = context.say("ask.and_more", list=names, count=str(len(unknown) - SHOWN))
        why = why_unknown(unknown, context)
        lines.append(context.say("ask.unknown_ones", list=names, why=why))
    return Html("\n".join(lines))


def top(_command: Command, context: Context) -> Answer:
    """/top: the open episodes, the worst first, then the most extreme values of each metric."""
    standing = context.fresh
    if standing is None:
        return only(stale(context))
    episodes = sorted(standing.episodes, key=lambda e: (-e.level, e.opened_at, e.id))
    lines = [episode_line(e, context) for e in episodes[:EPISODES]]
    if len(episodes) > EPISODES:
        lines.append(context.say("ask.more", count=str(len(episodes) - EPISODES)))
    head = "ask.top.open" if episodes else "ask.top.none"
    blocks = [Html("\n".join([context.say(head), *lines]))]
    values = sorted(context.values, key=lambda v: order(v.metric, context)[0])
    whole = [first_line(v, context) for v in values if v.asset == ALL]
    lists = [_list(metric, of, context, TOP) for metric, of in _by_metric(values)]
    return Answer(blocks=(*blocks, Html("\n".join(whole)), *lists, _as_of(context)))


def episode_line(alert: Alert, context: Context) -> Html:
    """``🟠 BTC oi_drop:1h −5.2%, since 09:42``."""
    of, words = topic(alert.metric), context.words
    if isinstance(alert.facts, CascadeFacts):
        value = parts(words, alert.facts)
    else:
        text, worst = (amount(words, of, x, alert.unit) for x in (alert.value, alert.extreme))
        value = context.say("ask.rate", rate=text) if of in RATES else Html(text)
        if text != worst:  # the mark is of what the episode has reached
            value = context.say("ask.episode.worst", value=value, worst=worst)
    return context.say(
        "ask.episode",
        mark=MARKS[alert.level],
        asset=alert.asset if not alert.instrument else f"{alert.asset} ({alert.instrument})",
        rule=alert.rule,
        value=value,
        time=time(words, alert.opened_at, context.now),
    )
