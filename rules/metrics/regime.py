"""The regime of an asset or of the market as a set of states: ``regime_<state>``, 1 in it, else 0.

The states are those of ``rules.regime``. What it is judged by is measured here, by metrics that
rules may watch as well, a few times a minute: it is a matter of minutes to days, and in a crash it
costs no more than in calm. The thresholds are the same for all assets; docs/defaults.md says whence
they are.

State of an asset: 200 bytes, beside what those metrics remember.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from rules.alerts import (
    Regime,
    RegimeCondition,
    RegimeEvidence,
    RegimeFacts,
    Scope,
)
from rules.market import Keep, Market, Memo, View
from rules.metric import LEAST_SHARE, OF_MARKET, Metric, Reading
from rules.metrics import depth, drawdown, funding, liquidation, liquidation_day, market_wide
from rules.metrics.open_interest import open_interest
from rules.metrics.price import price
from rules.regime import FORCED_OF, SETTLEMENTS, Conditions, RegimeState, enough_met
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import Kind, MarketEvent, Ms

LOOK_EVERY: Ms = 10 * SECOND
KNOWN_FOR: Ms = MINUTE
"""When nothing of the evidence has been known for longer, neither is the regime."""

INTEREST_FALL_PCT = -5.0
TOTAL_INTEREST_FALL_PCT = -4.0
"""Of all coins together, whose falls are not of one minute."""
PRICE_FALL_PCT = -4.0
LONGS_PCT = 0.3
"""Of open interest."""
THIN_PCT, STILL_THIN_PCT, REPAIRED_PCT = 60.0, 75.0, 85.0
"""Of normal at this hour of day."""
REDUCED_PCT, REBUILT_PCT = -15.0, -10.0
"""From the high of open interest."""
NEGATIVE_PCT = 40.0
"""Of contracts, up to which the funding of the market is positive."""

UNIT = "state"
STATES = tuple(regime for regime in Regime if regime is not Regime.CALM)
"""Those that are told; calm is their end."""

_OF_ASSET: frozenset[Scope] = frozenset({"asset"})
_KINDS = frozenset({Kind.PRICE, Kind.OPEN_INTEREST, Kind.DEPTH, Kind.FUNDING, Kind.LIQUIDATION})

_INTEREST = open_interest("oi_net_1h_pct", HOUR)
_PRICE = price("price_1h_pct", HOUR)
_LIQUIDATED = liquidation.liquidation("liq_1h_musd", HOUR)
_DEPTHS = tuple(depth.of_normal(f"depth_{bp}bp_pct_of_normal", bp) for bp in (25, 10))
"""The wider band first; in a fall books often do not reach it."""
_TOTAL_INTEREST = market_wide.total("oi_total_net_1h_pct", HOUR)
_FROM_HIGH = drawdown.OF_GROUPS["total"]


class RegimeMemo:
    """The regime of one asset, or of the market, in bytes and back."""

    __slots__ = ("known_at", "state")

    def __init__(self) -> None:
        self.state = RegimeState()
        self.known_at: Ms = 0
        """When any of the evidence was last known; 0: never."""

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``."""
        self.state.set_back(now)
        self.known_at = min(self.known_at, now)

    def dump(self) -> list[bytes]:
        """All of it as bytes."""
        return [msgspec.msgpack.encode((self.known_at, self.state))]

    def load(self, dumped: Sequence[bytes]) -> None:
        """Takes over what was dumped. ValueError if it does not fit."""
        try:
            (whole,) = dumped
            self.known_at, self.state = _decoder.decode(whole)
        except msgspec.MsgspecError as error:
            raise ValueError("the dumped regime is not readable: start without it") from error


_decoder = msgspec.msgpack.Decoder(tuple[Ms, RegimeState])

REGIME = Keep("regime", RegimeMemo)


@dataclass(frozen=True, slots=True)
class RegimeMetric:
    """``regime_<state>`` of an asset, ``regime_total_<state>`` of the market."""

    name: str
    regime: Regime
    scopes: frozenset[Scope]
    evidence: Callable[[View, Ms], tuple[RegimeEvidence, ...]]
    made_of: tuple[Metric, ...]
    unit: str = UNIT
    kinds: frozenset[Kind] = _KINDS
    window: Ms | None = None
    """It compares no two times."""
    look_every: Ms = LOOK_EVERY
    idle_look: Ms | None = LOOK_EVERY
    price_keep: Ms = HOUR

    def keeps(self) -> tuple[Keep[Memo], ...]:
        return (REGIME,)

    def parts(self) -> tuple[Metric, ...]:
        """What the evidence is measured by."""
        return self.made_of

    def take(self, market: Market, event: MarketEvent, now: Ms) -> bool:
        return False

    def learn(self, view: View, now: Ms) -> None:
        """Weighs the evidence, once for all states."""
        memo = view.keep(REGIME)
        state = memo.state
        if state.looked_at <= now < state.looked_at + LOOK_EVERY:
            return
        settled = funding.SETTLED.value(view, now)
        if settled is not None and settled.settled_at is not None:
            interval = settled.interval_ms or 0
            state.count(settled.settled_at, interval, settled.value > 0)
            if not state.extended and funding.SETTLED.tells_past(settled):
                past = [(at, reading.value > 0) for at, reading in funding.SETTLED.past(view)]
                state.extend(reversed(past), interval)
        evidence = view.once(self.evidence, now)
        if any(each.value is not None for each in evidence):
            memo.known_at = now
        state.step(conditions(evidence), now)

    def value(self, view: View, now: Ms) -> Reading | None:
        memo = view.memo(REGIME)
        if memo is None or now - memo.known_at > KNOWN_FOR:
            return None
        regime = memo.state.shown(now)
        return None if regime is None else Reading(value=float(regime is self.regime))

    def facts(self, view: View, now: Ms) -> RegimeFacts | None:
        memo = view.memo(REGIME)
        if memo is None or memo.state.regime is None:
            return None
        state = memo.state
        return RegimeFacts(
            regime=state.regime or Regime.CALM,
            since=state.since,
            before=state.before,
            evidence=view.once(self.evidence, now),
        )

    def distance(self, value: float) -> float:
        return value


def conditions(evidence: Sequence[RegimeEvidence]) -> Conditions:
    """What the evidence, each condition of it once, comes to."""
    of = {each.condition: each for each in evidence}
    forced = (
        RegimeCondition.INTEREST_FALLS, RegimeCondition.PRICE_FALLS, RegimeCondition.LONGS_CLOSED
    )  # fmt: skip
    depth_pct = of[RegimeCondition.THIN].value
    from_high = of[RegimeCondition.REDUCED].value
    return Conditions(
        forced=enough_met(FORCED_OF, [of[condition].met for condition in forced]),
        thin=of[RegimeCondition.THIN].met,
        still_thin=None if depth_pct is None else depth_pct < STILL_THIN_PCT,
        repaired=of[RegimeCondition.REPAIRED].met,
        reduced=of[RegimeCondition.REDUCED].met,
        rebuilt=None if from_high is None else from_high > REBUILT_PCT,
        positive=of[RegimeCondition.POSITIVE].met,
    )


def of_asset(view: View, now: Ms) -> tuple[RegimeEvidence, ...]:
    """The evidence of one asset."""
    liquidated = _LIQUIDATED.value(view, now)
    longs = None if liquidated is None else _LIQUIDATED.longs_of_held(view, now)
    partial = liquidated is None or liquidated.lower_bound or liquidated.breach_only
    depths = (of.value(view, now) for of in _DEPTHS)
    depth_pct = next((reading.value for reading in depths if reading is not None), None)
    memo, settled = view.memo(REGIME), funding.SETTLED.value(view, now)
    streak = memo.state.streak if memo is not None and settled is not None else None
    return (
        _below(RegimeCondition.INTEREST_FALLS, _value(_INTEREST, view, now), INTEREST_FALL_PCT),
        _below(RegimeCondition.PRICE_FALLS, _value(_PRICE, view, now), PRICE_FALL_PCT),
        _above(RegimeCondition.LONGS_CLOSED, longs, LONGS_PCT, partial=partial),
        *_of_depth(depth_pct),
        _below(RegimeCondition.REDUCED, _value(drawdown.INTEREST_NET, view, now), REDUCED_PCT),
        _above(RegimeCondition.POSITIVE, float(streak) if streak else None, SETTLEMENTS),
    )


def of_market(view: View, now: Ms) -> tuple[RegimeEvidence, ...]:
    """The evidence of the market."""
    liquidated, longs = liquidation_day.OF_ALL.value(view, now), None
    held = sum([sum(asset.usd_held().values()) for asset in view.assets.values()])
    if liquidated is not None and held > 0:
        longs = 100 * liquidation_day.longs_of_late(view, now) / held
    partial = liquidated is None or liquidated.lower_bound or liquidated.breach_only
    contracts = [market for asset in view.assets.values() for market in asset.ordered]
    depths = (of.over(contracts, now) for of in _DEPTHS)
    depth_pct = next((reading.value for reading in depths if reading is not None), None)
    total = _value(_TOTAL_INTEREST, view, now)
    return (
        _below(RegimeCondition.INTEREST_FALLS, total, TOTAL_INTEREST_FALL_PCT),
        _below(RegimeCondition.PRICE_FALLS, _weighted_price(view, now), PRICE_FALL_PCT),
        _above(RegimeCondition.LONGS_CLOSED, longs, LONGS_PCT, partial=partial),
        *_of_depth(depth_pct),
        _below(RegimeCondition.REDUCED, _value(_FROM_HIGH, view, now), REDUCED_PCT),
        _below(
            RegimeCondition.POSITIVE, _value(market_wide.NEGATIVE_SHARE, view, now), NEGATIVE_PCT
        ),
    )


def _of_depth(pct: float | None) -> tuple[RegimeEvidence, RegimeEvidence]:
    thin = _below(RegimeCondition.THIN, pct, THIN_PCT)
    return thin, _above(RegimeCondition.REPAIRED, pct, REPAIRED_PCT)


def _value(of: Metric, view: View, now: Ms) -> float | None:
    reading = of.value(view, now)
    return None if reading is None else reading.value


def _below(condition: RegimeCondition, value: float | None, threshold: float) -> RegimeEvidence:
    met = None if value is None else value <= threshold
    return RegimeEvidence(condition=condition, value=value, threshold=threshold, met=met)


def _above(
    condition: RegimeCondition, value: float | None, threshold: float, *, partial: bool = False
) -> RegimeEvidence:
    """``partial``: something is left out that can only add to the value."""
    met = None if value is None else True if value >= threshold else None if partial else False
    return RegimeEvidence(condition=condition, value=value, threshold=threshold, met=met)


def _weighted_price(view: View, now: Ms) -> float | None:
    """The mean change of the coins' prices, weighted by open interest; None: too few are known."""
    total = known = change = 0.0
    for asset in view.assets.values():
        usd = sum(asset.usd_held().values())
        total += usd
        reading = _PRICE.value(asset, now) if usd > 0 else None
        if reading is not None:
            known, change = known + usd, change + usd * reading.value
    return change / known if known > 0 and known >= LEAST_SHARE * total else None


OF_ASSET = {
    regime: RegimeMetric(
        f"regime_{regime}", regime, _OF_ASSET, of_asset,
        (_INTEREST, _PRICE, _LIQUIDATED, *_DEPTHS, drawdown.INTEREST_NET, funding.SETTLED),
    )
    for regime in STATES
}  # fmt: skip
OF_ALL = {
    regime: RegimeMetric(
        f"regime_total_{regime}", regime, OF_MARKET, of_market,
        (_TOTAL_INTEREST, _FROM_HIGH, liquidation_day.OF_ALL, market_wide.NEGATIVE_SHARE),
    )
    for regime in STATES
}  # fmt: skip
