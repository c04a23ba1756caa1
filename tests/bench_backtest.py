"""A year of metric logs, made, and how long the rules take to go through it."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bot.backtest.evaluate import run
from bot.config import Settings, load
from bot.metriclog import MetricLog
from rules.rule import Rule
from rules.snapshot import Observed
from streams.durations import MINUTE
from streams.events import Ms
from tests.conftest import ROOT

START: Ms = 1_767_225_600_000  # 1 Jan 2026
YEAR, DAY_MINUTES = 365, 1440
ASSETS = 40
LOUD_EVERY = 7 * 1440
"""Minutes between two episodes of one rule on one asset: far more than anybody would want."""

MADE = 2
"""So many days are made and given to each day of the year in turn: reading costs the same."""


class Walk:
    """One value: noise around what is quiet, and now and then a stretch beyond the levels."""

    def __init__(self, rule: Rule, asset: str, dice: random.Random) -> None:
        row = rule.row_of(asset)
        assert row is not None
        self._dice = dice
        self._quiet = row.clear + (row.clear - next(iter(row.levels.values()))) * 2
        self._loud = next(iter(row.levels.values())) * 1.1 - row.clear * 0.1
        self._left = 0

    def next(self) -> tuple[float, float, float]:
        """A minute: its value, the lowest and the highest."""
        dice = self._dice
        if self._left == 0 and dice.random() < 1 / LOUD_EVERY:
            self._left = dice.randrange(5, 60)
        self._left = max(0, self._left - 1)
        middle = self._loud if self._left else self._quiet
        values = [middle + dice.gauss(0, 0.05) * abs(self._loud - self._quiet) for _ in range(3)]
        return values[0], min(values), max(values)


def day(settings: Settings, folder: Path, assets: int, seed: int) -> Path:
    """One day of all metrics of the rules, as the rules role writes it."""
    dice = random.Random(seed)
    listed = list(settings.tiers.listed)
    names = [*listed, *(f"A{n:04d}" for n in range(assets - len(listed)))]
    walks: dict[tuple[str, str], Walk] = {}
    for rule in settings.rules:
        for asset in ["ALL"] if rule.scope == "market" else names:
            if rule.row_of(asset) is not None:
                walks.setdefault((rule.metric, asset), Walk(rule, asset, dice))
    log = MetricLog(folder, 2**40, 2**40)
    for n in range(DAY_MINUTES):
        rows = [Observed(metric="price", asset=name, value=100 + dice.random()) for name in names]
        for (metric, asset), walk in walks.items():
            value, low, high = walk.next()
            rows.append(
                Observed(
                    metric=metric, asset=asset, value=value, low=low, high=high, floor_musd=500.0
                )
            )
        log.write(START + n * MINUTE, rows)
    [path] = folder.iterdir()
    return path


def measure(folder: Path, assets: int, days: int) -> dict[str, float]:
    """Seconds and peak megabytes of a process that goes through the logs; the size of a day."""
    settings = load(ROOT / "config.toml", {})
    made = [day(settings, _made(folder, f"{assets}.{seed}"), assets, seed) for seed in range(MADE)]
    logs = folder / f"logs{assets}"
    logs.mkdir()
    for n in range(days):
        shifted(made[n % MADE], logs, n)
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench_backtest", str(logs)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    return found | {"day_kb": made[0].stat().st_size / 1000}


def shifted(path: Path, folder: Path, days: int) -> None:
    """A copy of a day, as another day."""
    from datetime import UTC, datetime

    from bot.metriclog import BLOCK, MAGIC, SUFFIX, blocks

    parts = [MAGIC]
    with path.open("rb") as file:
        for one in blocks(file):
            kind, size, crc, _ = BLOCK.unpack(_head(one.data, one.kind))
            parts += [BLOCK.pack(kind, size, crc, one.minute + days * DAY_MINUTES), one.data]
    when = datetime.fromtimestamp(START / 1000 + days * 86_400, UTC)
    (folder / f"{when:%Y-%m-%d}{SUFFIX}").write_bytes(b"".join(parts))


def _head(data: bytes, kind: bytes) -> bytes:
    import zlib

    from bot.metriclog import BLOCK

    return BLOCK.pack(kind, len(data), zlib.crc32(data), 0)


def _made(folder: Path, name: str) -> Path:
    place = folder / name
    place.mkdir()
    return place


def backtest() -> dict[str, float]:
    """A year of 40 assets, and a twentieth of it for 40 and for 400: ten times the assets."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        year = measure(folder, ASSETS, YEAR)
        some = measure(folder / _sub(folder, "a"), ASSETS, YEAR // 20)
        more = measure(folder / _sub(folder, "b"), 10 * ASSETS, YEAR // 20)
    return {
        "backtest_year_s": round(year["seconds"], 1),
        "backtest_rss_mb": round(year["rss_mb"]),
        "backtest_alerts": year["alerts"],
        "backtest_day_kb": round(year["day_kb"]),
        "backtest_10x_assets": round(more["seconds"] / some["seconds"], 1),
    }


def _sub(folder: Path, name: str) -> str:
    (folder / name).mkdir()
    return name


def _inside(logs: Path) -> None:
    from bot.backtest.sources import Sources

    settings = load(ROOT / "config.toml", {})
    began = time.process_time()
    sources = Sources([logs], settings, [])
    _, [one] = run(sources, [settings])
    seconds = time.process_time() - began
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({
        "seconds": seconds, "rss_mb": int(peak.split()[1]) / 1024, "alerts": len(one.alerts),
    }))  # fmt: skip


if __name__ == "__main__":
    _inside(Path(sys.argv[1]))
