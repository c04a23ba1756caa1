"""Coins that have another name now: contracts under both names are of one asset. Pure.

Only those that were exchanged one for one: of another rate (MKR, AGIX) old and new coins have
prices of their own. A name that is taken by another coin afterwards is told apart by its price
(``rules.likeness``).
"""

from collections.abc import Mapping
from datetime import date
from typing import NamedTuple


class NewName(NamedTuple):
    """What a coin is called now."""

    coin: str
    since: date | None
    """When contracts under the new name began; None: the old one is another spelling."""


NEW_NAMES: Mapping[str, NewName] = {
    # Binance's notice of the swap: MATIC's contracts are settled on 2024-09-09, its pairs end on
    # 2024-09-10, POL's begin on 2024-09-13
    "MATIC": NewName("POL", date(2024, 9, 13)),
    # Binance's notice of the swap: FTM ends on 2025-01-13, S begins on 2025-01-16
    "FTM": NewName("S", date(2025, 1, 16)),
    # OKX's notice: RNDRUSDT ends on 2024-07-09; Render Network's documentation of its token: RNDR
    # is the former one, RENDER the one of today
    "RNDR": NewName("RENDER", date(2024, 7, 9)),
    # Binance's notice of the new name: KLAY ends on 2024-10-28, KAIA begins on 2024-10-31
    "KLAY": NewName("KAIA", date(2024, 10, 31)),
    # OKX's notice of the swap: A begins on 2025-05-29
    "EOS": NewName("A", date(2025, 5, 29)),
    # the code of ISO 4217, which some venues write; the coin is the same
    "XBT": NewName("BTC", None),
}
"""Former name → the one of today, each with the notice that says so."""


def present_name(coin: str) -> str:
    """What ``coin`` is called now."""
    new = NEW_NAMES.get(coin)
    return new.coin if new else coin
