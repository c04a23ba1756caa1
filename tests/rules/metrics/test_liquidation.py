"""What was liquidated since a moment, whatever windows rules watch: a lower bound that is one."""

from hypothesis import given
from hypothesis import strategies as st
from pytest import approx, mark

from rules.alerts import LiquidationFacts, Turn
from rules.engine import Engine
from rules.market import LIQUIDATED_FOR, Memory
from rules.metrics.liquidation import liquidated
from rules.snapshot import Value
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import AnyEvent, FaultCode, Kind, Position, Tick, fault
from tests.rules.facts import START, Fed, feed, liquidation, price
from tests.rules.scenes import of_market, quick_rule, run

NAME = "liq_10m_musd"


def fed(*orders, venues=("binance", "bybit")) -> Fed:
    """Orders of (seconds after START, venue, USD, position)."""
    state = Fed(NAME).feed(*(feed(venue, Kind.LIQUIDATION, START, True) for venue in venues))
    state.feed(price("binance", START, 100.0), price("bybit", START, 100.0))
    for at, venue, usd, position in sorted(orders, key=lambda order: order[0]):
        state.feed(liquidation(venue, START + at * SECOND, usd, position))
    return state


def test_both_sides_are_added_over_all_venues_far_beyond_the_window():
    state = fed(
        (5, "binance", 1e6, Position.LONG),
        (65, "binance", 4e6, Position.LONG),
        (66, "bybit", 2e6, Position.SHORT),
        (7_000, "bybit", 3e6, Position.LONG),
    )
    now = START + 7_200 * SECOND
    sums = liquidated(state.view, START + MINUTE, now)
    assert (sums.over, sums.long_usd, sums.short_usd, sums.usd) == (7_140_000, 7e6, 2e6, 9e6)
    assert liquidated(state.view, START + HOUR, now).usd == 3e6
    assert liquidated(state.view, now, now).usd == 0


def test_where_no_venue_reports_any_it_is_unknown_and_not_nothing():
    assert liquidated(fed(venues=()).view, START, START + MINUTE) is None
    assert liquidated(fed().view, START, START + MINUTE).usd == 0


def test_what_is_longer_ago_than_is_remembered_is_left_out_and_said():
    state = fed(
        (0, "binance", 5e6, Position.LONG),
        (20, "binance", 1e6, Position.LONG),
        (6 * 3_600 + 15, "binance", 2e6, Position.LONG),
    )
    now = START + 6 * HOUR + 20 * SECOND
    sums = liquidated(state.view, START - HOUR, now)
    assert (sums.over, sums.usd) == (LIQUIDATED_FOR, 3e6)


def test_what_came_in_the_same_moment_before_is_not_counted():
    state = fed((2, "binance", 5e6, Position.LONG), (7, "binance", 1e6, Position.LONG))
    assert liquidated(state.view, START + 5 * SECOND, START + MINUTE).usd <= 1e6
    assert liquidated(state.view, START, START + MINUTE).usd == 6e6


def test_a_restart_changes_nothing():
    state = fed((5, "binance", 1e6, Position.LONG), (1_800, "bybit", 2e6, Position.SHORT))
    memory = Memory(("binance", "bybit"), 0, {})
    memory.load(state.memory.dump(), ["BTC"], START, [])
    now = START + HOUR
    for since in (START, START + MINUTE, START + 31 * MINUTE):
        assert liquidated(memory.view("BTC"), since, now) == liquidated(state.view, since, now)


ORDERS = st.lists(
    st.tuples(
        st.integers(0, 60) | st.integers(0, 8 * 3_600),
        st.sampled_from(["binance", "bybit"]),
        st.integers(1, 10**9).map(lambda cents: cents / 100),
        st.sampled_from(Position),
    ),
    max_size=40,
)


@given(ORDERS, st.integers(0, 60) | st.integers(0, 8 * 3_600), st.integers(0, 3_600))
def test_it_is_never_more_than_was_reported_and_misses_ten_seconds_at_most(orders, since, later):
    def reported(start: int) -> float:
        """In cents: whole numbers."""
        return sum(round(usd * 100) for at, _, usd, _ in orders if at >= start)

    last = max((at for at, *_ in orders), default=0)
    now = START + (max(last, since) + later) * SECOND
    sums = liquidated(fed(*orders).view, START + since * SECOND, now)
    start = (now - sums.over - START) // SECOND
    assert start == max(since, (now - LIQUIDATED_FOR - START) // SECOND)
    assert reported(start + 10) <= round(sums.usd * 100) <= reported(start)


# ── contracts that end in the fall ──

OF_COIN = quick_rule("liq_10m_musd", "above", 1, alert=5, critical=20)
OF_ALL = of_market("day", quick_rule("liq_total_24h_musd", "above", 1, watch=5))
FALL = START + 12 * MINUTE
VENUES = ("binance", "bybit", "okx")


def ending(code: FaultCode | None, position: Position, until: int) -> list[AnyEvent]:
    """In one minute 24 M USD of BTC are liquidated at each of two venues; then one of these ends
    its contract, and says nothing of it any more. ETH goes on."""
    events: list[AnyEvent] = [feed(venue, Kind.LIQUIDATION, START, True) for venue in VENUES]
    lost = FALL + MINUTE
    for t in range(START, until, SECOND):
        events += [
            price(venue, t, 100.0, asset=asset)
            for venue in VENUES
            for asset in ("BTC", "ETH", "SOL")
            if code is None or (venue, asset) != ("binance", "BTC") or t < lost
        ]
        if FALL <= t < lost:
            events += [liquidation(venue, t, 4e5, position) for venue in VENUES[:2]]
        if t == lost and code is not None:
            events += [feed("binance", kind, t, False, "BTCUSDT") for kind in Kind]
            events.append(fault(code, t, venue="binance", subject="BTCUSDT"))
        events.append(Tick(seen=t))
    return events


@mark.parametrize("code", [FaultCode.CONTRACT_SETTLING, FaultCode.CONTRACT_MISSING, None])
@mark.parametrize("position", Position)
def test_what_a_contract_reported_before_it_ended_stays_in_the_sum(
    code: FaultCode | None, position: Position
):
    def shown(engine: Engine) -> dict[str, Value]:
        return {value.metric: value for value in engine.standing().values if value.value}

    engine = Engine([OF_COIN, OF_ALL], VENUES)
    until = FALL + 9 * MINUTE
    alerts = run(engine, ending(code, position, until))
    assert not [alert for alert in alerts if alert.turn is Turn.CLOSE]
    values = shown(engine)
    assert values["liq_10m_musd"].value == values["liq_total_24h_musd"].value == approx(48)
    facts = values["liq_10m_musd"].facts
    assert isinstance(facts, LiquidationFacts)
    longs = 48e6 if position is Position.LONG else 0
    assert (facts.long_usd, facts.short_usd, facts.orders) == approx((longs, 48e6 - longs, 120))
    later = [e for e in ending(code, position, FALL + 14 * MINUTE) if e.seen >= until]
    alerts = run(engine, later)
    (end,) = [alert for alert in alerts if alert.turn is Turn.CLOSE]
    assert end.metric == "liq_10m_musd" and end.seen >= FALL + 10 * MINUTE
    assert "liq_10m_musd" not in shown(engine)
