"""The bot role as it runs: commands and posts over the wire, and subscribers who come and go."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from bot.commands import store
from bot.config import Secret, Settings
from bot.delivery.pace import NO_LIMITS, Limits
from bot.delivery.sinks import Receipt, RetryLater, Sinks
from bot.destination import Destination, TelegramChat
from bot.messages.render import Message
from bot.plan.subscriptions import Subscriber
from bot.roles import bot as bot_module
from bot.roles.bot import BotRole, bot_role
from bot.roles.run import sinks
from rules import alerts
from rules.alerts import Alert, Level
from streams.bus.connection import Keys
from streams.clock import wall_ms
from tests.bot import asked
from tests.bot.asked import ANN, BOB
from tests.bot.commands.test_telegram import busiest
from tests.bot.fake_telegram import TOKEN
from tests.bot.fake_updates import OPERATORS, OTHER_GROUP, FakeUpdates
from tests.bot.plan.test_planner import alert
from tests.bot.sinks import Numbered
from tests.loop_time import loop_time

READER, SUBSCRIBER, CHANNEL = 21, 22, -1001


def fresh(number: int) -> Alert:
    """A critical alert of now, each of an episode of its own."""
    now = wall_ms() + number
    return msgspec.structs.replace(
        alert(0, level=Level.CRITICAL), id=f"oi_drop:BTC:{now}:1", seen=now, at=now,
        opened_at=now, extreme_at=now,
    )  # fmt: skip


async def test_who_subscribes_is_told_and_who_blocks_the_bot_is_dropped(
    tmp_path: Path, redis: Redis, valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bot_module, "SUBSCRIBERS_S", 0.05)
    async with FakeUpdates() as fake:
        settings = msgspec.structs.replace(
            asked.settings(tmp_path),
            token=Secret(TOKEN),
            api_url=fake.url,
            redis_url=Secret(valkey.url),
        )
        running = asyncio.create_task(bot_role(settings, valkey.url, lambda: sinks(settings)))
        fake.say("/subscribe liq_burst BTC", user=READER)
        fake.say("/subscribe oi_drop BTC", user=SUBSCRIBER)
        await fake.until(2)
        await asyncio.sleep(0.5)  # until the role has looked who subscribed
        await redis.xadd(Keys().alerts, {"a": alerts.encode(fresh(1))})
        await fake.until(4)
        assert sorted(sent.chat for sent in fake.sent[2:]) == [CHANNEL, SUBSCRIBER]
        fake.refusals[SUBSCRIBER] = (403, "Forbidden: bot was blocked by the user")
        await redis.xadd(Keys().alerts, {"a": alerts.encode(of_funding(2))})
        await fake.until(5)
        async with asyncio.timeout(60):
            while len(await store.subscriptions(redis)) > 1:
                await asyncio.sleep(0.02)
        async with loop_time() as passed:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            assert passed() < 4
    [left] = await store.subscriptions(redis)
    assert left.user == READER


PRESSES = (
    ("why", CHANNEL, 1, BOB, "oi_drop"),
    ("why", OTHER_GROUP, 1, BOB, "too old"),  # forwarded
    ("why", CHANNEL, 77, BOB, "too old"),
    ("chart", OTHER_GROUP, 1, BOB, "too old"),
    ("mute", CHANNEL, 1, BOB, "only operators"),
    ("subscribe", CHANNEL, 1, BOB, "our own chat"),
    ("whatever", CHANNEL, 1, ANN, "not known any more"),
)
"""What is pressed, in which chat, under which message, by whom, and what that shows."""


async def test_buttons_of_a_post_do_the_same_before_and_after_a_restart(
    tmp_path: Path, redis: Redis, valkey
) -> None:
    async with FakeUpdates() as fake:
        settings = asked.settings(tmp_path)
        channel = msgspec.structs.replace(settings.chats[0], buttons=True)
        settings = msgspec.structs.replace(
            settings, chats=(channel,), token=Secret(TOKEN), api_url=fake.url,
            redis_url=Secret(valkey.url),
        )  # fmt: skip

        async def shown() -> list[str]:
            presses = [fake.press(data, chat, number, user)
                       for data, chat, number, user, _ in PRESSES]  # fmt: skip
            return [(await fake.popup(press)).text for press in presses]

        running = asyncio.create_task(bot_role(settings, valkey.url, lambda: sinks(settings)))
        await redis.xadd(Keys().alerts, {"a": alerts.encode(fresh(1))})
        (post,) = await fake.until(1, 60)
        assert [action for _, action in post.buttons] == ["why", "chart"]
        before = await shown()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

        while_away = fake.press("mute", CHANNEL, 1, ANN)
        running = asyncio.create_task(bot_role(settings, valkey.url, lambda: sinks(settings)))
        assert "press again" in (await fake.popup(while_away)).text
        after = await shown()
        for (*_, wanted), *texts in zip(PRESSES, before, after, strict=True):
            assert all(wanted in text for text in texts), texts
        assert not await store.silences(redis)
        twice = [fake.press("mute", CHANNEL, 1, ANN) for _ in range(2)]
        texts = [(await fake.popup(press)).text for press in twice]
        assert "oi_drop" in texts[0] and not texts[1]
        assert len(await store.silences(redis)) == 1
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def of_funding(number: int) -> Alert:
    """Another event than that of ``fresh(1)``."""
    return msgspec.structs.replace(fresh(number), metric="funding_8h_pct")


class Busy(Numbered):
    """Puts off what is for a subscriber while it is ``busy``."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.busy = True

    async def send(self, to: Destination, message: Message, **how: Any) -> Receipt:
        if to == TelegramChat(SUBSCRIBER) and self.busy:
            self.asked += 1
            raise RetryLater(0.01, "busy")
        return await super().send(to, message, **how)


async def test_what_waits_for_a_subscriber_survives_a_restart(tmp_path: Path, redis: Redis) -> None:
    settings = msgspec.structs.replace(asked.settings(tmp_path), token=Secret(TOKEN))
    await store.save_subscription(redis, Subscriber(user=SUBSCRIBER, wants={"*": ("BTC",)}))
    await redis.xadd(Keys().alerts, {"a": alerts.encode(fresh(1))})
    sink = Busy()
    for _ in range(2):
        running = asyncio.create_task(BotRole(settings, redis, Sinks(sink), limits=NO_LIMITS).run())
        async with asyncio.timeout(60):
            while not (sink.asked if sink.busy else sink.chats.get(SUBSCRIBER)):
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        sink.busy = False
    assert len(sink.chats[SUBSCRIBER]) == 1


async def test_a_group_that_becomes_a_supergroup_keeps_everything(
    tmp_path: Path, redis: Redis, valkey
) -> None:
    """Its notices were followed, its commands and its menu were lost; restarts included."""
    new_group = -1007777
    async with FakeUpdates() as fake:
        settings = msgspec.structs.replace(
            asked.settings(tmp_path), token=Secret(TOKEN), api_url=fake.url
        )
        fake.chats[new_group] = fake.chats[OPERATORS]

        async with running(settings, valkey):
            fake.say("/start", chat=OPERATORS)
            await fake.until(1)
            fake.moves[OPERATORS] = new_group
            fake.say("", chat=OPERATORS, migrate_to_chat_id=new_group)
            fake.say("/rules", chat=new_group)
            await fake.until(3)
        texts = {sent.text for sent in fake.sent if sent.chat == new_group}
        [moved] = [text for text in texts if text.startswith("⚪ Delivery")]
        assert str(new_group) in moved and str(OPERATORS) in moved
        assert len(texts) == 2

        fake.menus.clear()
        async with running(settings, valkey):
            fake.say("/silence oi_drop BTC 1h", user=asked.ANN)
            fake.say("/status", chat=new_group)
            await fake.until(6)
        assert [sent.chat for sent in fake.sent[3:]].count(
            new_group
        ) == 2  # one tells of the silence
        assert "silence" in fake.menus[str(new_group)]
        assert str(OPERATORS) not in fake.menus


async def test_a_move_that_a_menu_or_an_answer_meets_is_known_to_all(
    tmp_path: Path, redis: Redis, valkey
) -> None:
    async with FakeUpdates() as fake:
        settings = msgspec.structs.replace(
            asked.settings(tmp_path), token=Secret(TOKEN), api_url=fake.url
        )
        fake.chats[-1007777] = fake.chats[OPERATORS]
        fake.moves[OPERATORS] = -1007777
        async with running(settings, valkey):
            await fake.until(1)
            fake.say("/rules", chat=-1007777)
            await fake.until(2)
    assert {sent.chat for sent in fake.sent} == {-1007777}


async def test_hundreds_of_subscribers_cost_no_burst_at_the_start(
    tmp_path: Path, redis: Redis, valkey
) -> None:
    """261 getChat went out in a second, and SIGTERM took 8 s."""
    for user in range(10_000, 10_300):
        await store.save_subscription(redis, Subscriber(user=user, wants={"*": ("SOL",)}))
    async with FakeUpdates() as fake:
        settings = msgspec.structs.replace(
            asked.settings(tmp_path), token=Secret(TOKEN), api_url=fake.url
        )
        fake.chats |= {user: {"type": "private"} for user in range(10_000, 10_300)}
        async with running(settings, valkey):
            await redis.xadd(Keys().alerts, {"a": alerts.encode(sol())})
            await fake.until(40, 100)
            counts = Counter(fake.requests)
        # each post was one request, and nothing was asked about who gets one
        assert counts["getMe"] == 1
        assert counts["getChat"] <= 3
        assert counts.total() - counts["sendMessage"] < 15
        # at the end nobody hurried to get rid of the rest
        assert fake.requests.count("sendMessage") < 150


async def test_posts_answers_edits_and_checks_share_one_limit(
    tmp_path: Path, redis: Redis, valkey
) -> None:
    """Two limits would let twice as many through; some arrive late, and together."""
    for user in range(10_000, 10_200):
        await store.save_subscription(redis, Subscriber(user=user, wants={"*": ("SOL",)}))
    async with FakeUpdates() as fake:
        settings = msgspec.structs.replace(
            asked.settings(tmp_path), token=Secret(TOKEN), api_url=fake.url
        )
        fake.chats |= {user: {"type": "private"} for user in range(10_000, 10_200)}
        async with running(settings, valkey):
            for user in range(20_000, 20_300):
                fake.say("/status", user=user)
            fake.say("/test", chat=OPERATORS)
            await fake.until(10, 100)
            await redis.xadd(Keys().alerts, {"a": alerts.encode(sol())})
            await fake.until(90, 100)
        assert busiest(fake.times) < 1.5 * Limits().overall
        places = Counter(sent.chat // 10_000 for sent in fake.sent)
    assert places[1] > 20 and places[2] > 5, "both were served at once"


def sol() -> Alert:
    now = wall_ms()
    return msgspec.structs.replace(
        alert(0, "SOL", Level.CRITICAL), id=f"oi_drop:SOL:{now}:1", seen=now, at=now,
        opened_at=now, extreme_at=now,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def running(settings: Settings, valkey: Any) -> AsyncIterator[None]:
    """The bot role as it runs; it must stop soon."""
    task = asyncio.create_task(bot_role(settings, valkey.url, lambda: sinks(settings)))
    try:
        yield
    finally:
        task.cancel()
        async with loop_time() as passed:
            await asyncio.gather(task, return_exceptions=True)
            assert passed() < 2
