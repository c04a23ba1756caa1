"""Part of the demo's story as a recording of its own, quick to play."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import msgspec

from bot.demo.play import STORY
from streams.durations import MINUTE
from streams.feed.recording import Recorded, RecordingWriter, read


@cache
def _whole() -> tuple[Recorded, ...]:
    return tuple(read(STORY))


def cut(path: Path, first_min: float, last_min: float, wanted: Callable[[Recorded], bool]) -> Path:
    """What venues were asked for before, and the ``wanted`` frames of these minutes."""
    records = _whole()
    start = records[0].t + int(first_min * MINUTE)
    until = records[0].t + int(last_min * MINUTE)
    with RecordingWriter(path) as writer:
        for record in records:
            early = record.t < start and (record.channel.startswith("http:") or record.opens)
            if early and wanted(record):
                writer.write(msgspec.structs.replace(record, t=start))
        for record in records:
            if start <= record.t < until and wanted(record):
                writer.write(record)
    return path
