"""Time that passes only when nobody has anything to do: hours of waiting in milliseconds.

Sockets on loopback work as ever: time jumps only while no data is on its way.
"""

import array
import asyncio
import fcntl
import functools
import selectors
import termios
from collections.abc import Callable, Coroutine
from typing import Any

from streams.events import Ms

EPOCH: Ms = 1_795_262_400_000
_STUCK_S = 2.0
_GRACE_S = 0.0002


class _Selector(selectors.DefaultSelector):
    """Waits for data, and instead of waiting for time lets it pass."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 1_000.0
        self.threads = 0  # at work for the loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self.threads:
            ready = super().select(_STUCK_S)
            assert ready, "everybody waits for ever"
            return ready
        # The longer the jump, the more it would break if data were under way after all.
        ready = super().select(_GRACE_S)
        if not ready and self._under_way():
            ready = super().select(min(0.005, _GRACE_S + timeout / 1000))
        if not ready:
            self.time += timeout
        return ready

    def _under_way(self) -> bool:
        """Whether a connection is being made or data has left us and not arrived: a busy kernel."""
        for key in self.get_map().values():
            if key.events & selectors.EVENT_WRITE or _unacknowledged(key.fd):
                return True
        return False


def _unacknowledged(fd: int) -> bool:
    count = array.array("i", [0])
    try:
        fcntl.ioctl(fd, termios.TIOCOUTQ, count)
    except OSError:
        return False
    return count[0] > 0


class Loop(asyncio.SelectorEventLoop):
    """An event loop in virtual time."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.time

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        def back(_: object) -> None:
            self._virtual.threads -= 1

        self._virtual.threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(back)
        return future


class Clock:
    """The loop's time as a ``streams.clock.Clock``. Starts at EPOCH."""

    def __init__(self) -> None:
        self._began = asyncio.get_running_loop().time()

    def now(self) -> Ms:
        return round((asyncio.get_running_loop().time() - self._began) * 1000)

    def seen(self) -> Ms:
        return EPOCH + self.now()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs an asynchronous test in virtual time; no task of it may be left behind."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def main() -> None:
            await asyncio.wait_for(test(*args, **kwargs), 1e6)
            await asyncio.sleep(2)  # the last connections are closed
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"left running: {left}"

        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(main())

    return run


async def ended(task: "asyncio.Task[Any]") -> None:
    """Cancel ``task`` and wait for its end. Raises what had ended it before."""
    if task.done():
        task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
