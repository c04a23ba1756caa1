"""What released versions saved is taken over by this one: the outbox and the metric log; what is
not is told.
"""

import asyncio
import zlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from redis.asyncio import Redis

from bot.backtest.logfile import read_day
from bot.backtest.series import Notes, SeriesKey
from bot.delivery.post import PostState
from bot.delivery.store import OutboxStore
from bot.metriclog import MetricLog, log_rows
from bot.roles.rules import RulesRole
from rules import alerts
from rules.alerts import Notice
from rules.snapshot import Observed
from streams import events
from streams.bus.connection import Keys, Snapshot, StreamReader
from streams.durations import DAY, MINUTE
from streams.events import FaultCode, Tick
from tests.bot.role_fixtures import settings
from tests.bot.roles.test_bot import Bench
from tests.bot.roles.test_bot import settings as with_operators  # noqa: F401  # a fixture
from tests.released import FOLDER, WrittenLog, written_log

KEYS = Keys()


async def put_outbox(redis: Redis, **changes: bytes) -> None:
    """The outbox that the released version wrote, with other values in some records."""
    fields = msgspec.msgpack.decode(zlib.decompress((FOLDER / "outbox-1.bin").read_bytes()))
    await redis.hset(KEYS.outbox, mapping=fields)
    for field, value in changes.items():
        await redis.hset(KEYS.outbox, field, value)


async def test_the_released_outbox_is_taken_over_whole(redis: Redis) -> None:
    await put_outbox(redis)
    loaded = await OutboxStore(redis, KEYS).claim()
    assert loaded.lost == []
    assert loaded.cursor is not None
    assert loaded.chats["@lowtide"].title == "Lowtide channel"
    assert loaded.chats["@lowtide"].last_id == 17
    states = [post.state for post in loaded.posts]
    assert states.count(PostState.SENT) == 1
    assert set(states) == {PostState.SENT, PostState.QUEUED}
    plan = loaded.plans["@lowtide"]
    assert plan.counts.posted > 0
    assert any(key.startswith("oi_drop") for key in plan.episodes)
    assert await redis.hget(KEYS.outbox, "version") == b"2"


@pytest.fixture
def released() -> WrittenLog:
    """The metric log of the first version that kept one."""
    return written_log(2)


def test_the_released_metric_log_is_read_number_by_number(
    released: WrittenLog, tmp_path: Path
) -> None:
    path = tmp_path / released.name
    path.write_bytes(released.content)
    series = read_day(path, Notes()).series
    assert len(released.rows) == 180
    rows_of = {minute * MINUTE: numbers for minute, numbers in released.rows}
    read = {"value": lambda of: of.value, "low": lambda of: of.low, "high": lambda of: of.high}
    compared = 0
    for place, (metric, asset, instrument, field) in enumerate(released.columns):
        if field not in read or instrument:
            continue
        key = SeriesKey(metric, asset)
        kept = dict(zip(series[key].at.tolist(), read[field](series[key]).tolist(), strict=True))
        value_at = released.columns.index((metric, asset, instrument, "value"))
        for at, numbers in rows_of.items():
            number = numbers[place] if numbers[place] is not None else numbers[value_at]
            if number is not None:
                assert kept[at] == number, (metric, asset, field, at)
                compared += 1
    assert compared > 3_000


def test_an_upgrade_goes_on_with_the_log_of_the_day(released: WrittenLog, tmp_path: Path) -> None:
    """It begins columns of its own behind what is there, which stays as it was."""
    path = tmp_path / released.name
    path.write_bytes(released.content)
    before = _rows(path)
    last = released.rows[-1][0]
    log = MetricLog(tmp_path, 400 * DAY, 1_000)
    log.write(last * MINUTE, [])  # fed again: it is there
    log.write((last + 1) * MINUTE, [Observed(metric="oi_net_1h_pct", asset="BTC", value=-7.5)])
    after = _rows(path)
    assert after[:-1] == before
    assert after[-1] == (last + 1, {("oi_net_1h_pct", "BTC", "", "value"): -7.5})


def _rows(path: Path) -> list[tuple[int, dict[tuple[str, ...], float]]]:
    """Minutes, each with its numbers that are known."""
    rows: list[tuple[int, dict[tuple[str, ...], float]]] = []
    with path.open("rb") as file:
        for row in log_rows(file):
            cells = np.frombuffer(row.planes, np.uint8).reshape(4, -1).T.copy().view("<f4")
            numbers = zip(row.columns, cells[:, 0].tolist(), strict=True)
            rows.append((row.minute, {tuple(c): x for c, x in numbers if x == x}))
    return rows


def test_every_number_of_the_released_metric_log_is_there(
    released: WrittenLog, tmp_path: Path
) -> None:
    path = tmp_path / released.name
    path.write_bytes(released.content)
    columns = [tuple(column) for column in released.columns]
    assert _rows(path) == [
        (minute, {c: x for c, x in zip(columns, numbers, strict=True) if x is not None})
        for minute, numbers in released.rows
    ]


async def test_one_unreadable_record_costs_itself_alone(redis: Redis) -> None:
    await put_outbox(redis)
    whole = await OutboxStore(redis, KEYS).claim()
    plan = msgspec.msgpack.decode((await redis.hget(KEYS.outbox, "plan @lowtide")) or b"")
    plan["groups"] = "of another shape"
    await put_outbox(
        redis,
        **{"plan @lowtide": msgspec.msgpack.encode(plan), f"post {whole.posts[0].key}": b"\xc1",
           "version": b"3"},
    )  # fmt: skip
    loaded = await OutboxStore(redis, KEYS).claim()
    assert {p.key for p in loaded.posts} == {p.key for p in whole.posts[1:]}
    assert loaded.plans["@lowtide"].episodes == whole.plans["@lowtide"].episodes
    assert set(loaded.lost) == {
        "plan @lowtide", f"post {whole.posts[0].key}", "it is of a newer version, 3",
    }  # fmt: skip


async def test_operators_hear_what_the_bot_could_not_take_over(bench: Bench) -> None:
    await bench.redis.hset(KEYS.outbox, "post lost", b"\xc1")
    async with bench.running():
        async with asyncio.timeout(5):
            while not bench.channel.operators:
                await asyncio.sleep(0.005)
    assert bench.channel.operators == [
        "⚪ Data: what the bot role had saved could not all be taken over (post lost)."
        " This is not a market signal."
    ]


@pytest.fixture
def bench(redis: Redis, with_operators) -> Bench:  # noqa: F811
    return Bench(redis, with_operators)


@pytest.mark.parametrize("saved", [b"\x93nonsense", None])
async def test_operators_hear_that_the_rules_start_anew_and_the_old_state_is_kept(
    redis: Redis, tmp_path: Path, saved: bytes | None
) -> None:
    if saved is None:
        reader = StreamReader(redis, KEYS, "rules", KEYS.events)
        await reader.save(Snapshot("5-0", zlib.compress(b"\x92\x63\x01")))
        saved = await redis.get(KEYS.snapshot("rules"))
    else:
        await redis.set(KEYS.snapshot("rules"), saved)
    await redis.xadd(KEYS.events, {"e": events.encode(Tick(seen=1_790_000_000_000))}, id="9-0")
    role = RulesRole(settings(tmp_path), redis)
    running = asyncio.create_task(role.run())
    async with asyncio.timeout(5):
        while role.status().cursor != "9-0":
            await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    outputs = [alerts.decode(fields[b"a"]) for _, fields in await redis.xrange(KEYS.alerts)]
    (notice,) = (output for output in outputs if isinstance(output, Notice))
    assert (notice.fault, notice.subjects) == (FaultCode.STATE_LOST, ("rules",))
    assert "not readable" in notice.reason
    assert await redis.get(f"{KEYS.snapshot('rules')}:unread") == saved
