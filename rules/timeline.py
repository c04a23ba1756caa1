"""The engine's own time, which never steps, and how other clocks stand to it. Pure.

The clock of the machine that stamps events may step, and by how much is in the stream. The engine
counts with a time that goes on evenly, so that everything it remembers keeps its age; what it says
has the time of the machine's clock as that is now. The name of an episode is made of the time at
which it began, by the clock of then, and stays the same.

The clock of a venue is known by the times in its events: of those of some seconds the quickest one
counts, and what is said again, since nothing has changed, has its old time and does not.
"""

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from rules.alerts import (
    Alert,
    AlertOrNotice,
    CascadeFacts,
    DepthFacts,
    Facts,
    HighFacts,
    LevelFacts,
    Link,
    LiquidationDayFacts,
    MarketCapFacts,
    Notice,
    Record,
    RecordKind,
    RegimeFacts,
    SupportFacts,
)
from streams.durations import HOUR, SECOND
from streams.events import Ms

APART: Ms = 2 * SECOND
"""Clocks that are closer than this are the same: frames are on their way for as long."""

DOUBT: Ms = 30 * SECOND
"""For so long from the first event after a step ahead the venues may tell that it was time that
passed."""

QUIET_DOUBT: Ms = 3 * SECOND
"""So long after the first event that tells of it nothing is judged: what was in the line when a
machine went to sleep comes first, and is old."""

_VOTES_NEEDED = 2
"""A venue says that time passed once so many of its events do: one may be dated wrongly."""

_MOST_STEPS = 100

replace = msgspec.structs.replace
F = TypeVar("F", bound=Facts | None)


class VenueClock(msgspec.Struct, array_like=True):
    """How far a venue's clock is ahead of the engine's time."""

    ahead: Ms | None = None
    """By the quickest event of the last period, None: never heard."""
    quickest: Ms | None = None
    """By the quickest event of this period."""
    newest: Ms = 0
    """The newest time of the venue up to the last period."""
    highest: Ms = 0
    """The newest time of this period: one that lies is not believed for ever."""
    assumed: Ms = 0
    """What holds while nothing was heard: that of the machine."""

    def hear(self, at: Ms, now: Ms) -> None:
        """An event of ``at`` by the venue's clock came."""
        if at > self.highest:
            self.highest = at
        if at > self.newest:
            self.newest, ahead = at, at - now
            if self.quickest is None or ahead > self.quickest:
                self.quickest = ahead

    def turn(self) -> None:
        """A period is over."""
        if self.highest:
            self.newest, self.highest = self.highest, 0
        if self.quickest is not None:
            self.ahead, self.quickest = self.quickest, None

    @property
    def known(self) -> Ms | None:
        """How far it is ahead, as far as was heard."""
        if self.ahead is None or self.quickest is None:
            return self.ahead if self.quickest is None else self.quickest
        return max(self.ahead, self.quickest)

    def lose(self, assumed: Ms) -> None:
        """Nobody knows any more how far it is ahead."""
        self.ahead, self.quickest, self.assumed = None, None, assumed
        self.newest = self.highest = 0

    def time(self, now: Ms) -> Ms:
        """The venue's time at ``now``."""
        known = self.known
        return now + (self.assumed if known is None else known)


class Timeline(msgspec.Struct, array_like=True):
    """How the machine's clock, the venues' clocks and the engine's time belong together."""

    behind: Ms = 0
    """How far the machine's clock is behind the engine's time."""
    before: list[tuple[Ms, Ms]] = []
    """(engine's time, ``behind`` up to then), the oldest first."""
    doubted: Ms = 0
    """The last step ahead, if it may have been time that passed; 0: none."""
    doubted_until: Ms = 0
    """Until when the venues may tell; 0: none of them was heard since."""
    ahead: Ms = 0
    """How far the venues' clocks are ahead of the engine's time."""
    ahead_known: bool = False
    votes: dict[str, int] = {}
    """Venues heard since the doubted step → how many of their events say that time passed."""
    data_since: Ms = 0
    """When the first data came after the doubted step, also such as tell nothing of it."""
    before_step: dict[str, Ms] = {}
    """How far the clocks of these venues were ahead of the engine's time before that step."""

    def step(self, by: Ms, now: Ms) -> None:
        """The machine's clock stepped by ``by`` at ``now``: everything keeps its age."""
        self.before.append((now, self.behind))
        del self.before[:-_MOST_STEPS]
        self.behind -= by

    def hole(self, now: Ms) -> None:
        """The clock was set back to ``now`` while nobody could know by how much."""
        self.before = [(min(until, now), behind) for until, behind in self.before]
        self.doubted, self.ahead_known = 0, False

    def doubt(self, by: Ms) -> None:
        """A step ahead may have been time that passed, as of a machine that slept."""
        self.doubted, self.doubted_until, self.data_since = by, 0, 0
        self.votes, self.before_step = {}, {}

    def vote(self, venue: str, ahead: Ms, known: Ms, now: Ms) -> None:
        """An event of ``venue`` says of the doubted step whether it was time that passed.

        ``ahead``: how far its time is ahead of the engine's; ``known``: how far that was known to
        be before this event.
        """
        if not self.votes:
            self.doubted_until = now + DOUBT
        passed = ahead - self.before_step.setdefault(venue, known) > self.doubted // 2
        self.votes[venue] = self.votes.get(venue, 0) + passed

    def sleeping(self, now: Ms) -> bool:
        """Whether it was time that passed: most of the venues that were heard say so, or there were
        data for long and none of them could say."""
        if not self.votes:
            return bool(self.data_since) and now - self.data_since > DOUBT
        saying = sum(times >= _VOTES_NEEDED for times in self.votes.values())
        return 2 * saying > len(self.votes)

    def unclear(self, now: Ms) -> bool:
        """Whether data have come of which nobody knows how old what is remembered is by then."""
        if not self.doubted or not self.data_since:
            return False
        return not self.votes or now < self.doubted_until - DOUBT + QUIET_DOUBT

    def passed(self, now: Ms) -> None:
        """The doubted step was time that passed: everything is that much older."""
        self.step(-self.doubted, now)
        self.doubted = 0

    def measure(self, clocks: Iterable[VenueClock]) -> None:
        """Compare with the venues: the median of those that were heard is believed."""
        ordered = sorted([known for clock in clocks if (known := clock.known) is not None])
        self.ahead_known = bool(ordered)
        if ordered:
            middle = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
            self.ahead = min(middle, key=lambda ahead: abs(ahead + self.behind))

    @property
    def apart(self) -> Ms:
        """How far the venues' clocks are ahead of the machine's; 0 where both may be right."""
        apart = self.ahead + self.behind
        return apart if self.ahead_known and abs(apart) >= APART else 0

    def now(self, t: Ms) -> Ms:
        """``t`` by the machine's clock as it is now."""
        return t - self.behind

    def then(self, t: Ms) -> Ms:
        """``t`` by the machine's clock as it was then."""
        behind = next((behind for until, behind in self.before if t <= until), self.behind)
        return t - behind

    def by_machine_clock(self, turns: list[AlertOrNotice], own: bool) -> list[AlertOrNotice]:
        """What the engine says, by the machine's clock. ``own``: no event of a venue caused it."""
        if not self.before and not self.apart:
            return turns
        return [
            self.alert(item, own) if isinstance(item, Alert) else self._notice(item)
            for item in turns
        ]

    def alert(self, alert: Alert, own: bool) -> Alert:
        """``alert`` by the machine's clock; what no event caused has the time of the venues."""
        if not self.before and not self.apart:
            return alert
        head, _, number = alert.id.rsplit(":", 2)
        opened_at, began = self.then(alert.opened_at), self.now(alert.opened_at)
        return replace(
            alert,
            id=f"{head}:{opened_at}:{number}",
            at=self.now(alert.at) + self.apart if own else alert.at,
            seen=self.now(alert.seen),
            opened_at=opened_at,
            began=began if began != opened_at else None,
            extreme_at=self.now(alert.extreme_at),
            records=tuple(map(self._record, alert.records)),
            facts=self.facts(alert.facts, alert.seen),
            ahead=self.apart,
        )

    def _notice(self, notice: Notice) -> Notice:
        head, _, t = notice.id.rpartition(":")
        return replace(
            notice,
            id=f"{head}:{self.then(int(t))}",
            since=self.now(notice.since),
            seen=self.now(notice.seen),
        )

    def _record(self, record: Record) -> Record:
        settled = record.kind in (RecordKind.FIRST, RecordKind.LONGEST)
        since = record.since
        if since is not None and not settled:  # settlements have the time of the venue
            since = self.now(since)
        return replace(record, since=since, record_from=self.now(record.record_from))

    def facts(self, facts: F, now: Ms) -> F:
        """What was found at ``now``, by the machine's clock."""
        if isinstance(facts, DepthFacts):
            return facts if facts.hour is None else replace(facts, hour=self.now(now) // HOUR % 24)
        if isinstance(facts, HighFacts):
            at, since = self.now(facts.high_at), self.now(facts.since)
            return replace(facts, high_at=at, since=since)
        if isinstance(facts, MarketCapFacts):
            crossing = facts.crossing
            if crossing is not None:
                crossing = replace(
                    crossing,
                    at=self.now(crossing.at),
                    since=None if crossing.since is None else self.now(crossing.since),
                    record_from=self.now(crossing.record_from),
                )
            return replace(facts, listed_at=self.now(facts.listed_at), crossing=crossing)
        if isinstance(facts, SupportFacts):
            lost, standing = self._level(facts.lost), self._level(facts.standing)
            return replace(facts, lost=lost, standing=standing, since=self.now(facts.since))
        if isinstance(facts, LiquidationDayFacts):
            at = None if facts.largest_at is None else self.now(facts.largest_at)
            return replace(facts, largest_at=at, since=self.now(facts.since))
        if isinstance(facts, RegimeFacts):
            return replace(facts, since=self.now(facts.since))
        if isinstance(facts, CascadeFacts):
            return replace(
                facts,
                chain=tuple(self._link(link, now) for link in facts.chain),
                also=tuple(self._link(link, now) for link in facts.also),
                record_from=self.now(facts.record_from),
                last_at=None if facts.last_at is None else self.now(facts.last_at),
            )
        return facts

    def _level(self, level: LevelFacts | None) -> LevelFacts | None:
        if level is None:
            return None
        return replace(
            level,
            first_at=self.now(level.first_at),
            last_at=self.now(level.last_at),
            lost_at=None if level.lost_at is None else self.now(level.lost_at),
        )

    def _link(self, link: Link, now: Ms) -> Link:
        return replace(
            link,
            at=self.now(link.at),
            extreme_at=None if link.extreme_at is None else self.now(link.extreme_at),
            opened_at=self.then(link.opened_at),
            facts=self.facts(link.facts, now),
        )
