"""Binance COIN-M and Bybit inverse: the traps of contracts that are counted in USD."""

import json
from typing import Any

import pytest

from streams.contracts import Contracts
from streams.events import (
    Depth,
    Funding,
    Instrument,
    Kind,
    Liquidation,
    OpenInterest,
    Position,
    Price,
    Volume,
)
from streams.feed.actions import Fetch
from streams.venue import BookUpdate, Listing, Request
from streams.venues import VENUES
from tests.streams import frames
from tests.streams.played import Played, turns
from tests.streams.venue_cases import SEEN, lines, listing, reader

COIN_M, INVERSE = "binance-coinm", "bybit-inverse"
BTC_PERP, BTC_USD = "BTCUSD_PERP", "BTCUSD"
PRICES = {COIN_M: "ws_mark_price.jsonl", INVERSE: "ws_ticker.jsonl"}


def decoded(venue: str, file: str, place: int = 0) -> list[Any]:
    return list(reader(venue, file, listing(venue))(lines(venue, file)[place]))


def completed(venue: str, *events: Any) -> list[Any]:
    """What is published of these, with what is known of the contracts."""
    contracts = Contracts()
    contracts.relist(listing(venue).instruments.values())
    return [contracts.complete(event)[0] for event in events]


# ── which contracts ─────────────────────────────────────────────────────


def test_a_contract_is_so_many_dollars_and_only_perpetuals_are_listed() -> None:
    """100 USD for BTC and 10 for all others at Binance, 1 USD at Bybit; dated ones are none."""
    sizes = {
        venue: {i.symbol: i.contract_size for i in listing(venue).instruments.values()}
        for venue in (COIN_M, INVERSE)
    }
    assert sizes == {
        COIN_M: {BTC_PERP: 100, "ETHUSD_PERP": 10, "DOGEUSD_PERP": 10},
        INVERSE: {BTC_USD: 1, "ETHUSD": 1},
    }
    for venue in sizes:
        assert all(i.inverse and i.quote == "USD" for i in listing(venue).instruments.values())


def test_linear_contracts_of_the_same_exchange_are_another_venue() -> None:
    """An asset has one contract at each; what the two say is what their exchange says."""
    assert VENUES[COIN_M].SPEC.websocket != VENUES["binance"].SPEC.websocket
    assert VENUES[INVERSE].SPEC.websocket == VENUES["bybit"].SPEC.websocket
    for venue, other in ((COIN_M, "binance"), (INVERSE, "bybit")):
        assert {*listing(venue).instruments}.isdisjoint(listing(other).instruments)
        assert not any(i.inverse for i in listing(other).instruments.values())


# ── open interest ───────────────────────────────────────────────────────


def test_open_interest_is_in_contracts_which_the_mark_price_makes_coins() -> None:
    """6,784,657 contracts of 100 USD are 678,465,700 USD at any price, and coins at one."""
    (counted,) = decoded(COIN_M, "poll_open_interest.jsonl")
    assert (counted.usd, counted.inverse, counted.base) == (678_465_700, True, 0)
    marks = [e for e in decoded(COIN_M, PRICES[COIN_M]) if isinstance(e, Price)]
    unknown, _, published = completed(COIN_M, counted, marks[0], counted)
    assert unknown is None  # no mark price yet, so nothing is known in coins
    assert (published.usd, published.base) == (678_465_700, pytest.approx(678_465_700 / 84_003.4))


def test_a_fall_makes_them_more_coins_and_no_more_dollars() -> None:
    (counted,) = decoded(COIN_M, "poll_open_interest.jsonl")
    mark = next(e for e in decoded(COIN_M, PRICES[COIN_M]) if isinstance(e, Price))
    fallen = Price(venue=COIN_M, symbol=BTC_PERP, asset="BTC", at=mark.at, seen=SEEN, mark=42_001.7)
    _, before, _, after = completed(COIN_M, mark, counted, fallen, counted)
    assert after.usd == before.usd
    assert after.base == pytest.approx(2 * before.base)


def test_of_bybits_two_numbers_the_one_in_dollars_counts_and_half_of_it() -> None:
    """``singleOpenInterestValue`` is in coins here, and what is not "single" is of both sides."""
    (interest,) = (e for e in decoded(INVERSE, "ws_ticker.jsonl") if isinstance(e, OpenInterest))
    assert (interest.usd, interest.base) == (465_880_248, pytest.approx(5_546.19, abs=0.01))
    (delta,) = decoded(INVERSE, "ws_ticker.jsonl", 1)
    assert (delta.usd, delta.base) == (465_880_249, 0)
    old = next(e for e in decoded(INVERSE, "ws_ticker.jsonl", 2) if isinstance(e, OpenInterest))
    assert (old.usd, old.base) == (100_000_000, pytest.approx(67_796.6 / 2, abs=0.1))
    ranks = {i.symbol: i.open_interest_usd for i in listing(INVERSE).instruments.values()}
    assert ranks == {BTC_USD: 465_880_248, "ETHUSD": 100_000_000}


# ── liquidations, volumes, books ────────────────────────────────────────


def test_liquidations_are_in_contracts_too() -> None:
    """250 contracts of 100 USD at Binance, by the order's side; 41,825 of 1 USD at Bybit, by the
    position's."""
    (btc,), (eth,) = (decoded(COIN_M, "ws_force_order.jsonl", n) for n in range(2))
    assert (btc.usd, btc.base, btc.position) == (
        25_000, pytest.approx(25_000 / 83_650.5), Position.LONG
    )  # fmt: skip
    assert (eth.usd, eth.position) == (400, Position.SHORT)
    first, second = decoded(INVERSE, "ws_liquidation.jsonl")
    assert (first.usd, first.base, first.position) == (41_825, 0.5, Position.LONG)
    assert (second.usd, second.position) == (pytest.approx(100), Position.SHORT)


def test_rows_of_linear_contracts_in_the_same_streams_are_not_ours() -> None:
    assert decoded(COIN_M, "ws_force_order.jsonl", 2) == []
    for file in (PRICES[COIN_M], "ws_mini_ticker.jsonl"):
        symbols = {e.symbol for e in decoded(COIN_M, file)}
        assert symbols <= {*listing(COIN_M).instruments}
        assert "BTCUSDT" in lines(COIN_M, file)[0].decode()


def test_volumes_are_contracts_and_never_the_coins_beside_them() -> None:
    volumes = {e.symbol: e.usd_24h for e in decoded(COIN_M, "ws_mini_ticker.jsonl")}
    assert volumes == {BTC_PERP: 1_321_088_100, "ETHUSD_PERP": 210_000_000}
    (volume,) = (e for e in decoded(INVERSE, "ws_ticker.jsonl") if isinstance(e, Volume))
    assert volume.usd_24h == 658_660_800
    ranks = {i.symbol: i.volume_24h_usd for i in listing(COIN_M).instruments.values()}
    assert ranks == {BTC_PERP: 1_321_088_100, "ETHUSD_PERP": 210_000_000, "DOGEUSD_PERP": 24e6}


@pytest.mark.parametrize(
    ("venue", "file", "usd"),
    [(COIN_M, "ws_depth.jsonl", 100), (COIN_M, "snapshot_BTCUSD_PERP.json", 100),
     (INVERSE, "ws_book.jsonl", 1)],
)  # fmt: skip
def test_each_level_of_a_book_is_worth_its_contracts(venue: str, file: str, usd: int) -> None:
    (update,) = decoded(venue, file)
    assert isinstance(update, BookUpdate)
    written = json.loads(lines(venue, file)[0])
    written = written.get("data", written)
    for mine, theirs in ((update.bids, "bids"), (update.asks, "asks")):
        levels = written.get(theirs) or written[theirs[0]]
        assert [price for price, _ in mine] == [float(price) for price, _ in levels]
        assert [price * size for price, size in mine] == [
            pytest.approx(usd * float(contracts)) for _, contracts in levels
        ]


@pytest.mark.parametrize("venue", [COIN_M, INVERSE])
def test_a_level_at_no_price_is_for_the_book_to_refuse(venue: str) -> None:
    file = {COIN_M: "ws_depth.jsonl", INVERSE: "ws_book.jsonl"}[venue]
    frame = lines(venue, file)[0].replace(b'"84000.', b'"0.')
    (update,) = reader(venue, file, listing(venue))(frame)
    assert isinstance(update, BookUpdate)
    assert update.bids[0][0] == 0


def test_a_book_of_coin_m_lives_like_one_of_binance() -> None:
    played = Played(COIN_M, "book-1", "BTC")
    played.open()
    (fetch,) = [a for a in played.hear(frames.change(BTC_PERP, 10, 10)) if isinstance(a, Fetch)]
    assert fetch.request.path == "/dapi/v1/depth?symbol=BTCUSD_PERP&limit=1000"
    played.fetch(BTC_PERP, frames.snapshot(10))
    (depth,) = [a for a in played.tick() if isinstance(a, Depth)]
    # 5 and 7 contracts of 100 USD a side
    assert depth.bands[0].bid_usd == depth.bands[0].ask_usd == pytest.approx(1_200)
    assert turns(played.hear(frames.change(BTC_PERP, 20, 21))) == [f"-depth {BTC_PERP}"]


# ── funding ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("venue", [COIN_M, INVERSE])
def test_funding_means_the_same(venue: str) -> None:
    rates = [e for e in decoded(venue, PRICES[venue]) if isinstance(e, Funding)]
    assert (rates[0].rate, rates[0].hours, rates[0].next_at) == (0.0001, 8, 1_795_276_800_000)
    assert {e.symbol for e in rates} <= {*listing(venue).instruments}  # a dated one has none
    terms, settled = decoded(venue, "poll_funding.jsonl")
    assert abs(terms.settled_before - 1_795_219_200_000) < 10
    assert (settled.settled, settled.rate, settled.at) == (True, 0.0001, 1_795_248_000_000)


def test_coin_m_is_asked_for_settlements_by_contract() -> None:
    """There the symbol is mandatory, while one answer is all of USDⓈ-M."""
    paths = [
        poll.request.path
        for poll in VENUES[COIN_M].polls(contracts(COIN_M, 2), frozenset((Kind.FUNDING,)))
    ]
    assert paths == [
        f"/dapi/v1/fundingRate?limit=2&symbol=A{n}USD_PERP" for n in range(2)
    ]  # fmt: skip


# ── limits ──────────────────────────────────────────────────────────────


def contracts(venue: str, count: int) -> list[Instrument]:
    return frames.contracts(venue, *(f"A{place}" for place in range(count)))


def paths(venue: str, count: int) -> set[str]:
    """Where requests and sockets go, without what follows."""
    module, known = VENUES[venue], contracts(venue, count)
    sockets = module.subscriptions(known, module.SPEC.kinds)
    asked = [module.resync(known[0].symbol, socket) for socket in sockets]
    requests = [r for r in (*module.listing_requests(), *asked) if isinstance(r, Request)]
    requests += [poll.request for poll in module.polls(known, module.SPEC.kinds)]
    return {
        path.partition("?")[0] for path in (*(r.path for r in requests), *(s.path for s in sockets))
    }


def test_each_asks_at_its_own_addresses_alone() -> None:
    assert paths(COIN_M, 3) == {
        "/stream", "/dapi/v1/exchangeInfo", "/dapi/v1/fundingInfo", "/dapi/v1/ticker/24hr",
        "/dapi/v1/openInterest", "/dapi/v1/fundingRate", "/dapi/v1/depth",
    }  # fmt: skip
    assert all(path.startswith(("/fapi/", "/market/", "/public/")) for path in paths("binance", 3))
    assert "/v5/public/inverse" in paths(INVERSE, 3)
    assert "/v5/public/linear" not in paths(INVERSE, 3)
    module = VENUES[INVERSE]
    requests = [*module.listing_requests()]
    requests += [poll.request for poll in module.polls(contracts(INVERSE, 3), module.SPEC.kinds)]
    assert all("category=inverse" in request.path for request in requests)


@pytest.mark.parametrize("count", [40, 500])
def test_both_of_binance_stay_within_the_weight_that_they_share(count: int) -> None:
    """2,400 a minute for one address; each venue uses four fifths of what its SPEC says."""
    weights = [VENUES[venue].SPEC.weight_per_minute or 0 for venue in ("binance", COIN_M)]
    assert 0.8 * sum(weights) <= 2_400
    polls = VENUES[COIN_M].polls(contracts(COIN_M, count), VENUES[COIN_M].SPEC.kinds)
    of_minutes = [0.0] * 60
    for poll in polls:
        for time in range(int(poll.offset_s), 3_600, int(poll.every_s)):
            of_minutes[time // 60] += poll.request.weight
    assert max(of_minutes) <= 0.9 * weights[1]
    every = {poll.every_s for poll in polls if poll.kind is Kind.OPEN_INTEREST}
    assert every == ({15, 60} if count == 40 else {15, 240})


def test_nothing_of_an_inverse_contract_is_said_where_it_is_not_listed() -> None:
    for venue in (COIN_M, INVERSE):
        nobody = Listing(instruments={})
        for place, frame in enumerate(lines(venue, PRICES[venue])):
            assert VENUES[venue].decode(frame, nobody, SEEN) == [], place


def test_a_liquidation_larger_than_what_is_open_is_none() -> None:
    """Compared in coins, at the prices of the two."""
    contracts_known = Contracts()
    contracts_known.relist(listing(COIN_M).instruments.values())
    mark = next(e for e in decoded(COIN_M, PRICES[COIN_M]) if isinstance(e, Price))
    (counted,) = decoded(COIN_M, "poll_open_interest.jsonl")
    contracts_known.complete(mark)
    contracts_known.complete(counted)
    (order,) = decoded(COIN_M, "ws_force_order.jsonl")
    assert isinstance(order, Liquidation)
    assert contracts_known.impossible(order) == ""
    frame = lines(COIN_M, "ws_force_order.jsonl")[0].replace(b'"z":"250"', b'"z":"7000000"')
    (larger,) = VENUES[COIN_M].decode(frame, listing(COIN_M), SEEN)
    assert isinstance(larger, Liquidation)
    assert "coins, where" in contracts_known.impossible(larger)
