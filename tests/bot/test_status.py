"""Status of roles that run, in words and as JSON."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ReadOnlyError, ResponseError

from bot import cli, roles, status
from bot.commands.store import role_reports
from bot.config import VenueSettings
from bot.delivery.sinks import RefusalScope, Refused, Sinks
from bot.delivery.sinks.console import Console
from bot.demo.playback import Playback
from bot.roles.bot import bot_role
from bot.roles.rules import rules_role
from bot.roles.run import start_all, stop_all
from bot.roles.streams import streams_role
from streams.bus.connection import Keys, unwritable
from streams.feed.recording import Recorded
from streams.feed.status import SilentContract
from tests.bot.role_fixtures import secret, settings
from tests.bot.story import cut
from tests.bot.web import cases
from tests.valkey import Server


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def wanted(record: Recorded) -> bool:
        return record.venue == "bybit"

    return cut(tmp_path_factory.mktemp("story") / "bybit.jsonl.gz", 70, 75, wanted)


async def test_nothing_runs(redis: Redis) -> None:
    report = await status.collect(redis)
    text = status.describe(report)
    for role in ("streams", "rules", "bot"):
        assert report[role] is None
        assert f"{role:8} not running (nothing heard for 30 s)" in text
    assert report["redis"]["streams"] == {
        "events": {"entries": 0, "seconds": 0.0},
        "alerts": {"entries": 0, "seconds": 0.0},
    }
    assert report["redis"]["memory_mb"] > 0


async def test_a_dead_role_is_a_fault_and_says_why(redis: Redis, valkey: Server) -> None:
    with contextlib.suppress(ExceptionGroup):
        async with roles.role(valkey.url, "rules"):
            raise OSError("No space left\non device")
    async with roles.role(valkey.url, "bot"):
        for name in ("streams", "bot"):
            await redis.set(f"{Keys().status}:{name}", b"{}")
        report = await status.collect(redis)
        (fault,) = status.faults(report)
        assert re.fullmatch(
            r"rules    not running: it ended \d+ s ago: No space left on device", fault
        )
        await redis.set(f"{Keys().status}:rules", b"{}")
        assert status.faults(await status.collect(redis)) == []


async def test_how_long_a_role_has_not_run_is_true(redis: Redis, valkey: Server) -> None:
    """Stopped is not silent for thirty seconds; the age is by the server's own clock."""
    for name in ("streams", "rules"):
        async with roles.role(valkey.url, name):
            await redis.set(f"{Keys().status}:{name}", b"{}")
    with contextlib.suppress(ExceptionGroup):
        async with roles.role(valkey.url, "bot"):
            raise Refused("Telegram says Unauthorized: 401", RefusalScope.ALL)
    await _ended_before(redis, "streams", 150)
    await _ended_before(redis, "rules", 3_750)
    await _ended_before(redis, "bot", 90_000)
    report = await status.collect(redis)
    assert status.faults(report) == [
        "streams  not running: it was stopped 2 min ago",
        "rules    not running: it was stopped 1 h 2 min ago",
        "bot      not running: it ended 1 d 1 h ago: Telegram says Unauthorized: 401",
    ]
    assert report["ended"]["streams"]["reason"] == ""
    assert 150 <= report["ended"]["streams"]["seconds_ago"] < 180
    async with roles.role(valkey.url, "bot"):  # killed: nobody can say when or why
        pass
    await redis.delete(roles.ended_key("bot"))
    assert status.faults(await status.collect(redis))[2] == (
        "bot      not running (nothing heard for 30 s)"
    )


async def _ended_before(redis: Redis, role: str, seconds: int) -> None:
    assert await redis.pexpire(roles.ended_key(role), (roles.ENDED_LIFE_S - seconds) * 1000)


@contextlib.asynccontextmanager
async def full(redis: Redis) -> AsyncIterator[None]:
    await redis.config_set("maxmemory", 1)
    try:
        yield
    finally:
        await redis.config_set("maxmemory", 0)


async def test_a_redis_that_takes_nothing_is_said_first_and_how_old_the_rest_is(
    redis: Redis,
) -> None:
    reports = {
        "streams": b'{"rss_mb":1,"written":1,"waiting":0,"venues":[]}',
        "rules": b'{"rss_mb":1,"events":1,"alerts":1,"lag_ms":1}',
    }
    for role, left_s in (("streams", 18), ("rules", 28)):
        await redis.set(f"{Keys().status}:{role}", reports[role], px=left_s * 1_000 - 50)
    async with full(redis):
        report = await status.collect(redis)
        text = status.describe(report)
    reason = "Redis has no memory left: raise its maxmemory or lower redis.max_mb"
    first, streams, rules, bot, *_ = text.splitlines()
    assert first == f"redis    cannot be written to, so nothing new is told: {reason}"
    assert streams == "streams  1 MB, 1 event written; last heard 12 s ago"
    assert rules == "rules    1 MB, 1 event read, 1 alert, 1 ms behind"
    assert bot == "bot      nothing heard for 30 s, since it cannot report"
    assert "\n12 s ago it was so:" in text
    assert status.faults(report) == [first, bot]
    assert status.faults(await status.collect(redis))[0].startswith("bot      not running")


async def test_whether_roles_can_report_is_tried_where_one_does_not_or_if_asked(
    redis: Redis,
) -> None:
    for role in status.ROLES:
        await redis.set(f"{Keys().status}:{role}", b"{}")
    async with full(redis):
        assert (await role_reports(redis)).cannot_write == ""  # they all have, just now
        assert "no memory left" in (await role_reports(redis, writing=True)).cannot_write
        await redis.delete(f"{Keys().status}:rules")
        assert "no memory left" in (await role_reports(redis)).cannot_write


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ResponseError("MISCONF Errors writing to the AOF file: No space left"), "make room"),
        (ReadOnlyError("You can't write against a read only replica."), "read-only replica"),
        (NoPermissionError("NOPERM"), ""),
    ],
)
async def test_every_way_in_which_a_redis_takes_nothing_is_noticed(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    async def refused(*_: object, **_more: object) -> None:
        raise error

    monkeypatch.setattr(redis, "set", refused)
    reason = await unwritable(redis)
    assert words in reason and bool(words) == bool(reason)


async def test_a_second_process_that_waits_and_is_stopped_says_nothing_of_the_first(
    redis: Redis, valkey: Server
) -> None:
    async with roles.role(valkey.url, "rules"):
        await redis.set(f"{Keys().status}:rules", b"{}")

        async def second() -> None:
            async with roles.role(valkey.url, "rules"):
                raise AssertionError("the role is taken")

        waiting = asyncio.create_task(second())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        report = await status.collect(redis)
        assert report["rules"] == {} and "rules" not in report["ended"]


@pytest.mark.parametrize(("missing", "code"), [((), 0), (("rules",), 1), (("streams", "bot"), 1)])
@pytest.mark.parametrize("as_json", [False, True])
async def test_the_command_fails_where_a_role_is_dead(
    redis: Redis,
    valkey: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    missing: tuple[str, ...],
    code: int,
    as_json: bool,
) -> None:
    monkeypatch.setattr(status, "_ANEW_S", 0.1)
    chosen = settings(tmp_path, redis_url=secret(valkey.url))
    well = cases.status()
    for role in {"streams", "rules", "bot"} - set(missing):
        await redis.set(f"{Keys().status}:{role}", msgspec.json.encode(well[role]))
    assert await cli._status(chosen, as_json) == code
    out = capsys.readouterr().out
    if as_json:
        report = json.loads(out)
        absent = {role for role in ("streams", "rules", "bot") if report[role] is None}
    else:
        absent = set(re.findall(r"(?m)^(\w+) +not running", out))
        assert ("not well" in out) is bool(missing)
    assert absent == set(missing)


async def test_the_command_waits_for_reports_that_a_step_of_the_clock_has_ended(
    redis: Redis, valkey: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    well = cases.status()
    await redis.set(f"{Keys().status}:rules", msgspec.json.encode(well["rules"]))

    async def anew() -> None:
        for role in ("streams", "bot"):
            await asyncio.sleep(0.3)
            await redis.set(f"{Keys().status}:{role}", msgspec.json.encode(well[role]))

    reporting = asyncio.create_task(anew())
    assert await cli._status(settings(tmp_path, redis_url=secret(valkey.url)), False) == 0
    await reporting
    assert "not running" not in capsys.readouterr().out


async def test_the_command_waits_for_no_role_that_was_stopped(
    redis: Redis, valkey: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    well = cases.status()
    for role in ("streams", "bot"):
        await redis.set(f"{Keys().status}:{role}", msgspec.json.encode(well[role]))
    await redis.set(roles.ended_key("rules"), b"", ex=roles.ENDED_LIFE_S)
    async with asyncio.timeout(3):
        assert await cli._status(settings(tmp_path, redis_url=secret(valkey.url)), False) == 1
    assert "rules    not running: it was stopped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lag_ms", "clock", "shown"),
    [
        (120, None, "lag 120 ms,"),
        (-30, None, "lag 0 ms,"),
        (75_000, None, "lag 75000 ms,"),
        (-7_199_998, None, "lag unknown,"),  # the clock has just been set back
        (-7_199_998, {"ahead": -7_200_000, "venues": ["bybit"]}, "lag unknown,"),
        (600_120, {"ahead": 600_000, "venues": ["bybit"]}, "lag unknown,"),
        (3_120, {"ahead": 3_000, "venues": ["bybit"]}, "lag 3120 ms,"),  # may be so late
    ],
)
def test_a_lag_by_a_wrong_clock_is_unknown(
    lag_ms: int, clock: dict[str, object] | None, shown: str
) -> None:
    late = cases.venue(sockets=[cases.socket(lag_ms=lag_ms)])
    report = cases.status(late, streams={"clock": clock}) | {"heard_s": {}}
    assert shown in status.describe(report)


async def test_the_command_fails_where_a_venue_is_dark(
    redis: Redis, valkey: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = [cases.socket(last_data=cases.NOW - 90_000)]
    dark = cases.venue("okx", "OKX", sockets=silent, sides_known=False)
    report = cases.status(cases.venue(), dark)
    for role in ("streams", "rules", "bot"):
        await redis.set(f"{Keys().status}:{role}", msgspec.json.encode(report[role]))
    assert await cli._status(settings(tmp_path, redis_url=secret(valkey.url)), False) == 1
    out = capsys.readouterr().out
    assert out.endswith("\nnot well: OKX: nothing has come for 90 s\n")
    assert out.count(", open interest in percent only (may count both sides)\n") == 1


async def test_the_command_fails_where_a_named_contract_is_not_heard(
    redis: Redis, valkey: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contract = SilentContract(
        symbol="PI_XBTUSD", kinds=["price"], since=cases.NOW - 400_000, reason="no data yet"
    )
    report = cases.status(cases.venue("kraken", "Kraken", silent=[contract]))
    for role in ("streams", "rules", "bot"):
        await redis.set(f"{Keys().status}:{role}", msgspec.json.encode(report[role]))
    assert await cli._status(settings(tmp_path, redis_url=secret(valkey.url)), False) == 1
    out = capsys.readouterr().out
    assert "\n  PI_XBTUSD silent: price (no data yet)\n" in out
    assert out.endswith("\nnot well: Kraken: PI_XBTUSD silent: price (no data yet)\n")


async def test_chats_that_are_not_ready_are_named_and_what_waits_too_long_is_a_fault(
    redis: Redis,
) -> None:
    reports = {
        "streams": {"rss_mb": 1, "written": 1, "waiting": 0, "venues": []},
        "rules": {"rss_mb": 1, "events": 1, "alerts": 1, "lag_ms": 1},
        "bot": {
            "rss_mb": 1, "sent": 1, "destination": "T", "refused": 0, "uncertain": 0,
            "troubled": [
                {"chat": "-1", "ready": False, "reason": "no clear answer", "queued": 3,
                 "critical_ms": 120_001},
                {"chat": "-2", "ready": False, "queued": 1, "critical_ms": 95_000},
                {"chat": "-3", "ready": False},
            ],
        },
    }  # fmt: skip
    for role, role_report in reports.items():
        await redis.set(f"{Keys().status}:{role}", msgspec.json.encode(role_report))
    report = await status.collect(redis)
    late = (
        "bot      -1 is not ready, 3 posts wait, the oldest critical one for 120 s: no clear answer"
    )
    lines = status.describe(report).split("\n")
    assert lines[:6] == [
        "streams  1 MB, 1 event written",
        "rules    1 MB, 1 event read, 1 alert, 1 ms behind",
        "bot      1 MB, 1 message sent to T, 0 refused, 0 uncertain",
        late,
        "bot      -2 is not ready, 1 post waits, the oldest critical one for 95 s",
        "bot      -3 is not ready",
    ]
    assert status.faults(report) == [late]


async def test_everything_there_is_to_know(
    redis: Redis, valkey: Server, tmp_path: Path, story: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roles, "STATUS_EVERY_S", 0.2)
    async with Playback(story, speed=60) as playback:
        websocket, rest = playback.urls("bybit")
        there = VenueSettings(name="bybit", websocket=websocket, rest=rest)
        gone = VenueSettings(
            name="binance", websocket="ws://127.0.0.1:1", rest="http://127.0.0.1:1"
        )
        chosen = settings(tmp_path, venues=(there, gone), majors=("BTC",), large=("DOGE",), tail=0)
        monkeypatch.setattr("streams.feed.hub._WAIT_FOR_OTHERS_S", 0.2)
        tasks = start_all(
            {
                "streams": lambda: streams_role(chosen, valkey.url),
                "rules": lambda: rules_role(chosen, valkey.url),
                "bot": lambda: bot_role(chosen, valkey.url, lambda: Sinks(Console())),
            }
        )
        while playback.topics < 6:
            await asyncio.sleep(0.02)
        playback.start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(playback.finished.wait(), 1.5)
        report = msgspec.json.decode(msgspec.json.encode(await status.collect(redis)))
        await stop_all(tasks)
        after = await status.collect(redis)
    bybit, binance = report["streams"]["venues"]
    assert bybit["feeds"]["depth"] == {"up": 2, "down": 0}
    assert bybit["feeds"]["open_interest"] == {"up": 2, "down": 0}
    assert set(bybit["feeds"]) == {
        "depth", "funding", "liquidation", "open_interest", "price", "volume"
    }  # fmt: skip
    assert (bybit["title"], bybit["instruments"], bybit["trouble"]) == ("Bybit", 2, "")
    for socket in bybit["sockets"]:
        assert socket["connected"]
        assert socket["connects"] == 1
        assert socket["frames"] > 10
        assert {"frames_per_s", "lag_ms", "gaps", "resyncs", "dropped"} <= set(socket)
    assert sum(socket["books_live"] for socket in bybit["sockets"]) == 2
    assert binance["trouble"] == "the connection was refused"
    for role in ("streams", "rules", "bot"):
        assert report[role]["rss_mb"] > 5
        assert after[role] is None, "gone with its role"
    assert report["streams"]["written"] > 20
    assert report["rules"]["events"] > 20
    assert report["rules"]["lag_ms"] < 2_000
    assert report["redis"]["streams"]["events"]["entries"] > 20
    text = status.describe(report)
    assert "\nBinance: cannot be reached: the connection was refused" in text
    assert "Bybit: 2 instruments" in text
    assert "depth up" in text
    assert "messages sent to the console, 0 refused, 0 uncertain" in text
    assert "books " in text
