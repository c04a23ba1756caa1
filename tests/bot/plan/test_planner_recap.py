"""A recap: one silent post about an event that is over, of what is known of it."""

import msgspec
import pytest

from bot.destination import ConsoleOutput, MessengerName, Service, TelegramChat, WebhookName
from bot.plan.planner import Chat, Delivery, dump, load, unwatched
from rules.alerts import Level, Liquidated, Turn
from tests.bot.plan.test_planner import (
    ALERT,
    CRITICAL,
    HOUR,
    MIN,
    START,
    WATCH,
    Planned,
    alert,
)

CHAT = Chat(destination=TelegramChat(-100), recap=CRITICAL)


def recaps(planned: Planned) -> list[Delivery]:
    return [delivery for delivery in planned.deliveries if delivery.recap]


def close(at: int, opened: int, asset: str = "BTC", rule: str = "oi_drop", **changes: object):
    return alert(at, asset, CRITICAL, rule, Turn.CLOSE, opened, **changes)


def crashed(chat: Chat = CHAT, level: Level = CRITICAL) -> Planned:
    """Two things happen to BTC, and are over after 40 minutes; each call is after a restart."""
    planned = Planned(chat)
    planned.at(0, alert(0, level=level, price=99.0, price_before=110.0))
    planned.at(MIN, alert(MIN, level=WATCH, rule="price_drop", price=98.0, price_before=105.0))
    for end, opened, rule, reached in ((20, 1, "price_drop", WATCH), (40, 0, "oi_drop", level)):
        over = close(end * MIN, opened * MIN, rule=rule)
        planned.at(end * MIN, msgspec.structs.replace(over, level=reached), BTC=104.5)
    return planned


def test_it_comes_once_when_all_is_over_and_is_silent():
    planned = crashed()
    (recap,) = recaps(planned)
    assert (recap.silent, recap.edit, recap.turn) == (True, False, Turn.CLOSE)
    assert (recap.at, recap.began, recap.ended) == (START + 40 * MIN, START, START + 40 * MIN)
    assert {a.rule for a in recap.alerts} == {"oi_drop", "price_drop"}
    assert (recap.before, recap.after) == ({"BTC": 110.0}, {"BTC": 104.5})
    planned.at(42 * HOUR)
    assert len(recaps(planned)) == 1
    assert [d.turn for d in planned.edits if d.turn is Turn.CLOSE], "the post itself ends too"


@pytest.mark.parametrize(
    ("switch", "level", "count"),
    [(None, CRITICAL, 0), (CRITICAL, ALERT, 0), (ALERT, ALERT, 1), (WATCH, CRITICAL, 1)],
)
def test_a_switch_says_from_which_level(switch: Level | None, level: Level, count: int):
    chat = msgspec.structs.replace(CHAT, recap=switch)
    assert len(recaps(crashed(chat, level))) == count


@pytest.mark.parametrize("destination", [ConsoleOutput(), MessengerName(Service.LINE)])
def test_where_nothing_is_edited_it_is_the_post_of_the_end(destination):
    planned = crashed(msgspec.structs.replace(CHAT, destination=destination))
    ends = [d for d in planned.posts if d.turn is Turn.CLOSE]
    assert [d.recap for d in ends] == [True]
    without = crashed(msgspec.structs.replace(CHAT, destination=destination, recap=None))
    assert [d.recap for d in without.posts if d.turn is Turn.CLOSE] == [False]
    assert without.state.counts == planned.state.counts


def test_a_program_has_none():
    assert recaps(crashed(msgspec.structs.replace(CHAT, destination=WebhookName("desk")))) == []


def test_an_event_that_nobody_heard_of_has_none():
    planned = Planned(CHAT)
    planned.at(0, alert(0, level=ALERT))
    planned.at(1_000, msgspec.structs.replace(close(1_000, 0), level=ALERT))
    assert planned.posts == []
    assert recaps(planned) == []


def test_what_is_not_judged_any_more_has_no_end_to_look_back_from():
    planned = Planned(CHAT)
    planned.at(0, alert(0, level=CRITICAL))
    state, deliveries = unwatched(planned.state, CHAT, lambda _: False, START + MIN)
    assert [d.recap for d in deliveries] == [False]
    assert load(dump(state)).threads


def test_coins_of_one_event_have_one_recap_with_the_prices_of_each():
    planned = Planned(CHAT)
    coins = ("BTC", "ETH", "SOL")
    for n, asset in enumerate(coins):
        planned.at(n * MIN, alert(n * MIN, asset, CRITICAL, price=100.0 - n, price_before=110.0))
    for n, asset in enumerate(coins):
        now = 30 * MIN + n * MIN
        sums = Liquidated(over=HOUR, long_usd=1e6, short_usd=0.0) if n else None
        planned.at(now, close(now, n * MIN, asset, liquidated=sums), BTC=90.0, ETH=91.0)
    (recap,) = recaps(planned)
    assert {a.asset for a in recap.alerts} == set(coins)
    assert recap.before == dict.fromkeys(coins, 110.0)
    assert recap.after == {"BTC": 90.0, "ETH": 91.0}, "that of SOL is unknown"
    assert (recap.began, recap.ended) == (START, START + 32 * MIN)
    kept = {a.asset: a.liquidated for a in recap.alerts}
    assert (kept["BTC"], kept["ETH"].usd) == (None, 1e6)


def test_a_look_back_over_a_day_does_not_say_what_the_price_was_a_day_ago():
    planned = Planned(CHAT)
    day = alert(0, metric="oi_net_24h_pct", level=CRITICAL, price=99.0, price_before=140.0)
    planned.at(0, day)
    planned.at(MIN, close(MIN, 0, metric="oi_net_24h_pct"), BTC=98.0)
    (recap,) = recaps(planned)
    assert recap.before == {"BTC": 99.0}


def test_without_prices_nothing_is_said_of_them():
    planned = Planned(CHAT)
    planned.at(0, alert(0, level=CRITICAL))
    planned.at(10 * MIN, close(10 * MIN, 0))
    (recap,) = recaps(planned)
    assert (recap.before, recap.after) == ({}, {})
