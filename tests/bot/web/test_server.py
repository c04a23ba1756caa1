"""The server itself, on loopback, with and without Lowtide behind it."""

import asyncio
import os
import signal
import socket as sockets
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

import aiohttp
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from bot.roles.run import run
from bot.web.server import WebServer, serve_web
from streams.bus.connection import connect
from streams.bus.health import SILENT_S, Health
from tests.bot.fake_telegram import CHANNEL_NAME, TOKEN, FakeTelegram
from tests.bot.role_fixtures import secret, settings
from tests.valkey import Server

ROLES = ("streams", "rules", "bot")


def free_port() -> int:
    with sockets.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


async def get(url: str, **headers: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as client, client.get(url, headers=headers) as answer:
        return answer.status, await answer.text()


Serve = Callable[..., Coroutine[None, None, str]]


@pytest.fixture
async def serve(tmp_path: Path, redis: Redis) -> AsyncIterator[Serve]:
    runners: list[aiohttp.web.AppRunner] = []

    async def served(health: Health | None = None, **changes: object) -> str:
        server = WebServer(settings(tmp_path, **changes), redis, health or Health())
        runner = aiohttp.web.AppRunner(server.application(), access_log=None)
        runners.append(runner)
        await runner.setup()
        await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield served
    for runner in runners:
        await runner.cleanup()


async def test_without_roles_it_is_alive_and_not_ready(serve: Serve) -> None:
    url = await serve()
    assert await get(f"{url}/healthz") == (200, "ok\n")
    code, text = await get(f"{url}/readyz")
    assert code == 503
    assert text.startswith("roles: streams has not reported yet; rules has not reported yet; ")
    assert "venues: the streams role is not heard\n" in text
    code, text = await get(f"{url}/metrics")
    assert code == 200 and 'lowtide_role_up{role="bot"} 0.0' in text
    assert (await get(f"{url}/nothing"))[0] == 404


async def test_what_is_stuck_is_not_alive(serve: Serve) -> None:
    now = 0.0
    health = Health(lambda: now)
    health.begin("rules")
    url = await serve(health)
    assert await get(f"{url}/healthz") == (200, "ok\n")
    now = SILENT_S
    assert await get(f"{url}/healthz") == (503, "stuck\n")


async def test_without_redis_it_says_so(tmp_path: Path) -> None:
    port = free_port()
    nowhere = connect(f"redis://127.0.0.1:{port}", "test")
    server = WebServer(settings(tmp_path), nowhere, Health())
    runner = aiohttp.web.AppRunner(server.application(), access_log=None)
    await runner.setup()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    code, text = await get(f"{url}/readyz")
    assert (code, text) == (
        503,
        "redis: Redis cannot be reached: connecting to …. Connect call failed …\n",
    )
    assert await get(f"{url}/metrics") == (code, text)
    assert (await get(f"{url}/healthz"))[0] == 200
    await runner.cleanup()
    await nowhere.aclose()


async def test_a_page_in_a_browser_cannot_read_it_by_a_name_of_its_own(serve: Serve) -> None:
    url = await serve()
    for host in ("evil.example", "evil.example:8737", "10.0.0.1"):
        code, text = await get(f"{url}/metrics", Host=host)
        assert (code, text) == (403, "ask for this machine by a name of its own\n")
    for host in ("localhost:8737", "127.0.0.1", "[::1]:8737"):
        assert (await get(f"{url}/metrics", Host=host))[0] == 200


async def test_with_a_token_it_is_needed_for_all_but_alive(serve: Serve) -> None:
    token = "x" * 20
    url = await serve(web_token=secret(token))
    assert (await get(f"{url}/healthz"))[0] == 200
    for path in ("readyz", "metrics", "nothing"):
        for headers in ({}, {"Authorization": "Bearer y"}, {"Authorization": "Bearer é"}):
            code, text = await get(f"{url}/{path}", **headers)
            assert (code, text) == (401, "send LOWTIDE_WEB_TOKEN as a bearer token\n")
    code, _ = await get(f"{url}/metrics", Authorization=f"Bearer {token}", Host="any.example")
    assert code == 200


async def test_a_lowtide_that_runs_says_how_it_is(tmp_path: Path, valkey: Server, redis: Redis):
    """All roles, a Telegram that goes, and venues that are not there."""
    port = free_port()
    async with FakeTelegram() as telegram:
        from bot.config.chats import ChatSettings

        chosen = settings(
            tmp_path, redis_url=secret(valkey.url), token=secret(TOKEN), api_url=telegram.url,
            chats=(ChatSettings(id=CHANNEL_NAME),),
        )  # fmt: skip
        aside = lambda url: serve_web(chosen, url, ("127.0.0.1", port))  # noqa: E731
        running = asyncio.create_task(run(chosen, ROLES, asides=[aside]))
        url = f"http://127.0.0.1:{port}"
        text = ""
        async with asyncio.timeout(30):
            while "\nticks: ok" not in f"\n{text}" or not text.startswith("roles: ok"):
                await asyncio.sleep(0.2)
                try:
                    code, text = await get(f"{url}/readyz")
                except aiohttp.ClientError:
                    continue
        assert code == 503  # nobody is where the venues should be
        assert "venues: Binance: " in text
        code, body = await get(f"{url}/metrics")
        families = {family.name: family for family in text_string_to_metric_families(body)}
        assert families["lowtide_role_up"].samples[0].value == 1
        venues = {s.labels["venue"] for s in families["lowtide_venue_up"].samples}
        assert venues == {venue.name for venue in chosen.venues}
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, 8)


async def test_an_address_that_is_taken_is_said_once_and_stops_nothing(
    tmp_path: Path, valkey: Server
) -> None:
    with sockets.socket() as taken, structlog.testing.capture_logs() as logs:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = taken.getsockname()
        task = asyncio.create_task(serve_web(settings(tmp_path), valkey.url, address))
        async with asyncio.timeout(60):
            while not logs:
                await asyncio.sleep(0.02)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert f"cannot listen on 127.0.0.1:{address[1]} (" in logs[0]["event"]
