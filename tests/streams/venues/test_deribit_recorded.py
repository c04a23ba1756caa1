"""Deribit's recordings: listings of three years, and books whose changes follow each other.

The books are those of ten options, of 2021: no perpetual's was recorded for longer than two frames,
and all books of Deribit are written in the same way.
"""

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
from streams.venues import deribit
from tests.streams import frames as made
from tests.streams.venue_cases import SEEN, check_golden

Frame = dict[str, Any]
NOTHING = b'{"result":[]}'


def of_file(shared: Path, name: str) -> bytes:
    return (shared / "frames" / "deribit" / name).read_bytes()


@pytest.mark.parametrize(
    ("currency", "perpetuals"), [("BTC", 1), ("ETH", 1), ("SOL", 1), ("USDC", 16)]
)
def test_recorded_listings(shared: Path, currency: str, perpetuals: int) -> None:
    """Of 2021 and 2022, among hundreds of options and dated contracts."""
    name = (
        f"cryptofeed_www_deribit_com_api_v2_public_get_instruments_currency_{currency}"
        "_expired_false.json"
    )
    rows = json.loads(of_file(shared, name))["result"]
    listed, _, unreadable, _ = deribit.instruments([of_file(shared, name), NOTHING])
    assert unreadable == ()
    assert [i.symbol for i in listed] == [
        row["instrument_name"] for row in rows if row["instrument_name"].endswith("-PERPETUAL")
    ]
    assert len(listed) == perpetuals
    assert {i.inverse for i in listed} == {currency != "USDC"}
    assert {i.ends_at for i in listed} == {None}
    if currency == "USDC":
        lines = [msgspec.json.encode(i).decode() for i in listed]
        check_golden("recorded/deribit/listing.jsonl", lines)


def test_recorded_listing_of_2025(shared: Path) -> None:
    listed, _, unreadable, _ = deribit.instruments(
        [of_file(shared, "nautilus_http_get_instruments.json"), NOTHING]
    )
    assert unreadable == ()
    assert [(i.symbol, i.asset, i.quote, i.inverse) for i in listed] == [
        ("BTC-PERPETUAL", "BTC", "USD", True)
    ]


def test_recorded_trades_by_rest_are_no_liquidations(shared: Path) -> None:
    """Legs of combinations among them; their rows are those of the channel."""
    known = Listing(instruments={i.symbol: i for i in made.contracts("deribit", "X")})
    for name in ("", "_perpetual_with_combo_tags"):
        answer = json.loads(of_file(shared, f"nautilus_http_get_last_trades{name}.json"))
        trades = answer["result"]["trades"]
        frame = made.deribit_tells("trades.future.any.100ms", trades)
        assert len(trades) > 6
        assert deribit.decode(frame, known, SEEN) == []


def recorded(shared: Path) -> list[Frame]:
    """The messages of books, in the order in which they came."""
    data = of_file(shared, "cryptofeed_deribit_options_ticker_book_raw.jsonl")
    frames = [json.loads(line) for line in data.splitlines()]
    return [f for f in frames if f.get("params", {}).get("channel", "").startswith("book.")]


def symbol_of(frame: Frame) -> str:
    return frame["params"]["data"]["instrument_name"]


class Naive:
    """A book in two dicts."""

    def __init__(self) -> None:
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}

    def take(self, data: Frame) -> None:
        for side, levels in ((self.bids, data["bids"]), (self.asks, data["asks"])):
            if data["type"] == "snapshot":
                side.clear()
            for action, price, amount in levels:
                side.pop(price, None)
                if action != "delete":
                    side[price] = amount

    def within(self, bp: int) -> tuple[float, float]:
        mid = (max(self.bids) + min(self.asks)) / 2
        low, high = mid * (1 - bp / 10_000), mid * (1 + bp / 10_000)
        return (
            sum(p * size for p, size in self.bids.items() if p >= low),
            sum(p * size for p, size in self.asks.items() if p <= high),
        )


class Replayed:
    """A session that is told the recording, and a naive book beside each of its books."""

    def __init__(self, frames: list[Frame]) -> None:
        symbols = list(dict.fromkeys(map(symbol_of, frames)))
        known = {
            symbol: Instrument(
                venue="deribit", symbol=symbol, asset="BTC", quote="USDC", funding_hours=1.0
            )
            for symbol in symbols
        }
        (plan,) = deribit.subscriptions([*known.values()], frozenset((Kind.DEPTH,)))
        self.session = Session(deribit, plan, Listing(instruments=known), lambda: 0.0)
        self.naive = {symbol: Naive() for symbol in symbols}
        self.actions: list[Action] = []
        self.compared = 0
        self.now: Ms = min(frame["params"]["data"]["timestamp"] for frame in frames)
        self.actions += self.session.opened(self.now)

    def hear(self, frame: Frame) -> list[Action]:
        """The books are read each second until a frame comes."""
        data = frame["params"]["data"]
        while data["timestamp"] - self.now >= 1_000:
            self.now += 1_000
            self.look()
        self.naive[symbol_of(frame)].take(data)
        actions = self.session.received(json.dumps(frame).encode(), self.now, self.now)
        self.actions += actions
        return actions

    def look(self) -> None:
        """What the books say is what the naive ones have."""
        actions = self.session.tick(self.now, self.now)
        self.actions += actions
        for depth in (action for action in actions if isinstance(action, Depth)):
            naive = self.naive[depth.symbol]
            assert depth.mid == pytest.approx((max(naive.bids) + min(naive.asks)) / 2, rel=1e-12)
            for band in depth.bands:
                sums = naive.within(band.bp)
                assert (band.bid_usd, band.ask_usd) == pytest.approx(sums, rel=1e-9)
                assert band.covered
                self.compared += 1


def test_the_recording_replays_without_a_gap(shared: Path) -> None:
    frames = recorded(shared)
    replayed = Replayed(frames)
    for frame in frames:
        replayed.hear(frame)
    replayed.now += 1_000
    replayed.look()
    assert (len(frames), len(replayed.naive)) == (46, 10)
    assert (replayed.session.stats.gaps, replayed.session.stats.duplicates) == (0, 0)
    # those that had both sides stay up
    states = [action for action in replayed.actions if isinstance(action, FeedState)]
    assert states and all(state.up for state in states)
    assert replayed.compared > 500


def asked(actions: list[Action]) -> Iterator[tuple[str, list[str]]]:
    for action in actions:
        if isinstance(action, Send) and action.data != deribit.SPEC.ping:
            message = json.loads(action.data)
            yield message["method"], message["params"]["channels"]


def test_a_frame_that_is_lost_is_a_gap_and_the_book_begins_anew(shared: Path) -> None:
    """Each change in turn that another one follows."""
    frames = recorded(shared)
    lost = [
        (place, symbol_of(frame))
        for place, frame in enumerate(frames)
        if frame["params"]["data"]["type"] == "change"
        and symbol_of(frame) in map(symbol_of, frames[place + 1 :])
    ]
    assert len(lost) > 30
    for place, symbol in lost:
        replayed = Replayed(frames)
        gaps: list[Action] = []
        for number, frame in enumerate(frames):
            if number == place:
                continue
            gaps += replayed.hear(frame)
            if number > place and symbol_of(frame) == symbol:
                break
        assert replayed.session.stats.gaps == 1
        channel = f"book.{symbol}.100ms"
        assert [*asked(gaps)] == [
            ("public/unsubscribe", [channel]), ("public/subscribe", [channel])
        ]  # fmt: skip


def test_every_recorded_change_follows_the_one_before(shared: Path) -> None:
    frames, last = recorded(shared), dict[str, int]()
    known = Replayed(frames).session.listing
    for frame in frames:
        (update,) = deribit.decode(json.dumps(frame).encode(), known, SEEN)
        assert isinstance(update, BookUpdate)
        assert update.snapshot == (update.symbol not in last)
        assert update.snapshot or update.previous == last[update.symbol]
        last[update.symbol] = update.last
