"""The cause of a move of one asset, as a number: its place in ``rules.alerts.CAUSES``.

No rule has it as its own metric: rules ask it besides their own (``Rule.cause``), and alerts show
it. The metric log keeps it, so that a backtest judges by what was known live.
"""

from dataclasses import dataclass

from rules.alerts import CAUSES, Cause, Scope
from rules.cause import cause
from rules.market import Keep, Market, Memo, View
from rules.metric import OF_ASSET, Reading
from rules.metrics.funding import PREDICTED
from rules.metrics.liquidation import sides
from rules.metrics.open_interest import OpenInterestMetric, open_interest
from rules.metrics.price import PriceMetric, price
from streams.durations import HOUR, MINUTE
from streams.events import Kind, MarketEvent, Ms

PREFIX = "cause_"
LEAST_LIQUIDATED = 0.02
"""The least share of what was closed that must have been liquidated for its side to count."""

_KINDS = frozenset({Kind.OPEN_INTEREST})


@dataclass(frozen=True, slots=True)
class CauseMetric:
    """``cause_<duration>``: the place of the cause in ``CAUSES``."""

    name: str
    window: Ms
    moves: PriceMetric
    interest: OpenInterestMetric
    unit: str = ""
    scopes: frozenset[Scope] = OF_ASSET
    kinds: frozenset[Kind] = _KINDS
    look_every: Ms = MINUTE  # for the metric log alone: rules and alerts evaluate it when they ask
    idle_look: Ms | None = None

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return self.interest.keeps()

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        return self.interest.take(market, event, now)

    def value(self, view: View, now: Ms) -> Reading | None:
        moved, held = self.moves.value(view, now), self.interest.value(view, now)
        if moved is None or held is None:
            return None
        rate = PREDICTED.value(view, now) if held.value > 0 else None
        word = cause(
            self.window,
            moved.value,
            held.value,
            _longs(view, self.window, held, now) if held.value < 0 else None,
            None if rate is None else rate.value,
        )
        return Reading(value=float(CAUSES.index(word)), used=held.used, expected=held.expected)

    def facts(self, view: View, now: Ms) -> None:
        return None

    def distance(self, value: float) -> float:
        return 0.0


def cause_metric(window: Ms) -> CauseMetric:
    """The metric over ``window``."""
    hours, rest = divmod(window, HOUR)
    name = f"{window // MINUTE}m" if rest else f"{hours}h"
    return CauseMetric(
        f"{PREFIX}{name}",
        window,
        price(f"price_{name}_pct", window),
        open_interest(f"oi_net_{name}_pct", window),
    )


def cause_of(reading: Reading | None) -> Cause | None:
    """The cause that a reading of this metric names."""
    return None if reading is None else CAUSES[round(reading.value)]


def _longs(view: View, window: Ms, closed: Reading, now: Ms) -> float | None:
    """The share of longs in what was liquidated; None: too little of it is known."""
    longs, shorts = sides(view, window, now)
    held = closed.floor_musd
    if held is None or longs + shorts < LEAST_LIQUIDATED * held * -closed.value / 100 * 1e6:
        return None
    return longs / (longs + shorts) if longs + shorts > 0 else None


DEFAULT: Ms = HOUR
"""The window for rules on what has none."""
