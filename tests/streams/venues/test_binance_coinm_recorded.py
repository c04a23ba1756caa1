"""The long recording of a COIN-M book: no false gap, a true one found, bands as a naive book has.

The naive book counts in contracts of 100 USD, as the venue does; a band of it needs no price.
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from streams.events import Depth, FeedState, Instrument, Kind, Ms
from streams.feed.actions import Action, Fetch
from streams.feed.session import Session
from streams.venue import Listing
from streams.venues import VENUES
from tests.streams.venues.test_venues_recorded import frames

COIN_M = VENUES["binance-coinm"]
SYMBOL = "BTCUSD_PERP"
OF = Instrument(
    venue="binance-coinm", symbol=SYMBOL, asset="BTC", quote="USD", contract_size=100.0,
    inverse=True,
)  # fmt: skip
FILE = "btcusd_perp_ws_depth_trade_bookticker_2024-08-08"
SNAPSHOT_AFTER = 36
"""After so many lines the answer came."""


@cache
def recorded(shared: Path) -> tuple[list[bytes], list[dict[str, Any]], bytes]:
    """The frames, what is in them, and the snapshot."""
    folder = shared / "frames" / "binance-coinm"
    lines = [*frames(folder / f"{FILE}.jsonl.gz")]
    (snapshot,) = frames(folder / f"{FILE}_rest_depth_snapshot.json")
    return lines, [json.loads(line)["data"] for line in lines], snapshot


class Naive:
    """A book in two dicts of contracts."""

    def __init__(self) -> None:
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}
        self.last = 0
        self.early: list[dict[str, Any]] = []
        """Changes before the snapshot, some of which are not in it."""

    def load(self, snapshot: dict[str, Any]) -> None:
        self.bids = {float(p): float(n) for p, n in snapshot["bids"]}
        self.asks = {float(p): float(n) for p, n in snapshot["asks"]}
        self.last = snapshot["lastUpdateId"]
        for change in self.early:
            self.take(change)

    def take(self, change: dict[str, Any]) -> None:
        if not self.bids:
            self.early.append(change)
            return
        if change["u"] < self.last:
            return
        for side, levels in ((self.bids, change["b"]), (self.asks, change["a"])):
            for price, contracts in levels:
                side.pop(float(price), None)
                if float(contracts):
                    side[float(price)] = float(contracts)
        self.last = change["u"]

    def body(self, at: Ms) -> bytes:
        """The answer to a request for the best thousand levels now."""
        sides = {
            "bids": [[str(p), str(self.bids[p])] for p in sorted(self.bids, reverse=True)[:1000]],
            "asks": [[str(p), str(self.asks[p])] for p in sorted(self.asks)[:1000]],
        }
        return json.dumps({"lastUpdateId": self.last, "E": at, **sides}).encode()

    def within(self, bp: int) -> tuple[float, float]:
        """USD of both sides: contracts × 100."""
        mid = (max(self.bids) + min(self.asks)) / 2
        low, high = mid * (1 - bp / 10_000), mid * (1 + bp / 10_000)
        return (
            100 * sum(n for p, n in self.bids.items() if p >= low),
            100 * sum(n for p, n in self.asks.items() if p <= high),
        )


class Replayed:
    """A session that hears the recording, and a naive book that misses nothing."""

    def __init__(self) -> None:
        (plan,) = COIN_M.subscriptions([OF], frozenset((Kind.DEPTH,)))
        self.session = Session(COIN_M, plan, Listing(instruments={SYMBOL: OF}), lambda: 0.0)
        self.naive = Naive()
        self.actions: list[Action] = []
        self.now: Ms = 0
        self.compared = 0

    def play(self, shared: Path, lost: int = -1) -> None:
        """``lost``: the place of a change that does not come; what is asked for then comes 50
        frames later."""
        lines, data, snapshot = recorded(shared)
        due = None
        is_known = True
        self.now = data[0]["E"]
        self.actions += self.session.opened(self.now)
        for place, (line, change) in enumerate(zip(lines, data, strict=True)):
            at, actions = change["E"], list[Action]()
            while at - self.now >= 1_000:
                self.now += 1_000
                actions += self.look(is_known=is_known)
            if change["e"] == "depthUpdate":
                self.naive.take(change)
            if place == SNAPSHOT_AFTER:
                self.naive.load(json.loads(snapshot))
                actions += self.session.fetched(SYMBOL, snapshot, at, at)
            if place == lost:
                is_known = False
            else:
                actions += self.session.received(line, at, at)
            if place == due:
                is_known, due = True, None
                actions += self.session.fetched(SYMBOL, self.naive.body(at), at, at)
            if place > SNAPSHOT_AFTER and fetched(actions):
                due = place + 50
            self.actions += actions

    def look(self, *, is_known: bool) -> list[Action]:
        """What the book says is what the naive one has."""
        actions = self.session.tick(self.now, self.now)
        for depth in (action for action in actions if isinstance(action, Depth)):
            assert is_known
            assert depth.mid == (max(self.naive.bids) + min(self.naive.asks)) / 2
            for band in depth.bands:
                if band.covered:
                    assert (band.bid_usd, band.ask_usd) == pytest.approx(
                        self.naive.within(band.bp), rel=1e-9
                    )
                    self.compared += 1
        return actions

    @property
    def turns(self) -> list[bool]:
        return [action.up for action in self.actions if isinstance(action, FeedState)]


def test_the_recording_replays_without_a_false_gap(shared: Path) -> None:
    lines, data, _ = recorded(shared)
    assert len(lines) == 30_803
    assert sum(change["e"] == "depthUpdate" for change in data) == 26_526
    replayed = Replayed()
    replayed.play(shared)
    assert (replayed.session.stats.gaps, replayed.session.stats.dropped) == (0, 0)
    assert replayed.turns == [True]
    assert replayed.compared > 1_000  # all four bands of nearly each second


@pytest.mark.parametrize("share", [0.001, 0.5, 0.9])
def test_a_change_that_is_lost_is_a_gap_and_the_book_is_asked_for_anew(
    shared: Path, share: float
) -> None:
    _, data, _ = recorded(shared)
    changes = [n for n, change in enumerate(data) if change["e"] == "depthUpdate"]
    replayed = Replayed()
    replayed.play(shared, lost=next(n for n in changes if n > SNAPSHOT_AFTER + share * len(data)))
    assert replayed.session.stats.gaps == 1
    assert replayed.turns == ([True, False, True] if share > 0.01 else [True])
    assert fetched(replayed.actions) == [SYMBOL] * len(fetched(replayed.actions))
    assert len(fetched(replayed.actions)) >= 2
    assert replayed.compared > 900


def fetched(actions: Sequence[Action]) -> list[str]:
    return [action.request.symbol for action in actions if isinstance(action, Fetch)]
