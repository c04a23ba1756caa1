"""A picture as SVG: panels below each other on one axis of time. Pure.

Invariants:
- a gap in the data is a gap in the line; what is unknown is not drawn as anything;
- no text leaves the picture, and none lies on another: what finds no room is shortened or left out;
- a spike of one minute is seen however many minutes share a column of pixels.

Texts are digits and Latin letters (``letters.py``), large enough for a phone. What is in a picture
besides is said in its caption.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import groupby
from math import ceil, floor, isfinite, log10
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from bot.lang.numbers import signed
from bot.pictures.letters import FAMILY, WEIGHT, legible, shortened, width
from rules.alerts import Level
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Ms

SIZE = (1280, 720)
"""Pixels of a picture in a chat."""

LEAST_SIZE = (320, 240)

LIMIT = 1e100
"""A value that is not below it, whatever its sign, is unknown."""

_LEAST = 1e-30
"""A panel of smaller values has them all at 0."""

ThemeName = Literal["dark", "light"]


class PictureLevel(msgspec.Struct, frozen=True):
    """A value from which on a rule tells."""

    level: Level
    value: float


class PicturePanel(msgspec.Struct, frozen=True, kw_only=True):
    """One line, and what it is."""

    title: str
    """With its unit."""
    at: Sequence[Ms]
    """Rising."""
    values: Sequence[float | None]
    """One for each of ``at``; None: unknown then."""
    lows: Sequence[float | None] = ()
    """The least values since those before, where these are lower; (): none is."""
    highs: Sequence[float | None] = ()
    """The largest ones."""
    levels: Sequence[PictureLevel] = ()
    from_zero: bool = False
    """Whether 0 is in the panel whatever the values are."""

    @property
    def empty(self) -> bool:
        """Whether no value is known."""
        return all(_known(value) is None for value in self.values)


class PictureEpisode(msgspec.Struct, frozen=True):
    """A time that is shaded."""

    start: Ms
    end: Ms | None = None
    """None: it goes on."""


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn."""

    title: str
    """What it is about: an asset."""
    subtitle: str = ""
    venues: Sequence[str] = ()
    """Whose data it shows."""
    zone: str = "UTC"
    """The IANA name of the zone of its times."""
    start: Ms
    end: Ms
    step: Ms = MINUTE
    """How far apart values are where none is missing."""
    panels: Sequence[PicturePanel]
    episodes: Sequence[PictureEpisode] = ()


class Theme(NamedTuple):
    """Colours."""

    back: str
    grid: str
    text: str
    muted: str
    price: str
    metric: str
    shade: str
    levels: tuple[str, str, str]
    """Of ``Level``, the lowest first."""


THEMES: dict[ThemeName, Theme] = {
    "dark": Theme(
        "#10151c", "#28313d", "#eef2f6", "#a7b3c2", "#eef2f6", "#4fc3f7", "#ff9f43",
        ("#ffd54f", "#ffa552", "#ff7b72"),
    ),
    "light": Theme(
        "#ffffff", "#dde3ea", "#17212b", "#556271", "#17212b", "#0b66c3", "#e8710a",
        ("#7a6000", "#a84d00", "#c01f1f"),
    ),
}  # fmt: skip

_NAMES = {Level.WATCH: "watch", Level.ALERT: "alert", Level.CRITICAL: "critical"}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_GAP = 2.5
"""So many steps without a value are a gap."""

_WIDEST = 3.0
"""A panel shows levels until they make it so many times as high as its values do."""

_SEEN = 0.015
"""A spike of so much of the height of a line is seen; a smaller one would look like a step."""

_STEPS: Sequence[Ms] = (
    *(n * MINUTE for n in (1, 2, 5, 10, 15, 30)),
    *(n * HOUR for n in (1, 2, 3, 6, 12)),
    *(n * DAY for n in (1, 2, 3, 5, 10, 30)),
)
"""Between two marks of the axis of time."""

_SCALES = ((1e12, "T"), (1e9, "B"), (1e6, "M"))


class _Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "_Box") -> bool:
        return (
            self.left < other.right and other.left < self.right
            and self.top < other.bottom and other.top < self.bottom
        )  # fmt: skip


class _Scale(NamedTuple):
    """Values → heights of a panel."""

    low: float
    high: float
    top: float
    bottom: float

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.bottom - share * (self.bottom - self.top)


class _Tick(NamedTuple):
    value: float
    text: str


def draw(picture: Picture, size: tuple[int, int] = SIZE, theme: ThemeName = "dark") -> str:
    """``picture`` as SVG. ValueError if ``size`` is below ``LEAST_SIZE``, or if it has no panels or
    no time, or its values are not as many as their times."""
    if size[0] < LEAST_SIZE[0] or size[1] < LEAST_SIZE[1]:
        raise ValueError(f"a picture has at least {LEAST_SIZE[0]} x {LEAST_SIZE[1]} pixels")
    if not picture.panels or picture.end <= picture.start:
        raise ValueError("a picture needs a panel, and an end after its start")
    for panel in picture.panels:
        columns = (panel.values, panel.lows or panel.values, panel.highs or panel.values)
        if any(len(column) != len(panel.at) for column in columns):
            raise ValueError(f"{panel.title}: there is not one value for each time")
    return _Sheet(picture, size, THEMES[theme]).svg()


class _Sheet:
    """A picture that is being drawn: its parts, and where its texts are."""

    def __init__(self, picture: Picture, size: tuple[int, int], theme: Theme) -> None:
        self._picture = picture
        self._wide, self._high = size
        self._theme = theme
        self._em = min(max(13.0, self._wide / 41), self._high / 18)
        self._line = self._em * 1.35
        self._pad = self._em * 0.8
        self._zone = ZoneInfo(picture.zone)
        self._parts: list[str] = []
        self._texts: list[_Box] = []

    def svg(self) -> str:
        """All of it."""
        theme, picture = self._theme, self._picture
        top = self._headings()
        bottom = self._high - self._pad - self._line
        room = (bottom - top) / len(picture.panels)
        scales: list[_Scale] = []
        ticks: list[list[_Tick]] = []
        for number, panel in enumerate(picture.panels):
            begins = top + number * room + self._line * 1.1
            scale = _scaled(panel, begins, top + (number + 1) * room - self._em * 0.5)
            scales.append(scale)
            ticks.append(
                _ticks(scale, max(2, round((scale.bottom - scale.top) / (1.45 * self._em))))
            )
        labels = [tick.text for of in ticks for tick in of]
        labels += [
            _last_text(panel, scale) for panel, scale in zip(picture.panels, scales, strict=True)
        ]
        gutter = max((width(text, self._em) for text in labels), default=0.0) + 1.4 * self._em
        right = max(self._wide - gutter, self._wide * 0.5)
        plot = _Box(self._pad, top, right, bottom)
        for episode in picture.episodes:
            self._shade(episode, plot, scales)
        self._time_axis(plot, scales)
        for number, panel in enumerate(picture.panels):
            self._panel(panel, scales[number], ticks[number], plot, first=number == 0)
        box = f'width="{self._wide}" height="{self._high}"'
        name = escape(legible(" ".join((picture.title, picture.subtitle)).strip()))
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" {box} viewBox="0 0 {self._wide} {self._high}"'
            f' font-family="{FAMILY}" font-weight="{WEIGHT}" role="img" aria-label="{name}">'
            f'<rect {box} fill="{theme.back}"/>{"".join(self._parts)}</svg>'
        )

    def _headings(self) -> float:
        """What it is about, and whose data and times it shows. Where these end."""
        picture, theme, em = self._picture, self._theme, self._em
        left, right = self._pad, self._wide - self._pad
        base = self._pad + 1.1 * em
        title = shortened(legible(picture.title), 1.4 * em, right - left)
        self._text(title, left, base, 1.4 * em, theme.text, "title")
        after = left + width(title, 1.4 * em) + em * 0.7
        subtitle = shortened(legible(picture.subtitle), em, right - after)
        self._text(subtitle, after, base, em, theme.text, "subtitle")
        base += self._line * 1.1
        when = shortened(self._when(), em, right - left)
        self._text(when, left, base, em, theme.muted, "when")
        after = left + width(when, em) + em
        venues = _venues([legible(venue) for venue in picture.venues], em, right - after)
        self._text(venues, right, base, em, theme.muted, "venues", anchor="end")
        return base + em * 0.7

    def _when(self) -> str:
        """``27 Nov 2026, UTC``, or ``20–27 Nov 2026, UTC``."""
        first, last = self._local(self._picture.start), self._local(self._picture.end - 1)
        year, month = f" {last.year}", f" {_MONTHS[last.month - 1]}"
        text = f"{last.day}{month}{year}"
        if first.date() != last.date():
            before = f"{first.day}"
            if (first.year, first.month) != (last.year, last.month):
                before += f" {_MONTHS[first.month - 1]}"
                before += f" {first.year}" if first.year != last.year else ""
            text = f"{before}–{text}"
        return f"{text}, {legible(self._picture.zone)}"

    def _local(self, at: Ms) -> datetime:
        return datetime.fromtimestamp(at / 1000, UTC).astimezone(self._zone)

    def _x(self, at: float, plot: _Box) -> float:
        start, end = self._picture.start, self._picture.end
        return plot.left + (at - start) / (end - start) * (plot.right - plot.left)

    def _shade(self, episode: PictureEpisode, plot: _Box, scales: Sequence[_Scale]) -> None:
        start, end = self._picture.start, self._picture.end
        until = end if episode.end is None else min(end, episode.end)
        if until < start or episode.start > end:
            return
        left, right = self._x(max(start, episode.start), plot), self._x(max(start, until), plot)
        left = min(left, plot.right - 3)
        for scale in scales:
            self._parts.append(
                f'<rect class="episode" x="{left:.1f}" y="{scale.top:.1f}"'
                f' width="{max(3.0, right - left):.1f}" height="{scale.bottom - scale.top:.1f}"'
                f' fill="{self._theme.shade}" fill-opacity="0.12"/>'
            )

    def _time_axis(self, plot: _Box, scales: Sequence[_Scale]) -> None:
        """Marks at round local times, as many as have room."""
        em, start, end = self._em, self._picture.start, self._picture.end
        widest = width("00:00", em) if end - start <= 4 * DAY else width("28 Nov", em)
        most = max(1.0, (plot.right - plot.left) / (widest * 1.7))
        step = next((step for step in _STEPS if (end - start) / step <= most), _STEPS[-1])
        unit = min(step, 15 * MINUTE)
        for at in range(ceil(start / unit) * unit, end + 1, unit):
            local = self._local(at)
            if not _round_time(local, step):
                continue
            x = self._x(at, plot)
            midnight = local.hour == local.minute == 0
            text = f"{local.day} {_MONTHS[local.month - 1]}" if midnight else f"{local:%H:%M}"
            half = width(text, em) / 2
            base = plot.bottom + self._line * 0.95
            if x - half < self._pad / 2 or x + half > self._wide - self._pad / 2:
                continue
            if not self._text(text, x, base, em, self._theme.muted, "time", anchor="middle"):
                continue
            for scale in scales:
                self._parts.append(
                    f'<path class="mark" d="M{x:.1f} {scale.top:.1f}V{scale.bottom:.1f}"'
                    f' stroke="{self._theme.grid}"/>'
                )

    def _panel(
        self, panel: PicturePanel, scale: _Scale, ticks: Sequence[_Tick], plot: _Box, *, first: bool
    ) -> None:
        theme, em = self._theme, self._em
        colour = theme.price if first and len(self._picture.panels) > 1 else theme.metric
        base = scale.top - em * 0.45
        title = shortened(legible(panel.title), em, self._wide - 2 * self._pad)
        self._text(title, plot.left, base, em, colour, "name")
        self._legend(panel, title, base)
        self._parts.append(f'<g class="panel" data-name="{escape(legible(panel.title))}">')
        if panel.empty:
            self._text(
                "no data", (plot.left + plot.right) / 2, (scale.top + scale.bottom) / 2 + em * 0.35,
                em, theme.muted, "none", anchor="middle",
            )  # fmt: skip
        else:
            self._tag(panel, scale, plot, colour)
            self._grid(scale, ticks, plot)
            self._curve(panel, scale, plot, colour)
            self._levels(panel, scale, plot)
        self._parts.append("</g>")

    def _grid(self, scale: _Scale, ticks: Sequence[_Tick], plot: _Box) -> None:
        for value, text in ticks:
            y = scale.y(value)
            self._parts.append(
                f'<path class="grid" d="M{plot.left:.1f} {y:.1f}H{plot.right:.1f}"'
                f' stroke="{self._theme.grid}"/>'
            )
            base = y + self._em * 0.35
            if scale.top <= base - self._em * 0.75 and y <= scale.bottom:
                left = plot.right + self._em * 0.5
                self._text(text, left, base, self._em, self._theme.muted, "tick")

    def _curve(self, panel: PicturePanel, scale: _Scale, plot: _Box, colour: str) -> None:
        """The line, with what lies within a column of pixels as its extremes."""
        start, end = self._picture.start, self._picture.end
        thick = self._em * 0.11
        for run in _runs(panel, start, end, self._picture.step * _GAP):
            points = list(_thinned(run, start, end, round(plot.right - plot.left)))
            if len(points) == 1:
                x, y = self._x(points[0][0], plot), scale.y(points[0][1])
                self._parts.append(
                    f'<circle class="line" cx="{x:.1f}" cy="{y:.1f}" r="{thick * 1.3:.1f}"'
                    f' fill="{colour}"/>'
                )
                continue
            path = " ".join(f"{self._x(at, plot):.1f},{scale.y(v):.1f}" for at, v in points)
            self._parts.append(
                f'<polyline class="line" points="{path}" fill="none" stroke="{colour}"'
                f' stroke-width="{thick:.1f}" stroke-linejoin="round" stroke-linecap="round"/>'
            )

    def _tag(self, panel: PicturePanel, scale: _Scale, plot: _Box, colour: str) -> None:
        """The last value, beside the axis."""
        text = _last_text(panel, scale)
        em, value = self._em, _last(panel)
        if value is None:
            return
        y = min(max(scale.y(value), scale.top + em * 0.65), scale.bottom - em * 0.65)
        left = plot.right + em * 0.5
        wide = width(text, em) + em * 0.5
        self._parts.append(
            f'<rect class="tag" x="{left - em * 0.25:.1f}" y="{y - em * 0.65:.1f}"'
            f' width="{wide:.1f}" height="{em * 1.3:.1f}" rx="{em * 0.2:.1f}" fill="{colour}"/>'
        )
        if self._text(text, left, y + em * 0.36, em, self._theme.back, "last"):
            self._texts[-1] = _Box(left, y - em * 0.65, left + wide, y + em * 0.65)

    def _levels(self, panel: PicturePanel, scale: _Scale, plot: _Box) -> None:
        """A line for each that has room, in the colour in which the title's row names it."""
        for level in _within(panel, scale):
            y, colour = scale.y(level.value), self._theme.levels[level.level - 1]
            self._parts.append(
                f'<path class="level" d="M{plot.left:.1f} {y:.1f}H{plot.right:.1f}"'
                f' stroke="{colour}" stroke-width="{self._em * 0.08:.1f}"'
                f' stroke-dasharray="{self._em * 0.35:.1f} {self._em * 0.25:.1f}"/>'
            )

    def _legend(self, panel: PicturePanel, title: str, base: float) -> None:
        """The levels on the right of the title's row, the mildest first; where there is little
        room, without their names."""
        em, right = self._em, self._wide - self._pad
        known = [level for level in panel.levels if _known(level.value) is not None]
        known.sort(key=lambda level: -level.level)
        room = right - self._pad - width(title, em)
        texts = [_level_text(level) for level in known]
        if sum(width(text, em) + em for text in texts) > room:
            texts = [signed(f"{level.value:.6g}") for level in known]
        for level, text in zip(known, texts, strict=True):
            colour = self._theme.levels[level.level - 1]
            if self._text(text, right, base, em, colour, "level", anchor="end"):
                right -= width(text, em) + em

    def _text(
        self, text: str, x: float, base: float, size: float, colour: str, kind: str, *,
        anchor: Literal["start", "middle", "end"] = "start",
    ) -> bool:  # fmt: skip
        """Whether it was written: not if it is nothing, or meets another text or the edge."""
        wide = width(text, size)
        left = x - {"start": 0.0, "middle": wide / 2, "end": wide}[anchor]
        box = _Box(left, base - size * 0.78, left + wide, base + size * 0.22)
        inside = box.left >= 0 and box.right <= self._wide + 0.01 and box.bottom <= self._high
        if not text or not inside or any(box.meets(other) for other in self._texts):
            return False
        self._texts.append(box)
        place = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self._parts.append(
            f'<text class="{kind}" x="{x:.1f}" y="{base:.1f}" font-size="{size:.1f}"'
            f' fill="{colour}"{place}>{escape(text)}</text>'
        )
        return True


def _known(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) and abs(value) < LIMIT else None


def _last(panel: PicturePanel) -> float | None:
    """The last value that is known."""
    return next((v for value in reversed(panel.values) if (v := _known(value)) is not None), None)


def _scaled(panel: PicturePanel, top: float, bottom: float) -> _Scale:
    """With room for the values, and for those levels that are not too far away."""
    columns = (panel.values, panel.lows, panel.highs)
    values = [v for column in columns for value in column if (v := _known(value)) is not None]
    if not values:
        return _Scale(0.0, 1.0, top, bottom)
    low, high = min(values), max(values)
    if panel.from_zero:
        low, high = min(0.0, low), max(0.0, high)
    most = _WIDEST * max(high - low, 0.02 * max(abs(low), abs(high)))
    levels = [v for level in panel.levels if (v := _known(level.value)) is not None]
    for value in sorted(levels, key=lambda v: max(low - v, v - high)):
        if max(high, value) - min(low, value) > most:
            break
        low, high = min(low, value), max(high, value)
    largest = max(abs(low), abs(high))
    if high - low <= 1e-6 * largest or largest < _LEAST:
        half = abs(low) * 0.01 if largest >= _LEAST else 1.0
        low, high = low - half, high + half
    margin = (high - low) * 0.07
    return _Scale(low - margin, high + margin, top, bottom)


def _within(panel: PicturePanel, scale: _Scale) -> list[PictureLevel]:
    """The levels that have a line, the worst first."""
    known = [level for level in panel.levels if _known(level.value) is not None]
    shown = [level for level in known if scale.low <= level.value <= scale.high]
    return sorted(shown, key=lambda level: -level.level)


def _ticks(scale: _Scale, most: int) -> list[_Tick]:
    """Round values within a panel, no more than ``most``, each with another text."""
    step = _round_up((scale.high - scale.low) / most)
    first, last = ceil(scale.low / step), floor(scale.high / step)
    by_text: dict[str, _Tick] = {}
    for number in range(first, last + 1):
        text = _number(number * step, step, scale)
        by_text.setdefault(text, _Tick(number * step, text))
    return list(by_text.values())


def _round_up(value: float) -> float:
    """1, 2 or 5 times a power of ten, not below ``value``."""
    unit = 10.0 ** floor(log10(value))
    return next((n * unit for n in (1, 2, 5) if n * unit >= value), 10 * unit)


def _last_text(panel: PicturePanel, scale: _Scale) -> str:
    value = _last(panel)
    if value is None:
        return ""
    return _number(value, _round_up((scale.high - scale.low) / 4) / 100, scale, trim=True)


def _number(value: float, step: float, scale: _Scale, *, trim: bool = False) -> str:
    """``value`` with the decimals that a difference of ``step`` is seen by; large numbers with M, B
    or T. ``trim``: without zeros at the end."""
    largest = max(abs(scale.low), abs(scale.high))
    if largest >= 1e15 or largest < 1e-8:
        return signed(f"{value:.3g}") if value else "0"
    size, sign = next(((size, sign) for size, sign in _SCALES if largest >= size * 10), (1.0, ""))
    decimals = max(0, -floor(log10(step / size) + 1e-9))
    figures = floor(log10(largest / size)) + 1 + decimals
    decimals = max(0, decimals - max(0, figures - 7)) if figures > 7 else decimals
    text = f"{value / size:,.{decimals}f}"
    if trim and decimals:
        text = text.rstrip("0").rstrip(".")
    return signed(text) + (sign if text.strip("-0.") else "")


def _level_text(level: PictureLevel) -> str:
    return f"{_NAMES[level.level]} {signed(f'{level.value:.6g}')}"


def _venues(venues: Sequence[str], size: float, most: float) -> str:
    """As many of them as there is room for, and how many more there are."""
    for count in range(len(venues), 0, -1):
        more = f" + {len(venues) - count}" if count < len(venues) else ""
        text = " · ".join(venues[:count]) + more
        if width(text, size) <= most:
            return text
    return ""


def _round_time(local: datetime, step: Ms) -> bool:
    """Whether a mark of ``step`` stands at this time on the wall."""
    minute = local.hour * 60 + local.minute
    if step < DAY:
        return (minute * MINUTE) % step == 0
    return minute == 0 and local.toordinal() % (step // DAY) == 0


class _Point(NamedTuple):
    at: float
    value: float


def _runs(panel: PicturePanel, start: Ms, end: Ms, gap: float) -> list[list[_Point]]:
    """The known values from ``start`` to ``end``, in pieces without a gap. What a minute went
    through, if it is visibly beyond the values on both sides, is a point between them."""
    known = [
        (at, value, n)
        for n, at in enumerate(panel.at)
        if start <= at <= end and (value := _known(panel.values[n])) is not None
    ]
    values = [value for _, value, _ in known]
    seen = (max(values) - min(values)) * _SEEN if values else 0.0
    runs: list[list[_Point]] = []
    before: _Point | None = None
    for at, value, n in known:
        if before is None or at - before.at > gap:
            runs.append([])
            before = None
        middle = at if before is None else (before.at + at) / 2
        beside = [value] if before is None else [before.value, value]
        low, high = (_known(column[n]) if column else None for column in (panel.lows, panel.highs))
        if low is not None and low < min(beside) - seen:
            runs[-1].append(_Point(middle, low))
        if high is not None and high > max(beside) + seen:
            runs[-1].append(_Point(middle, high))
        before = _Point(at, value)
        runs[-1].append(before)
    return runs


def _thinned(run: Sequence[_Point], start: Ms, end: Ms, columns: int) -> Iterator[_Point]:
    """Of each column of pixels the first value, the lowest, the highest and the last."""

    def column(point: _Point) -> int:
        return int((point.at - start) * columns / (end - start))

    for _, points in groupby(run, column):
        within = list(points)
        first, *_, last = within if len(within) > 1 else [within[0], within[0]]
        extremes = (min(p.value for p in within), max(p.value for p in within))
        yield first
        for value in extremes:
            if value not in (first.value, last.value):
                yield _Point(last.at, value)
        if last is not first:
            yield last
