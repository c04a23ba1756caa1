"""/macro: what moves beside crypto, and what context sources say, with age and source. Pure."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from bot.commands.context import Answer, Context, only
from bot.commands.market import as_of, macro_prices, stale
from bot.commands.parsing import Command
from bot.lang import numbers
from bot.lang.words import Words
from bot.messages.headline import worst_weeks
from bot.messages.voice import Html, time, title
from rules.context import SERIES, SourceFacts
from rules.macro import CLASSES
from streams.durations import DAY
from streams.events import (
    ContextFact,
    MarketCap,
    OwnSeries,
    RateOdds,
    Release,
    Stablecoin,
    Supply,
)

WEEK = 7 * DAY
STABLECOINS = 5
RELEASES = 6

_DOLLARS = {"USD": 1.0, "K USD": 1e3, "M USD": 1e6, "B USD": 1e9}
"""Units of a series that are money, and how many dollars one of them is."""

APART = 0.005
"""A stablecoin so far from a dollar is shown whatever its size."""


def macro(_command: Command, context: Context) -> Answer:
    """Prices of what is no coin, then what each source says, then those that say nothing."""
    standing = context.fresh
    if standing is None:
        return only(stale(context))
    blocks = [_block(answer, context) for answer in standing.context]
    listed = [block for block in blocks if block]
    silent = _silent([answer.source for answer in standing.context], context)
    prices = (*macro_prices(context), *_classes(context))
    return Answer(blocks=(*prices, *listed, *silent, as_of(context)))


def _classes(context: Context) -> list[Html]:
    """What crypto did beside other classes of assets, in a day and a week, the worst first, and for
    how many weeks it was the worst."""
    standing = context.fresh
    if standing is None or (crypto := standing.crypto) is None:
        return []
    known = [value for value in standing.macro if value.asset in CLASSES]
    words = context.words
    lines: list[Html] = []
    for span, own, others in (
        (DAY, crypto.change_24h_pct, {v.asset: v.change_24h_pct for v in known}),
        (WEEK, crypto.change_7d_pct, {v.asset: v.change_7d_pct for v in known}),
    ):
        changes = [(pct, asset) for asset, pct in others.items() if pct is not None]
        window = words.window(span)
        if own is None or not changes:
            lines.append(context.say("ask.classes.unknown", asset=crypto.asset, window=window))
            continue
        listed = words.dot.join(
            context.say(
                "note.change",
                name=asset if asset == crypto.asset else context.say(f"macro.{asset}"),
                pct=numbers.change(pct),
            )
            for pct, asset in sorted([(own, crypto.asset), *changes])
        )
        lines.append(
            context.say("ask.classes.over", asset=crypto.asset, window=window, list=Html(listed))
        )
    if crypto.week_known:
        text = worst_weeks(crypto.asset, crypto.worst_weeks, crypto.may_be_more, words)
        lines.append(context.say("ask.classes.weeks", text=text))
    return [Html("\n".join(lines))]


def _block(answer: SourceFacts, context: Context) -> Html:
    """What one source says, below its name and the age of its answer; nothing if that is nothing
    for readers."""
    lines = [line for lines_of in _LINES for line in lines_of(answer.facts, context)]
    if not lines:
        return Html()
    age = context.words.length(max(0, context.now - answer.seen))
    head = context.say("ask.context.head", source=title(answer.source), length=age)
    return Html("\n".join([head, *lines]))


def _cap(facts: Iterable[ContextFact], context: Context) -> Iterator[Html]:
    for cap in facts:
        if isinstance(cap, MarketCap):
            usd = context.words.usd(cap.usd)
            if cap.change_24h_pct is None:
                yield context.say("ask.context.cap", usd=usd)
            else:
                change = numbers.change(cap.change_24h_pct)
                yield context.say("ask.context.cap_change", usd=usd, change=change)


def _highs(facts: Iterable[ContextFact], context: Context) -> Iterator[Html]:
    """Of the majors, against the price now."""
    prices: dict[str, float] = {}
    for value in context.values:
        if value.price is not None:
            prices.setdefault(value.asset, value.price)
    highs = {fact.asset: fact for fact in facts if isinstance(fact, Supply)}
    for asset in context.settings.majors:
        supply, price = highs.get(asset), prices.get(asset)
        if supply is None or supply.high is None or supply.high_at is None or price is None:
            continue
        yield context.say(
            "ask.context.high",
            asset=asset,
            pct=numbers.percent(100 * min(0.0, price / supply.high - 1)),
            price=context.words.price(max(price, supply.high)),
            day=context.words.day(supply.high_at, context.now),
        )


def _odds(facts: Iterable[ContextFact], context: Context) -> Iterator[Html]:
    for odds in facts:
        if isinstance(odds, RateOdds) and odds.meeting_at > context.now:
            yield context.say(
                "ask.context.odds",
                day=context.words.day(odds.meeting_at, context.now),
                cut=numbers.percent(100 * odds.cut),
                hold=numbers.percent(100 * odds.hold),
                hike=numbers.percent(100 * odds.hike),
            )


def _stablecoins(facts: Iterable[ContextFact], context: Context) -> Iterator[Html]:
    """The largest, and any that is not worth its dollar."""
    coins = [fact for fact in facts if isinstance(fact, Stablecoin)]
    shown = [
        coin
        for place, coin in enumerate(coins)
        if place < STABLECOINS or (coin.price is not None and abs(coin.price - 1) > APART)
    ]
    for coin in shown:
        price = context.say("week.unknown")
        if coin.price is not None:
            price = context.say("format.usd", amount=f"{coin.price:,.4f}")
        supply = context.words.coins(coin.supply)
        if coin.supply_day_ago is None:
            yield context.say("ask.context.coin", asset=coin.asset, price=price, supply=supply)
        else:
            change = numbers.change(100 * (coin.supply / coin.supply_day_ago - 1))
            yield context.say(
                "ask.context.coin_change",
                asset=coin.asset, price=price, supply=supply, change=change,
            )  # fmt: skip


def _releases(facts: Iterable[ContextFact], context: Context) -> Iterator[Html]:
    """Those that are to come."""
    releases = [fact for fact in facts if isinstance(fact, Release)]
    coming = [release for release in releases if release.at > context.now]
    for release in coming[:RELEASES]:
        figures = [
            context.say(key, value=figure)
            for key, figure in (
                ("ask.context.forecast", release.forecast),
                ("ask.context.previous", release.previous),
            )
            if figure
        ]
        yield context.say(
            "ask.context.release",
            time=time(context.words, release.at, context.now),
            currency=release.currency,
            title=release.title,
            figures=context.say("ask.context.figures", list=Html(context.words.comma.join(figures)))
            if figures
            else Html(),
        )
    if releases and not coming:
        yield context.say("ask.context.no_release")


def _series(facts: Iterable[ContextFact], context: Context) -> Iterator[Html]:
    for series in facts:
        if isinstance(series, OwnSeries):
            day, words, unit = context.words.day, context.words, series.unit
            of_30_days = _with_unit(words, series.sum_30d, unit)
            yield context.say(
                "ask.context.series",
                value=_with_unit(words, series.value, unit),
                day=day(series.at, context.now),
                low=_with_unit(words, series.low, unit),
                low_day=day(series.low_at, context.now),
                high=_with_unit(words, series.high, unit),
                high_day=day(series.high_at, context.now),
                first=day(series.first_at, context.now),
                sum="" if unit == "%" else context.say("ask.context.series_sum", sum=of_30_days),
            )


def _with_unit(words: Words, value: float, unit: str) -> str:
    """``−$122M`` of −122 in ``M USD``, as the language writes money; else the number and its
    unit as the configuration has it: ``4.31%``, ``1,204 t``."""
    scale = _DOLLARS.get(unit.upper())
    if scale is not None:
        return (numbers.MINUS if value < 0 else "") + words.usd(scale * value)
    text = numbers.trimmed(value, 5)
    return f"{text}{unit}" if unit in ("", "%") else f"{text} {unit}"


_LINES: Sequence[Callable[[Iterable[ContextFact], Context], Iterator[Html]]] = (
    _cap, _highs, _odds, _stablecoins, _releases, _series,
)  # fmt: skip


def _silent(heard: Sequence[str], context: Context) -> list[Html]:
    """The sources of the configuration that say nothing now, and why."""
    settings = context.settings
    asked = [*settings.sources, *(f"{SERIES}{series.name}" for series in settings.series)]
    if not asked:
        return [context.say("ask.context.none")]
    why = {source.name: source.trouble for source in context.reports.sources}
    lines = [
        context.say("ask.context.silent_why", source=title(name), reason=why[name])
        if why.get(name)
        else context.say("ask.context.silent", source=title(name))
        for name in asked
        if name not in heard
    ]
    return [Html("\n".join(lines))] if lines else []
