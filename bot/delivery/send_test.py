"""A test message to every chat, or one sentence for each that says what is missing.

For ``lowtide send-test`` and ``/test``.
"""

from collections.abc import Iterator
from typing import cast

import httpx
import msgspec
import telegram
from telegram.constants import ChatMemberStatus, ChatType, ParseMode
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TelegramError,
)

from bot.config import Settings
from bot.config.chats import ChatSettings
from bot.delivery.sinks.telegram import TelegramClient
from bot.destination import TelegramChat
from bot.lang import LANGUAGES
from bot.redaction import redact

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
    """What came of one chat, in a sentence; ``posted``: the message is there."""

    posted: bool
    text: str


async def try_all(settings: Settings) -> tuple[SendTestOutcome, ...]:
    """Post to every chat with a bot of its own. What is wrong before any chat is one outcome."""
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
        me = await bot.get_me()
    except TelegramError as error:
        return (SendTestOutcome(False, _problem(error, targets[0], settings)),)
    return tuple([await _posted(bot, me.id, chat, settings) for chat in targets])


def _targets(settings: Settings) -> Iterator[ChatSettings]:
    """The chats of alerts, and that of the operators unless it is one of them."""
    chats = [chat for chat in settings.chats if chat.id is not None]
    yield from chats
    ops = settings.operators.chat_id
    if ops is not None and ops not in [chat.id for chat in chats]:
        yield ChatSettings(id=ops, language=settings.language, place="operators.chat_id")


async def _posted(
    bot: telegram.Bot, me: int, chat: ChatSettings, settings: Settings
) -> SendTestOutcome:
    chat_id = cast("int | str", chat.id)
    try:
        found = await bot.get_chat(chat_id)
        if missing := await _missing(bot, me, chat, found):
            return SendTestOutcome(False, missing)
        text = LANGUAGES[chat.language].phrases["test.message"]
        await bot.send_message(
            chat_id,
            text,
            parse_mode=ParseMode.HTML,
            disable_notification=True,  # readers of a channel are not to be rung for it
            message_thread_id=TelegramChat(chat_id, chat.topic).thread,
        )
    except TelegramError as error:
        return SendTestOutcome(False, _problem(error, chat, settings))
    topic = "" if chat.topic is None else f", topic {chat.topic}"
    name = found.title or (f"@{found.username}" if found.username else found.first_name)
    return SendTestOutcome(True, f"posted to {name or chat.id}{topic}")


async def _missing(
    bot: telegram.Bot, me: int, chat: ChatSettings, found: telegram.ChatFullInfo
) -> str:
    """What the bot may not do in a chat that exists; "" if nothing is known to be missing."""
    if chat.topic is not None and not found.is_forum:
        return f"{chat.id} has no topics: take topic out of its table, or switch topics on"
    if found.type == ChatType.PRIVATE:
        return ""
    member = await bot.get_chat_member(found.id, me)
    if found.type == ChatType.CHANNEL:
        if not isinstance(member, telegram.ChatMemberAdministrator):
            return _make_admin(chat)
        return "" if member.can_post_messages else _give_right(chat)
    if member.status not in _IN_GROUP:
        return f"the bot is not in the group {chat.id}: add it there"
    if isinstance(member, telegram.ChatMemberRestricted) and not member.can_send_messages:
        return f"the bot may not write in the group {chat.id}: lift its restrictions"
    return ""


def _make_admin(chat: ChatSettings) -> str:
    return (
        f"the bot is no administrator of the channel {chat.id}: add it under Administrators, with "
        'the right "Post messages"'
    )


def _give_right(chat: ChatSettings) -> str:
    return f'the bot may not post to the channel {chat.id}: give it the right "Post messages"'


def _problem(error: TelegramError, chat: ChatSettings, settings: Settings) -> str:
    """What ``error`` says is missing, and where to mend it."""
    reason = redact(error.message)
    match error:
        case InvalidToken():
            return (
                "Telegram refuses the token in TELEGRAM_BOT_TOKEN: copy it again from @BotFather "
                "into .env"
            )
        case RetryAfter():
            return f"Telegram asks for a pause before anything more is sent to {chat.id}: {reason}"
        case ChatMigrated():
            return f"the group {chat.id} is now {error.new_chat_id}: put that into {chat.place}"
        case Forbidden():
            return _forbidden(reason, chat)
        case BadRequest():
            return _refused(reason, chat)
        case NetworkError():
            cause = error.__cause__
            name = type(cause).__name__ if isinstance(cause, httpx.HTTPError) else reason[:80]
            return (
                f"Telegram cannot be reached at {redact(settings.api_url)} ({name}): check the "
                "network, or telegram.api_url in the configuration"
            )
        case _:
            return f"Telegram does not take the message to {chat.id}: {reason}"


def _forbidden(reason: str, chat: ChatSettings) -> str:
    words = reason.lower()
    if "blocked" in words or "initiate" in words:
        return f"the user {chat.id} has not begun to talk to the bot: write /start to it first"
    if "channel" in words:
        return _make_admin(chat)
    return f"the bot is not in {chat.id} any more ({reason}): add it again"


def _refused(reason: str, chat: ChatSettings) -> str:
    words = reason.lower()
    if "chat not found" in words:
        return (
            f"Telegram finds no chat {chat.id}: check {chat.place} in the configuration, and add "
            "the bot to the chat (to a channel as an administrator)"
        )
    if "thread not found" in words or "topic" in words:
        return f"the group {chat.id} has no topic {chat.topic}: check topic in its table"
    if "member list is inaccessible" in words:
        return _make_admin(chat)
    if "rights" in words:
        return _give_right(chat)
    return f"Telegram does not take the message to {chat.id}: {reason}"
