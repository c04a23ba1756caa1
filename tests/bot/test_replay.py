"""Replay of files: whole, cut short, empty, of other things."""

import gzip
from pathlib import Path

import msgspec
import pytest

from bot.__main__ import main
from bot.config import load
from bot.replay import Count, Replay
from streams.events import AnyEvent, FeedState, OpenInterest
from streams.feed.recording import Recorded, RecordingWriter
from tests.bot.story import cut
from tests.bot.test_main import PLAIN

T0 = 1_760_000_000_000

WITH_CRITICAL = PLAIN.replace("alert = 1,", "alert = 1, critical = 20,")
"""An event of which the console has several posts."""


def wanted(record: Recorded) -> bool:
    return record.venue == "bybit" and not record.topic.startswith("orderbook")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cut(tmp_path_factory.mktemp("story") / "bybit.jsonl.gz", 70, 80, wanted)


def replayed(
    capsys: pytest.CaptureFixture[str], folder: Path, *files: Path
) -> tuple[int, str, str]:
    (folder / "config.toml").write_text(WITH_CRITICAL)
    names = [str(file) for file in files]
    with pytest.raises(SystemExit) as done:
        main(["replay", *names, "--config", str(folder / "config.toml")])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert isinstance(done.value.code, int)
    return done.value.code, out, err


def test_messages_and_a_count(capsys, tmp_path: Path, story: Path) -> None:
    code, out, err = replayed(capsys, tmp_path, story)
    assert code == 0
    assert "BTC liquidations ≥ $" in out
    assert err.endswith(" messages\n")
    assert " 0 dropped" in err


def test_only_venues_that_were_asked_for_are_heard(tmp_path: Path, story: Path) -> None:
    (tmp_path / "config.toml").write_text(PLAIN)
    settings = load(tmp_path / "config.toml", {})
    heard, unheard = Replay(settings, ["bybit"]), Replay(settings, ["binance"])
    assert len([*heard.events([story])]) > 0 == len([*unheard.events([story])])
    assert (heard.count.frames > 0, unheard.count.frames) == (True, 0)


def test_files_are_heard_together_in_order_of_receipt(capsys, tmp_path: Path, story: Path) -> None:
    """As ``lowtide record`` writes them, one after another."""
    lines = gzip.decompress(story.read_bytes()).splitlines(keepends=True)
    parts = [tmp_path / "early.jsonl", tmp_path / "late.jsonl"]
    parts[0].write_bytes(b"".join(lines[: len(lines) // 2]))
    parts[1].write_bytes(b"".join(lines[len(lines) // 2 :]))
    whole = replayed(capsys, tmp_path, story)
    assert replayed(capsys, tmp_path, *parts) == whole
    assert replayed(capsys, tmp_path, *reversed(parts))[1] == whole[1]


@pytest.mark.parametrize("share", [0.3, 0.7, 0.999])
def test_a_file_cut_short_gives_what_is_whole(
    capsys, tmp_path: Path, story: Path, share: float
) -> None:
    whole = replayed(capsys, tmp_path, story)[1]
    data = story.read_bytes()
    short = tmp_path / "short.jsonl.gz"
    short.write_bytes(data[: int(len(data) * share)])
    code, out, err = replayed(capsys, tmp_path, short)
    assert code == 0
    *messages, last = out.removesuffix("\n\n").split("\n\n")  # what waits at the end is told early
    assert [text for text in messages if text not in whole] == []
    assert messages or share < 0.5
    assert last
    assert err.count("recording cut short") == 1


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.jsonl", None, "cannot replay: {path}: No such file or directory"),
        ("empty.jsonl", b"", "cannot replay: {path} holds no frames"),
        ("empty.jsonl.gz", gzip.compress(b"", mtime=0), "cannot replay: {path} holds no frames"),
        ("nothing.jsonl.gz", b"", "cannot replay: {path} holds no frames"),
        ("words.jsonl", b"hello\n", "cannot replay: {path}:1 is not a recorded frame: "),
        ("plain.jsonl.gz", b'{"t":1}\n', "cannot replay: {path} holds no frames"),
        ("folder.jsonl", "folder", "cannot replay: {path}: Is a directory"),
    ],
)
def test_what_is_no_recording_is_said(
    capsys, tmp_path: Path, name: str, content: bytes | str | None, words: str
) -> None:
    path = tmp_path / name
    if isinstance(content, str):
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    code, out, err = replayed(capsys, tmp_path, path)
    assert (code, out) == (1, "")
    assert words.format(path=path) in err.splitlines()[-1]


def test_frames_without_a_listing_are_said_to_be_of_no_use(capsys, tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    with RecordingWriter(path) as writer:
        writer.write(Recorded(t=T0, venue="bybit", channel="ws:/v5/public/linear", frame=b"{}"))
    code, out, err = replayed(capsys, tmp_path, path)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("cannot replay: no listing of bybit in the recording")


def test_rubbish_among_the_frames_is_counted(capsys, tmp_path: Path, story: Path) -> None:
    rubbish = tmp_path / "rubbish.jsonl"
    with RecordingWriter(rubbish) as writer:
        for n, frame in enumerate((b"\xff\x00", b"not json", b'{"topic": 5}', b"[" * 5_000)):
            t = 1_760_130_600_000 + n  # 21:10
            channel = "ws:/v5/public/linear"
            writer.write(Recorded(t=t, venue="bybit", channel=channel, frame=frame))
    whole = replayed(capsys, tmp_path, story)
    code, out, err = replayed(capsys, tmp_path, story, rubbish)
    assert (code, out) == (0, whole[1])
    assert " 4 dropped" in err


ASK = 'http:POST /info {"type":"metaAndAssetCtxs"}'


def coins(*names: str, interest: float = 1000.0) -> bytes:
    """A listing of Hyperliquid; BTC has so much open interest."""
    rows = [
        {"openInterest": str(interest if name == "BTC" else 7.0), "markPx": "100000",
         "funding": "0.00001", "dayNtlVlm": "1e9", "oraclePx": "100000"}
        for name in names
    ]  # fmt: skip
    return msgspec.json.encode([{"universe": [{"name": name} for name in names]}, rows])


def contexts(listing: bytes) -> bytes:
    rows = msgspec.json.decode(listing)[1]
    return msgspec.json.encode({"channel": "allDexsAssetCtxs", "data": {"ctxs": [["", rows]]}})


def hour(*parts: tuple[float, bytes | None, bytes]) -> list[Recorded]:
    """Contexts every 5 s: of each part its length in minutes, its listing and its contexts."""
    records: list[Recorded] = []
    t = T0
    for minutes, listing, frame in parts:
        if listing is not None:
            records.append(Recorded(t=t, venue="hyperliquid", channel=ASK, frame=listing))
        for _ in range(round(minutes * 12)):
            t += 5_000
            records.append(Recorded(t=t, venue="hyperliquid", channel="ws:/ws", frame=frame))
    return records


def events_of(folder: Path, records: list[Recorded]) -> tuple[list[AnyEvent], Count]:
    (folder / "config.toml").write_text(PLAIN)
    path = folder / "recording.jsonl"
    with RecordingWriter(path) as writer:
        for record in records:
            writer.write(record)
    replay = Replay(load(folder / "config.toml", {}))
    return [*replay.events([path])], replay.count


@pytest.mark.parametrize("names", [("BTC", "ETH", "NEW"), ("NEW", "BTC", "ETH"), ("BTC",)])
def test_a_listing_that_changes_is_read_again(tmp_path: Path, names: tuple[str, ...]) -> None:
    before, after = coins("BTC", "ETH"), coins(*names, interest=800.0)
    events, count = events_of(
        tmp_path, hour((10, before, contexts(before)), (10, after, contexts(after)))
    )
    bases = [e.base for e in events if isinstance(e, OpenInterest) and e.asset == "BTC"]
    assert bases[0] == 1000.0 and bases[-1] == 800.0
    assert count.dropped == 0


def test_frames_that_no_listing_explains_are_counted(tmp_path: Path) -> None:
    before, after = coins("BTC", "ETH"), coins("BTC", "ETH", "NEW", interest=800.0)
    events, count = events_of(
        tmp_path, hour((1, before, contexts(before)), (1, None, contexts(after)),
                       (1, b"[]", contexts(before)))
    )  # fmt: skip
    assert {e.base for e in events if isinstance(e, OpenInterest) and e.asset == "BTC"} == {1000.0}
    assert count.dropped == 12 + 1  # the frames, and a listing that cannot be read


def test_a_recording_without_one_kind_of_feed_does_not_flap(tmp_path: Path) -> None:
    """No books here, and contexts stop for a while: one silence is one silence."""
    listing = coins("BTC", "ETH")
    quiet = hour((20, listing, contexts(listing)))
    quiet += [
        msgspec.structs.replace(record, t=record.t + 25 * 60_000)
        for record in hour((20, None, contexts(listing)))
    ]
    events, _ = events_of(tmp_path, quiet)
    states = [(e.kind, e.up) for e in events if isinstance(e, FeedState)]
    kinds = {kind for kind, _ in states}
    assert "depth" not in kinds
    for kind in kinds:
        assert [up for state_kind, up in states if state_kind == kind] == [True, False, True]


@pytest.mark.parametrize("topic", ["allLiquidation", "tickers"])
def test_a_recording_of_another_venue_without_a_kind_of_feed_does_not_flap(
    tmp_path: Path, topic: str
) -> None:
    """It was up and down every 31 s."""
    (tmp_path / "config.toml").write_text(PLAIN)
    path = cut(
        tmp_path / "part.jsonl.gz", 70, 76,
        lambda record: wanted(record) and not record.topic.startswith(topic),
    )  # fmt: skip
    states = [
        event
        for event in Replay(load(tmp_path / "config.toml", {})).events([path])
        if isinstance(event, FeedState)
    ]
    assert {state.up for state in states} == {True}
    absent = {"tickers": {"price", "open_interest"}}.get(topic, set())
    assert not absent & {state.kind for state in states}
