"""The numbers that hold for one asset and where each comes from, for ``lowtide show``."""

from collections.abc import Iterator
from typing import NamedTuple

from bot.config import Settings
from bot.config_values import LEVELS, did_you_mean
from bot.describe import composite_in_words, hold_in_words
from bot.lang.en import length
from rules.alerts import ALL
from rules.composite import Composite
from rules.rule import Row, Rule

_DEFAULT = "default"


class _Line(NamedTuple):
    """One number: its key in the file, the value in words, where it comes from."""

    key: str
    value: str
    origin: str


def show(settings: Settings, name: str) -> str:
    """Every rule that watches the asset ``name`` (or ``ALL``, the whole market), number by number.

    Raises ValueError if nothing watches it.
    """
    asset = name.upper()
    rules = [(rule, row) for rule in settings.rules if (row := rule.row_of(asset)) is not None]
    rules = [(rule, row) for rule, row in rules if (rule.scope == "market") == (asset == ALL)]
    listed = [*settings.tiers.listed, ALL]
    if not rules:
        raise ValueError(f"no rule watches {asset}{did_you_mean(asset, listed)}")
    blocks = [_head(settings, asset)]
    blocks += [_block(settings, rule, row, asset) for rule, row in rules]
    blocks += [
        _lines_of(composite_in_words(one), list(_composite(settings, one)), one.name)
        for one in settings.composites
        if _watched(one, {rule.family for rule, _ in rules})
    ]
    return "\n\n".join(blocks)


def _watched(composite: Composite, families: set[str]) -> bool:
    """Whether enough of its conditions can be judged for the asset."""
    known = sum(family in families for family, _ in composite.all_of)
    return known >= (composite.enough)


def _head(settings: Settings, asset: str) -> str:
    where = settings.tiers
    if asset == ALL:
        return "the whole market: all contracts that are watched"
    named = [*(t for t in where.names(asset)[1:-1]), where.tier(asset)]
    text = f"{asset}: {', '.join(named)}"
    if asset in where.listed:
        return text
    return f"{text}, if it is among the next {where.tail} by open interest"


def _block(settings: Settings, rule: Rule, row: Row, asset: str) -> str:
    first = f"{rule.metric} {rule.fires} the level"
    if not rule.post:
        first += ", never posted"
    return _lines_of(first, list(_lines(settings, rule, row, asset)), rule.name)


def _lines_of(first: str, lines: list[_Line], name: str) -> str:
    keys, values = (max(len(line[n]) for line in lines) for n in (0, 1))
    text = [f"  {key:{keys}}  {value:>{values}}  {at}" for key, value, at in lines]
    return "\n".join([f"{name}: {first}", *text])


def _lines(settings: Settings, rule: Rule, row: Row, asset: str) -> Iterator[_Line]:
    values = {name: row.levels[level] for name, level in LEVELS.items() if level in row.levels}
    for key, value in {**values, "clear": row.clear}.items():
        yield _Line(key, f"{value:g}", origin_of_level(settings, rule, asset, key))
    hold = hold_in_words(rule).strip(" ,").removeprefix("for ")
    yield _Line("for", hold or "at once", _of_rule(settings, rule, "for"))
    for key, ms in (("clear_for", rule.clear_for), ("cooldown", rule.cooldown)):
        yield _Line(key, length(ms), _of_rule(settings, rule, key))
    yield _Line("repost_if", f"{rule.repost_if:g}", _of_rule(settings, rule, "repost_if"))
    if row.floor_musd:
        key = "min_loss_musd" if rule.metric.startswith("depth_") else "min_oi_musd"
        yield _Line(key, f"{row.floor_musd:g}", _of_rule(settings, rule, key))


def _composite(settings: Settings, one: Composite) -> Iterator[_Line]:
    table = ("rules", one.name)
    values = {
        "level": one.level.name.lower(),
        "within": length(one.within),
        "at_least": str(one.enough),
        "hold": length(one.hold),
        "cooldown": length(one.cooldown),
    }
    for key, value in values.items():
        place = settings.source.place(*table, key)
        if key == "at_least" and not one.at_least:
            place = settings.source.place(*table, "all_of")
        yield _Line(key, value, place or _DEFAULT)


def origin_of_level(settings: Settings, rule: Rule, asset: str, key: str) -> str:
    """The place of a level, or of ``clear``: in the asset's own row, else in that of its tier."""
    table, source = _tables(rule)[0], settings.source
    names = ("all",) if asset == ALL else settings.tiers.layers(source.keys(*table), asset)
    for name in reversed(names):
        if place := source.place(*table, name, key):
            return f"{place} {name}"
    return _DEFAULT


def origin_of_hold(settings: Settings, rule: Rule) -> str:
    """The place that says how long a breach must last."""
    return _of_rule(settings, rule, "for")


def _of_rule(settings: Settings, rule: Rule, key: str) -> str:
    """The place of what holds for a whole rule: its window, the rule, else ``[defaults]``."""
    for table in _tables(rule):
        if place := settings.source.place(*table, key):
            return place
    if place := settings.source.place("defaults", key):
        return f"{place} defaults"
    return _DEFAULT


def _tables(rule: Rule) -> list[tuple[str, ...]]:
    """The tables of the file that make the rule, the nearest first."""
    shared, own = ("rules", rule.family), rule_path(rule)
    return [own, shared] if own != shared else [own]


def rule_path(rule: Rule) -> tuple[str, ...]:
    """The table that has the rule's rows."""
    _, _, window = rule.name.partition(":")
    return ("rules", rule.family, *(("windows", window) if window else ()))
