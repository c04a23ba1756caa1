"""How far our clock is from those of the venues. Pure.

A frame takes a while to arrive, so of each venue the quickest one of some seconds counts: what even
that one is late is the way, or our clock that is ahead; one that comes before it was sent is our
clock that is behind. A venue may be wrong alone, so the median of the venues is believed, and only
if it is so twice in a row. What is said again, because nothing has changed, has its old time and
does not count.
"""

from streams.durations import SECOND
from streams.events import AnyEvent, Depth, Fault, FaultCode, Liquidation, Ms, Price, fault

MOST: Ms = 2 * SECOND
"""So far apart is told; within half of it, that it is over."""

LOOK_EVERY: Ms = 10 * SECOND
_TIMES = 2


class Skew:
    """Takes events, and says now and then how far our clock is from the venues'."""

    def __init__(self) -> None:
        self._quickest: dict[str, Ms] = {}
        self._newest: dict[str, Ms] = {}
        self._highest: dict[str, Ms] = {}  # since the last look: one lie is not believed for ever
        self._look_at: Ms | None = None
        self._beyond = 0
        self._told = False

    def take(self, event: AnyEvent) -> None:
        """Notes how long ``event`` was on its way. What is polled or settled was long before."""
        if not isinstance(event, Depth | Price | Liquidation) or event.at == event.seen:
            return
        venue, at = event.venue, event.at
        if at > self._highest.get(venue, 0):
            self._highest[venue] = at
        if at <= self._newest.get(venue, 0):
            return  # said again, or overtaken
        self._newest[venue] = at
        late, before = event.seen - at, self._quickest.get(venue)
        if before is None or late < before:
            self._quickest[venue] = late

    def look(self, now: Ms) -> Fault | None:
        """What is to be said at ``now``: that the clocks differ, or do no longer."""
        if self._look_at is None or now < self._look_at - LOOK_EVERY:
            self._look_at = now + LOOK_EVERY
        if now < self._look_at:
            return None
        self._look_at = now + LOOK_EVERY
        self._newest, self._highest = self._highest, {}
        if not self._quickest:
            return None
        ordered = sorted(self._quickest.values())
        middle = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
        ahead = min(middle, key=abs)
        self._quickest = {}
        if abs(ahead) > MOST:
            self._beyond += 1
            if self._beyond < _TIMES or self._told:
                return None
            self._told = True
            return fault(FaultCode.CLOCK_SKEWED, now, detail=_words(ahead))
        self._beyond = 0
        if self._told and abs(ahead) <= MOST // 2:
            self._told = False
            return fault(FaultCode.CLOCK_SKEWED, now, over=True)
        return None


def _words(ahead: Ms) -> str:
    seconds = f"{abs(ahead) / 1000:,.0f} s"
    if ahead < 0:
        return f"{seconds} behind the venues'"
    return f"{seconds} ahead of the venues', unless everything arrives so late"
