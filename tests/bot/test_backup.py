"""A backup of a running Lowtide, and a Lowtide that begins from it."""

import gzip
import io
import stat
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis

from bot import backup
from bot.backup import (
    BackupError,
    Kept,
    State,
    read_backup,
    restore,
    state_of,
    write_backup,
)
from streams.bus.connection import Keys, Snapshot
from tests.bot.fake_updates import CHANNEL, OPERATORS
from tests.seams.system import System

KEYS = Keys()
CONFIG = (
    f'[channel]\nchat_id = "@lowtide"\n[operators]\nchat_id = {OPERATORS}\nusers = [11]\n'
    'commands = "everyone"\n'
)


async def contents(redis: Redis) -> dict[bytes, object]:
    """Everything in Redis, by key."""
    values: dict[bytes, object] = {}
    async for key in redis.scan_iter():
        match await redis.type(key):
            case b"hash":
                values[key] = await redis.hgetall(key)
            case b"stream":
                values[key] = await redis.xrange(key)
            case _:
                values[key] = await redis.get(key)
    return values


@pytest.fixture
async def filled(redis: Redis) -> AsyncIterator[Redis]:
    """What roles keep, and what they do not."""
    await redis.set(KEYS.bookmark("rules"), b"20-0")
    saved = msgspec.msgpack.encode(Snapshot(cursor="20-0", state=b"\x00\xff state"))
    await redis.set(KEYS.snapshot("rules"), saved)
    await redis.set(KEYS.snapshot("old"), b"set aside", px=600_000)
    await redis.hset(KEYS.outbox, mapping={"owner": "me", "plan -1": b"\x80"})
    for number in (10, 20, 30, 31):
        await redis.xadd(KEYS.events, {"e": str(number)}, id=f"{number}-0")
    await redis.xadd(KEYS.alerts, {"a": b"alert"}, id="15-0")
    await redis.set(f"{KEYS.status}:rules", b"{}", px=30_000)
    await redis.set(KEYS.lease("rules"), b"me")
    await redis.set("of somebody else", b"stays")
    yield redis


async def test_what_was_kept_comes_back_as_it_was(filled: Redis, tmp_path: Path) -> None:
    path = tmp_path / "b.tar.gz"
    state = await state_of(filled)
    write_backup(path, state, [])
    assert read_backup(path) == state
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = await contents(filled)
    await filled.flushall()
    await filled.set("of somebody else", b"stays")
    await restore(filled, read_backup(path))
    after = await contents(filled)
    for key in (f"{KEYS.status}:rules", KEYS.lease("rules")):
        del before[key.encode()]
    before[KEYS.events.encode()] = before[KEYS.events.encode()][2:]  # what the rules had saved
    assert after == before
    assert 590_000 < await filled.pttl(KEYS.snapshot("old")) <= 600_000
    assert await filled.pttl(KEYS.outbox) == -1


async def test_without_saved_rules_all_events_are_kept_and_with_all_the_last(
    filled: Redis,
) -> None:
    def events(state: State) -> list[bytes]:
        return [entry_id for entry_id, _ in state.kept["events"].entries]

    await filled.set(KEYS.snapshot("rules"), b"of another version")
    state = await state_of(filled)
    assert events(state) == [
        b"10-0",
        b"20-0",
        b"30-0",
        b"31-0",
    ]
    saved = msgspec.msgpack.encode(Snapshot(cursor="31-0", state=b""))
    await filled.set(KEYS.snapshot("rules"), saved)
    state = await state_of(filled)
    assert events(state) == [b"31-0"]


async def test_a_running_lowtide_and_what_is_there_are_left_alone(
    filled: Redis,
) -> None:
    state = await state_of(filled)
    before = await contents(filled)
    with pytest.raises(BackupError, match="Lowtide runs: stop it first"):
        await restore(filled, state, replace=True)
    await filled.delete(KEYS.lease("rules"))
    with pytest.raises(BackupError, match="there are 6 keys of a Lowtide already: with --replace"):
        await restore(filled, state)
    assert (await contents(filled)).keys() == before.keys() - {KEYS.lease("rules").encode()}
    await filled.hset(KEYS.outbox, "post 1", b"later")
    await restore(filled, state, replace=True)
    assert await filled.hgetall(KEYS.outbox) == {b"owner": b"me", b"plan -1": b"\x80"}


async def test_nothing_is_kept_where_there_is_nothing(redis: Redis) -> None:
    with pytest.raises(BackupError, match="nothing to keep"):
        await state_of(redis)


STATE = State(version="1", at=1, kept={"bookmark:bot": Kept(text=b"1-0")})


def test_nothing_is_written_over_and_nothing_half_written_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b").write_text("mine")
    with pytest.raises(BackupError, match="is there already: name another file"):
        write_backup(tmp_path / "b", STATE, [])
    with pytest.raises(BackupError, match=r"cannot write .*No such file"):
        write_backup(tmp_path / "no" / "b", STATE, [])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup.os, "fsync", full)
    with pytest.raises(BackupError, match=r"cannot write .*No space left on device"):
        write_backup(tmp_path / "c", STATE, [])
    assert (tmp_path / "b").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_where_files_have_no_second_name_a_backup_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a memory stick."""

    def forbidden(path: Path, _: Path) -> None:
        if path.exists():
            raise FileExistsError(17, "File exists")
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", forbidden)
    write_backup(tmp_path / "b", STATE, [])
    assert read_backup(tmp_path / "b") == STATE
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600
    with pytest.raises(BackupError, match="is there already: name another file"):
        write_backup(tmp_path / "b", STATE, [])
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def tar(**members: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as file:
        for name, content in members.items():
            entry = tarfile.TarInfo(name.replace("_", "."))
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return out.getvalue()


NEWER = msgspec.msgpack.encode(State(format=99, version="9.0", at=1, kept={}))
WHOLE = tar(
    state_msgpack=msgspec.msgpack.encode(
        State(version="1", at=1, kept={"x": Kept(text=b"1" * 90_000)})
    )
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no backup"),
        (b"rubbish", "is no backup"),
        (gzip.compress(b"rubbish"), "is no backup"),
        (tar(other=b"x"), "is no backup"),
        (tar(state_msgpack=b"\xc1"), "that this version can read"),
        (tar(state_msgpack=msgspec.msgpack.encode({"format": 1})), "that this version can read"),
        (tar(state_msgpack=NEWER), "is of Lowtide 9.0: install that version or a newer"),
        (WHOLE[: len(WHOLE) // 2], "is no backup"),
        (WHOLE[:40] + bytes([WHOLE[40] ^ 255]) + WHOLE[41:], "is no backup"),
    ],
    ids=[
        "empty", "no archive", "a compressed text", "another archive", "no state", "half a state",
        "newer", "cut off", "damaged",
    ],
)  # fmt: skip
def test_what_is_no_backup_is_said(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "b").write_bytes(content)
    with pytest.raises(BackupError, match=words):
        read_backup(tmp_path / "b")


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=r"cannot read .*No such file"):
        read_backup(tmp_path / "b")


async def test_what_is_open_goes_on_from_a_backup_without_a_second_post(tmp_path: Path) -> None:
    """Taken while it runs; everything of Redis lost; and begun again."""
    async with System(tmp_path, CONFIG) as system:
        await system.start()
        system.telegram.say("/subscribe liq ETH", user=12)
        await system.liquidate("BTCUSDT", 6e6)
        await system.until(lambda: [s for s in system.telegram.sent if s.chat == CHANNEL])
        await system.until(lambda: [s for s in system.telegram.sent if s.chat == 12])
        kept = str(tmp_path / "kept.tar.gz")
        code, text = await system.command("backup", kept)
        assert code == 0 and text.startswith(f"{kept} has what Lowtide ")
        await system.stop()
        for path in sorted((tmp_path / "data").rglob("*"), reverse=True):
            path.unlink() if not path.is_dir() else path.rmdir()
        code, text = await system.command("restore", kept)
        assert (code, text[:25]) == (0, "Redis has now what Lowtid")
        code, text = await system.command("restore", kept)
        assert code == 1 and "with --replace" in text
        await system.start()
        await system.liquidate("ETHUSDT", 6e6)
        await system.until(
            lambda: [s for s in system.telegram.sent if "ETH liq" in s.text and s.chat == 12]
        )
        posts = [s.first for s in system.telegram.sent if s.chat == CHANNEL]
    assert len([post for post in posts if "BTC liquidations" in post]) == 1
    with tarfile.open(kept) as file:
        assert file.getnames() == ["state.msgpack", "configuration/config.toml"]
