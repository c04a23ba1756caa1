"""Kraken's long recording of ten spot books, written as it writes books now: each change leaves the
book with the checksum that came with it, and one that is lost does not.

It is of 2021 and of the first version of its socket, with the same checksum over the same texts.
Its changes are put into frames of today, of which there is a short recording.
"""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from streams.events import Depth, FeedState, Instrument, Kind, Ms
from streams.feed.actions import Action, Send
from streams.feed.session import Session
from streams.venue import Listing
from streams.venues import kraken_spot
from tests.streams.venues.test_venues_recorded import frames, raw

RECORDING = "cryptofeed_kraken_v1_book1000.jsonl.gz"
START: Ms = 1_618_678_133_000
Message = tuple[str, bool, dict[str, list[list[str]]], str]
"""Pair, whether it is the whole book, the levels of each side as texts, the checksum."""


@cache
def recorded(shared: Path) -> list[Message]:
    """The snapshots and the changes of books, in the order in which they came."""
    messages: list[Message] = []
    data = gzip.decompress((shared / "frames" / "kraken_spot" / RECORDING).read_bytes())
    for frame in map(json.loads, data.splitlines()):
        if isinstance(frame, list):
            *_, pair = frame
            parts: dict[str, Any] = {}
            for part in frame[1:-2]:
                parts |= part
            sides = {
                "bids": parts.get("bs", parts.get("b", [])),
                "asks": parts.get("as", parts.get("a", [])),
            }
            messages.append((pair, "as" in parts, sides, parts.get("c", "")))
    return messages


def as_frame(message: Message) -> bytes:
    """The message as one of today: numbers as they were written, with all their zeros."""
    pair, whole, sides, checksum = message
    levels = {
        name: "[" + ",".join(f'{{"price":{p},"qty":{n}}}' for p, n, *_ in side) + "]"
        for name, side in sides.items()
    }
    crc = f',"checksum":{checksum}' if checksum else ""
    kind = "snapshot" if whole else "update"
    return (
        f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{pair}","bids":{levels["bids"]},'
        f'"asks":{levels["asks"]}{crc},"timestamp":"2021-04-17T16:48:53.000000Z"}}]}}'
    ).encode()


class Naive:
    """The best thousand levels of each side."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[float, float]] = {"bids": {}, "asks": {}}

    def take(self, message: Message) -> None:
        _, whole, sides, _ = message
        for name, levels in sides.items():
            side = self.sides[name]
            if whole:
                side.clear()
            for price, size, *_ in levels:
                side.pop(float(price), None)
                if float(size):
                    side[float(price)] = float(size)
            for price in sorted(side, reverse=name == "bids")[1_000:]:
                del side[price]

    @property
    def mid(self) -> float:
        return (max(self.sides["bids"]) + min(self.sides["asks"])) / 2

    def within(self, bp: int) -> tuple[float, float]:
        """Notional of both sides."""
        low, high = self.mid * (1 - bp / 10_000), self.mid * (1 + bp / 10_000)
        return (
            sum(p * n for p, n in self.sides["bids"].items() if p >= low),
            sum(p * n for p, n in self.sides["asks"].items() if p <= high),
        )


class Replayed:
    """A session that hears the recording, and a naive book beside each of its books."""

    def __init__(self, messages: list[Message]) -> None:
        symbols = list(dict.fromkeys(pair for pair, *_ in messages))
        known = {
            s: Instrument(venue="kraken-spot", symbol=s, asset=s.partition("/")[0], quote="USD",
                          spot=True)
            for s in symbols
        }  # fmt: skip
        (plan,) = kraken_spot.subscriptions([*known.values()], frozenset((Kind.DEPTH,)))
        self.session = Session(kraken_spot, plan, Listing(instruments=known), lambda: 0.0)
        self.naive = {symbol: Naive() for symbol in symbols}
        self.actions: list[Action] = []
        self.now, self.compared, self.behind = START, 0, ""
        self.actions += self.session.opened(self.now)

    def hear(self, message: Message, *, lost: bool = False) -> list[Action]:
        """A message comes, or gets lost on its way; then the books are read."""
        self.naive[message[0]].take(message)
        if lost:
            self.behind = message[0]
            return []
        self.now += 7
        actions = self.session.received(as_frame(message), self.now, self.now)
        actions += self.session.tick(self.now, self.now)
        for depth in (action for action in actions if isinstance(action, Depth)):
            if depth.symbol != message[0] or depth.symbol == self.behind:
                continue
            naive = self.naive[depth.symbol]
            assert depth.mid == naive.mid
            for band in depth.bands:
                assert (band.bid_usd, band.ask_usd) == pytest.approx(
                    naive.within(band.bp), rel=1e-9
                )
                self.compared += 1
        self.actions += actions
        return actions

    def downs(self) -> list[tuple[str, str]]:
        states = (action for action in self.actions if isinstance(action, FeedState))
        return [(state.symbol, state.reason) for state in states if not state.up]


def asked(actions: list[Action]) -> list[tuple[str, list[str]]]:
    messages = [json.loads(action.data) for action in actions if isinstance(action, Send)]
    return [(m["method"], m["params"]["symbol"]) for m in messages if "params" in m]


def test_each_recorded_change_leaves_the_book_with_its_checksum(shared: Path) -> None:
    messages = recorded(shared)
    assert len([m for m in messages if m[3]]) == 4_269
    replayed = Replayed(messages)
    for message in messages:
        replayed.hear(message)
    assert replayed.session.stats.gaps == 0
    assert replayed.downs() == []
    assert replayed.compared > 15_000


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_a_lost_change_near_the_price_is_a_gap_and_the_book_begins_anew(
    shared: Path, share: float
) -> None:
    """Of a change among the best ten levels; what lies deeper shows once the price is there."""
    messages = recorded(shared)
    replayed = Replayed(messages)
    after: list[Action] = []
    lost = -1
    for number, message in enumerate(messages):
        symbol = message[0]
        if lost < 0 and number > share * len(messages) and is_near(message, replayed.naive[symbol]):
            lost = number
            replayed.hear(message, lost=True)
            continue
        heard = replayed.hear(message)
        if lost >= 0:
            after += heard
            if replayed.session.stats.gaps:
                break
    symbol = messages[lost][0]
    assert replayed.session.stats.gaps == 1
    assert replayed.downs() == [(symbol, "book: not the venue's, by its checksum")]
    assert asked(after) == [("unsubscribe", [symbol]), ("subscribe", [symbol])]


def is_near(message: Message, naive: Naive) -> bool:
    """Whether it changes one of the best three levels."""
    for name, levels in message[2].items():
        best = sorted(naive.sides[name], reverse=name == "bids")[:3]
        if any(float(price) in best for price, *_ in levels):
            return True
    return False


def test_the_checksums_of_today_are_those_of_the_recorded_frames(shared: Path) -> None:
    of = Instrument(venue="kraken-spot", symbol="BTC/USD", asset="BTC", quote="USD", spot=True)
    (plan,) = kraken_spot.subscriptions([of], frozenset((Kind.DEPTH,)))
    session = Session(kraken_spot, plan, Listing(instruments={of.symbol: of}), lambda: 0.0)
    session.opened(0)
    depths = 0
    lines = [*frames(shared / "frames" / "kraken_spot" / "v2_book10_2026-08-24.jsonl")]
    for number, line in enumerate(lines, start=1):
        actions = session.received(line, number, START + number)
        actions += session.tick(number, START + number)
        depths += sum(isinstance(action, Depth) for action in actions)
    assert (session.stats.gaps, session.stats.dropped) == (0, 0)
    assert depths == 6  # the snapshot, two heartbeats, three changes


def test_the_recorded_listings_have_the_names_of_today(shared: Path) -> None:
    folder = shared / "frames" / "kraken_spot"
    nothing = b'{"error":[],"result":{}}'
    pairs = raw(folder / "cryptofeed_api_kraken_com_0_public_AssetPairs.json")
    listed, _, unreadable, _ = kraken_spot.instruments([pairs, nothing])
    named = {i.symbol: i.asset for i in listed}
    assert {"BTC/USD", "BTC/USDT", "BTC/USDC", "DOGE/USD", "ETH/USD"} <= named.keys()
    assert (named["BTC/USD"], named["DOGE/USD"]) == ("BTC", "DOGE")
    assert {i.quote for i in listed} == {"USD", "USDT", "USDC"}
    assert unreadable == ()  # dark pools have no name at the socket, and are left out
    pairs = raw(folder / "nautilus_http_asset_pairs.json")
    tickers = raw(folder / "nautilus_http_ticker.json")
    ((btc,), *_) = kraken_spot.instruments([pairs, tickers])
    assert (btc.symbol, btc.asset, btc.spot) == ("BTC/USDT", "BTC", True)
    assert btc.volume_24h_usd == pytest.approx(163.28908096 * 105_904.39279)
