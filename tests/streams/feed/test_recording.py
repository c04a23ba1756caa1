import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.feed.recording import (
    MAX_FRAME,
    Recorded,
    RecordingWriter,
    decode,
    encode,
    read,
    replay,
    request_channel,
    socket_channel,
)
from streams.venue import Request

FRAMES = [
    Recorded(t=1, venue="", channel="meta", frame=b"words"),
    Recorded(
        t=2, venue="bybit", channel="ws:/v5", frame=b'{"a":"\xc3\xa9"}', topic="x", opens=True
    ),
    Recorded(t=3, venue="bybit", channel="ws:/v5", frame=b"\xff\x00 not text"),
    Recorded(t=4, venue="binance", channel="http:GET /fapi?b=1", frame=b""),
]


def record(path: Path, frames: list[Recorded]) -> Path:
    with RecordingWriter(path) as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_what_was_written_is_read_also_over_two_runs(tmp_path: Path, name: str) -> None:
    record(tmp_path / name, FRAMES[:2])
    path = record(tmp_path / name, FRAMES[2:])
    assert list(read(path)) == FRAMES
    assert list(replay(path)) == FRAMES[1:]


@given(
    st.builds(
        Recorded,
        t=st.integers(0, 2**53),
        venue=st.text(max_size=5),
        channel=st.text(max_size=5),
        frame=st.binary(max_size=50) | st.text(max_size=20).map(lambda text: text.encode()),
        topic=st.text(max_size=5),
        opens=st.booleans(),
    )
)
def test_a_line_says_everything(record: Recorded) -> None:
    line = encode(record)
    assert decode(line) == record
    assert line.count(b"\n") == 1 and line.endswith(b"\n")


def test_text_frames_are_readable_and_others_base64() -> None:
    assert b'"frame":"' in encode(FRAMES[1]) and b"b64" not in encode(FRAMES[1])
    assert b'"b64":"' in encode(FRAMES[2]) and b'"frame"' not in encode(FRAMES[2])


def test_gzip_without_its_end_gives_what_is_whole(tmp_path: Path) -> None:
    many = [FRAMES[1]] * 5_000 + FRAMES
    data = record(tmp_path / "whole.jsonl.gz", many).read_bytes()
    cut = tmp_path / "cut.jsonl.gz"
    for size in (len(data) - 1, len(data) - 9, len(data) // 2, 5, 0):
        cut.write_bytes(data[:size])
        got = list(read(cut))
        assert got == many[: len(got)]
        assert size < len(data) // 2 or len(got) > 1_000


def test_gzip_whose_tail_is_rubbish_gives_what_is_before(tmp_path: Path) -> None:
    path = record(tmp_path / "a.jsonl.gz", FRAMES)
    path.write_bytes(path.read_bytes() + b"rubbish")
    assert list(read(path)) == FRAMES


def test_truncated_last_line_is_left_out_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = record(tmp_path / "a.jsonl", FRAMES)
    path.write_bytes(path.read_bytes()[:-3])
    assert list(read(path)) == FRAMES[:-1]
    assert "recording cut short" in capsys.readouterr().out


def test_damage_in_the_middle_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(encode(FRAMES[0]) + b'{"t": 1}\n' + encode(FRAMES[1]))
    with pytest.raises(ValueError, match=r"a\.jsonl:2 is not a recorded frame"):
        list(read(path))


def test_nothing_is_appended_behind_damage(tmp_path: Path) -> None:
    path = record(tmp_path / "a.jsonl.gz", FRAMES)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="record to a new file"):
        RecordingWriter(path)


def test_frames_are_on_disk_after_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((0.0, 0.5, 1.2, 1.2))
    monkeypatch.setattr("streams.feed.recording.time.monotonic", lambda: next(clock))
    path = tmp_path / "a.jsonl.gz"
    writer = RecordingWriter(path)
    writer.write(FRAMES[0])
    assert list(read(path)) == []
    writer.write(FRAMES[1])
    assert list(read(path)) == FRAMES[:2]
    writer.close()


def test_huge_frames_are_refused(tmp_path: Path) -> None:
    frame = Recorded(t=1, venue="bybit", channel="ws:/v5", frame=b"x" * (MAX_FRAME + 1))
    with (
        RecordingWriter(tmp_path / "a.jsonl") as writer,
        pytest.raises(ValueError, match="at most"),
    ):
        writer.write(frame)
    path = tmp_path / "b.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"t":1,"venue":"","channel":"","frame":"' + b"x" * 2**24))
    assert list(read(path)) == []
    path.write_bytes(gzip.compress(b'{"t":1,"venue":"","channel":"","frame":"%b"}\n' % frame.frame))
    with pytest.raises(ValueError, match="more than"):
        list(read(path))


def test_channels() -> None:
    assert socket_channel("/market/stream?streams=!a/b") == "ws:/market/stream"
    assert request_channel(Request(path="/x?y=1")) == "http:GET /x?y=1"
    assert request_channel(Request(path="/info", body=b'{"a":1}')) == 'http:POST /info {"a":1}'
