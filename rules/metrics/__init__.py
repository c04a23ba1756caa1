"""The metrics, by the form of their names. A name carries the window and the unit."""

import re
from collections.abc import Callable

from rules.metric import Metric
from rules.metrics import depth, funding, liquidation, market_wide, open_interest, price
from streams.durations import DAY, duration
from streams.events import BANDS_BP, Ms

LONGEST: Ms = DAY
"""Longest window of a name. Memory does not grow with it, but windows get coarser."""

_WINDOW = re.compile(r"[1-9][0-9]{0,3}[mh]")
"""One count and one unit: a name is an identity, so that there are few ways to write a window."""


def _windowed(build: Callable[[str, Ms], Metric]) -> Callable[[str, str], Metric | None]:
    def parse(name: str, text: str) -> Metric | None:
        window = duration(text) if _WINDOW.fullmatch(text) else None
        return build(name, window) if window and window <= LONGEST else None

    return parse


def _banded(build: Callable[[str, int], Metric]) -> Callable[[str, str], Metric | None]:
    def parse(name: str, text: str) -> Metric | None:
        return build(name, int(text)) if text in map(str, BANDS_BP) else None

    return parse


METRICS: dict[str, Callable[[str, str], Metric | None]] = {
    "funding_8h_pct": lambda name, _: funding.SETTLED,
    "funding_predicted_8h_pct": lambda name, _: funding.PREDICTED,
    "oi_net_<duration>_pct": _windowed(open_interest.open_interest),
    "depth_<bp>bp_pct_of_normal": _banded(depth.of_normal),
    "depth_<bp>bp_pct_of_recent": _banded(depth.of_recent),
    "liq_<duration>_musd": _windowed(liquidation.liquidation),
    "price_<duration>_pct": _windowed(price.price),
    "oi_total_net_<duration>_pct": _windowed(market_wide.total),
    "funding_negative_share_pct": lambda name, _: market_wide.NEGATIVE_SHARE,
}
"""Form of the name → the metric of a name, given the text in the place of <...>, if it fits."""


def metric(name: str) -> Metric:
    """The metric of that name. ValueError with the valid forms if there is none."""
    for form, parse in METRICS.items():
        pattern = re.sub("<[a-z]+>", "(.*)", form)
        if (found := re.fullmatch(pattern, name)) and (
            parsed := parse(name, found[1] if found.groups() else "")
        ):
            return parsed
    bands = ", ".join(map(str, BANDS_BP))
    raise ValueError(
        f"unknown metric {name!r}: use one of {', '.join(METRICS)}, "
        f"where <duration> is like 15m or 1h, up to 24h, and <bp> one of {bands}"
    )
