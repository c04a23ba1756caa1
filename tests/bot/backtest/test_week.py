"""The weekly report against figures that are worked out here from what was written."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.__main__ import main
from bot.backtest.week import (
    FUNDING,
    RecordedWeek,
    Streak,
    WeekValues,
    monday,
    read_week,
    streaks,
    wanted,
)
from bot.backtest.week_alerts import ReportedEpisode, WeekAlerts
from bot.backtest.week_report import week_report
from bot.lang import LANGUAGES
from bot.metriclog import MetricLog
from bot.plan.weekly import WEEK
from rules.alerts import ALL, Level
from rules.context import CONTEXT
from rules.metrics.liquidation_day import LONGS
from rules.metrics.regime import STATES
from rules.snapshot import MACRO_PRICE, PRICE, Observed
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Kind, Ms
from tests.bot.backtest.logs import KEEP
from tests.bot.read_numbers import MONEY, amount
from tests.golden import check_text

GOLDEN = Path(__file__).parents[1] / "golden"
START: Ms = monday("2026-11-16")
STEP = 1
"""Minutes between two rows."""

SPARSE = "spot_share_pct"
"""Of a coin that is asked for, and known for two days alone."""


def row_of(minute: int) -> dict[tuple[str, str], tuple[float, float, float]]:
    """Value, lowest and highest since the minute before, of each metric and asset."""
    day, turn = minute / 1_440, minute / 10_080 * 2 * math.pi
    of_day = minute % 1_440

    def alone(value: float) -> tuple[float, float, float]:
        return value, value, value

    funding = 0.004 * math.sin(turn) + 0.001
    share = 30 + 10 * math.sin(turn)
    depth = 95 - 40 * (day > 3) * (day < 3.02)
    known = {
        # whole numbers: the log keeps seven digits
        (PRICE, "BTC"): alone(round(100_000 - 1_000 * day + 800 * math.sin(3 * turn))),
        (PRICE, "ETH"): alone(4_000 + 50 * day),
        ("funding_8h_pct", "BTC"): alone(funding),
        ("oi_net_24h_pct", "BTC"): alone(-1.0 - 0.2 * int(day)),
        ("depth_25bp_pct_of_normal", "BTC"): (depth, depth - 1, depth + 1),
        ("volatility_7d_pct", "BTC"): alone(40 + day),
        ("spot_share_pct", "BTC"): alone(20 + 2 * math.cos(turn)),
        ("liq_total_24h_musd", ALL): alone((of_day + 1) * (0.1 + 0.4 * (int(day) == 3))),
        (LONGS, ALL): alone((of_day + 1) * (0.06 + 0.4 * (int(day) == 3))),
        ("funding_negative_share_pct", ALL): (share, 20.0, share + 3),
        ("drawdown_oi_total_net_pct", ALL): alone(-10 - day),
        ("drawdown_oi_51to100_net_pct", ALL): alone(-20 - day),
        ("sector_layer2_7d_pct", ALL): alone(-3 - day),
        ("sector_ai_7d_pct", ALL): alone(2.0 + day),
        ("correlation_top10_7d", ALL): alone(0.7 + day / 100),
        ("correlation_51to100_7d", ALL): alone(0.6 + day / 100),
        (MACRO_PRICE, "SPX"): alone(6_000 + 10 * day),
        (MACRO_PRICE, "GOLD"): alone(4_000 - 20 * day),
        ("stablecoin_usdt_pct", ALL): alone(0.02 - 0.9 * (day > 3) * (day < 3.02)),
        (CONTEXT, "list.USDT.supply"): alone(1.8e11 + 2e8 * day),
        ("funding_8h_pct", "DOGE"): alone(9.0),
    }
    for n, regime in enumerate(STATES):  # a twentieth of the week thin, then a cascade …
        known[f"regime_{regime}", "BTC"] = alone(float(n == minute // 504))
        known[f"regime_total_{regime}", ALL] = alone(float(regime == "thin" and minute < 1_008))
    if day < 2:
        known[SPARSE, "ETH"] = alone(15.0)
    return known


def observed(minute: int) -> list[Observed]:
    return [
        Observed(metric=metric, asset=asset, value=value, low=low, high=high)
        for (metric, asset), (value, low, high) in row_of(minute).items()
    ]


def minutes(holes: bool) -> Iterator[int]:
    """Of the week, without those of a hole of 26 minutes on Wednesday."""
    return (m for m in range(0, 10_080, STEP) if not (holes and 3_000 <= m < 3_026))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "metrics"
    log = MetricLog(folder, KEEP, 1_000)
    for minute in minutes(holes=True):
        log.write(START + minute * MINUTE, observed(minute))
    log.write(START + WEEK, observed(10_080))
    return folder


def episode(
    family: str, metric: str, unit: str, asset: str, minute: int, extreme: float, level: Level
) -> ReportedEpisode:
    return ReportedEpisode(
        family=family, metric=metric, unit=unit, fires="below" if extreme < 0 else "above",
        asset=asset, level=level, extreme=extreme, extreme_at=START + (minute + 30) * MINUTE,
        at=START + minute * MINUTE,
    )  # fmt: skip


EPISODES = (
    episode("oi_drop", "oi_net_1h_pct", "%", "BTC", 300, -5.5, Level.ALERT),
    episode("oi_drop", "oi_net_4h_pct", "%", "ETH", 2_000, -9.25, Level.ALERT),
    episode("oi_drop", "oi_net_1h_pct", "%", "BTC", 4_000, -7.5, Level.CRITICAL),
    # a day later is not in the week any more
    episode("liq_burst", "liq_10m_musd", "musd", "BTC", 9_000, 312.4, Level.CRITICAL),
    episode("cascade", "composite", "composite", "BTC", 4_010, 3.0, Level.CRITICAL),
    episode("oi_total_drop", "oi_total_net_1h_pct", "%", ALL, 4_020, -4.0, Level.ALERT),
)
SILENT = {
    "bybit": {
        Kind.DEPTH: [(START + DAY, START + DAY + 26 * MINUTE)],
        Kind.PRICE: [(START + DAY + 20 * MINUTE, START + DAY + 40 * MINUTE)],
    },
    "okx": {Kind.FUNDING: [(START, START + 2 * DAY)]},
}


@pytest.fixture(scope="module")
def week(folder: Path) -> RecordedWeek:
    week = read_week(folder, START, wanted(["BTC", "ETH"]))
    streaks(week, folder, FUNDING, ["BTC", "ETH"])
    week.alerts = WeekAlerts(since=START, episodes=EPISODES, silent=SILENT)
    return week


def values(metric: str, asset: str, part: int = 0) -> list[float]:
    """What was written of it in the week; ``part``: 0 the value, 1 the lowest, 2 the highest."""
    rows = [row_of(minute) for minute in minutes(holes=True)]
    return [row[metric, asset][part] for row in rows if (metric, asset) in row]


RULES = {"oi_drop", "cascade", "liq_burst", "oi_total_drop"}
NAMED = {"UTC", "AI", "SPX", "USDT", "USDC", "Bybit", "OKX", "list"}
"""What is called the same in every language; ``list`` is a source that the tests have made."""


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_report_in_each_language(week: RecordedWeek, language: str):
    text = week_report([week], ["BTC", "ETH"], LANGUAGES[language], {})
    check_text(GOLDEN / f"week_{language}.txt", f"{text}\n")
    assert not re.search(r"\b(None|nan|inf)\b|[{}]|<|&", text)
    if language != "en":
        left = {*re.findall(r"[A-Za-z][A-Za-z_]+", text)} - {"BTC", "ETH"} - RULES - NAMED
        assert not left, "English but names"


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "en"])
@pytest.mark.parametrize("holes", [False, True])
def test_each_language_has_the_figures_of_english_line_by_line(
    folder: Path, tmp_path: Path, language: str, holes: bool
):
    """Those of English are worked out below; money is read back by its units."""
    for file in folder.iterdir():
        if not holes or ("11-18" not in file.name and "11-22" not in file.name):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    week = read_week(tmp_path, START, wanted(["BTC", "ETH"]))
    english, other = (
        week_report([week], ["BTC", "ETH"], LANGUAGES[name], {}).split("\n")
        for name in ("en", language)
    )
    assert len(english) == len(other)
    read = 0
    for first, second in zip(english, other, strict=True):
        figures = figures_of(first, "en")
        assert figures == figures_of(second, language), f"{first}\n{second}"
        read += figures.total()
    assert read > 12


def figures_of(text: str, language: str) -> Counter[object]:
    text = text.replace("\u00a0", " ")
    figures: Counter[object] = Counter(
        amount(match, language) for match in re.finditer(MONEY[language], text)
    )
    text = re.sub(MONEY[language], " ", text)
    figures.update(re.findall(r"[+−]?[\d,.]*\d%", re.sub(r"±[\d.]+%", "", text)))
    figures.update(re.findall(r"[+−]?\d\.\d+(?![\d%])", text))
    return figures


def line(week: RecordedWeek, start: str, *before: RecordedWeek) -> str:
    text = week_report([week, *before], ["BTC", "ETH"], LANGUAGES["en"], {}).replace("−", "-")
    (only,) = [line for line in text.splitlines() if line.startswith(start)]
    return only.replace("\u00a0", " ")


def test_each_figure_is_what_a_reader_of_the_numbers_works_out(week: RecordedWeek):
    price = values(PRICE, "BTC")
    change = 100 * (price[-1] / price[0] - 1)
    low, high = min(price), max(price)
    assert line(week, "BTC price") == (
        f"BTC price: ${price[0]:,.0f} → ${price[-1]:,.0f} ({change:+.1f}%), "
        f"lowest ${low:,.0f} on 22 Nov, highest ${high:,.0f} on 16 Nov"
    )
    funding = values("funding_8h_pct", "BTC")
    negative = 100 * sum(rate < 0 for rate in funding) / len(funding)
    assert line(week, "BTC funding, settled").partition(": ")[2] == (
        f"{sum(funding) / len(funding):.4f} on average, from {min(funding):.4f} to "
        f"{max(funding):.4f}; negative {negative:.0f}% of the time"
    )
    grown = 1.0
    for day in range(7):
        grown *= 1 + (-1.0 - 0.2 * day) / 100
    assert line(week, "BTC open interest").endswith(f": {100 * (grown - 1):+.1f}% over the week")
    depth = values("depth_25bp_pct_of_normal", "BTC")
    least = min(values("depth_25bp_pct_of_normal", "BTC", 1))
    assert line(week, "BTC depth").partition(": ")[2] == (
        f"{sum(depth) / len(depth):.0f}% on average, lowest {least:.0f}% on 19 Nov"
    )
    assert line(week, "BTC 7-day realised").endswith(
        f": {values('volatility_7d_pct', 'BTC')[-1]:.0f}%"
    )
    spot = values(SPARSE, "BTC")
    assert line(week, "BTC spot").endswith(f": {sum(spot) / len(spot):.0f}% on average")


def test_the_market_s_figures_are_too(week: RecordedWeek):
    # 1,440 minutes a day, each of 0.1 million, on Thursday of 0.5; 0.04 of it are shorts
    assert line(week, "Liquidations").partition(": ")[2] == (
        "≥ $1.58B (longs ≥ $1.18B, shorts ≥ $403M) on 7 of 7 days; largest day ≥ $720M, 19 Nov"
    )
    share = values("funding_negative_share_pct", ALL)
    most = max(values("funding_negative_share_pct", ALL, 2))
    assert (
        line(week, "Contracts")
        .partition(": ")[2]
        .startswith(f"{sum(share) / len(share):.0f}% on average, at most {most:.0f}% on 17 Nov")
    )
    assert line(week, "Open interest below").partition(": ")[2] == (
        "all -17.0% · top 10 unknown · ranks 51–100 -27.0%"
    )
    assert line(week, "Sectors").partition(": ")[2] == "Layer 2 -10.0% · AI +9.0%"
    assert line(week, "Mean correlation").partition(": ")[2] == "top 10 0.77 · ranks 51–100 0.67"
    rows = values("regime_total_thin", ALL)
    thin = 100 * sum(rows) / len(rows)
    assert line(week, "Regime of the market").partition(": ")[2] == (
        f"calm {100 - thin:.0f}% · thin {thin:.0f}%"
    )
    parts = [100 * sum(x) / len(x) for x in (values(f"regime_{of}", "BTC") for of in STATES)]
    names = " · ".join(f"{of} {share:.2g}%" for of, share in zip(STATES, parts, strict=True))
    assert line(week, "BTC regime").partition(": ")[2] == f"calm {100 - sum(parts):.0f}% · {names}"
    assert line(week, "Other markets").endswith(f" · SPX {100 * (6_070 / 6_000 - 1):+.1f}%")
    assert line(week, "Watched") == "Watched: 99.7% of the minutes; longest hole 26 min, 18 Nov"


def test_conditions_are_met_or_not_by_what_was_measured(week: RecordedWeek):
    share = values("spot_share_pct", "BTC")
    last, first = share[-1_440:], share[:1_440]
    rise = sum(last) / 1_440 - sum(first) / 1_440
    assert abs(rise) < 2
    assert line(week, "Spot leading, BTC").startswith("Spot leading, BTC: not met (share of volume")
    depth = values("depth_25bp_pct_of_normal", "BTC")[-1_440:]
    assert line(week, "Depth repaired, BTC") == (
        f"Depth repaired, BTC: met (last day {sum(depth) / 1_440:.0f}% of normal)"
    )
    assert line(week, "Depth repaired, ETH") == "Depth repaired, ETH: unknown"
    prices = [(m, row_of(m)[PRICE, "BTC"][0]) for m in minutes(holes=True)]
    lost = next(m for m, x in prices if m > 6_000 and x < 94_900)
    text = line(week, "Support tested again, BTC")
    day = START // DAY * DAY + lost // 1_440 * DAY - START + 16 * DAY
    assert f"lost on {day // DAY} Nov" in text and "met ($95,000 tested 2 times" in text
    assert line(week, "Rebounds from it weak, ETH").endswith(": unknown")


def test_crypto_among_other_assets_and_stablecoins(week: RecordedWeek):
    btc, gold = values(PRICE, "BTC"), values(MACRO_PRICE, "GOLD")
    assert line(week, "BTC against other assets") == (
        f"BTC against other assets over the week: BTC {100 * (btc[-1] / btc[0] - 1):+.1f}%"
        f" · gold {100 * (gold[-1] / gold[0] - 1):+.1f}%"
        " · BTC the weakest for at least 1 week in a row"
    )
    supply = values(CONTEXT, "list.USDT.supply")
    assert line(week, "Stablecoins") == (
        "Stablecoins, in dollars: USDT lowest 0.9912 on 19 Nov, 1.0002 at the end"
        f" · USDT supply {100 * (supply[-1] / supply[0] - 1):+.1f}% over the week (list)"
    )


def test_what_the_rules_reported_is_counted_and_what_came_of_it(week: RecordedWeek):
    def day_later(asset: str, *minutes: int) -> float:
        changes = sorted(
            100 * (row_of(m + 1_440)[PRICE, asset][0] / row_of(m)[PRICE, asset][0] - 1)
            for m in minutes
        )
        return sum(changes[(len(changes) - 1) // 2 : len(changes) // 2 + 1]) / (
            2 - len(changes) % 2
        )

    drops = sorted([day_later("BTC", 300), day_later("ETH", 2_000), day_later("BTC", 4_000)])
    assert line(week, "oi_drop") == (
        "oi_drop: 3, 1 of them critical; worst -7.5% (BTC, 18 Nov); "
        f"price a day later {drops[1]:+.1f}%, median of 3"
    )
    assert line(week, "liq_burst") == (
        "liq_burst: 1, 1 of them critical; worst ≥ $312M (BTC, 22 Nov)"
    )
    assert line(week, "cascade") == (
        f"cascade: 1, 1 of them critical; price a day later {day_later('BTC', 4_010):+.1f}%, "
        "median of 1"
    )
    assert line(week, "oi_total_drop") == (
        "oi_total_drop: 1, 0 of them critical; worst -4.0% (market, 18 Nov)"
    )


def test_the_uptime_of_each_venue_that_was_silent(week: RecordedWeek):
    bybit = 100 * (1 - 40 / 10_080)
    okx = 100 * 5 / 7
    assert line(week, "Feeds") == (
        f"Feeds: Bybit {int(bybit * 10) / 10:.1f}% (books silent 26 min, prices silent 20 min)"
        f" · OKX {int(okx * 10) / 10:.1f}% (funding silent 2 d)"
    )


def test_alerts_that_are_not_all_known_say_so(folder: Path):
    week = read_week(folder, START, wanted(["BTC"]))
    assert line(week, "Reported").endswith("nothing was recorded")
    assert line(week, "Feeds").endswith("nothing was recorded")
    week.alerts = WeekAlerts(since=START + 2 * DAY)
    assert line(week, "Reported").endswith(": nothing")
    assert line(week, "known from") == "known from 18 Nov on only"
    assert line(week, "Feeds") == "Feeds: no outage of a venue was reported"


def test_since_when_funding_has_its_sign(week: RecordedWeek):
    rates = values(FUNDING, "BTC")
    run = next(n for n, rate in enumerate(reversed(rates)) if rate <= 0)
    since = 10_080 - run  # no hole at the end
    assert 0 < run < 3_000
    hours, rest, day = run // 60, run % 60, 16 + since // 1_440
    assert line(week, "BTC funding at the end") == (
        f"BTC funding at the end: positive for {hours} h {rest} min, since {day} Nov"
    )
    assert line(week, "ETH funding at the end").endswith("nothing was recorded")


@pytest.mark.parametrize(
    ("known_from", "hole", "turned", "expected"),
    [
        # it turned three days before the week, and what was before is not read
        (-10 * DAY, None, -3 * DAY, Streak(-1, START - 3 * DAY, bound=False)),
        # nothing older is known than ten days
        (-10 * DAY, None, None, Streak(-1, START - 10 * DAY, bound=True)),
        # a hole of a day may hide a settlement of another sign, one of an hour does not
        (-10 * DAY, (-2 * DAY, -DAY), -3 * DAY, Streak(-1, START - DAY, bound=True)),
        (
            -10 * DAY,
            (-2 * DAY, -2 * DAY + HOUR),
            -3 * DAY,
            Streak(-1, START - 3 * DAY, bound=False),
        ),
        # nobody looks back further than four weeks
        (-40 * DAY, None, None, Streak(-1, START - 28 * DAY, bound=True)),
    ],
)
def test_a_streak_that_is_older_than_the_week_is_followed_back(
    tmp_path: Path,
    known_from: Ms,
    hole: tuple[Ms, Ms] | None,
    turned: Ms | None,
    expected: Streak,
):
    log = MetricLog(tmp_path, KEEP, 1_000)
    for at in range(known_from, WEEK, 30 * MINUTE):
        if hole is None or not hole[0] <= at < hole[1]:
            rate = 0.01 if turned is not None and at < turned else -0.01
            log.write(START + at, [Observed(metric=FUNDING, asset="BTC", value=rate)])
    log.write(START + WEEK - MINUTE, [Observed(metric=FUNDING, asset="BTC", value=-0.01)])
    week = read_week(tmp_path, START, wanted(["BTC"]))
    streaks(week, tmp_path, FUNDING, ["BTC", "ETH"])
    assert week.streaks == {(FUNDING, "BTC"): expected}
    sign, length = "negative for", week.start + WEEK - expected.since
    bound = "≥ " * expected.bound
    days, hours = length // DAY, length % DAY // HOUR
    assert f"{sign} {bound}{days} d{f' {hours} h' * (hours > 0)}, since" in line(
        week, "BTC funding at the end"
    )


def test_of_two_rows_of_one_minute_the_later_counts(tmp_path: Path):
    """As after a clock that was set back: also for what the later one does not know."""
    log = MetricLog(tmp_path, KEEP, 1_000)
    for at, price, eth in ((0, 1.0, 7.0), (MINUTE, 2.0, 8.0), (0, 3.0, None)):
        log.write(
            START + at,
            [Observed(metric=PRICE, asset="BTC", value=price),
             Observed(metric=PRICE, asset="ETH", value=eth)],
        )  # fmt: skip
    week = read_week(tmp_path, START, wanted(["BTC"]))
    assert list(week.of(PRICE, "BTC").value) == [3.0, 2.0]
    assert list(week.of(PRICE, "ETH").at) == [START + MINUTE]


def test_what_is_not_covered_is_said_in_its_place(week: RecordedWeek):
    nothing = "not covered, nothing was recorded"
    assert line(week, "ETH funding, settled").endswith(nothing)
    assert line(week, "ETH open interest").endswith(nothing)
    assert line(week, "ETH 7-day realised").endswith(nothing)
    assert line(week, "ETH spot").endswith("not covered, 29% of the week is known")
    assert "ETH price: $4,000 → $4,350" in line(week, "ETH price")


def liquidated(start: Ms, ends: dict[int, float], name: str = "liq_total_24h_musd") -> RecordedWeek:
    week = RecordedWeek(start)
    known = week.values.setdefault((name, ALL), WeekValues())
    for day, musd in ends.items():
        known.at.append(start + (day + 1) * DAY - MINUTE)
        for of in (known.value, known.low, known.high):
            of.append(musd)
    return week


def test_the_largest_day_is_held_against_those_of_the_weeks_before(week: RecordedWeek):
    before = [
        liquidated(START - WEEK, {0: 300.0, 5: 1_912.0}),
        liquidated(START - 2 * WEEK, {}),
        liquidated(START - 3 * WEEK, {6: 19_100.0}),
    ]
    for weeks, record in ((before, "$19.1B, 1 Nov"), (before[:2], "$1.91B, 14 Nov")):
        assert line(week, "Liquidations", *weeks).endswith(
            f"; largest day ≥ $720M, 19 Nov; of the weeks before ≥ {record}"
        )
    assert "weeks before" not in line(week, "Liquidations", before[1])


def test_sides_are_told_where_they_are_known_of_each_day():
    of_sum = liquidated(START, {1: 100.0, 2: 250.0})
    text = line(of_sum, "Liquidations").partition(": ")[2]
    assert text == "≥ $350M on 2 of 7 days; largest day ≥ $250M, 18 Nov"
    for of_longs, sides in (
        ({1: 90.0}, ""),
        ({1: 90.0, 2: 250.0}, " (longs ≥ $340M, shorts ≥ $10M)"),
    ):
        known = liquidated(START, of_longs, LONGS)
        of_sum.values[LONGS, ALL] = known.values[LONGS, ALL]
        text = line(of_sum, "Liquidations").partition(": ")[2]
        assert text == f"≥ $350M{sides} on 2 of 7 days; largest day ≥ $250M, 18 Nov"


def test_a_day_that_is_missing_takes_away_what_it_is_needed_for(folder: Path, tmp_path: Path):
    for file in sorted(folder.iterdir()):
        if "11-18" not in file.name and "11-22" not in file.name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    week = read_week(tmp_path, START, wanted(["BTC", "ETH"]))
    assert line(week, "BTC price").endswith("not covered, 71% of the week is known")
    assert line(week, "BTC open interest").endswith("not covered, 71% of the week is known")
    assert line(week, "BTC 7-day realised").endswith("not covered, 71% of the week is known")
    assert line(week, "Liquidations").partition(": ")[2] == (
        "≥ $1.29B (longs ≥ $1B, shorts ≥ $288M) on 5 of 7 days; largest day ≥ $720M, 19 Nov"
    )
    assert line(week, "Open interest below").count("unknown") == 3
    assert line(week, "Watched") == "Watched: 71.4% of the minutes; longest hole 1 d, 18 Nov"


def test_a_file_that_is_torn_counts_up_to_there(folder: Path, tmp_path: Path):
    for file in sorted(folder.iterdir()):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    torn = tmp_path / "2026-11-17.metrics"
    data = torn.read_bytes()
    torn.write_bytes(data[: len(data) // 2])
    (tmp_path / "2026-11-20.metrics").write_text("no log")
    week = read_week(tmp_path, START, wanted(["BTC"]))
    days = {(at - START) // DAY for at in week.minutes}
    assert days == {0, 1, 2, 3, 5, 6}
    assert 0 < len([at for at in week.minutes if (at - START) // DAY == 1]) < 1_440


def test_a_week_of_which_nothing_is_there_invents_nothing(tmp_path: Path):
    week = read_week(tmp_path, START, wanted(["BTC"]))
    text = week_report([week], ["BTC"], LANGUAGES["en"], {})
    assert text.count("not covered, nothing was recorded") == 17
    assert text.count("unknown") == 9
    texts = [line.partition(": ")[2] for line in text.splitlines()]
    figures = [line for line in texts if re.search(r"\d[^.]", line) and "unknown" not in line]
    assert figures == ["0% of the minutes; longest hole 7 d, 16 Nov"]


def test_a_week_begins_on_its_monday():
    assert monday("2026-11-16") == 1_794_787_200_000
    with pytest.raises(ValueError, match="is no Monday: that of its week is 2026-11-16"):
        monday("2026-11-22")
    with pytest.raises(ValueError, match="is no day"):
        monday("2026-11-31")


def test_the_command_prints_it(folder: Path, capsys: pytest.CaptureFixture[str]):
    config = folder.parent.parent / "config.toml"
    config.write_text(
        f'extends = "shipped"\n[redis]\ndata_dir = "{folder.parent}"\n'
        '[markets]\nmajors = ["BTC", "ETH"]\n'
    )
    command = ["report", "--config", str(config), "--week", "2026-11-16", "--lang", "ja"]
    with pytest.raises(SystemExit) as done:
        main(command)
    assert not done.value.code
    printed, errors = capsys.readouterr()
    assert errors.startswith("what was reported is not known: ")  # no Lowtide runs there
    golden = (GOLDEN / "week_ja.txt").read_text(encoding="utf-8").splitlines()
    known = printed.splitlines()
    assert {line for line in known if line not in golden} == {
        "ルールの検知（各チャットの絞り込みと上限の適用前）：データなし（今週の記録なし）",
        "データ配信：データなし（今週の記録なし）",
    }
    assert len(known) > 20
    with pytest.raises(SystemExit) as done:
        main([*command[:3], "--week", "2026-11-17"])
    assert done.value.code
    assert "is no Monday" in capsys.readouterr().err


@pytest.mark.parametrize("monday", ["2999-12-30", "9999-12-27"])
def test_a_week_that_is_not_over_has_no_report(
    monday: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.toml"
    path.write_text('extends = "shipped"\n')
    with pytest.raises(SystemExit):
        main(["report", "--config", str(path), "--week", monday])
    assert f"the week of {monday} is not over: name an earlier Monday" in capsys.readouterr().err
