"""Spot beside perpetuals: its share of the volume, its books, and that it is in nothing else."""

from random import Random

import msgspec
from pytest import approx, mark

from rules.alerts import Notice
from rules.engine import Engine
from rules.snapshot import Value
from streams.durations import MINUTE, SECOND
from streams.events import Band, Depth, FaultCode, Kind, Price, Tick, Volume
from tests.rules.facts import START, depth, feed, oi, price
from tests.rules.scenes import named, of_market, quick_rule

VENUES = ("binance", "bybit", "hyperliquid", "binance-coinm", "binance-spot", "bybit-spot")
SHARE, DEPTH, PERPETUAL = (
    "spot_share_pct", "spot_depth_100bp_pct_of_recent", "depth_100bp_pct_of_recent",
)  # fmt: skip
RULES = [
    named("share", quick_rule(SHARE, "above", 40, watch=50)),
    named("spot_depth", quick_rule(DEPTH, "below", 95, watch=60)),
    named("depth", quick_rule(PERPETUAL, "below", 95, watch=60)),
    named("price", quick_rule("price_2m_pct", "below", -1, watch=-2)),
    named("oi", quick_rule("oi_net_2m_pct", "below", -1, watch=-2)),
    of_market("falls", quick_rule("oi_total_net_2m_pct", "below", -1, watch=-2)),
    named("each", quick_rule("price_1m_pct", "below", -1, watch=-2), scope="instrument"),
]
PERPETUAL_USD = {"binance": 8e9, "binance-coinm": 2e9, "bybit": 4e9, "hyperliquid": 3e9}
SPOT_USD = {"binance-spot": 2.5e9, "bybit-spot": 1e9, "coinbase": 0.7e9}


def where(venue, now, asset="BTC"):
    return {"venue": venue, "symbol": f"{asset}/USD" if venue in SPOT_USD else f"{asset}USDT",
            "asset": asset, "at": now - 20, "seen": now, "spot": venue in SPOT_USD}  # fmt: skip


def volume(venue, now, usd, symbol=""):
    of = where(venue, now)
    return Volume(**{**of, "symbol": symbol or of["symbol"]}, usd_24h=usd)


def last(venue, now, value, asset="BTC"):
    return Price(**where(venue, now, asset), last=value)


def book(venue, now, usd):
    bands = (Band(10, usd * 0.05, usd * 0.05, True), Band(100, usd * 0.6, usd * 0.4, True))
    return Depth(**where(venue, now), mid=100.0, spread_bp=0.1, bands=bands)


def fed(engine, *events):
    return [output for event in events for output in engine.feed(event)]


def known(engine, asset="BTC") -> dict[str, Value]:
    values = engine.standing().values
    return {v.metric: v for v in values if v.asset == asset and not v.instrument}


def volumes(now, perpetual=PERPETUAL_USD, spot=SPOT_USD):
    return [volume(venue, now, usd) for venue, usd in (perpetual | spot).items()]


def test_the_share_is_of_the_exchanges_that_have_both() -> None:
    """Binance's two venues of perpetuals are one exchange; Coinbase has none, Hyperliquid none of
    the other: 3.5 of 17.5."""
    engine = Engine(RULES, VENUES)
    fed(engine, *volumes(START), Tick(seen=START + SECOND))
    value = known(engine)[SHARE]
    assert value.value == approx(100 * 3.5 / 17.5)
    assert value.missing == ()
    facts = value.facts
    assert (facts.spot_usd, facts.perpetual_usd) == (3.5e9, 14e9)
    assert facts.by_venue_pct == {"binance": approx(20.0), "bybit": approx(20.0)}


@mark.parametrize("seed", range(20))
def test_the_share_against_a_naive_sum(seed) -> None:
    dice, engine = Random(seed), Engine(RULES, VENUES)
    perpetual = {venue: dice.uniform(1, 9) * 1e9 for venue in PERPETUAL_USD}
    spot = {venue: dice.uniform(1, 9) * 1e8 for venue in SPOT_USD}
    events = volumes(START, perpetual, spot)
    second = dice.uniform(0, 1e9)
    events.append(volume("binance-spot", START, second, "BTC/USDC"))
    dice.shuffle(events)
    fed(engine, *events, Tick(seen=START + SECOND))
    spot_usd = spot["binance-spot"] + spot["bybit-spot"] + second
    usd = spot_usd + sum(perpetual.values()) - perpetual["hyperliquid"]
    assert known(engine)[SHARE].value == approx(100 * spot_usd / usd)


@mark.parametrize("lost", ["bybit", "bybit-spot"])
def test_an_exchange_of_which_a_part_is_dark_is_left_out_on_both_sides(lost) -> None:
    """It has 5 of 17.5: what is left speaks, and says whose is missing."""
    engine, now = Engine(RULES, VENUES), START
    fed(engine, *volumes(now), feed(lost, Kind.VOLUME, now + SECOND, False))
    fed(engine, Tick(seen=now + 2 * SECOND))
    value = known(engine)[SHARE]
    assert value.value == approx(100 * 2.5 / 12.5)
    assert value.missing == ("bybit", "bybit-spot")


@mark.parametrize("lost", ["binance", "binance-coinm", "binance-spot"])
def test_where_most_of_the_volume_is_dark_there_is_no_share(lost) -> None:
    engine = Engine(RULES, VENUES)
    fed(engine, *volumes(START), feed(lost, Kind.VOLUME, START + SECOND, False))
    fed(engine, Tick(seen=START + 2 * SECOND))
    assert known(engine)[SHARE].value is None


def test_a_volume_of_long_ago_is_unknown() -> None:
    engine, now = Engine(RULES, VENUES), START
    fed(engine, *volumes(now))
    for minute in range(1, 17):
        now = START + minute * MINUTE
        fed(engine, *(v for v in volumes(now) if v.venue != "binance-spot"), Tick(seen=now))
    assert known(engine)[SHARE].value is None
    fed(engine, *volumes(now), Tick(seen=now + SECOND))
    assert known(engine)[SHARE].value == approx(20.0)


class Market:
    """Perpetuals and spot markets of one coin, each second."""

    def __init__(self) -> None:
        self.engine, self.now = Engine(RULES, VENUES), START
        self.outputs: list[object] = []

    def play(self, seconds, spot=100.0, spot_usd=2e6, usd=6e6, silent=(), at=100.0, step=1) -> None:
        for _ in range(0, seconds, step):
            self.now += step * SECOND
            for venue in ("binance", "bybit"):
                self.say(depth(venue, self.now, usd), price(venue, self.now, at),
                         oi(venue, self.now, 1_000.0))  # fmt: skip
            for venue in ("binance-spot", "coinbase"):
                if venue not in silent:
                    self.say(book(venue, self.now, spot_usd), last(venue, self.now, spot))
            self.say(Tick(seen=self.now))

    def say(self, *events) -> None:
        self.outputs += fed(self.engine, *events)

    @property
    def values(self):
        return {name: v.value for name, v in known(self.engine).items()}

    @property
    def notices(self):
        return [o for o in self.outputs if isinstance(o, Notice)]


def warm() -> Market:
    market = Market()
    market.play(40 * 60, step=3)
    return market


def test_spot_books_are_told_beside_those_of_perpetuals() -> None:
    market = warm()
    assert market.values[DEPTH] == market.values[PERPETUAL] == 100
    market.play(70, spot_usd=1e6)
    assert (market.values[DEPTH], market.values[PERPETUAL]) == (50, 100)
    facts = known(market.engine)[DEPTH].facts
    assert (facts.spot.bid_usd, facts.spot.ask_usd) == (1.2e6, approx(0.8e6))
    assert facts.spot.by_venue_pct == {"binance-spot": 50, "coinbase": 50}
    assert facts.perpetual.bid_usd + facts.perpetual.ask_usd == 12e6
    market.play(70, spot_usd=1e6, usd=3e6)
    assert (market.values[DEPTH], market.values[PERPETUAL]) == (50, 50)


def test_of_perpetuals_in_the_dark_the_depth_is_unknown_beside_spot() -> None:
    market = warm()
    for venue in ("binance", "bybit"):
        market.say(feed(venue, Kind.DEPTH, market.now, False))
    facts = known(market.engine)[DEPTH].facts
    assert market.values[PERPETUAL] is None
    assert facts.perpetual is None
    assert facts.spot.live == 2


def test_a_spot_book_that_falls_silent_or_loses_a_side_is_unknown_and_not_thin() -> None:
    market = warm()
    market.play(40, silent=("binance-spot", "coinbase"), at=88.0)
    assert market.values[DEPTH] is None
    assert market.values[PERPETUAL] == 100
    market.play(70)
    assert market.values[DEPTH] == 100
    market.say(feed("binance-spot", Kind.DEPTH, market.now, False, symbol="BTC/USD"))
    assert market.values[DEPTH] is None  # half of what is usual is left
    market.play(70, silent=("binance-spot",))
    assert market.values[DEPTH] is None
    assert not [o for o in market.outputs if getattr(o, "rule", "") == "spot_depth"]


def test_what_spot_markets_say_is_in_nothing_of_perpetuals() -> None:
    """The same events without spot give the same values, whatever spot does."""
    market, alone = warm(), warm()
    alone.engine = Engine(RULES, VENUES)
    alone.now, alone.outputs = START, []
    alone.play(40 * 60, step=3, silent=("binance-spot", "coinbase"))
    market.outputs.clear()
    alone.outputs.clear()
    for halved in (market, alone):
        silent = ("binance-spot", "coinbase") if halved is alone else ()
        halved.play(100, spot=97.0, spot_usd=1e5, silent=silent)
        halved.say(feed("binance-spot", Kind.PRICE, halved.now, False)) if not silent else None
        halved.play(30, spot=103.0, silent=silent, at=99.9)
    of_spot = {SHARE, DEPTH}
    assert {k: v for k, v in market.values.items() if k not in of_spot} == {
        k: v for k, v in alone.values.items() if k not in of_spot
    }
    assert known(market.engine)["price_2m_pct"].price == 99.9
    instruments = {v.instrument for v in market.engine.standing().values if v.instrument}
    assert instruments == {"binance/BTCUSDT", "bybit/BTCUSDT"}
    assert {o.rule for o in market.outputs if not isinstance(o, Notice)} <= {"spot_depth"}


@mark.parametrize("seed", range(6))
def test_a_restart_anywhere_changes_nothing(seed) -> None:
    dice = Random(seed)
    market, restarted = Market(), Market()
    for played in (market, restarted):
        played.play(35 * 60, step=3)
        played.say(*volumes(played.now))
    for _ in range(8):
        lasts, usd, spot = dice.randint(1, 40), dice.choice((1e6, 2e6)), dice.choice((99.0, 100.0))
        silent = dice.choice(((), ("coinbase",)))
        for played in (market, restarted):
            played.play(lasts, spot=spot, spot_usd=usd, silent=silent)
        engine = Engine(RULES, VENUES)
        assert engine.load(restarted.engine.dump()) == ""
        assert engine.dump() == restarted.engine.dump()
        restarted.engine = engine
        assert restarted.outputs == market.outputs
        assert restarted.values == market.values
    assert market.values[SHARE] == approx(20.0)


def test_a_spot_market_of_another_coin_is_left_out_and_told() -> None:
    market = Market()
    market.play(40 * 60, step=3, spot=3.0)
    assert market.values[DEPTH] is None
    faults = [(n.venue, n.up) for n in market.notices if n.fault is FaultCode.TICKER_SHARED]
    assert sorted(faults) == [("binance-spot", False), ("coinbase", False)]
    market.play(40 * 60, step=3)
    assert market.values[DEPTH] == 100
    turns = [n.up for n in market.notices if n.fault is FaultCode.TICKER_SHARED]
    assert sorted(turns) == [False, False, True, True]


def test_a_spot_market_that_lags_a_crash_by_a_quarter_is_still_the_coin() -> None:
    market = warm()
    market.play(90, spot=100.0, at=75.0)
    assert market.values[DEPTH] == 100
    assert not [n for n in market.notices if n.fault is FaultCode.TICKER_SHARED]


def test_a_spot_market_that_is_not_listed_any_more_is_not_missing() -> None:
    market = warm()
    gone = msgspec.structs.replace(last("coinbase", market.now, 100.0), symbol="BTC/OLD")
    market.say(gone)
    view = market.engine._watchlist.memory.views["BTC"]
    assert len(view.spot.ordered) == 3
    unlisted = {("coinbase", "BTC/OLD")}
    market.play(90)
    market.engine._watchlist.memory.leave_out_gone(unlisted, market.now)
    assert "BTC/OLD" not in [m.symbol for m in view.spot]
    assert "BTC/OLD" in [m.symbol for m in view.spot.everyone]
