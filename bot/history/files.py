"""The files of Binance's archive: their names, their places, and what a zip must be. Pure.

Facts of August and September 2026: ``PATH/NAME.zip`` holds ``NAME.csv``; ``NAME.zip.CHECKSUM``
beside it is ``<sha256>  NAME.zip``. A daily file appears on the next morning (UTC). Files may be
issued anew, so what is remembered of one is its checksum.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo
from zlib import error as ZlibError

from streams.events import Ms

MAX_CSV_BYTES = 64 * 1024 * 1024
"""What a file may unpack to. A month of minutes has 5 MB, a day of depth 2 MB."""

DAMAGED: tuple[type[Exception], ...] = (
    BadZipFile,
    ZlibError,
    EOFError,
    NotImplementedError,
    RuntimeError,
)
"""What reading a zip raises that is not whole, or is none."""

QUOTES = ("USDT", "USDC")
"""Perpetuals in other currencies are not watched."""

_NAME = re.compile(
    r"([A-Z0-9]{2,40}(?:_[A-Z0-9]{1,10})?)"
    r"-(metrics|bookDepth|fundingRate|liquidationSnapshot|(?:1|3|5|15|30)m|[1-9][0-9]?h|1d)"
    r"-([0-9]{4}-[0-9]{2}(?:-[0-9]{2})?)"
)
_MEMBER = re.compile(r"[A-Za-z0-9_.-]{1,120}\.csv")
_CHECKSUM = re.compile(r"([0-9a-fA-F]{64})\s+\*?([A-Za-z0-9_.-]{1,200})\s*")


class ArchiveData(StrEnum):
    """What is offered, by the folder that it is in."""

    METRICS = "metrics"
    """Open interest every 5 minutes, from 2020-09 (most from 2021-12); a file a day."""

    DEPTH = "bookDepth"
    """Resting notional within 1, 2, 3, 4, 5 % (from 2026-01-15 0.2 % too), about every 30 s, from
    2023-01; a file a day, 0.5 MB of any contract."""

    FUNDING = "fundingRate"
    """Settled funding from 2020-01; a file a month, so the present month is missing."""

    KLINES = "klines"
    """Prices of trades in bars of a minute, from 2019-12; a file a day and a file a month."""

    MARKS = "markPriceKlines"
    """The same of the mark price, which is what the rules look at."""


class ArchiveName(NamedTuple):
    """The parts of a file's name."""

    symbol: str
    content: str
    """metrics, bookDepth, fundingRate, liquidationSnapshot, or the length of its bars."""
    start: Ms
    """The beginning of its day or month, Ms."""
    end: Ms
    """The end of it, Ms."""


def archive_name(name: str) -> ArchiveName | None:
    """``BTCUSDT-metrics-2026-09-30.zip`` taken apart, None if it is no such name."""
    stem = name.removesuffix(".zip").removesuffix(".csv")
    match = _NAME.fullmatch(stem)
    if match is None:
        return None
    symbol, content, text = match.groups()
    try:
        first = date.fromisoformat(text if len(text) > 7 else f"{text}-01")
    except ValueError:
        return None
    last = first + timedelta(days=1) if len(text) > 7 else _next_month(first)
    return ArchiveName(symbol, content, ms_of(first), ms_of(last))


class ArchiveFile(NamedTuple):
    """One file to get."""

    path: str
    """Below the archive's address, without a slash before it."""
    start: Ms
    end: Ms

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def files_of(
    data: ArchiveData, symbol: str, start: Ms, end: Ms
) -> Iterator[tuple[ArchiveFile, ...]]:
    """The files that hold what is known from ``start`` to before ``end``, in order of time.

    Each as the ways to get it, the first one first: of bars a whole month in one file, or else its
    days.
    """
    day, bars = _day(start), data in (ArchiveData.KLINES, ArchiveData.MARKS)
    while ms_of(day) < end:
        month = day.replace(day=1)
        after = _next_month(month)
        monthly = (_file(data, symbol, "monthly", month, after),)
        if data is ArchiveData.FUNDING:
            yield monthly
            day = after
        elif bars and day == month and ms_of(after) <= end:
            yield monthly + tuple(_days(data, symbol, month, after))
            day = after
        else:
            yield (_file(data, symbol, "daily", day, day + timedelta(days=1)),)
            day += timedelta(days=1)


def _days(data: ArchiveData, symbol: str, first: date, end: date) -> Iterator[ArchiveFile]:
    while first < end:
        yield _file(data, symbol, "daily", first, first + timedelta(days=1))
        first += timedelta(days=1)


def _file(data: ArchiveData, symbol: str, every: str, first: date, end: date) -> ArchiveFile:
    bars = data in (ArchiveData.KLINES, ArchiveData.MARKS)
    folder = f"data/futures/um/{every}/{data.value}/{symbol}" + ("/1m" if bars else "")
    when = first.isoformat() if every == "daily" else first.isoformat()[:7]
    name = f"{symbol}-{'1m' if bars else data.value}-{when}.zip"
    return ArchiveFile(f"{folder}/{name}", ms_of(first), ms_of(end))


def checksum(text: str, name: str) -> str:
    """The SHA-256 in a ``.CHECKSUM`` file, in lower case. ValueError if it is none of ``name``."""
    match = _CHECKSUM.fullmatch(text.strip())
    if match is None or match[2] != name:
        raise ValueError("its checksum file is not one")
    return match[1].lower()


def only_member(archive: ZipFile) -> ZipInfo:
    """The one CSV file in a zip. ValueError, in the words that follow "it", if the zip is another
    thing: several files, a path that leads out of the folder, a bomb."""
    members = archive.infolist()
    if len(members) != 1:
        raise ValueError(f"holds {len(members)} files, and one was expected")
    [member] = members
    if not _MEMBER.fullmatch(member.filename):
        raise ValueError(
            f"holds a file with the name {_shown(member.filename)}, which is no CSV file"
        )
    if member.flag_bits & 1 or member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise ValueError("is encrypted, or packed in a way that is not used there")
    if member.file_size > MAX_CSV_BYTES:
        raise ValueError(
            f"would unpack to {member.file_size / 2**20:,.0f} MB, and at most"
            f" {MAX_CSV_BYTES >> 20} MB are read"
        )
    return member


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 60 else f"{name[:60]}…")


def ms_of(day: date) -> Ms:
    """When a day begins, UTC."""
    return round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def _day(at: Ms) -> date:
    return datetime.fromtimestamp(at / 1000, UTC).date()


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
