"""Composite tables of config.toml → ``rules.composite.Composite``, or what is wrong. Pure."""

from collections.abc import Collection, Iterator

from bot.config_markets import Problem
from bot.config_schema import CompositeTable, File
from bot.config_values import did_you_mean
from rules.composite import Composite
from rules.rule import Rule

MARKS = frozenset({"all_of", "any_of", "at_least", "within", "hides", "level"})
"""A rule's table without a metric and with one of these keys is a composite."""


def composites(file: File, named: Collection[str]) -> tuple[tuple[Composite, ...], list[Problem]]:
    """The composites of a file, and what is wrong with them.

    ``named``: all rules and composites that the file names, the faulty ones too.
    """
    found: list[Composite] = []
    problems: list[Problem] = []
    rules = [name for name in named if name not in file.composites]
    for name, table in file.composites.items():
        wrong = list(_check(name, table, rules, named))
        problems += wrong
        if not wrong:
            found.append(_composite(name, table))
    return tuple(found), problems


def _composite(name: str, table: CompositeTable) -> Composite:
    return Composite(
        name=name,
        level=table.level,
        within=table.within,
        all_of=tuple(table.all_of or table.any_of),
        at_least=table.at_least or 0,
        hides=tuple(table.hides),
        hold=table.hold,
        cooldown=table.cooldown,
        post=table.post,
    )


def _check(
    name: str, table: CompositeTable, rules: list[str], named: Collection[str]
) -> Iterator[Problem]:
    path = ("rules", name)
    if bool(table.all_of) == bool(table.any_of):
        yield path, "needs conditions: give either all_of, or any_of with at_least"
        return
    key = "all_of" if table.all_of else "any_of"
    parts = [family for family, _ in table.all_of or table.any_of]
    for at, families in ((key, parts), ("hides", table.hides)):
        for family in dict.fromkeys(families):
            if family not in rules:
                yield (*path, at), _unknown(family, rules, named)
            elif families.count(family) > 1:
                yield (*path, at), f"{family} stands in it twice"
    yield from _at_least(path, table, len(parts))


def _at_least(path: tuple[str, ...], table: CompositeTable, count: int) -> Iterator[Problem]:
    if table.all_of and table.at_least is not None:
        yield (*path, "at_least"), "goes with any_of; all_of means all of them"
    if table.any_of and table.at_least is None:
        yield path, "needs at_least: how many of any_of are enough"
    elif table.any_of and table.at_least and table.at_least > count:
        yield (*path, "at_least"), f"must be at most {count}, the number of conditions"


def _unknown(family: str, rules: list[str], named: Collection[str]) -> str:
    if family in named:
        return f"{family} is a composite: name rules with a metric"
    return f'there is no rule "{family}"{did_you_mean(family, rules)}'


def families(rules: Collection[Rule]) -> dict[str, list[Rule]]:
    """The rules by the name that the file gives them: a family has a rule for each window."""
    found: dict[str, list[Rule]] = {}
    for rule in rules:
        found.setdefault(rule.family, []).append(rule)
    return found
