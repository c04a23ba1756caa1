"""A price where the index stands still, lies or is no more, and the mark goes on."""

import msgspec
import pytest

from rules.alerts import Level
from rules.basis import Basis
from rules.engine import Engine
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import AnyEvent, Tick
from tests.rules.facts import START, price
from tests.rules.scenes import quick_rule, run

FALL = quick_rule("price_15m_pct", "below", -1, alert=-4, critical=-8)
RISE = quick_rule("price_15m_pct", "above", 1, alert=4, critical=8)


def prices_after(
    *rows: tuple[float | None, float | None], every: int = SECOND
) -> list[float | None]:
    """The price after each row of mark and index, behind a minute in which the mark was 1 % below
    the index."""
    basis, now = Basis(), START
    for n in range(60):
        now += SECOND
        basis.price(99 + n % 3 / 100, 100 + n % 3 / 100, now)
    prices: list[float | None] = []
    for mark, index in rows:
        now += every
        prices.append(basis.price(mark, index, now))
    return prices


def near(*prices: float) -> object:
    return pytest.approx(prices, rel=0.001)


def test_where_the_index_fails_the_mark_goes_on_as_far_from_it_as_usual():
    assert prices_after((99, None), (49.5, None), (49.5, 0.0), (49.5, 50)) == near(100, 50, 50, 50)
    assert prices_after((None, 100), (None, None), (99, 101))[::2] == near(100, 101)
    assert prices_after((None, None), (None, 0.0)) == [None, None]


@pytest.mark.parametrize("wrong", [70, 85, 96, 104, 115, 140])
def test_what_the_index_said_last_is_not_what_is_usual(wrong: float):
    assert prices_after((99, wrong), (99, None), (99, None)) == near(wrong, 100, 100)
    assert prices_after((99, wrong), (99, wrong + 1), (99, None), every=2 * SECOND)[-1:] == near(
        100
    )


def test_a_mark_that_was_far_from_its_index_is_not_what_is_usual():
    """However long: as an index that follows ten seconds late."""
    late = [(90.0 - n, 99.0 - n) for n in range(60)]
    assert prices_after(*late, (30, None))[-2:] == near(40, 30 / 0.99)


def test_an_index_that_stands_still_while_the_mark_leaves_it_is_not_believed():
    still = prices_after(*((99 - n, 100.5) for n in range(30)))
    assert still[:5] == near(*[100.5] * 5)
    assert still[6:] == near(*((99 - n) / 0.99 for n in range(6, 30)))
    creeping = prices_after(*((99 * (1 - n / 1000), 100.5) for n in range(300)))
    assert all(abs(shown / (100 * (1 - n / 1000)) - 1) < 0.0075
               for n, shown in enumerate(creeping) if shown and n > 6)  # fmt: skip


def test_an_index_that_is_told_when_it_changes_is_believed_while_the_mark_stays_near():
    assert prices_after(*((99.2, 100.5) for _ in range(60))) == near(*[100.5] * 60)


def test_a_contract_whose_mark_was_always_elsewhere_is_not_moved_by_a_quiet_index():
    """As soon after a start, and of a thin coin: nothing is known of the distance yet."""
    basis = Basis()
    prices = [basis.price(96, 100, START + n * 10 * SECOND) for n in range(9)]
    assert prices == near(*[100] * 9)


def test_it_outlives_a_restart_and_a_clock_that_was_set_back():
    basis = Basis()
    for n in range(20):
        basis.price(99, 100 + n / 1000, START + n * SECOND)
    resumed = msgspec.msgpack.decode(msgspec.msgpack.encode(basis), type=Basis)
    assert resumed == basis
    resumed.set_back(START - HOUR)
    assert resumed.price(98, 101, START - HOUR + SECOND) == 101
    assert resumed.price(49.5, 101, START - HOUR + MINUTE) == pytest.approx(50, rel=0.001)


def history(mark_of, index_of, minutes: int = 25) -> list[AnyEvent]:
    """Of the only venue: an hour of calm, then as the seconds from there on have it."""
    events: list[AnyEvent] = []
    for second in range(-3_600, minutes * 60):
        seen = START + HOUR + second * SECOND
        calm = 90_000 + second % 7
        mark, index = (calm, calm + 1) if second < 0 else (mark_of(second), index_of(second))
        events += [price("okx", seen, index, mark), Tick(seen=seen)]
    return events


def falling(second: int) -> float:
    return max(63_000, 90_000 - 900 * second)


@pytest.mark.parametrize(
    "index_of",
    [
        pytest.param(lambda s: 90_000.0 if s < 58 else None, id="still for a minute, then none"),
        pytest.param(lambda s: 90_000.0, id="still for good"),
        pytest.param(lambda s: 90_000.0 if s < 8 else None, id="still for 8 s, then none"),
        pytest.param(lambda s: falling(max(0, s - 10)) if s < 22 else None, id="late, then none"),
        pytest.param(lambda s: None, id="none"),
    ],
)
def test_a_fall_is_told_whatever_becomes_of_the_index(index_of):
    alerts = run(Engine([FALL, RISE], ["okx"]), history(falling, index_of))
    critical = next(alert for alert in alerts if alert.level is Level.CRITICAL)
    assert critical.seen <= START + HOUR + 30 * SECOND
    worst = min(alert.extreme for alert in alerts)
    assert worst == pytest.approx(-30, abs=2) or alerts[-1].value < -8
    assert {alert.family for alert in alerts} == {FALL.family}


@pytest.mark.parametrize("wrong", [76_500.0, 86_000.0, 94_000.0, 103_500.0])
def test_a_wrong_index_before_it_fails_rings_nothing(wrong: float):
    def index_of(second: int) -> float | None:
        if second < 300:
            return wrong if second == 0 else None
        return 90_001.0

    events = history(lambda second: 90_000.0 + second % 5, index_of)
    assert run(Engine([FALL, RISE], ["okx"]), events) == []
