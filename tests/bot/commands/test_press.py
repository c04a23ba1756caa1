"""Buttons under a post: checked as commands are, answered at once, never an exception."""

import asyncio
import re
import struct
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from bot.commands import store
from bot.commands.parsing import Command, link, parse
from bot.commands.press import MUTE_FOR, action_of, commands_of
from bot.commands.telegram import PRESS_S
from bot.commands.updates import MessageChat
from bot.config import Secret, Settings
from bot.messages.blocks import POPUP_CHARS, fitted_popup
from bot.messages.voice import Html
from bot.pictures.maker import PictureMaker
from bot.pictures.request import PictureRequest
from bot.plan.planner import ButtonAction
from bot.plan.subscriptions import Subscriber
from rules import alerts
from rules.alerts import EpisodeKey
from streams.bus.connection import Keys
from streams.durations import DAY, HOUR
from streams.events import Ms
from tests.bot import asked
from tests.bot.asked import ANN, BOB
from tests.bot.fake_telegram import TOKEN
from tests.bot.fake_updates import CHANNEL, OPERATORS, OTHER_GROUP, FakeUpdates, Popup, Sent
from tests.bot.serving import served

POST = 5
"""The number of a post that is known, in the chats that have one."""

OPENED: Ms = asked.NOW - HOUR
EPISODES = (EpisodeKey("oi_drop:1h", "BTC", OPENED), EpisodeKey("liq_burst", "BTC", OPENED))
STRANGER = 99
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8) + struct.pack(">II", 4, 4)


def known(chat: MessageChat, message: int) -> Sequence[EpisodeKey]:
    return EPISODES if message == POST and chat.id in (CHANNEL, OPERATORS, ANN, BOB) else ()


@pytest.fixture
async def fake() -> AsyncIterator[FakeUpdates]:
    async with FakeUpdates() as server:
        for user in (ANN, BOB, STRANGER):
            server.chats[user] = {"type": "private", "first_name": "Ann"}
        yield server


@pytest.fixture
def configured(tmp_path: Path, fake: FakeUpdates) -> Settings:
    settings = asked.settings(tmp_path)
    return msgspec.structs.replace(settings, token=Secret(TOKEN), api_url=fake.url)


@pytest.fixture
async def bot(fake: FakeUpdates, configured: Settings, redis: Redis) -> AsyncIterator[FakeUpdates]:
    """The commands are answered, and something has happened that can be asked about."""
    now = int(time.time() * 1000)
    standing = msgspec.structs.replace(asked.STANDING, seen=now)
    await redis.set(Keys().standing, msgspec.msgpack.encode(standing))
    turn = asked.EPISODE[0]
    for key in EPISODES:
        alert = msgspec.structs.replace(
            turn, id=key.turn(1), rule=key.rule, opened_at=OPENED, asset=key.subject
        )
        await redis.xadd(Keys().alerts, {"a": alerts.encode(alert)})
    async with served(configured, redis, episodes=known):
        fake.say("/rules", user=ANN)
        await fake.until(1, 60)  # what comes from now on has not waited
        fake.sent.clear()
        yield fake


async def pressed(bot: FakeUpdates, data: object, chat: int, user: int, **more: object) -> Popup:
    number = more.pop("number", POST)
    assert isinstance(number, int)
    return await bot.popup(bot.press(data, chat, number, user, **more))  # pyright: ignore[reportArgumentType]


async def test_who_may_ask_gets_the_reason_over_the_channel(bot: FakeUpdates):
    popup = await pressed(bot, "why", CHANNEL, BOB)
    assert "oi_drop:1h on BTC" in popup.text
    assert 20 < len(popup.text) <= POPUP_CHARS and "<" not in popup.text
    assert not bot.sent


@pytest.mark.parametrize("chat", [OPERATORS, BOB])
async def test_where_messages_are_answered_the_whole_of_it_is_sent(bot: FakeUpdates, chat: int):
    popup = await pressed(bot, "why", chat, BOB)
    assert popup.text == ""
    (answer,) = await bot.until(1, 60)
    assert answer.chat == chat and "oi_drop:1h on BTC" in answer.text
    assert len(answer.text) > POPUP_CHARS


def picture(asset: str, metric: str) -> bytes:
    """What is taken for a PNG, and says what it shows."""
    return PNG + f"{asset} {metric}".encode()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Pictures are made once this is set, as it is."""
    go = asyncio.Event()
    go.set()

    async def make(_: PictureMaker, request: PictureRequest, *, asked: bool = False) -> bytes:
        assert asked
        await go.wait()
        return picture(request.subject.asset, request.subject.metric)

    monkeypatch.setattr(PictureMaker, "make", make)
    return go


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("chat", [OPERATORS, BOB])
async def test_the_picture_of_a_post_answers_it(bot: FakeUpdates, chat: int):
    popup = await pressed(bot, "chart", chat, BOB)
    assert (popup.text, popup.url) == ("", "")
    (answer,) = await bot.until(1, 60)
    assert answer.photo == picture("BTC", "oi_net_1h_pct") and answer.chat == chat
    assert answer.reply_to == POST and "In the picture" in answer.text
    assert answer.text == (await answered(bot, "/chart BTC oi_drop:1h 7d")).text


async def answered(bot: FakeUpdates, text: str) -> Sent:
    """The answer to ``text``."""
    before = len(bot.sent)
    bot.say(text, user=BOB)
    return (await bot.until(before + 1, 60))[-1]


@pytest.mark.usefixtures("drawn")
async def test_readers_of_a_channel_get_it_in_their_own_chat(bot: FakeUpdates):
    popup = await pressed(bot, "chart", CHANNEL, BOB)
    assert popup.text == "" and not bot.sent, "nothing is posted for one of many"
    parameter = popup.url.partition("?start=")[2]
    answer = await answered(bot, f"/start {parameter}")
    assert answer.photo == picture("BTC", "oi_net_1h_pct") and answer.chat == BOB


async def test_pictures_of_a_chat_are_drawn_one_at_a_time(bot: FakeUpdates, drawn: asyncio.Event):
    drawn.clear()
    first = bot.press("chart", OPERATORS, POST, ANN)
    await bot.popup(first)
    assert "drawn here already" in (await pressed(bot, "chart", OPERATORS, BOB)).text
    assert (await pressed(bot, "chart", BOB, BOB)).text == "", "that of another chat"
    drawn.set()
    sent = await bot.until(2, 60)
    assert {answer.chat for answer in sent} == {OPERATORS, BOB}
    assert (await pressed(bot, "chart", OPERATORS, BOB)).text == ""
    await bot.until(3, 60)


async def test_a_picture_that_is_late_is_said_to_be(
    bot: FakeUpdates, drawn: asyncio.Event, monkeypatch: pytest.MonkeyPatch
):
    drawn.clear()
    monkeypatch.setattr("bot.commands.telegram.PICTURE_S", 0.05)
    popup = await pressed(bot, "chart", OPERATORS, BOB)
    assert popup.text == "" and popup.s < PRESS_S
    (answer,) = await bot.until(1, 60)
    assert not answer.photo and "could not be made" in answer.text and "BTC" in answer.text


@pytest.mark.usefixtures("drawn")
async def test_a_picture_is_refused_as_a_command_is(
    fake: FakeUpdates, configured: Settings, redis: Redis
):
    operators = msgspec.structs.replace(configured.operators, everyone=False)
    closed = msgspec.structs.replace(configured, operators=operators)
    async with served(closed, redis, episodes=known):
        popup = await pressed(fake, "chart", CHANNEL, STRANGER)
        assert str(STRANGER) in popup.text and not popup.url
        link_of = link("lowtide_bot", Command("chart", ("BTC", "oi_drop:1h")))
        fake.say(f"/start {link_of.partition('?start=')[2]}", user=STRANGER)
        (answer,) = await fake.until(1, 60)
        assert str(STRANGER) in answer.text and not answer.photo


async def test_who_is_new_subscribes_with_a_button(bot: FakeUpdates, redis: Redis):
    hello = await answered(bot, "/start")
    assert hello.buttons == (("Subscribe: BTC, ETH", "subscribe"),)
    presses = [bot.press("subscribe", BOB, len(bot.sent), BOB) for _ in range(2)]
    assert [(await bot.popup(press)).text for press in presses] == ["", ""]
    answer = (await bot.until(2, 60))[-1]
    assert answer.chat == BOB and "BTC, ETH" in answer.text
    (kept,) = await store.subscriptions(redis)
    assert (kept.user, kept.wants) == (BOB, {"*": ("BTC", "ETH")})
    assert (await answered(bot, "/start")).buttons == (), "nobody is asked twice"
    assert len(bot.sent) == 3


@pytest.mark.parametrize(
    ("chat", "text"), [(CHANNEL, "our own chat"), (OPERATORS, "our own chat"), (None, "own chat")]
)
async def test_nobody_subscribes_but_in_private(
    bot: FakeUpdates, redis: Redis, chat: int | None, text: str
):
    more: dict[str, object] = {} if chat else {"message": None}
    assert text in (await pressed(bot, "subscribe", chat or BOB, BOB, **more)).text
    assert not await store.subscriptions(redis)


async def test_who_comes_when_all_places_are_taken_is_offered_nothing(
    bot: FakeUpdates, redis: Redis
):
    hello = await answered(bot, "/start")
    assert hello.buttons
    for user in (1, 2):
        await store.save_subscription(redis, Subscriber(user=user, wants={"*": ("BTC",)}))
    assert (await answered(bot, "/start")).buttons == ()
    popup = await pressed(bot, "subscribe", BOB, BOB)
    assert popup.text == ""
    assert "no room for more" in (await bot.until(3, 60))[-1].text
    assert len(await store.subscriptions(redis)) == 2


async def test_a_subscription_that_waited_for_the_bot_is_asked_for_again(
    fake: FakeUpdates, configured: Settings, redis: Redis
):
    press = fake.press("subscribe", BOB, 3, BOB)
    async with served(configured, redis, episodes=known):
        assert "press again" in (await fake.popup(press)).text
    assert not await store.subscriptions(redis)


async def test_an_operator_mutes_all_rules_of_the_post_for_an_hour(bot: FakeUpdates, redis: Redis):
    before = int(time.time() * 1000)
    popup = await pressed(bot, "mute", CHANNEL, ANN)
    assert "oi_drop" in popup.text and "liq_burst" in popup.text
    kept = await store.silences(redis)
    assert [(s.family, s.asset, s.by) for s in kept] == [
        ("oi_drop", "BTC", f"@user{ANN}"), ("liq_burst", "BTC", f"@user{ANN}"),
    ]  # fmt: skip
    after = int(time.time() * 1000)
    assert all(before + HOUR <= s.until <= after + HOUR for s in kept)
    (notice,) = await bot.until(1, 60)  # the other operators hear of it
    assert notice.chat == OPERATORS and f"@user{ANN}" in notice.text


async def test_a_double_tap_is_answered_and_does_nothing_more(bot: FakeUpdates, redis: Redis):
    presses = [bot.press("why", OPERATORS, POST, ANN) for _ in range(3)]
    texts = [(await bot.popup(press)).text for press in presses]
    assert texts == ["", "", ""]
    presses = [bot.press("mute", OPERATORS, POST, ANN) for _ in range(2)]
    first, second = [(await bot.popup(press)).text for press in presses]
    assert first and not second
    await bot.until(2, 60)
    await bot.read(60)
    assert len(bot.sent) == 2  # what /why says, and what operators hear
    assert len(await store.silences(redis)) == 2


async def test_who_may_not_is_refused(bot: FakeUpdates, configured: Settings, redis: Redis):
    popup = await pressed(bot, "mute", CHANNEL, BOB)
    assert popup.text.startswith("Sorry, only operators")
    assert not await store.silences(redis) and not bot.sent


async def test_strangers_are_refused_where_only_operators_may_ask(
    fake: FakeUpdates, configured: Settings, redis: Redis
):
    operators = msgspec.structs.replace(configured.operators, everyone=False)
    closed = msgspec.structs.replace(configured, operators=operators)
    async with served(closed, redis, episodes=known):
        for data in ("why", "mute"):
            popup = await pressed(fake, data, CHANNEL, STRANGER)
            assert str(STRANGER) in popup.text
    assert not fake.sent and not await store.silences(redis)


@pytest.mark.parametrize(
    ("data", "more", "text"),
    [
        ("Chart", {}, "not known any more"),
        ("why extra", {}, "not known any more"),
        ("", {}, "not known any more"),
        ("x" * 4_000, {}, "not known any more"),
        (None, {}, "not known any more"),
        ("why", {"number": 4}, "too old"),  # an old post, or one of somebody else
        ("mute", {"message": None}, "too old"),
        ("why", {"game_short_name": "x", "inline_message_id": "y"}, "oi_drop"),
    ],
)
async def test_whatever_is_pressed_is_answered(
    bot: FakeUpdates, redis: Redis, data: object, more: dict[str, object], text: str
):
    assert text in (await pressed(bot, data, CHANNEL, ANN, **more)).text
    assert not await store.silences(redis)


async def test_a_post_that_was_forwarded_is_no_post_of_ours(bot: FakeUpdates):
    assert "too old" in (await pressed(bot, "why", OTHER_GROUP, BOB)).text


@pytest.mark.parametrize(
    "more",
    [
        {"id": 7}, {"id": ""}, {"from": None}, {"from": {"id": 10**30}},
        {"message": {"message_id": "x", "chat": {"id": 1, "type": "private"}}}, {"message": []},
    ],
)  # fmt: skip
async def test_what_cannot_be_read_costs_nothing_else(bot: FakeUpdates, more: dict[str, object]):
    bot.press("why", CHANNEL, POST, BOB, **more)  # pyright: ignore[reportArgumentType]
    assert "oi_drop" in (await pressed(bot, "why", CHANNEL, BOB)).text


async def test_what_waited_for_the_bot_changes_nothing(
    fake: FakeUpdates, configured: Settings, redis: Redis
):
    """Nothing says how old a press is: those of before the start may be of yesterday."""
    mute, why = fake.press("mute", CHANNEL, POST, ANN), fake.press("why", CHANNEL, POST, BOB)
    async with served(configured, redis, episodes=known):
        assert "press again" in (await fake.popup(mute)).text
        assert (await fake.popup(why)).text
    assert not await store.silences(redis)


async def test_one_that_telegram_takes_no_answer_to_stops_nothing(bot: FakeUpdates):
    old = bot.press("why", CHANNEL, POST, BOB)
    bot.pressed.pop(old)
    assert "oi_drop" in (await pressed(bot, "why", CHANNEL, ANN)).text


async def test_operators_hear_of_what_was_muted_though_the_presser_does_not(
    bot: FakeUpdates, redis: Redis
):
    bot.pressed.pop(bot.press("mute", CHANNEL, POST, ANN))
    (notice,) = await bot.until(1, 60)
    assert notice.chat == OPERATORS and f"@user{ANN}" in notice.text
    assert len(await store.silences(redis)) == 2 and not bot.popups


async def test_too_many_presses_are_said_to_be_too_many_once(bot: FakeUpdates):
    texts = [(await pressed(bot, "why", CHANNEL, BOB, number=n)).text for n in range(100, 121)]
    assert [text for text in texts if "too old" not in text] == texts[20:]
    bot.press("why", CHANNEL, 200, BOB)
    assert "oi_drop" in (await pressed(bot, "why", CHANNEL, ANN)).text
    assert len(bot.pressed) == 1


async def test_a_redis_that_hangs_does_not_keep_the_presser_waiting(
    bot: FakeUpdates, monkeypatch: pytest.MonkeyPatch
):
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(store, "silences", hang)
    monkeypatch.setattr("bot.commands.telegram.PRESS_S", 0.05)
    assert (await pressed(bot, "why", CHANNEL, BOB)).text


async def test_people_are_answered_in_their_language(bot: FakeUpdates):
    texts = [
        (await pressed(bot, "x", CHANNEL, BOB, language_code=code)).text
        for code in ("ja", "zh-hant", "fr")
    ]
    assert texts[0].startswith("このボタン") and texts[1].startswith("這個按鈕")
    assert texts[2] == "This button is not known any more."


def test_a_button_is_a_command(tmp_path: Path):
    assert PRESS_S <= 2
    assert [action_of(data) for data in ("why", "mute", "Why", "", None)] == [
        ButtonAction.WHY, ButtonAction.MUTE, None, None, None,
    ]  # fmt: skip
    settings, now = asked.settings(tmp_path), OPENED + HOUR

    def words(action: ButtonAction, *episodes: EpisodeKey, at: Ms = now) -> list[tuple[str, ...]]:
        return [command.words for command in commands_of(action, episodes, settings, at)]

    (why,) = commands_of(ButtonAction.WHY, EPISODES, settings, now)
    assert (why.name, why.words) == ("why", (str(EPISODES[0]),))
    contract = EpisodeKey("funding", "binance/BTCUSDT", OPENED)
    again = EpisodeKey("oi_drop:24h", "BTC", OPENED)
    assert words(ButtonAction.MUTE, *EPISODES, contract, again) == [
        ("oi_drop", "BTC", MUTE_FOR), ("liq_burst", "BTC", MUTE_FOR),
    ]  # fmt: skip
    assert all(len(action.encode()) <= 64 for action in ButtonAction)

    cascade, gone = EpisodeKey("cascade", "ETH", OPENED), EpisodeKey("gone", "ETH", OPENED)
    chart = ButtonAction.CHART
    assert words(chart, contract, cascade, *EPISODES) == [("BTC", "oi_drop:1h")]
    assert words(chart, cascade) == words(chart, gone) == [("ETH",)], "what tells most"
    assert words(chart, contract) == [], "a contract has no picture of its own"
    assert words(chart, EPISODES[0], at=OPENED + DAY) == [("BTC", "oi_drop:1h", "3d")]
    assert words(chart, EPISODES[0], at=OPENED + 3 * DAY) == [("BTC", "oi_drop:1h", "7d")]
    assert words(ButtonAction.SUBSCRIBE) == [("*", "BTC", "ETH")]


@given(words=st.lists(st.text("ABCoi_:1é", min_size=1, max_size=12), min_size=1, max_size=3))
def test_a_link_asks_for_the_picture_that_it_was_made_for(words: list[str]):
    chart = Command("chart", tuple(words))
    url = link("lowtide_bot", chart)
    if not url:
        assert len(" ".join(words).encode()) > 42
        return
    parameter = url.removeprefix("https://t.me/lowtide_bot?start=")
    assert re.fullmatch("[A-Za-z0-9_-]{1,64}", parameter), "what Telegram takes"
    assert parse(f"/start {parameter}", "lowtide_bot") == chart


@pytest.mark.parametrize("parameter", ["chart-", "chart-!!", "chart-_w", "chart-YSBiIGMgZA", "x"])
def test_a_link_that_somebody_has_made_up_asks_what_this_is(parameter: str):
    """Not base64, not UTF-8, no words, four of them."""
    assert parse(f"/start {parameter}", "lowtide_bot") == Command("start", (parameter,))


def test_what_is_shown_over_a_chat_fits():
    assert fitted_popup([]) == ""
    assert fitted_popup([Html("<b>a</b> &lt;b&gt;\n\nb"), Html("c")]) == "a <b>\nb\nc"
    lines = [Html("&lt;" * 90), Html("b" * 90), Html("c" * 90)]
    assert fitted_popup(lines) == "<" * 90 + "\n" + "b" * 90
    long = fitted_popup([Html("清" * 150 + "😀" * 60)])
    assert len(long.encode("utf-16-le")) // 2 <= POPUP_CHARS and long.endswith("…")
