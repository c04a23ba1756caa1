"""Order-book depth within a band around mid, in percent of what is normal.

Now: the median of the last minute's samples, so that one pulled quote is not a thin book. Normal:
for ``_of_recent`` the median of the minute medians of the last four hours, while an episode is open
of those before it; for ``_of_normal`` the median of this hour of day over the last 14 days. The
same books on both sides; a sample whose book does not reach the band's edge is no sample.

What is remembered of one order book's depth in one band: the last minute, and what is usual.

Invariants:
- while an episode of this depth is open, its normal is that of its opening, and nothing is learned:
  a baseline that sinks with the crash would call a thin book normal;
- ``_ordered`` holds the USD of the samples from ``_first`` up to ``_sorted``, in order of size, so
  that the median of the last minute costs no sorting. It follows from the samples and is not
  dumped; newer samples are put into it when the median is asked for.
"""

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rules.alerts import DepthFacts, Scope
from rules.market import Keep, Market, Memo, View
from rules.metric import LEAST_SHARE, OF_ASSET, Reading, fall, median
from rules.windows import Hours, Ring
from streams.durations import DAY, HOUR, MINUTE, SECOND
from streams.events import BANDS_BP, Depth, Kind, MarketEvent, Ms

HALF_HOUR: Ms = 30 * MINUTE
RECENT: Ms = 240 * MINUTE
HELD_MOST: Ms = 24 * HOUR
"""A book that is thin for longer has a new normal."""

RECENT_READY = 30
"""Minute medians needed before there is a recent normal."""

HOUR_READY = 30
"""Minute medians that an hour's median must be made of."""

_MAX_AGE: Ms = 30 * SECOND
"""Older samples are not "now"."""

_SPACING: Ms = SECOND
_LEAST_SAMPLES = 3
_LEAST_SPAN: Ms = 10 * SECOND
"""A median needs this many samples, over at least this time."""


class DepthSamples:
    """Samples of depth (USD, both sides and bids alone), at most one a second, and their medians.

    ``taken``: the last event that was taken in, since two metrics may offer it. ``unbroken_since``:
    the first of the samples of which each came while the one before it was still "now".
    """

    __slots__ = (
        "_bids", "_first", "_held", "_held_ms", "_held_since", "_held_until", "_holders",
        "_hour_end", "_hourly", "_hours", "_minute_end", "_minutes", "_ordered", "_recent",
        "_recent_end", "_second", "_sorted", "_times", "_usd", "taken",
        "unbroken_since",
    )  # fmt: skip

    def __init__(self) -> None:
        self._times = array("q")
        self._usd = array("d")
        self._bids = array("d")
        self._second = self._minute_end = self.unbroken_since = 0
        self._ordered = array("d")
        self._first = self._sorted = 0
        self._minutes = Ring(RECENT // MINUTE)
        self._recent: float | None = None
        self._recent_end: Ms = 0
        self._hours = Hours()
        self._hourly: float | None = None
        self._hour_end: Ms = 0
        # whose episodes are open, as bits; the normal of the first one's opening, and until when it
        # stands in afterwards, while there is too little of the time since
        self._holders = 0
        self._held = 0.0
        self._held_ms: Ms = 0
        self._held_since: Ms = 0
        self._held_until: Ms = 0
        self.taken: object = None

    @property
    def hours(self) -> Hours:
        """What is usual at each hour of day."""
        return self._hours

    def add(self, t: Ms, usd: float, bids: float) -> None:
        """A sample; it replaces another one of the same second. Times must not run backwards."""
        second = t // _SPACING
        ahead, self._second = second - self._second, second
        if ahead >= _MAX_AGE // _SPACING and (not self._times or t - self._times[-1] > _MAX_AGE):
            self.unbroken_since = t
        if t >= self._minute_end:
            if self._times:
                self._close_minute(t)
            self._minute_end = t - t % MINUTE + MINUTE
        elif not ahead:
            self._drop_last()
        self._times.append(t)
        self._usd.append(usd)
        self._bids.append(bids)

    def current(self, now: Ms) -> float | None:
        """The median of the last minute, None if that is made of too little, or of old samples."""
        times = self._times
        if not times or now - times[-1] > _MAX_AGE:
            return None
        first = self._sort(now - MINUTE)
        ordered = self._ordered
        count = len(ordered)
        if count < _LEAST_SAMPLES or times[-1] - times[first] < _LEAST_SPAN:
            return None
        half = count >> 1
        return ordered[half] if count & 1 else (ordered[half - 1] + ordered[half]) / 2

    def bids(self, now: Ms) -> float | None:
        """The median of the bids alone."""
        return median(self._bids[self._sort(now - MINUTE) :])

    def recent(self, now: Ms) -> float | None:
        """The median of the minute medians of the last four hours, or of four before an episode."""
        if self._holders and self._holding(now):
            return self._held
        if self._recent is not None and now < self._recent_end:
            return self._recent
        return self._held if now < self._held_until else None

    def hold(self, who: int, on: bool, now: Ms) -> None:
        """An episode of ``who`` (a bit) is open, or is over. Saying it twice changes nothing."""
        if on and not self._holders:
            normal = self.recent(now)
            if normal is None:
                return  # nothing to hold on to
            self._held_ms = self.recent_ms(now)
            self._held, self._held_since = normal, now
            self._held_until = now + HELD_MOST + RECENT
        elif not on and self._holders == who:
            self._held_until = min(self._held_until, now + RECENT)
        self._holders = self._holders | who if on else self._holders & ~who

    def recent_ms(self, now: Ms) -> Ms:
        """How much time the recent normal is made of, in whole half hours."""
        if self._holding(now) or not (self._recent is not None and now < self._recent_end):
            return self._held_ms
        return len(self._last_minutes()) * MINUTE // HALF_HOUR * HALF_HOUR

    def hourly(self, now: Ms) -> float | None:
        """The median of this hour of day."""
        if now >= self._hour_end:
            self._hourly = self._hours.normal(now)
            self._hour_end = now - now % HOUR + HOUR
        return self._hourly

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: what is usual at each hour stays, and what is held."""
        hours = self._hours
        held = self._holders, self._held, self._held_ms, self._held_since, self._held_until
        self.__init__()
        self._holders, self._held, self._held_ms, self._held_since, self._held_until = held
        self._held_since = min(self._held_since, now)
        self._held_until = min(self._held_until, now + HELD_MOST + RECENT)
        self._hours = hours
        hours.set_back(now)

    def dump(self) -> list[bytes]:
        """All of it as bytes, in this machine's byte order."""
        # forgotten samples too: the minute that they are of may not be closed yet
        samples = (self._times, self._usd, self._bids)
        return [
            *(column.tobytes() for column in samples),
            *self._minutes.dump(),
            array("d", [self._holders, self._held, self._held_ms]).tobytes(),
            array("q", [self._held_since, self._held_until, self.unbroken_since]).tobytes(),
            *self._hours.dump(),
        ]

    def load(self, dumped: Sequence[bytes]) -> None:
        """Takes over a dumped book. ValueError if it does not fit."""
        # a book of seven parts was written before any normal was held
        if len(dumped) not in (7, 9) or not len(dumped[0]) == len(dumped[1]) == len(dumped[2]):
            raise ValueError("the dumped book is cut short: start without it")
        self._minutes.load(dumped[3:5])
        self._hours.load(dumped[-2:])
        held, times = array("d", [0, 0, 0]), array("q", [0, 0])
        if len(dumped) == 9:
            held, times = array("d", dumped[5]), array("q", dumped[6])
        if len(times) == 2:  # written before holes in it were minded: none is known to be short
            times.append(array("q", dumped[0])[-1] if dumped[0] else 0)
        if len(held) != 3 or len(times) != 3:
            raise ValueError("the dumped book is cut short: start without it")
        self._holders, self._held, self._held_ms = int(held[0]), held[1], int(held[2])
        self._held_since, self._held_until, self.unbroken_since = times
        self._times = array("q", dumped[0])
        self._usd, self._bids = array("d", dumped[1]), array("d", dumped[2])
        self._ordered = array("d")
        self._first = self._sorted = self._hour_end = 0
        self._second = self._minute_end = 0
        if self._times:
            self._second = self._times[-1] // _SPACING
            self._minute_end = self._times[-1] // MINUTE * MINUTE + MINUTE
        self._count_recent()

    def _sort(self, horizon: Ms) -> int:
        """Brings ``_ordered`` to the samples after ``horizon``; where these begin."""
        times, usd, ordered = self._times, self._usd, self._ordered
        first, end = self._first, len(times)
        while first < end and times[first] <= horizon:
            if first < self._sorted:
                del ordered[bisect_left(ordered, usd[first])]
            first += 1
        for n in range(max(first, self._sorted), end):
            insort(ordered, usd[n])
        self._first, self._sorted = first, end
        return first

    def _drop_last(self) -> None:
        """A newer sample of the same second takes the place of the last one."""
        self._times.pop()
        self._bids.pop()
        usd, count = self._usd.pop(), len(self._times)
        if self._sorted > count:
            self._sorted = count
            if self._first <= count:
                del self._ordered[bisect_left(self._ordered, usd)]
            self._first = min(self._first, count)

    def _close_minute(self, now: Ms) -> None:
        """The minute of the newest sample is over, and its samples are still all here."""
        times, end = self._times, self._minute_end
        first = bisect_left(times, end - MINUTE)
        samples = self._usd[first:]
        if (
            len(samples) >= _LEAST_SAMPLES
            and times[-1] - times[first] >= _LEAST_SPAN
            and not self._holding(end)
        ):
            minute, before = end // MINUTE - 1, self._minutes.newest
            if before >= 0 and before // 60 != minute // 60:
                self._close_hour(before // 60)
            self._minutes.put(minute, median(samples) or 0.0)
            self._count_recent()
        gone = self._sort(now - MINUTE)
        for column in (self._times, self._usd, self._bids):
            del column[:gone]
        self._first, self._sorted = 0, len(self._times)

    def _holding(self, now: Ms) -> bool:
        return self._holders > 0 and now - self._held_since < HELD_MOST

    def _last_minutes(self) -> list[float]:
        newest = self._minutes.newest
        return self._minutes.among(range(newest - RECENT // MINUTE + 1, newest + 1))

    def _count_recent(self) -> None:
        minutes = self._last_minutes()
        self._recent = median(minutes) if len(minutes) >= RECENT_READY else None
        self._recent_end = (self._minutes.newest + 1) * MINUTE + RECENT

    def _close_hour(self, hour: int) -> None:
        minutes = self._minutes.among(range(60 * hour, 60 * hour + 60))
        usual = median(minutes)
        if usual is not None and len(minutes) >= HOUR_READY:
            self._hours.put(hour, usual)
            self._hour_end = 0


EVERY_OTHER: Ms = 2 * SECOND
"""The median of a minute moves slowly."""

WARM_UP: Ms = MINUTE
"""A book that came back counts again after this time; at once, if it was away so shortly that its
last sample was still "now": then the median is of both sides of the hole."""

_DEPTH = Kind.DEPTH
_KINDS = frozenset({_DEPTH})


class _Live(NamedTuple):
    market: Market
    book: DepthSamples
    usd: float
    normal_usd: float


@dataclass(frozen=True, slots=True)
class DepthMetric:
    """``depth_<bp>bp_pct_of_recent`` or ``depth_<bp>bp_pct_of_normal``.

    Both sides together, 100 = normal.
    """

    name: str
    bp: int
    """Half-width of the band."""
    hourly: bool
    """The normal is that of the hour of day; False: that of the last hours."""
    unit: str
    book: Keep[DepthSamples]
    place: int
    """Where the band is in a Depth event, as a rule."""
    scopes: frozenset[Scope] = OF_ASSET
    kinds: frozenset[Kind] = _KINDS
    window: Ms | None = None
    idle_look: Ms | None = None
    look_every: Ms = EVERY_OTHER

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return (self.book,)

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        if not isinstance(event, Depth):
            return False
        bands, place = event.bands, self.place
        # books list the same bands in the same order, as a rule
        band = bands[place] if place < len(bands) else None
        if band is None or band.bp != self.bp:
            band = next((b for b in bands if b.bp == self.bp), None)
        if band is None or not band.covered:
            return False
        book = market.memos.get(self.book.name)
        if not isinstance(book, DepthSamples):
            book = market.keep(self.book)
        if book.taken is not event:
            book.taken = event
            market.spread_bp = event.spread_bp
            book.add(now, band.bid_usd + band.ask_usd, band.bid_usd)
        return True

    def value(self, view: View, now: Ms) -> Reading | None:
        return self.over(view.ordered, now)

    def over(self, markets: Iterable[Market], now: Ms) -> Reading | None:
        """The value over these contracts, as far as their depth is remembered."""
        # the hottest loop of all, so everything is in one
        usd = normal = usual = 0.0
        expected: list[Market] = []
        used: list[Market] = []
        name, hourly, long_ago = self.book.name, self.hourly, now - WARM_UP
        for market in markets:
            book = market.memos.get(name)
            if not isinstance(book, DepthSamples):
                continue
            normally = book.hourly(now) if hourly else book.recent(now)
            if not normally:
                continue
            expected.append(market)
            usual += normally
            current = book.current(now)
            if current is None:
                continue
            line = market.lines.get(_DEPTH) or market.venue_lines.get(_DEPTH)
            if line is None or not line.up:
                continue
            if line.since <= long_ago or book.unbroken_since <= long_ago:
                used.append(market)
                usd += current
                normal += normally
        if normal <= 0 or normal < LEAST_SHARE * usual:
            return None
        return Reading(
            value=100 * usd / normal,
            used=used,
            expected=expected,
            floor_musd=(normal - usd) / 1e6,
        )

    def facts(self, view: View, now: Ms) -> DepthFacts | None:
        reading = self.value(view, now)
        if reading is None:
            return None
        live = [
            _Live(market, book, book.current(now) or 0.0, self._normal(book, now) or 0.0)
            for market in reading.used
            if (book := market.memo(self.book)) is not None
        ]
        if not live:
            return None
        usd = sum(of_market.usd for of_market in live)
        bid = sum(of_market.book.bids(now) or 0.0 for of_market in live)
        return DepthFacts(
            band_bp=self.bp,
            bid_usd=min(bid, usd),
            ask_usd=max(usd - bid, 0.0),
            normal_usd=sum(of_market.normal_usd for of_market in live),
            normal_ms=max(self._normal_ms(of_market.book, now) for of_market in live),
            by_venue_pct=_by_venue(live),
            live=len(live),
            expected=len(reading.expected),
            spread_bp=max(live, key=lambda of_market: of_market.usd).market.spread_bp,
            hour=now // HOUR % 24 if self.hourly else None,
        )

    def present_usd(self, view: View, now: Ms) -> float | None:
        """Both sides of the books that are live, where they reach as far."""
        books = [m.memo(self.book) for m in view.ordered if m.up(Kind.DEPTH)]
        return sum(book.current(now) or 0.0 for book in books if book is not None) or None

    def hold(self, view: View, instrument: bool, on: bool, now: Ms) -> None:
        """An episode of this view is open: its normal stays that of its opening. Or it is over."""
        if self.hourly:
            return  # two weeks do not sink with a crash
        for market in view.ordered:
            book = market.memo(self.book)
            if book is not None:
                book.hold(2 if instrument else 1, on, now)

    def distance(self, value: float) -> float:
        return fall(100 - value) if value < 100 else value - 100

    def _normal(self, book: DepthSamples, now: Ms) -> float | None:
        return book.hourly(now) if self.hourly else book.recent(now)

    def _normal_ms(self, book: DepthSamples, now: Ms) -> Ms:
        return book.hours.days(now) * DAY if self.hourly else book.recent_ms(now)


def of_recent(name: str, bp: int) -> DepthMetric:
    """The metric of the band ``bp`` basis points wide on each side, against the last hours."""
    return DepthMetric(
        name, bp, hourly=False, unit="% of recent", book=_keep(bp), place=BANDS_BP.index(bp)
    )


def of_normal(name: str, bp: int) -> DepthMetric:
    """The same against this hour of day over the last 14 days."""
    return DepthMetric(
        name, bp, hourly=True, unit="% of normal", book=_keep(bp), place=BANDS_BP.index(bp)
    )


def _keep(bp: int) -> Keep[DepthSamples]:
    return Keep(f"depth.{bp}", DepthSamples)


def _by_venue(live: list[_Live]) -> dict[str, float]:
    totals: dict[str, tuple[float, float]] = {}
    for of_market in live:
        sums = totals.get(of_market.market.venue, (0.0, 0.0))
        totals[of_market.market.venue] = (sums[0] + of_market.usd, sums[1] + of_market.normal_usd)
    return {venue: 100 * usd / normal for venue, (usd, normal) in totals.items()}
