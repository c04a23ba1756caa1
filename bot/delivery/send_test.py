"""A test message to every chat, or one sentence for each that says what is missing.

For ``lowtide send-test`` and ``/test``, which have a Telegram client each.
"""

import asyncio
from collections.abc import Iterator
from typing import cast

import msgspec
import telegram
from telegram.constants import ChatMemberStatus, ChatType, ParseMode

from bot.config import Settings
from bot.config.chats import ChatSettings
from bot.config.recipients import operators_language
from bot.delivery.sinks import ChatMoved, RefusalScope, Refused, RetryLater, SendError, Sink
from bot.delivery.sinks.telegram import TelegramClient, answer_of, no_administrator, no_right
from bot.delivery.ways_out import messenger_sinks, webhook_sink
from bot.destination import Destination, TelegramChat, WebhookName, destination_key
from bot.lang import LANGUAGES
from bot.messages.render import own_message
from bot.messages.voice import Html
from bot.redaction import redact
from streams.clock import wall_ms

NO_BOT = (
    "there is no bot token: get one from @BotFather in Telegram (/newbot), and put it into .env as "
    "TELEGRAM_BOT_TOKEN=…"
)
NO_CHAT = (
    "no chat is configured: put chat_id under [channel] in local.toml, which begins with "
    'extends = "shipped", such as chat_id = "@your_channel"'
)
_IN_GROUP = (
    ChatMemberStatus.MEMBER,
    ChatMemberStatus.ADMINISTRATOR,
    ChatMemberStatus.OWNER,
    ChatMemberStatus.RESTRICTED,
)
_TIMEOUT_S = 10.0


class SendTestOutcome(msgspec.Struct, frozen=True):
    """What came of a test message to one chat."""

    posted: bool
    """Whether the message is there."""
    text: str
    """A sentence that says where it is, or what is missing."""


async def send_test_to_all(settings: Settings) -> tuple[SendTestOutcome, ...]:
    """Post to every chat with a bot of its own, to every webhook and to every messenger. What is
    wrong before any chat is one outcome."""
    return (*await _test_chats(settings), *await send_test_to_others(settings))


async def send_test_to_others(settings: Settings) -> list[SendTestOutcome]:
    """Post to every webhook and messenger of ``settings`` at once: they wait for nobody."""
    webhooks, messengers = (
        webhook_sink(settings, _TIMEOUT_S),
        messenger_sinks(settings, _TIMEOUT_S),
    )
    tests = [
        _taken(webhooks, WebhookName(webhook.name), settings.language)
        for webhook in settings.webhooks
    ]
    tests += [
        _taken(messengers[messenger.service], messenger.destination, messenger.language)
        for messenger in settings.messengers
    ]
    try:
        return list(await asyncio.gather(*tests))
    finally:
        for sink in (webhooks, *messengers.values()):
            await sink.close()


async def _taken(sink: Sink, to: Destination, language: str) -> SendTestOutcome:
    name, at = destination_key(to), wall_ms()
    text = Html(LANGUAGES[language].phrases["test.message"])
    message = own_message("test", "test", text, at, silent=True)
    try:
        await sink.send(to, message, key=f"test {name} {at}")
    except SendError as error:
        return SendTestOutcome(False, error.reason)
    return SendTestOutcome(True, f"posted to {name}")


async def _test_chats(settings: Settings) -> tuple[SendTestOutcome, ...]:
    if settings.token is None:
        return (SendTestOutcome(False, NO_BOT),)
    telegram = TelegramClient(
        settings.token,
        settings.api_url,
        read_timeout=_TIMEOUT_S,
        connect_timeout=_TIMEOUT_S,
        proxy=settings.proxy_of_telegram,
    )
    try:
        return await send_test(telegram.bot, settings)
    finally:
        await telegram.close()


async def send_test(bot: telegram.Bot, settings: Settings) -> tuple[SendTestOutcome, ...]:
    """Post to every chat of ``settings`` with ``bot``."""
    targets = list(_targets(settings))
    if not targets:
        return (SendTestOutcome(False, NO_CHAT),)
    try:
        me = await answer_of(bot.get_me())
    except SendError as error:
        return (SendTestOutcome(False, _problem(error, targets[0], settings)),)
    return tuple([await _posted(bot, me.id, chat, settings) for chat in targets])


def _targets(settings: Settings) -> Iterator[ChatSettings]:
    """The chats of alerts, and that of the operators unless it is one of them."""
    chats = [chat for chat in settings.chats if chat.id is not None]
    yield from chats
    ops = settings.operators.chat_id
    if ops is not None and ops not in [chat.id for chat in chats]:
        yield ChatSettings(id=ops, language=operators_language(settings), place="operators.chat_id")


async def _posted(
    bot: telegram.Bot, me: int, chat: ChatSettings, settings: Settings
) -> SendTestOutcome:
    chat_id = cast("int | str", chat.id)
    to = TelegramChat(chat_id, chat.topic)
    try:
        info = await answer_of(bot.get_chat(chat_id), to)
        if missing := await _missing(bot, me, chat, info):
            return SendTestOutcome(False, f"{chat.place}: {missing}")
        text = LANGUAGES[chat.language].phrases["test.message"]
        sending = bot.send_message(
            chat_id,
            text,
            parse_mode=ParseMode.HTML,
            disable_notification=True,  # readers of a channel are not to be rung for it
            message_thread_id=to.thread,
        )
        await answer_of(sending, to)
    except SendError as error:
        return SendTestOutcome(False, _problem(error, chat, settings))
    topic = "" if chat.topic is None else f", topic {chat.topic}"
    name = info.title or (f"@{info.username}" if info.username else info.first_name)
    return SendTestOutcome(True, f"posted to {name or chat.id}{topic}")


async def _missing(
    bot: telegram.Bot, me: int, chat: ChatSettings, info: telegram.ChatFullInfo
) -> str:
    """What the bot may not do in a chat that exists; "" if nothing is known to be missing."""
    if chat.topic is not None and not info.is_forum:
        return f"{chat.id} has no topics; take topic out of its table, or switch topics on"
    if info.type == ChatType.PRIVATE:
        return ""
    member = await answer_of(bot.get_chat_member(info.id, me), TelegramChat(info.id))
    if info.type == ChatType.CHANNEL:
        if not isinstance(member, telegram.ChatMemberAdministrator):
            return no_administrator(info.id)
        return "" if member.can_post_messages else no_right(info.id)
    if member.status not in _IN_GROUP:
        return f"the bot is not in the group {chat.id}; add it there"
    if isinstance(member, telegram.ChatMemberRestricted) and not member.can_send_messages:
        return f"the bot may not write in the group {chat.id}; lift its restrictions"
    return ""


def _problem(error: SendError, chat: ChatSettings, settings: Settings) -> str:
    """What ``error`` says is missing, and where to mend it."""
    match error:
        case ChatMoved():
            return f"{chat.place}: the group {chat.id} is now {error.chat}; write that there"
        case Refused() if error.scope is RefusalScope.ALL:
            return error.reason
        case Refused():
            return f"{chat.place}: {error.reason}"
        case RetryLater() if error.flood:
            return f"{chat.place}: Telegram asks for a pause of {error.seconds:.0f} s"
        case _ if settings.proxy_of_telegram:
            return f"{error.reason}; check HTTPS_PROXY and ALL_PROXY"
        case _:
            return (
                f"{error.reason} at {redact(settings.api_url)}; check the network, or "
                "telegram.api_url in the configuration"
            )
