"""Rule tables of config.toml → ``rules.rule.Rule``: tiers and overrides become one row per asset.

Pure. What is wrong comes back as problems, (path of the key, sentence), so that all of them can be
shown at once; rules are only complete if there are none.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from bot.config_schema import (
    LEVELS,
    TIERS,
    File,
    Markets,
    RowTable,
    RuleTable,
    did_you_mean,
    shown,
)
from rules.metrics import metric
from rules.metrics.funding import SETTLED
from rules.rule import Row, Rule

Problem = tuple[tuple[str | int, ...], str]

_RULE_NAME = re.compile(r"[a-z][a-z0-9_]*")


def resolve(file: File) -> tuple[tuple[Rule, ...], list[Problem]]:
    """All rules of a file, and what is wrong with them."""
    rules: list[Rule] = []
    problems: list[Problem] = []
    for name, table in file.rules.items():
        found = _check(name, table)
        rows, wrong = _rows(name, table, file.markets)
        problems += found + wrong
        if not found and not wrong:
            rules.append(_rule(name, table, rows, file))
    return tuple(rules), problems


def valid_metric(name: str) -> str | None:
    """None if ``name`` is a metric, else a sentence that says what is wrong."""
    try:
        metric(name)
    except ValueError as error:
        return str(error)
    return None


def _rule(name: str, table: RuleTable, rows: dict[str, Row], file: File) -> Rule:
    defaults, tail = file.defaults, table.tail if file.markets.tail else None
    return Rule(
        name=name,
        metric=table.metric,
        fires=table.fires,
        rows=rows,
        others=_row(table, "tail", tail.given()) if tail else None,
        not_watched=frozenset({*file.markets.majors, *file.markets.large} - rows.keys()),
        hold=table.hold.by_level,
        settlements=table.hold.settlements,
        clear_for=defaults.clear_for if table.clear_for is None else table.clear_for,
        cooldown=defaults.cooldown if table.cooldown is None else table.cooldown,
        repost_if=defaults.repost_if if table.repost_if is None else table.repost_if,
        post=table.post,
    )


def _check(name: str, table: RuleTable) -> list[Problem]:
    problems: list[Problem] = []
    path = ("rules", name)
    if not _RULE_NAME.fullmatch(name):
        problems.append((path, "a rule's name is made of a-z, 0-9 and _"))
    if wrong := valid_metric(table.metric):
        problems.append(((*path, "metric"), wrong))
        return problems
    if table.hold.settlements and metric(table.metric) is not SETTLED:
        text = f"settlements are counted for {SETTLED.name} only, not for {table.metric}"
        problems.append(((*path, "for"), text))
    if table.min_loss_musd and not table.metric.startswith("depth_"):
        problems.append(
            ((*path, "min_loss_musd"), f"is for depth metrics only, not {table.metric}")
        )
    if not table.overrides and not any(getattr(table, tier) for tier in TIERS):
        problems.append((path, "has no row: give levels for majors, large, tail or an asset"))
    return problems


def _rows(name: str, table: RuleTable, markets: Markets) -> tuple[dict[str, Row], list[Problem]]:
    """Rows of all named assets. A tier's row is judged once, not again for each of its assets."""
    rows: dict[str, Row] = {}
    problems: list[Problem] = []
    tiers: dict[str, RowTable | None] = {t: getattr(table, t) for t in TIERS}
    for tier, row in tiers.items():
        if row:
            path = ("rules", name, tier)
            problems += [(path, text) for text in _wrong(row.given(), table.fires)]
    sound = not problems
    for asset, tier in _tiers(table, markets).items():
        base, own = tiers[tier], table.overrides.get(asset)
        values = {**(base.given() if base else {}), **(own.given() if own else {})}
        if own:
            path = ("rules", name, asset)
            if tier == "tail" and not markets.tail:
                problems.append((path, _not_watched(asset, markets)))
            elif sound:
                problems += [(path, text) for text in _wrong(values, table.fires)]
        if values and not problems:
            rows[asset] = _row(table, tier, values)
    return rows, problems


def _tiers(table: RuleTable, markets: Markets) -> dict[str, str]:
    """Tier by asset: everything listed, and what only an override names is of the tail."""
    tail = dict.fromkeys(table.overrides, "tail")
    large = dict.fromkeys(markets.large, "large")
    return {**tail, **large, **dict.fromkeys(markets.majors, "majors")}


def _not_watched(asset: str, markets: Markets) -> str:
    near = did_you_mean(asset, [*markets.majors, *markets.large])
    return f"is not in markets.majors or markets.large, and there is no tail{near}"


def _row(table: RuleTable, tier: str, values: Mapping[str, float]) -> Row:
    return Row(
        levels={level: values[name] for name, level in LEVELS.items() if name in values},
        clear=values["clear"],
        floor_musd=table.min_loss_musd.get(tier, 0.0),
    )


def _wrong(values: Mapping[str, float], fires: str) -> list[str]:
    """What is wrong with a complete row."""
    levels = [name for name in LEVELS if name in values]
    if not levels:
        return ["names no level: give at least one of watch, alert, critical"]
    sign = 1 if fires == "above" else -1
    problems = [
        f"{mild} = {values[mild]:g} and {bad} = {values[bad]:g} are in the wrong order: with "
        f'fires = "{fires}", {bad} must not be {"below" if sign > 0 else "above"} {mild}'
        for mild, bad in _pairs(levels)
        if sign * values[mild] > sign * values[bad]
    ]
    first = levels[0]
    if "clear" not in values:
        problems.append("clear is missing: the value at which it is over")
    elif sign * values["clear"] >= sign * values[first]:
        problems.append(
            f'clear = {values["clear"]:g} is not on the quiet side: with fires = "{fires}", it '
            f"must be {'below' if sign > 0 else 'above'} {first} = {values[first]:g}"
        )
    return problems


def _pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    return list(pairwise(names))


def market_problems(markets: Markets, venues: Sequence[str]) -> list[Problem]:
    """What is wrong with ``[markets]``, given the venues that exist."""
    problems: list[Problem] = []
    if not markets.venues:
        problems.append((("markets", "venues"), "is empty: name at least one venue"))
    for name in markets.venues:
        if name not in venues:
            hint = did_you_mean(name, list(venues)) or f": choose from {', '.join(venues)}"
            problems.append((("markets", "venues"), f'unknown venue "{name}"{hint}'))
    if not markets.majors and not markets.large and not markets.tail:
        problems.append((("markets",), "is empty: give majors, large or tail"))
    seen: set[str] = set()
    for tier, assets in (("majors", markets.majors), ("large", markets.large)):
        for asset in assets:
            if not looks_like_asset(asset):
                text = f'{shown(asset)} is not an asset: write it like "BTC"'
                problems.append((("markets", tier), text))
            elif asset in seen:
                problems.append((("markets", tier), f"{asset} is listed twice"))
            seen.add(asset)
    return problems


def looks_like_asset(key: str) -> bool:
    """Upper case and no signs: a coin, not a misspelt key and not a tier in capitals."""
    return key == key.upper() and key.isalnum() and key.lower() not in TIERS
