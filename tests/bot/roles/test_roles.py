"""The rules and bot roles over a real Redis: stopped anywhere, nothing is lost or repeated."""

import asyncio
import random
import time
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import structlog
from redis.asyncio import Redis

from bot import roles
from bot.delivery.pace import NO_LIMITS
from bot.delivery.post import Policy
from bot.delivery.sender import to_the_end
from bot.delivery.sinks import (
    ChatInfo,
    OutcomeUnknown,
    Receipt,
    RefusalScope,
    Refused,
    RetryLater,
    Sinks,
)
from bot.roles import rules as rules_module
from bot.roles.bot import BotRole
from bot.roles.rules import RulesRole
from rules import alerts
from rules.alerts import Alert, Level, Turn
from rules.engine import Engine
from streams import events
from streams.bus import connection
from streams.bus.connection import Keys, Snapshot, StreamReader
from streams.clock import wall_ms
from streams.events import Tick
from tests.bot.role_fixtures import history, lively, settings, undisturbed
from tests.bot.sinks import Numbered
from tests.rules.facts import price
from tests.valkey import Proxy, troubles

KEYS = Keys()


async def written(redis: Redis, seconds: int) -> list[Alert]:
    """A history put on the stream; the alerts it must lead to."""
    place, pipe = 0, redis.pipeline(transaction=False)
    for place, event in enumerate(history(seconds), start=1):
        pipe.xadd(KEYS.events, {"e": events.encode(event)}, id=f"{place}-0")
    await pipe.execute()
    assert place > 5_000
    return undisturbed(lively(), history(seconds))


async def stored_alerts(redis: Redis) -> list[Alert]:
    return [alerts.decode(fields[b"a"]) for _, fields in await redis.xrange(KEYS.alerts)]


async def until(reached: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not reached():
            await asyncio.sleep(0.005)


async def end(redis: Redis, key: str) -> str:
    return (await redis.xrevrange(key, count=1))[0][0].decode()


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("seed", range(3))
async def test_rules_stopped_or_killed_anywhere_say_the_same(
    quick: None,
    redis: Redis,
    shaky: Redis,
    proxy: Proxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    expected = await written(redis, 700)
    assert len(expected) > 10
    monkeypatch.setattr(rules_module, "FLUSH_S", 0.2)
    dice = random.Random(seed)
    last, cuts = await end(redis, KEYS.events), 0
    while await redis.get(KEYS.bookmark("rules")) != last.encode():
        monkeypatch.setattr(rules_module, "SAVE_EVERY_S", dice.choice([0.01, 60]))
        monkeypatch.setattr(connection, "COUNT", dice.choice([17, 60, 300]))
        role = RulesRole(settings(tmp_path), shaky)
        running = asyncio.create_task(role.run())
        if cuts < 7:
            proxy.plan.extend(troubles(dice.randrange(1_000), 20, 0.1))
            await asyncio.sleep(dice.random() * 0.3)
        else:
            await until(lambda role=role: role.status().cursor == last)
        if dice.random() < 0.6:  # killed: it saves nothing
            role._save = asyncio.Event().wait
            proxy.cut()
        await ended(running)
        cuts += 1
    assert [a.id for a in await stored_alerts(redis)] == [a.id for a in expected]
    assert await stored_alerts(redis) == expected


async def test_rules_stopped_before_a_commit_save_no_state_ahead_of_it(
    redis: Redis, tmp_path: Path
) -> None:
    expected = await written(redis, 700)
    last = await end(redis, KEYS.events)
    for commits in (5, 9, None):
        role = RulesRole(settings(tmp_path), redis)
        commit, blocked, count = role._reader.commit, asyncio.Event(), iter(range(1_000))

        async def limited(cursor, batch, commit=commit, blocked=blocked, count=count, at=commits):
            if at is not None and next(count) >= at:
                blocked.set()
                await asyncio.Event().wait()
            await commit(cursor, batch)

        role._reader.commit = limited
        running = asyncio.create_task(role.run())
        if commits is None:
            await until(lambda role=role: role.status().cursor == last)
        else:
            await asyncio.wait_for(blocked.wait(), 10)
        await ended(running)
    assert await stored_alerts(redis) == expected


async def test_rules_resume_without_a_usable_snapshot(redis: Redis, tmp_path: Path) -> None:
    expected = await written(redis, 700)
    last = await end(redis, KEYS.events)
    await redis.set(KEYS.bookmark("rules"), "3000-0")
    role = RulesRole(settings(tmp_path), redis)
    running = asyncio.create_task(role.run())
    await until(lambda: role.status().cursor == last)
    await ended(running)
    after = [a for a in expected if a in await stored_alerts(redis)]
    assert after == await stored_alerts(redis)
    assert 0 < len(after) < len(expected)


async def test_rules_say_that_events_were_let_go_meanwhile(redis: Redis, tmp_path: Path) -> None:
    tick = {"e": b'{"type":"tick","seen":1}'}
    await redis.xadd(KEYS.events, tick, id="1-0")
    for n in (2, 4):
        role = RulesRole(settings(tmp_path), redis)
        with structlog.testing.capture_logs() as logs:
            running = asyncio.create_task(role.run())
            last = await end(redis, KEYS.events)
            await until(lambda role=role, last=last: role.status().cursor == last)
            await ended(running)
        assert ("a hole" in str(logs)) == (n == 4)
        await redis.xadd(KEYS.events, tick, id=f"{n}-0")
        await redis.xadd(KEYS.events, tick, id=f"{n + 1}-0")
        await redis.xtrim(KEYS.events, minid=f"{n + 1}-0", approximate=False)


@pytest.mark.parametrize("with_state", [False, True])
async def test_rules_whose_bookmark_lies_beyond_the_stream_hear_all_of_it(
    redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_state: bool
) -> None:
    """The server was emptied while a clock hours ahead had numbered the entries before."""
    monkeypatch.setattr(connection, "BLOCK_MS", 20)
    ahead = f"{wall_ms() + 8 * 3_600_000}-0"
    await redis.set(KEYS.bookmark("rules"), ahead)
    if with_state:
        state = zlib.compress(Engine(settings(tmp_path).rules).dump())
        reader = StreamReader(redis, KEYS, "rules", KEYS.events)
        await reader.save(Snapshot(ahead, state))
    expected = await written(redis, 700)
    last = await end(redis, KEYS.events)
    role = RulesRole(settings(tmp_path), redis)
    running = asyncio.create_task(role.run())
    await until(lambda: role.status().cursor == last)
    await ended(running)
    assert await stored_alerts(redis) == expected


async def test_rules_leave_out_what_they_cannot_read(redis: Redis, tmp_path: Path) -> None:
    await redis.xadd(KEYS.events, {"e": b'{"type":"nonsense"}'}, id="1-0")
    await redis.xadd(KEYS.events, {"x": b'{"type":"tick","seen":1}'}, id="2-0")
    role = RulesRole(settings(tmp_path), redis)
    running = asyncio.create_task(role.run())
    await until(lambda: role.status().cursor == "2-0")
    await ended(running)
    status = role.status()
    assert (status.events, status.unreadable) == (2, 1)


async def test_rules_say_once_that_ticks_are_missing_and_that_they_are_back(
    redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules_module, "NO_TICK_S", 0.1)
    monkeypatch.setattr(connection, "BLOCK_MS", 20)
    running = asyncio.create_task(RulesRole(settings(tmp_path), redis).run())
    for ticks in (1, 2):
        while await redis.xlen(KEYS.alerts) < 2 * ticks - 1:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        tick = events.encode(Tick(seen=wall_ms()))
        await redis.xadd(KEYS.events, {"e": tick})
        while await redis.xlen(KEYS.alerts) < 2 * ticks:
            await asyncio.sleep(0.02)
    await ended(running)
    notices = await stored_alerts(redis)
    assert [(n.venue, n.up) for n in notices] == [("", False), ("", True)] * 2
    assert len({n.id for n in notices}) == 4


@pytest.mark.parametrize("away_s", [180, 47])
async def test_ticks_that_were_held_up_are_back_after_as_long_as_they_were_away(
    redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away_s: int
) -> None:
    """Redis was away, or the streams role stood still: the first Tick that comes is next to the
    last one before, what comes after it is of now, and it is one outage."""
    monkeypatch.setattr(connection, "BLOCK_MS", 20)
    role = RulesRole(settings(tmp_path), redis)
    last = wall_ms() - away_s * 1_000
    role._ticked, role._ticked_at = last, time.monotonic() - away_s
    running = asyncio.create_task(role.run())
    while await redis.xlen(KEYS.alerts) < 1:
        await asyncio.sleep(0.02)
    now = wall_ms()
    for late in (Tick(seen=last + 1_000), price("binance", now, 100.0), Tick(seen=now + 500)):
        await redis.xadd(KEYS.events, {"e": events.encode(late)})
    while await redis.xlen(KEYS.alerts) < 2:
        await asyncio.sleep(0.02)
    await redis.xadd(KEYS.events, {"e": events.encode(Tick(seen=now + 1_500))})
    while role.status().events < 4:
        await asyncio.sleep(0.02)
    await ended(running)
    missing, back = await stored_alerts(redis)
    assert (missing.up, back.up, back.since) == (False, True, last)
    assert away_s <= (back.seen - back.since) / 1_000 < away_s + 5


class Reader(Numbered):
    """A sink that does what it is told: fails, or takes so many seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[str] = []
        self.plan: list[Exception | float] = []

    async def send(self, to, message, **how) -> Receipt:
        what = self.plan.pop(0) if self.plan else 0.0
        if isinstance(what, RetryLater | Refused):
            raise what
        await asyncio.sleep(what if isinstance(what, float) else 0)
        self.got.append(message.alert_id)
        receipt = await super().send(to, message, **how)
        if isinstance(what, Exception):
            raise what
        return receipt


def alert(n: int, post: bool = True, seen: int | None = None) -> Alert:
    """The beginning of the ``n``-th rule's episode, now: each has a post of its own."""
    now = int(time.time() * 1000) if seen is None else seen
    return Alert(
        id=f"r:BTC:1:{n}", rule=f"r{n}", metric="liq_10m_musd", unit="million USD", asset="BTC",
        turn=Turn.OPEN, level=Level.CRITICAL, value=40.0, threshold=30.0,
        fires="above", at=now, seen=now, opened_at=1, extreme=40.0, extreme_at=1, post=post,
    )  # fmt: skip


@pytest.fixture
def each_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each episode is an event of its own, of a rule that the configuration has."""
    monkeypatch.setattr("bot.plan.threads.JOIN", -1)
    monkeypatch.setattr("bot.plan.threads.MARKET_WITHIN", -1)
    monkeypatch.setattr(BotRole, "_watched", lambda *_: True)


async def say(redis: Redis, *new_alerts: Alert) -> None:
    for alert in new_alerts:
        await redis.xadd(KEYS.alerts, {"a": alerts.encode(alert)})


@pytest.fixture
async def bot(
    each_by_itself: None, redis: Redis, tmp_path: Path
) -> AsyncIterator[Callable[..., BotRole]]:
    running: list[asyncio.Task[None]] = []

    def start(sink: Reader, client: Redis = redis) -> BotRole:
        policy = Policy(backoff=(20, 50))
        role = BotRole(settings(tmp_path), client, Sinks(sink), policy=policy, limits=NO_LIMITS)
        running.append(asyncio.create_task(role.run()))
        role.task = running[-1]  # pyright: ignore[reportAttributeAccessIssue]
        return role

    yield start
    for task in running:
        await ended(task)


async def test_bot_tells_each_posted_alert_once_in_order(redis: Redis, bot: Callable) -> None:
    await say(redis, *(alert(n, post=n % 3 != 0) for n in range(9)))
    await redis.xadd(KEYS.alerts, {"a": b"{"})
    sink = Reader()
    first = bot(sink)
    await until(lambda: len(sink.got) >= 2)
    await ended(first.task)
    await say(redis, alert(10))
    again = bot(sink)
    await until(lambda: len(sink.got) == 7)
    assert sink.got == [f"r:BTC:1:{n}" for n in (1, 2, 4, 5, 7, 8, 10)]
    assert (first.status().sent + again.status().sent, again.status().destination) == (7, "a list")
    last = await end(redis, KEYS.alerts)
    await until(lambda: again.status().cursor == last)
    while await redis.get(KEYS.bookmark("bot")) != last.encode():
        await asyncio.sleep(0.005)


async def test_bot_names_old_news_in_the_next_post(redis: Redis, bot: Callable) -> None:
    old = int(time.time() * 1000) - 3 * 3_600_000
    await say(redis, alert(0, seen=old), alert(1))
    sink = Reader()
    bot(sink)
    await until(lambda: sink.got)
    assert sink.got == ["r:BTC:1:1"]
    assert "⏳ +1 older left out: BTC" in sink.messages[0].plain


async def test_bot_settles_each_kind_of_failure(redis: Redis, bot: Callable) -> None:
    await say(redis, alert(0))
    sink = Reader()
    role = bot(sink)
    await until(lambda: len(sink.got) == 1)
    sink.plan = [
        RetryLater(0.01, "busy"),
        OutcomeUnknown("lost"),
        Refused("too long", RefusalScope.MESSAGE),
    ]
    await say(redis, alert(1), alert(2), alert(3))
    await until(lambda: role.status().sent == 3)
    status = role.status()
    assert sink.got == ["r:BTC:1:0", "r:BTC:1:1", "r:BTC:1:3"]
    assert (status.uncertain, status.refused) == (1, 1)
    assert (status.counts.arrived, status.counts.put_off, status.counts.resent) == (1, 1, 0)


async def test_bot_killed_while_sending_looks_for_the_post(redis: Redis, bot: Callable) -> None:
    await say(redis, alert(0))
    sink = Reader()
    role = bot(sink)
    await until(lambda: role.status().sent == 1)
    sink.plan = [0.05]
    await say(redis, alert(1), alert(2))
    await until(lambda: not sink.plan)
    # as after SIGKILL: it is posted, and nobody notes it
    role._store._write = lambda *_: asyncio.Event().wait()
    await until(lambda: len(sink.got) == 2)
    again = bot(sink)
    await until(lambda: again.status().sent == 2)
    assert sink.got == ["r:BTC:1:0", "r:BTC:1:1", "r:BTC:1:2"]
    counts = again.status().counts
    assert (counts.uncertain, counts.arrived, counts.resent) == (1, 1, 0)


async def test_bot_killed_while_put_off_sends_it_later(redis: Redis, bot: Callable) -> None:
    """Telegram said no: it is certain that nothing was posted."""
    await say(redis, alert(0))
    sink = Reader()
    sink.plan = [RetryLater(0.5, "Telegram asks to send less")]
    role = bot(sink)
    await until(lambda: not sink.plan)
    await asyncio.sleep(0.05)
    await ended(role.task)
    again = bot(sink)
    await until(lambda: again.status().sent == 1)
    assert sink.got == ["r:BTC:1:0"]
    assert again.status().uncertain == 0


async def test_bot_stopped_while_sending_finishes_the_message(redis: Redis, bot: Callable) -> None:
    await say(redis, alert(0), alert(1))
    sink = Reader()
    sink.plan = [0.2]
    role = bot(sink)
    await until(lambda: not sink.plan)
    role.task.cancel()
    await asyncio.wait([role.task])
    assert sink.got == ["r:BTC:1:0"]
    again = bot(sink)
    await until(lambda: again.status().sent == 1)
    assert sink.got == ["r:BTC:1:0", "r:BTC:1:1"]
    assert again.status().uncertain == 0


async def test_a_bot_that_was_overtaken_writes_nothing_more(redis: Redis, bot: Callable) -> None:
    sink = Reader()
    first = bot(sink)
    await until(lambda: first.status().destination != "")
    second = bot(sink)
    await until(lambda: second.status().destination != "")
    await say(redis, alert(0))
    await until(lambda: first.task.done() and sink.got)
    assert "another bot role is at work" in repr(first.task.exception().exceptions)
    await asyncio.sleep(0.05)
    assert sink.got == ["r:BTC:1:0"]


@pytest.mark.parametrize("seed", range(3))
async def test_bot_repeats_nothing_whatever_redis_does(
    quick: None, redis: Redis, shaky: Redis, proxy: Proxy, bot: Callable, seed: int
) -> None:
    await say(redis, *(alert(n) for n in range(30)))
    proxy.plan.extend(troubles(seed, 80))
    sink = Reader()
    bot(sink, shaky)
    await until(lambda: len(sink.got) >= 30)
    await asyncio.sleep(0.05)
    assert sink.got == [f"r:BTC:1:{n}" for n in range(30)]


async def test_bot_waits_until_its_sink_can_be_used(redis: Redis, bot: Callable) -> None:
    answers: list[Exception] = [RetryLater(0.01, "away"), RetryLater(0.01, "away")]

    class Late(Reader):
        def join(self, gate) -> None:
            """Nothing but posts goes this way."""

        async def check(self, to) -> ChatInfo:
            if answers:
                raise answers.pop(0)
            return ChatInfo(title="there")

    role = bot(Late())
    await until(lambda: role.status().destination == "there")
    assert answers == []  # both refusals were waited out
    assert role.status().refused == 0


async def test_work_gets_a_little_time_to_end() -> None:
    done: list[float] = []

    async def work(seconds: float) -> float:
        await asyncio.sleep(seconds)
        done.append(seconds)
        return seconds

    assert await to_the_end(work(0.0), 1) == 0.0
    for seconds in (0.1, 5.0):
        task = asyncio.create_task(to_the_end(work(seconds), 0.3))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert done == [0.0, 0.1]


def test_memory_is_told() -> None:
    assert 5 < roles.rss_mb() < 2_000
