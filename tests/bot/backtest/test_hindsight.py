"""What comes later changes nothing that was said before, and no small venue is the asset."""

import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from bot.backtest.csvfile import read
from bot.backtest.evaluate import Judged, Seen
from bot.backtest.series import Chunk, Notes, RecordedSeries, SeriesKey, cut, even, joined
from bot.backtest.sources import Sources
from bot.config import load
from rules.alerts import ALL, Alert, Level
from rules.rule import Row, Rule
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Ms
from tests.bot.backtest.logs import series_of_tables
from tests.bot.backtest.test_input import OI, written
from tests.conftest import ROOT

T0: Ms = 1_738_540_800_000  # 3 Feb 2025
BARS = "known_ms,venue,asset,open,high,low,close,volume_base,step"
FUNDING = "known_ms,venue,asset,rate,interval_h"
STEPS = {"5m": 5 * MINUTE, "1h": HOUR, "4h": 4 * HOUR}
VENUES = ("binance", "bybit", "hyperliquid")

RULES = [
    Rule(
        name=name,
        metric=metric,
        fires="below",
        cooldown=HOUR,
        clear_for=10 * MINUTE,
        hold={Level.WATCH: 2 * MINUTE},
        rows={"BTC": Row(levels={Level.WATCH: mild, Level.CRITICAL: 3 * mild}, clear=mild / 2)},
    )
    for name, metric, mild in (
        ("oi_1h", "oi_net_1h_pct", -1.0),
        ("oi_4h", "oi_net_4h_pct", -1.0),
        ("price_1h", "price_1h_pct", -1.0),
        ("price_4h", "price_4h_pct", -1.0),
        ("funding", "funding_8h_pct", -0.01),
    )
]

Line = tuple[Ms, str]
"""When a row was known, and the row."""


def files(seed: int) -> dict[str, tuple[str, list[Line]]]:
    """Ten days of BTC by name of file: venues that begin late, fall silent, change their step and
    their scope, or are heard once more at the very end."""
    dice = random.Random(seed)
    contents: dict[str, tuple[str, list[Line]]] = {}

    def stretches() -> Iterator[tuple[Ms, Ms, str]]:
        at, end = T0 + dice.randrange(4) * DAY, T0 + 10 * DAY
        while at < end:
            until = min(end, at + dice.randrange(HOUR, 4 * DAY))
            yield at, until, dice.choice(list(STEPS))
            at = until + dice.choice((0, 0, 7 * HOUR, 3 * DAY))

    for venue in (*VENUES, "all"):
        for scope in range(dice.randrange(1, 3)):
            coins, lines = 10 ** dice.uniform(3, 6), list[Line]()
            for start, end, step in stretches():
                for at in range(start, end, STEPS[step]):
                    coins *= 1 + dice.gauss(0, 0.01)
                    usd = dice.choice((f"{coins * 100}", f"{coins * 100}"))
                    base = dice.choice((f"{coins}", f"{coins}", ""))
                    lines.append((at, f"{at},{venue},BTC,{usd},{base},{step}"))
            contents[f"oi {venue} {'ab'[scope]}.csv"] = OI, lines
        if venue == "all":
            continue
        price, lines = 100.0, list[Line]()
        for start, end, step in stretches():
            for at in range(start, end, STEPS[step]):
                price *= 1 + dice.gauss(0, 0.01)
                bar = f"{price},{price * 1.004},{price * 0.996},{price},5"
                lines.append((at, f"{at},{venue},BTC,{bar},{step}"))
        contents[f"bars {venue}.csv"] = BARS, lines
        hours = dice.choice((1, 4, 8))
        rates = [
            (at, f"{at},{venue},BTC,{dice.gauss(0, 1e-4)},{hours}")
            for at in range(T0 + dice.randrange(5) * DAY, T0 + 10 * DAY, hours * HOUR)
            if dice.random() > 0.05
        ]
        contents[f"funding {venue}.csv"] = FUNDING, rates
    return contents


def series(
    folder: Path, contents: dict[str, tuple[str, list[Line]]], until: Ms
) -> dict[SeriesKey, RecordedSeries]:
    """What the rows known before ``until`` make."""
    folder.mkdir()
    tables = [
        read(written(folder, head, *rows, name=name), Notes())
        for name, (head, lines) in contents.items()
        if (rows := [line for at, line in lines if at < until])
    ]
    return series_of_tables(tables, VENUES, [rule.metric for rule in RULES])


def alerts(series_by_key: dict[SeriesKey, RecordedSeries], end: Ms) -> list[Alert]:
    judged, all_alerts = Judged(RULES), list[Alert]()
    for start in range(T0, end, 3 * DAY):
        all_alerts += judged.take(cut(series_by_key, start, min(end, start + 3 * DAY)))
    return all_alerts


@pytest.mark.parametrize("seed", range(12))
def test_later_rows_change_no_earlier_alert(tmp_path: Path, seed: int):
    contents, dice = files(seed), random.Random(seed)
    everything = series(tmp_path / "whole", contents, T0 + 10 * DAY)
    whole = alerts(everything, T0 + 10 * DAY)
    assert len(whole) > 5
    for n in range(6):
        moment = T0 + dice.randrange((1 + n) * DAY, (2 + n) * DAY)
        known = series(tmp_path / f"known {n}", contents, moment)
        for place, recorded in everything.items():
            part, other = recorded.between(0, moment), known.get(place)
            assert (part is None) is (other is None)
            if part is not None and other is not None:
                assert part.at.tolist() == other.at.tolist()
                for column in ("value", "low", "high", "step"):
                    assert np.array_equal(getattr(part, column), getattr(other, column))
        assert alerts(known, moment) == [alert for alert in whole if alert.seen < moment]


COINS = {"BTC": 4.0, "ETH": 5.0, "SOL": 5.0, "XRP": 5.0}
"""The coins of a market rule, and from which fall on each counts, %."""

MARKET_RULES = [
    Rule(
        name=f"falls_{hours}h",
        metric=f"price_down_share_{hours}h_pct",
        scope="market",
        fires="above",
        cooldown=HOUR,
        rows={ALL: Row(levels={Level.WATCH: 45.0, Level.ALERT: 70.0}, clear=15.0)},
        least_fall_pct=COINS,
    )
    for hours in (1, 4)
]


def falling(coin: str, first: Ms, fall: Ms, end: Ms, venue: str = "binance") -> list[Line]:
    """Bars of 5 min of a coin whose price is 12 % lower from ``fall`` on."""
    rows = list[Line]()
    for at in range(first, end, 5 * MINUTE):
        price = 88.0 if at >= fall else 100.0
        rows.append((at, f"{at},{venue},{coin},{price},{price},{price},{price},5,5m"))
    return rows


def market_alerts(
    folder: Path, contents: dict[str, tuple[str, list[Line]]], until: Ms
) -> list[Alert]:
    """What the market rules say of the rows known before ``until``."""
    folder.mkdir()
    tables = [
        read(written(folder, head, *rows, name=name), Notes())
        for name, (head, lines) in contents.items()
        if (rows := [line for at, line in lines if at < until])
    ]
    metrics = [rule.metric for rule in MARKET_RULES]
    falls = {rule.metric: rule.least_fall_pct for rule in MARKET_RULES}
    series_by_key = series_of_tables(tables, VENUES, metrics, falls)
    return Judged(MARKET_RULES).take(cut(series_by_key, T0, until))


def test_one_coin_is_not_the_market_whatever_comes_later(tmp_path: Path):
    """BTC falls by 12 % at 20:00; the first row of ETH is ten hours later, or there is none."""
    btc = BARS, falling("BTC", T0, T0 + 20 * HOUR, T0 + 2 * DAY)
    eth = BARS, falling("ETH", T0 + 30 * HOUR, T0 + 9 * DAY, T0 + 2 * DAY)
    assert market_alerts(tmp_path / "alone", {"btc.csv": btc}, T0 + 2 * DAY) == []
    both = {"btc.csv": btc, "eth.csv": eth}
    assert market_alerts(tmp_path / "both", both, T0 + 2 * DAY) == []


@pytest.mark.parametrize("seed", range(6))
def test_coins_that_come_later_change_no_earlier_alert_of_the_market(tmp_path: Path, seed: int):
    dice = random.Random(seed)
    fall, end = T0 + dice.randrange(10, 30) * HOUR, T0 + 4 * DAY
    names = [*dice.sample([*COINS], len(COINS)), "PEPE"]
    contents: dict[str, tuple[str, list[Line]]] = {}
    for n, coin in enumerate(names):
        first = T0 if n < 3 else fall + dice.randrange(5, 40) * HOUR
        falls_at = fall + dice.randrange(3) * 5 * MINUTE if n < 3 else first + 20 * HOUR
        contents[f"{coin}.csv"] = BARS, falling(coin, first, falls_at, end)
    whole = market_alerts(tmp_path / "whole", contents, end)
    assert whole
    for n in range(4):
        moment = fall + dice.randrange(1 + 10 * n, 6 + 10 * n) * HOUR
        known = market_alerts(tmp_path / f"known {n}", contents, moment)
        assert known == [alert for alert in whole if alert.seen < moment]


def oi(lines: Iterable[tuple[Ms, str, float, str]]) -> list[str]:
    return [
        OI,
        *(f"{at},{venue},BTC,{coins * 1e5},{coins},{step}" for at, venue, coins, step in lines),
    ]


def falls(paths: Sequence[Path], name: str = "oi_net_1h_pct") -> list[float]:
    """The values of open interest over a window."""
    tables = [read(path, Notes()) for path in paths]
    series = series_of_tables(tables, VENUES, [name]).get(SeriesKey(name, "BTC"))
    return [] if series is None else series.value.tolist()


def test_a_small_venue_is_not_the_asset_whatever_is_heard_later(tmp_path: Path):
    """1,000 coins on Hyperliquid become 700; one row of Binance comes four months later."""
    whale = [(T0 + n * HOUR, "hyperliquid", 700.0 if n > 30 else 1_000.0, "1h") for n in range(60)]
    alone = written(tmp_path, *oi(whale))
    assert falls([alone]) == []
    later = written(tmp_path, *oi([(T0 + 120 * DAY, "binance", 5e6, "1h")]), name="later.csv")
    assert falls([alone, later]) == []


def test_what_is_usual_outlives_a_gap(tmp_path: Path):
    """Of two large venues one is silent for sixteen hours while a whale leaves the first-named."""
    rows = [(T0 + n * HOUR, "bybit", 9_000.0, "1h") for n in range(60) if not 20 <= n < 36]
    rows += [(T0 + n * HOUR, "binance", 700.0 if n > 30 else 1_000.0, "1h") for n in range(60)]
    assert min(falls([written(tmp_path, *oi(sorted(rows)))])) > -4


def test_both_ends_of_a_window_are_of_one_scope(tmp_path: Path):
    """With coin-margined contracts each 4 h, without them each 5 min: 130,000 and 95,000 coins."""
    wide = [(T0 + n * 4 * HOUR, "binance", 130_000.0, "4h") for n in range(12)]
    narrow = [(T0 + 24 * HOUR + n * 5 * MINUTE, "binance", 95_000.0, "5m") for n in range(288)]
    paths = [
        written(tmp_path, *oi(wide), name="wide.csv"),
        written(tmp_path, *oi(narrow), name="narrow.csv"),
    ]
    for name in ("oi_net_1h_pct", "oi_net_4h_pct"):
        assert set(falls(paths, name)) == {0.0}
    together = written(tmp_path, *oi(sorted(wide + narrow)), name="both.csv")
    assert set(falls([together], "oi_net_4h_pct")) == {0.0}
    # the same scope in a file a month is one series
    months = [
        written(tmp_path, *oi(narrow[:150]), name="narrow-2025-02.csv"),
        written(tmp_path, *oi(narrow[150:]), name="narrow-2025-03.csv"),
    ]
    assert len(falls(months)) == len(falls(paths[1:])) == 288 - 12


@pytest.mark.parametrize(
    ("share", "late"), [(0.73, MINUTE), (2.0, MINUTE), (0.73, 0), (2.0, 17 * MINUTE)]
)
def test_a_second_source_takes_no_alert_away(tmp_path: Path, share: float, late: Ms):
    """Each hour 100,000 coins that become 85,000; each 4 h the same venue counted otherwise."""

    def coins(n: int) -> float:
        return 85_000.0 if n >= 73 else 100_000.0

    hourly = [(T0 + n * HOUR, "binance", coins(n), "1h") for n in range(144)]
    other = [(T0 + n * HOUR + late, "binance", coins(n) * share, "4h") for n in range(0, 144, 4)]
    rules = [rule for rule in RULES if rule.metric.startswith("oi_net")]
    alert_rows: list[list[tuple[str, Ms, str, float]]] = []
    coarse = written(tmp_path, *oi(other), name="other.csv")
    fine = written(tmp_path, *oi(hourly), name="hourly.csv")
    for paths in ([fine], [fine, coarse], [coarse, fine]):
        tables = [read(path, Notes()) for path in paths]
        series_by_key = series_of_tables(tables, VENUES, [rule.metric for rule in rules])
        judged, seen = Judged(rules), Seen()
        chunk = cut(series_by_key, T0, T0 + 10 * DAY)
        seen.take(chunk)
        assert seen.holes[SeriesKey("oi_net_1h_pct", "BTC")] == 0
        alert_rows.append([(a.rule, a.seen, a.turn, a.value) for a in judged.take(chunk)])
    assert len(alert_rows[0]) >= 4
    assert alert_rows[1] == alert_rows[0] and alert_rows[2] == alert_rows[0]


def test_files_of_one_metric_follow_each_other(tmp_path: Path):
    head = "known_ms,metric,asset,value"
    paths = [
        written(tmp_path, head, f"{T0 + n * DAY},liq_10m_musd,BTC,{n}", name=f"{n}.csv")
        for n in range(3)
    ]
    series_by_key = series_of_tables([read(path, Notes()) for path in paths], VENUES, [])
    assert series_by_key[SeriesKey("liq_10m_musd", "BTC")].value.tolist() == [0, 1, 2]


def test_coverage_counts_each_moment_once():
    """Three days each 4 h, then a day each minute, with six hours without a row between."""
    coarse, fine = np.arange(1, 19) * 4 * HOUR, 78 * HOUR + np.arange(1, 1441) * MINUTE
    parts = [
        RecordedSeries(T0 + at, np.ones(len(at), np.float32), *(np.ones(len(at), np.float32),) * 2,
               even(at, step))
        for at, step in ((coarse, 4 * HOUR), (fine, MINUTE))
    ]  # fmt: skip
    place, seen = SeriesKey("oi_net_1h_pct", "BTC"), Seen()
    whole = joined(parts)
    for start, end in ((T0, T0 + 30 * HOUR), (T0 + 30 * HOUR, T0 + 10 * DAY)):
        part = whole.between(start, end)
        assert part is not None
        seen.take(Chunk(start, end, {place: part}))
    assert seen.live_ms[place] == 96 * HOUR
    assert seen.steps[place] == (MINUTE, 4 * HOUR)
    assert seen.holes[place] == 1
    assert len(seen.days[place.metric]) == 5


def test_coverage_of_a_step_ends_where_the_next_one_begins():
    """Two days by the hour, three hours of nothing, then twelve hours each 5 min: 60 h, not 96."""
    coarse, fine = np.arange(1, 49) * HOUR, 51 * HOUR + np.arange(1, 145) * 5 * MINUTE
    parts = [
        RecordedSeries(T0 + at, np.ones(len(at), np.float32), *(np.ones(len(at), np.float32),) * 2,
               even(at, step))
        for at, step in ((coarse, HOUR), (fine, 5 * MINUTE))
    ]  # fmt: skip
    place, seen = SeriesKey("price_1h_pct", "ETH"), Seen()
    seen.take(Chunk(T0, T0 + 10 * DAY, {place: joined(parts)}))
    assert seen.live_ms[place] == 60 * HOUR
    assert seen.steps[place] == (5 * MINUTE, HOUR)
    assert seen.holes[place] == 1


def test_recorded_history_said_the_same_before_it_went_on(shared: Path, tmp_path: Path):
    """The open interest of half a year, alone and with the files of later months."""
    settings = load(ROOT / "config.toml", {})
    rules = [rule for rule in settings.rules if rule.metric.startswith("oi_net")]
    metrics = [rule.metric for rule in rules]
    early = shared / "history" / "open_interest.csv.gz"
    late = shared / "history-fine" / "open_interest_5m.csv.gz"
    alert_lists = [
        [a for chunk in Sources(paths, settings, metrics).pieces() for a in judged.take(chunk)]
        for paths, judged in (([early], Judged(rules)), ([early, late], Judged(rules)))
    ]
    border = int(read(late, Notes()).at[0])
    assert len(alert_lists[0]) > 30
    assert [alert for alert in alert_lists[1] if alert.seen < border] == alert_lists[0]
