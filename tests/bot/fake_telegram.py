"""A small strict Telegram Bot API on loopback, with faults on demand.

It knows the methods that Lowtide uses and refuses what Telegram refuses: unknown tokens and chats,
bad markup, empty and overlong text, parameters it does not know. ``posted`` is all that was ever
posted, whatever the bot was told about it; ``seen`` is what readers of a chat have before them.
"""

import asyncio
import random
import re
import struct
from collections import Counter, deque
from collections.abc import Mapping
from enum import Enum
from html.parser import HTMLParser
from typing import Any

import msgspec
import orjson
from aiohttp import web

TOKEN = "123456789:AAF" + "ake" * 11
CHANNEL, CHANNEL_NAME, MOVED_TO = -1001234567890, "@lowtide_test", -1009999999999
MORE = tuple(range(-1002000000005, -1002000000000))
"""Further channels."""
OTHER, GROUP, FORUM, PRIVATE = -1002222222222, -5550001, -1003333333333, 777
TOPICS = (7, 8)

_TAGS = {"b", "strong", "i", "em", "u", "s", "code", "pre", "a", "blockquote", "tg-time"}
_LONE_AMPERSAND = re.compile(r"&(?!(?:lt|gt|amp|quot|#\d+|#x[0-9a-fA-F]+);)")
_KNOWN = {
    "sendMessage": {
        "chat_id",
        "text",
        "parse_mode",
        "disable_notification",
        "link_preview_options",
        "message_thread_id",
        "reply_parameters",
        "reply_markup",
    },
    "editMessageText": {
        "chat_id",
        "message_id",
        "text",
        "parse_mode",
        "link_preview_options",
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
    "deleteMessage": {"chat_id", "message_id"},
    "getMe": set[str](),
    "getChat": {"chat_id"},
}


class Fault(Enum):
    """What goes wrong with one request. Those of AFTER happen when it is done."""

    FLOOD = "429"
    FLOOD_LONG = "429 for long"
    MIGRATED = "400 migrate"
    MARKUP = "400 markup"
    NO_RIGHTS = "400 rights"
    TOO_LONG = "400 too long"
    UNAUTHORIZED = "401"
    KICKED = "403"
    CONFLICT = "409"
    NOT_FOUND = "404"
    BAD_GATEWAY = "502"
    DROPPED_BEFORE = "dropped before posting"
    DROPPED_AFTER = "dropped after posting"
    SLOW = "slow answer"
    HTML_AFTER = "502 after posting"
    RUBBISH = "200 that cannot be read, after posting"


_ANSWERS: dict[Fault, tuple[int, str, dict[str, int]]] = {
    Fault.FLOOD: (429, "Too Many Requests: retry after 7", {"retry_after": 7}),
    Fault.FLOOD_LONG: (429, "Too Many Requests: retry after 10072", {"retry_after": 10072}),
    Fault.MIGRATED: (
        400,
        "Bad Request: group chat was upgraded to a supergroup chat",
        {"migrate_to_chat_id": MOVED_TO},
    ),
    Fault.MARKUP: (
        400,
        'Bad Request: can\'t parse entities: Unsupported start tag "x" at byte offset 1',
        {},
    ),
    Fault.NO_RIGHTS: (400, "Bad Request: need administrator rights in the channel chat", {}),
    Fault.TOO_LONG: (400, "Bad Request: message is too long", {}),
    Fault.UNAUTHORIZED: (401, "Unauthorized", {}),
    Fault.KICKED: (403, "Forbidden: bot was kicked from the channel chat", {}),
    Fault.NOT_FOUND: (404, "Not Found", {}),
    Fault.CONFLICT: (409, "Conflict: terminated by other getUpdates request", {}),
}
AFTER = (Fault.DROPPED_AFTER, Fault.SLOW, Fault.HTML_AFTER, Fault.RUBBISH)
UNCLEAR = (*AFTER, Fault.BAD_GATEWAY, Fault.DROPPED_BEFORE)
"""Those after which nobody can know whether the request was carried out."""


class Post(msgspec.Struct):
    """One message in a chat. ``text``: as readers see it; ``source``: as it was sent.

    ``buttons``: labels and what comes back. ``first``: its text before edits. ``at``: loop time.
    ``answered``: the bot was told that it was posted. ``foreign``: somebody else's.
    """

    message_id: int
    chat: int
    text: str
    source: str
    silent: bool
    buttons: tuple[tuple[str, str], ...] = ()
    topic: int | None = None
    reply_to: int | None = None
    first: str = ""
    at: float = 0.0
    edits: int = 0
    answered: bool = False
    deleted: bool = False
    foreign: bool = False
    photo: bytes = b""
    """A picture (PNG), of which ``text`` is the caption."""


class BadMarkup(ValueError):
    """Telegram would refuse this HTML."""


class FakeTelegram:
    """An async context manager; serves at ``url`` and does what ``faults`` says, one a request.

    ``chances``: of each fault, for requests about messages, thrown with ``dice``; ``thrown`` counts
    them. ``pages``: status and body that somebody between answers in its place, one a request.
    ``retry_s``: what a thrown flood asks for. ``moves``: groups that are now other chats.
    ``mumbles``: chats about which it answers ``rubbish``. ``blocked``: chats that have thrown the
    bot out. ``accepted``: per chat, when (loop time) a message was posted, edited or deleted.
    """

    def __init__(self, seed: int = 0) -> None:
        self.posted: list[Post] = []
        self.dice = random.Random(seed)
        self.chances: dict[Fault, float] = {}
        self.retry_s = 1
        self.moves: dict[int, int] = {}
        self.blocked: set[int] = set()
        self.mumbles: set[int] = set()
        self.rubbish = b"<html><h1>Welcome to the proxy</h1></html>"
        self.thrown: Counter[tuple[str, Fault]] = Counter()
        self.accepted: dict[int, list[float]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.faults: deque[Fault] = deque()
        self.pages: deque[tuple[int, bytes]] = deque()
        self.slow_s = 5.0
        self.about_chat: Any = None  # what getChat answers, None: what Telegram does
        self.url = ""
        self._release = asyncio.Event()
        self._ids: Counter[int] = Counter()

    def seen(self, chat: int = CHANNEL) -> list[Post]:
        """What readers of ``chat`` have before them."""
        return [post for post in self.posted if post.chat == chat and not post.deleted]

    def foreign(self, text: str, chat: int = CHANNEL) -> None:
        """Somebody else posts there."""
        self._ids[chat] += 1
        self.posted.append(Post(self._ids[chat], chat, text, text, False, foreign=True))

    async def __aenter__(self) -> "FakeTelegram":
        app = web.Application()
        app.router.add_post("/bot{token}/{method}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._release.set()
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        form = await form_of(request)
        await asyncio.sleep(0)
        if request.transport is None or request.transport.is_closing():
            return web.Response()  # whoever asked is gone: too late to carry it out
        self.requests.append((method, form))
        if self.pages:
            status, body = self.pages.popleft()
            return web.Response(status=status, body=body, content_type="text/html")
        if request.match_info["token"] != TOKEN:
            return _error(401, "Unauthorized")
        if method not in _KNOWN:
            return _error(404, "Not Found")
        if unknown := set(form) - _KNOWN[method]:
            return _error(400, f"Bad Request: the fake does not know {sorted(unknown)}")
        fault = self.faults.popleft() if self.faults else self._throw(method, form)
        if form.get("chat_id") in map(str, self.mumbles) and method != "getChat":
            fault = Fault.RUBBISH
        if fault is Fault.FLOOD and self.chances:
            return _error(429, "Too Many Requests", {"retry_after": self.retry_s})
        if fault in _ANSWERS:
            return _error(*_ANSWERS[fault])
        if refusal := self._refusal(form):
            return refusal
        if fault is Fault.BAD_GATEWAY:
            return _bad_gateway()
        if fault is Fault.DROPPED_BEFORE:
            return _drop(request)
        answer: web.Response = getattr(self, f"_{method}")(form)
        if method in ("sendMessage", "sendPhoto") and answer.status == 200:
            self.posted[-1].answered = fault not in AFTER
        return await self._after(fault, answer, request)

    def _throw(self, method: str, form: Mapping[str, str]) -> Fault | None:
        """By chance, one fault that can hit such a request in life."""
        if method in ("getMe", "getChat"):
            return None
        chances = list(self.chances.items())
        self.dice.shuffle(chances)
        for fault, chance in chances:
            if fault is Fault.MARKUP and "parse_mode" not in form:
                continue
            if fault is Fault.MIGRATED and form.get("chat_id") != str(GROUP):
                continue
            if self.dice.random() < chance:
                self.thrown[method, fault] += 1
                if fault is Fault.MIGRATED:
                    self.moves[GROUP] = MOVED_TO
                return fault
        return None

    def _refusal(self, form: Mapping[str, str]) -> web.Response | None:
        """What a chat answers that has moved or does not want the bot."""
        chat = _chat(form)
        if chat is None:
            return None
        if chat["id"] in self.moves:
            text = "Bad Request: group chat was upgraded"
            return _error(400, text, {"migrate_to_chat_id": self.moves[chat["id"]]})
        if chat["id"] in self.blocked:
            return _error(403, "Forbidden: bot was kicked from the channel chat")
        return None

    async def _after(
        self, fault: Fault | None, answer: web.Response, request: web.Request
    ) -> web.StreamResponse:
        if fault is Fault.DROPPED_AFTER:
            return _drop(request)
        if fault is Fault.HTML_AFTER:
            return _bad_gateway()
        if fault is Fault.RUBBISH:
            return web.Response(body=self.rubbish, content_type="text/html")
        if fault is Fault.SLOW:
            try:
                await asyncio.wait_for(self._release.wait(), self.slow_s)
            except TimeoutError:
                return answer
        return answer

    def _getMe(self, _given: Mapping[str, str]) -> web.Response:
        return _ok({"id": 1, "is_bot": True, "first_name": "Lowtide", "username": "lowtide_bot"})

    def _getChat(self, form: Mapping[str, str]) -> web.Response:
        chat = _chat(form)
        if chat is None:
            return _error(400, "Bad Request: chat not found")
        return _ok(
            {**chat, "accent_color_id": 0, "max_reaction_count": 11} | _FULL
            if self.about_chat is None
            else self.about_chat
        )

    def _sendMessage(self, form: Mapping[str, str]) -> web.Response:
        chat = _chat(form)
        if chat is None:
            return _error(400, "Bad Request: chat not found")
        try:
            text, buttons = visible(form), keyboard(form)
        except BadMarkup as error:
            return _error(400, f"Bad Request: {error}")
        topic = int(form["message_thread_id"]) if "message_thread_id" in form else None
        if topic is not None and (chat["id"] != FORUM or topic not in TOPICS):
            return _error(400, "Bad Request: message thread not found")
        reply_to, wrong = self._reply(form, chat["id"])
        if wrong:
            return _error(400, wrong)
        self._ids[chat["id"]] += 1
        post = Post(
            self._ids[chat["id"]],
            chat["id"],
            text,
            form["text"],
            form.get("disable_notification") == "true",
            buttons=buttons,
            topic=topic,
            reply_to=reply_to,
            first=text,
            at=asyncio.get_running_loop().time(),
        )
        self.posted.append(post)
        self._accept(chat["id"])
        return _ok(_message(post, chat))

    def _sendPhoto(self, form: Mapping[str, str]) -> web.Response:
        image = photo_of(form)
        if image is None:
            return _error(400, "Bad Request: there is no photo in the request")
        caption = form.get("caption", "")
        if len(caption.encode("utf-16-le")) // 2 > 1024:
            return _error(400, "Bad Request: message caption is too long")
        answer = self._sendMessage({**form, "text": caption})
        if answer.status == 200:
            self.posted[-1].photo = image
        return answer

    def _reply(self, form: Mapping[str, str], chat: int) -> tuple[int | None, str]:
        if "reply_parameters" not in form:
            return None, ""
        reply = orjson.loads(form["reply_parameters"])
        if self._find(chat, reply["message_id"]) is not None:
            return reply["message_id"], ""
        if reply.get("allow_sending_without_reply"):
            return None, ""
        return None, "Bad Request: message to be replied not found"

    def _find(self, chat: int, number: int) -> Post | None:
        wanted = (chat, number, False)
        return next((p for p in self.posted if (p.chat, p.message_id, p.deleted) == wanted), None)

    def _accept(self, chat: int) -> None:
        self.accepted.setdefault(chat, []).append(asyncio.get_running_loop().time())

    def _deleteMessage(self, form: Mapping[str, str]) -> web.Response:
        chat = _chat(form)
        if chat is None:
            return _error(400, "Bad Request: chat not found")
        post = self._find(chat["id"], int(form["message_id"]))
        if post is None:
            return _error(400, "Bad Request: message to delete not found")
        if post.foreign:
            return _error(400, "Bad Request: message can't be deleted")
        post.deleted = True
        self._accept(chat["id"])
        return _ok(True)

    def _editMessageText(self, form: Mapping[str, str]) -> web.Response:
        chat = _chat(form)
        if chat is None:
            return _error(400, "Bad Request: chat not found")
        post = self._find(chat["id"], int(form.get("message_id", 0)))
        if post is None:
            return _error(400, "Bad Request: message to edit not found")
        if post.foreign:
            return _error(400, "Bad Request: message can't be edited")
        if post.photo:
            return _error(400, "Bad Request: there is no text in the message to edit")
        self._accept(chat["id"])
        try:
            text, buttons = visible(form), keyboard(form)
        except BadMarkup as error:
            return _error(400, f"Bad Request: {error}")
        if (text, buttons) == (post.text, post.buttons):
            return _error(
                400,
                "Bad Request: message is not modified: specified new message content and reply "
                "markup are exactly the same as a current content and reply markup of the message",
            )
        post.text, post.source, post.edits = text, form["text"], post.edits + 1
        post.buttons = buttons
        return _ok(_message(post, chat))


async def form_of(request: web.Request) -> dict[str, str]:
    """The fields of a request; of a file its bytes, a character each (Latin-1)."""
    form: dict[str, str] = {}
    for key, value in (await request.post()).items():
        file = isinstance(value, web.FileField)
        form[key] = value.file.read().decode("latin-1") if file else str(value)
    return form


def photo_of(form: Mapping[str, str]) -> bytes | None:
    """The picture of sendPhoto, which is in a part of the form or in that which ``photo`` names;
    None: there is no PNG of at most 10 MB, 10,000 pixels in sum and 20 times as wide as high."""
    name = form.get("photo", "").removeprefix("attach://")
    data = form.get(name, form.get("photo", "")).encode("latin-1", "replace")
    if not data.startswith(b"\x89PNG\r\n\x1a\n") or len(data) > 10_000_000:
        return None
    wide, high = struct.unpack_from(">II", data, 16)
    fits = wide + high <= 10_000 and max(wide, high) <= 20 * min(wide, high)
    return data if fits else None


def visible(form: Mapping[str, str]) -> str:
    """The text that readers see, to whom every space is alike. Raises BadMarkup with Telegram's
    words."""
    text = form.get("text", "").replace("\u00a0", " ")
    if form.get("parse_mode") == "HTML":
        text = parsed(text)
    if not text.strip():
        raise BadMarkup("message text is empty")
    if len(text.encode("utf-16-le")) // 2 > 4096:
        raise BadMarkup("message is too long")
    return text


def keyboard(form: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The buttons below a message: what they say, and what comes back. Raises BadMarkup with
    Telegram's words."""
    if "reply_markup" not in form:
        return ()
    markup = orjson.loads(form["reply_markup"])
    if set(markup) != {"inline_keyboard"} or not markup["inline_keyboard"]:
        raise BadMarkup("object expected as reply markup")
    buttons: list[tuple[str, str]] = []
    for row in markup["inline_keyboard"]:
        if not row:
            raise BadMarkup("REPLY_MARKUP_INVALID")
        for button in row:
            if set(button) != {"text", "callback_data"}:
                raise BadMarkup("can't parse inline keyboard button: Text buttons are unallowed")
            label, data = button["text"], button["callback_data"]
            if not isinstance(label, str) or not label.strip():
                raise BadMarkup("can't parse inline keyboard button: text is empty")
            if not isinstance(data, str) or not 1 <= len(data.encode()) <= 64:
                raise BadMarkup("BUTTON_DATA_INVALID")
            buttons.append((label, data))
    return tuple(buttons)


def parsed(text: str) -> str:
    """Telegram HTML → text. Raises BadMarkup for tags or signs that Telegram does not take.

    Stricter in one thing: Telegram lets a lone & pass, but asks for ``&amp;``.
    """
    if _LONE_AMPERSAND.search(text):
        raise BadMarkup("can't parse entities: a bare &")
    reader = _Markup()
    reader.feed(text)
    reader.close()
    if reader.open:
        raise BadMarkup(f"can't parse entities: Can't find end tag corresponding to {reader.open}")
    return "".join(reader.text)


class _Markup(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag not in _TAGS:
            raise BadMarkup(f'can\'t parse entities: Unsupported start tag "{tag}"')
        if tag == "tg-time" and not str(attributes.get("unix", "")).isdigit():
            raise BadMarkup("can't parse entities: tg-time without a time")
        if tag == "a" and not attributes.get("href"):
            raise BadMarkup("can't parse entities: a link without an address")
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            raise BadMarkup(f'can\'t parse entities: Unexpected end tag "{tag}"')

    def handle_data(self, data: str) -> None:
        if "<" in data:
            raise BadMarkup("can't parse entities: a bare <")
        self.text.append(data)

    def handle_entityref(self, name: str) -> None:
        self.text.append({"lt": "<", "gt": ">", "amp": "&", "quot": '"'}[name])

    def handle_charref(self, name: str) -> None:
        self.text.append(chr(int(name[1:], 16) if name[0] in "xX" else int(name)))


_FULL = {
    "accepted_gift_types": dict.fromkeys(
        (
            "unlimited_gifts",
            "limited_gifts",
            "unique_gifts",
            "premium_subscription",
            "gifts_from_channels",
        ),
        False,
    )
}


_OTHERS: dict[str, dict[str, Any]] = {
    str(MOVED_TO): {"id": MOVED_TO, "type": "supergroup", "title": "Lowtide"},
    **{str(chat): {"id": chat, "type": "channel", "title": "Other"} for chat in (OTHER, *MORE)},
    str(GROUP): {"id": GROUP, "type": "group", "title": "Group"},
    str(FORUM): {"id": FORUM, "type": "supergroup", "title": "Forum", "is_forum": True},
    str(PRIVATE): {"id": PRIVATE, "type": "private", "first_name": "Ann"},
}


def _chat(form: Mapping[str, str]) -> dict[str, Any] | None:
    wanted = form.get("chat_id")
    if wanted in (str(CHANNEL), CHANNEL_NAME):
        return {"id": CHANNEL, "type": "channel", "title": "Lowtide", "username": CHANNEL_NAME[1:]}
    return _OTHERS.get(wanted or "")


def _message(post: Post, chat: dict[str, Any]) -> dict[str, Any]:
    return {
        "message_id": post.message_id,
        "date": 1791014400,
        "chat": chat,
        "sender_chat": chat,
        "text": post.text,
    }


def _ok(result: object) -> web.Response:
    return _json(200, {"ok": True, "result": result})


def _error(code: int, text: str, parameters: dict[str, int] | None = None) -> web.Response:
    body: dict[str, object] = {"ok": False, "error_code": code, "description": text}
    return _json(code, body | ({"parameters": parameters} if parameters else {}))


def _json(code: int, body: object) -> web.Response:
    return web.Response(status=code, body=orjson.dumps(body), content_type="application/json")


def _bad_gateway() -> web.Response:
    return web.Response(
        status=502, text="<html><h1>502 Bad Gateway</h1></html>", content_type="text/html"
    )


def _drop(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()
