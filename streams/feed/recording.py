"""Raw recordings of what venues sent: files of frames, written while listening, read to replay.

A recording is a file of JSON lines (gzip if its name ends in ``.gz``), one frame each::

    {"t": 1760126400000, "venue": "bybit", "channel": "ws:/v5/public/linear", "frame": "..."}

``t`` is the time of receipt in Ms. ``channel`` is ``ws:<path>``, ``http:<METHOD> <path?query>[
body]`` or ``meta`` (words about the recording, from no venue). A frame that is not UTF-8 stands in
``b64`` instead of ``frame``. ``topic`` names the subscription that brought the frame; without it
every client of the path gets the frame. ``opens`` true: a new subscriber of the topic needs this
frame and those after it (a book snapshot, or the change that a REST snapshot ends with).
"""

import base64
import gzip
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, Self, cast
from urllib.parse import urlsplit

import msgspec
import structlog

from streams.events import Ms
from streams.venue import Request

MAX_FRAME = 16 * 2**20
"""Bytes. No venue sends frames near this size; a longer one is a mistake or an attack."""

_MAX_LINE = 6 * MAX_FRAME + 4096  # JSON writes a control character as six
_FLUSH_EVERY_S = 1.0
_META = "meta"

_log = structlog.get_logger(__name__)


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """One frame as it was received. For the fields see the module."""

    t: Ms
    venue: str
    channel: str
    frame: bytes
    topic: str = ""
    opens: bool = False


class _Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    t: Ms
    venue: str
    channel: str
    topic: str = ""
    opens: bool = False
    frame: str | None = None
    b64: str | None = None


_line = msgspec.json.Decoder(_Line)


def encode(record: Recorded) -> bytes:
    """``record`` as a line of a recording. Raises ValueError if the frame is over MAX_FRAME."""
    if len(record.frame) > MAX_FRAME:
        raise ValueError(
            f"a frame of {record.venue} {record.channel[:100]} has {len(record.frame)} bytes:"
            f" recordings take at most {MAX_FRAME}"
        )
    text = record.frame.decode() if is_text(record.frame) else None
    line = _Line(
        t=record.t,
        venue=record.venue,
        channel=record.channel,
        topic=record.topic,
        opens=record.opens,
        frame=text,
        b64=base64.b64encode(record.frame).decode() if text is None else None,
    )
    return msgspec.json.encode(line) + b"\n"


def is_text(frame: bytes) -> bool:
    """Whether the frame is UTF-8; others travel as binary frames."""
    try:
        frame.decode()
    except UnicodeDecodeError:
        return False
    return True


def decode(line: bytes) -> Recorded:
    """The frame behind a line. Raises ValueError (msgspec's errors are such) if it is none."""
    read_line = _line.decode(line)
    if read_line.frame is not None:
        frame = read_line.frame.encode()
    elif read_line.b64 is not None:
        frame = base64.b64decode(read_line.b64, validate=True)
    else:
        raise ValueError("neither frame nor b64")
    if len(frame) > MAX_FRAME:
        raise ValueError(f"a frame of more than {MAX_FRAME} bytes")
    return Recorded(
        t=read_line.t,
        venue=read_line.venue,
        channel=read_line.channel,
        frame=frame,
        topic=read_line.topic,
        opens=read_line.opens,
    )


def socket_channel(path: str) -> str:
    """The channel of frames from a socket connected to ``path`` (its query is left out)."""
    return f"ws:{urlsplit(path).path}"


def request_channel(request: Request) -> str:
    """The channel of answers to ``request``."""
    if request.body is None:
        return f"http:GET {request.path}"
    return f"http:POST {request.path} {request.body.decode()}"


def read(path: Path) -> Iterator[Recorded]:
    """The frames of a recording in the order in which they were written, ``meta`` included.

    A recording that was cut short (a lost last line, a gzip without its end) gives all that is
    whole, then a warning in the log. Raises ValueError with file and line for any other damage.
    """
    with _opened(path) as file:
        for number, line in enumerate(_lines(file, path), start=1):
            try:
                yield decode(line)
            except ValueError as error:
                raise ValueError(f"{path}:{number} is not a recorded frame: {error}") from error


def replay(path: Path) -> Iterator[Recorded]:
    """The frames that venues sent, without ``meta``: what ``lowtide replay`` reads."""
    return (record for record in read(path) if record.channel != _META)


def _opened(path: Path, mode: Literal["rb", "ab"] = "rb") -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, mode) if path.suffix == ".gz" else path.open(mode))


def _lines(file: BinaryIO, path: Path) -> Iterator[bytes]:
    while True:
        try:
            line = file.readline(_MAX_LINE)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            _log.warning("recording cut short", file=str(path), reason=str(error))
            return
        if not line:
            return
        if not line.endswith(b"\n") and len(line) < _MAX_LINE:
            _log.warning("recording cut short", file=str(path), reason="last line is not whole")
            return
        yield line


class RecordingWriter:
    """Appends frames to a recording; at each frame, what is older than a second is on disk.

    Raises ValueError if ``path`` holds a recording that was cut short, since what came after the
    damage could not be read.
    """

    def __init__(self, path: Path) -> None:
        if path.exists() and not _is_whole(path):
            raise ValueError(f"{path} was cut short: record to a new file")
        self._file = _opened(path, "ab")
        self._flushed = time.monotonic()

    def write(self, record: Recorded) -> None:
        """Add a frame. Raises ValueError if it is over MAX_FRAME; then nothing was written."""
        self._file.write(encode(record))
        if time.monotonic() - self._flushed >= _FLUSH_EVERY_S:
            self._file.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        """Write what is left and close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_whole(path: Path) -> bool:
    end = b"\n"
    try:
        with _opened(path) as file:
            while part := file.read(2**20):
                end = part[-1:]
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return False
    return end == b"\n"
