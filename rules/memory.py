"""Everything the rules remember of the market: feeds, instruments, series. Dumped and loaded whole.

Invariants: memory is bounded, since memos forget by time and instruments silent for a day are
forgotten; what is loaded is exactly what was dumped, in the same order.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from rules.interest import Interest
from rules.prices import Prices
from rules.view import Keep, Likeness, Line, Lines, Market, Memo, Rate, View
from streams.events import FeedState, Ms

FORGET_AFTER: Ms = 24 * 3_600_000
"""An instrument without data for this long is delisted, or no longer asked for."""


class MarketDump(msgspec.Struct, array_like=True):
    """One instrument as dumped; its lines are with its venue."""

    venue: str
    symbol: str
    oi_base: float | None
    oi_usd: float | None
    settled: Rate | None
    predicted: Rate | None
    spread_bp: float | None
    prices: list[bytes]
    memos: dict[str, list[bytes]]
    doubted: float | None = None
    interest: Interest = msgspec.field(default_factory=Interest)
    likeness: Likeness = msgspec.field(default_factory=Likeness)


class ViewDump(msgspec.Struct, array_like=True):
    """One asset as dumped."""

    asset: str
    markets: list[MarketDump]


class Venue(msgspec.Struct, array_like=True):
    """The feeds of a venue: ``lines`` for all of it, ``symbols`` for single instruments."""

    lines: Lines = {}
    symbols: dict[str, Lines] = {}


class MemoryDump(msgspec.Struct, array_like=True):
    """The whole memory as dumped."""

    venues: dict[str, Venue] = {}
    views: list[ViewDump] = []


class Memory:
    """All views and feeds. ``keeps``: the memos that the metrics in use want, all others go."""

    def __init__(
        self, venue_order: Sequence[str], price_keep: Ms, keeps: Mapping[str, Keep[Memo]]
    ) -> None:
        self.views: dict[str, View] = {}
        self.venues: dict[str, Venue] = {}
        self._order = {venue: rank for rank, venue in enumerate(venue_order)}
        self._price_keep = price_keep
        self._keeps = keeps

    def view(self, asset: str) -> View:
        """The view of an asset, made when first asked for."""
        view = self.views.get(asset)
        if view is None:
            view = self.views[asset] = View(asset)
        return view

    def meet(self, view: View, venue: str, symbol: str) -> Market:
        """A market heard of for the first time; what its feeds said before is known already."""
        feeds = self._venue(venue)
        lines = feeds.symbols.setdefault(symbol, {})
        rank = self._order.get(venue, len(self._order))
        market = Market(venue, symbol, rank, lines, feeds.lines, self._price_keep)
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

    def forget(self, now: Ms) -> list[tuple[str, Market]]:
        """Drops what was silent for a day, with the asset that it was of."""
        horizon = now - FORGET_AFTER
        gone: list[tuple[str, Market]] = []
        for view in list(self.views.values()):
            for market in list(view.everyone):
                if (market.last_heard() or 0) < horizon:
                    view.exclude(market)
                    self.venues[market.venue].symbols.pop(market.symbol, None)
                    gone.append((view.asset, market))
            if not view.everyone:
                del self.views[view.asset]
        for venue in self.venues.values():
            for symbol, lines in list(venue.symbols.items()):
                if all(max(line.since, line.seen or 0) < horizon for line in lines.values()):
                    del venue.symbols[symbol]
        return gone

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: a hole, of which nobody knows how long it was."""
        for view in self.views.values():
            for market in view:
                market.set_back(now, Prices(self._price_keep))
        for venue in self.venues.values():
            for lines in (venue.lines, *venue.symbols.values()):
                for line in lines.values():
                    line.set_back(now)

    def dump(self) -> MemoryDump:
        """All of it, ready to be encoded; not a copy, so encode before the next event."""
        return MemoryDump(
            self.venues,
            [ViewDump(v.asset, [_dump_market(m) for m in v.everyone]) for v in self.views.values()],
        )

    def load(self, dumped: MemoryDump, assets: Iterable[str], lost: list[str]) -> None:
        """Takes over what was dumped of ``assets``. What does not fit is named in ``lost``."""
        self.venues = dumped.venues
        self.views.clear()
        wanted = frozenset(assets)
        for one in dumped.views:
            if one.asset in wanted:
                self._load_view(one, lost)

    def _load_view(self, dumped: ViewDump, lost: list[str]) -> None:
        view = self.view(dumped.asset)
        for one in dumped.markets:
            market = self.meet(view, one.venue, one.symbol)
            market.oi_base, market.oi_usd = one.oi_base, one.oi_usd
            market.settled, market.predicted = one.settled, one.predicted
            market.spread_bp = one.spread_bp
            market.interest, market.likeness = one.interest, one.likeness
            view.sort(market)
            where = f"memory.{one.venue}/{one.symbol}"
            if not _fits(market.prices, one.prices):
                market.prices = Prices(self._price_keep)
                lost.append(f"{where}.prices")
            elif market.prices.last is not None:
                market.prices.doubted = one.doubted
            for name, memo in one.memos.items():
                keep = self._keeps.get(name)
                if keep and not _fits(market.keep(keep), memo):
                    del market.memos[name]
                    lost.append(f"{where}.{name}")

    def _venue(self, name: str) -> Venue:
        venue = self.venues.get(name)
        if venue is None:
            venue = self.venues[name] = Venue()
        return venue


def _fits(memo: Memo, dumped: Sequence[bytes]) -> bool:
    try:
        memo.load(dumped)
    except (ValueError, IndexError, OverflowError):
        return False
    return True


def _turn(lines: Lines, state: FeedState, now: Ms) -> None:
    line = lines.get(state.kind)
    if line is None:
        lines[state.kind] = Line(state.up, now)
    else:
        line.turn(state.up, now)


def _dump_market(market: Market) -> MarketDump:
    return MarketDump(
        venue=market.venue,
        symbol=market.symbol,
        oi_base=market.oi_base,
        oi_usd=market.oi_usd,
        settled=market.settled,
        predicted=market.predicted,
        spread_bp=market.spread_bp,
        prices=market.prices.dump(),
        memos={name: memo.dump() for name, memo in market.memos.items()},
        doubted=market.prices.doubted,
        interest=market.interest,
        likeness=market.likeness,
    )
