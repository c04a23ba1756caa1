"""The metrics of an asset against naive computation, and the traps of each by hand."""

from itertools import pairwise
from random import Random
from statistics import median

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx, mark, raises

from rules.market import Memory
from rules.metrics import METRICS, metric
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import Kind, Position
from tests.rules.facts import START, Fed, depth, feed, liquidation, oi, predicted, price, settled

VENUES = ("binance", "bybit", "okx")


# ── names ──


@mark.parametrize(
    "name, unit",
    [
        ("funding_8h_pct", "% per 8h"),
        ("funding_predicted_8h_pct", "% per 8h"),
        ("oi_net_15m_pct", "%"),
        ("oi_net_24h_pct", "%"),
        ("depth_10bp_pct_of_normal", "% of normal"),
        ("depth_25bp_pct_of_recent", "% of recent"),
        ("price_24h_pct", "%"),
        ("oi_total_net_1h_pct", "%"),
        ("funding_negative_share_pct", "% of contracts"),
        ("liq_10m_musd", "M USD"),
        ("volatility_7d_pct", "% a year"),
        ("volatility_30d_pct", "% a year"),
        ("liq_total_24h_musd", "M USD a day"),
        ("funding_dispersion_8h_pct", "% per 8h apart"),
        ("drawdown_oi_net_pct", "% from its high"),
        ("drawdown_oi_51to100_net_pct", "% from its high"),
        ("correlation_gap_7d", "ρ"),
        ("stablecoin_usdt_pct", "% from a dollar"),
        ("stablecoin_usdc_pct", "% from a dollar"),
        ("sector_layer2_24h_pct", "% against the market"),
        ("sector_ai_7d_pct", "% against the market"),
        ("support_lost_held", "times held"),
        ("market_cap_24h_pct", "% in 24 h"),
        ("market_cap_fell_through", "round trillions"),
        ("market_cap_rose_through", "round trillions"),
        ("market_cap_trillion_usd", "trillion USD"),
    ],
)
def test_a_name_says_which_metric_it_is(name, unit):
    assert (metric(name).name, metric(name).unit) == (name, unit)


@mark.parametrize(
    "name",
    ["", "oi_net_pct", "oi_net_0m_pct", "oi_net_25h_pct", "oi_net_1d_pct", "oi_net_01h_pct",
     "depth_200bp_pct_of_normal", "depth_bp_pct_of_normal", "liq_10m", "liq_-5m_musd",
     "funding_8h_pct "],
)  # fmt: skip
def test_an_unknown_name_is_answered_with_the_valid_forms(name):
    with raises(ValueError) as error:
        metric(name)
    assert all(form in str(error.value) for form in METRICS)
    assert "10, 25, 50, 100" in str(error.value)


# ── funding ──


def funded(*rates, name="funding_8h_pct"):
    """(venue, open interest in USD, rate, hours), all settled at START."""
    fed = Fed(name)
    for venue, usd, rate, hours in rates:
        fed.feed(feed(venue, Kind.FUNDING, START, True))
        if usd is not None:
            fed.feed(oi(venue, START, usd / 100, usd))
        fed.feed(settled(venue, START, rate, hours), predicted(venue, START, rate, hours))
    return fed


@given(
    st.lists(
        st.tuples(
            st.floats(1e6, 1e10), st.floats(-0.02, 0.02), st.sampled_from([1, 2, 4, 8])
        ),
        min_size=1, max_size=3,
    ),
    st.sampled_from(["funding_8h_pct", "funding_predicted_8h_pct"]),
)  # fmt: skip
def test_funding_is_weighted_by_open_interest_and_put_on_8_hours(rates, name):
    rows = [(venue, *rate) for venue, rate in zip(VENUES, rates, strict=False)]
    total = sum(usd for usd, _, _ in rates)
    naive = sum(usd * rate * 100 * 8 / hours for usd, rate, hours in rates) / total
    reading = funded(*rows, name=name).reading()
    assert reading.value == approx(naive)
    assert reading.floor_musd == approx(total / 1e6)
    assert reading.venues == VENUES[: len(rates)]


def test_a_rate_without_open_interest_has_no_weight():
    assert funded(("binance", None, 0.0001, 8)).reading() is None
    fed = funded(("binance", 1e9, 0.0001, 8), ("bybit", None, -0.01, 8))
    assert fed.value() == approx(0.01)


def test_open_interest_in_coins_is_weighed_at_the_asset_price():
    fed = Fed("funding_8h_pct").feed(*[price("binance", START, 50.0)] * 2)
    fed.feed(oi("binance", START, 10, None), oi("bybit", START, 30, None))
    fed.feed(settled("binance", START, 0.0001), settled("bybit", START, -0.0001))
    assert fed.value() == approx(100 * 8 / 8 * (10 * 0.0001 - 30 * 0.0001) / 40)


CRASHES = [
    # of 100 coins; one USD amount frozen at 100 against others at the new price would say otherwise
    (65, 50.0, True),
    (61, 90.0, True),
    (55, 200.0, False),
    (59, 150.0, False),
]
"""Coins at the venue that is left of two, the price to which it runs, whether they are enough."""


def dropped_out(name, kind, coins, to, told_in_usd):
    """Bybit drops out, then the price runs from 100 to ``to``."""
    fed = Fed(name).feed(*(feed(venue, kind, START, True) for venue in VENUES[:2]))
    for venue, held in (("binance", coins), ("bybit", 100.0 - coins)):
        fed.feed(price(venue, START, 100.0), predicted(venue, START, -0.0001 * len(venue)))
        fed.feed(oi(venue, START, held, held * 100 if told_in_usd else None))
    fed.feed(*(feed("bybit", each, START + 1, False) for each in Kind))
    for second in range(1, 3):  # a jump counts with the second price
        fed.feed(price("binance", START + second * SECOND, to))
    return fed.feed(oi("binance", fed.now, coins, coins * to if told_in_usd else None))


@mark.parametrize(("coins", "to", "enough"), CRASHES)
@mark.parametrize("told_in_usd", [True, False])
def test_a_venue_that_drops_out_of_a_crash_is_weighed_at_the_price_of_now(
    coins, to, enough, told_in_usd
):
    funding = dropped_out("funding_predicted_8h_pct", Kind.FUNDING, coins, to, told_in_usd)
    assert (funding.reading() is not None) is enough
    if enough:
        assert funding.reading().floor_musd == approx(coins * to / 1e6)
    liquidated = dropped_out("liq_10m_musd", Kind.LIQUIDATION, coins, to, told_in_usd)
    assert liquidated.reading().breach_only is not enough


@mark.parametrize("told_in_usd", [True, False])
def test_rates_are_weighed_at_one_price_though_one_venue_tells_no_open_interest(told_in_usd):
    fed = dropped_out("funding_predicted_8h_pct", Kind.FUNDING, 50, 25.0, told_in_usd)
    fed.feed(feed("bybit", Kind.FUNDING, fed.now, True), predicted("bybit", fed.now, -0.0005))
    assert fed.value() == approx(100 * (-0.0007 - 0.0005) / 2)


def test_a_settled_rate_is_stale_ten_minutes_after_the_next_was_due():
    fed = funded(("binance", 1e9, 0.0001, 8))
    assert fed.value(START + 8 * HOUR + 10 * MINUTE) == approx(0.01)
    assert fed.reading(START + 8 * HOUR + 10 * MINUTE + 1) is None


def test_a_settlement_told_again_or_late_changes_nothing():
    fed = funded(("binance", 1e9, 0.0001, 8))
    fed.feed(settled("binance", START, 0.5), settled("binance", START - 8 * HOUR, 0.5))
    assert fed.value() == approx(0.01)


@mark.parametrize(("wrong", "right"), [(1, 8), (8, 1), (4, 8)])
def test_a_settlement_with_the_wrong_interval_is_mended_when_it_is_told_again(wrong, right):
    """-4.80 % for -0.60 % by a listing of another time."""
    fed = funded(("binance", 1e9, -0.006, wrong))
    assert fed.value() == approx(-0.6 * 8 / wrong)
    fed.feed(settled("binance", START, -0.006, right))
    assert fed.value() == approx(-0.6 * 8 / right)
    assert fed.facts().hours == {"binance": right}


def test_settlements_of_different_rounds_are_not_mixed():
    fed = funded(("binance", 1e9, 0.0001, 8), ("bybit", 0.5e9, 0.0001, 8))
    due = START + 8 * HOUR
    fed.feed(settled("binance", due, -0.0003, seen=due + 20 * SECOND))
    assert fed.reading() is None
    fed.feed(settled("bybit", due + 7, 0.0001, seen=due + 50 * SECOND))
    assert fed.value() == approx((1.0 * -0.03 + 0.5 * 0.01) / 1.5)
    assert fed.reading().settled_at == due
    assert fed.reading().interval_ms == 8 * HOUR


def test_an_hourly_venue_does_not_wait_for_the_others():
    fed = funded(("binance", 1e9, 0.0001, 8), ("bybit", 1e9, 0.0001, 1))
    fed.feed(settled("bybit", START + HOUR, -0.0001, 1))
    assert fed.value() == approx((0.01 - 0.08) / 2)


def test_a_venue_that_never_settles_is_left_out_after_ten_minutes():
    fed = funded(("binance", 1e9, 0.0001, 8), ("bybit", 0.5e9, 0.0001, 8))
    due = START + 8 * HOUR
    fed.feed(settled("binance", due, -0.0003))
    reading = fed.reading(due + 11 * MINUTE)
    assert (reading.value, reading.missing) == (approx(-0.03), ("bybit",))


def test_the_settled_rate_stays_while_its_feed_is_down():
    fed = funded(("binance", 1e9, 0.0001, 8), ("bybit", 0.5e9, -0.0001, 8))
    before = fed.value()
    fed.feed(feed("bybit", Kind.FUNDING, START + MINUTE, False))
    assert fed.value() == before
    fed.feed(feed("binance", Kind.FUNDING, START + MINUTE, False))
    assert fed.reading() is None


def test_an_estimate_falls_with_its_feed_or_after_fifteen_minutes():
    rows = (("binance", 1e9, 0.0001, 8), ("bybit", 0.5e9, -0.0001, 8))
    fed = funded(*rows, name="funding_predicted_8h_pct")
    assert fed.reading(START + 15 * MINUTE) is not None
    assert fed.reading(START + 15 * MINUTE + 1) is None
    fed.feed(feed("bybit", Kind.FUNDING, START + MINUTE, False))
    assert (fed.value(), fed.reading().missing) == (approx(0.01), ("bybit",))
    fed.feed(predicted("bybit", START + 2 * MINUTE, -0.0001))
    assert fed.reading().missing == ()


def test_less_than_sixty_per_cent_of_open_interest_says_nothing():
    fed = funded(("binance", 1e9, 0.0001, 8), ("bybit", 0.5e9, 0.0001, 1))
    assert fed.value(START + 2 * HOUR) == approx(0.01)
    fed = funded(("binance", 0.5e9, 0.0001, 8), ("bybit", 0.5e9, 0.0001, 1))
    assert fed.reading(START + 2 * HOUR) is None


def test_funding_facts_name_each_venue():
    facts = funded(("binance", 1e9, 0.0001, 8), ("bybit", 1e9, -0.0001, 4)).facts()
    assert facts.by_venue_pct_8h == approx({"binance": 0.01, "bybit": -0.02})
    assert facts.hours == {"binance": 8, "bybit": 4}
    assert facts.predicted_pct_8h == approx(-0.005)


def test_the_neutral_rate_is_normal():
    assert metric("funding_8h_pct").distance(0.01) == 0
    assert metric("funding_8h_pct").distance(-0.01) == approx(0.02)


# ── open interest ──


def believed(samples):
    """What has been held for 20 s, at each reading from which on that is known."""
    levels, run, level = [], [], None
    for t, base in samples:
        if run and t - run[-1][0] > 180_000:
            run = []
        run.append((t, base))
        before = [row for row in run if row[0] <= t - 20_000][-1:]
        if not before or (level is None and len(run) < 3):
            continue
        window = [x for at, x in run if at >= before[0][0]]
        if level is None:
            first = sorted(x for at, x in run if at >= min(before[0][0], run[-3][0]))
            if first[-1] > 1.02 * first[0]:
                continue
            level = first[len(first) // 2]
        level = min(max(level, min(window)), max(window))
        levels.append((t, level))
    return levels


def confirmed(recent, held, latest):
    """Coins of each venue: as far as another venue goes the same way, not what is held alone."""
    coins = {}
    shown = {venue: latest[venue] / recent[venue] for venue in held}
    for venue, base in held.items():
        others = [x for v, x in shown.items() if v != venue]
        now, then = shown[venue], base / recent[venue]
        if others and now < then:
            then = min(then, max(now, min(others)))
        elif others:
            then = max(then, min(now, max(others)))
        coins[venue] = then * recent[venue]
    return coins


def late(samples, now):
    """Silent for 40 s longer than between its readings of the 40 s before the last."""
    last, run = samples[-1][0], samples[-1:]
    for sample in reversed(samples[:-1]):
        if run[0][0] - sample[0] > 180_000 or (run[0][0] <= last - 40_000 and len(run) >= 3):
            break
        run = [sample, *run]
    gaps = [b[0] - a[0] for a, b in pairwise(run)]
    return now - last - 40_000 > max(gaps, default=0)


def naive_oi(by_venue, down, now, window):
    """by_venue: venue → [(time, coins)]. The definition, written down once more."""
    rows = {venue: believed(samples) for venue, samples in by_venue.items()}
    fresh = {v: s for v, s in rows.items() if s and v not in down and now - s[-1][0] <= 180_000}
    prompt = {v: s for v, s in fresh.items() if not late(by_venue[v], now)}
    value = naive_change(by_venue, rows, prompt, window)
    return naive_change(by_venue, rows, fresh, window) if value is None else value


def naive_change(by_venue, rows, fresh, window):
    """The same, with the end where all these have been heard."""
    if not fresh:
        return None
    end = min(samples[-1][0] for samples in fresh.values())
    before, after, latest, recent = {}, {}, {}, {}
    for venue, samples in fresh.items():
        first = [row for row in samples if row[0] <= end - window][-1:]
        last = [row for row in samples if row[0] <= end][-1:]
        if first and last and end - window - first[0][0] <= 180_000 >= end - last[0][0]:
            before[venue], after[venue] = first[0][1], last[0][1]
            near = [row for row in samples if row[0] <= end - 120_000][-1:]
            good = near and end - 120_000 - near[0][0] <= 180_000
            recent[venue] = near[0][1] if good else before[venue]
            three = by_venue[venue][-3:]
            whole = len(three) == 3 and all(b[0] - a[0] <= 180_000 for a, b in pairwise(three))
            latest[venue] = median(base for _, base in three) if whole else after[venue]
    after = sum(confirmed(recent, after, latest).values())
    if not before:
        return None
    # what is lost is compared with the others at its own last moment
    left_out = 0.0
    for venue in [v for v in by_venue if by_venue[v] and v not in before]:
        at, coins = rows[venue][-1] if rows[venue] else (end, by_venue[venue][-1][1])
        beside = 0.0
        for v, first in before.items():
            then = [x for t, x in rows[v] if at - window <= t <= at][-1:]
            beside += then[0] if then and at >= end - window else first
        left_out += coins / beside
    return 100 * (after / sum(before.values()) - 1) if 0.6 * (1 + left_out) <= 1 else None


@given(st.integers(0, 2**32), st.sampled_from([5, 15]))
@settings(max_examples=60, deadline=None)
def test_open_interest_against_naive(seed, minutes):
    dice, fed = Random(seed), Fed(f"oi_net_{minutes}m_pct")
    rows, down = {venue: [] for venue in VENUES}, set()
    weights = {venue: dice.choice([1, 3, 10]) for venue in VENUES}
    now, fall = START, START + dice.randint(20, 60) * MINUTE
    for _ in range(120):
        now += dice.randint(4, 60) * SECOND if dice.random() < 0.97 else 6 * MINUTE
        venue = dice.choice(VENUES)
        if dice.random() < 0.06:
            fed.feed(feed(venue, Kind.OPEN_INTEREST, now, False))
            down.add(venue)
        else:
            base = weights[venue] * dice.uniform(985, 1000) * (0.95 if now > fall else 1)
            fed.feed(oi(venue, now, base))
            rows[venue].append((now, base))
            down.discard(venue)
        expected = naive_oi(rows, down, now, minutes * MINUTE)
        assert fed.value() == (None if expected is None else approx(expected))


def held(fed, venue, since, until, base, every=15 * SECOND):
    """Open interest told from ``since`` to ``until``, the same coins each time."""
    return fed.feed(*(oi(venue, t, base) for t in range(since, until + 1, every)))


def test_a_fall_of_price_alone_is_no_change():
    fed = Fed("oi_net_1h_pct")
    for second in range(0, 3700, 10):
        now = START + second * SECOND
        fed.feed(price("binance", now, 100 - second / 100))
        fed.feed(oi("binance", now, 5000, usd=5000 * (100 - second / 100)))
    assert fed.value() == 0
    facts = fed.facts()
    assert facts.net_usd == 0
    assert facts.price_usd == approx(5000 * -36, rel=0.01)


def test_net_and_price_effect_add_up_to_the_change_in_usd():
    fed = Fed("oi_net_15m_pct").feed(*[price("binance", START, 100.0)] * 2)
    held(fed, "binance", START, START + 14 * MINUTE, 1000)
    fed.feed(price("binance", START + 15 * MINUTE, 92.0), oi("binance", START + 15 * MINUTE, 900))
    end = START + 15 * MINUTE + 30 * SECOND
    fed.feed(price("binance", end, 90.0), oi("binance", end, 900))
    facts = fed.facts()
    assert (facts.before_base, facts.after_base) == (1000, 900)
    assert (facts.net_usd, facts.price_usd) == (-10_000, -9_000)
    assert facts.net_usd + facts.price_usd == 900 * 90 - 1000 * 100
    assert fed.reading().floor_musd == approx(0.1)


def test_a_venue_that_joins_is_on_neither_side():
    fed = Fed("oi_net_15m_pct")
    held(fed, "binance", START, START + 20 * MINUTE, 1000)
    held(fed, "bybit", START + 12 * MINUTE, START + 20 * MINUTE, 500)
    reading = fed.reading()
    assert (reading.value, reading.venues, reading.missing) == (0, ("binance",), ("bybit",))


def test_most_of_the_open_interest_must_be_on_both_sides():
    fed = Fed("oi_net_15m_pct")
    held(fed, "binance", START, START + 20 * MINUTE, 500)
    held(fed, "bybit", START + 12 * MINUTE, START + 20 * MINUTE, 500)
    assert fed.reading() is None


def test_both_ends_are_taken_where_the_slowest_venue_is():
    fed = Fed("oi_net_15m_pct")
    for t in range(START, START + 20 * MINUTE + 1, 15 * SECOND):
        fed.feed(oi("binance", t, 1000), *[oi("bybit", t, 900)] * (t <= START + 19 * MINUTE))
    for second in range(5, 31, 5):
        fed.feed(oi("binance", START + 20 * MINUTE + second * SECOND, 700))
    assert fed.value() == 0


POLL = 15 * SECOND


def polled(readings, every=POLL):
    """The values of ``oi_net_15m_pct`` after each reading of Binance's open interest."""
    fed = Fed("oi_net_15m_pct")
    return [
        fed.feed(oi("binance", START + n * every, base)).value() for n, base in enumerate(readings)
    ]


@mark.parametrize("stray", [98_600, 85_000, 180_000, 47_000, 1, 0, 9e12])
@mark.parametrize("every", [5 * SECOND, POLL, 60 * SECOND])
def test_one_reading_that_is_wrong_is_no_change_now_nor_when_the_window_has_passed(stray, every):
    readings = [92_000.0] * 300
    readings[100] = stray
    assert set(polled(readings, every)) <= {None, 0.0}


@mark.parametrize("base", [85_800, 98_600])
def test_a_real_change_of_the_only_venue_counts_once_it_is_held(base):
    values = polled([92_000.0] * 100 + [base] * 20)
    assert values[100] == values[101] == 0
    assert values[102] == approx(100 * (base - 92_000) / 92_000)
    fast = polled([92_000.0] * 200 + [base] * 20, 5 * SECOND)
    assert fast[203] == 0
    assert fast[204] == values[102]
    # and is gone when the window has passed it
    assert polled([92_000.0] * 100 + [base] * 70)[-1] == 0


@mark.parametrize("wrong", [0.0, 12.0, 30_000.0, 41_400.0, 50_600.0, 200_000.0])
def test_readings_out_of_proportion_must_last_forty_seconds(wrong):
    calm = [92_000.0] * 200
    for lasts in (4, 7):  # readings, 5 s apart
        assert set(polled([*calm, *[wrong] * lasts, *calm], 5 * SECOND)) <= {None, 0.0}
    lasting = polled([*calm, *[wrong] * 36], 5 * SECOND)
    assert set(lasting[200:208]) == {0.0}
    # a zero is no open interest; anything else is one when it stays
    assert lasting[208] == (0.0 if wrong == 0 else approx(100 * (wrong - 92_000) / 92_000))


@mark.parametrize("left", [0.39, 0.6, 0.9])
def test_a_fall_that_slow_polls_show_counts_one_poll_later(left):
    values = polled([10_000.0] * 40 + [10_000.0 * left] * 3, 60 * SECOND)
    assert values[40] == 0
    assert values[41] == values[42] == approx(-100 * (1 - left))


@mark.parametrize("every", [5, 15, 60])
def test_a_fall_of_eight_per_cent_in_ten_minutes_is_followed_what_must_be_held_behind(every):
    fall = [10_000.0 * (1 - 0.08 * s / 600) for s in range(0, 601, every)]
    values = polled([10_000.0] * (1200 // every) + fall, every * SECOND)[-len(fall) :]
    behind = -(-20 // every)
    for n in range(behind, len(fall)):
        assert values[n] == approx(fall[n - behind] / 100 - 100, abs=1e-9)


def test_a_venue_whose_open_interest_stays_zero_is_left_out():
    fed = Fed("oi_net_15m_pct")
    held(fed, "binance", START, START + 20 * MINUTE, 1000)
    held(fed, "bybit", START, START + 15 * MINUTE, 500)
    held(fed, "bybit", START + 15 * MINUTE + POLL, START + 20 * MINUTE, 0)
    reading = fed.reading()
    assert (reading.value, reading.missing) == (0, ("bybit",))


# ── depth ──


def naive_depth(rows, ups, now):
    """rows: venue → [(time, usd)]; ups: venue → up since, or None while down."""
    current = normal = usual = 0.0
    for venue, samples in rows.items():
        by_minute: dict[int, list[tuple[int, float]]] = {}
        for t, usd in samples:
            by_minute.setdefault(t // MINUTE, []).append((t, usd))
        closed = [
            median(usd for _, usd in points)
            for minute, points in by_minute.items()
            if minute != samples[-1][0] // MINUTE
            and len(points) >= 3
            and points[-1][0] - points[0][0] >= 10 * SECOND
        ]
        if len(closed) < 30:
            continue
        usual += median(closed)
        last = [(t, usd) for t, usd in samples if t > now - MINUTE]
        holes = [b for (a, _), (b, _) in pairwise(samples) if b - a > 30 * SECOND]
        unbroken_since = holes[-1] if holes else samples[0][0]
        if (
            ups[venue] is not None
            and now - min(ups[venue], unbroken_since) >= MINUTE
            and len(last) >= 3
            and last[-1][0] - last[0][0] >= 10 * SECOND
            and now - last[-1][0] <= 30 * SECOND
        ):
            current += median(usd for _, usd in last)
            normal += median(closed)
    return 100 * current / normal if normal and normal >= 0.6 * usual else None


@given(st.integers(0, 2**32))
@settings(max_examples=12, deadline=None)
def test_depth_against_naive(seed):
    dice, fed = Random(seed), Fed("depth_100bp_pct_of_recent")
    rows, ups = {venue: [] for venue in VENUES[:2]}, dict.fromkeys(VENUES[:2])
    now, known = START, 0
    for n in range(700):
        now += dice.randint(1, 5) * SECOND if n % 90 else dice.randint(1, 100) * SECOND
        venue = "binance" if dice.random() < 0.6 else "bybit"
        if n > 550 and dice.random() < 0.02:
            fed.feed(feed(venue, Kind.DEPTH, now, False))
            ups[venue] = None
        else:
            usd, covered = dice.uniform(1e6, 2e6), dice.random() > 0.05
            fed.feed(depth(venue, now, usd, covered))
            if covered:
                rows[venue].append((now, usd))
            ups[venue] = now if ups[venue] is None else ups[venue]
        if n > 450:
            expected = naive_depth(rows, ups, now)
            known += expected is not None
            assert fed.value() == (None if expected is None else approx(expected))
    assert known


def booked(fed, since, until, every=10 * SECOND, **usd):
    """Books of the venues named, from ``since`` to ``until``."""
    for t in range(since, until + 1, every):
        fed.feed(*(depth(venue, t, x) for venue, x in usd.items()))
    return fed


def test_there_is_no_normal_before_thirty_minutes():
    fed = booked(Fed("depth_100bp_pct_of_recent"), START, START + 30 * MINUTE - SECOND, binance=5e6)
    assert fed.reading() is None
    booked(fed, START + 30 * MINUTE, START + 30 * MINUTE, binance=5e6)
    assert fed.value() == approx(100)


def test_half_the_books_half_the_depth():
    fed = Fed("depth_100bp_pct_of_recent")
    booked(fed, START, START + 40 * MINUTE, binance=60e6, bybit=20e6)
    booked(fed, START + 40 * MINUTE + SECOND, START + 42 * MINUTE, binance=30e6, bybit=10e6)
    reading, facts = fed.reading(), fed.facts()
    assert (reading.value, reading.floor_musd) == (approx(50), approx(40))
    assert (facts.bid_usd, facts.ask_usd, facts.normal_usd) == approx((20e6, 20e6, 80e6))
    assert facts.by_venue_pct == approx({"binance": 50, "bybit": 50})
    assert (facts.live, facts.expected, facts.spread_bp) == (2, 2, 0.4)


def test_one_pulled_quote_is_not_a_thin_book():
    fed = booked(Fed("depth_100bp_pct_of_recent"), START, START + 40 * MINUTE, binance=5e6)
    fed.feed(depth("binance", fed.now + SECOND, 1e6))
    assert fed.value() == approx(100)


def test_a_book_that_is_gone_leaves_both_sides():
    fed = Fed("depth_100bp_pct_of_recent")
    booked(fed, START, START + 40 * MINUTE, binance=60e6, bybit=20e6)
    fed.feed(feed("bybit", Kind.DEPTH, fed.now + SECOND, False))
    reading = fed.reading()
    assert (reading.value, reading.venues, reading.missing) == (
        approx(100), ("binance",), ("bybit",)
    )  # fmt: skip
    fed.feed(feed("binance", Kind.DEPTH, fed.now + SECOND, False))
    assert fed.reading() is None


def test_less_than_sixty_per_cent_of_the_usual_depth_says_nothing():
    fed = Fed("depth_100bp_pct_of_recent")
    booked(fed, START, START + 40 * MINUTE, binance=50e6, bybit=50e6)
    fed.feed(feed("bybit", Kind.DEPTH, fed.now + SECOND, False))
    assert fed.reading() is None


def test_a_book_that_stops_covering_the_band_is_invalid_not_thin():
    fed = booked(Fed("depth_100bp_pct_of_recent"), START, START + 40 * MINUTE, binance=5e6)
    for second in range(1, 61):
        fed.feed(depth("binance", START + 40 * MINUTE + second * SECOND, 1e5, covered=False))
        assert fed.value() in (None, approx(100))
    assert fed.reading() is None


@mark.parametrize("away_s", [31, 45, 300])
def test_a_book_that_comes_back_warms_up_for_a_minute(away_s):
    down = START + 40 * MINUTE
    fed = booked(Fed("depth_100bp_pct_of_recent"), START, down, binance=5e6)
    up = down + away_s * SECOND
    fed.feed(feed("binance", Kind.DEPTH, up - SECOND, False), feed("binance", Kind.DEPTH, up, True))
    booked(fed, up, up + 59 * SECOND, every=SECOND, binance=5e6)
    assert fed.reading() is None
    fed.feed(depth("binance", up + MINUTE, 5e6))
    assert fed.value() == approx(100)


@mark.parametrize("away_s", [2, 8, 30])
def test_a_book_that_was_away_for_some_seconds_counts_at_once_and_goes_on_counting(away_s):
    """It was crossed in the middle of a fall: that is no reason to wait a minute longer."""
    down = START + 40 * MINUTE
    fed = booked(Fed("depth_100bp_pct_of_recent"), START, down, every=SECOND, binance=5e6)
    fed.feed(feed("binance", Kind.DEPTH, down + SECOND, False))
    assert fed.reading() is None
    up = down + away_s * SECOND
    fed.feed(feed("binance", Kind.DEPTH, up, True))
    for second in range(90):
        fed.feed(depth("binance", up + second * SECOND, 1e6))
        assert fed.value() in (approx(100), approx(20), approx(60))
    assert fed.value() == approx(20)


def test_normal_forgets_after_four_hours():
    fed = booked(Fed("depth_100bp_pct_of_recent"), START, START + HOUR, binance=9e6)
    booked(fed, START + HOUR + SECOND, START + 6 * HOUR, every=15 * SECOND, binance=5e6)
    assert fed.facts().normal_usd == approx(5e6)


def test_a_book_that_was_empty_is_not_divided_by():
    fed = booked(Fed("depth_100bp_pct_of_recent"), START, START + 40 * MINUTE, binance=0.0)
    assert fed.reading() is None


# ── liquidations ──


@given(
    st.lists(
        st.tuples(
            st.integers(0, 240), st.sampled_from(VENUES[:2]), st.sampled_from(Position),
            st.floats(0.01, 5e7),
        ),
        max_size=80,
    )
)  # fmt: skip
@settings(deadline=None)
def test_liquidations_against_naive(orders):
    fed, rows, now = Fed("liq_10m_musd"), [], START
    fed.feed(*(feed(venue, Kind.LIQUIDATION, START, True) for venue in VENUES[:2]))
    for gap, venue, position, usd in orders:
        now += gap * 250
        throttled = venue == "binance"
        fed.feed(liquidation(venue, now, usd, position, at_price=usd / 7, throttled=throttled))
        rows.append((now, venue, position, usd))
        inside = [row for row in rows if row[0] > now - 10 * MINUTE]
        assert fed.value() == approx(sum(row[3] for row in inside) / 1e6, abs=1e-6)
        facts = fed.facts()
        longs = [row for row in inside if row[2] is Position.LONG]
        assert facts.long_usd == approx(sum(row[3] for row in longs), abs=1)
        assert fed.reading().longs == approx(facts.long_usd / 1e6)
        assert facts.long_usd + facts.short_usd == approx(fed.value() * 1e6)
        assert facts.orders == len(inside)
        assert facts.largest_usd == max(row[3] for row in inside)
        assert facts.largest_price == approx(facts.largest_usd / 7)
        busy = {row[0] // 1000 for row in inside if row[1] == "binance"}
        if busy:
            assert facts.saturation_pct == {"binance": approx(100 * len(busy) / 600)}


def test_silence_is_a_live_zero():
    fed = Fed("liq_10m_musd").feed(feed("binance", Kind.LIQUIDATION, START, True))
    fed.feed(oi("binance", START, 10, 1e9))
    assert fed.value(START + 5 * HOUR) == 0


def test_a_burst_leaves_the_window():
    fed = Fed("liq_10m_musd").feed(liquidation("binance", START, 2e6))
    assert fed.value(START + 10 * MINUTE - 1) == 2
    assert fed.value(START + 10 * MINUTE) == 0


def test_a_venue_that_gives_no_liquidations_is_named_not_missed():
    fed = Fed("liq_10m_musd").feed(feed("binance", Kind.LIQUIDATION, START, True))
    fed.feed(oi("binance", START, 10, 1e9), oi("hyperliquid", START, 10, 9e9))
    fed.feed(liquidation("binance", START, 5e6))
    assert (fed.value(), fed.reading().missing) == (5, ())
    assert fed.facts().not_available == ("hyperliquid",)
    assert fed.facts().oi_pct == approx(100 * 5e6 / 10e9)


def test_liquidations_are_no_share_of_an_open_interest_that_lacks_theirs():
    """5 M USD of two venues where one holds 10 M and nobody knows what the other one does."""
    fed = Fed("liq_10m_musd").feed(oi("binance", START, 1e6, 1e7))
    fed.feed(liquidation("binance", START, 1e6))
    assert fed.facts().oi_pct == approx(10)
    fed.feed(liquidation("bybit", START, 4e6))
    assert (fed.value(), fed.facts().oi_pct) == (5, None)
    fed.feed(oi("bybit", START, 4e6, 4e7))
    assert fed.facts().oi_pct == approx(10)


def test_no_venue_that_gives_liquidations_says_nothing():
    assert Fed("liq_10m_musd").feed(oi("hyperliquid", START, 10, 9e9)).reading() is None


def lost(binance_usd, bybit_usd):
    fed = Fed("liq_10m_musd")
    for venue, usd in (("binance", binance_usd), ("bybit", bybit_usd)):
        fed.feed(feed(venue, Kind.LIQUIDATION, START, True))
        fed.feed(oi(venue, START, 10, usd), liquidation(venue, START, 1e6))
    return fed.feed(feed("bybit", Kind.LIQUIDATION, START + 1, False))


def test_a_sum_without_a_venue_is_a_lower_bound():
    reading = lost(7e9, 3e9).reading()
    assert (reading.value, reading.missing, reading.lower_bound) == (1, ("bybit",), True)


def test_a_longer_window_holds_at_least_what_a_shorter_one_inside_it_has_seen():
    """Rules that are loaded anew may ask for a window of which nothing was kept before."""
    short, long = metric("liq_10m_musd"), metric("liq_1h_musd")
    keeps = {keep.name: keep for liq_metric in (short, long) for keep in liq_metric.keeps()}
    memory = Memory(("binance",), HOUR, keeps)
    market = memory.meet(memory.view("BTC"), "binance", "BTCUSDT")
    market.data(Kind.LIQUIDATION, START)
    for usd, position in ((8e7, Position.LONG), (3e7, Position.SHORT)):
        short.take(market, liquidation("binance", START, usd, position), START)
    late = liquidation("binance", START + MINUTE, 6e7)
    for liq_metric in (short, long):
        liq_metric.take(market, late, START + MINUTE)
    view = memory.view("BTC")
    values = [liq_metric.value(view, START + MINUTE) for liq_metric in (short, long)]
    assert [(reading.value, reading.longs) for reading in values] == [(170, 140), (170, 140)]
    # what the short one has forgotten nobody knows
    later = [liq_metric.value(view, START + 11 * MINUTE).value for liq_metric in (short, long)]
    assert later == [0, 60]


def test_a_throttled_feed_is_never_more_than_full():
    fed = Fed("liq_1m_musd").feed(feed("binance", Kind.LIQUIDATION, START, True))
    # an order in each second, and the sum's slots may hold one second more than the window
    for second in range(200):
        now = START + second * SECOND + (900 if second % 2 else 0)
        fed.feed(liquidation("binance", now, 1e3, throttled=True))
    assert fed.facts().saturation_pct == {"binance": 100}
    seconds = Fed("liq_1m_musd").feed(feed("okx", Kind.LIQUIDATION, START, True))
    for second in range(61):
        seconds.feed(liquidation("okx", START + second * SECOND, 1e3, throttled=True))
    # 61 seconds touch a window of 60
    assert seconds.facts(START + 60 * SECOND - 1).saturation_pct == {"okx": 100}


def test_only_a_throttled_feed_is_full_whatever_its_name():
    fed = Fed("liq_1m_musd")
    fed.feed(*(feed(venue, Kind.LIQUIDATION, START, True) for venue in ("binance", "new")))
    for second in range(30):
        for venue in ("binance", "new"):
            now = START + second * SECOND
            fed.feed(liquidation(venue, now, 1e3, throttled=venue == "new"))
    assert fed.facts().saturation_pct == {"new": 50}


def test_after_a_restart_it_is_known_which_feed_is_throttled():
    memory, again = Memory([], HOUR, {}), Memory([], HOUR, {})
    for venue in ("new", "whole"):
        event = liquidation(venue, START, 1e3, throttled=venue == "new")
        memory.meet(memory.view("BTC"), venue, "BTCUSDT").take(event, START)
    again.load(memory.dump(), ["BTC"], START, [])
    assert {m.venue: m.throttled for m in again.view("BTC")} == {"new": True, "whole": False}


@mark.parametrize("share, enough", [(5.999e9, False), (6e9, True), (6.001e9, True)])
def test_exactly_sixty_per_cent_of_the_givers_is_enough(share, enough):
    assert lost(share, 10e9 - share).reading().breach_only is not enough


def test_less_than_sixty_per_cent_of_the_givers_can_only_prove_a_breach():
    # also one of two, since the size of one is unknown
    for binance_usd in (5e9, None):
        reading = lost(binance_usd, 5e9).reading()
        assert (reading.value, reading.lower_bound, reading.breach_only) == (1, True, True)


# ── the asset's price ──


def test_the_price_is_the_middle_one_of_the_live_venues():
    fed = Fed("oi_net_15m_pct", venue_order=("bybit", "binance"))
    fed.feed(price("binance", START, 100.0))
    assert fed.view.price(START) is None  # no second one confirms it yet
    fed.feed(price("binance", START, 100.0))
    assert fed.view.price(START) == 100
    fed.feed(price("bybit", START + SECOND, 101.0), price("binance", START + 2 * SECOND, 102.0))
    assert fed.view.price(fed.now) == 101  # of two the first in the order of the configuration
    fed.feed(price("okx", fed.now, 101.5))
    assert fed.view.price(fed.now) == 101.5
    fed.feed(price("okx", fed.now, 60.0))
    assert fed.view.price(fed.now) == 101
    fed.feed(feed("bybit", Kind.PRICE, START + 3 * SECOND, False))
    fed.feed(feed("okx", Kind.PRICE, START + 3 * SECOND, False))
    fed.feed(price("binance", START + 4 * SECOND, 103.0))
    assert fed.view.price(fed.now) == 103
    fed.feed(price("bybit", START + 5 * SECOND, 104.0))
    assert fed.view.price(fed.now) == 104
    fed.feed(price("binance", START + 2 * MINUTE, 105.0))
    assert fed.view.price(fed.now) is None
    fed.feed(price("binance", START + 2 * MINUTE, 105.0))
    assert fed.view.price(fed.now) == 105
    assert fed.view.price(fed.now + 2 * MINUTE) is None


def test_the_largest_contract_of_a_venue_has_its_price():
    fed = Fed("price_15m_pct", venue_order=("binance",))

    def contract(symbol, event):
        return msgspec.structs.replace(event, symbol=symbol)

    for n in range(96):
        t = START + n * 10 * SECOND
        for symbol, x in (("BTCUSDC", 100.0 - n / 10), ("BTCUSDT", 200.0)):
            fed.feed(contract(symbol, price("binance", t, x)))
    fed.feed(contract("BTCUSDC", oi("binance", fed.now, 4_000, 4e5)))
    fed.feed(contract("BTCUSDT", oi("binance", fed.now, 90_000, 9e6)))
    assert fed.view.price(fed.now) == fed.view.price_at(fed.now - MINUTE) == 200
    assert (fed.value(), fed.facts().before, fed.facts().by_venue_pct) == (0, 200, {"binance": 0})


def test_mark_stands_in_where_no_index_is_sent():
    fed = Fed("oi_net_15m_pct").feed(*[price("binance", START, None, mark=99.0)] * 2)
    assert fed.view.price(START) == 99


# ── the price's change ──


def test_the_change_is_of_one_venue_s_price():
    fed = Fed("price_15m_pct")
    for n in range(16 * 6):
        t = START + n * 10 * SECOND
        fed.feed(price("binance", t, 100.0 - n / 24), price("bybit", t, 80.0 - n / 24))
    reading = fed.reading()
    assert reading.value == approx(100 * (96.0417 - 99.7917) / 99.7917, rel=1e-4)
    assert (reading.venues, reading.missing) == (("binance",), ())
    facts = fed.facts()
    assert (facts.venue, facts.window_ms) == ("binance", 15 * MINUTE)
    assert set(facts.by_venue_pct) == {"bybit", "binance"}
    assert facts.by_venue_pct["binance"] == approx(reading.value)
    # another venue's price is never compared with this one's
    fed.feed(feed("binance", Kind.PRICE, fed.now + 1, False))
    assert fed.value() == approx(facts.by_venue_pct["bybit"])


def calm(*venues):
    fed = Fed("price_15m_pct")
    for n in range(96 * 5):
        fed.feed(*(price(venue, START + n * 2 * SECOND, 100.0) for venue in venues))
    return fed


@mark.parametrize("venues", [VENUES, VENUES[:2], VENUES[:1]])
@mark.parametrize("wrong", [88.0, 112.0, 0.01])
def test_one_tick_of_one_venue_is_no_fall(venues, wrong):
    fed = calm(*venues)
    for x in (wrong, 100.0, 100.0):
        fed.feed(price(venues[0], fed.now + SECOND, x))
        assert fed.value() == 0


def test_a_venue_that_stays_wrong_is_no_fall_while_others_disagree():
    fed = calm(*VENUES)
    for _ in range(60):
        fed.feed(price("binance", fed.now + SECOND, 88.0), price("bybit", fed.now, 100.0))
        fed.feed(price("okx", fed.now, 100.0))
        assert fed.value() == 0


@mark.parametrize("wobble", [0.0, 0.02])
@mark.parametrize("every", [1, 2, 13])
def test_a_fall_that_one_of_two_venues_holds_counts_within_half_a_minute(wobble, every):
    fed, start = calm(*VENUES[:2]), 0
    start = fed.now
    values: dict[int, float] = {}
    for second in range(1, 61):
        fed.feed(price("bybit", start + second * SECOND, 100.0))  # frozen, and its frames arrive
        if second % every == 0:
            fed.feed(price("binance", fed.now, 88.0 + wobble * (second % 7)))
        values[second] = fed.value()
    assert {values[second] for second in range(1, 16)} == {0}
    assert max(values[second] for second in range(40, 61)) < -11.8
    assert max(values[second] for second in range(30 if every < 13 else 39, 61)) < -11.8


@mark.parametrize("bad", [1, 4, 15])
def test_a_wrong_price_of_some_seconds_counts_at_no_time(bad):
    fed = calm(*VENUES[:2])
    for second in range(90):
        x = 88.0 if second < bad else 100.0 + second % 3 / 100
        fed.feed(price("binance", fed.now + SECOND, x), price("bybit", fed.now + 1, 100.0))
        assert abs(fed.value()) < 0.03


def test_frozen_venues_do_not_outvote_the_one_that_moves():
    fed = calm(*VENUES)
    values = []
    for second in range(120):
        fed.feed(price("binance", fed.now + SECOND, 100.0 - second / 10))
        fed.feed(price("bybit", fed.now, 100.0), price("okx", fed.now, 100.0))
        values.append(fed.value())
    # of a fall that goes on, what was so 20 to 25 s ago
    assert values[59] < -3
    assert values[119] < -9.3


@mark.parametrize("venues", [VENUES, VENUES[:2]])
def test_a_fall_of_all_venues_counts_at_once(venues):
    fed = calm(*venues)
    for x in (96.0, 93.0, 90.0):
        fed.feed(*(price(venue, fed.now + 2 * SECOND, x) for venue in venues))
        assert fed.value() == approx(x - 100)


def test_a_fall_of_the_only_venue_counts_with_its_next_price():
    fed = calm("binance")
    falling = (98.0, 94.0, 92.0, 90.0, 89.5)
    values = [fed.feed(price("binance", fed.now + 2 * SECOND, x)).value() for x in falling]
    assert values == approx([-2, -2, -8, -10, -10.5])


def test_a_venue_that_has_not_spoken_since_the_fall_does_not_deny_it():
    fed = calm("binance", "hyperliquid")
    fallen = [90.0 - n / 100 for n in range(15)]
    values = [fed.feed(price("binance", fed.now + 2 * SECOND, x)).value() for x in fallen]
    assert values[0] == 0
    assert values[11] < -9.9  # 22 s later


def calm_beside_a_seldom_one(first, every):
    """Binance tells its price each second, Hyperliquid each ``every`` s, last of all just now."""
    fed = Fed("price_15m_pct", venue_order=(first,))
    for n in range(951):  # both move a little, as prices do
        fed.feed(price("binance", START + n * SECOND, 100.0 + n % 3 / 1000))
        if (950 - n) % every == 0:
            fed.feed(price("hyperliquid", fed.now, 100.0 + n % 7 / 1000))
    return fed


def fallen(percent, seconds, n):
    """The price in the nth second of a fall in a straight line."""
    return 100.0 - percent * min(1.0, n / seconds)


@mark.parametrize("every", [5, 13, 19])
@mark.parametrize(("percent", "seconds"), [(10, 60), (10, 5), (30, 300), (-10, 60), (2.9, 1)])
@mark.parametrize("first", ["binance", "hyperliquid"])
def test_a_venue_that_speaks_seldom_does_not_hold_up_a_fall(first, percent, seconds, every):
    """Of two venues one tells its price each second, the other one is behind for ``every`` s.

    Then what the first one says counts within a second, but of what is more than 3 % in 4 s, which
    must have been so for as long.
    """
    fed = calm_beside_a_seldom_one(first, every)
    began = fed.now
    for n in range(1, seconds + 20):
        x = fallen(percent, seconds, n)
        fed.feed(price("binance", began + n * SECOND, x))
        now, before = x - 100, fallen(percent, seconds, n - 1) - 100
        if (sure := 0.97 * fallen(percent, seconds, max(0, n - 4)) - 100) > before:
            before = sure
        assert min(now, before) - 0.05 <= fed.value() <= max(now, before) + 0.05
        if n % every == 0:
            fed.feed(price("hyperliquid", fed.now, x))


@mark.parametrize("seconds", [1, 2, 6, 12])
@mark.parametrize("wrong", [88.0, 96.5, 112.0])
def test_a_wrong_price_is_no_fall_while_a_venue_that_speaks_seldom_is_silent(wrong, seconds):
    fed = calm_beside_a_seldom_one("binance", 13)
    for n in range(1, 40):
        x = 100.0 + n % 3 / 100 if n <= 20 or n > 20 + seconds else wrong
        fed.feed(price("binance", fed.now + SECOND, x))
        if n in (13, 26, 39):
            fed.feed(price("hyperliquid", fed.now, 100.0 + n / 1000))
        assert abs(fed.value()) < 0.05


@mark.parametrize("first", ["binance", "hyperliquid"])
@mark.parametrize("silent_for", [1, 12])
@mark.parametrize("steps", [(-2.8, -5.6, -8.3), (2.9, 5.8, 8.7), (-2.9, -5.7, -8.4, -11.0)])
def test_a_wrong_price_that_creeps_for_seconds_is_no_fall(first, silent_for, steps):
    """No step is a jump; the other venue was steady when it was last heard, and speaks later."""
    fed = calm_beside_a_seldom_one(first, 13)
    for _ in range(silent_for):
        fed.feed(price("binance", fed.now + SECOND, 100.0))
    for pct in (*steps, 0, 0, 0, 0, 0):
        fed.feed(price("binance", fed.now + SECOND, 100.0 + pct))
        assert abs(fed.value()) < 3.1


def test_two_venues_that_fall_wait_for_none_that_speak_seldom():
    fed, values = calm(*VENUES, "hyperliquid"), list[float]()
    fed.feed(*(price(venue, fed.now + SECOND, 100.001) for venue in (*VENUES, "hyperliquid")))
    for pct in (2.5, 5.0, 7.5, 10.0):
        now = fed.now + SECOND
        fed.feed(*(price(venue, now, 100.0 - pct) for venue in ("binance", "bybit")))
        values.append(fed.value())
    # after a second nobody is late yet
    assert values == approx([0, -5, -7.5, -10], abs=0.002)


@mark.parametrize("percent", [10, -10])
@mark.parametrize("silent", ["binance", "bybit"])
def test_a_venue_that_falls_silent_in_a_crash_has_no_say(silent, percent):
    """10 % in 5 s: one of three is silent since just before, one speaks each 13 s."""
    fed = Fed("price_15m_pct")
    for n in range(960):
        every = {"binance": 1, "bybit": 1, "hyperliquid": 13}
        fed.feed(*(price(venue, START + n * SECOND, 100.0 + n % 3 / 1000)
                   for venue, gap in every.items()
                   if n % gap == 0 and (venue != silent or n < 959)))  # fmt: skip
    (left,) = {"binance", "bybit"} - {silent}
    values: list[float] = []
    for n in range(1, 30):  # Hyperliquid spoke 10 s ago, and not again
        fed.feed(price(left, fed.now + SECOND, fallen(percent, 5, n)))
        values.append(abs(fed.value()))
    assert values[:3] == approx([0, 0, 0], abs=3.1)
    assert min(values[8:]) > 9.9


@mark.parametrize(("every", "counts_after"), [(1, 5), (2, 8), (5, 16), (13, 21)])
def test_a_jump_counts_soon_when_the_other_venue_cannot_be_heard(every, counts_after):
    """A venue that tells each second and falls silent is not waited for; one of 13 s is."""
    fed = calm_beside_a_seldom_one("binance", every)
    values: list[float] = []
    for _ in range(25):
        fed.feed(price("binance", fed.now + SECOND, 90.0))
        values.append(fed.value())
    counts = [n for n, value in enumerate(values, 1) if value < -8]
    assert counts == list(range(counts_after, 26))
    assert min(values[: counts_after - 1]) > -3.1


def test_a_fall_is_looked_at_each_second_however_long_the_window():
    assert {Fed(f"price_{window}_pct").metric.look_every for window in ("5m", "1h", "24h")} == {
        SECOND
    }


def test_a_venue_that_does_not_reach_back_leaves_the_word_to_the_next():
    fed = Fed("price_15m_pct")
    for n in range(16 * 6):
        t = START + n * 10 * SECOND
        fed.feed(price("bybit", t, 50.0))
        if n > 60:
            fed.feed(price("binance", t, 100.0))
    assert (fed.value(), fed.reading().venues) == (0, ("bybit",))


def test_a_price_that_is_old_or_has_no_past_says_nothing():
    fed = Fed("price_15m_pct").feed(price("binance", START, 100.0))
    assert fed.reading() is None
    for n in range(1, 96):
        fed.feed(price("binance", START + n * 10 * SECOND, 100.0))
    assert fed.value(fed.now + MINUTE) == 0
    assert fed.reading(fed.now + MINUTE + 1) is None


def test_the_size_of_the_asset_is_its_open_interest():
    fed = Fed("price_15m_pct")
    for n in range(96):
        fed.feed(price("binance", START + n * 10 * SECOND, 100.0))
    assert fed.reading().floor_musd is None
    fed.feed(oi("binance", fed.now, 2e6, 2e8), oi("bybit", fed.now, 1e6))
    assert fed.reading().floor_musd == approx(300)
    assert fed.facts().oi_usd == approx(3e8)


@mark.parametrize("hours", [1, 24])
def test_a_long_window_starts_where_it_says(hours):
    fed, every = Fed(f"price_{hours}h_pct"), 10 * SECOND
    for n in range(hours * 360 + 60):
        fed.feed(price("binance", START + n * every, 100.0 + n))
    start = (fed.now - hours * HOUR - START) / every
    slot = 1 if hours == 1 else 30
    exact = 100 * (n - start) / (100 + start)
    assert exact <= fed.value() <= 100 * (n - start + slot) / (100 + start - slot)


# ── open interest over a day ──


def test_a_day_of_open_interest_is_as_exact_as_five_minutes():
    fed = Fed("oi_net_24h_pct")
    for minute in range(25 * 60):
        fed.feed(oi("binance", START + minute * MINUTE, 10_000.0 - minute))
        fed.feed(oi("bybit", START + minute * MINUTE + 20 * SECOND, 5_000.0))
    exact = 100 * -1440 / (15_000 - (minute - 1440))
    assert fed.value() == approx(exact, abs=100 * 5 / 15_000)


def test_the_end_of_a_day_is_now_and_not_five_minutes_ago():
    fed = Fed("oi_net_24h_pct")
    for minute in range(24 * 60 + 7):
        fed.feed(oi("binance", START + minute * MINUTE, 1000.0))
        fed.feed(oi("bybit", START + minute * MINUTE + 20 * SECOND, 1000.0))
    for _ in range(3):
        fed.feed(oi("binance", fed.now + 10 * SECOND, 800.0))
    assert fed.value() == approx(-10)


def test_a_day_s_start_may_not_be_missing_for_long():
    def after(hole: int) -> float | None:
        fed = Fed("oi_net_24h_pct")
        for minute in range(24 * 60 + 45):
            if not 30 <= minute < 30 + hole:
                fed.feed(oi("binance", START + minute * MINUTE, 1000.0))
        return fed.value()

    assert after(5) == 0
    assert after(30) is None


# ── how far from normal ──


@mark.parametrize(
    "name, posted, now",
    [
        ("depth_25bp_pct_of_recent", 19, 2),
        ("depth_100bp_pct_of_normal", 33, 10),
        ("price_1h_pct", -70, -95),
        ("oi_net_1h_pct", -80, -96),
        ("oi_total_net_1h_pct", -75, -94),
        ("funding_negative_share_pct", 85, 97),
        ("drawdown_price_pct", -70, -95),
    ],
)
def test_what_has_an_end_can_still_get_half_as_bad_again(name, posted, now):
    distance = metric(name).distance
    assert distance(now) >= 1.5 * distance(posted)


@mark.parametrize(
    "name, normal, sign",
    [
        ("depth_25bp_pct_of_recent", 100, -1),
        ("price_1h_pct", 0, -1),
        ("oi_net_1h_pct", 0, -1),
        ("oi_total_net_1h_pct", 0, -1),
        ("funding_negative_share_pct", 0, 1),
    ],
)
def test_nearer_to_normal_nothing_is_worse_than_before(name, normal, sign):
    distance = metric(name).distance
    for gone in (0, 3, 30, 45, 66.6):
        assert distance(normal + sign * gone) == approx(gone)
    steps = [distance(normal + sign * gone / 10) for gone in range(1001)]
    assert steps == sorted(steps)
    assert max(b - a for a, b in pairwise(steps[:990])) < 4
    # the other way there is no end, and nothing is stretched
    if sign < 0:
        assert distance(normal + 400) == approx(400)
