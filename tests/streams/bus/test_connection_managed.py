"""Servers of others: what managed ones forbid, what is unsafe, and who shares one."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from bot import status
from bot.config import ConfigError, load
from bot.roles.rules import RulesRole
from rules import alerts
from rules.alerts import Notice
from streams import events
from streams.bus import connection
from streams.bus.connection import Keys, StreamReader, connect, in_words, unsafe, use_prefix
from streams.bus.embedded import Embedded
from streams.bus.lease import Lease
from streams.bus.writer import Writer
from streams.events import FaultCode, Tick
from tests.bot.role_fixtures import settings
from tests.valkey import Server

FORBIDDEN = ("hello", "client", "info", "memory", "config")


@pytest.fixture
def prefix() -> Iterator[None]:
    yield
    use_prefix(connection.PREFIX)


@pytest.fixture(params=[FORBIDDEN, ("client",), ("hello",), ("info", "memory")])
async def managed(
    request: pytest.FixtureRequest, redis: Redis, valkey: Server
) -> AsyncIterator[str]:
    """The URL of a user who may use the keys of Lowtide and not these commands."""
    forbidden = [f"-{command}" for command in request.param]
    await redis.execute_command(
        "ACL", "SETUSER", "guest", "reset", "on", ">secret", "~lowtide:*", "+@all", *forbidden
    )
    yield f"unix://guest:secret@{valkey.socket}"
    await redis.execute_command("ACL", "DELUSER", "guest")


async def test_a_managed_server_is_usable(managed: str, redis: Redis) -> None:
    client = connect(managed, "managed")
    keys = Keys()
    for _ in range(2):  # the second writer finds what the first has written
        writer = Writer(client, keys.events, 3_600_000, 8_000_000)
        await writer.append([(1_000 * n, events.encode(Tick(seen=n))) for n in range(1, 30)])
        assert writer.written == 29
    assert await redis.xlen(keys.events) == 58
    reader = StreamReader(client, keys, "rules", keys.events)
    assert len(await reader.read(await reader.bookmark())) == 58
    await reader.commit("5-0", [b"a"])
    lease = Lease(client, keys, "rules")
    await asyncio.wait_for(lease.take(), 5)
    await lease.release()
    answer = await status.collect(client)
    assert answer["redis"]["streams"]["events"]["entries"] == 58
    assert "redis    " in status.describe(answer)
    assert await unsafe(client) == ""
    await client.aclose()


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_server_that_evicts_is_said_at_start(
    redis: Redis, tmp_path: Path, policy: str
) -> None:
    assert await unsafe(redis) == ""
    await redis.execute_command("CONFIG", "SET", "maxmemory-policy", policy)
    try:
        assert policy in await unsafe(redis)
        await redis.xadd(Keys().events, {"e": events.encode(Tick(seen=1))}, id="9-0")
        role = RulesRole(settings(tmp_path), redis)
        running = asyncio.create_task(role.run())
        async with asyncio.timeout(5):
            while role.status().cursor != "9-0":
                await asyncio.sleep(0.005)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    finally:
        await redis.execute_command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    outputs = [alerts.decode(fields[b"a"]) for _, fields in await redis.xrange(Keys().alerts)]
    notices = [output for output in outputs if isinstance(output, Notice)]
    assert [notice.fault for notice in notices] == [FaultCode.REDIS_UNSAFE]
    assert "set it to noeviction" in notices[0].reason


@pytest.mark.parametrize("moved", ["12182 10.1.2.3:6379", "3999 :6381"])
async def test_a_cluster_is_said_in_words(tmp_path: Path, moved: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16):
            writer.write(f"-MOVED {moved}\r\n".encode())
            await writer.drain()

    server = await asyncio.start_unix_server(serve, tmp_path / "s")
    client = connect(f"unix://{tmp_path}/s", "test")
    with pytest.raises(ResponseError) as error:
        await client.get("lowtide:{0}:status")
    words = in_words(error.value)
    assert "is a cluster" in words
    assert "REDIS_URL" in words
    await client.aclose()
    server.close()


async def test_two_installations_share_a_server(redis: Redis, prefix: None) -> None:
    held: list[Lease] = []
    for name in ("lowtide", "second", "third.test-1"):
        use_prefix(name)
        keys = Keys()
        assert keys.events == f"{name}:{{0}}:events"
        reader = StreamReader(redis, keys, "rules", keys.events)
        assert await reader.bookmark() == connection.START
        await reader.commit("5-0", [name.encode()])
        lease = Lease(redis, keys, "rules")
        await asyncio.wait_for(lease.take(), 2)  # nobody waits for another's role
        held.append(lease)
        assert await redis.xlen(keys.alerts) == 1
    for lease in held:
        await lease.release()


def test_the_prefix_comes_from_the_configuration(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "config.toml").read_text()
    path = tmp_path / "config.toml"
    path.write_text(text.replace("[redis]", '[redis]\nprefix = "lowtide-eu.1"'))
    assert load(path, {}).redis_prefix == "lowtide-eu.1"
    for wrong in ("", "a b", "a{b", "x" * 41, "a:b"):
        path.write_text(text.replace("[redis]", f'[redis]\nprefix = "{wrong}"'))
        with pytest.raises(ConfigError, match="redis"):
            load(path, {})


async def test_our_own_server_is_safe(tmp_path: Path) -> None:
    server = Embedded(tmp_path / "data", 8)
    await server.start()
    client = connect(server.url, "test")
    assert await unsafe(client) == ""
    await client.aclose()
    await server.stop()
