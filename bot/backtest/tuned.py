"""A proposal told, and written into config.toml with its comments and layout kept."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import cast

import tomlkit
from tomlkit.items import AbstractTable

from bot.backtest.text import table
from bot.backtest.tune import Proposal, Tried
from rules.rule import Rule

_SHOWN = 9
"""Rows of the trade-off around the proposal."""


def told(rule: Rule, proposals: Sequence[Proposal], posts_a_week: float) -> str:
    """The proposals, each with what other thresholds would have posted."""
    blocks = [f"{rule.name}: {rule.metric} {rule.fires} the level, {posts_a_week:g} posts a week"]
    for one in proposals:
        head = f"{one.row}: {_row(one.now)}"
        if not one.levels:
            blocks.append(f"{head}\n  stays: {one.why}")
            continue
        rows = [
            (f"{t.threshold:g}", f"{t.posts_a_week:.2f}", f"{t.openings_a_week:.2f}", str(t.assets))
            for t in _around(one)
        ]
        head_cells = ("level", "posts a week", "with those held", "assets")
        seen = f"  from {one.weeks:.1f} weeks; at alert and above:"
        lines = [head, f"  proposed {_row(one.levels)}", seen, *table(head_cells, rows)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def write(path: Path, rule: Rule, proposals: Sequence[Proposal]) -> list[str]:
    """Writes the proposed numbers where the file has such numbers; what was written, in words.

    Keys that the file does not have are not added, so a row that holds only what differs stays so.
    """
    document = tomlkit.parse(path.read_text(encoding="utf-8"))
    place = _at(document, rule)
    written: list[str] = []
    for one in proposals:
        if one.row not in place:
            continue
        row = cast("dict[str, float]", place[one.row])
        for key, value in one.levels.items():
            if key in row and row[key] != value:
                written.append(f"{rule.name}, {one.row}: {key} = {row[key]:g} is now {value:g}")
                row[key] = int(value) if value.is_integer() else value
    if written:
        _replace(path, tomlkit.dumps(document))
    return written


def _at(document: tomlkit.TOMLDocument, rule: Rule) -> AbstractTable:
    family, _, window = rule.name.partition(":")
    found = cast("AbstractTable", cast("AbstractTable", document["rules"])[family])
    if not window:
        return found
    return cast("AbstractTable", cast("AbstractTable", found["windows"])[window])


def _replace(path: Path, text: str) -> None:
    """All of it or nothing: a running Lowtide takes changes over at once."""
    with NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.write(text)
    Path(file.name).chmod(path.stat().st_mode)
    Path(file.name).replace(path)


def _row(levels: Mapping[str, float]) -> str:
    return "{ " + ", ".join(f"{key} = {x:g}" for key, x in levels.items()) + " }"


def _around(one: Proposal) -> Sequence[Tried]:
    chosen = one.levels.get("alert", next(iter(one.levels.values())))
    place = next((n for n, t in enumerate(one.tried) if t.threshold == chosen), 0)
    first = max(0, min(place - _SHOWN // 2, len(one.tried) - _SHOWN))
    return one.tried[first : first + _SHOWN]
