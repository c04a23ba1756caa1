"""The fact lines of a message, one fact each, feed by feed. Pure; what is unknown is left out."""

from bot.lang import numbers
from bot.voice import Html, Voice, title
from rules.alerts import DepthFacts, FundingFacts, LiquidationFacts, OpenInterestFacts


def fact_lines(voice: Voice) -> list[Html]:
    """The lines between the first and the last; empty ones stand for what is unknown."""
    match voice.alert.facts:
        case FundingFacts() as facts:
            return _funding_facts(voice, facts)
        case OpenInterestFacts() as facts:
            return _oi_facts(voice, facts)
        case DepthFacts() as facts:
            return _depth_facts(voice, facts)
        case LiquidationFacts() as facts:
            return _liq_facts(voice, facts)
        case None:
            return [voice.price()]


def _funding_facts(voice: Voice, facts: FundingFacts) -> list[Html]:
    rates = facts.by_venue_pct_8h
    lines: list[Html] = []
    if len(rates) > 1:
        shown = voice.by_venue(rates, numbers.rate)
        lines.append(voice.say("funding.weighted", count=str(len(rates)), list=shown))
    for venue, rate in rates.items() if len(rates) == 1 else ():
        lines.append(_single_rate(voice, venue, rate, facts.hours.get(venue)))
    if facts.settled and facts.predicted_pct_8h is not None:
        lines.append(voice.say("funding.predicted", rate=numbers.rate(facts.predicted_pct_8h)))
    if voice.alert.value:
        tense = "payers" if facts.settled else "will"
        payer = "short" if voice.alert.value < 0 else "long"
        pays = voice.say(f"funding.{tense}_{payer}")
        lines.append(Html(f"{voice.price()} {pays}".strip()))
    return lines


def _single_rate(voice: Voice, venue: str, pct_8h: float, hours: float | None) -> Html:
    if hours is None or hours == 8:
        return voice.say("funding.single", venue=title(venue))
    rate = numbers.rate(pct_8h * hours / 8)
    return voice.say("funding.single_interval", venue=title(venue), rate=rate, hours=f"{hours:g}")


def _oi_facts(voice: Voice, facts: OpenInterestFacts) -> list[Html]:
    words = voice.words
    line = voice.say(
        "oi.coins",
        before=words.coins(facts.before_base),
        after=words.coins(facts.after_base),
        asset=voice.alert.asset,
    )
    if facts.net_usd is not None and facts.price_usd is not None:
        same_way = facts.net_usd * facts.price_usd >= 0
        total = words.signed_usd(facts.net_usd + facts.price_usd)
        price = words.signed_usd(facts.price_usd)
        key = "oi.usd_with" if same_way else "oi.usd_against"
        line = Html(line + voice.say(key, total=total, price=price))
    shown = voice.by_venue(facts.by_venue_pct, lambda pct: f"{numbers.change(pct)}%")
    return [line, voice.price(), voice.say("oi.by_venue", list=shown)]


def _depth_facts(voice: Voice, facts: DepthFacts) -> list[Html]:
    words = voice.words
    sides = voice.say(
        "depth.sides",
        bids=words.usd(facts.bid_usd),
        asks=words.usd(facts.ask_usd),
        normal=words.usd(facts.normal_usd),
        window=words.window(facts.normal_ms),
    )
    lines = [sides]
    if len(facts.by_venue_pct) > 1:
        shown = voice.by_venue(facts.by_venue_pct, lambda pct: f"{numbers.share(pct)}%")
        lines.append(voice.say("depth.by_venue", list=shown))
    live = voice.say("depth.live", live=str(facts.live), expected=str(facts.expected))
    if facts.spread_bp is not None:
        spread = voice.say("depth.spread", spread=numbers.trimmed(facts.spread_bp, 2))
        live = Html(f"{spread} {live}")
    return [*lines, live, voice.price()]


def _liq_facts(voice: Voice, facts: LiquidationFacts) -> list[Html]:
    words = voice.words
    one = facts.orders == 1
    share = voice.say("liq.share", pct=numbers.share(facts.oi_pct)) if facts.oi_pct else Html()
    lines = [
        voice.say(
            "liq.sides",
            longs=words.usd(facts.long_usd),
            shorts=words.usd(facts.short_usd),
            orders=voice.say(
                "liq.orders_one" if one else "liq.orders_many", count=str(facts.orders)
            ),
            share=share,
        )
    ]
    if facts.largest_usd > 0:
        largest = voice.say(
            "liq.largest",
            usd=words.usd(facts.largest_usd),
            venue=title(facts.largest_venue),
            price=words.price(facts.largest_price),
        )
        lines.append(largest)
    return [*lines, voice.price(), *_incomplete(voice, facts)]


def _incomplete(voice: Voice, facts: LiquidationFacts) -> list[Html]:
    """Why the sum is a lower bound."""
    lines = [
        voice.say("liq.throttled", venue=title(venue), pct=numbers.share(pct))
        for venue, pct in facts.saturation_pct.items()
        if pct > 0
    ]
    if facts.not_available:
        key = "one" if len(facts.not_available) == 1 else "many"
        names = ", ".join(title(venue) for venue in facts.not_available)
        lines.append(voice.say(f"liq.not_available_{key}", venues=names))
    return lines
