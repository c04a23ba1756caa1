"""A session with a clock for tests, and ways to read what it wants done."""

import json
from collections.abc import Sequence
from typing import Any

from streams.events import Depth, FeedState
from streams.feed.actions import Action, Fetch, Hangup, Note, Send
from streams.feed.liquidations import RecentLiquidations
from streams.feed.session import Session
from streams.venue import Subscription
from streams.venues import VENUES
from tests.streams import frames
from tests.streams.virtual import EPOCH


class Played:
    """One session and its clock; every action that came of it, in ``done``."""

    def __init__(
        self,
        venue: str,
        socket: str,
        *assets: str,
        jitter: float = 0.0,
        recent: RecentLiquidations | None = None,
    ) -> None:
        module = VENUES[venue]
        known = frames.contracts(venue, *assets)
        plan = {plan.name: plan for plan in module.subscriptions(known, module.SPEC.kinds)}
        self.plan: Subscription = plan[socket]
        listing = frames.listing_of(venue, *assets)
        self.session = Session(module, self.plan, listing, lambda: jitter, recent)
        self.now = 50_000
        self.done: list[Action] = []
        self.wait = 0

    def _did(self, actions: Sequence[Action]) -> list[Action]:
        self.done += actions
        return list(actions)

    @property
    def seen(self) -> int:
        return EPOCH + self.now

    def open(self) -> list[Action]:
        return self._did(self.session.opened(self.now))

    def hear(self, *received: bytes) -> list[Action]:
        return [
            a for f in received for a in self._did(self.session.received(f, self.now, self.seen))
        ]

    def fetch(self, symbol: str, body: bytes) -> list[Action]:
        return self._did(self.session.fetched(symbol, body, self.now, self.seen))

    def tick(self, seconds: float = 1, *keeping: bytes) -> list[Action]:
        """Seconds pass one by one; ``keeping`` is heard in each."""
        actions: list[Action] = []
        for _ in range(int(seconds)):
            self.now += 1_000
            actions += self.hear(*keeping)
            actions += self._did(self.session.tick(self.now, self.seen))
        return actions

    def close(self, reason: str = "the connection broke") -> list[Action]:
        states, self.wait = self.session.closed(reason, self.seen)
        return self._did(states)

    def live_book(self, symbol: str, last: int = 10) -> None:
        """Brings a Binance book in sequence; its last change is ``last``."""
        self.hear(frames.change(symbol, last, last))
        self.fetch(symbol, frames.snapshot(last))
        self.tick()


def turns(actions: Sequence[Action]) -> list[str]:
    """Feed states in words: ``+depth BTCUSDT``."""
    return [
        f"{'+' if action.up else '-'}{action.kind} {action.symbol}"
        for action in actions
        if isinstance(action, FeedState)
    ]


def reasons(actions: Sequence[Action]) -> list[str]:
    return [action.reason for action in actions if isinstance(action, FeedState)]


def sent(actions: Sequence[Action]) -> list[Any]:
    messages = [action.data for action in actions if isinstance(action, Send)]
    return [message if message == b"ping" else json.loads(message) for message in messages]


def depths(actions: Sequence[Action]) -> list[str]:
    return [action.symbol for action in actions if isinstance(action, Depth)]


def fetches(actions: Sequence[Action]) -> list[str]:
    return [action.request.symbol for action in actions if isinstance(action, Fetch)]


def hangups(actions: Sequence[Action]) -> list[str]:
    return [action.reason for action in actions if isinstance(action, Hangup)]


def notes(actions: Sequence[Action]) -> list[str]:
    return [action.what for action in actions if isinstance(action, Note)]
