"""A wrong price of some seconds rings neither then nor when a window begins at it."""

from pytest import mark

from rules.engine import Engine
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import AnyEvent, Tick
from tests.rules.facts import START, price
from tests.rules.scenes import quick_rule, run

VENUES = ("binance", "bybit", "hyperliquid")
WRONG = START + 5 * MINUTE
FALL = quick_rule("price_1h_pct", "below", -1, alert=-4, critical=-8)
RISE = quick_rule("price_1h_pct", "above", 1, alert=4, critical=8)


def prices(venues: tuple[str, ...], factor: float, begins: int, seconds: int) -> list[AnyEvent]:
    """All steady, and the first one wrong for some seconds."""
    events: list[AnyEvent] = []
    since = WRONG + begins * SECOND
    for n, t in enumerate(range(START, WRONG + HOUR + 2 * MINUTE, SECOND)):
        near = t < WRONG + MINUTE or t > WRONG + HOUR - MINUTE
        if not near and n % 10:
            continue
        calm = 100 + (n * 7 % 5 - 2) / 50
        for venue in venues:
            wrong = venue == venues[0] and since <= t <= since + seconds * SECOND
            events.append(price(venue, t, calm * (factor if wrong else 1)))
        events.append(Tick(seen=t))
    return events


@mark.parametrize("begins", [0, 3, 9])
@mark.parametrize("seconds", [2, 5, 10, 18])
@mark.parametrize(("rule", "factor"), [(FALL, 1.12), (RISE, 0.88)], ids=["fall", "rise"])
def test_a_wrong_price_at_one_of_two_venues_rings_neither_then_nor_later(
    rule, factor, seconds, begins
):
    assert run(Engine([rule], VENUES), prices(VENUES[:2], factor, begins, seconds)) == []


@mark.parametrize(("rule", "factor"), [(FALL, 1.12), (RISE, 0.88)], ids=["fall", "rise"])
def test_a_wrong_price_of_the_only_venue_is_no_start_of_a_window(rule, factor):
    assert run(Engine([rule], VENUES), prices(VENUES[:1], factor, 3, 10)) == []
