"""One way from a source to series: whatever the pieces, whatever the files, the same values."""

import random
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bot.backtest import logfile
from bot.backtest.csvfile import read
from bot.backtest.evaluate import Judged, Run, in_order
from bot.backtest.logfile import MetricLogs, read_day
from bot.backtest.rows import LATEST
from bot.backtest.series import Chunk, Notes, RecordedSeries, SeriesKey, cut, joined, steps
from bot.backtest.sources import Sources
from bot.config import load
from rules.alerts import ALL, CAUSES, Alert, Cause
from streams.durations import DAY, HOUR, MINUTE
from tests.bot.backtest.logs import START, Row, history_of, series_of_tables, write
from tests.bot.backtest.test_hindsight import BARS, FUNDING, RULES, T0, VENUES, files
from tests.bot.backtest.test_input import OI, written
from tests.conftest import ROOT

COLUMNS = ("value", "low", "high", "step", "floor", "settled", "interval")


def same(series: RecordedSeries, other: RecordedSeries) -> bool:
    """Whether two series are equal in every column."""
    columns = [(getattr(series, name), getattr(other, name)) for name in COLUMNS]
    return series.at.tolist() == other.at.tolist() and all(
        (a is None and b is None) or np.array_equal(a, b, equal_nan=True) for a, b in columns
    )


@pytest.mark.parametrize("seed", range(6))
def test_where_time_is_cut_changes_no_value(tmp_path: Path, seed: int):
    """Pieces look back as far as any value depends on what was before, and no farther."""
    dice = random.Random(seed)
    tables = [
        read(written(tmp_path, head, *(line for _, line in lines), name=name), Notes())
        for name, (head, lines) in files(seed).items()
    ]
    metrics = [rule.metric for rule in RULES] + ["funding_negative_share_pct", "oi_net_24h_pct"]
    metrics.append("cause_4h")
    whole = series_of_tables(tables, VENUES, metrics)
    history = history_of(tables, VENUES, metrics)
    edges = sorted({T0, *(T0 + dice.randrange(10 * DAY) for _ in range(7)), T0 + 10 * DAY})
    for start, end in pairwise(edges):
        piece = {}
        for asset in history.assets(start, end):
            piece |= history.read(asset, start, end)
        wanted = cut(whole, start, end).series
        assert piece.keys() == wanted.keys()
        assert all(same(piece[key], series) for key, series in wanted.items())


def test_history_gives_the_cause_by_the_signs_of_price_and_open_interest(tmp_path: Path):
    bars = [f"{T0 + n * HOUR},binance,BTC,{p},{p},{p},{p},1,1h" for n, p in enumerate(MOVED)]
    coins = [f"{T0 + n * HOUR},binance,BTC,{q * 100},{q},1h" for n, q in enumerate(HELD)]
    prices = written(tmp_path, BARS, *bars, name="price.csv")
    paths = (prices, written(tmp_path, OI, *coins, name="oi.csv"))
    series_by_key = series_of_tables([read(path, Notes()) for path in paths], VENUES, ["cause_1h"])
    causes = series_by_key[SeriesKey("cause_1h", "BTC")]
    assert [CAUSES[round(float(x))] for x in causes.value] == [
        Cause.LONG_UNWINDING, Cause.SHORT_COVERING, Cause.UNCLEAR, Cause.NEW_LONGS,
        Cause.NEW_SHORTS,
    ]  # fmt: skip


MOVED = [100, 97, 100, 100, 103, 100]
HELD = [1000, 950, 900, 880, 930, 980]


def sparse(folder: Path) -> list[Path]:
    """A venue that falls silent for months, another that is heard again after years."""
    days = [*range(20), *range(95, 130), *range(700, 720)]
    at = [T0 + day * DAY + n * 8 * HOUR for day in days for n in range(3)]
    rates = [f"{t},binance,BTC,{1e-4 * (n % 7 - 3)},8" for n, t in enumerate(at)]
    rates += [f"{t},bybit,BTC,{-1e-4},8" for t in at[:30]]
    oi = [f"{t},binance,BTC,{1e9 + n},{1e4 + n},8h" for n, t in enumerate(at)]
    oi += [f"{t},bybit,BTC,5e8,5e3,8h" for t in at[:30]]
    predicted = [f"{t},all,BTC,0,0,0,{1e-5 * (n % 5)}" for n, t in enumerate(at)]
    head = "known_ms,venue,asset,rate_8h_open,rate_8h_high,rate_8h_low,rate_8h_close"
    tables = {"rates": (FUNDING, rates), "oi": (OI, oi), "predicted": (head, predicted)}
    return [
        written(folder, head, *sorted(lines), name=f"{name}.csv")
        for name, (head, lines) in tables.items()
    ]


def test_holes_of_months_are_the_same_from_both_sides_of_a_cut(tmp_path: Path):
    tables = [read(path, Notes()) for path in sparse(tmp_path)]
    metrics = ["funding_8h_pct", "funding_predicted_8h_pct", "oi_net_24h_pct"]
    whole, history = series_of_tables(tables, VENUES, metrics), history_of(tables, VENUES, metrics)
    assert set(whole) == {SeriesKey(name, "BTC") for name in metrics}
    for start in range(T0, T0 + 730 * DAY, 11 * DAY):
        piece = history.read("BTC", start, start + 11 * DAY)
        wanted = cut(whole, start, start + 11 * DAY).series
        assert piece.keys() == wanted.keys()
        assert all(same(piece[key], series) for key, series in wanted.items())


def test_the_step_after_a_long_hole_is_that_of_the_rows_behind_it():
    at = np.array([0, 8, 16, 24, 24 + 1_000, 24 + 1_008, 24 + 1_016]) * HOUR
    assert steps(at).tolist() == [MINUTE, 8 * HOUR, 8 * HOUR, 8 * HOUR, MINUTE, 8 * HOUR, 8 * HOUR]
    hole = np.array([0, 8, 16, 30, 38]) * HOUR
    assert steps(hole).tolist() == [MINUTE, 8 * HOUR, 8 * HOUR, 8 * HOUR, 8 * HOUR]


def log_rows(count: int, assets: int) -> list[Row]:
    dice = random.Random(4)
    return [
        {
            (metric, f"A{n}"): dice.gauss(-2, 2) if dice.random() > 0.1 else None
            for n in range(assets)
            for metric in ("price_1h_pct", "oi_net_1h_pct", "price")
        }
        for _ in range(count)
    ]


def test_a_wide_day_is_read_in_pieces_that_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write(tmp_path, log_rows(240, 3))
    [path] = tmp_path.iterdir()
    whole = read_day(path, Notes()).series
    monkeypatch.setattr(logfile, "_CELLS", 3_000)
    logs = MetricLogs([path], Notes())
    edges = sorted(logs.edges())
    assert len(edges) > 5 and edges[0] == START and edges[-1] == START + DAY
    parts: dict[SeriesKey, list[RecordedSeries]] = {}
    for start, end in pairwise(edges):
        for asset in logs.assets(start, end):
            for key, series in logs.read(asset, start, end).items():
                assert len(series.at) <= (end - start) // MINUTE
                parts.setdefault(key, []).append(series)
    assert parts.keys() == whole.keys()
    for key, series in whole.items():
        assert np.concatenate([part.at for part in parts[key]]).tolist() == series.at.tolist()
        values = np.concatenate([part.value for part in parts[key]])
        assert np.array_equal(values, series.value, equal_nan=True)


@pytest.mark.parametrize("cells", [40_000, 90_000, 10**6])
def test_days_read_together_say_what_each_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: int
):
    """Days with the same columns and with others, and one whose clock was set back."""
    for day, assets in enumerate((2, 2, 3, 3, 1)):
        write(tmp_path, log_rows(100 + day, assets), START + day * DAY)
        if day == 1:
            write(tmp_path, log_rows(30, assets), START + day * DAY + 20 * MINUTE)
    paths = sorted(tmp_path.iterdir())
    days = [read_day(path, Notes()).series for path in paths]
    assert len(days[1][SeriesKey("price", "A1")].at) == 101
    monkeypatch.setattr(logfile, "_CELLS", cells)
    logs = MetricLogs(paths, Notes())
    edges = sorted({START, *logs.edges(), START + 5 * DAY})
    parts: dict[SeriesKey, list[RecordedSeries]] = {}
    for start, end in pairwise(edges):
        for asset in logs.assets(start, end):
            for key, series in logs.read(asset, start, end).items():
                parts.setdefault(key, []).append(series)
    wanted = {key for day in days for key in day}
    assert parts.keys() == wanted
    for key in wanted:
        assert same(joined(parts[key]), joined([day[key] for day in days if key in day]))


def test_the_pieces_of_a_day_are_unpacked_once_and_may_be_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write(tmp_path, log_rows(240, 3))
    [path] = tmp_path.iterdir()
    whole = read_day(path, Notes()).series
    opened: list[Path] = []
    real = logfile._rows_of_day  # pyright: ignore[reportPrivateUsage]

    def counted(path: Path, notes: Notes) -> Iterator[object]:
        opened.append(path)
        return real(path, notes)

    monkeypatch.setattr(logfile, "_rows_of_day", counted)
    logs = MetricLogs([path], Notes())
    ends = [START + n * MINUTE for n in (0, 50, 51, 190, 240)]
    pieces = [logs.read("A1", start, end) for start, end in pairwise(ends)]
    assert len(opened) == 1
    assert sum(len(piece[SeriesKey("price", "A1")].at) for piece in pieces) == 240
    earlier = logs.read("A1", ends[1], ends[3])
    wanted = cut(whole, ends[1], ends[3]).series
    assert len(opened) == 2 and earlier
    assert all(same(earlier[key], wanted[key]) for key in earlier)


def test_a_log_of_more_assets_takes_no_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Ten times the assets, the same peak while the pieces are gone through."""
    monkeypatch.setattr(logfile, "_CELLS", 20_000)
    peaks: list[int] = []
    for assets in (20, 200):
        folder = tmp_path / str(assets)
        write(folder, log_rows(200, assets))
        sources = Sources([folder], load(ROOT / "config.toml", {}), [])
        tracemalloc.start()
        rows = sum(len(s.at) for chunk in sources.pieces() for s in chunk.series.values())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert rows == 200 * 3 * assets
    assert peaks[1] < 2 * peaks[0]


def alerts_by_asset(series: dict[SeriesKey, RecordedSeries], names: list[str]) -> list[Alert]:
    """Judged in three pieces of time, each asset by asset."""
    judged, alerts = Judged(RULES), list[Alert]()
    for start in range(T0, T0 + 10 * DAY, 4 * DAY):
        piece = cut(series, start, start + 4 * DAY).series
        piece_alerts: list[Alert] = []
        for name in names:
            own = {key: recorded for key, recorded in piece.items() if key.asset == name}
            piece_alerts += judged.take(Chunk(start, start + 4 * DAY, own, frozenset({name})))
        alerts += in_order(piece_alerts)
    return alerts


def test_assets_one_after_the_other_say_what_they_say_together(tmp_path: Path):
    tables = [
        read(written(tmp_path, head, *(line for _, line in lines), name=name), Notes())
        for name, (head, lines) in files(3).items()
    ]
    metrics = [rule.metric for rule in RULES]
    series = series_of_tables(tables, VENUES, metrics)
    series |= {
        key._replace(asset="ETH"): recorded
        for key, recorded in series.items()
        if key.asset == "BTC"
    }
    together = Judged(RULES).take(Chunk(T0, T0 + 10 * DAY, series))
    apart = alerts_by_asset(series, ["BTC", "ETH"])
    assert len(together) > 5
    assert sorted(apart, key=lambda a: (a.seen, a.asset)) == sorted(
        together, key=lambda a: (a.seen, a.asset)
    )


def test_posts_are_planned_in_order_of_time_whatever_the_order_of_assets(tmp_path: Path):
    """Two assets that burst at different minutes of one piece."""

    def burst(minute: int, begins: int) -> float:
        return 150.0 if begins <= minute < begins + 5 else 1.0

    rows: list[Row] = [
        {("liq_10m_musd", "BTC"): burst(n, 200), ("liq_10m_musd", "ETH"): burst(n, 60)}
        for n in range(300)
    ]
    write(tmp_path / "log", rows)
    settings = load(ROOT / "config.toml", {})
    run = Run(settings)
    for chunk in Sources([tmp_path / "log"], settings, []).pieces():
        run.take(chunk)
    run.end()
    opened = [(post.alerts[0].asset, post.at) for post in run.posts]
    assert [asset for asset, _ in opened][:1] == ["ETH"] and {a for a, _ in opened} == {
        "ETH",
        "BTC",
    }
    assert [at for _, at in opened] == sorted(at for _, at in opened)
    assert [a.seen for a in run.alerts] == sorted(a.seen for a in run.alerts)


def test_bands_of_one_moment_are_read_apart(tmp_path: Path):
    """A file may hold several bands each time; that of 20 bp answers for no other."""
    lines = [
        f"{T0 + n * 4 * HOUR},binance,BTC,{band},{usd},{usd},4h"
        for n in range(60)
        for band, usd in ((20, 1e6), (100, 5e7 * (0.5 if n == 59 else 1)), (500, 9e8))
    ]
    head = "known_ms,venue,asset,band_bp,bid_usd,ask_usd,step"
    tables = [read(written(tmp_path, head, *lines), Notes())]
    names = ["depth_100bp_pct_of_normal", "depth_25bp_pct_of_normal"]
    series_by_key = series_of_tables(tables, VENUES, names)
    assert {key.metric for key in series_by_key} == {names[0]}
    values = series_by_key[SeriesKey(names[0], "BTC")].value
    assert values[-1] == 50 and set(values[:-1].tolist()) == {100}
    history = history_of(tables, VENUES, names)
    history.read("BTC", 0, LATEST)
    assert history.why()[names[1]] == "the data are of 20, 100, 500 bp"


def test_an_asset_that_was_met_is_in_all_later_pieces(tmp_path: Path):
    """Composites go on where nothing is heard of an asset."""
    price = f"{T0},binance,SOL,1,1,1,1,,1h"
    later = [f"{T0 + day * DAY},binance,BTC,1,1,1,1,,1h" for day in range(130)]
    path = written(tmp_path, BARS, price, *later)
    sources = Sources([path], load(ROOT / "config.toml", {}), ["price_1h_pct"])
    met = [(chunk.start, chunk.assets) for chunk in sources.pieces()]
    starts = sorted({start for start, _ in met})
    assert len(starts) == 3
    for start in starts:
        assert {name for at, assets in met if at == start and assets for name in assets} == {
            "SOL",
            "BTC",
        }


def test_the_market_is_read_asset_by_asset(tmp_path: Path):
    coins = {"BTC": 1e6, "ETH": 1e7, "SOL": 1e8}
    lines = [
        f"{T0 + n * HOUR},all,{asset},{base * 10},{base * (0.9 if n == 30 else 1)},1h"
        for n in range(31)
        for asset, base in coins.items()
    ]
    tables = [read(written(tmp_path, OI, *lines), Notes())]
    series_by_key = series_of_tables(tables, VENUES, ["oi_total_net_1h_pct"])
    assert list(series_by_key) == [SeriesKey("oi_total_net_1h_pct", ALL)]
    assert series_by_key[SeriesKey("oi_total_net_1h_pct", ALL)].value[-1] == pytest.approx(-10)
