"""What a session wants done, and what it has lived through."""

import msgspec

from streams.events import FeedState, MarketEvent, Ms
from streams.venue import Request, Unreadable


class Send(msgspec.Struct, frozen=True):
    """Write this text to the socket."""

    data: bytes


class Fetch(msgspec.Struct, frozen=True):
    """Ask for a book snapshot by REST; the answer goes to ``Session.fetched``.

    ``lost``: nothing is known of the book; else it is known and the price leaves what is.
    """

    request: Request
    lost: bool


class Hangup(msgspec.Struct, frozen=True):
    """Close the socket and connect again; ``reason`` in words."""

    reason: str


class Relist(msgspec.Struct, frozen=True):
    """Read the venue's listing anew: what we decode with is out of date."""


class Note(msgspec.Struct, frozen=True):
    """Something for the log: said once a kind and session, counted always."""

    what: str
    detail: str


Action = MarketEvent | FeedState | Send | Fetch | Hangup | Relist | Note | Unreadable


class Stats(msgspec.Struct):
    """What a subscription has lived through since start, for the status page.

    ``lag_ms``: how old the newest data was when it came; ``resyncs``: how often a book was asked
    for, the first time included; ``unreadable_rows``: rows that were left out of their frames.
    """

    frames: int = 0
    events: int = 0
    dropped: int = 0
    unreadable_rows: int = 0
    refused: int = 0
    gaps: int = 0
    duplicates: int = 0
    resyncs: int = 0
    connects: int = 0
    lag_ms: int = 0
    last_data: Ms = 0
