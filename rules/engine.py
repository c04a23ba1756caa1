"""Events in, alerts out. The answer depends on the sequence of events and on nothing else.

The engine's clock is the largest ``seen`` so far. An event makes the rules of its asset that
listen to its kind look again, at most once a second (liquidations: at once); a Tick looks again
only at the rules that are awake: pending, firing, recovering, or put off since the last look.
So an event costs the same however many instruments there are.
"""

from collections.abc import Sequence

import msgspec

from rules.alerts import Alert
from rules.episode import Episode, Step, step
from rules.memory import Memory, MemoryDump
from rules.metric import Metric, Reading
from rules.metrics import metric
from rules.rule import Row, Rule
from rules.view import View
from streams.events import (
    AnyEvent,
    FeedState,
    Kind,
    MarketEvent,
    Ms,
    OpenInterest,
    Price,
    Tick,
    kind_of,
)

LOOK_EVERY: Ms = 1_000
SWEEP_EVERY: Ms = 3_600_000
DUMP_VERSION = 1


class Watch:
    """One rule on one asset. ``looked``: when its value was last asked for."""

    __slots__ = ("episode", "looked", "metric", "row", "rule", "view")

    def __init__(self, rule: Rule, row: Row, metric: Metric, view: View) -> None:
        self.rule = rule
        self.row = row
        self.metric = metric
        self.view = view
        self.episode = Episode()
        self.looked: Ms | None = None


class Asset:
    """A watched asset. ``listeners``: kind → the metrics that take it and who watches each."""

    __slots__ = ("listeners", "view", "watches")

    def __init__(self, view: View, watches: Sequence[Watch]) -> None:
        self.view = view
        self.watches = tuple(watches)
        by_metric: dict[Metric, list[Watch]] = {}
        for watch in watches:
            by_metric.setdefault(watch.metric, []).append(watch)
        self.listeners = {
            kind: tuple((m, tuple(some)) for m, some in by_metric.items() if kind in m.kinds)
            for kind in Kind
        }


class WatchDump(msgspec.Struct, array_like=True):
    """The state of one watch, under what must be unchanged for it to be taken over."""

    rule: str
    metric: str
    asset: str
    looked: Ms | None
    episode: Episode


class EngineDump(msgspec.Struct, array_like=True):
    """Everything the engine knows. ``awake``: (rule, asset) in the order a Tick asks them."""

    version: int
    now: Ms
    sweep_at: Ms | None
    memory: MemoryDump
    watches: list[WatchDump]
    awake: list[tuple[str, str]]


class Engine:
    """All rules over all assets. Pure but for its own memory.

    ``venue_order``: whose price is an asset's price, and the order venues are named in; venues not
    in it come after, by name. ValueError if a rule's metric is unknown or a name is used twice.
    """

    def __init__(self, rules: Sequence[Rule], venue_order: Sequence[str] = ()) -> None:
        names = [rule.name for rule in rules]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two rules are called {twice!r}: rename one")
        self._rules = tuple((rule, metric(rule.metric)) for rule in rules)
        self._venue_order = tuple(venue_order)
        self._memory = self._blank()
        self._assets: dict[str, Asset | None] = {}
        self._awake: dict[Watch, None] = {}
        self._now: Ms = 0
        self._sweep_at: Ms | None = None

    def feed(self, event: AnyEvent) -> list[Alert]:
        """Takes one event and gives the alerts it causes, in order."""
        if event.seen > self._now:
            self._now = event.seen
        if isinstance(event, Tick):
            return self._tick()
        if isinstance(event, FeedState):
            self._memory.hear(event, self._now)
            return []
        asset = self._assets[event.asset] if event.asset in self._assets else self._meet(event)
        return self._take(asset, event) if asset else []

    def dump(self) -> bytes:
        """Everything that the answers to further events depend on."""
        watches = [w for a in self._assets.values() if a for w in a.watches]
        state = EngineDump(
            version=DUMP_VERSION,
            now=self._now,
            sweep_at=self._sweep_at,
            memory=self._memory.dump(),
            watches=[
                WatchDump(w.rule.name, w.rule.metric, w.view.asset, w.looked, w.episode)
                for w in watches
            ],
            awake=[(w.rule.name, w.view.asset) for w in self._awake],
        )
        return msgspec.msgpack.encode(state)

    def load(self, dumped: bytes) -> None:
        """Goes on where ``dumped`` was made; of changed rules, what still fits.

        An episode lives on if rule name, metric and asset are unchanged. ValueError if the bytes
        are not a dump of this version; the engine is then as it was.
        """
        try:
            state = msgspec.msgpack.decode(dumped, type=EngineDump)
        except msgspec.MsgspecError as error:
            raise ValueError("the engine's dump is not readable: start without it") from error
        if state.version != DUMP_VERSION:
            raise ValueError("the engine's dump is of another version: start without it")
        watched = [view.asset for view in state.memory.views if self._rows(view.asset)]
        memory = self._blank()
        memory.load(state.memory, watched)
        self._memory = memory
        self._now, self._sweep_at = state.now, state.sweep_at
        self._assets = {asset: self._watch(asset) for asset in watched}
        watches = {
            (w.rule.name, w.view.asset): w
            for asset in self._assets.values()
            if asset
            for w in asset.watches
        }
        for one in state.watches:
            watch = watches.get((one.rule, one.asset))
            if watch and watch.rule.metric == one.metric:
                watch.looked, watch.episode = one.looked, one.episode
        self._awake = {watches[key]: None for key in state.awake if key in watches}

    def _blank(self) -> Memory:
        metrics = [m for _, m in self._rules]
        return Memory(
            self._venue_order,
            price_keep=max((m.lookback for m in metrics if m.window), default=0),
            keeps={keep.name: keep for m in metrics for keep in m.keeps()},
        )

    def _rows(self, asset: str) -> list[tuple[Rule, Row, Metric]]:
        rows = ((rule, rule.row_of(asset), m) for rule, m in self._rules)
        return [(rule, row, m) for rule, row, m in rows if row is not None]

    def _watch(self, asset: str) -> Asset:
        view = self._memory.view(asset)
        return Asset(view, [Watch(rule, row, m, view) for rule, row, m in self._rows(asset)])

    def _meet(self, event: MarketEvent) -> Asset | None:
        asset = self._watch(event.asset) if self._rows(event.asset) else None
        self._assets[event.asset] = asset
        return asset

    def _take(self, asset: Asset, event: MarketEvent) -> list[Alert]:
        now, kind, view = self._now, kind_of(event), asset.view
        market = view.market(event.venue, event.symbol)
        if market is None:
            market = self._memory.meet(view, event.venue, event.symbol)
        market.data(kind, now)
        if isinstance(event, Price):
            view.take_price(market, event, now)
        elif isinstance(event, OpenInterest):
            view.take_open_interest(market, event)
        alerts: list[Alert] = []
        for listener, watches in asset.listeners[kind]:
            if not listener.take(market, event, now):
                continue
            for watch in watches:
                if kind is Kind.LIQUIDATION or self._may_look(watch):
                    alerts += self._look(watch, event.at)
                else:
                    self._awake[watch] = None
        return alerts

    def _may_look(self, watch: Watch) -> bool:
        return watch.looked is None or self._now - watch.looked >= LOOK_EVERY

    def _tick(self) -> list[Alert]:
        alerts: list[Alert] = []
        for watch in tuple(self._awake):
            alerts += self._look(watch, self._now)
        self._sweep()
        return alerts

    def _look(self, watch: Watch, at: Ms) -> list[Alert]:
        now = watch.looked = self._now
        reading = watch.metric.value(watch.view, now)
        episode = watch.episode
        steps = step(watch.rule, watch.row, episode, now, reading, watch.metric.distance)
        if episode.awake:
            self._awake[watch] = None
        else:
            self._awake.pop(watch, None)
        if reading is None or not steps:
            return []
        first = episode.turns - len(steps) + 1
        return [_alert(watch, one, first + n, reading, now, at) for n, one in enumerate(steps)]

    def _sweep(self) -> None:
        due = self._sweep_at
        if due is not None and self._now < due:
            return
        self._sweep_at = self._now + SWEEP_EVERY
        # long past due: we were away ourselves, so silence is ours; let the feeds speak first
        if due is None or self._now > due + SWEEP_EVERY:
            return
        for gone in self._memory.forget(self._now):
            asset = self._assets.pop(gone)
            for watch in asset.watches if asset else ():
                self._awake.pop(watch, None)


def _alert(watch: Watch, turn: Step, number: int, reading: Reading, now: Ms, at: Ms) -> Alert:
    rule, view, episode, window = watch.rule, watch.view, watch.episode, watch.metric.window
    return Alert(
        id=f"{rule.name}:{view.asset}:{episode.opened_at}:{number}",
        rule=rule.name,
        metric=rule.metric,
        unit=watch.metric.unit,
        asset=view.asset,
        turn=turn.turn,
        level=turn.level,
        value=turn.value,
        # a level that a changed rule no longer has can still be closed
        threshold=watch.row.levels.get(turn.level, watch.row.clear),
        fires=rule.fires,
        at=at,
        seen=now,
        opened_at=episode.opened_at,
        extreme=episode.extreme,
        extreme_at=episode.extreme_at,
        post=turn.post and rule.post,
        held=turn.held,
        price=view.price(now),
        price_before=view.price_at(now - window) if window else None,
        venues=reading.venues,
        missing=reading.missing,
        facts=watch.metric.facts(view, now),
    )
