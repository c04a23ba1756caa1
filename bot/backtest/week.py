"""What the metric log knows of a week: values minute by minute, and what follows from them."""

import struct
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import isfinite, nan
from pathlib import Path
from typing import NamedTuple

import msgspec

from bot.backtest.week_alerts import WeekAlerts
from bot.metriclog import SUFFIX, Column, LogRow, log_rows
from bot.plan.weekly import WEEK
from rules.alerts import ALL
from rules.context import CONTEXT
from rules.metrics.liquidation_day import LONGS, OF_ALL
from rules.metrics.regime import STATES
from rules.snapshot import MACRO_PRICE, PRICE
from rules.stablecoins import STABLECOINS
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Ms

MINUTES = WEEK // MINUTE

COVERED = 0.9
"""An average or an extreme of the week is given if so much of its minutes is known."""

NEAR: Ms = 5 * MINUTE
"""A value of a moment is one that was known so shortly before or after it."""

_LOOK_BACK: Ms = 4 * WEEK
"""So far before the week the beginning of a streak is looked for."""

_BETWEEN: Ms = 9 * HOUR
"""A longer hole in a streak of settlements may hide one of another sign."""

FUNDING = "funding_8h_pct"

DOLLAR = {coin: f"stablecoin_{coin.lower()}_pct" for coin in STABLECOINS}
"""Stablecoin → how far it is from a dollar."""

STABLECOIN_SUPPLIES = tuple(f".{coin}.supply" for coin in STABLECOINS)
"""How the names end of what sources say of their supply."""

_FLOAT = struct.Struct("<f")
INTEREST = {
    "week.oi_all": "drawdown_oi_total_net_pct",
    "week.oi_top10": "drawdown_oi_top10_net_pct",
    "week.oi_51to100": "drawdown_oi_51to100_net_pct",
}
CORRELATIONS = {
    "week.top10": "correlation_top10_7d",
    "week.51to100": "correlation_51to100_7d",
}


@dataclass(slots=True)
class WeekValues:
    """What is known of one metric in the week, minute by minute."""

    at: "array[int]" = field(default_factory=lambda: array("q"))
    value: "array[float]" = field(default_factory=lambda: array("d"))
    low: "array[float]" = field(default_factory=lambda: array("d"))
    """The least value since the minute before."""
    high: "array[float]" = field(default_factory=lambda: array("d"))
    """The largest."""

    @property
    def covered(self) -> float:
        """The share of the week's minutes that are known."""
        return len(self.at) / MINUTES

    @property
    def mean(self) -> float:
        """Of its minutes. ZeroDivisionError if there are none."""
        return sum(self.value) / len(self.value)

    def lowest(self) -> tuple[float, Ms]:
        """With its time. ValueError if there is none."""
        return min(zip(self.low, self.at, strict=True))

    def highest(self) -> tuple[float, Ms]:
        """With its first time. ValueError if there is none."""
        value, before = max((high, -at) for high, at in zip(self.high, self.at, strict=True))
        return value, -before

    def near(self, moment: Ms) -> float | None:
        """The value at ``moment``: the last one not after it, else the first one after it."""
        before = [n for n, at in enumerate(self.at) if moment - NEAR <= at <= moment]
        after = [n for n, at in enumerate(self.at) if moment < at <= moment + NEAR]
        return self.value[before[-1] if before else after[0]] if before or after else None


class Streak(NamedTuple):
    """For how long a value has had its sign at the end of a week."""

    sign: int
    since: Ms
    """Its first minute."""
    bound: bool
    """It may have begun earlier: before that nothing is known, or nobody has looked."""


@dataclass(slots=True)
class RecordedWeek:
    """All that is known of a week. ``start``: its Monday, 00:00 UTC."""

    start: Ms
    values: dict[tuple[str, str], WeekValues] = field(
        default_factory=dict[tuple[str, str], WeekValues]
    )
    """By metric and asset, as far as any minute is known."""
    minutes: list[Ms] = field(default_factory=list[Ms])
    """Those of which there is a row."""
    streaks: dict[tuple[str, str], Streak] = field(default_factory=dict[tuple[str, str], Streak])
    """By metric and asset, see ``streaks``."""
    alerts: WeekAlerts | None = None
    """What the rules reported; None: that is not known."""

    def of(self, metric: str, asset: str) -> WeekValues:
        """What is known of it; nothing where it was not recorded."""
        return self.values.get((metric, asset), WeekValues())

    def day_end(self, metric: str, asset: str, day: int) -> float | None:
        """The last value in a day of the week, counted from 0, if it is from its last minutes."""
        end = self.start + (day + 1) * DAY
        known = self.of(metric, asset)
        within = [n for n, at in enumerate(known.at) if end - NEAR <= at < end]
        return known.value[within[-1]] if within else None


def monday(text: str) -> Ms:
    """The Monday that ``text`` names, 00:00 UTC. ValueError in a sentence if it names none."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"{text} is no day: write the week's Monday, such as 2026-11-16") from None
    if day.weekday():
        first = day - timedelta(days=day.weekday())
        raise ValueError(f"{text} is no Monday: that of its week is {first:%Y-%m-%d}")
    return round(day.timestamp() * 1000)


def read_week(folder: Path, start: Ms, metrics: Callable[[str, str], bool]) -> RecordedWeek:
    """The week from ``start`` on. ``metrics``: which of a metric and an asset is wanted. A day that
    is not there, or torn, is a hole. OSError as usual."""
    read = _Minutes(start, metrics)
    for day in range(start, start + WEEK, DAY):
        read.day(folder, day)
    week = RecordedWeek(
        start, minutes=[start + n * MINUTE for n in range(MINUTES) if read.there[n]]
    )
    week.values = {key: read.known(key) for key in list(read.numbers)}
    return week


class _Minutes:
    """The numbers of a week by minute, as they are read. NaN: not known."""

    def __init__(self, start: Ms, metrics: Callable[[str, str], bool]) -> None:
        self.there = bytearray(MINUTES)
        """Of which minutes there is a row."""
        self.numbers: dict[tuple[str, str], tuple[array[float], array[float], array[float]]] = {}
        """By metric and asset: value, low and high."""
        self._start = start
        self._metrics = metrics

    def day(self, folder: Path, day: Ms) -> None:
        """Read the file of the day that begins at ``day``, as far as it is whole."""
        columns: Sequence[Column] = ()
        places: dict[tuple[str, str], tuple[int, int, int]] = {}
        for row in day_rows(folder, day):
            if row.columns is not columns:
                columns = row.columns
                places = _places(columns, self._metrics)
                for key in places:
                    self.numbers.setdefault(key, (_unknown(), _unknown(), _unknown()))
            minute = row.minute - self._start // MINUTE
            if 0 <= minute < MINUTES:
                self._take(row, minute, places)

    def _take(
        self, row: LogRow, minute: int, places: Mapping[tuple[str, str], tuple[int, int, int]]
    ) -> None:
        if self.there[minute]:  # the clock was set back: the later row counts
            for values in self.numbers.values():
                for numbers_ in values:
                    numbers_[minute] = nan
        self.there[minute] = 1
        for key, (at, low, high) in places.items():
            value = _number(row, at)
            if not isfinite(value):
                continue
            values = self.numbers[key]
            values[0][minute] = value
            values[1][minute] = _or(value, row, low, at)
            values[2][minute] = _or(value, row, high, at)

    def known(self, key: tuple[str, str]) -> WeekValues:
        """The minutes of which a number is known; they are let go of here."""
        values, lows, highs = self.numbers.pop(key)
        known = WeekValues()
        for minute, value in enumerate(values):
            if isfinite(value):
                known.at.append(self._start + minute * MINUTE)
                known.value.append(value)
                known.low.append(lows[minute])
                known.high.append(highs[minute])
        return known


def _unknown() -> "array[float]":
    return array("d", [nan]) * MINUTES


def day_rows(folder: Path, day: Ms) -> Iterator[LogRow]:
    """The rows of the day that begins at ``day``, up to where its file is torn; none where there is
    no file."""
    path = folder / f"{datetime.fromtimestamp(day / 1000, UTC):%Y-%m-%d}{SUFFIX}"
    if not path.exists():
        return
    with path.open("rb") as file, suppress(ValueError, zlib.error, msgspec.MsgspecError):
        yield from log_rows(file)


def _places(
    columns: Sequence[Column], metrics: Callable[[str, str], bool]
) -> dict[tuple[str, str], tuple[int, int, int]]:
    """Where value, low and high are; of what has no low and high, the value."""
    index = {column: place for place, column in enumerate(columns)}
    return {
        (column.metric, column.asset): (
            place,
            index.get(column._replace(field="low"), place),
            index.get(column._replace(field="high"), place),
        )
        for column, place in index.items()
        if column.field == "value" and not column.instrument
        and metrics(column.metric, column.asset)
    }  # fmt: skip


def _or(value: float, row: LogRow, place: int, of_value: int) -> float:
    """The lowest or the highest at ``place``; the value where there is none."""
    number = value if place == of_value else _number(row, place)
    return number if isfinite(number) else value


def _number(row: LogRow, place: int) -> float:
    width, planes = len(row.columns), row.planes
    four = (planes[place + plane * width] for plane in range(4))
    (value,) = _FLOAT.unpack(bytes(four))
    return float(f"{value:.7g}")


def streaks(week: RecordedWeek, folder: Path, metric: str, assets: Sequence[str]) -> None:
    """Put into ``week`` since when ``metric`` has had the sign that it has at the end, of each of
    ``assets`` of which that is known. Where it is older than the week, earlier days are read."""
    going: dict[str, Streak] = {}
    for asset in assets:
        known = week.of(metric, asset)
        if known.near(week.start + WEEK - MINUTE) is None:
            continue
        streak, whole = _back(_at_end(known), zip(known.at, known.value, strict=True))
        if whole:
            going[asset] = streak
        else:
            week.streaks[metric, asset] = streak
    day = week.start
    while going and day > week.start - _LOOK_BACK:
        day -= DAY
        rows = _of_day(folder, day, metric, going)
        for asset, values in rows.items():
            streak, whole = _back(going[asset], values)
            going[asset] = streak
            if not whole:
                week.streaks[metric, asset] = going.pop(asset)
    for asset, streak in going.items():
        week.streaks[metric, asset] = streak._replace(bound=True)


def _at_end(known: WeekValues) -> Streak:
    return Streak(_sign(known.value[-1]), known.at[-1], False)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _back(streak: Streak, values: Iterable[tuple[Ms, float]]) -> tuple[Streak, bool]:
    """``streak`` with what is known before it, and whether all of that belongs to it."""
    for at, value in sorted(values, reverse=True):
        if streak.since - at > _BETWEEN:
            return streak._replace(bound=True), False
        if _sign(value) != streak.sign:
            return streak, False
        streak = streak._replace(since=at)
    return streak, True


def _of_day(
    folder: Path, day: Ms, metric: str, assets: Iterable[str]
) -> dict[str, list[tuple[Ms, float]]]:
    """What is known of ``metric`` in a day, by asset."""
    known: dict[str, list[tuple[Ms, float]]] = {asset: [] for asset in assets}
    columns: Sequence[Column] = ()
    places: dict[str, int] = {}
    for row in day_rows(folder, day):
        if row.columns is not columns:
            columns = row.columns
            of = _places(columns, lambda name, asset: name == metric and asset in known)
            places = {asset: at for (_, asset), (at, _, _) in of.items()}
        at = row.minute * MINUTE
        if day <= at < day + DAY:
            for asset, place in places.items():
                if isfinite(value := _number(row, place)):
                    known[asset].append((at, value))
    return known


def prices_wanted(majors: Sequence[str]) -> Callable[[str, str], bool]:
    """What a report takes from the weeks before its own: what supports and the ranks of classes of
    assets are made of, and the largest day of liquidations."""
    return lambda metric, asset: (
        metric == MACRO_PRICE
        or (metric == PRICE and asset in majors)
        or (metric == OF_ALL.name and asset == ALL)
    )


def wanted(majors: Sequence[str]) -> Callable[[str, str], bool]:
    """What a report on the market and on ``majors`` is made of."""
    market = {*INTEREST.values(), *CORRELATIONS.values()}
    market |= {OF_ALL.name, LONGS, "funding_negative_share_pct"}
    market |= {*DOLLAR.values()}
    market |= {f"regime_total_{of}" for of in STATES}
    coin = {FUNDING, "oi_net_24h_pct", "depth_25bp_pct_of_normal"}
    coin |= {"volatility_7d_pct", "spot_share_pct", *(f"regime_{of}" for of in STATES)}

    def is_wanted(metric: str, asset: str) -> bool:
        if metric == CONTEXT:
            return asset.endswith(STABLECOIN_SUPPLIES)
        if metric in (MACRO_PRICE, PRICE):  # prices tell what came of an alert
            return True
        if on_sector(metric):
            return asset == ALL
        return metric in (market if asset == ALL else coin) and (asset == ALL or asset in majors)

    return is_wanted


def on_sector(metric: str) -> bool:
    """Whether a metric is what a sector did against the market."""
    return metric.startswith("sector_")


def sectors_at(week: RecordedWeek, moment: Ms) -> list[tuple[float, str]]:
    """What each sector did in the 7 days up to ``moment``, as far as it is known, the worst first,
    with its name."""
    return sorted(
        (pct, metric.removeprefix("sector_").removesuffix("_7d_pct"))
        for (metric, asset), known in week.values.items()
        if on_sector(metric) and metric.endswith("_7d_pct") and asset == ALL
        and (pct := known.near(moment)) is not None
    )  # fmt: skip
