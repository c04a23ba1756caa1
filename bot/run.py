"""Roles started, supervised and stopped."""

import asyncio
import contextlib
import gc
import random
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

import structlog

from bot.config import Settings
from bot.roles.bot import bot_role
from bot.roles.rules import rules_role
from bot.roles.streams import streams_role
from bot.sinks import Refused, Sink
from bot.sinks.console import Console
from bot.sinks.telegram import Telegram
from streams.clock import Clock
from streams.embedded import Embedded

log = structlog.get_logger()

ROLES = ("streams", "rules", "bot")
STOP_S = 3.5
"""Roles that have not stopped by then are left behind: platforms kill after 5 s."""

_BACKOFF_S = (1.0, 60.0)
_HEALTHY_S = 120.0
"""A role that ran for so long starts its backoff anew."""


async def run(settings: Settings, roles: Sequence[str], clock: Clock | None = None) -> None:
    """Run these roles in this process until SIGTERM or SIGINT. Raises CannotStart."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    gc.collect()
    gc.freeze()  # what was imported stays: no use in looking through it again and again
    async with redis_url(settings) as url:
        works = {name: _work(name, settings, url, clock) for name in roles}
        tasks = [asyncio.create_task(supervise(name, work)) for name, work in works.items()]
        await stop.wait()
        log.info("stopping")
        await stop_all(tasks)


async def stop_all(tasks: Sequence["asyncio.Task[None]"]) -> None:
    """Cancel and wait, but not for ever."""
    for task in tasks:
        task.cancel()
    _, late = await asyncio.wait(tasks, timeout=STOP_S)
    if late:
        log.error("roles did not stop in time", roles=len(late))
        for t in late:
            t.print_stack()  # DEBUG
        import sys

        for t in asyncio.all_tasks():
            print(t, file=sys.stderr)


@asynccontextmanager
async def redis_url(settings: Settings) -> AsyncGenerator[str]:
    """The Redis to use: REDIS_URL, else config.toml, else one of our own for as long as we run."""
    if settings.redis_url is not None:
        yield settings.redis_url
        return
    embedded = Embedded(settings.data_dir, settings.max_mb)
    await embedded.start()
    keeping = asyncio.create_task(embedded.keep())
    try:
        yield embedded.url
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping
        await embedded.stop()


def existing_redis(settings: Settings) -> str:
    """The Redis of a Lowtide that runs already; none is started."""
    return settings.redis_url or Embedded(settings.data_dir, settings.max_mb).url


async def supervise(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run a role for ever: one that dies is started again after a while, the others go on."""
    loop = asyncio.get_running_loop()
    wait, longest = _BACKOFF_S
    while True:
        began = loop.time()
        try:
            await work()
            reason = "it ended by itself"
        except BaseExceptionGroup as group:
            if group.subgroup(asyncio.CancelledError) is not None:
                raise
            reason = _reason(name, group)
        except Exception as error:  # noqa: BLE001  # whatever it is, the others go on
            reason = _reason(name, error)
        if loop.time() - began > _HEALTHY_S:
            wait = _BACKOFF_S[0]
        pause = wait * (0.75 + random.random() / 2)
        log.error(f"the {name} role stopped: {reason}", next_try_s=round(pause, 1))
        await asyncio.sleep(pause)
        wait = min(wait * 2, longest)


def _reason(name: str, error: BaseException) -> str:
    """A sentence for what is known, a traceback in the log for a bug."""
    first: BaseException = error
    while isinstance(first, BaseExceptionGroup):
        first = cast("BaseExceptionGroup[BaseException]", first).exceptions[0]
    if isinstance(first, Refused):
        return first.reason
    log.error("a role failed", role=name, exc_info=first)
    return f"{type(first).__name__}: {first}"


def _work(
    name: str, settings: Settings, url: str, clock: Clock | None
) -> Callable[[], Awaitable[None]]:
    match name:
        case "streams":
            return lambda: streams_role(settings, url, clock)
        case "rules":
            return lambda: rules_role(settings, url)
        case _:
            return lambda: bot_role(
                settings, url, lambda: sink(settings), lambda: operators(settings), clock
            )


def sink(settings: Settings) -> Sink:
    """Where messages go: Telegram if there is a token and a chat, else this terminal."""
    if settings.token is None or settings.chat_id is None:
        return Console()
    return Telegram(settings.token, settings.chat_id, settings.api_url)


def operators(settings: Settings) -> Sink | None:
    """Where notices go besides the log: the operators' chat, if there is one."""
    if settings.token is None or settings.operators_chat_id is None:
        return None
    return Telegram(settings.token, settings.operators_chat_id, settings.api_url)
