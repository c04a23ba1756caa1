import asyncio
import contextlib
import random
import resource
import signal
from pathlib import Path

import pytest
import structlog
from redis.asyncio import Redis

from streams.bus import connection
from streams.bus.connection import Keys
from streams.bus.lease import Lease, LeaseLost
from streams.bus.writer import Writer
from streams.durations import HOUR
from tests.valkey import Do, Proxy, Server, troubles

KEY = "lowtide:{0}:events"
T0 = 1_790_000_000_000
PLENTY = 1 << 30

Entries = list[tuple[int, bytes]]


def writer(redis: Redis, keep_ms: int = HOUR, max_bytes: int = PLENTY) -> Writer:
    return Writer(redis, KEY, keep_ms, max_bytes)


async def stored(redis: Redis) -> list[bytes]:
    return [fields[b"e"] for _, fields in await redis.xrange(KEY)]


async def ids(redis: Redis) -> list[tuple[int, ...]]:
    return [tuple(map(int, i.split(b"-"))) for i, _ in await redis.xrange(KEY)]


def numbers(first: int, count: int, step: int = 10) -> Entries:
    return [(T0 + n * step, b"%d" % n) for n in range(first, first + count)]


async def test_ids_carry_the_time_and_rise_when_the_clock_jumps_back(redis: Redis) -> None:
    mine = writer(redis)
    times = [T0, T0, T0 + 5, T0 - HOUR // 2, T0 + 5, T0 + 6]
    await mine.append([(t, b"%d" % n) for n, t in enumerate(times)])
    assert await ids(redis) == [
        (T0, 0), (T0, 1), (T0 + 5, 0), (T0 + 5, 1), (T0 + 5, 2), (T0 + 6, 0)
    ]  # fmt: skip
    await writer(redis).append([(T0 - HOUR // 2, b"6")])  # another process, its clock far behind
    assert (await ids(redis))[-1] == (T0 + 6, 1)
    assert await stored(redis) == [b"%d" % n for n in range(7)]
    assert mine.written == 6


@pytest.mark.parametrize("fault", [Do.DROP, Do.LOSE])
@pytest.mark.parametrize("place", range(6))
async def test_one_fault_anywhere_writes_nothing_twice_and_loses_nothing(
    quick: None, redis: Redis, shaky: Redis, proxy: Proxy, fault: Do, place: int
) -> None:
    proxy.plan.extend([*[Do.PASS] * place, fault])
    mine = writer(shaky)
    for first in range(0, 12, 3):
        await mine.append(numbers(first, 3))
    assert await stored(redis) == [b"%d" % n for n in range(12)]
    assert not proxy.plan
    assert mine.written == 12


@pytest.mark.parametrize("seed", range(6))
async def test_any_faults_and_cancels_anywhere(
    quick: None, redis: Redis, shaky: Redis, proxy: Proxy, seed: int
) -> None:
    proxy.plan.extend(troubles(seed, 60))
    dice = random.Random(seed)
    mine, sent = writer(shaky), 0
    for _ in range(15):
        size = dice.randrange(1, 30)
        entries = [(T0 + dice.randrange(-500, 500), b"%d" % n) for n in range(sent, sent + size)]
        sent += size
        if dice.random() < 0.4:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(mine.append(entries), dice.random() * 0.02)
        else:
            await mine.append(entries)
        if dice.random() < 0.1:
            proxy.cut()
    await mine.finish()
    assert await stored(redis) == [b"%d" % n for n in range(sent)]
    assert (mine.written, mine.waiting) == (sent, 0)


async def test_redis_away_is_said_once_and_waited_out(
    quick: None, redis: Redis, shaky: Redis, proxy: Proxy
) -> None:
    mine = writer(shaky)
    await mine.append(numbers(0, 5))
    proxy.fail()
    with structlog.testing.capture_logs() as logs:
        appending = asyncio.create_task(mine.append(numbers(5, 5)))
        async with asyncio.timeout(10):
            while not logs:
                await asyncio.sleep(0.01)
            assert not appending.done()
            proxy.down = False
            await appending
    log_lines = [entry["event"] for entry in logs]
    assert log_lines == [
        log_lines[0],
        "Redis works again for the streams role",
    ]
    assert log_lines[0].startswith("Redis cannot be reached")
    assert log_lines[0].endswith("; the streams role keeps trying and keeps what it has")
    assert await stored(redis) == [b"%d" % n for n in range(10)]


async def test_large_batches_broken_in_the_middle_of_a_request(
    quick: None, redis: Redis, shaky: Redis, proxy: Proxy
) -> None:
    """A pipeline of some MB reaches the proxy in pieces; half a MULTI must do nothing."""
    mine = writer(shaky)
    proxy.plan.extend([Do.PASS] * 5 + [Do.DROP] + [Do.PASS] * 7 + [Do.LOSE])
    entries = [(T0 + n, b"%06d" % n + b"x" * 20_000) for n in range(400)]
    await mine.append(entries)
    assert await stored(redis) == [data for _, data in entries]


async def test_a_stream_that_lost_its_end_goes_on_above_all_ids_given(redis: Redis) -> None:
    """As after a crash of Redis: readers have seen the ids that are gone."""
    mine = writer(redis)
    await mine.append([(T0 + 50, b"0")])
    await redis.delete(KEY)
    mine._last = None  # the connection broke
    await mine.append([(T0 + 10, b"1")])
    assert await ids(redis) == [(T0 + 50, 1)]


async def test_entries_are_let_go_by_age(redis: Redis) -> None:
    mine = writer(redis, keep_ms=60_000)
    for second in range(180):
        at = T0 + second * 1000
        await mine.append([(at + n, b"%d.%d" % (second, n)) for n in range(20)])
    (oldest, _), *_, (newest, _) = await ids(redis)
    assert newest == T0 + 179_019
    age_s = (newest - oldest) / 1000
    assert 60 <= age_s <= 60 + 10  # whole nodes of 100 entries (5 s here) are let go


@pytest.mark.parametrize("step", [40, 0])
async def test_entries_are_let_go_by_memory_even_if_the_clock_stands_still(
    redis: Redis, step: int
) -> None:
    limit = 400_000
    mine = writer(redis, max_bytes=limit)
    body, most = b"x" * 200, 0
    for first in range(0, 12_000, 400):
        await mine.append([(T0 + (first + n) * step, body) for n in range(400)])
        most = max(most, await redis.memory_usage(KEY, samples=0))
    assert await redis.xlen(KEY) < 12_000
    assert 0.6 * limit < await redis.memory_usage(KEY, samples=0)
    assert most < 1.3 * limit


async def test_memory_left_by_a_predecessor_counts(redis: Redis) -> None:
    limit = 400_000
    before = writer(redis)
    for first in range(0, 8_000, 400):
        await before.append([(T0 + (first + n) * 40, b"x" * 200) for n in range(400)])
    assert await redis.memory_usage(KEY, samples=0) > 3 * limit
    await writer(redis, max_bytes=limit).append([(T0 + 8_000 * 40, b"last")])
    assert await redis.memory_usage(KEY, samples=0) < 1.3 * limit
    assert (await stored(redis))[-1] == b"last"


async def test_a_full_redis_is_said_and_the_older_half_let_go(quick: None, redis: Redis) -> None:
    mine = writer(redis)
    for first in range(0, 4_000, 400):
        await mine.append([(T0 + (first + n) * 100, b"x" * 200) for n in range(400)])
    used = (await redis.info("memory"))["used_memory"]
    await redis.config_set("maxmemory", used + 60_000)
    try:
        with structlog.testing.capture_logs() as logs:
            for first in range(4_000, 6_000, 400):
                await mine.append([(T0 + (first + n) * 100, b"x" * 200) for n in range(400)])
    finally:
        await redis.config_set("maxmemory", 0)
    assert "Redis has no memory left: raise its maxmemory or lower redis.max_mb" in str(logs)
    assert mine.written == 6_000
    newest = (await ids(redis))[-1]
    assert newest == (T0 + 5_999 * 100, 0)
    assert 400 < await redis.xlen(KEY) < 5_000


def _small_files() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writes fail instead, as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))


async def test_a_full_disk_is_said_once_and_waited_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(connection, "_BACKOFF_S", (0.05, 0.1))
    server = Server(tmp_path / "data", "--logfile", "/dev/null", before=_small_files)
    redis = connection.connect(server.url, "test")
    mine, sent = writer(redis), 0
    try:
        with structlog.testing.capture_logs() as logs:
            appending = None
            while appending is None:
                task = asyncio.create_task(mine.append(numbers(sent, 100)))
                sent += 100
                done, _ = await asyncio.wait([task], timeout=0.5)
                appending = None if done else task
            assert await redis.xlen(KEY) < sent
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
            await asyncio.wait_for(appending, 5)
        words = "Redis cannot write its file, the disk is full or read-only: make room"
        assert [entry["event"] for entry in logs] == [
            f"{words}; the streams role keeps trying and keeps what it has",
            "Redis works again for the streams role",
        ]
        assert await stored(redis) == [b"%d" % n for n in range(sent)]
        server.process.terminate()
        server.process.wait()
        server = Server(tmp_path / "data")
        await redis.aclose()
        redis = connection.connect(server.url, "test")
        assert await stored(redis) == [b"%d" % n for n in range(sent)]
    finally:
        await redis.aclose()
        server.stop()


async def test_whoever_has_lost_the_lease_writes_nothing(redis: Redis) -> None:
    """A holder frozen for longer than its lease has frames that its successor heard too."""
    keys = Keys()
    frozen, following = Lease(redis, keys, "streams"), Lease(redis, keys, "streams")
    await frozen.take()
    late = Writer(redis, KEY, 1 << 40, 1 << 30, frozen)
    await late.append([(1, b"before")])
    await redis.delete(keys.lease("streams"))  # it ran out
    await following.take()
    await Writer(redis, KEY, 1 << 40, 1 << 30, following).append([(2, b"both heard")])
    with pytest.raises(LeaseLost):
        await late.append([(2, b"both heard")])
    assert [fields[b"e"] for _, fields in await redis.xrange(KEY)] == [b"before", b"both heard"]


async def test_a_lease_that_is_renewed_meanwhile_keeps_nothing_from_being_written(
    redis: Redis,
) -> None:
    lease = Lease(redis, Keys(), "streams")
    await lease.take()
    mine = Writer(redis, KEY, 1 << 40, 1 << 30, lease)

    async def renew() -> None:
        while True:
            await lease.take()
            await asyncio.sleep(0.005)

    renewing = asyncio.create_task(renew())
    for n in range(50):
        await mine.append([(n, b"%d" % n)])
    renewing.cancel()
    entries = [fields[b"e"] for _, fields in await redis.xrange(KEY)]
    assert entries == [b"%d" % n for n in range(50)]
