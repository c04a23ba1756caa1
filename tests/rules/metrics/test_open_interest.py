"""A venue that drops out in the second in which all fall takes no more than its part with it."""

from pytest import approx, mark

from rules.engine import Engine
from streams.durations import MINUTE, SECOND
from streams.events import AnyEvent, Kind, Tick
from tests.rules.facts import START, Fed, feed, oi, price
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
