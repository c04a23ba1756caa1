"""Alarms: what keeps everything else from being told reaches the operators all the same."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
import structlog
from redis.asyncio import Redis

from bot.config.chats import OperatorSettings
from bot.delivery import alarms as alarms_module
from bot.delivery.alarms import LASTING_S, LOOK_S, Alarms
from bot.delivery.pace import Lane
from bot.delivery.sinks import Busy, OutcomeUnknown, Receipt, RefusalScope, Refused, RetryLater
from bot.destination import TelegramChat
from bot.roles import run as running
from bot.roles.run import run, supervise
from streams.bus.connection import Keys
from streams.bus.health import HEALTH, Health
from streams.bus.writer import Writer
from tests.bot.fake_telegram import CHANNEL, GROUP, TOKEN, FakeTelegram
from tests.bot.role_fixtures import secret, settings
from tests.bot.sinks import Numbered
from tests.valkey import Proxy, Server


class Time:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


class Chat(Numbered):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.plan: list[Exception] = []

    async def send(self, to, message, **how) -> Receipt:
        if self.plan:
            raise self.plan.pop(0)
        self.texts.append(message.plain)
        return await super().send(to, message, **how)


class Gate:
    def __init__(self) -> None:
        self.turns: list[tuple[object, Lane]] = []
        self.full = False

    async def turn(self, chat, patience_s, lane=Lane.ASIDE) -> None:
        if self.full:
            raise Busy("no room")
        self.turns.append((chat, lane))


def bench() -> tuple[Time, Health, Chat, Alarms]:
    time, chat = Time(), Chat()
    health = Health(time)
    return time, health, chat, Alarms(TelegramChat(CHANNEL), "en", lambda: chat, health)


async def test_what_lasts_is_told_once_and_once_when_it_is_over() -> None:
    time, health, chat, alarms = bench()
    health.failing("the rules role", "Redis cannot write its file, the disk is full: make room")
    time.at = LASTING_S - 1
    assert not await alarms.look()
    time.at = LASTING_S
    health.failing("the rules role", "Redis cannot write its file, the disk is full: make room")
    assert await alarms.look()
    assert not await alarms.look()
    health.works("the rules role")
    assert await alarms.look()
    assert not await alarms.look()
    assert chat.texts == [
        "🔧 Lowtide itself: the rules role does not work: Redis cannot write its file, the disk is"
        " full: make room",
        "🔧 Lowtide itself: the rules role works again.",
    ]


async def test_what_operators_alone_can_mend_is_told_within_half_a_minute() -> None:
    time, health, chat, alarms = bench()
    why = "Redis cannot write its file, the disk is full or read-only: make room"
    health.failing("the rules role", why, by_hand=True)
    while not chat.texts:
        time.at += LOOK_S
        await alarms.look()
    assert time.at <= 25
    assert chat.texts == [f"🔧 Lowtide itself: the rules role does not work: {why}"]


async def test_what_is_over_soon_is_no_alarm() -> None:
    time, health, chat, alarms = bench()
    for _ in range(20):
        health.failing("the outbox", "Redis does not answer in time")
        time.at += LASTING_S - 1
        assert not await alarms.look()
        health.works("the outbox")
        assert not await alarms.look()
    assert chat.texts == []


async def test_all_that_is_new_is_one_message_and_markup_is_escaped() -> None:
    time, health, chat, alarms = bench()
    for role in ("streams", "rules", "bot"):
        health.failing(f"the {role} role", "<b>&" + "x" * 5_000)
    time.at = LASTING_S
    assert await alarms.look()
    (text,) = chat.texts
    assert text.count("does not work: <b>&xxx") == 3
    assert len(text) < 1_200


@pytest.mark.parametrize("error", [RetryLater(3.0, "too much"), Busy("x")])
async def test_what_surely_did_not_arrive_is_told_later(error: Exception) -> None:
    time, health, chat, alarms = bench()
    health.failing("the bot role", "why")
    time.at = LASTING_S
    chat.plan = [error]
    assert not await alarms.look()
    assert await alarms.look()
    assert len(chat.texts) == 1


@pytest.mark.parametrize(
    "error", [Refused("no rights", RefusalScope.CHAT), OutcomeUnknown("timed out")]
)
async def test_what_cannot_be_told_or_perhaps_was_is_not_said_for_ever(error: Exception) -> None:
    time, health, chat, alarms = bench()
    health.failing("the bot role", "why")
    time.at = LASTING_S
    chat.plan = [error]
    assert await alarms.look()
    assert not await alarms.look()


async def test_it_takes_its_turn_at_the_limiter() -> None:
    time, health, _, alarms = bench()
    gate = alarms.gate = Gate()
    health.failing("the rules role", "why")
    time.at = LASTING_S
    gate.full = True
    assert not await alarms.look()
    gate.full = False
    assert await alarms.look()
    assert gate.turns == [(CHANNEL, Lane.URGENT)]


async def test_without_a_chat_the_log_has_it() -> None:
    time = Time()
    health = Health(time)
    alarms = Alarms(None, "en", Chat, health)
    health.failing("the rules role", "why")
    time.at = LASTING_S
    with structlog.testing.capture_logs() as logs:
        assert await alarms.look()
    assert logs[0]["text"].endswith("the rules role does not work: why")


@pytest.mark.parametrize("roles", [("rules", "bot"), ("rules",)])
async def test_a_redis_that_is_gone_reaches_the_operators(
    tmp_path: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, roles: tuple[str, ...]
) -> None:
    """From the configuration to Telegram, by a process with the bot role and by one without."""
    monkeypatch.setattr(alarms_module, "LASTING_S", 0.3)
    monkeypatch.setattr(alarms_module, "LOOK_S", 0.1)
    monkeypatch.setattr(alarms_module, "EVERY_S", 0.1)
    async with FakeTelegram() as fake:
        chosen = settings(
            tmp_path, token=secret(TOKEN), api_url=fake.url, redis_url=secret(proxy.url),
            operators=OperatorSettings(chat_id=GROUP), chats=(),
        )  # fmt: skip
        task = asyncio.create_task(run(chosen, roles))
        await asyncio.sleep(0.7)
        proxy.fail()
        await posted(fake, "does not work: Redis cannot be reached")
        proxy.down = False
        await posted(fake, "works again")
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(task, 6)
    for who in [*HEALTH.lasting(0)]:
        HEALTH.works(who)
    assert all(post.chat == GROUP for post in fake.posted)


async def posted(fake: FakeTelegram, words: str) -> None:
    async with asyncio.timeout(20):
        while not any(words in post.text for post in fake.posted):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("error", [OSError("No space left on device"), ValueError("a bug")])
async def test_a_role_that_dies_again_and_again_is_failing_until_it_lives(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(running, "BACKOFF_S", (0.01, 0.02))
    monkeypatch.setattr(running, "_WORKS_S", 0.1)
    lives = 0

    async def work() -> None:
        nonlocal lives
        lives += 1
        if lives < 5:
            raise error
        await asyncio.Event().wait()

    task = asyncio.create_task(supervise("rules", work))
    while lives < 4:
        await asyncio.sleep(0.002)
    assert str(error) in HEALTH.lasting(0)["the rules role"]
    while "the rules role" in HEALTH.lasting(0):
        await asyncio.sleep(0.01)
    assert lives == 5
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_role_that_lives_and_cannot_write_is_failing_since_it_could_not(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer of events says it; that its role lives on is no sign that it can."""
    monkeypatch.setattr(running, "_WORKS_S", 0.6)
    monkeypatch.setattr("streams.bus.connection._BACKOFF_S", (0.01, 0.02))
    writer = Writer(redis, Keys().events, 60_000, 1_000_000)

    async def work() -> None:
        await asyncio.sleep(0.2)
        await writer.append([(1, b"{}")])
        await asyncio.Event().wait()

    await redis.config_set("maxmemory", 1)
    task = asyncio.create_task(supervise("streams", work))
    try:
        await asyncio.sleep(1.0)
        assert "no memory left" in HEALTH.lasting(0.5)["the streams role"]
    finally:
        await redis.config_set("maxmemory", 0)
    while "the streams role" in HEALTH.lasting(0):
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_role_of_another_process_is_not_called_dead_while_it_cannot_report(
    redis: Redis, valkey: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_MIND_S", 0.02)
    await redis.config_set("maxmemory", 1)
    task = asyncio.create_task(running._mind_others(valkey.url, ("bot",)))
    try:
        while "Redis" not in HEALTH.lasting(0):
            await asyncio.sleep(0.005)
        assert HEALTH.lasting(0) == {
            "Redis": "Redis has no memory left: raise its maxmemory or lower redis.max_mb"
        }
    finally:
        await redis.config_set("maxmemory", 0)
    while "Redis" in HEALTH.lasting(0) or "the rules role" not in HEALTH.lasting(0):
        await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for who in [*HEALTH.lasting(0)]:
        HEALTH.works(who)


async def test_a_role_of_another_process_that_is_dead_is_noticed(
    redis: Redis, valkey: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_MIND_S", 0.02)
    await redis.set(f"{Keys().status}:streams", b"{}")
    task = asyncio.create_task(running._mind_others(valkey.url, ("bot",)))
    while "the rules role" not in HEALTH.lasting(0):
        await asyncio.sleep(0.005)
    assert "the streams role" not in HEALTH.lasting(0)
    await redis.set(f"{Keys().status}:rules", b"{}")
    while "the rules role" in HEALTH.lasting(0):
        await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
