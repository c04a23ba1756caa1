"""Values of equal slots of time, four bytes each, of which only the newest are kept.

A slot is known by its number; its place is the number modulo the size. NaN stands for a slot
without a value. Four bytes hold seven digits, which is more than any threshold asks for.
"""

from array import array
from collections.abc import Sequence
from math import isnan, nan

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

    def cut(self, slot: int) -> None:
        """Forgets what is after ``slot``, which is the newest then."""
        if slot < self.newest:
            for later in range(max(slot, self.newest - self.size) + 1, self.newest + 1):
                self._values[later % self.size] = nan
            self.newest = slot

    def at(self, slot: int) -> float | None:
        """The value of a slot, None if it has none or is forgotten."""
        if not 0 <= slot <= self.newest or slot <= self.newest - self.size:
            return None
        value = self._values[slot % self.size]
        return None if isnan(value) else value

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
