"""Rule tests as data: the notation, the runs, the report, and those that ship with the default."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.__main__ import main
from bot.config import Settings, load, load_tests
from bot.config.ruletests import report, run, run_all
from bot.config.testfile import RuleTest
from bot.config.values import Expected, expected, series
from rules.alerts import Level, Turn
from tests.conftest import ROOT

CONFIG = """
[markets]
venues = ["binance"]
majors = ["BTC"]
large = ["SOL"]
tail = "none"

[rules.drop]
metric = "oi_net_1h_pct"
fires = "below"
for = { watch = "2m", alert = "2m" }
clear_for = "5m"
majors = { watch = -3, alert = -5, critical = -8, clear = -1.5 }

[rules.liq]
metric = "liq_10m_musd"
fires = "above"
post = false
majors = { alert = 40, clear = 8 }

[rules.funding]
metric = "funding_8h_pct"
fires = "below"
for = "2 settlements"
majors = { alert = 0.0, clear = 0.002 }

[rules.thin]
metric = "depth_25bp_pct_of_recent"
fires = "below"
min_loss_musd = 40
majors = { alert = 55, clear = 85 }

[rules.asking]
metric = "oi_net_1h_pct"
fires = "below"
for = "1m"
when = { price_1h_pct = "<= -1" }
majors = { watch = -3, alert = -5, critical = -8, clear = -1.5 }

[rules.squeeze]
metric = "oi_net_1h_pct"
fires = "below"
cause = ["short covering"]
majors = { alert = -5, critical = -8, clear = -1.5 }

[rules.both]
within = "10m"
cooldown = "20m"
all_of = ["drop:alert", "liq:alert"]
"""


def settings_of(folder: Path, tests: str = "") -> Settings:
    path = folder / "config.toml"
    path.write_text(CONFIG + tests)
    return load(path, {})


def table(rule: str, series: str, expect: str = "[]", every: str = "30s", more: str = "") -> str:
    return (
        f'[[test]]\nname = "it"\nrule = "{rule}"\nasset = "BTC"\nevery = "{every}"\n'
        f"series = {series}\nexpect = {expect}\n{more}\n"
    )


def got(folder: Path, rule: str, series: str, every: str = "30s", more: str = "") -> list[str]:
    quoted = series if series.startswith("{") else f'"{series}"'
    settings = settings_of(folder, table(rule, quoted, every=every, more=more))
    return [str(turn) for turn in run(settings.tests[0], settings).got]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("5", (5,)),
        ("-5.25", (-5.25,)),
        ("5x3", (5, 5, 5, 5)),
        ("5x0", (5,)),
        ("5+2x3", (5, 7, 9, 11)),
        ("5-2x3", (5, 3, 1, -1)),
        ("-5-0.5x2", (-5, -5.5, -6)),
        ("0+0.1x3", (0, 0.1, 0.2, 0.3)),
        ("_ 1 _x2", (None, 1, None, None, None)),
        ("stale stalex1", (None, None, None)),
        ("  1\n 2 ", (1, 2)),
    ],
)
def test_the_notation_of_series(text: str, values: tuple[float | None, ...]):
    assert series(text) == values


@given(st.integers(-50, 50), st.integers(-9, 9), st.integers(0, 20))
def test_steps_end_where_they_should(first: int, step: int, more: int):
    values = series(f"{first}{step:+}x{more}")
    assert len(values) == more + 1
    assert values[-1] == first + step * more


@pytest.mark.parametrize(
    "text", ["", " ", "x3", "1 + 2", "1+2", "1x-3", "_+1x2", "nan", "1e3", "1,2"]
)
def test_what_is_no_series_is_refused(text: str):
    with pytest.raises(ValueError, match=r"must be a series|cannot read"):
        series(text)


def test_an_expectation_is_told_as_it_is_written():
    for text in (
        "5m10s open alert",
        "0s up critical",
        "1d8h10m close watch",
        "2h worse alert held",
    ):
        assert str(expected(text)) == text
    assert expected("90s open alert") == expected("1m30s open alert")
    assert expected("1m open alert held") == Expected(60_000, Turn.OPEN, Level.ALERT, held=True)
    assert str(Expected(0, Turn.OPEN, Level.ALERT)) == "0s open alert"


def test_the_values_go_through_the_episode_of_the_rule(tmp_path: Path):
    assert got(tmp_path, "drop", "-5.4x6 _x39 0x12") == ["2m open alert", "28m30s close alert"]
    assert got(tmp_path, "drop", "-5x3 _x4 -5x3 0x5") == []
    assert got(tmp_path, "drop", "-5.5x4 0x10 -5.6x4 -9") == [
        "2m open alert",
        "7m30s close alert",
        "10m open alert held",
        "10m30s up critical",
    ]


def test_a_rule_that_is_never_posted_is_tested_like_any_other(tmp_path: Path):
    assert got(tmp_path, "liq", "0 50") == ["30s open alert"]


def test_each_value_of_charged_funding_is_a_settlement(tmp_path: Path):
    assert got(tmp_path, "funding", "0.01 -0.01x1 0.01", every="8h") == [
        "16h open alert",
        "1d10m close alert",
    ]
    assert got(tmp_path, "funding", "-0.01 _ -0.01 -0.01", every="8h") == ["1d open alert"]


def test_a_floor_is_reached_unless_the_test_says_how_much_it_is(tmp_path: Path):
    assert got(tmp_path, "thin", "40x2") == ["0s open alert"]
    assert got(tmp_path, "thin", "40x2", more="size_musd = 41") == ["0s open alert"]
    assert got(tmp_path, "thin", "40x2", more="size_musd = 39") == []


def test_parts_of_a_composite_are_played_side_by_side(tmp_path: Path):
    together = '{ drop = "0x3 -6x9 0x60", liq = "0x9 50 0x63" }'
    assert got(tmp_path, "both", together)[0] == "5m open critical"
    assert got(tmp_path, "both", '{ drop = "-6x9 0x60", liq = "0x60 50" }') == []
    assert got(tmp_path, "both", '{ drop = "-6x9", liq = "_x9" }') == []
    assert got(tmp_path, "both", '{ drop = "-6x90" }') == []


def test_a_composite_rises_and_says_more_as_it_does_live(tmp_path: Path):
    mild = '[rules.mild]\nlevel = "alert"\nwithin = "10m"\nhides = ["drop"]\n'
    mild += 'all_of = ["drop:alert", "liq:alert"]\n'
    values = '{ drop = "0x3 -5.1x9 -9x9", liq = "0x9 50 70x12" }'
    path = tmp_path / "config.toml"
    path.write_text(CONFIG + mild + table("mild", values))
    settings = load(path, {})
    assert [str(turn) for turn in run(settings.tests[0], settings).got] == [
        "5m open alert",
        "5m30s worse alert",  # 70 is 1.25 times what was told of liq
        "7m up critical",  # drop, which is hidden, became critical
    ]


def test_the_report_shows_what_differs(tmp_path: Path):
    tests = table("drop", '"-5.5x20"', '["2m open alert"]')
    tests += table(
        "drop", '"-5.5x4 -9"', '["2m open watch", "2m30s up critical", "2m30s open alert"]'
    )
    settings = settings_of(tmp_path, tests)
    outcomes = run_all(settings.tests, settings)
    lines = (CONFIG + tests).splitlines()
    second = len(lines) - lines[::-1].index("[[test]]")
    assert report(outcomes[:1]) == "ok      drop BTC: it\n1 test, none failed"
    assert report(outcomes).splitlines() == [
        "ok      drop BTC: it",
        "FAILED  drop BTC: it",
        f"        config.toml:{second}: - expected, + got",
        "        - 2m open watch",
        "        + 2m open alert",
        "          2m30s up critical",
        "        - 2m30s open alert",
        "2 tests, 1 failed",
    ]


def test_the_command_fails_if_a_test_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "config.tests.toml").write_text(table("drop", '"-9"', '["0s open critical"]'))
    path = tmp_path / "config.toml"
    for text, code in (("", 0), (table("drop", '"0"', '["0s open alert"]'), 1)):
        path.write_text(CONFIG + text)
        with pytest.raises(SystemExit) as done:
            main(["test", "--config", str(path)])
        assert done.value.code == code
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "ok      drop BTC: it",
        "1 test, none failed",
        "FAILED  drop BTC: it",
        f"        config.toml:{CONFIG.count(chr(10)) + 1}: - expected, + got",
        "        - 0s open alert",
        "ok      drop BTC: it",
        "2 tests, 1 failed",
    ]


def test_every_default_rule_passes_its_tests():
    settings = load(ROOT / "config.toml", {})
    tests = load_tests(settings)
    failed = [outcome for outcome in run_all(tests, settings) if not outcome.passed]
    assert not failed, report(failed)
    names = {rule.name for rule in settings.rules} | {
        composite.name for composite in settings.composites
    }
    assert {test.rule for test in tests} == names
    assert [test.name for test in tests] == list(dict.fromkeys(test.name for test in tests))


def test_every_default_rule_is_tested_through_an_outage():
    settings = load(ROOT / "config.toml", {})
    families = {rule.name: rule.family for rule in settings.rules}
    with_holes = {
        families.get(test.rule, test.rule)
        for test in load_tests(settings)
        if any(None in values for values in test.series.values())
    }
    composites = {composite.name for composite in settings.composites}
    assert with_holes == set(families.values()) | composites


def test_a_hole_is_never_a_turn_whatever_the_default_rule():
    """Every default test again with an outage in place of all values from some moment on."""
    settings = load(ROOT / "config.toml", {})
    for test in load_tests(settings):
        for cut in {0, 1, *(int(turn.at // test.every) for turn in test.expect)}:
            outcome = run(_cut(test, cut), settings)
            assert outcome.got == tuple(
                o for o in run(test, settings).got if o.at < cut * test.every
            )


def _cut(test: RuleTest, at: int) -> RuleTest:
    series = {
        name: values[:at] + (None,) * (len(values) - at) for name, values in test.series.items()
    }
    return msgspec.structs.replace(test, series=series)


# ── a second opinion ──


@pytest.mark.parametrize(
    ("series", "price", "turns"),
    [
        ("-6x9", "-2x9", ["1m open alert"]),
        ("-6x9", "-0.5x9", ["1m open watch"]),
        ("-6x9", "0x4 -1x4", ["1m open watch", "2m30s up alert"]),
        ("-6x9", "_x9", ["1m open watch"]),
        ("-6x9", "-2", ["1m open watch"]),  # nothing is known beyond its end
        ("-9x9", "3x9", ["1m open critical"]),
        ("-4x9", "-2x9", ["1m open watch"]),
    ],
)
def test_a_test_plays_the_metrics_that_a_rule_asks_besides(
    tmp_path: Path, series: str, price: str, turns: list[str]
):
    more = f'when = {{ price_1h_pct = "{price}" }}'
    assert got(tmp_path, "asking", series, more=more) == turns


def test_without_a_series_the_other_metric_is_unknown(tmp_path: Path):
    assert got(tmp_path, "asking", "-6x9") == ["1m open watch"]


@pytest.mark.parametrize(
    ("series", "price", "turns"),
    [
        ("-6x9", "2x9", ["0s open alert"]),
        ("-6x9", "-2x9", []),
        ("-6x9", "0x4 2x4", ["2m30s open alert"]),
        ("-9x9", "-2x9", []),
        ("-9x9", "_x9", ["0s open critical"]),
        ("-6x9", "_x9", []),
    ],
)
def test_a_test_plays_the_other_half_of_a_cause(
    tmp_path: Path, series: str, price: str, turns: list[str]
):
    more = f'when = {{ price_1h_pct = "{price}" }}'
    assert got(tmp_path, "squeeze", series, more=more) == turns
