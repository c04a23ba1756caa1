"""The watch list: which rules and composites look at which asset, and the metrics that they share.

Assets and instruments are added with their first event, and removed after a day of silence. With a
rule for the whole market every asset is remembered, even if no other rule watches it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from math import inf

from rules import state
from rules.alerts import ALL, Cause, Level, Opinion
from rules.composite import Composite, CompositeState, ConditionMatch
from rules.episode import Episode, judged, ready
from rules.highs import PRICE_HIGH
from rules.interest import MAX_AGE
from rules.likeness import Renamed
from rules.market import CLOCKS_APART, EventCount, Market, Memory, View
from rules.market_cap import MARKET_CAP
from rules.metric import (
    Combines,
    FillsWindow,
    Holds,
    Learns,
    Metric,
    OfSpot,
    Reading,
    Sampled,
    TellsPast,
)
from rules.metrics import cause_asked_by, metric
from rules.metrics.cause import cause_of
from rules.metrics.correlation import CORRELATIONS
from rules.metrics.market_wide import PriceDownShare
from rules.metrics.sector import SectorMetric
from rules.metrics.support import SupportMetric
from rules.metrics.usual import UsualMetric, base_of
from rules.past_interest import PastInterests
from rules.past_prices import PastPrices
from rules.records import Trail
from rules.returns import DAYS, RETURNS
from rules.rule import Fires, Row, Rule, agreed_level, agreement, counted
from rules.sectors import LEVELS
from rules.settlements import SETTLEMENTS
from rules.state import Place
from rules.supports import TEN_MINUTES
from streams.durations import DAY, MINUTE
from streams.events import (
    ANOTHER_UNIT,
    ContextFacts,
    Event,
    FundingHistory,
    InterestHistory,
    Kind,
    MarketEvent,
    Ms,
    PriceHistory,
    exchange_of,
)

TrailKey = tuple[str, Fires, Place]
"""Metric, side and place."""


class RuleInstance:
    """One rule on one asset, or on one of its instruments."""

    __slots__ = (
        "causes", "episode", "instrument", "metric", "mild", "others", "past", "row", "rule",
        "sign", "since", "trail", "unsettled", "view",
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
        """The metrics that the rule asks besides its own, in the order of ``Rule.when``."""
        self.causes = causes
        """The metric that knows the cause of its value; None: the rule does not ask for one."""
        self.past = metric if isinstance(metric, TellsPast) else None
        """Its metric, if that knows values of before."""
        self.view = view
        self.instrument = instrument
        """``venue/symbol``; "": the rule watches the asset as a whole."""
        self.episode = Episode()
        self.trail = trail
        self.unsettled = False
        """The levels have changed since the episode was last judged."""
        self.since: Ms = 0
        """When it began to watch, in the engine's time."""
        self.sign = -1 if rule.fires == "below" else 1
        """Times a value: larger is worse."""
        self.mild = min((self.sign * x for x in row.levels.values()), default=inf)
        """The first threshold, times ``sign``."""

    @property
    def place(self) -> Place:
        """Its asset and instrument."""
        return self.view.asset, self.instrument

    def last_live(self, now: Ms) -> Ms | None:
        """When its value could last be judged, up to ``now``."""
        return self.episode.last_live

    @property
    def trail_key(self) -> TrailKey:
        """The key of its trail."""
        return self.rule.metric, self.rule.fires, self.place

    def judged(self, reading: Reading, level: Level = Level.WATCH) -> bool:
        """Whether ``reading`` decides about ``level`` and those above it."""
        return judged(self.rule, self.row, reading, level)

    def opinions(self, now: Ms) -> tuple[Opinion, ...]:
        """The values of the other metrics now."""
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
        """The cause of its value; None: unknown, or the rule does not ask for one."""
        return None if self.causes is None else cause_of(self.causes.value(self.view, now))

    @property
    def alone(self) -> bool:
        """Whether its level depends on its own value alone."""
        return not self.rule.when and not self.rule.cause

    def level_limit(self, now: Ms) -> Callable[[int], int] | None:
        """Maps the level that its value reached to the one that is posted; None: it is the same."""
        return None if self.alone else partial(self._posted_level, now)

    def reached(self, now: Ms) -> int:
        """The highest level that has lasted long enough, as it is posted; 0 if none has."""
        alone = ready(self.rule, self.episode, now)
        return alone if self.alone else self._posted_level(now, alone)

    def _posted_level(self, now: Ms, alone: int) -> int:
        reached, rule = alone, self.rule
        if rule.cause and reached:
            reached = counted(reached, rule.cause, self.cause(now))
        if reached != Level.ALERT or not rule.when:
            return reached  # other metrics can lower an alert only
        asked = zip(rule.when, self.others, strict=True)
        return agreed_level(
            reached, agreement(when.agrees(other.value(self.view, now)) for when, other in asked)
        )

    def rest(self, now: Ms, reading: Reading) -> bool:
        """Note a value on the quiet side while nothing is pending; False in all other cases.

        It does what ``step`` would, for the case that is by far the most frequent.
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
            self.note(now, reading, awake=False)
        return True

    def note(self, now: Ms, reading: Reading, awake: bool) -> None:
        """Observes a value, and what is known by now of the time before it."""
        trail, past = self.trail, self.past
        trail.note(now, self.sign * reading.value, reading, awake)
        if (
            trail.unfilled
            and past is not None
            and not reading.missing
            and reading.venues == trail.venues
            and past.tells_past(reading)
        ):
            before = past.past(self.view)
            trail.fill(((at, self.sign * r.value, r) for at, r in before), self._breached)

    def _breached(self, x: float, before: bool) -> bool:
        """Whether it would be awake at ``x``, if it was ``before``."""
        return x > self.mild or (before and x > self.sign * self.row.clear)


class MetricInstance:
    """One metric on one asset or instrument, evaluated once for all rules that use it."""

    __slots__ = (
        "due", "every", "every_idle", "high", "holder", "idle", "instrument", "learner", "low",
        "metric", "next", "rules", "view",
    )  # fmt: skip

    def __init__(self, metric: Metric, view: View, instrument: str) -> None:
        self.metric = metric
        self.view = view
        self.instrument = instrument
        self.rules: list[RuleInstance] = []
        """Those whose own metric it is."""
        self.holder = metric if isinstance(metric, Holds) else None
        self.learner = metric if isinstance(metric, Learns) else None
        self.due: Ms = 0
        """It is not evaluated before then, unless by a liquidation."""
        self.next: Ms = 0
        """Events before then are ignored: 0 after an evaluation, ``due`` once one is awaited."""
        self.idle = metric.idle_look is not None
        """Whether it is evaluated although there is no data."""
        self.every = metric.look_every
        """Time between evaluations while an episode is pending or open."""
        self.every_idle = metric.look_every if metric.idle_look is None else metric.idle_look
        """The same in quiet times."""
        self.fresh()

    def fresh(self) -> None:
        """Forget the lowest and the highest value seen."""
        self.low, self.high = inf, -inf

    @property
    def waiting(self) -> bool:
        """Whether there was data since the last evaluation."""
        return self.next > 0

    @property
    def open(self) -> bool:
        """Whether an episode on it is open."""
        return any(instance.episode.level for instance in self.rules)

    @property
    def since(self) -> Ms | None:
        """Since when all its rules watch it; None: no rule does."""
        return max((instance.since for instance in self.rules), default=None)

    def reading(self, now: Ms) -> Reading | None:
        """The value now; None if it decides nothing for any of its rules."""
        reading = self.metric.value(self.view, now)
        if reading is None or not reading.breach_only:
            return reading
        return reading if any(instance.judged(reading) for instance in self.rules) else None

    def hold(self, on: bool, now: Ms) -> None:
        """Stop learning what is usual while an episode is open (``on``), or go on with it."""
        if self.holder is not None:
            self.holder.hold(self.view, bool(self.instrument), on, now)

    def wait(self) -> None:
        """There was data: evaluate it when it is due."""
        self.next = self.due

    def looked(self, due: Ms) -> None:
        """It was evaluated, and the next evaluation is ``due``."""
        self.due = due
        self.next = 0

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: it is due at once."""
        self.due = min(self.due, now)
        self.next = min(self.next, now)
        for instance in self.rules:
            instance.episode.set_back(now)
            instance.trail.set_back(now)
            instance.since = min(instance.since, now)

    @property
    def place(self) -> Place:
        """Its asset and instrument."""
        return self.view.asset, self.instrument


class CompositeInstance:
    """One composite on one asset."""

    __slots__ = ("asset", "cause_rule", "folded", "parts", "spec", "state", "watched")

    def __init__(
        self, spec: Composite, asset: str, instances: Iterable[RuleInstance], now: Ms
    ) -> None:
        self.spec = spec
        self.asset = asset
        of_asset = [instance for instance in instances if not instance.instrument]
        self.parts = {
            instance.rule.name: (instance, conditions)
            for instance in of_asset
            if (conditions := _conditions(spec, instance))
        }
        """Rule → its instance, and the conditions that it may fulfil: their place in ``all_of`` →
        their level."""
        self.folded = {
            instance.rule.name: instance
            for instance in of_asset
            if instance.rule.family in spec.hides
            and instance.rule.name not in self.parts
            and instance.rule.post
        }
        """Rule → its instance, of rules that are hidden and fulfil no condition."""
        telling = [w for w in of_asset if w.causes and self.conditions(w) is not None]
        self.cause_rule = max(telling, key=partial(_fit, spec.within), default=None)
        """The rule that knows the cause, over the longest window that is within ``within``."""
        self.state = CompositeState(record_from=now)
        self.watched = sum({1 << n for _, conditions in self.parts.values() for n in conditions})
        """The conditions that a rule watches on this asset, as bits."""

    @property
    def possible(self) -> bool:
        """Whether enough of its conditions are watched on this asset for it ever to fire."""
        return self.watched.bit_count() >= self.spec.enough

    def known(self, now: Ms) -> int:
        """The conditions that can be judged now, as bits."""
        bits = 0
        for instance, conditions in self.parts.values():
            reading = instance.metric.value(instance.view, now)
            for condition, level in conditions.items():
                if reading is not None and instance.judged(reading, level):
                    bits |= 1 << condition
        return bits

    def conditions(self, instance: RuleInstance) -> Mapping[int, Level] | None:
        """The conditions that ``instance`` may fulfil; None: it is no part of this composite."""
        name = instance.rule.name
        if (part := self.parts.get(name)) is not None and part[0] is instance:
            return part[1]
        return {} if self.folded.get(name) is instance else None

    def hides(self, instance: RuleInstance) -> bool:
        """Whether it hides, while it fires, what ``instance`` would post."""
        return self.spec.post and instance.rule.post and instance.rule.family in self.spec.hides

    def hidden_level(self) -> int:
        """The highest level of an open episode that it would hide, 0: there is none."""
        instances = [*(instance for instance, _ in self.parts.values()), *self.folded.values()]
        return max(
            (instance.episode.level for instance in instances if self.hides(instance)), default=0
        )

    def dark(self, now: Ms) -> dict[str, Ms]:
        """The rules with an open episode that have no data, with the time of their last value."""
        return {
            rule: last
            for rule, (instance, _) in self.parts.items()
            if instance.episode.level
            and (last := instance.last_live(now)) is not None
            and now - last > instance.rule.max_gap
        }

    def report(self) -> None:
        """Remember how bad each rule is that the present turn shows."""
        shown = [self.parts[rule][0] for rule, _ in self.state.chain.values() if rule in self.parts]
        shown += [instance for instance in self.folded.values() if instance.episode.level]
        for instance in shown:
            self.state.report(instance.rule.name, instance.episode)

    def release_parts(self) -> None:
        """The composite is over: a critical part whose opening it hid, and that goes on, is posted
        by its own rule as soon as it is much worse than it was while the composite was open."""
        for instance in (*(instance for instance, _ in self.parts.values()), *self.folded.values()):
            episode = instance.episode
            if self.hides(instance) and episode.level == Level.CRITICAL and not episode.posted_open:
                episode.released, episode.posted_value = True, episode.extreme

    def take_over(self, saved: CompositeState, same: bool) -> None:
        """Go on with a loaded state; if the conditions are not the ``same``, keep its cool-down
        only."""
        if same:
            saved.matches = {rule: m for rule, m in saved.matches.items() if rule in self.parts}
            self.state = saved
            if saved.firing and not saved.worst:
                self.report()  # an earlier version did not keep it
        else:
            self.state.fired_at = saved.fired_at
            self.adopt()

    def adopt(self) -> None:
        """Count the episodes that are open already, without firing for them."""
        for rule, (instance, conditions) in self.parts.items():
            episode = instance.episode
            reached = [c for c, level in conditions.items() if episode.level >= level]
            for condition in reached:
                level = conditions[condition]
                match = ConditionMatch(episode.opened_at, level, episode.extreme, episode.opened_at)
                self.state.matches.setdefault(rule, {})[condition] = match


def _fit(within: Ms, instance: RuleInstance) -> tuple[bool, Ms]:
    """How well the window of the cause that a rule knows fits ``within``: larger is better."""
    window = (instance.causes.window if instance.causes else None) or 0
    return (True, window) if window <= within else (False, -window)


Take = Callable[[Market, MarketEvent, Ms], bool]
Takers = Mapping[Kind, tuple[tuple[Take, tuple[MetricInstance, ...]], ...]]
"""Kind of event → the metrics that read it, each with the metric instances to evaluate then."""


def takers_of(metric_instances: Iterable[MetricInstance], metrics: Iterable[Metric] = ()) -> Takers:
    """Those of ``metric_instances``, and of ``metrics``, which remember events for others."""
    takers: dict[str, tuple[Metric, list[MetricInstance]]] = {m.name: (m, []) for m in metrics}
    for metric_instance in metric_instances:
        takers.setdefault(metric_instance.metric.name, (metric_instance.metric, []))[1].append(
            metric_instance
        )
    return {
        kind: tuple(
            (m.take, tuple(metric_instances))
            for m, metric_instances in takers.values()
            if kind in m.kinds and not isinstance(base_of(m), Sampled)
        )
        for kind in Kind
    }


class Asset:
    """An asset with all that watches it. ``takers``: those that its contracts share;
    ``spot_takers``: those that its spot markets share."""

    __slots__ = ("composites", "metric_instances", "spot_takers", "takers", "view")

    def __init__(
        self,
        view: View,
        metric_instances: Sequence[MetricInstance],
        composites: Iterable[CompositeInstance],
        metrics: Sequence[Metric],
    ) -> None:
        self.view = view
        self.metric_instances = tuple(metric_instances)
        self.composites = tuple(composite for composite in composites if composite.possible)
        self.takers = takers_of(metric_instances, metrics)
        self.spot_takers = takers_of([m for m in metric_instances if isinstance(m.metric, OfSpot)])


class InstrumentRoute:
    """Where the events of one instrument go. ``metric_instances``: of the instrument alone."""

    __slots__ = ("market", "metric_instances", "takers")

    def __init__(
        self, market: Market, metric_instances: Sequence[MetricInstance], takers: Takers
    ) -> None:
        self.market = market
        self.metric_instances = tuple(metric_instances)
        self.takers = takers


def metric_instances_of(instances: Sequence[RuleInstance]) -> list[MetricInstance]:
    """The metric instances of these rule instances, all on one asset or one instrument.

    Those that are asked for a second opinion, or that another one is made of, come last and have no
    rules.
    """
    metric_instances: dict[str, MetricInstance] = {}
    for instance in instances:
        name = instance.metric.name
        if name not in metric_instances:
            metric_instances[name] = MetricInstance(
                instance.metric, instance.view, instance.instrument
            )
        metric_instances[name].rules.append(instance)
    for instance in instances:
        logged = [instance.causes] if instance.causes is not None and instance.rule.cause else []
        for other in with_parts((instance.metric, *instance.others, *logged)):
            if other.name not in metric_instances:
                metric_instances[other.name] = MetricInstance(
                    other, instance.view, instance.instrument
                )
    return list(metric_instances.values())


def with_parts(metrics: Iterable[Metric]) -> list[Metric]:
    """These metrics, each followed by those that it is made of."""
    whole: list[Metric] = []
    for of in metrics:
        whole += (of, *(of.parts() if isinstance(of, Combines) else ()))
    return whole


def _conditions(spec: Composite, instance: RuleInstance) -> dict[int, Level]:
    return {n: lv for n, (family, lv) in enumerate(spec.all_of) if family == instance.rule.family}


class WatchList:
    """All that is watched.

    ``wake`` is called with each metric instance that is evaluated although there is no data.
    ``moment``: that of the views.

    ValueError if a rule's metric is unknown or does not have its scope.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        venue_order: Sequence[str],
        composites: Sequence[Composite],
        wake: Callable[[MetricInstance], None],
        moment: EventCount | None = None,
    ) -> None:
        self._moment = moment
        self._rules = tuple((rule, _metric_of(rule), _others_of(rule)) for rule in rules)
        self._causes = {rule.name: of for rule in rules if (of := cause_asked_by(rule)) is not None}
        self._composites = tuple(composites)
        self._wake = wake
        metrics = [m for _, own, others in self._rules for m in with_parts((own, *others))]
        metrics += self._causes.values()
        self.memory = Memory(
            venue_order,
            price_keep=max((_price_keep(m) for m in metrics), default=0),
            keeps={keep.name: keep for m in metrics for keep in m.keeps()},
            moment=moment,
        )
        self._of_market = [
            m
            for rule, own, others in self._rules
            if rule.scope == "market"
            for m in with_parts((own, *others))
        ]
        # those that remember events for others: metrics of the market, and of causes
        self._takers = [*self._of_market, *(of.interest for of in self._causes.values())]
        self._fills = [
            m for m in {m.name: m for m in metrics}.values() if isinstance(m, FillsWindow)
        ]
        self._alone = len({exchange_of(venue) for venue in venue_order}) == 1
        self._in_baskets = frozenset(
            coin for m in map(base_of, metrics) if isinstance(m, SectorMetric) for coin in m.coins
        )
        self._past_prices: dict[str, PastPrices] = {}
        """By asset; not dumped: what waits at a stop is not believed."""
        self._past_interests: dict[str, PastInterests] = {}
        """The same of open interest."""
        self._assets: dict[str, Asset | None] = {}
        self.routes: dict[tuple[str, str, str], InstrumentRoute | None] = {}
        """(asset, venue, symbol) → where its events go; None: nothing reads them."""
        self._trails: dict[TrailKey, Trail] = {}

    def open(self, now: Ms) -> None:
        """Begin to watch the market as a whole, if a rule asks for it."""
        if self._of_market:
            self._assets[ALL] = self._build(self.memory.market, now)

    def begin(self, now: Ms) -> None:
        """The first event came at ``now``: since then the market as a whole is watched."""
        if (asset := self._assets.get(ALL)) is not None:
            for instance in (
                instance
                for metric_instance in asset.metric_instances
                for instance in metric_instance.rules
            ):
                instance.since = now
            for composite in asset.composites:
                composite.state.record_from = now

    def meet(self, event: Event, now: Ms) -> InstrumentRoute | None:
        """The route of an instrument whose first event is ``event``."""
        name = event.asset
        if name not in self._assets:
            view = self.memory.view(name) if self._wanted(name) else None
            self._assets[name] = self._build(view, now) if view else None
        asset = self._assets[name]
        route: InstrumentRoute | None = None
        if asset is not None and name != ALL:
            market = self.memory.meet(asset.view, event.venue, event.symbol, spot=event.spot)
            route = self._build_route(asset, market, now)
        self.routes[name, event.venue, event.symbol] = route
        return route

    def _route(self, event: Event, now: Ms) -> InstrumentRoute | None:
        """Where what is told of an instrument goes, be it the first that is heard of it."""
        key = event.asset, event.venue, event.symbol
        return self.routes[key] if key in self.routes else self.meet(event, now)

    def take_history(self, event: FundingHistory, now: Ms) -> list[MetricInstance]:
        """Remembers settlements that a venue tells later; the instances that want to know."""
        route = self._route(event, now)
        asset = self._assets.get(event.asset)
        if route is None or asset is None or not self.memory.keeps(SETTLEMENTS):
            return []
        market = route.market
        latest = market.clock.time(now) + CLOCKS_APART
        if not market.keep(SETTLEMENTS).take(event.rows, latest, now):
            return []
        instances = [
            metric_instance
            for metric_instance in dict.fromkeys((*asset.metric_instances, *route.metric_instances))
            if isinstance(metric_instance.metric, TellsPast)
        ]
        for instance in (i for metric_instance in instances for i in metric_instance.rules):
            instance.trail.unfilled = instance.trail.before is not None
        return instances

    def take_interest(self, event: InterestHistory, now: Ms) -> None:
        """Fills windows with open interest and prices that a venue tells later."""
        route = self._route(event, now)
        if route is None:
            return
        market, clock = route.market, route.market.clock
        # by our clock, as all that is remembered; what is younger may be what is open now
        ahead = clock.time(now) - now
        past = [(row.at - ahead, row) for row in event.rows]
        past = [(at, row) for at, row in past if 0 < at <= now - MAX_AGE and 0 < row.held < inf]
        interests = self._past_interests.setdefault(event.asset, PastInterests())
        newest = event.rows[-1].held if event.rows else 0.0
        left = event.live / newest if event.live and 0 < newest < inf else None
        rows = [(at, row.held) for at, row in past]
        for believed, held in interests.tell(market, rows, left, now):
            for fills in self._fills:
                fills.fill(believed, held)
        basis = market.basis.usual
        priced = [(at, row.price / basis) for at, row in past if row.price and 0 < row.price < inf]
        prices = [(round(at / MINUTE) * MINUTE, price) for at, price in priced]
        self._past_prices_of(event.asset).tell(market, prices, now)

    def take_prices(self, event: PriceHistory, now: Ms) -> None:
        """Fills windows, returns and highs with index prices that a venue tells later."""
        route = self._route(event, now)
        asset = self._assets.get(event.asset)
        if route is None or asset is None or not event.prices or event.every < MINUTE:
            return
        market, live = route.market, route.market.prices.latest.price
        first = event.at - event.every * (len(event.prices) - 1)
        ahead = market.clock.time(now) - now
        prices = {
            round((at - ahead) / MINUTE) * MINUTE: price
            for at, price in zip(count(first, event.every), event.prices, strict=False)
            if price is not None and 0 < price < inf and 0 < at - ahead <= now
        }
        newest = prices[max(prices)] if prices else 0.0
        if not live or not 1 / ANOTHER_UNIT < newest / live < ANOTHER_UNIT:
            return  # of another coin, or in another unit
        # what is younger may be the price now
        before = [(at, price) for at, price in sorted(prices.items()) if at <= now - MAX_AGE]
        sure = self._past_prices_of(event.asset).tell(market, before, now, event.shown)
        if not sure or not market.likeness.counts or market.spot:
            return
        if self.memory.keeps(RETURNS):
            asset.view.keep(RETURNS).fill(prices, now)
        # highs and levels are of the asset, from whose price that of one contract differs a little
        own, of_asset = market.prices.now(now), asset.view.price(now)
        times = of_asset / own if own and of_asset else 1.0
        of_all = {at: price * times for at, price in prices.items()}
        if self.memory.keeps(PRICE_HIGH):
            asset.view.keep(PRICE_HIGH).fill(of_all)
        if event.asset in self._in_baskets:
            asset.view.keep(LEVELS).fill(of_all, now)
        if self._knows_supports(asset):
            asset.view.keep(TEN_MINUTES).fill(of_all, now)
        if (of_market := self.memory.market.memo(CORRELATIONS)) is not None:
            of_market.again = True

    def _past_prices_of(self, asset: str) -> PastPrices:
        return self._past_prices.setdefault(asset, PastPrices(alone=self._alone))

    def _prices_until(self, view: View, now: Ms) -> Ms | None:
        """Up to when nothing is missing of the prices of an asset; None: of all its past is."""
        until: list[Ms | None] = [now]
        if self.memory.keeps(RETURNS):
            returns = view.memo(RETURNS)
            until.append(None if returns is None else returns.remembered())
        if self.memory.keeps(PRICE_HIGH):
            high = view.memo(PRICE_HIGH)
            until.append(None if high is None else high.remembered(now - DAYS * DAY))
        if view.asset in self._in_baskets:
            levels = view.memo(LEVELS)
            until.append(None if levels is None else levels.remembered(now))
        if (asset := self._assets.get(view.asset)) is not None and self._knows_supports(asset):
            ten_minutes = view.memo(TEN_MINUTES)
            until.append(None if ten_minutes is None else ten_minutes.remembered())
        known = [at for at in until if at is not None]
        return min(known) if len(known) == len(until) else None

    def _knows_supports(self, asset: Asset) -> bool:
        return any(isinstance(of.metric, SupportMetric) for of in asset.metric_instances)

    def take_supplies(self, event: ContextFacts, now: Ms) -> None:
        """Remembers which coins there are, if a metric asks what they are worth."""
        if self.memory.keeps(MARKET_CAP):
            self.memory.market.keep(MARKET_CAP).take(event, now)

    def remembered(self, now: Ms) -> dict[str, Ms]:
        """``kind:venue/symbol`` → up to when its past is remembered, seen or told later."""
        until: dict[str, Ms] = {}
        priced = {view.asset: self._prices_until(view, now) for view in self.memory.views.values()}
        for asset, market in (
            (view.asset, market) for view in self.memory.views.values() for market in view.everyone
        ):
            name, memo = f"{market.venue}/{market.symbol}", market.memo(SETTLEMENTS)
            if (prices := priced[asset]) is not None:
                until[f"{Kind.PRICE}:{name}"] = prices
            if memo is not None and memo.until:
                settled = 0 if market.settled is None else market.settled.at
                until[f"{Kind.FUNDING}:{name}"] = max(memo.until, settled)
            spans = [span for m in self._fills if (span := m.filled_from(market)) is not None]
            if spans and all(last - first >= DAY for first, last in spans):
                until[f"{Kind.OPEN_INTEREST}:{name}"] = min(last for _, last in spans)
        return until

    def composites_of(self, asset: str) -> tuple[CompositeInstance, ...]:
        """The composites over an asset."""
        watched = self._assets.get(asset)
        return watched.composites if watched else ()

    def metric_instances(self) -> Iterator[MetricInstance]:
        """All of them, in an order that does not depend on which instrument spoke first."""
        for name, asset in self._assets.items():
            if asset is not None:
                yield from asset.metric_instances
                for market in asset.view.all_markets:
                    route = self.routes[name, market.venue, market.symbol]
                    yield from route.metric_instances if route is not None else ()

    def prices(self, now: Ms) -> dict[str, float]:
        """Asset → quote per coin, as far as known."""
        assets = [(name, asset) for name, asset in self._assets.items() if asset is not None]
        known = ((name, asset.view.price(now)) for name, asset in assets)
        return {name: price for name, price in known if price is not None}

    def composites(self) -> Iterator[CompositeInstance]:
        """All composites on all assets."""
        for asset in self._assets.values():
            if asset is not None:
                yield from asset.composites

    def forget(self, now: Ms) -> tuple[list[MetricInstance], list[CompositeInstance]]:
        """Remove what has been silent for a day; the instances that are gone."""
        for past_prices in self._past_prices.values():
            past_prices.forget(now)
        metric_instances: list[MetricInstance] = []
        composites: list[CompositeInstance] = []
        for name, market in self.memory.forget(now):
            route = self.routes.pop((name, market.venue, market.symbol))
            metric_instances += route.metric_instances if route else ()
            if name not in self.memory.views and (asset := self._assets.pop(name, None)):
                metric_instances += asset.metric_instances
                composites += asset.composites
        for metric_instance in metric_instances:
            for instance in metric_instance.rules:
                self._trails.pop(instance.trail_key, None)
        return metric_instances, composites

    def begin_anew(self, renamed: Renamed) -> None:
        """Drops what was observed of another asset."""
        market = renamed.market
        route = self.routes.get((renamed.asset, market.venue, market.symbol))
        asset = self._assets.get(renamed.asset) if renamed.whole else None
        instances = [
            instance
            for owner in (route, asset)
            for metric_instance in (owner.metric_instances if owner else ())
            for instance in metric_instance.rules
        ]
        for instance in instances:
            self._trails.pop(instance.trail_key, None)
        for instance in instances:
            instance.trail = self._trails.setdefault(instance.trail_key, Trail())

    def dump_trails(self) -> list[state.TrailDump]:
        """What was observed over months, in the order of ``metric_instances``."""
        keys = dict.fromkeys(
            instance.trail_key
            for metric_instance in self.metric_instances()
            for instance in metric_instance.rules
        )
        return [state.TrailDump(*key, self._trails[key]) for key in keys]

    def load(self, old: state.EngineDump, lost: list[str]) -> None:
        """Take over what is still watched; all else of the saved state is dropped.

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
            for market in asset.view.all_markets:
                route = self._build_route(asset, market, old.now)
                self.routes[name, market.venue, market.symbol] = route
        used = {
            instance.trail_key
            for metric_instance in self.metric_instances()
            for instance in metric_instance.rules
        }
        self._trails = {key: trail for key, trail in self._trails.items() if key in used}

    def _wanted(self, asset: str) -> bool:
        rules = (rule for rule, _, _ in self._rules if rule.scope != "market")
        return bool(self._of_market) or any(rule.row_of(asset) for rule in rules)

    def _build(self, view: View, now: Ms) -> Asset:
        metric_instances = metric_instances_of(list(self._instances(view, "", now)))
        instances = [
            instance for metric_instance in metric_instances for instance in metric_instance.rules
        ]
        composites = [
            CompositeInstance(spec, view.asset, instances, now) for spec in self._composites
        ]
        self._wake_idle(metric_instances)
        return Asset(view, metric_instances, composites, self._takers)

    def _build_route(self, asset: Asset, market: Market, now: Ms) -> InstrumentRoute:
        if market.spot:
            return InstrumentRoute(market, (), asset.spot_takers)
        instrument = f"{market.venue}/{market.symbol}"
        metric_instances = metric_instances_of(
            list(self._instances(asset.view.only(market), instrument, now))
        )
        self._wake_idle(metric_instances)
        takers = (
            takers_of([*asset.metric_instances, *metric_instances], self._takers)
            if metric_instances
            else asset.takers
        )
        return InstrumentRoute(market, metric_instances, takers)

    def _instances(self, view: View, instrument: str, now: Ms) -> Iterator[RuleInstance]:
        scope = "instrument" if instrument else "market" if view.asset == ALL else "asset"
        for rule, rule_metric, others in self._rules:
            row = rule.row_of(view.asset) if rule.scope == scope else None
            if row is not None:
                # rules with one metric on one side share what was observed of it
                key = rule.metric, rule.fires, (view.asset, instrument)
                trail = self._trails.setdefault(key, Trail())
                instance = RuleInstance(
                    rule, row, rule_metric, view, instrument, trail, others,
                    self._causes.get(rule.name),
                )  # fmt: skip
                instance.since = now
                yield instance

    def _wake_idle(self, metric_instances: Iterable[MetricInstance]) -> None:
        for metric_instance in metric_instances:
            if metric_instance.idle:
                self._wake(metric_instance)


def _price_keep(of: Metric) -> Ms:
    """How far back a metric asks for prices."""
    base = base_of(of)
    return base.price_keep if isinstance(base, Sampled) else base.window or 0


def _metric_of(rule: Rule, name: str = "") -> Metric:
    """The metric of that name, its own if none is given, which must know the scope of the rule."""
    asked = metric(name or rule.metric)
    if rule.scope not in asked.scopes:
        scopes = " or ".join(sorted(asked.scopes))
        raise ValueError(f"rule {rule.name!r}: the scope of {asked.name} is {scopes}")
    match asked:
        case PriceDownShare():
            return asked.over(rule.least_fall_pct)
        case SectorMetric():
            return asked.over(rule.baskets)
        case UsualMetric():
            return asked.of_baskets(rule.baskets)
        case SupportMetric():
            return asked.over(rule.supports)
        case _:
            return asked


def _others_of(rule: Rule) -> tuple[Metric, ...]:
    return tuple(_metric_of(rule, when.metric) for when in rule.when)
