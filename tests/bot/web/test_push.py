"""Life signs to a server on loopback that stands for healthchecks.io."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp.web
import pytest
import structlog

from bot.web import push
from bot.web.push import Push, push_life_signs
from bot.web.readiness import ReadinessCheck
from rules.snapshot import OpenEpisodes
from tests.bot.role_fixtures import secret, settings
from tests.seams.system import System
from tests.valkey import Server

WELL = ReadinessCheck(name="ticks", ok=True)
SICK = ReadinessCheck(name="ticks", ok=False, reason="no tick for 40 s")


class Watcher:
    """Takes life signs; ``answers``: the status of the next ones, then 200."""

    def __init__(self) -> None:
        self.signs: list[str] = []
        self.answers: list[int] = []
        self.url = ""

    async def take(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        self.signs.append(request.path_qs)
        code = self.answers.pop(0) if self.answers else 200
        return aiohttp.web.Response(status=code, headers={"Location": "/elsewhere"})


@pytest.fixture
async def watcher() -> AsyncIterator[Watcher]:
    server = Watcher()
    application = aiohttp.web.Application()
    application.router.add_get("/{path:.*}", server.take)
    runner = aiohttp.web.AppRunner(application, access_log=None)
    await runner.setup()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/ping/5ecret-id?status=up"
    yield server
    await runner.cleanup()


class Probe:
    """What is found; an exception is raised."""

    def __init__(self) -> None:
        self.check: ReadinessCheck | Exception = WELL

    async def look(self) -> tuple[dict[str, Any], OpenEpisodes | None]:
        if isinstance(self.check, Exception):
            raise self.check
        return {}, None

    def checks(self, reported: dict[str, Any]) -> list[ReadinessCheck]:
        assert isinstance(self.check, ReadinessCheck)
        return [WELL, self.check]


async def test_a_sign_is_given_while_all_is_well_and_none_while_it_is_not(
    tmp_path: Path, watcher: Watcher
) -> None:
    probe = Probe()
    life = Push(settings(tmp_path), probe, watcher.url)
    with structlog.testing.capture_logs() as logs:
        assert await life.give()
        for wrong in (SICK, SICK, ConnectionRefusedError("gone")):
            probe.check = wrong
            assert not await life.give()
        probe.check = WELL
        assert await life.give()
    assert watcher.signs == ["/ping/5ecret-id?status=up"] * 2
    assert [entry["event"] for entry in logs] == [
        "no life sign is pushed", "life signs are pushed again",
    ]  # fmt: skip
    assert logs[0]["reason"] == "ticks: no tick for 40 s"


async def test_that_not_all_is_well_right_after_a_start_is_no_news(
    tmp_path: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = [100.0]
    monkeypatch.setattr(push.time, "monotonic", lambda: at[0])
    probe = Probe()
    probe.check = SICK
    with structlog.testing.capture_logs() as logs:
        life = Push(settings(tmp_path), probe, watcher.url)
        for at[0] in (101.0, 159.0):
            assert not await life.give()
        assert logs == []
        for at[0] in (160.0, 170.0):
            assert not await life.give()
    assert [entry["event"] for entry in logs] == ["no life sign is pushed"]
    with structlog.testing.capture_logs() as logs:
        life = Push(settings(tmp_path), probe, watcher.url)
        assert not await life.give()
        probe.check = WELL
        assert await life.give()
        assert logs == []
        probe.check = SICK  # from then on it is
        assert not await life.give()
    assert [entry["event"] for entry in logs] == ["no life sign is pushed"]


@pytest.mark.parametrize("code", [302, 404, 500])
async def test_a_sign_that_is_not_taken_is_said_once_and_tried_again(
    tmp_path: Path, watcher: Watcher, code: int
) -> None:
    watcher.answers = [code, code]
    life = Push(settings(tmp_path), Probe(), watcher.url)
    with structlog.testing.capture_logs() as logs:
        assert [await life.give() for _ in range(3)] == [False, False, True]
    assert len(watcher.signs) == 3  # a redirect is not followed
    [entry] = logs
    assert entry["reason"] == f"HTTP {code}"
    assert "5ecret-id" not in str(entry)


async def test_nobody_there_is_said_in_words(tmp_path: Path) -> None:
    life = Push(settings(tmp_path), Probe(), "http://127.0.0.1:1/ping")
    with structlog.testing.capture_logs() as logs:
        assert not await life.give()
    assert logs[0]["reason"] == "the connection was refused"


async def test_it_asks_often_while_not_well_and_each_minute_once_it_is(
    tmp_path: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        probe.check = WELL
        if len(pauses) == 3:
            raise asyncio.CancelledError

    probe = Probe()
    probe.check = SICK
    monkeypatch.setattr(push.asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await Push(settings(tmp_path), probe, watcher.url).run()
    assert pauses == [10.0, 60.0, 60.0]
    assert len(watcher.signs) == 2


async def test_without_roles_none_is_given(
    tmp_path: Path, valkey: Server, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "STARTING_S", 0.0)
    chosen = settings(tmp_path, push_url=secret(watcher.url))
    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(push_life_signs(chosen, valkey.url, watcher.url))
        async with asyncio.timeout(60):
            while not logs:
                await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert "streams has not reported yet" in logs[0]["reason"]
    assert watcher.signs == []


async def test_from_the_configuration_to_the_watcher(tmp_path: Path, watcher: Watcher) -> None:
    """Through the real roles: given while they hear a venue; the address is told to nobody."""
    config = f'[web]\naddress = "none"\npush_url = "{watcher.url}"\n'
    async with System(tmp_path, config) as system:
        await system.start()
        await system.liquidate("BTCUSDT", 6e6)
        await system.until(lambda: watcher.signs)
        shown = system.log + (await system.command("check"))[1] + (await system.command("show"))[1]
    assert watcher.signs[0] == "/ping/5ecret-id?status=up"
    assert "push      " in shown and "a life sign each minute" in shown
    assert "5ecret-id" not in shown
