"""Tables of plain history → the series of metrics, each value made only of what was known by then.

A value over a window needs a row at its start: so rows each 4 h give no value over 1 h. What is
assumed where history says less than live feeds do is in docs/backtest.md.

Rows of one venue and asset, and the steps from them to the series of a metric.

CSV files of the documented forms (docs/backtest.md) → columns, all of a file or nothing.

Survived, and noted: rows out of order, rows that stand twice. Refused, with file and line: any
other fault.
"""

import csv
import gzip
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
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

from bot.backtest.series import (
    Chunk,
    Notes,
    RecordedSeries,
    SeriesKey,
    Times,
    add_series,
    rows_where,
    steps,
)
from bot.lang import en as words
from rules.alerts import ALL
from rules.metric import LEAST_SHARE
from rules.metrics import metric
from rules.metrics.funding import SETTLED_LATE
from rules.snapshot import PRICE
from streams.durations import DAY, HOUR, MINUTE, duration
from streams.events import Ms

EARLIEST: Ms = 1_230_768_000_000  # 2009
LATEST: Ms = 4_102_444_800_000  # 2100

_Cell = TypeVar("_Cell", str, int, float)


class BadFile(ValueError):
    """A file that cannot be used, in one sentence with file and line."""


@dataclass(slots=True)
class CsvTable:
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
        {name: _numbers(path, name, some) for name, some in cells.items()},
        re.sub(r"\d+", "#", str(path)),
    )
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


def _ordered(path: Path, table: CsvTable, notes: Notes) -> CsvTable:
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
    return CsvTable(
        table.form,
        table.at[order],
        {name: [column[row] for row in order] for name, column in table.names.items()},
        [table.steps[row] for row in order],
        {name: column[order] for name, column in table.numbers.items()},
        table.source,
    )


def _same(column: NDArray[np.float64], one: int, other: int) -> bool:
    return bool(column[one] == column[other] or (column[one] != column[one]))


_NORMAL_DAYS = 14
_READY_DAYS = 5
_USUAL_FOR: Ms = 30 * DAY
"""So long what a venue held when it was last heard counts as usual: longer than any outage or hole
of a file, shorter than a venue that closed should weigh on the others."""

Numbers = NDArray[np.float64]


class Rows(NamedTuple):
    """What one venue said of one asset, in order of time. ``step``: Ms to the next, as a rule."""

    at: Times
    step: NDArray[np.int64]
    numbers: dict[str, Numbers]

    def newest(self, now: Times) -> NDArray[np.intp]:
        """The last row known at each moment, -1 before the first."""
        return np.searchsorted(self.at, now, "right") - 1


def add_where_silent(
    found: dict[SeriesKey, RecordedSeries], series: dict[SeriesKey, RecordedSeries]
) -> None:
    """Adds the rows at moments at which ``found`` is silent: one source speaks at a time.

    A source is silent from one and a half of its steps after its last row, so whether another one
    may speak is known at that moment and does not depend on what comes later.
    """
    for place, other in series.items():
        known = found.get(place)
        if known is None:
            found[place] = other
            continue
        last = np.searchsorted(known.at, other.at, "right") - 1
        silent = (last < 0) | (other.at - known.at[last] > known.step[last] * 3 // 2)
        if silent.any():
            add_series(Chunk(0, 0, found), {place: rows_where(other, silent)})


def rows_of(tables: Sequence[CsvTable], rows: list[tuple[Ms, Ms, int, int]]) -> Rows:
    """In order of time; of several rows of one time that with the finest step."""
    best: dict[Ms, tuple[Ms, int, int]] = {}
    for at, step, n, row in rows:
        if at not in best or step < best[at][0]:
            best[at] = (step, n, row)
    order = sorted(best)
    chosen = [best[at] for at in order]
    numbers = {
        name: np.array([tables[n].numbers[name][row] for _, n, row in chosen])
        for name in tables[0].numbers
    }
    return Rows(np.array(order, np.int64), np.array([s for s, _, _ in chosen], np.int64), numbers)


def starts(at: Times, window: Ms) -> NDArray[np.intp]:
    """For each row that at the start of the window which it ends, -1 where there is none.

    One that is older than the start by more than a quarter of the window is none.
    """
    first = np.searchsorted(at, at - window, "right") - 1
    return np.where((first >= 0) & (at - window - at[first] <= window // 4), first, -1)


def both_ends(
    rows: Rows, at: Times, window: Ms
) -> tuple[Numbers, Numbers, Numbers, Numbers, Numbers]:
    """Coins before and after, USD before, the step, and the usual coins, at each moment.

    Usual is what the newest row said, also when it is old: a venue that is not heard still holds
    its contracts.
    """
    last = rows.newest(at)
    age = at - rows.at[last]
    fresh = (last >= 0) & (age <= np.maximum(rows.step[last] * 3 // 2, MINUTE))
    first = starts(rows.at, window)[last]
    base, usd = rows.numbers["base"], rows.numbers["usd"]
    known = fresh & (first >= 0)
    usual = np.where((last >= 0) & (age <= _USUAL_FOR), base[last], np.nan)
    before, after, held = base[first], base[last], usd[first]
    return (
        np.where(known, before, np.nan),
        np.where(known, after, np.nan),
        np.where(known, held, np.nan),
        np.where(known, rows.step[last], np.nan),
        usual,
    )


def normally(at: Times, usd: Numbers) -> Numbers:
    """The median of the last 14 days within an hour of this hour of day; NaN before 5 days."""
    normal = np.full(len(at), np.nan)
    for n in range(len(at)):
        now = int(at[n])
        first = int(np.searchsorted(at, now - _NORMAL_DAYS * DAY))
        before: Times = at[first:n]
        apart: Times = (before - now) % DAY
        near = (apart <= HOUR) | (apart >= DAY - HOUR)
        kept: Times = before[near] // DAY
        days: set[int] = {*kept.tolist()}
        if len(days) >= _READY_DAYS:
            normal[n] = np.median(usd[first:n][near])
    return normal


def pct_8h(rows: Rows) -> Numbers:
    return 100 * rows.numbers["rate"] * 8 / rows.numbers["interval_h"]


def series_of(
    at: Times, value: Numbers, step: Times | None = None, floor: Numbers | None = None
) -> RecordedSeries:
    """``step``: as the source states it; None: as the rows show it."""
    x = value.astype(np.float32)
    least = None if floor is None else floor.astype(np.float32)
    return RecordedSeries(at, x, x, x, steps(at) if step is None else step, least)


def known_values(
    name: str,
    asset: str,
    at: Times,
    value: Numbers,
    step: Times | None = None,
    floor: Numbers | None = None,
) -> dict[SeriesKey, RecordedSeries]:
    """The rows that have a value, nothing if none has."""
    known = ~np.isnan(value)
    if not known.any():
        return {}
    least = np.full(len(at), np.inf) if floor is None else floor
    stated = None if step is None else step[known]
    return {SeriesKey(name, asset): series_of(at[known], value[known], stated, least[known])}


def with_settlements(
    name: str, asset: str, at: Times, pct: Numbers, settled: Times, hours: Numbers
) -> dict[SeriesKey, RecordedSeries]:
    series = series_of(at, pct, (hours * HOUR).astype(np.int64), np.full(len(at), np.inf))
    series.settled = ((at - settled) / MINUTE).astype(np.float32)
    series.interval = (60 * hours).astype(np.float32)
    return {SeriesKey(name, asset): series}


EVERYONE = "all"
"""A row of this venue is the sum over all of them."""

LEAST_CONTRACTS = 20
"""A share of fewer contracts is not one of the market."""


_Found = dict[tuple[str, str], Rows]
"""(asset, venue) → rows."""

_Scopes = dict[tuple[str, str], list[Rows]]
"""(asset, venue) → rows of each scope, the finest first.

Files of one venue may count different contracts (with those margined in coins or without), so the
two ends of a window are of one source and step.
"""


class History:
    """Tables together. ``venues``: in the order of the configuration; others count for OI only."""

    def __init__(self, tables: Sequence[CsvTable], venues: Sequence[str]) -> None:
        self._venues = tuple(venues)
        self._tables = tables
        self._funding = self._of("funding_settled")
        self._predicted = self._of("funding_predicted")
        self._holdings = self._scopes("open_interest")
        self._bars = self._of("price_bars")
        self._depth = self._of("depth")
        self._burst = self._of("liquidations")
        self._price_series = self._prices()
        self._plain: dict[SeriesKey, RecordedSeries] = {}
        for table in tables:
            add_series(Chunk(0, 0, self._plain), _plain(table))

    def series(self, metrics: Iterable[str], notes: Notes) -> dict[SeriesKey, RecordedSeries]:
        """The series of these metrics, and of prices; ``notes`` hear why one has none."""
        found = Chunk(0, 0, dict(self._plain))
        add_series(found, self._price_series)
        for name in dict.fromkeys(metrics):
            made, why = self._make(name)
            add_series(found, made)
            if why and not any(place.metric == name for place in found.series):
                notes.why[name] = why
        return found.series

    def _of(self, form: str) -> _Found:
        parts: dict[tuple[str, str], list[tuple[Ms, Ms, int, int]]] = {}
        tables = [table for table in self._tables if table.form == form]
        for n, table in enumerate(tables):
            assets, venues = table.names["asset"], table.names["venue"]
            times = table.at.tolist()
            for row, key in enumerate(zip(assets, venues, strict=True)):
                parts.setdefault(key, []).append((times[row], table.steps[row], n, row))
        return {key: rows_of(tables, rows) for key, rows in parts.items()}

    def _scopes(self, form: str) -> _Scopes:
        """The rows of each venue, source and step apart."""
        parts: dict[tuple[str, str, Ms, str], list[tuple[Ms, Ms, int, int]]] = {}
        tables = [table for table in self._tables if table.form == form]
        for n, table in enumerate(tables):
            assets, venues, times = table.names["asset"], table.names["venue"], table.at.tolist()
            for row, (asset, venue) in enumerate(zip(assets, venues, strict=True)):
                key = asset, venue, table.steps[row], table.source
                parts.setdefault(key, []).append((times[row], table.steps[row], n, row))
        scopes: _Scopes = {}
        for (asset, venue, _, _), rows in sorted(parts.items(), key=lambda part: part[0][2]):
            scopes.setdefault((asset, venue), []).append(rows_of(tables, rows))
        return scopes

    def _make(self, name: str) -> tuple[dict[SeriesKey, RecordedSeries], str]:
        window = metric(name).window
        made: dict[SeriesKey, RecordedSeries] = {}
        kind = name if name.startswith("funding") else re.sub(r"_\d+[a-z]+(_|$)", r"\1", name)
        match kind:
            case "funding_8h_pct":
                made = self._settled(name)
            case "funding_predicted_8h_pct":
                made = self._estimates(name)
            case "funding_negative_share_pct":
                made = self._negative_share(name)
            case "oi_net_pct" if window:
                made = self._net(name, window)
            case "oi_total_net_pct" if window:
                made = self._total(name, window)
            case "price_pct" if window:
                made = self._moves(name, window)
            case "liq_musd" if window:
                made = self._liquidated(name, window)
            case "depth_pct_of_normal":
                made = self._of_normal(name)
            case _:
                return {}, "history has no samples close enough for it"
        return made, "" if made else self._why(kind, window or 0)

    def _why(self, kind: str, window: Ms) -> str:
        sources = {
            "funding": (*self._funding.values(), *self._predicted.values()),
            "oi": tuple(rows for scopes in self._holdings.values() for rows in scopes),
            "price": tuple(self._bars.values()),
            "liq": tuple(self._burst.values()),
            "depth": tuple(self._depth.values()),
        }
        rows = sources[kind.split("_")[0]]
        if not rows:
            return "no data of this kind"
        steps = sorted({int(step) for one in rows for step in one.step if step > 0})
        if kind == "depth_pct_of_normal":
            bands = sorted({int(x) for one in rows for x in one.numbers["band_bp"]})
            return f"the data are of {', '.join(map(str, bands))} bp"
        if not steps or kind.startswith("funding"):
            return "no data of this kind"
        if kind.startswith("oi") and steps[0] <= window:
            return "at steps so short only small venues are known, which do not speak for all"
        best = words.length(steps[0])
        return f"the data come each {best} at best, which is too coarse for its window"

    def _prices(self) -> dict[SeriesKey, RecordedSeries]:
        found: dict[SeriesKey, RecordedSeries] = {}
        for (asset, _), rows in self._in_order(self._bars):
            series = series_of(rows.at, rows.numbers["close"], rows.step)
            add_where_silent(found, {SeriesKey(PRICE, asset): series})
        return found

    def _in_order(self, found: _Found) -> list[tuple[tuple[str, str], Rows]]:
        """By the order of venues; those that are not configured come last."""
        rank = {venue: n for n, venue in enumerate(self._venues)}
        return sorted(found.items(), key=lambda one: (rank.get(one[0][1], len(rank)), one[0][1]))

    def _moves(self, name: str, window: Ms) -> dict[SeriesKey, RecordedSeries]:
        found: dict[SeriesKey, RecordedSeries] = {}
        for (asset, _), rows in self._in_order(self._bars):
            first = starts(rows.at, window)
            # the price at a bar's low was compared with one that was no lower than the low then
            ends = {
                edge: np.where(first < 0, np.nan, 100 * (x / x[first] - 1))
                for edge, x in rows.numbers.items()
                if edge in ("close", "low", "high")
            }
            made = known_values(name, asset, rows.at, ends["close"], rows.step)
            for series in made.values():
                known = ~np.isnan(ends["close"])
                series.low = np.fmin(series.value, ends["low"][known].astype(np.float32))
                series.high = np.fmax(series.value, ends["high"][known].astype(np.float32))
            add_where_silent(found, made)
        return found

    def _net(self, name: str, window: Ms) -> dict[SeriesKey, RecordedSeries]:
        found: dict[SeriesKey, RecordedSeries] = {}
        for asset in dict.fromkeys(asset for asset, _ in self._holdings):
            at, before, after, usd, step = self._ends(asset, window)
            with np.errstate(divide="ignore", invalid="ignore"):
                pct = 100 * (after - before) / before
            found |= known_values(name, asset, at, pct, step, usd / 1e6)
        return found

    def _ends(self, asset: str, window: Ms) -> tuple[Times, Numbers, Numbers, Numbers, Times]:
        """Coins at both ends of the window, USD at its start, NaN where they cannot be said; and
        the longest step of those that speak.

        The sum over all venues where it is known at both ends, else those venues that are, if they
        hold enough of what is usual. All of it is what was known at that moment.
        """
        venues = {
            venue: [coins for rows in scopes if len((coins := self._coins(asset, rows)).at)]
            for (a, venue), scopes in self._holdings.items()
            if a == asset
        }
        times = [rows.at for scopes in venues.values() for rows in scopes]
        at = np.unique(np.concatenate([np.zeros(0, np.int64), *times]))
        sums = {name: np.zeros(len(at)) for name in ("before", "after", "usd", "usual")}
        steps = np.zeros(len(at))
        whole: tuple[Numbers, Numbers, Numbers, Numbers] | None = None
        total = np.zeros(len(at))
        speaks = np.zeros(len(at), np.bool_)  # one small venue is not the asset
        for venue, scopes in venues.items():
            before, after, usd, step, usual = _venue_ends(scopes, at, window)
            if venue in (EVERYONE, *self._venues[:1]):
                speaks |= ~np.isnan(usual)
            if venue == EVERYONE:
                whole, total = (before, after, usd, step), np.nan_to_num(usual)
                continue
            known = ~np.isnan(before)
            steps = np.fmax(steps, step)
            for key, part in (("before", before), ("after", after), ("usd", usd)):
                sums[key] += np.where(known, part, 0)
            sums["usual"] += np.nan_to_num(usual)
        usual = np.where(total > 0, total, sums["usual"])
        enough = speaks & (sums["before"] > 0) & (sums["after"] >= LEAST_SHARE * usual)
        ends = [np.where(enough, sums[key], np.nan) for key in ("before", "after", "usd")]
        ends.append(steps)
        if whole is not None:
            ends = [np.where(np.isnan(whole[0]), e, w) for e, w in zip(ends, whole, strict=True)]
        return at, ends[0], ends[1], ends[2], ends[3].astype(np.int64)

    def _coins(self, asset: str, rows: Rows) -> Rows:
        """Rows whose coins are known: where only USD were given, by the price of that moment."""
        base, usd = rows.numbers["oi_base"], rows.numbers["oi_usd"]
        prices = self._price_series.get(SeriesKey(PRICE, asset))
        if prices is not None:
            last = np.searchsorted(prices.at, rows.at, "right") - 1
            fresh = (last >= 0) & (rows.at - prices.at[last] <= 2 * HOUR)
            base = np.where(np.isnan(base) & fresh, usd / prices.value[last], base)
        known = base > 0
        return Rows(rows.at[known], rows.step[known], {"base": base[known], "usd": usd[known]})

    def _total(self, name: str, window: Ms) -> dict[SeriesKey, RecordedSeries]:
        """All assets together, at moments at which at least three of them are known."""
        moved: dict[int, float] = {}
        held: dict[int, float] = {}
        count: dict[int, int] = {}
        steps: dict[int, Ms] = {}
        for asset in dict.fromkeys(asset for asset, _ in self._holdings):
            at, before, after, usd, step = self._ends(asset, window)
            columns = (at.tolist(), before, after, usd, step.tolist())
            for t, b, a, u, s in zip(*columns, strict=True):
                if not np.isnan(b):
                    steps[t] = max(s, steps.get(t, 0))
                    moved[t] = moved.get(t, 0.0) + (a - b) / b * u
                    held[t] = held.get(t, 0.0) + u
                    count[t] = count.get(t, 0) + 1
        times = sorted(t for t, n in count.items() if n >= 3)
        pct = np.array([100 * moved[t] / held[t] for t in times])
        musd = np.array([held[t] / 1e6 for t in times])
        step = np.array([steps[t] for t in times], np.int64)
        return known_values(name, ALL, np.array(times, np.int64), pct, step, musd)

    def _settled(self, name: str) -> dict[SeriesKey, RecordedSeries]:
        found: dict[SeriesKey, RecordedSeries] = {}
        for asset in dict.fromkeys(asset for asset, _ in self._funding):
            add_where_silent(found, self._weighted(name, asset))
            for venue in self._venues[:1]:  # of unknown weight, the first speaks for all
                if (rows := self._funding.get((asset, venue))) is not None:
                    pct = pct_8h(rows)
                    hours = rows.numbers["interval_h"]
                    alone = with_settlements(name, asset, rows.at, pct, rows.at, hours)
                    add_where_silent(found, alone)
        return found

    def _weighted(self, name: str, asset: str) -> dict[SeriesKey, RecordedSeries]:
        """Weighted by open interest, at moments at which that of all venues heard so far is known.

        A venue of which nothing was heard yet is none.
        """
        rates = {v: r for v in self._venues if (r := self._funding.get((asset, v))) is not None}
        at = np.unique(np.concatenate([np.zeros(0, np.int64), *(r.at for r in rates.values())]))
        total, mean, largest = (np.zeros(len(at)) for _ in range(3))
        settled, hours = np.zeros(len(at), np.int64), np.full(len(at), 8.0)
        newest = np.zeros(len(at), np.int64)
        for rows in rates.values():
            last = rows.newest(at)
            newest = np.maximum(newest, np.where(last >= 0, rows.at[last], 0))
        for venue, rows in rates.items():
            last = rows.newest(at)
            interval = rows.numbers["interval_h"][last]
            due = rows.at[last] + (interval * HOUR).astype(np.int64)
            weight = self._held_usd(asset, venue, at)
            weight[(at > due + SETTLED_LATE) | (due <= newest + MINUTE)] = np.nan
            weight[last < 0] = 0
            total, mean = total + weight, mean + weight * pct_8h(rows)[last]
            most = weight > largest
            largest = np.where(most, weight, largest)
            settled, hours = np.where(most, rows.at[last], settled), np.where(most, interval, hours)
        known = total > 0
        if not known.any():
            return {}
        columns = (at[known], mean[known] / total[known], settled[known], hours[known])
        return with_settlements(name, asset, *columns)

    def _held_usd(self, asset: str, venue: str, at: Times) -> Numbers:
        """The newest open interest of a venue in USD, whatever its scope; NaN before the first."""
        usd, heard = np.full(len(at), np.nan), np.full(len(at), -1)
        for rows in self._holdings.get((asset, venue), ()):
            last = rows.newest(at)
            when = np.where(last >= 0, rows.at[last], -1)
            newer = when > heard
            usd[newer], heard[newer] = rows.numbers["oi_usd"][last[newer]], when[newer]
        return usd

    def _estimates(self, name: str) -> dict[SeriesKey, RecordedSeries]:
        found: dict[SeriesKey, RecordedSeries] = {}
        for (asset, _), rows in self._in_order(self._predicted):
            pct = 100 * rows.numbers["rate_8h_close"]
            add_where_silent(found, known_values(name, asset, rows.at, pct))
        return found

    def _negative_share(self, name: str) -> dict[SeriesKey, RecordedSeries]:
        contracts = [rows for (_, v), rows in self._funding.items() if v in self._venues]
        if not contracts:
            return {}
        at = np.unique(np.concatenate([rows.at for rows in contracts]))
        known, negative = np.zeros(len(at)), np.zeros(len(at))
        for rows in contracts:
            last = rows.newest(at)
            due = rows.at[last] + (rows.numbers["interval_h"][last] * HOUR).astype(np.int64)
            live = (last >= 0) & (at <= due + SETTLED_LATE)
            known += live
            negative += live & (rows.numbers["rate"][last] < 0)
        enough = known >= LEAST_CONTRACTS
        pct = 100 * negative[enough] / known[enough]
        return known_values(name, ALL, at[enough], pct)

    def _liquidated(self, name: str, window: Ms) -> dict[SeriesKey, RecordedSeries]:
        found: dict[SeriesKey, RecordedSeries] = {}
        for (asset, _), rows in self._in_order(self._burst):
            musd = (rows.numbers["long_usd"] + rows.numbers["short_usd"]) / 1e6
            for width in sorted({*rows.step.tolist()} - {0}):
                if window % width == 0:
                    bars = rows.step == width
                    made = _summed(name, asset, rows.at[bars], musd[bars], window, width)
                    add_where_silent(found, made)
        return found

    def _of_normal(self, name: str) -> dict[SeriesKey, RecordedSeries]:
        band = int(re.findall(r"\d+", name)[0])
        found: dict[SeriesKey, RecordedSeries] = {}
        for (asset, _), rows in self._in_order(self._depth):
            right = rows.numbers["band_bp"] == band
            at = rows.at[right]
            usd = (rows.numbers["bid_usd"] + rows.numbers["ask_usd"])[right]
            normal = normally(at, usd)
            pct, lost = 100 * usd / normal, (normal - usd) / 1e6
            add_where_silent(found, known_values(name, asset, at, pct, rows.step[right], lost))
        return found


def cut(series: dict[SeriesKey, RecordedSeries], start: Ms, end: Ms) -> Chunk:
    """The part of all series from ``start`` to before ``end``."""
    parts = {place: whole.between(start, end) for place, whole in series.items()}
    return Chunk(start, end, {place: part for place, part in parts.items() if part is not None})


def _venue_ends(
    scopes: Sequence[Rows], at: Times, window: Ms
) -> tuple[Numbers, Numbers, Numbers, Numbers, Numbers]:
    """As ``both_ends``: of the first scope that knows them; usual is what was heard last of any."""
    before, after, usd, step, usual = (np.full(len(at), np.nan) for _ in range(5))
    heard = np.full(len(at), -1)
    for rows in scopes:
        *ends, newest = both_ends(rows, at, window)
        take = np.isnan(before) & ~np.isnan(ends[0])
        for column, end in zip((before, after, usd, step), ends, strict=True):
            column[take] = end[take]
        last = rows.newest(at)
        when = np.where(last >= 0, rows.at[last], -1)
        newer = (when > heard) & ~np.isnan(newest)
        usual[newer], heard[newer] = newest[newer], when[newer]
    usual = np.where(np.isnan(after), usual, after)  # compared with what is counted alike
    return before, after, usd, step, usual


def _summed(
    name: str, asset: str, at: Times, musd: Numbers, window: Ms, width: Ms
) -> dict[SeriesKey, RecordedSeries]:
    """Sums over whole windows of bars of one width."""
    count = window // width
    sums = np.convolve(musd, np.ones(count))[: len(musd)]
    first = np.arange(len(musd)) - (count - 1)
    whole = (first >= 0) & (at - at[first] == (count - 1) * width)
    steps = np.full(int(whole.sum()), width, np.int64)
    return known_values(name, asset, at[whole], sums[whole], steps, sums[whole])


def _plain(table: CsvTable) -> dict[SeriesKey, RecordedSeries]:
    """Series that a file holds as they are."""
    if table.form not in ("metric", "price"):
        return {}
    count = len(table.at)
    metrics = table.names.get("metric", [PRICE] * count)
    instruments = table.names.get("instrument", [""] * count)
    rows: dict[SeriesKey, list[int]] = {}
    for row, place in enumerate(zip(metrics, table.names["asset"], instruments, strict=True)):
        rows.setdefault(SeriesKey(*place), []).append(row)
    return {place: _given(table, np.array(some)) for place, some in rows.items()}


def _given(table: CsvTable, rows: NDArray[np.int64]) -> RecordedSeries:
    def column(name: str, instead: Numbers) -> Numbers:
        given = table.numbers.get(name)
        return instead if given is None else np.where(np.isnan(given[rows]), instead, given[rows])

    value = table.numbers["value" if table.form == "metric" else "price"][rows]
    floor = column("floor_musd", np.full(len(rows), np.inf))
    series = series_of(table.at[rows], value, floor=floor)
    series.low = column("low", value).astype(np.float32)
    series.high = column("high", value).astype(np.float32)
    return series
