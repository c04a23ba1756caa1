"""What the archive does not have yet, by the REST API of Binance: 30 days of open interest each 5
minutes and of settled funding → CSV files of the documented forms, all of a file or nothing.

Facts of September 2026: more than 30 days back is refused; 500 rows an answer.
"""

import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import inf, isfinite
from pathlib import Path
from typing import TypeVar

import msgspec

from streams.durations import DAY, HOUR, MINUTE
from streams.events import Ms
from streams.feed.rest import Rest, Unavailable
from streams.venue import Request

REACH: Ms = 30 * DAY - HOUR
"""So far back it is asked: the venue refuses what its clock takes for the 31st day."""

OPEN_INTEREST, FUNDING = "open-interest", "funding"
_HEADS = {
    OPEN_INTEREST: "known_ms,venue,asset,oi_usd,oi_base,step",
    FUNDING: "known_ms,venue,asset,rate,interval_h",
}
_FIVE_MINUTES: Ms = 5 * MINUTE
_PAGE = 500


class _Holding(msgspec.Struct):
    sumOpenInterest: str
    sumOpenInterestValue: str
    timestamp: int


class _Settlement(msgspec.Struct):
    fundingTime: int
    fundingRate: str


_Row = TypeVar("_Row")

_holdings = msgspec.json.Decoder(list[_Holding])
_settlements = msgspec.json.Decoder(list[_Settlement])


async def open_interest_rows(
    rest: Rest, symbol: str, asset: str, per_unit: float, start: Ms, end: Ms
) -> list[str]:
    """Rows from ``start`` to before ``end``, at most ``REACH`` apart. Raises Unavailable."""
    rows: dict[Ms, str] = {}
    while start < end:
        until = min(end, start + _PAGE * _FIVE_MINUTES)
        path = (
            f"/futures/data/openInterestHist?symbol={symbol}&period=5m&limit={_PAGE}"
            f"&startTime={start}&endTime={until - 1}"
        )
        for row in await _asked(rest, path, _holdings.decode):
            coins, usd = _number(row.sumOpenInterest), _number(row.sumOpenInterestValue)
            real = 0 < coins < inf and 0 < usd < inf
            if real and start <= row.timestamp < until:
                line = f"{row.timestamp},binance,{asset},{usd},{coins * per_unit},5m"
                rows[row.timestamp] = line
        start = until
    return [rows[at] for at in sorted(rows)]


async def funding_rows(rest: Rest, symbol: str, asset: str, start: Ms, end: Ms) -> list[str]:
    """Settlements from ``start`` to before ``end``, with the time between two as the interval; of
    one alone it is not known. Raises Unavailable."""
    path = f"/fapi/v1/fundingRate?symbol={symbol}&startTime={start}&endTime={end - 1}&limit=1000"
    rates = {
        row.fundingTime: _number(row.fundingRate)
        for row in await _asked(rest, path, _settlements.decode)
        if start <= row.fundingTime < end
    }
    at = sorted(time for time, rate in rates.items() if isfinite(rate))
    hours = [round((later - earlier) / HOUR) for earlier, later in pairwise(at)]
    return [
        f"{time},binance,{asset},{rates[time]},{interval}"
        for time, interval in zip(at, [*hours[:1], *hours], strict=False)
        if 0 < interval <= 24
    ]


async def _asked(rest: Rest, path: str, decode: Callable[[bytes], list[_Row]]) -> list[_Row]:
    body = await rest.ask(Request(path=path))
    try:
        return decode(body)
    except msgspec.MsgspecError as error:
        raise Unavailable("its answer cannot be read") from error


def _number(text: str) -> float:
    try:
        return float(text) if len(text) <= 60 else float("nan")
    except ValueError:
        return float("nan")


def recent_file(folder: Path, asset: str, what: str) -> Path:
    """The file of an asset's rows."""
    return folder / "recent" / f"binance-{asset}-{what}.csv"


def write_rows(path: Path, what: str, rows: Sequence[str]) -> None:
    """The whole file, under its name once all of it is on the disk. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        file.write("\n".join([_HEADS[what], *rows, ""]))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
