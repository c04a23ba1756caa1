"""Commands against a Bot API emulator that others wrote: a second opinion on what we ask for.

What it lacks, and so is not shown here: ``username`` in getMe, so a command addressed to a bot by
name is for nobody; types of chats other than private; the check of markup; ``message_thread_id``,
which it refuses; getChat and getChatMember; 409 for a second poller is there, 429 is not.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from redis.asyncio import Redis

from bot.config import Secret, Settings
from streams.bus.connection import Keys
from tests.bot import asked
from tests.bot.fake_telegram import TOKEN
from tests.bot.serving import served

emulators = pytest.importorskip("lo_bot_api_emulator")


class Emulator:
    """The emulator on loopback."""

    def __init__(self) -> None:
        self.inner: Any = emulators.LoBotApiEmulator()
        self.url = ""

    async def __aenter__(self) -> "Emulator":
        self._runner = web.AppRunner(self.inner.app(), shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def say(self, text: str, user: int = asked.ANN) -> None:
        person = {"id": user, "is_bot": False, "first_name": "Ann"}
        message = {
            "message_id": 1, "date": int(time.time()), "from": person, "text": text,
            "chat": {"id": user, "type": "private", "first_name": "Ann"},
        }  # fmt: skip
        await self.inner.enqueue_update({"message": message}, token=TOKEN)

    def answers(self, method: str) -> list[Any]:
        return [request for request in self.inner.requests if request["method"] == method]


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator() as server:
        yield server


@pytest.fixture
def configured(tmp_path: Path, emulator: Emulator) -> Settings:
    settings = asked.settings(tmp_path)
    return msgspec.structs.replace(settings, token=Secret(TOKEN), api_url=emulator.url)


async def test_every_command_is_answered(emulator: Emulator, configured: Settings, redis: Redis):
    seen = msgspec.structs.replace(asked.STANDING, seen=int(time.time() * 1000))
    await redis.set(Keys().standing, msgspec.msgpack.encode(seen))
    texts = [
        "/start", "/help", "/status", "/top", "/funding", "/funding BTC", "/oi BTC", "/depth BTC",
        "/liq BTC", "/rules", "/why oi_drop BTC", "/silence oi_drop BTC 6h", "/unsilence",
        "/subscribe oi_drop BTC", "/subscriptions", "/unsubscribe", "/nonsense",
    ]  # fmt: skip
    async with served(configured, redis):
        for text in texts:
            await emulator.say(text)
        await emulator.say("/status@lowtide_bot")  # it does not know its name here
        async with asyncio.timeout(60):
            # what operators are told of the silence is one more
            while len(emulator.answers("sendMessage")) < len(texts) + 1:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert {request["status"] for request in emulator.answers("getUpdates")} == {200}
    sent = emulator.answers("sendMessage")
    assert {request["status"] for request in sent} == {200}
    assert len(sent) == len(texts) + 1
    assert [request["status"] for request in emulator.answers("setMyCommands")] == [200] * 4


async def test_a_second_poller_waits(emulator: Emulator, configured: Settings, redis: Redis):
    async with served(configured, redis):
        while not emulator.answers("setMyCommands"):
            await asyncio.sleep(0.01)
        async with served(configured, redis), asyncio.timeout(60):
            while 409 not in {request["status"] for request in emulator.answers("getUpdates")}:
                await asyncio.sleep(0.01)
        await emulator.say("/help")  # the first goes on
        async with asyncio.timeout(60):
            while not emulator.answers("sendMessage"):
                await asyncio.sleep(0.01)
    statuses = [request["status"] for request in emulator.answers("getUpdates")]
    assert set(statuses) == {200, 409}
    assert statuses.count(409) < 5  # whoever is refused does not spin
    assert [request["status"] for request in emulator.answers("sendMessage")] == [200]
