"""Rule tests as data: values in, turns out, through the same step that judges live values.

A test replaces the metric by a series and asks only the rule: levels, ``for``, ``clear``, holes,
cool-down. It does not cover what lies before (how a metric makes a value of events, which venues
are in it, when it calls them stale, bounds, baselines; a floor counts as reached unless the test
gives ``size_musd``) nor what lies after (grouping, hiding by composites, silences, quiet hours and
the budget of posts). Live, a rule looks when an event comes and each second while it is awake; here
it looks when a value comes. Only charged funding is asked every minute between two settlements, as
it is live: each value of such a rule is one settlement.
Of a composite, rules without a series count as not watched.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import ndiff
from itertools import groupby
from math import inf

import msgspec

from bot.config import Settings
from bot.config.testfile import RuleTest
from bot.config.values import Expected
from rules.alerts import Level
from rules.composite import Composite, CompositeState
from rules.episode import Episode, Transition, step
from rules.metric import Reading
from rules.metrics import metric
from rules.rule import Row, Rule
from streams.events import Ms

START: Ms = 1_790_006_400_000
"""A full hour, as good as any other."""


class RuleTestOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """A test that was run, and what it got."""

    test: RuleTest
    got: tuple[Expected, ...]

    @property
    def passed(self) -> bool:
        """Whether exactly the expected turns happened, in that order."""
        return self.got == self.test.expect


class _Played:
    """One rule of a test: its episode, moved on by values."""

    def __init__(self, rule: Rule, row: Row, test: RuleTest) -> None:
        self.rule = rule
        self.row = row
        self.episode = Episode()
        self._distance: Callable[[float], float] = metric(rule.metric).distance
        self._every = test.every
        self._size = inf if test.size_musd is None else test.size_musd

    def reading(self, value: float | None, at: Ms) -> Reading | None:
        """A value of the series that came at ``at``."""
        if value is None:
            return None
        settled = (at, self._every) if self.rule.settlements else (None, None)
        return Reading(
            value=value, floor_musd=self._size, settled_at=settled[0], interval_ms=settled[1]
        )

    def looks(self, test: RuleTest) -> Iterator[tuple[Ms, Reading | None]]:
        """(time since the start, reading): one a value; of settlements also one a minute."""
        pause = self.rule.max_gap if self.rule.settlements else test.every
        for n, value in enumerate(test.series[self.rule.name]):
            came = n * test.every
            reading = self.reading(value, START + came)
            for at in range(came, came + test.every, min(pause, test.every)):
                yield at, reading

    def look(self, reading: Reading | None, now: Ms) -> list[Transition]:
        """One step of the episode."""
        return step(self.rule, self.row, self.episode, now, reading, self._distance)

    def heard(
        self,
        gathering: CompositeState,
        conditions: dict[int, Level],
        reading: Reading | None,
        now: Ms,
    ) -> bool:
        """One step that a composite hears of. True if a level of ``conditions`` was reached."""
        reached = False
        for one in self.look(reading, now):
            opened_at = self.episode.opened_at
            reached |= gathering.hear(self.rule.name, conditions, opened_at, one, now)
        return reached


def run(test: RuleTest, settings: Settings) -> RuleTestOutcome:
    """Plays the test's series to its rule."""
    rules = {rule.name: rule for rule in settings.rules}
    played = [_played(rules[name], test) for name in test.series]
    spec = next((one for one in settings.composites if one.name == test.rule), None)
    got = _together(spec, played, test) if spec else _single(played[0], test)
    return RuleTestOutcome(test=test, got=tuple(got))


def run_all(tests: Sequence[RuleTest], settings: Settings) -> list[RuleTestOutcome]:
    """All of them, in order."""
    return [run(test, settings) for test in tests]


def report(outcomes: Sequence[RuleTestOutcome]) -> str:
    """A line for each test, below a failed one the difference, and a last line with the count."""
    lines: list[str] = []
    for outcome in outcomes:
        test, mark = outcome.test, "ok    " if outcome.passed else "FAILED"
        lines.append(f"{mark}  {test.rule} {test.asset}: {test.name}")
        if not outcome.passed:
            lines += [f"        {test.place}: - expected, + got", *_difference(outcome)]
    failed = sum(not outcome.passed for outcome in outcomes)
    tests = "1 test" if len(outcomes) == 1 else f"{len(outcomes)} tests"
    return "\n".join([*lines, f"{tests}, {failed or 'none'} failed"])


def _difference(outcome: RuleTestOutcome) -> Iterator[str]:
    expected, got = map(str, outcome.test.expect), map(str, outcome.got)
    for line in ndiff(list(expected), list(got)):
        if not line.startswith("?"):
            yield f"        {line}"


def _played(rule: Rule, test: RuleTest) -> _Played:
    row = rule.row_of(test.asset)
    if row is None:
        raise ValueError(f"{rule.name} does not watch {test.asset}")
    return _Played(rule, row, test)


def _single(played: _Played, test: RuleTest) -> Iterator[Expected]:
    for at, reading in played.looks(test):
        for one in played.look(reading, START + at):
            yield Expected(at, one.turn, one.level, held=not one.post)


def _together(spec: Composite, parts: Sequence[_Played], test: RuleTest) -> Iterator[Expected]:
    """The turns of a composite whose parts are played side by side."""
    gathering, watched = CompositeState(), _bits(spec, parts)
    looks = sorted(
        ((at, n, reading) for n, part in enumerate(parts) for at, reading in part.looks(test)),
        key=lambda look: look[:2],
    )
    live: dict[int, bool] = {}
    for at, together in groupby(looks, key=lambda look: look[0]):
        now, at_once = START + at, list(together)
        live |= {n: reading is not None for _, n, reading in at_once}
        able = _bits(spec, [part for n, part in enumerate(parts) if live.get(n)])
        for _, n, reading in at_once:
            reached = parts[n].heard(gathering, _levels(spec, parts[n]), reading, now)
            turn = gathering.judge(spec, now, watched, lambda able=able: able, reached)
            if turn is not None:
                yield Expected(at, turn, spec.level)


def _levels(spec: Composite, part: _Played) -> dict[int, Level]:
    """The conditions that a rule may fulfil: their place and level."""
    named = enumerate(spec.all_of)
    return {n: level for n, (family, level) in named if family == part.rule.family}


def _bits(spec: Composite, parts: Iterable[_Played]) -> int:
    """The conditions that any of these rules may fulfil, as bits."""
    return sum(1 << n for n in {n for part in parts for n in _levels(spec, part)})
