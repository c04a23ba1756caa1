"""Several things at once: conditions on other rules' episodes that together are one bigger event.

Invariants:
- a composite fires only when a rule has just reached a level, never by time and never by a hole;
- what cannot be judged neither helps nor blocks, but one condition alone is never a composite;
- it ends when too few conditions held within ``within``, and only while something can be judged;
- while it fires, what gets worse is told as part of it, since its parts are hidden.
"""

from collections.abc import Callable, Iterator, Mapping

import msgspec

from rules.alerts import Level, Turn
from rules.episode import Step
from streams.events import Ms

HISTORY: Ms = 400 * 86_400_000
"""How long firings are remembered."""

_LEAST = 2


class Composite(msgspec.Struct, frozen=True, kw_only=True):
    """Fires at ``level`` when enough of ``all_of`` were reached within the last ``within``.

    ``all_of``: (family, level) of other rules, each reached by any window of that family on the
    same asset. ``at_least``: how many of them are enough; 0: all. ``hides``: the families whose
    alerts on that asset are told as part of this one, while it fires and for ``hold`` after.
    ``cooldown``: least time between two firings. Durations in Ms.
    """

    name: str
    level: Level
    within: Ms
    all_of: tuple[tuple[str, Level], ...]
    at_least: int = 0
    hides: tuple[str, ...] = ()
    hold: Ms = 1_800_000
    cooldown: Ms = 7_200_000
    post: bool = True

    @property
    def enough(self) -> int:
        """How many conditions make it fire."""
        return self.at_least or len(self.all_of)


class Spell(msgspec.Struct, array_like=True):
    """A rule's last episode at or above the level of a condition, ``until`` None while it lasts."""

    at: Ms
    level: Level
    value: float
    opened_at: Ms
    until: Ms | None = None


class Gathering(msgspec.Struct, array_like=True):
    """The state of a composite on one asset. Owned by the engine, changed by its methods alone.

    ``spells``: rule → condition (its place in ``all_of``) → spell. ``fired_at``: when it last
    fired; ``firing``: it still does, else it ended at ``ended_at``. ``chain``: condition → the
    rule that fulfilled it first, and its spell then. ``told``: condition → the highest level that
    any rule had reached when it was told. ``needed``: how many conditions made it fire. ``most``:
    how many held at best, at ``most_at``. ``history``: all firings since ``record_from``.
    """

    spells: dict[str, dict[int, Spell]] = {}
    firing: bool = False
    fired_at: Ms | None = None
    ended_at: Ms | None = None
    chain: dict[int, tuple[str, Spell]] = {}
    told: dict[int, Level] = {}
    needed: int = 0
    most: int = 0
    most_at: Ms = 0
    turns: int = 0
    history: list[Ms] = []
    record_from: Ms = 0

    def holding(self, spec: Composite, now: Ms) -> dict[int, tuple[str, Spell]]:
        """The conditions reached within the last ``within``: each with its earliest rule."""
        found: dict[int, tuple[str, Spell]] = {}
        for condition, rule, spell in self._spells(spec, now):
            if condition not in found or spell.at < found[condition][1].at:
                found[condition] = (rule, spell)
        return found

    def hear(
        self, rule: str, conditions: Mapping[int, Level], opened_at: Ms, step: Step, now: Ms
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
                spells[condition] = Spell(now, step.level, step.value, opened_at)
                reached = True
            elif spell is not None and step.level > spell.level:
                spell.level = step.level
                reached = True
        return reached

    def judge(
        self, spec: Composite, now: Ms, watched: int, known: Callable[[], int], reached: bool
    ) -> Turn | None:
        """What follows: it fires, says more, or ends.

        ``watched``: the conditions that a rule watches on this asset, and ``known``: those of them
        that can be judged now, as bits. ``reached``: a level was just reached.
        """
        holding = self.holding(spec, now)
        if self.firing:
            return self._go_on(spec, now, holding, known, reached)
        if not reached or len(holding) < min(_LEAST, spec.enough):
            return None
        if self.fired_at is not None and now - self.fired_at < spec.cooldown:
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
        self.chain, self.told = {}, {}
        self._tell(holding, self._levels(spec, now))
        return Turn.OPEN

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: nothing was later."""
        for spells in self.spells.values():
            for spell in spells.values():
                spell.at = min(spell.at, now)
                spell.until = None if spell.until is None else min(spell.until, now)
        self.fired_at = None if self.fired_at is None else min(self.fired_at, now)
        self.ended_at = None if self.ended_at is None else min(self.ended_at, now)
        self.history = [min(at, now) for at in self.history]
        self.record_from = min(self.record_from, now)

    def hides(self, spec: Composite, family: str, now: Ms) -> bool:
        """Whether it tells of that family's alerts now. What is never posted tells of nothing."""
        if family not in spec.hides or not spec.post:
            return False
        return self.firing or (self.ended_at is not None and now - self.ended_at < spec.hold)

    def _go_on(
        self,
        spec: Composite,
        now: Ms,
        holding: Mapping[int, tuple[str, Spell]],
        known: Callable[[], int],
        reached: bool,
    ) -> Turn | None:
        if len(holding) > self.most:
            self.most, self.most_at = len(holding), now
        levels = self._levels(spec, now) if reached else {}
        if any(level > self.told.get(condition, 0) for condition, level in levels.items()):
            self.turns += 1
            self._tell(holding, levels)
            return Turn.WORSE
        if len(holding) < self.needed and known():
            self.firing, self.ended_at = False, now
            self.turns += 1
            return Turn.CLOSE
        return None

    def _spells(self, spec: Composite, now: Ms) -> Iterator[tuple[int, str, Spell]]:
        for rule, spells in self.spells.items():
            for condition, spell in spells.items():
                if spell.until is None or now - spell.until < spec.within:
                    yield condition, rule, spell

    def _levels(self, spec: Composite, now: Ms) -> dict[int, Level]:
        levels: dict[int, Level] = {}
        for condition, _, spell in self._spells(spec, now):
            levels[condition] = max(spell.level, levels.get(condition, spell.level))
        return levels

    def _tell(self, holding: Mapping[int, tuple[str, Spell]], levels: Mapping[int, Level]) -> None:
        for condition, (rule, spell) in holding.items():
            self.chain.setdefault(condition, (rule, msgspec.structs.replace(spell)))
        for condition, level in levels.items():
            self.told[condition] = max(level, self.told.get(condition, level))
