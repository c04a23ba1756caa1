"""Order books of the demo's story: levels on a fixed grid of prices around a moving mid."""

from random import Random

import msgspec

_FINE_BP = 32
_REACH_BP = 130
_COARSE = 6

Level = tuple[int, float]
"""Price in ticks, size."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The form of a book."""

    tick: float
    grid: int
    """Distance of levels, in ticks."""
    usd_per_bp: float
    """Density of one side at the touch."""
    size_digits: int
    levels: int = 0
    """How many a side; 0: out to 130 bp, every sixth beyond 32 bp, and a best bid and ask between
    the levels."""


class Ladder:
    """A book that is never crossed. ``bids`` and ``asks`` map price in ticks to size."""

    def __init__(self, random: Random, shape: Shape) -> None:
        self._random = random
        self._shape = shape
        self._turn = 0
        self._smallest = 10.0**-shape.size_digits
        self.bids: dict[int, float] = {}
        self.asks: dict[int, float] = {}

    def advance(self, mid: float, depth: float, every: int) -> tuple[list[Level], list[Level]]:
        """Move to ``mid`` with ``depth`` as share of normal; each level is redrawn in one of
        ``every`` calls. Returns what changed: bids, asks; size 0 where a level went away.
        """
        self._turn += 1
        ticks = mid / self._shape.tick
        gap = int(ticks * (0.00001 + (1 - min(depth, 1.0)) * 0.0001))
        bid, ask = int(ticks) - gap, int(ticks) + 1 + gap
        if not self._shape.levels:  # quotes rest for a while: they move in steps of about 0.3 bp
            rung = max(self._shape.grid // 12, 1)
            bid, ask = bid // rung * rung, -(-ask // rung) * rung
        wanted_bids = self._places(bid, -1, ticks)
        wanted_asks = self._places(ask, 1, ticks)
        return (
            self._redraw(self.bids, wanted_bids, ticks, depth, every),
            self._redraw(self.asks, wanted_asks, ticks, depth, every),
        )

    def _places(self, touch: int, direction: int, mid: float) -> dict[int, float]:
        """Where levels stand, and for how many basis points of the book each stands."""
        shape = self._shape
        width = shape.grid / mid * 10_000
        place = touch // shape.grid if direction < 0 else -(-touch // shape.grid)
        if shape.levels:
            places = (place + direction * count for count in range(shape.levels))
            return {at * shape.grid: width for at in places}
        wanted = {touch: min(width, 1.0) * 0.3}
        count = int(_REACH_BP / width)
        for number in range(place, place + direction * count, direction):
            fine = abs(number - place) * width < _FINE_BP
            if fine or number % _COARSE == 0:
                wanted.setdefault(number * shape.grid, width if fine else width * _COARSE)
        return wanted

    def _redraw(
        self, side: dict[int, float], wanted: dict[int, float], mid: float, depth: float, every: int
    ) -> list[Level]:
        shape = self._shape
        changes: list[Level] = [(price, 0.0) for price in side if price not in wanted]
        for price, _ in changes:
            del side[price]
        for price, width in wanted.items():
            if price in side and (price // shape.grid + self._turn) % every:
                continue
            away_bp = abs(price / mid - 1) * 10_000
            usd = shape.usd_per_bp * width / (1 + away_bp / 100) * depth
            size = usd * (0.5 + self._random.random()) / (price * shape.tick)
            size = max(float(f"{size:.1e}"), self._smallest)
            if side.get(price) != size:
                side[price] = size
                changes.append((price, size))
        return changes
