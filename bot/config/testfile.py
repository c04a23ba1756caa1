"""``[[test]]`` tables → ``RuleTest``, or what is wrong with them. Pure."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from bot.config.markets import Problem
from bot.config.rules import families
from bot.config.schema import TestTable
from bot.config.source import KeyPath, Source
from bot.config.values import Expected, Values
from bot.meant import did_you_mean
from rules.alerts import ALL
from rules.composite import Composite
from rules.metrics import cause_asked_by
from rules.rule import Rule
from streams.durations import compact
from streams.events import Ms


class RuleTest(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule must make of a series of values."""

    name: str
    place: str
    """Where it is written, ``config.tests.toml:12``."""
    rule: str
    """A rule of the engine (``oi_drop:1h``) or a composite."""
    asset: str
    every: Ms
    """The time between two values."""
    series: Mapping[str, Values]
    """Values by rule of the engine; of a composite those of its parts."""
    expect: tuple[Expected, ...]
    size_musd: float | None = None
    """What the rule's least size is compared with; None: large enough."""
    when: Mapping[str, Values] = {}
    """Values by metric, of the metrics in ``when`` and ``cause`` of its rules."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What tests may name."""

    rules: Sequence[Rule]
    composites: Sequence[Composite]

    def composite(self, name: str) -> Composite | None:
        """The composite of that name."""
        return next((composite for composite in self.composites if composite.name == name), None)

    def rule(self, name: str) -> Rule | str:
        """The rule of that name, or of that family if it has one window; else what is wrong."""
        by_family = families(self.rules)
        same = [rule for rule in self.rules if rule.name == name] or by_family.get(name, [])
        if len(same) == 1:
            return same[0]
        if same:
            return f'has several windows: name one, such as "{same[0].name}"'
        known = [rule.name for rule in self.rules] + list(by_family)
        known += [composite.name for composite in self.composites]
        return f'there is no rule "{name}"{did_you_mean(name, known)}'


def rule_tests(
    tables: Sequence[TestTable], known: Known, source: Source
) -> tuple[tuple[RuleTest, ...], list[Problem]]:
    """The tests of one file, and what is wrong with them."""
    tests: list[RuleTest] = []
    problems: list[Problem] = []
    for n, table in enumerate(tables):
        at: KeyPath = ("test", n)
        wrong = list(_check(table, known))
        problems += [((*at, key), text) for key, text in wrong]
        if not wrong:
            _, path, line = source.spot(at)
            place = f"{path.name}:{line}" if line else path.name
            tests.append(_test(table, known, place))
    return tuple(tests), problems


def _test(table: TestTable, known: Known, place: str) -> RuleTest:
    composite = known.composite(table.rule)
    named = [(_rule(known, name or table.rule), values) for name, values in table.series.items()]
    first = named[0][0]
    return RuleTest(
        name=table.name,
        place=place,
        rule=composite.name if composite else first.name,
        asset=_asset(table, first),
        every=table.every,
        series={rule.name: values for rule, values in named},
        expect=tuple(table.expect),
        size_musd=table.size_musd,
        when=table.when,
    )


def _rule(known: Known, name: str) -> Rule:
    rule = known.rule(name)
    if isinstance(rule, str):
        raise ValueError(rule)
    return rule


def _asset(table: TestTable, rule: Rule) -> str:
    return ALL if rule.scope == "market" else table.asset or table.symbol or ""


def _check(table: TestTable, known: Known) -> Iterator[tuple[str, str]]:
    composite, rules = known.composite(table.rule), list[Rule]()
    if composite:
        yield from _check_parts(table, composite)
    elif "" not in table.series:
        yield "series", f"is one series, since {table.rule} is not a composite"
        return
    parts = {family for family, _ in composite.all_of} if composite else set[str]()
    for name in table.series:
        if not composite or name.partition(":")[0] in parts:
            rule = known.rule(name or table.rule)
            if isinstance(rule, str):
                yield ("series" if name else "rule"), rule
            else:
                rules.append(rule)
    for rule in rules:
        yield from _check_rule(table, rule)
    if rules:
        yield from _check_when(table, rules)
    yield from _check_expected(table)


def _check_when(table: TestTable, rules: Sequence[Rule]) -> Iterator[tuple[str, str]]:
    """Metrics that no rule asks for; one that a rule asks for and that has no series is unknown."""
    asked = list(dict.fromkeys(name for rule in rules for name in _asked(rule)))
    for name in table.when:
        if name not in asked:
            names = " and ".join(dict.fromkeys(rule.name for rule in rules))
            yield "when", f"{names} does not ask {name}{did_you_mean(name, asked)}"


def _asked(rule: Rule) -> Iterator[str]:
    """The metrics that a test may give beside the rule's own."""
    yield from (condition.metric for condition in rule.when)
    if rule.cause and (of := cause_asked_by(rule)) is not None:
        yield from (name for name in (of.moves.name, of.interest.name) if name != rule.metric)


def _check_parts(table: TestTable, composite: Composite) -> Iterator[tuple[str, str]]:
    parts = [family for family, _ in composite.all_of]
    if "" in table.series:
        yield "series", f'needs a series for each part: {{ {parts[0]} = "…", … }}'
    for name in table.series:
        if name and name.partition(":")[0] not in parts:
            yield "series", f"{name} is not a part of {composite.name}{did_you_mean(name, parts)}"


def _check_rule(table: TestTable, rule: Rule) -> Iterator[tuple[str, str]]:
    asset = _asset(table, rule)
    if table.asset is not None and table.symbol is not None:
        yield "symbol", "is another word for asset: give one of them"
    elif not asset:
        yield "asset", "is missing"
    elif rule.row_of(asset) is None:
        near = did_you_mean(asset, list(rule.rows))
        yield "asset" if table.asset else "symbol", f"{rule.name} does not watch {asset}{near}"
    if not rule.settlements and table.every > rule.max_gap:
        yield (
            "every",
            f"must be at most {compact(rule.max_gap)}: {rule.name} takes a longer time without a"
            " value for a hole",
        )


def _check_expected(table: TestTable) -> Iterator[tuple[str, str]]:
    end = max(map(len, table.series.values())) * table.every
    for turn in table.expect:
        if turn.at >= end:
            yield "expect", f'"{turn}" is after the series, which ends at {compact(end)}'
