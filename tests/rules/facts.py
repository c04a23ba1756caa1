"""Short ways to say events in tests, and a metric fed without an engine."""

from rules.market import Memory, View, whole
from rules.metric import Reading
from rules.metrics import metric
from streams.events import (
    Band,
    Depth,
    FeedState,
    Funding,
    Liquidation,
    MarketEvent,
    Ms,
    OpenInterest,
    Position,
    Price,
    kind_of,
)

START: Ms = 1_790_006_400_000  # a full hour


def _where(venue: str, seen: Ms, asset: str = "BTC") -> dict[str, object]:
    return {
        "venue": venue,
        "symbol": f"{asset}USDT",
        "asset": asset,
        "at": seen - 20,
        "seen": seen,
    }


def oi(venue, seen, base, usd=None, asset="BTC", one_side=True) -> OpenInterest:
    return OpenInterest(**_where(venue, seen, asset), base=base, usd=usd, one_side=one_side)


def inverse(venue, seen, usd, at_price, asset="BTC") -> OpenInterest:
    """Open interest of an inverse contract, of so many USD."""
    where = _where(venue, seen, asset) | {"symbol": f"{asset}USD"}
    return OpenInterest(**where, base=usd / at_price, usd=usd, inverse=True)


def price(venue, seen, index, mark=None, asset="BTC") -> Price:
    return Price(**_where(venue, seen, asset), mark=index if mark is None else mark, index=index)


def depth(venue, seen, usd, covered=True, asset="BTC", bid_share=0.5) -> Depth:
    bands = (
        Band(10, usd * 0.05, usd * 0.05, True),
        Band(100, usd * bid_share, usd * (1 - bid_share), covered),
    )
    return Depth(**_where(venue, seen, asset), mid=100.0, spread_bp=0.4, bands=bands)


def liquidation(
    venue, seen, usd, position=Position.LONG, at_price=100.0, asset="BTC", throttled=False
) -> Liquidation:
    return Liquidation(
        **_where(venue, seen, asset),
        position=position,
        price=at_price,
        base=usd / at_price,
        usd=usd,
        throttled=throttled,
    )


def settled(venue, at, rate, hours=8, seen=None, asset="BTC") -> Funding:
    where = _where(venue, at if seen is None else seen, asset) | {"at": at}
    return Funding(**where, rate=rate, hours=float(hours), settled=True)


def predicted(venue, seen, rate, hours=8, asset="BTC") -> Funding:
    return Funding(**_where(venue, seen, asset), rate=rate, hours=float(hours), settled=False)


def feed(venue, kind, seen, up, symbol="*") -> FeedState:
    return FeedState(venue=venue, symbol=symbol, kind=kind, seen=seen, up=up)


class Fed:
    """One metric over one asset, fed by hand."""

    def __init__(self, name: str, venue_order=("binance", "bybit", "okx", "hyperliquid")) -> None:
        self.metric = metric(name)
        keeps = {keep.name: keep for keep in self.metric.keeps()}
        self.memory = Memory(venue_order, self.metric.window or 0, keeps)
        self.view = self.memory.view("BTC")
        self.now: Ms = 0

    def feed(self, *events: MarketEvent | FeedState) -> "Fed":
        for event in events:
            self.now = max(self.now, event.seen)
            if isinstance(event, FeedState):
                self.memory.hear(event, self.now)
                continue
            view = self.view_of(event)
            market = view.market(event.venue, event.symbol)
            market = market or self.memory.meet(view, event.venue, event.symbol)
            market.data(kind_of(event), self.now)
            news = market.take(event, self.now)
            if news and kind_of(event) in self.metric.kinds:
                self.metric.take(market, event, self.now)
        return self

    def view_of(self, event: MarketEvent) -> View:
        """Where the market of ``event`` is."""
        return self.view

    def reading(self, now: Ms | None = None) -> Reading | None:
        return self.metric.value(self.view, self.now if now is None else now)

    def value(self, now: Ms | None = None) -> float | None:
        reading = self.reading(now)
        return reading.value if reading else None

    def facts(self, now: Ms | None = None):
        return self.metric.facts(self.view, self.now if now is None else now)


class FedMarket(Fed):
    """One metric of the whole market, fed by hand."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.view = whole(self.memory.views)

    def view_of(self, event: MarketEvent) -> View:
        return self.memory.view(event.asset)
