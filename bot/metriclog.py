"""The metric log: what the rules saw, one row a minute, one file a day (docs/backtest.md).

Invariants:
- a file is only ever appended to, one whole block at a time, so an end at any moment costs the row
  that was being written; what is torn is cut off before the next row;
- a minute is written once, also when a restart feeds its events again; after the clock was set back
  minutes come again, and of two with one number the later counts;
- no clock deletes what was written: days are counted as files, and go one at a time;
- a disk that takes nothing is said once and stops nothing.
"""

import struct
import sys
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from math import nan
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import msgspec
import structlog

from rules.context import CONTEXT
from rules.snapshot import MACRO_PRICE, PRICE, Observed
from streams.bus.health import HEALTH
from streams.durations import DAY, MINUTE
from streams.events import Ms

log = structlog.get_logger()

MAGIC = b"lowtide metrics 1\n"
SUFFIX = ".metrics"
_WHO = "the metric log"

BLOCK = struct.Struct("<cIII")
"""Kind, bytes that follow, their crc32, minute since the epoch. All little-endian."""
COLUMNS, ROW = b"C", b"R"


class Column(NamedTuple):
    """One number of every row."""

    metric: str
    asset: str
    instrument: str
    field: str
    """value, low, high, floor, bound, settled or interval."""


_columns = msgspec.json.Decoder(list[Column])


@lru_cache(maxsize=1)
def columns_named(head: bytes) -> list[Column]:
    """The columns that a block names. Files of days that follow each other mostly begin with the
    same one, whose 2,000 columns (40 assets) take 3 ms; then it is the same list."""
    return _columns.decode(zlib.decompress(head))


def numbers(observed: Iterable[Observed], now: Ms) -> dict[Column, float]:
    """A row: ``value`` and ``floor`` as observed; ``low``, ``high`` where they differ from it.

    ``bound`` 1: there may be more; 2: so much more that it says nothing of a level that it does not
    exceed. ``settled``: minutes since the settlement, ``interval`` minutes.
    """
    row: dict[Column, float] = {}
    for value in observed:
        place = value.metric, value.asset, value.instrument
        row[Column(*place, "value")] = nan if value.value is None else value.value
        for field, x in (("low", value.low), ("high", value.high)):
            if value.metric not in (PRICE, MACRO_PRICE, CONTEXT):
                row[Column(*place, field)] = nan if x is None or x == value.value else x
        if value.floor_musd is not None:
            row[Column(*place, "floor")] = value.floor_musd
        if value.lower_bound or value.breach_only:
            row[Column(*place, "bound")] = 2.0 if value.breach_only else 1.0
        if value.settled_at is not None:
            row[Column(*place, "settled")] = (now - value.settled_at) / MINUTE
        if value.interval_ms is not None:
            row[Column(*place, "interval")] = value.interval_ms / MINUTE
    return row


class Block(NamedTuple):
    """A whole block of a file."""

    kind: bytes
    minute: int
    """Since the epoch."""
    data: bytes
    end: int
    """The byte at which the next one begins."""


class Inflate(Protocol):
    """What unpacks a deflate stream piece by piece, as ``zlib.decompressobj()`` does."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def blocks(file: BinaryIO, crc32: Callable[[bytes], int] = zlib.crc32) -> Iterator[Block]:
    """The blocks of a file up to its end, or to where it is torn. ValueError if it is no log."""
    if file.read(len(MAGIC)) != MAGIC:
        raise ValueError("is not a metric log")
    at = len(MAGIC)
    while len(head := file.read(BLOCK.size)) == BLOCK.size:
        kind, size, crc, minute = BLOCK.unpack(head)
        if kind not in (COLUMNS, ROW):
            return
        data = file.read(size)
        if len(data) < size or crc32(data) != crc:
            return
        at += BLOCK.size + size
        yield Block(kind, minute, data, at)


class LogRow(NamedTuple):
    """A minute."""

    columns: list[Column]
    """The same object as of the row before, unless they are others."""
    minute: int
    """Since the epoch."""
    planes: bytes
    """The first byte of each little-endian 32-bit float, then the second of each, and so on."""
    first: bool
    """It is the first one after its columns were named."""
    end: int
    """Where the next block begins."""


def log_changes(
    file: BinaryIO,
    inflater: Callable[[int], Inflate] = zlib.decompressobj,
    crc32: Callable[[bytes], int] = zlib.crc32,
) -> Iterator[LogRow]:
    """The whole rows of a file up to its end, or to where it is torn, as they are written: each but
    a ``first`` one as its XOR with the row before.

    ``inflater``, ``crc32``: those of another library with the interface of zlib. Raises ValueError,
    its error or msgspec.MsgspecError if it is no log, or is damaged.
    """
    columns, size, first = list[Column](), 0, True
    inflate: Inflate | None = None
    for block in blocks(file, crc32):
        if block.kind == COLUMNS:
            columns = columns_named(block.data)
            inflate, size, first = inflater(-15), 4 * len(columns), True
            continue
        changed = b"" if inflate is None else inflate.decompress(block.data, size + 1)
        if inflate is None or len(changed) != size:
            raise ValueError("a row of another width")
        yield LogRow(columns, block.minute, changed, first, block.end)
        first = False


def log_rows(file: BinaryIO) -> Iterator[LogRow]:
    """The rows of ``log_changes``, each by itself."""
    before = 0
    for row in log_changes(file):
        # whole numbers make the XOR of a row one operation
        before = int.from_bytes(row.planes, "little") ^ (0 if row.first else before)
        yield row._replace(planes=before.to_bytes(len(row.planes), "little"))


class _Packer:
    """Rows of one set of columns, each told as its difference from the one before."""

    def __init__(self, columns: Iterable[Column]) -> None:
        self.columns = tuple(columns)
        self._deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
        self._before = 0

    def head(self) -> bytes:
        """The names of the columns."""
        return zlib.compress(msgspec.json.encode([list(column) for column in self.columns]))

    def row(self, values: dict[Column, float]) -> bytes:
        """One row: the bits that changed, by significance so that equal ones lie together."""
        cells = array("f", [values.get(column, nan) for column in self.columns])
        if sys.byteorder == "big":
            cells.byteswap()
        bits = int.from_bytes(cells.tobytes(), "little")
        changed = (bits ^ self._before).to_bytes(4 * len(self.columns), "little")
        self._before = bits
        planes = b"".join(changed[n::4] for n in range(4))
        return self._deflate.compress(planes) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


FED_AGAIN = 60
"""A file that is further ahead than so many minutes was written by a clock that was ahead."""


class MetricLog:
    """Files of one folder. ``keep``: so many days, in Ms, are kept; ``max_mb``: of all days."""

    def __init__(self, folder: Path, keep: Ms, max_mb: int) -> None:
        self._folder = folder
        self._keep = keep
        self._max_bytes = max_mb * 1_000_000
        self._path: Path | None = None
        self._packer: _Packer | None = None
        self._last: int | None = None
        self._went_back = False
        self._failed = False

    def due(self, now: Ms) -> bool:
        """Whether a minute is over that was not written yet, or the clock was set back."""
        minute = now // MINUTE
        return self._last is None or not self._last - 1 <= minute <= self._last

    def write(self, now: Ms, observed: Iterable[Observed], again: bool = False) -> None:
        """The row of the minute that ``now`` has just begun, unless it is there already.

        ``again``: it is known that it was written before.
        """
        minute, before = now // MINUTE, self._last or 0
        self._went_back |= minute < before
        if self._went_back:
            before = 0
        self._last = minute
        if again:
            return
        try:
            path = self._folder / f"{datetime.fromtimestamp(now / 1000, UTC):%Y-%m-%d}{SUFFIX}"
            if path != self._path:
                last = self._open(path)
                if not self._went_back and last - minute < FED_AGAIN:
                    before = max(before, last)
                self._let_go()
            elif minute % 60 == 0:
                self._let_go()
            if minute > before:
                self._append(path, minute, numbers(observed, minute * MINUTE))
        except OSError as error:
            self._path = None  # what is torn is cut off before the next row
            if not self._failed:
                self._failed = True
                HEALTH.failing(_WHO, f"it cannot be written: {error.strerror or error}")
                log.error(
                    "the metric log cannot be written; the rules go on without it",
                    folder=str(self._folder),
                    reason=error.strerror or str(error),
                )
        else:
            if self._failed:
                HEALTH.works(_WHO)
                log.info("the metric log is written again", folder=str(self._folder))
            self._failed = False

    def _open(self, path: Path) -> int:
        """Goes on with a file, or begins it; the minute of its last row, 0 if there is none."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._packer = None
        last, end = 0, 0
        if path.exists():
            try:
                with path.open("rb") as written:
                    for block in blocks(written):
                        last, end = block.minute, block.end
            except ValueError:
                last = end = 0
        with path.open("ab") as file:
            file.truncate(end)
            if not end:
                file.write(MAGIC)
        self._path = path
        return last

    def _append(self, path: Path, minute: int, row: dict[Column, float]) -> None:
        packer, data = self._packer, b""
        known = packer.columns if packer else ()
        if packer is None or not row.keys() <= set(known):
            packer = self._packer = _Packer(dict.fromkeys((*known, *row)))
            data = _block(COLUMNS, minute, packer.head())
        data += _block(ROW, minute, packer.row(row))
        with path.open("ab", buffering=0) as file:
            if file.write(data) != len(data):
                raise OSError("the disk is full")

    def _let_go(self) -> None:
        """Deletes the oldest day if there are too many, and the oldest while there is too much.

        What is old is what there is more of than is to be kept, whatever the date is: a clock that
        is ahead by years costs one day.
        """
        files = sorted(self._folder.glob(f"*{SUFFIX}"))
        sizes = {path: path.stat().st_size for path in files}
        many = len(files) > self._keep // DAY + 1
        for path in (path for path in files if path != self._path):
            if not many and sum(sizes.values()) <= self._max_bytes:
                break
            path.unlink()
            del sizes[path]
            many = False


def _block(kind: bytes, minute: int, data: bytes) -> bytes:
    return BLOCK.pack(kind, len(data), zlib.crc32(data), minute) + data
