"""What is wrong with a file, in sentences: file, line, key and what to do."""

from collections.abc import Iterable
from typing import Any, cast

import msgspec

from bot.config_markets import Problem
from bot.config_schema import COMPOSITES, ROWS, keys_at
from bot.config_source import Source
from bot.config_values import did_you_mean, shown
from bot.redaction import redact
from bot.toml_lines import KeyPath


class ConfigError(Exception):
    """The configuration cannot be used. ``problems``: one line each, in the order of the file."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Fault(msgspec.Struct, frozen=True):
    """What the schema says of a value that it refuses."""

    at: KeyPath
    kind: str
    got: object
    context: dict[str, Any]
    words: str


def problem(fault: Fault, raw: dict[str, Any]) -> Problem:
    """Where the fault is in the file, and a sentence about it."""
    path = tuple("rules" if part == COMPOSITES else part for part in fault.at if part != ROWS)
    return path, _sentence(fault, path, raw)


def _sentence(fault: Fault, path: KeyPath, raw: dict[str, Any]) -> str:
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


def told(source: Source, problems: Iterable[Problem]) -> list[str]:
    """The problems as ``file:line: key: sentence``, in the order of the files."""
    placed = [(source.spot(at), at, text) for at, text in problems]
    placed.sort(key=lambda entry: (entry[0][0], entry[0][2]))
    return [
        redact(f"{path}{f':{line}' if line else ''}: {_name(at)}: {text}")
        for (_, path, line), at, text in placed
    ]


def _name(path: KeyPath) -> str:
    return ".".join(part for part in path if isinstance(part, str))
