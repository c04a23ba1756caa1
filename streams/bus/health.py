"""What is wrong in this process right now: written where it is noticed, read by whoever tells
operators when nothing else works any more (``bot/delivery/alarms.py``).
"""

import time
from collections.abc import Callable


class Health:
    """Who is failing, since when (seconds of ``now``), and why as last said."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failing: dict[str, tuple[float, str]] = {}

    def failing(self, who: str, why: str) -> None:
        """``who`` does not work; said again it keeps the time of the first."""
        since, _ = self._failing.get(who, (self._now(), ""))
        self._failing[who] = since, why

    def works(self, who: str) -> None:
        """``who`` works (again)."""
        self._failing.pop(who, None)

    def lasting(self, seconds: float) -> dict[str, str]:
        """Who has been failing for so long, and why."""
        now = self._now()
        return {who: why for who, (since, why) in self._failing.items() if now - since >= seconds}


HEALTH = Health()
"""That of this process."""
