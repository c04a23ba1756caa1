"""Binance's traps."""

import json

import msgspec
import pytest

from streams.events import Funding, Kind, Liquidation, OpenInterest, Position, Price, Volume
from streams.venue import BookUpdate, Listing, Malformed, Request
from streams.venues import binance
from tests.streams.venue_cases import SEEN, body, largest, lines, listing

ALL = binance.SPEC.kinds


def decoded(file: str, place: int = 0) -> list[object]:
    return list(binance.decode(lines("binance", file)[place], listing("binance"), SEEN))


def test_only_trading_crypto_perpetuals_in_dollars_are_listed() -> None:
    assert list(listing("binance").instruments) == [
        "BTCUSDT",
        "ETHUSDC",
        "1000PEPEUSDT",
        "1MBABYDOGEUSDT",
        "1INCHUSDT",
        "币安人生USDT",
    ]
    assert listing("binance").instruments["ETHUSDC"].quote == "USDC"


def test_interval_comes_from_funding_info_else_it_is_eight_hours() -> None:
    known = listing("binance").instruments
    assert known["BTCUSDT"].funding_hours == 8
    assert known["1000PEPEUSDT"].funding_hours == 4
    assert known["1INCHUSDT"].funding_hours == 1
    (funding, _) = decoded("ws_mark_price.jsonl", 2)
    assert isinstance(funding, Funding)
    assert (funding.rate, funding.hours, funding.settled) == (0.00002, 1, False)


def test_multiplied_coins_are_published_per_coin() -> None:
    known = listing("binance").instruments
    assert (known["1000PEPEUSDT"].asset, known["1000PEPEUSDT"].multiplier) == ("PEPE", 1000)
    assert (known["1MBABYDOGEUSDT"].asset, known["1MBABYDOGEUSDT"].multiplier) == ("BABYDOGE", 1e6)
    assert (known["1INCHUSDT"].asset, known["1INCHUSDT"].multiplier) == ("1INCH", 1)
    price = next(e for e in decoded("ws_mark_price.jsonl") if getattr(e, "asset", "") == "PEPE")
    assert isinstance(price, Funding)
    prices = [e for e in decoded("ws_mark_price.jsonl") if isinstance(e, Price)]
    assert prices[1].mark == pytest.approx(0.0000102)
    (book,) = decoded("ws_depth.jsonl", 1)
    assert isinstance(book, BookUpdate)
    assert book.bids == [(pytest.approx(0.00001019), 4_000_000_000)]
    (snapshot,) = [
        binance.decode_snapshot(
            "1000PEPEUSDT", body("binance", "snapshot_1000PEPEUSDT.json"), listing("binance")
        )
    ]
    assert snapshot.asks == [(pytest.approx(0.0000102), 1_000_000_000)]


def test_usd_of_a_liquidation_is_all_that_was_filled_at_the_average_price() -> None:
    (event,) = decoded("ws_force_order.jsonl")
    assert isinstance(event, Liquidation)
    assert event.usd == 2.0 * 83_900  # z x ap: l would give 0.25, p 83,500
    assert event.base == 2.0
    assert event.price == 83_900
    assert event.at == 1_795_262_410_499  # of the order, not of the message a second later


def test_a_selling_order_closes_a_long() -> None:
    (sold,), (bought,) = decoded("ws_force_order.jsonl"), decoded("ws_force_order.jsonl", 1)
    assert isinstance(sold, Liquidation)
    assert isinstance(bought, Liquidation)
    assert sold.position is Position.LONG
    assert bought.position is Position.SHORT
    assert bought.usd == pytest.approx(500_000 * 0.0104)
    assert bought.base == 500_000_000


def test_only_filled_orders_count() -> None:
    assert decoded("ws_force_order.jsonl", 2) == []


def test_coin_margined_rows_are_dropped_even_where_the_symbol_is_known() -> None:
    known = listing("binance").instruments
    listed = Listing(instruments={**known, "BTCUSD_PERP": known["BTCUSDT"]})
    for file, place in (("ws_mark_price", 0), ("ws_mini_ticker", 0), ("ws_force_order", 3)):
        events = binance.decode(lines("binance", f"{file}.jsonl")[place], listed, SEEN)
        assert "BTCUSD_PERP" not in {getattr(event, "symbol", "") for event in events}


def test_rows_of_before_the_merger_have_no_st_and_count() -> None:
    (event,) = decoded("ws_mini_ticker.jsonl", 1)
    assert isinstance(event, Volume)
    assert event.usd_24h == 265_000_000.25


def test_an_empty_rate_and_no_next_time_are_no_funding() -> None:
    (event,) = decoded("ws_mark_price.jsonl", 1)
    assert isinstance(event, Price)
    assert event.index is None


def test_a_mark_price_of_zero_is_no_price() -> None:
    (event,) = decoded("ws_mark_price.jsonl", 3)
    assert isinstance(event, Funding)


def test_a_change_of_a_book_has_its_three_ids() -> None:
    (book,) = decoded("ws_depth.jsonl")
    assert isinstance(book, BookUpdate)
    assert (book.first, book.last, book.previous) == (9000000101, 9000000150, 9000000100)
    assert not book.snapshot
    assert book.bids == [(84_010.0, 1.25), (84_009.9, 0.0)]


@pytest.mark.parametrize(
    "level", ['["x","1"]', '["1",""]', '["1",null]', '[true,"1"]', '["1"]', '["1","1","1"]']
)
def test_levels_that_are_no_numbers_are_refused(level: str) -> None:
    frame = lines("binance", "ws_depth.jsonl")[0].replace(b'["84010.10","0.750"]', level.encode())
    with pytest.raises((Malformed, msgspec.MsgspecError)):
        binance.decode(frame, listing("binance"), SEEN)


def test_an_unknown_event_type_is_malformed_and_so_is_nothing() -> None:
    for frame in (b'{"e":"somethingNew","E":1795262411000}', b"{}", b"[]", b""):
        with pytest.raises((Malformed, msgspec.MsgspecError)):
            binance.decode(frame, listing("binance"), SEEN)


def test_a_snapshot_reaches_a_thousand_levels() -> None:
    data = body("binance", "snapshot_BTCUSDT.json")
    book = binance.decode_snapshot("BTCUSDT", data, listing("binance"))
    assert (book.snapshot, book.last, book.reach, book.rolling) == (True, 9000000120, 1000, False)
    socket = binance.subscriptions(largest("binance"), frozenset((Kind.DEPTH,)))[0]
    assert binance.resync("币安人生USDT", socket) == Request(
        path="/fapi/v1/depth?symbol=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT&limit=1000",
        weight=20,
        symbol="币安人生USDT",
    )


def test_open_interest_is_in_coins_without_dollars() -> None:
    (poll, *_) = binance.polls(list(listing("binance").instruments.values()), ALL)
    bodies = lines("binance", "poll_open_interest.jsonl")
    (btc,) = binance.decode_poll(poll, bodies[0], listing("binance"), SEEN)
    (pepe,) = binance.decode_poll(poll, bodies[1], listing("binance"), SEEN)
    assert isinstance(btc, OpenInterest)
    assert isinstance(pepe, OpenInterest)
    assert (btc.base, btc.usd, btc.at) == (91_234.567, None, 1_795_262_405_123)
    assert pepe.base == 7e12


def test_settled_funding_is_the_newest_row_of_each_symbol() -> None:
    poll = binance.polls([], frozenset((Kind.FUNDING,)))[0]
    data = body("binance", "poll_funding.jsonl")
    events = binance.decode_poll(poll, data, listing("binance"), SEEN)
    rates = {e.symbol: (e.rate, e.hours, e.at) for e in events if isinstance(e, Funding)}
    assert rates == {
        "BTCUSDT": (-0.000031, 8, 1_795_248_000_002),
        "1000PEPEUSDT": (0.00005, 4, 1_795_233_600_001),
    }
    assert all(e.settled and e.next_at is None for e in events if isinstance(e, Funding))


def test_the_market_route_is_one_socket_of_what_is_wanted() -> None:
    market = binance.subscriptions(largest("binance", count=600), ALL)[0]
    assert market.path == "/market/stream?streams=!markPrice@arr@1s/!miniTicker@arr/!forceOrder@arr"
    assert market.messages == ()
    (only,) = binance.subscriptions(largest("binance"), frozenset((Kind.LIQUIDATION,)))
    assert only.path.endswith("?streams=!forceOrder@arr")
    assert only.silence_s == {}


def test_books_of_600_instruments_fit_three_sockets() -> None:
    sockets = binance.subscriptions(largest("binance", count=600), frozenset((Kind.DEPTH,)))
    assert [len(socket.symbols) for socket in sockets] == [200, 200, 200]
    for socket in sockets:
        asked = [json.loads(message) for message in socket.messages]
        assert {socket.path, *(request["method"] for request in asked)} == {
            "/public/stream",
            "SUBSCRIBE",
        }
        assert all(len(request["params"]) <= 50 for request in asked)
        names = [name for request in asked for name in request["params"]]
        assert names == [f"{symbol.lower()}@depth@500ms" for symbol in socket.symbols]
        assert len({request["id"] for request in asked}) == len(asked)


def test_the_largest_are_polled_four_times_as_often() -> None:
    polls = binance.polls(largest("binance", count=30), frozenset((Kind.OPEN_INTEREST,)))
    assert [poll.every_s for poll in polls] == [15.0] * 10 + [60.0] * 20
    assert [poll.offset_s for poll in polls[10:13]] == [0.0, 3.0, 6.0]
    assert polls[0].request.path == "/fapi/v1/openInterest?symbol=BTC0USDT"


def test_resubscribe_asks_for_books_alone() -> None:
    market, book = binance.subscriptions(largest("binance", count=3), ALL)
    assert binance.resubscribe(["BTC1USDT"], market) == ()
    (message,) = binance.resubscribe(["BTC1USDT"], book)
    assert json.loads(message)["params"] == ["btc1usdt@depth@500ms"]


# ── Aster, which took the protocol over ────────────────────────────────


def test_aster_lists_coins_with_the_interval_that_it_says() -> None:
    """Of TSLAUSDT the row says STOCK; ASTERUSDT has no row of its interval, as some have at
    Binance, where that means eight hours."""
    known = listing("aster").instruments
    assert list(known) == ["BTCUSDT", "1000PEPEUSDT", "ASTERUSDT"]
    assert [(i.funding_hours, i.funding_assumed, i.funding_cap) for i in known.values()] == [
        (8, False, 0.03), (4, False, 0.02), (8, True, None),
    ]  # fmt: skip
    assert {i.venue for i in known.values()} == {"aster"}


def test_aster_is_asked_at_its_own_addresses() -> None:
    instruments = list(listing("aster").instruments.values())
    market, book = binance.ASTER.subscriptions(instruments, ALL)
    assert market.path == "/stream?streams=!markPrice@arr@1s/!miniTicker@arr/!forceOrder@arr"
    assert book.path == "/stream"
    (message,) = book.messages
    assert json.loads(message)["params"] == [f"{symbol}@depth@100ms" for symbol in
                                             ("btcusdt", "1000pepeusdt", "asterusdt")]  # fmt: skip
    assert binance.ASTER.resubscribe(["BTCUSDT"], book) != ()
    asked = [request.path for request in binance.ASTER.listing_requests()]
    asked += [poll.request.path for poll in binance.ASTER.polls(instruments, ALL)]
    resync = binance.ASTER.resync("BTCUSDT", book)
    assert isinstance(resync, Request)
    assert {path.split("/")[2] for path in (*asked, resync.path)} == {"v3"}


def test_asters_open_interest_is_in_no_sum_and_its_stocks_and_insurance_fund_are_nothing() -> None:
    known = listing("aster")
    answer = lines("aster", "poll_open_interest.jsonl")[0]
    poll = next(p for p in binance.ASTER.polls(largest("aster"), ALL)
                if p.kind is Kind.OPEN_INTEREST)  # fmt: skip
    (interest,) = binance.ASTER.decode_poll(poll, answer, known, SEEN)
    assert isinstance(interest, OpenInterest)
    assert (interest.base, interest.usd, interest.one_side) == (21234.567, None, False)
    marks = binance.ASTER.decode(lines("aster", "ws_mark_price.jsonl")[0], known, SEEN)
    assert [(type(fact).__name__, fact.symbol) for fact in marks if isinstance(fact, Price)] == [
        ("Price", "BTCUSDT"), ("Price", "1000PEPEUSDT"), ("Price", "ASTERUSDT"),
    ]  # fmt: skip
    assert [fact.symbol for fact in marks if isinstance(fact, Funding)] == [
        "BTCUSDT", "1000PEPEUSDT",
    ]  # fmt: skip
    taken_over = lines("aster", "ws_ignored.jsonl")[0]
    assert b"INSURANCE_FUND" in taken_over
    assert binance.ASTER.decode(taken_over, known, SEEN) == []
