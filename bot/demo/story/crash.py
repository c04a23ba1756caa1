"""Makes the demo's recording: ``python -m bot.demo.story.crash`` writes crash.jsonl.gz anew.

The frames are made, not recorded. They have the wire formats of November 2026; their story is the
crash of 10 October 2025 as public reports tell it (see ``bot.demo.story.market``). The same code
always makes the same frames, and a test compares the file with them.
"""

import gzip
from collections.abc import Iterator
from pathlib import Path
from random import Random

from bot.demo.story import binance, bybit
from bot.demo.story.binance import Binance
from bot.demo.story.bybit import Bybit
from bot.demo.story.hyperliquid import Hyperliquid
from bot.demo.story.listings import BINANCE, BYBIT, HYPERLIQUID
from bot.demo.story.market import COINS, START, STEP_MS, Mood, Wander, moods
from bot.demo.story.trading import SimulatedMarket
from streams.feed.recording import Recorded, encode

PATH = Path(__file__).parents[1] / "crash.jsonl.gz"

_SEED = 20_251_010
_ABOUT = (
    "Made by bot/demo/story, not recorded: synthetic frames in the venues' formats of November"
    " 2026. Story and magnitudes follow public reports of 10 October 2025 (bitcoin from about"
    " 117,000 to 102,000 USD, open interest down by a third, books of large coins down 98 % for"
    " minutes, mostly longs liquidated); every single number is invented."
)


def frames() -> Iterator[Recorded]:
    """The whole recording, in order of time: words about it, listings, then 126 minutes."""
    random = Random(_SEED)
    on_binance = [SimulatedMarket(row, random, deep=1.0, hard=1.0) for row in BINANCE]
    on_bybit = [SimulatedMarket(row, random, deep=0.97, hard=1.05) for row in BYBIT]
    on_hyperliquid = [SimulatedMarket(row, random, deep=0.93, hard=1.25) for row in HYPERLIQUID]
    venues = (Binance(on_binance, random), Bybit(on_bybit), Hyperliquid(on_hyperliquid))
    wander = {coin.name: Wander(random, 0.001) for coin in COINS}
    yield Recorded(t=START, venue="", channel="meta", frame=_ABOUT.encode())
    for count, mood in enumerate(moods()):
        moves = {name: walk.step() for name, walk in wander.items()}
        _trade(on_binance, count, mood, moves, binance.MOST_ORDERS)
        _trade(on_bybit, count, mood, moves, bybit.MOST_ORDERS)
        _trade(on_hyperliquid, count, mood, moves, 1)
        if count == 0:
            for venue in venues:
                yield from venue.listing()
        t = START + count * STEP_MS
        sent = [record for venue in venues for record in venue.step(count, t)]
        yield from sorted(sent, key=lambda record: record.t)


def _trade(
    markets: list[SimulatedMarket],
    count: int,
    mood: Mood,
    moves: dict[str, float],
    most_orders: int,
) -> None:
    for market in markets:
        market.step(count, mood, moves[market.listed.coin.name], most_orders)


def text() -> bytes:
    """The recording before it is compressed."""
    return b"".join(encode(record) for record in frames())


if __name__ == "__main__":
    PATH.write_bytes(gzip.compress(text(), 9, mtime=0))
