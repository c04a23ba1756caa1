"""Bitfinex's traps."""

import json
from typing import Any

import msgspec
import pytest

from streams.events import Funding, Kind, Liquidation, OpenInterest, Price, Volume
from streams.feed.actions import Hangup, Send
from streams.venue import (
    BookUpdate,
    ChannelNumber,
    Decoded,
    Malformed,
    Mid,
    Place,
    Reply,
    Unreadable,
)
from streams.venues import bitfinex
from tests.streams import frames
from tests.streams.played import Played
from tests.streams.venue_cases import SEEN, body, hearing, lines, listed, listing, reader

KNOWN = listing("bitfinex")
BTC, ETH = "tBTCF0:USTF0", "tETHF0:USTF0"


def decoded(file: str) -> list[Decoded]:
    """Everything that a file of frames says."""
    read = reader("bitfinex", file, KNOWN)
    return [fact for frame in lines("bitfinex", file) for fact in read(frame)]


def of_channel(name: str, payload: object) -> list[Decoded]:
    """What a frame of a channel of that name says."""
    heard = msgspec.structs.replace(KNOWN, channels={7: name})
    return bitfinex.decode(frames.bitfinex_tells(7, 1, payload), heard, SEEN)[1:]


# ── channels by number ──────────────────────────────────────────────────


def test_a_number_stands_for_what_the_answer_said_until_it_is_given_up() -> None:
    """And on another connection for something else."""
    read, other = hearing(bitfinex, KNOWN), hearing(bitfinex, KNOWN)
    read(frames.bitfinex_opens(5, BTC))
    other(frames.bitfinex_opens(5, ETH))
    status = frames.bitfinex_tells(5, 1, frames.bitfinex_status(SEEN))
    of = [{e.symbol for e in of(status) if isinstance(e, Price)} for of in (read, other)]
    assert of == [{BTC}, {ETH}]
    assert read(frames.bitfinex_says("unsubscribed", chanId=5))[0] == ChannelNumber(
        number=5, name=""
    )
    assert read(status) == [Place(number=1), Unreadable(rows=("a channel of no name",))]


def test_every_frame_of_a_connection_is_numbered_whatever_it_is() -> None:
    """The number is behind the payload, of trades and checksums behind a word and the payload."""
    read = hearing(bitfinex, KNOWN)
    for number, frame in enumerate(
        ('[1,"hb",0,1795262411000]', '[1,"tu",[452025730,1795262411000,0.005,84000],1,5]',
         '[1,"cs",-1234567,2,1795262411000]', '[1,[1,2,3],3]', "[1,[],4,5,6,7]")
    ):  # fmt: skip
        assert read(frame.encode())[0] == Place(number=number)


def test_numbers_and_times_are_asked_for_first_and_checksums_are_not() -> None:
    """A checksum is of texts that JavaScript writes."""
    known = frames.contracts("bitfinex", "BTC", "ETH")
    for socket in bitfinex.subscriptions(known, frozenset(Kind)):
        first = json.loads(socket.messages[0])
        assert first == {"event": "conf", "flags": 32_768 + 65_536}
        again = bitfinex.resubscribe(socket.symbols, socket)
        assert again[0] == socket.messages[0] and (again == socket.messages or not socket.symbols)


def test_a_number_that_is_left_out_costs_the_connection() -> None:
    played = Played("bitfinex", "book-1", "BTC")
    played.open()
    played.hear(frames.bitfinex_opens(7, BTC, "book"))
    played.hear(frames.bitfinex_tells(7, 1, frames.bitfinex_levels()))
    played.hear(frames.bitfinex_tells(7, 2, "hb"))
    actions = played.hear(frames.bitfinex_tells(7, 4, [99.9, 1, 8.0]))
    (hangup,) = [action for action in actions if isinstance(action, Hangup)]
    assert hangup.reason == "frame 4 of the connection came after 2"
    played.close()
    played.open()  # numbers begin anew, and so do channels
    actions = played.hear(frames.bitfinex_tells(7, 1, frames.bitfinex_levels()))
    assert [action for action in actions if isinstance(action, Unreadable)]
    assert played.session.stats.gaps == 1


def test_a_change_of_a_book_that_cannot_be_read_is_a_lost_one() -> None:
    """Its number is not told, so the next frame shows it; of a status nothing is lost."""
    with pytest.raises(msgspec.MsgspecError):
        of_channel(f"book:{BTC}:250", ["x", 1, 1.0])
    with pytest.raises(Malformed, match="a level of neither side"):
        of_channel(f"book:{BTC}:250", [100.0, 1, 0.0])
    assert of_channel(f"deriv:{BTC}", ["x"]) == [Unreadable(rows=(f"deriv:{BTC}",))]


def test_a_venue_cannot_fill_our_memory_with_channels() -> None:
    played = Played("bitfinex", "book-1", "BTC")
    played.open()
    played.hear(*(frames.bitfinex_opens(n, BTC) for n in range(3_000)))
    assert len(played.session.listing.channels) == 1_000


# ── books ───────────────────────────────────────────────────────────────


def test_the_sign_is_the_side_and_a_count_of_nothing_deletes() -> None:
    books = [fact for fact in decoded("ws_book.jsonl") if isinstance(fact, BookUpdate)]
    assert (books[0].bids, books[0].asks) == (
        [(83_999, 1.25), (83_998, 0.5)], [(84_000, 0.75), (84_002, 2)]
    )  # fmt: skip
    assert [(book.bids, book.asks) for book in books[1:4]] == [
        ([(83_998, 0)], []), ([], [(84_000, 0.25)]), ([], [(84_002, 0)])
    ]  # fmt: skip
    assert books[4].snapshot and books[4].bids == books[4].asks == []
    assert {(book.reach, book.rolling) for book in books} == {(250, True)}


def test_a_book_is_asked_for_anew_by_the_number_of_its_channel() -> None:
    played = Played("bitfinex", "book-1", "BTC", "ETH")
    played.open()
    for channel, symbol in ((7, BTC), (8, ETH)):
        played.hear(frames.bitfinex_opens(channel, symbol, "book"))
        played.hear(frames.bitfinex_tells(channel, channel, frames.bitfinex_levels()))
    played.tick(12)
    played.hear(frames.bitfinex_tells(8, 9, [101.0, 1, 8.0]))
    actions = played.tick(5)
    asked = [json.loads(action.data) for action in actions if isinstance(action, Send)]
    assert [message for message in asked if message["event"] != "ping"] == [
        {"event": "unsubscribe", "chanId": 8},
        {"event": "subscribe", "channel": "book", "symbol": ETH, "prec": "P0", "freq": "F0",
         "len": "250"},
    ]  # fmt: skip
    played.hear(frames.bitfinex_says("unsubscribed", status="OK", chanId=8))
    played.hear(frames.bitfinex_opens(9, ETH, "book"))
    played.hear(frames.bitfinex_tells(9, 10, frames.bitfinex_levels()))
    played.tick()
    assert played.session.books() == (2, 2)


# ── statuses ────────────────────────────────────────────────────────────


def test_statuses_are_read_by_place_and_null_is_no_number() -> None:
    facts = decoded("ws_status.jsonl")
    rates = [(e.symbol, e.rate, e.hours, e.settled) for e in facts if isinstance(e, Funding)]
    assert rates == [
        (BTC, -0.00001415, 8, False), (ETH, 0.0001056, 8, False), (ETH, 0.00000843, 8, False)
    ]  # fmt: skip
    interest = [(e.symbol, e.base, e.usd) for e in facts if isinstance(e, OpenInterest)]
    assert interest == [
        (BTC, 3_005.25851857, 3_005.25851857 * 84_001.25), (ETH, 21_000.5, 21_000.5 * 2_950.5)
    ]  # fmt: skip
    prices = [(e.symbol, e.mark, e.index) for e in facts if isinstance(e, Price)]
    assert prices == [
        (BTC, 84_001.25, 84_010.5), (ETH, None, 2_949.5), (ETH, None, 2_949.5),
        (ETH, 2_950.5, 2_949.5),
    ]  # fmt: skip


def test_by_rest_a_status_has_its_contract_in_front() -> None:
    by_rest = [fact for fact in decoded("check_1.jsonl") if getattr(fact, "symbol", "") == BTC]
    by_socket = [fact for fact in decoded("ws_status.jsonl") if getattr(fact, "symbol", "") == BTC]
    assert by_rest == by_socket


@pytest.mark.parametrize("row", [[], [7], [None], [[]], [BTC], [BTC, "x"]])
def test_a_row_by_rest_that_cannot_be_read_costs_itself(row: list[Any]) -> None:
    whole = json.loads(body("bitfinex", "check_1.jsonl"))
    request = bitfinex.checks([])[0]
    facts = bitfinex.decode_check(request, json.dumps([*whole, row]).encode(), KNOWN, SEEN)
    assert facts[:-1] == decoded("check_1.jsonl")
    assert isinstance(facts[-1], Unreadable)


def test_the_current_rate_is_of_no_known_time_and_the_clamp_no_cap() -> None:
    """-1.38 % was current where the clamp was 0.25 %."""
    assert not bitfinex.SPEC.tells_settlements
    assert {i.funding_cap for i in listed("bitfinex").instruments} == {None}


# ── liquidations ────────────────────────────────────────────────────────


def test_of_a_liquidation_told_twice_what_was_traded_counts() -> None:
    """8.6 ETH were taken and 4.57 of them traded; what the venue keeps is not told."""
    orders = [fact for fact in decoded("ws_liquidation.jsonl") if isinstance(fact, Liquidation)]
    assert [(e.symbol, e.base, e.price, str(e.position)) for e in orders] == [
        (ETH, 4.56671421, 2_950.5, "short"), (BTC, 0.5, 83_900, "long")
    ]  # fmt: skip
    assert [round(e.usd, 2) for e in orders] == [13_474.09, 41_950]


@pytest.mark.parametrize("amount", [1e-8, 0.5, 5.0])
def test_the_sign_of_the_amount_is_the_position_however_small(amount: float) -> None:
    for sign, position in ((1, "long"), (-1, "short")):
        row = frames.bitfinex_forced(BTC, sign * amount, SEEN)
        (order,) = of_channel("liq:global", [row])
        assert isinstance(order, Liquidation)
        assert (order.base, str(order.position)) == (amount, position)


def test_a_traded_liquidation_of_no_price_is_none() -> None:
    """The price in the row is that of the opening of the position."""
    assert of_channel("liq:global", [frames.bitfinex_forced(BTC, 1.0, SEEN, price=None)]) == []


# ── the listing ─────────────────────────────────────────────────────────


def bodies(pairs: list[Any], tickers: object = ()) -> list[bytes]:
    names = [[["IOT", "IOTA"]]]
    return [json.dumps(answer).encode() for answer in ([pairs], names, tickers)]


def test_only_coins_in_usdt_are_listed_by_the_names_of_coins() -> None:
    assert {i.symbol: i.asset for i in listed("bitfinex").instruments} == {
        BTC: "BTC", ETH: "ETH", "tIOTF0:USTF0": "IOTA", "tSHIBF0:USTF0": "SHIB",
        "tMATICF0:USTF0": "POL",
    }  # fmt: skip


def test_a_pair_that_cannot_be_read_costs_itself_and_most_of_them_are_no_listing() -> None:
    contracts, _, unreadable, _ = bitfinex.instruments(bodies(["BTCF0:USTF0", 7, "ETHF0:USTF0"]))
    assert [i.symbol for i in contracts] == [BTC, ETH]
    assert len(unreadable) == 1
    with pytest.raises(Malformed, match="2 of 3 rows cannot be read"):
        bitfinex.instruments(bodies(["BTCF0:USTF0", 7, None]))


@pytest.mark.parametrize("row", [7, [], [None], [BTC, 1, 1, 1, 1, 1, 1, "x", 1], {"a": 1}])
def test_tickers_only_rank(row: object) -> None:
    good = frames.bitfinex_row(ETH)
    contracts, _, unreadable, _ = bitfinex.instruments(
        bodies(["BTCF0:USTF0", "ETHF0:USTF0"], [row, good])
    )
    assert [(i.symbol, i.volume_24h_usd) for i in contracts] == [(BTC, None), (ETH, 1_000_000)]
    assert len(unreadable) == 1


def test_volumes_are_in_coins_and_rows_of_currencies_are_none_of_ours() -> None:
    volumes = [(e.symbol, e.usd_24h) for e in decoded("poll_volume.jsonl")
               if isinstance(e, Volume)]  # fmt: skip
    assert volumes == [(BTC, 120.5 * 84_000), (ETH, 800 * 2_950), ("tIOTF0:USTF0", 10_000)]
    assert decoded("check_2.jsonl")[0] == Mid(symbol=BTC, price=83_999.5)


# ── answers and limits ──────────────────────────────────────────────────


def test_answers_say_whom_a_refusal_is_about_and_that_a_connection_ends() -> None:
    replies = [fact for fact in decoded("ws_reply.jsonl") if isinstance(fact, Reply)]
    refused = [(reply.text, reply.symbols) for reply in replies if not reply.ok]
    gone = ("tGONEF0:USTF0",)
    assert refused == [
        ("conf: ERROR", ()), ("10300: symbol: invalid", gone), ("10300: key: invalid", gone),
        ("10305: subscribe: limit", ()),
    ]  # fmt: skip
    assert [reply.closing for reply in replies] == [False] * 9 + [True, True]


def test_five_hundred_contracts_are_thirty_channels_a_connection() -> None:
    known = frames.contracts("bitfinex", *(f"A{n}" for n in range(500)))
    sockets = bitfinex.subscriptions(known, frozenset(Kind))
    assert [s.name for s in sockets if not s.symbols] == ["liquidations"]
    assert len(sockets) == 1 + 17 + 17
    for socket in sockets:
        asked = [json.loads(message) for message in socket.messages]
        assert [m["event"] for m in asked] == ["conf"] + ["subscribe"] * (len(asked) - 1)
        assert len(asked) <= 1 + 30
    assert bitfinex.SPEC.connects_per_second * 60 <= 20
