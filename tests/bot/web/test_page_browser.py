"""The page in a real browser, over a Redis in which the roles have written down what they see."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis

from bot.roles.rules import STANDING_LIFE_S
from bot.web import live, server
from bot.web.server import WebServer
from rules import alerts
from rules.alerts import Alert, Turn
from streams.bus.connection import Keys
from streams.clock import wall_ms
from tests.bot import asked
from tests.bot.asked import EPISODE, STANDING
from tests.bot.role_fixtures import secret
from tests.bot.web.browser import browser, needs_browser
from tests.bot.web.test_chart import write
from tests.bot.web.test_server import Serve, serve
from tests.bot.web.test_server_page import servers

__all__ = ["serve", "servers"]

TOKEN = "x" * 20
NASTY = "<img src=x onerror=document.title=1>"
LIVE = "document.getElementById('state')?.className"
WIDTHS = (390, 1280)


def now(alert: Alert, **changes: object) -> Alert:
    """The same of this moment."""
    return msgspec.structs.replace(
        alert, seen=wall_ms(), at=wall_ms(), opened_at=wall_ms() - 60_000, **changes
    )


async def show(redis: Redis, **changes: object) -> None:
    """The rules write down what they see."""
    standing = msgspec.structs.replace(
        STANDING, seen=wall_ms(), episodes=tuple(map(now, STANDING.episodes))
    )
    standing = msgspec.structs.replace(standing, **changes)
    await redis.set(Keys().standing, msgspec.msgpack.encode(standing), ex=STANDING_LIFE_S)


def text(section: str) -> str:
    return f"document.getElementById('{section}')?.innerText ?? ''"


def has(part: str) -> Callable[[str], bool]:
    return lambda shown: part in shown


@needs_browser
async def test_it_is_live_and_asks_nobody_else(
    serve: Serve, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "EVERY_S", 0.2)
    await show(redis)
    chosen = asked.settings(tmp_path)
    folder = chosen.data_dir / "metrics"
    url = await serve(rules=chosen.rules, data_dir=chosen.data_dir)
    async with browser() as tab:
        await tab.open(url)
        await tab.until(LIVE, lambda name: name == "good")
        shown = await tab.until(text("market"), has("BTC"))
        assert "$112,400" in shown and "–" in shown and "≥\u00a0$64.2M" in shown
        assert "deleveraging" in await tab.says(text("open"))

        for alert in (EPISODE[1], msgspec.structs.replace(EPISODE[2], asset=NASTY)):
            await redis.xadd(Keys().alerts, {"a": alerts.encode(now(alert))})
        await tab.until(text("timeline"), has(f"{NASTY} open interest keeps falling"))
        ended = now(EPISODE[1], turn=Turn.CLOSE)
        await redis.xadd(Keys().alerts, {"a": alerts.encode(ended)})
        await show(redis, episodes=())
        await tab.until(text("open"), has("Nothing is going on now"))
        await tab.until(text("timeline"), has("over"))
        assert await tab.says("document.images.length") == 0
        assert await tab.says("document.title") == "Lowtide"

        write(folder, range(-60, 1), -2.0, "ETH", wall_ms())
        await tab.says("document.querySelectorAll('#market button')[1].click()")
        await tab.until(text("chart"), has("ETH, the last day"))
        assert await tab.until(
            "document.querySelectorAll('#chart canvas').length", lambda n: n == 2
        )

        for width in WIDTHS:
            for dark in (False, True):
                await tab.look(width, dark=dark)
                wide = "document.documentElement.scrollWidth"
                await tab.until(wide, lambda shown, width=width: shown <= width)
        ground = "getComputedStyle(document.body).backgroundColor"
        dark_ground = await tab.says(ground)
        await tab.look(1280, dark=False)
        assert await tab.until(ground, lambda colour: colour != dark_ground)
        assert tab.requests and all(each.startswith(f"{url}/") for each in tab.requests)
        assert tab.complaints == []


@needs_browser
async def test_another_language_is_a_link_away(
    serve: Serve, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "EVERY_S", 0.2)
    await show(redis)
    chosen = asked.settings(tmp_path)
    write(chosen.data_dir / "metrics", range(-60, 1), -2.0, "BTC", wall_ms())
    url = await serve(rules=chosen.rules, data_dir=chosen.data_dir)
    async with browser() as tab:
        await tab.open(url)
        await tab.until(LIVE, lambda name: name == "good")
        await tab.says("document.querySelector('nav a[lang=ja]').click()")
        await tab.until(text("market"), has("112,400ドル"))
        await tab.until(LIVE, lambda name: name == "good")
        await show(redis, episodes=())
        await tab.until(text("open"), has("動きなし"))
        await tab.until(text("chart"), has("BTC"))
        assert "the last day" not in await tab.says(text("chart"))
        assert tab.complaints == []


@needs_browser
async def test_the_token_is_asked_for_once(serve: Serve, redis: Redis) -> None:
    await show(redis)
    url = await serve(web_token=secret(TOKEN))
    async with browser() as tab:
        await tab.open(url)
        await tab.until("document.querySelector('input')?.type", lambda kind: kind == "password")
        tab.complaints.clear()  # of the 401, which is as it has to be
        await tab.says(
            f"document.querySelector('input').value = '{TOKEN}';"
            "document.querySelector('form').submit()"
        )
        await tab.until(LIVE, lambda name: name == "good")
        await tab.open(url)
        await tab.until(LIVE, lambda name: name == "good")
        assert await tab.says("document.cookie + localStorage.length + sessionStorage.length") == (
            "00"
        )
        assert tab.complaints == []


@needs_browser
async def test_a_lost_connection_is_said_and_comes_back(
    serve: Serve, servers: list[WebServer], redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "EVERY_S", 0.2)
    await show(redis)
    url = await serve()
    async with browser() as tab:
        await tab.open(url)
        await tab.until(LIVE, lambda name: name == "good")
        with monkeypatch.context() as refusing:
            refusing.setattr(server, "MOST_READERS", 0)
            servers[0].page.close()
            await tab.until(LIVE, lambda name: name == "bad")
            assert "connection is lost" in await tab.says("document.body.innerText")
        await tab.until(LIVE, lambda name: name == "good")
