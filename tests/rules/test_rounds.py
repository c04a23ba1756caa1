"""Round numbers that a value goes through, against a list of all that it did."""

from random import Random

import msgspec
from pytest import approx, mark

from rules.rounds import CLEAR, STAYS, Rounds
from streams.durations import DAY, HOUR, MINUTE

START = 1_790_006_400_000
START -= START % MINUTE


class Walk:
    """A value that is told each minute."""

    def __init__(self, value: float) -> None:
        self.rounds, self.now, self.value = Rounds(), START, value
        self.told: list[tuple[bool, int]] = []
        """Way and number of all that was gone through."""

    def to(self, value: float, minutes: int = 30) -> "Walk":
        """In even steps, then there."""
        first = self.value
        for n in range(minutes):
            self.value = first + (value - first) * (n + 1) / minutes
            self.minute()
        return self

    def stay(self, length: int) -> "Walk":
        for _ in range(length // MINUTE):
            self.minute()
        return self

    def minute(self) -> None:
        self.now += MINUTE
        before = [self.rounds.newest(up) for up in (False, True)]
        self.rounds.take(self.value, self.now)
        after = [self.rounds.newest(up) for up in (False, True)]
        for up, was, crossing in zip((False, True), before, after, strict=True):
            if crossing is not None and crossing is not was:
                self.told.append((up, crossing.number))

    def counts(self) -> tuple[int, int]:
        return tuple(len(self.rounds.standing(up, self.now)) for up in (False, True))


def test_below_three_trillion_since_april():
    walk = Walk(2.8).to(3.3).stay(90 * DAY)
    april = START + 30 * MINUTE
    assert walk.told == [(True, 3)]
    walk.to(2.9, 60)
    assert walk.told == [(True, 3), (False, 3)]
    crossing = walk.rounds.newest(False)
    assert crossing.at == walk.now - 60 * MINUTE + 46 * MINUTE  # 3.3 to 2.9: three quarters of it
    assert crossing.since == approx(april - 18 * MINUTE, abs=MINUTE)
    assert walk.counts() == (1, 0)


def test_the_first_value_has_gone_through_nothing():
    assert not Walk(2.99).stay(3 * HOUR).told
    assert not Walk(3.01).stay(3 * HOUR).to(2.99).to(3.01).stay(HOUR).told


def test_around_a_number_it_is_told_once():
    """Up and down by less than ``CLEAR`` for days."""
    walk = Walk(3.2).stay(HOUR).to(2.99).stay(HOUR)
    for _ in range(30):
        walk.to(3.0 * (1 + 0.9 * CLEAR)).stay(HOUR).to(3.0 * (1 - 0.9 * CLEAR)).stay(HOUR)
    assert walk.told == [(False, 3)]
    assert walk.to(3.0 * (1 - 1.1 * CLEAR)).to(3.01).stay(HOUR).told[1:] == [(True, 3)]


def test_minutes_of_it_are_none():
    walk = Walk(3.2).stay(HOUR)
    for _ in range(5):
        walk.to(2.98, 3).stay(STAYS - 3 * MINUTE).to(3.05, 3).stay(HOUR)
    assert not walk.told
    assert walk.rounds.below.last[3] > START  # it has been there


def test_two_in_a_day_and_their_end():
    walk = Walk(3.2).stay(HOUR).to(2.5).stay(HOUR).to(1.9).stay(HOUR)
    assert walk.told == [(False, 3), (False, 2)]
    assert walk.counts() == (2, 0)
    walk.to(2.03).stay(2 * MINUTE)
    assert walk.counts() == (2, 0)
    walk.to(2.05).stay(HOUR)
    assert walk.counts() == (1, 1)  # clearly back above the second
    walk.stay(DAY)
    assert walk.counts() == (0, 0)


def test_a_hole_is_not_time_below():
    walk = Walk(3.2).stay(HOUR).to(2.9, 5)
    walk.now += 3 * HOUR
    walk.stay(STAYS - MINUTE)
    assert not walk.told
    assert walk.stay(5 * MINUTE).told == [(False, 3)]
    assert walk.rounds.newest(False).at > walk.now - STAYS - 5 * MINUTE
    assert walk.rounds.known(walk.now)
    assert not walk.rounds.known(walk.now + 3 * MINUTE)


def test_a_clock_that_is_set_back():
    walk = Walk(3.2).stay(HOUR).to(2.9).stay(HOUR)
    walk.now -= DAY
    walk.rounds.set_back(walk.now)
    assert walk.rounds.newest(False).at == walk.now
    assert walk.to(3.2).stay(HOUR).told == [(False, 3), (True, 3)]


@mark.parametrize("seed", range(8))
def test_a_walk_goes_through_what_it_goes_through(seed: int):
    """Against all values at once: between two crossings of a number one way there is a value that
    is clearly on the other side, and it has stayed for long enough; and no such one is missing."""
    dice, walk = Random(seed), Walk(3.0)
    values: list[tuple[int, float]] = []
    dumped = dice.randrange(2_000)
    for n in range(4_000):
        walk.value = min(6.5, max(1.1, walk.value * (1 + dice.gauss(0, 0.006))))
        walk.minute()
        values.append((walk.now, walk.value))
        if n == dumped:  # a restart anywhere
            walk.rounds = msgspec.msgpack.decode(msgspec.msgpack.encode(walk.rounds), type=Rounds)
    expected: list[tuple[int, bool, int]] = []
    for number in range(1, 14):
        for up in (False, True):
            ready, since = False, None
            for at, value in values:
                beyond = value > number if up else value < number
                ready = ready or (
                    value <= number * (1 - CLEAR) if up else value >= number * (1 + CLEAR)
                )
                since = (since or at) if beyond and ready else None
                if since is not None and at - since >= STAYS:
                    expected.append((at, up, number))
                    ready = False
    assert len(expected) > 3
    assert walk.told == [(up, number) for _, up, number in sorted(expected)]
