"""Forex Factory: the week's announcements, by its calendar, of which it keeps those of weight.

Times are of New York, with their offset. An announcement that moves is moved in the next answer.
What came out is not in it: only what is expected, and what it was before.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from streams.events import ContextFact, Ms, Release
from streams.source import SourceSpec
from streams.sources.wire import moment, read_json
from streams.text import printable
from streams.venue import Malformed, Request

SPEC = SourceSpec(
    name="forexfactory",
    title="Forex Factory",
    rest="https://nfs.faireconomy.media",
    every_s=3600,
    good_for_s=12 * 3600,
    requests_per_second=0.1,
    # a page for people is what others get
    headers={"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Lowtide"},
)

_Text = Annotated[str, Meta(max_length=200)]


class _Row(msgspec.Struct):
    title: _Text
    country: Annotated[str, Meta(min_length=2, max_length=5)]
    date: _Text
    impact: str
    forecast: _Text = ""
    previous: _Text = ""


_decoder = msgspec.json.Decoder(list[_Row])


def requests() -> list[Request]:
    """The calendar of the week."""
    return [Request(path="/ff_calendar_thisweek.json")]


def decode(bodies: Sequence[bytes], seen: Ms) -> list[ContextFact]:
    """The announcements of weight, in their order. Malformed if one has no time."""
    releases: list[Release] = []
    for row in read_json(_decoder, bodies[0]):
        if row.impact != "High":
            continue
        at = moment(row.date)
        if at is None:
            raise Malformed(f"an announcement without a time: {row.date!r:.40}")
        releases.append(
            Release(
                at=at,
                currency=printable(row.country, 5),
                title=printable(row.title, 60),
                forecast=printable(row.forecast, 20),
                previous=printable(row.previous, 20),
            )
        )
    releases.sort(key=lambda release: (release.at, release.currency, release.title))
    return [*releases]
