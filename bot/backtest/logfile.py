"""The days of a metric log as series."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from bot.backtest.series import Chunk, Floats, Notes, RecordedSeries, SeriesKey, even, joined
from bot.metriclog import COLUMNS, MAGIC, Block, Column, blocks
from streams.durations import DAY, MINUTE

_columns = msgspec.json.Decoder(list[Column])


@dataclass(slots=True)
class _Segment:
    """Rows with the same columns."""

    columns: list[Column]
    minutes: list[int] = field(default_factory=list[int])
    packed: list[bytes] = field(default_factory=list[bytes])

    def take(self, row: Block) -> None:
        self.minutes.append(row.minute)
        self.packed.append(row.data)

    def values(self) -> Floats:
        """One row for each column."""
        width, count = len(self.columns), len(self.minutes)
        planes = zlib.decompressobj(-15).decompress(b"".join(self.packed))
        changed = np.frombuffer(planes, np.uint32).reshape(count, width)
        cells = np.bitwise_xor.accumulate(changed, axis=0).view(np.uint8)
        out = np.empty((width, count, 4), np.uint8)
        for plane in range(4):
            out[:, :, plane] = cells[:, plane * width : (plane + 1) * width].T
        return out.view("<f4").reshape(width, count)


def read_day(path: Path, notes: Notes) -> Chunk:
    """One file. ValueError in a sentence if it is no metric log; what is torn is left out."""
    content = path.read_bytes()
    segments: list[_Segment] = []
    end = len(MAGIC)
    try:
        for block in blocks(content):
            end = block.end
            if block.kind == COLUMNS:
                segments.append(_Segment(_columns.decode(zlib.decompress(block.data))))
            else:
                segments[-1].take(block)
    except (ValueError, IndexError, zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(f"{path}: is not a metric log, or it is damaged at byte {end}") from error
    if end < len(content):
        notes.said.append(
            f"{path}: the last {len(content) - end} bytes are not whole, and left out"
        )
    segments = [one for one in segments if one.minutes]
    if not segments:
        raise ValueError(f"{path}: holds no whole minute")
    return _chunk(segments)


def _chunk(segments: Sequence[_Segment]) -> Chunk:
    parts: dict[SeriesKey, list[RecordedSeries]] = {}
    for segment in segments:
        for place, series in _series(segment):
            parts.setdefault(place, []).append(series)
    start = segments[0].minutes[0] * MINUTE // DAY * DAY
    return Chunk(start, start + DAY, {place: joined(some) for place, some in parts.items()})


def _series(segment: _Segment) -> Iterator[tuple[SeriesKey, RecordedSeries]]:
    at = np.array(segment.minutes, np.int64) * MINUTE
    values = segment.values()
    fields: dict[SeriesKey, dict[str, Floats]] = {}
    for column, row in zip(segment.columns, values, strict=True):
        fields.setdefault(SeriesKey(*column[:3]), {})[column.field] = row
    for place, found in fields.items():
        value = found.get("value")
        if value is None:
            continue
        low, high = (_or_value(found.get(name), value) for name in ("low", "high"))
        yield place, RecordedSeries(
            at, value, low, high, even(at, MINUTE),
            found.get("floor"), found.get("bound"), found.get("settled"), found.get("interval"),
        )  # fmt: skip


def _or_value(extreme: Floats | None, value: Floats) -> Floats:
    return value if extreme is None else np.where(np.isnan(extreme), value, extreme)
