"""Bitfinex's recording of seven books: no false gap, a true one found, bands as naive books have.

It is of pairs, which are told as contracts are, with numbers and without times.
"""

import json
import re
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
from streams.venues import bitfinex
from tests.streams.venue_cases import check_golden
from tests.streams.venues.test_venues_recorded import raw

FOLDER = "frames/bitfinex"
RECORDING = "cryptofeed_bitfinex_ticker_trades_book_seq"
Message = Any
"""As JSON has it: an event, or an array."""


@cache
def recorded(shared: Path) -> list[tuple[Message, Ms]]:
    """Each frame with the time at which it came."""
    lines = (shared / FOLDER / f"{RECORDING}.jsonl").read_text().splitlines()
    times = (shared / FOLDER / f"{RECORDING}.recv_times.txt").read_text().split()
    return [
        (json.loads(line), round(float(at) * 1_000)) for line, at in zip(lines, times, strict=True)
    ]


class Naive:
    """A book in two dicts."""

    def __init__(self) -> None:
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}

    def take(self, payload: list[Any]) -> None:
        whole = not payload or isinstance(payload[0], list)
        if whole:
            self.bids, self.asks = {}, {}
        for price, count, amount in payload if whole else [payload]:
            side = self.bids if amount > 0 else self.asks
            side.pop(price, None)
            if count:
                side[price] = abs(amount)

    @property
    def mid(self) -> float:
        return (max(self.bids) + min(self.asks)) / 2

    def within(self, bp: int) -> tuple[float, float]:
        """Notional of both sides."""
        low, high = self.mid * (1 - bp / 10_000), self.mid * (1 + bp / 10_000)
        return (
            sum(p * n for p, n in self.bids.items() if p >= low),
            sum(p * n for p, n in self.asks.items() if p <= high),
        )


class Replayed:
    """A session that hears the recording, and a naive book beside each of its books."""

    def __init__(self, messages: list[tuple[Message, Ms]]) -> None:
        opened = [m for m, _ in messages if isinstance(m, dict) and m.get("channel") == "book"]
        symbols = [m["symbol"] for m in opened]
        known = {
            s: Instrument(venue="bitfinex", symbol=s, asset=s[1:4], quote="USDT") for s in symbols
        }
        (plan,) = bitfinex.subscriptions([*known.values()], frozenset((Kind.DEPTH,)))
        self.session = Session(bitfinex, plan, Listing(instruments=known), lambda: 0.0)
        self.naive = {symbol: Naive() for symbol in symbols}
        self.actions: list[Action] = []
        self.channels: dict[int, str] = {}
        self.compared = 0
        self.now: Ms = messages[0][1]
        self.actions += self.session.opened(self.now)

    def hear(self, message: Message, at: Ms) -> list[Action]:
        """Ten times a second the books are read."""
        while at - self.now >= 100:
            self.now += 100
            self.look()
        if isinstance(message, dict):
            if message.get("channel") == "book":
                self.channels[message["chanId"]] = message["symbol"]
        elif message[0] in self.channels and message[1] != "hb":
            self.naive[self.channels[message[0]]].take(message[1])
        frame = json.dumps(message, separators=(",", ":")).encode()
        actions = self.session.received(frame, self.now, self.now)
        self.actions += actions
        return actions

    def look(self) -> None:
        """What the books say is what the naive ones have."""
        actions = self.session.tick(self.now, self.now)
        self.actions += actions
        for depth in (action for action in actions if isinstance(action, Depth)):
            naive = self.naive[depth.symbol]
            assert depth.mid == naive.mid
            for band in depth.bands:
                assert (band.bid_usd, band.ask_usd) == pytest.approx(
                    naive.within(band.bp), rel=1e-9
                )
                self.compared += 1


def hangups(actions: list[Action]) -> Iterator[str]:
    return (action.reason for action in actions if isinstance(action, Hangup))


def test_the_recording_replays_without_a_gap(shared: Path) -> None:
    messages = recorded(shared)
    assert sum(isinstance(message, list) for message, _ in messages) == 1_670
    replayed = Replayed(messages)
    for message, at in messages:
        replayed.hear(message, at)
    stats = replayed.session.stats
    assert (stats.gaps, stats.dropped, stats.duplicates, stats.unreadable_rows) == (0, 0, 0, 0)
    assert not [*hangups(replayed.actions)]
    states = [action for action in replayed.actions if isinstance(action, FeedState)]
    assert {state.symbol for state in states} == {*replayed.naive}
    assert all(state.up for state in states)
    assert replayed.compared > 4_000


@pytest.mark.parametrize("lost", [60, 500, 1_200, 1_600])
def test_a_frame_that_is_lost_costs_all_books_until_the_next_connection(
    shared: Path, lost: int
) -> None:
    """Whichever book it was of, nobody knows; whole books come with the next connection."""
    messages = recorded(shared)
    assert isinstance(messages[lost][0], list)
    replayed = Replayed(messages)
    for place, (message, at) in enumerate(messages[: lost + 2]):
        if place != lost:
            replayed.hear(message, at)
    (why,) = hangups(replayed.actions)
    assert re.fullmatch(r"frame \d+ of the connection came after \d+", why)
    assert replayed.session.stats.gaps == 1
    up: dict[str, bool] = {}
    for state in (action for action in replayed.actions if isinstance(action, FeedState)):
        up[state.symbol] = state.up
    assert up and not any(up.values())
    replayed.session.closed(why, replayed.now)
    replayed.actions += replayed.session.opened(replayed.now)
    later = replayed.now - messages[0][1]
    for message, at in messages:
        replayed.hear(message, at + later)
    assert replayed.session.stats.gaps == 1
    assert replayed.session.books() == (7, 7)


def test_recorded_listings(shared: Path) -> None:
    """Of 2021 and of 2023: pairs alone, by the names that are theirs elsewhere."""
    folder = shared / FOLDER
    names, tickers = raw(folder / "jkorf_spot_GetAssetSymbols.json"), b"[]"
    rows = json.loads(raw(folder / "jkorf_spot_GetFuturesSymbols.json"))
    of_2023 = json.dumps([[pair for pair, _ in rows[0]]]).encode()
    of_2021 = raw(folder / "cryptofeed_api_pub_bitfinex_com_v2_conf_pub_list_pair_future.json")
    lines: list[str] = []
    for pairs in (of_2021, of_2023):
        listed, _, unreadable, _ = bitfinex.instruments([pairs, names, tickers])
        assert unreadable == ()
        lines += [msgspec.json.encode(of).decode() for of in listed]
    assets = {json.loads(line)["asset"] for line in lines}
    assert {"BTC", "IOTA", "ATOM", "AMPL", "POL", "S", "A", "XAUT"} <= assets
    assert not assets & {"EUR", "GBP", "JPY", "TRY", "XAG", "XPD", "XPT", "UKOIL", "BTCDOM", "BVIV",
                         "EVIV", "GERMANY40IX", "EUROPE50IX", "UK100IX", "TESTBTC"}  # fmt: skip
    check_golden("recorded/bitfinex/listing.jsonl", lines)
