"""When the note before an announcement is due in a chat, and what is remembered of those posted.
Pure.

What is remembered is the announcement and not the time of the note, so that a calendar that is
revised or withdraws it, a step of a clock or a restart posts none twice.
"""

from collections.abc import Iterable, Mapping

import msgspec

from rules.alerts import NearRelease, ReleaseKind
from streams.durations import DAY
from streams.events import Ms

SAME: Ms = 3 * DAY
"""An announcement of a kind so near to one that was told of is that one, moved."""

_KEPT = 1_000
"""Of so many chats and kinds it is remembered which announcement was told of last."""


class ReleaseNotes(msgspec.Struct, frozen=True, kw_only=True):
    """What was posted, as it is kept."""

    posted: Mapping[str, Ms] = {}
    """``nfp <key of a chat>`` → when the last announcement is, or was, that was told of there."""


def due_notes(
    releases: Iterable[NearRelease], lead: Ms, kept: ReleaseNotes, chat: str, now: Ms
) -> list[NearRelease]:
    """The announcements that a chat is to be told of at ``now``, ``lead`` before them or as soon
    after that as can be; never once they are there."""
    due: list[NearRelease] = []
    for release in releases:
        last = kept.posted.get(_key(release.kind, chat))
        is_new = last is None or abs(release.at - last) > SAME
        if is_new and release.at - lead <= now < release.at:
            due.append(release)
    return due


def with_noted(kept: ReleaseNotes, chat: str, releases: Iterable[NearRelease]) -> ReleaseNotes:
    """``kept`` with those of which ``chat`` was told."""
    posted = dict(kept.posted)
    for release in releases:
        key = _key(release.kind, chat)
        posted.pop(key, None)
        posted[key] = release.at
    return ReleaseNotes(posted=dict(list(posted.items())[-_KEPT:]))


def _key(kind: ReleaseKind, chat: str) -> str:
    return f"{kind} {chat}"
