"""What is usual at this hour of day: the hourly medians of the last 14 days.

The baseline of hour h is the median over all stored hours whose hour of day (UTC) is h-1, h or
h+1: 42 values at most.

The price of one instrument, now and at the start of a window.

Two resolutions: slots of 10 s for the last hour, and 288 slots over the longest window that is
asked for. A slot holds the price that was in force when it began, so a price of the past is never
later than the moment it is asked for. A price that jumps is doubted until a second one confirms it,
and so is the first one, also after a hole; that one holds from when it came then. What is doubted
does not become the past, nor does a price that was far from those around it, or from those that
came after it at a beginning, and held for less than 20 s.

A window of samples that forgets by event time.

Invariants:
- times never run backwards: a sample older than the newest one is stored at the newest time;
- besides the window, the newest sample before it is kept, so that "the value at the window's
  start" always has an answer once the window is full;
- 8 bytes for the time and 8 for each column; nothing else is held for a sample.

Values of equal slots of time, four bytes each, of which only the newest are kept.

A slot is known by its number; its place is the number modulo the size. NaN stands for a slot
without a value. Four bytes hold seven digits, which is more than any threshold asks for.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import isnan, nan
from operator import itemgetter
from statistics import median

import msgspec

from streams.durations import HOUR, MINUTE, SECOND
from streams.events import Ms

_NONE = -1


class Ring:
    """The values of the last ``size`` slots up to the newest; empty until the first one."""

    __slots__ = ("_values", "newest", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._values = array("f")
        self.newest = _NONE

    def put(self, slot: int, value: float) -> None:
        """The value of a slot; slots must not run backwards."""
        values, size = self._values, self.size
        if not values:
            values.extend([nan] * size)
        elif slot > self.newest + 1:
            for skipped in range(max(self.newest, slot - size) + 1, slot):
                values[skipped % size] = nan
        values[slot % size] = value
        self.newest = slot

    def fill(self, values: Sequence[tuple[int, float]]) -> None:
        """Values of slots that have none; slots must not run backwards."""
        for slot, value in values:
            if slot > self.newest:
                self.put(slot, value)
            elif slot > max(self.newest - self.size, -1) and self.at(slot) is None:
                self._values[slot % self.size] = value

    def cut(self, slot: int) -> None:
        """Forgets what is after ``slot``, which is the newest then."""
        if slot < self.newest:
            for later in range(max(slot, self.newest - self.size) + 1, self.newest + 1):
                self._values[later % self.size] = nan
            self.newest = slot

    def mend(self, slot: int, value: float) -> None:
        """Another value for a slot that has one; nothing where it has none or is forgotten."""
        if self.at(slot) is not None:
            self._values[slot % self.size] = value

    def at(self, slot: int) -> float | None:
        """The value of a slot, None if it has none or is forgotten."""
        if not 0 <= slot <= self.newest or slot <= self.newest - self.size:
            return None
        value = self._values[slot % self.size]
        return None if isnan(value) else value

    def in_force(self, slot: int) -> float | None:
        """The value of a slot, or of the one before: a hole may just have ended."""
        value = self.at(slot)
        return self.at(slot - 1) if value is None else value

    def among(self, slots: range) -> list[float]:
        """The values that some slots, one after the other, have."""
        first = max(slots.start, self.newest - self.size + 1, 0)
        count = min(slots.stop, self.newest + 1) - first
        if count <= 0:
            return []
        start, values = first % self.size, self._values
        part = values[start : start + count] + values[: max(0, start + count - self.size)]
        return [value for value in part if not isnan(value)]

    def dump(self) -> list[bytes]:
        """The ring as bytes, in this machine's byte order."""
        return [self.newest.to_bytes(8, "little", signed=True), self._values.tobytes()]

    def load(self, dumped: Sequence[bytes]) -> None:
        """Takes over a dumped ring, of another size as far as it goes. ValueError if it is none."""
        if len(dumped) != 2 or len(dumped[0]) != 8 or len(dumped[1]) % 4:
            raise ValueError("the dumped ring is cut short: start without it")
        newest, values = int.from_bytes(dumped[0], "little", signed=True), array("f", dumped[1])
        size = len(values)
        if size in (0, self.size):
            self.newest, self._values = newest, values
            return
        for slot in range(newest - min(size, self.size) + 1, newest + 1):
            self.put(slot, values[slot % size])


_SLACK = 16
"""Forgotten samples that may wait at the front of the arrays before they are moved out."""


class Series:
    """Samples of ``width`` numbers over the last ``keep_ms`` (0: only the newest).

    ``spacing_ms``: at most one sample for each slot of that length; the newest in the slot stays.
    """

    __slots__ = ("_columns", "_head", "_keep", "_spacing", "_times")

    def __init__(self, width: int, keep_ms: Ms, spacing_ms: Ms = 0) -> None:
        self._keep = keep_ms
        self._spacing = spacing_ms
        self._head = 0
        self._times = array("q")
        self._columns = tuple(array("d") for _ in range(width))

    def __len__(self) -> int:
        return len(self._times) - self._head

    @property
    def last_time(self) -> Ms | None:
        """The time of the newest sample."""
        times = self._times
        return times[-1] if len(times) > self._head else None

    @property
    def last(self) -> tuple[float, ...] | None:
        """The newest sample."""
        if len(self._times) == self._head:
            return None
        return tuple([column[-1] for column in self._columns])

    @property
    def last_first(self) -> float:
        """The first column of the newest sample. IndexError if there is none."""
        return self._columns[0][-1]

    def append(self, t: Ms, values: Sequence[float]) -> None:
        """Adds a sample at ``t`` and forgets what the window no longer needs."""
        times = self._times
        if len(times) > self._head:
            last = times[-1]
            if t < last:
                t = last
            if self._spacing and t // self._spacing == last // self._spacing:
                times[-1] = t
                for column, value in zip(self._columns, values, strict=True):
                    column[-1] = value
                return
        times.append(t)
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)
        self._forget(t - self._keep)

    def add(self, t: Ms, amounts: Sequence[float]) -> None:
        """Appends running totals. Whole amounts keep ``sums`` exact up to 2**53, without drift."""
        last = self.last
        if last is None:
            self.append(t, amounts)
        else:
            self.append(t, [a + b for a, b in zip(last, amounts, strict=True)])

    def sums(self, after: Ms) -> tuple[float, ...]:
        """What was added after ``after``, column by column; ``after`` must be in the window."""
        last, before = self.last, self.at_or_before(after)
        if last is None:
            return (0.0,) * len(self._columns)
        if before is None:
            return last
        return tuple([a - b for a, b in zip(last, before[1], strict=True)])

    def pop(self) -> None:
        """Takes the newest sample away. IndexError if there is none."""
        if not len(self):
            raise IndexError("pop from an empty series")
        self._times.pop()
        for column in self._columns:
            column.pop()

    def mend(self, since: Ms, value: float) -> None:
        """Another value in the first column of all samples from ``since`` on."""
        column = self._columns[0]
        for index in range(bisect_left(self._times, since, self._head), len(self._times)):
            column[index] = value

    def fill(self, rows: Sequence[tuple[Ms, Sequence[float]]]) -> None:
        """Puts samples of the past, the oldest first, into slots that have none."""
        head, slot = self._head, self._spacing or 1
        known = [
            (t, [c[head + n] for c in self._columns]) for n, t in enumerate(self._times[head:])
        ]
        taken = {t // slot for t, _ in known}
        added = [(t, values) for t, values in rows if t // slot not in taken]
        if not added:
            return
        whole = sorted([*known, *added], key=itemgetter(0))
        self._head = 0
        self._times = array("q", [t for t, _ in whole])
        width = range(len(self._columns))
        self._columns = tuple(array("d", [values[n] for _, values in whole]) for n in width)
        self._forget(self._times[-1] - self._keep)

    def span_without_hole(self, longest: Ms) -> tuple[Ms, Ms] | None:
        """The time from the oldest sample to the newest that no hole longer than ``longest``
        precedes; None of no sample."""
        times = self._times[self._head :]
        if not times:
            return None
        hole = next((n for n in range(1, len(times)) if times[n] - times[n - 1] > longest), None)
        return times[0], times[-1 if hole is None else hole - 1]

    def at_or_before(self, t: Ms) -> tuple[Ms, tuple[float, ...]] | None:
        """The newest sample not after ``t`` with its time; None if the series does not reach."""
        index = bisect_right(self._times, t, self._head) - 1
        if index < self._head:
            return None
        return self._times[index], tuple([column[index] for column in self._columns])

    def first_at(self, t: Ms, max_age: Ms) -> float | None:
        """The first column ``at_or_before`` a time, None if that is older than ``max_age``."""
        times, head = self._times, self._head
        index = bisect_right(times, t, head) - 1
        return self._columns[0][index] if index >= head and t - times[index] <= max_age else None

    def window(self, after: Ms, until: Ms) -> range:
        """Where the samples after ``after`` and not after ``until`` are, until the next change."""
        times, head = self._times, self._head
        start = bisect_right(times, after, head)
        return range(start, bisect_right(times, until, start))

    def times(self, where: range) -> Sequence[Ms]:
        """The times of the samples of a ``window``."""
        return self._times[where.start : where.stop]

    def values(self, column: int, where: range) -> Sequence[float]:
        """One column of the samples of a ``window``."""
        return self._columns[column][where.start : where.stop]

    def span(self, where: range) -> Ms:
        """The time from the first to the last sample of a ``window``, 0 if it is empty."""
        return self._times[where.stop - 1] - self._times[where.start] if where else 0

    def dump(self) -> list[bytes]:
        """The samples, equal for equal samples: times, then each column, as this machine has them.

        The byte order is the machine's own (int64, float64).
        """
        head = self._head
        return [self._times[head:].tobytes(), *(c[head:].tobytes() for c in self._columns)]

    def load(self, dumped: Sequence[bytes]) -> None:
        """Takes over dumped samples instead of its own. ValueError if they do not fit."""
        if len(dumped) != 1 + len(self._columns):
            raise ValueError("the dumped series has another number of columns: start without it")
        if any(len(c) != len(dumped[0]) for c in dumped):
            raise ValueError("the dumped series is cut short: start without it")
        self._head = 0
        self._times = array("q", dumped[0])
        self._columns = tuple(array("d", c) for c in dumped[1:])

    def _forget(self, horizon: Ms) -> None:
        times, head = self._times, self._head
        newest = len(times) - 1
        while head < newest and times[head + 1] <= horizon:
            head += 1
        if head > _SLACK:
            del times[:head]
            for column in self._columns:
                del column[:head]
            head = 0
        self._head = head


HELD: Ms = 20 * SECOND
"""A price that a venue has held so long, against what others say, is one."""

_BLOCK: Ms = 5 * SECOND
_HELD_BLOCKS = HELD // _BLOCK
_HELD_PRICES = 2

CONFIRMED: Ms = 4 * SECOND
"""So long a price that runs must have been as far, within ``JUMP``, where nobody else can say."""

_SECONDS = CONFIRMED // SECOND

FROZEN: Ms = MINUTE
"""A price that has not changed at all for so long, while another does, is that of a frozen feed."""

_MOVING_BLOCKS = 3


class PriceBlock(msgspec.Struct, array_like=True, gc=False):
    """The prices of some seconds."""

    slot: int
    """Which seconds: the time divided by their length."""
    low: float
    """The lowest price."""
    high: float
    """The highest price."""
    number: int = 1
    """How many prices there were."""

    def add(self, price: float) -> None:
        """One more price."""
        if price < self.low:
            self.low = price
        elif price > self.high:
            self.high = price
        self.number += 1


class LatestPrices(msgspec.Struct, array_like=True):
    """The prices of the last ``HELD`` ms, doubted or not, and of the block before."""

    blocks: list[PriceBlock] = []
    price: float | None = None
    """The newest; None: there is none."""
    changed: Ms = 0
    """Since when it is ``price``."""
    jumped: Ms = 0
    """When a price was last far from the one before."""
    seconds: list[PriceBlock] = []
    """The blocks of the last ``CONFIRMED`` ms, second by second, and the one before."""

    def take(self, price: float, now: Ms) -> None:
        """A new price."""
        if price != self.price:
            if self.price is not None and abs(price - self.price) > JUMP * self.price:
                self.jumped = now
            self.price, self.changed = price, now
        _note(self.seconds, now // SECOND, price, _SECONDS)
        _note(self.blocks, now // _BLOCK, price, _HELD_BLOCKS)

    def frozen(self, now: Ms) -> bool:
        """Whether it has not changed for long."""
        return self.price is not None and now - self.changed >= FROZEN

    def moving(self, now: Ms) -> bool:
        """Whether it has changed again and again of late."""
        slot = now // _BLOCK - _HELD_BLOCKS
        prices = [(b.low, b.high) for b in self.blocks if b.slot >= slot]
        return len(set(prices)) >= _MOVING_BLOCKS

    @property
    def gap(self) -> Ms:
        """How long it is from one price to the next, as far as the last ones tell."""
        since = self.blocks[-1].slot - _HELD_BLOCKS if self.blocks else 0
        return HELD // max(1, sum([b.number for b in self.blocks if b.slot > since]))

    def came_from(self, price: float, t: Ms) -> bool:
        """Whether it was about ``price`` in the 5 s at ``t``, and has not jumped since."""
        if self.jumped > t:
            return False
        then = next((b for b in reversed(self.blocks) if b.slot <= t // _BLOCK), None)
        return then is not None and then.low * (1 - JUMP) <= price <= then.high * (1 + JUMP)

    def held(self, before: float, now: Ms) -> float | None:
        """The price nearest to ``before`` of the last ``HELD`` ms; None of too few prices."""
        slot = now // _BLOCK - _HELD_BLOCKS
        old = [b for b in self.blocks if b.slot <= slot]
        blocks = [*old[-1:], *(b for b in self.blocks if b.slot > slot)]
        if not old or sum([b.number for b in blocks]) < _HELD_PRICES:
            return None
        low, high = _range(blocks)
        return min(max(before, low), high)

    def confirmed(self, before: float, now: Ms) -> float | None:
        """The newest price, no further from ``before`` than ``JUMP`` beyond the nearest one of the
        last ``CONFIRMED`` ms; None before the first."""
        if self.price is None:
            return None
        since = now // SECOND - _SECONDS
        first = next((n for n in range(len(self.seconds) - 1, 0, -1)
                      if self.seconds[n].slot <= since), 0)  # fmt: skip
        low, high = _range(self.seconds[first:] or [PriceBlock(since, self.price, self.price)])
        nearest = min(max(before, low), high)
        return min(max(self.price, nearest * (1 - JUMP)), nearest * (1 + JUMP))


def _note(blocks: list[PriceBlock], slot: int, price: float, keep: int) -> None:
    """Adds a price to the block it is of, and forgets those that were over ``keep`` blocks ago."""
    if blocks and slot <= (newest := blocks[-1]).slot:
        newest.add(price)
        return
    blocks.append(PriceBlock(slot, price, price))
    while len(blocks) > 1 and blocks[1].slot <= slot - keep:
        del blocks[0]


def _range(blocks: Sequence[PriceBlock]) -> tuple[float, float]:
    return min([b.low for b in blocks]), max([b.high for b in blocks])


MAX_AGE: Ms = MINUTE
"""A price older than this is not "now", and after a hole so long there is no price either."""

JUMP = 0.03
"""A change from one price to the next beyond which the second one is doubted."""

_FINE: Ms = 10 * SECOND
_BESIDE = HELD // _FINE
"""So many slots on each side decide on one. Steps and slides stay what they are."""

_FINE_KEEP: Ms = HOUR
_SLOTS = 288
"""Slots of a long window: 5 min in a day."""

_SPARE: Ms = 2 * MAX_AGE


class PriceWindow:
    """Prices remembered over ``keep_ms``, quote per coin.

    ``last``: the newest that is not doubted, None before there is one and after a hole;
    ``doubted``: the one after it, if it is; ``seen``: when the newest came; ``latest``: those of
    the last seconds.
    """

    __slots__ = (
        "_coarse", "_coarse_slot", "_fine", "_keep", "_next", "_starts", "doubted", "last",
        "latest", "seen",
    )  # fmt: skip

    def __init__(self, keep_ms: Ms) -> None:
        # length of a window → the slot of its start and the price then; it follows from the slots
        self._starts: dict[Ms, tuple[int, float | None]] = {}
        self._keep = keep_ms
        self.last: float | None = None
        self.doubted: float | None = None
        self.seen: Ms = 0
        self.latest = LatestPrices()
        self._fine = Ring((min(keep_ms, _FINE_KEEP) + _SPARE) // _FINE)
        self._coarse_slot = max(1, -(-keep_ms // _SLOTS // _FINE)) * _FINE
        slots = (keep_ms + _SPARE) // self._coarse_slot + 1
        self._coarse = Ring(slots) if keep_ms > _FINE_KEEP else None
        self._next: Ms = 0

    def empty(self) -> "PriceWindow":
        """One of the same length that remembers nothing."""
        return PriceWindow(self._keep)

    def take(self, price: float, now: Ms) -> None:
        """A new price."""
        self.latest.take(price, now)
        begins = now >= self._next
        if begins:
            self._begin(now)
        last, doubted = self.last, self.doubted
        if last is None:
            # nothing is near the first one but the next
            if doubted is None or abs(price - doubted) > JUMP * doubted:
                self.doubted = price
                self.seen = now
                return
            # a quiet venue is heard rarely: the first one has held since it came
            self.last = doubted
            self._fill(now)
        elif abs(price - last) > JUMP * last and (
            # a second one on the same side confirms that it moved
            doubted is None or (price < last) is not (doubted < last)
        ):
            self.doubted = price
            self.seen = now
            return
        self.last = price
        self.doubted = None
        self.seen = now
        if begins:
            self._put(now)

    def fill(self, prices: Sequence[tuple[Ms, float]]) -> None:
        """Prices that were in force at full slots of long windows, the oldest first, where none was
        seen; those between are left out."""
        coarse, length = self._coarse, self._coarse_slot
        if coarse is not None:
            # what comes live fills the slots from ``seen`` on
            seen = self.seen
            coarse.fill(
                [(t // length, x) for t, x in prices if t % length == 0 and not 0 < seen < t]
            )
            self._starts.clear()

    def now(self, now: Ms) -> float | None:
        """The price now, doubted or not; None if the newest one is too old."""
        if now - self.seen > MAX_AGE:
            return None
        return self.last if self.doubted is None else self.doubted

    def at(self, t: Ms) -> float | None:
        """The newest price not after ``t``, a moment of the past, give or take a slot."""
        if self.seen <= t:
            return self.last if t - self.seen <= MAX_AGE else None
        fine, slot = self._fine, t // _FINE
        if slot > fine.newest - fine.size and (price := fine.in_force(slot)) is not None:
            return price
        return None if self._coarse is None else self._coarse.in_force(t // self._coarse_slot)

    def before(self, window: Ms, now: Ms) -> float | None:
        """The price at the start of a window that ends at ``now``, as ``at`` gives it."""
        start = now - window
        if self.seen <= start:
            return self.at(start)
        slot, known = start // _FINE, self._starts.get(window)
        if known is None or known[0] != slot:
            known = self._starts[window] = slot, self.at(start)
        return known[1]

    def dump(self) -> list[bytes]:
        """The prices as bytes, in this machine's byte order; not the doubted and latest ones.

        NaN stands for ``last`` where the newest price is the first one of a series.
        """
        last = Series(1, 0)
        if self.seen:
            last.append(self.seen, (nan if self.last is None else self.last,))
        slot = self._coarse_slot.to_bytes(8, "little")
        coarse = [slot, *self._coarse.dump()] if self._coarse is not None else []
        return [*last.dump(), *self._fine.dump(), *coarse]

    def load(self, dumped: Sequence[bytes]) -> None:
        """Takes over dumped prices, of other windows as far as it goes. ValueError if cut short."""
        if len(dumped) not in (4, 7):
            raise ValueError("the dumped prices are cut short: start without them")
        self._starts.clear()
        last = Series(1, 0)
        last.load(dumped[:2])
        self._fine.load(dumped[2:4])
        slot = int.from_bytes(dumped[4], "little") if len(dumped) == 7 else 0
        if self._coarse is not None and slot == self._coarse_slot:
            self._coarse.load(dumped[5:])
        self.seen, self.last = last.last_time or 0, None
        if last.last and not isnan(last.last[0]):
            self.last = last.last[0]
        self._next = (self.seen // _FINE + 1) * _FINE if last else 0

    def _begin(self, now: Ms) -> None:
        """A slot has begun."""
        self._next = now - now % _FINE + _FINE
        self._fill(now)
        if now - self.seen > MAX_AGE:
            self.last = self.doubted = None  # a hole

    def _fill(self, now: Ms) -> None:
        """``last``, which came when ``seen`` says, was in force when the slots since then began."""
        for slot in range(self.seen // _FINE + 1, min(now, self.seen + MAX_AGE) // _FINE + 1):
            self._put(slot * _FINE)

    def _put(self, t: Ms) -> None:
        """The newest price is in force at ``t``, if a slot begins there."""
        coarse, last = self._coarse, self.last
        if last is None or t % _FINE:
            return
        self._starts.clear()
        slot = t // _FINE
        self._fine.put(slot, last)
        if coarse is not None and t % self._coarse_slot == 0:
            coarse.put(t // self._coarse_slot, last)
        self._mend(slot - _BESIDE)

    def _mend(self, slot: int) -> None:
        """A slot whose price was far from those around it, and not held, gets the middle one; so do
        the first ones after a start or a hole, which have none before them."""
        fine, first = self._fine, slot - _BESIDE
        around = fine.among(range(first, slot + _BESIDE + 1))
        if len(around) <= 2 * _BESIDE:
            return
        price = sorted(around)[_BESIDE]
        for place in range(first if fine.at(first - 1) is None else slot, slot + 1):
            t = place * _FINE
            if abs(around[place - first] - price) > JUMP * price:
                fine.mend(place, price)
                if self._coarse is not None and t % self._coarse_slot == 0:
                    self._coarse.mend(t // self._coarse_slot, price)


DAYS = 14
READY_DAYS = 5
"""Days that must have been observed around an hour before there is a baseline for it."""


class Hours:
    """A ring of hourly values of so many days, numbered since the epoch; ``ready``: how many of
    them must have been observed around an hour before there is a baseline for it."""

    __slots__ = ("_days", "_ready", "_ring")

    def __init__(self, days: int = DAYS, ready: int = READY_DAYS) -> None:
        self._days, self._ready = days, ready
        self._ring = Ring(days * 24)

    def put(self, hour: int, value: float) -> None:
        """The value of an hour; hours must not run backwards."""
        self._ring.put(hour, value)

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: what is said of later hours is not of them."""
        self._ring.cut(now // HOUR - 1)

    def days(self, now: Ms) -> int:
        """On how many of the last days this time of day was observed, most of it at least."""
        hour = now // HOUR
        return sum(len(self._around(hour - 24 * day)) >= 2 for day in range(1, self._days + 1))

    def normal(self, now: Ms) -> float | None:
        """The baseline of the hour of ``now``, None before it is ready."""
        if self.days(now) < self._ready:
            return None
        hour = now // HOUR
        return median([x for day in range(self._days + 1) for x in self._around(hour - 24 * day)])

    def dump(self) -> list[bytes]:
        """The ring as bytes, in this machine's byte order."""
        return self._ring.dump()

    def load(self, dumped: Sequence[bytes]) -> None:
        """Takes over a dumped ring. ValueError if it is none."""
        self._ring.load(dumped)

    def _around(self, hour: int) -> list[float]:
        return self._ring.among(range(hour - 1, hour + 2))
