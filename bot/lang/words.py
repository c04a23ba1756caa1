"""What a language must offer: phrases with named places, and numbers that depend on the language.

Phrases are Telegram HTML written by the translator; values put into them are escaped. A phrase
whose values are partly unknown is not used, so none needs to cope with a gap.
"""

from collections.abc import Callable, Mapping

import msgspec

from streams.events import Ms


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """One language."""

    phrases: Mapping[str, str]
    """By the keys of English."""
    usd: Callable[[float], str]
    """An amount: "$5.37B"."""
    usd_at_least: Callable[[float], str]
    """A lower bound, never rounded up, so that "≥" before it is true."""
    signed_usd: Callable[[float], str]
    """A change: "−$7.35B", "+$400M"."""
    coins: Callable[[float], str]
    """A number of coins, without the asset."""
    price: Callable[[float], str]
    """USD per coin."""
    length: Callable[[Ms], str]
    """A span of time: "1 h 12 min"."""
    window: Callable[[Ms], str]
    """A span as the name of a window: "1h"."""
    clock: Callable[[Ms], str]
    """A time of day, with UTC."""
    bare_clock: Callable[[Ms], str]
    """A time of day without UTC, beside others."""
    date: Callable[[Ms], str]
    """A time of day with its day before it."""
    day: Callable[[Ms, Ms], str]
    """The day alone, for a reader at the second time; with the year if that is another one."""
    days: Callable[[int], str]
    """A number of days."""
