"""Sinks against a server that fails in every way, and a stream."""

import asyncio
import gzip
import io
import logging
import socket
import time
from collections.abc import AsyncIterator

import msgspec
import pytest
from telegram.error import BadRequest, Forbidden

from bot.delivery.sinks import (
    ChatInfo,
    ChatMoved,
    Edited,
    OutcomeUnknown,
    Receipt,
    RefusalScope,
    Refused,
    RetryLater,
    Sink,
)
from bot.delivery.sinks.console import Console
from bot.delivery.sinks.telegram import TelegramClient, _meaning, _Request
from bot.destination import ConsoleOutput, TelegramChat
from bot.messages.render import Button, Message
from rules.alerts import Level, Turn
from tests.bot.fake_telegram import (
    CHANNEL,
    CHANNEL_NAME,
    FORUM,
    MOVED_TO,
    PRIVATE,
    TOKEN,
    FakeTelegram,
    Fault,
)
from tests.streams.venue_server import tcp

# Said by the library at every RetryAfter; the sink silences it, pytest turns it on again.
pytestmark = pytest.mark.filterwarnings("ignore:.*retry_after.*")


def message(text: str = "🟠 <b>A&amp;B −5%</b>", silent: bool = False) -> Message:
    return Message(
        alert_id="oi_drop:BTC:1:0",
        asset="BTC",
        rule="oi_drop",
        turn=Turn.OPEN,
        level=Level.ALERT,
        silent=silent,
        html=text,
        plain="🟠 A&B −5%\nsecond line",
        at=1_791_014_400_000,
    )


HERE = TelegramChat(CHANNEL)


@pytest.fixture
async def fake() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram() as server:
        yield server


@pytest.fixture
async def sink(fake: FakeTelegram) -> AsyncIterator[TelegramClient]:
    telegram = other(fake)
    yield telegram
    await telegram.close()


def other(fake: FakeTelegram, token: str = TOKEN) -> TelegramClient:
    """More patient than any busy machine is slow."""
    return TelegramClient(token, fake.url, read_timeout=60, connect_timeout=60)


async def test_a_message_arrives_as_html_with_sound_and_without_preview(fake, sink):
    receipt = await sink.send(HERE, message())
    assert receipt == Receipt(message_id=1)
    assert [(p.text, p.silent) for p in fake.posted] == [("🟠 A&B −5%", False)]
    method, data = fake.requests[-1]
    assert method == "sendMessage"
    assert '"is_disabled": true' in data["link_preview_options"]


async def test_a_silent_message_makes_no_sound(fake, sink):
    await sink.send(HERE, message(silent=True))
    assert fake.posted[0].silent


async def test_a_channel_may_be_given_by_name(fake):
    sink = other(fake)
    receipt = await sink.send(TelegramChat(CHANNEL_NAME), message())
    assert fake.posted[0].chat == CHANNEL
    assert fake.posted[0].message_id == receipt.message_id
    await sink.close()


async def test_one_sink_serves_many_chats_and_topics(fake, sink):
    for chat, topic in ((CHANNEL, None), (PRIVATE, None), (FORUM, 7), (CHANNEL, None)):
        await sink.send(TelegramChat(chat, topic), message())
    places = [(p.chat, p.topic, p.message_id) for p in fake.posted]
    assert places == [
        (CHANNEL, None, 1), (PRIVATE, None, 1), (FORUM, 7, 1), (CHANNEL, None, 2)
    ]  # fmt: skip
    with pytest.raises(Refused, match=f"chat {FORUM} has no open topic 99") as caught:
        await sink.send(TelegramChat(FORUM, 99), message())
    assert caught.value.scope is RefusalScope.TOPIC


@pytest.mark.parametrize("chat", [FORUM, CHANNEL])
async def test_the_topic_general_is_left_out_of_a_request(fake, sink, chat):
    """Telegram finds no topic 1; a message without a topic is posted to it."""
    receipt = await sink.send(TelegramChat(chat, 1), message())
    assert [(p.chat, p.topic) for p in fake.posted] == [(chat, None)]
    assert receipt.message_id == 1
    assert all("message_thread_id" not in data for _, data in fake.requests)


async def test_a_reply_names_its_message_and_is_sent_without_it_too(fake, sink):
    await sink.send(HERE, message())
    await sink.send(HERE, message(), reply_to=1)
    await sink.send(HERE, message(), reply_to=99)
    assert [p.reply_to for p in fake.posted] == [None, 1, None]


async def test_edits_say_what_came_of_them(fake, sink):
    await sink.send(HERE, message())
    fake.foreign("hello")
    new = message("new")
    answers = [await sink.edit(HERE, number, new) for number in (1, 1, 2, 3)]
    assert answers == [Edited.CHANGED, Edited.SAME, Edited.FOREIGN, Edited.GONE]
    assert [p.text for p in fake.posted] == ["new", "hello"]


async def test_a_message_is_deleted_and_one_that_is_gone_is_fine(fake, sink):
    await sink.send(HERE, message())
    await sink.delete(HERE, 1)
    await sink.delete(HERE, 1)
    assert fake.seen() == []
    fake.foreign("hello")
    with pytest.raises(Refused):
        await sink.delete(HERE, 2)


async def test_check_names_the_bot_and_the_channel(sink):
    assert await sink.check(HERE) == ChatInfo(
        title=f"Telegram: @lowtide_bot posts to Lowtide (channel {HERE.chat})", probe=True
    )
    assert not (await sink.check(TelegramChat(PRIVATE))).probe
    assert not (await sink.check(TelegramChat(FORUM))).probe


@pytest.mark.parametrize(
    ("answer", "words", "probe"),
    [
        ({"id": -1, "type": "channel", "title": "T"}, "T (channel {})", True),
        ({"id": -1, "title": "T", "type": ["channel"]}, "T (chat {})", False),
        ({"id": -1, "type": "group", "title": {"a": 1}}, "group {}", False),
        ([], "chat {}", False),
    ],
)
async def test_what_is_missing_of_a_chat_does_not_forbid_to_post(fake, sink, answer, words, probe):
    fake.about_chat = answer
    title = f"Telegram: @lowtide_bot posts to {words.format(HERE.chat)}"
    assert await sink.check(HERE) == ChatInfo(title=title, probe=probe)


@pytest.mark.parametrize(("fault", "seconds"), [(Fault.FLOOD, 7), (Fault.FLOOD_LONG, 10072)])
async def test_flood_control_means_later(fake, sink, fault, seconds):
    fake.faults.append(fault)
    with pytest.raises(RetryLater) as caught:
        await sink.send(HERE, message())
    assert (caught.value.seconds, caught.value.flood) == (seconds, True)
    assert fake.posted == []


@pytest.mark.parametrize(
    ("fault", "posts"),
    [
        (Fault.DROPPED_AFTER, 1),
        (Fault.HTML_AFTER, 1),
        (Fault.DROPPED_BEFORE, 0),
        (Fault.BAD_GATEWAY, 0),
    ],
)
async def test_a_lost_answer_is_uncertain_and_never_sent_twice(fake, sink, fault, posts):
    fake.faults.append(fault)
    with pytest.raises(OutcomeUnknown) as caught:
        await sink.send(HERE, message())
    assert "no clear answer from Telegram" in str(caught.value)
    assert not caught.value.answered
    assert len(fake.posted) == posts
    assert len(fake.requests) == 1


async def test_an_answer_that_does_not_come_is_uncertain_and_never_sent_twice(fake):
    fake.slow_s = 60.0
    fake.faults.append(Fault.SLOW)
    sink = TelegramClient(TOKEN, fake.url, read_timeout=1, connect_timeout=60)
    with pytest.raises(OutcomeUnknown, match="no clear answer from Telegram") as caught:
        await sink.send(HERE, message())
    assert not caught.value.answered
    assert len(fake.posted) == len(fake.requests) == 1
    await sink.close()


@pytest.mark.parametrize(
    "rubbish",
    [
        b"", b"<html>proxy</html>", b'{"ok":true,"result":{"message_id":', b"[]", b"{}",
        b'{"ok":true,"result":{"message_id":"x"}}', b"\xff\x00",
    ],
)  # fmt: skip
async def test_an_answer_that_cannot_be_read_is_uncertain_and_was_one(fake, sink, rubbish):
    fake.rubbish = rubbish
    fake.faults.append(Fault.RUBBISH)
    with pytest.raises(OutcomeUnknown, match="Telegram's answer cannot be read") as caught:
        await sink.send(HERE, message())
    assert caught.value.answered
    assert len(fake.posted) == len(fake.requests) == 1


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 409])
@pytest.mark.parametrize("page", [b"<html>log in to the network</html>", b"", b"{}", b'"ok"'])
async def test_what_is_no_answer_of_telegram_refuses_no_token_chat_or_message(
    fake, sink, status, page
):
    fake.pages.append((status, page))
    with pytest.raises(OutcomeUnknown, match="a page in place of an answer") as caught:
        await sink.send(HERE, message())
    assert caught.value.answered
    assert fake.posted == []


@pytest.mark.parametrize("status", [200, 400])
async def test_an_answer_that_is_too_long_is_not_read_to_its_end(fake, sink, status):
    refusal = b'{"ok":false,"error_code":400,"description":"' + b"x" * 30_000_000 + b'"}'
    fake.pages.append((status, refusal))
    began = time.process_time()
    with pytest.raises(OutcomeUnknown, match=r"no clear answer from Telegram \(ReadError\)"):
        await sink.send(HERE, message())
    assert time.process_time() - began < 2
    await sink.send(HERE, message())
    assert len(fake.posted) == 1


async def test_of_a_long_description_the_beginning_is_looked_at(fake, sink):
    refusal = (
        b'{"ok":false,"error_code":400,"description":"Bad Request: ' + b"x" * 3_000_000 + b'"}'
    )
    fake.pages.append((400, refusal))
    with pytest.raises(Refused, match=r"x{100,180}…$") as caught:
        await sink.send(HERE, message())
    assert len(caught.value.reason) < 250
    # what is slow, such as taking secrets out, is done on this
    assert len(_Request.parse_json_payload(refusal)["description"]) <= 1_000


@pytest.mark.parametrize(
    ("head", "body", "cause"),
    [
        (b"Transfer-Encoding: chunked", b"1\r\n \r\n", "ReadTimeout"),
        (b"Content-Encoding: gzip", gzip.compress(b" " * 50_000_000), "DecodingError"),
    ],
    ids=["endless", "packed"],
)
async def test_an_answer_without_an_end_or_packed_is_uncertain(head, body, cause):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + body)
        try:
            while head.startswith(b"Transfer"):
                writer.write(body)
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            pass
        writer.close()

    async with tcp(answer) as address:
        sink = TelegramClient(TOKEN, f"http://{address}", read_timeout=0.2, connect_timeout=0.2)
        with pytest.raises(OutcomeUnknown, match=cause):
            await asyncio.wait_for(sink.send(HERE, message()), 10)
        await sink.close()


async def test_a_chat_that_has_moved_to_where_it_is_has_not_moved(fake, sink):
    fake.moves[CHANNEL] = CHANNEL
    with pytest.raises(RetryLater, match="has moved to where it is") as caught:
        await sink.send(HERE, message())
    assert caught.value.answered
    fake.moves.clear()
    await sink.send(HERE, message())
    assert len(fake.posted) == 1


async def test_too_many_requests_is_later_whoever_says_it(fake, sink):
    fake.pages.append((429, b"<html>slow down</html>"))
    with pytest.raises(RetryLater) as caught:
        await sink.send(HERE, message())
    assert (caught.value.seconds, caught.value.flood) == (30, True)


async def test_a_server_that_cannot_be_reached_means_later():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sink = TelegramClient(TOKEN, f"http://127.0.0.1:{port}")
    with pytest.raises(RetryLater) as caught:
        await sink.send(HERE, message())
    assert 0 < caught.value.seconds <= 60
    await sink.close()


@pytest.mark.parametrize(
    ("fault", "words", "scope"),
    [
        (Fault.KICKED, "is no administrator of the channel", RefusalScope.CHAT),
        (Fault.NO_RIGHTS, 'give it the right "Post messages"', RefusalScope.CHAT),
        (Fault.UNAUTHORIZED, "get a new one from @BotFather", RefusalScope.ALL),
        (Fault.NOT_FOUND, "get a new one from @BotFather", RefusalScope.ALL),
        (Fault.TOO_LONG, "telegram refuses the message: message is too long", RefusalScope.MESSAGE),
    ],
)
async def test_refusals_say_what_to_do(fake, sink, fault, words, scope):
    fake.faults.append(fault)
    with pytest.raises(Refused) as caught:
        await sink.send(HERE, message())
    assert words in caught.value.reason.lower() or words in caught.value.reason
    assert caught.value.scope is scope
    assert fake.posted == []


async def test_an_unknown_chat_is_refused_with_advice(sink):
    for attempt in (
        sink.check(TelegramChat("@nobody")),
        sink.send(TelegramChat("@nobody"), message()),
    ):
        with pytest.raises(Refused, match=r"check chat_id in the configuration") as caught:
            await attempt
        assert caught.value.scope is RefusalScope.CHAT


@pytest.mark.parametrize("text", ["<b>open", "1 < 2", "AT&T", "<x>a</x>"])
async def test_refused_markup_is_said_and_plain_text_goes_out(fake, sink, text):
    with pytest.raises(Refused) as caught:
        await sink.send(HERE, message(text))
    assert caught.value.scope is RefusalScope.MARKUP
    await sink.send(HERE, message(text), markup=False)
    assert [p.text for p in fake.posted] == ["🟠 A&B −5%\nsecond line"]


async def test_another_poller_with_the_token_is_waited_out(fake, sink):
    fake.faults.append(Fault.CONFLICT)
    with pytest.raises(RetryLater, match="serves another one with this token"):
        await sink.send(HERE, message())
    assert fake.posted == []


async def test_a_moved_chat_says_where_it_is(fake, sink):
    fake.faults.append(Fault.MIGRATED)
    with pytest.raises(ChatMoved) as caught:
        await sink.send(HERE, message())
    assert caught.value.chat == MOVED_TO
    await sink.send(TelegramChat(caught.value.chat), message())
    assert fake.posted[-1].chat == MOVED_TO


async def test_the_token_is_in_no_log_and_no_error(fake, caplog, capsys):
    caplog.set_level(logging.INFO)
    wrong = "987654321:AA" + "Wrong" * 7
    sinks = [other(fake, token=wrong), other(fake)]
    errors = list[str]()
    for sink in sinks:
        for fault in [Fault.UNAUTHORIZED, Fault.BAD_GATEWAY, Fault.DROPPED_BEFORE, None]:
            fake.faults.clear()
            fake.faults.extend([fault] if fault else [])
            for attempt in (
                lambda sink=sink: sink.check(HERE),
                lambda sink=sink: sink.send(HERE, message()),
            ):
                try:
                    await attempt()
                except (RetryLater, Refused, OutcomeUnknown) as error:
                    errors.append(f"{error} {error!r} {error.__cause__}")
        await sink.close()
    captured = capsys.readouterr()
    everything = "\n".join([*errors, caplog.text, captured.out, captured.err])
    assert errors
    assert wrong not in everything
    assert TOKEN not in everything


async def test_the_console_prints_the_time_in_front_and_a_blank_line_behind():
    out = io.StringIO()
    console: Sink = Console(out)
    assert await console.check(ConsoleOutput()) == ChatInfo(title="the console")
    assert await console.send(ConsoleOutput(), message()) == Receipt()
    await console.send(ConsoleOutput(), message())
    await console.close()
    once = "2026-10-03 08:00:00  🟠 A&B −5%\n    second line\n\n"
    assert out.getvalue() == once * 2


async def test_the_console_writes_spaces_where_messengers_break_no_line():
    out = io.StringIO()
    await Console(out).send(
        ConsoleOutput(), msgspec.structs.replace(message(), plain="≥\u00a01,500\u00a0萬美元")
    )
    assert out.getvalue() == "2026-10-03 08:00:00  ≥ 1,500 萬美元\n\n"


@pytest.mark.parametrize("sign", ["\x1b[2J", "\a", "\u202e", "\x9b31m", "\r"])
async def test_what_the_console_prints_moves_no_cursor(sign: str):
    out = io.StringIO()
    plain = f"BTC{sign}USDT fell\nETH{sign} too"
    await Console(out).send(ConsoleOutput(), msgspec.structs.replace(message(), plain=plain))
    printed = out.getvalue().split("\n")
    assert all(line.isprintable() for line in printed)
    assert len(printed) == 4
    assert "BTC" in printed[0] and "USDT fell" in printed[0] and "ETH" in printed[1]


async def test_the_console_uses_colour_on_a_terminal_unless_asked_for_none(
    monkeypatch: pytest.MonkeyPatch,
):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    out = Terminal()
    await Console(out).send(ConsoleOutput(), message())
    assert "\033[1m\033[33m🟠 A&B −5%\033[0m" in out.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    await Console(plain).send(ConsoleOutput(), message())
    assert plain.getvalue() == "2026-10-03 08:00:00  🟠 A&B −5%\n    second line\n\n"


def test_what_telegram_says_is_shown_on_one_line_without_control_characters():
    error = BadRequest("\u202e\x1b[31m evil\n[fake] line")
    refused = _meaning(error, TelegramChat(CHANNEL))
    assert refused.reason == (r"Telegram refuses the message: \u202e\x1b[31m evil\n[fake] line")
    forbidden = _meaning(Forbidden("kicked\r\n\u2066"), TelegramChat(CHANNEL))
    assert r"(kicked\r\n\u2066)" in forbidden.reason


def with_buttons(*buttons: Button, text: str = "text") -> Message:
    return msgspec.structs.replace(message(text), buttons=buttons)


async def test_buttons_are_sent_in_a_row_and_an_edit_keeps_or_changes_them(fake, sink):
    why, mute = Button("Why <&>", "why"), Button("1時間ミュート", "mute")
    receipt = await sink.send(HERE, with_buttons(why, mute))
    (post,) = fake.posted
    assert post.buttons == (("Why <&>", "why"), ("1時間ミュート", "mute"))
    number = receipt.message_id
    same = await sink.edit(HERE, number, with_buttons(why, mute))
    assert same is Edited.SAME
    assert await sink.edit(HERE, number, with_buttons(why, mute, text="x")) is Edited.CHANGED
    assert len(post.buttons) == 2
    assert await sink.edit(HERE, number, with_buttons(why, text="x")) is Edited.CHANGED
    assert post.buttons == (("Why <&>", "why"),)


async def test_requests_without_buttons_say_nothing_of_them(fake, sink):
    receipt = await sink.send(HERE, message("a"))
    await sink.edit(HERE, receipt.message_id, message("b"))
    forms = [form for method, form in fake.requests if method != "getMe"]
    assert [set(form) for form in forms] == [
        {"chat_id", "text", "parse_mode", "disable_notification", "link_preview_options"},
        {"chat_id", "message_id", "text", "parse_mode", "link_preview_options"},
    ]


@pytest.mark.parametrize("action", ["", "x" * 65, "清" * 22])
async def test_the_server_of_tests_refuses_what_no_button_may_hold(fake, sink, action: str):
    with pytest.raises(Refused):
        await sink.send(HERE, with_buttons(Button("Why", action)))
