"""``/healthz``, ``/readyz`` and ``/metrics``, by HTTP.

Numbers and reasons, and no secret, no chat and no address. Where others than this machine could
ask, a token is needed for all but ``/healthz``; where none is needed, a name of this machine must
be asked for, so that no page in somebody's browser can read it by a name of its own.
"""

import asyncio
import contextlib
import hmac
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web
from redis.asyncio import Redis
from redis.exceptions import RedisError

from bot.config import Settings
from bot.config.web import is_this_machine
from bot.redaction import redact
from bot.web.metrics import exposition, metric_families
from bot.web.probe import StatusProbe
from streams.bus.connection import connect, in_words
from streams.bus.health import HEALTH, Health

log = structlog.get_logger()

_AGAIN_S = 30.0
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class WebServer:
    """The answers, from what the roles have written to ``redis`` and from ``health``."""

    def __init__(self, settings: Settings, redis: Redis, health: Health = HEALTH) -> None:
        self._settings = settings
        self._health = health
        self._probe = StatusProbe(settings, redis, health)

    def application(self) -> web.Application:
        """All of it, to be served."""
        application = web.Application(middlewares=[self._admit], client_max_size=1024)
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._metrics)
        return application

    @web.middleware
    async def _admit(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        if request.path != "/healthz" and (why := self._refusal(request)):
            return _text(why, 403 if self._settings.web_token is None else 401)
        response = await handler(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-store"
        return response

    def _refusal(self, request: web.Request) -> str:
        """Why it is not answered; "" if it is."""
        if (token := self._settings.web_token) is not None:
            offered = request.headers.get("Authorization", "").removeprefix("Bearer ")
            same = hmac.compare_digest(offered.encode(), token.encode())
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
            return _text(f"redis: {in_words(error)}", 503)
        checks = self._probe.checks(reported)
        lines = [f"{check.name}: {check.reason or 'ok'}" for check in checks]
        return _text("\n".join(lines), 200 if all(check.ok for check in checks) else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        try:
            reported, episodes = await self._probe.look()
        except (RedisError, OSError, TimeoutError) as error:
            return _text(f"redis: {in_words(error)}", 503)
        body = exposition(metric_families(reported, self._probe.checks(reported), episodes))
        return web.Response(body=body, headers={"Content-Type": _TEXT})


def _text(text: str, code: int) -> web.Response:
    return web.Response(text=f"{redact(text)}\n", status=code)


async def serve_web(settings: Settings, url: str, address: tuple[str, int]) -> None:
    """Answer at ``address`` until cancelled; one that is taken is tried again.

    ``url``: of Redis.
    """
    host, port = address
    redis = connect(url, "web")
    runner = web.AppRunner(
        WebServer(settings, redis).application(), access_log=None, shutdown_timeout=0.5
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
        log.info("metrics and health are served", address=f"http://{host}:{port}")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(redis.aclose(), 0.2)
