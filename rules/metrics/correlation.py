"""How much coins move as one: ``correlation_top10_7d``, ``correlation_51to100_7d`` and their
``correlation_gap_7d``.

The mean of the correlations of all pairs of a group, of the logarithmic returns of the last 168
whole hours. It is worked out once an hour and without the pairs: the mean of n series of mean 0 and
variance 1 has the variance ``(1 + (n - 1) * mean correlation) / n``. Ranks are those by open
interest of the coins that are watched, when the hour is over.

Of a group those coins count of which at least 90 % of the hours are known, and of these the hours
that all of them have. There is no value without the newest hour, without 60 % of a group, or with
fewer than ``LEAST_COINS``: a hole is neither one market nor many. State: that of ``rules.returns``,
and five numbers.
"""

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import nan, sqrt

from rules.alerts import CorrelationFacts, Scope
from rules.market import Keep, Market, Memo, View
from rules.metric import LEAST_SHARE, OF_MARKET, Reading, fall
from rules.returns import CORRELATED_DAYS, LOOK_EVERY, PRICES, RETURNS, SETTLES, STEP, learn
from streams.durations import HOUR
from streams.events import Kind, MarketEvent, Ms

HOURS = 24 * CORRELATED_DAYS
LEAST_KNOWN = 0.9
LEAST_COINS = 5
LEAST_HOURS = 120

TOP = range(10)
MIDDLE = range(50, 100)
"""Places by open interest, from 0."""

UNIT = "ρ"

LATE = 2
"""So many hours after the last one its correlation is no longer that of now."""

_KINDS = frozenset({Kind.PRICE})


@dataclass(frozen=True, slots=True)
class Correlation:
    """Of one group."""

    value: float
    coins: int
    """How many there are in it."""


class Correlations:
    """The correlations of both groups, of one hour; the sums of no group are kept."""

    __slots__ = ("_numbers", "again")

    def __init__(self) -> None:
        self._numbers = array("d", [-1, nan, 0, nan, 0])
        self.again = False
        """More has become known of its hours since."""

    @property
    def hour(self) -> int:
        """The last of its hours, since the epoch; -1: there is none."""
        return int(self._numbers[0])

    @property
    def top(self) -> Correlation | None:
        """Of the top 10; None: unknown."""
        return self._of(1)

    @property
    def middle(self) -> Correlation | None:
        """Of ranks 51 to 100."""
        return self._of(3)

    def take(self, hour: int, top: Correlation | None, middle: Correlation | None) -> None:
        """What an hour has come to."""
        self.again = False
        numbers = [float(hour)]
        for of in (top, middle):
            numbers += [nan, 0] if of is None else [of.value, of.coins]
        self._numbers = array("d", numbers)

    def dump(self) -> list[bytes]:
        """All of it as bytes, in this machine's byte order."""
        return [self._numbers.tobytes(), bytes([self.again])]

    def load(self, dumped: Sequence[bytes]) -> None:
        """Takes over what was dumped. ValueError if it does not fit."""
        if len(dumped) not in (1, 2) or len(dumped[0]) != 8 * 5:  # once without ``again``
            raise ValueError("the dumped correlations are cut short: start without them")
        self._numbers, self.again = array("d", dumped[0]), any(dumped[-1]) and len(dumped) == 2

    def _of(self, place: int) -> Correlation | None:
        value, coins = self._numbers[place : place + 2]
        return Correlation(value, int(coins)) if coins else None


CORRELATIONS = Keep("correlations", Correlations)


@dataclass(frozen=True, slots=True)
class CorrelationMetric:
    """Of one group, or the gap between them."""

    name: str
    of: Callable[[Correlations], float | None]
    unit: str = UNIT
    scopes: frozenset[Scope] = OF_MARKET
    kinds: frozenset[Kind] = _KINDS
    window: Ms | None = None
    """It compares no two times."""
    look_every: Ms = LOOK_EVERY
    idle_look: Ms | None = LOOK_EVERY
    price_keep: Ms = PRICES

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return (RETURNS, CORRELATIONS)

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        return False

    def learn(self, view: View, now: Ms) -> None:
        """The returns of all coins, and once an hour what follows from them."""
        for asset in view.assets.values():
            learn(asset, now)
        memo, hour = view.keep(CORRELATIONS), _last_hour(now)
        if hour > memo.hour or memo.again:
            memo.take(hour, *correlations(view.assets, hour))

    def value(self, view: View, now: Ms) -> Reading | None:
        memo = view.memo(CORRELATIONS)
        if memo is None or _last_hour(now) - memo.hour >= LATE:
            return None
        value = self.of(memo)
        return None if value is None else Reading(value=value)

    def facts(self, view: View, now: Ms) -> CorrelationFacts | None:
        memo = view.memo(CORRELATIONS)
        if memo is None:
            return None
        top, middle = memo.top, memo.middle
        return CorrelationFacts(
            top=None if top is None else top.value,
            top_coins=0 if top is None else top.coins,
            middle=None if middle is None else middle.value,
            middle_coins=0 if middle is None else middle.coins,
        )

    def distance(self, value: float) -> float:
        return fall(100 * abs(value))


def correlations(
    assets: Mapping[str, View], hour: int
) -> tuple[Correlation | None, Correlation | None]:
    """Of the top 10, and of ranks 51 to 100, over the hours up to ``hour``."""
    return _of_group(ranked(assets, TOP), hour), _of_group(ranked(assets, MIDDLE), hour)


def ranked(assets: Mapping[str, View], places: range) -> list[View]:
    """The assets at these places by open interest, the largest first."""
    held = {name: sum(asset.usd_at_least().values()) for name, asset in assets.items()}
    names = sorted((name for name, usd in held.items() if usd > 0), key=lambda n: (-held[n], n))
    return [assets[name] for name in names[places.start : places.stop]]


def mean_correlation(series: Sequence[Sequence[float]]) -> float | None:
    """The mean correlation of all pairs of series of one length, none of which stands still."""
    n, length = len(series), len(series[0]) if series else 0
    if n < 2 or length < 2:
        return None
    means = [0.0] * length
    for values in series:
        mean = sum(values) / length
        deviation = sqrt(sum([(x - mean) ** 2 for x in values]) / length)
        means = [m + (x - mean) / deviation for m, x in zip(means, values, strict=True)]
    variance = sum([m * m for m in means]) / length / n**2
    return (n * variance - 1) / (n - 1)


def _of_group(group: Sequence[View], hour: int) -> Correlation | None:
    hours = range(hour - HOURS + 1, hour + 1)
    known: list[list[float | None]] = []
    for asset in group:
        memo = asset.memo(RETURNS)
        moves = [] if memo is None else [memo.move(h) for h in hours]
        rises = [x for x in moves if x is not None]
        # without the newest hour it is of another time; what stands still has no correlation
        if len(rises) >= LEAST_KNOWN * HOURS and moves[-1] is not None and min(rises) < max(rises):
            known.append(moves)
    if len(known) < max(LEAST_COINS, LEAST_SHARE * len(group)):
        return None
    common = [row for row in zip(*known, strict=True) if None not in row]
    if len(common) < LEAST_HOURS:
        return None
    columns = ([x for x in column if x is not None] for column in zip(*common, strict=True))
    series = [column for column in columns if min(column) < max(column)]
    value = mean_correlation(series)
    return None if value is None else Correlation(value, len(series))


def _last_hour(now: Ms) -> int:
    """The last hour whose returns are known; it is closed with the first one after it."""
    return (now - SETTLES - STEP) // HOUR - 1


def _top(of: Correlations) -> float | None:
    return None if of.top is None else of.top.value


def _middle(of: Correlations) -> float | None:
    return None if of.middle is None else of.middle.value


def _gap(of: Correlations) -> float | None:
    top, middle = _top(of), _middle(of)
    return None if top is None or middle is None else top - middle


TOP10 = CorrelationMetric("correlation_top10_7d", _top)
RANKS_51_TO_100 = CorrelationMetric("correlation_51to100_7d", _middle)
GAP = CorrelationMetric("correlation_gap_7d", _gap)
