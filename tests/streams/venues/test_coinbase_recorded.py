"""Coinbase's long recording of ten books, written as it writes books now.

It is of 2021 and of an interface that did not number anything. Its changes are put into frames of
today, of which there is a short recording; a frame that is lost is one that has no number.
"""

import gzip
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.events import Depth, FeedState, Instrument, Kind, Ms
from streams.feed.actions import Action, Hangup
from streams.feed.session import Session
from streams.venue import Listing
from streams.venues import coinbase
from tests.streams.venues.test_venues_recorded import raw

RECORDING = "cryptofeed_coinbase_exchange_level2_ticker_matches.jsonl.gz"
START: Ms = 1_618_677_817_000
SIDES = {"buy": "bid", "sell": "offer"}

Message = dict[str, Any]


@cache
def recorded(shared: Path) -> list[Message]:
    """The snapshots and the changes of books, in the order in which they came."""
    lines = gzip.decompress((shared / "frames" / "coinbase" / RECORDING).read_bytes()).splitlines()
    return [m for m in map(json.loads, lines) if m["type"] in ("snapshot", "l2update")]


def time_of(message: Message) -> str:
    return message.get("time", "2021-04-17T16:43:37.000000Z")


def changes_of(message: Message) -> list[tuple[str, str, str]]:
    if message["type"] == "l2update":
        return [(SIDES[side], price, size) for side, price, size in message["changes"]]
    sides = (("bid", message["bids"]), ("offer", message["asks"]))
    return [(side, price, size) for side, levels in sides for price, size in levels]


def as_frame(message: Message, number: int) -> bytes:
    """The message as one of today."""
    updates = [
        {"side": side, "event_time": "2021-04-17T16:43:37Z", "price_level": p, "new_quantity": n}
        for side, p, n in changes_of(message)
    ]
    kind = "snapshot" if message["type"] == "snapshot" else "update"
    event = {"type": kind, "product_id": message["product_id"], "updates": updates}
    frame = {"channel": "l2_data", "client_id": "", "timestamp": time_of(message),
             "sequence_num": number, "events": [event]}  # fmt: skip
    return json.dumps(frame).encode()


class Naive:
    """A book in two dicts."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[float, float]] = {"bid": {}, "offer": {}}

    def take(self, message: Message) -> None:
        for side, price, size in changes_of(message):
            self.sides[side].pop(float(price), None)
            if float(size):
                self.sides[side][float(price)] = float(size)

    @property
    def mid(self) -> float:
        return (max(self.sides["bid"]) + min(self.sides["offer"])) / 2

    def within(self, bp: int) -> tuple[float, float]:
        """Notional of both sides."""
        low, high = self.mid * (1 - bp / 10_000), self.mid * (1 + bp / 10_000)
        return (
            sum(p * n for p, n in self.sides["bid"].items() if p >= low),
            sum(p * n for p, n in self.sides["offer"].items() if p <= high),
        )


class Replayed:
    """A session that hears the recording, and a naive book beside each of its books."""

    def __init__(self, messages: list[Message]) -> None:
        symbols = list(dict.fromkeys(message["product_id"] for message in messages))
        known = {
            s: Instrument(venue="coinbase", symbol=s, asset=s.partition("-")[0], quote="USD",
                          spot=True)
            for s in symbols
        }  # fmt: skip
        (plan,) = coinbase.subscriptions([*known.values()], frozenset((Kind.DEPTH,)))
        self.session = Session(coinbase, plan, Listing(instruments=known), lambda: 0.0)
        self.naive = {symbol: Naive() for symbol in symbols}
        self.actions: list[Action] = []
        self.now, self.compared = START, 0
        self.actions += self.session.opened(self.now)

    def hear(self, message: Message, number: int) -> list[Action]:
        self.naive[message["product_id"]].take(message)
        actions = self.session.received(as_frame(message, number), self.now, self.now)
        if number % 50 == 49:  # ten times in a second or so
            self.now += 100
            actions += self.look()
        self.actions += actions
        return actions

    def look(self) -> list[Action]:
        """What the books say is what the naive ones have, to the end of every band."""
        actions = self.session.tick(self.now, self.now)
        for depth in (action for action in actions if isinstance(action, Depth)):
            naive = self.naive[depth.symbol]
            assert depth.mid == naive.mid
            for band in depth.bands:
                assert band.covered
                assert (band.bid_usd, band.ask_usd) == pytest.approx(
                    naive.within(band.bp), rel=1e-9
                )
                self.compared += 1
        return actions


def hangups(actions: list[Action]) -> Iterator[str]:
    return (action.reason for action in actions if isinstance(action, Hangup))


def test_the_recording_replays_without_a_gap(shared: Path) -> None:
    messages = recorded(shared)
    assert sum(message["type"] == "l2update" for message in messages) == 9_719
    replayed = Replayed(messages)
    for number, message in enumerate(messages):
        replayed.hear(message, number)
    assert (replayed.session.stats.gaps, replayed.session.stats.dropped) == (0, 0)
    assert not [*hangups(replayed.actions)]
    states = [action for action in replayed.actions if isinstance(action, FeedState)]
    assert {state.symbol for state in states} == {*replayed.naive}
    assert all(state.up for state in states)
    assert replayed.compared > 4_000


@pytest.mark.parametrize("lost", [300, 2_000, 9_000])
def test_a_frame_that_is_lost_costs_all_books_of_the_connection(shared: Path, lost: int) -> None:
    """Whichever book it was of, nobody knows: all are unknown before anything else is said."""
    messages = recorded(shared)
    replayed = Replayed(messages)
    for number, message in enumerate(messages[: lost + 2]):
        if number == lost:
            continue
        actions = replayed.hear(message, number)
        if number < lost:
            assert not [*hangups(actions)]
    assert replayed.session.stats.gaps == 1
    (why,) = hangups(replayed.actions)
    assert why == f"frame {lost + 1} of the connection came after {lost - 1}"
    up: dict[str, bool] = {}
    for state in (action for action in replayed.actions if isinstance(action, FeedState)):
        up[state.symbol] = state.up
    assert up
    assert not any(up.values())


def test_after_a_lost_frame_the_next_connection_begins_with_whole_books(shared: Path) -> None:
    messages = recorded(shared)
    snapshots = [message for message in messages if message["type"] == "snapshot"]
    replayed = Replayed(messages)
    for number, message in enumerate(snapshots):
        replayed.hear(message, number)
    replayed.hear({**messages[40], "bids": [], "asks": []}, len(snapshots) + 3)
    replayed.session.closed("a frame is missing", replayed.now)
    replayed.now += 1_000
    replayed.session.opened(replayed.now)
    for number, message in enumerate(snapshots):  # numbers begin anew
        replayed.naive[message["product_id"]] = Naive()
        replayed.hear(message, number)
    replayed.now += 1_000
    replayed.compared = 0
    replayed.look()
    assert replayed.session.stats.gaps == 1
    assert replayed.compared == 40  # ten books, four bands each


def test_recorded_pairs_have_each_book_under_one_name(shared: Path) -> None:
    """BTC-USDC is BTC-USD again, with the same volume."""
    folder = shared / "frames" / "coinbase"
    listed, _, unreadable, _ = coinbase.instruments([raw(folder / "nautilus_http_products.json")])
    assert unreadable == ()
    assert [msgspec.structs.astuple(i)[1:4] for i in listed] == [("BTC-USD", "BTC", "USD")]
    assert listed[0].volume_24h_usd == 758_532_193.02
    example = raw(folder / "jkorf_advancedtrade_GetSymbols.json")
    assert coinbase.instruments([example]).instruments == []
