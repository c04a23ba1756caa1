"""The clock of a role: time never runs backwards by a little, and a large step back is noticed."""

import random
from itertools import pairwise

from pytest import mark

from streams.clock import SLEW_MOST, STEP, ClockStep, WallClock

S = 1_000_000_000
HOUR = 3_600 * S
START = 1_790_000_000 * S


class Machine:
    """A machine whose time of day can be set, and a clock on it."""

    def __init__(self) -> None:
        self.wall, self.steady = START, 500 * S
        self.clock = WallClock(lambda: self.wall, lambda: self.steady)

    def pass_by(self, ns: int, rate: float = 1.0) -> int:
        """Time passes; what the clock says then, in ms since the start."""
        self.steady += ns
        self.wall += round(ns * rate)
        return self.clock.seen() - START // 1_000_000

    def run(self, seconds: float, every: int = S // 10, rate: float = 1.0) -> list[int]:
        return [self.pass_by(every, rate) for _ in range(round(seconds * S / every))]


def rises(times: list[int]) -> bool:
    return all(a <= b for a, b in pairwise(times))


@mark.parametrize("back_s", [4, 10, 59])
def test_a_small_step_back_is_made_up_for_at_half_speed(back_s: int) -> None:
    machine = Machine()
    before = machine.run(5)
    machine.wall -= back_s * S
    after = machine.run(3 * back_s)
    assert rises(before + after)
    assert after[-1] == 5_000 + (3 - 1) * back_s * 1_000
    half = after[round(10 * back_s) - 1]
    assert half == 5_000 + back_s * 500
    assert machine.clock.steps() == [ClockStep(back_s * 1_000, slewed=True)]
    assert machine.clock.steps() == []


@mark.parametrize("back_s", [61, 3 * 3_600, 8 * 3_600, 86_400 * 400])
def test_a_large_step_back_is_followed_at_once(back_s: int) -> None:
    machine = Machine()
    machine.run(5)
    machine.wall -= back_s * S
    assert machine.pass_by(S) == 6_000 - back_s * 1_000
    assert machine.clock.steps() == [ClockStep(back_s * 1_000, slewed=False)]


def test_small_steps_add_up_to_a_large_one() -> None:
    machine = Machine()
    for _ in range(3):
        machine.wall -= 25 * S
        last = machine.pass_by(S // 10)
    assert machine.clock.steps() == [
        ClockStep(25_000, slewed=True),
        ClockStep(25_000, slewed=True),
        ClockStep(25_000, slewed=False),
    ]  # fmt: skip
    assert last == 300 - 75_000


@mark.parametrize("ahead_s", [1, 3_600, 8 * 3_600])
def test_forwards_is_followed_at_once_and_no_step(ahead_s: int) -> None:
    """A machine that slept: the steady clock stood still, the time of day went on."""
    machine = Machine()
    machine.run(1)
    machine.wall += ahead_s * S
    assert machine.pass_by(S) == 2_000 + ahead_s * 1_000
    assert machine.clock.steps() == []


def test_eight_hours_ahead_for_15_s_and_back() -> None:
    machine = Machine()
    machine.wall += 8 * HOUR
    machine.run(15)
    machine.wall -= 8 * HOUR
    assert machine.pass_by(S) == 16_000
    assert machine.clock.steps() == [ClockStep(8 * 3_600_000, slewed=False)]


@mark.parametrize("rate", [1 - 500e-6, 1 + 500e-6, 1.0])
@mark.parametrize("every", [1_000, S // 10, 60 * S])
def test_what_ntp_does_all_the_time_is_followed_and_no_step(rate: float, every: int) -> None:
    machine = Machine()
    times = [machine.pass_by(every, rate) for _ in range(1_000)]
    assert rises(times)
    assert times[-1] == (machine.wall - START) // 1_000_000
    assert machine.clock.steps() == []


def test_a_step_below_what_is_news_is_made_up_for_without_a_word() -> None:
    machine = Machine()
    machine.run(1)
    machine.wall -= (STEP - 100) * 1_000_000
    assert rises(machine.run(10))
    assert machine.clock.steps() == []


def test_who_begins_again_goes_on_where_another_was() -> None:
    machine = Machine()
    machine.clock.not_before(START // 1_000_000 + 30_000)
    assert machine.pass_by(S) == 30_500
    assert machine.run(60)[-1] == 61_000
    machine = Machine()
    machine.clock.not_before(START // 1_000_000 + SLEW_MOST + 1_000)
    assert machine.pass_by(S) == 1_000


def test_whatever_happens_it_never_runs_backwards_but_in_a_noticed_step() -> None:
    dice, machine, last = random.Random(7), Machine(), 0
    for _ in range(20_000):
        if dice.random() < 0.01:
            machine.wall += round(dice.choice([-1, 1]) * 10 ** dice.uniform(6, 13.5))
        at = machine.pass_by(round(10 ** dice.uniform(3, 10)))
        noticed = machine.clock.steps()
        if at < last:
            assert [step.slewed for step in noticed][-1:] == [False]
        assert at >= (machine.wall - START) // 1_000_000
        assert at - (machine.wall - START) // 1_000_000 <= SLEW_MOST
        last = at
