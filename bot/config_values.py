"""Single values of config.toml: text, numbers and tables → what the program uses, or a ValueError.

All sentences about a single value are written here. Durations become Ms.
"""

import math
import re
from difflib import get_close_matches
from typing import cast
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from bot.dispatch import GROUP_WAIT, Quiet
from rules.alerts import Level
from streams.events import Ms

LEVELS = {"watch": Level.WATCH, "alert": Level.ALERT, "critical": Level.CRITICAL}

_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d+)([smhd])")
_SETTLEMENTS = re.compile(r"(\d+) settlements?")
_NEXT_BY_OI = re.compile(r"next (\d+) by OI")
_CHAT_NAME = re.compile(r"@[A-Za-z]\w{3,}")
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_QUIET = re.compile(r"(\S+?)-(\S+)(?: (\S+))?")
_CONDITION = re.compile(r"([a-z][a-z0-9_]*):([a-z]+)")


class Hold(msgspec.Struct, frozen=True):
    """How long a breach must last: in Ms by level, or in settlements of funding."""

    by_level: dict[Level, Ms]
    settlements: int = 0


def shown(value: object) -> str:
    """A value as it stands in TOML, short enough for an error."""
    if isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, bool):
        text = "true" if value else "false"
    else:
        text = str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def nearest(word: str, candidates: list[str]) -> str | None:
    """The candidate that ``word`` was probably meant to be, whatever its case."""
    folded = {candidate.casefold(): candidate for candidate in candidates}
    found = get_close_matches(word.casefold(), list(folded), n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def did_you_mean(word: str, candidates: list[str]) -> str:
    """`` (did you mean "…"?)``, or nothing if no candidate is near."""
    found = nearest(word, candidates)
    return f' (did you mean "{found}"?)' if found else ""


def duration(value: object) -> Ms:
    """``"90s"``, ``"2m"``, ``"1h"``, ``"1d"`` in Ms."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(
            f'must be a duration such as "90s", "2m", "1h" or "1d", not {shown(value)}'
        )
    return int(found[1]) * _UNIT_MS[found[2]]


def some_time(value: object) -> Ms:
    """A duration above 0."""
    ms = duration(value)
    if ms == 0:
        raise ValueError("must be longer than 0")
    return ms


def hold(value: object) -> Hold:
    """``"2m"``, ``{ alert = "1m", critical = "0s" }`` or ``"1 settlement"``."""
    if isinstance(value, dict):
        given = cast("dict[str, object]", value)
        return Hold({_level(name): duration(length) for name, length in given.items()})
    found = _SETTLEMENTS.fullmatch(value) if isinstance(value, str) else None
    if found and int(found[1]) > 0:
        return Hold({}, int(found[1]))
    try:
        ms = duration(value)
    except ValueError:
        raise ValueError(
            'must be a duration ("2m"), a table ({ alert = "1m", critical = "0s" }) '
            f'or "1 settlement", not {shown(value)}'
        ) from None
    return Hold(dict.fromkeys(Level, ms))


def group_wait(value: object) -> dict[Level, Ms]:
    """``"20s"`` for watch and alert, or ``{ watch = "60s", alert = "20s" }``; critical never waits.

    What a table does not name keeps its default.
    """
    if not isinstance(value, dict):
        ms = duration(value)
        return {Level.WATCH: ms, Level.ALERT: ms, Level.CRITICAL: 0}
    given = {_level(k): duration(v) for k, v in cast("dict[str, object]", value).items()}
    if given.get(Level.CRITICAL):
        raise ValueError("critical never waits: leave it out")
    return {**GROUP_WAIT, **given}


def _level(name: str) -> Level:
    if name not in LEVELS:
        raise ValueError(f'unknown level "{name}"{did_you_mean(name, list(LEVELS))}')
    return LEVELS[name]


def musd(value: object) -> float:
    """An amount in million USD."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"must be a number of million USD, not {shown(value)}")
    if value < 0:
        raise ValueError(f"must not be negative, not {shown(value)}")
    return float(value)


def floors(value: object) -> dict[str, float]:
    """One amount for all ("" stands for them), or amounts by tier or asset."""
    if not isinstance(value, dict):
        return {"": musd(value)}
    return {name: musd(size) for name, size in cast("dict[str, object]", value).items()}


def chat_id(value: object) -> int | str:
    """The number or the @name of a Telegram chat."""
    if isinstance(value, int) and not isinstance(value, bool) and value != 0:
        return value
    if isinstance(value, str) and _CHAT_NAME.fullmatch(value):
        return value
    raise ValueError(
        'must be a number without quotes (-1001234567890) or a channel name ("@name"), '
        f"not {shown(value)}"
    )


def user_id(value: object) -> int:
    """The number of a Telegram user."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise ValueError(
        "must be the number of a Telegram user (the bot tells it to whoever writes /start), "
        f"not {shown(value)}"
    )


def tail(value: object) -> int:
    """``"next 60 by OI"``, ``60`` or ``"none"``: how many."""
    if value == "none":
        return 0
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = _NEXT_BY_OI.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(f'must be "next 60 by OI" or "none", not {shown(value)}')
    return int(found[1])


def quiet(value: object) -> Quiet | None:
    """``"23:00-07:00 Asia/Taipei"``, without a zone in UTC; ``"none"``: no such hours."""
    if value == "none":
        return None
    found = _QUIET.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(f'must be like "23:00-07:00 Asia/Taipei", not {shown(value)}')
    start, end, zone = clock(found[1]), clock(found[2]), found[3] or "UTC"
    if start == end:
        raise ValueError('must not begin when it ends: write "none" to have no quiet hours')
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        near = did_you_mean(zone, sorted(available_timezones()))
        raise ValueError(f'unknown time zone "{zone}"{near}') from None
    return Quiet(start=start, end=end, zone=zone)


def clock(value: object) -> int:
    """``"08:05"``: minutes after midnight."""
    found = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(f'must be a time of day such as "08:05", not {shown(value)}')
    return int(found[1]) * 60 + int(found[2])


def condition(value: object) -> tuple[str, Level]:
    """``"oi_drop:alert"``: a rule, and the level it must have reached."""
    found = _CONDITION.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(f'must be a rule and a level such as "oi_drop:alert", not {shown(value)}')
    return found[1], _level(found[2])


def level(value: object) -> Level:
    """``"watch"``, ``"alert"`` or ``"critical"``."""
    if not isinstance(value, str) or value not in LEVELS:
        near = did_you_mean(value, list(LEVELS)) if isinstance(value, str) else ""
        raise ValueError(f"must be watch, alert or critical, not {shown(value)}{near}")
    return LEVELS[value]


def url(value: object, schemes: tuple[str, ...]) -> str:
    """A URL of one of ``schemes``, without the slash at its end."""
    if not isinstance(value, str) or not value.startswith(tuple(f"{s}://" for s in schemes)):
        wanted = " or ".join(f"{scheme}://" for scheme in schemes)
        raise ValueError(f"must be a URL that starts with {wanted}")
    return value.rstrip("/")


def redis_url(value: object) -> str:
    """A URL that the Redis client can open."""
    return url(value, ("redis", "rediss", "unix"))
