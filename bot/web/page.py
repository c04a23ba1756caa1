"""What the status page shows, as tables of words. Pure.

Each number is taken from where the answer of a command takes it (``/top``, ``/oi``, ``/status``,
``/why``), so that the page and Telegram say the same. What is unknown is "–", never zero. Nothing
here names a chat, an address or a person.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, cast

import msgspec

from bot.commands.context import Asker, Context, reports
from bot.commands.market import (
    RATES,
    first_line,
    order,
    regime_line,
    regimes,
    sorted_values,
    stale,
)
from bot.commands.why import turn_fate
from bot.config import Settings
from bot.delivery.fate import AlertFate
from bot.delivery.sender import SendCounts
from bot.lang import LANGUAGES
from bot.lang.words import Words
from bot.messages.blocks import plain, unbroken
from bot.messages.headline import amount, extreme, head, metric_name
from bot.messages.voice import Voice, say, title, topic
from bot.redaction import public
from bot.roles.bot import BotStatus
from bot.status import lag_of, wrong_clock
from bot.web.readiness import ReadinessCheck
from rules.alerts import ALL, Alert, Level, Turn
from rules.metrics import liquidation, metric
from rules.metrics.depth import DepthMetric
from rules.rule import Rule
from rules.snapshot import PRICE, OpenEpisodes, Standing, Value
from streams.bus.skew import ClockError
from streams.durations import DAY, HOUR
from streams.events import Ms
from streams.feed.status import FeedCount, VenueStatus

Tone = Literal["", "watch", "alert", "critical", "over", "dim", "bad", "good"]
"""How a cell looks; never the only place where something is said."""

TURNS = 30
"""How many of the latest turns are shown."""

_LEVELS: Mapping[Level, Tone] = {
    Level.WATCH: "watch", Level.ALERT: "alert", Level.CRITICAL: "critical",
}  # fmt: skip
_NOBODY = Asker(user=0, name="", private=False)


class PageCell(msgspec.Struct, frozen=True, omit_defaults=True):
    """A word or a number."""

    text: str
    tone: Tone = ""


class PageColumn(msgspec.Struct, frozen=True, omit_defaults=True):
    """The head of a column."""

    text: str
    about: str = ""
    """More of it, for whoever points there."""


class PageTable(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the page."""

    name: str
    """It stays the same."""
    title: str
    columns: tuple[PageColumn, ...]
    rows: tuple[tuple[PageCell, ...], ...]
    """Each as long as ``columns``."""
    notes: tuple[str, ...] = ()
    """Sentences above the rows."""


class PageInput(msgspec.Struct, frozen=True, kw_only=True):
    """What a state of the page is made of."""

    settings: Settings
    language: str
    """Of whoever reads it."""
    now: Ms
    status: Mapping[str, Any] | None
    """Of ``bot.status.collect``; None: Redis was never reached."""
    checks: Sequence[ReadinessCheck] = ()
    standing: Standing | None = None
    """What the rules see; None: they have not said so lately."""
    episodes: OpenEpisodes | None = None
    """What is open, which is said more often."""
    alerts: Sequence[Alert] = ()
    """The newest first."""
    fates: Mapping[str, Sequence[AlertFate]] = {}
    """What became of ``alerts``, by their ids, in each chat that one is for."""
    subscribers: int = 0
    trouble: str = ""
    """Why Redis cannot be asked; "": it can."""


def page_tables(of: PageInput) -> tuple[PageTable, ...]:
    """The whole page."""
    context = _context(of)
    return (
        _open(context),
        _market(context),
        _timeline(context),
        _feeds(of, context),
        _health(of, context),
        _delivery(of, context),
    )


def charted(of: PageInput, asset: str) -> Mapping[str, str]:
    """The metrics of the columns of the market that are known of ``asset``, and what they are
    called, with their units; none if it is not watched."""
    context = _context(of)
    by_topic: dict[str, list[Value]] = {}
    for value in context.values:
        if value.asset != ALL:
            by_topic.setdefault(topic(value.metric), []).append(value)
    names: dict[str, str] = {}
    for topic_name in _CHARTED:
        values = by_topic.get(topic_name, [])
        mine = sorted(
            (value for value in values if value.asset == asset),
            key=lambda v: order(v.metric, context)[0],
        )
        if mine:
            widest = _widest(values)
            name = widest if widest in {v.metric for v in mine} else mine[0].metric
            label = plain(metric_name(context.words, name))
            label = label[:1].upper() + label[1:]
            if "%" not in label:
                unit = _unit(name, context)
                label = _say(context, "page.chart.of", name=label, unit=unit)
            names[name] = label
    return {PRICE: _say(context, "page.chart.price"), **names} if names else {}


def _unit(name: str, context: Context) -> str:
    unit = metric(name).unit
    return _say(context, "page.unit.musd") if unit == liquidation.UNIT else unit


def chart_title(of: PageInput, asset: str) -> str:
    """What stands above the charts of a coin."""
    return _say(_context(of), "page.chart", asset=asset)


def chart_note(of: PageInput, *, empty: bool) -> str:
    """What stands below it."""
    return _say(_context(of), "page.chart.none" if empty else "page.chart.note")


def turn_tone(alert: Alert) -> Tone:
    """How a turn is marked."""
    return "over" if alert.turn is Turn.CLOSE else _LEVELS[alert.level]


def _context(of: PageInput) -> Context:
    return Context(
        settings=of.settings,
        words=LANGUAGES[of.language],
        now=of.now,
        asker=_NOBODY,
        standing=_newest(of.standing, of.episodes),
        reports=reports(of.status or {}),
        alerts=of.alerts,
        fates=of.fates,
        subscribers=of.subscribers,
    )


def _newest(standing: Standing | None, episodes: OpenEpisodes | None) -> Standing | None:
    if standing is None or episodes is None or episodes.seen < standing.seen:
        return standing
    return msgspec.structs.replace(standing, episodes=episodes.episodes, stale=episodes.stale)


def _plain(text: str) -> str:
    """What was measured, in which no line breaks between a sign, its number and its unit."""
    return unbroken(plain(text))


def _say(context: Context, key: str, **values: str) -> str:
    return plain(context.say(key, **values))


def _columns(context: Context, *names: str) -> tuple[PageColumn, ...]:
    return tuple(PageColumn(_say(context, f"page.column.{name}")) for name in names)


def _unknown(context: Context) -> PageCell:
    return PageCell(_say(context, "page.unknown"), "dim")


def _moment(words: Words, ms: Ms, now: Ms) -> str:
    return words.clock(ms) if ms // DAY == now // DAY else words.date(ms)


def _as_of(context: Context) -> tuple[str, ...]:
    """Of when the values are, or why there are no present ones."""
    standing = context.fresh
    if standing is None:
        return (public(_plain(stale(context))),)
    time = f"{datetime.fromtimestamp(standing.seen / 1000, UTC):%H:%M:%S} UTC"
    return (_say(context, "page.as_of", time=time),)


def _level(context: Context, level: Level, over: bool = False) -> PageCell:
    key = "over" if over else str(level.value)
    return PageCell(_say(context, f"page.level.{key}"), "over" if over else _LEVELS[level])


def _open(context: Context) -> PageTable:
    """What is going on, the worst first and composites before their parts; where nobody knows what
    is so now, only that."""
    standing, rows = context.fresh, list[tuple[PageCell, ...]]()
    if standing is not None:
        stale_ids = {alert.id for alert in standing.stale}
        episodes = sorted(
            (*standing.episodes, *standing.stale),
            key=lambda e: (-e.level, e.metric != "composite", e.opened_at, e.id),
        )
        rows = [_episode(alert, alert.id in stale_ids, context) for alert in episodes]
    notes = () if rows else (_say(context, "ask.top.none"),)
    return PageTable(
        name="open",
        title=_say(context, "page.open"),
        columns=_columns(context, "level", "what", "worst", "since"),
        rows=tuple(rows),
        notes=_as_of(context) if standing is None else notes,
    )


def _episode(alert: Alert, is_stale: bool, context: Context) -> tuple[PageCell, ...]:
    voice = Voice(msgspec.structs.replace(alert, turn=Turn.OPEN), context.words)
    what = PageCell(_plain(head(voice)))
    if is_stale:
        time = _moment(context.words, alert.at, context.now)
        what = PageCell(_say(context, "page.last_known", what=what.text, time=time), "dim")
    # a composite's first line tells each of its parts at its worst
    worst = "" if alert.metric == "composite" else _plain(extreme(voice))
    since = _say(
        context,
        "page.since",
        time=_moment(context.words, voice.began, context.now),
        length=voice.lasted(),
    )
    return _level(context, alert.level), what, PageCell(worst), PageCell(since)


_CHARTED = ("oi", "depth", "liq", "funding", "predicted")
"""Topics of metrics that have a chart, in this order, below that of the price."""

_SHOWN = ("funding", "predicted", "oi", "depth", "liq")
"""Topics of metrics that have a column of the market; ``price`` is the column before them."""


def _market(context: Context) -> PageTable:
    values = sorted_values(context)
    regime = regimes(context).get(ALL)
    lines = [] if regime is None or regime.facts is None else [regime_line(regime, context)]
    lines += [first_line(v, context) for v in values if v.asset == ALL and v.value is not None]
    whole = tuple(_plain(line) for line in lines)
    by_topic: dict[str, list[Value]] = {}
    assets: dict[str, dict[str, list[Value]]] = {}
    for value in values:
        if value.asset != ALL:
            of = topic(value.metric)
            by_topic.setdefault(of, []).append(value)
            assets.setdefault(value.asset, {}).setdefault(of, []).append(value)
    widest = {
        of: _widest(by_topic[of]) for of in ("price", *_SHOWN) if of in by_topic
    }  # its columns, in this order
    levels = _levels(context)
    rows = [
        (
            PageCell(asset, levels.get((asset, ""), "")),
            _price(of_asset, context),
            *(_value(of, name, of_asset.get(of, []), levels, context)
              for of, name in widest.items()),
        )
        for asset, of_asset in sorted(assets.items(), key=lambda item: _place(item[0], context))
    ]  # fmt: skip
    heads = [_head(of, name, context) for of, name in widest.items()]
    no_rows = () if rows or context.fresh is None else (_say(context, "page.no_market"),)
    return PageTable(
        name="market",
        title=_say(context, "page.market"),
        columns=(*_columns(context, "asset", "price"), *heads),
        rows=tuple(rows),
        notes=(*_as_of(context), *no_rows, *whole),
    )


def _widest(values: Iterable[Value]) -> str:
    """Of the metrics of one topic the one that most assets have; of several the one whose window is
    nearest to an hour, then the first among the rules."""
    count = Counter(value.metric for value in values)
    return max(count, key=lambda name: (count[name], -abs((metric(name).window or HOUR) - HOUR)))


def _place(asset: str, context: Context) -> tuple[int, str]:
    """Assets that the configuration names come first, in its order."""
    listed = list(context.settings.tiers.listed)
    return (listed.index(asset) if asset in listed else len(listed), asset)


def _levels(context: Context) -> Mapping[tuple[str, str], Tone]:
    """Asset and metric ("": any) → the highest level of an open episode."""
    levels: dict[tuple[str, str], Level] = {}
    for alert in context.fresh.episodes if context.fresh else ():
        if not alert.instrument:
            for key in ((alert.asset, alert.metric), (alert.asset, "")):
                levels[key] = max(alert.level, levels.get(key, alert.level))
    return {key: _LEVELS[level] for key, level in levels.items()}


def _of(words: Words, name: str) -> str:
    """The window or the band of a metric: ``1h``, ``±0.25%``; "": it has none."""
    of = metric(name)
    if isinstance(of, DepthMetric):
        return str(say(words, "page.band", band=f"{of.bp / 100:g}"))
    return words.window(of.window) if of.window else ""


def _head(of: str, name: str, context: Context) -> PageColumn:
    key = "move" if of == "price" else of
    text = _say(context, f"page.column.{key}", of=_of(context.words, name))
    return PageColumn(text, plain(metric_name(context.words, name)))


def _price(of_asset: Mapping[str, Sequence[Value]], context: Context) -> PageCell:
    for values in of_asset.values():
        for value in values:
            if value.price is not None:
                return PageCell(context.words.price(value.price))
    return _unknown(context)


def _value(
    of: str,
    name: str,
    values: Sequence[Value],
    levels: Mapping[tuple[str, str], Tone],
    context: Context,
) -> PageCell:
    """The value of the metric ``name``; where it is unknown, of another one of its topic, which
    then says over what it is."""
    known = {v.metric: v for v in reversed(values) if v.value is not None}
    value = known.get(name) or next(iter(reversed(known.values())), None)
    if value is None or value.value is None:
        return _unknown(context)
    text = _plain(amount(context.words, of, value.value, value.unit))
    if of == "liq" and value.value == 0:
        text = "0"
    elif of in RATES:
        text += "%"
    if value.metric != name:
        text = _say(context, "page.other", value=text, of=_of(context.words, value.metric))
    return PageCell(text, levels.get((value.asset, value.metric), ""))


def _timeline(context: Context) -> PageTable:
    rules = {rule.name: rule for rule in context.settings.rules}
    rows = [
        (
            PageCell(_moment(context.words, alert.seen, context.now), "dim"),
            _level(context, alert.level, alert.turn is Turn.CLOSE),
            PageCell(_plain(head(Voice(alert, context.words)))),
            PageCell(_fate(alert, rules.get(alert.rule), context), "dim"),
        )
        for alert in context.alerts[:TURNS]
    ]  # fmt: skip
    return PageTable(
        name="timeline",
        title=_say(context, "page.timeline"),
        columns=_columns(context, "time", "level", "what", "post"),
        rows=tuple(rows),
        notes=() if rows else (_say(context, "page.no_alerts"),),
    )


def _fate(alert: Alert, rule: Rule | None, context: Context) -> str:
    """What became of a turn; "": that will be known in a moment."""
    if alert.post and alert.id not in context.fates:
        return ""
    return public(_plain(turn_fate(alert, rule, context)))


def _why(reason: str, context: Context) -> str:
    """A reason as anybody may read it."""
    return context.words.reasons.translated(public(reason))


def _health(of: PageInput, context: Context) -> PageTable:
    """What /readyz says."""
    checks = [*of.checks]
    if of.trouble:
        checks = [ReadinessCheck(name="redis", ok=False, reason=of.trouble)]
    well = _say(context, "page.well")
    rows = [
        (
            PageCell(_say(context, f"page.check.{check.name}")),
            PageCell(well, "good") if check.ok else PageCell(_why(check.reason, context), "bad"),
        )
        for check in checks
    ]
    return PageTable(
        name="health",
        title=_say(context, "page.health"),
        columns=_columns(context, "check", "state"),
        rows=tuple(rows),
    )


def _feeds(of: PageInput, context: Context) -> PageTable:
    streams = (of.status or {}).get("streams")
    rows: list[tuple[PageCell, ...]] = []
    if streams is not None:
        venues = msgspec.convert(streams["venues"], list[VenueStatus])
        clock, seen = wrong_clock(streams), cast("Ms", streams["seen"])
        rows = [_venue(venue, seen, clock, context) for venue in venues]
    return PageTable(
        name="feeds",
        title=_say(context, "page.feeds"),
        columns=_columns(
            context, "venue", "contracts", "feeds", "lag", "heard", "gaps", "error"
        ),
        rows=tuple(rows),
        notes=() if streams is not None else (_say(context, "page.no_venues"),),
    )  # fmt: skip


def _venue(
    venue: VenueStatus, seen: Ms, clock: ClockError | None, context: Context
) -> tuple[PageCell, ...]:
    heard = [socket for socket in venue.sockets if socket.last_data]
    lag = heard_at = _unknown(context)
    lags = [ms for socket in heard if (ms := lag_of(socket, clock)) is not None]
    if lags:
        lag = PageCell(f"{max(0, *lags):,} ms")
    if heard:
        age = max(0, seen - max(socket.last_data for socket in heard))
        text = _say(context, "page.now")
        if age >= 1000:
            text = _say(context, "page.ago", length=context.words.length(age))
        heard_at = PageCell(text)
    errors = [venue.trouble, *(socket.reason for socket in venue.sockets)]
    error = next((PageCell(_why(text, context), "bad") for text in errors if text), None)
    states = [_feed(kind, count, context) for kind, count in venue.feeds.items()]
    if not venue.sides_known:
        name = _say(context, "kind.open_interest")
        states.append(_say(context, "ask.feed.percent_only", kind=name))
    feeds = context.words.comma.join(states)
    down = any(count.down for count in venue.feeds.values())
    return (
        PageCell(title(venue.name, context.words), "bad" if venue.trouble else ""),
        PageCell(str(venue.instruments)),
        PageCell(feeds, "bad" if down else "") if feeds else _unknown(context),
        lag,
        heard_at,
        PageCell(f"{sum(socket.gaps for socket in venue.sockets):,}"),
        error or PageCell(_say(context, "page.none"), "dim"),
    )


def _feed(kind: str, count: FeedCount, context: Context) -> str:
    state = "none_yet" if not count.up and not count.down else "down"
    if count.up:
        state = "partly" if count.down else "up"
    name = _say(context, f"kind.{kind}")
    return _say(context, f"ask.feed.{state}", kind=name, up=str(count.up), down=str(count.down))


def _delivery(of: PageInput, context: Context) -> PageTable:
    report = (of.status or {}).get("bot")
    rows: list[tuple[PageCell, ...]] = []
    if report is not None:
        bot = msgspec.convert(report, BotStatus)
        counts: SendCounts = bot.counts
        numbers = {
            "sent": counts.sent, "edited": counts.edited, "queued": bot.queued,
            "waiting": bot.waiting, "held": bot.held, "hidden": bot.hidden,
            "silenced": bot.silenced, "refused": counts.refused, "uncertain": counts.uncertain,
            "off": len(bot.off), "troubled": len(bot.troubled),
        }  # fmt: skip
        if of.settings.operators.subscribers:
            numbers["subscribers"] = of.subscribers
        bad = {name for name in ("refused", "off", "troubled") if numbers[name]}
        rows = [
            (
                PageCell(_say(context, f"page.post.{name}")),
                PageCell(f"{number:,}", "bad" if name in bad else ""),
            )
            for name, number in numbers.items()
        ]
        reasons = {*bot.off.values(), *(chat.reason for chat in bot.troubled)} - {""}
        rows += [
            (PageCell(_say(context, "page.column.error")), PageCell(_why(reason, context), "bad"))
            for reason in sorted(reasons)
        ]
    return PageTable(
        name="delivery",
        title=_say(context, "page.delivery"),
        columns=_columns(context, "posts", "count"),
        rows=tuple(rows),
        notes=() if report is not None else (_say(context, "page.no_delivery"),),
    )
