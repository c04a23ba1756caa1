"""The days of a metric log as series, read in pieces that fit into memory whatever their width."""

import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, cast

import msgspec
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from bot.backtest.series import (
    Chunk,
    Floats,
    Notes,
    RecordedSeries,
    SeriesKey,
    even,
    joined,
    rows_by_time,
)
from bot.metriclog import (
    BLOCK,
    COLUMNS,
    MAGIC,
    SUFFIX,
    Column,
    Inflate,
    LogRow,
    columns_named,
    log_changes,
)
from rules.context import CONTEXT
from rules.snapshot import MACRO_PRICE
from streams.durations import DAY, MINUTE
from streams.events import Ms

_Bits = NDArray[np.uint32]

_AT_ONCE = 64
"""So many rows are put together at once, which then are still in the processor's cache: a day of
forty assets takes 7 ms, and twice that in one go."""

_CELLS = 6_000_000
"""So many numbers of a log are held at once, in 24 MB: two days of forty assets."""


class MetricLogs:
    """Any number of days as a source of series. Raises ValueError in a sentence for a file that is
    no metric log; what is torn is left out, and noted."""

    def __init__(self, files: Sequence[Path], notes: Notes) -> None:
        self._days = {day_of(file.name): file for file in sorted(files, key=lambda f: f.name)}
        self._notes = notes
        self._piece: tuple[Ms, Ms] = 0, 0
        self._by_asset: dict[str, dict[SeriesKey, RecordedSeries]] = {}
        self._reader: tuple[Ms, _DayReader] | None = None

    def span(self) -> tuple[Ms, Ms] | None:
        """From the beginning of the first day to the last moment of the last."""
        return (min(self._days), max(self._days) + DAY - 1) if self._days else None

    def edges(self) -> Collection[Ms]:
        """The ends of as many days as are read at once, and of as much of a wide day."""
        edges: set[Ms] = set()
        held = 0
        for day, file in self._days.items():
            cells = _widest(file) * (DAY // MINUTE)
            if held + cells > _CELLS:
                edges.add(day)
                held = 0
            held += cells
            if cells > _CELLS:
                minutes = -(-DAY // MINUTE // -(-cells // _CELLS))
                edges.update(range(day, day + DAY, minutes * MINUTE))
                edges.add(day + DAY)
        return edges

    def assets(self, start: Ms, end: Ms) -> Collection[str]:
        """Those of which there is a column in this piece."""
        return self._between(start, end).keys()

    def read(self, asset: str, start: Ms, end: Ms) -> dict[SeriesKey, RecordedSeries]:
        """The series of an asset from ``start`` to before ``end``."""
        return self._between(start, end).get(asset, {})

    def _between(self, start: Ms, end: Ms) -> dict[str, dict[SeriesKey, RecordedSeries]]:
        """All series of a piece by asset; the last piece is kept, since each asset is asked for."""
        if (start, end) != self._piece:
            self._piece, self._by_asset = (start, end), {}
            segments: list[_Segment] = []
            for day in self._days:
                if start < day + DAY and day < end:
                    self._reader_of(day, start).read(start, end, segments)
            for key, series in _chunk(segments).series.items():
                self._by_asset.setdefault(key.asset, {})[key] = series
        return self._by_asset

    def _reader_of(self, day: Ms, start: Ms) -> "_DayReader":
        """The one that stands before ``start``, so that the pieces of a day are unpacked once."""
        known = self._reader
        if known is None or known[0] != day or start < known[1].position:
            self._reader = known = day, _DayReader(self._days[day], self._notes)
        return known[1]


def day_of(name: str) -> Ms:
    """When the day of a metric log begins, by the file's name. ValueError in a sentence."""
    try:
        when = datetime.strptime(name, f"%Y-%m-%d{SUFFIX}").replace(tzinfo=UTC)
    except ValueError:
        text = f"{name}: the name of a metric log is its day, such as 2026-10-03{SUFFIX}"
        raise ValueError(text) from None
    return round(when.timestamp() * 1000)


@dataclass(slots=True)
class _Segment:
    """Rows with the same columns."""

    columns: list[Column]
    minutes: list[int] = field(default_factory=list[int])
    bits: list[_Bits] = field(default_factory=list[_Bits])
    """Some rows each, a line for each row."""

    def values(self) -> Floats:
        """A line for each column."""
        out = np.empty((len(self.columns), len(self.minutes)), "<u4")
        end = out.shape[1]
        while self.bits:  # from the last on, so that what is copied need not be held
            rows = self.bits.pop()
            out[:, end - len(rows) : end] = rows.T
            end -= len(rows)
        return out.view("<f4")


class _DayReader:
    """One file from its beginning to its end. ``position``: what is before it was read (Ms)."""

    def __init__(self, path: Path, notes: Notes) -> None:
        self.position: Ms = 0
        self._rows = _rows_of_day(path, notes)
        self._next: LogRow | None = None
        self._before: _Bits = np.zeros(0, np.uint32)  # the row before the next one

    def read(self, start: Ms, end: Ms, segments: list[_Segment]) -> None:
        """Adds the rows from ``start`` to before ``end``, neither before what was asked for last.

        Raises ValueError in a sentence if the file is no metric log.
        """
        self.position = end
        waiting: list[LogRow] = []
        row = self._next or next(self._rows, None)
        while row is not None and row.minute * MINUTE < end:
            if waiting and (row.first or len(waiting) == _AT_ONCE):
                self._add(waiting, start, segments)
                waiting = []
            waiting.append(row)
            row = next(self._rows, None)
        if waiting:
            self._add(waiting, start, segments)
        self._next = row

    def _add(self, rows: Sequence[LogRow], start: Ms, segments: list[_Segment]) -> None:
        """Adds rows that were named columns for at once; those before ``start`` are not kept."""
        columns, minutes = rows[0].columns, [row.minute for row in rows]
        bits = _bits(rows, len(columns))
        before = np.zeros(len(columns), np.uint32) if rows[0].first else self._before
        for line in bits:
            line ^= before
            before = line
        self._before = before
        kept = [place for place, minute in enumerate(minutes) if minute * MINUTE >= start]
        if len(kept) < len(rows):
            bits, minutes = bits[kept], [minutes[place] for place in kept]
        if not kept:
            return
        if not segments or segments[-1].columns is not columns:
            segments.append(_Segment(columns))
        segments[-1].minutes += minutes
        segments[-1].bits.append(bits)


def _bits(rows: Sequence[LogRow], width: int) -> _Bits:
    """The floats of some rows as whole numbers, a line for each row."""
    data = b"".join([row.planes for row in rows])
    planes = np.frombuffer(data, np.uint8).reshape(len(rows), 4, width)
    bits = planes[:, 3].astype("<u4")
    for plane in (2, 1, 0):
        bits <<= 8
        bits |= planes[:, plane]
    return bits


# igzip unpacks a day of forty assets in 25 ms, zlib in 46, which was a fifth of a backtest
_DAMAGED = cast("type[Exception]", isal_zlib.error)
_inflater = cast("Callable[[int], Inflate]", isal_zlib.decompressobj)  # pyright: ignore[reportUnknownMemberType]
_crc32 = cast("Callable[[bytes], int]", isal_zlib.crc32)  # pyright: ignore[reportUnknownMemberType]


def _rows_of_day(path: Path, notes: Notes) -> Iterator[LogRow]:
    place = 0
    with path.open("rb", buffering=1 << 20) as file:
        try:
            for row in log_changes(file, _inflater, _crc32):
                place = row.end
                yield row
        except (ValueError, zlib.error, _DAMAGED, msgspec.MsgspecError) as error:
            text = f"{path}: is not a metric log, or it is damaged after byte {place}"
            raise ValueError(text) from error
        torn = path.stat().st_size - max(place, len(MAGIC))
    if torn > 0:
        notes.add(f"{path}: the last {torn} bytes are not whole, and left out")
    if not place:
        raise ValueError(f"{path}: holds no whole minute")


def read_day(path: Path, notes: Notes) -> Chunk:
    """One file. ValueError in a sentence if it is no metric log; what is torn is left out."""
    segments: list[_Segment] = []
    _DayReader(path, notes).read(0, 2**62, segments)
    return _chunk(segments)


def _widest(path: Path) -> int:
    """The most columns that a file has, found by its heads alone; 0 if it is no log."""
    widest = 0
    with path.open("rb", buffering=1 << 20) as file:
        for size in _heads(file):
            try:
                widest = max(widest, len(columns_named(file.read(size))))
            except (ValueError, zlib.error, msgspec.MsgspecError):
                return widest  # whoever reads it says so
    return widest


def _heads(file: BinaryIO) -> Iterator[int]:
    """Stops at each block that names columns, and gives its size."""
    place = len(MAGIC)
    file.seek(place)
    while len(head := file.read(BLOCK.size)) == BLOCK.size:
        kind, size, _, _ = BLOCK.unpack(head)
        place += BLOCK.size + size
        if kind == COLUMNS:
            yield size
        file.seek(place)


def _chunk(segments: Sequence[_Segment]) -> Chunk:
    parts: dict[SeriesKey, list[RecordedSeries]] = {}
    for segment in segments:
        for place, series in _series(segment):
            parts.setdefault(place, []).append(series)
    start = segments[0].minutes[0] * MINUTE // DAY * DAY if segments else 0
    series = {place: joined(pieces) for place, pieces in parts.items()}
    if len(segments) != 1 or bool(np.any(np.diff(segments[0].minutes) <= 0)):
        series = {place: rows_by_time(whole) for place, whole in series.items()}
    return Chunk(start, start + DAY, series)


def _series(segment: _Segment) -> Iterator[tuple[SeriesKey, RecordedSeries]]:
    at = np.array(segment.minutes, np.int64) * MINUTE
    values, step = segment.values(), even(at, MINUTE)
    fields: dict[SeriesKey, dict[str, Floats]] = {}
    for column, row in zip(segment.columns, values, strict=True):
        if column.metric in (MACRO_PRICE, CONTEXT):
            continue  # no rule asks for it, and its asset may have the name of a coin
        fields.setdefault(SeriesKey(*column[:3]), {})[column.field] = row
    for place, columns in fields.items():
        value = columns.get("value")
        if value is None:
            continue
        low, high = (_filled(columns.get(name), value) for name in ("low", "high"))
        yield place, RecordedSeries(
            at, value, low, high, step,
            *(columns.get(name) for name in ("floor", "bound", "settled", "interval")),
        )  # fmt: skip


def _filled(extreme: Floats | None, value: Floats) -> Floats:
    """An extreme, which is as the value where it was not written."""
    if extreme is None:
        return value
    np.copyto(extreme, value, where=np.isnan(extreme))
    return extreme
