"""A proposal told, and written into the operator's file with its comments and layout kept."""

from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import cast

import tomlkit

from bot.backtest.text import table
from bot.backtest.tune import Proposal, Tried
from bot.config import ConfigError, Settings, load
from bot.config_source import own_file
from bot.show import rule_path
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
        seen = f"  from {one.days:.1f} observed days; at alert and above:"
        lines = [head, f"  proposed {_row(one.levels)}", *_remarks(one), seen]
        lines += table(head_cells, rows)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def write(settings: Settings, rule: Rule, proposals: Sequence[Proposal]) -> list[str]:
    """Writes the proposed numbers where the configuration has such numbers; what, in words.

    They go into the operator's own file: what is shipped stays as it is. Keys that the
    configuration does not have are not added, so a row that holds only what differs stays so.
    """
    source, path = settings.source, own_file(settings.path)
    text = path.read_text(encoding="utf-8-sig") if path.exists() else 'extends = "shipped"\n'
    document = tomlkit.parse(text)
    table = rule_path(rule)
    written: list[str] = []
    for one in proposals:
        if not one.sound:
            continue
        before = source.values(*table, one.row)
        for key, value in one.levels.items():
            if isinstance(was := before.get(key), int | float) and was != value:
                written.append(f"{rule.name}, {one.row}: {key} = {was:g} is now {value:g}")
                row = _row_at(document, (*table, one.row))
                row[key] = int(value) if value.is_integer() else value
    if written:
        _replace(path, tomlkit.dumps(document))
        written.append(f"written to {path.name}")
    return written


def _row_at(document: tomlkit.TOMLDocument, path: Sequence[str]) -> MutableMapping[str, object]:
    """The row at ``path``, made with the tables around it if it is not there."""
    table = cast("MutableMapping[str, object]", document)
    *tables, row = path
    for n, name in enumerate(tables):
        if name not in table:
            table[name] = tomlkit.table(is_super_table=n < len(tables) - 1)
        table = cast("MutableMapping[str, object]", table[name])
    if row not in table:
        table[row] = tomlkit.inline_table()
    return cast("MutableMapping[str, object]", table[row])


def _replace(path: Path, text: str) -> None:
    """All of it or nothing: a running Lowtide takes changes over at once."""
    with NamedTemporaryFile(
        "w", dir=path.parent, suffix=".toml", delete=False, encoding="utf-8"
    ) as file:
        file.write(text)
    new = Path(file.name)
    try:
        load(new, {})
        if path.exists():
            new.chmod(path.stat().st_mode)
        new.replace(path)
    except ConfigError as error:
        words = str(error).replace(new.name, path.name)
        raise ValueError(
            f"the proposal does not fit the rest of {path.name}, and nothing was written: {words}"
        ) from error
    finally:
        new.unlink(missing_ok=True)


def _remarks(proposal: Proposal) -> list[str]:
    remarks: list[str] = []
    if proposal.scaled:
        levels = " and ".join(proposal.scaled)
        remarks.append(f"  nothing recorded went as far as {levels}: moved in proportion")
    if proposal.why:
        remarks.append(f"  {proposal.why}: a guess, and --write leaves this row as it is")
    return remarks


def _row(levels: Mapping[str, float]) -> str:
    return "{ " + ", ".join(f"{key} = {x:g}" for key, x in levels.items()) + " }"


def _around(one: Proposal) -> Sequence[Tried]:
    chosen = one.levels.get("alert", next(iter(one.levels.values())))
    place = next((n for n, t in enumerate(one.tried) if t.threshold == chosen), 0)
    first = max(0, min(place - _SHOWN // 2, len(one.tried) - _SHOWN))
    return one.tried[first : first + _SHOWN]
