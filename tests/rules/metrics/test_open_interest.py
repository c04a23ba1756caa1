"""A venue that drops out in the second in which all fall takes no more than its part with it."""

import msgspec
from pytest import approx, mark

from rules.alerts import (
    Alert,
    LiquidationFacts,
    OpenInterestFacts,
    PriceFacts,
    TotalOpenInterestFacts,
)
from rules.engine import Engine
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import (
    AnyEvent,
    FaultCode,
    Kind,
    MarketEvent,
    OpenInterest,
    Price,
    Tick,
    fault,
)
from tests.rules.facts import (
    START,
    Fed,
    FedMarket,
    feed,
    liquidation,
    oi,
    predicted,
    price,
)
from tests.rules.scenes import of_market, quick_rule, run

VENUES = ("binance", "bybit", "hyperliquid")
FALL = START + 20 * MINUTE
RULE = quick_rule("oi_net_15m_pct", "below", -1.0, critical=-5.0)
TOTAL = of_market("total", quick_rule("oi_total_net_15m_pct", "below", -1, critical=-5))


def crash(
    parts: dict[str, float], fallen: float, since: int = 0, *, announced: bool = True
) -> list[AnyEvent]:
    """All venues fall, and Binance drops out so many seconds later, ``announced`` or not."""
    events: list[AnyEvent] = []
    lost = FALL + since * SECOND
    for t in range(START, FALL + 2 * MINUTE, SECOND):
        left = 1.0 if t < FALL else 1 - fallen
        for place, (venue, coins) in enumerate(parts.items()):
            if venue == "binance" and t >= lost:
                continue
            events += [price(venue, t, 100.0 * left, asset=asset) for asset in ("BTC", "ETH")]
            if t // SECOND % 15 == place:
                events += [oi(venue, t, coins * left, asset=asset) for asset in ("BTC", "ETH")]
        if t == lost and announced:
            events += [feed("binance", kind, t, False) for kind in (Kind.OPEN_INTEREST, Kind.PRICE)]
        events.append(Tick(seen=t))
    return events


@mark.parametrize("rule", [RULE, TOTAL], ids=["asset", "market"])
@mark.parametrize("fallen", [0.1, 0.2, 0.45, 0.6])
@mark.parametrize("since", [-MINUTE // SECOND, 0, 20])
def test_a_crash_rings_however_deep_though_a_venue_drops_out(rule, fallen, since):
    parts = {"binance": 35e6, "bybit": 35e6, "hyperliquid": 30e6}
    alerts = run(Engine([rule], VENUES), crash(parts, fallen, since))
    assert alerts
    assert alerts[0].seen <= FALL + 25 * SECOND
    assert alerts[0].value == approx(-100 * fallen)


@mark.parametrize("rule", [RULE, TOTAL], ids=["asset", "market"])
@mark.parametrize("fallen", [0.1, 0.45])
@mark.parametrize("since", [-MINUTE // SECOND, -14, 0])
def test_a_crash_does_not_wait_for_a_venue_that_is_silent_and_not_announced_as_down(
    rule, fallen, since
):
    parts = {"binance": 30e6, "bybit": 70e6}
    alerts = run(Engine([rule], VENUES), crash(parts, fallen, since, announced=False))
    assert alerts
    # its last reading is up to 15 s old then, it is late 40 s after those 15, and one venue alone
    # must show a fall for 20 s, for 40 s where it is out of all proportion
    assert alerts[0].seen <= FALL + max(55, since + 70) * SECOND
    assert alerts[0].value == approx(-100 * fallen)


@mark.parametrize("rule", [RULE, TOTAL], ids=["asset", "market"])
@mark.parametrize("announced", [True, False])
def test_with_most_of_the_open_interest_lost_nothing_is_said(rule, announced):
    parts = {"binance": 45e6, "bybit": 55e6}
    assert run(Engine([rule], VENUES), crash(parts, 0.45, announced=announced)) == []


@mark.parametrize("fallen", [0.1, 0.45])
def test_what_two_venues_show_counts_beside_a_third_that_is_silent(fallen):
    parts = {"binance": 45e6, "bybit": 35e6, "hyperliquid": 20e6}
    alerts = run(Engine([RULE], VENUES), crash(parts, fallen, announced=False))
    assert alerts[0].seen <= FALL + 30 * SECOND
    assert alerts[0].value == approx(-55 * fallen)


@mark.parametrize(("binance", "known"), [(39.0, True), (41.0, False)])
def test_a_lost_venue_is_weighed_at_its_last_moment(binance, known):
    fed = Fed("oi_net_15m_pct")
    lost = START + 18 * MINUTE
    for t in range(START, START + 25 * MINUTE, 5 * SECOND):
        # half of all goes before it is lost, half of what is left after that
        left = 1.0 if t < lost - 5 * MINUTE else 0.5 if t < lost + MINUTE else 0.25
        if t < lost:
            fed.feed(oi("binance", t, binance * left))
        fed.feed(oi("bybit", t, 60.0 * left))
    assert (fed.value() is not None) is known


def test_a_venue_that_is_new_is_weighed_as_it_is_now():
    fed = Fed("oi_net_15m_pct")
    for t in range(START, START + 25 * MINUTE, 5 * SECOND):
        left = 1.0 if t < START + 22 * MINUTE else 0.4
        fed.feed(oi("bybit", t, 65.0 * left))
        if t > START + 20 * MINUTE:
            fed.feed(oi("binance", t, 35.0 * left))
    assert fed.value() == approx(-60)


# ── a contract that has left its venue's listing ──

MOST = {"binance": 56e6, "bybit": 24e6, "hyperliquid": 20e6}


def leaving(
    unlisted: FaultCode | None = FaultCode.CONTRACT_MISSING,
    lost: int = FALL - 5 * MINUTE,
    since: int = START,
    until: int = FALL + 2 * MINUTE,
    *,
    replaced: bool = False,
    others: bool = True,
    fallen: float = 0.2,
) -> list[AnyEvent]:
    """Binance's BTC says nothing from ``lost`` on, and the listing lacks it; ETH goes on, if there
    are ``others``. With ``replaced`` BTC is told under another symbol from then on."""
    events: list[AnyEvent] = []
    for t in range(since, until, SECOND):
        left = 1.0 if t < FALL else 1 - fallen
        for place, (venue, coins) in enumerate(MOST.items()):
            for asset in ("BTC", "ETH", "SOL"):
                gone = venue == "binance" and t >= lost
                if gone and (not others or (asset == "BTC" and not replaced)):
                    continue
                sent: list[MarketEvent] = [price(venue, t, 100.0 * left, asset=asset)]
                if t // SECOND % 5 == place:
                    sent.append(oi(venue, t, coins * left, asset=asset))
                if gone and asset == "BTC":
                    sent = [msgspec.structs.replace(event, symbol="BTCUSDC") for event in sent]
                events += sent
        if t == lost:
            events += [feed("binance", kind, t, False, "BTCUSDT") for kind in Kind]
            if unlisted is not None:
                events.append(fault(unlisted, t, venue="binance", subject="BTCUSDT"))
        events.append(Tick(seen=t))
    return events


def btc(alerts: list[Alert]) -> list[Alert]:
    return [alert for alert in alerts if alert.asset == "BTC"]


@mark.parametrize("unlisted", [FaultCode.CONTRACT_MISSING, FaultCode.CONTRACT_SETTLING])
@mark.parametrize("replaced", [False, True])
def test_a_contract_that_left_the_listing_is_no_missing_coverage(unlisted, replaced):
    alerts = btc(run(Engine([RULE], VENUES), leaving(unlisted, replaced=replaced)))
    assert alerts
    assert alerts[0].seen <= FALL + 15 * SECOND
    assert alerts[0].value == approx(-20)
    assert alerts[0].missing == (("binance",) if replaced else ())


def test_of_the_market_as_a_whole_it_is_none_either():
    events: list[AnyEvent] = []
    for event in leaving():
        asset = event.asset if isinstance(event, (OpenInterest, Price)) else "BTC"
        if isinstance(event, OpenInterest) and asset == "ETH" and event.venue == "binance":
            events.append(msgspec.structs.replace(event, base=1.0))
        elif asset == "BTC" or (asset == "ETH" and isinstance(event, Price)):
            events.append(event)
    alerts = run(Engine([TOTAL], VENUES), events)
    assert alerts
    assert alerts[0].seen <= FALL + 30 * SECOND


@mark.parametrize("replaced", [False, True])
def test_one_whose_feed_is_silent_and_that_is_listed_stays_missing(replaced):
    assert btc(run(Engine([RULE], VENUES), leaving(None, replaced=replaced))) == []


def test_one_that_a_listing_lacks_while_its_venue_is_dark_stays_missing():
    assert btc(run(Engine([RULE], VENUES), leaving(others=False))) == []


def test_one_that_is_heard_though_the_listing_lacks_it_counts():
    events = [event for event in leaving(lost=FALL + HOUR) if event.seen < FALL + MINUTE]
    missing = fault(
        FaultCode.CONTRACT_MISSING, FALL - 5 * MINUTE, venue="binance", subject="BTCUSDT"
    )
    events.insert(next(n for n, e in enumerate(events) if e.seen >= missing.seen), missing)
    alerts = btc(run(Engine([RULE], VENUES), events))
    assert alerts[0].venues == VENUES


def test_one_that_comes_back_counts_again_with_its_past():
    engine = Engine([RULE], VENUES)
    back = FALL - 2 * MINUTE
    assert btc(run(engine, leaving(until=back))) == []
    assert btc(run(engine, leaving(None, since=back, until=FALL, lost=FALL + HOUR))) == []
    alerts = btc(run(engine, leaving(None, since=FALL, lost=FALL + HOUR)))
    assert alerts[0].venues == VENUES


def test_that_a_contract_is_gone_survives_a_restart():
    engine, again = Engine([RULE], VENUES), Engine([RULE], VENUES)
    run(engine, leaving(until=FALL))
    assert not again.load(engine.dump())
    assert again.dump() == engine.dump()
    assert again.standing(False) == engine.standing(False)
    alerts = btc(run(again, leaving(since=FALL)))
    assert alerts[0].seen <= FALL + 15 * SECOND


# ── a venue of which nobody knows whether it counts one side or both ──

UNKNOWN = "gate"
KNOWN = ("binance", "bybit")


def held(fed: Fed, coins: dict[str, tuple[float, float]], minutes: int = 15) -> Fed:
    """Each venue's coins at the start of the window, and from half of it on; BTC costs 100."""
    end = START + minutes * MINUTE
    for t in range(START - MINUTE, end + 1, 5 * SECOND):
        for venue, (before, after) in coins.items():
            now = before if t < START + minutes * MINUTE // 2 else after
            sides = venue != UNKNOWN
            fed.feed(price(venue, t, 100.0), oi(venue, t, now, now * 100.0, one_side=sides))
    return fed


@mark.parametrize("factor", [1, 2])
def test_a_venue_that_may_count_both_sides_is_told_in_percent_and_added_to_none(factor):
    """So nothing that is told of the others depends on whether it counts one side or two."""
    coins = {"binance": (900.0, 720.0), "bybit": (100.0, 80.0)}
    coins[UNKNOWN] = (800.0 * factor, 480.0 * factor)
    fed = held(Fed("oi_net_15m_pct"), coins)
    reading, facts = fed.reading(), fed.facts()
    assert reading is not None
    assert reading.value == approx(-20)
    assert reading.floor_musd == approx(0.1)
    assert (reading.venues, reading.missing) == (KNOWN, ())
    assert isinstance(facts, OpenInterestFacts)
    assert (facts.before_base, facts.after_base) == (approx(1000), approx(800))
    assert facts.net_usd == approx(-20_000)
    assert facts.by_venue_pct == {
        "binance": approx(-20), "bybit": approx(-20), UNKNOWN: approx(-40)
    }  # fmt: skip
    assert facts.not_added == (UNKNOWN,)


def test_of_two_such_venues_the_larger_one_speaks():
    """If it counts both sides, the sum of what the two say fell by 3.5 %, and what is open rose."""
    fed = Fed("oi_net_15m_pct")
    for t in range(START, START + 17 * MINUTE, 5 * SECOND):
        later = t > START + 10 * MINUTE
        fed.feed(oi("gate", t, 930.0 if later else 1000.0, one_side=False))
        fed.feed(oi("bitget", t, 530.0 if later else 500.0, one_side=False))
    assert fed.value() == approx(-7)
    assert fed.facts().by_venue_pct == {"gate": approx(-7), "bitget": approx(6)}


def test_of_such_a_venue_alone_there_is_a_percentage_and_no_sum():
    fed = held(Fed("oi_net_15m_pct"), {UNKNOWN: (1000.0, 900.0)})
    reading, facts = fed.reading(), fed.facts()
    assert reading is not None
    assert reading.value == approx(-10)
    assert reading.floor_musd == approx(0.05)  # at least one side
    assert isinstance(facts, OpenInterestFacts)
    assert (facts.net_usd, facts.price_usd) == (None, None)
    assert facts.not_added == (UNKNOWN,)


def test_it_does_not_stand_in_for_the_others_when_they_are_lost():
    fed = held(Fed("oi_net_15m_pct"), {"binance": (900.0, 720.0), UNKNOWN: (1000.0, 900.0)})
    fed.feed(feed("binance", Kind.OPEN_INTEREST, fed.now, False))
    assert fed.reading() is None


def test_it_confirms_what_another_venue_shows_at_once():
    fed = held(Fed("oi_net_15m_pct"), {"binance": (900.0, 900.0), UNKNOWN: (1000.0, 1000.0)})
    for second in (5, 10):
        t = START + 15 * MINUTE + second * SECOND
        fed.feed(oi("binance", t, 720.0), oi(UNKNOWN, t, 800.0, one_side=False))
    assert fed.value() == approx(-20)


@mark.parametrize("factor", [1, 2])
def test_the_total_leaves_it_out_and_says_so(factor):
    coins = {"binance": (900.0, 720.0), "bybit": (100.0, 80.0)}
    coins[UNKNOWN] = (5000.0 * factor, 100.0 * factor)
    market = held(FedMarket("oi_total_net_15m_pct"), coins)
    reading, facts = market.reading(), market.facts()
    assert reading is not None
    assert reading.value == approx(-20)
    assert (reading.venues, reading.missing) == (KNOWN, ())
    assert isinstance(facts, TotalOpenInterestFacts)
    assert (facts.before_usd, facts.net_usd) == (approx(100_000), approx(-20_000))
    assert (facts.live, facts.expected, facts.not_added) == (2, 2, (UNKNOWN,))


def test_a_price_is_told_with_the_open_interest_that_may_be_added():
    coins = {"binance": (900.0, 900.0), UNKNOWN: (800.0, 800.0)}
    fed = held(Fed("price_15m_pct"), coins)
    facts, reading = fed.facts(), fed.reading()
    assert isinstance(facts, PriceFacts)
    assert (facts.oi_usd, facts.oi_not_added) == (approx(90_000), (UNKNOWN,))
    assert reading is not None
    assert reading.floor_musd == approx(0.13)  # and half of the other, at least
    alone = held(Fed("price_15m_pct"), {UNKNOWN: (800.0, 800.0)}).facts()
    assert isinstance(alone, PriceFacts)
    assert (alone.oi_usd, alone.oi_not_added) == (None, (UNKNOWN,))


def test_a_share_of_what_is_held_is_without_it_on_both_sides():
    fed = held(Fed("liq_15m_musd"), {"binance": (1000.0, 1000.0), UNKNOWN: (800.0, 800.0)})
    for venue, usd in (("binance", 2000.0), (UNKNOWN, 50_000.0)):
        fed.feed(liquidation(venue, fed.now, usd))
    facts = fed.facts()
    assert isinstance(facts, LiquidationFacts)
    assert facts.long_usd == 52_000
    assert (facts.oi_pct, facts.oi_not_added) == (approx(2), (UNKNOWN,))


def test_funding_weighs_it_by_what_it_holds_at_least():
    fed = held(
        Fed("funding_predicted_8h_pct"), {"binance": (600.0, 600.0), UNKNOWN: (800.0, 800.0)}
    )
    fed.feed(predicted("binance", fed.now, 0.0002), predicted(UNKNOWN, fed.now, -0.0003))
    reading, facts = fed.reading(), fed.facts()
    assert reading is not None
    assert reading.value == approx((600 * 0.02 - 400 * 0.03) / 1000)
    assert reading.floor_musd == approx(0.1)
    assert facts.by_venue_pct_8h == {"binance": approx(0.02), UNKNOWN: approx(-0.03)}


def test_what_a_venue_counts_survives_a_restart():
    events = [
        event
        for t in range(START, START + 20 * MINUTE, 5 * SECOND)
        for event in (
            price("binance", t, 100.0),
            oi("binance", t, 500.0),
            oi(UNKNOWN, t, 800.0, one_side=False),
            Tick(seen=t),
        )
    ]
    engine, restarted = Engine([RULE], VENUES), Engine([RULE], VENUES)
    run(engine, events)
    restarted.load(engine.dump())
    assert restarted.dump() == engine.dump()
    (facts,) = (v.facts for v in restarted.standing().values if v.metric == RULE.metric)
    assert isinstance(facts, OpenInterestFacts)
    assert facts.not_added == (UNKNOWN,)
