"""Kraken's traps."""

import json

import pytest

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
from streams.venue import BookUpdate, Decoded, Reply
from streams.venues import kraken
from tests.streams import frames
from tests.streams.venue_cases import SEEN, body, lines, listed, listing

ALL = kraken.SPEC.kinds
BTC, INVERSE, ETH, PEPE = "PF_XBTUSD", "PI_XBTUSD", "PF_ETHUSD", "PF_PEPEUSD"
KNOWN = listing("kraken")


def decoded(file: str, place: int = 0) -> list[Decoded]:
    return kraken.decode(lines("kraken", file)[place], KNOWN, SEEN)


def contracts(count: int) -> list[Instrument]:
    """Made-up contracts, as many."""
    return frames.contracts("kraken", *(f"A{place}" for place in range(count)))


def rows() -> list[dict[str, object]]:
    return json.loads(body("kraken", "listing_1.json"))["instruments"]


def listed_of(*contracts: object) -> list[Instrument]:
    """What is listed of these rows."""
    answers = [{"instruments": [*contracts]}, {"tickers": []}]
    return kraken.instruments([json.dumps(a).encode() for a in answers]).instruments


# ── which contracts ─────────────────────────────────────────────────────


def test_only_perpetuals_on_coins_that_trade_or_end_are_listed() -> None:
    """No dated contracts (FI_, FF_), none that cannot be traded, no shares, no metals."""
    names = {str(row["symbol"]) for row in rows()}
    contracts = listed("kraken").instruments
    assert names - {i.symbol for i in contracts} == {
        "PF_DEADUSD", "PF_AAPLxUSD", "PF_XAUUSD", "FI_XBTUSD_261225", "FF_ETHUSD_261225",
        "in_xbtusd",
    }  # fmt: skip
    assert {i.symbol: i.ends_at for i in contracts if i.ends_at is not None} == {
        "PF_SOLUSD": 1_795_791_600_000
    }
    assert "PF_SUIUSD" in KNOWN.instruments  # for orders that only rest, as yet


@pytest.mark.parametrize("base", ["AAPLx", "TSLAx", "SPYx"])
def test_a_share_has_a_small_letter_whether_it_is_said_to_be_one_or_not(base: str) -> None:
    """In 2025 its row was like that of a coin."""
    row = rows()[0] | {"symbol": f"PF_{base}USD", "base": base}
    del row["tradfi"]
    assert listed_of(row) == []
    assert [i.asset for i in listed_of({**row, "base": "TAO"})] == ["TAO"]


def test_xbt_is_bitcoin_by_whichever_name() -> None:
    """The names of contracts say XBT; their base said XBT in 2022 and BTC in 2025, and nothing in
    2021, when names were small."""
    assert {KNOWN.instruments[symbol].asset for symbol in (BTC, INVERSE)} == {"BTC"}
    small = {"symbol": "pi_xbtusd", "type": "futures_inverse", "contractSize": 1, "tradeable": True}
    (of,) = listed_of(small)
    assert (of.symbol, of.asset, of.inverse) == (INVERSE, "BTC", True)


@pytest.mark.parametrize("value", ["", "0", "-1", 0, None])
def test_a_contract_of_no_size_is_unreadable(value: object) -> None:
    answers = [{"instruments": [rows()[0], rows()[2] | {"contractSize": value}]}, {"tickers": []}]
    left, _, unreadable, _ = kraken.instruments([json.dumps(a).encode() for a in answers])
    assert unreadable == (ETH,)
    assert [i.symbol for i in left] == [BTC]


# ── units ───────────────────────────────────────────────────────────────


def test_linear_sizes_are_in_coins_and_inverse_ones_in_usd() -> None:
    inverse = {symbol for symbol, i in KNOWN.instruments.items() if i.inverse}
    assert inverse == {INVERSE}
    (interest,) = [e for e in decoded("ws_ticker.jsonl") if isinstance(e, OpenInterest)]
    assert (interest.base, interest.usd) == (1_500.25, 1_500.25 * 84_001.5)
    (interest,) = [e for e in decoded("ws_ticker.jsonl", 1) if isinstance(e, OpenInterest)]
    assert (interest.usd, interest.base) == (21_279_580, 21_279_580 / 84_002.25)
    (linear,), (of_usd,) = decoded("ws_liquidation.jsonl"), decoded("ws_liquidation.jsonl", 1)
    assert isinstance(linear, Liquidation)
    assert isinstance(of_usd, Liquidation)
    assert (linear.base, linear.usd) == (of_usd.base, of_usd.usd) == (0.5, 41_900)


def test_a_coin_that_is_worth_little_is_one_coin() -> None:
    """PEPE is traded by the thousand, and priced and counted by the coin."""
    assert KNOWN.instruments[PEPE].multiplier == KNOWN.instruments[PEPE].contract_size == 1
    facts = decoded("ws_ticker.jsonl", 2)
    assert [e.base for e in facts if isinstance(e, OpenInterest)] == [5e10]
    assert [e.mark for e in facts if isinstance(e, Price)] == [0.0000102]


def test_open_interest_may_be_of_both_sides_and_ranks_nothing() -> None:
    interest = [e for place in range(3) for e in decoded("ws_ticker.jsonl", place)
                if isinstance(e, OpenInterest)]  # fmt: skip
    assert [e.one_side for e in interest] == [False] * 3
    assert {i.open_interest_usd for i in KNOWN.instruments.values()} == {None}


def test_volumes_of_inverse_contracts_are_their_contracts() -> None:
    """What is called their quote volume was a hundredth of that in 2025, of no known unit."""
    volumes = [e.usd_24h for place in (0, 1) for e in decoded("ws_ticker.jsonl", place)
               if isinstance(e, Volume)]  # fmt: skip
    assert volumes == [252_000_000.5, 21_118_140]
    ranks = {symbol: i.volume_24h_usd for symbol, i in KNOWN.instruments.items()}
    assert (ranks[BTC], ranks[INVERSE]) == (252_000_000.5, 21_118_140)


def test_what_a_ticker_leaves_out_is_no_event_and_never_zero() -> None:
    """One of before there was funding in it; one of a contract that is not watched."""
    kinds = {type(e) for e in decoded("ws_ticker.jsonl", 4)}
    assert kinds == {OpenInterest, Price, Volume}
    assert decoded("ws_ticker.jsonl", 5) == []


# ── funding ─────────────────────────────────────────────────────────────


def test_the_relative_rate_is_the_rate() -> None:
    """The other one is USD for a coin, or coins for a contract: -8.4 and -1.19e-9 here."""
    for place in (0, 1):
        (estimate,) = [e for e in decoded("ws_ticker.jsonl", place) if isinstance(e, Funding)]
        assert (estimate.rate, estimate.hours, estimate.settled) == (-0.0001, 1, False)
        assert estimate.next_at == 1_795_266_000_000


def test_a_contract_without_funding_has_none() -> None:
    """Its rates are 0 and so is the time of the next one: the first is no rate."""
    facts = decoded("ws_ticker.jsonl", 3)
    assert not [e for e in facts if isinstance(e, Funding)]
    assert [e for e in facts if isinstance(e, Price)]


def test_no_rate_is_beyond_the_cap_of_the_listing() -> None:
    assert {i.funding_cap for i in KNOWN.instruments.values()} == {0.0025}
    assert {i.funding_hours for i in KNOWN.instruments.values()} == {1}


# ── liquidations ────────────────────────────────────────────────────────


def test_the_side_is_that_of_the_order() -> None:
    (long,), (short,) = decoded("ws_liquidation.jsonl"), decoded("ws_liquidation.jsonl", 1)
    assert isinstance(long, Liquidation)
    assert isinstance(short, Liquidation)
    assert (long.position, short.position) == (Position.LONG, Position.SHORT)
    assert long.at == 1_795_262_410_992


@pytest.mark.parametrize("kind", ["fill", "assignment", "termination", "block", ""])
def test_a_trade_is_no_liquidation_unless_it_says_so(kind: str) -> None:
    frame = json.dumps(frames.kraken_trade(BTC, 1.0, type=kind)).encode()
    assert kraken.decode(frame, KNOWN, SEEN) == []


def test_the_last_trades_tell_what_was_liquidated_before() -> None:
    """A connection begins with them, so what an earlier one has told is left out by the session."""
    assert kraken.SPEC.repeats_liquidations
    (order,) = decoded("ws_liquidation.jsonl", 2)
    assert isinstance(order, Liquidation)
    assert (order.position, order.base, order.at) == (Position.SHORT, 0.2, 1_795_262_409_000)


# ── books ───────────────────────────────────────────────────────────────


def test_a_change_is_one_level_and_follows_by_its_number() -> None:
    whole, change, gone = (decoded("ws_book.jsonl", place)[0] for place in range(3))
    assert isinstance(whole, BookUpdate)
    assert isinstance(change, BookUpdate)
    assert isinstance(gone, BookUpdate)
    assert (whole.snapshot, whole.last, whole.reach) == (True, 360_370, 0)
    assert (change.first, change.last, change.previous) == (360_371, 360_371, None)
    assert (change.bids, change.asks) == ([], [(84_000.5, 0.75)])
    assert (gone.first, gone.bids, gone.asks) == (360_372, [(83_999.5, 0)], [])


def test_a_change_without_a_time_is_of_now() -> None:
    (update,) = decoded("ws_book.jsonl", 4)
    assert isinstance(update, BookUpdate)
    assert (update.at, update.bids) == (SEEN, [(83_999, pytest.approx(0.1))])


def test_a_book_starts_anew_when_it_is_subscribed_anew() -> None:
    sockets = {s.name: s for s in kraken.subscriptions(contracts(60), ALL)}
    asked = [json.loads(m) for m in kraken.resync("PF_A3USD", sockets["book-1"])]
    assert [(m["event"], m["feed"], m["product_ids"]) for m in asked] == [
        ("unsubscribe", "book", ["PF_A3USD"]), ("subscribe", "book", ["PF_A3USD"])
    ]  # fmt: skip
    assert kraken.resync("PF_A55USD", sockets["book-1"]) == ()
    assert kraken.resync("PF_A3USD", sockets["market-1"]) == ()


# ── sockets, limits, answers ────────────────────────────────────────────


def test_the_plan_for_500_contracts_is_within_the_limits() -> None:
    """100 connections and 100 messages a second; nothing is asked by REST but the listing, since an
    answer about funding that was charged has all of it since 2018."""
    many = contracts(500)
    sockets = kraken.subscriptions(many, ALL)
    assert [s.name for s in sockets] == [
        *(f"market-{n}" for n in range(1, 6)), *(f"book-{n}" for n in range(1, 11))
    ]  # fmt: skip
    asked = [json.loads(m) for s in sockets for m in s.messages]
    assert sum(len(m["product_ids"]) for m in asked) == 3 * 500
    assert [m["feed"] for m in asked[:2]] == ["ticker", "trade"]
    assert kraken.polls(many, ALL) == []


@pytest.mark.parametrize("kind", [*Kind])
def test_no_feed_is_asked_for_that_nobody_wants(kind: Kind) -> None:
    sockets = kraken.subscriptions(contracts(2), frozenset((kind,)))
    feeds = [json.loads(m)["feed"] for s in sockets for m in s.messages]
    assert feeds == [{Kind.DEPTH: "book", Kind.LIQUIDATION: "trade"}.get(kind, "ticker")]


def test_errors_and_alerts_are_refusals() -> None:
    replies = [reply for place in range(6) for reply in decoded("ws_reply.jsonl", place)]
    assert [r.ok for r in replies if isinstance(r, Reply)] == [True] * 4 + [False] * 2
    assert replies[4] == Reply(ok=False, text="Invalid product id")
