"""The status page on loopback: who gets it, and what becomes of those who do not read."""

import asyncio
from http.cookies import SimpleCookie
from pathlib import Path

import aiohttp
import pytest

from bot.web import live, server
from bot.web.server import WebServer
from streams.bus.health import Health
from tests.bot.role_fixtures import secret
from tests.bot.web.test_server import Serve, get, serve

__all__ = ["serve"]

TOKEN = "x" * 20
STATIC = [path.name for path in (Path(server.__file__).parent / "static").iterdir()]
PATHS = ("", "events", "chart", *STATIC)


async def answer(
    url: str, method: str = "GET", data: dict[str, str] | None = None, **headers: str
) -> tuple[int, dict[str, str], str]:
    async with (
        aiohttp.ClientSession() as client,
        client.request(method, url, headers=headers, data=data, allow_redirects=False) as reply,
    ):
        return reply.status, dict(reply.headers), await reply.text()


async def first(url: str, **headers: str) -> bytes:
    """The first event of a stream."""
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"{url}/events", headers=headers) as reply,
    ):
        assert reply.status == 200, await reply.text()
        assert reply.content_type == "text/event-stream"
        return await reply.content.readuntil(b"\n\n")


async def test_without_roles_the_page_says_so(serve: Serve) -> None:
    url = await serve()
    code, headers, text = await answer(f"{url}/")
    assert code == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    assert "The rules role is not running" in text
    assert "roles</td>" in text and "streams has not reported yet" in text
    assert (await first(url)).startswith(b"event: version\ndata: ")


async def test_a_browser_takes_nothing_from_anybody_else(serve: Serve) -> None:
    url = await serve()
    for path in ("", "page.js", "page.css", "metrics", "nothing"):
        _, headers, _ = await answer(f"{url}/{path}")
        assert headers["Content-Security-Policy"].startswith("default-src 'self'; ")
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"


async def test_a_page_of_another_name_gets_nothing(serve: Serve) -> None:
    url = await serve()
    for path in PATHS:
        assert (await get(f"{url}/{path}", Host="evil.example"))[0] == 403
    assert (await answer(f"{url}/token", "POST", {"token": TOKEN}))[0] == 404


async def test_all_that_the_page_is_made_of_is_served(serve: Serve) -> None:
    url = await serve()
    for name in STATIC:
        code, headers, body = await answer(f"{url}/{name}")
        kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml",
                 ".LICENSE": "text/plain"}  # fmt: skip
        assert code == 200 and body, name
        assert headers["Content-Type"].startswith(kinds[Path(name).suffix]), name


async def test_each_reads_it_in_a_language_of_their_own(serve: Serve) -> None:
    url = await serve()
    for asked, language, title in (
        ("ja", "ja", "進行中"),
        ("zh-TW", "zh-TW", "進行中"),
        ("", "en", "Going on now"),
        ("de", "en", "Going on now"),
        ("../ja", "en", "Going on now"),
        ("x" * 5_000, "en", "Going on now"),
    ):
        _, _, text = await answer(f"{url}/?lang={asked}")
        assert f'<html lang="{language}"' in text and title in text, asked
        for other in {"en", "ja", "zh-TW"} - {language}:
            assert f'href="?lang={other}"' in text
        assert f'href="?lang={language}"' not in text
    guarded = await serve(web_token=secret(TOKEN))
    code, _, text = await answer(f"{guarded}/?lang=ja")
    assert code == 401 and '<html lang="ja"' in text and 'action="token?lang=ja"' in text
    code, headers, _ = await answer(f"{guarded}/token?lang=ja", "POST", {"token": TOKEN})
    assert (code, headers["Location"]) == (303, "./?lang=ja")
    _, _, text = await answer(f"{guarded}/token?lang=ja", "POST", {"token": "y" * 20})
    assert '<html lang="ja"' in text


async def test_a_chart_is_of_what_is_watched_alone(serve: Serve) -> None:
    url = await serve()
    for asset in ("", "BTC", "../../etc/passwd", "%00", "x" * 5_000):
        assert (await get(f"{url}/chart?asset={asset}"))[0] == 404
    guarded = await serve(web_token=secret(TOKEN))
    assert (await get(f"{guarded}/chart?asset=BTC"))[0] == 401


async def test_with_a_token_nobody_else_sees_anything(serve: Serve) -> None:
    url = await serve(web_token=secret(TOKEN))
    code, _, text = await answer(f"{url}/")
    assert code == 401 and "LOWTIDE_WEB_TOKEN" in text
    assert "rules" not in text and "<table" not in text
    assert (await get(f"{url}/events"))[0] == 401
    assert (await get(f"{url}/page.css"))[0] == 200  # the same for everybody
    for wrong in ("y" * 20, "", "é", TOKEN[:-1]):
        code, headers, text = await answer(f"{url}/token", "POST", {"token": wrong})
        assert code == 401 and "not the token" in text and "Set-Cookie" not in headers
    assert (await answer(f"{url}/token", "POST", {"token": "x" * 5_000}))[0] == 413


async def test_who_gives_the_token_gets_a_cookie_that_does_not_tell_it(serve: Serve) -> None:
    url = await serve(web_token=secret(TOKEN))
    code, headers, _ = await answer(f"{url}/token", "POST", {"token": TOKEN})
    assert code == 303 and headers["Location"] == "./?lang=en"
    [cookie] = SimpleCookie(headers["Set-Cookie"]).values()
    assert cookie["httponly"] and cookie["samesite"] == "Strict"
    assert TOKEN not in headers["Set-Cookie"]
    kept = f"{cookie.key}={cookie.value}"
    code, _, text = await answer(f"{url}/", Cookie=kept)
    assert code == 200 and "<table" in text
    assert await first(url, Cookie=kept)
    for wrong in (f"{cookie.key}={TOKEN}", f"{cookie.key}={cookie.value[:-1]}", f"{cookie.key}="):
        assert (await answer(f"{url}/", Cookie=wrong))[0] == 401
    other = await serve(web_token=secret("z" * 20))  # another token: another cookie
    assert (await answer(f"{other}/", Cookie=kept))[0] == 401
    assert (await answer(f"{url}/", Authorization=f"Bearer {TOKEN}"))[0] == 200


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> list[WebServer]:
    """Those that are made."""
    every: list[WebServer] = []
    make = WebServer.__init__

    def noted(self: WebServer, *args: object, **kwargs: object) -> None:
        make(self, *args, **kwargs)
        every.append(self)

    monkeypatch.setattr(WebServer, "__init__", noted)
    return every


async def gone(page: live.LivePage) -> None:
    async with asyncio.timeout(20):
        while page.readers:
            await asyncio.sleep(0.02)


async def test_a_hundred_opened_and_closed_leave_nothing(
    serve: Serve, servers: list[WebServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "EVERY_S", 0.05)
    url = await serve(Health())
    [page] = [each.page for each in servers]
    await first(url)
    await gone(page)
    await asyncio.sleep(0)
    tasks = len(asyncio.all_tasks())
    for _ in range(5):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
            replies = [await client.get(f"{url}/events") for _ in range(20)]
            for reply in replies:
                await reply.content.readuntil(b"\n\n")
            assert page.readers == 20
            for reply in replies:
                reply.close()
        await gone(page)
    async with asyncio.timeout(20):
        while len(asyncio.all_tasks()) > tasks:
            await asyncio.sleep(0.02)


async def test_a_reader_that_takes_nothing_is_left(
    serve: Serve, servers: list[WebServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent is so much that no buffer between the two holds it."""
    monkeypatch.setattr(server, "SLOW_S", 0.2)
    url = await serve()
    [page] = [each.page for each in servers]

    async def floods():
        page.readers += 1
        try:
            while True:
                yield b"x" * 1_000_000
        finally:
            page.readers -= 1

    monkeypatch.setattr(page, "updates", floods)
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1)
    writer.write(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    await writer.drain()
    assert await reader.read(1)
    await gone(page)
    writer.close()


async def test_there_is_an_end_to_how_many_may_look(
    serve: Serve, servers: list[WebServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_READERS", 1)
    url = await serve()
    async with aiohttp.ClientSession() as client, client.get(f"{url}/events") as reply:
        await reply.content.readuntil(b"\n\n")
        assert await get(f"{url}/events") == (503, "too many look at the page\n")
        assert (await get(f"{url}/"))[0] == 200
