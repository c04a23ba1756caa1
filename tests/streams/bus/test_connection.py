import asyncio
import random

import pytest
from redis import exceptions
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, ResponseError

from streams.bus import connection
from streams.bus.connection import START, Keys, Overtaken, Snapshot, StreamReader, parsed
from streams.clock import wall_ms
from tests.loop_time import loop_time
from tests.valkey import Do, Proxy, troubles

KEYS = Keys()
EVENTS = KEYS.events


def reader(redis: Redis, name: str = "rules") -> StreamReader:
    return StreamReader(redis, Keys(), name, EVENTS)


async def stored_alerts(redis: Redis) -> list[bytes]:
    return [fields[b"a"] for _, fields in await redis.xrange(KEYS.alerts)]


async def test_reads_in_order_from_a_bookmark(redis: Redis) -> None:
    assert await reader(redis).first() is None
    for n in range(1, 1_201):
        await redis.xadd(EVENTS, {"e": b"%d" % n}, id=f"{n}-0")
    mine = reader(redis)
    assert await mine.first() == "1-0"
    cursor, read = START, []
    while batch := await mine.read(cursor, block=False):
        assert len(batch) <= connection.COUNT
        read += batch
        cursor = batch[-1][0]
    assert read == [(f"{n}-0", b"%d" % n) for n in range(1, 1_201)]


async def test_a_waiting_reader_gets_an_event_at_once(redis: Redis) -> None:
    reading = asyncio.create_task(reader(redis).read(START))
    await asyncio.sleep(0.05)
    async with loop_time() as passed:
        await redis.xadd(EVENTS, {"e": b"new"}, id="5-0")
        assert await reading == [("5-0", b"new")]
        assert passed() < connection.BLOCK_MS / 2_000  # before it would ask again


async def test_bookmark_and_alerts_are_durable_together(redis: Redis) -> None:
    mine = reader(redis)
    assert await mine.bookmark() == START
    await mine.commit("5-0", [b"one", b"two"])
    await mine.commit("6-0", [])
    assert await reader(redis).bookmark() == "6-0"
    assert await stored_alerts(redis) == [b"one", b"two"]
    assert await reader(redis, "bot").bookmark() == START


async def test_old_alerts_are_let_go(redis: Redis) -> None:
    for n in range(1, 1_001):
        await redis.xadd(KEYS.alerts, {"a": b"old"}, id=f"{n}-0")
    await reader(redis).commit("5-0", [b"new"])
    assert (await stored_alerts(redis))[-1] == b"new"
    assert await redis.xlen(KEYS.alerts) < 200


@pytest.mark.parametrize("ahead_ms", [30 * 86_400_000, -30 * 86_400_000])
async def test_how_old_an_alert_is_goes_by_the_servers_clock(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, ahead_ms: int
) -> None:
    monkeypatch.setattr(connection, "wall_ms", lambda: wall_ms() + ahead_ms)
    mine = reader(redis)
    for n in range(1, 401):
        await mine.commit(f"{n}-0", [b"%d" % n])
    assert len(await stored_alerts(redis)) == 400


async def test_a_bookmark_beyond_the_stream_is_read_from_the_beginning(redis: Redis) -> None:
    mine = reader(redis)
    assert await mine.read("9-0", block=False) == []  # there is no stream
    await redis.xadd(EVENTS, {"e": b"a"}, id="5-0")
    assert await mine.read("9-0", block=False) == [("5-0", b"a")]
    assert await mine.read("5-0", block=False) == []
    await redis.xtrim(EVENTS, maxlen=0, approximate=False)
    assert await mine.read("5-0", block=False) == []  # it was let go, and is read all the same
    assert await mine.newest() == "5-0"


async def test_what_is_recent_goes_by_the_server_and_is_never_beyond_the_stream(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "wall_ms", lambda: wall_ms() + 8 * 3_600_000)
    mine = reader(redis)
    assert await mine.recent(1_000) == START
    ms, _ = parsed(await redis.xadd(EVENTS, {"e": b"a"}))
    assert ms - 60_000 <= parsed(await mine.recent(60_000))[0] <= ms

    async def forbidden() -> None:
        raise exceptions.NoPermissionError("no permission to run the 'time' command")

    monkeypatch.setattr(redis, "time", forbidden)
    assert await mine.recent(60_000) == await mine.newest()


@pytest.mark.parametrize("fault", [Do.DROP, Do.LOSE])
@pytest.mark.parametrize("place", range(6))
async def test_a_fault_anywhere_repeats_no_alert(
    quick: None, redis: Redis, shaky: Redis, proxy: Proxy, fault: Do, place: int
) -> None:
    proxy.plan.extend([*[Do.PASS] * place, fault])
    mine = reader(shaky)
    await mine.bookmark()
    for n in range(1, 5):
        await mine.commit(f"{n}-0", [b"a%d" % n])
    assert not proxy.plan
    assert await stored_alerts(redis) == [b"a%d" % n for n in range(1, 5)]
    assert await mine.bookmark() == "4-0"


@pytest.mark.parametrize("seed", range(4))
async def test_any_faults_repeat_and_lose_nothing(
    quick: None, redis: Redis, shaky: Redis, proxy: Proxy, seed: int
) -> None:
    proxy.plan.extend(troubles(seed, 60))
    mine, dice, alerts = reader(shaky), random.Random(seed), 0
    await mine.bookmark()
    for n in range(1, 20):
        batch = [b"%d" % i for i in range(alerts, alerts + dice.randrange(4))]
        alerts += len(batch)
        await mine.commit(f"{n}-0", batch)
    assert await stored_alerts(redis) == [b"%d" % i for i in range(alerts)]


async def test_who_was_overtaken_commits_nothing_more(redis: Redis) -> None:
    """Stopped for long (a suspended machine), its lease given to another, it wakes up."""
    slow, other = reader(redis), reader(redis)
    await slow.bookmark()
    await slow.commit("5-0", [b"a"])
    assert await other.bookmark() == "5-0"
    await other.commit("7-0", [b"b"])
    with pytest.raises(Overtaken, match="another rules role is at work"):
        await slow.commit("6-0", [b"b"])
    assert await stored_alerts(redis) == [b"a", b"b"]


@pytest.mark.parametrize("there", ["3-0", "5-1"])
async def test_a_redis_that_lost_the_last_writes_is_no_rival(redis: Redis, there: str) -> None:
    """After a failover to a replica that was behind, or with an older file."""
    mine = reader(redis)
    await mine.bookmark()
    await mine.commit("6-0", [b"a"])
    await redis.set(KEYS.bookmark("rules"), there)
    with pytest.raises(Overtaken, match="Redis has lost what the rules role wrote last"):
        await mine.commit("7-0", [b"b"])
    again = reader(redis)
    assert await again.bookmark() == there  # whoever begins anew goes on from there


async def test_a_redis_that_was_emptied_is_no_rival(redis: Redis) -> None:
    mine = reader(redis)
    await mine.bookmark()
    await mine.commit("5-0", [])
    await redis.flushall()
    await mine.commit("6-0", [b"a"])
    assert await stored_alerts(redis) == [b"a"]


async def test_snapshots_come_back(redis: Redis) -> None:
    mine = reader(redis)
    assert await mine.saved() is None
    snapshot = Snapshot("7-1", bytes(range(256)) * 4_000)
    await mine.save(snapshot)
    assert await reader(redis).saved() == snapshot


async def test_an_unreadable_snapshot_is_said_and_can_be_set_aside(redis: Redis) -> None:
    await redis.set(KEYS.snapshot("rules"), b"\x93nonsense")
    with pytest.raises(ValueError, match="not readable"):
        await reader(redis).saved()
    await reader(redis).set_aside()
    await reader(redis).save(Snapshot("7-1", b"new"))
    assert await redis.get(f"{KEYS.snapshot('rules')}:unread") == b"\x93nonsense"
    assert 0 < await redis.ttl(f"{KEYS.snapshot('rules')}:unread") <= 7 * 86_400


async def test_cancelled_at_any_moment_it_ends(redis: Redis) -> None:
    """With redis-py's socket_timeout some of these cancellations were swallowed."""

    async def work() -> None:
        mine = reader(redis)
        await mine.bookmark()
        n = 0
        while True:
            n += 1
            await mine.read(START, block=False)
            await mine.commit(f"{n}-0", [])

    for moment in range(100):
        await redis.delete(KEYS.bookmark("rules"))
        task = asyncio.create_task(work())
        for _ in range(moment):
            await asyncio.sleep(0)
        task.cancel()
        _, late = await asyncio.wait([task], timeout=1)
        assert not late, f"still running after a cancellation at step {moment}"
        assert task.cancelled()


async def test_only_commands_of_redis_6_2(redis: Redis) -> None:
    """Of everything that Lowtide asks of Redis; the roles' own tests ask for the same."""
    from bot import status
    from streams.bus.lease import Lease
    from streams.bus.writer import Writer

    await redis.config_resetstat()
    writer = Writer(redis, EVENTS, 60_000, 1_000_000)
    await writer.append([(1_000, b"x")])
    writer = Writer(redis, EVENTS, 60_000, 1_000_000)
    await writer.append([(1_001, b"y")])
    await writer._shrink()
    mine = reader(redis)
    await mine.read(await mine.bookmark())
    await mine.first()
    await mine.commit("5-0", [b"a"])
    await mine.save(Snapshot("5-0", b""))
    await mine.saved()
    lease = Lease(redis, KEYS, "rules")
    await lease.take()
    await lease.release()
    await status.collect(redis)
    asked = {name.removeprefix("cmdstat_") for name in await redis.info("commandstats")}
    known_to_6_2 = (
        "multi exec eval get set del pexpire pttl xadd xread xrange xrevrange xlen xtrim "
        "xinfo|stream memory|usage info ping hello time config|resetstat client|setname"
    )
    greeting = {"client|setinfo"}  # newer, and redis-py does not mind its refusal
    assert asked - greeting <= set(known_to_6_2.split(" "))
    assert {"eval", "xadd", "xread", "xtrim", "memory|usage"} <= asked


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (exceptions.OutOfMemoryError("OOM command not allowed"), "Redis has no memory left: raise"),
        (AuthenticationError("WRONGPASS"), "Redis refuses the password: check REDIS_URL"),
        (ResponseError("MISCONF Errors writing to the AOF file"), "the disk is full or read-only"),
        (
            exceptions.ReadOnlyError("You can't write against a read only replica."),
            "read-only replica",
        ),
        (
            exceptions.BusyLoadingError("Redis is loading the dataset in memory"),
            "still reading its file",
        ),
        (exceptions.NoPermissionError("User x has no permissions"), "forbids a command or key"),
        (ResponseError("WRONGTYPE Operation against"), "refused a command: WRONGTYPE"),
        (exceptions.TimeoutError("Timeout reading"), "does not answer in time"),
        (
            exceptions.ConnectionError(
                "Error 111 connecting to localhost:6379. Connection refused."
            ),
            "cannot be reached: connecting to localhost:6379. Connection refused",
        ),
        (OSError("x"), "cannot be reached: OSError"),
        (
            ResponseError(
                "Error running script (call to f_1): @user_script:5: @user_script: 5: -OOM command"
                " not allowed when used memory > 'maxmemory'."
            ),
            "Redis has no memory left: raise",
        ),
        (ResponseError("Error running script: -READONLY You can't write"), "read-only replica"),
        (ResponseError("Error running script: -MISCONF Errors writing"), "disk is full"),
        (connection.LeaseGone(), "Redis was emptied, or this machine stood still"),
        (exceptions.WatchError("Watched variable changed."), "was changed by somebody else"),
        (exceptions.InvalidResponse("Protocol Error"), "what it was asked: Protocol Error"),
        (exceptions.DataError(), "what it was asked: DataError"),
    ],
)
def test_errors_in_words(error: Exception, words: str) -> None:
    assert words in connection.in_words(error)


async def test_a_wrong_password_is_said_and_not_shown(redis: Redis, valkey) -> None:
    await redis.config_set("requirepass", "right")
    stranger = connection.connect(f"unix://:topsecret@{valkey.socket}", "test")
    try:
        with pytest.raises(exceptions.ConnectionError) as error:
            await stranger.ping()
    finally:
        await stranger.aclose()
        mine = connection.connect(f"unix://:right@{valkey.socket}", "test")
        await mine.config_set("requirepass", "")
        await mine.aclose()
    assert connection.in_words(error.value) == "Redis refuses the password: check REDIS_URL"
    assert "topsecret" not in str(error.value)


def test_entry_ids_compare_by_number() -> None:
    assert connection.parsed("9-0") < connection.parsed("10-0")
    assert connection.parsed("10-9") < connection.parsed("10-10")
    assert not connection.parsed("10-0") < connection.parsed("10-0")
    assert connection.parsed("0-0") < connection.parsed("1")
    assert connection.parsed(b"10-9") == connection.parsed("10-9")


async def test_whether_it_can_be_written_is_tried_with_a_key_that_goes(redis: Redis) -> None:
    await redis.config_set("maxmemory", "1")
    try:
        assert "no memory left" in await connection.unwritable(redis)
    finally:
        await redis.config_set("maxmemory", "0")
    assert await connection.unwritable(redis) == ""
    (key,) = await redis.keys(f"{KEYS.status}:*")
    assert 0 < await redis.pttl(key) <= 1_000
