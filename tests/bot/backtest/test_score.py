"""What rings were worth: falls against a naive finder, sums against an example done by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.backtest.command import Options, score
from bot.backtest.score import DEEPEST, Fall, falls
from bot.config import load
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Ms
from tests.bot.backtest.logs import START, Row, write
from tests.conftest import ROOT


def naive(rows: list[tuple[Ms, float, float]], least_pct: float) -> list[tuple[Ms, Ms, Ms]]:
    """High, low and end of each fall, by the words of the module, each time anew."""
    spans: list[tuple[Ms, Ms, Ms]] = []
    first = n = 0
    while n < len(rows):
        now, _, low = rows[n]
        before = [r for r in rows[first:n] if r[0] >= now - DAY]
        if not before:
            n += 1
            continue
        height = max(high for _, high, _ in before)
        if low > height * (1 - least_pct / 100):
            n += 1
            continue
        high_at = max(at for at, high, _ in before if high == height)
        bottom, end = (now, low), len(rows) - 1
        for k in range(n + 1, len(rows)):
            at, above, below = rows[k]
            if below < bottom[1]:
                bottom = at, below
            elif above >= bottom[1] + (height - bottom[1]) / 2 or at - bottom[0] > DAY:
                end = k
                break
        else:
            spans.append((high_at, bottom[0], rows[-1][0]))
            break
        spans.append((high_at, bottom[0], rows[end][0]))
        first = n = end
        n += 1
    return spans


PRICES = st.lists(
    st.tuples(st.sampled_from([1, 3, 9, 30]), st.integers(60, 100), st.integers(0, 15)),
    max_size=60,
)


@given(PRICES, st.sampled_from([5.0, 10.0, 20.0]))
def test_falls_are_those_of_a_naive_finder(steps: list[tuple[int, int, int]], least_pct: float):
    rows: list[tuple[Ms, float, float]] = []
    now = START
    for hours, high, width in steps:
        now += hours * HOUR
        rows.append((now, float(high), float(high - width)))
    at = np.array([row[0] for row in rows], np.int64)
    high = np.array([row[1] for row in rows], np.float32)
    low = np.array([row[2] for row in rows], np.float32)
    fall_list = list(falls("BTC", "majors", at, high, low, least_pct))
    assert [(f.high_at, f.low_at, f.ended_at) for f in fall_list] == naive(rows, least_pct)


def test_the_share_to_come_is_between_nothing_and_all():
    fall = Fall(
        asset="BTC", tier="majors", high_at=0, high=100, low_at=1, low=90, ended_at=2
    )  # fmt: skip
    assert [fall.to_come(price) for price in (101, 100, 97.5, 90, 80)] == [1, 1, 0.75, 0, 0]
    assert fall.pct == pytest.approx(-10)


def path(*legs: tuple[int, float]) -> list[float]:
    """A price a minute from 100, in straight lines: over so many minutes to that price."""
    prices = [100.0]
    for minutes, to in legs:
        begin = prices[-1]
        prices += [begin + (to - begin) * n / minutes for n in range(1, minutes + 1)]
    return prices


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BTC falls by a tenth within 100 min, and liquidations ring when half of it lies ahead; then
    a day of calm with one ring for nothing; then ETH falls and nobody rings."""
    folder = tmp_path_factory.mktemp("score")
    btc = path((60, 100), (100, 90), (60, 99), (1440, 99))
    eth = path((60 + 100 + 60 + 1300, 100), (140, 92))
    rows: list[Row] = []
    for n, (first, second) in enumerate(zip(btc, eth, strict=True)):
        liquidated = 50.0 if 110 <= n < 112 or 1000 <= n < 1002 else 1.0
        hour_ago = btc[max(n - 60, 0)]
        rows.append({
            ("price", "BTC"): first, ("price", "ETH"): second, ("liq_10m_musd", "BTC"): liquidated,
            ("price_1h_pct", "BTC"): (first / hour_ago - 1) * 100,
        })  # fmt: skip
    write(folder, rows)
    return folder


def test_a_score_counts_what_was_caught_and_what_was_not(folder: Path):
    settings = load(ROOT / "config.toml", {})
    answer = json.loads(score(settings, Options(paths=[folder], as_json=True), {}))
    ours, *simple = answer["scores"]
    assert [simple_score["name"] for simple_score in simple] == [
        "price -5 % in 1 h", "open interest -5 % in 1 h", "charged funding below 0 %",
    ]  # fmt: skip
    [tier] = ours["tiers"]
    btc, eth = tier["caught"]
    begun, low = START + 60 * MINUTE, START + 160 * MINUTE
    assert (btc["asset"], btc["high_at"], btc["low_at"]) == ("BTC", begun, low)
    assert btc["rule"] == "liq_burst"
    assert START + 110 * MINUTE < btc["first_at"] <= START + 112 * MINUTE  # it waits for others
    assert btc["lead_ms"] == low - btc["first_at"]
    assert btc["to_come"] == pytest.approx(0.5, abs=0.02)
    assert (eth["asset"], eth["rings"], eth["to_come"]) == ("ETH", 0, 0)
    assert eth.get("first_at") is None
    whole = tier["whole"]
    assert (whole["falls"], whole["caught"], whole["rings"]) == (2, 1, whole["rings"])
    assert whole["without_fall"] == 1
    assert whole["mean_to_come"] == pytest.approx(0.25, abs=0.01)
    assert whole["calm_rings_a_month"] > 0
    assert "funding_negative" in tier["not_judged"] and "liq_burst" not in tier["not_judged"]
    price = simple[0]["tiers"][0]
    assert [fall["rings"] for fall in price["caught"]] == [1, 0]
    assert price["whole"]["without_fall"] == 0

    words = score(settings, Options(paths=[folder]), {})
    assert "1 of 2" in words and "ETH -8.0 %: missed; missed\n" in f"{words}\n"
    assert "charged funding below 0 %: not judged" in words


def test_rules_of_one_line_are_tried_at_the_noise_and_at_the_recall_of_ours(folder: Path):
    settings = load(ROOT / "config.toml", {})
    answer = json.loads(score(settings, Options(paths=[folder], as_json=True, levels=True), {}))
    ours, *lines = answer["scores"]
    noise = ours["tiers"][0]["whole"]["calm_rings_a_month"]
    whole_by_name = {line["name"]: line["tiers"][0]["whole"] for line in lines}
    # BTC falls by a tenth in 100 min, 6 % in an hour: the deepest level that catches it is -5.5 %
    assert whole_by_name["price -5.5 % in 1 h"]["caught"] == 1
    assert whole_by_name["price -7 % in 1 h"]["caught"] == 0
    to_come = [whole_by_name[f"price {level:g} % in 1 h"]["mean_to_come"] for level in (-5, -4, -2)]
    assert to_come == sorted(to_come) and to_come[0] < to_come[-1]
    assert whole_by_name["price -2 % in 1 h"]["calm_rings_a_month"] == 0 < noise
    words = score(settings, Options(paths=[folder], levels=True), {})
    head, no_louder, no_blinder, *_ = words.split("\n\n")[1:]
    assert [line.split("  ")[0] for line in no_louder.splitlines()] == [
        "no louder than config.toml, the most to come", "price -1.5 % in 1 h",
    ]  # fmt: skip
    assert no_blinder.startswith("catch as much as config.toml, the least calm rings")
    assert "price" in no_blinder.splitlines()[1]
    assert "price -5 % in 1 h" in head and "price -4 %" not in head


def test_a_score_without_prices_is_refused_in_words(tmp_path: Path):
    write(tmp_path, [{("liq_10m_musd", "BTC"): 1.0}])
    settings = load(ROOT / "config.toml", {})
    with pytest.raises(ValueError, match="no prices"):
        score(settings, Options(paths=[tmp_path]), {})


def test_the_deepest_falls_are_listed_and_the_rest_counted(tmp_path: Path):
    table = tmp_path / "prices.csv"
    lines = [
        f"{START + n * 6 * HOUR},BTC,{100 if n % 2 else 100 - 10 - n / 10}"
        for n in range(4 * DEEPEST)
    ]
    table.write_text("\n".join(["known_ms,asset,price", *lines]))
    write(tmp_path / "log", [{("liq_10m_musd", "BTC"): 1.0}])
    settings = load(ROOT / "config.toml", {})
    words = score(settings, Options(paths=[table, tmp_path / "log"]), {})
    listed = [line for line in words.splitlines() if line.startswith("  20")]
    assert len(listed) == DEEPEST
    assert "--json has all" in words
    assert f"BTC -{10 + (4 * DEEPEST - 2) / 10:.1f} %" in listed[-1]
