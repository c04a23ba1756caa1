"""The recording of Gate's books: no false gap, a true one found, bands as a naive book has.

It is of 2023, of the channel ``futures.order_book_update`` and of answers by REST, whose ids and
levels are those of ``futures.obu``: it is put into the form of that, which is listened to.
"""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.events import Depth, FeedState, Instrument, Ms
from streams.feed.actions import Action, Send
from streams.feed.session import Session
from streams.venue import BookUpdate, Listing
from streams.venues import gate
from tests.streams.venue_cases import SEEN, as_line, check_golden

Frame = dict[str, Any]
SYMBOLS = ("RDNT_USDT", "OMG_USDT", "PHB_USDT", "WOO_USDT", "QUICK_USDT")
"""Contracts of which there is more than a few changes."""


class Naive:
    """A book in two dicts, in contracts."""

    def __init__(self) -> None:
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}

    def take(self, result: Frame) -> None:
        for side, levels in ((self.bids, result["b"]), (self.asks, result["a"])):
            if result.get("full"):
                side.clear()
            for price, size in levels:
                side[float(price)] = float(size)
                if not float(size):
                    del side[float(price)]

    def within(self, bp: int, size: float) -> tuple[float, float]:
        """Notional of both sides, of contracts of ``size``."""
        mid = (max(self.bids) + min(self.asks)) / 2
        low, high = mid * (1 - bp / 10_000), mid * (1 + bp / 10_000)
        return (
            sum(p * count * size for p, count in self.bids.items() if p >= low),
            sum(p * count * size for p, count in self.asks.items() if p <= high),
        )


def contracts(shared: Path) -> dict[str, Instrument]:
    """The recorded listing: of 2023, without status."""
    file = shared / "frames" / "gate" / "rest_futures_usdt_contracts_2023-05-24.json.gz"
    listed = gate.instruments([gzip.decompress(file.read_bytes()), b"[]"])
    assert listed.unreadable == ()
    return {i.symbol: i for i in listed.instruments}


def watched(shared: Path) -> dict[str, Instrument]:
    """Those of which there are books."""
    symbols = {symbol_of(frame) for frame in recorded(shared)}
    return {symbol: i for symbol, i in contracts(shared).items() if symbol in symbols}


def _levels(side: Sequence[dict[str, Any]]) -> list[list[str]]:
    return [[level["p"], str(level["s"])] for level in side]


def recorded(shared: Path) -> list[Frame]:
    """The changes in the order in which they came, each book after its snapshot."""
    folder, frames, last = shared / "frames" / "gate", list[Frame](), dict[str, int]()
    name = "cf_futures_ws_order_book_update_book_ticker_2023-05-24.jsonl"
    for line in (folder / name).read_bytes().splitlines():
        frame = json.loads(line)
        if (frame["channel"], frame["event"]) != ("futures.order_book_update", "update"):
            continue
        change, frame["channel"] = frame["result"], "futures.obu"
        symbol, topic = change["s"], f"ob.{change['s']}.400"
        answer = json.loads(
            (folder / f"rest_futures_order_book_{symbol}_2023-05-24.json").read_text()
        )
        if change["u"] <= answer["id"]:
            continue
        if symbol not in last:
            full = {"full": True, "s": topic, "u": answer["id"], "t": change["t"]}
            sides = {"b": _levels(answer["bids"]), "a": _levels(answer["asks"])}
            frames.append({**frame, "result": full | sides})
        last.setdefault(symbol, answer["id"])
        first = max(change["U"], answer["id"] + 1)
        sides = {"b": _levels(change["b"]), "a": _levels(change["a"])}
        frames.append({**frame, "result": {**change, "s": topic, "U": first} | sides})
    return frames


def symbol_of(frame: Frame) -> str:
    return frame["result"]["s"].removeprefix("ob.").removesuffix(".400")


class Replayed:
    """A session that is told the recording, and a naive book beside each of its books."""

    def __init__(self, known: dict[str, Instrument]) -> None:
        (plan,) = gate.subscriptions([*known.values()], frozenset((gate.Kind.DEPTH,)))
        self.known = known
        self.session = Session(gate, plan, Listing(instruments=known), lambda: 0.0)
        self.naive: defaultdict[str, Naive] = defaultdict(Naive)
        self.now: Ms = 0
        self.compared = 0
        self.behind = ""
        """The book that lacks a frame, until the next one of it shows that."""
        self.actions: list[Action] = []

    def hear(self, frame: Frame, *, lost: bool = False) -> list[Action]:
        """A frame comes, or gets lost on its way; ten times a second the books are read."""
        symbol, at = symbol_of(frame), frame["time_ms"]
        if not self.now:
            self.actions += self.session.opened(at)
            self.now = at
        while at - self.now >= 100:
            self.now += 100
            self.look()
        self.naive[symbol].take(frame["result"])
        self.behind = symbol if lost else self.behind.replace(symbol, "")
        if lost:
            return []
        actions = self.session.received(json.dumps(frame).encode(), at, at)
        self.actions += actions
        return actions

    def look(self) -> None:
        """What the books say is what the naive ones have."""
        actions = self.session.tick(self.now, self.now)
        self.actions += actions
        for depth in (action for action in actions if isinstance(action, Depth)):
            if depth.symbol == self.behind:
                continue
            naive = self.naive[depth.symbol]
            assert depth.mid == (max(naive.bids) + min(naive.asks)) / 2
            for band in depth.bands:
                wanted = naive.within(band.bp, self.known[depth.symbol].contract_size)
                assert (band.bid_usd, band.ask_usd) == pytest.approx(wanted, rel=1e-9, abs=1e-9)
                self.compared += 1

    def turns(self) -> list[tuple[str, bool]]:
        return [(a.symbol, a.up) for a in self.actions if isinstance(a, FeedState)]


def asked(actions: Sequence[Action]) -> Iterator[tuple[str, str]]:
    for action in actions:
        if isinstance(action, Send) and action.data != gate.SPEC.ping:
            message = json.loads(action.data)
            yield from ((message["event"], topic) for topic in message["payload"])


def test_the_recorded_listing(shared: Path) -> None:
    """302 contracts, of which one was about to be delisted."""
    known = contracts(shared)
    assert len(known) == 302
    assert {i.symbol for i in known.values() if i.ends_at is not None} == {"COCOS_USDT"}
    assert known["PEPE_USDT"].contract_size == 10_000_000
    assert {i.multiplier for i in known.values()} == {1.0}
    assert {i.asset for i in known.values()} >= {"BTC", "1INCH", "C98", "API3", "POL"}
    lines = [msgspec.json.encode(i).decode() for i in known.values()]
    check_golden("recorded/gate/listing.jsonl", lines)


def test_books_decode_to_their_golden_events(shared: Path) -> None:
    listing = Listing(instruments=contracts(shared))
    updates = [gate.decode(json.dumps(f).encode(), listing, SEEN) for f in recorded(shared)]
    check_golden("recorded/gate/books_2023-05-24.jsonl", [as_line(u) for u in updates])
    assert sum(isinstance(u, BookUpdate) and u.snapshot for (u,) in updates) == 9


def test_the_recording_replays_without_a_false_gap(shared: Path) -> None:
    replayed, frames = Replayed(watched(shared)), recorded(shared)
    for frame in frames:
        replayed.hear(frame)
    replayed.now += 100
    replayed.look()
    assert len(frames) > 300
    assert (replayed.session.stats.gaps, replayed.session.stats.duplicates) == (0, 0)
    assert replayed.turns() == [(symbol, True) for symbol in dict(replayed.turns())]
    assert {*dict(replayed.turns())} == {symbol_of(frame) for frame in frames}
    assert replayed.compared > 500


@pytest.mark.parametrize("symbol", SYMBOLS)
@pytest.mark.parametrize("place", [1, 4, 10])
def test_a_frame_that_is_lost_is_a_gap_and_the_book_begins_anew(
    shared: Path, symbol: str, place: int
) -> None:
    frames = recorded(shared)
    mine = [n for n, frame in enumerate(frames) if symbol_of(frame) == symbol]
    lost, after = mine[place], mine[place + 1]
    replayed, again = Replayed(watched(shared)), list[tuple[str, str]]()
    for number, frame in enumerate(frames):
        actions = replayed.hear(frame, lost=number == lost)
        if number == after:
            again = [*asked(actions)]
            assert replayed.session.stats.gaps == 1
            naive, at = replayed.naive[symbol], frame["time_ms"]
            sides = {
                name: [[repr(price), repr(size)] for price, size in side.items()]
                for name, side in (("b", naive.bids), ("a", naive.asks))
            }
            full = {"full": True, "s": f"ob.{symbol}.400", "u": frame["result"]["u"], "t": at}
            fresh = json.dumps({**frame, "result": full | sides}).encode()
            replayed.actions += replayed.session.received(fresh, at, at)
    replayed.now += 1_000
    replayed.look()
    topic = f"ob.{symbol}.400"
    assert again == [("unsubscribe", topic), ("subscribe", topic)]
    assert replayed.session.stats.gaps == 1
    turns = [up for of, up in replayed.turns() if of == symbol]
    assert turns in ([True, False, True], [True])  # not up yet when the frame was lost
    assert {of for of, up in replayed.turns() if not up} <= {symbol}
    assert replayed.compared > 500
