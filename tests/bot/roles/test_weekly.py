"""The weekly report is posted by itself: made in another process, and once for each week."""

import asyncio
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from bot.config import Settings, load
from bot.config.chats import ChatSettings, OperatorSettings
from bot.config.messengers import MessengerSettings
from bot.delivery.pace import NO_LIMITS
from bot.delivery.sinks import Sinks
from bot.delivery.store import OutboxStore
from bot.destination import Service
from bot.metriclog import MetricLog
from bot.plan.planner import WEEKDAYS, WeeklyTime
from bot.plan.weekly import WEEK, last_week
from bot.roles import weekly
from bot.roles.bot import BotRole
from bot.roles.weekly import ReportFailed, make_report
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Ms
from tests.bot.backtest.test_week import START as MONDAY
from tests.bot.backtest.test_week import observed
from tests.bot.fake_updates import CHANNEL
from tests.bot.roles.test_bot import CONFIG, OPERATORS, Hand, live_until
from tests.bot.sinks import Numbered
from tests.seams.system import System

DUE: Ms = MONDAY + WEEK + 9 * HOUR
WANTED = WeeklyTime(weekday=0, minute=9 * 60, zone="UTC")


class Maker:
    """Makes reports; ``fails``: why it cannot; ``bug``: what nobody has foreseen."""

    def __init__(self) -> None:
        self.asked: list[tuple[Ms, str]] = []
        self.fails: dict[Ms, str] = {}
        self.bug: Exception | None = None

    async def __call__(self, settings: Settings, week: Ms, language: str) -> str:
        self.asked.append((week, language))
        await asyncio.sleep(0)
        if self.bug is not None:
            raise self.bug
        if week in self.fails:
            raise ReportFailed(self.fails[week])
        return f"Report of {week} in {language}\n\nfigures <&>"


class Bench:
    """The role with a clock moved by hand, and what its chats have got."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.redis, self.settings = redis, settings
        self.clock, self.sink, self.maker = Hand(), Numbered(), Maker()
        self.clock.at = DUE

    async def run(self, *, looks: int = 3, change: Settings | None = None) -> None:
        """One life of the role, until it has looked so often and has sent what it found."""
        role = BotRole(
            self.settings, self.redis, Sinks(self.sink), clock=self.clock, limits=NO_LIMITS,
            make_report=self.maker,
        )  # fmt: skip
        reports, looked = role._weekly, 0
        look = reports.look

        async def counted(*args: object) -> None:
            nonlocal looked
            await look(*args)  # pyright: ignore[reportArgumentType]
            looked += 1

        reports.look = counted
        await live_until(role, lambda: looked >= looks and not reports.outcomes)

    def texts(self, chat: int) -> list[str]:
        messages = self.sink.chats.get(chat, [])
        return [message.plain.split("\n")[0] for message in messages if message is not None]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """The role looks all the time, and tries again at once."""
    monkeypatch.setattr("bot.roles.bot.REPORT_LOOK_S", 0.01)
    monkeypatch.setattr(weekly, "AGAIN_S", 0.0)


@pytest.fixture(scope="module")
def settings() -> Settings:
    plain = load(CONFIG, {"TELEGRAM_BOT_TOKEN": "1:x"})
    return msgspec.structs.replace(
        plain,
        operators=OperatorSettings(chat_id=OPERATORS),
        chats=(
            ChatSettings(id=-1, language="ja", weekly_report=WANTED),
            ChatSettings(id=-2),
            ChatSettings(id=-3, weekly_report=msgspec.structs.replace(WANTED, minute=10 * 60)),
        ),
    )


@pytest.fixture
def bench(redis: Redis, settings: Settings) -> Bench:
    return Bench(redis, settings)


async def test_each_chat_gets_it_once_at_its_time_in_its_language(bench: Bench):
    bench.clock.at = DUE - 1
    await bench.run()
    assert not bench.sink.messages
    for late in (0, MINUTE, HOUR, HOUR + 1, 30 * HOUR):
        bench.clock.at = DUE + late
        await bench.run()
        assert bench.texts(-1) == [f"⚪ Report of {MONDAY} in ja"]
        assert bench.texts(-3) == [f"⚪ Report of {MONDAY} in en"] * (late >= HOUR)
    assert not bench.texts(-2)
    assert not bench.texts(OPERATORS)
    assert all(message.silent for message in bench.sink.messages)
    bench.clock.at = DUE + WEEK
    await bench.run()
    assert bench.texts(-1)[1:] == [f"⚪ Report of {MONDAY + WEEK} in ja"]


async def test_nobody_looks_again_before_what_was_made_is_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    keep, kept = OutboxStore.keep_reports, 0

    async def slowly(store: OutboxStore, *how: Any) -> None:
        nonlocal kept
        await asyncio.sleep(0.1)  # many times as long as the pause between two looks
        await keep(store, *how)
        kept += 1

    monkeypatch.setattr(OutboxStore, "keep_reports", slowly)
    await bench.run()
    assert bench.maker.asked == [(MONDAY, "ja")]
    assert kept == 1


async def test_a_report_of_one_language_is_made_once_for_all(bench: Bench):
    bench.settings = msgspec.structs.replace(
        bench.settings,
        chats=tuple(
            msgspec.structs.replace(chat, weekly_report=WANTED, language="en")
            for chat in bench.settings.chats
        ),
        messengers=(MessengerSettings(service=Service.SLACK, weekly_report=WANTED),),
    )
    await bench.run()
    assert bench.maker.asked == [(MONDAY, "en")]
    assert len(bench.sink.messages) == 4


async def test_another_time_or_a_clock_that_steps_back_posts_no_week_again(bench: Bench):
    bench.clock.at = DUE + 2 * HOUR
    await bench.run()
    count = len(bench.sink.messages)
    later = msgspec.structs.replace(WANTED, minute=12 * 60)
    chats = tuple(
        msgspec.structs.replace(chat, weekly_report=later) for chat in bench.settings.chats
    )
    bench.settings = msgspec.structs.replace(bench.settings, chats=(chats[0], chats[2]))
    for at in (DUE + 4 * HOUR, DUE - 20 * HOUR, DUE, DUE + 4 * HOUR, DUE + WEEK - HOUR):
        bench.clock.at = at
        await bench.run()
    weekly_posts = [m for m in bench.sink.messages if m.plain.startswith("⚪ Report")]
    assert len(weekly_posts) == count == 2


async def test_what_comes_late_says_so_and_what_comes_a_day_late_is_left_out_and_told(
    bench: Bench,
):
    bench.clock.at = DUE
    await bench.run()
    bench.clock.at = DUE + WEEK + 5 * HOUR
    await bench.run()
    assert bench.sink.chats[-1][-1].plain.split("\n")[-1].startswith("⏱ 5時間")
    bench.clock.at = DUE + 2 * WEEK + 26 * HOUR
    for _ in range(2):
        await bench.run()
    assert len(bench.texts(-1)) == 2
    (notice,) = bench.texts(OPERATORS)
    assert "The weekly report from 30 Nov on is left out: Lowtide was not running" in notice


async def test_one_that_cannot_be_made_is_told_once_and_tried_until_it_can(bench: Bench):
    bench.maker.fails[MONDAY] = "nothing of that week was recorded in data/metrics"
    for late in (0, HOUR, 2 * HOUR):
        bench.clock.at = DUE + late
        await bench.run()
    (notice,) = bench.texts(OPERATORS)
    assert "could not be made: nothing of that week was recorded in data/metrics" in notice
    assert len(bench.maker.asked) >= 3 and not bench.texts(-1)
    bench.maker.fails.clear()
    await bench.run()
    assert bench.texts(-1) == [f"⚪ Report of {MONDAY} in ja"]
    assert len(bench.texts(OPERATORS)) == 1


async def test_a_bug_in_it_costs_the_report_alone(bench: Bench):
    bench.maker.bug = ZeroDivisionError("by nobody")
    await bench.run()  # the role goes on
    (notice,) = bench.texts(OPERATORS)
    assert "a fault of Lowtide's own, see its log (ZeroDivisionError)" in notice
    bench.maker.bug = None
    await bench.run()
    assert bench.texts(-1) == [f"⚪ Report of {MONDAY} in ja"]


async def test_one_that_cannot_be_made_into_posts_is_left_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    def fails(*_: object) -> None:
        raise ZeroDivisionError("by nobody")

    monkeypatch.setattr("bot.roles.bot.report_posts", fails)
    await bench.run()
    assert bench.maker.asked == [(MONDAY, "ja")]
    assert not bench.sink.messages


async def test_a_chat_that_is_gone_when_its_report_is_ready_costs_nothing(bench: Bench):
    class Leaving(Maker):
        async def __call__(self, settings: Settings, week: Ms, language: str) -> str:
            role._audience = msgspec.structs.replace(role._audience, chats=())
            await role._serve()
            return await super().__call__(settings, week, language)

    role = BotRole(
        bench.settings, bench.redis, Sinks(bench.sink), clock=bench.clock, limits=NO_LIMITS,
        make_report=Leaving(),
    )  # fmt: skip
    await role._resume()
    await role._weekly.look(role.settings, role._audience.chats)
    assert len(role._weekly.outcomes) == 1
    await role._post_reports()
    assert not role._weekly.outcomes
    assert not role.sender.queues.get("-1")


async def test_what_was_kept_when_the_role_died_is_posted_by_the_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    """Post and mark become durable in one step: neither is there without the other."""
    role = BotRole(
        bench.settings, bench.redis, Sinks(bench.sink), clock=bench.clock, limits=NO_LIMITS,
        make_report=bench.maker,
    )  # fmt: skip
    await role._resume()
    await role._weekly.look(role.settings, role._audience.chats)
    monkeypatch.setattr(role.sender, "add", lambda posts: None)
    await role._post_reports()
    for _ in range(2):
        await bench.run()
    assert bench.texts(-1) == [f"⚪ Report of {MONDAY} in ja"]
    assert bench.maker.asked == [(MONDAY, "ja")]


# The process.


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    log = MetricLog(folder / "metrics", 400 * DAY, 1_000)
    for minute in range(0, 10_080, 60):
        log.write(MONDAY + minute * MINUTE, observed(minute))
    config = folder / "config.toml"
    config.write_text(f'extends = "shipped"\n[redis]\ndata_dir = "{folder}"\n')
    return config


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    return os.environ


@pytest.mark.usefixtures("environment")
async def test_the_process_makes_what_the_command_prints(recorded: Path):
    settings = load(recorded, {})
    for language, head in (("zh-TW", "市場結構週報：11/16"), ("en", "Market structure, 16 Nov")):
        text = await make_report(settings, MONDAY, language)
        assert text.startswith(head)
        assert "BTC" in text and text.count("\n") > 10
    with pytest.raises(ReportFailed, match="nothing of that week was recorded in"):
        await make_report(settings, MONDAY - WEEK, "en")


@pytest.mark.usefixtures("environment")
async def test_a_configuration_that_is_broken_now_is_a_reason(recorded: Path, tmp_path: Path):
    broken = tmp_path / "config.toml"
    broken.write_text('extends = "shipped"\n[channel]\nlanguage = "xx"\n')
    settings = msgspec.structs.replace(load(recorded, {}), path=broken)
    with pytest.raises(ReportFailed, match="xx"):
        await make_report(settings, MONDAY, "en")


async def test_a_process_that_does_not_end_is_ended(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    started = tmp_path / "started"
    slow = tmp_path / "slow"
    slow.write_text(
        f"#!/bin/sh\necho $$ > {started}.new\nmv {started}.new {started}\nexec sleep 600\n"
    )
    slow.chmod(0o755)
    settings = load(recorded, {})
    monkeypatch.setattr(sys, "executable", str(slow))
    task = asyncio.create_task(make_report(settings, MONDAY, "en"))
    async with asyncio.timeout(60):
        while not started.exists():
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)
    monkeypatch.setattr(weekly, "LONGEST_S", 0)
    with pytest.raises(ReportFailed, match="it took longer than"):
        await make_report(settings, MONDAY, "en")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(ReportFailed, match="no process could be started"):
        await make_report(settings, MONDAY, "en")


async def test_a_lowtide_that_runs_posts_what_was_recorded(tmp_path: Path):
    """From the configuration and the files of the metric log to a channel."""
    stated = datetime.now(UTC) - timedelta(minutes=10)
    day, week = WEEKDAYS[stated.weekday()], last_week(round(stated.timestamp() * 1000))
    log = MetricLog(tmp_path / "data" / "metrics", 400 * DAY, 1_000)
    for minute in range(0, 10_080, 60):
        log.write(week + minute * MINUTE, observed(minute))
    config = f"""
[channel]
chat_id = {CHANNEL}
language = "ja"
weekly_report = "{day} {stated:%H:%M}"
"""
    async with System(tmp_path, config) as system:
        await system.start("rules", "bot")
        await system.until(lambda: system.telegram.sent, 120)
        (post,) = system.telegram.sent
    assert (post.chat, post.silent) == (CHANNEL, True)
    assert post.text.startswith("⚪ 市場構造の週報、")
    assert "BTC 価格：" in post.text and "ルールの検知" in post.text
    assert "⏱" in post.text.splitlines()[-1]  # it is late
