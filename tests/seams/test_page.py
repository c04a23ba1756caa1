"""From a ``config.toml`` and real roles to what stands on the status page."""

import asyncio
import socket
from pathlib import Path

import aiohttp

from tests.seams.system import COMMON, System

CONFIG = """
[channel]
chat_id = "@lowtide"
"""
TOKEN = "t" * 24


def web(host: str) -> tuple[str, str]:
    """The page's address, and the lines of the configuration that say so."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    return f"http://127.0.0.1:{port}/", f'[web]\naddress = "{host}:{port}"\n'


async def page(url: str, **headers: str) -> tuple[int, str]:
    try:
        async with aiohttp.ClientSession() as client, client.get(url, headers=headers) as answer:
            return answer.status, await answer.text()
    except aiohttp.ClientConnectionError:
        return 0, ""


async def until(url: str, *parts: str, **headers: str) -> str:
    """The page, once all of this stands on it."""
    text = ""
    async with aiohttp.ClientSession() as client:
        for _ in range(400):
            try:
                async with client.get(url, headers=headers) as answer:
                    text = await answer.text()
            except aiohttp.ClientConnectionError:
                text = ""
            if all(part in text for part in parts):
                return text
            await asyncio.sleep(0.1)
    raise AssertionError(f"{parts} do not stand in {text}")


async def test_what_has_opened_at_a_venue_stands_on_the_page(tmp_path: Path):
    url, lines = web("127.0.0.1")
    async with System(tmp_path, CONFIG, common=lines + COMMON) as system:
        await system.start()
        await system.liquidate("BTCUSDT", 6e6)
        text = await until(url, "BTC liquidations ≥\u00a0$6M in 10\u00a0min", ">critical</td>")
        assert "@lowtide" not in text
        await until(url, "Bybit", "liquidations up")
        await until(url, '<td class="dim" data-label="Post">posted</td>')
        await until(
            url, '<td data-label="Posts since the start">sent</td><td data-label="Number">1'
        )


async def test_where_others_can_ask_they_need_the_token(tmp_path: Path):
    url, lines = web("0.0.0.0")  # noqa: S104  # for half a minute
    env = {"LOWTIDE_WEB_TOKEN": TOKEN}
    async with System(tmp_path, CONFIG, common=lines + COMMON, env=env) as system:
        await system.start()
        text = await until(url, "LOWTIDE_WEB_TOKEN")
        assert (await page(url))[0] == 401 and "Bybit" not in text
        await until(url, "Bybit", Authorization=f"Bearer {TOKEN}")
        assert TOKEN not in system.log
