"""The clock of the machine is set back under the real processes: nobody is deaf till it is right.

The processes get another time of day by a ``sitecustomize`` of the test, which adds what a file
says; the program knows nothing of it. The venue, Telegram and the steady clock stay as they are.
"""

import re
from pathlib import Path

import pytest

from tests.bot.fake_updates import CHANNEL, OPERATORS
from tests.seams.system import System

CONFIG = f"[channel]\nchat_id = {CHANNEL}\n[operators]\nchat_id = {OPERATORS}\n"
HOUR_S, DAY_MIN = 3_600, 24 * 60
SITE = """
import os, time
now_ns, steady = time.time_ns, time.monotonic
path, known = os.environ["LOWTIDE_TEST_OFFSET"], [0.0, 0]
def offset_ns():
    if steady() >= known[0]:
        known[:] = steady() + 0.05, int(open(path).read() or 0) * 10**9
    return known[1]
time.time_ns = lambda: now_ns() + offset_ns()
time.time = lambda: time.time_ns() / 1e9
"""


@pytest.mark.parametrize("roles", [(), ("streams", "rules", "bot")], ids=["run", "apart"])
@pytest.mark.parametrize("hours", [3, 8])
async def test_a_clock_set_back(tmp_path: Path, roles: tuple[str, ...], hours: int):
    site, offset = tmp_path / "site", tmp_path / "offset"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE)
    offset.write_text("0")
    env = {"PYTHONPATH": str(site), "LOWTIDE_TEST_OFFSET": str(offset)}
    async with System(tmp_path, CONFIG, env=env) as system:

        def posts(chat: int, words: str) -> list[str]:
            return [s.text for s in system.telegram.sent if s.chat == chat and words in s.text]

        def now() -> list[object]:
            return [*system.venue.subscribers("allLiquidation.")]

        await system.start(*roles)
        await system.liquidate("BTCUSDT", 6e6)
        await system.until(lambda: posts(CHANNEL, "BTC"))
        before = system.venue.subscribers("allLiquidation.")
        offset.write_text(str(-hours * HOUR_S))
        await system.until(lambda: posts(OPERATORS, "went back"))
        await system.until(lambda: not set(before) & set(now()) and now())
        await system.liquidate("ETHUSDT", 1.5e6)
        await system.until(lambda: posts(CHANNEL, "ETH"))
        await system.liquidate("ETHUSDT", 6e6)
        await system.until(lambda: posts(CHANNEL, "🔴 ETH"))
        (worse,) = posts(CHANNEL, "🔴 ETH")
        (told,) = posts(OPERATORS, "went back")
    assert f"by {hours} h" in told
    assert "Began" in worse
    times = [60 * int(h) + int(m) for h, m in re.findall(r"(\d\d):(\d\d) UTC", worse)]
    assert len(times) >= 2
    assert all((a - b) % DAY_MIN <= 2 or (b - a) % DAY_MIN <= 2 for a in times for b in times)


async def test_a_clock_8_h_ahead_at_the_first_start(tmp_path: Path):
    """Redis has its own clock, which is right: nobody waits until it has caught up."""
    site, offset = tmp_path / "site", tmp_path / "offset"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE)
    offset.write_text(str(8 * HOUR_S))
    env = {"PYTHONPATH": str(site), "LOWTIDE_TEST_OFFSET": str(offset)}
    async with System(tmp_path, CONFIG, env=env) as system:

        def posts(chat: int, words: str) -> list[str]:
            return [s.text for s in system.telegram.sent if s.chat == chat and words in s.text]

        await system.start()
        await system.liquidate("BTCUSDT", 6e6)
        await system.until(lambda: posts(CHANNEL, "BTC"))
        await system.stop()
        offset.write_text("0")
        await system.start()
        await system.until(lambda: posts(OPERATORS, "went back"))
        await system.liquidate("ETHUSDT", 6e6)
        await system.until(lambda: posts(CHANNEL, "🔴 ETH"))
        assert len(posts(OPERATORS, "went back")) == 1
