"""Pictures made out of this process, one after the other."""

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import msgspec

from bot.pictures.process import NO_LIBRARY, NOTHING
from bot.pictures.request import PictureRequest
from streams.text import printable

LIMIT_S = 5.0
"""So long a picture may take: ten times what one of six hours does, and three times a week."""

LIBRARY = "resvg-py"
NOT_INSTALLED = f"the package {LIBRARY} is not installed; install Lowtide's packages again"


MOST_WAITING = 3
"""Somebody who asks while so many pictures wait gets none."""


class PictureFailed(Exception):
    """There is no picture, and why."""


class PictureMaker:
    """Makes pictures, one at a time, each in a process that ends with it, so that nothing of them
    stays in this one. ``command``: what makes one, see ``bot.pictures.process``."""

    def __init__(self, command: Sequence[str] | None = None, limit_s: float | None = None) -> None:
        # -I: neither the folder that we run in nor the environment says which modules it gets
        self._command = command or (sys.executable, "-I", "-m", "bot.pictures.process")
        self._limit_s = LIMIT_S if limit_s is None else limit_s
        self._busy = asyncio.Lock()
        self._waiting = 0

    async def make(self, request: PictureRequest, *, asked: bool = False) -> bytes | None:
        """A PNG; None if nothing is recorded of what it is to show. Raises PictureFailed.

        ``asked``: somebody asks for it, and does without where more do than can be served.
        """
        if not _recorded(request):
            return None
        if asked and self._waiting >= MOST_WAITING:
            raise PictureFailed(f"{self._waiting} others wait for theirs")
        self._waiting += 1
        try:
            return await self._in_turn(request)
        finally:
            self._waiting -= 1

    async def _in_turn(self, request: PictureRequest) -> bytes | None:
        async with self._busy:
            try:
                async with asyncio.timeout(self._limit_s):
                    return await self._made(msgspec.json.encode(request))
            except TimeoutError:
                raise PictureFailed(f"it took longer than {self._limit_s:g} s") from None
            except OSError as error:
                raise PictureFailed(f"no process for it: {error.strerror or error}") from None

    async def _made(self, data: bytes) -> bytes | None:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, stderr=pipe, env={}
        )
        try:
            image, complaint = await process.communicate(data)
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        match process.returncode:
            case 0:
                return image
            case code if code == NOTHING:
                return None
            case code if code == NO_LIBRARY:
                raise PictureFailed(NOT_INSTALLED)
            case code:
                lines = complaint.decode(errors="replace").strip().splitlines() or [""]
                raise PictureFailed(f"its process ended with {code} {printable(lines[-1], 200)}")


def _recorded(request: PictureRequest) -> bool:
    """Whether there is a metric log at all; without one no process need be begun."""
    return Path(request.folder).is_dir()


def library_missing() -> str:
    """A sentence if pictures cannot be made here; "": they can."""
    return "" if find_spec("resvg_py") else f"pictures are left out: {NOT_INSTALLED}"
