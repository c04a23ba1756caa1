"""Deribit's traps."""

import json

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
from streams.venue import BookUpdate, Decoded, Listing, Reply, Unreadable
from streams.venues import deribit
from tests.streams import frames
from tests.streams.venue_cases import SEEN, body, lines, listed, listing

ALL = deribit.SPEC.kinds
BTC, ETH, PEPE = "BTC-PERPETUAL", "ETH-PERPETUAL", "1000PEPE_USDC-PERPETUAL"
BTC_USDC, ETH_USDC, SOL = "BTC_USDC-PERPETUAL", "ETH_USDC-PERPETUAL", "SOL_USDC-PERPETUAL"
KNOWN = listing("deribit")


def decoded(file: str, place: int = 0) -> list[Decoded]:
    return deribit.decode(lines("deribit", file)[place], KNOWN, SEEN)


def contracts(count: int) -> list[Instrument]:
    """Made-up contracts, as many."""
    return frames.contracts("deribit", *(f"A{place}" for place in range(count)))


def rows() -> list[dict[str, object]]:
    return json.loads(body("deribit", "listing_1.json"))["result"]


def listed_of(*contracts: object) -> list[Instrument]:
    """What is listed of these rows."""
    answers = [{"result": [*contracts]}, {"result": []}]
    return deribit.instruments([json.dumps(a).encode() for a in answers]).instruments


# ── which contracts ─────────────────────────────────────────────────────


def test_only_perpetuals_on_coins_that_trade_or_end_are_listed() -> None:
    """Since September 2026 there are stocks and metals among them. One that is being settled, which
    takes seconds, is as before."""
    names = {str(row["instrument_name"]) for row in rows()}
    contracts = listed("deribit").instruments
    assert names - {i.symbol for i in contracts} == {
        "UNI_USDC-PERPETUAL", "NVDA_USDC-PERPETUAL", "GOLD_USDC-PERPETUAL", "BTC-25DEC26",
        "XRP_USDC-25DEC26",
    }  # fmt: skip
    assert {i.symbol for i in contracts if i.ends_at is not None} == {"ALGO_USDC-PERPETUAL"}
    assert SOL in KNOWN.instruments


@pytest.mark.parametrize("type_of", ["equity", "commodity", "index", "fx", "anything"])
def test_what_is_on_no_coin_is_left_out_whatever_it_is_called(type_of: str) -> None:
    btc = rows()[2]
    assert [i.symbol for i in listed_of(btc)] == [BTC_USDC]
    assert listed_of({**btc, "underlying_type": type_of}) == []
    del btc["underlying_type"]  # as it was before there were others
    assert [i.symbol for i in listed_of(btc)] == [BTC_USDC]


def test_the_name_of_the_type_is_another_one_in_older_listings() -> None:
    """And none at all in those of 2021, where there were inverse contracts alone."""
    for row, inverse in ((rows()[0], True), (rows()[2], False)):
        for name in ("future_type", "instrument_type"):
            (of,) = listed_of({key: value for key, value in row.items() if key != name})
            assert of.inverse is inverse
    bare = {k: v for k, v in rows()[0].items() if not k.endswith("_type")}
    assert [i.inverse for i in listed_of(bare)] == [True]
    bare = {k: v for k, v in rows()[2].items() if not k.endswith("_type")}
    assert listed_of(bare) == []
    assert listed_of({**rows()[0], "future_type": "linear"}) == []


def test_an_end_is_that_of_a_contract_and_the_year_3000_is_none() -> None:
    btc = rows()[0]
    assert [i.ends_at for i in listed_of(btc)] == [None]
    ending = {**btc, "expiration_timestamp": 1_795_262_400_000}
    assert [i.ends_at for i in listed_of(ending)] == [1_795_262_400_000]
    inactive = {"is_active": False, "state": "inactive"}
    assert listed_of({**btc, **inactive}) == []
    assert [i.ends_at for i in listed_of({**ending, **inactive})] == [1_795_262_400_000]


# ── units ───────────────────────────────────────────────────────────────


def test_amounts_are_in_usd_or_in_coins_and_never_in_contracts() -> None:
    """A contract of BTC is 10 USD, one of ETH in USDC 0.001 coins: neither is multiplied by."""
    assert {i.contract_size for i in KNOWN.instruments.values()} == {1.0}
    inverse = {symbol for symbol, i in KNOWN.instruments.items() if i.inverse}
    assert inverse == {BTC, ETH}
    (interest,) = [e for e in decoded("ws_ticker.jsonl") if isinstance(e, OpenInterest)]
    assert (interest.usd, interest.inverse) == (1_132_329_370, True)
    assert interest.base == pytest.approx(1_132_329_370 / 84_001.5)
    (interest,) = [e for e in decoded("ws_ticker.jsonl", 2) if isinstance(e, OpenInterest)]
    assert (interest.base, interest.usd) == (812.5, 812.5 * 84_002)
    (update,) = decoded("ws_book.jsonl")
    assert isinstance(update, BookUpdate)
    assert [p * size for p, size in update.bids] == pytest.approx([42_000, 8_400, 830])
    (update,) = decoded("ws_book.jsonl", 3)
    assert isinstance(update, BookUpdate)
    assert update.bids == [(2_950, 3.5)]


def test_one_unit_may_be_a_thousand_coins() -> None:
    assert (KNOWN.instruments[PEPE].asset, KNOWN.instruments[PEPE].multiplier) == ("PEPE", 1_000)
    facts = decoded("ws_ticker.jsonl", 1)
    (interest,) = [e for e in facts if isinstance(e, OpenInterest)]
    (price,) = [e for e in facts if isinstance(e, Price)]
    assert (interest.base, interest.usd) == (5e10, pytest.approx(5e7 * 0.0102))
    assert (price.mark, price.index) == (pytest.approx(0.0000102), pytest.approx(0.00001019))


def test_what_is_open_ranks_linear_contracts_by_their_coins() -> None:
    ranks = {s: (i.open_interest_usd, i.volume_24h_usd) for s, i in KNOWN.instruments.items()}
    assert ranks[BTC_USDC] == (812.5 * 84_000, 91_000_000.5)
    assert ranks[BTC] == (None, None)


def test_what_a_ticker_leaves_out_is_no_event_and_never_zero() -> None:
    """A volume of null, or none; funding of null."""
    assert {type(e) for e in decoded("ws_ticker.jsonl", 2)} == {Funding, OpenInterest, Price}
    assert {type(e) for e in decoded("ws_ticker.jsonl", 3)} == {OpenInterest, Price}
    assert decoded("ws_ticker.jsonl", 4) == []  # a dated contract
    volumes = [e.usd_24h for e in decoded("ws_ticker.jsonl") if isinstance(e, Volume)]
    assert volumes == [1_092_371_540]


# ── funding ─────────────────────────────────────────────────────────────


def test_the_rate_is_the_one_of_now_which_is_written_for_8_h_and_paid_by_the_hour() -> None:
    """``funding_8h``, which is of the past, is another number with another sign here."""
    (estimate,) = [e for e in decoded("ws_ticker.jsonl") if isinstance(e, Funding)]
    assert (estimate.rate, estimate.hours) == (-0.00005, 1)
    assert (estimate.settled, estimate.next_at) == (False, None)  # there is no settlement to come
    assert {i.funding_hours for i in KNOWN.instruments.values()} == {1}
    assert not any(i.funding_assumed for i in KNOWN.instruments.values())


def test_a_rate_of_zero_is_one() -> None:
    """While the mark price is within 0.025 % of the index nobody pays anything."""
    (estimate,) = [e for e in decoded("ws_ticker.jsonl", 1) if isinstance(e, Funding)]
    assert estimate.rate == 0


def test_what_an_hour_has_cost_is_its_own_interest_not_that_of_8_h() -> None:
    polls = deribit.polls([*KNOWN.instruments.values()], ALL)
    hour, two, nothing = lines("deribit", "poll_funding.jsonl")
    poll = next(p for p in polls if p.request.symbol == BTC)
    terms, settled = deribit.decode_poll(poll, hour, KNOWN, SEEN)
    assert terms == Terms(symbol=BTC, settled_before=1_795_262_400_000 - 3_600_000)
    assert isinstance(settled, Funding)
    assert (settled.rate, settled.hours, settled.settled) == (-4.739622041017375e-7, 1, True)
    assert (settled.symbol, settled.at) == (BTC, 1_795_262_400_000)
    _, settled = deribit.decode_poll(poll, two, KNOWN, SEEN)
    assert isinstance(settled, Funding)
    assert settled.rate == 0.00003
    assert deribit.decode_poll(poll, nothing, KNOWN, SEEN) == []
    assert deribit.decode_poll(poll, hour, Listing(instruments={}), SEEN) == []


def test_an_hour_is_asked_for_by_its_ends() -> None:
    (poll, *_) = deribit.polls([*KNOWN.instruments.values()], ALL)
    assert poll.request.path == (
        "/api/v2/public/get_funding_rate_history?start_timestamp={hour_ago}&end_timestamp={now}"
        f"&instrument_name={poll.request.symbol}"
    )


# ── liquidations ────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("whose", "direction", "closed"),
    [
        ("T", "sell", ["long"]),
        ("T", "buy", ["short"]),
        ("M", "sell", ["short"]),
        ("M", "buy", ["long"]),
        ("MT", "sell", ["long", "short"]),
        ("MT", "buy", ["short", "long"]),
    ],
)
def test_the_direction_is_the_takers_and_the_flag_says_whose_position_was_closed(
    whose: str, direction: str, closed: list[str]
) -> None:
    trade = frames.deribit_trade(BTC, 41_900, price=83_800, direction=direction, liquidation=whose)
    frame = frames.deribit_tells("trades.future.any.100ms", [trade])
    orders = [e for e in deribit.decode(frame, KNOWN, SEEN) if isinstance(e, Liquidation)]
    assert [str(e.position) for e in orders] == closed
    assert {(e.price, e.base, e.usd) for e in orders} == {(83_800, 0.5, 41_900)}


def test_a_trade_is_no_liquidation_unless_it_says_so() -> None:
    """In one frame with others, of contracts that are watched or not, of legs of combinations."""
    orders = [e for e in decoded("ws_liquidation.jsonl", 1) if isinstance(e, Liquidation)]
    assert [(e.symbol, str(e.position), e.base) for e in orders] == [
        (ETH_USDC, "long", 1.5), (PEPE, "short", 2e8), (SOL, "long", 2), (SOL, "short", 2),
        (BTC_USDC, "short", 0.25),
    ]  # fmt: skip
    assert decoded("ws_ignored.jsonl") == []


def test_a_flag_that_nobody_knows_is_unreadable() -> None:
    good = frames.deribit_trade(BTC, 10, liquidation="T")
    odd = frames.deribit_trade(ETH, 10, liquidation="X")
    frame = frames.deribit_tells("trades.future.any.100ms", [good, odd])
    order, unreadable = deribit.decode(frame, KNOWN, SEEN)
    assert isinstance(order, Liquidation)
    assert order.position is Position.LONG
    assert unreadable == Unreadable(rows=(ETH,))


# ── books ───────────────────────────────────────────────────────────────


def test_a_change_follows_by_the_id_before_it() -> None:
    whole, change, next_one = (decoded("ws_book.jsonl", place)[0] for place in range(3))
    assert isinstance(whole, BookUpdate)
    assert isinstance(change, BookUpdate)
    assert isinstance(next_one, BookUpdate)
    assert (whole.snapshot, whole.last, whole.previous, whole.reach) == (True, 72_001, None, 0)
    assert (change.snapshot, change.previous, change.last) == (False, 72_001, 72_004)
    assert next_one.previous == change.last
    assert [size > 0 for _, size in change.bids] == [True, False, True]


def test_a_snapshot_may_have_an_id_before_it_or_no_type() -> None:
    """Both were recorded, in 2022 and in 2019."""
    for place in (3, 4):
        (update,) = decoded("ws_book.jsonl", place)
        assert isinstance(update, BookUpdate)
        assert (update.snapshot, update.previous) == (True, None)


def test_a_level_that_is_deleted_is_gone_whatever_its_amount() -> None:
    (update,) = decoded("ws_book.jsonl", 5)
    assert isinstance(update, BookUpdate)
    assert [size for _, size in update.bids] == [0]


def test_a_change_that_follows_nothing_begins_anew() -> None:
    """An id before of 0 was recorded of a book that had been empty."""
    (update,) = decoded("ws_book.jsonl", 6)
    assert isinstance(update, BookUpdate)
    assert (update.snapshot, update.previous) == (False, 0)


def test_a_book_starts_anew_when_it_is_subscribed_anew() -> None:
    sockets = {s.name: s for s in deribit.subscriptions(contracts(120), ALL)}
    asked = [json.loads(m) for m in deribit.resync("A3_USDC-PERPETUAL", sockets["book-1"])]
    assert [(m["method"], m["params"]["channels"]) for m in asked] == [
        ("public/unsubscribe", ["book.A3_USDC-PERPETUAL.100ms"]),
        ("public/subscribe", ["book.A3_USDC-PERPETUAL.100ms"]),
    ]
    assert deribit.resync("A110_USDC-PERPETUAL", sockets["book-1"]) == ()
    assert deribit.resync("A3_USDC-PERPETUAL", sockets["ticker-1"]) == ()


# ── sockets, limits, answers ────────────────────────────────────────────


def test_the_plan_for_500_contracts_is_within_the_limits() -> None:
    """32 connections an address with requests among them, 32 KB a message, 20 requests a second."""
    many = contracts(500)
    sockets = deribit.subscriptions(many, ALL)
    assert [s.name for s in sockets] == [
        "market", *(f"ticker-{n}" for n in range(1, 6)), *(f"book-{n}" for n in range(1, 6))
    ]  # fmt: skip
    messages = [m for s in sockets for m in s.messages]
    assert max(map(len, messages)) < 32_768 / 4
    channels = [c for m in messages for c in json.loads(m)["params"]["channels"]]
    assert len(channels) == len({*channels}) == 1 + 2 * 500
    assert not [c for c in channels if c.endswith(".raw")]  # for those who log in
    polls = deribit.polls(many, ALL)
    in_ten_seconds = [
        sum(start <= poll.offset_s < start + 10 for poll in polls) for start in range(0, 3_600, 5)
    ]
    assert 0 < max(in_ten_seconds) <= 100


def test_heartbeats_are_not_asked_for_and_its_own_kind_of_ping_is_sent() -> None:
    """With ``set_heartbeat`` it would close a connection that does not answer its requests, without
    one that says nothing for about 30 s."""
    assert deribit.SPEC.ping is not None
    assert json.loads(deribit.SPEC.ping)["method"] == "public/test"
    assert deribit.SPEC.ping_s < 30
    asked = [m for s in deribit.subscriptions(contracts(3), ALL) for m in s.messages]
    assert {json.loads(m)["method"] for m in asked} == {"public/subscribe"}
    assert decoded("ws_reply.jsonl", 8) == decoded("ws_reply.jsonl", 9) == [Reply(ok=True)]


def test_only_the_subscription_to_trades_opens_liquidations() -> None:
    opened = [reply.opens for place in range(10) for reply in decoded("ws_reply.jsonl", place)
              if isinstance(reply, Reply)]  # fmt: skip
    assert opened == [None, Kind.LIQUIDATION, *[None] * 8]


def test_a_refused_ping_is_no_refusal() -> None:
    refused = [reply.ok for place in (5, 6, 7) for reply in decoded("ws_reply.jsonl", place)
               if isinstance(reply, Reply)]  # fmt: skip
    assert refused == [False, True, False]
