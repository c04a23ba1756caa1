"""What is registered as a secret is in no text, wherever and however it stands."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from bot.config import ConfigError, load
from bot.redaction import redact, register, register_address, register_login, register_token
from tests.bot.fake_telegram import TOKEN
from tests.conftest import ROOT

PASSWORD = 'p@ss w#rd/1?\\"é'


@pytest.mark.parametrize(
    "form",
    [str, repr, json.dumps, quote, quote_plus, lambda text: quote(text, safe=""),
     lambda text: quote(text).lower(), lambda text: f"x{text}y"],
)  # fmt: skip
def test_a_value_is_found_in_every_form(form):
    register(PASSWORD, "password")
    text = redact(f"before {form(PASSWORD)} after")
    assert "w#rd" not in text.replace("%23", "#") and "<password>" in text
    assert text.startswith("before ") and text.endswith(" after")


def test_the_parts_that_a_wrong_url_falls_into_are_found():
    register_login("redis://:abcdefg#hijklmn/opqrstu?vwxyzab@host:1/0")
    parts = ("abcdefg", "hijklmn", "opqrstu", "vwxyzab")
    for text in ("port 'abcdefg'", "no database hijklmn/opqrstu", "?vwxyzab@host"):
        assert not [part for part in parts if part in redact(text)]


def test_the_secret_half_of_a_token_and_the_path_of_an_address():
    register_token(TOKEN)
    register_address("https://hooks.example.com/services/T0/B0/x%20yz")
    secret = TOKEN.partition(":")[2]
    assert redact(f"bot {secret} at /services/T0/B0/x yz") == "bot <token> at <address>"
    assert redact("hooks.example.com does not answer") == "hooks.example.com does not answer"


def test_of_two_secrets_that_begin_alike_the_longer_is_taken_out_whole():
    register("abcdef", "one")
    register("abcdefghi", "two")
    assert redact("abcdefghi abcdef") == "<two> <one>"


def test_a_short_secret_does_not_spoil_all_words():
    register("pass", "password")
    assert redact("3 tests passed") == "3 tests passed"


def test_reading_a_configuration_registers_what_it_holds_even_if_it_is_refused(tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text(
        '[markets]\nvenues = []\nmajors = [3]\n[telegram]\nproxy = "http://u:proxyword1@h:1"\n'
        '[[webhooks]]\nurl = "https://h/hookpath1"\n'
    )
    env = {"REDIS_URL": "redis://:redis/word@h", "LOWTIDE_WEBHOOK_SECRET": "signsecret1",
           "ALL_PROXY": "socks4://u:envword1@h:1"}  # fmt: skip
    with pytest.raises(ConfigError):
        load(path, env)
    assert redact("redis/word signsecret1 envword1") == "<password> <secret> <password>"


def test_threads_and_warnings_tell_no_secret_either():
    code = (
        "import threading, warnings\nfrom bot.logs import configure\nfrom bot.redaction import "
        "register\nconfigure()\nregister('s3cr3t-word', 'password')\n"
        "warnings.warn('s3cr3t-word')\n"
        "def fail(): raise ValueError('s3cr3t-word')\n"
        "t = threading.Thread(target=fail)\nt.start()\nt.join()\n"
        "class Bad:\n  def __del__(self): raise ValueError('s3cr3t' + '-word')\nBad()\n"
    )
    script = "import sys; exec(sys.stdin.read())"
    done = subprocess.run([sys.executable, "-c", script], input=code, capture_output=True,
                          text=True, cwd=ROOT)  # fmt: skip
    assert done.stderr.count("<password>") == 3
    assert "s3cr3t-word" not in done.stderr + done.stdout


def test_a_library_that_logs_a_secret(capsys: pytest.CaptureFixture[str]):
    from bot.logs import configure

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure("INFO")
        register(PASSWORD, "password")
        logging.getLogger("other").error("url %s", quote(PASSWORD, safe=""))
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(False)
    assert "<password>" in capsys.readouterr().err
