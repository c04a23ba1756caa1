"""Change of an asset's price over a window, both ends from the same venue.

Each venue has an index of its own, so a price now is only compared with the same contract's price
then. Of the venues that reach back far enough the one with the middle change speaks for the asset,
so a wrong price of one is no fall; of two that differ, what one has held for some seconds counts.
A venue that tells its price every few seconds confirms what another said until then: from there on
the other one speaks alone, until it jumps. What it says alone counts as far as it has been so for
some seconds, and 3 % beyond that: the other one was steady when it was last heard, and will speak
soon. So it is with a jump where the other one has been silent for longer than it ever is. Where
there is one venue, a jump must be confirmed by its next price.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

import msgspec

from rules.alerts import PriceFacts, Scope
from rules.market import Keep, Market, Memo, View, live_prices, speakers
from rules.metric import LOOK_EVERY, OF_ASSET, Reading, fall
from rules.windows import FROZEN, JUMP
from streams.events import Kind, MarketEvent, Ms

LATE: Ms = 1_500
"""Venues tell prices each second or more often; one that tells them less often is behind by more
(Hyperliquid's contexts come every 13 s)."""

_GAPS = 3
"""After so many times its usual gap a venue cannot be heard, and is not waited for."""

_PRICE = Kind.PRICE
_KINDS = frozenset({_PRICE})


class _Change(msgspec.Struct, frozen=True, gc=False):
    market: Market
    before: float
    after: float
    pct: float


class _Voices(NamedTuple):
    """Whose prices are heard now; the same for all windows that all of them know the start of."""

    chosen: Sequence[Market]
    """Whose prices are the asset's."""
    live: Sequence[Market]
    """Those of them that are compared with each other."""

    @staticmethod
    def among(markets: Sequence[Market], now: Ms) -> "_Voices":
        """Those among ``markets``, which are in order."""
        chosen = speakers(markets)
        return _Voices(chosen, _live(chosen, now) if len(chosen) > 1 else chosen)


@dataclass(frozen=True, slots=True)
class PriceMetric:
    """``price_<duration>_pct``: percent of the price at the window's start."""

    name: str
    window: Ms
    unit: str = "%"
    scopes: frozenset[Scope] = OF_ASSET
    kinds: frozenset[Kind] = _KINDS
    idle_look: Ms | None = None
    look_every: Ms = LOOK_EVERY
    """However long the window: a price falls within seconds."""

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return ()

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        return True

    def value(self, view: View, now: Ms) -> Reading | None:
        change = self._change(view, now)
        if change is None:
            return None
        return Reading(
            value=change.pct,
            used=(change.market,),
            expected=(change.market,),
            floor_musd=view.once(_held_musd, now),
        )

    def facts(self, view: View, now: Ms) -> PriceFacts | None:
        speaks = self._change(view, now)
        if speaks is None:
            return None
        prices = view.once(live_prices, now)
        before = self._before(prices, now)
        known = [(m.venue, 100 * (prices[m] - first) / first) for m, first in before.items()]
        held = view.usd_held()
        return PriceFacts(
            window_ms=self.window,
            before=speaks.before,
            after=speaks.after,
            venue=speaks.market.venue,
            # of two contracts at one venue the first in order speaks
            by_venue_pct=dict(reversed(known)) | {speaks.market.venue: speaks.pct},
            oi_usd=sum(held.values()) if held else None,
            oi_not_added=view.not_added,
        )

    def distance(self, value: float) -> float:
        return fall(-value) if value < 0 else value

    def _change(self, view: View, now: Ms) -> _Change | None:
        """The middle change of the venues.

        Of an even number the milder one of the two middle, unless it is behind the other one, and
        if these are not of two minds for long: then what the other one has held meanwhile. A frozen
        feed has no say while another moves, nor has one of three that has fallen silent.
        """
        prices = view.once(live_prices, now)
        before = self._before(prices, now)
        if not before:
            return None
        # as a rule all reach back far enough
        whole = len(before) == len(prices)
        voices = view.once(_voices, now) if whole else _Voices.among([*before], now)
        chosen = voices.chosen
        if len(chosen) == 1:
            # nobody else can confirm a jump, or what came after a hole: its own next price must
            market = chosen[0]
            last = market.prices.last
            return None if last is None else _change(market, before[market], last)
        changes = [
            _Change(market, first, last, 100 * (last - first) / first)
            for market in voices.live
            for first, last in ((before[market], prices[market]),)
        ]
        changes.sort(key=_pct)
        half = len(changes) // 2
        if len(changes) == 1:
            return _held(changes[0], now)
        if len(changes) % 2:
            return changes[half]
        mild, strong = sorted(changes[half - 1 : half + 1], key=_size)
        if _behind(mild.market, strong.market, now):
            # of more than two another one has moved as far
            return strong if len(changes) > 2 else max(mild, _confirmed(strong, now), key=_size)
        if abs(strong.pct - mild.pct) <= 100 * JUMP:
            return mild
        return max(mild, _held(strong, now) or mild, key=_size)

    def _before(self, markets: Iterable[Market], now: Ms) -> dict[Market, float]:
        """The price at the window's start, of the markets that know it, in order."""
        window = self.window
        return {
            market: price
            for market in markets
            if (price := market.prices.before(window, now)) is not None
        }


def _held_musd(view: View, now: Ms) -> float | None:
    held = view.usd_at_least()
    return sum(held.values()) / 1e6 if held else None


def _voices(view: View, now: Ms) -> _Voices:
    return _Voices.among([*view.once(live_prices, now)], now)


def _live(chosen: list[Market], now: Ms) -> list[Market]:
    """Those whose price is not frozen while that of another one moves, and of more than two those
    that can be heard; two at least."""
    changed = now - FROZEN
    live = [
        m for m in chosen if m.prices.latest.changed > changed or not m.prices.latest.frozen(now)
    ]
    if len(live) < len(chosen) and not any(m.prices.latest.moving(now) for m in chosen):
        live = chosen
    if len(live) < 3:
        return live
    since = now - LATE
    heard = [m for m in live if m.prices.seen >= since or not _unheard(m, now)]
    if len(heard) == 1:  # it speaks alone, beside the one that spoke last of the others
        heard.append(max([m for m in live if m is not heard[0]], key=lambda m: m.prices.seen))
    return heard or live


def _unheard(market: Market, now: Ms) -> bool:
    """Whether a venue has been silent for longer than it ever is."""
    silent_for = now - market.prices.seen
    return silent_for > LATE and silent_for > _GAPS * market.prices.latest.gap


def _behind(market: Market, other: Market, now: Ms) -> bool:
    """Whether a venue's newest price is old beside the other's, which has moved on from it, or
    which is the only one that can be heard."""
    prices = market.prices
    if other.prices.seen - prices.seen <= LATE or prices.latest.price is None:
        return False
    return _unheard(market, now) or other.prices.latest.came_from(prices.latest.price, prices.seen)


def _held(change: _Change, now: Ms) -> _Change | None:
    """What of a change has lasted, None if nobody knows yet."""
    price = change.market.prices.latest.held(change.before, now)
    return None if price is None else _change(change.market, change.before, price)


def _confirmed(change: _Change, now: Ms) -> _Change:
    """What of a change counts where nobody else can say yet."""
    price = change.market.prices.latest.confirmed(change.before, now)
    return change if price is None else _change(change.market, change.before, price)


def _change(market: Market, before: float, after: float) -> _Change:
    return _Change(market, before, after, 100 * (after - before) / before)


_pct = attrgetter("pct")


def _size(change: _Change) -> float:
    return abs(change.pct)


def price(name: str, window: Ms) -> PriceMetric:
    """The metric over ``window``."""
    return PriceMetric(name, window)
