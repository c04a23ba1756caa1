"""Roles started, supervised and stopped."""

import asyncio
import contextlib
import ctypes
import gc
import os
import random
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

import structlog
from redis.exceptions import RedisError

from bot.config import Settings
from bot.config.recipients import operators_language
from bot.delivery.alarms import Alarms
from bot.delivery.sinks import Sink, Sinks
from bot.delivery.sinks.console import Console
from bot.destination import Service, TelegramChat
from bot.roles.notify import ServiceManager
from streams.bus.connection import ANSWER_S, Keys, Overtaken, connect, unwritable
from streams.bus.embedded import Embedded
from streams.bus.health import HEALTH
from streams.bus.lease import LeaseLost
from streams.clock import Clock, FollowingClock, wall_ms

log = structlog.get_logger()

ROLES = ("streams", "rules", "bot")
STOP_S = 3.0
"""Roles that have not stopped by then are left behind: platforms kill after 5 s."""

BACKOFF_S = (1.0, 60.0)
_OUTSIDE = (LeaseLost, Overtaken, RedisError, OSError, TimeoutError)
"""What ends a role and is no bug: a new process would meet it too."""

_M_MMAP_THRESHOLD = -3
_LARGE = 256 * 1024
_LOOK_S = 1.0
_WORKS_S = 30.0
_MIND_S = 5.0
_CLOSE_S = 1.0
_HEALTHY_S = 120.0
"""A role that ran for so long starts its backoff anew."""


async def run(
    settings: Settings,
    roles: Sequence[str],
    clock: Clock | None = None,
    asides: Sequence[Callable[[str], Coroutine[None, None, None]]] = (),
) -> None:
    """Run these roles in this process until SIGTERM or SIGINT. Raises CannotStart.

    ``asides``: what else runs as long, given the address of Redis; if one ends, all others go on.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # who reads the configuration again hears it by itself; by default it would end everybody else
    loop.add_signal_handler(signal.SIGHUP, lambda: log.info("nothing here to be read again"))
    _give_memory_back()
    gc.set_threshold(10_000, 50, 100)  # with many books a full pass takes 0.1 s: hours apart
    alarms = _alarms(settings)
    manager = ServiceManager.of(os.environ)
    async with redis_url(settings) as url:
        here = "streams" in roles
        tasks = start_all(
            {name: _work(name, settings, url, clock, alarms, beside_streams=here) for name in roles}
        )
        manager.ready()
        telling = [
            asyncio.create_task(manager.run(HEALTH)),
            asyncio.create_task(alarms.run()),
            asyncio.create_task(_mind_others(url, roles)),
        ]
        gc.collect()
        gc.freeze()  # what was imported stays: no use in looking through it again and again
        telling += [asyncio.create_task(_on_its_own(aside(url))) for aside in asides]
        await stop.wait()
        log.info("stopping")
        manager.stopping()
        for task in telling:
            task.cancel()
        await stop_all(tasks)
        await asyncio.wait(telling, timeout=_CLOSE_S)


async def _on_its_own(aside: Coroutine[None, None, None]) -> None:
    try:
        await aside
    except Exception:
        log.exception("a part beside the roles has ended; it begins again with the next start")


def _give_memory_back() -> None:
    """Let large buffers, as of the state that is saved each minute, go back when they are freed.

    glibc raises the size from which it does so with every such buffer, and then keeps them.
    """
    with contextlib.suppress(OSError, AttributeError):  # not glibc: nothing to mend
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)


def _alarms(settings: Settings) -> Alarms:
    operators = settings.operators.chat_id if settings.token is not None else None
    chat = None if operators is None else TelegramChat(operators)
    return Alarms(chat, operators_language(settings), lambda: sinks(settings).telegram)


_MINDS = {"bot": ("streams", "rules"), "rules": ("bot",)}
"""Who notices that roles of other processes are dead: one process for each."""


async def _mind_others(url: str, roles: Sequence[str]) -> None:
    """Take note of roles of other processes of which nothing is heard; never returns."""
    others = {other for role in roles for other in _MINDS.get(role, ())} - set(roles)
    redis = connect(url, "mind")
    while others:
        await asyncio.sleep(_MIND_S)
        with contextlib.suppress(RedisError, OSError, TimeoutError):  # the roles say it
            if reason := await unwritable(redis):  # then nobody can report
                HEALTH.failing("Redis", reason, by_hand=True)
                continue
            HEALTH.works("Redis")
            async with asyncio.timeout(ANSWER_S):
                for other in sorted(others):
                    if await redis.exists(f"{Keys().status}:{other}"):
                        HEALTH.works(f"the {other} role")
                    else:
                        HEALTH.failing(f"the {other} role", "nothing is heard of it")


def start_all(works: Mapping[str, Callable[[], Awaitable[None]]]) -> list["asyncio.Task[None]"]:
    """Each role in a task of its name, supervised."""
    return [asyncio.create_task(supervise(name, work), name=name) for name, work in works.items()]


async def stop_all(tasks: Sequence["asyncio.Task[None]"]) -> None:
    """Cancel and wait, but not for ever."""
    for task in tasks:
        task.cancel()
    _, late = await asyncio.wait(tasks, timeout=STOP_S)
    if late:
        log.error("did not stop in time", roles=sorted(task.get_name() for task in late))


@asynccontextmanager
async def redis_url(settings: Settings) -> AsyncGenerator[str]:
    """The Redis to use: REDIS_URL, else config.toml, else one of our own for as long as we run."""
    if settings.redis_url is not None:
        yield settings.redis_url
        return
    embedded = Embedded(settings.data_dir, settings.max_mb)
    try:
        await embedded.start()
        tasks = [
            asyncio.create_task(embedded.keep()),
            asyncio.create_task(_tell_of_damage(embedded)),
        ]
        try:
            yield embedded.url
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await embedded.stop()


async def _tell_of_damage(embedded: Embedded) -> None:
    """Put it where the bot role reads it when something of the file was lost; never returns."""
    # imported where it is used: a role on its own holds no more than it needs
    from bot.messages.notices import state_notice
    from rules import alerts

    while True:
        await asyncio.sleep(_LOOK_S)
        if not (lost := embedded.lost):
            continue
        redis = connect(embedded.url, "damage")
        notice = state_notice("embedded Redis", lost, wall_ms())
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            await redis.xadd(Keys().alerts, {"a": alerts.encode(notice)})
            embedded.lost = ""  # only now: what could not be written is tried again
        await redis.aclose()


def existing_redis(settings: Settings) -> str:
    """The Redis of a Lowtide that runs already; none is started."""
    return settings.redis_url or Embedded(settings.data_dir, settings.max_mb).url


async def supervise(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run a role for ever: one that dies is started again after a while, the others go on."""
    loop = asyncio.get_running_loop()
    wait, longest = BACKOFF_S
    while True:
        began = loop.time()
        # once it has lived for a while, what was before is over; not what it says of itself since
        healthy = loop.call_later(_WORKS_S, HEALTH.lives, f"the {name} role", _WORKS_S)
        error = await _life(work)
        healthy.cancel()
        if loop.time() - began > _HEALTHY_S:
            wait = BACKOFF_S[0]
        pause = wait * (0.75 + random.random() / 2)
        reason = _reason(name, error)
        log.error(f"the {name} role stopped: {reason}", next_try_s=round(pause, 1))
        HEALTH.failing(f"the {name} role", reason, by_bug=not isinstance(error, _OUTSIDE))
        await asyncio.sleep(pause)
        wait = min(wait * 2, longest)


async def _life(work: Callable[[], Awaitable[None]]) -> BaseException | None:
    """Run to the end and say what ended it.

    In a task of its own: an error on the way down would hide that we are cancelled, and a failed
    TaskGroup leaves its task marked as cancelled on Python 3.11.
    """
    task = asyncio.ensure_future(work())
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
    return None if task.cancelled() else _first(task.exception())


def _first(error: BaseException | None) -> BaseException | None:
    """What ended a role, out of the groups around it."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


def _reason(name: str, error: BaseException | None) -> str:
    """A sentence for what is known, a traceback in the log for a bug."""
    if error is None:
        return "it ended by itself"
    if isinstance(error, LeaseLost | Overtaken):
        return str(error)
    log.error("a role failed", role=name, exc_info=error)
    return f"{type(error).__name__}: {error}"


def _work(
    name: str,
    settings: Settings,
    url: str,
    clock: Clock | None,
    alarms: Alarms,
    *,
    beside_streams: bool,
) -> Callable[[], Awaitable[None]]:
    # Imported where they are used: a role on its own need not hold the other roles' libraries.
    match name:
        case "streams":
            from bot.roles.streams import streams_role

            return lambda: streams_role(settings, url, clock)
        case "rules":
            from bot.roles.rules import rules_role

            return lambda: rules_role(settings, url)
        case _:
            from bot.roles.bot import bot_role

            return lambda: bot_role(
                settings,
                url,
                lambda: sinks(settings),
                clock or (None if beside_streams else FollowingClock()),
                alarms=alarms,
            )


def sinks(settings: Settings) -> Sinks:
    """The one place where sinks are made: Telegram if there is a token, else this terminal for all
    chats; webhooks and messengers."""
    console = Console()
    webhooks = _webhook(settings) if settings.webhooks else None
    messengers = _messengers(settings) if settings.messengers else None
    if settings.token is None:
        return Sinks(console, webhooks=webhooks, messengers=messengers)
    from bot.delivery.sinks.telegram import TelegramClient

    telegram = TelegramClient(settings.token, settings.api_url, proxy=settings.proxy_of_telegram)
    return Sinks(console, telegram=telegram, webhooks=webhooks, messengers=messengers)


def _webhook(settings: Settings) -> Sink:
    from bot.delivery.ways_out import webhook_sink

    return webhook_sink(settings)


def _messengers(settings: Settings) -> Mapping[Service, Sink]:
    from bot.delivery.ways_out import messenger_sinks

    return messenger_sinks(settings)
