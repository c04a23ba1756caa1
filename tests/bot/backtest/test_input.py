"""CSV: what is survived, what is refused and how it is said; nothing is used before it is known."""

import gzip
import random
from pathlib import Path

import numpy as np
import pytest

from bot.backtest.csvfile import BadFile, read
from bot.backtest.rows import LATEST
from bot.backtest.series import Notes, RecordedSeries, SeriesKey
from rules.alerts import ALL
from streams.durations import HOUR, MINUTE
from streams.events import Ms
from tests.bot.backtest.logs import history_of, series_of_tables

T0: Ms = 1_738_540_800_000  # 3 Feb 2025
OI = "known_ms,venue,asset,oi_usd,oi_base,step"
METRIC = "known_ms,metric,asset,value"
SETTLED = "known_ms,venue,asset,rate,interval_h"
PREDICTED = "known_ms,venue,asset,rate_8h_open,rate_8h_high,rate_8h_low,rate_8h_close"
BARS = "known_ms,venue,asset,open,high,low,close,volume_base,step"


def written(folder: Path, *lines: str, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


REFUSED = {
    "wrong header": (
        ("time_ms,asset,oi", "1,BTC,2"),
        "line 1: the header 'time_ms,asset,oi' is none of the forms that docs/backtest.md lists;"
        " the simplest is known_ms,metric,asset,value",
    ),
    "empty": (("",), "line 1: the file is empty"),
    "no row": ((METRIC,), "line 1: there is a header and no row below it"),
    "no row, an empty line": ((METRIC, ""), "line 1: there is a header and no row below it"),
    "empty line between": (
        (METRIC, f"{T0},m,BTC,1", "", "", f"{T0 + 1},m,BTC,2"),
        "line 3: is empty, and rows follow: take it out",
    ),
    "semicolons": (
        (METRIC.replace(",", ";"), f"{T0};m;BTC;1,5"),
        "line 1: the columns are parted by ';': commas are needed, and a point in decimal numbers",
    ),
    "tabs": (
        (METRIC.replace(",", "\t"), f"{T0}\tm\tBTC\t1"),
        "line 1: the columns are parted by '\\t': commas are needed, and a point in decimal"
        " numbers",
    ),
    "seconds": ((METRIC, "1738540800,m,BTC,1"), "line 2: known_ms 1738540800 is in seconds: it"
                " must be in ms"),
    "two zones": (
        ("time,asset,price", "2025-02-03T00:00:00Z,BTC,1", "2025-02-03T01:00:00+08:00,BTC,1"),
        "line 3: '2025-02-03T01:00:00+08:00' is in another time zone than the rows above: use one",
    ),
    "no zone": (
        ("time,asset,price", "2025-02-03T00:00:00,BTC,1"),
        "line 2: '2025-02-03T00:00:00' names no time zone: write Z behind it if it is UTC",
    ),
    "NaN": (
        (METRIC, f"{T0},m,BTC,1", f"{T0 + 1},m,BTC,nan"),
        "line 3: value is nan: leave a hole empty, or leave the row out",
    ),
    "negative": (
        (OI, f"{T0},all,BTC,-5,1,4h"), "line 2: oi_usd is -5, and cannot be negative"
    ),
    "percent for a fraction": (
        (SETTLED, f"{T0},binance,BTC,0.0001,8", f"{T0 + 1},binance,BTC,-1.5,8"),
        "line 3: rate is -1.5: it is a fraction, 0.0001 for 0.01 %",
    ),
    "percent for a predicted fraction": (
        (PREDICTED, f"{T0},binance,BTC,0.01,3,0.01,0.01"),
        "line 2: rate_8h_high is 3: it is a fraction, 0.0001 for 0.01 %",
    ),
    "minutes for hours": (
        (SETTLED, f"{T0},binance,BTC,0.0001,480"),
        "line 2: interval_h is 480: it is in hours, 24 at most",
    ),
    "a bar upside down": (
        (
            BARS, f"{T0},binance,BTC,100,101,99,100,1,1min",
            f"{T0 + 1},binance,BTC,100,90,110,100,1,1min",
        ),
        "line 3: has a low of 110 and a high of 90, which cannot be",
    ),
    "a bar below zero": (
        (BARS, f"{T0},binance,BTC,100,101,-99,100,1,1min"),
        "line 2: has a low of -99 and a high of 101, which cannot be",
    ),
    "a name that turns a terminal red": (
        (METRIC, f"{T0},m,BTC,1", f"{T0},m,B\x1b[31mTC,1"),
        "line 3: asset B\\x1b[31mTC is no name",
    ),
    "a name without an end": (
        (OI, f"{T0},{'v' * 100},BTC,5,1,4h"), f"line 2: venue {'v' * 59}… is no name"
    ),
    "no number": (
        (OI, f"{T0},all,BTC,5 B,1,4h"), "line 2: oi_usd '5 B' is not a number"
    ),
    "no length": (
        (OI, f"{T0},all,BTC,5,1,often"),
        "line 2: 'often' is not a length of time such as 1min, 4h or 1d",
    ),
    "fields": ((METRIC, f"{T0},m,BTC"), "line 2: has 3 fields, the header 4"),
    "no asset": ((METRIC, f"{T0},m,,1"), "line 2: asset is empty"),
    "differs": (
        (METRIC, f"{T0},m,BTC,1", f"{T0},m,BTC,2"),
        "line 3: differs from line 2, though time and names are the same: which one is right"
        " cannot be known",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_said_with_file_and_line(tmp_path: Path, case: str):
    lines, words = REFUSED[case]
    path = written(tmp_path, *lines) if lines != ("",) else tmp_path / "data.csv"
    path.touch()
    with pytest.raises(BadFile) as error:
        read(path, Notes())
    assert str(error.value) == f"{path}, {words}"


@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
def test_a_cut_gzip_is_refused_whole(tmp_path: Path, share: float):
    dice = random.Random(1)
    rows = [f"{T0 + n},m,BTC,{dice.random()}" for n in range(4_000)]
    data = gzip.compress("\n".join([METRIC, *rows]).encode())
    path = tmp_path / "data.csv.gz"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BadFile, match=r"data.csv.gz, line \d+: the compressed file ends too early"):
        read(path, Notes())


def test_empty_lines_at_the_end_are_no_rows(tmp_path: Path):
    path = written(tmp_path, METRIC, f"{T0},m,BTC,1", "", "")
    assert read(path, Notes()).at.tolist() == [T0]


@pytest.mark.parametrize(
    ("asset", "coin"),
    [("btc", "BTC"), ("BTCUSDT", "BTC"), ("ETH-USDT-SWAP", "ETH"), ("1000PEPEUSDC", "PEPE"),
     ("SOLUSD_PERP", "SOL"), ("S-USD", "S"), ("btc_usdt", "BTC"), ("kBONK", "BONK"),
     ("1000pepe", "PEPE"), ("SHIB1000", "SHIB"), ("MATIC", "POL"), ("RNDR-USDT-SWAP", "RENDER"),
     ("BTC", None), ("USDT", None), ("1INCH", None), ("ALL", None), ("PYUSD", None),
     ("PERP", None)],
)  # fmt: skip
def test_what_looks_like_a_contract_is_asked_for_its_coin(
    tmp_path: Path, asset: str, coin: str | None
):
    notes = Notes()
    path = written(tmp_path, METRIC, f"{T0},m,{asset},1")
    assert read(path, notes).names["asset"] == [asset]
    sentences = [f"{path}: {asset} is taken for a coin of that name: is it {coin}?"] if coin else []
    assert notes.sentences == sentences


def test_rows_out_of_order_and_twice_are_survived_and_said(tmp_path: Path):
    rows = [f"{T0 + n},m,BTC,{n}" for n in (0, 3, 1, 2, 2, 5)]
    notes = Notes()
    table = read(written(tmp_path, METRIC, *rows), notes)
    assert table.at.tolist() == [T0 + n for n in (0, 1, 2, 3, 5)]
    assert table.numbers["value"].tolist() == [0, 1, 2, 3, 5]
    assert [note.partition(": ")[2] for note in notes.sentences] == [
        "1 rows were out of order, and put in order of time",
        "1 rows stand there twice, and count once",
    ]


def test_an_empty_value_is_a_hole_and_times_may_be_written(tmp_path: Path):
    path = written(
        tmp_path, "time,metric,asset,value", "2025-02-03T00:00:00Z,m,BTC,1",
        "2025-02-03T00:01:00Z,m,BTC,",
    )  # fmt: skip
    table = read(path, Notes())
    assert table.at.tolist() == [T0, T0 + 60_000]
    assert np.isnan(table.numbers["value"][1])


METRICS = (
    "oi_net_4h_pct", "oi_net_24h_pct", "price_1h_pct", "price_24h_pct", "funding_8h_pct",
    "funding_predicted_8h_pct", "liq_4h_musd", "liq_24h_musd", "depth_100bp_pct_of_normal",
)  # fmt: skip


def history(folder: Path, until: Ms = 2**60) -> dict[SeriesKey, RecordedSeries]:
    """Three weeks of everything, of which ``until`` is known; some rows come late."""
    dice = random.Random(3)
    oi, bars, funding, predicted, liq, depth = ([] for _ in range(6))
    for hour in range(21 * 24):
        t = T0 + hour * HOUR
        price = 100 * (1 + 0.1 * np.sin(hour / 17)) + dice.random()
        bars.append((t, f"{t},binance,BTC,{price},{price + 1},{price - 1},{price},5,1h"))
        if hour % 4 == 0:
            late = t + dice.choice((0, 0, 0, 600_000))
            oi.append((late, f"{late},all,BTC,{1e9 + hour * 1e6},{1e7 - hour * 1e4},4h"))
            predicted.append((t, f"{t},all,BTC,0,0,0,{dice.gauss(0, 1e-4)}"))
            liq.append((t, f"{t},binance,BTC,{dice.random() * 1e7},{dice.random() * 1e7},4h"))
            depth.append((t, f"{t},binance,BTC,100,{5e7 + dice.random()},{5e7},4h"))
        if hour % 8 == 0:
            funding.append((t, f"{t},binance,BTC,{dice.gauss(0, 1e-4)},8"))
    heads = {
        "oi": (OI, oi),
        "bars": ("known_ms,venue,asset,open,high,low,close,volume_base,step", bars),
        "funding": ("known_ms,venue,asset,rate,interval_h", funding),
        "predicted": (
            "known_ms,venue,asset,rate_8h_open,rate_8h_high,rate_8h_low,rate_8h_close", predicted,
        ),
        "liq": ("known_ms,venue,asset,long_usd,short_usd,window", liq),
        "depth": ("known_ms,venue,asset,band_bp,bid_usd,ask_usd,step", depth),
    }  # fmt: skip
    folder.mkdir()
    tables = [
        read(written(folder, head, *(line for t, line in rows if t < until), name=f"{n}.csv"),
             Notes())
        for n, (head, rows) in heads.items()
    ]  # fmt: skip
    return series_of_tables(tables, ["binance"], METRICS)


@pytest.mark.parametrize("days", [7.1, 12, 20.5])
def test_nothing_is_used_before_it_was_known(tmp_path: Path, days: float):
    """What was said until a moment is what the data known until then say."""
    moment = T0 + round(days * 24 * HOUR)
    whole, known = history(tmp_path / "whole"), history(tmp_path / "known", moment)
    assert {place.metric for place in whole} == {"price", *METRICS}
    for place, series in whole.items():
        part = series.between(0, moment)
        assert part is not None and place in known
        assert part.at.tolist() == known[place].at.tolist()
        for column, known_column in (
            (part.value, known[place].value),
            (part.low, known[place].low),
        ):
            assert np.array_equal(column, known_column)


def test_values_are_what_one_would_compute_by_hand(tmp_path: Path):
    series_by_key = history(tmp_path / "whole")
    price, moves = (
        series_by_key[SeriesKey("price", "BTC")],
        series_by_key[SeriesKey("price_24h_pct", "BTC")],
    )
    at = {int(t): float(x) for t, x in zip(price.at, price.value, strict=True)}
    for t, x in zip(moves.at.tolist(), moves.value.tolist(), strict=True):
        assert x == pytest.approx(100 * (at[t] / at[t - 24 * HOUR] - 1), abs=1e-3)
    fallen = series_by_key[SeriesKey("oi_net_24h_pct", "BTC")]
    hours = (fallen.at - T0) // HOUR // 4 * 4
    expected = 100 * ((1e7 - hours * 1e4) / (1e7 - (hours - 24) * 1e4) - 1)
    near = np.abs(fallen.value - expected) < 0.01  # where the start came late, one row before
    assert near.mean() > 0.7 and np.abs(fallen.value - expected).max() < 1


def test_coarse_data_do_not_answer_for_short_windows(tmp_path: Path):
    rows = [f"{T0 + n * 4 * HOUR},all,BTC,1e9,{1e7 + n},4h" for n in range(50)]
    table = read(written(tmp_path, OI, *rows), Notes())
    history = history_of([table], ["binance"], ["oi_net_1h_pct", "oi_net_4h_pct"])
    series_by_key = history.read("BTC", 0, LATEST)
    assert {place.metric for place in series_by_key} == {"oi_net_4h_pct"}
    assert history.why()["oi_net_1h_pct"] == (
        "the data come each 4 h at best, which is too coarse for its window"
    )


BARS = "known_ms,venue,asset,open,high,low,close,volume_base,step"
DEPTHS = "known_ms,venue,asset,band_bp,bid_usd,ask_usd,step"
WHY = {
    "prices of half an hour": (
        "price_1h_pct", BARS,
        [f"{T0 + n * MINUTE},binance,BTC,9,9,9,9,1,1min" for n in range(31)],
        "there are 30 min of it, which is shorter than its window",
    ),
    "prices each 4 h": (
        "price_1h_pct", BARS,
        [f"{T0 + n * 4 * HOUR},binance,BTC,9,9,9,9,1,4h" for n in range(31)],
        "the data come each 4 h at best, which is too coarse for its window",
    ),
    "open interest of two hours": (
        "oi_net_4h_pct", OI,
        [f"{T0 + n * 5 * MINUTE},binance,BTC,9,9,5min" for n in range(25)],
        "there are 2 h of it, which is shorter than its window",
    ),
    "open interest in USD alone": (
        "oi_net_1h_pct", OI,
        [f"{T0 + n * 5 * MINUTE},binance,BTC,9,,5min" for n in range(25)],
        "it is in USD alone, and no prices are there to make coins of it",
    ),
    "open interest of a small venue": (
        "oi_net_1h_pct", OI,
        [f"{T0 + n * 5 * MINUTE},hyperliquid,BTC,9,9,5min" for n in range(25)],
        "it is of hyperliquid alone: only binance or a sum over all speaks for an asset",
    ),
    "the fine rows are of a small venue": (
        "oi_net_1h_pct", OI,
        [f"{T0 + n * 5 * MINUTE},hyperliquid,BTC,9,9,5min" for n in range(25)]
        + [f"{T0 + n * 4 * HOUR},all,BTC,9e3,9e3,4h" for n in range(25)],
        "the data come each 4 h at best, which is too coarse for its window",
    ),
    "one asset is no market": (
        "oi_total_net_1h_pct", OI,
        [f"{T0 + n * 5 * MINUTE},binance,BTC,9,9,5min" for n in range(25)],
        "fewer than three assets are known at a time",
    ),
    "one coin is no market": (
        "price_down_share_1h_pct", BARS,
        [f"{T0 + n * MINUTE},binance,BTC,9,9,9,9,1,1min" for n in range(120)],
        "fewer than 3 of its coins have prices",
    ),
    "depth of a quarter of an hour": (
        "depth_25bp_pct_of_recent", DEPTHS,
        [f"{T0 + n * 30_000},binance,BTC,25,9,9,30s" for n in range(30)],
        "less than 30 min of it",
    ),
    "depth each hour": (
        "depth_25bp_pct_of_recent", DEPTHS,
        [f"{T0 + n * HOUR},binance,BTC,25,9,9,1h" for n in range(30)],
        "the data come each 1 h at best, which is too coarse",
    ),
    "another coin's funding": (
        "funding_8h_pct", "known_ms,venue,asset,rate,interval_h",
        [f"{T0 + n * 8 * HOUR},bitmex,BTC,0.0001,8" for n in range(30)],
        "it is of bitmex, which the configuration has not",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WHY)
def test_why_a_metric_has_no_values_is_true(tmp_path: Path, case: str):
    metric, header, rows, why = WHY[case]
    table = read(written(tmp_path, header, *sorted(rows)), Notes())
    falls = {"price_down_share_1h_pct": {"BTC": 2.0, "ETH": 2.0, "SOL": 3.0}}
    history = history_of([table], ["binance", "hyperliquid"], [metric], falls)
    asset = ALL if metric.startswith(("oi_total", "price_down_share")) else "BTC"
    assert metric not in {key.metric for key in history.read(asset, 0, LATEST)}
    assert history.why() == {metric: why}


def test_a_small_venue_is_not_the_asset(tmp_path: Path):
    """A whale that leaves one venue: a third of its open interest, a fiftieth of all."""
    rows = [f"{T0 + n * HOUR},hyperliquid,BTC,1e8,{1e5 * (0.7 if n > 30 else 1)},1h"
            for n in range(60)]  # fmt: skip
    rows += [f"{T0 + n * 4 * HOUR},all,BTC,5e9,5e6,4h" for n in range(15)]
    table = read(written(tmp_path, OI, *sorted(rows)), Notes())
    venues = ["binance", "hyperliquid"]
    series_by_key = series_of_tables([table], venues, ["oi_net_1h_pct", "oi_net_4h_pct"])
    assert {place.metric for place in series_by_key} == {"oi_net_4h_pct"}
    assert float(np.abs(series_by_key[SeriesKey("oi_net_4h_pct", "BTC")].value).max()) == 0


@pytest.mark.parametrize("share", [0.9, 0.6, 0.2])
def test_a_coarse_sum_beside_takes_nothing_from_what_the_first_venue_says(
    tmp_path: Path, share: float
):
    """Binance each 5 min; all venues, some of which nobody listens to, each 4 h."""
    fine = [f"{T0 + n * 5 * MINUTE},binance,BTC,5e9,{5e6 * (0.9 if n > 300 else 1)},5min"
            for n in range(500)]  # fmt: skip
    coarse = [f"{T0 + n * 4 * HOUR},all,BTC,5e9,{5e6 / share},4h" for n in range(10)]
    names, venues = ["oi_net_15m_pct", "oi_net_1h_pct"], ["binance", "hyperliquid"]

    def falls(rows: list[str]) -> dict[str, float]:
        table = read(written(tmp_path, OI, *sorted(rows)), Notes())
        by_key = series_of_tables([table], venues, names)
        return {key.metric: float(np.nanmin(series.value)) for key, series in by_key.items()}

    assert falls(fine) == falls(fine + coarse)
    assert falls(fine) == {name: pytest.approx(-10) for name in names}
