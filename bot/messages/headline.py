"""First lines, topic by topic, and the same in a few words for digests and chains. Pure."""

from collections.abc import Callable

from bot.lang import numbers
from bot.lang.words import Words
from bot.messages.voice import Html, Voice, say, topic
from rules.alerts import (
    ALL,
    Alert,
    CascadeFacts,
    Cause,
    CrossingFacts,
    DepthFacts,
    Facts,
    FundingShareFacts,
    LevelFacts,
    Link,
    LiquidationFacts,
    MarketCapFacts,
    OpenInterestFacts,
    Opinion,
    PriceFacts,
    PriceShareFacts,
    Regime,
    RegimeFacts,
    SupportFacts,
    TotalOpenInterestFacts,
    Turn,
    VolatilityFacts,
)
from rules.metric import Metric
from rules.metrics import (
    correlation,
    dispersion,
    drawdown,
    liquidation_day,
    market_cap,
    metric,
    sector,
    spot,
    stablecoin,
    support,
    volatility,
)
from rules.metrics.correlation import CorrelationMetric
from rules.metrics.depth import DepthMetric
from rules.metrics.dispersion import FundingDispersion
from rules.metrics.drawdown import GroupDrawdown, InterestDrawdown, PriceDrawdown
from rules.metrics.liquidation_day import LiquidationDay
from rules.metrics.market_cap import MarketCapMetric, RoundMetric
from rules.metrics.regime import RegimeMetric
from rules.metrics.sector import SectorMetric
from rules.metrics.spot import SpotDepth, SpotShare
from rules.metrics.stablecoin import StablecoinMetric
from rules.metrics.support import SupportMetric
from rules.metrics.usual import UsualMetric, base_of
from rules.metrics.volatility import VolatilityMetric
from streams.durations import DAY, MINUTE
from streams.events import Ms


def head(voice: Voice) -> Html:
    """The first line, which must make sense alone on a lock screen."""
    alert = voice.alert
    values = {"asset": alert.asset, "level": voice.say(f"level.{alert.level.value}")}
    facts = alert.facts
    if voice.topic == "liq" and alert.value == 0:  # that it is ≥ $0 says nothing
        of = "close" if alert.turn is Turn.CLOSE else "open"
        window = window_of(voice.words, facts, "window.quiet")
        return voice.say(f"liq.{of}_none", asset=alert.asset, window=window)
    if isinstance(facts, MarketCapFacts) and facts.crossing and _is_crossing(alert):
        return voice.say(f"round.{alert.turn}", **(values | _round(voice, facts, facts.crossing)))
    if isinstance(facts, SupportFacts) and (facts.lost or alert.turn is Turn.CLOSE):
        return voice.say(f"support.{alert.turn}", **(values | _support(voice, facts.lost)))
    return voice.say(f"{voice.topic}.{alert.turn}", **(values | _PLACES[voice.topic](voice)))


def window_ms(facts: Facts | None) -> Ms | None:
    """The length of the window that ``facts`` are of, None if they are of one moment."""
    match facts:
        case OpenInterestFacts() | TotalOpenInterestFacts() | LiquidationFacts() | PriceFacts():
            return facts.window_ms
        case PriceShareFacts() | VolatilityFacts():
            return facts.window_ms
        case _:
            return None


def window_of(words: Words, facts: Facts | None, key: str = "window") -> Html:
    """``" in 1h"``, or nothing."""
    ms = window_ms(facts)
    return say(words, key, window=words.window(ms)) if ms else Html()


def amount(words: Words, of: str, value: float, unit: str) -> str:
    """A value of the topic ``of`` in as few words as can be."""
    match of:
        case "funding" | "predicted":
            return numbers.rate(value)
        case "oi" | "total" | "price":
            return f"{numbers.change(value)}%"
        case "depth" | "breadth" | "falls":
            return f"{numbers.share(value)}%"
        case "usual" | "structure" if unit == "σ":
            return f"{numbers.change(value).removesuffix('.0')}σ"
        case "usual":
            return str(say(words, "usual.times", value=numbers.trimmed(value, 2)))
        case "regime":
            return str(say(words, "ask.regime.yes" if value > 0 else "ask.regime.no"))
        case "structure" if unit in (volatility.UNIT, spot.SHARE_UNIT, spot.DEPTH_UNIT):
            return f"{numbers.share(value)}%"
        case "structure" if unit == liquidation_day.UNIT:
            return at_least(words, value * 1e6)
        case "structure" if unit == dispersion.UNIT:
            return f"{numbers.trimmed(value, 2)}%"
        case "structure" if unit in (market_cap.ROUNDS_UNIT, support.UNIT):
            return f"{value:g}"
        case "structure" if unit == market_cap.USD_UNIT:
            return words.usd(value * 1e12)
        case "structure" if unit == stablecoin.UNIT:
            return f"{numbers.signed(f'{value:+.2f}') if round(value, 2) else 0}%"
        case "structure" if unit in (drawdown.UNIT, market_cap.CHANGE_UNIT, sector.UNIT):
            return f"{numbers.change(value)}%"
        case "structure" if unit == correlation.UNIT:
            return numbers.trimmed(value, 2)
        case "liq":
            return at_least(words, value * 1e6)
        case _:
            return f"{numbers.trimmed(value, 4)} {unit}"


def at_least(words: Words, usd: float) -> str:
    """``≥ $64.2M``: a lower bound; that of nothing says nothing: ``none reported``."""
    if usd < 1:
        return str(say(words, "liq.none"))
    return str(say(words, "liq.amount", usd=words.usd_at_least(usd)))


def cause_in_words(words: Words, cause: Cause | None) -> Html:
    """``long unwinding``; nothing if it is unknown."""
    return say(words, f"cause.{cause.name.lower()}") if cause else Html()


def regime_in_words(words: Words, regime: Regime) -> Html:
    """``cascade``."""
    return say(words, f"regime.{regime}")


def regime_of(metric_name: str) -> Regime:
    """Which regime a metric says whether it is in."""
    of = metric(metric_name)
    return of.regime if isinstance(of, RegimeMetric) else Regime.CALM


def _cause(voice: Voice) -> Html:
    """The end of a first line."""
    word = cause_in_words(voice.words, voice.alert.cause)
    return voice.say("cause", cause=word) if word else word


def event_in_words(words: Words, cause: Cause | None) -> Html:
    """What several things at once are called."""
    return say(words, f"cascade.event_{cause.name.lower()}" if cause else "cascade.event_unclear")


def metric_name(words: Words, name: str) -> Html:
    """``open interest in 1h``, ``depth ±0.25%, % of the last hours``."""
    of = metric(name)
    values: dict[str, str] = {}
    key = topic(name)
    if key == "structure":
        return _structure_name(words, of)
    if isinstance(of, RegimeMetric):
        return say(words, "ask.name.regime", regime=regime_in_words(words, of.regime))
    if isinstance(of, UsualMetric):
        key = f"usual_{topic(of.base.name)}"
    if isinstance(of, DepthMetric):
        values["band"] = f"{of.bp / 100:g}"
        key = "depth_hour" if of.hourly else "depth"
    elif of.window:
        values["window"] = words.window(of.window)
    return say(words, f"ask.name.{key}", **values)


def sector_title(words: Words, name: str) -> str:
    """A sector as readers know it; one of the operator's own by its name."""
    return words.phrases.get(f"sector.{name}", name)


def _structure_name(words: Words, of: Metric) -> Html:
    """``7d realised volatility``: of what the market's structure is measured by."""
    match of:
        case VolatilityMetric():
            return say(words, "structure.volatility", window=words.window(of.days * DAY))
        case CorrelationMetric():
            return say(words, f"structure.{of.name.removesuffix('_7d')}")
        case LiquidationDay():
            return say(words, "structure.liquidations")
        case FundingDispersion():
            return say(words, "structure.dispersion")
        case PriceDrawdown():
            return say(words, "structure.drawdown_price")
        case GroupDrawdown() if of.group != "total":
            return say(words, f"structure.drawdown_oi_{of.group}")
        case GroupDrawdown() | InterestDrawdown():
            return say(words, "structure.drawdown_oi")
        case RoundMetric():
            return say(words, f"structure.rounds_{'rose' if of.up else 'fell'}")
        case MarketCapMetric():
            of_change = of.unit == market_cap.CHANGE_UNIT
            return say(words, f"structure.market_cap{'_change' if of_change else ''}")
        case StablecoinMetric():
            return say(words, "structure.stablecoin", coin=of.coin)
        case SectorMetric():
            return _sector_name(words, "structure.sector", of)
        case UsualMetric() if isinstance(of.base, SectorMetric):
            return _sector_name(words, "structure.sector_usual", of.base)
        case SupportMetric():
            return say(words, "structure.support")
        case SpotShare():
            return say(words, "structure.spot_share")
        case SpotDepth():
            return say(words, "structure.spot_depth", band=f"{of.bp / 100:g}")
        case _:
            return say(words, "ask.name.other")


def _sector_name(words: Words, key: str, of: SectorMetric) -> Html:
    return say(words, key, sector=sector_title(words, of.sector), window=words.window(of.span))


def opinion(words: Words, of: Opinion) -> Html:
    """``price in 1h −0.3% (asked: ≤ −1)``: what another metric says."""
    asked = of.asked.replace("<=", "≤").replace(">=", "≥").replace("-", numbers.MINUS)
    name = metric_name(words, of.metric)
    if of.value is None:
        return say(words, "opinion.unknown", name=name, asked=asked)
    value = amount(words, topic(of.metric), of.value, of.unit)
    return say(words, "opinion.value", name=name, value=value, asked=asked)


def extreme(voice: Voice) -> str:
    """The worst value of the episode; a lower bound says that it is one."""
    alert = voice.alert
    text = amount(voice.words, voice.topic, alert.extreme, alert.unit)
    rate = voice.topic in ("funding", "predicted")
    return str(voice.say("ask.rate", rate=text)) if rate else text


def parts(words: Words, facts: CascadeFacts) -> Html:
    """``OI −9.4%, longs liquidated ≥ $312M, depth 52% of normal, price −9.1% in 1h``.

    Each at its worst: the conditions, and what is hidden beside them. Of two of one kind, each says
    over which window it is.
    """
    kinds = [topic(link.metric) for link in facts.chain]
    conditions = [
        _worst(words, link, window_of(words, link.facts) if kinds.count(kind) > 1 else Html())
        for kind, link in zip(kinds, facts.chain, strict=True)
    ]
    also = [_worst(words, link, window_of(words, link.facts)) for link in facts.also]
    return Html(words.comma.join([*conditions, *also]))


def _worst(words: Words, link: Link, window: Html) -> Html:
    longs = link.extreme_longs
    if longs is None:
        return part(words, link, link.extreme, window)
    # the sum over both sides is no lower bound of one of them
    shorts = link.extreme - longs
    side, musd = ("longs", longs) if longs >= shorts else ("shorts", shorts)
    return say(words, f"part.{side}", usd=words.usd_at_least(musd * 1e6), window=window)


def part(words: Words, link: Link, value: float, window: Html) -> Html:
    """One condition of a composite with ``value``; ``window``: that of its metric, or nothing."""
    of = topic(link.metric)
    if of not in ("oi", "liq", "depth", "price", "funding", "predicted"):
        return say(words, "part.other", rule=link.family, value=amount(words, of, value, link.unit))
    return say(
        words,
        f"part.{of}",
        value=amount(words, of, value, link.unit),
        window=window,
    )


def _funding(voice: Voice) -> dict[str, str]:
    alert = voice.alert
    state = "high" if voice.above else "negative" if alert.value < 0 else "low"
    flipped = not voice.above and alert.extreme < 0 < alert.value
    return {
        "state": voice.say(f"funding.{state}"),
        "further": voice.say(f"funding.further_{state}"),
        "back": voice.say("funding.back_positive" if flipped else "funding.back"),
        "rate": numbers.rate(alert.value),
        "apr": numbers.percent(alert.value * 3 * 365),
    }


def _open_interest(voice: Voice) -> dict[str, str]:
    alert, facts = voice.alert, voice.alert.facts
    known = facts if isinstance(facts, OpenInterestFacts | TotalOpenInterestFacts) else None
    closed = Html()
    if known and known.net_usd:
        fell = "oi.fell" if known.net_usd < 0 else "oi.rose"
        closed = voice.say(fell, usd=voice.words.usd(known.net_usd))
    return {
        "pct": numbers.change(alert.value),
        "window": window_of(voice.words, voice.alert.facts),
        "closed": closed,
        "cause": _cause(voice),
        "further": voice.say(f"oi.further_{alert.fires}"),
    }


def _depth(voice: Voice) -> dict[str, str]:
    alert, facts, words = voice.alert, voice.alert.facts, voice.words
    band, total = Html(), Html()
    if isinstance(facts, DepthFacts):
        band = voice.say("depth.band", band=f"{facts.band_bp / 100:g}")
        total = voice.say("depth.total", usd=words.usd(facts.bid_usd + facts.ask_usd))
    return {
        "band": band,
        "total": total,
        "pct": numbers.share(alert.value),
        "further": voice.say(f"depth.further_{alert.fires}"),
    }


def _liquidation(voice: Voice) -> dict[str, str]:
    facts = voice.alert.facts
    known = facts if isinstance(facts, LiquidationFacts) else None
    mostly = Html()
    if known and known.long_usd + known.short_usd > 0:
        longs = 100 * known.long_usd / (known.long_usd + known.short_usd)
        side, pct = ("liq.longs", longs) if longs >= 50 else ("liq.shorts", 100 - longs)
        mostly = voice.say(side, pct=numbers.share(pct))
    return {
        "usd": voice.words.usd_at_least(voice.alert.value * 1e6),
        "window": window_of(voice.words, voice.alert.facts),
        "mostly": mostly,
    }


def _price(voice: Voice) -> dict[str, str]:
    facts, words = voice.alert.facts, voice.words
    known = facts if isinstance(facts, PriceFacts) else None
    ends = Html()
    if known:
        ends = voice.say(
            "price.ends", before=words.price(known.before), after=words.price(known.after)
        )
    return {
        "pct": numbers.change(voice.alert.value),
        "window": window_of(voice.words, voice.alert.facts),
        "ends": ends,
        "cause": _cause(voice),
        "further": voice.say(f"price.further_{voice.alert.fires}"),
    }


def _breadth(voice: Voice) -> dict[str, str]:
    facts = voice.alert.facts
    count = Html()
    if isinstance(facts, FundingShareFacts):
        count = voice.say("breadth.count", negative=str(facts.negative), live=str(facts.live))
    return {"pct": numbers.share(voice.alert.value), "count": count}


def _usual(voice: Voice) -> dict[str, str]:
    alert, facts, words = voice.alert, voice.alert.facts, voice.words
    move, what = "", topic(alert.metric.removesuffix("_sigma").removesuffix("_x_normal"))
    match facts:
        case PriceFacts():
            move = f"{numbers.change(100 * (facts.after / facts.before - 1))}%"
        case OpenInterestFacts():
            move = f"{numbers.change(100 * (facts.after_base / facts.before_base - 1))}%"
        case LiquidationFacts():
            move = at_least(words, facts.long_usd + facts.short_usd)
        case _:
            pass
    return {
        "what": voice.say(f"usual.{what}"),
        "value": amount(words, "usual", alert.value, alert.unit),
        "window": window_of(words, facts),
        "move": voice.say("usual.move", move=move) if move else Html(),
        "cause": _cause(voice),
    }


def _structure(voice: Voice) -> dict[str, str]:
    alert, of = voice.alert, base_of(metric(voice.alert.metric))
    what = metric_name(voice.words, alert.metric)
    if alert.asset != ALL:
        what = voice.say("structure.of", asset=alert.asset, what=what)
    elif not isinstance(of, StablecoinMetric | SectorMetric):  # the names of those say of what
        what = voice.say("structure.of_market", what=what)
    return {
        "what": what,
        "value": amount(voice.words, "structure", alert.value, alert.unit),
        "way": voice.say(f"structure.{_way(alert)}"),
    }


def _way(alert: Alert) -> str:
    """Into which direction it gets worse; how far a dollar coin is off has none of its own."""
    if alert.unit == stablecoin.UNIT:
        return "further"
    return "higher" if alert.fires == "above" else "lower"


def _is_crossing(alert: Alert) -> bool:
    """Whether it is about round numbers, of which one is being told."""
    return alert.unit == market_cap.ROUNDS_UNIT and (alert.value > 0 or alert.turn is Turn.CLOSE)


def _round(voice: Voice, facts: MarketCapFacts, crossing: CrossingFacts) -> dict[str, str]:
    """At its end, on which side it is now."""
    is_there = (facts.usd > crossing.usd) is crossing.up
    return {
        "way": voice.say("round.above" if crossing.up else "round.below"),
        "usd": voice.words.usd(crossing.usd),
        "value": voice.words.usd(facts.usd),
        "now": voice.say("round.still" if is_there else "round.no_more"),
    }


def _support(voice: Voice, lost: LevelFacts | None) -> dict[str, str]:
    """At its end, nothing: which level it was is over."""
    if lost is None:
        return {}
    return {"price": voice.words.price(lost.level), "times": times(voice.words, lost.held)}


def times(words: Words, count: int) -> Html:
    """``4 times``."""
    return say(words, "support.times", count, count=str(count))


def worst_weeks(asset: str, count: int, may_be_more: bool, words: Words) -> Html:
    """``BTC the weakest for at least 3 weeks in a row``: of several classes of assets."""
    if not count:
        return say(words, "note.not_worst", asset=asset)
    weeks = say(words, "note.weeks", count, count=str(count))
    key = "note.worst_weeks_at_least" if may_be_more else "note.worst_weeks"
    return say(words, key, asset=asset, weeks=weeks)


def _regime(voice: Voice) -> dict[str, str]:
    """At its end, what has come in its place."""
    alert, words = voice.alert, voice.words
    facts = alert.facts if isinstance(alert.facts, RegimeFacts) else None
    of = regime_of(alert.metric)
    now = Html()
    if facts is not None and facts.regime is not of:
        now = voice.say("regime.now", regime=regime_in_words(words, facts.regime))
    return {
        "asset": voice.say("ask.market") if alert.asset == ALL else alert.asset,
        "regime": regime_in_words(words, of),
        "meaning": voice.say(f"regime.meaning.{of}"),
        "now": now,
    }


def _falls(voice: Voice) -> dict[str, str]:
    facts = voice.alert.facts
    share = voice.say("falls.share", pct=numbers.share(voice.alert.value))
    if isinstance(facts, PriceShareFacts):
        key = "falls.count" if facts.live == facts.expected else "falls.at_least"
        share = voice.say(key, fallen=str(facts.fallen), expected=str(facts.expected))
    return {"share": share, "window": window_of(voice.words, facts)}


def _cascade(voice: Voice) -> dict[str, str]:
    alert, facts = voice.alert, voice.alert.facts
    event = event_in_words(voice.words, alert.cause)
    if not isinstance(facts, CascadeFacts) or not facts.chain:
        return {"event": event, "parts": Html(), "within": Html()}
    within = Html()
    if (length := alert.seen - facts.chain[0].at) >= MINUTE:
        within = voice.say("cascade.within", length=voice.words.length(length))
    listed = voice.say("cascade.parts", list=parts(voice.words, facts))
    return {"event": event, "parts": listed, "within": within}


def _other(voice: Voice) -> dict[str, str]:
    alert = voice.alert
    return {
        "rule": alert.family or alert.rule,
        "value": numbers.trimmed(alert.value, 4),
        "unit": alert.unit,
    }


_PLACES: dict[str, Callable[[Voice], dict[str, str]]] = {
    "funding": _funding,
    "predicted": _funding,
    "breadth": _breadth,
    "falls": _falls,
    "usual": _usual,
    "structure": _structure,
    "regime": _regime,
    "oi": _open_interest,
    "total": _open_interest,
    "depth": _depth,
    "liq": _liquidation,
    "price": _price,
    "cascade": _cascade,
    "other": _other,
}
