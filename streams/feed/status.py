"""How sockets, feeds, contracts and venues are doing, as the streams role reports it."""

import msgspec

from streams.events import Ms


class SocketStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One socket: its feeds, and what it has done since the role started.

    What has no words here is a count of ``streams.feed.actions.Stats``.
    """

    name: str
    """As in ``Subscription``."""
    kinds: list[str]
    """The kinds of events that it brings."""
    connected: bool
    ready: bool
    """All its feeds are up."""
    reason: str
    """Why it is not ready, "" if it is."""
    frames: int
    frames_per_s: float
    """Since the status before this one."""
    events: int
    lag_ms: int
    """How late the venue's data are here, of the last frame that has a time."""
    last_data: Ms
    """When data came last, by our clock; 0: none came."""
    connects: int
    gaps: int
    resyncs: int
    duplicates: int
    dropped: int
    unreadable_rows: int = 0
    refused: int
    books_live: int
    """Order books that are complete now, of ``books``."""
    books: int


class FeedCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many feeds of one kind are up, and how many are down. Both 0: no data yet."""

    up: int
    down: int


class SilentContract(msgspec.Struct, frozen=True, kw_only=True):
    """A contract of which not everything comes."""

    symbol: str
    kinds: list[str]
    """What does not come."""
    since: Ms
    """Since when at least one of them has not, by our clock as it goes now."""
    reason: str
    """Why, "" if that is unknown."""


class VenueStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One venue."""

    name: str
    title: str
    """Its name for people."""
    trouble: str
    """Why it cannot be listened to, "" if it can."""
    instruments: int
    """How many are listened to."""
    refused_names: int
    """Instruments left out since their names cannot be shown."""
    unknown_contracts: int = 0
    """Contracts left out since nobody knows on what they are."""
    feeds: dict[str, FeedCount]
    """By kind; a feed that brings all instruments together counts as one."""
    silent: list[SilentContract] = []
    """Those of assets that the configuration names."""
    not_available: list[str]
    """The kinds that the venue does not have."""
    sides_known: bool = True
    """False: nobody knows whether its open interest counts one side or both: percentages only."""
    requests: int
    requests_failed: int
    """REST requests since the start."""
    sockets: list[SocketStatus]
