"""The days of a metric log as series, read in pieces that fit into memory whatever their width."""

import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

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
    LogRow,
    log_rows,
)
from rules.snapshot import MACRO_PRICE
from streams.durations import DAY, MINUTE
from streams.events import Ms

_columns = msgspec.json.Decoder(list[Column])

_CELLS = 3_000_000
"""So many numbers of a log are held at once: a day of a hundred assets."""


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
        """The ends of days, and of as much of a wide day as is read at once."""
        edges: set[Ms] = set()
        for day, file in self._days.items():
            pieces = -(-_widest(file) * (DAY // MINUTE) // _CELLS) or 1
            minutes = -(-DAY // MINUTE // pieces)
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
            parts: dict[SeriesKey, list[RecordedSeries]] = {}
            for day in self._days:
                if start < day + DAY and day < end:
                    segments = self._reader_of(day, start).between(start, end)
                    for key, series in _chunk(segments).series.items():
                        parts.setdefault(key, []).append(series)
            self._piece, self._by_asset = (start, end), {}
            for key, pieces in parts.items():
                self._by_asset.setdefault(key.asset, {})[key] = joined(pieces)
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
    rows: list[bytes] = field(default_factory=list[bytes])

    def values(self) -> Floats:
        """One row for each column."""
        width, count = len(self.columns), len(self.minutes)
        cells = np.frombuffer(b"".join(self.rows), np.uint8).reshape(count, 4 * width)
        self.rows.clear()
        out = np.empty((width, count, 4), np.uint8)
        for plane in range(4):
            out[:, :, plane] = cells[:, plane * width : (plane + 1) * width].T
        return out.view("<f4").reshape(width, count)


class _DayReader:
    """One file from its beginning to its end. ``position``: what is before it was read (Ms)."""

    def __init__(self, path: Path, notes: Notes) -> None:
        self.position: Ms = 0
        self._rows = _rows_of_day(path, notes)
        self._next: LogRow | None = None

    def between(self, start: Ms, end: Ms) -> list[_Segment]:
        """The rows from ``start`` to before ``end``, neither before what was asked for last.

        Raises ValueError in a sentence if the file is no metric log.
        """
        self.position = end
        segments: list[_Segment] = []
        row = self._next or next(self._rows, None)
        while row is not None and row.minute * MINUTE < end:
            if row.minute * MINUTE >= start:
                if not segments or segments[-1].columns is not row.columns:
                    segments.append(_Segment(row.columns))
                segments[-1].minutes.append(row.minute)
                segments[-1].rows.append(row.planes)
            row = next(self._rows, None)
        self._next = row
        return segments


def _rows_of_day(path: Path, notes: Notes) -> Iterator[LogRow]:
    place = 0
    with path.open("rb", buffering=1 << 20) as file:
        try:
            for row in log_rows(file):
                place = row.end
                yield row
        except (ValueError, zlib.error, msgspec.MsgspecError) as error:
            text = f"{path}: is not a metric log, or it is damaged after byte {place}"
            raise ValueError(text) from error
        torn = path.stat().st_size - max(place, len(MAGIC))
    if torn > 0:
        notes.add(f"{path}: the last {torn} bytes are not whole, and left out")
    if not place:
        raise ValueError(f"{path}: holds no whole minute")


def read_day(path: Path, notes: Notes) -> Chunk:
    """One file. ValueError in a sentence if it is no metric log; what is torn is left out."""
    return _chunk(_DayReader(path, notes).between(0, 2**62))


def _widest(path: Path) -> int:
    """The most columns that a file has, found by its heads alone; 0 if it is no log."""
    widest = 0
    with path.open("rb", buffering=1 << 20) as file:
        for size in _heads(file):
            try:
                widest = max(widest, len(_columns.decode(zlib.decompress(file.read(size)))))
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
    series = {place: rows_by_time(joined(pieces)) for place, pieces in parts.items()}
    return Chunk(start, start + DAY, series)


def _series(segment: _Segment) -> Iterator[tuple[SeriesKey, RecordedSeries]]:
    at = np.array(segment.minutes, np.int64) * MINUTE
    values, step = segment.values(), even(at, MINUTE)
    fields: dict[SeriesKey, dict[str, Floats]] = {}
    for column, row in zip(segment.columns, values, strict=True):
        if column.metric == MACRO_PRICE:
            continue  # no rule asks for it, and its asset may have the name of a coin
        fields.setdefault(SeriesKey(*column[:3]), {})[column.field] = row
    for place, columns in fields.items():
        value = columns.get("value")
        if value is None:
            continue
        low, high = (_or_value(columns.get(name), value) for name in ("low", "high"))
        yield place, RecordedSeries(
            at, value, low, high, step,
            *(columns.get(name) for name in ("floor", "bound", "settled", "interval")),
        )  # fmt: skip


def _or_value(extreme: Floats | None, value: Floats) -> Floats:
    if extreme is None:
        return value
    unknown = np.isnan(extreme)
    return np.where(unknown, value, extreme) if unknown.any() else extreme
