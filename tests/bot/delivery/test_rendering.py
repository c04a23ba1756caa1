"""What a post says when it leaves and when it is edited: what is so at that moment."""

from collections.abc import Sequence
from random import Random

import msgspec
import pytest

from bot.delivery.outgoing import delivery_post
from bot.delivery.post import EditStep, Policy, Post, PostState, SendStep
from bot.delivery.queue import ChatQueue
from bot.delivery.rendering import alerts_of
from bot.delivery.sinks import Edited
from bot.destination import TelegramChat
from bot.lang import LANGUAGES
from bot.messages.render import live
from bot.plan.planner import Chat, Delivery, PlanState, plan
from rules.alerts import Alert, CascadeFacts, Level, Link, Turn
from tests.bot.plan.test_planner import alert
from tests.bot.posts import MIN, START, S, chat_queue, sent

POLICY = Policy()
EN = LANGUAGES["en"]


def queued(
    queue: ChatQueue, number: int, *alerts: Alert, at: int = 0, silent: bool = False
) -> Post:
    """What the plan wanted told at ``at`` joins the queue."""
    delivery = Delivery(alerts=alerts, at=START + at, silent=silent)
    chat = Chat(destination=TelegramChat(-1))
    post = delivery_post(delivery, chat, queue, [], number, POLICY)
    queue.add(msgspec.msgpack.decode(msgspec.msgpack.encode(post), type=Post))
    return queue.posts[post.key]


def see(queue: ChatQueue, *present: Alert) -> None:
    """The rules have published these values."""
    queue.present = {a.episode: a for a in present}
    queue.live("en", [(str(key), *live(a, EN)) for key, a in queue.present.items()])


def fall(at: int, value: float, asset: str = "BTC", level: Level = Level.CRITICAL, opened: int = 0):
    """An episode of a falling price that began at ``opened``, with its value at ``at``."""
    return alert(
        at, asset, level, "price_drop:1h", Turn.OPEN if at == opened else Turn.WORSE, opened,
        metric="price_1h_pct", value=value, extreme=value, threshold=-5.0,
    )  # fmt: skip


def cascade(at: int, depth: float, musd: float, asset: str = "BTC") -> Alert:
    """A cascade of thin depth and liquidations, each at its worst."""

    def link(rule: str, metric: str, unit: str, extreme: float) -> Link:
        return Link(
            at=START, family=rule, rule=rule, metric=metric, unit=unit, level=Level.CRITICAL,
            value=extreme, extreme=extreme, opened_at=START,
        )  # fmt: skip

    chain = (
        link("depth_thin", "depth_25bp_pct_of_normal", "% of normal", depth),
        link("liq_burst", "liq_10m_musd", "million USD", musd),
    )
    facts = CascadeFacts(
        within_ms=15 * MIN, needed=2, chain=chain, no_data=(), earlier=0, record_from=START
    )
    return alert(
        at, asset, Level.CRITICAL, "cascade", Turn.WORSE if at else Turn.OPEN, 0,
        metric="composite", unit="composite", fires="above", value=2.0, extreme=2.0,
        threshold=2.0, facts=facts,
    )  # fmt: skip


def edit_due(queue: ChatQueue, at: int) -> str:
    """The text of the edit that is due, made."""
    step = queue.next(START + at)
    assert isinstance(step, EditStep), step
    queue.begin(step, START + at)
    queue.edited(step, Edited.CHANGED, START + at)
    return step.text


# When it leaves.


def test_a_digest_that_waited_says_what_is_so_when_it_leaves():
    """Four cascades of 15:39:24, sent at 15:42:33: two minutes before its own edit said worse."""
    queue, coins = chat_queue(), ("BTC", "ETH", "SOL", "HYPE")
    post = queued(queue, 1, *(cascade(0, 19, 120, coin) for coin in coins))
    assert "depth 19% of normal" in post.message.plain
    see(queue, *(cascade(189 * S, 11, 215, coin) for coin in coins))
    body = sent(queue, 189 * S).body
    assert "depth 11% of normal" in body
    assert "≥ $215M" in body
    assert "19%" not in body
    assert "$120M" not in body
    assert f'unix="{(START + 189 * S) // 1000}"' in body


def test_one_alert_that_waited_says_its_present_value_with_its_time():
    queue = chat_queue()
    queued(queue, 1, fall(0, -13.1, "HYPE"))
    see(queue, fall(4 * MIN, -45.0, "HYPE"))
    body = sent(queue, 4 * MIN).body
    assert "−45" in body
    assert "−13.1" not in body
    assert body.endswith("⏱ 4 min late")
    assert f'unix="{(START + 4 * MIN) // 1000}"' in body


@pytest.mark.parametrize("published", [(), (fall(-10 * S, -4.0, opened=-10 * S),)])
def test_what_was_published_before_or_of_another_episode_changes_nothing(
    published: Sequence[Alert],
):
    queue = chat_queue()
    post = queued(queue, 1, fall(0, -6.0))
    see(queue, *published, fall(-1 * S, -5.5, "ETH"))
    assert sent(queue, 30 * S).body == post.message.html


def test_an_older_reading_of_the_same_episode_changes_nothing():
    queue = chat_queue()
    post = queued(queue, 1, fall(30 * S, -6.0, opened=0), at=30 * S)
    see(queue, fall(20 * S, -5.5))
    assert sent(queue, 30 * S).body == post.message.html


def test_the_worst_comes_first_when_it_leaves():
    queue = chat_queue()
    queued(queue, 1, *(fall(0, -9.0 + n, coin) for n, coin in enumerate(("BTC", "ETH", "SOL"))),
           fall(0, -5.5, "HYPE"))  # fmt: skip
    see(queue, fall(MIN, -45.0, "HYPE"))
    items = sent(queue, MIN).body.split("\n")[1]
    assert items.index("HYPE") < items.index("BTC")


def test_a_level_that_was_reached_is_not_taken_back_and_a_higher_one_is_told():
    queue = chat_queue()
    queued(queue, 1, fall(0, -6.0, "BTC", Level.ALERT))
    queued(queue, 2, fall(0, -6.0, "ETH", Level.ALERT))
    see(queue, fall(MIN, -12.0, "BTC", Level.CRITICAL), fall(MIN, -3.0, "ETH", Level.WATCH))
    assert sent(queue, MIN).body.startswith("🔴")
    assert sent(queue, MIN).body.startswith("🟠")


def test_a_post_that_must_wait_again_is_rendered_again():
    queue = chat_queue()
    queued(queue, 1, fall(0, -6.0))
    see(queue, fall(20 * S, -7.0))
    step = queue.begin(queue.next(START + 20 * S), START + 20 * S)
    assert isinstance(step, SendStep)
    assert "−7" in step.post.body
    queue.put_off(step.post, START + 20 * S, START + 40 * S)
    see(queue, fall(40 * S, -9.0))
    assert "−9" in sent(queue, 40 * S).body


def test_what_is_looked_for_has_the_text_that_was_sent():
    queue = chat_queue()
    queued(queue, 1, fall(0, -6.0))
    step = queue.begin(queue.next(START), START)
    see(queue, fall(2 * S, -9.0))
    queue.outcome_unknown(step.post, START)
    probe = queue.next(START + 2 * S)
    assert probe.post.body == step.post.body
    assert "−6" in probe.post.body


def test_what_replaces_a_crowd_says_what_is_so_too():
    queue = chat_queue()
    for n in range(7):
        queued(queue, n + 1, fall(0, -5.0 - n / 10, f"C{n}", Level.ALERT))
    queue.put_off(None, START, START + S, flood=True)
    see(queue, fall(30 * S, -31.0, "C3", Level.CRITICAL))
    post = sent(queue, 30 * S)
    assert post.count == 7
    assert post.body.startswith("⏳ <b>7 posts waited")
    (head,) = (text for text in post.body.split("\n") if "C3" in text)
    assert head.startswith("🔴")
    assert "−31" in head


def test_after_the_clock_was_set_back_what_comes_is_newer():
    queue = chat_queue()
    queued(queue, 1, fall(180 * MIN, -6.0, opened=0), at=180 * MIN)
    queue.set_back(180 * MIN)
    see(queue, fall(S, -9.0))
    assert "−9" in sent(queue, S).body


# What readers hear of first.


def turned(turn: Turn, *args: object, **how: object) -> Alert:
    return msgspec.structs.replace(fall(*args, **how), turn=turn)


def give_up(queue: ChatQueue, at: int, how: str) -> None:
    """The post that is next is refused, or, with all others at watch, waits until it is too old."""
    if how == "refused":
        step = queue.begin(queue.next(START + at), START + at)
        assert isinstance(step, SendStep)
        queue.refused(step.post, "Bad Request", START + at)
    else:
        queue.put_off(None, START + at, START + at + 65 * MIN)


@pytest.mark.parametrize("how", ["refused", "expired"])
@pytest.mark.parametrize("coins", [("BTC",), ("BTC", "ETH", "SOL", "HYPE")])
@pytest.mark.parametrize(("turn", "before"), [(Turn.UP, 0), (Turn.UP, 1), (Turn.WORSE, 0)])
def test_the_first_post_that_readers_get_is_the_beginning(
    how: str, coins: Sequence[str], turn: Turn, before: int
):
    """The opening was given up, "now critical" rang: −30 % was never edited in, nor the end told.
    ``before``: whether the rise waits already when the opening is given up."""
    queue, later = chat_queue(), 66 * MIN
    queued(queue, 1, *(fall(0, -4.2, coin, Level.WATCH) for coin in coins), silent=True)
    rise = turned(turn, 50 * MIN, -12.0, "BTC")
    give_up(queue, 0, how)
    if before and (how, len(coins)) != ("expired", 1):  # then both become one post
        queued(queue, 2, rise, at=50 * MIN)
        assert not isinstance(queue.next(START + 65 * MIN - 1), SendStep) or how == "refused"
    else:
        queue.next(START + 65 * MIN - 1)
        queue.next(START + 65 * MIN)
        queued(queue, 2, rise, at=50 * MIN)
    post = sent(queue, later)
    assert post.body.startswith("🔴 <b>BTC price −12.0%</b>"), post.body
    assert not post.message.silent
    see(queue, fall(70 * MIN, -30.0, "BTC"))
    assert "−30.0%" in edit_due(queue, 70 * MIN).split("\n")[0]
    end = queued(queue, 3, turned(Turn.CLOSE, 80 * MIN, -1.0, "BTC"), at=80 * MIN, silent=True)
    step = queue.next(START + 80 * MIN)
    assert isinstance(step, SendStep)
    assert (step.post.key, step.reply_to) == (end.key, post.message_id)
    sent(queue, 80 * MIN)
    assert edit_due(queue, 90 * MIN).split("\n")[-1].startswith("⚪ Over since")


def test_a_rise_after_an_opening_that_was_sent_is_no_opening():
    queue = chat_queue()
    queued(queue, 1, fall(0, -6.0, level=Level.ALERT))
    sent(queue, 0)
    queued(queue, 2, turned(Turn.UP, MIN, -9.0), at=MIN)
    give_up(queue, MIN, "refused")
    queued(queue, 3, turned(Turn.WORSE, 2 * MIN, -20.0), at=2 * MIN)
    post = sent(queue, 2 * MIN)
    assert "keeps falling" in post.body
    assert post.begins == ()


@pytest.mark.parametrize("titles", [1, 2])
def test_a_digest_of_ends_leaves_out_what_was_never_told(titles: int):
    """ETH was told, BTC was not: "2 coins: price steadier" named both. ``titles`` 2: seven ends of
    which each has a post became a digest."""
    queue, rest = chat_queue(), ("ETH", "SOL", "HYPE", "XRP", "DOGE", "ADA")
    queued(queue, 1, fall(0, -6.0, "BTC"))
    queue.put_off(None, START, START + 125 * MIN)
    queued(queue, 2, *(fall(100 * MIN, -6.0, coin, opened=100 * MIN) for coin in rest),
           at=100 * MIN)  # fmt: skip
    opening = sent(queue, 126 * MIN)
    over = [turned(Turn.CLOSE, 130 * MIN, -1.0, "BTC")]
    over += [turned(Turn.CLOSE, 130 * MIN, -1.0, coin, opened=100 * MIN) for coin in rest]
    if titles == 1:
        queued(queue, 3, *over, at=130 * MIN, silent=True)
    else:
        for n, close in enumerate(over):
            queued(queue, 3 + n, close, at=130 * MIN, silent=True)
        queue.put_off(None, START + 130 * MIN, START + 131 * MIN, flood=True)
    step = queue.next(START + 131 * MIN)
    assert isinstance(step, SendStep)
    assert step.reply_to == opening.message_id
    post = sent(queue, 131 * MIN)
    assert "BTC" not in post.body
    assert all(coin in post.body for coin in rest[:5])
    assert post.count == len(post.alerts) == len(post.names) == len(rest)
    assert "6 " in post.body.split("\n")[0]
    (untold,) = (p for p in queue.posts.values() if p.close and p.state is PostState.EXPIRED)
    assert (untold.names, untold.reason) == (("BTC",), "its beginning was not told")
    assert untold.alerts == (over[0].id,)


def test_the_end_of_two_of_which_one_was_never_told_is_that_of_one():
    queue = chat_queue()
    queued(queue, 1, fall(0, -6.0, "BTC"))
    give_up(queue, 0, "refused")
    queued(queue, 2, fall(0, -6.0, "ETH"))
    sent(queue, 0)
    over = [turned(Turn.CLOSE, MIN, -1.0, coin) for coin in ("BTC", "ETH")]
    queued(queue, 3, *over, at=MIN, silent=True)
    assert sent(queue, MIN).body.startswith("⚪ <b>ETH price steadier: −1.0%.</b>")


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_given_up_readers_hear_of_a_beginning_first_and_of_its_end_last(seed: int):
    """Random turns of five coins, with outages and refusals, through the plan and the queue."""
    dice, queue, state = Random(seed), chat_queue(), PlanState()
    chat = Chat(destination=TelegramChat(-1), posts_per_hour=1_000)
    going: dict[str, Alert] = {}
    heard: dict[str, list[Turn]] = {}
    now = number = 0
    for _ in range(200):
        now += dice.randrange(5 * S, 90 * S)
        asset = dice.choice(("BTC", "ETH", "SOL", "HYPE", "XRP"))
        before, luck = going.get(asset), dice.random()
        if before is None:
            raised = fall(now, -5.0, asset, dice.choice(list(Level)), now)
        elif luck < 0.3:
            raised = msgspec.structs.replace(before, turn=Turn.CLOSE, seen=START + now)
        else:
            rises = luck < 0.6 and before.level < Level.CRITICAL
            raised = msgspec.structs.replace(
                fall(now, before.value * 1.5, asset, Level(before.level + rises),
                     before.opened_at - START),
                turn=Turn.UP if rises else Turn.WORSE,
            )  # fmt: skip
        going[asset] = raised
        if raised.turn is Turn.CLOSE:
            del going[asset]
        state, deliveries = plan(state, [raised], chat, (), START + now)
        for delivery in deliveries:
            number += 1
            queue.add(delivery_post(delivery, chat, queue, [], number, POLICY))
        see(queue, *going.values())
        if dice.random() < 0.02:
            outage = dice.choice((MIN, 10 * MIN, 65 * MIN))
            queue.put_off(None, START + now, START + now + outage, flood=dice.random() < 0.5)
        while not isinstance(step := queue.next(START + now), int | None):
            step = queue.begin(step, START + now)
            if isinstance(step, EditStep):
                queue.edited(step, Edited.CHANGED, START + now)
                continue
            assert isinstance(step, SendStep)
            if dice.random() < 0.05:
                queue.refused(step.post, "Bad Request", START + now)
                continue
            queue.sent(step.post, number, START + now)
            for shown in alerts_of(step.post.parts):
                heard.setdefault(str(shown.episode), []).append(shown.turn)
    assert heard
    for turns in heard.values():
        assert turns[0] is Turn.OPEN
        assert Turn.OPEN not in turns[1:]
        assert Turn.CLOSE not in turns[:-1]
    for post in queue.posts.values():
        if post.close and "beginning" in post.reason:
            assert heard.keys().isdisjoint(post.episodes)


# The clock of the streams is set back, ours is not.


def stepped(by: int, *alerts: Alert) -> list[Alert]:
    """``alerts`` by a clock that was set back by ``by`` after their episodes had begun."""
    return [msgspec.structs.replace(a, seen=a.seen - by, began=a.opened_at - by) for a in alerts]


@pytest.mark.parametrize("by", [180 * MIN, 4 * MIN])
def test_a_ring_is_told_though_the_clock_of_the_streams_was_set_back(by: int):
    """−10 % told by a clock 3 h ahead, which was then set right: −22 % did not ring, and edits
    stayed at −10 %."""
    queue = chat_queue()
    queued(queue, 1, fall(0, -10.0))
    sent(queue, 0)
    worse = fall(5 * MIN, -22.0)
    (seen,) = stepped(by, worse)
    see(queue, seen)
    queued(queue, 2, seen, at=5 * MIN)
    post = sent(queue, 5 * MIN)
    assert "−22.0%" in post.body
    assert not post.message.silent
    see(queue, *stepped(by, fall(7 * MIN, -25.0)))
    assert "−25.0%" in edit_due(queue, 7 * MIN).split("\n")[0]


def test_what_waits_takes_the_values_that_came_after_such_a_step():
    queue = chat_queue()
    queued(queue, 1, fall(0, -10.0))
    see(queue, *stepped(180 * MIN, fall(MIN, -14.0)))
    assert "−14.0%" in sent(queue, MIN).body
    see(queue, *stepped(180 * MIN, fall(30 * S, -16.0)))
    first = edit_due(queue, 10 * MIN).split("\n")[0]
    assert "−14.0%" in first, "the other is older than what was sent"


@pytest.mark.parametrize("by", [0, 180 * MIN])
def test_what_was_shown_already_does_not_ring_again_after_such_a_step(by: int):
    queue = chat_queue()
    queued(queue, 1, *stepped(by, fall(0, -10.0)))
    worse = stepped(by, fall(MIN, -22.0))
    see(queue, *worse)
    sent(queue, MIN)
    queued(queue, 2, *worse, at=MIN)
    assert not isinstance(queue.next(START + MIN), SendStep)


# Edits.


def test_a_digest_is_edited_while_what_began_in_it_gets_worse():
    """HYPE was told at −13.1 % and never at −45 %."""
    queue, coins = chat_queue(), ("BTC", "ETH", "SOL")
    queued(queue, 1, fall(0, -13.1, "HYPE"), *(fall(0, -6.0, coin) for coin in coins))
    sent(queue, 0)
    see(queue, fall(50 * S, -45.0, "HYPE"), fall(50 * S, -5.0, "BTC"))
    text = edit_due(queue, MIN)
    assert "HYPE <b>−45" in text or "HYPE −45" in text
    assert "BTC −6" in text, "milder than what is told: it is not taken back"
    assert "worst so far" in text
    see(queue, fall(70 * S, -30.0, "HYPE"))
    assert queue.next(START + 10 * MIN) is None
    see(queue, fall(80 * S, -46.0, "HYPE"))
    assert "HYPE −46" in edit_due(queue, 2 * MIN)


def test_the_headline_of_an_opening_goes_along():
    """A headline that stays "🟡 ≥ $15M" over "now ≥ $550M"."""

    def burst(at: int, musd: float, level: Level, extreme: float = 0.0) -> Alert:
        return alert(at, "BTC", level, "liq_burst", Turn.WORSE if at else Turn.OPEN, 0,
                     metric="liq_10m_musd", unit="million USD", fires="above", value=musd,
                     extreme=max(musd, extreme), threshold=10.0)  # fmt: skip

    queue = chat_queue()
    queued(queue, 1, burst(0, 15, Level.WATCH), silent=True)
    assert "≥ $15M" in sent(queue, 0).body
    see(queue, burst(MIN, 550, Level.CRITICAL))
    first, *_, last = edit_due(queue, MIN).split("\n")
    assert first.startswith("🔴")
    assert "≥ $550M" in first
    assert "now ≥ $550M" in last
    see(queue, burst(10 * MIN, 40, Level.CRITICAL, 550))
    first, *_, last = edit_due(queue, 10 * MIN).split("\n")
    assert "≥ $550M" in first, "the worst, which a milder reading does not take back"
    assert "now ≥ $40M" in last, "the present value is what the live line says"
    assert "worst ≥ $550M" in last


def test_an_edit_that_comes_while_its_opening_is_being_sent_is_made_after():
    queue = chat_queue()
    queued(queue, 1, fall(0, -6.0))
    step = queue.begin(queue.next(START), START)
    assert isinstance(step, SendStep)
    see(queue, fall(S, -9.0))
    queue.sent(step.post, 11, START + 2 * S)
    text = edit_due(queue, 2 * S + MIN)
    assert "−9" in text.split("\n")[0]
    assert "now −9" in text.split("\n")[-1]


def test_an_end_that_comes_while_its_opening_is_being_sent_is_told_in_it():
    queue = chat_queue()
    post = queued(queue, 1, fall(0, -6.0))
    step = queue.begin(queue.next(START), START)
    assert isinstance(step, SendStep)
    over = msgspec.structs.replace(fall(S, -1.0), turn=Turn.CLOSE)
    end = queued(queue, 2, over, at=S, silent=True)
    assert end.openings == (post.key,)
    assert end.close
    queue.sent(step.post, 11, START + 2 * S)
    assert queue.posts[post.key].open == ()
    assert sent(queue, 2 * S).key == end.key
    text = edit_due(queue, 2 * S + MIN)
    assert "−6" in text.split("\n")[0]
    assert text.split("\n")[-1].startswith("⚪ Over since")
    assert queue.next(START + 10 * MIN) is None


def test_what_cannot_change_any_more_keeps_no_alerts():
    queue = chat_queue()
    post = queued(queue, 1, fall(0, -6.0))
    sent(queue, 0)
    assert queue.posts[post.key].parts
    end = queued(queue, 2, msgspec.structs.replace(fall(S, -1.0), turn=Turn.CLOSE), at=S)
    sent(queue, S)
    edit_due(queue, 2 * MIN)
    assert [queue.posts[key].parts for key in (post.key, end.key)] == [(), ()]
    late = queued(queue, 3, fall(MIN, -6.0, "ETH", opened=MIN), at=MIN)
    queue.next(START + 3 * 60 * MIN)
    assert (queue.posts[late.key].state, queue.posts[late.key].parts) == (PostState.EXPIRED, ())
