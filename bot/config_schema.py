"""The tables of config.toml as pydantic models: which keys exist and what a value may be.

Used by the configuration alone, to report every error of a file at once; ``Settings`` hold no
pydantic type. Durations become Ms here, and all sentences about a single value are written here.
"""

import math
import re
from difflib import get_close_matches
from typing import Annotated, Literal, cast

import msgspec
from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from rules.alerts import Level
from streams.events import Ms

OVERRIDES = "(assets)"
"""Where the rows of single assets are put; nothing that a file would hold by chance."""

TIERS = ("majors", "large", "tail")
LEVELS = {"watch": Level.WATCH, "alert": Level.ALERT, "critical": Level.CRITICAL}

_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d+)([smhd])")
_SETTLEMENTS = re.compile(r"(\d+) settlements?")
_NEXT_BY_OI = re.compile(r"next (\d+) by OI")
_CHAT_NAME = re.compile(r"@[A-Za-z]\w{3,}")


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


def _some_time(value: object) -> Ms:
    ms = duration(value)
    if ms == 0:
        raise ValueError("must be longer than 0")
    return ms


def _hold(value: object) -> Hold:
    if isinstance(value, dict):
        given = cast("dict[str, object]", value)
        for name in given:
            if name not in LEVELS:
                raise ValueError(f'unknown level "{name}"{did_you_mean(name, list(LEVELS))}')
        return Hold({LEVELS[name]: duration(length) for name, length in given.items()})
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


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"must be a number of million USD, not {shown(value)}")
    if value < 0:
        raise ValueError(f"must not be negative, not {shown(value)}")
    return float(value)


def _min_loss(value: object) -> dict[str, float]:
    if not isinstance(value, dict):
        return dict.fromkeys(TIERS, _number(value))
    given = cast("dict[str, object]", value)
    for name in given:
        if name not in TIERS:
            raise ValueError(f'unknown tier "{name}"{did_you_mean(name, list(TIERS))}')
    return {name: _number(size) for name, size in given.items()}


def _chat_id(value: object) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and value != 0:
        return value
    if isinstance(value, str) and _CHAT_NAME.fullmatch(value):
        return value
    raise ValueError(
        'must be a number without quotes (-1001234567890) or a channel name ("@name"), '
        f"not {shown(value)}"
    )


def _tail(value: object) -> int:
    if value == "none":
        return 0
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = _NEXT_BY_OI.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(f'must be "next 60 by OI" or "none", not {shown(value)}')
    return int(found[1])


def url(value: object, schemes: tuple[str, ...]) -> str:
    """A URL of one of ``schemes``, without the slash at its end."""
    if not isinstance(value, str) or not value.startswith(tuple(f"{s}://" for s in schemes)):
        wanted = " or ".join(f"{scheme}://" for scheme in schemes)
        raise ValueError(f"must be a URL that starts with {wanted}")
    return value.rstrip("/")


def redis_url(value: object) -> str:
    """A URL that the Redis client can open."""
    return url(value, ("redis", "rediss", "unix"))


Duration = Annotated[Ms, PlainValidator(duration)]
SomeTime = Annotated[Ms, PlainValidator(_some_time)]
HttpUrl = Annotated[str, PlainValidator(lambda value: url(value, ("https", "http")))]
SocketUrl = Annotated[str, PlainValidator(lambda value: url(value, ("wss", "ws")))]


class Table(BaseModel):
    """What all tables share: unknown keys are errors, nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Channel(Table):
    chat_id: Annotated[int | str, PlainValidator(_chat_id)] | None = None
    language: str = "en"


class Telegram(Table):
    api_url: HttpUrl = "https://api.telegram.org"


class Redis(Table):
    url: Annotated[str, PlainValidator(redis_url)] | None = None
    data_dir: Annotated[str, Field(min_length=1)] = "data"
    keep: SomeTime = 3_600_000
    max_mb: Annotated[int, Field(ge=1)] = 20


class Markets(Table):
    venues: list[str]
    majors: list[str] = []
    large: list[str] = []
    tail: Annotated[int, PlainValidator(_tail)] = 0


class VenueTable(Table):
    websocket: SocketUrl | None = None
    rest: HttpUrl | None = None


class Defaults(Table):
    cooldown: Duration = 3_600_000
    repost_if: Annotated[float, Field(gt=1)] = 1.25
    clear_for: Duration = 600_000


class RowTable(Table):
    watch: float | None = None
    alert: float | None = None
    critical: float | None = None
    clear: float | None = None

    def given(self) -> dict[str, float]:
        """Only the keys that the row holds."""
        return {key: value for key, value in self.model_dump().items() if value is not None}


class RuleTable(Table):
    """``overrides`` is no key of the file: ``bot.config`` moves the rows of single assets there."""

    metric: str
    fires: Literal["above", "below"]
    hold: Annotated[Hold, PlainValidator(_hold)] = Field(default=Hold({}), alias="for")
    majors: RowTable | None = None
    large: RowTable | None = None
    tail: RowTable | None = None
    min_loss_musd: Annotated[dict[str, float], PlainValidator(_min_loss)] = {}
    cooldown: Duration | None = None
    repost_if: Annotated[float, Field(gt=1)] | None = None
    clear_for: Duration | None = None
    post: bool = True
    overrides: dict[str, RowTable] = Field(default={}, alias=OVERRIDES)


class File(Table):
    channel: Channel = Channel()
    telegram: Telegram = Telegram()
    redis: Redis = Redis()
    markets: Markets
    venues: dict[str, VenueTable] = {}
    defaults: Defaults = Defaults()
    rules: dict[str, RuleTable] = {}


def keys_at(path: tuple[str, ...]) -> list[str]:
    """The keys that the table at ``path`` may hold, as they are written in the file."""
    match path:
        case ():
            model: type[Table] = File
        case ("venues", _):
            model = VenueTable
        case ("rules", _):
            model = RuleTable
        case ("rules", _, _):
            model = RowTable
        case _:
            model = _SECTIONS[path[0]]
    names = [field.alias or name for name, field in model.model_fields.items()]
    return [name for name in names if name != OVERRIDES]


_SECTIONS: dict[str, type[Table]] = {
    "channel": Channel,
    "telegram": Telegram,
    "redis": Redis,
    "markets": Markets,
    "defaults": Defaults,
}
