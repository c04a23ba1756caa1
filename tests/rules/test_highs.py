"""How far something is below its high, whatever comes and goes meanwhile."""

from collections.abc import Callable
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx, mark, raises

from rules.highs import INTEREST, LATE, READY, High, Index, learn_group, learn_interest
from streams.durations import DAY, HOUR, MINUTE, SECOND
from tests.rules.facts import START, Fed, oi, price

VALUE = st.floats(0.01, 1e9)


def dumped_and_loaded(memo):
    """The same after a restart."""
    again = type(memo)()
    again.load(memo.dump())
    assert again.dump() == memo.dump()
    return again


# ── a value ──


@given(st.lists(st.tuples(VALUE, st.integers(1, 3 * DAY)), min_size=1), st.sets(st.integers(0, 50)))
@settings(deadline=None)
def test_it_is_the_highest_value_so_far_and_the_first_time_of_it(walk, restarts):
    high, now, seen = High(), START, []
    for n, (value, later) in enumerate(walk):
        high.take(value, now)
        seen.append((value, now))
        if n in restarts:
            high = dumped_and_loaded(high)
        highest = max(value for value, _ in seen)
        assert (high.value, high.at) == next((v, t) for v, t in seen if v == highest)
        expected = 100 * (value - highest) / highest
        assert high.below_pct(now) == (approx(expected, abs=1e-9) if now - START >= READY else None)
        now += later


def test_what_was_not_seen_of_late_is_not_now_and_a_clock_set_back_is_no_future():
    high = High()
    assert high.below_pct(START) is None
    high.take(10.0, START)
    high.take(8.0, START + READY)
    assert high.below_pct(START + READY + LATE) == approx(-20)
    assert high.below_pct(START + READY + LATE + 1) is None
    high.set_back(START + MINUTE)
    assert (high.at, high.began, high.last_at) == (START, START, START + MINUTE)
    with raises(ValueError, match="cut short"):
        High().load([b"12345678"])


@given(
    st.lists(VALUE, min_size=30, max_size=30),
    st.integers(1, 20), st.integers(2, 9), st.integers(0, 3),
)  # fmt: skip
@settings(deadline=None)
def test_a_high_filled_is_one_lived_through(values, begins, hole, overlap):
    """Watched from ``begins`` on, but for a hole; the past is told at the end, once or again."""
    whole, late = High(), High()
    at = [START + n * DAY for n in range(30)]
    for n, value in enumerate(values):
        for now in (at[n], at[n] + MINUTE):
            whole.take(value, now)
    for n in [*range(begins, begins + 2), *range(begins + 2 + hole, 30)]:
        for minute in range(24 * 60):  # all the time
            late.take(values[n], at[n] + minute * MINUTE)
    past = {at[n]: values[n] for n in range(min(30, begins + 2 + hole + overlap))}
    late.fill(past)
    again = dumped_and_loaded(late)
    again.fill(past)
    for high in (late, again):
        assert (high.value, high.began) == (whole.value, START)
        assert high.at // DAY == whole.at // DAY
    assert late.remembered(START) == late.last_at
    assert late.remembered(START - 1) is None


def test_what_was_watched_stays_whatever_is_told_later():
    high = High()
    high.fill({START - 2 * DAY: 9.0})
    assert high.below_pct(START) is None  # it was never seen
    high.take(10.0, START)
    assert high.below_pct(START) == 0
    high.take(8.0, START + MINUTE)
    high.fill({START - DAY: 11.0, START + 30 * SECOND: 99.0, START + MINUTE: 99.0})
    assert (high.value, high.at, high.began) == (10.0, START, START - 2 * DAY)
    high.take(8.0, START + HOUR)
    assert high.remembered(START) == START + MINUTE
    high.fill({START + 10 * MINUTE: 12.0, START + HOUR: 99.0})
    assert (high.value, high.at) == (12.0, START + 10 * MINUTE)
    assert high.remembered(START) == START + HOUR
    once = High()
    once.load([high.dump()[0][: 8 * 5]])  # as it was saved once
    assert (once.value, once.hole) == (12.0, (0, 0))


def test_what_is_told_before_the_first_value_after_a_hole_is_taken():
    high = High()
    high.take(10.0, START)
    high.fill({START + HOUR: 12.0, START + MINUTE: 99.0})  # a minute later it may be what is live
    assert (high.value, high.at) == (12.0, START + HOUR)


# ── a sum of parts that come and go ──

PARTS = st.dictionaries(st.sampled_from("abcd"), st.floats(0.1, 1e6), min_size=1)
WALK = st.lists(PARTS, min_size=1, max_size=40)


def chained(walk, worth):
    """The formula anew: each step by the parts that are at both of its ends."""
    index, levels = 1.0, [1.0]
    for before, after in pairwise(walk):
        same = before.keys() & after.keys()
        if same:
            index *= sum(after[k] * worth[k] for k in same) / sum(
                before[k] * worth[k] for k in same
            )
        levels.append(index)
    return levels


@given(
    WALK,
    st.fixed_dictionaries({k: st.floats(0.01, 100) for k in "abcd"}),
    st.sets(st.integers(0, 40)),
)
@settings(deadline=None)
def test_each_step_is_that_of_the_parts_at_both_of_its_ends(walk, worth, restarts):
    index, levels = Index(), chained(walk, worth)
    for n, parts in enumerate(walk):
        now = START + n * MINUTE
        assert index.due(now)
        index.take(parts, worth, now)
        assert not index.due(now)
        if n in restarts:
            index = dumped_and_loaded(index)
        assert index.high.last == approx(levels[n])
        assert index.high.value == approx(max(levels[: n + 1]))


def test_a_part_that_joins_or_leaves_is_neither_a_rise_nor_a_fall():
    index, worth = Index(), {"a": 1.0, "b": 1.0}
    for n, parts in enumerate(({"a": 9.0}, {"a": 9.0, "b": 90.0}, {"b": 80.0}, {"a": 5.0})):
        index.take(parts, worth, START + n * MINUTE)
    assert index.high.last == approx(80 / 90)


def test_where_all_were_dark_it_goes_on_from_the_last_step():
    index = Index()
    index.take({"a": 10.0}, {"a": 1.0}, START)
    index.take({"a": 7.0}, {"a": 1.0}, START + DAY)
    assert index.high.below_pct(START + DAY) == approx(-30)


def test_a_cut_dump_is_refused():
    index = Index()
    index.take({"a": 10.0}, {"a": 1.0}, START)
    for cut in ([], index.dump()[:1], [index.dump()[0], b"\xc1"], [b"", index.dump()[1]]):
        with raises(ValueError, match="start without it"):
            Index().load(cut)
    index.set_back(START - DAY)
    assert index.high.last_at == START - DAY


@mark.parametrize("factor", [10, 2])
@mark.parametrize("lasts", [2 * MINUTE, 30 * MINUTE])
def test_an_exchange_wrong_by_a_factor_sets_no_high(factor, lasts):
    fed = Fed("oi_net_15m_pct")
    for t in range(START, START + 60 * MINUTE, 10 * SECOND):
        wrong = START + 10 * MINUTE <= t < START + 10 * MINUTE + lasts
        fed.feed(oi("binance", t, 1000.0 * (factor if wrong else 1)), oi("bybit", t, 500.0))
        learn_interest(fed.view, t)
    high = fed.view.keep(INTEREST).high
    assert (high.value, high.last) == (approx(1.0), approx(1.0))


@mark.parametrize("factor", [1.12, 1.4])
def test_an_exchange_that_is_wrong_in_a_step_sets_no_high(factor):
    assert risen(lambda minute: factor if 10 <= minute < 22 else 1.0) == (
        approx(1.0), approx(1.0), START + 20 * SECOND
    )  # fmt: skip


@mark.parametrize("factor", [1.12, 1.4, 1.8])
@mark.parametrize("restart", [None, 15, 26])
def test_a_rise_that_was_doubted_is_dated_when_it_came(factor, restart):
    def share(minute: int) -> float:
        return factor if 10 <= minute < 40 else 0.97 * factor if minute >= 40 else 1.0

    high, last, at = risen(share, restart)
    assert (high, last) == approx(((factor * 2 + 1) / 3, (0.97 * factor * 2 + 1) / 3))
    assert START + 10 * MINUTE < at <= START + 12 * MINUTE


def risen(share: Callable[[int], float], restart: int | None = None) -> tuple[float, float, int]:
    """The high and the newest value of an index over 80 minutes, in which an exchange with two
    thirds of all held that ``share`` of what it did at first, while the price stood still; and when
    the high was. With the minute of a restart."""
    fed, group = Fed("oi_net_15m_pct"), Index()
    for t in range(START, START + 80 * MINUTE, 10 * SECOND):
        minute = (t - START) // MINUTE
        fed.feed(price("binance", t, 90_000.0), oi("binance", t, 1000.0 * share(minute)))
        fed.feed(oi("bybit", t, 500.0))
        learn_interest(fed.view, t)
        learn_group(group, [fed.view], t)
        if minute == restart and t % MINUTE == 0:
            again = Index()
            again.load(fed.view.keep(INTEREST).dump())
            fed.view.memos[INTEREST.name], group = again, dumped_and_loaded(group)
    high = fed.view.keep(INTEREST).high
    assert (group.high.value, group.high.last) == approx((high.value, high.last))
    assert group.high.at == high.at
    return high.value, high.last, high.at
