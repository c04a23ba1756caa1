"""Metric logs for tests: written by the writer that the rules role uses, and judged again; and
what CSV files make."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bot.backtest import csvfile
from bot.backtest.csvfile import CsvRows, CsvTable
from bot.backtest.evaluate import Judged
from bot.backtest.history import History
from bot.backtest.logfile import read_day
from bot.backtest.rows import LATEST
from bot.backtest.series import Chunk, Notes, RecordedSeries, SeriesKey, add_series
from bot.config import Settings
from bot.metriclog import MetricLog
from rules.alerts import Alert, Turn
from rules.snapshot import Observed
from streams.durations import MINUTE
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


class Step(NamedTuple):
    """A level that was reached, or an end (0), in the minute that ``row`` closes."""

    row: int
    level: int


def backtested(settings: Settings, days: list[Path]) -> list[Alert]:
    judged = Judged(settings.rules, settings.composites)
    return [alert for day in days for alert in judged.take(read_day(day, Notes()))]


def steps(alerts: list[Alert]) -> dict[tuple[str, str], list[Step]]:
    """By rule and asset; of each minute the last step, "worse" left out."""
    by_key: dict[tuple[str, str], dict[int, Step]] = {}
    for a in alerts:
        if a.turn is not Turn.WORSE:
            row = -(-a.seen // MINUTE)
            level = 0 if a.turn is Turn.CLOSE else int(a.level)
            by_key.setdefault((a.rule, a.asset), {})[row] = Step(row, level)
    return {key: list(rows.values()) for key, rows in by_key.items()}


def history_of(
    tables: Sequence[CsvTable],
    venues: Sequence[str],
    metrics: Sequence[str],
    falls: Mapping[str, Mapping[str, float]] | None = None,
) -> History:
    return History([CsvRows(tables)], venues, metrics, falls)


def series_of_tables(
    tables: Sequence[CsvTable],
    venues: Sequence[str],
    metrics: Sequence[str],
    falls: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[SeriesKey, RecordedSeries]:
    """All that these tables make, in one piece."""
    history, chunk = (
        history_of(tables, venues, metrics, falls),
        Chunk(0, 0, csvfile.ready_series(tables)),
    )
    for asset in history.assets(0, LATEST):
        add_series(chunk, history.read(asset, 0, LATEST))
    return chunk.series
