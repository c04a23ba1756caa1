"""Events in, alerts and notices out. The answer depends on the sequence of events alone.

The engine's time is the largest ``seen`` so far. Where the clock that stamps events steps, a
ClockStep says by how much, and the engine's time goes on evenly (``rules.timeline``); a Tick that
is much older without one says that the clock was set back by nobody knows how much, which is a
hole. An event makes the metrics of its asset that
listen to its kind look again, each at most as often as it is worth (liquidations: at once); a Tick
looks again only where time matters: at what was put off, is pending, firing or recovering, and
every few seconds at the market as a whole. So an event costs the same however many instruments
there are.
"""

from collections.abc import Iterable, Sequence

import msgspec

from rules import likeness, state
from rules.alerts import Said
from rules.composite import Composite
from rules.faults import Faults
from rules.feed_health import NO_TICK, Feeds
from rules.judge import Judge
from rules.rule import Rule
from rules.snapshot import (
    Observed,
    OpenEpisodes,
    Standing,
    composites,
    observed,
    open_episodes,
    values,
)
from rules.timeline import Timeline
from rules.watchlist import (
    CompositeInstance,
    InstrumentRoute,
    MetricInstance,
    RuleInstance,
    WatchList,
)
from streams.durations import HOUR, SECOND
from streams.events import (
    AnyEvent,
    ClockStep,
    Depth,
    Fault,
    FeedState,
    Kind,
    Liquidation,
    MarketEvent,
    Ms,
    Price,
    Tick,
    clock_stepped,
    kind_of,
)

SWEEP_EVERY: Ms = HOUR
SET_BACK: Ms = 30 * SECOND
"""A Tick so much before the latest event says that the clock was set back."""

TURN_EVERY: Ms = 10 * SECOND
"""So often the clocks of the venues are compared."""

_NEVER: Ms = 2**62
# an enum's member is slow to look up, and this is asked for every event
_DEPTH, _LIQUIDATION, _PRICE = Kind.DEPTH, Kind.LIQUIDATION, Kind.PRICE
_TIMED = (Depth, Price, Liquidation)
"""Events that have the time at which a venue sent them; others are polled, or of long ago."""

replace = msgspec.structs.replace


class Engine:
    """All rules over all assets. Pure but for its own memory.

    ``venue_order``: whose price is an asset's price, and the order venues are named in; venues not
    in it come after, by name. ValueError if a rule's metric is unknown, cannot be asked of its
    scope, or a name is used twice.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        venue_order: Sequence[str] = (),
        composites: Sequence[Composite] = (),
    ) -> None:
        names = [rule.name for rule in rules] + [composite.name for composite in composites]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two rules are called {twice!r}: rename one")
        self._rules = tuple(rules)
        self._venue_order = tuple(venue_order)
        self._composites = tuple(composites)
        self._start()
        self._floor.open(0)

    def feed(self, event: AnyEvent) -> list[Said]:
        """Takes one event and gives what it causes to be said, in order."""
        if self._timeline.doubted:
            return self._weigh(event)
        return self._feed(event)

    def _feed(self, event: AnyEvent) -> list[Said]:
        now, seen = self._now, event.seen + self._timeline.behind
        if isinstance(event, ClockStep):
            return self._step(event)
        if seen > now:
            if not now:
                self._floor.begin(seen)
            now = self._now = seen
        turns = self._hear(event, seen, now)
        return self._timeline.said(turns, isinstance(event, Tick)) if turns else turns

    def _hear(self, event: MarketEvent | FeedState | Fault | Tick, seen: Ms, now: Ms) -> list[Said]:
        if isinstance(event, Tick):
            if now - seen > SET_BACK:
                now = self._set_back(seen)
            return self._tick(now)
        late = self._miss_tick(now) if now > self._late_at else None
        if isinstance(event, FeedState):
            self._floor.memory.hear(event, now)
            self._feeds.hear(event)
            return late or []
        if isinstance(event, Fault):
            self._faults.take(event if seen == event.seen else replace(event, seen=seen))
            return late or []
        try:
            desk = self._desks[event.asset, event.venue, event.symbol]
        except KeyError:
            desk = self._floor.meet(event, now)
            if desk is not None:
                desk.market.clock.assumed = -self._timeline.behind
        turns = self._take(desk, event, now) if desk is not None else []
        return late + turns if late else turns

    def standing(self, with_facts: bool = True) -> Standing:
        """What is seen now: all metrics, and what is open."""
        beats, now = list(self._floor.beats()), self._now
        episodes, timeline = self._open_episodes(beats, self._floor.clusters()), self._timeline
        return Standing(
            seen=timeline.now(now),
            values=tuple(
                replace(
                    value,
                    since=None if value.since is None else timeline.now(value.since),
                    facts=timeline.facts(value.facts, now),
                )
                for value in values(beats, now, with_facts)
            ),
            episodes=episodes.episodes,
            stale=episodes.stale,
            composites=tuple(
                replace(composite, since=timeline.now(composite.since))
                for composite in composites(self._floor.clusters())
            ),
        )

    def open_episodes(self) -> OpenEpisodes:
        """What is open now. It costs as much as is open, however much is watched."""
        return self._open_episodes(self._awake, self._judge.firing)

    def _open_episodes(
        self, beats: Iterable[MetricInstance], clusters: Iterable[CompositeInstance]
    ) -> OpenEpisodes:
        episodes, timeline = open_episodes(beats, clusters, self._now), self._timeline
        return OpenEpisodes(
            seen=timeline.now(episodes.seen),
            episodes=tuple([timeline.alert(alert, own=True) for alert in episodes.episodes]),
            stale=tuple([timeline.alert(alert, own=True) for alert in episodes.stale]),
        )

    def observed(self) -> list[Observed]:
        """What every metric is now, and was since this was last asked; what follows is the same."""
        return [*observed(self._floor.beats(), self._now)]

    def dump(self) -> bytes:
        """Everything that the answers to further events depend on."""
        beats, clusters = list(self._floor.beats()), list(self._floor.clusters())
        dump = state.EngineDump(
            version=state.VERSION,
            now=self._now,
            sweep_at=self._sweep_at,
            memory=self._floor.memory.dump(),
            feeds=self._feeds,
            watches=[_dump_watch(watch) for beat in beats for watch in beat.watches],
            beats=[
                state.MetricInstanceDump(b.metric.name, b.place, b.due, b.waiting) for b in beats
            ],
            trails=self._floor.dump_trails(),
            clusters=[
                state.CompositeDump(c.spec.name, c.asset, [*c.spec.all_of], c.gathering)
                for c in clusters
            ],
            awake=[(beat.metric.name, beat.place) for beat in self._awake],
            firing=[(c.spec.name, c.asset) for c in self._judge.firing],
            faults=self._faults,
            compare_at=self._compare_at,
            timeline=self._timeline,
            unclear=self._unclear,
            turn_at=self._turn_at,
        )
        return state.encode(dump)

    def load(self, dumped: bytes) -> str:
        """Goes on where ``dumped`` was made; of changed rules, what still fits.

        An episode lives on if rule name, metric and asset are unchanged; under changed levels it
        goes on at the level that its value has by now, without a word. What cannot be taken over
        is left out and said, "" if nothing was. ValueError if nothing can be read; the engine is
        then as it was.
        """
        lost: list[str] = []
        old = state.decode(dumped, lost)
        self._start()
        self._load(old, lost)
        return state.in_words(lost)

    def _start(self) -> None:
        self._now: Ms = 0
        self._late_at: Ms = _NEVER
        self._sweep_at: Ms | None = None
        self._feeds = Feeds()
        self._faults = Faults()
        self._compare_at: Ms = 0
        self._turn_at: Ms = 0
        self._timeline = Timeline()
        self._unclear: list[AnyEvent] = []  # what came after a step ahead that may be none
        self._awake: dict[MetricInstance, None] = {}
        self._floor = WatchList(self._rules, self._venue_order, self._composites, self._rouse)
        self._judge = Judge(self._floor.clusters_of)
        self._desks = self._floor.desks

    def _rouse(self, beat: MetricInstance) -> None:
        self._awake[beat] = None

    def _take(self, desk: InstrumentRoute, event: MarketEvent, now: Ms) -> list[Said]:
        kind, market = kind_of(event), desk.market
        line = market.lines.get(kind)
        if line is not None and line.up:
            line.seen = now
        else:
            market.data(kind, now)
        if isinstance(event, _TIMED) and event.at != event.seen:
            market.clock.hear(event.at, now)
        if kind is _PRICE and market.prices.last is None:
            self._compare_at = now  # with the others of its name, at the next Tick
        turns: list[Said] = []
        # books and liquidations are remembered by metrics alone
        if kind is not _DEPTH and not market.take(event, now):
            return turns
        urgent = kind is _LIQUIDATION
        for take, beats in desk.takers[kind]:
            if take(market, event, now):
                for beat in beats:
                    if urgent or now >= beat.due:
                        if caused := self._look(beat, event.at):
                            turns += caused
                    elif now >= beat.next:  # too early: the next Tick looks
                        beat.wait()
                        self._awake[beat] = None
        return turns

    def _miss_tick(self, now: Ms) -> list[Said]:
        self._late_at = _NEVER
        return [*self._feeds.miss_tick(now)]

    def _tick(self, now: Ms) -> list[Said]:
        self._late_at = now + NO_TICK
        if now >= self._turn_at:
            self._turn_at = now + TURN_EVERY
            self._compare_clocks()
        turns: list[Said] = [*self._feeds.tick(now, self._floor.memory.venues)]
        if now >= self._compare_at:
            self._compare_at = now + likeness.LOOK_EVERY
            for shared in likeness.look(self._floor.memory.views.values(), now):
                self._faults.take(shared)
        turns += self._faults.tick(now)
        for beat in [beat for beat in self._awake if now >= beat.due]:
            turns += self._look(beat, now)
        turns += self._judge.tick(now)
        self._sweep()
        return turns

    def _look(self, beat: MetricInstance, at: Ms) -> list[Said]:
        now, reading = self._now, beat.reading(self._now)
        turns: list[Said] = []
        awake = False
        if reading is not None:
            x = reading.value
            if x < beat.low:
                beat.low = x
            if x > beat.high:
                beat.high = x
        was_open = beat.holder is not None and beat.open
        for watch in beat.watches:
            if reading is not None and not watch.rest(now, reading):
                turns += self._judge.move(watch, reading, now, at)
            episode = watch.episode
            if episode.level or episode.since:
                awake = True
        if beat.holder is not None and (was_open or beat.open):
            beat.hold(beat.open, now)
        if beat.learner is not None:
            beat.learner.learn(beat.view, now)
        beat.looked(now + (beat.every if awake else beat.every_idle))
        if awake or beat.idle:
            self._awake[beat] = None
        elif beat in self._awake:
            del self._awake[beat]
        return turns

    def _step(self, step: ClockStep) -> list[Said]:
        """The machine's clock stepped, and by how much is known."""
        now, timeline = self._now, self._timeline
        if not now:
            return []
        self._settle_doubt()
        timeline.step(step.by, now)
        self._take_clocks_for_ours()
        if step.by > 0:
            timeline.doubt(step.by)
        else:
            self._faults.take(clock_stepped(now, step.by))
        return []

    def _weigh(self, event: AnyEvent) -> list[Said]:
        """Takes an event after a step ahead of which nobody knows yet whether it was one.

        A machine that slept has not seen the time pass that has passed: then the clocks of the
        venues are ahead by as much. Until that is known what comes is kept and not judged, since
        what is remembered may be hours old.
        """
        timeline = self._timeline
        seen = event.seen + timeline.behind
        if isinstance(event, ClockStep) or (
            timeline.doubted_until and seen > timeline.doubted_until
        ):
            self._settle_doubt()
        elif not isinstance(event, FeedState | Fault | Tick):
            timeline.data_since = timeline.data_since or seen
            if isinstance(event, _TIMED) and event.at != event.seen:
                desk = self._desks.get((event.asset, event.venue, event.symbol))
                known = desk.market.clock.known if desk is not None else None
                if known is not None:
                    timeline.vote(event.venue, event.at - seen, known, seen)
        if timeline.sleeping(seen):
            timeline.passed(self._now)
            self._take_clocks_for_ours()
        if timeline.unclear(seen):
            self._unclear.append(event)
            return []
        waited, self._unclear = self._unclear, []
        return [turn for kept in (*waited, event) for turn in self._feed(kept)]

    def _settle_doubt(self) -> None:
        """The last step ahead was one: the venues' clocks stayed."""
        timeline = self._timeline
        if timeline.doubted:
            self._faults.take(clock_stepped(self._now, timeline.doubted))
            timeline.doubted = 0

    def _take_clocks_for_ours(self) -> None:
        """The clocks of venues that were not heard yet are taken for that of the machine."""
        for clock in self._floor.memory.clocks():
            clock.assumed = -self._timeline.behind

    def _compare_clocks(self) -> None:
        for clock in self._floor.memory.clocks():
            clock.turn()
        self._timeline.measure(self._floor.memory.clocks())

    def _set_back(self, now: Ms) -> Ms:
        """The clock that stamps events was set back to ``now``, by nobody knows how much.

        What was measured has no age any more, so it is a hole: windows fill anew, timers start
        anew, open episodes stay open. Every time that is remembered is brought to ``now`` from
        here; times of the venues' clocks (settlements) and names (when an episode began) stay.
        """
        back, self._now = self._now - now, now
        self._compare_at = min(self._compare_at, now + likeness.LOOK_EVERY)
        self._turn_at = min(self._turn_at, now + TURN_EVERY)
        self._timeline.hole(now)
        for clock in self._floor.memory.clocks():
            clock.lose(-self._timeline.behind)
        self._floor.memory.set_back(now)
        self._feeds.set_back(now)
        self._faults.set_back(now)
        for beat in self._floor.beats():
            beat.set_back(now)
        for cluster in self._floor.clusters():
            cluster.gathering.set_back(now)
        if self._sweep_at is not None:
            self._sweep_at = min(self._sweep_at, now + SWEEP_EVERY)
        self._faults.take(clock_stepped(now, -back, hole=True))
        return now

    def _sweep(self) -> None:
        due = self._sweep_at
        if due is not None and self._now < due:
            return
        self._sweep_at = self._now + SWEEP_EVERY
        # long past due: we were away ourselves, so silence is ours; let the feeds speak first
        if due is None or self._now > due + SWEEP_EVERY:
            return
        beats, clusters = self._floor.forget(self._now)
        for beat in beats:
            self._awake.pop(beat, None)
        for cluster in clusters:
            self._judge.firing.pop(cluster, None)

    def _load(self, old: state.EngineDump, lost: list[str]) -> None:
        self._now, self._sweep_at, self._feeds = old.now, old.sweep_at, old.feeds
        self._faults = old.faults
        self._compare_at, self._turn_at = old.compare_at, old.turn_at
        self._timeline, self._unclear = old.timeline, old.unclear
        if old.feeds.ticked is not None and not old.feeds.silent:
            self._late_at = old.feeds.ticked + NO_TICK
        self._floor.load(old, lost)
        self._load_watches(old)
        self._load_clusters(old)

    def _load_watches(self, old: state.EngineDump) -> None:
        beats = {(beat.metric.name, beat.place): beat for beat in self._floor.beats()}
        watches = {(w.rule.name, w.place): w for beat in beats.values() for w in beat.watches}
        for saved in old.watches:
            watch = watches.get((saved.rule, saved.place))
            if watch and watch.rule.metric == saved.metric:
                watch.episode = saved.episode
                watch.unsettled = saved.unsettled or saved.levels != watch.row.levels
                began = watch.trail.began or old.now
                watch.since = min(began, old.now) if saved.since is None else saved.since
        for saved in old.beats:
            if beat := beats.get((saved.metric, saved.place)):
                beat.looked(saved.due)
                if saved.waiting:
                    beat.wait()
        for beat in beats.values():
            if not beat.open:  # a rule that is gone holds nothing
                beat.hold(False, old.now)
        roused = self._awake
        self._awake = {beats[key]: None for key in old.awake if key in beats}
        self._awake.update(roused)

    def _load_clusters(self, old: state.EngineDump) -> None:
        clusters = {(c.spec.name, c.asset): c for c in self._floor.clusters()}
        before = {(saved.name, saved.asset): saved for saved in old.clusters}
        for key, cluster in clusters.items():
            if saved := before.get(key):
                cluster.take_over(saved.gathering, tuple(saved.all_of) == cluster.spec.all_of)
            else:
                cluster.adopt()
        firing = (clusters[key] for key in old.firing if key in clusters)
        self._judge.firing.update((c, None) for c in firing if c.gathering.firing)


def _dump_watch(watch: RuleInstance) -> state.RuleInstanceDump:
    rule, levels = watch.rule, dict(watch.row.levels)
    return state.RuleInstanceDump(
        rule.name, rule.metric, watch.place, levels, watch.unsettled, watch.episode, watch.since
    )
