"""Open interest of before a fall, told when it has fallen: believed where two tell it alike."""

import msgspec
from pytest import approx, mark

from rules.engine import Engine
from rules.past_interest import KEPT
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import InterestHistory, PastInterest, Tick
from tests.rules.facts import oi, price
from tests.rules.scenes import quick_rule

NOW = 1_790_035_200_000
RULE = quick_rule("oi_net_24h_pct", "below", -2, watch=-5)
VENUES = ("binance", "binance-coinm", "bybit", "okx")
COINS = 1_000.0
"""What is open at each of them now."""


def history(venue: str, left: float, now: int = NOW, live: float = COINS) -> InterestHistory:
    """A table that knows nothing of a fall to the share ``left``."""
    rows = tuple(
        PastInterest(t, COINS / left) for t in range(now - 25 * HOUR, now - 4 * MINUTE, 5 * MINUTE)
    )
    about = {"venue": venue, "symbol": "BTCUSDT", "asset": "BTC"}
    return InterestHistory(**about, at=rows[-1].at, seen=now, rows=rows, live=live)


def lived(target: Engine, since: int = NOW, minutes: int = 2, venues=VENUES) -> None:
    """All stays as it is."""
    for now in range(since, since + minutes * MINUTE, 10 * SECOND):
        for venue in venues:
            target.feed(price(venue, now, 100.0))
            target.feed(oi(venue, now + 1, COINS))
        target.feed(Tick(seen=now + 2))


def known_of(
    *histories: InterestHistory, target: Engine | None = None, venues: tuple[str, ...] = VENUES
) -> set[str]:
    """Of which venues the day is remembered after these were told."""
    target = target or Engine([RULE], venues)
    lived(target, venues=venues)
    for event in histories:
        target.feed(event)
    now = max([NOW + 2 * MINUTE, *(event.seen for event in histories)])
    lived(target, since=now, venues=venues)
    kinds = (name.partition(":") for name in target.remembered())
    return {name.partition("/")[0] for kind, _, name in kinds if kind == "open_interest"}


def test_what_two_exchanges_tell_alike_of_before_a_crash_is_believed_and_rings() -> None:
    target = Engine([RULE], VENUES[1:])
    histories = [history(v, x) for v, x in zip(VENUES[1:], (0.75, 0.8, 0.85), strict=True)]
    assert known_of(*histories, target=target, venues=VENUES[1:]) == {*VENUES[1:]}
    (standing,) = [v for v in target.standing().values if v.metric == "oi_net_24h_pct"]
    assert standing.value == approx(100 * (3 / (1 / 0.75 + 1 / 0.8 + 1 / 0.85) - 1))


@mark.parametrize("left", [0.88, 0.7, 1.15, 1.5])
def test_what_one_alone_tells_waits_whoever_tells_something_else(left: float) -> None:
    other = 1.15 * left if left < 1 else left / 1.15
    assert known_of(history("okx", left)) == set()
    assert known_of(history("okx", left), history("bybit", 1.0), history("binance", 0.95)) == {
        "bybit", "binance"
    }  # fmt: skip
    assert "okx" not in known_of(history("okx", left), history("bybit", other))


def test_two_venues_of_one_exchange_are_one_witness() -> None:
    assert known_of(history("binance", 0.8), history("binance-coinm", 0.8)) == set()


def test_what_goes_on_in_what_is_live_needs_no_witness() -> None:
    assert known_of(history("okx", 0.92)) == {"okx"}
    assert known_of(history("okx", 0.8), history("okx", 0.95)) == {"okx"}
    assert known_of(history("okx", 0.92), venues=("okx",)) == {"okx"}
    assert known_of(history("okx", 0.8), venues=("okx",)) == set()


@mark.parametrize("late", [10 * MINUTE, KEPT + 5 * MINUTE])
def test_a_word_is_waited_for_and_not_for_ever(late: int) -> None:
    venues = known_of(history("okx", 0.8), history("bybit", 0.8, now=NOW + late))
    assert venues == ({"okx", "bybit"} if late < KEPT else set())


def test_a_restart_between_two_words_forgets_the_first_which_is_told_again() -> None:
    target = Engine([RULE], VENUES)
    lived(target)
    target.feed(history("okx", 0.8))
    again = Engine([RULE], VENUES)
    assert again.load(target.dump()) == ""
    assert known_of(history("bybit", 0.8), target=again) == set()
    assert known_of(history("okx", 0.8), target=again) == {"okx", "bybit"}


@mark.parametrize("live", [0.0, -1.0, float("nan"), float("inf")])
def test_what_is_no_number_of_coins_is_no_witness(live: float) -> None:
    assert "bybit" not in known_of(history("okx", 0.8, live=live), history("bybit", 0.8))


def test_what_an_earlier_role_told_is_taken_as_it_was() -> None:
    event = history("okx", 0.8)
    assert known_of(msgspec.structs.replace(event, live=None)) == {"okx"}
