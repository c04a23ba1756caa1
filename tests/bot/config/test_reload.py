"""A configuration that changes under a running rules role: taken over, or refused with a reason."""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from bot.config import load
from bot.config.reload import ConfigWatch, Rejected, change_summary, checked, on_sighup
from bot.lang import ENGLISH
from bot.messages.notices import notice_message
from bot.roles.rules import RulesRole
from rules import alerts
from rules.alerts import Alert, Notice
from streams.bus.connection import Keys
from streams.events import AnyEvent, Liquidation, Position, Tick, encode

START = 1_791_020_520_000
CONFIG = """
[markets]
venues = ["binance"]
majors = ["BTC"]

[rules.liq_burst]
metric = "liq_10m_musd"
fires  = "above"
majors = {{ alert = {alert}, critical = {critical}, clear = 8 }}
"""
TEST = """
[[test]]
name   = "a burst"
rule   = "liq_burst"
asset  = "BTC"
every  = "10s"
series = "0x2 {value}x2"
expect = ["30s open alert"]
"""


def write(path: Path, alert: float = 40, critical: float = 120, extra: str = "") -> Path:
    path.write_text(CONFIG.format(alert=alert, critical=critical) + extra)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "config.toml")


def looks() -> Callable[[], float]:
    """A clock by which each look is a long time after the last one."""
    return itertools.count(0, 10.0).__next__


def test_a_change_counts_once_it_has_settled(path: Path):
    watch = ConfigWatch(path, looks())
    assert not watch.due()
    path.write_text("[mark")
    assert not watch.due()
    write(path, alert=41)
    assert [watch.due() for _ in range(4)] == [False, True, False, False]


def test_the_file_of_the_tests_counts_too_and_so_does_its_end(path: Path):
    watch = ConfigWatch(path, looks())
    tests = path.with_name("config.tests.toml")
    tests.write_text(TEST.format(value=50))
    assert [watch.due() for _ in range(3)] == [False, True, False]
    tests.unlink()
    assert [watch.due() for _ in range(3)] == [False, True, False]


def test_between_two_looks_nothing_is_looked_at_unless_asked_for(path: Path):
    now = 0.0
    watch = ConfigWatch(path, lambda: now)
    write(path, alert=41)
    assert not any(watch.due() for _ in range(9))
    watch.ask()
    assert watch.due()
    now = 5.0
    assert not watch.due(), "what was read when asked is not read again"


async def test_sighup_asks_all_that_hear_it(path: Path):
    watch, other = ConfigWatch(path), ConfigWatch(path)
    with on_sighup(watch), on_sighup(other):
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(60):
            while not watch.due():
                await asyncio.sleep(0)
        assert other.due()


def test_what_is_wrong_with_it_is_said_line_by_line(path: Path):
    write(path, alert=200)
    with pytest.raises(Rejected) as error:
        checked(path, {})
    assert "config.toml:9: rules.liq_burst.majors" in str(error.value)
    path.write_text("[markets]\nmajors = [")
    with pytest.raises(Rejected, match="not valid TOML"):
        checked(path, {})
    path.unlink()
    with pytest.raises(Rejected, match="no such file"):
        checked(path, {})


def test_a_rule_test_that_fails_refuses_it(path: Path):
    path.with_name("config.tests.toml").write_text(TEST.format(value=50))
    assert checked(path, {})[1] == 1
    write(path, alert=60)
    with pytest.raises(Rejected) as error:
        checked(path, {})
    failure = "test 'a burst' failed: expected 30s open alert, got nothing"
    assert str(error.value) == (
        f"config.tests.toml:2: {failure}\n"
        "config.toml is used when its rule tests pass: lowtide test shows them"
    )


def test_what_needs_a_restart_is_said(path: Path):
    old = load(path, {})
    same, tests = checked(path, {})
    assert change_summary(old, same, tests) == ""
    write(path, extra="[redis]\nmax_mb = 99\n")
    new, _ = checked(path, {})
    assert change_summary(old, new, 1) == (
        "config.toml, 1 rule, 1 rule test passed. Changed: redis.max_mb."
        " Restart Lowtide for what changed in redis."
    )
    write(path, extra='[context]\nseries = [{ name = "flows", file = "flows.csv" }]\n')
    new, _ = checked(path, {})
    assert change_summary(old, new, 1).endswith("Restart Lowtide for what changed in context.")


@pytest.mark.parametrize(
    ("more", "change"),
    [
        ("# a comment\n", ""),
        ("[rules.liq_burst]\nmajors = { alert = 41 }", "rules.liq_burst.majors.alert 40 → 41"),
        ('[rules.liq_burst]\nlarge = { watch = "none" }', 'rules.liq_burst.large.watch 5 → "none"'),
        ('[channel]\nquiet = "23:00-07:00"', 'channel.quiet none → "23:00-07:00"'),
        ('[markets]\nmajors = ["BTC"]', 'markets.majors ["BTC", "ETH"] → ["BTC"]'),
        ("[[chats]]\nid = -5", "new chat -5"),
        ("[[chats]]\nid = -5\ntopic = 7", "new chat -5 (topic 7)"),
        (
            '[rules.liq2]\nmetric = "liq_10m_musd"\nfires = "above"\ncooldown = "2h"\n'
            "majors = { watch = 1, alert = 2, critical = 3, clear = 0.5 }\n"
            "large = { watch = 1, alert = 2, critical = 3, clear = 0.5 }",
            "new rule liq2",
        ),
        (
            "[rules.price_drop.windows.4h]\nmajors = { alert = -7, clear = -4 }",
            "new window 4h of price_drop",
        ),
        ('[redis]\nurl = "redis://:hidden@host/0"', "redis.url"),
        ("[rules.depth_low]\npost = false", "rules.depth_low.post none → false"),
        (
            "[rules.liq_burst]\nlarge = { alert = 20, clear = 4 }",
            "rules.liq_burst.large.alert 15 → 20, rules.liq_burst.large.clear 3 → 4",
        ),
    ],
)
def test_what_changed_is_said(tmp_path: Path, more: str, change: str):
    path = tmp_path / "local.toml"
    path.write_text('extends = "shipped"\n')
    old, _ = checked(path, {})
    path.write_text(f'extends = "shipped"\n{more}\n')
    new, tests = checked(path, {})
    first, *_ = change_summary(old, new, tests).split("\n")
    assert f" Changed: {change}." in first if change else first == ""
    assert "hidden" not in first
    back = change_summary(new, old, tests)
    assert bool(back) == bool(change)
    if change.startswith("new "):
        assert f" Changed: {change.removeprefix('new ')} is gone." in back


def test_a_rule_under_another_name_is_said_to_begin_anew(path: Path):
    old = load(write(path), {})
    path.write_text(path.read_text().replace("[rules.liq_burst", "[rules.liq_bursts"))
    new = load(path, {})
    text = change_summary(old, new, 0)
    assert text.endswith(" Changed: rule liq_burst is liq_bursts now and its episodes begin anew.")
    path.write_text(path.read_text().replace("alert = 40", "alert = 41"))
    text = change_summary(old, load(path, {}), 0)
    assert text.endswith(" Changed: rule liq_burst is gone, new rule liq_bursts.")


def test_what_is_back_to_what_runs_needs_no_restart(path: Path):
    """Venues, and an address, changed and changed back: nothing is left to restart for."""
    for extra in ('[venues.binance]\nrest = "https://x.example"\n', "[redis]\nmax_mb = 99\n"):
        started = load(write(path), {})
        changed = load(write(path, extra=extra), {})
        assert "Restart Lowtide" in change_summary(started, changed, 0, started)
        back = change_summary(changed, load(write(path), {}), 0, started)
        assert "Changed: " in back and "Restart" not in back
        later = load(write(path, alert=41, extra=extra), {})
        assert "Restart Lowtide" in change_summary(changed, later, 0, started), "it is still due"
        assert change_summary(changed, changed, 0, started) == ""


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ("", '[[webhooks]]\nname = "desk"\nurl = "{}one"\n', "new webhook desk"),
        ('[[webhooks]]\nurl = "{}one"\n', "", "webhook 1 is gone"),
        (
            '[[webhooks]]\nurl = "{0}one"\n[[webhooks]]\nname = "desk"\nurl = "{0}two"\n',
            '[[webhooks]]\nurl = "{0}one"\n[[webhooks]]\nname = "desk"\nurl = "{0}three"\n',
            "webhook desk: url",
        ),
        (
            '[[webhooks]]\nurl = "{0}one"\n[[webhooks]]\nurl = "{0}two"\n',
            '[[webhooks]]\nurl = "{0}one"\n[[webhooks]]\nurl = "{0}two"\nmin_level = "alert"\n',
            "webhook 2: min_level",
        ),
    ],
)
def test_of_a_webhook_its_name_and_the_keys_are_said_and_never_its_address(
    path: Path, before: str, after: str, change: str
):
    env, address = {"LOWTIDE_WEBHOOK_SECRET": "a long random text"}, "https://example.org/hidden/"
    old = load(write(path, extra=before.format(address)), env)
    text = change_summary(old, load(write(path, extra=after.format(address)), env), 0)
    assert f" Changed: {change}." in text
    where = change.rpartition(" ")[2] != "min_level"
    assert text.endswith("Restart Lowtide for what changed in webhooks.") == where
    assert "hidden" not in text and "random" not in text


def test_of_a_chat_the_keys_that_changed_are_said(path: Path):
    chat = "[[chats]]\nid = -5\nlanguage = 'en'\n"
    old = load(write(path, extra=chat), {})
    new = load(write(path, extra=f"{chat}posts_per_hour = 3\n"), {})
    assert " Changed: chat -5: posts_per_hour." in change_summary(old, new, 0)


def test_a_long_list_of_changes_is_cut_and_new_warnings_follow(tmp_path: Path):
    path = tmp_path / "local.toml"
    text = 'extends = "shipped"\n[markets]\nmajors = ["BTC", "ETH", "SOLUSDT"]\n'
    path.write_text(text)
    old, _ = checked(path, {})
    levels = "majors = { watch = 1, alert = 2, critical = 3, clear = 0.5 }\n"
    levels += "large = { watch = 1, alert = 2, critical = 3, clear = 0.5 }\n"
    path.write_text(f"{text}[defaults]\nrepost_if = 150\n[rules.liq_burst]\n{levels}")
    first, *rest = change_summary(old, checked(path, {})[0], 0).split("\n")
    assert first.count("→") == 8 and first.endswith(", and 1 more.")
    assert rest == [
        "Warning: local.toml:5: defaults.repost_if: 150 is a factor: 1.5 is half as bad again"
    ]


class Bench:
    """A rules role on a server of its own, fed by hand, one second of events at a time."""

    def __init__(self, redis: Redis, path: Path) -> None:
        self.redis = redis
        self.path = path
        self.seen = START
        self.role = RulesRole(load(path, {}), redis, env={}, watch=ConfigWatch(path, looks()))

    async def feed(self, *events: AnyEvent) -> None:
        """These events and a tick; returns when they were judged, and the files looked at."""
        self.seen += 1_000
        for event in (*events, Tick(seen=self.seen)):
            last = await self.redis.xadd(Keys().events, {"e": encode(event)})
        async with asyncio.timeout(60):
            while await self.redis.get(Keys().bookmark("rules")) != last:
                await asyncio.sleep(0.005)

    async def liquidate(self, musd: float) -> None:
        await self.feed(
            Liquidation(
                venue="binance", symbol="BTCUSDT", asset="BTC", at=self.seen, seen=self.seen,
                position=Position.LONG, price=100.0, base=musd * 1e4, usd=musd * 1e6,
            )
        )  # fmt: skip

    async def reloaded(self) -> None:
        """Batches until a change was seen, judged and told, and one more with what holds then."""
        before = len(await self.notices())
        for _ in range(100):
            await self.feed()
            if len(await self.notices()) > before:
                return await self.feed()
        raise AssertionError("no change was told")

    async def events(self) -> list[Alert | Notice]:
        entries = await self.redis.xrange(Keys().alerts)
        return [alerts.decode(next(iter(fields.values()))) for _, fields in entries]

    async def alerts(self) -> list[str]:
        published = [alert for alert in await self.events() if isinstance(alert, Alert)]
        return [
            f"{alert.turn} {alert.level.name.lower()} {alert.threshold:g}" for alert in published
        ]

    async def notices(self) -> list[str]:
        published = [notice for notice in await self.events() if isinstance(notice, Notice)]
        return [
            notice_message(notice, ENGLISH).plain
            for notice in published
            if notice.id[:6] == "config"
        ]


@asynccontextmanager
async def running(redis: Redis, path: Path) -> AsyncIterator[Bench]:
    bench = Bench(redis, path)
    task = asyncio.create_task(bench.role.run())
    try:
        yield bench
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_changed_threshold_holds_from_the_next_event_and_reposts_nothing(redis, path):
    async with running(redis, path) as bench:
        await bench.liquidate(50)
        assert await bench.alerts() == ["open alert 40"]
        write(path, alert=45, critical=60)
        await bench.reloaded()
        assert await bench.alerts() == ["open alert 40"]
        assert await bench.notices() == [
            "⚪ Configuration taken over: config.toml, 1 rule. Changed: "
            "rules.liq_burst.majors.alert 40 → 45, rules.liq_burst.majors.critical 120 → 60."
        ]
        await bench.liquidate(11)
        assert await bench.alerts() == ["open alert 40", "up critical 60"]


async def test_nothing_is_told_where_nothing_changed(redis, path):
    async with running(redis, path) as bench:
        await bench.feed()
        path.write_text(path.read_text() + "# a comment\n")
        bench.role._watch.ask()
        for _ in range(5):
            await bench.feed()
        assert await bench.notices() == []
        write(path, extra="[rules.x]\n")
        await bench.reloaded()
        write(path)
        await bench.reloaded()
        _, notice_text = await bench.notices()
        assert notice_text == (
            "⚪ Configuration taken over: config.toml, 1 rule. It is again as it was before."
        )


async def test_a_faulty_file_changes_nothing_and_the_operators_hear_why(redis, path):
    async with running(redis, path) as bench:
        await bench.liquidate(50)
        write(path, critical=60, extra='[rules.x]\nmetric = "nonsense"\nfires = "above"\n')
        await bench.reloaded()
        await bench.liquidate(11)
        assert await bench.alerts() == ["open alert 40"]
        (notice_text,) = await bench.notices()
        assert notice_text.startswith("⚪ Configuration not taken over, the old one stays: ")
        assert "config.toml:11: rules.x.metric: unknown metric" in notice_text
        write(path, critical=65)
        await bench.reloaded()
        await bench.liquidate(5)
        assert await bench.alerts() == ["open alert 40", "up critical 65"]
        assert len(await bench.notices()) == 2


async def test_a_level_reached_by_a_changed_threshold_alone_is_not_posted(redis, path):
    async with running(redis, path) as bench:
        await bench.liquidate(50)
        write(path, critical=45)
        await bench.reloaded()
        await bench.feed()
        assert await bench.alerts() == ["open alert 40"]


async def test_a_failing_rule_test_keeps_the_old_rules(redis, path):
    async with running(redis, path) as bench:
        await bench.feed()
        path.with_name("config.tests.toml").write_text(TEST.format(value=50))
        write(path, alert=60)
        await bench.reloaded()
        (notice_text,) = await bench.notices()
        assert "test 'a burst' failed" in notice_text
        await bench.liquidate(50)
        assert await bench.alerts() == ["open alert 40"]


async def test_a_bug_in_the_new_engine_keeps_the_old_one(redis, path, monkeypatch):
    async with running(redis, path) as bench:
        await bench.feed()

        def broken(*_: object) -> None:
            raise RuntimeError("broken")

        monkeypatch.setattr("bot.roles.rules._engine", broken)
        write(path, alert=60)
        await bench.reloaded()
        (notice_text,) = await bench.notices()
        assert notice_text.endswith("RuntimeError: broken")
        await bench.liquidate(50)
        assert await bench.alerts() == ["open alert 40"]


async def test_a_restart_after_a_change_goes_on_with_the_new_rules(redis, path):
    async with running(redis, path) as bench:
        await bench.liquidate(50)
        write(path, critical=60)
        await bench.reloaded()
    async with running(redis, path) as again:
        again.seen = bench.seen
        await again.liquidate(11)
        assert await again.alerts() == ["open alert 40", "up critical 60"]
