"""Faults: told once, grouped, told again when they are over; across restarts too."""

from collections.abc import Sequence

from rules.alerts import Notice, decode, encode
from rules.engine import Engine
from streams.durations import SECOND
from streams.events import AnyEvent, Fault, FaultCode, Tick, fault
from tests.rules.facts import START
from tests.rules.mix import rule

MISSING, BACK = FaultCode.CONTRACT_MISSING, FaultCode.CLOCK_SET_BACK


def fresh() -> Engine:
    return Engine([rule("oi_net_1h_pct", "below", (-3.0,), -1)])


def missing(symbol: str, seconds: int, over: bool = False, venue: str = "bybit") -> Fault:
    seen = START + seconds * SECOND
    return fault(MISSING, seen, venue=venue, subject=symbol, over=over, detail="not in the listing")


def tick(seconds: int) -> Tick:
    return Tick(seen=START + seconds * SECOND)


def notices_of(engine: Engine, *events: AnyEvent) -> list[Notice]:
    outputs = [output for event in events for output in engine.feed(event)]
    assert all(isinstance(output, Notice) for output in outputs)
    return [output for output in outputs if isinstance(output, Notice)]


def brief(notices: Sequence[Notice]) -> list[tuple[str, tuple[str, ...], bool, int]]:
    return [(n.venue, n.subjects, n.up, (n.seen - n.since) // SECOND) for n in notices]


def test_what_comes_together_is_told_once_and_once_more_when_it_is_over():
    engine = fresh()
    down = [missing("BTCUSDT", 0), missing("ETHUSDT", 0), missing("BTC", 0, venue="hyperliquid")]
    (first, second) = notices_of(engine, *down, tick(1))
    assert brief([first, second]) == [
        ("bybit", ("BTCUSDT", "ETHUSDT"), False, 1),
        ("hyperliquid", ("BTC",), False, 1),
    ]
    assert first.fault is MISSING and first.reason == "not in the listing" and first.kinds == ()
    assert decode(encode(first)) == first
    assert notices_of(engine, *down, tick(2), *down, tick(3)) == []
    over = notices_of(engine, missing("ETHUSDT", 20, over=True), tick(21), tick(22))
    assert brief(over) == [("bybit", ("ETHUSDT",), True, 21)]
    assert over[0].id != first.id
    assert brief(notices_of(engine, missing("ETHUSDT", 30), tick(31))) == [
        ("bybit", ("ETHUSDT",), False, 1)
    ]


def test_the_end_of_what_was_never_told_is_no_news():
    engine = fresh()
    never = [missing("SOLUSDT", 0, over=True), tick(1)]
    brief_one = [missing("SOLUSDT", 1), missing("SOLUSDT", 1, over=True), tick(2)]
    assert notices_of(engine, *never, *brief_one) == []


def test_a_clock_that_goes_back_twice_is_told_twice():
    engine = fresh()
    first = [fault(BACK, START, detail="by 3 h"), tick(1)]
    second = [fault(BACK, START + SECOND, detail="by 2 min"), tick(2)]
    assert [n.reason for n in notices_of(engine, *first, *second)] == ["by 3 h", "by 2 min"]


def test_a_restart_repeats_nothing_and_forgets_nothing():
    engine = fresh()
    notices_of(engine, missing("BTCUSDT", 0), tick(1))
    notices_of(engine, missing("ETHUSDT", 1))
    again = fresh()
    again.load(engine.dump())
    assert brief(notices_of(again, missing("BTCUSDT", 2), tick(2))) == [
        ("bybit", ("ETHUSDT",), False, 1)
    ]
    assert brief(notices_of(again, missing("BTCUSDT", 3, over=True), tick(3))) == [
        ("bybit", ("BTCUSDT",), True, 3)
    ]


def test_a_venue_that_names_ever_new_contracts_does_not_fill_the_memory():
    engine = fresh()
    notices_of(engine, *(missing(f"X{n}", 0) for n in range(5_000)), tick(1))
    size = len(engine.dump())
    notices_of(engine, *(missing(f"X{n}", 2) for n in range(5_000, 20_000)), tick(3))
    assert len(engine.dump()) < size + 5_000
