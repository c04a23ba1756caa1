"""Whatever is given on the command line → pieces of time: metric logs, CSV, recorded frames.

Recorded frames → the series that the metric log would have had.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from bot.backtest import importers
from bot.backtest.importers import History, cut
from bot.backtest.logfile import read_day
from bot.backtest.series import Chunk, Notes, RecordedSeries, SeriesKey, add_series
from bot.config import Settings
from bot.metriclog import SUFFIX, MetricLog
from bot.replay import Replay
from rules.alerts import ALL
from rules.engine import Engine
from streams.durations import DAY
from streams.events import Ms, Tick

_ALL_OF_IT = 2**40


def observed(paths: Sequence[Path], settings: Settings) -> dict[SeriesKey, RecordedSeries]:
    """What the rules of ``settings`` see in these recordings, a row a minute.

    Raises OSError or ValueError for what cannot be read.
    """
    venues = [venue.name for venue in settings.venues]
    engine = Engine(settings.rules, venues, settings.composites)
    found = Chunk(0, 0, {})
    with TemporaryDirectory() as folder:
        log = MetricLog(Path(folder), _ALL_OF_IT, _ALL_OF_IT)
        for event in Replay(settings).events(paths):
            engine.feed(event)
            if isinstance(event, Tick) and log.due(event.seen):
                log.write(event.seen, engine.observed())
        for day in sorted(Path(folder).iterdir()):
            add_series(found, read_day(day, Notes()).series)
    return found.series


MONTH: Ms = 30 * DAY


class Sources:
    """All that was given, of ``assets`` only (none: all) and from ``start`` to before ``end``.

    CSV and recordings are read at once, and wholly or not at all; days of logs one after the other.
    Raises OSError or ValueError in a sentence for what cannot be read.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        settings: Settings,
        metrics: Sequence[str],
        start: Ms = 0,
        end: Ms = importers.LATEST,
        assets: frozenset[str] = frozenset(),
    ) -> None:
        self.notes = Notes()
        self._assets = assets and assets | {ALL}
        self._start, self._end = start, end
        files = [file for path in paths for file in _files(path)]
        self._days = sorted((f for f in files if f.suffix == SUFFIX), key=lambda file: file.name)
        tables = [importers.read(file, self.notes) for file in files if importers.is_csv(file)]
        frames = [f for f in files if f.suffix != SUFFIX and not importers.is_csv(f)]
        venues = [venue.name for venue in settings.venues]
        found = Chunk(0, 0, History(tables, venues).series(metrics, self.notes) if tables else {})
        if frames:
            self._merge(found, observed(frames, settings))
        self._series = found.series
        if self._days:
            self.notes.why.clear()
        elif not self._series:
            raise ValueError("nothing to read: none of these files holds values of a metric")

    def pieces(self, progress: Callable[[float], None] | None = None) -> Iterator[Chunk]:
        """One after the other; ``progress`` is told which share is done."""
        edges = self._edges()
        days = {file.name: file for file in self._days}
        for n, (start, end) in enumerate(pairwise(edges)):
            chunk = cut(self._series, start, end)
            for file in (days[name] for name in sorted(days) if _begins(name, start, end)):
                self._merge(chunk, self._only(read_day(file, self.notes), start, end))
            yield self._wanted(chunk)
            if progress:
                progress((n + 1) / (len(edges) - 1))

    def between(self, start: Ms, end: Ms) -> Chunk:
        """All that is known from ``start`` to before ``end``, read again."""
        chunk = cut(self._series, start, end)
        for file in (file for file in self._days if _begins(file.name, start, end)):
            self._merge(chunk, self._only(read_day(file, Notes()), start, end))
        return self._wanted(chunk)

    def _edges(self) -> list[Ms]:
        """The days of logs; between and without them a month each."""
        begins = [_day(file.name) for file in self._days]
        firsts = [int(one.at[0]) for one in self._series.values()]
        lasts = [int(one.at[-1]) for one in self._series.values()]
        first = max(min(firsts + begins), self._start)
        last = min(max(lasts + [day + DAY - 1 for day in begins]) + 1, self._end)
        if first >= last:
            raise ValueError("there is nothing between --from and --to")
        months = range(first // DAY * DAY, last, MONTH)
        inside = {edge for day in begins for edge in (day, day + DAY)} | set(months)
        return [first, *sorted(edge for edge in inside if first < edge < last), last]

    def _only(self, day: Chunk, start: Ms, end: Ms) -> dict[SeriesKey, RecordedSeries]:
        found = ((place, one.between(start, end)) for place, one in day.series.items())
        return {place: part for place, part in found if part is not None}

    def _merge(self, chunk: Chunk, series: dict[SeriesKey, RecordedSeries]) -> None:
        twice = add_series(chunk, series)
        text = "some values were given by several files: the first one counts"
        if twice and text not in self.notes.said:
            self.notes.said.append(text)

    def _wanted(self, chunk: Chunk) -> Chunk:
        if self._assets:
            some = {p: s for p, s in chunk.series.items() if p.asset in self._assets}
            chunk.series = some
        return chunk


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.exists():
            hint = f": assets are named as --assets BTC,{path}" if str(path).isupper() else ""
            raise ValueError(f"{path}: there is no such file{hint}")
        return [path]
    files = [f for f in sorted(path.iterdir()) if f.suffix == SUFFIX or importers.is_csv(f)]
    if not files:
        raise ValueError(f"{path}: there is no metric log and no CSV file in this folder")
    return files


def _day(name: str) -> Ms:
    try:
        when = datetime.strptime(name, f"%Y-%m-%d{SUFFIX}").replace(tzinfo=UTC)
    except ValueError:
        text = f"{name}: the name of a metric log is its day, such as 2026-10-03{SUFFIX}"
        raise ValueError(text) from None
    return round(when.timestamp() * 1000)


def _begins(name: str, start: Ms, end: Ms) -> bool:
    return start < _day(name) + DAY and _day(name) < end
