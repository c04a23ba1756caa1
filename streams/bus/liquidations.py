"""The liquidations that the stream has already, so that a new process does not write them again."""

import contextlib
from collections.abc import Collection
from typing import cast

import msgspec
from redis.asyncio import Redis

from streams.bus.connection import Backoff, Entry, Keys, parsed, retry
from streams.events import Liquidation, Ms, decode

_PART = 2_000
"""So many entries are asked for at once."""

_MARK = f'"type":"{Liquidation.__struct_config__.tag}"'.encode()
"""What the JSON of a liquidation has; of a hundred events about one is decoded."""


async def written_liquidations(
    redis: Redis, keys: Keys, venues: Collection[str], within: Ms
) -> list[tuple[Ms, Liquidation]]:
    """Those of ``venues`` that were written within so long before the stream's newest entry, each
    with how long before, the oldest first. Waits while Redis is away."""
    backoff = Backoff("the liquidations of the role before", "streams")
    written: list[tuple[Ms, Liquidation]] = []
    newest: Ms | None = None
    end = "+"
    while venues:
        reply = await retry(
            backoff, lambda end=end: redis.xrevrange(keys.events, max=end, count=_PART)
        )
        entries = cast("list[Entry]", reply)
        for entry_id, fields in entries:
            at = parsed(entry_id)[0]
            newest = at if newest is None else newest
            if newest - at > within:
                return written[::-1]
            data = fields.get(b"e", b"")
            if _MARK not in data:
                continue
            with contextlib.suppress(msgspec.MsgspecError):
                event = decode(data)
                if isinstance(event, Liquidation) and event.venue in venues:
                    written.append((newest - at, event))
        if len(entries) < _PART:
            break
        end = f"({entries[-1][0].decode()}"
    return written[::-1]
