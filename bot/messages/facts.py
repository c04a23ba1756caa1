"""The fact lines of a message, one fact each, feed by feed. Pure; what is unknown is left out."""

from collections.abc import Collection, Mapping

from bot.lang import numbers
from bot.lang.words import Words
from bot.messages.headline import amount, part, regime_in_words, times, window_of
from bot.messages.voice import Html, Voice, say, title
from rules.alerts import (
    ALL,
    CascadeFacts,
    CorrelationFacts,
    DepthFacts,
    DispersionFacts,
    FundingFacts,
    FundingShareFacts,
    HighFacts,
    LevelFacts,
    Link,
    LiquidationDayFacts,
    LiquidationFacts,
    MarketCapFacts,
    OpenInterestFacts,
    PriceFacts,
    PriceShareFacts,
    RegimeCondition,
    RegimeEvidence,
    RegimeFacts,
    SectorFacts,
    SpotDepthFacts,
    SpotShareFacts,
    StablecoinFacts,
    SupportFacts,
    TotalOpenInterestFacts,
    VolatilityFacts,
)
from rules.metrics.market_cap import CHANGE_UNIT
from streams.durations import DAY
from streams.events import Ms

WEEK: Ms = 7 * DAY


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
        case PriceFacts() as facts:
            return _price_facts(voice, facts)
        case TotalOpenInterestFacts() as facts:
            return _total_facts(voice, facts)
        case FundingShareFacts() as facts:
            return _breadth_facts(voice, facts)
        case PriceShareFacts() as facts:
            return _falls_facts(voice, facts)
        case CorrelationFacts() as facts:
            return _correlation_facts(voice, facts)
        case DispersionFacts() as facts:
            shown = voice.by_venue(facts.by_venue_pct_8h, numbers.rate)
            return [voice.say("structure.rates", list=shown)]
        case LiquidationDayFacts() as facts:
            return _liquidation_day_facts(voice, facts)
        case HighFacts() as facts:
            return _high_facts(voice, facts)
        case StablecoinFacts() as facts:
            return _stablecoin_facts(voice, facts)
        case MarketCapFacts() as facts:
            return [_crossing_fact(voice, facts), _market_cap_fact(voice, facts)]
        case SectorFacts() as facts:
            return _sector_facts(voice, facts)
        case SupportFacts() as facts:
            return _support_facts(voice, facts)
        case VolatilityFacts() as facts:
            return _volatility_facts(voice, facts)
        case SpotShareFacts() as facts:
            return _spot_share_facts(voice, facts)
        case SpotDepthFacts() as facts:
            return _spot_depth_facts(voice, facts)
        case RegimeFacts() as facts:
            return _regime_facts(voice, facts)
        case CascadeFacts() as facts:
            return _cascade_facts(voice, facts)
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
        lines.append(voice.sentences(voice.price(), pays))
    return lines


def _single_rate(voice: Voice, venue: str, pct_8h: float, hours: float | None) -> Html:
    if hours is None or hours == 8:
        return voice.say("funding.single", venue=title(venue, voice.words))
    rate = numbers.rate(pct_8h * hours / 8)
    return voice.say(
        "funding.single_interval", venue=title(venue, voice.words), rate=rate, hours=f"{hours:g}"
    )


def _oi_facts(voice: Voice, facts: OpenInterestFacts) -> list[Html]:
    words, line = voice.words, Html()
    added = {v: pct for v, pct in facts.by_venue_pct.items() if v not in facts.not_added}
    others = {v: pct for v, pct in facts.by_venue_pct.items() if v in facts.not_added}
    if added:
        line = voice.say(
            "oi.coins",
            before=words.coins(facts.before_base),
            after=words.coins(facts.after_base),
            asset=voice.alert.asset,
        )
        line = Html(line + _in_usd(voice, facts.net_usd, facts.price_usd))
    lines = [line, voice.price()]
    for key, by_venue in (("oi.by_venue", added), ("oi.percent_only", others)):
        if by_venue:
            shown = voice.by_venue(by_venue, lambda pct: f"{numbers.change(pct)}%")
            lines.append(voice.say(key, list=shown))
    return lines


def without(voice: Voice, venues: Collection[str]) -> Html:
    """`` without Gate``: venues that are left out of a sum."""
    names = voice.words.comma.join(title(venue, voice.words) for venue in venues)
    return voice.say("oi.without", venues=names) if names else Html()


def _in_usd(voice: Voice, net_usd: float | None, price_usd: float | None) -> Html:
    """How much the open interest moved in USD, and how much of that is only price."""
    # a price that stood still leaves nothing to tell apart
    if net_usd is None or price_usd is None or abs(price_usd) < 0.005 * abs(net_usd):
        return Html()
    words, same_way = voice.words, net_usd * price_usd >= 0
    key = "oi.usd_with" if same_way else "oi.usd_against"
    total, price = words.signed_usd(net_usd + price_usd), words.signed_usd(price_usd)
    return voice.say(key, total=total, price=price)


def _total_facts(voice: Voice, facts: TotalOpenInterestFacts) -> list[Html]:
    words = voice.words
    left_out = without(voice, facts.not_added)
    before = voice.say("total.before", usd=words.usd(facts.before_usd), without=left_out)
    assets = voice.listed(facts.by_asset_usd, words.signed_usd)
    return [
        Html(before + _in_usd(voice, facts.net_usd, facts.price_usd)),
        voice.say("oi.by_venue", list=assets) if assets else Html(),
        voice.say("contracts", live=str(facts.live), expected=str(facts.expected)),
    ]


def _breadth_facts(voice: Voice, facts: FundingShareFacts) -> list[Html]:
    lowest = sorted(facts.lowest_pct_8h.items(), key=lambda item: item[1])
    shown = voice.words.dot.join(f"{asset} {numbers.rate(pct)}" for asset, pct in lowest)
    return [
        voice.say("breadth.lowest", list=shown) if shown else Html(),
        voice.say("contracts", live=str(facts.live), expected=str(facts.expected)),
    ]


def _falls_facts(voice: Voice, facts: PriceShareFacts) -> list[Html]:
    worst = sorted(facts.by_asset_pct.items(), key=lambda item: item[1])
    shown = voice.words.dot.join(f"{asset} {numbers.change(pct)}%" for asset, pct in worst)
    lines = [voice.say("oi.by_venue", list=shown), _counted(voice, facts.least_fall_pct)]
    if facts.live < facts.expected:
        known = voice.say("falls.known", live=str(facts.live), expected=str(facts.expected))
        lines.append(known)
    return lines


def _correlation_facts(voice: Voice, facts: CorrelationFacts) -> list[Html]:
    groups = (
        ("structure.correlated_top10", facts.top, facts.top_coins),
        ("structure.correlated_51to100", facts.middle, facts.middle_coins),
    )
    known = [
        voice.say(key, value=numbers.trimmed(value, 2), count=str(coins))
        for key, value, coins in groups
        if value is not None
    ]
    if not known:
        return []
    window = voice.words.window(WEEK)
    return [
        voice.say("structure.correlated", window=window, list=Html(voice.words.dot.join(known)))
    ]


def _liquidation_day_facts(voice: Voice, facts: LiquidationDayFacts) -> list[Html]:
    words, now = voice.words, voice.alert.seen
    longs, shorts = (amount(words, "liq", x / 1e6, "") for x in (facts.long_usd, facts.short_usd))
    sides, since = voice.say("structure.sides", longs=longs, shorts=shorts), facts.since
    if facts.largest_usd is None or facts.largest_at is None:
        return [sides, voice.say("structure.no_day", since=words.day(since, now))]
    largest = voice.say(
        "structure.largest_day",
        usd=amount(words, "liq", facts.largest_usd / 1e6, ""),
        date=words.day(facts.largest_at, now),
        since=words.day(since, now),
    )
    return [sides, largest]


def _high_facts(voice: Voice, facts: HighFacts) -> list[Html]:
    words, now = voice.words, voice.alert.seen
    values = {
        "date": words.day(facts.high_at, now),
        "length": words.length(max(0, now - facts.high_at)),
        "since": words.day(facts.since, now),
    }
    high = voice.say("structure.high", **values)
    if facts.price is not None:
        high = voice.say("structure.high_price", price=words.price(facts.price), **values)
    held = Html()
    if facts.oi_usd is not None:
        held = voice.say("price.oi", usd=words.usd(facts.oi_usd), without="")
    return [high, held, voice.price()]


def _crossing_fact(voice: Voice, facts: MarketCapFacts) -> Html:
    """When it went through a round number, and since when it had not been on that side."""
    crossing, words, now = facts.crossing, voice.words, voice.alert.seen
    if crossing is None:
        return Html()
    key, day = "round.since", crossing.since
    if day is None:
        key, day = "round.never", crossing.record_from
    return voice.say(
        key,
        way=voice.say("round.above" if crossing.up else "round.below"),
        usd=words.usd(crossing.usd),
        time=voice.our_time(crossing.at),
        day=words.day(day, now),
    )


def _support_facts(voice: Voice, facts: SupportFacts) -> list[Html]:
    """How the lost level had been tested, since when the price is below it, and what comes next."""
    lost, standing, words, now = facts.lost, facts.standing, voice.words, voice.alert.seen
    if lost is None:
        return [voice.price()]
    day = words.day(lost.first_at, now)
    lines = [voice.say("support.regained", day=day, **values) for values in rebounds(lost, words)]
    if lost.lost_at is not None:
        lines.append(voice.say("support.lost_at", time=voice.our_time(lost.lost_at)))
    if standing is None:
        lines.append(voice.say("support.no_next", day=words.day(facts.since, now)))
    else:
        lines.append(voice.say(
            "support.next",
            price=words.price(standing.level),
            times=times(words, standing.tests),
            day=words.day(standing.first_at, now),
        ))  # fmt: skip
    return [voice.sentences(*lines), voice.price()]


def rebounds(level: LevelFacts, words: Words) -> list[dict[str, str]]:
    """What goes into a phrase on how far the price rose from a level after its last tests; nothing
    if it never held."""
    if level.regained_pct is None:
        return []
    listed = words.comma.join(f"{numbers.change(pct)}%" for pct in level.rebounds_pct[-_REBOUNDS:])
    return [{"list": listed, "pct": numbers.share(level.regained_pct)}]


_REBOUNDS = 6
"""So many rebounds are told, the newest."""


def _market_cap_fact(voice: Voice, facts: MarketCapFacts) -> Html:
    """What the total is of; the total too, where the first line has it not."""
    change = voice.alert.unit == CHANGE_UNIT
    total = {"usd": voice.words.usd(facts.usd)} if change else {}
    return voice.say(
        f"structure.market_cap_{'is' if change else 'of'}",
        **total,
        count=str(facts.coins),
        source=title(facts.source),
        length=voice.words.length(max(0, voice.alert.seen - facts.listed_at)),
        pct=numbers.share(facts.live_pct),
    )


def _stablecoin_facts(voice: Voice, facts: StablecoinFacts) -> list[Html]:
    coin, usd = facts.coin, voice.say("format.usd", amount=f"{facts.rate:.4f}")
    if not facts.by_asset:
        return [voice.say("structure.stablecoin_was", coin=coin, usd=usd)]
    shown = dict([*facts.by_asset.items()][:_COINS])
    listed = voice.listed(shown, lambda rate: f"{rate:.4f}")
    more = len(facts.by_asset) - len(shown)
    if more:
        listed = voice.say("structure.stablecoin_coins", list=Html(listed), count=str(more))
    dollars, coins = (
        Html(voice.words.comma.join(title(name, voice.words) for name in names))
        for names in (facts.dollar_venues, facts.coin_venues)
    )
    return [
        voice.say("structure.stablecoin_is", coin=coin, usd=usd, list=Html(listed)),
        voice.say("structure.stablecoin_by", dollars=dollars, coin=coin, coins=coins),
    ]


_COINS = 4
"""So many coins say what a stablecoin is worth; the others are counted."""


def _sector_facts(voice: Voice, facts: SectorFacts) -> list[Html]:
    moves = voice.say(
        "structure.sector_moves",
        pct=numbers.change(facts.pct),
        market=numbers.change(facts.market_pct),
        known=str(facts.known),
        coins=str(facts.coins),
        market_known=str(facts.market_known),
        market_coins=str(facts.market_coins),
    )
    listed = voice.words.dot.join(
        f"{asset} {numbers.change(pct)}%" for asset, pct in facts.by_asset_pct.items()
    )
    weights = voice.say(
        "structure.sector_cap" if facts.by_cap else "structure.sector_equal",
        date=voice.words.day(facts.fixed_at, voice.alert.seen),
    )
    return [moves, voice.say("oi.by_venue", list=listed), weights]


def _spot_share_facts(voice: Voice, facts: SpotShareFacts) -> list[Html]:
    words = voice.words
    traded = voice.say(
        "structure.spot_traded",
        spot=words.usd(facts.spot_usd),
        perpetual=words.usd(facts.perpetual_usd),
    )
    shown = voice.by_venue(facts.by_venue_pct, lambda pct: f"{numbers.share(pct)}%")
    return [traded, voice.say("oi.by_venue", list=shown) if shown else Html()]


def _spot_depth_facts(voice: Voice, facts: SpotDepthFacts) -> list[Html]:
    """The spot books as books are told, and those of perpetuals within the same band."""
    if (beside := facts.perpetual) is None:
        return [*_depth_facts(voice, facts.spot), voice.say("structure.perpetual_unknown")]
    words = voice.words
    normal = 100 * (beside.bid_usd + beside.ask_usd) / beside.normal_usd
    perpetual = voice.say(
        "structure.perpetual_depth",
        band=f"{beside.band_bp / 100:g}",
        bids=words.usd(beside.bid_usd),
        asks=words.usd(beside.ask_usd),
        pct=numbers.share(normal),
    )
    return [*_depth_facts(voice, facts.spot), perpetual]


def _volatility_facts(voice: Voice, facts: VolatilityFacts) -> list[Html]:
    lines = [voice.price()]
    if facts.returns < facts.expected:  # the rest is in holes
        count, expected = str(facts.returns), str(facts.expected)
        lines.append(voice.say("structure.returns", count=count, expected=expected))
    return lines


def _regime_facts(voice: Voice, facts: RegimeFacts) -> list[Html]:
    """The evidence: what is known of it in one line, what is met first, and what is not known."""
    words, of_market = voice.words, voice.alert.asset == ALL
    met = {each.condition for each in facts.evidence if each.met}
    # one depth is measured by two thresholds
    twin = RegimeCondition.THIN if RegimeCondition.REPAIRED in met else RegimeCondition.REPAIRED
    shown = [each for each in facts.evidence if each.condition is not twin]
    shown.sort(key=lambda each: each.condition not in met)
    known = [evidence_in_words(words, each, of_market) for each in shown if each.value is not None]
    unknown = [evidence_name(words, each.condition) for each in shown if each.value is None]
    before, lacking = Html(), Html()
    if facts.before is not None:
        before = voice.say("regime.before", regime=regime_in_words(words, facts.before))
    if unknown:
        lacking = voice.say("regime.not_available", list=Html(words.comma.join(unknown)))
    return [Html(words.dot.join(known)), lacking, before, voice.price()]


_OF_MARKET = frozenset(
    {RegimeCondition.PRICE_FALLS, RegimeCondition.LONGS_CLOSED, RegimeCondition.POSITIVE}
)  # fmt: skip
"""What is measured otherwise of the market than of an asset."""


def evidence_in_words(words: Words, evidence: RegimeEvidence, of_market: bool) -> Html:
    """``OI −38% from its high``. Its value must be known."""
    condition, value = evidence.condition, evidence.value or 0.0
    key = f"total_{condition}" if of_market and condition in _OF_MARKET else condition.value
    if condition is RegimeCondition.POSITIVE and not of_market:
        key = "positive" if value > 0 else "not_positive"
    return say(words, f"regime.value.{key}", value=_measured(evidence, value, of_market))


def evidence_asked(words: Words, evidence: RegimeEvidence, of_market: bool) -> Html:
    """``≤ −15%``: what a condition asks."""
    condition, threshold = evidence.condition, evidence.threshold
    if condition is RegimeCondition.POSITIVE and not of_market:
        return say(words, "ask.regime.settlements", count=f"{threshold:g}")
    at_least = condition in (RegimeCondition.LONGS_CLOSED, RegimeCondition.REPAIRED)
    return Html(f"{'≥' if at_least else '≤'} {numbers.signed(f'{threshold:g}')}%")


def evidence_name(words: Words, condition: RegimeCondition) -> Html:
    """What of a condition is not available."""
    of_depth = condition in (RegimeCondition.THIN, RegimeCondition.REPAIRED)
    return say(words, f"regime.name.{'depth' if of_depth else condition.value}")


def _measured(evidence: RegimeEvidence, value: float, of_market: bool) -> str:
    match evidence.condition:
        case RegimeCondition.LONGS_CLOSED:  # a lower bound is never rounded up
            return f"{numbers.trimmed(numbers.significant_below(value, 2), 2)}%"
        case RegimeCondition.THIN | RegimeCondition.REPAIRED:
            return f"{numbers.share(value)}%"
        case RegimeCondition.POSITIVE:
            return f"{numbers.share(value)}%" if of_market else f"{abs(value):g}"
        case _:
            return f"{numbers.change(value)}%"


def _counted(voice: Voice, least_fall_pct: Mapping[str, float]) -> Html:
    """From which fall on a coin counts: what holds for most, and those for which another does."""
    each = list(least_fall_pct.values())
    if not each:
        return Html()
    most = max(each, key=each.count)
    others = [
        f"{asset} {numbers.change(-pct)}%" for asset, pct in least_fall_pct.items() if pct != most
    ]
    falls = [
        *others,
        voice.say("falls.others" if others else "falls.all", pct=numbers.change(-most)),
    ]
    return voice.say("falls.counted", list=Html(voice.words.comma.join(falls)))


def _price_facts(voice: Voice, facts: PriceFacts) -> list[Html]:
    lines = [_price_of(voice, facts)]
    if facts.oi_usd is not None:
        usd, left_out = voice.words.usd(facts.oi_usd), without(voice, facts.oi_not_added)
        lines.append(voice.say("price.oi", usd=usd, without=left_out))
    return lines


def _price_of(voice: Voice, facts: PriceFacts) -> Html:
    if len(facts.by_venue_pct) < 2:
        return voice.say("funding.single", venue=title(facts.venue, voice.words))
    shown = voice.by_venue(facts.by_venue_pct, lambda pct: f"{numbers.change(pct)}%")
    return voice.say("oi.by_venue", list=shown)


def _cascade_facts(voice: Voice, facts: CascadeFacts) -> list[Html]:
    words = voice.words
    chain = [_step(voice, link) for link in facts.chain]
    closed = [
        voice.say(
            "cascade.closed",
            usd=words.usd(net),
            window=words.window(part.window_ms),
            without=without(voice, part.not_added),
        )
        for part in (link.facts for link in facts.chain)
        if isinstance(part, OpenInterestFacts) and (net := part.net_usd) is not None and net < 0
    ]
    no_data = voice.say("cascade.no_data", list=words.comma.join(facts.no_data))
    return [
        voice.price(),
        voice.say("cascade.chain", list=Html(words.dot.join(chain))) if chain else Html(),
        *closed[:1],
        _earlier(voice, facts),
        no_data if facts.no_data else Html(),
    ]


def _step(voice: Voice, link: Link) -> str:
    """``09:27 OI −4% in 1h``: as it was when the condition came true."""
    window = window_of(voice.words, link.facts)
    return f"{voice.bare_time(link.at)} {part(voice.words, link, link.value, window)}"


def _earlier(voice: Voice, facts: CascadeFacts) -> Html:
    """How rare it is; nothing while the record is too short to say so."""
    words, now = voice.words, voice.alert.seen
    start = words.day(facts.record_from, now)
    if now - facts.record_from < WEEK:
        return Html()
    if not facts.earlier or facts.last_at is None:
        return voice.say("cascade.first", date=start)
    last = words.day(facts.last_at, now)
    count = facts.earlier
    return voice.say("cascade.earlier", count, count=str(count), date=start, last=last)


def _depth_facts(voice: Voice, facts: DepthFacts) -> list[Html]:
    words = voice.words
    window = words.window(facts.normal_ms)
    normal = voice.say("depth.median", window=window)
    if facts.hour is not None:
        normal = voice.say("depth.median_hour", window=window, hour=f"{facts.hour:02}")
    sides = voice.say(
        "depth.sides",
        band=f"{facts.band_bp / 100:g}",
        bids=words.usd(facts.bid_usd),
        asks=words.usd(facts.ask_usd),
        normal=words.usd(facts.normal_usd),
        median=normal,
    )
    lines = [sides]
    if len(facts.by_venue_pct) > 1:
        shown = voice.by_venue(facts.by_venue_pct, lambda pct: f"{numbers.share(pct)}%")
        lines.append(voice.say("depth.by_venue", list=shown))
    live = voice.say("depth.live", live=str(facts.live), expected=str(facts.expected))
    if facts.spread_bp is not None:
        spread = voice.say("depth.spread", spread=numbers.trimmed(facts.spread_bp, 2))
        live = voice.sentences(spread, live)
    return [*lines, live, voice.price()]


def _liq_facts(voice: Voice, facts: LiquidationFacts) -> list[Html]:
    words = voice.words
    if not facts.orders:  # the first line says so
        return [voice.price(), *_incomplete(voice, facts)]
    share = Html()
    if facts.oi_pct:
        pct, left_out = numbers.share(facts.oi_pct), without(voice, facts.oi_not_added)
        share = voice.say("liq.share", pct=pct, without=left_out)
    lines = [
        voice.say(
            "liq.sides",
            longs=amount(words, "liq", facts.long_usd / 1e6, ""),
            shorts=amount(words, "liq", facts.short_usd / 1e6, ""),
            orders=voice.say("liq.orders", facts.orders, count=str(facts.orders)),
            share=share,
        )
    ]
    if facts.largest_usd > 0:
        largest = voice.say(
            "liq.largest",
            usd=words.usd_at_least(facts.largest_usd),  # never more than the sums above
            venue=title(facts.largest_venue, voice.words),
            price=words.price(facts.largest_price),
        )
        lines.append(largest)
    return [*lines, voice.price(), *_incomplete(voice, facts)]


def _incomplete(voice: Voice, facts: LiquidationFacts) -> list[Html]:
    """Why the sum is a lower bound."""
    lines = [
        voice.say("liq.throttled", venue=title(venue, voice.words), pct=numbers.share(pct))
        for venue, pct in facts.saturation_pct.items()
        if pct > 0
    ]
    if facts.not_available:
        names = voice.words.comma.join(title(venue, voice.words) for venue in facts.not_available)
        lines.append(voice.say("liq.not_available", len(facts.not_available), venues=names))
    return lines
