"""The demo, cut down to one asset: live pipeline and replay tell the same story."""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import msgspec
import pytest
import structlog

from bot.__main__ import main
from bot.backtest.logfile import read_day
from bot.backtest.series import Notes
from bot.config import Settings, load
from bot.config.recipients import chats
from bot.demo import play as demo
from bot.plan.planner import Delivery
from bot.replay import Replay, judged, messages
from rules import alerts
from rules.alerts import Alert, AlertOrNotice
from streams.feed.recording import Recorded
from tests.bot.backtest.logs import backtested, steps
from tests.bot.story import cut

ROOT = Path(__file__).parents[3]


def of_dogecoin(record: Recorded) -> bool:
    """What brings all assets together, and what is Dogecoin's own."""
    text = f"{record.topic} {record.channel}".lower()
    others = ("btc", "eth", "sol", "hype", "pepe")
    return "doge" in text or not any(name in text.replace("hyperliquid", "") for name in others)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cut(tmp_path_factory.mktemp("story") / "doge.jsonl.gz", 50, 122, of_dogecoin)


@pytest.fixture(scope="module")
def chosen() -> Settings:
    """The shipped rules, for Dogecoin alone."""
    settings = load(ROOT / "config.toml", {})
    return msgspec.structs.replace(settings, majors=(), large=("DOGE",), tail=0)


@pytest.fixture(scope="module")
def replay_outputs(chosen: Settings, story: Path) -> list[AlertOrNotice]:
    return list(judged(Replay(chosen).events([story]), chosen))


def turns(outputs: Iterable[AlertOrNotice]) -> Counter[tuple[str, str]]:
    posted = (output for output in outputs if isinstance(output, Alert) and output.post)
    return Counter((alert.rule, alert.turn) for alert in posted if alert.asset == "DOGE")


async def test_the_demo_tells_the_story_and_stops(
    chosen: Settings,
    story: Path,
    replay_outputs: list[AlertOrNotice],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo, "MARKETS", ((), ("DOGE",)))
    monkeypatch.setattr(demo, "TemporaryDirectory", lambda prefix: nullcontext(tmp_path))
    live: list[AlertOrNotice] = []
    decode = alerts.decode

    def heard(data: bytes) -> AlertOrNotice:
        live.append(decode(data))
        return live[-1]

    monkeypatch.setattr(alerts, "decode", heard)
    with structlog.testing.capture_logs() as logs:
        await demo.play(chosen, 100_000.0, story)
    bad = [entry for entry in logs if entry["log_level"] in ("error", "critical")]
    assert bad == []
    text = capsys.readouterr().out
    for words in ("funding", "price", "deleveraging", "liquidations"):
        assert re.search(rf"DOGE [^\n]*{words}", text), words
    assert "2025-10-10 21:" in text
    # Live, a second's tick falls between other frames than in a replay, so that values differ by
    # a frame and an alert more or less may cross a level.
    expected, live_turns = turns(replay_outputs), turns(live)
    different = (live_turns - expected) + (expected - live_turns)
    assert different.total() <= 0.2 * expected.total()
    assert {rule for rule, _ in live_turns} == {rule for rule, _ in expected}
    # The metric log that the live run wrote says what the live run said, up to its last row.
    days = sorted((tmp_path / "metrics").iterdir())
    last = max(int(series.at[-1]) for series in read_day(days[-1], Notes()).series.values())
    logged = steps(backtested(chosen, days))
    here = steps([output for output in live if isinstance(output, Alert) and output.seen <= last])
    assert {key: [step.level for step in key_steps] for key, key_steps in logged.items()} == {
        key: [step.level for step in key_steps] for key, key_steps in here.items()
    }
    assert len(here) > 5


def test_a_replay_is_the_same_each_time(
    chosen: Settings, story: Path, replay_outputs: list[AlertOrNotice]
) -> None:
    assert list(judged(Replay(chosen).events([story]), chosen)) == replay_outputs
    rules = {rule for rule, _ in turns(replay_outputs)}
    assert {"liq_burst", "oi_drop:15m", "cascade", "funding_predicted"} <= rules
    posts = [
        message
        for message in messages(replay_outputs, chats(chosen)[0])
        if isinstance(message, Delivery)
    ]
    assert 3 < len(posts) < turns(replay_outputs).total()


def test_a_demo_that_nobody_reads_any_more_ends(tmp_path: Path) -> None:
    """``lowtide demo | head``: not a word on it, and not the rest of the story."""
    with subprocess.Popen(
        [sys.executable, "-m", "bot", "demo", "--speed", "1000"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    ) as running:  # fmt: skip
        assert running.stdout is not None and running.stderr is not None
        assert running.stdout.readline().startswith("Lowtide demo")
        running.stdout.close()
        assert running.stderr.read() == ""
        assert running.wait(60) == 1


def test_demo_command_has_a_speed(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ("0", "-1", "fast", "1e9"):
        with pytest.raises(SystemExit) as ended:
            main(["demo", "--speed", wrong])
        assert ended.value.code == 2
        assert "--speed" in capsys.readouterr().err
