"""One coin on one venue in the demo's story, step by step."""

from random import Random

import msgspec

from bot.demo.story.ladder import Ladder, Shape
from bot.demo.story.market import STEP_MS, Listed, Moment, Mood, Wander, funding, price

_CALM_EVERY, _TENSE_EVERY = 18, 4
_SMALLEST_ORDER_USD = 80_000


class Order(msgspec.Struct, frozen=True):
    """A liquidation."""

    after: int
    """Ms into the step."""
    long: bool
    """Whether the position that is closed was long."""
    size: float
    """Traded units."""


class SimulatedMarket:
    """A listed coin. ``deep``: its share of the price fall; ``hard``: of what happens to leverage.

    ``now``, ``changes`` (of the book) and ``orders`` (liquidated) describe the latest step.
    """

    def __init__(self, listed: Listed, random: Random, *, deep: float, hard: float) -> None:
        self.listed = listed
        self.ladder = Ladder(random, _shape(listed))
        self._random = random
        self._deep = deep
        self._hard = hard
        self._basis = Wander(random, 0.0002)
        self._drift = Wander(random, 0.004)
        self._makers = Wander(random, 0.08)
        self._low = listed.coin.price * 0.985

    def step(self, count: int, mood: Mood, wander: float, most_orders: int) -> None:
        """Go on to the next moment; ``wander`` is what the coin's price does on all venues."""
        listed = self.listed
        mark = price(listed.coin, mood, wander + self._basis.step(), self._deep)
        self._low = min(self._low, mark)
        left = 1 - listed.coin.shed * self._hard * mood.unwind
        coins = listed.open_interest * 1e6 / listed.coin.price
        self.now = Moment(
            mark=mark,
            index=mark / (1 + mood.premium),
            open_interest=coins * left * (1 + self._drift.step()),
            volume=listed.volume * 1e6 * (1 + 0.9 * mood.unwind + 0.0004 * mood.minute),
            low=self._low,
            funding=funding(listed, mood, self._hard),
            depth=mood.depth * (1 + self._makers.step()),
        )
        every = _TENSE_EVERY if mood.tense else _CALM_EVERY
        if listed.sends(count):
            self.changes = self.ladder.advance(mark, self.now.depth, every)
        self.orders = self._liquidated(mood, mark, most_orders)

    def _liquidated(self, mood: Mood, mark: float, most: int) -> list[Order]:
        due = self.listed.liquidated * 1e6 * mood.cascade_share
        mean = max(due / most, _SMALLEST_ORDER_USD)
        count = int(due / mean + self._random.random())
        spacing = STEP_MS // most
        orders: list[Order] = []
        for number in range(count):
            usd = mean * (0.3 + 1.4 * self._random.random())
            orders.append(
                Order(
                    after=int(spacing * (number + 0.8 * self._random.random())),
                    long=self._random.random() < mood.long_share,
                    size=max(
                        round(usd / mark, self.listed.size_digits),
                        10.0**-self.listed.size_digits,
                    ),
                )
            )
        return orders


def _shape(listed: Listed) -> Shape:
    return Shape(
        tick=listed.tick,
        grid=listed.grid,
        usd_per_bp=listed.depth * 1e6 / 25,
        size_digits=listed.size_digits,
        levels=20 if listed.grid == 1 else 0,
    )
