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
from streams.durations import DAY, MINUTE
from streams.events import Ms

_FLOAT = struct.Struct("<f")
_DAMAGED = (ValueError, zlib.error, msgspec.MsgspecError)


LOWER_BOUND = "(≥)"
"""The end of a title: of all values there may be more."""


class PanelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of an asset."""

    metric: str
    asset: str
    instrument: str = ""
    """``venue/symbol`` of a metric of one contract."""
    title: str
    """With its unit."""
    levels: Sequence[PictureLevel] = ()
    from_zero: bool = False
    last: float | None = None
    """Its value at the end, where it is known better than from the last row; None: it is not."""
    optional: bool = False
    """Whether there is a picture without it, if it is not recorded."""


class PictureRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics below each other, from ``start`` to ``end``."""

    folder: str
    """That of the metric log."""
    title: str
    panels: Sequence[PanelRequest]
    venues: Sequence[str] = ()
    zone: str = "UTC"
    start: Ms
    end: Ms
    episodes: Sequence[PictureEpisode] = ()
    size: tuple[int, int] = SIZE
    theme: ThemeName = "dark"

    @property
    def subject(self) -> PanelRequest:
        """What it is about: the last panel."""
        return self.panels[-1]


class _Line:
    """The values of one metric, minute by minute."""

    def __init__(self) -> None:
        self.minutes: dict[Ms, tuple[float | None, float | None, float | None]] = {}
        self.lower_bound = False

    def panel(self, request: PanelRequest, end: Ms) -> PicturePanel | None:
        """The panel that is asked for, up to ``end``; None: too little of it is known."""
        if request.last is not None:
            self.minutes[end] = (request.last, None, None)
        at = sorted(self.minutes)
        values, lows, highs = ([self.minutes[t][n] for t in at] for n in range(3))
        if len([value for value in values if value is not None]) < _LEAST:
            return None
        title = request.title
        if self.lower_bound and not title.endswith(LOWER_BOUND):
            title += f" {LOWER_BOUND}"
        return PicturePanel(
            title=title, at=at, values=values, lows=lows, highs=highs,
            levels=request.levels, from_zero=request.from_zero,
        )  # fmt: skip


def recorded_picture(
    request: PictureRequest, rows: Callable[[Path], Iterator[LogRow]] | None = None
) -> Picture | None:
    """The picture that is asked for; None if nothing is recorded of a metric that it must have, or
    of any. A day that is not there, or torn, is a hole. ``rows``: of a file, in place of
    ``log_rows``."""
    lines = [_Line() for _ in request.panels]
    start, end = request.start, request.end
    for day in range(start // DAY * DAY, end + 1, DAY):
        path = Path(request.folder) / f"{datetime.fromtimestamp(day / 1000, UTC):%Y-%m-%d}{SUFFIX}"
        _read(path, request, lines, rows or _rows)
    panels: list[PicturePanel] = []
    for line, wanted in zip(lines, request.panels, strict=True):
        if (panel := line.panel(wanted, end)) is not None:
            panels.append(panel)
        elif not wanted.optional:
            return None
    if not panels:
        return None
    return Picture(
        title=request.title,
        venues=request.venues,
        zone=request.zone,
        start=start,
        end=end,
        panels=panels,
        episodes=request.episodes,
    )


_LEAST = 2
"""One value is no line."""

_FIELDS = ("value", "low", "high", "bound")


def _read(
    path: Path,
    request: PictureRequest,
    lines: Sequence[_Line],
    rows: Callable[[Path], Iterator[LogRow]],
) -> None:
    """Takes what is in one file."""
    wanted = [
        [Column(of.metric, of.asset, of.instrument, name) for name in _FIELDS]
        for of in request.panels
    ]
    columns: Sequence[Column] = ()
    places: list[list[int | None]] = []
    try:
        for row in rows(path):
            if row.columns is not columns:
                columns = row.columns
                index = {column: place for place, column in enumerate(columns)}
                places = [[index.get(column) for column in of] for of in wanted]
            at = row.minute * MINUTE
            if not request.start <= at <= request.end:
                continue
            for line, of in zip(lines, places, strict=True):
                value, low, high, bound = (None if n is None else _cell(row, n) for n in of)
                line.minutes[at] = (value, low, high)
                line.lower_bound |= bool(bound)
    except (OSError, *_DAMAGED):
        return  # what was read before it is torn counts


def _rows(path: Path) -> Iterator[LogRow]:
    with path.open("rb") as file:
        yield from log_rows(file)


def _cell(row: LogRow, place: int) -> float | None:
    width = len(row.columns)
    (value,) = _FLOAT.unpack(bytes(row.planes[place + plane * width] for plane in range(4)))
    return float(f"{value:.7g}") if isfinite(value) else None
