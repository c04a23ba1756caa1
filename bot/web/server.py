"""``/healthz``, ``/readyz``, ``/metrics`` and the status page, by HTTP.

Numbers and reasons, and no secret, no chat and no address. Where others than this machine could
ask, a token is needed for all but ``/healthz`` and how the page looks; where none is needed, a name
of this machine must be asked for, so that no page in somebody's browser can read it by a name of
its own. Whoever has given the token in a browser has a cookie from then on, which no script reads,
no other site's page sends, and which does not tell the token.
"""

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
from aiohttp import web
from redis.asyncio import Redis
from redis.exceptions import RedisError

from bot.config import Settings
from bot.config.web import is_this_machine
from bot.lang import LANGUAGES
from bot.redaction import public, redact
from bot.web.document import page_document, token_document
from bot.web.live import LivePage
from bot.web.metrics import exposition, metric_families
from bot.web.probe import StatusProbe
from streams.bus.connection import connect, in_words
from streams.bus.health import HEALTH, Health
from streams.clock import wall_ms
from streams.events import Ms

log = structlog.get_logger()

SLOW_S = 10.0
"""A reader of the page that takes nothing for so long is left."""

MOST_READERS = 200

_AGAIN_S = 30.0
_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_COOKIE = "lowtide_page"
_STATIC = {
    name: ((Path(__file__).parent / "static" / name).read_bytes(), kind)
    for name, kind in (
        ("page.css", "text/css; charset=utf-8"),
        ("page.js", "text/javascript; charset=utf-8"),
        ("chart.js", "text/javascript; charset=utf-8"),
        ("uPlot.iife.min.js", "text/javascript; charset=utf-8"),
        ("uPlot.min.css", "text/css; charset=utf-8"),
        ("uPlot.LICENSE", "text/plain; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    )
}
"""What the page is made of, the same for everybody: name → bytes and their type."""

_OPEN = {"/healthz"}
_OPEN_WITH_TOKEN = {"/token", *(f"/{name}" for name in _STATIC)}
"""Paths that need no token, where there is one."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
}


class WebServer:
    """The answers, from what the roles have written to ``redis`` and from ``health``.

    ``now``: see ``LivePage``.
    """

    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        health: Health = HEALTH,
        now: Callable[[], Ms] | None = wall_ms,
    ) -> None:
        self._settings = settings
        self._health = health
        self._probe = StatusProbe(settings, redis, health)
        self.page = LivePage(settings, redis, self._probe, now)

    def application(self) -> web.Application:
        """All of it, to be served."""
        application = web.Application(middlewares=[self._admit], client_max_size=1024)
        router = application.router
        router.add_get("/healthz", self._healthz)
        router.add_get("/readyz", self._readyz)
        router.add_get("/metrics", self._metrics)
        router.add_get("/", self._page)
        router.add_get("/events", self._events)
        router.add_get("/chart", self._chart)
        router.add_post("/token", self._token)
        for name in _STATIC:
            router.add_get(f"/{name}", _static)
        application.on_response_prepare.append(_secure)
        application.on_shutdown.append(self._close)
        return application

    @web.middleware
    async def _admit(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        if request.path not in _OPEN and (why := self._refusal(request)):
            if self._settings.web_token is None:
                return _text(why, 403)
            if request.path == "/":
                return self._ask_token(request, wrong=False)
            if request.path not in _OPEN_WITH_TOKEN:
                return _text(why, 401)
        return await handler(request)

    def _refusal(self, request: web.Request) -> str:
        """Why it is not answered; "" if it is."""
        if (token := self._settings.web_token) is not None:
            offered = request.headers.get("Authorization", "").removeprefix("Bearer ")
            kept = request.cookies.get(_COOKIE, "")
            same = _is_same(offered, token) or _is_same(kept, _cookie_of(token))
            return "" if same else "send LOWTIDE_WEB_TOKEN as a bearer token"
        host = request.url.host or ""
        return (
            "" if is_this_machine(host.strip("[]")) else "ask for this machine by a name of its own"
        )

    async def _healthz(self, _: web.Request) -> web.Response:
        stuck = self._health.stuck()
        return _text("stuck" if stuck else "ok", 503 if stuck else 200)

    async def _readyz(self, _: web.Request) -> web.Response:
        try:
            reported, _episodes = await self._probe.look()
        except (RedisError, OSError, TimeoutError) as error:
            return _text(f"redis: {public(in_words(error))}", 503)
        checks = self._probe.checks(reported)
        lines = [f"{check.name}: {check.reason or 'ok'}" for check in checks]
        return _text("\n".join(lines), 200 if all(check.ok for check in checks) else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        try:
            reported, episodes = await self._probe.look()
        except (RedisError, OSError, TimeoutError) as error:
            return _text(f"redis: {public(in_words(error))}", 503)
        body = exposition(metric_families(reported, self._probe.checks(reported), episodes))
        return web.Response(body=body, headers={"Content-Type": _TEXT})

    def _language(self, request: web.Request) -> str:
        """That which was asked for, else that of the configuration."""
        asked = request.query.get("lang", "")
        return asked if asked in LANGUAGES else self._settings.language

    async def _page(self, request: web.Request) -> web.Response:
        language = self._language(request)
        tables = await self.page.tables(language)
        return _html(page_document(tables, LANGUAGES[language], language), 200)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if self.page.readers >= MOST_READERS:
            return _text("too many look at the page", 503)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        response.headers["X-Accel-Buffering"] = "no"  # nginx hands on at once
        await response.prepare(request)
        async with contextlib.aclosing(self.page.updates(self._language(request))) as updates:
            async for update in updates:
                try:
                    async with asyncio.timeout(SLOW_S):
                        await response.write(update)
                except (TimeoutError, ConnectionError):
                    if request.transport is not None:
                        request.transport.abort()  # what waits for it is dropped
                    break
        return response

    async def _chart(self, request: web.Request) -> web.Response:
        chart = await self.page.chart(request.query.get("asset", ""), self._language(request))
        if chart is None:
            return _text("this asset is not watched", 404)
        return web.Response(body=chart, content_type="application/json")

    async def _token(self, request: web.Request) -> web.Response:
        token = self._settings.web_token
        if token is None:
            return _text("no token is needed here", 404)
        offered = (await request.post()).get("token")
        if not isinstance(offered, str) or not _is_same(offered, token):
            return self._ask_token(request, wrong=True)
        there = f"./?lang={self._language(request)}"
        answer = web.Response(status=303, headers={"Location": there})
        answer.set_cookie(_COOKIE, _cookie_of(token), httponly=True, samesite="Strict")
        return answer

    def _ask_token(self, request: web.Request, *, wrong: bool) -> web.Response:
        language = self._language(request)
        return _html(token_document(LANGUAGES[language], language, wrong=wrong), 401)

    async def _close(self, _: web.Application) -> None:
        self.page.close()


async def _static(request: web.Request) -> web.Response:
    body, kind = _STATIC[request.path.removeprefix("/")]
    return web.Response(body=body, headers={"Content-Type": kind})


async def _secure(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def _is_same(offered: str, secret: str) -> bool:
    return hmac.compare_digest(offered.encode(errors="replace"), secret.encode())


def _cookie_of(token: str) -> str:
    """It holds as long as the token does, and does not tell it."""
    return hmac.new(token.encode(), b"lowtide status page", hashlib.sha256).hexdigest()


def _html(text: str, code: int) -> web.Response:
    return web.Response(text=text, status=code, content_type="text/html")


def _text(text: str, code: int) -> web.Response:
    return web.Response(text=f"{redact(text)}\n", status=code)


async def serve_web(
    settings: Settings,
    url: str,
    address: tuple[str, int],
    *,
    now: Callable[[], Ms] | None = wall_ms,
    on_listening: Callable[[str], None] | None = None,
) -> None:
    """Answer at ``address`` until cancelled; one that is taken is tried again.

    ``url``: of Redis. ``now``: see ``LivePage``. ``on_listening``: is told where, once it is so.
    """
    host, port = address
    redis = connect(url, "web")
    runner = web.AppRunner(
        WebServer(settings, redis, now=now).application(), access_log=None, shutdown_timeout=0.5
    )
    await runner.setup()
    failed = False
    try:
        while True:
            try:
                await web.TCPSite(runner, host, port).start()
                break
            except OSError as error:
                if not failed:
                    why = f"cannot listen on {host}:{port} ({error.strerror})"
                    log.error(f"{why}: [web] address names another; it is tried again")
                failed = True
                await asyncio.sleep(_AGAIN_S)
        port = int(runner.addresses[0][1])
        log.info("the status page is served, metrics and health too",
                 address=f"http://{host}:{port}/")  # fmt: skip
        if on_listening is not None:
            on_listening(f"http://{host}:{port}/")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(redis.aclose(), 0.2)
