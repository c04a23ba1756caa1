"""A venue's REST API from our side: one budget, one pause.

All requests of a venue go through one ``Rest``. It never exceeds the venue's budget, and asks
nothing for as long as the venue has asked us to stay away. What can wait (``spare``) has the part
of the budget that nothing else wants at that moment.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, Self

import aiohttp
import msgspec
from yarl import URL

from streams.durations import MINUTE
from streams.events import Ms
from streams.feed.errors import RefusedStatus, in_words, refusal
from streams.http import PROXY_ERRORS, http_session
from streams.proxies import NO_PROXIES, Proxies
from streams.venue import Request

MAX_BODY_BYTES = 16 * 1024 * 1024
"""As much as a recording takes. The largest listing has about 3 MB."""

_BUDGET_SHARE = 0.8
"""The venue counts by its own clock, and others may share our address."""

_BURST_SHARE = 0.2
"""What may be asked at once after a rest. With the share above: never over budget a minute."""

_PATIENCE_S = 20.0
"""A pause longer than this is not sat out: whoever asks is told why there is no answer."""

_TIMEOUT = aiohttp.ClientTimeout(total=20, connect=10)


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


class Budget(Protocol):
    """What a server allows: a ``Spec`` of a venue, or of a source."""

    @property
    def weight_per_minute(self) -> int | None: ...
    @property
    def requests_per_second(self) -> float: ...


class Rest:
    """One venue's REST API below ``base``. ``now`` is a monotonic clock in Ms."""

    def __init__(
        self,
        spec: Budget,
        base: str,
        now: Callable[[], Ms],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        proxies: Proxies = NO_PROXIES,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """``sleep`` waits so many seconds of ``now``; ``headers`` go with every GET."""
        self._headers = headers
        self.usage = Usage()
        self._weighs = spec.weight_per_minute is not None
        self._base = base.rstrip("/")
        self._proxies = proxies
        self._now = now
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None
        per_minute = spec.weight_per_minute or spec.requests_per_second * 60
        self._per_ms = per_minute * _BUDGET_SHARE / MINUTE
        self._most = per_minute * _BURST_SHARE
        self._left = self._most
        self._counted = now()
        self._turn = asyncio.Lock()
        self._spare_turn = asyncio.Lock()
        self._wanted = 0.0
        self._refusal = RefusedStatus("")
        self._doubted = False
        self._users: Counter[aiohttp.ClientSession] = Counter()

    async def __aenter__(self) -> Self:
        self._session = self._new_session()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            self._users[self._session] += 0
        for session in self._users:
            await session.close()
        self._session = None
        self._users.clear()

    @property
    def paused_s(self) -> float:
        """How long the venue wants to be left alone, 0 if it does not."""
        return max(0.0, (self.usage.paused_until - self._now()) / 1000)

    async def ask(self, request: Request, spare: bool = False, apart: bool = False) -> bytes:
        """The body of a 200 answer. Waits for the budget; raises Unavailable with the reason.

        ``spare``: every request that is not, now or before its turn comes, is asked first.
        ``apart``: what is refused, or fails, is this path alone as far as is known, so all others
        are still asked for; not so where it is asked too often.
        """
        await self._wait_for(request.weight if self._weighs else 1, spare)
        self.usage.requests += 1
        try:
            return await self._asked(request, apart)
        except Unavailable:
            self.usage.failures += 1
            raise
        except (aiohttp.ClientError, *PROXY_ERRORS, OSError, TimeoutError, ValueError) as error:
            # ValueError: a host name that cannot be one
            self.usage.failures += 1
            raise Unavailable(in_words(error)) from error

    async def _asked(self, request: Request, apart: bool) -> bytes:
        """The body, on connections that nobody has a doubt about."""
        if self._doubted:
            await self._renew()
        session = self._session
        assert session is not None  # noqa: S101  # used inside ``async with``
        self._users[session] += 1
        try:
            return await self._answer(session, request, apart)
        finally:
            self._users[session] -= 1
            if session is not self._session and not self._users[session]:
                del self._users[session]
                await session.close()

    async def _answer(self, session: aiohttp.ClientSession, request: Request, apart: bool) -> bytes:
        url = URL(self._base + request.path, encoded=True)
        if request.body is None:
            call = session.get(url, headers=self._headers, allow_redirects=False)
        else:
            json = {"Content-Type": "application/json"}
            call = session.post(url, data=request.body, headers=json, allow_redirects=False)
        async with call as answer:
            data = await _read(answer)
            if answer.status != 200:
                if answer.status >= 500:
                    self.doubt()
                refused = refusal(answer.status, answer.headers, data)
                if apart and (refused.blocked or answer.status >= 500):
                    raise Unavailable(refused.words)
                self._refused(refused)
            return data

    def doubt(self) -> None:
        """An answer was an error or could not be read: its connection is not used again.

        Behind one address are many machines, and a connection that is kept stays with a broken one.
        """
        self._doubted = True

    def _new_session(self) -> aiohttp.ClientSession:
        return http_session(self._base, self._proxies, _TIMEOUT)

    async def _renew(self) -> None:
        old, self._session, self._doubted = self._session, self._new_session(), False
        if old is not None and not self._users[old]:
            del self._users[old]
            await old.close()

    def _refused(self, refused: RefusedStatus) -> None:
        until = self._now() + int(refused.pause_s * 1000)
        if refused.pause_s and until > self.usage.paused_until:
            self.usage.paused_until = until
            self._refusal = refused
        raise Unavailable(refused.words, refused.blocked)

    async def _wait_for(self, weight: int, spare: bool) -> None:
        share = min(weight, self._most)
        if spare:
            async with self._spare_turn:  # first come, first served
                await self._spend(weight, lambda: share + self._wanted)
            return
        self._wanted += share
        try:
            async with self._turn:  # so is this
                await self._spend(weight, lambda: share)
        finally:
            self._wanted -= share

    async def _spend(self, weight: int, needed: Callable[[], float]) -> None:
        """Take ``weight`` as soon as so much as is ``needed`` is left of the budget."""
        while True:
            if self.paused_s > _PATIENCE_S:
                raise Unavailable(self._refusal.words, self._refusal.blocked)
            lacking = needed() - self._come_back()
            wait_s = max(self.paused_s, lacking / self._per_ms / 1000)
            if wait_s <= 0:
                self._left -= weight
                return
            await self._sleep(max(wait_s, 0.001))  # the clock has no finer steps

    def _come_back(self) -> float:
        """How much of the budget is left, with what came back since it was last asked."""
        now = self._now()
        gained = (now - self._counted) * self._per_ms
        self._left, self._counted = min(self._left + gained, self._most), now
        return self._left


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in answer.content.iter_chunked(1 << 16):
        data += chunk
        if len(data) > MAX_BODY_BYTES:
            raise Unavailable(f"it sent more than {MAX_BODY_BYTES >> 20} MB")
    return bytes(data)
