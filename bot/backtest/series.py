"""Recorded values as arrays, in pieces of time that follow each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.durations import DAY, MINUTE
from streams.events import Ms

Times = NDArray[np.int64]
Floats = NDArray[np.float32]


class SeriesKey(NamedTuple):
    """What a series is of: a metric of an asset, of one ``venue/symbol`` of it, or of ALL."""

    metric: str
    asset: str
    instrument: str = ""


@dataclass(slots=True)
class RecordedSeries:
    """Values of one place, row by row; NaN: the value could not be given."""

    at: Times
    """When each row was known, Ms, ascending."""
    value: Floats
    low: Floats
    """The least value since the row before; ``value`` itself where only that is known."""
    high: Floats
    """The largest, in the same way."""
    step: Times
    """For how many Ms before it a row stands. It is known with the row: rows that follow do not
    change it."""
    floor: Floats | None = None
    """What absolute floors are compared with, million USD."""
    bound: Floats | None = None
    """1: there may be more; 2: so much more that it decides nothing about a level that it does not
    exceed."""
    settled: Floats | None = None
    """Minutes since the settlement."""
    interval: Floats | None = None
    """Minutes between two settlements."""
    live: NDArray[np.bool_] = field(init=False)
    """Which rows have a value."""

    def __post_init__(self) -> None:
        self.live = self.value == self.value

    def between(self, start: Ms, end: Ms) -> "RecordedSeries | None":
        """The rows from ``start`` to before ``end``, None if there are none."""
        first, last = np.searchsorted(self.at, (start, end))
        if first == last:
            return None
        part = slice(int(first), int(last))
        cut = [None if column is None else column[part] for column in self._columns()]
        value, low, high = self.value[part], self.low[part], self.high[part]
        return RecordedSeries(self.at[part], value, low, high, self.step[part], *cut)

    def _columns(self) -> tuple[Floats | None, ...]:
        return self.floor, self.bound, self.settled, self.interval


@dataclass(slots=True)
class Chunk:
    """Series of a piece of time; prices are series too."""

    start: Ms
    end: Ms
    """Not included."""
    series: dict[SeriesKey, RecordedSeries]
    assets: frozenset[str] | None = None
    """Whose they are, those of which nothing is known in this piece among them; None: of all there
    are."""


@dataclass(slots=True)
class Notes:
    """What was noticed while reading, in sentences, each once."""

    sentences: list[str] = field(default_factory=list[str])

    def add(self, sentence: str) -> None:
        """Notes it; a file that is read again says the same again."""
        if sentence not in self.sentences:
            self.sentences.append(sentence)


def even(at: Times, step: Ms) -> Times:
    """The same ``step`` for all rows."""
    return np.broadcast_to(np.int64(step), len(at))


def gaps(at: Times, before: Ms) -> Times:
    """How long each row came after the one before; the first one after ``before``."""
    apart = np.empty_like(at)
    apart[:1] = at[:1] - before
    np.subtract(at[1:], at[:-1], out=apart[1:])
    return apart


def epoch_days(at: Times) -> list[int]:
    """The days (since the epoch) of ascending times, each once."""
    days = at // DAY
    new = np.ones(len(days), np.bool_)
    np.not_equal(days[1:], days[:-1], out=new[1:])
    return days[new].tolist()


FORGOTTEN: Ms = 30 * DAY
"""A row so long ago says nothing of the step of the next one."""


def steps(at: Times, first: Ms = MINUTE) -> Times:
    """The step of each row, where no source states it: the shorter of the last two gaps.

    So one gap is a hole, and a second one of the same length is the step. ``first``: of a row
    before which there is none, or none in the last 30 days.
    """
    gaps = np.diff(at, prepend=at[:1] - first)
    begins = gaps > FORGOTTEN
    begins[:1] = True
    gaps[begins] = first
    before = np.concatenate([gaps[:1], gaps[:-1]])
    second = np.flatnonzero(begins[:-1]) + 1
    before[second] = gaps[second]
    return np.minimum(gaps, before)


def series_of(
    at: Times,
    value: NDArray[np.float64],
    step: Times | None = None,
    floor: NDArray[np.float64] | None = None,
) -> RecordedSeries:
    """``step``: as the source states it; None: as the rows show it."""
    x = value.astype(np.float32)
    least = None if floor is None else floor.astype(np.float32)
    return RecordedSeries(at, x, x, x, steps(at) if step is None else step, least)


def joined(parts: list[RecordedSeries]) -> RecordedSeries:
    """Parts that follow each other as one; what a part has no column of is NaN there."""
    if len(parts) == 1:
        return parts[0]

    def column(name: str) -> Floats | None:
        columns: list[Floats | None] = [getattr(part, name) for part in parts]
        if all(values is None for values in columns):
            return None
        filled = [
            np.full(len(part.at), np.nan, np.float32) if values is None else values
            for part, values in zip(parts, columns, strict=True)
        ]
        return np.concatenate(filled)

    return RecordedSeries(
        np.concatenate([p.at for p in parts]),
        np.concatenate([p.value for p in parts]),
        np.concatenate([p.low for p in parts]),
        np.concatenate([p.high for p in parts]),
        np.concatenate([p.step for p in parts]),
        column("floor"),
        column("bound"),
        column("settled"),
        column("interval"),
    )


def cut(series: dict[SeriesKey, RecordedSeries], start: Ms, end: Ms) -> Chunk:
    """The part of all series from ``start`` to before ``end``."""
    parts = {place: whole.between(start, end) for place, whole in series.items()}
    return Chunk(start, end, {place: part for place, part in parts.items() if part is not None})


def rows_by_time(series: RecordedSeries) -> RecordedSeries:
    """The rows by time, of two of one time the later written: the clock may have been set back."""
    at = series.at
    if len(at) < 2 or bool(np.all(at[1:] > at[:-1])):
        return series
    order = np.argsort(at, kind="stable")
    last = np.append(at[order][1:] != at[order][:-1], True)
    rows = order[last]

    def of(column: Floats | None) -> Floats | None:
        return None if column is None else column[rows]

    return RecordedSeries(
        at[rows],
        series.value[rows],
        series.low[rows],
        series.high[rows],
        series.step[rows],
        of(series.floor),
        of(series.bound),
        of(series.settled),
        of(series.interval),
    )


def add_series(chunk: Chunk, other: Mapping[SeriesKey, RecordedSeries]) -> int:
    """Adds the series of ``other``; of a place that both have, rows at other times only.

    The number of rows that both had, of which the first stays.
    """
    twice = 0
    for place, series in other.items():
        known = chunk.series.get(place)
        if known is None:
            chunk.series[place] = series
            continue
        new = ~np.isin(series.at, known.at)
        twice += int(len(new) - new.sum())
        if new.any():
            chunk.series[place] = _interleaved(known, series, new)
    return twice


def _interleaved(
    known: RecordedSeries, series: RecordedSeries, new: NDArray[np.bool_]
) -> RecordedSeries:
    both = joined([known, rows_where(series, new)])
    order = np.argsort(both.at, kind="stable")
    return rows_where(both, order)


def rows_where(
    series: RecordedSeries, which: NDArray[np.bool_] | NDArray[np.intp]
) -> RecordedSeries:
    """Some rows of a series, or all in another order."""

    def of(column: Floats | None) -> Floats | None:
        return None if column is None else column[which]

    return RecordedSeries(
        series.at[which],
        series.value[which],
        series.low[which],
        series.high[which],
        series.step[which],
        of(series.floor),
        of(series.bound),
        of(series.settled),
        of(series.interval),
    )
