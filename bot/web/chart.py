"""The last day of one coin, from the metric log.

A day of a hundred coins is some 20 MB when unpacked; it is read a few rows at a time between other
work, so that nobody waits for it, and only what is shown is kept.
"""

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path

import msgspec

from bot.metriclog import SUFFIX, Column, LogRow, log_rows
from streams.durations import DAY, MINUTE
from streams.events import Ms

_AT_ONCE = 10
"""So many rows are read before others get their turn."""

_FLOAT = struct.Struct("<f")


class ChartSeries(msgspec.Struct, frozen=True):
    """A number of the coin, as it was each minute."""

    label: str
    """What it is, with its unit."""
    values: list[float | None]
    """None: unknown then."""


class ChartTurn(msgspec.Struct, frozen=True):
    """A turn of an episode of the coin."""

    at: float
    """Seconds since 1970."""
    tone: str
    """How bad it was."""


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn."""

    title: str
    note: str = ""
    """Why there is nothing to be drawn; "": there is."""
    at: list[int]
    """Seconds since 1970, each after the one before."""
    series: list[ChartSeries]
    """Each with a value for each of ``at``."""
    turns: list[ChartTurn] = []


async def day_before(
    folder: Path, asset: str, metrics: Sequence[str], end: Ms
) -> tuple[list[int], list[list[float | None]]]:
    """The minutes of the day before ``end`` of which there is a row, in seconds since 1970, and the
    values of each of ``metrics`` then. What is not there or cannot be read is left out."""
    minutes: dict[int, list[float | None]] = {}
    wanted = [Column(metric, asset, "", "value") for metric in metrics]
    for day in (end - DAY, end):
        path = folder / f"{datetime.fromtimestamp(day / 1000, UTC):%Y-%m-%d}{SUFFIX}"
        columns: Sequence[Column] = ()
        places: list[int | None] = []
        async for row in _rows_between_work(path):
            if row.columns is not columns:
                columns = row.columns
                index = {column: place for place, column in enumerate(columns)}
                places = [index.get(column) for column in wanted]
            if end - DAY <= row.minute * MINUTE <= end:
                minutes[row.minute] = [p if p is None else _value(row, p) for p in places]
    at = sorted(minutes)
    seconds = [minute * MINUTE // 1000 for minute in at]
    return seconds, [[minutes[minute][n] for minute in at] for n in range(len(metrics))]


async def _rows_between_work(path: Path) -> AsyncIterator[LogRow]:
    try:
        with path.open("rb") as file:
            for number, row in enumerate(log_rows(file)):
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)
                yield row
    except (OSError, ValueError, zlib.error, msgspec.MsgspecError):
        return  # what was read before it is torn counts


def _value(row: LogRow, place: int) -> float | None:
    width = len(row.columns)
    (value,) = _FLOAT.unpack(bytes(row.planes[place + plane * width] for plane in range(4)))
    return float(f"{value:.7g}") if isfinite(value) else None
