"""The long recording of OKX's books: no false gap, a true one found, bands as a naive book has.

It is of 2022, when a checksum came with each change and no ids. The ids here are those that OKX
would send now, one more with each change; the checksum, which is 0 now, shows that the naive book
is the venue's own.
"""

import gzip
import json
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from streams.events import Depth, FeedState, Instrument, Kind, Ms
from streams.feed.actions import Action, Send
from streams.feed.session import Session
from streams.venue import Listing, Venue
from streams.venues import okx
from tests.streams.venue_cases import as_line, check_golden

SIZES = {"BTC-USDT": 1.0, "UNI-USD-SWAP": 10.0, "BTC-USD-220527": 0.01}
"""Contracts and their sizes; what matters here of spot and inverse contracts is their books."""

KNOWN = {
    symbol: Instrument(
        venue="okx", symbol=symbol, asset=symbol[:3], quote="USDT", contract_size=size
    )
    for symbol, size in SIZES.items()
}

Side = dict[float, list[str]]


class Naive:
    """A book in two dicts, as it was written."""

    def __init__(self) -> None:
        self.bids: Side = {}
        self.asks: Side = {}

    def take(self, frame: dict[str, Any]) -> None:
        (row,) = frame["data"]
        for side, levels in ((self.bids, row["bids"]), (self.asks, row["asks"])):
            if frame["action"] == "snapshot":
                side.clear()
            for level in levels:
                if float(level[1]):
                    side[float(level[0])] = level
                else:
                    side.pop(float(level[0]), None)

    def sides(self) -> tuple[list[list[str]], list[list[str]]]:
        """Bids and asks, the best first."""
        bids = [self.bids[price] for price in sorted(self.bids, reverse=True)]
        return bids, [self.asks[price] for price in sorted(self.asks)]

    def checksum(self) -> int:
        """Of the best 25 levels of each side in turns, as a signed number of 32 bits."""
        bids, asks = self.sides()
        texts: list[str] = []
        for place in range(25):
            for side in (bids, asks):
                texts += side[place][:2] if place < len(side) else []
        crc = zlib.crc32(":".join(texts).encode())
        return crc - 2**32 if crc >= 2**31 else crc

    def within(self, bp: int, size: float) -> tuple[float, float]:
        """Notional of both sides, of contracts of ``size``."""
        mid = (max(self.bids) + min(self.asks)) / 2
        low, high = mid * (1 - bp / 10_000), mid * (1 + bp / 10_000)
        return (
            sum(p * float(level[1]) * size for p, level in self.bids.items() if p >= low),
            sum(p * float(level[1]) * size for p, level in self.asks.items() if p <= high),
        )


def recorded(shared: Path) -> list[dict[str, Any]]:
    """The frames of books, each with ids."""
    path = shared / "frames" / "okx" / "cf_ws_books_trades_tickers_2022-05-13.jsonl.gz"
    frames: list[dict[str, Any]] = []
    last: defaultdict[str, int] = defaultdict(lambda: 1_000)
    for line in gzip.decompress(path.read_bytes()).splitlines():
        frame = json.loads(line)
        if "data" in frame and frame["arg"]["channel"] == "books":
            symbol, begins = frame["arg"]["instId"], frame["action"] == "snapshot"
            frame["data"][0]["prevSeqId"] = -1 if begins else last[symbol]
            last[symbol] += 7
            frame["data"][0]["seqId"] = last[symbol]
            frames.append(frame)
    return frames


class Replayed:
    """A session that is told the recording, and a naive book beside each of its books."""

    def __init__(self, venue: Venue = okx) -> None:
        (plan,) = venue.subscriptions([*KNOWN.values()], frozenset((Kind.DEPTH,)))
        self.session = Session(venue, plan, Listing(instruments=KNOWN), lambda: 0.0)
        self.naive: defaultdict[str, Naive] = defaultdict(Naive)
        self.now: Ms = 0
        self.compared = 0
        self.behind = ""
        """The book that lacks a frame, until the next one of it shows that."""
        self.actions: list[Action] = []

    def hear(self, frame: dict[str, Any], *, lost: bool = False) -> list[Action]:
        """A frame comes, or gets lost on its way; a second after the last look, books are read."""
        (row,), symbol = frame["data"], frame["arg"]["instId"]
        at = int(row["ts"])
        if not self.now:
            self.actions += self.session.opened(at)
            self.now = at
        while at - self.now >= 100:
            self.now += 100
            self.look()
        self.naive[symbol].take(frame)
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
                wanted = naive.within(band.bp, SIZES[depth.symbol])
                assert (band.bid_usd, band.ask_usd) == pytest.approx(wanted, rel=1e-9, abs=1e-9)
                self.compared += 1

    def turns(self) -> list[tuple[str, bool]]:
        return [(a.symbol, a.up) for a in self.actions if isinstance(a, FeedState)]


def fresh(naive: Naive, symbol: str, last: int, at: int) -> dict[str, Any]:
    """The snapshot that a new subscription brings."""
    bids, asks = naive.sides()
    row = {"bids": bids, "asks": asks, "ts": str(at), "checksum": 0, "seqId": last, "prevSeqId": -1}
    arg = {"channel": "books", "instId": symbol}
    return {"arg": arg, "action": "snapshot", "data": [row]}


def asked(actions: Sequence[Action]) -> Iterator[tuple[str, str]]:
    for action in actions:
        if isinstance(action, Send) and action.data != okx.SPEC.ping:
            message = json.loads(action.data)
            yield from ((message["op"], topic["instId"]) for topic in message["args"])


def test_the_naive_book_is_the_venues_own(shared: Path) -> None:
    naive: defaultdict[str, Naive] = defaultdict(Naive)
    frames = recorded(shared)
    for frame in frames:
        naive[frame["arg"]["instId"]].take(frame)
        assert naive[frame["arg"]["instId"]].checksum() == frame["data"][0]["checksum"]
        # what leaves the best 400 is deleted: so all that is there is known
        assert all(len(side) <= 400 for book in naive.values() for side in book.sides())
    assert len(frames) == 290


def test_books_decode_to_their_golden_events(shared: Path) -> None:
    listing = Listing(instruments=KNOWN)
    lines = [as_line(okx.decode(json.dumps(f).encode(), listing, 0)) for f in recorded(shared)]
    check_golden("recorded/okx/books_2022-05-13.jsonl", lines)


@pytest.mark.parametrize("venue", [okx, okx.SPOT])
def test_the_recording_replays_without_a_false_gap(shared: Path, venue: Venue) -> None:
    replayed = Replayed(venue)
    for frame in recorded(shared):
        replayed.hear(frame)
    replayed.now += 100
    replayed.look()
    assert (replayed.session.stats.gaps, replayed.session.stats.duplicates) == (0, 0)
    assert replayed.turns() == [(symbol, True) for symbol in dict(replayed.turns())]
    assert {*dict(replayed.turns())} == {*KNOWN}
    assert replayed.compared > 500


@pytest.mark.parametrize(("venue", "symbol"), [(okx, s) for s in SIZES] + [(okx.SPOT, "BTC-USDT")])
@pytest.mark.parametrize("place", [1, 5, 60])
def test_a_frame_that_is_lost_is_a_gap_and_the_book_begins_anew(
    shared: Path, venue: Venue, symbol: str, place: int
) -> None:
    frames = recorded(shared)
    mine = [n for n, frame in enumerate(frames) if frame["arg"]["instId"] == symbol]
    lost, after = mine[place], mine[place + 1]
    replayed, down = Replayed(venue), False
    for number, frame in enumerate(frames):
        actions = replayed.hear(frame, lost=number == lost)
        if number == after:
            assert replayed.session.stats.gaps == 1
            down = True
        if number >= after and down:  # asked at once, or ten seconds after the last time
            assert {*asked(actions)} <= {("unsubscribe", symbol), ("subscribe", symbol)}
            if number == after + 20:
                last, at = frame_ids(frames[: number + 1], symbol)
                replayed.session.received(
                    json.dumps(fresh(replayed.naive[symbol], symbol, last, at)).encode(), at, at
                )
                down = False
    replayed.now += 100
    replayed.look()
    assert [*asked(replayed.actions)][-2:] == [("unsubscribe", symbol), ("subscribe", symbol)]
    assert replayed.session.stats.gaps == 1
    turns = [up for of, up in replayed.turns() if of == symbol]
    assert turns == [True, False, True] if place > 1 else turns[-1:] == [True]
    assert {of for of, up in replayed.turns() if not up} <= {symbol}


def frame_ids(frames: Sequence[dict[str, Any]], symbol: str) -> tuple[int, int]:
    """The last id of a book, and its time."""
    row = [frame["data"][0] for frame in frames if frame["arg"]["instId"] == symbol][-1]
    return row["seqId"], int(row["ts"])
