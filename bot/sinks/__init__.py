"""Ways out: what a sink must do, and the three ways in which sending can fail.

Whether to send again is part of the answer, never guessed by the caller.
"""

from typing import Protocol

import msgspec

from bot.messages import Message


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The message arrived: where, and under which number (None where a sink has none)."""

    chat: int | str | None = None
    message_id: int | None = None


class Later(Exception):
    """Not sent; may be sent again after ``seconds``."""

    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(f"{reason}; to be tried again in {seconds:g} s")
        self.seconds = seconds
        self.reason = reason


class Refused(Exception):
    """Not sent, and sending it again is no use. ``fatal``: nor is sending anything else."""

    def __init__(self, reason: str, *, fatal: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fatal = fatal


class Uncertain(Exception):
    """Sent or not: nobody can say. Sending it again may post it twice."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Sink(Protocol):
    """A way out. One message at a time; raises Later, Refused or Uncertain, nothing else."""

    async def check(self) -> str:
        """Can it be used? A few words that say where messages go. Raises as ``send`` does."""
        ...

    async def send(self, message: Message) -> Receipt:
        """Send ``message``; returns once it has arrived."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
