"""What is wrong in this process right now: written where it is noticed, read by whoever tells
operators when nothing else works any more (``bot/delivery/alarms.py``), and by whoever starts this
process anew (``bot/roles/notify.py``).
"""

import math
import time
from collections.abc import Callable

SILENT_S = 45.0
"""A loop goes round each two seconds, or each ten while Redis does not answer."""

BUG_S = 600.0


class Health:
    """Who is failing, since when and when last said (seconds of ``now``), and why as last said."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failing: dict[str, tuple[float, float, str]] = {}
        self._bugs: set[str] = set()
        self._by_hand: set[str] = set()
        self._beats: dict[str, float] = {}

    def failing(self, who: str, why: str, *, by_bug: bool = False, by_hand: bool = False) -> None:
        """``who`` does not work; said again it keeps the time of the first. ``by_bug``: nothing
        outside is the cause, so that a new process may mend it. ``by_hand``: said once, somebody
        has to mend it, as a full disk."""
        now = self._now()
        since = self._failing[who][0] if who in self._failing else now
        self._failing[who] = since, now, why
        (self._bugs.add if by_bug else self._bugs.discard)(who)
        if by_hand:
            self._by_hand.add(who)

    def works(self, who: str) -> None:
        """``who`` works (again)."""
        self._failing.pop(who, None)
        self._bugs.discard(who)
        self._by_hand.discard(who)

    def begin(self, role: str) -> None:
        """``role`` is at work from now on, and says so by beats."""
        self._beats[role] = self._now()

    def beat(self, role: str) -> None:
        """The loop of ``role`` goes round, though Redis may be away."""
        if role in self._beats:
            self._beats[role] = self._now()

    def end(self, role: str) -> None:
        """``role`` is not at work any more; if it should be, it is ``failing``."""
        self._beats.pop(role, None)

    def stuck(self) -> list[str]:
        """A sentence for each role that only a new process may help: its loop has not gone round
        for SILENT_S, or it has ended by a bug again and again for BUG_S. What is missing outside
        (Redis, Telegram, a venue) is none of it: a new process would miss it too, and would have
        lost what this one keeps for it."""
        now = self._now()
        silent = [
            f"the {role} role has not gone on for {now - beat:.0f} s"
            for role, beat in self._beats.items()
            if now - beat >= SILENT_S
        ]
        return silent + [
            f"{who} ends again and again: {self._failing[who][2]}"
            for who in sorted(self._bugs)
            if now - self._failing[who][0] >= BUG_S
        ]

    def lives(self, who: str, seconds: float) -> None:
        """``who`` began anew so many seconds ago: what has not been said since is over."""
        _, latest, _ = self._failing.get(who, (0.0, math.inf, ""))
        if self._now() - latest > seconds:
            self.works(who)

    def lasting(self, seconds: float, by_hand: float | None = None) -> dict[str, str]:
        """Who has been failing for so long, and why. ``by_hand``: the same of what does not pass
        without somebody's hand."""
        now = self._now()
        sooner = seconds if by_hand is None else by_hand
        return {
            who: why
            for who, (since, _, why) in self._failing.items()
            if now - since >= (sooner if who in self._by_hand else seconds)
        }


HEALTH = Health()
"""That of this process."""
