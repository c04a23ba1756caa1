"""A failing run with fewer faults."""

from collections.abc import Sequence

from tests.simulate.faults import Trouble
from tests.simulate.oracle import judge
from tests.simulate.world import Run, play


def shrunk(base: Run, faults: Sequence[Trouble]) -> list[Trouble]:
    """As few of ``faults`` as can be with which something is still wrong: none of those that are
    left can be left out."""
    kept = [*faults]
    for fault in faults:
        fewer = [other for other in kept if other is not fault]
        if judge(base, play(base.seed, fewer)):
            kept = fewer
    return kept
