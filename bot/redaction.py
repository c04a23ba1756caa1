"""Secrets by their value: whoever reads one registers it, and no text that is shown holds it.

A pattern finds a secret only where it stands as expected. What is registered here is found wherever
it stands, whole, percent-encoded or escaped; the patterns stay for what nobody has registered.
"""

import json
import re

from streams.text import printable

_LEAST = 6
"""A shorter secret is part of too many words."""

_LEAST_PATH = 4
TOKEN = re.compile(r"\d{5,}:[\w-]{30,}")
_PASSWORD = re.compile(r"(?<=://)([^\s/@:]*):([^\s@]+)@")
_PRIVATE = re.compile(
    r"\w+://\S+|\('[^']+', \d+[^)]*\)|[\w.:\[\]-]+:\d{4,5}\b|(?:\d{1,3}\.){3}\d{1,3}"
    r"|@\w{4,}|-?\d{7,}"
)
"""Addresses: URLs, hosts with a port as Python and others write them; chats and people: their
names, their numbers."""

_SPLITS = re.compile(r"[/?#@:\[\]]")

_known: dict[str, str] = {}
_compiled: list[re.Pattern[str]] = []


def register(value: str, called: str) -> None:
    """From now on ``value`` is shown as ``<called>``."""
    if len(value) >= _LEAST and value not in _known:
        _known[value] = called
        _compiled.clear()


def register_token(token: str) -> None:
    """A bot's token, and the part of it that is secret."""
    register(token, "token")
    register(token.partition(":")[2], "token")


def register_login(url: str) -> None:
    """The password in ``url``, however wrong the URL is: also its pieces, since whoever takes the
    URL apart at a sign that should have been encoded may show one of them."""
    user, at, _ = url.partition("://")[2].rpartition("@")
    password = user.partition(":")[2] if ":" in user else ""
    if at and password:
        for part in (password, *_SPLITS.split(password)):
            register(_decoded(part), "password")


def register_address(url: str) -> None:
    """An address of which all but the host is secret."""
    register_login(url)
    register(url, "address")
    path = url.partition("://")[2].partition("/")[2]
    if len(path) >= _LEAST_PATH:
        register(_decoded("/" + path), "address")


def redact(text: str) -> str:
    """``text`` without secrets."""
    if _known:
        if not _compiled:
            _compiled.append(_pattern())
        text = _compiled[0].sub(_shown, text)
    return _PASSWORD.sub(r"\1:<password>@", TOKEN.sub("<token>", text))


def public(text: str, longest: int | None = 200) -> str:
    """``text`` on one line of at most ``longest`` characters (None: whole), without secrets,
    addresses, chats and people."""
    return printable(_PRIVATE.sub("…", redact(" ".join(text.split()))), longest)


def _pattern() -> re.Pattern[str]:
    """Any registered secret, the longest first, since one may be a part of another."""
    values = sorted(_known, key=len, reverse=True)
    return re.compile("|".join(f"({''.join(map(_any_form, value))})" for value in values))


def _shown(match: re.Match[str]) -> str:
    values = sorted(_known, key=len, reverse=True)
    return f"<{_known[values[(match.lastindex or 1) - 1]]}>"


def _any_form(char: str) -> str:
    """``char`` as it is, percent-encoded, with a backslash before it, or as JSON writes it."""
    encoded = "".join(f"%{byte:02x}" for byte in char.encode("utf-8", "replace"))
    forms = [rf"\\?{re.escape(char)}", f"(?i:{encoded})"]
    if not char.isascii():
        forms.append(f"(?i:{re.escape(json.dumps(char)[1:-1])})")
    if char == " ":
        forms.append(r"\+")
    return f"(?:{'|'.join(forms)})"


def _decoded(text: str) -> str:
    return re.sub(r"(?:%[0-9A-Fa-f]{2})+", _unquoted, text)


def _unquoted(match: re.Match[str]) -> str:
    return bytes.fromhex(match.group().replace("%", "")).decode("utf-8", "replace")
