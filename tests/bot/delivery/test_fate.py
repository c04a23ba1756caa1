"""What /why says became of an alert: by the plan and the queue, whatever the rules wanted."""

import msgspec

from bot.delivery.fate import AlertFate, Fate, alert_fate
from bot.delivery.outgoing import delivery_post
from bot.delivery.post import Policy
from bot.delivery.sinks import Edited
from bot.destination import Destination, TelegramChat, WebhookName
from bot.lang import en
from bot.messages.render import live
from bot.plan.planner import Chat, PlanState, Quiet, plan
from bot.plan.silences import Silence
from rules.alerts import Alert, Level, Turn
from streams.events import Ms
from tests.bot.plan.test_planner import START, alert
from tests.bot.posts import chat_queue

S, MIN = 1_000, 60_000
HERE = TelegramChat(-1)
HIDES = {"cascade": ("oi_drop", "liq_burst")}


class Chain:
    """Plan and queue of one chat, as the bot role has them."""

    def __init__(self, destination: Destination = HERE, **how: object) -> None:
        self.chat = Chat(**{"destination": destination, "hides": HIDES, **how})
        self.plan = PlanState()
        self.queue = chat_queue(probe=False)
        self.silences: tuple[Silence, ...] = ()

    def hear(self, at: Ms, *alerts: Alert) -> None:
        self.plan, deliveries = plan(self.plan, alerts, self.chat, self.silences, START + at)
        for delivery in deliveries:
            number = len(self.queue.posts) + 1
            self.queue.add(delivery_post(delivery, self.chat, self.queue, [], number, Policy()))

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

    def look(self, *episodes: Alert) -> None:
        self.queue.present = {alert.episode: alert for alert in episodes}
        self.queue.live("en", [(str(alert.episode), *live(alert, en.WORDS)) for alert in episodes])

    def fate(self, alert: Alert) -> AlertFate:
        return alert_fate(alert, self.chat, self.plan, self.queue.posts.values())


def cascade(at: Ms, turn: Turn, value: float) -> Alert:
    return alert(at, "BTC", Level.CRITICAL, "cascade", turn, opened=0, value=value, fires="above")


def test_a_composite_that_gets_far_worse_is_edited_and_waits():
    chain = Chain()
    turns = [cascade(n * 20 * S, Turn.WORSE if n else Turn.OPEN, 60.0 + 115 * n) for n in range(7)]
    chain.hear(0, turns[0])
    assert chain.fate(turns[0]) == AlertFate(Fate.QUEUED)
    chain.send(0)
    assert chain.fate(turns[0]) == AlertFate(Fate.POSTED)
    for n, worse in enumerate(turns[1:], 1):
        chain.hear(n * 20 * S, worse)
    chain.send(2 * MIN)
    fates = [chain.fate(turn).fate for turn in turns]
    assert fates == [Fate.POSTED, *[Fate.MERGED] * 5, Fate.WAITS]
    assert chain.fate(turns[-1]).until == START + 5 * MIN
    chain.look(turns[-1])
    assert chain.send(2 * MIN + S) == 1
    assert [chain.fate(turn).fate for turn in turns[1:]] == [*[Fate.EDITED] * 5, Fate.EDITED_WAITS]
    chain.hear(5 * MIN)
    assert chain.fate(turns[-1]) == AlertFate(Fate.QUEUED)
    chain.send(5 * MIN)
    assert chain.fate(turns[-1]) == AlertFate(Fate.POSTED)


def test_a_webhook_is_told_at_once_what_nobody_can_edit():
    chain = Chain(WebhookName("desk"))
    turns = [cascade(n * 20 * S, Turn.WORSE if n else Turn.OPEN, 60.0 + 115 * n) for n in range(7)]
    for n, worse in enumerate(turns):
        chain.hear(n * 20 * S, worse)
        chain.send(n * 20 * S)
        assert chain.fate(worse) == AlertFate(Fate.POSTED)
    assert len(chain.queue.posts) == 7


def test_what_is_kept_back_says_why():
    chain = Chain(posts_per_hour=1)
    chain.silences = (Silence(family="depth_thin", asset="*", until=START + 9 * MIN),)
    first, held = alert(0, "BTC", Level.ALERT), alert(MIN, "ETH", Level.ALERT)
    silenced = alert(2 * MIN, "SOL", Level.ALERT, "depth_thin")
    chain.hear(0, first)
    chain.hear(MIN, held)
    chain.hear(2 * MIN, silenced)
    chain.hear(3 * MIN, top := cascade(3 * MIN, Turn.OPEN, 2))
    chain.hear(
        3 * MIN, part := alert(3 * MIN, "BTC", Level.CRITICAL, "liq_burst", hidden_by="cascade")
    )
    wanted = {first: Fate.QUEUED, held: Fate.HELD, silenced: Fate.SILENCED, top: Fate.QUEUED,
              part: Fate.HIDDEN}  # fmt: skip
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
    assert chain.fate(asleep).until == chain.plan.quiet_until


def test_a_post_that_was_given_up_says_why_and_one_of_another_topic_is_not_meant():
    chain = Chain()
    failed = alert(0, "BTC", Level.CRITICAL)
    chain.hear(0, failed)
    step = chain.queue.begin(chain.queue.next(START), START)
    chain.queue.refused(step.post, "too long", START)
    assert chain.fate(failed) == AlertFate(Fate.FAILED, reason="too long")
    chain.chat = Chat(destination=TelegramChat(-1, 7))
    assert chain.fate(failed) == AlertFate(Fate.UNKNOWN)


def test_an_edit_from_before_the_clock_was_set_back_does_not_show_what_came_after():
    """By its time it is the newer one; by the age of the episode it is not."""
    chain = Chain()
    chain.hear(0, alert(0, "BTC", Level.CRITICAL, value=-4.0))
    chain.send(0)
    before = alert(90 * S, "BTC", Level.CRITICAL, turn=Turn.WORSE, opened=0, value=-6.0)
    chain.look(before)
    chain.send(90 * S)
    back = alert(-60 * MIN, "BTC", Level.CRITICAL, turn=Turn.WORSE, opened=0, value=-9.0)
    after = msgspec.structs.replace(back, began=back.seen - 120 * S)
    assert chain.fate(before).fate is Fate.EDITED
    assert chain.fate(after).fate is Fate.UNKNOWN
    chain.look(after)
    chain.send(200 * S)
    assert chain.fate(after).fate is Fate.EDITED
