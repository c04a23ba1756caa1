"""From the sockets of each venue, as the demo's recording has them, to a channel.

The recording is played on loopback at the venue's own paths; its answers to requests are the
listing, the settlements and the open interest that the real adapters ask for.
"""

from pathlib import Path

import pytest

from bot.demo.playback import Playback
from tests.bot import story
from tests.seams.system import System

TITLES = {"binance": "Binance", "bybit": "Bybit", "hyperliquid": "Hyperliquid"}

COMMON = """
[telegram]
api_url = "{telegram}"
[markets]
majors = ["BTC"]
tail   = "none"
[redis]
data_dir = "data"
[rules.estimate]
metric = "funding_predicted_8h_pct"
fires  = "below"
majors = {{ critical = 50, clear = 60 }}
"""
"""True of any rate: what is looked at is whether it arrives, and whose it is."""


@pytest.mark.parametrize("venue", TITLES)
async def test_what_a_venue_sends_is_told_in_a_channel(tmp_path: Path, venue: str):
    recording = story.cut(tmp_path / "story.jsonl.gz", 72, 76, lambda record: record.venue == venue)
    async with Playback(recording, speed=20) as playback:
        websocket, rest = playback.urls(venue)
        config = (
            '[channel]\nchat_id = "@lowtide"\n'
            f'[venues.{venue}]\nwebsocket = "{websocket}"\nrest = "{rest}"\n'
        )
        common = COMMON.replace("[markets]\n", f'[markets]\nvenues = ["{venue}"]\n')
        async with System(tmp_path, config, common=common) as system:
            await system.start("streams", "rules", "bot", heard=lambda: playback.topics > 2)
            playback.start()
            await system.until(lambda: system.telegram.sent)
    post = system.telegram.sent[0]
    assert post.first.startswith("🔴 BTC predicted funding") and "%" in post.first
    assert [name for name, title in TITLES.items() if title in post.text] == [venue]
