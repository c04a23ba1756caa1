"""The regime of an asset and of the market, as events make it, through a crash and what follows."""

from functools import cache

import pytest
from pytest import approx

from rules.alerts import ALL, Regime, RegimeCondition, RegimeFacts, Turn
from rules.engine import Engine
from rules.metrics import metric
from rules.metrics.regime import STATES, conditions, of_asset
from rules.regime import Conditions
from streams.durations import DAY, HOUR, MINUTE, SECOND
from streams.events import (
    Band,
    ClockStep,
    Depth,
    FundingHistory,
    Kind,
    PastRate,
    Position,
    Tick,
)
from tests.rules.facts import START, feed, liquidation, oi, price, settled
from tests.rules.scenes import VENUES, named, of_market, quick_rule, run

STEP = 20 * SECOND
RULES = [
    *(named(f"regime:{state}", quick_rule(f"regime_{state}", "above", 0.4, watch=0.5),
            family="regime", clear_for=0, cooldown=0, max_gap=MINUTE) for state in STATES),
    *(of_market(f"market:{state}",
                named("", quick_rule(f"regime_total_{state}", "above", 0.4, watch=0.5),
                      clear_for=0, cooldown=0, max_gap=MINUTE)) for state in STATES),
]  # fmt: skip


class Scene:
    """Two venues with one coin."""

    def __init__(self) -> None:
        self.engine = Engine(RULES, VENUES)
        self.now = START
        self.price, self.coins, self.depth_usd, self.rate = 100.0, 10_000_000.0, 20e6, 0.0001
        self.covered = True
        self.venues = ["binance", "bybit"]
        """Those that speak."""
        self.longs = 0.0
        """Liquidated in each step at each venue, USD."""
        self.stepped = 0
        """By how much the clock of the machine is ahead of its first one."""
        self.restarts = False

    def play(self, length):
        """The transitions in so much time in which nothing else changes."""
        alerts = []
        for _ in range(length // STEP):
            alerts += self.step()
        return [(alert.rule, str(alert.turn)) for alert in alerts]

    def wait(self, length):
        """So much time in which nothing changes, with as few events as evidence needs."""
        alerts = []
        for _ in range(length // (2 * MINUTE)):
            alerts += self.step(MINUTE + 40 * SECOND, depth_alone=True)
            for _ in range(2):
                alerts += self.step(6 * SECOND, depth_alone=True)
            alerts += self.step(8 * SECOND)
        return alerts

    def step(self, after=STEP, *, depth_alone=False):
        self.now += after
        now, events = self.now + self.stepped, []
        for venue in self.venues:
            events.append(self._depth(venue, now))
            if depth_alone:
                continue
            events += [
                price(venue, now, self.price),
                oi(venue, now, self.coins, self.coins * self.price),
            ]
            if (self.now - START) % HOUR < after:
                events.append(settled(venue, now // HOUR * HOUR, self.rate, hours=1, seen=now))
            if self.longs:
                events.append(liquidation(venue, now, self.longs, Position.LONG, self.price))
        alerts = run(self.engine, [*events, Tick(seen=now)])
        if self.restarts:
            dumped, again = self.engine.dump(), Engine(RULES, VENUES)
            assert again.load(dumped) == "" and again.dump() == dumped
            self.engine = again
        return alerts

    def _depth(self, venue, now):
        half = self.depth_usd / 2
        bands = (Band(10, half / 2, half / 2, self.covered), Band(25, half, half, self.covered))
        return Depth(venue=venue, symbol="BTCUSDT", asset="BTC", at=now - 20, seen=now,
                     mid=self.price, spread_bp=0.4, bands=bands)  # fmt: skip

    def facts(self, asset="BTC"):
        facts = [v.facts for v in self.engine.standing().values if v.asset == asset]
        return next(each for each in facts if isinstance(each, RegimeFacts))

    def regimes(self):
        return self.facts().regime, self.facts(ALL).regime

    def evidence(self, asset="BTC"):
        return {each.condition: each for each in self.facts(asset).evidence}

    def values(self, asset="BTC"):
        metrics = {f"regime_{'total_' if asset == ALL else ''}{state}": state for state in STATES}
        return {metrics[v.metric]: v.value for v in self.engine.standing().values
                if v.asset == asset and v.metric in metrics}  # fmt: skip


@cache
def _warm():
    """Five days and more in which nothing happens."""
    scene = Scene()
    for venue in scene.venues:
        for kind in Kind:
            run(scene.engine, [feed(venue, kind, scene.now, True)])
    assert scene.wait(6 * DAY) == [] == scene.play(HOUR + 5 * MINUTE)
    return scene.engine.dump(), scene.now


@pytest.fixture
def warm():
    scene, (dumped, now) = Scene(), _warm()
    assert scene.engine.load(dumped) == ""
    scene.now = now
    return scene


def crash(scene):
    """10 % in seconds, longs liquidated, positions closed, books thin."""
    opened = []
    scene.depth_usd *= 0.3
    for _ in range(5):
        scene.price *= 0.98
        scene.longs = 1e6
        opened += [(a.rule, str(a.turn)) for a in scene.step(2 * SECOND)]
    for _ in range(60):
        scene.coins *= 0.9955
        opened += [(a.rule, str(a.turn)) for a in scene.step(10 * SECOND)]
    scene.longs = 0.0
    return opened


def test_in_calm_all_evidence_is_known_and_no_condition_is_met(warm):
    for asset in ("BTC", ALL):
        facts = warm.facts(asset)
        assert facts.regime is Regime.CALM and facts.before is None
        assert START <= facts.since <= warm.now
        evidence = warm.evidence(asset)
        good = {RegimeCondition.REPAIRED, RegimeCondition.POSITIVE}
        assert {c: each.met for c, each in evidence.items()} == {
            condition: condition in good for condition in RegimeCondition
        }
        assert warm.values(asset) == dict.fromkeys(STATES, 0.0)
        assert evidence[RegimeCondition.THIN].value == approx(100, rel=0.01)
    assert warm.evidence()[RegimeCondition.POSITIVE].value >= 6 * 24 - 2


@pytest.mark.parametrize("restarts", [False, True])
def test_through_a_crash_and_what_follows(warm, restarts):
    warm.restarts = restarts
    begun = warm.now
    assert sorted(crash(warm)) == [("market:cascade", "open"), ("regime:cascade", "open")]
    assert warm.regimes() == (Regime.CASCADE, Regime.CASCADE)
    assert 0 < warm.facts().since - begun <= MINUTE
    longs = warm.evidence()[RegimeCondition.LONGS_CLOSED]
    # 65 steps of a million at each of two venues
    assert longs.value == approx(100 * 2 * 65e6 / (2 * warm.coins * warm.price))
    warm.rate, warm.restarts = -0.0002, False
    # what fell an hour ago is no sign any more, and half an hour later it is over
    assert warm.play(HOUR) == []
    if restarts:
        warm.restarts = True
        assert warm.play(2 * MINUTE) == []
        warm.restarts = False
    turns = warm.play(HOUR)
    assert sorted(turns) == [
        ("market:cascade", "close"), ("market:reset", "open"),
        ("regime:cascade", "close"), ("regime:reset", "open"),
    ]  # fmt: skip
    assert warm.evidence()[RegimeCondition.REDUCED].value == approx(
        100 * (0.9955**60 - 1), rel=0.01
    )
    assert warm.evidence()[RegimeCondition.POSITIVE].value < 0
    # books come back, but funding stays negative
    warm.depth_usd = 19e6
    assert warm.play(6 * HOUR) == []
    warm.rate = 0.0001
    turns = warm.play(5 * HOUR)
    assert sorted(turns) == [
        ("market:repair", "open"), ("market:reset", "close"),
        ("regime:repair", "open"), ("regime:reset", "close"),
    ]  # fmt: skip
    assert warm.facts().before is Regime.RESET
    assert warm.play(23 * HOUR - 2 * MINUTE)[:1] in ([], [("market:repair", "close")])
    warm.play(5 * HOUR)
    assert warm.regimes() == (Regime.CALM, Regime.CALM)
    assert warm.play(5 * HOUR) == []  # open interest is as low as before, and that is no new reset


def silent(scene):
    """Both venues are gone."""
    scene.venues = []
    run(scene.engine, [feed(venue, kind, scene.now, False)
                       for venue in ("binance", "bybit") for kind in Kind])  # fmt: skip


def test_venues_that_fall_silent_are_neither_thin_nor_an_end(warm):
    silent(warm)
    assert warm.play(3 * HOUR) == []
    assert {*warm.values().values(), *warm.values(ALL).values()} == {None}
    warm.venues = ["binance", "bybit"]
    assert warm.play(2 * HOUR) == [] and warm.regimes() == (Regime.CALM, Regime.CALM)
    crash(warm)
    silent(warm)
    assert warm.play(6 * HOUR) == []
    warm.venues = ["binance", "bybit"]
    assert warm.play(20 * MINUTE) == [] and warm.regimes() == (Regime.CASCADE, Regime.CASCADE)


def test_one_venue_that_falls_silent_in_a_crash_does_not_hide_it(warm):
    run(warm.engine, [feed("bybit", kind, warm.now, False) for kind in Kind])
    warm.venues = ["binance"]
    assert ("regime:cascade", "open") in crash(warm)


def test_a_sign_alone_is_no_cascade(warm):
    warm.price *= 0.9
    assert warm.play(30 * MINUTE) == []
    evidence = warm.evidence()
    assert [c for c, each in evidence.items() if each.met and c in list(RegimeCondition)[:3]] == [
        RegimeCondition.PRICE_FALLS
    ]


def test_books_that_do_not_reach_the_band_are_not_available_and_push_nothing(warm):
    warm.covered = False
    warm.play(5 * MINUTE)
    for asset in ("BTC", ALL):
        thin = warm.evidence(asset)[RegimeCondition.THIN]
        assert (thin.value, thin.met) == (None, None)
    assert warm.play(3 * HOUR) == []


def test_depth_that_stays_low_is_thin_and_ends_only_well_above(warm):
    warm.depth_usd = 10e6
    turns = warm.play(35 * MINUTE)
    assert sorted(turns) == [("market:thin", "open"), ("regime:thin", "open")]
    warm.depth_usd = 14e6  # 70 %
    assert warm.play(2 * HOUR) == []
    warm.depth_usd = 17e6
    turns = warm.play(35 * MINUTE)
    assert sorted(turns) == [("market:thin", "close"), ("regime:thin", "close")]


@pytest.mark.parametrize("by", [2 * HOUR, -2 * HOUR])
def test_a_clock_that_jumps_in_a_crash_is_no_time_that_passed(warm, by):
    crash(warm)
    run(warm.engine, [ClockStep(seen=warm.now + by, by=by)])
    warm.stepped = by
    assert warm.play(HOUR) == [] and warm.regimes() == (Regime.CASCADE, Regime.CASCADE)
    assert ("regime:reset", "open") in warm.play(HOUR)


def test_a_clock_that_is_set_back_by_nobody_knows_how_much_keeps_the_regime(warm):
    crash(warm)
    run(warm.engine, [Tick(seen=warm.now - 3 * DAY)])
    warm.stepped = -3 * DAY
    warm.play(10 * MINUTE)
    assert warm.regimes()[0] is Regime.CASCADE
    assert warm.facts().since <= warm.now - 3 * DAY


def test_transitions_of_one_moment_are_told_in_one_moment(warm):
    crash(warm)
    alerts = []
    for _ in range(3 * HOUR // STEP):
        alerts += [alert for alert in warm.step() if alert.asset == "BTC"]
    close, opened = alerts
    assert (close.turn, opened.turn) == (Turn.CLOSE, Turn.OPEN)
    assert close.seen == opened.seen and close.facts.regime is opened.facts.regime is Regime.RESET
    assert 0 < opened.seen - opened.facts.since <= MINUTE


def test_a_lower_bound_proves_what_it_exceeds_and_nothing_else():
    assert metric("regime_thin").evidence is of_asset
    assert metric("regime_total_thin").scopes == {"market"}
    with pytest.raises(ValueError, match="<state> one of thin, cascade, reset, repair"):
        metric("regime_calm")


def test_unknown_evidence_comes_to_unknown_conditions(warm):
    known = warm.facts().evidence
    assert None not in conditions(known)
    unknown = [type(each)(condition=each.condition, value=None, threshold=0.0, met=None)
               for each in known]  # fmt: skip
    assert conditions(unknown) == Conditions()


def test_settlements_that_are_told_later_are_counted():
    scene = Scene()
    scene.rate = -0.0002
    scene.play(3 * HOUR)
    assert -4 <= scene.evidence()[RegimeCondition.POSITIVE].value <= -2
    for venue in scene.venues:
        rows = tuple(PastRate(START - h * HOUR, 0.0001 if h > 9 else -0.0001, 1.0)
                     for h in range(30, -1, -1))  # fmt: skip
        run(scene.engine, [FundingHistory(venue=venue, symbol="BTCUSDT", asset="BTC", at=START,
                                          seen=scene.now, rows=rows)])  # fmt: skip
    scene.play(HOUR)
    # ten that were told, from START - 9 h to START, and one each hour since
    assert scene.evidence()[RegimeCondition.POSITIVE].value == -10 - (scene.now - START) // HOUR
