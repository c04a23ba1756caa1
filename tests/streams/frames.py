"""Small frames as the venues write them, for tests of sessions, lines and the consumer."""

import gzip
import json
from collections.abc import Sequence
from typing import Any

from streams.contracts import Contracts
from streams.events import Instrument, Ms
from streams.venue import Listing
from streams.venues import VENUES
from tests.streams.virtual import EPOCH

Levels = Sequence[tuple[float | str, float]]
"""Prices, also as they are written, and sizes."""

NEXT_FUNDING: Ms = (EPOCH // 28_800_000 + 1) * 28_800_000


def listing_of(venue: str, *assets: str) -> Listing:
    """A listing in which each asset has one contract."""
    known = {i.symbol: i for i in contracts(venue, *assets)}
    return Listing(instruments=known, order=assets, contracts=Contracts(VENUES[venue].SPEC.rows))


def contracts(venue: str, *assets: str) -> list[Instrument]:
    """One contract for each asset."""
    return [
        Instrument(
            venue=venue,
            symbol=symbol_of(venue, asset),
            asset=asset,
            quote=QUOTES.get(venue, "USDT"),
            contract_size=SIZES.get(venue, 1.0),
            inverse=venue in INVERSE,
            funding_hours=8.0,
        )
        for asset in assets
    ]


LIGHTER = {"BTC": 1, "ETH": 2, "SOL": 3, "XYZ": 4, "QQQ": 5}
"""Asset → the number of its market."""


def symbol_of(venue: str, asset: str) -> str:
    """The name of its contract there."""
    if venue == "lighter":  # the number of its market
        return f"{LIGHTER.get(asset) or 1_000 + int(asset[1:])}"
    return {"kraken": "PF_", "bitfinex": "t"}.get(venue, "") + asset + {
        "hyperliquid": "", "okx": "-USDT-SWAP", "binance-coinm": "USD_PERP", "bybit-inverse": "USD",
        "gate": "_USDT", "htx": "-USDT", "deribit": "_USDC-PERPETUAL", "kraken": "USD",
        "bitfinex": "F0:USTF0",
    }.get(venue, "USDT")  # fmt: skip


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _texts(levels: Levels) -> list[list[str]]:
    return [[str(price), str(size)] for price, size in levels]


CONTRACT = 0.5
"""Coins in a contract of OKX, of Gate and of HTX here."""

SIZES = {"okx": CONTRACT, "gate": CONTRACT, "htx": CONTRACT, "binance-coinm": 100.0}
"""How many coins a contract of each venue has, of inverse ones how many dollars."""

INVERSE = ("binance-coinm", "bybit-inverse")
"""Venues whose contracts are inverse."""

QUOTES = {
    "hyperliquid": "USDC",
    "lighter": "USDC",
    "deribit": "USDC",
    "kraken": "USD",
} | dict.fromkeys(INVERSE, "USD")
"""What contracts of each venue are quoted in here, where that is not USDT."""

BIDS: Levels = ((99.99, 5.0), (99.9, 7.0))
ASKS: Levels = ((100.01, 5.0), (100.1, 7.0))
"""A book that is valid."""


# ── Binance ─────────────────────────────────────────────────────────────


def marks(*symbols: str, at: Ms = EPOCH, next_at: Ms = NEXT_FUNDING, price: float = 100) -> bytes:
    """Funding and price of these symbols."""
    rows = [
        {"e": "markPriceUpdate", "E": at, "s": s, "p": str(price), "i": str(price), "r": "0.0001",
         "T": next_at, "st": 1}
        for s in symbols
    ]  # fmt: skip
    return _line({"stream": "!markPrice@arr@1s", "data": rows})


def minis(*symbols: str, at: Ms = EPOCH) -> bytes:
    """Volumes of these symbols."""
    rows = [
        {"e": "24hrMiniTicker", "E": at, "s": s, "v": "1e4", "q": "1e6", "st": 1} for s in symbols
    ]
    return _line({"stream": "!miniTicker@arr", "data": rows})


def forced(
    symbol: str, size: float = 1.0, at: Ms = EPOCH, price: float = 100, long: bool = True
) -> bytes:
    """A long (or a short) of Binance was liquidated at 100, or at ``price``."""
    side = "SELL" if long else "BUY"
    order = {"s": symbol, "S": side, "X": "FILLED", "ap": str(price), "z": str(size), "T": at,
             "st": 1}  # fmt: skip
    data = {"e": "forceOrder", "E": at, "o": order}
    return _line({"stream": "!forceOrder@arr", "data": data})


def change(
    symbol: str,
    first: int,
    last: int,
    bids: Levels = (),
    asks: Levels = (),
    previous: int | None = None,
    at: Ms = EPOCH,
) -> bytes:
    """A change of a Binance book."""
    previous = first - 1 if previous is None else previous
    data = {"e": "depthUpdate", "E": at, "T": at, "s": symbol, "U": first, "u": last,
            "pu": previous, "b": _texts(bids), "a": _texts(asks)}  # fmt: skip
    return _line({"stream": f"{symbol.lower()}@depth@500ms", "data": data})


def snapshot(last: int, bids: Levels = BIDS, asks: Levels = ASKS, at: Ms = EPOCH) -> bytes:
    """A Binance book by REST."""
    body = {"lastUpdateId": last, "E": at, "T": at, "bids": _texts(bids), "asks": _texts(asks)}
    return _line(body)


def done(request: int = 1) -> bytes:
    """Binance has taken a subscription."""
    return _line({"result": None, "id": request})


# ── Bybit ───────────────────────────────────────────────────────────────


def ticker(symbol: str, at: Ms = EPOCH, **fields: str) -> bytes:
    """Everything that a Bybit ticker tells."""
    data = {
        "symbol": symbol,
        "markPrice": "100",
        "indexPrice": "100",
        "fundingRate": "0.0001",
        "fundingIntervalHour": "8",
        "nextFundingTime": str(NEXT_FUNDING),
        "singleOpenInterest": "10",
        "singleOpenInterestValue": "1000",
        "turnover24h": "1e6",
    } | fields
    return _line({"topic": f"tickers.{symbol}", "type": "snapshot", "data": data, "ts": at})


def ticker_delta(symbol: str, at: Ms = EPOCH, **fields: str) -> bytes:
    """What changed in a Bybit ticker."""
    data = {"symbol": symbol} | fields
    return _line({"topic": f"tickers.{symbol}", "type": "delta", "data": data, "ts": at})


def liquidated(
    symbol: str, *sizes: float, at: Ms = EPOCH, price: float = 100, long: bool = True
) -> bytes:
    """Longs (or shorts) of Bybit were liquidated at 100, or at ``price``."""
    side = "Buy" if long else "Sell"
    rows = [{"T": at, "s": symbol, "S": side, "v": str(size), "p": str(price)} for size in sizes]
    return _line({"topic": f"allLiquidation.{symbol}", "type": "snapshot", "ts": at, "data": rows})


def bybit_book(
    symbol: str,
    update: int,
    bids: Levels = BIDS,
    asks: Levels = ASKS,
    delta: bool = False,
    depth: int = 1000,
    at: Ms = EPOCH,
) -> bytes:
    """A snapshot of a Bybit book, or a delta."""
    return _line(
        {
            "topic": f"orderbook.{depth}.{symbol}",
            "type": "delta" if delta else "snapshot",
            "ts": at,
            "data": {"s": symbol, "b": _texts(bids), "a": _texts(asks), "u": update, "seq": 1},
        }
    )


def bybit_says(text: str = "", success: bool = True) -> bytes:
    """Bybit's answer to a request."""
    return _line({"success": success, "ret_msg": text, "conn_id": "x", "op": "subscribe"})


# ── Hyperliquid ─────────────────────────────────────────────────────────


def contexts(count: int) -> bytes:
    """The contexts of the first ``count`` coins."""
    return contexts_at(*[100.0] * count)


def contexts_at(*marks: float, interest: float = 5) -> bytes:
    """The contexts of the first coins, at these prices."""
    rows = [
        {"funding": "0.0001", "openInterest": str(interest), "markPx": str(mark),
         "oraclePx": str(mark), "dayNtlVlm": "1e6"}
        for mark in marks
    ]  # fmt: skip
    return _line({"channel": "allDexsAssetCtxs", "data": {"ctxs": [["", rows]]}})


def coin_book(coin: str, bids: Levels = BIDS, asks: Levels = ASKS, at: Ms = EPOCH) -> bytes:
    """A book of Hyperliquid."""
    levels = [[{"px": str(p), "sz": str(q), "n": 1} for p, q in side] for side in (bids, asks)]
    return _line({"channel": "l2Book", "data": {"coin": coin, "time": at, "levels": levels}})


def coin_error(text: str) -> bytes:
    """Hyperliquid refuses something."""
    return _line({"channel": "error", "data": text})


# ── OKX ─────────────────────────────────────────────────────────────────


def okx_says(event: str = "subscribe", **fields: object) -> bytes:
    """OKX's answer to a request, or what it says unasked."""
    return _line({"event": event, **fields, "connId": "x"})


def okx_opens(channel: str = "liquidation-orders") -> bytes:
    """OKX has taken the subscription to a channel of all contracts."""
    return okx_says(arg={"channel": channel, "instType": "SWAP"})


def okx_price(symbol: str, mark: float = 100, at: Ms = EPOCH) -> bytes:
    """The mark price of an OKX contract."""
    row = {"instType": "SWAP", "instId": symbol, "markPx": str(mark), "ts": str(at)}
    return _line({"arg": {"channel": "mark-price", "instId": symbol}, "data": [row]})


def okx_index(symbol: str, index: float = 100, at: Ms = EPOCH) -> bytes:
    """The index of an OKX contract."""
    name = symbol.removesuffix("-SWAP")
    row = {"instId": name, "idxPx": str(index), "ts": str(at)}
    return _line({"arg": {"channel": "index-tickers", "instId": name}, "data": [row]})


def okx_forced(
    symbol: str, *coins: float, at: Ms = EPOCH, price: float = 100, long: bool = True
) -> bytes:
    """Longs (or shorts) of OKX were liquidated at 100, or at ``price``, each of so many coins."""
    side, position = ("sell", "long") if long else ("buy", "short")
    details = [
        {"side": side, "posSide": position, "bkPx": str(price), "sz": str(size / CONTRACT),
         "bkLoss": "0", "ccy": "", "ts": str(at)}
        for size in coins
    ]  # fmt: skip
    row = {"instType": "SWAP", "instId": symbol, "details": details}
    arg = {"channel": "liquidation-orders", "instType": "SWAP"}
    return _line({"arg": arg, "data": [row]})


def okx_book(
    symbol: str,
    last: int,
    bids: Levels = BIDS,
    asks: Levels = ASKS,
    previous: int | None = None,
    at: Ms = EPOCH,
) -> bytes:
    """A snapshot of an OKX book, or a change that follows ``previous``; sizes are in coins."""
    sides = {
        name: [[str(price), str(size / CONTRACT), "0", "1"] for price, size in side]
        for name, side in (("asks", asks), ("bids", bids))
    }
    ids = {"checksum": 0, "seqId": last, "prevSeqId": -1 if previous is None else previous}
    return _line(
        {
            "arg": {"channel": "books", "instId": symbol},
            "action": "snapshot" if previous is None else "update",
            "data": [{**sides, "ts": str(at), **ids}],
        }
    )


def okx_contract(symbol: str, **fields: str) -> dict[str, str]:
    """A row of OKX's listing."""
    asset = symbol.partition("-")[0]
    return {
        "instType": "SWAP", "instId": symbol, "instFamily": f"{asset}-USDT", "uly": f"{asset}-USDT",
        "ctType": "linear", "ctVal": str(CONTRACT), "ctMult": "1", "ctValCcy": asset,
        "settleCcy": "USDT", "state": "live", "ruleType": "normal", "instCategory": "1",
        "expTime": "",
    } | fields  # fmt: skip


def okx_funding(symbol: str, at: Ms = EPOCH, hours: int = 8, **fields: str) -> dict[str, str]:
    """A row of OKX's answer about funding."""
    due = (at // (hours * 3_600_000) + 1) * hours * 3_600_000
    return {
        "instType": "SWAP", "instId": symbol, "fundingRate": "0.0001", "fundingTime": str(due),
        "prevFundingTime": str(due - hours * 3_600_000),
        "nextFundingTime": str(due + hours * 3_600_000), "settFundingRate": "0.0001",
        "settState": "settled", "ts": str(at),
    } | fields  # fmt: skip


def okx_settled(symbol: str, at: Ms = EPOCH, hours: int = 8, **fields: str) -> list[dict[str, str]]:
    """OKX's last two settlements of one contract, the newest first."""
    last = at // (hours * 3_600_000) * hours * 3_600_000
    return [
        {
            "instType": "SWAP", "instId": symbol, "fundingRate": "0.0002", "realizedRate": "0.0001",
            "fundingTime": str(time), "method": "current_period", "formulaType": "noRate",
        } | fields
        for time in (last, last - hours * 3_600_000)
    ]  # fmt: skip


def okx_interest(symbol: str, coins: float = 10, at: Ms = EPOCH) -> dict[str, str]:
    """A row of OKX's answer about open interest, at 100 USD."""
    return {
        "instType": "SWAP", "instId": symbol, "oi": str(coins / CONTRACT), "oiCcy": str(coins),
        "oiUsd": str(coins * 100), "ts": str(at),
    }  # fmt: skip


def okx_ticker(symbol: str, at: Ms = EPOCH) -> dict[str, str]:
    """A row of OKX's answer about volumes."""
    return {
        "instType": "SWAP", "instId": symbol, "last": "100", "vol24h": "20000",
        "volCcy24h": "10000", "bidPx": "99.99", "askPx": "100.01", "ts": str(at),
    }  # fmt: skip


def okx_checks(symbols: Sequence[str], at: Ms, mark: float = 100) -> dict[str, list[Any]]:
    """What OKX answers about mark prices, index prices and books, by path."""
    checks: dict[str, list[Any]] = {
        "/api/v5/public/mark-price?instType=SWAP": [
            {"instType": "SWAP", "instId": s, "markPx": str(mark), "ts": str(at)} for s in symbols
        ],
        "/api/v5/market/index-tickers?quoteCcy=USDC": [],
        "/api/v5/market/index-tickers?quoteCcy=USDT": [
            {"instId": s.removesuffix("-SWAP"), "idxPx": "100", "ts": str(at)} for s in symbols
        ],
    }
    sides = {
        name: [[str(price), str(size / CONTRACT), "0", "1"] for price, size in side]
        for name, side in (("bids", BIDS), ("asks", ASKS))
    }
    book = {**sides, "ts": str(at)}
    return checks | {f"/api/v5/market/books?sz=400&instId={s}": [book] for s in symbols}


def okx_answer(rows: Sequence[object]) -> bytes:
    """The body of an answer of OKX."""
    return _line({"code": "0", "msg": "", "data": rows})


# ── Bitget ──────────────────────────────────────────────────────────────


def bitget_topic(topic: str = "books", symbol: str = "") -> dict[str, str]:
    """What is subscribed there."""
    named = {"symbol": symbol} if symbol else {}
    return {"instType": "usdt-futures", "topic": topic} | named


def bitget_says(event: str = "subscribe", **fields: object) -> bytes:
    """Bitget's answer to a request."""
    return _line({"event": event, **fields})


def bitget_opens() -> bytes:
    """Bitget has taken the subscription to all liquidations."""
    return bitget_says(arg=bitget_topic("liquidation"))


def bitget_refuses(symbol: str, operation: str = "subscribe") -> bytes:
    """Bitget knows no book of this contract."""
    arg = bitget_topic("books", symbol)
    return bitget_says("error", arg=arg, code=30001, msg="doesn't exist", op=operation)


def bitget_forced(
    symbol: str, *coins: float, at: Ms = EPOCH, price: float = 100, long: bool = True
) -> bytes:
    """Longs (or shorts) of Bitget were liquidated at 100, or at ``price``, each of so many coins.

    The frame has their amounts in USDT.
    """
    rows = [
        {"symbol": symbol, "side": "buy" if long else "sell", "price": str(price),
         "amount": str(size * price), "ts": str(at)}
        for size in coins
    ]  # fmt: skip
    arg = bitget_topic("liquidation")
    return _line({"action": "update", "arg": arg, "data": rows, "ts": at})


def bitget_book(
    symbol: str,
    last: int,
    bids: Levels = BIDS,
    asks: Levels = ASKS,
    previous: int | None = None,
    at: Ms = EPOCH,
) -> bytes:
    """A snapshot of a Bitget book, or a change that follows ``previous``."""
    row = {"a": _texts(asks), "b": _texts(bids), "seq": last, "pseq": previous or 0, "ts": str(at)}
    return _line(
        {
            "action": "snapshot" if previous is None else "update",
            "arg": bitget_topic("books", symbol),
            "data": [row],
            "ts": at,
        }
    )


def bitget_contract(symbol: str, **fields: str) -> dict[str, str]:
    """A row of Bitget's listing."""
    return {
        "symbol": symbol, "baseCoin": symbol.removesuffix("USDT"), "quoteCoin": "USDT",
        "symbolType": "perpetual", "symbolStatus": "normal", "offTime": "-1",
        "limitOpenTime": "-1", "fundInterval": "8", "isRwa": "NO",
    } | fields  # fmt: skip


def bitget_ticker(symbol: str, at: Ms = EPOCH, **fields: str) -> dict[str, str]:
    """A row of Bitget's answer about prices, open interest and volumes."""
    return {
        "symbol": symbol, "lastPr": "100", "markPrice": "100", "indexPrice": "100",
        "holdingAmount": "10", "quoteVolume": "1000000", "bidPr": "99.99", "askPr": "100.01",
        "ts": str(at),
    } | fields  # fmt: skip


def bitget_funding(symbol: str, at: Ms = EPOCH, hours: int = 8, **fields: str) -> dict[str, str]:
    """A row of Bitget's answer about funding."""
    due = (at // (hours * 3_600_000) + 1) * hours * 3_600_000
    return {
        "symbol": symbol, "fundingRate": "0.0001", "fundingRateInterval": str(hours),
        "nextUpdate": str(due), "minFundingRate": "-0.003", "maxFundingRate": "0.003",
    } | fields  # fmt: skip


def bitget_settled(symbol: str, at: Ms = EPOCH, hours: int = 8) -> list[dict[str, str]]:
    """Bitget's answer about the last two settlements of a contract."""
    last = at // (hours * 3_600_000) * hours * 3_600_000
    return [
        {"symbol": symbol, "fundingRate": "0.0001", "fundingTime": str(time)}
        for time in (last, last - hours * 3_600_000)
    ]


def bitget_orders(at: Ms = EPOCH) -> dict[str, Any]:
    """Bitget's answer about the book of a contract."""
    return {"asks": _texts(ASKS), "bids": _texts(BIDS), "ts": str(at), "scale": "0.01"}


def bitget_answer(rows: object, at: Ms = EPOCH) -> bytes:
    """The body of an answer of Bitget."""
    return _line({"code": "00000", "msg": "success", "requestTime": at, "data": rows})


# ── Gate ────────────────────────────────────────────────────────────────


def _gate_frame(channel: str, result: object, at: Ms, event: str = "update") -> bytes:
    times = {"time": at // 1_000, "time_ms": at}
    return _line({**times, "channel": channel, "event": event, "result": result})


def gate_says(
    channel: str, *payload: str, event: str = "subscribe", error: str = "", at: Ms = EPOCH
) -> bytes:
    """Gate's answer to a request, which it refuses with ``error``."""
    fault = {"error": {"code": 2, "message": error}} if error else {}
    status = {"status": "fail" if error else "success"}
    ids = {"time": at // 1_000, "time_ms": at, "conn_id": "x"}
    topic = {"channel": channel, "event": event, "payload": payload}
    return _line({**ids, **topic, **fault, "result": status})


def gate_opens() -> bytes:
    """Gate has taken the subscription to all liquidations."""
    return gate_says("futures.public_liquidates", "!all")


def gate_pong(at: Ms = EPOCH) -> bytes:
    """Gate's answer to its own kind of ping."""
    return _gate_frame("futures.pong", None, at, event="")


def gate_upgrade(at: Ms = EPOCH) -> bytes:
    """Gate will close the connection soon."""
    notice = {"type": "upgrade", "msg": "please reconnect"}
    return _gate_frame("futures.system", notice, at)


def gate_row(
    symbol: str, price: float = 100, coins: float = 10, **fields: object
) -> dict[str, Any]:
    """What Gate's ticker of a contract has by REST."""
    return {
        "contract": symbol, "last": str(price), "total_size": str(coins / CONTRACT),
        "mark_price": str(price), "index_price": str(price), "funding_rate": "0.0001",
        "volume_24h_quote": "1000000", "highest_bid": str(price * 0.9999),
        "lowest_ask": str(price * 1.0001),
    } | fields  # fmt: skip


def gate_orders(at: Ms = EPOCH) -> dict[str, Any]:
    """Gate's answer about the book of a contract."""
    sides = {
        name: [{"p": str(price), "s": size / CONTRACT} for price, size in side]
        for name, side in (("bids", BIDS), ("asks", ASKS))
    }
    return {"current": at / 1000, "update": at / 1000, **sides}


def gate_ticker(
    symbol: str,
    price: float = 100,
    coins: float = 10,
    at: Ms = EPOCH,
    hours: int = 8,
    **fields: object,
) -> bytes:
    """Everything that a ticker of Gate tells."""
    due = (at // (hours * 3_600_000) + 1) * hours * 3_600
    terms = {"funding_interval": hours * 3_600, "funding_next_apply": due, "t": at}
    row = gate_row(symbol, price, coins, **terms) | fields
    return _gate_frame("futures.tickers", [row], at)


def gate_forced(
    symbol: str, *coins: float, at: Ms = EPOCH, price: float = 100, long: bool = True
) -> bytes:
    """Longs (or shorts) of Gate were liquidated at 100, or at ``price``, each of so many coins."""
    rows = [
        {"contract": symbol, "price": str(price), "time_ms": at,
         "size": str((-1 if long else 1) * size / CONTRACT)}
        for size in coins
    ]  # fmt: skip
    return _gate_frame("futures.public_liquidates", rows, at)


def gate_book(
    symbol: str,
    last: int,
    bids: Levels = BIDS,
    asks: Levels = ASKS,
    first: int | None = None,
    at: Ms = EPOCH,
) -> bytes:
    """A snapshot of a Gate book, or the changes from ``first`` on; sizes are in coins."""
    sides = {
        name: [[str(price), str(size / CONTRACT)] for price, size in side]
        for name, side in (("b", bids), ("a", asks))
    }
    ids = {"full": True, "u": last} if first is None else {"U": first, "u": last}
    result = {"t": at, "s": f"ob.{symbol}.400", **ids, **sides}
    return _gate_frame("futures.obu", result, at)


def gate_contract(symbol: str, **fields: object) -> dict[str, Any]:
    """A row of Gate's listing."""
    return {
        "name": symbol, "type": "direct", "quanto_multiplier": str(CONTRACT), "status": "trading",
        "in_delisting": False, "is_pre_market": False, "contract_type": "",
        "funding_interval": 28_800,
    } | fields  # fmt: skip


def gate_settled(at: Ms = EPOCH, hours: int = 8) -> bytes:
    """Gate's answer about the last two settlements of a contract."""
    last = at // (hours * 3_600_000) * hours * 3_600
    return _line([{"t": last, "r": "0.0001"}, {"t": last - hours * 3_600, "r": "0.0001"}])


# ── Deribit ─────────────────────────────────────────────────────────────


def deribit_tells(channel: str, data: object) -> bytes:
    """What a channel of Deribit brings."""
    params = {"channel": channel, "data": data}
    return _line({"jsonrpc": "2.0", "method": "subscription", "params": params})


def deribit_answers(request: int, result: object = None, error: str = "") -> bytes:
    """Deribit's answer to the request of this id, or why it is refused."""
    answer = {"error": {"code": 10028, "message": error}} if error else {"result": result}
    return _line({"jsonrpc": "2.0", "id": request, **answer, "testnet": False})


def deribit_opens() -> bytes:
    """Deribit has taken the subscription to all trades."""
    return deribit_answers(1, ["trades.future.any.100ms"])


def deribit_ticker(
    symbol: str, price: float = 100, held: float = 10, at: Ms = EPOCH, **fields: object
) -> bytes:
    """Everything that a ticker of Deribit tells; ``held`` is in coins, of inverse ones in USD."""
    data = {
        "instrument_name": symbol, "timestamp": at, "state": "open", "open_interest": held,
        "mark_price": price, "index_price": price, "current_funding": 0.0008,
        "funding_8h": 0.0004, "stats": {"volume": 10_000.0, "volume_usd": 1_000_000.0},
    } | fields  # fmt: skip
    return deribit_tells(f"ticker.{symbol}.agg2", data)


def deribit_trade(
    symbol: str, amount: float, at: Ms = EPOCH, price: float = 100, **fields: object
) -> dict[str, Any]:
    """A trade of Deribit whose taker sold, of so many coins, of inverse ones of so many USD."""
    return {
        "instrument_name": symbol, "timestamp": at, "price": price, "amount": amount,
        "direction": "sell", "trade_id": "1",
    } | fields  # fmt: skip


def deribit_forced(
    symbol: str, *amounts: float, at: Ms = EPOCH, price: float = 100, long: bool = True
) -> bytes:
    """Longs (or shorts) of Deribit were liquidated as takers, each of such an amount."""
    side = "sell" if long else "buy"
    rows = [
        deribit_trade(symbol, amount, at, price, direction=side, liquidation="T")
        for amount in amounts
    ]
    return deribit_tells("trades.future.any.100ms", rows)


def deribit_book(
    symbol: str,
    last: int,
    bids: Levels = BIDS,
    asks: Levels = ASKS,
    previous: int | None = None,
    at: Ms = EPOCH,
) -> bytes:
    """A snapshot of a Deribit book, or the changes that follow the id ``previous``."""
    sides = {
        name: [["change" if size else "delete", price, size] for price, size in side]
        for name, side in (("bids", bids), ("asks", asks))
    }
    kind = {"type": "snapshot"} if previous is None else {"type": "change"}
    ids = {"change_id": last} | ({} if previous is None else {"prev_change_id": previous})
    data = {**kind, "instrument_name": symbol, "timestamp": at, **ids, **sides}
    return deribit_tells(f"book.{symbol}.100ms", data)


def deribit_contract(symbol: str, **fields: object) -> dict[str, Any]:
    """A row of Deribit's listing."""
    base, linear, _ = symbol.removesuffix("-PERPETUAL").partition("_USDC")
    kind = "linear" if linear else "reversed"
    return {
        "instrument_name": symbol, "kind": "future", "settlement_period": "perpetual",
        "base_currency": base, "quote_currency": "USDC" if linear else "USD", "future_type": kind,
        "underlying_type": "crypto", "contract_size": 10, "is_active": True, "state": "open",
        "expiration_timestamp": 32_503_708_800_000,
    } | fields  # fmt: skip


def deribit_summary(symbol: str) -> dict[str, Any]:
    """What Deribit's summary says of a contract."""
    return {
        "instrument_name": symbol, "open_interest": 1_000, "mark_price": 100,
        "volume_usd": 1_000_000, "mid_price": 100, "current_funding": 0.0008,
    }  # fmt: skip


def deribit_settled(at: Ms = EPOCH) -> bytes:
    """Deribit's answer about what the last hour cost."""
    row = {"timestamp": at // 3_600_000 * 3_600_000, "interest_8h": 0.0004, "interest_1h": 0.0001}
    return deribit_answers(0, [row])


# ── Kraken ──────────────────────────────────────────────────────────────


def kraken_says(event: str, feed: str = "", *symbols: str, message: str = "") -> bytes:
    """Kraken's answer to a request."""
    named = {"feed": feed, "product_ids": symbols} if feed else {}
    return _line({"event": event, **named} | ({"message": message} if message else {}))


def kraken_ticker(
    symbol: str, price: float = 100, held: float = 1_000, at: Ms = EPOCH, **fields: object
) -> bytes:
    """Everything that a ticker of Kraken tells; ``held`` is in coins, of inverse ones in USD."""
    due = (at // 3_600_000 + 1) * 3_600_000
    rates = {"relative_funding_rate": 0.0001, "funding_rate": 0.01, "next_funding_rate_time": due}
    return _line(
        {
            "feed": "ticker", "time": at, "product_id": symbol, "openInterest": held,
            "markPrice": price, "index": price, "volume": 1_000_000, "volumeQuote": 1_000_000,
        } | rates | fields
    )  # fmt: skip


def kraken_trade(
    symbol: str, qty: float, at: Ms = EPOCH, price: float = 100, **fields: object
) -> dict[str, Any]:
    """A trade of Kraken whose taker sold, of so many coins, of inverse ones of so many USD."""
    return {
        "feed": "trade", "product_id": symbol, "side": "sell", "type": "fill", "seq": 1,
        "time": at, "qty": qty, "price": price,
    } | fields  # fmt: skip


def kraken_forced(
    symbol: str, qty: float, at: Ms = EPOCH, price: float = 100, long: bool = True
) -> bytes:
    """A long (or short) of Kraken was liquidated."""
    side = "sell" if long else "buy"
    return _line(kraken_trade(symbol, qty, at, price, side=side, type="liquidation"))


def kraken_trades(symbol: str, rows: Sequence[object]) -> bytes:
    """The last trades, with which a subscription to them begins."""
    return _line({"feed": "trade_snapshot", "product_id": symbol, "trades": rows})


def kraken_book(
    symbol: str, last: int, bids: Levels = BIDS, asks: Levels = ASKS, at: Ms = EPOCH
) -> bytes:
    """A snapshot of a Kraken book."""
    sides = {
        name: [{"price": price, "qty": size} for price, size in side]
        for name, side in (("bids", bids), ("asks", asks))
    }
    ids = {"feed": "book_snapshot", "product_id": symbol, "timestamp": at, "seq": last}
    return _line({**ids, **sides})


def kraken_changes(
    symbol: str, first: int, bids: Levels, asks: Levels = (), at: Ms = EPOCH
) -> list[bytes]:
    """The changes of a Kraken book from the number ``first`` on: each of one level."""
    levels = [("buy", *level) for level in bids] + [("sell", *level) for level in asks]
    return [
        _line(
            {"feed": "book", "product_id": symbol, "side": side, "seq": first + place,
             "price": price, "qty": size, "timestamp": at}
        )
        for place, (side, price, size) in enumerate(levels)
    ]  # fmt: skip


def kraken_contract(symbol: str, **fields: object) -> dict[str, Any]:
    """A row of Kraken's listing."""
    return {
        "symbol": symbol, "base": symbol[3:].removesuffix("USD"), "contractSize": 1,
        "type": "futures_inverse" if symbol.startswith("PI_") else "flexible_futures",
        "tradeable": True, "tradfi": False,
    } | fields  # fmt: skip


def kraken_row(symbol: str) -> dict[str, Any]:
    """What Kraken's tickers of all contracts say of one by REST."""
    return {
        "symbol": symbol, "openInterest": 1_000, "markPrice": 100, "indexPrice": 100,
        "vol24h": 1_000_000, "volumeQuote": 1_000_000, "bid": 99.99, "ask": 100.01,
    }  # fmt: skip


def kraken_orders(bids: Levels = BIDS, asks: Levels = ASKS) -> bytes:
    """Kraken's answer about the book of a contract."""
    return _line({"result": "success", "orderBook": {"bids": bids, "asks": asks}})


# ── HTX ─────────────────────────────────────────────────────────────────


def packed(frame: bytes) -> bytes:
    """As HTX sends each frame."""
    return gzip.compress(frame, mtime=0)


def htx_says(symbol: str, topic: str, error: str = "", at: Ms = EPOCH) -> bytes:
    """HTX's answer to a request for a topic of one contract."""
    if error:
        return _line(
            {"status": "error", "ts": at, "id": symbol, "err-code": "bad-request",
             "err-msg": error}
        )  # fmt: skip
    return _line({"id": symbol, "subbed": f"market.{symbol}.{topic}", "ts": at, "status": "ok"})


def htx_opens(topic: str, at: Ms = EPOCH, error: int = 0) -> bytes:
    """HTX's answer to a request for a topic of all contracts."""
    return _line(
        {"op": "sub", "cid": topic, "topic": f"public.*.{topic}", "ts": at, "err-code": error}
    )


def htx_tells(topic: str, rows: Sequence[object], at: Ms = EPOCH) -> bytes:
    """What HTX tells of all contracts."""
    return _line({"op": "notify", "topic": f"public.*.{topic}", "ts": at, "data": rows})


def htx_price(symbol: str, feed: str, price: float = 100, at: Ms = EPOCH) -> bytes:
    """The bar of the minute that goes on, of the mark price or of the index of HTX."""
    tick = {"id": at // 60_000 * 60, "open": "1", "close": f"{price}", "high": "1", "low": "1"}
    return _line({"ch": f"market.{symbol}.{feed}.1min", "ts": at, "tick": tick})


def htx_rate(symbol: str, rate: str = "0.0001", at: Ms = EPOCH, hours: int = 8) -> dict[str, Any]:
    """A row of HTX's funding: what is to be charged at the next settlement."""
    step = hours * 3_600_000
    return {
        "symbol": symbol.partition("-")[0], "contract_code": symbol, "fee_asset": "USDT",
        "funding_time": f"{at // 60_000 * 60_000}", "funding_rate": rate,
        "settlement_time": f"{at // step * step + step}", "estimated_rate": None,
    }  # fmt: skip


def htx_forced(
    symbol: str, *coins: float, at: Ms = EPOCH, long: bool = True, price: float = 100
) -> bytes:
    """Longs (or shorts) of HTX were liquidated, of so many coins each."""
    rows = [
        {"symbol": symbol.partition("-")[0], "contract_code": symbol, "offset": "close",
         "direction": "sell" if long else "buy", "volume": amount / CONTRACT, "price": price,
         "created_at": at, "amount": amount, "trade_turnover": amount * price}
        for amount in coins
    ]  # fmt: skip
    return htx_tells("liquidation_orders", rows, at)


def htx_book(
    symbol: str,
    last: int,
    bids: Levels = BIDS,
    asks: Levels = ASKS,
    event: str = "snapshot",
    at: Ms = EPOCH,
) -> bytes:
    """A book of HTX, or its change number ``last``."""
    sides = [[[price, size / CONTRACT] for price, size in side] for side in (bids, asks)]
    channel = f"market.{symbol}.depth.size_150.high_freq"
    tick = {"bids": sides[0], "asks": sides[1], "event": event, "ts": at, "version": last}
    return _line({"ch": channel, "tick": tick, "ts": at})


def htx_contract(symbol: str, **fields: object) -> dict[str, Any]:
    """A row of HTX's listing."""
    return {
        "symbol": symbol.partition("-")[0], "contract_code": symbol, "contract_size": CONTRACT,
        "contract_status": 1, "business_type": "swap", "delivery_time": "",
        "settlement_period": 8,
    } | fields  # fmt: skip


def htx_row(symbol: str) -> dict[str, Any]:
    """A row of the tickers of HTX."""
    return {
        "contract_code": symbol, "vol": "1000000", "bid": [99.99, 10], "ask": [100.01, 10],
        "business_type": "swap",
    }  # fmt: skip


def htx_held(symbol: str, coins: float = 10) -> dict[str, Any]:
    """A row of the open interest of HTX."""
    return {
        "contract_code": symbol, "amount": f"{coins}", "volume": f"{coins / CONTRACT}",
        "value": f"{coins * 100}",
    }  # fmt: skip


# ── Bitfinex ────────────────────────────────────────────────────────────

BITFINEX_FLAGS = 32_768 | 65_536


def bitfinex_says(event: str, **fields: object) -> bytes:
    """An event of Bitfinex."""
    return _line({"event": event, **fields})


def bitfinex_opens(channel: int, symbol: str = "", feed: str = "status") -> bytes:
    """Bitfinex gives a subscription its number; without a symbol that of all liquidations."""
    if feed == "book":
        book = {"symbol": symbol, "prec": "P0", "freq": "F0", "len": "250"}
        return bitfinex_says("subscribed", channel=feed, chanId=channel, **book)
    key = f"deriv:{symbol}" if symbol else "liq:global"
    return bitfinex_says("subscribed", channel=feed, chanId=channel, key=key)


def bitfinex_tells(channel: int, number: int, payload: object, at: Ms = EPOCH) -> bytes:
    """What a channel of Bitfinex brings, as frame ``number`` of the connection."""
    return _line([channel, payload, number, at])


def bitfinex_levels(bids: Levels = BIDS, asks: Levels = ASKS) -> list[list[float]]:
    """Levels of a book of Bitfinex: price, count, and an amount that says the side."""
    sides = ((bids, 1.0), (asks, -1.0))
    return [
        [price, 1 if size else 0, (size or 1.0) * sign]
        for side, sign in sides
        for price, size in side
    ]


def bitfinex_status(
    at: Ms = EPOCH, coins: float = 10.0, hours: int = 8, price: float = 100
) -> list[Any]:
    """The status of a contract of Bitfinex."""
    step = hours * 3_600_000
    accrued = [at // step * step + step, 0.0001, 9, None, 0.0002]
    held = [None, None, price, None, None, coins, None, None, None, 0.0005, 0.0025]
    return [at, None, price, price, None, 1e6, None, *accrued, *held]


def bitfinex_forced(
    symbol: str, coins: float, at: Ms = EPOCH, match: int = 1, price: float | None = 100
) -> list[Any]:
    """A position of Bitfinex was liquidated: of longs above 0, of shorts below."""
    return ["pos", 1, at, None, symbol, coins, 90.0, None, match, 1, None, price]


def bitfinex_row(symbol: str) -> list[Any]:
    """A row of the tickers of Bitfinex."""
    return [symbol, 99.99, 10, 100.01, 10, 1, 0.01, 100, 10_000, 101, 99]


# ── Lighter ─────────────────────────────────────────────────────────────


def lighter_market(asset: str, **fields: object) -> dict[str, Any]:
    """A row of Lighter's listing."""
    return {
        "symbol": asset, "market_id": int(symbol_of("lighter", asset)), "market_type": "perp",
        "status": "active", "last_trade_price": 100, "daily_quote_token_volume": 1_000_000,
        "open_interest": 10, "market_config": {"trading_hours": ""},
    } | fields  # fmt: skip


def lighter_stats(*symbols: str, at: Ms = EPOCH, usd: float = 1_000, price: float = 100) -> bytes:
    """The numbers of these markets of Lighter; funding is 0.01 %."""
    rows = {
        symbol: {"market_id": int(symbol), "mark_price": f"{price}", "index_price": f"{price}",
                 "open_interest": f"{usd}", "current_funding_rate": "0.0100",
                 "funding_rate": "0.5", "funding_timestamp": at // 3_600_000 * 3_600_000 + 1,
                 "daily_quote_token_volume": 1_000_000}
        for symbol in symbols
    }  # fmt: skip
    return _line({"type": "update/market_stats", "channel": "market_stats:all", "timestamp": at,
                  "market_stats": rows})  # fmt: skip


def lighter_book(
    symbol: str,
    last: int,
    bids: Levels = BIDS,
    asks: Levels = ASKS,
    previous: int | None = None,
    at: Ms = EPOCH,
) -> bytes:
    """A book of Lighter, or its change ``last`` after ``previous``."""
    levels = [[{"price": f"{p}", "size": f"{n}"} for p, n in side] for side in (bids, asks)]
    event = "subscribed" if previous is None else "update"
    book = {"bids": levels[0], "asks": levels[1], "nonce": last, "begin_nonce": previous or 0}
    return _line({"type": f"{event}/order_book", "channel": f"order_book:{symbol}",
                  "timestamp": at, "order_book": book})  # fmt: skip


def lighter_trades(symbol: str, *rows: dict[str, Any], event: str = "update") -> bytes:
    """Trades of Lighter that are liquidations."""
    return _line({"type": f"{event}/trade", "channel": f"trade:{symbol}", "nonce": 1, "trades": [],
                  "liquidation_trades": rows})  # fmt: skip


def lighter_forced(
    symbol: str, coins: float, number: int = 1, at: Ms = EPOCH, long: bool = True
) -> dict[str, Any]:
    """A long (or a short) of Lighter was liquidated at 100."""
    return {"trade_id": number, "type": "liquidation", "market_id": int(symbol), "size": f"{coins}",
            "price": "100", "is_maker_ask": not long, "timestamp": at}  # fmt: skip
