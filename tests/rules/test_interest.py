"""Open interest that is believed: no ring of a wrong reading now or later, none of a fall missed.

The rules here ring as the shipped ones do, at once, at a fall of 5 % in 15 min.
"""

import gzip
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx, mark

from rules.engine import Engine
from rules.interest import BACK_WITHIN, HELD, LASTS, MAX_AGE, OUT_OF_PROPORTION, Interest
from rules.metrics.open_interest import ALONE
from rules.rule import Rule
from streams.durations import MINUTE, SECOND
from streams.events import AnyEvent, OpenInterest, Tick
from tests.rules.facts import START, Fed, oi, price
from tests.rules.scenes import quick_rule, run

VENUES = ("binance", "bybit", "hyperliquid")
FALL_PCT = -5.0
WINDOW = 15 * MINUTE
RULE = quick_rule("oi_net_15m_pct", "below", -1.0, critical=FALL_PCT)
COINS = 90_000.0
LASTING = 40 * MINUTE
FASTEST, SLOWEST = 5 * SECOND, 60 * SECOND
RATES = [FASTEST, 15 * SECOND, SLOWEST]

Truth = Callable[[str, int], float]
"""The coins that a venue really holds, as a share of ``COINS``, so long after the start."""


def calm(dice: Random) -> Truth:
    """Within 0.3 %, as in a quiet hour."""
    waves = {venue: (dice.uniform(0, 6), dice.uniform(200, 900) * SECOND) for venue in VENUES}

    def share(venue: str, t: int) -> float:
        offset, period = waves[venue]
        return 1 + 0.003 * (2 * abs((offset + t / period) % 1 - 0.5) - 0.5) * 2

    return share


def falling(quiet: Truth, venues: tuple[str, ...], since: int, takes: int, gone: float) -> Truth:
    """Of these venues so much is gone within ``takes``."""

    def share(venue: str, t: int) -> float:
        fallen = 1.0 if t >= since + takes else max(0.0, (t - since) / max(1, takes))
        return quiet(venue, t) * (1 - (gone * fallen if venue in venues else 0.0))

    return share


class Polls:
    """Readings of some venues, each at its own moment of the interval, and what goes wrong."""

    def __init__(self, dice: Random, truth: Truth, venues: tuple[str, ...], every: int) -> None:
        self.dice, self.every = dice, every
        self.readings: dict[str, list[tuple[int, float]]] = {}
        for venue in venues:
            first = dice.randrange(0, every, SECOND)
            times = range(first, LASTING, every)
            self.readings[venue] = [(t, truth(venue, t)) for t in times]

    def spoil(self, since: int = 0, until: int = LASTING) -> "Polls":
        """Wrong readings for less than ``HELD`` in each minute or so, of one venue at a time."""
        dice, minute = self.dice, 3 * MINUTE // 2
        at_once = max(1, -(-HELD // self.every))
        for begins in range(since, until - minute, minute):
            rows = self.readings[dice.choice([*self.readings])]
            places = [n for n, (t, _) in enumerate(rows) if begins <= t < begins + minute // 3]
            burst = places[: dice.randint(0, at_once)]
            how = dice.choice(["factor", "factors", "zero", "stale", "swapped"])
            factor = dice.choice([0.01, 0.3, 0.7, 0.8, 0.93, 1.07, 1.4, 3.0])
            for n in burst:
                t, share = rows[n]
                match how:
                    case "factors":
                        rows[n] = t, share * dice.uniform(0.4, 2.5)
                    case "zero":
                        rows[n] = t, 0.0
                    case "stale":
                        rows[n] = t, rows[max(0, n - dice.randint(1, 30))][1]
                    case "swapped" if n + 1 < len(rows):
                        after = rows[n + 1]
                        rows[n], rows[n + 1] = (t, after[1]), (after[0], share)
                    case _ if dice.random() < 0.7:
                        rows[n] = t, share * factor
                    case _:
                        pass
        return self

    def events(self) -> list[AnyEvent]:
        timed_events: list[tuple[int, AnyEvent]] = []
        for venue, rows in self.readings.items():
            for t, share in rows:
                reading = oi(venue, START + t, COINS * share)
                timed_events += [(t, reading)] * (2 if self.dice.random() < 0.05 else 1)
        timed_events += [(t, Tick(seen=START + t)) for t in range(0, LASTING, SECOND)]
        return [event for _, event in sorted(timed_events, key=lambda row: row[0])]

    def rings(self) -> list[int]:
        """When it rang, since the start."""
        alerts = run(Engine([RULE], VENUES), self.events())
        return [alert.seen - START for alert in alerts if alert.turn.value != "close"]


some_venues = st.sampled_from([VENUES[:1], VENUES[:2], VENUES])


@given(st.integers(0, 2**32), some_venues, st.sampled_from(RATES))
@settings(max_examples=40, deadline=None)
def test_nothing_rings_of_wrong_readings_alone(seed, venues, every):
    dice = Random(seed)
    assert Polls(dice, calm(dice), venues, every).spoil().rings() == []


@given(st.integers(0, 2**32), some_venues, st.sampled_from(RATES), st.floats(0.065, 0.3))
@settings(max_examples=40, deadline=None)
def test_a_fall_rings_in_time_though_readings_are_wrong_before_and_after(seed, venues, every, gone):
    dice = Random(seed)
    since, takes = 20 * MINUTE + dice.randrange(0, MINUTE, SECOND), dice.choice([0, 1, 60, 300])
    truth = falling(calm(dice), venues, since, takes * SECOND, gone)
    polls = Polls(dice, truth, venues, every)
    # not before the first three of the slowest ones, which must agree
    polls.spoil(4 * MINUTE, since - HELD).spoil(since + takes * SECOND + 2 * MINUTE + HELD)
    # when the fall is what rings; then a second reading of two venues, or one held long enough
    crossed = since + round(takes * SECOND * min(1.0, 0.06 / gone))
    one_more = -(-HELD // every) * every if len(venues) == 1 else every
    rings = polls.rings()
    assert rings
    assert since <= rings[0] <= crossed + every + one_more + 3 * SECOND


@given(st.integers(0, 2**32), st.sampled_from(RATES), st.floats(0.2, 0.3))
@settings(max_examples=20, deadline=None)
def test_a_fall_at_one_of_three_venues_rings_when_it_is_held(seed, every, gone):
    dice = Random(seed)
    since = 20 * MINUTE + dice.randrange(0, MINUTE, SECOND)
    polls = Polls(dice, falling(calm(dice), VENUES[:1], since, 0, gone), VENUES, every)
    (ring,) = polls.rings()
    # both ends are taken where the slowest venue is
    assert since + HELD <= ring <= since + 2 * every + -(-HELD // every) * every + 3 * SECOND


@given(st.integers(0, 2**32), st.floats(0.065, 0.3))
@settings(max_examples=30, deadline=None)
def test_a_fall_with_wrong_readings_in_it_rings_soon_after_the_last_of_them(seed, gone):
    dice = Random(seed)
    since = 20 * MINUTE + dice.randrange(0, MINUTE, SECOND)
    polls = Polls(dice, falling(calm(dice), VENUES, since, 0, gone), VENUES, FASTEST)
    rings = polls.spoil(since - 10 * SECOND, since + 90 * SECOND).rings()
    assert rings
    assert since <= rings[0] <= since + 2 * HELD + 4 * FASTEST


def test_a_crash_at_all_venues_rings_with_the_second_reading():
    for gone in (0.07, 0.2, 0.45):
        events: list[AnyEvent] = []
        for t in range(START, START + 21 * MINUTE, SECOND):
            left = COINS * (1 - gone) if t >= START + 20 * MINUTE else COINS
            if t % FASTEST == 0:
                events += [oi(venue, t, left) for venue in VENUES]
            events.append(Tick(seen=t))
        alert = run(Engine([RULE], VENUES), events)[0]
        assert alert.seen - (START + 20 * MINUTE) <= 7 * SECOND
        assert alert.value == approx(-100 * gone)


PATTERNS = {
    "high, ok, high": [98_600, 92_000, 98_600],
    "low, ok, low, ok, low": [85_000, 92_000, 85_000, 92_000, 85_000],
    "two high": [98_600, 98_600],
    "two of three low": [64_400, 92_000, 64_400],
    "low and lower": [64_400, 50_000],
}


@mark.parametrize("every", [*RATES[:2], 10 * SECOND])
@mark.parametrize("pattern", PATTERNS)
def test_a_pattern_of_wrong_readings_rings_neither_now_nor_when_the_window_has_passed(
    pattern, every
):
    readings = [92_000.0] * (20 * MINUTE // every)
    readings += [*PATTERNS[pattern], *[92_000.0] * (20 * MINUTE // every)]
    events = [oi("binance", START + n * every, base) for n, base in enumerate(readings)]
    fed = Fed("oi_net_15m_pct")
    assert {fed.feed(event).value() for event in events} <= {None, 0.0}


def test_wrong_readings_of_twenty_seconds_at_one_venue_do_not_ring():
    for venues in (VENUES[:1], VENUES):
        fed = Fed("oi_net_15m_pct")
        for t in range(0, 40 * MINUTE, FASTEST):
            for venue in venues:
                wrong = venue == "binance" and 20 * MINUTE <= t < 20 * MINUTE + HELD
                fed.feed(oi(venue, START + t, 0.7 * COINS if wrong and t % 15_000 else COINS))
            assert fed.value() in (None, 0.0)


def test_one_venue_counts_as_far_as_the_next_one_goes():
    fed = Fed("oi_net_15m_pct")
    for t in range(START, START + 20 * MINUTE, FASTEST):
        fed.feed(*(oi(venue, t, 1000.0) for venue in VENUES))
    for t in (0, 5):
        left = (900.0, 960.0, 1010.0)
        now = START + 20 * MINUTE + t * SECOND
        fed.feed(*(oi(v, now, x) for v, x in zip(VENUES, left, strict=True)))
    assert fed.value() == approx(100 * (-40 - 40) / 3000)
    assert fed.facts().by_venue_pct == approx({"binance": -4, "bybit": -4, "hyperliquid": 0})


def test_two_contracts_of_one_venue_do_not_confirm_each_other():
    fed = Fed("oi_net_15m_pct")

    def both(t: int, coins: float) -> list[OpenInterest]:
        perpetual = oi("binance", t, coins)
        return [perpetual, msgspec.structs.replace(perpetual, symbol="BTCUSDC")]

    for t in range(START, START + 20 * MINUTE, FASTEST):
        fed.feed(*both(t, 1000.0), oi("bybit", t, 1000.0))
    for t in (0, 5, 10):
        now = START + 20 * MINUTE + t * SECOND
        fed.feed(*both(now, 800.0), oi("bybit", now, 1000.0))
        assert fed.value() == 0


def test_the_first_readings_are_believed_when_they_agree():
    wrong = Interest()
    for n, base in enumerate([64_400.0, 64_400.0, *[92_000.0] * 6]):
        wrong.take(base, START + n * FASTEST)
        assert wrong.steady in (None, 92_000.0)
    assert wrong.steady == 92_000.0


def test_after_a_hole_nothing_is_known_until_it_is_held_again():
    interest = Interest()
    for n in range(10):
        interest.take(1000.0, START + n * FASTEST)
    after = START + 9 * FASTEST + MAX_AGE + 1
    for n, expected in enumerate([None, None, None, None, 970.0]):
        interest.take(970.0, after + n * FASTEST)
        assert interest.steady == expected
    hours = after + 60 * MINUTE
    for n in range(LASTS // FASTEST + 1):
        assert interest.take(97.0, hours + n * FASTEST) is (n == LASTS // FASTEST)
    assert interest.steady == 97.0


def test_what_is_polled_each_five_minutes_is_not_live():
    fed = Fed("oi_net_15m_pct")
    for t in range(START, START + 120 * MINUTE, 5 * MINUTE):
        assert fed.feed(oi("binance", t, 1000.0)).value() is None


def test_a_flood_of_readings_is_remembered_by_the_second():
    interest = Interest()
    for ms in range(0, 120 * SECOND, 20):
        interest.take(1000.0 - ms / MINUTE, START + ms)
    assert len(interest.recent) <= LASTS // SECOND + 2
    assert interest.steady == approx(1000 - 100 / 60, abs=0.02)


@mark.parametrize("asset", ["BTC", "ARB", "WIF"])
def test_recorded_months_ring_as_they_did_without_the_doubt(shared: Path, asset: str):
    path = shared / "history-fine" / "open_interest_5m.csv.gz"
    with gzip.open(path, "rt") as lines:
        rows = [line.split(",") for line in lines]
    samples = [(int(row[0]), float(row[4])) for row in rows if row[2] == asset]
    limit = -2.5
    fed, plain = Fed("oi_net_15m_pct"), dict(samples)
    seen: dict[int, float] = {}
    for (t, base), (later, following) in pairwise(samples):
        if later - t <= 6 * MINUTE:
            for n in range(t, later, MINUTE):
                between = base + (following - base) * (n - t) / (later - t)
                fed.feed(oi("binance", n, between))
                if (value := fed.value()) is not None:
                    seen[n] = value
    naive = {t: 100 * (x / plain[t - WINDOW] - 1) for t, x in samples if t - WINDOW in plain}
    breached = {t for t, value in naive.items() if value <= limit}
    for t in breached:
        assert any(seen.get(t + n * MINUTE, 0) <= limit + 0.3 for n in range(6))
    for t, value in seen.items():
        if value <= limit:
            assert any(
                naive.get(n, 0) <= limit + 0.3 for n in range(t - 6 * MINUTE, t + 6 * MINUTE)
            )
    assert breached


BOTH_SIDES = {
    "out of proportion": [2.2, 0.4],
    "far in proportion": [1.2, 0.8],
    "near": [1.05, 0.95],
    "now and then three": [1.3, 0.5, 0.7],
}


@mark.parametrize(
    # two readings of a minute on one side have held
    ("pattern", "every"),
    [
        (p, every)
        for p in BOTH_SIDES
        for every in RATES
        if len(BOTH_SIDES[p]) == 2 or every < SLOWEST
    ],
)
def test_a_level_with_readings_on_both_sides_alone_is_unknown_after_three_minutes(pattern, every):
    fed, began = Fed("oi_net_15m_pct"), START + 20 * MINUTE
    for t in range(START, began, every):
        fed.feed(oi("binance", t, COINS))
    assert fed.value() == 0
    shares = BOTH_SIDES[pattern]
    for n, t in enumerate(range(began, began + 20 * MINUTE, every)):
        fed.feed(oi("binance", t, COINS * shares[n % len(shares)]))
        if t - began >= MAX_AGE + 2 * every:
            assert fed.value() is None
        elif t - began < MAX_AGE - every:
            assert fed.value() == 0  # known so far, and no move
    (market,) = fed.view
    assert (market.interest.level, market.interest.steady) == (None, None)
    for t in range(began + 20 * MINUTE, began + 50 * MINUTE, every):
        fed.feed(oi("binance", t, 0.98 * COINS))
    assert market.interest.steady == approx(0.98 * COINS)
    assert fed.value() == approx(0)


@mark.parametrize("every", RATES)
@mark.parametrize("wrong", [2.5, 1.3, 0.7, 0.3])
def test_a_level_that_every_other_reading_confirms_stays(wrong, every):
    fed = Fed("oi_net_15m_pct")
    for n, t in enumerate(range(START, START + 40 * MINUTE, every)):
        spoilt = t >= START + 20 * MINUTE and n % 2
        fed.feed(oi("binance", t, COINS * (wrong if spoilt else 1.0)))
        if t >= START + 20 * MINUTE:
            assert fed.value() == 0


def test_since_when_a_level_is_doubted_survives_a_restart_and_a_clock_set_back():
    interest = Interest()
    for n in range(10):
        interest.take(1000.0, START + n * FASTEST)
    doubted = START + 10 * FASTEST
    for n in range(4):
        interest.take(1000.0 * (2.2, 0.4)[n % 2], doubted + n * FASTEST)
    again = msgspec.convert(msgspec.to_builtins(interest), Interest)
    assert (again, again.doubted_since) == (interest, doubted)
    again.take(2200.0, doubted + MAX_AGE)
    assert again.level is None
    interest.set_back(START)
    assert interest.doubted_since == START


def believed(readings: list[tuple[int, float]]) -> dict[int, float]:
    """What share is believed at each reading, in s and shares, after ten minutes of calm."""
    interest = Interest()
    for s in range(-600, 0, 5):
        interest.take(COINS, START + s * SECOND)
    levels: dict[int, float] = {}
    for s, share in readings:
        interest.take(share * COINS, START + s * SECOND)
        levels[s] = (interest.steady or 0.0) / COINS
    return levels


def in_steps(*steps: tuple[int, float], every: int = 5, until: int = 180):
    """Readings of a fall in steps: from when on (s) what share is left."""
    return [(s, [x for at, x in steps if at <= s][-1]) for s in range(0, until, every)]


STEPS = {
    "out of proportion at once": ([(0, 0.94), (19, 0.62)], {15: 1.0, 20: 0.94}),
    "out of proportion later": ([(0, 0.8), (15, 0.5)], {15: 1.0, 20: 0.8, 35: 0.8, 55: 0.5}),
    "three": ([(0, 0.65), (30, 0.4), (60, 0.2)], {35: 1.0, 40: 0.65, 70: 0.4, 100: 0.2}),
    "up": ([(0, 1.06), (15, 1.9)], {15: 1.0, 20: 1.06, 55: 1.9}),
    "up and up": ([(0, 1.6), (30, 2.5), (60, 4.0)], {35: 1.0, 40: 1.6, 70: 2.5, 100: 4.0}),
}


@mark.parametrize("steps", STEPS)
def test_a_move_in_steps_is_believed_as_far_as_all_readings_say(steps):
    readings, expected = STEPS[steps]
    levels = believed(in_steps(*readings))
    assert {s: levels[s] for s in expected} == approx(expected)


@mark.parametrize("share", [0.97, 0.92, 0.8, 1.05, 1.2])
def test_a_slide_is_followed_as_far_as_it_was_twenty_seconds_ago(share):
    levels = believed([(s, share ** (s // 5 + 1)) for s in range(0, 60, 5)])
    for s in range(20, 60, 5):
        assert levels[s] == approx(share ** ((s - 20) // 5 + 1))


@mark.parametrize("share", [0.7, 0.65, 0.3, 1.4, 1.7])
def test_a_slide_in_slow_polls_is_followed_one_poll_behind(share):
    levels = believed([(60 * n, share ** (n + 1)) for n in range(6)])
    assert levels == approx({60 * n: share**n for n in range(6)})


@given(st.integers(0, 2**32), st.sampled_from(RATES), st.sampled_from([0.9, 0.85, 0.7, 0.6, 0.4]))
@settings(max_examples=40, deadline=None)
def test_a_steep_slide_at_one_venue_rings_once_it_is_held(seed, every, share):
    dice = Random(seed)
    since = 20 * MINUTE + dice.randrange(0, MINUTE, SECOND)
    quiet = calm(dice)

    def sliding(venue: str, t: int) -> float:
        steps = 0 if t < since else (t - since) // every + 1
        return quiet(venue, t) * max(0.05, share**steps)

    rings = Polls(dice, sliding, VENUES[:1], every).rings()
    lasts = LASTS if share * OUT_OF_PROPORTION < 1 else HELD
    assert rings
    assert since <= rings[0] <= since + every + -(-lasts // every) * every + 3 * SECOND


@given(st.integers(0, 2**32), st.sampled_from(RATES))
@settings(max_examples=60, deadline=None)
def test_what_is_believed_moves_as_far_as_all_that_was_held_of_late(seed, every):
    """And no further: the mildest of the readings of the last HELD ms, and of the one before."""
    dice, interest = Random(seed), Interest()
    readings: list[tuple[int, float]] = []
    base, until, moves = COINS, START + 3 * MINUTE, 0
    for t in range(START, START + 30 * MINUTE, every):
        if t >= until:
            base, until = COINS * dice.uniform(0.85, 1.2), t + dice.randrange(120) * SECOND
        readings.append((t, base * dice.uniform(0.995, 1.005)))
        before = interest.level
        interest.take(readings[-1][1], t)
        interest.take(0.0, t)  # is no reading
        in_force = max((at for at, _ in readings if at <= t - HELD), default=0)
        held = [x for at, x in readings if at >= in_force]
        if before is not None and interest.level is not None:
            assert interest.level == min(max(before, min(held)), max(held))
            moves += interest.level != before
    assert moves > 1


@mark.parametrize("every", [5, 15])
@mark.parametrize("wrong", [0.3, 0.6, 0.8, 1.3, 3.0])
def test_wrong_readings_with_a_true_one_each_twenty_seconds_move_nothing(every, wrong):
    true_each = -(-20 // every)
    readings = [(s, 1.0 if s // every % true_each == 0 else wrong) for s in range(0, 600, every)]
    assert set(believed(readings).values()) == {1.0}


FOUR = {"binance": 0.4, "bybit": 0.2, "okx": 0.12, "gate": 0.28}
TEN = {
    "binance": 0.3, "bybit": 0.16, "okx": 0.12, "gate": 0.1, "bitget": 0.1, "hyperliquid": 0.08,
    "htx": 0.05, "kraken": 0.04, "deribit": 0.03, "bitfinex": 0.02,
}  # fmt: skip
BEGAN = START + 20 * MINUTE
Shares = Callable[[int], float]
"""A share of what was there before, so many ms after something began."""


def still(t: int) -> float:
    """Nothing happens."""
    return 1.0


def wrong(factor: float, lasts: int) -> Shares:
    """Wrong by a factor for so long."""
    return lambda t: factor if 0 <= t < lasts else 1.0


def fallen(left: float) -> Shares:
    """So much is left, and stays."""
    return lambda t: left if t >= 0 else 1.0


def rung(
    shares: dict[str, Shares],
    prices: Shares = still,
    every: int = 15 * SECOND,
    lasting: int = 45 * MINUTE,
    engine: Engine | None = None,
    since: int = START,
    parts: dict[str, float] = FOUR,
    rule: Rule = RULE,
) -> list[tuple[int, str]]:
    """When it rings, since something began, and of which turn. Exchanges tell each ``every`` what
    they hold, Bybit faster; of Gate nobody knows which sides it counts."""
    events: list[AnyEvent] = []
    for t in range(since, START + lasting, SECOND):
        for n, (venue, part) in enumerate(parts.items()):
            share = shares.get(venue, still)(t - BEGAN)
            events.append(price(venue, t, 90_000.0 * prices(t - BEGAN)))
            if (t // SECOND - n) % (every // SECOND) == 0 or (venue == "bybit" and t % 5000 == 0):
                calm_share = share * (1 + 0.0005 * (t // SECOND % 7 - 3))
                events.append(oi(venue, t, COINS * part * calm_share, one_side=venue != "gate"))
        events.append(Tick(seen=t))
    alerts = run(engine or Engine([rule], [*parts]), events)
    return [(alert.seen - BEGAN, alert.turn.value) for alert in alerts]


@mark.parametrize("every", [FASTEST, 15 * SECOND, SLOWEST])
@mark.parametrize("factor", [10, 2, 1.6, 0.5, 0.1])
def test_an_exchange_wrong_by_a_factor_for_a_minute_rings_neither_now_nor_later(factor, every):
    assert rung({"binance": wrong(factor, 61 * SECOND)}, every=every) == []


@mark.parametrize("venue", ["bybit", "binance"])
@mark.parametrize("lasts", [3 * MINUTE, 12 * MINUTE, 20 * MINUTE])
def test_what_is_too_much_however_long_is_no_fall_when_it_is_mended(venue, lasts):
    assert rung({venue: wrong(10, lasts)}) == []


def test_what_was_too_little_for_long_is_over_when_it_is_mended_and_no_rise_and_fall_later():
    (opened, _), *closed = rung({"binance": wrong(0.1, 5 * MINUTE)})
    assert ALONE - 15 * SECOND <= opened <= ALONE + 30 * SECOND
    assert [turn for _, turn in closed] == ["close"]
    assert closed[0][0] <= 5 * MINUTE + LASTS + 60 * SECOND


@mark.parametrize("every", [FASTEST, 15 * SECOND, SLOWEST])
@mark.parametrize("factor", [0.5, 0.7, 0.8])
def test_too_little_at_one_exchange_for_two_minutes_rings_neither_then_nor_when_it_is_mended(
    factor, every
):
    assert rung({"binance": wrong(factor, 150 * SECOND)}, every=every) == []


@mark.parametrize("factor", [0.5, 0.7])
def test_too_little_at_one_exchange_of_ten_rings_never(factor):
    assert rung({"binance": wrong(factor, 150 * SECOND)}, parts=TEN) == []


@mark.parametrize("restart", [60, 170, 200])
def test_a_doubt_outlives_a_restart(restart):
    first, halfway = Engine([RULE], [*FOUR]), 20 * MINUTE + restart * SECOND
    shares = {"binance": wrong(0.7, 150 * SECOND)}
    assert rung(shares, lasting=halfway, engine=first) == []
    again = Engine([RULE], [*FOUR])
    assert not again.load(first.dump())
    assert rung(shares, engine=again, since=START + halfway) == []


@mark.parametrize("every", [15 * SECOND, SLOWEST])
@mark.parametrize("factor", [1.12, 1.4])
def test_a_little_too_much_at_one_exchange_of_two_is_no_fall_an_hour_later(factor, every):
    alerts = rung(
        {"binance": wrong(factor, 10 * MINUTE)},
        every=every,
        lasting=95 * MINUTE,
        parts={"binance": 0.5, "bybit": 0.5},
        rule=quick_rule("oi_net_1h_pct", "below", -1.0, critical=FALL_PCT),
    )
    assert alerts == []


def test_of_one_exchange_that_nobody_can_gainsay_a_wrong_fall_is_over_when_it_is_mended():
    (opened, _), *more = rung({"binance": wrong(0.7, 150 * SECOND)}, parts={"binance": 1.0})
    assert opened <= HELD + 15 * SECOND
    assert [turn for _, turn in more] == ["close"]
    assert more[0][0] <= 150 * SECOND + HELD + 45 * SECOND


@mark.parametrize("left", [0.8, 0.7])
def test_a_step_of_one_exchange_alone_rings_when_it_has_lasted(left):
    (opened, _), *more = rung({"binance": fallen(left)})
    assert ALONE <= opened <= ALONE + HELD + 30 * SECOND
    assert [turn for _, turn in more] == ["close"]


@mark.parametrize("left", [0.8, 0.7])
@mark.parametrize("prices", [0.98, 1.02])
def test_a_step_of_one_exchange_rings_at_once_where_the_price_moves(left, prices):
    (opened, _), *_ = rung({"binance": fallen(left)}, fallen(prices))
    assert opened <= HELD + 30 * SECOND


def test_a_step_of_one_exchange_rings_at_once_where_another_of_ten_falls_a_bit():
    (opened, _), *_ = rung({"binance": fallen(0.7), "okx": fallen(0.97)}, parts=TEN)
    assert opened <= HELD + 30 * SECOND


def test_a_doubt_ends_as_soon_as_the_price_moves():
    (opened, _), *_ = rung({"binance": fallen(0.7)}, lambda t: 1.0 if t < MINUTE else 0.97)
    assert MINUTE <= opened <= MINUTE + 15 * SECOND


def test_a_slide_of_one_exchange_alone_rings_as_it_goes():
    """By 5 % a minute, of 40 % of all: 5 % of all are gone after 3 minutes."""
    (opened, _), *_ = rung({"binance": lambda t: max(0.5, 1 - 0.05 * max(0, t) / MINUTE)})
    assert opened <= 3 * MINUTE + HELD + 30 * SECOND


@mark.parametrize("wrong_too", [{}, {"kraken": wrong(0.5, 150 * SECOND)}])
def test_ten_per_cent_within_seconds_at_ten_exchanges_rings_within_seconds(wrong_too):
    shares = dict.fromkeys(TEN, fallen(0.9)) | wrong_too
    (opened, _), *_ = rung(shares, fallen(0.9), every=FASTEST, lasting=25 * MINUTE, parts=TEN)
    assert opened <= 7 * SECOND


def test_what_is_opened_and_closed_again_at_once_while_the_price_runs_is_no_error():
    """The fall back to what it was ten minutes before rings, and its window knows the rise."""
    short = quick_rule("oi_net_5m_pct", "below", -1.0, critical=FALL_PCT)

    def flush(t: int) -> float:
        return 1.1 if 0 <= t < 10 * MINUTE else 1.0

    shares = dict.fromkeys(FOUR, flush)
    (opened, _), (closed, turn) = rung(shares, flush, lasting=40 * MINUTE, rule=short)
    assert 10 * MINUTE <= opened <= 10 * MINUTE + HELD + 15 * SECOND
    assert (turn, closed >= opened + 4 * MINUTE) == ("close", True)


def test_what_comes_back_while_the_price_moves_is_no_error():
    interest, still = Interest(), [True]
    for n in range(100):
        still[0] = not 80 <= n < 90
        share = 1.12 if 60 <= n < 80 else 1.0
        interest.take(1000.0 * share, START + n * FASTEST, lambda _: still[0])
        assert interest.error is None
    assert (interest.left, interest.level) == (None, 1000.0)


def test_a_step_that_is_gone_by_half_is_no_error():
    interest = Interest()
    for n in range(60):
        interest.take(1000.0, START + n * FASTEST, bool)
    for share, since in ((0.7, 60), (0.85, 80), (0.97, 100)):
        for n in range(since, since + 20):
            interest.take(1000.0 * share, START + n * FASTEST, bool)
            if interest.error is not None:
                assert (share, interest.error.before) == (0.97, 1000.0)
    assert (interest.left, interest.level) == (None, 970.0)


def test_a_series_is_mended_after_a_restart_in_the_middle():
    first = Engine([RULE], [*FOUR])
    shares = {"binance": wrong(10, 3 * MINUTE)}
    assert rung(shares, lasting=22 * MINUTE, engine=first) == []
    again = Engine([RULE], [*FOUR])
    assert not again.load(first.dump())
    assert rung(shares, engine=again, since=START + 22 * MINUTE) == []


@mark.parametrize("left", [0.6, 0.3])
def test_a_fall_alone_of_one_exchange_is_believed_when_it_has_lasted_longer(left):
    (opened, _), *_ = rung({"binance": fallen(left)})
    assert ALONE - 15 * SECOND <= opened <= ALONE + 30 * SECOND


@mark.parametrize("left", [0.6, 0.3])
@mark.parametrize("prices", [0.98, 1.02])
def test_a_fall_of_one_exchange_rings_as_early_as_before_where_the_price_moves(left, prices):
    (opened, _), *_ = rung({"binance": fallen(left)}, fallen(prices))
    assert opened <= LASTS + 30 * SECOND


@mark.parametrize("other", ["bybit", "okx", "gate"])
def test_a_fall_rings_as_early_as_before_where_another_exchange_falls_too(other):
    (opened, _), *_ = rung({"binance": fallen(0.4), other: fallen(0.95)})
    assert opened <= LASTS + 30 * SECOND


BOTH = {"binance": 0.5, "bybit": 0.5}
"""Of two exchanges nobody knows which is right, so that the price decides."""


@mark.parametrize("every", [FASTEST, 15 * SECOND])
@mark.parametrize("factor", [0.9, 0.7, 0.4])
def test_of_two_exchanges_one_that_is_wrong_alone_rings_nothing(factor, every):
    assert rung({"binance": wrong(factor, 150 * SECOND)}, every=every, parts=BOTH) == []


@mark.parametrize("left", [0.85, 0.4])
def test_of_two_exchanges_a_step_of_one_rings_when_it_has_lasted(left):
    (opened, _), *_ = rung({"bybit": fallen(left)}, parts=BOTH)
    assert ALONE - 15 * SECOND <= opened <= ALONE + HELD + 30 * SECOND


@mark.parametrize("left", [0.85, 0.4])
@mark.parametrize("prices", [0.98, 1.02])
def test_of_two_exchanges_a_step_of_one_rings_at_once_where_the_price_moves(left, prices):
    (opened, _), *_ = rung({"bybit": fallen(left)}, fallen(prices), parts=BOTH)
    assert opened <= LASTS + 30 * SECOND


@mark.parametrize("left", [0.85, 0.4])
def test_of_two_exchanges_a_step_of_one_rings_at_once_where_the_other_falls_too(left):
    (opened, _), *_ = rung({"bybit": fallen(left), "binance": fallen(0.96)}, parts=BOTH)
    assert opened <= LASTS + 30 * SECOND


def test_a_jump_up_that_slides_back_is_a_fall():
    def share(t: int) -> float:
        minutes = t / MINUTE
        return 1.0 if minutes < 0 else 2.0 if minutes < 5 else max(1.0, 2 - (minutes - 5) / 10)

    # once the window begins after the jump
    (opened, _), *_ = rung({"binance": share})
    assert WINDOW <= opened <= WINDOW + LASTS + 30 * SECOND


def test_a_level_that_is_back_after_long_was_none():
    interest = Interest()
    for n in range(60):
        interest.take(1000.0, START + n * FASTEST)
    left = START + 60 * FASTEST
    for t in range(left, left + BACK_WITHIN + MINUTE, FASTEST):
        interest.take(400.0, t)
        assert interest.error is None
    for t in range(left + BACK_WITHIN + MINUTE, left + BACK_WITHIN + 3 * MINUTE, FASTEST):
        interest.take(1000.0, t)
        assert interest.error is None
    assert interest.steady == 1000.0


def test_what_was_written_without_departures_is_read():
    interest = Interest()
    for n in range(10):
        interest.take(1000.0, START + n * FASTEST)
    before = msgspec.to_builtins(interest)[:5]
    assert msgspec.convert(before, Interest) == interest
