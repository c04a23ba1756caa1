"""What a post says when it leaves and when it is edited: what is so at that moment."""

from collections.abc import Sequence
from random import Random

import msgspec
import pytest

from bot.delivery.outgoing import delivery_post, recap_post
from bot.delivery.post import EditStep, Policy, Post, PostState, SendStep, as_message
from bot.delivery.queue import ChatQueue, digests
from bot.delivery.rendering import rendered
from bot.delivery.sinks import Edited
from bot.destination import TelegramChat
from bot.lang import ENGLISH, LANGUAGES
from bot.messages.render import Button
from bot.plan.planner import ButtonAction, Chat, Delivery, PlanState, plan
from rules.alerts import Alert, CascadeFacts, Level, Link, Turn
from tests.bot.plan.test_planner import alert
from tests.bot.posts import HOUR, MIN, START, S, chat_queue, sent

POLICY = Policy()


def of_thread(*alerts: Alert, at: int, thread: str = "t", **how: object) -> Delivery:
    """What the plan makes of ``alerts``, all that is known of an event."""
    market = len({alert.asset for alert in alerts}) > 1
    turn = next((a.turn for a in alerts if a.turn is not Turn.OPEN), Turn.OPEN)
    return Delivery(
        **{"alerts": alerts, "at": START + at, "silent": False, "thread": thread, "turn": turn,
           "market": market, "began": min(a.opened_at for a in alerts), **how},
    )  # fmt: skip


def queued(
    queue: ChatQueue,
    number: int,
    *alerts: Alert,
    at: int = 0,
    silent: bool = False,
    thread: str = "",
    alone: bool = False,
) -> Post:
    """What the plan wanted told at ``at`` joins the queue: of each coin a thread of its own, or
    ``alone``, as a webhook gets it."""
    key = thread or " ".join(dict.fromkeys(alert.asset for alert in alerts))
    delivery = of_thread(*alerts, at=at, silent=silent, thread="" if alone else key)
    chat = Chat(destination=TelegramChat(-1))
    post = delivery_post(delivery, chat, queue, [], number, POLICY)
    queue.add(msgspec.msgpack.decode(msgspec.msgpack.encode(post), type=Post))
    return queue.posts[post.key]


def grow(queue: ChatQueue, *alerts: Alert, at: int = 0, thread: str = "", **how: object) -> bool:
    """The plan wants the thread to show ``alerts``, and nothing to ring."""
    key = thread or " ".join(dict.fromkeys(alert.asset for alert in alerts))
    delivery = of_thread(*alerts, at=at, thread=key, edit=True, **how)
    return queue.grow(delivery, None, START + at)


def see(queue: ChatQueue, *present: Alert) -> None:
    """The rules have published these values."""
    queue.present = {a.episode: a for a in present}
    queue.live()


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


WORST = 189 * S


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(("depth", "musd", "says"), [(80, 150, False), (40, 500, True)])
def test_what_waited_says_that_it_got_much_worse_while_it_is(together, depth, musd, says):
    """Depth 2 % of normal and ≥ $534M when it rang, and milder a minute later when it left."""
    queue, coins = chat_queue(), ("BTC", "ETH") if together else ("BTC",)
    for n, coin in enumerate(coins):
        queued(queue, n, cascade(0, 19, 120, coin))
        sent(queue, n * 5 * S)
    for n, coin in enumerate(coins, 2):
        parts = thin(WORST, 2, 2, coin), burst(WORST, 534, Level.CRITICAL, asset=coin)
        queued(queue, n, *parts, cascade(WORST, 2, 534, coin), at=WORST)
    if together:
        posts = queue.waiting()
        (digest,) = digests(posts, "collapsed")
        for post in posts:
            del queue.posts[post.key]
        queue.add(digest)
        assert digest.message.plain.count("much worse") == 2
    see(
        queue,
        *(cascade(WORST + MIN, 2, 534, coin) for coin in coins),
        *(thin(WORST + MIN, depth, 2, coin) for coin in coins),
        *(burst(WORST + MIN, musd, Level.CRITICAL, 534, coin) for coin in coins),
    )
    body = sent(queue, WORST + MIN).body
    assert body.count("much worse") == (len(coins) if says else 0)
    assert body.count(f"depth {depth}% (worst 2%) of normal") == len(coins)


@pytest.mark.parametrize(("value", "says"), [(-9.0, True), (-6.0, False)])
def test_one_alert_that_waited_is_further_while_it_is(value, says):
    queue = chat_queue()
    queued(queue, 1, fall(0, -7.0), alone=True)
    sent(queue, 0)
    queued(queue, 2, fall(MIN, -10.0), at=MIN, alone=True)
    see(queue, msgspec.structs.replace(fall(3 * MIN, value), extreme=-10.0))
    body = sent(queue, 3 * MIN).body
    assert ("keeps falling" in body) is says
    assert "worst −10.0%" in body


def test_what_rose_and_is_milder_has_risen_all_the_same():
    """A level that was reached is not taken back."""
    queue = chat_queue()
    queued(queue, 1, fall(0, -5.0, level=Level.ALERT))
    sent(queue, 0)
    queued(queue, 2, msgspec.structs.replace(fall(MIN, -10.0), turn=Turn.UP), at=MIN)
    see(queue, msgspec.structs.replace(fall(3 * MIN, -6.0), extreme=-10.0))
    assert "critical" in sent(queue, 3 * MIN).body


def test_what_nobody_can_judge_is_as_bad_as_it_was():
    queue = chat_queue()
    queued(queue, 1, cascade(0, 19, 120))
    sent(queue, 0)
    queued(queue, 2, burst(0, 100, Level.CRITICAL), cascade(WORST, 2, 534), at=WORST)
    assert "much worse" in sent(queue, WORST + MIN).body


def thin(at: int, depth: float, extreme: float, asset: str = "BTC") -> Alert:
    """Depth that was thinner than it is."""
    return alert(
        at, asset, Level.CRITICAL, "depth_thin", Turn.WORSE, 0, metric="depth_25bp_pct_of_normal",
        unit="% of normal", fires="below", value=depth, extreme=extreme, threshold=30.0,
    )  # fmt: skip


def test_one_alert_that_waited_says_its_present_value_with_its_time():
    queue = chat_queue()
    queued(queue, 1, fall(0, -13.1, "HYPE"))
    see(queue, fall(4 * MIN, -45.0, "HYPE"))
    body = sent(queue, 4 * MIN).body
    assert "−45" in body
    assert "−13.1" not in body
    assert body.endswith("⏱ 4 min late")
    assert f'unix="{(START + 4 * MIN) // 1000}"' in body


@pytest.mark.parametrize(("early", "late"), [(82.5, 119.7), (41.3, 260.0)])
def test_an_update_that_waited_minutes_has_the_number_of_when_it_leaves(early: float, late: float):
    """$82.5M was told when it was 119.7."""
    queue = chat_queue()
    queued(queue, 1, burst(0, 20, Level.ALERT))
    sent(queue, 0)
    queued(queue, 2, burst(MIN, early, Level.CRITICAL), at=MIN)
    see(queue, burst(5 * MIN, late, Level.CRITICAL))
    body = sent(queue, 5 * MIN).body
    assert f"≥ {ENGLISH.usd_at_least(late * 1e6)}" in body
    assert ENGLISH.usd_at_least(early * 1e6) not in body


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
    queued(queue, 1, *(fall(0, -4.2, coin, Level.WATCH) for coin in coins), silent=True, thread="t")
    rise = turned(turn, 50 * MIN, -12.0, "BTC")
    give_up(queue, 0, how)
    if before and how != "expired":  # then both become one post
        queued(queue, 2, rise, at=50 * MIN, thread="t")
        assert not isinstance(queue.next(START + 65 * MIN - 1), SendStep) or how == "refused"
    else:
        queue.next(START + 65 * MIN - 1)
        queue.next(START + 65 * MIN)
        queued(queue, 2, rise, at=50 * MIN, thread="t")
    post = sent(queue, later)
    assert post.body.startswith("🔴 <b>BTC price −12.0%</b>"), post.body
    assert not post.message.silent
    see(queue, fall(70 * MIN, -30.0, "BTC"))
    assert "−30.0%" in edit_due(queue, 75 * MIN).split("\n")[0]
    grow(queue, turned(Turn.CLOSE, 80 * MIN, -1.0, "BTC"), at=80 * MIN, thread="t")
    assert edit_due(queue, 90 * MIN).startswith("⚪ <b>BTC price steadier: −1.0%.</b>")


def test_a_rise_after_an_opening_that_was_sent_is_no_opening():
    queue = chat_queue()
    queued(queue, 1, fall(0, -6.0, level=Level.ALERT))
    sent(queue, 0)
    queued(queue, 2, turned(Turn.UP, MIN, -9.0), at=MIN)
    give_up(queue, MIN, "refused")
    queued(queue, 3, turned(Turn.WORSE, 2 * MIN, -20.0), at=2 * MIN)
    post = sent(queue, 2 * MIN)
    assert "keeps falling" in post.body


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
            if delivery.edit:
                queue.grow(delivery, None, START + now)
                continue
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
            elif isinstance(step, SendStep) and dice.random() < 0.05:
                queue.refused(step.post, "Bad Request", START + now)
                continue
            elif isinstance(step, SendStep):
                queue.sent(step.post, number, START + now)
            for part in step.post.parts if not step.post.goes_on else ():
                assert isinstance(part, Delivery)
                heard.setdefault(part.thread, []).append(part.turn)
    assert heard
    for turns in heard.values():
        assert turns[0] in (Turn.OPEN, Turn.CLOSE), "a rise of what nobody has heard of"
        over = turns.index(Turn.CLOSE) if Turn.CLOSE in turns else len(turns)
        assert set(turns[over:]) <= {Turn.CLOSE}


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
    assert "↪" in edit_due(queue, 5 * MIN)
    see(queue, *stepped(by, fall(7 * MIN, -25.0)))
    assert "−25.0%" in edit_due(queue, 7 * MIN).split("\n")[0]


def test_what_waits_takes_the_values_that_came_after_such_a_step():
    queue = chat_queue()
    queued(queue, 1, fall(0, -10.0))
    see(queue, *stepped(180 * MIN, fall(MIN, -14.0)))
    assert "−14.0%" in sent(queue, MIN).body
    see(queue, *stepped(180 * MIN, fall(30 * S, -16.0)))
    assert queue.next(START + 10 * MIN) is None, "it is older than what was sent"


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


def burst(at: int, musd: float, level: Level, extreme: float = 0.0, asset: str = "BTC") -> Alert:
    return alert(
        at, asset, level, "liq_burst", Turn.WORSE if at else Turn.OPEN, 0, metric="liq_10m_musd",
        unit="million USD", fires="above", value=musd, extreme=max(musd, extreme), threshold=10.0,
    )  # fmt: skip


def test_the_headline_says_the_present_and_the_peak():
    """A headline that stays "🟡 ≥ $15M" over "now ≥ $550M"."""
    queue = chat_queue()
    queued(queue, 1, burst(0, 15, Level.WATCH), silent=True)
    assert "≥ $15M" in sent(queue, 0).body
    see(queue, burst(MIN, 550, Level.CRITICAL))
    first = edit_due(queue, MIN).split("\n")[0]
    assert first == "🔴 <b>BTC liquidations ≥ $550M</b>"
    see(queue, burst(10 * MIN, 40, Level.CRITICAL, 550))
    first = edit_due(queue, 10 * MIN).split("\n")[0]
    assert first.startswith("🔴 <b>BTC liquidations ≥ $40M</b> (worst ≥ $550M at ")


@pytest.mark.parametrize(
    ("total", "longs", "words"),
    [(73.1, 65.2, "longs liquidated ≥ $65.2M"), (9.0, 1.26, "shorts liquidated ≥ $7.74M")],
)
def test_an_edit_of_a_cascade_tells_a_side_with_its_own_sum(total: float, longs: float, words: str):
    """ "longs liquidated ≥ $73.1M" where longs were 65.2 and shorts 7.9."""

    def of_sides(at: int, musd: float, longs: float) -> Alert:
        alert = cascade(at, 19, musd)
        assert isinstance(alert.facts, CascadeFacts)
        thin_books, liquidated = alert.facts.chain
        liquidated = msgspec.structs.replace(liquidated, extreme_longs=longs)
        chain = thin_books, liquidated
        return msgspec.structs.replace(
            alert, facts=msgspec.structs.replace(alert.facts, chain=chain)
        )

    queue = chat_queue()
    queued(queue, 1, of_sides(0, total / 2, longs / 2))
    sent(queue, 0)
    see(queue, of_sides(MIN, total, longs))
    first = edit_due(queue, MIN).split("\n")[0]
    assert words in first
    assert ENGLISH.usd_at_least(total * 1e6) not in first


def test_what_has_happened_is_edited_soon_and_what_goes_on_ever_more_slowly():
    queue = chat_queue()
    queued(queue, 1, fall(0, -6.0))
    sent(queue, 0)
    edits: list[int] = []
    for second in range(5, 2 * 60 * 60, 5):
        see(queue, fall(second * S, -6.0 - second / 100))
        if isinstance(queue.next(START + second * S), EditStep):
            edit_due(queue, second * S)
            edits.append(second)
    assert edits[:3] == [60, 120, 180]
    assert len(edits) < 35
    worse = fall(7_200 * S, -90.0, level=Level.CRITICAL)
    assert grow(queue, worse, alert(7_200 * S, rule="depth_thin"), at=7_200 * S)
    assert isinstance(queue.next(START + (edits[-1] + 60) * S), EditStep)


def test_nothing_that_a_reader_would_see_is_no_edit():
    queue = chat_queue()
    queued(queue, 1, fall(0, -6.01))
    sent(queue, 0)
    see(queue, fall(MIN, -6.02))
    assert queue.next(START + 10 * MIN) is None


def test_an_edit_that_comes_while_its_opening_is_being_sent_is_made_after():
    queue = chat_queue()
    queued(queue, 1, fall(0, -6.0))
    step = queue.begin(queue.next(START), START)
    assert isinstance(step, SendStep)
    see(queue, fall(S, -9.0))
    queue.sent(step.post, 11, START + 2 * S)
    assert "−9" in edit_due(queue, 2 * S + MIN).split("\n")[0]


def test_an_end_that_comes_while_its_opening_is_being_sent_is_told_in_it():
    queue = chat_queue()
    post = queued(queue, 1, fall(0, -6.0))
    step = queue.begin(queue.next(START), START)
    assert isinstance(step, SendStep)
    grow(queue, msgspec.structs.replace(fall(S, -1.0), turn=Turn.CLOSE), at=S)
    queue.sent(step.post, 11, START + 2 * S)
    assert queue.posts[post.key].open == ()
    assert edit_due(queue, 2 * S + MIN).startswith("⚪ <b>BTC price steadier")
    assert queue.next(START + 10 * MIN) is None


def test_what_is_over_before_its_opening_left_is_one_silent_post():
    queue = chat_queue()
    queue.put_off(None, START, START + 30 * MIN)
    queued(queue, 1, fall(0, -6.0))
    grow(queue, msgspec.structs.replace(fall(MIN, -1.0), turn=Turn.CLOSE), at=MIN)
    post = sent(queue, 31 * MIN)
    assert post.body.startswith("⚪ <b>BTC price steadier")
    assert post.message.silent
    assert queue.next(START + 90 * MIN) is None


def test_what_cannot_change_any_more_keeps_no_alerts():
    queue = chat_queue()
    post = queued(queue, 1, fall(0, -6.0))
    sent(queue, 0)
    assert queue.posts[post.key].parts
    grow(queue, msgspec.structs.replace(fall(S, -1.0), turn=Turn.CLOSE), at=S)
    edit_due(queue, 2 * MIN)
    assert queue.posts[post.key].parts == ()
    late = queued(queue, 3, fall(MIN, -6.0, "ETH", opened=MIN), at=MIN)
    queue.next(START + 3 * 60 * MIN)
    assert (queue.posts[late.key].state, queue.posts[late.key].parts) == (PostState.EXPIRED, ())


# Threads.


def over(at: int, asset: str = "BTC", opened: int = 0, price: float | None = None) -> Alert:
    end = fall(at, -1.0, asset, opened=opened)
    return msgspec.structs.replace(end, turn=Turn.CLOSE, price=price, extreme=-9.0)


def test_a_thread_goes_on_in_its_newest_post_and_the_one_before_says_so():
    queue = chat_queue()
    queued(queue, 1, fall(0, -6.0, level=Level.ALERT))
    opening = sent(queue, 0)
    queued(queue, 2, turned(Turn.UP, MIN, -12.0), at=MIN)
    step = queue.next(START + MIN)
    assert isinstance(step, SendStep)
    assert step.reply_to == opening.message_id
    ring = sent(queue, MIN)
    assert ring.body.startswith("🔴 <b>BTC price −12.0%, now critical</b>")
    step = queue.next(START + MIN)
    assert isinstance(step, EditStep)
    assert step.message_id == opening.message_id
    first, pointer = step.text.split("\n")
    assert "BTC price −6.0%" in first
    assert pointer.startswith("↪ As of ")
    queue.edited(step, Edited.CHANGED, START + MIN)
    see(queue, fall(3 * MIN, -20.0))
    step = queue.next(START + 3 * MIN)
    assert isinstance(step, EditStep)
    assert step.message_id == ring.message_id
    assert step.text.startswith("🔴 <b>BTC price −20.0%</b>"), "an edit rings for nothing"


def test_a_ring_that_is_given_up_leaves_the_thread_in_its_opening():
    queue = chat_queue()
    queued(queue, 1, fall(0, -6.0, level=Level.ALERT))
    opening = sent(queue, 0)
    queued(queue, 2, turned(Turn.UP, MIN, -12.0), at=MIN)
    give_up(queue, MIN, "refused")
    grow(queue, fall(2 * MIN, -15.0), at=2 * MIN)
    step = queue.next(START + 2 * MIN)
    assert isinstance(step, EditStep)
    assert step.message_id == opening.message_id
    assert "−15.0%" in step.text


def market_queued(queue: ChatQueue) -> Post:
    """The market's first post, which takes in BTC."""
    both = fall(MIN, -7.0, opened=0), fall(MIN, -5.0, "ETH", opened=MIN)
    post = queued(queue, 2, *both, at=MIN, thread="ALL")
    grow(queue, msgspec.structs.replace(both[0], turn=Turn.OPEN), at=MIN, thread="BTC", into="ALL")
    return post


def test_a_coin_s_post_points_to_the_market_s_once_that_has_arrived():
    queue = chat_queue()
    queued(queue, 1, fall(0, -6.0))
    coin = sent(queue, 0)
    market_queued(queue)
    assert queue.posts[coin.key].goes_on == ""
    sent(queue, MIN)
    first, pointer = edit_due(queue, MIN).split("\n")
    assert "BTC price −7.0%" in first
    assert "the post of the whole market" in pointer
    see(queue, fall(3 * MIN, -20.0), fall(3 * MIN, -9.0, "ETH", opened=MIN))
    step = queue.next(START + HOUR)
    assert isinstance(step, EditStep)
    assert step.post.thread == "ALL", "the coin's post stays as it is"


def test_a_coin_s_post_points_to_a_market_s_that_has_arrived_long_ago():
    """Whoever takes over asks for it again."""
    queue = chat_queue()
    queued(queue, 1, fall(0, -6.0))
    coin = sent(queue, 0)
    both = fall(MIN, -7.0, opened=0), fall(MIN, -5.0, "ETH", opened=MIN)
    queued(queue, 2, *both, at=MIN, thread="ALL")
    sent(queue, MIN)
    for _ in range(2):
        grow(queue, both[0], at=MIN, thread="BTC", into="ALL")
        assert queue.posts[coin.key].goes_on == "market"


def test_a_coin_s_post_goes_on_and_ends_if_the_market_s_is_given_up():
    queue = chat_queue()
    queued(queue, 1, fall(0, -6.0))
    coin = sent(queue, 0)
    market_queued(queue)
    give_up(queue, MIN, "refused")
    see(queue, fall(2 * MIN, -20.0))
    assert "BTC price −20.0%" in edit_due(queue, 2 * MIN)
    ends = over(10 * MIN), over(10 * MIN, "ETH", opened=MIN)
    assert not grow(queue, *ends, at=10 * MIN, thread="ALL")
    end = queued(queue, 3, *ends, at=10 * MIN, thread="ALL")
    assert sent(queue, 10 * MIN).key == end.key
    assert queue.posts[coin.key].goes_on == "market"


def test_a_coin_s_post_that_was_not_sent_leaves_it_to_the_market_s_to_ring():
    queue = chat_queue()
    queued(queue, 1, fall(0, -6.0))
    both = fall(0, -6.0), fall(MIN, -5.0, "ETH")
    market = queued(queue, 2, *both, at=MIN, silent=True, thread="ALL")
    coin = queue.waiting()[0]
    grow(queue, fall(0, -6.0), at=MIN, into=market.thread)
    assert list(queue.posts) == [market.key]
    assert set(coin.alerts) <= set(queue.posts[market.key].alerts), "it is known where it is told"
    assert not sent(queue, MIN).message.silent


def test_a_post_that_somebody_deleted_is_posted_once_more():
    queue = chat_queue()
    post = queued(queue, 1, fall(0, -6.0))
    sent(queue, 0)
    for at in (MIN, 3 * MIN):
        see(queue, fall(at, -8.0 - at / MIN))
        step = queue.begin(queue.next(START + at), START + at)
        assert isinstance(step, EditStep)
        queue.edited(step, Edited.GONE, START + at)
        following = queue.next(START + at)
        if at > MIN:
            assert following is None, "and not a third time"
            break
        assert isinstance(following, SendStep)
        again = sent(queue, at)
        assert (again.key, again.message.silent, again.message_id) == (post.key, True, 12)
        assert "−9.0%" in again.body


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_end_is_told_where_the_chat_is_now(elsewhere: bool):
    """The numbers of its messages mean nothing any more: what is over is posted, once."""
    queue = chat_queue()
    post = queued(queue, 1, fall(0, -9.0))
    sent(queue, 0)
    if elsewhere:
        queue.moved(None, -100, START + MIN)
    grow(queue, over(10 * MIN), at=10 * MIN)
    step = queue.next(START + 10 * MIN)
    if not elsewhere:
        assert isinstance(step, EditStep)
        return
    end = sent(queue, 10 * MIN)
    assert (end.key, end.message.silent) == (post.key, True)
    assert end.body.startswith("⚪ <b>BTC price")
    grow(queue, over(10 * MIN), at=70 * MIN, since={HOUR: {"BTC": 1.0}})
    step = queue.next(START + 70 * MIN)
    assert isinstance(step, EditStep)
    assert "Since then +1.0% in 1h." in step.text
    queue.edited(step, Edited.CHANGED, START + 70 * MIN)
    queue.moved(None, -200, START + 71 * MIN)
    grow(queue, over(10 * MIN), at=24 * HOUR, since={24 * HOUR: {"BTC": 1.0}})
    assert queue.next(START + 24 * HOUR) is None, "the end was told"


def test_an_end_that_no_edit_has_told_yet_is_posted_where_the_chat_is_now():
    queue = chat_queue()
    post = queued(queue, 1, fall(0, -9.0))
    sent(queue, 0)
    grow(queue, over(10 * MIN), at=10 * MIN)
    assert isinstance(queue.next(START + 10 * MIN), EditStep)
    queue.moved(None, -100, START + 10 * MIN)
    end = sent(queue, 10 * MIN)
    assert (end.key, end.message.silent) == (post.key, True)
    assert end.body.startswith("⚪ <b>BTC price")


@pytest.mark.parametrize("market", [False, True])
def test_a_post_that_goes_on_in_another_one_is_not_repeated_where_the_chat_is_now(market: bool):
    """All that its edit was to say is where it goes on, and that post is there."""
    queue = chat_queue()
    first = queued(queue, 1, fall(0, -6.0))
    sent(queue, 0)
    if market:
        both = fall(0, -6.0), fall(MIN, -5.0, "ETH")
        later = queued(queue, 2, *both, at=MIN, thread="ALL")
        grow(queue, fall(0, -6.0), at=MIN, into=later.thread)
    else:
        queued(queue, 2, turned(Turn.UP, MIN, -12.0), at=MIN)
    sent(queue, MIN)
    assert queue.posts[first.key].goes_on == ("market" if market else "next")
    assert isinstance(queue.next(START + 10 * MIN), EditStep)
    queue.moved(None, -100, START + 10 * MIN)
    step = queue.next(START + 10 * MIN)
    assert not isinstance(step, SendStep), step


def test_what_the_market_is_about_to_tell_is_not_repeated_where_the_chat_is_now():
    queue = chat_queue()
    first = queued(queue, 1, fall(0, -6.0))
    sent(queue, 0)
    queue.moved(None, -100, START + MIN // 2)
    later = queued(queue, 2, fall(0, -6.0), fall(MIN, -5.0, "ETH"), at=MIN, thread="ALL")
    grow(queue, fall(0, -6.0), at=MIN, into=later.thread)
    assert sent(queue, MIN).key == later.key
    assert queue.posts[first.key].goes_on == "market"
    assert not isinstance(queue.next(START + 2 * MIN), SendStep)


def test_what_the_market_was_to_tell_is_posted_where_the_chat_is_now_if_that_is_given_up():
    queue = chat_queue()
    first = queued(queue, 1, fall(0, -6.0))
    sent(queue, 0)
    queue.moved(None, -100, START + MIN // 2)
    later = queued(queue, 2, fall(0, -6.0), fall(MIN, -5.0, "ETH"), at=MIN, thread="ALL")
    grow(queue, fall(0, -6.0), at=MIN, into=later.thread)
    step = queue.begin(queue.next(START + MIN), START + MIN)
    assert isinstance(step, SendStep)
    queue.refused(step.post, "no", START + MIN)
    grow(queue, fall(0, -9.0), at=2 * MIN)
    assert sent(queue, 2 * MIN).key == first.key


def test_an_end_that_a_digest_tells_is_not_repeated_where_the_chat_is_now():
    queue = chat_queue()
    queued(queue, 1, fall(0, -9.0))
    sent(queue, 0)
    queued(queue, 2, turned(Turn.UP, MIN, -12.0), at=MIN)
    for number in range(3, 12):
        queued(queue, number, fall(0, -9.0, f"A{number}", Level.WATCH), at=MIN)
    step = queue.begin(queue.next(START + MIN), START + MIN)
    assert isinstance(step, SendStep)
    queue.put_off(step.post, START + MIN, START + 2 * MIN, flood=True)
    grow(queue, over(2 * MIN), at=2 * MIN)
    digest = sent(queue, 2 * MIN)
    assert digest.title and "BTC price" in digest.body, digest.body
    grow(queue, over(2 * MIN), at=3 * MIN)
    assert isinstance(queue.next(START + 3 * MIN), EditStep), "the beginning says that it is over"
    queue.moved(None, -100, START + 3 * MIN)
    grow(queue, over(2 * MIN), at=4 * MIN)
    assert not isinstance(queue.next(START + 4 * MIN), SendStep)


def test_an_end_whose_markup_is_refused_is_told_as_plain_text():
    queue = chat_queue()
    queued(queue, 1, fall(0, -9.0))
    sent(queue, 0)
    grow(queue, over(10 * MIN), at=10 * MIN)
    step = queue.next(START + 10 * MIN)
    assert isinstance(step, EditStep)
    queue.refused_edit_markup(step)
    again = queue.next(START + 10 * MIN)
    assert isinstance(again, EditStep)
    assert (again.post.markup, again.text) == (False, step.text)


def test_what_came_of_it_is_said_in_the_post_of_what_is_over():
    queue = chat_queue()
    queued(queue, 1, fall(0, -9.0))
    sent(queue, 0)
    grow(queue, over(10 * MIN, price=104_000.0), at=10 * MIN)
    text = edit_due(queue, 10 * MIN)
    assert text.split("\n")[1] == "Price then $104,000."
    for since, words in (
        ({HOUR: {"BTC": -2.1}}, "Since then −2.1% in 1h."),
        ({HOUR: {"BTC": -2.1}, 24 * HOUR: {"BTC": 3.04}}, "Since then −2.1% in 1h, +3.0% in 24h."),
    ):
        at = 10 * MIN + max(since)
        grow(queue, over(10 * MIN, price=104_000.0), at=at, since=since)
        assert edit_due(queue, at).split("\n")[1] == f"Price then $104,000. {words}"
        queue.prune(START + at + MIN)
    queue.prune(START + 60 * HOUR)
    assert queue.posts == {}


def test_a_thread_whose_post_is_not_there_is_said_to_be_untold():
    queue = chat_queue()
    assert not grow(queue, fall(0, -9.0))
    queued(queue, 1, fall(0, -9.0))
    give_up(queue, 0, "refused")
    assert not grow(queue, fall(MIN, -12.0), at=MIN)


def test_what_began_before_there_were_threads_goes_on_in_its_post():
    queue = chat_queue()
    delivery = Delivery(alerts=(fall(0, -6.0),), at=START, silent=False)
    chat = Chat(destination=TelegramChat(-1))
    queue.add(delivery_post(delivery, chat, queue, [], 1, POLICY))
    sent(queue, 0)
    assert grow(queue, fall(MIN, -12.0), alert(MIN, rule="depth_thin"), at=MIN, thread="t")
    assert "−12.0%" in edit_due(queue, MIN)
    assert [post.thread for post in queue.posts.values()] == ["t"]


def test_a_thread_in_a_digest_that_waits_is_told_there():
    queue = chat_queue()
    for n in range(7):
        queued(queue, n + 1, fall(0, -5.0 - n / 10, f"C{n}", Level.ALERT))
    queue.put_off(None, START, START + S, flood=True)
    queue.next(START + S)
    assert [post.count for post in queue.posts.values()] == [7]
    assert grow(queue, fall(MIN, -31.0, "C3"), at=MIN)
    assert len(queue.posts) == 1


def test_an_end_is_told_by_the_newest_of_two_digests_that_wait():
    """The first of them waits for a critical post of another of its coins, and is not bundled."""
    queue = chat_queue()
    for n in range(7):
        queued(queue, n + 1, fall(0, -5.0 - n / 10, f"C{n}", Level.WATCH))
    queue.put_off(None, START, START + S, flood=True)
    queue.next(START + S)
    queued(queue, 8, turned(Turn.UP, MIN, -12.0, "C0"), at=MIN)
    queued(queue, 9, turned(Turn.UP, MIN, -8.0, "C3", Level.ALERT), at=MIN)
    for n in range(10, 16):
        queued(queue, n, fall(MIN, -5.0, f"D{n}", Level.WATCH, opened=MIN), at=MIN)
    queue.put_off(None, START + MIN, START + MIN + S, flood=True)
    queue.next(START + MIN + S)
    assert [post.gathered for post in queue.posts.values()] == [7, 1, 7]
    end = turned(Turn.CLOSE, 2 * MIN, -1.0, "C3", Level.ALERT)
    assert grow(queue, end, at=2 * MIN)
    assert grow(queue, end, at=2 * MIN), "as the plan says it again after a restart"
    bodies = [sent(queue, 3 * MIN + n * 10 * S).body for n in range(3)]
    lines = [[line[:16] for line in body.split("\n") if "C3" in line] for body in bodies]
    assert lines == [["🟡 <b>C3 price −5"], [], ["⚪ <b>C3 price st"]]


@pytest.mark.parametrize("thread", ["", "t"])
def test_a_short_post_has_its_first_line_and_its_last(thread: str):
    queue, full = chat_queue(), chat_queue()
    for of, short in ((queue, True), (full, False)):
        delivery = of_thread(alert(0, price=98_000.0), at=0, thread=thread)
        chat = Chat(destination=TelegramChat(-1), short=short)
        post = delivery_post(delivery, chat, of, [], 1, POLICY)
        of.add(msgspec.msgpack.decode(msgspec.msgpack.encode(post), type=Post))
    texts = [rendered(next(iter(of.posts.values()))).plain.split("\n") for of in (queue, full)]
    assert len(texts[1]) > 2
    assert texts[0] == [texts[1][0], texts[1][-1]]


def test_a_short_list_still_names_its_coins():
    alerts = [alert(0, asset) for asset in ("BTC", "ETH", "SOL")]
    queue = chat_queue()
    delivery = of_thread(*alerts, at=0)
    chat = Chat(destination=TelegramChat(-1), short=True)
    post = delivery_post(delivery, chat, queue, [], 1, POLICY)
    text = rendered(post).plain
    assert all(asset in text for asset in ("BTC", "ETH", "SOL"))
    assert text.split("\n")[-1].startswith("#")


def test_an_end_that_is_one_line_stays_one():
    ended = msgspec.structs.replace(alert(0), turn=Turn.CLOSE)
    delivery = of_thread(ended, at=0, thread="")
    chat = Chat(destination=TelegramChat(-1), short=True)
    text = rendered(delivery_post(delivery, chat, chat_queue(), [], 1, POLICY)).plain
    assert text.count("\n") == 0


def looked_back(queue: ChatQueue, number: int, at: int = 10 * MIN, short: bool = False) -> Post:
    """The plan looks back on an event that fell to −12 %."""
    ended = turned(Turn.CLOSE, at, -1.0)
    ended = msgspec.structs.replace(ended, extreme=-12.0, extreme_at=START + 2 * MIN)
    delivery = of_thread(
        ended, at=at, thread="BTC", silent=True, recap=True, ended=START + at,
        before={"BTC": 100_000.0}, after={"BTC": 95_000.0},
    )  # fmt: skip
    chat = Chat(destination=TelegramChat(-1), short=short)
    post = recap_post(delivery, chat, queue, [], number, POLICY)
    queue.add(msgspec.msgpack.decode(msgspec.msgpack.encode(post), type=Post))
    return queue.posts[post.key]


def test_a_recap_answers_the_post_of_its_event_and_is_never_edited():
    queue = chat_queue()
    queued(queue, 1, fall(0, -12.0))
    first = sent(queue, 0)
    recap = looked_back(queue, 2)
    step = queue.next(START + 10 * MIN)
    assert isinstance(step, SendStep)
    assert (step.post.key, step.reply_to) == (recap.key, first.message_id)
    post = sent(queue, 10 * MIN)
    assert post.message.silent and not post.critical
    lines = rendered(post).plain.split("\n")
    assert lines[0].startswith("⚪ BTC: looking back, ")
    assert "price −12.0%" in lines[1]
    assert "Price $100,000 → $95,000 (−5.0%)." in lines
    grow(queue, turned(Turn.CLOSE, 10 * MIN, -1.0), at=10 * MIN)
    edits = [queue.next(START + n * MIN) for n in range(10, 20)]
    assert {edit.post.key for edit in edits if isinstance(edit, EditStep)} == {first.key}


def test_a_recap_takes_the_place_of_nothing_that_waits():
    """After an outage the event is posted, and then what looks back on it."""
    queue = chat_queue()
    event = queued(queue, 1, fall(0, -12.0))
    recap = looked_back(queue, 2)
    keys = [sent(queue, 11 * MIN).key, sent(queue, 12 * MIN).key]
    assert keys == [event.key, recap.key]
    assert event.key != recap.key


def test_a_short_recap_has_its_first_line_and_its_last():
    post = looked_back(chat_queue(), 1, short=True)
    assert [line[:6] for line in rendered(post).plain.split("\n")] == ["⚪ BTC:", "#BTC #"]


def with_buttons(*actions: ButtonAction, language: str = "en") -> tuple[ChatQueue, Post]:
    """A post of an event with these buttons, in its queue."""
    queue = chat_queue()
    chat = Chat(destination=TelegramChat(-1), language=language, buttons=actions)
    delivery = of_thread(fall(0, -6.0), at=0, thread="BTC")
    post = delivery_post(delivery, chat, queue, [], 1, POLICY)
    queue.add(msgspec.msgpack.decode(msgspec.msgpack.encode(post), type=Post))
    return queue, queue.posts[post.key]


BUTTONS = (ButtonAction.WHY, ButtonAction.MUTE)


def test_what_is_sent_and_what_it_is_edited_to_have_the_same_buttons():
    queue, post = with_buttons(*BUTTONS)
    buttons = (Button("Why", "why"), Button("Mute 1 h", "mute"))
    assert as_message(post, "text").buttons == buttons
    first = sent(queue, 0)
    grow(queue, fall(0, -6.0), fall(5 * MIN, -9.0), at=5 * MIN, thread="BTC")
    step = queue.next(START + 10 * MIN)
    assert isinstance(step, EditStep) and step.message_id == first.message_id
    assert as_message(step.post, step.text).buttons == buttons


def test_two_posts_of_one_event_that_wait_keep_their_buttons():
    queue, post = with_buttons(*BUTTONS)
    chat = Chat(destination=TelegramChat(-1), buttons=BUTTONS)
    later = of_thread(fall(MIN, -9.0), at=MIN, thread="BTC")
    queue.add(delivery_post(later, chat, queue, [], 2, POLICY))
    step = queue.next(START + MIN)
    assert isinstance(step, SendStep) and step.post.key == post.key
    assert [button.action for button in as_message(step.post, "x").buttons] == ["why", "mute"]


def test_a_digest_and_a_post_without_an_event_have_none():
    posts = [with_buttons(*BUTTONS)[1], with_buttons(*BUTTONS)[1]]
    (digest,) = digests(posts, "collapsed")
    assert as_message(digest, "text").buttons == ()
    chat = Chat(destination=TelegramChat(-1), buttons=BUTTONS)
    alone = of_thread(fall(0, -6.0), at=0, thread="")
    assert delivery_post(alone, chat, chat_queue(), [], 1, POLICY).buttons == ()


@pytest.mark.parametrize("language", LANGUAGES)
def test_buttons_are_in_the_language_of_the_chat(language: str):
    _, post = with_buttons(*BUTTONS, language=language)
    labels = [button.label for button in as_message(post, "text").buttons]
    assert len(set(labels)) == 2
    assert (labels[0] == "Why") is (language == "en")


def test_a_record_of_a_version_without_buttons_is_read():
    _, post = with_buttons()
    record = msgspec.to_builtins(post)
    del record["message"]["buttons"]
    assert "buttons" not in record
    assert msgspec.convert(record, Post) == post
