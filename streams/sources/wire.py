"""What all sources share: JSON that is read strictly, numbers and times that can be right. Pure."""

from datetime import datetime
from typing import TypeVar

import msgspec

from streams.events import Ms
from streams.venue import Malformed

LEAST, MOST = 1e-18, 1e18
"""What a quantity is within, so that products and quotients stay finite."""

FAIR_SUM = (0.9, 1.1)
"""What the legs of a market with one outcome add up to. Outside of it a leg is missing or wrong."""

WIDEST = 0.1
"""A bid and an ask so far apart say no probability."""

_T = TypeVar("_T")


def read_json(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    """``body`` decoded. Malformed if it is a page for people, or nothing, in the place of JSON."""
    start = body.lstrip()[:1]
    if start not in (b"[", b"{"):
        what = "nothing" if not start else "a web page" if start == b"<" else "no JSON"
        raise Malformed(f"it sent {what} instead of data")
    try:
        return decoder.decode(body)
    except RecursionError as error:
        raise Malformed("JSON nested too deep to be read") from error


def quantity(value: float | None) -> float | None:
    """``value`` if it can be a price or an amount, else None."""
    return value if value is not None and LEAST <= value <= MOST else None  # False for nan


def moment(text: str | None) -> Ms | None:
    """A time as ISO 8601 writes it, with its zone; None for what is none."""
    try:
        at = datetime.fromisoformat(text or "")
        ms = round(at.timestamp() * 1000) if at.tzinfo is not None else 0
    except (ValueError, OverflowError):
        return None
    return ms if 1e12 <= ms < 1e13 else None


def quoted(bid: float, ask: float) -> float | None:
    """The probability between a bid and an ask; None: they say none."""
    if not 0 <= bid <= ask <= 1 or ask - bid > WIDEST:
        return None
    return (bid + ask) / 2
