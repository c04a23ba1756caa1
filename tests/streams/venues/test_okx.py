"""OKX's traps."""

import json
from collections import Counter

import pytest

from streams.contracts import Terms
from streams.events import (
    Funding,
    Instrument,
    Kind,
    Liquidation,
    OpenInterest,
    Position,
    Price,
    Volume,
)
from streams.venue import BookUpdate, Listing, Malformed, Reply, Subscription, Unreadable
from streams.venues import okx
from tests.streams import frames
from tests.streams.venue_cases import SEEN, body, lines, listing

ALL = okx.SPEC.kinds
BTC = "BTC-USDT-SWAP"


def decoded(file: str, place: int = 0) -> list[object]:
    return list(okx.decode(lines("okx", file)[place], listing("okx"), SEEN))


def polled(kind: Kind, place: int = 0) -> list[object]:
    poll = next(poll for poll in okx.polls(contracts(1), ALL) if poll.kind is kind)
    answer = lines("okx", f"poll_{kind}.jsonl")[place]
    return list(okx.decode_poll(poll, answer, listing("okx"), SEEN))


def contracts(count: int) -> list[Instrument]:
    """Made-up contracts, as many."""
    return frames.contracts("okx", *(f"A{place}" for place in range(count)))


def topics(messages: tuple[bytes, ...]) -> list[dict[str, str]]:
    return [topic for message in messages for topic in json.loads(message)["args"]]


# ── which contracts, and how much one is ────────────────────────────────


def test_only_live_linear_contracts_on_coins_are_listed() -> None:
    """Not inverse ones, whose ``ctVal`` is 100 USD; not pre-market, stocks, suspended, to come."""
    rows = {row["instId"]: row for row in json.loads(body("okx", "listing_1.json"))["data"]}
    listed, _, unreadable, _ = okx.instruments(
        [body("okx", f"listing_{place}.json") for place in (1, 2, 3)]
    )
    assert unreadable == ()
    assert [i.symbol for i in listed] == [
        BTC, "ETH-USDT-SWAP", "PEPE-USDT-SWAP", "BTC-USDC-SWAP", "1INCH-USDT-SWAP", "SOL-USDT-SWAP"
    ]  # fmt: skip
    assert {*rows} - {i.symbol for i in listed} == {
        "BTC-USD-SWAP", "OPENAI-USDT-SWAP", "MUU-USDT-SWAP", "TSLA-USDT-SWAP", "LUNA-USDT-SWAP",
        "NEW-USDT-SWAP",
    }  # fmt: skip


def test_a_contract_is_many_coins_at_a_price_for_one() -> None:
    """``ctVal`` × ``ctMult``; no name has a multiplier in it, so prices are never divided."""
    known = listing("okx").instruments
    assert {symbol: (i.asset, i.contract_size, i.multiplier) for symbol, i in known.items()} == {
        BTC: ("BTC", 0.01, 1),
        "ETH-USDT-SWAP": ("ETH", 0.1, 1),
        "PEPE-USDT-SWAP": ("PEPE", 10_000_000, 1),
        "BTC-USDC-SWAP": ("BTC", 0.001, 1),  # 0.0001 × 10
        "1INCH-USDT-SWAP": ("1INCH", 1, 1),
    }
    (mark,) = decoded("ws_price.jsonl", 2)
    assert isinstance(mark, Price)
    assert mark.mark == 0.0000103


def test_a_row_without_a_size_is_unreadable_and_one_to_come_is_not() -> None:
    bodies = [body("okx", f"listing_{place}.json") for place in (1, 2, 3)]
    for value in (b'"ctVal":""', b'"ctVal":"0"', b'"ctVal":"-1"'):
        spoiled = [bodies[0].replace(b'"ctVal":"0.1"', value, 1), *bodies[1:]]
        listed, _, unreadable, _ = okx.instruments(spoiled)
        assert unreadable == ("ETH-USDT-SWAP",)
        assert "ETH-USDT-SWAP" not in {i.symbol for i in listed}


def test_contracts_of_one_prefix_are_not_mixed() -> None:
    """BTC-USD-SWAP counts 100 USD a contract: as BTC-USDT-SWAP it would be 10,000 times too much"""
    liquidated = [e for e in decoded("ws_liquidation.jsonl") if isinstance(e, Liquidation)]
    assert Counter(e.symbol for e in liquidated) == {
        BTC: 3, "PEPE-USDT-SWAP": 1, "ETH-USDT-SWAP": 1
    }  # fmt: skip
    assert decoded("ws_book.jsonl", 5) == decoded("ws_price.jsonl", 4) == []


@pytest.mark.parametrize(
    ("place", "changed"),
    [(0, ""), (1, "PEPE-USDT-SWAP"), (2, "ETH-USDT-SWAP"), (3, "BTC-USDC-SWAP")],
    ids=["nothing", "size", "end", "state"],
)
def test_a_contract_that_changes_makes_the_listing_be_read(place: int, changed: str) -> None:
    """Its size may (``ctVal``), and an end may be announced, long before the next listing."""
    replies = decoded("ws_instruments.jsonl", place)
    assert replies == (
        [Reply(ok=True, relist=True, text=f"{changed} has changed")] if changed else []
    )


def test_an_unreadable_contract_on_the_socket_is_no_news() -> None:
    frame = lines("okx", "ws_instruments.jsonl")[1].replace(b'"ctMult":"1"', b'"ctMult":[]')
    assert okx.decode(frame, listing("okx"), SEEN) == []
    nobody = Listing(instruments={})
    assert okx.decode(lines("okx", "ws_instruments.jsonl")[1], nobody, SEEN) == []


# ── funding ─────────────────────────────────────────────────────────────


def test_the_interval_is_that_of_the_rate_and_not_the_next_one() -> None:
    """ETH settles at 08:00, 16:00 and then 20:00: its rate of 16:00 is one of 8 hours."""
    eth = [e for e in polled(Kind.FUNDING) if getattr(e, "symbol", "") == "ETH-USDT-SWAP"]
    assert eth[0] == Terms(symbol="ETH-USDT-SWAP", funding_hours=8, funding_cap=0.00375)
    assert {e.hours for e in eth if isinstance(e, Funding)} == {8}
    assert listing("okx").instruments["ETH-USDT-SWAP"].funding_hours == 8
    pepe = listing("okx").instruments["PEPE-USDT-SWAP"]
    assert (pepe.funding_hours, pepe.funding_assumed, pepe.funding_cap) == (4, False, 0.015)


def test_without_the_settlement_before_the_next_interval_is_the_word() -> None:
    usdc = [e for e in polled(Kind.FUNDING) if getattr(e, "symbol", "") == "BTC-USDC-SWAP"]
    assert usdc[0] == Terms(symbol="BTC-USDC-SWAP", funding_hours=8, funding_cap=0.00375)
    inch = listing("okx").instruments["1INCH-USDT-SWAP"]  # neither is said
    assert (inch.funding_hours, inch.funding_assumed) == (8, True)


def test_an_interval_that_changes_is_the_new_one_from_the_next_answer_on() -> None:
    poll = next(poll for poll in okx.polls(contracts(1), ALL) if poll.kind is Kind.FUNDING)
    for hours in (8, 1, 2, 4):
        row = frames.okx_funding(BTC, at=SEEN, hours=hours)
        events = okx.decode_poll(poll, frames.okx_answer([row]), listing("okx"), SEEN)
        assert [e.funding_hours for e in events if isinstance(e, Terms)] == [hours]
        assert [e.hours for e in events if isinstance(e, Funding) and not e.settled] == [hours]
    row = frames.okx_funding(BTC, at=SEEN, hours=5)  # there is no such interval
    events = okx.decode_poll(poll, frames.okx_answer([row]), listing("okx"), SEEN)
    assert [e.funding_hours for e in events if isinstance(e, Terms)] == []


def test_a_settlement_is_told_once_it_is_over_at_its_own_time_and_rate() -> None:
    settled = {e.symbol: e for e in polled(Kind.FUNDING) if isinstance(e, Funding) and e.settled}
    assert {*settled} == {BTC, "ETH-USDT-SWAP"}  # that of PEPE is being processed
    assert (settled[BTC].rate, settled[BTC].at) == (0.0000539822210069, 1_795_248_000_000)
    (pepe,) = (e for e in polled(Kind.FUNDING, 1) if isinstance(e, Funding) and e.settled)
    assert (pepe.rate, pepe.at, pepe.hours) == (-0.00029, 1_795_262_400_000, 4)


def test_the_interval_that_ended_is_between_the_last_two_settlements() -> None:
    """Nothing else says it: the listing and the answer on all contracts are of what runs now."""
    hour, known = 3_600_000, listing("okx")
    poll = next(
        poll for poll in okx.polls(frames.contracts("okx", "BTC"), ALL) if poll.request.symbol
    )
    assert (poll.every_s, poll.kind, poll.request.symbol) == (3_600, Kind.FUNDING, BTC)
    assert poll.request.path == f"/api/v5/public/funding-rate-history?limit=2&instId={BTC}"
    at = SEEN // (8 * hour) * 8 * hour
    rows = [
        {"instId": BTC, "fundingTime": str(time), "fundingRate": "0.5", "realizedRate": rate}
        for time, rate in ((at, "-0.0009"), (at - 8 * hour, "-0.0001"))
    ]
    terms, settled = okx.decode_poll(poll, frames.okx_answer(rows), known, SEEN)
    assert terms == Terms(symbol=BTC, settled_before=at - 8 * hour)
    assert isinstance(settled, Funding)
    assert (settled.at, settled.rate, settled.settled) == (at, -0.0009, True)
    (terms, settled) = okx.decode_poll(poll, frames.okx_answer(rows[:1]), known, SEEN)
    assert terms == Terms(symbol=BTC)
    assert okx.decode_poll(poll, frames.okx_answer([]), known, SEEN) == []


def test_the_estimate_is_of_the_period_that_runs() -> None:
    (estimate,) = (
        e
        for e in polled(Kind.FUNDING)
        if isinstance(e, Funding) and not e.settled and e.symbol == BTC
    )
    assert (estimate.rate, estimate.next_at) == (-0.0000427, 1_795_276_800_000)


# ── open interest and volume ────────────────────────────────────────────


def test_open_interest_is_the_coins_and_not_the_contracts() -> None:
    interest = {e.symbol: e for e in polled(Kind.OPEN_INTEREST) if isinstance(e, OpenInterest)}
    assert (interest[BTC].base, interest[BTC].usd) == (22_161.1301, 1_861_535_000.4)
    assert interest[BTC].base == pytest.approx(2_216_113.01 * 0.01)  # as the contracts say
    assert interest["PEPE-USDT-SWAP"].base == 8_123_456_000_000
    assert "1INCH-USDT-SWAP" not in interest  # contracts alone: coins are not said
    assert listing("okx").instruments[BTC].open_interest_usd == 1_861_535_000.4


def test_volume_is_coins_times_the_last_price() -> None:
    """A swap's ``volCcy24h`` is in coins; what carries this name for spot is in USDT."""
    volumes = {e.symbol: e.usd_24h for e in polled(Kind.VOLUME) if isinstance(e, Volume)}
    assert volumes == {
        BTC: pytest.approx(73_998.8786 * 84_000), "PEPE-USDT-SWAP": pytest.approx(51_500_000)
    }  # fmt: skip


# ── liquidations ────────────────────────────────────────────────────────


def test_every_order_of_a_liquidation_counts_in_coins_by_the_position() -> None:
    first, second, third, pepe, eth = decoded("ws_liquidation.jsonl")
    assert isinstance(first, Liquidation)
    assert isinstance(second, Liquidation)
    assert isinstance(third, Liquidation)
    assert isinstance(pepe, Liquidation)
    assert isinstance(eth, Liquidation)
    # 8.55 contracts of 0.01 BTC; a sell closes a long
    assert (first.position, first.base) == (Position.LONG, pytest.approx(0.0855))
    assert first.usd == pytest.approx(0.0855 * 83_655.7)
    assert (second.base, second.usd, third.position) == (1, 83_650, Position.SHORT)
    # "net" is no position: the side of the order says which it was
    assert (pepe.position, pepe.base, pepe.usd) == (Position.LONG, 250_000_000, 2_500)
    assert (eth.position, eth.usd) == (Position.SHORT, 3_687.5)


def test_a_position_that_its_order_contradicts_is_unreadable() -> None:
    frame = lines("okx", "ws_liquidation.jsonl")[0].replace(b'"side":"buy"', b'"side":"sell"', 1)
    events = okx.decode(frame, listing("okx"), SEEN)
    assert Unreadable(rows=(BTC,)) in events
    assert {e.symbol for e in events if isinstance(e, Liquidation)} == {
        "PEPE-USDT-SWAP", "ETH-USDT-SWAP"
    }  # fmt: skip


def test_liquidations_are_one_topic_by_type_alone() -> None:
    """A contract beside the type would be ignored, and a contract instead of it refused."""
    market = okx.subscriptions(contracts(3), ALL)[0]
    assert topics(market.messages) == [
        {"channel": "liquidation-orders", "instType": "SWAP"},
        {"channel": "instruments", "instType": "SWAP"},
    ]
    assert (market.kinds, market.symbols) == ({Kind.LIQUIDATION}, ())
    (refused,) = okx.decode(
        b'{"event":"error","msg":"Wrong URL or channel:liquidation-orders,instId:BTC-USDT-SWAP'
        b" doesn't exist. Please use the correct URL, channel and parameters referring to API"
        b' document.","code":"60018","connId":"439535f1"}',
        listing("okx"),
        SEEN,
    )
    assert isinstance(refused, Reply)
    assert (refused.ok, refused.symbols, refused.opens) == (False, (), None)


def test_the_answer_to_its_subscription_opens_the_liquidation_feed() -> None:
    assert [decoded("ws_reply.jsonl", place)[0].opens for place in range(4)] == [  # pyright: ignore
        None, Kind.LIQUIDATION, None, None
    ]  # fmt: skip


# ── books ───────────────────────────────────────────────────────────────


def test_books_follow_by_the_ids_in_coins() -> None:
    (snapshot,), (change,), (alive,), (anew,) = (decoded("ws_book.jsonl", n) for n in range(4))
    assert isinstance(snapshot, BookUpdate)
    assert isinstance(change, BookUpdate)
    assert isinstance(alive, BookUpdate)
    assert isinstance(anew, BookUpdate)
    assert (snapshot.snapshot, snapshot.reach, snapshot.rolling) == (True, 400, True)
    assert snapshot.asks[0] == (84_003.5, pytest.approx(7.9041))  # 790.41 contracts
    assert (change.snapshot, change.previous) == (False, snapshot.last)
    assert change.asks == [(84_003.8, 0)]
    assert (alive.previous, alive.last, alive.bids, alive.asks) == (
        change.last,
        change.last,
        [],
        [],
    )
    assert (anew.previous, anew.last) == (alive.last, 17)  # after maintenance


def test_a_checksum_is_never_looked_at() -> None:
    """It is 0 in every frame, whatever the book: only the ids are of use."""
    frame = lines("okx", "ws_book.jsonl")[1]
    assert b'"checksum":0' in frame
    for value in (b"-1", b"2017579879"):
        other = frame.replace(b'"checksum":0', b'"checksum":' + value)
        assert okx.decode(other, listing("okx"), SEEN) == decoded("ws_book.jsonl", 1)


def test_a_book_without_ids_is_refused() -> None:
    """As it came until 2022: nothing would show that a change is missing."""
    frame = lines("okx", "ws_book.jsonl")[1].replace(b',"prevSeqId":333794734980', b"")
    with pytest.raises(Exception, match="Object missing required field `prevSeqId`"):
        okx.decode(frame, listing("okx"), SEEN)


def test_a_book_begins_anew_by_subscribing_anew() -> None:
    _, _, book = okx.subscriptions(contracts(3), ALL)
    topic = {"channel": "books", "instId": "A1-USDT-SWAP"}
    assert [json.loads(m) for m in okx.resync("A1-USDT-SWAP", book)] == [
        {"op": "unsubscribe", "args": [topic]},
        {"op": "subscribe", "args": [topic]},
    ]
    assert okx.resync("NO-USDT-SWAP", book) == ()
    with pytest.raises(Malformed):
        okx.decode_snapshot("A1-USDT-SWAP", b"{}", listing("okx"))


# ── prices ──────────────────────────────────────────────────────────────


def test_the_index_is_named_without_the_contract() -> None:
    mark, index = decoded("ws_price.jsonl", 0)[0], decoded("ws_price.jsonl", 1)[0]
    assert isinstance(mark, Price)
    assert isinstance(index, Price)
    assert (mark.symbol, mark.mark, mark.index) == (BTC, 84_003.4, None)
    assert (index.symbol, index.mark, index.index) == (BTC, None, 84_010.2)
    assert decoded("ws_price.jsonl", 5) == []  # a mark price of ""


# ── limits ──────────────────────────────────────────────────────────────


def args(sockets: list[Subscription]) -> list[int]:
    return [len(topics(socket.messages)) for socket in sockets]


@pytest.mark.parametrize("count", [1, 60, 500])
def test_the_plan_stays_within_the_limits(count: int) -> None:
    """480 subscriptions a connection and hour, 64 KB a message, fewer than 30 books a socket.

    Whatever is sent after the plan has two topics at most, and there are so many messages an hour.
    """
    sockets = okx.subscriptions(contracts(count), ALL)
    most = okx.SPEC.messages_per_hour
    assert most is not None
    for socket in sockets:
        assert socket.path == "/ws/v5/public"
        assert all(len(message) <= 64 * 1024 for message in socket.messages)
        followed = [m for s in socket.symbols for m in okx.resync(s, socket)]
        followed += okx.resubscribe(socket.symbols, socket)
        assert all(len(topics((message,))) <= 2 for message in followed)
        assert len(topics(socket.messages)) + 2 * most <= 480
        # refused once and asked singly, each book of it twice anew: no reason to hang up
        assert len(okx.resubscribe(socket.symbols, socket)) < most
        assert (Kind.DEPTH in socket.kinds) <= (len(socket.symbols) < 30)
    asked = [json.dumps(t) for socket in sockets for t in topics(socket.messages)]
    assert len(asked) == len(set(asked)) == 2 + 3 * count
    assert okx.SPEC.connects_per_second <= 3
    if count == 500:
        assert args(sockets) == [2, *[160] * 6, 40, *[25] * 20]
        assert len(sockets) / okx.SPEC.connects_per_second < 15  # all are open so soon


@pytest.mark.parametrize("count", [1, 500])
def test_what_is_said_of_all_contracts_is_one_request(count: int) -> None:
    """15 requests a minute in all, whatever is watched; 10 in 2 s are allowed of each path."""
    polls = [poll for poll in okx.polls(contracts(count), ALL) if not poll.request.symbol]
    assert [(poll.kind, poll.every_s, poll.request.symbol) for poll in polls] == [
        (Kind.OPEN_INTEREST, 5, ""), (Kind.FUNDING, 30, ""), (Kind.VOLUME, 60, "")
    ]  # fmt: skip
    assert sum(60 / poll.every_s for poll in polls) == 15
    assert okx.polls([], ALL) == []
    assert okx.subscriptions([], ALL) == []


def test_the_heartbeat_is_a_text_and_so_is_its_answer() -> None:
    """The connection is cut after 30 s without data or a ping; protocol pings are not answered."""
    assert (okx.SPEC.ping, okx.SPEC.answers_pings) == (b"ping", False)
    assert okx.SPEC.ping_s < 30
    assert okx.decode(b"pong", listing("okx"), SEEN) == [Reply(ok=True)]


def test_an_upgrade_of_the_service_is_told_before() -> None:
    (notice,) = decoded("ws_reply.jsonl", 6)
    assert isinstance(notice, Reply)
    assert (notice.ok, notice.closing) == (True, True)
    other = lines("okx", "ws_reply.jsonl")[6].replace(b"64008", b"64009")
    assert not okx.decode(other, listing("okx"), SEEN)[0].closing  # pyright: ignore


def test_a_refused_answer_says_why() -> None:
    for place in range(3):
        bodies = [body("okx", f"listing_{n}.json") for n in (1, 2, 3)]
        bodies[place] = b'{"code":"50011","data":[],"msg":"Too Many Requests"}'
        if place == 0:
            with pytest.raises(Malformed, match="50011: Too Many Requests"):
                okx.instruments(bodies)
        else:  # they only complete the listing
            assert len(okx.instruments(bodies).unreadable) == 1


def test_rows_of_another_contract_are_no_settlements_of_this_one() -> None:
    known = listing("okx")
    of = known.instruments["BTC-USDT-SWAP"]
    for symbol, count in ((of.symbol, 2), ("ETH-USDT-SWAP", 0)):
        body = frames.okx_answer(frames.okx_settled(symbol, at=SEEN))
        (past, *_) = (h for h in okx.histories([of]) if h.kind is Kind.FUNDING)
        rows = okx.decode_history(past, body, known, SEEN)
        assert sum(isinstance(row, Funding) for row in rows) == count
        (poll,) = (p for p in okx.polls([of], ALL) if p.request.symbol == of.symbol)
        polled = okx.decode_poll(poll, body, known, SEEN)
        assert any(isinstance(row, Funding) for row in polled) is (count > 0)
