"""Made-up markets for the benches, in the wire formats of three venues.

A book is a lattice of equally spaced prices, best bid ``mid``, best ask ``mid + 1``; it moves by
whole steps, so a change deletes what the price ran over, adds what it left behind and alters sizes
at random within 1 % of the price.
"""

import random
import time
from collections.abc import Callable, Iterable
from functools import cache

import msgspec

from streams.durations import HOUR

NAMED = ("BTC", "ETH", "SOL", "XRP", "BNB", "DOGE", "HYPE")
SNAPSHOT_LEVELS = 500
"""Levels a side in a snapshot: what most of Binance's small coins have at limit=1000."""

HYPERLIQUID_LEVELS = 20
FIRST_ID = 1_000_000_000_000
"""Thirteen digits, so that the flood can put another id in the place of one."""

encode = msgspec.json.encode
Pairs = list[tuple[str, str]]


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


class Market:
    """One coin on one venue. ``mid``: place of the best bid; ``update``: id of the last change."""

    def __init__(self, place: int, seed: str) -> None:
        self.dice = random.Random(f"{seed}{place}")
        self.asset = NAMED[place] if place < len(NAMED) else f"C{place:03d}"
        self.symbol = f"{self.asset}USDT"
        # 0.5 to 5 bp between prices, four or five digits: as most contracts have it
        self.mid = round(20_000 * 10 ** -self.dice.random())
        self.digits = self.dice.choice((2, 3, 4, 5))
        if place < 2:  # BTC and ETH have finer steps
            self.mid, self.digits = (640_000, 1) if place == 0 else (195_000, 2)
        self.home = self.mid
        self.update = FIRST_ID
        self.interest = 10 ** self.dice.uniform(6.0, 8.0) * (100 if place < len(NAMED) else 1)
        self.near = max(10, min(SNAPSHOT_LEVELS, self.mid // 100))

    def price(self, place: int) -> str:
        """The price of a place of the lattice."""
        return f"{place / 10**self.digits:.{self.digits}f}"

    @property
    def mark(self) -> float:
        """The price now."""
        return self.mid / 10**self.digits

    def size(self) -> str:
        """Some size, worth 100 to 100,000 USD."""
        return f"{10 ** self.dice.uniform(2, 5) / self.mark:.3f}"

    def step(self, changes: int, jump: int | None = None) -> tuple[Pairs, Pairs]:
        """Move ``jump`` places (None: at random), change sizes; the bids and asks that changed."""
        if jump is None:
            pull = (self.home - self.mid) / self.home * 20  # so that no price wanders off
            jump = round(self.dice.gauss(pull, 0.7))
        old, self.mid = self.mid, self.mid + jump
        ran_over = range(min(old, self.mid) + 1, max(old, self.mid) + 1)
        bids = [(self.price(p), self.size() if jump > 0 else "0") for p in ran_over]
        asks = [(self.price(p), "0" if jump > 0 else self.size()) for p in ran_over]
        for _ in range(max(0, changes - len(bids) * 2) // 2):
            away = int(self.dice.random() ** 2 * self.near)
            bids.append((self.price(self.mid - away), self.size()))
            asks.append((self.price(self.mid + 1 + away), self.size()))
        return bids, asks

    def book(self, levels: int, every: int = 1) -> tuple[Pairs, Pairs]:
        """The whole book, best first."""
        places = range(0, levels * every, every)
        bids = [(self.price(self.mid - p), self.size()) for p in places if p < self.mid]
        return bids, [(self.price(self.mid + 1 + p), self.size()) for p in places]


def binance_depth(market: Market, changes: int = 10, jump: int | None = None) -> bytes:
    """The next diff of a book, as /public/stream brings it."""
    before, market.update = market.update, market.update + 40
    bids, asks = market.step(changes, jump)
    now = now_ms()
    data = {
        "e": "depthUpdate", "E": now, "T": now - 4, "s": market.symbol, "ps": market.symbol,
        "U": before + 1, "u": market.update, "pu": before, "b": bids, "a": asks, "st": 1,
    }  # fmt: skip
    return encode({"stream": f"{market.symbol.lower()}@depth@500ms", "data": data})


def binance_snapshot(market: Market, update: int | None = None) -> bytes:
    """The answer to /fapi/v1/depth, with the id of the diff that it ends with."""
    bids, asks = market.book(SNAPSHOT_LEVELS)
    last = market.update if update is None else update
    return encode({"lastUpdateId": last, "E": now_ms(), "T": now_ms(), "bids": bids, "asks": asks})


def binance_array(stream: str, row: Callable[[Market], object], markets: list[Market]) -> bytes:
    """A frame of an all-market stream."""
    return encode({"stream": stream, "data": [row(market) for market in markets]})


def binance_mark(market: Market) -> object:
    """One row of !markPrice@arr@1s."""
    mark = f"{market.mark * market.dice.uniform(0.9999, 1.0001):.8f}"
    return {
        "e": "markPriceUpdate", "E": now_ms(), "s": market.symbol, "ps": market.symbol, "p": mark,
        "i": mark, "P": mark, "ap": mark, "r": f"{market.dice.gauss(5e-5, 1e-5):.8f}",
        "T": next_hour(8), "st": 1,
    }  # fmt: skip


def binance_mini(market: Market) -> object:
    """One row of !miniTicker@arr."""
    price = market.price(market.mid)
    return {
        "e": "24hrMiniTicker", "E": now_ms(), "s": market.symbol, "ps": market.symbol, "c": price,
        "o": price, "h": price, "l": price, "v": "125235.211",
        "q": f"{market.interest * market.dice.uniform(2.99, 3.01):.2f}", "st": 1,
    }  # fmt: skip


def binance_order(market: Market, usd: float) -> bytes:
    """A liquidation of a long at this very moment."""
    now, price = now_ms(), market.mark
    size = f"{usd / price:.6f}"
    order = {
        "s": market.symbol, "S": "SELL", "o": "LIMIT", "f": "IOC", "q": size, "p": f"{price:.8f}",
        "ap": f"{price:.8f}", "X": "FILLED", "l": size, "z": size, "T": now, "st": 1,
    }  # fmt: skip
    return encode({"stream": "!forceOrder@arr", "data": {"e": "forceOrder", "E": now, "o": order}})


def binance_answer(path: str, markets: list[Market]) -> bytes:
    """The listing and polls that need one market at most."""
    match path:
        case "/fapi/v1/exchangeInfo":
            return encode({"symbols": [_binance_contract(m) for m in markets]})
        case "/fapi/v1/fundingInfo":
            return b"[]"
        case "/fapi/v1/ticker/24hr":
            rows = [{"symbol": m.symbol, "quoteVolume": f"{3 * m.interest:.2f}"} for m in markets]
            return encode(rows)
        case "/fapi/v1/fundingRate":
            rows = [
                {"symbol": m.symbol, "fundingRate": "0.00005000", "fundingTime": last_hour(8)}
                for m in markets
            ]
            return encode(rows)
        case _:
            raise KeyError(path)


def binance_interest(market: Market) -> bytes:
    """The answer to /fapi/v1/openInterest."""
    coins = market.interest / market.mark * market.dice.uniform(0.999, 1.001)
    return encode({"symbol": market.symbol, "openInterest": f"{coins:.3f}", "time": now_ms()})


def _binance_contract(market: Market) -> object:
    return {
        "symbol": market.symbol, "contractType": "PERPETUAL", "status": "TRADING",
        "baseAsset": market.asset, "quoteAsset": "USDT",
    }  # fmt: skip


def bybit_ticker(market: Market, whole: bool) -> bytes:
    """A ticker: the whole of it, or mark and index price and at times the rest."""
    mark = f"{market.mark * market.dice.uniform(0.9999, 1.0001):.8f}"
    data = {"symbol": market.symbol, "markPrice": mark, "indexPrice": mark}
    if whole or market.dice.random() < 0.2:
        coins = market.interest / market.mark * market.dice.uniform(0.999, 1.001)
        data["singleOpenInterest"] = f"{coins:.3f}"
        data["singleOpenInterestValue"] = f"{coins * market.mark:.2f}"
        data["turnover24h"] = f"{market.interest * market.dice.uniform(2.99, 3.01):.2f}"
        data["fundingRate"] = f"{market.dice.gauss(5e-5, 1e-5):.8f}"
    if whole:
        data |= {"fundingIntervalHour": "8", "nextFundingTime": str(next_hour(8))}
    kind = "snapshot" if whole else "delta"
    return encode(
        {"topic": f"tickers.{market.symbol}", "type": kind, "data": data, "cs": 1, "ts": now_ms()}
    )


def bybit_book(market: Market, topic: str, whole: bool) -> bytes:
    """A book: its best levels, or what changed. What falls out of its reach is deleted."""
    levels = int(topic.split(".")[1])
    old = market.mid
    bids, asks = market.book(levels) if whole else market.step(8)
    if not whole:
        up = market.mid > old
        for place in range(min(old, market.mid), max(old, market.mid)):
            bids.append((market.price(place - levels + 1), "0" if up else market.size()))
            asks.append((market.price(place + levels + 1), market.size() if up else "0"))
    market.update += 1
    data = {"s": market.symbol, "b": bids, "a": asks, "u": market.update, "seq": market.update}
    kind = "snapshot" if whole else "delta"
    return encode({"topic": topic, "type": kind, "ts": now_ms(), "data": data, "cts": now_ms()})


def bybit_answer(path: str, markets: list[Market]) -> bytes:
    """The listing; settled funding is answered with nothing."""
    if path == "/v5/market/tickers":
        rows: list[object] = [
            {
                "symbol": m.symbol,
                "singleOpenInterestValue": f"{m.interest:.2f}",
                "singleOpenInterest": f"{m.interest / m.mark:.3f}",
                "turnover24h": f"{3 * m.interest:.2f}",
            }
            for m in markets
        ]
    elif path == "/v5/market/instruments-info":
        rows = [_bybit_contract(m) for m in markets]
    else:
        rows = []
    return encode({"retCode": 0, "retMsg": "OK", "result": {"list": rows, "nextPageCursor": ""}})


def _bybit_contract(market: Market) -> object:
    return {
        "symbol": market.symbol, "contractType": "LinearPerpetual", "status": "Trading",
        "baseCoin": market.asset, "quoteCoin": "USDT", "fundingInterval": 480,
    }  # fmt: skip


def hyperliquid_book(market: Market) -> bytes:
    """A book of 20 levels a side in buckets of four significant figures."""
    market.step(2)
    bucket = 10 ** (len(str(market.mid)) - 4)
    market.mid = market.mid // bucket * bucket
    sides = [
        [{"px": price, "sz": size, "n": 3} for price, size in side]
        for side in market.book(HYPERLIQUID_LEVELS, bucket)
    ]
    data = {"coin": market.asset, "time": now_ms(), "levels": sides}
    return encode({"channel": "l2Book", "data": data})


def hyperliquid_contexts(markets: Iterable[Market]) -> bytes:
    """allDexsAssetCtxs of the main dex."""
    rows = [_context(market) for market in markets]
    return encode({"channel": "allDexsAssetCtxs", "data": {"ctxs": [["", rows]]}})


def hyperliquid_answer(body: bytes, markets: list[Market]) -> bytes:
    """The listing, without other dexes; settled funding of one coin."""
    asked = msgspec.json.decode(body, type=dict[str, str | int])
    if asked["type"] == "metaAndAssetCtxs":
        universe = [{"name": market.asset, "szDecimals": 3} for market in markets]
        return encode([{"universe": universe}, [_context(market) for market in markets]])
    if asked["type"] == "allPerpMetas":
        return encode([])
    row = {"coin": asked["coin"], "fundingRate": "0.0000125", "time": last_hour(1)}
    return encode([row])


def _context(market: Market) -> object:
    mark = f"{market.mark * market.dice.uniform(0.9999, 1.0001):.6f}"
    coins = market.interest / market.mark * market.dice.uniform(0.999, 1.001)
    return {
        "funding": f"{market.dice.gauss(1e-5, 1e-6):.9f}", "openInterest": f"{coins:.3f}",
        "prevDayPx": mark, "dayNtlVlm": f"{market.interest * market.dice.uniform(2.99, 3.01):.2f}",
        "premium": "0.0001", "oraclePx": mark, "markPx": mark, "midPx": mark,
    }  # fmt: skip


@cache
def markets(venue: str, count: int) -> list[Market]:
    """The first ``count`` markets of a venue, the same coins on each."""
    return [Market(place, venue) for place in range(count)]


def last_hour(hours: int) -> int:
    """When funding was last charged."""
    return now_ms() // (hours * HOUR) * hours * HOUR


def next_hour(hours: int) -> int:
    """When funding will be charged."""
    return last_hour(hours) + hours * HOUR
