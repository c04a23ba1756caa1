"""Series → what the rules would have said: the same step, composites and order as live.

Only rows in which something can happen are looked at one by one: those beyond the mildest level,
and all rows while an episode is pending, open or recovering. Of a row the rules see its quiet
extreme, its worst one and its value, all at the row's time: what breached in between is not missed,
and what was interrupted in between has not lasted.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from math import inf

import numpy as np
from numpy.typing import NDArray

from bot.backtest.recorded import (
    PricedView,
    RecordedMetric,
    Values,
    adapted,
    longest_gap,
    reading,
)
from bot.backtest.series import Chunk, Floats, Place, Series
from rules.alerts import ALL, Alert, Level, Said
from rules.composite import Composite
from rules.judge import Judge
from rules.metrics import metric as real
from rules.records import Trail
from rules.rule import Row, Rule
from rules.standing import PRICE
from rules.watch import Cluster, Watch
from streams.events import Ms

_TICK: Ms = 60_000
_SLACK = 1e-6
"""Of a threshold: values are kept with seven digits, so what is nearly beyond is looked at too."""


class _RecordedWatch(Watch):
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
    ) -> None:
        super().__init__(rule, row, metric, view, instrument, trail)
        self.values = values

    def last_live(self, now: Ms) -> Ms | None:
        judged, row = self.episode.last_live, self.values.row_at(now)
        recorded = None if row is None else self.values.live_before(row + 1)
        return max((at for at in (judged, recorded) if at is not None), default=None)


class _Track:
    """One rule on one series of the present piece of time. ``hot``: rows beyond the first level."""

    __slots__ = ("hot", "quiet", "rule", "series", "step", "values", "watch", "whole", "worst")

    def __init__(self, rule: Rule, watch: Watch, values: Values, series: Series) -> None:
        self.rule = rule
        self.watch = watch
        self.step: Ms | None = None  # that the watch's rule is adapted to
        self.values = values
        below = watch.sign < 0
        self.worst, self.quiet = (series.low, series.high) if below else (series.high, series.low)
        self.series = series
        self.hot = np.flatnonzero(_beyond(self.worst, watch, series))
        apart = np.diff(series.at)
        late = bool((apart > longest_gap(rule, series.step[1:])).any())
        self.whole = bool(values.live.all()) and not late and series.bound is None

    def next(self, row: int) -> int | None:
        """The first row from ``row`` on that must be looked at."""
        if self.watch.episode.awake:
            row = self._after_more_of_the_same(row)
            return row if row < len(self.worst) else None
        place = int(np.searchsorted(self.hot, row))
        return int(self.hot[place]) if place < len(self.hot) else None

    def _after_more_of_the_same(self, row: int) -> int:
        """The first row from ``row`` on that may change an episode that is open and stays so.

        Nothing changes while all values are beyond the level that was reached and none is worse
        than the worst so far, unless a higher level or the end is already near.
        """
        watch, episode, sign = self.watch, self.watch.episode, self.watch.sign
        threshold = watch.row.levels.get(Level(episode.level)) if episode.level else None
        if threshold is None or not self.whole or watch.rule.settlements > 1:
            return row
        if episode.clear_since is not None or max(episode.since, default=0) != episode.level:
            return row
        near = sign * threshold + _SLACK * abs(threshold)
        far = sign * episode.extreme - _SLACK * abs(episode.extreme)
        above = (x for level, x in watch.row.levels.items() if level > episode.level)
        if far > min((sign * x for x in above), default=inf):
            return row
        least, floor = watch.row.floor_musd, self.series.floor
        while row < len(self.worst):
            if sign * self.quiet[row] <= near or sign * self.worst[row] >= far:
                break
            if least and (floor is None or not floor[row] >= least):
                break
            row += 1
        return row

    def look(self, judge: Judge, row: int) -> Iterator[Said]:
        """What follows from one row."""
        series, episode = self.series, self.watch.episode
        now, step = int(series.at[row]), int(series.step[row])
        if step != self.step:
            self.step, self.watch.rule = step, adapted(self.rule, step)
        before = self.values.live_before(row)
        if before is not None and (episode.last_live is None or before > episode.last_live):
            episode.last_live = before
        last = None
        for x in (self.quiet[row], self.worst[row], series.value[row]):
            if x == x and x != last:
                yield from judge.move(self.watch, reading(series, row, float(x)), now, now)
                last = x


class _Asset:
    """All that watches one asset."""

    def __init__(self, name: str, rules: Sequence[Rule]) -> None:
        self.view = PricedView(name)
        self.values: dict[str, Values] = {}
        self.watches: dict[str, list[tuple[Rule, Watch]]] = {}
        scope = "market" if name == ALL else "asset"
        for rule in rules:
            if rule.scope == scope:
                self.add(rule, "")

    def add(self, rule: Rule, instrument: str) -> None:
        """Watches a metric by a rule, if it has a row for the asset."""
        row = rule.row_of(self.view.asset)
        if row is not None:
            key = f"{rule.metric}\n{instrument}"
            values = self.values.setdefault(key, Values())
            metric = RecordedMetric(real(rule.metric), values, rule)
            watch = _RecordedWatch(rule, row, metric, self.view, instrument, Trail(), values)
            self.watches.setdefault(key, []).append((rule, watch))

    def begin(self, chunk: Chunk) -> Iterator[_Track]:
        """The next piece of time."""
        name = self.view.asset
        self.view.prices.begin(chunk.series.get(Place(PRICE, name)))
        for key, values in self.values.items():
            metric_name, _, instrument = key.partition("\n")
            series = chunk.series.get(Place(metric_name, name, instrument))
            values.begin(series)
            if series is not None:
                for rule, watch in self.watches[key]:
                    yield _Track(rule, watch, values, series)


class Judged:
    """Rules and composites over pieces of time that follow each other."""

    def __init__(
        self, rules: Sequence[Rule], composites: Sequence[Composite] = (), start: Ms = 0
    ) -> None:
        self._rules = tuple(rules)
        self._composites = tuple(composites)
        self._start = self._ticked = start
        self._assets: dict[str, _Asset] = {}
        self._clusters: dict[str, tuple[Cluster, ...]] = {}
        self._instruments: set[Place] = set()
        self._judge = Judge(lambda asset: self._clusters.get(asset, ()))

    def take(self, chunk: Chunk) -> Iterator[Alert]:
        """What is said in the next piece of time, in order."""
        for place in chunk.series:
            self._meet(place)
        tracks = list(chain.from_iterable(a.begin(chunk) for a in self._assets.values()))
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

    def _pass(self, until: Ms) -> Iterator[Alert]:
        """Minutes in which there is nothing to look at but the composites that fire."""
        while self._judge.firing and self._ticked + _TICK < until:
            self._ticked += _TICK
            yield from _alerts(self._judge.tick(self._ticked))

    def _meet(self, place: Place) -> None:
        asset = self._assets.get(place.asset)
        if asset is None:
            asset = self._assets[place.asset] = _Asset(place.asset, self._rules)
            watches = [watch for some in asset.watches.values() for _, watch in some]
            made = (Cluster(one, place.asset, watches, self._start) for one in self._composites)
            self._clusters[place.asset] = tuple(one for one in made if one.possible)
        if place.instrument and place not in self._instruments:
            self._instruments.add(place)
            for rule in self._rules:
                if rule.scope == "instrument" and rule.metric == place.metric:
                    asset.add(rule, place.instrument)


def _beyond(worst: Floats, watch: Watch, series: Series) -> NDArray[np.bool_]:
    """The rows that may breach the first level."""
    found = watch.sign * worst > watch.mild - _SLACK * abs(watch.mild)
    least = watch.row.floor_musd
    if least and series.floor is not None:
        found &= series.floor >= least * (1 - _SLACK)
    return found if not least or series.floor is not None else np.zeros_like(found)


def _alerts(said: Iterable[Said]) -> Iterator[Alert]:
    return (one for one in said if isinstance(one, Alert))
