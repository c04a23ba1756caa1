"""How far our clock is from those of the venues. Pure.

A frame takes a while to arrive, so of each venue the quickest one of some seconds counts: what even
that one is late is the way, or our clock that is ahead; one that comes before it was sent is our
clock that is behind. Where all venues say so our clock is wrong; where only some do, it is theirs:
so the median of the venues is believed, and whose clock is far from that is told by itself. Each
must be so twice in a row. What is said again, because nothing has changed, has its old time and
does not count.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from streams.durations import SECOND
from streams.events import (
    AnyEvent,
    ClockStep,
    Depth,
    Fault,
    FaultCode,
    Liquidation,
    Ms,
    Price,
    fault,
    length_in_words,
)

MOST: Ms = 2 * SECOND
"""So far apart is told; within half of it, that it is over."""

LOOK_EVERY: Ms = 10 * SECOND
_TIMES = 2
_OURS = ""


class ClockError(msgspec.Struct, frozen=True, kw_only=True):
    """That our clock is wrong, as operators have been told."""

    ahead: Ms
    """How far it is ahead of the venues', by the last look; negative: behind."""
    venues: list[str]
    """Those that say so."""


class Skew:
    """Takes events, and says now and then how far our clock is from the venues'."""

    def __init__(self) -> None:
        self._quickest: dict[str, Ms] = {}
        self._newest: dict[str, Ms] = {}
        self._highest: dict[str, Ms] = {}  # since the last look: one lie is not believed for ever
        self._look_at: Ms | None = None
        self._beyond: dict[str, int] = {}
        self._reported: set[str] = set()
        self._error: ClockError | None = None

    @property
    def error(self) -> ClockError | None:
        """How wrong our clock is; None: it is not known to be."""
        error = self._error if _OURS in self._reported else None
        return error if error and abs(error.ahead) > MOST // 2 else None

    @property
    def late(self) -> Mapping[str, Ms]:
        """Venue → how late its quickest event since the last look was, by our clock."""
        return self._quickest

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

    def step(self, by: Ms) -> None:
        """Our clock stepped ``by``: what was late by it says nothing more."""
        self._quickest, self._look_at = {}, None
        if self._error is not None:
            self._error = msgspec.structs.replace(self._error, ahead=self._error.ahead + by)

    def look(self, now: Ms) -> list[Fault]:
        """What is to be said at ``now``: whose clocks are wrong, or are no longer."""
        if self._look_at is None or now < self._look_at - LOOK_EVERY:
            self._look_at = now + LOOK_EVERY
        if now < self._look_at:
            return []
        self._look_at = now + LOOK_EVERY
        self._newest, self._highest = self._highest, {}
        late, self._quickest = self._quickest, {}
        if not late:
            return []
        ours = middle_lateness(late.values())
        self._error = ClockError(ahead=ours, venues=sorted(late))
        faults = self._judge(_OURS, ours, now, clock_words(ours, [*late]))
        for venue, ms in late.items():
            faults += self._judge(venue, ms - ours, now, _venue_words(ms - ours))
        return faults

    def _judge(self, whose: str, off: Ms, now: Ms, words: str) -> list[Fault]:
        code = FaultCode.VENUE_CLOCK_SKEWED if whose else FaultCode.CLOCK_SKEWED
        if abs(off) > MOST:
            self._beyond[whose] = self._beyond.get(whose, 0) + 1
            if self._beyond[whose] < _TIMES or whose in self._reported:
                return []
            self._reported.add(whose)
            return [fault(code, now, venue=whose, detail=words)]
        self._beyond[whose] = 0
        if whose in self._reported and abs(off) <= MOST // 2:
            self._reported.remove(whose)
            return [fault(code, now, venue=whose, over=True)]
        return []


def middle_lateness(late: Iterable[Ms]) -> Ms:
    """The median; of two, the one nearer to none at all. ``late``: at least one."""
    ordered = sorted(late)
    return min(ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2], key=abs)


def late_before(events: Iterable[AnyEvent]) -> Mapping[str, Ms]:
    """How late the quickest event of each venue was when the last of ``events`` came, by the clock
    of then: of those since its last step."""
    skew = Skew()
    for event in events:
        if isinstance(event, ClockStep):
            skew = Skew()
        skew.take(event)
    return skew.late


def stepped_since(before: Mapping[str, Ms], now: Mapping[str, Ms]) -> Ms | None:
    """By how much our clock stepped while nobody watched it: by as much as every venue's events
    come later now than they did. None if there is no venue to ask."""
    shifts = [now[venue] - before[venue] for venue in now if venue in before]
    return middle_lateness(shifts) if shifts else None


def clock_words(ahead: Ms, venues: Sequence[str]) -> str:
    """How far our clock is ahead of the exchanges' (negative: behind), and what to do; ``venues``:
    the names of those that say so. Wherever it is told, it is told like this."""
    length, only = length_in_words(abs(ahead)), venues[0]
    if len(venues) > 1:
        if ahead < 0:
            return (
                f"{length} behind the exchanges';"
                " set it, by NTP for example: timedatectl set-ntp true"
            )
        return (
            f"{length} ahead of the exchanges', unless everything arrives so late;"
            " set it, by NTP for example: timedatectl set-ntp true"
        )
    if ahead < 0:
        return f"{length} behind that of {only}, the only one heard; set the one that is wrong"
    return (
        f"{length} ahead of that of {only}, the only one heard, unless everything arrives so late;"
        " set the one that is wrong"
    )


def _venue_words(behind: Ms) -> str:
    length = length_in_words(abs(behind))
    if behind < 0:
        return f"{length} ahead"
    return f"{length} behind, unless everything from there arrives so late"
