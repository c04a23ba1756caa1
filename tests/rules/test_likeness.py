"""Two coins of one ticker are told apart; one coin in a crash is not."""

import msgspec
from pytest import approx, mark

from rules.alerts import Notice
from rules.engine import Engine
from rules.market import View
from streams.durations import MINUTE, SECOND
from streams.events import FaultCode, Tick
from tests.rules.facts import START, oi, price
from tests.rules.scenes import one

RULE = one("oi_net_2m_pct", "below", -1, alert=-4)
HOURS = 60 * MINUTE


class Market:
    """An engine that watches one name at several venues."""

    def __init__(self, name: str = "NEIRO") -> None:
        self.name, self.now = name, START
        self.engine = Engine([RULE], ("binance", "bybit", "hyperliquid"))
        self.notices: list[Notice] = []
        self.alerts: list[object] = []

    def play(self, lasts: int, coins: dict[str, float], **prices: float) -> None:
        """Every 10 s each venue tells its price and its open interest in ``coins``."""
        end = self.now + lasts
        while self.now < end:
            self.now += 10 * SECOND
            for venue, x in prices.items():
                self.say(price(venue, self.now, x, asset=self.name))
                self.say(oi(venue, self.now, coins[venue], asset=self.name))
            self.say(Tick(seen=self.now))

    def say(self, event) -> None:
        for said in self.engine.feed(event):
            (self.notices if isinstance(said, Notice) else self.alerts).append(said)

    @property
    def view(self) -> View:
        return self.engine._floor.memory.views[self.name]

    def counted(self) -> list[str]:
        return [market.venue for market in self.view]

    def told(self) -> list[tuple[str, bool]]:
        return [(n.venue, n.up) for n in self.notices if n.fault is FaultCode.TICKER_SHARED]


NEIRO = {"binance": 4e11, "bybit": 1e9}


def test_the_smaller_of_two_coins_is_left_out_and_told_once() -> None:
    market = Market()
    market.play(10 * MINUTE, NEIRO, binance=0.00027, bybit=0.030)
    assert (market.counted(), market.told()) == (["binance"], [("bybit", False)])
    (notice,) = market.notices
    assert notice.subjects == ("NEIRO",)
    assert "0.03" in notice.reason and "0.00027" in notice.reason
    # the smaller one's halving is nothing, the larger one's is 50 %
    market.play(10 * MINUTE, NEIRO | {"bybit": 0.55e9}, binance=0.00027, bybit=0.030)
    assert market.alerts == []
    market.play(MINUTE, NEIRO | {"binance": 2.1e11}, binance=0.00027, bybit=0.030)
    assert market.alerts[0].value == approx(100 * (2.1 / 4 - 1))


@mark.parametrize("factor", [1.25, 1000.0])
def test_a_contract_that_never_had_the_price_of_the_others_is_another_asset(factor: float) -> None:
    market = Market("MEME")
    coins = {"binance": 1e9, "bybit": 2e9, "hyperliquid": 2e6}
    market.play(11 * MINUTE, coins, binance=0.5, bybit=0.5, hyperliquid=0.5 * factor)
    assert market.counted() == ["binance", "bybit"]
    assert market.told() == [("hyperliquid", False)]
    market.play(MINUTE + 20 * SECOND, coins, binance=0.5, bybit=0.5, hyperliquid=0.5)
    assert market.counted() == ["binance", "bybit", "hyperliquid"]
    assert market.told() == [("hyperliquid", False), ("hyperliquid", True)]


BTC = {"binance": 90_000, "bybit": 50_000, "hyperliquid": 30_000}


@mark.parametrize("wrong", ["binance", "bybit", "hyperliquid"])
def test_a_venue_that_goes_wrong_or_stale_in_a_crash_is_never_dropped_for_it(wrong: str) -> None:
    market = Market("BTC")
    market.play(5 * MINUTE, BTC, binance=117e3, bybit=117e3, hyperliquid=117e3)
    fallen = dict.fromkeys(BTC, 85e3) | {wrong: 117e3}
    market.play(3 * HOURS, BTC, **fallen)
    market.play(5 * MINUTE, BTC, **dict.fromkeys(BTC, 85e3) | {wrong: 1_000.0})
    assert (sorted(market.counted()), market.told()) == (sorted(BTC), [])


def test_a_start_in_the_middle_of_a_crash_leaves_out_nobody_for_seconds_of_difference() -> None:
    market = Market("BTC")
    for _ in range(5):
        market.play(40 * SECOND, BTC, binance=102e3, bybit=108e3, hyperliquid=80e3)
        market.play(20 * SECOND, BTC, binance=103e3, bybit=105e3, hyperliquid=101e3)
    assert (sorted(market.counted()), market.told()) == (sorted(BTC), [])


def test_who_is_left_out_survives_a_restart() -> None:
    market = Market()
    market.play(10 * MINUTE, NEIRO, binance=0.00027, bybit=0.030)
    again = Engine([RULE], ("binance", "bybit", "hyperliquid"))
    assert again.load(market.engine.dump()) == ""
    assert again.dump() == market.engine.dump()
    market.engine = again
    market.play(5 * MINUTE, NEIRO | {"bybit": 1.0e8}, binance=0.00027, bybit=0.030)
    assert (market.counted(), market.told(), market.alerts) == (["binance"], [("bybit", False)], [])


def test_what_is_left_out_and_falls_silent_is_forgotten() -> None:
    market = Market()
    market.play(10 * MINUTE, NEIRO, binance=0.00027, bybit=0.030)
    for hour in range(26):
        market.now = START + hour * HOURS
        market.play(10 * SECOND, NEIRO, binance=0.00027)
    assert [m.venue for m in market.view.everyone] == ["binance"]
    assert msgspec.msgpack.decode(market.engine.dump())
