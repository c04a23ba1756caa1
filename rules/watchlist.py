"""Who watches what: assets, their instruments, and the rules and composites over them.

Assets and instruments are met when they first speak, and forgotten when they have been silent for
a day. With a rule for the whole market every asset is remembered, watched by a rule or not.

Who watches what: rules on assets, the metrics they share, and composites over them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from math import inf

from rules import state
from rules.alerts import ALL, Cause, Level, Opinion
from rules.composite import Composite, CompositeState, ConditionMatch
from rules.episode import Episode, judged, ready
from rules.market import Market, Memory, View, whole
from rules.metric import Holds, Learns, Metric, Reading
from rules.metrics import cause_asked_by, metric
from rules.metrics.cause import cause_of
from rules.metrics.market_wide import PriceDownShare
from rules.records import Trail
from rules.rule import Fires, Row, Rule, agreement, counted, told_at
from rules.state import Place
from streams.events import Kind, MarketEvent, Ms

TrailKey = tuple[str, Fires, Place]
"""Metric, side and place."""


class RuleInstance:
    """One rule on one asset, or on one of its instruments.

    ``mild``: the first threshold, with the sign that makes bad large. ``unsettled``: the levels
    have changed since the episode was last judged. ``since``: when it began to watch. ``others``:
    the metrics that the rule asks besides its own, in the order of ``Rule.when``; ``causes``: what
    says which cause its value has, None: nobody.
    """

    __slots__ = (
        "causes", "episode", "instrument", "metric", "mild", "others", "row", "rule", "sign",
        "since", "trail", "unsettled", "view",
    )  # fmt: skip

    def __init__(
        self,
        rule: Rule,
        row: Row,
        metric: Metric,
        view: View,
        instrument: str,
        trail: Trail,
        others: Sequence[Metric] = (),
        causes: Metric | None = None,
    ) -> None:
        self.rule = rule
        self.row = row
        self.metric = metric
        self.others = tuple(others)
        self.causes = causes
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

    def judged(self, reading: Reading, level: Level = Level.WATCH) -> bool:
        """Whether ``reading`` says anything of ``level`` and those above it."""
        return judged(self.rule, self.row, reading, level)

    def opinions(self, now: Ms) -> tuple[Opinion, ...]:
        """What the other metrics say now."""
        opinions: list[Opinion] = []
        for when, other in zip(self.rule.when, self.others, strict=True):
            reading = other.value(self.view, now)
            opinion = Opinion(
                metric=when.metric,
                unit=other.unit,
                asked=str(when),
                value=None if reading is None else reading.value,
                agrees=when.agrees(reading),
                lower_bound=reading is not None and (reading.lower_bound or reading.breach_only),
            )
            opinions.append(opinion)
        return tuple(opinions)

    def cause(self, now: Ms) -> Cause | None:
        """What is happening; None: unknown, or it is not asked of this metric."""
        return None if self.causes is None else cause_of(self.causes.value(self.view, now))

    @property
    def alone(self) -> bool:
        """Whether its own value alone says what it tells."""
        return not self.rule.when and not self.rule.cause

    def told(self, now: Ms) -> Callable[[int], int] | None:
        """At which level a level that was reached is told; None: as it is."""
        return None if self.alone else partial(self._told, now)

    def reached(self, now: Ms) -> int:
        """The highest level that has lasted long enough, as it is told; 0 if none has."""
        alone = ready(self.rule, self.episode, now)
        return alone if self.alone else self._told(now, alone)

    def _told(self, now: Ms, alone: int) -> int:
        reached, rule = alone, self.rule
        if rule.cause and reached:
            reached = counted(reached, rule.cause, self.cause(now))
        if reached != Level.ALERT or not rule.when:
            return reached  # nobody needs to be asked
        asked = zip(rule.when, self.others, strict=True)
        return told_at(
            reached, agreement(when.agrees(other.value(self.view, now)) for when, other in asked)
        )

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
            or reading.breach_only
            or self.rule.settlements
        ):
            return False
        episode.last_live = now
        trail = self.trail
        if now >= trail.due or x > trail.worst or trail.excursion is not None:
            trail.note(now, x, reading, awake=False)
        return True


class MetricInstance:
    """One metric of one asset or instrument: looked at together for all rules that want it.

    ``due``: not before then. ``next``: when data matters, which is at once after a look, and then
    not before it is due. ``every``, ``every_idle``: how long till the next look, if time can change
    something or if not. ``idle``: that one comes though there is no data. ``low``, ``high``: of the
    values seen since ``fresh``.
    """

    __slots__ = (
        "due", "every", "every_idle", "high", "holder", "idle", "instrument", "learner", "low",
        "metric", "next", "view", "watches",
    )  # fmt: skip

    def __init__(self, metric: Metric, view: View, instrument: str) -> None:
        self.metric = metric
        self.view = view
        self.instrument = instrument
        self.watches: list[RuleInstance] = []
        self.holder = metric if isinstance(metric, Holds) else None
        self.learner = metric if isinstance(metric, Learns) else None
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

    def reading(self, now: Ms) -> Reading | None:
        """The value now, None if it says nothing to any of its rules."""
        reading = self.metric.value(self.view, now)
        if reading is None or not reading.breach_only:
            return reading
        return reading if any(watch.judged(reading) for watch in self.watches) else None

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


class CompositeInstance:
    """One composite on one asset. ``parts``: rule → its watch, and the conditions it may fulfil.

    ``folded``: rule → its watch, of rules that are hidden and fulfil no condition. ``teller``: the
    watch that knows its cause, over the longest of their windows that is within ``within``.
    """

    __slots__ = ("asset", "folded", "gathering", "parts", "spec", "teller", "watched")

    def __init__(
        self, spec: Composite, asset: str, watches: Iterable[RuleInstance], now: Ms
    ) -> None:
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
        telling = [w for w in of_asset if w.causes and self.conditions(w) is not None]
        self.teller = max(telling, key=partial(_fit, spec.within), default=None)
        self.gathering = CompositeState(record_from=now)
        self.watched = sum({1 << n for _, conditions in self.parts.values() for n in conditions})

    @property
    def possible(self) -> bool:
        """Whether enough of its conditions are watched on this asset for it ever to fire."""
        return self.watched.bit_count() >= self.spec.enough

    def known(self, now: Ms) -> int:
        """The conditions that can be judged now, as bits."""
        bits = 0
        for watch, conditions in self.parts.values():
            reading = watch.metric.value(watch.view, now)
            for condition, level in conditions.items():
                if reading is not None and watch.judged(reading, level):
                    bits |= 1 << condition
        return bits

    def conditions(self, watch: RuleInstance) -> Mapping[int, Level] | None:
        """The conditions that ``watch`` may fulfil, None if it is no part of this."""
        name = watch.rule.name
        if (part := self.parts.get(name)) is not None and part[0] is watch:
            return part[1]
        return {} if self.folded.get(name) is watch else None

    def hides(self, watch: RuleInstance) -> bool:
        """Whether it tells of what ``watch`` would post, while it fires."""
        return self.spec.post and watch.rule.post and watch.rule.family in self.spec.hides

    def hidden_level(self) -> int:
        """The highest level of an open episode that it would hide, 0: there is none."""
        watches = [*(watch for watch, _ in self.parts.values()), *self.folded.values()]
        return max((watch.episode.level for watch in watches if self.hides(watch)), default=0)

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

    def let_go(self) -> None:
        """It is over: a critical part that began unseen and goes on is told from now on by its own
        rule, once it is much worse than it was while the composite told of it."""
        for watch in (*(watch for watch, _ in self.parts.values()), *self.folded.values()):
            episode = watch.episode
            if self.hides(watch) and episode.level == Level.CRITICAL and not episode.posted_open:
                episode.posted_open, episode.posted_value = True, episode.extreme

    def take_over(self, gathering: CompositeState, same: bool) -> None:
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
                spell = ConditionMatch(episode.opened_at, level, episode.extreme, episode.opened_at)
                self.gathering.spells.setdefault(rule, {})[condition] = spell


def _fit(within: Ms, watch: RuleInstance) -> tuple[bool, Ms]:
    """How well the window over which a watch knows the cause fits one of that length."""
    window = (watch.causes.window if watch.causes else None) or 0
    return (True, window) if window <= within else (False, -window)


Take = Callable[[Market, MarketEvent, Ms], bool]
Takers = Mapping[Kind, tuple[tuple[Take, tuple[MetricInstance, ...]], ...]]
"""The metrics that take a kind of event in, each with the beats that then may want to look."""


def takers_of(beats: Iterable[MetricInstance], metrics: Iterable[Metric]) -> Takers:
    """Those of all ``beats``, and ``metrics`` that take events in for others to look at."""
    takers: dict[str, tuple[Metric, list[MetricInstance]]] = {m.name: (m, []) for m in metrics}
    for beat in beats:
        takers.setdefault(beat.metric.name, (beat.metric, []))[1].append(beat)
    return {
        kind: tuple(
            (m.take, tuple(instances)) for m, instances in takers.values() if kind in m.kinds
        )
        for kind in Kind
    }


class Asset:
    """An asset with all that watches it. ``takers``: what its instruments share."""

    __slots__ = ("beats", "clusters", "takers", "view")

    def __init__(
        self,
        view: View,
        beats: Sequence[MetricInstance],
        clusters: Iterable[CompositeInstance],
        metrics: Sequence[Metric],
    ) -> None:
        self.view = view
        self.beats = tuple(beats)
        self.clusters = tuple(cluster for cluster in clusters if cluster.possible)
        self.takers = takers_of(beats, metrics)


class InstrumentRoute:
    """Where the events of one instrument go. ``beats``: those of the instrument alone."""

    __slots__ = ("beats", "market", "takers")

    def __init__(self, market: Market, beats: Sequence[MetricInstance], takers: Takers) -> None:
        self.market = market
        self.beats = tuple(beats)
        self.takers = takers


def beats_of(watches: Sequence[RuleInstance]) -> list[MetricInstance]:
    """The beats of these watches, which are all of one asset or one instrument.

    Those that are only asked for a second opinion come last, and no rule watches them.
    """
    beats: dict[str, MetricInstance] = {}
    for watch in watches:
        name = watch.metric.name
        if name not in beats:
            beats[name] = MetricInstance(watch.metric, watch.view, watch.instrument)
        beats[name].watches.append(watch)
    for watch in watches:
        logged = [watch.causes] if watch.causes is not None and watch.rule.cause else []
        for other in (*watch.others, *logged):
            if other.name not in beats:
                beats[other.name] = MetricInstance(other, watch.view, watch.instrument)
    return list(beats.values())


def _conditions(spec: Composite, watch: RuleInstance) -> dict[int, Level]:
    return {n: lv for n, (family, lv) in enumerate(spec.all_of) if family == watch.rule.family}


class WatchList:
    """All of it. ``desks``: where the events of (asset, venue, symbol) go, None: nobody wants them.

    ``rouse`` is told of beats that shall be asked although nothing comes.

    ValueError if a rule's metric is unknown or cannot be asked of its scope.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        venue_order: Sequence[str],
        composites: Sequence[Composite],
        rouse: Callable[[MetricInstance], None],
    ) -> None:
        self._rules = tuple((rule, _metric_of(rule), _others_of(rule)) for rule in rules)
        self._causes = {rule.name: of for rule in rules if (of := cause_asked_by(rule)) is not None}
        self._composites = tuple(composites)
        self._rouse = rouse
        metrics = [m for _, own, others in self._rules for m in (own, *others)]
        metrics += self._causes.values()
        self.memory = Memory(
            venue_order,
            price_keep=max((m.window or 0 for m in metrics), default=0),
            keeps={keep.name: keep for m in metrics for keep in m.keeps()},
        )
        self._of_market = [
            m for rule, own, others in self._rules if rule.scope == "market" for m in (own, *others)
        ]
        # those that remember for others: what is asked of the market, and of causes
        self._takers = [*self._of_market, *(of.interest for of in self._causes.values())]
        self._assets: dict[str, Asset | None] = {}
        self.desks: dict[tuple[str, str, str], InstrumentRoute | None] = {}
        self._trails: dict[TrailKey, Trail] = {}

    def open(self, now: Ms) -> None:
        """Begins to watch the market as a whole, if a rule asks for it."""
        if self._of_market:
            self._assets[ALL] = self._build(whole(self.memory.views), now)

    def begin(self, now: Ms) -> None:
        """The first event came: the market as a whole is watched since then."""
        if (asset := self._assets.get(ALL)) is not None:
            for watch in (watch for beat in asset.beats for watch in beat.watches):
                watch.since = now
            for cluster in asset.clusters:
                cluster.gathering.record_from = now

    def meet(self, event: MarketEvent, now: Ms) -> InstrumentRoute | None:
        """The desk of an instrument that speaks for the first time."""
        name = event.asset
        if name not in self._assets:
            view = self.memory.view(name) if self._wanted(name) else None
            self._assets[name] = self._build(view, now) if view else None
        asset = self._assets[name]
        desk: InstrumentRoute | None = None
        if asset is not None and name != ALL:
            market = self.memory.meet(asset.view, event.venue, event.symbol)
            desk = self._build_desk(asset, market, now)
        self.desks[name, event.venue, event.symbol] = desk
        return desk

    def clusters_of(self, asset: str) -> tuple[CompositeInstance, ...]:
        """The composites over an asset."""
        watched = self._assets.get(asset)
        return watched.clusters if watched else ()

    def beats(self) -> Iterator[MetricInstance]:
        """All of them, in an order that does not depend on which instrument spoke first."""
        for name, asset in self._assets.items():
            if asset is not None:
                yield from asset.beats
                for market in asset.view.everyone:
                    desk = self.desks[name, market.venue, market.symbol]
                    yield from desk.beats if desk is not None else ()

    def clusters(self) -> Iterator[CompositeInstance]:
        """All composites on all assets."""
        for asset in self._assets.values():
            if asset is not None:
                yield from asset.clusters

    def forget(self, now: Ms) -> tuple[list[MetricInstance], list[CompositeInstance]]:
        """Lets go what has been silent for a day; the beats and composites that are gone."""
        beats: list[MetricInstance] = []
        clusters: list[CompositeInstance] = []
        for name, market in self.memory.forget(now):
            desk = self.desks.pop((name, market.venue, market.symbol))
            beats += desk.beats if desk else ()
            if name not in self.memory.views and (asset := self._assets.pop(name, None)):
                beats += asset.beats
                clusters += asset.clusters
        for beat in beats:
            for watch in beat.watches:
                self._trails.pop(watch.trail_key, None)
        return beats, clusters

    def dump_trails(self) -> list[state.TrailDump]:
        """What was observed over months, in the order of the beats."""
        keys = dict.fromkeys(watch.trail_key for beat in self.beats() for watch in beat.watches)
        return [state.TrailDump(*key, self._trails[key]) for key in keys]

    def load(self, old: state.EngineDump, lost: list[str]) -> None:
        """Takes over what is still watched; the asset, instruments and trails of all else go.

        What does not fit is named in ``lost``.
        """
        self._trails.update(
            ((saved.metric, saved.fires, saved.place), saved.trail) for saved in old.trails
        )
        self.open(old.now)
        names = [view.asset for view in old.memory.views if self._wanted(view.asset)]
        self.memory.load(old.memory, names, old.now, lost)
        for name in names:
            asset = self._assets[name] = self._build(self.memory.view(name), old.now)
            for market in asset.view.everyone:
                desk = self._build_desk(asset, market, old.now)
                self.desks[name, market.venue, market.symbol] = desk
        used = {watch.trail_key for beat in self.beats() for watch in beat.watches}
        self._trails = {key: trail for key, trail in self._trails.items() if key in used}

    def _wanted(self, asset: str) -> bool:
        rules = (rule for rule, _, _ in self._rules if rule.scope != "market")
        return bool(self._of_market) or any(rule.row_of(asset) for rule in rules)

    def _build(self, view: View, now: Ms) -> Asset:
        beats = beats_of(list(self._watches(view, "", now)))
        watches = [watch for beat in beats for watch in beat.watches]
        clusters = [
            CompositeInstance(composite, view.asset, watches, now) for composite in self._composites
        ]
        self._rouse_idle(beats)
        return Asset(view, beats, clusters, self._takers)

    def _build_desk(self, asset: Asset, market: Market, now: Ms) -> InstrumentRoute:
        instrument = f"{market.venue}/{market.symbol}"
        beats = beats_of(list(self._watches(asset.view.only(market), instrument, now)))
        self._rouse_idle(beats)
        takers = takers_of([*asset.beats, *beats], self._takers) if beats else asset.takers
        return InstrumentRoute(market, beats, takers)

    def _watches(self, view: View, instrument: str, now: Ms) -> Iterator[RuleInstance]:
        scope = "instrument" if instrument else "market" if view.asset == ALL else "asset"
        for rule, rule_metric, others in self._rules:
            row = rule.row_of(view.asset) if rule.scope == scope else None
            if row is not None:
                # rules with one metric on one side share what was observed of it
                key = rule.metric, rule.fires, (view.asset, instrument)
                trail = self._trails.setdefault(key, Trail())
                watch = RuleInstance(
                    rule, row, rule_metric, view, instrument, trail, others,
                    self._causes.get(rule.name),
                )  # fmt: skip
                watch.since = now
                yield watch

    def _rouse_idle(self, beats: Iterable[MetricInstance]) -> None:
        for beat in beats:
            if beat.idle:
                self._rouse(beat)


def _metric_of(rule: Rule, name: str = "") -> Metric:
    """The metric of that name, its own if none is given, which must know the scope of the rule."""
    asked = metric(name or rule.metric)
    if rule.scope not in asked.scopes:
        scopes = " or ".join(sorted(asked.scopes))
        raise ValueError(f"rule {rule.name!r}: the scope of {asked.name} is {scopes}")
    return asked.over(rule.least_fall_pct) if isinstance(asked, PriceDownShare) else asked


def _others_of(rule: Rule) -> tuple[Metric, ...]:
    return tuple(_metric_of(rule, when.metric) for when in rule.when)
