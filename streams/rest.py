"""A venue's REST API from our side: one budget, one set of excuses in words.

All requests of a venue go through one ``Rest``. It never exceeds the venue's budget, obeys its
pauses (429, 418) for as long as it asks, and says a refusal by country (403, 451) in words.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
from yarl import URL

from streams.events import Ms
from streams.venue import Request, Spec

MAX_BODY_BYTES = 32 * 1024 * 1024
_BUDGET_SHARE = 0.8
"""The venue counts by its own clock, and others may share our address."""

_TIMEOUT = aiohttp.ClientTimeout(total=20, connect=10)
_PAUSE_S = {429: 60.0, 418: 300.0, 403: 600.0, 451: 600.0}
"""How long to leave a venue alone that does not say how long."""


class Unavailable(Exception):
    """A request that brought nothing. ``str()`` says why in words; ``blocked``: by country."""

    def __init__(self, reason: str, blocked: bool = False) -> None:
        super().__init__(reason)
        self.blocked = blocked


class Usage(msgspec.Struct):
    """What was asked of a venue since start."""

    requests: int = 0
    failures: int = 0
    paused_until: Ms = 0


class Rest:
    """One venue's REST API below ``base``. ``now`` is a monotonic clock in Ms."""

    def __init__(self, spec: Spec, base: str, now: Callable[[], Ms]) -> None:
        self.usage = Usage()
        self._spec = spec
        self._base = base.rstrip("/")
        self._now = now
        self._session: aiohttp.ClientSession | None = None
        per_minute = spec.weight_per_minute or spec.requests_per_second * 60
        self._per_ms = per_minute * _BUDGET_SHARE / 60_000
        self._most = per_minute * _BUDGET_SHARE / 4
        self._left = self._most
        self._counted = now()
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=True)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, request: Request, hour_ago: Ms = 0) -> bytes:
        """The body of a 200 answer. Waits for the budget; raises Unavailable with the reason."""
        await self._wait_for(request.weight if self._spec.weight_per_minute else 1)
        assert self._session is not None  # noqa: S101  # used inside ``async with``
        self.usage.requests += 1
        stamp = str(hour_ago)
        url = URL(self._base + request.path.replace("{hour_ago}", stamp), encoded=True)
        try:
            if request.body is None:
                call = self._session.get(url)
            else:
                body = request.body.replace(b"{hour_ago}", stamp.encode())
                call = self._session.post(
                    url, data=body, headers={"Content-Type": "application/json"}
                )
            async with call as answer:
                data = await _read(answer)
                self._judge(answer.status, answer.headers, data)
                return data
        except Unavailable:
            self.usage.failures += 1
            raise
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.usage.failures += 1
            raise Unavailable(in_words(error)) from error

    def _judge(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if status == 200:
            return
        too_often = status in (418, 429) or (status == 403 and b"too frequent" in body)
        blocked = status in (403, 451) and not too_often
        if too_often or blocked:
            seconds = _retry_after(headers) or _PAUSE_S[status]
            until = self._now() + int(seconds * 1000)
            self.usage.paused_until = max(self.usage.paused_until, until)
            if blocked:
                raise Unavailable(refusal(status), blocked=True)
            raise Unavailable(f"it asked us to slow down (HTTP {status}), pausing {seconds:.0f} s")
        raise Unavailable(f"it answered HTTP {status}")

    async def _wait_for(self, weight: int) -> None:
        async with self._turn:
            while True:
                now = self._now()
                if now < self.usage.paused_until:
                    await asyncio.sleep((self.usage.paused_until - now) / 1000)
                    continue
                gained = (now - self._counted) * self._per_ms
                self._left, self._counted = min(self._left + gained, self._most), now
                if self._left >= min(weight, self._most):
                    self._left -= weight
                    return
                await asyncio.sleep((min(weight, self._most) - self._left) / self._per_ms / 1000)


def refusal(status: int) -> str:
    """What HTTP 403 and 451 mean on a public feed."""
    return (
        f"it refuses this address (HTTP {status}), most likely for its country: run Lowtide"
        " elsewhere, set another base URL, or take the venue out of config.toml"
    )


def in_words(error: BaseException) -> str:
    """Why a connection failed, for people."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its TLS certificate is not valid ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return "the TLS handshake failed"
        if isinstance(cause, socket.gaierror):
            return "its name could not be looked up (no network?)"
        if isinstance(cause, ConnectionRefusedError):
            return "the connection was refused"
        if isinstance(cause, TimeoutError):
            return "it did not answer in time"
        cause = cause.__cause__ or getattr(cause, "os_error", None)
    return f"the connection failed ({type(error).__name__})"


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in answer.content.iter_chunked(1 << 16):
        data += chunk
        if len(data) > MAX_BODY_BYTES:
            raise Unavailable(f"it sent more than {MAX_BODY_BYTES >> 20} MB")
    return bytes(data)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return max(1.0, float(headers.get("Retry-After", "")))
    except ValueError:
        return None
