"""A role that starts says by how much the clock stepped since the one before dated its events."""

import asyncio
from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from streams.bus import clock_mark
from streams.bus import publisher as publishing
from streams.bus.conflate import Conflator
from streams.bus.connection import Keys
from streams.bus.publisher import Publisher
from streams.bus.writer import Writer
from streams.clock import WallClock
from streams.durations import HOUR, SECOND
from streams.events import AnyEvent, ClockStep, Ms, Tick, decode, encode
from tests.rules.facts import price

S = 1_000_000_000
T0: Ms = 1_790_000_000_000


class Machine:
    """A machine on which one streams role after the other runs. ``off``: how far its time of day
    is from the venues'."""

    def __init__(self, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        self.redis = redis
        self.true, self.off, self.started = T0, 0, T0 - HOUR
        self.boot = "first"
        monkeypatch.setattr("streams.bus.clock_mark.boot", lambda: self.boot)
        monkeypatch.setattr(clock_mark, "_LOOK_S", 0.005)
        monkeypatch.setattr(publishing, "_TICK_MS", 5)

    def reboot(self) -> None:
        self.boot, self.started = "second", self.true - 40 * SECOND

    async def live(self, doing: Callable[[Publisher, WallClock], object], until: int = 2) -> None:
        """A streams role from its start to its end; ``until``: so many entries more."""
        clock = WallClock(
            lambda: (self.true + self.off) * 1_000_000,
            lambda: (self.true - self.started) * 1_000_000,
        )
        writer = Writer(self.redis, Keys().events, 1 << 40, 1 << 30)
        publisher = Publisher(writer, Conflator({"BTC"}), clock)
        clock.on_step(publisher.step)
        before = len(await self.stored())
        await clock_mark.resume_clock(self.redis, Keys(), clock, publisher)
        doing(publisher, clock)
        tasks = [
            asyncio.create_task(publisher.run()),
            asyncio.create_task(clock_mark.keep_mark(self.redis, Keys(), clock, publisher)),
        ]
        async with asyncio.timeout(10):
            while len(await self.stored()) < before + until:
                self.true += 250
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def stored(self) -> list[AnyEvent]:
        rows = await self.redis.xrange(Keys().events)
        return [decode(fields[b"e"]) for _, fields in rows]

    async def steps(self) -> list[ClockStep]:
        return [event for event in await self.stored() if isinstance(event, ClockStep)]

    def say(self, publisher: Publisher, clock: WallClock) -> None:
        """A price of each venue, 60 ms old."""
        for venue in ("binance", "bybit"):
            event = price(venue, clock.seen(), 100.0)
            publisher.publish(type(event)(
                venue=venue, symbol=event.symbol, asset=event.asset, mark=100.0,
                at=self.true - 60, seen=clock.seen(),
            ))  # fmt: skip


@pytest.fixture
def machine(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(redis, monkeypatch)


@pytest.mark.parametrize("by", [-3 * HOUR, -10 * SECOND, 8 * HOUR])
async def test_on_one_start_of_the_machine_the_steady_clock_tells(machine: Machine, by: Ms) -> None:
    await machine.live(machine.say)
    machine.true += 20 * SECOND  # nobody is there
    machine.off += by
    await machine.live(machine.say)
    (step,) = await machine.steps()
    assert abs(step.by - by) <= 1
    place = (await machine.stored()).index(step)
    assert all(event.seen >= step.seen for event in (await machine.stored())[place:])
    await machine.live(machine.say)
    assert len(await machine.steps()) == 1  # told once


@pytest.mark.parametrize("away", [SECOND, 26 * HOUR])
async def test_being_away_is_no_step(machine: Machine, away: Ms) -> None:
    await machine.live(machine.say)
    machine.true += away
    await machine.live(machine.say)
    machine.reboot()
    await machine.live(machine.say)
    assert await machine.steps() == []


@pytest.mark.parametrize("by", [-3 * HOUR, -90 * SECOND])
async def test_after_another_start_the_venues_tell(machine: Machine, by: Ms) -> None:
    await machine.live(machine.say)
    machine.true += 50 * SECOND
    machine.off += by
    machine.reboot()
    await machine.live(machine.say, until=5)
    (step,) = await machine.steps()
    assert abs(step.by - by) <= 1_000
    stored = await machine.stored()
    place = stored.index(step)
    assert all(event.seen > T0 - SECOND for event in stored[:place])
    assert all(event.seen <= machine.true + by for event in stored[place:])


async def test_where_no_venue_is_heard_nobody_knows(machine: Machine) -> None:
    await machine.live(machine.say)
    machine.off -= 3 * HOUR
    machine.reboot()
    await machine.live(lambda *_: None, until=5)
    assert await machine.steps() == []
    assert min(event.seen for event in await machine.stored()) < T0 - 2 * HOUR


async def test_a_stream_of_an_earlier_version_has_no_mark(machine: Machine) -> None:
    await machine.redis.xadd(Keys().events, {"e": encode(Tick(seen=T0 + 3 * HOUR))})
    await machine.live(machine.say)
    assert await machine.steps() == []
    await machine.redis.set(Keys().snapshot("clock"), b"\xc1")
    await machine.live(machine.say)
    assert await machine.steps() == []


async def test_a_step_while_it_runs_goes_before_what_is_dated_by_it(machine: Machine) -> None:
    def step(publisher: Publisher, clock: WallClock) -> None:
        machine.say(publisher, clock)
        event = price("bybit", clock.seen(), 90.0)
        publisher.publish(event)  # held, since another one has just gone
        machine.off -= 3 * HOUR
        machine.say(publisher, clock)

    await machine.live(step, until=7)
    stored = await machine.stored()
    (place,) = [n for n, event in enumerate(stored) if isinstance(event, ClockStep)]
    assert stored[place - 1].seen >= T0
    assert all(event.seen >= T0 for event in stored[:place])
    assert all(event.seen < T0 for event in stored[place:])
    assert len([event for event in stored[:place] if not isinstance(event, Tick)]) == 3
