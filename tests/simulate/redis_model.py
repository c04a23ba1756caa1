"""Redis as two lists, a bookmark for each reader, a snapshot and a hash: all durable at once.

A role may be killed before or after any write (``Crash``). Not modelled: lost replies, retention,
leases, an earlier owner that wakes up.
"""

from collections.abc import Mapping

import msgspec


class Killed(Exception):
    """The role is dead."""


class Crash:
    """Kills a role at one of its durable steps. ``countdown``: so many are left, None: for ever."""

    def __init__(self) -> None:
        self.countdown: int | None = None

    def point(self) -> None:
        """Here it may die."""
        if self.countdown is None:
            return
        if self.countdown <= 0:
            self.countdown = None
            raise Killed
        self.countdown -= 1


class RedisModel(msgspec.Struct):
    """What is durable."""

    events: list[bytes] = []
    alerts: list[bytes] = []
    bookmark: int = 0
    """So many events are judged, and their alerts are in the list."""
    snapshot: tuple[int, bytes] | None = None
    """So many events are in this state."""
    episodes: bytes = b""
    """What the rules see of open episodes."""
    outbox: dict[str, bytes] = {}

    def commit(self, cursor: int, alerts: list[bytes], crash: Crash) -> None:
        """Alerts and bookmark in one step."""
        crash.point()
        self.alerts += alerts
        self.bookmark = cursor
        crash.point()

    def write(self, fields: Mapping[str, bytes], crash: Crash) -> None:
        """Into the outbox in one step; an empty value deletes."""
        if not fields:
            return
        crash.point()
        for name, value in fields.items():
            if value:
                self.outbox[name] = value
            else:
                self.outbox.pop(name, None)
        crash.point()
