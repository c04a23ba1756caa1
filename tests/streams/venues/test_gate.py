"""Gate's traps."""

import json

import pytest

from streams.contracts import Terms
from streams.durations import HOUR
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
from streams.venue import BookUpdate, Decoded, Listing, Malformed, Reply, Unreadable
from streams.venues import gate
from tests.streams import frames
from tests.streams.venue_cases import SEEN, body, lines, listed, listing

ALL = gate.SPEC.kinds
BTC, ETH, PEPE = "BTC_USDT", "ETH_USDT", "PEPE_USDT"
KNOWN = listing("gate")


def decoded(file: str, place: int = 0) -> list[Decoded]:
    return gate.decode(lines("gate", file)[place], KNOWN, SEEN)


def contracts(count: int) -> list[Instrument]:
    """Made-up contracts, as many."""
    return frames.contracts("gate", *(f"A{place}" for place in range(count)))


# ── which contracts, and how much one is ────────────────────────────────


def test_only_linear_contracts_on_coins_that_trade_or_end_are_listed() -> None:
    """No inverse ones (``quanto_multiplier`` 0 there), pre-market, stocks, metals, or to come."""
    names = {row["name"] for row in json.loads(body("gate", "listing_1.json"))}
    contracts = listed("gate").instruments
    assert names - {i.symbol for i in contracts} == {
        "NEW_USDT", "OPENAI_USDT", "TSLA_USDT", "XAU_USDT", "BTC_USD"
    }  # fmt: skip
    ending = {i.symbol for i in contracts if i.ends_at is not None}
    assert ending == {"SOL_USDT"}
    assert "LUNA_USDT" in {i.symbol for i in contracts}  # halted by a circuit breaker, and there


@pytest.mark.parametrize("value", ["", "0", "-1", 0, None])
def test_a_contract_of_no_size_is_unreadable(value: object) -> None:
    rows = json.loads(body("gate", "listing_1.json"))
    rows[1]["quanto_multiplier"] = value
    bodies = [json.dumps(rows).encode(), body("gate", "listing_2.json")]
    left, _, unreadable, _ = gate.instruments(bodies)
    assert unreadable == (ETH,)
    assert ETH not in {i.symbol for i in left}


def test_sizes_are_in_contracts_of_many_coins_at_a_price_for_one() -> None:
    sizes = {s: (i.contract_size, i.multiplier) for s, i in KNOWN.instruments.items()}
    assert sizes[BTC] == (0.0001, 1)
    assert sizes[PEPE] == (10_000_000, 1)
    (btc,) = [e for e in decoded("ws_ticker.jsonl") if isinstance(e, OpenInterest)][:1]
    assert (btc.base, btc.usd) == (65_800, pytest.approx(65_800 * 84_001.2))
    pepe = [e for e in decoded("ws_ticker.jsonl") if isinstance(e, OpenInterest | Price)][-2:]
    assert [getattr(e, "base", None) or getattr(e, "mark", None) for e in pepe] == [4e10, 0.00001]
    (update,) = decoded("ws_book.jsonl")
    assert isinstance(update, BookUpdate)
    assert update.bids[0] == (84_000, pytest.approx(0.0648))


def test_sizes_are_text_or_numbers_whole_or_not() -> None:
    """With ``enable_decimal`` a contract is traded in parts; other channels round them down."""
    for size in ("-0.25", -0.25, "-25e-2"):
        row = {"contract": ETH, "price": "2900", "time_ms": SEEN, "size": size}
        frame = {"channel": "futures.public_liquidates", "event": "update", "result": [row]}
        (order,) = gate.decode(json.dumps(frame).encode(), KNOWN, SEEN)
        assert isinstance(order, Liquidation)
        assert (order.base, order.position) == (0.0025, Position.LONG)
    bids = [e.bids for e in decoded("ws_book.jsonl", 4) if isinstance(e, BookUpdate)]
    assert bids == [[(2949.9, 0.0025)]]


# ── open interest ───────────────────────────────────────────────────────


def test_open_interest_may_be_of_both_sides_and_ranks_nothing() -> None:
    interest = [e for e in decoded("ws_ticker.jsonl") if isinstance(e, OpenInterest)]
    assert [e.one_side for e in interest] == [False] * 3
    assert {i.open_interest_usd for i in KNOWN.instruments.values()} == {None}
    assert KNOWN.instruments[BTC].volume_24h_usd == 2_518_230_674


def test_what_a_ticker_leaves_out_is_no_event_and_never_zero() -> None:
    """A ticker without ``total_size`` and volume was recorded."""
    kinds = {type(e) for e in decoded("ws_ticker.jsonl", 1)}
    assert kinds == {Terms, Funding, Price}
    assert decoded("ws_ticker.jsonl", 4) == []  # of contracts that are not watched


# ── funding ─────────────────────────────────────────────────────────────


def test_the_interval_is_in_seconds_and_so_is_the_next_settlement() -> None:
    terms, estimate = decoded("ws_ticker.jsonl")[:2]
    assert terms == Terms(symbol=BTC, funding_hours=8)
    assert isinstance(estimate, Funding)
    assert (estimate.hours, estimate.settled, estimate.next_at) == (8, False, 1_795_276_800_000)
    hours = {symbol: i.funding_hours for symbol, i in KNOWN.instruments.items()}
    assert (hours[BTC], hours[PEPE], hours["HOT1_USDT"]) == (8, 4, 1)


def test_an_interval_that_changes_is_the_new_one_from_the_next_ticker_on() -> None:
    terms, estimate = decoded("ws_ticker.jsonl", 2)[:2]
    assert terms == Terms(symbol=PEPE, funding_hours=1)
    assert isinstance(estimate, Funding)
    assert (estimate.rate, estimate.hours) == (0.004, 1)
    assert estimate.next_at == 1_795_266_000_000
    for seconds in (18_000, 0, -28_800):  # there is no such interval
        frame = frames.gate_ticker(BTC, at=SEEN, funding_interval=seconds)
        facts = gate.decode(frame, KNOWN, SEEN)
        assert not [e for e in facts if isinstance(e, Terms)]
        assert not [e for e in facts if isinstance(e, Funding)]


def test_a_ticker_without_an_interval_has_that_of_the_listing() -> None:
    """So were those of before 2024; the time is then that of the frame."""
    (estimate,) = [e for e in decoded("ws_ticker.jsonl", 3) if isinstance(e, Funding)]
    assert (estimate.hours, estimate.next_at, estimate.at) == (8, None, 1_795_262_411_598)


def test_settlements_name_no_contract_and_are_of_the_one_that_was_asked_about() -> None:
    polls = gate.polls([*KNOWN.instruments.values()], ALL)
    newest, *_ = lines("gate", "poll_funding.jsonl")
    for poll in polls[:3]:
        terms, settled = gate.decode_poll(poll, newest, KNOWN, SEEN)
        of = KNOWN.instruments[poll.request.symbol]
        assert terms == Terms(symbol=of.symbol, settled_before=1_795_219_200_000)
        assert isinstance(settled, Funding)
        assert (settled.symbol, settled.rate, settled.settled) == (of.symbol, 0.000157, True)
        assert settled.at == 1_795_248_000_000
    assert [poll.request.path.rpartition("=")[2] for poll in polls][-2:] == [
        "%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9F_USDT", "LUNA_USDT"
    ]  # fmt: skip
    nobody = Listing(instruments={})
    assert gate.decode_poll(polls[0], newest, nobody, SEEN) == []
    with pytest.raises(Malformed, match="a settlement of BTC_USDT at 5"):
        gate.decode_poll(polls[0], b'[{"t":5,"r":"0.1"}]', KNOWN, SEEN)


# ── liquidations ────────────────────────────────────────────────────────


def test_the_sign_on_the_socket_is_that_of_the_order_and_by_rest_that_of_the_position() -> None:
    """A forced sell, which is negative here, closes a long. Nothing is read by REST."""
    (long,) = decoded("ws_liquidation.jsonl")
    assert isinstance(long, Liquidation)
    assert (long.position, long.price, long.base, long.usd) == (
        Position.LONG, 83_800, 0.5, 41_900
    )  # fmt: skip
    several = [e for e in decoded("ws_liquidation.jsonl", 1) if isinstance(e, Liquidation)]
    assert [(e.symbol, str(e.position)) for e in several] == [
        (ETH, "long"), (ETH, "short"), (PEPE, "short")
    ]  # fmt: skip
    assert not [poll for poll in gate.polls(contracts(3), ALL) if poll.kind is Kind.LIQUIDATION]


@pytest.mark.parametrize("name", ["time", "time_ms"])
@pytest.mark.parametrize("several", [False, True])
def test_a_liquidation_comes_alone_or_in_a_list_under_either_name_of_its_time(
    name: str, several: bool
) -> None:
    """Alone with ``time`` until August 2026, when they were recorded; since then as documented."""
    row = {"contract": BTC, "price": "83800", name: SEEN - 5, "size": -5_000}
    result = [row, row] if several else row
    frame = {"time": 1, "channel": "futures.public_liquidates", "event": "update", "result": result}
    orders = gate.decode(json.dumps(frame).encode(), KNOWN, SEEN)
    assert [e.at for e in orders if isinstance(e, Liquidation)] == [SEEN - 5] * (1 + several)


def test_a_liquidation_at_no_time_or_of_nothing_is_none() -> None:
    def read(**row: object) -> list[Decoded]:
        good = {"contract": BTC, "price": "83800", "time": SEEN, "size": -5_000}
        rows = [{**good, **row}, good]
        frame = {"channel": "futures.public_liquidates", "event": "update", "result": rows}
        return gate.decode(json.dumps(frame).encode(), KNOWN, SEEN)

    assert [type(e) for e in read(size=0)] == [Liquidation]
    assert [type(e) for e in read(price="")] == [Liquidation]
    for spoiled in ({"time": SEEN // 1_000}, {"time": ""}, {"size": "x"}):
        assert Unreadable(rows=(BTC,)) in read(**spoiled)


# ── books ───────────────────────────────────────────────────────────────


def test_a_change_follows_by_its_first_id_and_may_change_nothing() -> None:
    full, change, empty = (decoded("ws_book.jsonl", place)[0] for place in range(3))
    assert isinstance(full, BookUpdate)
    assert isinstance(change, BookUpdate)
    assert isinstance(empty, BookUpdate)
    assert (full.snapshot, full.last, full.reach, full.rolling) == (True, 125033675974, 400, True)
    assert (change.snapshot, change.first, change.previous) == (False, full.last + 1, None)
    assert (empty.first, empty.bids, empty.asks) == (change.last + 1, [], [])


def test_a_quiet_book_is_as_old_as_its_frame_says() -> None:
    """Its times were 40 s old when it came, ``t`` 33 s older still; a book is fresh all the same,
    since changes follow by their ids and not by their times."""
    (update,) = decoded("ws_book.jsonl", 5)
    assert isinstance(update, BookUpdate)
    assert update.at == 1_795_262_411_598
    (timeless,) = gate.decode(
        lines("gate", "ws_book.jsonl")[5].replace(b'"time_ms":1795262411598,', b""), KNOWN, SEEN
    )
    assert isinstance(timeless, BookUpdate)
    assert timeless.at == SEEN


def test_a_book_starts_anew_when_it_is_subscribed_anew() -> None:
    sockets = {s.name: s for s in gate.subscriptions(contracts(60), ALL)}
    messages = [json.loads(m) for m in gate.resync("A3_USDT", sockets["book-1"])]
    assert [(m["event"], m["channel"], m["payload"]) for m in messages] == [
        ("unsubscribe", "futures.obu", ["ob.A3_USDT.400"]),
        ("subscribe", "futures.obu", ["ob.A3_USDT.400"]),
    ]
    assert gate.resync("A55_USDT", sockets["book-1"]) == ()
    assert gate.resync("A3_USDT", sockets["ticker-1"]) == ()


# ── sockets, limits, answers ────────────────────────────────────────────


def test_the_plan_for_500_contracts_is_within_the_limits() -> None:
    """300 connections an address, 200 requests of a path in 10 s."""
    many = contracts(500)
    sockets = gate.subscriptions(many, ALL)
    assert [s.name for s in sockets] == [
        "market", *(f"ticker-{n}" for n in range(1, 6)), *(f"book-{n}" for n in range(1, 11))
    ]  # fmt: skip
    payloads = [json.loads(m)["payload"] for s in sockets for m in s.messages]
    assert max(map(len, payloads)) == 50
    assert sum(map(len, payloads)) == 1 + 2 * 500
    polls = gate.polls(many, ALL)
    assert len(polls) == 500
    in_ten_seconds = [
        sum(start <= poll.offset_s < start + 10 for poll in polls) for start in range(0, 3_600, 5)
    ]
    assert 0 < max(in_ten_seconds) <= 100


def test_the_listing_is_asked_for_without_a_limit() -> None:
    """With one there are 100 contracts."""
    assert [request.path for request in gate.listing_requests()] == [
        "/api/v4/futures/usdt/contracts", "/api/v4/futures/usdt/tickers"
    ]  # fmt: skip


def test_only_the_liquidations_socket_opens_liquidations() -> None:
    opened = [reply.opens for place in range(9) for reply in decoded("ws_reply.jsonl", place)
              if isinstance(reply, Reply)]  # fmt: skip
    assert opened == [None, Kind.LIQUIDATION, *[None] * 7]


def test_a_book_asked_for_twice_and_a_ping_are_not_refused() -> None:
    (twice,) = decoded("ws_reply.jsonl", 3)
    assert isinstance(twice, Reply)
    assert twice.ok
    error = {"code": 2, "message": "invalid argument"}
    ping = {"time": 1, "channel": "futures.ping", "event": "", "error": error, "result": None}
    assert gate.decode(json.dumps(ping).encode(), KNOWN, SEEN) == [
        Reply(ok=True, text="2: invalid argument")
    ]


def test_a_refusal_names_the_contract_that_it_is_about() -> None:
    def refused(message: str, *payload: str, channel: str = "futures.tickers") -> Reply:
        (reply,) = gate.decode(frames.gate_says(channel, *payload, error=message), KNOWN, SEEN)
        assert isinstance(reply, Reply)
        assert not reply.ok
        return reply

    assert refused("unknown currency pair: X_USDT", BTC, "X_USDT").symbols == ("X_USDT",)
    assert refused("unknown currency pair X_USDT", BTC, "X_USDT").symbols == ("X_USDT",)
    assert refused("invalid argument", BTC, ETH).symbols == ()
    level = refused("level not supported", f"ob.{BTC}.400", channel="futures.obu")
    assert level.symbols == (BTC,)


def test_an_upgrade_closes_the_connection_soon() -> None:
    (reply,) = gate.decode(frames.gate_upgrade(), KNOWN, SEEN)
    assert reply == Reply(ok=True, text="please reconnect", closing=True)


def test_volumes_are_in_the_quote_currency() -> None:
    volumes = [e.usd_24h for e in decoded("ws_ticker.jsonl") if isinstance(e, Volume)]
    assert volumes[0] == 2_518_230_674


def test_times_of_tickers_are_those_of_the_row() -> None:
    assert {e.at for e in decoded("ws_ticker.jsonl") if isinstance(e, Price)} == {1_795_262_411_093}
    assert 1_795_262_411_093 % HOUR
