"""Who watches what: rules on assets, the metrics they share, and composites over them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf

from rules.alerts import Level
from rules.composite import Composite, Gathering, Spell
from rules.episode import Episode
from rules.metric import Holds, Metric, Reading
from rules.records import Trail
from rules.rule import Fires, Row, Rule
from rules.state import Place
from rules.view import Market, View
from streams.events import Kind, MarketEvent, Ms

TrailKey = tuple[str, Fires, Place]
"""Metric, side and place."""


class Watch:
    """One rule on one asset, or on one of its instruments.

    ``mild``: the first threshold, with the sign that makes bad large. ``unsettled``: the levels
    have changed since the episode was last judged. ``since``: when it began to watch.
    """

    __slots__ = (
        "episode", "instrument", "metric", "mild", "row", "rule", "sign", "since", "trail",
        "unsettled", "view",
    )  # fmt: skip

    def __init__(
        self, rule: Rule, row: Row, metric: Metric, view: View, instrument: str, trail: Trail
    ) -> None:
        self.rule = rule
        self.row = row
        self.metric = metric
        self.view = view
        self.instrument = instrument
        self.episode = Episode()
        self.trail = trail
        self.unsettled = False
        self.since: Ms = 0
        self.sign = -1 if rule.fires == "below" else 1
        self.mild = min((self.sign * x for x in row.levels.values()), default=inf)

    @property
    def place(self) -> Place:
        """Its asset and instrument."""
        return self.view.asset, self.instrument

    def last_live(self, now: Ms) -> Ms | None:
        """When its value could last be judged, up to ``now``."""
        return self.episode.last_live

    @property
    def trail_key(self) -> TrailKey:
        """Under which its trail is kept."""
        return self.rule.metric, self.rule.fires, self.place

    def rest(self, now: Ms, reading: Reading) -> bool:
        """Takes note of a value on the quiet side while nothing is pending; False if it is not so.

        What ``step`` would do, in the case that is by far the most frequent.
        """
        x, episode = self.sign * reading.value, self.episode
        if (
            x > self.mild
            or episode.level
            or episode.since
            or reading.lower_bound
            or self.rule.settlements
        ):
            return False
        episode.last_live = now
        trail = self.trail
        if now >= trail.due or x > trail.worst or trail.excursion is not None:
            trail.note(now, x, reading, awake=False)
        return True


class Beat:
    """One metric of one asset or instrument: looked at together for all rules that want it.

    ``due``: not before then. ``next``: when data matters, which is at once after a look, and then
    not before it is due. ``every``, ``every_idle``: how long till the next look, if time can change
    something or if not. ``idle``: that one comes though there is no data. ``low``, ``high``: of the
    values seen since ``fresh``.
    """

    __slots__ = (
        "due", "every", "every_idle", "high", "holder", "idle", "instrument", "low", "metric",
        "next", "view", "watches",
    )  # fmt: skip

    def __init__(self, metric: Metric, view: View, instrument: str) -> None:
        self.metric = metric
        self.view = view
        self.instrument = instrument
        self.watches: list[Watch] = []
        self.holder = metric if isinstance(metric, Holds) else None
        self.due: Ms = 0
        self.next: Ms = 0
        self.idle = metric.idle_look is not None
        self.every = metric.look_every
        self.every_idle = metric.look_every if metric.idle_look is None else metric.idle_look
        self.fresh()

    def fresh(self) -> None:
        """Forgets which values were seen."""
        self.low, self.high = inf, -inf

    @property
    def waiting(self) -> bool:
        """Whether there was data since the last look."""
        return self.next > 0

    @property
    def open(self) -> bool:
        """Whether an episode on it is open."""
        return any(watch.episode.level for watch in self.watches)

    @property
    def since(self) -> Ms | None:
        """From when on all its rules watch it."""
        return max((watch.since for watch in self.watches), default=None)

    def hold(self, on: bool, now: Ms) -> None:
        """What is usual stays what it was before the open episode, or is learned again."""
        if self.holder is not None:
            self.holder.hold(self.view, bool(self.instrument), on, now)

    def wait(self) -> None:
        """There was data, and a look at it is to come."""
        self.next = self.due

    def looked(self, due: Ms) -> None:
        """It was looked at, and shall be again from ``due`` on."""
        self.due = due
        self.next = 0

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: it is looked at again at once."""
        self.due = min(self.due, now)
        self.next = min(self.next, now)
        for watch in self.watches:
            watch.episode.set_back(now)
            watch.trail.set_back(now)
            watch.since = min(watch.since, now)

    @property
    def place(self) -> Place:
        """Its asset and instrument."""
        return self.view.asset, self.instrument


class Cluster:
    """One composite on one asset. ``parts``: rule → its watch, and the conditions it may fulfil.

    ``folded``: rule → its watch, of rules that are hidden and fulfil no condition.
    """

    __slots__ = ("asset", "folded", "gathering", "parts", "spec", "watched")

    def __init__(self, spec: Composite, asset: str, watches: Iterable[Watch], now: Ms) -> None:
        self.spec = spec
        self.asset = asset
        of_asset = [watch for watch in watches if not watch.instrument]
        self.parts = {
            watch.rule.name: (watch, conditions)
            for watch in of_asset
            if (conditions := _conditions(spec, watch))
        }
        self.folded = {
            watch.rule.name: watch
            for watch in of_asset
            if watch.rule.family in spec.hides
            and watch.rule.name not in self.parts
            and watch.rule.post
        }
        self.gathering = Gathering(record_from=now)
        self.watched = self._bits(lambda _: True)

    @property
    def possible(self) -> bool:
        """Whether enough of its conditions are watched on this asset for it ever to fire."""
        return self.watched.bit_count() >= self.spec.enough

    def known(self, now: Ms) -> int:
        """The conditions that can be judged now, as bits."""
        return self._bits(lambda watch: watch.metric.value(watch.view, now) is not None)

    def conditions(self, watch: Watch) -> Mapping[int, Level] | None:
        """The conditions that ``watch`` may fulfil, None if it is no part of this."""
        name = watch.rule.name
        if (part := self.parts.get(name)) is not None and part[0] is watch:
            return part[1]
        return {} if self.folded.get(name) is watch else None

    def dark(self, now: Ms) -> dict[str, Ms]:
        """The rules with an open episode whose data are dead, with the time of their last value."""
        return {
            rule: last
            for rule, (watch, _) in self.parts.items()
            if watch.episode.level
            and (last := watch.last_live(now)) is not None
            and now - last > watch.rule.max_gap
        }

    def tell(self) -> None:
        """A turn is taken, which tells how bad each rule has been up to now."""
        shown = [
            self.parts[rule][0] for rule, _ in self.gathering.chain.values() if rule in self.parts
        ]
        shown += [watch for watch in self.folded.values() if watch.episode.level]
        for watch in shown:
            self.gathering.tell(watch.rule.name, watch.episode)

    def take_over(self, gathering: Gathering, same: bool) -> None:
        """Goes on with a loaded state; of other conditions only with its cool-down."""
        if same:
            spells = {r: s for r, s in gathering.spells.items() if r in self.parts}
            gathering.spells = spells
            self.gathering = gathering
            if gathering.firing and not gathering.worst:
                self.tell()  # an earlier version did not keep it
        else:
            self.gathering.fired_at = gathering.fired_at
            self.adopt()

    def adopt(self) -> None:
        """Counts the episodes that are open already, without firing for them."""
        for rule, (watch, conditions) in self.parts.items():
            episode = watch.episode
            reached = [c for c, level in conditions.items() if episode.level >= level]
            for condition in reached:
                level = conditions[condition]
                spell = Spell(episode.opened_at, level, episode.extreme, episode.opened_at)
                self.gathering.spells.setdefault(rule, {})[condition] = spell

    def _bits(self, which: Callable[[Watch], bool]) -> int:
        bits = 0
        for watch, conditions in self.parts.values():
            if which(watch):
                for condition in conditions:
                    bits |= 1 << condition
        return bits


Take = Callable[[Market, MarketEvent, Ms], bool]
Takers = Mapping[Kind, tuple[tuple[Take, tuple[Beat, ...]], ...]]
"""The metrics that take a kind of event in, each with the beats that then may want to look."""


def takers_of(beats: Iterable[Beat], metrics: Iterable[Metric]) -> Takers:
    """Those of all ``beats``, and ``metrics`` that take events in for others to look at."""
    found: dict[str, tuple[Metric, list[Beat]]] = {m.name: (m, []) for m in metrics}
    for beat in beats:
        found.setdefault(beat.metric.name, (beat.metric, []))[1].append(beat)
    return {
        kind: tuple((m.take, tuple(some)) for m, some in found.values() if kind in m.kinds)
        for kind in Kind
    }


class Asset:
    """An asset with all that watches it. ``takers``: what its instruments share."""

    __slots__ = ("beats", "clusters", "takers", "view")

    def __init__(
        self,
        view: View,
        beats: Sequence[Beat],
        clusters: Iterable[Cluster],
        metrics: Sequence[Metric],
    ) -> None:
        self.view = view
        self.beats = tuple(beats)
        self.clusters = tuple(cluster for cluster in clusters if cluster.possible)
        self.takers = takers_of(beats, metrics)


class Desk:
    """Where the events of one instrument go. ``beats``: those of the instrument alone."""

    __slots__ = ("beats", "market", "takers")

    def __init__(self, market: Market, beats: Sequence[Beat], takers: Takers) -> None:
        self.market = market
        self.beats = tuple(beats)
        self.takers = takers


def beats_of(watches: Iterable[Watch]) -> list[Beat]:
    """The beats of these watches, which are all of one asset or one instrument."""
    beats: dict[str, Beat] = {}
    for watch in watches:
        name = watch.metric.name
        if name not in beats:
            beats[name] = Beat(watch.metric, watch.view, watch.instrument)
        beats[name].watches.append(watch)
    return list(beats.values())


def _conditions(spec: Composite, watch: Watch) -> dict[int, Level]:
    return {n: lv for n, (family, lv) in enumerate(spec.all_of) if family == watch.rule.family}
