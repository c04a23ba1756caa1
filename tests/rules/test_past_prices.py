"""What one venue tells wrongly of the past rings nothing, and what is true of it is taken."""

from collections.abc import Callable

from pytest import approx, mark

from rules.alerts import Alert
from rules.engine import Engine
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import InterestHistory, PastInterest, PriceHistory, Tick
from tests.rules.facts import oi, price
from tests.rules.scenes import named, quick_rule

START = 1_790_035_200_000
NOW = START + 26 * HOUR
RULES = [
    named(f"{way}_{window}", quick_rule(f"price_{window}_pct", side, 2 * sign, watch=5 * sign))
    for window in ("1h", "8h", "24h")
    for way, side, sign in (("drop", "below", -1), ("rise", "above", 1))
]
VENUES = ("binance", "bybit", "okx")

Prices = Callable[[int], float]


def true(t: int) -> float:
    """It falls by 0.1 % an hour."""
    return 100.0 * (1 - 0.001 * (t - START) / HOUR)


WRONG: dict[str, Prices] = {
    "another unit": lambda t: 1_000 * true(t),
    "a fifth too high": lambda t: 1.2 * true(t),
    "a fifth too low": lambda t: true(t) / 1.2,
    "of yesterday": lambda t: 130.0,
    "wrong until five hours ago": lambda t: true(t) * (1.3 if t < NOW - 5 * HOUR else 1.0),
    "wrong an hour ago": lambda t: true(t) * (0.7 if abs(t - NOW + HOUR) < 20 * MINUTE else 1.0),
    "without end": lambda t: 1e300,
}


def history(venue: str, prices: Prices, now: int = NOW, every: int = 5 * MINUTE) -> InterestHistory:
    times = range(START + HOUR, now - 2 * MINUTE, every)
    rows = tuple(PastInterest(t, 1_000.0, prices(t)) for t in times)
    about = {"venue": venue, "symbol": "BTCUSDT", "asset": "BTC"}
    return InterestHistory(**about, at=rows[-1].at, seen=now, rows=rows)


def lived(target: Engine, venues: tuple[str, ...], minutes: int, since: int = NOW) -> list[Alert]:
    """What it says while prices stay what they are."""
    alerts: list[Alert] = []
    for now in range(since, since + minutes * MINUTE, 5 * SECOND):
        for venue in venues:
            for event in (price(venue, now, true(NOW)), oi(venue, now + 1, 1_000.0)):
                alerts += [a for a in target.feed(event) if isinstance(a, Alert)]
        alerts += [a for a in target.feed(Tick(seen=now + 2)) if isinstance(a, Alert)]
    return alerts


def fell(target: Engine) -> float | None:
    (value,) = {
        v.value for v in target.standing(with_facts=False).values if v.metric == "price_24h_pct"
    } or {None}
    return value


@mark.parametrize("wrong", WRONG)
@mark.parametrize("liar", ["binance", "okx"])
@mark.parametrize("others", [(), ("bybit",), ("bybit", "okx", "binance")])
def test_one_venue_that_tells_a_wrong_past_rings_nothing(
    wrong: str, liar: str, others: tuple[str, ...]
) -> None:
    """Whoever else tells a past, and in which order."""
    for first in (True, False):
        target = Engine(RULES, VENUES)
        alerts = lived(target, VENUES, 3)
        histories = [history(venue, true) for venue in others if venue != liar]
        histories.insert(0 if first else len(histories), history(liar, WRONG[wrong]))
        for event in histories:
            target.feed(event)
        alerts += lived(target, VENUES, 10, since=NOW + 3 * MINUTE)
        assert alerts == []
        if len(histories) > 2:
            assert fell(target) == approx(-2.4, abs=0.2)
        elif len(histories) == 1:
            assert fell(target) is None


@mark.parametrize("wrong", ["another unit", "a fifth too high", "a fifth too low", "of yesterday"])
def test_one_exchange_alone_has_its_word_if_it_goes_on_in_what_is_live(wrong: str) -> None:
    for venues in (("okx",), ("binance", "binance-coinm")):
        target = Engine(RULES, venues)
        assert lived(target, venues[:1], 3) == []
        target.feed(history(venues[0], WRONG[wrong]))
        assert lived(target, venues[:1], 10, since=NOW + 3 * MINUTE) == []
        assert fell(target) is None
        target.feed(history(venues[0], true))
        assert lived(target, venues[:1], 1, since=NOW + 13 * MINUTE) == []
        assert fell(target) == approx(-2.4, abs=0.2)


def test_two_venues_of_one_exchange_are_one_witness() -> None:
    venues = ("binance", "binance-coinm", "bybit")
    target = Engine(RULES, venues)
    lived(target, venues, 3)
    for venue in venues[:2]:
        target.feed(history(venue, WRONG["a fifth too high"]))
    assert lived(target, venues, 5, since=NOW + 3 * MINUTE) == []
    assert fell(target) is None


@mark.parametrize("late", [1, 60, 119, 130])
def test_what_one_told_waits_two_hours_for_the_other(late: int) -> None:
    target = Engine(RULES, VENUES)
    lived(target, VENUES, 1)
    target.feed(history("binance", true))
    lived(target, VENUES, late, since=NOW + MINUTE)
    now = NOW + (late + 1) * MINUTE
    target.feed(history("okx", lambda t: true(min(t, NOW)), now=now))
    lived(target, VENUES, 1, since=now)
    assert (fell(target) is None) == (late > 120)


def test_a_true_fall_that_two_tell_rings_in_the_first_minute() -> None:
    def crash(t: int) -> float:
        return 130.0 if t < NOW - 40 * MINUTE else true(NOW)

    target = Engine(RULES, VENUES)
    lived(target, VENUES, 3)
    for venue in ("binance", "okx"):
        target.feed(history(venue, crash))
    rang = lived(target, VENUES, 2, since=NOW + 3 * MINUTE)
    assert {alert.rule for alert in rang} == {"drop_1h", "drop_8h", "drop_24h"}


FALLEN = 0.88
"""So much is left since the newest candle: more than fits."""


def fallen_since(shown: float | None = None, venue: str = "binance") -> PriceHistory:
    """A day in which nothing fell, told when the price has fallen since."""
    about = {"venue": venue, "symbol": "BTCUSDT", "asset": "BTC"}
    at, every = NOW - 5 * MINUTE, 5 * MINUTE
    prices = (true(NOW) / FALLEN,) * (25 * 12)
    return PriceHistory(**about, at=at, seen=NOW, every=every, prices=prices, shown=shown)


ALL_DROPS = {"drop_1h", "drop_8h", "drop_24h"}


def test_a_fall_since_the_newest_candle_rings_where_two_exchanges_tell_the_same() -> None:
    target = Engine(RULES, VENUES)
    lived(target, VENUES, 1)
    target.feed(fallen_since())
    assert lived(target, VENUES, 1, since=NOW + MINUTE) == []
    target.feed(fallen_since(venue="okx"))
    assert {alert.rule for alert in lived(target, VENUES, 1, since=NOW + 2 * MINUTE)} == ALL_DROPS


def test_a_fall_since_the_newest_candle_rings_where_the_same_table_shows_it() -> None:
    target = Engine(RULES, ["okx"])
    lived(target, ("okx",), 1)
    for shown in (None, true(NOW) / FALLEN, 0.9 * true(NOW)):
        target.feed(fallen_since(shown, "okx"))
        assert lived(target, ("okx",), 1, since=NOW + MINUTE) == []
    target.feed(fallen_since(1.02 * true(NOW), "okx"))
    assert {alert.rule for alert in lived(target, ("okx",), 1, since=NOW + 2 * MINUTE)} == ALL_DROPS
