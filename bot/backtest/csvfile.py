"""CSV files of the documented forms (docs/backtest.md) → columns, all of a file or nothing.

Survived, and noted: rows out of order, rows that stand twice. Refused, with file and line: any
other fault.
"""

import csv
import gzip
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from io import TextIOWrapper
from itertools import pairwise
from math import isfinite, nan
from pathlib import Path
from typing import NamedTuple, TextIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from bot.backtest.series import Notes, Times
from streams.events import Ms

EARLIEST: Ms = 1_230_768_000_000  # 2009
LATEST: Ms = 4_102_444_800_000  # 2100

_STEP = re.compile(r"([1-9][0-9]*)(s|min|m|h|d)")
_STEP_MS = {"s": 1_000, "min": 60_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

_Cell = TypeVar("_Cell", str, int, float)


class BadFile(ValueError):
    """A file that cannot be used, in one sentence with file and line."""


@dataclass(slots=True)
class Table:
    """One file. ``at``: when each row was known, ascending; columns by name, as long.

    ``names``: text; ``steps``: Ms; ``numbers``: NaN where nothing was given. ``source``: the path
    with its digits left out, so that files cut by date are one source and other files are not.
    """

    form: str
    at: Times
    names: dict[str, list[str]]
    steps: list[Ms]
    numbers: dict[str, NDArray[np.float64]]
    source: str


class Form(NamedTuple):
    """The columns besides the time: those that name a series, numbers, and those that may miss."""

    names: tuple[str, ...]
    numbers: tuple[str, ...]
    extra: tuple[str, ...] = ()


FORMS: dict[str, Form] = {
    "metric": Form(("metric", "asset"), ("value",), ("instrument", "low", "high", "floor_musd")),
    "price": Form(("asset",), ("price",)),
    "funding_settled": Form(("venue", "asset"), ("rate", "interval_h")),
    "funding_predicted": Form(
        ("venue", "asset"), ("rate_8h_open", "rate_8h_high", "rate_8h_low", "rate_8h_close")
    ),
    "open_interest": Form(("venue", "asset", "step"), ("oi_usd", "oi_base")),
    "depth": Form(("venue", "asset", "step"), ("band_bp", "bid_usd", "ask_usd")),
    "liquidations": Form(("venue", "asset", "window"), ("long_usd", "short_usd")),
    "price_bars": Form(("venue", "asset", "step"), ("open", "high", "low", "close", "volume_base")),
    "breadth": Form(
        ("venue", "asset"), ("n", "median_return", "share_down_5pct", "quote_volume_usd")
    ),
}
"""Recognised by their header, in any order of columns."""

_MAY_MISS = frozenset(
    {"value", "low", "high", "floor_musd", "oi_base", "median_return", "volume_base"}
)
_POSITIVE = frozenset({"open", "close", "price", "interval_h", "band_bp"})
_NOT_NEGATIVE = frozenset(
    {"oi_usd", "oi_base", "bid_usd", "ask_usd", "long_usd", "short_usd", "floor_musd"}
)


def is_csv(path: Path) -> bool:
    """Whether a file is read here."""
    return path.name.endswith((".csv", ".csv.gz"))


def read(path: Path, notes: Notes) -> Table:
    """One file. BadFile if any of it cannot be used; OSError if it cannot be opened."""
    header, rows = _rows(path)
    form_name, form = _form(path, header)
    columns: list[tuple[str, ...]] = list(zip(*rows, strict=True))
    cells = dict(zip(header, columns, strict=True))
    time = "known_ms" if "known_ms" in header else "time"
    at = _times(path, time, cells.pop(time))
    lengths = [name for name in ("step", "window") if name in cells]
    steps = _each(path, cells.pop(lengths[0]), step) if lengths else [0] * len(at)
    names = [*(n for n in form.names if n in cells), *(n for n in ("instrument",) if n in cells)]
    table = Table(
        form_name,
        at,
        {name: _texts(path, name, cells.pop(name)) for name in names},
        steps,
        {name: _numbers(path, name, some) for name, some in cells.items()},
        re.sub(r"\d+", "#", str(path)),
    )
    return _ordered(path, table, notes)


@cache
def step(text: str) -> Ms:
    """``4h``, ``1d``, ``1min``: Ms. ValueError in words."""
    found = _STEP.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not a length of time such as 1min, 4h or 1d")
    return int(found[1]) * _STEP_MS[found[2]]


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    rows: list[list[str]] = []
    header: list[str] = []
    try:
        with _opened(path) as file:
            lines = csv.reader(file, strict=True)
            header = [name.strip() for name in next(lines, list[str]())]
            for row in lines:
                if len(row) != len(header):
                    raise _bad(path, len(rows), f"has {len(row)} fields, the header {len(header)}")
                rows.append(row)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        text = "the compressed file ends too early or is damaged: get it again"
        raise _bad(path, len(rows), text) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise _bad(path, len(rows), f"cannot be read as CSV: {error}") from error
    if not header:
        raise BadFile(f"{path}, line 1: the file is empty")
    if not rows:
        raise BadFile(f"{path}, line 2: there is a header and no row")
    return header, rows


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return TextIOWrapper(gzip.open(path), encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _form(path: Path, header: Sequence[str]) -> tuple[str, Form]:
    given = set(header) - {"known_ms", "time"}
    clocks = [name for name in ("known_ms", "time") if name in header]
    if len(given) + len(clocks) != len(header):
        raise BadFile(f"{path}, line 1: a column stands in the header twice")
    for name, form in FORMS.items():
        needed = {*form.names, *form.numbers}
        if len(clocks) == 1 and needed <= given <= needed | set(form.extra):
            return name, form
    raise BadFile(
        f"{path}, line 1: the header {','.join(header)!r} is none of the forms that"
        " docs/backtest.md lists; the simplest is known_ms,metric,asset,value"
    )


def _times(path: Path, name: str, cells: Sequence[str]) -> Times:
    if name == "known_ms":
        return np.array(_each(path, cells, _ms), np.int64)
    zones: set[str] = set()

    def one(text: str) -> Ms:
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a time such as 2025-02-03T08:00:00Z") from None
        if when.tzinfo is None:
            raise ValueError(f"{text!r} names no time zone: write Z behind it if it is UTC")
        zones.add(str(when.utcoffset()))
        if len(zones) > 1:
            raise ValueError(f"{text!r} is in another time zone than the rows above: use one")
        return _in_range(round(when.timestamp() * 1000), text)

    return np.array(_each(path, cells, one), np.int64)


def _ms(text: str) -> Ms:
    if not text.isdecimal():
        raise ValueError(f"known_ms {text!r} is not a whole number of ms since 1970 (UTC)")
    return _in_range(int(text), text)


def _in_range(at: Ms, text: str) -> Ms:
    if EARLIEST <= at * 1000 < LATEST:
        raise ValueError(f"known_ms {text} is in seconds: it must be in ms")
    if not EARLIEST <= at < LATEST:
        raise ValueError(f"the time {text} is not between 2009 and 2100: is it in ms, and UTC?")
    return at


def _numbers(path: Path, name: str, cells: Sequence[str]) -> NDArray[np.float64]:
    def one(text: str) -> float:
        if not text and name in _MAY_MISS:
            return nan
        try:
            x = float(text)
        except ValueError:
            raise ValueError(f"{name} {text!r} is not a number") from None
        if not isfinite(x):
            raise ValueError(f"{name} is {text}: leave a hole empty, or leave the row out")
        if x < 0 and name in _NOT_NEGATIVE:
            raise ValueError(f"{name} is {text}, and cannot be negative")
        if x <= 0 and name in _POSITIVE:
            raise ValueError(f"{name} is {text}, and must be above zero")
        return x

    return np.array(_each(path, cells, one), np.float64)


def _texts(path: Path, name: str, cells: Sequence[str]) -> list[str]:
    if name != "instrument" and "" in cells:
        raise _bad(path, cells.index(""), f"{name} is empty")
    return list(cells)


def _each(path: Path, cells: Sequence[str], one: Callable[[str], _Cell]) -> list[_Cell]:
    found: list[_Cell] = []
    try:
        for cell in cells:
            found.append(one(cell))  # noqa: PERF401  its length says which line is wrong
    except ValueError as error:
        raise _bad(path, len(found), str(error)) from None
    return found


def _bad(path: Path, row: int, text: str) -> BadFile:
    return BadFile(f"{path}, line {row + 2}: {text}")


def _ordered(path: Path, table: Table, notes: Notes) -> Table:
    """In order of time, each row once."""
    at = table.at.tolist()
    keys = [*table.names.values(), table.steps]
    if "band_bp" in table.numbers:
        keys.append(table.numbers["band_bp"].tolist())
    late = sum(other < one for one, other in pairwise(at))
    first: dict[tuple[object, ...], int] = {}
    kept: list[int] = []
    for row, key in enumerate(zip(at, *keys, strict=True)):
        before = first.setdefault(key, row)
        if before == row:
            kept.append(row)
        elif not all(_same(column, before, row) for column in table.numbers.values()):
            text = f"differs from line {before + 2}, though time and names are the same"
            raise _bad(path, row, text + ": which one is right cannot be known")
    if late:
        notes.said.append(f"{path}: {late} rows were out of order, and put in order of time")
    if len(kept) < len(at):
        notes.said.append(f"{path}: {len(at) - len(kept)} rows stand there twice, and count once")
    elif not late:
        return table
    order = np.array(sorted(kept, key=at.__getitem__))
    return Table(
        table.form,
        table.at[order],
        {name: [column[row] for row in order] for name, column in table.names.items()},
        [table.steps[row] for row in order],
        {name: column[order] for name, column in table.numbers.items()},
        table.source,
    )


def _same(column: NDArray[np.float64], one: int, other: int) -> bool:
    return bool(column[one] == column[other] or (column[one] != column[one]))
