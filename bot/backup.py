"""``lowtide backup`` and ``lowtide restore``: what Lowtide knows, in one file.

In it: what the rules have learned, what is open, what waits to be posted, subscriptions and
silences, and the configuration, to be read. Not in it: ``.env`` with its secrets, metric logs
(files that can be copied at any time), and the market's events but those that the rules have not
saved yet. It is taken in one step, while Lowtide runs or not.
"""

import asyncio
import io
import os
import tarfile
import tempfile
import zlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
from redis.asyncio import Redis

from bot import __version__
from streams.bus.connection import Keys, Snapshot, parsed
from streams.clock import wall_ms
from streams.events import Ms

FORMAT = 1
_STATE, _CONFIG = "state.msgpack", "configuration"
_LIMIT_S = 60.0
_TRANSIENT = ("status:", "lease:", "episodes", "standing")
"""What roles say of themselves and of this moment, and write anew within seconds."""

_AT_MOST = 1_000_000_000
"""Bytes of a state: a larger one is none of ours."""


class BackupError(Exception):
    """``str()`` says what is wrong and what to do."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is under one key of Redis: a text, a hash or a stream."""

    text: bytes | None = None
    fields: dict[bytes, bytes] = {}
    entries: list[tuple[bytes, dict[bytes, bytes]]] = []
    """With their ids."""
    left_ms: Ms | None = None
    """After so long it is deleted; None: never."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What Lowtide has in Redis, without what is of the moment."""

    format: int = FORMAT
    version: str
    """Of Lowtide."""
    at: Ms
    kept: dict[str, Kept]
    """By what follows the prefix in their keys."""


async def state_of(redis: Redis) -> State:
    """What there is to keep. Raises BackupError, and what means that Redis cannot be asked."""
    async with asyncio.timeout(_LIMIT_S):
        state = await _state(redis)
    if not state.kept:
        raise BackupError("there is nothing to keep: Lowtide has not run with this Redis")
    return state


def write_backup(path: Path, state: State, configuration: Sequence[Path]) -> None:
    """Write a backup, which only its owner can read. Raises BackupError."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            part = Path(file.name)
            try:
                with tarfile.open(fileobj=file, mode="w:gz") as tar:
                    _add(tar, _STATE, msgspec.msgpack.encode(state), state.at)
                    for written in configuration:
                        _add(tar, f"{_CONFIG}/{written.name}", written.read_bytes(), state.at)
                file.flush()
                os.fsync(file.fileno())
                _put(part, path)
            finally:
                part.unlink(missing_ok=True)
    except FileExistsError as error:
        raise BackupError(f"{path} is there already: name another file") from error
    except OSError as error:
        raise BackupError(f"cannot write {path}: {error.strerror}") from error


def _put(part: Path, path: Path) -> None:
    """Give ``part`` its name, and write over nothing. FileExistsError, OSError."""
    try:
        path.hardlink_to(part)
    except FileExistsError:
        raise
    except OSError:  # file systems of memory sticks and some networks know no links
        path.touch(exist_ok=False)
        part.replace(path)


def read_backup(path: Path) -> State:
    """What is in a backup. Raises BackupError."""
    try:
        with tarfile.open(path, mode="r:gz") as tar:
            member = tar.getmember(_STATE)
            if member.size > _AT_MOST or (file := tar.extractfile(member)) is None:
                raise KeyError(_STATE)
            data = file.read()
    except (tarfile.TarError, KeyError, EOFError, ValueError, zlib.error, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        if reason is not None:
            raise BackupError(f"cannot read {path}: {reason}") from error
        raise BackupError(f"{path} is no backup, or a part of one") from error
    try:
        state = msgspec.msgpack.decode(data, type=State)
    except msgspec.MsgspecError as error:
        raise BackupError(f"{path} is no backup that this version can read") from error
    if state.format > FORMAT:
        raise BackupError(f"{path} is of Lowtide {state.version}: install that version or a newer")
    return state


async def restore(redis: Redis, state: State, *, replace: bool = False) -> None:
    """Put ``state`` into Redis, all of it or nothing; ``replace``: in place of what is there.

    Raises BackupError, and what means that Redis cannot be asked.
    """
    async with asyncio.timeout(_LIMIT_S):
        names = await _names(redis)
        if any(name.startswith("lease:") for name in names):
            raise BackupError("Lowtide runs: stop it first")
        held = [name for name in names if not name.startswith(_TRANSIENT)]
        if held and not replace:
            raise BackupError(
                f"there are {len(held)} keys of a Lowtide already: with --replace they are"
                " deleted, and those of the backup take their place"
            )
        prefix = Keys().prefix
        pipe = redis.pipeline(transaction=True)
        if names:
            pipe.delete(*(f"{prefix}{name}" for name in names))
        for name, kept in state.kept.items():
            key = f"{prefix}{name}"
            if kept.text is not None:
                pipe.set(key, kept.text)
            if kept.fields:
                pipe.hset(key, mapping=cast("Any", kept.fields))
            for entry_id, fields in kept.entries:
                pipe.xadd(key, cast("Any", fields), id=entry_id.decode())
            if kept.left_ms is not None:
                pipe.pexpire(key, max(1, kept.left_ms))
        await pipe.execute()


def _add(tar: tarfile.TarFile, name: str, content: bytes, at: Ms) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(content), at // 1000, 0o600
    tar.addfile(entry, io.BytesIO(content))


async def _names(redis: Redis) -> list[str]:
    """What follows the prefix in the keys that are there."""
    prefix = Keys().prefix
    pattern = "".join(f"[{sign}]" if sign in "*?[]\\" else sign for sign in prefix) + "*"
    keys = cast("AsyncIterator[bytes]", redis.scan_iter(pattern, count=1_000))  # pyright: ignore[reportUnknownMemberType]
    return sorted({key.decode().removeprefix(prefix) async for key in keys})


async def _state(redis: Redis) -> State:
    """All that is kept, read in one transaction."""
    prefix = Keys().prefix
    pipe = redis.pipeline(transaction=True)
    read = {b"string": pipe.get, b"hash": pipe.hgetall, b"stream": pipe.xrange}
    field = {b"string": "text", b"hash": "fields", b"stream": "entries"}
    asked: list[tuple[str, str]] = []
    for name in await _names(redis):
        kind = cast("bytes", await redis.type(f"{prefix}{name}"))
        if kind in read and not name.startswith(_TRANSIENT):
            read[kind](f"{prefix}{name}")
            pipe.pttl(f"{prefix}{name}")
            asked.append((name, field[kind]))
    answers = await pipe.execute() if asked else []
    kept: dict[str, Kept] = {}
    for (name, place), value, left_ms in zip(asked, answers[::2], answers[1::2], strict=True):
        if value:  # else it went in between
            left = left_ms if left_ms >= 0 else None
            kept[name] = msgspec.structs.replace(Kept(left_ms=left), **{place: value})
    return State(version=__version__, at=wall_ms(), kept=_without_saved_events(kept))


def _without_saved_events(kept: dict[str, Kept]) -> dict[str, Kept]:
    """Without the events that the rules' saved state has in it."""
    events, saved = kept.get("events"), kept.get("snapshot:rules")
    if events is None or saved is None or saved.text is None:
        return kept
    try:
        cursor = parsed(msgspec.msgpack.decode(saved.text, type=Snapshot).cursor)
    except (msgspec.MsgspecError, ValueError):
        return kept
    left = [entry for entry in events.entries if parsed(entry[0]) > cursor]
    # the last one stays in any case: it keeps later ids growing
    return {**kept, "events": msgspec.structs.replace(events, entries=left or events.entries[-1:])}
