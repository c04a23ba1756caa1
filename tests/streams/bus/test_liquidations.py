"""What a process knows of the liquidations that one before it has written."""

import pytest
from redis.asyncio import Redis

from streams.bus.connection import Keys
from streams.bus.liquidations import written_liquidations
from streams.bus.writer import Writer
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import AnyEvent, Liquidation, Ms, Position, Tick, encode

T0 = 1_790_000_000_000


def liquidation(at: Ms, usd: float, venue: str = "okx") -> Liquidation:
    return Liquidation(
        venue=venue, symbol="BTC-USDT-SWAP", asset="BTC", at=at - 40, seen=at,
        position=Position.LONG, price=100.0, base=usd / 100, usd=usd,
    )  # fmt: skip


async def write(redis: Redis, *events: AnyEvent) -> None:
    writer = Writer(redis, Keys().events, HOUR, 1 << 30)
    await writer.append([(event.seen, encode(event)) for event in events])


async def test_they_are_found_with_how_long_before_the_newest_entry_they_were(redis: Redis):
    assert await written_liquidations(redis, Keys(), {"okx"}, 2 * MINUTE) == []
    events = [
        liquidation(T0, 1.0),
        liquidation(T0 + MINUTE, 2.0),
        liquidation(T0 + MINUTE, 3.0, "binance"),
        liquidation(T0 + 2 * MINUTE, 4.0),
        Tick(seen=T0 + 2 * MINUTE + SECOND),
    ]
    await write(redis, *events)
    written = await written_liquidations(redis, Keys(), {"okx", "kraken"}, 2 * MINUTE)
    assert written == [(MINUTE + SECOND, events[1]), (SECOND, events[3])]
    assert await written_liquidations(redis, Keys(), set(), 2 * MINUTE) == []


@pytest.mark.parametrize("count", [1_998, 1_999, 2_000, 4_500])
async def test_it_reads_as_far_back_as_it_should_whatever_lies_between(redis: Redis, count: int):
    first = liquidation(T0, 1.0)
    await write(redis, liquidation(T0 - SECOND, 9.0), first)
    await redis.xadd(Keys().events, {"e": b'{"type":"liquidation","of":"another version"}'},
                     id=f"{T0}-7")  # fmt: skip
    await redis.xadd(Keys().events, {"other": b"?"}, id=f"{T0}-8")
    await write(redis, *(Tick(seen=T0 + n * MINUTE // count) for n in range(1, count + 1)))
    assert await written_liquidations(redis, Keys(), {"okx"}, MINUTE) == [(MINUTE, first)]
