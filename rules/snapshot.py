"""What the rules see now: the value of every metric that is watched, and the open episodes. Pure.

For whoever asks between alerts: commands, edits of posts, the metric log.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite

import msgspec

from rules.alerts import ALL, Alert, Cause, Level, LiveShare, NearRelease, PartFacts, Turn
from rules.context import CONTEXT, SourceFacts, context_numbers
from rules.episode import Transition, ready
from rules.judge import alert, composite_alert
from rules.macro import CryptoValue, MacroValue
from rules.metric import HasPresent, Reading, live_share
from rules.metrics.cause import CauseMetric
from rules.metrics.liquidation_day import LONGS, LiquidationDay
from rules.watchlist import CompositeInstance, MetricInstance, RuleInstance
from streams.events import Fault, Ms


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A metric on an asset, on one of its instruments, or on the market."""

    metric: str
    unit: str
    asset: str
    instrument: str = ""
    """``venue/symbol``; "": it is of the asset or the market."""
    value: float | None = None
    """In ``unit``; None: it cannot be given now, and only ``price`` and ``since`` can."""
    floor_musd: float | None = None
    """What absolute floors of rules are compared with, million USD."""
    missing: tuple[str, ...] = ()
    """Venues left out."""
    coverage: LiveShare | None = None
    """What is left without them; None: none is missing."""
    lower_bound: bool = False
    """The value may be larger."""
    settled_at: Ms | None = None
    """When the funding was settled."""
    interval_ms: Ms | None = None
    """The funding interval."""
    price: float | None = None
    """Of the asset, quote per coin."""
    facts: PartFacts | None = None
    present_usd: float | None = None
    """Of a value that cannot be given, what there is now at least, which would be compared."""
    since: Ms | None = None
    """Since when every rule on this metric has watched it: of a time before, nobody can say that
    there was no episode."""
    cause: Cause | None = None
    """Of open interest and price; None: unknown."""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules saw of one metric, for the metric log; with metric ``PRICE``, the price of an
    asset, with ``MACRO_PRICE`` that of what is no coin, with ``CONTEXT`` a number of a source.

    Fields without a comment are as in ``Value``.
    """

    metric: str
    asset: str
    instrument: str = ""
    value: float | None = None
    """Now; None: it cannot be given now."""
    low: float | None = None
    """The least value since this was last asked, ``value`` included; None: there was none."""
    high: float | None = None
    """The largest, in the same way."""
    floor_musd: float | None = None
    lower_bound: bool = False
    breach_only: bool = False
    """See ``Reading``."""
    settled_at: Ms | None = None
    interval_ms: Ms | None = None


class CompositeSince(msgspec.Struct, frozen=True, kw_only=True):
    """A composite that is watched on an asset."""

    composite: str
    asset: str
    since: Ms
    """Of a time before, nobody knows whether it fired."""


PRICE = "price"
"""Stands for a metric's name where an asset's price is meant, quote per coin."""

MACRO_PRICE = "macro_price"
"""The same of what is no coin: the asset may have the name of one."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules see at ``seen``."""

    seen: Ms
    values: tuple[Value, ...]
    episodes: tuple[Alert, ...]
    """Each open episode as an alert with its present value, level and extreme, not to be posted."""
    stale: tuple[Alert, ...] = ()
    """Those whose value cannot be given now: in the same way, with the last value, its time as
    ``at``, and without facts."""
    composites: tuple[CompositeSince, ...] = ()
    """All that are watched."""
    macro: tuple[MacroValue, ...] = ()
    """What is no coin, as far as its price is known."""
    crypto: CryptoValue | None = None
    """What crypto did beside it; None: it was never watched."""
    context: tuple[SourceFacts, ...] = ()
    """What context sources say, as far as it is not too old."""
    drifts: tuple[Fault, ...] = ()
    """What does not check out at a venue, as operators were told, with the time since when."""


class OpenEpisodes(msgspec.Struct, frozen=True, kw_only=True):
    """The open episodes at ``seen``, as in ``Standing``."""

    seen: Ms
    episodes: tuple[Alert, ...]
    stale: tuple[Alert, ...] = ()
    prices: Mapping[str, float] = {}
    """Asset → quote per coin then, as far as known."""
    releases: tuple[NearRelease, ...] = ()
    """The announcements that calendars have."""


def values(
    metric_instances: Iterable[MetricInstance], now: Ms, with_facts: bool
) -> Iterator[Value]:
    """The value of each metric instance. ``with_facts``: with what a message shows beside it."""
    for metric_instance in metric_instances:
        metric, view = metric_instance.metric, metric_instance.view
        if isinstance(metric, CauseMetric):
            continue  # a number that only the metric log understands
        price = view.price(now)
        reading = metric_instance.reading(now)
        if reading is None:
            present = None
            if with_facts and isinstance(metric, HasPresent):
                present = metric.present_usd(view, now)
            yield Value(
                metric=metric.name, unit=metric.unit, asset=view.asset,
                instrument=metric_instance.instrument, price=price, since=metric_instance.since,
                present_usd=present,
            )  # fmt: skip
            continue
        yield Value(
            metric=metric.name,
            unit=metric.unit,
            asset=view.asset,
            instrument=metric_instance.instrument,
            value=reading.value,
            floor_musd=reading.floor_musd,
            missing=reading.missing,
            coverage=live_share(view, reading),
            lower_bound=reading.lower_bound,
            settled_at=reading.settled_at,
            interval_ms=reading.interval_ms,
            price=price,
            since=metric_instance.since,
            facts=metric.facts(view, now) if with_facts else None,
            cause=metric_instance.rules[0].cause(now)
            if with_facts and metric_instance.rules
            else None,
        )


def composites_since(composites: Iterable[CompositeInstance]) -> Iterator[CompositeSince]:
    """Since when each composite is watched on its asset."""
    for composite in composites:
        since = composite.state.record_from
        yield CompositeSince(composite=composite.spec.name, asset=composite.asset, since=since)


def observed(metric_instances: Iterable[MetricInstance], now: Ms) -> Iterator[Observed]:
    """What each metric instance saw since this was last called, and the prices of the assets."""
    priced: set[str] = set()
    for metric_instance in metric_instances:
        view = metric_instance.view
        if view.asset not in priced and not metric_instance.instrument and view.asset != ALL:
            priced.add(view.asset)
            yield Observed(metric=PRICE, asset=view.asset, value=view.price(now))
        reading = metric_instance.reading(now)
        yield _observed(metric_instance, reading)
        if isinstance(metric_instance.metric, LiquidationDay):
            yield Observed(
                metric=LONGS,
                asset=view.asset,
                value=reading.longs if reading else None,
                lower_bound=reading.lower_bound if reading else False,
                breach_only=reading.breach_only if reading else False,
            )


def macro_observed(values: Iterable[MacroValue]) -> Iterator[Observed]:
    """The prices of what is no coin."""
    for value in values:
        yield Observed(metric=MACRO_PRICE, asset=value.asset, value=value.price)


def context_observed(answers: Iterable[SourceFacts]) -> Iterator[Observed]:
    """What context sources say in numbers."""
    for name, number in context_numbers(answers):
        yield Observed(metric=CONTEXT, asset=name, value=number)


def _observed(metric_instance: MetricInstance, reading: Reading | None) -> Observed:
    seen = [x for x in (metric_instance.low, metric_instance.high) if isfinite(x)]
    metric_instance.fresh()
    if reading is not None:
        seen.append(reading.value)
    return Observed(
        metric=metric_instance.metric.name,
        asset=metric_instance.view.asset,
        instrument=metric_instance.instrument,
        value=reading.value if reading else None,
        low=min(seen, default=None),
        high=max(seen, default=None),
        floor_musd=reading.floor_musd if reading else None,
        lower_bound=reading.lower_bound if reading else False,
        breach_only=reading.breach_only if reading else False,
        settled_at=reading.settled_at if reading else None,
        interval_ms=reading.interval_ms if reading else None,
    )


def open_episodes(
    metric_instances: Iterable[MetricInstance], composites: Iterable[CompositeInstance], now: Ms
) -> OpenEpisodes:
    """The open episodes of these metric instances, and the composites that fire."""
    episodes: list[Alert] = []
    stale: list[Alert] = []
    for metric_instance in metric_instances:
        firing = [instance for instance in metric_instance.rules if instance.episode.level]
        reading = metric_instance.metric.value(metric_instance.view, now) if firing else None
        for instance in firing:
            if reading is not None and instance.judged(reading):
                step = _standing(instance, reading.value, now)
                episodes.append(
                    alert(instance, step, instance.episode.turns, reading, now, now, "")
                )
            else:
                stale.append(_last_seen(instance, now))
    for composite in composites:
        if composite.state.firing:
            standing = composite_alert(composite, Turn.WORSE, now, now)
            episodes.append(msgspec.structs.replace(standing, post=False))
    return OpenEpisodes(seen=now, episodes=tuple(episodes), stale=tuple(stale))


def _last_seen(instance: RuleInstance, now: Ms) -> Alert:
    """An open episode as it was when it could last be judged."""
    episode = instance.episode
    # what an earlier version wrote down has no last value yet
    value = episode.extreme if episode.value is None else episode.value
    at = now if episode.last_live is None else episode.last_live
    step = _standing(instance, value, now)
    last = alert(instance, step, episode.turns, Reading(value=value), now, at, "")
    return msgspec.structs.replace(last, facts=None)


def _standing(instance: RuleInstance, value: float, now: Ms) -> Transition:
    level, alone = instance.episode.level, ready(instance.rule, instance.episode, now)
    kept_below = Level(alone) if alone > level else None
    return Transition(Turn.WORSE, Level(level), value, post=False, alone=kept_below)
