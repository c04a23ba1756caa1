"""The past of a venue's REST API in the first message after a start."""

import time
from pathlib import Path

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
