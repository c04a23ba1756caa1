"""CSV files of the documented forms (docs/backtest.md) → rows and series, all of a file or nothing.

Survived, and noted: rows out of order, rows that stand twice. Refused, with file and line: any
other fault.
"""

import csv
import gzip
import re
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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

from bot.backtest.rows import EARLIEST, LATEST, Numbers, RowForm, RowPart, Rows, united
from bot.backtest.series import (
    Chunk,
    Notes,
    RecordedSeries,
    SeriesKey,
    Times,
    add_series,
    series_of,
)
from bot.config.markets import coin_meant
from rules.snapshot import PRICE
from streams.durations import duration
from streams.events import Ms
from streams.text import printable

_Cell = TypeVar("_Cell", str, int, float)


class BadFile(ValueError):
    """A file that cannot be used, in one sentence with file and line."""


@dataclass(slots=True)
class CsvTable:
    """One file; columns have the length of ``at``."""

    form: str
    at: Times
    """When each row was known, Ms, ascending."""
    names: dict[str, list[str]]
    """Columns of text, by name."""
    steps: list[Ms]
    """For how many Ms before it each row stands."""
    numbers: dict[str, NDArray[np.float64]]
    """Columns of numbers, by name; NaN: nothing was given."""
    source: str
    """The path without its digits, so that files cut by date are one source, and other files are
    not."""


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

_SERIES = ("metric", "price")
"""These hold a series as it is; the others rows, by the name of their ``RowForm``."""

_MAY_MISS = frozenset(
    {"value", "low", "high", "floor_musd", "oi_base", "median_return", "volume_base"}
)
_POSITIVE = frozenset({"open", "close", "price", "interval_h", "band_bp"})
_NOT_NEGATIVE = frozenset(
    {"oi_usd", "oi_base", "bid_usd", "ask_usd", "long_usd", "short_usd", "floor_musd"}
)
_RATES = frozenset({"rate", "rate_8h_open", "rate_8h_high", "rate_8h_low", "rate_8h_close"})
_MOST_RATE = 1.0
"""All that a position is worth, which no venue charges at once."""
_MOST_HOURS = 24.0
_LONGEST_NAME = 60
"""Of what is named in a cell: contracts of venues, and metrics, are shorter."""


def is_csv(path: Path) -> bool:
    """Whether a file is read here."""
    return path.name.endswith((".csv", ".csv.gz"))


def read(path: Path, notes: Notes) -> CsvTable:
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
    table = CsvTable(
        form_name,
        at,
        {name: _texts(path, name, cells.pop(name)) for name in names},
        steps,
        {name: _numbers(path, name, column) for name, column in cells.items()},
        re.sub(r"\d+", "#", str(path)),
    )
    if form_name == "price_bars":
        _possible(path, table.numbers)
    for asset in dict.fromkeys(table.names.get("asset", ())):
        if (near := coin_meant(asset)) != asset:
            notes.add(f"{path}: {asset} is taken for a coin of that name: is it {near}?")
    return _ordered(path, table, notes)


@cache
def step(text: str) -> Ms:
    """``4h``, ``1d``, ``1min``: Ms. ValueError in words."""
    length = duration(re.sub(r"(?<=\d)min$", "m", text))
    if not length:
        raise ValueError(f"{text!r} is not a length of time such as 1min, 4h or 1d")
    return length


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    rows: list[list[str]] = []
    header: list[str] = []
    try:
        with _opened(path) as file:
            lines = csv.reader(file, strict=True)
            header = [name.strip() for name in next(lines, list[str]())]
            _only_commas(path, header)
            empty = False
            for row in lines:
                if empty and row:
                    raise _bad(path, len(rows), "is empty, and rows follow: take it out")
                empty = not row
                if empty:  # at the end editors and shells leave some
                    continue
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
        raise BadFile(f"{path}, line 1: there is a header and no row below it")
    return header, rows


def _only_commas(path: Path, header: Sequence[str]) -> None:
    if len(header) == 1 and (separator := next((c for c in ";\t|" if c in header[0]), "")):
        raise BadFile(
            f"{path}, line 1: the columns are parted by {separator!r}: commas are needed, and a"
            " point in decimal numbers"
        )


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return TextIOWrapper(gzip.open(path), encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _form(path: Path, header: Sequence[str]) -> tuple[str, Form]:
    columns = set(header) - {"known_ms", "time"}
    clocks = [name for name in ("known_ms", "time") if name in header]
    if len(columns) + len(clocks) != len(header):
        raise BadFile(f"{path}, line 1: a column stands in the header twice")
    for name, form in FORMS.items():
        needed = {*form.names, *form.numbers}
        if len(clocks) == 1 and needed <= columns <= needed | set(form.extra):
            return name, form
    raise BadFile(
        f"{path}, line 1: the header {','.join(header)!r} is none of the forms that"
        " docs/backtest.md lists; the simplest is known_ms,metric,asset,value"
    )


def _times(path: Path, name: str, cells: Sequence[str]) -> Times:
    if name == "known_ms":
        return np.array(_each(path, cells, _ms), np.int64)
    zones: set[str] = set()

    def moment(text: str) -> Ms:
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

    return np.array(_each(path, cells, moment), np.int64)


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
    def number(text: str) -> float:
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
        if abs(x) > _MOST_RATE and name in _RATES:
            raise ValueError(f"{name} is {text}: it is a fraction, 0.0001 for 0.01 %")
        if x > _MOST_HOURS and name == "interval_h":
            raise ValueError(f"{name} is {text}: it is in hours, 24 at most")
        return x

    return np.array(_each(path, cells, number), np.float64)


def _texts(path: Path, name: str, cells: Sequence[str]) -> list[str]:
    if name != "instrument" and "" in cells:
        raise _bad(path, cells.index(""), f"{name} is empty")
    for text in dict.fromkeys(cells):
        if len(text) > _LONGEST_NAME or not text.isprintable():
            shown = printable(text, _LONGEST_NAME)
            raise _bad(path, cells.index(text), f"{name} {shown} is no name")
    return list(cells)


def _possible(path: Path, bars: Mapping[str, NDArray[np.float64]]) -> None:
    """Raises BadFile for the first bar that cannot be. What is not given is not wrong."""
    low, high = bars["low"], bars["high"]
    for row in np.flatnonzero((low <= 0) | (low > high)).tolist()[:1]:
        text = f"has a low of {low[row]:g} and a high of {high[row]:g}, which cannot be"
        raise _bad(path, row, text)


def _each(path: Path, cells: Sequence[str], value: Callable[[str], _Cell]) -> list[_Cell]:
    values: list[_Cell] = []
    try:
        for cell in cells:
            values.append(value(cell))  # noqa: PERF401  its length says which line is wrong
    except ValueError as error:
        raise _bad(path, len(values), str(error)) from None
    return values


def _bad(path: Path, row: int, text: str) -> BadFile:
    return BadFile(f"{path}, line {row + 2}: {text}")


def _ordered(path: Path, table: CsvTable, notes: Notes) -> CsvTable:
    """In order of time, each row once."""
    at = table.at.tolist()
    keys = [*table.names.values(), table.steps]
    if "band_bp" in table.numbers:
        keys.append(table.numbers["band_bp"].tolist())
    late = sum(other < later for later, other in pairwise(at))
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
        notes.add(f"{path}: {late} rows were out of order, and put in order of time")
    if len(kept) < len(at):
        notes.add(f"{path}: {len(at) - len(kept)} rows stand there twice, and count once")
    elif not late:
        return table
    order = np.array(sorted(kept, key=at.__getitem__))
    return CsvTable(
        table.form,
        table.at[order],
        {name: [column[row] for row in order] for name, column in table.names.items()},
        [table.steps[row] for row in order],
        {name: column[order] for name, column in table.numbers.items()},
        table.source,
    )


def _same(column: NDArray[np.float64], row: int, other: int) -> bool:
    return bool(column[row] == column[other] or (column[row] != column[row]))


class CsvRows:
    """The rows of venues that these tables hold, apart by what is counted alike."""

    def __init__(self, tables: Sequence[CsvTable]) -> None:
        parts: dict[tuple[RowForm, str, str, str], list[RowPart]] = {}
        for table in tables:
            for part in _parts(table):
                parts.setdefault((part.form, part.asset, part.venue, part.scope), []).append(part)
        self._parts: dict[tuple[RowForm, str], list[RowPart]] = {}
        for (form, asset, _, _), same in parts.items():
            whole = same[0]._replace(rows=united(same))
            self._parts.setdefault((form, asset), []).append(whole)

    def span(self) -> tuple[Ms, Ms] | None:
        times = [part.rows.at for parts in self._parts.values() for part in parts]
        if not times:
            return None
        return min(int(at[0]) for at in times), max(int(at[-1]) for at in times)

    def assets(self) -> Collection[str]:
        return dict.fromkeys(asset for _, asset in self._parts).keys()

    def venues(self) -> Collection[str]:
        return {part.venue for parts in self._parts.values() for part in parts}

    def parts(self, form: RowForm, asset: str, start: Ms, end: Ms) -> Sequence[RowPart]:
        known = self._parts.get((form, asset), ())
        parts = [part._replace(rows=part.rows.between(start, end)) for part in known]
        return [part for part in parts if len(part.rows.at)]


def _parts(table: CsvTable) -> Iterator[RowPart]:
    """The rows of a table by venue, asset and scope."""
    if table.form in _SERIES:
        return
    form = RowForm(table.form)
    match form:
        case RowForm.OPEN_INTEREST:
            scopes = [f"{ms} {table.source}" for ms in table.steps]
        case RowForm.DEPTH:
            scopes = [f"{band:g} bp" for band in table.numbers["band_bp"].tolist()]
        case _:
            scopes = [""] * len(table.at)
    keys = zip(table.names["venue"], table.names["asset"], scopes, strict=True)
    places: dict[tuple[str, str, str], list[int]] = {}
    for row, key in enumerate(keys):
        places.setdefault(key, []).append(row)
    steps = np.array(table.steps, np.int64)
    for (venue, asset, scope), rows_of in places.items():
        chosen = np.array(rows_of)
        numbers = {name: column[chosen] for name, column in table.numbers.items()}
        part = RowPart(form, venue, asset, scope, Rows(table.at[chosen], steps[chosen], numbers))
        yield part._replace(rows=united([part]))


def ready_series(tables: Sequence[CsvTable]) -> dict[SeriesKey, RecordedSeries]:
    """The series that these tables hold as they are, with nothing to be computed."""
    chunk = Chunk(0, 0, {})
    for table in tables:
        add_series(chunk, _series(table))
    return chunk.series


def _series(table: CsvTable) -> dict[SeriesKey, RecordedSeries]:
    if table.form not in _SERIES:
        return {}
    count = len(table.at)
    metrics = table.names.get("metric", [PRICE] * count)
    instruments = table.names.get("instrument", [""] * count)
    rows: dict[SeriesKey, list[int]] = {}
    for row, place in enumerate(zip(metrics, table.names["asset"], instruments, strict=True)):
        rows.setdefault(SeriesKey(*place), []).append(row)
    return {place: _series_of(table, np.array(rows_of)) for place, rows_of in rows.items()}


def _series_of(table: CsvTable, rows: NDArray[np.int64]) -> RecordedSeries:
    def column(name: str, instead: Numbers) -> Numbers:
        numbers = table.numbers.get(name)
        return (
            instead
            if numbers is None
            else np.where(np.isnan(numbers[rows]), instead, numbers[rows])
        )

    value = table.numbers["value" if table.form == "metric" else "price"][rows]
    floor = column("floor_musd", np.full(len(rows), np.inf))
    recorded = series_of(table.at[rows], value, floor=floor)
    recorded.low = column("low", value).astype(np.float32)
    recorded.high = column("high", value).astype(np.float32)
    return recorded
