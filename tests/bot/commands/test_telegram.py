"""Commands over the wire: a local Bot API, a real Redis, and what is told to whom."""

import asyncio
import io
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
import structlog
from redis.asyncio import Redis

from bot import logs
from bot.commands import store
from bot.commands import telegram as serving
from bot.commands import telegram as telegram_commands
from bot.commands.why import EpisodeQuery
from bot.config import Secret, Settings
from bot.config.chats import ChatSettings
from bot.delivery.pace import Limits
from bot.metriclog import MetricLog
from bot.pictures.maker import PictureFailed, PictureMaker
from bot.plan.planner import DailyTime
from bot.plan.silences import Silence, with_silence
from bot.plan.subscriptions import Subscriber
from bot.roles.rules import show
from rules import alerts
from rules.alerts import Alert, Turn
from rules.snapshot import PRICE, Observed, OpenEpisodes
from streams.bus.connection import Keys, connect
from streams.bus.health import HEALTH
from tests.bot import asked
from tests.bot.asked import ANN, BOB, HOUR, MIN, NOW
from tests.bot.fake_telegram import TOKEN
from tests.bot.fake_updates import CHANNEL, OPERATORS, OTHER_GROUP, FakeUpdates
from tests.bot.serving import served
from tests.valkey import Do, Proxy


@pytest.fixture
async def fake() -> AsyncIterator[FakeUpdates]:
    async with FakeUpdates() as server:
        yield server


@pytest.fixture
def configured(tmp_path: Path, fake: FakeUpdates) -> Settings:
    settings = asked.settings(tmp_path)
    return msgspec.structs.replace(settings, token=Secret(TOKEN), api_url=fake.url)


@pytest.fixture
def swift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polling tries again at once."""
    monkeypatch.setattr(serving, "_AGAIN_S", (0.01, 0.01))


async def know(redis: Redis) -> None:
    """The rules have just said what they see."""
    seen = msgspec.structs.replace(asked.STANDING, seen=int(time.time() * 1000))
    await redis.set(Keys().standing, msgspec.msgpack.encode(seen))


async def tell(redis: Redis, *events: Alert) -> None:
    for event in events:
        await redis.xadd(Keys().alerts, {"a": alerts.encode(event)})


async def test_a_question_in_private_is_answered(
    fake: FakeUpdates, configured: Settings, redis: Redis
):
    await know(redis)
    async with served(configured, redis):
        fake.say("/funding BTC", user=BOB)
        (answer,) = await fake.until(1)
        assert (answer.chat, answer.topic) == (BOB, None)
        assert answer.text.startswith("BTC funding −0.0031% / 8h (−3.4% a year)\n")


def record(settings: Settings, minutes: int = 120) -> None:
    """The rules have written what they saw of BTC in the last minutes."""
    now = int(time.time() * 1000) // MIN * MIN
    log = MetricLog(settings.data_dir / "metrics", 400 * 24 * HOUR, 1_000)
    for minute in range(-minutes, 1):
        row = [
            Observed(metric=PRICE, asset="BTC", value=112_400.0 + minute),
            Observed(metric="oi_net_1h_pct", asset="BTC", value=minute / 30),
        ]
        log.write(now + minute * MIN, row)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow this machine is, an answer waits for its picture."""
    monkeypatch.setattr(serving, "LATE_S", 120.0)
    monkeypatch.setattr(serving, "PICTURE_S", 60.0)
    monkeypatch.setattr("bot.pictures.maker.LIMIT_S", 60.0)


@pytest.mark.usefixtures("patient")
async def test_a_chart_is_a_picture_with_its_text_below(
    fake: FakeUpdates, configured: Settings, redis: Redis
):
    await know(redis)
    record(configured)
    async with served(configured, redis):
        fake.say("/chart BTC oi", chat=OPERATORS, message_thread_id=7, is_topic_message=True)
        fake.say("／chart　btc", user=BOB, language_code="ja")
        ours, private = await fake.until(2, seconds=60)
    assert (ours.chat, ours.topic, private.chat) == (OPERATORS, 7, BOB)
    assert len(ours.photo) > 5_000 and ours.text.startswith("BTC open interest")
    assert len(private.photo) > 5_000 and private.text.startswith("BTC 未決済建玉")
    assert ours.photo != private.photo, "the times are those of Tokyo"
    assert fake.requests.count("sendMessage") == 0


@pytest.mark.usefixtures("patient")
async def test_of_what_is_not_recorded_the_text_is_sent_and_says_so(
    fake: FakeUpdates, configured: Settings, redis: Redis
):
    await know(redis)
    async with served(configured, redis):
        fake.say("/chart BTC oi", user=BOB)
        (answer,) = await fake.until(1, seconds=60)
    assert not answer.photo
    assert answer.text.startswith("BTC open interest")
    assert "nothing of this was recorded in the last 24h" in answer.text


@pytest.mark.parametrize("trouble", ["refused", "failed", "late"])
async def test_without_its_picture_an_answer_is_a_text(
    fake: FakeUpdates,
    configured: Settings,
    redis: Redis,
    trouble: str,
    monkeypatch: pytest.MonkeyPatch,
):
    async def make(_self: PictureMaker, _request: object, *, asked: bool = False) -> bytes:
        assert asked
        if trouble == "late":
            await asyncio.sleep(600)
        raise PictureFailed("its process ended with 1")

    await know(redis)
    record(configured)
    fake.refuse_photos = trouble == "refused"
    if trouble != "refused":
        monkeypatch.setattr(PictureMaker, "make", make)
    monkeypatch.setattr(serving, "PICTURE_S", 0.05 if trouble == "late" else 60)
    monkeypatch.setattr(serving, "LATE_S", 120.0)
    monkeypatch.setattr("bot.pictures.maker.LIMIT_S", 60.0)
    async with served(configured, redis):
        fake.say("/chart BTC oi", user=BOB)
        (answer,) = await fake.until(1, seconds=60)
    assert not answer.photo
    assert answer.text.startswith("BTC open interest")
    assert "The picture could not be made now" in answer.text


async def test_the_operators_chat_is_answered_in_its_topic_and_other_chats_are_not(
    fake: FakeUpdates, configured: Settings, redis: Redis
):
    async with served(configured, redis):
        fake.say("/status", chat=OTHER_GROUP)
        fake.say("/status@other_bot", chat=OPERATORS)
        fake.say("hello", chat=OPERATORS)
        fake.say("/status", chat=OPERATORS, ago=600)
        fake.say("/status", chat=OPERATORS, kind="edited_message")
        fake.say("/status", chat=CHANNEL, kind="channel_post")
        fake.say("/rules", chat=OPERATORS, message_thread_id=7, is_topic_message=True)
        fake.say("/start@lowtide_bot", chat=OPERATORS)
        await fake.until(2)
        await fake.read()
    assert [(sent.chat, sent.topic, sent.text[:12]) for sent in fake.sent] == [
        (OPERATORS, 7, "What is judg"), (OPERATORS, None, "I tell when "),
    ]  # fmt: skip


async def shown(fake: FakeUpdates, menus: int) -> None:
    """Return once there are so many menus."""
    async with asyncio.timeout(60):
        while len(fake.menus) < menus:
            await asyncio.sleep(0.005)


async def test_the_menu_shows_what_may_be_used(
    fake: FakeUpdates, configured: Settings, redis: Redis
):
    async with served(configured, redis):
        await shown(fake, 4)
    assert "silence" not in fake.menus["default"] and "subscribe" in fake.menus["default"]
    assert "silence" in fake.menus[str(OPERATORS)]


@pytest.mark.parametrize(
    ("language_code", "start"),
    [
        ("ja", "BTC 資金調達率 −0.0031%/8時間（年率 −3.4%）"),
        ("zh-hant", "BTC 資金費率 −0.0031%/8 小時（年化 −3.4%）"),
        ("fr", "BTC funding −0.0031% / 8h (−3.4% a year)"),
        (["ja"], "BTC funding −0.0031% / 8h (−3.4% a year)"),
    ],
)
async def test_people_are_answered_in_the_language_of_their_app(
    fake: FakeUpdates, configured: Settings, redis: Redis, language_code: object, start: str
):
    await know(redis)
    async with served(configured, redis):
        fake.say("／funding　BTC", user=BOB, language_code=language_code)
        fake.say("/rules", chat=OPERATORS, language_code=language_code)
        private, ours = await fake.until(2)
        assert private.text.startswith(start)
        assert ours.text.startswith("What is judged by what"), "a group has a language of its own"


async def test_who_subscribes_gets_alerts_in_the_language_of_the_answer(
    fake: FakeUpdates, configured: Settings, redis: Redis
):
    await know(redis)
    async with served(configured, redis):
        fake.say("/subscribe oi_drop BTC", user=BOB, language_code="ja")
        await fake.until(1)
        fake.say("/subscriptions", user=BOB)  # by another app
        await fake.until(2)
        assert [sent.text.split("\n")[0] for sent in fake.sent] == [
            "個別チャットで受け取る内容"
        ] * 2
        subscription, _ = await store.subscribers(redis, BOB)
        assert subscription is not None and subscription.language == "ja"
        fake.say("/subscriptions", user=BOB, language_code="en")
        assert (await fake.until(3))[2].text.startswith("You get in private"), "his app's language"
        fake.say("/subscribe oi_drop ETH", user=BOB, language_code="zh-hant")
        assert (await fake.until(4))[3].text.startswith("私訊接收內容")
        subscription, _ = await store.subscribers(redis, BOB)
        assert subscription is not None and subscription.language == "zh-TW", "that of the answer"


async def test_operators_read_their_language_whoever_asks_in_which(
    fake: FakeUpdates, configured: Settings, redis: Redis
):
    theirs = ChatSettings(id=OPERATORS, language="zh-TW")
    configured = msgspec.structs.replace(configured, chats=(*configured.chats, theirs))
    await know(redis)
    async with served(configured, redis):
        fake.say("/silence oi_drop BTC 6h", user=ANN, language_code="ja")
        private, ours = await fake.until(2)
        assert private.text.startswith("ミュートしました：BTC の oi_drop、")
        assert ours.text.startswith("⚪ @user11 已將 BTC 的 oi_drop 靜音至 ")
        assert ours.text.endswith("（6 小時）。")
        fake.say("/rules", chat=OPERATORS, user=ANN)
        assert (await fake.until(3))[2].text.startswith("判斷規則")


async def test_menus_are_in_the_language_of_those_who_see_them(
    fake: FakeUpdates, configured: Settings, redis: Redis
):
    configured = msgspec.structs.replace(configured, language="zh-TW")
    async with served(configured, redis):
        await shown(fake, 4)
    assert fake.descriptions == {
        "default": "運作狀態、資料來源、發文情形",
        "default en": "what runs, what is heard, what is posted",
        "default ja": "稼働状況、受信、投稿の状況",
        str(OPERATORS): "運作狀態、資料來源、發文情形",
    }
    assert fake.menus["default"] == fake.menus["default ja"] == fake.menus["default en"]


async def test_silences_are_kept_told_of_and_end(
    fake: FakeUpdates, configured: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(telegram_commands, "EVERY_S", 0.02)
    late = 0

    def now() -> int:
        return int(time.time() * 1000) + late

    async with served(configured, redis, now):
        fake.say("/silence oi_drop BTC 90m", user=BOB)
        fake.say("/silence oi_drop BTC 90m", user=ANN)
        await fake.until(3)
        fake.say("/silence liq_burst * 1d", chat=OPERATORS)
        await fake.until(4)
        kept = await store.silences(redis)
        assert [(s.family, s.asset, s.by) for s in kept] == [
            ("oi_drop", "BTC", "@user11"), ("liq_burst", "*", "@user11"),
        ]  # fmt: skip
        late = 2 * HOUR
        ended = (await fake.until(5))[4]
        assert (ended.chat, ended.silent) == (OPERATORS, True)
        assert ended.text == "⚪ The silence of oi_drop on BTC is over (it was set by @user11)."
        assert len(await store.silences(redis)) == 1
    texts = [(sent.chat, sent.silent, sent.text.split(":")[0][:20]) for sent in fake.sent[:4]]
    assert sorted(texts[:3], reverse=True) + texts[3:] == [
        (BOB, False, "Sorry, only operator"),
        (ANN, False, "Silenced"),
        (OPERATORS, True, "⚪ @user11 silenced o"),
        (OPERATORS, False, "Silenced"),
    ]


async def test_a_pause_is_told_of_ends_by_itself_and_by_a_word(
    fake: FakeUpdates, configured: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(telegram_commands, "EVERY_S", 0.02)
    late = 0

    async with served(configured, redis, lambda: int(time.time() * 1000) + late):
        fake.say("/pause 30m", user=BOB)
        assert "only operators" in (await fake.until(1))[0].text
        fake.say("/silence * * 6h", chat=OPERATORS)
        await fake.until(2)
        fake.say("/pause 30m", user=ANN)
        assert "⚪ @user11 paused all posts" in (await fake.until(4))[3].text
        assert [s.critical for s in await store.silences(redis)] == [False, True]
        late = HOUR
        ended = (await fake.until(5))[4]
        assert ended.chat == OPERATORS
        assert ended.text.startswith("⚪ The pause is over (it was set by @user11)")
        late = 0
        fake.say("/pause 30m", chat=OPERATORS)
        fake.say("/resume", chat=OPERATORS)
        assert (await fake.until(7))[6].text.startswith("The pause is over.")
        assert [s.critical for s in await store.silences(redis)] == [False]


async def test_operators_get_the_status_once_a_day_at_their_time(
    fake: FakeUpdates, configured: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(telegram_commands, "EVERY_S", 0.02)
    nine = int(datetime(2026, 11, 27, 9, tzinfo=ZoneInfo("Asia/Taipei")).timestamp() * 1000)
    now = nine - 5 * MIN
    at = DailyTime(minute=9 * 60, zone="Asia/Taipei")
    operators = msgspec.structs.replace(configured.operators, status_at=at)
    settings = msgspec.structs.replace(configured, operators=operators)
    async with served(settings, redis, lambda: now):
        await asyncio.sleep(0.2)
        assert fake.sent == [], "it began long after the time of yesterday"
        now = nine + MIN
        (status,) = await fake.until(1)
        assert (status.chat, status.silent) == (OPERATORS, True)
        assert status.text.startswith("Lowtide\n")
        await asyncio.sleep(0.2)
        assert len(fake.sent) == 1
    async with served(settings, redis, lambda: now):  # a new start does not tell it again
        await asyncio.sleep(0.2)
        assert len(fake.sent) == 1
        now = nine + 24 * HOUR
        await fake.until(2)


async def test_people_subscribe_as_long_as_there_is_room(
    fake: FakeUpdates, configured: Settings, redis: Redis
):
    async with served(configured, redis):
        for user in (21, 22, 23):
            fake.say("/subscribe oi_drop BTC", user=user)
        fake.say("/subscribe liq_burst *", user=22)
        fake.say("/unsubscribe", user=21)
        fake.say("/subscribe oi_drop ETH", user=23)
        await fake.until(6)
    assert fake.sent[2].text == "Sorry, there are 2 subscribers already, and no room for more."
    assert await store.subscriptions(redis) == (
        Subscriber(user=22, wants={"oi_drop": ("BTC",), "liq_burst": ("*",)}),
        Subscriber(user=23, wants={"oi_drop": ("ETH",)}),
    )
    await store.drop_subscription(redis, 22)
    assert [subscriber.user for subscriber in await store.subscriptions(redis)] == [23]


async def test_who_is_not_an_operator_is_told_no_once(
    fake: FakeUpdates, configured: Settings, redis: Redis
):
    operators = msgspec.structs.replace(configured.operators, everyone=False)
    closed = msgspec.structs.replace(configured, operators=operators)
    async with served(closed, redis):
        for text in ("/start", "/status", "/test", "/nonsense"):
            fake.say(text, user=BOB)
        fake.say("/rules", user=ANN)
        fake.say("/rules", chat=OPERATORS, sender_chat={"id": OPERATORS, "type": "supergroup"})
        await fake.until(3)
        await fake.read()
    texts = {sent.chat: sent.text for sent in fake.sent}
    assert {chat: text[:30] for chat, text in texts.items()} == {
        BOB: "Sorry, this bot answers its op",
        ANN: "What is judged by what. Where ",
        OPERATORS: "I cannot see who you are: writ",
    }
    assert "user number is 12;" in texts[BOB]
    assert fake.menus["default"] == ["start"]


async def test_too_many_commands_are_answered_once_and_then_not(
    fake: FakeUpdates, configured: Settings, redis: Redis
):
    async with served(configured, redis):
        for _ in range(25):
            fake.say("/start", user=BOB)
        fake.say("/start", user=ANN)
        await fake.until(22)
        await fake.read()
    texts = [sent.text for sent in fake.sent if sent.chat == BOB]
    assert texts[20:] == ["That was a lot in one minute. I answer again in a minute."]
    assert [sent.chat for sent in fake.sent].count(ANN) == 1


async def test_why_looks_back_to_the_opening(fake: FakeUpdates, configured: Settings, redis: Redis):
    other = msgspec.structs.replace(asked.EPISODE[0], asset="ETH")
    old = [msgspec.structs.replace(turn, opened_at=NOW - 9 * HOUR) for turn in asked.EPISODE[:2]]
    await tell(redis, *old, asked.EPISODE[0], *([other] * 1200), *asked.EPISODE[1:])
    await redis.xadd(Keys().alerts, {"a": b"rubbish"})
    turns = await store.episode(redis, EpisodeQuery(rule="", asset="BTC"))
    assert {turn.opened_at for turn in turns} >= {asked.EPISODE[0].opened_at}
    assert turns[:2] == asked.EPISODE[:0:-1]
    assert any(turn.turn is Turn.OPEN for turn in turns)
    async with served(configured, redis, lambda: int(time.time() * 1000)):
        fake.say("/why oi_drop btc")
        (answer,) = await fake.until(1)
    assert answer.text.startswith("🟠 oi_drop:1h on BTC: open since ")
    assert answer.text.count("not known any more whether it was posted") == 2


async def test_a_test_message_goes_to_every_chat(
    fake: FakeUpdates, configured: Settings, redis: Redis
):
    async with served(configured, redis):
        fake.say("/test", chat=OPERATORS)
        await fake.until(4)
    *posts, answer = fake.sent
    assert {sent.text for sent in posts} == {"⚪ Lowtide: this is a test. Alerts will come here."}
    assert [sent.chat for sent in posts] == [CHANNEL, CHANNEL, OPERATORS]
    assert answer.text.split("\n\n") == [
        "Test messages", "posted to Lowtide", "posted to Lowtide", "posted to Ops",
    ]  # fmt: skip


async def test_a_changed_configuration_holds_for_the_next_command(
    fake: FakeUpdates, configured: Settings, redis: Redis
):
    named = msgspec.structs.replace(configured.operators, chat_id="@lowtide_ops", users=(ANN, BOB))
    used = [configured]
    async with served(lambda: used[0], redis):
        fake.say("/silence oi_drop BTC 1h", user=BOB)
        await fake.until(1)
        used[0] = msgspec.structs.replace(configured, operators=named)
        fake.say("/silence oi_drop BTC 1h", user=BOB)
        await fake.until(2)
        fake.chats[OTHER_GROUP]["username"] = "Lowtide_Ops"
        fake.say("/rules", user=BOB, chat=OTHER_GROUP)
        await fake.until(3)
    assert [sent.text[:5] for sent in fake.sent] == ["Sorry", "Silen", "What "]


async def test_without_redis_it_is_said_that_nothing_can_be_done(
    fake: FakeUpdates, configured: Settings, proxy: Proxy
):
    redis = connect(proxy.url, "test")
    proxy.fail()
    async with served(configured, redis):
        fake.say("/silence oi_drop BTC 6h")
        (answer,) = await fake.until(1)
    assert answer.text.startswith("I cannot do that now: Redis cannot be reached")
    await redis.aclose()


async def test_two_who_silence_at_once_do_not_lose_each_other(shaky: Redis, proxy: Proxy):
    async def add(n: int) -> None:
        silence = Silence(family="oi_drop", asset=f"A{n}", until=NOW)
        while True:
            try:
                await store.change_silences(shaky, lambda all_: with_silence(all_, silence))
            except (OSError, TimeoutError, store_errors):
                continue
            return

    from redis.exceptions import RedisError as store_errors

    proxy.plan.extend([Do.PASS, Do.LOSE, Do.PASS, Do.DROP] * 5)
    await asyncio.gather(*(add(n) for n in range(12)))
    assert {silence.asset for silence in await store.silences(shaky)} == {
        f"A{n}" for n in range(12)
    }


async def test_another_poller_and_a_lost_network_are_waited_out_and_said_once(
    fake: FakeUpdates, configured: Settings, redis: Redis, swift: None
):
    conflict = (409, "Conflict: terminated by other getUpdates request")
    fake.refuse.extend([conflict, conflict, None, (502, "Bad Gateway")])
    with structlog.testing.capture_logs() as entries:
        async with served(configured, redis):
            fake.say("/start")
            await fake.until(1)
    texts = [entry["event"] for entry in entries if entry["log_level"] == "warning"]
    assert texts == [
        "commands are not answered: Telegram serves another one with this token (Conflict: "
        "terminated by other getUpdates request)",
        "commands are not answered: no clear answer from Telegram (RemoteProtocolError)",
    ]  # the 502 that follows is of the same kind
    assert TOKEN not in str(entries)


async def test_it_waits_for_telegram_and_stops_while_it_waits(
    configured: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(serving, "_AGAIN_S", (0.01, 0.01))
    nowhere = msgspec.structs.replace(configured, api_url="http://127.0.0.1:1")
    with structlog.testing.capture_logs() as entries:
        async with served(nowhere, redis), asyncio.timeout(60):
            while not entries:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
    assert [entry["event"] for entry in entries] == [
        "commands are not answered: Telegram cannot be reached (ConnectError)"
    ]


async def test_a_poll_that_waits_does_not_hold_up_the_end(
    fake: FakeUpdates, configured: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    """It was refused and waits for an hour until it polls again."""
    monkeypatch.setattr(serving, "_AGAIN_S", (3_600.0, 3_600.0))
    fake.refuse.extend([(409, "Conflict: x")] * 9)
    async with asyncio.timeout(60):
        with structlog.testing.capture_logs() as entries:
            async with served(configured, redis):
                while not entries:
                    await asyncio.sleep(0.01)
    assert ["commands are not answered" in entry["event"] for entry in entries] == [True]
    assert (fake.polls, len(fake.refuse), fake.sent) == (1, 8, [])


async def test_a_token_that_is_refused_is_said_once_and_tried_again(
    fake: FakeUpdates, configured: Settings, redis: Redis, swift: None
):
    fake.token = "other"
    with structlog.testing.capture_logs() as entries:
        async with served(configured, redis):
            async with asyncio.timeout(60):
                while not entries:
                    await asyncio.sleep(0.01)
            fake.token = TOKEN
            fake.say("/start")
            await fake.until(1)
            fake.refuse.extend([(401, "Unauthorized")] * 3)  # one ended all commands for ever
            fake.say("/start")
            await fake.until(2)
            fake.say("/start")
            await fake.until(3)
    texts = [entry["event"] for entry in entries]
    refused = (
        "commands are not answered: Telegram refuses the token in TELEGRAM_BOT_TOKEN; "
        "get a new one from @BotFather"
    )
    assert texts == [refused, "commands are answered", refused, "commands are answered"]


STRANGE = [
    {"date": "yesterday"},
    {"date": 10**400},
    {"chat": {"id": 5, "type": "private", "accent": [[[]]]}, "from": {"id": "x"}},
    {"chat": None},
    {"text": {"not": "text"}},
    {"from": {"id": 11, "first_name": ["Ann"]}},
]


@pytest.mark.parametrize("strange", STRANGE, ids=lambda sent: next(iter(sent)))
async def test_a_message_that_cannot_be_read_costs_no_other(
    fake: FakeUpdates, configured: Settings, redis: Redis, strange: dict[str, object]
):
    """The library reads a batch as a whole: one such message came again and again for ever."""
    async with served(configured, redis):
        fake.say("/start", user=BOB)
        fake.garble(**strange)
        fake.say("/start")
        await fake.until(1)
        await fake.read()
    assert [sent.chat for sent in fake.sent] == [ANN]


@pytest.mark.parametrize("update", [{"message": 5}, {"update_id": 10**30}, {"update_id": "²"}, 7])
async def test_an_update_that_is_none_costs_no_other(
    fake: FakeUpdates, configured: Settings, redis: Redis, update: object
):
    async with served(configured, redis):
        fake.odd.append(update)
        fake.say("/start")
        await fake.until(1)
        await fake.read()
        fake.say("/help")
        await fake.until(2)
    assert [sent.chat for sent in fake.sent] == [ANN, ANN]
    first, second = (sent.text for sent in fake.sent)
    assert first.startswith("I tell when leverage leaves the crypto derivatives market")
    assert second.startswith("You can ask")


@pytest.mark.parametrize(
    "sign",
    [
        {"forward_origin": {"type": "user", "date": 1, "sender_user": {"id": 99}}},
        {"forward_origin": {"type": "hidden_user", "date": 1, "sender_user_name": "?"}},
        {"via_bot": {"id": 99, "is_bot": True, "first_name": "Other"}},
    ],
)
async def test_what_somebody_else_has_written_is_not_carried_out(
    fake: FakeUpdates, configured: Settings, redis: Redis, sign: dict[str, object]
):
    async with served(configured, redis):
        fake.say("/silence oi_drop BTC 6h", **sign)
        fake.say("/silence oi_drop BTC 6h", chat=OPERATORS, **sign)
        fake.say("/start")
        await fake.until(1)
        await fake.read()
        assert await store.silences(redis) == ()
    assert len(fake.sent) == 1


@pytest.mark.filterwarnings("ignore:.*retry_after.*")
@pytest.mark.parametrize("wait", [1e308, 10**40, -5, "²", "7", None, True, [1], 0, 0.5])
async def test_a_wait_that_is_none_ends_neither_polling_nor_answers(
    fake: FakeUpdates, configured: Settings, redis: Redis, swift: None, wait: object,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    monkeypatch.setattr("bot.delivery.sinks.telegram._FLOOD_PAUSE_S", 1)
    async with served(configured, redis):
        fake.parameters = {"retry_after": wait, "migrate_to_chat_id": wait}
        fake.refuse.append((429, "Too Many Requests"))
        fake.refusals[BOB] = (429, "Too Many Requests")
        fake.say("/start", user=BOB)
        async with asyncio.timeout(60):
            while fake.refuse:
                await asyncio.sleep(0.01)
        fake.parameters = {}
        fake.say("/start")
        await fake.until(1)
    assert fake.sent[0].chat == ANN


async def test_a_flood_of_questions_is_answered_at_a_pace_and_ends_at_once(
    fake: FakeUpdates, configured: Settings, redis: Redis
):
    """By the server's clock: 419 answers went out in a second for as many questions."""
    with structlog.testing.capture_logs() as entries:
        async with served(configured, redis, limits=None):
            for user in range(1_000, 3_000):
                fake.say("/status", user=user)
            await fake.read(30)
            fake.say("/status", user=ANN)  # an operator passes strangers
            async with asyncio.timeout(20):
                while ANN not in {sent.chat for sent in fake.sent}:
                    await asyncio.sleep(0.01)
        # served() has asserted that it stopped within 2 s
    assert busiest(fake.times) <= Limits().overall
    assert 10 < len(fake.sent) < 500
    (left_out,) = [entry for entry in entries if "left out" in entry["event"]]
    assert left_out["so_far"] == 1


async def test_one_chat_that_asks_a_lot_holds_up_no_other(
    fake: FakeUpdates, configured: Settings, redis: Redis
):
    async with served(configured, redis, limits=None):
        for _ in range(15):
            fake.say("/start", user=BOB)
        fake.say("/start", user=ANN)
        async with asyncio.timeout(20):
            while ANN not in {sent.chat for sent in fake.sent}:
                await asyncio.sleep(0.01)
        assert len(fake.sent) <= 4
    times = [
        at for at, sent in zip(fake.times, fake.requests, strict=True) if sent == "sendMessage"
    ]
    assert busiest(times) <= 3


def busiest(times: list[float]) -> int:
    """The most of ``times`` within a second."""
    return max(sum(at <= other < at + 0.99 for other in times) for at in times)


async def test_the_token_is_in_no_log(
    fake: FakeUpdates, configured: Settings, redis: Redis, swift: None
):
    stream = io.StringIO()
    logs.configure("DEBUG", stream)
    try:
        fake.refuse.extend([(409, "Conflict: x"), None])
        async with served(configured, redis):
            fake.say("/status")
            fake.say("/silence oi_drop BTC")
            await fake.until(2)
    finally:
        logs.configure("WARNING")
        structlog.reset_defaults()
    assert "commands are answered" in stream.getvalue()
    assert TOKEN not in stream.getvalue()


async def test_an_answer_that_cannot_be_sent_does_not_stop_the_next(
    fake: FakeUpdates, configured: Settings, redis: Redis
):
    async with served(configured, redis):
        fake.say("/start", user=BOB)
        fake.refusals[BOB] = (403, "Forbidden: bot was blocked by the user")
        fake.say("/start", user=ANN)
        assert (await fake.until(1))[0].chat == ANN


async def test_a_bug_is_said_and_does_not_stop_the_next(
    fake: FakeUpdates, configured: Settings, redis: Redis
):
    await redis.set(Keys().subscribers, b"no hash")  # WRONGTYPE
    await redis.set(Keys().standing, b"rubbish")
    async with served(configured, redis):
        fake.say("/status")
        assert "I cannot do that now: Redis refused a command" in (await fake.until(1))[0].text
        await redis.delete(Keys().subscribers)
        fake.say("/status")
        assert "rules: not running" in (await fake.until(2))[1].text


async def test_what_is_kept_wrong_counts_as_nothing(redis: Redis):
    await redis.set(Keys().snapshot("silences"), b"rubbish")
    await redis.hset(Keys().subscribers, "5", b"rubbish")  # pyright: ignore
    await redis.set(Keys().episodes, b"rubbish")
    assert await store.silences(redis) == ()
    assert await store.subscriptions(redis) == ()
    assert await store.open_episodes(redis) is None


async def test_what_is_open_is_found_where_the_rules_put_it(redis: Redis):
    episodes = OpenEpisodes(
        seen=NOW, episodes=asked.STANDING.episodes[:1], stale=asked.STANDING.episodes[1:]
    )
    assert await store.open_episodes(redis) is None
    showing = asyncio.create_task(show(redis, Keys().episodes, lambda: episodes, every_s=0))
    try:
        async with asyncio.timeout(60):
            while (read := await store.open_episodes(redis)) is None:
                await asyncio.sleep(0)
    finally:
        showing.cancel()
    assert read == episodes
    await store.change_silences(redis, lambda all_: (*all_, Silence(family="a", asset="B",
                                                                    until=MIN)))  # fmt: skip
    assert len(await store.silences(redis)) == 1


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ((409, "Conflict: x"), "Telegram serves another one with this token (Conflict: x)"),
        ((403, "Forbidden: x"), "Telegram forbids the bot to ask for this (Forbidden: x)"),
    ],
)
async def test_commands_that_go_to_somebody_else_are_an_alarm_until_they_are_heard(
    fake: FakeUpdates,
    configured: Settings,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    refusal: tuple[int, str],
    words: str,
):
    monkeypatch.setattr(serving, "_AGAIN_S", (0.01, 0.02))
    fake.refuse.extend([refusal] * 9)
    with structlog.testing.capture_logs() as entries:
        async with served(configured, redis), asyncio.timeout(60):
            while not HEALTH.lasting(0):
                await asyncio.sleep(0.002)
            assert HEALTH.lasting(0) == {"the answering of commands": words}
            while HEALTH.lasting(0):
                await asyncio.sleep(0.002)
    [entry] = [entry for entry in entries if "commands are not answered" in entry["event"]]
    assert entry["next_try_s"] == 0.01


async def test_a_telegram_that_cannot_be_reached_is_no_alarm_that_could_be_sent_there(
    configured: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(serving, "_AGAIN_S", (0.01, 0.01))
    nowhere = msgspec.structs.replace(configured, api_url="http://127.0.0.1:1")
    with structlog.testing.capture_logs() as entries:
        async with served(nowhere, redis), asyncio.timeout(60):
            while not entries:
                await asyncio.sleep(0.01)
            assert HEALTH.lasting(0) == {}
