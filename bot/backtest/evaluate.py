"""One configuration over recorded series: what it would have said, and what was told of it.

Series → what the rules would have said: the same step, composites and order as live.

Only rows in which something can happen are looked at one by one: those beyond the mildest level,
and, while an episode is pending, open or recovering, those at which a value passes a threshold or
is the worst so far, a time is up, or a hole ends. Of a row the rules see its quiet extreme, its
worst one and its value, all at the row's time: what breached in between is not missed, and what was
interrupted in between has not lasted.

Recorded values in the place of live ones: what rules, composites and alerts ask of them.
"""

import heapq
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isnan
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from bot.backtest.series import (
    Chunk,
    Floats,
    RecordedSeries,
    SeriesKey,
    epoch_days,
    gaps,
)
from bot.backtest.sources import Sources
from bot.config import Settings
from bot.config.recipients import chats
from bot.destination import ConsoleOutput
from bot.plan.planner import Delivery, PlanState, next_due, plan
from rules.alerts import ALL, Alert, AlertOrNotice, Level
from rules.composite import Composite
from rules.episode import Episode, ready
from rules.judge import Judge
from rules.market import View
from rules.metric import Metric, Reading, SuppliedMetric
from rules.metrics import cause_asked_by
from rules.metrics import metric as real
from rules.records import Trail
from rules.rule import Row, Rule
from rules.snapshot import PRICE
from rules.watchlist import CompositeInstance, RuleInstance
from streams.durations import DAY, MINUTE
from streams.events import Ms


def plain(x: float) -> float:
    """A 32-bit number as it was written: -0.03, not -0.029999999329."""
    return float(f"{x:.7g}")


class Values:
    """The rows of one place; of the present piece of time, and the last one of the pieces before.

    ``last_live``: the last row before this piece that had a value; ``last_value``: which.
    """

    def __init__(self) -> None:
        self.series: RecordedSeries | None = None
        self.last_live: Ms | None = None
        self.last_value: float | None = None

    def begin(self, series: RecordedSeries | None) -> None:
        """Goes on with the next piece."""
        self.series = series

    def end(self) -> None:
        """Lets go of the piece, so that two need not be in memory at once."""
        series, self.series = self.series, None
        if series is not None and (row := _live_row(series, len(series.at))) is not None:
            self.last_live = int(series.at[row])
            self.last_value = plain(float(series.value[row]))

    def live_before(self, row: int) -> Ms | None:
        """When there was a value before ``row``."""
        series = self.series
        live_row = None if series is None else _live_row(series, row)
        return self.last_live if series is None or live_row is None else int(series.at[live_row])

    def row_at(self, now: Ms) -> int | None:
        """The newest row at ``now``, None before the first of this piece."""
        if self.series is None:
            return None
        row = int(self.series.at.searchsorted(now, "right")) - 1
        return row if row >= 0 else None


def _live_row(series: RecordedSeries, before: int) -> int | None:
    """The last row that has a value, of those before one."""
    live = series.live
    if before and live[before - 1]:
        return before - 1
    rows = np.flatnonzero(live[:before])
    return int(rows[-1]) if len(rows) else None


def readings(series: RecordedSeries, row: int, values: Iterable[float]) -> list[Reading]:
    """What a rule reads at ``row``, with each of these values of it."""
    floor, bound = _known(series.floor, row), _known(series.bound, row)
    settled, interval = _known(series.settled, row), _known(series.interval, row)
    settled_at = None if settled is None else int(series.at[row]) - round(settled) * MINUTE
    interval_ms = None if interval is None else round(interval) * MINUTE
    return [
        Reading(
            value=plain(value),
            floor_musd=floor,
            lower_bound=bound is not None,
            breach_only=bound == 2,
            settled_at=settled_at,
            interval_ms=interval_ms,
        )
        for value in values
    ]


def _known(column: Floats | None, row: int) -> float | None:
    if column is None:
        return None
    x = column.item(row)
    return None if isnan(x) else x


class RecordedMetric(SuppliedMetric):
    """A metric whose values were recorded, as ``rule`` asks for it."""

    def __init__(self, real: Metric, values: Values, rule: Rule) -> None:
        super().__init__(real)
        self.values = values
        self._rule = rule

    def value(self, view: View, now: Ms) -> Reading | None:
        row = self.values.row_at(now)
        series = self.values.series
        if row is None or series is None or not series.live[row]:
            return None
        if now - int(series.at[row]) > longest_gap(self._rule, int(series.step[row])):
            return None
        [reading] = readings(series, row, [float(series.value[row])])
        return reading


class PricedView(View):
    """An asset with its recorded price. Of prices before, the report asks the series themselves."""

    def __init__(self, asset: str) -> None:
        super().__init__(asset)
        self.prices = Values()

    def price(self, now: Ms) -> float | None:
        row = self.prices.row_at(now)
        if row is None or self.prices.series is None:
            return self.prices.last_value
        x = float(self.prices.series.value[row])
        return None if x != x else plain(x)

    def price_at(self, t: Ms) -> float | None:
        return None


def adapted(rule: Rule, step: Ms) -> Rule:
    """The rule as it can be asked of values that come each ``step``.

    A value each four hours says nothing of what was between: it stands for its step. So durations
    shorter than the step are met by one value, and two values one step apart are no hole.
    """
    if step <= rule.max_gap:
        return rule
    return msgspec.structs.replace(
        rule,
        hold={level: ms for level, ms in rule.hold.items() if ms >= step},
        clear_for=rule.clear_for if rule.clear_for >= step else 0,
        max_gap=longest_gap(rule, step),
    )


def longest_gap(rule: Rule, step: Ms) -> Ms:
    """``max_gap`` of the rule adapted to a step: what is longer is a hole."""
    return rule.max_gap if step <= rule.max_gap else step * 3 // 2


_TICK: Ms = MINUTE
_SLACK = 1e-6
"""Of a threshold: values are kept with seven digits, so what is nearly beyond is looked at too."""


class _RecordedWatch(RuleInstance):
    """Recorded values: live wherever there was one, though not every row is looked at."""

    __slots__ = ("values",)

    def __init__(
        self,
        rule: Rule,
        row: Row,
        metric: RecordedMetric,
        view: PricedView,
        instrument: str,
        trail: Trail,
        values: Values,
        others: Sequence[RecordedMetric] = (),
        causes: RecordedMetric | None = None,
    ) -> None:
        super().__init__(rule, row, metric, view, instrument, trail, others, causes)
        self.values = values

    def last_live(self, now: Ms) -> Ms | None:
        judged, row = self.episode.last_live, self.values.row_at(now)
        recorded = self.values.live_before(0 if row is None else row + 1)
        return max((at for at in (judged, recorded) if at is not None), default=None)


class _Stretches:
    """The rows of a series in stretches: throughout each, a rule reads the same of its thresholds.

    Rows without a value are left out; places count the others. While an episode is open at a level,
    only higher levels and ``clear`` change it, so ``base``, the level from which on nothing
    matters, has stretches of its own.
    """

    __slots__ = ("_edges", "_levels", "_row", "_sign", "_stops", "at", "rows", "worst")

    def __init__(
        self,
        rule: Rule,
        instance: RuleInstance,
        series: RecordedSeries,
        quiet: Floats,
        worst: Floats,
    ) -> None:
        self._row, self._sign = instance.row, instance.sign
        quiet_known, worst_known = quiet == quiet, worst == worst
        known = series.live | quiet_known | worst_known | _changes(series.step)
        self.rows = np.flatnonzero(known)
        """The row of each place."""
        # mostly they are all rows, which need not be picked one by one
        rows = slice(None) if len(self.rows) == len(known) else self.rows
        self.at = series.at[rows]
        """The time of each place."""
        self.worst: NDArray[np.float64] = self._sign * worst[rows].astype(np.float64)
        """The worst value of each place, times the sign of the instance: larger is worse."""
        best: NDArray[np.float64] = self._sign * quiet[rows].astype(np.float64)
        bound = None if series.bound is None else series.bound[rows]
        floor = None if series.floor is None else series.floor[rows].astype(np.float64)
        self._levels = self._read(best, floor, bound)
        self._edges = self._others(rule, series, rows)
        unsure = ~(series.live & quiet_known & worst_known)[rows]
        if bound is not None:
            unsure |= bound == bound if self._sign < 0 else bound == 2
        self._edges |= unsure
        self._edges[1:] |= unsure[:-1]  # what was not judged there is, one place later
        self._stops: dict[int, list[int]] = {}

    def _read(
        self, best: NDArray[np.float64], floor: NDArray[np.float64] | None, bound: Floats | None
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The levels that all values of each place breach, and those that some do, as bits.

        ``_CLEAR`` among them: all, or some, are beyond ``clear``.
        """
        all_of, some_of = np.zeros(len(best), np.uint8), np.zeros(len(best), np.uint8)
        least = self._row.floor_musd
        if not least or floor is not None:
            for level, threshold in self._row.levels.items():
                x, slack = self._sign * threshold, _SLACK * abs(threshold)
                all_of |= _bits(best > x + slack, _bit(level))
                some_of |= _bits(self.worst > x - slack, _bit(level))
        if least and floor is not None:
            enough = _bits(floor >= least, _LEVELS)
            all_of &= enough
            some_of &= enough
        x, slack = self._sign * self._row.clear, _SLACK * abs(self._row.clear)
        all_clear, some_clear = self.worst < x - slack, best < x + slack
        if bound is not None:  # where there may be more, nothing is over
            complete = bound != bound
            all_clear &= complete
            some_clear &= complete
        all_of |= all_clear
        some_of |= some_clear
        return all_of, some_of

    def _others(
        self, rule: Rule, series: RecordedSeries, rows: slice | NDArray[np.intp]
    ) -> NDArray[np.bool_]:
        """Places that change something else: the first one, after a hole, of another step."""
        at, step, live = self.at, series.step[rows], series.live[rows]
        edges = _changes(step)
        if edges[1:].any():
            longest = np.where(step <= rule.max_gap, rule.max_gap, step * 3 // 2)[1:]
        else:
            longest = longest_gap(rule, int(step[0]))
        last = np.maximum.accumulate(np.where(live, at, at[0]))
        edges[1:] |= at[1:] - last[:-1] > longest
        if rule.settlements > 1 and series.settled is not None:
            settled = series.settled[rows].astype(np.float64)
            edges |= _changes(at - np.nan_to_num(settled) * MINUTE)
        return edges

    def next(self, row: int, instance: RuleInstance) -> int | None:
        """The first row from ``row`` on that may change an episode that is pending or open."""
        episode, place = instance.episode, int(self.rows.searchsorted(row))
        base = _base(instance)
        stops = self._stops_of(base)
        number = bisect_left(stops, place)
        stop = stops[number] if number < len(stops) else len(self.rows)
        if place < stop and not self._may_change(place, base, instance):
            stop = self._first_change(place, stop, base, instance)
            place = self._begins(place, stop, episode) if base else stop
        return int(self.rows[place]) if place < len(self.rows) else None

    def _stops_of(self, base: int) -> list[int]:
        """The places that begin another stretch, or must be looked at by themselves."""
        if base not in self._stops:
            all_of, some_of = (levels & np.uint8(_ABOVE[base]) for levels in self._levels)
            stops = self._edges | (all_of != some_of) | _changes(all_of)
            self._stops[base] = np.flatnonzero(stops).tolist()
        return self._stops[base]

    def _may_change(self, place: int, base: int, instance: RuleInstance) -> bool:
        """Whether any row of the stretch may change the episode, whatever its value."""
        episode = instance.episode
        levels = _CLEAR * (episode.clear_since is not None)
        for level in episode.since:
            levels |= _bit(level)
        if (levels ^ int(self._levels[0][place])) & _ABOVE[base]:
            return True  # it has not been judged in this stretch
        # what lasts long enough may wait for what other metrics say
        return ready(instance.rule, episode, int(self.at[place])) > base

    def _first_change(self, place: int, stop: int, base: int, instance: RuleInstance) -> int:
        """The first place from ``place`` to ``stop`` at which time or a value changes it."""
        episode, rule = instance.episode, instance.rule
        timers = [
            since + rule.hold.get(Level(level), 0)
            for level, since in episode.since.items()
            if level > base and not rule.settlements
        ]
        if episode.clear_since is not None:
            timers.append(episode.clear_since + rule.clear_for)
        if timers:
            stop = min(stop, int(self.at.searchsorted(min(timers))))
        if not episode.level:
            return stop
        return self._first_worse(self._sign * episode.extreme, place, stop)

    def _first_worse(self, extreme: float, place: int, stop: int) -> int:
        """The first place from ``place`` on with a value worse than ``extreme``, or ``stop``."""
        beyond = extreme - _SLACK * abs(extreme)
        while (place := _first(self.worst, beyond, place, stop)) < stop:
            beyond = float(self.worst[place])
            if plain(beyond) > extreme:
                return place
        return stop

    def _begins(self, place: int, stop: int, episode: Episode) -> int:
        """The last place before ``stop`` since when its level may be breached; ``stop``: no later.

        How long that has lasted counts at ``stop``: what lasts is posted again when it is worse.
        """
        breached = self._levels[0][place:stop] & _bit(episode.level) != 0
        quiet = np.flatnonzero(~breached)
        if len(quiet):
            return place + int(quiet[-1])
        return stop if episode.level in episode.since else place


_CLEAR = 1


def _bit(level: int) -> int:
    return 2 << level


_LEVELS = sum(map(_bit, Level))
_ABOVE = [_CLEAR | _LEVELS & -_bit(base + 1) for base in range(max(Level) + 1)]
"""Level → the bits of ``clear`` and of the levels above it."""


def _bits(which: NDArray[np.bool_], bits: int) -> NDArray[np.uint8]:
    """``bits`` at these places, none at the others."""
    return which.view(np.uint8) * np.uint8(bits)


def _base(instance: RuleInstance) -> int:
    """The level up to which the breaches of an episode change nothing."""
    episode = instance.episode
    if not episode.level or episode.interrupted:
        return 0
    threshold = instance.row.levels.get(Level(episode.level))
    if episode.posted_open and episode.posted_value is not None and threshold is not None:
        distance = instance.metric.distance
        farthest = max(distance(threshold), distance(episode.extreme))
        if farthest >= distance(episode.posted_value) * instance.rule.repost_if:
            return episode.level - 1  # it may be posted again without a new extreme
    return episode.level


def _changes(values: NDArray[np.integer] | NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where a value differs from the one before, the first one included."""
    changes = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=changes[1:])
    return changes


def _first(values: NDArray[np.float64], beyond: float, place: int, end: int) -> int:
    """The first place from ``place`` on with more than ``beyond``, or ``end``."""
    size = 64
    while place < end:
        reached = values[place : min(place + size, end)] > beyond
        first = int(reached.argmax())
        if reached[first]:
            return place + first
        place, size = place + size, size * 2
    return end


class _Track:
    """One rule on one series of the present piece of time. ``hot``: rows beyond the first level."""

    __slots__ = (
        "_stretches", "hot", "instance", "quiet", "rule", "series", "step", "values", "worst",
    )  # fmt: skip

    def __init__(
        self, rule: Rule, instance: RuleInstance, values: Values, series: RecordedSeries
    ) -> None:
        self.rule = rule
        self.instance = instance
        self.step: Ms | None = None  # that the watch's rule is adapted to
        self.values = values
        below = instance.sign < 0
        self.worst, self.quiet = (series.low, series.high) if below else (series.high, series.low)
        self.series = series
        self.hot: list[int] = _beyond(self.worst, instance, series).tolist()
        self._stretches: _Stretches | None = None  # most rules are quiet all the time

    def next(self, row: int) -> int | None:
        """The first row from ``row`` on that must be looked at."""
        if self.instance.episode.awake:
            if self._stretches is None:
                self._stretches = _Stretches(
                    self.rule, self.instance, self.series, self.quiet, self.worst
                )
            return self._stretches.next(row, self.instance)
        place = bisect_left(self.hot, row)
        return self.hot[place] if place < len(self.hot) else None

    def look(self, judge: Judge, row: int) -> list[Alert]:
        """What follows from one row."""
        series, episode = self.series, self.instance.episode
        now, step = int(series.at[row]), int(series.step[row])
        if step != self.step:
            self.step, self.instance.rule = step, adapted(self.rule, step)
        before = self.values.live_before(row)
        if before is not None and (episode.last_live is None or before > episode.last_live):
            episode.last_live = before
        last, values = None, list[float]()
        for x in (self.quiet.item(row), self.worst.item(row), series.value.item(row)):
            if x == x and x != last:
                values.append(x)
                last = x
        turns: list[AlertOrNotice] = []
        for reading in readings(series, row, values):
            turns += judge.move(self.instance, reading, now, now)
        return [*_alerts(turns)] if turns else []


class _Asset:
    """All that watches one asset, and its composites: assets know nothing of each other."""

    def __init__(
        self, name: str, rules: Sequence[Rule], composites: Sequence[Composite], since: Ms
    ) -> None:
        """``since``: its composites are watched from then on."""
        self.view = PricedView(name)
        self.values: dict[SeriesKey, Values] = {}
        self.instances: dict[SeriesKey, list[tuple[Rule, RuleInstance]]] = {}
        self._rules = rules
        self._instruments: set[SeriesKey] = set()
        scope = "market" if name == ALL else "asset"
        for rule in rules:
            if rule.scope == scope:
                self._add(rule, "")
        instances = [instance for watching in self.instances.values() for _, instance in watching]
        watched = [CompositeInstance(spec, name, instances, since) for spec in composites]
        possible = tuple(composite for composite in watched if composite.possible)
        self._judge = Judge(lambda asset: possible)
        self._ticked = since

    def _add(self, rule: Rule, instrument: str) -> None:
        """Watches a metric by a rule, if it has a row for the asset."""
        row = rule.row_of(self.view.asset)
        if row is not None:
            metric = self._recorded(real(rule.metric), instrument, rule)
            others = [self._recorded(real(when.metric), instrument, rule) for when in rule.when]
            of = cause_asked_by(rule) if rule.cause else None
            causes = None if of is None else self._recorded(of, instrument, rule)
            instance = _RecordedWatch(
                rule, row, metric, self.view, instrument, Trail(), metric.values, others, causes
            )
            key = SeriesKey(rule.metric, self.view.asset, instrument)
            self.instances.setdefault(key, []).append((rule, instance))

    def _recorded(self, metric: Metric, instrument: str, rule: Rule) -> RecordedMetric:
        key = SeriesKey(metric.name, self.view.asset, instrument)
        values = self.values.setdefault(key, Values())
        return RecordedMetric(metric, values, rule)

    def meet(self, place: SeriesKey) -> None:
        """Watches an instrument of which there are values."""
        if place.instrument and place not in self._instruments:
            self._instruments.add(place)
            for rule in self._rules:
                if rule.scope == "instrument" and rule.metric == place.metric:
                    self._add(rule, place.instrument)

    def take(self, chunk: Chunk) -> Iterator[Alert]:
        """What is said of the asset in the next piece of time, in order."""
        tracks = list(self._begin(chunk))
        agenda = [
            (int(track.series.at[row]), n, row)
            for n, track in enumerate(tracks)
            if (row := track.next(0)) is not None
        ]
        heapq.heapify(agenda)
        while agenda:
            now = agenda[0][0]
            yield from self._pass(now)
            while agenda and agenda[0][0] == now:
                _, n, row = agenda[0]
                track = tracks[n]
                yield from track.look(self._judge, row)
                following = track.next(row + 1)
                if following is None:
                    heapq.heappop(agenda)
                else:
                    heapq.heapreplace(agenda, (int(track.series.at[following]), n, following))
            if self._judge.firing:
                yield from _alerts(self._judge.tick(now))
            self._ticked = now
        yield from self._pass(chunk.end)
        for values in (self.view.prices, *self.values.values()):
            values.end()

    def _begin(self, chunk: Chunk) -> Iterator[_Track]:
        """The next piece of time."""
        self.view.prices.begin(chunk.series.get(SeriesKey(PRICE, self.view.asset)))
        for key, values in self.values.items():
            series = chunk.series.get(key)
            values.begin(series)
            if series is not None:
                for rule, instance in self.instances.get(key, ()):
                    yield _Track(rule, instance, values, series)

    def _pass(self, until: Ms) -> Iterator[Alert]:
        """Minutes in which there is nothing to look at but the composites that fire."""
        while self._judge.firing and self._ticked + _TICK < until:
            self._ticked += _TICK
            yield from _alerts(self._judge.tick(self._ticked))


class Judged:
    """Rules and composites over pieces of time that follow each other."""

    def __init__(self, rules: Sequence[Rule], composites: Sequence[Composite] = ()) -> None:
        self._rules = tuple(rules)
        self._composites = tuple(composites)
        self._assets: dict[str, _Asset] = {}

    def take(self, chunk: Chunk) -> list[Alert]:
        """What is said in the next piece of time of the assets that it is of, in order."""
        for place in chunk.series:
            if place.asset not in self._assets:
                since = _watched_since(place.asset, chunk)
                self._assets[place.asset] = _Asset(
                    place.asset, self._rules, self._composites, since
                )
            self._assets[place.asset].meet(place)
        names = self._assets if chunk.assets is None else self._assets.keys() & chunk.assets
        alerts = [alert for name in names for alert in self._assets[name].take(chunk)]
        return in_order(alerts)


def _watched_since(asset: str, chunk: Chunk) -> Ms:
    """When the first value of ``asset`` became known, of which ``chunk`` is the first piece."""
    each = (series for place, series in chunk.series.items() if place.asset == asset)
    return min(int(series.at[np.argmax(series.live)]) for series in each)


def in_order(alerts: Iterable[Alert]) -> list[Alert]:
    """By time; of one moment and asset as they were said."""
    return sorted(alerts, key=lambda alert: alert.seen)


def _beyond(worst: Floats, instance: RuleInstance, series: RecordedSeries) -> NDArray[np.intp]:
    """The rows that may breach the first level."""
    mild = instance.mild - _SLACK * abs(instance.mild)
    rows = np.flatnonzero(worst > mild if instance.sign > 0 else worst < -mild)
    least = instance.row.floor_musd
    if not least or not len(rows):
        return rows
    return rows[:0] if series.floor is None else rows[series.floor[rows] >= least * (1 - _SLACK)]


def _alerts(turns: Iterable[AlertOrNotice]) -> Iterator[Alert]:
    return (turn for turn in turns if isinstance(turn, Alert))


class Run:
    """What a configuration said: ``alerts``; and told: ``posts``. ``state``: the plan's counts.

    Of each piece of time the assets come one after the other; the plan needs all of them in order,
    so it hears of a piece when the next one begins, or at the ``end``.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.alerts: list[Alert] = []
        self.posts: list[Delivery] = []
        self.state = PlanState()
        self._judged = Judged(settings.rules, settings.composites)
        # what a channel has in edits is in posts where nothing is edited: the ends
        self._chat = msgspec.structs.replace(chats(settings)[0], destination=ConsoleOutput())
        self._piece: Ms = 0
        self._waiting: list[Alert] = []

    def take(self, chunk: Chunk) -> None:
        """An asset in the present piece of time, or in the next one."""
        if chunk.start != self._piece:
            self._hear()
            self._piece = chunk.start
        self._waiting += self._judged.take(chunk)

    def end(self) -> None:
        """What still waits is told."""
        self._hear()
        while (due := next_due(self.state)) is not None:
            self._plan((), due)

    def _hear(self) -> None:
        alerts, self._waiting = in_order(self._waiting), []
        if alerts:  # the plan goes from alert to alert by itself, and copies its state at each call
            self.alerts += alerts
            self._plan(alerts, alerts[-1].seen)

    def _plan(self, alerts: Sequence[Alert], now: Ms) -> None:
        self.state, posts = plan(self.state, alerts, self._chat, (), now)
        self.posts += posts


class Seen:
    """How much was observed of each place.

    ``rows``: rows with a value; ``live_ms``, ``frozen_ms``: the time that rows with and without a
    value speak of, each moment counted once. ``steps``: the shortest and the longest. ``holes``:
    how often a row came more than one and a half of its steps after the one before. ``days``: by
    metric, those with a value (days since the epoch).
    """

    def __init__(self) -> None:
        self.rows: dict[SeriesKey, int] = {}
        self.holes: dict[SeriesKey, int] = {}
        self.live_ms: dict[SeriesKey, Ms] = {}
        self.frozen_ms: dict[SeriesKey, Ms] = {}
        self.steps: dict[SeriesKey, tuple[Ms, Ms]] = {}
        self.first: dict[SeriesKey, Ms] = {}
        self.last: dict[SeriesKey, Ms] = {}
        self._last_row: dict[SeriesKey, Ms] = {}
        self.days: dict[str, set[int]] = {}

    def take(self, chunk: Chunk) -> None:
        """The next piece of time."""
        days = range(chunk.start // DAY, -(-chunk.end // DAY))
        # series of a metric log share their times, and mostly have all values: counted once
        shared: dict[tuple[int, int, Ms | None, Ms | None], _Counts] = {}
        for place, series in chunk.series.items():
            last_row, last = self._last_row.get(place), self.last.get(place)
            if np.count_nonzero(series.live) < len(series.live):
                counts = _counts(series, last_row, last)
            else:
                rows = id(series.at), id(series.step), last_row, last
                if (counts := shared.get(rows)) is None:
                    counts = shared[rows] = _counts(series, last_row, last)
            self.frozen_ms[place] = self.frozen_ms.get(place, 0) + counts.frozen_ms
            self._last_row[place] = int(series.at[-1])
            if counts.rows:
                self._note(place, counts)
                if place.metric != PRICE:
                    known = self.days.setdefault(place.metric, set())
                    if not all(day in known for day in days):
                        known.update(epoch_days(series.at[series.live]))

    def _note(self, place: SeriesKey, counts: "_Counts") -> None:
        self.rows[place] = self.rows.get(place, 0) + counts.rows
        self.live_ms[place] = self.live_ms.get(place, 0) + counts.live_ms
        shortest, longest = self.steps.get(place, (counts.shortest, 0))
        self.steps[place] = min(shortest, counts.shortest), max(longest, counts.longest)
        self.first.setdefault(place, counts.first)
        self.holes[place] = self.holes.get(place, 0) + counts.holes
        self.last[place] = counts.last


class _Counts(NamedTuple):
    """How much a piece of a series adds to what was ``Seen``."""

    frozen_ms: Ms
    rows: int = 0
    live_ms: Ms = 0
    shortest: Ms = 0
    longest: Ms = 0
    first: Ms = 0
    last: Ms = 0
    holes: int = 0


def _counts(series: RecordedSeries, last_row: Ms | None, last: Ms | None) -> _Counts:
    """``last_row``, ``last``: the last row before this piece, and the last one with a value."""
    at, step, live = series.at, series.step, series.live
    before = int(at[0] - step[0]) if last_row is None else last_row
    speaks = np.minimum(step, gaps(at, before))
    live_ms = int(speaks[live].sum())
    frozen_ms = int(speaks.sum()) - live_ms
    at, step = at[live], step[live]
    if not len(at):
        return _Counts(frozen_ms)
    apart = gaps(at, int(at[0]) if last is None else last)
    return _Counts(
        frozen_ms=frozen_ms,
        rows=len(at),
        live_ms=live_ms,
        shortest=int(step.min()),
        longest=int(step.max()),
        first=int(at[0]),
        last=int(at[-1]),
        holes=int((apart > step * 3 // 2).sum()),
    )


def run(
    sources: Sources,
    configurations: Sequence[Settings],
    progress: Callable[[float], None] | None = None,
) -> tuple[Seen, list[Run]]:
    """All of them over the same values, in one pass."""
    seen, runs = Seen(), [Run(settings) for settings in configurations]
    for chunk in sources.pieces(progress):
        seen.take(chunk)
        for configuration in runs:
            configuration.take(chunk)
        del chunk  # the last asset of a piece would keep all of it while the next one is read
    for configuration in runs:
        configuration.end()
    return seen, runs
