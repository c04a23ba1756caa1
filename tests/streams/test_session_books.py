"""The books of a session: sequences broken and mended, silence, crossing, reach, memory."""

from itertools import pairwise

import pytest

from streams.book import WAIT_MS
from streams.events import Depth, FeedState
from tests.streams import frames
from tests.streams.frames import BIDS
from tests.streams.played import Played, depths, fetches, notes, reasons, sent, turns
from tests.streams.virtual import EPOCH

NARROW = (((99.99, 5.0),), ((100.01, 5.0),))
CROSSED = (((101.0, 1.0),), ())


def test_impossible_numbers_in_a_book_cost_at_most_that_book() -> None:
    played = Played("binance", "book-1", "BTC", "ETH")
    played.open()
    played.live_book("BTCUSDT")
    played.live_book("ETHUSDT")
    inf = float("inf")
    odd = [inf, -inf, float("nan"), 0.0, -5.0, 1e300, 1e-300, 1e18, 1e-18, 99.990000001, 3.0]
    last = 10
    for price in odd:
        for levels in (((price, 1e18), (price, 1e-18)), ((99.0, price), (101.0, price))):
            last += 1
            played.hear(frames.change("BTCUSDT", last, last, levels[:1], levels[1:]))
            played.tick(1, frames.change("ETHUSDT", last, last))
            assert depths(played.done[-1:]) == ["ETHUSDT"]
    for depth in played.done:
        if isinstance(depth, Depth):
            sums = [usd for band in depth.bands for usd in (band.bid_usd, band.ask_usd)]
            assert all(0 <= usd < inf for usd in [depth.mid, *sums])
    assert "-depth ETHUSDT" not in turns(played.done)


# ── books: Binance ──────────────────────────────────────────────────────


def test_a_binance_book_asks_once_its_stream_began_and_is_up_with_the_snapshot() -> None:
    played = Played("binance", "book-1", "BTC", "ETH")
    played.open()
    assert played.tick(3) == []  # before the stream a snapshot would be too old
    assert fetches(played.hear(frames.change("BTCUSDT", 8, 10))) == ["BTCUSDT"]
    assert played.hear(frames.change("BTCUSDT", 11, 12)) == []
    assert played.tick() == []
    assert played.fetch("BTCUSDT", frames.snapshot(11)) == []
    actions = played.tick()
    assert turns(actions) == ["+depth BTCUSDT"]
    assert depths(actions) == ["BTCUSDT"]
    assert played.session.books() == (1, 2)
    assert not played.session.ready
    assert depths(played.tick(3, frames.change("ETHUSDT", 5, 5))) == ["BTCUSDT"] * 3
    depth = played.done[-1]
    assert isinstance(depth, Depth)
    assert depth.mid == 100.0
    assert depth.seen == played.seen


def test_a_snapshot_ahead_of_the_stream_waits_and_is_not_asked_for_again() -> None:
    played = Played("binance", "book-1", "BTC")
    played.open()
    played.hear(frames.change("BTCUSDT", 1, 1))
    played.tick(12)  # it waited in the queue
    played.fetch("BTCUSDT", frames.snapshot(100))
    assert played.tick(9, frames.change("BTCUSDT", 2, 2)) == []
    assert fetches(played.hear(frames.change("BTCUSDT", 3, 101, previous=2))) == []
    assert turns(played.tick()) == ["+depth BTCUSDT"]


def test_a_snapshot_older_than_the_stream_is_asked_for_again() -> None:
    played = Played("binance", "book-1", "BTC")
    played.open()
    assert fetches(played.hear(frames.change("BTCUSDT", 50, 60))) == ["BTCUSDT"]
    assert played.fetch("BTCUSDT", frames.snapshot(20)) == []
    assert fetches(played.tick(9, frames.change("BTCUSDT", 61, 61))) == []
    assert fetches(played.tick(1)) == ["BTCUSDT"]
    played.fetch("BTCUSDT", frames.snapshot(60))
    assert turns(played.tick()) == ["+depth BTCUSDT"]


def test_a_snapshot_that_never_comes_is_asked_for_ever_more_rarely() -> None:
    played = Played("binance", "book-1", "BTC")
    played.open()
    asked = [
        place
        for place in range(699)
        if fetches(played.tick(1, frames.change("BTCUSDT", place + 1, place + 1)))
    ]
    assert asked == [0, 10, 30, 70, 150, 310, 470, 630]


def test_a_book_that_waits_for_hours_stays_small_and_can_still_begin() -> None:
    """REST may be banned for days while the stream goes on."""
    played = Played("binance", "book-1", "BTC")
    played.open()
    last = 0
    for _ in range(1000):
        last += 1
        price = 90 + last / 1000
        levels = [(price, 1.0)], [(price + 20, 1.0)]
        played.hear(frames.change("BTCUSDT", last, last, *levels, at=EPOCH + last * 500))
    book = played.session._books._states["BTCUSDT"].book
    assert len(book._buffer or []) <= 2 * WAIT_MS / 500
    assert book.levels() == 0
    played.fetch("BTCUSDT", frames.snapshot(last))
    assert turns(played.tick()) == ["+depth BTCUSDT"]
    played.hear(frames.change("BTCUSDT", last + 1, last + 1))
    assert depths(played.tick()) == ["BTCUSDT"]


def test_a_gap_costs_one_symbol_and_only_that_is_asked_for() -> None:
    played = Played("binance", "book-1", "BTC", "ETH", "SOL")
    played.open()
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        played.live_book(symbol)
    played.tick(20, *(frames.change(s, 10, 10) for s in ("BTCUSDT", "ETHUSDT", "SOLUSDT")))
    actions = played.hear(frames.change("ETHUSDT", 15, 16))
    assert turns(actions) == ["-depth ETHUSDT"]
    assert reasons(actions) == ["book: a change is missing"]
    assert isinstance(actions[0], FeedState)
    assert fetches(actions) == ["ETHUSDT"]
    assert played.session.stats.gaps == 1
    actions = played.tick(2, frames.change("BTCUSDT", 10, 10))
    assert depths(actions) == ["BTCUSDT", "SOLUSDT"] * 2
    assert fetches(actions) == []
    played.fetch("ETHUSDT", frames.snapshot(16))
    assert turns(played.tick()) == ["+depth ETHUSDT"]


def test_a_gap_right_after_another_waits_for_its_turn() -> None:
    played = Played("binance", "book-1", "BTC")
    played.open()
    played.live_book("BTCUSDT", 10)
    played.tick(10)
    assert fetches(played.hear(frames.change("BTCUSDT", 15, 16))) == ["BTCUSDT"]
    assert fetches(played.hear(frames.change("BTCUSDT", 19, 19))) == []
    assert played.session.stats.gaps == 2
    assert fetches(played.tick(9, frames.change("BTCUSDT", 20, 20))) == []
    assert fetches(played.tick(1)) == ["BTCUSDT"]


def test_duplicates_and_reordered_changes_are_ignored() -> None:
    played = Played("binance", "book-1", "BTC")
    played.open()
    played.live_book("BTCUSDT", 10)
    for last in (11, 12, 13):
        assert played.hear(frames.change("BTCUSDT", last, last, [(99.95, last)])) == []
    for last in (12, 11, 13, 10):
        assert played.hear(frames.change("BTCUSDT", last, last, [(99.95, 1e6)])) == []
    assert played.session.stats.duplicates == 4
    depth = played.tick()[0]
    assert isinstance(depth, Depth)
    assert depth.bands[0].bid_usd == pytest.approx(99.99 * 5 + 99.95 * 13 + 99.9 * 7, rel=1e-6)


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_a_book_crossed_for_three_seconds_is_asked_for_anew(venue: str) -> None:
    played = Played(venue, "book-1", "BTC")
    played.open()
    if venue == "binance":
        played.live_book("BTCUSDT", 10)
        crossing, healing = (
            frames.change("BTCUSDT", 11, 11, *CROSSED),
            frames.change("BTCUSDT", 12, 12, [(101.0, 0.0)]),
        )
    else:
        played.hear(frames.bybit_book("BTCUSDT", 10))
        crossing, healing = (
            frames.bybit_book("BTCUSDT", 11, *CROSSED, delta=True),
            frames.bybit_book("BTCUSDT", 12, [(101.0, 0.0)], [], delta=True),
        )
    played.tick(12)
    played.hear(crossing)
    actions = played.tick(2)
    assert turns(actions) == ["-depth BTCUSDT"]
    assert reasons(actions) == ["book: crossed"]
    played.hear(healing)
    assert turns(played.tick()) == ["+depth BTCUSDT"]
    played.hear(
        frames.change("BTCUSDT", 13, 13, *CROSSED)
        if venue == "binance"
        else frames.bybit_book("BTCUSDT", 13, *CROSSED, delta=True)
    )
    assert [len(fetches(a) + sent(a)) for a in (played.tick() for _ in range(3))] == [0, 0, 0]
    actions = played.tick()
    assert depths(actions) == []
    if venue == "binance":
        assert fetches(actions) == ["BTCUSDT"]
        played.hear(frames.change("BTCUSDT", 20, 20))
        played.fetch("BTCUSDT", frames.snapshot(20))
    else:
        assert [message["op"] for message in sent(actions)] == ["unsubscribe", "subscribe"]
        played.hear(frames.bybit_book("BTCUSDT", 20))
    assert turns(played.tick()) == ["+depth BTCUSDT"]


def test_a_book_of_impossible_numbers_is_invalid_and_asked_for_anew() -> None:
    played = Played("binance", "book-1", "BTC")
    played.open()
    played.live_book("BTCUSDT", 10)
    played.tick(12)
    played.hear(frames.change("BTCUSDT", 11, 11, [(99.98, -5.0)]))
    assert reasons(played.tick()) == ["book: of impossible sizes"]
    actions = played.tick(3)
    assert depths(actions) == []
    assert fetches(actions) == ["BTCUSDT"]
    played.hear(frames.change("BTCUSDT", 12, 12))
    played.fetch("BTCUSDT", frames.snapshot(12))
    assert turns(played.tick()) == ["+depth BTCUSDT"]


def test_a_one_sided_book_is_said_to_be_so_once() -> None:
    played = Played("binance", "book-1", "BTC")
    played.open()
    played.live_book("BTCUSDT", 10)
    played.hear(frames.change("BTCUSDT", 11, 11, [(price, 0.0) for price, _ in BIDS]))
    actions = played.tick(20, frames.change("BTCUSDT", 11, 11))
    assert turns(actions) == ["-depth BTCUSDT"]
    assert reasons(actions) == ["book: one-sided"]
    assert depths(actions) == []
    assert fetches(actions) == []
    played.hear(frames.change("BTCUSDT", 12, 12, [(99.99, 1.0)]))
    assert turns(played.tick()) == ["+depth BTCUSDT"]


def test_a_book_that_stands_still_among_live_ones_is_subscribed_and_asked_for() -> None:
    played = Played("binance", "book-1", "BTC", "ETH")
    played.open()
    played.live_book("BTCUSDT", 10)
    played.live_book("ETHUSDT", 10)
    alive = frames.change("BTCUSDT", 10, 10)
    assert turns(played.tick(59, alive)) == []
    actions = played.tick(1, alive) + played.tick(1, alive)
    assert turns(actions) == ["-depth ETHUSDT"]
    assert reasons(actions) == ["book: silent"]
    assert sent(actions) == [{"method": "SUBSCRIBE", "params": ["ethusdt@depth@500ms"], "id": 1}]
    assert fetches(actions) == ["ETHUSDT"]
    played.fetch("ETHUSDT", frames.snapshot(30))
    actions = played.tick(50, alive)  # no stream, so the snapshot alone proves nothing
    assert set(depths(actions)) == {"BTCUSDT"}
    assert fetches(actions) == []
    played.hear(frames.change("ETHUSDT", 30, 31))
    assert turns(played.tick(1, alive)) == ["+depth ETHUSDT"]


def test_a_book_whose_stream_never_began_is_subscribed_again_each_minute() -> None:
    played = Played("hyperliquid", "book-1", "BTC", "ETH")
    played.open()
    actions = played.tick(185, frames.coin_book("BTC"))
    again = [m["subscription"]["coin"] for m in sent(actions) if m["method"] == "subscribe"]
    assert again == ["ETH", "ETH", "ETH"]
    assert turns(played.tick(1, frames.coin_book("ETH"))) == ["+depth ETH"]


def test_narrow_bands_out_of_reach_are_asked_for_once_a_minute() -> None:
    """A snapshot of 1000 levels that ends 2 bp away."""
    played = Played("binance", "book-1", "BTC")
    played.open()
    bids = [(99.99 - n / 100_000, 1.0) for n in range(1000)]
    asks = [(100.01 + n / 100_000, 1.0) for n in range(1000)]
    played.hear(frames.change("BTCUSDT", 10, 10))
    played.fetch("BTCUSDT", frames.snapshot(10, bids, asks))
    asked = [n for n in range(125) if fetches(played.tick(1, frames.change("BTCUSDT", 10, 10)))]
    assert len(asked) == 2
    assert all(later - one >= 60 for one, later in pairwise(asked))
    assert turns(played.done) == ["+depth BTCUSDT"]  # what is known stays known meanwhile
    depth = played.done[-1]
    assert isinstance(depth, Depth)
    assert not depth.bands[0].covered


def test_a_snapshot_asked_for_on_the_connection_before_does_no_harm() -> None:
    played = Played("binance", "book-1", "BTC")
    played.open()
    assert fetches(played.hear(frames.change("BTCUSDT", 10, 10))) == ["BTCUSDT"]
    played.close()
    assert played.fetch("BTCUSDT", frames.snapshot(9)) == []
    played.open()
    assert played.fetch("BTCUSDT", frames.snapshot(10)) == []  # before the stream began
    assert played.tick() == []
    played.hear(frames.change("BTCUSDT", 500, 510))  # what came between is lost
    assert played.tick() == []
    assert fetches(played.tick(11, frames.change("BTCUSDT", 511, 511))) == ["BTCUSDT"]
    played.fetch("BTCUSDT", frames.snapshot(511))
    assert turns(played.tick()) == ["+depth BTCUSDT"]


def test_books_start_empty_on_every_connection() -> None:
    played = Played("binance", "book-1", "BTC")
    played.open()
    played.live_book("BTCUSDT", 10)
    assert turns(played.close()) == ["-depth BTCUSDT"]
    assert played.session.books() == (0, 0)
    played.open()
    assert played.tick(5) == []
    assert fetches(played.hear(frames.change("BTCUSDT", 11, 11))) == ["BTCUSDT"]


def test_a_book_of_what_is_no_longer_listed_says_nothing() -> None:
    played = Played("binance", "book-1", "BTC", "ETH")
    played.open()
    played.live_book("BTCUSDT", 10)
    played.session.listing = frames.listing_of("binance", "ETH")
    played.tick(5)
    assert played.hear(frames.change("BTCUSDT", 11, 11)) == []
    assert notes(played.fetch("BTCUSDT", frames.snapshot(11))) == ["snapshot dropped"]


# ── books: Bybit and Hyperliquid ────────────────────────────────────────


def test_bybit_starts_a_book_anew_by_subscribing_anew() -> None:
    played = Played("bybit", "book-1", "BTC", "ETH")
    played.open()
    assert played.tick(5) == []  # snapshots come by themselves
    played.hear(frames.bybit_book("BTCUSDT", 5), frames.bybit_book("ETHUSDT", 8))
    assert turns(played.tick()) == ["+depth BTCUSDT", "+depth ETHUSDT"]
    actions = played.hear(frames.bybit_book("BTCUSDT", 9, *NARROW, delta=True))
    assert turns(actions) == ["-depth BTCUSDT"]
    topic = ["orderbook.1000.BTCUSDT"]
    assert sent(actions) == [
        {"op": "unsubscribe", "args": topic},
        {"op": "subscribe", "args": topic},
    ]
    assert played.hear(frames.bybit_book("BTCUSDT", 10, *NARROW, delta=True)) == []
    assert depths(played.tick()) == ["ETHUSDT"]
    played.hear(frames.bybit_book("BTCUSDT", 20))
    played.hear(frames.bybit_book("BTCUSDT", 21, *NARROW, delta=True))
    actions = played.tick()
    assert turns(actions) == ["+depth BTCUSDT"]
    assert depths(actions) == ["BTCUSDT", "ETHUSDT"]


def test_a_new_snapshot_of_bybit_is_no_gap() -> None:
    played = Played("bybit", "book-1", "BTC")
    played.open()
    played.hear(frames.bybit_book("BTCUSDT", 5))
    played.tick()
    assert played.hear(frames.bybit_book("BTCUSDT", 1, delta=True)) == []  # u == 1: a restart
    assert played.hear(frames.bybit_book("BTCUSDT", 2, *NARROW, delta=True)) == []
    assert turns(played.tick()) == []


def test_hyperliquid_needs_no_resync() -> None:
    played = Played("hyperliquid", "book-1", "BTC", "ETH")
    assert len(sent(played.open())) == 2
    assert played.tick(3) == []
    played.hear(frames.coin_book("BTC"), frames.coin_book("ETH"))
    actions = played.tick(10)
    assert depths(actions) == ["BTC", "ETH"] * 10
    played.hear(frames.coin_book("BTC", [(101.0, 1.0)], [(100.0, 1.0)]))
    actions = played.tick(10)
    assert turns(actions) == ["-depth BTC"]
    assert sent(actions) == [{"method": "ping"}]
    assert fetches(actions) == []
    played.hear(frames.coin_book("BTC"))
    assert turns(played.tick()) == ["+depth BTC"]
    assert played.session.stats.resyncs == 0
