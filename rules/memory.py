"""Everything the rules remember of the market: feeds, instruments, series. Dumped and loaded whole.

Invariants: memory is bounded, since series forget by time and instruments silent for a day are
forgotten; what is loaded is exactly what was dumped, in the same order.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from rules.series import Dumped
from rules.view import Keep, Line, Lines, Market, View
from streams.events import FeedState, Ms

FORGET_AFTER: Ms = 24 * 3_600_000
"""An instrument without data for this long is delisted, or no longer asked for."""


class MarketDump(msgspec.Struct, array_like=True):
    """One instrument as dumped; its lines are with its venue."""

    venue: str
    symbol: str
    oi_base: float | None
    oi_usd: float | None
    spread_bp: float | None
    series: dict[str, Dumped]


class ViewDump(msgspec.Struct, array_like=True):
    """One asset as dumped; ``source`` names the market that its price comes from."""

    asset: str
    markets: list[MarketDump]
    prices: Dumped
    source: tuple[str, str] | None


class Venue(msgspec.Struct, array_like=True):
    """The feeds of a venue: ``lines`` for all of it, ``symbols`` for single instruments."""

    lines: Lines = {}
    symbols: dict[str, Lines] = {}


class MemoryDump(msgspec.Struct, array_like=True):
    """The whole memory as dumped."""

    venues: dict[str, Venue]
    views: list[ViewDump]


class Memory:
    """All views and feeds. ``keeps``: the series that the metrics in use want, all others go."""

    def __init__(
        self, venue_order: Sequence[str], price_keep: Ms, keeps: Mapping[str, Keep]
    ) -> None:
        self.views: dict[str, View] = {}
        self._venues: dict[str, Venue] = {}
        self._order = {venue: rank for rank, venue in enumerate(venue_order)}
        self._price_keep = price_keep
        self._keeps = keeps

    def view(self, asset: str) -> View:
        """The view of an asset, made when first asked for."""
        view = self.views.get(asset)
        if view is None:
            view = self.views[asset] = View(asset, self._price_keep)
        return view

    def meet(self, view: View, venue: str, symbol: str) -> Market:
        """A market heard of for the first time; what its feeds said before is known already."""
        feeds = self._venue(venue)
        lines = feeds.symbols.setdefault(symbol, {})
        rank = self._order.get(venue, len(self._order))
        market = Market(venue, symbol, rank, lines, feeds.lines)
        view.include(market)
        return market

    def hear(self, state: FeedState, now: Ms) -> None:
        """A feed went up or down; "*" overrules what was said of single symbols before."""
        venue = self._venue(state.venue)
        if state.symbol == "*":
            _turn(venue.lines, state, now)
            for lines in venue.symbols.values():
                if state.kind in lines:
                    lines[state.kind].turn(state.up, now)
        else:
            lines = venue.symbols.setdefault(state.symbol, {})
            above = venue.lines.get(state.kind)
            if above and state.kind not in lines:
                lines[state.kind] = Line(above.up, above.since)
            _turn(lines, state, now)

    def forget(self, now: Ms) -> list[str]:
        """Drops what was silent for a day; the assets of which nothing is left."""
        horizon = now - FORGET_AFTER
        for view in self.views.values():
            for market in list(view):
                if (market.last_heard() or 0) < horizon:
                    view.exclude(market)
                    self._venues[market.venue].symbols.pop(market.symbol, None)
        for venue in self._venues.values():
            for symbol, lines in list(venue.symbols.items()):
                if all(max(line.since, line.seen or 0) < horizon for line in lines.values()):
                    del venue.symbols[symbol]
        gone = [asset for asset, view in self.views.items() if not view.ordered]
        for asset in gone:
            del self.views[asset]
        return gone

    def dump(self) -> MemoryDump:
        """All of it, ready to be encoded; not a copy, so encode before the next event."""
        return MemoryDump(self._venues, [_dump_view(view) for view in self.views.values()])

    def load(self, dumped: MemoryDump, assets: Iterable[str]) -> None:
        """Takes over what was dumped of ``assets``. ValueError if a series does not fit."""
        self._venues = dumped.venues
        self.views = {}
        wanted = frozenset(assets)
        for one in dumped.views:
            if one.asset in wanted:
                self._load_view(one)

    def _load_view(self, dumped: ViewDump) -> None:
        view = self.view(dumped.asset)
        view.prices.load(dumped.prices)
        for one in dumped.markets:
            market = self.meet(view, one.venue, one.symbol)
            market.oi_base, market.oi_usd = one.oi_base, one.oi_usd
            market.spread_bp = one.spread_bp
            for name, series in one.series.items():
                if keep := self._keeps.get(name):
                    market.keep(keep).load(series)
        if dumped.source:
            view.source = view.market(*dumped.source)

    def _venue(self, name: str) -> Venue:
        venue = self._venues.get(name)
        if venue is None:
            venue = self._venues[name] = Venue()
        return venue


def _turn(lines: Lines, state: FeedState, now: Ms) -> None:
    line = lines.get(state.kind)
    if line is None:
        lines[state.kind] = Line(state.up, now)
    else:
        line.turn(state.up, now)


def _dump_view(view: View) -> ViewDump:
    source = view.source
    return ViewDump(
        asset=view.asset,
        markets=[_dump_market(market) for market in view],
        prices=view.prices.dump(),
        source=(source.venue, source.symbol) if source else None,
    )


def _dump_market(market: Market) -> MarketDump:
    return MarketDump(
        venue=market.venue,
        symbol=market.symbol,
        oi_base=market.oi_base,
        oi_usd=market.oi_usd,
        spread_bp=market.spread_bp,
        series={name: series.dump() for name, series in market.series.items()},
    )
