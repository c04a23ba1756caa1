"""Numbers, levels and frames of the demo's story as text."""

from collections.abc import Iterable

import msgspec

from bot.demo.story.ladder import Level
from bot.demo.story.market import Listed
from streams.events import Ms
from streams.feed.recording import Recorded

Fields = dict[str, object]


def number(value: float, digits: int) -> str:
    """``value`` with ``digits`` after the point, as venues write numbers."""
    return f"{value:.{digits}f}"


def levels(listed: Listed, side: Iterable[Level]) -> list[tuple[str, str]]:
    """Price levels as Binance and Bybit write them."""
    price_digits, size_digits, tick = listed.price_digits, listed.size_digits, listed.tick
    return [(f"{at * tick:.{price_digits}f}", f"{size:.{size_digits}f}") for at, size in side]


def record(
    t: Ms, venue: str, channel: str, message: object, *, topic: str = "", opens: bool = False
) -> Recorded:
    """A recorded frame that holds ``message`` as JSON."""
    return Recorded(
        t=t,
        venue=venue,
        channel=channel,
        frame=msgspec.json.encode(message),
        topic=topic,
        opens=opens,
    )
