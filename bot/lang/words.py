"""What a language must offer: phrases with named places, and numbers that depend on the language.

Phrases are Telegram HTML written by the translator; values put into them are escaped. A phrase
whose values are partly unknown is not used, so none needs to cope with a gap.
"""

from collections.abc import Callable, Mapping

import msgspec

from streams.events import Ms


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """One language.

    ``phrases``: by the keys of English. ``usd``: an amount ("$5.37B"); ``usd_at_least``: the same
    of a lower bound, never rounded up, so that "≥" before it is true. ``signed_usd``: a change
    ("−$7.35B", "+$400M"). ``coins``: a number of coins without the asset. ``price``: USD per coin.
    ``length``: a span of time ("1 h 12 min"). ``window``: the same as the name of a window ("1h").
    ``clock``: a time of day in UTC; ``bare_clock``: without saying so, beside others; ``date``:
    with its day before it. ``day``: the day alone, for a reader at the second time, with the year
    if that is another one. ``days``: a number of days.
    """

    phrases: Mapping[str, str]
    usd: Callable[[float], str]
    usd_at_least: Callable[[float], str]
    signed_usd: Callable[[float], str]
    coins: Callable[[float], str]
    price: Callable[[float], str]
    length: Callable[[Ms], str]
    window: Callable[[Ms], str]
    clock: Callable[[Ms], str]
    bare_clock: Callable[[Ms], str]
    date: Callable[[Ms], str]
    day: Callable[[Ms, Ms], str]
    days: Callable[[int], str]
