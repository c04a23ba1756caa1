"""What a service manager hears, by a socket like systemd's."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from bot.roles import notify, rules
from bot.roles.notify import ServiceManager
from bot.roles.run import run
from streams.bus import health as bus_health
from streams.bus.health import SILENT_S, Health
from tests.bot.role_fixtures import secret, settings
from tests.valkey import Do, Proxy

ROLES = ("streams", "rules", "bot")


class Manager:
    """Listens where ``env`` says."""

    def __init__(self, address: str, **more: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.socket.setblocking(False)
        self.env = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000000", **more}

    def heard(self) -> list[str]:
        """All that has come since it was last asked."""
        lines: list[str] = []
        while True:
            try:
                lines.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return lines

    async def hears(self, text: str) -> list[str]:
        """All that comes, up to and with what holds ``text``."""
        lines: list[str] = []
        async with asyncio.timeout(20):
            while not any(text in line for line in lines):
                lines += self.heard()
                await asyncio.sleep(0.02)
        return lines


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    listening = Manager(str(tmp_path / "notify"))
    yield listening
    listening.socket.close()


@pytest.mark.parametrize("abstract", [False, True])
def test_both_kinds_of_addresses_are_understood(abstract: bool, tmp_path: Path) -> None:
    address = f"@lowtide-test-{os.getpid()}" if abstract else str(tmp_path / "x")
    manager = Manager(address)
    notifier = ServiceManager.of(manager.env)
    notifier.ready()
    notifier.stopping()
    assert manager.heard() == ["READY=1", "STOPPING=1"]
    assert manager.env == {}  # our children do not report in our name
    manager.socket.close()


def test_it_is_well_while_nothing_is_stuck(manager: Manager) -> None:
    now = 0.0
    health = Health(lambda: now)
    notifier = ServiceManager.of(manager.env)
    health.begin("rules")
    notifier.look(health)
    assert manager.heard() == ["STATUS=all roles are at work\nWATCHDOG=1"]
    health.failing("the outbox", "Redis cannot\nbe reached")
    now = 40.0
    notifier.look(health)
    assert manager.heard() == ["STATUS=the outbox: Redis cannot be reached\nWATCHDOG=1"]
    now = SILENT_S
    notifier.look(health)
    assert manager.heard() == ["STATUS=the rules role has not gone on for 45 s"]
    health.beat("rules")
    health.works("the outbox")
    notifier.look(health)
    assert manager.heard() == ["STATUS=all roles are at work\nWATCHDOG=1"]


@pytest.mark.parametrize(
    "more",
    [
        {"WATCHDOG_USEC": ""}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_PID": "1"},
    ],
)  # fmt: skip
def test_without_a_watchdog_of_ours_it_only_says_how_it_goes(
    more: dict[str, str], manager: Manager
) -> None:
    notifier = ServiceManager.of(manager.env | more)
    notifier.look(Health())
    assert manager.heard() == ["STATUS=all roles are at work"]


def test_a_manager_that_is_gone_or_does_not_read_holds_nothing_up(manager: Manager) -> None:
    notifier = ServiceManager.of(dict(manager.env))
    for _ in range(2_000):
        notifier.look(Health())
    kept = manager.heard()
    assert 0 < len(kept) < 2_000, "what does not fit any more is left out"
    notifier.ready()
    assert manager.heard() == ["READY=1"], "who reads again hears again"
    manager.socket.close()
    notifier.ready()
    ServiceManager.of({}).ready()
    ServiceManager.of({"NOTIFY_SOCKET": "/nowhere/" + "x" * 300}).ready()


@pytest.fixture
def quick(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> Manager:
    """The manager of this process, which hears often and soon that something is stuck."""
    for name, value in manager.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(notify, "LOOK_S", 0.1)
    monkeypatch.setattr(bus_health, "SILENT_S", 4.0)
    return manager


async def stop(running: "asyncio.Task[None]") -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, 6)


async def test_a_role_that_hangs_ends_the_life_signs(
    tmp_path: Path, redis: Redis, proxy: Proxy, quick: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = asyncio.Event()
    take = rules.RulesRole._take

    async def hanging(self: rules.RulesRole, batch: object) -> None:
        if hangs.is_set():
            await asyncio.Event().wait()
        await take(self, batch)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(rules.RulesRole, "_take", hanging)
    running = asyncio.create_task(run(settings(tmp_path, redis_url=secret(proxy.url)), ROLES))
    assert await quick.hears("WATCHDOG=1") == [
        "READY=1",
        "STATUS=all roles are at work\nWATCHDOG=1",
    ]
    hangs.set()
    await quick.hears("STATUS=the rules role has not gone on")
    assert not [line for line in quick.heard() if "WATCHDOG" in line]
    await stop(running)
    assert quick.heard()[-1] == "STOPPING=1"


async def test_without_redis_the_life_signs_go_on(
    tmp_path: Path, redis: Redis, proxy: Proxy, quick: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new process would miss it too, and what waits for it here would be lost."""
    running = asyncio.create_task(run(settings(tmp_path, redis_url=secret(proxy.url)), ROLES))
    await quick.hears("WATCHDOG=1")
    await asyncio.sleep(1)
    proxy.fail()
    proxy.plan.extend([Do.HANG] * 10_000)
    began = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() - began < 8:  # twice as long as a stuck loop may be
        (line, *_) = await quick.hears("STATUS=")
        assert "WATCHDOG=1" in line, line
    await stop(running)
