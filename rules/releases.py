"""The announcements that move every market: US jobs, US inflation, the Fed's decision. Pure.

They are those of a calendar (``Release``), whose titles are read here. What an announcement brings
at several times of a day (a decision, then a press conference) is one, at the first of them.
"""

import re
from collections.abc import Iterable, Sequence

import msgspec

from rules.alerts import Alert, NearRelease, ReleaseKind
from rules.context import SourceFacts
from streams.durations import HOUR
from streams.events import Ms, Release

NEAR: Ms = HOUR
"""So long before and after an announcement an alert may be of it."""

ONE: Ms = 12 * HOUR
"""What is of one kind within so long is one announcement."""

_TITLES = {
    ReleaseKind.NFP: re.compile(r"non-?farm (employment change|payrolls)", re.IGNORECASE),
    ReleaseKind.CPI: re.compile(r"(core )?cpi [my]/[my]", re.IGNORECASE),
    ReleaseKind.FOMC: re.compile(
        r"federal funds rate|fomc (statement|press conference|economic projections)", re.IGNORECASE
    ),
}
"""Whole titles: minutes of the FOMC decide nothing, and ADP's jobs are not the report's."""


def release_kind(release: Release) -> ReleaseKind | None:
    """Which of them it is; None: none."""
    if release.currency != "USD":
        return None
    title = release.title.strip()
    return next((kind for kind, pattern in _TITLES.items() if pattern.fullmatch(title)), None)


def releases_of(answers: Iterable[SourceFacts]) -> tuple[NearRelease, ...]:
    """Those that calendars have now, each once, in the order of their times."""
    times: list[tuple[Ms, ReleaseKind]] = sorted(
        (fact.at, kind)
        for answer in answers
        for fact in answer.facts
        if isinstance(fact, Release) and (kind := release_kind(fact)) is not None
    )
    releases: list[NearRelease] = []
    for at, kind in times:
        if not any(of.kind is kind and at - of.at <= ONE for of in releases):
            releases.append(NearRelease(kind=kind, at=at))
    return tuple(releases)


def near(releases: Iterable[NearRelease], now: Ms) -> NearRelease | None:
    """The nearest of them within an hour of ``now``; None: there is none."""
    within = [of for of in releases if abs(of.at - now) <= NEAR]
    return min(within, key=lambda of: (abs(of.at - now), of.at), default=None)


def beside_release(alert: Alert, releases: Sequence[NearRelease]) -> Alert:
    """``alert`` with the announcement within an hour of which its episode began, or it is told."""
    began = alert.opened_at if alert.began is None else alert.began
    release = near(releases, began) or near(releases, alert.seen)
    return alert if release is None else msgspec.structs.replace(alert, release=release)
