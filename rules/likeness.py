"""Whether contracts of one name are one asset. Pure.

Now and then two coins go by one ticker; added up, the larger one hides what the smaller one does,
or the other way round. One asset has one price, so a contract whose price differs from that of the
others by more than a fifth is another asset, and left out of all that is said of the name, from
the first comparison on, which is a second after its first price. In a crash venues differ by as
much for seconds, so it must last before it is told; until then a contract counts again as soon as
it has the price of the others. One that once had it for a minute is the same asset, which only
hours of another price can refute. The asset is what has the price at which most is held.

A contract that was another asset and has the price of the others now has got their ticker: what was
heard of it before is the other asset's, and it begins anew. Where it is the asset that jumped to
the price of what was left out, it is the asset whose past was another's.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rules.market import Likeness, Market, View
from rules.windows import JUMP
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import Fault, FaultCode, Kind, Ms, fault

LOOK_EVERY: Ms = 10 * SECOND

APART = 1.2
"""Prices are as those of two assets where one is more than so many times the other."""

_FAR_APART = 2.0
_TOGETHER_FOR: Ms = MINUTE
"""After so long at one price they are one asset."""

_FAR_APART_FOR: Ms = MINUTE
_APART_FOR: Ms = 10 * MINUTE
_REFUTED_AFTER: Ms = 6 * HOUR


class Renamed(NamedTuple):
    """What was observed of an asset, or of one of its contracts, is another asset's."""

    asset: str
    market: Market
    """The contract."""
    whole: bool
    """Whether it is the asset's, too."""


def look(views: Iterable[View], now: Ms) -> Iterator[Fault | Renamed]:
    """Compares what has one name, leaves out or takes back, and says what changed."""
    for view in views:
        if len(view.everyone) > 1:
            yield from _look(view, now)
        elif not view.ordered and not any(market.gone for market in view.everyone):
            yield from _stay_alone(view, now)
        yield from _look_at_spot(view, now)


def _look_at_spot(view: View, now: Ms) -> Iterator[Fault]:
    """Compares spot markets with the contracts, whose price is the asset's."""
    of_contracts = view.price(now) if view.spot.everyone else None
    if of_contracts is None:
        return
    for market in view.spot.everyone:
        price, like = _price(market, now), market.likeness
        if price is None:
            continue
        ratio = _ratio(price, of_contracts)
        if like.differs is not (ratio > APART):
            like.differs, like.since = ratio > APART, now
            view.spot.sort(market)
        lasted = now - like.since
        like.same |= not like.differs and lasted >= _TOGETHER_FOR
        patience = _patience(like, ratio) if like.differs else _TOGETHER_FOR
        if like.stranger is bool(like.differs) or lasted < patience:
            continue
        like.stranger = bool(like.differs)
        like.same &= not like.differs
        view.spot.sort(market)
        yield fault(
            FaultCode.TICKER_SHARED,
            now,
            venue=market.venue,
            subject=view.asset,
            over=not like.stranger,
            detail=f"{market.symbol} at {price:.6g} USD, contracts at {of_contracts:.6g}",
        )


def _stay_alone(view: View, now: Ms) -> Iterator[Fault]:
    """The others of its name are gone for good: what was left out is all there is."""
    for market in view.everyone:
        was_stranger, market.likeness = market.likeness.stranger, Likeness()
        view.sort(market)
        if was_stranger:
            yield fault(
                FaultCode.TICKER_SHARED, now, venue=market.venue, subject=view.asset, over=True
            )


def _look(view: View, now: Ms) -> Iterator[Fault | Renamed]:
    prices = {m: x for m in view.everyone if (x := _price(m, now)) is not None}
    if len(prices) < 2:
        return
    known = [m for m in prices if m.likeness.same] or [m for m in prices if not m.likeness.stranger]
    if not known:
        return
    largest = max(known, key=lambda m: (_held_near(prices[m], prices), _held(m, prices)))
    for market, price in prices.items():
        like, ratio = market.likeness, _ratio(price, prices[largest])
        if like.differs is not (ratio > APART):
            like.differs, like.since = ratio > APART, now
            if not like.differs and market is not largest:
                yield from _take_over(view, market, price, largest, prices[largest])
            view.sort(market)
        if like.differs:
            like.price, like.of_others = price, prices[largest]
        if market is largest:
            continue
        lasted = now - like.since
        if not like.differs and lasted >= _TOGETHER_FOR:
            like.same = largest.likeness.same = True
            if like.stranger:
                yield _turn(view, market, largest, prices, now)
        elif like.differs and not like.stranger and lasted >= _patience(like, ratio):
            like.same = False
            yield _turn(view, market, largest, prices, now)


def _take_over(
    view: View, market: Market, price: float, largest: Market, of_others: float
) -> Iterator[Renamed]:
    """A contract that differed has the price of the others: what was of another asset goes."""
    like = market.likeness
    if like.same or like.price is None or like.of_others is None:
        return
    jump = _ratio(of_others, like.of_others)
    moved = _ratio(price, like.price)
    if like.stranger and APART < jump > moved and _ratio(price, of_others) <= 1 + JUMP:
        largest.begin_anew()
        view.memos.clear()
        yield Renamed(view.asset, largest, whole=True)
    else:
        market.begin_anew()
        yield Renamed(view.asset, market, whole=False)


def _price(market: Market, now: Ms) -> float | None:
    """A price of a live feed that no single reading made, unless it is the first one."""
    newest = market.prices.now(now) if market.up(Kind.PRICE) else None
    return None if newest is None else market.prices.last or newest


def _held(market: Market, prices: dict[Market, float]) -> float:
    return market.coins_at_least * prices[market]


def _held_near(price: float, prices: dict[Market, float]) -> float:
    """The open interest in USD of the markets that have this price."""
    return sum([_held(m, prices) for m, other in prices.items() if _ratio(price, other) <= APART])


def _ratio(a: float, b: float) -> float:
    return max(a, b) / min(a, b)


def _patience(like: Likeness, ratio: float) -> Ms:
    if like.same:
        return _REFUTED_AFTER
    return _FAR_APART_FOR if ratio > _FAR_APART else _APART_FOR


def _turn(
    view: View, market: Market, largest: Market, prices: dict[Market, float], now: Ms
) -> Fault:
    """The market is left out from now on, or counts again."""
    like = market.likeness
    like.stranger = not like.stranger
    view.sort(market)
    return fault(
        FaultCode.TICKER_SHARED,
        now,
        venue=market.venue,
        subject=view.asset,
        over=not like.stranger,
        detail=f"{market.symbol} at {prices[market]:.6g} USD,"
        f" {largest.symbol} of {largest.venue} at {prices[largest]:.6g}",
    )
