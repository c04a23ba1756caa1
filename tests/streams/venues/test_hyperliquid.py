"""Hyperliquid's traps."""

import json
from collections import Counter

import msgspec
import pytest

from streams.durations import HOUR
from streams.events import Funding, Kind, OpenInterest, Price
from streams.venue import BookUpdate, Listing, Malformed, Reply
from streams.venues import hyperliquid
from tests.streams.venue_cases import SEEN, body, largest, lines, listing

ALL = hyperliquid.SPEC.kinds


def decoded(file: str, place: int = 0) -> list[object]:
    frame = lines("hyperliquid", file)[place]
    return list(hyperliquid.decode(frame, listing("hyperliquid"), SEEN))


def test_contexts_are_joined_by_place_with_delisted_coins_keeping_theirs() -> None:
    assert listing("hyperliquid").order == ("BTC", "ETH", "OLD", "kPEPE")
    assert list(listing("hyperliquid").instruments) == ["BTC", "ETH", "kPEPE"]
    marks = {e.symbol: e.mark for e in decoded("ws_contexts.jsonl") if isinstance(e, Price)}
    assert marks == {"BTC": 84_002, "ETH": 2950.5, "kPEPE": pytest.approx(0.0000102)}


def test_another_number_of_contexts_asks_for_a_new_listing() -> None:
    (reply,) = decoded("ws_contexts.jsonl", 1)
    assert isinstance(reply, Reply)
    assert not reply.ok
    assert reply.relist
    frame = lines("hyperliquid", "ws_contexts.jsonl")[0]
    (empty,) = hyperliquid.decode(frame, Listing(instruments={}), SEEN)
    assert isinstance(empty, Reply)
    assert empty.relist


def test_the_listing_refuses_coins_and_contexts_that_do_not_match() -> None:
    meta, contexts = json.loads(body("hyperliquid", "listing_1.json"))
    with pytest.raises(Malformed, match="4 coins but 3 contexts"):
        hyperliquid.instruments([json.dumps([meta, contexts[:3]]).encode()])


def test_other_dexes_are_left_out() -> None:
    events = decoded("ws_contexts.jsonl")
    assert Counter(type(e).__name__ for e in events) == {
        "Funding": 3,
        "OpenInterest": 3,
        "Price": 3,
        "Volume": 3,
    }


def test_the_rate_is_per_hour_and_paid_at_the_next_full_hour() -> None:
    funding = next(e for e in decoded("ws_contexts.jsonl") if isinstance(e, Funding))
    assert (funding.rate, funding.hours, funding.settled) == (0.0000125, 1, False)
    assert funding.next_at is not None
    assert funding.next_at % HOUR == 0
    assert SEEN < funding.next_at <= SEEN + HOUR
    frame = lines("hyperliquid", "ws_context.jsonl")[0]
    events = hyperliquid.decode(frame, listing("hyperliquid"), 5 * 10**5 * HOUR)
    at_the_hour = next(e for e in events if isinstance(e, Funding))
    assert at_the_hour.next_at == (5 * 10**5 + 1) * HOUR


def test_thousands_are_published_per_coin() -> None:
    pepe = listing("hyperliquid").instruments["kPEPE"]
    assert (pepe.asset, pepe.multiplier, pepe.quote) == ("PEPE", 1000, "USDC")
    interest = next(
        e for e in decoded("ws_contexts.jsonl") if isinstance(e, OpenInterest) and e.asset == "PEPE"
    )
    assert interest.base == 1e12
    assert interest.usd == pytest.approx(10_200_000)


@pytest.mark.parametrize(
    ("name", "asset"), [("kPEPE", "PEPE"), ("kaito", "kaito"), ("KAITO", "KAITO"), ("k", "k")]
)
def test_only_a_small_k_before_a_capital_is_a_thousand(name: str, asset: str) -> None:
    listing_body = json.dumps([{"universe": [{"name": name}]}, [{}]]).encode()
    ((found,), *_) = hyperliquid.instruments([listing_body])
    assert found.asset == asset
    assert found.open_interest_usd is None


def test_books_are_snapshots_of_buckets() -> None:
    (btc,), (pepe,), (empty,) = (decoded("ws_book.jsonl", place) for place in range(3))
    assert isinstance(btc, BookUpdate)
    assert isinstance(pepe, BookUpdate)
    assert isinstance(empty, BookUpdate)
    assert (btc.snapshot, btc.reach, btc.rolling, btc.step) == (True, 20, True, 10.0)
    assert (btc.first, btc.last, btc.previous) == (0, 0, None)
    assert pepe.step == pytest.approx(1e-5 / 1000)
    assert pepe.bids == [(pytest.approx(0.00001019), 2e9)]
    assert (empty.bids, empty.asks, empty.step) == ([], [], 0.0)


@pytest.mark.parametrize(
    ("bid", "ask", "step"),
    [("999.9", "1000", 1.0), ("999.8", "999.9", 0.1), ("1.0", "1.001", 0.001), ("9", "10", 0.01)],
)
def test_the_bucket_is_the_wider_one_across_a_power_of_ten(bid: str, ask: str, step: float) -> None:
    frame = {
        "channel": "l2Book",
        "data": {
            "coin": "ETH",
            "time": SEEN,
            "levels": [[{"px": bid, "sz": "1"}], [{"px": ask, "sz": "1"}]],
        },
    }
    (book,) = hyperliquid.decode(msgspec.json.encode(frame), listing("hyperliquid"), SEEN)
    assert isinstance(book, BookUpdate)
    assert book.step == pytest.approx(step)


def test_resync_needs_nothing_and_a_second_subscription_is_no_refusal() -> None:
    socket = hyperliquid.subscriptions(largest("hyperliquid"), frozenset((Kind.DEPTH,)))[0]
    assert hyperliquid.resync("BTC0USDT", socket) == ()
    ack, pong, again, refused = (decoded("ws_reply.jsonl", place)[0] for place in range(4))
    assert all(isinstance(one, Reply) and one.ok for one in (ack, pong, again))
    assert isinstance(refused, Reply)
    assert not refused.ok
    assert refused.symbols == ("NOSUCH",)


def test_there_is_no_liquidation_feed() -> None:
    assert Kind.LIQUIDATION not in hyperliquid.SPEC.kinds
    assert hyperliquid.subscriptions(largest("hyperliquid"), frozenset((Kind.LIQUIDATION,))) == []


@pytest.mark.parametrize("count", [230, 600, 1500])
def test_books_stay_within_connections_and_subscriptions(count: int) -> None:
    sockets = hyperliquid.subscriptions(largest("hyperliquid", count=count), ALL)
    messages = [json.loads(message) for socket in sockets for message in socket.messages]
    assert len(sockets) <= 10
    assert len(messages) == min(count + 1, 1000)
    assert messages[0]["subscription"] == {"type": "allDexsAssetCtxs"}
    assert messages[1]["subscription"] == {"type": "l2Book", "coin": "BTC0USDT", "nSigFigs": 4}
    assert all(socket.silence_s[Kind.DEPTH] >= 20 for socket in sockets[1:])


def test_settlements_are_asked_for_coin_by_coin_from_an_hour_ago() -> None:
    polls = hyperliquid.polls(list(listing("hyperliquid").instruments.values()), ALL)
    request = polls[2].request
    assert (polls[0].offset_s, request.weight, request.symbol) == (20.0, 20, "kPEPE")
    assert request.body is not None
    asked = json.loads(request.body.replace(b"{hour_ago}", b"1795258800000"))
    assert asked == {"type": "fundingHistory", "coin": "kPEPE", "startTime": 1795258800000}
    newest, none = lines("hyperliquid", "poll_funding.jsonl")
    (event,) = hyperliquid.decode_poll(polls[0], newest, listing("hyperliquid"), SEEN)
    assert isinstance(event, Funding)
    assert (event.rate, event.hours, event.settled) == (0.0000101, 1, True)
    assert event.at == 1_795_258_800_077
    assert hyperliquid.decode_poll(polls[0], none, listing("hyperliquid"), SEEN) == []
