"""Price and open interest below their highs, as events make them."""

from random import Random

from pytest import approx, mark

from rules.alerts import HighFacts
from rules.engine import Engine
from rules.metrics.drawdown import GROUPS
from streams.durations import DAY, HOUR, MINUTE, SECOND
from streams.events import Kind, Tick
from tests.rules.facts import START, feed, inverse, oi, price
from tests.rules.scenes import VENUES, named, of_market, quick_rule, run

PRICE, INTEREST, TOTAL = "drawdown_price_pct", "drawdown_oi_net_pct", "drawdown_oi_total_net_pct"
RULES = [
    named(PRICE, quick_rule(PRICE, "below", -5, watch=-20)),
    named(INTEREST, quick_rule(INTEREST, "below", -5, watch=-20)),
    *(of_market(f"drawdown_oi_{group}_net_pct",
                quick_rule(f"drawdown_oi_{group}_net_pct", "below", -5, watch=-20))
      for group in GROUPS),
]  # fmt: skip
STEP = 30 * SECOND


class Scene:
    """Contracts that say price and coins each half minute, for as long as ``play`` says."""

    def __init__(self) -> None:
        self.engine = Engine(RULES, VENUES)
        self.now = START
        self.price = {"BTC": 100.0}
        self.coins = {("binance", "BTC"): 1_000.0}
        self.usd: dict[tuple[str, str], float] = {}
        """Of inverse contracts."""

    def play(self, length=10 * MINUTE):
        """The alerts of so much time in which nothing changes."""
        alerts = []
        for _ in range(length // STEP):
            self.now += STEP
            now = self.now
            for (venue, asset), coins in self.coins.items():
                alerts += run(self.engine, [
                    price(venue, now, self.price[asset], asset=asset),
                    oi(venue, now, coins, coins * self.price[asset], asset=asset),
                ])  # fmt: skip
            for (venue, asset), usd in self.usd.items():
                alerts += run(self.engine, [inverse(venue, now, usd, self.price[asset], asset)])
            alerts += run(self.engine, [Tick(seen=now)])
        return alerts

    def values(self, asset="BTC"):
        return {v.metric: v.value for v in self.engine.standing().values if v.asset == asset}

    def facts(self, metric, asset="BTC"):
        facts = next(v.facts for v in self.engine.standing().values
                     if (v.metric, v.asset) == (metric, asset))  # fmt: skip
        assert isinstance(facts, HighFacts)
        return facts


def watched(**changes):
    """A scene that has been watched for a day."""
    scene = Scene()
    for name, value in changes.items():
        setattr(scene, name, value)
    scene.play(DAY)
    scene.play()
    return scene


def test_a_fall_is_measured_from_the_high_whose_time_is_said():
    scene = watched()
    assert scene.values()[PRICE] == scene.values()[INTEREST] == 0
    scene.price["BTC"], scene.coins["binance", "BTC"] = 110.0, 1_200.0
    high_at = scene.now
    scene.play(HOUR)
    scene.price["BTC"], scene.coins["binance", "BTC"] = 77.0, 900.0
    alerts = scene.play(HOUR)
    assert scene.values()[PRICE] == approx(-30) and scene.values()[INTEREST] == approx(-25)
    assert {a.rule for a in alerts} == {PRICE, INTEREST, TOTAL, "drawdown_oi_top10_net_pct"}
    of_price, of_interest = scene.facts(PRICE), scene.facts(INTEREST)
    assert of_price.price == 110.0 and 0 < of_price.high_at - high_at <= 2 * MINUTE
    assert START <= of_price.since <= START + 2 * MINUTE
    assert of_interest.oi_usd == approx(900 * 77) and of_interest.price is None
    assert 0 < of_interest.high_at - high_at <= 2 * MINUTE


def test_nothing_is_said_before_a_day_was_watched():
    scene = Scene()
    scene.play(DAY - HOUR)
    assert scene.values()[PRICE] is scene.values()[INTEREST] is None
    assert scene.values("ALL")[TOTAL] is None


def test_a_spike_is_no_high():
    scene = watched()
    for spike in (104.0, 120.0, 300.0):
        for value in (spike, 100.0, 100.0):
            scene.now += 10 * SECOND
            run(scene.engine, [price("binance", scene.now, value), Tick(seen=scene.now)])
    scene.play()
    assert scene.values()[PRICE] == 0


def test_a_venue_that_joins_or_leaves_is_no_change():
    scene = watched(coins={("binance", "BTC"): 1_000.0, ("bybit", "BTC"): 500.0})
    scene.coins["hyperliquid", "BTC"] = 2_000.0
    scene.play(HOUR)
    assert scene.values()[INTEREST] == 0
    del scene.coins["binance", "BTC"]
    run(scene.engine, [feed("binance", Kind.OPEN_INTEREST, scene.now, False)])
    scene.play(HOUR)
    assert scene.values()[INTEREST] == 0
    scene.coins["bybit", "BTC"] = 250.0
    scene.play(HOUR)
    assert scene.values()[INTEREST] == approx(-10)


def test_a_price_that_falls_closes_no_position_of_either_kind_of_contract():
    scene = watched(usd={("binance-coinm", "BTC"): 50_000.0})
    scene.price["BTC"] = 60.0
    scene.play(HOUR)
    assert scene.values()[INTEREST] == scene.values("ALL")[TOTAL] == 0
    scene.usd["binance-coinm", "BTC"] = 25_000.0
    scene.play(HOUR)
    # 1,000 coins and 50,000 / 60
    assert scene.values()[INTEREST] == approx(
        -100 * (25_000 / 60) / (1_000 + 50_000 / 60), rel=1e-3
    )


def test_a_hole_is_no_fall_and_what_fell_in_it_is_one_afterwards():
    scene = watched()
    run(scene.engine, [feed("binance", kind, scene.now, False)
                       for kind in (Kind.PRICE, Kind.OPEN_INTEREST)])  # fmt: skip
    coins, scene.coins = scene.coins, {}
    assert scene.play(3 * HOUR) == []
    assert {*scene.values().values(), scene.values("ALL")[TOTAL]} == {None}
    scene.coins, scene.price["BTC"] = dict.fromkeys(coins, 600.0), 70.0
    scene.play(HOUR)
    assert scene.values()[PRICE] == approx(-30)
    assert scene.values()[INTEREST] == approx(-40) == scene.values("ALL")[TOTAL]


def test_the_long_tail_and_the_largest_are_told_apart():
    coins = {("binance", f"C{n:02d}"): 1_000.0 * (70 - n) for n in range(70)}
    scene = Scene()
    scene.coins, scene.price = coins, {asset: 10.0 for _, asset in coins}
    scene.play(10 * MINUTE)
    for _ in range(2):  # nobody was there
        scene.now += DAY // 2
        scene.play(10 * MINUTE)
    for n in range(50, 70):
        scene.coins["binance", f"C{n:02d}"] *= 0.7
    scene.play(10 * MINUTE)
    of = scene.values("ALL")
    held = [1_000.0 * (70 - n) for n in range(70)]
    assert of["drawdown_oi_top10_net_pct"] == 0
    assert of["drawdown_oi_51to100_net_pct"] == approx(-30, rel=1e-3)
    assert of[TOTAL] == approx(-30 * sum(held[50:]) / sum(held), rel=1e-3)


@mark.parametrize("seed", range(3))
def test_a_restart_anywhere_changes_nothing(seed):
    def walk(restarts):
        dice, scene = Random(seed), Scene()
        scene.coins["bybit", "ETH"], scene.price["ETH"] = 500.0, 10.0
        for n in range(60):
            asset = dice.choice(["BTC", "ETH"])
            if n in (20, 40):
                scene.now += DAY // 2  # nobody was there
            scene.price[asset] *= dice.uniform(0.98, 1.02)
            for key in scene.coins:
                scene.coins[key] *= dice.uniform(0.98, 1.02)
            if dice.random() < 0.1:
                scene.coins.pop(("okx", asset), None) or scene.coins.update({("okx", asset): 90.0})
            scene.play(dice.randrange(1, 30) * MINUTE)
            if n in restarts:
                dumped, again = scene.engine.dump(), Engine(RULES, VENUES)
                assert again.load(dumped) == "" and again.dump() == dumped
                scene.engine = again
        return scene

    whole, parts = walk(()), walk({*Random(seed + 9).sample(range(60), 20)})
    assert parts.values() == whole.values() and parts.values("ALL") == whole.values("ALL")
    assert parts.engine.dump() == whole.engine.dump()
    assert (whole.values("ALL")[TOTAL] or 0) < 0 > (whole.values()[PRICE] or 0)
