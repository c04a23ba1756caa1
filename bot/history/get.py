"""``lowtide history get``: what public archives offer of some assets → the data directory."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bot.config import Settings
from bot.history.download import Archive, ArchiveStopped, Fetched, NotFetched
from bot.history.files import ArchiveData, ArchiveFile, files_of
from bot.history.recent import (
    FUNDING,
    OPEN_INTEREST,
    REACH,
    funding_rows,
    open_interest_rows,
    recent_file,
    write_rows,
)
from streams.durations import DAY, HOUR
from streams.events import Ms
from streams.feed.rest import Rest, Unavailable
from streams.venues import VENUES
from streams.venues.wire import coin_of

VENUE = "binance"

DATA = (ArchiveData.METRICS, ArchiveData.DEPTH, ArchiveData.FUNDING, ArchiveData.KLINES)
"""What is got if nothing else is asked for."""

DAYS = 90
"""So far back if no beginning is named."""

_AT_ONCE = 4
_SHOWN = 20
_ASSET = re.compile(r"[A-Z0-9]{1,30}")


class HistoryWanted(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for."""

    assets: frozenset[str] = frozenset()
    """Empty: those that the configuration names."""
    start: Ms | None = None
    """Ms; None: ``DAYS`` back."""
    end: Ms | None = None
    """Ms; None: until now."""
    data: tuple[ArchiveData, ...] = DATA


class HistoryGot(msgspec.Struct, kw_only=True):
    """What was got."""

    counts: Counter[Fetched] = msgspec.field(default_factory=Counter[Fetched])
    """What came of each file."""
    changed: list[str] = msgspec.field(default_factory=list[str])
    failed: list[str] = msgspec.field(default_factory=list[str])
    """A sentence for each file that could not be got."""
    absent: Counter[str] = msgspec.field(default_factory=Counter[str])
    came: int = 0
    """Bytes."""
    recent: int = 0
    """Rows from the venue itself."""
    stopped: str = ""
    """Why the rest was not tried, "": all was."""

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
    if not got.stopped:
        contracts = dict(zip(assets, symbols, strict=True))
        await _add_recent(settings, wanted.data, contracts, (start, end), now, got)
    return got


async def _add_recent(
    settings: Settings,
    data: Sequence[ArchiveData],
    contracts: Mapping[str, str],
    span: tuple[Ms, Ms],
    now: Ms,
    got: HistoryGot,
) -> None:
    """The last days, which the archive does not have yet, from the venue itself."""
    folder, spec = folder_of(settings), VENUES[VENUE].SPEC
    place = next((venue for venue in settings.venues if venue.name == VENUE), None)
    base = (place.rest if place else None) or spec.rest
    clock: Callable[[], Ms] = lambda: round(time.monotonic() * 1000)  # noqa: E731
    async with Rest(spec, base, clock, proxies=settings.proxies) as rest:
        for asset, symbol in contracts.items():
            _, per_unit = coin_of(symbol.removesuffix("USDT"))
            try:
                for what, kind in (
                    (OPEN_INTEREST, ArchiveData.METRICS), (FUNDING, ArchiveData.FUNDING)
                ):  # fmt: skip
                    since = _first_missing(folder, kind, symbol, max(span[0], now - REACH), span[1])
                    if kind not in data or since is None:
                        continue
                    rows = (
                        await open_interest_rows(rest, symbol, asset, per_unit, since, span[1])
                        if what == OPEN_INTEREST
                        else await funding_rows(rest, symbol, asset, since, span[1])
                    )
                    if rows:
                        write_rows(recent_file(folder, asset, what), what, rows)
                        got.recent += len(rows)
            except Unavailable as error:
                got.failed.append(
                    f"{symbol}: the last days, from {base}: {error}; run it again to get them"
                )
                return
            except OSError as error:
                got.stopped = (
                    f"cannot write into {folder}: {error.strerror or error}. What is complete"
                    " stays; make room, or mend it, and run it again"
                )
                return


def _first_missing(folder: Path, kind: ArchiveData, symbol: str, start: Ms, end: Ms) -> Ms | None:
    """From when on the archive's files are not all here, and a day and an hour before it, since
    windows need their beginning from the same source; None if they are."""
    for [file, *_] in files_of(kind, symbol, start, end) if start < end else ():
        if not (folder / file.path).is_file():
            return max(start, file.start - DAY - HOUR)
    return None


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
    if got.recent:
        lines.append(f"{got.recent:,} rows of the last days came from the venue itself")
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
