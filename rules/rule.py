"""A rule is data: a metric against levels with hysteresis, one row per asset.

``bot.config`` resolves tiers and overrides into rows; the engine sees only these.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from rules.alerts import Level, Scope
from streams.durations import HOUR, MINUTE
from streams.events import Ms

Fires = Literal["above", "below"]


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

    def __post_init__(self) -> None:
        if not self.family:
            msgspec.structs.force_setattr(self, "family", self.name)

    def row_of(self, asset: str) -> Row | None:
        """The levels for ``asset``, None if this rule does not watch it."""
        if asset in self.not_watched:
            return None
        return self.rows.get(asset, self.others)
