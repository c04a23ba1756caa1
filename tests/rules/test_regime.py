"""The regime machine: every transition, what makes none, and a model that looks at all the past."""

from random import Random

import msgspec
from pytest import mark

from rules.alerts import Regime
from rules.regime import TRANSITIONS, Conditions, RegimeState, enough_met, every, no
from streams.durations import DAY, HOUR, MINUTE, SECOND

STEP = 10 * SECOND
START = 1_790_006_400_000

CALM, THIN, CASCADE, RESET, REPAIR = Regime
QUIET = Conditions(
    forced=False, thin=False, still_thin=False, repaired=True, reduced=False, rebuilt=True,
    positive=True,
)  # fmt: skip
"""What is so when nothing happens."""

LOW = QUIET._replace(reduced=True, rebuilt=False)
"""Open interest is far below its high."""

BETWEEN = QUIET._replace(reduced=False, rebuilt=False)
"""Neither far below its high nor near it."""

SHALLOW = {"thin": True, "still_thin": True, "repaired": False}
MIDDLING = {"thin": False, "still_thin": True, "repaired": False}


def at(regime, spent=False):
    """A state that has been in ``regime`` for a while."""
    return RegimeState(regime=regime, since=START, before=CALM, spent=spent)


def hold(state, conditions, length, start=START + HOUR):
    """The regimes that follow in so much time of the same conditions, with how long each took."""
    return [
        (state.regime, ms)
        for ms in range(0, length + STEP, STEP)
        if state.step(conditions, start + ms)
    ]


@mark.parametrize(
    ("regime", "conditions", "to", "after"),
    [
        (CALM, QUIET._replace(forced=True), CASCADE, 0),
        (CALM, QUIET._replace(**SHALLOW), THIN, 30 * MINUTE),
        (CALM, LOW, RESET, HOUR),
        (THIN, QUIET._replace(**SHALLOW, forced=True), CASCADE, 0),
        (THIN, LOW._replace(**SHALLOW), RESET, HOUR),
        (THIN, QUIET, CALM, 30 * MINUTE),
        (CASCADE, LOW._replace(**SHALLOW), RESET, 30 * MINUTE),
        (CASCADE, LOW, RESET, 30 * MINUTE),
        (CASCADE, QUIET._replace(**MIDDLING), THIN, 30 * MINUTE),
        (CASCADE, QUIET, CALM, 30 * MINUTE),
        (RESET, LOW._replace(forced=True), CASCADE, 0),
        (RESET, LOW, REPAIR, HOUR),
        (RESET, QUIET._replace(positive=False), CALM, HOUR),
        (RESET, QUIET._replace(**MIDDLING), THIN, HOUR),
        (REPAIR, LOW._replace(forced=True), CASCADE, 0),
        (REPAIR, LOW._replace(**SHALLOW), THIN, 30 * MINUTE),
        (REPAIR, LOW, CALM, DAY),
    ],
)
def test_every_transition_takes_as_long_as_it_asks(regime, conditions, to, after):
    state = at(regime)
    assert hold(state, conditions, after) == [(to, after)]
    assert state.before is regime and state.since == START + HOUR + after
    assert state.timers == {}


def test_the_table_of_transitions_is_the_one_that_is_tested():
    assert {(regime, edge.to) for regime, edges in TRANSITIONS.items() for edge in edges} == {
        (CALM, CASCADE), (CALM, RESET), (CALM, THIN), (THIN, CASCADE), (THIN, RESET), (THIN, CALM),
        (CASCADE, RESET), (CASCADE, THIN), (CASCADE, CALM), (RESET, CASCADE), (RESET, REPAIR),
        (RESET, THIN), (RESET, CALM), (REPAIR, CASCADE), (REPAIR, THIN), (REPAIR, CALM),
    }  # fmt: skip


@mark.parametrize(
    ("regime", "conditions"),
    [
        (CALM, QUIET),
        (CALM, QUIET._replace(**MIDDLING)),
        (CALM, BETWEEN),
        (THIN, QUIET._replace(**MIDDLING)),
        (CASCADE, LOW._replace(forced=True)),
        (RESET, LOW._replace(positive=False)),
        (RESET, LOW._replace(**MIDDLING)),
        (RESET, BETWEEN._replace(positive=False)),
        (REPAIR, LOW._replace(**MIDDLING)),
        *((regime, Conditions()) for regime in Regime),
    ],
)
def test_nothing_else_leads_anywhere(regime, conditions):
    state = at(regime)
    assert hold(state, conditions, 2 * DAY) == [] and state.regime is regime


@mark.parametrize(
    ("regime", "conditions", "name"),
    [
        (CALM, QUIET._replace(forced=True), "forced"),
        (CALM, QUIET._replace(**SHALLOW), "thin"),
        (CALM, LOW, "reduced"),
        (CALM, LOW, "forced"),
        (THIN, QUIET, "still_thin"),
        (CASCADE, LOW, "forced"),
        (RESET, LOW, "repaired"),
        (RESET, LOW, "positive"),
        (RESET, QUIET._replace(positive=False), "rebuilt"),
        (REPAIR, LOW, "still_thin"),
        (REPAIR, LOW, "forced"),
    ],
)
def test_what_is_unknown_makes_no_transition(regime, conditions, name):
    assert hold(at(regime), conditions, 2 * DAY) != []
    assert hold(at(regime), conditions._replace(**{name: None}), 2 * DAY) == []


def test_a_cascade_ends_though_books_and_highs_are_unknown():
    state = at(CASCADE)
    assert hold(state, Conditions(forced=False), HOUR) == [(CALM, 30 * MINUTE)]
    # and what is known later makes it a reset all the same
    assert hold(state, LOW, 2 * HOUR, START + DAY) == [(RESET, HOUR)]


def test_the_whole_round():
    state = RegimeState()
    now = START
    rounds = [
        (QUIET, HOUR, []),
        (QUIET._replace(**SHALLOW), HOUR, [THIN]),
        (LOW._replace(**SHALLOW, forced=True, positive=False), HOUR, [CASCADE]),
        (LOW._replace(**SHALLOW, positive=False), DAY, [RESET]),
        (LOW._replace(positive=False), DAY, []),
        (LOW, 20 * HOUR, [REPAIR]),
        (LOW, DAY, [CALM]),
        (LOW, 30 * DAY, []),  # not again of itself
        (QUIET, HOUR, []),
        (LOW, 2 * HOUR, [RESET]),  # but after open interest was near its high
    ]
    for conditions, length, regimes in rounds:
        assert [regime for regime, _ in hold(state, conditions, length, now)] == regimes
        now += length + STEP


def test_the_first_regime_needs_to_know_whether_positions_are_forced():
    state = RegimeState()
    for conditions in (Conditions(), QUIET._replace(forced=None)):
        assert not state.step(conditions, START) and state.regime is None
    assert not state.step(QUIET, START + STEP) and state.regime is CALM and state.before is None
    other = RegimeState()
    assert not other.step(QUIET._replace(forced=True), START) and other.regime is CASCADE


def test_whoever_asks_at_the_moment_of_a_transition_is_answered_alike():
    state = at(CALM)
    state.step(QUIET._replace(forced=True), START + HOUR)
    assert state.shown(START + HOUR) is CALM and state.shown(START + HOUR + 1) is CASCADE


def test_conditions_that_come_and_go_make_no_transition():
    state = at(CALM)
    for n in range(3 * DAY // MINUTE):
        conditions = QUIET._replace(**SHALLOW) if n % 30 else QUIET  # 29 minutes of 30
        assert hold(state, conditions, MINUTE - STEP, START + n * MINUTE) == []


def test_a_hole_of_more_than_a_tenth_of_the_time_begins_it_anew():
    def thin_with_hole(hole):
        state = at(THIN)
        assert hold(state, QUIET, 20 * MINUTE, START) == []
        assert hold(state, Conditions(), hole, START + 20 * MINUTE + STEP) == []
        return hold(state, QUIET, HOUR, START + 20 * MINUTE + hole + STEP)

    assert thin_with_hole(2 * MINUTE)[0][1] < 10 * MINUTE
    assert thin_with_hole(4 * MINUTE) == [(CALM, 30 * MINUTE)]


def test_a_clock_that_is_set_back_keeps_the_regime_and_begins_its_timers_anew():
    state = at(CASCADE)
    assert hold(state, LOW, 25 * MINUTE) == []
    state.set_back(START - DAY)
    assert (state.regime, state.since, state.timers) == (CASCADE, START - DAY, {})
    assert hold(state, LOW, HOUR, START - DAY) == [(RESET, 30 * MINUTE)]


def test_settlements_are_counted_once_and_one_that_was_missed_ends_the_run():
    state, interval = RegimeState(), 8 * HOUR
    for n, positive in enumerate([False, False, False, True, True]):
        for _ in range(3):
            state.count(START + n * interval, interval, positive)
    assert state.streak == 2
    state.count(START + 6 * interval, interval, positive=True)
    assert state.streak == 1
    state.count(START + 7 * interval, interval, positive=False)
    state.count(START + 8 * interval, interval, positive=False)
    assert state.streak == -2


def test_a_run_goes_back_into_what_was_told_later():
    interval = 8 * HOUR

    def past(*positives):
        """Settlements up to the first one that was counted, the newest first."""
        return [(START - n * interval, positive) for n, positive in enumerate(positives)]

    def run_after(before):
        state = RegimeState()
        state.count(START, interval, positive=False)
        state.count(START + interval, interval, positive=False)
        assert (state.streak, state.extended) == (-2, False)
        state.extend(before, interval)
        assert state.extended
        return state

    assert run_after(past(False, False, False, True, False)).streak == -4
    assert run_after(past(True, True)).streak == -2  # of what was counted nothing is doubted
    assert run_after([]).streak == run_after(past(False, True)).streak == -2
    missed = [entry for entry in past(False, False, False, False) if entry[0] != START - interval]
    assert run_after(missed).streak == -2
    state = run_after(past(False, False))
    state.count(START + 2 * interval, interval, positive=True)
    assert (state.streak, state.extended) == (1, True)  # it turned while it was watched
    state.count(START + 9 * interval, interval, positive=True)
    assert (state.streak, state.extended) == (1, False)


def test_three_valued_logic():
    assert every(True, True) is True and every(True, None) is None
    assert every(None, False) is False and every(False, True) is False
    assert no(None) is None and no(False) is True
    assert enough_met(2, [True, None, None]) is None and enough_met(2, [True, None, False]) is None
    assert (
        enough_met(2, [True, True, None]) is True and enough_met(2, [None, False, False]) is False
    )


# A model: all of the past, looked at anew at each step.


def leads(regime, c, spent):
    """Where each regime leads and after how long, written down once more by what it says."""
    over = c.forced is False
    match regime:
        case Regime.CALM | Regime.THIN:
            yield CASCADE, 0, c.forced
            yield RESET, HOUR, both(c.reduced, flip(c.forced)) if not spent else False
            if regime is CALM:
                yield THIN, 30 * MINUTE, c.thin
            else:
                yield CALM, 30 * MINUTE, flip(c.still_thin)
        case Regime.CASCADE:
            unknown = c.forced is None
            yield RESET, 30 * MINUTE, both(flip(c.forced), c.reduced)
            thin = c.still_thin if c.reduced is not True else False
            yield THIN, 30 * MINUTE, both(flip(c.forced), thin)
            rest = c.reduced is not True and c.still_thin is not True
            yield CALM, 30 * MINUTE, None if unknown and rest else over and rest
        case Regime.RESET:
            yield CASCADE, 0, c.forced
            yield REPAIR, HOUR, both(c.repaired, c.positive)
            yield THIN, HOUR, both(c.rebuilt, c.still_thin)
            yield CALM, HOUR, both(c.rebuilt, c.still_thin is not True)
        case Regime.REPAIR:
            yield CASCADE, 0, c.forced
            yield THIN, 30 * MINUTE, c.thin
            yield CALM, DAY, both(flip(c.still_thin), flip(c.forced))


def both(a, b):
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def flip(a):
    return None if a is None else not a


def model(past):
    """The regimes over the whole of ``past``, (time, conditions)."""
    regimes, regime, began, spent = [], None, 0, False
    for n, (now, c) in enumerate(past):
        if c.rebuilt:
            spent = False
        if regime is None:
            if c.forced is not None:
                regime, began = (CASCADE if c.forced else CALM), n + 1
            regimes.append(regime)
            continue
        for to, lasting, met in leads(regime, c, spent):
            if met and now - since_when(past[began : n + 1], regime, to, lasting, spent) >= lasting:
                regime, began, spent = to, n + 1, spent or to is RESET
                break
        regimes.append(regime)
    return regimes


def since_when(past, regime, to, lasting, spent):
    """Since when what leads to ``to`` is met, holes of up to a tenth of the time left out."""
    first = last = past[-1][0]
    for now, c in reversed(past):
        # once open interest was near its high a reset is no more spent, and never in between
        met = next(met for where, _, met in leads(regime, c, spent) if where is to)
        if met is False or (met and last - now > max(MINUTE, lasting // 10)):
            return first
        if met:
            first = last = now
    return first


@mark.parametrize("seed", range(40))
def test_it_does_what_the_model_does_and_a_restart_anywhere_changes_nothing(seed):
    dice = Random(seed)
    now, past, state, regimes = START, [], RegimeState(), []
    conditions = QUIET
    restarts = {*dice.sample(range(1_500), 30)}
    for n in range(1_500):
        now += dice.choice([STEP, STEP, MINUTE, 3 * MINUTE])
        if dice.random() < 0.03:
            depth = dice.choice([QUIET, QUIET._replace(**SHALLOW), QUIET._replace(**MIDDLING)])
            held = dice.choice([QUIET, LOW, BETWEEN])
            conditions = depth._replace(
                forced=dice.random() < 0.15, reduced=held.reduced, rebuilt=held.rebuilt,
                positive=dice.random() < 0.6,
            )  # fmt: skip
        shown = conditions
        if dice.random() < 0.1:
            shown = conditions._replace(**{dice.choice(Conditions._fields): None})
        past.append((now, shown))
        state.step(shown, now)
        regimes.append(state.regime)
        if n in restarts:
            dumped = msgspec.msgpack.encode(state)
            state = msgspec.msgpack.decode(dumped, type=RegimeState)
            assert msgspec.msgpack.encode(state) == dumped
    assert regimes == model(past)


def test_the_walks_of_the_model_come_through_every_regime():
    seen = set()
    for seed in range(40):
        dice, state, now = Random(seed), RegimeState(), START
        for _ in range(200):
            conditions = dice.choice([QUIET, LOW, QUIET._replace(**SHALLOW),
                                      LOW._replace(forced=True)])  # fmt: skip
            for _ in range(dice.randrange(1, 400)):
                now += MINUTE
                state.step(conditions, now)
                seen.add(state.regime)
    assert seen == {*Regime}
