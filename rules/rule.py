"""A rule is data: a metric against levels with hysteresis, one row per asset.

``bot.config`` resolves tiers and overrides into rows; the engine sees only these.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

import msgspec

from rules.alerts import Cause, Level, Scope
from rules.metric import Reading
from streams.durations import HOUR, MINUTE
from streams.events import Ms

Fires = Literal["above", "below"]


Comparison = Literal["<=", ">=", "<", ">"]


class When(msgspec.Struct, frozen=True):
    """A second opinion: another metric of the same asset, and what its value must be.

    It is asked at the moment at which the rule's own value is judged.
    """

    metric: str
    comparison: Comparison
    threshold: float

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
            case "<=" | "<":
                less = value <= than if self.comparison == "<=" else value < than
                return (None if at_least else True) if less else False


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The levels of one rule for one asset.

    ``levels``: thresholds in the metric's unit. ``clear``: the value on the quiet side that ends an
    episode. ``floor_musd``: least absolute size in million USD that makes a relative value news
    (depth lost, open interest held); 0 asks for none.
    """

    levels: Mapping[Level, float]
    clear: float
    floor_musd: float = 0.0


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, resolved. Durations in Ms.

    ``name``: of its own (``oi_drop:15m``). ``family``: the name in the configuration, which the
    windows of one rule share; empty: ``name``. ``scope``: what it looks at; for the market the row
    is that of ``rules.alerts.ALL``, for an instrument that of its asset. ``hold``: how long a
    breach must last, level by level (absent: 0). ``settlements``: with funding metrics, how many
    settlements in a row instead (0: durations count). ``clear_for``: how long the value must stay
    beyond ``clear``. ``repost_if``: a value that many times the last posted one is posted again.
    ``max_gap``: a longer time without a live value is a hole, after which timers start anew.
    ``rows``: by asset; ``others``: for every other asset (None: not watched), save those in
    ``not_watched``. ``record_after``: a record must reach back at least that far to be told.
    ``when``: metrics that must agree now for what is at alert to be told as such; see ``told_at``.
    ``cause``: it counts only while what is happening is one of these; empty: whatever it is.
    ``least_fall_pct``: of the share of assets that fall, which assets count, and by how much each
    must fall, %, without a sign. Rules on one such metric must say the same.
    """

    name: str
    metric: str
    fires: Fires
    rows: Mapping[str, Row]
    others: Row | None = None
    not_watched: frozenset[str] = frozenset()
    hold: Mapping[Level, Ms] = {}
    settlements: int = 0
    clear_for: Ms = 10 * MINUTE
    cooldown: Ms = HOUR
    repost_if: float = 1.25
    max_gap: Ms = MINUTE
    post: bool = True
    family: str = ""
    scope: Scope = "asset"
    record_after: Ms = 604_800_000
    when: tuple[When, ...] = ()
    cause: tuple[Cause, ...] = ()
    least_fall_pct: Mapping[str, float] = {}

    def __post_init__(self) -> None:
        if not self.family:
            msgspec.structs.force_setattr(self, "family", self.name)

    def row_of(self, asset: str) -> Row | None:
        """The levels for ``asset``, None if this rule does not watch it."""
        if asset in self.not_watched:
            return None
        return self.rows.get(asset, self.others)


def agreed_level(reached: int, agree: bool | None) -> int:
    """The level at which a rule with second opinions tells of ``reached``, its value's own level.

    ``agree``: whether all opinions agree, None: not all are known. Only agreement lets an alert be
    one, else it is told at watch. What is critical is so whatever others say, and needs nobody.
    """
    return Level.WATCH if reached == Level.ALERT and not agree else reached


def counted(reached: int, causes: Collection[Cause], present: Cause | None) -> int:
    """The level at which a rule that asks for ``causes`` tells of ``reached``.

    ``present``: what is happening. Another cause is none of its business (0); while it is unknown
    (None), only what is critical is told.
    """
    if not causes or present in causes:
        return reached
    return reached if present is None and reached == Level.CRITICAL else 0


def agreement(answers: Iterable[bool | None]) -> bool | None:
    """Whether all agree; one that is unknown is no agreement, and one "no" is enough."""
    each = list(answers)
    return False if False in each else None if None in each else True
