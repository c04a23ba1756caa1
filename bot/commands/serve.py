"""Commands in and answers out, by long polling: python-telegram-bot inside our loop.

Nothing here ends the role: what goes wrong is said once and waited out. The sender says what is
wrong with a token.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import structlog
import telegram
from redis.asyncio import Redis
from telegram.error import InvalidToken, TelegramError
from telegram.ext import Application, ApplicationBuilder, TypeHandler, Updater
from telegram.request import HTTPXRequest

from bot.commands.desk import Desk, reason
from bot.commands.parsing import Spec
from bot.commands.rights import menus
from bot.config import Settings
from bot.lang import LANGUAGES
from bot.lang.words import Words
from bot.logs import quiet_http, redact
from streams.clock import wall_ms
from streams.events import Ms

log = structlog.get_logger()

POLL_S = 30
PAUSE_S = 0.2
"""Between two polls: the library asks again at once for a message that it cannot read."""

STOP_S = 0.6
"""What each of the three steps of stopping may take: all of them less than 2 s."""

_AGAIN_S = (1.0, 30.0)
_App = Application[Any, Any, Any, Any, Any, Any]


async def serve(
    settings: Callable[[], Settings], redis: Redis, *, now: Callable[[], Ms] = wall_ms
) -> None:
    """Answer commands until cancelled. ``settings``: those that hold now, asked for each time.

    Returns if there is no token, or none that Telegram takes.
    """
    token = settings().token
    if token is None:
        return
    quiet_http()
    logging.getLogger("telegram.ext").setLevel(logging.CRITICAL)  # what matters is said here
    desk = Desk(settings, redis, now)
    while True:
        if not await _answer(_application(token, settings().api_url, desk), desk, settings):
            return
        await asyncio.sleep(_AGAIN_S[1])


async def _answer(app: _App, desk: Desk, settings: Callable[[], Settings]) -> bool:
    """Answer until something is wrong; False if trying again is no use."""
    try:
        if not await _connected(app):
            return False
        await _offer_menus(app.bot, settings())
        await app.start()
        await cast("Updater", app.updater).start_polling(
            poll_interval=PAUSE_S,
            timeout=POLL_S,
            allowed_updates=["message"],
            bootstrap_retries=-1,
            error_callback=desk.troubled,
        )
        log.info("commands are answered", bot=app.bot.username)
        await desk.tend(app.bot)
    except TelegramError as error:
        log.error("commands are not answered", reason=reason(error), next_try_s=_AGAIN_S[1])
    finally:
        await _stop(app)
    return True


def _application(token: str, api_url: str, desk: Desk) -> _App:
    request = HTTPXRequest(connection_pool_size=4, read_timeout=20.0, connect_timeout=5.0)
    polling = HTTPXRequest(connection_pool_size=1, read_timeout=10.0, connect_timeout=5.0)
    app = (
        ApplicationBuilder()
        .token(token)
        .base_url(f"{api_url}/bot")
        .request(request)
        .get_updates_request(polling)
        .job_queue(None)
        .build()
    )
    app.add_handler(TypeHandler(telegram.Update, desk.hear))
    app.add_error_handler(desk.failed)
    return app


async def _connected(app: _App) -> bool:
    """Whether Telegram knows the token; waits until it can be asked."""
    wait, longest = _AGAIN_S
    said = False
    while True:
        try:
            await app.initialize()
        except InvalidToken:
            log.warning("commands are not answered: Telegram refuses the token")
            return False
        except TelegramError as error:
            if not said:
                log.warning("commands wait: Telegram cannot be reached", reason=reason(error))
            said = True
            await asyncio.sleep(wait)
            wait = min(wait * 2, longest)
            continue
        return True


async def _offer_menus(bot: telegram.Bot, settings: Settings) -> None:
    """Tell Telegram which commands to show, and where."""
    words, (public, inside) = LANGUAGES[settings.language], menus(settings.operators)
    try:
        await bot.set_my_commands(_menu(public, words))
        if (chat := settings.operators.chat_id) is not None:
            scope = telegram.BotCommandScopeChat(chat)
            await bot.set_my_commands(_menu(inside, words), scope=scope)
    except TelegramError as error:
        log.warning("the menu of commands was not set", reason=reason(error))


def _menu(specs: Sequence[Spec], words: Words) -> list[tuple[str, str]]:
    return [(spec.name, words.phrases[f"ask.menu.{spec.name}"]) for spec in specs]


async def _stop(app: _App) -> None:
    """In the reverse order of starting, and soon whatever Telegram does."""
    if app.updater is not None and app.updater.running:
        await _within(app.updater.stop(), STOP_S)
    if app.running:
        await _within(app.stop(), STOP_S)
    await _within(app.shutdown(), STOP_S)


async def _within(work: Awaitable[None], seconds: float) -> None:
    """``work`` for so long. The library takes a cancellation for a step that is done and goes on
    with the next one, so it may need several."""
    task = asyncio.ensure_future(work)
    await asyncio.wait([task], timeout=seconds)
    for _ in range(4):
        if task.done():
            break
        task.cancel()
        await asyncio.wait([task], timeout=0.02)
    if task.done() and not task.cancelled() and (error := task.exception()) is not None:
        log.warning("commands did not stop cleanly", reason=redact(str(error))[:200])
