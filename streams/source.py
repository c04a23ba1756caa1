"""The contract of a context source: what a module in ``streams/sources`` must offer.

A source says what no venue does, and needs no key. It is a table (``SPEC``) and pure functions: the
same answers always decode to the same facts. Nothing waits for it, and nothing but what it says is
missing where it is silent.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from streams.events import ContextFact, Ms
from streams.venue import Request


class SourceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a source is and allows."""

    name: str
    title: str
    """Its name for people."""
    rest: str
    """Base URL."""
    every_s: float
    """How often it is asked."""
    good_for_s: float
    """How long an answer may be taken for what is so now."""
    requests_per_second: float
    """What it allows."""
    weight_per_minute: int | None = None
    """No source has weights."""
    lists_coins: bool = False
    """It says how many of each coin there are (``Supply``)."""
    headers: Mapping[str, str] = {}
    """What goes with every request."""


class ContextSource(Protocol):
    """A source. ``decode`` raises Malformed (or msgspec.MsgspecError) on what it can't read."""

    SPEC: SourceSpec

    def requests(self) -> list[Request]:
        """What to ask so that ``decode`` can answer."""
        ...

    def decode(self, bodies: Sequence[bytes], seen: Ms) -> list[ContextFact]:
        """All that the source says at ``seen``; ``bodies`` are the answers to ``requests``, in that
        order.

        A number that cannot be right is no fact. Malformed where nothing of it can be used.
        """
        ...
