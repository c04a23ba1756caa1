"""The short form of ``python -m tests.simulate``: one market, and what must not change it."""

import pytest

from tests.simulate.__main__ import trace
from tests.simulate.faults import CLOCK, DARK, KINDS, ROLES, TELEGRAM, troubles
from tests.simulate.oracle import judge
from tests.simulate.world import Run, play

SEED = 12
"""A market in which everything happens."""


@pytest.fixture(scope="module")
def base() -> Run:
    return play(SEED)


def test_a_market_without_faults_is_told(base: Run) -> None:
    assert judge(base, base) == []
    assert len(base.alerts) > 10
    assert base.messages
    assert len(base.claims) > 1_000


def test_a_seed_is_one_universe_with_its_faults(base: Run) -> None:
    faults = troubles(SEED, KINDS)
    run = play(SEED, faults)
    assert trace(run) == trace(play(SEED, faults)) != trace(base)
    assert judge(base, run) == []


@pytest.mark.parametrize(
    "kinds", [(*ROLES, *TELEGRAM), CLOCK, DARK], ids=["roles", "clock", "data"]
)
def test_faults_change_nothing_but_what_they_touch(base: Run, kinds: tuple[str, ...]) -> None:
    faults = troubles(SEED, kinds)
    assert faults
    assert judge(base, play(SEED, faults)) == []
