"""The metrics, by the form of their names. A name carries the window and the unit."""

import re
from collections.abc import Callable, Mapping

from rules.alerts import Regime
from rules.metric import Metric, OfSpot
from rules.metrics import (
    cause,
    correlation,
    depth,
    dispersion,
    drawdown,
    funding,
    liquidation,
    liquidation_day,
    market_cap,
    market_wide,
    open_interest,
    price,
    regime,
    sector,
    spot,
    stablecoin,
    support,
    usual,
    volatility,
)
from rules.metrics.cause import CauseMetric
from rules.rule import Rule
from rules.sectors import WEEK
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


def _regime(of: Mapping[Regime, Metric]) -> Callable[[str, str], Metric | None]:
    return lambda name, text: of.get(Regime(text)) if text in regime.STATES else None


METRICS: dict[str, Callable[[str, str], Metric | None]] = {
    "funding_8h_pct": lambda name, _: funding.SETTLED,
    "funding_predicted_8h_pct": lambda name, _: funding.PREDICTED,
    "funding_dispersion_8h_pct": lambda name, _: dispersion.DISPERSION,
    "oi_net_<duration>_pct": _windowed(open_interest.open_interest),
    "depth_<bp>bp_pct_of_normal": _banded(depth.of_normal),
    "depth_<bp>bp_pct_of_recent": _banded(depth.of_recent),
    "liq_<duration>_musd": _windowed(liquidation.liquidation),
    "price_<duration>_pct": _windowed(price.price),
    "price_<duration>_sigma": _windowed(usual.price_sigma),
    "oi_net_<duration>_sigma": _windowed(usual.interest_sigma),
    "liq_<duration>_x_normal": _windowed(usual.liquidations_x_normal),
    "volatility_7d_pct": lambda name, _: volatility.WEEK,
    "volatility_30d_pct": lambda name, _: volatility.MONTH,
    "oi_total_net_<duration>_pct": _windowed(market_wide.total),
    "price_down_share_<duration>_pct": _windowed(market_wide.down_share),
    "correlation_top10_7d": lambda name, _: correlation.TOP10,
    "correlation_51to100_7d": lambda name, _: correlation.RANKS_51_TO_100,
    "correlation_gap_7d": lambda name, _: correlation.GAP,
    "drawdown_price_pct": lambda name, _: drawdown.PRICE,
    "drawdown_oi_net_pct": lambda name, _: drawdown.INTEREST_NET,
    "drawdown_oi_total_net_pct": lambda name, _: drawdown.OF_GROUPS["total"],
    "drawdown_oi_top10_net_pct": lambda name, _: drawdown.OF_GROUPS["top10"],
    "drawdown_oi_51to100_net_pct": lambda name, _: drawdown.OF_GROUPS["51to100"],
    "market_cap_trillion_usd": lambda name, _: market_cap.LEVEL,
    "market_cap_24h_pct": lambda name, _: market_cap.CHANGE,
    "market_cap_fell_through": lambda name, _: market_cap.FELL,
    "market_cap_rose_through": lambda name, _: market_cap.ROSE,
    "stablecoin_<coin>_pct": lambda name, text: stablecoin.OF_COINS.get(text),
    "support_lost_held": lambda name, _: support.LOST_HELD,
    "liq_total_24h_musd": lambda name, _: liquidation_day.OF_ALL,
    "spot_share_pct": lambda name, _: spot.SHARE,
    "spot_depth_<bp>bp_pct_of_recent": _banded(spot.spot_depth),
    "funding_negative_share_pct": lambda name, _: market_wide.NEGATIVE_SHARE,
    "sector_<name>_24h_pct": sector.over(DAY),
    "sector_<name>_24h_sigma": usual.sector_sigma,
    "sector_<name>_7d_pct": sector.over(WEEK),
    "regime_<state>": _regime(regime.OF_ASSET),
    "regime_total_<state>": _regime(regime.OF_ALL),
}
"""Form of the name → the metric of a name, given the text in the place of <...>, if it fits."""


def cause_asked_by(rule: Rule) -> CauseMetric | None:
    """The metric of the cause of a rule's value; None: alerts of this rule show no cause.

    Over the window of its own metric; of a metric without one only if the rule asks for a cause.
    """
    own = usual.base_of(metric(rule.metric))
    if rule.scope == "market":
        return None
    if isinstance(own, open_interest.OpenInterestMetric | price.PriceMetric):
        return cause.cause_metric(own.window)
    return cause.cause_metric(own.window or cause.DEFAULT) if rule.cause else None


def logged(name: str) -> Metric:
    """The metric or cause of a name in the metric log. ValueError if it is neither."""
    if name.startswith(cause.PREFIX) and (window := duration(name.removeprefix(cause.PREFIX))):
        return cause.cause_metric(window)
    return metric(liquidation_day.OF_ALL.name if name == liquidation_day.LONGS else name)


def of_spot(name: str) -> bool:
    """Whether the metric of that name asks for spot markets."""
    return isinstance(metric(name), OfSpot)


def asked_by(rule: Rule) -> tuple[str, ...]:
    """The names of all that a rule asks to judge its value, its own metric first."""
    of = cause_asked_by(rule) if rule.cause else None
    names = [
        rule.metric,
        *(condition.metric for condition in rule.when),
        *([of.name] if of else []),
    ]
    return tuple(dict.fromkeys(names))


def metric(name: str) -> Metric:
    """The metric of that name. ValueError with the valid forms if there is none."""
    for form, parse in METRICS.items():
        pattern = re.sub("<[a-z]+>", "(.*)", form)
        if (match := re.fullmatch(pattern, name)) and (
            parsed := parse(name, match[1] if match.groups() else "")
        ):
            return parsed
    bands = ", ".join(map(str, BANDS_BP))
    raise ValueError(
        f"unknown metric {name!r}: use one of {', '.join(METRICS)}, "
        f"where <duration> is like 15m or 1h, up to 24h, <bp> one of {bands}, <coin> one of "
        f"{', '.join(stablecoin.OF_COINS)}, <name> a basket of [sectors], and <state> one of "
        f"{', '.join(regime.STATES)}"
    )
