"""Pictures by a process of their own: what it makes, and how it fails."""

import asyncio
import struct
import sys
from pathlib import Path

import pytest

from bot.pictures.drawing import SIZE, draw
from bot.pictures.maker import MOST_WAITING, PictureFailed, PictureMaker, library_missing
from bot.pictures.process import NO_LIBRARY, NOTHING, png
from tests.bot.pictures.test_drawing import PHONE, crash
from tests.bot.pictures.test_request import request, write


def size_of(image: bytes) -> tuple[int, int]:
    """Of a PNG."""
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack_from(">II", image, 16)


def script(code: str) -> PictureMaker:
    """A maker whose process runs ``code`` in place of ours."""
    return PictureMaker((sys.executable, "-I", "-c", code), limit_s=60)


async def test_a_picture_is_a_png_of_its_size(tmp_path: Path) -> None:
    write(tmp_path, range(-60, 1))
    for size in (SIZE, PHONE):
        image = await PictureMaker(limit_s=60).make(request(tmp_path, size=size))
        assert image is not None
        assert size_of(image) == size
        assert 5_000 < len(image) < 200_000


async def test_of_nothing_there_is_none(tmp_path: Path) -> None:
    assert await PictureMaker(limit_s=60).make(request(tmp_path)) is None


def test_texts_are_drawn_by_the_font_that_lowtide_has() -> None:
    """With no other font at hand a text changes what is drawn, and an unknown family does not."""
    with_text = png(draw(crash()))
    assert with_text != png(draw(crash()).replace("<text", "<desc").replace("</text", "</desc"))
    assert with_text == png(draw(crash()).replace('"Roboto"', '"No Such Font, Roboto"'))


async def test_a_process_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    code = (
        "import os, pathlib, time\n"
        f"pathlib.Path({str(alive)!r}).write_text(str(os.getpid()))\n"
        "time.sleep(600)"
    )
    maker = PictureMaker((sys.executable, "-I", "-c", code), limit_s=0.5)
    with pytest.raises(PictureFailed, match="longer than"):
        await maker.make(request(tmp_path))
    if alive.exists():
        assert not Path(f"/proc/{alive.read_text()}").exists()


async def test_who_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    code = (
        "import os, pathlib, time\n"
        f"path = pathlib.Path({str(alive)!r})\n"
        "path.with_suffix('.new').write_text(str(os.getpid()))\n"
        "path.with_suffix('.new').rename(path)\n"
        "time.sleep(600)"
    )
    task = asyncio.create_task(script(code).make(request(tmp_path)))
    async with asyncio.timeout(60):
        while not alive.exists():
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not Path(f"/proc/{alive.read_text()}").exists()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise ValueError('\\x1b[31mno such font')", "ended with 1 ValueError: "),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended with -9"),
        (f"raise SystemExit({NO_LIBRARY})", "resvg-py is not installed"),
    ],
)
async def test_a_process_that_fails_says_why(tmp_path: Path, code: str, reason: str) -> None:
    with pytest.raises(PictureFailed) as failure:
        await script(code).make(request(tmp_path))
    assert reason in str(failure.value)
    assert "\x1b" not in str(failure.value)


async def test_nothing_to_draw_is_no_failure(tmp_path: Path) -> None:
    assert await script(f"raise SystemExit({NOTHING})").make(request(tmp_path)) is None


async def test_where_there_is_no_program_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(PictureFailed, match="no process for it: No such file"):
        await PictureMaker((str(tmp_path / "python"),), limit_s=60).make(request(tmp_path))


async def test_pictures_are_made_one_after_the_other(tmp_path: Path) -> None:
    """Each process writes when it begins and when it ends; nothing lies in between."""
    journal = tmp_path / "journal"
    code = (
        f"import time\nfile = open({str(journal)!r}, 'a', buffering=1)\n"
        "file.write('begin\\n')\ntime.sleep(0.05)\nfile.write('end\\n')\nprint('x')"
    )
    maker = script(code)
    images = await asyncio.gather(*(maker.make(request(tmp_path)) for _ in range(3)))
    assert images == [b"x\n"] * 3
    assert journal.read_text().split() == ["begin", "end"] * 3


async def test_the_environment_is_not_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "secret")
    image = await script("import os; print(dict(os.environ))").make(request(tmp_path))
    assert image is not None
    assert b"secret" not in image


def test_whether_pictures_can_be_made_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not library_missing()
    monkeypatch.setattr("bot.pictures.maker.find_spec", lambda _name: None)
    assert "resvg-py is not installed" in library_missing()


async def test_who_asks_while_many_wait_gets_none(tmp_path: Path) -> None:
    go = tmp_path / "go"
    code = (
        "import pathlib, time\n"
        f"path = pathlib.Path({str(go)!r})\n"
        "while not path.exists(): time.sleep(0.01)\n"
        "print('x')"
    )
    maker = script(code)
    first = [
        asyncio.create_task(maker.make(request(tmp_path), asked=True)) for _ in range(MOST_WAITING)
    ]
    await asyncio.sleep(0)
    with pytest.raises(PictureFailed, match="others wait"):
        await maker.make(request(tmp_path), asked=True)
    own = asyncio.create_task(maker.make(request(tmp_path)))
    await asyncio.sleep(0)
    go.touch()
    assert await asyncio.gather(*first, own) == [b"x\n"] * (MOST_WAITING + 1)
