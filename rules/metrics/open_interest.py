"""Net change of open interest in coins over a window: positions opened or closed, price removed.

Coins of each market at both ends of the window, the same markets on both sides, both ends taken
at the newest moment that all of them have reached. Each is what has been held for 20 s, so that no
wrong reading is an end (``rules.interest``). What two venues show at once counts before that, as
far as both say: a crash is everywhere. A step down of one exchange alone, while the others and the
price stand still, must have lasted longer (``ALONE``). A venue of which nobody knows whether it
counts one side or both confirms others and is told beside them, and is added to none; where there
are only such venues the percentage is the largest one's. With one price P0 for the asset at the
start,
``net_usd = (coins after - coins before) * P0`` and the rest of the change in USD is only price.

An inverse contract is counted in USD: its coins are more after a fall though nobody has opened
anything. So both of its ends are USD, made coins at P0; the price moves none of its USD.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from rules.alerts import OpenInterestFacts, Scope
from rules.interest import AGREE, LASTS, MAX_AGE, MEMOS, SUPPORT, stands_still
from rules.market import Keep, Market, Memo, View, venues
from rules.metric import LEAST_SHARE, OF_ASSET, Reading, fall, look_every
from rules.windows import Series
from streams.durations import MINUTE
from streams.events import Kind, MarketEvent, Ms, OpenInterest

SLOTS = 288
"""Most samples kept for one window and market: 12.5 s apart in an hour, 5 min in a day."""

PAST_STEP: Ms = 5 * MINUTE
"""What venues tell later has a value for each such time."""

ALONE: Ms = MAX_AGE
"""So long a step down of one exchange alone (``rules.interest.STEP``) is not believed, nor while
readings that came back within that time wait to be held, where the others and the price stand
still: after three polls of a slow feed it is no passing error. A crash is in the price, or
elsewhere as well."""

OTHERS = 2
"""So many other exchanges, at least, must stand still, as far as there are so many: one may be
what is stale. Where there is one other, nobody can know which of the two is right, but a price that
stands still is no crash."""

_OPEN_INTEREST = Kind.OPEN_INTEREST
_KINDS = frozenset({_OPEN_INTEREST})


PriceAt = Callable[[Ms], float | None]
"""The price of the asset at a moment of the past."""


class Ends(NamedTuple):
    """One market's coins at both ends of a window, and a little before its end (``SUPPORT``).

    Those of an inverse contract are all at the price of the window's start.
    """

    market: Market
    before: float
    after: float
    recent: float
    latest: float | None
    """What is shown now, held or not; None: unknown."""


class Span(NamedTuple):
    """A window over markets that are known at both of its ends."""

    start: Ms
    end: Ms
    ends: list[Ends]
    beside: list[Ends]
    """Of those that are not added to the others, since they may count both sides."""
    price: float | None
    """At the start; looked up only where a contract is inverse."""

    def coins(self, market: Market, held: float) -> float | None:
        """What is held, as ``Interest`` counts it, in coins; None where that is unknown."""
        return _coins(market, held, self.price)

    @property
    def before(self) -> float:
        """Coins at the start."""
        return sum([e.before for e in self.ends])

    @property
    def after(self) -> float:
        """Coins at the end."""
        return sum([e.after for e in self.ends])

    @property
    def priced(self) -> float:
        """Of these, the coins whose value in USD moves with the price."""
        return sum([e.after for e in self.ends if not e.market.inverse])


@dataclass(frozen=True, slots=True)
class OpenInterestMetric:
    """``oi_net_<duration>_pct``: percent of the coins held at the window's start."""

    name: str
    window: Ms
    samples: Keep[Series]
    spacing: Ms
    max_age: Ms
    unit: str = "%"
    scopes: frozenset[Scope] = OF_ASSET
    kinds: frozenset[Kind] = _KINDS
    idle_look: Ms | None = None

    @property
    def look_every(self) -> Ms:
        return look_every(self.window)

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return (self.samples,)

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        if not isinstance(event, OpenInterest):
            return False
        error = market.interest.error
        if error is not None and (series := market.memo(self.samples)) is not None:
            series.mend(error.since, error.before)
        if (steady := market.interest.steady) is not None:
            market.keep(self.samples).append(now, (steady,))
        return True

    def fill(self, market: Market, rows: Sequence[tuple[Ms, float]]) -> None:
        """Of windows in which samples of 5 min are near enough; see ``FillsWindow``."""
        if self.max_age >= 2 * PAST_STEP:
            market.keep(self.samples).fill([(at, (held,)) for at, held in rows])

    def filled_from(self, market: Market) -> tuple[Ms, Ms] | None:
        series = market.memo(self.samples)
        if series is None or self.max_age < 2 * PAST_STEP:
            return None
        return series.span_without_hole(self.max_age)

    def value(self, view: View, now: Ms) -> Reading | None:
        telling = view.once(_telling, now)
        span, expected = self.span(telling, now, view.price_at), telling.added
        if span is None:
            return None
        if not self._enough(telling, span):
            return None
        before, after = span.before, span.after
        # what was held is worth about that where venues told no price of then
        price = view.price_at(span.start) or view.price(now)
        held = sum([e.before if e.market.one_side else e.before / 2 for e in span.ends])
        return Reading(
            value=100 * (after - before) / before,
            used=[e.market for e in span.ends],
            expected=expected,
            floor_musd=None if price is None else held * price / 1e6,
        )

    def facts(self, view: View, now: Ms) -> OpenInterestFacts | None:
        span = self.span(view.once(_telling, now), now, view.price_at)
        if span is None:
            return None
        not_added = venues([e.market for e in (*span.beside, *span.ends) if not e.market.one_side])
        # of such venues alone there are no sums in USD
        summed = all(e.market.one_side for e in span.ends)
        first = view.price_at(span.start) if summed else None
        before, after, last = span.before, span.after, view.price(now)
        return OpenInterestFacts(
            window_ms=self.window,
            before_base=before,
            after_base=after,
            net_usd=None if first is None else (after - before) * first,
            price_usd=None if first is None or last is None else span.priced * (last - first),
            by_venue_pct=_by_venue([*span.ends, *span.beside]),
            not_added=not_added,
        )

    def present_usd(self, view: View, now: Ms) -> float | None:
        """At the venues that are heard and say which sides they count."""
        held = view.usd_held().items()
        return sum(usd for market, usd in held if market.up(Kind.OPEN_INTEREST)) or None

    def distance(self, value: float) -> float:
        return fall(-value) if value < 0 else value

    def left_out(self, telling: "Telling", span: Span) -> float:
        """Coins of the markets added up that are not in the span, per coin of those that are.

        A contract without a past at a venue of which another one is gone may be the same coins, so
        it is none of those. Each is compared at the last moment at which it was known itself, since
        the others may have fallen after that; at the window's start if that was before.
        """
        if len(span.ends) == len(telling.added):
            return 0.0
        used = {e.market for e in span.ends}
        ratio = 0.0
        for market in telling.added:
            if market in used:
                continue
            series = market.memo(self.samples)
            if market.venue in telling.replaced and (
                series is None or series.first_at(span.start, self.max_age) is None
            ):
                continue
            last = None if series is None else series.last_time
            coins = None
            if series is None or last is None:
                last = span.end
            else:
                coins = span.coins(market, series.last_first)
            if coins is None:
                coins = market.oi_base or 0.0
            beside = sum([self._coins_at(e, last, span) for e in span.ends])
            ratio += coins / beside if beside > 0 else 0.0
        return ratio

    def _coins_at(self, end: Ends, t: Ms, span: Span) -> float:
        """A market's coins at ``t``; at the window's start where they are not known."""
        series = end.market.memo(self.samples) if t >= span.start else None
        held = None if series is None else series.first_at(t, self.window)
        coins = None if held is None else span.coins(end.market, held)
        return end.before if coins is None else coins

    def span(self, telling: "Telling", now: Ms, price_at: PriceAt) -> Span | None:
        """Both ends of the window, aligned at the slowest fresh market's newest sample.

        Nobody waits for one that is late, where the others are enough.
        """
        fresh: list[_Fresh] = []
        late: set[Market] = set()
        for market, latest in telling.known:
            series = market.memo(self.samples)
            newest = series.last_time if series is not None else None
            if series is None or newest is None or now - newest > MAX_AGE:
                continue
            fresh.append((market, series, newest, latest))
            if now - newest > LASTS and market.interest.late(now):
                late.add(market)
        if late:
            span = self._aligned([f for f in fresh if f[0] not in late], telling, now, price_at)
            if span is not None and self._enough(telling, span):
                return span
        return self._aligned(fresh, telling, now, price_at)

    def _aligned(
        self,
        fresh: list["_Fresh"],
        telling: "Telling",
        now: Ms,
        price_at: PriceAt,
    ) -> Span | None:
        end = min([now, *[newest for _, _, newest, _ in fresh]])
        start, max_age = end - self.window, self.max_age
        price = price_at(start) if any(f[0].inverse for f in fresh) else None
        alone = self._alone(fresh, start, now, price, price_at)
        ends: list[Ends] = []
        for market, series, newest, latest in fresh:
            before = series.first_at(start, max_age)
            # a slot keeps its newest sample only; the one before may be a whole slot from the end
            near = newest - end < self.spacing
            after = series.last_first if near else series.first_at(end, max_age)
            if before is None or after is None:
                continue
            recent = series.first_at(max(start, end - SUPPORT), max_age)
            left = market.interest.left
            if left is not None and market.exchange in alone:
                after = recent = max(after, left.before)
            held = Ends(market, before, after, before if recent is None else recent, latest)
            if not market.inverse:
                ends.append(held)
            elif price:
                ends.append(_at_price(held, price))
        ends, added = _confirmed(ends), telling.added
        if len(added) == telling.number:
            return Span(start, end, ends, [], price) if ends else None
        counted = [e for e in ends if e.market in added]
        beside = [e for e in ends if e.market not in added]
        return Span(start, end, counted, beside, price) if counted else None

    def _alone(
        self,
        fresh: list["_Fresh"],
        start: Ms,
        now: Ms,
        price: float | None,
        price_at: PriceAt,
    ) -> set[str]:
        """The exchanges that fell by a step, of late and alone."""
        since: dict[str, Ms] = {}
        for market, *_ in fresh:
            left, level = market.interest.left, market.interest.level
            if left is None or level is None or level >= left.before:
                continue
            if left.since > start and market.interest.left_for < ALONE:
                since[market.exchange] = min(left.since, since.get(market.exchange, now))
        alone: set[str] = set()
        for exchange, first in since.items():
            before = max(start, first - SUPPORT)
            still = stands_still(price_at(before), price_at(now))
            if still and self._others_still(exchange, fresh, before, price):
                alone.add(exchange)
        return alone

    def _others_still(
        self, exchange: str, fresh: list["_Fresh"], since: Ms, price: float | None
    ) -> bool:
        """Whether there are enough other exchanges, none of which fell after ``since``."""
        sums: dict[str, tuple[float, float]] = {}
        for market, series, _, latest in fresh:
            before = series.first_at(since, self.max_age)
            scale = _coins(market, 1.0, price)
            if market.exchange == exchange or before is None or scale is None:
                continue
            old, shown = sums.get(market.exchange, (0.0, 0.0))
            shown += scale * (series.last_first if latest is None else latest)
            sums[market.exchange] = old + scale * before, shown
        others = {market.exchange for market, *_ in fresh} - {exchange}
        enough = 0 < min(OTHERS, len(others)) <= len(sums)
        return enough and all(old <= AGREE * shown for old, shown in sums.values())

    def _enough(self, telling: "Telling", span: Span) -> bool:
        """Whether these hold enough of the coins to speak for all."""
        return span.before > 0 and LEAST_SHARE * (1 + self.left_out(telling, span)) <= 1


def open_interest(name: str, window: Ms) -> OpenInterestMetric:
    """The metric over ``window``. Samples lie at most ``window / SLOTS`` apart."""
    spacing = max(1, window // SLOTS)
    max_age = max(MAX_AGE, 2 * spacing)
    keep = Keep(f"{MEMOS}{window}", partial(Series, 1, window + max_age, spacing))
    return OpenInterestMetric(name, window, keep, spacing, max_age)


class Telling(NamedTuple):
    """What the markets of an asset tell, the same for all windows between two events."""

    number: int
    """How many of them tell what is open."""
    added: list[Market]
    """Those of them that may be added up."""
    known: list[tuple[Market, float | None]]
    """Those of them whose feed is up and of which something is believed, with what they show now,
    held or not."""
    replaced: frozenset[str]
    """Venues of which a contract is gone."""

    @staticmethod
    def by(markets: list[Market], view: View) -> "Telling":
        """That of ``markets`` of a view, all of which tell what is open."""
        known = [
            (m, m.interest.latest)
            for m in markets
            if m.interest.level is not None and m.up(_OPEN_INTEREST)
        ]
        replaced = frozenset([m.venue for m in view.everyone if m.gone])
        return Telling(len(markets), _added(markets), known, replaced)


_Fresh = tuple[Market, Series, Ms, float | None]
"""A market that speaks now, its samples, the time of the newest one, and what it shows."""


def _telling(view: View, now: Ms) -> Telling:
    return Telling.by([m for m in view.ordered if m.oi_base is not None], view)


def _at_price(end: Ends, price: float) -> Ends:
    """Both ends of an inverse contract, which are USD, in coins at ``price``."""
    market, before, after, recent, latest = end
    shown = None if latest is None else latest / price
    return Ends(market, before / price, after / price, recent / price, shown)


def _added(markets: list[Market]) -> list[Market]:
    """Those that may be added up: all that count one side; if none is known to, the largest
    exchange's, since one of two may count both sides."""
    known = [m for m in markets if m.one_side]
    if known or not markets:
        return known
    held: dict[str, float] = {}
    for market in markets:
        held[market.exchange] = held.get(market.exchange, 0.0) + (market.oi_base or 0.0)
    largest = max(held, key=lambda exchange: (held[exchange], exchange))
    return [m for m in markets if m.exchange == largest]


def _coins(market: Market, held: float, price: float | None) -> float | None:
    """What is held in coins; of an inverse contract at ``price``, None without one."""
    if not market.inverse:
        return held
    return held / price if price else None


def _confirmed(ends: list[Ends]) -> list[Ends]:
    """The ends with what is not held yet, as far as another exchange shows the same.

    Measured from what was held ``SUPPORT`` ago: an exchange goes down as far as it shows, but no
    further than the one that shows the second deepest fall; up in the same way.
    """
    if len({e.market.exchange for e in ends}) < 2:
        return ends
    sums: dict[str, tuple[float, float, float]] = {}
    for market, _, after, recent, latest in ends:
        old, held, shown = sums.get(market.exchange, (0.0, 0.0, 0.0))
        shown += after if latest is None else latest
        sums[market.exchange] = old + recent, held + after, shown
    moves = {x: (held / old, shown / old) for x, (old, held, shown) in sums.items() if old > 0}
    order = sorted(shown for _, shown in moves.values())
    if len(order) < 2:
        return ends
    shares: dict[str, float] = {}
    for exchange, (held, shown) in moves.items():
        if shown < held:
            shares[exchange] = (max(shown, min(held, order[1])) - held) / (shown - held)
        elif shown > held:
            shares[exchange] = (min(shown, max(held, order[-2])) - held) / (shown - held)
    return [_moved(e, shares.get(e.market.exchange, 0.0)) for e in ends]


def _moved(end: Ends, share: float) -> Ends:
    """The end, with this share of what is shown and not held."""
    if end.latest is None or not share:
        return end
    return end._replace(after=end.after + share * (end.latest - end.after))


def _by_venue(ends: list[Ends]) -> dict[str, float]:
    totals: dict[str, tuple[float, float]] = {}
    for market, before, after, *_ in ends:
        sums = totals.get(market.venue, (0.0, 0.0))
        totals[market.venue] = (sums[0] + before, sums[1] + after)
    return {v: 100 * (b - a) / a for v, (a, b) in totals.items() if a > 0}
