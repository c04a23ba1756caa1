"""What was liquidated since a moment, whatever windows rules watch: a lower bound that is one."""

from hypothesis import given
from hypothesis import strategies as st

from rules.market import LIQUIDATED_FOR, Memory
from rules.metrics.liquidation import liquidated
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import Kind, Position
from tests.rules.facts import START, Fed, feed, liquidation, price

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
