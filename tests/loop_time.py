"""How long something takes, of the time that this process had: a busy machine adds nothing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

_BEAT_S = 0.01


@contextlib.asynccontextmanager
async def loop_time() -> AsyncIterator[Callable[[], float]]:
    """The seconds since then, as far as the event loop came round: a turn counts for a hundredth
    of a second however long the machine left us waiting, so this is never more than by a clock."""
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(_BEAT_S)
            beats += 1

    beating = asyncio.create_task(beat())
    try:
        yield lambda: beats * _BEAT_S
    finally:
        beating.cancel()
