"""Small rules with quick timers, a warm engine, and some minutes of anything for it."""

from collections.abc import Sequence
from functools import cache
from random import Random

import msgspec

from rules.alerts import ALL, Alert, AlertOrNotice, Level
from rules.composite import Composite
from rules.engine import Engine
from rules.rule import Row, Rule, When
from streams.durations import MINUTE, SECOND
from streams.events import AnyEvent, Kind, Position, Tick
from tests.rules import mix
from tests.rules.facts import START, depth, feed, liquidation, oi, predicted, price, settled

VENUES = ("binance", "bybit", "hyperliquid")
ASSETS = ("BTC", "ETH", "PEPE")


def quick_rule(
    metric: str, fires, clear: float, hold=0, others=True, floor_musd=0.0, **levels
) -> Rule:
    """A rule with quick timers, for every asset or for BTC alone."""
    row = Row(
        levels={Level[name.upper()]: x for name, x in levels.items()},
        clear=clear,
        floor_musd=floor_musd,
    )
    name = metric.split("_")[0] + "_" + fires
    return Rule(
        name=name,
        family=name,
        metric=metric,
        fires=fires,
        rows={} if others else {"BTC": row},
        others=row if others else None,
        hold=dict.fromkeys(Level, hold),
        clear_for=20 * SECOND,
        cooldown=2 * MINUTE,
        max_gap=30 * SECOND,
    )


def named(name: str, rule: Rule, **changes) -> Rule:
    """The same rule under another name, and perhaps otherwise changed."""
    return msgspec.structs.replace(rule, **{"name": name, "family": name, **changes})


def of_market(name: str, rule: Rule) -> Rule:
    """The same rule for the market as a whole."""
    return named(name, rule, scope="market", rows={ALL: rule.others}, others=None)


RULES = [
    msgspec.structs.replace(
        quick_rule("funding_8h_pct", "below", 0.002, alert=0.0, critical=-0.03), settlements=1
    ),
    msgspec.structs.replace(
        quick_rule("funding_predicted_8h_pct", "below", 0.0, watch=-0.01, hold=5 * SECOND),
        name="predicted",
    ),
    quick_rule("oi_net_2m_pct", "below", -1, watch=-2, alert=-4, critical=-8, hold=3 * SECOND),
    quick_rule(
        "depth_100bp_pct_of_recent", "below", 95, watch=92, alert=85, critical=60, floor_musd=0.1
    ),
    quick_rule("liq_2m_musd", "above", 1, watch=2, alert=4, critical=8),
    msgspec.structs.replace(
        quick_rule("liq_1m_musd", "above", 0.5, alert=1, others=False), name="btc"
    ),
    named("normal", quick_rule("depth_100bp_pct_of_normal", "below", 95, watch=92, critical=60)),
    quick_rule("price_2m_pct", "below", -1, watch=-2, alert=-5, critical=-15, hold=2 * SECOND),
    named("oi_below:1m", quick_rule("oi_net_1m_pct", "below", -1, alert=-3), family="oi_below"),
    named("one_oi", quick_rule("oi_net_2m_pct", "below", -1, alert=-4), scope="instrument"),
    named("one_liq", quick_rule("liq_1m_musd", "above", 0.3, alert=1), scope="instrument"),
    of_market("total", quick_rule("oi_total_net_2m_pct", "below", -1, watch=-2, alert=-4)),
    of_market("share", quick_rule("funding_negative_share_pct", "above", 20, watch=25, alert=40)),
    named(
        "asking",
        quick_rule("oi_net_2m_pct", "below", -1, alert=-4, critical=-12),
        when=(When("price_2m_pct", "<=", -0.5), When("liq_3m_musd", ">=", 0.2)),
    ),
]
COMPOSITES = [
    Composite(
        name="cascade",
        level=Level.CRITICAL,
        within=40 * SECOND,
        all_of=(
            ("oi_below", Level.ALERT), ("liq_above", Level.WATCH), ("depth_below", Level.WATCH),
        ),
        hides=("oi_below", "liq_above", "depth_below", "price_below", "one_liq"),
        hold=10 * SECOND,
        cooldown=90 * SECOND,
    ),
    Composite(
        name="any_two",
        level=Level.ALERT,
        within=20 * SECOND,
        all_of=(
            ("price_below", Level.WATCH), ("liq_above", Level.ALERT), ("normal", Level.WATCH),
        ),
        at_least=2,
        hides=("normal",),
        hold=5 * SECOND,
        cooldown=60 * SECOND,
    ),
    Composite(
        name="broad",
        level=Level.WATCH,
        within=40 * SECOND,
        all_of=(("total", Level.WATCH), ("share", Level.WATCH)),
        hides=("total",),
        hold=5 * SECOND,
        cooldown=60 * SECOND,
    ),
]  # fmt: skip


def ticked(events: Sequence[AnyEvent]) -> list[AnyEvent]:
    """The events with a Tick at every full second between them."""
    out: list[AnyEvent] = []
    second = events[0].seen // SECOND if events else 0
    for event in events:
        while second < event.seen // SECOND:
            second += 1
            out.append(Tick(seen=second * SECOND))
        out.append(event)
    return out


def feed_all(engine: Engine, events: Sequence[AnyEvent]) -> list[AlertOrNotice]:
    return [output for event in events for output in engine.feed(event)]


def run(engine: Engine, events: Sequence[AnyEvent]) -> list[Alert]:
    """The alerts alone."""
    return [output for output in feed_all(engine, events) if isinstance(output, Alert)]


@cache
def warm() -> tuple[bytes, int]:
    """An engine that has a normal for every book, and the time then."""
    engine, now = Engine(RULES, VENUES, COMPOSITES), START
    for venue in VENUES:
        for kind in (Kind.FUNDING, Kind.OPEN_INTEREST, Kind.DEPTH, Kind.PRICE, Kind.LIQUIDATION):
            if (venue, kind) != ("hyperliquid", Kind.LIQUIDATION):
                engine.feed(feed(venue, kind, START, True))
    for now in range(START, START + 32 * MINUTE, 12 * SECOND):
        for asset in ASSETS:
            for n, venue in enumerate(VENUES):
                engine.feed(depth(venue, now, 4e6 / (1 + n), asset=asset))
                engine.feed(oi(venue, now, 1e5 / (1 + n), 1e8 / (1 + n), asset=asset))
                engine.feed(price(venue, now, 100.0, asset=asset))
    for asset in ASSETS:
        for venue in VENUES:
            engine.feed(settled(venue, START, 0.0001, 8, seen=now, asset=asset))
    return loaded(mix.with_hours(engine.dump(), now, 2.2e6)).dump(), now


def history(seed: int) -> list[AnyEvent]:
    """Some minutes of anything: calm, shocks, outages, holes, clocks that jump back."""
    dice, now = Random(seed), warm()[1] + SECOND
    length = 90 if seed % 6 else 500
    shock = dict.fromkeys(ASSETS, 1.0)
    events: list[AnyEvent] = []
    for _ in range(length):
        now += int(dice.expovariate(1 / 700)) if dice.random() < 0.99 else 45 * SECOND
        asset, venue = dice.choice(ASSETS), dice.choice(VENUES)
        if dice.random() < 0.08:
            shock[asset] = dice.choice([1.0, 0.97, 0.9, 0.8, 0.5])
        seen = now - dice.choice([0, 0, 0, 0, 900])
        events.append(_any(dice, venue, asset, seen, shock[asset]))
    return ticked(sorted(events, key=lambda e: e.seen // 2000))


def _any(dice: Random, venue: str, asset: str, seen: int, shock: float) -> AnyEvent:
    n = 1 + VENUES.index(venue)
    match dice.choices(range(6), (30, 20, 12, 8, 25, 6))[0]:
        case 0:
            usd = 4e6 / n * shock * dice.uniform(0.95, 1.05)
            return depth(venue, seen, usd, covered=dice.random() > 0.05, asset=asset)
        case 1:
            return oi(venue, seen, 1e5 / n * shock, 1e8 / n * shock, asset=asset)
        case 2:
            return price(venue, seen, 100 * shock, asset=asset)
        case 3 if dice.random() < 0.5:
            return predicted(venue, seen, dice.gauss(0, 0.0002), asset=asset)
        case 3:
            rate = dice.gauss(0, 0.0003)
            return settled(venue, seen - dice.randint(0, 9_000), rate, 8, seen=seen, asset=asset)
        case 4:
            usd = dice.paretovariate(1) * 3e5
            return liquidation(venue, seen, usd, dice.choice(tuple(Position)), asset=asset)
        case _:
            symbol = dice.choice(["*", f"{asset}USDT"])
            return feed(venue, dice.choice(tuple(Kind)), seen, dice.random() < 0.7, symbol)


def loaded(dumped: bytes, rules: Sequence[Rule] = RULES, composites=None) -> Engine:
    """An engine that goes on from ``dumped``; of other rules without the composites over these."""
    if composites is None:
        composites = COMPOSITES if rules is RULES else []
    engine = Engine(rules, VENUES, composites)
    engine.load(dumped)
    return engine


def down(venues: Sequence[str], now: int) -> list[AnyEvent]:
    return [feed(venue, kind, now, False) for venue in venues for kind in Kind]


def value(engine: Engine, metric: str, asset: str = "BTC") -> float | None:
    """What the metric of that name is now, of ``asset``."""
    return next(
        v.value for v in engine.standing(False).values if (v.metric, v.asset) == (metric, asset)
    )
