"""The command line: what it says, and its exit codes."""

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from bot import __version__
from bot.__main__ import EXAMPLES, main, parser
from bot.config import Settings
from bot.roles import run
from streams.bus import embedded

ROOT = Path(__file__).parents[2]
COMMANDS = ("run", "streams", "rules", "bot", "check", "demo", "status", "record", "replay")

PLAIN = """
[markets]
venues = ["bybit"]
majors = ["BTC"]
large = []
tail = "none"
[redis]
data_dir = "data"
[defaults]
[rules.liq]
metric = "liq_10m_musd"
fires = "above"
majors = { alert = 1, clear = 0.5 }
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch):
    """No secrets from outside, and logs as they were."""
    for name in ("REDIS_URL", "TELEGRAM_BOT_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(PLAIN)
    return path


def ended(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as done:
        main(arguments)
    out, err = capsys.readouterr()
    code = done.value.code
    assert isinstance(code, int)
    assert "Traceback" not in err
    return code, out, err


HEAVY = (
    "asyncio", "aiohttp", "dotenv", "msgspec", "numpy", "orjson", "pydantic", "redis", "structlog",
    "telegram", "tomlkit", "websockets", "bot.cli", "bot.config", "rules", "streams",
)  # fmt: skip


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["tune", "--help"], ["nonsense"]])
def test_what_only_the_command_line_answers_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom bot.__main__ import main\n"
        f"try: main({arguments})\nfinally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    modules = done.stderr.splitlines()[-1].split()
    assert "bot.__main__" in modules
    assert [name for name in HEAVY if name in modules] == []


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("stauts", 'there is no command "stauts" (did you mean "status"?): '),
        ("xyzzy", 'there is no command "xyzzy": lowtide --help lists all commands'),
        ("config sett", 'must be set or schema, not "sett" (did you mean "set"?)'),
        ("status --jsn", 'it takes no "--jsn" (did you mean "--json"?)'),
        ("config set a 1 --confg=x", 'it takes no "--confg=x" (did you mean "--config"?)'),
        ("status soon", 'it takes no "soon"'),
        ("completion bsh", 'must be bash, zsh or tcsh, not "bsh" (did you mean "bash"?)'),
    ],
)
def test_what_is_mistyped_is_answered_with_what_was_meant(
    line: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = ended(line.split(), capsys)
    assert code == 2
    assert sentence in err.splitlines()[-1]


def test_status_imports_no_clients_of_others_and_no_language(tmp_path: Path) -> None:
    """It may be asked each minute."""
    (tmp_path / "config.toml").write_text(PLAIN)
    program = (
        "import sys\nfrom bot.__main__ import main\n"
        "try: main(['status'])\nfinally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "is Lowtide running?" in done.stderr
    modules = done.stderr.splitlines()[-1].split()
    assert "bot.status" in modules
    heavy = {
        "aiohttp", "httpx", "telegram", "numpy", "rules.engine", "streams.feed.client",
        "bot.config.explain", "bot.config.ruletests", "bot.delivery.sinks.posting",
    }  # fmt: skip
    assert heavy.isdisjoint(modules)


def test_the_version_is_that_of_the_package(capsys) -> None:
    code, out, err = ended(["--version"], capsys)
    assert (code, err) == (0, "")
    assert re.fullmatch(
        rf"lowtide {re.escape(__version__)} \(commit (unknown|\w+(-dirty)?)\)\n", out
    )
    assert version("lowtide") == __version__


@pytest.mark.parametrize(
    "command", ["", *COMMANDS, "show", "test", "send-test", "backtest", "score", "tune"]
)
def test_help_is_plain_text(command: str, capsys) -> None:
    code, out, _ = ended([*command.split(), "--help"], capsys)
    assert code == 0
    assert not re.search(r"`|\*\*|<\w+>|\b__", out)


def test_check_describes_a_good_configuration(config: Path, capsys) -> None:
    code, out, err = ended(["check", "--config", str(config)], capsys)
    assert (code, err) == (0, "")
    assert out.startswith("venues     Bybit\nmajors     BTC\n")
    assert "liq: liq_10m_musd above the level" in out


def test_check_says_that_pictures_cannot_be_made(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.pictures.maker.find_spec", lambda _name: None)
    sentence = "pictures are left out: the package resvg-py is not installed"
    check = ["check", "--config", str(config)]
    assert sentence not in str(ended(check, capsys)), "no token"
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "123456789:AAF" + "ake" * 11)
    channel = '[channel]\nchat_id = "@lowtide"\n'
    config.write_text(PLAIN + channel)
    assert sentence in str(ended(check, capsys))
    config.write_text(f'{PLAIN}{channel}pictures = "none"\n')
    assert sentence not in str(ended(check, capsys))


def test_check_names_every_problem(config: Path, capsys) -> None:
    config.write_text(PLAIN.replace("tail =", "tial =").replace("fires ", "fire ", 1))
    code, out, err = ended(["check", "--config", str(config)], capsys)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) >= 2
    assert all(line.startswith(f"{config}:") for line in err.splitlines())
    assert 'unknown key (did you mean "tail"?)' in err


RULE_TEST = """
[[test]]
name = "forty"
rule = "liq"
asset = "BTC"
every = "10s"
series = "0 40 40"
expect = ["10s open alert"]
"""


@pytest.mark.parametrize("beside", [True, False])
def test_check_refuses_what_a_start_refuses(config: Path, beside: bool, capsys) -> None:
    """Beside the file or in it, a failing test costs the start, so check says so with its code."""
    file = config.with_name("config.tests.toml") if beside else config
    before = PLAIN if file == config else ""
    file.write_text(before + RULE_TEST)
    code, out, _ = ended(["check", "--config", str(config)], capsys)
    assert code == 0 and "1 rule test: lowtide test" in out
    file.write_text(before + RULE_TEST.replace("open alert", "open critical"))
    answers = {
        command: ended([command, "--config", str(config)], capsys)
        for command in ("check", "run", "bot")
    }
    code, out, err = answers["check"]
    assert (code, out) == (2, "")
    assert "test 'forty' failed: expected 10s open critical, got 10s open alert\n" in err
    assert set(answers.values()) == {answers["check"]}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_a_configuration_and_says_if_it_is_missing(
    command: str, tmp_path: Path, capsys
) -> None:
    rest = {"record": ["bybit", "BTCUSDT", "-o", str(tmp_path / "x")], "replay": ["x.jsonl"]}
    missing = tmp_path / "none.toml"
    code, _, err = ended([command, *rest.get(command, []), "--config", str(missing)], capsys)
    assert code == 2
    assert err == (
        f"{missing}: no such file: name the configuration with --config or LOWTIDE_CONFIG\n"
    )


def test_a_secret_file_that_is_missing_is_named(config: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("REDIS_URL_FILE", str(config.parent / "gone"))
    code, _, err = ended(["check", "--config", str(config)], capsys)
    assert (code, err) == (2, f"cannot read {config.parent / 'gone'}: No such file or directory\n")


def test_a_dotenv_that_is_no_text_is_named(config: Path, capsys) -> None:
    (config.parent / ".env").write_bytes(b"\xff")
    code, _, err = ended(["check", "--config", str(config)], capsys)
    assert (code, err) == (2, f"cannot read {config.parent / '.env'}: it is not UTF-8 text\n")


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("redis://user:hidden@127.0.0.1:1/0", 1, "Redis cannot be reached: connecting to 127"),
        ("unix:///nowhere/redis.sock", 1, "Redis cannot be reached: connecting to /nowhere"),
        ("redis.example.org", 2, "REDIS_URL (environment): "),
    ],
)
def test_status_without_a_redis(
    config: Path, capsys, monkeypatch, url: str, code: int, words: str
) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    got, out, err = ended(["status", "--config", str(config)], capsys)
    assert (got, out) == (code, "")
    assert err.startswith(words)
    assert len(err.splitlines()) == 1
    assert "hidden" not in err


def test_status_of_a_lowtide_that_does_not_run(config: Path, capsys) -> None:
    code, _, err = ended(["status", "--json", "--config", str(config)], capsys)
    assert code == 1
    assert err.startswith("Redis cannot be reached: ")
    assert err.endswith(": is Lowtide running?\n")
    assert not (config.parent / "data").exists()


@pytest.mark.parametrize("command", ["run", "streams", "rules", "bot"])
def test_roles_say_in_a_sentence_that_no_redis_can_be_had(
    config: Path, capsys, monkeypatch, command: str
) -> None:
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "")
    code, out, err = ended([command, "--config", str(config)], capsys)
    assert (code, out) == (1, "")
    first, second = err.splitlines()
    assert first.endswith('what="config.toml, 1 rule"')
    assert second == (
        "no Redis server found: set REDIS_URL, or install valkey-server or redis-server"
    )


@pytest.mark.parametrize("command", ["run", "streams", "rules", "bot"])
def test_what_roles_write_is_for_their_user_alone(
    config: Path, capsys, monkeypatch, command: str
) -> None:
    async def write(settings: Settings, *_: object, **_more: object) -> None:
        (settings.data_dir / "metrics").mkdir(parents=True)
        (settings.data_dir / "metrics" / "day").touch()

    monkeypatch.setattr(run, "run", write)
    before = os.umask(0o022)
    try:
        assert ended([command, "--config", str(config)], capsys)[0] == 0
    finally:
        os.umask(before)
    paths = ("data", "data/metrics", "data/metrics/day")
    modes = [(config.parent / name).stat().st_mode & 0o777 for name in paths]
    assert modes == [0o700, 0o700, 0o600]


def test_what_others_may_read_is_told_by_check_and_at_the_start(
    config: Path, capsys, monkeypatch
) -> None:
    async def nothing(*_: object, **_more: object) -> None:
        return

    monkeypatch.setattr(run, "run", nothing)
    (config.parent / ".env").write_text("A=1\n")
    (config.parent / ".env").chmod(0o640)
    before = os.umask(0o022)
    try:
        sentence = f"{config.parent}/.env is open to others on this machine"
        assert f"warning: {sentence}" in ended(["check", "--config", str(config)], capsys)[1]
        assert sentence in ended(["run", "--config", str(config)], capsys)[2]
    finally:
        os.umask(before)


def test_interrupted_is_no_traceback(config: Path, capsys, monkeypatch) -> None:
    def interrupted(*_: object, **_more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run", interrupted)
    assert ended(["run", "--config", str(config)], capsys)[0] == 130


@pytest.mark.parametrize("more", [{"PYTHONUNBUFFERED": "1"}, {}], ids=["by lines", "at once"])
@pytest.mark.parametrize("command", [["check"], ["config", "schema"], ["repair"]])
def test_a_reader_who_leaves_is_no_traceback(command: list[str], more: dict[str, str]) -> None:
    """lowtide check | head -1"""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | more
    check = subprocess.Popen(
        [sys.executable, "-m", "bot", *command, "--config", str(ROOT / "config.toml")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=env,
    )  # fmt: skip
    assert check.stdout is not None and check.stderr is not None
    check.stdout.close()
    assert check.wait(60) == 1
    assert check.stderr.read() == b""
    check.stderr.close()


def test_the_demo_knows_its_languages(capsys: pytest.CaptureFixture[str]):
    code, _, err = ended(["demo", "--lang", "fr", "--config", str(ROOT / "config.toml")], capsys)
    assert (code, err) == (2, "unknown language fr: choose from en, ja, zh-TW\n")


def test_the_demo_of_a_backtest_needs_no_network(capsys: pytest.CaptureFixture[str]):
    code, out, err = ended(["demo", "--backtest", "--config", str(ROOT / "config.toml")], capsys)
    assert (code, err) == (0, "")
    assert out.startswith("Lowtide demo: what this configuration would have posted in ten days")
    assert "Made, not recorded" in out and "LOUDEST EPISODES" in out


def commands() -> dict[str, argparse.ArgumentParser]:
    """With those below others, as ``config set``."""

    def below(
        whole: argparse.ArgumentParser, prefix: str
    ) -> Iterator[tuple[str, argparse.ArgumentParser]]:
        for action in whole._actions:
            if isinstance(action.choices, dict):
                for name, command in action.choices.items():
                    yield f"{prefix}{name}", command
                    yield from below(command, f"{prefix}{name} ")

    return dict(below(parser(), ""))


def test_every_command_has_an_example_that_it_takes():
    assert sorted(EXAMPLES) == sorted(commands())
    for name, line in EXAMPLES.items():
        words = shlex.split(line.partition(">")[0])
        assert words[: len(name.split())] == name.split()
        assert parser().parse_args(words).command == words[0]
        assert f"lowtide {line}" in commands()[name].format_help()


COMPLETED = [
    ("lowtide sco", "score"),
    ("lowtide config s", "schema set"),
    ("lowtide demo --sp", "--speed"),
    ("lowtide service ", "install show"),
    ("lowtide config set channel.posts", "channel.posts_per_hour"),
    ("lowtide config set rules.cascade.", "rules.cascade.within"),
    ("lowtide config set rules.oi_drop.windows.15m.maj", "rules.oi_drop.windows.15m.majors.alert"),
]


@pytest.mark.parametrize(("typed", "wanted"), COMPLETED)
def test_a_shell_completes_commands_options_and_choices(
    typed: str, wanted: str, capsys: pytest.CaptureFixture[str]
):
    _, script, _ = ended(["completion", "bash"], capsys)
    words = typed.split(" ")
    line = " ".join(shlex.quote(word) for word in words)
    asked = (
        f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; COMP_LINE={shlex.quote(typed)};"
        " _shtab_lowtide; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    shell = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\n{asked}"], capture_output=True, text=True, check=False
    )
    assert set(wanted.split()) <= set(shell.stdout.split()), shell.stderr


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_have_theirs(shell: str, capsys: pytest.CaptureFixture[str]):
    code, script, _ = ended(["completion", shell], capsys)
    assert code == 0
    assert all(word in script for name in EXAMPLES for word in name.split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["demo", "--speed", "abc"], "must be a number above 0, not 'abc'"),
        (["demo", "--speed", "-1"], "must be a number above 0, not '-1'"),
        (["verify", "--seconds", "2"], "must be seconds, from 4 to 3600, not '2'"),
        (["tune", "oi_drop", "--posts-per-week", "nan", "data"],
         "must be a number above 0, not 'nan'"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_said(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
):
    code, _, err = ended(arguments, capsys)
    assert code == 2
    assert sentence in err
    assert "_" not in err.splitlines()[-1]


@pytest.mark.parametrize("place", [1, 2, 4])
def test_the_configuration_is_named_where_every_command_takes_it(
    place: int, config: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["config", "set", "channel.posts_per_hour", "9"]
    words[place:place] = ["--config", str(config)]
    code, out, _ = ended(words, capsys)
    assert code == 0
    assert f"Written to {config}" in out
    assert "posts_per_hour = 9" in config.read_text()
