"""Recorded frames → the series that the metric log would have had."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bot.backtest.logfile import read_day
from bot.backtest.series import Chunk, Notes, Place, Series, merged
from bot.config import Settings
from bot.metriclog import MetricLog
from bot.replay import Replay
from rules.engine import Engine
from streams.events import Tick

_ALL_OF_IT = 2**40


def observed(paths: Sequence[Path], settings: Settings) -> dict[Place, Series]:
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
            merged(found, read_day(day, Notes()).series)
    return found.series
