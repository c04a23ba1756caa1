"""Starting, supervising and above all stopping: within 4 s, whatever is wrong."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import structlog
from redis.asyncio import Redis

from bot.config import Settings, VenueSettings
from bot.config.chats import ChatSettings, WebhookSettings
from bot.config.reload import ConfigWatch, on_sighup
from bot.delivery.sinks.console import Console
from bot.delivery.sinks.telegram import TelegramClient
from bot.delivery.sinks.webhook import Webhook
from bot.destination import ConsoleOutput, TelegramChat, WebhookName
from bot.roles import run as running
from bot.roles.run import existing_redis, redis_url, run, sinks, start_all, stop_all, supervise
from rules import alerts
from rules.alerts import Notice
from streams.bus.connection import Keys, Overtaken, connect
from streams.bus.embedded import CannotStart
from streams.bus.lease import LeaseLost
from streams.events import FaultCode
from tests.bot.fake_telegram import CHANNEL_NAME, TOKEN, FakeTelegram, Fault
from tests.bot.role_fixtures import secret, settings
from tests.loop_time import loop_time
from tests.valkey import Do, Proxy, Server

ROLES = ("streams", "rules", "bot")


async def stopped_after(
    chosen: Settings, seconds: float, roles: tuple[str, ...] = ROLES, after: tuple[str, ...] = ()
) -> tuple[float, str]:
    """How long ``run`` took to stop, and all it logged. ``after``: words to wait for before."""
    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(run(chosen, roles))
        await asyncio.sleep(seconds)
        async with asyncio.timeout(30):
            while not all(word in str(logs) for word in after):
                await asyncio.sleep(0.05)
        assert not task.done()
        async with loop_time() as passed:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(task, 60)
            took = passed()
    assert "did not stop in time" not in str(logs)
    return took, "\n".join(entry["event"] for entry in logs)


@pytest.fixture
async def dead_end() -> AsyncIterator[VenueSettings]:
    """A venue that takes connections and never says a word."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield VenueSettings(
        name="bybit", websocket=f"ws://127.0.0.1:{port}", rest=f"http://127.0.0.1:{port}"
    )
    server.close()


async def test_everything_stops_while_venues_are_unreachable(tmp_path: Path) -> None:
    words = ("Valkey started", *(f"cannot reach {v}" for v in ("Binance", "Bybit", "Hyperliquid")))
    took, output = await stopped_after(settings(tmp_path), 1.0, after=words)
    assert took < 1.5
    assert all(word in output for word in words)


async def test_everything_stops_while_sockets_connect(
    tmp_path: Path, dead_end: VenueSettings
) -> None:
    took, _ = await stopped_after(settings(tmp_path, venues=(dead_end,)), 1.0)
    assert took < 1.5


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_stops_while_redis_was_never_there(tmp_path: Path, role: str) -> None:
    chosen = settings(tmp_path, redis_url=secret("redis://user:hidden@127.0.0.1:1"))
    took, output = await stopped_after(chosen, 0.4, (role,))
    assert took < 1
    assert output.count("Redis cannot be reached: connecting to 127.0.0.1:1") == 1
    assert "hidden" not in output


@pytest.mark.parametrize("how", ["away", "silent"])
async def test_everything_stops_while_redis_is_gone(
    tmp_path: Path, redis: Redis, proxy: Proxy, how: str
) -> None:
    chosen = settings(tmp_path, redis_url=secret(proxy.url))
    task = asyncio.create_task(run(chosen, ROLES))
    async with asyncio.timeout(60):
        while not await redis.xlen(Keys().events):
            await asyncio.sleep(0.05)
    if how == "away":
        proxy.fail()
    else:
        proxy.plan.extend([Do.HANG] * 1_000)
    await asyncio.sleep(0.6)
    async with loop_time() as passed:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(task, 60)
        assert passed() < running.STOP_S


async def test_what_was_accepted_is_written_and_leases_given_back(
    tmp_path: Path, redis: Redis, valkey: Server
) -> None:
    took, _ = await stopped_after(settings(tmp_path, redis_url=secret(valkey.url)), 1.3)
    assert took < 1.5
    assert await redis.xlen(Keys().events) >= 1
    assert await redis.get(Keys().bookmark("rules")) is not None
    assert await redis.get(Keys().snapshot("rules")) is not None
    for role in ROLES:
        assert await redis.get(Keys().lease(role)) is None


async def test_a_role_that_fails_is_started_again_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(running, "BACKOFF_S", (0.01, 0.05))
    failed: list[float] = []
    steady = 0

    async def fails() -> None:
        failed.append(time.monotonic())
        await asyncio.sleep(0)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_raise(ValueError("a bug")))

    async def goes_on() -> None:
        nonlocal steady
        while True:
            steady += 1
            await asyncio.sleep(0.01)

    with structlog.testing.capture_logs() as logs:
        tasks = start_all({"rules": fails, "bot": goes_on})
        await asyncio.sleep(0.5)
        await stop_all(tasks)
    assert all(task.cancelled() for task in tasks)
    assert 6 < len(failed) < 20
    assert failed[-1] - failed[-2] > failed[1] - failed[0]
    assert steady > 20
    entries = [entry for entry in logs if entry["event"].startswith("the rules role stopped")]
    assert entries[0]["event"] == "the rules role stopped: ValueError: a bug"
    assert sum(entry["event"] == "a role failed" for entry in logs) == len(entries)


async def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "pause_s"),
    [
        (LeaseLost("another bot role has taken over"), 1),
        (Overtaken("another bot role is at work"), 1),
    ],
)
async def test_what_is_known_is_said_in_a_sentence(error: Exception, pause_s: float) -> None:
    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(supervise("bot", lambda: _raise(error)))
        await asyncio.sleep(0.05)
        await stop_all([task])
    (entry,) = logs
    assert entry["event"] == f"the bot role stopped: {error}"
    assert 0.75 * pause_s <= entry["next_try_s"] <= 1.25 * pause_s


async def test_an_error_on_the_way_down_does_not_keep_a_role_up() -> None:
    started = 0

    async def stubborn() -> None:
        nonlocal started
        started += 1
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("while closing")

    tasks = start_all({"bot": stubborn})
    await asyncio.sleep(0.01)
    await stop_all(tasks)
    assert tasks[0].done()
    assert started == 1


async def test_who_does_not_stop_is_named_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "STOP_S", 0.1)
    release = asyncio.Event()

    async def deaf() -> None:
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    with structlog.testing.capture_logs() as logs:
        tasks = start_all({"rules": deaf})
        await asyncio.sleep(0.01)
        await stop_all(tasks)
    assert logs == [{"event": "did not stop in time", "roles": ["rules"], "log_level": "error"}]
    release.set()
    await asyncio.wait(tasks)


@pytest.mark.parametrize(
    ("fault", "beginning"),
    [
        (Fault.UNAUTHORIZED, "nothing is sent for now: Telegram refuses the token in"),
        (Fault.KICKED, f"nothing is sent to {CHANNEL_NAME} for now: "),
        (Fault.NO_RIGHTS, f"nothing is sent to {CHANNEL_NAME} for now: "),
    ],
)
async def test_a_bot_that_may_not_post_says_why_and_does_not_spin(
    tmp_path: Path,
    redis: Redis,
    valkey: Server,
    fault: Fault,
    beginning: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bot.delivery.sender._REFUSED_S", (60.0, 60.0))
    monkeypatch.setattr("streams.clock.UNDECIDED", 0)  # there are no rules to hear of
    async with FakeTelegram() as telegram:
        telegram.faults.extend([fault] * 100)
        chosen = settings(
            tmp_path,
            redis_url=secret(valkey.url),
            token=secret(TOKEN),
            chats=(ChatSettings(id=CHANNEL_NAME),),
            api_url=telegram.url,
        )
        with structlog.testing.capture_logs() as logs:
            task = asyncio.create_task(run(chosen, ("bot",)))
            for _ in range(500):
                await asyncio.sleep(0.02)
                if any(entry["log_level"] == "error" for entry in logs):
                    break
            await asyncio.sleep(0.2)  # a role that spins would have tried again
            os.kill(os.getpid(), signal.SIGTERM)
            await task
        assert len(telegram.requests) <= 2
    errors = [entry for entry in logs if entry["log_level"] == "error"]
    assert len(errors) == 1
    assert errors[0]["event"].startswith(beginning)
    assert "exc_info" not in errors[0]
    assert TOKEN not in str(logs)


async def test_a_folder_that_cannot_be_used_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(CannotStart, match="cannot write to"):
        await run(settings(tmp_path), ROLES)


async def test_which_redis_is_used(tmp_path: Path) -> None:
    external = settings(tmp_path, redis_url=secret("redis://somewhere"))
    async with redis_url(external) as url:
        assert url == existing_redis(external) == "redis://somewhere"
    own = settings(tmp_path)
    async with redis_url(own) as url:
        assert url == existing_redis(own)
        assert (tmp_path / "data" / "redis.sock").exists()


def spoil(file: Path) -> None:
    """Rubbish where a command begins, in the middle of the file."""
    written = file.read_bytes()
    middle = written.index(b"*", len(written) // 2)
    file.write_bytes(written[:middle] + b"rubbish\r\n" + written[middle:])


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


@pytest.mark.parametrize(
    ("damage", "words"), [(spoil, "`lowtide repair`"), (cut_off, "its file was cut off")]
)
async def test_operators_hear_what_became_of_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None], words: str
) -> None:
    monkeypatch.setattr(running, "_LOOK_S", 0.05)
    own = settings(tmp_path)
    async with redis_url(own) as url, connect(url, "test") as redis:
        for n in range(20):
            await redis.set(f"key{n}", "x" * 100)
        await asyncio.sleep(0.2)  # nothing was lost, so nothing is said
        assert await redis.xlen(Keys().alerts) == 0
    (file,) = (tmp_path / "data" / "appendonlydir").glob("*.incr.aof")
    damage(file)
    async with redis_url(own) as url, connect(url, "test") as redis, asyncio.timeout(20):
        while not (entries := await redis.xrange(Keys().alerts)):
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        assert await redis.xlen(Keys().alerts) == 1
    notice = alerts.decode(entries[0][1][b"a"])
    assert isinstance(notice, Notice)
    assert (notice.fault, notice.subjects) == (FaultCode.STATE_LOST, ("embedded Redis",))
    assert words in notice.reason


def test_which_sink_is_used(tmp_path: Path) -> None:
    chats = (ChatSettings(id="@somewhere"),)
    for dry in (settings(tmp_path), settings(tmp_path, chats=chats)):
        assert isinstance(sinks(dry).of(TelegramChat("@somewhere")), Console)
    both = settings(tmp_path, chats=chats, token=secret("1:x"))
    assert isinstance(sinks(both).of(TelegramChat("@somewhere")), TelegramClient)
    assert isinstance(sinks(both).of(ConsoleOutput()), Console)
    hooked = settings(
        tmp_path,
        webhooks=(WebhookSettings(name="mine", url="https://example.org/x"),),
        webhook_secret=secret("s"),
    )
    assert isinstance(sinks(hooked).of(WebhookName("mine")), Webhook)
    assert isinstance(sinks(hooked).of(TelegramChat(-1)), Console)


@pytest.mark.parametrize("roles", [("streams",), ("rules",), ("bot",), ROLES])
async def test_sighup_ends_nobody(
    tmp_path: Path, redis: Redis, valkey: Server, roles: tuple[str, ...]
) -> None:
    """Neither a role that reads no configuration again nor one that waits for its lease."""
    for role in roles:
        await redis.set(Keys().lease(role), "another", px=60_000)
    task = asyncio.create_task(run(settings(tmp_path, redis_url=secret(valkey.url)), roles))
    for leave in (False, True):
        await asyncio.sleep(0.3)
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.1)
        assert not task.done()
        if not leave:
            await redis.delete(*(Keys().lease(role) for role in roles))
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(task, 6)


async def test_sighup_asks_whoever_hears_it_and_nobody_afterwards() -> None:
    """Between two lives of a role it ends nobody either."""
    loop, watch = asyncio.get_running_loop(), ConfigWatch(Path("config.toml"))
    asked: list[bool] = []
    try:
        with on_sighup(watch):
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0.05)
            asked.append(watch.due())
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.05)
        asked.append(watch.due())
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
    assert asked == [True, False]
