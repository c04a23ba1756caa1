"""config.toml and the environment → Settings, or every error of the file at once.

Secrets come from the environment alone. An error names the file, the line, the key and what to do.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bot.config_rules import Problem, looks_like_asset, market_problems, resolve
from bot.config_schema import OVERRIDES, File, did_you_mean, keys_at, redis_url, shown
from bot.lang import LANGUAGES
from bot.logs import TOKEN, redact
from bot.toml_lines import KeyPath, index, line_of
from rules.rule import Rule
from streams.events import Ms
from streams.selection import Markets
from streams.venues import VENUES

_TOML_PLACE = re.compile(r" \(at line (\d+), (column \d+)\)$")
_ENV_TOKEN = re.compile(r"\d+:[\w-]+")


class ConfigError(Exception):
    """The configuration cannot be used. ``problems``: one line each, in the order of the file."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Secret(str):
    """Text that does not show itself where a struct is printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>"


class VenueSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One venue that is switched on. URLs replace those of its Spec; None: the Spec's."""

    name: str
    websocket: str | None = None
    rest: str | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an operator can choose.

    ``chat_id``, ``token`` None: nothing is sent to Telegram. ``redis_url`` None: Lowtide starts a
    Redis of its own in ``data_dir``. ``keep``: age in Ms up to which events are kept, unless
    ``max_mb`` megabytes are reached before. ``tail``: how many assets are watched besides
    ``majors`` and ``large``, by open interest.
    """

    path: Path
    chat_id: int | str | None
    language: str
    api_url: str
    token: Secret | None
    redis_url: Secret | None
    data_dir: Path
    keep: Ms
    max_mb: int
    venues: tuple[VenueSettings, ...]
    majors: tuple[str, ...]
    large: tuple[str, ...]
    tail: int
    rules: tuple[Rule, ...]

    @property
    def markets(self) -> Markets:
        """Which assets are to be watched."""
        return Markets(majors=self.majors, large=self.large, tail=self.tail)


def load(path: Path, env: Mapping[str, str]) -> Settings:
    """The settings in ``path`` and ``env`` (TELEGRAM_BOT_TOKEN, REDIS_URL).

    Raises ConfigError with all problems found.
    """
    text = _text(path)
    lines = index(text)
    raw = _parsed(path, text)
    file, problems = _validated(_with_overrides(raw), raw)
    rules: tuple[Rule, ...] = ()
    if file is not None:
        rules, wrong = resolve(file)
        problems += market_problems(file.markets, list(VENUES)) + _choices(file) + wrong
    told = _sorted(path, lines, problems) + _env_problems(env)
    if told or file is None:
        raise ConfigError(told)
    return _settings(path, file, rules, env)


def _text(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            [f"{path}: no such file; run lowtide where config.toml is, or name it with --config"]
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: is not UTF-8 text (byte {error.start})"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    leaks = [n for n, line in enumerate(text.splitlines(), start=1) if TOKEN.search(line)]
    if leaks:
        raise ConfigError(
            [
                f"{path}:{n}: this looks like a bot token; take it out of the file and put it into "
                "the environment as TELEGRAM_BOT_TOKEN (see .env.example)"
                for n in leaks
            ]
        )
    return text


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        words = str(error)
        if place := _TOML_PLACE.search(words):
            reason = f"{words[: place.start()]} ({place[2]})"
            raise ConfigError([f"{path}:{place[1]}: not valid TOML: {reason}"]) from None
        raise ConfigError([f"{path}: not valid TOML: {words}"]) from None


def _with_overrides(raw: dict[str, Any]) -> dict[str, Any]:
    """Rows of single assets, moved to where the schema expects them."""
    rules = raw.get("rules")
    if not isinstance(rules, dict):
        return raw
    moved: dict[str, Any] = {}
    for name, table in cast("dict[str, Any]", rules).items():
        if isinstance(table, dict):
            items = cast("dict[str, Any]", table)
            own = {key: row for key, row in items.items() if looks_like_asset(key)}
            rest = {key: value for key, value in items.items() if key not in own}
            moved[name] = {**rest, OVERRIDES: own}
        else:
            moved[name] = table
    return {**raw, "rules": moved}


def _validated(tables: dict[str, Any], raw: dict[str, Any]) -> tuple[File | None, list[Problem]]:
    """The file without its faulty parts, so that the others can be judged too, and the faults.

    None if the markets are among them, since rules are judged against these.
    """
    try:
        return File.model_validate(tables), []
    except ValidationError as error:
        details = error.errors(include_url=False)
    problems = [_problem(detail, raw) for detail in details]
    if any(detail["loc"][0] == "markets" for detail in details):
        return None, problems
    faulty = {detail["loc"][:2] for detail in details}
    sound: dict[str, Any] = {
        section: _sound(section, cast("dict[str, Any]", table), faulty)
        for section, table in tables.items()
        if (section,) not in faulty
    }
    return File.model_validate(sound), problems


def _sound(
    section: str, table: dict[str, Any], faulty: set[tuple[str | int, ...]]
) -> dict[str, Any]:
    return {key: value for key, value in table.items() if (section, key) not in faulty}


def _problem(detail: ErrorDetails, raw: dict[str, Any]) -> Problem:
    at = detail["loc"]
    path = tuple(part for n, part in enumerate(at) if not (n == 2 and part == OVERRIDES))
    return path, _sentence(detail, path, raw)


def _sentence(detail: ErrorDetails, path: KeyPath, raw: dict[str, Any]) -> str:
    kind, got = detail["type"], shown(detail["input"])
    context = detail.get("ctx", {})
    if kind == "extra_forbidden":
        parent = tuple(str(part) for part in path[:-1])
        near = did_you_mean(str(path[-1]), keys_at(parent) + _listed_assets(parent, raw))
        return f"unknown key{near}"
    if kind == "value_error":
        return str(context["error"])
    if kind in ("greater_than", "greater_than_equal"):
        limit = context.get("gt", context.get("ge"))
        words = "greater than" if kind == "greater_than" else "at least"
        return f"must be {words} {limit:g}, not {got}"
    if kind == "literal_error":
        return f"must be {context['expected']}, not {got}".replace("'", '"')
    return _KINDS.get(kind, detail["msg"]).format(got=got)


_KINDS = {
    "missing": "is missing",
    "int_type": "must be a whole number, not {got}",
    "int_from_float": "must be a whole number, not {got}",
    "float_type": "must be a number, not {got}",
    "finite_number": "must be a finite number, not {got}",
    "string_type": "must be text in quotes, not {got}",
    "string_too_short": "must not be empty",
    "bool_type": "must be true or false, not {got}",
    "list_type": 'must be a list such as ["a", "b"], not {got}',
    "dict_type": "must be a table, not {got}",
    "model_type": "must be a table, not {got}",
    "model_attributes_type": "must be a table, not {got}",
}


def _listed_assets(parent: tuple[str, ...], raw: dict[str, Any]) -> list[str]:
    """Assets that may stand as keys in a rule's table."""
    markets = raw.get("markets")
    if len(parent) != 2 or parent[0] != "rules" or not isinstance(markets, dict):
        return []
    lists = [cast("dict[str, Any]", markets).get(tier) for tier in ("majors", "large")]
    return [str(a) for names in lists if isinstance(names, list) for a in cast("list[Any]", names)]


def _choices(file: File) -> list[Problem]:
    problems: list[Problem] = []
    if file.channel.language not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        text = f"unknown language {shown(file.channel.language)}: choose from {known}"
        problems.append((("channel", "language"), text))
    for name in file.venues:
        if name not in VENUES:
            text = f"unknown venue{did_you_mean(name, list(VENUES))}"
            problems.append((("venues", name), text))
    return problems


def _sorted(path: Path, lines: Mapping[KeyPath, int], problems: list[Problem]) -> list[str]:
    placed = [(line_of(lines, at) or 0, at, text) for at, text in problems]
    placed.sort(key=lambda entry: entry[0])
    return [
        redact(f"{path}{f':{line}' if line else ''}: {_name(at)}: {text}")
        for line, at, text in placed
    ]


def _name(path: KeyPath) -> str:
    return ".".join(part for part in path if isinstance(part, str))


def _env_problems(env: Mapping[str, str]) -> list[str]:
    problems: list[str] = []
    token, url = env.get("TELEGRAM_BOT_TOKEN", "").strip(), env.get("REDIS_URL", "").strip()
    if token and not _ENV_TOKEN.fullmatch(token):
        problems.append(
            "TELEGRAM_BOT_TOKEN (environment): is not a bot token, which looks like "
            "123456789:AAF…; copy it again from @BotFather"
        )
    if url:
        try:
            redis_url(url)
        except ValueError as error:
            problems.append(f"REDIS_URL (environment): {error}")
    return problems


def _settings(path: Path, file: File, rules: tuple[Rule, ...], env: Mapping[str, str]) -> Settings:
    token = env.get("TELEGRAM_BOT_TOKEN", "").strip()
    url = env.get("REDIS_URL", "").strip() or file.redis.url
    tables = file.venues
    return Settings(
        path=path,
        chat_id=file.channel.chat_id,
        language=file.channel.language,
        api_url=file.telegram.api_url,
        token=Secret(token) if token else None,
        redis_url=Secret(url) if url else None,
        data_dir=path.parent / file.redis.data_dir,
        keep=file.redis.keep,
        max_mb=file.redis.max_mb,
        venues=tuple(
            VenueSettings(name=name, **(tables[name].model_dump() if name in tables else {}))
            for name in dict.fromkeys(file.markets.venues)
        ),
        majors=tuple(file.markets.majors),
        large=tuple(file.markets.large),
        tail=file.markets.tail,
        rules=rules,
    )
