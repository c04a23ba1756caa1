"""One message in, one answer out: decides whether it is a command, looks up what it asks for, does
what it changes, and replies."""

import asyncio
import contextlib
import html
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
import telegram
from redis.asyncio import Redis
from redis.exceptions import RedisError
from telegram.constants import ChatType, ParseMode
from telegram.error import Conflict, RetryAfter, TelegramError
from telegram.ext import CallbackContext

from bot.commands import store
from bot.commands.answering import answer, denied
from bot.commands.context import (
    AddSilence,
    Answer,
    Asker,
    Context,
    Effect,
    EndSilence,
    SendTest,
    Subscribe,
    only,
)
from bot.commands.fitting import fitted
from bot.commands.limits import Limiter, Pace
from bot.commands.parsing import Command, Mistake, parse
from bot.commands.rights import Refusal
from bot.commands.why import sought
from bot.config import Settings
from bot.lang import LANGUAGES
from bot.logs import redact
from bot.messages import plain
from bot.send_test import send_test
from bot.silences import split, with_silence, without
from bot.voice import Html, say
from streams.bus import in_words
from streams.events import Ms

log = structlog.get_logger()

TOO_OLD: Ms = 120_000
"""What was asked longer ago, while nobody listened, is not answered any more."""

TEND_S = 20.0
_REDIS = (RedisError, OSError, TimeoutError)


class Desk:
    """Where messages come in: decides which are commands, looks up what they ask for, answers."""

    def __init__(
        self, settings: Callable[[], Settings], redis: Redis, now: Callable[[], Ms]
    ) -> None:
        self._settings = settings
        self._redis = redis
        self._now = now
        self._limiter = Limiter()
        self._trouble = ""

    def troubled(self, error: TelegramError) -> None:
        """Polling failed and goes on; each kind of failure in a row is said once."""
        conflict = isinstance(error, Conflict)
        kind = "conflict" if conflict else "network"
        if kind == self._trouble:
            return
        self._trouble = kind
        if conflict:
            log.warning("commands wait: another program asks Telegram for this bot's messages")
        else:
            log.warning("commands wait: Telegram cannot be reached", reason=reason(error))

    async def failed(self, _update: object, context: CallbackContext[Any, Any, Any, Any]) -> None:
        """A bug, or an answer that could not be sent: said, and the next command is answered."""
        error = context.error
        if isinstance(error, TelegramError):
            log.warning("a command was not answered", reason=reason(error))
        else:
            log.error("a command failed", exc_info=error)

    async def hear(
        self, update: telegram.Update, context: CallbackContext[Any, Any, Any, Any]
    ) -> None:
        """One message; only new ones of people, in private or in the operators' chat, count."""
        self._trouble = ""
        message, settings = update.message, self._settings()
        if message is None or message.text is None or message.from_user is None:
            return
        private = message.chat.type == ChatType.PRIVATE
        if not private and not _is_chat(message.chat, settings.operators.chat_id):
            return
        if self._now() - int(message.date.timestamp() * 1000) > TOO_OLD:
            return
        command = parse(message.text, context.bot.username)
        if command is None:
            return
        asker = Asker(user=message.from_user.id, name=_name(message.from_user), private=private)
        about = Context(
            settings=settings, words=LANGUAGES[settings.language], now=self._now(), asker=asker
        )
        found = await self._answer(command, about, message, context.bot)
        if found is not None:
            await _reply(context.bot, message, fitted(found.blocks, about.words))
            if private:
                await self._tell_operators(context.bot, found.tell)

    async def _answer(
        self,
        command: Command | Mistake,
        about: Context,
        message: telegram.Message,
        bot: telegram.Bot,
    ) -> Answer | None:
        """What to reply, its effects done; None: nothing."""
        pace = self._limiter.ask(about.asker.user, about.now)
        if pace is Pace.IGNORE:
            return None
        if pace is Pace.SAY_SO:
            return only(about.say("ask.slow"))
        if message.sender_chat is not None:
            return only(about.say("ask.no.anonymous"))
        if refused := denied(command, about):
            strange = refused[0] is Refusal.STRANGER
            once = not strange or self._limiter.refuse(about.asker.user, about.now)
            return refused[1] if once else None
        try:
            about = await self._looked_up(command, about)
            found = answer(command, about)
            done = [line for effect in found.effects for line in await self._do(effect, bot)]
        except _REDIS as error:
            return only(about.say("ask.redis", reason=in_words(error)))
        except Exception:  # whoever asks is not left without an answer, and the bug is in the log
            log.exception("a command failed", command=message.text)
            return only(about.say("ask.failed"))
        return msgspec.structs.replace(found, blocks=(*found.blocks, *done))

    async def _looked_up(self, command: Command | Mistake, about: Context) -> Context:
        """With all that an answer may be made of."""
        if isinstance(command, Mistake):
            return about
        redis, user = self._redis, about.asker.user
        subscription, count = await store.subscribers(redis, user)
        language = about.words
        if about.asker.private and subscription is not None:
            language = LANGUAGES.get(subscription.language, language)
        return msgspec.structs.replace(
            about,
            words=language,
            standing=await store.standing(redis),
            reports=await store.role_reports(redis),
            silences=await store.silences(redis),
            alerts=await store.episode(redis, sought(command)) if command.name == "why" else (),
            subscription=subscription,
            subscribers=count,
        )

    async def _do(self, effect: Effect, bot: telegram.Bot) -> list[Html]:
        """What an answer changes; lines to add to it."""
        match effect:
            case AddSilence(silence):
                await store.change_silences(self._redis, lambda all_: with_silence(all_, silence))
            case EndSilence(family, asset):
                await store.change_silences(self._redis, lambda all_: without(all_, family, asset))
            case Subscribe(subscription):
                await store.keep(self._redis, subscription)
            case SendTest():
                outcomes = await send_test(bot, self._settings())
                return [Html(html.escape(one.text, quote=False)) for one in outcomes]
        return []

    async def tend(self, bot: telegram.Bot) -> None:
        """Silences that are over are taken away and told of; never returns."""
        while True:
            await asyncio.sleep(TEND_S)
            with contextlib.suppress(*_REDIS):
                await self._end_silences(bot)

    async def _end_silences(self, bot: telegram.Bot) -> None:
        over = split(await store.silences(self._redis), self._now())[1]
        if not over:
            return
        await store.change_silences(
            self._redis, lambda all_: tuple(one for one in all_ if one not in over)
        )
        words = LANGUAGES[self._settings().language]
        for one in over:
            log.info("a silence is over", rule=one.family, asset=one.asset)
            who = one.by or "?"
            text = say(words, "ask.tell.over", rule=one.family, asset=one.asset, who=who)
            try:
                await self._tell_operators(bot, text)
            except TelegramError as error:
                log.warning("operators were not told", reason=reason(error))

    async def _tell_operators(self, bot: telegram.Bot, text: Html) -> None:
        """In their chat, without a sound, if there is one and something to tell."""
        chat = self._settings().operators.chat_id
        if text and chat is not None:
            await bot.send_message(chat, text, parse_mode=ParseMode.HTML, disable_notification=True)


async def _reply(bot: telegram.Bot, message: telegram.Message, text: Html) -> None:
    """In the same chat and topic; as plain text if the markup is refused after all."""
    topic = message.message_thread_id if message.is_topic_message else None
    try:
        await bot.send_message(
            message.chat.id, text, parse_mode=ParseMode.HTML, message_thread_id=topic
        )
    except RetryAfter:
        log.warning("an answer was left out: Telegram asks to send less")
    except telegram.error.BadRequest as error:
        log.error("an answer was refused", reason=reason(error))
        await bot.send_message(message.chat.id, plain(text)[:4096], message_thread_id=topic)


def _is_chat(chat: telegram.Chat, wanted: int | str | None) -> bool:
    if isinstance(wanted, str):
        return (chat.username or "").lower() == wanted.removeprefix("@").lower()
    return chat.id == wanted


def _name(user: telegram.User) -> str:
    return f"@{user.username}" if user.username else user.full_name[:60]


def reason(error: TelegramError) -> str:
    """What Telegram says is wrong, without secrets."""
    return redact(error.message)[:200]
