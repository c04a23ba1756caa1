"""The report: its order, its figures against the posts themselves, and the three forms it takes."""

import re
from pathlib import Path

import msgspec
import pytest

from bot.backtest import html
from bot.backtest.command import reported
from bot.backtest.evaluate import Seen
from bot.backtest.report import Report, days_of, names, text
from bot.backtest.sources import Sources
from bot.config import load
from streams.durations import DAY, HOUR, MINUTE
from tests.bot.backtest.logs import START, Row, write
from tests.conftest import ROOT

BURST = 150.0


def rows() -> list[Row]:
    """Two hours: a burst, ten minutes without a value, and the price that falls in between."""
    minutes: list[Row] = []
    for n in range(360):
        value = BURST if 60 <= n < 70 else None if 200 <= n < 210 else 1.0
        minutes.append({("liq_10m_musd", "BTC"): value, ("price", "BTC"): 100 - 10 * (n >= 65)})
    return minutes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    write(folder, rows())
    return folder


def test_it_says_what_was_seen_told_and_loudest(folder: Path):
    settings = load(ROOT / "config.toml", {})
    report, scenes, runs = reported(Sources([folder], settings, []), [settings, settings])
    [values, prices] = report.coverage
    assert (values.metric, values.assets, values.hours) == ("liq_10m_musd", ("BTC",), 350 / 60)
    assert (values.frozen_hours, values.holes, values.step_ms) == (10 / 60, 1, MINUTE)
    assert prices.holes == 0
    why = {skipped.rule: (skipped.assets, skipped.why) for skipped in report.not_judged}
    assert why["oi_drop:1h"] == ((), "its metric is not in the log")
    assert why["liq_burst"][0] == ("BNB", "DOGE", "ETH", "HYPE", "SOL", "XRP")
    posted, again = report.posted
    assert posted == again
    assert [(p.rule, p.level, p.count) for p in posted.posts] == [("liq_burst", "critical", 1)]
    assert (posted.total, posted.rings, posted.ends, posted.busiest_at) == (1, 1, 1, START + HOUR)
    [loud] = report.loudest
    assert (loud.opened_at, loud.extreme, loud.level) == (START + HOUR, BURST, "critical")
    assert loud.closed_at == START + 80 * MINUTE
    assert (loud.prices.at, loud.prices.before_1h_pct, loud.prices.after_1h_pct) == (100, 0, -10)

    words = text(report)
    order = ["COVERAGE", "not judged", "POSTS PER DAY", "BUSIEST HOUR", "NOT POSTED", "LOUDEST"]
    assert sorted(order, key=words.index) == order
    assert words.splitlines()[1].startswith("config.toml would have posted 1 time, ")
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report
    page = html.page(report, scenes, runs)
    assert page.count("<svg") == 4 and "http" not in page.replace("http-equiv", "")
    assert "critical 120" in page and "liq_burst open" in page
    assert page.index("would have posted 1 time") < page.index("<svg") < page.index("Coverage")


def test_every_post_is_listed_with_what_a_reader_saw_and_ends_apart(folder: Path):
    settings = load(ROOT / "config.toml", {})
    answer, scenes, runs = reported(Sources([folder], settings, []), [settings])
    [posted] = answer.posted
    assert [post.at for post in posted.listed] == [START + HOUR]
    [post], [end] = posted.listed, posted.listed_ends
    assert (post.coins, post.level, post.rules) == (("BTC",), "critical", ("liq_burst",))
    assert "$150M" in post.headline and post.text.endswith("01:00 UTC")
    assert end.at >= START + 80 * MINUTE and "liquidations ease" in end.text
    lines = text(answer).splitlines()
    listed = lines.index("POSTS of config.toml (UTC)")
    assert lines[listed + 1].startswith("  2026-10-03 01:00  BTC  critical  🔴 ")
    assert lines.index("ENDS told by config.toml (UTC)") == listed + 3
    page = html.page(answer, scenes, runs)
    assert "All posts of config.toml" in page and "<summary>1 end</summary>" in page


@pytest.mark.parametrize("width", [80, 120])
def test_the_text_fits_into_a_terminal(folder: Path, width: int):
    settings = load(ROOT / "config.toml", {})
    answer, _, _ = reported(Sources([folder], settings, []), [settings, settings])
    assert max(map(len, text(answer, width).splitlines())) <= width
    shown = next(line for line in text(answer, width).splitlines() if line.startswith("  opened"))
    assert ("1h before" in shown) is (width == 120)


def test_names_of_many_coins_are_folded_away(tmp_path: Path):
    coins = [f"C{n}" for n in range(40)]
    write(tmp_path / "log", [{("price", coin): 1.0 for coin in coins} for _ in range(3)])
    settings = load(ROOT / "config.toml", {})
    page = html.page(*reported(Sources([tmp_path / "log"], settings, []), [settings]))
    assert "<td>40 coins</td>" in page
    before = page[: page.index("C39")]
    assert before.rindex("<details") > before.rindex("<h2>Coverage")


def test_only_what_was_asked_for_is_judged(folder: Path):
    settings = load(ROOT / "config.toml", {})
    late = Sources([folder], settings, [], START + 2 * HOUR, START + 3 * HOUR)
    report, _, _ = reported(late, [settings])
    assert (report.start, report.end) == (START + 2 * HOUR, START + 3 * HOUR - MINUTE)
    assert report.posted[0].total == 0
    other = Sources([folder], settings, [], assets=frozenset({"ETH"}))
    assert reported(other, [settings])[0].coverage == ()


def test_posts_per_day_are_of_days_on_which_the_rule_had_values(tmp_path: Path):
    """Liquidations of one day, funding of ten: the burst is one a day."""
    write(tmp_path / "log", rows())
    table = tmp_path / "funding.csv"
    lines = [f"{START + n * DAY},funding_8h_pct,BTC,0.01" for n in range(10)]
    table.write_text("\n".join(["known_ms,metric,asset,value", *lines]))
    settings = load(ROOT / "config.toml", {})
    report, _, _ = reported(Sources([tmp_path / "log", table], settings, []), [settings])
    assert report.days == 10
    [posts] = report.posted[0].posts
    assert (posts.rule, posts.count, posts.days, posts.per_day) == ("liq_burst", 1, 1, 1.0)
    again, _, _ = reported(
        Sources([tmp_path / "log", table], settings, [], assets=frozenset({"BTC"})), [settings]
    )
    assert again.posted == report.posted


def test_a_composite_could_be_judged_where_two_of_its_conditions_could(folder: Path):
    settings = load(ROOT / "config.toml", {})
    seen, days = Seen(), {"oi_net_1h_pct": {1, 2, 3}, "liq_10m_musd": {2, 3, 4}}
    seen.days = days
    assert days_of(settings, seen)["cascade"] == 2
    assert days_of(settings, seen)["oi_drop"] == 3


def test_files_of_one_name_are_told_apart():
    paths = [Path("a/config.toml"), Path("b/config.toml"), Path("b/new.toml")]
    assert names(paths) == ["a/config.toml", "b/config.toml", "b/new.toml"]
    assert names(paths[1:]) == ["config.toml", "new.toml"]
    assert names([paths[0], paths[0]]) == ["config.toml", "config.toml"]


def test_an_end_is_drawn_as_an_end(folder: Path):
    settings = load(ROOT / "config.toml", {})
    page = html.page(*reported(Sources([folder], settings, []), [settings]))
    drawn = re.findall(r'class="post (\w+)"[^>]*><title>(\w+) (\w+)', page)
    assert {(kind, turn) for kind, _, turn in drawn} == {("s3", "open"), ("end", "close")}


def test_a_log_of_seconds_is_nothing_to_judge_and_one_day_is_singular(tmp_path: Path):
    write(tmp_path / "log", rows()[:1])
    settings = load(ROOT / "config.toml", {})
    report, _, _ = reported(Sources([tmp_path / "log"], settings, []), [settings])
    assert ", 1 day with values" in text(report).splitlines()[0]
    nothing = msgspec.structs.replace(report, start=0, end=0, days=0)
    first = text(nothing).splitlines()[0]
    assert first.endswith(": nothing to judge: the files hold no values that a rule looks at")
    assert "1970" not in text(nothing)
