"""Summaries are posted by the role: each once at its time, whatever restarts or fails."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from bot.commands import store
from bot.config import Settings, load
from bot.config.chats import ChatSettings
from bot.config.messengers import MessengerSettings
from bot.delivery.pace import NO_LIMITS
from bot.delivery.sinks import Sinks
from bot.delivery.store import OutboxStore
from bot.destination import Service
from bot.lang import LANGUAGES
from bot.plan.planner import DailyTime, HourlyTime
from bot.roles.bot import BotRole
from rules import alerts
from rules.alerts import Alert, Level, Turn
from rules.snapshot import Standing
from streams.bus.connection import Keys
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Ms
from tests.bot import asked
from tests.bot.fake_updates import CHANNEL
from tests.bot.roles.test_bot import CONFIG, Hand, live_until
from tests.bot.sinks import Numbered
from tests.seams.system import System

NINE: Ms = 1_791_018_000_000  # 3 Oct 2026 09:00 UTC
DAILY = DailyTime(minute=9 * 60, zone="UTC")
EN, JA = "⚪ The last 24 hours, to 09:00 UTC", "⚪ 直近24時間のまとめ（09:00 UTC まで）"


class Bench:
    """The role with a clock moved by hand, what the rules say, and what its chats have got."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.redis, self.settings = redis, settings
        self.clock, self.sink = Hand(), Numbered()
        self.clock.at = NINE

    async def rules_say(self, *turns: Alert) -> None:
        standing = Standing(seen=self.clock.at, values=asked.STANDING.values, episodes=())
        await self.redis.set(Keys().standing, msgspec.msgpack.encode(standing))
        for turn in turns:
            entry = f"{turn.seen}-{turn.id[-1]}"
            await self.redis.xadd(Keys().alerts, {"": alerts.encode(turn)}, id=entry)

    async def run(self, *, looks: int = 3) -> None:
        """One life of the role, until it has looked so often and has sent what it found."""
        role = BotRole(
            self.settings, self.redis, Sinks(self.sink), clock=self.clock, limits=NO_LIMITS
        )
        summaries, looked = role._summaries, 0
        look = summaries.look

        async def counted(*args: object) -> None:
            nonlocal looked
            try:
                await look(*args)  # pyright: ignore[reportArgumentType]
            finally:
                looked += 1

        summaries.look = counted
        await live_until(role, lambda: looked >= looks and not summaries.made)

    def heads(self, chat: int) -> list[str]:
        return [text.split("\n")[0] for text in self.texts(chat)]

    def texts(self, chat: int) -> list[str]:
        messages = self.sink.chats.get(chat, [])
        return [
            m.plain for m in messages if m is not None and ("24" in m.plain or "hour" in m.plain)
        ]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.roles.bot.REPORT_LOOK_S", 0.01)


@pytest.fixture(scope="module")
def settings() -> Settings:
    plain = load(CONFIG, {"TELEGRAM_BOT_TOKEN": "1:x"})
    return msgspec.structs.replace(
        plain,
        chats=(
            ChatSettings(id=-1, language="ja", summary=DAILY),
            ChatSettings(id=-2),
            ChatSettings(id=-3, summary=HourlyTime()),
        ),
    )


@pytest.fixture
def bench(redis: Redis, settings: Settings) -> Bench:
    return Bench(redis, settings)


async def test_each_chat_gets_it_once_at_its_time_in_its_language(bench: Bench):
    bench.clock.at = NINE - HOUR
    await bench.rules_say()
    await bench.run()
    assert (bench.heads(-1), bench.heads(-3)) == ([], ["⚪ The last hour, to 08:00 UTC"])
    for late in (0, MINUTE, 9 * MINUTE, 50 * MINUTE):
        bench.clock.at = NINE + late
        await bench.rules_say()
        await bench.run()
        assert bench.heads(-1) == [JA]
        assert bench.heads(-3)[1:] == ["⚪ The last hour, to 09:00 UTC"]
    assert not bench.texts(-2)
    assert all(message.silent for message in bench.sink.messages)
    bench.clock.at = NINE + DAY
    await bench.rules_say()
    await bench.run()
    assert bench.heads(-1) == [JA, JA]


async def test_it_tells_what_was_reported_in_its_time(bench: Bench):
    began = NINE - 30 * MINUTE
    name = f"oi_drop:1h:BTC:{began}"
    turns = [
        asked.turn(
            n, what, Level.ALERT, value, began + n * MINUTE, opened_at=began, id=f"{name}:{n}"
        )
        for n, what, value in ((1, Turn.OPEN, -5.3), (2, Turn.CLOSE, -1.0))
    ]
    await bench.rules_say(*turns)
    bench.settings = msgspec.structs.replace(
        bench.settings, chats=(ChatSettings(id=-1, summary=DAILY),)
    )
    await bench.run()
    (text,) = [text for text in bench.texts(-1) if text.startswith(EN)]
    assert "1 alert:\n🟠 BTC oi_drop:1h −1.0%" in text and "08:30 UTC to 08:32 UTC" in text
    assert "Funding, % / 8h" in text


async def test_it_waits_for_the_rules_and_then_says_that_they_say_nothing(bench: Bench):
    await bench.run()
    assert not bench.texts(-1)
    bench.clock.at = NINE + 2 * HOUR
    await bench.run()
    (text,) = bench.texts(-1)
    assert "現在の値は不明です" in text
    assert not bench.texts(-3)  # of nine o'clock it is left out by now


async def test_what_is_too_late_is_left_out_and_the_next_one_comes(bench: Bench):
    bench.clock.at = NINE + 4 * HOUR
    await bench.rules_say()
    await bench.run()
    assert (bench.heads(-1), bench.heads(-3)) == ([], ["⚪ The last hour, to 13:00 UTC"])


async def test_a_clock_that_steps_back_posts_none_again(bench: Bench):
    for at in (NINE, NINE - 3 * HOUR, NINE - 2 * HOUR, NINE):
        bench.clock.at = at
        await bench.rules_say()
        await bench.run()
    assert bench.heads(-1) == [JA]


async def test_what_was_kept_when_the_role_died_is_posted_by_the_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    """Post and mark become durable in one step: neither is there without the other."""
    await bench.rules_say()
    role = BotRole(
        bench.settings, bench.redis, Sinks(bench.sink), clock=bench.clock, limits=NO_LIMITS
    )
    await role._resume()
    await role._summaries.look(role.settings, role._audience.chats)
    monkeypatch.setattr(role.sender, "add", lambda posts: None)
    await role._post_summaries()
    for _ in range(2):
        await bench.run()
    assert bench.heads(-1) == [JA]


async def test_one_that_fails_is_left_out_and_costs_nobody_else_theirs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    from bot.roles import summaries

    whole = summaries.summary_body

    def fails(due, wanted, context):
        if context.words is LANGUAGES["ja"]:
            raise ZeroDivisionError("by nobody")
        return whole(due, wanted, context)

    monkeypatch.setattr(summaries, "summary_body", fails)
    await bench.rules_say()
    for _ in range(2):
        await bench.run()
    assert (bench.heads(-1), len(bench.heads(-3))) == ([], 1)


async def test_a_redis_that_does_not_answer_delays_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    calls = 0

    async def fails(*_: object) -> tuple[Alert, ...]:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise RedisConnectionError("away")
        return ()

    monkeypatch.setattr(store, "alerts_since", fails)
    await bench.rules_say()
    await bench.run(looks=4)
    assert bench.heads(-1) == [JA]


async def test_messengers_get_it_in_as_many_posts_as_it_takes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    bench.settings = msgspec.structs.replace(
        bench.settings,
        chats=(ChatSettings(id=-2),),
        messengers=(MessengerSettings(service=Service.DISCORD, summary=DAILY),),
    )
    kept: list[str] = []
    keep = OutboxStore.keep_summaries

    async def noted(self: OutboxStore, posts, summaries) -> None:
        kept.extend(post.message.plain for post in posts)
        await keep(self, posts, summaries)

    monkeypatch.setattr(OutboxStore, "keep_summaries", noted)
    await bench.rules_say()
    await bench.run()
    assert kept and all(text.startswith(EN) and len(text) <= 2_000 for text in kept)


async def test_a_lowtide_that_runs_posts_what_it_sees(tmp_path: Path):
    """From the configuration to a channel, by the clock of the machine."""
    stated = datetime.now(UTC) - timedelta(hours=3)  # for venues it has waited long enough
    config = f"""
[channel]
chat_id = {CHANNEL}
language = "zh-TW"
summary = "{stated:%H:%M}"
"""
    async with System(tmp_path, config) as system:
        await system.start("rules", "bot")
        await system.until(lambda: system.telegram.sent, 120)
        (post,) = system.telegram.sent
    assert (post.chat, post.silent) == (CHANNEL, True)
    assert post.text.startswith("⚪ 過去 24 小時摘要（至 ")
    assert "期間內沒有發出警報" in post.text and "目前數值不明" in post.text
