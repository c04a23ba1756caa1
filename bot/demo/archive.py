"""A made archive: ten days of three coins with a crash, in the files that the public archive has.

Nothing in it was recorded. The same each time, so that what a backtest says of it is too.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile

from bot.history.files import ArchiveData, files_of
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Ms

START: Ms = 1_789_862_400_000  # 20 Sep 2026
DAYS = 10
CRASH: Ms = START + 7 * DAY + 14 * HOUR
_LASTS: Ms = 45 * MINUTE
_REBOUND: Ms = 6 * HOUR


class MadeCoin(NamedTuple):
    """Where a coin begins, and what the crash takes: shares of price and open interest."""

    price: float
    coins: float
    fall: float
    unwound: float


COINS = {
    "BTC": MadeCoin(84_000, 92_000, 0.09, 0.11),
    "ETH": MadeCoin(2_950, 1_900_000, 0.13, 0.16),
    "SOL": MadeCoin(140, 9_000_000, 0.19, 0.24),
}


def write_archive(folder: Path) -> None:
    """Writes all of it below ``folder``. Raises OSError."""
    for asset, coin in COINS.items():
        dice = random.Random(asset)
        prices = list(_prices(coin, dice))
        symbol = f"{asset}USDT"
        for data, rows in (
            (ArchiveData.KLINES, list(_bars(prices))),
            (ArchiveData.METRICS, list(_open_interest(symbol, coin, prices, dice))),
            (ArchiveData.FUNDING, list(_funding())),
        ):
            for [file, *_] in files_of(data, symbol, START, START + DAYS * DAY):
                path = folder / file.path
                path.parent.mkdir(parents=True, exist_ok=True)
                lines = [line for at, line in rows if file.start <= at < file.end]
                with ZipFile(path, "w", ZIP_DEFLATED) as archive:
                    text = "\n".join([_HEADS[data], *lines, ""])
                    archive.writestr(path.name.replace(".zip", ".csv"), text)


_HEADS = {
    ArchiveData.KLINES: "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    "taker_buy_volume,taker_buy_quote_volume,ignore",
    ArchiveData.METRICS: "create_time,symbol,sum_open_interest,sum_open_interest_value,"
    "count_toptrader_long_short_ratio,sum_toptrader_long_short_ratio,count_long_short_ratio,"
    "sum_taker_long_short_vol_ratio",
    ArchiveData.FUNDING: "calc_time,funding_interval_hours,last_funding_rate",
}


def _share(at: Ms, least: float) -> float:
    """What is left in the crash, 1 before it."""
    fallen = min(1.0, max(0.0, (at - CRASH) / _LASTS))
    back = min(1.0, max(0.0, (at - CRASH - _LASTS) / _REBOUND))
    return 1 - least * fallen * (1 - back / 2)


def _prices(coin: MadeCoin, dice: random.Random) -> Iterator[float]:
    """At the beginning of each minute, and at the end of the last."""
    level = coin.price
    for n in range(DAYS * 1440 + 1):
        level *= 1 + dice.gauss(0, 0.0004) + 0.0002 * (coin.price / level - 1)
        yield level * _share(START + n * MINUTE, coin.fall)


def _bars(prices: list[float]) -> Iterator[tuple[Ms, str]]:
    for n in range(DAYS * 1440):
        at, first, last = START + n * MINUTE, prices[n], prices[n + 1]
        high, low = max(first, last) * 1.0003, min(first, last) * 0.9997
        bar = ",".join(f"{x:.8g}" for x in (first, high, low, last))
        yield at, f"{at},{bar},12,{at + MINUTE - 1},{12 * last:.2f},40,6,{6 * last:.2f},0"


def _open_interest(
    symbol: str, coin: MadeCoin, prices: list[float], dice: random.Random
) -> Iterator[tuple[Ms, str]]:
    level = coin.coins
    for n in range(DAYS * 288):
        at = START + n * 5 * MINUTE
        level *= 1 + dice.gauss(0, 0.0006) + 0.001 * (coin.coins / level - 1)
        coins = level * (1 - coin.unwound * min(1.0, max(0.0, (at - CRASH) / _LASTS)))
        when = f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M:%S}"
        yield at, f"{when},{symbol},{coins:.3f},{coins * prices[5 * n]:.2f},1,1,1,1"


def _funding() -> Iterator[tuple[Ms, str]]:
    for n in range(DAYS * 3):
        at = START + n * 8 * HOUR
        rate = 0.0001 if not CRASH < at < CRASH + 30 * HOUR else -0.0004
        yield at, f"{at + n % 9},8,{rate:.8f}"
