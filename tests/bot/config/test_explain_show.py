"""``lowtide show``: the numbers of one asset and where each stands."""

from pathlib import Path

import pytest

from bot.__main__ import main
from bot.config import Settings, load
from bot.config.explain import show

TEXT = """\
[markets]
venues = ["binance"]
majors = ["BTC", "ETH"]
large = ["SOL"]
memes = ["SOL", "WIF"]
tail = "next 60 by OI"
[defaults]
clear_for = "5m"
[rules.oi_drop]
metric = "oi_net_{window}_pct"
fires = "below"
cooldown = "2h"
min_oi_musd = { majors = 50 }
[rules.oi_drop.windows.15m]
majors = { alert = -3, clear = -1 }
[rules.oi_drop.windows.1h]
for = "2m"
repost_if = 2
majors = { watch = -3, alert = -5, clear = -1.5 }
tail = { alert = -15, clear = -6 }
memes = { alert = -20, clear = -8 }
BTC = { alert = -4 }
[rules.depth]
metric = "depth_25bp_pct_of_recent"
fires = "below"
min_loss_musd = 5
post = false
[rules.depth.BTC]
alert = 50
clear = 80
[rules.total]
metric = "oi_total_net_1h_pct"
fires = "below"
for = { alert = "1m", critical = "0s" }
all = { alert = -4, clear = -1 }
[rules.cascade]
within = "1h"
all_of = ["oi_drop:alert", "depth:alert"]
hides = ["depth"]
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "config.toml"
    path.write_text(TEXT)
    return load(path, {})


def test_every_number_of_an_asset_says_where_it_comes_from(settings: Settings):
    assert show(settings, "BTC").splitlines() == [
        "BTC: majors",
        "",
        "oi_drop:15m: oi_net_15m_pct below the level",
        "  alert             -3  config.toml:15 majors",
        "  clear             -1  config.toml:15 majors",
        "  for          at once  default",
        "  clear_for      5 min  config.toml:8 defaults",
        "  cooldown         2 h  config.toml:12",
        "  repost_if       1.25  default",
        "  min_oi_musd       50  config.toml:13",
        "",
        "oi_drop:1h: oi_net_1h_pct below the level",
        "  watch           -3  config.toml:19 majors",
        "  alert           -4  config.toml:22 BTC",
        "  clear         -1.5  config.toml:19 majors",
        "  for          2 min  config.toml:17",
        "  clear_for    5 min  config.toml:8 defaults",
        "  cooldown       2 h  config.toml:12",
        "  repost_if        2  config.toml:18",
        "  min_oi_musd     50  config.toml:13",
        "",
        "depth: depth_25bp_pct_of_recent below the level, never posted",
        "  alert               50  config.toml:29 BTC",
        "  clear               80  config.toml:30 BTC",
        "  for            at once  default",
        "  clear_for        5 min  config.toml:8 defaults",
        "  cooldown           1 h  default",
        "  repost_if         1.25  default",
        "  min_loss_musd        5  config.toml:26",
        "",
        "cascade: critical when all of these were reached within 1 h: oi_drop at alert, "
        "depth at alert",
        "  hides depth while it fires and for 30 min after; not again for 2 h",
        "  level     critical  default",
        "  within         1 h  config.toml:37",
        "  at_least         2  config.toml:38",
        "  hold        30 min  default",
        "  cooldown       2 h  default",
    ]


def test_a_tier_of_ones_own_comes_before_another(settings: Settings):
    lines = show(settings, "sol").splitlines()
    assert lines[:5] == [
        "SOL: memes, large",
        "",
        "oi_drop:1h: oi_net_1h_pct below the level",
        "  alert        -20  config.toml:21 memes",
        "  clear         -8  config.toml:21 memes",
    ]
    assert not any("cascade" in line for line in lines)


def test_what_is_in_no_list_is_of_the_tail(settings: Settings):
    lines = show(settings, "PEPE").splitlines()
    assert lines[0] == "PEPE: tail, if it is among the next 60 by open interest"
    assert lines[3] == "  alert        -15  config.toml:20 tail"


def test_the_whole_market_is_called_all(settings: Settings):
    assert show(settings, "all").splitlines()[:6] == [
        "the whole market: all contracts that are watched",
        "",
        "total: oi_total_net_1h_pct below the level",
        "  alert                   -4  config.toml:35 all",
        "  clear                   -1  config.toml:35 all",
        "  for        alert for 1 min  config.toml:34",
    ]


def test_what_nothing_watches_is_refused_with_a_suggestion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "config.toml"
    path.write_text(TEXT.replace('"next 60 by OI"', '"none"'))
    with pytest.raises(SystemExit) as done:
        main(["show", "bct", "--config", str(path)])
    assert done.value.code == 2
    assert capsys.readouterr().err == 'no rule watches BCT (did you mean "BTC"?)\n'
    with pytest.raises(SystemExit) as done:
        main(["show", "eth", "--config", str(path)])
    assert done.value.code == 0
    assert capsys.readouterr().out.startswith("ETH: majors\n")


def test_a_table_of_its_own_and_a_single_line_are_told_alike(settings: Settings):
    source = settings.source
    assert source.place("rules", "depth", "BTC", "alert") == "config.toml:29"
    assert source.place("rules", "oi_drop", "windows", "1h", "BTC", "alert") == "config.toml:22"
    assert source.place("rules", "oi_drop", "windows", "1h", "BTC", "watch") is None
    assert source.place("rules", "nothing", "at", "all") is None


def test_a_shipped_row_that_an_own_one_replaces_is_no_source(tmp_path: Path):
    path = tmp_path / "local.toml"
    path.write_text(
        'extends = "shipped"\n'
        "[rules.price_drop.windows.1h]\n"
        "majors = { watch = -3.6, alert = -5.6, critical = -12, clear = -1.8 }\n"
        "BTC = { alert = -4.3 }\n"
        "[rules.depth_low]\n"
        'metric = "depth_25bp_pct_of_normal"\n'
        'fires = "below"\n'
        "majors = { alert = 40, clear = 75 }\n"
    )
    blocks = show(load(path, {}), "BTC").split("\n\n")
    price = next(block for block in blocks if block.startswith("price_drop:1h"))
    assert [line.split()[1:] for line in price.splitlines()[1:5]] == [
        ["-3.6", "local.toml:3", "majors"],
        ["-4.3", "local.toml:4", "BTC"],
        ["-12", "local.toml:3", "majors"],
        ["-1.8", "local.toml:3", "majors"],
    ]
    depth = next(block for block in blocks if block.startswith("depth_low"))
    hold = next(line for line in depth.splitlines() if line.startswith("  for "))
    assert hold.split() == ["for", "at", "once", "default"]  # not the line of the shipped "30m"
