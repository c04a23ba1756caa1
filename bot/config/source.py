"""Which file is the configuration, what it extends, and in which line each of its keys is.

An operator's file is whole, or it begins with ``extends = "shipped"`` and says only what differs
from the configuration that comes with Lowtide. That one is tracked by git and part of the package;
the operator's is neither.

An error names the line of its key, and tomllib keeps no positions. So ``index`` reads the text
again, only far enough to see table headers and keys at the start of a line; keys inside an inline
table have the line of that table.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from bot.config.markets import looks_like_asset
from bot.config.schema import ALL, TIERS

KeyPath = tuple[str | int, ...]

_PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_ARRAY = re.compile(rf"\s*\[\[\s*({_DOTTED})\s*\]\]")
_TABLE = re.compile(rf"\s*\[\s*({_DOTTED})\s*\]")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")
_FENCE = re.compile(r"\"\"\"|'''")


def index(text: str) -> dict[KeyPath, int]:
    """Key path → line number, from 1. Items of arrays of tables carry their position as an int."""
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    fenced = False
    for number, line in enumerate(text.splitlines(), start=1):
        if not fenced:
            table = _read(line, number, table, lines, counts)
        fenced ^= len(_FENCE.findall(line)) % 2 == 1
    return lines


def _read(
    line: str,
    number: int,
    table: KeyPath,
    lines: dict[KeyPath, int],
    counts: dict[KeyPath, int],
) -> KeyPath:
    if match := _ARRAY.match(line):
        path = _parts(match[1])
        counts[path] = counts.get(path, -1) + 1
        lines.setdefault(path, number)
        table = (*path, counts[path])
        lines[table] = number
    elif match := _TABLE.match(line):
        table = _inside(_parts(match[1]), counts)
        for end in range(1, len(table) + 1):
            lines.setdefault(table[:end], number)
    elif match := _KEY.match(line):
        path = (*table, *_parts(match[1]))
        for end in range(len(table) + 1, len(path) + 1):
            lines.setdefault(path[:end], number)
    return table


def _inside(path: KeyPath, counts: Mapping[KeyPath, int]) -> KeyPath:
    """``[a.b]`` after ``[[a]]`` belongs to the latest item of ``a``."""
    for end in range(len(path), 0, -1):
        if path[:end] in counts:
            return (*path[:end], counts[path[:end]], *path[end:])
    return path


def _parts(dotted: str) -> KeyPath:
    return tuple(part.strip("\"'") for part in re.findall(_PART, dotted))


def line_of(lines: Mapping[KeyPath, int], path: Sequence[str | int]) -> int | None:
    """The line of ``path``, else of its nearest parent; None if not even that is in the text."""
    for end in range(len(path), 0, -1):
        line = lines.get(tuple(path[:end]))
        if line is not None:
            return line
    return None


SHIPPED = (Path(__file__).parents[1] / "shipped" / "config.toml").resolve()
"""In a checkout the file at its top, to which a link leads; in a package a copy of it."""

SECTORS = SHIPPED.with_name("sectors.toml")
"""The baskets of coins that come with Lowtide, on which every file lies."""

EXTENDED = "shipped"
"""What the shipped file is called where another extends it."""

OWN = "local.toml"
"""What an operator's own file is called unless another is named."""

VARIABLE = "LOWTIDE_CONFIG"

_CONDITIONS = frozenset({"all_of", "any_of", "at_least"})


def config_path(named: Path | None, env: Mapping[str, str]) -> Path:
    """The configuration to use: as ``named``, as the environment says, else what is here, else the
    shipped one. An operator's own file goes before a whole one beside it."""
    if named is not None:
        return named
    if from_env := env.get(VARIABLE, "").strip():
        return Path(from_env)
    here = [folder / name for folder in (Path(), SHIPPED.parent) for name in (OWN, SHIPPED.name)]
    return next((path for path in here if path.is_file()), SHIPPED)


def is_shipped(path: Path) -> bool:
    """Whether this is the configuration that comes with Lowtide."""
    return path.resolve() == SHIPPED


def home(path: Path) -> Path:
    """The folder of ``.env`` and ``data/``: the file's, but never the package's."""
    return Path() if is_packaged() and is_shipped(path) else path.parent


def is_packaged() -> bool:
    """Whether this is an installed package, not a checkout with a Makefile."""
    return SHIPPED.is_relative_to(Path(__file__).parents[1].resolve())


def own_file(path: Path) -> Path:
    """Where an operator's settings belong: ``path``, unless it is the shipped file."""
    return home(path) / OWN if is_shipped(path) else path


class Part(msgspec.Struct, frozen=True):
    """One file as written. ``lines``: see ``bot.config.source``."""

    path: Path
    tables: Mapping[str, Any] = {}
    lines: Mapping[KeyPath, int] = {}

    def has(self, at: KeyPath) -> bool:
        """Whether there is something at ``at``."""
        return _at(self.tables, at) is not None


class Source(msgspec.Struct, frozen=True):
    """Where everything stands: the file first, then what it extends. ``tables``: all together."""

    parts: tuple[Part, ...]
    tables: Mapping[str, Any] = {}

    @property
    def path(self) -> Path:
        """The file itself."""
        return self.parts[0].path

    def values(self, *path: str) -> Mapping[str, Any]:
        """The table at ``path``, an empty one if it is not there."""
        table = _at(self.tables, path)
        return cast("dict[str, Any]", table) if isinstance(table, dict) else {}

    def keys(self, *path: str) -> tuple[str, ...]:
        """The keys of the table at ``path``, none if it is not there."""
        return tuple(self.values(*path))

    def place(self, *path: str) -> str | None:
        """``config.toml:41``, where the key at ``path`` is; ``shipped:41`` if that is in the file
        which this one extends. None if it is in no file, or only in a row or rule of the shipped
        file that the operator's file replaces."""
        if _at(self.tables, path) is None:
            return None
        part, file, line = self.spot(path)
        # not by its name: the operator's own file may be called config.toml too
        name = EXTENDED if part and file != SECTORS else file.name
        return f"{name}:{line}" if line else name

    def spot(self, at: KeyPath) -> tuple[int, Path, int]:
        """Where to look for ``at``, or for the nearest of its parents: number and path of the file,
        and the line; 0: nowhere in particular."""
        for end in range(len(at), 0, -1):
            for n, part in enumerate(self.parts):
                if part.has(at[:end]) and (line := line_of(part.lines, at[:end])):
                    return n, part.path, line
        return 0, self.path, 0


def layered(own: Part, base: Part) -> Source:
    """``own`` on ``base``: tables are merged key by key, other values replaced."""
    tables = _merged(own.tables, base.tables)
    markets, rules = _table(tables, "markets"), _table(tables, "rules")
    own_markets = _table(own.tables, "markets")
    moved = {
        asset for tier, assets in own_markets.items() if tier != "venues" for asset in _list(assets)
    }
    for tier in ("majors", "large"):
        if tier not in own_markets and tier in markets:  # an asset that moved to another tier
            markets[tier] = [asset for asset in _list(markets[tier]) if asset not in moved]
    for name, table in _table(own.tables, "rules").items():
        _replaced(name, table, rules)
    before, now = _tiers(_table(base.tables, "markets")), _tiers(markets)
    homes = {asset: now.get(asset, _TAIL) for asset in before | now}
    if markets.get("tail", "none") in ("none", 0):
        homes = {asset: homes[asset] for asset in now}
    kept = {a: names for a, names in homes.items() if names >= before.get(a, _TAIL)}
    _rows(rules, _table(own.tables, "rules"), kept)
    return Source((own, base), tables)


def _replaced(name: str, own: Any, rules: dict[str, Any]) -> None:
    """A rule that names its metric is whole, and conditions of a composite replace all others."""
    if not isinstance(own, dict):
        return
    table = cast("dict[str, Any]", own)
    if "metric" in table:
        rules[name] = table
    elif table.keys() & _CONDITIONS:
        kept = {key: value for key, value in rules[name].items() if key not in _CONDITIONS}
        rules[name] = kept | table


def with_sectors(source: Source, sectors: Part) -> Source:
    """``source`` on the baskets that are shipped; one of its own is whole."""
    own = _table(source.tables, "sectors")
    tables = _merged({**source.tables, "sectors": {}}, sectors.tables)
    tables["sectors"] = {**_table(tables, "sectors"), **own}
    return Source((*source.parts, sectors), tables)


_TAIL = frozenset({"tail"})


def _tiers(markets: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """The tiers of each listed asset. One that is in tiers of an operator alone is of the tail."""
    by_asset: dict[str, frozenset[str]] = {}
    for tier in [name for name in markets if name != "venues"]:
        for asset in [asset for asset in _list(markets[tier]) if isinstance(asset, str)]:
            by_asset[asset] = by_asset.get(asset, frozenset()) | {tier}
    return {
        a: names if names & {"majors", "large"} else names | _TAIL for a, names in by_asset.items()
    }


def _rows(
    rules: dict[str, Any], own: Mapping[str, Any], kept: Mapping[str, frozenset[str]]
) -> None:
    """Take out the shipped rows of single assets that are no longer watched in the tier they were
    shipped for.

    ``kept``: the tiers of assets that are still watched and in the tier for which they are shipped.
    Where the operator wrote the row of such a tier it holds for all of its assets.
    """
    for name in rules:
        rows, own_rows = _table(rules, name), _table(own, name)
        for row in [key for key in rows if looks_like_asset(key, (*TIERS, ALL))]:
            if row in kept and not kept[row] & own_rows.keys():
                continue
            if row in own_rows:
                rows[row] = own_rows[row]
            else:
                del rows[row]
        _rows(_table(rows, "windows"), _table(own_rows, "windows"), kept)


def _merged(own: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    merged = {key: _copied(value) for key, value in base.items()}
    for key, value in own.items():
        below = merged.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            merged[key] = _merged(cast("dict[str, Any]", value), cast("dict[str, Any]", below))
        else:
            merged[key] = _copied(value)
    return merged


def _copied(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _copied(inner) for key, inner in cast("dict[str, Any]", value).items()}


def _table(tables: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The table of that name itself; one that is nowhere if there is none."""
    table = tables.get(name)
    return cast("dict[str, Any]", table) if isinstance(table, dict) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _at(tables: Any, at: Sequence[str | int]) -> Any:
    """The value at a path, None if there is none."""
    for part in at:
        if isinstance(tables, dict):
            tables = cast("dict[str, Any]", tables).get(cast("str", part))
        elif isinstance(tables, list) and isinstance(part, int):
            items = cast("list[Any]", tables)
            tables = items[part] if part < len(items) else None
        else:
            return None
    return tables


def tests_file(path: Path) -> Path:
    """The file of rule tests beside a configuration: ``local.tests.toml`` beside ``local.toml``."""
    return path.with_name(f"{path.stem}.tests.toml")
