"""Which assets and instruments are watched."""

import pytest

from streams.events import Instrument
from streams.selection import Markets, choose_assets, choose_instruments


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
    some = [listed("DOGE", 9e9), listed("SOL", 1.0), listed("BTC", 2.0)]
    assert choose_assets(some, markets(5)) == ("BTC", "ETH", "SOL", "DOGE")
    assert choose_assets(some, markets(0)) == ("BTC", "ETH", "SOL")


def test_the_tail_is_ranked_by_open_interest_summed_over_venues() -> None:
    some = [
        listed("XRP", 50.0, venue="a"),
        listed("DOGE", 40.0, venue="a"),
        listed("DOGE", 30.0, venue="b"),
        listed("ADA", 60.0, venue="b"),
        listed("LTC", 10.0, venue="b"),
    ]
    assert choose_assets(some, markets(3))[3:] == ("DOGE", "ADA", "XRP")


def test_assets_whose_open_interest_nobody_tells_are_ranked_behind_by_volume() -> None:
    some = [
        listed("NEW", None, 9e9, venue="a"),
        listed("NEWER", None, 8e9, venue="a"),
        listed("NEWER", None, 2e9, venue="b"),
        listed("UNKNOWN"),
        listed("TINY", 5.0, 1.0),
    ]
    assert choose_assets(some, markets(9))[3:] == ("TINY", "NEWER", "NEW", "UNKNOWN")
    told = [*some, listed("NEW", 6.0, venue="b")]  # one venue that tells is enough
    assert choose_assets(told, markets(1))[3:] == ("NEW",)


@pytest.mark.parametrize(
    ("rank", "stays"),
    [(9, True), (10, True), (11, True), (12, False), (13, False)],
)
def test_a_chosen_asset_stays_until_it_is_well_behind(rank: int, stays: bool) -> None:
    """Ten in the tail: who is in stays up to rank 12 (counted from 0: 11)."""
    some = [listed(f"A{place:02}", 1000.0 - place) for place in range(20)]
    before = [f"A{place:02}" for place in range(9)] + [f"A{rank:02}"]
    chosen = choose_assets(some, markets(10), before)
    assert len(chosen) == 13
    assert (f"A{rank:02}" in chosen) is stays
    assert ("A09" in chosen) is (rank == 9 or not stays)
    assert choose_assets(some, markets(10), chosen) == chosen  # and nothing moves by itself


def test_a_smaller_tail_keeps_the_largest() -> None:
    some = [listed(f"A{place}", 100.0 - place) for place in range(9)]
    before = choose_assets(some, markets(6))
    assert choose_assets(some, markets(2), before)[3:] == ("A0", "A1")


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

    some = [
        symbol("ETHUSDC", "ETH", None, 5.0),
        symbol("ETHUSDT", "ETH", None, 50.0),
        symbol("DOGEUSDT", "DOGE", 1.0, 1.0),
        symbol("BTCPERP", "BTC", 7.0, 9.0),
        symbol("BTCUSDT", "BTC", 70.0, 1.0),
        symbol("BTCUSD2", "BTC", 7.0, 9.0),
    ]
    chosen = choose_instruments(some, ("BTC", "SOL", "ETH"))
    assert [i.symbol for i in chosen] == ["BTCUSDT", "BTCPERP", "BTCUSD2", "ETHUSDT", "ETHUSDC"]
