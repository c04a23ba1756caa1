"""Messages to one Telegram chat, through the Bot API.

sendMessage has no idempotency key, so a lost answer leaves in doubt whether a message was posted.
Which errors those are can only be told from the cause under python-telegram-bot's exception: of
httpx's errors, ConnectError, ConnectTimeout and PoolTimeout mean that nothing was sent; all others
(read or write timeouts, a connection lost while waiting, an answer that is not the API's) may come
after Telegram has posted. Checked with python-telegram-bot 22.8.
"""

import warnings
from datetime import timedelta

import httpx
import structlog
import telegram
from telegram.constants import ParseMode
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TelegramError,
)
from telegram.request import HTTPXRequest
from telegram.warnings import PTBDeprecationWarning

from bot.logs import quiet_http, redact
from bot.messages import Message
from bot.sinks import Later, Receipt, Refused, Uncertain

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_MARKUP = ("can't parse entities", "unsupported start tag", "can't find end")
_NO_RIGHTS = ("not enough rights", "need administrator rights", "chat_write_forbidden")
_PAUSE_S = 5.0

# Said at every RetryAfter, of an attribute that ``_seconds`` reads in its old and its new type.
warnings.filterwarnings("ignore", ".*retry_after.*", PTBDeprecationWarning)

_log = structlog.get_logger()


class Telegram:
    """Posts to ``chat`` (a number or "@name") with the bot of ``token``.

    ``api_url``: the Bot API server without a slash at the end. Timeouts in seconds.
    """

    def __init__(
        self,
        token: str,
        chat: int | str,
        api_url: str = "https://api.telegram.org",
        read_timeout: float = 20.0,
        connect_timeout: float = 5.0,
    ) -> None:
        quiet_http()
        request = HTTPXRequest(
            connection_pool_size=8,
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
        self._chat = chat

    async def check(self) -> str:
        """The bot's name and the chat's. Raises Refused if token or chat cannot be used."""
        try:
            me = await self._bot.get_me()
            chat = await self._bot.get_chat(self._chat)
        except TelegramError as error:
            raise _meaning(error, self._chat) from None
        return f"Telegram: @{me.username} posts to {chat.title or self._chat}"

    async def send(self, message: Message) -> Receipt:
        try:
            return await self._post(message.html, ParseMode.HTML, message.silent)
        except ChatMigrated as moved:
            _log.warning("chat moved", old=self._chat, new=moved.new_chat_id, put_in="chat_id")
            self._chat = moved.new_chat_id
            raise Later(0, f"the chat is now {moved.new_chat_id}") from None
        except BadRequest as error:
            if not any(words in error.message.lower() for words in _MARKUP):
                raise _meaning(error, self._chat) from None
            _log.error("markup refused", alert=message.alert_id, reason=redact(error.message))
        except TelegramError as error:
            raise _meaning(error, self._chat) from None
        return await self._send_plain(message)

    async def close(self) -> None:
        for request in self._requests:
            await request.shutdown()

    async def _send_plain(self, message: Message) -> Receipt:
        try:
            return await self._post(message.plain, None, message.silent)
        except TelegramError as error:
            raise _meaning(error, self._chat) from None

    async def _post(self, text: str, mode: str | None, silent: bool) -> Receipt:
        sent = await self._bot.send_message(
            self._chat,
            text,
            parse_mode=mode,
            disable_notification=silent,
            link_preview_options=telegram.LinkPreviewOptions(is_disabled=True),
        )
        return Receipt(chat=self._chat, message_id=sent.message_id)


def _meaning(error: TelegramError, chat: int | str) -> Later | Refused | Uncertain:
    """What ``error`` says about the message: later, never, or nobody knows."""
    reason = redact(error.message)
    match error:
        case RetryAfter():
            return Later(_seconds(error.retry_after), "Telegram asks to send less")
        case InvalidToken():
            return Refused(
                "Telegram refuses the token in TELEGRAM_BOT_TOKEN; get a new one from @BotFather",
                fatal=True,
            )
        case Forbidden():
            return Refused(
                f"Telegram does not let the bot post to {chat} ({reason}); make it an "
                'administrator of the channel with the right "Post messages"',
                fatal=True,
            )
        case BadRequest():
            return _bad_request(reason, chat)
        case NetworkError() if isinstance(error.__cause__, _NOT_SENT):
            return Later(_PAUSE_S, f"Telegram cannot be reached ({_cause(error)})")
        case _:
            return Uncertain(f"no clear answer from Telegram ({_cause(error)})")


def _bad_request(reason: str, chat: int | str) -> Refused:
    words = reason.lower()
    if "chat not found" in words:
        return Refused(
            f"Telegram finds no chat {chat}; check channel.chat_id in config.toml and add the bot "
            "to the channel as an administrator",
            fatal=True,
        )
    if any(text in words for text in _NO_RIGHTS):
        return Refused(
            f'the bot may not post to {chat}; give it the right "Post messages" in the channel',
            fatal=True,
        )
    return Refused(f"Telegram refuses the message: {reason}", fatal=False)


def _cause(error: TelegramError) -> str:
    cause = error.__cause__
    return type(cause).__name__ if isinstance(cause, httpx.HTTPError) else error.message[:80]


def _seconds(retry_after: int | timedelta) -> float:
    if isinstance(retry_after, timedelta):
        return retry_after.total_seconds()
    return float(retry_after)
