"""Metric logs for tests: written by the writer that the rules role uses, from simple numbers."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from bot.metriclog import MINUTE, MetricLog
from rules.standing import Observed
from streams.events import Ms

START: Ms = 1_790_985_600_000  # 3 Oct 2026 00:00 UTC
KEEP: Ms = 400 * 86_400_000

Row = Mapping[tuple[str, str], float | None]
"""(metric, asset) → value."""


def observed(row: Row) -> list[Observed]:
    return [
        Observed(metric=metric, asset=asset, value=x, low=x, high=x, floor_musd=1e6)
        for (metric, asset), x in row.items()
    ]


def write(folder: Path, rows: Iterable[Row], start: Ms = START) -> None:
    """A row a minute."""
    log = MetricLog(folder, KEEP, 1_000)
    for n, row in enumerate(rows):
        log.write(start + n * MINUTE, observed(row))
