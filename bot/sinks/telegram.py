"""Messages to Telegram chats, through the Bot API.

sendMessage has no idempotency key, so a lost answer leaves in doubt whether a message was posted.
Which errors those are can only be told from the cause under python-telegram-bot's exception: of
httpx's errors, ConnectError, ConnectTimeout and PoolTimeout mean that nothing was sent; all others
(read or write timeouts, a connection lost while waiting, an answer that is not the API's) may come
after Telegram has posted. Checked with python-telegram-bot 22.8.
"""

import warnings
from datetime import timedelta

import httpx
import telegram
from telegram.constants import ChatType, ParseMode
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Conflict,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TelegramError,
)
from telegram.request import HTTPXRequest
from telegram.warnings import PTBDeprecationWarning

from bot.destination import Destination, TelegramChat, destination_key
from bot.limiter import Limits
from bot.logs import quiet_http, redact
from bot.messages import Message
from bot.sinks import Edited, Later, Moved, Place, Receipt, Refused, Uncertain, What

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_MARKUP = ("can't parse entities", "unsupported start tag", "can't find end")
_NO_RIGHTS = (
    "not enough rights",
    "need administrator rights",
    "chat_write_forbidden",
    "have no rights to send",
)
_SAME, _GONE, _FOREIGN = "message is not modified", "message to edit not found", "can't be edited"
_NO_TOPIC = ("message thread not found", "topic_closed", "topic_deleted")
_PAUSE_S = 5.0

# Said at every RetryAfter, of an attribute that ``_seconds`` reads in its old and its new type.
warnings.filterwarnings("ignore", ".*retry_after.*", PTBDeprecationWarning)


class Telegram:
    """Posts to any chat with the bot of ``token``.

    ``api_url``: the Bot API server without a slash at the end. Timeouts in seconds.
    """

    def __init__(
        self,
        token: str,
        api_url: str = "https://api.telegram.org",
        read_timeout: float = 20.0,
        connect_timeout: float = 5.0,
    ) -> None:
        quiet_http()
        request = HTTPXRequest(
            connection_pool_size=32,
            read_timeout=read_timeout,
            write_timeout=read_timeout,
            connect_timeout=connect_timeout,
            pool_timeout=connect_timeout,
        )
        self._requests = (request, HTTPXRequest(connection_pool_size=1))
        self._bot = telegram.Bot(
            token,
            base_url=f"{api_url}/bot",
            request=request,
            get_updates_request=self._requests[1],
        )
        self._preview = telegram.LinkPreviewOptions(is_disabled=True)
        self._name = ""
        self.limits = Limits()

    async def check(self, to: Destination) -> Place:
        try:
            if not self._name:
                self._name = f"@{(await self._bot.get_me()).username}"
            chat = await self._bot.get_chat(_chat(to))
        except TelegramError as error:
            raise _meaning(error, to) from None
        name = chat.title or chat.username or destination_key(to)
        title = f"Telegram: {self._name} posts to {name}"
        return Place(title=title, probe=chat.type == ChatType.CHANNEL)

    async def send(
        self,
        to: Destination,
        message: Message,
        *,
        key: str = "",
        reply_to: int | None = None,
        markup: bool = True,
    ) -> Receipt:
        reply = None
        if reply_to is not None:
            reply = telegram.ReplyParameters(reply_to, allow_sending_without_reply=True)
        try:
            sent = await self._bot.send_message(
                _chat(to),
                message.html if markup else message.plain,
                parse_mode=ParseMode.HTML if markup else None,
                disable_notification=message.silent,
                message_thread_id=_thread(to),
                reply_parameters=reply,
                link_preview_options=self._preview,
            )
        except TelegramError as error:
            raise _meaning(error, to) from None
        return Receipt(message_id=sent.message_id)

    async def edit(
        self, to: Destination, message_id: int, message: Message, *, markup: bool = True
    ) -> Edited:
        try:
            await self._bot.edit_message_text(
                message.html if markup else message.plain,
                _chat(to),
                message_id,
                parse_mode=ParseMode.HTML if markup else None,
                link_preview_options=self._preview,
            )
        except BadRequest as error:
            words = error.message.lower()
            if _SAME in words:
                return Edited.SAME
            if _GONE in words:
                return Edited.GONE
            if _FOREIGN in words:
                return Edited.FOREIGN
            raise _meaning(error, to) from None
        except TelegramError as error:
            raise _meaning(error, to) from None
        return Edited.CHANGED

    async def delete(self, to: Destination, message_id: int) -> None:
        try:
            await self._bot.delete_message(_chat(to), message_id)
        except BadRequest as error:
            if "message to delete not found" not in error.message.lower():
                raise _meaning(error, to) from None
        except TelegramError as error:
            raise _meaning(error, to) from None

    async def close(self) -> None:
        for request in self._requests:
            await request.shutdown()


def _chat(to: Destination) -> int | str:
    if not isinstance(to, TelegramChat):
        raise Refused(f"{destination_key(to)} is no chat of Telegram", What.CHAT)
    return to.chat


def _thread(to: Destination) -> int | None:
    return to.thread if isinstance(to, TelegramChat) else None


def _meaning(error: TelegramError, to: Destination) -> Later | Moved | Refused | Uncertain:
    """What ``error`` says about the request: later, elsewhere, never, or nobody knows."""
    reason = redact(error.message)
    match error:
        case RetryAfter():
            return Later(_seconds(error.retry_after), "Telegram asks to send less", flood=True)
        case ChatMigrated():
            return Moved(error.new_chat_id)
        case Conflict():
            return Later(_PAUSE_S, f"Telegram serves another one with this token ({reason})")
        case InvalidToken():
            return Refused(
                "Telegram refuses the token in TELEGRAM_BOT_TOKEN; get a new one from @BotFather",
                What.ALL,
            )
        case Forbidden():
            return Refused(
                f"Telegram does not let the bot post to {_chat(to)} ({reason}); make it an "
                'administrator of the channel with the right "Post messages"',
                What.CHAT,
            )
        case BadRequest():
            return _bad_request(reason, to)
        case NetworkError() if isinstance(error.__cause__, _NOT_SENT):
            return Later(_PAUSE_S, f"Telegram cannot be reached ({_cause(error)})")
        case _:
            return Uncertain(f"no clear answer from Telegram ({_cause(error)})")


def _bad_request(reason: str, to: Destination) -> Refused:
    words = reason.lower()
    if any(text in words for text in _MARKUP):
        return Refused(f"Telegram refuses the markup: {reason}", What.MARKUP)
    if "chat not found" in words:
        return Refused(
            f"Telegram finds no chat {_chat(to)}; check channel.chat_id in config.toml and add the "
            "bot to the channel as an administrator",
            What.CHAT,
        )
    if any(text in words for text in _NO_RIGHTS):
        return Refused(
            f'the bot may not post to {_chat(to)}; give it the right "Post messages" there',
            What.CHAT,
        )
    if any(text in words for text in _NO_TOPIC):
        return Refused(
            f"chat {_chat(to)} has no open topic {_thread(to)}; check its topic in config.toml",
            What.MESSAGE,
        )
    return Refused(f"Telegram refuses the message: {reason}", What.MESSAGE)


def _cause(error: TelegramError) -> str:
    cause = error.__cause__
    if isinstance(cause, httpx.HTTPError):
        return type(cause).__name__
    return redact(error.message)[:80]


def _seconds(retry_after: int | timedelta) -> float:
    if isinstance(retry_after, timedelta):
        return retry_after.total_seconds()
    return float(retry_after)
