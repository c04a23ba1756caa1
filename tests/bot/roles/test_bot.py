"""The bot role on a real server: what it plans survives its end, and nothing is posted twice."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis

from bot.commands import store
from bot.config import Settings, load
from bot.config.chats import OperatorSettings
from bot.delivery.pace import NO_LIMITS
from bot.delivery.sinks import Receipt, Sinks
from bot.destination import TelegramChat
from bot.plan.silences import Silence, dump
from bot.plan.subscriptions import Subscriber
from bot.roles.bot import BotRole
from rules import alerts
from rules.alerts import Alert, Level, Notice
from streams.bus.connection import Keys
from streams.events import Kind, Ms
from tests.bot.config.written import HEAD, OI
from tests.bot.plan.test_planner import START, alert
from tests.bot.sinks import Numbered

CONFIG = Path(__file__).parents[3] / "config.toml"
S, HOUR = 1_000, 3_600_000
OPERATORS = -42


async def live_until(role: BotRole, is_over: Callable[[], object]) -> None:
    """One life of the role, until that is so and it has sent all it has."""
    task = asyncio.create_task(role.run())
    try:
        async with asyncio.timeout(60):
            while not is_over() or not role.sender.idle():
                assert not task.done()
                await asyncio.sleep(0.005)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.at: Ms = START

    def now(self) -> Ms:
        return self.at

    def seen(self) -> Ms:
        return self.at

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("the role must not wait by this clock")


class Sink(Numbered):
    """Remembers the first words of what it is sent, operators' apart; ``stuck`` sends for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []
        self.operators: list[str] = []
        self.stuck = False

    async def send(self, to, message, **how) -> Receipt:
        first, *rest = message.plain.split("\n")
        again = " again" if any(line.startswith("↻") for line in rest) else ""
        titles = self.operators if to == TelegramChat(OPERATORS) else self.sent
        titles.append(first.split(" open")[0] + again)
        receipt = await super().send(to, message, **how)
        if self.stuck:
            await asyncio.Event().wait()
        return receipt


@pytest.fixture(scope="module")
def settings() -> Settings:
    token = {"TELEGRAM_BOT_TOKEN": "1:x"}
    operators = OperatorSettings(chat_id=OPERATORS)
    return msgspec.structs.replace(load(CONFIG, token), operators=operators)


@pytest.fixture(autouse=True)
def each_coin_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many coins there are, each is an event of its own, of a rule that the configuration
    has."""
    monkeypatch.setattr("bot.plan.threads.MARKET_FROM", 99)
    monkeypatch.setattr(BotRole, "_watched", lambda *_: True)


class Bench:
    """The role, what it sends, and a clock."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.redis, self.settings = redis, settings
        self.clock, self.channel = Hand(), Sink()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[BotRole]:
        role = BotRole(
            self.settings, self.redis, Sinks(self.channel), clock=self.clock, limits=NO_LIMITS
        )
        task = asyncio.create_task(role.run())
        try:
            yield role
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def say(self, *outputs: Alert | Notice) -> None:
        for output in outputs:
            await self.redis.xadd(Keys().alerts, {"a": alerts.encode(output)})

    async def until(self, count: int) -> list[str]:
        """What the channel was sent, once it is so much."""
        async with asyncio.timeout(60):
            while len(self.channel.sent) < count:
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)
        return self.channel.sent


@pytest.fixture
def bench(redis: Redis, settings: Settings) -> Bench:
    return Bench(redis, settings)


async def test_what_waits_survives_a_restart_and_is_told_once(bench: Bench):
    async with bench.running():
        await bench.say(alert(0, "ETH"), alert(0, "SOL", Level.CRITICAL))
        assert await bench.until(1) == ["🔴 SOL"]
    bench.clock.at += 20 * S
    async with bench.running():
        await bench.say(alert(20 * S, "XRP", Level.CRITICAL))
        assert sorted(await bench.until(3)) == ["🔴 SOL", "🔴 XRP", "🟠 ETH"]
    async with bench.running() as role:
        await bench.say(alert(21 * S, "BNB", Level.CRITICAL))
        assert (await bench.until(4))[3:] == ["🔴 BNB"]
        assert role.status().waiting == 0


async def test_what_was_being_sent_at_the_end_is_looked_for_and_not_repeated(bench: Bench):
    async with bench.running():
        await bench.say(alert(-1, "BTC", Level.CRITICAL))
        await bench.until(1)
        bench.channel.stuck = True
        await bench.say(alert(0, "SOL", Level.CRITICAL), alert(1, "XRP", Level.CRITICAL))
        await bench.until(2)
    bench.channel.stuck = False
    async with bench.running() as role:
        assert await bench.until(3) == ["🔴 BTC", "🔴 SOL", "🔴 XRP"]
        counts = role.status().counts
        assert (counts.uncertain, counts.arrived, counts.resent) == (1, 1, 0)


async def test_what_cannot_be_looked_for_is_sent_again_and_says_so(bench: Bench):
    bench.channel.place = "a group"
    bench.channel.probe = False
    bench.channel.stuck = True
    async with bench.running():
        await bench.say(alert(0, "SOL", Level.CRITICAL), alert(1, "XRP", Level.CRITICAL))
        await bench.until(1)
    bench.channel.stuck = False
    async with bench.running() as role:
        assert await bench.until(3) == ["🔴 SOL", "🔴 SOL again", "🔴 XRP"]
        assert role.status().counts.resent == 1


async def test_notices_go_to_operators_alone(bench: Bench):
    notice = Notice(
        id="x", venue="bybit", kinds=(Kind.DEPTH,), up=False, since=START, seen=START
    )  # fmt: skip
    async with bench.running():
        await bench.say(notice, alert(0, "SOL", Level.CRITICAL))
        assert await bench.until(1) == ["🔴 SOL"]
        while not bench.channel.operators:
            await asyncio.sleep(0.005)
    assert [text[:20] for text in bench.channel.operators] == ["⚪ Data: Bybit books "]


async def test_silences_are_read_from_redis(bench: Bench):
    silence = Silence(family="oi_drop", asset="ETH", until=START + HOUR)
    await bench.redis.set(Keys().snapshot("silences"), dump([silence]))
    async with bench.running() as role:
        await bench.say(alert(0, "ETH"), alert(0, "SOL"), alert(20 * S, "XRP", Level.CRITICAL))
        assert await bench.until(2) == ["🔴 XRP", "🟠 SOL"]
        assert role.status().silenced == 1


async def test_what_is_no_news_any_more_is_named_and_what_cannot_be_read_left_out(bench: Bench):
    await bench.redis.xadd(Keys().alerts, {"a": b"rubbish"})
    async with bench.running():
        await bench.say(alert(-3 * HOUR, "ETH", Level.CRITICAL), alert(0, "SOL", Level.CRITICAL))
        assert await bench.until(1) == ["🔴 SOL"]
    assert "⏳ +1 older left out: ETH" in bench.channel.messages[-1].plain


READER = 77


async def test_who_wants_a_rule_that_is_gone_hears_of_it_once_and_so_do_operators(bench: Bench):
    wants = {"liq": ("BTC",), "oi_drop": ("ETH",)}
    await store.save_subscription(bench.redis, Subscriber(user=READER, wants=wants, language="ja"))
    async with bench.running():
        (text,) = await bench.until(1)
        async with asyncio.timeout(30):
            while not (kept := (await store.subscribers(bench.redis, READER))[0]) or not (
                kept.informed and bench.channel.operators
            ):
                await asyncio.sleep(0.01)
    assert text.startswith("⚪ 受信設定にある liq は"), "in the language of the subscription"
    assert (kept.informed, kept.wants, kept.language) == (("liq",), wants, "ja")
    (notice,) = bench.channel.operators
    assert notice.endswith("by how many people: liq (1). They are told.")
    async with bench.running():
        await bench.say(alert(0, "ETH", level=Level.CRITICAL))
        await bench.until(2)
    assert [sent for sent in bench.channel.sent[1:] if "liq" in sent] == []
    assert len(bench.channel.operators) == 1


async def test_a_rule_that_is_renamed_while_it_runs_is_told_each_time_it_goes(
    redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "1:x")
    path = tmp_path / "config.toml"

    def named(rule: str) -> None:
        text = OI.replace("oi_drop", rule)
        path.write_text(
            f"{HEAD}[operators]\nchat_id = {OPERATORS}\n{text}majors = {{ alert = -5, clear = -1 }}"
        )

    named("oi_drop")
    bench = Bench(redis, load(path, {"TELEGRAM_BOT_TOKEN": "1:x"}))
    wants = {"oi_drop": ("BTC",)}
    await store.save_subscription(redis, Subscriber(user=READER, wants=wants))
    async with bench.running() as role:
        await asyncio.wait_for(role.resumed.wait(), 30)
        for times, rule in ((0, "oi_drop"), (1, "oi_fall"), (1, "oi_drop"), (2, "oi_fall")):
            named(rule)
            bench.clock.at += S
            await role._reload()
            assert len(await bench.until(times)) == times
    begin = "⚪ You subscribed to oi_drop, which is not judged"
    assert all(text.startswith(begin) for text in bench.channel.sent)
    assert len(bench.channel.operators) == 2
