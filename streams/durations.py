"""Lengths of time: their units in Ms, and how they are written: ``90s``, ``15m``, ``1h30m``.

Whoever reads a length of time from a file, a command or a metric's name reads it here, and adds
limits of its own.
"""

import re

from streams.events import Ms

SECOND: Ms = 1_000
MINUTE: Ms = 60 * SECOND
HOUR: Ms = 60 * MINUTE
DAY: Ms = 24 * HOUR

_UNITS = (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND))
# no more digits than int() takes from a stranger without complaint
_FORM = re.compile("".join(rf"(?:([0-9]{{1,12}}){unit})?" for unit, _ in _UNITS))


def duration(text: str) -> Ms | None:
    """``5m10s`` in Ms: counts with units, the largest first; None if it is written otherwise."""
    match = _FORM.fullmatch(text)
    if not match or not text:
        return None
    counts = zip(match.groups(), _UNITS, strict=True)
    return sum(int(count or 0) * size for count, (_, size) in counts)


def compact(length: Ms) -> str:
    """``5m10s``, ``1h2m``, ``0s``: what ``duration`` reads, in whole seconds."""
    text = ""
    for unit, size in _UNITS:
        count, length = divmod(length, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"
