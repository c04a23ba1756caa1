"""Whether what a venue sends checks out, against the other venues and against itself. Pure.

Each minute every number that the rules hold is compared with the same of the other venues, coin by
coin. A venue is accused where enough coins say the same of it, look after look, for ``LASTS``. What
only one coin says is that coin's, and what lasts for seconds is a crash: then venues differ by
several percent, and open interest and funding by any factor, but each coin by another one. A wrong
unit, side or interval is the same factor in all coins. Of two venues that differ nobody can say
which one is wrong, so a number is held against at least two that agree, or against what is usual
at the same venue.

What is reported elsewhere is not reported again: a clock that is wrong (``streams.bus.skew``), a
feed that is silent (``rules.feed_health``), another coin of the same ticker (``rules.likeness``).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median
from typing import NamedTuple

import msgspec

from rules.market import Market, View, largest_of_exchanges
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Fault, FaultCode, Kind, Ms, fault, length_in_words

LOOK_EVERY: Ms = MINUTE

LASTS: Ms = 15 * MINUTE
"""So long it must have been so at every look, and not be so to be over. With the time that a price
must stand still before it is frozen, that is within two rounds of ten minutes."""

ENOUGH = 5
"""So many coins must be comparable, or nothing is said."""

_SHARE = 0.6
"""Such a part of them must say it."""

PRICE_APART = 1.005
"""Index prices of venues differ by less than 0.1 % in calm, and a venue that is heard each 13 s is
so far behind only while the price runs by more than 2 % a minute."""

_PRICES_AGREE = 0.0025

FUNDING_APART = 1.7
"""A rate of 4 h taken for one of 8 h is half of what it is."""

_RATES_AGREE = 0.2
_LEAST_RATE = 0.001
"""Percent per 8 h. Below it the sign of a rate is noise; most rates are 0.01."""

INTEREST_APART = 1.7
"""Both sides in place of one are a factor of 2."""

_SAME_GROWTH = 0.05
_SAME_SHARE = 0.8
"""A factor of 2 is one in every coin; what a crash closes differs by tens of percent from coin to
coin."""

USD_APART = 1.5

PER_VOLUME_APART = 50.0
"""Venues that are right differ by a factor of 15 in open interest for each dollar traded in 24 h:
Hyperliquid holds four days' volume, Binance a fifth of one."""

FROZEN_FOR: Ms = 3 * MINUTE
OLD: Ms = 3 * MINUTE
"""Polls bring what is seconds old."""

_LEARNED_IN: Ms = 90 * MINUTE
"""Open interest is usual by then. It is held while it is apart, but not for longer than
``_NEW_USUAL``."""

_NEW_USUAL: Ms = 3 * DAY


class Finding(msgspec.Struct, array_like=True):
    """What one comparison has shown of a venue of late."""

    apart: bool
    """At the last look."""
    since: Ms
    """Since when ``apart`` is so."""
    judged: Ms
    """The last look at which enough coins could be compared."""
    reported: Ms | None = None
    """Operators know; since when it was apart then."""
    detail: str = ""
    """The numbers of the last look at which it was apart."""


class Drifts(msgspec.Struct, array_like=True):
    """What does not check out, by venue and comparison."""

    look_at: Ms = 0
    """When it is looked at next."""
    findings: dict[str, dict[str, Finding]] = {}

    def look(self, views: Iterable[View], now: Ms) -> Iterator[Fault]:
        """A Tick came: what began not to check out, or does so again."""
        if now < self.look_at:
            return
        self.look_at = now + LOOK_EVERY
        known = [*views]
        pairs = comparable(known, now)
        for venue in dict.fromkeys((*self.findings, *pairs)):
            of_venue = pairs.get(venue, {})
            for check in CHECKS:
                yield from self._judge(venue, check, of_venue.get(check.what, ()), now)
        for view in known:
            for market in _largest(view):
                _learn(market, self.findings.get(market.venue, {}).get(_INTEREST), now)

    def standing(self) -> list[Fault]:
        """What operators know does not check out, each with the time since when as ``seen``."""
        return [
            _fault(venue, what, finding.reported, finding.detail)
            for venue, findings in self.findings.items()
            for what, finding in findings.items()
            if finding.reported is not None
        ]

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``."""
        self.look_at = min(self.look_at, now + LOOK_EVERY)
        for findings in self.findings.values():
            for finding in findings.values():
                finding.since, finding.judged = min(finding.since, now), min(finding.judged, now)
                if finding.reported is not None:
                    finding.reported = min(finding.reported, now)

    def _judge(
        self, venue: str, check: "Check", pairs: "Sequence[Pair]", now: Ms
    ) -> Iterator[Fault]:
        findings = self.findings.setdefault(venue, {})
        finding = findings.get(check.what)
        if len(pairs) < ENOUGH:
            if finding is None:
                return
            if finding.reported is None or now - finding.judged > DAY:
                del findings[check.what]  # nobody knows any more
                if finding.reported is not None:
                    yield _fault(venue, check.what, now, over=True)
            return
        apart = check.apart(pairs)
        if finding is None:
            if not apart:
                return
            finding = findings[check.what] = Finding(apart, now, now)
        elif finding.apart is not apart:
            finding.apart, finding.since = apart, now
        finding.judged = now
        if apart:
            finding.detail = f"{check.what}: {in_numbers(check, pairs)}"
            if finding.reported is None and now - finding.since >= LASTS:
                finding.reported = finding.since
                yield _fault(venue, check.what, now, finding.detail)
        elif finding.reported is None:
            del findings[check.what]
        elif now - finding.since >= LASTS:
            del findings[check.what]
            yield _fault(venue, check.what, now, over=True)


class Pair(NamedTuple):
    """A number of one coin at a venue, and the figure that it is held against."""

    asset: str
    own: float
    against: float

    @property
    def ratio(self) -> float:
        """How many times the figure the number is."""
        return self.own / self.against


class Check(NamedTuple):
    """One comparison. ``pair``: a market's number and what it is held against, None if either is
    not known; ``apart``: whether the coins of a venue say that it is wrong; ``against``: the figure
    in words; ``shown`` and ``gap``: a number, and how far apart they are, in words."""

    what: str
    pair: "Callable[[Market, Sequence[Market], Ms], tuple[float, float] | None]"
    apart: Callable[[Sequence[Pair]], bool]
    against: str
    shown: Callable[[float], str]
    gap: Callable[[float], str]

    @property
    def alone(self) -> bool:
        """It needs no other venue."""
        return self.against in (_ALLOWED, _ITSELF)


def comparable(views: Iterable[View], now: Ms) -> dict[str, dict[str, list[Pair]]]:
    """What can be compared now: venue → the name of a comparison → its pairs, coin by coin."""
    pairs: dict[str, dict[str, list[Pair]]] = {}
    for view in views:
        speaking = largest_of_exchanges(view)
        for market in _largest(view):
            of_venue = pairs.setdefault(market.venue, {})
            others = [other for other in speaking if other.exchange != market.exchange]
            for check in CHECKS:
                pair = check.pair(market, others, now)
                if pair is not None:
                    of_venue.setdefault(check.what, []).append(Pair(view.asset, *pair))
    return pairs


def _fault(venue: str, what: str, seen: Ms, detail: str = "", over: bool = False) -> Fault:
    return fault(FaultCode.VENUE_DRIFTS, seen, venue=venue, subject=what, detail=detail, over=over)


def in_numbers(check: Check, pairs: Sequence[Pair]) -> str:
    """How far apart it is in the middle, in how many coins, and the numbers of that coin."""
    middle = sorted(pairs, key=lambda pair: pair.ratio)[len(pairs) // 2]
    return (
        f"{check.gap(middle.ratio)} {check.against} (median of {len(pairs)} coins),"
        f" as {middle.asset} {check.shown(middle.own)} against {check.shown(middle.against)}"
    )


def _beyond(factor: float) -> Callable[[Sequence[Pair]], bool]:
    """Whether most coins are more than ``factor`` times what they should be, or less than that part
    of it."""

    def apart(pairs: Sequence[Pair]) -> bool:
        far = [pair for pair in pairs if not 1 / factor <= pair.ratio <= factor]
        return len(far) >= _SHARE * len(pairs)

    return apart


def _all_by(factor: float, within: float, share: float) -> Callable[[Sequence[Pair]], bool]:
    """Whether most coins differ by the same factor, which is beyond ``factor`` or negative."""

    def apart(pairs: Sequence[Pair]) -> bool:
        ratios = [pair.ratio for pair in pairs]
        middle = median(ratios)
        same = [ratio for ratio in ratios if abs(ratio - middle) <= within * abs(middle)]
        return not 1 / factor <= middle <= factor and len(same) >= share * len(pairs)

    return apart


def _too_long(pairs: Sequence[Pair]) -> bool:
    """Whether most coins are older, or have stood still for longer, than they may."""
    return len([pair for pair in pairs if pair.ratio > 1]) >= _SHARE * len(pairs)


def _grown(pairs: Sequence[Pair]) -> bool:
    """Whether a venue's open interest is another multiple of the usual than that of the others, the
    same in most coins, and it is not the others' that has changed."""
    own = median([pair.own for pair in pairs])
    return not 1 / INTEREST_APART <= own <= INTEREST_APART and _all_by(
        INTEREST_APART, _SAME_GROWTH, _SAME_SHARE
    )(pairs)


def _agreed(values: Sequence[float], within: float) -> float | None:
    """The figure that at least two of ``values``, and those in the middle, agree on."""
    if len(values) < 2:
        return None
    middle = sorted(values)[len(values) // 2]
    near = [value for value in values if abs(value - middle) <= within * abs(middle)]
    return median(near) if len(near) > 1 else None


def _largest(view: View) -> list[Market]:
    """The largest market of each venue."""
    chosen: dict[str, Market] = {}
    for market in view:
        other = chosen.get(market.venue)
        if other is None or (market.oi_base or 0.0) > (other.oi_base or 0.0):
            chosen[market.venue] = market
    return list(chosen.values())


def _price(market: Market, now: Ms) -> float | None:
    return market.prices.now(now) if market.up(Kind.PRICE) else None


def _prices(market: Market, others: Sequence[Market], now: Ms) -> tuple[float, float] | None:
    own = _price(market, now)
    if own is None or market.inverse:  # its index is in dollars, that of others in a stablecoin
        return None
    linear = [other for other in others if not other.inverse]
    prices = [x for other in linear if (x := _price(other, now)) is not None]
    against = _agreed(prices, _PRICES_AGREE)
    return None if against is None else (own, against)


def _frozen(market: Market, others: Sequence[Market], now: Ms) -> tuple[float, float] | None:
    if _price(market, now) is None:
        return None
    if not any(_price(other, now) and not other.prices.latest.frozen(now) for other in others):
        return None
    return max(1, now - market.prices.latest.changed), FROZEN_FOR


def _rate(market: Market) -> float | None:
    rate = market.predicted if market.up(Kind.FUNDING) else None
    return None if rate is None else rate.pct_8h


def _rates(market: Market, others: Sequence[Market], _: Ms) -> tuple[float, float] | None:
    own = _rate(market)
    if not own:  # 0 is 0 in any unit: some venues charge nothing while the price is near its index
        return None
    rates = [x for other in others if (x := _rate(other)) is not None]
    against = _agreed(rates, _RATES_AGREE)
    return None if against is None or abs(against) < _LEAST_RATE else (own, against)


def _held(market: Market) -> float | None:
    """Open interest in the unit in which it changes by trades alone, if it is heard."""
    held = market.oi_usd if market.inverse else market.oi_base
    return held if held and market.up(Kind.OPEN_INTEREST) else None


def _growth(market: Market) -> float | None:
    """Open interest as a multiple of what is usual there."""
    held, usual = _held(market), market.compared.usual
    return held / usual if held and usual else None


def _growths(market: Market, others: Sequence[Market], _: Ms) -> tuple[float, float] | None:
    own = _growth(market)
    if own is None:
        return None
    of_others = [x for other in others if (x := _growth(other)) is not None]
    return (own, median(of_others)) if of_others else None


def _usd(market: Market, _: Sequence[Market], now: Ms) -> tuple[float, float] | None:
    price = _price(market, now)
    if price is None or not market.oi_base or not market.oi_usd:
        return None
    return (market.oi_base * price, market.oi_usd) if market.up(Kind.OPEN_INTEREST) else None


def _per_volume(market: Market, now: Ms) -> float | None:
    """Days of trading that are open."""
    price, volume = _price(market, now), market.compared.usd_24h
    if price is None or not market.oi_base or not volume or not market.up(Kind.OPEN_INTEREST):
        return None
    return market.coins_at_least * price / volume if market.up(Kind.VOLUME) else None


def _volumes(market: Market, others: Sequence[Market], now: Ms) -> tuple[float, float] | None:
    own = _per_volume(market, now)
    if own is None:
        return None
    of_others = [x for other in others if (x := _per_volume(other, now)) is not None]
    return (own, median(of_others)) if len(of_others) > 1 else None


def _age(kind: Kind) -> Callable[[Market, Sequence[Market], Ms], tuple[float, float] | None]:
    """How old what came last was when it came, by the venue's own clock."""

    def age(market: Market, _: Sequence[Market], now: Ms) -> tuple[float, float] | None:
        at, line = market.compared.dated.get(kind), market.line(kind)
        if at is None or line is None or not line.up or line.seen is None:
            return None
        return (max(1, market.clock.time(line.seen) - at), OLD) if now - line.seen <= OLD else None

    return age


def _learn(market: Market, interest: Finding | None, now: Ms) -> None:
    """What open interest is usual; while it does not check out, what was before."""
    compared, held = market.compared, _held(market)
    if held is None:
        return
    kept = interest is not None and interest.apart and now - interest.since < _NEW_USUAL
    since, compared.usual_at = now - compared.usual_at, now
    if compared.usual is None or (since > HOUR and not kept):
        compared.usual = held
    elif not kept:
        compared.usual += (held - compared.usual) * min(1.0, since / _LEARNED_IN)


def _times(ratio: float) -> str:
    return f"{ratio:.3g} times"


def _bp(ratio: float) -> str:
    return f"{(ratio - 1) * 10_000:+,.0f} bp"


def _percent(rate: float) -> str:
    return f"{rate:.4f} %"


def _figure(value: float) -> str:
    return f"{value:,.6g}" if abs(value) < 1_000_000 else f"{value:,.0f}"


def _multiple(growth: float) -> str:
    return f"{growth:.2f} of the usual"


def _duration(ms: float) -> str:
    return length_in_words(round(ms))


_INTEREST = "open interest"
_OTHERS = "that of the others"
_ALLOWED = "what is allowed"
_ITSELF = "what it says itself"

CHECKS = (
    Check("price", _prices, _beyond(PRICE_APART), "from the others", _figure, _bp),
    Check("price movement", _frozen, _too_long, _ALLOWED, _duration, _times),
    Check("funding", _rates, _all_by(FUNDING_APART, _RATES_AGREE, _SHARE), _OTHERS, _percent,
           _times),
    Check(_INTEREST, _growths, _grown, _OTHERS, _multiple, _times),
    Check("open interest in USD", _usd, _beyond(USD_APART), _ITSELF, _figure,
           _times),
    Check("open interest by volume", _volumes, _beyond(PER_VOLUME_APART), _OTHERS, _figure,
           _times),
    *(
        Check(f"age of {name}", _age(kind), _too_long, _ALLOWED, _duration, _times)
        for kind, name in (
            (Kind.PRICE, "prices"), (Kind.FUNDING, "funding"),
            (Kind.OPEN_INTEREST, "open interest"), (Kind.VOLUME, "volume"),
        )
    ),
)  # fmt: skip
