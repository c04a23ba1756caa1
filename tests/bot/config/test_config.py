"""Settings from config.toml: every error against a golden text, and what good files become.

After a change of words, run it with LOWTIDE_GOLDEN=write and read the diff.
"""

import os
import re
import tomllib
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import httpx
import pytest
import yarl
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.uri import parse_uri

from bot.__main__ import main
from bot.config import ConfigError, Settings, load, load_tests, values
from bot.config.chats import ChatSettings, OperatorSettings, Wanted, WebhookSettings
from bot.config.explain import describe, show
from bot.config.source import index, line_of
from bot.config.values import redis_url
from bot.config.warnings import warnings
from bot.plan.planner import DailyTime, Quiet, WeeklyTime
from bot.roles.streams import context_sources, places
from rules.alerts import ALL, Cause, Level
from rules.composite import Composite
from rules.metrics import asked_by
from rules.rule import Row, When
from streams.bus.connection import connect
from streams.proxies import Proxies
from streams.sources import SOURCES
from tests.bot.config.written import HEAD, OI, read
from tests.bot.fake_telegram import TOKEN
from tests.conftest import ROOT
from tests.golden import check_text

GOLDEN = Path(__file__).parents[1] / "golden" / "config_errors.txt"


def problems_beside(folder: Path, text: str) -> list[str]:
    """What is wrong with a file of tests beside good rules."""
    (folder / "config.tests.toml").write_text(text)
    rule = '[rules.liq_burst]\nmetric = "liq_10m_musd"\nfires = "above"\n'
    settings = read(folder, HEAD + rule + "majors = { alert = 40, clear = 8 }\n")
    with pytest.raises(ConfigError) as caught:
        load_tests(settings)
    return [line.replace(f"{folder}{os.sep}", "") for line in caught.value.problems]


def problems(folder: Path, text: str, env: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, env)
    return [line.replace(f"{folder}{os.sep}", "") for line in caught.value.problems]


def cases() -> dict[str, str]:
    """Bad text by name. A token is written {token}, for none may stand in the project."""
    sections = re.findall(r"^=== (.+)\n((?:.*\n)*?)--- problems\n", GOLDEN.read_text(), re.M)
    return dict(sections)


def wrong(folder: Path, name: str, text: str) -> list[str]:
    if name.startswith("tests file: "):
        return problems_beside(folder, text)
    return problems(folder, text.replace("{token}", TOKEN))


def test_every_error_is_worded_as_agreed(tmp_path: Path):
    parts = [
        f"=== {name}\n{text}--- problems\n"
        + "".join(f"{line}\n" for line in wrong(tmp_path, name, text))
        for name, text in cases().items()
    ]
    text = "".join(parts)
    assert len(parts) >= 30
    check_text(GOLDEN, text)


def test_a_missing_file_says_what_to_do(tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "config.toml", {})
    assert caught.value.problems == [
        f"{tmp_path}/config.toml: no such file: name the configuration with --config or"
        " LOWTIDE_CONFIG"
    ]


def test_a_folder_and_bytes_are_no_configuration(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, {})
    path = tmp_path / "config.toml"
    path.write_bytes(b"a = \xff")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load(path, {})


def test_a_byte_order_mark_is_no_error(tmp_path: Path):
    assert read(tmp_path, "\ufeff" + HEAD).tail == 60


def test_the_shipped_file_is_valid_and_its_rules_are_complete():
    settings = load(ROOT / "config.toml", {})
    assert {rule.family for rule in settings.rules} == {
        "funding_negative",
        "funding_high",
        "market_fall",
        "oi_surge",
        "price_rise",
        "squeeze",
        "volatility",
        "liq_day",
        "funding_apart",
        "spot_share",
        "spot_depth",
        "drawdown",
        "oi_drawdown",
        "support_lost",
        "market_cap",
        "market_cap_round",
        "depeg",
        "depeg_above",
        "correlation",
        "sector_rout",
        "sector_week",
        "funding_predicted",
        "funding_breadth",
        "oi_drop",
        "oi_total_drop",
        "depth_thin",
        "depth_low",
        "liq_burst",
        "price_drop",
        "regime",
        "market_regime",
    }
    assert [rule.name for rule in settings.rules if rule.family == "oi_drop"] == [
        "oi_drop:15m",
        "oi_drop:1h",
        "oi_drop:24h",
    ]
    assert [composite.name for composite in settings.composites] == ["cascade"]
    assert not warnings(settings)
    drop = next(rule for rule in settings.rules if rule.name == "oi_drop:1h")
    assert drop.rows["BTC"].levels == {Level.WATCH: -2.5, Level.ALERT: -4, Level.CRITICAL: -8}
    assert drop.rows["ETH"].levels[Level.WATCH] == -3
    assert drop.hold == dict.fromkeys(Level, 120_000)
    assert drop.others is not None
    assert drop.others.levels == {Level.ALERT: -15, Level.CRITICAL: -25}
    assert (drop.rows["BTC"].floor_musd, drop.others.floor_musd) == (50, 5)
    assert drop.when == (When("price_1h_pct", "<=", -1),)


def test_the_shipped_file_can_be_read_in_two_minutes():
    assert len((ROOT / "config.toml").read_text().splitlines()) <= 375


def test_defaults_of_a_small_file(tmp_path: Path):
    settings = read(tmp_path, HEAD)
    assert settings.chats == (ChatSettings(),)
    assert settings.operators == OperatorSettings(subscribers=100)
    assert (settings.webhooks, settings.resend) == ((), True)
    assert settings.token is None
    assert settings.redis_url is None
    assert settings.api_url == "https://api.telegram.org"
    assert settings.data_dir == tmp_path / "data"
    assert (settings.keep, settings.max_mb, settings.language) == (3_600_000, 20, "en")
    assert [venue.name for venue in settings.venues] == ["binance", "hyperliquid"]
    assert settings.rules == ()


def test_overrides_hold_only_what_differs(tmp_path: Path):
    text = (
        HEAD
        + OI
        + """
        majors = { watch = -3, alert = -5, clear = -1.5 }
        tail = { alert = -15, clear = -6 }
        BTC = { alert = -4 }
        DOGE = { alert = -9 }
        SOL = { critical = -20, clear = -2 }
    """
    )
    (rule,) = read(tmp_path, text).rules
    assert rule.rows == {
        "BTC": Row(levels={Level.WATCH: -3, Level.ALERT: -4}, clear=-1.5),
        "ETH": Row(levels={Level.WATCH: -3, Level.ALERT: -5}, clear=-1.5),
        "DOGE": Row(levels={Level.ALERT: -9}, clear=-6),
        "SOL": Row(levels={Level.CRITICAL: -20}, clear=-2),
    }
    assert rule.others == Row(levels={Level.ALERT: -15}, clear=-6)


def test_a_rule_without_a_row_for_a_tier_does_not_watch_it(tmp_path: Path):
    (rule,) = read(tmp_path, HEAD + OI + "large = { alert = -5, clear = -1 }").rules
    assert set(rule.rows) == {"SOL"}
    assert rule.others is None


@pytest.mark.parametrize("tail", ['"none"', "0"])
def test_without_a_tail_nothing_else_is_watched(tmp_path: Path, tail: str):
    head = HEAD.replace('"next 60 by OI"', tail)
    settings = read(tmp_path, head + OI + "tail = { alert = -5, clear = -1 }")
    assert settings.tail == 0
    assert settings.rules[0].others is None


def test_times_of_a_rule_replace_the_defaults(tmp_path: Path):
    defaults = '[defaults]\ncooldown = "2h"\nclear_for = "90s"\nrepost_if = 2\n'
    rows = "majors = { alert = -5, clear = -1 }\n"
    own = (
        'cooldown = "0s"\nrepost_if = 1.5\npost = false\nfor = { alert = "1m", critical = "0s" }\n'
    )
    (plain,) = read(tmp_path, HEAD + defaults + OI + rows).rules
    assert (plain.cooldown, plain.clear_for, plain.repost_if) == (7_200_000, 90_000, 2)
    assert plain.post
    (rule,) = read(tmp_path, HEAD + defaults + OI + own + rows).rules
    assert (rule.cooldown, rule.clear_for, rule.repost_if) == (0, 90_000, 1.5)
    assert not rule.post
    assert rule.hold == {Level.ALERT: 60_000, Level.CRITICAL: 0}


def test_settlements_are_counted_for_settled_funding(tmp_path: Path):
    text = """
        [rules.f]
        metric = "funding_8h_pct"
        fires = "below"
        for = "2 settlements"
        majors = { alert = 0, clear = 0.002 }
    """
    (rule,) = read(tmp_path, HEAD + text).rules
    assert (rule.settlements, rule.hold) == (2, {})


def test_windows_share_what_their_rule_holds(tmp_path: Path):
    text = """
        [rules.drop]
        metric = "oi_net_{window}_pct"
        fires = "below"
        for = "2m"
        cooldown = "2h"
        min_oi_musd = 5
        post = false
        [rules.drop.windows.15m]
        for = { critical = "0s" }
        majors = { alert = -3, clear = -1 }
        [rules.drop.windows.1h]
        cooldown = "0s"
        min_oi_musd = { majors = 50, tail = 1 }
        post = true
        majors = { alert = -5, clear = -1 }
        BTC = { alert = -4 }
        tail = { alert = -15, clear = -6 }
    """
    fast, slow = read(tmp_path, HEAD + text).rules
    assert [(rule.name, rule.family, rule.metric) for rule in (fast, slow)] == [
        ("drop:15m", "drop", "oi_net_15m_pct"),
        ("drop:1h", "drop", "oi_net_1h_pct"),
    ]
    assert fast.hold == {Level.CRITICAL: 0}
    assert slow.hold == dict.fromkeys(Level, 120_000)
    assert (fast.cooldown, slow.cooldown) == (7_200_000, 0)
    assert (fast.post, slow.post) == (False, True)
    assert fast.rows["ETH"] == Row(levels={Level.ALERT: -3}, clear=-1, floor_musd=5)
    assert slow.rows["BTC"] == Row(levels={Level.ALERT: -4}, clear=-1, floor_musd=50)
    assert slow.others == Row(levels={Level.ALERT: -15}, clear=-6, floor_musd=1)
    assert fast.others is None


def test_a_band_may_stand_for_the_window(tmp_path: Path):
    text = """
        [rules.thin]
        metric = "depth_{window}_pct_of_recent"
        fires = "below"
        windows.25bp = { majors = { alert = 50, clear = 80 } }
        windows.100bp = { tail = { alert = 30, clear = 70 } }
    """
    rules = read(tmp_path, HEAD + text).rules
    assert [rule.metric for rule in rules] == [
        "depth_25bp_pct_of_recent",
        "depth_100bp_pct_of_recent",
    ]


def test_tiers_of_ones_own_lie_over_the_others(tmp_path: Path):
    head = HEAD.replace("large", 'memes = ["SOL", "PEPE"]\nlarge')
    rows = """
        large = { alert = -8, clear = -2 }
        tail = { alert = -15, clear = -6 }
    """
    settings = read(
        tmp_path,
        head
        + OI
        + rows
        + """
        memes = { watch = -9, alert = -12, clear = -4 }
        PEPE = { alert = -20 }
        min_oi_musd = { memes = 3, SOL = 4, tail = 5 }
        """
        + OI.replace("oi_drop", "other")
        + rows,
    )
    ours, other = settings.rules
    assert ours.rows == {
        "SOL": Row(levels={Level.WATCH: -9, Level.ALERT: -12}, clear=-4, floor_musd=4),
        "PEPE": Row(levels={Level.WATCH: -9, Level.ALERT: -20}, clear=-4, floor_musd=3),
    }
    assert other.rows == {
        "SOL": Row(levels={Level.ALERT: -8}, clear=-2),
        "PEPE": Row(levels={Level.ALERT: -15}, clear=-6),
    }
    assert settings.markets.named == ("BTC", "ETH", "SOL", "PEPE")
    assert settings.own_tiers == {"memes": ("SOL", "PEPE")}


def test_a_listed_asset_is_no_tail_where_there_is_none(tmp_path: Path):
    head = HEAD.replace("large", 'memes = ["PEPE"]\nlarge').replace('"next 60 by OI"', '"none"')
    text = "tail = { alert = -15, clear = -6 }\nmemes = { alert = -9, clear = -3 }\n"
    ours, other = read(
        tmp_path, head + OI + text + OI.replace("oi_drop", "o") + text.partition("\n")[0]
    ).rules
    assert set(ours.rows) == {"PEPE"}
    assert other.rows == {}
    assert other.others is None


def test_a_rule_may_ask_other_metrics_and_a_window_may_not(tmp_path: Path):
    text = """
[rules.oi_drop]
metric = "oi_net_{window}_pct"
fires = "below"
when = { "price_{window}_pct" = "<= -0.5", liq_1h_musd = ">2" }
[rules.oi_drop.windows.15m]
majors = { alert = -3, clear = -1 }
[rules.oi_drop.windows.1h]
when = "none"
majors = { alert = -3, clear = -1 }
[rules.oi_drop.windows.4h]
when = { price_24h_pct = ">= 1" }
majors = { alert = -3, clear = -1 }
"""
    settings = read(tmp_path, HEAD + text)
    fast, none, other = (rule.when for rule in settings.rules)
    assert fast == (When("price_15m_pct", "<=", -0.5), When("liq_1h_musd", ">", 2))
    assert (none, other) == ((), (When("price_24h_pct", ">=", 1),))
    assert asked_by(settings.rules[0]) == ("oi_net_15m_pct", "price_15m_pct", "liq_1h_musd")
    shown = show(settings, "BTC")
    assert re.search(r"when +price_15m_pct <= -0.5  config.toml:11\n", shown)
    asked = "at alert only while price_15m_pct <= -0.5 and liq_1h_musd > 2, else told at watch"
    assert asked in describe(settings)


def test_a_rule_may_ask_for_a_cause(tmp_path: Path):
    text = OI + 'cause = ["short covering", "new longs"]\nmajors = { alert = -3, clear = -1 }\n'
    settings = read(tmp_path, HEAD + text)
    assert settings.rules[0].cause == (Cause.SHORT_COVERING, Cause.NEW_LONGS)
    shown = show(settings, "BTC")
    assert re.search(r"cause +short covering or new longs  config.toml:11\n", shown)
    assert "below the level; counts only while it is short covering or new longs" in describe(
        settings
    )


def test_coins_that_count_and_how_far_they_must_fall_are_named_by_tier(tmp_path: Path):
    text = """
[rules.falls]
metric = "price_down_share_1h_pct"
fires = "above"
least_fall_pct = { majors = 3, large = 4, BTC = 1.8 }
all = { watch = 55, clear = 15 }
"""
    settings = read(tmp_path, HEAD + text)
    (rule,) = settings.rules
    assert rule.least_fall_pct == {"BTC": 1.8, "ETH": 3, "SOL": 4}
    assert re.search(
        r"least_fall_pct +1.8 \(BTC\), 3 \(ETH\), 4 \(SOL\)  config.toml:11\n",
        show(settings, "ALL"),
    )
    assert "a coin counts that fell by so many %: 1.8 (BTC) and 3 (ETH)" in describe(settings)
    assert warnings(settings) == []


def test_an_operators_file_adds_a_second_opinion_to_a_shipped_rule_or_takes_it_away(tmp_path: Path):
    def asked(what: str) -> tuple[When, ...]:
        text = f'extends = "shipped"\n[rules.depth_thin]\nwhen = {what}\n'
        rules = read(tmp_path, text).rules
        return next(rule.when for rule in rules if rule.name == "depth_thin:25bp")

    shipped = When("price_15m_pct", "beyond", 2)
    assert asked('{ liq_1h_musd = ">= 1" }') == (shipped, When("liq_1h_musd", ">=", 1))
    assert asked('{ price_15m_pct = "<= -3" }') == (When("price_15m_pct", "<=", -3),)
    assert asked('"none"') == ()


def test_when_that_can_never_agree_is_warned_of(tmp_path: Path):
    text = OI + 'when = { liq_1h_musd = ">= 1" }\nmajors = { alert = -3, clear = -1 }\n'
    settings = read(tmp_path, HEAD.replace('"binance", ', "") + text)
    assert any("only what is critical can ring" in line for line in warnings(settings))


def test_a_rule_on_the_whole_market_has_one_row(tmp_path: Path):
    text = """
        [rules.total]
        metric = "oi_total_net_1h_pct"
        fires = "below"
        all = { watch = -2, alert = -4, clear = -1 }
    """
    (rule,) = read(tmp_path, HEAD + text).rules
    assert rule.scope == "market"
    assert rule.rows == {ALL: Row(levels={Level.WATCH: -2, Level.ALERT: -4}, clear=-1)}
    assert rule.row_of("BTC") is None
    assert rule.row_of("PEPE") is None


def test_a_rule_may_look_at_each_contract(tmp_path: Path):
    rows = 'majors = { alert = -5, clear = -1 }\nscope = "instrument"\n'
    (rule,) = read(tmp_path, HEAD + OI + rows).rules
    assert rule.scope == "instrument"


def test_composites(tmp_path: Path):
    text = """
        majors = { alert = -5, clear = -1 }
        [rules.liq]
        metric = "liq_10m_musd"
        fires = "above"
        majors = { alert = 40, clear = 8 }
        [rules.both]
        within = "1h"
        all_of = ["oi_drop:alert", "liq:watch"]
        hides = ["liq"]
        [rules.either]
        level = "alert"
        within = "30m"
        any_of = ["oi_drop:alert", "liq:alert"]
        at_least = 1
        hold = "5m"
        cooldown = "10m"
        post = false
    """
    settings = read(tmp_path, HEAD + OI + text)
    assert settings.composites == (
        Composite(
            name="both",
            level=Level.CRITICAL,
            within=3_600_000,
            all_of=(("oi_drop", Level.ALERT), ("liq", Level.WATCH)),
            hides=("liq",),
            hold=1_800_000,
            cooldown=7_200_000,
        ),
        Composite(
            name="either",
            level=Level.ALERT,
            within=1_800_000,
            all_of=(("oi_drop", Level.ALERT), ("liq", Level.ALERT)),
            at_least=1,
            hold=300_000,
            cooldown=600_000,
            post=False,
        ),
    )
    assert [rule.name for rule in settings.rules] == ["oi_drop", "liq"]


def test_when_and_how_much_is_told(tmp_path: Path):
    text = """
        [channel]
        quiet = "23:00-07:30 Asia/Taipei"
        posts_per_hour = 6
        [defaults]
        group_wait = { alert = "5s" }
    """
    settings = read(tmp_path, text + HEAD)
    (chat,) = settings.chats
    assert chat.quiet == Quiet(start=1380, end=450, zone="Asia/Taipei")
    assert chat.posts_per_hour == 6
    assert settings.group_wait == {Level.WATCH: 60_000, Level.ALERT: 5_000, Level.CRITICAL: 0}
    settings = read(
        tmp_path, HEAD + '[channel]\nquiet = "01:00-02:00"\n[defaults]\ngroup_wait = "9s"\n'
    )
    assert settings.chats[0].quiet == Quiet(start=60, end=120, zone="UTC")
    assert settings.group_wait == {Level.WATCH: 9_000, Level.ALERT: 9_000, Level.CRITICAL: 0}


@pytest.mark.parametrize(
    ("written", "at"),
    [('"none"', None), ('"09:00"', DailyTime(minute=540, zone="UTC")),
     ('"23:05 Asia/Taipei"', DailyTime(minute=1385, zone="Asia/Taipei"))],
)  # fmt: skip
def test_a_daily_status_has_a_time_in_a_zone(tmp_path: Path, written: str, at: DailyTime | None):
    assert read(tmp_path, f"{HEAD}[operators]\nstatus_at = {written}\n").operators.status_at == at


@pytest.mark.parametrize(
    ("written", "time"),
    [('"none"', None), ('"Mon 09:00"', WeeklyTime(weekday=0, minute=540, zone="UTC")),
     ('"Sun 23:05 Asia/Taipei"', WeeklyTime(weekday=6, minute=1385, zone="Asia/Taipei"))],
)  # fmt: skip
def test_a_weekly_report_has_a_day_and_a_time_in_a_zone(
    tmp_path: Path, written: str, time: WeeklyTime | None
):
    settings = read(tmp_path, f"{HEAD}[channel]\nweekly_report = {written}\n")
    assert settings.chats[0].weekly_report == time


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ('"09:00"', 'must be like "Mon 09:00 Asia/Taipei", not "09:00"'),
        ("9", 'must be like "Mon 09:00 Asia/Taipei", not 9'),
        ('"Mo 09:00"', 'unknown day "Mo" (did you mean "Mon"?)'),
        ('"Monday 09:00"', 'unknown day "Monday" (did you mean "Mon"?)'),
        ('"Mon 24:00"', 'must be a time of day such as "08:05", not "24:00"'),
        ('"Mon 09:00 Asia/Taipeh"', 'unknown time zone "Asia/Taipeh"'),
    ],
)
def test_another_time_of_the_week_is_an_error_that_says_how_to_write_it(
    tmp_path: Path, written: str, problem: str
):
    with pytest.raises(ConfigError, match=re.escape(f"channel.weekly_report: {problem}")):
        read(tmp_path, f"{HEAD}[channel]\nweekly_report = {written}\n")


SEVERAL = """
[channel]
chat_id = "@lowtide"
posts_per_hour = 6
quiet = "23:00-07:00"
[[chats]]
id = -1001
topic = 7
rules = ["oi_drop"]
assets = ["majors", "DOGE", "ALL"]
min_level = "alert"
[[chats]]
id = -1001
language = "en"
posts_per_hour = 30
quiet = "none"
[operators]
chat_id = -200
users = [11, 12, 11]
commands = "everyone"
subscribers = 0
[delivery]
on_uncertain = "drop"
[[webhooks]]
url = "https://example.org/in/"
min_level = "critical"
"""


def test_any_number_of_chats_and_what_they_leave_out_is_that_of_the_channel(tmp_path: Path):
    rows = OI + "majors = { alert = -5, clear = -1 }\n"
    env = {"LOWTIDE_WEBHOOK_SECRET": " a long random text\n"}
    settings = read(tmp_path, HEAD + rows + SEVERAL, env)
    night = Quiet(start=1380, end=420, zone="UTC")
    channel, topic, other = settings.chats
    assert channel == ChatSettings(id="@lowtide", posts_per_hour=6, quiet=night)
    assert (topic.id, topic.topic, topic.posts_per_hour, topic.quiet) == (-1001, 7, 6, night)
    assert topic.wanted == Wanted(
        rules=("oi_drop",), assets=("majors", "DOGE", "ALL"), min_level=Level.ALERT
    )
    assert (other.topic, other.posts_per_hour, other.quiet) == (None, 30, None)
    assert settings.operators == OperatorSettings(
        chat_id=-200, users=(11, 12), everyone=True, subscribers=0
    )
    assert not settings.resend
    assert settings.webhooks == (
        WebhookSettings(
            name="1", url="https://example.org/in", wanted=Wanted(min_level=Level.CRITICAL)
        ),
    )
    assert settings.webhook_secret == "a long random text"
    assert "random" not in repr(settings)


def test_the_channel_is_no_chat_if_only_others_have_an_id(tmp_path: Path):
    (only,) = read(tmp_path, HEAD + "[[chats]]\nid = 5\n").chats
    assert only.id == 5


def test_webhooks_need_a_secret_from_the_environment(tmp_path: Path):
    text = HEAD + '[[webhooks]]\nurl = "https://example.org"\n'
    assert problems(tmp_path, text) == [
        "LOWTIDE_WEBHOOK_SECRET (environment): is missing: put any long random text there and into "
        "the receivers of [[webhooks]], which check the signature with it"
    ]
    assert problems(tmp_path, text, {"LOWTIDE_WEBHOOK_SECRET": "short"}) == [
        "LOWTIDE_WEBHOOK_SECRET (environment): must have at least 16 characters"
    ]


def test_a_webhook_has_a_name_of_its_own_or_its_number(tmp_path: Path):
    env = {"LOWTIDE_WEBHOOK_SECRET": "a long random text"}
    plain, named = '[[webhooks]]\nurl = "https://example.org"\n', 'name = "my-bot"\n'
    hooks = read(tmp_path, HEAD + plain + plain + named + plain, env).webhooks
    assert [hook.name for hook in hooks] == ["1", "my-bot", "3"]
    twice = HEAD + plain + plain + 'name = "1"\n'
    (problem,) = problems(tmp_path, twice, env)
    assert '"1" is the name of another one' in problem
    (problem,) = problems(tmp_path, HEAD + plain + 'name = "a/b"\n', env)
    assert 'must be 1 to 32 of letters, digits, - and _ in quotes, not "a/b"' in problem


def test_tests_of_both_files_are_found(tmp_path: Path):
    test = (
        '[[test]]\nname = "one"\nrule = "oi_drop"\nsymbol = "BTC"\nevery = "30s"\n'
        'series = "0 -6x3"\nexpect = ["30s open alert"]\n'
    )
    settings = read(tmp_path, HEAD + OI + "majors = { alert = -5, clear = -1 }\n" + test)
    assert load_tests(settings) == settings.tests
    (tmp_path / "config.tests.toml").write_text("\n" + test.replace("one", "two"))
    first, second = load_tests(settings)
    assert (first.name, first.place, first.asset) == ("one", "config.toml:12", "BTC")
    assert (second.name, second.place) == ("two", "config.tests.toml:2")
    assert second.series == {"oi_drop": (0, -6, -6, -6, -6)}


@pytest.mark.parametrize(
    ("written", "floors"),
    [("3", (3, 3, 3)), ("{ majors = 40, tail = 1.5 }", (40, 0, 1.5))],
)
def test_the_least_loss_is_a_floor_of_depth_rows(tmp_path: Path, written: str, floors: tuple):
    row = "{ alert = 50, clear = 80 }"
    text = f"""
        [rules.d]
        metric = "depth_25bp_pct_of_normal"
        fires = "below"
        min_loss_musd = {written}
        majors = {row}
        large = {row}
        tail = {row}
    """
    (rule,) = read(tmp_path, HEAD + text).rules
    assert rule.others is not None
    got = (rule.rows["BTC"].floor_musd, rule.rows["SOL"].floor_musd, rule.others.floor_musd)
    assert got == floors


def test_secrets_come_from_the_environment_and_do_not_show(tmp_path: Path):
    row = OI + "majors = { alert = -5, clear = -1 }\n"
    file = HEAD + row + '[redis]\nurl = "redis://file/0"\n[channel]\nchat_id = -100\n'
    env = {"TELEGRAM_BOT_TOKEN": f" {TOKEN}\n", "REDIS_URL": "redis://me:secret@host/0"}
    settings = read(tmp_path, file, env)
    assert settings.token == TOKEN
    assert settings.redis_url == "redis://me:secret@host/0"
    for text in (repr(settings), describe(settings), show(settings, "BTC")):
        assert TOKEN not in text
        assert "secret@" not in text
    assert read(tmp_path, file).redis_url == "redis://file/0"
    assert read(tmp_path, file, {"TELEGRAM_BOT_TOKEN": "", "REDIS_URL": " "}).token is None


def test_errors_of_the_environment_name_the_variable_and_hide_the_value(tmp_path: Path):
    env = {"TELEGRAM_BOT_TOKEN": "oops oops", "REDIS_URL": "localhost:6379"}
    assert problems(tmp_path, HEAD, env) == [
        "TELEGRAM_BOT_TOKEN (environment): is not a bot token, which looks like 123456789:AAF…; "
        "copy it again from @BotFather",
        "REDIS_URL (environment): must be a URL that starts with redis:// or rediss:// or unix://",
    ]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://:hid#den@host:6379/0", "percent-encode the password"),
        ("redis://me:hid/den@host:6379/0", "percent-encode the password"),
        ("redis://:hid?den@host:6379/0", "percent-encode the password"),
        ("redis://:hid@den@host:6379/0", "percent-encode the password"),
        ("redis://:hid:den@host:6379/0", "percent-encode the password"),
        ("redis://:hid[den@host:6379/0", "percent-encode the password"),
        ("redis://:hid%@host:6379/0", "percent-encode the password"),
        ("redis://:hid den@host:6379/0", "percent-encode the password"),
        ("redis://:hidden#host:6379/0", "percent-encode the password"),
        ("redis://:hidden", "has no host that can be read"),
        ("redis://host:hidden", "has a port that is no number from 1 to 65535"),
        ("redis://host:99999/0", "has a port that is no number from 1 to 65535"),
        ("redis://host:0", "has a port that is no number from 1 to 65535"),
        ("redis://host:६३७९", "has a port that is no number from 1 to 65535"),
        ("redis://[::1:6379", "has a [ that is not closed: an IPv6 address is written [::1]:6379"),
        ("redis://[hidden]:6379", "has no host that can be read"),
        ("redis://[:::::1]:6379", "has no host that can be read"),
        ("redis://hidden..example:6379", "has no host that can be read"),
        ("redis://host/notadb", "must end with the number of a database, such as /0"),
        ("redis://host:6379/0/1", "must end with the number of a database, such as /0"),
        ("redis://host/0?hidden=1", "has something after the ? that is not understood: there may"),
        ("redis://host/0?db=one", "has something after the ? that is not understood"),
        ("redis://host/0?ssl_cert_reqs=none", "has something after the ? that is not understood"),
        ("unix://hidden", "must name the path of a socket, such as unix:///run/redis.sock"),
    ],
)
@pytest.mark.parametrize("place", ["environment", "file"])
def test_a_redis_that_could_not_be_opened_is_refused_in_words(
    tmp_path: Path, url: str, words: str, place: str
):
    if place == "file":
        (problem,) = problems(tmp_path, f'{HEAD}[redis]\nurl = "{url}"\n')
        assert problem.startswith("config.toml:8: redis.url: ")
    else:
        (problem,) = problems(tmp_path, HEAD, {"REDIS_URL": url})
        assert problem.startswith("REDIS_URL (environment): ")
    assert words in problem
    assert not {"hid", "den", "hidden"} & set(re.findall(r"\w+", problem))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://me:p%23%2f%3F%40@host:1/2", "redis://host:1/2"),
        ("redis://:abc-=_!$&'()*+,;~.@db-7.example.org", "redis://db-7.example.org"),
        ("rediss://h?ssl_cert_reqs=none&db=3", "rediss://h?ssl_cert_reqs=none&db=3"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("unix://me:hidden@/run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
    ],
)
async def test_a_redis_that_is_taken_is_the_one_that_the_client_opens(
    tmp_path: Path, url: str, shown: str
):
    settings = read(tmp_path, HEAD, {"REDIS_URL": url})
    assert settings.redis_url == url
    assert f"redis      {shown}\n" in describe(settings)
    wanted = urlsplit(url)
    opened = connect(url, "test").connection_pool.connection_kwargs
    assert opened.get("password") == (unquote(wanted.password) if wanted.password else None)
    assert opened.get("host") == wanted.hostname
    assert opened.get("port") == wanted.port


@given(st.text(min_size=1, max_size=12), st.sampled_from(["redis://:", "unix://:", "rediss://a:"]))
def test_whatever_a_password_is_it_is_taken_encoded_and_never_shown(password: str, start: str):
    rest = "/run/sock" if start.startswith("unix") else "host:1/0"
    url = f"{start}{quote(password, safe='', errors='replace')}@{rest}"
    assert redis_url(url) == url
    raw = f"{start}secret{password}word@{rest}"
    try:
        assert connect(redis_url(raw), "test")
    except ValueError as error:
        assert "secret" not in str(error) and "word@" not in str(error)


NO_ADDRESSES = (
    ("http://[::1/x", "has a [ that is not closed"),
    ("http://[::1", "has a [ that is not closed"),
    ("http://[:::1:::]/hidden", "has something between its [ ] that is no IPv6 address"),
    ("http://a\N{ACCOUNT OF}b.example/", "names a host that cannot be"),
    ("http://hidden..example/", "names a host that cannot be"),
    (f"http://{'hidden' * 11}.example/", "names a host that cannot be"),
    ("http://exa%20mple/", "names a host that cannot be"),
    ("http://exa mple/", "has a space or another sign in it"),
    ("http://example/\\u202ehidden", "has a space or another sign in it"),
    ("http://127.0.0.1:99999/", "has a port that is no number from 1 to 65535"),
    ("http://127.0.0.1:0/", "has a port that is no number from 1 to 65535"),
    ("http://example:PORT/", "has a port that is no number from 1 to 65535"),
    ("http://example:/", "has a port that is no number from 1 to 65535"),
    ("http://example:\u0668\u0660/", "has a port that is no number from 1 to 65535"),
    ("http://", "names no host"),
    ("http:///x", "names no host"),
    ("http://?hidden", "names no host"),
    ("http://:8080/", "names no host"),
    ("http://me:hid[den@example/", "has a sign in its user or password that a URL cannot hold"),
)
URL_KEYS = {
    "webhooks.url": "[[webhooks]]\nurl",
    "telegram.api_url": "[telegram]\napi_url",
    "venues.binance.rest": "[venues.binance]\nrest",
    "venues.binance.websocket": "[venues.binance]\nwebsocket",
    "history.url": "[history]\nurl",
}


@pytest.mark.parametrize(("url", "words"), NO_ADDRESSES)
@pytest.mark.parametrize("key", URL_KEYS)
def test_an_address_that_no_client_opens_is_refused_with_its_place(
    tmp_path: Path, key: str, url: str, words: str
):
    url = url.replace("http:", "ws:") if key.endswith("websocket") else url
    env = {"LOWTIDE_WEBHOOK_SECRET": "a long random text"}
    (problem,) = problems(tmp_path, f'{HEAD}{URL_KEYS[key]} = "{url}"\n', env)
    assert problem.startswith(f"config.toml:8: {key}: {words}")
    assert not {"hid", "den", "hidden"} & set(re.findall(r"\w+", problem))


@pytest.mark.parametrize("key", [key for key in URL_KEYS if key != "webhooks.url"])
def test_an_address_behind_which_paths_are_put_has_no_query(tmp_path: Path, key: str):
    scheme = "wss" if key.endswith("websocket") else "https"
    (problem,) = problems(tmp_path, f'{HEAD}{URL_KEYS[key]} = "{scheme}://example/?a=b"\n')
    assert problem.startswith(f"config.toml:8: {key}: must end with a host or a path")


@given(
    st.text("ab.-_%:[]1@/?# \\\u2100\u00e4\u3002\u00ad\u202e", max_size=14)
    | st.text(max_size=8).map(lambda name: f"{name}.example:80/x")
)
def test_an_address_that_is_taken_is_one_to_every_client(text: str):
    try:
        taken = values.url(f"http://{text}", ("http",))
    except ValueError:
        return
    parts, theirs = urlsplit(taken), httpx.URL(taken)
    assert yarl.URL(taken).raw_host == parts.hostname
    assert (theirs.port or 80) == (yarl.URL(taken).port or 80) == (parts.port or 80)
    assert Proxies(plain="http://proxy:1").of(taken) in ("http://proxy:1", None)


@given(st.text("ab.-_%:[]1@/?# \\\u2100\u00e4\u3002\u00ad\u202e", max_size=14))
@example("a@1")
@example("@1")
@example("a:b@1")
def test_an_address_of_a_websocket_that_is_taken_can_be_opened(text: str):
    try:
        taken = values.url(f"ws://{text}", ("ws",))
    except ValueError:
        return
    assert parse_uri(taken.partition("#")[0]).host == urlsplit(taken).hostname


def test_an_international_name_is_taken_as_its_ascii(tmp_path: Path):
    text = '[venues.binance]\nrest = "https://b\u00fccher.example:8443/"\n'
    (binance, _) = read(tmp_path, HEAD + text).venues
    assert binance.rest == "https://xn--bcher-kva.example:8443"


def test_urls_of_venues_may_be_replaced(tmp_path: Path):
    text = '[venues.binance]\nwebsocket = "ws://127.0.0.1:1"\nrest = "http://127.0.0.1:2/"\n'
    binance, other = read(tmp_path, HEAD + text).venues
    assert (binance.websocket, binance.rest) == ("ws://127.0.0.1:1", "http://127.0.0.1:2")
    assert (other.websocket, other.rest) == (None, None)


def test_contracts_and_what_is_no_coin_may_be_left_out(tmp_path: Path):
    settings = read(tmp_path, HEAD + OI + "majors = { alert = -5, clear = -1 }\n")
    assert settings.macro and settings.markets.macro
    assert {venue.leave_out for venue in settings.venues} == {()}
    text = HEAD.replace("[markets]", "[markets]\nmacro = false") + OI
    text += 'majors = { alert = -5, clear = -1 }\n[venues.hyperliquid]\nleave_out = ["hyna:*"]\n'
    settings = read(tmp_path, text)
    assert not settings.markets.macro
    left_out = {place.venue.SPEC.name: place.leave_out for place in places(settings)}
    assert left_out == {"binance": (), "hyperliquid": ("hyna:*",)}
    described = describe(settings)
    assert "Binance, Hyperliquid without hyna:*" in described
    assert "macro      none: no prices of what is no coin" in described
    for wrong in ('leave_out = "hyna:*"', 'leave_out = [""]', "leave_out = [1]"):
        with pytest.raises(ConfigError, match="leave_out"):
            read(tmp_path, text.replace('leave_out = ["hyna:*"]', wrong))
    with pytest.raises(ConfigError, match="macro"):
        read(tmp_path, text.replace("macro = false", 'macro = "none"'))


def test_spot_markets_are_of_the_majors_or_of_those_that_are_named(tmp_path: Path):
    rules = OI + "majors = { alert = -5, clear = -1 }\n"
    settings = read(tmp_path, HEAD + rules)
    assert settings.markets.spot == settings.majors != ()
    text = ""
    for listed, assets in (("[]", ()), ('["SOL", "BTC"]', ("SOL", "BTC"))):
        text = HEAD.replace("[markets]", f"[markets]\nspot = {listed}") + rules
        settings = read(tmp_path, text)
        assert settings.markets.spot == assets
        assert "\nspot " not in describe(settings)  # no venue is a spot market
    text = text.replace('venues = ["binance"', 'venues = ["coinbase", "binance"')
    assert "\nspot       SOL, BTC\n" in describe(read(tmp_path, text))
    with pytest.raises(ConfigError, match=r"markets\.spot: \"btc\" is not an asset"):
        read(tmp_path, text.replace('"SOL", "BTC"', '"btc"'))


@pytest.mark.parametrize(("flags", "token"), [([], TOKEN), (["--dry-run"], None)])
def test_a_dry_run_has_no_token_to_post_with_and_a_redis_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], token: str | None
):
    path = tmp_path / "config.toml"
    path.write_text(HEAD + "[channel]\nchat_id = -100\n[operators]\nchat_id = -200\n")
    ran: list[tuple[Settings, tuple[str, ...]]] = []

    async def run(settings: Settings, roles: tuple[str, ...], **_more: object) -> None:
        ran.append((settings, roles))

    monkeypatch.setattr("bot.roles.run.run", run)
    monkeypatch.setattr("bot.cli.configure", lambda *_, **__: None)
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    monkeypatch.setenv("REDIS_URL", "redis://localhost/0")
    with pytest.raises(SystemExit) as done:
        main(["run", *flags, "--config", str(path)])
    assert done.value.code == 0
    settings, roles = ran.pop()
    assert (settings.token, roles) == (token, ("streams", "rules", "bot"))
    assert settings.chats[0].id == -100
    # what a real Lowtide has in its Redis is left to it
    assert (settings.redis_url is None) == (token is None)
    assert (settings.data_dir.name == "dry-run") == (token is None)


def test_lines_of_keys():
    text = '''a = 1
[t]
b = """
c = not a key
"""
"d e" = 2
f.g = 3
h = { i = 4 }
[[list]]
x = 1
[list.sub]
z = 1
[[list]]
y = 2
[t.'u']
v = 1
[p.q]
'''
    lines = index(text)
    tomllib.loads(text)
    expected = {
        ("a",): 1,
        ("t",): 2,
        ("t", "b"): 3,
        ("t", "c"): 2,
        ("t", "d e"): 6,
        ("t", "f"): 7,
        ("t", "f", "g"): 7,
        ("t", "h", "i"): 8,
        ("list", 0, "x"): 10,
        ("list", 0, "sub", "z"): 12,
        ("list", 1, "y"): 14,
        ("p", "q"): 17,
        ("p",): 17,
        ("t", "u", "v"): 16,
        ("nothing",): None,
    }
    assert {path: line_of(lines, path) for path in expected} == expected


@given(st.text(max_size=200))
def test_no_text_breaks_the_line_index(text: str):
    assert all(1 <= line <= text.count("\n") + len(text) + 1 for line in index(text).values())


@given(text=st.text(alphabet='abM[]{}="\n.#1-', max_size=120))
def test_any_text_is_settings_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(HEAD + text)
    try:
        load(path, {})
    except ConfigError as error:
        assert error.problems
        assert all(line.startswith(str(path)) for line in error.problems)


def test_a_chat_has_the_detail_of_the_channel_unless_it_has_its_own(tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text(
        'extends = "shipped"\nchannel = {chat_id = "@channel", detail = "short"}\n'
        'chats = [{id = -1, detail = "full"}, {id = -2}]\n'
    )
    settings = load(path, {"TELEGRAM_BOT_TOKEN": f"1234567:{'a' * 35}"})
    assert {chat.id: chat.short for chat in settings.chats} == {
        "@channel": True, -1: False, -2: True
    }  # fmt: skip


def test_context_sources_and_series_of_ones_own(tmp_path: Path):
    assert read(tmp_path, HEAD).sources == ()
    assert context_sources(read(tmp_path, HEAD)) == []
    shipped = load(ROOT / "config.toml", {})
    assert shipped.sources == tuple(SOURCES)
    text = HEAD + (
        '[context]\nsources = ["kalshi"]\nurls = { kalshi = "http://127.0.0.1:1" }\n'
        '[[context.series]]\nname = "flows"\nunit = "M USD"\nfile = "etf.csv"\ncolumn = "IBIT"\n'
        '[[context.series]]\nname = "US10Y"\nurl = "https://example.org/x.csv?id=1"\nevery = "6h"\n'
    )
    settings = read(tmp_path, text)
    described = describe(settings)
    assert "context    Kalshi, flows, US10Y" in described
    of_kalshi, of_file, of_url = context_sources(settings)
    assert (of_kalshi.source.SPEC.name, of_kalshi.rest) == ("kalshi", "http://127.0.0.1:1")
    assert (of_file.source.SPEC.name, of_file.file) == ("series:flows", tmp_path / "etf.csv")
    assert (of_url.source.SPEC.every_s, of_url.source.SPEC.rest) == (21_600, "https://example.org")
    assert [request.path for request in of_url.source.requests()] == ["/x.csv?id=1"]
    for wrong, why in (
        ('sources = ["kalsi"]', "kalshi"),
        ('urls = { other = "https://x.org" }', "unknown source"),
        ('sources = "none"', "context.sources"),
        ('series = [{ name = "a" }]', "either a url or a file"),
        ('series = [{ name = "a", file = "a", url = "https://x.org" }]', "either a url or a file"),
        ('series = [{ name = "a", file = "a" }, { name = "a", file = "b" }]', "another series"),
        ('series = [{ name = "1a", file = "a" }]', "name"),
        ('series = [{ name = "a", file = "a", every = "5s" }]', "at least 1m"),
        ('series = [{ name = "a", file = "a", everi = "5m" }]', "every"),
    ):
        with pytest.raises(ConfigError, match=why):
            read(tmp_path, HEAD + f"[context]\n{wrong}\n")
