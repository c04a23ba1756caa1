"""From a ``config.toml`` and the environment through a proxy to every end there is.

The servers are known to Lowtide under a name that only the proxy can look up.
"""

import asyncio
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import pytest

from tests.bot.fake_updates import CHANNEL
from tests.proxy import PASSWORD, Proxy, running
from tests.seams.system import COMMON, System

CONFIG = """
[channel]
chat_id = "@lowtide"
[operators]
commands = "everyone"
[[webhooks]]
url = "{webhook}"
"""
HOST = "only-the-proxy-knows.test"
SECRETS = (PASSWORD, quote(PASSWORD), quote(PASSWORD, safe=""), "pass%20w")
ENV = {"LOWTIDE_WEBHOOK_SECRET": "a long random text", "all_proxy": None, "ALL_PROXY": None,
       "http_proxy": None, "HTTP_PROXY": None, "no_proxy": None, "NO_PROXY": None}  # fmt: skip


def ports(proxy: Proxy) -> set[str]:
    """The ports that were asked for under the name that only the proxy knows."""
    return {address.rpartition(":")[2] for address in proxy.reached if address.startswith(HOST)}


def port(url: str) -> str:
    return url.rpartition(":")[2].partition("/")[0]


async def tells_no_secret(system: System) -> None:
    text = system.log + system.console + await system.stored()
    assert not [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize(
    ("kind", "variable", "scheme"),
    [
        ("socks5", "ALL_PROXY", "socks5"),
        ("socks5", "all_proxy", "socks5h"),
        ("http", "ALL_PROXY", "http"),
        ("http", "http_proxy", "http"),
    ],
)
async def test_the_environment_names_a_proxy_for_all(
    tmp_path: Path, kind: Literal["http", "socks5"], variable: str, scheme: str
):
    async with running(kind) as proxy:
        env = ENV | {variable: proxy.url(scheme)}
        async with System(tmp_path, CONFIG, env=env, host=HOST) as system:
            await system.start()
            system.telegram.say("/start", user=11)
            await system.liquidate("BTCUSDT", 6e6)
            await system.until(lambda: system.webhook.got)
            await system.until(lambda: {s.chat for s in system.telegram.sent} >= {CHANNEL, 11})
            urls = (system.telegram.url, system.webhook.url, system.venue.websocket,
                    system.venue.rest)  # fmt: skip
            await tells_no_secret(system)
        assert ports(proxy) == {port(url) for url in urls}


async def test_telegram_has_a_proxy_of_its_own(tmp_path: Path):
    """In ``.env`` are others, that nobody could use; they hold for hosts elsewhere only."""
    async with running("socks5") as proxy:
        telegram = f'[telegram]\nproxy = "{proxy.url()}"\n'
        common = COMMON.replace("[telegram]\n", telegram)
        (tmp_path / ".env").write_text("HTTPS_PROXY=http://127.0.0.1:9\n")
        async with System(tmp_path, CONFIG, common=common, env=ENV) as system:
            text = (tmp_path / "config.toml").read_text()
            named = system.telegram.url.replace("127.0.0.1", HOST)
            (tmp_path / "config.toml").write_text(text.replace(system.telegram.url, named))
            await system.start()
            await system.liquidate("BTCUSDT", 6e6)
            await system.until(lambda: system.webhook.got and system.telegram.sent)
            expected = "posted to Lowtide\nposted to webhook:1\n"
            assert await system.command("send-test") == (0, expected)
            _, described = await system.command("check")
            await tells_no_secret(system)
        assert (
            ports(proxy)
            == {port(system.telegram.url)}
            == {address.rpartition(":")[2] for address in proxy.reached}
        )
        assert f"socks5h://127.0.0.1:{proxy.port}" in described
        assert not [secret for secret in SECRETS if secret in described]


@pytest.mark.parametrize("kind", ["http", "socks5"])
async def test_a_proxy_that_refuses_is_said_and_waited_for(
    tmp_path: Path, kind: Literal["http", "socks5"]
):
    async with running(kind) as proxy:
        proxy.closed = True
        env = ENV | {"ALL_PROXY": proxy.url()}
        async with System(tmp_path, CONFIG, env=env, host=HOST) as system:
            started = asyncio.ensure_future(system.start())
            await system.until(lambda: "commands are not answered" in system.log)
            await system.until(lambda: "Bybit" in system.log)
            assert "role stopped" not in system.log
            proxy.closed = False
            await started
            await system.liquidate("BTCUSDT", 6e6)
            await system.until(lambda: system.telegram.sent, 60)
            await tells_no_secret(system)
        assert "Traceback" not in system.log


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("socks4://user:s3cr3t-word@host:1", "must be the URL of a proxy that starts with"),
        ("socks5://user:s3cr3t#word@host:1", "percent-encode the password"),
        ("socks5://user:s3cr3t-word@host:port", "must end with the port of the proxy"),
        ("socks5://user:s3cr3t-word@", "must name the host of a proxy"),
        ("http://user:s3cr3t-word@host:99999", "a port is a number from 1 to 65535"),
    ],
)
async def test_a_proxy_that_is_none_is_one_sentence(tmp_path: Path, value: str, words: str):
    async with System(tmp_path, CONFIG, env=ENV | {"ALL_PROXY": value}) as system:
        for command in ("check", "run"):
            code, text = await system.command(command)
            (line,) = text.splitlines()
            assert code == 2 and line.startswith("ALL_PROXY (environment): ") and words in line
            assert "s3cr3t" not in text
