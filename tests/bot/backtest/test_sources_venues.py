"""Which venues took part in what was judged, and what comes of one of them alone, or without it."""

from pathlib import Path

import pytest

from bot.__main__ import main
from bot.backtest import html
from bot.backtest.command import reported
from bot.backtest.report import Report, text
from bot.backtest.rows import EVERY_VENUE, VenueChoice
from bot.backtest.sources import Sources
from bot.config import Settings, load
from streams.durations import DAY, HOUR
from tests.bot.backtest.logs import START, write

CONFIG = """
[markets]
venues = ["binance", "bybit"]
majors = ["BTC"]

[rules.closing]
metric = "oi_net_4h_pct"
fires = "below"
majors = { alert = -5, clear = -2 }

[rules.falling]
metric = "price_1h_pct"
fires = "below"
majors = { alert = -5, clear = -2 }

[rules.paying]
metric = "funding_8h_pct"
fires = "below"
majors = { alert = -0.02, clear = -0.01 }
"""
DAYS = 6


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "lowtide.toml").write_text(CONFIG)
    return load(tmp_path / "lowtide.toml", {})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Prices: of Binance for three days, then of Bybit. Open interest: of both, and Bybit's is
    closed on the fifth day. Funding: of Bybit alone is negative."""
    data = tmp_path / "data"
    data.mkdir()
    bars = ["known_ms,venue,asset,open,high,low,close,volume_base,step"]
    held = ["known_ms,venue,asset,oi_usd,oi_base,step"]
    paid = ["known_ms,venue,asset,rate,interval_h"]
    for hour in range(DAYS * 24):
        at = START + hour * HOUR
        venue = "binance" if hour < 72 else "bybit"
        bars.append(f"{at},{venue},BTC,100,100,100,100,1,1h")
        held.append(f"{at},binance,BTC,100000000,1000000,1h")
        coins = 1_000_000 if hour < 100 else 500_000
        held.append(f"{at},bybit,BTC,{coins * 100},{coins},1h")
        if hour % 8 == 0:
            paid.append(f"{at},binance,BTC,0.0001,8")
            paid.append(f"{at},bybit,BTC,-0.0005,8")
    for name, lines in {"bars": bars, "held": held, "paid": paid}.items():
        (data / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return data


def judged(paths: list[Path], settings: Settings, chosen: VenueChoice = EVERY_VENUE) -> Report:
    metrics = sorted({rule.metric for rule in settings.rules})
    return reported(Sources(paths, settings, metrics, chosen=chosen), [settings])[0]


def days_by_venue(report: Report) -> dict[tuple[str, str], tuple[int, int, int]]:
    """Metric and venue → the first and the last day, counted from the first, and how many."""
    return {
        (entry.metric, venue.venue): (
            (venue.first - START) // DAY,
            (venue.last - START) // DAY,
            venue.days,
        )
        for entry in report.coverage
        for venue in entry.venues
    }


def levels_of(report: Report, rule: str) -> list[str]:
    return [post.level for post in report.posted[0].listed if rule in post.rules]


def test_each_metric_says_which_venues_spoke_and_when(settings: Settings, folder: Path):
    answer = judged([folder], settings)
    spoke = days_by_venue(answer)
    assert spoke["price", "binance"] == (0, 2, 3) and spoke["price", "bybit"] == (3, 5, 3)
    assert spoke["price_1h_pct", "bybit"] == (3, 5, 3)
    assert spoke["oi_net_4h_pct", "binance"] == spoke["oi_net_4h_pct", "bybit"] == (0, 5, 6)
    assert spoke["funding_8h_pct", "bybit"] == (0, 5, 6)
    shown = [line.split() for line in text(answer).splitlines()]
    assert ["price", "bybit", "6", "Oct", "2026", "8", "Oct", "2026", "3"] in shown


def test_days_before_those_asked_for_do_not_count(settings: Settings, folder: Path):
    metrics = sorted({rule.metric for rule in settings.rules})
    sources = Sources([folder], settings, metrics, START + 4 * DAY, START + 5 * DAY)
    spoke = days_by_venue(reported(sources, [settings])[0])
    assert spoke["oi_net_4h_pct", "binance"] == (4, 4, 1)
    assert ("price", "binance") not in spoke


def test_one_venue_alone_and_all_but_one(settings: Settings, folder: Path):
    alone = judged([folder], settings, VenueChoice(only=frozenset({"bybit"})))
    without = judged([folder], settings, VenueChoice(without=frozenset({"bybit"})))
    assert {venue for _, venue in days_by_venue(alone)} == {"bybit"}
    assert {venue for _, venue in days_by_venue(without)} == {"binance"}
    assert levels_of(alone, "closing") == ["alert"] and levels_of(without, "closing") == []
    assert levels_of(alone, "paying") == ["alert"] and levels_of(without, "paying") == []
    both = judged([folder], settings, VenueChoice(only=frozenset({"binance", "bybit"})))
    assert both.posted == judged([folder], settings).posted


def test_the_sum_over_all_venues_is_none_without_one_of_them(settings: Settings, folder: Path):
    total = folder / "total.csv"
    lines = [f"{START + n * HOUR},all,BTC,300000000,3000000,1h" for n in range(DAYS * 24)]
    total.write_text("\n".join(["known_ms,venue,asset,oi_usd,oi_base,step", *lines]))
    assert ("oi_net_4h_pct", "all") in days_by_venue(judged([folder], settings))
    without = judged([folder], settings, VenueChoice(without=frozenset({"bybit"})))
    assert {v for m, v in days_by_venue(without) if m == "oi_net_4h_pct"} == {"binance"}
    summed = judged([folder], settings, VenueChoice(only=frozenset({"all"})))
    assert {v for m, v in days_by_venue(summed) if m == "oi_net_4h_pct"} == {"all"}


def test_a_metric_log_does_not_say_which_venues(settings: Settings, folder: Path, tmp_path: Path):
    log = tmp_path / "log"
    write(log, [{("price_1h_pct", "BTC"): -1.0} for _ in range(60)])
    spoke = days_by_venue(judged([log], settings))
    assert spoke == {("price_1h_pct", "metric log"): (0, 0, 1)}
    chosen = VenueChoice(only=frozenset({"bybit"}))
    answer = judged([folder, log], settings, chosen)
    assert any("metric logs are left out" in note for note in answer.notes)
    assert {venue for _, venue in days_by_venue(answer)} == {"bybit"}


def test_what_cannot_be_told_by_venue_is_refused(
    settings: Settings, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    log = tmp_path / "log"
    write(log, [{("price_1h_pct", "BTC"): -1.0} for _ in range(60)])
    config = ["--config", str(settings.path)]
    for arguments, sentence in (
        (
            [str(folder), "--venue", "kraken"],
            "no rows of the venue kraken: they have binance, bybit",
        ),
        ([str(folder), "--without", "binance,bybit"], "no venue is left"),
        ([str(log), "--venue", "bybit"], "they have no venue by name"),
    ):
        with pytest.raises(SystemExit) as done:
            main(["backtest", *arguments, *config])
        assert done.value.code == 1
        errors = capsys.readouterr().err
        assert sentence in errors and errors.count("\n") == 1


def test_the_page_says_it_last(settings: Settings, folder: Path):
    metrics = sorted({rule.metric for rule in settings.rules})
    page = html.page(*reported(Sources([folder], settings, metrics), [settings]))
    assert page.index("Coverage") < page.index("By venue")


def test_a_venue_that_is_not_configured_does_not_speak_for_a_coin(tmp_path: Path, folder: Path):
    (tmp_path / "lowtide.toml").write_text(CONFIG.replace(', "bybit"', ""))
    alone = judged(
        [folder], load(tmp_path / "lowtide.toml", {}), VenueChoice(only=frozenset({"bybit"}))
    )
    why = {entry.rule: entry.why for entry in alone.not_judged}
    assert "of bybit alone: only the first configured venue" in why["closing"]
