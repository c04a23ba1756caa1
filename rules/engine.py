"""Events in, alerts and notices out. The answer depends on the sequence of events alone.

The engine's time is the largest ``seen`` so far. Where the clock that stamps events steps, a
ClockStep has by how much, and the engine's time goes on evenly (``rules.timeline``). A Tick that is
much older without a ClockStep shows that the clock was set back by an unknown amount: a hole.

An event evaluates the metrics of its asset that read its kind, each at most as often as it is worth
(liquidations: at once). A Tick evaluates only where time matters: what was put off, is pending,
firing or recovering, and every few seconds the market as a whole. So an event costs the same,
however many instruments there are.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from rules import likeness, state
from rules.alerts import Alert, AlertOrNotice, NearRelease
from rules.composite import Composite
from rules.context import ContextMemory
from rules.drift import Drifts
from rules.faults import Faults
from rules.feed_health import NO_TICK, Feeds
from rules.judge import Judge
from rules.macro import CRYPTO, MacroPrices
from rules.market import EventCount, View
from rules.releases import beside_release, releases_of
from rules.rule import Rule
from rules.snapshot import (
    Observed,
    OpenEpisodes,
    Standing,
    composites_since,
    context_observed,
    macro_observed,
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
    KINDS,
    AnyEvent,
    ClockStep,
    ContextFacts,
    Fault,
    FeedState,
    FundingHistory,
    History,
    InterestHistory,
    Kind,
    MacroPrice,
    MarketEvent,
    Ms,
    PriceHistory,
    Tick,
    clock_stepped,
)

SWEEP_EVERY: Ms = HOUR
SET_BACK: Ms = 30 * SECOND
"""A Tick so much before the latest event shows that the clock was set back."""

TURN_EVERY: Ms = 10 * SECOND
"""How often the clocks of the venues are compared."""

_NEVER: Ms = 2**62
# an enum's member is slow to look up, and this is asked for every event
_DEPTH, _LIQUIDATION, _PRICE = Kind.DEPTH, Kind.LIQUIDATION, Kind.PRICE
_TIMED = frozenset({_DEPTH, _LIQUIDATION, _PRICE})
"""Kinds of events with the time at which a venue sent them; others are polled, or from long ago."""

_KIND_OF: Mapping[type[AnyEvent], Kind] = {
    event: kind for event, kind in KINDS.items() if event is not MacroPrice
}
"""The events that are data of a market. ``isinstance`` of a Struct is slow to say no."""

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
        self._named = frozenset(asset for rule in rules for asset in rule.rows)
        self._start()
        self._watchlist.open(0)

    def feed(self, event: AnyEvent) -> list[AlertOrNotice]:
        """Take one event; the alerts and notices that it causes, in order."""
        turns = self._weigh(event) if self._timeline.doubted else self._feed(event)
        return self._with_releases(turns) if turns else turns

    def _with_releases(self, turns: Iterable[AlertOrNotice]) -> list[AlertOrNotice]:
        """Alerts say within an hour of which announcement they are."""
        releases = self._releases()
        return [
            beside_release(turn, releases) if releases and isinstance(turn, Alert) else turn
            for turn in turns
        ]

    def _releases(self) -> tuple[NearRelease, ...]:
        return releases_of(self._context.now(self._now, ()))

    def _feed(self, event: AnyEvent) -> list[AlertOrNotice]:
        kind = _KIND_OF.get(type(event))
        if kind is None:
            return self._hear(event)
        # all but those that ``_hear`` takes; a cast would be a call for each event
        data: MarketEvent = event  # pyright: ignore[reportAssignmentType]
        # as ``_go_on`` does, for the same reason
        self._moment.number += 1
        now, before = data.seen + self._timeline.behind, self._now
        if now <= before:
            now = before
        elif before:
            self._now = now
        else:
            self._begin(now)
        late = self._miss_tick(now) if now > self._late_at else None
        try:
            route = self._routes[data.asset, data.venue, data.symbol]
        except KeyError:
            route = self._watchlist.meet(data, now)
            if route is not None:
                route.market.clock.assumed = -self._timeline.behind
        turns = self._take(route, data, kind, now) if route is not None else []
        if late:
            turns = late + turns
        return self._timeline.by_machine_clock(turns, own=False) if turns else turns

    def _go_on(self, seen: Ms) -> Ms:
        """An event came; the engine's time."""
        self._moment.number += 1
        if seen > self._now:
            if not self._now:
                self._begin(seen)
            self._now = seen
        return self._now

    def _begin(self, now: Ms) -> None:
        """The first event came."""
        self._watchlist.begin(now)
        self._now = now

    def _hear(self, event: AnyEvent) -> list[AlertOrNotice]:
        """What is no data of a market: time, the state of feeds and of the system, prices of what
        is no coin, and what sources say."""
        if isinstance(event, ClockStep):
            return self._step(event)
        seen = event.seen + self._timeline.behind
        now = self._go_on(seen)
        if isinstance(event, Tick):
            if now - seen > SET_BACK:
                now = self._set_back(seen)
            turns = self._tick(now)
            return self._timeline.by_machine_clock(turns, own=True) if turns else turns
        turns = self._miss_tick(now) if now > self._late_at else []
        if isinstance(event, FeedState):
            self._watchlist.memory.hear(event, now)
            self._feeds.hear(event)
        elif isinstance(event, MacroPrice):
            self._macro.take(event, now)
        elif isinstance(event, ContextFacts):
            self._context.take(event, now)
            self._watchlist.take_supplies(event, now)
        elif isinstance(event, InterestHistory):
            self._watchlist.take_interest(event, now)
        elif isinstance(event, PriceHistory):
            self._watchlist.take_prices(event, now)
        elif isinstance(event, FundingHistory):
            for metric_instance in self._watchlist.take_history(event, now):
                metric_instance.wait()
                self._awake[metric_instance] = None
        elif isinstance(event, Fault):
            self._faults.take(event if seen == event.seen else replace(event, seen=seen))
        return self._timeline.by_machine_clock(turns, own=False) if turns else turns

    def standing(self, with_facts: bool = True) -> Standing:
        """What is seen now: all metrics, and what is open."""
        metric_instances, now = list(self._watchlist.metric_instances()), self._now
        episodes, timeline = (
            self._open_episodes(metric_instances, self._watchlist.composites()),
            self._timeline,
        )
        return Standing(
            seen=timeline.now(now),
            values=tuple(
                replace(
                    value,
                    since=None if value.since is None else timeline.now(value.since),
                    facts=timeline.facts(value.facts, now),
                )
                for value in values(metric_instances, now, with_facts)
            ),
            episodes=episodes.episodes,
            stale=episodes.stale,
            composites=tuple(
                replace(composite, since=timeline.now(composite.since))
                for composite in composites_since(self._watchlist.composites())
            ),
            macro=tuple(self._macro.now(now)),
            crypto=self._macro.beside(now, self._price_of(CRYPTO)),
            context=tuple(
                replace(answer, seen=timeline.now(answer.seen))
                for answer in self._context.now(now, self._named)
            ),
            drifts=tuple(
                replace(drift, seen=timeline.now(drift.seen)) for drift in self._drifts.standing()
            ),
        )

    def _price_of(self, asset: str) -> float | None:
        view = self._watchlist.memory.views.get(asset)
        return None if view is None else view.price(self._now)

    def open_episodes(self) -> OpenEpisodes:
        """What is open now, and the prices. It costs as much as is open, and a little for each
        asset."""
        episodes = self._open_episodes(self._awake, self._judge.firing)
        return replace(episodes, prices=self._watchlist.prices(self._now))

    def episodes_open(self) -> int:
        """How many episodes are open."""
        episodes = self._open_episodes(self._awake, self._judge.firing)
        return len(episodes.episodes) + len(episodes.stale)

    def _open_episodes(
        self, metric_instances: Iterable[MetricInstance], composites: Iterable[CompositeInstance]
    ) -> OpenEpisodes:
        episodes, timeline = open_episodes(metric_instances, composites, self._now), self._timeline
        releases = self._releases()
        standing, stale = (
            tuple([beside_release(timeline.alert(alert, own=True), releases) for alert in alerts])
            for alerts in (episodes.episodes, episodes.stale)
        )
        return OpenEpisodes(
            seen=timeline.now(episodes.seen), episodes=standing, stale=stale, releases=releases
        )

    def observed(self) -> list[Observed]:
        """What every metric is now, and was since this was last called; it changes no alert."""
        seen = observed(self._watchlist.metric_instances(), self._now)
        context = self._context.now(self._now, self._named)
        return [*seen, *macro_observed(self._macro.now(self._now)), *context_observed(context)]

    def remembered(self) -> dict[str, Ms]:
        """``kind:venue/symbol`` → up to when its past is remembered: what need not be asked."""
        return self._watchlist.remembered(self._now)

    def dump(self) -> bytes:
        """Everything that the answers to further events depend on."""
        metric_instances, composites = (
            list(self._watchlist.metric_instances()),
            list(self._watchlist.composites()),
        )
        dump = state.EngineDump(
            version=state.VERSION,
            now=self._now,
            sweep_at=self._sweep_at,
            memory=self._watchlist.memory.dump(),
            feeds=self._feeds,
            rule_instances=[
                _dump_instance(instance)
                for metric_instance in metric_instances
                for instance in metric_instance.rules
            ],
            metric_instances=[
                state.MetricInstanceDump(b.metric.name, b.place, b.due, b.waiting)
                for b in metric_instances
            ],
            trails=self._watchlist.dump_trails(),
            composites=[
                state.CompositeDump(c.spec.name, c.asset, [*c.spec.all_of], c.state)
                for c in composites
            ],
            awake=[
                (metric_instance.metric.name, metric_instance.place)
                for metric_instance in self._awake
            ],
            firing=[(c.spec.name, c.asset) for c in self._judge.firing],
            faults=self._faults,
            compare_at=self._compare_at,
            timeline=self._timeline,
            unclear=self._unclear,
            turn_at=self._turn_at,
            macro=self._macro,
            drifts=self._drifts,
            context=self._context,
        )
        return state.encode(dump)

    def load(self, dumped: bytes) -> str:
        """Go on where ``dumped`` was made; with changed rules, as far as it still fits.

        An episode goes on if rule name, metric and asset are unchanged; under changed levels it
        takes the level of its next value, without a turn. The answer names what could not be taken
        over, "" if all was. ValueError if nothing can be read; the engine is then as it was.
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
        self._macro = MacroPrices()
        self._context = ContextMemory()
        self._drifts = Drifts()
        self._unclear: list[AnyEvent] = []  # what came after a step ahead that may be none
        self._awake: dict[MetricInstance, None] = {}
        self._moment = EventCount()
        self._watchlist = WatchList(
            self._rules, self._venue_order, self._composites, self._wake, self._moment
        )
        self._judge = Judge(self._watchlist.composites_of)
        self._routes = self._watchlist.routes

    def _wake(self, metric_instance: MetricInstance) -> None:
        self._awake[metric_instance] = None

    def _take(
        self, route: InstrumentRoute, event: MarketEvent, kind: Kind, now: Ms
    ) -> list[AlertOrNotice]:
        market = route.market
        line = market.lines.get(kind)
        if line is not None and line.up:
            line.seen = now
        else:
            market.data(kind, now)
        if event.at != event.seen and kind in _TIMED:
            market.clock.hear(event.at, now)
        turns: list[AlertOrNotice] = []
        # books and liquidations are remembered by metrics alone
        if kind is not _DEPTH:
            doubted = None
            if kind is _PRICE:
                doubted = market.prices.doubted
                if market.prices.last is None:
                    self._compare_at = now  # with the others of its name, at the next Tick
            if not market.take(event, now):
                return turns
            if doubted is not None:
                self._compare(event.asset, now)
        urgent = kind is _LIQUIDATION
        for take, metric_instances in route.takers[kind]:
            if take(market, event, now):
                for metric_instance in metric_instances:
                    if urgent or now >= metric_instance.due:
                        if caused := self._look(metric_instance, event.at):
                            turns += caused
                    elif now >= metric_instance.next:  # too early: the next Tick looks
                        metric_instance.wait()
                        self._awake[metric_instance] = None
        return turns

    def _compare(self, asset: str, now: Ms) -> None:
        """A price has jumped, perhaps to that of a contract of the same name that is left out."""
        view = self._watchlist.memory.views[asset]
        if len(view.everyone) > len(view.ordered):
            self._look_whether_alike([view], now)

    def _look_whether_alike(self, views: Iterable[View], now: Ms) -> None:
        for change in likeness.look(views, now):
            if isinstance(change, likeness.Renamed):
                self._watchlist.begin_anew(change)
            else:
                self._faults.take(change)

    def _miss_tick(self, now: Ms) -> list[AlertOrNotice]:
        notices = self._feeds.miss_tick(now)
        if notices or self._feeds.unticked is None:
            self._late_at = _NEVER
        return [*notices]

    def _tick(self, now: Ms) -> list[AlertOrNotice]:
        self._late_at = now + NO_TICK
        if now >= self._turn_at:
            self._turn_at = now + TURN_EVERY
            self._compare_clocks()
        turns: list[AlertOrNotice] = [
            *self._feeds.tick(
                now,
                self._watchlist.memory.venues,
                self._named,
                self._faults.unlisted,
                self.episodes_open,
            )
        ]
        if now >= self._compare_at:
            self._compare_at = now + likeness.LOOK_EVERY
            self._watchlist.memory.leave_out_gone(self._faults.unlisted, now)
            self._look_whether_alike(self._watchlist.memory.views.values(), now)
        for drift in self._drifts.look(self._watchlist.memory.views.values(), now):
            self._faults.take(drift)
        if now // HOUR > self._macro.hour:
            self._macro.learn(now, self._price_of(CRYPTO))
        turns += self._faults.tick(now)
        for metric_instance in [
            metric_instance for metric_instance in self._awake if now >= metric_instance.due
        ]:
            turns += self._look(metric_instance, now)
        turns += self._judge.tick(now)
        self._sweep()
        return turns

    def _look(self, metric_instance: MetricInstance, at: Ms) -> list[AlertOrNotice]:
        now, reading = self._now, metric_instance.reading(self._now)
        turns: list[AlertOrNotice] = []
        awake = was_open = is_open = False
        if reading is not None:
            x = reading.value
            if x < metric_instance.low:
                metric_instance.low = x
            if x > metric_instance.high:
                metric_instance.high = x
        for instance in metric_instance.rules:
            episode = instance.episode
            if episode.level:
                was_open = True
            if reading is not None and not instance.rest(now, reading):
                turns += self._judge.move(instance, reading, now, at)
            if episode.level:
                awake = is_open = True
            elif episode.since:
                awake = True
        if was_open or is_open:
            metric_instance.hold(is_open, now)
        if metric_instance.learner is not None:
            metric_instance.learner.learn(metric_instance.view, now)
        metric_instance.looked(
            now + (metric_instance.every if awake else metric_instance.every_idle)
        )
        if awake or metric_instance.idle:
            self._awake[metric_instance] = None
        elif metric_instance in self._awake:
            del self._awake[metric_instance]
        return turns

    def _step(self, step: ClockStep) -> list[AlertOrNotice]:
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

    def _weigh(self, event: AnyEvent) -> list[AlertOrNotice]:
        """Take an event after a step ahead that may have been the sleep of the machine.

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
        elif not isinstance(event, FeedState | Fault | History | ContextFacts | Tick):
            timeline.data_since = timeline.data_since or seen
            if event.at != event.seen and KINDS[type(event)] in _TIMED:
                route = self._routes.get((event.asset, event.venue, event.symbol))
                known = route.market.clock.known if route is not None else None
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
        for clock in self._watchlist.memory.clocks():
            clock.assumed = -self._timeline.behind

    def _compare_clocks(self) -> None:
        for clock in self._watchlist.memory.clocks():
            clock.turn()
        self._timeline.measure(self._watchlist.memory.clocks())

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
        for clock in self._watchlist.memory.clocks():
            clock.lose(-self._timeline.behind)
        self._watchlist.memory.set_back(now)
        self._feeds.set_back(now)
        self._faults.set_back(now)
        self._macro.set_back(now)
        self._context.set_back(now)
        self._drifts.set_back(now)
        for metric_instance in self._watchlist.metric_instances():
            metric_instance.set_back(now)
        for composite in self._watchlist.composites():
            composite.state.set_back(now)
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
        self._moment.number += 1
        self._macro.forget(self._now)
        self._context.forget(self._now)
        metric_instances, composites = self._watchlist.forget(self._now)
        self._feeds.forget(self._watchlist.memory.venues)
        for metric_instance in metric_instances:
            self._awake.pop(metric_instance, None)
        for composite in composites:
            self._judge.firing.pop(composite, None)

    def _load(self, old: state.EngineDump, lost: list[str]) -> None:
        self._now, self._sweep_at, self._feeds = old.now, old.sweep_at, old.feeds
        self._faults, self._macro, self._drifts = old.faults, old.macro, old.drifts
        self._context = old.context
        self._compare_at, self._turn_at = old.compare_at, old.turn_at
        self._timeline, self._unclear = old.timeline, old.unclear
        if old.feeds.ticked is not None and not old.feeds.silent:
            self._late_at = old.feeds.ticked + NO_TICK
        self._watchlist.load(old, lost)
        self._load_instances(old)
        self._load_composites(old)

    def _load_instances(self, old: state.EngineDump) -> None:
        metric_instances = {
            (metric_instance.metric.name, metric_instance.place): metric_instance
            for metric_instance in self._watchlist.metric_instances()
        }
        instances = {
            (w.rule.name, w.place): w
            for metric_instance in metric_instances.values()
            for w in metric_instance.rules
        }
        for saved in old.rule_instances:
            instance = instances.get((saved.rule, saved.place))
            if instance and instance.rule.metric == saved.metric:
                instance.episode = saved.episode
                instance.unsettled = saved.unsettled or saved.levels != instance.row.levels
                began = instance.trail.began or old.now
                instance.since = min(began, old.now) if saved.since is None else saved.since
        for saved in old.metric_instances:
            if metric_instance := metric_instances.get((saved.metric, saved.place)):
                metric_instance.looked(saved.due)
                if saved.waiting:
                    metric_instance.wait()
        for metric_instance in metric_instances.values():
            if not metric_instance.open:  # a rule that is gone holds nothing
                metric_instance.hold(False, old.now)
        woken = self._awake
        self._awake = {metric_instances[key]: None for key in old.awake if key in metric_instances}
        self._awake.update(woken)

    def _load_composites(self, old: state.EngineDump) -> None:
        composites = {(c.spec.name, c.asset): c for c in self._watchlist.composites()}
        before = {(saved.name, saved.asset): saved for saved in old.composites}
        for key, composite in composites.items():
            if saved := before.get(key):
                composite.take_over(saved.state, tuple(saved.all_of) == composite.spec.all_of)
            else:
                composite.adopt()
        firing = (composites[key] for key in old.firing if key in composites)
        self._judge.firing.update((c, None) for c in firing if c.state.firing)


def _dump_instance(instance: RuleInstance) -> state.RuleInstanceDump:
    rule, levels = instance.rule, dict(instance.row.levels)
    return state.RuleInstanceDump(
        rule.name,
        rule.metric,
        instance.place,
        levels,
        instance.unsettled,
        instance.episode,
        instance.since,
    )
