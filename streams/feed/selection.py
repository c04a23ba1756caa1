"""Which instruments to watch. Pure.

Assets are named by the configuration, and the tail is "the next N by open interest": open interest
summed over the venues whose listing tells it; assets of which no venue tells it are ranked behind
those, by volume.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase

import msgspec

from streams.durations import MINUTE
from streams.events import FaultCode, Instrument, Ms
from streams.text import is_name

GONE_AFTER_MS: Ms = 10 * MINUTE
"""A contract that no listing has shown for so long is no longer watched."""

ListingFault = tuple[FaultCode, str, bool, str]
"""A fault: its code, the symbol, whether it is over, and why."""


class Markets(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator wants watched: named assets, largest first, and how many more by OI."""

    majors: tuple[str, ...]
    large: tuple[str, ...]
    tail: int
    macro: bool = True
    """With the prices of what is no coin, as far as venues have them."""
    spot: tuple[str, ...] = ()
    """The assets of which spot markets are watched, at the venues that are such."""

    @property
    def named(self) -> tuple[str, ...]:
        """Majors and large assets, in the order of the configuration."""
        return self.majors + self.large


Wants = Callable[[Instrument], bool]
"""Whether the operator wants to hear of a contract at all, listed or not."""


def wants(markets: Markets, leave_out: Sequence[str] = ()) -> Wants:
    """``leave_out``: patterns of symbols of one venue, with ``*`` and ``?``, in its own letters."""

    def wanted(instrument: Instrument) -> bool:
        if instrument.macro and not markets.macro:
            return False
        if instrument.spot and instrument.asset not in markets.spot:
            return False
        return not any(fnmatchcase(instrument.symbol, pattern) for pattern in leave_out)

    return wanted


def choose_assets(
    listed: Iterable[Instrument], markets: Markets, chosen: Collection[str] = ()
) -> tuple[str, ...]:
    """The assets to watch, named ones first, then the tail by rank.

    An asset already in ``chosen`` stays while it ranks within 1.2 times the tail's size, so that
    two assets of equal size do not change places every day.
    """
    interest: defaultdict[str, float] = defaultdict(float)
    volume: defaultdict[str, float] = defaultdict(float)
    for instrument in listed:
        if instrument.ends_at is not None or instrument.macro or instrument.spot:
            continue
        interest[instrument.asset] += instrument.open_interest_usd or 0.0
        volume[instrument.asset] += instrument.volume_24h_usd or 0.0
    ranked = sorted(
        (asset for asset in interest if asset not in markets.named),
        key=lambda asset: (-interest[asset], -volume[asset], asset),
    )
    near = set(ranked[: int(markets.tail * 1.2)])
    staying = [asset for asset in ranked if asset in chosen and asset in near]
    fresh = [asset for asset in ranked if asset not in staying]
    tail = set((staying + fresh)[: markets.tail])
    return markets.named + tuple(asset for asset in ranked if asset in tail)


def choose_instruments(listed: Sequence[Instrument], assets: Sequence[str]) -> list[Instrument]:
    """One venue's instruments of these assets: in the order of assets, the largest first.

    What is no coin comes behind them, all of it. Without those whose end is announced: what happens
    there says nothing about the asset.
    """
    rank = {asset: place for place, asset in enumerate(assets)}
    wanted = [i for i in listed if _is_of(i, rank) and i.ends_at is None]
    return sorted(
        wanted,
        key=lambda i: (
            len(rank) if i.macro else rank[i.asset],
            -(i.open_interest_usd or 0.0),
            -(i.volume_24h_usd or 0.0),
            i.symbol,
        ),
    )


def _is_of(instrument: Instrument, assets: Collection[str]) -> bool:
    """Whether a contract is of these assets, or of no coin: a name may be both."""
    return instrument.macro or instrument.asset in assets


def presentable(instrument: Instrument) -> bool:
    """Whether symbol and asset can be shown anywhere: printable, short, without spaces."""
    return is_name(instrument.symbol) and is_name(instrument.asset)


def unlisted(listed: Iterable[Instrument], names: Sequence[str]) -> dict[str, str]:
    """The named assets that nothing listed is of, each with what was probably meant, or ""."""
    instruments = [i for i in listed if not (i.macro or i.spot)]
    assets = {instrument.asset for instrument in instruments if instrument.ends_at is None}
    absent = [name for name in names if name not in assets]
    return {name: _meant(name, instruments) for name in absent}


def _meant(name: str, listed: Sequence[Instrument]) -> str:
    for of in listed:
        if of.asset == name:
            return f"{of.symbol} is being ended"
        if of.symbol == name:
            return f"{name} is a contract: name its asset, {of.asset}"
        if of.multiplier != 1 and of.symbol.startswith(name):
            return f"{name} is {of.multiplier:g} {of.asset}: name the asset, {of.asset}"
    return ""


class Watchlist:
    """What is watched at one venue, over all its listings.

    A listing that lacks a contract is no proof that it is gone: it stays for ``GONE_AFTER_MS``,
    and for ever while the listing lacks more than half of what is watched. What is wanted and
    listed is watched from that listing on. A contract whose end is announced is not watched: its
    positions end without anybody deleveraging.

    ``watched``: by symbol, in the order of rank. ``missing``: since when listings lack it.
    ``gone``: was watched until listings had lacked it for too long. ``now`` is a steady clock.
    """

    def __init__(self) -> None:
        self.watched: dict[str, Instrument] = {}
        self.missing: dict[str, Ms] = {}
        self.gone: set[str] = set()
        self._ending: set[str] = set()
        self._first = True

    def missing_from(self, listed: Iterable[Instrument]) -> list[Instrument]:
        """What is watched and is not listed."""
        symbols = {instrument.symbol for instrument in listed}
        return [i for symbol, i in self.watched.items() if symbol not in symbols]

    def take(
        self, listed: Sequence[Instrument], assets: Sequence[str], now: Ms
    ) -> list[ListingFault]:
        """A listing came; what operators should know of it."""
        wanted = choose_instruments(listed, assets)
        absent = {i.symbol: i for i in self.missing_from(listed) if _is_of(i, assets)}
        faults = [*self._ends(listed, assets)]
        empty = bool(absent) and not wanted
        for symbol in absent:
            self.missing.setdefault(symbol, now)
            if not empty:
                faults.append((FaultCode.CONTRACT_MISSING, symbol, False, ""))
        believed = 2 * len(absent) <= len(self.watched)
        kept = [
            instrument
            for symbol, instrument in absent.items()
            if not believed or now - self.missing[symbol] < GONE_AFTER_MS
        ]
        self.gone.update(absent.keys() - {instrument.symbol for instrument in kept})
        back = [
            i.symbol for i in wanted if self._first or i.symbol in self.missing.keys() | self.gone
        ]
        faults += [(FaultCode.CONTRACT_MISSING, symbol, True, "") for symbol in back]
        self.gone.difference_update(back)
        self.watched = {i.symbol: i for i in choose_instruments([*wanted, *kept], assets)}
        self.missing = {i.symbol: self.missing[i.symbol] for i in kept}
        faults.append((FaultCode.LISTING_EMPTY, "", bool(wanted), ""))
        self._first = False
        return faults

    def _ends(
        self, listed: Iterable[Instrument], assets: Collection[str]
    ) -> Iterator[ListingFault]:
        """Ends that are announced, of what is watched or would be.

        At first not of what has long ended beside contracts of its asset that go on: venues list it
        for ever.
        """
        alive = {(i.macro, i.asset) for i in listed if i.ends_at is None and self._first}
        ending = {i.symbol: i for i in listed if i.ends_at is not None and _is_of(i, assets)}
        for symbol, instrument in ending.items():
            ended = instrument.ends_at == 0 and (instrument.macro, instrument.asset) in alive
            if symbol not in self._ending and not ended:
                yield FaultCode.CONTRACT_SETTLING, symbol, False, _end(instrument.ends_at or 0)
        listed_on = [i.symbol for i in listed if i.ends_at is None and _is_of(i, assets)]
        for symbol in listed_on:
            if self._first or symbol in self._ending:
                yield FaultCode.CONTRACT_SETTLING, symbol, True, ""
        self._ending = {*ending}


def _end(at: Ms) -> str:
    return f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M} UTC" if at else ""
