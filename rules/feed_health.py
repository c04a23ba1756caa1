"""Which feeds are silent, reported once for each venue: for operators, never a market alert.

A kind of feed is down at a venue when it is down for all instruments there, or for the venue as a
whole as long as no instrument has a state of its own. Where some are up, those that are down are
reported by name once they are at least half of those that were not; one of a named asset is
reported alone after a minute. Anything else, and each return, is reported after 15 s, so that a
reconnect is no news. A venue all of whose feeds are down for minutes is lost, which is a fault of
its own, reported once, and once more when any of them is back.
"""

from collections.abc import Callable, Collection, Mapping
from statistics import median_low
from typing import NamedTuple

import msgspec

from rules.alerts import AlertOrNotice, Notice
from rules.market import FeedUptime, VenueMemory
from streams.durations import MINUTE, SECOND
from streams.events import NOT_WATCHED, FaultCode, FeedState, Kind, Ms

REPORT_AFTER: Ms = 15 * SECOND
NAMED_AFTER: Ms = MINUTE
"""A contract of a named asset is reported alone after this: a lost book is back earlier."""
LOST_AFTER: Ms = 3 * MINUTE
NO_TICK: Ms = 30 * SECOND
UNTICKED: Ms = 5 * SECOND
"""So long other events come without a Tick before it is said: after an absence of all, the first
ones are there before the first Tick, and nobody was there to be told."""
AWAY: Ms = 5 * SECOND
"""Without a Tick for longer we have heard nothing, and feeds that are down are so by us."""
RESUMED: Ms = 45 * SECOND
"""So long feeds may take to be up again after that."""
SCAN_EVERY: Ms = 5 * SECOND

_REASONS = 3
"""How many different reasons one notice about contracts names."""

_Lines = Mapping[str, FeedUptime]
"""By symbol; "*": of the whole venue."""


def no_tick(since: Ms, now: Ms) -> Notice:
    """The rules have had no Tick since ``since``, so they cannot watch the time."""
    return _ticks_notice(False, since, now, f"no tick for {(now - since) // 1000} s")


def ticks_again(since: Ms, now: Ms, open_episodes: int) -> Notice:
    """Ticks come again; the last one before was at ``since``, and so many episodes were open."""
    notice = _ticks_notice(True, since, now, "")
    return msgspec.structs.replace(notice, open_episodes=open_episodes)


class FeedHealth(msgspec.Struct, array_like=True):
    """One kind of feed of a venue."""

    up: bool
    since: Ms
    """Since when it has been up or down."""
    reported: Ms | None = None
    """Since when it is down, as operators were told; None: they were not."""
    silent: dict[str, Ms] = {}
    """The contracts that operators were told are down while others are up → since when."""


class ContractFeeds(msgspec.Struct, array_like=True):
    """What the FeedStates of a contract say beside whether it is up."""

    asset: str = ""
    """"": unknown."""
    reasons: dict[Kind, str] = {}
    """Why a kind is down."""


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
    contracts: dict[str, dict[str, ContractFeeds]] = {}
    """By venue and symbol."""
    unticked: Ms | None = None
    """Since when other events come though ticks are missing; None: they do not."""
    irregular: bool = False
    """The last Tick came more than ``AWAY`` after the one before."""

    def hear(self, state: FeedState) -> None:
        """Remember why a feed went down, and of which asset it is."""
        if not state.up and state.reason:
            self.reasons.setdefault(state.venue, {})[state.kind] = state.reason
        if state.symbol == "*":
            return
        of_venue = self.contracts.setdefault(state.venue, {})
        contract = of_venue.setdefault(state.symbol, ContractFeeds())
        contract.asset = state.asset or contract.asset
        if state.up:
            contract.reasons.pop(state.kind, None)
        else:
            contract.reasons[state.kind] = state.reason

    def forget(self, venues: Mapping[str, VenueMemory]) -> None:
        """Contracts that nothing else remembers."""
        for name, contracts in self.contracts.items():
            known = venues[name].symbols if name in venues else {}
            for symbol in [symbol for symbol in contracts if symbol not in known]:
                del contracts[symbol]

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``."""
        self.ticked = None if self.ticked is None else min(self.ticked, now)
        self.unticked = None if self.unticked is None else min(self.unticked, now)
        self.scan_at = now + REPORT_AFTER
        for feeds in self.feeds.values():
            for feed in feeds.values():
                feed.since = min(feed.since, now)
                feed.reported = None if feed.reported is None else min(feed.reported, now)
                feed.silent = {symbol: min(since, now) for symbol, since in feed.silent.items()}
        self.lost = {venue: min(since, now) for venue, since in self.lost.items()}

    def miss_tick(self, now: Ms) -> list[Notice]:
        """Another event came, and the last Tick is more than ``NO_TICK`` ago."""
        if self.silent or self.ticked is None:
            return []
        if self.unticked is None:
            self.unticked = now
        if now - self.unticked < UNTICKED:
            return []
        self.silent = True
        return [no_tick(self.ticked, now)]

    def tick(
        self,
        now: Ms,
        venues: Mapping[str, VenueMemory],
        named: Collection[str] = (),
        unlisted: Collection[tuple[str, str]] = (),
        open_episodes: Callable[[], int] = lambda: 0,
    ) -> list[Notice]:
        """A Tick came: the notices that are due about the ticks and about all feeds.

        ``named``: the assets that the rules name; ``unlisted``: venue and symbol of what its venue
        no longer lists, of which nothing is expected; ``open_episodes``: how many are open.
        """
        notices: list[Notice] = []
        before, self.ticked = self.ticked, now
        if before is not None and now - before > NO_TICK:
            notices.append(ticks_again(before, now, open_episodes()))
        away = before is not None and now - before > AWAY
        if away and not self.irregular:
            # nothing was read meanwhile: wait for the states of the feeds; where ticks are always
            # as far apart nobody was away
            self.scan_at = now + RESUMED
        self.irregular = away
        self.silent, self.unticked = False, None
        if now < self.scan_at:
            return notices
        self.scan_at = now + SCAN_EVERY
        for name, venue in venues.items():
            contracts = self.contracts.get(name, {})
            gone = {symbol for of, symbol in unlisted if of == name}
            known = {s: contract.asset for s, contract in contracts.items() if s not in gone}
            ours = {symbol for symbol, asset in known.items() if asset in named}
            notices += self._scan(name, _lines(venue, contracts, gone), ours, now)
        return notices

    def _scan(
        self, venue: str, lines: Mapping[Kind, _Lines], named: Collection[str], now: Ms
    ) -> list[Notice]:
        """``lines``: by kind and symbol, "*" where it is of the whole venue; ``named``: the symbols
        of named assets."""
        feeds = self.feeds.setdefault(venue, {})
        changes: dict[tuple[bool, tuple[str, ...]], dict[Kind, Ms]] = {}
        for kind, of_kind in lines.items():
            state = _state(of_kind)
            feed = feeds.setdefault(kind, FeedHealth(state.up, state.since))
            if feed.up is not state.up:
                # what turns with one of many instruments has no older date than its last turn
                feed.up, feed.since = state.up, state.since if state.since > feed.since else now
            for change in _turns(feed, of_kind, named, now):
                changes.setdefault((change.up, change.symbols), {})[kind] = change.since
        return [
            _notice(venue, tuple(kinds), up, min(kinds.values()), now,
                    "" if up else self._reason(venue, kinds, symbols), symbols)
            for (up, symbols), kinds in sorted(changes.items(), key=_back_first)
        ] + self._mind_lost(venue, feeds, now)  # fmt: skip

    def _reason(self, venue: str, kinds: Collection[Kind], symbols: Collection[str]) -> str:
        known = self.reasons.get(venue, {})
        if not symbols:
            return "; ".join(dict.fromkeys(known[kind] for kind in kinds if kind in known))
        contracts = self.contracts.get(venue, {})
        reasons = [
            contracts[symbol].reasons.get(kind, "")
            for symbol in symbols if symbol in contracts for kind in kinds
        ]  # fmt: skip
        return "; ".join([*dict.fromkeys(reason for reason in reasons if reason)][:_REASONS])

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


class _Change(NamedTuple):
    """What operators are to be told of one kind of feed."""

    up: bool
    symbols: tuple[str, ...]
    """(): all of the venue."""
    since: Ms
    """Since when they are, or were, down."""


def _back_first(change: tuple[tuple[bool, tuple[str, ...]], object]) -> tuple[bool, int]:
    (up, symbols), _ = change
    return not up, len(symbols)


def _lines(
    venue: VenueMemory, contracts: Mapping[str, ContractFeeds], gone: Collection[str]
) -> dict[Kind, _Lines]:
    """The feeds of which something is expected, by kind and symbol; "*": of the whole venue."""
    lines: dict[Kind, dict[str, FeedUptime]] = {}
    known: set[Kind] = set()
    for symbol, of_symbol in venue.symbols.items():
        contract = contracts.get(symbol)
        for kind, line in of_symbol.items():
            known.add(kind)
            dropped = contract is not None and contract.reasons.get(kind) == NOT_WATCHED
            if line.up or not (dropped or symbol in gone):
                lines.setdefault(kind, {})[symbol] = line
    for kind, line in venue.lines.items():
        if kind not in known:
            lines[kind] = {"*": line}
    return {kind: lines[kind] for kind in Kind if kind in lines}


def _state(of_kind: _Lines) -> FeedUptime:
    """Whether any of these feeds is up, and since when those that are so have been."""
    up = any(line.up for line in of_kind.values())
    return FeedUptime(up, median_low([line.since for line in of_kind.values() if line.up is up]))


def _turns(feed: FeedHealth, of_kind: _Lines, named: Collection[str], now: Ms) -> list[_Change]:
    """What operators are to be told of a kind of feed now; ``feed`` takes it as told."""
    for symbol in [symbol for symbol in feed.silent if symbol not in of_kind]:
        del feed.silent[symbol]
    steady = {symbol for symbol, line in of_kind.items() if now - line.since >= REPORT_AFTER}
    down = {symbol: line.since for symbol, line in of_kind.items() if not line.up}
    up = [symbol for symbol in of_kind if symbol not in down]
    if feed.reported is not None:
        # with more that are just coming back the notice waits, to be one for all
        if 2 * len(steady.intersection(up)) < len(of_kind) or not steady.issuperset(up):
            return []
        since, feed.reported, feed.silent = feed.reported, None, down
        return [_Change(True, tuple(up) if down else (), since)]
    if not up and now - feed.since >= REPORT_AFTER:
        feed.reported, feed.silent = feed.since, {}
        return [_Change(False, (), feed.since)]
    changes: list[_Change] = []
    back = [symbol for symbol in feed.silent if symbol in steady and symbol in up]
    if 2 * len(back) < len(feed.silent):
        back = [symbol for symbol in back if symbol in named]
    if back:
        changes.append(_Change(True, tuple(back), min(feed.silent[symbol] for symbol in back)))
        feed.silent = {s: since for s, since in feed.silent.items() if s not in back}
    rest = [symbol for symbol in of_kind if symbol not in feed.silent]
    lost = [symbol for symbol in rest if symbol in down and symbol in steady]
    if 2 * len(lost) < len(rest):
        lost = [symbol for symbol in lost if symbol in named and now - down[symbol] >= NAMED_AFTER]
    if lost and up:
        feed.silent.update((symbol, down[symbol]) for symbol in lost)
        changes.append(_Change(False, tuple(lost), min(down[symbol] for symbol in lost)))
    return changes


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
    venue: str,
    kinds: tuple[Kind, ...],
    up: bool,
    since: Ms,
    now: Ms,
    reason: str,
    symbols: tuple[str, ...],
) -> Notice:
    # a symbol is in one notice of a kind at a time, and all of them could be an id of any length
    of = f":{symbols[0]}" if symbols else ""
    return Notice(
        id=f"feed:{venue}:{'+'.join(kinds)}{of}:{'up' if up else 'down'}:{now}",
        venue=venue,
        kinds=kinds,
        up=up,
        since=since,
        seen=now,
        reason=reason,
        subjects=symbols,
    )


_TICKS = "feed:ticks:"


def is_of_ticks(turn: AlertOrNotice) -> bool:
    """Whether it says that ticks are missing, or back."""
    return turn.id.startswith(_TICKS)


def _ticks_notice(up: bool, since: Ms, now: Ms, reason: str) -> Notice:
    # the engine and its role may both notice it: the notice has the same id
    name = f"{_TICKS}{'up' if up else 'down'}:{since}"
    return Notice(id=name, venue="", kinds=(), up=up, since=since, seen=now, reason=reason)
