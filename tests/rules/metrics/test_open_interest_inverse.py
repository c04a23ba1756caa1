"""Inverse contracts are counted in USD: what the price does to their coins is nobody's doing."""

from pytest import approx, mark

from rules.engine import Engine
from rules.market import Memory
from streams.durations import MINUTE, SECOND
from streams.events import AnyEvent, FeedState, MarketEvent, Tick
from tests.rules.facts import START, Fed, FedMarket, inverse, oi, price
from tests.rules.scenes import of_market, quick_rule, run

VENUES = ("binance", "bybit", "binance-coinm", "bybit-inverse")
WINDOW = "oi_net_15m_pct"
TOTAL = "oi_total_net_15m_pct"
LINEAR, INVERSE = 30_000.0, 2.4e9
AT = 80_000.0


def of(name: str) -> Fed:
    return FedMarket(name) if name == TOTAL else Fed(name, VENUES)


def scene(
    fall: float = 0.0,
    closed: float = 0.0,
    usd_closed: float = 0.0,
    linear: float = LINEAR,
    usd: float = INVERSE,
) -> list[MarketEvent]:
    """20 minutes, in the last two of which the price and the open interest fall by these parts."""
    events: list[MarketEvent] = []
    for t in range(START, START + 20 * MINUTE, 5 * SECOND):
        over = t >= START + 18 * MINUTE
        at = AT * (1 - fall * over)
        events += [price(venue, t, at) for venue in VENUES]
        if linear:
            events += [oi(v, t, linear * (1 - closed * over)) for v in ("binance", "bybit")]
        for venue in ("binance-coinm", "bybit-inverse"):
            events.append(inverse(venue, t, usd * (1 - usd_closed * over), at))
    return events


def measured(name: str, events: list[MarketEvent]) -> Fed:
    return of(name).feed(*events)


@mark.parametrize("name", [WINDOW, TOTAL])
@mark.parametrize("fall", [0.2, 0.6, -0.5])
@mark.parametrize("linear", [0.0, LINEAR], ids=["inverse alone", "both"])
def test_a_price_alone_opens_and_closes_nothing(name: str, fall: float, linear: float) -> None:
    fed = measured(name, scene(fall=fall, linear=linear))
    assert fed.value() == approx(0)
    facts = fed.facts()
    assert facts.net_usd == approx(0, abs=1e-3)
    # coins are worth less, dollars are not
    assert facts.price_usd == approx(-2 * linear * AT * fall)


@mark.parametrize("name", [WINDOW, TOTAL])
@mark.parametrize("fall", [0.0, 0.2])
def test_what_is_closed_is_added_up_at_the_price_before(name: str, fall: float) -> None:
    """A tenth of 30,000 coins at 80,000 each, and a quarter of 2.4 bn USD, at two venues each."""
    fed = measured(name, scene(fall=fall, closed=0.1, usd_closed=0.25))
    assert fed.facts().net_usd == approx(-2 * (3_000 * AT + 0.6e9))
    before = 2 * (LINEAR * AT + INVERSE)
    assert fed.value() == approx(-100 * 2 * (3_000 * AT + 0.6e9) / before)
    reading = fed.reading()
    assert reading is not None
    assert reading.floor_musd == approx(before / 1e6)


def test_each_venue_tells_the_change_of_what_it_counts() -> None:
    facts = measured(WINDOW, scene(fall=0.2, closed=0.1, usd_closed=0.25)).facts()
    assert facts.by_venue_pct == {
        "binance": approx(-10), "bybit": approx(-10),
        "binance-coinm": approx(-25), "bybit-inverse": approx(-25),
    }  # fmt: skip


def test_without_a_price_at_the_start_inverse_contracts_are_left_out() -> None:
    events = [e for e in scene(closed=0.1, usd_closed=0.5) if type(e).__name__ != "Price"]
    fed = measured(WINDOW, [e for e in events if e.venue != "bybit"])
    # two thirds of all are unknown: too much of it
    assert fed.value() is None
    small = [e for e in scene(closed=0.1, usd=1e8) if type(e).__name__ != "Price"]
    reading = measured(WINDOW, small).reading()
    assert reading is not None
    assert reading.value == approx(-10)
    assert {m.venue for m in reading.used} == {"binance", "bybit"}


def test_two_venues_of_one_exchange_confirm_nothing_of_each_other() -> None:
    """A reading that is not held yet counts where another exchange shows it, not another venue."""
    for second, counts in (("bybit", True), ("binance-coinm", False)):
        fed = Fed(WINDOW, VENUES)
        for t in range(START, START + 20 * MINUTE, 5 * SECOND):
            over = t >= START + 20 * MINUTE - 10 * SECOND
            fallen = 1 - 0.3 * over
            fed.feed(price("bybit", t, AT), price("binance", t, AT), oi("bybit", t, 20e3))
            fed.feed(oi("binance", t, 30e3 * fallen))
            if second == "bybit":
                fed.feed(oi("bybit", t, 20e3 * fallen))
            else:
                fed.feed(inverse("binance-coinm", t, 1e9 * fallen, AT))
        assert (fed.value() < -20) is counts


def test_the_price_is_that_of_each_exchanges_largest_contract() -> None:
    fed = Fed(WINDOW, VENUES)
    for t in range(START, START + MINUTE, SECOND):
        fed.feed(oi("binance", t, 30e3), inverse("binance-coinm", t, 1e9, AT))
        fed.feed(inverse("bybit-inverse", t, 1e9, AT), price("binance", t, AT))
        fed.feed(price("binance-coinm", t, 0.9 * AT), price("bybit-inverse", t, 0.9 * AT))
    # of two exchanges the first one; of three venues it would be the other price
    assert fed.view.price(fed.now) == AT
    assert fed.view.price_at(fed.now) == AT


def test_usd_held_is_what_the_venue_counts() -> None:
    fed = measured(WINDOW, scene(fall=0.5))
    held = {m.venue: usd for m, usd in fed.view.usd_held().items()}
    assert held["binance-coinm"] == held["bybit-inverse"] == INVERSE
    assert held["binance"] == approx(LINEAR * AT / 2)


def test_a_dump_says_which_contracts_are_inverse() -> None:
    fed = measured(WINDOW, scene(fall=0.2, usd_closed=0.25))
    keeps = {keep.name: keep for keep in fed.metric.keeps()}
    again, lost = Memory(VENUES, fed.metric.window or 0, keeps), list[str]()
    again.load(fed.memory.dump(), ("BTC",), fed.now, lost)
    assert lost == []
    reading = fed.metric.value(again.view("BTC"), fed.now)
    assert reading is not None
    assert reading.value == approx(fed.value())


@mark.parametrize(
    "rule",
    [
        quick_rule(WINDOW, "below", -5.0, alert=-10.0),
        of_market("total", quick_rule(TOTAL, "below", -5.0, alert=-10.0)),
    ],
)
def test_a_rule_rings_for_positions_and_not_for_a_price(rule) -> None:
    for fall, closed, rings in ((0.4, 0.0, False), (0.0, 0.3, True), (0.4, 0.3, True)):
        events: list[AnyEvent | FeedState] = []
        for event in scene(fall=fall, usd_closed=closed, linear=0.0):
            if not events or event.seen != events[-1].seen:
                events.append(Tick(seen=event.seen))
            events.append(event)
        alerts = run(Engine([rule], VENUES), events)
        assert bool(alerts) is rings
        if rings:
            assert alerts[-1].value == approx(-30)
