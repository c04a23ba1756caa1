"""Rows of one venue and asset, and the steps from them to the series of a metric."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bot.backtest.csvfile import LATEST, Table
from bot.backtest.series import Chunk, Place, Series, Times, merged
from streams.events import Ms

HOUR: Ms = 3_600_000
DAY: Ms = 86_400_000
_NORMAL_DAYS = 14
_READY_DAYS = 5

Numbers = NDArray[np.float64]


class Rows(NamedTuple):
    """What one venue said of one asset, in order of time. ``step``: Ms to the next, as a rule."""

    at: Times
    step: NDArray[np.int64]
    numbers: dict[str, Numbers]

    def newest(self, now: Times) -> NDArray[np.intp]:
        """The last row known at each moment, -1 before the first."""
        return np.searchsorted(self.at, now, "right") - 1


def extend(found: dict[Place, Series], series: dict[Place, Series]) -> None:
    """Adds what lies before and after what is known of a place: one source speaks at a time."""
    chunk = Chunk(0, 0, found)
    for place, one in series.items():
        known = found.get(place)
        first, last = (0, 0) if known is None else (int(known.at[0]), int(known.at[-1]) + 1)
        parts = (one,) if known is None else (one.between(0, first), one.between(last, LATEST))
        for part in parts:
            if part is not None:
                merged(chunk, {place: part})


def rows_of(tables: Sequence[Table], rows: list[tuple[Ms, Ms, int, int]]) -> Rows:
    """In order of time; of several rows of one time that with the finest step."""
    best: dict[Ms, tuple[Ms, int, int]] = {}
    for at, step, n, row in rows:
        if at not in best or step < best[at][0]:
            best[at] = (step, n, row)
    order = sorted(best)
    chosen = [best[at] for at in order]
    numbers = {
        name: np.array([tables[n].numbers[name][row] for _, n, row in chosen])
        for name in tables[0].numbers
    }
    return Rows(np.array(order, np.int64), np.array([s for s, _, _ in chosen], np.int64), numbers)


def starts(at: Times, window: Ms) -> NDArray[np.intp]:
    """For each row that at the start of the window which it ends, -1 where there is none.

    One that is older than the start by more than a quarter of the window is none.
    """
    first = np.searchsorted(at, at - window, "right") - 1
    return np.where((first >= 0) & (at - window - at[first] <= window // 4), first, -1)


def both_ends(rows: Rows, at: Times, window: Ms) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Coins before and after, USD before, and the newest coins, at each moment."""
    last = rows.newest(at)
    age = at - rows.at[last]
    fresh = (last >= 0) & (age <= np.maximum(rows.step[last] * 3 // 2, 60_000))
    first = starts(rows.at, window)[last]
    base, usd = rows.numbers["base"], rows.numbers["usd"]
    known = fresh & (first >= 0)
    newest = np.where(
        (last >= 0) & (age <= 3 * np.maximum(rows.step[last], 60_000)), base[last], np.nan
    )
    before, after, held = base[first], base[last], usd[first]
    return (
        np.where(known, before, np.nan),
        np.where(known, after, np.nan),
        np.where(known, held, np.nan),
        newest,
    )


def normally(at: Times, usd: Numbers) -> Numbers:
    """The median of the last 14 days within an hour of this hour of day; NaN before 5 days."""
    normal = np.full(len(at), np.nan)
    for n in range(len(at)):
        now = int(at[n])
        first = int(np.searchsorted(at, now - _NORMAL_DAYS * DAY))
        before: Times = at[first:n]
        apart: Times = (before - now) % DAY
        near = (apart <= HOUR) | (apart >= DAY - HOUR)
        kept: Times = before[near] // DAY
        days: set[int] = {*kept.tolist()}
        if len(days) >= _READY_DAYS:
            normal[n] = np.median(usd[first:n][near])
    return normal


def pct_8h(rows: Rows) -> Numbers:
    return 100 * rows.numbers["rate"] * 8 / rows.numbers["interval_h"]


def series_of(at: Times, value: Numbers, floor: Numbers | None = None) -> Series:
    x = value.astype(np.float32)
    return Series(at, x, x, x, 60_000, None if floor is None else floor.astype(np.float32))


def known_values(
    name: str, asset: str, at: Times, value: Numbers, floor: Numbers | None = None
) -> dict[Place, Series]:
    """The rows that have a value, nothing if none has."""
    known = ~np.isnan(value)
    if not known.any():
        return {}
    least = np.full(len(at), np.inf) if floor is None else floor
    return {Place(name, asset): series_of(at[known], value[known], least[known])}


def with_settlements(
    name: str, asset: str, at: Times, pct: Numbers, settled: Times, hours: Numbers
) -> dict[Place, Series]:
    series = series_of(at, pct, np.full(len(at), np.inf))
    series.settled = ((at - settled) / 60_000).astype(np.float32)
    series.interval = (60 * hours).astype(np.float32)
    return {Place(name, asset): series}
