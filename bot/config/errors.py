"""A file as text and as plain tables, and what is wrong with it in sentences.

A sentence names the file, the line and the key, and says what to do.
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import msgspec

from bot.config.markets import Problem, looks_like_asset
from bot.config.rules import MARKS
from bot.config.schema import ALL, COMPOSITES, ROWS, TIERS, keys_at
from bot.config.source import KeyPath, Source
from bot.config.values import shown
from bot.meant import did_you_mean
from bot.redaction import TOKEN, redact

_TOML_PLACE = re.compile(r" \(at line (\d+), column (\d+)\)$")


def text_of(path: Path) -> str:
    """The text of a file without secrets. Raises ConfigError."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            [f"{path}: no such file: name the configuration with --config or LOWTIDE_CONFIG"]
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: is not UTF-8 text (byte {error.start})"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    leaks = [n for n, line in enumerate(text.splitlines(), start=1) if TOKEN.search(line)]
    if leaks:
        raise ConfigError(
            [
                f"{path}:{n}: this looks like a bot token; take it out of the file and put it into "
                "the environment as TELEGRAM_BOT_TOKEN (see .env.example)"
                for n in leaks
            ]
        )
    return text


def parsed(path: Path, text: str) -> dict[str, Any]:
    """The tables of a TOML text. Raises ConfigError with the line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        words = str(error)
        if place := _TOML_PLACE.search(words):
            line, column = int(place[1]), int(place[2])
            reason = f"{words[: place.start()]} (column {column})"
            hint = _foreign(text.split("\n")[line - 1 : line], column)
            raise ConfigError([f"{path}:{line}: not valid TOML: {reason}{hint}"]) from None
        raise ConfigError([f"{path}: not valid TOML: {words}"]) from None


_FOREIGN = {
    **dict.fromkeys("“”„‟«»″＂", '"'),
    **dict.fromkeys("‘’‚‛′＇", "'"),
    **dict.fromkeys("‐‑‒–—−", "-"),
    **dict.fromkeys("\u00a0\u2007\u202f\u3000\u200b\u200c\u200d\u2060\ufeff", "a plain space"),
}
"""Signs that word processors and input methods write in place of those of TOML."""


def _foreign(lines: list[str], column: int) -> str:
    """What to write in place of the first sign up to ``column`` that TOML does not have."""
    for sign in "".join(lines)[:column]:
        plain = _FOREIGN.get(sign) or unicodedata.normalize("NFKC", sign)
        if plain != sign and not sign.isascii():
            shown = f"{sign} (U+{ord(sign):04X})" if sign.isprintable() else f"U+{ord(sign):04X}"
            return f"; {shown} is no sign of TOML: write {plain}"
    return ""


def arranged(raw: dict[str, Any]) -> dict[str, Any]:
    """Rows of tiers and assets, and composites, moved to where the schema expects them."""
    rules, markets = raw.get("rules"), raw.get("markets")
    if not isinstance(rules, dict):
        return raw
    own = set(cast("dict[str, Any]", markets)) if isinstance(markets, dict) else set[str]()
    names = {*TIERS, ALL, *own} - {"venues"}
    plain: dict[str, Any] = {}
    moved: dict[str, Any] = {}
    for name, table in cast("dict[str, Any]", rules).items():
        if isinstance(table, dict) and MARKS & table.keys() and "metric" not in table:
            moved[name] = table
        else:
            plain[name] = _with_rows(table, names)
    return {**raw, "rules": plain, COMPOSITES: moved}


def _with_rows(table: Any, names: set[str]) -> Any:
    """A rule's or a window's table, its rows gathered under one key."""
    if not isinstance(table, dict):
        return table
    items = cast("dict[str, Any]", table)
    rows = {k: row for k, row in items.items() if k in names or looks_like_asset(k, names)}
    rest = {key: value for key, value in items.items() if key not in rows}
    windows = rest.get("windows")
    if isinstance(windows, dict):
        each = cast("dict[str, Any]", windows)
        rest["windows"] = {window: _with_rows(own, names) for window, own in each.items()}
    return {**rest, ROWS: rows}


def names_in(rules: Any) -> list[str]:
    """The names of all rules, whatever is wrong with them."""
    return list(cast("dict[str, Any]", rules)) if isinstance(rules, dict) else []


def keys_in(rules: Any) -> set[str]:
    """All keys of the rules and of their windows, rows included."""
    if not isinstance(rules, dict):
        return set()
    names: set[str] = set()
    for table in cast("dict[str, Any]", rules).values():
        if isinstance(table, dict):
            keys = cast("dict[str, Any]", table)
            names |= {*keys, *keys_in(keys.get("windows"))}
    return names


class ConfigError(Exception):
    """The configuration cannot be used."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        """A line for each, in the order of the file."""


class SchemaFault(msgspec.Struct, frozen=True):
    """What the schema says of a value that it refuses."""

    at: KeyPath
    kind: str
    """The name that pydantic has for it."""
    got: object
    """The value."""
    context: dict[str, Any]
    """What the value was compared with."""
    words: str
    """Pydantic's own sentence."""


def problem(fault: SchemaFault, raw: dict[str, Any]) -> Problem:
    """Where the fault is in the file, and a sentence about it."""
    path = tuple("rules" if part == COMPOSITES else part for part in fault.at if part != ROWS)
    return path, _sentence(fault, path, raw)


def _sentence(fault: SchemaFault, path: KeyPath, raw: dict[str, Any]) -> str:
    kind, got, context = fault.kind, shown(fault.got), fault.context
    if kind == "missing" and path == ("markets",):
        return 'is missing; a file that says only what differs begins with extends = "shipped"'
    if kind == "extra_forbidden":
        known = keys_at(path[:-1]) + _rows(path[:-1], raw)
        if path[-1] in known:
            return "does not belong here"
        return f"unknown key{did_you_mean(str(path[-1]), known)}"
    if kind == "value_error":
        return str(context["error"])
    if kind in ("greater_than", "greater_than_equal"):
        limit = context.get("gt", context.get("ge"))
        words = "greater than" if kind == "greater_than" else "at least"
        return f"must be {words} {limit:g}, not {got}"
    if kind == "list_type" and len(path) == 2 and path[0] == "markets":
        near = did_you_mean(str(path[1]), [key for key in keys_at(path[:-1]) if key != path[1]])
        return f"unknown key{near}" if near else _KINDS[kind].format(got=got)
    if kind == "less_than_equal":
        return f"must be at most {context['le']:g}, not {got}"
    if kind == "literal_error":
        return f"must be {context['expected']}, not {got}".replace("'", '"')
    return _KINDS.get(kind, fault.words).format(got=got)


_KINDS = {
    "missing": "is missing",
    "int_type": "must be a whole number, not {got}",
    "int_from_float": "must be a whole number, not {got}",
    "float_type": "must be a number, not {got}",
    "finite_number": "must be a finite number, not {got}",
    "string_type": "must be text in quotes, not {got}",
    "string_too_short": "must not be empty",
    "bool_type": "must be true or false, not {got}",
    "list_type": 'must be a list such as ["a", "b"], not {got}',
    "dict_type": "must be a table, not {got}",
    "model_type": "must be a table, not {got}",
    "model_attributes_type": "must be a table, not {got}",
}


def _rows(parent: KeyPath, raw: dict[str, Any]) -> list[str]:
    """The operator's own tiers, and all assets listed, where these may stand as keys."""
    markets = raw.get("markets")
    if len(parent) not in (2, 4) or parent[0] != "rules" or not isinstance(markets, dict):
        return []
    lists = {
        tier: cast("list[Any]", assets)
        for tier, assets in cast("dict[str, Any]", markets).items()
        if tier != "venues" and isinstance(assets, list)
    }
    return [*lists, *(str(asset) for assets in lists.values() for asset in assets)]


def sentences(source: Source, problems: Iterable[Problem]) -> list[str]:
    """The problems as ``file:line: key: sentence``, in the order of the files."""
    placed = [(source.spot(at), at, text) for at, text in problems]
    placed.sort(key=lambda entry: (entry[0][0], entry[0][2]))
    return [
        redact(f"{path}{f':{line}' if line else ''}: {_name(at)}: {text}")
        for (_, path, line), at, text in placed
    ]


def _name(path: KeyPath) -> str:
    return ".".join(part for part in path if isinstance(part, str))
