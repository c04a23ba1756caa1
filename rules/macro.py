"""The prices of what is no coin, beside the market and no part of it. Pure.

Indices, metals, currencies and shares are perpetuals at a venue too. They come as an event of their
own and are remembered here alone, so no rule, no total and no share of anything ever sees them,
even where a coin has the same name. Of several contracts on one asset the one with the most
turnover at prices near its own speaks: what differs by more than a fifth is on something else.

Of the full hours of a week, and of the Mondays (00:00 UTC) of some months, the prices are kept, of
each contract and of Bitcoin, which stands for crypto: what it did against other assets is of these,
each from one contract at both ends, and since it is watched.
"""

from collections.abc import Mapping
from itertools import count
from statistics import median

import msgspec

from rules.likeness import APART
from streams.durations import DAY, HOUR, MINUTE
from streams.events import MacroPrice, Ms

FRESH: Ms = MINUTE
"""A price that is older is not known; contexts come every 13 s."""

_SPLIT = 2.0
"""None of these moves so many times in a day, but a share that is split does."""


CRYPTO = "BTC"

CLASSES = ("SP500", "NASDAQ100", "NIKKEI225", "KOSPI200", "GOLD", "SILVER", "WTI", "DXY", "TLT")
"""What crypto is compared with: indices, metals, oil, the dollar, bonds."""

WEEK_HOURS = 7 * 24
_MONDAY = 4 * 24
"""Hours from the beginning of the epoch, a Thursday, to a Monday."""

_WEEKS = 14
"""So many Mondays are kept."""

_ON_TIME: Ms = 5 * MINUTE
"""A price so long after a full hour is not that of the hour."""


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
    change_7d_pct: float | None = None
    """Of the same contract, since the last full hour that is a week old; None: unknown."""


class CryptoValue(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What crypto did, beside the assets that are no coin."""

    asset: str = CRYPTO
    change_24h_pct: float | None = None
    """Since the last full hour that is a day old; None: unknown."""
    change_7d_pct: float | None = None
    worst_weeks: int = 0
    """So many weeks in a row, up to the last one that is over, it was the worst of all classes."""
    may_be_more: bool = False
    """The week before those is not known."""
    week_known: bool = False
    """Whether it is known of the last week that is over."""


Hours = dict[int, float]
"""Full hours since the epoch → prices."""


class MacroPrices(msgspec.Struct, array_like=True):
    """All of them. It is dumped as it is."""

    quotes: dict[str, dict[str, MacroQuote]] = {}
    """By asset, and by ``venue/symbol``."""
    closes: dict[str, dict[str, Hours]] = {}
    """The prices at full hours, in the same way."""
    crypto: Hours = {}
    """Those of Bitcoin."""
    hour: int = 0
    """The last full hour that was looked at."""

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
                        change_7d_pct=_change_since(
                            self.closes.get(asset, {}).get(name, {}), quote.mark, now, WEEK_HOURS
                        ),
                    )
                )
        return values

    def learn(self, now: Ms, crypto: float | None) -> None:
        """The prices of a full hour, once; ``crypto``: that of Bitcoin, None: unknown."""
        hour = now // HOUR
        if hour <= self.hour:
            return
        self.hour = hour
        if now - hour * HOUR > _ON_TIME:
            return
        for asset, quotes in self.quotes.items():
            for name, quote in quotes.items():
                if now - quote.seen <= FRESH:
                    self.closes.setdefault(asset, {}).setdefault(name, {})[hour] = quote.mark
        if crypto is not None:
            self.crypto[hour] = crypto
        for hours in [self.crypto, *(x for of in self.closes.values() for x in of.values())]:
            for old in [x for x in hours if hour - x > _kept(x)]:
                del hours[old]

    def beside(self, now: Ms, price: float | None) -> CryptoValue | None:
        """What crypto did, of which ``price`` is that of now; None: it was never watched."""
        if not self.crypto:
            return None
        last = (now // HOUR - _MONDAY) // WEEK_HOURS * WEEK_HOURS + _MONDAY
        weeks, known = 0, False
        for monday in count(last, -WEEK_HOURS):
            is_worst = self._was_worst(monday - WEEK_HOURS, monday)
            known = is_worst is not None
            if not is_worst:
                break
            weeks += 1
        return CryptoValue(
            change_24h_pct=_change_since(self.crypto, price, now, 24),
            change_7d_pct=_change_since(self.crypto, price, now, WEEK_HOURS),
            worst_weeks=weeks,
            may_be_more=weeks > 0 and not known,
            week_known=weeks > 0 or known,
        )

    def _was_worst(self, first: int, last: int) -> bool | None:
        """Whether crypto did worse between two full hours than every class that is known; None:
        it, or all of those, are not."""
        own = _change_between(self.crypto, first, last)
        others = [
            median(changes)
            for asset in CLASSES
            if (
                changes := [
                    change
                    for hours in self.closes.get(asset, {}).values()
                    if (change := _change_between(hours, first, last)) is not None
                ]
            )
        ]
        return None if own is None or not others else own < min(others)

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
        self.hour = min(self.hour, now // HOUR)
        for hours in [self.crypto, *(x for of in self.closes.values() for x in of.values())]:
            for later in [hour for hour in hours if hour > self.hour]:
                del hours[later]


def _kept(hour: int) -> int:
    """For how many hours the price of a full hour is kept."""
    is_monday = (hour - _MONDAY) % WEEK_HOURS == 0
    return WEEK_HOURS * _WEEKS if is_monday else WEEK_HOURS + 1


def _change_between(hours: Mapping[int, float], first: int, last: int) -> float | None:
    before, after = hours.get(first), hours.get(last)
    if before is None or after is None or _ratio(before, after) >= _SPLIT:
        return None
    return 100 * (after / before - 1)


def _change_since(
    hours: Mapping[int, float], price: float | None, now: Ms, span: int
) -> float | None:
    """From the last full hour that is ``span`` hours old to ``price``, %; None: unknown."""
    before = hours.get((now - span * HOUR) // HOUR)
    if before is None or price is None or _ratio(before, price) >= _SPLIT:
        return None
    return 100 * (price / before - 1)


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
