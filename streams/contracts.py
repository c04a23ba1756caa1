"""What is known of a venue's contracts now, whichever frame or answer said it. Pure.

A venue says a thing of a contract once and leaves it out of what follows: the funding interval when
it changes, one of two prices when the other moves. The listing is of another time. So the newest
word stands, and what the venue shows overrules a word that it contradicts: the time to the next
settlement cannot be longer than the interval, and two settlements cannot be closer than it.
"""

from collections.abc import Iterable

import msgspec

from streams.events import Funding, Instrument, MarketEvent, Ms, Price

FUNDING_HOURS = (1, 2, 4, 8, 24)
"""The funding intervals that venues have. Anything else is unreadable."""

_HOUR: Ms = 3_600_000
_MINUTE: Ms = 60_000
"""Venues stamp a settlement within seconds of its hour."""

_MISPLACED = 1.5
"""No mark price is so many times the mid of its own book, or so small a part of it, for long."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue said of one contract itself; None: it said nothing of that.

    ``funding_hours``: the interval now in force. ``funding_cap``: the largest rate either way, a
    fraction per interval.
    """

    symbol: str
    funding_hours: float | None = None
    funding_cap: float | None = None


class _Contract(msgspec.Struct):
    """One contract. ``settled_at``, ``settled_before``: the last two settlements known of.

    ``mid``: of its book, which names it, seen at ``mid_seen``. ``misplaced``: when a price that was
    joined to it by place was another's.
    """

    listed: Instrument | None = None
    hours: float | None = None
    cap: float | None = None
    mark: float | None = None
    index: float | None = None
    next_at: Ms | None = None
    settled_at: Ms | None = None
    settled_before: Ms | None = None
    mid: float | None = None
    mid_seen: Ms = 0
    misplaced: Ms = 0


class Contracts:
    """The contracts of one venue, shared by its sockets and polls; it outlives a listing."""

    def __init__(self) -> None:
        self._known: dict[str, _Contract] = {}

    def relist(self, instruments: Iterable[Instrument]) -> None:
        """A listing was read: what it says otherwise than the one before is news, the rest not."""
        known, self._known = self._known, {}
        for instrument in instruments:
            contract = known.get(instrument.symbol) or _Contract()
            before = contract.listed
            contract.listed = instrument
            if before is None or instrument.funding_hours != before.funding_hours:
                contract.hours = instrument.funding_hours
            if before is None or instrument.funding_cap != before.funding_cap:
                contract.cap = instrument.funding_cap
            self._known[instrument.symbol] = contract

    def take(self, terms: Terms) -> None:
        """The venue said something of a contract."""
        contract = self._contract(terms.symbol)
        if terms.funding_hours is not None:
            contract.hours = terms.funding_hours
        if terms.funding_cap is not None:
            contract.cap = terms.funding_cap

    def complete(self, event: MarketEvent) -> tuple[MarketEvent | None, str]:
        """The event with what its frame left out, None if it cannot be true.

        The text says why the listing must be out of date, "" if nothing tells so.
        """
        if isinstance(event, Price):
            return self._price(event), ""
        if isinstance(event, Funding):
            return self._settled(event) if event.settled else self._predicted(event)
        return event, ""

    def take_mid(self, symbol: str, mid: float, seen: Ms) -> None:
        """The mid price of a book, which names its contract."""
        contract = self._contract(symbol)
        contract.mid, contract.mid_seen = mid, seen

    def misplaced(self, event: MarketEvent) -> str:
        """Why a fact that was joined to its contract by place belongs to another, "" if it fits.

        The price comes first of what is said of a contract at one moment, and speaks for the rest.
        """
        contract = self._contract(event.symbol)
        if isinstance(event, Price) and event.mark is not None and contract.mid is not None:
            apart = max(event.mark / contract.mid, contract.mid / event.mark)
            if apart > _MISPLACED and event.seen - contract.mid_seen <= _MINUTE:
                contract.misplaced = event.seen
        if contract.misplaced != event.seen:
            return ""
        return f"{event.symbol}: a price far from the book's {contract.mid:.6g}, so of another coin"

    def owes(self, newest: Funding, now: Ms) -> bool:
        """Whether a settlement after ``newest``, the last one that is known, is due."""
        contract = self._contract(newest.symbol)
        hours = newest.hours if contract.hours is None else contract.hours
        settled_at = contract.settled_at or 0  # by the time of the next one, before any answer
        return newest.at + hours * _HOUR <= now or settled_at > newest.at + _MINUTE

    def _contract(self, symbol: str) -> _Contract:
        contract = self._known.get(symbol)
        if contract is None:
            contract = self._known[symbol] = _Contract()
        return contract

    def _price(self, event: Price) -> Price:
        """A price that is left out has not changed."""
        contract = self._contract(event.symbol)
        if event.mark is not None and event.index is not None:
            contract.mark, contract.index = event.mark, event.index
            return event
        if event.mark is not None:
            contract.mark = event.mark
        if event.index is not None:
            contract.index = event.index
        if contract.mark == event.mark and contract.index == event.index:
            return event
        return msgspec.structs.replace(event, mark=contract.mark, index=contract.index)

    def _predicted(self, event: Funding) -> tuple[Funding | None, str]:
        contract = self._contract(event.symbol)
        hours = event.hours if contract.hours is None else contract.hours
        doubt = ""
        if event.next_at is not None:
            _next(contract, event.next_at, event.at)
        shown = _shown(contract, hours, event.at)
        if shown != hours:
            doubt = f"{event.symbol}: funding every {shown:g} h, not every {hours:g} h"
            hours = contract.hours = shown
        return _within_cap(contract, _with_hours(event, hours), doubt)

    def _settled(self, event: Funding) -> tuple[Funding | None, str]:
        contract = self._contract(event.symbol)
        _settle(contract, event.at)
        hours, before = event.hours, contract.settled_before
        if before is not None and contract.settled_at is not None:
            gap = _whole_hours(event.at - before)
            if abs(event.at - contract.settled_at) < _MINUTE and 0 < gap < hours:
                hours = interval_within(gap, event.at)
        return _within_cap(contract, _with_hours(event, hours), "")


def interval_within(gap_hours: float, at: Ms) -> float:
    """The longest interval of at most ``gap_hours`` (1 or more) that has a settlement at ``at``.

    Venues settle at whole multiples of the interval from midnight UTC.
    """
    hour = round(at / _HOUR)
    fitting = [h for h in FUNDING_HOURS if h <= gap_hours and hour % h == 0]
    return float(max(fitting, default=FUNDING_HOURS[0]))


def _next(contract: _Contract, next_at: Ms, now: Ms) -> None:
    """The next settlement is due at ``next_at``; the one that was due before may be over."""
    due = contract.next_at
    if due is not None and due < next_at and due <= now + _MINUTE:
        _settle(contract, due)
    contract.next_at = next_at


def _shown(contract: _Contract, hours: float, now: Ms) -> float:
    """The interval that is in keeping with the time of the next settlement."""
    if contract.next_at is None:
        return hours
    left = contract.next_at - now
    if left > hours * _HOUR + _MINUTE:
        longer = [h for h in FUNDING_HOURS if left <= h * _HOUR + _MINUTE]
        return float(min(longer, default=hours))
    if contract.settled_at is not None and left > 0:
        gap = _whole_hours(contract.next_at - contract.settled_at)
        if 0 < gap < hours:
            return interval_within(gap, contract.next_at)
    return hours


def _settle(contract: _Contract, at: Ms) -> None:
    """There was a settlement at ``at``."""
    if contract.settled_at is None:
        contract.settled_at = at
    elif at > contract.settled_at + _MINUTE:
        contract.settled_before, contract.settled_at = contract.settled_at, at


def _whole_hours(duration: Ms) -> int:
    """The duration in hours, 0 if it is not a whole number of them."""
    hours = round(duration / _HOUR)
    return hours if abs(duration - hours * _HOUR) < _MINUTE else 0


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
