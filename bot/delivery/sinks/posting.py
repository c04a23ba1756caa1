"""A POST over HTTP that says how it failed: surely not sent, or perhaps."""

import aiohttp
import msgspec

from streams.feed.errors import in_words
from streams.http import PROXY_ERRORS, http_session
from streams.proxies import NO_PROXIES, Proxies

_MOST_BYTES = 16_384
"""So much of an answer is read."""

_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    *PROXY_ERRORS,
)
"""Nothing was sent: there was no connection yet."""


class HttpAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a server answered."""

    status: int
    retry_after: str = ""
    """The header, "" without one."""
    body: bytes = b""
    """Its beginning; what of it did not come is missing."""


class NoAnswer(Exception):
    """The server did not answer. ``sent``: it may have taken the request all the same."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


class NoAddress(Exception):
    """The URL is none that can be opened."""


class HttpPoster:
    """Posts to any number of addresses, and follows no redirect. ``timeout``: seconds for one
    request."""

    def __init__(self, timeout: float = 20.0, proxies: Proxies = NO_PROXIES) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=min(5.0, timeout))
        self._proxies = proxies
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def post(self, url: str, content: bytes, headers: dict[str, str]) -> HttpAnswer:
        """The answer to ``content``. Raises NoAnswer and NoAddress, which do not hold the URL."""
        try:
            async with self._session(url).post(
                url, data=content, headers=headers, allow_redirects=False
            ) as answer:
                return HttpAnswer(
                    status=answer.status,
                    retry_after=answer.headers.get("Retry-After", ""),
                    body=await _beginning(answer.content),
                )
        except aiohttp.InvalidURL:
            raise NoAddress from None
        except (aiohttp.ClientError, *PROXY_ERRORS, TimeoutError, OSError) as error:
            raise NoAnswer(in_words(error), sent=not isinstance(error, _NOT_SENT)) from None
        except ValueError:
            raise NoAddress from None

    async def close(self) -> None:
        """Let go of connections."""
        for session in self._sessions.values():
            await session.close()

    def _session(self, url: str) -> aiohttp.ClientSession:
        if url not in self._sessions:
            self._sessions[url] = http_session(url, self._proxies, self._timeout)
        return self._sessions[url]


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """What comes of an answer whose status is there: that says what became of the request."""
    body = b""
    try:
        while len(body) < _MOST_BYTES and (chunk := await content.read(_MOST_BYTES - len(body))):
            body += chunk
    except (aiohttp.ClientError, TimeoutError, OSError):
        return body
    return body
