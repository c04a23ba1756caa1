"""Two configurations over the same values: what is new, gone, earlier, later, louder, quieter."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from bot.backtest.changes import Change, ChangeKind, Changes
from bot.backtest.command import reported
from bot.backtest.report import Report, text
from bot.backtest.sources import Sources
from bot.config import Settings, load
from streams.durations import HOUR, MINUTE
from streams.events import Ms
from tests.bot.backtest.logs import START, write

RULE = """
[markets]
venues = ["binance"]
majors = ["BTC"]

[rules.{name}]
metric = "liq_10m_musd"
fires = "above"
{more}
majors = {{ {levels}, clear = 2 }}
"""
MINUTES = 300
RISES = (0, 0, 0, 5, 20, 60, 200, 60, 20, 5, 0, 0)
"""A burst, a value each five minutes."""


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A burst from 1:15 on, and one in the fourth hour that reaches 30 only."""
    folder = tmp_path_factory.mktemp("logs")
    values = [0.0] * MINUTES
    for n, x in enumerate(RISES):
        values[60 + 5 * n : 65 + 5 * n] = [float(x)] * 5
        values[200 + 5 * n : 205 + 5 * n] = [min(float(x), 30.0)] * 5
    write(folder, [{("liq_10m_musd", "BTC"): x, ("price", "BTC"): 100.0} for x in values])
    return folder


def settings(folder: Path, levels: str, more: str = "", name: str = "burst") -> Settings:
    folder.mkdir()
    (folder / "lowtide.toml").write_text(RULE.format(name=name, levels=levels, more=more))
    return load(folder / "lowtide.toml", {})


def compared(logs: Path, now: Settings, then: Settings) -> tuple[Report, Changes]:
    answer, _, _ = reported(Sources([logs], now, []), [now, then])
    assert answer.changes is not None
    return answer, answer.changes


def kinds(each: Sequence[Change]) -> list[tuple[ChangeKind, Ms]]:
    """With how many minutes after the beginning it is told."""
    return [(change.kind, (change.when - START) // MINUTE) for change in each]


def test_the_same_configuration_changes_nothing(logs: Path, tmp_path: Path):
    now = settings(tmp_path / "now", "alert = 10")
    answer, changes = compared(logs, now, now)
    assert (changes.each, changes.same) == ((), 2)
    assert "none differs, 2 the same." in text(answer)


def test_a_lower_level_is_earlier_and_brings_new_ones(logs: Path, tmp_path: Path):
    low = settings(tmp_path / "low", "alert = 10")
    high = settings(tmp_path / "high", "alert = 50")
    answer, changes = compared(logs, low, high)
    assert kinds(changes.each) == [(ChangeKind.EARLIER, 80), (ChangeKind.NEW, 220)]
    earlier, new = changes.each
    assert earlier.at is not None and earlier.before_at is not None
    assert earlier.before_at - earlier.at == 5 * MINUTE
    assert (new.rule, new.subject, new.before_at) == ("burst", "BTC", None)
    assert "5 min later" in text(answer)
    _, back = compared(logs, high, low)
    assert kinds(back.each) == [(ChangeKind.LATER, 80), (ChangeKind.GONE, 220)]
    assert back.each[1].at is None and back.each[1].before_level == "alert"


def test_a_level_that_rings_is_louder_than_one_that_does_not(logs: Path, tmp_path: Path):
    watch = settings(tmp_path / "watch", "watch = 10")
    rings = settings(tmp_path / "rings", "watch = 10, alert = 50")
    _, changes = compared(logs, rings, watch)
    assert kinds(changes.each) == [(ChangeKind.LOUDER, 81)]
    assert changes.same == 1
    _, back = compared(logs, watch, rings)
    assert [change.kind for change in back.each] == [ChangeKind.QUIETER]
    critical = settings(tmp_path / "critical", "watch = 10, alert = 50, critical = 150")
    _, worse = compared(logs, critical, rings)
    assert [(change.kind, change.level, change.before_level) for change in worse.each] == [
        (ChangeKind.LOUDER, "critical", "alert")
    ]


def test_a_rule_of_another_name_is_another_event(logs: Path, tmp_path: Path):
    now = settings(tmp_path / "now", "alert = 50")
    other = settings(tmp_path / "other", "alert = 50", name="flood")
    _, changes = compared(logs, now, other)
    assert {(change.kind, change.rule) for change in changes.each} == {
        (ChangeKind.NEW, "burst"),
        (ChangeKind.GONE, "flood"),
    }


def test_one_configuration_alone_is_compared_with_nothing(logs: Path, tmp_path: Path):
    now = settings(tmp_path / "now", "alert = 10")
    answer, _, _ = reported(Sources([logs], now, []), [now])
    assert answer.changes is None and "DIFFERENT" not in text(answer)
    assert answer.end - answer.start < 6 * HOUR
