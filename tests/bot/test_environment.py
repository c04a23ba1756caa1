from pathlib import Path

import pytest

from bot.environment import environment


def test_variables_win_over_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# a comment\n\nA=1\nexport B = two words \nC='quoted'\nD=\"=x=\"\nnonsense\n#E=5\nF=\n",
        encoding="utf-8",
    )
    found = environment({"A": "mine", "G": "7"}, tmp_path)
    assert found == {
        "A": "mine", "B": "two words", "C": "quoted", "D": "=x=", "F": "", "G": "7"
    }  # fmt: skip


def test_without_a_file(tmp_path: Path) -> None:
    assert environment({"A": "1"}, tmp_path) == {"A": "1"}


def test_secrets_from_files(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://somewhere\n")
    given = {"REDIS_URL_FILE": str(tmp_path / "url")}
    assert environment(given, tmp_path)["REDIS_URL"] == "redis://somewhere"
    set_too = given | {"REDIS_URL": "redis://elsewhere"}
    assert environment(set_too, tmp_path)["REDIS_URL"] == "redis://elsewhere"
    with pytest.raises(FileNotFoundError):
        environment({"TELEGRAM_BOT_TOKEN_FILE": str(tmp_path / "gone")}, tmp_path)


def test_a_file_that_is_no_text_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=\xff\xfe")
    with pytest.raises(OSError) as error:
        environment({}, tmp_path)
    assert error.value.filename == str(tmp_path / ".env")
