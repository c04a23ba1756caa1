import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import structlog
from redis.exceptions import RedisError

from bot.repair import explained
from streams.bus import embedded
from streams.bus.connection import connect
from streams.bus.embedded import CannotStart, Embedded

ROOT = Path(__file__).parents[3]

OWNER = """
import asyncio, sys
from pathlib import Path
from streams.bus.embedded import Embedded

async def main():
    server = Embedded(Path(sys.argv[1]), 8)
    await server.start()
    keeping = asyncio.create_task(server.keep())
    print(server._process.pid if server._process else 0, file=sys.stderr, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    keeping.cancel()
    await server.stop()

asyncio.run(main())
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Callable[..., Embedded]]:
    servers: list[Embedded] = []

    def make(folder: Path = tmp_path / "data") -> Embedded:
        servers.append(Embedded(folder, 8))
        return servers[-1]

    yield make
    for owner in servers:
        await owner.stop()


async def owner(folder: Path) -> tuple[asyncio.subprocess.Process, int]:
    """A process of its own with a server; its id."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(folder), cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    return process, int(await process.stderr.readline())


async def put(url: str, key: str, value: str) -> None:
    client = connect(url, "test")
    await client.set(key, value)
    await client.aclose()


async def got(url: str, key: str) -> bytes | None:
    client = connect(url, "test")
    try:
        return await client.get(key)
    finally:
        await client.aclose()


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(30):
        while alive(pid):
            await asyncio.sleep(0.01)


def damaged(folder: Path) -> list[Path]:
    """What was set aside."""
    return [*(folder / "data").glob(f"{embedded.AOF}.{embedded.ASIDE}-*")]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def until_answer(url: str, key: str) -> bytes | None:
    for _ in range(300):
        with contextlib.suppress(RedisError):
            return await got(url, key)
        await asyncio.sleep(0.01)
    raise AssertionError("no answer")


async def test_starts_keeps_and_stops(server: Callable[..., Embedded], tmp_path: Path) -> None:
    first = server()
    await first.start()
    await put(first.url, "a", "1")
    assert (tmp_path / "data" / "redis.sock").stat().st_mode & 0o777 == 0o700
    process = first._process
    await first.stop()
    assert process is not None and process.returncode == 0  # it ended by itself
    again = server()
    await again.start()
    assert await got(again.url, "a") == b"1"


async def test_a_killed_server_is_started_again(server: Callable[..., Embedded]) -> None:
    mine = server()
    await mine.start()
    await put(mine.url, "a", "1")
    keeping = asyncio.create_task(mine.keep())
    assert mine._process is not None
    os.kill(mine._process.pid, signal.SIGKILL)
    await mine._process.wait()
    assert await until_answer(mine.url, "a") == b"1"
    assert not keeping.done()
    keeping.cancel()


async def test_ends_with_its_killed_parent_and_loses_nothing(
    server: Callable[..., Embedded], tmp_path: Path
) -> None:
    process, pid = await owner(tmp_path / "data")
    mine = server()
    await put(mine.url, "a", "1")
    process.kill()
    await process.wait()
    await until_gone(pid)
    await mine.start()
    assert await got(mine.url, "a") == b"1"


async def test_a_second_process_joins_and_takes_over(
    server: Callable[..., Embedded], tmp_path: Path
) -> None:
    process, pid = await owner(tmp_path / "data")
    mine = server()
    await mine.start()
    assert mine._process is None
    await put(mine.url, "a", "1")
    keeping = asyncio.create_task(mine.keep())
    process.kill()
    await process.wait()
    await until_gone(pid)
    assert await until_answer(mine.url, "a") == b"1"
    assert mine._process is not None
    keeping.cancel()


def orphaned(owner: Embedded) -> asyncio.subprocess.Process:
    """Its server, as if we who started it were gone."""
    assert owner._lock is not None and owner._process is not None
    os.close(owner._lock)
    process, owner._lock, owner._process = owner._process, None, None
    return process


async def test_no_second_server_while_the_first_still_writes(
    server: Callable[..., Embedded],
) -> None:
    first, second = server(), server()
    await first.start()
    ending = orphaned(first)
    assert not second._locked()
    ending.terminate()
    await ending.wait()
    assert second._locked()


async def test_started_while_the_last_server_ends(server: Callable[..., Embedded]) -> None:
    first, second = server(), server()
    await first.start()
    await put(first.url, "a", "1")
    ending = orphaned(first)
    first._socket.unlink()  # the first thing that an ending server does
    starting = asyncio.create_task(second.start())
    await asyncio.sleep(0.2)
    assert not starting.done()
    ending.terminate()
    await asyncio.wait_for(starting, 2)
    assert second._process is not None
    assert await got(second.url, "a") == b"1"


async def test_two_started_at_once_share_one_server(server: Callable[..., Embedded]) -> None:
    first, second = server(), server()
    await asyncio.gather(first.start(), second.start())
    assert (first._process is None) != (second._process is None)
    await put(first.url, "a", "1")
    assert await got(second.url, "a") == b"1"


async def test_long_paths_and_leftover_sockets(
    server: Callable[..., Embedded], tmp_path: Path
) -> None:
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    mine = server(deep)
    assert len(mine.url) < 100
    await mine.start()
    await put(mine.url, "a", "1")
    await mine.stop()
    Path(mine.url.removeprefix("unix://")).touch()  # as after a power cut
    await mine.start()
    assert await got(mine.url, "a") == b"1"


async def test_a_file_cut_short_costs_only_its_end(
    server: Callable[..., Embedded], tmp_path: Path
) -> None:
    mine = server()
    await mine.start()
    for n in range(50):
        await put(mine.url, f"k{n}", "x" * 100)
    await mine.stop()
    (aof,) = (tmp_path / "data" / "appendonlydir").glob("*.incr.aof")
    aof.write_bytes(aof.read_bytes()[:-40])
    await mine.start()
    assert await got(mine.url, "k48") == b"x" * 100
    assert await got(mine.url, "k49") is None


async def test_no_binary(
    server: Callable[..., Embedded], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    words = "no Redis server found: set REDIS_URL, or install valkey-server or redis-server"
    with pytest.raises(CannotStart, match=f"^{words}$"):
        await server().start()
    elsewhere = tmp_path / "redis-server"
    elsewhere.write_text("#!/bin/sh\n")
    elsewhere.chmod(0o755)
    assert embedded._binary() == str(elsewhere)


async def test_a_folder_that_cannot_be_written(
    server: Callable[..., Embedded], tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(CannotStart) as error:
        await server().start()
    assert str(error.value) == (
        f"cannot write to {tmp_path / 'data'} (File exists): make it writable, or set "
        "redis.data_dir in the configuration"
    )


REFUSALS = (
    b"-MISCONF Errors writing to the AOF file: No space left on device\r\n",
    b"-ERR anything else\r\n",
)


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_server_that_refuses_every_command_is_joined(
    refusal: bytes, server: Callable[..., Embedded], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does whose disk is full, PING too: roles then say so, and try until there is room."""
    monkeypatch.setattr(embedded, "_START_TIMEOUT_S", 5.0)
    holder, mine = server(), server()
    assert holder._locked()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while command := await reader.readline():
            for _ in range(2 * int(command[1:])):
                await reader.readline()
            writer.write(refusal)

    async with await asyncio.start_unix_server(refuse, holder._socket):
        await mine.start()
        assert mine._process is None


async def test_a_lock_without_a_server_is_said(
    server: Callable[..., Embedded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_START_TIMEOUT_S", 0.1)
    holder = server()
    assert holder._locked()
    with pytest.raises(CannotStart, match=r"end the process that holds its \.lock file"):
        await server().start()


async def test_trouble_while_it_runs_is_said_and_retried(
    server: Callable[..., Embedded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_LOOK_S", 0.02)
    mine = server()
    await mine.start()
    await put(mine.url, "a", "1")
    binary = embedded._binary
    monkeypatch.setattr(embedded, "_binary", lambda: str(tmp_path / "gone"))
    with structlog.testing.capture_logs() as logs:
        keeping = asyncio.create_task(mine.keep())
        assert mine._process is not None
        mine._process.kill()
        async with asyncio.timeout(10):
            while "Valkey did not start: " not in str(logs):
                await asyncio.sleep(0.01)
        monkeypatch.setattr(embedded, "_binary", binary)
        assert await until_answer(mine.url, "a") == b"1"
    keeping.cancel()


def spoil_commands(folder: Path) -> None:
    """Rubbish where a command begins, in the middle of the file."""
    (file,) = folder.glob("*.incr.aof")
    data = file.read_bytes()
    middle = data.index(b"*", len(data) // 2)
    file.write_bytes(data[:middle] + b"rubbish\r\n" + data[middle:])


def spoil_manifest(folder: Path) -> None:
    (folder / "appendonly.aof.manifest").write_bytes(b"rubbish")


def spoil_base(folder: Path) -> None:
    (file,) = folder.glob("*.base.rdb")
    file.write_bytes(b"REDIS0011\xff rubbish" + bytes(100))


def empty_manifest(folder: Path) -> None:
    (folder / "appendonly.aof.manifest").write_bytes(b"")


def strange_manifest(folder: Path) -> None:
    (folder / "appendonly.aof.manifest").write_bytes(b"file a seq b type c\n")


def no_manifest(folder: Path) -> None:
    (folder / "appendonly.aof.manifest").unlink()


def no_commands(folder: Path) -> None:
    (file,) = folder.glob("*.incr.aof")
    file.unlink()


def no_base(folder: Path) -> None:
    (file,) = folder.glob("*.base.rdb")
    file.unlink()


def commands_are_a_folder(folder: Path) -> None:
    no_commands(folder)
    (folder / "appendonly.aof.1.incr.aof").mkdir()


def cut_base(folder: Path) -> None:
    (file,) = folder.glob("*.base.rdb")
    file.write_bytes(file.read_bytes()[:20])


@pytest.mark.parametrize(
    "spoil",
    [spoil_commands, spoil_manifest, spoil_base, empty_manifest, strange_manifest, no_manifest,
     no_commands, no_base, commands_are_a_folder, cut_base],
)  # fmt: skip
async def test_a_damaged_file_is_set_aside_and_a_new_one_begun(
    server: Callable[..., Embedded], tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    first = server()
    await first.start()
    for n in range(20):
        await put(first.url, f"key{n}", "x" * 100)
    await first.stop()
    spoil(tmp_path / "data" / "appendonlydir")
    again = server()
    with structlog.testing.capture_logs() as logs:
        await again.start()
    events = [entry["event"] for entry in logs]
    assert sum("it is damaged" in event for event in events) == embedded._TRIES
    assert any("`lowtide repair`" in event for event in events)
    (aside,) = damaged(tmp_path)
    assert [*aside.iterdir()]
    assert await got(again.url, "key1") is None
    await put(again.url, "key1", "new")
    await again.stop()
    assert aside.name in again.lost
    third = server()
    await third.start()
    assert third.lost == ""
    assert damaged(tmp_path) == [aside]
    assert await got(third.url, "key1") == b"new"
    code, text = explained(tmp_path / "data")
    assert code == 1
    assert str(aside) in text
    assert "valkey-check-aof --fix" in text


@pytest.mark.parametrize("wrong", [("--save", "rubbish"), ("--unixsocket", "/nowhere/at/all")])
async def test_a_server_that_starts_without_its_file_no_more_than_with_it_keeps_the_file(
    server: Callable[..., Embedded],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: tuple[str, str],
) -> None:
    first = server()
    await first.start()
    await put(first.url, "a", "1")
    await first.stop()
    command = embedded._command
    with monkeypatch.context() as broken:
        broken.setattr(embedded, "_command", lambda *a: [*command(*a), *wrong])
        second = server()
        with pytest.raises(CannotStart, match="did not start"):
            await second.start()
        await second.stop()
    assert sorted(path.name for path in (tmp_path / "data").glob("appendonlydir*")) == [
        "appendonlydir"
    ]
    again = server()
    await again.start()
    assert again.lost == ""
    assert await got(again.url, "a") == b"1"


@pytest.mark.parametrize("bytes_gone", [1, 5, 20])
async def test_a_file_that_ends_too_soon_costs_its_end_alone(
    server: Callable[..., Embedded], tmp_path: Path, bytes_gone: int
) -> None:
    first = server()
    await first.start()
    await put(first.url, "a", "1")
    await put(first.url, "b", "2")
    await first.stop()
    (file,) = (tmp_path / "data" / "appendonlydir").glob("*.incr.aof")
    whole = file.stat().st_size
    file.write_bytes(file.read_bytes()[:-bytes_gone])
    again = server()
    with structlog.testing.capture_logs() as logs:
        await again.start()
    assert damaged(tmp_path) == []
    left = file.stat().st_size
    assert again.lost == (
        f"its file was cut off: the last {whole - bytes_gone - left:,} bytes are no whole command"
        " and are gone"
    )
    assert [again.lost in entry["event"] for entry in logs].count(True) == 1
    assert await got(again.url, "a") == b"1"
    code, text = explained(tmp_path / "data")
    assert code == 0
    assert "apart from its end:\n" in text
    assert f"(local time): from byte {left:,} on\n" in text


@pytest.mark.parametrize("written", [30, 3_000])
async def test_what_was_cut_off_is_counted_though_somebody_writes_at_once(
    server: Callable[..., Embedded],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    written: int,
) -> None:
    first = server()
    await first.start()
    await put(first.url, "a", "1")
    await first.stop()
    (file,) = (tmp_path / "data" / "appendonlydir").glob("*.incr.aof")
    whole = file.read_bytes()
    file.write_bytes(whole + b"*3\r\n$3\r\nSET")
    again = server()
    answers = again._until_it_answers

    async def written_to(or_ours: bool = False) -> bool:
        answered = await answers(or_ours)
        if answered:
            await put(again.url, "b", "x" * written)
        return answered

    monkeypatch.setattr(again, "_until_it_answers", written_to)
    await again.start()
    assert again.lost.startswith("its file was cut off: the last 11 bytes are no whole command")


@pytest.mark.parametrize("sign", ["log", "disk"])
async def test_a_full_disk_at_start_says_so(
    server: Callable[..., Embedded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sign: str
) -> None:
    line = "No space left on device" if sign == "log" else "something else"
    fake = tmp_path / "valkey-server"
    fake.write_text(f'#!/bin/sh\necho "cannot open: {line}" > {tmp_path}/data/valkey.log\nexit 1\n')
    fake.chmod(0o755)
    monkeypatch.setattr(embedded, "_binary", lambda: str(fake))
    if sign == "disk":
        monkeypatch.setattr(embedded, "_LEAST_FREE", 1 << 60)
    with pytest.raises(CannotStart, match=r"the disk of .* is full .* make room"):
        await server().start()


async def test_what_an_earlier_life_has_logged_is_no_reason(
    server: Callable[..., Embedded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "valkey.log").write_text("No space left on device\nBad file format\n")
    fake = tmp_path / "valkey-server"
    fake.write_text(f'#!/bin/sh\necho "bad option" >> {tmp_path}/data/valkey.log\nexit 1\n')
    fake.chmod(0o755)
    monkeypatch.setattr(embedded, "_binary", lambda: str(fake))
    with pytest.raises(CannotStart, match=r"did not start in .*: bad option"):
        await server().start()
