"""Polymarket: the odds of the next rate decision, from its prices.

The event is found by its series, whose number never changes, and by ``closed=false``, which must be
asked for: without it only decided events come. A slug with the month alone is last year's event.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from streams.events import ContextFact, Ms
from streams.source import SourceSpec
from streams.sources.odds import normalised
from streams.sources.wire import moment, quoted, read_json
from streams.venue import Malformed, Request

SPEC = SourceSpec(
    name="polymarket",
    title="Polymarket",
    rest="https://gamma-api.polymarket.com",
    every_s=600,
    good_for_s=3600,
    requests_per_second=1,
)

_SERIES = ("fomc", 35)
"""The slug and the number of the series."""

_LEG = re.compile(r"[0-9]+\+? bps (decrease|increase)")


class _Leg(msgspec.Struct, rename="camel"):
    group_item_title: Annotated[str, Meta(max_length=60)]
    outcomes: Annotated[str, Meta(max_length=60)]
    outcome_prices: Annotated[str, Meta(max_length=100)]
    best_bid: float | None = None
    best_ask: float | None = None
    active: bool = False
    closed: bool = True
    accepting_orders: bool = False


class _Event(msgspec.Struct, rename="camel"):
    series_slug: str = ""
    end_date: str | None = None
    active: bool = False
    closed: bool = True
    markets: list[_Leg] = []


_decoder = msgspec.json.Decoder(list[_Event])
_texts = msgspec.json.Decoder(list[str])


def requests() -> list[Request]:
    """The decisions that are open."""
    return [Request(path=f"/events?series_id={_SERIES[1]}&closed=false&limit=50")]


def decode(bodies: Sequence[bytes], seen: Ms) -> list[ContextFact]:
    """The odds of the next decision. Malformed if a leg of it is decided, or has no quote."""
    coming = [
        (at, event)
        for event in read_json(_decoder, bodies[0])
        if event.series_slug == _SERIES[0] and event.active and not event.closed
        and (at := moment(event.end_date)) and at > seen
    ]  # fmt: skip
    if not coming:
        raise Malformed("it has no rate decision that is to come")
    at, event = min(coming, key=lambda coming: coming[0])
    return [
        normalised(at, [(_side(leg.group_item_title), _probability(leg)) for leg in event.markets])
    ]


def _side(title: str) -> Literal[-1, 0, 1]:
    if title == "No change":
        return 0
    leg = _LEG.fullmatch(title)
    if leg is None:
        raise Malformed(f"a leg of which nobody knows what it is: {title!r:.70}")
    return -1 if leg[1] == "decrease" else 1


def _probability(leg: _Leg) -> float:
    """The price of "Yes", between the bid and the ask."""
    outcomes, prices = _texts.decode(leg.outcomes), _texts.decode(leg.outcome_prices)
    if sorted(outcomes) != ["No", "Yes"] or len(prices) != 2:
        raise Malformed(f"{leg.group_item_title} has other outcomes than yes and no")
    try:
        price = float(prices[outcomes.index("Yes")])
    except ValueError as error:
        raise Malformed(f"{leg.group_item_title} has no quote, or is decided") from error
    bid, ask = leg.best_bid, leg.best_ask
    open_now = leg.active and leg.accepting_orders and not leg.closed
    if not open_now or bid is None or ask is None or quoted(bid, ask) is None:
        raise Malformed(f"{leg.group_item_title} has no quote, or is decided")
    if not max(bid, 1e-9) <= price <= min(ask, 1 - 1e-9):  # 0 and 1 are what is decided
        raise Malformed(f"{leg.group_item_title} has a price that nobody bids or asks")
    return price
