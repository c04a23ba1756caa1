"""Recorded frames of Lighter: a change continues the book, and units are as told."""

import json
from pathlib import Path

import pytest

from streams.events import Liquidation, OpenInterest
from streams.venue import BookUpdate
from streams.venues import lighter
from tests.streams.venue_cases import SEEN
from tests.streams.venues.test_venues_recorded import frames, known, raw

FOLDER = "frames/lighter"


def test_the_recorded_change_continues_the_recorded_book(shared: Path) -> None:
    listed = known("lighter", "1")
    path = shared / FOLDER / "tardis_lighter_order_book.jsonl"
    book, change = (fact for frame in frames(path) for fact in lighter.decode(frame, listed, SEEN))
    assert isinstance(book, BookUpdate) and isinstance(change, BookUpdate)
    assert (book.snapshot, change.snapshot) == (True, False)
    assert change.previous == book.last == 10_382_292_136


def test_recorded_open_interest_is_in_usd(shared: Path) -> None:
    """That of ETH, as coins, would be 162 bn USD."""
    listed = known("lighter", "0 1")
    path = shared / FOLDER / "tardis_lighter_market_stats.jsonl"
    first = lighter.decode(next(frames(path)), listed, SEEN)
    usd = {fact.symbol: fact.usd for fact in first if isinstance(fact, OpenInterest)}
    assert usd["0"] == 70_209_112.921092 == pytest.approx(30_408.5622 * 2_308.86)
    by_rest = json.loads(raw(shared / FOLDER / "nautilus_http_order_book_details.json"))
    (eth,) = by_rest["order_book_details"]
    assert eth["open_interest"] * eth["last_trade_price"] == pytest.approx(usd["0"], rel=0.1)


def test_the_recorded_liquidation_closed_what_its_taker_held(shared: Path) -> None:
    listed = known("lighter", "1")
    path = shared / FOLDER / "tardis_lighter_trades_liquidations.jsonl"
    facts = [fact for frame in frames(path) for fact in lighter.decode(frame, listed, SEEN)]
    order, again = [fact for fact in facts if isinstance(fact, Liquidation)]
    assert order == again and order.trade_id  # what a subscription begins with
    assert (order.base, str(order.position)) == (0.01664, "short")  # its position was -0.01664
