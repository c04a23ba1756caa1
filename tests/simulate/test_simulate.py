"""The short form of ``python -m tests.simulate``."""

import pytest

from tests.simulate.__main__ import trace
from tests.simulate.faults import troubles
from tests.simulate.oracle import judge
from tests.simulate.world import Run, play


@pytest.fixture(scope="module")
def base() -> Run:
    return play(1)


def test_a_market_without_faults_is_told(base: Run) -> None:
    assert judge(base, base) == []
    assert len(base.alerts) > 4
    assert len(base.messages) > 4
    assert len(base.claims) > 1_000


def test_a_seed_is_one_universe_with_its_faults(base: Run) -> None:
    faults = troubles(1)
    assert faults
    run = play(1, faults)
    assert trace(run) == trace(play(1, faults)) != trace(base)
    assert judge(base, run) == []
