"""HTX's traps."""

import gzip
import json
import zlib

import pytest

from streams.contracts import Terms
from streams.events import Funding, Instrument, Kind, Liquidation, OpenInterest, Price, Volume
from streams.feed.actions import Send
from streams.venue import BookUpdate, Decoded, Malformed, Mid, Reply
from streams.venues import htx
from tests.streams import frames
from tests.streams.played import Played
from tests.streams.venue_cases import SEEN, lines, listed, listing, reader

KNOWN = listing("htx")
BTC, ETH, PEPE = "BTC-USDT", "ETH-USDT", "PEPE-USDT"


def decoded(file: str, place: int = 0) -> list[Decoded]:
    return reader("htx", file, KNOWN)(lines("htx", file)[place])


def listed_of(*contracts: object) -> list[Instrument]:
    """What is listed of these rows."""
    return htx.instruments([json.dumps({"data": contracts}).encode(), b'{"ticks":[]}']).instruments


# ── every frame is packed ───────────────────────────────────────────────


def test_a_packed_frame_is_what_it_is_unpacked() -> None:
    for frame in lines("htx", "ws_book.jsonl"):
        assert htx.decode(gzip.compress(frame), KNOWN, SEEN) == htx.decode(frame, KNOWN, SEEN)


@pytest.mark.parametrize(
    "frame",
    [
        b"\x1f\x8b",
        b"\x1f\x8bnothing",
        gzip.compress(lines("htx", "ws_book.jsonl")[0])[:60],
        gzip.compress(b"[" * 100_000),
        gzip.compress(b"\xff\xfe"),
        zlib.compress(b"{}"),
    ],
    ids=["begins", "no gzip", "cut", "deep", "no text", "another packing"],
)
def test_what_cannot_be_unpacked_is_malformed(frame: bytes) -> None:
    with pytest.raises((Malformed, ValueError)):
        htx.decode(frame, KNOWN, SEEN)


def test_a_small_frame_does_not_become_a_gigabyte() -> None:
    bomb = gzip.compress(b" " * 2**26)
    assert len(bomb) < 70_000
    with pytest.raises(Malformed, match="a frame of more than 4 MB"):
        htx.decode(bomb, KNOWN, SEEN)


# ── it pings, in two ways ───────────────────────────────────────────────


def test_a_ping_is_answered_by_its_own_number_and_at_once() -> None:
    replies = [decoded("ws_reply.jsonl", place)[0] for place in range(3)]
    assert [isinstance(reply, Reply) and json.loads(reply.answer) for reply in replies] == [
        {"pong": 1_795_262_411_000},
        {"op": "pong", "ts": "1795262411000"},
        {"op": "pong", "ts": 1_795_262_411_000},
    ]
    played = Played("htx", "book-1", "BTC")
    played.open()
    actions = played.hear(frames.packed(b'{"ping":1795262411000}'))
    assert [action.data for action in actions if isinstance(action, Send)] == [
        b'{"pong":1795262411000}'
    ]


@pytest.mark.parametrize("moment", [b'"x"', b'"' + b"9" * 10_000 + b'"', b"[1]", b"null", b"-1"])
def test_nothing_but_a_time_is_sent_back(moment: bytes) -> None:
    with pytest.raises((Malformed, ValueError)):
        htx.decode(b'{"op":"ping","ts":' + moment + b"}", KNOWN, SEEN)


# ── contracts, coins, dollars ───────────────────────────────────────────


def test_books_are_in_contracts_and_liquidations_in_both() -> None:
    """0.001 BTC and 1,000,000 PEPE a contract; of liquidations ``amount`` is in coins."""
    (book,) = decoded("ws_book.jsonl")
    assert isinstance(book, BookUpdate)
    assert book.bids[0] == (83_999.9, 0.5)
    (pepe,) = decoded("ws_book.jsonl", 2)
    assert isinstance(pepe, BookUpdate)
    assert pepe.bids == [(0.0000101, 20_000_000.0)]
    orders = [e for e in decoded("ws_liquidation.jsonl") if isinstance(e, Liquidation)]
    assert [(e.base, e.usd, str(e.position)) for e in orders] == [
        (0.227, 19_034.0635, "long"), (4.32, 12_767.76, "short")
    ]  # fmt: skip


def test_open_interest_is_in_coins_and_told_in_percent_only() -> None:
    """``volume`` beside it is in contracts; dated contracts of the same answer are none of ours."""
    interest = [e for e in decoded("poll_open_interest.jsonl") if isinstance(e, OpenInterest)]
    assert next((e.symbol, e.base, e.usd) for e in interest) == (BTC, 32_476.092, 2_727_991_728.0)
    assert not any(e.one_side for e in interest)
    assert {e.symbol for e in interest} == {BTC, ETH, PEPE}  # of HOT1 it says nothing


def test_an_answer_about_one_contract_alone_is_no_list() -> None:
    body = b'{"code":200,"data":{"contract_code":"BTC-USDT","amount":"1"}}'
    with pytest.raises(ValueError, match="Expected `array`"):
        htx.decode_poll(
            htx.polls([*KNOWN.instruments.values()], frozenset(Kind))[0], body, KNOWN, 0
        )


def test_volumes_of_all_contracts_are_in_usdt() -> None:
    """``vol`` is contracts where one contract is asked for, and USDT here: 6,891.566 BTC."""
    (btc, *_) = decoded("poll_volume.jsonl")
    assert isinstance(btc, Volume)
    assert btc.usd_24h == 273_472_535.834


def test_only_perpetuals_in_usdt_that_trade_or_end_are_listed() -> None:
    assert {i.symbol: i.ends_at for i in listed("htx").instruments if i.ends_at is not None} == {
        "SOL-USDT": 1_795_791_600_000, "OLD-USDT": 0
    }  # fmt: skip
    names = {i.symbol for i in listed("htx").instruments}
    assert not names & {"NEW-USDT", "BTC-USDT-261225", "BTC-USD"}
    # at each settlement it is in settlement, then settled, for a moment
    for status in (1, 3, 5, 7, 9):
        (of,) = listed_of(frames.htx_contract(BTC, contract_status=status))
        assert of.ends_at is None


# ── funding ─────────────────────────────────────────────────────────────


def test_funding_is_what_the_next_settlement_will_charge() -> None:
    """By the socket ``funding_time`` is when the rate was worked out, by REST when it is charged.
    One whose settlement is over is no settlement, and the estimate of the time after it no rate."""
    (btc, eth) = decoded("ws_funding.jsonl")
    assert isinstance(btc, Funding) and isinstance(eth, Funding)
    assert (btc.rate, btc.next_at, btc.settled) == (0.0001, 1_795_276_800_000, False)
    assert eth.rate == -0.000220068774978695
    checked = [e for e in decoded("check_1.jsonl") if isinstance(e, Funding)]
    assert [(e.symbol, e.next_at) for e in checked] == [
        (BTC, 1_795_276_800_000), (ETH, 1_795_276_800_000)
    ]  # fmt: skip


def test_intervals_and_caps_are_told_by_the_elements_of_contracts() -> None:
    """An interval that no venue has is none: the row of ETH says 5 h, and no cap."""
    terms = [e for e in decoded("ws_elements.jsonl") if isinstance(e, Terms)]
    assert [(t.symbol, t.funding_hours, t.funding_cap) for t in terms] == [
        (PEPE, 4, 0.0078), (BTC, 8, 0.00375)
    ]  # fmt: skip


# ── prices and books ────────────────────────────────────────────────────


def test_mark_and_index_come_by_themselves() -> None:
    (mark,), (index,) = decoded("ws_price.jsonl"), decoded("ws_price.jsonl", 1)
    assert isinstance(mark, Price) and isinstance(index, Price)
    assert (mark.mark, mark.index) == (84_001.25, None)
    assert (index.mark, index.index) == (None, 83_990.4)
    assert decoded("ws_price.jsonl", 3) == []


def test_a_version_that_is_left_out_is_a_gap_and_the_book_is_asked_for_anew() -> None:
    played = Played("htx", "book-1", "BTC")
    played.open()
    played.hear(frames.packed(frames.htx_book(BTC, 10)))
    played.tick()
    actions = played.hear(frames.htx_book(BTC, 12, [(99.95, 2.0)], [], "update"))
    sent = [json.loads(action.data) for action in actions if isinstance(action, Send)]
    assert [next(iter(message)) for message in sent] == ["unsub", "sub"]
    assert {message["id"] for message in sent} == {BTC}
    assert all("size_150" in next(iter(message.values())) for message in sent)
    assert played.session.stats.gaps == 1


def test_a_book_is_either_whole_or_a_change() -> None:
    with pytest.raises(Malformed, match="a book that is 'other'"):
        htx.decode(frames.htx_book(BTC, 1, event="other"), KNOWN, SEEN)


def test_the_best_prices_of_all_contracts_are_a_second_source() -> None:
    mids = decoded("check_2.jsonl")
    assert mids[0] == Mid(symbol=BTC, price=83_999.95)


def test_a_refusal_says_whom_it_is_about() -> None:
    (reply,) = decoded("ws_reply.jsonl", 5)
    assert isinstance(reply, Reply)
    assert (reply.ok, reply.symbols) == (False, ("GONE-USDT",))


def test_three_addresses_have_what_each_is_for() -> None:
    known = frames.contracts("htx", *(f"A{n}" for n in range(130)))
    sockets = htx.subscriptions(known, frozenset(Kind))
    assert [(s.name, s.path, len(s.messages)) for s in sockets] == [
        ("market", "/linear-swap-notification", 3),
        ("price-1", "/ws_index", 120), ("price-2", "/ws_index", 120), ("price-3", "/ws_index", 20),
        ("book-1", "/linear-swap-ws", 40), ("book-2", "/linear-swap-ws", 40),
        ("book-3", "/linear-swap-ws", 40), ("book-4", "/linear-swap-ws", 10),
    ]  # fmt: skip
