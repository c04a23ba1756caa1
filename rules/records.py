"""What was observed of one value over months, and what is remarkable about it now.

Invariants:
- one side only: ``x`` is the value with the sign that makes bad large;
- bounded: 400 days, and only peaks and runs that no later one exceeds;
- nothing is claimed of a time that was not observed: since the date of a record, at least 95 % of
  the time was, with the same venues as now.

An excursion is compared with what was before it: its own peaks wait until it is over.

What settlements a venue tells later goes in where there is a hole: before the first one that was
seen live, or after Lowtide was away. The record as it was before the hole is kept for that, with
the settlements seen since, and is gone on from with the past and these (``fill``), so that it
becomes what it would be if all had been lived through. What was seen live stays as it was seen.
"""

from collections.abc import Callable, Iterable
from itertools import accumulate

import msgspec

from rules.alerts import Record, RecordKind
from rules.metric import Reading
from rules.rule import Fires
from streams.durations import DAY, MINUTE
from streams.events import Ms

KEEP_DAYS = 400
LEAST_COVERAGE = 0.95

LULL: Ms = 10 * MINUTE
"""An excursion that comes back within this time never ended."""

_STEP: Ms = 6 * MINUTE
"""Coverage of a day is counted in such steps: 240 of them fit into a byte."""

_LONGEST_GAP: Ms = 5 * MINUTE
"""What lies between two observations further apart was not observed."""

_NEVER = float("-inf")


class Excursion(msgspec.Struct, array_like=True):
    """A breach that may still go on."""

    x: float
    """Its peak."""
    at: Ms
    """When the peak was."""
    last: Ms
    """When it was last seen."""


class SettlementSeen(msgspec.Struct, array_like=True, frozen=True):
    """A settlement as it was seen live."""

    now: Ms
    """When."""
    settled: Ms
    """When it was charged."""
    interval: Ms
    x: float


_SEEN = 96
"""So many settlements are seen live at most before nobody fills the hole before them any more."""


class Trail(msgspec.Struct, array_like=True):
    """What was observed. Owned by the engine and changed by ``note`` and ``fill`` alone."""

    first_day: int = 0
    """The day of ``covered[0]``, days since the epoch."""
    covered: bytearray = msgspec.field(default_factory=bytearray)
    """Steps of ``_STEP`` observed, one byte a day; of today only once it is over."""
    today_ms: Ms = 0
    """How much of today was observed."""
    last: Ms | None = None
    """The last observation."""
    unbroken: bool = False
    """The time up to the next observation counts as observed if it is not too long."""
    due: Ms = 0
    """Before then only peaks are noted."""
    worst: float = _NEVER
    """Today's peak."""
    peaks: list[tuple[Ms, float]] = []
    """(time, x), the oldest first, each larger than all later ones, one a day."""
    excursion: Excursion | None = None
    """The breach that goes on; None: there is none."""
    runs: list[tuple[Ms, int]] = []
    """(end, settlements) of past runs with the value beyond zero, each longer than all later ones.
    """
    run: int = 0
    """Settlements of the run that goes on; 0: none does."""
    run_end: Ms = 0
    """Its last settlement."""
    venues: tuple[str, ...] = ()
    """Those whose data all this is made of."""
    began: Ms = 0
    """Since when it is."""
    others: tuple[str, ...] = ()
    """Other venues that values are made of now; they begin a new record if that lasts."""
    others_since: Ms = 0
    """Since when they are."""
    before: "Trail | None" = None
    """As it was before the last hole; None: there is none to be filled."""
    seen: list[SettlementSeen] = []
    """The settlements since that hole."""
    unfilled: bool = False
    """There is a hole, or more is known of it, and nobody has looked since."""

    def note(self, now: Ms, x: float, reading: Reading, awake: bool) -> None:
        """The value at ``now``. ``awake``: the rule is pending or firing on it."""
        if now < self.due and x <= self.worst and not awake and self.excursion is None:
            return
        if now >= self.due or reading.settled_at is not None:
            self._cover(now, x, reading)
        if not self._mind_excursion(now, x, awake):
            self._peak(now, x)

    def fill(
        self, past: Iterable[tuple[Ms, float, Reading]], breached: Callable[[float, bool], bool]
    ) -> None:
        """Goes on from before the last hole with what was not seen live: (time, x, reading), the
        oldest first. ``breached``: whether a rule is awake at ``x``, if it was before."""
        self.unfilled, before = False, self.before
        if before is None or not self.seen:
            return
        filled, awake, first = _copy(before), False, self.seen[0]
        for at, x, reading in past:
            settled = reading.settled_at
            if settled is None or settled >= first.settled or at <= (before.last or 0):
                continue
            if reading.missing or reading.venues != self.venues:
                filled.unbroken = False
                continue
            if awake and filled.excursion is not None:
                filled.excursion.last = at  # it was looked at all the time
            awake = breached(x, awake)
            filled.note(at, x, reading, awake)
        for seen in self.seen:
            filled._count(seen.now, seen.settled, seen.interval, seen.x)
        for at, x in self.peaks:
            if at >= first.now:
                filled._peak(at, x)
        if (peak := self.excursion) is not None:
            old = filled.excursion
            if old is not None and old.x > peak.x:
                peak.x, peak.at = old.x, old.at
            filled.excursion = peak
        filled.began, filled.due = self.began, self.due
        for name in _FILLED:
            setattr(self, name, getattr(filled, name))

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: what was observed of later days is dropped."""
        self._close_hole()
        self.last = None if self.last is None else min(self.last, now)
        self.due, self.unbroken = min(self.due, now), False
        self.began, self.others_since = min(self.began, now), min(self.others_since, now)
        self.peaks = [(min(at, now), x) for at, x in self.peaks]
        if (peak := self.excursion) is not None:
            peak.at, peak.last = min(peak.at, now), min(peak.last, now)
        beyond = self.first_day + len(self.covered) - 1 - now // DAY
        if self.covered and beyond > 0:
            del self.covered[-beyond:]
            self.today_ms, self.worst = 0, _NEVER

    def _cover(self, now: Ms, x: float, reading: Reading) -> None:
        settled, interval = reading.settled_at, reading.interval_ms
        same = self._same_venues(now, reading)
        if same and settled is not None and interval is not None:
            self._note_seen(SettlementSeen(now, settled, interval, x))
        self.due = min(now + MINUTE, (now // DAY + 1) * DAY)
        if same:
            self._count(now, settled, interval, x)
        else:
            self._turn_day(now // DAY)
            self.unbroken = False

    def _count(self, now: Ms, settled: Ms | None, interval: Ms | None, x: float) -> None:
        self._turn_day(now // DAY)
        at = now if settled is None else settled
        if self.last is not None and at <= self.last:
            return
        unbroken = self._follows(at, interval)
        if unbroken and self.last is not None:
            self.today_ms += at - self.last
        if settled is not None:
            self._count_run(settled, x, unbroken)
        self.last, self.unbroken = at, True

    def _follows(self, at: Ms, interval: Ms | None) -> bool:
        """Whether there is no hole between the last observation and one ``at``."""
        longest = _LONGEST_GAP if interval is None else interval * 3 // 2
        return self.unbroken and self.last is not None and at - self.last <= longest

    def _note_seen(self, seen: SettlementSeen) -> None:
        if self.last is not None and seen.settled <= self.last:
            return
        if not self._follows(seen.settled, seen.interval):
            self._close_hole()
            self.before, self.unfilled = _copy(self), True
        if self.before is not None:
            self.seen.append(seen)
            if len(self.seen) > _SEEN:
                self._close_hole()

    def _close_hole(self) -> None:
        """Nobody fills it any more."""
        self.before, self.unfilled = None, False
        self.seen.clear()

    def _same_venues(self, now: Ms, reading: Reading) -> bool:
        venues = reading.venues
        if reading.missing:
            return False
        if venues == self.venues:
            self.others = ()
            return True
        if venues != self.others:
            self.others, self.others_since = venues, now
        # others that stay begin a new record, and in the beginning there is nothing to lose
        young = not self.venues or now - self.began < DAY
        if not young and now - self.others_since < DAY:
            return False
        self._begin(now, venues)
        return True

    def _begin(self, now: Ms, venues: tuple[str, ...]) -> None:
        self.venues, self.began, self.others = venues, now, ()
        self.covered.clear()
        self.peaks.clear()
        self.runs.clear()
        self.first_day = self.today_ms = self.run = 0
        self.last, self.worst, self.excursion = None, _NEVER, None
        self._close_hole()

    def _turn_day(self, day: int) -> None:
        if not self.covered:
            self.first_day = day
            self.covered.append(0)
        today = self.first_day + len(self.covered) - 1
        if day <= today:
            return
        self.covered[-1] = min(DAY, self.today_ms) // _STEP
        self.covered.extend(bytes(min(day - today, KEEP_DAYS)))
        self.today_ms, self.worst = 0, _NEVER
        self.first_day = day - len(self.covered) + 1
        if len(self.covered) > KEEP_DAYS:
            gone = len(self.covered) - KEEP_DAYS
            del self.covered[:gone]
            self.first_day += gone
        horizon = self.first_day * DAY
        self.peaks = [peak for peak in self.peaks if peak[0] >= horizon]
        self.runs = [run for run in self.runs if run[0] >= horizon]

    def _count_run(self, settled: Ms, x: float, unbroken: bool) -> None:
        if self.run and (x <= 0 or not unbroken):
            while self.runs and self.runs[-1][1] <= self.run:
                self.runs.pop()
            self.runs.append((self.run_end, self.run))
            self.run = 0
        if x > 0:
            self.run += 1
            self.run_end = settled

    def _mind_excursion(self, now: Ms, x: float, awake: bool) -> bool:
        """Whether the value is part of an excursion, whose peak waits."""
        excursion = self.excursion
        if excursion is not None and not awake and now - excursion.last > LULL:
            self.excursion = None
            self._peak(excursion.at, excursion.x)
            return False
        if awake and excursion is None:
            excursion = self.excursion = Excursion(x, now, now)
        if excursion is None:
            return False
        if awake:
            excursion.last = now
        if x > excursion.x:
            excursion.x, excursion.at = x, now
        return True

    def _peak(self, at: Ms, x: float) -> None:
        peaks = self.peaks
        while peaks and peaks[-1][1] <= x:
            peaks.pop()
        if not peaks or peaks[-1][0] // DAY != at // DAY:
            peaks.append((at, x))
        if at // DAY == self.first_day + len(self.covered) - 1:
            self.worst = max(self.worst, x)


_FILLED = (
    "first_day", "covered", "today_ms", "last", "unbroken", "due", "worst", "peaks", "excursion",
    "runs", "run", "run_end", "began",
)  # fmt: skip


def _copy(trail: Trail) -> Trail:
    """The trail as it is now, without the hole before it."""
    return msgspec.structs.replace(
        trail,
        covered=bytearray(trail.covered),
        peaks=[*trail.peaks],
        runs=[*trail.runs],
        excursion=trail.excursion and msgspec.structs.replace(trail.excursion),
        before=None,
        seen=[],
        unfilled=False,
    )


def records(
    trail: Trail, fires: Fires, x: float, reading: Reading, now: Ms, after: Ms, settlements: int
) -> tuple[Record, ...]:
    """What is remarkable about a value that was just noted, if it reaches back at least ``after``.

    ``settlements``: a run of up to so many is the first since others, a longer one the longest.
    """
    if reading.missing or reading.venues != trail.venues or trail.last is None:
        return ()
    runs: list[Record] = []
    if reading.settled_at is not None and trail.run:
        first = trail.run <= max(1, settlements)
        kind = RecordKind.FIRST if first else RecordKind.LONGEST
        least = 1 if first else trail.run
        since = next((end for end, count in reversed(trail.runs) if count >= least), None)
        runs += _since(trail, kind, since, now, after, trail.run)
    worst = RecordKind.LOWEST if fires == "below" else RecordKind.HIGHEST
    since = next((at for at, peak in reversed(trail.peaks) if peak >= x), None)
    return (*runs, *_since(trail, worst, since, now, after, None))


def _since(
    trail: Trail, kind: RecordKind, since: Ms | None, now: Ms, after: Ms, run: int | None
) -> list[Record]:
    if since is not None and now - since < after:
        return []
    begin = _observed_from(trail)
    if begin is None or now - begin < after:
        return []
    if since is not None and since < begin:
        since = None
    return [Record(kind=kind, since=since, record_from=begin, run=run)]


def _observed_from(trail: Trail) -> Ms | None:
    """The earliest day from which on at least 95 % was observed, None if there is none."""
    if trail.last is None or not trail.covered:
        return None
    today = trail.first_day + len(trail.covered) - 1
    part = max(0, trail.last - today * DAY)
    observed = [min(part, trail.today_ms), *(n * _STEP for n in reversed(trail.covered[:-1]))]
    lengths = [part, *(DAY for _ in trail.covered[1:])]
    sums = zip(accumulate(observed), accumulate(lengths), strict=True)
    days = [
        back
        for back, (seen, whole) in enumerate(sums)
        if seen >= LEAST_COVERAGE * whole and (observed[back] or not back)
    ]
    return (today - days[-1]) * DAY if days else None
