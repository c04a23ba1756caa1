"""The returns of one asset, by the hour."""

from array import array
from math import exp, log
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx, mark, raises

from rules.market import Memory
from rules.returns import DAYS, SETTLES, STEP, Returns, return_of
from rules.windows import Ring
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import Kind
from tests.rules.facts import START, price

FIRST = START // STEP

RETURN = st.one_of(st.none(), st.floats(-0.3, 0.3))
WALK = st.lists(st.tuples(RETURN, st.integers(1, 9)), min_size=1, max_size=400)
"""Returns, and after how many steps the next one is looked at."""


def walked(walk, dumps_at=()):
    """The memory after this walk, and the returns by step; it is dumped and loaded on the way."""
    memo, step, taken = Returns(), FIRST, {}
    for n, (value, steps) in enumerate(walk):
        memo.take(step, value)
        taken[step] = value
        if n in dumps_at:
            before, memo = memo.dump(), Returns()
            memo.load(before)
            assert memo.dump() == before
        step += steps
    return memo, taken


@given(WALK, st.sets(st.integers(0, 400)), st.sampled_from([1, 7, DAYS]))
@settings(deadline=None)
def test_squares_are_those_of_all_known_returns_wherever_it_is_restarted(walk, dumps_at, days):
    memo, taken = walked(walk, dumps_at)
    newest = max(taken)
    first = (newest - 1) // 6 * 6 - 6 * 24 * days
    known = [x for step, x in taken.items() if step > first and x is not None]
    squares = memo.squares(days)
    assert squares.total == approx(sum(x * x for x in known), rel=1e-6, abs=1e-30)
    assert squares.known == len(known)
    assert squares.expected == newest - first
    assert memo.known is (taken[newest] is not None)
    assert memo.dump() == walked(walk)[0].dump()


@given(WALK)
@settings(deadline=None)
def test_an_hour_has_moved_by_its_six_returns_and_by_nothing_if_one_is_unknown(walk):
    memo, taken = walked(walk)
    newest = (max(taken) - 1) // 6
    for hour in range(newest - 7 * 24, newest):
        six = [taken.get(step) for step in range(6 * hour + 1, 6 * hour + 7)]
        if None in six:
            assert memo.move(hour) is None
        else:
            assert memo.move(hour) == approx(sum(x for x in six if x), rel=1e-6, abs=1e-9)
    assert memo.move(newest) is None


def test_all_of_a_month_takes_seventeen_kilobytes():
    memo, _ = walked([(0.001, 1)] * 6 * 24 * (DAYS + 2))
    assert sum(map(len, memo.dump())) < 17_500


def test_a_step_is_due_once_it_has_settled():
    memo = Returns()
    assert memo.due(START + SETTLES - 1) == FIRST - 1
    assert memo.due(START + SETTLES) == FIRST
    memo.take(FIRST, None)
    assert memo.due(START + STEP) is None
    assert memo.due(START + STEP + SETTLES) == FIRST + 1


def test_a_clock_set_back_keeps_the_hours_that_are_over():
    memo, _ = walked([(0.01, 1)] * 6 * 24 * 2)
    memo.set_back(START + 24 * HOUR + 20 * MINUTE)
    assert not memo.known
    assert memo.due(START + 24 * HOUR + 20 * MINUTE) == FIRST + 6 * 24 + 1
    memo.take(FIRST + 6 * 24 + 1, 0.02)
    squares = memo.squares(1)
    # the first step of all ended the hour before the first one
    assert squares.total == approx(24 * 6 * 1e-4 + 4e-4)
    with raises(ValueError, match="cut short"):
        Returns().load(memo.dump()[:-1])


@given(WALK, st.lists(st.tuples(st.integers(-5000, 20), st.floats(-0.1, 0.1)), max_size=300))
@settings(deadline=None)
def test_returns_told_later_are_those_that_were_not_seen(walk, later):
    memo, taken = walked(walk)
    now = memo.step * STEP + SETTLES + MINUTE
    past, prices = dict(later), {}
    for step, value in past.items():
        if step - 1 not in past and step + 1 not in past:
            at = (memo.step + step) * STEP
            prices |= {at - STEP: 100.0, at: 100.0 * exp(value)}
            taken.setdefault(memo.step + step, value)
    memo.fill(prices, now)
    memo.fill(prices, now)
    newest = memo.step
    first = (newest - 1) // 6 * 6 - 6 * 24 * DAYS
    known = [x for step, x in taken.items() if first < step <= newest and x is not None]
    pairs = {at // STEP for at in prices if at - STEP in prices}  # also where two happen to meet
    if all(step - newest in past for step in pairs):
        squares = memo.squares(DAYS)
        unseen = [s for s in pairs if first < s <= newest and s in taken and taken[s] is None]
        assert squares.known == len(known) + len(unseen)
        if not unseen:
            assert squares.total == approx(sum(x * x for x in known), rel=1e-5, abs=1e-12)
    filled = memo.step * STEP in prices and (memo.step - 1) * STEP in prices
    assert memo.known is (filled or taken[newest] is not None)
    assert memo.due(now) is None


def test_what_is_live_next_is_not_told_by_the_past():
    memo = Returns()
    prices = {START + n * STEP: 100.0 + n for n in range(-5, 3)}
    memo.fill(prices, START + 2 * STEP + SETTLES - 1)
    assert memo._steps.newest == FIRST
    memo.take(FIRST + 1, 0.5)
    assert memo.squares(1).total == approx(0.25 + sum(
        log((100 + n) / (99 + n)) ** 2 for n in range(-4, 1)), rel=1e-6)  # fmt: skip
    assert memo.remembered() is None


def test_sums_of_hours_that_were_saved_stay_what_they_are():
    """As they were once: squares and counts of 30 days, moves of a week, and the hour that goes
    on."""
    dice = Random(4)
    hours = range(START // HOUR, START // HOUR + 24 * 9)
    squares, counts, moves = Ring(24 * DAYS), Ring(24 * DAYS), Ring(24 * 7)
    total = 0.0
    for hour in hours:
        known = [dice.gauss(0, 0.002) for _ in range(4 if hour % 7 == 0 else 6)]
        squares.put(hour, sum(x * x for x in known))
        counts.put(hour, len(known))
        total += sum(x * x for x in known) if hour >= hours[-1] - 24 * 7 + 1 else 0
        if len(known) == 6:
            moves.put(hour, sum(known))
    now, step = array("d", [0.01, -0.02, 0.03]), (hours[-1] + 1) * 6 + 4
    state = array("q", [step, 1]).tobytes()
    memo = Returns()
    memo.load([state, now.tobytes(), *squares.dump(), *counts.dump(), *moves.dump()])
    assert memo.step == step and memo.known
    week = memo.squares(7)
    assert week.total == approx(total + 0.0014, rel=1e-5)
    assert week.expected - week.known == 1 + 2 * len([h for h in hours[-7 * 24 :] if h % 7 == 0])
    for hour in hours[-7 * 24 :]:
        assert memo.move(hour) == (None if hour % 7 == 0 else approx(moves.at(hour), rel=1e-4))
    again = Returns()
    again.load(memo.dump())
    assert again.dump() == memo.dump()


# ── the return of an asset ──


def market_of(*venues):
    """A market that each venue told so many prices of, each for a minute: (venue, its prices)."""
    memory = Memory([name for name, _ in venues], 20 * MINUTE, {})
    view = memory.view("BTC")
    for name, prices in venues:
        market = memory.meet(view, name, "BTCUSDT")
        market.oi_base = 1.0
        for n, value in enumerate(prices):
            for seconds in range(0, 60, 10):
                now = START - 11 * MINUTE + n * MINUTE + seconds * SECOND
                market.data(Kind.PRICE, now)
                market.take(price(name, now, value), now)
    return view


@mark.parametrize(
    ("venues", "expected"),
    [
        ([("binance", [100.0] * 5 + [104.0] * 7)], log(1.04)),
        # a venue that knows one end only says nothing
        ([("binance", [100.0] * 5 + [104.0] * 7), ("okx", [50.0] * 5)], log(1.04)),
        # the middle one of three, whatever level each has
        (
            [
                ("binance", [100.0] * 5 + [102.0] * 7),
                ("bybit", [90.0] * 12),
                ("okx", [110.0] * 5 + [113.0] * 7),
            ],
            log(1.02),
        ),
        # one exchange is one witness
        (
            [
                ("binance", [100.0] * 5 + [102.0] * 7),
                ("binance-coinm", [100.0] * 5 + [102.0] * 7),
                ("bybit", [100.0] * 12),
            ],
            log(1.02) / 2,
        ),
        ([("binance", [100.0] * 5)], None),
        ([], None),
    ],
)
def test_it_is_the_middle_one_of_the_exchanges_that_know_both_ends(venues, expected):
    value = return_of(market_of(*venues), FIRST)
    assert value == (None if expected is None else approx(expected, rel=1e-6))


def test_a_spike_at_the_end_is_no_return():
    prices = [100.0] * 11 + [100.0]
    view = market_of(("binance", prices))
    market = view.ordered[0]
    for now, value in ((START, 120.0), (START + 5 * SECOND, 120.0)):
        market.take(price("binance", now, value), now)
    for n in range(2, 8):
        now = START + n * 5 * SECOND
        market.take(price("binance", now, 100.0), now)
    assert return_of(view, FIRST) == approx(0.0, abs=1e-6)
