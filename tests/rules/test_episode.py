"""The life of an episode, told as rows of values: one a tick, ``_`` for no live value."""

import re

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from pytest import mark

from rules.alerts import Level, Turn
from rules.episode import Episode, Transition, judged, ready, settle_in, step
from rules.market import View
from rules.metric import Reading
from rules.metrics import metric
from rules.records import Trail
from rules.rule import Row, Rule
from rules.watchlist import RuleInstance

SECOND, MINUTE = 1_000, 60_000
START = 1_790_000_000_000

DROP = Rule(
    name="oi_drop",
    metric="oi_net_1h_pct",
    fires="below",
    rows={},
    hold={Level.WATCH: 2 * MINUTE, Level.ALERT: 2 * MINUTE},
    clear_for=5 * MINUTE,
)
DROP_ROW = Row(levels={Level.WATCH: -3, Level.ALERT: -5, Level.CRITICAL: -8}, clear=-1.5)

THIN = Rule(
    name="depth_thin",
    metric="depth_100bp_pct_of_recent",
    fires="below",
    rows={},
    hold={Level.WATCH: 2 * MINUTE, Level.ALERT: 2 * MINUTE},
)
THIN_ROW = Row(levels={Level.WATCH: 70, Level.ALERT: 55, Level.CRITICAL: 35}, clear=85)


def series(text: str) -> list[float | None]:
    """``-5x3`` is -5 and then 3 more; ``_x3`` is nothing, four times."""
    values: list[float | None] = []
    for word in text.split():
        value, _, more = word.partition("x")
        values += [None if value == "_" else float(value)] * (1 + int(more or 0))
    return values


def clock(ms: int) -> str:
    minutes, seconds = divmod(ms // SECOND, 60)
    return f"{minutes}m{seconds:02d}s"


def run(text, rule=DROP, row=DROP_ROW, every=30 * SECOND, state=None, distance=abs):
    """The turns as (time since start, turn, level, posted?)."""
    state = state or Episode()
    transitions: list[tuple[str, str, str, bool]] = []
    for n, value in enumerate(series(text)):
        reading = None if value is None else Reading(value=value)
        transitions += [
            (clock(n * every), turn.turn, turn.level.name.lower(), turn.post)
            for turn in step(rule, row, state, START + n * every, reading, distance)
        ]
    return transitions


# Ticks of 30 s; watch -3 and alert -5 for 2 min, critical -8 at once, clear -1.5 for 5 min.
VECTORS = {
    "60 s spike": ("0x4 -5.3x1 0x20", []),
    "around a level": (" ".join(["-5.1", "-4.9"] * 10), [("2m00s", "open", "watch", True)]),
    "stale while firing, still bad": ("-5.4x6 _x39 -5.4x10", [("2m00s", "open", "alert", True)]),
    "stale while firing, then good": (
        "-5.4x6 _x39 0x12",
        [("2m00s", "open", "alert", True), ("28m30s", "close", "alert", True)],
    ),
    "a hole between two short breaches": ("-5x3 _x4 -5x3 0x5", []),
    "one tick beyond critical": ("0x3 -9 0x5", [("2m00s", "open", "critical", True)]),
    "again within the cool-down": (
        "-5.5x4 0x10 -5.6x4 0x10",
        [
            ("2m00s", "open", "alert", True),
            ("7m30s", "close", "alert", True),
            ("10m00s", "open", "alert", False),
            ("15m30s", "close", "alert", False),
        ],
    ),
    "then critical within the cool-down": (
        "-5.5x4 0x10 -5.6x4 -9",
        [
            ("2m00s", "open", "alert", True),
            ("7m30s", "close", "alert", True),
            ("10m00s", "open", "alert", False),
            ("10m30s", "up", "critical", True),
        ],
    ),
    "a quarter worse": (
        "-5.5x4 -6.0x3 -7.0x3",
        [("2m00s", "open", "alert", True), ("4m30s", "worse", "alert", True)],
    ),
}


@mark.parametrize("text, expected", VECTORS.values(), ids=VECTORS)
def test_vectors(text, expected):
    assert run(text) == expected


def test_an_outage_is_not_thin_depth():
    assert run("100x18 40x6 _x30 100x6", THIN, THIN_ROW, every=10 * SECOND) == []


def test_half_depth_for_three_minutes():
    transitions = run("100x18 50x18", THIN, THIN_ROW, every=10 * SECOND)
    assert transitions == [("5m10s", "open", "alert", True)]


def test_above_is_the_mirror_of_below():
    mirror = Row(levels={lv: -x for lv, x in DROP_ROW.levels.items()}, clear=1.5)
    rule = msgspec.structs.replace(DROP, fires="above")
    for text, expected in VECTORS.values():
        assert run(re.sub(r"(?<!\S)-?(?=[1-9])", "", text), rule, mirror) == expected


def test_no_level_goes_down_inside_an_episode():
    assert run("-9x4 -5.5x20 -3.5x20") == [("0m00s", "open", "critical", True)]


def test_closing_needs_the_quiet_side_without_a_break():
    assert run("-9 0x9 -2 0x9 -2 0x9") == [("0m00s", "open", "critical", True)]
    assert run("-9 0x10")[-1] == ("5m30s", "close", "critical", True)


def test_a_hole_starts_the_way_back_anew():
    assert run("-9 0x9 _x4 0x9") == [("0m00s", "open", "critical", True)]
    assert run("-9 0x9 _x4 0x10")[-1][1] == "close"


def test_worse_is_measured_from_normal():
    # 50 % of normal is 50 away from it; a quarter worse is 37.5, not 40
    rule = msgspec.structs.replace(THIN, hold={})
    row = Row(levels={Level.ALERT: 55}, clear=85)
    transitions = run("50 45 40 38 37", rule, row, distance=lambda value: abs(100 - value))
    assert [turn[:2] for turn in transitions] == [("0m00s", "open"), ("2m00s", "worse")]


def test_a_floor_must_be_reached_and_known():
    rule = msgspec.structs.replace(THIN, hold={})
    row = msgspec.structs.replace(THIN_ROW, floor_musd=40)
    state = Episode()
    for floor in (None, 0.0, 39.9):
        assert step(rule, row, state, START, Reading(value=20, floor_musd=floor)) == []
    opened = step(rule, row, state, START, Reading(value=20, floor_musd=40.0))
    assert opened == [Transition(Turn.OPEN, Level.CRITICAL, 20, post=True)]


def test_too_small_to_open_is_not_small_enough_to_close():
    rule = msgspec.structs.replace(THIN, hold={})
    row = msgspec.structs.replace(THIN_ROW, floor_musd=40)
    state = Episode()
    step(rule, row, state, START, Reading(value=20, floor_musd=50))
    for minute in range(1, 60):
        now = START + minute * MINUTE
        assert step(rule, row, state, now, Reading(value=60, floor_musd=10)) == []


def test_settlements_are_counted_instead_of_time():
    rule = msgspec.structs.replace(DROP, hold={}, settlements=2, max_gap=MINUTE)
    row = Row(levels={Level.ALERT: 0.0}, clear=0.002)
    state, hour = Episode(), 60 * MINUTE

    def at(hours, value, settled):
        reading = Reading(value=value, settled_at=START + settled * hour, interval_ms=8 * hour)
        return [s.turn for s in step(rule, row, state, START + int(hours * hour), reading)]

    assert at(0.1, -0.01, 0) == []
    assert at(7.9, -0.01, 0) == []  # the same settlement, however long it lasts
    assert at(8.1, -0.01, 8) == [Turn.OPEN]
    state = Episode()
    assert at(0.1, -0.01, 0) == []
    assert at(8.1, 0.01, 8) == []
    assert at(16.1, -0.01, 16) == []  # not in a row
    assert at(24.1, -0.01, 24) == [Turn.OPEN]
    state = Episode()
    assert at(0.1, -0.01, 0) == []
    assert at(16.1, -0.01, 16) == []  # one in between was not seen
    assert at(24.1, -0.01, 24) == [Turn.OPEN]


def test_openings_swallowed_by_the_cooldown_are_told_with_the_next_post():
    state = Episode()
    run("-5.5x4 0x10 -5.5x4 0x10 -5.5x4 0x10", state=state)
    assert state.held == 2
    steps = step(DROP, DROP_ROW, state, START + 20 * MINUTE, Reading(value=-9))
    assert [(s.turn, s.post, s.held) for s in steps] == [(Turn.OPEN, True, 2)]
    assert state.held == 0


def test_the_cooldown_ends():
    again = run("-5.5x4 0x115 -5.5x4")
    assert [turn[1:] for turn in again if turn[1] == "open"] == [("open", "alert", True)] * 2


def test_the_extreme_is_the_worst_value_of_the_episode():
    state = Episode()
    run("-9 -9.5 -11 -10 -4 0x3", state=state)
    assert (state.extreme, state.extreme_at) == (-11, START + 60 * SECOND)
    run("0x120 -8.5", state=state)
    assert state.extreme == -8.5


def test_a_lower_bound_proves_a_breach_and_never_a_recovery():
    rule = msgspec.structs.replace(DROP, fires="above", hold={})
    row = Row(levels={Level.ALERT: 40.0}, clear=8.0)
    state = Episode()
    low = Reading(value=50, lower_bound=True)
    assert [s.turn for s in step(rule, row, state, START, low)] == [Turn.OPEN]
    for n in range(1, 200):
        partial = Reading(value=0, lower_bound=True)
        assert step(rule, row, state, START + n * 10 * SECOND, partial) == []
    quiet = msgspec.structs.replace(rule, fires="below")
    assert step(quiet, row, Episode(), START, Reading(value=0, lower_bound=True)) == []


def test_what_can_only_prove_a_breach_is_no_value_below_it():
    rule = msgspec.structs.replace(DROP, fires="above", hold={}, max_gap=MINUTE)
    row = Row(levels={Level.ALERT: 40.0, Level.CRITICAL: 90.0}, clear=8.0)
    state = Episode()

    def at(seconds: int, value: float) -> list[Turn]:
        reading = Reading(value=value, lower_bound=True, breach_only=True)
        return [s.turn for s in step(rule, row, state, START + seconds * SECOND, reading)]

    assert at(0, 40) == [] and state.last_live is None
    assert at(10, 41) == [Turn.OPEN]
    assert at(20, 91) == [Turn.UP]
    assert at(30, 60) == [] and state.last_live == START + 30 * SECOND
    assert at(40, 0) == [] and state.last_live == START + 30 * SECOND
    # of each level for itself
    reading = Reading(value=60, lower_bound=True, breach_only=True)
    assert judged(rule, row, reading, Level.ALERT)
    assert not judged(rule, row, reading, Level.CRITICAL)
    # and with a floor only if that is reached too
    floored = msgspec.structs.replace(row, floor_musd=100)
    assert not judged(rule, floored, reading)
    assert judged(rule, floored, msgspec.structs.replace(reading, floor_musd=100))


@given(
    st.lists(
        st.tuples(
            st.integers(0, 90),
            st.sampled_from([None, -9.0, -4.0, -2.0, 0.0]),
            st.sampled_from([(False, False), (True, False), (True, True)]),
        ),
        max_size=80,
    ),
    st.sampled_from(["below", "above"]),
)  # fmt: skip
def test_the_short_way_for_quiet_values_is_the_same_step(values, fires):
    row = DROP_ROW if fires == "below" else Row(levels={Level.WATCH: -3}, clear=-5)
    rule, now = msgspec.structs.replace(DROP, fires=fires, cooldown=0), START
    quick = RuleInstance(rule, row, metric(rule.metric), View("BTC"), "", Trail())
    plain, trail = Episode(), Trail()
    for seconds, value, (low, breach) in values:
        now += seconds * SECOND
        if value is None:
            continue
        reading = Reading(value=value, lower_bound=low, breach_only=breach)
        if not quick.judged(reading):
            assert not quick.rest(now, reading)
            assert step(rule, row, plain, now, reading) == []
            continue
        expected = step(rule, row, plain, now, reading)
        trail.note(now, quick.sign * value, reading, plain.awake)
        if quick.rest(now, reading):
            assert expected == []
        else:
            assert step(rule, row, quick.episode, now, reading) == expected
            quick.trail.note(now, quick.sign * value, reading, quick.episode.awake)
        assert (quick.episode, quick.trail) == (plain, trail)


# ── the boundaries of one step ──

AT = START + MINUTE
EXACT = msgspec.structs.replace(DROP, clear_for=5 * MINUTE, max_gap=MINUTE)


def turns(state: Episode, now: int, value: float, rule: Rule = EXACT, row: Row = DROP_ROW):
    return [s.turn for s in step(rule, row, state, now, Reading(value=value))]


@mark.parametrize("fires, sign", [("below", 1), ("above", -1)])
def test_a_threshold_itself_is_no_breach(fires, sign):
    row = Row(levels={lv: sign * x for lv, x in DROP_ROW.levels.items()}, clear=sign * -1.5)
    rule = msgspec.structs.replace(EXACT, fires=fires, hold={})
    for level, x in DROP_ROW.levels.items():
        state = Episode()
        step(rule, row, state, AT, Reading(value=sign * x))
        assert state.level == level - 1
        step(rule, row, state, AT, Reading(value=sign * (x - 1e-9)))
        assert state.level == level


@mark.parametrize("fires, sign", [("below", 1), ("above", -1)])
def test_a_changed_threshold_itself_is_no_breach_either(fires, sign):
    row = Row(levels={lv: sign * x for lv, x in DROP_ROW.levels.items()}, clear=sign * -1.5)
    rule = msgspec.structs.replace(EXACT, fires=fires, hold={})
    for level, x in DROP_ROW.levels.items():
        state = Episode(level=Level.WATCH)
        settle_in(rule, row, state, AT, Reading(value=sign * x))
        assert state.level == max(Level.WATCH, level - 1)
        settle_in(rule, row, state, AT, Reading(value=sign * (x - 1e-9)))
        assert state.level == level


def test_a_breach_is_ready_at_the_very_end_of_its_time():
    for late, opened in ((-1, []), (0, [Turn.OPEN])):
        state = Episode()
        for now in range(AT, AT + 2 * MINUTE, 30 * SECOND):
            assert turns(state, now, -5.5) == []
        assert turns(state, AT + 2 * MINUTE + late, -5.5) == opened


@mark.parametrize("fires, sign", [("below", 1), ("above", -1)])
def test_the_clear_value_itself_is_not_yet_quiet(fires, sign):
    row = Row(levels={lv: sign * x for lv, x in DROP_ROW.levels.items()}, clear=sign * -1.5)
    rule = msgspec.structs.replace(EXACT, fires=fires)
    for value, closed in ((-1.5, []), (-1.5 + 1e-9, [Turn.CLOSE])):
        state = Episode()
        assert turns(state, AT, sign * -9, rule, row) == [Turn.OPEN]
        transitions = [
            turn
            for n in range(1, 12)
            for turn in turns(state, AT + n * 30 * SECOND, sign * value, rule, row)
        ]
        assert transitions == closed


def test_it_closes_at_the_very_end_of_the_quiet_time():
    for late, closed in ((-1, []), (0, [Turn.CLOSE])):
        state = Episode()
        turns(state, AT, -9)
        for n in range(10):
            assert turns(state, AT + n * 30 * SECOND + 1, 0) == []
        assert turns(state, AT + 5 * MINUTE + 1 + late, 0) == closed


def test_a_gap_of_exactly_the_longest_is_no_hole():
    for more, opened in ((0, [Turn.OPEN]), (1, [])):
        state = Episode()
        rule = msgspec.structs.replace(EXACT, hold={Level.WATCH: MINUTE})
        assert turns(state, AT, -4, rule) == []
        assert turns(state, AT + MINUTE + more, -4, rule) == opened
        # and so on the way back
        state = Episode()
        turns(state, AT, -9)
        turns(state, AT, 0)
        rule = msgspec.structs.replace(EXACT, clear_for=MINUTE)
        closed = [Turn.CLOSE] if not more else []
        assert turns(state, AT + MINUTE + more, 0, rule) == closed


def test_worse_begins_at_the_very_factor():
    row = Row(levels={Level.ALERT: -4}, clear=-1)
    rule = msgspec.structs.replace(EXACT, hold={}, repost_if=1.5)
    for value, expected in ((-7.999, []), (-8.0, [Turn.WORSE])):
        state = Episode()
        assert turns(state, AT, -16 / 3, rule, row) == [Turn.OPEN]
        assert turns(state, AT + SECOND, value, rule, row) == expected


def test_the_cooldown_ends_at_its_very_end():
    rule = msgspec.structs.replace(EXACT, hold={}, clear_for=0, cooldown=10 * MINUTE)
    for early, post in ((1, False), (0, True)):
        state = Episode()
        step(rule, DROP_ROW, state, AT, Reading(value=-5.5))
        step(rule, DROP_ROW, state, AT + MINUTE, Reading(value=0))
        again = step(rule, DROP_ROW, state, AT + 10 * MINUTE - early, Reading(value=-5.6))
        assert [(s.turn, s.post) for s in again] == [(Turn.OPEN, post)]


def test_a_hole_in_an_open_episode_is_remembered_until_its_level_is_reached_again():
    rule = msgspec.structs.replace(EXACT, hold={Level.CRITICAL: 30 * SECOND})
    state = Episode()
    turns(state, AT, -9, rule)
    turns(state, AT + 30 * SECOND, -9, rule)
    assert (state.level, state.interrupted, state.value) == (3, False, -9)
    back = AT + 30 * SECOND + MINUTE
    turns(state, back, -9, rule)
    assert not state.interrupted
    turns(state, back + MINUTE + 1, -8.5, rule)
    assert (state.interrupted, state.value) == (True, -8.5)
    assert ready(rule, state, back + MINUTE + 1) < state.level
    assert ready(rule, state, back + MINUTE + 1 + 30 * SECOND) == state.level
    for n in range(2, 16):
        turns(state, back + n * MINUTE, 0, rule)
    assert (state.level, state.interrupted) == (0, False)


def test_a_clock_set_back_leaves_nothing_later_and_starts_timers_anew():
    now = START
    early, late = now - MINUTE, now + MINUTE
    state = Episode(
        since={1: late}, clear_since=late, last_live=late, opened_at=late, extreme_at=late,
        posted_at=late,
    )  # fmt: skip
    state.set_back(now)
    assert state == Episode(last_live=now, opened_at=late, extreme_at=now, posted_at=now)
    state = Episode(last_live=early, extreme_at=early, posted_at=early)
    state.set_back(now)
    assert state == Episode(last_live=early, extreme_at=early, posted_at=early)
    state = Episode()
    state.set_back(now)
    assert state == Episode()
