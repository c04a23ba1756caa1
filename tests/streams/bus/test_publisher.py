import asyncio
from collections.abc import Callable

import pytest
import structlog
from redis.asyncio import Redis

from streams.bus import publisher as publishing
from streams.bus.conflate import Conflator
from streams.bus.connection import ANSWER_S
from streams.bus.publisher import Publisher
from streams.bus.writer import Writer
from streams.clock import WallClock
from streams.events import AnyEvent, FeedState, Kind, Liquidation, Price, Tick, decode
from tests.loop_time import loop_time
from tests.streams.bus.test_conflate import fact, settled, state
from tests.valkey import Do, Proxy, troubles

KEY = "lowtide:{0}:events"
T0 = 1_790_000_000_000


class Clock(WallClock):
    """Stands still unless told; sleeping takes as long as it says."""

    now_ms = T0

    def seen(self) -> int:
        return self.now_ms


def publisher(redis: Redis, clock: WallClock | None = None) -> Publisher:
    writer = Writer(redis, KEY, 1 << 40, 1 << 30)
    return Publisher(writer, Conflator({"BTC"}), clock or Clock())


async def stored(redis: Redis) -> list[AnyEvent]:
    return [decode(fields[b"e"]) for _, fields in await redis.xrange(KEY)]


def liquidation(n: int) -> Liquidation:
    event = fact(Kind.LIQUIDATION, float(n), T0 + n)
    assert isinstance(event, Liquidation)
    return event


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


async def ticks_until(redis: Redis, entries: int) -> list[AnyEvent]:
    """What is stored once there are so many; the ticks come by the second."""
    async with asyncio.timeout(10):
        while len(events := await stored(redis)) < entries:
            await asyncio.sleep(0.02)
    return events


async def test_events_are_written_in_order_at_once(redis: Redis) -> None:
    mine = publisher(redis)
    running = asyncio.create_task(mine.run())
    events = [
        state(Kind.DEPTH, T0, True), fact(Kind.DEPTH, 1.0, T0), liquidation(1), settled(T0 + 2)
    ]  # fmt: skip
    for event in events:
        mine.publish(event)
    await until(lambda: mine.written == len(events))
    assert await stored(redis) == events
    assert (mine.written, mine.waiting) == (4, 0)
    await stopped(running)


async def test_a_tick_each_second_brings_what_was_held(redis: Redis) -> None:
    clock = Clock()
    mine = publisher(redis, clock)
    running = asyncio.create_task(mine.run())
    mine.publish(fact(Kind.DEPTH, 1.0, T0))
    mine.publish(fact(Kind.DEPTH, 2.0, T0 + 100))
    clock.now_ms += 1_100
    events = await ticks_until(redis, 3)
    assert events[1:3] == [fact(Kind.DEPTH, 2.0, T0 + 100), Tick(seen=T0 + 1_100)]
    clock.now_ms -= 3_600_000  # ticks go on after a jump back, and their ids still rise
    events = await ticks_until(redis, len(events) + 1)
    assert events[-1] == Tick(seen=T0 + 1_100 - 3_600_000)
    await stopped(running)


async def test_while_redis_is_away_only_what_is_replaced_is_left_out(
    quick: None,
    redis: Redis,
    shaky: Redis,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publishing, "_COMPACT_AT", 1_000)
    mine = publisher(shaky)
    running = asyncio.create_task(mine.run())
    mine.publish(liquidation(0))
    await until(lambda: mine.waiting == 0)
    proxy.fail()
    sent: list[AnyEvent] = [liquidation(0)]
    with structlog.testing.capture_logs() as logs:
        for n in range(1, 3_000):
            batch: list[AnyEvent] = [
                fact(Kind.PRICE, float(n), T0 + n * 2_000),
                fact(Kind.DEPTH, float(n), T0 + n * 2_000),
                Tick(seen=T0 + n * 2_000),
            ]
            batch += [liquidation(n)] if n % 10 == 0 else []
            batch += [state(Kind.PRICE, T0 + n * 2_000, n % 200 > 0)] if n % 100 == 0 else []
            for event in batch:
                mine.publish(event)
            sent += batch
        await until(lambda: bool([entry for entry in logs if "Redis" in entry["event"]]))
        proxy.down = False
        await until(lambda: mine.waiting == 0)
    there = [event for event in await stored(redis) if event != Tick(seen=T0)]  # its own
    assert len(there) < 3_000
    assert there == sorted(there, key=sent.index)
    for kind in (Liquidation, FeedState):
        assert [e for e in there if type(e) is kind] == [e for e in sent if type(e) is kind]
    for kind in (Price, Tick):
        assert [e for e in there if type(e) is kind][-1] == [e for e in sent if type(e) is kind][-1]
    assert mine.lost == 0
    assert "events wait for Redis" in {entry["event"] for entry in logs}
    await stopped(running)


async def test_too_many_to_keep_are_counted_and_said(
    shaky: Redis, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "_COMPACT_AT", 100)
    monkeypatch.setattr(publishing, "_MOST", 150)
    mine = publisher(shaky)
    with structlog.testing.capture_logs() as logs:
        for n in range(500):
            mine.publish(liquidation(n))
    assert mine.lost > 0
    assert mine.lost + mine.waiting == 500
    assert "too many events wait for Redis: the oldest are lost" in {e["event"] for e in logs}


@pytest.mark.parametrize("seed", range(4))
async def test_stopped_at_a_bad_moment_everything_is_written_once(
    quick: None, redis: Redis, shaky: Redis, proxy: Proxy, seed: int
) -> None:
    proxy.plan.extend(troubles(seed, 30))
    mine = publisher(shaky)
    running = asyncio.create_task(mine.run())
    for n in range(3_000):
        mine.publish(liquidation(n))
        if n % 500 == 0:
            await asyncio.sleep(0.003)
    await stopped(running)
    mine.publish(state(Kind.LIQUIDATION, T0 + 3_000, False))
    await mine.flush(1.5)
    there = await stored(redis)
    assert there == [*map(liquidation, range(3_000)), state(Kind.LIQUIDATION, T0 + 3_000, False)]


@pytest.mark.parametrize("how", ["away", "silent"])
async def test_flush_gives_up_in_time_and_says_so(shaky: Redis, proxy: Proxy, how: str) -> None:
    mine = publisher(shaky)
    if how == "away":
        proxy.fail()
    else:
        proxy.plan.extend([Do.HANG] * 9)
    for n in range(10):
        mine.publish(liquidation(n))
    with structlog.testing.capture_logs() as logs:
        async with loop_time() as passed:
            await mine.flush(0.4)
            assert passed() < ANSWER_S / 2  # so long one answer is waited for elsewhere
    assert logs[-1]["event"] == "events could not be written before the end"
    assert logs[-1]["lost"] == 10
