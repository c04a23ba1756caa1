"""The recap of the long day's crash: in every language, and its figures against the day's own."""

import re

import msgspec
import pytest

from bot.lang import LANGUAGES
from bot.messages.thread import delivery_message
from bot.plan.planner import Delivery
from bot.replay import messages
from rules.alerts import ALL, Alert, Level, Turn
from streams.durations import SECOND
from tests.bot.fake_telegram import parsed
from tests.bot.scenarios.test_crash_day import Crash
from tests.bot.scenarios.test_rules import channel, check_messages, text


@pytest.fixture(scope="module")
def deliveries(crash: Crash) -> list[Delivery]:
    chat = msgspec.structs.replace(channel(crash.settings), recap=Level.CRITICAL)
    return [entry for entry in messages(crash.outputs, chat) if isinstance(entry, Delivery)]


@pytest.fixture(scope="module")
def recap(deliveries: list[Delivery]) -> Delivery:
    (only,) = [delivery for delivery in deliveries if delivery.recap]
    return only


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_says_what_the_day_was(recap: Delivery, language: str):
    name = "crash_day_recap" if language == "en" else f"crash_day_recap_{language}"
    check_messages(name, text([recap], LANGUAGES[language]))


def test_all_else_is_told_as_without_it(crash: Crash, deliveries: list[Delivery]):
    assert [delivery for delivery in deliveries if not delivery.recap] == crash.deliveries


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_can_be_sent(recap: Delivery, language: str):
    message = delivery_message(recap, LANGUAGES[language])
    assert (message.silent, message.turn) == (True, Turn.CLOSE)
    assert len(parsed(message.html)) <= 3_500
    assert not re.search(r"\b(None|nan|inf)\b|[{}]|  ", message.plain)
    if language != "en":
        names = {alert.asset for alert in recap.alerts} | {"OI", "UTC", "ALL"}
        assert set(re.findall(r"[A-Za-z]{2,}", message.plain)) <= names


def test_what_was_liquidated_is_what_the_venues_reported_and_no_more(crash: Crash, recap: Delivery):
    sums = [alert for alert in recap.alerts if alert.liquidated is not None]
    assert {alert.asset for alert in sums} >= {"BTC", "ETH", "SOL"}
    for alert in sums:
        known = alert.liquidated
        start = alert.seen - known.over
        mine = [order for order in crash.liquidations if order.asset == alert.asset]
        within = [order for order in mine if start <= order.seen <= alert.seen]
        surely = sum(o.usd for o in within if o.seen >= start + 10 * SECOND)
        assert surely - 1 <= known.usd <= sum(order.usd for order in within) + 1
        assert known.usd > 0


def test_worst_values_and_times_are_those_of_the_alerts(crash: Crash, recap: Delivery):
    turns = [turn for turn in crash.outputs if isinstance(turn, Alert) and turn.asset != ALL]
    for alert in [alert for alert in recap.alerts if alert.asset != ALL]:
        mine = [turn for turn in turns if turn.episode == alert.episode]
        sign = 1 if alert.fires == "above" else -1
        assert sign * alert.extreme == max(sign * turn.extreme for turn in mine)
        assert min(turn.opened_at for turn in mine) <= alert.extreme_at <= mine[-1].seen


def test_what_is_unknown_is_left_out_and_not_made_up(recap: Delivery):
    """Neither prices nor sums, as from an earlier version, or where no venue reports any."""
    alerts = tuple(msgspec.structs.replace(alert, liquidated=None) for alert in recap.alerts)
    bare = msgspec.structs.replace(recap, alerts=alerts, before={}, after={"BTC": 1.0}, began=None)
    shown = delivery_message(bare, LANGUAGES["en"]).plain
    assert "liquidated" not in shown
    assert "at the end" not in shown
    assert " to " not in shown.splitlines()[0]
    whole = delivery_message(recap, LANGUAGES["en"]).plain
    assert "liquidated in all" in whole and "price at the end" in whole


def test_one_coin_alone_has_its_price_before_and_after(recap: Delivery):
    alerts = tuple(alert for alert in recap.alerts if alert.asset == "BTC")
    alone = msgspec.structs.replace(recap, alerts=alerts)
    lines = delivery_message(alone, LANGUAGES["en"]).plain.splitlines()
    before, after = recap.before["BTC"], recap.after["BTC"]
    assert lines[0].startswith("⚪ BTC")
    assert f"Price ${before:,.0f} → ${after:,.0f} ({100 * (after / before - 1):+.1f}%)".replace(
        "-", "−"
    ) in [line.rstrip(".") for line in lines]
