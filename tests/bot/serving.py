"""Commands served by the real way to Telegram and the real limiter, without the role around."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from bot.commands.telegram import EpisodesOf, serve
from bot.config import Settings
from bot.delivery.pace import NO_LIMITS, Limits
from bot.delivery.post import DeliveryProblem, Policy
from bot.delivery.sender import Sender
from bot.delivery.sinks import Sinks
from bot.delivery.sinks.telegram import TelegramClient
from bot.delivery.store import OutboxStore
from bot.destination import TelegramChat
from streams.bus.connection import Keys
from streams.clock import WallClock
from tests.loop_time import loop_time


async def _ignore(_trouble: DeliveryProblem) -> None:
    """Nobody is told."""


@asynccontextmanager
async def served(
    settings: Callable[[], Settings] | Settings,
    redis: Redis,
    now: Callable[[], int] | None = None,
    limits: Limits | None = NO_LIMITS,
    episodes: EpisodesOf = lambda _chat, _message: (),
) -> AsyncIterator[Sender]:
    """While inside, commands are answered; the gate. ``limits`` None: those of Telegram."""
    asked = settings if callable(settings) else lambda: settings
    clock = now or (lambda: int(time.time() * 1000))
    telegram = TelegramClient(str(asked().token), asked().api_url)
    store = OutboxStore(redis, Keys())
    gate = Sender(store, Sinks(telegram), WallClock(), Policy(), _ignore, limits)
    if (operators := asked().operators.chat_id) is not None:
        gate.queue(TelegramChat(operators))
    task = asyncio.create_task(serve(asked, redis, telegram, gate, now=clock, episodes=episodes))
    try:
        yield gate
    finally:
        task.cancel()
        async with loop_time() as passed:
            await asyncio.gather(task, return_exceptions=True)
            await telegram.close()
            assert passed() < 2
