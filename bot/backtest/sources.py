"""Whatever is given on the command line → pieces of time: metric logs, CSV, files of public
archives, recorded frames.

Each kind of file is a ``SeriesSource``; those that hold rows of venues are a ``RowSource`` and
become series in ``bot/backtest/history.py``.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from bot.backtest import csvfile
from bot.backtest.archive import ArchiveFiles, is_archive
from bot.backtest.csvfile import CsvRows, CsvTable
from bot.backtest.history import History
from bot.backtest.logfile import MetricLogs, read_day
from bot.backtest.rows import EVERY_VENUE, LATEST, VenueChoice
from bot.backtest.series import Chunk, Notes, RecordedSeries, SeriesKey, add_series, cut, epoch_days
from bot.config import Settings
from bot.metriclog import SUFFIX, MetricLog
from bot.replay import Replay
from rules.alerts import ALL
from rules.engine import Engine
from streams.durations import DAY
from streams.events import Ms, Tick
from streams.venues import VENUES

_ALL_OF_IT = 2**40
_PIECE: Ms = 60 * DAY
"""Longer pieces take more memory, shorter ones look back more often."""


class SeriesSource(Protocol):
    """Recorded values, read by asset and time, so that memory grows with neither."""

    def span(self) -> tuple[Ms, Ms] | None:
        """When the first and the last row are known, None: there are none."""
        ...

    def edges(self) -> Collection[Ms]:
        """Where time is best cut."""
        ...

    def assets(self, start: Ms, end: Ms) -> Collection[str]:
        """What is known of in a piece of time, ALL for what is of the whole market."""
        ...

    def read(self, asset: str, start: Ms, end: Ms) -> dict[SeriesKey, RecordedSeries]:
        """The series of an asset, the rows from ``start`` to before ``end``."""
        ...


class SeriesInMemory:
    """Series that were read at once: those that CSV files hold as they are, and recordings."""

    def __init__(self, series: dict[SeriesKey, RecordedSeries]) -> None:
        self._by_asset: dict[str, dict[SeriesKey, RecordedSeries]] = {}
        for key, whole in series.items():
            self._by_asset.setdefault(key.asset, {})[key] = whole

    def span(self) -> tuple[Ms, Ms] | None:
        times = [whole.at for of_asset in self._by_asset.values() for whole in of_asset.values()]
        if not times:
            return None
        return min(int(at[0]) for at in times), max(int(at[-1]) for at in times)

    def edges(self) -> Collection[Ms]:
        return ()

    def assets(self, start: Ms, end: Ms) -> Collection[str]:
        return self._by_asset.keys()

    def read(self, asset: str, start: Ms, end: Ms) -> dict[SeriesKey, RecordedSeries]:
        return cut(self._by_asset.get(asset, {}), start, end).series


def observed(
    paths: Sequence[Path], settings: Settings, chosen: VenueChoice = EVERY_VENUE
) -> dict[SeriesKey, RecordedSeries]:
    """What the rules of ``settings`` see in these recordings of the venues ``chosen``, a row a
    minute.

    Raises OSError or ValueError for what cannot be read.
    """
    venues = [venue.name for venue in settings.venues if chosen.keeps(venue.name)]
    engine = Engine(settings.rules, venues, settings.composites)
    chunk = Chunk(0, 0, {})
    with TemporaryDirectory() as folder:
        log = MetricLog(Path(folder), _ALL_OF_IT, _ALL_OF_IT)
        for event in Replay(settings, [*filter(chosen.keeps, VENUES)]).events(paths):
            engine.feed(event)
            if isinstance(event, Tick) and log.due(event.seen):
                log.write(event.seen, engine.observed())
        for day in sorted(Path(folder).iterdir()):
            add_series(chunk, read_day(day, Notes()).series)
    return chunk.series


class Sources:
    """All that was given, of ``assets`` only (none: all) and from ``start`` to before ``end``.

    What several sources say of one moment is taken from the first: CSV files, then recordings, then
    metric logs. Raises OSError or ValueError in a sentence for what cannot be read.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        settings: Settings,
        metrics: Sequence[str],
        start: Ms = 0,
        end: Ms = LATEST,
        assets: frozenset[str] = frozenset(),
        chosen: VenueChoice = EVERY_VENUE,
    ) -> None:
        self.notes = Notes()
        self._wanted = assets and assets | {ALL}
        self._start, self._end = start, end
        files = [file for path in paths for file in _files(path)]
        logs = [file for file in files if file.suffix == SUFFIX]
        archives = ArchiveFiles([file for file in files if is_archive(file)], self.notes)
        tables = [csvfile.read(f, self.notes) for f in files if _is_table(f)]
        frames = [f for f in files if not _is_known(f)]
        venues = [venue.name for venue in settings.venues if chosen.keeps(venue.name)]
        rows = [CsvRows(tables), archives]
        if chosen:
            _check(chosen, {*(v for source in rows for v in source.venues())}, bool(frames))
            logs, tables = self._of_one_venue_alone(logs, tables)
        self._history = History(
            rows,
            venues,
            metrics,
            {rule.metric: rule.least_fall_pct for rule in settings.rules if rule.least_fall_pct},
            chosen,
        )
        self._logged = bool(logs)
        self._spoke: dict[str, dict[str, set[int]]] = {}
        self._sources: dict[str, SeriesSource] = {
            "CSV of a metric": SeriesInMemory(csvfile.ready_series(tables)),
            "": self._history,
            "recording": SeriesInMemory(observed(frames, settings, chosen) if frames else {}),
            "metric log": MetricLogs(logs, self.notes),
        }
        self._spans = [
            span for source in self._sources.values() if (span := source.span()) is not None
        ]
        if not self._spans:
            of = " by venue" if chosen else ""
            raise ValueError(f"nothing to read: none of these files holds values of a metric{of}")

    def _of_one_venue_alone(
        self, logs: list[Path], tables: list[CsvTable]
    ) -> tuple[list[Path], list[CsvTable]]:
        """What can be told apart by venue: values that several venues made together cannot."""
        apart = [table for table in tables if "venue" in table.names]
        if logs:
            self.notes.add(
                "metric logs are left out: their values are those of all venues together"
            )
        if len(apart) < len(tables):
            self.notes.add("CSV files that name no venue are left out")
        return [], apart

    @property
    def why(self) -> dict[str, str]:
        """Why metrics have no values, of what was read so far; of metric logs nobody knows."""
        return {} if self._logged else self._history.why()

    def names(self) -> list[str]:
        """All assets that the files are of, wanted or not."""
        first, last = min(first for first, _ in self._spans), max(last for _, last in self._spans)
        sources = self._sources.values()
        names = {asset for source in sources for asset in source.assets(first, last + 1)}
        return sorted(names - {ALL})

    def spoke(self) -> Mapping[str, Mapping[str, Collection[int]]]:
        """By metric, and by venue or kind of file that does not say which, the days (since the
        epoch) on which it took part in a value, of what was read so far."""
        names = [*self._history.spoke(), *self._spoke]
        return {
            name: {**self._history.spoke().get(name, {}), **self._spoke.get(name, {})}
            for name in names
        }

    def pieces(self, progress: Callable[[float], None] | None = None) -> Iterator[Chunk]:
        """Time in pieces, and of each piece one asset after the other.

        An asset that was met once is in all later pieces. ``progress`` hears which share is done.
        """
        edges, met = self._edges(), dict[str, None]()
        for n, (start, end) in enumerate(pairwise(edges)):
            met |= dict.fromkeys(self._assets(start, end))
            for m, asset in enumerate(met, start=1):
                yield self.between(asset, start, end)
                if progress:
                    progress((n + m / len(met)) / (len(edges) - 1))

    def between(self, asset: str, start: Ms, end: Ms) -> Chunk:
        """All that is known of an asset from ``start`` to before ``end``."""
        chunk = Chunk(start, end, {}, frozenset({asset}))
        for kind, source in self._sources.items():
            series = source.read(asset, start, end)
            if kind:
                self._note(kind, series, range(start // DAY, -(-end // DAY)))
            if add_series(chunk, series):
                self.notes.add("some values were given by several files: the first one counts")
        return chunk

    def _note(self, kind: str, series: Mapping[SeriesKey, RecordedSeries], days: range) -> None:
        """``days``: those that the series are of."""
        for place, values in series.items():
            who = place.instrument.partition("/")[0] or kind
            known = self._spoke.get(place.metric, {}).get(who, ())
            # of a metric log the first asset mostly tells all
            if not all(day in known for day in days) and values.live.any():
                spoke = self._spoke.setdefault(place.metric, {}).setdefault(who, set())
                spoke.update(epoch_days(values.at[values.live]))

    def _assets(self, start: Ms, end: Ms) -> list[str]:
        names = dict.fromkeys(
            a for source in self._sources.values() for a in source.assets(start, end)
        )
        return [name for name in names if not self._wanted or name in self._wanted]

    def _edges(self) -> list[Ms]:
        """Where sources are best cut, and each ``_PIECE``."""
        first = max(min(first for first, _ in self._spans), self._start)
        last = min(max(last for _, last in self._spans) + 1, self._end)
        if first >= last:
            raise ValueError("there is nothing between --from and --to")
        inside = set(range(first // DAY * DAY, last, _PIECE))
        inside.update(edge for source in self._sources.values() for edge in source.edges())
        return [first, *sorted(edge for edge in inside if first < edge < last), last]


def _check(chosen: VenueChoice, known: set[str], recorded: bool) -> None:
    """ValueError for a venue of which these files hold nothing."""
    known |= {*VENUES} if recorded else set()
    for name in sorted(chosen.only | chosen.without):
        if name not in known:
            has = ", ".join(sorted(known)) or "no venue by name"
            raise ValueError(f"these files have no rows of the venue {name}: they have {has}")
    if not any(map(chosen.keeps, known)):
        raise ValueError("no venue is left of those that these files have")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.exists():
            hint = f": assets are named as --assets BTC,{path}" if str(path).isupper() else ""
            raise ValueError(f"{path}: there is no such file{hint}")
        return [path]
    files = [f for f in sorted(path.rglob("*")) if _is_known(f) and f.is_file()]
    if not files:
        raise ValueError(f"{path}: there is no metric log, CSV or archive file in this folder")
    return files


def _is_table(path: Path) -> bool:
    return csvfile.is_csv(path) and not is_archive(path)


def _is_known(path: Path) -> bool:
    """Whether a file of a folder is read; one that is still being got begins with a dot."""
    known = path.suffix == SUFFIX or csvfile.is_csv(path) or is_archive(path)
    return known and not path.name.startswith(".")
