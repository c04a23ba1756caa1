"""A second opinion on our requests: somebody else's strict emulator of the Bot API.

What it does not have, and so cannot say anything about: channels and names (every chat is private),
getChat, link_preview_options, message_thread_id, floods, lost answers, checks of markup, and
whether the message of an edit or a reply exists. Our own fake has all of those.
"""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from bot.delivery.sinks import Edited, OutcomeUnknown, Refused
from bot.delivery.sinks.telegram import TelegramClient
from bot.destination import TelegramChat
from tests.bot.delivery.test_sender_pictures import PNG
from tests.bot.fake_telegram import TOKEN
from tests.bot.posts import message

emulators = pytest.importorskip(
    "lo_bot_api_emulator", reason="lo-bot-api-emulator is not installed"
)
CHAT = -1001234567890


@pytest.fixture
async def emulator() -> AsyncIterator[tuple[object, str]]:
    server = emulators.LoBotApiEmulator()
    runner = web.AppRunner(server.app(), shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield server, f"http://{host}:{port}"
    await runner.cleanup()


@pytest.fixture
async def sink(emulator) -> AsyncIterator[TelegramClient]:
    telegram = TelegramClient(TOKEN, emulator[1], read_timeout=1, connect_timeout=1)
    telegram._preview = None  # one of the gaps
    yield telegram
    await telegram.close()


def methods(emulator) -> list[tuple[str, int]]:
    return [(request["method"], request["status"]) for request in emulator[0].requests]


async def test_sends_replies_edits_and_deletions_are_understood(emulator, sink):
    to = TelegramChat(CHAT)
    first = await sink.send(to, message("<b>BTC</b> −5% &amp; more"))
    assert first.message_id is not None
    reply = await sink.send(to, message("quiet"), reply_to=first.message_id)
    assert reply.message_id == first.message_id + 1
    assert await sink.send(to, message("plain"), markup=False)
    edited = await sink.edit(to, first.message_id, message("<b>BTC</b> −6%"))
    assert edited is Edited.CHANGED
    await sink.delete(to, reply.message_id)
    assert methods(emulator) == [
        ("sendMessage", 200),
        ("sendMessage", 200),
        ("sendMessage", 200),
        ("editMessageText", 200),
        ("deleteMessage", 200),
    ]


async def test_a_picture_in_answer_to_a_post_is_understood(emulator, sink):
    to = TelegramChat(CHAT)
    first = await sink.send(to, message("BTC"))
    assert first.message_id is not None
    picture = await sink.picture(to, PNG, "<b>BTC</b>", reply_to=first.message_id)
    assert picture.message_id == first.message_id + 1
    assert methods(emulator) == [("sendMessage", 200), ("sendPhoto", 200)]


async def test_empty_and_overlong_texts_are_refused_as_our_fake_does(sink):
    for text in ("", "x" * 4_097):
        with pytest.raises(Refused):
            await sink.send(TelegramChat(CHAT), message(text), markup=False)
    assert await sink.send(TelegramChat(CHAT), message("x" * 4_096), markup=False)


async def test_the_known_gaps(emulator, sink):
    """When one of these is closed, the note above can be shorter."""
    with pytest.raises((Refused, OutcomeUnknown)):
        await sink.check(TelegramChat(CHAT))
    with pytest.raises(Refused, match="not supported yet"):
        await sink.send(TelegramChat(CHAT, 7), message("x"))
    assert await sink.send(TelegramChat(CHAT), message("<b>bad"))
    assert await sink.edit(TelegramChat(CHAT), 99, message("x")) is Edited.CHANGED
