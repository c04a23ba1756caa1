"""The sender killed at random while Telegram fails in every way; `make soak` does it for long."""

import os
import random
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.bot.chaos import Storm
from tests.valkey import Server

LONG = os.environ.get("LOWTIDE_SOAK") == "1"
ALERTS, KILLS, PAUSE_S = (510, 110, 0.5) if LONG else (30, 8, 0.15)


@pytest.mark.filterwarnings("ignore:.*retry_after.*")
async def test_nothing_is_lost_and_nothing_confirmed_is_repeated(
    redis: Redis, valkey: Server, tmp_path: Path
) -> None:
    seed = int(os.environ.get("LOWTIDE_SEED") or random.randrange(1_000_000))
    print(f"seed {seed} (LOWTIDE_SEED={seed} repeats it)")
    storm = Storm(redis, valkey.url, tmp_path, seed, ALERTS)
    await storm.run(KILLS, PAUSE_S)
    print(await storm.judge())
    assert storm.kills >= KILLS
