"""The moment the product exists for: a market that falls within seconds, told by real sessions.

Frames of each venue → sessions → events → the shipped rules. Times are of events: how long after
the market was beyond a threshold the alert comes.
"""

import pytest

from rules.alerts import Alert, Level, Turn
from streams.events import Kind, Ms
from tests.bot.scenarios.exchanges import PRICE, Crash

ALL = ("binance", "bybit", "hyperliquid")
TWO = ("binance", "hyperliquid")
SECOND: Ms = 1_000

OI_LATE: Ms = 32 * SECOND
"""Binance is polled every 15 s and the middle one of three readings counts."""

MEDIAN: Ms = 31 * SECOND
"""Depth is the median of a minute: half of it must be thin."""

HOLD: Ms = 120 * SECOND
"""``for`` of the shipped depth rule."""

FEW: Ms = 4 * SECOND


def fallen(crash: Crash, percent: float, seconds: float) -> Ms:
    """A fall (or rise) in a line, in which two thirds of all quotes go; when it began."""
    crash.calm()
    began = crash.seen
    crash.depth, crash.long = 0.3, percent < 0
    crash.burst = 200 * 60 / seconds
    crash.play(seconds, price=PRICE * (1 + percent / 100), oi=0.92)
    crash.burst = 0.0
    return began


def opened(crash: Crash) -> Alert:
    (cascade,) = crash.of("cascade", Turn.OPEN)
    return cascade


@pytest.mark.parametrize("venues", [ALL, TWO], ids=["all", "without Bybit"])
@pytest.mark.parametrize(("percent", "seconds"), [(-10, 60), (-3, 10)])
def test_a_fall_is_told_in_time(venues: tuple[str, ...], percent: float, seconds: float) -> None:
    crash = Crash(*venues)
    began = fallen(crash, percent, seconds)
    crash.play(180 - seconds)
    for musd, level in ((40, Level.ALERT), (120, Level.CRITICAL)):
        alert = crash.reached("liq_burst", level)
        assert 0 <= alert.seen - crash.when_liquidated(musd) <= SECOND
    if percent <= -8:
        alert = crash.reached("price_drop", Level.CRITICAL)
        assert abs(alert.seen - crash.when_price(-8)) <= 2 * SECOND
        assert alert.value < -8
    else:
        assert crash.of("price_drop") == []
    alert = crash.reached("oi_drop", Level.CRITICAL)
    assert alert.seen - (began + int(seconds * 1_000 * 5 / 8)) <= OI_LATE
    alert = crash.reached("depth_thin", Level.WATCH)
    assert 0 <= alert.seen - (began + HOLD) <= MEDIAN + FEW
    assert alert.value == pytest.approx(30, abs=1.5)
    assert 0 <= opened(crash).seen - alert.seen <= FEW
    assert opened(crash).level is Level.CRITICAL
    assert crash.notices == []
    for venue in venues:
        assert crash.turns(venue, Kind.DEPTH, began) == []


@pytest.mark.parametrize("venues", [ALL, TWO], ids=["all", "without Bybit"])
def test_a_book_that_nobody_answers_is_unknown_and_not_thin(venues: tuple[str, ...]) -> None:
    """Binance's REST is away for a minute: its book is down, and the rest makes the cascade."""
    crash = Crash(*venues)
    crash.calm(61)
    crash.binance.rest_away = True  # type: ignore[attr-defined]
    began = fallen(crash, -10, 60)
    back = crash.seen
    crash.binance.rest_away = False  # type: ignore[attr-defined]
    crash.play(120)
    assert crash.turns("binance", Kind.DEPTH, began) == [
        (False, "book: beyond what is known"),
        (True, ""),
    ]
    # answers come again: within a wait of few books, and never of a snapshot of before
    again = next(d.seen for d in crash.depths("binance", began) if d.seen > back)
    assert again - back <= 21 * SECOND
    assert 0 <= opened(crash).seen - crash.reached("oi_drop", Level.ALERT).seen <= FEW
