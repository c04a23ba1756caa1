"""A status as the roles write it, of a Lowtide that is well."""

from typing import Any

import msgspec

from bot.delivery.sender import SendCounts
from bot.roles.bot import BotStatus
from bot.roles.rules import RulesStatus
from bot.roles.streams import StreamsStatus
from streams.feed.status import FeedCount, SocketStatus, VenueStatus

NOW = 1_760_000_000_000


def socket(name: str = "trades-1", **changes: Any) -> SocketStatus:
    well = SocketStatus(
        name=name, kinds=["price"], connected=True, ready=True, reason="", frames=1_000,
        frames_per_s=9.5, events=900, lag_ms=120, last_data=NOW - 500, connects=2, gaps=3,
        resyncs=4, duplicates=5, dropped=6, unreadable_rows=7, refused=8, books_live=9, books=10,
    )  # fmt: skip
    return msgspec.structs.replace(well, **changes)


def venue(name: str = "bybit", title: str = "Bybit", **changes: Any) -> VenueStatus:
    well = VenueStatus(
        name=name, title=title, trouble="", instruments=20, refused_names=0,
        feeds={"price": FeedCount(up=19, down=1)}, not_available=[], requests=50,
        requests_failed=1, sockets=[socket()],
    )  # fmt: skip
    return msgspec.structs.replace(well, **changes)


def status(*venues: VenueStatus, **changes: Any) -> dict[str, Any]:
    """As ``bot.status.collect`` gives it. ``changes``: of roles, as dicts of fields, or None."""
    roles: dict[str, msgspec.Struct] = {
        "streams": StreamsStatus(
            seen=NOW, rss_mb=80.5, written=5_000, waiting=2, venues=list(venues or (venue(),))
        ),
        "rules": RulesStatus(
            seen=NOW, rss_mb=90.0, cursor="1-0", events=4_990, alerts=12, unreadable=1, lag_ms=40,
            state_bytes=12_345, tick_ms=400,
        ),
        "bot": BotStatus(
            seen=NOW, rss_mb=70.0, cursor="1-0", destination="x", sent=9, refused=1, uncertain=0,
            waiting=1, held=2, hidden=3, silenced=4, queued=5, off={}, counts=SendCounts(sent=9),
            telegram="",
        ),
    }  # fmt: skip
    answer: dict[str, Any] = {"ended": {}}
    for role, struct in roles.items():
        fields = msgspec.to_builtins(struct)
        change = changes.get(role, {})
        answer[role] = None if change is None else fields | change
    answer["redis"] = {
        "streams": {"events": {"entries": 7, "seconds": 60.0}},
        "memory_mb": 12.5,
        "rss_mb": None,
    }
    return answer
