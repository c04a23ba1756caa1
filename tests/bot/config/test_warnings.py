"""What is allowed and probably not meant is told by ``check`` and at the start."""

from pathlib import Path

import pytest

from bot.__main__ import main
from bot.config import ConfigError, load
from bot.config.source import SHIPPED
from bot.config.warnings import warnings
from bot.roles import run
from tests.bot.fake_telegram import TOKEN

HEAD = 'extends = "shipped"\n'


def warned(folder: Path, text: str, env: dict[str, str] | None = None) -> list[str]:
    path = folder / "local.toml"
    path.write_text(HEAD + text)
    return warnings(load(path, env or {}))


def test_nothing_is_told_of_what_is_shipped(tmp_path: Path):
    assert warnings(load(SHIPPED, {})) == []
    assert warned(tmp_path, "") == []


@pytest.mark.parametrize(
    ("asset", "words"),
    [
        ("BTCUSDT", "BTCUSDT looks like a venue's name of a contract: write the asset, BTC"),
        ("ETHUSD", "ETHUSD looks like a venue's name of a contract: write the asset, ETH"),
        ("SUSDC", "SUSDC looks like a venue's name of a contract: write the asset, S"),
        (
            "SOLUSDTPERP",
            "SOLUSDTPERP looks like a venue's name of a contract: write the asset, SOL",
        ),
        ("SOLPERP", "SOLPERP looks like a venue's name of a contract: write the asset, SOL"),
        (
            "1000PEPEUSDT",
            "1000PEPEUSDT looks like a venue's name of a contract: write the asset, PEPE",
        ),
        ("1000PEPE", "1000PEPE looks like a contract on 1,000 coins: write the asset, PEPE"),
        ("SHIB1000", "SHIB1000 looks like a contract on 1,000 coins: write the asset, SHIB"),
        (
            "1MBABYDOGE",
            "1MBABYDOGE looks like a contract on 1,000,000 coins: write the asset, BABYDOGE",
        ),
        ("MATIC", "MATIC is called POL since September 2024: write POL"),
        ("FTM", "FTM is called S since January 2025: write S"),
        ("AGIX", "AGIX is called FET since July 2024, 0.43335 for one: write FET"),
    ],
)
@pytest.mark.parametrize(
    ("section", "key"), [("markets", "majors"), ("markets", "large"), ("chats", "assets")]
)
def test_a_name_that_no_venue_lists_is_told(
    tmp_path: Path, asset: str, words: str, section: str, key: str
):
    table = "[[chats]]\nid = -100" if section == "chats" else "[markets]"
    doubts = warned(tmp_path, f'{table}\n{key} = ["{asset}"]\n', {"TELEGRAM_BOT_TOKEN": TOKEN})
    line = 4 if section == "chats" else 3
    name = "local.toml" if section == "chats" else f"local.toml:{line}"
    assert f"{name}: {section}.{key}: {words}" in doubts


@pytest.mark.parametrize(
    "asset", ["BTC", "1INCH", "USD1", "PYUSD", "TUSD", "PERP", "POL", "S", "A"]
)
def test_coins_of_such_names_are_let_be(tmp_path: Path, asset: str):
    doubts = warned(tmp_path, f'[markets]\nmajors = ["{asset}"]\nlarge = []\n')
    assert [line for line in doubts if "markets.majors" in line] == []


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            "[rules.oi_drop.windows.1h]\nmajors = { watch = -0.03, clear = -0.01 }",
            "rules.oi_drop.windows.1h.majors.watch: watch = -0.03 is -0.03 %: for -3 % write -3",
        ),
        (
            "[rules.price_drop.windows.24h]\nBTC = { alert = -0.15, clear = -0.05 }",
            "rules.price_drop.windows.24h.BTC.alert: alert = -0.15 is -0.15 %: for -15 % write -15",
        ),
        (
            "[rules.depth_low]\nmajors = { watch = 0.6, alert = 0.45, clear = 0.75 }",
            "rules.depth_low.majors.alert: alert = 0.45 is 0.45 %: for 45 % write 45",
        ),
        (
            '[rules.funding_negative]\ntail = { watch = "none", alert = -0.0005, clear = 0 }',
            "rules.funding_negative.tail.alert: alert = -0.0005 is -0.0005 %: for -0.05 % write"
            " -0.05",
        ),
        (
            "[rules.liq_burst]\nmajors = { alert = 40000000, critical = 120000000 }",
            "rules.liq_burst.majors.alert: alert = 40000000 is in million USD: for $40,000,000"
            " write 40",
        ),
        (
            "[rules.oi_drop]\nmin_oi_musd = { majors = 50_000_000 }",
            "rules.oi_drop.min_oi_musd: 50000000 is in million USD: for $50,000,000 write 50",
        ),
        (
            "[rules.depth_thin.windows.25bp]\nmin_loss_musd = 5e6",
            "rules.depth_thin.windows.25bp.min_loss_musd: 5000000 is in million USD: for $5,000,000"
            " write 5",
        ),
        (
            "[rules.oi_drop.windows.1h]\nlarge = { critical = -1200 }",
            "rules.oi_drop.windows.1h.large.critical: critical = -1200 is further out than any"
            " value: oi_net_1h_pct is in %",
        ),
        (
            '[rules.up]\nmetric = "price_1h_pct"\nfires = "above"\nETH = {alert = -5, clear = -6}',
            "rules.up.ETH.alert: alert = -5 is reached where nothing changes: a rise has no minus",
        ),
        (
            '[rules.x]\nmetric = "oi_net_1h_pct"\nfires = "below"\nETH = { alert = 5, clear = 6 }',
            "rules.x.ETH.alert: alert = 5 is reached where nothing changes: a fall has a minus, -5",
        ),
        (
            "[rules.liq_burst]\nrepost_if = 150",
            "rules.liq_burst.repost_if: 150 is a factor: 1.5 is half as bad again",
        ),
        (
            '[rules.oi_drop]\nwhen = { price_1h_pct = "<= -0.01" }',
            "rules.oi_drop.when: price_1h_pct <= -0.01 is -0.01 %: for -1 % write -1",
        ),
        (
            '[rules.oi_drop.windows.1h]\nwhen = { depth_25bp_pct_of_recent = "< 0.3" }',
            "rules.oi_drop.windows.1h.when: depth_25bp_pct_of_recent < 0.3 is 0.3 %: for 30 % write"
            " 30",
        ),
        (
            '[rules.price_drop]\nwhen = { liq_10m_musd = ">= 5000000" }',
            "rules.price_drop.when: liq_10m_musd >= 5000000 is in million USD: for $5,000,000 write"
            " 5",
        ),
        ("[defaults]\nrepost_if = 50", "defaults.repost_if: 50 is a factor: 1.5 is half as bad"),
    ],
)
def test_a_number_in_another_unit_is_told(tmp_path: Path, rule: str, words: str):
    lines = warned(tmp_path, f"{rule}\n")
    assert [line for line in lines if f": {words}" in line and line.startswith("local.toml:")]


def test_chats_without_a_token_are_told(tmp_path: Path):
    text = '[channel]\nchat_id = "@mine"\n[[chats]]\nid = -100\n'
    text += "[operators]\nchat_id = -5\nusers = [1]\n"
    assert warned(tmp_path, text, {"TELEGRAM_BOT_TOKEN": TOKEN}) == []
    assert warned(tmp_path, text) == [
        "local.toml:3: channel.chat_id: there is no TELEGRAM_BOT_TOKEN, so what is for @mine is"
        " printed here",
        "local.toml: chats.id: there is no TELEGRAM_BOT_TOKEN, so what is for -100 is printed here",
        "local.toml:7: operators.chat_id: there is no TELEGRAM_BOT_TOKEN, so notices are only"
        " logged",
    ]


@pytest.mark.parametrize(
    ("chat", "commands", "counted"),
    [("@mine", "operators", 1), ("@mine", "everyone", 0), (-5, "operators", 0)],
)
def test_buttons_that_do_nothing_for_readers_are_told(
    tmp_path: Path, chat: int | str, commands: str, counted: int
):
    named = f'"{chat}"' if isinstance(chat, str) else chat
    text = (
        f"[channel]\nchat_id = {named}\nbuttons = true\n[operators]\nchat_id = -5\nusers = [1]\n"
        f'commands = "{commands}"\n'
    )
    doubts = [d for d in warned(tmp_path, text, {"TELEGRAM_BOT_TOKEN": TOKEN}) if "buttons" in d]
    expected = (
        "local.toml:4: channel.buttons: only operators may ask, so for readers of @mine the"
        ' buttons do nothing; operators.commands = "everyone" changes that'
    )
    assert doubts == [expected] * counted


def test_a_weekly_report_of_a_log_that_is_not_kept_so_long_is_told(tmp_path: Path):
    text = '[channel]\nweekly_report = "Mon 09:00"\n[metrics]\nkeep = "{}"\n'
    (doubt,) = [d for d in warned(tmp_path, text.format("7d")) if "metrics.keep" in d]
    assert doubt == (
        "local.toml:5: metrics.keep: a weekly report is made of the metric log, which must be kept"
        " for 8 days at least"
    )
    assert not [d for d in warned(tmp_path, text.format("8d")) if "metrics.keep" in d]
    none = text.format("7d").replace("Mon 09:00", "none")
    assert not [d for d in warned(tmp_path, none) if "metrics.keep" in d]


@pytest.mark.parametrize(
    ("operators", "env", "missing"),
    [
        ('status_at = "09:00"', {}, "operators.chat_id"),
        ('status_at = "09:00"', {"TELEGRAM_BOT_TOKEN": TOKEN}, "operators.chat_id"),
        ('status_at = "09:00"\nchat_id = -5', {}, "TELEGRAM_BOT_TOKEN"),
        ('status_at = "09:00"\nchat_id = -5', {"TELEGRAM_BOT_TOKEN": TOKEN}, None),
        ("chat_id = -5", {}, None),
    ],
)
def test_a_daily_status_that_nobody_gets_is_told(
    tmp_path: Path, operators: str, env: dict[str, str], missing: str | None
):
    doubts = warned(tmp_path, f"[operators]\nusers = [1]\n{operators}\n", env)
    expected = (
        f"local.toml:4: operators.status_at: there is no {missing}, so nobody gets the status"
    )
    assert [d for d in doubts if "status_at" in d] == ([expected] if missing else [])


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("a = “x”", '“ (U+201C) is no sign of TOML: write "'),
        ('a = "x”', '” (U+201D) is no sign of TOML: write "'),
        ("a = ‘x’", "‘ (U+2018) is no sign of TOML: write '"),
        ("a = −5", "− (U+2212) is no sign of TOML: write -"),
        ("［markets］", "［ (U+FF3B) is no sign of TOML: write ["),
        ("a＝1", "＝ (U+FF1D) is no sign of TOML: write ="),
        ("a = ５", "５ (U+FF15) is no sign of TOML: write 5"),
        ("a = [1， 2]", "， (U+FF0C) is no sign of TOML: write ,"),
        ("a\u00a0= 5", "U+00A0 is no sign of TOML: write a plain space"),
        ("\u3000a = 5", "U+3000 is no sign of TOML: write a plain space"),
    ],
)
def test_signs_of_word_processors_are_named(tmp_path: Path, line: str, hint: str):
    path = tmp_path / "local.toml"
    path.write_text(f"{HEAD}# “all” is well here\n{line}\n")
    with pytest.raises(ConfigError) as error:
        load(path, {})
    (problem,) = error.value.problems
    assert problem.startswith(f"{path}:3: not valid TOML: ") and problem.endswith(f"; {hint}")


def test_other_faults_have_no_such_hint(tmp_path: Path):
    path = tmp_path / "local.toml"
    path.write_text("a = oops  # “x”\n")
    with pytest.raises(ConfigError) as error:
        load(path, {})
    assert "no sign" not in str(error.value)


@pytest.mark.parametrize("name", ["BTC-USDT-SWAP", "BTC_USDT", "BTC-PERP"])
def test_a_contract_with_signs_in_its_name_is_no_asset(tmp_path: Path, name: str):
    words = f"{name} looks like a venue's name of a contract: write the asset, BTC"
    with pytest.raises(ConfigError, match=words):
        warned(tmp_path, f'[markets]\nmajors = ["{name}"]\n')


def test_letters_of_another_width_are_no_asset(tmp_path: Path):
    with pytest.raises(ConfigError, match='"ＢＴＣ" is not an asset: write it like "BTC"'):
        warned(tmp_path, '[markets]\nmajors = ["ＢＴＣ"]\n')
    assert warned(tmp_path, '[markets]\nmajors = ["币安人生"]\n') == []


def test_check_and_the_start_tell_it(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    async def nothing(*_: object, **_more: object) -> None:
        return

    monkeypatch.setattr(run, "run", nothing)
    monkeypatch.delenv("TELEGRAM_BOT_TOKEN", raising=False)
    warned(tmp_path, '[markets]\nmajors = ["BTCUSDT"]\n')
    words = "markets.majors: BTCUSDT looks like a venue's name of a contract"
    for command in ("check", "run", "streams", "rules", "bot"):
        with pytest.raises(SystemExit) as done:
            main([command, "--config", str(tmp_path / "local.toml")])
        assert done.value.code == 0
        assert words in "".join(capsys.readouterr())


@pytest.mark.parametrize("table", ["[channel]\nchat_id = {}", "[[chats]]\nid = {}"])
def test_the_id_of_a_channel_without_its_minus_100_is_named(tmp_path: Path, table: str):
    words = "is the id of a person; that of a channel or a large group begins with -100: write"
    doubts = warned(tmp_path, table.format(1111111111) + "\n")
    assert any(f"1111111111 {words} -1001111111111 if one is meant" in doubt for doubt in doubts)
    for right in ("-1001111111111", '"@lowtide"', "4242"):
        assert not any(words in doubt for doubt in warned(tmp_path, table.format(right) + "\n"))


def test_a_name_of_hyperliquid_for_a_thousand_coins_is_no_asset(tmp_path: Path):
    for name in ("PEPE", "SHIB"):
        with pytest.raises(ConfigError, match=f"k{name} looks like a contract on 1,000 coins: wri"):
            warned(tmp_path, f'[markets]\nlarge = ["k{name}"]\n')


_OWN_NEGATIVE = "[rules.funding_negative]\nmajors = { watch = -0.01, clear = 0 }\n"


@pytest.mark.parametrize(
    ("venues", "rules", "words"),
    [
        (
            ["kraken"],
            _OWN_NEGATIVE,
            "local.toml:4: rules.funding_negative: can never fire: funding_8h_pct is made of "
            "settled funding: Kraken publishes none",
        ),
        (
            ["kraken", "coinbase"],
            "",
            "rules.funding_high: can never fire: funding_8h_pct is made of settled funding: Kraken "
            "publishes none",
        ),
        (
            ["binance", "binance-coinm", "binance-spot"],
            "",
            "rules.funding_apart: can never fire: funding_dispersion_8h_pct takes two exchanges "
            "with funding: there is one, Binance, Binance COIN-M",
        ),
        (
            ["kraken", "gate"],
            "",
            "rules.oi_total_drop: can never fire: oi_total_net_1h_pct is made of open interest "
            "known to count one side or both: none of Kraken, Gate publishes any",
        ),
        (
            ["binance", "coinbase"],
            "",
            "rules.spot_share: can never fire: spot_share_pct takes an exchange with spot markets "
            "and perpetuals: none of Binance, Coinbase is one",
        ),
        (
            ["binance", "bybit"],
            "[rules.spot_depth]\nmajors = { watch = 40, clear = 60 }\n",
            "rules.spot_depth: can never fire: spot_depth_25bp_pct_of_recent is made of spot "
            "markets: none of Binance, Bybit has any",
        ),
    ],
)
def test_a_rule_that_these_venues_cannot_feed(
    tmp_path: Path, venues: list[str], rules: str, words: str
):
    doubts = warned(tmp_path, f"[markets]\nvenues = {venues}\n{rules}")
    assert [text for text in doubts if text.endswith(words)], doubts


def test_venues_that_can_feed_all_the_rules_are_no_mistake(tmp_path: Path):
    for venues in (["kraken", "deribit"], ["binance", "bybit"], ["kraken", "okx", "okx-spot"]):
        assert warned(tmp_path, f"[markets]\nvenues = {venues}\n") == []


def test_rules_on_what_all_coins_are_worth_need_a_list_of_them(tmp_path: Path):
    assert warned(tmp_path, '[context]\nsources = ["kalshi"]\n') == [
        "local.toml:3: context.sources: no source lists coins, so market_cap:24h_pct, "
        "market_cap:trillion_usd, market_cap_round:fell, market_cap_round:rose can never fire: add "
        "coingecko, or leave these rules out"
    ]
