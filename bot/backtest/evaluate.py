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
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isnan, nan

import msgspec
import numpy as np
from numpy.typing import NDArray

from bot.backtest.series import (
    Chunk,
    Floats,
    RecordedSeries,
    SeriesKey,
    Times,
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
from streams.durations import MINUTE
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
        self.live: NDArray[np.bool_] = np.zeros(0, np.bool_)

    def begin(self, series: RecordedSeries | None) -> None:
        """Goes on with the next piece."""
        self._end()
        self.series = series
        if series is not None:
            self.live = ~np.isnan(series.value)

    def _end(self) -> None:
        if self.series is not None and self.live.any():
            row = np.flatnonzero(self.live)[-1]
            self.last_live = int(self.series.at[row])
            self.last_value = plain(float(self.series.value[row]))

    def live_before(self, row: int) -> Ms | None:
        """When there was a value before ``row``."""
        series = self.series
        for n in range(row - 1, -1, -1):
            if series is not None and self.live[n]:
                return int(series.at[n])
        return self.last_live

    def row_at(self, now: Ms) -> int | None:
        """The newest row at ``now``, None before the first of this piece."""
        if self.series is None:
            return None
        row = int(np.searchsorted(self.series.at, now, "right")) - 1
        return row if row >= 0 else None


def reading(series: RecordedSeries, row: int, value: float) -> Reading:
    """What a rule reads at ``row``, with one of its values."""
    at = int(series.at[row])

    def of(column: Floats | None) -> float | None:
        x = nan if column is None else float(column[row])
        return None if isnan(x) else x

    settled, interval, bound = of(series.settled), of(series.interval), of(series.bound)
    return Reading(
        value=plain(value),
        floor_musd=of(series.floor),
        lower_bound=bound is not None,
        breach_only=bound == 2,
        settled_at=None if settled is None else at - round(settled) * MINUTE,
        interval_ms=None if interval is None else round(interval) * MINUTE,
    )


class RecordedMetric(SuppliedMetric):
    """A metric whose values were recorded, as ``rule`` asks for it."""

    def __init__(self, real: Metric, values: Values, rule: Rule) -> None:
        super().__init__(real)
        self.values = values
        self._rule = rule

    def value(self, view: View, now: Ms) -> Reading | None:
        row = self.values.row_at(now)
        series = self.values.series
        if row is None or series is None or not self.values.live[row]:
            return None
        if now - int(series.at[row]) > int(longest_gap(self._rule, series.step[row : row + 1])[0]):
            return None
        return reading(series, row, float(series.value[row]))


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
        max_gap=step * 3 // 2,
    )


def longest_gap(rule: Rule, step: Times) -> Times:
    """``max_gap`` of the rule adapted to each step: what is longer is a hole."""
    return np.where(step <= rule.max_gap, rule.max_gap, step * 3 // 2)


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
        unknown = np.isnan(np.stack((series.value, quiet, worst)))
        self.rows = np.flatnonzero(~unknown.all(axis=0) | _changes(series.step))
        """The row of each place."""
        self.at = series.at[self.rows]
        """The time of each place."""
        self.worst: NDArray[np.float64] = self._sign * worst[self.rows].astype(np.float64)
        """The worst value of each place, times the sign of the instance: larger is worse."""
        best: NDArray[np.float64] = self._sign * quiet[self.rows].astype(np.float64)
        bound = _at(series.bound, self.rows)
        self._levels = self._read(best, _at(series.floor, self.rows), bound)
        self._edges = self._others(rule, series, ~unknown[0, self.rows])
        unsure = unknown[:, self.rows].any(axis=0)
        unsure |= ~np.isnan(bound) if self._sign < 0 else bound == 2
        self._edges |= unsure
        self._edges[1:] |= unsure[:-1]  # what was not judged there is, one place later
        self._stops: dict[int, NDArray[np.intp]] = {}

    def _read(
        self, best: NDArray[np.float64], floor: NDArray[np.float64], bound: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The levels that all values of each place breach, and those that some do, as bits.

        ``_CLEAR`` among them: all, or some, are beyond ``clear``.
        """
        all_of, some_of = np.zeros(len(best), np.int64), np.zeros(len(best), np.int64)
        enough = floor >= self._row.floor_musd if self._row.floor_musd else True
        for level, threshold in self._row.levels.items():
            x, slack = self._sign * threshold, _SLACK * abs(threshold)
            all_of |= (enough & (best > x + slack)) * _bit(level)
            some_of |= (enough & (self.worst > x - slack)) * _bit(level)
        known = np.isnan(bound)  # where there may be more, nothing is over
        x, slack = self._sign * self._row.clear, _SLACK * abs(self._row.clear)
        all_of |= (known & (self.worst < x - slack)) * _CLEAR
        some_of |= (known & (best < x + slack)) * _CLEAR
        return all_of, some_of

    def _others(
        self, rule: Rule, series: RecordedSeries, live: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Places that change something else: the first one, after a hole, of another step."""
        step = series.step[self.rows]
        edges = _changes(step)
        last = np.maximum.accumulate(np.where(live, self.at, self.at[0]))
        edges[1:] |= self.at[1:] - last[:-1] > longest_gap(rule, step[1:])
        if rule.settlements > 1:
            edges |= _changes(self.at - np.nan_to_num(_at(series.settled, self.rows)) * MINUTE)
        return edges

    def next(self, row: int, instance: RuleInstance) -> int | None:
        """The first row from ``row`` on that may change an episode that is pending or open."""
        episode, place = instance.episode, int(np.searchsorted(self.rows, row))
        base = _base(instance)
        stops = self._stops_of(base)
        number = int(np.searchsorted(stops, place))
        stop = int(stops[number]) if number < len(stops) else len(self.rows)
        if place < stop and not self._may_change(place, base, instance):
            stop = self._first_change(place, stop, base, instance)
            place = self._begins(place, stop, episode) if base else stop
        return int(self.rows[place]) if place < len(self.rows) else None

    def _stops_of(self, base: int) -> NDArray[np.intp]:
        """The places that begin another stretch, or must be looked at by themselves."""
        if base not in self._stops:
            all_of, some_of = (levels & _above(base) for levels in self._levels)
            stops = self._edges | (all_of != some_of) | _changes(all_of)
            self._stops[base] = np.flatnonzero(stops)
        return self._stops[base]

    def _may_change(self, place: int, base: int, instance: RuleInstance) -> bool:
        """Whether any row of the stretch may change the episode, whatever its value."""
        episode = instance.episode
        levels = sum(map(_bit, episode.since)) + _CLEAR * (episode.clear_since is not None)
        if (levels ^ int(self._levels[0][place])) & _above(base):
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
            stop = min(stop, int(np.searchsorted(self.at, min(timers))))
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


def _above(base: int) -> int:
    """The bits of ``clear`` and of the levels above ``base``."""
    return -_bit(base + 1) | _CLEAR


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


def _at(column: Floats | None, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """A column at ``rows``; NaN where there is none."""
    return np.full(len(rows), nan) if column is None else column[rows].astype(np.float64)


def _changes(values: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.bool_]:
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
        self.hot = np.flatnonzero(_beyond(self.worst, instance, series))
        self._stretches: _Stretches | None = None  # most rules are quiet all the time

    def next(self, row: int) -> int | None:
        """The first row from ``row`` on that must be looked at."""
        if self.instance.episode.awake:
            if self._stretches is None:
                self._stretches = _Stretches(
                    self.rule, self.instance, self.series, self.quiet, self.worst
                )
            return self._stretches.next(row, self.instance)
        place = int(np.searchsorted(self.hot, row))
        return int(self.hot[place]) if place < len(self.hot) else None

    def look(self, judge: Judge, row: int) -> Iterator[AlertOrNotice]:
        """What follows from one row."""
        series, episode = self.series, self.instance.episode
        now, step = int(series.at[row]), int(series.step[row])
        if step != self.step:
            self.step, self.instance.rule = step, adapted(self.rule, step)
        before = self.values.live_before(row)
        if before is not None and (episode.last_live is None or before > episode.last_live):
            episode.last_live = before
        last = None
        for x in (self.quiet[row], self.worst[row], series.value[row]):
            if x == x and x != last:
                yield from judge.move(self.instance, reading(series, row, float(x)), now, now)
                last = x


class _Asset:
    """All that watches one asset, and its composites: assets know nothing of each other."""

    def __init__(
        self, name: str, rules: Sequence[Rule], composites: Sequence[Composite], start: Ms
    ) -> None:
        self.view = PricedView(name)
        self.values: dict[str, Values] = {}
        self.instances: dict[str, list[tuple[Rule, RuleInstance]]] = {}
        self._rules = rules
        self._instruments: set[SeriesKey] = set()
        scope = "market" if name == ALL else "asset"
        for rule in rules:
            if rule.scope == scope:
                self._add(rule, "")
        instances = [instance for watching in self.instances.values() for _, instance in watching]
        watched = [CompositeInstance(spec, name, instances, start) for spec in composites]
        possible = tuple(composite for composite in watched if composite.possible)
        self._judge = Judge(lambda asset: possible)
        self._ticked = start

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
            self.instances.setdefault(_key(rule.metric, instrument), []).append((rule, instance))

    def _recorded(self, metric: Metric, instrument: str, rule: Rule) -> RecordedMetric:
        values = self.values.setdefault(_key(metric.name, instrument), Values())
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
                _, n, row = heapq.heappop(agenda)
                yield from _alerts(tracks[n].look(self._judge, row))
                following = tracks[n].next(row + 1)
                if following is not None:
                    heapq.heappush(agenda, (int(tracks[n].series.at[following]), n, following))
            yield from _alerts(self._judge.tick(now))
            self._ticked = now
        yield from self._pass(chunk.end)

    def _begin(self, chunk: Chunk) -> Iterator[_Track]:
        """The next piece of time."""
        name = self.view.asset
        self.view.prices.begin(chunk.series.get(SeriesKey(PRICE, name)))
        for key, values in self.values.items():
            metric_name, _, instrument = key.partition("\n")
            series = chunk.series.get(SeriesKey(metric_name, name, instrument))
            values.begin(series)
            if series is not None:
                for rule, instance in self.instances.get(key, ()):
                    yield _Track(rule, instance, values, series)

    def _pass(self, until: Ms) -> Iterator[Alert]:
        """Minutes in which there is nothing to look at but the composites that fire."""
        while self._judge.firing and self._ticked + _TICK < until:
            self._ticked += _TICK
            yield from _alerts(self._judge.tick(self._ticked))


def _key(metric: str, instrument: str) -> str:
    return f"{metric}\n{instrument}"


class Judged:
    """Rules and composites over pieces of time that follow each other."""

    def __init__(
        self, rules: Sequence[Rule], composites: Sequence[Composite] = (), start: Ms = 0
    ) -> None:
        self._rules = tuple(rules)
        self._composites = tuple(composites)
        self._start = start
        self._assets: dict[str, _Asset] = {}

    def take(self, chunk: Chunk) -> list[Alert]:
        """What is said in the next piece of time of the assets that it is of, in order."""
        for place in chunk.series:
            if place.asset not in self._assets:
                self._assets[place.asset] = _Asset(
                    place.asset, self._rules, self._composites, self._start
                )
            self._assets[place.asset].meet(place)
        names = self._assets if chunk.assets is None else self._assets.keys() & chunk.assets
        alerts = [alert for name in names for alert in self._assets[name].take(chunk)]
        return in_order(alerts)


def in_order(alerts: Iterable[Alert]) -> list[Alert]:
    """By time; of one moment and asset as they were said."""
    return sorted(alerts, key=lambda alert: alert.seen)


def _beyond(worst: Floats, instance: RuleInstance, series: RecordedSeries) -> NDArray[np.bool_]:
    """The rows that may breach the first level."""
    rows = instance.sign * worst > instance.mild - _SLACK * abs(instance.mild)
    least = instance.row.floor_musd
    if least and series.floor is not None:
        rows &= series.floor >= least * (1 - _SLACK)
    return rows if not least or series.floor is not None else np.zeros_like(rows)


def _alerts(turns: Iterable[AlertOrNotice]) -> Iterator[Alert]:
    return (turn for turn in turns if isinstance(turn, Alert))


class Run:
    """What a configuration said: ``alerts``; and told: ``posts``. ``state``: the plan's counts.

    Of each piece of time the assets come one after the other; the plan needs all of them in order,
    so it hears of a piece when the next one begins, or at the ``end``.
    """

    def __init__(self, settings: Settings, start: Ms = 0) -> None:
        self.settings = settings
        self.alerts: list[Alert] = []
        self.posts: list[Delivery] = []
        self.state = PlanState()
        self._judged = Judged(settings.rules, settings.composites, start)
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
        for place, series in chunk.series.items():
            at, step = series.at, series.step
            speaks = np.minimum(step, gaps(at, self._last_row.get(place, int(at[0] - step[0]))))
            live = ~np.isnan(series.value)
            whole, known = int(speaks.sum()), int(speaks[live].sum())
            self.frozen_ms[place] = self.frozen_ms.get(place, 0) + whole - known
            self._last_row[place] = int(at[-1])
            if live.any():
                self._note(place, at[live], step[live], known)

    def _note(self, place: SeriesKey, at: Times, step: Times, live_ms: Ms) -> None:
        self.rows[place] = self.rows.get(place, 0) + len(at)
        self.live_ms[place] = self.live_ms.get(place, 0) + live_ms
        shortest, longest = self.steps.get(place, (int(step[0]), 0))
        self.steps[place] = min(shortest, int(step.min())), max(longest, int(step.max()))
        self.first.setdefault(place, int(at[0]))
        apart = gaps(at, self.last.get(place, int(at[0])))
        self.holes[place] = self.holes.get(place, 0) + int((apart > step * 3 // 2).sum())
        self.last[place] = int(at[-1])
        if place.metric != PRICE:
            self.days.setdefault(place.metric, set()).update(epoch_days(at))


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
    for configuration in runs:
        configuration.end()
    return seen, runs
