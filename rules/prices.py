"""The price of one instrument, now and at the start of a window.

Two resolutions: slots of 10 s for the last hour, and 288 slots over the longest window that is
asked for. The first price of a slot stands for all of it.
"""

from collections.abc import Sequence

from rules.ring import Ring
from rules.series import Series
from streams.events import Ms

MAX_AGE: Ms = 60_000
"""A price older than this is not "now", and after a hole so long there is no price either."""

_FINE: Ms = 10_000
_FINE_KEEP: Ms = 3_600_000
_SLOTS = 288
"""Slots of a long window: 5 min in a day."""

_SPARE: Ms = 2 * MAX_AGE


class Prices:
    """Prices remembered over ``keep_ms``; ``last`` (quote per coin) came at ``seen``."""

    __slots__ = ("_coarse", "_coarse_slot", "_fine", "_next", "last", "seen")

    def __init__(self, keep_ms: Ms) -> None:
        self.last: float | None = None
        self.seen: Ms = 0
        self._fine = Ring((min(keep_ms, _FINE_KEEP) + _SPARE) // _FINE)
        self._coarse_slot = max(_FINE, keep_ms // _SLOTS)
        slots = (keep_ms + _SPARE) // self._coarse_slot + 1
        self._coarse = Ring(slots) if keep_ms > _FINE_KEEP else None
        self._next: Ms = 0

    def take(self, price: float, now: Ms) -> None:
        """A new price."""
        self.last = price
        self.seen = now
        if now >= self._next:
            self._next = now - now % _FINE + _FINE
            self._fine.put(now // _FINE, price)
            coarse, slot = self._coarse, now // self._coarse_slot
            if coarse is not None and slot != coarse.newest:
                coarse.put(slot, price)

    def now(self, now: Ms) -> float | None:
        """The price now, None if the newest one is too old."""
        return self.last if now - self.seen <= MAX_AGE else None

    def at(self, t: Ms) -> float | None:
        """The price at ``t`` in the past, give or take a slot."""
        fine, slot = self._fine, t // _FINE
        if slot > fine.newest - fine.size and (price := _at(fine, slot, _FINE)) is not None:
            return price
        if self._coarse is None:
            return None
        return _at(self._coarse, t // self._coarse_slot, self._coarse_slot)

    def dump(self) -> list[bytes]:
        """The prices as bytes, in this machine's byte order."""
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
        self._next = (self._fine.newest + 1) * _FINE


def _at(ring: Ring, slot: int, slot_ms: Ms) -> float | None:
    price = ring.at(slot)
    if price is None:
        before = (ring.at(slot - back) for back in range(1, MAX_AGE // slot_ms + 2))
        price = next((x for x in before if x is not None), None)
    return price
