"""Pictures that follow posts: after the text, once, and never in its way."""

import asyncio
import struct
import zlib
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis

from bot.delivery.outgoing import delivery_post, recap_post, report_posts
from bot.delivery.pace import NO_LIMITS, Limits
from bot.delivery.post import (
    ChatState,
    DrawnPicture,
    PictureStep,
    Policy,
    Post,
    PostState,
    SendStep,
)
from bot.delivery.queue import ChatQueue, digests
from bot.delivery.rendering import alerts_of
from bot.delivery.sinks import Sinks
from bot.delivery.sinks.telegram import TelegramClient
from bot.destination import MessengerName, Service, TelegramChat, queue_key
from bot.metriclog import MetricLog
from bot.pictures.maker import PictureMaker
from bot.plan.planner import Chat, Delivery
from bot.plan.weekly import DueReport
from bot.roles.bot import BotRole
from rules.alerts import Alert, Level, Turn
from rules.snapshot import PRICE, Observed
from streams.durations import DAY, MINUTE
from streams.events import Ms
from tests.bot.delivery.test_sender import openings, running, say, until
from tests.bot.fake_telegram import CHANNEL, TOKEN, FakeTelegram, Fault
from tests.bot.plan.test_planner import START, alert
from tests.bot.role_fixtures import settings

POLICY = Policy()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PNG = (
    b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")
)  # fmt: skip
DRAWN = DrawnPicture(PNG, "In the picture: BTC")


def ringing(number: int = 1, **changes: object) -> Delivery:
    """An event that begins now, and rings."""
    opening = alert(number, "BTC", Level.ALERT, f"rule_{number}")
    usual = {"alerts": (opening,), "at": opening.seen, "silent": False, "thread": f"BTC {number}"}
    return Delivery(**(usual | changes))


def queue_of(chat: Chat, limits: Limits = NO_LIMITS, posts: list[Post] | None = None) -> ChatQueue:
    state = ChatState(destination=chat.destination, probe=True, last_id=10)
    return ChatQueue(queue_key(chat.destination), state, limits, POLICY, posts or [])


CHAT = Chat(destination=TelegramChat(-1), pictures="dark")


def sent(queue: ChatQueue, delivery: Delivery, chat: Chat = CHAT, number: int = 1) -> Post:
    """A post of ``delivery``, which has arrived."""
    post = delivery_post(delivery, chat, queue, [], number, POLICY)
    queue.add(post)
    step = queue.next(delivery.at)
    assert isinstance(step, SendStep)
    step = queue.begin(step, delivery.at)
    assert isinstance(step, SendStep)
    queue.sent(step.post, 10 + number, delivery.at)
    return queue.posts[post.key]


def test_a_picture_answers_its_post_once_it_is_ready() -> None:
    queue, delivery = queue_of(CHAT), ringing()
    post = sent(queue, delivery)
    assert [wanted.key for wanted in queue.pictures_wanted(delivery.at)] == [post.key]
    assert not isinstance(queue.next(delivery.at), PictureStep)
    queue.pictures[post.key] = DRAWN
    step = queue.next(delivery.at)
    assert isinstance(step, PictureStep)
    assert (step.message_id, step.picture) == (11, DRAWN)
    queue.begin(step, delivery.at)
    assert queue.changed[post.key] == queue.posts[post.key], "durable before the request"
    assert queue.posts[post.key].picture == "none"
    queue.pictured(12)
    assert queue.state.last_id == 12, "the next post is looked for behind it"
    assert not queue.pictures_wanted(delivery.at)
    assert not isinstance(queue.next(delivery.at), PictureStep)


def test_a_text_goes_before_a_picture_however_long_that_is_ready() -> None:
    queue, delivery = queue_of(CHAT), ringing()
    post = sent(queue, delivery)
    queue.pictures[post.key] = DRAWN
    queue.add(delivery_post(ringing(2), CHAT, queue, [post], 2, POLICY))
    assert isinstance(queue.next(delivery.at), SendStep)


def test_a_text_that_is_looked_for_goes_before_a_picture() -> None:
    queue, delivery = queue_of(CHAT), ringing()
    post = sent(queue, delivery)
    queue.pictures[post.key] = DRAWN
    queue.add(delivery_post(ringing(2), CHAT, queue, [post], 2, POLICY))
    step = queue.next(delivery.at)
    assert isinstance(step, SendStep)
    step = queue.begin(step, delivery.at)
    assert isinstance(step, SendStep)
    queue.outcome_unknown(step.post, delivery.at)
    later = delivery.at + MINUTE
    assert not isinstance(queue.next(later), PictureStep | SendStep)


@pytest.mark.parametrize(
    ("changes", "chat"),
    [
        ({"silent": True}, CHAT),
        ({}, Chat(destination=TelegramChat(-1))),
        ({}, Chat(destination=MessengerName(Service.SLACK, "x"), pictures="dark")),
    ],
)
def test_posts_that_do_not_ring_or_are_not_to_have_one_get_none(
    changes: dict[str, object], chat: Chat
) -> None:
    queue, delivery = queue_of(chat), ringing(**changes)
    sent(queue, delivery, chat)
    assert not queue.pictures_wanted(delivery.at)


def test_where_messages_have_no_numbers_a_picture_follows_its_text() -> None:
    chat = Chat(destination=MessengerName(Service.DISCORD, "x"), pictures="light")
    queue, delivery = queue_of(chat), ringing()
    post = delivery_post(delivery, chat, queue, [], 1, POLICY)
    queue.add(post)
    step = queue.next(delivery.at)
    assert isinstance(step, SendStep)
    step = queue.begin(step, delivery.at)
    assert isinstance(step, SendStep)
    queue.sent(step.post, None, delivery.at)
    assert [wanted.key for wanted in queue.pictures_wanted(delivery.at)] == [post.key]
    queue.pictures[post.key] = DRAWN
    step = queue.next(delivery.at)
    assert isinstance(step, PictureStep)
    assert step.message_id is None
    queue.begin(step, delivery.at)
    assert not queue.pictures_wanted(delivery.at), "it is tried once"


@pytest.mark.parametrize("silent", [False, True])
def test_a_digest_that_rings_has_one(silent: bool) -> None:
    queue = queue_of(CHAT)
    posts = [
        delivery_post(ringing(n, silent=silent), CHAT, queue, [], n, POLICY) for n in (1, 2, 3)
    ]
    (digest,) = digests(posts, "collapsed")
    assert digest.title and digest.picture == "dark"
    assert len(alerts_of(digest.parts)) == 3, "of which the worst is drawn"
    queue.add(digest)
    queue._put(digest, state=PostState.SENT, message_id=12)
    wanted = queue.pictures_wanted(digest.at)
    assert [post.key for post in wanted] == ([] if silent else [digest.key])


def test_a_report_is_silent_and_its_first_piece_has_one() -> None:
    due = DueReport(week=7 * DAY, at=14 * DAY, too_late=False)
    text = "Head\n\n" + "\n\n".join(["line " * 300] * 4)
    numbers = iter(range(1, 9))
    posts = report_posts(text, due, CHAT, lambda: next(numbers), 14 * DAY)
    assert len(posts) > 1
    assert [(post.picture, post.week) for post in posts] == [
        ("dark", 7 * DAY), *[("none", 0)] * (len(posts) - 1),
    ]  # fmt: skip
    queue = queue_of(CHAT)
    for post in posts:
        queue.add(post)
        queue._put(post, state=PostState.SENT, message_id=10 + post.number)
    assert [post.key for post in queue.pictures_wanted(14 * DAY)] == [posts[0].key]


def test_an_end_and_a_recap_get_none() -> None:
    queue, delivery = queue_of(CHAT), ringing()
    ended = alert(5, "BTC", Level.ALERT, "rule_1", turn=Turn.CLOSE)
    recap = ringing(alerts=(ended,), turn=Turn.CLOSE, recap=True, silent=True)
    post = recap_post(recap, CHAT, queue, [], 1, POLICY)
    assert post.picture == "none"
    sent(queue, delivery)
    close = delivery_post(
        ringing(alerts=(ended,), thread="", turn=Turn.CLOSE), CHAT, queue, [], 2, POLICY
    )
    queue.add(close)
    queue._put(close, state=PostState.SENT, message_id=12)
    assert close.key not in {wanted.key for wanted in queue.pictures_wanted(delivery.at)}


def test_a_post_that_is_old_gets_none_any_more() -> None:
    queue, delivery = queue_of(CHAT), ringing()
    post = sent(queue, delivery)
    queue.pictures[post.key] = DRAWN
    late: Ms = delivery.at + POLICY.pictured + 1
    assert not queue.pictures_wanted(late)
    assert not isinstance(queue.next(late), PictureStep)
    assert not queue.pictures, "nothing of it is held"


def test_what_waits_of_one_event_has_one_picture() -> None:
    queue, delivery = queue_of(CHAT), ringing()
    silent = ringing(silent=True)
    later = alert(9, "BTC", Level.CRITICAL, "rule_1", turn=Turn.UP)
    louder = ringing(alerts=(later,), at=delivery.at + 9)
    queue.add(delivery_post(silent, CHAT, queue, [], 1, POLICY))
    queue.add(delivery_post(louder, CHAT, queue, [], 2, POLICY))
    step = queue.next(delivery.at + 9)
    assert isinstance(step, SendStep)
    step = queue.begin(step, delivery.at + 9)
    assert isinstance(step, SendStep)
    queue.sent(step.post, 11, delivery.at + 9)
    assert len(queue.pictures_wanted(delivery.at + 9)) == 1


def test_pictures_leave_room_for_texts() -> None:
    """They are counted as edits are, of which a chat bears fewer."""
    limits = Limits()
    queue = queue_of(CHAT, limits)
    for number in range(1, limits.edits + 2):
        delivery = ringing(number)
        post = delivery_post(delivery, CHAT, queue, [], number, POLICY)
        queue.add(post)
        queue._put(post, state=PostState.SENT, message_id=number, live="", shown="", parts=())
        queue.pictures[post.key] = DRAWN
    now, count = START + MINUTE, 0
    while isinstance(step := queue.next(now + count * 1_000), PictureStep):
        queue.begin(step, now + count * 1_000)
        count += 1
    assert count == limits.edits


def test_what_was_kept_before_there_were_pictures_gets_none() -> None:
    post = delivery_post(ringing(), CHAT, queue_of(CHAT), [], 1, POLICY)
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(post))
    del kept["picture"]
    assert msgspec.convert(kept, Post).picture == "none"


# Over the wire.


class Drawer:
    """Draws what it is asked for once ``go`` is set; ``asked``: the posts, by their keys."""

    def __init__(self, picture: DrawnPicture | Exception | None = DRAWN) -> None:
        self.picture = picture
        self.asked: list[str] = []
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, post: Post) -> DrawnPicture | None:
        self.asked.append(post.key)
        await self.go.wait()
        if isinstance(self.picture, Exception):
            raise self.picture
        return self.picture


def with_pictures(theme: str = "dark", **changes: object) -> Chat:
    return Chat(
        destination=TelegramChat(CHANNEL), group_wait=dict.fromkeys(Level, 0),
        posts_per_hour=1_000, pictures=theme, **changes,
    )  # fmt: skip


def news(count: int) -> list[Alert]:
    """Events of one or two coins, each with a post of its own that rings. Three would be one event
    of the market."""
    return [event for n in range(count) for event in openings(f"COIN{n}", 1)]


def watched(folder: Path, asset: str) -> Alert:
    """An event of a rule that the configuration has, so that it goes on after a restart."""
    rule = next(rule for rule in settings(folder).rules if rule.row_of(asset) is not None)
    (event,) = openings(asset, 1)
    return msgspec.structs.replace(event, rule=rule.name, family=rule.name.partition(":")[0])


async def channel(
    fake: FakeTelegram,
    redis: Redis,
    folder: Path,
    drawer: Drawer,
    posts: int,
    pictures: int,
    theme: str = "dark",
) -> list[str]:
    """The methods of the requests about messages, once so much was posted."""
    ways = Sinks(TelegramClient(TOKEN, fake.url))
    async with running(redis, folder, ways, with_pictures(theme)) as role:
        role.sender._draw = drawer
        await say(redis, *news(posts))
        await until(lambda: len([p for p in fake.seen() if not p.photo]) >= posts)
        await until(lambda: len([p for p in fake.seen() if p.photo]) >= pictures)
        await settled(role, drawer)
    await ways.close()
    return [method for method, _ in fake.requests if method.startswith("send")]


async def settled(role: BotRole, drawer: Drawer) -> None:
    """Nothing is being sent any more, and no picture is still to follow, unless none is drawn."""
    await until(role.sender.idle)
    if drawer.go.is_set():
        queues = list(role.sender.queues.values())
        await until(lambda: not any(q.pictures_wanted(role._clock.seen()) for q in queues))


async def test_a_picture_follows_its_text_as_an_answer_without_a_sound(
    redis: Redis, tmp_path: Path
) -> None:
    async with FakeTelegram() as fake:
        assert await channel(fake, redis, tmp_path, Drawer(), 1, 1) == ["sendMessage", "sendPhoto"]
        text, picture = fake.seen()
    assert (text.silent, picture.silent) == (False, True)
    assert (picture.reply_to, picture.photo) == (text.message_id, PNG)
    assert picture.text == "In the picture: BTC"


async def test_texts_leave_in_the_same_order_with_pictures_and_without(
    redis: Redis, tmp_path: Path
) -> None:
    """Even if no picture is ever ready, and with those that are ready in between."""
    texts: list[list[str]] = []
    for theme, held in (("none", False), ("dark", True), ("dark", False)):
        await redis.flushall()
        drawer = Drawer()
        if held:
            drawer.go.clear()
        async with FakeTelegram() as fake:
            pictures = 2 if theme == "dark" and not held else 0
            methods = await channel(fake, redis, tmp_path, drawer, 2, pictures, theme)
            assert methods.count("sendMessage") == 2
            assert methods.count("sendPhoto") == pictures
            texts.append([post.first.split("%")[0] for post in fake.seen() if not post.photo])
    assert texts[0] == texts[1] == texts[2]


@pytest.mark.parametrize(
    "fault",
    [Fault.NO_RIGHTS, Fault.KICKED, Fault.BAD_GATEWAY, Fault.DROPPED_BEFORE, Fault.DROPPED_AFTER,
     Fault.RUBBISH, Fault.FLOOD],
)  # fmt: skip
async def test_a_picture_that_fails_leaves_the_texts_and_is_not_tried_again(
    redis: Redis, tmp_path: Path, fault: Fault
) -> None:
    drawer = Drawer()
    drawer.go.clear()
    async with FakeTelegram() as fake:
        ways = Sinks(TelegramClient(TOKEN, fake.url))
        async with running(redis, tmp_path, ways, with_pictures()) as role:
            role.sender._draw = drawer
            await say(redis, *news(1))
            await until(lambda: len(fake.seen()) == 1 and drawer.asked)
            fake.faults.append(fault)
            fake.retry_s = 1
            drawer.go.set()
            await until(lambda: any(method == "sendPhoto" for method, _ in fake.requests))
            drawer.picture = None
            await say(redis, *openings("LATER", 1))
            await until(lambda: len([p for p in fake.seen() if not p.photo]) == 2)
            await settled(role, drawer)
            queue = role.sender.queues[str(CHANNEL)]
            assert not queue.state.off
            assert {post.state for post in queue.posts.values()} == {PostState.SENT}
        await ways.close()
        methods = [method for method, _ in fake.requests]
        assert methods.count("sendPhoto") == 1
        assert methods.count("sendMessage") == 2


@pytest.mark.parametrize("outcome", [None, ValueError("a bug")])
async def test_without_a_picture_the_text_is_all(
    redis: Redis, tmp_path: Path, outcome: Exception | None
) -> None:
    drawer = Drawer(outcome)
    async with FakeTelegram() as fake:
        assert await channel(fake, redis, tmp_path, drawer, 2, 0) == ["sendMessage"] * 2
    assert sorted(drawer.asked) == sorted(set(drawer.asked)), "each once"
    assert len(drawer.asked) == 2


async def test_a_picture_is_sent_once_over_restarts(redis: Redis, tmp_path: Path) -> None:
    async with FakeTelegram() as fake:
        ways = Sinks(TelegramClient(TOKEN, fake.url))
        first = Drawer()
        first.go.clear()
        async with running(redis, tmp_path, ways, with_pictures()) as role:
            role.sender._draw = first
            await say(redis, watched(tmp_path, "BTC"))
            await until(lambda: first.asked)
            await until(role.sender.idle)
        second = Drawer()
        async with running(redis, tmp_path, ways, with_pictures()) as role:
            role.sender._draw = second
            await until(lambda: len([p for p in fake.seen() if p.photo]) == 1)
            await settled(role, second)
        third = Drawer()
        async with running(redis, tmp_path, ways, with_pictures()) as role:
            role.sender._draw = third
            await say(redis, watched(tmp_path, "ETH"))
            await until(lambda: len([p for p in fake.seen() if p.photo]) == 2)
            await settled(role, third)
        await ways.close()
        assert len(second.asked) == 1, "it was still to follow"
        assert len(third.asked) == 1, "that of the later event alone"
        assert [method for method, _ in fake.requests].count("sendPhoto") == 2


async def test_a_picture_of_a_post_that_somebody_deleted_is_left_out(
    redis: Redis, tmp_path: Path
) -> None:
    drawer = Drawer()
    drawer.go.clear()
    async with FakeTelegram() as fake:
        ways = Sinks(TelegramClient(TOKEN, fake.url))
        async with running(redis, tmp_path, ways, with_pictures()) as role:
            role.sender._draw = drawer
            await say(redis, *news(1))
            await until(lambda: len(fake.seen()) == 1 and drawer.asked)
            fake.posted[0].deleted = True
            drawer.go.set()
            await until(lambda: any(method == "sendPhoto" for method, _ in fake.requests))
            await settled(role, drawer)
        await ways.close()
        assert not [post for post in fake.posted if post.photo]


async def test_a_post_is_found_by_its_number_behind_a_picture(redis: Redis, tmp_path: Path) -> None:
    """A text whose answer is lost is the message after the picture; it is not posted twice."""
    async with FakeTelegram() as fake:
        ways = Sinks(TelegramClient(TOKEN, fake.url))
        drawer = Drawer()
        async with running(redis, tmp_path, ways, with_pictures()) as role:
            role.sender._draw = drawer
            await say(redis, *news(1))
            await until(lambda: len(fake.seen()) == 2)
            await settled(role, drawer)
            drawer.picture = None
            fake.faults.append(Fault.DROPPED_AFTER)
            await say(redis, *openings("LATER", 1))
            await until(lambda: role.sender.counts.arrived == 1)
            await settled(role, drawer)
        await ways.close()
        assert len([post for post in fake.seen() if not post.photo]) == 2


async def test_a_picture_is_drawn_from_the_metric_log(redis: Redis, tmp_path: Path) -> None:
    event = watched(tmp_path, "BTC")
    record(settings(tmp_path).data_dir / "metrics", event)
    async with FakeTelegram() as fake:
        ways = Sinks(TelegramClient(TOKEN, fake.url))
        async with running(redis, tmp_path, ways, with_pictures(language="ja")) as role:
            role.pictures = PictureMaker(limit_s=60)
            await say(redis, event)
            await until(lambda: len(fake.seen()) == 2)
            await until(role.sender.idle)
        await ways.close()
    text, picture = fake.seen()
    assert picture.reply_to == text.message_id
    assert struct.unpack_from(">II", picture.photo, 16) == (1280, 720)
    assert len(picture.photo) > 5_000
    assert picture.text.startswith("画像：")
    assert "Asia/Tokyo" in picture.text


def record(folder: Path, event: Alert) -> None:
    """What the rules saw in the two hours before ``event``."""
    log = MetricLog(folder, 400 * DAY, 1_000)
    for minute in range(-120, 1):
        row = [
            Observed(metric=PRICE, asset=event.asset, value=112_400.0 + minute),
            Observed(metric=event.metric, asset=event.asset, value=minute / 30),
        ]
        log.write(event.seen + minute * MINUTE, row)
