"""The clock of a role: time never runs backwards by a little, and larger steps are told."""

import random
from itertools import pairwise

from pytest import mark

from streams.clock import STEP, FollowingClock, WallClock

S = 1_000_000_000
HOUR = 3_600 * S
START = 1_790_000_000 * S


class Machine:
    """A machine whose time of day can be set, and a clock on it."""

    def __init__(self) -> None:
        self.wall, self.steady = START, 500 * S
        self.clock = WallClock(lambda: self.wall, lambda: self.steady)
        self.clock.on_step(lambda by, seen: self._steps.append((by, seen - START // 1_000_000)))
        self._steps: list[tuple[int, int]] = []
        self.drift = 0

    def steps(self) -> list[tuple[int, int]]:
        """By how much the clock said that it stepped, and to when, since this was last asked."""
        steps, self._steps = self._steps, []
        return steps

    def pass_by(self, ns: int, rate: float = 1.0) -> int:
        """Time passes; what the clock says then, in ms since the start."""
        self.steady += ns
        self.wall += round(ns * rate)
        return self.clock.seen() - START // 1_000_000

    def run(self, seconds: float, every: int = S // 10, rate: float = 1.0) -> list[int]:
        return [self.pass_by(every, rate) for _ in range(round(seconds * S / every))]


def rises(times: list[int]) -> bool:
    return all(a <= b for a, b in pairwise(times))


@mark.parametrize("back_ms", [20, 700, 2_900])
def test_a_small_step_back_is_made_up_for_at_half_speed(back_ms: int) -> None:
    machine = Machine()
    before = machine.run(5)
    machine.wall -= back_ms * 1_000_000
    after = machine.run(10)
    assert rises(before + after)
    assert after[-1] == 15_000 - back_ms
    assert machine.steps() == []


@mark.parametrize("by_s", [-4, -61, -3 * 3_600, -86_400 * 400, 4, 61, 8 * 3_600, 86_400 * 400])
def test_a_larger_step_is_told_before_any_time_of_after_it_is_given_out(by_s: int) -> None:
    machine = Machine()
    machine.run(5)
    machine.wall += by_s * S
    assert machine.pass_by(S) == 6_000 + by_s * 1_000
    assert machine.steps() == [(by_s * 1_000, 6_000 + by_s * 1_000)]
    machine.run(60)
    assert machine.steps() == []


def test_small_steps_that_add_up_are_told() -> None:
    machine = Machine()
    for _ in range(3):
        machine.wall -= 2 * S
        machine.pass_by(S // 10)
    # two of them, less what was made up for in between, and the third slowly
    assert machine.steps() == [(-3_950, 200 - 4_000)]
    assert machine.run(30)[-1] == 30_300 - 6_000


def test_a_machine_that_slept_has_a_steady_clock_that_did_not() -> None:
    """Where the steady clock counts sleep, a night is no step."""
    machine = Machine()
    machine.run(1)
    assert machine.pass_by(8 * HOUR) == 1_000 + 8 * 3_600_000
    assert machine.steps() == []


def test_eight_hours_ahead_for_15_s_and_back() -> None:
    machine = Machine()
    machine.wall += 8 * HOUR
    machine.run(15)
    machine.wall -= 8 * HOUR
    assert machine.pass_by(S) == 16_000
    assert [by for by, _ in machine.steps()] == [8 * 3_600_000, -8 * 3_600_000]


def test_the_line_is_the_same_until_the_clock_steps() -> None:
    machine = Machine()
    line = machine.clock.line()
    machine.run(100)
    assert machine.clock.line() == line
    machine.wall -= 3 * HOUR
    assert machine.clock.line() == line - 3 * 3_600_000


@mark.parametrize("rate", [1 - 500e-6, 1 + 500e-6, 1.0])
@mark.parametrize("every", [1_000, S // 10, 60 * S])
def test_what_ntp_does_all_the_time_is_followed_and_no_step(rate: float, every: int) -> None:
    machine = Machine()
    times = [machine.pass_by(every, rate) for _ in range(1_000)]
    assert rises(times)
    assert times[-1] == (machine.wall - START) // 1_000_000
    assert machine.steps() == []


def test_a_step_below_what_is_news_is_made_up_for_without_a_word() -> None:
    machine = Machine()
    machine.run(1)
    machine.wall -= (STEP - 100) * 1_000_000
    assert rises(machine.run(10))
    assert machine.steps() == []


def test_whatever_happens_the_steps_told_make_it_a_time_that_goes_on_evenly() -> None:
    """What is said less the steps told is the steady clock, but for what is made up for slowly."""
    dice, machine, off = random.Random(7), Machine(), 0
    for _ in range(20_000):
        if dice.random() < 0.01:
            machine.wall += round(dice.choice([-1, 1]) * 10 ** dice.uniform(6, 13.5))
        at = machine.pass_by(round(10 ** dice.uniform(3, 10)))
        steps = machine.steps()
        off += sum(by for by, _ in steps)
        steady = (machine.steady - 500 * S) // 1_000_000
        drift = at - off - steady
        assert abs(drift - machine.drift) <= STEP + 1
        machine.drift = drift
        assert 0 <= at - (machine.wall - START) // 1_000_000 <= STEP
        assert not steps or steps[-1][1] == at


@mark.parametrize("ahead_s", [-90_000, -61, 61, 10_800])
def test_a_clock_that_follows_another_machine_steps_to_its_time_once(ahead_s: int) -> None:
    machine = Machine()
    machine.clock = clock = FollowingClock(lambda: machine.wall, lambda: machine.steady)
    stepped = [
        by
        for _ in range(60)
        if machine.pass_by(S) is not None
        and (by := clock.hear((machine.wall - ahead_s * S) // 1_000_000 - 50))
    ]
    assert len(stepped) == 1 and abs(stepped[0] - ahead_s * 1_000) <= 100
    assert abs(clock.seen() - (machine.wall - ahead_s * S) // 1_000_000) <= 100


@mark.parametrize("ahead_s", [0, 3, 59])
def test_a_clock_that_is_nearly_right_follows_nobody(ahead_s: int) -> None:
    machine = Machine()
    clock = FollowingClock(lambda: machine.wall, lambda: machine.steady)
    for _ in range(60):
        machine.pass_by(S)
        assert clock.hear((machine.wall - ahead_s * S) // 1_000_000) == 0


def test_a_machine_that_is_put_right_is_followed_back() -> None:
    machine, off = Machine(), 7_200 * S
    machine.wall += off
    machine.clock = clock = FollowingClock(lambda: machine.wall, lambda: machine.steady)
    for second in range(120):
        machine.pass_by(S)
        if second == 60:
            machine.wall -= off
        clock.hear((START + machine.steady - 500 * S) // 1_000_000)
    assert clock.ahead == 0
