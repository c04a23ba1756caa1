"""Kraken's recording of ten inverse books: no false gap, a true one found, and naive books beside.

It is of 2021: 7,014 changes within half a minute, of dated contracts and of perpetuals, whose books
are written in the same way.
"""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.events import Depth, FeedState, Instrument, Kind, Ms
from streams.feed.actions import Action, Send
from streams.feed.session import Session
from streams.venue import BookUpdate, Listing
from streams.venues import kraken
from tests.streams.venue_cases import SEEN, check_golden

Frame = dict[str, Any]
RECORDING = "cryptofeed_krakenfutures_book_ticker_lite_trade.jsonl.gz"


def of_file(shared: Path, name: str) -> bytes:
    return (shared / "frames" / "kraken_futures" / name).read_bytes()


def recorded(shared: Path) -> list[Frame]:
    """The snapshots and changes of books, in the order in which they came."""
    frames = map(json.loads, gzip.decompress(of_file(shared, RECORDING)).splitlines())
    return [frame for frame in frames if "seq" in frame and frame["feed"] != "trade"]


class Naive:
    """A book in two dicts, in contracts of 1 USD."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[float, float]] = {"buy": {}, "sell": {}}

    def take(self, frame: Frame) -> None:
        if frame["feed"] == "book_snapshot":
            for name, levels in (("buy", frame["bids"]), ("sell", frame["asks"])):
                self.sides[name] = {level["price"]: level["qty"] for level in levels}
            return
        side = self.sides[frame["side"]]
        side[frame["price"]] = frame["qty"]
        if not frame["qty"]:
            del side[frame["price"]]

    @property
    def mid(self) -> float:
        return (max(self.sides["buy"]) + min(self.sides["sell"])) / 2

    def within(self, bp: int) -> tuple[float, float]:
        """USD of both sides."""
        low, high = self.mid * (1 - bp / 10_000), self.mid * (1 + bp / 10_000)
        return (
            sum(usd for price, usd in self.sides["buy"].items() if price >= low),
            sum(usd for price, usd in self.sides["sell"].items() if price <= high),
        )


class Replayed:
    """A session that is told the recording, and a naive book beside each of its books."""

    def __init__(self, frames: list[Frame]) -> None:
        symbols = list(dict.fromkeys(frame["product_id"] for frame in frames))
        known = {
            symbol: Instrument(
                venue="kraken", symbol=symbol, asset=symbol[3:6], quote="USD", inverse=True,
                funding_hours=1.0,
            )
            for symbol in symbols
        }  # fmt: skip
        (plan,) = kraken.subscriptions([*known.values()], frozenset((Kind.DEPTH,)))
        self.session = Session(kraken, plan, Listing(instruments=known), lambda: 0.0)
        self.naive = {symbol: Naive() for symbol in symbols}
        self.actions: list[Action] = []
        self.compared = 0
        self.now: Ms = frames[0]["timestamp"]
        self.actions += self.session.opened(self.now)

    def hear(self, frame: Frame) -> list[Action]:
        """Ten times a second the books are read."""
        while frame["timestamp"] - self.now >= 100:
            self.now += 100
            self.look()
        self.naive[frame["product_id"]].take(frame)
        actions = self.session.received(json.dumps(frame).encode(), self.now, self.now)
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
                assert band.covered
                self.compared += 1


def asked(actions: list[Action]) -> Iterator[tuple[str, str, list[str]]]:
    for action in actions:
        if isinstance(action, Send):
            message = json.loads(action.data)
            yield message["event"], message["feed"], message["product_ids"]


def test_the_recording_replays_without_a_gap(shared: Path) -> None:
    frames = recorded(shared)
    replayed = Replayed(frames)
    for frame in frames:
        replayed.hear(frame)
    replayed.now += 100
    replayed.look()
    assert sum(frame["feed"] == "book" for frame in frames) == 7_014
    assert (replayed.session.stats.gaps, replayed.session.stats.duplicates) == (0, 0)
    states = [action for action in replayed.actions if isinstance(action, FeedState)]
    assert {state.symbol for state in states} == {*replayed.naive}
    assert all(state.up for state in states)
    assert replayed.compared > 1_000


@pytest.mark.parametrize("symbol", ["PI_ETHUSD", "PI_LTCUSD", "PI_XRPUSD", "FI_BCHUSD_210730"])
@pytest.mark.parametrize("place", [1, 4, 11])
def test_a_frame_that_is_lost_is_a_gap_and_the_book_begins_anew(
    shared: Path, symbol: str, place: int
) -> None:
    frames = recorded(shared)
    mine = [
        number
        for number, frame in enumerate(frames)
        if frame["product_id"] == symbol and frame["feed"] == "book"
    ]
    lost, after = mine[place], mine[place + 1]
    replayed, gap = Replayed(frames), list[Action]()
    for number, frame in enumerate(frames[: after + 1]):
        if number == lost:
            continue
        gap = replayed.hear(frame)
        assert replayed.session.stats.gaps == (number == after)
    assert [*asked(gap)] == [("unsubscribe", "book", [symbol]), ("subscribe", "book", [symbol])]


def test_every_recorded_change_follows_the_one_before(shared: Path) -> None:
    frames, last = recorded(shared), dict[str, int]()
    known = Replayed(frames).session.listing
    for frame in frames:
        (update,) = kraken.decode(json.dumps(frame).encode(), known, SEEN)
        assert isinstance(update, BookUpdate)
        assert update.snapshot == (update.symbol not in last)
        assert update.snapshot or update.first == last[update.symbol] + 1
        last[update.symbol] = update.last


def test_recorded_listings(shared: Path) -> None:
    """Of 2021 with five perpetuals, of 2022 (an example of the documentation) and of 2025."""
    names = (
        "cryptofeed_futures_kraken_com_derivatives_api_v3_instruments.json",
        "jkorf_futures_GetSymbols.json",
        "nautilus_http_futures_instruments.json",
    )
    lines: list[str] = []
    for name in names:
        tickers = of_file(shared, "nautilus_http_futures_tickers.json")
        listed, _, unreadable, _ = kraken.instruments([of_file(shared, name), tickers])
        assert unreadable == ()
        lines += [msgspec.json.encode(contract).decode() for contract in listed]
    check_golden("recorded/kraken/listing.jsonl", lines)
    symbols = [msgspec.json.decode(line)["symbol"] for line in lines]
    assert symbols == [
        "PI_XBTUSD", "PI_ETHUSD", "PI_LTCUSD", "PI_BCHUSD", "PI_XRPUSD", "PI_XBTUSD", "PF_XBTUSD",
        "PI_XBTUSD", "PF_ETHUSD", "PF_PEPEUSD",
    ]  # fmt: skip


def test_recorded_rates_are_the_absolute_ones_by_the_index(shared: Path) -> None:
    """In coins for a USD (PI_) and in USD for a coin (PF_), as of the hour's beginning."""
    data = of_file(shared, "tardis_krakenfutures_ticker_trade_liquidation_book.jsonl")
    data += of_file(shared, "jkorf_futures_public.jsonl")
    data += of_file(shared, "nautilus_ws_futures_ticker.jsonl")
    rows = [row for row in map(json.loads, data.splitlines()) if row.get("relative_funding_rate")]
    assert {row["product_id"][:3] for row in rows} == {"PI_", "PF_"}
    for row in rows:
        factor = row["index"] if row["product_id"].startswith("PI_") else 1 / row["index"]
        assert row["relative_funding_rate"] == pytest.approx(row["funding_rate"] * factor, rel=4e-3)
