"""What a failure means: in words for people, and how long it asks us to stay away."""

import errno
import re
import socket
import ssl
from collections.abc import Mapping

import msgspec

from streams.durations import MINUTE
from streams.events import Ms

_PAUSE_S = {429: 60.0, 418: 300.0, 403: 600.0, 451: 600.0}
"""How long to leave a venue alone that does not say how long."""

_LONGEST_PAUSE_S = 3 * 86_400.0
"""Binance's longest ban. More than that is a mistake of whoever answered."""

_MOST_DIGITS = 9

_SAY_AGAIN_MS = 10 * MINUTE
_REMEMBERED = 50

_ERRNO = re.compile(r"\[Errno (\d+)\]")
_BY_ERRNO = {
    errno.ECONNREFUSED: "the connection was refused",
    errno.ECONNRESET: "the connection was reset",
    errno.ENETUNREACH: "it cannot be reached from here (no network?)",
    errno.EHOSTUNREACH: "it cannot be reached from here (no network?)",
}
_BY_PROXY = {
    "ProxyError": "the proxy did not connect",
    "ProxyConnectionError": "the proxy cannot be reached",
    "ProxyTimeoutError": "the proxy did not answer in time",
    "ClientHttpProxyError": "the proxy did not connect",
    "ClientProxyConnectionError": "the proxy cannot be reached",
    "InvalidProxyMessage": "the proxy did not answer as a proxy does",
    "InvalidProxyStatus": "the proxy did not connect",
}
"""Of aiohttp, aiohttp-socks and websockets."""

_BY_TYPE = {
    "ClientConnectorCertificateError": "its TLS certificate is not valid",
    "InvalidMessage": "it did not answer as a websocket server does",
    "ServerDisconnectedError": "it closed the connection without an answer",
}


class RefusedStatus(msgspec.Struct, frozen=True):
    """An HTTP status other than the expected one."""

    words: str
    """For people."""
    pause_s: float = 0.0
    """How long to ask nothing; 0: it does not matter."""
    blocked: bool = False
    """It is refused for its country."""


def refusal(status: int, headers: Mapping[str, str], body: bytes = b"") -> RefusedStatus:
    """What a status other than the expected one means, on a socket's handshake or an answer.

    Bybit says 403 with "access too frequent" where others say 429.
    """
    pause = wait_s(headers.get("Retry-After", ""), _LONGEST_PAUSE_S)
    if status in (418, 429) or (status == 403 and b"too frequent" in body.lower()):
        pause = pause or _PAUSE_S[status]
        return RefusedStatus(
            f"it asked us to slow down (HTTP {status}), pausing {pause:.0f} s", pause
        )
    if status in (403, 451):
        return RefusedStatus(
            f"it refuses this address (HTTP {status}), most likely for its country: run Lowtide"
            " elsewhere, set another base URL, or take the venue out of the configuration",
            pause or _PAUSE_S[status],
            blocked=True,
        )
    redirect = ", a redirect, which is not followed" if 300 <= status < 400 else ""
    return RefusedStatus(f"it answered HTTP {status}{redirect}", pause or 0.0)


def in_words(error: BaseException) -> str:
    """Why a connection failed, for people."""
    if (words := _BY_PROXY.get(type(error).__name__)) is not None:
        return words
    cause: BaseException | None = error
    while cause is not None:
        words = _words(cause)
        if words is not None:
            return words
        cause = cause.__cause__ or getattr(cause, "os_error", None)
    return _BY_TYPE.get(type(error).__name__, f"the connection failed ({type(error).__name__})")


def _words(cause: BaseException) -> str | None:
    match cause:
        case ssl.SSLCertVerificationError():
            # aiohttp's error of this family has no words of its own; its cause has
            why: str | None = getattr(cause, "verify_message", None)
            return why and f"its TLS certificate is not valid ({why})"
        case ssl.SSLError():
            return "the TLS handshake failed"
        case socket.gaierror():
            return "its name could not be looked up (no network?)"
        case TimeoutError():
            return "it did not answer in time"
        case EOFError():
            return "it closed the connection without an answer"
        case OSError():  # several addresses tried: their numbers stand in the text alone
            numbers = [cause.errno, *map(int, _ERRNO.findall(str(cause)))]
            return next((_BY_ERRNO[n] for n in numbers if n in _BY_ERRNO), None)
        case _:
            return None


def wait_s(text: str, longest: float) -> float | None:
    """The whole seconds of a ``Retry-After`` header, 1 at least.

    None for what is no such number, and for more than ``longest``: nobody who means it asks for
    that, so it says nothing about how long to wait. Dates are not read; nobody sends them here.
    """
    digits = text.strip(" \t")
    if not digits or len(digits) > _MOST_DIGITS or not (digits.isascii() and digits.isdigit()):
        return None
    seconds = float(digits)
    return max(seconds, 1.0) if seconds <= longest else None


class SayOnce:
    """Keeps the log readable: the same words are logged once in ten minutes. The one form of this
    for logs; an outage of Redis has ``streams.bus.connection.Backoff``."""

    def __init__(self) -> None:
        self._at: dict[str, Ms] = {}

    def is_news(self, words: str, now: Ms) -> bool:
        """Whether to say ``words`` at ``now``, any clock in Ms; they count as said then."""
        last = self._at.get(words)
        if last is not None and now - last < _SAY_AGAIN_MS:
            return False
        if len(self._at) >= _REMEMBERED:
            self._at.clear()
        self._at[words] = now
        return True

    def forget(self) -> None:
        """All is well again: whatever comes next is news."""
        self._at.clear()
