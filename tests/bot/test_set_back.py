"""A clock that is set back, in each role."""

import asyncio

import pytest

from bot.roles.streams import mind
from bot.run import supervise
from streams.clock import ClockSetBack, WallClock
from streams.events import AnyEvent, Fault, FaultCode

S = 1_000_000_000


class Machine:
    """A machine whose time of day can be set."""

    def __init__(self) -> None:
        self.wall, self.steady = 1_790_000_000 * S, 5 * S
        self.clock = WallClock(lambda: self.wall, lambda: self.steady)


async def test_streams_say_a_small_step_and_begin_anew_after_a_large_one() -> None:
    machine, told = Machine(), list[AnyEvent]()
    machine.wall -= 10 * S
    task = asyncio.create_task(mind(machine.clock, told.append))
    await asyncio.sleep(0)
    assert [(e.code, e.detail) for e in told if isinstance(e, Fault)] == [
        (FaultCode.CLOCK_SET_BACK, "by 10 s")
    ]
    task.cancel()
    machine.wall -= 3 * 3_600 * S
    with pytest.raises(ClockSetBack, match="by 3 h"):
        await mind(machine.clock, told.append)
    assert len(told) == 1  # the rules say it, who see it by the next Tick


async def test_a_role_whose_clock_was_set_back_begins_anew_at_once() -> None:
    begun, enough = list[float](), asyncio.Event()
    loop = asyncio.get_running_loop()

    async def work() -> None:
        begun.append(loop.time())
        if len(begun) == 3:
            enough.set()
            await asyncio.Event().wait()
        raise ClockSetBack("by 3 h")

    task = asyncio.create_task(supervise("streams", work))
    await asyncio.wait_for(enough.wait(), 0.5)  # no backoff, which begins at 0.75 s
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
