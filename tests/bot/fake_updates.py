"""The half of the Bot API that commands use, on loopback: messages in, answers out, menus, rights.

As strict as its neighbour about tokens, chats, markup and parameters it does not know. ``say`` is
what a person writes, ``sent`` what people read.
"""

import asyncio
import json
import re
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from bot.init.offers import KINDS
from tests.bot.fake_telegram import TOKEN, BadMarkup, form_of, keyboard, parsed, photo_of

BOT_ID, BOT_NAME = 1, "lowtide_bot"
OPERATORS, OTHER_GROUP, CHANNEL, FORUM = -200, -300, -1001, -1002
_FULL = {
    "accent_color_id": 0,
    "max_reaction_count": 11,
    "accepted_gift_types": dict.fromkeys(
        ("unlimited_gifts", "limited_gifts", "unique_gifts", "premium_subscription",
         "gifts_from_channels"), False,
    ),
}  # fmt: skip
_RIGHTS = (
    "can_be_edited", "is_anonymous", "can_manage_chat", "can_delete_messages",
    "can_manage_video_chats", "can_restrict_members", "can_promote_members", "can_change_info",
    "can_invite_users", "can_post_stories", "can_edit_stories", "can_delete_stories",
)  # fmt: skip
_KNOWN = {
    "getMe": set[str](),
    "deleteWebhook": {"drop_pending_updates"},
    "getUpdates": {"offset", "timeout", "allowed_updates", "limit"},
    "setMyCommands": {"commands", "scope", "language_code"},
    "sendMessage": {
        "chat_id",
        "text",
        "parse_mode",
        "disable_notification",
        "message_thread_id",
        "link_preview_options",
        "reply_parameters",
        "reply_markup",
    },
    "sendPhoto": {
        "chat_id",
        "photo",
        "caption",
        "parse_mode",
        "disable_notification",
        "message_thread_id",
        "reply_parameters",
    },
    "editMessageText": {
        "chat_id",
        "message_id",
        "text",
        "parse_mode",
        "link_preview_options",
        "reply_markup",
    },
    "answerCallbackQuery": {"callback_query_id", "text", "show_alert", "url"},
    "deleteMessage": {"chat_id", "message_id"},
    "getChat": {"chat_id"},
    "getChatMember": {"chat_id", "user_id"},
}


class Sent(msgspec.Struct):
    """A message of the bot. ``text``: as people read it now; ``first``: before edits."""

    chat: int
    text: str
    silent: bool
    topic: int | None
    first: str = ""
    photo: bytes = b""
    """The picture above it."""
    buttons: tuple[tuple[str, str], ...] = ()
    """What they say, and what comes back."""
    reply_to: int | None = None


class Popup(msgspec.Struct):
    """What somebody is shown who has pressed a button; ``text`` "": nothing. ``s``: how long that
    took."""

    press: str
    text: str
    s: float
    url: str = ""
    """What is opened."""


class FakeUpdates:
    """An async context manager; serves at ``url``.

    ``refuse``: answers that the next polls get instead of messages, (code, description) or None for
    a dropped connection. ``refusals``: chat → what sendMessage there gets. ``members``: chat → what
    getChatMember says of the bot there. ``menus``: scope and, if it
    is for one alone, language → names of commands; ``descriptions``: what the first is for.
    ``odd``: sent once before all other updates. ``parameters``: of each error. ``moves``: groups
    that are now other chats. ``refuse_photos``: no chat lets the bot send any. ``pictures_beside``:
    chats take silent ones, which answer posts; else a test has the messages alone. ``requests``,
    ``times``: methods but getUpdates, and when (by the clock) they were asked.
    """

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.popups: list[Popup] = []
        self.pressed: dict[str, float] = {}
        self.menus: dict[str, list[str]] = {}
        self.descriptions: dict[str, str] = {}
        self.refuse: deque[tuple[int, str] | None] = deque()
        self.refusals: dict[int, tuple[int, str]] = {}
        self.odd: list[object] = []
        self.parameters: dict[str, object] = {}
        self.moves: dict[int, int] = {}
        self.requests: list[str] = []
        self.times: list[float] = []
        self.polls = 0
        self.offset = 0
        self.token = TOKEN
        self.names: list[str] = []
        self.chats: dict[int, dict[str, Any]] = {
            OPERATORS: {"type": "supergroup", "title": "Ops"},
            OTHER_GROUP: {"type": "group", "title": "Others"},
            CHANNEL: {"type": "channel", "title": "Lowtide", "username": "lowtide"},
            FORUM: {"type": "supergroup", "title": "Forum", "is_forum": True},
        }
        self.closed_topics: set[int] = set()
        self.refuse_photos = False
        self.pictures_beside = False
        self.members: dict[int, dict[str, Any]] = {
            CHANNEL: admin(),
            OPERATORS: {"status": "member"},
            FORUM: {"status": "member"},
        }
        self.url = ""
        self._updates: list[dict[str, Any]] = []
        self._news = asyncio.Event()

    async def __aenter__(self) -> "FakeUpdates":
        app = web.Application()
        app.router.add_post("/bot{token}/{method}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._news.set()
        await self._runner.cleanup()

    def say(
        self,
        text: str,
        user: int = 11,
        chat: int | None = None,
        ago: float = 0,
        kind: str = "message",
        language_code: object = None,
        **more: object,
    ) -> None:
        """``user``, whose app is in ``language_code``, writes ``text``, in private or in ``chat``,
        so many seconds ago."""
        known = {"type": "private", "first_name": "Ann"}
        place = {"id": chat or user, **(known if chat is None else self.chats[chat])}
        if chat is None:
            self.chats[user] = known
        message = {
            "message_id": len(self._updates) + 1,
            "date": int(time.time() - ago),
            "chat": place,
            "from": {"id": user, "is_bot": False, "first_name": "Ann", "username": f"user{user}"}
            | ({} if language_code is None else {"language_code": language_code}),
            "text": text,
            **more,
        }
        self._updates.append({"update_id": len(self._updates) + 1, kind: message})
        self._news.set()

    def press(
        self,
        data: object,
        chat: int,
        number: int,
        user: int = 11,
        *,
        language_code: str = "en",
        **more: object,
    ) -> str:
        """``user`` presses the button with ``data`` under the message of that number; its id."""
        press = str(len(self._updates) + 1)
        query = {
            "id": press,
            "from": {"id": user, "is_bot": False, "first_name": "Ann", "username": f"user{user}",
                     "language_code": language_code},
            "message": {"message_id": number, "date": int(time.time()),
                        "chat": {"id": chat, **self.chats[chat]}},
            "chat_instance": "1",
            "data": data,
            **more,
        }  # fmt: skip
        self.pressed[press] = time.monotonic()
        self._updates.append({"update_id": len(self._updates) + 1, "callback_query": query})
        self._news.set()
        return press

    async def popup(self, press: str) -> Popup:
        """What the presser was shown."""
        async with asyncio.timeout(60):
            while not (shown := [popup for popup in self.popups if popup.press == press]):
                await asyncio.sleep(0.005)
        (only,) = shown
        return only

    def garble(self, **more: object) -> None:
        """Whatever was said last is not what it should be."""
        self._updates[-1]["message"] |= more

    async def until(self, count: int, seconds: float = 5) -> list[Sent]:
        """What was sent, once it is so much."""
        async with asyncio.timeout(seconds):
            while len(self.sent) < count:
                await asyncio.sleep(0.005)
        return self.sent

    async def read(self, seconds: float = 5) -> None:
        """Return once everything that was said has been taken and confirmed."""
        async with asyncio.timeout(seconds):
            while self.offset <= len(self._updates):
                await asyncio.sleep(0.005)

    def _since(self) -> list[dict[str, Any]]:
        """What has not been confirmed, a hundred at most as Telegram sends them."""
        first = max(0, self.offset - 1)
        return self._updates[first : first + 100]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        form = await form_of(request)
        if request.match_info["token"] != self.token:
            return _error(401, "Unauthorized")
        if method not in _KNOWN:
            return _error(404, "Not Found")
        if unknown := set(form) - _KNOWN[method]:
            return _error(400, f"Bad Request: the fake does not know {sorted(unknown)}")
        if method == "getUpdates":
            return await self._getUpdates(form, request)
        self.requests.append(method)
        self.times.append(time.monotonic())
        if (moved := self.moves.get(_number(form.get("chat_id")))) is not None:
            return _error(400, "Bad Request: group chat was upgraded to a supergroup chat",
                          {"migrate_to_chat_id": moved})  # fmt: skip
        return getattr(self, f"_{method}")(form)

    async def _getUpdates(
        self, form: Mapping[str, str], request: web.Request
    ) -> web.StreamResponse:
        self.polls += 1
        if self.refuse:
            refusal = self.refuse.popleft()
            if refusal is None:
                assert request.transport is not None
                request.transport.close()
                return web.Response()
            return _error(*refusal, self.parameters)
        assert json.loads(form["allowed_updates"]) in (
            ["message", "callback_query"], list(KINDS),
        )  # fmt: skip
        self.offset = max(self.offset, int(form.get("offset", 0)))
        until = time.monotonic() + float(form.get("timeout", 0))
        odd, self.odd = self.odd, []
        if odd:
            return _ok([*odd, *self._since()])
        while not (news := self._since()):
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), max(0.0, until - time.monotonic()))
            except TimeoutError:
                return _ok([])
        return _ok(news)

    def _getMe(self, _given: Mapping[str, str]) -> web.Response:
        return _ok({"id": BOT_ID, "is_bot": True, "first_name": "Lowtide", "username": BOT_NAME})

    def _deleteWebhook(self, _given: Mapping[str, str]) -> web.Response:
        return _ok(True)

    def _answerCallbackQuery(self, form: Mapping[str, str]) -> web.Response:
        press, text = form["callback_query_id"], form.get("text", "")
        if press not in self.pressed:
            text = "query is too old and response timeout expired or query ID is invalid"
            return _error(400, f"Bad Request: {text}")
        if len(text.encode("utf-16-le")) // 2 > 200:
            return _error(400, "Bad Request: MESSAGE_TOO_LONG")
        assert bool(text) == (form.get("show_alert") == "true")
        took = time.monotonic() - self.pressed.pop(press)
        url = form.get("url", "")
        assert not url or (url.startswith(f"https://t.me/{BOT_NAME}?start=") and not text)
        self.popups.append(Popup(press, text, took, url))
        return _ok(True)

    def _setMyCommands(self, form: Mapping[str, str]) -> web.Response:
        scope = json.loads(form.get("scope", '{"type": "default"}'))
        commands = json.loads(form["commands"])
        assert all(1 <= len(command["description"]) <= 256 for command in commands)
        where = str(scope.get("chat_id", scope["type"]))
        code = form.get("language_code", "")
        assert re.fullmatch("([a-z]{2})?", code), "two letters"
        self.menus[f"{where} {code}".strip()] = [command["command"] for command in commands]
        self.descriptions[f"{where} {code}".strip()] = commands[0]["description"]
        return _ok(True)

    def _getChat(self, form: Mapping[str, str]) -> web.Response:
        chat = self._find(form)
        return _error(400, "Bad Request: chat not found") if chat is None else _ok(chat | _FULL)

    def _getChatMember(self, form: Mapping[str, str]) -> web.Response:
        chat = self._find(form)
        if chat is None:
            return _error(400, "Bad Request: chat not found")
        member = self.members.get(chat["id"], {"status": "left"})
        if member["status"] == "hidden":
            return _error(400, "Bad Request: member list is inaccessible")
        user = {"id": BOT_ID, "is_bot": True, "first_name": "Lowtide"}
        return _ok({**member, "user": user})

    def _sendMessage(self, form: Mapping[str, str]) -> web.Response:
        chat = self._find(form)
        if chat is None:
            return _error(400, "Bad Request: chat not found")
        if chat["id"] in self.refusals:
            return _error(*self.refusals[chat["id"]], self.parameters)
        topic = form.get("message_thread_id")
        if topic is not None and int(topic) in self.closed_topics:
            return _error(400, "Bad Request: TOPIC_CLOSED")
        if topic not in (None, "7"):
            return _error(400, "Bad Request: message thread not found")
        try:
            text = _read(form)
            buttons = keyboard(form)
        except BadMarkup as error:
            return _error(400, f"Bad Request: {error}")
        if not 0 < len(text.encode("utf-16-le")) // 2 <= 4096:
            return _error(400, "Bad Request: message is too long or empty")
        silent = form.get("disable_notification") == "true"
        number = int(topic) if topic else None
        reply_to = json.loads(form.get("reply_parameters", "{}")).get("message_id")
        self.sent.append(
            Sent(chat["id"], text, silent, number, text, buttons=buttons, reply_to=reply_to)
        )
        return _ok({"message_id": len(self.sent), "date": int(time.time()), "chat": chat,
                    "text": text})  # fmt: skip

    def _sendPhoto(self, form: Mapping[str, str]) -> web.Response:
        image, form = photo_of(form), {**form, "text": form.get("caption", "")}
        if image is None:
            return _error(400, "Bad Request: there is no photo in the request")
        if len(form["text"].encode("utf-16-le")) // 2 > 1024:
            return _error(400, "Bad Request: message caption is too long")
        beside = form.get("disable_notification") == "true"
        if self.refuse_photos or (beside and not self.pictures_beside):
            return _error(400, "Bad Request: not enough rights to send photos to the chat")
        answer = self._sendMessage(form)
        if answer.status == 200:
            self.sent[-1].photo = image
        return answer

    def _editMessageText(self, form: Mapping[str, str]) -> web.Response:
        chat, number = self._find(form), int(form["message_id"])
        if chat is None or not 0 < number <= len(self.sent):
            return _error(400, "Bad Request: message to edit not found")
        text = _read(form)
        buttons = keyboard(form)
        if (self.sent[number - 1].text, self.sent[number - 1].buttons) == (text, buttons):
            return _error(400, "Bad Request: message is not modified")
        self.sent[number - 1].text, self.sent[number - 1].buttons = text, buttons
        return _ok({"message_id": number, "date": int(time.time()), "chat": chat, "text": text})

    def _deleteMessage(self, _given: Mapping[str, str]) -> web.Response:
        return _error(400, "Bad Request: message to delete not found")

    def _find(self, form: Mapping[str, str]) -> dict[str, Any] | None:
        wanted = form["chat_id"]
        for number, chat in self.chats.items():
            if wanted in (str(number), f"@{chat.get('username')}"):
                return {"id": number, **chat}
        return None


def admin(**rights: bool) -> dict[str, Any]:
    """What getChatMember says of an administrator who may post and nothing else."""
    return {
        "status": "administrator", **dict.fromkeys(_RIGHTS, False), "can_post_messages": True,
        **rights,
    }  # fmt: skip


def _ok(result: object) -> web.Response:
    return _json(200, {"ok": True, "result": result})


def _error(code: int, text: str, parameters: Mapping[str, object] = {}) -> web.Response:
    more = {"parameters": parameters} if parameters else {}
    return _json(code, {"ok": False, "error_code": code, "description": text, **more})


def _number(chat: str | None) -> int:
    """A chat's number; 0 for a name or none."""
    try:
        return int(chat or "")
    except ValueError:
        return 0


def _json(code: int, body: object) -> web.Response:
    # json, since some tests send numbers of 400 digits
    return web.Response(
        status=code, body=json.dumps(body).encode(), content_type="application/json"
    )


def _read(form: Mapping[str, str]) -> str:
    """A text as people read it, to whom every space is alike."""
    text = form["text"].replace("\u00a0", " ")
    return parsed(text) if form.get("parse_mode") == "HTML" else text
