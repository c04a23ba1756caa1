"""Rule tests: series of values in, turns out, through the judge that live values go through.

A test replaces the metric by a series and covers only the rule: levels, ``for``, ``clear``, holes,
cool-down; of a composite also when it rises and gets worse. It does not cover what comes before
(how a metric makes a value of events, which venues are in it, when these are stale, bounds,
baselines; a floor counts as reached unless the test gives ``size_musd``) nor what comes after
(grouping, hiding by composites, silences, quiet hours and the budget of posts).

Live, a rule is judged when an event comes and each second while it is awake; here, when a value
comes. Only charged funding is judged every minute between two settlements too, as it is live: each
value of such a rule is one settlement.

Of a composite, rules without a series count as not watched. A metric of ``when`` without a series
is unknown. The cause follows from price and open interest.
"""

from collections.abc import Iterator, Sequence
from difflib import ndiff
from itertools import groupby
from math import inf

import msgspec

from bot.config import Settings
from bot.config.testfile import RuleTest
from bot.config.values import Expected, Values
from rules.alerts import CAUSES, Alert, AlertOrNotice
from rules.cause import cause
from rules.judge import Judge
from rules.market import View
from rules.metric import Reading, SuppliedMetric
from rules.metrics import cause_asked_by, metric
from rules.metrics.cause import CauseMetric
from rules.records import Trail
from rules.rule import Rule
from rules.watchlist import CompositeInstance, RuleInstance
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


class _SeriesMetric(SuppliedMetric):
    """A metric whose values are those of a test's series, one each ``test.every``."""

    def __init__(self, name: str, values: Values, test: RuleTest, settles: bool = False) -> None:
        super().__init__(metric(name))
        self._values = values
        self._every = test.every
        self._settles = settles
        self._size_musd = inf if test.size_musd is None else test.size_musd

    def value(self, view: View, now: Ms) -> Reading | None:
        """The value that came last."""
        place = (now - START) // self._every
        value = self._values[place] if place < len(self._values) else None
        if value is None:
            return None
        return Reading(
            value=value,
            floor_musd=self._size_musd,
            settled_at=START + place * self._every if self._settles else None,
            interval_ms=self._every if self._settles else None,
        )


class _SeriesCause(SuppliedMetric):
    """The cause that follows from a test's values of price and open interest, one of which may be
    the rule's own; liquidations and funding are not known."""

    def __init__(self, of: CauseMetric, own: _SeriesMetric, test: RuleTest) -> None:
        super().__init__(of)
        self._window = of.window
        self._moves, self._interest = (
            own if name == own.name else _SeriesMetric(name, test.when.get(name, ()), test)
            for name in (of.moves.name, of.interest.name)
        )

    def value(self, view: View, now: Ms) -> Reading | None:
        """The number of the cause."""
        moved, held = self._moves.value(view, now), self._interest.value(view, now)
        if moved is None or held is None:
            return None
        return Reading(value=float(CAUSES.index(cause(self._window, moved.value, held.value))))


def run(test: RuleTest, settings: Settings) -> RuleTestOutcome:
    """Play the test's series to its rule, or to the parts of its composite."""
    spec = next((spec for spec in settings.composites if spec.name == test.rule), None)
    view = View(test.asset)
    rules = [rule for rule in settings.rules if rule.name in test.series]
    if spec is None:
        # what it would post, were it posted: a rule that is never posted is tested like any other
        rules = [msgspec.structs.replace(rule, post=True) for rule in rules]
    instances = [_watch(rule, view, test) for rule in rules]
    composites: list[CompositeInstance] = []
    if spec is not None:
        composite = CompositeInstance(spec, test.asset, instances, START)
        composites += [composite] if composite.possible else []
    judge, got = Judge(lambda _: composites), list[Expected]()
    for at, together in groupby(_looks(instances, test), key=lambda look: look[0]):
        now = START + at
        events = [s for _, n in together for s in _look(judge, instances[n], now)]
        got += [
            Expected(at, alert.turn, alert.level, held=not alert.post and spec is None)
            for alert in (*events, *judge.tick(now))
            if isinstance(alert, Alert) and alert.rule == test.rule
        ]
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


def _watch(rule: Rule, view: View, test: RuleTest) -> RuleInstance:
    row = rule.row_of(test.asset)
    if row is None:
        raise ValueError(f"{rule.name} does not watch {test.asset}")
    instrument = test.asset if rule.scope == "instrument" else ""
    own = _SeriesMetric(rule.metric, test.series[rule.name], test, bool(rule.settlements))
    others = [
        _SeriesMetric(when.metric, test.when.get(when.metric, ()), test) for when in rule.when
    ]
    of = cause_asked_by(rule) if rule.cause else None
    causes = None if of is None else _SeriesCause(of, own, test)
    return RuleInstance(rule, row, own, view, instrument, Trail(), others, causes)


def _looks(instances: Sequence[RuleInstance], test: RuleTest) -> list[tuple[Ms, int]]:
    """(time since the start, which rule): one a value; of settlements also one a ``max_gap``."""
    looks: list[tuple[Ms, int]] = []
    for n, instance in enumerate(instances):
        pause = min(instance.rule.max_gap, test.every) if instance.rule.settlements else test.every
        looks += [
            (at, n) for at in range(0, len(test.series[instance.rule.name]) * test.every, pause)
        ]
    return sorted(looks)


def _look(judge: Judge, instance: RuleInstance, now: Ms) -> list[AlertOrNotice]:
    reading = instance.metric.value(instance.view, now)
    if reading is None or instance.rest(now, reading):
        return []
    return judge.move(instance, reading, now, now)
