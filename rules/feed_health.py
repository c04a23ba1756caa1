"""Which feeds are silent, reported once for each venue: for operators, never a market alert.

A kind of feed is down at a venue when it is down for at least half of the instruments there, or for
the venue as a whole as long as no instrument has a state of its own. Both that and its return are
reported after 15 s, so that a reconnect is no news. A venue all of whose feeds are down for minutes
is lost, which is a fault of its own, reported once, and once more when any of them is back.
"""

from statistics import median_low

import msgspec

from rules.alerts import AlertOrNotice, Notice
from rules.market import FeedUptime, VenueMemory
from streams.durations import MINUTE, SECOND
from streams.events import FaultCode, FeedState, Kind, Ms

REPORT_AFTER: Ms = 15 * SECOND
LOST_AFTER: Ms = 3 * MINUTE
NO_TICK: Ms = 30 * SECOND
SCAN_EVERY: Ms = 5 * SECOND


def no_tick(since: Ms, now: Ms) -> Notice:
    """The rules have had no Tick since ``since``, so they cannot watch the time."""
    return _ticks_notice(False, since, now, f"no tick for {(now - since) // 1000} s")


def ticks_again(since: Ms, now: Ms) -> Notice:
    """Ticks come again; the last one before was at ``since``."""
    return _ticks_notice(True, since, now, "")


class FeedHealth(msgspec.Struct, array_like=True):
    """One kind of feed of a venue."""

    up: bool
    since: Ms
    """Since when it has been up or down."""
    reported: Ms | None = None
    """Since when it is down, as operators were told; None: they were not."""


class Feeds(msgspec.Struct, array_like=True):
    """What is known and reported of the feeds, by venue and kind."""

    feeds: dict[str, dict[Kind, FeedHealth]] = {}
    reasons: dict[str, dict[Kind, str]] = {}
    """Why a kind last went down."""
    ticked: Ms | None = None
    """The last Tick."""
    silent: bool = False
    """Operators know that ticks are missing."""
    scan_at: Ms = 0
    """When the feeds are looked at again."""
    lost: dict[str, Ms] = {}
    """Venues that operators know are lost → since when."""

    def hear(self, state: FeedState) -> None:
        """Remember why a feed went down."""
        if not state.up and state.reason:
            self.reasons.setdefault(state.venue, {})[state.kind] = state.reason

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``."""
        self.ticked = None if self.ticked is None else min(self.ticked, now)
        self.scan_at = now + REPORT_AFTER
        for feeds in self.feeds.values():
            for feed in feeds.values():
                feed.since = min(feed.since, now)
                feed.reported = None if feed.reported is None else min(feed.reported, now)
        self.lost = {venue: min(since, now) for venue, since in self.lost.items()}

    def miss_tick(self, now: Ms) -> list[Notice]:
        """Another event came, and the last Tick is more than ``NO_TICK`` ago."""
        if self.silent or self.ticked is None:
            return []
        self.silent = True
        return [no_tick(self.ticked, now)]

    def tick(self, now: Ms, venues: dict[str, VenueMemory]) -> list[Notice]:
        """A Tick came: the notices that are due about the ticks and about all feeds."""
        notices: list[Notice] = []
        before, self.ticked = self.ticked, now
        if before is not None and now - before > NO_TICK:
            notices.append(ticks_again(before, now))
            # nothing was read meanwhile: wait for the states of the feeds
            self.scan_at = now + REPORT_AFTER
        self.silent = False
        if now < self.scan_at:
            return notices
        self.scan_at = now + SCAN_EVERY
        for name, venue in venues.items():
            notices += self._scan(name, _states(venue), now)
        return notices

    def _scan(self, venue: str, lines: dict[Kind, FeedUptime], now: Ms) -> list[Notice]:
        feeds = self.feeds.setdefault(venue, {})
        for kind, line in lines.items():
            feed = feeds.setdefault(kind, FeedHealth(line.up, line.since))
            if feed.up is not line.up:
                # what turns with one of many instruments has no older date than its last turn
                feed.up, feed.since = line.up, line.since if line.since > feed.since else now
        steady = {kind: feed for kind, feed in feeds.items() if now - feed.since >= REPORT_AFTER}
        down = {k: f for k, f in steady.items() if not f.up and f.reported is None}
        back = {k: f for k, f in steady.items() if f.up and f.reported is not None}
        notices: list[Notice] = []
        if back:
            since = min(feed.reported or now for feed in back.values())
            notices.append(_notice(venue, tuple(back), True, since, now, ""))
        if down:
            known = self.reasons.get(venue, {})
            why = dict.fromkeys(known[kind] for kind in down if kind in known)
            since = min(feed.since for feed in down.values())
            notices.append(_notice(venue, tuple(down), False, since, now, "; ".join(why)))
        for feed in back.values():
            feed.reported = None
        for feed in down.values():
            feed.reported = feed.since
        return notices + self._mind_lost(venue, feeds, now)

    def _mind_lost(self, venue: str, feeds: dict[Kind, FeedHealth], now: Ms) -> list[Notice]:
        since = self.lost.get(venue)
        if since is not None:
            if not any(feed.up and now - feed.since >= REPORT_AFTER for feed in feeds.values()):
                return []
            del self.lost[venue]
            return [_lost_notice(venue, True, since, now, "")]
        silent_since = max((feed.since for feed in feeds.values()), default=now)
        if any(feed.up for feed in feeds.values()) or now - silent_since < LOST_AFTER:
            return []
        self.lost[venue] = silent_since
        why = dict.fromkeys(self.reasons.get(venue, {}).values())
        return [_lost_notice(venue, False, silent_since, now, "; ".join(why))]


def _states(venue: VenueMemory) -> dict[Kind, FeedUptime]:
    """The state of each kind of feed of a venue, over all its instruments."""
    lines: dict[Kind, list[FeedUptime]] = {}
    for symbol in venue.symbols.values():
        for kind, line in symbol.items():
            lines.setdefault(kind, []).append(line)
    states = {kind: line for kind, line in venue.lines.items() if kind not in lines}
    for kind, of_kind in lines.items():
        down = [line for line in of_kind if not line.up]
        up = 2 * len(down) < len(of_kind)
        alike = [line.since for line in of_kind if line.up is up]
        states[kind] = FeedUptime(up, median_low(alike))
    return {kind: states[kind] for kind in Kind if kind in states}


def _lost_notice(venue: str, over: bool, since: Ms, now: Ms, reason: str) -> Notice:
    code = FaultCode.VENUE_LOST
    return Notice(
        id=f"fault:{code}:{venue}:{'over' if over else 'on'}:{now}",
        venue=venue,
        kinds=(),
        up=over,
        since=since,
        seen=now,
        reason=reason,
        fault=code,
    )


def _notice(
    venue: str, kinds: tuple[Kind, ...], up: bool, since: Ms, now: Ms, reason: str
) -> Notice:
    return Notice(
        id=f"feed:{venue}:{'+'.join(kinds)}:{'up' if up else 'down'}:{now}",
        venue=venue,
        kinds=kinds,
        up=up,
        since=since,
        seen=now,
        reason=reason,
    )


_TICKS = "feed:ticks:"


def is_of_ticks(turn: AlertOrNotice) -> bool:
    """Whether it says that ticks are missing, or back."""
    return turn.id.startswith(_TICKS)


def _ticks_notice(up: bool, since: Ms, now: Ms, reason: str) -> Notice:
    # the engine and its role may both notice it: the notice has the same id
    name = f"{_TICKS}{'up' if up else 'down'}:{since}"
    return Notice(id=name, venue="", kinds=(), up=up, since=since, seen=now, reason=reason)
