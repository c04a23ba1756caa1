"""Lighter's traps."""

import json
from typing import Any

import pytest

from streams.events import Funding, Kind, Liquidation, OpenInterest, Volume
from streams.feed.actions import Send
from streams.venue import BookUpdate, Decoded, Malformed, Mid, Reply, Unreadable
from streams.venues import lighter
from tests.streams import frames
from tests.streams.played import Played
from tests.streams.venue_cases import SEEN, body, lines, listed, listing, reader

KNOWN = listing("lighter")
BTC, ETH, PEPE = "1", "0", "4"


def decoded(file: str) -> list[Decoded]:
    """Everything that a file says."""
    read = reader("lighter", file, KNOWN)
    return [fact for frame in lines("lighter", file) for fact in read(frame)]


def spoiled(row: int, **fields: Any) -> list[bytes]:
    """The listing with these fields in one of its rows."""
    answer = json.loads(body("lighter", "listing_1.json"))
    answer["order_book_details"][row] |= fields
    return [json.dumps(answer).encode()]


def test_funding_is_in_percent_of_an_hour() -> None:
    """0.0011 is 9.6 % a year; as a fraction it would be 964 %."""
    rates = {e.symbol: e for e in decoded("ws_stats.jsonl")[:12] if isinstance(e, Funding)}
    assert {symbol: e.rate for symbol, e in rates.items()} == {
        ETH: 0.000011, BTC: -0.000028, PEPE: 0.000012
    }  # fmt: skip
    assert {(e.hours, e.settled, e.next_at) for e in rates.values()} == {
        (1, False, 1_795_266_000_000)
    }


def test_of_an_hour_that_is_over_there_is_no_estimate() -> None:
    """The time of the last payment stands still where nothing is charged any more."""
    frame = json.loads(frames.lighter_stats(BTC, at=SEEN))
    frame["market_stats"][BTC]["funding_timestamp"] -= 3_600_000
    facts = lighter.decode(json.dumps(frame).encode(), KNOWN, SEEN)
    assert facts and not [fact for fact in facts if isinstance(fact, Funding)]


def test_open_interest_is_in_usd_on_the_socket_and_in_coins_by_rest() -> None:
    by_socket = [e for e in decoded("ws_stats.jsonl")[:12] if isinstance(e, OpenInterest)]
    assert [(e.symbol, e.base, e.usd) for e in by_socket] == [
        (ETH, 80_000_000 / 2_950, 80_000_000),
        (BTC, 124_496_091.756091 / 84_001, 124_496_091.756091),
        (PEPE, 5e9, 50_500),
    ]  # fmt: skip
    by_rest = [e for e in decoded("check_1.jsonl") if isinstance(e, OpenInterest)]
    assert [(e.symbol, e.base) for e in by_rest] == [
        (BTC, 1_450.5),
        (ETH, 27_350.8981),
        (PEPE, 5e9),
    ]
    assert not any(e.one_side for e in (*by_socket, *by_rest))


def test_without_a_mark_price_nobody_knows_how_many_coins_it_is() -> None:
    second = reader("lighter", "ws_stats.jsonl", KNOWN)(lines("lighter", "ws_stats.jsonl")[1])
    assert not [fact for fact in second if isinstance(fact, OpenInterest | Funding)]


def test_the_side_is_the_takers_and_only_liquidations_are_some() -> None:
    orders = [e for e in decoded("ws_trade.jsonl") if isinstance(e, Liquidation)]
    assert [(e.base, str(e.position), e.trade_id) for e in orders] == [
        (0.01664, "short", "18237797923"), (0.5, "long", "18237797924")
    ]  # fmt: skip


def test_a_subscription_to_trades_opens_liquidations_of_its_market_alone() -> None:
    (reply, _) = decoded("ws_trade.jsonl")[:2]
    assert reply == Reply(ok=True, opens=Kind.LIQUIDATION, symbols=(BTC,))
    played = Played("lighter", "trade-1", "BTC", "ETH")
    played.open()
    played.hear(frames.lighter_trades("1", event="subscribed"))
    played.hear(frames.lighter_trades("77", event="subscribed"))  # nobody has asked for it
    assert [(s.symbol, s.up) for s in played.session.states(0)] == [("1", True), ("2", False)]


def test_a_change_that_does_not_continue_the_book_is_a_gap() -> None:
    """Its number is not one more than that of the one before, and ``offset`` means nothing."""
    played = Played("lighter", "book-1", "BTC")
    played.open()
    played.hear(frames.lighter_book("1", 100))
    played.hear(frames.lighter_book("1", 122, [(99.95, 2.0)], [], 100))
    played.tick(12)
    assert played.session.stats.gaps == 0
    actions = played.hear(frames.lighter_book("1", 150, [(99.95, 2.0)], [], 130))
    asked = [json.loads(action.data) for action in actions if isinstance(action, Send)]
    assert asked == [
        {"type": "unsubscribe", "channel": "order_book/1"},
        {"type": "subscribe", "channel": "order_book/1"},
    ]
    assert played.session.stats.gaps == 1


def test_books_are_whole_and_a_size_of_nothing_deletes() -> None:
    books = [fact for fact in decoded("ws_book.jsonl") if isinstance(fact, BookUpdate)]
    assert [(book.snapshot, book.reach) for book in books] == [(True, 0), (False, 0), (True, 0)]
    assert books[1].asks == [(84_000.2, 0)]
    assert books[2].bids == [(0.0000101, 5_000_000)]


def test_only_coins_are_listed_and_whatever_has_hours_of_trading_is_none() -> None:
    contracts = listed("lighter").instruments
    assert {i.symbol: (i.asset, i.multiplier, i.ends_at) for i in contracts} == {
        BTC: ("BTC", 1, None), ETH: ("ETH", 1, None), PEPE: ("PEPE", 1_000, None),
        "7": ("OLD", 1, 0),
    }  # fmt: skip


@pytest.mark.parametrize(
    "fields", [{"symbol": None}, {"symbol": ""}, {"market_id": "x"}, {"open_interest": "x"}]
)
def test_a_row_of_the_listing_that_cannot_be_read_costs_itself(fields: dict[str, Any]) -> None:
    contracts, _, unreadable, _ = lighter.instruments(spoiled(0, **fields))
    assert [i.symbol for i in contracts] == [ETH, PEPE, "7"]
    assert len(unreadable) == 1


def test_an_answer_that_says_no_is_no_listing() -> None:
    with pytest.raises(Malformed, match="Lighter answered 429"):
        lighter.instruments([b'{"code":429,"order_book_details":[]}'])


@pytest.mark.parametrize("row", [None, {}, {"market_id": 1, "mark_price": []}, {"market_id": "1"}])
def test_a_row_of_the_numbers_that_cannot_be_read_costs_itself(row: Any) -> None:
    frame = json.loads(frames.lighter_stats(BTC, ETH, at=SEEN))
    golden = lighter.decode(json.dumps(frame).encode(), KNOWN, SEEN)
    frame["market_stats"]["5"] = row
    facts = lighter.decode(json.dumps(frame).encode(), KNOWN, SEEN)
    assert facts[:-1] == golden and len(golden) == 8
    assert isinstance(facts[-1], Unreadable)


def test_answers() -> None:
    replies = [fact for fact in decoded("ws_reply.jsonl") if isinstance(fact, Reply)]
    assert [(r.ok, r.symbols, r.answer) for r in replies] == [
        (True, (), ""), (True, (), '{"type":"pong"}'), (True, (), ""), (True, (), ""),
        (False, ("9999",), ""), (True, (), ""),
    ]  # fmt: skip


def test_best_orders_are_a_second_source_of_books_and_all_markets_of_volumes() -> None:
    assert decoded("check_2.jsonl") == [Mid(symbol=BTC, price=84_000.1)]
    volumes = [e.usd_24h for e in decoded("check_1.jsonl") if isinstance(e, Volume)]
    assert volumes == [1_531_624_159.687143, 460_664_167.955905, 1_000_000]


@pytest.mark.parametrize("count", [40, 200, 500])
def test_messages_of_all_sockets_together_are_within_the_limit(count: int) -> None:
    """200 a minute, with the pings."""
    known = frames.contracts("lighter", *(f"A{n}" for n in range(count)))
    sockets = lighter.subscriptions(known, frozenset(Kind))
    spec = lighter.SPEC
    minute = len(sockets) * (60 * spec.sends_per_second + 60 / spec.ping_s)
    assert minute <= 200 if count <= 250 else len(sockets) <= 5
    assert all(len(socket.messages) <= 500 for socket in sockets)
    assert spec.connects_per_second * 60 <= 80
