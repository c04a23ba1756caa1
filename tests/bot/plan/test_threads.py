"""What is one event, when it rings again, and what is known after its end."""

import pytest

from bot.plan.threads import (
    AFTER_LATE,
    JOIN,
    MARKET_WITHIN,
    WORSE_AFTER,
    WORSE_EVERY,
    Thread,
    joined_by,
    market_of,
    rings_again,
    theme_of,
    thread_with,
)
from rules.alerts import ALL, Alert, Level, Turn
from streams.events import Ms
from tests.bot.plan.test_planner import HOUR, MIN, START, S, alert

WATCH, ALERT, CRITICAL = Level
DAY = 24 * HOUR


def thread(*alerts: Alert, subject: str | None = None, **changes: object) -> Thread:
    """A thread of these alerts, which began with the first."""
    first = alerts[0]
    return Thread(
        **{
            "key": f"{theme_of(first)}:{subject or first.asset}:{first.seen}",
            "theme": theme_of(first),
            "subject": subject or first.asset,
            "began": first.seen,
            "grew": max(a.seen for a in alerts),
            "parts": {str(a.episode): a for a in alerts},
            **changes,
        }
    )


def funding(at: Ms, asset: str = "BTC") -> Alert:
    return alert(at, asset, rule="funding_negative", metric="funding_8h_pct")


def test_funding_is_another_event_than_price_and_what_is_behind_it():
    oi = thread(alert(0))
    assert joined_by([oi], alert(MIN, rule="price_drop", metric="price_1h_pct"), START) is oi
    assert joined_by([oi], alert(MIN, rule="cascade", metric="composite"), START) is oi
    assert joined_by([oi], funding(MIN), START) is None
    predicted = alert(MIN, rule="funding_predicted", metric="funding_predicted_8h_pct")
    assert joined_by([thread(funding(0))], predicted, START) is not None


def test_a_regime_is_an_event_of_its_own():
    oi = thread(alert(0))
    regime = alert(MIN, rule="regime:cascade", family="regime", metric="regime_cascade")
    assert joined_by([oi, thread(funding(0))], regime, START) is None
    whole = alert(2 * MIN, ALL, rule="market_regime:cascade", metric="regime_total_cascade")
    assert market_of([oi, thread(regime)], thread(whole), START + 2 * MIN) == [thread(regime)]


@pytest.mark.parametrize(("after", "joins"), [(0, True), (JOIN, True), (JOIN + 1, False)])
def test_what_begins_within_minutes_belongs_together(after: Ms, joins: bool):
    coin = thread(alert(0), alert(5 * MIN, rule="depth_thin"))
    now = START + 5 * MIN + after
    assert (joined_by([coin], alert(0, rule="liq_burst"), now) is not None) is joins


def test_a_coin_s_own_event_comes_before_the_market_s_and_the_newest_before_older_ones():
    market = thread(alert(0, "ETH"), subject=ALL)
    old, new = thread(alert(-10 * MIN)), thread(alert(-5 * MIN))
    assert joined_by([old, market, new], alert(0, rule="liq_burst"), START) is new
    assert joined_by([old, market, new], alert(0, "SOL"), START) is market
    new.ended = START
    old.ended = START
    assert joined_by([old, market, new], alert(0, rule="liq_burst"), START) is market


@pytest.mark.parametrize(
    ("ages", "together"),
    [((0, 0, 0), 3), ((0, MARKET_WITHIN, 1), 3), ((0, MARKET_WITHIN + 1, 1), 0), ((0, 0), 0)],
)
def test_three_coins_within_minutes_are_the_market(ages: tuple[Ms, ...], together: int):
    coins = [thread(alert(-age, f"C{n}")) for n, age in enumerate(ages)]
    assert len(market_of(coins, coins[0], START)) == together
    twice = [*coins[:2], thread(alert(0, "C0", rule="x"))]
    assert market_of(twice, twice[0], START) == [], "two coins are two coins"


def test_what_is_said_of_the_market_takes_in_the_coins_of_the_last_half_hour():
    coins = [thread(alert(-JOIN, "A")), thread(alert(-JOIN - 1, "B")), thread(funding(0, "C"))]
    market = thread(alert(0, ALL, scope="market"))
    assert market_of([*coins, market], market, START) == coins[:1]


def test_what_the_market_takes_in_rings_no_more_than_if_it_had_been_told_there():
    market = thread(alert(0, ALL, scope="market"), rung=WATCH, rang_at=START, due=START + MIN)
    coin = thread(
        alert(-JOIN, "A", CRITICAL), rung=CRITICAL, rang_at=START - MIN, worse_at=START - MIN,
        worse={"A": START - S}, due=START + 20 * S, fresh=[str(alert(-JOIN, "A").episode)],
    )  # fmt: skip
    market.take_in(coin, START + S)
    assert set(market.assets) == {"A"}
    assert (market.began, market.due, len(market.fresh)) == (START - JOIN, START + 20 * S, 1)
    assert (market.rung, market.rang_at, market.worse_at) == (CRITICAL, START, START - MIN)
    assert (market.critical, market.worse) == (["A"], {"A": START - S})
    worse = alert(HOUR, "A", CRITICAL, turn=Turn.WORSE, opened=-JOIN)
    assert rings_again(market, worse, START + WORSE_EVERY - MIN - 1) is None
    assert (coin.market, coin.ended, coin.due, coin.fresh) == (market.key, START + S, None, [])
    assert coin.finished, "it is not looked at any more"
    assert coin.after_due() is None and not coin.take_prices(START + 2 * DAY, {"A": 1.0})
    assert thread_with([coin, market], alert(-JOIN, "A")) is market


def test_it_rings_at_a_higher_level_and_at_critical_once_an_hour_if_that_gets_worse():
    posted = thread(alert(0), rung=ALERT, rang_at=START)
    now = START + MIN
    assert rings_again(posted, alert(MIN, level=WATCH), now) is None
    assert rings_again(posted, alert(MIN, level=ALERT, turn=Turn.WORSE), now) is None
    assert rings_again(posted, alert(MIN, level=CRITICAL), now) == now
    posted.rung = CRITICAL
    worse = alert(MIN, level=CRITICAL, turn=Turn.WORSE)
    assert rings_again(posted, worse, now) == START + WORSE_AFTER
    assert rings_again(posted, worse, START + HOUR) == START + HOUR
    posted.worse_at = START
    assert rings_again(posted, worse, START + WORSE_EVERY - 1) is None
    assert rings_again(posted, worse, START + WORSE_EVERY) == START + WORSE_EVERY


@pytest.mark.parametrize(
    ("metric", "wait"),
    [("liq_1m_musd", 30 * S), ("liq_10m_musd", 5 * MIN), ("price_1h_pct", 5 * MIN),
     ("composite", 5 * MIN)],
)  # fmt: skip
def test_much_worse_waits_no_longer_than_half_its_window(metric: str, wait: Ms):
    posted = thread(alert(0), rung=CRITICAL, rang_at=START)
    worse = alert(S, level=CRITICAL, turn=Turn.WORSE, metric=metric, opened=0)
    assert rings_again(posted, worse, START + S) == START + wait


def test_a_major_has_rings_of_its_own_in_the_market_s_event():
    market = thread(alert(0, "SOL", CRITICAL), subject=ALL, rung=CRITICAL, rang_at=START)
    market.worse_at = START
    now, majors = START + MIN, {"BTC"}
    assert rings_again(market, alert(MIN, "BTC", CRITICAL), now, majors) == now
    assert rings_again(market, alert(MIN, "AVAX", CRITICAL), now, majors) is None
    market.add(alert(MIN, "BTC", CRITICAL))
    market.rang(now)
    worse = alert(2 * MIN, "BTC", CRITICAL, turn=Turn.WORSE, opened=MIN)
    assert rings_again(market, worse, now, majors) == now + WORSE_AFTER
    market.rang_worse(worse, now, majors)
    assert rings_again(market, worse, now + WORSE_EVERY - 1, majors) is None
    assert rings_again(market, worse, now + WORSE_EVERY, majors) == now + WORSE_EVERY
    market.set_back(HOUR)
    assert market.worse == {"BTC": now - HOUR}


def test_what_looks_back_over_a_day_keeps_no_event_open():
    fast = alert(0)
    slow = alert(0, rule="oi_drop:24h", metric="oi_net_24h_pct")
    assert thread(fast, slow).going_on
    over = alert(MIN, turn=Turn.CLOSE, opened=0)
    assert not thread(over, slow).going_on
    assert thread(slow).going_on, "by itself it is an event"


def test_of_what_flaps_the_worst_and_the_present_stay():
    flapping = thread(alert(0, turn=Turn.CLOSE, extreme=-7.0))
    for n, extreme in enumerate((-9.0, -6.0, -8.0), start=1):
        flapping.add(alert(n * MIN, turn=Turn.CLOSE, extreme=extreme))
    flapping.add(alert(5 * MIN, extreme=-5.0))
    flapping.add(alert(5 * MIN, "ETH", turn=Turn.CLOSE, extreme=-1.0))
    assert [a.extreme for a in flapping.parts.values()] == [-9.0, -5.0, -1.0]


def test_what_begins_hours_later_is_another_event_though_the_first_has_never_rested():
    long = thread(alert(0), grew=START + 6 * HOUR)
    assert joined_by([long], alert(0, rule="x"), START + 6 * HOUR) is long
    assert joined_by([long], alert(0, rule="x"), START + 6 * HOUR + 1) is None


def test_an_episode_is_known_by_its_key():
    first = thread(alert(0))
    assert thread_with([first], alert(MIN, turn=Turn.WORSE, opened=0)) is first
    assert thread_with([first], alert(MIN)) is None


# After the end.


def ended(price: float | None = 100.0, **prices: float) -> Thread:
    over = thread(alert(0, turn=Turn.CLOSE, price=price))
    over.end(START, prices)
    return over


@pytest.mark.parametrize(
    ("now", "prices", "changes"),
    [
        (START + HOUR - 1, {"BTC": 90.0}, {}),
        (START + HOUR, {"BTC": 90.0}, {HOUR: {"BTC": pytest.approx(-10)}}),
        (START + HOUR + AFTER_LATE, {"BTC": 110.0}, {HOUR: {"BTC": pytest.approx(10)}}),
        (START + HOUR + AFTER_LATE + 1, {"BTC": 110.0}, {}),
        (START + HOUR, {}, {}),
        (START + HOUR, {"ETH": 90.0}, {}),
        (START + DAY, {"BTC": 101.0}, {DAY: {"BTC": pytest.approx(1)}}),
    ],
)
def test_the_price_since_is_that_of_then_or_unknown(now: Ms, prices, changes):
    over = ended()
    assert over.take_prices(now, prices) is bool(changes)
    assert over.since == changes


def test_each_price_is_looked_at_once():
    over = ended()
    assert over.after_due() == START + HOUR
    assert over.take_prices(START + HOUR, {"BTC": 90.0})
    assert not over.take_prices(START + HOUR + 1, {"BTC": 80.0})
    assert over.after_due() == START + DAY
    assert over.take_prices(START + DAY, {"BTC": 50.0})
    assert over.after_due() is None
    assert over.since[HOUR]["BTC"] == pytest.approx(-10)


@pytest.mark.parametrize(("at_end", "known"), [(None, {}), (100.0, {"BTC": 100.0})])
def test_a_price_at_the_end_that_is_unknown_is_left_out(at_end: float | None, known):
    assert ended(at_end).prices == known
    assert ended(at_end, BTC=99.0).prices == {"BTC": 99.0}
    early = thread(alert(-2 * MIN, "ETH", turn=Turn.CLOSE, price=5.0), alert(0, turn=Turn.CLOSE))
    early.end(START, {})
    assert early.prices == {}, "the price of two minutes ago is not that of the end"


def test_when_the_clock_is_set_back_everything_is_as_old_as_it_was():
    over = ended()
    over.due, over.worse_at, over.rang_at = START, START - MIN, START - MIN
    over.set_back(HOUR)
    assert (over.began, over.grew, over.ended) == (START - HOUR,) * 3
    assert (over.due, over.worse_at, over.rang_at) == (
        START - HOUR, START - HOUR - MIN, START - HOUR - MIN,
    )  # fmt: skip
