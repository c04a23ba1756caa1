"""What a picture is to show, and the rows of the metric log that it is made of."""

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path

import msgspec

from bot.metriclog import SUFFIX, Column, LogRow, log_rows
from bot.pictures.drawing import (
    SIZE,
    Picture,
    PictureEpisode,
    PictureLevel,
    PicturePanel,
    ThemeName,
)
from rules.snapshot import PRICE
from streams.durations import DAY, MINUTE
from streams.events import Ms

_FLOAT = struct.Struct("<f")
_DAMAGED = (ValueError, zlib.error, msgspec.MsgspecError)


LOWER_BOUND = "(≥)"
"""The end of a title: of all values there may be more."""


class PictureRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The price of an asset and one of its metrics, from ``start`` to ``end``."""

    folder: str
    """That of the metric log."""
    asset: str
    metric: str
    instrument: str = ""
    """``venue/symbol`` of a metric of one contract."""
    title: str
    price_title: str
    """With its unit."""
    metric_title: str
    """With its unit."""
    venues: Sequence[str] = ()
    zone: str = "UTC"
    start: Ms
    end: Ms
    levels: Sequence[PictureLevel] = ()
    episodes: Sequence[PictureEpisode] = ()
    from_zero: bool = False
    price: float | None = None
    """At ``end``, where it is known better than from the last row; None: it is not."""
    value: float | None = None
    """The metric then."""
    size: tuple[int, int] = SIZE
    theme: ThemeName = "dark"


class _Line:
    """The values of one metric, minute by minute."""

    def __init__(self) -> None:
        self.minutes: dict[Ms, tuple[float | None, float | None, float | None]] = {}
        self.lower_bound = False

    def panel(self, title: str, end: Ms, value: float | None) -> PicturePanel:
        """With ``value`` as the last one."""
        if value is not None:
            self.minutes[end] = (value, None, None)
        at = sorted(self.minutes)
        values, lows, highs = ([self.minutes[t][n] for t in at] for n in range(3))
        if self.lower_bound and not title.endswith(LOWER_BOUND):
            title += f" {LOWER_BOUND}"
        return PicturePanel(title=title, at=at, values=values, lows=lows, highs=highs)


def recorded_picture(
    request: PictureRequest, rows: Callable[[Path], Iterator[LogRow]] | None = None
) -> Picture | None:
    """The picture that is asked for; None if nothing of the metric is recorded. A day that is not
    there, or torn, is a hole. ``rows``: of a file, in place of ``log_rows``."""
    price, metric = _Line(), _Line()
    start, end = request.start, request.end
    for day in range(start // DAY * DAY, end + 1, DAY):
        path = Path(request.folder) / f"{datetime.fromtimestamp(day / 1000, UTC):%Y-%m-%d}{SUFFIX}"
        _read(path, request, price, metric, rows or _rows)
    below = metric.panel(request.metric_title, end, request.value)
    if len([value for value in below.values if value is not None]) < _LEAST:
        return None
    below = msgspec.structs.replace(below, levels=request.levels, from_zero=request.from_zero)
    above = price.panel(request.price_title, end, request.price)
    return Picture(
        title=request.title,
        venues=request.venues,
        zone=request.zone,
        start=start,
        end=end,
        panels=(below,) if above.empty else (above, below),
        episodes=request.episodes,
    )


_LEAST = 2
"""One value is no picture."""


def _read(
    path: Path,
    request: PictureRequest,
    price: _Line,
    metric: _Line,
    rows: Callable[[Path], Iterator[LogRow]],
) -> None:
    """Takes what is in one file."""
    fields = ("value", "low", "high", "bound")
    wanted = [
        Column(PRICE, request.asset, "", "value"),
        *(Column(request.metric, request.asset, request.instrument, name) for name in fields),
    ]
    columns: Sequence[Column] = ()
    places: list[int | None] = []
    try:
        for row in rows(path):
            if row.columns is not columns:
                columns = row.columns
                index = {column: place for place, column in enumerate(columns)}
                places = [index.get(column) for column in wanted]
            at = row.minute * MINUTE
            if not request.start <= at <= request.end:
                continue
            known = [None if place is None else _cell(row, place) for place in places]
            price.minutes[at] = (known[0], None, None)
            metric.minutes[at] = (known[1], known[2], known[3])
            metric.lower_bound |= bool(known[4])
    except (OSError, *_DAMAGED):
        return  # what was read before it is torn counts


def _rows(path: Path) -> Iterator[LogRow]:
    with path.open("rb") as file:
        yield from log_rows(file)


def _cell(row: LogRow, place: int) -> float | None:
    width = len(row.columns)
    (value,) = _FLOAT.unpack(bytes(row.planes[place + plane * width] for plane in range(4)))
    return float(f"{value:.7g}") if isfinite(value) else None
