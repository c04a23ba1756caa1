"""One key written into the operator's own file, and nothing else of it changed."""

import errno
import io
import os
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bot.config import ConfigError, load
from bot.config.edit import set_key
from bot.config.source import SHIPPED

OWN = """# what I changed, and why
extends = "shipped"

[channel]
posts_per_hour = 6   # they were too many

[rules.liq_burst]   # quieter than shipped
majors = { alert = 45, critical = 130 }  # as of spring
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(OWN)
    return path


KEYS = [
    ("channel.posts_per_hour", "9", "posts_per_hour = 6 ", "posts_per_hour = 9 "),
    ("channel.chat_id", "@desk", "", 'chat_id = "@desk"\n'),
    ("rules.liq_burst.majors.alert", "50", "alert = 45,", "alert = 50,"),
    ("rules.liq_burst.ETH.alert", "42.5", "", "ETH = {alert = 42.5}\n"),
    ("rules.oi_drop.windows.1h.BTC.alert", "-5", "", "BTC = {alert = -5}\n"),
    ('rules."liq_burst".majors.watch', "20", " }", ", watch = 20}"),
    ("markets.large", '["SOL", "XRP"]', "", 'large = ["SOL", "XRP"]\n'),
    ("rules.funding_negative.post", "false", "", "post = false\n"),
]


@pytest.mark.parametrize(("key", "value", "before", "after"), KEYS, ids=[k for k, *_ in KEYS])
def test_a_key_is_written_and_comments_and_layout_stay(
    path: Path, key: str, value: str, before: str, after: str
):
    words = set_key(load(path, {}), key, value, {})
    text = path.read_text()
    assert after in text
    left = text.replace(after, before, 1)
    # tables that were not there are new; every line that was there is as it was
    assert [line for line in OWN.splitlines() if line not in left.splitlines()] == []
    assert key.replace('"', "").split(".")[-1] in words or "new" in words
    assert words.startswith("mine.toml, ")
    assert words.endswith(f"Written to {path}")
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_lines_end_as_they_did(path: Path, ends: str):
    path.write_bytes(OWN.replace("\n", ends).encode())
    set_key(load(path, {}), "channel.posts_per_hour", "9", {})
    assert path.read_bytes() == OWN.replace("\n", ends).replace("= 6", "= 9").encode()


WRONG = [
    ("channel.posts_per_hours", "9", ConfigError, "posts_per_hour"),
    ("channel.posts_per_hour", "many", ConfigError, "channel.posts_per_hour"),
    ("chats", "[]", ValueError, "chats is a table: name a key in it, or edit mine.toml"),
    ("channel", "9", ValueError, "channel is a table: name a key in it, or edit mine.toml"),
    ("channel.posts_per_hour.more", "9", ValueError, "channel.posts_per_hour is no table"),
    ("channel..posts", "9", ValueError, "'channel..posts' is no key"),
    ("", "9", ValueError, "'' is no key"),
    ("rules.liq_burst.majors.alert", "200", ConfigError, "critical"),
]


@pytest.mark.parametrize(("key", "value", "kind", "why"), WRONG)
def test_what_cannot_be_is_refused_in_a_sentence_and_nothing_is_written(
    path: Path, key: str, value: str, kind: type[Exception], why: str
):
    with pytest.raises(kind) as error:
        set_key(load(path, {}), key, value, {})
    assert why in str(error.value)
    assert "mine.toml:" in str(error.value) or kind is ValueError
    assert path.read_text() == OWN
    assert list(path.parent.iterdir()) == [path]


def test_after_a_warning_the_path_has_a_line_of_its_own(path: Path):
    words = set_key(load(path, {}), "operators.chat_id", "-5", {})
    *_, warning, last = words.split("\n")
    assert warning.startswith("Warning: mine.toml:") and "is empty" in warning
    assert last == f"Written to {path}"


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("channel.posts_per_hour", "0", "mine.toml:5: channel.posts_per_hour: "),
        ("rules.liq_burst.majors.alert", "200", "mine.toml:8: rules.liq_burst.majors"),
        ("channel.recap", "often", "mine.toml: channel.recap: "),
        ("logs.level", "loud", "mine.toml: logs.level: "),
    ],
)
def test_a_refusal_names_lines_of_the_file_as_it_is(path: Path, key: str, value: str, place: str):
    with pytest.raises(ConfigError) as error:
        set_key(load(path, {}), key, value, {})
    (problem,) = error.value.problems
    assert problem.startswith(f"{path.parent}/{place}")


def test_a_line_below_what_was_put_in_is_named_as_the_file_has_it(path: Path):
    settings = load(path, {})
    path.write_text(OWN.replace("critical = 130", "critical = 30"))  # by hand, meanwhile
    with pytest.raises(ConfigError) as error:
        set_key(settings, "channel.chat_id", "@desk", {})
    assert error.value.problems[0].startswith(f"{path}:8: rules.liq_burst.majors")


def test_a_key_that_is_so_already_is_said_to_be(path: Path):
    words = set_key(load(path, {}), "channel.posts_per_hour", "6", {})
    assert words == f"channel.posts_per_hour was 6 already. Written to {path}"


def test_the_shipped_file_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shipped = SHIPPED.read_bytes()
    own = tmp_path / "local.toml"
    monkeypatch.setattr("bot.config.edit.own_file", lambda _: own)
    words = set_key(load(SHIPPED, {}), "channel.posts_per_hour", "9", {})
    assert "Changed: channel.posts_per_hour 12 → 9." in words
    assert own.read_text() == 'extends = "shipped"\n\n[channel]\nposts_per_hour = 9\n'
    assert SHIPPED.read_bytes() == shipped


def test_a_read_only_file_is_left_alone(path: Path):
    path.chmod(0o400)
    with pytest.raises(ValueError, match=r"mine.toml is read-only for its owner, and nothing was"):
        set_key(load(path, {}), "channel.posts_per_hour", "9", {})
    assert path.read_text() == OWN


def test_a_folder_that_may_not_be_written_to_is_named(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError) as caught:
        set_key(load(path, {}), "channel.posts_per_hour", "9", {})
    assert caught.value.filename == str(path.parent)
    assert path.read_text() == OWN


def test_of_a_key_without_a_secret_both_values_are_said(path: Path):
    words = set_key(load(path, {}), "logs.format", "json", {})
    assert 'Changed: logs.format none → "json".' in words
    assert "Restart Lowtide for what changed in logs." in words


def test_keys_that_are_set_at_once_are_all_there(path: Path):
    settings = load(path, {})
    names = [f"COIN{n}" for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        keys = [f"rules.liq_burst.{name}.watch" for name in names]
        list(pool.map(lambda key: set_key(settings, key, "3", {}), keys))
    own = tomllib.loads(path.read_text())["rules"]["liq_burst"]
    assert {name: own[name] for name in names} == {name: {"watch": 3} for name in names}


def test_a_full_disk_is_said_of_the_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "shipped"\n')
    settings = load(path, {})

    class Full(io.StringIO):
        name = str(tmp_path / "tmp1234.toml")

        def write(self, text: str, /) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def full(*_: object, **__: object) -> Full:
        Path(Full.name).touch()
        return Full()

    monkeypatch.setattr("bot.config.edit.NamedTemporaryFile", full)
    with pytest.raises(OSError, match="No space left on device") as error:
        set_key(settings, "channel.posts_per_hour", "9", {})
    assert error.value.filename == str(path)
    assert [*tmp_path.iterdir()] == [path]
