"""The past of a venue's REST API in the first message after a start."""

import re
import time
from math import exp, log, sqrt
from pathlib import Path

from pytest import approx

from tests.bot.fake_updates import CHANNEL
from tests.seams.system import System, ends

CONFIG = f"""
[channel]
chat_id = {CHANNEL}
[defaults]
group_wait = {{ watch = "1s", alert = "1s" }}
[rules.funding]
metric = "funding_8h_pct"
fires = "below"
for = "1 settlement"
majors = {{ watch = 0.0, clear = 0.003 }}
"""
OF_PRICES = f"""
[channel]
chat_id = {CHANNEL}
[defaults]
group_wait = {{ watch = "1s", alert = "1s" }}
[rules.volatility]
metric = "volatility_7d_pct"
fires = "above"
majors = {{ watch = 60, clear = 40 }}
[rules.day]
metric = "price_24h_pct"
fires = "below"
post = false
majors = {{ watch = -50, clear = -40 }}
"""
HOUR = 3_600_000
LAST_S = 120


async def test_the_first_message_after_a_start_says_since_when(tmp_path: Path) -> None:
    """By the hour positive for 50 days, but for one hour of 30 days ago; then negative."""
    now = int(time.time() * 1000) // HOUR * HOUR
    past = [(now - n * HOUR, 0.0001 / 8) for n in range(50 * 24, 0, -1)]
    past[-30 * 24] = (past[-30 * 24][0], -0.001)
    async with System(tmp_path, CONFIG, common=ends(large=())) as system:
        venue = system.venue
        venue.hours = 1
        for symbol in venue.prices:
            venue.settlements[symbol] = [*past]
        await system.start()
        # one after the other: by then all of BTC's is published
        await system.until(lambda: ("ETHUSDT", 200) in venue.asked, LAST_S)
        venue.settlements["BTCUSDT"].append((now, -0.0002 / 8))
        await system.until(lambda: system.telegram.sent, LAST_S)
        post = system.telegram.sent[0].first
        await system.stop()
        asked = len([1 for symbol, limit in venue.asked if symbol == "BTCUSDT" and limit == 200])
        assert asked == 7, "50 days by the hour, 200 at a time, and what is before them"
        venue.asked.clear()
        await system.start()
        await system.until(lambda: ("ETHUSDT", 200) in venue.asked, LAST_S)
        again = len([1 for symbol, limit in venue.asked if symbol == "BTCUSDT" and limit == 200])
    day = time.gmtime(past[-30 * 24][0] / 1000)
    assert "BTC funding" in post
    assert f"First negative since {day.tm_mday} {time.strftime('%b', day)} (30 days)" in post
    assert again == 1, "only the last day of what is remembered"


async def test_volatility_of_a_week_is_known_within_minutes_of_the_first_start(
    tmp_path: Path,
) -> None:
    """BTC goes up and down by the hour, now 3 % and now 1 %, to where it is live."""
    step, now = HOUR // 12, int(time.time() * 1000) // (HOUR // 12) * (HOUR // 12)
    async with System(tmp_path, OF_PRICES, common=ends(large=())) as system:
        venue = system.venue
        last = {symbol: log(price) for symbol, price in venue.prices.items()}
        for symbol in venue.prices:
            venue.closes[symbol] = {
                at: exp(last[symbol] + _above(at) - _above(now))
                for at in range(now - 31 * 24 * HOUR, now + 1, step)
            }
            venue.closes[symbol][now + step] = venue.prices[symbol]  # it goes on
        await system.start()
        await system.until(lambda: system.telegram.sent, LAST_S)
        post = system.telegram.sent[0].first
        pages = venue.candled.count("BTCUSDT")
        until = now // (2 * step) * (2 * step)
        since = now // HOUR * HOUR - 7 * 24 * HOUR
        moves = [
            _above(at) - _above(at - 2 * step)
            for at in range(since + 2 * step, until + 1, 2 * step)
        ]
        pct = 100 * sqrt(sum(x * x for x in moves) / (len(moves) - 1) * 52_560)
        # what the rules remember is said each ten seconds
        await system.until(lambda: "ETHUSDT" in venue.candled, LAST_S)
        await system.stop()
        venue.candled.clear()
        await system.start()
        await system.until(lambda: ("ETHUSDT", 200) in venue.asked, LAST_S)
        await system.stop()
    assert pages == 9, "30 days of 5 min, 1000 at a time"
    volatility = re.search(r"([0-9]+)%", post)
    # the hour, or the step, may have gone on meanwhile
    assert volatility is not None and float(volatility[1]) == approx(pct, rel=0.02), post
    assert venue.candled.count("BTCUSDT") <= 1
    assert system.telegram.sent[1:] == []


def _above(at: int) -> float:
    return (0.03 if at // HOUR % 2 else 0.01) * (at // HOUR % 3)
