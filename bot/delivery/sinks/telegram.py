"""Messages to Telegram chats, through the Bot API.

sendMessage has no idempotency key, so a lost answer leaves in doubt whether a message was posted.
Which errors those are shows only in the cause under python-telegram-bot's exception: of
httpx's errors, ConnectError, ConnectTimeout, PoolTimeout and ProxyError mean that nothing was sent;
all others (read or write timeouts, a connection lost while waiting, an answer that is not the
API's) may come after Telegram has posted. Checked with python-telegram-bot 22.8.

This is the one way to Telegram: posts, answers, checks, menus and the polling for messages. The
library hands every request but the polling to ``_Turns``, so none passes the limiter by.
"""

import asyncio
import json
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, TypeVar, cast

import httpx
import telegram
from telegram.constants import ChatType, ParseMode
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Conflict,
    EndPointNotFound,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TelegramError,
    TimedOut,
)
from telegram.ext import BaseRateLimiter, ExtBot
from telegram.request import HTTPXRequest
from telegram.warnings import PTBDeprecationWarning, PTBUserWarning

from bot.delivery.pace import Lane, Limits, Overall
from bot.delivery.sinks import (
    LONGEST_WAIT_S,
    Busy,
    ChatInfo,
    ChatMoved,
    Edited,
    Gate,
    OutcomeUnknown,
    Receipt,
    RefusalScope,
    Refused,
    RetryLater,
    SendError,
)
from bot.destination import Destination, TelegramChat, destination_key
from bot.logs import quiet_http
from bot.messages.render import Button, Message
from bot.redaction import redact
from streams.text import printable

_T = TypeVar("_T")
_PROXY = "the proxy cannot be reached, or does not connect"
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What the library raises for an answer that is not as the Bot API says."""

_SHOWN = 200
"""So much of an error is shown, since it may be made of what Telegram has sent."""

_PATIENCE_S = 600.0
"""How long a check, a menu or a test message waits for its turn."""

_MOST_BYTES = 4 * 1024 * 1024
"""No answer is longer: a hundred updates are a quarter of it. What is may be no end of one, and to
read it would hold up everything else in this process."""

_POLL_MOST_S = 60.0
"""No poll waits longer for what people write."""

_MOST_WORDS = 1_000
"""So much of a description is looked at."""

_MOST_NUMBER = 2**53
"""Numbers of chats and messages are below."""

_KINDS = ("channel", "group", "supergroup", "private")

_NOWHERE = TelegramChat("no chat")
"""Of requests that are about none."""

_TAKEN, _POST = "taken", "post"
"""Marks of a request: its turn has been taken at the gate; it is a post, so that the sender sees to
floods and moves as well."""
_PICTURE = "chart.png"
_PICTURE_S = 10.0
"""A picture may hold up its chat so long."""
_MARKUP = ("can't parse entities", "unsupported start tag", "can't find end")
_NO_RIGHTS = (
    "not enough rights",
    "need administrator rights",
    "chat_write_forbidden",
    "have no rights to send",
)
_EDITED = {
    "message is not modified": Edited.SAME,
    "message to edit not found": Edited.GONE,
    "can't be edited": Edited.FOREIGN,
}
_NO_TOPIC = ("message thread not found", "topic_closed", "topic_deleted")
_PAUSE_S = 5.0
_TOO_MANY, _SERVER_ERROR = 429, 500
_FLOOD_PAUSE_S = 30
"""After a "too many requests" that does not say for how long."""


# Warned of at every RetryAfter: an attribute that ``_seconds`` reads in its old and its new type.
warnings.filterwarnings("ignore", ".*retry_after.*", PTBDeprecationWarning)
# Updates and chats are asked for as they are: the library reads all of them or nothing.
warnings.filterwarnings("ignore", "Please use 'Bot.get(Updates|Chat)'", PTBUserWarning)


class _Request(HTTPXRequest):
    """Requests whose answers hold no parameter that the library would stumble over.

    Where all go through a proxy, nobody else can be unreachable. ``longest_s``: for one of them,
    however often something comes.
    """

    def __init__(self, *, proxy: str | None, longest_s: float, **settings: Any) -> None:
        own: dict[str, Any] = {
            "trust_env": False,  # the proxy is ours to choose
            "headers": {"Accept-Encoding": "identity"},
            "event_hooks": {"response": [_bound]},
        }
        super().__init__(proxy=proxy, httpx_kwargs=own, **settings)
        self._proxied = proxy is not None
        self._longest_s = longest_s

    async def do_request(self, *request: Any, **more: Any) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(self._longest_s):
                code, body = await super().do_request(*request, **more)
        except TimeoutError:
            raise TimedOut from httpx.ReadTimeout("an answer without an end")
        except NetworkError as error:
            cause = error.__cause__
            if self._proxied and isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout):
                raise NetworkError(error.message) from httpx.ProxyError(_PROXY)
            raise
        if not _of_telegram(body):
            if code == _TOO_MANY:  # surely not done, whoever says it
                raise RetryAfter(_FLOOD_PAUSE_S)
            if code < _SERVER_ERROR:
                raise TelegramError(f"a page in place of an answer, with status {code}")
        return code, body

    @staticmethod
    def parse_json_payload(payload: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(payload.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            raise TelegramError("Invalid server response") from None
        if not isinstance(answer, dict):
            raise TelegramError("Invalid server response")
        fields = cast("dict[str, Any]", answer)
        words = fields.pop("description", None)
        if isinstance(words, str):
            fields["description"] = words[:_MOST_WORDS]
        parameters = fields.pop("parameters", None)
        sound = _sound(cast("dict[str, Any]", parameters)) if isinstance(parameters, dict) else {}
        if fields.get("error_code") == _TOO_MANY:  # surely not done, whatever else it says
            sound.setdefault("retry_after", _FLOOD_PAUSE_S)
        if sound:
            fields["parameters"] = sound
        return fields


class _Bounded(httpx.AsyncByteStream):
    """The body of an answer, which ends in an error where it is longer than one may be."""

    def __init__(self, body: httpx.AsyncByteStream) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        length = 0
        async for chunk in self._body:
            length += len(chunk)
            if length > _MOST_BYTES:
                raise httpx.ReadError("an answer that is too long")
            yield chunk

    async def aclose(self) -> None:
        await self._body.aclose()


async def _bound(answer: httpx.Response) -> None:
    """Before an answer is read. Raises httpx.DecodingError for one that is packed: a few bytes may
    unpack to more memory than there is, and it was asked for as it is."""
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise httpx.DecodingError("an answer that is packed")
    answer.stream = _Bounded(cast("httpx.AsyncByteStream", answer.stream))


def _of_telegram(body: bytes) -> bool:
    """Whether it is an answer of the Bot API: an object that says whether it is ``ok``. What is
    none comes from who stands between (a proxy, a hotel's login page, a CDN), whatever its status
    says: no token, chat or message is refused by it, and nobody knows what Telegram has done."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(answer, dict) and "ok" in answer


def _sound(parameters: dict[str, Any]) -> dict[str, int]:
    """Those that are what the Bot API says: whole seconds, and the number of a chat."""
    wait, chat = parameters.get("retry_after"), parameters.get("migrate_to_chat_id")
    sound: dict[str, int] = {}
    if type(wait) is int and 0 < wait <= LONGEST_WAIT_S:
        sound["retry_after"] = wait
    if type(chat) is int and -_MOST_NUMBER < chat < 0:
        sound["migrate_to_chat_id"] = chat
    return sound


class _Turns(BaseRateLimiter[str]):
    """Passes every request of the bot: takes its turn at the gate, unless that is done, and informs
    the gate of floods and of chats that have moved.

    The gate says what may go; here it leaves, never faster than all chats bear, even if many
    requests were let through and then held up by a slow disk.
    """

    def __init__(self, limits: Limits) -> None:
        self.gate: Gate | None = None
        self._leaving = asyncio.Lock()
        self._left = Overall(limits)

    async def initialize(self) -> None:
        """Nothing to prepare."""

    async def shutdown(self) -> None:
        """Nothing to let go of."""

    async def process_request(
        self,
        callback: Callable[..., Coroutine[Any, Any, Any]],
        args: Any,
        kwargs: dict[str, Any],
        endpoint: str,
        data: dict[str, Any],
        rate_limit_args: str | None,
    ) -> Any:
        gate, chat = self.gate, data.get("chat_id")
        if gate is not None and rate_limit_args is None:
            await gate.turn(chat, _PATIENCE_S)
        await self._leave()
        if gate is None or rate_limit_args == _POST:
            return await callback(*args, **kwargs)
        try:
            return await callback(*args, **kwargs)
        except RetryAfter as error:
            gate.flooded(chat, _seconds(error.retry_after))
            raise
        except ChatMigrated as error:
            if chat is not None:
                gate.moved(chat, error.new_chat_id)
            raise

    async def _leave(self) -> None:
        loop = asyncio.get_running_loop()
        async with self._leaving:
            now = _ms(loop)
            free = self._left.ready(now, Lane.URGENT)
            self._left.use(free)
            await asyncio.sleep((free - now) / 1000)


def _ms(loop: asyncio.AbstractEventLoop) -> int:
    return int(loop.time() * 1000)


class TelegramClient:
    """Posts to any chat with the bot of ``token``, answers there, and asks what people write.

    ``api_url``: the Bot API server without a slash at the end. Timeouts in seconds. ``proxy``: see
    ``streams.proxies.proxy_url``; the environment is not asked.
    """

    def __init__(
        self,
        token: str,
        api_url: str = "https://api.telegram.org",
        read_timeout: float = 20.0,
        connect_timeout: float = 5.0,
        proxy: str | None = None,
    ) -> None:
        quiet_http()
        request = _Request(
            connection_pool_size=32,
            read_timeout=read_timeout,
            write_timeout=read_timeout,
            connect_timeout=connect_timeout,
            pool_timeout=connect_timeout,
            proxy=proxy,
            longest_s=2 * read_timeout + connect_timeout,
        )
        polling = _Request(
            connection_pool_size=1,
            read_timeout=read_timeout,
            connect_timeout=connect_timeout,
            proxy=proxy,
            longest_s=2 * read_timeout + _POLL_MOST_S,
        )
        self._requests = (request, polling)
        self._read_timeout = read_timeout
        self.limits = Limits()
        self._turns = _Turns(self.limits)
        self.bot: ExtBot[str] = ExtBot(
            token,
            base_url=f"{api_url}/bot",
            request=request,
            get_updates_request=polling,
            rate_limiter=self._turns,
        )
        self._preview = telegram.LinkPreviewOptions(is_disabled=True)
        self._name: str | None = None
        self._naming = asyncio.Lock()

    def join(self, gate: Gate) -> None:
        self._turns.gate = gate

    async def name(self) -> str:
        """The bot's name, without @."""
        async with self._naming:  # asked once, however many chats begin at once
            if self._name is None:
                name = (await answer_of(self.bot.get_me())).username
                self._name = name if isinstance(name, str) else ""
        return self._name

    async def updates(
        self, offset: int, wait_s: float, kinds: Sequence[str] = ("message",)
    ) -> list[Any]:
        """What people have written since ``offset``, as Telegram sends it; waits so long for it.

        What has a smaller number is confirmed by that, and not sent again. ``kinds``: of updates.
        """
        query = {"offset": offset, "timeout": round(wait_s), "allowed_updates": list(kinds)}
        read_timeout = wait_s + self._read_timeout
        request = self.bot.do_api_request("getUpdates", query, read_timeout=read_timeout)
        updates = await answer_of(request)
        if not isinstance(updates, list):
            raise OutcomeUnknown("Telegram sends something else than messages")
        return cast("list[Any]", updates)

    async def clear_webhook(self) -> None:
        """Take the bot's webhook away, if somebody has set one: it forbids to ask for messages."""
        await answer_of(self.bot.delete_webhook())

    async def answer(
        self,
        chat: int | str,
        text: str,
        *,
        markup: bool = True,
        topic: int | None = None,
        silent: bool = False,
        reply_to: int | None = None,
        buttons: Sequence[Button] = (),
    ) -> None:
        """Send something that is no post, and whose turn has been taken at the gate."""
        await answer_of(
            self.bot.send_message(
                chat,
                text,
                parse_mode=ParseMode.HTML if markup else None,
                message_thread_id=topic,
                disable_notification=silent,
                reply_parameters=_reply(reply_to),
                reply_markup=_keyboard(buttons),
                rate_limit_args=_TAKEN,
            ),
            TelegramChat(chat, topic),
        )

    async def answer_picture(
        self,
        chat: int | str,
        image: bytes,
        caption: str,
        *,
        topic: int | None = None,
        reply_to: int | None = None,
    ) -> None:
        """The same of a picture (PNG) above a text."""
        await answer_of(
            self.bot.send_photo(
                chat,
                image,
                caption,
                parse_mode=ParseMode.HTML,
                message_thread_id=topic,
                reply_parameters=_reply(reply_to),
                filename=_PICTURE,
                rate_limit_args=_TAKEN,
            ),
            TelegramChat(chat, topic),
        )

    async def answer_press(self, press: str, text: str, url: str = "") -> None:
        """Answer that a button was pressed, with ``text`` over the chat; "": nothing is shown. Its
        turn has been taken at the gate. ``press``: the id that Telegram gave it; ``url``: a link to
        this bot that is opened."""
        await answer_of(
            self.bot.answer_callback_query(
                press,
                text or None,
                show_alert=bool(text),
                url=url or None,
                rate_limit_args=_TAKEN,
            )
        )

    async def offer(
        self,
        menu: Sequence[tuple[str, str]],
        chat: int | str | None = None,
        language_code: str | None = None,
    ) -> None:
        """Show a menu of commands, each with a few words, in ``chat`` or (None) where there is no
        other; ``language_code``: to those alone whose app is in that language."""
        scope = None if chat is None else telegram.BotCommandScopeChat(chat)
        to = _NOWHERE if chat is None else TelegramChat(chat)
        setting = self.bot.set_my_commands(list(menu), scope=scope, language_code=language_code)
        await answer_of(setting, to)

    async def check(self, to: Destination) -> ChatInfo:
        """A private chat is not asked for: there is nothing to learn but by writing to it."""
        chat, name = _chat(to), await self.name()
        if isinstance(chat, int) and chat > 0:
            return ChatInfo(title=f"Telegram: @{name} posts to {chat}")
        # as Telegram sends it: the library reads all of a chat or, if one field is missing, nothing
        answer = await answer_of(self.bot.do_api_request("getChat", {"chat_id": chat}), to)
        about = cast("dict[str, Any]", answer if isinstance(answer, dict) else {})
        kind = next((kind for kind in _KINDS if kind == about.get("type")), "chat")
        called = about.get("title") or about.get("username")
        place = f"{kind} {destination_key(to)}"
        if isinstance(called, str):
            place = f"{printable(called)} ({place})"
        title = f"Telegram: @{name} posts to {place}"
        return ChatInfo(title=title, probe=kind == ChatType.CHANNEL)

    async def send(
        self,
        to: Destination,
        message: Message,
        *,
        key: str = "",
        reply_to: int | None = None,
        markup: bool = True,
    ) -> Receipt:
        sent = await answer_of(
            self.bot.send_message(
                _chat(to),
                message.html if markup else message.plain,
                parse_mode=ParseMode.HTML if markup else None,
                disable_notification=message.silent,
                message_thread_id=_thread(to),
                reply_parameters=_reply(reply_to),
                reply_markup=_keyboard(message.buttons),
                link_preview_options=self._preview,
                rate_limit_args=_POST,
            ),
            to,
        )
        return Receipt(message_id=_number(sent))

    async def edit(
        self, to: Destination, message_id: int, message: Message, *, markup: bool = True
    ) -> Edited:
        edit = self.bot.edit_message_text(
            message.html if markup else message.plain,
            _chat(to),
            message_id,
            parse_mode=ParseMode.HTML if markup else None,
            reply_markup=_keyboard(message.buttons),  # an edit without it takes the buttons away
            link_preview_options=self._preview,
            rate_limit_args=_POST,
        )
        try:
            await answer_of(edit, to)
        except Refused as error:
            words = error.reason.lower()
            for text, outcome in _EDITED.items():
                if text in words:
                    return outcome
            raise
        return Edited.CHANGED

    async def picture(
        self, to: Destination, image: bytes, caption: str, *, reply_to: int | None
    ) -> Receipt:
        sent = await answer_of(
            self.bot.send_photo(
                _chat(to),
                image,
                caption,
                parse_mode=ParseMode.HTML,
                disable_notification=True,
                message_thread_id=_thread(to),
                reply_parameters=None if reply_to is None else telegram.ReplyParameters(reply_to),
                filename=_PICTURE,
                read_timeout=_PICTURE_S,
                write_timeout=_PICTURE_S,
                rate_limit_args=_POST,
            ),
            to,
        )
        return Receipt(message_id=_number(sent))

    async def delete(self, to: Destination, message_id: int) -> None:
        deleted = self.bot.delete_message(_chat(to), message_id, rate_limit_args=_POST)
        try:
            await answer_of(deleted, to)
        except Refused as error:
            if "message to delete not found" not in error.reason.lower():
                raise

    async def close(self) -> None:
        for request in self._requests:
            await request.shutdown()


async def answer_of(call: Awaitable[_T], to: Destination = _NOWHERE) -> _T:
    """What Telegram answers. Raises SendError and nothing else; a request that had to wait too long
    for its turn is RetryLater."""
    try:
        return await call
    except TelegramError as error:
        raise _meaning(error, to) from None
    except Busy as error:
        raise RetryLater(_PAUSE_S, str(error)) from None
    except _UNREADABLE as error:
        cause = printable(redact(f"{type(error).__name__}: {error}"), _SHOWN)
        raise OutcomeUnknown(f"Telegram's answer cannot be read ({cause})", answered=True) from None


def _reply(to: int | None) -> telegram.ReplyParameters | None:
    """An answer to the message of that number, or to none if that is gone."""
    return None if to is None else telegram.ReplyParameters(to, allow_sending_without_reply=True)


def _keyboard(buttons: Sequence[Button]) -> telegram.InlineKeyboardMarkup | None:
    """``buttons`` in a row."""
    if not buttons:
        return None
    row = [
        telegram.InlineKeyboardButton(button.label, callback_data=button.action)
        for button in buttons
    ]
    return telegram.InlineKeyboardMarkup([row])


def _number(message: object) -> int:
    """That of a message that was sent. The library passes on whatever else was answered."""
    number = getattr(message, "message_id", None)
    if type(number) is not int or not 0 < number < _MOST_NUMBER:
        text = "Telegram's answer cannot be read (it names no message that was sent)"
        raise OutcomeUnknown(text, answered=True)
    return number


def _chat(to: Destination) -> int | str:
    if not isinstance(to, TelegramChat):
        raise Refused(f"{destination_key(to)} is no chat of Telegram", RefusalScope.CHAT)
    return to.chat


def _thread(to: Destination) -> int | None:
    return to.thread if isinstance(to, TelegramChat) else None


def _meaning(error: TelegramError, to: Destination) -> SendError:
    """What ``error`` says about the request: later, elsewhere, never, or nobody knows."""
    reason = printable(redact(error.message))
    match error:
        case RetryAfter():
            return RetryLater(_seconds(error.retry_after), "Telegram asks to send less", flood=True)
        case ChatMigrated() if error.new_chat_id == _chat(to):
            text = "Telegram says that the chat has moved to where it is"
            return RetryLater(_PAUSE_S, text, answered=True)
        case ChatMigrated():
            return ChatMoved(error.new_chat_id)
        case Conflict():
            text = f"Telegram serves another one with this token ({reason})"
            return RetryLater(_PAUSE_S, text, answered=True)
        case InvalidToken() | EndPointNotFound():
            return Refused(
                "Telegram refuses the token in TELEGRAM_BOT_TOKEN; get a new one from @BotFather",
                RefusalScope.ALL,
            )
        case Forbidden() if to is _NOWHERE:
            return Refused(
                f"Telegram forbids the bot to ask for this ({reason})", RefusalScope.CHAT
            )
        case Forbidden():
            return Refused(_forbidden(reason, _chat(to)), RefusalScope.CHAT)
        case BadRequest():
            return _bad_request(reason, to)
        case NetworkError() if isinstance(error.__cause__, httpx.ProxyError):
            return RetryLater(_PAUSE_S, f"Telegram cannot be reached ({_PROXY})")
        case NetworkError() if isinstance(error.__cause__, _NOT_SENT):
            return RetryLater(_PAUSE_S, f"Telegram cannot be reached ({_cause(error)})")
        case NetworkError():
            return OutcomeUnknown(f"no clear answer from Telegram ({_cause(error)})")
        case _:
            text = f"Telegram's answer cannot be read ({_cause(error)})"
            return OutcomeUnknown(text, answered=True)


def _forbidden(reason: str, chat: int | str) -> str:
    words = reason.lower()
    if "blocked" in words or "initiate" in words:
        return f"the user {chat} does not let the bot write ({reason}); write /start to it there"
    if "channel" in words:
        return no_administrator(chat)
    return f"the bot is not in {chat} any more ({reason}); add it again"


def no_administrator(chat: int | str) -> str:
    """The sentence for a channel in which the bot is an ordinary member, or none."""
    return (
        f"the bot is no administrator of the channel {chat}; add it under Administrators, with "
        'the right "Post messages"'
    )


def no_right(chat: int | str) -> str:
    """The sentence for a chat in which the bot is, and may not post."""
    return f'the bot may not post to {chat}; give it the right "Post messages" there'


def _bad_request(reason: str, to: Destination) -> Refused:
    words = reason.lower()
    if any(text in words for text in _MARKUP):
        return Refused(f"Telegram refuses the markup: {reason}", RefusalScope.MARKUP)
    if "chat not found" in words:
        return Refused(
            f"Telegram finds no chat {_chat(to)}; check chat_id in the configuration, and add "
            "the bot to the chat (to a channel as an administrator)",
            RefusalScope.CHAT,
        )
    if any(text in words for text in _NO_RIGHTS):
        return Refused(no_right(_chat(to)), RefusalScope.CHAT)
    if "member list is inaccessible" in words:
        return Refused(no_administrator(_chat(to)), RefusalScope.CHAT)
    if any(text in words for text in _NO_TOPIC):
        return _topic_refused(to)
    return Refused(f"Telegram refuses the message: {reason}", RefusalScope.MESSAGE)


def _topic_refused(to: Destination) -> Refused:
    if (thread := _thread(to)) is None:
        return Refused(
            f'the topic "General" of {_chat(to)} is closed; open it again', RefusalScope.CHAT
        )
    return Refused(
        f"chat {_chat(to)} has no open topic {thread}; open it again, or mend topic in its table",
        RefusalScope.TOPIC,
    )


def _cause(error: TelegramError) -> str:
    cause = error.__cause__
    if isinstance(cause, httpx.HTTPError):
        return type(cause).__name__
    return printable(redact(error.message), 80)


def _seconds(retry_after: int | timedelta) -> float:
    if isinstance(retry_after, timedelta):
        return retry_after.total_seconds()
    return float(retry_after)
