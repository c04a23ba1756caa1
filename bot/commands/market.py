"""/funding, /oi, /depth, /liq, /top and /market: what the rules see now. Pure.

Each value is in the words of posts, a headline and facts below it, or it is said why there is none.
"""

from collections.abc import Iterable, Sequence

import msgspec

from bot.commands.context import Answer, Context, VenueReport, only
from bot.commands.parsing import Command, asset_of
from bot.lang import numbers
from bot.meant import nearest
from bot.messages.facts import fact_lines
from bot.messages.headline import (
    amount,
    at_least,
    cause_in_words,
    head,
    metric_name,
    parts,
    regime_in_words,
    regime_of,
    sector_title,
    times,
    window_of,
)
from bot.messages.render import MARKS, missing
from bot.messages.voice import Html, Voice, time, title, topic
from rules.alerts import ALL, Alert, CascadeFacts, Level, RegimeFacts, SupportFacts, Turn
from rules.macro import MacroValue
from rules.metric import Learns, Metric
from rules.metrics import metric
from rules.metrics.depth import RECENT_READY, DepthMetric
from rules.metrics.liquidation_day import LiquidationDay
from rules.metrics.market_cap import MarketCapMetric, RoundMetric
from rules.metrics.sector import SectorMetric
from rules.metrics.spot import SpotDepth
from rules.metrics.stablecoin import StablecoinMetric
from rules.metrics.support import SupportMetric
from rules.snapshot import Value
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Kind, Ms
from streams.venues import VENUES

RATES = ("funding", "predicted")


def order(metric_name: str, context: Context) -> tuple[int, bool]:
    """The place of a metric among the rules, and whether its highest values are the worst."""
    for place, rule in enumerate(context.settings.rules):
        if rule.metric == metric_name:
            return place, rule.fires == "above"
    return len(context.settings.rules), topic(metric_name) == "liq"


def as_voice(value: Value, context: Context) -> Voice:
    """The voice of a post about an alert with this value."""
    above, standing = order(value.metric, context)[1], context.standing
    now = standing.seen if standing else context.now
    alert = Alert(
        id="", rule=value.metric, metric=value.metric, unit=value.unit, asset=value.asset,
        turn=Turn.OPEN, level=Level.WATCH, value=value.value or 0.0, threshold=0.0,
        fires="above" if above else "below", at=now, seen=now, opened_at=now,
        extreme=value.value or 0.0, extreme_at=now, post=False,
        missing=value.missing, coverage=value.coverage, facts=value.facts, price=value.price,
        cause=value.cause,
    )  # fmt: skip
    return Voice(alert, context.words)


def with_facts(value: Value, context: Context) -> Html:
    """``value`` with its facts, a line each; of an unknown one, why it is."""
    if value.value is None:
        return unknown(value, context)
    voice = as_voice(value, context)
    lines = [_head(voice, value, context), *fact_lines(voice), *_settled(value, context)]
    lines += missing(voice)
    return Html("\n".join(line for line in lines if line))


def first_line(value: Value, context: Context) -> Html:
    """``value`` without its facts."""
    if value.value is None:
        return unknown(value, context)
    return _head(as_voice(value, context), value, context)


def _head(voice: Voice, value: Value, context: Context) -> Html:
    if voice.topic in RATES and value.value is not None:
        rate, apr = numbers.rate(value.value), numbers.percent(value.value * 3 * 365)
        return context.say(f"ask.head.{voice.topic}", asset=value.asset, rate=rate, apr=apr)
    if voice.topic == "liq" and value.value == 0:
        window = window_of(context.words, value.facts, "window.quiet")
        return context.say("ask.head.no_liq", asset=value.asset, window=window)
    return head(voice)


def _settled(value: Value, context: Context) -> list[Html]:
    if value.settled_at is None or not value.interval_ms:
        return []
    time, hours = as_voice(value, context).time(value.settled_at), value.interval_ms / HOUR
    return [context.say("ask.settled", time=time, hours=f"{hours:g}")]


def short(value: Value, context: Context) -> Html:
    """``BTC −0.0031``; ``≥`` stays where it is a lower bound, and 0 is what was reported."""
    of, text = topic(value.metric), "0"
    if of != "liq" or value.value != 0:
        text = amount(context.words, of, value.value or 0.0, value.unit)
    return context.say("digest.item", asset=value.asset, value=text)


def unknown(value: Value, context: Context) -> Html:
    """That the value is not known now, and why, as far as the feeds show it."""
    name = named(value.metric, context)
    asset = context.say("ask.market") if value.asset == ALL else value.asset
    return context.say("ask.cannot", asset=asset, name=name, why=why_unknown([value], context))


def _present(value: Value, context: Context) -> Html:
    """What there is now, where it cannot be compared yet; nothing if that is unknown."""
    if value.value is not None or value.present_usd is None:
        return Html()
    usd = at_least(context.words, value.present_usd)
    return context.say(f"ask.present.{topic(value.metric)}", usd=usd)


def why_unknown(values: Sequence[Value], context: Context) -> Html:
    """Which venues' feeds are lacking, or when there is something to compare with; nothing if that
    is unknown."""
    of, comma = metric(values[0].metric), context.words.comma
    lacking = {
        title(venue.name, context.words): kinds
        for venue in context.reports.venues
        if (kinds := _lacking(venue, of.kinds))
    }
    if lacking:
        kinds = sorted({kind for names in lacking.values() for kind in names})
        feeds = comma.join(context.say(f"kind.{kind}") for kind in kinds)
        return context.say("ask.lack.feeds", kinds=feeds, venues=comma.join(lacking))
    if "streams" not in context.reports.running:
        return context.say("ask.lack.no_streams")
    if _takes_days(of):
        return context.say("ask.lack.days")
    if (known_at := max(_known_at(value, of) for value in values)) > context.now:
        return context.say("ask.lack.until", time=time(context.words, known_at, context.now))
    return Html()


def _takes_days(of: Metric) -> bool:
    """Whether it is known after days of watching, at first: it learns what is usual, or remembers
    returns and highs."""
    if isinstance(of, StablecoinMetric | MarketCapMetric | RoundMetric | LiquidationDay):
        return False  # within minutes of what it is made of
    return isinstance(of, Learns) or (isinstance(of, DepthMetric) and of.hourly)


def _known_at(value: Value, of: Metric) -> Ms:
    """When there is something to compare the present with, if all goes on coming; 0: unknown."""
    needs = RECENT_READY * MINUTE if isinstance(of, DepthMetric) else of.window
    return 0 if needs is None or value.since is None else value.since + needs


def _lacking(venue: VenueReport, wanted: frozenset[Kind]) -> list[str]:
    """The feeds of these kinds that a venue has and that do not come now."""
    kinds = [kind for kind in venue.feeds if kind in wanted]
    return kinds if venue.trouble else [kind for kind in kinds if not venue.feeds[kind].up]


def named(name: str, context: Context) -> Html:
    """``open interest in 1h``, ``depth ±0.25% against the last hours``."""
    return metric_name(context.words, name)


def without_liquidations(context: Context) -> Html:
    """The venues that publish none."""
    names = [
        VENUES[venue.name].SPEC.title
        for venue in context.settings.venues
        if not (spec := VENUES[venue.name].SPEC).spot and Kind.LIQUIDATION not in spec.kinds
    ]
    if not names:
        return Html()
    return context.say("liq.not_available", len(names), venues=context.words.comma.join(names))


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
    values = [
        v
        for v in context.values
        if topic(v.metric) in topics
        or (command.name == "depth" and isinstance(metric(v.metric), SpotDepth))
    ]
    values.sort(key=lambda v: order(v.metric, context)[0])
    if command.words:
        return _of_asset(command, asset_of(command.words[0]), values, context)
    whole = [with_facts(v, context) for v in values if topic(v.metric) in _MARKET]
    lists = [worst_first(metric, of, context, SHOWN) for metric, of in by_metric(values)]
    blocks = [*whole, *lists] or [context.say("ask.no_rule", command=command.name)]
    if command.name == "liq":
        blocks.append(without_liquidations(context))
    return Answer(blocks=(*blocks, as_of(context)))


def _of_asset(command: Command, asset: str, values: Sequence[Value], context: Context) -> Answer:
    mine = [v for v in values if v.asset == asset]
    if mine:
        blocks, amounts = list[Html](), set[Html]()
        for value in mine:
            block = with_facts(value, context)
            # several windows are compared with the same present
            if (now := _present(value, context)) and now not in amounts:
                amounts.add(now)
                block = Html(f"{block}\n{now}")
            blocks.append(block)
        return Answer(blocks=(*blocks, as_of(context)))
    if any(v.asset == asset for v in context.values):
        return only(context.say("ask.no_rule_on", command=command.name, asset=asset))
    return only(not_watched(asset, context))


def not_watched(asset: str, context: Context) -> Html:
    """That this asset is not watched, and which one may be meant."""
    known = sorted({v.asset for v in context.values} | {*context.settings.tiers.listed, ALL})
    near = nearest(asset, known)
    if near and near != asset:
        return context.say("ask.not_watched_near", asset=asset, near=near)
    return context.say("ask.not_watched", asset=asset)


def stale(context: Context) -> Html:
    """That there are no present values, and why."""
    if context.reports.cannot_write:
        return context.say("ask.redis_full", reason=context.reports.cannot_write)
    if "rules" not in context.reports.running:
        return context.say("ask.stale.no_rules")
    if context.standing is None:
        return context.say("ask.stale.soon")
    age = context.words.length(context.now - context.standing.seen)
    return context.say("ask.stale.old", length=age)


def as_of(context: Context) -> Html:
    """The time of the values."""
    seen = context.standing.seen if context.standing else context.now
    return context.say("ask.as_of", time=time(context.words, seen, context.now))


def by_metric(values: Iterable[Value]) -> list[tuple[str, list[Value]]]:
    """The values of each metric, but those of the whole market."""
    values_of: dict[str, list[Value]] = {}
    for value in values:
        if value.asset != ALL:
            values_of.setdefault(value.metric, []).append(value)
    return list(values_of.items())


def worst_first(metric: str, values: Sequence[Value], context: Context, most: int) -> Html:
    """The worst values of a metric, and the assets whose value is not known."""
    above = order(metric, context)[1]
    known = [v for v in values if v.value is not None]
    known.sort(key=lambda v: ((-1 if above else 1) * (v.value or 0.0), v.asset))
    name = named(metric, context)
    name = Html(name[:1].upper() + name[1:])
    lines = [] if known else [context.say("ask.list_none", name=name)]
    if known:
        way = context.say("ask.highest_first" if above else "ask.lowest_first")
        lines.append(context.say("ask.list", name=name, way=way, count=str(len(known))))
        lines.append(Html(context.words.dot.join(short(v, context) for v in known[:most])))
    if unknown := [v for v in values if v.value is None]:
        names = context.words.comma.join(v.asset for v in unknown[:SHOWN])
        if len(unknown) > SHOWN:
            names = context.say("ask.and_more", list=names, count=str(len(unknown) - SHOWN))
        why = why_unknown(unknown, context)
        lines.append(context.say("ask.unknown_ones", list=names, why=why))
    return Html("\n".join(lines))


def sorted_values(context: Context) -> list[Value]:
    """All values but regimes and supports, which are no numbers, and sectors, of which there are
    many, in the order of the rules."""
    values = (
        v
        for v in context.values
        if topic(v.metric) != "regime" and not of_sector(v) and not of_support(v)
    )
    return sorted(values, key=lambda v: order(v.metric, context)[0])


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
    values = sorted_values(context)
    whole = [first_line(v, context) for v in values if v.asset == ALL]
    lists = [worst_first(metric, of, context, TOP) for metric, of in by_metric(values)]
    return Answer(blocks=(*blocks, Html("\n".join(whole)), *lists, as_of(context)))


def regimes(context: Context) -> dict[str, Value]:
    """Asset → one of the states of its regime, each of which has all of the evidence."""
    values: dict[str, Value] = {}
    for value in context.values:
        if topic(value.metric) == "regime":
            values.setdefault(value.asset, value)
    return values


def regime_line(value: Value, context: Context) -> Html:
    """``BTC: reset since 10:15 (2 h 5 min)``."""
    facts, words = value.facts, context.words
    if not isinstance(facts, RegimeFacts):
        return regime_unknown(value, context)
    return context.say(
        "ask.regime.short",
        asset=regime_subject(value, context),
        regime=regime_in_words(words, facts.regime),
        time=time(words, facts.since, context.now),
        length=words.length(max(0, context.now - facts.since)),
    )


def regime_unknown(value: Value, context: Context) -> Html:
    """That the regime is not known now, and why."""
    name, why = context.say("ask.regime.name"), why_unknown([value], context)
    return context.say("ask.cannot", asset=regime_subject(value, context), name=name, why=why)


def regime_subject(value: Value, context: Context) -> str:
    """Whose regime it is."""
    return context.say("ask.market") if value.asset == ALL else value.asset


def of_sector(value: Value) -> bool:
    """Whether it is of a sector."""
    return isinstance(metric(value.metric), SectorMetric)


def of_support(value: Value) -> bool:
    """Whether it is of a level that was tested."""
    return isinstance(metric(value.metric), SupportMetric)


def supports_in_short(context: Context) -> list[Html]:
    """``Supports: BTC $80,000 (tested 4 times) · ETH $2,750 lost (had held 2 times)``."""
    words, items = context.words, list[Html]()
    for value in context.values:
        facts = value.facts
        if not isinstance(facts, SupportFacts):
            continue
        key, level = "ask.support.item", facts.standing
        if facts.lost is not None and facts.lost.held:
            key, level = "ask.support.item_lost", facts.lost
        if level is not None:
            count = level.tests if level is facts.standing else level.held
            price = words.price(level.level)
            times_ = times(words, count)
            items.append(context.say(key, asset=value.asset, price=price, times=times_))
    return [context.say("ask.support.short", list=Html(words.dot.join(items)))] if items else []


def sectors_in_short(context: Context) -> list[Html]:
    """``Sectors against the market, 24h: Layer 2 −6.1% · Gaming −3.8%``, the worst first."""
    known = [
        (value.value, sector_title(context.words, of.sector))
        for value in context.values
        if isinstance(of := metric(value.metric), SectorMetric)
        and of.span == DAY
        and value.value is not None
    ]
    if not known:
        return []
    listed = context.words.dot.join(f"{name} {numbers.change(pct)}%" for pct, name in sorted(known))
    return [context.say("ask.sectors.short", window=context.words.window(DAY), list=listed)]


MACRO_GROUPS = (
    ("SP500", "NASDAQ100", "NIKKEI225", "KOSPI200", "VIX"),
    ("DXY", "EURUSD", "GBPUSD", "USDJPY", "TLT"),
    ("GOLD", "SILVER", "COPPER", "PLATINUM", "PALLADIUM", "WTI", "BRENT", "NATGAS"),
    ("MSTR", "COIN", "NVDA", "TSLA"),
)
"""What is no coin, a line each: indices, money, metals and energy, shares."""


def whole_market(_command: Command, context: Context) -> Answer:
    """/market: all coins together, what each adds to the market's structure, then what else is
    traded as a perpetual, which is no coin."""
    if context.fresh is None:
        return only(stale(context))
    return Answer(blocks=(*structure(context), *macro_prices(context), as_of(context)))


def structure(context: Context) -> list[Html]:
    """The market's structure, of all coins together and of each."""
    values = sorted_values(context)
    blocks = [regime_line(regime, context)] if (regime := regimes(context).get(ALL)) else []
    blocks += [with_facts(v, context) for v in values if v.asset == ALL]
    blocks += [*sectors_in_short(context), *supports_in_short(context)]
    of_coins = [v for v in values if topic(v.metric) == "structure"]
    blocks += [worst_first(metric, of, context, SHOWN) for metric, of in by_metric(of_coins)]
    return blocks


def macro_prices(context: Context) -> list[Html]:
    """What is no coin and traded as a perpetual; if wanted and unknown, that."""
    prices = () if context.fresh is None else context.fresh.macro
    if not prices:
        return [context.say("ask.macro.none")] if context.settings.macro else []
    known = {value.asset: value for value in prices}
    groups = [[known[asset] for asset in group if asset in known] for group in MACRO_GROUPS]
    dot, comma = context.words.dot, context.words.comma
    lines = [dot.join(_macro(value, context) for value in group) for group in groups if group]
    venues = comma.join(dict.fromkeys(title(value.venue, context.words) for value in prices))
    return [Html("\n".join([context.say("ask.macro", venues=venues), *lines]))]


def _macro(value: MacroValue, context: Context) -> Html:
    name, price = context.say(f"macro.{value.asset}"), numbers.trimmed(value.price, 5)
    if value.change_24h_pct is None:
        return context.say("ask.macro.price", name=name, price=price)
    change = numbers.change(value.change_24h_pct)
    return context.say("ask.macro.change", name=name, price=price, change=change)


def episode_line(alert: Alert, context: Context) -> Html:
    """``🟠 BTC oi_drop:1h −5.2%, since 09:42``."""
    return context.say(
        "ask.episode",
        **_episode(alert, context),
        time=time(context.words, _began(alert), context.now),
    )


def past_episode_line(alert: Alert, level: Level, context: Context) -> Html:
    """``🟠 BTC oi_drop:1h −5.2%, 09:42 to 10:30``: an end, of an episode that had reached
    ``level``."""
    worst = msgspec.structs.replace(alert, value=alert.extreme, level=level)
    words = context.words
    return context.say(
        "summary.over",
        **_episode(worst, context),
        start=time(words, _began(alert), context.now),
        end=time(words, alert.at, context.now),
    )


def _began(alert: Alert) -> Ms:
    return alert.opened_at if alert.began is None else alert.began


def _episode(alert: Alert, context: Context) -> dict[str, str]:
    of, words = topic(alert.metric), context.words
    if isinstance(alert.facts, CascadeFacts):
        value = parts(words, alert.facts)
    elif of == "regime":
        value = regime_in_words(words, regime_of(alert.metric))
    else:
        text, worst = (amount(words, of, x, alert.unit) for x in (alert.value, alert.extreme))
        value = context.say("ask.rate", rate=text) if of in RATES else Html(text)
        if text != worst:  # the mark is of what the episode has reached
            value = context.say("ask.episode.worst", value=value, worst=worst)
    cause = cause_in_words(words, alert.cause)
    return {
        "mark": MARKS[alert.level],
        "asset": alert.asset if not alert.instrument else f"{alert.asset} ({alert.instrument})",
        "rule": alert.rule,
        "value": value,
        "cause": context.say("cause", cause=cause) if cause else cause,
    }
