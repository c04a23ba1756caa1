"""All roles and Redis killed and frozen; `make soak` does it for minutes."""

import os
import random
from pathlib import Path

import pytest

from tests.bot.storm import LEAST_HITS, Storm

LONG = os.environ.get("LOWTIDE_SOAK") == "1"
SECONDS = float(os.environ.get("LOWTIDE_SOAK_S") or (240 if LONG else 12))


@pytest.mark.parametrize("rules", ["short windows", "as shipped"] if LONG else ["short windows"])
async def test_nothing_is_lost_or_doubled_whoever_is_killed_or_frozen(
    tmp_path: Path, rules: str
) -> None:
    seed = int(os.environ.get("LOWTIDE_SEED") or (random.randrange(1_000_000) if LONG else 486_063))
    print(f"seed {seed} (LOWTIDE_SEED={seed} repeats it)")
    storm = Storm(tmp_path, seed, coins=12 if LONG else 2, shipped=rules == "as shipped")
    print(await storm.run(SECONDS))
    assert sum(storm.hits.values()) >= LEAST_HITS
