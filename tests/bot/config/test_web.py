"""Where metrics and health may be served, and to whom."""

from pathlib import Path

import pytest

from bot.config import ConfigError, load
from bot.config.explain import describe
from tests.bot.test_main import PLAIN

TOKEN = "x" * 16


def read(folder: Path, address: str | None, **env: str):
    path = folder / "config.toml"
    path.write_text(PLAIN + (f'[web]\naddress = "{address}"\n' if address is not None else ""))
    return load(path, env)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        (None, None), ("none", None), ("127.0.0.1:8737", ("127.0.0.1", 8737)),
        ("localhost:80", ("localhost", 80)), ("[::1]:8737", ("::1", 8737)),
        ("127.0.0.9:1", ("127.0.0.9", 1)),
    ],
)  # fmt: skip
def test_addresses_of_this_machine_need_no_token(
    address: str | None, place: tuple[str, int] | None, tmp_path: Path
) -> None:
    settings = read(tmp_path, address)
    assert (settings.web, settings.web_token) == (place, None)
    assert ("web        a page at http://" in describe(settings)) is (place is not None)


@pytest.mark.parametrize("address", ["0.0.0.0:8737", "[::]:8737", "10.0.0.5:1", "box.example:80"])
def test_others_may_ask_only_with_a_token(address: str, tmp_path: Path) -> None:
    for short in ("", "x" * 15):
        with pytest.raises(ConfigError, match=r"LOWTIDE_WEB_TOKEN \(environment\): "):
            read(tmp_path, address, LOWTIDE_WEB_TOKEN=short)
    settings = read(tmp_path, address, LOWTIDE_WEB_TOKEN=TOKEN)
    assert settings.web_token == TOKEN
    assert ", with the token\n" in describe(settings) and TOKEN not in describe(settings)
    assert TOKEN not in repr(settings)


@pytest.mark.parametrize("address", ["", "8737", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999",
                                     "http://127.0.0.1:80", "::1:80", "a b:80"])  # fmt: skip
def test_what_is_no_address_is_said(address: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config.toml:\d+: web.address: must be an address and"):
        read(tmp_path, address)
