"""Bybit's traps."""

import json

import pytest

from streams.events import Funding, Instrument, Kind, Liquidation, OpenInterest, Position, Price
from streams.venue import BookUpdate, Listing, Malformed, Reply, Request
from streams.venues import bybit
from tests.streams.venue_cases import SEEN, body, largest, lines, listing

ALL = bybit.SPEC.kinds


def decoded(file: str, place: int = 0) -> list[object]:
    return list(bybit.decode(lines("bybit", file)[place], listing("bybit"), SEEN))


def test_liquidation_side_is_the_position_and_buy_is_a_long() -> None:
    long, short = decoded("ws_liquidation.jsonl")
    assert isinstance(long, Liquidation)
    assert isinstance(short, Liquidation)
    assert (long.position, short.position) == (Position.LONG, Position.SHORT)
    assert (long.price, long.base, long.usd) == (83_800, 0.5, 41_900)
    assert long.at == 1_795_262_410_992


def test_multiplied_coins_are_published_per_coin() -> None:
    (event,) = decoded("ws_liquidation.jsonl", 1)
    assert isinstance(event, Liquidation)
    assert event.asset == "PEPE"
    assert event.base == 250_000_000
    assert event.price == pytest.approx(0.00001)
    assert event.usd == pytest.approx(2500)
    shib = listing("bybit").instruments["SHIB1000USDT"]
    assert (shib.asset, shib.multiplier) == ("SHIB", 1000)


def test_open_interest_is_one_side() -> None:
    single = next(e for e in decoded("ws_ticker.jsonl") if isinstance(e, OpenInterest))
    assert (single.base, single.usd) == (30_000, 2_520_183_000)
    both = next(e for e in decoded("ws_ticker.jsonl", 4) if isinstance(e, OpenInterest))
    assert (both.base, both.usd) == (400_000_000_000, 4_800_000)
    known = listing("bybit").instruments
    assert known["BTCUSDT"].open_interest_usd == 2_520_183_000
    assert known["SHIB1000USDT"].open_interest_usd == 4_800_000
    assert known["BTCPERP"].open_interest_usd is None


def test_a_delta_says_nothing_of_what_it_omits() -> None:
    assert decoded("ws_ticker.jsonl", 1) == []
    (price,) = decoded("ws_ticker.jsonl", 2)
    assert isinstance(price, Price)
    assert (price.mark, price.index) == (84_007, None)
    (funding,) = decoded("ws_ticker.jsonl", 3)
    assert isinstance(funding, Funding)
    assert (funding.rate, funding.hours, funding.next_at) == (-0.000043, 8, None)


def test_funding_without_any_interval_is_not_published() -> None:
    frame = lines("bybit", "ws_ticker.jsonl")[3]
    btc = Instrument(venue="bybit", symbol="BTCUSDT", asset="BTC", quote="USDT")
    unknown = Listing(instruments={btc.symbol: btc})
    assert bybit.decode(frame, unknown, SEEN) == []


def test_funding_interval_of_the_listing_is_in_minutes() -> None:
    known = listing("bybit").instruments
    assert known["BTCUSDT"].funding_hours == 8
    assert known["1000PEPEUSDT"].funding_hours == 4


def test_only_trading_crypto_perpetuals_are_listed_from_all_pages() -> None:
    assert list(listing("bybit").instruments) == [
        "BTCUSDT",
        "BTCPERP",
        "SHIB1000USDT",
        "1000PEPEUSDT",
    ]
    assert listing("bybit").instruments["BTCPERP"].quote == "USDC"


def test_pages_are_followed_by_the_cursor_as_it_came() -> None:
    tickers, contracts = bybit.listing_requests()
    assert bybit.next_listing_request(tickers, body("bybit", "listing_1.json")) is None
    second = bybit.next_listing_request(contracts, body("bybit", "listing_2.json"))
    assert second == Request(path=f"{contracts.path}&cursor=first%3DBTCUSDT%26last%3DNEWUSDT")
    again = bybit.next_listing_request(second, body("bybit", "listing_2.json"))
    assert again == second
    assert bybit.next_listing_request(second, body("bybit", "listing_3.json")) is None


def test_an_error_answer_is_malformed_and_says_why() -> None:
    with pytest.raises(Malformed, match="10006: Too many visits"):
        bybit.instruments([b'{"retCode":10006,"retMsg":"Too many visits!","result":{}}'] * 2)


def test_one_bad_topic_is_named_and_the_others_asked_for_one_by_one() -> None:
    (reply,) = decoded("ws_reply.jsonl", 2)
    assert isinstance(reply, Reply)
    assert not reply.ok
    assert reply.symbols == ("XYZUSDT",)
    known = [*largest("bybit", count=2), *largest("bybit", "XYZ")]
    market, book = bybit.subscriptions(known, ALL)
    assert [json.loads(m)["args"] for m in bybit.resubscribe(["BTC0USDT", "BTC1USDT"], market)] == [
        ["tickers.BTC0USDT", "allLiquidation.BTC0USDT"],
        ["tickers.BTC1USDT", "allLiquidation.BTC1USDT"],
    ]
    assert [json.loads(m)["args"] for m in bybit.resubscribe(["BTC1USDT"], book)] == [
        ["orderbook.1000.BTC1USDT"]
    ]


def test_subscribing_twice_is_no_refusal() -> None:
    (reply,) = decoded("ws_reply.jsonl", 3)
    assert isinstance(reply, Reply)
    assert reply.ok


def test_books_say_how_far_they_reach() -> None:
    (snapshot,), (delta,), (reset,) = (decoded("ws_book.jsonl", place) for place in range(3))
    assert isinstance(snapshot, BookUpdate)
    assert isinstance(delta, BookUpdate)
    assert isinstance(reset, BookUpdate)
    assert (snapshot.snapshot, snapshot.reach, snapshot.rolling) == (True, 1000, True)
    assert (delta.snapshot, delta.first, delta.last, delta.previous) == (
        False,
        53935310,
        53935310,
        None,
    )
    assert (reset.snapshot, reset.reach) == (True, 200)  # u 1 starts anew, whatever the type says


def test_the_twenty_largest_have_deep_books_and_resync_knows_which() -> None:
    sockets = bybit.subscriptions(largest("bybit", count=300), frozenset((Kind.DEPTH,)))
    topics = [t for socket in sockets for m in socket.messages for t in json.loads(m)["args"]]
    assert topics[19:21] == ["orderbook.1000.BTC19USDT", "orderbook.200.BTC20USDT"]
    for symbol, depth, socket in (("BTC3USDT", 1000, 0), ("BTC250USDT", 200, 1)):
        messages = bybit.resync(symbol, sockets[socket])
        assert [json.loads(message) for message in messages] == [
            {"op": "unsubscribe", "args": [f"orderbook.{depth}.{symbol}"]},
            {"op": "subscribe", "args": [f"orderbook.{depth}.{symbol}"]},
        ]
    assert bybit.resync("NOSUCHUSDT", sockets[0]) == ()


def test_600_instruments_stay_within_the_limits() -> None:
    sockets = bybit.subscriptions(largest("bybit", count=600), ALL)
    assert len(sockets) <= 10
    for socket in sockets:
        asked = [json.loads(message) for message in socket.messages]
        assert all(
            request["op"] == "subscribe" and len(request["args"]) <= 100 for request in asked
        )
        assert sum(len(json.dumps(request["args"])) for request in asked) <= 21_000
        assert socket.path == "/v5/public/linear"
    topics = [t for socket in sockets for m in socket.messages for t in json.loads(m)["args"]]
    assert len(topics) == len(set(topics)) == 3 * 600


def test_long_names_split_sockets_by_characters() -> None:
    known = largest("bybit", "A" * 300, count=100)
    sockets = bybit.subscriptions(known, frozenset((Kind.DEPTH,)))
    assert len(sockets) > 1
    for socket in sockets:
        assert sum(len(m) for m in socket.messages) <= 21_000 + 50 * len(socket.messages)


def test_tickers_and_liquidations_of_a_symbol_share_a_socket() -> None:
    (socket,) = bybit.subscriptions(
        largest("bybit", count=5), frozenset((Kind.LIQUIDATION, Kind.PRICE))
    )
    assert socket.kinds == {Kind.LIQUIDATION, Kind.PRICE}
    assert socket.silence_s == {Kind.PRICE: 30.0}


def test_settlements_are_asked_for_symbol_by_symbol_within_a_minute() -> None:
    polls = bybit.polls(largest("bybit", count=600), ALL)
    assert {poll.kind for poll in polls} == {Kind.FUNDING}
    assert polls[0].offset_s == 30
    assert polls[-1].offset_s < 90
    (event,) = bybit.decode_poll(
        polls[0], lines("bybit", "poll_funding.jsonl")[0], listing("bybit"), SEEN
    )
    assert isinstance(event, Funding)
    assert (event.rate, event.settled, event.at) == (-0.0000318, True, 1_795_248_000_000)
