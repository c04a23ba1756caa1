"""Kalshi: the odds of the next rate decision, from the market's bids and asks.

A leg without anybody who bids has a bid of 0, which is a quote; one without anybody who offers has
an ask of 1 and nothing behind it, which is none.
"""

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
    name="kalshi",
    title="Kalshi",
    rest="https://api.elections.kalshi.com",
    every_s=600,
    good_for_s=3600,
    requests_per_second=1,
)

_SERIES = "KXFEDDECISION"
_Number = Annotated[str, Meta(max_length=20)]


class _Leg(msgspec.Struct):
    ticker: Annotated[str, Meta(max_length=60)]
    status: str = ""
    result: str = ""
    yes_bid_dollars: _Number = ""
    yes_ask_dollars: _Number = ""
    yes_ask_size_fp: _Number = ""


class _Event(msgspec.Struct):
    event_ticker: str
    series_ticker: str = ""
    strike_date: str | None = None
    markets: list[_Leg] = []


class _Answer(msgspec.Struct):
    events: list[_Event]


_decoder = msgspec.json.Decoder(_Answer)


def requests() -> list[Request]:
    """The decisions that are open, with their legs."""
    query = f"series_ticker={_SERIES}&status=open&with_nested_markets=true&limit=200"
    return [Request(path=f"/trade-api/v2/events?{query}")]


def decode(bodies: Sequence[bytes], seen: Ms) -> list[ContextFact]:
    """The odds of the next decision. Malformed if a leg of it is decided, or has no quote."""
    coming = [
        (at, event)
        for event in read_json(_decoder, bodies[0]).events
        if (at := moment(event.strike_date)) and at > seen and event.series_ticker == _SERIES
    ]
    if not coming:
        raise Malformed("it has no rate decision that is to come")
    at, event = min(coming, key=lambda coming: coming[0])
    return [normalised(at, [(_side(leg.ticker), _probability(leg)) for leg in event.markets])]


def _side(ticker: str) -> Literal[-1, 0, 1]:
    """Of what a leg is, by the end of its ticker: C25 a cut, H25 a hike, H0 neither."""
    end = ticker.rpartition("-")[2]
    if not end[1:].isdecimal() or end[:1] not in ("C", "H"):
        raise Malformed(f"a leg of which nobody knows what it is: {ticker!r:.70}")
    return 0 if not int(end[1:]) else -1 if end[0] == "C" else 1


def _probability(leg: _Leg) -> float:
    try:
        bid, ask = float(leg.yes_bid_dollars), float(leg.yes_ask_dollars)
        offered = float(leg.yes_ask_size_fp)
    except ValueError as error:
        raise Malformed(f"{leg.ticker} has no quote, or is decided") from error
    middle = quoted(bid, ask)
    if leg.status != "active" or leg.result or middle is None or not offered > 0:
        raise Malformed(f"{leg.ticker} has no quote, or is decided")
    return middle
