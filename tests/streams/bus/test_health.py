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
