"""The clock of the machine steps under the real processes: nobody is deaf till it is right.

The processes get another time of day by a ``sitecustomize`` of the test, which adds what a file
says; the program knows nothing of it. The venue, Telegram and the steady clock stay as they are.
"""

import asyncio
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


PRICES = """
[rules.fall]
metric = "price_1m_pct"
fires  = "below"
majors = { watch = -2, alert = -4, critical = -8, clear = -1 }
"""
"""A rule of the price, whose window is full a minute after the start."""


class Machine:
    """A system whose processes have another time of day: ``off_s`` seconds from the true one."""

    def __init__(self, folder: Path, config: str = CONFIG) -> None:
        site, self._offset = folder / "site", folder / "offset"
        site.mkdir()
        (site / "sitecustomize.py").write_text(SITE)
        self.off_s = 0
        env = {"PYTHONPATH": str(site), "LOWTIDE_TEST_OFFSET": str(self._offset)}
        self.system = System(folder, config, env=env)

    @property
    def off_s(self) -> int:
        return self._off_s

    @off_s.setter
    def off_s(self, off_s: int) -> None:
        self._off_s = off_s
        self._offset.write_text(str(off_s))

    def posts(self, chat: int, words: str) -> list[str]:
        sent = self.system.telegram.sent
        return [post.text for post in sent if post.chat == chat and words in post.text]


@pytest.mark.parametrize("roles", [(), ("streams", "rules", "bot")], ids=["run", "apart"])
@pytest.mark.parametrize("hours", [3, 8])
async def test_a_clock_set_back(tmp_path: Path, roles: tuple[str, ...], hours: int):
    machine = Machine(tmp_path)
    posts = machine.posts
    async with machine.system as system:
        await system.start(*roles)
        await system.liquidate("BTCUSDT", 6e6)
        await system.until(lambda: posts(CHANNEL, "BTC"))
        before = system.venue.subscribers("allLiquidation.")
        machine.off_s = -hours * HOUR_S
        await system.until(lambda: posts(OPERATORS, "went back"))
        await system.liquidate("ETHUSDT", 1.5e6)
        await system.until(lambda: posts(CHANNEL, "ETH"))
        await system.liquidate("ETHUSDT", 6e6)
        await system.until(lambda: posts(CHANNEL, "🔴 ETH"))
        # what was liquidated before the step counts, since it is as long ago as it was
        await system.liquidate("BTCUSDT", 3e6)
        await system.until(lambda: posts(CHANNEL, "≥ $9M"), seconds=90)  # by an edit
        assert system.venue.subscribers("allLiquidation.") == before  # nobody has hung up
        (worse,) = posts(CHANNEL, "🔴 ETH")
        (notice,) = posts(OPERATORS, "went back")
    assert f"by {hours} h" in notice
    assert "Began" in worse
    assert near(worse)


def near(text: str) -> bool:
    """Whether all times in a post are within two minutes, so of one clock."""
    times = [60 * int(h) + int(m) for h, m in re.findall(r"(\d\d):(\d\d) UTC", text)]
    assert len(times) >= 2
    return all((a - b) % DAY_MIN <= 2 or (b - a) % DAY_MIN <= 2 for a in times for b in times)


async def test_a_crash_that_begins_during_the_step(tmp_path: Path):
    """10 % in five seconds, and in the middle of it the clock steps back or ahead by hours.

    Two systems at once, since most of the time goes by until their windows are full.
    """
    steps = {"back": -3 * HOUR_S, "ahead": 5 * HOUR_S}
    async with asyncio.TaskGroup() as tasks:
        for name, by_s in steps.items():
            (tmp_path / name).mkdir()
            machine = Machine(tmp_path / name, CONFIG + PRICES)
            tasks.create_task(check_crash_during_a_step(machine, by_s))


async def check_crash_during_a_step(machine: Machine, by_s: int) -> None:
    async with machine.system as system:
        await system.start()
        await asyncio.sleep(72)  # till the window is full
        for n in range(1, 6):
            system.venue.prices["BTCUSDT"] = 100_000.0 * (1 - 0.02 * n)
            if n == 3:
                machine.off_s = by_s
            await asyncio.sleep(1)
        await system.until(lambda: machine.posts(CHANNEL, "🔴 BTC"))
        # the rules have kept on, so nothing is told twice or out of nothing
        assert machine.posts(CHANNEL, "ETH") == []


async def test_a_role_that_starts_after_the_step_knows_by_how_much(tmp_path: Path):
    """The streams role was away when the clock stepped: the steady clock of the machine tells."""
    machine = Machine(tmp_path)
    posts = machine.posts
    async with machine.system as system:
        await system.start("streams", "rules", "bot")
        await system.liquidate("BTCUSDT", 3e6)
        await system.until(lambda: posts(CHANNEL, "BTC"))
        await asyncio.sleep(2)  # it keeps how its clock stands
        await system.kill("streams")
        machine.off_s = -3 * HOUR_S
        await system.until(lambda: not system.venue.subscribers("allLiquidation."))
        await system.start("streams")
        await system.until(lambda: posts(OPERATORS, "went back"))
        await system.liquidate("BTCUSDT", 3e6)
        await system.until(lambda: posts(CHANNEL, "🔴 BTC"))
    assert posts(OPERATORS, "nobody measured") == []


async def test_a_clock_8_h_ahead_at_the_first_start(tmp_path: Path):
    """Redis has its own clock, which is right: nobody waits until it has caught up."""
    machine = Machine(tmp_path)
    posts = machine.posts
    machine.off_s = 8 * HOUR_S
    async with machine.system as system:
        await system.start()
        await system.liquidate("BTCUSDT", 6e6)
        await system.until(lambda: posts(CHANNEL, "BTC"))
        await system.stop()
        machine.off_s = 0
        await system.start()
        await system.until(lambda: posts(OPERATORS, "went back"))
        await system.liquidate("ETHUSDT", 6e6)
        await system.until(lambda: posts(CHANNEL, "🔴 ETH"))
        assert len(posts(OPERATORS, "went back")) == 1
