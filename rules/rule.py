"""A rule is data: a metric against levels with hysteresis, one row per asset.

``bot.config`` resolves tiers and overrides into rows; the engine sees only these.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

import msgspec

from rules.alerts import Cause, Level, Scope
from rules.metric import Reading
from rules.sectors import Basket
from streams.durations import HOUR, MINUTE
from streams.events import Ms

Fires = Literal["above", "below"]


Comparison = Literal["<=", ">=", "<", ">", "beyond"]
"""``beyond``: at least so far from zero, whichever way."""


class When(msgspec.Struct, frozen=True):
    """A second opinion: what the value of another metric of the same asset must be.

    It is asked at the moment at which the rule's own value is judged.
    """

    metric: str
    comparison: Comparison
    threshold: float
    """In the unit of ``metric``."""

    def __str__(self) -> str:
        return f"{self.comparison} {self.threshold:g}"

    def agrees(self, reading: Reading | None) -> bool | None:
        """Whether it is so; None: unknown. Of a lower bound only "more than" can be known."""
        if reading is None:
            return None
        at_least = reading.lower_bound or reading.breach_only
        value, than = reading.value, self.threshold
        match self.comparison:
            case ">=" | ">":
                more = value >= than if self.comparison == ">=" else value > than
                return more or (None if at_least else False)
            case "beyond":
                if value >= than:
                    return True
                return None if at_least else value <= -than
            case "<=" | "<":
                less = value <= than if self.comparison == "<=" else value < than
                return (None if at_least else True) if less else False


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The levels of one rule for one asset."""

    levels: Mapping[Level, float]
    """Thresholds in the metric's unit."""
    clear: float
    """The value on the quiet side that ends an episode."""
    floor_musd: float = 0.0
    """The least absolute size, million USD, that makes a relative value news (depth lost, open
    interest held); 0: any size does."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, resolved. Durations in Ms."""

    name: str
    """Its own name, such as ``oi_drop:15m``."""
    metric: str
    fires: Fires
    """On which side of a threshold a value is bad."""
    rows: Mapping[str, Row]
    """By asset; for the market, the row of ``rules.alerts.ALL``."""
    others: Row | None = None
    """For every other asset; None: they are not watched."""
    not_watched: frozenset[str] = frozenset()
    """Assets that ``others`` is not for."""
    hold: Mapping[Level, Ms] = {}
    """Level → how long a breach must last; absent: 0."""
    settlements: int = 0
    """With funding metrics, how many settlements in a row must breach instead of ``hold``; 0:
    durations count."""
    clear_for: Ms = 10 * MINUTE
    """How long the value must stay beyond ``clear``."""
    cooldown: Ms = HOUR
    """After a post, an opening within so long is not posted, unless it is worse."""
    repost_if: float = 1.25
    """A value so many times as far from normal as the last posted one is posted again."""
    max_gap: Ms = MINUTE
    """A longer time without a live value is a hole, after which timers start anew."""
    post: bool = True
    """False: it is judged and logged, and never posted."""
    family: str = ""
    """The name in the configuration, which the windows of one rule share; "": ``name``."""
    scope: Scope = "asset"
    """What it is judged on; for an instrument the row is that of its asset."""
    record_after: Ms = 604_800_000
    """The least age of a record that is reported."""
    when: tuple[When, ...] = ()
    """Metrics that must agree for an alert to be posted as one, see ``agreed_level``."""
    cause: tuple[Cause, ...] = ()
    """Its value counts only while the cause is one of these; empty: whatever the cause."""
    least_fall_pct: Mapping[str, float] = {}
    """Of the share of assets that fall: which assets count, and how far each must fall, %, without
    a sign. Rules on one such metric must agree."""
    baskets: Mapping[str, Basket] = {}
    """Of the move of a basket: that one and the market's, by their names."""

    supports: Mapping[str, tuple[float, ...]] = {}
    """Of levels that are lost: asset → those beside round ones."""

    def __post_init__(self) -> None:
        if not self.family:
            msgspec.structs.force_setattr(self, "family", self.name)

    def row_of(self, asset: str) -> Row | None:
        """The levels for ``asset``, None if this rule does not watch it."""
        if asset in self.not_watched:
            return None
        return self.rows.get(asset, self.others)


def agreed_level(reached: int, agree: bool | None) -> int:
    """The level at which a rule with second opinions posts ``reached``, its value's own level.

    ``agree``: whether all opinions agree; None: not all are known. Without agreement an alert is
    posted at watch. Critical stays critical, whatever the others say.
    """
    return Level.WATCH if reached == Level.ALERT and not agree else reached


def counted(reached: int, causes: Collection[Cause], present: Cause | None) -> int:
    """The level at which a rule that asks for ``causes`` posts ``reached``.

    ``present``: the cause now. Under another cause the value does not count (0); while the cause is
    unknown (None), only critical does.
    """
    if not causes or present in causes:
        return reached
    return reached if present is None and reached == Level.CRITICAL else 0


def agreement(answers: Iterable[bool | None]) -> bool | None:
    """Whether all agree: False if any does not, None if any is unknown."""
    each = list(answers)
    return False if False in each else None if None in each else True
