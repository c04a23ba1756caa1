"""One chat's posts as calls and numbers: order, replies, edits, expiry, doubts, digests."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bot.delivery.pace import NONE, Limits
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
from bot.destination import TelegramChat, WebhookName
from bot.messages.blocks import MOST_CHARS, blocks, fitted, plain, visible, with_lines
from rules.alerts import Alert, Level, Turn
from tests.bot.delivery.test_rendering import cascade, fall, queued, see
from tests.bot.fake_telegram import parsed
from tests.bot.plan.test_planner import alert
from tests.bot.posts import HOUR, MIN, START, S, line, order, post, sent

WATCH, ALERT, CRITICAL = Level
CLOSE = Turn.CLOSE


def test_critical_goes_first_and_the_others_as_they_came():
    made = line(post("a", 1), post("b", 2, WATCH), post("c", 3, CRITICAL), post("d", 4, CRITICAL))
    assert order(made) == ["c", "d", "a", "b"]


def test_a_critical_turn_takes_the_earlier_ones_of_its_episodes_with_it():
    made = line(
        post("other", 1),
        post("digest", 2, episodes=["x", "y"]),
        post("y opens", 3, WATCH, episodes=["y"]),
        post("z", 4),
        post("x up", 5, CRITICAL, episodes=["x"]),
    )
    assert order(made) == ["digest", "x up", "other", "y opens", "z"]


episodes = st.lists(st.sampled_from("abcde"), min_size=1, max_size=2, unique=True)


@given(st.lists(st.tuples(st.sampled_from(Level), episodes), max_size=25))
def test_turns_of_an_episode_keep_their_order(kinds):
    made = line(*(post(str(n), n, level, told) for n, (level, told) in enumerate(kinds)))
    numbers = [int(key) for key in order(made)]
    assert sorted(numbers) == list(range(len(kinds)))
    for name in "abcde":
        mine = [n for n in numbers if name in kinds[n][1]]
        assert mine == sorted(mine)


def test_a_post_that_was_sent_is_never_sent_again():
    made = line(post("a", 1))
    assert sent(made, 0).message_id == 11
    made.add(post("a", 1))
    assert made.next(START) is None
    assert made.idle()


def test_turns_and_the_end_reply_to_the_opening():
    made = line(
        post("open", 1, episodes=["e"]),
        post("up", 2, episodes=["e"], openings=("open",)),
        post("end", 3, episodes=["e"], turn=CLOSE, openings=("open",), ends={"e": "⚪ Over."}),
    )
    replies = []
    for _ in range(3):
        step = made.next(START)
        assert isinstance(step, SendStep)
        replies.append(step.reply_to)
        sent(made, 0)
    assert replies == [None, 11, 11]


def test_an_end_whose_beginning_was_not_told_is_not_told():
    made = line(
        post("open", 1, episodes=["e"], expires=START - 1),
        post("end", 2, episodes=["e"], turn=CLOSE, openings=("open",), ends={"e": "over"}),
    )
    assert made.next(START) is None
    assert made.posts["end"].reason == "its beginning was not told"


def test_while_an_opening_is_uncertain_its_end_waits():
    made = line(
        post("open", 1, episodes=["e"]),
        post("end", 2, episodes=["e"], turn=CLOSE, openings=("open",), ends={"e": "over"}),
    )
    step = made.begin(made.next(START), START)
    made.doubtful(step.post, START)
    assert made.next(START) == START + S
    assert isinstance(made.next(START + S), ProbeStep)


def test_late_posts_say_so_and_expired_ones_are_named_in_the_next():
    made = line(post("old", 1, at=-2 * HOUR), post("late", 2, at=-4 * MIN), post("new", 3))
    assert sent(made, 0).body.split("\n")[-2:] == ["⏳ +1 older left out: old", "⏱ 4 min late"]
    assert sent(made, 0).body == "<b>new</b>\nfacts\n#tag"
    assert made.posts["old"].state is PostState.EXPIRED


def test_what_was_left_out_is_said_until_it_has_arrived():
    made = line(post("old", 1, at=-2 * HOUR), post("a", 2), post("b", 3), probe=False)
    step = made.begin(made.next(START), START)
    made.refused(step.post, "too long", START)
    assert "left out: old" in sent(made, 0).body


# Uncertain posts.


def uncertain(**how):
    made = line(post("a", 1), post("b", 2, CRITICAL), **how)
    step = made.begin(made.next(START), START)
    assert step.post.key == "b"
    made.doubtful(step.post, START)
    return made


def probe(made, now: int, found: Edited | None) -> ProbeStep:
    step = made.next(START + now)
    assert isinstance(step, ProbeStep), step
    made.begin(step, START + now)
    if found is None:
        made.unprobed(step, START + now)
    else:
        made.probed(step, found, START + now)
    return step


def test_an_uncertain_post_is_looked_for_as_the_next_message_and_found():
    made = uncertain()
    assert made.next(START) == START + S, "not at once: it may still arrive"
    assert probe(made, 2 * S, Edited.SAME).message_id == 11
    assert made.posts["b"].state is PostState.SENT
    assert made.posts["b"].message_id == made.state.last_id == 11
    assert order(made, 2 * S) == ["a"]


def test_an_uncertain_post_that_is_not_there_is_sent_again_without_a_word():
    made = uncertain()
    probe(made, 2 * S, Edited.GONE)
    again = sent(made, 2 * S)
    assert (again.key, again.attempts, again.again) == ("b", 2, False)
    assert "↻" not in again.body


def test_somebody_elses_message_is_passed_over():
    made = uncertain()
    assert probe(made, 2 * S, Edited.FOREIGN).message_id == 11
    assert probe(made, 2 * S, Edited.SAME).message_id == 12


def test_what_arrived_after_all_is_deleted_once_the_resent_one_shows_it():
    made = uncertain()
    probe(made, 2 * S, Edited.GONE)
    sent(made, 2 * S, message_id=12)
    step = made.next(START + 2 * S)
    assert step == DeleteStep(11)
    made.deleted(11)
    assert order(made, 2 * S) == ["a"]


def test_of_several_copies_the_last_is_kept():
    made = uncertain()
    now = 0
    for _ in range(made.policy.probes):
        now = made.next(START + now) - START
        probe(made, now, None)
    now = made.next(START + now) - START
    step = made.begin(made.next(START + now), START + now)
    made.doubtful(step.post, START + now)
    now = made.next(START + now) - START
    found = (Edited.CHANGED, Edited.SAME, Edited.GONE)
    assert [probe(made, now, one).message_id for one in found] == [11, 12, 13]
    assert (made.posts["b"].message_id, made.state.last_id) == (12, 12)
    assert made.next(START + now) == DeleteStep(11)


def test_what_is_sent_again_goes_before_what_is_critical():
    made = uncertain()
    probe(made, 2 * S, Edited.GONE)
    made.add(post("c", 3, CRITICAL))
    assert order(made, 2 * S) == ["b", "c", "a"]


def test_what_cannot_be_looked_for_is_sent_again_and_says_so():
    made = uncertain()
    now = 0
    for _ in range(made.policy.probes):
        now = made.next(START + now) - START
        probe(made, now, None)
    now = made.next(START + now) - START
    again = sent(made, now)
    assert again.body.split("\n")[3] == f"↻ Sent again, perhaps twice (no. {short_id(again)})"


@pytest.mark.parametrize("how", ["no channel", "last number unknown"])
def test_without_a_number_to_look_at_it_is_sent_again_and_says_so(how: str):
    made = uncertain(probe=how != "no channel")
    if how == "last number unknown":
        made.state = msgspec.structs.replace(made.state, last_id=None)
    assert sent(made, 2 * S, 20).again


def test_what_cannot_be_looked_for_may_be_dropped_instead():
    made = uncertain(probe=False, policy=Policy(on_uncertain="drop"))
    assert order(made, 2 * S) == ["a"]
    assert made.posts["b"].state is PostState.FAILED
    assert [t.phrase for t in made.troubles] == ["trouble.failed"]


def test_whoever_finds_a_post_half_sent_does_not_know_whether_it_arrived():
    made = line(post("a", 1))
    made.begin(made.next(START), START)
    later = line(*made.posts.values())
    assert later.recover() == 1
    assert isinstance(later.next(START), ProbeStep)


# What waits of one episode.


def burst(at: int, musd: float, turn: Turn = Turn.WORSE, level: Level = CRITICAL, opened: int = 0):
    """A turn of liquidations that began at ``opened``."""
    return alert(
        at, "C00", level, "liq:1m", turn, opened, metric="liq_1m_musd", unit="million USD",
        fires="above", value=musd, extreme=musd, threshold=5.0,
    )  # fmt: skip


def first_lines(made: ChatQueue, now: int = 0) -> list[str]:
    return [plain(made.posts[key].body).split("\n")[0] for key in order(made, now)]


def test_turns_that_waited_while_nobody_was_there_are_told_once_as_it_is_now():
    """The opening was posted; the bot was away while it got worse twice."""
    made = line()
    opening = queued(made, 1, burst(0, 6.0, Turn.OPEN))
    assert first_lines(made) == ["🔴 C00 liquidations ≥ $6M"]
    worse = [burst(3 * S, 20.0), burst(6 * S, 40.0), burst(8 * S, 51.3)]
    for number, turn in enumerate(worse, start=2):
        queued(made, number, turn, at=number * S)
    see(made, burst(9 * S, 51.3))
    assert first_lines(made, 10 * S) == ["🔴 C00 liquidations go on: ≥ $51.3M"]
    [post] = [post for post in made.posts.values() if post.key != opening.key]
    assert post.alerts == tuple(turn.id for turn in worse)
    assert (post.count, post.openings, post.at) == (1, (opening.key,), START + 2 * S)
    assert sum(value is None for value in made.changed.values()) == 2
    assert (made.state.left, made.troubles) == (0, [])


def test_an_opening_that_waits_takes_in_what_got_worse_and_rings_if_that_rings():
    made = line(limits=Limits())
    opening = queued(made, 1, burst(0, 1.0, Turn.OPEN, WATCH), silent=True)
    queued(made, 2, burst(2 * S, 6.0, Turn.UP), at=2 * S)
    queued(made, 3, burst(3 * S, 9.0), at=3 * S)
    end = burst(9 * S, 0.0, CLOSE)
    queued(made, 4, end, at=9 * S, silent=True)
    assert first_lines(made, 10 * S) == ["🔴 C00 liquidations ≥ $9M"]
    told = made.posts[opening.key]
    assert (told.message.silent, told.message.level, told.message.turn) == (
        False, CRITICAL, Turn.OPEN,
    )  # fmt: skip
    [after] = [post for post in made.posts.values() if post.close]
    assert after.openings == (opening.key,)
    assert first_lines(made, MIN)[0].startswith("⚪ ")


def test_a_risen_level_is_told_as_such_with_the_newest_value():
    made = line()
    queued(made, 1, burst(0, 1.0, Turn.OPEN, ALERT))
    order(made)
    queued(made, 2, burst(S, 6.0, Turn.UP))
    queued(made, 3, burst(2 * S, 9.0))
    assert first_lines(made, 3 * S) == ["🔴 C00 liquidations now critical: ≥ $9M"]


def test_what_was_told_with_the_newest_values_is_not_told_again():
    """The rules' values can be known before the alert that they cause has been read."""
    made = line()
    queued(made, 1, burst(0, 6.0, Turn.OPEN))
    order(made)
    see(made, burst(8 * S, 51.3))
    first = queued(made, 2, burst(6 * S, 40.0))
    assert first_lines(made, 8 * S) == ["🔴 C00 liquidations go on: ≥ $51.3M"]
    same = burst(8 * S, 51.3)
    queued(made, 3, same)
    assert order(made, 9 * S) == []
    assert made.posts[first.key].alerts[-1] == same.id
    queued(made, 4, burst(9 * S, 60.0))
    assert first_lines(made, 10 * S) == ["🔴 C00 liquidations go on: ≥ $60M"]


def test_what_would_ring_is_told_although_a_silent_post_said_the_same():
    made = line()
    see(made, burst(8 * S, 51.3))
    queued(made, 1, burst(0, 1.0, Turn.OPEN, WATCH), silent=True)
    order(made)
    queued(made, 2, burst(8 * S, 51.3, Turn.UP))
    assert first_lines(made, 9 * S) == ["🔴 C00 liquidations now critical: ≥ $51.3M"]


def test_an_edit_that_is_still_to_come_has_told_nothing():
    made = line()
    opening = queued(made, 1, burst(0, 6.0, Turn.OPEN))
    order(made)
    see(made, burst(8 * S, 51.3))
    assert made.posts[opening.key].live
    queued(made, 2, burst(8 * S, 51.3))
    assert first_lines(made, 9 * S) == ["🔴 C00 liquidations go on: ≥ $51.3M"]


def test_a_second_turn_of_a_composite_at_one_moment_knows_more():
    made = line()
    queued(made, 1, cascade(0, 50.0, 6.0))
    order(made)
    queued(made, 2, cascade(S, 40.0, 6.0))
    order(made, S)
    queued(made, 3, cascade(S, 40.0, 9.0), at=S)
    assert len(order(made, 2 * S)) == 1


@pytest.mark.parametrize("doubt", ["again", "doubted"])
def test_a_post_in_doubt_stays_itself_and_what_comes_behind_is_told_once(doubt: str):
    made = line(probe=doubt == "doubted")
    first = queued(made, 1, burst(0, 6.0, Turn.OPEN))
    step = made.begin(made.next(START), START)
    made.doubtful(step.post, START)
    if doubt == "doubted":
        probe(made, 2 * S, Edited.GONE)
    rest = [queued(made, 2 + n, burst((2 + n) * S, 20.0 + n)) for n in range(2)]
    step = made.next(START + 5 * S)
    assert isinstance(step, SendStep)
    assert getattr(step.post, doubt)
    assert (step.post.key, step.post.alerts) == (first.key, first.alerts)
    assert order(made, 5 * S) == [first.key, rest[0].key]
    assert made.posts[rest[0].key].alerts == (*rest[0].alerts, *rest[1].alerts)


def test_a_post_in_doubt_that_was_sent_again_with_the_newest_values_told_them():
    made = line()
    first = queued(made, 1, burst(0, 6.0, Turn.OPEN))
    step = made.begin(made.next(START), START)
    made.doubtful(step.post, START)
    probe(made, 2 * S, Edited.GONE)
    queued(made, 2, burst(3 * S, 51.3))
    see(made, burst(3 * S, 51.3))
    assert order(made, 5 * S) == [first.key]


def test_what_a_webhook_may_have_taken_stays_itself():
    made = ChatQueue("https", ChatState(destination=WebhookName("desk")), NONE)
    first = queued(made, 1, burst(0, 6.0, Turn.OPEN))
    step = made.begin(made.next(START), START)
    made.put_off(step.post, START, START)
    others = [queued(made, 2 + n, burst((2 + n) * S, 20.0 + n)) for n in range(2)]
    assert order(made, 5 * S) == [first.key, others[0].key]


def test_a_chat_that_takes_nothing_for_long_is_still_seen_to_be_stuck():
    made = line()
    for n in range(5):
        queued(made, n, burst(n * MIN, 6.0 + n, Turn.OPEN if n == 0 else Turn.WORSE), at=n * MIN)
        made.next(START + n * MIN)
    [post] = made.waiting()
    assert post.at == START
    assert "⏱ 5 min late" in sent(made, 5 * MIN).body


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
        told = next((kind for kind in (Turn.OPEN, Turn.UP) if kind in kinds), turns[-1].turn)
        level = max(turn.level for turn in turns)
        loud = any(turn.level > WATCH and turn.turn is not CLOSE for turn in turns)
        self.seen.append((name[0], told, turns[-1].value, level, loud))


STEPS = st.lists(st.sampled_from(["A", "B", "C", "A", "B", "over", "send", "later"]), max_size=40)


@given(STEPS, st.randoms(use_true_random=False))
def test_a_reader_of_a_slow_chat_sees_what_the_naive_model_says(steps, dice):
    made, model, seen = line(policy=Policy(crowded=99, rush=99)), Reader(), []
    turns: dict[str, list[Alert]] = {}
    said: list[str] = []
    for n, step in enumerate([*steps, *["send"] * 40]):
        now = START + n * S
        if step in ("send", "later"):
            following = made.next(now)
            if not isinstance(following, SendStep):
                assert model.waiting == []
                continue
            begun = made.begin(following, now)
            if step == "later":
                made.put_off(begun.post, now, now)
                continue
            made.sent(begun.post, n, now)
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
        queued(made, n, turn, at=n * S, silent=level is WATCH or kind is CLOSE)
        model.add(turn)
        said.append(turn.id)
    assert seen == model.seen
    assert made.idle()
    told = [of for post in made.posts.values() for of in post.alerts]
    assert sorted(told) == sorted(said), "each alert is accounted for once"
    assert (made.state.left, made.troubles) == (0, [])


# Refusals, pauses, chats that are off or have moved.


def test_refused_markup_is_sent_as_plain_text_and_then_given_up():
    made = line(post("a", 1))
    for markup in (True, False):
        step = made.begin(made.next(START), START)
        assert step.post.markup is markup
        made.refused_markup(step.post, "bad", START)
    assert made.posts["a"].state is PostState.FAILED


def test_a_chat_that_refuses_the_bot_is_left_alone_and_its_posts_wait():
    made = line(post("a", 1, expires=START + 9 * HOUR))
    for n in range(3):
        now = START + n * made.policy.off
        step = made.begin(made.next(now), now)
        made.turned_off(step.post, "kicked", now)
        assert made.next(now) == now + made.policy.off
    assert len(made.troubles) == 1, "told once"
    made.try_again()
    assert sent(made, 2 * made.policy.off).key == "a"
    assert made.state.off == ""


def test_a_chat_that_moved_is_followed_and_old_numbers_mean_nothing():
    made = line(post("open", 1, episodes=["e"]), post("up", 2, episodes=["e"], openings=("open",)))
    sent(made, 0)
    step = made.begin(made.next(START), START)
    made.moved(step.post, -100, START)
    step = made.next(START)
    assert isinstance(step, SendStep)
    assert (step.post.key, step.reply_to, made.state.address()) == ("up", None, TelegramChat(-100))


def test_after_a_flood_a_long_queue_becomes_one_digest():
    turns = [post(f"p{n}", n, WATCH) for n in range(1, 8)]
    made = line(*turns, post("crit", 8, CRITICAL))
    step = made.begin(made.next(START), START)
    made.put_off(step.post, START, START + 30 * S, flood=True)
    assert made.next(START) == START + 30 * S
    now = made.next(START + 30 * S)
    first = sent(made, 40 * S if isinstance(now, int) else 30 * S)
    assert first.key == "crit"
    digest = sent(made, 50 * S)
    assert digest.count == 7
    assert digest.body.split("\n") == [
        "⏳ <b>7 posts waited while Telegram asked for a pause</b>",
        *(f"<b>p{n}</b>" for n in range(1, 8)),
    ]
    assert made.next(START + 99 * S) is None


def test_digests_in_a_digest_keep_their_lists():
    lists = msgspec.structs.replace(post("p0", 0).message, html="<b>9 coins</b>\nA · B\n#tag")
    made = line(post("p0", 0, count=9, message=lists), *(post(f"p{n}", n) for n in range(1, 7)))
    made.put_off(None, START, START + S, flood=True)
    assert "<b>9 coins</b>\nA · B\n<b>p1</b>\n<b>p2</b>" in sent(made, 20 * S).body


def test_a_digest_within_a_digest_leaves_no_one_out():
    made = line(*(post(f"p{n}", n) for n in range(8)))
    made.put_off(None, START, START + S, flood=True)
    step = made.begin(made.next(START + 20 * S), START + 20 * S)
    made.put_off(step.post, START + 20 * S, START + 21 * S, flood=True)
    for n in range(8, 14):
        made.add(post(f"p{n}", n))
    body = sent(made, 40 * S).body
    assert body.split("\n") == [
        "⏳ <b>14 posts waited while Telegram asked for a pause</b>",
        *(f"<b>p{n}</b>" for n in range(14)),
    ]
    assert made.idle()


def test_few_waiting_posts_stay_themselves():
    made = line(*(post(f"p{n}", n) for n in range(5)))
    made.put_off(None, START, START + S, flood=True)
    assert len(order(made, 20 * S)) == 5


def test_a_digest_takes_the_place_of_openings():
    closes = post("end", 20, episodes=["p1"], turn=CLOSE, openings=("p1",), ends={"p1": "over"})
    made = line(*(post(f"p{n}", n) for n in range(1, 8)))
    made.put_off(None, START, START + S, flood=True)
    digest = sent(made, 20 * S)
    made.add(msgspec.structs.replace(closes, openings=(digest.key,)))
    step = made.next(START + 21 * S)
    assert isinstance(step, SendStep)
    assert step.reply_to == digest.message_id
    assert made.opening("p3", None).key == digest.key


# Topics.


def test_what_is_for_a_closed_topic_goes_to_general_until_it_is_tried_again():
    made = line(post("a", 1, topic=7), post("b", 2, topic=7), post("c", 3, topic=8))
    step = made.begin(made.next(START), START)
    assert made.topic(step.post, START) == 7
    made.topic_refused(step.post, "TOPIC_CLOSED", START)
    assert made.posts["a"].state is PostState.RETRY
    assert [made.topic(made.posts[key], START + S) for key in "abc"] == [None, None, 8]
    assert order(made, S) == ["a", "b", "c"]
    made.add(post("d", 4, topic=7))
    later = made.policy.off
    assert made.topic(made.posts["d"], START + later) == 7
    step = made.begin(made.next(START + later), START + later)
    made.topic_refused(step.post, "TOPIC_CLOSED", START + later)
    assert [trouble.phrase for trouble in made.troubles] == ["trouble.topic"], "told once"
    made.add(post("e", 5, topic=7))
    assert order(made, 3 * later) == ["d", "e"]
    assert made.state.closed_topics == {}, "it is open again"


# Edits.


def test_an_opening_is_edited_at_most_once_a_minute_and_only_if_something_changed():
    made = line(post("e", 1, live_of="−5% −5%"))
    sent(made, 0)
    made.live("en", [("e", "−5% −5%", "▸ now −5%")])
    assert made.next(START + MIN) is None
    made.live("en", [("e", "−6% −6%", "▸ now −6%")])
    made.live("en", [("e", "−7% −7%", "▸ now −7%")])
    assert made.next(START + 20 * S) == START + MIN
    step = made.next(START + MIN)
    assert step == EditStep(made.posts["e"], "<b>e</b>\nfacts\n#tag\n▸ now −7%", 11)
    made.begin(step, START + MIN)
    made.live("en", [("e", "−8% −8%", "▸ now −8%")])
    made.edited(step, Edited.CHANGED, START + MIN)
    assert made.next(START + MIN) == START + 2 * MIN, "the newer one is still to come"


def test_the_end_is_a_quiet_reply_and_the_openings_last_edit():
    made = line(post("open", 1, episodes=["e"]))
    sent(made, 0)
    made.add(post("end", 2, episodes=["e"], turn=CLOSE, openings=("open",), ends={"e": "⚪ Over."}))
    sent(made, 0)
    step = made.next(START + MIN)
    assert isinstance(step, EditStep)
    assert step.text.endswith("#tag\n⚪ Over.")
    made.edited(step, Edited.GONE, START + MIN)
    assert made.next(START + HOUR) is None, "a message that is gone is not edited again"


def test_an_end_found_again_after_a_restart_still_ends_its_episode():
    made = line(post("open", 1, episodes=["e"]))
    opened = sent(made, 0)
    end = post("end", 2, episodes=["e"], turn=CLOSE, openings=("open",), ends={"e": "⚪ Over."})
    later = line(opened, end)
    assert later.posts["open"].open == ()


def test_digests_are_not_edited():
    made = line(post("d", 1, episodes=["a", "b"]))
    sent(made, 0)
    made.live("en", [("a", "x", "y")])
    assert made.next(START + HOUR) is None


# Memory.


def test_what_is_over_is_forgotten_after_hours_and_what_goes_on_is_kept():
    made = line(post("open", 1, episodes=["e"]), post("notice", 2, episodes=[]))
    order(made)
    made.prune(START + 7 * HOUR)
    assert list(made.posts) == ["open"]
    made.add(post("end", 3, episodes=["e"], turn=CLOSE, openings=("open",), ends={"e": "x"}))
    order(made)
    made.prune(START + 7 * HOUR)
    assert made.posts == {}
    assert made.changed == {"open": None, "notice": None, "end": None}


def test_there_is_a_most():
    made = line(*(post(f"p{n}", n) for n in range(12)), policy=Policy(most=5))
    order(made)
    made.prune(START)
    assert list(made.posts) == [f"p{n}" for n in range(7, 12)]


# Whatever happens.


class Channel:
    """What is really in the chat: its messages by number; ``kept`` those that were deleted."""

    def __init__(self) -> None:
        self.texts: list[str | None] = ["before"] * 10

    def carry_out(self, step) -> Edited | int:
        match step:
            case SendStep():
                self.texts.append(step.post.body)
                return len(self.texts)
            case ProbeStep(told, number):
                if number > len(self.texts):
                    return Edited.GONE
                same = self.texts[number - 1] == told.body
                self.texts[number - 1] = told.body
                return Edited.SAME if same else Edited.CHANGED
            case DeleteStep(number):
                self.texts[number - 1] = None
        return Edited.CHANGED


@given(st.lists(st.sampled_from(["ok", "later", "lost", "unseen", "killed"]), max_size=60))
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
    made, channel = line(*(post(str(n), n) for n in range(5))), Channel()
    now = START
    for fate in [*fates, *["ok"] * 40]:
        step = made.next(now)
        while isinstance(step, int):
            now, step = step, made.next(step)
        if step is None:
            break
        step = made.begin(step, now)
        told = step.post if isinstance(step, SendStep) else None
        if fate == "later":
            made.put_off(told, now, now + S)
            continue
        answer = None if fate == "unseen" else channel.carry_out(step)
        if fate == "ok":
            match step:
                case SendStep():
                    made.sent(step.post, answer, now)
                case ProbeStep():
                    made.probed(step, answer, now)
                case DeleteStep():
                    made.deleted(step.message_id)
        elif fate == "killed":
            kept = made.state  # was made durable before the request
            made = line(*made.posts.values())
            made.state = kept
            made.recover()
        elif isinstance(step, ProbeStep):
            made.unprobed(step, now)
        else:
            made.doubtful(told, now)
    assert all(one.state in SETTLED for one in made.posts.values())
    for name in "01234":
        there = [t for t in channel.texts if t and t.startswith(f"<b>{name}</b>")]
        assert there
        assert all("↻" in text for text in there[1:])


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
    text = with_lines(body, ["⏱ 4 min late"], one=True)
    assert visible(text) <= 500
    assert text.split("\n")[-2:] == ["#tags", "⏱ 4 min late"]


def test_a_short_digest_gives_up_no_one_to_say_that_it_is_late():
    heads = "\n".join(f"<b>{'x' * 59} {n}</b>" for n in range(8))
    told = msgspec.structs.replace(post("d", 1).message, html=heads)
    assert 480 < visible(heads) <= 500
    made = line(post("d", 1, message=told, count=8, at=-4 * MIN))
    assert sent(made, 0).body == f"{heads}\n⏱ 4 min late"


def test_very_many_become_digests_that_fit_and_leave_no_one_out():
    made = line(*(post(f"{n}", n, message=_long(n)) for n in range(1, 101)))
    made.put_off(None, START, START + S, flood=True)
    bodies = [made.posts[key].body for key in order(made, 20 * S)]
    assert 2 <= len(bodies) <= 4
    assert all(visible(body) <= MOST_CHARS and parsed(body) for body in bodies)
    assert [f"name {n}</b>" in "".join(bodies) for n in range(1, 101)] == [True] * 100


def test_too_many_critical_posts_to_be_sent_at_once_become_one():
    made = line(*(post(f"c{n}", n, CRITICAL) for n in range(9)), limits=Limits())
    assert order(made) == ["c0", "c1", "c2"]
    rest = sent(made, S)
    assert (rest.count, rest.message.level) == (6, CRITICAL)
    assert rest.body.startswith("🔴 <b>6 critical posts at once</b>\n<b>c3</b>\n<b>c4</b>")
    assert made.idle()


def _long(n: int):
    told = post("x", n).message
    return msgspec.structs.replace(told, html=f"<b>{'long name ' * 8}{n}</b>\n<i>facts</i>\n#tag")


def test_records_survive_as_bytes():
    made = line(post("a", 1))
    told = sent(made, 0)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(told), type=Post) == told
    assert as_message(told, "<b>x</b>").plain == "x"


def test_a_digest_is_what_its_posts_are_together():
    """As bad as the worst, as late as the latest, silent only if all are; its turn is an end, and
    it ends the openings that it is of, only if all are ends."""
    first = post("a", 1, WATCH, at=2 * S, alerts=("a1", "x"), begins=("a",), topic=3)
    later = post("b", 2, CRITICAL, at=S, alerts=("x", "b1"), begins=("b",), topic=3, gathered=2)
    end = post("c", 3, ALERT, turn=CLOSE, alerts=("c1",), openings=("a", "c"), topic=3)
    (digest,) = digests([first, later, end], "collapsed")
    assert (digest.key, digest.chat, digest.number, digest.topic) == ("digest a +2", "-1", 3, 3)
    assert (digest.at, digest.expires) == (START + 2 * S, START + 2 * S + HOUR)
    assert digest.alerts == ("a1", "x", "b1", "c1")
    assert (digest.names, digest.episodes) == (("a", "b", "c"), ("a", "b", "c"))
    assert (digest.open, digest.begins, digest.openings) == (("a", "b"), ("a", "b"), ())
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
