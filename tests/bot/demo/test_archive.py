"""The made archive: the files of the real one, the same each time, and a crash that rings."""

import zipfile
from pathlib import Path

import pytest

from bot.backtest.command import reported
from bot.backtest.sources import Sources
from bot.config import load
from bot.demo.archive import COINS, CRASH, DAYS, START, write_archive
from rules.alerts import Level
from streams.durations import DAY, HOUR
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    write_archive(folder)
    return folder


def test_it_has_the_names_of_the_real_one_and_is_the_same_each_time(folder: Path, tmp_path: Path):
    write_archive(tmp_path)
    names = sorted(path.relative_to(folder) for path in folder.rglob("*.zip"))
    assert len(names) == len(COINS) * (2 * DAYS + 1)
    assert Path("data/futures/um/daily/metrics/ETHUSDT/ETHUSDT-metrics-2026-09-27.zip") in names
    for name in names[::7]:
        with zipfile.ZipFile(folder / name) as archive, zipfile.ZipFile(tmp_path / name) as other:
            assert archive.read(archive.namelist()[0]) == other.read(other.namelist()[0])


def test_the_crash_rings_and_the_days_before_it_do_not(folder: Path):
    settings = load(ROOT / "config.toml", {})
    metrics = sorted({rule.metric for rule in settings.rules})
    sources = Sources([folder], settings, metrics)
    report, _, [run] = reported(sources, [settings])
    rings = [post for post in run.posts if any(a.level >= Level.ALERT for a in post.alerts)]
    assert rings and all(CRASH <= post.at < CRASH + 36 * HOUR for post in rings)
    families = {alert.family for alert in run.alerts if alert.level is Level.CRITICAL}
    assert {"oi_drop", "price_drop"} <= families
    assert report.notes == () and report.start >= START and report.end <= START + DAYS * DAY
    why = {skipped.rule: skipped.why for skipped in report.not_judged}
    assert why["liq_burst"] == why["depth_thin:25bp"] == "no data of this kind"
