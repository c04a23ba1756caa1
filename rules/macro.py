"""The prices of what is no coin, beside the market and no part of it. Pure.

Indices, metals, currencies and shares are perpetuals at a venue too. They come as an event of their
own and are remembered here alone, so no rule, no total and no share of anything ever sees them,
even where a coin has the same name. Of several contracts on one asset the one with the most
turnover at prices near its own speaks: what differs by more than a fifth is on something else.
"""

import msgspec

from rules.likeness import APART
from streams.durations import DAY, MINUTE
from streams.events import MacroPrice, Ms

FRESH: Ms = MINUTE
"""A price that is older is not known; contexts come every 13 s."""

_SPLIT = 2.0
"""None of these moves so many times in a day, but a share that is split does."""


class MacroQuote(msgspec.Struct, array_like=True):
    """What one contract said last, as in ``MacroPrice``."""

    mark: float
    day_ago: float | None
    usd_24h: float
    seen: Ms


class MacroValue(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An asset that is no coin, now."""

    asset: str
    price: float
    """Of a perpetual, quote per unit."""
    change_24h_pct: float | None = None
    """Of the same contract; None: unknown."""
    venue: str
    symbol: str
    """The contract that speaks."""


class MacroPrices(msgspec.Struct, array_like=True):
    """All of them. It is dumped as it is."""

    quotes: dict[str, dict[str, MacroQuote]] = {}
    """By asset, and by ``venue/symbol``."""

    def take(self, event: MacroPrice, now: Ms) -> None:
        """A contract has a price."""
        quote = MacroQuote(event.mark, event.day_ago, event.usd_24h, now)
        self.quotes.setdefault(event.asset, {})[f"{event.venue}/{event.symbol}"] = quote

    def now(self, now: Ms) -> list[MacroValue]:
        """Every asset whose price is known, by name."""
        values: list[MacroValue] = []
        for asset, quotes in sorted(self.quotes.items()):
            fresh = {name: q for name, q in quotes.items() if now - q.seen <= FRESH}
            if fresh:
                name, quote = max(fresh.items(), key=lambda item: _weight(*item, fresh))
                venue, _, symbol = name.partition("/")
                values.append(
                    MacroValue(
                        asset=asset,
                        price=quote.mark,
                        change_24h_pct=_change_pct(quote),
                        venue=venue,
                        symbol=symbol,
                    )
                )
        return values

    def forget(self, now: Ms) -> None:
        """Drops what was silent for a day."""
        for asset, quotes in [*self.quotes.items()]:
            for name in [name for name, quote in quotes.items() if now - quote.seen > DAY]:
                del quotes[name]
            if not quotes:
                del self.quotes[asset]

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: how old anything is nobody knows."""
        self.quotes.clear()


def _weight(
    name: str, quote: MacroQuote, quotes: dict[str, MacroQuote]
) -> tuple[float, float, str]:
    """The turnover at prices near this one, then its own; the name so that order never matters."""
    near = [q.usd_24h for q in quotes.values() if _ratio(q.mark, quote.mark) <= APART]
    return sum(near), quote.usd_24h, name


def _ratio(a: float, b: float) -> float:
    return max(a, b) / min(a, b)


def _change_pct(quote: MacroQuote) -> float | None:
    if quote.day_ago is None or _ratio(quote.mark, quote.day_ago) >= _SPLIT:
        return None
    return 100 * (quote.mark - quote.day_ago) / quote.day_ago
