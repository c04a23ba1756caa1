"""A small strict Telegram Bot API on loopback, with faults on demand.

It knows the methods that Lowtide uses and refuses what Telegram refuses: unknown tokens and chats,
bad markup, empty and overlong text, parameters it does not know. ``posted`` is what readers of the
channel see, whatever the bot was told about it.
"""

import asyncio
import re
from collections import deque
from collections.abc import Mapping
from enum import Enum
from html.parser import HTMLParser
from typing import Any

import msgspec
import orjson
from aiohttp import web

TOKEN = "123456789:AAF" + "ake" * 11
CHANNEL, CHANNEL_NAME, MOVED_TO = -1001234567890, "@lowtide_test", -1009999999999

_TAGS = {"b", "strong", "i", "em", "u", "s", "code", "pre", "a", "blockquote", "tg-time"}
_LONE_AMPERSAND = re.compile(r"&(?!(?:lt|gt|amp|quot|#\d+|#x[0-9a-fA-F]+);)")
_KNOWN = {
    "sendMessage": {
        "chat_id",
        "text",
        "parse_mode",
        "disable_notification",
        "link_preview_options",
    },
    "editMessageText": {"chat_id", "message_id", "text", "parse_mode", "link_preview_options"},
    "getMe": set[str](),
    "getChat": {"chat_id"},
}


class Fault(Enum):
    """What goes wrong with one request. The last three happen after the post is made."""

    FLOOD = "429"
    FLOOD_LONG = "429 for long"
    MIGRATED = "400 migrate"
    MARKUP = "400 markup"
    NO_RIGHTS = "400 rights"
    TOO_LONG = "400 too long"
    UNAUTHORIZED = "401"
    KICKED = "403"
    NOT_FOUND = "404"
    BAD_GATEWAY = "502"
    DROPPED_BEFORE = "dropped before posting"
    DROPPED_AFTER = "dropped after posting"
    SLOW = "slow answer"
    HTML_AFTER = "502 after posting"


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
}


class Post(msgspec.Struct):
    """One message in the channel. ``text``: as readers see it; ``source``: as it was sent."""

    message_id: int
    chat: int
    text: str
    source: str
    silent: bool


class BadMarkup(ValueError):
    """Telegram would refuse this HTML."""


class FakeTelegram:
    """An async context manager; serves at ``url`` and does what ``faults`` says, one a request."""

    def __init__(self) -> None:
        self.posted: list[Post] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.faults: deque[Fault] = deque()
        self.slow_s = 5.0
        self.url = ""
        self._release = asyncio.Event()
        self._next_id = 1

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
        given = {key: str(value) for key, value in (await request.post()).items()}
        self.requests.append((method, given))
        if request.match_info["token"] != TOKEN:
            return _error(401, "Unauthorized")
        if method not in _KNOWN:
            return _error(404, "Not Found")
        if unknown := set(given) - _KNOWN[method]:
            return _error(400, f"Bad Request: the fake does not know {sorted(unknown)}")
        fault = self.faults.popleft() if self.faults else None
        if fault in _ANSWERS:
            return _error(*_ANSWERS[fault])
        if fault is Fault.BAD_GATEWAY:
            return _bad_gateway()
        if fault is Fault.DROPPED_BEFORE:
            return _drop(request)
        answer = getattr(self, f"_{method}")(given)
        return await self._after(fault, answer, request)

    async def _after(
        self, fault: Fault | None, answer: web.Response, request: web.Request
    ) -> web.StreamResponse:
        if fault is Fault.DROPPED_AFTER:
            return _drop(request)
        if fault is Fault.HTML_AFTER:
            return _bad_gateway()
        if fault is Fault.SLOW:
            try:
                await asyncio.wait_for(self._release.wait(), self.slow_s)
            except TimeoutError:
                return answer
        return answer

    def _getMe(self, _given: Mapping[str, str]) -> web.Response:
        return _ok({"id": 1, "is_bot": True, "first_name": "Lowtide", "username": "lowtide_bot"})

    def _getChat(self, given: Mapping[str, str]) -> web.Response:
        chat = _chat(given)
        if chat is None:
            return _error(400, "Bad Request: chat not found")
        return _ok({**chat, "accent_color_id": 0, "max_reaction_count": 11} | _FULL)

    def _sendMessage(self, given: Mapping[str, str]) -> web.Response:
        chat = _chat(given)
        if chat is None:
            return _error(400, "Bad Request: chat not found")
        try:
            text = visible(given)
        except BadMarkup as error:
            return _error(400, f"Bad Request: {error}")
        post = Post(
            self._next_id,
            chat["id"],
            text,
            given["text"],
            given.get("disable_notification") == "true",
        )
        self._next_id += 1
        self.posted.append(post)
        return _ok(_message(post, chat))

    def _editMessageText(self, given: Mapping[str, str]) -> web.Response:
        chat = _chat(given)
        number = int(given.get("message_id", 0))
        post = next((p for p in self.posted if p.message_id == number), None)
        if chat is None:
            return _error(400, "Bad Request: chat not found")
        if post is None:
            return _error(400, "Bad Request: message to edit not found")
        try:
            text = visible(given)
        except BadMarkup as error:
            return _error(400, f"Bad Request: {error}")
        if given["text"] == post.source:
            return _error(
                400,
                "Bad Request: message is not modified: specified new message content and reply "
                "markup are exactly the same as a current content and reply markup of the message",
            )
        post.text, post.source = text, given["text"]
        return _ok(_message(post, chat))


def visible(given: Mapping[str, str]) -> str:
    """The text that readers see. Raises BadMarkup with Telegram's words."""
    text = given.get("text", "")
    if given.get("parse_mode") == "HTML":
        text = parsed(text)
    if not text.strip():
        raise BadMarkup("message text is empty")
    if len(text.encode("utf-16-le")) // 2 > 4096:
        raise BadMarkup("message is too long")
    return text


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
        given = dict(attrs)
        if tag not in _TAGS:
            raise BadMarkup(f'can\'t parse entities: Unsupported start tag "{tag}"')
        if tag == "tg-time" and not str(given.get("unix", "")).isdigit():
            raise BadMarkup("can't parse entities: tg-time without a time")
        if tag == "a" and not given.get("href"):
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


def _chat(given: Mapping[str, str]) -> dict[str, Any] | None:
    wanted = given.get("chat_id")
    if wanted in (str(CHANNEL), CHANNEL_NAME):
        return {"id": CHANNEL, "type": "channel", "title": "Lowtide", "username": CHANNEL_NAME[1:]}
    if wanted == str(MOVED_TO):
        return {"id": MOVED_TO, "type": "supergroup", "title": "Lowtide"}
    return None


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
