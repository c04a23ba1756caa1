"""What a session asks its socket to do, and the counts of a subscription."""

import msgspec

from streams.events import FeedState, MarketEvent, Ms
from streams.venue import Request, Unreadable


class Send(msgspec.Struct, frozen=True):
    """Write this text to the socket."""

    data: bytes


class Fetch(msgspec.Struct, frozen=True):
    """Ask for a book snapshot by REST; the answer goes to ``Session.fetched``."""

    request: Request
    lost: bool
    """Nothing is known of the book; False: it is known, and the price leaves what is known of it.
    """


class Hangup(msgspec.Struct, frozen=True):
    """Close the socket and connect again; ``reason`` in words."""

    reason: str


class Relist(msgspec.Struct, frozen=True):
    """Read the venue's listing anew: what we decode with is out of date."""


class Note(msgspec.Struct, frozen=True):
    """Something for the log: written once a kind and session, counted always."""

    what: str
    detail: str


Action = MarketEvent | FeedState | Send | Fetch | Hangup | Relist | Note | Unreadable


class Stats(msgspec.Struct):
    """Counts of a subscription since the start, for the status page."""

    frames: int = 0
    events: int = 0
    dropped: int = 0
    """Frames and snapshots that could not be read."""
    unreadable_rows: int = 0
    """Rows that were left out of their frames."""
    refused: int = 0
    """Requests that the venue refused."""
    gaps: int = 0
    """Breaks in the sequence of a book."""
    duplicates: int = 0
    """Updates that a book had already."""
    resyncs: int = 0
    """How often a book was asked for, the first time included."""
    connects: int = 0
    lag_ms: int = 0
    """How old the newest data was when it came."""
    last_data: Ms = 0
    """When the newest data came, on the steady clock; 0: none came."""
