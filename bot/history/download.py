"""One archive over HTTPS: a file is there whole and checked, or not at all.

A file comes under a name that begins with a dot and holds the checksum that is waited for, so that
what came of another version is never continued. It gets its own name once its SHA-256 is that of
the archive and its zip is one that is read. What broke off is continued, in this run or the next.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Self
from zipfile import ZipFile

import aiohttp
from yarl import URL

from bot.history.files import DAMAGED, ArchiveFile, checksum, only_member
from streams.feed.errors import in_words, refusal
from streams.http import PROXY_ERRORS, http_session
from streams.proxies import NO_PROXIES, Proxies

MAX_ZIP_BYTES = 64 * 1024 * 1024
_MAX_CHECKSUM_BYTES = 4_096
_CHUNK = 1 << 16
_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=10, sock_read=30)

_EVERY_S = 0.1
"""Between two requests at least: ten a second."""

_TRIES = 4
_WAIT_S = (1.0, 4.0, 15.0)
"""Before each further try."""

_PATIENCE_S = 120.0
"""A pause longer than this is not sat out."""


class Fetched(StrEnum):
    """What became of a file."""

    NEW = "new"
    KEPT = "kept"
    """It is here already, and is what the archive has."""
    CHANGED = "changed"
    """What was here is not what the archive has now, and was replaced."""
    ABSENT = "absent"


class NotFetched(Exception):
    """One file could not be got. ``str()`` is a sentence that begins with its name."""


class ArchiveStopped(Exception):
    """Nothing more can be got now. ``str()`` is a sentence that says why and what to do."""


class _Broken(Exception):
    """An answer that did not come, or not whole; ``str()`` says why. It may be asked for again."""


class _Part:
    """The file while it comes. Raises ArchiveStopped where the disk takes nothing."""

    def __init__(self, target: Path, digest: str) -> None:
        self._target = target
        self.path = target.with_name(f".{target.name}.{digest[:16]}.part")

    def begin(self) -> int:
        """How much of it is here; what there is of other versions goes."""
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            for other in self._target.parent.glob(f".{self._target.name}.*.part"):
                if other != self.path:
                    other.unlink()
            return self.path.stat().st_size if self.path.exists() else 0
        except OSError as error:
            raise self._stopped(error) from error

    def add(self, data: bytes, *, anew: bool) -> None:
        """More of it; ``anew``: from the beginning."""
        try:
            with self.path.open("wb" if anew else "ab") as file:
                file.write(data)
        except OSError as error:
            raise self._stopped(error) from error

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Gives it its name, once it is on the disk."""
        try:
            with self.path.open("rb+") as file:
                os.fsync(file.fileno())
            self.path.replace(self._target)
        except OSError as error:
            raise self._stopped(error) from error

    def _stopped(self, error: OSError) -> ArchiveStopped:
        return ArchiveStopped(
            f"cannot write into {self._target.parent}: {error.strerror or error}. What is complete"
            " stays; make room, or mend it, and run it again"
        )


class Archive:
    """The files below ``base``, into ``folder`` under the same paths. ``sleep`` waits seconds of
    ``now``."""

    def __init__(
        self,
        base: str,
        folder: Path,
        proxies: Proxies = NO_PROXIES,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.came = 0
        """Bytes that came."""
        self._base = base.rstrip("/")
        self._folder = folder
        self._proxies = proxies
        self._now, self._sleep = now, sleep
        self._next = self._paused_until = now()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = http_session(self._base, self._proxies, _TIMEOUT)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    def place(self, file: ArchiveFile) -> Path:
        """Where a file is, or will be."""
        return self._folder / file.path

    async def fetch(self, file: ArchiveFile) -> Fetched:
        """Gets a file, if the archive has another one than is here. Raises NotFetched or
        ArchiveStopped."""
        digest = await self._digest(file)
        if digest is None:
            return Fetched.ABSENT
        target = self.place(file)
        known = _sha256(target)
        if known == digest:
            return Fetched.KEPT
        for last in (False, True):
            part = _Part(target, digest)
            if not await self._download(file, part):
                return Fetched.ABSENT
            if _sha256(part.path) == digest:
                break
            part.drop()
            again = await self._digest(file)
            if last or again is None:
                raise NotFetched(
                    f"{file.name}: what came does not have the checksum that the archive names, and"
                    " was thrown away: run it again later"
                )
            digest = again  # it was issued anew meanwhile, or what was continued was damaged
        _check(file, part)
        part.finish()
        return Fetched.CHANGED if known else Fetched.NEW

    async def offers(self, file: ArchiveFile) -> bool:
        """Whether there is such a file. Raises NotFetched or ArchiveStopped."""
        return await self._digest(file) is not None

    async def _digest(self, file: ArchiveFile) -> str | None:
        """The checksum that the archive names, None if there is no such file."""
        data = bytearray()

        async def take(answer: aiohttp.ClientResponse) -> None:
            data.clear()
            async for chunk in answer.content.iter_chunked(_CHUNK):
                data.extend(chunk)
                if len(data) > _MAX_CHECKSUM_BYTES:
                    raise NotFetched(f"{file.name}: its checksum file is not one")

        if not await self._ask(file, f"{file.path}.CHECKSUM", lambda: 0, take):
            return None
        try:
            return checksum(data.decode("ascii", "replace"), file.name)
        except ValueError as error:
            raise NotFetched(f"{file.name}: {error}") from error

    async def _download(self, file: ArchiveFile, part: _Part) -> bool:
        """All of it, continued where it broke off; False if there is no such file."""

        async def take(answer: aiohttp.ClientResponse) -> None:
            size = part.begin()
            anew = answer.status != 206 or not _continues(answer, size)
            if anew:
                size = 0
                part.add(b"", anew=True)
                if answer.status == 206:
                    raise _Broken("it sent another part than was asked for")
            async for chunk in answer.content.iter_chunked(_CHUNK):
                size += len(chunk)
                self.came += len(chunk)
                if size > MAX_ZIP_BYTES:
                    part.drop()
                    raise NotFetched(
                        f"{file.name}: has more than {MAX_ZIP_BYTES >> 20} MB, and was thrown away"
                    )
                part.add(chunk, anew=False)

        return await self._ask(file, file.path, part.begin, take)

    async def _ask(
        self,
        file: ArchiveFile,
        path: str,
        here: Callable[[], int],
        take: Callable[[aiohttp.ClientResponse], Awaitable[None]],
    ) -> bool:
        """Asks for what is below ``path``, from the byte ``here``, until it came whole; False if it
        does not exist."""
        why = ""
        for wait_s in (*_WAIT_S[: _TRIES - 1], None):
            try:
                return await self._once(path, here(), take)
            except _Broken as error:
                why = str(error)
            except aiohttp.ClientPayloadError:
                why = "the transfer broke off"
            except (aiohttp.ClientConnectorError, aiohttp.ClientProxyConnectionError) as error:
                if wait_s is None:
                    text = f"{self._base} cannot be reached: {in_words(error)}"
                    raise ArchiveStopped(f"{text}; run it again to go on") from error
            except (aiohttp.ClientError, *PROXY_ERRORS, OSError, TimeoutError, ValueError) as error:
                why = in_words(error)
            if wait_s is not None:
                await self._sleep(wait_s)
        size = here()
        kept = f" after {size:,} bytes, which are kept: run it again to go on" if size else ""
        raise NotFetched(f"{file.name}: {why}{kept}")

    async def _once(
        self, path: str, size: int, take: Callable[[aiohttp.ClientResponse], Awaitable[None]]
    ) -> bool:
        await self._turn()
        session = self._session
        assert session is not None  # noqa: S101  # used inside ``async with``
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={size}-"} if size else {})
        url = URL(f"{self._base}/{path}", encoded=True)
        async with session.get(url, headers=headers, allow_redirects=False) as answer:
            if answer.status == 404:
                return False
            if answer.status in (200, 206):
                await take(answer)
                return True
            if answer.status == 416 and size:
                return True  # all of it is here, as the checksum will say, or it is another file
            refused = refusal(answer.status, answer.headers)
            if refused.blocked or refused.pause_s > _PATIENCE_S:
                raise ArchiveStopped(f"{self._base}: {refused.words}; what is complete stays")
            self._paused_until = max(self._paused_until, self._now() + refused.pause_s)
            raise _Broken(refused.words)

    async def _turn(self) -> None:
        """Waits until a request may be made."""
        at = max(self._next, self._paused_until, self._now())
        self._next = at + _EVERY_S
        if (wait_s := at - self._now()) > 0:
            await self._sleep(wait_s)


def _continues(answer: aiohttp.ClientResponse, size: int) -> bool:
    return size > 0 and answer.headers.get("Content-Range", "").startswith(f"bytes {size}-")


def _sha256(path: Path) -> str:
    """In hexadecimal digits; "" if there is no such file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ArchiveStopped(f"cannot read {path}: {error.strerror or error}") from error


def _check(file: ArchiveFile, part: _Part) -> None:
    """Whether a zip is one that is read: one CSV file that unpacks whole. Raises NotFetched."""
    try:
        with ZipFile(part.path) as archive, archive.open(only_member(archive)) as unpacked:
            while unpacked.read(_CHUNK):
                pass
    except (*DAMAGED, ValueError) as error:
        part.drop()
        words = str(error) if type(error) is ValueError else "is no zip file, or is damaged"
        raise NotFetched(f"{file.name}: {words}, though its checksum is right: refused") from error
