"""The short form of ``python -m tests.simulate``."""

from tests.simulate.__main__ import trace
from tests.simulate.oracle import judge
from tests.simulate.world import play


def test_a_market_without_faults_is_told_and_a_seed_is_one_universe() -> None:
    run = play(1)
    assert trace(run) == trace(play(1))
    assert judge(run, run) == []
    assert len(run.alerts) > 4
    assert len(run.messages) > 4
    assert len(run.claims) > 1_000
