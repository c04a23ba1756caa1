"""What context sources say is remembered while it holds, and is no part of the market."""

import msgspec
import pytest

from rules.alerts import Notice
from rules.context import CONTEXT, ContextMemory, context_numbers
from rules.engine import Engine
from rules.snapshot import Standing
from streams.durations import DAY, HOUR, MINUTE
from streams.events import (
    ClockStep,
    ContextFact,
    ContextFacts,
    FaultCode,
    MarketCap,
    Ms,
    OwnSeries,
    RateOdds,
    Release,
    Stablecoin,
    Supply,
    Tick,
    decode,
    encode,
    fault,
)
from tests.rules.facts import START
from tests.rules.scenes import quick_rule

ODDS = RateOdds(meeting_at=START + 20 * DAY, cut=0.01, hold=0.8, hike=0.19)
RULES = [quick_rule("price_1h_pct", "below", -3, others=False, alert=-5)]


def facts_of(source: str, *facts: ContextFact, at: Ms = START, good_for: Ms = HOUR) -> ContextFacts:
    return ContextFacts(source=source, seen=at, good_for=good_for, facts=facts)


def standing(engine: Engine, at: Ms) -> Standing:
    engine.feed(Tick(seen=at))
    return engine.standing()


def sources(engine: Engine, at: Ms) -> list[str]:
    return [answer.source for answer in standing(engine, at).context]


EVERY_FACT: tuple[ContextFact, ...] = (
    ODDS,
    Supply(asset="BTC", rank=1, circulating=2e7, price=9e4, high=126_000.0, high_at=START - DAY),
    MarketCap(usd=3e12, change_24h_pct=-10.36),
    Stablecoin(asset="USDT", supply=1.8e11, price=1.0003),
    Release(at=START, currency="USD", title="CPI m/m", forecast="0.3%"),
    OwnSeries(
        name="IBIT", unit="M USD", first_at=START - 9 * DAY, at=START, value=-5.0, low=-523.2,
        low_at=START - 3 * DAY, high=8.0, high_at=START, sum_30d=-2334.0,
    ),
)  # fmt: skip


def test_every_fact_survives_the_stream():
    event = facts_of("x", *EVERY_FACT)
    assert decode(encode(event)) == event


def test_what_is_too_old_is_absent():
    engine = Engine(RULES)
    engine.feed(facts_of("kalshi", ODDS))
    engine.feed(facts_of("coingecko", MarketCap(usd=3e12), good_for=4 * HOUR))
    assert sources(engine, START + HOUR) == ["coingecko", "kalshi"]
    assert sources(engine, START + HOUR + 1) == ["coingecko"]
    assert sources(engine, START + 5 * HOUR) == []
    engine.feed(facts_of("kalshi", ODDS, at=START + 5 * HOUR))
    assert sources(engine, START + 5 * HOUR + MINUTE) == ["kalshi"]


def test_an_answer_takes_the_place_of_the_one_before():
    """A meeting that is over, an announcement that was moved: what is not said again is gone."""
    engine = Engine(RULES)
    cpi = Release(at=START + HOUR, currency="USD", title="CPI m/m")
    moved = Release(at=START + DAY, currency="USD", title="CPI m/m")
    engine.feed(facts_of("forexfactory", cpi, Release(at=START, currency="JPY", title="BOJ")))
    engine.feed(facts_of("forexfactory", moved, at=START + MINUTE))
    (answer,) = standing(engine, START + 2 * MINUTE).context
    assert (answer.facts, answer.seen) == ((moved,), START + MINUTE)


def test_a_restart_anywhere_changes_nothing():
    engine = Engine(RULES)
    engine.feed(facts_of("all", *EVERY_FACT))
    again = Engine(RULES)
    again.load(engine.dump())
    assert standing(again, START + MINUTE) == standing(engine, START + MINUTE)
    assert again.dump() == engine.dump()


def test_supplies_are_told_of_the_assets_that_are_named():
    engine = Engine(RULES)
    other = Supply(asset="ZZZ", rank=200, circulating=1.0, price=1.0)
    engine.feed(facts_of("list", *EVERY_FACT, other))
    (answer,) = standing(engine, START + MINUTE).context
    assert [fact.asset for fact in answer.facts if isinstance(fact, Supply)] == ["BTC"]


def test_after_a_step_of_the_clock_an_age_is_an_age():
    engine = Engine(RULES)
    engine.feed(facts_of("kalshi", ODDS))
    engine.feed(Tick(seen=START + MINUTE))
    engine.feed(ClockStep(seen=START - 10 * HOUR, by=-10 * HOUR - MINUTE))
    back = START - 10 * HOUR
    (answer,) = standing(engine, back + MINUTE).context
    assert back + MINUTE - answer.seen == 2 * MINUTE
    assert sources(engine, back + HOUR) == []
    # set back by nobody knows how much: then the age is not known either
    lost = Engine(RULES)
    lost.feed(facts_of("kalshi", ODDS))
    assert sources(lost, START - DAY) == []


def test_numbers_for_the_metric_log():
    engine = Engine(RULES)
    engine.feed(facts_of("all", *EVERY_FACT))
    engine.feed(Tick(seen=START + MINUTE))
    observed = {o.asset: o.value for o in engine.observed() if o.metric == CONTEXT}
    assert observed == dict(context_numbers(engine.standing().context))
    assert observed["all.hold"] == 0.8
    assert observed["all.USDT.price"] == 1.0003
    assert observed["all.low"] == -523.2
    assert observed["all.BTC.high_day"] == START // DAY - 1
    assert not {o.asset for o in engine.observed() if o.metric != CONTEXT and "all" in o.asset}


def test_operators_hear_once_of_a_source_that_is_silent_and_once_of_its_end():
    engine = Engine(RULES)
    notices: list[Notice] = []
    for step in range(60):
        at = START + step * MINUTE
        down = fault(FaultCode.SOURCE_SILENT, at, venue="kalshi", detail="a page", over=step > 40)
        engine.feed(down)
        turns = engine.feed(Tick(seen=at))
        notices += [turn for turn in turns if isinstance(turn, Notice) and turn.fault]
    assert [(notice.up, notice.venue) for notice in notices] == [
        (False, "kalshi"),
        (True, "kalshi"),
    ]


def test_memory_is_dropped_with_the_last_answer():
    memory = ContextMemory()
    memory.take(facts_of("kalshi", ODDS), START)
    memory.take(facts_of("list", MarketCap(usd=1.0), good_for=9 * HOUR), START)
    memory.forget(START + 2 * HOUR)
    assert [*memory.answers] == ["list"]
    assert msgspec.msgpack.encode(ContextMemory()) == msgspec.msgpack.encode(ContextMemory({}))
    with pytest.raises(msgspec.MsgspecError):
        decode(
            b'{"type":"context","source":"x","seen":1,"good_for":1,"facts":[["rate_odds",1,"NaN",0,0]]}'
        )
