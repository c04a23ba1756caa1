"""Commands in and answers out, by long polling.

Whatever ends the polling is said once and tried again for ever: a network that is away, another
program with the same token, a token that Telegram does not take, an answer that nobody can read.
"""

import asyncio
from collections.abc import Callable

import structlog
from redis.asyncio import Redis

from bot.commands.desk import Desk
from bot.commands.updates import number
from bot.config import Settings
from bot.sinks import Gate, Later, Moved, Refused, Uncertain
from bot.sinks.telegram import Telegram
from streams.clock import wall_ms
from streams.events import Ms
from streams.failures import Told

log = structlog.get_logger()

POLL_S = 30.0
PAUSE_S = 0.2
"""Between two polls: a message whose number cannot be read comes again at once."""

STOP_S = 0.5
"""What confirming the last messages may take at the end."""

_AGAIN_S = (1.0, 30.0)


async def serve(
    settings: Callable[[], Settings],
    redis: Redis,
    telegram: Telegram,
    gate: Gate,
    *,
    now: Callable[[], Ms] = wall_ms,
) -> None:
    """Answer commands until cancelled. ``settings``: those that hold now, asked for each time.

    ``gate``: the one that ``telegram`` has joined.
    """
    desk = Desk(settings, redis, telegram, gate, now)
    polling = _Polling(desk, telegram)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(desk.tend())
            tasks.create_task(desk.show_menus())
            tasks.create_task(polling.run())
    finally:
        await desk.close()
        await polling.confirm()


class _Polling:
    """Asks Telegram what people have written, and hands it to the desk."""

    def __init__(self, desk: Desk, telegram: Telegram) -> None:
        self._desk = desk
        self._telegram = telegram
        self._offset = self._confirmed = 0
        self._works = False
        self._told = Told()

    async def run(self) -> None:
        """Never returns."""
        wait, longest = _AGAIN_S
        while True:
            try:
                if not self._works:
                    await self._telegram.clear_webhook()
                await self._poll()
            except (Later, Moved, Refused, Uncertain) as error:
                self._troubled(error)
                flood = error.seconds if isinstance(error, Later) and error.flood else 0.0
                await asyncio.sleep(max(wait, flood))
                wait = min(wait * 2, longest)
                continue
            wait = _AGAIN_S[0]
            await asyncio.sleep(PAUSE_S)

    async def confirm(self) -> None:
        """Tell Telegram what has been read, so that it is not sent to the next who asks."""
        if self._works and self._offset > self._confirmed:
            task = asyncio.ensure_future(self._telegram.updates(self._offset, 0))
            await asyncio.wait([task], timeout=STOP_S)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _poll(self) -> None:
        me = await self._telegram.name()
        # the first poll does not wait, to know at once whether it works
        updates = await self._telegram.updates(self._offset, POLL_S if self._works else 0)
        if not self._works:
            log.info("commands are answered", bot=me)
            self._works = True
            self._told.forget()
            self._desk.connected.set()
        self._confirmed = self._offset
        for update in updates:
            if (last := number(update)) is not None:
                self._offset = max(self._offset, last + 1)
            self._desk.hear(update, me)

    def _troubled(self, error: Later | Moved | Refused | Uncertain) -> None:
        """Each kind of failure in a row is said once."""
        self._works = False
        reason = str(error) if isinstance(error, Moved) else error.reason
        kind = type(error).__name__
        if self._told.is_news(kind + reason[:20], 0):
            log.warning(f"commands are not answered: {reason[:200]}", next_try_s=_AGAIN_S[1])
