"""What is wrong in a process, and what only a new one may help."""

from streams.bus.health import BUG_S, SILENT_S, Health


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_loop_that_does_not_go_round_is_stuck() -> None:
    time = Time()
    health = Health(time)
    health.begin("rules")
    health.begin("bot")
    health.beat("streams")  # which has not begun
    time.now += SILENT_S - 1
    health.beat("bot")
    assert health.stuck() == []
    time.now += 1
    assert health.stuck() == [f"the rules role has not gone on for {SILENT_S:.0f} s"]
    health.beat("rules")
    assert health.stuck() == []


def test_a_role_that_has_ended_is_not_waited_for() -> None:
    time = Time()
    health = Health(time)
    health.begin("rules")
    health.end("rules")
    time.now += 10 * SILENT_S
    assert health.stuck() == []


def test_a_bug_again_and_again_is_stuck_and_what_is_missing_outside_is_not() -> None:
    time = Time()
    health = Health(time)
    health.failing("the rules role", "KeyError: 'x'", by_bug=True)
    health.failing("the bot role", "Redis cannot be reached")
    time.now += BUG_S
    health.failing("the rules role", "KeyError: 'x'", by_bug=True)  # the time of the first counts
    assert health.stuck() == ["the rules role ends again and again: KeyError: 'x'"]
    health.failing("the rules role", "Redis cannot be reached")
    assert health.stuck() == []
    health.failing("the rules role", "KeyError: 'x'", by_bug=True)
    health.works("the rules role")
    assert health.stuck() == [] and health.lasting(0) == {"the bot role": "Redis cannot be reached"}


def test_what_is_said_again_keeps_the_time_of_the_first_and_the_reason_of_the_last():
    time = Time()
    health = Health(time)
    for time.now, why in ((100.0, "a"), (130.0, "b")):
        health.failing("x", why)
    time.now = 160.0
    assert health.lasting(60) == {"x": "b"}
    assert health.lasting(61) == {}
    health.works("x")
    assert health.lasting(0) == {}


def test_a_new_life_ends_what_was_before_and_not_what_is_said_since():
    time = Time()
    health = Health(time)
    health.failing("dead", "a bug")
    health.failing("no memory", "OOM")
    time.now = 101.0  # both begin anew here
    for time.now in (102.0, 120.0):
        health.failing("no memory", "OOM")
    time.now = 131.0
    for who in ("dead", "no memory", "nobody"):
        health.lives(who, 30.0)
    time.now = 161.0
    assert health.lasting(60) == {"no memory": "OOM"}


def test_what_somebody_has_to_mend_is_told_sooner_until_it_works():
    time = Time()
    health, began = Health(time), time.now
    health.failing("disk", "the disk is full", by_hand=True)
    health.failing("venue", "away")
    time.now = began + 20
    assert health.lasting(60, 20) == {"disk": "the disk is full"}
    assert health.lasting(60) == {}
    health.failing("disk", "the lease is gone")  # as a consequence
    assert health.lasting(60, 20) == {"disk": "the lease is gone"}
    health.works("disk")
    health.failing("disk", "away")
    time.now += 20
    assert health.lasting(60, 20) == {}
