"""A year of metric logs, made, and how long the rules take to go through it."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bot.backtest.evaluate import run
from bot.config import Settings, load
from bot.metriclog import MetricLog
from rules.alerts import CAUSES
from rules.metrics import cause_asked_by
from rules.rule import Row, Rule
from rules.snapshot import Observed
from streams.durations import HOUR, MINUTE
from streams.events import Ms
from tests.conftest import ROOT

START: Ms = 1_767_225_600_000  # 1 Jan 2026
YEAR, DAY_MINUTES = 365, 1440
ASSETS = 40
LOUD_EVERY = 7 * 1440
"""Minutes between two episodes of one rule on one asset: far more than anybody would want."""
SETTLED: Ms = 8 * HOUR

MADE = 2
"""So many days are made and given to each day of the year in turn: reading costs the same."""


class Walk:
    """One metric of one asset: noise around what is quiet for all its rules, and now and then a
    stretch beyond the levels of one of them. Charged funding changes once a settlement.
    """

    def __init__(self, rules: Sequence[Rule], rows: Sequence[Row], dice: random.Random) -> None:
        self._dice = dice
        self._bound = rules[0].metric.startswith("liq_")
        self._settles = any(rule.settlements for rule in rules)
        firsts = [next(iter(row.levels.values())) for row in rows]
        self._loud = [x * 1.1 - row.clear * 0.1 for row, x in zip(rows, firsts, strict=True)]
        clear = {rule.fires: row.clear for rule, row in zip(rules, rows, strict=True)}
        if len(clear) > 1:
            self._quiet = sum(clear.values()) / 2
        else:
            self._quiet = rows[0].clear + (rows[0].clear - firsts[0]) * 2
        self._spread = 0.05 * min(abs(loud - self._quiet) for loud in self._loud)
        self._middle, self._left, self._values = self._quiet, 0, [self._quiet]

    def next(self, metric: str, asset: str, now: Ms) -> Observed:
        """A minute."""
        dice = self._dice
        if self._left == 0 and dice.random() < len(self._loud) / LOUD_EVERY:
            self._left = dice.randrange(5, 60) if not self._settles else SETTLED // MINUTE
            self._middle = dice.choice(self._loud)
        self._left = max(0, self._left - 1)
        if not self._settles or now % SETTLED == 0:
            middle, many = self._middle if self._left else self._quiet, 1 if self._settles else 3
            self._values = [middle + dice.gauss(0, self._spread) for _ in range(many)]
        values = self._values
        return Observed(
            metric=metric, asset=asset, value=values[0], low=min(values), high=max(values),
            floor_musd=500.0, lower_bound=self._bound,
            settled_at=now // SETTLED * SETTLED if self._settles else None,
            interval_ms=SETTLED if self._settles else None,
        )  # fmt: skip


def day(settings: Settings, folder: Path, assets: int, seed: int) -> Path:
    """One day of all metrics of the rules, and of those that they ask, as the rules role writes
    it."""
    dice = random.Random(seed)
    listed = list(settings.tiers.listed)
    names = [*listed, *(f"A{n:04d}" for n in range(assets - len(listed)))]
    watching: dict[tuple[str, str], list[Rule]] = {}
    asked: dict[tuple[str, str], float] = {}
    for rule in settings.rules:
        for asset in ["ALL"] if rule.scope == "market" else names:
            if rule.row_of(asset) is not None:
                watching.setdefault((rule.metric, asset), []).append(rule)
                asked |= {(when.metric, asset): abs(when.threshold) for when in rule.when}
                if (cause := cause_asked_by(rule)) is not None:
                    asked[cause.name, asset] = 0.0
    walks = {
        (metric, asset): Walk(rules, [row for r in rules if (row := r.row_of(asset))], dice)
        for (metric, asset), rules in watching.items()
    }
    asked = {place: usual for place, usual in asked.items() if place not in walks}
    log = MetricLog(folder, 2**40, 2**40)
    for n in range(DAY_MINUTES):
        now = START + n * MINUTE
        rows = [Observed(metric="price", asset=name, value=100 + dice.random()) for name in names]
        rows += [walk.next(metric, asset, now) for (metric, asset), walk in walks.items()]
        for (metric, asset), usual in asked.items():
            value = dice.gauss(0, usual) if usual else float(dice.randrange(len(CAUSES)))
            rows.append(Observed(metric=metric, asset=asset, value=value, low=value, high=value))
        log.write(now, rows)
    [path] = folder.iterdir()
    return path


def measure(folder: Path, assets: int, days: int) -> dict[str, float]:
    """Seconds and peak megabytes of a process that goes through the logs; the size of a day."""
    settings = load(ROOT / "config.toml", {})
    day_logs = [
        day(settings, _made(folder, f"{assets}.{seed}"), assets, seed) for seed in range(MADE)
    ]
    logs = folder / f"logs{assets}"
    logs.mkdir()
    for n in range(days):
        shifted(day_logs[n % MADE], logs, n)
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench_backtest", str(logs)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    figures: dict[str, float] = json.loads(done.stdout)
    return figures | {"day_kb": day_logs[0].stat().st_size / 1000}


def shifted(path: Path, folder: Path, days: int) -> None:
    """A copy of a day, as another day."""
    from datetime import UTC, datetime

    from bot.metriclog import BLOCK, MAGIC, SUFFIX, blocks

    parts = [MAGIC]
    with path.open("rb") as file:
        for block in blocks(file):
            kind, size, crc, _ = BLOCK.unpack(_head(block.data, block.kind))
            parts += [BLOCK.pack(kind, size, crc, block.minute + days * DAY_MINUTES), block.data]
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
        few_assets = measure(folder / _sub(folder, "a"), ASSETS, YEAR // 20)
        many_assets = measure(folder / _sub(folder, "b"), 10 * ASSETS, YEAR // 20)
    return {
        "backtest_year_s": round(year["seconds"], 1),
        "backtest_rss_mb": round(year["rss_mb"]),
        "backtest_alerts": year["alerts"],
        "backtest_day_kb": round(year["day_kb"]),
        "backtest_10x_assets": round(many_assets["seconds"] / few_assets["seconds"], 1),
    }


def _sub(folder: Path, name: str) -> str:
    (folder / name).mkdir()
    return name


def _inside(logs: Path) -> None:
    from bot.backtest.sources import Sources

    settings = load(ROOT / "config.toml", {})
    began = time.process_time()
    sources = Sources([logs], settings, [])
    _, [outcome] = run(sources, [settings])
    seconds = time.process_time() - began
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({
        "seconds": seconds, "rss_mb": int(peak.split()[1]) / 1024, "alerts": len(outcome.alerts),
    }))  # fmt: skip


if __name__ == "__main__":
    _inside(Path(sys.argv[1]))
