"""Composites: conditions on other rules' episodes that together are one bigger event.

Invariants:
- a composite fires only when a rule has just reached a level, never by time and never by a hole;
- a condition without data neither helps nor blocks while it has none, but one condition alone is
  never a composite;
- a hole ends a match as of its last value; after the hole the level must be reached again;
- it ends when too few conditions held within ``within``, whatever those may be that cannot be
  judged since, or when none held of those that can; what cannot be judged at all ends nothing;
- while it fires it posts what gets worse, since its parts are hidden: a higher level, or a value
  that its rule would post again (``repost_if``);
- its level is never below that of anything it hides: it rises with it, and hides nothing higher;
- once it is over it hides nothing critical: a part that goes on is posted by its own rule.
"""

from collections.abc import Callable, Collection, Container, Iterator, Mapping

import msgspec

from rules.alerts import Cause, Level, Turn
from rules.episode import Episode, Transition
from rules.metric import Reading
from rules.rule import Rule
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Ms

HISTORY: Ms = 400 * DAY
"""How long firings are remembered."""

_LEAST = 2


class Composite(msgspec.Struct, frozen=True, kw_only=True):
    """Fires when enough of ``all_of`` were reached within the last ``within``."""

    name: str
    level: Level
    """The least level: it rises to that of the worst episode that it hides."""
    within: Ms
    all_of: tuple[tuple[str, Level], ...]
    """(family, level) of other rules, each reached by any window of that family on the asset."""
    at_least: int = 0
    """How many of ``all_of`` are enough; 0: all."""
    hides: tuple[str, ...] = ()
    """The families whose alerts on the asset are part of this composite's post."""
    hold: Ms = 30 * MINUTE
    """So long after its end it still hides alerts, except critical ones."""
    cooldown: Ms = 2 * HOUR
    """The least time between two firings."""
    post: bool = True
    """False: it is judged and logged, and never posted."""

    @property
    def enough(self) -> int:
        """How many conditions make it fire."""
        return self.at_least or len(self.all_of)


Far = Callable[[float], float]
"""How far a value is from normal, see ``Metric.distance``."""


class ConditionMatch(msgspec.Struct, array_like=True):
    """A rule's last episode at or above the level of a condition."""

    at: Ms
    """When the level was reached."""
    level: Level
    """The highest level since then."""
    value: float
    """The value at ``at``, in the unit of the rule's metric."""
    opened_at: Ms
    """When the episode began."""
    until: Ms | None = None
    """When the episode ended or was last seen before a hole; None while it lasts."""
    cut: bool = False
    """A hole ended it: nobody knows whether it was over at ``until``."""


class Worst(msgspec.Struct, array_like=True):
    """How bad a rule has been while a composite fired that shows it."""

    extreme: float
    """Its worst value, in the unit of the rule's metric."""
    extreme_at: Ms
    longs: float | None
    """Of ``extreme``, see ``Reading.longs``."""
    reported: float
    """``extreme`` as it was at the composite's last turn."""
    level: int
    """The highest level that any of its episodes had then; 0: none was open."""
    opened_at: Ms
    """When its newest episode began."""


class CompositeState(msgspec.Struct, array_like=True):
    """The state of a composite on one asset. Owned by the engine, changed by its methods alone.

    A condition is named by its place in ``all_of``.
    """

    matches: dict[str, dict[int, ConditionMatch]] = {}
    """Rule → condition → its last match."""
    firing: bool = False
    fired_at: Ms | None = None
    """When it last fired."""
    ended_at: Ms | None = None
    """When that ended; None: it fires, or never did."""
    chain: dict[int, tuple[str, ConditionMatch]] = {}
    """Condition → the rule that fulfilled it first since it fired, and a copy of its match."""
    reported: dict[int, Level] = {}
    """Condition → the highest level that any of its rules had reached by the last turn."""
    needed: int = 0
    """How many conditions made it fire."""
    most: int = 0
    """The largest number of conditions that held at once since it fired."""
    most_at: Ms = 0
    turns: int = 0
    """How many turns it took since it fired, its opening included."""
    history: list[Ms] = []
    """All firings since ``record_from``."""
    record_from: Ms = 0
    worst: dict[str, Worst] = {}
    """Rule → how bad it has been since it fired, of the rules that its post shows."""
    risen: int = 0
    """The highest level of what it hid since it fired; 0: none was above its own."""
    cause: Cause | None = None
    """The cause at its last turn, the end excepted; None: unknown."""

    def level(self, spec: Composite) -> Level:
        """The level at which it fires, or fired last."""
        return max(spec.level, Level(self.risen)) if self.risen else spec.level

    def holding(
        self, spec: Composite, now: Ms, without: Container[str] = ()
    ) -> dict[int, tuple[str, ConditionMatch]]:
        """The conditions reached within the last ``within``, each with its earliest match.

        ``without``: rules that do not count.
        """
        first: dict[int, tuple[str, ConditionMatch]] = {}
        for condition, rule, match in self._matches(spec, now):
            if rule in without:
                continue
            if condition not in first or match.at < first[condition][1].at:
                first[condition] = (rule, match)
        return first

    def interrupt(self, rule: str, at: Ms) -> None:
        """A rule with an open episode was last judged at ``at``, before a hole."""
        for match in self.matches.get(rule, {}).values():
            if match.until is None:
                match.until, match.cut = at, True

    def resume(self, rule: str, conditions: Mapping[int, Level], match: ConditionMatch) -> bool:
        """After a hole an open episode has reached ``match.level`` again.

        True if that fulfils a condition anew.
        """
        matches = self.matches.setdefault(rule, {})
        anew = False
        for condition, level in conditions.items():
            before = matches.get(condition)
            if match.level >= level and (before is None or before.until is not None):
                matches[condition] = msgspec.structs.replace(match)
                anew = True
        return anew

    def hear(
        self, rule: str, conditions: Mapping[int, Level], opened_at: Ms, step: Transition, now: Ms
    ) -> bool:
        """A rule took a step. ``conditions``: those that it may fulfil, with their levels.

        True if the step reached the level of a condition, or a higher one.
        """
        matches = self.matches.setdefault(rule, {})
        reached = False
        for condition, level in conditions.items():
            match = matches.get(condition)
            lasts = match is not None and match.until is None
            if step.turn is Turn.CLOSE:
                if match is not None and lasts:
                    match.until = now
                elif match is not None:
                    match.cut = False
            elif step.level >= level and not lasts:
                matches[condition] = ConditionMatch(now, step.level, step.value, opened_at)
                reached = True
            elif match is not None and step.level > match.level:
                match.level = step.level
                reached = True
        return reached

    def judge(
        self,
        spec: Composite,
        now: Ms,
        watched: int,
        known: Callable[[], int],
        reached: bool,
        *,
        worse: bool = False,
        dark: Mapping[str, Ms] = {},
        hidden: int = 0,
    ) -> Turn | None:
        """The turn that follows: it fires, rises, gets worse or ends; None: nothing changes.

        ``watched``: the conditions that a rule watches on this asset, and ``known``: those of them
        that can be judged now, as bits. ``reached``: a level was just reached. ``worse``: a value
        in its post has become much worse. ``dark``: the rules with an open episode that have not
        been judged for longer than a gap, each with the time of its last value. ``hidden``: the
        highest level of what it hides: while it fires of what was just reached, else of all that
        is open; 0: none.
        """
        for rule, at in dark.items():
            self.interrupt(rule, at)
        if self.firing:
            return self._go_on(spec, now, known, reached, worse, hidden)
        holding = self.holding(spec, now, without=dark)
        if not reached or len(holding) < min(_LEAST, spec.enough):
            return None
        if self.fired_at is not None:
            # of what fired before the clock was set back and ended after it, the end has a date
            ended_at = self.fired_at if self.ended_at is None else self.ended_at
            if now - min(self.fired_at, ended_at) < spec.cooldown:
                return None
        unknown = watched & ~known()
        blind = sum(unknown >> c & 1 and c not in holding for c in range(len(spec.all_of)))
        needed = max(min(_LEAST, spec.enough), spec.enough - blind)
        if len(holding) < needed:
            return None
        self.history = [at for at in self.history if now - at < HISTORY]
        self.history.append(now)
        self.record_from = max(self.record_from, now - HISTORY)
        self.firing, self.fired_at, self.ended_at = True, now, None
        self.needed, self.turns = needed, 1
        self.most, self.most_at = len(holding), now
        self.chain, self.reported, self.worst, self.risen = {}, {}, {}, hidden
        self._report(holding, self._levels(spec, now))
        return Turn.OPEN

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: nothing was later.

        While it fires, ``fired_at`` is part of the key of its episode, and stays.
        """
        matches = [match for matches in self.matches.values() for match in matches.values()]
        for match in (*matches, *(match for _, match in self.chain.values())):
            match.at = min(match.at, now)
            match.until = None if match.until is None else min(match.until, now)
        key = self.fired_at if self.firing else None
        self.history = [at if at == key else min(at, now) for at in self.history]
        if self.fired_at is not None and not self.firing:
            self.fired_at = min(self.fired_at, now)
        self.ended_at = None if self.ended_at is None else min(self.ended_at, now)
        self.most_at = min(self.most_at, now)
        self.record_from = min(self.record_from, now)
        for worst in self.worst.values():
            worst.extreme_at = min(worst.extreme_at, now)

    def report(self, rule: str, episode: Episode) -> None:
        """The composite takes a turn that shows how bad this rule has been up to now."""
        worst = self.worst.get(rule)
        if worst is None:
            worst = self.worst[rule] = _worst(episode, episode.extreme)
        worst.reported = worst.extreme
        worst.level = max(worst.level, episode.level)

    def note(
        self, spec: Composite, part: Rule, episode: Episode, reading: Reading, now: Ms, far: Far
    ) -> bool:
        """A value of a rule with an open episode, while the composite fires.

        True if that is a turn of the composite: the value is ``repost_if`` times as far from
        normal as the one in its last turn, or, of a rule that is hidden and no condition, the
        level is at least its own. ``far``: how far from normal a value is.
        """
        value, sign = reading.value, -1 if part.fires == "below" else 1
        worst = self.worst.get(part.name)
        folded = all(family != part.family for family, _ in spec.all_of)
        if worst is None:
            if folded:
                worst = self.worst[part.name] = _worst(episode, value)
                return episode.level >= spec.level
            return False  # another window of a condition: the post shows one of them
        worst.opened_at = episode.opened_at
        if sign * value > sign * worst.extreme:
            worst.extreme, worst.extreme_at, worst.longs = value, now, reading.longs
        if folded and spec.level <= episode.level > worst.level:
            return True
        much = far(worst.reported) * part.repost_if
        return sign * value > sign * worst.reported and 0 < much <= far(value)

    def hides(self, spec: Composite, family: str, level: Level, now: Ms) -> bool:
        """Whether it hides that family's alerts at ``level`` now.

        A composite that is never posted hides nothing, and none hides what is above its level.
        """
        if family not in spec.hides or not spec.post or level > self.level(spec):
            return False
        if self.firing:
            return True
        ended_lately = self.ended_at is not None and now - self.ended_at < spec.hold
        return ended_lately and level < Level.CRITICAL

    def _go_on(
        self,
        spec: Composite,
        now: Ms,
        known: Callable[[], int],
        reached: bool,
        worse: bool,
        hidden: int,
    ) -> Turn | None:
        holding = self.holding(spec, now)
        if len(holding) > self.most:
            self.most, self.most_at = len(holding), now
        rises = hidden > self.level(spec)
        levels = self._levels(spec, now) if reached or worse or rises else {}
        higher = any(level > self.reported.get(condition, 0) for condition, level in levels.items())
        if rises or higher or worse:
            self.risen = max(self.risen, hidden)
            self.turns += 1
            self._report(holding, levels)
            return Turn.UP if rises else Turn.WORSE
        if len(holding) < self.needed and self._is_over(holding, known()):
            self.firing, self.ended_at = False, now
            self.turns += 1
            return Turn.CLOSE
        return None

    def _is_over(self, holding: Collection[int], known: int) -> bool:
        """Whether too few conditions hold, whatever those may be that cannot be judged now.

        ``holding``: the conditions that held lately, fewer than needed; ``known``: those that can
        be judged, as bits.
        """
        unsure = {
            condition
            for matches in self.matches.values()
            for condition, match in matches.items()
            if match.cut and condition in self.chain and condition not in holding
            and not known >> condition & 1
        }  # fmt: skip
        return bool(known) and (not holding or len(holding) + len(unsure) < self.needed)

    def _matches(self, spec: Composite, now: Ms) -> Iterator[tuple[int, str, ConditionMatch]]:
        for rule, matches in self.matches.items():
            for condition, match in matches.items():
                if match.until is None or now - match.until < spec.within:
                    yield condition, rule, match

    def _levels(self, spec: Composite, now: Ms) -> dict[int, Level]:
        levels: dict[int, Level] = {}
        for condition, _, match in self._matches(spec, now):
            levels[condition] = max(match.level, levels.get(condition, match.level))
        return levels

    def _report(
        self, holding: Mapping[int, tuple[str, ConditionMatch]], levels: Mapping[int, Level]
    ) -> None:
        for condition, (rule, match) in holding.items():
            self.chain.setdefault(condition, (rule, msgspec.structs.replace(match)))
        for condition, level in levels.items():
            self.reported[condition] = max(level, self.reported.get(condition, level))


def _worst(episode: Episode, last_value: float) -> Worst:
    return Worst(
        extreme=episode.extreme,
        extreme_at=episode.extreme_at,
        longs=episode.extreme_longs,
        reported=last_value,
        level=episode.level,
        opened_at=episode.opened_at,
    )
