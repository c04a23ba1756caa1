"""Our clock against the venues': more than 2 s apart is told, and when it is over."""

from pytest import mark

from streams.bus.skew import Skew
from streams.durations import SECOND
from streams.events import Fault, FaultCode, Kind, Ms, Tick
from tests.rules.facts import START, feed, oi, price, settled


def run(skew: Skew, since: int, seconds: int, **late: Ms) -> list[Fault]:
    """Seconds of prices from venues, each so many ms late by our clock, the slowest by 5 s more."""
    told: list[Fault] = []
    for n in range(since, since + seconds):
        now = START + n * SECOND
        for venue, ms in late.items():
            for way in (0, 5_000):
                event = price(venue, now, 100.0)
                skew.take(type(event)(**{**_fields(event), "at": now - ms - way}))
        if (fault := skew.look(now)) is not None:
            told.append(fault)
    return told


def _fields(event):
    return {name: getattr(event, name) for name in event.__struct_fields__}


@mark.parametrize(
    ("late", "words"),
    [
        (-60_000, "60 s behind the venues'"),
        (-3_000, "3 s behind the venues'"),
        (8 * 3_600_000, "28,800 s ahead of the venues', unless everything arrives so late"),
    ],
)
def test_a_clock_that_is_wrong_is_told_once_and_once_when_it_is_right(late: Ms, words: str) -> None:
    skew = Skew()
    told = run(skew, 0, 60, binance=late + 80, bybit=late + 150, hyperliquid=late + 300)
    assert [(f.code, f.over, f.detail) for f in told] == [(FaultCode.CLOCK_SKEWED, False, words)]
    assert told[0].seen <= START + 31 * SECOND
    over = run(skew, 60, 60, binance=80, bybit=150, hyperliquid=300)
    assert [(f.code, f.over) for f in over] == [(FaultCode.CLOCK_SKEWED, True)]


@mark.parametrize("late", [0, 50, 1_900, -1_900])
def test_a_clock_that_is_right_is_not_told(late: Ms) -> None:
    assert run(Skew(), 0, 120, binance=late + 1, bybit=late + 2) == []


def test_one_venue_may_be_wrong_alone() -> None:
    assert run(Skew(), 0, 120, binance=90, bybit=-40_000, hyperliquid=300) == []
    assert run(Skew(), 0, 120, binance=90, bybit=-40_000) == []
    assert run(Skew(), 0, 120, bybit=-40_000) != []


def test_ten_seconds_of_a_slow_line_are_not_told() -> None:
    skew = Skew()
    assert run(skew, 0, 10, binance=9_000, bybit=9_000) == []
    assert run(skew, 10, 60, binance=90, bybit=90) == []


def test_what_was_long_ago_says_nothing_of_clocks() -> None:
    skew = Skew()
    for n in range(60):
        now = START + n * SECOND
        skew.take(settled("binance", START - 3_600_000, 0.0001, seen=now))
        skew.take(oi("binance", now, 1.0))
        skew.take(feed("binance", Kind.PRICE, now, up=True))
        skew.take(Tick(seen=now))
        assert skew.look(now) is None


def test_what_is_said_again_says_nothing_of_clocks() -> None:
    """A quiet market, or a venue that is silent: only what was known is said again."""
    skew = Skew()
    assert run(skew, 0, 30, binance=80) == []
    for n in range(30, 120):
        now = START + n * SECOND
        event = price("binance", now, 1.0)
        skew.take(type(event)(**{**_fields(event), "at": START}))
        assert skew.look(now) is None


def test_one_time_from_the_far_future_is_not_believed_for_ever() -> None:
    skew = Skew()
    event = price("binance", START, 100.0)
    skew.take(type(event)(**{**_fields(event), "at": 10**15}))
    assert run(skew, 1, 90, binance=-60_000) != []


def test_it_goes_on_after_a_step_back() -> None:
    skew = Skew()
    run(skew, 10_000, 30, binance=80)
    assert run(skew, 0, 60, binance=-60_000) != []
