"""Two coins of one ticker are told apart; one coin in a crash is not."""

from collections.abc import Sequence

import msgspec
from pytest import approx, mark

from rules.alerts import Alert, Notice
from rules.engine import Engine
from rules.market import View
from rules.rule import Rule
from streams.durations import MINUTE, SECOND
from streams.events import FaultCode, Kind, Tick
from tests.rules.facts import START, feed, liquidation, oi, price
from tests.rules.scenes import of_market, quick_rule

RULE = quick_rule("oi_net_2m_pct", "below", -1, alert=-4)
RULES = [
    RULE,
    quick_rule("price_2m_pct", "below", -1, alert=-4),
    msgspec.structs.replace(quick_rule("price_2m_pct", "above", 1, alert=4), name="rise"),
    of_market("total", quick_rule("oi_total_net_2m_pct", "below", -1, alert=-4)),
    msgspec.structs.replace(
        of_market("falls", quick_rule("price_down_share_2m_pct", "above", 1, alert=4)),
        least_fall_pct={"NEIRO": 4.0},
    ),
]
HOURS = 60 * MINUTE


class Market:
    """An engine that watches one name at several venues."""

    def __init__(self, name: str = "NEIRO", rules: Sequence[Rule] = (RULE,)) -> None:
        self.name, self.now = name, START
        self.engine = Engine(rules, ("binance", "bybit", "hyperliquid"))
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
        for output in self.engine.feed(event):
            (self.notices if isinstance(output, Notice) else self.alerts).append(output)

    @property
    def view(self) -> View:
        return self.engine._watchlist.memory.views[self.name]

    def counted(self) -> list[str]:
        return [market.venue for market in self.view]

    def shared_tickers(self) -> list[tuple[str, bool]]:
        return [(n.venue, n.up) for n in self.notices if n.fault is FaultCode.TICKER_SHARED]


NEIRO = {"binance": 4e11, "bybit": 1e9}


def test_the_smaller_of_two_coins_is_left_out_and_told_once() -> None:
    market = Market()
    market.play(10 * MINUTE, NEIRO, binance=0.00027, bybit=0.030)
    assert (market.counted(), market.shared_tickers()) == (["binance"], [("bybit", False)])
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
    assert market.shared_tickers() == [("hyperliquid", False)]
    market.play(MINUTE + 20 * SECOND, coins, binance=0.5, bybit=0.5, hyperliquid=0.5)
    assert market.counted() == ["binance", "bybit", "hyperliquid"]
    assert market.shared_tickers() == [("hyperliquid", False), ("hyperliquid", True)]


RENAMES = [(0.01, 0.05), (0.01, 1.0), (100.0, 0.05), (100.0, 1.0), (0.6, 0.2), (2.5, 3.0)]
"""The other coin's price as a multiple, and its open interest after the rename."""


@mark.parametrize(("factor", "left"), RENAMES)
@mark.parametrize("halted", [0, 3 * MINUTE])
def test_the_past_of_a_ticker_that_was_another_coin_is_not_that_of_the_coin(
    factor: float, left: float, halted: int
) -> None:
    """ETH in 2024's way: at Bybit another coin had the ticker; it is renamed and has the price."""
    market, coins = Market(rules=RULES), {"binance": 1e6, "bybit": 0.6e6}
    market.play(30 * MINUTE, coins, binance=3_000.0, bybit=3_000.0 * factor)
    assert market.shared_tickers()[0][1] is False
    market.play(halted, coins, binance=3_000.0)
    renamed = coins | {"bybit": 0.6e6 * left}
    market.play(20 * MINUTE, renamed, binance=3_000.0, bybit=3_000.5)
    assert market.alerts == []
    assert market.counted() == ["binance", "bybit"]
    # and what falls from here on is told
    market.play(MINUTE, renamed, binance=2_700.0, bybit=2_701.0)
    assert {alert.rule for alert in market.alerts} >= {"price_below", "falls"}


@mark.parametrize(("began", "to"), [(300_000.0, 150_000.0), (3_700.0, 3_500.0), (5_000.0, 3_400.0)])
def test_a_true_fall_beside_another_coin_of_the_ticker_is_told(began: float, to: float) -> None:
    """The asset halves at once, or comes near the price of the coin that is left out."""
    market, coins = Market(rules=RULES), {"binance": 1e6, "bybit": 2e6}
    market.play(30 * MINUTE, coins, binance=3_000.0, bybit=began)
    assert market.shared_tickers() == [("binance", False)]
    market.play(MINUTE, coins, binance=3_000.0, bybit=to)
    assert "price_below" in {alert.rule for alert in market.alerts}


@mark.parametrize(("began", "known"), [(300_000.0, False), (3_000.0, True)])
def test_what_was_the_lowest_of_another_coin_is_no_record(began: float, known: bool) -> None:
    """A day of it, with its falls; then it is renamed, and the coin falls, less deep."""
    rule = msgspec.structs.replace(RULES[1], record_after=10 * MINUTE)
    market, coins = Market(rules=[rule]), {"binance": 1e6, "bybit": 2e6}
    market.play(10 * MINUTE, coins, binance=began * 1.2, bybit=3_000.0)
    market.play(26 * HOURS, coins, binance=began, bybit=3_000.0)
    market.alerts.clear()
    market.play(20 * MINUTE, coins, binance=3_000.0, bybit=3_000.0)
    assert market.alerts == []
    market.play(MINUTE, coins, binance=2_850.0, bybit=2_850.0)
    [alert] = [alert for alert in market.alerts if isinstance(alert, Alert)]
    assert bool(alert.records) is known


BTC = {"binance": 90_000, "bybit": 50_000, "hyperliquid": 30_000}


@mark.parametrize("wrong", ["binance", "bybit", "hyperliquid"])
def test_a_venue_that_goes_wrong_or_stale_in_a_crash_is_never_dropped_for_it(wrong: str) -> None:
    market = Market("BTC")
    market.play(5 * MINUTE, BTC, binance=117e3, bybit=117e3, hyperliquid=117e3)
    fallen = dict.fromkeys(BTC, 85e3) | {wrong: 117e3}
    market.play(3 * HOURS, BTC, **fallen)
    market.play(5 * MINUTE, BTC, **dict.fromkeys(BTC, 85e3) | {wrong: 1_000.0})
    assert (sorted(market.counted()), market.shared_tickers()) == (sorted(BTC), [])


def test_a_start_in_the_middle_of_a_crash_leaves_out_nobody_for_seconds_of_difference() -> None:
    market = Market("BTC")
    for _ in range(5):
        market.play(40 * SECOND, BTC, binance=102e3, bybit=108e3, hyperliquid=80e3)
        market.play(20 * SECOND, BTC, binance=103e3, bybit=105e3, hyperliquid=101e3)
    assert (sorted(market.counted()), market.shared_tickers()) == (sorted(BTC), [])


def test_who_is_left_out_survives_a_restart() -> None:
    market = Market()
    market.play(10 * MINUTE, NEIRO, binance=0.00027, bybit=0.030)
    again = Engine([RULE], ("binance", "bybit", "hyperliquid"))
    assert again.load(market.engine.dump()) == ""
    assert again.dump() == market.engine.dump()
    market.engine = again
    market.play(5 * MINUTE, NEIRO | {"bybit": 1.0e8}, binance=0.00027, bybit=0.030)
    assert (market.counted(), market.shared_tickers(), market.alerts) == (
        ["binance"],
        [("bybit", False)],
        [],
    )


def test_what_is_left_out_and_falls_silent_is_forgotten() -> None:
    market = Market()
    market.play(10 * MINUTE, NEIRO, binance=0.00027, bybit=0.030)
    for hour in range(26):
        market.now = START + hour * HOURS
        market.play(10 * SECOND, NEIRO, binance=0.00027)
    assert [m.venue for m in market.view.everyone] == ["binance"]
    assert msgspec.msgpack.decode(market.engine.dump())


@mark.parametrize("ratio", [1.3, 1.21, 1 / 1.3, 40.0])
def test_nothing_of_a_contract_is_added_up_before_its_price_was_compared(ratio: float) -> None:
    """The smaller coin's closing of 80 % was 10 % of both; apart it is nothing of the larger."""
    market = Market("MEME")
    coins = {"binance": 1e9, "bybit": 0.15e9 / ratio}
    market.play(5 * MINUTE, coins, binance=0.5, bybit=0.5 * ratio)
    assert (market.counted(), market.shared_tickers()) == (
        ["binance"],
        [("bybit", False)][: ratio > 2],
    )
    market.play(4 * MINUTE, coins | {"bybit": 0.03e9 / ratio}, binance=0.5, bybit=0.5 * ratio)
    assert (market.counted(), market.alerts) == (["binance"], [])
    market.play(3 * MINUTE, coins, binance=0.5, bybit=0.5 * ratio)
    assert market.shared_tickers() == [("bybit", False)]


def test_a_contract_that_joins_is_compared_within_a_second_of_its_first_price() -> None:
    market = Market("MEME")
    market.play(5 * MINUTE, {"binance": 1e9}, binance=0.5)
    market.say(Tick(seen=market.now + SECOND))
    market.say(price("bybit", market.now + 1_500, 0.65, asset="MEME"))
    market.say(Tick(seen=market.now + 2 * SECOND))
    assert market.counted() == ["binance"]
    market.say(price("hyperliquid", market.now + 2_500, 0.51, asset="MEME"))
    market.say(Tick(seen=market.now + 3 * SECOND))
    assert market.counted() == ["binance", "hyperliquid"]


def test_liquidations_of_another_coin_are_in_no_sum() -> None:
    market = Market("MEME")
    market.engine = Engine([quick_rule("liq_2m_musd", "above", 1, watch=2)], ("binance", "bybit"))
    for venue in ("binance", "bybit"):
        market.say(feed(venue, Kind.LIQUIDATION, market.now, True))
    market.play(MINUTE, {"binance": 1e9, "bybit": 1e8}, binance=0.5, bybit=0.65)
    market.say(liquidation("bybit", market.now + SECOND, 5e6, asset="MEME"))
    market.say(Tick(seen=market.now + 2 * SECOND))
    assert market.alerts == []
    market.say(liquidation("binance", market.now + 3 * SECOND, 3e6, asset="MEME"))
    assert [alert.value for alert in market.alerts] == [3]


def test_a_price_apart_for_seconds_costs_seconds_and_nobody_is_told() -> None:
    market = Market("MEME")
    coins = {"binance": 1e9, "bybit": 1e8}
    market.play(30 * SECOND, coins, binance=0.5, bybit=0.4)
    assert market.counted() == ["binance"]
    market.play(20 * SECOND, coins, binance=0.41, bybit=0.4)
    assert (market.counted(), market.shared_tickers()) == (["binance", "bybit"], [])
    market.play(MINUTE, coins, binance=0.4, bybit=0.4)
    market.play(2 * MINUTE, coins, binance=0.4, bybit=0.3)  # the same asset by now
    assert (market.counted(), market.shared_tickers()) == (["binance", "bybit"], [])


def test_of_two_coins_as_large_as_each_other_one_counts_at_any_time() -> None:
    market = Market("MEME")
    for minute in range(9):
        coins = {"binance": 1e9, "bybit": 1e9 * (0.9 if minute % 2 else 1.1) / 1.3}
        market.play(MINUTE, coins, binance=0.5, bybit=0.65)
        assert len(market.counted()) == 1
    market.play(11 * MINUTE, {"binance": 1e9, "bybit": 0.5e9}, binance=0.5, bybit=0.65)
    assert (market.counted(), market.shared_tickers()) == (["binance"], [("bybit", False)])


@mark.parametrize("minutes", [5, 15])
def test_who_was_left_out_counts_once_the_other_coin_is_gone_for_good(minutes: int) -> None:
    market = Market("MEME")
    market.play(minutes * MINUTE, {"binance": 1e9, "bybit": 1e8}, binance=0.5, bybit=0.65)
    assert market.counted() == ["binance"]
    for hour in range(1, 27):
        market.now = START + hour * HOURS
        market.play(20 * SECOND, {"bybit": 1e8}, bybit=0.65)
    assert [m.venue for m in market.view.everyone] == market.counted() == ["bybit"]
    assert market.shared_tickers() == [("bybit", False), ("bybit", True)] * (minutes == 15)
