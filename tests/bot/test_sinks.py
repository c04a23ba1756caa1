"""Sinks against a server that fails in every way, and a stream."""

import io
import logging
import socket
from collections.abc import AsyncIterator

import pytest

from bot.messages import Message
from bot.sinks import Later, Receipt, Refused, Sink, Uncertain
from bot.sinks.console import Console
from bot.sinks.telegram import Telegram
from rules.alerts import Level, Turn
from tests.bot.fake_telegram import CHANNEL, CHANNEL_NAME, MOVED_TO, TOKEN, FakeTelegram, Fault

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


@pytest.fixture
async def fake() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram() as server:
        yield server


@pytest.fixture
async def sink(fake: FakeTelegram) -> AsyncIterator[Telegram]:
    telegram = Telegram(TOKEN, CHANNEL, fake.url, read_timeout=0.3, connect_timeout=0.3)
    yield telegram
    await telegram.close()


def other(fake: FakeTelegram, token: str = TOKEN, chat: int | str = CHANNEL) -> Telegram:
    return Telegram(token, chat, fake.url, read_timeout=0.3, connect_timeout=0.3)


async def test_a_message_arrives_as_html_with_sound_and_without_preview(fake, sink):
    receipt = await sink.send(message())
    assert receipt == Receipt(chat=CHANNEL, message_id=1)
    assert [(p.text, p.silent) for p in fake.posted] == [("🟠 A&B −5%", False)]
    method, given = fake.requests[-1]
    assert method == "sendMessage"
    assert '"is_disabled": true' in given["link_preview_options"]


async def test_a_silent_message_makes_no_sound(fake, sink):
    await sink.send(message(silent=True))
    assert fake.posted[0].silent


async def test_a_channel_may_be_given_by_name(fake):
    sink = other(fake, chat=CHANNEL_NAME)
    await sink.send(message())
    assert fake.posted[0].chat == CHANNEL
    await sink.close()


async def test_check_names_the_bot_and_the_channel(sink):
    assert await sink.check() == "Telegram: @lowtide_bot posts to Lowtide"


@pytest.mark.parametrize(("fault", "seconds"), [(Fault.FLOOD, 7), (Fault.FLOOD_LONG, 10072)])
async def test_flood_control_means_later(fake, sink, fault, seconds):
    fake.faults.append(fault)
    with pytest.raises(Later) as caught:
        await sink.send(message())
    assert caught.value.seconds == seconds
    assert fake.posted == []


@pytest.mark.parametrize(
    ("fault", "posts"),
    [
        (Fault.SLOW, 1),
        (Fault.DROPPED_AFTER, 1),
        (Fault.HTML_AFTER, 1),
        (Fault.DROPPED_BEFORE, 0),
        (Fault.BAD_GATEWAY, 0),
    ],
)
async def test_a_lost_answer_is_uncertain_and_never_sent_twice(fake, sink, fault, posts):
    fake.faults.append(fault)
    with pytest.raises(Uncertain) as caught:
        await sink.send(message())
    assert "no clear answer from Telegram" in str(caught.value)
    assert len(fake.posted) == posts
    assert len(fake.requests) == 1


async def test_a_server_that_cannot_be_reached_means_later():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sink = Telegram(TOKEN, CHANNEL, f"http://127.0.0.1:{port}", 0.3, 0.3)
    with pytest.raises(Later) as caught:
        await sink.send(message())
    assert 0 < caught.value.seconds <= 60
    await sink.close()


@pytest.mark.parametrize(
    ("fault", "words", "fatal"),
    [
        (Fault.KICKED, 'administrator of the channel with the right "Post messages"', True),
        (Fault.NO_RIGHTS, 'give it the right "Post messages"', True),
        (Fault.UNAUTHORIZED, "get a new one from @BotFather", True),
        (Fault.NOT_FOUND, "get a new one from @BotFather", True),
        (Fault.TOO_LONG, "telegram refuses the message: message is too long", False),
    ],
)
async def test_refusals_say_what_to_do(fake, sink, fault, words, fatal):
    fake.faults.append(fault)
    with pytest.raises(Refused) as caught:
        await sink.send(message())
    assert words in caught.value.reason.lower() or words in caught.value.reason
    assert caught.value.fatal is fatal
    assert fake.posted == []


async def test_an_unknown_chat_is_refused_with_advice(fake):
    sink = other(fake, chat="@nobody")
    for attempt in (sink.check, lambda: sink.send(message())):
        with pytest.raises(Refused, match=r"check channel\.chat_id in config\.toml") as caught:
            await attempt()
        assert caught.value.fatal
    await sink.close()


@pytest.mark.parametrize("text", ["<b>open", "1 < 2", "AT&T", "<x>a</x>"])
async def test_refused_markup_goes_out_as_plain_text(fake, sink, text):
    receipt = await sink.send(message(text))
    assert receipt.message_id == 1
    assert [p.text for p in fake.posted] == ["🟠 A&B −5%\nsecond line"]
    assert len(fake.requests) == 2


async def test_plain_text_that_is_refused_too_is_given_up(fake, sink):
    fake.faults.extend([Fault.MARKUP, Fault.TOO_LONG])
    with pytest.raises(Refused) as caught:
        await sink.send(message())
    assert not caught.value.fatal
    assert len(fake.requests) == 2


async def test_a_moved_chat_is_followed(fake, sink):
    fake.faults.append(Fault.MIGRATED)
    with pytest.raises(Later) as caught:
        await sink.send(message())
    assert caught.value.seconds == 0
    assert str(MOVED_TO) in caught.value.reason
    assert (await sink.send(message())).chat == MOVED_TO


async def test_the_token_is_in_no_log_and_no_error(fake, caplog, capsys):
    caplog.set_level(logging.INFO)
    wrong = "987654321:AA" + "Wrong" * 7
    sinks = [other(fake, token=wrong), other(fake)]
    told = list[str]()
    for sink in sinks:
        for fault in [Fault.UNAUTHORIZED, Fault.BAD_GATEWAY, Fault.DROPPED_BEFORE, None]:
            fake.faults.clear()
            fake.faults.extend([fault] if fault else [])
            for attempt in (sink.check, lambda sink=sink: sink.send(message())):
                try:
                    await attempt()
                except (Later, Refused, Uncertain) as error:
                    told.append(f"{error} {error!r} {error.__cause__}")
        await sink.close()
    captured = capsys.readouterr()
    everything = "\n".join([*told, caplog.text, captured.out, captured.err])
    assert told
    assert wrong not in everything
    assert TOKEN not in everything


async def test_the_console_prints_the_time_in_front_and_a_blank_line_behind():
    out = io.StringIO()
    console: Sink = Console(out)
    assert await console.check() == "the console"
    assert await console.send(message()) == Receipt()
    await console.send(message())
    await console.close()
    once = "2026-10-03 08:00:00  🟠 A&B −5%\n    second line\n\n"
    assert out.getvalue() == once * 2


async def test_the_console_uses_colour_on_a_terminal_only():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    await Console(out).send(message())
    assert "\033[1m\033[33m🟠 A&B −5%\033[0m" in out.getvalue()


async def test_the_fake_answers_edits_as_telegram_does(fake, sink):
    await sink.send(message())
    bot = sink._bot
    with pytest.raises(Exception, match="not modified"):
        await bot.edit_message_text(message().html, CHANNEL, 1, parse_mode="HTML")
    with pytest.raises(Exception, match="to edit not found"):
        await bot.edit_message_text("x", CHANNEL, 2)
    await bot.edit_message_text("new", CHANNEL, 1)
    assert fake.posted[0].text == "new"
