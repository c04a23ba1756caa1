"""What 100 pictures cost the process that asks for them, and how long one takes."""

import asyncio
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bot.metriclog import MetricLog
from bot.pictures.maker import PictureMaker
from bot.pictures.request import PanelRequest, PictureRequest
from rules.snapshot import PRICE, Observed
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Ms

PICTURES = 100
_NOW: Ms = 1_790_006_400_000
_METRIC = "oi_net_1h_pct"
_COINS = 40


def pictures() -> dict[str, object]:
    """A day of 40 coins is recorded; then 100 pictures of six hours are made."""
    with TemporaryDirectory() as folder:
        _record(Path(folder))
        return asyncio.run(_made(folder))


def _record(folder: Path) -> None:
    log = MetricLog(folder, 400 * DAY, 1_000)
    for minute in range(-24 * 60, 1):
        row = [
            Observed(metric=name, asset=f"COIN{n}", value=100.0 + (minute * 7 + n) % 13)
            for n in range(_COINS)
            for name in (PRICE, _METRIC)
        ]
        log.write(_NOW + minute * MINUTE, row)


async def _made(folder: str) -> dict[str, object]:
    maker = PictureMaker(limit_s=60)
    request = PictureRequest(
        folder=folder,
        title="COIN1",
        panels=(
            PanelRequest(metric=PRICE, asset="COIN1", title="Price, USD", optional=True),
            PanelRequest(metric=_METRIC, asset="COIN1", title="Open interest in 1h, %"),
        ),
        start=_NOW - 6 * HOUR,
        end=_NOW,
    )
    await maker.make(request)  # what is imported for the first one is no growth
    before, began = _rss_mb(), time.perf_counter()
    sizes = [len(await maker.make(request) or b"") for _ in range(PICTURES)]
    seconds = time.perf_counter() - began
    return {
        "pictures": sum(size > 0 for size in sizes),
        "picture_seconds": round(seconds / PICTURES, 3),
        "picture_kb": round(max(sizes) / 1024),
        "pictures_rss_growth_mb": round(_rss_mb() - before, 1),
    }


def _rss_mb() -> float:
    pages = int(Path(f"/proc/{os.getpid()}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
