"""What venues said in the past, as rows in the units of NORMALISATION.md: one vocabulary for all
files, whichever form they have."""

from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bot.backtest.series import Times
from streams.durations import DAY
from streams.events import Ms

Numbers = NDArray[np.float64]

EARLIEST: Ms = 1_230_768_000_000  # 2009
LATEST: Ms = 4_102_444_800_000  # 2100


class RowForm(StrEnum):
    """What rows are of, with their numbers; a number that was not given is NaN."""

    FUNDING_SETTLED = "funding_settled"
    """``rate`` (fraction per interval), ``interval_h``."""

    FUNDING_PREDICTED = "funding_predicted"
    """``rate_8h_open``, ``_high``, ``_low``, ``_close``: fraction per 8 h."""

    OPEN_INTEREST = "open_interest"
    """``oi_usd``, ``oi_base``: one side, in USD and in coins."""

    DEPTH = "depth"
    """``band_bp``, ``bid_usd``, ``ask_usd``: resting notional from mid to the edge of the band."""

    LIQUIDATIONS = "liquidations"
    """``long_usd``, ``short_usd``: notional within the bar that the row ends."""

    PRICE_BARS = "price_bars"
    """``open``, ``high``, ``low``, ``close`` (quote per coin), ``volume_base``."""

    BREADTH = "breadth"
    """``n``, ``median_return``, ``share_down_5pct``, ``quote_volume_usd``: no metric uses them."""


EVERYONE = "all"
"""A row of this venue is the sum over all of them."""


class VenueChoice(NamedTuple):
    """Which venues are to speak."""

    only: frozenset[str] = frozenset()
    """None: every venue."""
    without: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.only or self.without)

    def keeps(self, venue: str) -> bool:
        """Whether rows of a venue count. The sum over all venues is none without one of them."""
        if self.only:
            return venue in self.only and venue not in self.without
        return venue not in self.without and not (self.without and venue == EVERYONE)


EVERY_VENUE = VenueChoice()

MARKS = "mark price"
"""The scope of bars of the mark price, which is what the rules look at: it speaks before trades."""

LOOK_BACK: dict[RowForm, Ms] = {
    RowForm.FUNDING_SETTLED: 31 * DAY,
    RowForm.FUNDING_PREDICTED: 31 * DAY,
    RowForm.OPEN_INTEREST: 31 * DAY,
    RowForm.DEPTH: 16 * DAY,
    RowForm.LIQUIDATIONS: 3 * DAY,
    RowForm.PRICE_BARS: 4 * DAY,
    RowForm.BREADTH: 0,
}
"""How far back a value may depend on rows of a form, at most; so a piece of time is computed from
its own rows and those of so long before it, and where time is cut changes nothing."""


class Rows(NamedTuple):
    """Rows in order of time, each time once."""

    at: Times
    """When each was known, Ms."""
    step: NDArray[np.int64]
    """For how many Ms before it each speaks."""
    numbers: dict[str, Numbers]
    """By name, each as long as ``at``."""

    def newest(self, now: Times) -> NDArray[np.intp]:
        """The last row known at each moment, -1 before the first."""
        return np.searchsorted(self.at, now, "right") - 1

    def between(self, start: Ms, end: Ms) -> "Rows":
        """The rows from ``start`` to before ``end``."""
        first, last = np.searchsorted(self.at, (start, end))
        part = slice(int(first), int(last))
        numbers = {name: column[part] for name, column in self.numbers.items()}
        return Rows(self.at[part], self.step[part], numbers)


class RowPart(NamedTuple):
    """Rows that one venue said of one asset."""

    form: RowForm
    venue: str
    asset: str
    scope: str
    """What is counted alike. Both ends of a window are of one scope: files of one venue may count
    different contracts, trades or marks, or other bands."""
    rows: Rows


class RowSource(Protocol):
    """Files that hold rows of venues, read by asset and time."""

    def span(self) -> tuple[Ms, Ms] | None:
        """When the first and the last row are known, None: there are none."""
        ...

    def assets(self) -> Collection[str]:
        """Of which assets there are rows."""
        ...

    def venues(self) -> Collection[str]:
        """Of which venues there may be rows."""
        ...

    def parts(self, form: RowForm, asset: str, start: Ms, end: Ms) -> Sequence[RowPart]:
        """The rows known from ``start`` to before ``end``."""
        ...


def united(parts: Sequence[RowPart]) -> Rows:
    """One form in order of time; of several rows of one time that with the finest step, the first
    of these."""
    at = np.concatenate([part.rows.at for part in parts])
    step = np.concatenate([part.rows.step for part in parts])
    order = np.lexsort((step, at))  # stable: parts named first stay first
    order = order[np.diff(at[order], prepend=-1) != 0]
    numbers = {
        name: np.concatenate([part.rows.numbers[name] for part in parts])[order]
        for name in parts[0].rows.numbers
    }
    return Rows(at[order], step[order], numbers)
