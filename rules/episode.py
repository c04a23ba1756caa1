"""The life of one rule for one asset: ok → pending → firing(level) → recovering → ok.

Invariants:
- no live value, no transition: missing data neither opens nor closes anything;
- after a hole longer than ``max_gap`` every timer starts anew;
- a level never goes down inside an episode; closing needs the value beyond ``clear`` for
  ``clear_for``;
- inside the cool-down an opening is recorded and not posted, unless it is worse than the last post;
- of a rule that asks other metrics too (``Rule.when``), timers run on its own value alone, and the
  others are asked at the moment at which a level has lasted long enough.
"""

from collections.abc import Callable, Mapping
from math import inf
from typing import cast

import msgspec

from rules.alerts import Level, Turn
from rules.metric import Reading
from rules.rule import Row, Rule
from streams.events import Ms

# a changed rule may no longer have a level that the state still counts
_LEVELS = tuple(Level)


class Episode(msgspec.Struct):
    """The state of one rule on one asset or instrument, changed by ``step`` alone.

    The fields ``posted_…`` outlive the episode, for the cool-down.
    """

    level: int = 0
    """0: no episode is open."""
    since: dict[int, Ms] = {}
    """Level → when its breach began."""
    settlements: dict[int, int] = {}
    """Level → settlements seen in breach."""
    settled_at: Ms | None = None
    """The last settlement that was counted."""
    clear_since: Ms | None = None
    """Since when the value has been beyond ``clear``; None: it is not."""
    last_live: Ms | None = None
    """When the value was last judged."""
    opened_at: Ms = 0
    turns: int = 0
    """How many turns the episode has had."""
    extreme: float = 0.0
    """The worst value."""
    extreme_at: Ms = 0
    posted_level: int = 0
    """The level of the last post."""
    posted_value: float | None = None
    """The value of the last post; None: there was none."""
    posted_at: Ms | None = None
    posted_open: bool = False
    """The opening of this episode was posted."""
    held: int = 0
    """Openings that the cool-down held back since the last post."""
    extreme_longs: float | None = None
    """Of an extreme that is a sum over both sides, the part of longs, see ``Reading.longs``."""
    interrupted: bool = False
    """There was a hole, and the level has not been reached again since."""
    value: float | None = None
    """The value when it was last judged, of an open episode."""
    released: bool = False
    """Its opening was hidden by a composite that is over: it is posted when it is much worse."""

    @property
    def awake(self) -> bool:
        """Whether time alone can change something: pending, firing or recovering."""
        return bool(self.level or self.since)

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: timers start anew, the cool-down begins now.

        ``opened_at`` is part of the episode's key, and stays.
        """
        self.extreme_at = min(self.extreme_at, now)
        self.since.clear()
        self.clear_since = None
        self.last_live = None if self.last_live is None else min(self.last_live, now)
        self.posted_at = None if self.posted_at is None else min(self.posted_at, now)


class Transition(msgspec.Struct, frozen=True):
    """One turn."""

    turn: Turn
    level: Level
    """The level reached; of a close, the one that the episode had."""
    value: float
    post: bool
    held: int = 0
    """Openings held back before it."""
    alone: Level | None = None
    """See ``Alert.alone``."""


def step(
    rule: Rule,
    row: Row,
    state: Episode,
    now: Ms,
    reading: Reading | None,
    distance: Callable[[float], float] = abs,
    limit: Callable[[int], int] | None = None,
) -> list[Transition]:
    """Move ``state`` on to ``now``; the turns that this made. ``reading`` None: there is no value.

    ``limit``: maps the level that the value reached to the one that is posted; None: the same.
    """
    sign = -1 if rule.fires == "below" else 1
    if reading is None or not judged(rule, row, reading):
        return []
    _mind_hole(rule, state, now)
    _count_breaches(rule, row, state, now, reading, sign)
    alone = ready(rule, state, now) if state.since else 0
    if not alone and not state.level:
        return []
    reached = limit(alone) if limit and alone else alone
    steps = _rise(rule, state, now, reading, distance, reached, alone)
    if state.level:
        state.value = reading.value
        _mind_extreme(state, now, reading, sign)
        steps += _recover(rule, row, state, now, reading, sign)
    return steps


def judged(rule: Rule, row: Row, reading: Reading, level: Level = Level.WATCH) -> bool:
    """Whether ``reading`` decides about ``level`` and those above it."""
    if not reading.lower_bound and not reading.breach_only:
        return True
    # a sum that lacks a part can prove that something is above a level, and nothing else
    if rule.fires == "below":
        return False
    if not reading.breach_only:
        return True
    least = min((x for lv, x in row.levels.items() if lv >= level), default=inf)
    return reading.value > least and _enough(row, reading)


def settle_in(
    rule: Rule,
    row: Row,
    state: Episode,
    now: Ms,
    reading: Reading,
    limit: Callable[[int], int] | None = None,
) -> None:
    """Carry an open episode over to changed levels without making a turn."""
    sign = -1 if rule.fires == "below" else 1
    if not state.level or (reading.lower_bound and sign < 0) or not _enough(row, reading):
        return
    for level in _LEVELS:
        threshold = row.levels.get(level)
        if threshold is not None and sign * reading.value > sign * threshold:
            state.since[level] = min(state.since.get(level, now), now - rule.hold.get(level, 0))
            if rule.settlements:
                state.settlements[level] = rule.settlements
            state.level = max(state.level, limit(level) if limit else level)
    state.posted_level = max(state.posted_level, state.level)


def _enough(row: Row, reading: Reading) -> bool:
    floor = reading.floor_musd
    return not row.floor_musd or (floor is not None and floor >= row.floor_musd)


def _mind_hole(rule: Rule, state: Episode, now: Ms) -> None:
    if state.last_live is not None and now - state.last_live > rule.max_gap:
        state.since.clear()
        state.clear_since = None
        state.interrupted = bool(state.level)
    state.last_live = now


def _count_breaches(
    rule: Rule, row: Row, state: Episode, now: Ms, reading: Reading, sign: int
) -> None:
    levels, since, x = row.levels, state.since, sign * reading.value
    enough = _enough(row, reading)
    fresh = _next_settlement(state, reading)
    for level in _LEVELS:
        threshold = levels.get(level)
        if threshold is not None and enough and x > sign * threshold:
            if level not in since:
                since[level] = now
            if rule.settlements and (fresh or level not in state.settlements):
                state.settlements[level] = state.settlements.get(level, 0) + 1
        else:
            if since:
                since.pop(level, None)
            if state.settlements:
                state.settlements.pop(level, None)


def _next_settlement(state: Episode, reading: Reading) -> bool:
    """Whether the reading is of a new settlement. Missing one in between is a hole."""
    at, before = reading.settled_at, state.settled_at
    if at is None or (before is not None and at <= before):
        return False
    state.settled_at = at
    # half an interval of grace: the market that sets the pace may change, and its interval too
    if before is None or at - before > 1.5 * (reading.interval_ms or 0):
        state.settlements.clear()
    return True


def ready(rule: Rule, state: Episode, now: Ms) -> int:
    """The highest level whose breach has lasted long enough, 0 if none has."""
    reached = 0
    if rule.settlements:
        for level, count in state.settlements.items() if state.since else ():
            if count >= rule.settlements and level > reached:
                reached = level
        return reached
    hold = cast("Mapping[int, Ms]", rule.hold)
    for level, since in state.since.items():
        if level > reached and now - since >= hold.get(level, 0):
            reached = level
    return reached


def _rise(
    rule: Rule,
    state: Episode,
    now: Ms,
    reading: Reading,
    distance: Callable[[float], float],
    reached: int,
    alone: int,
) -> list[Transition]:
    if not reached or reached < state.level:
        return []
    value, posted = reading.value, state.posted_value
    worse = posted is None or distance(value) >= distance(posted) * rule.repost_if
    if reached > state.level:
        turn = Turn.UP if state.level else Turn.OPEN
        cooling = state.posted_at is not None and now - state.posted_at < rule.cooldown
        post = turn is Turn.UP or not cooling or reached > state.posted_level or worse
        if turn is Turn.OPEN:
            state.posted_open, state.opened_at, state.turns = False, now, 0
            state.released = False
            state.extreme, state.extreme_at, state.clear_since = value, now, None
            state.extreme_longs, state.interrupted = reading.longs, False
        state.level = reached
        return [_turn(state, now, turn, value, post, alone)]
    if worse and (state.posted_open or state.released):
        return [_turn(state, now, Turn.WORSE, value, post=True, alone=alone)]
    return []


def _turn(state: Episode, now: Ms, turn: Turn, value: float, post: bool, alone: int) -> Transition:
    held = 0
    if post:
        held, state.held = state.held, 0
        state.posted_level, state.posted_value = state.level, value
        state.posted_at, state.posted_open = now, True
    else:
        state.held += 1
    state.turns += 1
    kept_below = Level(alone) if alone > state.level else None
    return Transition(turn, Level(state.level), value, post, held, kept_below)


def _mind_extreme(state: Episode, now: Ms, reading: Reading, sign: int) -> None:
    if sign * reading.value > sign * state.extreme:
        state.extreme, state.extreme_at = reading.value, now
        state.extreme_longs = reading.longs


def _recover(
    rule: Rule, row: Row, state: Episode, now: Ms, reading: Reading, sign: int
) -> list[Transition]:
    if reading.lower_bound or sign * reading.value >= sign * row.clear:
        state.clear_since = None
        return []
    if state.clear_since is None:
        state.clear_since = now
    if now - state.clear_since < rule.clear_for:
        return []
    closed = Transition(Turn.CLOSE, Level(state.level), reading.value, state.posted_open)
    state.level, state.clear_since, state.interrupted = 0, None, False
    state.turns += 1
    return [closed]
