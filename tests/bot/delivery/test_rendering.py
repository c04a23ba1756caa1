"""What a post says when it leaves and when it is edited: what is so at that moment."""

from collections.abc import Sequence

import msgspec
import pytest

from bot.delivery.outgoing import delivery_post
from bot.delivery.post import EditStep, Policy, Post, PostState, SendStep
from bot.delivery.queue import ChatQueue
from bot.delivery.sinks import Edited
from bot.destination import TelegramChat
from bot.lang import LANGUAGES
from bot.messages.render import live
from bot.plan.planner import Chat, Delivery
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
