"""Tables of config.toml → ``rules.rule.Rule``, one a window with a row for each asset, and
``rules.composite.Composite``. Pure.

What is wrong comes back as problems, (path of the key, sentence), so that all of them can be shown
at once; rules are only complete if there are none.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from typing import TypeVar

import msgspec

from bot.config.markets import Problem, Tiers, looks_like_asset, named_supports, tiers
from bot.config.schema import (
    ALL,
    TIERS,
    CompositeTable,
    File,
    RowTable,
    RuleTable,
    WindowTable,
)
from bot.config.sectors import baskets_of
from bot.config.values import LEVELS, Hold
from bot.meant import did_you_mean
from rules.alerts import ALL as MARKET
from rules.alerts import Level
from rules.composite import Composite
from rules.metrics import metric
from rules.metrics.funding import SETTLED
from rules.metrics.market_wide import PriceDownShare
from rules.metrics.support import SupportMetric
from rules.rule import Row, Rule, When
from rules.sectors import Basket

MARKS = frozenset({"all_of", "any_of", "at_least", "within", "hides", "level"})
"""A rule's table without a metric and with one of these keys is a composite."""


def composites(file: File, named: Collection[str]) -> tuple[tuple[Composite, ...], list[Problem]]:
    """The composites of a file, and what is wrong with them.

    ``named``: all rules and composites that the file names, the faulty ones too.
    """
    sound: list[Composite] = []
    problems: list[Problem] = []
    rules = [name for name in named if name not in file.composites]
    for name, table in file.composites.items():
        wrong = list(_check_composite(name, table, rules, named))
        problems += wrong
        if not wrong:
            sound.append(_composite(name, table))
    return tuple(sound), problems


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


def _check_composite(
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
    by_family: dict[str, list[Rule]] = {}
    for rule in rules:
        by_family.setdefault(rule.family, []).append(rule)
    return by_family


WINDOW = "{window}"
"""What stands for the window, or the band, in the metric of a rule that has several."""

_RULE_NAME = re.compile(r"[a-z][a-z0-9_]*")
_WINDOWS = ("1h", "25bp")
"""What stands for the window in one metric or another."""

_FLOORS = {"min_loss_musd": ("depth_",), "min_oi_musd": ("oi_net_", "funding_", "price_")}
_T = TypeVar("_T")


class _RuleEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, or one window of a rule, as the file has it."""

    family: str
    window: str
    """ "": the rule has none."""
    metric: str
    at: tuple[str, ...]
    """The path of ``table``."""
    table: WindowTable
    """What holds for the window, with its rows."""
    shared: RuleTable
    """What holds for all windows; without windows the same as ``table``."""

    @property
    def market(self) -> bool:
        return on_market(self.metric)

    def where(self, key: str, field: str) -> tuple[str, ...]:
        """The path of a key that the window or the rule may hold."""
        return (*(self.at if field in self.table.model_fields_set else self.at[:2]), key)


def on_market(name: str) -> bool:
    """Whether a metric is of the whole market, not of an asset."""
    return "asset" not in metric(name).scopes


def resolve(file: File) -> tuple[tuple[Rule, ...], list[Problem]]:
    """All rules of a file, and what is wrong with them."""
    rules: list[Rule] = []
    problems: list[Problem] = []
    where = tiers(file.markets)
    for family, table in file.rules.items():
        if not _RULE_NAME.fullmatch(family):
            problems.append((("rules", family), "a rule's name is made of a-z, 0-9 and _"))
        wrong = _check_family(family, table)
        problems += wrong
        for entry in () if wrong else _entries(family, table):
            baskets, lacking = baskets_of(entry.metric, file.sectors)
            broken = _check(entry, where) + [(entry.at, text) for text in lacking]
            rows, faulty = _rows(entry, where)
            problems += broken + faulty
            if not broken and not faulty:
                rules.append(_rule(entry, rows, where, file, baskets))
                problems += _differing(entry, rules)
    return tuple(rules), problems


def _differing(entry: _RuleEntry, rules: list[Rule]) -> Iterator[Problem]:
    """Two shares of one name that count differently: what is logged under it would be neither."""
    *others, last = rules
    for other in others:
        if other.metric == last.metric and other.least_fall_pct != last.least_fall_pct:
            text = f"differs from that of {other.name}, which is on {last.metric} too: say the same"
            yield entry.where("least_fall_pct", "least_fall_pct"), text
            return


def valid_metric(name: str) -> str | None:
    """None if ``name`` is a metric, else a sentence that says what is wrong."""
    try:
        metric(name)
    except ValueError as error:
        return str(error)
    return None


def _entries(family: str, table: RuleTable) -> Iterator[_RuleEntry]:
    path = ("rules", family)
    if not table.windows:
        yield _RuleEntry(
            family=family, window="", metric=table.metric, at=path, table=table, shared=table
        )
    for window, own in table.windows.items():
        yield _RuleEntry(
            family=family,
            window=window,
            metric=table.metric.replace(WINDOW, window),
            at=(*path, "windows", window),
            table=own,
            shared=table,
        )


def _rule(
    entry: _RuleEntry,
    rows: dict[str, Row],
    where: Tiers,
    file: File,
    baskets: Mapping[str, Basket],
) -> Rule:
    own, shared, defaults = entry.table, entry.shared, file.defaults
    of_levels = isinstance(metric(entry.metric), SupportMetric)
    hold = own.hold or shared.hold or Hold({})
    tail = own.rows.get("tail") if where.tail and not entry.market else None
    return Rule(
        name=f"{entry.family}:{entry.window}" if entry.window else entry.family,
        family=entry.family,
        metric=entry.metric,
        fires=shared.fires,
        scope="market" if entry.market else shared.scope or "asset",
        rows=rows,
        others=_row(entry, where, "", tail.numbers()) if tail else None,
        not_watched=frozenset(where.listed) - rows.keys(),
        hold=hold.by_level,
        settlements=hold.settlements,
        clear_for=_first(own.clear_for, shared.clear_for, defaults.clear_for),
        cooldown=_first(own.cooldown, shared.cooldown, defaults.cooldown),
        repost_if=_first(own.repost_if, shared.repost_if, defaults.repost_if),
        post=_first(own.post, shared.post, True),
        when=_conditions(entry),
        cause=_first(own.cause, shared.cause, ()),
        least_fall_pct=_least_falls(entry, where),
        baskets=baskets,
        supports=named_supports(file.markets) if of_levels else {},
    )


def _least_falls(entry: _RuleEntry, where: Tiers) -> dict[str, float]:
    """How far each listed asset must fall to count: as it says itself, else as its tier does."""
    falls = entry.table.least_fall_pct or entry.shared.least_fall_pct
    falls_of: dict[str, float] = {}
    for asset in where.listed:
        named = [name for name in where.names(asset) if name in falls]
        if named:
            falls_of[asset] = falls[named[0]]
    return falls_of


def _conditions(entry: _RuleEntry) -> tuple[When, ...]:
    """The conditions on other metrics, with the window in their names."""
    return tuple(
        msgspec.structs.replace(asked, metric=asked.metric.replace(WINDOW, entry.window))
        for asked in _first(entry.table.when, entry.shared.when, ())
    )


def _first(own: _T | None, shared: _T | None, default: _T) -> _T:
    for value in (own, shared):
        if value is not None:
            return value
    return default


def _check_family(family: str, table: RuleTable) -> list[Problem]:
    """What is wrong with a rule, whatever its rows."""
    path = ("rules", family)
    problems: list[Problem] = []
    if not table.windows:
        if WINDOW in table.metric:
            text = f"has {WINDOW} in it: give [rules.{family}.windows.1h] and others"
            problems.append(((*path, "metric"), text))
        elif wrong := valid_metric(table.metric):
            problems.append(((*path, "metric"), wrong))
        return problems
    if WINDOW not in table.metric:
        text = f'must have {WINDOW} in it, since there are windows: such as "oi_net_{WINDOW}_pct"'
        return [((*path, "metric"), text)]
    wrong = {w: text for w in table.windows if (text := _wrong_window(table.metric, w))}
    if len(wrong) == len(table.windows) and all(_wrong_window(table.metric, w) for w in _WINDOWS):
        return [((*path, "metric"), next(iter(wrong.values())))]
    for window in wrong:
        text = f"cannot be a window of {table.metric}: name it by its length, such as 15m or 1h"
        problems.append(((*path, "windows", window), text))
    for row in table.rows:
        text = "belongs into the windows: each has rows of its own"
        problems.append(((*path, row), text))
    return problems


def _wrong_window(template: str, window: str) -> str | None:
    return valid_metric(template.replace(WINDOW, window))


def _check(entry: _RuleEntry, where: Tiers) -> list[Problem]:
    problems: list[Problem] = []
    hold = entry.table.hold or entry.shared.hold
    if hold and hold.settlements and metric(entry.metric) is not SETTLED:
        text = f"settlements are counted for {SETTLED.name} only, not for {entry.metric}"
        problems.append((entry.where("for", "hold"), text))
    for key, starts in _FLOORS.items():
        problems += _check_floors(entry, key, starts, where)
    problems += _check_when(entry)
    problems += _check_falls(entry, where)
    if entry.market and (entry.table.cause or entry.shared.cause):
        text = f"is of one asset: {entry.metric} is of the whole market"
        problems.append((entry.where("cause", "cause"), text))
    if entry.market and entry.shared.scope:
        text = f"is for metrics of an asset: {entry.metric} is of the whole market"
        problems.append((("rules", entry.family, "scope"), text))
    if not entry.table.rows:
        wanted = "all" if entry.market else "majors, large, tail or an asset"
        problems.append((entry.at, f"has no row: give levels for {wanted}"))
    return problems


def _check_falls(entry: _RuleEntry, where: Tiers) -> Iterator[Problem]:
    falls = entry.table.least_fall_pct or entry.shared.least_fall_pct
    path = entry.where("least_fall_pct", "least_fall_pct")
    if not isinstance(metric(entry.metric), PriceDownShare):
        if falls:
            yield path, f"is for price_down_share_<duration>_pct only, not {entry.metric}"
        return
    if not falls:
        yield entry.at, "needs least_fall_pct: how far coins must fall to count, { majors = 3 }"
        return
    known = [name for name in (*TIERS, *where.own, *where.listed) if name != "tail"]
    for name in falls:
        if name == "tail":
            yield path, "counts listed assets only: leave out the tail"
        elif name not in known and not looks_like_asset(name):
            yield path, f'unknown tier "{name}"{did_you_mean(name, known)}'


def _check_when(entry: _RuleEntry) -> Iterator[Problem]:
    path = entry.where("when", "when")
    if entry.window == "" and any(WINDOW in other.metric for other in entry.table.when or ()):
        yield path, f"has {WINDOW} in it, and the rule has no windows"
        return
    scope = "market" if entry.market else entry.shared.scope or "asset"
    for asked in _conditions(entry):
        if wrong := valid_metric(asked.metric):
            yield path, wrong
        elif scope not in metric(asked.metric).scopes:
            of = "the whole market" if on_market(asked.metric) else "an asset"
            yield (
                path,
                f"{asked.metric} is of {of}, {entry.metric} is not: ask one of the same kind",
            )
        elif asked.metric == entry.metric:
            yield (
                path,
                f"{asked.metric} is the rule's own metric: a second opinion is of another one",
            )
    if entry.table.when and not any("alert" in row.numbers() for row in entry.table.rows.values()):
        yield path, "is asked for what is at alert, and no row has an alert level"


def _check_floors(
    entry: _RuleEntry, key: str, starts: tuple[str, ...], where: Tiers
) -> Iterator[Problem]:
    floors: Mapping[str, float] = getattr(entry.table, key) or getattr(entry.shared, key)
    path = entry.where(key, key)
    if floors and (entry.market or not entry.metric.startswith(starts)):
        kind = "depth" if key == "min_loss_musd" else "open-interest, funding and price"
        yield path, f"is for {kind} metrics of an asset only, not {entry.metric}"
        return
    known = [*TIERS, *where.own, *where.listed, *entry.table.rows]
    for name in floors:
        if name and name not in known:
            yield path, f'unknown tier "{name}"{did_you_mean(name, known)}'


def _rows(entry: _RuleEntry, where: Tiers) -> tuple[dict[str, Row], list[Problem]]:
    """Rows of all named assets. A tier's row is judged once, not again for each of its assets."""
    if entry.market:
        return _market_row(entry)
    own_rows, fires = entry.table.rows, entry.shared.fires
    rows: dict[str, Row] = {}
    problems: list[Problem] = []
    named = {*TIERS, *where.own}
    for name, row in own_rows.items():
        if name == ALL:
            text = f"is for rules on the whole market; {entry.metric} is of an asset: give majors"
            problems.append(((*entry.at, name), text + ", large or tail"))
        elif name in named:
            problems += [((*entry.at, name), text) for text in _wrong(row.numbers(), fires)]
    sound = not problems
    overrides = [name for name in own_rows if name not in named and name != ALL]
    for asset in dict.fromkeys([*where.listed, *overrides]):
        layers = where.layers(own_rows, asset)
        values = _merged([own_rows[name] for name in layers])
        if asset in own_rows:
            if not where.watches(asset):
                problems.append(((*entry.at, asset), _not_watched(asset, where)))
            elif sound:
                problems += [((*entry.at, asset), text) for text in _wrong(values, fires)]
        if values and not problems:
            rows[asset] = _row(entry, where, asset, values)
    return rows, problems


def _market_row(entry: _RuleEntry) -> tuple[dict[str, Row], list[Problem]]:
    problems: list[Problem] = []
    for name, row in entry.table.rows.items():
        path = (*entry.at, name)
        if name == ALL:
            problems += [(path, text) for text in _wrong(row.numbers(), entry.shared.fires)]
        else:
            text = f"{entry.metric} is of the whole market: its only row is all"
            problems.append((path, text))
    if problems or ALL not in entry.table.rows:
        return {}, problems
    values = entry.table.rows[ALL].numbers()
    return {MARKET: Row(levels=_levels(values), clear=values["clear"])}, []


def _merged(rows: list[RowTable]) -> dict[str, float]:
    values: dict[str, float] = {}
    for row in rows:
        values = row.over(values)
    return values


def _not_watched(asset: str, where: Tiers) -> str:
    near = did_you_mean(asset, list(where.listed))
    return f"is not in markets.majors or markets.large, and there is no tail{near}"


def _row(entry: _RuleEntry, where: Tiers, asset: str, values: Mapping[str, float]) -> Row:
    """``asset`` "": the row of the tail."""
    names = where.names(asset) if asset else ("tail",)
    least = 0.0
    for key in _FLOORS:
        floors: Mapping[str, float] = getattr(entry.table, key) or getattr(entry.shared, key)
        sizes = (floors[name] for name in (*names, "") if name in floors)
        least = max(least, next(sizes, 0.0))
    return Row(levels=_levels(values), clear=values["clear"], floor_musd=least)


def _levels(values: Mapping[str, float]) -> dict[Level, float]:
    return {level: values[name] for name, level in LEVELS.items() if name in values}


def _wrong(values: Mapping[str, float], fires: str) -> list[str]:
    """What is wrong with a complete row."""
    levels = [name for name in LEVELS if name in values]
    if not levels:
        return ["names no level: give at least one of watch, alert, critical"]
    sign = 1 if fires == "above" else -1
    problems = [
        f"{mild} = {values[mild]:g} and {bad} = {values[bad]:g} are in the wrong order: with "
        f'fires = "{fires}", {bad} must not be {"below" if sign > 0 else "above"} {mild}'
        for mild, bad in pairwise(levels)
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
