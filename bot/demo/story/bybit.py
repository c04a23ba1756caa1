"""What Bybit would have sent in the demo's story."""

from collections.abc import Iterator

from bot.demo.story.market import START, Listed
from bot.demo.story.trading import SimulatedMarket
from bot.demo.story.writing import Fields, levels, number, record
from streams.durations import HOUR
from streams.events import Ms
from streams.feed.recording import Recorded

MOST_ORDERS = 4

_LATENCY_MS = 60
_CHANNEL = "ws:/v5/public/linear"
_NEXT_FUNDING = START + 4 * HOUR
_SLOW_STEPS = 4
_SNAPSHOT_STEPS = 12
_UPDATE_AT_START = 53_935_000


class Bybit:
    """Frames and answers, step by step."""

    def __init__(self, markets: list[SimulatedMarket]) -> None:
        self._markets = markets
        self._update = {market.listed.symbol: _UPDATE_AT_START for market in markets}

    def listing(self) -> Iterator[Recorded]:
        """What is asked once, and every hour."""
        tickers = [_ticker(market, step=0) for market in self._markets]
        contracts = [_contract(market.listed) for market in self._markets]
        yield _answer("tickers?category=linear", tickers)
        yield _answer("instruments-info?category=linear&limit=1000", contracts, nextPageCursor="")
        for market in self._markets:
            listed = market.listed
            newest = START - (0 if listed.funding_hours == 4 else 4 * HOUR)
            rows: list[Fields] = [
                {
                    "symbol": listed.symbol,
                    "fundingRate": number(listed.coin.funding[0] * listed.funding_hours / 8, 8),
                    "fundingRateTimestamp": str(at),
                }
                for at in (newest, newest - int(listed.funding_hours * HOUR))
            ]
            yield _answer(f"funding/history?category=linear&limit=2&symbol={listed.symbol}", rows)

    def step(self, count: int, t: Ms) -> Iterator[Recorded]:
        """Frames of step ``count``, which begins at ``t``."""
        for place, market in enumerate(self._markets):
            if market.listed.sends(count):
                yield from self._news(market, count, t + 1600 + 150 * place)
            if market.orders:
                yield _liquidations(market, t)

    def _news(self, market: SimulatedMarket, count: int, t: Ms) -> Iterator[Recorded]:
        opens = count % _SNAPSHOT_STEPS == 0
        symbol = market.listed.symbol
        ticker: Fields = {
            "topic": f"tickers.{symbol}",
            "type": "snapshot" if opens else "delta",
            "data": _ticker(market, count),
            "cs": 760_580_211_302 + count,
            "ts": t - _LATENCY_MS,
        }
        yield _frame(t, ticker, opens=opens)
        self._update[symbol] += 1
        book = _book(market, self._update[symbol], t + 1000, whole=opens)
        yield _frame(t + 1000, book, opens=opens)


def _frame(t: Ms, message: Fields, *, opens: bool = False) -> Recorded:
    return record(t, "bybit", _CHANNEL, message, topic=str(message["topic"]), opens=opens)


def _answer(path: str, rows: list[Fields], **more: str) -> Recorded:
    answer = {
        "retCode": 0,
        "retMsg": "OK",
        "result": {"category": "linear", "list": rows, **more},
        "retExtInfo": {},
        "time": START,
    }
    return record(START, "bybit", f"http:GET /v5/market/{path}", answer)


def _ticker(market: SimulatedMarket, step: int) -> Fields:
    """A full ticker with each snapshot, else what moves: prices, at times the slower values."""
    listed, now = market.listed, market.now
    fields: Fields = {
        "symbol": listed.symbol,
        "markPrice": number(now.mark, listed.price_digits),
        "indexPrice": number(now.index, listed.price_digits),
    }
    if step % _SLOW_STEPS == 0:
        coins, usd = now.open_interest, now.open_interest * now.mark
        fields |= {
            "openInterest": number(2 * coins, listed.size_digits),
            "openInterestValue": number(2 * usd, 2),
            "singleOpenInterest": number(coins, listed.size_digits),
            "singleOpenInterestValue": number(usd, 2),
            "turnover24h": number(now.volume, 1),
            "fundingRate": number(now.funding, 8),
        }
    if step % _SNAPSHOT_STEPS == 0:
        fields |= {
            "fundingIntervalHour": str(listed.funding_hours),
            "fundingCap": "0.005",
            "nextFundingTime": str(_NEXT_FUNDING),
        }
    return fields


def _contract(listed: Listed) -> Fields:
    return {
        "symbol": listed.symbol,
        "contractType": "LinearPerpetual",
        "status": "Trading",
        "baseCoin": listed.symbol.removesuffix("USDT"),
        "quoteCoin": "USDT",
        "settleCoin": "USDT",
        "launchTime": "1585526400000",
        "deliveryTime": "0",
        "fundingInterval": listed.funding_hours * 60,
        "symbolType": "",
    }


def _book(market: SimulatedMarket, update: int, t: Ms, *, whole: bool) -> Fields:
    book = market.ladder
    if whole:
        bids, asks = sorted(book.bids.items(), reverse=True), sorted(book.asks.items())
        kind = "snapshot"
    else:
        bids, asks = market.changes
        kind = "delta"
    data = {
        "s": market.listed.symbol,
        "b": levels(market.listed, bids),
        "a": levels(market.listed, asks),
        "u": update,
        "seq": 760_524_585_655 + 7 * update,
    }
    topic = f"orderbook.1000.{market.listed.symbol}"
    ts = t - _LATENCY_MS
    return {"topic": topic, "type": kind, "ts": ts, "data": data, "cts": ts - 3}


def _liquidations(market: SimulatedMarket, t: Ms) -> Recorded:
    """The step's orders in one frame, when the last of them is known."""
    listed, mark = market.listed, market.now.mark
    rows = [
        {
            "T": t + order.after,
            "s": listed.symbol,
            "S": "Buy" if order.long else "Sell",  # the position, not an order
            "v": number(order.size, listed.size_digits),
            "p": number(mark * (0.995 if order.long else 1.005), listed.price_digits),
        }
        for order in market.orders
    ]
    ts = t + market.orders[-1].after + 150
    topic = f"allLiquidation.{listed.symbol}"
    return _frame(ts + 60, {"topic": topic, "type": "snapshot", "ts": ts, "data": rows})
