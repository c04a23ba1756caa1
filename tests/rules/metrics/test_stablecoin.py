"""What stablecoins are worth by the prices of the same coins, against what a test makes them."""

from collections.abc import Iterator
from random import Random
from statistics import median

from pytest import approx, mark

from rules.alerts import ALL, Alert, Level, StablecoinFacts, Turn
from rules.engine import Engine
from rules.metrics.stablecoin import OF_COINS
from rules.stablecoins import ALIKE, CALM, agreed
from streams.durations import MINUTE, SECOND
from streams.events import AnyEvent, FeedState, Kind, Price, Tick
from tests.rules.facts import START
from tests.rules.scenes import feed_all, of_market, quick_rule

USDT, USDC = (metric.name for metric in OF_COINS.values())
RULES = [
    of_market(f"{name}_{fires}", quick_rule(name, fires, way * 0.3, watch=way * 0.5))
    for name in (USDT, USDC)
    for fires, way in (("below", -1), ("above", 1))
]
"""As they are shipped, but at once."""

PERPETUALS = {
    "kraken": "USD", "deribit": "USD", "binance-coinm": "USD", "bybit-inverse": "USD",
    "binance": "USDT", "bybit": "USDT", "okx": "USDT", "gate": "USDT",
}  # fmt: skip
SPOT = {"coinbase": "USD", "kraken-spot": "USD", "binance-spot": "USDT", "okx-spot": "USDT"}
IN_USDC = {"deribit": "USDC", "binance": "USDC", "okx": "USDC"}
QUOTES = [*PERPETUALS.items(), *SPOT.items(), *IN_USDC.items()]
VENUES = tuple(dict.fromkeys(venue for venue, _ in QUOTES))
FALLS = {"BTC": 0.10, "ETH": 0.13, "SOL": 0.17, "XRP": 0.30}
"""How far each coin falls in a crash."""


class Scene:
    """Four coins that hardly move, in three currencies, told each second."""

    def __init__(self, seed: int = 0) -> None:
        self.engine = Engine(RULES, VENUES)
        self.dice = Random(seed)
        self.now = START
        self.worth = {"USD": 1.0, "USDT": 1.0, "USDC": 1.0}
        self.price = {"BTC": 100_000.0, "ETH": 4_000.0, "SOL": 150.0, "XRP": 2.5}
        self.lag: dict[str, int] = {}
        """Venue → how many seconds its prices are old."""
        self.lies: dict[str, float] = {}
        """Venue → times its prices are wrong."""
        self.quotes = [*QUOTES]
        self.off = {
            (venue, quote, asset): self.dice.uniform(-0.0004, 0.0004)
            for venue, quote in QUOTES
            for asset in self.price
        }
        """How far a venue's own price is from the others."""
        self._past = [dict(self.price)]

    def second(self) -> Iterator[AnyEvent]:
        self.now += SECOND
        for asset in self.price:
            self.price[asset] *= 1 + self.dice.uniform(-2e-5, 2e-5)
        self._past = [*self._past[-60:], dict(self.price)]
        for venue, quote in self.quotes:
            then = self._past[max(0, len(self._past) - 1 - self.lag.get(venue, 0))]
            for asset, price in then.items():
                yield self._price(venue, quote, asset, price)
        yield Tick(seen=self.now)

    def _price(self, venue: str, quote: str, asset: str, price: float) -> Price:
        value = price * self.lies.get(venue, 1.0) * (1 + self.off[venue, quote, asset])
        value /= self.worth[quote]
        spot = venue in SPOT
        return Price(
            venue=venue, symbol=f"{asset}-{quote}", asset=asset, at=self.now - 20, seen=self.now,
            spot=spot, quote=quote, **({"last": value} if spot else {"index": value}),
        )  # fmt: skip

    def play(self, length=5 * MINUTE, fall=0.0) -> list[Alert]:
        """``fall``: the part of ``FALLS`` that happens in it, in even steps."""
        alerts: list[Alert] = []
        for _ in range(length // SECOND):
            for asset in self.price:
                self.price[asset] *= (1 - FALLS[asset] * fall) ** (SECOND / length)
            alerts += [x for x in feed_all(self.engine, [*self.second()]) if isinstance(x, Alert)]
        return alerts

    def value(self, name=USDT) -> float | None:
        values = self.engine.standing(False).values
        return next(v.value for v in values if (v.metric, v.asset) == (name, ALL))

    def facts(self, name=USDT) -> StablecoinFacts:
        (facts,) = [v.facts for v in self.engine.standing().values if v.metric == name]
        assert isinstance(facts, StablecoinFacts)
        return facts

    def by_hand(self, quote: str) -> float:
        """The middle over coins and kinds of prices, each the middle in dollars over that in
        ``quote``."""
        rates = [
            median(1 + self.off[venue, "USD", asset] for venue, q in of.items() if q == "USD")
            / median(1 + self.off[venue, quote, asset] for venue, q in other.items() if q == quote)
            * self.worth[quote]
            for of, other in ((PERPETUALS, PERPETUALS | IN_USDC), (SPOT, SPOT))
            if quote in other.values()
            for asset in self.price
        ]
        return 100 * (median(rates) - 1)


@mark.parametrize("seed", range(6))
def test_it_is_what_the_same_coins_say(seed: int):
    scene = Scene(seed)
    for coin in ("USDT", "USDC"):
        scene.worth[coin] = 1 + scene.dice.uniform(-0.04, 0.02)
    scene.play(4 * MINUTE)
    for name, coin in ((USDT, "USDT"), (USDC, "USDC")):
        assert scene.value(name) == approx(scene.by_hand(coin), abs=0.005)
        assert scene.value(name) == approx(100 * (scene.worth[coin] - 1), abs=0.08)


def test_who_says_it():
    scene = Scene()
    scene.worth["USDT"] = 0.985
    scene.play(4 * MINUTE)
    facts = scene.facts()
    assert facts.coin == "USDT"
    assert facts.rate == approx(0.985, abs=0.0008)
    assert list(facts.by_asset) == list(scene.price)
    assert all(rate == approx(0.985, abs=0.0015) for rate in facts.by_asset.values())
    # two venues of one exchange are one witness, on spot markets as well
    assert facts.dollar_venues == ("kraken", "deribit", "binance", "bybit", "coinbase")
    assert facts.coin_venues == ("binance", "bybit", "okx", "gate")
    assert scene.facts(USDC).coin_venues == ("deribit", "binance", "okx")


@mark.parametrize("seed", range(12))
def test_ten_percent_in_seconds_is_no_depeg(seed: int):
    """Venues are behind each other by up to 20 s, and some stay so."""
    scene = Scene(seed)
    assert not scene.play(4 * MINUTE)
    scene.lag = {venue: scene.dice.choice([0, 0, 1, 2, 5, 13, 20]) for venue in VENUES}
    alerts = scene.play(scene.dice.choice([1, 5, 10, 30, 90]) * SECOND, fall=1.0)
    alerts += scene.play(30 * SECOND)
    alerts += scene.play(3 * MINUTE, fall=scene.dice.uniform(-0.5, 0.5))
    scene.lag = {}
    alerts += scene.play(5 * MINUTE)
    assert not alerts
    assert scene.value() == approx(0, abs=0.08)


@mark.parametrize("behind", ["USD", "USDT"])
def test_a_side_that_stands_still_after_a_fall_is_no_depeg(behind: str):
    """All venues of one currency, for minutes: coins have fallen by different parts."""
    scene = Scene(3)
    scene.play(4 * MINUTE)
    scene.lag = {venue: 0 for venue, _ in QUOTES}
    alerts = scene.play(10 * SECOND, fall=1.0)
    for venue, quote in QUOTES:
        if quote == behind:
            scene.lag[venue] = 50  # it tells the prices of before the fall
    alerts += scene.play(45 * SECOND)
    assert not alerts
    for venue in scene.lag:
        scene.lag[venue] = 0
    assert not scene.play(5 * MINUTE)


def test_a_depeg_in_a_crash_is_told():
    """USDT falls to 0.985 while everything falls; told as soon as it is calm for three minutes."""
    scene = Scene(1)
    scene.play(4 * MINUTE)
    scene.lag = {"kraken": 2, "okx": 1, "coinbase": 3}
    scene.worth["USDT"] = 0.985
    assert not scene.play(20 * SECOND, fall=1.0)
    alerts = scene.play(4 * MINUTE)
    opened = [(a.rule, a.level) for a in alerts if a.turn is Turn.OPEN]
    assert opened == [("stablecoin_usdt_pct_below", Level.WATCH)]
    assert {a.rule for a in alerts} == {"stablecoin_usdt_pct_below"}
    assert scene.value() == approx(-1.5, abs=0.1)
    assert scene.value(USDC) == approx(0, abs=0.1)
    scene.worth["USDT"] = 1.0
    scene.play(5 * MINUTE)
    assert scene.value() == approx(0, abs=0.08)


@mark.parametrize("liar", ["kraken", "deribit", "binance", "okx", "coinbase", "okx-spot"])
@mark.parametrize("times", [0.9, 0.98, 0.9925, 1.0075, 1.02])
def test_one_venue_that_lies_makes_no_depeg(liar: str, times: float):
    scene = Scene(2)
    scene.lies[liar] = times
    assert not scene.play(5 * MINUTE)
    assert scene.value() == approx(0, abs=0.1)


def test_where_two_disagree_nobody_knows():
    scene = Scene(2)
    scene.quotes = [(v, q) for v, q in QUOTES if v in ("kraken", "deribit", "binance", "okx")]
    scene.play(4 * MINUTE)
    assert scene.value() == approx(0, abs=0.1)
    scene.lies["kraken"] = 0.99
    assert not scene.play(5 * MINUTE)
    assert scene.value() is None


@mark.parametrize("quotes", [
    [("kraken", "USD"), ("binance", "USDT"), ("okx", "USDT")],
    [("binance-coinm", "USD"), ("binance", "USD"), ("bybit", "USDT"), ("okx", "USDT")],
    [("kraken", "USD"), ("deribit", "USD"), ("binance-spot", "USDT"), ("okx-spot", "USDT")],
    [("kraken", "USD"), ("deribit", "USD"), ("binance", "USDC"), ("okx", "USDC")],
])  # fmt: skip
def test_it_takes_two_exchanges_on_each_side_and_what_is_alike(quotes):
    """One in dollars, one exchange twice, contracts against spot, another stablecoin."""
    scene = Scene()
    scene.off |= {("binance", "USD", asset): 0.0 for asset in scene.price}
    scene.quotes = quotes
    scene.worth["USDT"] = 0.9
    scene.play(4 * MINUTE)
    assert scene.value() is None


def test_one_coin_is_not_enough():
    scene = Scene()
    scene.price = {"BTC": 100_000.0}
    scene._past = [dict(scene.price)]
    scene.play(4 * MINUTE)
    assert scene.value() is None


def test_a_price_in_an_unknown_currency_says_nothing():
    scene = Scene()
    scene.quotes = [(venue, quote) for venue, quote in QUOTES if venue != "kraken"]
    scene.play(4 * MINUTE)
    before = scene.facts().dollar_venues
    scene.worth[""] = 0.9
    scene.off |= {("kraken", "", asset): 0.0 for asset in scene.price}
    scene.quotes.append(("kraken", ""))
    scene.play(4 * MINUTE)
    assert scene.facts().dollar_venues == before
    assert scene.value() == approx(0, abs=0.1)


def test_what_is_not_heard_is_unknown_and_no_recovery():
    scene = Scene()
    scene.worth["USDT"] = 0.97
    assert scene.play(5 * MINUTE)
    everything, scene.quotes = scene.quotes, []
    scene.play(MINUTE)
    assert scene.value() is None
    scene.play(10 * MINUTE)
    scene.quotes = everything
    assert not scene.play(5 * MINUTE)
    assert scene.value() == approx(-3, abs=0.1)


def test_feeds_that_are_down_say_nothing():
    scene = Scene()
    scene.play(4 * MINUTE)
    scene.quotes = [(venue, quote) for venue, quote in QUOTES if quote != "USD"]
    down = [
        FeedState(venue=venue, symbol="*", kind=Kind.PRICE, seen=scene.now, up=False)
        for venue, quote in QUOTES
        if quote == "USD"
    ]
    feed_all(scene.engine, down)
    scene.play(MINUTE)
    assert scene.value() is None


def test_a_restart_anywhere_changes_nothing():
    scene = Scene(5)
    scene.worth["USDT"] = 0.98
    scene.play(100 * SECOND)
    twin = Engine(RULES, VENUES)
    assert twin.load(scene.engine.dump()) == ""
    assert twin.dump() == scene.engine.dump()
    for _ in range(150):
        events = [*scene.second()]
        assert feed_all(twin, events) == feed_all(scene.engine, events)
    assert twin.dump() == scene.engine.dump()
    assert scene.value() == approx(-2, abs=0.1)


def test_a_clock_set_back_begins_anew():
    scene = Scene()
    scene.play(4 * MINUTE)
    assert scene.value() is not None
    scene.now -= 60 * MINUTE
    feed_all(scene.engine, [Tick(seen=scene.now)])
    assert scene.value() is None
    scene.play(4 * MINUTE)
    assert scene.value() == approx(0, abs=0.1)


@mark.parametrize(
    "values, expected",
    [
        ([], None), ([1.0], None), ([1.0, 1.001], 1.0005), ([1.0, 1.01], None),
        ([1.0, 1.001, 5.0], 1.0005), ([1.0, 1.0, 1.05, 1.05], None), ([0.98, 0.981, 1.0], 0.9805),
        ([1.0, 1.02, 1.04], None), ([1.0, 1.0, 1.0, 0.5, 2.0], 1.0),
    ],
)  # fmt: skip
def test_those_that_agree(values, expected):
    assert agreed(values) == (expected if expected is None else approx(expected, abs=1e-6))


def test_what_is_let_through_is_below_the_level():
    """What venues and a lag may add up to is no half percent."""
    assert ALIKE + CALM < 0.005
