"""The process of one picture: what it is to show comes in as JSON, a PNG goes out.

It ends with ``NOTHING`` if nothing is recorded, and with ``NO_LIBRARY`` if resvg-py is missing.
"""

import contextlib
import os
import sys
from pathlib import Path

import msgspec

from bot.pictures.drawing import draw
from bot.pictures.letters import FAMILY
from bot.pictures.request import PictureRequest, recorded_picture

NOTHING = 3
NO_LIBRARY = 4
FONT = Path(__file__).parent / "static/Roboto-Medium.ttf"

_NICE = 10
_SECONDS = 10
"""Of the processor."""
_BYTES = 1 << 30
"""Of addresses."""


def png(svg: str) -> bytes:
    """``svg`` as PNG, with the font of pictures alone. ImportError without resvg-py."""
    from resvg_py import svg_to_bytes  # not held by whoever only draws

    return svg_to_bytes(
        svg_string=svg, skip_system_fonts=True, font_files=[str(FONT)], font_family=FAMILY
    )


def picture(data: bytes) -> bytes | None:
    """The PNG of ``data``, a ``PictureRequest`` as JSON; None if nothing of it is recorded."""
    request = msgspec.json.decode(data, type=PictureRequest)
    drawn = recorded_picture(request)
    return None if drawn is None else png(draw(drawn, request.size, request.theme))


def run() -> int:
    """Reads what is asked for, writes the picture; the exit code."""
    _limit()
    try:
        image = picture(sys.stdin.buffer.read())
    except ImportError as error:
        print(error, file=sys.stderr)  # noqa: T201  # the process that asked reads it
        return NO_LIBRARY
    if image is None:
        return NOTHING
    sys.stdout.buffer.write(image)
    return 0


def _limit() -> None:
    """Behind everything else, and never more than a picture takes."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # no Unix, or less is allowed
        import resource

        os.nice(_NICE)
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (_BYTES, _BYTES))


if __name__ == "__main__":
    sys.exit(run())
