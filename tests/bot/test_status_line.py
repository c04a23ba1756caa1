"""The last line of a terminal: what it says, and that nothing is written into it."""

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bot.status_line import StatusLine, in_line
from rules.snapshot import Standing, Value
from streams.durations import HOUR, MINUTE
from streams.feed.status import FeedCount, VenueStatus
from tests.conftest import ROOT

NOW = 1_790_007_600_000


class Screen(io.StringIO):
    """A terminal of one column of lines: what is seen of what was written."""

    def lines(self) -> list[str]:
        shown = re.sub(r"\x1b\[[02]m", "", self.getvalue())
        return [line.split("\r\x1b[K")[-1] for line in shown.split("\n")]


def test_what_is_written_goes_above_and_the_line_stays_last():
    screen = Screen()
    line = StatusLine(screen)
    out = line.above(screen)
    line.show("2 of 3 venues heard")
    out.write("a message\nof two lines\n")
    assert screen.lines() == ["a message", "of two lines", "2 of 3 venues heard"]
    line.show("3 of 3 venues heard")
    out.write("half ")
    line.show("4 of 4 venues heard")
    out.write("of a line\n")
    assert screen.lines()[2:] == ["half of a line", "4 of 4 venues heard"]
    line.show("")
    assert screen.lines()[-1] == ""


def test_the_same_is_not_written_again_and_no_line_is_longer_than_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("COLUMNS", "20")
    screen = Screen()
    line = StatusLine(screen)
    line.show("x" * 50)
    assert screen.lines() == ["x" * 18 + "…"]
    before = screen.getvalue()
    line.show("x" * 50)
    assert screen.getvalue() == before


def venue(name: str, up: int = 1, trouble: str = "") -> VenueStatus:
    return VenueStatus(
        name=name.lower(), title=name, trouble=trouble, instruments=60, refused_names=0,
        feeds={"price": FeedCount(up=up, down=0)}, not_available=[], requests=1,
        requests_failed=0, sockets=[],
    )  # fmt: skip


def standing(*values: Value) -> Standing:
    return Standing(seen=NOW, values=values, episodes=())


def value(metric: str, now: float | None, watched: int) -> Value:
    return Value(metric=metric, unit="%", asset="BTC", value=now, since=NOW - watched)


LINES: list[tuple[list[VenueStatus], Standing | None, str]] = [
    ([], None, "asking the venues"),
    ([venue("Bybit", 0)], None, "0 of 1 venues heard · Bybit …"),
    (
        [venue("Bybit", 0, "the connection was refused\nmore"), venue("OKX")],
        None,
        "1 of 2 venues heard · Bybit: the connection was refused · 60 contracts",
    ),
    (
        [venue("OKX"), venue("Gate")],
        standing(
            value("price_1h_pct", None, 26 * MINUTE),
            value("oi_net_1h_pct", None, 20 * MINUTE),
            value("oi_net_24h_pct", None, 26 * MINUTE),
            value("funding_8h_pct", 0.01, 26 * MINUTE),
        ),
        "2 of 2 venues heard · 120 contracts · 1 of 4 values known, windows of 1h full in 40 min"
        " · 0 open · 16:20:00 UTC",
    ),
    (
        [venue("OKX")],
        standing(value("price_1h_pct", None, 2 * HOUR), value("oi_net_1h_pct", -1.0, 2 * HOUR)),
        "1 of 1 venues heard · 60 contracts · 1 of 2 values known · 0 open · 16:20:00 UTC",
    ),
]


@pytest.mark.parametrize(("venues", "seen", "text"), LINES)
def test_it_says_what_is_heard_and_when_a_window_is_full(
    venues: list[VenueStatus], seen: Standing | None, text: str
):
    assert in_line(venues, seen) == text


def test_run_has_it_in_a_terminal_and_nowhere_else(tmp_path: Path):
    config = tmp_path / "config.toml"
    config.write_text(
        'extends = "shipped"\n[markets]\nvenues = ["bybit"]\n[venues.bybit]\n'
        'rest = "http://127.0.0.1:9"\nwebsocket = "ws://127.0.0.1:9"\n'
    )
    run = [sys.executable, "-m", "bot", "run", "--dry-run", "--config", str(config)]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        run, cwd=ROOT, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"}
    ) as process:
        os.close(theirs)
        seen = b""
        while b"of 1 venues heard" not in seen:
            seen += os.read(ours, 4096)
        process.terminate()
        while True:
            try:
                seen += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    assert b'event="ready to send"' in seen
    assert b"Bybit: the connection was refused" in seen

    piped = subprocess.run(
        ["timeout", "6", *run], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "venues heard" not in piped.stdout + piped.stderr
    assert "\033" not in piped.stdout + piped.stderr
