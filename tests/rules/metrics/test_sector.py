"""Baskets of coins against the market, compared with money that is laid out here coin by coin."""

from datetime import UTC, datetime
from random import Random
from statistics import median

import msgspec
from pytest import approx, mark, raises

from rules.alerts import ALL, SectorFacts
from rules.engine import Engine
from rules.market import View
from rules.metrics import metric
from rules.metrics.usual import READY_DAYS, SECTOR_FLOOR, UsualMetric
from rules.rule import Rule
from rules.sectors import LEVELS, UNIT_CHANGED, Basket, basket_move
from streams.durations import DAY, HOUR, MINUTE, SECOND
from streams.events import ContextFacts, PriceHistory, Supply, Tick
from tests.rules.facts import START, price
from tests.rules.scenes import VENUES, of_market, quick_rule, run

DAYS, WEEKS, SIGMA = "sector_two_24h_pct", "sector_two_7d_pct", "sector_two_24h_sigma"
COINS = ("A", "B", "C", "D", "E")


def ms(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp() * 1000)


def levels(hours: dict[str, dict[int, float]]) -> dict[str, View]:
    """The views of coins with these prices at full hours."""
    views: dict[str, View] = {}
    for coin, prices in hours.items():
        views[coin] = View(coin)
        late = max(prices) * HOUR + 2 * HOUR
        views[coin].keep(LEVELS).fill({hour * HOUR: p for hour, p in prices.items()}, late)
    return views


def move(basket: Basket, hours: dict[str, dict[int, float]], first: int, last: int, **supplies):
    """Of the time between two full hours, told two minutes after the second one."""
    ends = {
        coin: (prices[first], prices[last])
        for coin, prices in hours.items()
        if first in prices and last in prices
    }
    span = first * HOUR, last * HOUR + 2 * MINUTE
    return basket_move(basket, levels(hours), ends, span, supplies)


def month_of(hour: int) -> int:
    when = datetime.fromtimestamp(hour * 3600, UTC).replace(day=1, hour=0)
    return int(when.timestamp()) // 3600


def laid_out(hours: dict[str, dict[int, float]], first: int, last: int) -> float:
    """What became of money that is spread over the coins anew with each month."""
    begin, cash, holdings = month_of(first), 1.0, {}
    for hour in range(begin, last + 1):
        if hour == month_of(hour):
            cash = sum(n * hours[c][hour] for c, n in holdings.items()) if holdings else cash
            holdings = {coin: cash / len(hours) / hours[coin][hour] for coin in hours}
        if hour == first:
            before = sum(n * hours[c][hour] for c, n in holdings.items())
    return 100 * (sum(n * hours[c][last] for c, n in holdings.items()) / before - 1)


def walks(dice: Random, coins: int, first: int, last: int) -> dict[str, dict[int, float]]:
    paths: dict[str, dict[int, float]] = {}
    for n in range(coins):
        at, path = dice.choice((1e-6, 3.0, 90_000.0)), dict[int, float]()
        for hour in range(first, last + 1):
            at *= 1 + dice.gauss(0, 0.01)
            path[hour] = at
        paths[f"C{n}"] = path
    return paths


@mark.parametrize("seed", range(12))
def test_it_is_what_becomes_of_money_laid_out_at_the_start_of_each_month(seed: int):
    dice = Random(seed)
    last = ms(2026, 10, 1) // HOUR + dice.randrange(1, 24 * 20)
    first = last - dice.choice((24, 24 * 7))
    hours = walks(dice, dice.randrange(3, 9), month_of(first), last)
    result = move(Basket(tuple(hours)), hours, first, last)
    assert result is not None
    assert result.pct == approx(laid_out(hours, first, last), abs=1e-4)
    assert result.known == len(hours)
    assert result.fixed_at == month_of(last) * HOUR


@mark.parametrize("seed", range(6))
def test_by_capitalisation_it_is_the_change_of_all_their_worth(seed: int):
    dice = Random(seed)
    last = ms(2026, 10, 3) // HOUR
    first = last - 24 * 7
    hours = walks(dice, 5, month_of(first), last)
    coins = {coin: dice.uniform(1e3, 1e9) for coin in hours}
    result = move(Basket(tuple(hours), "cap"), hours, first, last, **coins)
    assert result is not None
    before, after = (sum(n * hours[c][hour] for c, n in coins.items()) for hour in (first, last))
    assert result.pct == approx(100 * (after / before - 1), abs=1e-4)
    assert move(Basket(tuple(hours), "cap"), hours, first, last) is None


def flat(coins: int, first: int, last: int) -> dict[str, dict[int, float]]:
    return {f"C{n}": dict.fromkeys(range(first, last + 1), 10.0) for n in range(coins)}


FIRST, LAST = ms(2026, 10, 10) // HOUR, ms(2026, 10, 17) // HOUR
MONTH = month_of(LAST)


def test_a_coin_that_is_delisted_after_a_fall_moves_nothing():
    hours = flat(5, MONTH, LAST)
    hours["C4"] = {h: 10.0 if h < LAST - 30 else 0.5 for h in range(MONTH, LAST - 24)}
    result = move(Basket(tuple(hours)), hours, FIRST, LAST)
    assert result is not None
    assert (result.pct, result.known) == (0, 4)
    hours["C4"] = {h: 10.0 if h < LAST - 30 else 0.6 for h in range(MONTH, LAST + 1)}  # it trades
    result = move(Basket(tuple(hours)), hours, FIRST, LAST)
    assert result is not None
    assert (result.pct, result.known) == (approx(100 * (4 * 10 + 0.6) / 50 - 100, abs=1e-4), 5)


def test_a_coin_that_is_listed_within_the_month_has_no_weight_before_the_next():
    hours = flat(4, MONTH, LAST)
    hours["NEW"] = {h: 1.0 if h < LAST else 3.0 for h in range(MONTH + 48, LAST + 1)}
    result = move(Basket(tuple(hours)), hours, FIRST, LAST)
    assert result is not None
    assert (result.pct, result.known) == (0, 4)


@mark.parametrize("times", [1e-3, 1 / UNIT_CHANGED, UNIT_CHANGED, 1e3])
def test_a_coin_in_another_unit_has_not_moved(times: float):
    hours = flat(5, MONTH, LAST)
    for since in (MONTH + 5, LAST - 3):  # before the span, and in it
        changed = {h: 10.0 if h < since else 10 * times for h in range(MONTH, LAST + 1)}
        result = move(Basket(tuple(hours)), hours | {"C0": changed}, FIRST, LAST)
        assert result is not None
        assert (result.pct, result.known) == (0, 4)


def test_it_is_unknown_where_too_few_coins_are():
    hours = flat(5, MONTH, LAST)
    del hours["C0"][LAST], hours["C1"][LAST]
    result = move(Basket(tuple(hours)), hours, FIRST, LAST)
    assert result is not None  # three of five
    assert result.known == 3
    del hours["C2"][FIRST]
    assert move(Basket(tuple(hours)), hours, FIRST, LAST) is None


def test_weights_are_fixed_late_where_the_start_of_the_month_is_a_hole():
    hours = flat(4, FIRST - 3, LAST)
    hours["C0"] = {h: 10.0 if h < FIRST + 20 else 20.0 for h in range(FIRST - 3, LAST + 1)}
    result = move(Basket(tuple(hours)), hours, FIRST, LAST)
    assert result is not None
    assert result.fixed_at == (FIRST - 3) * HOUR
    assert result.pct == approx(25)
    late = {c: {h: p for h, p in path.items() if h == FIRST or h >= FIRST + 24}
            for c, path in hours.items()}  # fmt: skip
    again = move(Basket(tuple(late)), late, FIRST, LAST)
    assert again is not None
    assert (again.pct, again.fixed_at) == (approx(25), FIRST * HOUR)


# ── in the engine ────────────────────────────────────────────────────────

BASKETS = {"two": Basket(COINS[:3]), "market": Basket(COINS)}


def rules(**changes: Basket) -> list[Rule]:
    return [
        msgspec.structs.replace(
            of_market(name, quick_rule(name, "below", -2, watch=-5)), baskets=BASKETS | changes
        )
        for name in (DAYS, WEEKS, SIGMA)
    ]


class Scene:
    """Five coins, each a price a minute, and a source that lists them."""

    def __init__(self, now: int = START, **changes: Basket) -> None:
        self.engine = Engine(rules(**changes), VENUES)
        self.by_cap = bool(changes)
        self.now = now
        self.price = dict.fromkeys(COINS, 100.0)
        self.alerts = []

    def play(self, length: int, step: int = MINUTE):
        alerts = []
        for _ in range(length // step):
            self.now += step
            events = [price("binance", self.now, x, asset=c) for c, x in self.price.items()]
            if self.by_cap and self.now % HOUR < step:
                events.append(self._listed())
            alerts += run(self.engine, [*events, Tick(seen=self.now)])
        self.alerts += alerts
        return alerts

    def _listed(self) -> ContextFacts:
        facts = tuple(
            Supply(asset=c, rank=n, circulating=1_000.0 * n, price=self.price[c])
            for n, c in enumerate(self.price, 1)
        )
        return ContextFacts(source="list", seen=self.now, good_for=4 * HOUR, facts=facts)

    def value(self, name: str = DAYS):
        (value,) = [v for v in self.engine.standing().values if (v.metric, v.asset) == (name, ALL)]
        return value


def test_a_day_against_the_market_and_what_a_message_shows_of_it():
    scene = Scene()
    scene.play(DAY - HOUR)
    assert scene.value().value is None
    scene.play(2 * HOUR)
    assert scene.value().value == approx(0)
    scene.price |= {"A": 70.0, "B": 80.0, "E": 110.0}
    alerts = scene.play(5 * MINUTE)
    own, market = 100 * (250 / 300 - 1), 100 * (460 / 500 - 1)
    assert scene.value().value == approx(own - market, abs=1e-4)
    facts = scene.value().facts
    assert isinstance(facts, SectorFacts)
    assert (facts.pct, facts.market_pct) == (approx(own, abs=1e-4), approx(market, abs=1e-4))
    assert (facts.known, facts.coins, facts.market_known, facts.market_coins) == (3, 3, 5, 5)
    assert [*facts.by_asset_pct] == ["A", "B", "C"]
    assert [(alert.metric, alert.asset) for alert in alerts] == [(DAYS, ALL)]


def test_a_day_in_the_usual_moves_of_this_basket():
    """Usual is the median of the hours' medians, of this hour of day and those beside it."""
    dice, scene = Random(5), Scene()
    sums: list[tuple[float, float]] = []  # units are fixed in the first hour, at 100 each
    sizes: dict[int, list[float]] = {}

    def pct() -> float:
        (own, market), (own_before, market_before) = sums[-1], sums[-1 - DAY // MINUTE]
        return 100 * (own / own_before - market / market_before)

    while scene.now < START + 8 * DAY + 3 * HOUR:
        if scene.now > START + HOUR:
            for coin in COINS:
                scene.price[coin] *= 1 + dice.gauss(0, 0.002)
        scene.play(MINUTE)
        sums.append((sum(scene.price[c] for c in COINS[:3]), sum(scene.price.values())))
        if len(sums) > DAY // MINUTE:
            sizes.setdefault(scene.now // HOUR, []).append(abs(pct()))
        if len(sums) in (3 * DAY // MINUTE, 7 * DAY // MINUTE):
            assert scene.value(SIGMA).value is None
    hours = {hour: median(hour_sizes) for hour, hour_sizes in sizes.items()}
    hour = scene.now // HOUR
    near = [size for h, size in hours.items() if h < hour and (h - hour + 1) % 24 < 3]
    usual = 1.4826 * median(near)
    assert usual > SECTOR_FLOOR
    scene.price |= {coin: 0.8 * scene.price[coin] for coin in COINS[:3]}
    alerts = scene.play(2 * MINUTE)
    move = scene.value().value
    assert move is not None and scene.value(SIGMA).value == approx(move / usual, rel=0.03)
    assert scene.value(SIGMA).facts == scene.value().facts
    assert [alert.unit for alert in alerts if alert.metric == SIGMA] == ["σ"]
    scene.price |= {coin: 1.25 * scene.price[coin] for coin in COINS[:3]}
    scene.play(2 * MINUTE)
    assert scene.value(SIGMA).value == approx((scene.value().value or 0) / usual, rel=0.03)


def test_a_usual_move_of_a_basket_is_never_smaller_than_a_floor():
    of = metric(SIGMA)
    assert isinstance(of, UsualMetric)
    view = View(ALL)
    memo = view.keep(of.size)
    for minute in range(READY_DAYS * DAY // MINUTE + 1):
        memo.take(0.01, START + minute * MINUTE)
    assert of.usual(view, START + READY_DAYS * DAY) == SECTOR_FLOOR
    assert of.scopes == {"market"} and of.value(view, START + READY_DAYS * DAY) is None
    with raises(ValueError, match="unknown metric"):
        metric("sector_market_24h_sigma")  # against itself


def test_a_hole_freezes_it():
    scene = Scene()
    scene.play(DAY + HOUR)
    scene.price |= {"A": 70.0, "B": 80.0}
    assert scene.play(10 * MINUTE)
    gone = {coin: scene.price.pop(coin) for coin in ("A", "B", "C")}
    assert not scene.play(2 * HOUR)  # neither worse nor over
    assert scene.value().value is None
    scene.price |= gone
    assert not scene.play(10 * MINUTE)
    own, market = 100 * (250 / 300 - 1), 100 * (450 / 500 - 1)
    assert scene.value().value == approx(own - market, abs=1e-4)
    assert scene.value(WEEKS).value is None  # which takes a week


def test_by_capitalisation_in_the_engine():
    scene = Scene(two=Basket(COINS[:3], "cap"), market=Basket(COINS, "cap"))
    scene.play(DAY + 2 * HOUR)
    assert scene.value().value == approx(0)
    scene.price["C"] = 80.0
    scene.play(10 * MINUTE)
    own, market = -20 * 3 / 6, -20 * 3 / 15
    assert scene.value().value == approx(own - market, abs=1e-4)
    facts = scene.value().facts
    assert isinstance(facts, SectorFacts) and facts.by_cap


def test_a_restart_anywhere_changes_nothing():
    """Around a month's end, with a hole and prices that move."""
    at = 24
    states = []
    for restart in (False, True):
        dice, scene = Random(at), Scene(ms(2026, 9, 30, 1))
        for hour in range(27):
            for coin in COINS:
                scene.price[coin] *= 1 + dice.gauss(0, 0.02)
            held = dict(scene.price)
            if hour == 23:
                del scene.price["A"]
            scene.play(HOUR)
            scene.price = held
            if restart and hour in (at - 1, at):
                dumped = scene.engine.dump()
                scene.engine = Engine(rules(), VENUES)
                scene.engine.load(dumped)
        states.append((scene.engine.dump(), scene.alerts, scene.value().value))
    assert states[0] == states[1]
    assert states[0][2] is not None


def test_prices_of_before_are_told_later():
    scene = Scene()
    scene.play(5 * MINUTE, 30 * SECOND)
    start = scene.now // HOUR * HOUR - 8 * DAY
    for n, coin in enumerate(COINS):
        prices = tuple(100.0 - 2 * n * (h < 30) for h in range(24 * 8 + 1))
        event = PriceHistory(
            venue="binance", symbol=f"{coin}USDT", asset=coin, at=start + 8 * DAY, seen=scene.now,
            every=HOUR, prices=prices,
        )  # fmt: skip
        run(scene.engine, [event])
    scene.play(2 * MINUTE, 30 * SECOND)
    before = [100.0 - 2 * n for n in range(5)]
    (month,) = {ms(*(datetime.fromtimestamp(START / 1000, UTC).replace(day=1)).timetuple()[:3])}
    assert start > month  # so that the weights are of its first hour
    units = [1 / x for x in before]

    def of(count: int) -> float:
        return 100 * (sum(100 * u for u in units[:count]) / count - 1)

    assert scene.value(WEEKS).value == approx(of(3) - of(5), abs=1e-3)
