"""Fewer events without losing one that matters. Pure.

Depth, price, open interest, volume and running funding estimates change many times a second, and
only the newest tells anything: at most one an interval and instrument goes on, and one that says
nothing new goes on only to show that its feed is alive. A price that runs goes on sooner: it is
what a message about a crash is read for. Liquidations, settled funding, histories, what
sources say, feed states, faults and ticks are never held back.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from streams.durations import MINUTE, SECOND
from streams.events import (
    AnyEvent,
    ClockStep,
    ContextFacts,
    Depth,
    Fault,
    FeedState,
    Funding,
    History,
    Kind,
    Liquidation,
    MacroPrice,
    MarketEvent,
    Ms,
    OpenInterest,
    Price,
    Tick,
    Volume,
    kind_of,
)

FRONT_MS: Mapping[Kind, Ms] = {
    Kind.DEPTH: 1_000,
    Kind.PRICE: 2_000,
    Kind.OPEN_INTEREST: 5_000,
    Kind.FUNDING: 10_000,
    Kind.VOLUME: MINUTE,
}
"""Intervals for the assets that the configuration names."""

TAIL_MS: Mapping[Kind, Ms] = {
    Kind.DEPTH: 10_000,
    Kind.PRICE: 10_000,
    Kind.OPEN_INTEREST: 15_000,
    Kind.FUNDING: MINUTE,
    Kind.VOLUME: 300_000,
}
"""Intervals for the tail: a tenth of the entries for assets of which nobody asks for seconds."""

RUNS = 0.0025
"""A price that is so far (fraction) from the one that went on last runs."""

RUNNING_MS: Ms = 500
"""Its interval, for whatever asset."""

_ALIVE = 6
"""An unchanged fact is repeated after so many intervals."""

_ALIVE_AT_MOST: Ms = 20 * SECOND

Key = tuple[Kind, str, str]


def lasting(event: AnyEvent) -> bool:
    """Whether a later event of the same feed does not replace this one."""
    if isinstance(event, Funding):
        return event.settled
    return isinstance(
        event, Liquidation | History | ContextFacts | FeedState | Fault | ClockStep | Tick
    )


class Conflator:
    """Holds the newest of each feed until its interval is over. ``front``: the named assets."""

    def __init__(self, front: Iterable[str]) -> None:
        self._front = frozenset(front)
        self._sent: dict[Key, MarketEvent] = {}
        self._held: dict[Key, MarketEvent] = {}

    def offer(self, event: AnyEvent) -> Sequence[AnyEvent]:
        """What goes on now: the event, or nothing if it is held or says nothing new.

        What is held of a feed goes on before a word on the feed's state, and after that word the
        next event goes on at once.
        """
        if isinstance(event, FeedState):
            return [*self._release(event), event]
        if isinstance(
            event, Tick | Liquidation | Fault | ClockStep | History | ContextFacts
        ) or lasting(event):
            return (event,)
        key = kind_of(event), event.venue, event.symbol
        last = self._sent.get(key)
        if last is not None:
            age, interval = event.seen - last.seen, self._interval(event, last)
            if 0 <= age < interval:
                self._held[key] = event
                return ()
            self._held.pop(key, None)
            if 0 <= age < min(_ALIVE * interval, _ALIVE_AT_MOST) and _fact(event) == _fact(last):
                return ()
        self._sent[key] = event
        return (event,)

    def due(self, now: Ms) -> Iterator[AnyEvent]:
        """Held events whose interval is over."""
        ready = [
            key for key, event in self._held.items()
            if now - (last := self._sent[key]).seen >= self._interval(event, last)
        ]  # fmt: skip
        for key in ready:
            event = self._held.pop(key)
            if _fact(event) != _fact(self._sent[key]):
                self._sent[key] = event
                yield event

    def flush(self) -> Sequence[AnyEvent]:
        """All that is held, before the clock that dated it steps; the next of each feed goes on."""
        held = [
            event for key, event in self._held.items() if _fact(event) != _fact(self._sent[key])
        ]
        self._sent.clear()
        self._held.clear()
        return held

    def _release(self, state: FeedState) -> Iterator[MarketEvent]:
        for key in [key for key in self._sent if _speaks_of(state, key)]:
            sent, held = self._sent.pop(key), self._held.pop(key, None)
            if held is not None and _fact(held) != _fact(sent):
                yield held

    def _interval(self, event: MarketEvent, last: MarketEvent) -> Ms:
        """How long after ``last`` the event may go on."""
        interval = (FRONT_MS if event.asset in self._front else TAIL_MS)[kind_of(event)]
        return min(interval, RUNNING_MS) if _runs(event, last) else interval


def _runs(event: MarketEvent, last: MarketEvent) -> bool:
    if not (isinstance(event, Price) and isinstance(last, Price)):
        return False
    pairs = (event.mark, last.mark), (event.index, last.index)
    return any(new and old and abs(new - old) >= RUNS * old for new, old in pairs)


def _speaks_of(state: FeedState, key: Key) -> bool:
    kind, venue, symbol = key
    return (kind, venue) == (state.kind, state.venue) and state.symbol in (symbol, "*")


def newest_only(events: Iterable[AnyEvent]) -> list[AnyEvent]:
    """Without the events that a later one replaces, in order. For when Redis is away for long."""
    kept: list[AnyEvent] = []
    replaced: set[object] = set()
    for event in reversed([*events]):
        key: object = None
        if isinstance(event, Tick):
            key = Tick
        elif isinstance(event, ContextFacts):
            key = ContextFacts, event.source
        elif not (isinstance(event, FeedState | Fault | ClockStep | History) or lasting(event)):
            key = kind_of(event), event.venue, event.symbol
        if key is not None:
            if key in replaced:
                continue
            replaced.add(key)
        kept.append(event)
    return kept[::-1]


def _fact(event: MarketEvent) -> object:
    """What an event says, without its times."""
    match event:
        case Depth():
            return event.bands
        case Price():
            return event.mark, event.index, event.last
        case MacroPrice():
            return event.mark, event.day_ago
        case OpenInterest():
            return event.base
        case Volume():
            return event.usd_24h
        case Funding():
            return event.rate, event.hours, event.next_at
        case Liquidation():
            return event
