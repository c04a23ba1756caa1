"""Two configurations over the same values: what the one tells that the other does not, or at
another time. Pure.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from bot.backtest.evaluate import Run
from bot.backtest.posts import is_end
from bot.backtest.rows import LATEST
from rules.alerts import Alert, Level, Turn
from streams.durations import HOUR
from streams.events import Ms

APART: Ms = HOUR
"""Episodes of one rule and coin that lie no farther apart than this are the same event: another
threshold or window sees it begin or end at another moment."""


class ChangeKind(StrEnum):
    """What another configuration changes about an event."""

    NEW = "new"
    """The other one does not post it."""
    GONE = "gone"
    """Only the other one posts it."""
    LOUDER = "louder"
    """It rings, or goes to a higher level, where the other one does not."""
    QUIETER = "quieter"
    EARLIER = "earlier"
    """It rings earlier, or is posted earlier where neither rings."""
    LATER = "later"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One event that is told differently."""

    kind: ChangeKind
    rule: str
    """Its name in the file."""
    subject: str
    """The coin or the contract, ``ALL`` for the market."""
    at: Ms | None
    """When the first ring was, or the first post where nothing rang; None: nothing was posted."""
    level: str | None
    """The highest that was posted."""
    before_at: Ms | None
    """As ``at``, of the other configuration."""
    before_level: str | None

    @property
    def when(self) -> Ms:
        """The earlier of both moments."""
        return min(at for at in (self.at, self.before_at) if at is not None)


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """All that differs between two configurations."""

    each: tuple[Change, ...]
    """By time."""
    same: int
    """How many events both tell at the same time and level."""

    @property
    def counts(self) -> Counter[ChangeKind]:
        """How many there are of each kind."""
        return Counter(change.kind for change in self.each)


class _Event(msgspec.Struct):
    """Episodes of one rule, whatever their windows, on one subject that lie close together."""

    start: Ms
    end: Ms
    posted_at: Ms
    rang_at: Ms | None
    level: Level

    @property
    def told_at(self) -> Ms:
        return self.posted_at if self.rang_at is None else self.rang_at


def changes_against(run: Run, before: Run) -> Changes:
    """What ``run`` tells differently from ``before``."""
    now, then = _events(run), _events(before)
    each: list[Change] = []
    same = 0
    for rule, subject in sorted(now.keys() | then.keys()):
        pairs = _paired(now.get((rule, subject), ()), then.get((rule, subject), ()))
        for event, other in pairs:
            kind = _kind(event, other)
            if kind is None:
                same += 1
                continue
            each.append(
                Change(
                    kind=kind,
                    rule=rule,
                    subject=subject,
                    at=event and event.told_at,
                    level=event and event.level.name.lower(),
                    before_at=other and other.told_at,
                    before_level=other and other.level.name.lower(),
                )
            )
    return Changes(each=tuple(sorted(each, key=lambda change: change.when)), same=same)


def _events(run: Run) -> dict[tuple[str, str], list[_Event]]:
    """By rule and subject, those of which anything was posted, in order of time."""
    ends = {a.episode: a.seen for a in run.alerts if a.turn is Turn.CLOSE}
    posted: dict[tuple[str, str], list[_Event]] = {}
    for post in (post for post in run.posts if not is_end(post)):
        for alert in (alert for alert in post.alerts if alert.turn is not Turn.CLOSE):
            key = alert.family or alert.rule, alert.instrument or alert.asset
            event = _event(alert, post.at, ends.get(alert.episode, LATEST))
            posted.setdefault(key, []).append(event)
    return {key: _joined(events) for key, events in posted.items()}


def _event(alert: Alert, at: Ms, end: Ms) -> _Event:
    rang = at if alert.level >= Level.ALERT else None
    return _Event(alert.opened_at, end, at, rang, alert.level)


def _joined(events: Iterable[_Event]) -> list[_Event]:
    """Those that overlap as one."""
    whole: list[_Event] = []
    for event in sorted(events, key=lambda event: event.start):
        if whole and event.start <= whole[-1].end:
            last = whole[-1]
            last.end = max(last.end, event.end)
            last.posted_at = min(last.posted_at, event.posted_at)
            rang = [at for at in (last.rang_at, event.rang_at) if at is not None]
            last.rang_at = min(rang, default=None)
            last.level = max(last.level, event.level)
        else:
            whole.append(event)
    return whole


def _paired(
    now: Sequence[_Event], then: Sequence[_Event]
) -> list[tuple[_Event | None, _Event | None]]:
    """Each event with the first of the other configuration that it is the same as, if there is
    one."""
    pairs: list[tuple[_Event | None, _Event | None]] = []
    left = list(then)
    for event in now:
        other = next((o for o in left if _alike(event, o)), None)
        if other is not None:
            left.remove(other)
        pairs.append((event, other))
    return pairs + [(None, other) for other in left]


def _alike(event: _Event, other: _Event) -> bool:
    return event.start <= other.end + APART and other.start <= event.end + APART


def _kind(event: _Event | None, other: _Event | None) -> ChangeKind | None:
    """None: both tell it at the same time and level."""
    if other is None:
        return ChangeKind.NEW
    if event is None:
        return ChangeKind.GONE
    if (event.rang_at is None) is not (other.rang_at is None):
        return ChangeKind.QUIETER if event.rang_at is None else ChangeKind.LOUDER
    if event.told_at != other.told_at:
        return ChangeKind.EARLIER if event.told_at < other.told_at else ChangeKind.LATER
    if event.level != other.level:
        return ChangeKind.LOUDER if event.level > other.level else ChangeKind.QUIETER
    return None
