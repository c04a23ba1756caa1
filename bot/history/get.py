"""``lowtide history get``: what public archives offer of some assets → the data directory."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bot.config import Settings
from bot.history.download import Archive, ArchiveStopped, Fetched, NotFetched
from bot.history.files import ArchiveData, ArchiveFile, files_of
from streams.durations import DAY
from streams.events import Ms

DATA = (ArchiveData.METRICS, ArchiveData.DEPTH, ArchiveData.FUNDING, ArchiveData.KLINES)
"""What is got if nothing else is asked for."""

DAYS = 90
"""So far back if no beginning is named."""

_AT_ONCE = 4
_SHOWN = 20
_ASSET = re.compile(r"[A-Z0-9]{1,30}")


class HistoryWanted(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for. ``assets`` empty: those that the configuration names. ``start``, ``end``:
    Ms; None: ``DAYS`` back, and until now."""

    assets: frozenset[str] = frozenset()
    start: Ms | None = None
    end: Ms | None = None
    data: tuple[ArchiveData, ...] = DATA


class HistoryGot(msgspec.Struct, kw_only=True):
    """What came of it. ``failed``: sentences; ``stopped``: why the rest was not tried, or ""."""

    counts: Counter[Fetched] = msgspec.field(default_factory=Counter[Fetched])
    changed: list[str] = msgspec.field(default_factory=list[str])
    failed: list[str] = msgspec.field(default_factory=list[str])
    absent: Counter[str] = msgspec.field(default_factory=Counter[str])
    came: int = 0
    stopped: str = ""

    @property
    def done(self) -> bool:
        return not self.failed and not self.stopped


def folder_of(settings: Settings) -> Path:
    """Where the files of archives are."""
    return settings.data_dir / "history"


async def fetch_history(
    settings: Settings,
    wanted: HistoryWanted,
    now: Ms,
    progress: Callable[[float], None] | None = None,
) -> HistoryGot:
    """Gets it, and goes on with what an earlier run left undone. Raises ValueError in a sentence
    for what cannot be asked for."""
    start, end = _span(wanted, now)
    assets = _assets(settings, wanted)
    got, done = HistoryGot(), 0
    async with Archive(settings.history_url, folder_of(settings), settings.proxies) as archive:
        try:
            symbols = [await _symbol(archive, asset, end) for asset in assets]
        except ArchiveStopped as error:
            got.stopped = str(error)
            return got
        files = _files(wanted.data, symbols, start, end)
        queue = iter(files)

        async def worker() -> None:
            nonlocal done
            for ways in queue:
                if got.stopped:
                    return
                await _fetch(archive, ways, got)
                done += 1
                if progress:
                    progress(done / len(files))

        await asyncio.gather(*(worker() for _ in range(_AT_ONCE)))
        got.came = archive.came
    return got


def _span(wanted: HistoryWanted, now: Ms) -> tuple[Ms, Ms]:
    end = now if wanted.end is None else min(wanted.end, now)
    start = wanted.start if wanted.start is not None else end - DAYS * DAY
    if start >= end:
        raise ValueError("there is nothing between --from and --to")
    return start, end


def _assets(settings: Settings, wanted: HistoryWanted) -> list[str]:
    assets = sorted(wanted.assets or settings.tiers.listed)
    for asset in assets:
        if not _ASSET.fullmatch(asset):
            raise ValueError(f"{asset!r} is no name of an asset, such as BTC")
    if not assets:
        raise ValueError("the configuration names no assets: name some, such as --assets BTC,ETH")
    return assets


async def _symbol(archive: Archive, asset: str, end: Ms) -> str:
    """The contract of an asset, which may count a thousand coins as one: that of which there is a
    recent file, or else the usual one. Raises ArchiveStopped."""
    names = [f"{count}{asset}USDT" for count in ("", "1000", "1000000")]
    for name in names:
        [[file]] = files_of(ArchiveData.METRICS, name, end - 2 * DAY, end - 2 * DAY + 1)
        try:
            if await archive.offers(file):
                return name
        except NotFetched:
            return name
    return names[0]


def _files(
    data: Sequence[ArchiveData], symbols: Sequence[str], start: Ms, end: Ms
) -> list[tuple[ArchiveFile, ...]]:
    """Day by day, all assets of a day together, so that what there is after a while is of all."""
    every = [
        ways for kind in data for symbol in symbols for ways in files_of(kind, symbol, start, end)
    ]
    return sorted(every, key=lambda ways: ways[0].start)


async def _fetch(archive: Archive, ways: Sequence[ArchiveFile], got: HistoryGot) -> None:
    """A file; where it is a month that is not there, its days."""
    first, *days = ways
    try:
        fetched = await archive.fetch(first)
        if fetched is Fetched.ABSENT and days:
            for day in days:
                _note(got, day, await archive.fetch(day))
            return
        _note(got, first, fetched)
    except NotFetched as error:
        got.failed.append(str(error))
    except ArchiveStopped as error:
        got.stopped = got.stopped or str(error)


def _note(got: HistoryGot, file: ArchiveFile, fetched: Fetched) -> None:
    got.counts[fetched] += 1
    if fetched is Fetched.CHANGED:
        got.changed.append(file.name)
    if fetched is Fetched.ABSENT:
        got.absent["/".join(file.path.split("/")[4:6])] += 1


def outcome(got: HistoryGot, folder: Path) -> str:
    """What came of it, for the terminal."""
    counts = got.counts
    lines = [
        f"{counts[Fetched.NEW]:,} files came, {counts[Fetched.KEPT]:,} were here already,"
        f" {counts[Fetched.CHANGED]:,} had changed and were got again,"
        f" {counts[Fetched.ABSENT]:,} are not in the archive; {got.came / 1e6:,.1f} MB"
    ]
    lines += _some("changed in the archive, and got again: ", sorted(got.changed))
    lines += [
        f"not in the archive: {count:,} of {place}" for place, count in sorted(got.absent.items())
    ]
    lines += _some("", got.failed)
    if got.stopped:
        lines.append(got.stopped)
    if counts[Fetched.NEW] + counts[Fetched.KEPT] + counts[Fetched.CHANGED]:
        lines.append(f"What they would have been worth: lowtide backtest {folder}")
    return "\n".join(lines)


def _some(head: str, sentences: Sequence[str]) -> Iterator[str]:
    yield from (f"{head}{sentence}" for sentence in sentences[:_SHOWN])
    if len(sentences) > _SHOWN:
        yield f"… and {len(sentences) - _SHOWN:,} more"


def now_ms() -> Ms:
    """The present moment."""
    return round(datetime.now(UTC).timestamp() * 1000)
