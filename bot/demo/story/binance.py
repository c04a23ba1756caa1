"""What Binance would have sent in the demo's story."""

from collections.abc import Iterator
from random import Random

from bot.demo.story.market import START, Listed
from bot.demo.story.trading import Order, SimulatedMarket
from bot.demo.story.writing import Fields, levels, number, record
from streams.durations import HOUR
from streams.events import Ms
from streams.feed.recording import Recorded

MOST_ORDERS = 2

_LATENCY_MS = 35
_MARKET = "ws:/market/stream"
_BOOKS = "ws:/public/stream"
_NEXT_FUNDING = START + 4 * HOUR
_MINI_STEPS = 3
_POLL_STEPS = 6
_SNAPSHOT_STEPS = 12
_UPDATES_AT_START = 9_041_775_000_000


class Binance:
    """Frames and answers, step by step."""

    def __init__(self, markets: list[SimulatedMarket], random: Random) -> None:
        self._markets = markets
        self._random = random
        self._update = {market.listed.symbol: _UPDATES_AT_START for market in markets}

    def listing(self) -> Iterator[Recorded]:
        """What is asked once, and every hour."""
        listed = [market.listed for market in self._markets]
        answers = {
            "/fapi/v1/exchangeInfo": {
                "timezone": "UTC",
                "serverTime": START,
                "symbols": [_contract(row) for row in listed],
            },
            "/fapi/v1/fundingInfo": [_adjusted(row) for row in listed if row.funding_hours != 8],
            "/fapi/v1/ticker/24hr": [
                {"symbol": row.symbol, "quoteVolume": number(row.volume * 1e6, 2)} for row in listed
            ],
            "/fapi/v1/fundingRate?limit=1000": [_settled(row) for row in listed],
        }
        for path, answer in answers.items():
            yield record(START, "binance", f"http:GET {path}", answer)

    def step(self, count: int, t: Ms) -> Iterator[Recorded]:
        """Frames and answers of step ``count``, which begins at ``t``."""
        yield self._array(t + 20, "!markPrice@arr@1s", [_mark(m, t) for m in self._markets])
        if count % _MINI_STEPS == 0:
            minis = [_mini(market, t) for market in self._markets]
            yield self._array(t + 120, "!miniTicker@arr", minis)
        for place, market in enumerate(self._markets):
            if count % _POLL_STEPS == 0:
                yield self._open_interest(market, t if count == 0 else t + 1500 + 10 * place)
            if market.listed.sends(count):
                yield from self._book(market, count, t + 300 + 200 * place)
            yield from (
                self._array(t + order.after + 1, "!forceOrder@arr", force)
                for order, force in _orders(market, t)
            )

    def _array(self, t: Ms, stream: str, data: object) -> Recorded:
        return record(t, "binance", _MARKET, {"stream": stream, "data": data}, topic=stream)

    def _open_interest(self, market: SimulatedMarket, t: Ms) -> Recorded:
        symbol = market.listed.symbol
        answer = {
            "symbol": symbol,
            "openInterest": number(market.now.open_interest, market.listed.size_digits),
            "time": t - 400,
        }
        return record(t, "binance", f"http:GET /fapi/v1/openInterest?symbol={symbol}", answer)

    def _book(self, market: SimulatedMarket, count: int, t: Ms) -> Iterator[Recorded]:
        """The change of the book; before it, each minute, the snapshot that it ends with.

        Whoever gets a newer snapshot than its changes gets the change up to it afterwards; a new
        subscriber gets the changes since the newest snapshot, that one included.
        """
        symbol = market.listed.symbol
        previous = self._update[symbol]
        last = previous + 1 + int(self._random.random() * 400)
        self._update[symbol] = last
        opens = count % _SNAPSHOT_STEPS == 0
        if opens:
            yield self._snapshot(market, last, t - 1 if count else START)
        bids, asks = market.changes
        stream = f"{symbol.lower()}@depth@500ms"
        data = {
            "e": "depthUpdate",
            "E": t - _LATENCY_MS,
            "T": t - _LATENCY_MS - 4,
            "s": symbol,
            "ps": symbol,
            "U": previous + 1,
            "u": last,
            "pu": previous,
            "b": levels(market.listed, bids),
            "a": levels(market.listed, asks),
            "st": 1,
        }
        frame = {"stream": stream, "data": data}
        yield record(t, "binance", _BOOKS, frame, topic=stream, opens=opens)

    def _snapshot(self, market: SimulatedMarket, last: int, t: Ms) -> Recorded:
        book = market.ladder
        answer = {
            "lastUpdateId": last,
            "E": t - _LATENCY_MS,
            "T": t - _LATENCY_MS - 4,
            "bids": levels(market.listed, sorted(book.bids.items(), reverse=True)),
            "asks": levels(market.listed, sorted(book.asks.items())),
        }
        path = f"/fapi/v1/depth?symbol={market.listed.symbol}&limit=1000"
        return record(t, "binance", f"http:GET {path}", answer)


def _contract(listed: Listed) -> Fields:
    return {
        "symbol": listed.symbol,
        "pair": listed.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": 4_133_404_800_000,
        "onboardDate": 1_569_398_400_000,
        "status": "TRADING",
        "baseAsset": listed.symbol.removesuffix("USDT"),
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "underlyingType": "COIN",
    }


def _adjusted(listed: Listed) -> Fields:
    return {
        "symbol": listed.symbol,
        "adjustedFundingRateCap": "0.02000000",
        "adjustedFundingRateFloor": "-0.02000000",
        "fundingIntervalHours": listed.funding_hours,
    }


def _settled(listed: Listed) -> Fields:
    return {
        "symbol": listed.symbol,
        "fundingTime": START - (0 if listed.funding_hours == 4 else 4 * HOUR),
        "fundingRate": number(listed.coin.funding[0] * listed.funding_hours / 8, 8),
        "markPrice": number(listed.coin.price, 8),
        "rateType": "Regular",
    }


def _mark(market: SimulatedMarket, t: Ms) -> Fields:
    digits = market.listed.price_digits + 2
    return {
        "e": "markPriceUpdate",
        "E": t + 20 - _LATENCY_MS,
        "s": market.listed.symbol,
        "ps": market.listed.symbol,
        "p": number(market.now.mark, digits),
        "i": number(market.now.index, digits),
        "r": number(market.now.funding, 8),
        "T": _NEXT_FUNDING,
        "st": 1,
    }


def _mini(market: SimulatedMarket, t: Ms) -> Fields:
    listed, now = market.listed, market.now
    return {
        "e": "24hrMiniTicker",
        "E": t + 120 - _LATENCY_MS,
        "s": listed.symbol,
        "ps": listed.symbol,
        "c": number(now.mark, listed.price_digits),
        "o": number(listed.coin.price * 1.035, listed.price_digits),
        "h": number(listed.coin.price * 1.043, listed.price_digits),
        "l": number(now.low, listed.price_digits),
        "v": number(now.volume / listed.coin.price, listed.size_digits),
        "q": number(now.volume, 2),
        "st": 1,
    }


def _orders(market: SimulatedMarket, t: Ms) -> Iterator[tuple[Order, Fields]]:
    listed, mark = market.listed, market.now.mark
    for order in market.orders:
        away = -1 if order.long else 1
        size = number(order.size, listed.size_digits)
        row = {
            "s": listed.symbol,
            "S": "SELL" if order.long else "BUY",
            "o": "LIMIT",
            "f": "IOC",
            "q": size,
            "p": number(mark * (1 + away * 0.006), listed.price_digits),
            "ap": number(mark * (1 + away * 0.001), listed.price_digits),
            "X": "FILLED",
            "l": size,
            "z": size,
            "T": t + order.after - 1000,
            "ps": listed.symbol,
            "st": 1,
        }
        yield order, {"e": "forceOrder", "E": t + order.after - _LATENCY_MS, "o": row}
