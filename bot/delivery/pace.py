"""How fast a chat may be written to. Pure: the time, and chance where it is used, are arguments.

Invariants:
- within any minute a chat gets at most ``per_minute`` requests, edits and probes among them;
- the end of what it bears is kept free: edits, and then posts that are not urgent, stop earlier;
- a flood (Telegram's "retry after") pauses that chat alone, halves its pace, and is forgotten
  slowly; however many requests are refused in a row, it is one flood;
- a refused request is not counted: it brought the chat nothing;
- what is urgent keeps the full pace after a pause, for Telegram itself says when it may be sent;
- of what all chats together get in a second, the end is kept for critical posts, and what comes
  before it for other posts: answers and checks stop first.
"""

from enum import Enum

import msgspec

from streams.durations import MINUTE, SECOND
from streams.events import Ms

RECOVERY: Ms = 10 * MINUTE
"""How long a chat takes from a standstill to its full pace."""

_SLOWEST = 0.1
"""The least share of the full pace, however many floods there were."""

_AT_ONCE = 5
"""So many requests to all chats together may follow each other without waiting."""


class Lane(Enum):
    """What a request is for; its value: up to which share of a second's requests it may go."""

    URGENT = 1.0
    """Critical posts, and looking for posts that are uncertain."""
    POST = 0.8
    """Other posts, their edits, and answers to operators."""
    ASIDE = 0.4
    """Answers to everybody else, checks of chats, menus."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests a sink bears. The defaults are for Telegram."""

    per_minute: int = 18
    """In one chat."""
    gap: Ms = SECOND
    """Between two requests to one chat."""
    overall: int = 25
    """To all chats together in a second. Telegram documents 30; ours stay below that."""
    burst: int = 3
    """So many urgent posts may follow each other without waiting."""
    reserved: int = 4
    """How many of a minute's requests are for urgent posts alone."""
    edits: int = 6
    """How many of a minute's requests may be edits."""


NO_LIMITS = Limits(
    per_minute=1_000_000, gap=0, overall=1_000_000, burst=1, reserved=0, edits=1_000_000
)
"""For sinks that need none."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """What a chat has been sent in the last minute, and how much it bears after floods."""

    recent: tuple[Ms, ...] = ()
    """Times of requests, oldest first."""
    edits: tuple[Ms, ...] = ()
    """Times of those that were edits."""
    until: Ms = 0
    """The end of a pause."""
    share: float = 1.0
    """Of the full pace, at the time ``eased``; it grows back to 1 within ``RECOVERY``."""
    eased: Ms = 0


def used(pace: Pace, now: Ms, edit: bool = False) -> Pace:
    """``pace`` with one more request at ``now``."""
    recent = tuple(t for t in pace.recent if now - MINUTE < t <= now)
    edits = tuple(t for t in pace.edits if now - MINUTE < t <= now)
    return msgspec.structs.replace(
        pace, recent=(*recent, now), edits=(*edits, now) if edit else edits
    )


def set_back(pace: Pace, by: Ms) -> Pace:
    """``pace`` after the clock was set back ``by`` so much."""
    return msgspec.structs.replace(
        pace,
        recent=tuple(at - by for at in pace.recent),
        edits=tuple(at - by for at in pace.edits),
        until=max(0, pace.until - by),
        eased=max(0, pace.eased - by),
    )


def paused(pace: Pace, until: Ms) -> Pace:
    """``pace``, but nothing before ``until``."""
    return msgspec.structs.replace(pace, until=max(pace.until, until))


def flooded(pace: Pace, now: Ms, until: Ms) -> Pace:
    """``pace`` after Telegram refused the last request and asked for a pause until ``until``: half
    as fast from then on. A refusal right after a pause, with nothing accepted since, is of the same
    flood: the pace stays as it is."""
    pace = _refused(pace)
    accepted = any(at >= pace.eased for at in pace.recent)
    again = pace.share < 1 and now - pace.eased < MINUTE and not accepted
    slower = pace.share if again else max(_SLOWEST, share(pace, now) / 2)
    return msgspec.structs.replace(paused(pace, until), share=slower, eased=max(now, until))


def _refused(pace: Pace) -> Pace:
    """``pace`` without its last request."""
    *recent, last = pace.recent or (None,)
    edits = pace.edits[:-1] if pace.edits and pace.edits[-1] == last else pace.edits
    return msgspec.structs.replace(pace, recent=tuple(recent), edits=edits)


def share(pace: Pace, now: Ms) -> float:
    """The share of the full pace that the chat has at ``now``."""
    return min(1.0, pace.share + max(0, now - pace.eased) / RECOVERY)


def ready(pace: Pace, limits: Limits, now: Ms, urgent: bool = False, edit: bool = False) -> Ms:
    """The first time, ``now`` or later, at which one more request may be made."""
    part = 1.0 if urgent else share(pace, now)
    recent = [t for t in pace.recent if now - MINUTE < t <= now]
    edits = [t for t in pace.edits if now - MINUTE < t <= now]
    most = max(1, int(limits.per_minute * part) - (0 if urgent else limits.reserved))
    ready_at = max(
        now,
        pace.until,
        _room(recent, most),
        _spaced(recent, round(limits.gap / part), limits.burst if urgent else 1),
    )
    return max(ready_at, _room(edits, limits.edits)) if edit else ready_at


def _room(recent: list[Ms], most: int) -> Ms:
    """When fewer than ``most`` of ``recent`` lie within the last minute."""
    return recent[-most] + MINUTE if len(recent) >= most else 0


def _spaced(recent: list[Ms], gap: Ms, burst: int) -> Ms:
    """When a bucket of ``burst`` that gets one more each ``gap`` has one."""
    full = 0
    for at in recent:
        full = max(full, at) + gap
    return full - (burst - 1) * gap


class Overall:
    """The limit of all chats of a sink together within a second. Requests are spread over the
    second: those that leave in a bunch may arrive late, in one second with what follows."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._recent: list[Ms] = []

    def ready(self, now: Ms, lane: Lane) -> Ms:
        """The first time, ``now`` or later, at which one more request may be made."""
        self._recent = [t for t in self._recent if now - SECOND < t <= now]
        most = max(1, int(self._limits.overall * lane.value))
        free = max(now, _spaced(self._recent, SECOND // self._limits.overall, _AT_ONCE))
        return free if len(self._recent) < most else max(free, self._recent[-most] + SECOND)

    def use(self, now: Ms) -> None:
        """One more at ``now``."""
        self._recent.append(now)
