"""Files of an archive from a local server that does what servers do; nothing is here half."""

import hashlib
import io
import zipfile
from pathlib import Path

import pytest
from aiohttp import web

from bot.history import download
from bot.history.download import Archive, ArchiveStopped, Fetched, NotFetched
from bot.history.files import ArchiveFile
from streams.proxies import proxies
from tests import proxy
from tests.bot.history.archive_server import Answer, Server, content, file_of


class Clock:
    """A clock that ``sleep`` moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


async def fetched(server: Server, folder: Path, file: ArchiveFile, clock: Clock | None = None):
    clock = clock or Clock()
    async with Archive(server.url, folder, now=clock, sleep=clock.sleep) as archive:
        return await archive.fetch(file)


async def refusal_of(server: Server, folder: Path, file: ArchiveFile) -> str:
    with pytest.raises(NotFetched) as error:
        await fetched(server, folder, file)
    assert str(error.value).startswith(f"{file.name}: ")
    return str(error.value).removeprefix(f"{file.name}: ")


def whole(folder: Path) -> list[str]:
    """Names of what is there, whatever it is."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


async def test_a_file_comes_once_and_is_kept(server: Server, tmp_path: Path):
    file = file_of()
    data = server.put(file, content())
    assert await fetched(server, tmp_path, file) is Fetched.NEW
    assert (tmp_path / file.path).read_bytes() == data and whole(tmp_path) == [file.name]
    assert await fetched(server, tmp_path, file) is Fetched.KEPT
    assert [path for path, _ in server.asked].count(file.path) == 1


async def test_what_is_not_there_is_absent_and_leaves_nothing(server: Server, tmp_path: Path):
    assert await fetched(server, tmp_path, file_of()) is Fetched.ABSENT
    file = file_of()
    server.put(file, content())

    async def listed_only(request: web.Request) -> web.StreamResponse | None:
        return None if request.path.endswith(".CHECKSUM") else web.Response(status=404)

    server.before = listed_only
    assert await fetched(server, tmp_path, file) is Fetched.ABSENT
    assert whole(tmp_path) == []


async def test_a_file_that_changed_on_the_server_is_got_again(server: Server, tmp_path: Path):
    file = file_of()
    server.put(file, content())
    await fetched(server, tmp_path, file)
    data = server.put(file, content(size=90_000))
    assert await fetched(server, tmp_path, file) is Fetched.CHANGED
    assert (tmp_path / file.path).read_bytes() == data
    (tmp_path / file.path).write_bytes(data[:-1])  # damaged here: the same
    assert await fetched(server, tmp_path, file) is Fetched.CHANGED
    assert whole(tmp_path) == [file.name]


async def test_a_wrong_checksum_is_a_sentence_and_the_old_file_stays(
    server: Server, tmp_path: Path
):
    file = file_of()
    server.put(file, content())
    await fetched(server, tmp_path, file)
    old = (tmp_path / file.path).read_bytes()
    server.checksums[file.path] = "0" * 64
    assert await refusal_of(server, tmp_path, file) == (
        "what came does not have the checksum that the archive names, and was thrown away: run it"
        " again later"
    )
    assert whole(tmp_path) == [file.name] and (tmp_path / file.path).read_bytes() == old


@pytest.mark.parametrize(
    "words", ["", "no", "0" * 64, f"{'0' * 64}  other.zip", "<html>" + "x" * 9_000]
)
async def test_what_is_no_checksum_is_refused(server: Server, tmp_path: Path, words: str):
    file = file_of()
    server.put(file, content())

    async def nonsense(request: web.Request) -> web.StreamResponse | None:
        return web.Response(text=words) if request.path.endswith(".CHECKSUM") else None

    server.before = nonsense
    assert await refusal_of(server, tmp_path, file) == "its checksum file is not one"
    assert whole(tmp_path) == []


def cutting(server: Server, file: ArchiveFile, times: int) -> Answer:
    """Cuts the first ``times`` transfers off in the middle of what is asked for."""
    left = [times]

    async def cut(request: web.Request) -> web.StreamResponse | None:
        if request.path.endswith(".CHECKSUM") or not left[0]:
            return None
        left[0] -= 1
        begin = request.headers.get("Range", "bytes=0-")
        first = int(begin.removeprefix("bytes=").removesuffix("-"))
        data = server.files[file.path][first:]
        headers = {"Content-Length": str(len(data))}
        if first:
            total = len(server.files[file.path])
            headers["Content-Range"] = f"bytes {first}-{total - 1}/{total}"
        answer = web.StreamResponse(status=206 if first else 200, headers=headers)
        await answer.prepare(request)
        await answer.write(data[: len(data) // 3])
        assert request.transport is not None
        request.transport.close()
        return answer

    return cut


async def test_a_transfer_that_breaks_off_is_continued(server: Server, tmp_path: Path):
    file = file_of()
    data = server.put(file, content())
    server.before = cutting(server, file, 2)
    assert await fetched(server, tmp_path, file) is Fetched.NEW
    assert (tmp_path / file.path).read_bytes() == data
    begins = [int(r[6:-1]) for path, r in server.asked if path == file.path and r]
    assert len(begins) == 2 and 0 < begins[0] < begins[1] < len(data)


async def test_the_next_run_goes_on_where_this_one_ended(server: Server, tmp_path: Path):
    file = file_of()
    data = server.put(file, content())
    server.before = cutting(server, file, 4)
    words = await refusal_of(server, tmp_path, file)
    assert words.startswith("the transfer broke off after ")
    assert words.endswith(" bytes, which are kept: run it again to go on")
    [part] = whole(tmp_path)
    assert part.startswith(f".{file.name}.") and part.endswith(".part")
    size = next(tmp_path.rglob("*.part")).stat().st_size
    server.asked.clear()
    assert await fetched(server, tmp_path, file) is Fetched.NEW
    assert server.asked[1] == (file.path, f"bytes={size}-")
    assert (tmp_path / file.path).read_bytes() == data and whole(tmp_path) == [file.name]


async def test_what_came_of_another_version_is_never_continued(server: Server, tmp_path: Path):
    file = file_of()
    server.put(file, content())
    server.before = cutting(server, file, 4)
    await refusal_of(server, tmp_path, file)
    data = server.put(file, content(size=150_000))
    server.before = None
    server.asked.clear()
    assert await fetched(server, tmp_path, file) is Fetched.NEW
    assert [begin for _, begin in server.asked] == ["", ""]
    assert (tmp_path / file.path).read_bytes() == data and whole(tmp_path) == [file.name]


async def test_a_part_that_is_damaged_is_got_anew(server: Server, tmp_path: Path):
    file = file_of()
    data = server.put(file, content())
    server.before = cutting(server, file, 4)
    await refusal_of(server, tmp_path, file)
    part = next(tmp_path.rglob("*.part"))
    part.write_bytes(b"x" * part.stat().st_size)
    assert await fetched(server, tmp_path, file) is Fetched.NEW
    assert (tmp_path / file.path).read_bytes() == data
    server.before = None
    (tmp_path / file.path).unlink()
    digest = hashlib.sha256(data).hexdigest()[:16]
    longer = (tmp_path / file.path).with_name(f".{file.name}.{digest}.part")
    longer.write_bytes(data + b"more")  # longer than the file: 416
    assert await fetched(server, tmp_path, file) is Fetched.NEW
    longer.write_bytes(data)  # whole, but not named yet
    (tmp_path / file.path).unlink()
    assert await fetched(server, tmp_path, file) is Fetched.NEW
    assert whole(tmp_path) == [file.name]


async def test_a_server_without_ranges_sends_it_from_the_beginning(server: Server, tmp_path: Path):
    file = file_of()
    data = server.put(file, content())
    server.before = cutting(server, file, 1)
    cut = server.before

    async def no_ranges(request: web.Request) -> web.StreamResponse | None:
        if (answer := await cut(request)) is not None or request.path.endswith(".CHECKSUM"):
            return answer
        return web.Response(body=data)

    server.before = no_ranges
    assert await fetched(server, tmp_path, file) is Fetched.NEW
    assert (tmp_path / file.path).read_bytes() == data


async def test_a_file_that_changes_while_it_comes_is_the_new_one(server: Server, tmp_path: Path):
    file = file_of()
    server.put(file, content())
    data = content(size=60_000)

    async def change(request: web.Request) -> web.StreamResponse | None:
        if not request.path.endswith(".CHECKSUM"):
            server.put(file, data)
        return None

    server.before = change
    assert await fetched(server, tmp_path, file) is Fetched.NEW
    assert (tmp_path / file.path).read_bytes() == data


ZIPS = {
    "no zip": (b"<html>not found</html>", "is no zip file, or is damaged"),
    "outside": (content(member="../../evil.csv", size=400),
                "holds a file with the name '../../evil.csv', which is no CSV file"),
    "absolute": (content(member="/etc/evil.csv", size=400),
                 "holds a file with the name '/etc/evil.csv', which is no CSV file"),
}  # fmt: skip


@pytest.mark.parametrize("case", ZIPS)
async def test_a_zip_that_is_another_thing_is_refused_though_its_checksum_is_right(
    server: Server, tmp_path: Path, case: str
):
    data, words = ZIPS[case]
    file = file_of()
    server.put(file, data)
    expected = f"{words}, though its checksum is right: refused"
    assert await refusal_of(server, tmp_path, file) == expected
    assert whole(tmp_path) == []


async def test_a_zip_bomb_is_refused(server: Server, tmp_path: Path):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("BTCUSDT-metrics-2026-09-30.csv", b"0" * 80_000_000)
    file = file_of()
    assert len(server.put(file, data.getvalue())) < 200_000
    words = await refusal_of(server, tmp_path, file)
    assert words.startswith("would unpack to 76 MB, and at most 64 MB are read")
    assert whole(tmp_path) == []


async def test_a_file_that_is_too_large_is_thrown_away(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(download, "MAX_ZIP_BYTES", 1 << 20)
    file = file_of()
    server.put(file, content(size=3_000_000))
    words = await refusal_of(server, tmp_path, file)
    assert words == "has more than 1 MB, and was thrown away" and whole(tmp_path) == []


async def test_a_redirect_is_not_followed(server: Server, tmp_path: Path):
    file = file_of()
    server.put(file, content())

    async def elsewhere(request: web.Request) -> web.StreamResponse | None:
        raise web.HTTPFound("http://127.0.0.2:1/other")

    server.before = elsewhere
    words = await refusal_of(server, tmp_path, file)
    assert words == "it answered HTTP 302, a redirect, which is not followed"


async def test_a_request_to_slow_down_is_heeded_and_a_long_one_ends_the_run(
    server: Server, tmp_path: Path
):
    file = file_of()
    server.put(file, content())
    waits = ["7"]

    async def slower(request: web.Request) -> web.StreamResponse | None:
        if waits:
            return web.Response(status=429, headers={"Retry-After": waits.pop()})
        return None

    server.before = slower
    clock = Clock()
    assert await fetched(server, tmp_path, file, clock) is Fetched.NEW
    assert clock.now >= 7
    waits.append("4000")
    with pytest.raises(ArchiveStopped, match=r"asked us to slow down \(HTTP 429\), pausing 4000 s"):
        await fetched(server, tmp_path, file)


async def test_requests_keep_their_pace(server: Server, tmp_path: Path):
    clock = Clock()
    async with Archive(server.url, tmp_path, now=clock, sleep=clock.sleep) as archive:
        for day in range(50):
            await archive.fetch(file_of(day=day))
    assert clock.now > 4.8 and len(server.asked) == 50


async def test_a_full_disk_is_one_sentence(server: Server, tmp_path: Path):
    """The device that is always full stands in for the file while it comes."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    file = file_of()
    data = server.put(file, content())
    target = tmp_path / file.path
    target.parent.mkdir(parents=True)
    digest = hashlib.sha256(data).hexdigest()[:16]
    target.with_name(f".{file.name}.{digest}.part").symlink_to(full)
    with pytest.raises(ArchiveStopped) as error:
        await fetched(server, tmp_path, file)
    assert str(error.value) == (
        f"cannot write into {target.parent}: No space left on device. What is complete stays; make"
        " room, or mend it, and run it again"
    )
    assert not target.exists()


async def test_nobody_there_is_one_sentence(tmp_path: Path):
    clock = Clock()
    async with Archive("http://127.0.0.1:1", tmp_path, now=clock, sleep=clock.sleep) as archive:
        with pytest.raises(ArchiveStopped) as error:
            await archive.fetch(file_of())
    assert str(error.value) == (
        "http://127.0.0.1:1 cannot be reached: the connection was refused; run it again to go on"
    )


async def test_it_goes_through_the_proxy_of_the_environment(server: Server, tmp_path: Path):
    file = file_of()
    server.put(file, content())
    port = server.url.rpartition(":")[2]
    async with proxy.running("http") as running:
        proxy_settings = proxies({"HTTP_PROXY": running.url()})
        async with Archive(f"http://archive.test:{port}", tmp_path, proxy_settings) as archive:
            assert await archive.fetch(file) is Fetched.NEW
        assert running.reached == [f"archive.test:{port}"] * 2
