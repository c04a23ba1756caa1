"""The demo, cut down to one asset: live pipeline and replay tell the same story."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import structlog

from bot.__main__ import main
from bot.config import Settings, load
from bot.demo import play as demo
from bot.replay import Replay
from rules.alerts import Alert
from streams.recording import Recorded
from tests.bot.story import cut

ROOT = Path(__file__).parents[2]


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
def told(chosen: Settings, story: Path) -> list[Alert]:
    return [alert for alert in Replay(chosen).alerts([story]) if alert.post]


def turns(alerts: Iterator[Alert] | list[Alert]) -> Counter[tuple[str, str]]:
    return Counter((alert.rule, alert.turn) for alert in alerts if alert.asset == "DOGE")


async def test_the_demo_tells_the_story_and_stops(
    chosen: Settings,
    story: Path,
    told: list[Alert],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo, "MARKETS", ((), ("DOGE",)))
    alerts: list[Alert] = []
    render = demo.Console.send

    async def send(self, message):
        alerts.append(message)
        return await render(self, message)

    monkeypatch.setattr(demo.Console, "send", send)
    with structlog.testing.capture_logs() as logs:
        await demo.play(chosen, 100_000.0, story)
    bad = [entry for entry in logs if entry["log_level"] in ("error", "critical")]
    assert bad == []
    text = capsys.readouterr().out
    for words in ("funding", "open interest", "depth", "liquidations", "ease", "back"):
        assert re.search(rf"DOGE [^\n]*{words}", text), words
    assert "2025-10-10 21:" in text
    live = Counter((m.rule, m.turn) for m in alerts if m.asset == "DOGE")
    # Live, a second's tick falls between other frames than in a replay, so that values differ by
    # a frame and a message more or less may cross a level.
    different = (live - turns(told)) + (turns(told) - live)
    assert different.total() <= 0.2 * live.total()
    assert set(live) - set(different) >= {(rule, "open") for rule, turn in turns(told)} - set(
        different
    )


def test_a_replay_is_the_same_each_time(chosen: Settings, story: Path, told: list[Alert]) -> None:
    again = [alert for alert in Replay(chosen).alerts([story]) if alert.post]
    assert again == told
    rules = {alert.rule for alert in told}
    assert {"oi_drop", "oi_drop_fast", "liq_burst"} <= rules
    assert any(name.startswith("depth") for name in rules)


def test_demo_command_has_a_speed(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ("0", "-1", "fast", "1e9"):
        with pytest.raises(SystemExit) as ended:
            main(["demo", "--speed", wrong])
        assert ended.value.code == 2
        assert "--speed" in capsys.readouterr().err
