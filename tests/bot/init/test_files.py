"""What init writes: valid, the operator's own, and never over something that is there."""

import os
import tomllib
from pathlib import Path

import pytest

from bot.config import load
from bot.config.environment import environment
from bot.config.source import SHIPPED
from bot.config.warnings import warnings
from bot.init.files import (
    InitAnswers,
    InitError,
    coins_in,
    config_text,
    own_path,
    write_files,
)
from tests.bot.fake_telegram import TOKEN

MAJORS = ("BTC", "ETH")


@pytest.mark.parametrize(
    ("answers", "majors", "large", "tail"),
    [
        (InitAnswers(), ("BTC", "ETH"), ("SOL", "XRP", "BNB", "DOGE", "HYPE"), 60),
        (InitAnswers(coins=("SOL", "BTC", "PEPE")), ("BTC",), ("SOL", "PEPE"), 0),
        (InitAnswers(coins=("ETH",)), ("ETH",), (), 0),
        (InitAnswers(coins=("WIF", "PEPE"), chat=-1001234567890, about_chat="the channel x"),
         (), ("WIF", "PEPE"), 0),
        (InitAnswers(chat="@lowtide"), ("BTC", "ETH"), ("SOL", "XRP", "BNB", "DOGE", "HYPE"), 60),
    ],
)  # fmt: skip
def test_the_configuration_is_valid_and_means_what_was_answered(
    answers: InitAnswers,
    majors: tuple[str, ...],
    large: tuple[str, ...],
    tail: int,
    tmp_path: Path,
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(config_text(answers, MAJORS))
    settings = load(path, {"TELEGRAM_BOT_TOKEN": TOKEN})
    assert (settings.majors, settings.large, settings.tail) == (majors, large, tail)
    assert settings.chats[0].id == answers.chat
    assert settings.rules
    assert warnings(settings) == []


def test_what_is_commented_out_is_valid_too(tmp_path: Path) -> None:
    lines = config_text(InitAnswers(), MAJORS).splitlines()[5:]
    text = "\n".join(line.removeprefix("# ") for line in lines)
    text = text.replace("-100…", "-1001234567890").replace("A level of your own", "# A level")
    path = tmp_path / "config.toml"
    path.write_text('extends = "shipped"\n' + text)
    settings = load(path, {"TELEGRAM_BOT_TOKEN": TOKEN})
    assert settings.operators.users == (123456789,)
    assert settings.chats[0].quiet is not None


@pytest.mark.parametrize(
    ("text", "coins"),
    [
        ("", ()), ("BTC", ("BTC",)), (" btc,eth , $sol ", ("BTC", "ETH", "SOL")),
        ("btc eth btc", ("BTC", "ETH")),
    ],
)  # fmt: skip
def test_coins_are_read_as_people_write_them(text: str, coins: tuple[str, ...]) -> None:
    assert coins_in(text) == coins


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("BTCUSDT", "BTCUSDT is a contract: write the coin, BTC"),
        ("eth-perp", "ETH-PERP is a contract: write the coin, ETH"),
        ("1000PEPE", "1000PEPE is a contract: write the coin, PEPE"),
        ("BTC, E!H", '"E!H" is not an asset: write it like "BTC"'),
        ("all", '"ALL" is not an asset: write it like "BTC"'),
    ],
)
def test_what_is_no_coin_is_said(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        coins_in(text)


def test_a_file_that_is_there_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert own_path(None, {}) == Path("config.toml")
    assert own_path(None, {"LOWTIDE_CONFIG": "mine.toml"}) == Path("mine.toml")
    (tmp_path / "local.toml").touch()  # it would go before a config.toml
    with pytest.raises(InitError, match=r"^local\.toml is there already, and init overwrites"):
        own_path(None, {})
    assert own_path(Path("other.toml"), {}) == Path("other.toml")
    (tmp_path / "dangling.toml").symlink_to("nowhere")
    with pytest.raises(InitError, match=r"dangling\.toml is there already"):
        own_path(Path("dangling.toml"), {})


def test_in_a_checkout_the_tracked_file_is_not_the_operators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").symlink_to(SHIPPED)
    assert own_path(None, {}) == Path("local.toml")


def test_between_the_question_and_the_writing_a_file_may_appear(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("mine")
    with pytest.raises(InitError, match=r"cannot write .*config\.toml: File exists"):
        write_files(path, "new", TOKEN)
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, f"TELEGRAM_BOT_TOKEN={TOKEN}\n"),
        ("REDIS_URL=redis://h/1", f"REDIS_URL=redis://h/1\nTELEGRAM_BOT_TOKEN={TOKEN}\n"),
        ("# mine\nTELEGRAM_BOT_TOKEN=\nA=1\n", f"# mine\nTELEGRAM_BOT_TOKEN={TOKEN}\nA=1\n"),
        ("export TELEGRAM_BOT_TOKEN= # here\n", f"TELEGRAM_BOT_TOKEN={TOKEN}\n"),
    ],
)
def test_the_token_is_kept_for_nobody_else(before: str | None, after: str, tmp_path: Path) -> None:
    env = tmp_path / ".env"
    if before is not None:
        env.write_text(before)
    old = os.umask(0)
    try:
        written = write_files(tmp_path / "config.toml", "x", TOKEN)
    finally:
        os.umask(old)
    assert written == [tmp_path / "config.toml", env]
    assert env.read_text() == after
    assert env.stat().st_mode & 0o777 == 0o600
    assert environment({}, tmp_path)["TELEGRAM_BOT_TOKEN"] == TOKEN
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".env", "config.toml"]


def test_without_the_token_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    with pytest.raises(InitError, match=r"cannot write .*\.env: Is a directory"):
        write_files(tmp_path / "config.toml", "x", TOKEN)
    assert [entry.name for entry in tmp_path.iterdir()] == [".env"]


def test_the_text_is_toml_whatever_a_chat_is_called() -> None:
    answers = InitAnswers(chat=-5, about_chat='the group "x" # = [y]', coins=("BTC",))
    tables = tomllib.loads(config_text(answers, MAJORS))
    assert tables["channel"] == {"chat_id": -5}
