"""Our clock against the venues': more than 2 s apart is told, and when it is over."""

from pytest import mark

from streams.bus.skew import ClockError, Skew, late_before, stepped_since
from streams.durations import SECOND
from streams.events import ClockStep, Fault, FaultCode, Kind, Ms, Price, Tick
from tests.rules.facts import START, feed, oi, price, settled

SET_IT = "set it, by NTP for example: timedatectl set-ntp true"


def run(skew: Skew, since: int, seconds: int, **late: Ms) -> list[Fault]:
    """Seconds of prices from venues, each so many ms late by our clock, the slowest by 5 s more."""
    faults: list[Fault] = []
    for n in range(since, since + seconds):
        now = START + n * SECOND
        for venue, ms in late.items():
            for way in (0, 5_000):
                event = price(venue, now, 100.0)
                skew.take(type(event)(**{**_fields(event), "at": now - ms - way}))
        faults += skew.look(now)
    return faults


def _fields(event):
    return {name: getattr(event, name) for name in event.__struct_fields__}


@mark.parametrize(
    ("late", "words"),
    [
        (-60_000, f"60 s behind the exchanges'; {SET_IT}"),
        (-3_000, f"3 s behind the exchanges'; {SET_IT}"),
        (
            8 * 3_600_000,
            f"8 h ahead of the exchanges', unless everything arrives so late; {SET_IT}",
        ),
    ],
)
def test_a_clock_that_is_wrong_is_told_once_and_once_when_it_is_right(late: Ms, words: str) -> None:
    skew = Skew()
    faults = run(skew, 0, 60, binance=late + 80, bybit=late + 150, hyperliquid=late + 300)
    assert [(f.code, f.over, f.detail) for f in faults] == [(FaultCode.CLOCK_SKEWED, False, words)]
    assert faults[0].seen <= START + 31 * SECOND
    over = run(skew, 60, 60, binance=80, bybit=150, hyperliquid=300)
    assert [(f.code, f.over) for f in over] == [(FaultCode.CLOCK_SKEWED, True)]


@mark.parametrize("late", [0, 50, 1_900, -1_900])
def test_a_clock_that_is_right_is_not_told(late: Ms) -> None:
    assert run(Skew(), 0, 120, binance=late + 1, bybit=late + 2) == []


OURS, VENUES = FaultCode.CLOCK_SKEWED, FaultCode.VENUE_CLOCK_SKEWED


@mark.parametrize(
    ("late", "expected"),
    [
        ({"bybit": -40_000}, [(VENUES, "bybit", "40 s ahead")]),
        ({"bybit": 7_000}, [
            (VENUES, "bybit", "7 s behind, unless everything from there arrives so late"),
        ]),
        ({"bybit": -3 * 3_600_000, "hyperliquid": -2_100}, [
            (OURS, "", f"2 s behind the exchanges'; {SET_IT}"),
            (VENUES, "binance", "2 s behind, unless everything from there arrives so late"),
            (VENUES, "bybit", "3 h ahead"),
        ]),
    ],
)  # fmt: skip
def test_where_the_others_agree_the_venue_is_wrong(late: dict[str, Ms], expected: list) -> None:
    faults = run(Skew(), 0, 120, **({"binance": 90, "hyperliquid": 300} | late))
    assert [(f.code, f.venue, f.detail) for f in faults] == expected


def test_of_two_that_differ_the_one_that_agrees_with_us_is_right() -> None:
    (fault,) = run(Skew(), 0, 120, binance=90, bybit=-40_000)
    assert (fault.code, fault.venue, fault.detail) == (VENUES, "bybit", "40 s ahead")


def test_where_all_differ_alike_we_are_wrong() -> None:
    (fault,) = run(Skew(), 0, 120, binance=-39_000, bybit=-40_000, hyperliquid=-39_500)
    assert (fault.code, fault.venue, fault.detail) == (
        OURS, "", f"40 s behind the exchanges'; {SET_IT}",
    )  # fmt: skip
    (fault,) = run(Skew(), 0, 120, bybit=-40_000)
    assert fault.detail == (
        "40 s behind that of bybit, the only one heard; set the one that is wrong"
    )


def test_a_venue_that_is_right_again_is_told() -> None:
    skew = Skew()
    run(skew, 0, 60, binance=90, bybit=-40_000)
    (fault,) = run(skew, 60, 60, binance=90, bybit=100)
    assert (fault.code, fault.venue, fault.over) == (VENUES, "bybit", True)


def test_after_a_step_of_ours_what_was_late_before_it_does_not_count() -> None:
    skew = Skew()
    run(skew, 0, 15, binance=-60_000, bybit=-60_000)
    skew.step(-60_000)
    assert run(skew, 60, 60, binance=80, bybit=90) == []


def test_how_wrong_our_clock_is_is_known_while_operators_are_told_so() -> None:
    skew = Skew()
    run(skew, 0, 12, binance=-60_000, bybit=-59_990)
    assert skew.error is None
    run(skew, 12, 20, binance=-60_000, bybit=-59_990)
    assert skew.error == ClockError(ahead=-59_990, venues=["binance", "bybit"])
    skew.step(-3_600_000)  # set still further back
    assert skew.error is not None and skew.error.ahead == -3_659_990
    skew.step(3_659_990)  # set right, though nobody has measured it yet
    assert skew.error is None
    run(skew, 40, 60, binance=10, bybit=80)
    skew.step(-600_000)
    assert skew.error is None


def test_a_venue_that_is_wrong_makes_ours_no_wrong_clock() -> None:
    skew = Skew()
    run(skew, 0, 60, binance=90, bybit=-40_000, hyperliquid=100)
    assert skew.error is None


def test_by_how_much_our_clock_stepped_is_what_all_venues_are_late_by_now() -> None:
    before = late_before(
        [
            *(_late("bybit", 9_000, n) for n in range(5)),
            ClockStep(seen=START, by=-9_000),
            *(_late("bybit", 90 + n, n) for n in range(5)),
            *(_late("binance", 40, n) for n in range(5)),
        ]
    )
    assert before == {"bybit": 90, "binance": 40}
    now = {"bybit": 140 - 3 * 3_600_000, "binance": 30 - 3 * 3_600_000, "okx": 5}
    assert stepped_since(before, now) in (50 - 3 * 3_600_000, -10 - 3 * 3_600_000)
    assert stepped_since(before, {"okx": 5}) is None


def _late(venue: str, late: Ms, n: int) -> Price:
    event = price(venue, START + n * SECOND, 100.0)
    return Price(**{**_fields(event), "at": START + n * SECOND - late})


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
        assert skew.look(now) == []


def test_what_is_said_again_says_nothing_of_clocks() -> None:
    """A quiet market, or a venue that is silent: only what was known is said again."""
    skew = Skew()
    assert run(skew, 0, 30, binance=80) == []
    for n in range(30, 120):
        now = START + n * SECOND
        event = price("binance", now, 1.0)
        skew.take(type(event)(**{**_fields(event), "at": START}))
        assert skew.look(now) == []


def test_one_time_from_the_far_future_is_not_believed_for_ever() -> None:
    skew = Skew()
    event = price("binance", START, 100.0)
    skew.take(type(event)(**{**_fields(event), "at": 10**15}))
    assert run(skew, 1, 90, binance=-60_000) != []


def test_it_goes_on_after_a_step_back() -> None:
    skew = Skew()
    run(skew, 10_000, 30, binance=80)
    assert run(skew, 0, 60, binance=-60_000) != []
