"""Who watches what: assets, their instruments, and the rules and composites over them.

Assets and instruments are met when they first speak, and forgotten when they have been silent for
a day. With a rule for the whole market every asset is remembered, watched by a rule or not.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from rules import state
from rules.alerts import ALL
from rules.composite import Composite
from rules.memory import Memory
from rules.metric import Metric, Warming, Warms
from rules.metrics import metric
from rules.records import Trail
from rules.rule import Rule
from rules.view import Market, View, whole
from rules.watch import Asset, Beat, Cluster, Desk, TrailKey, Watch, beats_of, takers_of
from streams.events import MarketEvent, Ms


class Floor:
    """All of it. ``desks``: where the events of (asset, venue, symbol) go, None: nobody wants them.

    ``rouse`` is told of beats that shall be asked although nothing comes.

    ValueError if a rule's metric is unknown or cannot be asked of its scope.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        venue_order: Sequence[str],
        composites: Sequence[Composite],
        rouse: Callable[[Beat], None],
    ) -> None:
        self._rules = tuple((rule, _metric_of(rule)) for rule in rules)
        self._composites = tuple(composites)
        self._rouse = rouse
        metrics = [m for _, m in self._rules]
        self.memory = Memory(
            venue_order,
            price_keep=max((m.window or 0 for m in metrics), default=0),
            keeps={keep.name: keep for m in metrics for keep in m.keeps()},
        )
        self._of_market = [m for rule, m in self._rules if rule.scope == "market"]
        self._assets: dict[str, Asset | None] = {}
        self.desks: dict[tuple[str, str, str], Desk | None] = {}
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

    def meet(self, event: MarketEvent, now: Ms) -> Desk | None:
        """The desk of an instrument that speaks for the first time."""
        name = event.asset
        if name not in self._assets:
            view = self.memory.view(name) if self._wanted(name) else None
            self._assets[name] = self._build(view, now) if view else None
        asset = self._assets[name]
        desk: Desk | None = None
        if asset is not None and name != ALL:
            market = self.memory.meet(asset.view, event.venue, event.symbol)
            desk = self._build_desk(asset, market, now)
        self.desks[name, event.venue, event.symbol] = desk
        return desk

    def clusters_of(self, asset: str) -> tuple[Cluster, ...]:
        """The composites over an asset."""
        found = self._assets.get(asset)
        return found.clusters if found else ()

    def beats(self) -> Iterator[Beat]:
        """All of them, in an order that does not depend on which instrument spoke first."""
        for name, asset in self._assets.items():
            if asset is not None:
                yield from asset.beats
                for market in asset.view.everyone:
                    desk = self.desks[name, market.venue, market.symbol]
                    yield from desk.beats if desk is not None else ()

    def clusters(self) -> Iterator[Cluster]:
        """All composites on all assets."""
        for asset in self._assets.values():
            if asset is not None:
                yield from asset.clusters

    def warming(self, now: Ms) -> list[Warming]:
        """What cannot be judged before days of observation."""
        of_assets = (beat for asset in self._assets.values() if asset for beat in asset.beats)
        found = (b.metric.warming(b.view, now) for b in of_assets if isinstance(b.metric, Warms))
        return [warming for warming in found if warming is not None]

    def forget(self, now: Ms) -> tuple[list[Beat], list[Cluster]]:
        """Lets go what has been silent for a day; the beats and composites that are gone."""
        beats: list[Beat] = []
        clusters: list[Cluster] = []
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
        self._trails.update(((one.metric, one.fires, one.place), one.trail) for one in old.trails)
        self.open(old.now)
        names = [view.asset for view in old.memory.views if self._wanted(view.asset)]
        self.memory.load(old.memory, names, lost)
        for name in names:
            asset = self._assets[name] = self._build(self.memory.view(name), old.now)
            for market in asset.view.everyone:
                desk = self._build_desk(asset, market, old.now)
                self.desks[name, market.venue, market.symbol] = desk
        used = {watch.trail_key for beat in self.beats() for watch in beat.watches}
        self._trails = {key: trail for key, trail in self._trails.items() if key in used}

    def _wanted(self, asset: str) -> bool:
        rules = (rule for rule, _ in self._rules if rule.scope != "market")
        return bool(self._of_market) or any(rule.row_of(asset) for rule in rules)

    def _build(self, view: View, now: Ms) -> Asset:
        beats = beats_of(self._watches(view, "", now))
        watches = [watch for beat in beats for watch in beat.watches]
        clusters = [Cluster(one, view.asset, watches, now) for one in self._composites]
        self._rouse_idle(beats)
        return Asset(view, beats, clusters, self._of_market)

    def _build_desk(self, asset: Asset, market: Market, now: Ms) -> Desk:
        instrument = f"{market.venue}/{market.symbol}"
        beats = beats_of(self._watches(asset.view.only(market), instrument, now))
        self._rouse_idle(beats)
        takers = takers_of([*asset.beats, *beats], self._of_market) if beats else asset.takers
        return Desk(market, beats, takers)

    def _watches(self, view: View, instrument: str, now: Ms) -> Iterator[Watch]:
        scope = "instrument" if instrument else "market" if view.asset == ALL else "asset"
        for rule, rule_metric in self._rules:
            row = rule.row_of(view.asset) if rule.scope == scope else None
            if row is not None:
                # rules with one metric on one side share what was observed of it
                key = rule.metric, rule.fires, (view.asset, instrument)
                trail = self._trails.setdefault(key, Trail())
                watch = Watch(rule, row, rule_metric, view, instrument, trail)
                watch.since = now
                yield watch

    def _rouse_idle(self, beats: Iterable[Beat]) -> None:
        for beat in beats:
            if beat.idle:
                self._rouse(beat)


def _metric_of(rule: Rule) -> Metric:
    found = metric(rule.metric)
    if rule.scope not in found.scopes:
        scopes = " or ".join(sorted(found.scopes))
        raise ValueError(f"rule {rule.name!r}: the scope of {rule.metric} is {scopes}")
    return found
