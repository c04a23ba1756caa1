"""The week's market structure, from the metric log: figures, and where they are not covered.

A figure is given only if enough of the week is known for it (``COVERED``); what is not says so in
its place. The words are those of the languages' files.
"""

import struct
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import escape
from itertools import pairwise
from math import isfinite, nan, prod
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from bot.backtest.week_alerts import ReportedEpisode, WeekAlerts, merged
from bot.lang import numbers
from bot.lang.words import Words
from bot.messages.blocks import plain
from bot.messages.headline import amount, at_least, regime_in_words, sector_title
from bot.messages.voice import Html, say, title, topic
from bot.metriclog import SUFFIX, Column, LogRow, log_rows
from bot.plan.weekly import WEEK
from rules.alerts import ALL, Level, Regime
from rules.judge import COMPOSITE
from rules.metrics.regime import STATES
from rules.snapshot import MACRO_PRICE, PRICE
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
_FLOAT = struct.Struct("<f")
_INTEREST = {
    "week.oi_all": "drawdown_oi_total_net_pct",
    "week.oi_top10": "drawdown_oi_top10_net_pct",
    "week.oi_51to100": "drawdown_oi_51to100_net_pct",
}
_CORRELATIONS = {
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


def wanted(majors: Sequence[str]) -> Callable[[str, str], bool]:
    """What a report on the market and on ``majors`` is made of."""
    market = {*_INTEREST.values(), *_CORRELATIONS.values()}
    market |= {"liq_total_24h_musd", "funding_negative_share_pct"}
    market |= {f"regime_total_{of}" for of in STATES}
    coin = {FUNDING, "oi_net_24h_pct", "depth_25bp_pct_of_normal"}
    coin |= {"volatility_7d_pct", "spot_share_pct", *(f"regime_{of}" for of in STATES)}

    def is_wanted(metric: str, asset: str) -> bool:
        if metric in (MACRO_PRICE, PRICE):  # prices tell what came of an alert
            return True
        if on_sector(metric):
            return asset == ALL
        return metric in (market if asset == ALL else coin) and (asset == ALL or asset in majors)

    return is_wanted


def week_report(week: RecordedWeek, majors: Sequence[str], words: Words) -> str:
    """The report as plain text, a figure a line."""
    return plain("\n".join(_Report(week, words).lines(majors)))


class _Report:
    """One report in one language."""

    def __init__(self, week: RecordedWeek, words: Words) -> None:
        self._week = week
        self._words = words
        self._end = week.start + WEEK - MINUTE

    def lines(self, majors: Sequence[str]) -> list[Html]:
        week = self._week
        lines = [
            self._say(
                "week.head", first=self._day(week.start), last=self._day(week.start + 6 * DAY)
            )
        ]
        for section in self._sections(majors):
            lines += [Html(), *section]
        return lines

    def _sections(self, majors: Sequence[str]) -> Iterator[Sequence[Html]]:
        """Lines that belong together; between two sections is an empty line, where a report that is
        too long for one message is split."""
        for asset in majors:
            yield self._coin(asset)
        yield self._market()
        yield self._reported()
        yield [self._watched(), self._feeds(), self._say("week.not_recorded")]

    def _say(self, key: str, **values: str) -> Html:
        return say(self._words, key, **values)

    def _day(self, at: Ms) -> str:
        return self._words.day(at, self._week.start)

    def _missing(self, what: Html, share: float | None = None) -> Html:
        """``what`` is not covered; ``share`` of it is known."""
        if not share:
            return self._say("week.none", what=what)
        return self._say("week.part", what=what, pct=numbers.share(100 * share))

    def _figure(self, what: Html, known: WeekValues, text: Callable[[WeekValues], Html]) -> Html:
        """``text`` of what is known, if that is enough."""
        if known.covered < COVERED:
            return self._missing(what, known.covered)
        return self._say("week.figure", what=what, text=text(known))

    def _coin(self, asset: str) -> list[Html]:
        week = self._week

        def figure(name: str, metric: str, text: Callable[[WeekValues], Html]) -> Html:
            return self._figure(self._say(name, asset=asset), week.of(metric, asset), text)

        return [
            self._price(asset),
            figure("week.funding", FUNDING, self._funding),
            self._streak(asset),
            self._interest(asset),
            figure("week.depth", "depth_25bp_pct_of_normal", self._depth),
            self._volatility(asset),
            figure("week.spot", "spot_share_pct", self._average),
            self._regime(self._say("week.regime", asset=asset), "regime_", asset),
        ]

    def _volatility(self, asset: str) -> Html:
        """At the end, when it looks back over the whole week."""
        what = self._say("week.volatility", asset=asset)
        known = self._week.of("volatility_7d_pct", asset)
        now = known.near(self._end)
        if now is None:
            return self._missing(what, known.covered)
        return self._say("week.figure", what=what, text=f"{numbers.share(now)}%")

    def _price(self, asset: str) -> Html:
        """Both ends of the week must be known."""
        words, known = self._words, self._week.of(PRICE, asset)
        what = self._say("week.price", asset=asset)
        first, last = known.near(self._week.start), known.near(self._end)
        if known.covered < COVERED or not first or last is None:
            return self._missing(what, known.covered)
        (low, low_at), (high, high_at) = known.lowest(), known.highest()
        text = self._say(
            "week.price_text",
            first=words.price(first), last=words.price(last),
            pct=numbers.change(100 * (last / first - 1)),
            low=words.price(low), low_day=self._day(low_at),
            high=words.price(high), high_day=self._day(high_at),
        )  # fmt: skip
        return self._say("week.figure", what=what, text=text)

    def _funding(self, known: WeekValues) -> Html:
        negative = sum(value < 0 for value in known.value) / len(known.value)
        return self._say(
            "week.funding_text",
            mean=numbers.rate(known.mean), low=numbers.rate(known.lowest()[0]),
            high=numbers.rate(known.highest()[0]), pct=numbers.share(100 * negative),
        )  # fmt: skip

    def _streak(self, asset: str) -> Html:
        """How long the settled rate has had the sign that it has at the end."""
        what = self._say("week.streak", asset=asset)
        streak = self._week.streaks.get((FUNDING, asset))
        if streak is None:
            return self._missing(what, self._week.of(FUNDING, asset).covered)
        length = self._words.length(self._end - streak.since + MINUTE)
        key = {-1: "week.streak_negative", 0: "week.streak_zero", 1: "week.streak_positive"}
        text = self._say(
            "week.streak_bound" if streak.bound else "week.streak_text",
            sign=self._say(key[streak.sign]), length=length, day=self._day(streak.since),
        )  # fmt: skip
        return self._say("week.figure", what=what, text=text)

    def _interest(self, asset: str) -> Html:
        """From the changes of the seven days, each of which must be known."""
        what = self._say("week.oi", asset=asset)
        days = [self._week.day_end("oi_net_24h_pct", asset, day) for day in range(7)]
        known = [day for day in days if day is not None]
        if len(known) < len(days):
            return self._missing(what, len(known) / len(days))
        change = 100 * (prod(1 + day / 100 for day in known) - 1)
        text = self._say("week.over_the_week", value=f"{numbers.change(change)}%")
        return self._say("week.figure", what=what, text=text)

    def _depth(self, known: WeekValues) -> Html:
        low, at = known.lowest()
        return self._say(
            "week.depth_text",
            mean=numbers.share(known.mean), low=numbers.share(low), day=self._day(at),
        )  # fmt: skip

    def _average(self, known: WeekValues) -> Html:
        return self._say("week.average", value=f"{numbers.share(known.mean)}%")

    def _market(self) -> list[Html]:
        negative = self._week.of("funding_negative_share_pct", ALL)
        return [
            self._at_the_end("week.oi_below", _INTEREST, lambda x: f"{numbers.change(x)}%"),
            self._liquidations(),
            self._figure(self._say("week.negative"), negative, self._breadth),
            self._at_the_end("week.correlation", _CORRELATIONS, lambda x: numbers.trimmed(x, 2)),
            self._sectors(),
            self._regime(self._say("week.regime_market"), "regime_total_", ALL),
            self._macro(),
        ]

    def _regime(self, what: Html, prefix: str, asset: str) -> Html:
        """For which share of the minutes that are known each regime lasted."""
        states = {of: self._week.of(f"{prefix}{of}", asset) for of in STATES}
        covered = min(known.covered for known in states.values())
        if covered < COVERED:
            return self._missing(what, covered)
        shares = {of: 100 * known.mean for of, known in states.items()}
        shares = {Regime.CALM: 100 - sum(shares.values()), **shares}
        parts = [
            self._say(
                "week.regime_part",
                regime=regime_in_words(self._words, of), pct=numbers.share(share),
            )
            for of, share in shares.items()
            if share > 0 or of is Regime.CALM
        ]  # fmt: skip
        text = Html(self._words.dot.join(parts))
        return self._say("week.figure", what=what, text=text)

    def _at_the_end(
        self, name: str, metrics: Mapping[str, str], text: Callable[[float], str]
    ) -> Html:
        """The values at the end of the week; of what is not known then that is said."""
        parts: list[Html] = []
        for key, metric in metrics.items():
            value = self._week.of(metric, ALL).near(self._end)
            shown = self._say("week.unknown") if value is None else Html(text(value))
            parts.append(self._say(key, value=shown))
        listed = Html(self._words.dot.join(parts))
        return self._say("week.figure", what=self._say(name), text=listed)

    def _sectors(self) -> Html:
        """Each against the market over the week, the worst first."""
        known = sectors_at(self._week, self._end)
        if not known:
            return self._missing(self._say("week.no_sectors"))
        parts = [
            self._say(
                "week.sector",
                sector=sector_title(self._words, name), value=f"{numbers.change(pct)}%",
            )
            for pct, name in known
        ]  # fmt: skip
        text = Html(self._words.dot.join(parts))
        return self._say("week.figure", what=self._say("week.sectors"), text=text)

    def _liquidations(self) -> Html:
        """Of the days of which the sum is known."""
        what = self._say("week.liquidations")
        days = [self._week.day_end("liq_total_24h_musd", ALL, day) for day in range(7)]
        known = [(musd, day) for day, musd in enumerate(days) if musd is not None]
        if not known:
            return self._missing(what)
        most, day = max(known, key=lambda of_day: of_day[0])
        text = self._say(
            "week.liquidations_text",
            usd=at_least(self._words, sum(musd for musd, _ in known) * 1e6),
            count=str(len(known)),
            most=at_least(self._words, most * 1e6),
            day=self._day(self._week.start + day * DAY),
        )
        return self._say("week.figure", what=what, text=text)

    def _breadth(self, known: WeekValues) -> Html:
        most, at = known.highest()
        return self._say(
            "week.negative_text",
            mean=numbers.share(known.mean), high=numbers.share(most), day=self._day(at),
        )  # fmt: skip

    def _macro(self) -> Html:
        what = self._say("week.macro")
        parts: list[str] = []
        for (metric, asset), known in sorted(self._week.values.items()):
            first = known.near(self._week.start) if metric == MACRO_PRICE else None
            last = known.near(self._end)
            if first and last is not None:
                parts.append(f"{asset} {numbers.change(100 * (last / first - 1))}%")
        if not parts:
            return self._missing(what)
        return self._say("week.figure", what=what, text=self._words.dot.join(parts))

    def _watched(self) -> Html:
        """How much of the week there is a row of, and the longest hole."""
        week, words = self._week, self._words
        ends = [week.start - MINUTE, *week.minutes, week.start + WEEK]
        hole, at = max((later - before - MINUTE, -before) for before, later in pairwise(ends))
        pct = numbers.percent(1_000 * len(week.minutes) // MINUTES / 10)  # a hole is no 100 %
        if hole < MINUTE:
            return self._say("week.watched", pct=pct)
        return self._say(
            "week.watched_hole", pct=pct, length=words.length(hole), day=self._day(-at + MINUTE)
        )

    def _reported(self) -> list[Html]:
        """What the rules reported, a line a rule, and what the price did in the day after it."""
        what, known = self._say("week.reported"), self._week.alerts
        if known is None:
            return [self._missing(what)]
        lines: list[Html] = []
        if known.since > self._week.start:
            lines.append(self._say("week.reported_since", day=self._day(known.since)))
        rules: dict[str, list[ReportedEpisode]] = {}
        for episode in known.episodes:
            rules.setdefault(episode.family, []).append(episode)
        if not rules:
            return [self._say("week.figure", what=what, text=self._say("week.nothing")), *lines]
        most_first = sorted(rules.items(), key=lambda rule: (-len(rule[1]), rule[0]))
        lines += [self._rule(name, episodes) for name, episodes in most_first]
        return [self._say("week.reported_head", what=what), *lines]

    def _rule(self, name: str, episodes: Sequence[ReportedEpisode]) -> Html:
        words = self._words
        critical = sum(episode.level is Level.CRITICAL for episode in episodes)
        parts = [self._say("week.count", count=str(len(episodes)), critical=str(critical))]
        worst = max(episodes, key=lambda episode: (episode.level, _badness(episode)))
        if worst.metric != COMPOSITE:
            value = amount(words, topic(worst.metric), worst.extreme, worst.unit)
            subject = self._say("week.market") if worst.asset == ALL else worst.asset
            day = self._day(worst.extreme_at)
            parts.append(self._say("week.worst", value=value, asset=subject, day=day))
        changes = [pct for episode in episodes if (pct := self._after(episode)) is not None]
        if changes:
            pct, count = numbers.change(median(changes)), str(len(changes))
            parts.append(self._say("week.after", pct=pct, count=count))
        text = Html(words.semicolon.join(parts))
        return self._say("week.figure", what=Html(escape(name, quote=False)), text=text)

    def _after(self, episode: ReportedEpisode) -> float | None:
        """The change of its price in the day after it was reported, in percent; None: unknown."""
        prices = self._week.of(PRICE, episode.asset)
        first, last = prices.near(episode.at), prices.near(episode.at + DAY)
        return 100 * (last / first - 1) if first and last is not None else None

    def _feeds(self) -> Html:
        """Of each venue of which all feeds of a kind were silent for how much of the time nothing
        was, and how long which."""
        what, known = self._say("week.feeds"), self._week.alerts
        if known is None:
            return self._missing(what)
        parts: list[str] = []
        for venue, kinds in sorted(known.silent.items()):
            start, end = known.since, self._week.start + WEEK
            every = merged((span for spans in kinds.values() for span in spans), start, end)
            if not every:
                continue
            share = 1 - sum(last - first for first, last in every) / (end - start)
            outages = [
                self._say(
                    "week.silent",
                    kind=self._say(f"kind.{kind}"),
                    length=self._words.length(sum(last - first for first, last in spans)),
                )
                for kind, spans in sorted(kinds.items())
            ]
            listed = Html(self._words.comma.join(outages))
            pct = numbers.percent(int(1_000 * share) / 10)  # an outage is no 100 %
            parts.append(self._say("week.uptime", venue=title(venue), pct=pct, list=listed))
        text = Html(self._words.dot.join(parts)) if parts else self._say("week.no_outage")
        return self._say("week.figure", what=what, text=text)


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


def _badness(episode: ReportedEpisode) -> float:
    return -episode.extreme if episode.fires == "below" else episode.extreme
