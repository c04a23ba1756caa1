import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import structlog
from redis.asyncio import Redis

from streams.bus import lease as leases
from streams.bus.connection import ANSWER_S, Keys, connect
from streams.bus.lease import Lease, LeaseLost
from streams.bus.writer import Writer
from tests.valkey import Proxy, Server

KEYS = Keys()

HOLDER = """
import asyncio, sys
from streams.bus.connection import Keys, connect
from streams.bus.lease import Lease

async def main():
    lease = Lease(connect(sys.argv[1], "holder"), Keys(), "rules")
    await lease.take()
    print("holds", flush=True)
    await lease.hold()

asyncio.run(main())
"""


async def test_a_second_role_waits_and_says_so(quick: None, redis: Redis) -> None:
    first, second = Lease(redis, KEYS, "rules"), Lease(redis, KEYS, "rules")
    await first.take()
    holding = asyncio.create_task(first.hold())
    with structlog.testing.capture_logs() as logs:
        taking = asyncio.create_task(second.take())
        await asyncio.sleep(1)
        assert not taking.done()
        await Lease(redis, KEYS, "bot").take()  # another role is another lease
        holding.cancel()
        await first.release()
        await asyncio.wait_for(taking, 10)
    assert [entry["event"] for entry in logs] == [
        "another rules role is running on this Redis; waiting for its end"
    ]


async def test_the_next_takes_over_within_seconds_of_a_kill(redis: Redis, valkey: Server) -> None:
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, valkey.url,
        stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"holds\n"
    mine = Lease(redis, KEYS, "rules")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(mine.take(), 0.3)
    os.kill(holder.pid, signal.SIGKILL)
    await holder.wait()
    began = time.monotonic()
    await mine.take()
    assert time.monotonic() - began < leases._LIFE_MS / 1000 + 1


@pytest.mark.parametrize("hours", [3, 8])
async def test_a_dead_holders_lease_ends_though_the_clock_was_set_back(
    quick: None, redis: Redis, hours: int
) -> None:
    """The key expires by the time of day, so it would last as long as the clock was set back."""
    await redis.set(KEYS.lease("rules"), "dead", px=hours * 3_600_000)
    began = time.monotonic()
    await asyncio.wait_for(Lease(redis, KEYS, "rules").take(), 10)
    assert time.monotonic() - began < 2 * leases._LIFE_MS / 1000 + 1


async def test_a_lease_taken_by_another_is_lost(quick: None, redis: Redis) -> None:
    mine = Lease(redis, KEYS, "rules")
    await mine.take()
    await redis.set(KEYS.lease("rules"), "somebody else")
    with pytest.raises(LeaseLost, match="another rules role has taken over"):
        await asyncio.wait_for(mine.hold(), 1)
    await mine.release()
    assert await redis.get(KEYS.lease("rules")) == b"somebody else"


async def test_a_lease_that_ran_out_unclaimed_is_kept(
    quick: None, redis: Redis, shaky: Redis, proxy: Proxy
) -> None:
    mine = Lease(shaky, KEYS, "rules")
    await mine.take()
    holding = asyncio.create_task(mine.hold())
    proxy.fail()
    async with asyncio.timeout(10):
        while await redis.get(KEYS.lease("rules")) is not None:
            await asyncio.sleep(0.01)
        proxy.down = False
        while await redis.get(KEYS.lease("rules")) is None:
            await asyncio.sleep(0.01)
    assert not holding.done()
    holding.cancel()


async def test_release_gives_up_soon(quick: None, shaky: Redis, proxy: Proxy) -> None:
    mine = Lease(shaky, KEYS, "rules")
    await mine.take()
    proxy.fail()
    began = time.monotonic()
    await mine.release()
    assert time.monotonic() - began < ANSWER_S / 2  # so long one answer is waited for elsewhere


async def test_a_reply_lost_while_taking_is_no_rival(
    quick: None, redis: Redis, valkey: Server
) -> None:
    mine = Lease(redis, KEYS, "rules")
    assert await mine._renewed()
    await asyncio.wait_for(mine.take(), 0.1)  # it finds its own token
    other = connect(valkey.url, "other")
    assert not await Lease(other, KEYS, "rules")._renewed()
    await other.aclose()


async def test_a_redis_that_somebody_empties_is_said_to_be_that_and_nothing_is_lost(
    quick: None, redis: Redis
) -> None:
    lease = Lease(redis, KEYS, "streams")
    await lease.take()
    writer = Writer(redis, KEYS.events, 60_000, 1_000_000, lease)
    await writer.append([(1, b"before")])
    await redis.flushall()
    with structlog.testing.capture_logs() as logs:
        writing = asyncio.create_task(writer.append([(2, b"after")]))
        await asyncio.sleep(0.3)
        assert not writing.done()
        holding = asyncio.create_task(lease.hold())
        await asyncio.wait_for(writing, 10)
        holding.cancel()
    words = logs[0]["event"]
    assert words.startswith("Redis was emptied, or this machine stood still for long")
    assert "be reached" not in words
    entries = await redis.xrange(KEYS.events)
    assert [fields[b"e"] for _, fields in entries] == [b"after"]
    await lease.release()


async def written_after(
    redis: Redis, blocked_s: float, while_blocked: Callable[[], Awaitable[object]] | None = None
) -> tuple[list[str], list[bytes]]:
    """What is logged and written by a role that stands still for so long, and then goes on."""
    lease = Lease(redis, KEYS, "streams")
    await lease.take()
    writer = Writer(redis, KEYS.events, 60_000, 1_000_000, lease)
    await writer.append([(1, b"before")])
    time.sleep(blocked_s)
    if while_blocked is not None:
        await while_blocked()
    with structlog.testing.capture_logs() as logs:
        await asyncio.wait_for(writer.append([(2, b"after")]), 10)
    await lease.release()
    entries = await redis.xrange(KEYS.events)
    return [entry["event"] for entry in logs], [fields[b"e"] for _, fields in entries]


async def test_a_role_that_stood_still_for_longer_than_its_lease_goes_on_without_a_word(
    quick: None, redis: Redis
) -> None:
    """As it starts on a busy machine: nobody has emptied anything."""
    life_s = leases._LIFE_MS / 1000
    logs, entries = await written_after(redis, 1.5 * life_s)
    assert (logs, entries) == ([], [b"before", b"after"])
    assert await redis.get(KEYS.lease("streams")) is None


async def test_a_role_that_stood_still_while_another_took_over_writes_nothing(
    quick: None, redis: Redis
) -> None:
    other = Lease(redis, KEYS, "streams")
    with pytest.raises(LeaseLost, match="another streams role has taken over"):
        await written_after(redis, 1.5 * leases._LIFE_MS / 1000, other.take)
    assert [fields[b"e"] for _, fields in await redis.xrange(KEYS.events)] == [b"before"]
    await other.release()
