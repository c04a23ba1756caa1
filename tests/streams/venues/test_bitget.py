"""Bitget's traps."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from streams.contracts import Terms
from streams.events import (
    Funding,
    Instrument,
    Kind,
    OpenInterest,
    Position,
    Price,
    Volume,
)
from streams.feed.book import Book, Verdict
from streams.venue import BookUpdate, Listing, Malformed, Poll, Reply, Unreadable
from streams.venues import bitget
from tests.streams import frames
from tests.streams.venue_cases import SEEN, body, lines, listed, listing

ALL = bitget.SPEC.kinds
BTC, ETH, BONK, PEPE = "BTCUSDT", "ETHUSDT", "1000BONKUSDT", "PEPEUSDT"


def decoded(file: str, place: int = 0) -> list[Any]:
    return list(bitget.decode(lines("bitget", file)[place], listing("bitget"), SEEN))


def poll_of(kind: Kind, symbol: str = "") -> Poll:
    known = [*listing("bitget").instruments.values()]
    asked = bitget.polls(known, ALL)
    return next(p for p in asked if (p.kind, p.request.symbol) == (kind, symbol))


def polled(kind: Kind, place: int = 0) -> list[Any]:
    answer = lines("bitget", f"poll_{kind}.jsonl")[place]
    return list(bitget.decode_poll(poll_of(kind), answer, listing("bitget"), SEEN))


def settled(symbol: str, answer: bytes) -> list[Any]:
    poll = poll_of(Kind.FUNDING, symbol)
    return list(bitget.decode_poll(poll, answer, listing("bitget"), SEEN))


def contracts(count: int) -> list[Instrument]:
    """Made-up contracts, as many."""
    return frames.contracts("bitget", *(f"A{place}" for place in range(count)))


def topics(messages: Sequence[bytes]) -> list[dict[str, str]]:
    return [topic for message in messages for topic in json.loads(message)["args"]]


def listing_bodies() -> list[bytes]:
    return [body("bitget", f"listing_{place}.json") for place in (1, 2, 3)]


# ── which contracts, and how much one is ────────────────────────────────


def test_only_perpetuals_on_coins_in_usdt_are_listed() -> None:
    """No shares (``isRwa``), no demo contracts (SBTC in SUSDT), none dated, to come or halted."""
    rows = {row["symbol"] for row in json.loads(body("bitget", "listing_1.json"))["data"]}
    symbols = [i.symbol for i in listed("bitget").instruments]
    assert symbols == [BTC, ETH, BONK, PEPE, "1INCHUSDT", "SOLUSDT", "LUNAUSDT", "FTTUSDT"]
    assert rows - {*symbols} == {
        "NEWUSDT", "DOWNUSDT", "TSLAUSDT", "SBTCSUSDT", "ETHUSDT_261225"
    }  # fmt: skip


def test_the_step_of_orders_is_no_size_of_a_contract() -> None:
    """``sizeMultiplier`` is 0.0001 of BTC: one contract is one coin, or 1000 where so named."""
    known = listing("bitget").instruments
    assert {s: (i.asset, i.contract_size, i.multiplier) for s, i in known.items()} == {
        BTC: ("BTC", 1, 1),
        ETH: ("ETH", 1, 1),
        BONK: ("BONK", 1, 1000),
        PEPE: ("PEPE", 1, 1),
        "1INCHUSDT": ("1INCH", 1, 1),
    }


def test_an_end_is_where_positions_can_only_be_closed() -> None:
    """A day before the contract is taken off, its open interest falls without anybody's doing."""
    ends = {i.symbol: i.ends_at for i in listed("bitget").instruments if i.ends_at is not None}
    assert ends == {"SOLUSDT": 1_795_305_600_000, "LUNAUSDT": 0, "FTTUSDT": 0}


# ── funding ─────────────────────────────────────────────────────────────


def test_the_interval_is_that_of_the_funding_answer() -> None:
    """ETH's contract still says 8 h, BONK's 4 h: they are 4 h and 1 h now."""
    known = listing("bitget").instruments
    assert {s: (i.funding_hours, i.funding_assumed) for s, i in known.items()} == {
        BTC: (8, False), ETH: (4, False), BONK: (1, False), PEPE: (8, False),
        "1INCHUSDT": (8, True),  # neither says it
    }  # fmt: skip
    without = [*listing_bodies()[:2], b""]
    left = {i.symbol: i for i in bitget.instruments(without).instruments}
    assert (left[BONK].funding_hours, left[BONK].funding_assumed) == (4, False)


def test_an_interval_that_changes_is_the_new_one_from_the_next_answer_on() -> None:
    for hours in (8, 1, 2, 4):
        answer = frames.bitget_answer([frames.bitget_funding(BTC, at=SEEN, hours=hours)])
        events = bitget.decode_poll(poll_of(Kind.FUNDING), answer, listing("bitget"), SEEN)
        assert [e.funding_hours for e in events if isinstance(e, Terms)] == [hours]
        assert [e.hours for e in events if isinstance(e, Funding)] == [hours]
    row = frames.bitget_funding(BTC, at=SEEN) | {"fundingRateInterval": "5"}  # there is none
    events = bitget.decode_poll(
        poll_of(Kind.FUNDING), frames.bitget_answer([row]), listing("bitget"), SEEN
    )
    assert [e.funding_hours for e in events if isinstance(e, Terms)] == [None]


def test_an_estimate_is_of_the_answers_own_time_and_the_coming_settlement() -> None:
    rates = {e.symbol: e for e in polled(Kind.FUNDING) if isinstance(e, Funding)}
    assert {*rates} == {BTC, ETH, BONK}  # "" is no rate, and without a time none is known
    btc = rates[BTC]
    assert (btc.rate, btc.settled, btc.at) == (-0.000043, False, 1_795_262_412_001)
    assert btc.next_at == 1_795_276_800_000


def test_rows_of_funding_alone_without_a_cap_cost_nothing() -> None:
    """Some contracts are listed for their funding only, with ``maxFundingRate`` null."""
    listed_now = bitget.instruments(listing_bodies())
    assert listed_now.unreadable == ()
    assert not [e for e in polled(Kind.FUNDING) if isinstance(e, Unreadable)]


def test_the_newest_settlement_is_told_with_the_one_before() -> None:
    btc, bonk, none = lines("bitget", "poll_funding_each.jsonl")
    terms, rate = settled(BTC, btc)
    assert terms == Terms(symbol=BTC, settled_before=1_795_219_200_000)
    assert (rate.rate, rate.at, rate.settled, rate.hours) == (0.000068, 1_795_248_000_000, True, 8)
    (rate,) = settled(BONK, bonk)
    assert (rate.rate, rate.hours) == (-0.0031, 1)
    assert settled(BTC, none) == []


# ── open interest, volume, price ────────────────────────────────────────


def test_open_interest_is_in_coins() -> None:
    """``holdingAmount``: "current positions in the unit of number of coins traded"."""
    interest = {e.symbol: e for e in polled(Kind.OPEN_INTEREST) if isinstance(e, OpenInterest)}
    assert {*interest} == {BTC, ETH, BONK, PEPE}  # "" is not zero
    assert (interest[BTC].base, interest[BTC].usd) == (29_539.3825, pytest.approx(2_481_408_563.9))
    assert not any(event.one_side for event in interest.values())  # nobody knows what it counts
    assert interest[BONK].base == 8_572_031_100 * 1000
    assert interest[BONK].usd == pytest.approx(8_572_031_100 * 0.010203)


def test_open_interest_without_a_mark_price_has_no_usd() -> None:
    row = frames.bitget_ticker(BTC, SEEN, markPrice="")
    poll = poll_of(Kind.OPEN_INTEREST)
    (event,) = bitget.decode_poll(poll, frames.bitget_answer([row]), listing("bitget"), SEEN)
    assert isinstance(event, OpenInterest)
    assert (event.base, event.usd) == (10, None)


def test_volume_is_the_amount_in_quote_currency_and_not_the_coins() -> None:
    volumes = {e.symbol: e.usd_24h for e in polled(Kind.VOLUME) if isinstance(e, Volume)}
    assert volumes[BTC] == 3_172_474_798.9
    assert volumes[BTC] == pytest.approx(37_764.7894 * 84_003.5, rel=1e-3)  # as the coins say
    assert volumes[BONK] == pytest.approx(2_878_355_900 * 0.0102, rel=1e-3)  # of 1000 each


def test_prices_are_for_one_coin_and_absent_where_they_are() -> None:
    prices = {e.symbol: e for e in polled(Kind.PRICE) if isinstance(e, Price)}
    assert (prices[BTC].mark, prices[BTC].index) == (84_003.4, 84_010.2)
    assert prices[BONK].mark == pytest.approx(0.000010203)
    assert (prices[PEPE].mark, prices[PEPE].index) == (0.0000103, None)
    assert (prices["1INCHUSDT"].mark, prices["1INCHUSDT"].index) == (None, 0.1861)
    assert prices[BTC].at == 1_795_262_411_886


# ── liquidations ────────────────────────────────────────────────────────


def test_amounts_of_liquidations_are_in_usdt_and_sides_those_of_positions() -> None:
    btc, eth, bonk, pepe = decoded("ws_liquidation.jsonl")
    # 8,365.05 USDT at 83,650.5 are a tenth of a coin: not 8,365 coins
    assert (btc.position, btc.usd) == (Position.LONG, 8_365.05)
    assert btc.base == pytest.approx(0.1)
    assert (eth.position, eth.usd, eth.base) == (Position.SHORT, 59.11, pytest.approx(0.02))
    assert (bonk.usd, bonk.base, bonk.price) == (250, pytest.approx(25e6), pytest.approx(1e-5))
    assert (pepe.usd, pepe.base) == (10.4, pytest.approx(1e6))


def test_a_liquidation_is_of_its_own_time_however_late_it_comes() -> None:
    """The frame is a batch: its rows are 10 and 20 s older than it."""
    btc, eth, *_ = decoded("ws_liquidation.jsonl")
    assert (SEEN - btc.at, SEEN - eth.at) == (10_796, 20_362)
    assert bitget.SPEC.repeats_liquidations


def test_a_liquidation_without_price_or_amount_is_none() -> None:
    assert decoded("ws_liquidation.jsonl", 2) == []
    assert decoded("ws_liquidation.jsonl", 1) == []  # of a share


def test_liquidations_are_one_topic_without_a_contract_on_the_newer_socket() -> None:
    """The older one (``/v2``) has none. The type is in small letters: in capitals all would be
    confirmed, and nothing would ever come."""
    market = bitget.subscriptions(contracts(3), ALL)[0]
    assert market.path == "/v3/ws/public"
    assert topics(market.messages) == [{"instType": "usdt-futures", "topic": "liquidation"}]
    assert (market.kinds, market.symbols, market.silence_s) == ({Kind.LIQUIDATION}, (), {})
    assert [decoded("ws_reply.jsonl", n)[0].opens for n in range(4)] == [
        None, Kind.LIQUIDATION, None, None
    ]  # fmt: skip


# ── books ───────────────────────────────────────────────────────────────


def test_books_follow_by_the_ids_alone() -> None:
    """A checksum comes with some changes and not with others: it is not looked at."""
    (snapshot,), (first,), (second,) = (decoded("ws_book.jsonl", n) for n in range(3))
    assert (snapshot.snapshot, snapshot.reach, snapshot.rolling) == (True, 1000, True)
    assert (first.previous, second.previous) == (snapshot.last, first.last)
    assert first.asks == [(84_003.8, 0)]
    frame = lines("bitget", "ws_book.jsonl")[1]
    assert b'"checksum":-431745958' in frame
    other = frame.replace(b'"checksum":-431745958,', b"")
    assert bitget.decode(other, listing("bitget"), SEEN) == [first]


@pytest.mark.parametrize("again", [17, 483_814_309_950, 483_814_309_999])
def test_a_change_that_follows_none_ends_what_was_known(again: int) -> None:
    """``pseq`` 0 that is no snapshot: the book counts anew, whether its ids are lower or not."""
    book = Book()
    for place in range(3):
        assert book.update(decoded("ws_book.jsonl", place)[0]) is Verdict.APPLIED
    frame = lines("bitget", "ws_book.jsonl")[3].replace(b'"seq":17', b'"seq":%d' % again)
    (change,) = bitget.decode(frame, listing("bitget"), SEEN)
    assert isinstance(change, BookUpdate)
    assert book.update(change) is Verdict.GAP
    assert not book.synced


def test_an_old_change_is_no_gap() -> None:
    book = Book()
    for place in (0, 1, 2, 1):
        verdict = book.update(decoded("ws_book.jsonl", place)[0])
    assert verdict is Verdict.DUPLICATE
    assert book.synced


def test_ids_beyond_what_a_float_holds_stay_whole() -> None:
    (bonk,) = decoded("ws_book.jsonl", 4)
    assert bonk.last == 2**53 + 3
    assert bonk.asks == [(0.000010204, 100_000_000)]
    assert decoded("ws_book.jsonl", 5) == []  # a share


def test_a_book_without_ids_is_refused() -> None:
    frame = lines("bitget", "ws_book.jsonl")[1].replace(b',"pseq":483814309734', b"")
    with pytest.raises(Exception, match="Object missing required field `pseq`"):
        bitget.decode(frame, listing("bitget"), SEEN)


def test_a_book_begins_anew_by_subscribing_anew() -> None:
    market, book = bitget.subscriptions(contracts(3), ALL)
    topic = {"instType": "usdt-futures", "topic": "books", "symbol": "A1USDT"}
    assert [json.loads(m) for m in bitget.resync("A1USDT", book)] == [
        {"op": "unsubscribe", "args": [topic]},
        {"op": "subscribe", "args": [topic]},
    ]
    assert bitget.resync("NOUSDT", book) == bitget.resync("A1USDT", market) == ()
    assert bitget.resubscribe(("A1USDT",), market) == ()
    with pytest.raises(Malformed):
        bitget.decode_snapshot("A1USDT", b"{}", listing("bitget"))


# ── limits ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [1, 60, 500])
def test_the_plan_stays_within_the_limits(count: int) -> None:
    """Fewer than 50 topics a connection and 25 a message, 4 KB a message, 240 requests an hour.

    Whatever is sent after the plan has one topic, and there are so many messages an hour.
    """
    sockets = bitget.subscriptions(contracts(count), ALL)
    most = bitget.SPEC.messages_per_hour
    assert most is not None
    for socket in sockets:
        assert all(len(message) <= 4_096 for message in socket.messages)
        assert all(len(topics([message])) <= 10 for message in socket.messages)
        followed = [m for s in socket.symbols for m in bitget.resync(s, socket)]
        followed += bitget.resubscribe(socket.symbols, socket)
        assert all(len(topics([message])) == 1 for message in followed)
        asked = topics(socket.messages)
        assert len(asked) < 50
        assert len(asked) + most - len(socket.messages) <= 240
        # refused once and asked singly, each book of it once anew: no reason to hang up
        assert 3 * len(socket.symbols) + len(socket.messages) < most
    asked = [json.dumps(t) for socket in sockets for t in topics(socket.messages)]
    assert len(asked) == len(set(asked)) == 1 + count
    # 300 connects in 5 minutes, 10 messages a second of at most 20 topics
    assert bitget.SPEC.connects_per_second <= 1
    assert bitget.SPEC.sends_per_second * 10 <= 20
    if count == 500:
        assert [len(socket.symbols) for socket in sockets] == [0, *[40] * 12, 20]


@pytest.mark.parametrize("count", [1, 500])
def test_what_is_said_of_all_contracts_is_one_request(count: int) -> None:
    """45 requests a minute in all, whatever is watched; 20 a second are allowed of each path.

    Settlements are asked for by contract, once an hour, 8 a second of 500.
    """
    polls = bitget.polls(contracts(count), ALL)
    of_all = [poll for poll in polls if not poll.request.symbol]
    assert [(poll.kind, poll.every_s) for poll in of_all] == [
        (Kind.PRICE, 2), (Kind.OPEN_INTEREST, 5), (Kind.FUNDING, 30), (Kind.VOLUME, 60)
    ]  # fmt: skip
    assert sum(60 / poll.every_s for poll in of_all) == 45
    each = [poll for poll in polls if poll.request.symbol]
    assert [poll.request.symbol for poll in each] == [f"A{n}USDT" for n in range(count)]
    assert {(poll.kind, poll.every_s) for poll in each} == {(Kind.FUNDING, 3600)}
    offsets = [poll.offset_s for poll in each]
    for place in range(count - 20):
        assert offsets[place + 20] - offsets[place] > 1
    assert bitget.polls([], ALL) == bitget.subscriptions([], ALL) == []


def test_the_heartbeat_is_a_text_and_so_is_its_answer() -> None:
    """Without it the connection is closed after two minutes, even while data comes."""
    assert (bitget.SPEC.ping, bitget.SPEC.answers_pings) == (b"ping", False)
    assert bitget.SPEC.ping_s <= 30
    assert bitget.SPEC.socket_life_s == 24 * 3600
    assert bitget.decode(b"pong", listing("bitget"), SEEN) == [Reply(ok=True)]


def test_a_refusal_names_its_contract_and_what_was_not_there_may_be_left() -> None:
    refused, left, hasty, liquidations = (decoded("ws_reply.jsonl", n)[0] for n in range(3, 7))
    assert (refused.ok, refused.symbols) == (False, ("NOPEUSDT",))
    assert (left.ok, left.symbols) == (True, ())  # to unsubscribe what is not subscribed
    assert (hasty.ok, hasty.symbols) == (False, ())
    assert (liquidations.ok, liquidations.symbols, liquidations.opens) == (False, (), None)


def test_a_refused_answer_says_why() -> None:
    refusal = b'{"code":"40034","msg":"Parameter does not exist","requestTime":1795262412001}'
    for place in range(3):
        bodies = listing_bodies()
        bodies[place] = refusal
        if place == 0:
            with pytest.raises(Malformed, match="40034: Parameter does not exist"):
                bitget.instruments(bodies)
        else:  # they only complete the listing
            assert len(bitget.instruments(bodies).unreadable) == 1
    nobody = Listing(instruments={})
    with pytest.raises(Malformed, match="40034"):
        bitget.decode_poll(poll_of(Kind.PRICE), refusal, nobody, SEEN)
