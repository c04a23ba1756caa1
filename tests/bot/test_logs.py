"""Logs: one line an event, secrets out, whoever writes them."""

import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from bot.logs import configure, redact_processor
from bot.redaction import redact
from bot.roles.run import stop_all, supervise
from tests.bot.fake_telegram import TOKEN
from tests.conftest import ROOT


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure("INFO", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook = hook
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"POST https://api.telegram.org/bot{TOKEN}/getMe", "/bot<token>/getMe"),
        ("redis://me:secret@host:1/0", "redis://me:<password>@host:1/0"),
        ("redis://:secret@host:1/0", "redis://:<password>@host:1/0"),
        ("at 09:42 UTC, 123:45", "at 09:42 UTC, 123:45"),
    ],
)
def test_secrets_are_taken_out(text: str, clean: str):
    assert redact(text).endswith(clean)


def test_values_of_any_kind_are_redacted_and_numbers_are_kept():
    event = {"event": "socket lost", "n": 3, "no": None, "error": ValueError(TOKEN), "l": [TOKEN]}
    clean = redact_processor(None, "info", event)
    assert clean == {
        "event": "socket lost",
        "n": 3,
        "no": None,
        "error": "<token>",
        "l": "['<token>']",
    }


def test_an_event_is_one_json_object_a_line(out: io.StringIO):
    configure("WARNING", out, "json")
    log = structlog.get_logger()
    log.info("too fine")
    log.warning("it broke", n=3, why=f"of {TOKEN}\nand more", no=None)
    logging.getLogger("asyncio").error("socket %s lost", 7)
    first, second = map(json.loads, out.getvalue().splitlines())
    assert list(first)[:3] == ["timestamp", "level", "event"]
    assert (first["level"], first["event"], first["n"], first["no"]) == (
        "warning", "it broke", 3, None,
    )  # fmt: skip
    assert first["why"] == "of <token>\nand more"
    assert (second["level"], second["event"]) == ("error", "socket 7 lost")


def test_an_event_is_one_line_of_keys_and_values(out: io.StringIO):
    structlog.get_logger().info("alert told", alert="oi_drop:BTC:1:0", chat=-100)
    structlog.get_logger().debug("too fine")
    (line,) = out.getvalue().splitlines()
    assert line.startswith("timestamp=20")
    assert line.endswith('level=info event="alert told" alert=oi_drop:BTC:1:0 chat=-100')


def test_tracebacks_and_libraries_are_redacted_too(out: io.StringIO):
    try:
        raise ValueError(f"bad url /bot{TOKEN}/x")
    except ValueError:
        structlog.get_logger().exception("post failed")
        logging.getLogger("telegram").exception("library %s", TOKEN)
    logging.getLogger("httpx").info("HTTP Request: %s", TOKEN)
    text = out.getvalue()
    assert "post failed" in text
    assert text.count("ValueError") >= 2
    assert "HTTP Request" not in text
    assert TOKEN not in text


async def test_a_role_that_fails_tells_no_token(out: io.StringIO):
    async def fails() -> None:
        try:
            raise OSError(f"POST https://api.telegram.org/bot{TOKEN}/sendMessage")
        except OSError as error:
            raise ValueError("a bug") from error

    task = asyncio.create_task(supervise("bot", fails))
    async with asyncio.timeout(10):
        while "the bot role stopped: ValueError: a bug" not in out.getvalue():
            await asyncio.sleep(0.01)
    await stop_all([task])
    text = out.getvalue()
    assert "sendMessage" in text
    assert TOKEN not in text


def test_a_crash_of_the_whole_process_tells_no_token():
    code = f"from bot.logs import configure\nconfigure()\nraise ValueError('/bot{TOKEN}/getMe')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "ValueError: /bot<token>/getMe" in done.stderr
    assert TOKEN not in done.stderr.replace(code, "") + done.stdout


def test_what_is_not_printable_is_escaped_and_forges_no_line(out: io.StringIO) -> None:
    nasty = "BTC\x1b[2J\a\u202e\n2026-01-01 level=error event=forged"
    structlog.get_logger().warning(f"lists {nasty}", symbol=nasty)
    logging.getLogger("another").warning("says %s", nasty)
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    assert all(r"\x1b[2J" in line for line in lines)
