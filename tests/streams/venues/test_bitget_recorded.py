"""Recorded frames of Bitget's older websocket (v2): the same facts by other names.

A probe of September 2026 saw one change of a book on both, with the same ids, time and levels. So
what was recorded of v2 alone (the chain of ids, refusals) is read here as v3 would write it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.events import Instrument, Kind, Liquidation, OpenInterest, Price, Volume
from streams.feed.book import Book, Verdict
from streams.venue import BookUpdate, Decoded, Listing, Poll, Reply, Request
from streams.venues import bitget
from tests.streams.venue_cases import SEEN, as_line, check_golden, check_invariants
from tests.streams.venues.test_venues_recorded import frames

SYMBOLS = ("BTCUSDT", "MAVUSDT", "BELUSDT", "AXSUSDT", "APEUSDT", "IPUSDT", "STORJUSDT")
KNOWN = Listing(
    instruments={
        symbol: Instrument(
            venue="bitget", symbol=symbol, asset=symbol[:-4], quote="USDT", funding_hours=8.0
        )
        for symbol in SYMBOLS
    }
)


def as_v3(frame: dict[str, Any]) -> dict[str, Any]:
    """What v3 would have written. Books of 2024 have no ids: there they count up from 1."""
    old = frame.get("arg", {})
    if "channel" not in old:
        return frame
    arg = {
        "instType": old["instType"].lower(), "topic": old["channel"], "symbol": old["instId"]
    }  # fmt: skip
    changed = frame | {"arg": arg}
    if arg["topic"] == "books" and "data" in frame:
        is_snapshot = frame["action"] == "snapshot"
        changed["data"] = [
            {"seq": 1 if is_snapshot else 2, "pseq": 0 if is_snapshot else 1, **row}
            | {"a": row["asks"], "b": row["bids"]}
            for row in frame["data"]
        ]
    return changed


def recorded(shared: Path, file: str) -> Iterator[dict[str, Any]]:
    return map(json.loads, frames(shared / "frames" / "bitget" / file))


def read(frame: dict[str, Any]) -> list[Decoded]:
    data = json.dumps(as_v3(frame), separators=(",", ":")).encode()
    return bitget.decode(data, KNOWN, SEEN)


@pytest.mark.parametrize(
    "file", ["probe_ws_books_2026-09-15.jsonl", "tardis_v2_futures_ws_2024.jsonl"]
)
def test_recorded_frames_of_v2_give_their_golden_events(shared: Path, file: str) -> None:
    lines: list[str] = []
    for frame in recorded(shared, file):
        if frame.get("arg", {}).get("channel") in ("trade", "books15"):
            continue  # v3 has them by other names
        decoded = read(frame)
        for item in decoded:
            check_invariants(item)
        lines.append(as_line(decoded))
    check_golden(f"recorded/bitget/{file}", lines)


def test_one_change_is_the_same_on_both_websockets(shared: Path) -> None:
    probe = [*recorded(shared, "probe_ws_books_2026-09-15.jsonl")]
    (old,), (new,) = read(probe[2]), read(probe[4])
    assert ("channel" in probe[2]["arg"], "topic" in probe[4]["arg"]) == (True, True)
    assert old == new


def test_the_recorded_chain_of_ids_is_a_book(shared: Path) -> None:
    """The first change after the snapshot brings a level at half the price."""
    snapshot, first, second = [*recorded(shared, "probe_ws_books_2026-09-15.jsonl")][1:4]
    for frames_taken, verdicts in (
        ((snapshot, first, second), [Verdict.APPLIED] * 3),
        ((snapshot, second), [Verdict.APPLIED, Verdict.GAP]),
    ):
        book = Book()
        assert verdicts == [book.update(update(frame)) for frame in frames_taken]
        assert book.synced == (verdicts[-1] is Verdict.APPLIED)
        if book.synced:
            sample = book.sample()
            assert not isinstance(sample, str)
            assert sample.mid == (0.01038 + 0.01039) / 2


def update(frame: dict[str, Any]) -> BookUpdate:
    (item,) = read(frame)
    assert isinstance(item, BookUpdate)
    return item


def test_recorded_refusals_name_their_contract(shared: Path) -> None:
    *_, unknown, channel = recorded(shared, "probe_ws_books_2026-09-15.jsonl")
    (reply,) = read(unknown)
    assert isinstance(reply, Reply)
    assert (reply.ok, reply.symbols) == (False, ("NOPEUSDT",))
    assert reply.text.startswith("30001: instType:USDT-FUTURES,channel:books,instId:NOPEUSDT")
    assert read(channel)[0].text == "30016: Param error"  # pyright: ignore


def test_amounts_of_recorded_liquidations_are_in_usdt(shared: Path) -> None:
    """Divided by their prices they are sizes with the one decimal that orders have."""
    *_, frame = recorded(shared, "tardis_v3_futures_ws_2026-04-28.jsonl")
    ape, ip = (item for item in read(frame) if isinstance(item, Liquidation))
    assert (ape.base, ip.base) == (pytest.approx(83.1, abs=1e-9), pytest.approx(286.5, abs=1e-9))
    assert (ape.usd, ip.usd) == (pytest.approx(13.70319), pytest.approx(143.330431857868))
    assert [frame["ts"] - item.at for item in (ape, ip)] == [10_618, 20_184]


def poll(kind: Kind) -> Poll:
    return Poll(request=Request(path="/"), kind=kind, every_s=1.0)


def answer(*rows: dict[str, Any]) -> bytes:
    return json.dumps({"code": "00000", "requestTime": SEEN, "data": rows}).encode()


def test_recorded_rows_of_the_answers_of_all_contracts(shared: Path) -> None:
    ticker, funding = recorded(shared, "probe_rest_rows_2026-09-15.jsonl")
    (price,) = bitget.decode_poll(poll(Kind.PRICE), answer(ticker), KNOWN, SEEN)
    terms, rate = bitget.decode_poll(poll(Kind.FUNDING), answer(funding), KNOWN, SEEN)
    check_golden(
        "recorded/bitget/probe_rest_rows_2026-09-15.jsonl", [as_line([price, terms, rate])]
    )
    # the one who recorded the row left these two out
    assert bitget.decode_poll(poll(Kind.OPEN_INTEREST), answer(ticker), KNOWN, SEEN) == []
    assert bitget.decode_poll(poll(Kind.VOLUME), answer(ticker), KNOWN, SEEN) == []


def test_a_recorded_ticker_of_v2_is_a_row_of_the_answer(shared: Path) -> None:
    """The socket's row, which has the fields of the answer and all of them recorded."""
    (row,) = (
        frame["data"][0]
        for frame in recorded(shared, "tardis_v2_futures_ws_2024.jsonl")
        if "data" in frame and frame["data"][0].get("instId") == "STORJUSDT"
    )
    (price,), (interest,), (volume,) = (
        bitget.decode_poll(poll(kind), answer(row), KNOWN, SEEN)
        for kind in (Kind.PRICE, Kind.OPEN_INTEREST, Kind.VOLUME)
    )
    assert isinstance(price, Price)
    assert isinstance(interest, OpenInterest)
    assert isinstance(volume, Volume)
    assert (price.mark, price.index) == (0.4705, 0.47080586)
    assert (interest.base, interest.usd) == (8_572_031.1, pytest.approx(8_572_031.1 * 0.4705))
    assert volume.usd_24h == 1_355_483.45089
    assert volume.usd_24h == pytest.approx(2_878_355.9 * 0.4706, rel=0.01)  # coins × price
