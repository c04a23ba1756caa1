"""The file as text and as plain tables, before anything is judged."""

import re
import tomllib
import unicodedata
from pathlib import Path
from typing import Any, cast

from bot.config_composites import MARKS
from bot.config_errors import ConfigError
from bot.config_markets import looks_like_asset
from bot.config_schema import ALL, COMPOSITES, ROWS, TIERS
from bot.redaction import TOKEN

_TOML_PLACE = re.compile(r" \(at line (\d+), column (\d+)\)$")


def text_of(path: Path) -> str:
    """The text of a file without secrets. Raises ConfigError."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            [f"{path}: no such file: name the configuration with --config or LOWTIDE_CONFIG"]
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


def parsed(path: Path, text: str) -> dict[str, Any]:
    """The tables of a TOML text. Raises ConfigError with the line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        words = str(error)
        if place := _TOML_PLACE.search(words):
            line, column = int(place[1]), int(place[2])
            reason = f"{words[: place.start()]} (column {column})"
            hint = _foreign(text.split("\n")[line - 1 : line], column)
            raise ConfigError([f"{path}:{line}: not valid TOML: {reason}{hint}"]) from None
        raise ConfigError([f"{path}: not valid TOML: {words}"]) from None


_FOREIGN = {
    **dict.fromkeys("“”„‟«»″＂", '"'),
    **dict.fromkeys("‘’‚‛′＇", "'"),
    **dict.fromkeys("‐‑‒–—−", "-"),
    **dict.fromkeys("\u00a0\u2007\u202f\u3000\u200b\u200c\u200d\u2060\ufeff", "a plain space"),
}
"""Signs that word processors and input methods write in place of those of TOML."""


def _foreign(lines: list[str], column: int) -> str:
    """What to write in place of the first sign up to ``column`` that TOML does not have."""
    for sign in "".join(lines)[:column]:
        plain = _FOREIGN.get(sign) or unicodedata.normalize("NFKC", sign)
        if plain != sign and not sign.isascii():
            shown = f"{sign} (U+{ord(sign):04X})" if sign.isprintable() else f"U+{ord(sign):04X}"
            return f"; {shown} is no sign of TOML: write {plain}"
    return ""


def arranged(raw: dict[str, Any]) -> dict[str, Any]:
    """Rows of tiers and assets, and composites, moved to where the schema expects them."""
    rules, markets = raw.get("rules"), raw.get("markets")
    if not isinstance(rules, dict):
        return raw
    own = set(cast("dict[str, Any]", markets)) if isinstance(markets, dict) else set[str]()
    names = {*TIERS, ALL, *own} - {"venues"}
    plain: dict[str, Any] = {}
    moved: dict[str, Any] = {}
    for name, table in cast("dict[str, Any]", rules).items():
        if isinstance(table, dict) and MARKS & table.keys() and "metric" not in table:
            moved[name] = table
        else:
            plain[name] = _with_rows(table, names)
    return {**raw, "rules": plain, COMPOSITES: moved}


def _with_rows(table: Any, names: set[str]) -> Any:
    """A rule's or a window's table, its rows gathered under one key."""
    if not isinstance(table, dict):
        return table
    items = cast("dict[str, Any]", table)
    rows = {k: row for k, row in items.items() if k in names or looks_like_asset(k, names)}
    rest = {key: value for key, value in items.items() if key not in rows}
    windows = rest.get("windows")
    if isinstance(windows, dict):
        each = cast("dict[str, Any]", windows)
        rest["windows"] = {window: _with_rows(own, names) for window, own in each.items()}
    return {**rest, ROWS: rows}


def names_in(rules: Any) -> list[str]:
    """The names of all rules, whatever is wrong with them."""
    return list(cast("dict[str, Any]", rules)) if isinstance(rules, dict) else []


def keys_in(rules: Any) -> set[str]:
    """All keys of the rules and of their windows, rows included."""
    if not isinstance(rules, dict):
        return set()
    found: set[str] = set()
    for table in cast("dict[str, Any]", rules).values():
        if isinstance(table, dict):
            keys = cast("dict[str, Any]", table)
            found |= {*keys, *keys_in(keys.get("windows"))}
    return found
