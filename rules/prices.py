"""The price of one instrument, now and at the start of a window.

Two resolutions: slots of 10 s for the last hour, and 288 slots over the longest window that is
asked for. A slot holds the price that was in force when it began, so a price of the past is never
later than the moment it is asked for. A price that jumps is doubted until a second one confirms it;
doubted ones do not become the past.
"""

from collections.abc import Sequence

from rules.ring import Ring
from rules.series import Series
from streams.events import Ms

MAX_AGE: Ms = 60_000
"""A price older than this is not "now", and after a hole so long there is no price either."""

JUMP = 0.03
"""A change from one price to the next beyond which the second one is doubted."""

_FINE: Ms = 10_000
_FINE_KEEP: Ms = 3_600_000
_SLOTS = 288
"""Slots of a long window: 5 min in a day."""

_SPARE: Ms = 2 * MAX_AGE


class Prices:
    """Prices remembered over ``keep_ms``, quote per coin.

    ``last``: the newest that is not doubted; ``doubted``: the one after it, if it is; ``seen``:
    when the newest came.
    """

    __slots__ = ("_coarse", "_coarse_slot", "_fine", "_next", "doubted", "last", "seen")

    def __init__(self, keep_ms: Ms) -> None:
        self.last: float | None = None
        self.doubted: float | None = None
        self.seen: Ms = 0
        self._fine = Ring((min(keep_ms, _FINE_KEEP) + _SPARE) // _FINE)
        self._coarse_slot = max(1, -(-keep_ms // _SLOTS // _FINE)) * _FINE
        slots = (keep_ms + _SPARE) // self._coarse_slot + 1
        self._coarse = Ring(slots) if keep_ms > _FINE_KEEP else None
        self._next: Ms = 0

    def take(self, price: float, now: Ms) -> None:
        """A new price."""
        begins = now >= self._next
        if begins:
            self._begin(now)
        last = self.last
        if last is not None and abs(price - last) > JUMP * last:
            doubted = self.doubted
            # a second one on the same side confirms that it moved
            if doubted is None or (price < last) is not (doubted < last):
                self.doubted = price
                self.seen = now
                return
        self.last = price
        self.doubted = None
        self.seen = now
        if begins:
            self._put(now)

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
        if slot > fine.newest - fine.size and (price := _at(fine, slot)) is not None:
            return price
        if self._coarse is None:
            return None
        return _at(self._coarse, t // self._coarse_slot)

    def dump(self) -> list[bytes]:
        """The prices as bytes, in this machine's byte order; not the doubted one."""
        last = Series(1, 0)
        if self.last is not None:
            last.append(self.seen, (self.last,))
        slot = self._coarse_slot.to_bytes(8, "little")
        coarse = [slot, *self._coarse.dump()] if self._coarse is not None else []
        return [*last.dump(), *self._fine.dump(), *coarse]

    def load(self, dumped: Sequence[bytes]) -> None:
        """Takes over dumped prices, of other windows as far as it goes. ValueError if cut short."""
        if len(dumped) not in (4, 7):
            raise ValueError("the dumped prices are cut short: start without them")
        last = Series(1, 0)
        last.load(dumped[:2])
        self._fine.load(dumped[2:4])
        slot = int.from_bytes(dumped[4], "little") if len(dumped) == 7 else 0
        if self._coarse is not None and slot == self._coarse_slot:
            self._coarse.load(dumped[5:])
        self.seen, self.last = last.last_time or 0, last.last[0] if last.last else None
        self._next = (self.seen // _FINE + 1) * _FINE if self.last is not None else 0

    def _begin(self, now: Ms) -> None:
        """Slots have begun since the newest price, which was in force then."""
        self._next = now - now % _FINE + _FINE
        if self.last is not None:
            for slot in range(self.seen // _FINE + 1, min(now, self.seen + MAX_AGE) // _FINE + 1):
                self._put(slot * _FINE)

    def _put(self, t: Ms) -> None:
        """The newest price is in force at ``t``, if a slot begins there."""
        coarse, last = self._coarse, self.last
        if last is None or t % _FINE:
            return
        self._fine.put(t // _FINE, last)
        if coarse is not None and t % self._coarse_slot == 0:
            coarse.put(t // self._coarse_slot, last)


def _at(ring: Ring, slot: int) -> float | None:
    """The price of a slot, or of the one before: a hole may just have ended."""
    price = ring.at(slot)
    return ring.at(slot - 1) if price is None else price
