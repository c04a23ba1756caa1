"""The proposal, the file it is written to, and the page that a trader follows."""

import codecs
import random
import re
import shlex
import shutil
from pathlib import Path

import pytest
import structlog

from bot.__main__ import main
from bot.backtest.evaluate import Judged
from bot.backtest.sources import Sources
from bot.backtest.tune import Proposal, in_words, rows_of, tune, values_of
from bot.backtest.tune import write as write_levels
from bot.config import Settings, load
from bot.config.explain import origin_of_level, show
from bot.metriclog import MetricLog
from rules.alerts import Alert, Turn
from rules.rule import Row as RuleRow
from rules.rule import Rule
from rules.snapshot import Observed
from streams.durations import MINUTE
from tests.bot.backtest.logs import KEEP, START, Row, write
from tests.conftest import ROOT

WEEKS = 2
MINUTES = WEEKS * 7 * 1440


@pytest.fixture(autouse=True)
def logs():
    yield
    structlog.reset_defaults()


def bursts(seed: int = 4) -> list[Row]:
    """Two weeks of liquidations that flare up and fade, and of prices."""
    dice, rows = random.Random(seed), list[Row]()
    levels = {"BTC": 1.0, "ETH": 1.0, "SOL": 0.3}
    for _ in range(MINUTES):
        row: dict[tuple[str, str], float | None] = {}
        for asset, x in levels.items():
            flare = dice.paretovariate(0.9) * 6 if dice.random() < 0.002 else 0.0
            levels[asset] = min(0.9 * x + flare, 900.0)
            row["liq_10m_musd", asset] = levels[asset]
            row["price", asset] = 100 + dice.random()
        rows.append(row)
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trader")
    write(folder / "data" / "metrics", bursts())
    (folder / "local.toml").write_text('extends = "shipped"\n')
    return folder


def proposals(folder: Path, wanted: float) -> tuple[Settings, list[Proposal]]:
    settings = load(ROOT / "config.toml", {})
    sources = Sources([folder / "data" / "metrics"], settings, [])
    rule = next(rule for rule in settings.rules if rule.name == "liq_burst")
    return settings, tune(sources, settings, rule, wanted)


def posted(settings: Settings, folder: Path, assets: tuple[str, ...]) -> int:
    """Episodes that reached alert and were posted, a level at which they began or rose to."""
    rules = [rule for rule in settings.rules if rule.name == "liq_burst"]
    judged, alerts = Judged(rules), list[Alert]()
    for chunk in Sources([folder / "data" / "metrics"], settings, []).pieces():
        alerts += judged.take(chunk)
    posted_alerts = [a for a in alerts if a.asset in assets and a.post and a.level >= 2]
    return len({a.opened_at for a in posted_alerts if a.turn in (Turn.OPEN, Turn.UP)})


def test_a_proposal_posts_no_more_than_was_asked_for(folder: Path):
    _, proposal_list = proposals(folder, 3)
    by_row = {proposal.row: proposal for proposal in proposal_list}
    assert set(by_row) == {"majors", "large", "tail"}
    assert by_row["tail"].levels == {} and "no values" in by_row["tail"].why
    for name in ("majors", "large"):
        proposal = by_row[name]
        assert proposal.days == pytest.approx(WEEKS * 7, rel=0.01)
        chosen = next(t for t in proposal.tried if t.threshold == proposal.levels["alert"])
        assert chosen.posts_a_week <= 3
        levels = proposal.levels
        assert levels["clear"] < levels["watch"] < levels["alert"] < levels["critical"]


def noisy_eth(days: int) -> list[Row]:
    """BTC is quiet and ETH is not."""
    dice, rows = random.Random(7), list[Row]()
    for _ in range(days * 1440):
        flare = dice.random() < 0.004
        rows.append({
            ("liq_10m_musd", "BTC"): 2 + dice.random(),
            ("liq_10m_musd", "ETH"): dice.uniform(40, 300) if flare else 1.0,
        })  # fmt: skip
    return rows


@pytest.mark.parametrize(
    ("rule", "shifts", "wanted"),
    [
        ('fires = "below"\nmajors = { watch = 0, alert = -0.02, critical = -0.05, clear = 0.01 }',
         (0.01, -0.06), 50),
        ('fires = "above"\nmajors = { watch = 0.05, alert = 0.1, clear = 0.02 }',
         (-0.05, 0.2), 50),
        ('fires = "below"\nmajors = { watch = -0.01, alert = -0.02, clear = 0.01 }',
         (0.01, -0.06), 3),
    ],
)  # fmt: skip
def test_levels_stay_on_their_side_and_no_more_is_promised_than_there_is(
    tmp_path: Path, rule: str, shifts: tuple[float, float], wanted: float
):
    """Of a level that is nearly always reached episodes do not end, so it posts less."""
    dice = random.Random(3)
    usual, moved = shifts
    write(
        tmp_path / "logs",
        [
            {("funding_predicted_8h_pct", "BTC"): (moved if n // 720 % 4 == 0 else usual)
             * dice.uniform(0.5, 1.5)}
            for n in range(20 * 1440)
        ],
    )  # fmt: skip
    text = f'[markets]\nvenues = ["binance"]\nmajors = ["BTC"]\n\n[rules.pays]\n{rule}\n'
    text = text.replace("[rules.pays]", '[rules.pays]\nmetric = "funding_predicted_8h_pct"')
    (tmp_path / "lowtide.toml").write_text(text)
    settings = load(tmp_path / "lowtide.toml", {})
    proposal = tuned_burst(settings, tmp_path / "logs", wanted)["majors"]
    sign = -1 if moved < 0 else 1
    assert all(sign * t.threshold >= 0 for t in proposal.tried) and len(proposal.tried) > 3
    most = max(t.posts_a_week for t in proposal.tried)
    if most < wanted:
        assert proposal.levels == {} and not proposal.sound
        assert proposal.why == (
            f"no level gives {wanted:g} posts a week: the most there is is {most:.2g}"
        )
    else:
        chosen = next(t for t in proposal.tried if t.threshold == proposal.levels["alert"])
        assert 0 < chosen.posts_a_week <= wanted
        assert sign * proposal.levels["clear"] < sign * proposal.levels["watch"]
    words = in_words(settings.rules[0], [proposal], wanted)
    assert ("stays: no level gives" in words) is (most < wanted) and "posts a week" in words


OVERRIDE = """
[markets]
venues = ["binance"]
majors = ["BTC", "ETH"]

[rules.burst]
metric = "liq_10m_musd"
fires = "above"
majors = { watch = 10, alert = 40, critical = 120, clear = 5 }
BTC = { alert = 30 }
"""


@pytest.fixture
def overridden(tmp_path: Path) -> Settings:
    (tmp_path / "lowtide.toml").write_text(OVERRIDE)
    return load(tmp_path / "lowtide.toml", {})


def tuned_burst(settings: Settings, logs: Path, wanted: float) -> dict[str, Proposal]:
    sources = Sources([logs], settings, [])
    return {
        proposal.row: proposal for proposal in tune(sources, settings, settings.rules[0], wanted)
    }


def test_each_row_is_tuned_for_the_assets_it_has_the_last_word_on(
    overridden: Settings, tmp_path: Path
):
    """BTC has a row of its own, so the row of the majors is ETH's."""
    write(tmp_path / "logs", noisy_eth(14))
    by_row = tuned_burst(overridden, tmp_path / "logs", 4)
    assert set(by_row) == {"majors", "BTC"}
    assert by_row["majors"].levels["alert"] > 100
    # a calm coin has no four posts a week, whichever level it gets
    assert by_row["BTC"].levels == {} and "the most there is" in by_row["BTC"].why
    assert {t.threshold for t in by_row["BTC"].tried} - {10, 30, 120} == {3.0}
    chosen = next(
        t for t in by_row["majors"].tried if t.threshold == by_row["majors"].levels["alert"]
    )
    assert chosen.posts_a_week <= 4 and chosen.assets == 1


def test_weeks_are_those_that_were_observed(overridden: Settings, tmp_path: Path):
    """Two weeks, a year without anything, two weeks."""
    write(tmp_path / "logs", noisy_eth(14))
    write(tmp_path / "logs", noisy_eth(14), START + 380 * 86_400_000)
    once = tuned_burst(overridden, tmp_path / "logs", 2)["majors"]
    assert once.days == pytest.approx(28, rel=0.01)
    mild = once.tried[0]
    assert mild.posts_a_week > 2  # of 54 calendar weeks it would be a tenth


def test_nothing_is_proposed_from_too_little(overridden: Settings, tmp_path: Path):
    write(tmp_path / "logs", noisy_eth(1))
    proposed = tuned_burst(overridden, tmp_path / "logs", 0.5)
    majors = proposed["majors"]
    assert majors.levels == {} and majors.days == pytest.approx(1, rel=0.01)
    text = in_words(overridden.rules[0], list(proposed.values()), 0.5)
    assert "stays: only 1.0 days were observed, and 7 are needed" in text
    before = overridden.path.read_text()
    assert write_levels(overridden, overridden.rules[0], list(proposed.values())) == []
    assert overridden.path.read_text() == before


def test_what_is_wanted_must_be_a_post_at_least(overridden: Settings, tmp_path: Path):
    """Ten days cannot tell a post in three weeks from one in a year."""
    write(tmp_path / "logs", noisy_eth(10))
    majors = tuned_burst(overridden, tmp_path / "logs", 0.35)["majors"]
    assert majors.levels == {} and "less than one post: 20 days are needed" in majors.why
    assert tuned_burst(overridden, tmp_path / "logs", 0.75)["majors"].levels


OF_SIZE = """
[markets]
venues = ["binance"]
majors = ["BTC"]

[rules.closing]
metric = "oi_net_1h_pct"
fires = "below"
min_oi_musd = 50
majors = { alert = -5, clear = -2 }
"""


def test_what_is_too_small_for_the_floor_was_observed(tmp_path: Path):
    """Nine days of ten are too small to count: the rule was silent in all of them."""
    (tmp_path / "lowtide.toml").write_text(OF_SIZE)
    settings, dice = load(tmp_path / "lowtide.toml", {}), random.Random(3)
    log = MetricLog(tmp_path / "logs", KEEP, 1_000)
    for n in range(20 * 1440):
        x = -8.0 if dice.random() < 0.01 else -1.0
        size = 60.0 if n % 1440 < 144 else 40.0
        value = Observed(
            metric="oi_net_1h_pct", asset="BTC", value=x, low=x, high=x, floor_musd=size
        )
        log.write(START + n * MINUTE, [value])
    [majors] = tuned_burst(settings, tmp_path / "logs", 4).values()
    assert majors.days == pytest.approx(20, rel=0.01) and majors.levels
    beyond = next(t for t in majors.tried if t.threshold == -5)
    assert 0 < beyond.openings_a_week <= 7 * 1.5


def test_one_row_is_tuned_and_written_alone(
    overridden: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write(tmp_path / "logs", noisy_eth(14))
    rule = overridden.rules[0]
    arguments = ["tune", "burst", "--posts-per-week", "4", "--row", "majors", "--write"]
    config = ["--config", str(overridden.path)]
    assert ended([*arguments, str(tmp_path / "logs"), *config]) == 0
    text = capsys.readouterr().out
    assert "majors: {" in text and "BTC: {" not in text
    after = load(overridden.path, {}).rules[0]
    assert after.rows["BTC"] == rule.rows["BTC"] and after.rows["ETH"] != rule.rows["ETH"]


def test_a_row_that_is_not_there_is_said(
    overridden: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write(tmp_path / "logs", noisy_eth(1))
    arguments = ["tune", "burst", "--posts-per-week", "4", "--row", "ETH"]
    assert ended([*arguments, str(tmp_path / "logs"), "--config", str(overridden.path)]) == 1
    assert "burst has no row ETH: its rows are BTC, majors" in capsys.readouterr().err


def test_levels_are_never_equal(overridden: Settings, tmp_path: Path):
    """Nothing that was recorded tells critical from alert, so it keeps its proportion."""
    write(tmp_path / "logs", noisy_eth(14))
    majors = tuned_burst(overridden, tmp_path / "logs", 0.5)["majors"]
    levels = majors.levels
    assert levels["watch"] < levels["alert"] < levels["critical"]
    assert "critical" in majors.scaled
    assert "moved in proportion" in in_words(overridden.rules[0], [majors], 0.5)


def proposal(row: str, **levels: float) -> Proposal:
    return Proposal(row=row, days=20, now={}, tried=(), levels=levels)


def test_a_proposal_that_breaks_the_file_is_not_written(overridden: Settings):
    wrong = proposal("majors", watch=3.0, alert=2.0, critical=1.0, clear=0.5)
    before = overridden.path.read_text()
    with pytest.raises(ValueError, match="nothing was written"):
        write_levels(overridden, overridden.rules[0], [wrong])
    assert overridden.path.read_text() == before
    assert [path.name for path in overridden.path.parent.iterdir()] == ["lowtide.toml"]


def test_an_asset_without_a_proposal_keeps_its_levels_when_its_tier_changes(overridden: Settings):
    majors = proposal("majors", watch=1.0, alert=2.0, critical=3.0, clear=0.5)
    write_levels(overridden, overridden.rules[0], [majors])
    after = load(overridden.path, {}).rules[0]
    assert after.row_of("BTC") == overridden.rules[0].row_of("BTC")
    assert values_of(after.rows["ETH"]) == dict(majors.levels)


SHIPPED_WITH_LESS = """extends = "shipped"
[markets]
venues = ["binance", "bybit", "hyperliquid"]
tail = "none"
"""


def local(folder: Path, text: str) -> Settings:
    path = folder / "local.toml"
    path.write_text(text)
    return load(path, {})


def test_what_was_proposed_is_in_force_and_its_source_is_named(tmp_path: Path):
    """The shipped row of BTC holds two numbers, and gives way to an own row of the majors."""
    settings = local(tmp_path, SHIPPED_WITH_LESS)
    rule = next(rule for rule in settings.rules if rule.name == "price_drop:1h")
    proposal_list = [
        proposal("BTC", watch=-2.8, alert=-4.3, critical=-8, clear=-1.4),
        proposal("majors", watch=-3.6, alert=-5.6, critical=-12, clear=-1.8),
        proposal("large", watch=-5, alert=-6.9, critical=-18, clear=-2.5),
    ]
    sentences = write_levels(settings, rule, proposal_list)
    after = load(settings.path, {})
    rule = next(rule for rule in after.rules if rule.name == "price_drop:1h")
    for tuned, asset in zip(proposal_list, ("BTC", "ETH", "SOL"), strict=True):
        assert values_of(rule.rows[asset]) == tuned.levels
    assert [line for line in sentences if "BTC" in line] == [
        "price_drop:1h, BTC: watch = -4 is now -2.8",
        "price_drop:1h, BTC: alert = -5 is now -4.3",
        "price_drop:1h, BTC: clear = -2.5 is now -1.4",
    ]
    block = next(b for b in show(after, "BTC").split("\n\n") if b.startswith("price_drop:1h"))
    row = next(n for n, x in enumerate(settings.path.read_text().splitlines(), 1) if "BTC" in x)
    for line in block.splitlines()[1:5]:
        assert line.endswith(f"local.toml:{row} BTC"), line


FILES = {
    "plain": 'extends = "shipped"\n',
    "no tail": SHIPPED_WITH_LESS,
    "own rows": 'extends = "shipped"\n[rules.price_drop.windows.1h]\nBTC = { watch = "none" }\n'
    "SOL = { alert = -9 }\n[rules.oi_drop.windows.1h]\nmajors = { alert = -6.5 }\n",
    "own tier": 'extends = "shipped"\n[markets]\nmemes = ["DOGE", "PEPE"]\n'
    "[rules.liq_burst]\nmemes = { alert = 4, critical = 14, clear = 1 }\nPEPE = { alert = 6 }\n"
    "[rules.oi_drop.windows.1h]\nmemes = { alert = -30, clear = -9 }\nDOGE = { alert = -33 }\n",
    "own rule": 'extends = "shipped"\n[rules.liq_burst]\nmetric = "liq_10m_musd"\n'
    'fires = "above"\nmajors = { alert = 40, clear = 8 }\nBTC = { critical = 200 }\n',
}


def any_levels(dice: random.Random, rule: Rule, row: RuleRow) -> dict[str, float]:
    """Levels in the right order, sometimes some of those that are in force."""
    sign = 1 if rule.fires == "above" else -1
    before, x = values_of(row), row.clear - sign * dice.uniform(0, 2)
    levels = {"clear": round(x, 2)}
    for key in [key for key in before if key != "clear"]:
        x += sign * dice.uniform(0.02, 5)
        levels[key] = round(x, 2)
    return levels if dice.random() < 0.9 else before


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", FILES)
def test_whatever_is_proposed_is_what_is_in_force_afterwards(tmp_path: Path, name: str, seed: int):
    dice = random.Random(f"{name} {seed}")
    names = [rule.name for rule in local(tmp_path, FILES[name]).rules]
    for rule_name in names:
        if dice.random() < 0.5:
            settings = local(tmp_path, FILES[name])
        else:  # on top of what was written before
            settings = load(tmp_path / "local.toml", {})
        rule = next(rule for rule in settings.rules if rule.name == rule_name)
        rows = rows_of(settings, rule)
        wanted = {row: values_of(group.row) for row, group in rows.items()}
        chosen = {row for row in rows if dice.random() < 0.7}
        wanted |= {row: any_levels(dice, rule, rows[row].row) for row in chosen}
        write_levels(settings, rule, [proposal(row, **wanted[row]) for row in chosen])
        after = load(settings.path, {})
        now = next(rule for rule in after.rules if rule.name == rule_name)
        for row, group in rows.items():
            if row == "tail":
                assert now.others is not None and values_of(now.others) == wanted[row]
            for asset in group.named:
                assert values_of(now.rows[asset]) == wanted[row], (row, asset)
                for key in wanted[row]:
                    file, line, of = _source_of(after, now, asset, key)
                    text = tmp_path / file if file == "local.toml" else ROOT / "config.toml"
                    written = text.read_text().splitlines()[line - 1]
                    assert re.search(rf"\b{of} *=", written), (asset, key, written)
                    number = re.search(rf"\b{key} *= *([-\d.]+)", written)
                    assert number is not None and float(number[1]) == wanted[row][key]
        unrelated = [rule for rule in after.rules if rule.name != rule_name]
        assert unrelated == [rule for rule in settings.rules if rule.name != rule_name]


def _source_of(settings: Settings, rule: Rule, asset: str, key: str) -> tuple[str, int, str]:
    place, of = origin_of_level(settings, rule, asset, key).split()
    file, line = place.split(":")
    return file, int(line), of


def test_rule_tests_that_fail_with_the_new_levels_are_named(tmp_path: Path):
    settings = local(tmp_path, SHIPPED_WITH_LESS)
    (tmp_path / "local.tests.toml").write_text(
        '[[test]]\nname = "a fall"\nrule = "price_drop:1h"\nasset = "ETH"\nevery = "1m"\n'
        'series = "0 -6.5 -6.5 -6.5"\nexpect = ["2m open alert"]\n'
    )
    rule = next(rule for rule in settings.rules if rule.name == "price_drop:1h")
    milder = proposal("majors", watch=-4, alert=-7, critical=-9, clear=-2)
    text = "\n".join(write_levels(settings, rule, [milder]))
    assert "local.tests.toml:1: test 'a fall' failed" in text
    assert "local.toml is used when its rule tests pass" in text


def test_fewer_posts_need_higher_levels(folder: Path):
    few, many = (proposals(folder, wanted)[1][0] for wanted in (1, 8))
    assert few.levels["alert"] > many.levels["alert"]


def test_written_numbers_hold_and_the_rest_of_the_file_stays(folder: Path, tmp_path: Path):
    for name in ("config.toml", "config.tests.toml"):
        shutil.copy(ROOT / name, tmp_path)
    config = tmp_path / "config.toml"
    logs = folder / "data" / "metrics"
    arguments = ["tune", "liq_burst", "--posts-per-week", "2", str(logs), "--config", str(config)]
    before = config.read_text()
    assert ended(arguments) == 0 and config.read_text() == before
    assert ended([*arguments, "--write"]) == 0
    after = config.read_text()
    changed = [
        (old, new)
        for old, new in zip(before.splitlines(), after.splitlines(), strict=True)
        if old != new
    ]
    assert 1 <= len(changed) <= 2
    assert all(re.split(r"\s*=", old)[0] in ("majors", "large") for old, _ in changed)
    assert posted(load(config, {}), folder, ("BTC", "ETH")) <= 2 * WEEKS


@pytest.mark.parametrize("bom", [b"", codecs.BOM_UTF8])
def test_a_link_is_written_through_and_lines_end_as_they_did(
    folder: Path, tmp_path: Path, bom: bytes
):
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "mine.toml", tmp_path / "local.toml"
    lines = (b'extends = "shipped"', b"# mine", b"[redis]", b'data_dir = "x"  # kept', b"")
    real.write_bytes(bom + b"\r\n".join(lines))
    link.symlink_to(real)
    arguments = ["tune", "liq_burst", "--posts-per-week", "2", str(folder / "data" / "metrics")]
    assert ended([*arguments, "--config", str(link), "--write"]) == 0
    after = real.read_bytes()
    assert link.is_symlink()
    assert after.startswith(bom + b"\r\n".join(lines))
    assert b"liq_burst" in after and after.count(b"\n") == after.count(b"\r\n")


def ended(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert isinstance(done.value.code, int)
    return done.value.code


def test_the_page_for_traders_can_be_followed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(folder)
    text = (ROOT / "docs" / "tuning.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\$ (.+)$", text, re.MULTILINE)
    assert len(lines) >= 7
    output_by_line: dict[str, str] = {}
    for line in lines:
        program, *arguments = shlex.split(line)
        if program == "cp":
            shutil.copy(*arguments)
            continue
        assert program == "lowtide"
        code = ended(arguments)
        output_by_line[line] = capsys.readouterr().out
        assert code == 0
    before, *_, after = (text for line, text in output_by_line.items() if "backtest" in line)
    assert "liq_burst" in before and "local.toml against old.toml" in after
    assert (folder / "after.html").read_text().count("<svg") > 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tune", "liq_brust", "--posts-per-week", "2"], "there is no rule liq_brust (did"),
        (["tune", "oi_drop", "--posts-per-week", "2"], "oi_drop has several windows: name one"),
        (["backtest", "nowhere.csv"], "nowhere.csv: there is no such file"),
        (
            ["tune", "cascade", "--posts-per-week", "2"],
            "cascade is a composite and has no levels of its own: tune its rules",
        ),
        (["backtest", "--assets", "BTC,ETHH"], "these files have no values of ETHH"),
        (["backtest", "--assets", "ETHH"], "these files have no values of ETHH: they are of "),
        (["backtest", "--assets", "btc", "ETH"], "ETH: there is no such file: assets are named as"),
        (["backtest", "--from", "2030-01-01"], "there is nothing between --from and --to"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    folder: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
):
    logs = [] if "nowhere.csv" in arguments else [str(folder / "data" / "metrics")]
    assert ended([*arguments, *logs, "--config", str(ROOT / "config.toml")]) == 1
    err = capsys.readouterr().err
    assert words in err and "Traceback" not in err and err.count("\n") == 1
