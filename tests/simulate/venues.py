"""Models of venues: what is true there, as frames and answers in their own words.

What a venue sends does not depend on who listens: its books move by a dice of their own, so that
the same seed gives the same frames whatever faults there are.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from random import Random

import msgspec

from streams.durations import HOUR
from streams.events import BANDS_BP, Kind, Ms
from streams.venue import Request
from tests.simulate.agenda import Agenda
from tests.simulate.faults import Trouble
from tests.simulate.market import START, Market, skipped

SYMBOL = "BTCUSDT"
LEVELS = 24
STEP = 2.5e-4
"""Width of a price step, as a part of the first price."""

_HISTORY = 120
"""So many of the last books are remembered."""

Level = tuple[str, str]


def encoded(value: object) -> bytes:
    """``value`` as JSON."""
    return msgspec.json.encode(value)


class Sides(msgspec.Struct, frozen=True):
    """A book at one moment: size by place on the grid of ``step``."""

    step: float
    bids: dict[int, float]
    asks: dict[int, float]

    def bands(self) -> tuple[tuple[int, float, float], ...]:
        """(basis points, bids in USD, asks in USD) within each band around mid."""
        bids, asks = (
            [(price_of(place, self.step), size) for place, size in side.items()]
            for side in (self.bids, self.asks)
        )
        mid = (max(bids)[0] + min(asks)[0]) / 2
        return tuple(
            (
                bp,
                sum(p * q for p, q in bids if p >= mid * (1 - bp / 10_000) * (1 - 1e-12)),
                sum(p * q for p, q in asks if p <= mid * (1 + bp / 10_000) * (1 + 1e-12)),
            )
            for bp in BANDS_BP
        )


def price_of(place: int, step: float) -> float:
    """The price of a place, as it is written."""
    return float(f"{place * step:.10g}")


class TrueBook:
    """Resting orders: ``LEVELS`` a side on a grid of price steps around mid."""

    def __init__(self, price0: float, base: float, random: Random) -> None:
        self.step = float(f"{price0 * STEP:.4g}")
        self.sides = Sides(self.step, {}, {})
        self._base = base
        self._random = random
        self._factors: dict[int, float] = {}

    def move(self, price: float, depth: float) -> tuple[list[Level], list[Level]]:
        """Go on to ``price``; the changes of both sides."""
        random, mid = self._random, round(price / self.step)
        for _ in range(3):
            place = mid + random.randint(-LEVELS, LEVELS)
            self._factors[place] = round(random.uniform(0.9, 1.1), 3)
        size, factor, before = self._base * depth, self._factors.get, self.sides
        self.sides = now = Sides(
            self.step,
            {place: size * factor(place, 1.0) for place in range(mid - 1, mid - 1 - LEVELS, -1)},
            {place: size * factor(place, 1.0) for place in range(mid + 1, mid + 1 + LEVELS)},
        )
        return self._changes(before.bids, now.bids), self._changes(before.asks, now.asks)

    def _changes(self, before: dict[int, float], now: dict[int, float]) -> list[Level]:
        gone = [(place, 0.0) for place in before if place not in now]
        new = [(place, size) for place, size in now.items() if before.get(place) != size]
        return [self.level(*change) for change in gone + new]

    def level(self, place: int, size: float) -> Level:
        """A level as venues write it."""
        return f"{place * self.step:.10g}", repr(size)

    def whole(self) -> tuple[list[Level], list[Level]]:
        """Both sides."""
        bids = [self.level(*level) for level in self.sides.bids.items()]
        return bids, [self.level(*level) for level in self.sides.asks.items()]


class Connection:
    """One socket at the venue: what it asked for. ``send`` puts a frame on the wire."""

    def __init__(self, path: str, send: Callable[[bytes, frozenset[Kind]], None]) -> None:
        self.path = path
        self.send = send
        self.topics: set[str] = set()


class VenueModel(ABC):
    """One venue with one contract."""

    name = ""
    interest = 80_000.0
    """Coins held at the start, where a coin costs 70,000 USD."""
    depth_musd = 20.0

    def __init__(self, seed: int, market: Market, agenda: Agenda) -> None:
        self.market = market
        self.agenda = agenda
        self.connections: list[Connection] = []
        self.lies: list[Trouble] = []
        self.random = Random(f"{seed} {self.name}")
        self.random_lie = Random(f"{seed} {self.name} lies")
        coins = self.depth_musd * 1e6 / 2 / market.price0 / (25e-4 / STEP)
        self.book = TrueBook(market.price0, coins, self.random)
        self.interest0 = self.interest * 70_000 / market.price0
        self._crossed: set[int] = set()
        self.history: dict[Ms, Sides] = {}
        """The venue's time of a book → the book, of the last ones."""
        self.book.move(market.price0, 1.0)
        agenda.every(0, 1000, self._second)

    def lies_of(self, kind: str) -> bool:
        """Whether a fault of this kind goes on."""
        return any(lie.kind == kind and lie.active(self.agenda.now) for lie in self.lies)

    @property
    def listed(self) -> bool:
        """Whether its listing has the contract."""
        return not self.lies_of("unlisted")

    @property
    def hours(self) -> int:
        """The funding interval."""
        return 4 if self.lies_of("interval") else 8

    @property
    def mark(self) -> str:
        """The mark price that it tells."""
        price = self.market.at(self.agenda.now).price
        if self.lies_of("nonsense"):
            return self.random_lie.choice(("NaN", "Infinity", "1e400", "-1", "0", ""))
        return f"{price * (1.5 if self.lies_of('spike') else 1):.8g}"

    @property
    def coins(self) -> str:
        """The open interest that it tells."""
        moment = self.market.at(self.agenda.now)
        zero = self.lies_of("no interest")
        return "0" if zero else f"{self.interest0 * moment.interest:.3f}"

    @property
    def at(self) -> Ms:
        """The venue's clock."""
        return START + self.agenda.now

    def _second(self) -> None:
        if skipped(self.agenda.now):
            return
        second = self.agenda.now // 1000
        moment = self.market.at(self.agenda.now)
        changes = self.book.move(moment.price, moment.depth)
        self.history[self.at] = self.book.sides
        if len(self.history) > _HISTORY:
            del self.history[next(iter(self.history))]
        bids, asks = changes
        if self.lies_of("crossed"):
            self._crossed.add(place := min(self.book.sides.asks) + 2)
            bids = [*bids, self.book.level(place, 1.0)]
        elif self._crossed:
            true = self.book.sides.bids
            bids = [*bids, *(self.book.level(p, true.get(p, 0.0)) for p in sorted(self._crossed))]
            self._crossed.clear()
        self.tell_book(bids, asks)
        for topic, kinds, frame in self.news(second):
            self.publish(topic, kinds, frame)
        for place, usd in enumerate(moment.liquidated):
            if self.name == ("binance", "bybit")[place]:
                self.publish(*self.liquidation(usd, moment.price))

    def publish(self, topic: str, kinds: frozenset[Kind], frame: bytes) -> None:
        """Send a frame to all that asked for its topic."""
        for connection in self.connections:
            if topic in connection.topics:
                connection.send(frame, kinds)

    def open(self, connection: Connection) -> None:
        """A socket was opened."""
        self.connections.append(connection)

    def close(self, connection: Connection) -> None:
        """It is gone."""
        if connection in self.connections:
            self.connections.remove(connection)

    @abstractmethod
    def hear(self, connection: Connection, message: bytes) -> None:
        """A message came on a socket."""

    @abstractmethod
    def answer(self, request: Request) -> bytes:
        """The answer to a request."""

    @abstractmethod
    def tell_book(self, bids: list[Level], asks: list[Level]) -> None:
        """The book has changed."""

    @abstractmethod
    def news(self, second: int) -> Iterator[tuple[str, frozenset[Kind], bytes]]:
        """What else is sent in this second."""

    @abstractmethod
    def liquidation(self, usd: float, price: float) -> tuple[str, frozenset[Kind], bytes]:
        """A long was liquidated."""

    def next_funding(self) -> Ms:
        """The next settlement."""
        return (self.at // (8 * HOUR) + 1) * 8 * HOUR


_PRICES = frozenset((Kind.PRICE, Kind.FUNDING))
_VOLUME = frozenset((Kind.VOLUME,))
_LIQUIDATION = frozenset((Kind.LIQUIDATION,))
_DEPTH = frozenset((Kind.DEPTH,))


class BinanceModel(VenueModel):
    """Changes of the book with U, u and pu, snapshots by REST, open interest by polls."""

    name = "binance"
    _last = 1_000

    def open(self, connection: Connection) -> None:
        super().open(connection)
        _, _, asked = connection.path.partition("?streams=")
        connection.topics.update(filter(None, asked.split("/")))

    def hear(self, connection: Connection, message: bytes) -> None:
        asked = msgspec.json.decode(message)
        connection.topics.update(asked["params"])
        connection.send(encoded({"result": None, "id": asked["id"]}), frozenset())

    def tell_book(self, bids: list[Level], asks: list[Level]) -> None:
        previous, self._last = self._last, self._last + self.random.randint(1, 9)
        stream = f"{SYMBOL.lower()}@depth@500ms"
        data = {"e": "depthUpdate", "E": self.at, "T": self.at, "s": SYMBOL, "U": previous + 1,
                "u": self._last, "pu": previous, "b": bids, "a": asks, "st": 1}  # fmt: skip
        self.publish(stream, _DEPTH, encoded({"stream": stream, "data": data}))

    def news(self, second: int) -> Iterator[tuple[str, frozenset[Kind], bytes]]:
        moment = self.market.at(self.agenda.now)
        price = self.mark
        mark = {"e": "markPriceUpdate", "E": self.at, "s": SYMBOL, "p": price, "i": price,
                "r": f"{moment.rate:.8f}", "T": self.next_funding(), "st": 1}  # fmt: skip
        stream = "!markPrice@arr@1s"
        yield stream, _PRICES, encoded({"stream": stream, "data": [mark]})
        if second % 10 == 0:
            mini = {"e": "24hrMiniTicker", "E": self.at, "s": SYMBOL, "q": "1e9", "st": 1}
            stream = "!miniTicker@arr"
            yield stream, _VOLUME, encoded({"stream": stream, "data": [mini]})

    def liquidation(self, usd: float, price: float) -> tuple[str, frozenset[Kind], bytes]:
        order = {"s": SYMBOL, "S": "SELL", "X": "FILLED", "ap": f"{price:.8g}",
                 "z": f"{usd / price:.6f}", "T": self.at, "st": 1}  # fmt: skip
        stream = "!forceOrder@arr"
        data = {"e": "forceOrder", "E": self.at, "o": order}
        return stream, _LIQUIDATION, encoded({"stream": stream, "data": data})

    def answer(self, request: Request) -> bytes:
        path = request.path.partition("?")[0]
        match path.rpartition("/")[2]:
            case "depth":
                bids, asks = self.book.whole()
                at = max(self.history, default=self.at)
                return encoded({"lastUpdateId": self._last, "E": at, "T": at, "bids": bids,
                                "asks": asks})  # fmt: skip
            case "openInterest":
                return encoded({"symbol": SYMBOL, "openInterest": self.coins, "time": self.at})
            case "exchangeInfo":
                row = {"symbol": SYMBOL, "contractType": "PERPETUAL", "status": "TRADING",
                       "baseAsset": "BTC", "quoteAsset": "USDT",
                       "deliveryDate": 4_133_404_800_000}  # fmt: skip
                other = {**row, "symbol": "XYZUSDT", "baseAsset": "XYZ"}
                return encoded({"symbols": [row, other] if self.listed else [other]})
            case "fundingRate":
                at = self.next_funding() - 8 * HOUR
                return encoded([{"symbol": SYMBOL, "fundingTime": at, "fundingRate": "0.0001"}])
            case _:
                return b"[]"


class BybitModel(VenueModel):
    """Books that begin with a snapshot when they are subscribed; tickers with all the rest."""

    name = "bybit"
    interest = 50_000.0
    depth_musd = 12.0
    _last = 5_000
    _BOOK = f"orderbook.1000.{SYMBOL}"
    _TICKER = f"tickers.{SYMBOL}"

    def hear(self, connection: Connection, message: bytes) -> None:
        asked = msgspec.json.decode(message)
        op, topics = asked["op"], asked.get("args", [])
        connection.send(
            encoded({"success": True, "ret_msg": "", "conn_id": "x", "op": op}), frozenset()
        )
        for topic in topics:
            if op == "unsubscribe":
                connection.topics.discard(topic)
            elif op == "subscribe" and topic not in connection.topics:
                connection.topics.add(topic)
                self._begin(connection, topic)

    def _begin(self, connection: Connection, topic: str) -> None:
        if topic == self._BOOK:
            connection.send(self._book("snapshot", *self.book.whole()), _DEPTH)
        elif topic == self._TICKER:
            connection.send(self._ticker(whole=True), frozenset((*_PRICES, Kind.OPEN_INTEREST)))

    def tell_book(self, bids: list[Level], asks: list[Level]) -> None:
        self._last += 1
        self.publish(self._BOOK, _DEPTH, self._book("delta", bids, asks))

    def _book(self, kind: str, bids: list[Level], asks: list[Level]) -> bytes:
        data = {"s": SYMBOL, "b": bids, "a": asks, "u": self._last, "seq": 1}
        at = max(self.history, default=self.at)
        return encoded({"topic": self._BOOK, "type": kind, "ts": at, "data": data})

    def news(self, second: int) -> Iterator[tuple[str, frozenset[Kind], bytes]]:
        whole = second % 5 == 0
        kinds = frozenset((*_PRICES, Kind.OPEN_INTEREST)) if whole else _PRICES
        yield self._TICKER, kinds, self._ticker(whole=whole)

    def _ticker(self, *, whole: bool) -> bytes:
        moment, coins, price = self.market.at(self.agenda.now), self.coins, self.mark
        data = {"symbol": SYMBOL, "markPrice": price, "indexPrice": price}
        if whole:
            data |= {
                "singleOpenInterest": coins,
                "singleOpenInterestValue": f"{float(coins) * moment.price:.2f}",
                "fundingRate": f"{moment.rate * self.hours / 8:.8f}",
                "fundingIntervalHour": str(self.hours),
                "nextFundingTime": str(self.next_funding()), "turnover24h": "1000000000",
            }  # fmt: skip
        kind = "snapshot" if whole else "delta"
        return encoded({"topic": self._TICKER, "type": kind, "data": data, "ts": self.at})

    def liquidation(self, usd: float, price: float) -> tuple[str, frozenset[Kind], bytes]:
        row = {"T": self.at, "s": SYMBOL, "S": "Buy", "v": f"{usd / price:.6f}",
               "p": f"{price:.8g}"}  # fmt: skip
        topic = f"allLiquidation.{SYMBOL}"
        frame = {"topic": topic, "type": "snapshot", "ts": self.at, "data": [row]}
        return topic, _LIQUIDATION, encoded(frame)

    def answer(self, request: Request) -> bytes:
        rows: list[object] = []
        if "tickers" in request.path:
            rows = [msgspec.json.decode(self._ticker(whole=True))["data"]] if self.listed else []
        elif "instruments-info" in request.path:
            row = {"symbol": SYMBOL, "contractType": "LinearPerpetual", "status": "Trading",
                   "baseCoin": "BTC", "quoteCoin": "USDT", "settleCoin": "USDT",
                   "deliveryTime": "0", "fundingInterval": 60 * self.hours,
                   "symbolType": ""}  # fmt: skip
            other = {**row, "symbol": "XYZUSDT", "baseCoin": "XYZ"}
            rows = [row, other] if self.listed else [other]
        elif "funding/history" in request.path:
            newest = self.next_funding() - 8 * HOUR
            rows = [
                {"symbol": SYMBOL, "fundingRate": "0.0001", "fundingRateTimestamp": str(at)}
                for at in (newest, newest - 8 * HOUR)
            ]
        result = {"category": "linear", "list": rows, "nextPageCursor": ""}
        return encoded({"retCode": 0, "retMsg": "OK", "result": result, "time": self.at})


MODELS: dict[str, type[VenueModel]] = {model.name: model for model in (BinanceModel, BybitModel)}
