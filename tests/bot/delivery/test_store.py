"""The outbox in Redis: what earlier versions wrote is taken over, and no address stays there."""

import msgspec
import pytest
from redis.asyncio import Redis

from bot.delivery.store import OutboxStore, read_outbox
from bot.destination import ConsoleOutput, Destination, TelegramChat
from bot.plan.planner import PlanState
from streams.bus.connection import Keys
from tests.bot.posts import post

KEYS = Keys()


@pytest.mark.parametrize(
    ("chat", "destination"),
    [(None, ConsoleOutput()), (-100, TelegramChat(-100)), ("@lowtide", TelegramChat("@lowtide"))],
)
async def test_chats_of_before_destinations_had_a_type(
    redis: Redis, chat: int | str | None, destination: Destination
):
    """Written then: the chat's number or name under ``chat``, None for the console."""
    key = "console" if chat is None else str(chat)
    state = {"chat": chat, "last_id": 7, "pace": {"until": 5}, "left": 1, "left_names": ["BTC"]}
    await redis.hset(KEYS.outbox, f"chat {key}", msgspec.msgpack.encode(state))
    loaded = (await OutboxStore(redis, KEYS).claim()).chats[key]
    assert loaded.destination == destination
    assert (loaded.last_id, loaded.pace.until, loaded.left_names) == (7, 5, ("BTC",))


async def test_posts_of_before_episodes_had_a_key(redis: Redis):
    """Written then: an episode as its rule, subject and beginning with spaces between them."""
    names = ("oi_drop:1h BTC 1790006400000", "thin bybit/BTCUSDT 1790006400001")
    now = ("oi_drop:1h:BTC:1790006400000", "thin:bybit/BTCUSDT:1790006400001")
    then = msgspec.structs.replace(
        post("p", 1, episodes=list(names)),
        open=names, values_at={names[0]: 7},
    )  # fmt: skip
    await redis.hset(KEYS.outbox, "post p", msgspec.msgpack.encode(then))
    (loaded,) = (await OutboxStore(redis, KEYS).claim()).posts
    assert loaded.episodes == loaded.open == now
    assert dict(loaded.values_at) == {now[0]: 7}
    again = msgspec.msgpack.encode(loaded)
    await redis.hset(KEYS.outbox, "post p", again)
    assert (await OutboxStore(redis, KEYS).claim()).posts == [loaded]


async def test_addresses_of_webhooks_that_were_written_before_are_deleted(redis: Redis):
    address = "https://hooks.example.org/T0P53CR3T"
    written = [f"chat {address}", f"plan {address}", f"post {address} 1791020520000 liq:BTC:1:1",
               f"post digest {address} 1791020520000 liq:BTC:1:1 +3"]  # fmt: skip
    fields = dict.fromkeys(written, msgspec.msgpack.encode({"chat": address}))
    kept = {"chat -100": msgspec.msgpack.encode({"chat": -100})}
    await redis.hset(KEYS.outbox, mapping=fields | kept)
    loaded = await OutboxStore(redis, KEYS).claim()
    assert set(loaded.chats) == {"-100"}
    assert not loaded.plans
    assert not loaded.posts
    assert loaded.lost == []
    left = await redis.hgetall(KEYS.outbox)
    assert set(left) == {b"chat -100", b"owner", b"rev", b"version"}


async def test_whoever_reads_it_leaves_it_to_its_owner(redis: Redis):
    owner = OutboxStore(redis, KEYS)
    await owner.claim()
    mine = post("p", 1)
    await owner.commit("1-0", {"-100": PlanState()}, [mine])
    await redis.hset(KEYS.outbox, "post broken", b"\xc1")
    before = await redis.hgetall(KEYS.outbox)
    assert await read_outbox(redis, KEYS) == ({"-100": PlanState()}, [mine])
    assert await redis.hgetall(KEYS.outbox) == before
    await owner.keep([mine])  # it is not overtaken
