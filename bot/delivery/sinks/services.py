"""The messengers beside Telegram: what each is sent, and what only it answers. Pure.

A service is a row of ``SERVICES``: a function from a message to the body of a request, and values.
Only apprise is none: it is a command, see ``bot.delivery.sinks.apprise``. What is said here of a
service is from its documentation (docs/messengers.md), and was tried against local servers only.
"""

import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec

from bot.delivery.pace import Limits
from bot.delivery.sinks.markup import (
    Line,
    RunStyle,
    TextRun,
    clean,
    fitted_lines,
    lines_of,
    plain_lines,
    utf8,
    utf16,
)
from bot.destination import Service
from bot.messages.blocks import unbroken
from bot.messages.render import MARKS, OVER, Message
from rules.alerts import Level, Turn

MessengerBody = Mapping[str, object]

PICTURE = "chart.png"
"""What the file of a picture is called."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Where a messenger is, and what it needs. Nothing of it is ever logged."""

    url: str = ""
    """"": the service's own."""
    token: str = ""
    to: str = ""
    """Whom a message is for, where the address does not say so."""

    def __repr__(self) -> str:
        return "<account>"


class MessengerRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A POST to a messenger."""

    url: str
    headers: dict[str, str]
    content: bytes


class PictureRow(msgspec.Struct, frozen=True, kw_only=True):
    """How a service takes a picture."""

    address: Callable[[Account, str], str]
    """Where it is sent to, of a caption, plain."""
    content: Callable[[bytes, str], tuple[bytes, str]]
    """A PNG and its caption → the body, and of which type that is."""


class ServiceFormat(msgspec.Struct, frozen=True, kw_only=True):
    """What is particular to a service."""

    title: str
    body: Callable[[Message, Account, bool], MessengerBody]
    """A message → the body. The last argument: with markup, or as simple as can be."""
    address: Callable[[Account], str]
    """Where it is posted to."""
    confirms: Callable[[bytes], bool]
    """Whether the body of an answer from 200 to 299 says that the message was taken."""
    limits: Limits
    """How many requests it bears."""
    room: int
    """A text of so many ``units`` fits into one message, whatever signs are escaped in it."""
    units: Callable[[str], int] = utf16
    """How it counts the length of a text."""
    bearer: bool = False
    """The token goes into a header, if there is one."""
    retry_key: bool = False
    """It is told by a key which posts are the same."""
    refuses: Callable[[int, bytes, str], str] = lambda _status, _body, _name: ""
    """Why the chat takes nothing, where only this service answers so; "": it does not. The last
    argument: what the messenger is called."""
    picture: PictureRow | None = None
    """None: it takes none, see ``bot.destination.takes_pictures``."""


# Discord, https://docs.discord.com/developers/resources/webhook#execute-webhook

_CONTENT_CHARS = 2_000
_EMBED_CHARS = 4_000
"""4,096 in the text of an embed, and 6,000 in all of a message."""

_SUPPRESS_NOTIFICATIONS = 1 << 12
_COLOURS = {Level.WATCH: 0xF1C40F, Level.ALERT: 0xE67E22, Level.CRITICAL: 0xE74C3C}
_GREY = 0x95A5A6
_DISCORD_SIGNS = re.compile(r"([\\*_~`|<\[\]])")
_DISCORD_START = re.compile(r"^(\s*)(?:([#>+-])|(\d+)([.)]))")
"""A digit cannot be escaped: what follows it is."""


def discord_body(message: Message, account: Account, markup: bool) -> MessengerBody:
    """The first line as the message, which a notification shows, the others in a box that has the
    colour of the level. Nobody is mentioned."""
    body: dict[str, object] = {"allowed_mentions": {"parse": []}}
    if message.silent:
        body["flags"] = _SUPPRESS_NOTIFICATIONS
    if not markup:
        lines = plain_lines(message.plain)
        return {**body, "content": fitted_lines(lines, _discord_text, utf16, _CONTENT_CHARS)}
    head, *rest = lines_of(message.html)
    body["content"] = fitted_lines([head], _discord_line, utf16, _CONTENT_CHARS)
    if rest:
        text = fitted_lines(rest, _discord_line, utf16, _EMBED_CHARS)
        body["embeds"] = [{"description": text, "color": _colour(message)}]
    return body


def _discord_line(line: Line) -> str:
    return _discord_start("".join(map(_discord_run, line)))


def _discord_text(line: Line) -> str:
    return _discord_start("".join(_DISCORD_SIGNS.sub(r"\\\1", run.text) for run in line))


def _discord_start(text: str) -> str:
    """``text`` as a line that is no heading, quote or list."""
    return _DISCORD_START.sub(
        lambda match: f"{match[1]}{match[3] or ''}\\{match[2] or match[4]}", text
    )


def _discord_run(run: TextRun) -> str:
    if run.unix is not None:  # shown in the reader's own zone
        return f"<t:{run.unix}:{'f' if run.dated else 't'}>"
    if run.style is RunStyle.CODE:
        return f"`{run.text.replace('`', 'ˋ')}`"
    text = _DISCORD_SIGNS.sub(r"\\\1", run.text)
    return _around(text, {RunStyle.BOLD: "**", RunStyle.ITALIC: "*"}.get(run.style, ""))


def _discord_address(account: Account) -> str:
    """With a question for an answer that says what became of the message."""
    parts = urlsplit(account.url)
    kept = [pair for pair in parts.query.split("&") if pair and not pair.startswith("wait=")]
    return urlunsplit(parts._replace(query="&".join([*kept, "wait=true"]), fragment=""))


def _discord_picture(image: bytes, caption: str) -> tuple[bytes, str]:
    """A message with a file, and nothing that rings."""
    text = fitted_lines(plain_lines(caption), _discord_text, utf16, _CONTENT_CHARS)
    body: MessengerBody = {
        "content": text,
        "allowed_mentions": {"parse": []},
        "flags": _SUPPRESS_NOTIFICATIONS,
        "attachments": [{"id": 0, "filename": PICTURE}],
    }
    mark = f"lowtide-{uuid.uuid5(uuid.NAMESPACE_URL, caption).hex}"
    parts = (
        ('name="payload_json"', "application/json", msgspec.json.encode(body)),
        (f'name="files[0]"; filename="{PICTURE}"', "image/png", image),
    )
    content = b"".join(
        f"--{mark}\r\nContent-Disposition: form-data; {name}\r\nContent-Type: {kind}\r\n\r\n"
        .encode() + data + b"\r\n"
        for name, kind, data in parts
    )  # fmt: skip
    return content + f"--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"


# Slack, https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks

_SECTION_CHARS = 3_000
_SLACK_TEXT_CHARS = 3_000
"""40,000 are taken, 4,000 are advised."""

_ZERO_WIDTH = "\u200b"
_SLACK_SIGNS = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "*": "∗", "~": "∼", "`": "ˋ", "_": "ˍ"}
)
"""``&``, ``<`` and ``>`` are escaped as documented. There is no escape for what marks a style, so
signs that look alike take its place."""


def slack_body(message: Message, account: Account, markup: bool) -> MessengerBody:
    """The first line as the message, which a notification shows, the others in a box that has the
    colour of the level. Nobody is mentioned."""
    body: dict[str, object] = {"unfurl_links": False, "unfurl_media": False}
    if not markup:
        lines = plain_lines(message.plain)
        text = fitted_lines(lines, _slack_text, utf16, _SLACK_TEXT_CHARS)
        return {**body, "text": text, "mrkdwn": False}
    head, *rest = lines_of(message.html)
    body["text"] = fitted_lines([head], _slack_line, utf16, _SLACK_TEXT_CHARS)
    if rest:
        text = fitted_lines(rest, _slack_line, utf16, _SECTION_CHARS)
        section = {"type": "section", "text": {"type": "mrkdwn", "text": text}}
        colour = f"#{_colour(message):06X}"
        body["attachments"] = [{"color": colour, "blocks": [section]}]
    return body


def _slack_line(line: Line) -> str:
    texts = [_slack_run(run) for run in line]
    for number, run in enumerate(line):
        if run.style is not RunStyle.PLAIN:  # a mark counts only beside a space or the like
            texts[number] = (
                (_ZERO_WIDTH if number else "")
                + texts[number]
                + (_ZERO_WIDTH if number + 1 < len(line) else "")
            )
    return "".join(texts)


def _slack_text(line: Line) -> str:
    return "".join(run.text.translate(_SLACK_SIGNS) for run in line)


def _slack_run(run: TextRun) -> str:
    text = run.text.translate(_SLACK_SIGNS)
    if run.unix is not None:  # shown in the reader's own zone
        shape = "{date_short} {time}" if run.dated else "{time}"
        return f"<!date^{run.unix}^{shape}|{text.replace('|', '∣')}>"
    signs = {RunStyle.BOLD: "*", RunStyle.ITALIC: "_", RunStyle.CODE: "`"}
    return _around(text, signs.get(run.style, ""))


# ntfy, https://docs.ntfy.sh/publish/

_NTFY_BYTES = 4_096
"""A longer message becomes a file."""

_NTFY_TITLE_BYTES = 1_000
_NTFY_CAPTION_BYTES = 800
"""In an address it is three times as long."""

_SILENT, _DEFAULT, _HIGH, _MAX = 2, 3, 4, 5
_CIRCLES = {
    "🟡": "yellow_circle",
    "🟠": "orange_circle",
    "🔴": "red_circle",
    OVER: "white_circle",
}


def ntfy_body(message: Message, account: Account, markup: bool) -> MessengerBody:
    """The first line as the title, its mark as a tag, which is shown as the same mark; the level as
    priority."""
    head, *rest = plain_lines(unbroken(message.plain))
    title, tags = "".join(run.text for run in head), [message.asset]
    for mark in (*MARKS.values(), OVER):
        if title.startswith(mark):
            title, tags = title.removeprefix(mark).strip(), [_CIRCLES[mark], *tags]
    title = fitted_lines([(TextRun(title),)], _plain, utf8, _NTFY_TITLE_BYTES)
    priority = {Level.CRITICAL: _MAX, Level.ALERT: _HIGH}.get(message.level, _DEFAULT)
    text = fitted_lines(rest, _plain, utf8, _NTFY_BYTES) if rest else ""
    return {
        "topic": urlsplit(account.url).path.rpartition("/")[2],
        "title": title,
        "message": text or title,
        "priority": _SILENT if message.silent else priority,
        "tags": [clean(tag) for tag in tags if tag],
    }


def _ntfy_address(account: Account) -> str:
    """The server without the topic: what is published as JSON names that itself."""
    parts = urlsplit(account.url)
    return urlunsplit(parts._replace(path=parts.path.rpartition("/")[0] + "/", query=""))


def _ntfy_picture_address(account: Account, caption: str) -> str:
    """The topic; what is no file goes into the question, which takes any letters."""
    text = fitted_lines(plain_lines(caption), _plain, utf8, _NTFY_CAPTION_BYTES)
    query = urlencode({"filename": PICTURE, "message": text, "priority": _SILENT})
    return urlunsplit(urlsplit(account.url)._replace(query=query, fragment=""))


# LINE, https://developers.line.biz/en/reference/messaging-api/#send-push-message

_LINE_CHARS = 5_000
_LINE = "https://api.line.me"


def line_body(message: Message, account: Account, markup: bool) -> MessengerBody:
    """Plain text: LINE has no markup."""
    text = fitted_lines(plain_lines(unbroken(message.plain)), _plain, utf16, _LINE_CHARS)
    return {
        "to": account.to,
        "messages": [{"type": "text", "text": text}],
        "notificationDisabled": message.silent,
    }


def _line_address(account: Account) -> str:
    return f"{account.url or _LINE}/v2/bot/message/push"


def line_refusal(status: int, body: bytes, name: str) -> str:
    """Why LINE takes nothing for this chat, by what its error says; "": something else is wrong."""
    if status == 429 and b"monthly limit" in body:
        return f"{name} takes no more messages this month: the plan of its account has no more"
    if status == 400 and (b"'to'" in body or b"Failed to send messages" in body):
        return f"{name} knows nobody under its to: check it, and that the bot is in that chat"
    return ""


# apprise, https://github.com/caronc/apprise

_APPRISE_TITLE_CHARS = 250
_APPRISE_CHARS = 4_000
"""What a service does not take of it, apprise cuts or sends as a second message."""

_APPRISE_ROOM = 2_000


class AppriseCall(msgspec.Struct, frozen=True, kw_only=True):
    """What the command ``apprise`` is told, beside the address."""

    kind: str
    """As its ``--notification-type``."""
    title: str
    body: str


def apprise_call(message: Message) -> AppriseCall:
    """The first line as the title, where there are others below it; plain text, from which apprise
    makes what the service wants; the level as the kind. It knows no messages without a sound."""
    head, *rest = plain_lines(unbroken(message.plain))
    kinds = {Level.WATCH: "info", Level.ALERT: "warning", Level.CRITICAL: "failure"}
    return AppriseCall(
        kind="info" if message.turn is Turn.CLOSE else kinds[message.level],
        title=fitted_lines([head], _plain, utf16, _APPRISE_TITLE_CHARS) if rest else "",
        body=fitted_lines(rest or [head], _plain, utf16, _APPRISE_CHARS),
    )


# All of them.


def room_of(service: Service) -> tuple[int, Callable[[str], int]]:
    """A text of so many units fits into one message there, and how those are counted."""
    form = SERVICES.get(service)
    return (form.room, form.units) if form else (_APPRISE_ROOM, utf16)


def _plain(line: Line) -> str:
    return "".join(run.text for run in line)


def _around(text: str, sign: str) -> str:
    """``text`` between two of ``sign``, which must not be beside a space."""
    inner = text.strip()
    if not sign or not inner:
        return text
    start = text.index(inner)
    return f"{text[:start]}{sign}{inner}{sign}{text[start + len(inner) :]}"


def _colour(message: Message) -> int:
    return _GREY if message.turn is Turn.CLOSE else _COLOURS[message.level]


def json_object(body: bytes) -> Mapping[str, Any]:
    """The JSON object in ``body``; an empty one where there is none."""
    try:
        value: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _has_id(body: bytes) -> bool:
    return isinstance(json_object(body).get("id"), str)


SERVICES: Mapping[Service, ServiceFormat] = {
    Service.DISCORD: ServiceFormat(
        title="Discord",
        body=discord_body,
        address=_discord_address,
        confirms=lambda body: not body or _has_id(body),
        limits=Limits(per_minute=25, gap=2_000),
        room=3_500,
        picture=PictureRow(
            address=lambda account, _: _discord_address(account), content=_discord_picture
        ),
    ),
    Service.SLACK: ServiceFormat(
        title="Slack",
        body=slack_body,
        address=lambda account: account.url,
        confirms=lambda body: body.strip() == b"ok",
        limits=Limits(per_minute=30),
        room=2_500,
    ),
    Service.NTFY: ServiceFormat(
        title="ntfy",
        body=ntfy_body,
        address=_ntfy_address,
        confirms=_has_id,
        limits=Limits(per_minute=12),
        room=3_600,
        units=utf8,
        bearer=True,
        picture=PictureRow(
            address=_ntfy_picture_address, content=lambda image, _: (image, "image/png")
        ),
    ),
    Service.LINE: ServiceFormat(
        title="LINE",
        body=line_body,
        address=_line_address,
        confirms=lambda body: body.lstrip().startswith(b"{"),
        limits=Limits(per_minute=30),
        room=3_500,
        bearer=True,
        retry_key=True,
        refuses=line_refusal,
    ),
}


def request_of(
    service: Service, message: Message, account: Account, key: str, *, markup: bool = True
) -> MessengerRequest:
    """The request that takes ``message`` there. ``key``: the same whenever the same post is sent
    again."""
    form = SERVICES[service]
    headers = _headers(form, account, "application/json; charset=utf-8")
    if form.retry_key:
        headers["X-Line-Retry-Key"] = str(uuid.uuid5(uuid.NAMESPACE_URL, key))
    content = msgspec.json.encode(form.body(message, account, markup))
    return MessengerRequest(url=form.address(account), headers=headers, content=content)


def picture_request(
    service: Service, image: bytes, caption: str, account: Account
) -> MessengerRequest | None:
    """The request that takes a PNG with a plain ``caption`` there, without a sound; None: the
    service takes none."""
    form = SERVICES[service]
    if form.picture is None:
        return None
    content, kind = form.picture.content(image, caption)
    return MessengerRequest(
        url=form.picture.address(account, caption),
        headers=_headers(form, account, kind),
        content=content,
    )


def _headers(form: ServiceFormat, account: Account, kind: str) -> dict[str, str]:
    # a connection that the server has given up meanwhile would leave in doubt what arrived
    headers = {"Content-Type": kind, "Connection": "close"}
    if form.bearer and account.token:
        headers["Authorization"] = f"Bearer {account.token}"
    return headers
