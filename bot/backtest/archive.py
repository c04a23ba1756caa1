"""Files of public archives → rows of a venue, a file at a time.

Binance's archive of USDⓈ-M perpetuals: open interest each 5 minutes (``metrics``), depth
(``bookDepth``), settled funding (``fundingRate``), bars of trades or of the mark price. A row
counts from the moment at which one could have known it: the end of its interval, never its
beginning.

Survived: rows in any order or twice, files without a header, microseconds, exponents, empty fields
in quotes, times that are some seconds off. A file that is damaged or not what its name says is left
out and noted; the others are read.
"""

import csv
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from io import TextIOWrapper
from math import isfinite, nan
from pathlib import Path
from typing import TextIO
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from bot.backtest.csvfile import BadFile
from bot.backtest.rows import EARLIEST, LATEST, MARKS, Numbers, RowForm, RowPart, Rows, united
from bot.backtest.series import Notes, Times
from bot.history.files import DAMAGED, QUOTES, ArchiveName, archive_name, only_member
from streams.events import Ms
from streams.venues.wire import coin_of

VENUE, SPOT = "binance", "binance-spot"

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "metrics": (
        "create_time", "symbol", "sum_open_interest", "sum_open_interest_value",
        "count_toptrader_long_short_ratio", "sum_toptrader_long_short_ratio",
        "count_long_short_ratio", "sum_taker_long_short_vol_ratio",
    ),
    "bookDepth": ("timestamp", "percentage", "depth", "notional"),
    "fundingRate": ("calc_time", "funding_interval_hours", "last_funding_rate"),
    "klines": (
        "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume",
        "count", "taker_buy_volume", "taker_buy_quote_volume", "ignore",
    ),
}  # fmt: skip
"""In the order in which they stand in files without a header; what is content of no other name is
bars."""

_FORMS: Mapping[str, RowForm] = {
    "metrics": RowForm.OPEN_INTEREST,
    "bookDepth": RowForm.DEPTH,
    "fundingRate": RowForm.FUNDING_SETTLED,
    "klines": RowForm.PRICE_BARS,
}
_FIVE_MINUTES: Ms = 300_000
_DEPTH_STEP: Ms = 60_000
"""Samples come about every 30 s, some after 60 s."""

_LATE: Ms = 3_600_000
"""The last rows of a file may be known shortly after its day."""

_FROZEN = 3
"""So often the same to the last digit: the side stands still, and says nothing."""

_MICROSECONDS = 10**14
"""Times from here on are not in ms: files of spot markets since 2025."""


class ArchiveFiles:
    """Any number of such files as a source of rows. Only the names are looked at before a file is
    needed, and no file is kept. Raises ValueError in a sentence for a file with another name."""

    def __init__(self, files: Sequence[Path], notes: Notes) -> None:
        self._notes = notes
        self._files: dict[tuple[RowForm, str], list[tuple[ArchiveName, Path]]] = {}
        for path in files:
            name = named(path)
            if name is None:
                raise ValueError(
                    f"{path}: the name of an archive file says what it is of, such as"
                    " BTCUSDT-metrics-2026-09-30.zip"
                )
            if why := _not_watched(name):
                notes.add(f"{name.symbol}: {why}; left out")
                continue
            asset, _ = coin_of(_base(name.symbol))
            self._files.setdefault((_FORMS[_kind(name)], asset), []).append((name, path))

    def span(self) -> tuple[Ms, Ms] | None:
        """From the beginning of the first file's day to the end of the last one's."""
        names = [name for files in self._files.values() for name, _ in files]
        if not names:
            return None
        return min(name.start for name in names), max(name.end for name in names)

    def assets(self) -> Collection[str]:
        return dict.fromkeys(asset for _, asset in self._files).keys()

    def venues(self) -> Collection[str]:
        return (VENUE, SPOT) if self._files else ()

    def parts(self, form: RowForm, asset: str, start: Ms, end: Ms) -> Sequence[RowPart]:
        # of each file only what is asked for is kept, so a piece of time is all that is held
        same: dict[tuple[str, str], list[RowPart]] = {}
        for name, path in self._files.get((form, asset), ()):
            if name.start < end and name.end + _LATE > start:
                for part in self._read(path, name):
                    cut = part._replace(rows=part.rows.between(start, end))
                    if len(cut.rows.at):
                        same.setdefault((part.venue, part.scope), []).append(cut)
        return [parts[0]._replace(rows=united(parts)) for parts in same.values()]

    def _read(self, path: Path, name: ArchiveName) -> Sequence[RowPart]:
        try:
            with opened(path) as file:
                return read_archive(file, name, str(path), self._notes)
        except BadFile as error:
            self._notes.add(f"{error}; left out")
            return ()


def named(path: Path) -> ArchiveName | None:
    """What the name of a file says, or of the one in it if it was renamed."""
    name = archive_name(path.name)
    if name is None and path.suffix == ".zip":
        try:
            with ZipFile(path) as archive:
                return archive_name(only_member(archive).filename)
        except (*DAMAGED, ValueError):
            return None
    return name


def is_archive(path: Path) -> bool:
    """Whether a file is read here."""
    return path.suffix == ".zip" or (path.suffix == ".csv" and archive_name(path.name) is not None)


@contextmanager
def opened(path: Path) -> Generator[TextIO]:
    """The CSV file, plain or the one in a zip. BadFile in a sentence if it cannot be read whole."""
    try:
        if path.suffix != ".zip":
            with path.open(encoding="utf-8-sig", newline="") as file:
                yield file
            return
        with ZipFile(path) as archive:
            member = only_member(archive)
            with archive.open(member) as file:
                yield TextIOWrapper(file, encoding="utf-8-sig", newline="")
    except BadFile:
        raise
    except DAMAGED as error:
        raise BadFile(f"{path}: is damaged: get it again") from error
    except UnicodeDecodeError as error:
        raise BadFile(f"{path}: is no text") from error
    except ValueError as error:
        raise BadFile(f"{path}: {error}") from error


def read_archive(file: TextIO, name: ArchiveName, path: str, notes: Notes) -> Sequence[RowPart]:
    """The rows of one file. BadFile in a sentence, with ``path`` and line, if it is not what its
    name says."""
    lines = _Lines(file, _kind(name), path)
    base, per_unit = coin_of(_base(name.symbol))
    parts = {
        "metrics": _metrics, "bookDepth": _depth, "fundingRate": _funding, "klines": _bars,
    }[_kind(name)](lines, name, per_unit)  # fmt: skip
    if lines.contradictions:
        notes.add(
            f"{path}: {lines.contradictions} rows say otherwise than one of the same time: which is"
            " right cannot be known, and all of them are left out"
        )
    return [part._replace(asset=base) for part in parts]


class _Lines:
    """The rows of a file, each once; ``contradictions``: how many were left out."""

    def __init__(self, file: TextIO, kind: str, path: str) -> None:
        self.contradictions = 0
        self._path = path
        self._line = 0
        self._reader = csv.reader(file, strict=True)
        self._columns = _COLUMNS[kind]

    def rows(self, *wanted: str) -> Iterator[tuple[str, ...]]:
        """The cells of these columns. BadFile if one is missing, or a row is too short."""
        try:
            places, width = list[int](), 0
            for cells in self._reader:
                self._line += 1
                if self._line == 1:
                    named = not _is_number(cells)
                    header = [cell.strip() for cell in cells] if named else list(self._columns)
                    if missing := [name for name in wanted if name not in header]:
                        raise self.bad(f"has no column {missing[0]}: the file is another one")
                    width = len(header)
                    places = [header.index(name) for name in wanted]
                    if named:
                        continue
                if len(cells) != width:
                    raise self.bad(f"has {len(cells)} fields where {width} were expected")
                yield tuple(cells[place].strip() for place in places)
        except csv.Error as error:
            raise self.bad(f"cannot be read as CSV: {error}") from error
        if not self._line:
            raise self.bad("is empty")

    def once(self, wanted: Sequence[str], key: int) -> Iterator[tuple[str, ...]]:
        """The rows, each once: equal ones count once, and those that contradict each other (the
        first ``key`` cells are the same and others are not) not at all."""
        first: dict[tuple[str, ...], tuple[str, ...]] = {}
        wrong: dict[tuple[str, ...], int] = {}
        for row in self.rows(*wanted):
            before = first.setdefault(row[:key], row)
            if before != row:
                wrong[row[:key]] = wrong.get(row[:key], 1) + 1
        self.contradictions = sum(wrong.values())
        return (row for place, row in first.items() if place not in wrong)

    def number(self, text: str, what: str) -> float:
        """NaN for an empty cell."""
        if not text:
            return nan
        try:
            x = float(text)
        except ValueError:
            raise self.bad(f"{what} {_short(text)} is not a number") from None
        if not isfinite(x):
            raise self.bad(f"{what} is {_short(text)}")
        return x

    def bad(self, text: str) -> BadFile:
        """A sentence about the line that was read last."""
        return BadFile(f"{self._path}, line {max(self._line, 1)}: {text}")


def _metrics(lines: _Lines, name: ArchiveName, per_unit: float) -> Sequence[RowPart]:
    """Open interest in coins, at the end of each 5 minutes."""
    wanted = ("create_time", "symbol", "sum_open_interest", "sum_open_interest_value")
    at: list[Ms] = []
    base: list[float] = []
    usd: list[float] = []
    for time, symbol, coins, value in lines.once(wanted, 2):
        if symbol != name.symbol:
            raise lines.bad(f"holds rows of {_short(symbol)}, and its name says {name.symbol}")
        at.append(_moment(lines, time))
        base.append(lines.number(coins, "sum_open_interest") * per_unit)
        usd.append(lines.number(value, "sum_open_interest_value"))
    numbers = {"oi_base": _not_negative(lines, base), "oi_usd": _not_negative(lines, usd)}
    return _part(RowForm.OPEN_INTEREST, VENUE, "futures", at, _FIVE_MINUTES, numbers)


def _funding(lines: _Lines, name: ArchiveName, per_unit: float) -> Sequence[RowPart]:
    """The rate that was charged, from the moment of the settlement."""
    wanted = ("calc_time", "funding_interval_hours", "last_funding_rate")
    at: list[Ms] = []
    hours: list[float] = []
    rates: list[float] = []
    for time, interval, rate in lines.once(wanted, 1):
        h, x = lines.number(interval, "funding_interval_hours"), lines.number(rate, "rate")
        if not 0 < h <= 24 or abs(x) > 1:
            raise lines.bad(f"has a rate of {rate} each {interval} h, which cannot be")
        at.append(_ms(lines, time))
        hours.append(h)
        rates.append(x)
    numbers = {"rate": np.array(rates), "interval_h": np.array(hours)}
    return _part(RowForm.FUNDING_SETTLED, VENUE, "", at, _FIVE_MINUTES, numbers)


def _bars(lines: _Lines, name: ArchiveName, per_unit: float) -> Sequence[RowPart]:
    """Prices in bars, each from its end. Where nothing was traded though prices were counted, they
    are mark prices, whatever the file is called."""
    wanted = ("open_time", "close_time", "open", "high", "low", "close", "volume", "count")
    at: list[Ms] = []
    step: list[Ms] = []
    prices: list[tuple[float, float, float, float]] = []
    volumes: list[float] = []
    counted = 0.0
    venue = VENUE
    for opened_at, closed_at, *texts, volume, count in lines.once(wanted, 1):
        if int(opened_at if opened_at.isascii() and opened_at.isdigit() else 0) >= _MICROSECONDS:
            venue = SPOT
        begins, ends = _ms(lines, opened_at), _ms(lines, closed_at) + 1
        bar = [lines.number(text, "a price") / per_unit for text in texts]
        first, high, low, last = bar
        if not 0 < low <= min(first, last) <= max(first, last) <= high or ends <= begins:
            raise lines.bad(f"has a bar of {', '.join(map(_short, texts))}, which cannot be")
        at.append(ends)
        step.append(ends - begins)
        prices.append((first, high, low, last))
        volumes.append(lines.number(volume, "volume") * per_unit)
        counted += lines.number(count, "count")
    marks = bool(volumes) and not any(volumes) and counted > 0
    columns = np.array(prices, np.float64).reshape(-1, 4)
    numbers = {key: columns[:, n].copy() for n, key in enumerate(("open", "high", "low", "close"))}
    numbers["volume_base"] = np.full(len(at), np.nan) if marks else np.array(volumes)
    scope = MARKS if marks else "trades"
    return _part(RowForm.PRICE_BARS, venue, scope, at, np.array(step, np.int64), numbers)


def _depth(lines: _Lines, name: ArchiveName, per_unit: float) -> Sequence[RowPart]:
    """Both sides of each band. A side that stands still, or whose orders lie beyond those of the
    other side, is unknown."""
    wanted = ("timestamp", "percentage", "depth", "notional")
    bands: dict[int, dict[Ms, list[float]]] = {}
    for time, percentage, coins, notional in lines.once(wanted, 2):
        pct = lines.number(percentage, "percentage")
        band = round(abs(pct) * 100)
        if not 1 <= band <= 5_000 or band != round(abs(pct) * 100, 6):
            raise lines.bad(f"has a band of {_short(percentage)} %, which cannot be")
        cells = bands.setdefault(band, {}).setdefault(_moment(lines, time), [nan] * 4)
        side = 0 if pct < 0 else 2
        cells[side] = lines.number(notional, "notional")
        cells[side + 1] = lines.number(coins, "depth")
    parts: list[RowPart] = []
    for band, samples in sorted(bands.items()):
        at = sorted(samples)
        columns = np.array([samples[t] for t in at])
        bids, asks = columns[:, 0].copy(), columns[:, 2].copy()
        _not_negative(lines, bids)
        _not_negative(lines, asks)
        with np.errstate(divide="ignore", invalid="ignore"):
            beyond = columns[:, 0] / columns[:, 1] >= columns[:, 2] / columns[:, 3]
        bids[beyond | _stands_still(columns[:, 0])] = np.nan
        asks[beyond | _stands_still(columns[:, 2])] = np.nan
        numbers = {"band_bp": np.full(len(at), float(band)), "bid_usd": bids, "ask_usd": asks}
        parts += _part(RowForm.DEPTH, VENUE, f"{band} bp", at, _DEPTH_STEP, numbers)
    return parts


def _stands_still(usd: Numbers) -> NDArray[np.bool_]:
    """Whether a value is the last of ``_FROZEN`` that are equal and not zero."""
    still = np.zeros(len(usd), np.bool_)
    if len(usd) >= _FROZEN:
        same = (usd[1:] == usd[:-1]) & (usd[1:] > 0)
        still[_FROZEN - 1 :] = np.lib.stride_tricks.sliding_window_view(same, _FROZEN - 1).all(1)
    return still


def _part(
    form: RowForm,
    venue: str,
    scope: str,
    at: Sequence[Ms],
    step: Ms | Times,
    numbers: dict[str, Numbers],
) -> Sequence[RowPart]:
    """The rows in order of time; the asset is filled in by whoever knows it."""
    if not at:
        return ()
    times = np.array(at, np.int64)
    steps = np.full(len(times), step, np.int64) if isinstance(step, int) else step
    part = RowPart(form, venue, "", scope, Rows(times, steps, numbers))
    return (part._replace(rows=united([part])),)


def _not_negative(lines: _Lines, values: Sequence[float] | Numbers) -> Numbers:
    column = np.asarray(values, np.float64)
    if (column < 0).any():
        raise lines.bad("holds a negative size")
    return column


def _moment(lines: _Lines, text: str) -> Ms:
    """``2026-09-30 02:30:00``, UTC."""
    try:
        return _parsed(text)
    except ValueError:
        raise lines.bad(f"has the time {_short(text)}, which is none") from None


@lru_cache(maxsize=16)
def _parsed(text: str) -> Ms:
    at = datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    return _in_range(round(at.timestamp() * 1000))


def _ms(lines: _Lines, text: str) -> Ms:
    """A time in ms, or in microseconds."""
    try:
        at = int(text) if len(text) <= 20 else -1
        return _in_range(at // 1000 if at >= _MICROSECONDS else at)
    except ValueError:
        raise lines.bad(f"has the time {_short(text)}, which is none") from None


def _in_range(at: Ms) -> Ms:
    if not EARLIEST <= at < LATEST:
        raise ValueError("a time out of range")
    return at


def _is_number(cells: Sequence[str]) -> bool:
    """Whether a line is one of data: its first cell begins with a digit."""
    return bool(cells) and cells[0].strip()[:1].isdigit()


def _kind(name: ArchiveName) -> str:
    return name.content if name.content in _COLUMNS else "klines"


def _not_watched(name: ArchiveName) -> str:
    """Why a contract or its data are none that Lowtide watches, "" if they are."""
    if name.content == "liquidationSnapshot":
        return (
            "liquidations are in the archive for coin-margined contracts only, and until October"
            " 2024, which is not what Lowtide counts"
        )
    if "_" in name.symbol:
        return (
            "a contract margined in coins or with a date of delivery, counted in contracts, which"
            " Lowtide does not watch"
        )
    return "" if _base(name.symbol) else "not in USDT or USDC, which Lowtide does not watch"


def _base(symbol: str) -> str:
    """``BTC`` of ``BTCUSDT``; "" if it is in none of the watched currencies."""
    quote = next((quote for quote in QUOTES if symbol.endswith(quote)), None)
    return symbol.removesuffix(quote) if quote else ""


def _short(text: str) -> str:
    return ascii(text if len(text) <= 30 else f"{text[:30]}…")
