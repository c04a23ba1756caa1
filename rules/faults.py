"""Faults, each reported once, and once more when it is over: for operators, never a market alert.

What comes between two Ticks with one code and venue is one notice, so that a venue which drops a
hundred contracts at once is one message.
"""

import msgspec

from rules.alerts import Notice
from streams.events import MOMENTARY, Fault, FaultCode, Ms

_MOST = 1_000
"""How many faults are remembered: a venue chooses their subjects. The oldest is dropped first."""

_REASONS = 3
"""How many different reasons one notice names."""

_UNLISTED = frozenset({FaultCode.CONTRACT_MISSING, FaultCode.CONTRACT_SETTLING})

Key = tuple[FaultCode, str, str]
"""Code, venue and subject identify a fault."""


class News(msgspec.Struct, array_like=True):
    """To be reported at the next Tick."""

    fault: Fault
    since: Ms
    """When the fault began."""


class Faults(msgspec.Struct, array_like=True):
    """The faults that are known, and those to be reported."""

    standing: dict[Key, Ms] = {}
    """Fault → since when it is there."""
    news: list[News] = []

    def take(self, fault: Fault) -> None:
        """A fault began or is over. It is no news if it is known already, or over before it was
        reported."""
        key = _key(fault)
        if fault.code in MOMENTARY:
            self._report(fault, fault.seen)
        elif not fault.over:
            if key not in self.standing:
                if len(self.standing) >= _MOST:
                    del self.standing[next(iter(self.standing))]
                self.standing[key] = fault.seen
                self._report(fault, fault.seen)
        elif (since := self.standing.pop(key, None)) is not None:
            unreported = [news for news in self.news if _key(news.fault) == key]
            if unreported:
                self.news.remove(unreported[0])
            else:
                self._report(fault, since)

    @property
    def unlisted(self) -> set[tuple[str, str]]:
        """Venue and symbol of what its venue no longer lists, or ends."""
        return {(venue, symbol) for code, venue, symbol in self.standing if code in _UNLISTED}

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: nothing was later."""
        self.news = [
            News(
                msgspec.structs.replace(news.fault, seen=min(news.fault.seen, now)),
                min(news.since, now),
            )
            for news in self.news
        ]
        self.standing = {key: min(since, now) for key, since in self.standing.items()}

    def tick(self, now: Ms) -> list[Notice]:
        """A Tick came: the notices that are due."""
        if not self.news:
            return []
        groups: dict[tuple[FaultCode, str, bool], list[News]] = {}
        for news in self.news:
            fault = news.fault
            groups.setdefault((fault.code, fault.venue, fault.over), []).append(news)
        self.news = []
        return [_notice(group, now) for group in groups.values()]

    def _report(self, fault: Fault, since: Ms) -> None:
        if len(self.news) < _MOST:
            self.news.append(News(fault, since))


def _key(fault: Fault) -> Key:
    return fault.code, fault.venue, fault.subject


def _notice(group: list[News], now: Ms) -> Notice:
    first = group[0].fault
    reasons = dict.fromkeys(news.fault.detail for news in group if news.fault.detail)
    return Notice(
        id=f"fault:{first.code}:{first.venue}:{'over' if first.over else 'on'}:{now}",
        venue=first.venue,
        kinds=(),
        up=first.over,
        since=min(news.since for news in group),
        seen=now,
        reason="; ".join([*reasons][:_REASONS]),
        fault=first.code,
        subjects=tuple(news.fault.subject for news in group if news.fault.subject),
    )
