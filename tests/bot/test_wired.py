"""The bot role as it runs: commands and posts over the wire, and subscribers who come and go."""

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from bot.commands import store
from bot.config import Secret
from bot.destination import Destination, TelegramChat
from bot.limiter import NONE
from bot.messages import Message
from bot.roles import bot as bot_module
from bot.roles.bot import BotRole, bot_role
from bot.run import sinks
from bot.sinks import Later, Receipt, Sinks
from bot.subscriptions import Subscription
from rules import alerts
from rules.alerts import Alert, Level
from streams.bus import Keys
from streams.clock import wall_ms
from tests.bot import asked
from tests.bot.fake_telegram import TOKEN
from tests.bot.fake_updates import FakeUpdates
from tests.bot.sinks import Numbered
from tests.bot.test_dispatch import alert

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
        made = msgspec.structs.replace(
            asked.settings(tmp_path),
            token=Secret(TOKEN),
            api_url=fake.url,
            redis_url=Secret(valkey.url),
        )
        running = asyncio.create_task(bot_role(made, valkey.url, lambda: sinks(made)))
        fake.say("/subscribe liq_burst BTC", user=READER)
        fake.say("/subscribe oi_drop BTC", user=SUBSCRIBER)
        await fake.until(2)
        await asyncio.sleep(0.5)  # until the role has looked who subscribed
        await redis.xadd(Keys().alerts, {"a": alerts.encode(fresh(1))})
        await fake.until(4)
        assert sorted(sent.chat for sent in fake.sent[2:]) == [CHANNEL, SUBSCRIBER]
        fake.refusals[SUBSCRIBER] = (403, "Forbidden: bot was blocked by the user")
        await redis.xadd(Keys().alerts, {"a": alerts.encode(fresh(2))})
        await fake.until(5)
        async with asyncio.timeout(5):
            while len(await store.subscriptions(redis)) > 1:
                await asyncio.sleep(0.02)
        began = time.monotonic()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert time.monotonic() - began < 4
    [left] = await store.subscriptions(redis)
    assert left.user == READER


class Busy(Numbered):
    """Puts off what is for a subscriber while it is ``busy``."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.busy = True

    async def send(self, to: Destination, message: Message, **how: Any) -> Receipt:
        if to == TelegramChat(SUBSCRIBER) and self.busy:
            self.asked += 1
            raise Later(0.01, "busy")
        return await super().send(to, message, **how)


async def test_what_waits_for_a_subscriber_survives_a_restart(tmp_path: Path, redis: Redis) -> None:
    made = msgspec.structs.replace(asked.settings(tmp_path), token=Secret(TOKEN))
    await store.keep(redis, Subscription(user=SUBSCRIBER, wants={"*": ("BTC",)}))
    await redis.xadd(Keys().alerts, {"a": alerts.encode(fresh(1))})
    sink = Busy()
    for _ in range(2):
        running = asyncio.create_task(BotRole(made, redis, Sinks(sink), limits=NONE).run())
        async with asyncio.timeout(5):
            while not (sink.asked if sink.busy else sink.chats.get(SUBSCRIBER)):
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        sink.busy = False
    assert len(sink.chats[SUBSCRIBER]) == 1
