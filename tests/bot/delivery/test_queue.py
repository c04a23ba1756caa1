"""One chat's posts as calls and numbers: order, replies, edits, expiry, doubts, digests."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bot.delivery.pace import NO_LIMITS, Limits
from bot.delivery.post import (
    SETTLED,
    ChatState,
    DeleteStep,
    EditStep,
    Policy,
    Post,
    PostState,
    ProbeStep,
    SendStep,
    as_message,
)
from bot.delivery.queue import ChatQueue, digests
from bot.delivery.rendering import short_id
from bot.delivery.sinks import Edited
from bot.destination import Destination, MessengerName, Service, TelegramChat, WebhookName
from bot.messages.blocks import MOST_CHARS, blocks, fitted, plain, visible, with_lines
from rules.alerts import Alert, Level, Turn
from tests.bot.delivery.test_rendering import cascade, fall, grow, queued, see
from tests.bot.fake_telegram import parsed
from tests.bot.plan.test_planner import alert
from tests.bot.posts import HOUR, MIN, START, S, chat_queue, order, post, sent

WATCH, ALERT, CRITICAL = Level
CLOSE = Turn.CLOSE


def test_critical_goes_first_and_the_others_as_they_came():
    queue = chat_queue(
        post("a", 1), post("b", 2, WATCH), post("c", 3, CRITICAL), post("d", 4, CRITICAL)
    )
    assert order(queue) == ["c", "d", "a", "b"]


def test_a_critical_turn_takes_the_earlier_ones_of_its_episodes_with_it():
    queue = chat_queue(
        post("other", 1),
        post("digest", 2, episodes=["x", "y"]),
        post("y opens", 3, WATCH, episodes=["y"]),
        post("z", 4),
        post("x up", 5, CRITICAL, episodes=["x"]),
    )
    assert order(queue) == ["digest", "x up", "other", "y opens", "z"]


episodes = st.lists(st.sampled_from("abcde"), min_size=1, max_size=2, unique=True)


@given(st.lists(st.tuples(st.sampled_from(Level), episodes), max_size=25))
def test_turns_of_an_episode_keep_their_order(kinds):
    queue = chat_queue(*(post(str(n), n, level, names) for n, (level, names) in enumerate(kinds)))
    numbers = [int(key) for key in order(queue)]
    assert sorted(numbers) == list(range(len(kinds)))
    for name in "abcde":
        mine = [n for n in numbers if name in kinds[n][1]]
        assert mine == sorted(mine)


def test_a_post_that_was_sent_is_never_sent_again():
    queue = chat_queue(post("a", 1))
    assert sent(queue, 0).message_id == 11
    queue.add(post("a", 1))
    assert queue.next(START) is None
    assert queue.idle()


def test_turns_and_the_end_reply_to_the_opening():
    queue = chat_queue(
        post("open", 1, episodes=["e"]),
        post("up", 2, episodes=["e"], openings=("open",)),
        post("end", 3, episodes=["e"], turn=CLOSE, openings=("open",)),
    )
    replies = []
    for _ in range(3):
        step = queue.next(START)
        assert isinstance(step, SendStep)
        replies.append(step.reply_to)
        sent(queue, 0)
    assert replies == [None, 11, 11]


def test_an_end_whose_beginning_was_not_told_is_not_told():
    queue = chat_queue(
        post("open", 1, episodes=["e"], expires=START - 1),
        post("end", 2, episodes=["e"], turn=CLOSE, openings=("open",)),
    )
    assert queue.next(START) is None
    assert queue.posts["end"].reason == "its beginning was not told"


def test_while_an_opening_is_uncertain_its_end_waits():
    queue = chat_queue(
        post("open", 1, episodes=["e"]),
        post("end", 2, episodes=["e"], turn=CLOSE, openings=("open",)),
    )
    step = queue.begin(queue.next(START), START)
    queue.outcome_unknown(step.post, START)
    assert queue.next(START) == START + S
    assert isinstance(queue.next(START + S), ProbeStep)


def test_late_posts_say_so_and_expired_ones_are_named_in_the_next():
    queue = chat_queue(post("old", 1, at=-2 * HOUR), post("late", 2, at=-4 * MIN), post("new", 3))
    assert sent(queue, 0).body.split("\n")[-2:] == ["⏳ +1 older left out: old", "⏱ 4 min late"]
    assert sent(queue, 0).body == "<b>new</b>\nfacts\n#tag"
    assert queue.posts["old"].state is PostState.EXPIRED


def test_what_was_left_out_is_said_until_it_has_arrived():
    queue = chat_queue(post("old", 1, at=-2 * HOUR), post("a", 2), post("b", 3), probe=False)
    step = queue.begin(queue.next(START), START)
    queue.refused(step.post, "too long", START)
    assert "left out: old" in sent(queue, 0).body


@pytest.mark.parametrize(("flood", "before"), [(9 * S, 0), (9 * S, 10), (30 * S, 14)])
def test_what_is_critical_leaves_as_soon_as_a_flood_is_over(flood: int, before: int):
    """Refused until second 9, each time with "retry after 3": it left at second 62."""
    queue = chat_queue(limits=Limits())
    for n in range(before):
        queue.count_request(START - 20 * S + n * S)
    for n in range(4):
        queue.add(post(str(n), n, WATCH))
    queue.add(post("crash", 4, CRITICAL))
    now, kept = 0, dict[str, int]()
    while len(kept) < 3:
        step = queue.next(START + now)
        if isinstance(step, int):
            now = step - START
            continue
        step = queue.begin(step, START + now)
        assert isinstance(step, SendStep)
        if now < flood:
            queue.put_off(step.post, START + now, START + now + 3 * S, flood=True)
        else:
            queue.sent(step.post, None, START + now)
            kept[step.post.key] = now
    assert list(kept) == ["crash", "0", "1"]
    assert kept["crash"] == flood
    assert kept["0"] >= flood + 2 * S, "the others go at half the pace"


# Uncertain posts.


def uncertain(**how):
    queue = chat_queue(post("a", 1), post("b", 2, CRITICAL), **how)
    step = queue.begin(queue.next(START), START)
    assert step.post.key == "b"
    queue.outcome_unknown(step.post, START)
    return queue


def probe(queue, now: int, answer: Edited | None) -> ProbeStep:
    step = queue.next(START + now)
    assert isinstance(step, ProbeStep), step
    queue.begin(step, START + now)
    if answer is None:
        queue.unprobed(step, START + now)
    else:
        queue.probed(step, answer, START + now)
    return step


def test_an_uncertain_post_is_looked_for_as_the_next_message_and_found():
    queue = uncertain()
    assert queue.next(START) == START + S, "not at once: it may still arrive"
    assert probe(queue, 2 * S, Edited.SAME).message_id == 11
    assert queue.posts["b"].state is PostState.SENT
    assert queue.posts["b"].message_id == queue.state.last_id == 11
    assert order(queue, 2 * S) == ["a"]


def test_an_uncertain_post_that_is_not_there_is_sent_again_without_a_word():
    queue = uncertain()
    probe(queue, 2 * S, Edited.GONE)
    again = sent(queue, 2 * S)
    assert (again.key, again.attempts, again.resend) == ("b", 2, False)
    assert "↻" not in again.body


def test_somebody_elses_message_is_passed_over():
    queue = uncertain()
    assert probe(queue, 2 * S, Edited.FOREIGN).message_id == 11
    assert probe(queue, 2 * S, Edited.SAME).message_id == 12


def test_what_arrived_after_all_is_deleted_once_the_resent_one_shows_it():
    queue = uncertain()
    probe(queue, 2 * S, Edited.GONE)
    sent(queue, 2 * S, message_id=12)
    assert probe(queue, 2 * S, Edited.SAME).message_id == 11
    step = queue.next(START + 2 * S)
    assert step == DeleteStep(11)
    queue.deleted(11)
    assert order(queue, 2 * S) == ["a"]


@pytest.mark.parametrize("whose", [Edited.FOREIGN, Edited.GONE])
def test_what_somebody_else_has_posted_meanwhile_is_not_deleted(whose: Edited):
    queue = uncertain()
    probe(queue, 2 * S, Edited.GONE)
    sent(queue, 2 * S, message_id=12)
    assert not queue.idle()
    probe(queue, 2 * S, whose)
    assert (queue.state.duplicates, queue.state.suspects) == ((), ())
    assert order(queue, 2 * S) == ["a"]


def test_whose_it_is_that_nobody_can_say_stays():
    queue = uncertain()
    probe(queue, 2 * S, Edited.GONE)
    sent(queue, 2 * S, message_id=12)
    now = 2 * S
    for _ in range(queue.policy.probes):
        due = queue.next(START + now)
        now = due - START if isinstance(due, int) else now
        assert probe(queue, now, None).message_id == 11
    assert (queue.state.duplicates, queue.state.suspects) == ((), ())


def test_of_several_copies_the_last_is_kept():
    queue = uncertain()
    now = 0
    for _ in range(queue.policy.probes):
        now = queue.next(START + now) - START
        probe(queue, now, None)
    now = queue.next(START + now) - START
    step = queue.begin(queue.next(START + now), START + now)
    queue.outcome_unknown(step.post, START + now)
    now = queue.next(START + now) - START
    answers = (Edited.CHANGED, Edited.SAME, Edited.GONE)
    assert [probe(queue, now, answer).message_id for answer in answers] == [11, 12, 13]
    assert (queue.posts["b"].message_id, queue.state.last_id) == (12, 12)
    assert queue.next(START + now) == DeleteStep(11)


def test_what_is_sent_again_goes_before_what_is_critical():
    queue = uncertain()
    probe(queue, 2 * S, Edited.GONE)
    queue.add(post("c", 3, CRITICAL))
    assert order(queue, 2 * S) == ["b", "c", "a"]


def test_what_cannot_be_looked_for_is_sent_again_and_says_so():
    queue = uncertain()
    now = 0
    for _ in range(queue.policy.probes):
        now = queue.next(START + now) - START
        probe(queue, now, None)
    now = queue.next(START + now) - START
    again = sent(queue, now)
    assert again.body.split("\n")[3] == f"↻ Sent again, perhaps twice (no. {short_id(again)})"


@pytest.mark.parametrize("how", ["no channel", "last number unknown"])
def test_without_a_number_to_look_at_it_is_sent_again_and_says_so(how: str):
    queue = uncertain(probe=how != "no channel")
    if how == "last number unknown":
        queue.state = msgspec.structs.replace(queue.state, last_id=None)
    assert sent(queue, 2 * S, 20).resend


def test_what_cannot_be_looked_for_may_be_dropped_instead():
    queue = uncertain(probe=False, policy=Policy(on_uncertain="drop"))
    assert order(queue, 2 * S) == ["a"]
    assert queue.posts["b"].state is PostState.FAILED
    assert [t.phrase for t in queue.problems] == ["trouble.failed"]


def test_whoever_finds_a_post_half_sent_does_not_know_whether_it_arrived():
    queue = chat_queue(post("a", 1))
    queue.begin(queue.next(START), START)
    later = chat_queue(*queue.posts.values())
    assert later.recover() == 1
    assert isinstance(later.next(START), ProbeStep)


# What waits of one episode.


def burst(at: int, musd: float, turn: Turn = Turn.WORSE, level: Level = CRITICAL, opened: int = 0):
    """A turn of liquidations that began at ``opened``."""
    return alert(
        at, "C00", level, "liq:1m", turn, opened, metric="liq_1m_musd", unit="million USD",
        fires="above", value=musd, extreme=musd, threshold=5.0,
    )  # fmt: skip


def first_lines(queue: ChatQueue, now: int = 0) -> list[str]:
    return [plain(queue.posts[key].body).split("\n")[0] for key in order(queue, now)]


def test_turns_that_waited_while_nobody_was_there_are_told_once_as_it_is_now():
    """The opening was posted; the bot was away while it got worse twice."""
    queue = chat_queue()
    opening = queued(queue, 1, burst(0, 6.0, Turn.OPEN))
    assert first_lines(queue) == ["🔴 C00 liquidations ≥ $6M"]
    worse = [burst(3 * S, 20.0), burst(6 * S, 40.0), burst(8 * S, 51.3)]
    for number, turn in enumerate(worse, start=2):
        queued(queue, number, turn, at=number * S)
    see(queue, burst(9 * S, 51.3))
    assert first_lines(queue, 10 * S) == ["🔴 C00 liquidations go on: ≥ $51.3M"]
    [post] = [post for post in queue.posts.values() if post.key != opening.key]
    assert post.alerts == tuple(turn.id for turn in worse)
    assert (post.count, post.openings, post.at) == (1, (opening.key,), START + 2 * S)
    assert sum(value is None for value in queue.changed.values()) == 2
    assert (queue.state.left, queue.problems) == (0, [])


def test_an_opening_that_waits_takes_in_what_got_worse_and_rings_if_that_rings():
    queue = chat_queue(limits=Limits())
    opening = queued(queue, 1, burst(0, 1.0, Turn.OPEN, WATCH), silent=True, alone=True)
    queued(queue, 2, burst(2 * S, 6.0, Turn.UP), at=2 * S, alone=True)
    queued(queue, 3, burst(3 * S, 9.0), at=3 * S, alone=True)
    end = burst(9 * S, 0.0, CLOSE)
    queued(queue, 4, end, at=9 * S, silent=True, alone=True)
    assert first_lines(queue, 10 * S) == ["🔴 C00 liquidations ≥ $9M"]
    opened = queue.posts[opening.key]
    assert (opened.message.silent, opened.message.level, opened.message.turn) == (
        False, CRITICAL, Turn.OPEN,
    )  # fmt: skip
    [after] = [post for post in queue.posts.values() if post.close]
    assert after.openings == (opening.key,)
    assert first_lines(queue, MIN)[0].startswith("⚪ ")


def test_a_risen_level_is_told_as_such_with_the_newest_value():
    queue = chat_queue()
    queued(queue, 1, burst(0, 1.0, Turn.OPEN, ALERT))
    order(queue)
    queued(queue, 2, burst(S, 6.0, Turn.UP))
    queued(queue, 3, burst(2 * S, 9.0))
    assert first_lines(queue, 3 * S) == ["🔴 C00 liquidations now critical: ≥ $9M"]


def test_what_was_told_with_the_newest_values_is_not_told_again():
    """The rules' values can be known before the alert that they cause has been read."""
    queue = chat_queue()
    queued(queue, 1, burst(0, 6.0, Turn.OPEN))
    order(queue)
    see(queue, burst(8 * S, 51.3))
    first = queued(queue, 2, burst(6 * S, 40.0))
    assert first_lines(queue, 8 * S) == ["🔴 C00 liquidations go on: ≥ $51.3M"]
    same = burst(8 * S, 51.3)
    queued(queue, 3, same)
    assert order(queue, 9 * S) == []
    assert queue.posts[first.key].alerts[-1] == same.id
    queued(queue, 4, burst(9 * S, 60.0))
    assert first_lines(queue, 10 * S) == ["🔴 C00 liquidations go on: ≥ $60M"]


def test_what_would_ring_is_told_although_a_silent_post_said_the_same():
    queue = chat_queue()
    see(queue, burst(8 * S, 51.3))
    queued(queue, 1, burst(0, 1.0, Turn.OPEN, WATCH), silent=True)
    order(queue)
    queued(queue, 2, burst(8 * S, 51.3, Turn.UP))
    assert first_lines(queue, 9 * S) == ["🔴 C00 liquidations now critical: ≥ $51.3M"]


def test_an_edit_that_is_still_to_come_has_told_nothing():
    queue = chat_queue()
    opening = queued(queue, 1, burst(0, 6.0, Turn.OPEN))
    order(queue)
    see(queue, burst(8 * S, 51.3))
    assert queue.posts[opening.key].live
    queued(queue, 2, burst(8 * S, 51.3))
    assert first_lines(queue, 9 * S) == ["🔴 C00 liquidations go on: ≥ $51.3M"]


def test_a_second_turn_of_a_composite_at_one_moment_knows_more():
    queue = chat_queue()
    queued(queue, 1, cascade(0, 50.0, 6.0))
    order(queue)
    queued(queue, 2, cascade(S, 40.0, 6.0))
    order(queue, S)
    queued(queue, 3, cascade(S, 40.0, 9.0), at=S)
    assert len(order(queue, 2 * S)) == 1


@pytest.mark.parametrize("doubt", ["resend", "maybe_duplicate"])
def test_a_post_in_doubt_stays_itself_and_what_comes_behind_is_told_once(doubt: str):
    queue = chat_queue(probe=doubt == "maybe_duplicate")
    first = queued(queue, 1, burst(0, 6.0, Turn.OPEN))
    step = queue.begin(queue.next(START), START)
    queue.outcome_unknown(step.post, START)
    if doubt == "maybe_duplicate":
        probe(queue, 2 * S, Edited.GONE)
    rest = [queued(queue, 2 + n, burst((2 + n) * S, 20.0 + n)) for n in range(2)]
    step = queue.next(START + 5 * S)
    assert isinstance(step, SendStep)
    assert getattr(step.post, doubt)
    assert (step.post.key, step.post.alerts) == (first.key, first.alerts)
    assert order(queue, 5 * S) == [first.key, rest[0].key]
    assert queue.posts[rest[0].key].alerts == (*rest[0].alerts, *rest[1].alerts)


def test_a_post_in_doubt_that_was_sent_again_with_the_newest_values_told_them():
    queue = chat_queue()
    first = queued(queue, 1, burst(0, 6.0, Turn.OPEN))
    step = queue.begin(queue.next(START), START)
    queue.outcome_unknown(step.post, START)
    probe(queue, 2 * S, Edited.GONE)
    queued(queue, 2, burst(3 * S, 51.3))
    see(queue, burst(3 * S, 51.3))
    assert order(queue, 5 * S) == [first.key]


def test_what_a_webhook_may_have_taken_stays_itself():
    queue = ChatQueue("https", ChatState(destination=WebhookName("desk")), NO_LIMITS)
    first = queued(queue, 1, burst(0, 6.0, Turn.OPEN))
    step = queue.begin(queue.next(START), START)
    queue.put_off(step.post, START, START)
    others = [queued(queue, 2 + n, burst((2 + n) * S, 20.0 + n)) for n in range(2)]
    assert order(queue, 5 * S) == [first.key, others[0].key]


@pytest.mark.parametrize("to", [WebhookName("desk"), MessengerName(Service.LINE, "desk")])
@pytest.mark.parametrize("in_doubt", [True, False])
def test_who_knows_a_key_gets_one_text_under_it(to: Destination, in_doubt: bool):
    """LINE takes the first and answers that it has it; what happened since is told after it."""
    queue = ChatQueue("https", ChatState(destination=to), NO_LIMITS)
    first = queued(queue, 1, burst(0, 6.0, Turn.OPEN))
    step = queue.begin(queue.next(START), START)
    assert isinstance(step, SendStep)
    see(queue, burst(20 * S, 36.0))
    queue.put_off(step.post, START + 20 * S, START + 22 * S, in_doubt=in_doubt)
    again = queue.begin(queue.next(START + 22 * S), START + 22 * S)
    assert isinstance(again, SendStep) and again.post.key == first.key
    assert (again.post.message == step.post.message) is in_doubt
    queue.sent(again.post, None, START + 23 * S)
    later = queued(queue, 2, burst(20 * S, 36.0))
    assert order(queue, 60 * S) == [later.key] * in_doubt


def test_what_was_under_way_at_a_stop_is_sent_again_as_it_was_to_who_knows_its_key():
    queue = ChatQueue("https", ChatState(destination=WebhookName("desk")), NO_LIMITS)
    queued(queue, 1, burst(0, 6.0, Turn.OPEN))
    step = queue.begin(queue.next(START), START)
    assert isinstance(step, SendStep)
    queue.recover()
    see(queue, burst(20 * S, 36.0))
    again = queue.begin(queue.next(START + 22 * S), START + 22 * S)
    assert isinstance(again, SendStep)
    assert again.post.message == step.post.message
    assert again.post.attempts == 2


def test_a_chat_that_takes_nothing_for_long_is_still_seen_to_be_stuck():
    queue = chat_queue()
    for n in range(5):
        queued(queue, n, burst(n * MIN, 6.0 + n, Turn.OPEN if n == 0 else Turn.WORSE), at=n * MIN)
        queue.next(START + n * MIN)
    [post] = queue.waiting()
    assert post.at == START
    assert "⏱ 5 min late" in sent(queue, 5 * MIN).body


class Reader:
    """The naive model of one chat: what waits of each episode, and what a reader has seen."""

    def __init__(self) -> None:
        self.waiting: list[tuple[tuple[str, int], list[Alert]]] = []
        self.seen: list[tuple[str, Turn, float, Level, bool]] = []

    def add(self, turn: Alert) -> None:
        of = (turn.asset, turn.opened_at)
        for name, turns in self.waiting:
            if name == of and turns[0].turn is not CLOSE and turn.turn is not CLOSE:
                turns.append(turn)
                return
        self.waiting.append((of, [turn]))

    def read(self) -> None:
        """The next post: the first that is critical or is needed before one, else the first."""
        urgent = [
            name for name, turns in self.waiting
            if max(turn.level for turn in turns) is CRITICAL and turns[0].turn is not CLOSE
        ]  # fmt: skip
        place = next((n for n, (name, _) in enumerate(self.waiting) if name in urgent), 0)
        name, turns = self.waiting.pop(place)
        kinds = [turn.turn for turn in turns]
        kind = next((kind for kind in (Turn.OPEN, Turn.UP) if kind in kinds), turns[-1].turn)
        level = max(turn.level for turn in turns)
        loud = any(turn.level > WATCH and turn.turn is not CLOSE for turn in turns)
        self.seen.append((name[0], kind, turns[-1].value, level, loud))


STEPS = st.lists(st.sampled_from(["A", "B", "C", "A", "B", "over", "send", "later"]), max_size=40)


@given(STEPS, st.randoms(use_true_random=False))
def test_a_reader_of_a_slow_chat_sees_what_the_naive_model_says(steps, dice):
    queue, model, seen = chat_queue(policy=Policy(crowded=99, rush=99)), Reader(), []
    turns: dict[str, list[Alert]] = {}
    alerts: list[str] = []
    for n, step in enumerate([*steps, *["send"] * 40]):
        now = START + n * S
        if step in ("send", "later"):
            following = queue.next(now)
            if not isinstance(following, SendStep):
                assert model.waiting == []
                continue
            begun = queue.begin(following, now)
            if step == "later":
                queue.put_off(begun.post, now, now)
                continue
            queue.sent(begun.post, n, now)
            model.read()
            [part] = begun.post.parts
            [turn] = part.alerts
            loud = not begun.post.message.silent
            seen.append((turn.asset, turn.turn, turn.value, begun.post.message.level, loud))
            continue
        name = dice.choice("ABC") if step == "over" else step
        before = turns.get(name, [])
        if step == "over" and not before:
            continue
        level = max([dice.choice(list(Level)), *(turn.level for turn in before)])
        higher = bool(before) and level > before[-1].level
        kind = (Turn.UP if higher else Turn.WORSE) if before else Turn.OPEN
        opened = before[0].seen - START if before else n * S
        kind, level = (CLOSE, before[-1].level) if step == "over" else (kind, level)
        turn = fall(n * S, -5.0 - n, name, level, opened)
        turn = msgspec.structs.replace(turn, turn=kind, id=f"{name} {n}")
        turns[name] = [] if kind is CLOSE else [*before, turn]
        queued(queue, n, turn, at=n * S, silent=level is WATCH or kind is CLOSE, alone=True)
        model.add(turn)
        alerts.append(turn.id)
    assert seen == model.seen
    assert queue.idle()
    posted = [of for post in queue.posts.values() for of in post.alerts]
    assert sorted(posted) == sorted(alerts), "each alert is accounted for once"
    assert (queue.state.left, queue.problems) == (0, [])


# Refusals, pauses, chats that are off or have moved.


def test_refused_markup_is_sent_as_plain_text_and_then_given_up():
    queue = chat_queue(post("a", 1))
    for markup in (True, False):
        step = queue.begin(queue.next(START), START)
        assert step.post.markup is markup
        queue.refused_markup(step.post, "bad", START)
    assert queue.posts["a"].state is PostState.FAILED


def test_a_chat_that_refuses_the_bot_is_left_alone_and_its_posts_wait():
    queue = chat_queue(post("a", 1, expires=START + 9 * HOUR))
    for n in range(3):
        now = START + n * queue.policy.off
        step = queue.begin(queue.next(now), now)
        queue.turned_off(step.post, "kicked", now)
        assert queue.next(now) == now + queue.policy.off
    assert len(queue.problems) == 1, "told once"
    queue.try_again()
    assert sent(queue, 2 * queue.policy.off).key == "a"
    assert queue.state.off == ""


def test_a_chat_that_moved_is_followed_and_old_numbers_mean_nothing():
    queue = chat_queue(
        post("open", 1, episodes=["e"]), post("up", 2, episodes=["e"], openings=("open",))
    )
    sent(queue, 0)
    step = queue.begin(queue.next(START), START)
    queue.moved(step.post, -100, START)
    step = queue.next(START)
    assert isinstance(step, SendStep)
    assert (step.post.key, step.reply_to, queue.state.address()) == ("up", None, TelegramChat(-100))


def test_after_a_flood_a_long_queue_becomes_one_digest():
    turns = [post(f"p{n}", n, WATCH) for n in range(1, 8)]
    queue = chat_queue(*turns, post("crit", 8, CRITICAL))
    step = queue.begin(queue.next(START), START)
    queue.put_off(step.post, START, START + 30 * S, flood=True)
    assert queue.next(START) == START + 30 * S
    now = queue.next(START + 30 * S)
    first = sent(queue, 40 * S if isinstance(now, int) else 30 * S)
    assert first.key == "crit"
    digest = sent(queue, 50 * S)
    assert digest.count == 7
    assert digest.body.split("\n") == [
        "⏳ <b>7 posts waited while Telegram asked for a pause</b>",
        *(f"<b>p{n}</b>" for n in range(1, 8)),
    ]
    assert queue.next(START + 99 * S) is None


def test_what_may_have_been_shown_already_is_in_no_digest():
    """Whether a post has arrived is not known; another one of its episode waits meanwhile."""
    queue = chat_queue(
        post("open", 0, WATCH, episodes=["e"]),
        *(post(f"p{n}", n, WATCH) for n in range(1, 8)),
        post("over", 9, WATCH, episodes=["e"]),
    )
    step = queue.begin(queue.next(START), START)
    queue.outcome_unknown(step.post, START)
    queue.put_off(None, START, START + S, flood=True)
    queue.next(START + 20 * S)
    assert "over" in queue.posts
    assert [p.count for p in queue.posts.values() if p.title] in ([7], [])


def test_digests_in_a_digest_keep_their_lists():
    lists = msgspec.structs.replace(post("p0", 0).message, html="<b>9 coins</b>\nA · B\n#tag")
    queue = chat_queue(
        post("p0", 0, count=9, message=lists), *(post(f"p{n}", n) for n in range(1, 7))
    )
    queue.put_off(None, START, START + S, flood=True)
    assert "<b>9 coins</b>\nA · B\n<b>p1</b>\n<b>p2</b>" in sent(queue, 20 * S).body


def test_a_digest_within_a_digest_leaves_no_one_out():
    queue = chat_queue(*(post(f"p{n}", n) for n in range(8)))
    queue.put_off(None, START, START + S, flood=True)
    step = queue.begin(queue.next(START + 20 * S), START + 20 * S)
    queue.put_off(step.post, START + 20 * S, START + 21 * S, flood=True)
    for n in range(8, 14):
        queue.add(post(f"p{n}", n))
    body = sent(queue, 40 * S).body
    assert body.split("\n") == [
        "⏳ <b>14 posts waited while Telegram asked for a pause</b>",
        *(f"<b>p{n}</b>" for n in range(14)),
    ]
    assert queue.idle()


def test_few_waiting_posts_stay_themselves():
    queue = chat_queue(*(post(f"p{n}", n) for n in range(5)))
    queue.put_off(None, START, START + S, flood=True)
    assert len(order(queue, 20 * S)) == 5


def test_a_digest_takes_the_place_of_openings():
    closes = post("end", 20, episodes=["p1"], turn=CLOSE, openings=("p1",))
    queue = chat_queue(*(post(f"p{n}", n) for n in range(1, 8)))
    queue.put_off(None, START, START + S, flood=True)
    digest = sent(queue, 20 * S)
    queue.add(msgspec.structs.replace(closes, openings=(digest.key,)))
    step = queue.next(START + 21 * S)
    assert isinstance(step, SendStep)
    assert step.reply_to == digest.message_id
    assert queue.opening("p3", None).key == digest.key


# Topics.


def test_what_is_for_a_closed_topic_goes_to_general_until_it_is_tried_again():
    queue = chat_queue(post("a", 1, topic=7), post("b", 2, topic=7), post("c", 3, topic=8))
    step = queue.begin(queue.next(START), START)
    assert queue.topic(step.post, START) == 7
    queue.topic_refused(step.post, "TOPIC_CLOSED", START)
    assert queue.posts["a"].state is PostState.RETRY
    assert [queue.topic(queue.posts[key], START + S) for key in "abc"] == [None, None, 8]
    assert order(queue, S) == ["a", "b", "c"]
    queue.add(post("d", 4, topic=7))
    later = queue.policy.off
    assert queue.topic(queue.posts["d"], START + later) == 7
    step = queue.begin(queue.next(START + later), START + later)
    queue.topic_refused(step.post, "TOPIC_CLOSED", START + later)
    assert [trouble.phrase for trouble in queue.problems] == ["trouble.topic"], "told once"
    queue.add(post("e", 5, topic=7))
    assert order(queue, 3 * later) == ["d", "e"]
    assert queue.state.closed_topics == {}, "it is open again"


# Edits.


def test_a_thread_is_edited_at_most_once_a_minute_and_only_if_something_changed():
    queue = chat_queue()
    post = queued(queue, 1, fall(0, -5.0))
    sent(queue, 0)
    see(queue, fall(30 * S, -5.0))
    assert queue.next(START + MIN) is None
    see(queue, fall(31 * S, -6.0))
    see(queue, fall(32 * S, -7.0))
    assert queue.next(START + 35 * S) == START + MIN
    step = queue.next(START + MIN)
    assert isinstance(step, EditStep)
    assert (step.post.key, step.message_id) == (post.key, 11)
    assert step.text.startswith("🔴 <b>BTC price −7.0%</b>")
    queue.begin(step, START + MIN)
    see(queue, fall(MIN, -8.0))
    queue.edited(step, Edited.CHANGED, START + MIN)
    assert queue.next(START + MIN) == START + 2 * MIN, "the newer one is still to come"


def test_an_edit_that_cannot_be_made_any_more_is_not_made():
    queue = chat_queue()
    queued(queue, 1, fall(0, -5.0))
    sent(queue, 0)
    grow(queue, msgspec.structs.replace(fall(S, -1.0), turn=CLOSE), at=S)
    step = queue.next(START + MIN)
    assert isinstance(step, EditStep)
    queue.edited(step, Edited.GONE, START + MIN)
    assert queue.next(START + HOUR) is None


def test_an_end_found_again_after_a_restart_still_ends_its_episode():
    queue = chat_queue(post("open", 1, episodes=["e"]))
    opened = sent(queue, 0)
    end = post("end", 2, episodes=["e"], turn=CLOSE, openings=("open",))
    later = chat_queue(opened, end)
    assert later.posts["open"].open == ()


def test_what_is_no_thread_is_not_edited():
    queue = chat_queue(post("d", 1, episodes=["a", "b"]))
    sent(queue, 0)
    see(queue, fall(S, -5.0))
    assert queue.next(START + HOUR) is None


# Memory.


def test_what_is_over_is_forgotten_after_hours_and_what_goes_on_is_kept():
    queue = chat_queue(post("open", 1, episodes=["e"]), post("notice", 2, episodes=[]))
    order(queue)
    queue.prune(START + 7 * HOUR)
    assert list(queue.posts) == ["open"]
    queue.add(post("end", 3, episodes=["e"], turn=CLOSE, openings=("open",)))
    order(queue)
    queue.prune(START + 7 * HOUR)
    assert queue.posts == {}
    assert queue.changed == {"open": None, "notice": None, "end": None}


def test_there_is_a_most():
    queue = chat_queue(*(post(f"p{n}", n) for n in range(12)), policy=Policy(most=5))
    order(queue)
    queue.prune(START)
    assert list(queue.posts) == [f"p{n}" for n in range(7, 12)]


# Whatever happens.


class Channel:
    """What is really in the chat: its messages by number; ``kept`` those that were deleted."""

    def __init__(self) -> None:
        self.texts: list[str | None] = ["before"] * 10
        self.foreign = set[int]()

    def somebody_posts(self) -> None:
        self.texts.append("somebody else's")
        self.foreign.add(len(self.texts))

    def carry_out(self, step) -> Edited | int:
        match step:
            case ProbeStep(_, number) if number in self.foreign:
                return Edited.FOREIGN
            case SendStep():
                self.texts.append(step.post.body)
                return len(self.texts)
            case ProbeStep(post, number):
                if number > len(self.texts):
                    return Edited.GONE
                same = self.texts[number - 1] == post.body
                self.texts[number - 1] = post.body
                return Edited.SAME if same else Edited.CHANGED
            case DeleteStep(number):
                self.texts[number - 1] = None
        return Edited.CHANGED


@given(
    st.lists(st.sampled_from(["ok", "later", "lost", "unseen", "killed", "foreign"]), max_size=60)
)
@example(["lost", "foreign", "foreign", "ok", "foreign", "unseen"])
@example(["unseen", "ok", "foreign", "ok", "ok"])
@example(["killed", *["lost"] * 6, "unseen", "unseen", "ok", "unseen", *["lost"] * 4])
@example(
    [
        "lost",
        "unseen",
        "unseen",
        "unseen",
        "unseen",
        "unseen",
        "lost",
        "unseen",
        "ok",
        "unseen",
        "unseen",
        "unseen",
        "unseen",
        "lost",
        "unseen",
        "unseen",
        "unseen",
        "unseen",
        "lost",
        "ok",
    ]
)
def test_whatever_happens_nothing_is_lost_and_repeats_say_so(fates):
    queue, channel = chat_queue(*(post(str(n), n) for n in range(5))), Channel()
    now = START
    for fate in [*fates, *["ok"] * 40]:
        if fate == "foreign":
            channel.somebody_posts()
            continue
        step = queue.next(now)
        while isinstance(step, int):
            now, step = step, queue.next(step)
        if step is None:
            break
        step = queue.begin(step, now)
        sending = step.post if isinstance(step, SendStep) else None
        if fate == "later":
            queue.put_off(sending, now, now + S)
            continue
        answer = None if fate == "unseen" else channel.carry_out(step)
        if fate == "ok":
            match step:
                case SendStep():
                    queue.sent(step.post, answer, now)
                case ProbeStep():
                    queue.probed(step, answer, now)
                case DeleteStep():
                    queue.deleted(step.message_id)
        elif fate == "killed":
            kept = queue.state  # was made durable before the request
            queue = chat_queue(*queue.posts.values())
            queue.state = kept
            queue.recover()
        elif isinstance(step, ProbeStep):
            queue.unprobed(step, now)
        else:
            queue.outcome_unknown(sending, now)
    assert all(post.state in SETTLED for post in queue.posts.values())
    for name in "01234":
        there = [t for t in channel.texts if t and t.startswith(f"<b>{name}</b>")]
        assert there
        assert all("↻" in text for text in there[1:])
    assert all(channel.texts[number - 1] == "somebody else's" for number in channel.foreign)


# Text.


def test_blocks_never_cut_markup():
    text = "a\n<blockquote expandable>b\nc</blockquote>\n<b>d</b>"
    assert blocks(text) == ["a", "<blockquote expandable>b\nc</blockquote>", "<b>d</b>"]
    assert fitted(blocks(text), 3) == "a\n<b>d</b>"


lines_of_text = st.lists(
    st.sampled_from(["<b>bold</b> &amp; x", "plain", "<i>a\nb</i>", "🟠 <a href='u'>link</a>"]),
    min_size=2,
    max_size=300,
)


@given(lines_of_text, st.integers(20, 4_096))
def test_what_is_made_to_fit_is_valid_markup_and_short_enough(parts, limit):
    text = fitted(parts, limit)
    assert len(parsed(text).encode("utf-16-le")) // 2 == visible(text) <= max(limit, 40)
    assert text.startswith(parts[0])
    assert text.endswith(parts[-1])


def test_a_short_post_stays_short_when_something_is_added():
    body = "\n".join(["<b>head</b>", *["x" * 60] * 7, "#tags"])
    text = with_lines(body, ["⏱ 4 min late"], single=True)
    assert visible(text) <= 500
    assert text.split("\n")[-2:] == ["#tags", "⏱ 4 min late"]


def test_a_short_digest_gives_up_no_one_to_say_that_it_is_late():
    heads = "\n".join(f"<b>{'x' * 59} {n}</b>" for n in range(8))
    message = msgspec.structs.replace(post("d", 1).message, html=heads)
    assert 480 < visible(heads) <= 500
    queue = chat_queue(post("d", 1, message=message, count=8, at=-4 * MIN))
    assert sent(queue, 0).body == f"{heads}\n⏱ 4 min late"


def test_very_many_become_digests_that_fit_and_leave_no_one_out():
    queue = chat_queue(*(post(f"{n}", n, message=_long(n)) for n in range(1, 101)))
    queue.put_off(None, START, START + S, flood=True)
    bodies = [queue.posts[key].body for key in order(queue, 20 * S)]
    assert 2 <= len(bodies) <= 4
    assert all(visible(body) <= MOST_CHARS and parsed(body) for body in bodies)
    assert [f"name {n}</b>" in "".join(bodies) for n in range(1, 101)] == [True] * 100


def test_too_many_critical_posts_to_be_sent_at_once_become_one():
    queue = chat_queue(*(post(f"c{n}", n, CRITICAL) for n in range(9)), limits=Limits())
    assert order(queue) == ["c0", "c1", "c2"]
    rest = sent(queue, S)
    assert (rest.count, rest.message.level) == (6, CRITICAL)
    assert rest.body.startswith("🔴 <b>6 critical posts at once</b>\n<b>c3</b>\n<b>c4</b>")
    assert queue.idle()


def _long(n: int):
    message = post("x", n).message
    return msgspec.structs.replace(
        message, html=f"<b>{'long name ' * 8}{n}</b>\n<i>facts</i>\n#tag"
    )


def test_records_survive_as_bytes():
    queue = chat_queue(post("a", 1))
    record = sent(queue, 0)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=Post) == record
    assert as_message(record, "<b>x</b>").plain == "x"


def test_a_digest_is_what_its_posts_are_together():
    """As bad as the worst, as late as the latest, silent only if all are; its turn is an end, and
    it ends the openings that it is of, only if all are ends."""
    first = post("a", 1, WATCH, at=2 * S, alerts=("a1", "x"), topic=3)
    later = post("b", 2, CRITICAL, at=S, alerts=("x", "b1"), topic=3, gathered=2)
    end = post("c", 3, ALERT, turn=CLOSE, alerts=("c1",), openings=("a", "c"), topic=3)
    (digest,) = digests([first, later, end], "collapsed")
    assert (digest.key, digest.chat, digest.number, digest.topic) == ("digest a +2", "-1", 3, 3)
    assert (digest.at, digest.expires) == (START + 2 * S, START + 2 * S + HOUR)
    assert digest.alerts == ("a1", "x", "b1", "c1")
    assert (digest.names, digest.episodes) == (("a", "b", "c"), ("a", "b", "c"))
    assert (digest.open, digest.openings) == (("a", "b"), ())
    assert (digest.count, digest.gathered, digest.title) == (3, 4, "collapsed")
    message = digest.message
    assert (message.level, message.turn, message.silent, message.asset) == (
        CRITICAL,
        Turn.OPEN,
        False,
        "",
    )
    (ends,) = digests([end, msgspec.structs.replace(end, key="d", openings=("d",))], "collapsed")
    assert (ends.message.turn, ends.openings) == (CLOSE, ("a", "c", "d"))
    (quiet,) = digests([first, msgspec.structs.replace(first, key="e")], "collapsed")
    assert quiet.message.silent
    assert digests([first], "collapsed") == [first]
