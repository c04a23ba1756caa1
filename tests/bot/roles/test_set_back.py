"""A clock that is set back, in each role."""

import asyncio

import msgspec
import pytest
from redis.asyncio import Redis

from bot.config import load
from bot.config.chats import OperatorSettings
from bot.delivery import pace
from bot.delivery.pace import Pace
from bot.delivery.sinks import Receipt, RetryLater
from bot.plan.planner import PlanState, set_back
from bot.plan.silences import Silence, dump
from bot.plan.threads import Thread
from bot.roles import bot as bots
from rules.alerts import Level, Notice
from rules.snapshot import OpenEpisodes
from streams.bus.connection import Keys, parsed
from streams.clock import UNDECIDED, FollowingClock, WallClock, wall_ms
from streams.durations import HOUR, MINUTE
from streams.events import FaultCode
from tests.bot.plan.test_planner import START, alert
from tests.bot.roles.test_bot import CONFIG, OPERATORS, Bench, Sink, each_coin_by_itself

__all__ = ["each_coin_by_itself"]


@pytest.fixture
def bench(redis: Redis) -> Bench:
    operators = OperatorSettings(chat_id=OPERATORS)
    settings = load(CONFIG, {"TELEGRAM_BOT_TOKEN": "1:x"})
    return Bench(redis, msgspec.structs.replace(settings, operators=operators))


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("back", [3 * HOUR, 8 * HOUR, 61_000])
async def test_the_bot_dates_what_waits_anew(bench: Bench, back: int, restarted: bool) -> None:
    """An alert that waits 20 s for others leaves 20 s later, not when the clock has caught up."""
    async with bench.running() as role:
        await bench.say(alert(0, "ETH"), alert(0, "SOL", Level.CRITICAL))
        assert await bench.until(1) == ["🔴 SOL"]
        bench.clock.at -= back
        if not restarted:
            await heard(bench)
            bench.clock.at += 21_000
            await bench.say(alert(21_000 - back, "XRP", Level.CRITICAL))
            assert sorted(await bench.until(3)) == ["🔴 SOL", "🔴 XRP", "🟠 ETH"]
            assert role.status().off == {}
    if restarted:
        async with bench.running():
            await heard(bench)
            bench.clock.at += 21_000
            await bench.say(alert(21_000 - back, "XRP", Level.CRITICAL))
            assert sorted(await bench.until(3)) == ["🔴 SOL", "🔴 XRP", "🟠 ETH"]
    assert [text.split(" (")[0] for text in bench.channel.operators] == [
        "⚪ Data: the clock of this machine went back"
    ]
    assert "late" not in bench.channel.messages[-1].plain
    assert "⏳" not in "".join(message.plain for message in bench.channel.messages)


class Machine(WallClock):
    """The clock of a machine: its time of day ``at``, which may step, and how long it ran."""

    def __init__(self) -> None:
        self.at, self.ran = START, 0
        super().__init__(lambda: self.at * 10**6, lambda: self.ran * 10**6)

    def run(self, ms: int) -> None:
        self.at, self.ran = self.at + ms, self.ran + ms


class BusySink(Sink):
    """Accepts nothing for the time being while ``busy``."""

    busy = True

    async def send(self, to, message, **how) -> Receipt:
        if self.busy:
            self.asked = True
            raise RetryLater(5, "busy")
        return await super().send(to, message, **how)


@pytest.mark.parametrize("ahead", [8 * HOUR, 4 * HOUR])
@pytest.mark.parametrize("restarted", [False, True])
async def test_what_waits_is_no_older_for_a_clock_that_went_ahead(
    bench: Bench, ahead: int, restarted: bool
) -> None:
    """A post that Telegram has refused for now, and an alert that waits for others."""
    clock = bench.clock = Machine()
    channel = bench.channel = BusySink()
    channel.asked = False
    async with bench.running() as role:
        await bench.say(alert(0, "ETH"), alert(0, "SOL", Level.CRITICAL))
        async with asyncio.timeout(60):
            while not channel.asked:
                await asyncio.sleep(0.005)
        clock.at += ahead
        cursor = role.status().cursor
        await bench.say(alert(ahead, "BNB", Level.CRITICAL))
        async with asyncio.timeout(60):
            while role.status().cursor == cursor:
                await asyncio.sleep(0.005)
        channel.busy = False
        if not restarted:
            clock.run(21_000)
            await bench.say(alert(21_000 + ahead, "XRP", Level.CRITICAL))
            await bench.until(4)
    if restarted:
        clock.run(21_000)
        async with bench.running():
            await bench.say(alert(21_000 + ahead, "XRP", Level.CRITICAL))
            await bench.until(4)
    assert sorted(channel.sent) == ["🔴 BNB", "🔴 SOL", "🔴 XRP", "🟠 ETH"]
    assert "late" not in "".join(message.plain for message in channel.messages)


async def heard(bench: Bench) -> None:
    async with asyncio.timeout(60):
        while not bench.channel.operators:
            await asyncio.sleep(0.005)


async def test_operators_hear_of_one_clock_once(bench: Bench) -> None:
    """The rules see the same step a little later."""
    async with bench.running():
        await bench.say(alert(0, "SOL", Level.CRITICAL))
        await bench.until(1)
        bench.clock.at -= 3 * HOUR
        await heard(bench)
        notice = Notice(
            id="fault:clock_set_back::on:1", venue="", kinds=(), up=False, since=bench.clock.at,
            seen=bench.clock.at, reason="by 3 h", fault=FaultCode.CLOCK_SET_BACK,
        )  # fmt: skip
        await bench.say(notice, alert(-3 * HOUR, "XRP", Level.CRITICAL))
        await bench.until(2)
    assert len(bench.channel.operators) == 1


@pytest.mark.parametrize("back", [3 * HOUR, 8 * HOUR])
async def test_a_silence_lasts_no_longer_for_a_clock_set_back(bench: Bench, back: int) -> None:
    silence = Silence(family="oi_drop", asset="ETH", until=bench.clock.at + HOUR)
    await bench.redis.set(Keys().snapshot("silences"), dump([silence]))
    async with bench.running() as role:
        await bench.say(alert(0, "ETH"), alert(0, "SOL", Level.CRITICAL))
        await bench.until(1)
        bench.clock.at -= back
        await heard(bench)
        await bench.say(alert(1_000 - back, "ETH"), alert(1_000 - back, "XRP", Level.CRITICAL))
        await bench.until(2)
        assert role.status().silenced == 2
        bench.clock.at += HOUR + 60_000
        since = HOUR + 60_000 - back
        await bench.say(alert(since, "ETH", Level.ALERT), alert(since, "BNB", Level.CRITICAL))
        await bench.until(3)
        assert role.status().silenced == 2


async def test_forwards_is_no_step_for_the_bot(bench: Bench) -> None:
    async with bench.running():
        await bench.say(alert(0, "ETH"))
        await asyncio.sleep(0.05)
        bench.clock.at += 30 * MINUTE
        await bench.say(alert(30 * MINUTE, "SOL", Level.CRITICAL))
        assert sorted(await bench.until(2)) == ["🔴 SOL", "🟠 ETH"]
    assert bench.channel.operators == []


async def test_alerts_from_a_clock_hours_ahead_hold_nothing_back(bench: Bench) -> None:
    """Until it is right again they are told as they come, and what follows is told in time."""
    async with bench.running():
        await bench.say(alert(8 * HOUR, "SOL", Level.CRITICAL))
        await bench.until(1)
        await bench.say(alert(0, "ETH"))
        await asyncio.sleep(0.05)
        bench.clock.at += 90_000
        await bench.say(alert(90_000, "XRP", Level.CRITICAL))
        assert sorted(await bench.until(3)) == ["🔴 SOL", "🔴 XRP", "🟠 ETH"]


@pytest.mark.parametrize("ahead", [8 * HOUR, 30 * 24 * HOUR])
async def test_a_first_start_with_a_clock_ahead_of_the_servers_hears_what_comes(
    bench: Bench, ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.roles.bot.wall_ms", lambda: wall_ms() + ahead)
    monkeypatch.setattr("streams.bus.connection.wall_ms", lambda: wall_ms() + ahead)
    await bench.say(alert(0, "ETH", Level.CRITICAL))  # of before the first start: news as well
    async with bench.running():
        await bench.until(1)
        await bench.say(alert(0, "SOL", Level.CRITICAL))
        assert await bench.until(2) == ["🔴 ETH", "🔴 SOL"]


async def test_a_bookmark_of_a_clock_that_was_ahead_keeps_nobody_deaf(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.bus.connection.BLOCK_MS", 50)
    await bench.redis.set(Keys().bookmark("bot"), f"{wall_ms() + 6 * HOUR}-0")
    async with bench.running() as role:
        await bench.say(alert(0, "SOL", Level.CRITICAL))
        assert await bench.until(1) == ["🔴 SOL"]
        await bench.say(alert(1, "XRP", Level.CRITICAL))
        assert await bench.until(2) == ["🔴 SOL", "🔴 XRP"]
        assert parsed(role.status().cursor)[0] <= wall_ms()
    async with bench.running():
        await bench.say(alert(2, "BNB", Level.CRITICAL))
        assert await bench.until(3) == ["🔴 SOL", "🔴 XRP", "🔴 BNB"]


def test_a_plan_keeps_how_long_ago_everything_was() -> None:
    event = Thread(
        key="k", theme="leverage", subject="BTC", began=7 * HOUR, grew=8 * HOUR, due=11 * HOUR
    )
    plan = PlanState(now=10 * HOUR, posts=[9 * HOUR], watch_posts=[8 * HOUR], threads={"k": event})
    later = set_back(plan, 3 * HOUR, 7 * HOUR)
    assert (later.now, later.posts, later.watch_posts) == (7 * HOUR, [6 * HOUR], [5 * HOUR])
    moved = later.threads["k"]
    assert (moved.began, moved.grew, moved.due) == (4 * HOUR, 5 * HOUR, 8 * HOUR)
    assert plan.now == 10 * HOUR


def test_a_pace_keeps_how_long_its_pause_is() -> None:
    before = Pace(recent=(9 * HOUR,), edits=(8 * HOUR,), until=11 * HOUR, eased=0)
    later = pace.set_back(before, 3 * HOUR)
    assert (later.recent, later.edits, later.until) == ((6 * HOUR,), (5 * HOUR,), 8 * HOUR)
    assert later.eased == 0


class Elsewhere(FollowingClock):
    """The clock of a machine that is ``apart`` ahead of the one whose time is on alerts."""

    def __init__(self, apart: int, ran: int = 0) -> None:
        self.ran, self.apart = ran, apart
        super().__init__(lambda: (START + self.apart + self.ran) * 10**6, lambda: self.ran * 10**6)


async def follow(bench: Bench, clock: Elsewhere, seconds: int, slow: float = 1.0) -> None:
    """So long the rules say each two seconds what time it is on alerts."""
    for _ in range(seconds // 2):
        clock.ran += 2_000
        told_at = START + round(clock.ran * slow)
        data = msgspec.msgpack.encode(OpenEpisodes(seen=told_at, episodes=()))
        await bench.redis.set(Keys().episodes, data)
        await asyncio.sleep(0.02)


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bots, "LIVE_S", 0.01)
    monkeypatch.setattr(bots, "_COMPARE_S", 0.002)


@pytest.mark.parametrize("before_s", [3, -1, -4, -8])
@pytest.mark.parametrize("apart", [2 * HOUR + MINUTE, 8 * HOUR, 20 * MINUTE, -8 * HOUR])
async def test_what_is_told_while_a_bot_starts_is_not_too_old_by_a_clock_of_its_own(
    bench: Bench, apart: int, before_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its start or in its first seconds; and in the same way after it was started again,
    when all that it had learnt was forgotten."""
    quick(monkeypatch)
    clock = bench.clock = Elsewhere(apart)
    for n, coin in enumerate(("SOL", "XRP"), 1):
        if before_s > 0:
            await bench.say(alert(clock.ran - before_s * 1000, coin, Level.CRITICAL))
        async with bench.running():
            await follow(bench, clock, max(0, -before_s))
            if before_s <= 0:
                await bench.say(alert(clock.ran, coin, Level.CRITICAL))
            await follow(bench, clock, 40)
            assert (await bench.until(n))[-1] == f"🔴 {coin}"
            await asyncio.sleep(0.02)
        clock = bench.clock = Elsewhere(apart, clock.ran)
    assert all("late" not in message.plain for message in bench.channel.messages)


async def test_a_bot_whose_clock_is_that_on_alerts_waits_for_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    bench.clock = Elsewhere(30_000)
    await follow(bench, Elsewhere(0), 2)
    await bench.say(alert(0, "SOL", Level.CRITICAL))
    async with bench.running():
        assert await bench.until(1) == ["🔴 SOL"]


async def test_a_bot_beside_rules_that_are_not_at_work_begins_after_a_while(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    clock = bench.clock = Elsewhere(0)
    await bench.say(alert(0, "SOL", Level.CRITICAL))
    async with bench.running() as role:
        clock.ran = UNDECIDED - 1_000
        await asyncio.sleep(0.1)
        assert not role.resumed.is_set()
        clock.ran = UNDECIDED
        assert await bench.until(1) == ["🔴 SOL"]


@pytest.mark.parametrize("apart", [3 * HOUR, 20 * MINUTE, -3 * HOUR, 0, 20_000])
async def test_a_bot_on_another_machine_goes_by_the_clock_on_alerts(
    bench: Bench, apart: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was too late by its own clock, and left out without a word."""
    quick(monkeypatch)
    clock = bench.clock = Elsewhere(apart)
    async with bench.running():
        await follow(bench, clock, 60)
        await bench.say(alert(clock.ran, "SOL", Level.CRITICAL))
        assert await bench.until(1) == ["🔴 SOL"]
        differ = abs(apart) >= MINUTE
        if differ:
            await heard(bench)
    assert "late" not in bench.channel.messages[0].plain
    words = "ahead of" if apart > 0 else "behind"
    assert len(bench.channel.operators) == differ
    for text in bench.channel.operators:
        assert f" {words} that of the streams role, by which posts go now" in text


async def test_rules_that_are_behind_are_no_clock(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an outage: what they say goes on more slowly, or faster, than time."""
    quick(monkeypatch)
    for slow in (0.2, 3.0):
        clock = bench.clock = Elsewhere(10 * MINUTE)
        async with bench.running():
            await follow(bench, clock, 60, slow)
        assert clock.ahead == 0
    assert bench.channel.operators == []
