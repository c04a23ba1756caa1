"""Spot markets beside perpetuals: their share of what is traded, and how deep their books are.

Of spot markets there are only those that are watched, so both are of these alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rules.alerts import Scope, SpotDepthFacts, SpotShareFacts
from rules.market import Keep, Market, Memo, View
from rules.metric import LEAST_SHARE, Reading
from rules.metrics.depth import EVERY_OTHER, DepthMetric, of_recent
from streams.durations import MINUTE, SECOND
from streams.events import Depth, Kind, MarketEvent, Ms, Volume

SHARE_UNIT = "% of volume"
DEPTH_UNIT = "% of recent, spot"

OLD: Ms = 15 * MINUTE
"""A volume of 24 hours that was said longer ago is unknown; polls and conflation bring it each few
minutes."""

_LOOK: Ms = 10 * SECOND
_OF_ASSET: frozenset[Scope] = frozenset({"asset"})
_VOLUME = Kind.VOLUME
_VOLUMES = frozenset({_VOLUME})
_DEPTHS = frozenset({Kind.DEPTH})


@dataclass(frozen=True, slots=True)
class SpotShare:
    """``spot_share_pct``: spot volume of 24 hours, in percent of that and of perpetuals together.

    Over the exchanges that have both, and of which both are known. An exchange of which a part is
    not known is left out on both sides; where less than ``LEAST_SHARE`` of the usual volume is
    left, there is no value.
    """

    name: str = "spot_share_pct"
    unit: str = SHARE_UNIT
    scopes: frozenset[Scope] = _OF_ASSET
    kinds: frozenset[Kind] = _VOLUMES
    window: Ms | None = None
    """The windows of 24 hours are the venues' own."""
    look_every: Ms = _LOOK
    idle_look: Ms | None = None
    of_spot: bool = True

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return ()

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        return isinstance(event, Volume)  # the market remembers it

    def value(self, view: View, now: Ms) -> Reading | None:
        both = _exchanges(view)
        known = [exchange for exchange in both if exchange.is_known(now)]
        usual = sum([exchange.usd for exchange in both])
        usd = sum([exchange.usd for exchange in known])
        if usd <= 0 or usd < LEAST_SHARE * usual:
            return None
        return Reading(
            value=100 * sum([exchange.spot_usd for exchange in known]) / usd,
            used=[market for exchange in known for market in exchange.markets],
            expected=[market for exchange in both for market in exchange.markets],
        )

    def facts(self, view: View, now: Ms) -> SpotShareFacts | None:
        if self.value(view, now) is None:
            return None
        known = [exchange for exchange in _exchanges(view) if exchange.is_known(now)]
        return SpotShareFacts(
            spot_usd=sum(exchange.spot_usd for exchange in known),
            perpetual_usd=sum(exchange.usd - exchange.spot_usd for exchange in known),
            by_venue_pct={
                exchange.name: 100 * exchange.spot_usd / exchange.usd
                for exchange in known
                if exchange.usd > 0
            },
        )

    def distance(self, value: float) -> float:
        return abs(value)


@dataclass(frozen=True, slots=True)
class _Exchange:
    """What is traded of an asset at an exchange that has both kinds of markets, USD in 24 hours,
    by what each of its markets said last."""

    name: str
    spot: Sequence[Market]
    perpetuals: Sequence[Market]

    @property
    def markets(self) -> list[Market]:
        return [*self.perpetuals, *self.spot]

    @property
    def spot_usd(self) -> float:
        return sum([market.compared.usd_24h or 0.0 for market in self.spot])

    @property
    def usd(self) -> float:
        return sum([market.compared.usd_24h or 0.0 for market in self.markets])

    def is_known(self, now: Ms) -> bool:
        """Whether each of its markets has said its volume of late."""
        return all(
            market.compared.usd_24h is not None
            and (line := market.line(_VOLUME)) is not None
            and line.up
            and line.seen is not None
            and now - line.seen <= OLD
            for market in self.markets
        )


def _exchanges(view: View) -> list[_Exchange]:
    """Those with spot markets and perpetuals of the asset, in the order of the perpetuals."""
    spot = [m for m in view.spot if m.line(_VOLUME) is not None]
    perpetuals = [m for m in view if m.line(_VOLUME) is not None]
    traded = {market.exchange for market in spot}
    return [
        _Exchange(
            name,
            [m for m in spot if m.exchange == name],
            [m for m in perpetuals if m.exchange == name],
        )
        for name in dict.fromkeys(m.exchange for m in perpetuals)
        if name in traded
    ]


@dataclass(frozen=True, slots=True)
class SpotDepth:
    """``spot_depth_<bp>bp_pct_of_recent``: the books of spot markets, against their own last hours.

    As ``depth_<bp>bp_pct_of_recent`` in everything but whose books they are. The facts have the
    depth of the perpetuals within the same band beside it.
    """

    name: str
    books: DepthMetric
    """The same of perpetuals."""
    unit: str = DEPTH_UNIT
    scopes: frozenset[Scope] = _OF_ASSET
    kinds: frozenset[Kind] = _DEPTHS
    window: Ms | None = None
    look_every: Ms = EVERY_OTHER
    idle_look: Ms | None = None
    of_spot: bool = True

    @property
    def bp(self) -> int:
        """Half-width of the band."""
        return self.books.bp

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return self.books.keeps()

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        # of perpetuals too: their depth is told beside
        return isinstance(event, Depth) and self.books.take(market, event, now) and market.spot

    def value(self, view: View, now: Ms) -> Reading | None:
        return self.books.value(view.spot, now)

    def facts(self, view: View, now: Ms) -> SpotDepthFacts | None:
        spot = self.books.facts(view.spot, now)
        if spot is None:
            return None
        return SpotDepthFacts(spot=spot, perpetual=self.books.facts(view, now))

    def hold(self, view: View, instrument: bool, on: bool, now: Ms) -> None:
        """An episode is open: the normal stays that of its opening. Or it is over."""
        self.books.hold(view.spot, instrument, on, now)

    def distance(self, value: float) -> float:
        return self.books.distance(value)


SHARE = SpotShare()


def spot_depth(name: str, bp: int) -> SpotDepth:
    """The metric of the band ``bp`` basis points wide on each side."""
    return SpotDepth(name, of_recent(f"depth_{bp}bp_pct_of_recent", bp))
