"""What ``lowtide check`` says, and what it warns of."""

from pathlib import Path

import pytest

from bot.__main__ import main
from bot.config import load
from bot.config.explain import describe
from bot.config.source import SHIPPED
from bot.config.warnings import warnings
from tests.bot.config.written import HEAD, OI, read
from tests.bot.fake_telegram import TOKEN

LIQ = """
[rules.liq_burst]
metric = "liq_10m_musd"
fires = "above"
majors = { watch = 15, alert = 40, clear = 8 }
"""


def warned(folder: Path, text: str) -> list[str]:
    return warnings(read(folder, text))


def test_a_description_says_what_will_happen(tmp_path: Path):
    text = HEAD + OI + 'for = "2m"\nmajors = { alert = -5, clear = -1 }\nBTC = { alert = -4 }\n'
    description = describe(read(tmp_path, '[channel]\nchat_id = "@lowtide"\n' + text))
    assert description.splitlines() == [
        "venues     Binance, Hyperliquid",
        "majors     BTC, ETH",
        "large      SOL",
        "tail       the next 60 by open interest",
        "messages   to the console (set TELEGRAM_BOT_TOKEN to post to @lowtide), language en",
        "           all rules; at most 12 an hour",
        "           waits for more of the same: watch 1 min, alert 20 s",
        "           a post that perhaps did not arrive is sent again",
        "operators  notices to the log, commands for nobody, at most 100 subscribers",
        f"redis      started by Lowtide, data in {tmp_path}/data",
        "events     kept for 1 h, in at most 20 MB",
        "",
        "oi_drop: oi_net_1h_pct below the level for 2 min",
        "  over once beyond clear for 10 min; "
        "held back for 1 h after a post unless 1.25 times worse",
        "                 watch     alert  critical     clear",
        "  BTC                         -4                  -1",
        "  ETH                         -5                  -1",
    ]


def test_windows_tiers_of_ones_own_floors_and_the_market_are_explained(tmp_path: Path):
    text = HEAD.replace("large", 'memecoins = ["SOL", "PEPE"]\nlarge')
    text += OI.replace("1h", "{window}")
    text += """
        min_oi_musd = { majors = 50 }
        post = false
        for = { watch = "5m", alert = "2m" }
        windows.15m = { majors = { alert = -3, clear = -1 } }
        [rules.oi_drop.windows.1h]
        for = "0s"
        majors = { alert = -5, clear = -1 }
        memecoins = { alert = -9, clear = -1 }
        tail = { alert = -15, clear = -6 }
        DOGE = { alert = -12 }
        [rules.total]
        metric = "oi_total_net_1h_pct"
        fires = "below"
        all = { watch = -2, clear = -1 }
        [rules.each]
        metric = "price_1h_pct"
        fires = "below"
        scope = "instrument"
        large = { watch = -2, clear = -1 }
    """
    lines = describe(read(tmp_path, text)).splitlines()
    assert lines[2:5] == [
        "large      SOL",
        "memecoins  SOL, PEPE",
        "tail       the next 60 by open interest",
    ]
    rules = [line for line in lines[13:] if not line.startswith("  over once")]
    assert rules == [
        "oi_drop:15m: oi_net_15m_pct below the level, watch for 5 min, alert for 2 min, "
        "never posted",
        "                 watch     alert  critical     clear    min OI $M",
        "  majors                      -3                  -1           50",
        "",
        "oi_drop:1h: oi_net_1h_pct below the level, never posted",
        "                 watch     alert  critical     clear    min OI $M",
        "  majors                      -5                  -1           50",
        "  memecoins                   -9                  -1",
        "  DOGE                       -12                  -6",
        "  tail                       -15                  -6",
        "",
        "total: oi_total_net_1h_pct below the level",
        "                 watch     alert  critical     clear",
        "  all               -2                            -1",
        "",
        "each: price_1h_pct of each contract below the level",
        "                 watch     alert  critical     clear",
        "  large             -2                            -1",
    ]


def test_composites_are_explained(tmp_path: Path):
    text = (
        HEAD
        + OI
        + "majors = { alert = -5, clear = -1 }\n"
        + LIQ
        + """
        [rules.cascade]
        within = "1h"
        all_of = ["oi_drop:alert", "liq_burst:watch"]
        hides = ["oi_drop", "liq_burst"]
        [rules.either]
        level = "alert"
        within = "30m"
        any_of = ["oi_drop:alert", "liq_burst:alert"]
        at_least = 1
        cooldown = "3h"
        post = false
        """
    )
    assert describe(read(tmp_path, text)).splitlines()[-6:] == [
        "",
        "cascade: critical when all of these were reached within 1 h: oi_drop at alert, "
        "liq_burst at watch",
        "  hides oi_drop, liq_burst while it fires and for 30 min after; not again for 2 h",
        "",
        "either: alert when at least 1 of these were reached within 30 min: oi_drop at alert, "
        "liq_burst at alert; never posted",
        "  not again for 3 h",
    ]


@pytest.mark.parametrize(
    ("channel", "env", "words"),
    [
        ("", {}, "to the console (set TELEGRAM_BOT_TOKEN and channel.chat_id for Telegram)"),
        ("", {"TELEGRAM_BOT_TOKEN": TOKEN}, "to the console (set channel.chat_id to post"),
        ("chat_id = -100", {"TELEGRAM_BOT_TOKEN": TOKEN}, "to Telegram chat -100,"),
        (
            'quiet = "23:00-07:05 Asia/Tokyo"',
            {},
            "all rules; at most 12 an hour, quiet 23:00-07:05 Asia/Tokyo\n"
            "           waits for more of the same",
        ),
        (
            'weekly_report = "Mon 09:05 Asia/Tokyo"',
            {},
            "all rules; at most 12 an hour, weekly report Mon 09:05 Asia/Tokyo\n",
        ),
    ],
)
def test_a_description_says_where_and_when_messages_go(
    tmp_path: Path, channel: str, env: dict[str, str], words: str
):
    assert words in describe(read(tmp_path, f"[channel]\n{channel}\n{HEAD}", env))


def test_a_description_says_who_gets_what(tmp_path: Path):
    text = """
[channel]
chat_id = "@lowtide"
[[chats]]
id = -1001
topic = 7
rules = ["liq_burst"]
assets = ["majors", "DOGE"]
min_level = "alert"
[operators]
chat_id = -200
users = [11]
commands = "everyone"
subscribers = 0
[delivery]
on_uncertain = "drop"
[[webhooks]]
url = "https://me:secret@example.org/secret"
rules = ["liq_burst"]
"""
    env = {"TELEGRAM_BOT_TOKEN": TOKEN, "LOWTIDE_WEBHOOK_SECRET": "a long random text"}
    lines = describe(read(tmp_path, HEAD + LIQ + text, env)).splitlines()
    assert lines[4:12] == [
        "messages   to Telegram chat @lowtide, language en",
        "           all rules; at most 12 an hour",
        "           to Telegram chat -1001 (topic 7), language en",
        "           liq_burst on majors, DOGE, from alert up; at most 12 an hour",
        "           to webhook 1 at example.org: liq_burst",
        "           waits for more of the same: watch 1 min, alert 20 s",
        "           a post that perhaps did not arrive is not sent again",
        "operators  notices to chat -200, commands for everyone, changes by 1 user",
    ]
    assert "secret" not in "\n".join(lines)


def test_a_rule_on_what_no_venue_publishes_is_warned_of(tmp_path: Path):
    assert warned(tmp_path, HEAD + LIQ) == []
    alone = HEAD.replace('"binance", ', "")
    assert warned(tmp_path, alone + LIQ) == [
        "config.toml:8: rules.liq_burst: can never fire: "
        "liq_10m_musd is made of liquidations: Hyperliquid publishes none"
    ]


def test_a_rule_without_an_asset_is_warned_of(tmp_path: Path):
    text = HEAD.replace('"SOL"', "").replace('"next 60 by OI"', '"none"')
    rows = """
        windows.1h = { large = { alert = -5, clear = -1 }, tail = { alert = -5, clear = -1 } }
        windows.4h = { majors = { alert = -5, clear = -1 } }
    """
    assert warned(tmp_path, text + OI.replace("1h", "{window}") + rows) == [
        "config.toml:12: rules.oi_drop.windows.1h: can never fire: it has rows for empty tiers "
        "only, so it watches no asset"
    ]


def test_a_shipped_rule_for_tiers_left_empty_is_no_mistake(tmp_path: Path):
    text = 'extends = "shipped"\n[markets]\nmajors = ["BTC"]\nlarge = []\ntail = "none"\n'
    assert warned(tmp_path, text) == []
    text += "[rules.depth_thin.windows.50bp]\nlarge = { alert = 20, clear = 70 }\n"
    assert warned(tmp_path, text) == [
        "config.toml:6: rules.depth_thin.windows.50bp: can never fire: it has rows for empty tiers"
        " only, so it watches no asset"
    ]


def test_an_asset_that_looks_misspelt_is_warned_of(tmp_path: Path):
    rows = "tail = { alert = -15, clear = -6 }\nBCT = { alert = -9 }\nDOGE = { alert = -9 }\n"
    assert warned(tmp_path, HEAD + OI + rows) == [
        "config.toml:12: rules.oi_drop.BCT: BCT is in no tier, so it is watched only as one of "
        'the tail (did you mean "BTC"?)'
    ]


@pytest.mark.parametrize(
    ("rows", "conditions", "why"),
    [
        ("majors = { alert = -5, clear = -1 }", 'all_of = ["oi_drop:alert"]', None),
        (
            "majors = { alert = -5, clear = -1 }",
            'all_of = ["oi_drop:critical", "liq_burst:alert"]',
            "oi_drop never reaches critical",
        ),
        (
            "large = { alert = -5, clear = -1 }",
            'all_of = ["oi_drop:alert", "liq_burst:alert"]',
            "no asset is watched by enough of its rules",
        ),
        (
            "tail = { alert = -5, clear = -1 }",
            'all_of = ["oi_drop:watch", "liq_burst:alert"]',
            "no asset is watched by enough of its rules",
        ),
        (
            "majors = { alert = -5, clear = -1 }",
            'any_of = ["oi_drop:critical", "liq_burst:alert"]\nat_least = 2',
            "only 1 of its conditions can hold, 2 are needed",
        ),
        (
            "majors = { alert = -5, clear = -1 }",
            'any_of = ["oi_drop:critical", "liq_burst:alert"]\nat_least = 1',
            None,
        ),
    ],
)
def test_a_composite_that_can_never_fire_is_warned_of(
    tmp_path: Path, rows: str, conditions: str, why: str | None
):
    text = HEAD + OI + rows + LIQ + f'[rules.both]\nwithin = "1h"\n{conditions}\n'
    doubts = warned(tmp_path, text)
    line = text[: text.index("[rules.both]")].count("\n") + 1
    assert doubts == ([f"config.toml:{line}: rules.both: can never fire: {why}"] if why else [])


def test_a_composite_of_a_rule_that_never_fires_is_warned_of(tmp_path: Path):
    alone = HEAD.replace('"binance", ', "") + LIQ
    doubts = warned(tmp_path, alone + '[rules.x]\nwithin = "1h"\nall_of = ["liq_burst:watch"]\n')
    assert doubts[1:] == ["config.toml:12: rules.x: can never fire: liq_burst never reaches watch"]


@pytest.mark.parametrize(
    ("operators", "warned_of"),
    [("", False), ("users = [1]\nchat_id = -2", False), ("chat_id = -2", True),
     ('commands = "everyone"', True)],
)  # fmt: skip
def test_commands_that_nobody_may_use_are_warned_of(
    tmp_path: Path, operators: str, warned_of: bool
):
    doubts = warned(tmp_path, f"[operators]\n{operators}\n{HEAD}{LIQ}")
    doubts = [text for text in doubts if "TELEGRAM_BOT_TOKEN" not in text]
    text = "config.toml: operators.users: is empty, so nobody may change anything by command"
    assert doubts == ([text] if warned_of else [])


def test_check_warns_and_is_content(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "config.toml"
    path.write_text(HEAD.replace('"binance", ', "") + LIQ)
    with pytest.raises(SystemExit) as done:
        main(["check", "--config", str(path)])
    assert done.value.code == 0
    assert capsys.readouterr().out.endswith(
        "\n0 rule tests: lowtide test\n"
        "warning: config.toml:8: rules.liq_burst: can never fire: liq_10m_musd is made of "
        "liquidations: Hyperliquid publishes none\n"
    )


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"ALL_PROXY": "socks5h://p:1"}, "socks5h://p:1 for https and wss, http and ws"),
        ({"HTTPS_PROXY": "http://p:2"}, "http://p:2 for https and wss"),
        ({"HTTP_PROXY": "http://p:3"}, "http://p:3 for http and ws"),
        (
            {"ALL_PROXY": "http://p:4", "HTTP_PROXY": "http://p:3"},
            "http://p:4 for https and wss, http://p:3 for http and ws",
        ),
    ],
)
def test_all_that_a_proxy_is_for_is_said(env: dict[str, str], words: str):
    (line,) = [
        line for line in describe(load(SHIPPED, env)).splitlines() if line.startswith("proxy")
    ]
    assert line.removeprefix("proxy").strip() == words
