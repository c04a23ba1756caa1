"""What each messenger is sent: its markup, its limits, its levels."""

import email
import email.policy
import html
import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.delivery.sinks.markup import utf8, utf16
from bot.delivery.sinks.services import (
    SERVICES,
    Account,
    MessengerRequest,
    picture_request,
    request_of,
)
from bot.destination import MessengerName, Service, takes_pictures
from bot.messages.blocks import plain
from bot.messages.render import MARKS, Message
from rules.alerts import Level, Turn
from tests.bot.delivery.sinks.posts import FUNDING
from tests.bot.posts import START

URLS = {
    Service.DISCORD: "https://discord.com/api/webhooks/1/abc",
    Service.SLACK: "https://hooks.slack.com/services/T/B/x",
    Service.NTFY: "https://ntfy.sh/my-topic",
    Service.LINE: "",
}
TO = "U" + "0" * 32


def message(
    text: str, level: Level = Level.ALERT, turn: Turn = Turn.OPEN, silent: bool = False
) -> Message:
    return Message(
        alert_id="id", asset="BTC", rule="r", turn=turn, level=level,
        silent=silent, html=text, plain=plain(text), at=START,
    )  # fmt: skip


def body_of(service: Service, sent: Message, markup: bool = True) -> dict[str, Any]:
    account = Account(url=URLS[service], token="tk_secret", to=TO)
    request = request_of(service, sent, account, "key", markup=markup)
    return msgspec.json.decode(request.content)


def test_discord_has_the_first_line_as_the_message_and_the_rest_in_the_level_s_colour():
    assert body_of(Service.DISCORD, message(FUNDING)) == {
        "allowed_mentions": {"parse": []},
        "content": "🟠 **BTC funding negative: −0.0031% / 8h** (−3.4% a year)",
        "embeds": [
            {
                "description": "First negative since 23 Aug (41 days). OI-weighted, 4 venues.\n"
                "Price $112,400, 24h −1.8%. Shorts now pay longs.\n"
                "\\#BTC #funding · settled <t:1791014400:t>",
                "color": 0xE67E22,
            }
        ],
    }


def test_slack_has_the_first_line_as_the_message_and_the_rest_in_the_level_s_colour():
    time = "<!date^1791014400^{time}|08:00 UTC>"
    assert body_of(Service.SLACK, message(FUNDING, Level.CRITICAL)) == {
        "unfurl_links": False,
        "unfurl_media": False,
        "text": "🟠 \u200b*BTC funding negative: −0.0031% / 8h*\u200b (−3.4% a year)",
        "attachments": [
            {
                "color": "#E74C3C",
                "blocks": [
                    {
                        "type": "section",
                        "text": {
                            "type": "mrkdwn",
                            "text": "First negative since 23 Aug (41 days). "
                            "OI-weighted, 4 venues.\n"
                            "Price $112,400, 24h −1.8%. Shorts now pay longs.\n"
                            f"#BTC #funding · settled {time}",
                        },
                    }
                ],
            }
        ],
    }


def test_ntfy_has_the_first_line_as_the_title_and_its_mark_as_a_tag():
    assert body_of(Service.NTFY, message(FUNDING)) == {
        "topic": "my-topic",
        "title": "BTC funding negative: −0.0031%\u00a0/\u00a08h (−3.4% a year)",
        "message": "First negative since 23 Aug (41 days). OI-weighted, 4 venues.\n"
        "Price $112,400, 24h −1.8%. Shorts now pay longs.\n"
        "#BTC #funding · settled 08:00 UTC",
        "priority": 4,
        "tags": ["orange_circle", "BTC"],
    }


def test_line_has_plain_text():
    assert body_of(Service.LINE, message(FUNDING)) == {
        "to": TO,
        "messages": [
            {"type": "text", "text": plain(FUNDING).replace("% / 8h", "%\u00a0/\u00a08h")}
        ],
        "notificationDisabled": False,
    }


ADDRESSES = [
    (Service.DISCORD, URLS[Service.DISCORD], f"{URLS[Service.DISCORD]}?wait=true"),
    (Service.DISCORD, "https://d/api/webhooks/1/a?thread_id=7&wait=false",
     "https://d/api/webhooks/1/a?thread_id=7&wait=true"),
    (Service.SLACK, URLS[Service.SLACK], URLS[Service.SLACK]),
    (Service.NTFY, URLS[Service.NTFY], "https://ntfy.sh/"),
    (Service.NTFY, "http://me:pw@box:8080/ntfy/alerts", "http://me:pw@box:8080/ntfy/"),
    (Service.LINE, "", "https://api.line.me/v2/bot/message/push"),
    (Service.LINE, "http://127.0.0.1:1", "http://127.0.0.1:1/v2/bot/message/push"),
]  # fmt: skip


@pytest.mark.parametrize(("service", "url", "address"), ADDRESSES)
def test_where_it_is_posted_to(service: Service, url: str, address: str):
    account = Account(url=url, token="tk", to=TO)
    assert request_of(service, message("x"), account, "key").url == address
    assert "tk" not in repr(account)


@pytest.mark.parametrize("service", SERVICES)
def test_a_token_is_sent_where_the_service_takes_one_and_the_same_post_has_the_same_key(
    service: Service,
):
    def headers(key: str, token: str) -> dict[str, str]:
        account = Account(url=URLS[service], token=token, to=TO)
        return request_of(service, message("x"), account, key).headers

    bearer = service in (Service.NTFY, Service.LINE)
    assert headers("a", "tk").get("Authorization") == ("Bearer tk" if bearer else None)
    assert "Authorization" not in headers("a", "")
    keyed = {name: value for name, value in headers("a", "tk").items() if "Key" in name}
    assert bool(keyed) is (service is Service.LINE)
    assert keyed.items() <= headers("a", "tk").items()
    assert all(headers("b", "tk")[name] != value for name, value in keyed.items())
    assert all(
        re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", x) for x in keyed.values()
    )


@pytest.mark.parametrize(
    ("level", "turn", "colour", "priority"),
    [
        (Level.WATCH, Turn.OPEN, 0xF1C40F, 3),
        (Level.ALERT, Turn.WORSE, 0xE67E22, 4),
        (Level.CRITICAL, Turn.UP, 0xE74C3C, 5),
        (Level.CRITICAL, Turn.CLOSE, 0x95A5A6, 5),
    ],
)
def test_levels_are_colours_or_priorities(level: Level, turn: Turn, colour: int, priority: int):
    sent = message("head\nfact", level, turn)
    assert body_of(Service.DISCORD, sent)["embeds"][0]["color"] == colour
    assert body_of(Service.SLACK, sent)["attachments"][0]["color"] == f"#{colour:06X}"
    assert body_of(Service.NTFY, sent)["priority"] == priority


def test_what_is_silent_makes_no_sound_where_the_service_can():
    sent = message("head", Level.CRITICAL, silent=True)
    assert body_of(Service.DISCORD, sent)["flags"] == 4096
    assert body_of(Service.NTFY, sent)["priority"] == 2
    assert body_of(Service.LINE, sent)["notificationDisabled"] is True


def test_each_mark_is_a_tag_of_ntfy_that_is_shown_as_it():
    tags = [body_of(Service.NTFY, message(f"{mark} x"))["tags"][0] for mark in MARKS.values()]
    assert tags == ["yellow_circle", "orange_circle", "red_circle"]
    assert body_of(Service.NTFY, message("⚪ x"))["tags"] == ["white_circle", "BTC"]
    assert body_of(Service.NTFY, message("x"))["tags"] == ["BTC"]


def test_one_line_alone_is_the_whole_message():
    assert "embeds" not in body_of(Service.DISCORD, message("<b>a</b>"))
    assert "attachments" not in body_of(Service.SLACK, message("<b>a</b>"))
    sent = body_of(Service.NTFY, message("🔴 <b>a</b>"))
    assert (sent["title"], sent["message"]) == ("a", "a")


# Read back by a reader of our own, each text is what a reader of Telegram sees.


def discord_read(text: str) -> str:
    return re.sub(r"\\([^0-9A-Za-z\s])|\*", lambda match: match[1] or "", text)


def slack_read(text: str) -> str:
    text = re.sub(r"<!date\^\d+\^[^|]*\|([^>]*)>", r"\1", text).replace("\u200b", "")
    text = re.sub(r"[*_`~]", "", text)
    return html.unescape(text).translate(str.maketrans("∗ˍ∼ˋ∣", "*_~`|"))


HOSTILE = st.text(st.sampled_from("ab 1.*_~`|<>[]()#-+@&\\：（中"), min_size=1, max_size=30)


@given(HOSTILE, HOSTILE)
def test_nothing_that_a_text_holds_is_markup_to_discord(bold: str, after: str):
    escaped = [html.escape(text, quote=False) for text in (bold, after)]
    sent = body_of(Service.DISCORD, message(f"x <b>{escaped[0]}</b>{escaped[1]}"))
    assert discord_read(sent["content"]) == f"x {bold}{after}"
    assert not re.search(r"<[@#t:]", sent["content"].replace("\\<", ""))
    sent = body_of(Service.DISCORD, message(f"x\n{escaped[1]}"))
    text = sent["embeds"][0]["description"]
    assert discord_read(text) == after
    assert not re.match(r"\s*([#>+-]|\d+[.)])", text)


@given(HOSTILE, HOSTILE)
def test_nothing_that_a_text_holds_is_markup_to_slack(bold: str, after: str):
    escaped = [html.escape(text, quote=False) for text in (bold, after)]
    sent = body_of(Service.SLACK, message(f"x <b>{escaped[0]}</b>{escaped[1]}"))
    assert slack_read(sent["text"]) == f"x {bold}{after}"
    bare = sent["text"].replace("\u200b", "")
    assert len(re.findall(r"[*_~`]", bare)) == (2 if bold.strip() else 0)
    assert not re.search("[<>]", bare)


@pytest.mark.parametrize("service", SERVICES)
def test_control_characters_and_turned_writing_are_escaped(service: Service):
    text = json.dumps(body_of(service, message("a\x1b[31m\u202eb\nc\x00")), ensure_ascii=False)
    assert not re.search("[\x00\u202e]|\\\\u001b|\\\\u0000", text)
    assert "x1b" in text


LIMITS = {
    Service.DISCORD: lambda body: [
        (utf16(body["content"]), 2_000),
        *((utf16(embed["description"]), 4_096) for embed in body.get("embeds", [])),
        (utf16(body["content"] + "".join(e["description"] for e in body.get("embeds", []))), 6_000),
    ],
    Service.SLACK: lambda body: [
        (utf16(body["text"]), 4_000),
        *(
            (utf16(block["text"]["text"]), 3_000)
            for attached in body.get("attachments", [])
            for block in attached["blocks"]
        ),
    ],
    Service.NTFY: lambda body: [(utf8(body["message"]), 4_096), (utf8(body["title"]), 1_000)],
    Service.LINE: lambda body: [(utf16(body["messages"][0]["text"]), 5_000)],
}


@pytest.mark.parametrize("markup", [True, False])
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    "text",
    [
        "🔴 <b>" + "漢_" * 6_000 + "</b>",
        "head\n" + "\n".join("爆倉 **" * 20 for _ in range(60)) + "\n#BTC",
        "head\n" + "<b>" + "a" * 9_000 + "</b>",
        "🪙" * 9_000,
    ],
    ids=["a long head", "many lines", "a long line", "astral signs"],
)
def test_a_text_that_is_too_long_fits_and_keeps_its_head(service: Service, text: str, markup: bool):
    body = body_of(service, message(text), markup)
    sizes = LIMITS[service](body)
    assert all(0 < size <= limit for size, limit in sizes), sizes
    first = {
        Service.DISCORD: lambda: body["content"],
        Service.SLACK: lambda: body["text"],
        Service.NTFY: lambda: body["title"],
        Service.LINE: lambda: body["messages"][0]["text"],
    }[service]()
    assert re.sub(r"[\W_]", "", plain(text))[:4] == re.sub(r"[\W_ˍ]", "", first)[:4]
    if "#BTC" in text and markup:  # the last line stays
        assert "#BTC" in json.dumps(body)


@pytest.mark.parametrize("service", [Service.DISCORD, Service.SLACK])
def test_without_markup_it_is_as_simple_as_can_be(service: Service):
    body = body_of(service, message(FUNDING), markup=False)
    text = body["content" if service is Service.DISCORD else "text"]
    assert "embeds" not in body and "attachments" not in body
    assert "**" not in text and "<t:" not in text and "<!date" not in text
    assert text.splitlines()[0] == plain(FUNDING).splitlines()[0]


def test_each_service_has_its_row():
    assert {*SERVICES, Service.APPRISE} == set(Service)
    with_pictures = {service for service, row in SERVICES.items() if row.picture is not None}
    assert with_pictures == {s for s in Service if takes_pictures(MessengerName(s))}


PICTURE_BYTES = b"\x89PNG\r\n\x1a\n--\r\n\0 and so on"
CAPTION = "画像：建玉 *1時間* & <b>"


def picture_of(service: Service, caption: str = CAPTION) -> MessengerRequest:
    account = Account(url=URLS[service], token="tk_secret", to=TO)
    request = picture_request(service, PICTURE_BYTES, caption, account)
    assert request is not None
    return request


def test_discord_gets_a_picture_as_a_file_of_a_message_that_is_silent():
    request = picture_of(Service.DISCORD)
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    form = email.message_from_bytes(head + request.content, policy=email.policy.HTTP)
    body, file = form.iter_parts()
    assert body["Content-Disposition"] == 'form-data; name="payload_json"'
    assert json.loads(body.get_content()) == {
        "content": r"画像：建玉 \*1時間\* & \<b>", "allowed_mentions": {"parse": []}, "flags": 4096,
        "attachments": [{"id": 0, "filename": "chart.png"}],
    }  # fmt: skip
    assert file["Content-Disposition"] == 'form-data; name="files[0]"; filename="chart.png"'
    assert (file.get_content_type(), file.get_content()) == ("image/png", PICTURE_BYTES)
    assert request.url == f"{URLS[Service.DISCORD]}?wait=true"


def test_ntfy_gets_a_picture_as_an_attachment_of_a_silent_message():
    request = picture_of(Service.NTFY)
    assert request.content == PICTURE_BYTES
    assert request.headers["Content-Type"] == "image/png"
    assert request.headers["Authorization"] == "Bearer tk_secret"
    address = urlsplit(request.url)
    assert address._replace(query="").geturl() == URLS[Service.NTFY]
    assert parse_qs(address.query) == {
        "filename": ["chart.png"], "message": [CAPTION], "priority": ["2"],
    }  # fmt: skip
    assert len(picture_of(Service.NTFY, "圖" * 5_000).url) < 4_000


@pytest.mark.parametrize("service", [Service.SLACK, Service.LINE])
def test_who_wants_the_address_of_a_picture_gets_none(service: Service):
    assert (
        picture_request(service, PICTURE_BYTES, CAPTION, Account(url="https://x.example")) is None
    )
