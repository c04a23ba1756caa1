"""What /why says became of an alert: by the plan and the queue, whatever the rules wanted."""

import pytest

from bot.delivery.fate import AlertFate, Fate, alert_fate
from bot.delivery.outgoing import delivery_post, recap_post
from bot.delivery.post import Policy
from bot.delivery.sinks import Edited
from bot.destination import Destination, MessengerName, Service, TelegramChat, WebhookName
from bot.plan.planner import Chat, PlanState, Quiet, plan
from bot.plan.silences import Silence
from rules.alerts import Alert, Level, Turn
from streams.events import Ms
from tests.bot.plan.test_planner import START, alert
from tests.bot.posts import chat_queue

S, MIN = 1_000, 60_000
HERE = TelegramChat(-1)


class Chain:
    """Plan and queue of one chat, as the bot role has them."""

    def __init__(self, destination: Destination = HERE, **how: object) -> None:
        self.chat = Chat(**{"destination": destination, **how})
        self.plan = PlanState()
        self.queue = chat_queue(probe=False)
        self.silences: tuple[Silence, ...] = ()

    def hear(self, at: Ms, *alerts: Alert) -> None:
        self.plan, deliveries = plan(self.plan, alerts, self.chat, self.silences, START + at)
        for delivery in deliveries:
            if delivery.edit:
                assert self.queue.grow(delivery, None, START + at)
                continue
            number = len(self.queue.posts) + 1
            make = recap_post if delivery.recap else delivery_post
            self.queue.add(make(delivery, self.chat, self.queue, [], number, Policy()))

    def send(self, at: Ms) -> int:
        """All that may go ``at`` this time; how many requests."""
        requests = 0
        while not isinstance(step := self.queue.next(START + at), int | None):
            step = self.queue.begin(step, START + at)
            requests += 1
            if hasattr(step, "text"):
                self.queue.edited(step, Edited.CHANGED, START + at)
            else:
                self.queue.sent(step.post, 10 + requests, START + at)
        return requests

    def fate(self, alert: Alert) -> AlertFate:
        return alert_fate(alert, self.chat, self.plan, self.queue.posts.values())


def cascade(at: Ms, turn: Turn, value: float) -> Alert:
    return alert(at, "BTC", Level.CRITICAL, "cascade", turn, opened=0, value=value, fires="above")


def test_what_gets_far_worse_is_told_by_edits_and_rings_once_more():
    chain = Chain()
    turns = [cascade(n * 20 * S, Turn.WORSE if n else Turn.OPEN, 60.0 + 115 * n) for n in range(7)]
    chain.hear(0, turns[0])
    assert chain.fate(turns[0]) == AlertFate(Fate.QUEUED)
    chain.send(0)
    assert chain.fate(turns[0]) == AlertFate(Fate.POSTED)
    for n, worse in enumerate(turns[1:], 1):
        chain.hear(n * 20 * S, worse)
    assert [chain.fate(turn).fate for turn in turns] == [Fate.POSTED, *[Fate.EDIT_WAITS] * 6]
    assert chain.send(2 * MIN) == 1
    assert [chain.fate(turn).fate for turn in turns] == [Fate.POSTED, *[Fate.EDITED] * 6]
    chain.hear(5 * MIN)
    assert chain.fate(turns[-1]) == AlertFate(Fate.QUEUED)
    chain.send(5 * MIN)
    assert chain.fate(turns[-1]) == AlertFate(Fate.POSTED)


def test_what_waits_for_its_event_says_until_when():
    chain = Chain()
    chain.hear(0, first := alert(0, "BTC", Level.WATCH))
    assert chain.fate(first) == AlertFate(Fate.WAITS, START + MIN)
    chain.hear(S, later := alert(S, "BTC", Level.ALERT, turn=Turn.UP, opened=0))
    assert chain.fate(first) == AlertFate(Fate.MERGED)
    assert chain.fate(later) == AlertFate(Fate.WAITS, START + 21 * S)


def test_a_webhook_is_told_at_once_what_nobody_can_edit():
    chain = Chain(WebhookName("desk"))
    turns = [cascade(n * 20 * S, Turn.WORSE if n else Turn.OPEN, 60.0 + 115 * n) for n in range(7)]
    for n, worse in enumerate(turns):
        chain.hear(n * 20 * S, worse)
        chain.send(n * 20 * S)
        assert chain.fate(worse) == AlertFate(Fate.POSTED)
    assert len(chain.queue.posts) == 7


@pytest.mark.parametrize("recap", [None, Level.ALERT])
def test_a_messenger_is_told_by_further_posts_what_nobody_can_edit(recap: Level | None):
    chain = Chain(MessengerName(Service.DISCORD), recap=recap)
    first, composite = alert(0, level=Level.CRITICAL), cascade(20 * S, Turn.OPEN, 3)
    chain.hear(0, first)
    chain.send(0)
    chain.hear(20 * S, composite, mild := alert(20 * S, rule="depth_thin"))
    assert chain.fate(composite) == chain.fate(mild) == AlertFate(Fate.WAITS, START + MIN)
    chain.hear(MIN)
    assert chain.fate(composite) == AlertFate(Fate.QUEUED)
    chain.send(MIN)
    assert chain.fate(composite) == chain.fate(mild) == AlertFate(Fate.POSTED)
    chain.hear(6 * MIN)
    chain.send(6 * MIN)  # it rings for what got worse
    chain.hear(7 * MIN, later := alert(7 * MIN, rule="liq_burst"))
    assert chain.fate(later) == AlertFate(Fate.NEXT), "no post is due, and it is in none"
    ends = [
        alert(8 * MIN, "BTC", a.level, a.rule, Turn.CLOSE, a.opened_at - START)
        for a in (first, composite, mild, later)
    ]
    chain.hear(8 * MIN, *ends)
    chain.send(8 * MIN)
    assert chain.fate(later) == AlertFate(Fate.MERGED)
    assert [chain.fate(end).fate for end in ends] == [Fate.POSTED] * 4


def test_what_is_kept_back_says_why():
    chain = Chain(posts_per_hour=1)
    chain.silences = (Silence(family="depth_thin", asset="*", until=START + 9 * MIN),)
    first, held = alert(0, "BTC", Level.ALERT), alert(MIN, "ETH", Level.ALERT)
    silenced = alert(2 * MIN, "SOL", Level.ALERT, "depth_thin")
    chain.hear(0, first)
    chain.hear(MIN, held)
    chain.hear(2 * MIN, silenced)
    chain.hear(3 * MIN, top := cascade(3 * MIN, Turn.OPEN, 2))
    chain.send(3 * MIN)
    chain.hear(
        4 * MIN, part := alert(4 * MIN, "BTC", Level.CRITICAL, "liq_burst", hidden_by="cascade")
    )
    wanted = {first: Fate.POSTED, held: Fate.HELD, silenced: Fate.SILENCED, top: Fate.POSTED,
              part: Fate.EDIT_WAITS}  # fmt: skip
    assert {kept.id: chain.fate(kept).fate for kept in wanted} == {
        kept.id: fate for kept, fate in wanted.items()
    }
    assert chain.fate(alert(0, "XRP")) == AlertFate(Fate.UNKNOWN)


def test_what_is_over_before_it_was_told_and_what_waits_for_the_morning():
    chain = Chain(quiet=Quiet(start=0, end=1_439, zone="UTC"))
    short, asleep = alert(0, "BTC", Level.ALERT), alert(0, "ETH", Level.WATCH)
    end = alert(S, "BTC", Level.ALERT, turn=Turn.CLOSE, opened=0)
    chain.hear(S, short, asleep, end)
    chain.hear(2 * MIN)
    assert [chain.fate(kept).fate for kept in (short, end, asleep)] == [
        Fate.OVER, Fate.OVER, Fate.QUIET,
    ]  # fmt: skip
    (thread,) = chain.plan.threads.values()
    assert chain.fate(asleep).until == thread.due


def test_a_post_that_was_given_up_says_why_and_one_of_another_topic_is_not_meant():
    chain = Chain()
    failed = alert(0, "BTC", Level.CRITICAL)
    chain.hear(0, failed)
    step = chain.queue.begin(chain.queue.next(START), START)
    chain.queue.refused(step.post, "too long", START)
    assert chain.fate(failed) == AlertFate(Fate.FAILED, reason="too long")
    chain.chat = Chat(destination=TelegramChat(-1, 7))
    assert chain.fate(failed) == AlertFate(Fate.UNKNOWN)


def test_what_nobody_was_told_of_is_not_known_though_its_post_was_edited():
    chain = Chain()
    chain.hear(0, alert(0, "BTC", Level.CRITICAL, value=-4.0))
    chain.send(0)
    before = alert(90 * S, "BTC", Level.CRITICAL, turn=Turn.WORSE, opened=0, value=-6.0)
    chain.hear(90 * S, before)
    chain.send(90 * S)
    after = alert(-60 * MIN, "BTC", Level.CRITICAL, turn=Turn.WORSE, opened=0, value=-9.0)
    assert chain.fate(before).fate is Fate.EDITED
    assert chain.fate(after).fate is Fate.UNKNOWN
