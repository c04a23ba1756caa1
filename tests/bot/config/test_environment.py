import os
from pathlib import Path

import pytest

from bot.config.environment import Environment, environment, misspelt, open_to_others, with_place
from bot.config.errors import ConfigError


def lines(folder: Path, text: str, env: dict[str, str] | None = None) -> Environment:
    (folder / ".env").write_text(text, encoding="utf-8")
    return environment(env or {}, folder)


def test_variables_win_over_the_file(tmp_path: Path) -> None:
    text = "# a comment\n\nA=1\nexport B = two words \nC='quoted'\nD=\"=x=\"\n#E=5\nF=\n"
    assert lines(tmp_path, text, {"A": "mine", "G": "7"}) == {
        "A": "mine", "B": "two words", "C": "quoted", "D": "=x=", "F": "", "G": "7"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("A=1 # a comment\nB='x # y'  # another\n", {"A": "1", "B": "x # y"}),
        ("A=p#ss\n", {"A": "p#ss"}),
        ("\ufeffA=1\nB=2\n", {"A": "1", "B": "2"}),
        ("  export A=1\n\texport\tB=2\n", {"A": "1", "B": "2"}),
        ("A=1\r\nB=2 # c\r\n", {"A": "1", "B": "2"}),
        ("A=$B${C}\nB=2\n", {"A": "$B${C}", "B": "2"}),
    ],
)
def test_what_is_usual_in_such_files_is_understood(
    tmp_path: Path, text: str, variables: dict[str, str]
) -> None:
    assert lines(tmp_path, text) == variables


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("A=1\nhidden: value\n", 2),
        ("\n\n# c\nhidden:\n", 4),
        ("A=1\n\n\n  hidden\nB=2\n", 4),
        ("A='hidden\nB=2\n", 1),
        ('A="hidden\nB=2"\n', 1),
        ("A='hidden' hidden\n", 1),
        ("hidden-name=2\n", 1),
        ("=hidden\n", 1),
    ],
)
def test_what_is_not_understood_is_refused_with_its_line_and_not_shown(
    tmp_path: Path, text: str, number: int
) -> None:
    with pytest.raises(ConfigError) as error:
        lines(tmp_path, text)
    assert error.value.problems == [
        f"{tmp_path}/.env:{number}: is not understood: write NAME=value, with quotes around a value"
        " that has spaces or # in it"
    ]


@pytest.mark.parametrize("nothing", ["", " ", "\n"])
def test_a_variable_set_to_nothing_does_not_hide_the_file(tmp_path: Path, nothing: str) -> None:
    variables = lines(tmp_path, "TELEGRAM_BOT_TOKEN=1\n", {"TELEGRAM_BOT_TOKEN": nothing, "X": ""})
    assert variables == {"TELEGRAM_BOT_TOKEN": "1", "X": ""}


def test_what_others_may_read_is_told(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert open_to_others(tmp_path, data) == []
    data.mkdir(mode=0o700)
    lines(tmp_path, "A=1\n")
    (tmp_path / ".env").chmod(0o600)
    assert open_to_others(tmp_path, data) == []
    (tmp_path / ".env").chmod(0o644)
    data.chmod(0o750)
    assert open_to_others(tmp_path, data) == [
        f"{tmp_path}/.env is open to others on this machine: chmod 600 {tmp_path}/.env",
        f"{data} is open to others on this machine: chmod 700 {data}",
    ]


def test_without_a_file(tmp_path: Path) -> None:
    assert environment({"A": "1"}, tmp_path) == {"A": "1"}


def test_secrets_from_files(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://somewhere\n")
    env = {"REDIS_URL_FILE": str(tmp_path / "url")}
    assert environment(env, tmp_path)["REDIS_URL"] == "redis://somewhere"
    set_too = env | {"REDIS_URL": "redis://elsewhere"}
    assert environment(set_too, tmp_path)["REDIS_URL"] == "redis://elsewhere"
    with pytest.raises(FileNotFoundError):
        environment({"TELEGRAM_BOT_TOKEN_FILE": str(tmp_path / "gone")}, tmp_path)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("pipe", "is a pipe or a device: name a file that holds the secret"),
        ("device", "is a pipe or a device: name a file that holds the secret"),
        ("folder", "is a folder: name the file that holds the secret"),
        (
            "large",
            "has 10,000,000 bytes, more than the 8,192 that are read: name a file that holds",
        ),
    ],
)
def test_what_cannot_hold_a_secret_is_refused_without_being_opened(
    tmp_path: Path, kind: str, why: str
) -> None:
    path = Path("/dev/zero") if kind == "device" else tmp_path / "secret"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "large":
        path.touch()
        os.truncate(path, 10_000_000)
    with pytest.raises(ConfigError) as error:
        environment({"LOWTIDE_LINE_TOKEN_FILE": str(path)}, tmp_path)
    (sentence,) = error.value.problems
    assert sentence.startswith(f"LOWTIDE_LINE_TOKEN_FILE (environment): {path} {why}")
    with pytest.raises(ConfigError, match=rf"REDIS_URL_FILE \({tmp_path}/.env\): {path} "):
        lines(tmp_path, f"REDIS_URL_FILE={path}\n")


def test_a_file_that_is_no_text_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=\xff\xfe")
    with pytest.raises(OSError) as error:
        environment({}, tmp_path)
    assert error.value.filename == str(tmp_path / ".env")


def test_a_value_is_wrong_where_it_is_written(tmp_path: Path) -> None:
    token, proxy = "TELEGRAM_BOT_TOKEN (environment): no", "ALL_PROXY (environment): no"
    read = lines(tmp_path, "TELEGRAM_BOT_TOKEN=1\nall_proxy=x\n", {"REDIS_URL": "y"})
    assert with_place(token, read) == f"TELEGRAM_BOT_TOKEN ({tmp_path}/.env): no"
    assert with_place(proxy, read) == f"ALL_PROXY ({tmp_path}/.env): no"
    assert with_place("REDIS_URL (environment): no", read) == "REDIS_URL (environment): no"
    over = lines(tmp_path, "TELEGRAM_BOT_TOKEN=1\n", {"TELEGRAM_BOT_TOKEN": "2"})
    assert with_place(token, over) == token
    secret = tmp_path / "secret"
    secret.write_text("1")
    held = lines(tmp_path, "", {"TELEGRAM_BOT_TOKEN_FILE": str(secret)})
    assert with_place(token, held) == f"TELEGRAM_BOT_TOKEN ({secret}): no"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TELEGRAM_TOKEN", "TELEGRAM_BOT_TOKEN"),
        ("BOT_TOKEN", "TELEGRAM_BOT_TOKEN"),
        ("telegram_bot_token", "TELEGRAM_BOT_TOKEN"),
        ("TELEGRAM_BOT_TOKENS", "TELEGRAM_BOT_TOKEN"),
        ("REDIS_URI", "REDIS_URL"),
        ("WEBHOOK_SECRET", "LOWTIDE_WEBHOOK_SECRET"),
        ("COMPOSE_PROJECT_NAME", ""),
        ("TOKEN", ""),
        ("https_proxy", ""),
        ("REDIS_URL_FILE", ""),
    ],
)
def test_a_name_that_is_nearly_one_of_ours_is_named(tmp_path: Path, name: str, meant: str) -> None:
    (tmp_path / ".env").write_text(f"{name}={tmp_path / '.env'}\n")
    sentences = misspelt(environment({}, tmp_path))
    words = f"{tmp_path}/.env: {name} is not read: write {meant} if that is meant"
    assert sentences == ([words] if meant else [])
    if meant:
        assert misspelt(environment({meant: "x"}, tmp_path)) == []
