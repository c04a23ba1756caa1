"""A local server that has the files of an archive, with their checksums, and a venue's REST API."""

import hashlib
import io
import zipfile
from collections.abc import Awaitable, Callable

from aiohttp import web

from bot.history.files import ArchiveData, ArchiveFile, files_of
from streams.durations import DAY

START = 1_790_726_400_000  # 30 Sep 2026
HEAD = "create_time,symbol,sum_open_interest,sum_open_interest_value,a,b,c,d"


def content(symbol: str = "BTCUSDT", size: int = 200_000, member: str = "") -> bytes:
    """A zip of about ``size`` bytes."""
    data = io.BytesIO()
    name = f"{symbol}-metrics-2026-09-30"
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive:
        rows = f"2026-09-30 00:05:00,{symbol},5,100,1,1,1,1\n" * (size // 40)
        archive.writestr(member or f"{name}.csv", f"{HEAD}\n{rows}")
    return data.getvalue()


def file_of(symbol: str = "BTCUSDT", day: int = 0) -> ArchiveFile:
    start = START + day * DAY
    [[file]] = files_of(ArchiveData.METRICS, symbol, start, start + DAY)
    return file


Answer = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


class Server:
    """Serves ``files`` by path with their checksums. ``before``: asked first, for each request."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.checksums: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.before: Answer | None = None
        self.url = ""

    def put(self, file: ArchiveFile, data: bytes) -> bytes:
        self.files[file.path] = data
        return data

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path.lstrip("/")
        self.asked.append((path, request.headers.get("Range", "")))
        if self.before is not None and (answer := await self.before(request)) is not None:
            return answer
        if path.startswith(("fapi/", "futures/")):
            return web.json_response([])
        plain = path.removesuffix(".CHECKSUM")
        if plain not in self.files:
            raise web.HTTPNotFound
        data = self.files[plain]
        if path != plain:
            digest = self.checksums.get(plain) or hashlib.sha256(data).hexdigest()
            return web.Response(text=f"{digest}  {plain.rpartition('/')[2]}\n")
        if begin := request.headers.get("Range", ""):
            first = int(begin.removeprefix("bytes=").removesuffix("-"))
            if first >= len(data):
                raise web.HTTPRequestRangeNotSatisfiable
            part = f"bytes {first}-{len(data) - 1}/{len(data)}"
            return web.Response(status=206, body=data[first:], headers={"Content-Range": part})
        return web.Response(body=data)
