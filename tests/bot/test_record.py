"""Recording from a local server that plays the demo's story, and replaying what was recorded."""

import asyncio
import errno
import os
import signal
from pathlib import Path

import pytest
import structlog

from bot.config import VenueSettings
from bot.demo.playback import Playback
from bot.record import record
from bot.replay import Replay
from streams.feed.recording import Recorded, RecordingWriter, read
from tests.bot.role_fixtures import settings
from tests.bot.story import cut


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def wanted(record: Recorded) -> bool:
        return record.venue == "bybit"

    return cut(tmp_path_factory.mktemp("story") / "bybit.jsonl.gz", 70, 73, wanted)


def place(playback: Playback) -> tuple[VenueSettings, ...]:
    websocket, rest = playback.urls("bybit")
    return (VenueSettings(name="bybit", websocket=websocket, rest=rest),)


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
async def test_frames_are_recorded_as_they_came_and_can_be_replayed(
    tmp_path: Path, story: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    output = tmp_path / name
    async with Playback(story, speed=10_000) as playback:
        chosen = settings(tmp_path, venues=place(playback), majors=("BTC",), large=(), tail=0)
        recording = asyncio.create_task(record(chosen, "bybit", ["BTCUSDT"], output))
        async with asyncio.timeout(10):
            while playback.topics < 3:
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.3)
            playback.start()
            await playback.finished.wait()
            await asyncio.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(recording, 3) == 0
    recorded = list(read(output))
    stderr = capsys.readouterr().err
    assert stderr.endswith(f"{len(recorded):,} frames recorded\n")
    of_bitcoin = [
        r.frame for r in read(story) if r.topic.endswith("BTCUSDT") and not r.topic.startswith("k")
    ]
    came = [r.frame for r in recorded if r.channel.startswith("ws:") and b'"topic"' in r.frame]
    assert sorted(came) == sorted(of_bitcoin)
    assert {r.venue for r in recorded} == {"bybit"}
    assert recorded[0].channel.startswith("http:GET /v5/market/")
    replay = Replay(chosen)
    list(replay.events([output]))
    assert (replay.count.frames, replay.count.dropped) == (len(recorded), 0)
    assert replay.count.events > 100


async def test_symbols_that_are_not_listed_are_said(
    tmp_path: Path, story: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Playback(story, speed=10_000) as playback:
        chosen = settings(tmp_path, venues=place(playback))
        symbols = ["BTCUSDT", "BTC-USD", "NONE"]
        ended = record(chosen, "bybit", symbols, tmp_path / "x.jsonl")
        assert await asyncio.wait_for(ended, 5) == 1
    assert capsys.readouterr().err == (
        "bybit does not list BTC-USD, NONE: use its own names, as BTCUSDT\n"
    )


async def test_a_venue_that_cannot_be_reached_is_waited_for_until_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = settings(tmp_path)
    with structlog.testing.capture_logs() as logs:
        recording = asyncio.create_task(record(chosen, "bybit", ["BTCUSDT"], tmp_path / "x.jsonl"))
        async with asyncio.timeout(10):
            while not logs:
                await asyncio.sleep(0.01)
        assert logs[0]["event"].startswith("cannot reach Bybit: ")
        assert not recording.done()
        os.kill(os.getpid(), signal.SIGINT)
        assert await asyncio.wait_for(recording, 10) == 0
    assert capsys.readouterr().err.endswith("0 frames recorded\n")


async def test_what_cannot_be_recorded_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = settings(tmp_path)
    assert await record(chosen, "mtgox", ["X"], tmp_path / "x.jsonl") == 1
    assert capsys.readouterr().err.startswith("no venue is called 'mtgox': choose one of binance")
    assert await record(chosen, "bybit", ["X"], tmp_path / "none" / "x.jsonl") == 1
    assert capsys.readouterr().err == (
        f"cannot write {tmp_path / 'none' / 'x.jsonl'}: No such file or directory\n"
    )
    (tmp_path / "short.jsonl").write_text('{"t": 1')
    assert await record(chosen, "bybit", ["X"], tmp_path / "short.jsonl") == 1
    assert "was cut short: record to a new file" in capsys.readouterr().err


async def test_a_disk_that_fills_up_ends_it_with_a_sentence(
    tmp_path: Path,
    story: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(self: RecordingWriter, record: Recorded) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RecordingWriter, "write", full)
    async with Playback(story, speed=10_000) as playback:
        chosen = settings(tmp_path, venues=place(playback))
        ended = record(chosen, "bybit", ["BTCUSDT"], tmp_path / "x.jsonl")
        assert await asyncio.wait_for(ended, 5) == 1
    stderr = capsys.readouterr().err
    assert stderr == f"cannot write {tmp_path / 'x.jsonl'}: No space left on device\n"
