"""The notation of rule tests: series of values, and turns that are expected.

A series is words: ``5`` one value; ``5x3`` 5 and then 3 more; ``5+2x3`` is 5 7 9 11, ``5-2x3`` is
5 3 1 -1; ``_`` no value, ``stale`` the same for a feed known to be down, ``_x3`` and then 3 more.
As in Prometheus's promtool, but for ``_x3``, which there is 3 in all.

An expectation is ``"5m10s open alert"``: time since the first value, turn, level; ``held`` after it
if the cool-down keeps it from being posted.
"""

import re

import msgspec

from bot.config_values import LEVELS, did_you_mean, shown
from rules.alerts import Level, Turn
from streams.events import Ms

Values = tuple[float | None, ...]

LONGEST = 100_000
"""Most values that a series may have: half an hour of one test is no test."""

_NUMBER = r"\d+(?:\.\d+)?"
_WORD = re.compile(rf"(-?{_NUMBER}|_|stale)(?:([+-]{_NUMBER})?x(\d{{1,6}}))?")
_TIME = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


class Expected(msgspec.Struct, frozen=True, order=True):
    """A turn at ``at`` Ms after the first value. ``held``: not posted."""

    at: Ms
    turn: Turn
    level: Level
    held: bool = False

    def __str__(self) -> str:
        text = f"{since(self.at)} {self.turn} {self.level.name.lower()}"
        return f"{text} held" if self.held else text


def since(ms: Ms) -> str:
    """``5m10s``, ``1h2m``, ``0s``."""
    seconds, text = ms // 1000, ""
    for unit, size in _UNITS:
        count, seconds = divmod(seconds, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def series(value: object) -> Values:
    """The values of a series; None where there is none. ValueError if it cannot be read."""
    if not isinstance(value, str) or not value.split():
        raise ValueError(f'must be a series such as "100x18 40x6 _x30", not {shown(value)}')
    values: list[float | None] = []
    for word in value.split():
        values += _values(word)
        if len(values) > LONGEST:
            raise ValueError(f"is longer than {LONGEST:,} values")
    return tuple(values)


def _values(word: str) -> list[float | None]:
    found = _WORD.fullmatch(word)
    nothing = found is not None and found[1] in ("_", "stale")
    if not found or (nothing and found[2]):
        raise ValueError(
            f'cannot read "{word}": write 100, 100x18 (100 and then 18 more), 100-5x6 (six steps '
            "down), _ or stale (no value), _x30"
        )
    count = int(found[3] or 0) + 1
    if count > LONGEST:
        raise ValueError(f"is longer than {LONGEST:,} values")
    if nothing:
        return [None] * count
    first, step = float(found[1]), float(found[2] or 0)
    # 0.1 + 0.2 would be a hair above a threshold of 0.3
    return [round(first + n * step, 9) for n in range(count)]


def expected(value: object) -> Expected:
    """``"5m10s open alert"``. ValueError if it cannot be read."""
    words = value.split() if isinstance(value, str) else []
    if len(words) not in (3, 4) or words[3:] not in ([], ["held"]):
        raise ValueError(
            f'must be like "5m10s open alert" or "5m10s open alert held", not {shown(value)}'
        )
    time, turn, level = words[:3]
    if turn not in list(Turn):
        near = did_you_mean(turn, list(Turn)) or f": choose from {', '.join(Turn)}"
        raise ValueError(f'unknown turn "{turn}"{near}')
    if level not in LEVELS:
        raise ValueError(f'unknown level "{level}"{did_you_mean(level, list(LEVELS))}')
    return Expected(_time(time), Turn(turn), LEVELS[level], held=len(words) == 4)


def _time(text: str) -> Ms:
    found = _TIME.fullmatch(text)
    if not found or not text:
        raise ValueError(f'cannot read the time "{text}": write it like 5m10s')
    sizes = [size for _, size in _UNITS]
    return 1000 * sum(int(n or 0) * size for n, size in zip(found.groups(), sizes, strict=True))
