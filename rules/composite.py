"""Several things at once: conditions on other rules' episodes that together are one bigger event.

Invariants:
- a composite fires only when a rule has just reached a level, never by time and never by a hole;
- what cannot be judged neither helps nor blocks, for as long as it cannot be judged, but one
  condition alone is never a composite;
- a hole ends what was reached before it as of when it was last seen; after it the level must be
  reached again;
- it ends when too few conditions held within ``within``, and only while something can be judged;
- while it fires, what gets worse is told as part of it, since its parts are hidden: a higher level,
  or a value that its rule would post again (``repost_if``);
- its level is never below that of anything it hides: it rises with it, and hides nothing higher;
- once it is over it hides nothing critical: what goes on then is told by its own rule.
"""

from collections.abc import Callable, Container, Iterator, Mapping

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
    """Fires at ``level`` when enough of ``all_of`` were reached within the last ``within``.

    ``level`` is the least: it is as high as the worst of what it hides.
    ``all_of``: (family, level) of other rules, each reached by any window of that family on the
    same asset. ``at_least``: how many of them are enough; 0: all. ``hides``: the families whose
    alerts on that asset are told as part of this one, while it fires and, but for critical ones,
    for ``hold`` after.
    ``cooldown``: least time between two firings. Durations in Ms.
    """

    name: str
    level: Level
    within: Ms
    all_of: tuple[tuple[str, Level], ...]
    at_least: int = 0
    hides: tuple[str, ...] = ()
    hold: Ms = 30 * MINUTE
    cooldown: Ms = 2 * HOUR
    post: bool = True

    @property
    def enough(self) -> int:
        """How many conditions make it fire."""
        return self.at_least or len(self.all_of)


Far = Callable[[float], float]
"""How far a value is from normal, see ``Metric.distance``."""


class ConditionMatch(msgspec.Struct, array_like=True):
    """A rule's last episode at or above the level of a condition, ``until`` None while it lasts."""

    at: Ms
    level: Level
    value: float
    opened_at: Ms
    until: Ms | None = None


class Worst(msgspec.Struct, array_like=True):
    """How bad a rule has been while a composite fired that tells of it."""

    extreme: float
    """Its worst value, in the unit of the rule's metric."""
    extreme_at: Ms
    longs: float | None
    """Of ``extreme``, see ``Reading.longs``."""
    told: float
    """The worst value when the composite last took a turn."""
    level: int
    """The highest level that any of its episodes had then; 0: none was open."""
    opened_at: Ms
    """When its newest episode began."""


class CompositeState(msgspec.Struct, array_like=True):
    """The state of a composite on one asset. Owned by the engine, changed by its methods alone.

    ``spells``: rule → condition (its place in ``all_of``) → spell. ``fired_at``: when it last
    fired; ``firing``: it still does, else it ended at ``ended_at``. ``chain``: condition → the
    rule that fulfilled it first, and its spell then. ``told``: condition → the highest level that
    any rule had reached when it was told. ``needed``: how many conditions made it fire. ``most``:
    how many held at best, at ``most_at``. ``history``: all firings since ``record_from``.
    ``worst``: rule → how bad it has been since it fired, of the rules that it tells of. ``risen``:
    the highest level of what it hid since it fired, 0: none was as high as its own. ``cause``: what
    was happening when it last took a turn but its end.
    """

    spells: dict[str, dict[int, ConditionMatch]] = {}
    firing: bool = False
    fired_at: Ms | None = None
    ended_at: Ms | None = None
    chain: dict[int, tuple[str, ConditionMatch]] = {}
    told: dict[int, Level] = {}
    needed: int = 0
    most: int = 0
    most_at: Ms = 0
    turns: int = 0
    history: list[Ms] = []
    record_from: Ms = 0
    worst: dict[str, Worst] = {}
    risen: int = 0
    cause: Cause | None = None

    def level(self, spec: Composite) -> Level:
        """The level at which it fires, or fired last."""
        return max(spec.level, Level(self.risen)) if self.risen else spec.level

    def holding(
        self, spec: Composite, now: Ms, without: Container[str] = ()
    ) -> dict[int, tuple[str, ConditionMatch]]:
        """The conditions reached within the last ``within``: each with its earliest rule.

        ``without``: rules that count for nothing.
        """
        first: dict[int, tuple[str, ConditionMatch]] = {}
        for condition, rule, spell in self._spells(spec, now):
            if rule in without:
                continue
            if condition not in first or spell.at < first[condition][1].at:
                first[condition] = (rule, spell)
        return first

    def interrupt(self, rule: str, at: Ms) -> None:
        """A rule with an open episode was last judged at ``at``, before a hole."""
        for spell in self.spells.get(rule, {}).values():
            if spell.until is None:
                spell.until = at

    def resume(self, rule: str, conditions: Mapping[int, Level], spell: ConditionMatch) -> bool:
        """After a hole an open episode has reached ``spell.level`` again.

        True if that fulfils a condition anew.
        """
        spells = self.spells.setdefault(rule, {})
        anew = False
        for condition, level in conditions.items():
            before = spells.get(condition)
            if spell.level >= level and (before is None or before.until is not None):
                spells[condition] = msgspec.structs.replace(spell)
                anew = True
        return anew

    def hear(
        self, rule: str, conditions: Mapping[int, Level], opened_at: Ms, step: Transition, now: Ms
    ) -> bool:
        """A rule took a step; ``conditions``: those it may fulfil, with their levels.

        True if it has just reached the level of one, or a higher one.
        """
        spells = self.spells.setdefault(rule, {})
        reached = False
        for condition, level in conditions.items():
            spell = spells.get(condition)
            lasts = spell is not None and spell.until is None
            if step.turn is Turn.CLOSE:
                if spell is not None and lasts:
                    spell.until = now
            elif step.level >= level and not lasts:
                spells[condition] = ConditionMatch(now, step.level, step.value, opened_at)
                reached = True
            elif spell is not None and step.level > spell.level:
                spell.level = step.level
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
        """What follows: it fires, rises, says more, or ends.

        ``watched``: the conditions that a rule watches on this asset, and ``known``: those of them
        that can be judged now, as bits. ``reached``: a level was just reached. ``worse``: a value
        that it tells of has become much worse. ``dark``: the rules with an open episode that have
        not been judged for longer than a gap, each with the time when they last were. ``hidden``:
        the highest level of what it hides: while it fires of what was just reached, else of all
        that is open; 0: none.
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
        self.chain, self.told, self.worst, self.risen = {}, {}, {}, hidden
        self._tell(holding, self._levels(spec, now))
        return Turn.OPEN

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: nothing was later.

        While it fires, ``fired_at`` is part of its name, under which its end is told, and stays.
        """
        spells = [spell for spells in self.spells.values() for spell in spells.values()]
        for spell in (*spells, *(spell for _, spell in self.chain.values())):
            spell.at = min(spell.at, now)
            spell.until = None if spell.until is None else min(spell.until, now)
        name = self.fired_at if self.firing else None
        self.history = [at if at == name else min(at, now) for at in self.history]
        if self.fired_at is not None and not self.firing:
            self.fired_at = min(self.fired_at, now)
        self.ended_at = None if self.ended_at is None else min(self.ended_at, now)
        self.most_at = min(self.most_at, now)
        self.record_from = min(self.record_from, now)
        for worst in self.worst.values():
            worst.extreme_at = min(worst.extreme_at, now)

    def tell(self, rule: str, episode: Episode) -> None:
        """The composite takes a turn, and tells of this rule how bad it has been up to now."""
        worst = self.worst.get(rule)
        if worst is None:
            worst = self.worst[rule] = _worst(episode, episode.extreme)
        worst.told = worst.extreme
        worst.level = max(worst.level, episode.level)

    def note(
        self, spec: Composite, part: Rule, episode: Episode, reading: Reading, now: Ms, far: Far
    ) -> bool:
        """A value of a rule with an open episode, while the composite fires.

        True if the composite must say so: the value is ``repost_if`` times as far from normal as
        what it told, or, of a rule that is hidden and no condition, the level is as high as its
        own. ``far``: how far from normal a value is.
        """
        value, sign = reading.value, -1 if part.fires == "below" else 1
        worst = self.worst.get(part.name)
        folded = all(family != part.family for family, _ in spec.all_of)
        if worst is None:
            if folded:
                worst = self.worst[part.name] = _worst(episode, value)
                return episode.level >= spec.level
            return False  # another window of a condition, which is told by one of them
        worst.opened_at = episode.opened_at
        if sign * value > sign * worst.extreme:
            worst.extreme, worst.extreme_at, worst.longs = value, now, reading.longs
        if folded and spec.level <= episode.level > worst.level:
            return True
        much = far(worst.told) * part.repost_if
        return sign * value > sign * worst.told and 0 < much <= far(value)

    def hides(self, spec: Composite, family: str, level: Level, now: Ms) -> bool:
        """Whether it tells of that family's alerts of ``level`` now.

        What is never posted tells of nothing, and nothing is hidden by something milder.
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
        higher = any(level > self.told.get(condition, 0) for condition, level in levels.items())
        if rises or higher or worse:
            self.risen = max(self.risen, hidden)
            self.turns += 1
            self._tell(holding, levels)
            return Turn.UP if rises else Turn.WORSE
        if len(holding) < self.needed and known():
            self.firing, self.ended_at = False, now
            self.turns += 1
            return Turn.CLOSE
        return None

    def _spells(self, spec: Composite, now: Ms) -> Iterator[tuple[int, str, ConditionMatch]]:
        for rule, spells in self.spells.items():
            for condition, spell in spells.items():
                if spell.until is None or now - spell.until < spec.within:
                    yield condition, rule, spell

    def _levels(self, spec: Composite, now: Ms) -> dict[int, Level]:
        levels: dict[int, Level] = {}
        for condition, _, spell in self._spells(spec, now):
            levels[condition] = max(spell.level, levels.get(condition, spell.level))
        return levels

    def _tell(
        self, holding: Mapping[int, tuple[str, ConditionMatch]], levels: Mapping[int, Level]
    ) -> None:
        for condition, (rule, spell) in holding.items():
            self.chain.setdefault(condition, (rule, msgspec.structs.replace(spell)))
        for condition, level in levels.items():
            self.told[condition] = max(level, self.told.get(condition, level))


def _worst(episode: Episode, last_value: float) -> Worst:
    return Worst(
        extreme=episode.extreme,
        extreme_at=episode.extreme_at,
        longs=episode.extreme_longs,
        told=last_value,
        level=episode.level,
        opened_at=episode.opened_at,
    )
