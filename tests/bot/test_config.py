"""Settings from config.toml: every error against a golden text, and what good files become.

After a change of words, run it with LOWTIDE_GOLDEN=write and read the diff.
"""

import os
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.config import ConfigError, Settings, load
from bot.describe import describe
from bot.toml_lines import index, line_of
from rules.alerts import Level
from rules.rule import Row
from tests.bot.fake_telegram import TOKEN
from tests.conftest import ROOT

GOLDEN = Path(__file__).parent / "golden" / "config_errors.txt"

HEAD = """
[markets]
venues = ["binance", "hyperliquid"]
majors = ["BTC", "ETH"]
large = ["SOL"]
tail = "next 60 by OI"
"""
OI = """
[rules.oi_drop]
metric = "oi_net_1h_pct"
fires = "below"
"""


def read(tmp_path: Path, text: str, env: dict[str, str] | None = None) -> Settings:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load(path, env or {})


def problems(folder: Path, text: str, env: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, env)
    return [line.replace(f"{folder}{os.sep}", "") for line in caught.value.problems]


def cases() -> dict[str, str]:
    """Bad text by name. A token is written {token}, for none may stand in the project."""
    found = re.findall(r"^=== (.+)\n((?:.*\n)*?)--- problems\n", GOLDEN.read_text(), re.M)
    return dict(found)


def test_every_error_is_worded_as_agreed(tmp_path: Path):
    parts = [
        f"=== {name}\n{text}--- problems\n"
        + "".join(f"{line}\n" for line in problems(tmp_path, text.replace("{token}", TOKEN)))
        for name, text in cases().items()
    ]
    told = "".join(parts)
    if os.environ.get("LOWTIDE_GOLDEN") == "write":
        GOLDEN.write_text(told)
    assert len(parts) >= 15
    assert told == GOLDEN.read_text()


def test_a_missing_file_says_what_to_do(tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "config.toml", {})
    assert caught.value.problems == [
        f"{tmp_path}/config.toml: no such file; run lowtide where config.toml is, or name it with "
        "--config"
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
    assert {rule.name for rule in settings.rules} == {
        "funding_negative",
        "funding_predicted",
        "oi_drop",
        "oi_drop_fast",
        "depth_thin",
        "depth_thin_wide",
        "liq_burst",
    }
    drop = next(rule for rule in settings.rules if rule.name == "oi_drop")
    assert drop.rows["BTC"].levels == {Level.WATCH: -2.5, Level.ALERT: -4, Level.CRITICAL: -8}
    assert drop.rows["ETH"].levels[Level.WATCH] == -3
    assert drop.hold == dict.fromkeys(Level, 120_000)
    assert drop.others is not None
    assert drop.others.levels == {Level.ALERT: -15, Level.CRITICAL: -25}


def test_defaults_of_a_small_file(tmp_path: Path):
    settings = read(tmp_path, HEAD)
    assert settings.chat_id is None
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


@pytest.mark.parametrize(
    ("given", "floors"),
    [("3", (3, 3, 3)), ("{ majors = 40, tail = 1.5 }", (40, 0, 1.5))],
)
def test_the_least_loss_is_a_floor_of_depth_rows(tmp_path: Path, given: str, floors: tuple):
    row = "{ alert = 50, clear = 80 }"
    text = f"""
        [rules.d]
        metric = "depth_25bp_pct_of_normal"
        fires = "below"
        min_loss_musd = {given}
        majors = {row}
        large = {row}
        tail = {row}
    """
    (rule,) = read(tmp_path, HEAD + text).rules
    assert rule.others is not None
    found = (rule.rows["BTC"].floor_musd, rule.rows["SOL"].floor_musd, rule.others.floor_musd)
    assert found == floors


def test_secrets_come_from_the_environment_and_do_not_show(tmp_path: Path):
    file = HEAD + '[redis]\nurl = "redis://file/0"\n[channel]\nchat_id = -100\n'
    env = {"TELEGRAM_BOT_TOKEN": f" {TOKEN}\n", "REDIS_URL": "redis://me:secret@host/0"}
    settings = read(tmp_path, file, env)
    assert settings.token == TOKEN
    assert settings.redis_url == "redis://me:secret@host/0"
    for text in (repr(settings), describe(settings)):
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


def test_urls_of_venues_may_be_replaced(tmp_path: Path):
    text = '[venues.binance]\nwebsocket = "ws://127.0.0.1:1"\nrest = "http://127.0.0.1:2/"\n'
    binance, other = read(tmp_path, HEAD + text).venues
    assert (binance.websocket, binance.rest) == ("ws://127.0.0.1:1", "http://127.0.0.1:2")
    assert (other.websocket, other.rest) == (None, None)


def test_a_description_says_what_will_happen(tmp_path: Path):
    text = HEAD + OI + 'for = "2m"\nmajors = { alert = -5, clear = -1 }\nBTC = { alert = -4 }\n'
    told = describe(read(tmp_path, '[channel]\nchat_id = "@lowtide"\n' + text))
    assert told.splitlines() == [
        "venues    Binance, Hyperliquid",
        "majors    BTC, ETH",
        "large     SOL",
        "tail      the next 60 by open interest",
        "messages  to the console (set TELEGRAM_BOT_TOKEN to post to @lowtide), language en",
        f"redis     started by Lowtide, data in {tmp_path}/data",
        "events    kept for 1 h, in at most 20 MB",
        "",
        "oi_drop: oi_net_1h_pct below the level for 2 min",
        "  over once beyond clear for 10 min; "
        "held back for 1 h after a post unless 1.25 times worse",
        "                 watch     alert  critical     clear",
        "  BTC                         -4                  -1",
        "  ETH                         -5                  -1",
    ]


@pytest.mark.parametrize(
    ("channel", "env", "words"),
    [
        ("", {}, "to the console (set TELEGRAM_BOT_TOKEN and channel.chat_id for Telegram)"),
        ("", {"TELEGRAM_BOT_TOKEN": TOKEN}, "to the console (set channel.chat_id to post"),
        ("chat_id = -100", {"TELEGRAM_BOT_TOKEN": TOKEN}, "to Telegram chat -100,"),
    ],
)
def test_a_description_says_where_messages_go(
    tmp_path: Path, channel: str, env: dict[str, str], words: str
):
    assert words in describe(read(tmp_path, f"[channel]\n{channel}\n{HEAD}", env))


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
