"""The worst of a cascade is told: minute by minute through a crash, with the shipped rules."""

from collections.abc import Iterator
from functools import cache
from itertools import chain

import msgspec
import pytest

from bot.config import load
from bot.delivery.rendering import Present, with_present
from bot.lang import ENGLISH
from bot.messages.render import first_line
from bot.messages.thread import delivery_message
from bot.plan.planner import Delivery
from bot.replay import messages
from rules.alerts import Alert, CascadeFacts, Level, Turn
from rules.engine import Engine
from streams.events import AnyEvent, Tick
from tests.bot.scenarios.market import MINUTE, Coin, Market
from tests.bot.scenarios.test_rules import CONFIG, channel

CALM_MIN = 61.0
FALL_MIN = 8.0


class Crash(msgspec.Struct, frozen=True, kw_only=True):
    """A coin, and what it is when the cascade begins, two minutes later and four minutes later.

    Price and open interest in percent of what they were, depth in percent of normal, liquidations
    in million USD in all.
    """

    asset: str
    oi: float
    depth: float
    price: tuple[float, float, float]
    thin: tuple[float, float, float]
    closed: tuple[float, float, float]
    burst: tuple[float, float, float]


HYPE = Crash(
    asset="HYPE",
    oi=2_000.0,
    depth=20.0,
    price=(87.0, 70.0, 55.0),
    thin=(19.0, 11.0, 2.0),
    closed=(88.0, 80.0, 70.0),
    burst=(120.0, 215.0, 534.0),
)
BTC = Crash(
    asset="BTC",
    oi=9_000.0,
    depth=90.0,
    price=(93.0, 86.0, 80.0),
    thin=(34.0, 20.0, 4.0),
    closed=(93.0, 87.0, 78.0),
    burst=(150.0, 400.0, 1_300.0),
)
CRASHES = pytest.mark.parametrize("crash", [HYPE, BTC], ids=lambda crash: crash.asset)


class Played:
    """What the rules and the plan of posts made of a crash."""

    def __init__(self, crash: Crash) -> None:
        settings = load(CONFIG, {})
        venues = [venue.name for venue in settings.venues]
        self.engine = Engine(settings.rules, venues, settings.composites)
        self.crash = crash
        market = Market({crash.asset: Coin(oi=crash.oi, depth=crash.depth)})
        self.alerts: list[Alert] = []
        self.lines: list[tuple[int, str]] = []
        self.present: list[tuple[int, Present]] = []
        self._feed(chain(market.turn("binance", up=True), market.play(CALM_MIN)))
        self._fall(market, FALL_MIN, 0, 0.0)
        self.began = market.now
        self._fall(market, 2.0, 1, crash.burst[0])
        self._fall(market, 2.0, 2, crash.burst[1])
        self.peak = market.now
        still = {crash.asset: {"burst": 0.0}}
        self._feed(market.play(12.0, **still))
        self.deliveries = [
            message
            for message in messages(self.alerts, channel(settings))
            if isinstance(message, Delivery)
        ]

    def _fall(self, market: Market, minutes: float, stage: int, before: float) -> None:
        crash = self.crash
        coin = market.coins[crash.asset]
        coin.burst = (crash.burst[stage] - before) / minutes
        moves = {
            "price": crash.price[stage],
            "depth": crash.depth * crash.thin[stage] / 100,
            "oi": crash.oi * crash.closed[stage] / 100,
        }
        self._feed(market.play(minutes, **{crash.asset: moves}))

    def _feed(self, events: Iterator[AnyEvent]) -> None:
        for event in events:
            self.alerts += [
                output for output in self.engine.feed(event) if isinstance(output, Alert)
            ]
            if isinstance(event, Tick):
                episodes = self.engine.open_episodes().episodes
                self.present.append((event.seen, {a.episode: a for a in episodes}))
                for episode in episodes:
                    if episode.family == "cascade":
                        self.lines.append((event.seen, first_line(episode, ENGLISH)))

    def turns(self, *turns: Turn) -> list[Alert]:
        return [a for a in self.alerts if a.family == "cascade" and a.turn in turns]


@cache
def crashed(crash: Crash) -> Played:
    return Played(crash)


def extremes(alert: Alert) -> dict[str, float]:
    """Family → its worst value, as the cascade tells it."""
    assert isinstance(alert.facts, CascadeFacts)
    links = (*alert.facts.chain, *alert.facts.also)
    return {link.family: link.extreme for link in links}


@CRASHES
def test_it_gets_worse_with_its_parts(crash: Crash):
    played = crashed(crash)
    (opened,) = played.turns(Turn.OPEN)
    assert opened.seen < played.began + MINUTE
    first, last = extremes(opened), extremes(played.turns(Turn.WORSE)[-1])
    assert last["depth_thin"] < 1.5 * crash.thin[2]
    assert last["depth_thin"] < first.get("depth_thin", 100.0) / 3
    assert last["liq_burst"] > 2 * first["liq_burst"]
    # what is hidden and no condition of it is told as well
    assert last["price_drop"] < 1.5 * first.get("price_drop", -3.0)
    assert last["price_drop"] == pytest.approx(crash.price[2] - 100, abs=4)


@CRASHES
def test_the_peak_is_told_by_edit_within_a_minute_and_rings_once_more(crash: Crash):
    played = crashed(crash)
    after = next(line for at, line in played.lines if at >= played.peak + MINUTE)
    peak = played.turns(Turn.WORSE)[-1]
    assert f"price {crash.price[2] - 100:.1f}%".replace("-", "−") in after
    # what the post says a minute later, by its last edit, with what the rules have published
    last = [d for d in played.deliveries if d.at <= played.peak + MINUTE and not d.into][-1]
    now = next(present for at, present in played.present if at >= played.peak + MINUTE)
    (part,) = with_present([last], now)
    text = delivery_message(part, ENGLISH).plain
    assert f"price {crash.price[2] - 100:.1f}%".replace("-", "−") in text
    assert "deleveraging of longs" in text
    # it begins, it rises, and it is much worse: in a crash of four minutes no reader needs more
    rings = [d for d in played.deliveries if not d.silent]
    assert 2 <= len(rings) <= 3
    assert [d.turn for d in rings if d.turn is Turn.WORSE] == [rings[-1].turn]
    assert played.began < rings[-1].at <= peak.seen + 5 * MINUTE
    assert "much worse" in delivery_message(rings[-1], ENGLISH).plain


def test_the_first_line_of_a_cascade_tells_the_worst():
    line = crashed(HYPE).lines[-1][1]
    assert "depth 2% of normal" in line
    assert "price −45.0%" in line


def test_a_cascade_that_stays_as_bad_says_so_once():
    played = crashed(HYPE)
    quiet = [a for a in played.turns(Turn.WORSE) if a.seen > played.peak + 2 * MINUTE]
    assert quiet == []


@pytest.mark.parametrize("level", list(Level))
def test_what_a_cascade_hides_is_in_its_own_words(level: Level):
    """Every hidden turn is of a family that the cascade then tells of."""
    played = crashed(HYPE)
    hidden = [a for a in played.alerts if a.hidden_by == "cascade" and a.level is level]
    told_of = extremes(played.turns(Turn.OPEN, Turn.WORSE)[-1])
    assert {a.family for a in hidden} <= told_of.keys()
    if level is Level.CRITICAL:
        assert hidden
