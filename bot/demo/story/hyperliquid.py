"""What Hyperliquid would have sent in the demo's story."""

from collections.abc import Iterator

import msgspec

from bot.demo.story.market import START, STEP_MS
from bot.demo.story.trading import SimulatedMarket
from bot.demo.story.writing import Fields, number, record
from streams.durations import HOUR
from streams.events import Ms
from streams.feed.recording import Recorded

_LATENCY_MS = 250
_CHANNEL = "ws:/ws"
_SETTLED_AFTER_STEPS = 2
_STEPS_AN_HOUR = HOUR // STEP_MS


class Hyperliquid:
    """Frames and answers, step by step."""

    def __init__(self, markets: list[SimulatedMarket]) -> None:
        self._markets = markets
        self._charged = [market.listed.coin.funding[0] / 8 for market in markets]

    def listing(self) -> Iterator[Recorded]:
        """What is asked once, and every hour."""
        universe = [
            {"name": market.listed.symbol, "szDecimals": market.listed.size_digits}
            for market in self._markets
        ]
        contexts = [_context(market) for market in self._markets]
        yield _answer(START, {"type": "metaAndAssetCtxs"}, [{"universe": universe}, contexts])
        yield _answer(START, {"type": "allPerpMetas"}, [{"universe": universe}])
        yield from self._settled(START)

    def step(self, count: int, t: Ms) -> Iterator[Recorded]:
        """Frames and answers of step ``count``, which begins at ``t``."""
        contexts = {"ctxs": [["", [_context(market) for market in self._markets]]]}
        frame = {"channel": "allDexsAssetCtxs", "data": contexts}
        yield record(t + 200, "hyperliquid", _CHANNEL, frame, topic="allDexsAssetCtxs", opens=True)
        for place, market in enumerate(self._markets):
            if market.listed.sends(count):
                yield _book(market, t + 3600 + 150 * place)
        if (count + 1) % _STEPS_AN_HOUR == 0:  # the estimate of the hour's end is what is charged
            self._charged = [market.now.funding for market in self._markets]
        if count > _STEPS_AN_HOUR and count % _STEPS_AN_HOUR == _SETTLED_AFTER_STEPS:
            yield from self._settled(t)

    def _settled(self, t: Ms) -> Iterator[Recorded]:
        for market, rate in zip(self._markets, self._charged, strict=True):
            coin = market.listed.symbol
            row = {
                "coin": coin,
                "fundingRate": number(rate, 10),
                "premium": number(rate * 8, 10),
                "time": t // HOUR * HOUR + 47,
            }
            yield _answer(t, {"type": "fundingHistory", "coin": coin}, [row])


def _answer(t: Ms, request: Fields, answer: object) -> Recorded:
    channel = f"http:POST /info {msgspec.json.encode(request).decode()}"
    return record(t, "hyperliquid", channel, answer)


def _context(market: SimulatedMarket) -> Fields:
    listed, now = market.listed, market.now
    digits = listed.price_digits
    return {
        "funding": number(now.funding, 9),
        "openInterest": number(now.open_interest, listed.size_digits),
        "prevDayPx": number(listed.coin.price * 1.035, digits),
        "dayNtlVlm": number(now.volume, 1),
        "premium": number(now.mark / now.index - 1, 6),
        "oraclePx": number(now.index, digits),
        "markPx": number(now.mark, digits),
        "midPx": number(now.mark, digits),
    }


def _book(market: SimulatedMarket, t: Ms) -> Recorded:
    listed, book = market.listed, market.ladder
    bids, asks = sorted(book.bids.items(), reverse=True), sorted(book.asks.items())
    sides = [
        [
            {
                "px": number(at * listed.tick, listed.price_digits),
                "sz": number(size, listed.size_digits),
                "n": 1 + at % 9,
            }
            for at, size in side
        ]
        for side in (bids, asks)
    ]
    data = {
        "coin": listed.symbol,
        "time": t - _LATENCY_MS,
        "levels": sides,
        "spread": number((asks[0][0] - bids[0][0]) * listed.tick, listed.price_digits),
    }
    topic = f"l2Book:{listed.symbol}"
    frame = {"channel": "l2Book", "data": data}
    return record(t, "hyperliquid", _CHANNEL, frame, topic=topic, opens=True)
