"""An operator's own file: which one is used, how it lies on the shipped one, what judges it."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.__main__ import main
from bot.backtest.tune import Proposal, write
from bot.config import ConfigError, Settings, load, load_tests, own_tests, source
from bot.config.explain import show
from bot.config.reload import Rejected, checked
from bot.config.ruletests import run_all
from bot.config.schema import TIERS
from bot.config.source import SHIPPED, config_path, home, own_file
from bot.config.warnings import warnings
from bot.roles import run
from rules.alerts import Level
from tests.conftest import ROOT

EXTENDS = 'extends = "shipped"\n'


def own(folder: Path, text: str) -> Settings:
    path = folder / "local.toml"
    path.write_text(EXTENDS + text)
    return load(path, {})


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        own(folder, text)
    return [line.replace(f"{folder}{os.sep}", "") for line in error.value.problems]


def ended(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as done:
        main(arguments)
    out, err = capsys.readouterr()
    assert isinstance(done.value.code, int) and "Traceback" not in err
    return done.value.code, out, err


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose shipped file somebody edits."""
    for name in ("config.toml", "config.tests.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    path = tmp_path / "config.toml"
    monkeypatch.setattr("bot.config.source.SHIPPED", path)
    monkeypatch.setattr("bot.config.SHIPPED", path)
    monkeypatch.setattr("bot.config.reload.SHIPPED", path)
    return path


def test_the_shipped_file_is_the_one_at_the_top():
    assert SHIPPED == ROOT / "config.toml"
    for name in ("config.toml", "config.tests.toml"):
        link = ROOT / "bot" / "shipped" / name
        assert link.is_symlink() and link.read_bytes() == (ROOT / name).read_bytes()


def test_which_file_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert config_path(None, {}) == SHIPPED
    Path("config.toml").touch()
    assert config_path(None, {}) == Path("config.toml")
    Path("local.toml").touch()
    assert config_path(None, {"LOWTIDE_CONFIG": " "}) == Path("local.toml")
    assert config_path(None, {"LOWTIDE_CONFIG": "/etc/lowtide.toml"}) == Path("/etc/lowtide.toml")
    assert config_path(Path("x.toml"), {"LOWTIDE_CONFIG": "/etc/lowtide.toml"}) == Path("x.toml")


def test_a_file_that_only_extends_is_the_shipped_configuration(tmp_path: Path):
    mine, shipped = own(tmp_path, ""), load(SHIPPED, {})
    assert (mine.rules, mine.composites, mine.tiers) == (
        shipped.rules,
        shipped.composites,
        shipped.tiers,
    )
    assert mine.data_dir == tmp_path / "data"
    assert show(mine, "BTC").replace("shipped:", "config.toml:") == show(shipped, "BTC")


def test_what_differs_is_changed_and_the_rest_is_as_shipped(tmp_path: Path):
    text = (
        '[channel]\nchat_id = "@mine"\n[rules.liq_burst]\nmajors = { alert = 55 }\n'
        '[rules.oi_drop.windows.1h]\nBTC = { alert = -4.5, watch = "none" }\n'
    )
    mine, shipped = own(tmp_path, text), load(SHIPPED, {})
    assert mine.chats[0].id == "@mine" and mine.chats[0].posts_per_hour == 12
    rules = {rule.name: rule for rule in mine.rules}
    for rule in shipped.rules:
        if rule.name not in ("liq_burst", "oi_drop:1h"):
            assert rules[rule.name] == rule
    burst = rules["liq_burst"].rows["ETH"]
    assert burst.levels == {Level.WATCH: 15, Level.ALERT: 55, Level.CRITICAL: 120}
    drop = rules["oi_drop:1h"]
    assert drop.rows["BTC"].levels == {Level.ALERT: -4.5, Level.CRITICAL: -8}
    assert drop.rows["ETH"].levels == {Level.WATCH: -3, Level.ALERT: -5, Level.CRITICAL: -8}
    shown = show(mine, "BTC")
    assert re.search(r"  alert\s+-4.5  local.toml:7 BTC", shown)
    assert re.search(r"  critical\s+-8  shipped:\d+ majors", shown)
    assert re.search(r"  alert\s+55  local.toml:5 majors", shown)
    assert re.search(r"  watch\s+15  shipped:\d+ majors", shown)


@pytest.mark.parametrize("name", ["config.toml", "local.toml"])
def test_shipped_values_are_not_said_to_stand_in_the_operators_file(tmp_path: Path, name: str):
    path = tmp_path / name
    path.write_text(f"{EXTENDS}[rules.liq_burst]\nmajors = {{ alert = 55 }}\n")
    source, shipped = load(path, {}).source, load(SHIPPED, {}).source
    burst = ("rules", "liq_burst", "majors")
    assert source.place(*burst, "alert") == f"{name}:3"
    line = shipped.place(*burst, "watch")
    assert line and line.startswith("config.toml:")
    assert source.place(*burst, "watch") == line.replace("config.toml", "shipped")
    assert source.place("defaults", "cooldown") == (
        str(shipped.place("defaults", "cooldown")).replace("config.toml", "shipped")
    )


@pytest.mark.parametrize(
    "text",
    [
        '[markets]\nmajors = ["BTC"]\n',
        '[markets]\ntail = "none"\n',
        '[markets]\nmajors = ["SOL"]\n',
        '[markets]\nmajors = ["ETH"]\nlarge = ["BTC"]\n',
        '[markets]\ndogs = ["BTC", "DOGE"]\n[rules.oi_drop.windows.1h]\n'
        "dogs = { alert = -1, watch = -0.5, clear = -0.2 }\n",
        '[markets]\nmajors = ["ETH"]\nlarge = []\ntail = "none"\n',
        '[markets]\nmajors = ["SOL", "BTC"]\n',
        '[markets]\nlarge = ["ETH"]\n',
        '[markets]\nvenues = ["bybit"]\n',
        "[rules.liq_burst]\nmajors = { watch = 50, alert = 60, critical = 61 }\n",
        '[rules.oi_drop]\nmetric = "oi_net_1h_pct"\nfires = "below"\nETH = {alert = -1, clear = 0}',
        '[rules.cascade]\nany_of = ["oi_drop:alert", "liq_burst:alert"]\nat_least = 1\n',
        '[rules.mine]\nmetric = "price_15m_pct"\nfires = "below"\nETH = { alert = -3, clear = -1 }',
        '[defaults]\ncooldown = "3h"\n',
    ],
)
def test_the_shipped_file_and_its_tests_hold_nobody_hostage(text: str, tmp_path: Path, capsys):
    own(tmp_path, text)
    path = tmp_path / "local.toml"
    assert checked(path, {})[1] == 0
    code, out, err = ended(["check", "--config", str(path)], capsys)
    assert (code, err) == (0, "")
    assert "0 rule tests" in out
    assert ended(["show", "BTC" if "BTC" in text else "ETH", "--config", str(path)], capsys)[0] == 0


COINS = ("BTC", "ETH", "SOL", "XRP", "DOGE", "PEPE")


@given(
    st.lists(st.sampled_from(("majors", "large", "dogs", "")), min_size=6, max_size=6),
    st.sampled_from(("none", "next 5 by OI")),
    st.dictionaries(st.sampled_from(("majors", "large", "tail", "dogs", *COINS)), st.just(0)),
)
def test_whatever_tiers_and_rows_an_operator_writes_nothing_shipped_is_at_fault(
    tmp_path_factory: pytest.TempPathFactory, places: list[str], tail: str, rows: dict[str, int]
):
    """Rows that are sound by themselves, at levels far from the shipped ones."""
    tiers = {tier: [c for c, t in zip(COINS, places, strict=True) if t == tier] for tier in places}
    tiers.pop("", None)
    own_row = {"dogs": 0} if "dogs" in tiers else {}
    text = f'[markets]\ntail = "{tail}"\n'
    text += "".join(f"{tier} = {coins}\n".replace("'", '"') for tier, coins in tiers.items())
    text += "[rules.oi_drop.windows.1h]\n"
    listed = [coin for coins in tiers.values() for coin in coins]
    for row in rows | own_row:
        if row in (listed if tail == "none" else COINS) or row in tiers or row in TIERS:
            text += f"{row} = {{ watch = -40, alert = -50, critical = -60, clear = -30 }}\n"
    settings = own(tmp_path_factory.mktemp("own"), text)
    assert {rule.name for rule in settings.rules} == {r.name for r in load(SHIPPED, {}).rules}


def test_a_coin_that_moves_to_another_tier_is_in_that_one_only(tmp_path: Path):
    mine = own(tmp_path, '[markets]\nmajors = ["SOL", "BTC"]\n')
    assert mine.majors == ("SOL", "BTC") and "SOL" not in mine.large
    mine = own(tmp_path, '[markets]\nlarge = ["ETH"]\n')
    assert (mine.majors, mine.large) == (("BTC",), ("ETH",))


def test_rows_of_coins_that_nobody_watches_go_unless_they_are_the_operators(tmp_path: Path):
    markets = '[markets]\nmajors = ["ETH"]\nlarge = []\ntail = "none"\n'
    assert all("BTC" not in rule.rows for rule in own(tmp_path, markets).rules)
    row = "[rules.liq_burst]\nBTC = { alert = 5 }\n"
    (problem,) = problems(tmp_path, markets + row)
    assert problem.startswith("local.toml:7: rules.liq_burst.BTC: is not in markets.majors")


def test_the_operators_row_of_a_tier_holds_for_all_of_its_assets(tmp_path: Path):
    """BTC's shipped row may not contradict it, whatever it says."""
    for majors in ("watch = -4.5", "alert = -0.5, watch = -0.4, clear = -0.1", "critical = -9"):
        mine = own(tmp_path, f"[rules.oi_drop.windows.1h]\nmajors = {{ {majors} }}\n")
        rows = next(rule for rule in mine.rules if rule.name == "oi_drop:1h").rows
        assert rows["BTC"] == rows["ETH"]
    text = "[rules.oi_drop.windows.1h]\nmajors = { alert = -6 }\nBTC = { critical = -9 }\n"
    rows = next(rule for rule in own(tmp_path, text).rules if rule.name == "oi_drop:1h").rows
    assert rows["BTC"].levels == {Level.WATCH: -3, Level.ALERT: -6, Level.CRITICAL: -9}
    text = "[rules.oi_drop.windows.1h]\nlarge = { alert = -9 }\n"
    rows = next(rule for rule in own(tmp_path, text).rules if rule.name == "oi_drop:1h").rows
    assert rows["BTC"].levels[Level.ALERT] == -4


def test_problems_name_the_file_in_which_they_are(tmp_path: Path):
    text = (
        '[rules.liq_burst]\nmajors = { clear = 50 }\ncoldown = "1h"\n'
        '[rules.oi_drop.windows.1h]\nmajors = { alert = "-5" }\n[[chats]]\nid = 0\n'
    )
    assert [line.partition(": must")[0] for line in problems(tmp_path, text)] == [
        'local.toml:4: rules.liq_burst.coldown: unknown key (did you mean "cooldown"?)',
        "local.toml:6: rules.oi_drop.windows.1h.majors.alert",
        "local.toml:8: chats.id",
    ]
    assert problems(tmp_path, "[rules.liq_burst]\nmajors = { clear = 50 }\n") == [
        "local.toml:3: rules.liq_burst.majors: clear = 50 is not on the quiet side: with"
        ' fires = "above", it must be below watch = 15'
    ]


@pytest.mark.parametrize("what", ['"config.toml"', '"Shipped"', "5", '["shipped"]'])
def test_only_what_comes_with_lowtide_can_be_extended(what: str, tmp_path: Path):
    path = tmp_path / "local.toml"
    path.write_text(f"\nextends = {what}\n")
    with pytest.raises(ConfigError) as error:
        load(path, {})
    (problem,) = error.value.problems
    assert problem.startswith(f'{path}:2: extends: must be "shipped", the configuration that comes')


def test_a_faulty_shipped_file_is_named(tmp_path: Path, edited: Path):
    edited.write_text(edited.read_text().replace('fires    = "below"', 'fires    = "down"', 1))
    (problem,) = problems(tmp_path, "")
    assert re.fullmatch(
        r'config.toml:\d+: rules.funding_negative.fires: must be .* not "down"', problem
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('majors = ["BTC", "ETH"]', 'majors = ["BTC"]'),
        ('tail   = "next 60 by OI"', 'tail   = "none"'),
        ("majors = { watch = 15, alert = 40,", "majors = { watch = 15, alert = 60,"),
        ("majors = { watch = 70, alert = 55,", "majors = { watch = 60, alert = 50,"),
    ],
)
def test_whoever_edits_the_shipped_file_is_told_and_not_held_up(
    edited: Path, old: str, new: str, capsys, monkeypatch: pytest.MonkeyPatch
):
    text = edited.read_text()
    assert old in text
    code, out, _ = ended(["check", "--config", str(edited)], capsys)
    assert code == 0 and "git pull" not in out
    edited.write_text(text.replace(old, new))
    assert checked(edited, {})[1] == 0
    code, out, err = ended(["check", "--config", str(edited)], capsys)
    assert (code, err) == (0, "")
    (warning,) = [
        line for line in out.splitlines() if line.startswith("warning: config.toml comes")
    ]
    assert "git pull will stop at it: put what differs into local.toml" in warning
    assert ended(["test", "--config", str(edited)], capsys)[0] in (1, 2)


def test_the_shipped_tests_are_those_of_the_shipped_file(tmp_path: Path):
    shipped = load(SHIPPED, {})
    assert own_tests(shipped) == ()
    tests = load_tests(shipped)
    assert len(tests) > 30 and all(outcome.passed for outcome in run_all(tests, shipped))
    assert load_tests(own(tmp_path, "")) == ()


TEST = """
[[test]]
name = "mine"
rule = "liq_burst"
asset = "BTC"
every = "10s"
series = "0x2 50x2"
expect = ["30s open alert"]
"""


@pytest.mark.parametrize("beside", [True, False])
def test_an_operators_own_tests_judge_the_operators_file(tmp_path: Path, beside: bool):
    mine = own(tmp_path, "" if beside else TEST)
    if beside:
        (tmp_path / "local.tests.toml").write_text(TEST)
    assert [test.name for test in own_tests(mine)] == ["mine"]
    rule = "[rules.liq_burst]\nmajors = { alert = 60 }\n"
    (tmp_path / "local.toml").write_text(EXTENDS + ("" if beside else TEST) + rule)
    with pytest.raises(Rejected, match="test 'mine' failed: expected 30s open alert, got 30s open"):
        checked(tmp_path / "local.toml", {})


@pytest.mark.parametrize("command", ["run", "run --dry-run", "streams", "rules", "bot"])
def test_a_start_tries_the_configuration_as_a_running_lowtide_does(
    tmp_path: Path, command: str, capsys, monkeypatch: pytest.MonkeyPatch
):
    started: list[Settings] = []

    async def note(settings: Settings, *_: object, **_more: object) -> None:
        started.append(settings)

    monkeypatch.setattr(run, "run", note)
    for name in ("REDIS_URL", "TELEGRAM_BOT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    own(tmp_path, TEST)
    arguments = [*command.split(), "--config", str(tmp_path / "local.toml")]
    before = os.umask(0o077)
    try:
        code, _, err = ended(arguments, capsys)
        assert code == 0 and len(started) == 1
        assert re.search(r'what="local.toml, \d+ rules, 1 rule test passed"', err)
        own(tmp_path, "[rules.liq_burst]\nmajors = { alert = 60 }\n" + TEST)
        code, out, err = ended(arguments, capsys)
    finally:
        os.umask(before)
    assert (code, out, len(started)) == (2, "", 1)
    assert err == (
        "local.toml:5: test 'mine' failed: expected 30s open alert, got 30s open watch\n"
        "local.toml is used when its rule tests pass: lowtide test shows them\n"
    )


def proposal(**levels: float) -> Proposal:
    return Proposal(row="majors", now={}, levels=levels, tried=(), days=70.0)


def test_proposed_levels_go_into_the_operators_file(edited: Path):
    """What git tracks stays as it is; the file is made if there is none."""
    before = edited.read_text()
    settings = load(edited, {})
    rule = next(rule for rule in settings.rules if rule.name == "oi_drop:1h")
    lines = write(settings, rule, [proposal(watch=-3.5, alert=-6.0, critical=-8.0)])
    assert lines == [
        "oi_drop:1h, majors: watch = -3 is now -3.5",
        "oi_drop:1h, majors: alert = -5 is now -6",
        "written to local.toml",
    ]
    assert edited.read_text() == before
    mine = edited.with_name("local.toml")
    # the shipped row of BTC would give way to an own row of the majors
    assert mine.read_text() == (
        'extends = "shipped"\n\n[rules.oi_drop.windows.1h]\n'
        "majors = {watch = -3.5, alert = -6}\nBTC = {watch = -2.5, alert = -4}\n"
    )
    settings = load(own_file(edited), {})
    rule = next(rule for rule in settings.rules if rule.name == "oi_drop:1h")
    assert rule.rows["ETH"].levels == {Level.WATCH: -3.5, Level.ALERT: -6, Level.CRITICAL: -8}
    mine.write_text(mine.read_text() + "# mine\n")
    lines = write(settings, rule, [proposal(watch=-3.5, alert=-7.0, critical=-9.0)])
    assert [line.split(": ")[-1] for line in lines[:-1]] == [
        "alert = -6 is now -7",
        "critical = -8 is now -9",
    ]
    assert "# mine" in mine.read_text()
    assert load(mine, {}).source.values("rules", "oi_drop", "windows", "1h", "majors") == {
        "watch": -3.5, "alert": -7, "critical": -9, "clear": -1.5
    }  # fmt: skip
    assert checked(mine, {})[1] == 0


def test_secrets_and_data_are_beside_the_file_and_never_in_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert home(SHIPPED) == ROOT
    assert home(tmp_path / "local.toml") == tmp_path
    packaged = (Path(source.__file__).parent / "shipped" / "config.toml").absolute()
    monkeypatch.setattr(source, "is_shipped", lambda path: path == packaged)
    monkeypatch.setattr(source, "SHIPPED", packaged)
    assert home(packaged) == Path()
    assert own_file(packaged) == Path("local.toml")
    assert home(tmp_path / "local.toml") == tmp_path


def test_nothing_is_said_of_the_shipped_rules_themselves(tmp_path: Path):
    assert warnings(own(tmp_path, "")) == []
