"""Single values of config.toml: text, numbers and tables → what the program uses, or a ValueError.
Every sentence about a single value is written here. Durations become Ms.

The values of rule tests have a notation of their own. A series is words: ``5`` one value; ``5x3``
5 and then 3 more; ``5+2x3`` is 5 7 9 11, ``5-2x3`` is 5 3 1 -1; ``_`` no value, ``stale`` the same
for a feed known to be down, ``_x3`` and then 3 more. As in Prometheus's promtool, but for ``_x3``,
which there is 3 in all.

An expectation is ``"5m10s open alert"``: time since the first value, turn, level; ``held`` after it
if the cool-down keeps it from being posted.
"""

import math
import re
from typing import cast
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from bot.destination import Service
from bot.meant import did_you_mean
from bot.plan.planner import GROUP_WAIT, WEEKDAYS, DailyTime, HourlyTime, Quiet, WeeklyTime
from rules.alerts import Cause, Level, Turn
from rules.rule import Comparison, When
from streams import durations
from streams.durations import DAY, compact
from streams.events import Ms
from streams.hosts import HostError, PortError, host_and_port
from streams.proxies import proxy_url

LEVELS = {"watch": Level.WATCH, "alert": Level.ALERT, "critical": Level.CRITICAL}

_SETTLEMENTS = re.compile(r"(\d+) settlements?")
_NEXT_BY_OI = re.compile(r"next (\d+) by OI")
_CHAT_NAME = re.compile(r"@[A-Za-z]\w{3,}")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_LINE_ID = re.compile(r"[UCR][0-9a-f]{32}")
_WEEKLY = re.compile(r"([A-Za-z]+) (\d\d?:\d\d)(?: (\S+))?")
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_QUIET = re.compile(r"(\S+?)-(\S+)(?: (\S+))?")
_CONDITION = re.compile(r"([a-z][a-z0-9_]*):([a-z]+)")


class Hold(msgspec.Struct, frozen=True):
    """How long a breach must last."""

    by_level: dict[Level, Ms]
    settlements: int = 0
    """In settlements of funding; 0: in Ms."""


def shown(value: object) -> str:
    """A value as TOML writes it, short enough for an error."""
    if isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, bool):
        text = "true" if value else "false"
    else:
        text = str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def count(number: int, what: str) -> str:
    """``1 rule``, ``2 rules``, ``1,000 rules``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def duration(value: object) -> Ms:
    """``"90s"``, ``"2m"``, ``"1h"``, ``"1d"`` in Ms."""
    length = durations.duration(value) if isinstance(value, str) else None
    if length is None:
        raise ValueError(
            f'must be a duration such as "90s", "2m", "1h" or "1d", not {shown(value)}'
        )
    return length


def some_time(value: object) -> Ms:
    """A duration above 0."""
    ms = duration(value)
    if ms == 0:
        raise ValueError("must be longer than 0")
    return ms


def hold(value: object) -> Hold:
    """``"2m"``, ``{ alert = "1m", critical = "0s" }`` or ``"1 settlement"``."""
    if isinstance(value, dict):
        by_level = cast("dict[str, object]", value)
        return Hold({_level(name): duration(length) for name, length in by_level.items()})
    match = _SETTLEMENTS.fullmatch(value) if isinstance(value, str) else None
    if match and int(match[1]) > 0:
        return Hold({}, int(match[1]))
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
    waits = {_level(k): duration(v) for k, v in cast("dict[str, object]", value).items()}
    if waits.get(Level.CRITICAL):
        raise ValueError("critical never waits: leave it out")
    return {**GROUP_WAIT, **waits}


def _level(name: str) -> Level:
    if name not in LEVELS:
        raise ValueError(f'unknown level "{name}"{did_you_mean(name, list(LEVELS))}')
    return LEVELS[name]


NO_LEVEL = "none"
"""What a row says of a level that it does not have."""


def number(value: object) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number, not {shown(value)}")
    try:
        finite = float(value)
    except OverflowError:
        finite = math.inf
    if not math.isfinite(finite):
        raise ValueError(f"must be a finite number, not {shown(value)}")
    return finite


def row_level(value: object) -> float | str:
    """A number; ``"none"``: no such level."""
    return NO_LEVEL if value == NO_LEVEL else number(value)


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


def fall_amounts(value: object) -> dict[str, float]:
    """By tier or asset, how far a price must fall in %, without a sign: ``{ majors = 3 }``."""
    if not isinstance(value, dict) or not value:
        text = "must be a table of tiers and assets, such as { majors = 3, BTC = 1.8 }, not "
        raise ValueError(text + shown(cast("object", value)))
    falls = {name: number(pct) for name, pct in cast("dict[str, object]", value).items()}
    for name, pct in falls.items():
        if not 0 < pct < 100:
            raise ValueError(f"{name}: must be above 0 and below 100, how far it falls in %")
    return falls


def chat_id(value: object) -> int | str:
    """The number or the @name of a Telegram chat."""
    if isinstance(value, int) and not isinstance(value, bool) and value != 0:
        return value
    if isinstance(value, str) and _CHAT_NAME.fullmatch(value):
        return value
    raise ValueError(
        "must be a number without quotes (-1001234567890) or a channel name "
        '("@name": a letter, then at least three letters, digits or _), '
        f"not {shown(value)}"
    )


def webhook_name(value: object) -> str:
    """The name of a webhook, which becomes part of keys and of log lines."""
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise ValueError(f"must be 1 to 32 of letters, digits, - and _ in quotes, not {shown(value)}")


def messenger_service(value: object) -> Service:
    """The name of a messenger."""
    if isinstance(value, str) and value in [*Service]:
        return Service(value)
    names = ", ".join(f'"{each}"' for each in Service)
    raise ValueError(f"must be one of {names}, not {shown(value)}")


def messenger_name(value: object) -> str:
    """The name of a messenger, which becomes part of keys, log lines and variables."""
    name = webhook_name(value)
    if re.fullmatch(r"(?:.*[-_])?file", name, re.IGNORECASE):  # as of …_FILE, where a secret may be
        raise ValueError(f"must not end in file, which {shown(value)} does")
    return name


def line_id(value: object) -> str:
    """The id of a user (U…), a group (C…) or a room (R…) of LINE."""
    if isinstance(value, str) and _LINE_ID.fullmatch(value):
        return value
    raise ValueError(
        "must be the id of a LINE user, group or room: U, C or R and 32 digits or letters a to f, "
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
    match = _NEXT_BY_OI.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f'must be "next 60 by OI" or "none", not {shown(value)}')
    return int(match[1])


def quiet(value: object) -> Quiet | None:
    """``"23:00-07:00 Asia/Taipei"``, without a zone in UTC; ``"none"``: no such hours."""
    if value == "none":
        return None
    match = _QUIET.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f'must be like "23:00-07:00 Asia/Taipei", not {shown(value)}')
    start, end, zone = clock(match[1]), clock(match[2]), match[3] or "UTC"
    if start == end:
        raise ValueError('must not begin when it ends: write "none" to have no quiet hours')
    return Quiet(start=start, end=end, zone=_zone(zone))


def daily_time(value: object) -> DailyTime | None:
    """``"09:00 Asia/Taipei"``, without a zone in UTC; ``"none"``: never."""
    if value == "none":
        return None
    if not isinstance(value, str):
        raise ValueError(f'must be like "09:00 Asia/Taipei", not {shown(value)}')
    time, _, zone = value.partition(" ")
    return DailyTime(minute=clock(time), zone=_zone(zone or "UTC"))


def summary_time(value: object) -> HourlyTime | DailyTime | None:
    """``"hourly"``, or a time of each day as ``daily_time`` has it; ``"none"``: never."""
    if value == "hourly":
        return HourlyTime()
    try:
        return daily_time(value)
    except ValueError as error:
        if isinstance(value, str) and (near := did_you_mean(value, ["hourly", "none"])):
            raise ValueError(f"{error}{near}") from None
        raise


def weekly_time(value: object) -> WeeklyTime | None:
    """``"Mon 09:00 Asia/Taipei"``, without a zone in UTC; ``"none"``: never."""
    if value == "none":
        return None
    match = _WEEKLY.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f'must be like "Mon 09:00 Asia/Taipei", not {shown(value)}')
    if match[1] not in WEEKDAYS:
        near = did_you_mean(match[1], list(WEEKDAYS))
        raise ValueError(f'unknown day "{match[1]}"{near}: choose from {", ".join(WEEKDAYS)}')
    return WeeklyTime(
        weekday=WEEKDAYS.index(match[1]), minute=clock(match[2]), zone=_zone(match[3] or "UTC")
    )


def _zone(name: str) -> str:
    """``name``, if it is an IANA time zone."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        near = did_you_mean(name, sorted(available_timezones()))
        raise ValueError(f'unknown time zone "{name}"{near}') from None
    return name


def clock(value: object) -> int:
    """``"08:05"``: minutes after midnight."""
    match = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f'must be a time of day such as "08:05", not {shown(value)}')
    return int(match[1]) * 60 + int(match[2])


def condition(value: object) -> tuple[str, Level]:
    """``"oi_drop:alert"``: a rule, and the level it must have reached."""
    match = _CONDITION.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f'must be a rule and a level such as "oi_drop:alert", not {shown(value)}')
    return match[1], _level(match[2])


_ASKED = re.compile(r"(<=|>=|<|>|beyond\b)\s*(\S+)")


def when(value: object) -> tuple[When, ...]:
    """``{ price_1h_pct = "<= -1" }``: other metrics and what their values must be; ``"none"``."""
    if value == "none":
        return ()
    if isinstance(value, dict) and value:
        asked = cast("dict[str, object]", value)
        return tuple(_when(name, text) for name, text in asked.items())
    raise ValueError(
        'must be a table of metrics and what they must be, such as { price_1h_pct = "<= -1" }, not '
        + shown(cast("object", value))
    )


def causes(value: object) -> tuple[Cause, ...]:
    """``["long unwinding"]``: what must be happening; ``"none"``: whatever it is."""
    if value == "none":
        return ()
    known = list(Cause)
    if not isinstance(value, list) or not value:
        text = f"must be a list of {', '.join(known)}, not {shown(cast('object', value))}"
        raise ValueError(text)
    names = cast("list[object]", value)
    for name in names:
        if name not in known:
            near = did_you_mean(name, [*known]) if isinstance(name, str) else ""
            raise ValueError(f"unknown cause {shown(name)}{near}: choose from {', '.join(known)}")
    return tuple(dict.fromkeys(Cause(name) for name in names))


def _when(name: str, text: object) -> When:
    match = _ASKED.fullmatch(text.strip()) if isinstance(text, str) else None
    try:
        threshold = number(float(match[2])) if match else math.nan
    except ValueError:
        match, threshold = None, math.nan
    if not match:
        raise ValueError(
            f'{name}: must be one of <=, >=, <, > and beyond and a number, such as "<= -1", not'
            f" {shown(text)}"
        )
    if match[1] == "beyond" and threshold <= 0:
        raise ValueError(
            f'{name}: beyond is a distance from zero, whichever way: "beyond 2", not {shown(text)}'
        )
    return When(name, cast("Comparison", match[1]), threshold)


def recap(value: object) -> Level | None:
    """The level that an event must have reached to be looked back on; ``"none"``: none is."""
    return None if value == "none" else level(value)


def lead(value: object) -> Ms | None:
    """How long before something, such as ``"1h"``, a day at most; ``"none"``: not at all."""
    if value == "none":
        return None
    length = some_time(value)
    if length > DAY:
        raise ValueError(f"must be a day at most, not {shown(value)}")
    return length


def level(value: object) -> Level:
    """``"watch"``, ``"alert"`` or ``"critical"``."""
    if not isinstance(value, str) or value not in LEVELS:
        near = did_you_mean(value, list(LEVELS)) if isinstance(value, str) else ""
        raise ValueError(f"must be watch, alert or critical, not {shown(value)}{near}")
    return LEVELS[value]


def url(value: object, schemes: tuple[str, ...], *, base: bool = False) -> str:
    """A URL of one of ``schemes`` that every client can open, without the slash at its end, its
    host in ASCII. ``base``: paths are put behind it. No sentence shows any part of it."""
    scheme, _, rest = _text_of_url(value, schemes).partition("://")
    if _NO_URL.search(rest) or not rest.isprintable():
        raise ValueError("has a space or another sign in it that a URL cannot hold")
    place = re.split(r"[/?#]", rest, maxsplit=1)[0]
    login, at, where = place.rpartition("@")
    if at and _UNENCODED.search(login):
        raise ValueError(f"has a sign in its user or password that a URL cannot hold: {_ENCODE}")
    if at and ":" not in login and scheme in ("wss", "ws"):  # which websockets does not take
        raise ValueError("has a user without a password: write user:password@, or neither")
    path = rest[len(place) :]
    host, port = host_and_port(where)
    if base and re.search(r"[?#]", path):
        raise ValueError("must end with a host or a path, without ? and #")
    return f"{scheme}://{login}{at}{host}{'' if port is None else f':{port}'}{path}".rstrip("/")


_NO_URL = re.compile(r"[\s\\]")


def _text_of_url(value: object, schemes: tuple[str, ...]) -> str:
    if not isinstance(value, str) or not value.startswith(tuple(f"{s}://" for s in schemes)):
        wanted = " or ".join(f"{scheme}://" for scheme in schemes)
        raise ValueError(f"must be a URL that starts with {wanted}")
    return value


def web_address(value: object) -> tuple[str, int] | None:
    """``"127.0.0.1:8737"`` or ``"[::1]:8737"``: where to listen; ``"none"``: nowhere."""
    if value == "none":
        return None
    match = _WEB.fullmatch(value) if isinstance(value, str) else None
    if not match or not 0 < int(match[2]) < 65_536:
        raise ValueError(
            'must be an address and a port, such as "127.0.0.1:8737", or "none", '
            f"not {shown(value)}"
        )
    return match[1].strip("[]"), int(match[2])


_WEB = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})")
_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,40}")


def redis_prefix(value: object) -> str:
    """What keys in Redis begin with. ValueError says what it may be."""
    if not isinstance(value, str) or not _PREFIX.fullmatch(value):
        raise ValueError('must be 1 to 40 letters, digits or any of "_.-"')
    return value


_SERIES = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,29}")


def series_name(value: object) -> str:
    """What a series of the operator's own is called. ValueError says what it may be."""
    if not isinstance(value, str) or not _SERIES.fullmatch(value):
        raise ValueError('must be a letter, then up to 29 letters, digits or any of "_.-"')
    return value


def poll_interval(value: object) -> Ms:
    """A length of time, such as "1h", of a minute at least."""
    every = some_time(value)
    if every < durations.MINUTE:
        raise ValueError("must be at least 1m: who gives data away is not to be asked each second")
    return every


def proxy(value: object) -> str:
    """The URL of a proxy. No sentence about it shows any part of it; see ``redis_url``."""
    if not isinstance(value, str):
        raise ValueError('must be the URL of a proxy in quotes, such as "socks5h://127.0.0.1:1080"')
    return proxy_url(value)


def redis_url(value: object) -> str:
    """The URL of a Redis as the client can open it.

    ``redis://[user[:password]@]host[:port][/database]``, ``rediss://…`` the same over TLS,
    ``unix://[user[:password]@]/path/of/socket?db=0``. No sentence about it shows any part of it,
    for whatever is misplaced may be a part of the password.
    """
    text = _text_of_url(value, ("redis", "rediss", "unix"))
    if re.search(r"[\s\x00-\x1f\x7f]", text):
        raise ValueError(f"has a space or a line break in it: {_ENCODE}")
    scheme, _, rest = text.partition("://")
    user, at, rest = rest.rpartition("@")
    if at and (_UNENCODED.search(user) or user.count(":") > 1):
        raise ValueError(f"has a sign in its user or password that a URL cannot hold: {_ENCODE}")
    if "#" in rest:
        raise ValueError(f"has a # in it: {_ENCODE}")
    rest, _, query = rest.partition("?")
    host, slash, path = rest.partition("/")
    _redis_place(scheme, host, slash + path)
    _redis_query(query, tls=scheme == "rediss")
    return text


_ENCODE = "percent-encode the password (% is %25, # is %23, / is %2F, ? is %3F, @ is %40, : is %3A)"
_UNENCODED = re.compile(r"[/?#@\[\]]|[^\x00-\x7f]|%(?![0-9A-Fa-f]{2})")
_DATABASE = re.compile(r"/?|/\d{1,6}", re.ASCII)
_REDIS_OPTIONS = {
    "db": r"\d{1,6}",
    "ssl_ca_certs": r".+",
    "ssl_certfile": r".+",
    "ssl_keyfile": r".+",
    "ssl_cert_reqs": r"none|optional|required",
    "ssl_check_hostname": r"true|false",
}
"""The options after the ``?`` of a Redis URL, and their values. redis-py passes on whatever else it
finds there, and fails on it when it connects."""


def _redis_place(scheme: str, host: str, path: str) -> None:
    if scheme == "unix":
        if host or len(path) < 2:
            raise ValueError("must name the path of a socket, such as unix:///run/redis.sock")
        return
    if host.startswith("[") and "]" not in host:
        raise ValueError("has a [ that is not closed: an IPv6 address is written [::1]:6379")
    try:
        if not host.partition(":")[0].isascii():  # redis-py does not encode it
            raise HostError
        host_and_port(host)
    except PortError:
        raise ValueError(
            f"has a port that is no number from 1 to 65535; with a password in the URL, {_ENCODE}"
            " and put @ after it"
        ) from None
    except HostError:
        raise ValueError(
            "has no host that can be read: write redis://host:6379/0, an IPv6 address in [ ];"
            f" {_ENCODE}"
        ) from None
    if not _DATABASE.fullmatch(path):
        raise ValueError("must end with the number of a database, such as /0, or with the port")


def _redis_query(query: str, tls: bool) -> None:
    known = [name for name in _REDIS_OPTIONS if tls or name == "db"]
    for part in query.split("&") if query else ():
        name, _, content = part.partition("=")
        if name not in known or not re.fullmatch(_REDIS_OPTIONS[name], content, re.ASCII):
            raise ValueError(
                "has something after the ? that is not understood: there may be"
                f" {', '.join(known)}, with a value each; with a ? in the password, {_ENCODE}"
            )


def shown_redis_url(url: str) -> str:
    """A URL that ``redis_url`` has taken, without its user and password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


Values = tuple[float | None, ...]

LONGEST = 100_000
"""Most values that a series may have: half an hour of one test is no test."""

_NUMBER = r"\d+(?:\.\d+)?"
_WORD = re.compile(rf"(-?{_NUMBER}|_|stale)(?:([+-]{_NUMBER})?x(\d{{1,6}}))?")


class Expected(msgspec.Struct, frozen=True, order=True):
    """A turn that a test expects."""

    at: Ms
    """After the first value."""
    turn: Turn
    level: Level
    held: bool = False
    """Whether the cool-down keeps it from being posted."""

    def __str__(self) -> str:
        text = f"{compact(self.at)} {self.turn} {self.level.name.lower()}"
        return f"{text} held" if self.held else text


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
    match = _WORD.fullmatch(word)
    nothing = match is not None and match[1] in ("_", "stale")
    if not match or (nothing and match[2]):
        raise ValueError(
            f'cannot read "{word}": write 100, 100x18 (100 and then 18 more), 100-5x6 (six steps '
            "down), _ or stale (no value), _x30"
        )
    count = int(match[3] or 0) + 1
    if count > LONGEST:
        raise ValueError(f"is longer than {LONGEST:,} values")
    if nothing:
        return [None] * count
    first, step = float(match[1]), float(match[2] or 0)
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
    at = durations.duration(time)
    if at is None:
        raise ValueError(f'cannot read the time "{time}": write it like 5m10s')
    if turn not in list(Turn):
        near = did_you_mean(turn, list(Turn)) or f": choose from {', '.join(Turn)}"
        raise ValueError(f'unknown turn "{turn}"{near}')
    if level not in LEVELS:
        raise ValueError(f'unknown level "{level}"{did_you_mean(level, list(LEVELS))}')
    return Expected(at, Turn(turn), LEVELS[level], held=len(words) == 4)
