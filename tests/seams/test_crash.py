"""A market that falls, or rises, by a tenth in seconds, from a venue's socket to a channel.

The configuration is the shipped one and its rules are as shipped. How long the first message took
is printed (``pytest -rP``); the bound on it is wide, for a machine that has other things to do.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bot.fake_updates import CHANNEL, Sent
from tests.seams.system import System, ends

CONFIG = f'extends = "shipped"\n[channel]\nchat_id = {CHANNEL}\n'
MINUTE_WINDOW = """
[rules.price_drop.windows.1m]
majors = {{ alert = -4, critical = -8, clear = -2 }}
"""
"""Beside the shipped windows: one that is full a minute after the start."""

STEPS = 40
"""A tenth of a second each."""

MOST_S = 20
"""How long the first message may take here."""


async def first_message(
    system: System, symbol: str, percent: float, liquidated: float, *, due: Callable[[int], bool]
) -> Sent:
    """The market moves by ``percent``, and USD are ``liquidated`` in each step; the first message.

    ``due``: whether what it is about has happened, in step n.
    """
    begin, since = system.venue.prices[symbol], None
    for n in range(1, STEPS + 1):
        system.venue.prices[symbol] = begin * (1 + percent / 100 * n / STEPS)
        if since is None and due(n):
            since = time.monotonic()
        if liquidated:
            await system.liquidate(symbol, liquidated, long=percent < 0)
        for _ in range(5):
            if since is not None and system.telegram.sent:
                break
            await asyncio.sleep(0.02)
    assert since is not None
    await system.until(lambda: system.telegram.sent, MOST_S)
    print(f"{symbol} {percent:+} %: first message after {time.monotonic() - since:.2f} s")
    return system.telegram.sent[0]


@pytest.mark.parametrize(
    ("symbol", "percent", "side", "other"),
    [("BTCUSDT", -10, "longs", "shorts"), ("ETHUSDT", 10, "shorts", "longs")],
)
async def test_liquidations(
    tmp_path: Path, symbol: str, percent: float, side: str, other: str
) -> None:
    """Critical from 120 million USD in ten minutes on, which is the 30th of these."""
    async with System(tmp_path, CONFIG, common=ends()) as system:
        await system.start()
        post = await first_message(system, symbol, percent, 4e6 + 1, due=lambda n: n == 30)
    head, sums, *_ = post.first.splitlines()
    asset = symbol.removesuffix("USDT")
    begin, _, end = head.partition("M in 10 min, ")
    words, _, musd = begin.rpartition(" ≥ $")
    assert words == f"🔴 {asset} liquidations"
    assert end == f"100% {side}"
    assert 120 <= float(musd) <= 4 * STEPS
    assert f"{side} ≥ ${musd}M" in sums.replace("Longs", "longs")
    assert f"{other} none reported" in sums.replace("Longs", "longs")
    assert not post.silent


async def test_price(tmp_path: Path) -> None:
    """Nobody is liquidated: the fall itself is told, with its sign, from the first price on."""
    async with System(tmp_path, CONFIG, common=ends() + MINUTE_WINDOW) as system:
        await system.start()
        # until the window is full: it begins with the 10 s after the first price
        await asyncio.sleep(75)
        post = await first_message(system, "BTCUSDT", -10, 0, due=lambda n: n * 10 >= 8 * STEPS)
    head = post.first.splitlines()[0]
    assert head.startswith("🔴 BTC price −"), head
    percent = float(head.removeprefix("🔴 BTC price −").partition("% in 1 min: $100,000 → $")[0])
    assert 8 <= percent <= 10
    assert not post.silent
