"""Legs of a rate decision → odds that add up to 1. Pure."""

from collections.abc import Sequence
from typing import Literal

from streams.events import Ms, RateOdds
from streams.sources.wire import FAIR_SUM
from streams.venue import Malformed


def normalised(at: Ms, legs: Sequence[tuple[Literal[-1, 0, 1], float]]) -> RateOdds:
    """The odds of the decision at ``at``. ``legs``: a cut, a hold or a hike, and its probability.

    Malformed if a side has no leg, or if all legs add up to what no market does.
    """
    total = sum(probability for _, probability in legs)
    if {side for side, _ in legs} != {-1, 0, 1} or not FAIR_SUM[0] <= total <= FAIR_SUM[1]:
        raise Malformed(f"the legs of the decision add up to {total:.3f}, or some are missing")
    cut, hold, hike = (
        sum(probability for of, probability in legs if of == side) / total for side in (-1, 0, 1)
    )
    return RateOdds(meeting_at=at, cut=cut, hold=hold, hike=hike)
