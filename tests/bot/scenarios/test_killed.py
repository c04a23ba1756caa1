"""A bot that is killed anywhere leaves a chat in which the same is to be read in the end."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.delivery.outgoing import delivery_post
from bot.delivery.pace import NO_LIMITS
from bot.delivery.post import (
    ChatState,
    DeleteStep,
    EditStep,
    Policy,
    Post,
    PostState,
    ProbeStep,
    SendStep,
)
from bot.delivery.queue import ChatQueue
from bot.delivery.sinks import Edited
from bot.destination import TelegramChat, queue_key
from bot.plan.planner import Chat, Delivery, PlanState, dump, grown, load, next_due, plan
from rules.alerts import Alert, Level, Turn
from streams.durations import HOUR, MINUTE
from streams.events import Ms
from tests.bot.plan.test_planner import START, S, alert, engines

CHAT = Chat(destination=TelegramChat(-1), posts_per_hour=3)
POLICY = Policy(edit_every=0, edit_after=0)
PRICES = dict.fromkeys("ABCDE", 100.0)


class Killed(Exception):
    """The process is gone."""


class Disk:
    """What is durable, and the chat. It kills whoever writes for the ``kill_at``-th time: before
    that write, or after it."""

    def __init__(self, kill_at: int = -1, *, after: bool = False) -> None:
        self.plan, self.cursor = dump(PlanState()), 0
        self.posts: dict[str, bytes] = {}
        self.chat: list[str] = []
        self.state = ChatState(destination=CHAT.destination, probe=True, last_id=0)
        self.writes = 0
        self._kill_at, self._after = kill_at, after

    def write(self, queue: ChatQueue, posts: Sequence[Post] = (), plan_and_cursor=None) -> None:
        self.writes += 1
        if self.writes == self._kill_at and not self._after:
            raise Killed
        self.posts |= {post.key: msgspec.msgpack.encode(post) for post in posts}
        if plan_and_cursor is not None:
            self.plan, self.cursor = plan_and_cursor
        else:
            for key, post in queue.changed.items():
                if post is None:
                    self.posts.pop(key, None)
                else:
                    self.posts[key] = msgspec.msgpack.encode(post)
            self.state, queue.changed = queue.state, {}
        if self.writes == self._kill_at:
            raise Killed


class Bot:
    """Plan, queue and sender of one chat, as the bot role puts them together."""

    def __init__(self, disk: Disk, now: Ms) -> None:
        self.disk = disk
        self.plan = load(disk.plan)
        posts = [msgspec.msgpack.decode(data, type=Post) for data in disk.posts.values()]
        key = queue_key(CHAT.destination)
        self.queue = ChatQueue(key, disk.state, NO_LIMITS, POLICY, posts)
        self.queue.recover()
        self._number = max((post.number for post in posts), default=0)
        self._edit(grown(self.plan, CHAT), now)
        self.send(now)

    def take(self, alerts: Sequence[Alert], now: Ms) -> None:
        self.plan, deliveries = plan(self.plan, alerts, CHAT, (), now, PRICES)
        posts: list[Post] = []
        for delivery in deliveries:
            if not delivery.edit:
                posts.append(self._post(delivery, posts))
        self.disk.write(self.queue, posts, (dump(self.plan), self.disk.cursor + len(alerts)))
        for post in posts:
            self.queue.add(post)
        self._edit([delivery for delivery in deliveries if delivery.edit], now)
        self.send(now)

    def _post(self, delivery: Delivery, fresh: Sequence[Post]) -> Post:
        self._number += 1
        return delivery_post(delivery, CHAT, self.queue, fresh, self._number, POLICY)

    def _edit(self, deliveries: Sequence[Delivery], now: Ms) -> None:
        for delivery in deliveries:
            shown = self.queue.grow(delivery, None, now)
            assert shown or delivery.into, "each thread has its post, or the market's in its place"
        if deliveries:
            self.disk.write(self.queue)

    def send(self, now: Ms) -> None:
        chat, queue = self.disk.chat, self.queue
        while isinstance(step := queue.next(now), SendStep | ProbeStep | EditStep | DeleteStep):
            step = queue.begin(step, now)
            self.disk.write(queue)
            match step:
                case SendStep(post):
                    chat.append(post.body)
                    queue.sent(post, len(chat), now)
                case ProbeStep(post, number):
                    queue.probed(step, self._edited(number, post.body), now)
                case EditStep(_, text, number):
                    queue.edited(step, self._edited(number, text), now)
                case DeleteStep():
                    raise AssertionError("nothing is there twice")
            self.disk.write(queue)

    def _edited(self, number: int, text: str) -> Edited:
        if number > len(self.disk.chat):
            return Edited.GONE
        same = self.disk.chat[number - 1] == text
        self.disk.chat[number - 1] = text
        return Edited.SAME if same else Edited.CHANGED


def lived(alerts: Sequence[Alert], disk: Disk) -> Bot:
    """All of ``alerts``, each as it comes, and a day more; whoever is killed is started again."""
    now = alerts[0].seen
    end = alerts[-1].seen + 40 * HOUR
    bot: Bot | None = None
    while True:
        try:
            bot = bot or Bot(disk, now)
            while True:
                due = next_due(bot.plan)
                coming = alerts[disk.cursor :][:1]
                times = [a.seen for a in coming] + ([due] if due is not None and due < end else [])
                if not times:
                    return bot
                now = max(now, min(times))
                bot.take([a for a in coming if a.seen <= now], now)
        except Killed:
            bot = None


@settings(max_examples=25, deadline=None)
@given(engines(), st.integers(1, 10_000), st.booleans())
def test_a_kill_changes_nothing_that_is_read(alerts: list[Alert], kill_at: int, after: bool):
    if not alerts:
        return
    whole = Disk()
    first = lived(alerts, whole)
    killed = Disk(1 + kill_at % whole.writes, after=after)
    again = lived(alerts, killed)
    assert killed.chat == whole.chat
    for bot in (first, again):
        assert bot.plan.threads == {}, "all is over, and told"
        pointing = [post for post in bot.queue.posts.values() if post.goes_on == "market"]
        arrived = {p.thread for p in bot.queue.posts.values() if p.state is PostState.SENT}
        assert {post.into for post in pointing} <= arrived
        assert not [post for post in bot.queue.posts.values() if post.open]
    assert msgspec.structs.astuple(first.plan.counts) == msgspec.structs.astuple(again.plan.counts)


MARKET = [
    alert(0, "A", Level.CRITICAL),
    alert(MINUTE, "B", Level.CRITICAL),
    alert(2 * MINUTE, "C"),
    *(
        alert(10 * MINUTE + n * S, coin, turn=Turn.CLOSE, opened=opened, price=100.0)
        for n, (coin, opened) in enumerate((("A", 0), ("B", MINUTE), ("C", 2 * MINUTE)))
    ),
]


def test_each_kill_while_two_coins_go_into_the_market():
    whole = Disk()
    lived(MARKET, whole)
    pointers = [text for text in whole.chat if "the post of the whole market" in text]
    assert (len(whole.chat), len(pointers)) == (3, 2)
    assert "3 coins: over" in whole.chat[-1]
    assert "24h" in whole.chat[-1]
    for kill_at in range(1, whole.writes + 1):
        for after in (False, True):
            killed = Disk(kill_at, after=after)
            lived(MARKET, killed)
            assert killed.chat == whole.chat, (kill_at, after)


def test_a_ring_in_place_of_which_the_market_rings_leaves_no_post_without_a_pointer():
    """E is much worse, and is to ring again in the call in which it goes into the market."""
    worse = alert(2 * MINUTE, "E", Level.CRITICAL, turn=Turn.WORSE, opened=0)
    others = (alert(at * MINUTE, coin, Level.CRITICAL) for at, coin in ((4, "A"), (5, "B")))
    disk = Disk()
    lived([alert(0, "E", Level.CRITICAL), worse, *others], disk)
    pointers = ["the post of the whole market" in text for text in disk.chat]
    assert pointers == [True, True, False]


@pytest.mark.parametrize("after", [False, True])
def test_the_disk_kills(after: bool):
    with pytest.raises(Killed):
        Bot(Disk(1, after=after), START).take(MARKET[:1], START)
