"""Live, replay and backtest say the same of the crash day.

What is asserted: for each rule and asset the same levels reached and the same ends, in the same
order, each told by the row of the log that closes the minute in which it happened live, or by the
next or the one before. What cannot be asserted, since a row tells of a minute and not of its
seconds: a level that was reached and passed within one minute is told at the higher one only; and
"worse", which depends on the very value at which an episode was posted.
"""

import asyncio
from pathlib import Path

import msgspec
import numpy as np
from redis.asyncio import Redis

from bot.backtest.evaluate import Judged
from bot.backtest.logfile import read_day
from bot.backtest.series import Notes, cut
from bot.backtest.sources import Sources
from bot.config import load
from bot.metriclog import MetricLog
from bot.replay import Replay
from bot.roles.rules import RulesRole
from rules.alerts import Alert
from rules.engine import Engine
from streams.bus.connection import Keys
from streams.durations import MINUTE
from streams.events import Tick, encode
from tests.bot import story
from tests.bot.backtest.logs import KEEP, backtested, steps
from tests.bot.demo.test_play import of_dogecoin
from tests.bot.role_fixtures import history, lively
from tests.bot.scenarios.test_crash_day import Crash
from tests.bot.scenarios.test_rules import CONFIG


def alerts_of(crash: Crash) -> list[Alert]:
    return [output for output in crash.outputs if isinstance(output, Alert)]


def test_the_log_of_the_day_says_what_the_day_said(crash: Crash):
    live, again = steps(alerts_of(crash)), steps(backtested(crash.settings, crash.logs))
    levels = {key: [step.level for step in key_steps] for key, key_steps in live.items()}
    assert levels == {key: [step.level for step in key_steps] for key, key_steps in again.items()}
    apart = [
        (key[0], other.row - step.row)
        for key, key_steps in live.items()
        for step, other in zip(key_steps, again[key], strict=True)
    ]
    assert len(apart) > 100 and [rows for _, rows in apart].count(0) > 0.85 * len(apart)
    # what another metric says is known by its value at the end of a minute, and live within it
    asking = {rule.name for rule in crash.settings.rules if rule.when}
    assert {rows for name, rows in apart if name not in asking} <= {-1, 0}
    assert {rows for name, rows in apart if name in asking} <= {-1, 0, 1, 2}


def test_a_recording_says_what_its_log_says(tmp_path: Path):
    """A quarter of an hour of one coin, through the same metrics."""
    path = story.cut(tmp_path / "doge.jsonl.gz", 70, 85, of_dogecoin)
    settings = load(CONFIG, {})
    settings = msgspec.structs.replace(settings, majors=(), large=("DOGE",), tail=0)
    venues = [venue.name for venue in settings.venues]
    engine = Engine(settings.rules, venues, settings.composites)
    log, live = MetricLog(tmp_path / "log", KEEP, 1_000), list[Alert]()
    for event in Replay(settings).events([path]):
        live += [output for output in engine.feed(event) if isinstance(output, Alert)]
        if isinstance(event, Tick) and log.due(event.seen):
            log.write(event.seen, engine.observed())
    judged = Judged(settings.rules, settings.composites)
    pieces = Sources([path], settings, []).pieces()
    alerts = [alert for chunk in pieces for alert in judged.take(chunk)]
    assert len(alerts) > 3
    assert alerts == backtested(settings, sorted((tmp_path / "log").iterdir()))
    assert {a.rule for a in alerts} == {a.rule for a in live}


def test_where_a_log_is_cut_changes_nothing(crash: Crash):
    """The same history in pieces of another size."""
    whole = backtested(crash.settings, crash.logs)
    judged = Judged(crash.settings.rules, crash.settings.composites)
    again: list[Alert] = []
    for path in crash.logs:
        day = read_day(path, Notes())
        for start in range(day.start, day.end, 7 * MINUTE):
            again += judged.take(cut(day.series, start, start + 7 * MINUTE))
    assert again == whole


async def test_the_rules_role_writes_that_log_through_redis_and_a_restart(
    redis: Redis, tmp_path: Path
):
    shipped = load(CONFIG, {})
    settings = msgspec.structs.replace(
        shipped, rules=tuple(lively()), composites=(), data_dir=tmp_path / "data"
    )
    events = list(history(1_500))
    pipe = redis.pipeline(transaction=False)
    for place, event in enumerate(events, start=1):
        pipe.xadd(Keys().events, {"e": encode(event)}, id=f"{place}-0")
    await pipe.execute()
    for until in (len(events) // 2, len(events)):
        role = RulesRole(settings, redis, env={})
        running = asyncio.create_task(role.run())
        async with asyncio.timeout(20):
            while int(role.status().cursor.partition("-")[0]) < until:
                await asyncio.sleep(0.002)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    venues = [venue.name for venue in settings.venues]
    engine, log = Engine(settings.rules, venues), MetricLog(tmp_path / "direct", KEEP, 1_000)
    for event in events:
        engine.feed(event)
        if isinstance(event, Tick) and log.due(event.seen):
            log.write(event.seen, engine.observed())
    logs = (tmp_path / "data" / "metrics", tmp_path / "direct")
    ours, direct = (read_day(next(iter(folder.iterdir())), Notes()).series for folder in logs)
    assert ours.keys() == direct.keys() and len(direct) > 5
    for place, series in direct.items():
        assert ours[place].at.tolist() == series.at.tolist() and len(series.at) >= 25
        assert np.array_equal(ours[place].value, series.value, equal_nan=True)
        # of the minute in which it was stopped, the new process knows only its own part
        differ = ~np.isclose(ours[place].low, series.low, equal_nan=True)
        assert int(differ.sum()) <= 2
