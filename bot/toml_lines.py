"""Where a key stands in a TOML text, so that an error can name its line.

tomllib keeps no positions. This index reads the text again, only far enough to see table headers
and keys at the start of a line; keys inside an inline table answer with the line of that table.
"""

import re
from collections.abc import Mapping, Sequence

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
    if found := _ARRAY.match(line):
        path = _parts(found[1])
        counts[path] = counts.get(path, -1) + 1
        lines.setdefault(path, number)
        table = (*path, counts[path])
        lines[table] = number
    elif found := _TABLE.match(line):
        table = _inside(_parts(found[1]), counts)
        for end in range(1, len(table) + 1):
            lines.setdefault(table[:end], number)
    elif found := _KEY.match(line):
        path = (*table, *_parts(found[1]))
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
