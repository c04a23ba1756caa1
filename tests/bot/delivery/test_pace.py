"""The pace of a chat: never more than it bears; a flood slows it down for a while."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.delivery.pace import (
    NO_LIMITS,
    Lane,
    Limits,
    Overall,
    Pace,
    flooded,
    paused,
    ready,
    share,
    used,
)
from streams.durations import HOUR, MINUTE, SECOND

LIMITS = Limits()


def drive(pace: Pace, now: int, kinds: list[tuple[bool, bool]]) -> list[tuple[int, bool]]:
    """Requests of these kinds (urgent, edit) one after the other, each as soon as it may be."""
    requests = []
    for urgent, edit in kinds:
        now = ready(pace, LIMITS, now, urgent=urgent, edit=edit)
        pace = used(pace, now, edit=edit)
        requests.append((now, edit))
    return requests


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=120), st.integers(0, 10**9))
def test_no_minute_gets_more_than_it_bears(kinds: list[tuple[bool, bool]], start: int):
    requests = drive(Pace(), start, kinds)
    for at, _ in requests:
        within = [(t, edit) for t, edit in requests if at <= t < at + MINUTE]
        assert len(within) <= 18
        assert sum(edit for _, edit in within) <= LIMITS.edits
        assert len([t for t, _ in within if t < at + SECOND]) <= LIMITS.burst


def test_three_urgent_posts_go_at_once_and_others_wait_a_second():
    assert [at for at, _ in drive(Pace(), 0, [(True, False)] * 4)] == [0, 0, 0, 1_000]
    assert [at for at, _ in drive(Pace(), 0, [(False, False)] * 3)] == [0, 1_000, 2_000]


def test_room_is_kept_for_what_is_urgent():
    pace = Pace()
    for n in range(14):
        assert ready(pace, LIMITS, n * SECOND) == n * SECOND
        pace = used(pace, n * SECOND)
    assert ready(pace, LIMITS, 14 * SECOND) == MINUTE
    assert ready(pace, LIMITS, 14 * SECOND, urgent=True) == 14 * SECOND


def refused(pace: Pace, now: int, until: int) -> Pace:
    """A request at ``now`` is refused, nothing before ``until``."""
    return flooded(used(pace, now), now, until)


def test_a_flood_pauses_and_halves_the_pace_which_comes_back_slowly():
    pace = refused(Pace(), 0, 7 * SECOND)
    assert ready(pace, LIMITS, 0, urgent=True) == 7 * SECOND
    assert share(pace, 7 * SECOND) == 0.5
    second = refused(used(pace, 8 * SECOND), 8 * SECOND, 9 * SECOND)
    assert share(second, 9 * SECOND) == pytest.approx(0.25, rel=0.02)
    assert share(pace, 7 * SECOND + 5 * MINUTE) == 1.0
    assert ready(used(pace, 8 * SECOND), LIMITS, 8 * SECOND) > 8 * SECOND + 1_900
    for n in range(10):
        pace = refused(used(pace, n * SECOND), n * SECOND, n * SECOND)
    assert share(pace, 9 * SECOND) == 0.1


@pytest.mark.parametrize(("pauses", "length"), [(3, 3 * SECOND), (12, 5 * SECOND), (2, HOUR)])
def test_refusals_in_a_row_are_one_flood_and_no_used_budget(pauses: int, length: int):
    """Three refusals "retry after 3": the pace was an eighth, and the next request at 62 s."""
    pace, now = used(Pace(), 0), SECOND
    for _ in range(pauses):
        now = ready(pace, LIMITS, now, urgent=True)
        pace = refused(pace, now, now + length)
    end = SECOND + pauses * length
    assert share(pace, end) == 0.5
    assert [ready(pace, LIMITS, now, urgent=urgent) for urgent in (True, False)] == [end, end]


def test_a_refusal_that_comes_within_the_pause_is_of_the_same_flood():
    pace = used(used(Pace(), 0), 0)
    pace = flooded(flooded(pace, SECOND, 9 * SECOND), 2 * SECOND, 10 * SECOND)
    assert (share(pace, 10 * SECOND), pace.until, pace.recent) == (0.5, 10 * SECOND, ())


def test_a_flood_long_after_another_halves_what_has_come_back():
    pace = refused(Pace(), 0, 0)
    pace = refused(pace, 2 * MINUTE, 2 * MINUTE)
    assert share(pace, 2 * MINUTE) == pytest.approx(0.35)


def test_a_refused_edit_is_no_edit():
    pace = flooded(used(Pace(), 0, edit=True), 0, SECOND)
    assert (pace.recent, pace.edits) == ((), ())
    pace = flooded(used(used(Pace(), 0, edit=True), 1), 1, SECOND)
    assert (pace.recent, pace.edits) == ((0,), (0,))


def test_what_is_urgent_is_not_slowed_after_a_flood_but_has_the_limit_of_a_minute():
    pace = Pace()
    for n in range(14):
        pace = used(pace, n * SECOND)
    pace = refused(pace, 14 * SECOND, 20 * SECOND)
    requests, now = [], 20 * SECOND
    for _ in range(5):
        now = ready(pace, LIMITS, now, urgent=True)
        pace = used(pace, now)
        requests.append(now)
    assert requests == [20 * SECOND] * 3 + [21 * SECOND, MINUTE]
    assert ready(pace, LIMITS, MINUTE) > MINUTE


def test_a_pause_never_becomes_shorter():
    assert paused(paused(Pace(), 9), 5).until == 9


def test_a_clock_that_was_set_back_does_not_stop_a_chat():
    pace = used(Pace(), 10**9)
    assert ready(pace, LIMITS, 5) == 5
    assert used(pace, 5).recent == (5,)


def test_no_limits():
    pace = Pace()
    for _ in range(50):
        assert ready(pace, NO_LIMITS, 7) == 7
        pace = used(pace, 7)


def test_all_chats_together_get_no_more_than_25_in_a_second_and_no_bunch_of_them():
    overall, now, requests = Overall(LIMITS), 0, []
    for _ in range(100):
        now = overall.ready(now, Lane.URGENT)
        overall.use(now)
        requests.append(now)
    assert [at for at in requests if at == 0] == [0] * 5
    assert requests[24] < SECOND
    for at in requests:
        assert len([other for other in requests if at <= other < at + SECOND]) <= 25
        assert len([other for other in requests if at <= other < at + SECOND // 5]) <= 10


def test_of_each_second_the_end_is_kept_for_what_is_more_urgent():
    overall = Overall(LIMITS)
    free = dict.fromkeys(Lane, 0)
    for n in range(25):
        now = n * 39 + 40
        for lane in Lane:
            free[lane] += overall.ready(now, lane) == now
        overall.use(now)
    assert free == {Lane.URGENT: 25, Lane.POST: 20, Lane.ASIDE: 10}


def test_without_limits_all_chats_go_at_once():
    overall = Overall(NO_LIMITS)
    for _ in range(100):
        assert overall.ready(7, Lane.ASIDE) == 7
        overall.use(7)
