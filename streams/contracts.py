"""What is known of a venue's contracts now, whichever frame or answer said it. Pure.

A venue says a thing of a contract once and leaves it out of what follows: the funding interval when
it changes, one of two prices when the other moves. The listing is of another time. So the newest
word stands, and what the venue shows overrules a word that it contradicts: the time to the next
settlement cannot be longer than the interval, and two settlements cannot be closer than it.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import inf
from typing import Literal

import msgspec

from streams.durations import HOUR, MINUTE, SECOND
from streams.events import (
    Funding,
    Instrument,
    Liquidation,
    MacroPrice,
    MarketEvent,
    Ms,
    OpenInterest,
    PastRate,
    Price,
)

FUNDING_HOURS = (1, 2, 4, 8, 24)
"""The funding intervals that venues have. Anything else is unreadable."""

"""Venues stamp a settlement within seconds of its hour."""

_DAY_HOURS = 24
_LASTS: Ms = 30 * SECOND
"""A time of the next settlement that contradicts the venue's word is an error, or stays so long."""

_ASK_EVERY: Ms = 5 * MINUTE
_ROW_LATE: Ms = 5 * MINUTE
"""A settlement that an answer does not have after so long was none."""

_NO_WORD = 0.0
"""The interval of a contract of which nobody said one; it fits nothing."""

_DUES = 8
"""Settlements that are remembered of a contract: a venue that errs may name many."""

_MISPLACED = 1.5
"""No mark price is so many times the mid of its own book, or so small a part of it, for long."""

_OFF, _ALIKE, _FRESH = 1.05, 1.01, 10_000
"""A price this far from its own book and this near to that of another contract may be of the other,
if both books were heard so lately: coins of like prices may change places too. In a crash marks
leave their books by some per cent, and one of sixty may come to be where another coin's book is;
but they all go one way, while of coins that changed places some go up and some down."""


_IMPOSSIBLE = 3.0
"""No liquidation is at so many times the highest mark price of the last minutes, or so small a part
of the lowest. Bybit tells the bankruptcy price, at which a position of twice its margin is at half
of where it was opened, and a venue works through its queue while the mark falls on."""

_MARKS_LAST: Ms = 5 * MINUTE

_LONG_OVER: Ms = 10 * MINUTE
"""A liquidation so long before what the venue says of its price is not of now."""


Rows = Literal["whole", "changes", "apart"]
"""What a frame says of a contract. ``whole``: all that there is, so what it leaves out is unknown.
``changes``: what it leaves out has not changed. ``apart``: mark and index price come by themselves,
and one that was not heard for ``_APART`` is unknown."""

_APART: Ms = MINUTE
"""OKX sends an unchanged mark price each 10 s, and an index price when it changes."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue sent about one contract itself; None: nothing of that."""

    symbol: str
    funding_hours: float | None = None
    """The interval now in force."""
    funding_cap: float | None = None
    """The largest rate either way, a fraction per interval."""
    settled_before: Ms | None = None
    """The settlement before the newest one, which follows in another event."""
    unsettled_since: Ms | None = None
    """In the place of ``settled_before``: it was not after this moment, whenever it was."""
    index_unknown: bool = False
    """It says that there is no index price, which a frame that leaves it out does not."""


class _Due(msgspec.Struct):
    """A settlement to come."""

    fits: frozenset[float]
    """The intervals that have it next, as of when it was first named."""
    word: float
    """The interval that the venue named then."""
    named: Ms
    """When that was."""
    hours: float | None = None
    """The interval that it was believed to end; None: unknown."""


class _Extremes(msgspec.Struct):
    """The lowest and the highest of a time slot and of the one before."""

    length: Ms
    slot: int = 0
    """Which one, since the epoch."""
    now: tuple[float, float] = (inf, 0.0)
    before: tuple[float, float] = (inf, 0.0)

    def take(self, value: float, seen: Ms) -> None:
        slot = seen // self.length
        if slot != self.slot:
            self.before = self.now if slot == self.slot + 1 else (inf, 0.0)
            self.now, self.slot = (inf, 0.0), slot
        low, high = self.now
        self.now = min(low, value), max(high, value)

    @property
    def lowest(self) -> float:
        return min(self.now[0], self.before[0])

    @property
    def highest(self) -> float:
        return max(self.now[1], self.before[1])


class _Contract(msgspec.Struct):
    """One contract."""

    listed: Instrument | None = None
    """As the last listing has it that could be read."""
    assumed: bool = False
    """There was a listing since that could not be read."""
    word: float | None = None
    """The interval that the venue sent last."""
    shown: float | None = None
    """The interval that it showed instead for long enough; None: it showed none."""
    refuted: bool = False
    """``shown`` refutes ``word``, which is not meant for later settlements either."""
    early: bool = False
    """``word`` is from a listing alone, which may already have what holds from the next settlement
    on."""
    cap: float | None = None
    """See ``Terms.funding_cap``."""
    mark: float | None = None
    mark_at: Ms = 0
    """The venue's time of it."""
    mark_seen: Ms = 0
    index: float | None = None
    index_seen: Ms = 0
    marks: _Extremes = msgspec.field(default_factory=lambda: _Extremes(_MARKS_LAST))
    held: _Extremes = msgspec.field(default_factory=lambda: _Extremes(HOUR))
    """Of the open interest in coins that was heard: a venue that says too little for a while does
    not lower it."""
    next_at: Ms | None = None
    dues: dict[int, _Due] = {}
    """Settlements to come and the last ones, by their hour."""
    contrary: Ms | None = None
    """The time of a next settlement that does not fit ``word``; None: it fits."""
    contrary_since: Ms = 0
    """When that first came."""
    asked: Ms | None = None
    """When the listing was asked for because of it."""
    settled_at: Ms | None = None
    """The last known settlement."""
    row_before: Ms | None = None
    """The one before, by the same answer."""
    unsettled_since: Ms | None = None
    """See ``Terms.unsettled_since``, of the same answer."""
    row_at: Ms | None = None
    """The last settlement that an answer had."""
    row_seen: Ms = 0
    """When that answer came."""
    mid: float | None = None
    """Of its book, which names it."""
    mid_seen: Ms = 0
    """When that was."""


class Contracts:
    """The contracts of one venue, shared by its sockets and polls; it outlives a listing."""

    def __init__(self, rows: Rows = "changes") -> None:
        self._known: dict[str, _Contract] = {}
        self._rows = rows

    def relist(self, instruments: Iterable[Instrument]) -> None:
        """A listing was read: what it says otherwise than the one before is news, the rest not."""
        known, self._known = self._known, {}
        for instrument in instruments:
            contract = known.get(instrument.symbol) or _Contract()
            self._known[instrument.symbol] = contract
            before = contract.listed
            contract.assumed = instrument.funding_assumed
            if instrument.funding_assumed:
                contract.listed = before or instrument
                continue  # it said nothing of this one
            contract.listed = instrument
            if before is not None and before.funding_assumed:
                before = None
            if before is None or instrument.funding_hours != before.funding_hours:
                contract.early = contract.word != instrument.funding_hours
                _say(contract, instrument.funding_hours)
            if before is None or instrument.funding_cap != before.funding_cap:
                contract.cap = instrument.funding_cap

    def take(self, terms: Terms) -> None:
        """The venue said something of a contract."""
        contract = self._contract(terms.symbol)
        if terms.funding_hours is not None:
            contract.early = False
            _say(contract, terms.funding_hours)
        if terms.funding_cap is not None:
            contract.cap = terms.funding_cap
        if terms.settled_before is not None:
            contract.row_before = terms.settled_before
        if terms.unsettled_since is not None:
            contract.unsettled_since = terms.unsettled_since
        if terms.index_unknown:
            contract.index = None

    def complete(self, event: MarketEvent) -> tuple[MarketEvent | None, str]:
        """The event with what its frame left out, None if it cannot be true.

        The text says why the listing must be out of date, "" if nothing tells so.
        """
        if isinstance(event, Price):
            return self._price(event), ""
        if isinstance(event, OpenInterest):
            return self._open_interest(event), ""
        if isinstance(event, Funding):
            return self._settled(event) if event.settled else self._predicted(event)
        return event, ""

    def impossible(self, event: Liquidation) -> str:
        """Why a liquidation cannot have happened now as it is told, "" if it can."""
        contract = self._contract(event.symbol)
        if contract.mark is not None and 0 <= event.seen - contract.mark_seen <= MINUTE:
            lowest, highest = contract.marks.lowest, contract.marks.highest
            if not lowest / _IMPOSSIBLE <= event.price <= highest * _IMPOSSIBLE:
                return f"a liquidation at {event.price:.6g}, where the mark is {contract.mark:.6g}"
            if event.at < contract.mark_at - _LONG_OVER:
                return "a liquidation of long ago"
        if event.base > (most := contract.held.highest) > 0:
            return f"a liquidation of {event.base:.6g} coins, where {most:.6g} are open"
        return ""

    def open_interest(self, symbol: str) -> tuple[float, float] | None:
        """The lowest and the highest coins that were open within the last hour or two; None: it was
        not heard."""
        held = self._contract(symbol).held
        return (held.lowest, held.highest) if held.highest > 0 else None

    def price(self, symbol: str) -> float | None:
        """The newest index price, else mark price; None: neither was heard."""
        contract = self._contract(symbol)
        return contract.mark if contract.index is None else contract.index

    def in_usd(self, symbol: str, coins: tuple[float, float]) -> tuple[float, float]:
        """Coins at the newest mark price; (0, 0) before there is one."""
        mark = self._contract(symbol).mark or 0.0
        return coins[0] * mark, coins[1] * mark

    def take_mid(self, symbol: str, mid: float, seen: Ms) -> None:
        """The mid price of a book, which names its contract."""
        contract = self._contract(symbol)
        contract.mid, contract.mid_seen = mid, seen

    def misplaced(self, events: Iterable[object]) -> dict[str, str]:
        """Symbol → why what one frame says of it by its place belongs to another contract."""
        far: dict[str, float] = {}
        alike: dict[str, float] = {}
        for event in events:
            if not isinstance(event, Price | MacroPrice) or event.mark is None:
                continue
            contract = self._contract(event.symbol)
            age = event.seen - contract.mid_seen
            if contract.mid is None or age < 0:
                continue
            times = event.mark / contract.mid
            if _apart(event.mark, contract.mid) > _MISPLACED and age <= MINUTE:
                far[event.symbol] = times
            elif (
                _apart(event.mark, contract.mid) > _OFF
                and age <= _FRESH
                and self._is_of_another(event.mark, event)
            ):
                alike[event.symbol] = times
        if far or len({times > 1 for times in alike.values()}) > 1:
            far |= alike
        return {
            symbol: f"{symbol}: a price {times:.3g} times its book's, so of another coin"
            for symbol, times in far.items()
        }

    def _is_of_another(self, mark: float, event: Price | MacroPrice) -> bool:
        """Whether the book of another contract is where this price is."""
        return any(
            other.mid is not None
            and 0 <= event.seen - other.mid_seen <= _FRESH
            and _apart(mark, other.mid) <= _ALIKE
            for symbol, other in self._known.items()
            if symbol != event.symbol
        )

    def owes(self, newest: Funding, now: Ms) -> bool:
        """Whether a settlement after ``newest``, the last one that is known, is due."""
        contract = self._contract(newest.symbol)
        hours = contract.shown or contract.word or newest.hours
        settled_at = contract.settled_at or 0  # by the time of the next one, before any answer
        return newest.at + hours * HOUR <= now or settled_at > newest.at + MINUTE

    def _contract(self, symbol: str) -> _Contract:
        contract = self._known.get(symbol)
        if contract is None:
            contract = self._known[symbol] = _Contract()
        return contract

    def _price(self, event: Price) -> Price:
        """A price that is left out has not changed, or is unknown (``Rows``)."""
        contract = self._contract(event.symbol)
        if event.mark is not None:
            contract.mark, contract.mark_at, contract.mark_seen = event.mark, event.at, event.seen
            contract.marks.take(event.mark, event.seen)
        if event.index is not None:
            contract.index, contract.index_seen = event.index, event.seen
        quote = "" if contract.listed is None else contract.listed.priced_in
        if self._rows == "whole" or (event.mark is not None and event.index is not None):
            return event if event.quote == quote else msgspec.structs.replace(event, quote=quote)
        mark, index = contract.mark, contract.index
        if self._rows == "apart":
            mark = mark if event.seen - contract.mark_seen <= _APART else None
            index = index if event.seen - contract.index_seen <= _APART else None
        if mark == event.mark and index == event.index and quote == event.quote:
            return event
        return msgspec.structs.replace(event, mark=mark, index=index, quote=quote)

    def _open_interest(self, event: OpenInterest) -> OpenInterest | None:
        """That of an inverse contract, in USD, also in coins; None while no mark price is known."""
        contract = self._contract(event.symbol)
        if event.inverse and event.usd and not event.base:
            if contract.mark is None:
                return None
            event = msgspec.structs.replace(event, base=event.usd / contract.mark)
        contract.held.take(event.base, event.seen)
        return event

    def _predicted(self, event: Funding) -> tuple[Funding | None, str]:
        contract = self._contract(event.symbol)
        word = _word(contract, event.hours)
        if event.next_at is not None:
            _next(contract, event.next_at, event.at)
        due = _due(contract, event.at, event.seen, word)
        if due is None:
            hours = contract.shown or word
            return _within_cap(contract, _with_hours(event, hours), "") if hours else (None, "")
        due.hours = _in_force(contract, due, word, event.seen)
        doubt = ""
        if (
            word
            and word not in due.fits
            and not (contract.asked is not None and 0 <= event.seen - contract.asked < _ASK_EVERY)
        ):
            contract.asked = event.seen
            doubt = f"{event.symbol}: the next settlement is not that of an interval of {word:g} h"
        if due.hours is None:
            return None, doubt
        return _within_cap(contract, _with_hours(event, due.hours), doubt)

    def _settled(self, event: Funding) -> tuple[Funding | None, str]:
        contract = self._contract(event.symbol)
        _settle(contract, event.at)
        if contract.row_at is None or event.at >= contract.row_at:
            contract.row_at, contract.row_seen = event.at, event.seen
        before, contract.row_before = contract.row_before, None
        since, contract.unsettled_since = contract.unsettled_since, None
        hour = round(event.at / HOUR)
        due, word = contract.dues.get(hour), _word(contract, event.hours)
        hours: float | None = None  # a word of now may be of what began with this settlement
        believed = None if due is None else due.hours
        if before is not None:
            gap = float(round((event.at - before) / HOUR))
            if due is not None and gap == due.word and gap in intervals_between(before, event.at):
                hours = gap  # as the venue named it before there could be a word on what follows
            else:
                hours = _interval_between(before, event.at, believed or word)
            if not word and contract.shown is None:
                contract.shown = hours
        elif believed is not None:
            hours = believed
        elif since is not None:
            gap = (event.at - since + MINUTE) // HOUR  # stamped within seconds of the hour
            fits = [float(h) for h in FUNDING_HOURS if h >= gap]
            hours = word if word in fits else next(iter(fits), None)
        if not hours:
            hours = contract.shown
        if hours is None or hour % hours:
            return None, ""
        return _within_cap(contract, _with_hours(event, hours), "")


def _word(contract: _Contract, hours: float) -> float:
    """The newest word on the interval; ``hours``: that of the event, by the listing."""
    return contract.word or (_NO_WORD if contract.assumed else hours)


def _say(contract: _Contract, hours: float | None) -> None:
    """The venue said an interval."""
    contract.word, contract.shown, contract.refuted, contract.contrary = hours, None, False, None


def intervals_between(before: Ms, at: Ms) -> frozenset[float]:
    """The intervals of which the first settlement after ``before`` is at ``at``.

    Times within a minute of a settlement are on either side of it. What is said within an hour
    that is not whole is only no longer than the interval.
    """
    hour = round(at / HOUR)
    if abs(at - hour * HOUR) >= MINUTE:
        return frozenset(float(h) for h in FUNDING_HOURS if at - before <= h * HOUR + MINUTE)
    first, last = (before - MINUTE) // HOUR, (before + MINUTE) // HOUR
    return frozenset(
        float(h) for h in FUNDING_HOURS if hour in ((first // h + 1) * h, (last // h + 1) * h)
    )


def past_rates(rows: Iterable[Funding], word: float | None) -> list[PastRate]:
    """Settlements of one contract as a history has them, with the intervals that they ended.

    ``word``: the interval now. An interval is the time from one settlement to the next. What is
    longer than those on both sides of it is a hole, not an interval: a rate of 1 h would count as
    one of 2 h. The first one has no interval, and of one that is told twice with two rates nobody
    knows which was charged.
    """
    rates: dict[int, set[float]] = {}
    for row in rows:
        hour = round(row.at / HOUR)
        if abs(row.at - hour * HOUR) < MINUTE:
            rates.setdefault(hour, set()).add(row.rate)
    hours = sorted(rates)
    gaps = [float(after - before) for before, after in pairwise(hours)]
    past: list[PastRate] = []
    for place, gap in enumerate(gaps):
        before, hour = hours[place], hours[place + 1]
        following, preceding = _following(gaps[place + 1 :], word), gaps[place - 1] if place else 0
        if gap > max(following, preceding):
            continue
        length: float | None = gap if gap == preceding and gap in FUNDING_HOURS else None
        length = length or _interval_between(before * HOUR, hour * HOUR, following)
        if length and hour % length == 0 and len(rates[hour]) == 1:
            past.append(PastRate(hour * HOUR, rates[hour].pop(), length))
    return past


def _following(gaps: Sequence[float], word: float | None) -> float:
    """The interval after a settlement, 0 where nobody knows it."""
    return next((gap for gap in gaps[:1] if gap in FUNDING_HOURS), word or 0.0)


def _interval_between(before: Ms, at: Ms, word: float) -> float | None:
    """The interval that a settlement ended, None if it cannot be told.

    ``before``: the settlement before; ``word``: what the venue said, maybe only after ``at``.
    Intervals change at settlements.
    """
    fits, gap = intervals_between(before, at), float(round((at - before) / HOUR))
    if word in fits:
        return word if gap == word or gap not in fits else None
    return gap if gap in fits else _only(fits)


def _only(fits: frozenset[float]) -> float | None:
    """The one interval that fits; one of a day only where no shorter one does."""
    shorter = fits - {float(_DAY_HOURS)} or fits
    return next(iter(shorter)) if len(shorter) == 1 else None


def _next(contract: _Contract, next_at: Ms, now: Ms) -> None:
    """The next settlement is due at ``next_at``; the one that was due before may be over."""
    due = contract.next_at
    if due is not None and due < next_at and due <= now + MINUTE:
        _settle(contract, due)
    contract.next_at = next_at


def _due(contract: _Contract, now: Ms, seen: Ms, word: float) -> _Due | None:
    """The next settlement, None if it is unknown which that is."""
    next_at = contract.next_at
    if next_at is None or next_at < now - MINUTE:
        return None
    hour = round(next_at / HOUR)
    due = contract.dues.get(hour)
    if due is None:
        for old in sorted(contract.dues)[: 1 - _DUES]:
            del contract.dues[old]
        due = contract.dues[hour] = _Due(intervals_between(now, next_at), word, seen)
    return due


def _in_force(contract: _Contract, due: _Due, word: float, seen: Ms) -> float | None:
    """The interval that ends with ``due``, None if it is unknown."""
    changed = word != due.word and {word, due.word} <= due.fits
    if changed and (contract.early or not 0 <= seen - due.named <= MINUTE):
        return None  # it changed at the settlement before and is said late, or will change at this
    if word in due.fits and not contract.refuted:
        contract.shown = contract.contrary = None
        return word
    if contract.shown in due.fits:
        contract.contrary = None
        return contract.shown
    if contract.contrary != contract.next_at or seen < contract.contrary_since:
        contract.contrary, contract.contrary_since = contract.next_at, seen
    only = _only(due.fits if word else due.fits - _refuted(contract))
    if only is None or seen - contract.contrary_since < _LASTS:
        return None
    # a word that came after this settlement was named may be one about the time after it
    contract.shown, contract.refuted = only, due.word == word != only
    return only


def _refuted(contract: _Contract) -> frozenset[float]:
    """The intervals that would have had a settlement which the last answer does not have."""
    if contract.row_at is None:
        return frozenset()
    first, until = contract.row_at + MINUTE, contract.row_seen - _ROW_LATE
    return frozenset(float(h) for h in FUNDING_HOURS if (first // HOUR // h + 1) * h * HOUR < until)


def _settle(contract: _Contract, at: Ms) -> None:
    """There was a settlement at ``at``."""
    if contract.settled_at is None or at > contract.settled_at + MINUTE:
        contract.settled_at = at


def _with_hours(event: Funding, hours: float) -> Funding:
    return event if hours == event.hours else msgspec.structs.replace(event, hours=hours)


def _within_cap(contract: _Contract, event: Funding, doubt: str) -> tuple[Funding | None, str]:
    """The event with the doubt, or neither but why its rate cannot be true under the newest cap."""
    if contract.cap is None or abs(event.rate) <= contract.cap * (1 + 1e-9):
        return event, doubt
    return (
        None,
        f"{event.symbol}: a funding rate of {event.rate:g} where {contract.cap:g} is the cap",
    )


def _apart(price: float, other: float) -> float:
    """How many times one price is the other, at least 1."""
    return max(price / other, other / price)
