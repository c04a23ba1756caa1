"""One state for all readers, and nothing left when they have gone."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import pytest
import structlog
from redis.asyncio import Redis

from bot.web import live, probe
from bot.web.live import LivePage
from bot.web.page import TURNS, PageTable
from bot.web.probe import StatusProbe
from rules import alerts
from streams.bus.connection import Keys
from streams.bus.health import Health
from tests.bot import asked
from tests.bot.asked import EPISODE, NOW, STANDING
from tests.bot.web import cases

EVERY_S = 0.03


@pytest.fixture
async def page(tmp_path: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> LivePage:
    monkeypatch.setattr(live, "EVERY_S", EVERY_S)
    chosen = asked.settings(tmp_path)
    await show(redis)
    return LivePage(chosen, redis, StatusProbe(chosen, redis, Health()), now=lambda: NOW)


async def show(redis: Redis, **changes: object) -> None:
    """The rules write down what they see."""
    standing = msgspec.structs.replace(STANDING, **changes)
    await redis.set(Keys().standing, msgspec.msgpack.encode(standing))


def tables(update: bytes) -> dict[str, PageTable]:
    """The tables of one update, by their names."""
    shown: dict[str, PageTable] = {}
    for event in update.decode().strip().split("\n\n"):
        head, data = event.split("\n")
        if head == "event: table":
            table = msgspec.json.decode(data.removeprefix("data: "), type=PageTable)
            shown[table.name] = table
    return shown


async def until(updates: AsyncGenerator[bytes], name: str) -> PageTable:
    """The next state of a table."""
    async with asyncio.timeout(10):
        async for update in updates:
            if name in (shown := tables(update)):
                return shown[name]
    raise AssertionError("the updates have ended")


async def test_all_tables_come_first_and_then_what_has_changed(page: LivePage, redis: Redis):
    async with contextlib.aclosing(page.updates("en")) as updates:
        assert (await anext(updates)).startswith(b"event: version\n")
        assert len(tables(await anext(updates))) == 6
        assert await anext(updates) == b"event: beat\ndata:\n\n"
        await show(redis, episodes=())
        changed = await until(updates, "open")
        assert changed.rows == () and "Nothing is going on" in changed.notes[0]


async def test_alerts_come_once_the_newest_first(page: LivePage, redis: Redis) -> None:
    async with contextlib.aclosing(page.updates("en")) as updates:
        assert (await until(updates, "timeline")).rows == ()
        for alert in EPISODE:
            await redis.xadd(Keys().alerts, {"a": alerts.encode(alert)})
        await redis.xadd(Keys().alerts, {"a": b"of another version"})
        rows = ()
        while len(rows) < len(EPISODE):
            rows = (await until(updates, "timeline")).rows
        assert [row[1].text for row in rows] == ["alert", "alert", "watch"]
        await redis.xadd(Keys().alerts, *[{"a": alerts.encode(EPISODE[0])}])
        assert len((await until(updates, "timeline")).rows) == len(EPISODE) + 1


async def test_readers_of_two_languages_get_each_their_own(page: LivePage, redis: Redis):
    async with (
        contextlib.aclosing(page.updates("en")) as english,
        contextlib.aclosing(page.updates("ja")) as japanese,
    ):
        for updates, title in ((english, "Going on now"), (japanese, "進行中")):
            assert (await until(updates, "open")).title == title
        await show(redis, episodes=())
        assert "Nothing is going on" in (await until(english, "open")).notes[0]
        assert "動きなし" in (await until(japanese, "open")).notes[0]
    assert page.readers == 0


async def test_a_long_history_is_cut(page: LivePage, redis: Redis) -> None:
    for _ in range(TURNS + 5):
        await redis.xadd(Keys().alerts, {"a": alerts.encode(EPISODE[0])})
    [table] = [table for table in await page.tables("en") if table.name == "timeline"]
    assert len(table.rows) == TURNS


async def test_the_state_is_made_once_for_all_who_look(
    page: LivePage, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[object] = []
    make = live.page_tables
    monkeypatch.setattr(live, "page_tables", lambda of: states.append(of) or make(of))
    monkeypatch.setattr(live, "EVERY_S", 60.0)
    readers = [page.updates("en") for _ in range(10)]
    for reader in readers:
        await anext(reader)
    assert len({await anext(reader) for reader in readers}) == 1
    assert len(states) == 1
    for reader in readers:
        await reader.aclose()


async def test_the_outbox_is_read_when_the_bot_has_done_something_and_not_else(
    page: LivePage, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_FATES_S", 0.0)
    monkeypatch.setattr(live, "EVERY_S", 0.0)
    reads: list[object] = []
    read = live.read_outbox
    monkeypatch.setattr(live, "read_outbox", lambda *args: reads.append(args) or read(*args))
    status = cases.status()["bot"]
    for cursor, seen, count in (("1-0", 1, 1), ("1-0", 2, 1), ("2-0", 3, 2)):
        report = msgspec.json.encode(status | {"cursor": cursor, "seen": seen})
        await redis.set(f"{Keys().status}:bot", report)
        monkeypatch.setattr(probe, "_KEEP_S", 0.0)
        await page.tables("en")
        assert len(reads) == count


async def test_a_hundred_that_come_and_go_leave_nothing(page: LivePage) -> None:
    before = asyncio.all_tasks()
    for _ in range(5):
        readers = [page.updates("en") for _ in range(20)]
        for reader in readers:
            await anext(reader)
            await anext(reader)
        assert page.readers == 20
        assert len(asyncio.all_tasks() - before) == 1  # one for all
        for reader in readers:
            await reader.aclose()
        assert page.readers == 0
        for _ in range(3):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == before


async def test_the_next_reader_comes_before_the_last_one_is_quite_gone(page: LivePage) -> None:
    first = page.updates("en")
    await anext(first)
    await first.aclose()
    async with contextlib.aclosing(page.updates("en")) as second:
        assert (await anext(second)).startswith(b"event: version\n")
        tables = await anext(second)
        assert tables.count(b"event: ") == len(await page.tables("en"))
        later = [await anext(second) for _ in range(2)]
        assert all(update.startswith(b"event: ") for update in later)
        assert page.readers == 1
    assert page.readers == 0


async def test_closing_ends_all_updates(page: LivePage) -> None:
    updates = page.updates("en")
    await anext(updates)
    page.close()
    async with asyncio.timeout(60):
        async for _ in updates:
            pass
    assert page.readers == 0


async def test_without_redis_the_page_says_so_and_keeps_what_it_knew(
    page: LivePage, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {table.name: table for table in await page.tables("en")}

    async def fails(*_: object) -> None:
        raise ConnectionError("gone")

    monkeypatch.setattr(redis, "get", fails)
    async with contextlib.aclosing(page.updates("en")) as updates:
        health = await until(updates, "health")
        while health.rows[0][0].text != "Redis":
            health = await until(updates, "health")
    assert health.rows[0][1].tone == "bad"
    after = {table.name: table for table in await page.tables("en")}
    assert after["market"] == before["market"]


async def test_a_fault_of_the_page_ends_the_updates_and_is_logged(
    page: LivePage, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates = page.updates("en")
    await anext(updates)

    def broken(_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(live, "page_tables", broken)
    with structlog.testing.capture_logs() as logs:
        async with asyncio.timeout(60):
            async for _ in updates:
                pass
    assert logs[0]["event"] == "the status page could not be made"
    with pytest.raises(ValueError, match="a bug"):  # whoever comes then gets an error at once
        await anext(page.updates("en"))
    assert page.readers == 0


async def test_a_clock_of_its_own_is_that_of_the_rules(tmp_path: Path, redis: Redis) -> None:
    """As in the demo, where the story's time is not ours."""
    await show(redis)
    chosen = asked.settings(tmp_path)
    page = LivePage(chosen, redis, StatusProbe(chosen, redis, Health()), now=None)
    market = next(table for table in await page.tables("en") if table.name == "market")
    assert len(market.rows) == 3
