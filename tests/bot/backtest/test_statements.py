"""The 25 statements of the weekly notes, on a week like that of November 2025 whose numbers are
known: recomputed here from what was written, by other means."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from bot.__main__ import main
from bot.backtest.statements import WEEKS, needed, statements
from bot.backtest.week import RecordedWeek, monday, read_week
from bot.lang import LANGUAGES
from bot.metriclog import MetricLog
from rules.alerts import ALL
from rules.context import CONTEXT
from rules.snapshot import MACRO_PRICE, PRICE, Observed
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Ms
from tests.bot.backtest.logs import KEEP
from tests.golden import check_text

GOLDEN = Path(__file__).parents[1] / "golden"
WEEK: Ms = 7 * DAY
START: Ms = monday("2025-11-17")
STEP: Ms = 5 * MINUTE
FIRST: Ms = START - 2 * WEEK
"""Two weeks before are recorded; of the one before those nothing is."""

HIGH_DAY = 20_367
"""6 October 2025."""

SUPPORTS = {"BTC": (80_600.0,)}
"""Levels of the operator's own."""

Curve = Callable[[float], float]
"""A value at so many days after START; before it from −14 on."""


def line(*points: tuple[float, float]) -> Curve:
    """Straight between points, the day first, and level beyond them."""

    def at(day: float) -> float:
        for (a, x), (b, y) in pairwise(points):
            if a <= day <= b:
                return x + (y - x) * (day - a) / (b - a)
        return points[0][1] if day < points[0][0] else points[-1][1]

    return at


def steps(*points: tuple[float, float]) -> Curve:
    """The value of the last point that is not later."""
    return lambda day: [value for at, value in points if at <= day + 1e-9][-1]


CURVES: dict[tuple[str, str], Curve] = {
    (PRICE, "BTC"): line(
        (-14, 110_000), (0, 95_000), (4, 80_600), (4.5, 83_600), (5, 80_650), (5.4, 82_500),
        (5.8, 80_620), (7, 87_000),
    ),
    (PRICE, "ETH"): line((-14, 3_900), (0, 3_100), (4, 2_650), (7, 2_800)),
    ("market_cap_trillion_usd", ALL): line((-14, 3.6), (0, 3.25), (4, 2.81), (7, 2.95)),
    ("market_cap_24h_pct", ALL): line((-14, -1), (3.5, -2), (4, -10.36), (4.5, -1)),
    (MACRO_PRICE, "SP500"): line((-14, 6_800), (0, 6_730), (7, 6_600)),
    (MACRO_PRICE, "NASDAQ100"): line((-14, 25_500), (0, 25_000), (7, 24_240)),
    (MACRO_PRICE, "NIKKEI225"): line((-14, 51_000), (0, 50_300), (7, 48_600)),
    (MACRO_PRICE, "KOSPI200"): line((-14, 560), (0, 550), (7, 529)),
    (MACRO_PRICE, "GOLD"): line((-14, 4_000), (0, 4_080), (7, 4_028)),
    (MACRO_PRICE, "SILVER"): line((-14, 48), (0, 50.6), (7, 49.12)),
    (MACRO_PRICE, "USDJPY"): line((-14, 153), (0, 154.5), (7, 156.4)),
    (MACRO_PRICE, "NVDA"): line((-14, 200), (0, 190), (7, 179)),
    (MACRO_PRICE, "MSTR"): line((-14, 240), (0, 200), (7, 171)),
    ("funding_8h_pct", "BTC"): steps(
        (-14, 0.004), (-9, -0.001), (-8, 0.003), (4, -0.002), (6, 0.001)
    ),
    ("spot_share_pct", "BTC"): line((-14, 24), (0, 24), (7, 31)),
    ("correlation_top10_7d", ALL): line((-14, 0.8), (7, 0.9)),
    ("correlation_51to100_7d", ALL): line((-14, 0.75), (7, 0.7)),
    ("sector_layer2_7d_pct", ALL): line((-14, 2), (0, -3), (7, -7.42)),
    ("sector_ai_7d_pct", ALL): line((-14, 2), (0, -3), (7, -9.13)),
    ("sector_ai_24h_pct", ALL): line((-14, 2), (7, -1)),
    ("volatility_7d_pct", "BTC"): line((-14, 35), (7, 50.4)),
    ("drawdown_oi_total_net_pct", ALL): line((-14, -20), (7, -41.3)),
    ("drawdown_oi_top10_net_pct", ALL): line((-14, -15), (7, -30.2)),
    ("drawdown_oi_51to100_net_pct", ALL): line((-14, -30), (7, -61.7)),
    ("spot_depth_25bp_pct_of_recent", "BTC"): line((-14, 100), (3, 100), (4, 62), (5, 97)),
    ("liq_total_24h_musd", ALL): line(
        (-14, 300), (-6, 2_513), (-5, 400), (3, 400), (4, 2_031), (5, 500)
    ),
    ("depth_25bp_pct_of_normal", "BTC"): line((-14, 100), (3.9, 90), (4, 2.25), (4.2, 80)),
    (CONTEXT, "list.BTC.high"): line((0, 126_080)),
    (CONTEXT, "list.BTC.high_day"): line((0, HIGH_DAY)),
    (CONTEXT, "odds.cut"): line((0, 0.70), (3, 0.30), (6, 0.71)),
    (CONTEXT, "odds.hold"): line((0, 0.29), (3, 0.69), (6, 0.28)),
    (CONTEXT, "odds.hike"): line((0, 0.01)),
    (CONTEXT, "odds.meeting_day"): line((0, 20_432)),
    (CONTEXT, "coins.USDE.price"): line((0, 1.0), (4, 0.9731), (5, 0.999)),
    (CONTEXT, "coins.USDT.price"): line((0, 1.0001)),
    ("stablecoin_usdt_pct", ALL): line((-14, 0.02), (3.9, -0.03), (4, -0.81), (4.2, -0.02)),
    ("stablecoin_usdc_pct", ALL): line((-14, 0.01), (4, -0.11), (7, 0)),
    (CONTEXT, "series:IBIT.value"): steps((-14, 60.6), (1, -523.2), (3, -355.5), (5, -122.0)),
    (CONTEXT, "series:IBIT.day"): steps((-14, 20_405), (1, 20_410), (3, 20_412), (5, 20_413)),
    (CONTEXT, "series:IBIT.low"): steps((-14, -463.1), (1, -523.2)),
    (CONTEXT, "series:IBIT.low_day"): steps((-14, 20_406), (1, 20_410)),
    (CONTEXT, "series:IBIT.first_day"): line((0, 20_362)),
    (CONTEXT, "series:IBIT.sum_30d"): steps((-14, -900), (5, -2_334.6)),
    (CONTEXT, "series:MSTR_SHARES.value"): line((0, 287.0e6)),
    (CONTEXT, "series:MSTR_SHARES.day"): line((0, 20_395)),
    (CONTEXT, "series:MSTR_COINS.value"): steps((-14, 641_692), (0, 649_870)),
    (CONTEXT, "series:MSTR_COINS.day"): steps((-14, 20_395), (0, 20_409)),
    **{
        (f"regime_total_{state}", ALL): steps((-14, 0), (since, 1), (until, 0))
        for state, since, until in (
            ("thin", 2, 3.75), ("cascade", 3.75, 4.5), ("reset", 4.5, 8), ("repair", 20, 21),
        )
    },
}  # fmt: skip
"""What is written, by metric and asset."""


def moments(start: Ms = START) -> list[Ms]:
    return [*range(start, start + WEEK, STEP)]


@cache
def written(metric: str, asset: str, start: Ms = START) -> list[tuple[float, Ms]]:
    """Values with their times, as the log keeps them."""
    curve = CURVES[metric, asset]
    return [(float(f"{curve((at - START) / DAY):.7g}"), at) for at in moments(start)]


def ends(metric: str, asset: str, start: Ms = START) -> tuple[float, float]:
    values = written(metric, asset, start)
    return values[0][0], values[-1][0]


def moved(metric: str, asset: str, start: Ms = START) -> str:
    first, last = ends(metric, asset, start)
    return f"{100 * (last - first) / first:+.1f}%"


def day(at: Ms) -> str:
    return f"{datetime.fromtimestamp(at / 1000, UTC):%-d %b}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "metrics"
    log = MetricLog(folder, KEEP, 1_000)
    for at in range(FIRST, START + WEEK + STEP, STEP):
        log.write(at, [
            Observed(metric=metric, asset=asset, value=curve((at - START) / DAY))
            for (metric, asset), curve in CURVES.items()
        ])  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def weeks(folder: Path) -> list[RecordedWeek]:
    is_needed = needed(["BTC", "ETH"])
    return [read_week(folder, START - back * WEEK, is_needed) for back in range(WEEKS)]


def lines(weeks: list[RecordedWeek], language: str = "en") -> dict[int, str]:
    text = statements(weeks, ["BTC", "ETH"], LANGUAGES[language], SUPPORTS).replace("\u00a0", " ")
    _, _, body = text.partition("\n\n")
    return {int(row.partition(".")[0]): row.partition(". ")[2] for row in body.splitlines()}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_statements_in_each_language(weeks: list[RecordedWeek], language: str):
    text = statements(weeks, ["BTC", "ETH"], LANGUAGES[language], SUPPORTS)
    check_text(GOLDEN / f"statements_{language}.txt", f"{text}\n")
    assert not re.search(r"\b(None|nan|inf)\b|[{}]|<|&(?!P)", text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_none_is_missing_and_none_is_silent(weeks: list[RecordedWeek], language: str):
    separator = ": " if language == "en" else "："
    shown = lines(weeks, language)
    assert [*shown] == [*range(1, 26)]
    missing = LANGUAGES[language].phrases["note.missing"].partition("{")[0]
    for number, text in shown.items():
        value = text.partition(separator)[2]
        assert len(value) > 10, number
        assert re.search(r"\d", value) or value.startswith(missing), number
    silent = {number for number, text in shown.items() if not re.search(r"\d.*\d", text)}
    assert silent == {3, 24}


def test_of_what_was_not_recorded_each_line_says_so(tmp_path: Path):
    (tmp_path / "metrics").mkdir()
    empty = [read_week(tmp_path / "metrics", START, needed(["BTC"]))] * WEEKS
    shown = lines(empty)
    assert [*shown] == [*range(1, 26)]
    assert [number for number, text in shown.items() if "not available: " not in text] == []


def known(weeks: list[RecordedWeek], number: int) -> str:
    return lines(weeks)[number].replace("−", "-")


def test_the_total_is_below_three_trillion_for_the_first_time(weeks: list[RecordedWeek]):
    cap = written("market_cap_trillion_usd", ALL)
    low, low_at = min(cap)
    crossed = next(at for value, at in cap if value < 3)
    worst, worst_at = min(written("market_cap_24h_pct", ALL))
    assert known(weeks, 1) == (
        f"All coins together: lowest ${low:.2f}T on {day(low_at)}"
        f" · below $3T on {day(crossed)}, for the first time since {day(FIRST)}"
        f" · largest fall in 24 h {worst:.1f}% on {day(worst_at)} (own data, since {day(FIRST)})"
    )


def test_crypto_is_the_worst_class_for_weeks(weeks: list[RecordedWeek]):
    classes = ("SP500", "NASDAQ100", "NIKKEI225", "KOSPI200", "GOLD", "SILVER")
    for start in (START, START - WEEK, START - 2 * WEEK):
        own = ends(PRICE, "BTC", start)
        for asset in classes:
            other = ends(MACRO_PRICE, asset, start)
            assert own[1] / own[0] < other[1] / other[0]
    text = known(weeks, 2)
    assert f"against other assets: BTC {moved(PRICE, 'BTC')}" in text
    for name, asset in (("gold", "GOLD"), ("S&P 500", "SP500"), ("Nikkei 225", "NIKKEI225")):
        assert f"{name} {moved(MACRO_PRICE, asset)}" in text
    assert "BTC the weakest for at least 3 weeks in a row (own data" in text


def test_odds_go_from_70_to_30_to_71(weeks: list[RecordedWeek]):
    cut = [100 * value for value, _ in written(CONTEXT, "odds.cut")]
    assert (
        f"decision 10 Dec · cut {cut[0]:.1f}% → {cut[-1]:.1f}%"
        f" (from {min(cut):.1f} to {max(cut):.1f})"
    ) in known(weeks, 4)
    assert "(odds, since" in known(weeks, 4)


def test_prices_of_what_is_no_coin(weeks: list[RecordedWeek]):
    for number, assets in (
        (5, {"USD/JPY": "USDJPY"}), (6, {"NVDA": "NVDA", "KOSPI 200": "KOSPI200"}),
        (7, {"gold": "GOLD", "silver": "SILVER"}), (21, {"MSTR": "MSTR"}),
    ):  # fmt: skip
        for name, asset in assets.items():
            last = ends(MACRO_PRICE, asset)[1]
            shown = f"{last:,.0f}" if last > 10_000 else f"{float(f'{last:.5g}'):,}"
            shown = shown.removesuffix(".0")
            assert f"{name} {shown} ({moved(MACRO_PRICE, asset)})" in known(weeks, number)
    assert "not available: no source without a key has the yields" in known(weeks, 5)
    assert "not available: no perpetual is watched on Hong Kong" in known(weeks, 6)
    share, coin = ends(MACRO_PRICE, "MSTR")[1], ends(PRICE, "BTC")[1]
    mnav = 287.0e6 * share / (649_870 * coin)
    assert known(weeks, 21).endswith(
        f" · MSTR basic mNAV {mnav:.3g}, ours: 287M shares (3 Nov), 649,900 BTC (17 Nov)"
        f" (MSTR_SHARES, MSTR_COINS, since {day(FIRST)})"
    )


def test_funding_was_negative_and_when_before(weeks: list[RecordedWeek]):
    rates = written("funding_8h_pct", "BTC")
    below = [at for rate, at in rates if rate < 0]
    before = [at for rate, at in written("funding_8h_pct", "BTC", START - 2 * WEEK) if rate < 0]
    last = max(at for start in (START - WEEK, START - 2 * WEEK)
               for rate, at in written("funding_8h_pct", "BTC", start) if rate < 0)  # fmt: skip
    assert before
    hours = (below[-1] - below[0]) // 3_600_000
    assert known(weeks, 8).startswith(
        f"Funding below zero: BTC negative {100 * len(below) / len(rates):.0f}% of the time"
        f" · longest {hours // 24} d {hours % 24} h, from {day(below[0])}"
        f" · negative before on {day(last)}"
    )


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_structure(weeks: list[RecordedWeek]):
    share = written("spot_share_pct", "BTC")
    first = mean([value for value, at in share if at < START + DAY])
    last = mean([value for value, at in share if at >= START + 6 * DAY])
    average = mean([value for value, _ in share])
    assert f"BTC {average:.0f} on average, first day {first:.0f}, last day {last:.0f}" in known(
        weeks, 9
    )
    top, middle = (ends(f"correlation_{of}_7d", ALL)[1] for of in ("top10", "51to100"))
    assert f"top 10 {top:.1g} · ranks 51–100 {middle:.1g} · gap {top - middle:.1g}" in known(
        weeks, 10
    )
    assert f"BTC {ends('volatility_7d_pct', 'BTC')[1]:.0f}%" in known(weeks, 11)
    sectors = [f"{title} {ends(f'sector_{name}_7d_pct', ALL)[1]:.1f}%"
               for name, title in (("ai", "AI"), ("layer2", "Layer 2"))]  # fmt: skip
    assert " · ".join(sectors) in known(weeks, 12)
    of = {g: ends(f"drawdown_oi_{g}_net_pct", ALL)[1] for g in ("total", "top10", "51to100")}
    assert f"all {of['total']:.1f}% (own data" in known(weeks, 13)
    assert f"top 10 {of['top10']:.1f}% · ranks 51–100 {of['51to100']:.1f}%" in known(weeks, 14)
    depth = written("spot_depth_25bp_pct_of_recent", "BTC")
    low, low_at = min(depth)
    usual = mean([value for value, _ in depth])
    assert f"BTC {usual:.0f} on average, lowest {low:.0f} on {day(low_at)}" in known(weeks, 15)
    gone, gone_at = min(written("depth_25bp_pct_of_normal", "BTC"))
    assert f"BTC -{100 - gone:.0f}% on {day(gone_at)}" in known(weeks, 22)


def cut(value: float) -> str:
    """Billions to three digits, never rounded up."""
    return f"≥ ${int(value / 10) / 100:.2f}B"


def test_liquidations_are_lower_bounds_and_have_a_record(weeks: list[RecordedWeek]):
    most, at = max(written("liq_total_24h_musd", ALL))
    record, record_at = max(
        largest
        for start in (START - WEEK, START - 2 * WEEK)
        for largest in [max(written("liq_total_24h_musd", ALL, start))]
    )
    assert f"largest {cut(most)}, {day(at)}" in known(weeks, 16)
    assert "not available: feeds carry orders, never accounts" in known(weeks, 16)
    assert (
        f"{cut(most)} at most this week; the largest before {cut(record)}, {day(record_at)}"
    ) in known(weeks, 17)


def test_from_the_high_after_46_days(weeks: list[RecordedWeek]):
    low, at = min(written(PRICE, "BTC"))
    assert known(weeks, 18) == (
        f"From the high of all time: BTC ${low:,.0f} on {day(at)}, {100 * (low / 126_080 - 1):.1f}%"
        f" from $126,080 on 6 Oct, after {at // DAY - HIGH_DAY} days (list, since {day(FIRST)})"
    )
    assert at // DAY - HIGH_DAY == 46


def test_a_support_that_is_tested_again_and_again(weeks: list[RecordedWeek]):
    """The level was reached three times; between them and after the last the price was clear."""
    level = SUPPORTS["BTC"][0]
    price = [*written(PRICE, "BTC", START - 2 * WEEK), *written(PRICE, "BTC", START - WEEK)]
    price += written(PRICE, "BTC")
    price = [(value, at) for value, at in price if at % (10 * MINUTE) == 0]
    tests: list[Ms] = []
    highs: list[float] = []
    for value, at in price:
        if value < 80_700 and (not tests or highs[-1] > 82_000):
            tests.append(at)
            highs.append(0.0)
        if tests:
            highs[-1] = max(highs[-1], value)
    assert len(tests) == 3 and tests[0] in range(START + 3 * DAY + 22 * HOUR, START + 4 * DAY)
    rebounds = [100 * (high / level - 1) for high in highs]
    fall = 100 * (max(value for value, _ in price) / level - 1)
    shown = ", ".join(f"{pct:+.1f}%" for pct in rebounds)
    assert known(weeks, 19) == (
        f"Supports tested, rebounds: BTC ${level:,.0f} tested 3 times since {day(tests[0])}"
        f" · {shown}, a median of {100 * sorted(rebounds)[1] / fall:.0f}% of the fall before"
        f" (own data, since {day(FIRST)})"
    )


def test_flows_and_stablecoins(weeks: list[RecordedWeek]):
    assert known(weeks, 20) == (
        "Flows of funds: -122 on 21 Nov; lowest -523.2 on 18 Nov since 1 Oct;"
        " 30 days together -2,334.6 (IBIT)"
    )
    low, at = min(written(CONTEXT, "coins.USDE.price"))
    own, own_at = min(written("stablecoin_usdt_pct", ALL))
    assert known(weeks, 23) == (
        f"Stablecoins below a dollar: USDT at {1 + own / 100:.4f} on {day(own_at)}"
        f" (own data, since {day(FIRST)}) · USDE at {low:.4f} on {day(at)} (coins,"
        f" since {day(FIRST)})"
    )


def test_the_order_of_regimes(weeks: list[RecordedWeek]):
    assert known(weeks, 25).startswith(
        "The order of events: calm 17 Nov → thin 19 Nov → cascade 20 Nov → reset 21 Nov (own data"
    )


def test_what_is_not_seen_before_the_first_day_is_not_claimed(folder: Path):
    """The week of the installation: weeks in a row are at least so many."""
    is_needed = needed(["BTC"])
    first = [read_week(folder, START - back * WEEK, is_needed) for back in (2, 3, 4, 5)]
    shown = lines(first)
    assert "for at least 1 week in a row" in shown[2]
    assert shown[17].endswith("not available: no week before this one was recorded")


def test_the_first_time_is_said_of_what_was_watched_without_a_hole(tmp_path: Path):
    """The total falls below 3 trillion twice; before the second time a day is a hole."""
    log = MetricLog(tmp_path / "metrics", KEEP, 1_000)
    hole = range(START + 2 * DAY, START + 3 * DAY)
    for at in range(START - DAY, START + WEEK, STEP):
        if at not in hole:
            cap = 3.2 if at < START + 4 * DAY else 2.9
            log.write(at, [
                Observed(metric="market_cap_trillion_usd", asset=ALL, value=cap),
                Observed(metric="volatility_7d_pct", asset="BTC", value=50.0),
            ])  # fmt: skip
    weeks = [read_week(tmp_path / "metrics", START - n * WEEK, needed(["BTC"])) for n in range(2)]
    assert "below $3T on 21 Nov, for the first time since 20 Nov" in lines(weeks)[1]
    assert lines(weeks)[11].endswith("BTC 50% (own data, since 20 Nov)")


def test_published_totals_where_no_rule_counts_them(folder: Path, tmp_path: Path):
    log = MetricLog(tmp_path / "metrics", KEEP, 1_000)
    for at in moments():
        low = 3.1e12 - 1e8 * (at - START) / MINUTE
        log.write(at, [
            Observed(metric=CONTEXT, asset="list.market_cap", value=low),
            Observed(metric=CONTEXT, asset="list.market_cap_24h_pct", value=-9.9993),
            Observed(metric=CONTEXT, asset="coins.USDT.price", value=0.9991),
        ])  # fmt: skip
    week = [read_week(tmp_path / "metrics", START, needed(["BTC"]))]
    shown = lines(week)
    lowest = 3.1e12 - 1e8 * (moments()[-1] - START) / MINUTE
    assert shown[1].replace("−", "-") == (
        f"All coins together: lowest ${lowest / 1e12:.2f}T on 23 Nov"
        " · largest fall in 24 h -10.0% on 17 Nov (list, since 17 Nov)"
    )
    assert shown[23].startswith(
        "Stablecoins below a dollar: all of 1 kept their dollar, the lowest · USDT at 0.9991"
    )


def test_the_command_prints_them(folder: Path, capsys: pytest.CaptureFixture[str]):
    config = folder.parent.parent / "config.toml"
    config.write_text(
        f'extends = "shipped"\n[redis]\ndata_dir = "{folder.parent}"\n'
        '[markets]\nmajors = ["BTC", "ETH"]\nsupports = { BTC = [80600] }\n'
    )
    command = ["report", "--config", str(config), "--week", "2025-11-17", "--lang", "ja"]
    with pytest.raises(SystemExit) as done:
        main([*command, "--statements"])
    assert not done.value.code
    printed = capsys.readouterr().out
    assert printed == (GOLDEN / "statements_ja.txt").read_text(encoding="utf-8")
