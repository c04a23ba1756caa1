"""Which assets and instruments are watched."""

from typing import Any

import msgspec
import pytest

from streams.events import FaultCode, Instrument
from streams.feed.selection import (
    GONE_AFTER_MS,
    ListingFault,
    Markets,
    Watchlist,
    choose_assets,
    choose_instruments,
    presentable,
    unlisted,
    wants,
)


def listed(
    asset: str, interest: float | None = None, volume: float | None = None, venue: str = "a"
) -> Instrument:
    return Instrument(
        venue=venue,
        symbol=f"{asset}USDT",
        asset=asset,
        quote="USDT",
        open_interest_usd=interest,
        volume_24h_usd=volume,
    )


def markets(tail: int) -> Markets:
    return Markets(majors=("BTC", "ETH"), large=("SOL",), tail=tail)


def test_named_assets_come_first_in_their_order_whatever_is_listed() -> None:
    assert choose_assets([], markets(5)) == ("BTC", "ETH", "SOL")
    instruments = [listed("DOGE", 9e9), listed("SOL", 1.0), listed("BTC", 2.0)]
    assert choose_assets(instruments, markets(5)) == ("BTC", "ETH", "SOL", "DOGE")
    assert choose_assets(instruments, markets(0)) == ("BTC", "ETH", "SOL")


def test_the_tail_is_ranked_by_open_interest_summed_over_venues() -> None:
    instruments = [
        listed("XRP", 50.0, venue="a"),
        listed("DOGE", 40.0, venue="a"),
        listed("DOGE", 30.0, venue="b"),
        listed("ADA", 60.0, venue="b"),
        listed("LTC", 10.0, venue="b"),
    ]
    assert choose_assets(instruments, markets(3))[3:] == ("DOGE", "ADA", "XRP")


def test_assets_whose_open_interest_nobody_tells_are_ranked_behind_by_volume() -> None:
    instruments = [
        listed("NEW", None, 9e9, venue="a"),
        listed("NEWER", None, 8e9, venue="a"),
        listed("NEWER", None, 2e9, venue="b"),
        listed("UNKNOWN"),
        listed("TINY", 5.0, 1.0),
    ]
    assert choose_assets(instruments, markets(9))[3:] == ("TINY", "NEWER", "NEW", "UNKNOWN")
    more_instruments = [
        *instruments,
        listed("NEW", 6.0, venue="b"),
    ]  # one venue that tells is enough
    assert choose_assets(more_instruments, markets(1))[3:] == ("NEW",)


@pytest.mark.parametrize(
    ("rank", "stays"),
    [(9, True), (10, True), (11, True), (12, False), (13, False)],
)
def test_a_chosen_asset_stays_until_it_is_well_behind(rank: int, stays: bool) -> None:
    """Ten in the tail: who is in stays up to rank 12 (counted from 0: 11)."""
    instruments = [listed(f"A{place:02}", 1000.0 - place) for place in range(20)]
    before = [f"A{place:02}" for place in range(9)] + [f"A{rank:02}"]
    chosen = choose_assets(instruments, markets(10), before)
    assert len(chosen) == 13
    assert (f"A{rank:02}" in chosen) is stays
    assert ("A09" in chosen) is (rank == 9 or not stays)
    assert choose_assets(instruments, markets(10), chosen) == chosen  # and nothing moves by itself


def test_a_smaller_tail_keeps_the_largest() -> None:
    instruments = [listed(f"A{place}", 100.0 - place) for place in range(9)]
    before = choose_assets(instruments, markets(6))
    assert choose_assets(instruments, markets(2), before)[3:] == ("A0", "A1")


def no_coin(asset: str, symbol: str, ends_at: int | None = None) -> Instrument:
    return Instrument(
        venue="a", symbol=symbol, asset=asset, quote="USDC", macro=True, ends_at=ends_at,
        open_interest_usd=9e9,
    )  # fmt: skip


def test_what_is_no_coin_is_in_no_tail_and_behind_all_coins_whatever_its_name() -> None:
    instruments = [no_coin("BTC", "xyz:BTC"), listed("BTC", 2.0), no_coin("GOLD", "xyz:GOLD"),
            listed("GOLD", 1.0), no_coin("VIX", "xyz:VIX", ends_at=0),
                   no_coin("SP500", "xyz:SP500")]  # fmt: skip
    assert choose_assets(instruments, markets(5)) == ("BTC", "ETH", "SOL", "GOLD")
    chosen = choose_instruments(instruments, ("GOLD", "BTC"))
    assert [i.symbol for i in chosen] == ["GOLDUSDT", "BTCUSDT", "xyz:BTC", "xyz:GOLD", "xyz:SP500"]
    assert [i.symbol for i in choose_instruments(instruments, ())] == [
        "xyz:BTC",
        "xyz:GOLD",
        "xyz:SP500",
    ]
    # a named coin that nobody lists is missing, whatever else has its name
    assert unlisted([no_coin("SOL", "xyz:SOL")], ("SOL",)) == {"SOL": ""}


def test_a_contract_on_what_is_no_coin_is_missed_and_ends_like_any_other() -> None:
    watchlist = Watchlist()
    gold, btc = no_coin("GOLD", "xyz:GOLD"), listed("BTC", 2.0)
    watchlist.take([btc, gold], ("BTC",), 0)
    assert [*watchlist.watched] == ["BTCUSDT", "xyz:GOLD"]
    faults = watchlist.take([btc], ("BTC",), 1)
    assert (FaultCode.CONTRACT_MISSING, "xyz:GOLD", False, "") in faults
    assert "xyz:GOLD" in watchlist.watched
    watchlist.take([btc], ("BTC",), GONE_AFTER_MS + 1)
    assert [*watchlist.watched] == ["BTCUSDT"]
    faults = watchlist.take([btc, no_coin("GOLD", "xyz:GOLD", ends_at=0)], ("BTC",), 2)
    assert (FaultCode.CONTRACT_SETTLING, "xyz:GOLD", False, "") in faults


@pytest.mark.parametrize("macro", [False, True])
def test_what_has_long_ended_beside_what_goes_on_is_no_news_at_the_start(macro: bool) -> None:
    def contract(symbol: str, asset: str, ends_at: int | None = None) -> Instrument:
        return Instrument(
            venue="a", symbol=symbol, asset=asset, quote="USDC", macro=macro, ends_at=ends_at
        )

    watchlist, assets = Watchlist(), ("POL", "XMR")
    pol, matic, xmr = (
        contract("POL", "POL"), contract("MATIC", "POL", ends_at=0), contract("XMR", "XMR", 0)
    )  # fmt: skip
    ending = [f[1] for f in watchlist.take([pol, matic, xmr], assets, 0)
              if f[0] is FaultCode.CONTRACT_SETTLING and not f[2]]  # fmt: skip
    assert ending == ["XMR"]  # nothing else is of that asset
    assert [*watchlist.watched] == ["POL"]
    # what ends while it is listened to is news
    gone = msgspec.structs.replace(pol, ends_at=0)
    faults = watchlist.take([gone, matic, xmr], assets, 1)
    assert (FaultCode.CONTRACT_SETTLING, "POL", False, "") in faults
    # an end that is still to come is, from the start
    later = contract("POLUSDC", "POL", ends_at=1_795_262_400_000)
    faults = Watchlist().take([pol, later], assets, 0)
    assert any(f[:3] == (FaultCode.CONTRACT_SETTLING, "POLUSDC", False) for f in faults)


def test_what_the_operator_leaves_out_is_not_wanted() -> None:
    instruments = [
        listed("BTC"),
        listed("BTCDOM"),
        no_coin("GOLD", "xyz:GOLD"),
        no_coin("GOLD", "km:GOLD"),
    ]

    def left(macro: bool, *patterns: str) -> list[str]:
        wanted = wants(msgspec.structs.replace(markets(5), macro=macro), patterns)
        return [i.symbol for i in instruments if wanted(i)]

    assert left(True) == ["BTCUSDT", "BTCDOMUSDT", "xyz:GOLD", "km:GOLD"]
    assert left(False) == ["BTCUSDT", "BTCDOMUSDT"]
    assert left(True, "km:*", "BTCDOM*") == ["BTCUSDT", "xyz:GOLD"]
    assert left(True, "*:*") == ["BTCUSDT", "BTCDOMUSDT"]
    assert left(True, "btc*") == ["BTCUSDT", "BTCDOMUSDT", "xyz:GOLD", "km:GOLD"]  # not its letters


def spot(asset: str, volume: float | None = None) -> Instrument:
    pair = listed(asset, None, volume, venue="a-spot")
    return msgspec.structs.replace(pair, symbol=f"{asset}/USD", spot=True)


def test_of_spot_markets_those_are_wanted_that_are_named() -> None:
    instruments = [listed("BTC"), spot("BTC"), spot("ETH"), spot("SOL")]

    def left(*assets: str) -> list[str]:
        wanted = wants(msgspec.structs.replace(markets(5), spot=assets))
        return [i.symbol for i in instruments if wanted(i)]

    assert left() == ["BTCUSDT"]
    assert left("BTC", "SOL") == ["BTCUSDT", "BTC/USD", "SOL/USD"]


def test_spot_markets_rank_nothing_and_list_no_contract() -> None:
    instruments = [listed("XRP", None, 2.0), listed("ADA", None, 3.0), spot("XRP", 9e9)]
    instruments += [spot("ONLYSPOT", 9e9), spot("SOL", 9e9)]
    assert choose_assets(instruments, markets(5))[3:] == ("ADA", "XRP")
    assert unlisted(instruments, ("XRP", "SOL")) == {"SOL": ""}


def test_instruments_follow_the_assets_the_largest_first() -> None:
    def symbol(name: str, asset: str, interest: float | None, volume: float) -> Instrument:
        return Instrument(
            venue="a",
            symbol=name,
            asset=asset,
            quote="USDT",
            open_interest_usd=interest,
            volume_24h_usd=volume,
        )

    instruments = [
        symbol("ETHUSDC", "ETH", None, 5.0),
        symbol("ETHUSDT", "ETH", None, 50.0),
        symbol("DOGEUSDT", "DOGE", 1.0, 1.0),
        symbol("BTCPERP", "BTC", 7.0, 9.0),
        symbol("BTCUSDT", "BTC", 70.0, 1.0),
        symbol("BTCUSD2", "BTC", 7.0, 9.0),
    ]
    chosen = choose_instruments(instruments, ("BTC", "SOL", "ETH"))
    assert [i.symbol for i in chosen] == ["BTCUSDT", "BTCPERP", "BTCUSD2", "ETHUSDT", "ETHUSDC"]


# ── the watchlist ───────────────────────────────────────────────────────


def contract(asset: str, **more: Any) -> Instrument:
    return Instrument(venue="a", symbol=f"{asset}USDT", asset=asset, quote="USDT", **more)


ASSETS = ("BTC", "ETH", "SOL", "XRP")
ALL = [contract(asset) for asset in ASSETS]


def symbols_of(faults: list[ListingFault], code: FaultCode) -> list[tuple[str, bool]]:
    return [(symbol, over) for fault_code, symbol, over, _ in faults if fault_code is code]


def test_one_that_listings_lack_is_let_go_after_ten_minutes_and_taken_back_at_once() -> None:
    watch, missing = Watchlist(), FaultCode.CONTRACT_MISSING
    assert symbols_of(watch.take(ALL, ASSETS, 0), missing) == [(i.symbol, True) for i in ALL]
    assert symbols_of(watch.take(ALL[1:], ASSETS, 1_000), missing) == [("BTCUSDT", False)]
    watch.take(ALL[1:], ASSETS, 1_000 + GONE_AFTER_MS - 1)
    assert [*watch.watched] == [i.symbol for i in ALL]
    watch.take(ALL[1:], ASSETS, 1_000 + GONE_AFTER_MS)
    assert [*watch.watched] == [i.symbol for i in ALL[1:]]
    assert (watch.missing, watch.gone) == ({}, {"BTCUSDT"})
    assert symbols_of(watch.take(ALL, ASSETS, GONE_AFTER_MS * 2), missing) == [("BTCUSDT", True)]
    assert [*watch.watched] == [i.symbol for i in ALL] and watch.gone == set()


def test_listings_that_lack_more_than_half_are_never_believed() -> None:
    watch = Watchlist()
    watch.take(ALL, ASSETS, 0)
    for now in range(1, 100):
        watch.take(ALL[:1], ASSETS, now * GONE_AFTER_MS)
        watch.take([], ASSETS, now * GONE_AFTER_MS + 1)
    assert [*watch.watched] == [i.symbol for i in ALL]


def test_what_nobody_wants_any_more_is_not_missed() -> None:
    watch = Watchlist()
    watch.take(ALL, ASSETS, 0)
    faults = watch.take(ALL[1:], ASSETS[1:], 1)
    assert symbols_of(faults, FaultCode.CONTRACT_MISSING) == []
    assert [*watch.watched] == [i.symbol for i in ALL[1:]]


@pytest.mark.parametrize(("at", "words"), [(0, ""), (1_795_262_400_000, "2026-11-21 12:00 UTC")])
def test_an_end_is_told_once_and_what_ends_is_neither_watched_nor_ranked(
    at: int, words: str
) -> None:
    watch, settling = Watchlist(), FaultCode.CONTRACT_SETTLING
    watch.take(ALL, ASSETS, 0)
    ending = [contract("BTC", ends_at=at, open_interest_usd=1e9), *ALL[1:]]
    faults = watch.take(ending, ASSETS, 1)
    assert [fault for fault in faults if fault[0] is settling] == [
        (settling, "BTCUSDT", False, words)
    ]
    assert symbols_of(faults, FaultCode.CONTRACT_MISSING) == []
    assert "BTCUSDT" not in watch.watched
    assert symbols_of(watch.take(ending, ASSETS, 2), settling) == []
    assert symbols_of(watch.take(ALL, ASSETS, 3), settling) == [("BTCUSDT", True)]
    assert "BTCUSDT" in watch.watched
    markets = Markets(majors=(), large=(), tail=1)
    assert "BTC" not in choose_assets(ending, markets)
    assert unlisted(ending, ("BTC", "ETH")) == {"BTC": "BTCUSDT is being ended"}


@pytest.mark.parametrize("name", ["B\x1b", "A B", "", "x" * 31, "\u202eBTC", "A\n", "A\u3000B"])
def test_names_that_cannot_be_shown(name: str) -> None:
    good = contract("BTC")
    assert presentable(good) and presentable(contract("币安人生"))
    assert not presentable(msgspec.structs.replace(good, symbol=name))
    assert not presentable(msgspec.structs.replace(good, asset=name))
