"""The long recording of a spot book: no false gap, a true one found, bands as a naive book has."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from streams.events import Depth, FeedState, Instrument, Kind, Ms
from streams.feed.actions import Action, Fetch
from streams.feed.session import Session
from streams.venue import BookUpdate, Listing
from streams.venues import binance_spot
from tests.streams.venues.test_venues_recorded import frames, raw

SYMBOL = "BTCUSDT"
OF = Instrument(venue="binance-spot", symbol=SYMBOL, asset="BTC", quote="USDT", spot=True)
FILE = "btcusdt_ws_depth_trade_bookticker_2024-08-08"
SNAPSHOT_AFTER = 7
"""After so many lines the answer came."""


@cache
def recorded(shared: Path) -> tuple[list[bytes], list[dict[str, Any]], bytes]:
    """The frames of depth, what is in them, and the snapshot."""
    folder = shared / "frames" / "binance-spot"
    lines = [line for line in frames(folder / f"{FILE}.jsonl.gz") if b'"depthUpdate"' in line]
    (snapshot,) = frames(folder / f"{FILE}_rest_depth_snapshot.json")
    return lines, [json.loads(line)["data"] for line in lines], snapshot


class Naive:
    """A book in two dicts of coins."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[float, float]] = {"b": {}, "a": {}}
        self.last = 0

    def load(self, snapshot: dict[str, Any]) -> None:
        for side, levels in (("b", snapshot["bids"]), ("a", snapshot["asks"])):
            self.sides[side] = {float(p): float(n) for p, n in levels}
        self.last = snapshot["lastUpdateId"]

    def take(self, change: dict[str, Any]) -> None:
        if change["u"] <= self.last:
            return
        for name, side in self.sides.items():
            for price, coins in change[name]:
                side.pop(float(price), None)
                if float(coins):
                    side[float(price)] = float(coins)
        self.last = change["u"]

    @property
    def mid(self) -> float:
        return (max(self.sides["b"]) + min(self.sides["a"])) / 2

    def within(self, bp: int) -> tuple[float, float]:
        """USD of both sides."""
        low, high = self.mid * (1 - bp / 10_000), self.mid * (1 + bp / 10_000)
        return (
            sum(p * n for p, n in self.sides["b"].items() if p >= low),
            sum(p * n for p, n in self.sides["a"].items() if p <= high),
        )

    def body(self) -> bytes:
        """The answer to a request for the whole book now."""
        bids = [[str(p), str(n)] for p, n in sorted(self.sides["b"].items(), reverse=True)]
        asks = [[str(p), str(n)] for p, n in sorted(self.sides["a"].items())]
        return json.dumps({"lastUpdateId": self.last, "bids": bids, "asks": asks}).encode()


def fetched(actions: Sequence[Action]) -> list[str]:
    return [action.request.symbol for action in actions if isinstance(action, Fetch)]


class Replayed:
    """A session that hears the recording, and a naive book that misses nothing."""

    def __init__(self) -> None:
        (plan,) = binance_spot.subscriptions([OF], frozenset((Kind.DEPTH,)))
        self.session = Session(binance_spot, plan, Listing(instruments={SYMBOL: OF}), lambda: 0.0)
        self.naive = Naive()
        self.actions: list[Action] = []
        self.now: Ms = 0
        self.compared = 0

    def play(self, shared: Path, lost: int = -1) -> None:
        """``lost``: the place of a change that does not come; what is asked for then comes 20
        frames later."""
        lines, data, snapshot = recorded(shared)
        due = None
        is_known = True
        self.now = data[0]["E"]
        self.actions += self.session.opened(self.now)
        early: list[dict[str, Any]] = []
        for place, (line, change) in enumerate(zip(lines, data, strict=True)):
            at, actions = change["E"], list[Action]()
            while at - self.now >= 1_000:
                self.now += 1_000
                actions += self.look(is_known=is_known)
            if place == SNAPSHOT_AFTER:
                self.naive.load(json.loads(snapshot))
                for missed in early:
                    self.naive.take(missed)
                actions += self.session.fetched(SYMBOL, snapshot, at, at)
            early.append(change)
            if place >= SNAPSHOT_AFTER:
                self.naive.take(change)
            if place == lost:
                is_known = False
            else:
                actions += self.session.received(line, at, at)
            if place == due:
                is_known, due = True, None
                actions += self.session.fetched(SYMBOL, self.naive.body(), at, at)
            if place > SNAPSHOT_AFTER and fetched(actions):
                due = place + 20
            self.actions += actions

    def look(self, *, is_known: bool) -> list[Action]:
        """What the book says is what the naive one has."""
        actions = self.session.tick(self.now, self.now)
        for depth in (action for action in actions if isinstance(action, Depth)):
            assert is_known
            assert depth.spot
            assert depth.mid == self.naive.mid
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
    lines, _, _ = recorded(shared)
    assert len(lines) == 3_451
    replayed = Replayed()
    replayed.play(shared)
    assert (replayed.session.stats.gaps, replayed.session.stats.dropped) == (0, 0)
    assert replayed.turns == [True]
    assert replayed.compared > 1_000


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
def test_a_change_that_is_lost_is_a_gap_and_the_book_is_asked_for_anew(
    shared: Path, share: float
) -> None:
    lines, _, _ = recorded(shared)
    replayed = Replayed()
    replayed.play(shared, lost=SNAPSHOT_AFTER + round(share * len(lines)))
    assert replayed.session.stats.gaps == 1
    assert replayed.turns == [True, False, True]
    assert fetched(replayed.actions) == [SYMBOL] * len(fetched(replayed.actions))
    assert len(fetched(replayed.actions)) >= 2
    assert replayed.compared > 900


def test_a_change_that_says_again_what_was_said_goes_on_from_there(shared: Path) -> None:
    """In a recording of 2019 one begins at an id that the one before had in it already."""
    folder = shared / "frames" / "binance-spot"
    of = Instrument(venue="binance-spot", symbol="GNTBTC", asset="GNT", quote="BTC", spot=True)
    listing = Listing(instruments={"GNTBTC": of})
    (plan,) = binance_spot.subscriptions([of], frozenset((Kind.DEPTH,)))
    session = Session(binance_spot, plan, listing, lambda: 0.0)
    session.opened(0)
    spans: list[tuple[int, int]] = []
    for line in frames(folder / "tardis_ws_mixed_2019.jsonl"):
        decoded = binance_spot.decode(line, listing, 0)
        spans += [(item.first, item.last) for item in decoded if isinstance(item, BookUpdate)]
        session.received(line, 1_000, 1_000)
    assert spans == [(41603407, 41603413), (41603414, 41603418), (41603417, 41603419)]
    assert session.stats.gaps == 0


def test_the_recorded_listing_has_pairs_against_two_dollars(shared: Path) -> None:
    """Of 2021: leveraged tokens had pairs of their own, which were not spot."""
    pairs = raw(shared / "frames" / "binance-spot" / "rest_exchangeInfo_2021-10-12.json.gz")
    listed, _, unreadable, _ = binance_spot.instruments([pairs, b"[]"])
    rows = json.loads(pairs)["symbols"]
    assert unreadable == ()
    assert {i.symbol for i in listed} == {
        row["symbol"]
        for row in rows
        if row["status"] == "TRADING"
        and row["quoteAsset"] in ("USDT", "USDC")
        and not row["symbol"].endswith(("UPUSDT", "DOWNUSDT"))
    }
    assert all(i.spot and i.multiplier == 1 for i in listed)
    assert {i.symbol for i in listed if i.asset == "BTC"} == {"BTCUSDT", "BTCUSDC"}
