"""The engine: restart anywhere changes nothing, an outage proves nothing, memory is bounded."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from random import Random

import msgspec
from pytest import approx, mark, raises

from rules.alerts import Alert, Level, Turn
from rules.engine import Engine
from rules.rule import Row, Rule
from streams.events import AnyEvent, Kind, Position, Tick, decode, encode
from tests.rules import mix
from tests.rules.facts import (
    HOUR,
    MINUTE,
    SECOND,
    START,
    depth,
    feed,
    liquidation,
    oi,
    predicted,
    price,
    settled,
)

VENUES = ("binance", "bybit", "hyperliquid")
ASSETS = ("BTC", "ETH", "PEPE")


def one(metric: str, fires, clear: float, hold=0, others=True, floor_musd=0.0, **levels) -> Rule:
    """A rule with quick timers, for every asset or for BTC alone."""
    row = Row(
        levels={Level[name.upper()]: x for name, x in levels.items()},
        clear=clear,
        floor_musd=floor_musd,
    )
    return Rule(
        name=metric.split("_")[0] + "_" + fires,
        metric=metric,
        fires=fires,
        rows={} if others else {"BTC": row},
        others=row if others else None,
        hold=dict.fromkeys(Level, hold),
        clear_for=20 * SECOND,
        cooldown=2 * MINUTE,
        max_gap=30 * SECOND,
    )


RULES = [
    msgspec.structs.replace(
        one("funding_8h_pct", "below", 0.002, alert=0.0, critical=-0.03), settlements=1
    ),
    msgspec.structs.replace(
        one("funding_predicted_8h_pct", "below", 0.0, watch=-0.01, hold=5 * SECOND),
        name="predicted",
    ),
    one("oi_net_2m_pct", "below", -1, watch=-2, alert=-4, critical=-8, hold=3 * SECOND),
    one("depth_100bp_pct_of_normal", "below", 95, watch=92, alert=85, critical=60, floor_musd=0.1),
    one("liq_2m_musd", "above", 1, watch=2, alert=4, critical=8),
    msgspec.structs.replace(one("liq_1m_musd", "above", 0.5, alert=1, others=False), name="btc"),
]


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


def run(engine: Engine, events: Sequence[AnyEvent]) -> list[Alert]:
    return [alert for event in events for alert in engine.feed(event)]


@cache
def warm() -> tuple[bytes, int]:
    """An engine that has a normal for every book, and the time then."""
    engine, now = Engine(RULES, VENUES), START
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
    return engine.dump(), now


def history(seed: int, length: int = 90) -> list[AnyEvent]:
    """Some minutes of anything: calm, shocks, outages, holes, clocks that jump back."""
    dice, now = Random(seed), warm()[1] + SECOND
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


def loaded(dumped: bytes, rules: Sequence[Rule] = RULES) -> Engine:
    engine = Engine(rules, VENUES)
    engine.load(dumped)
    return engine


@mark.parametrize("part", range(5))
def test_a_restart_anywhere_changes_nothing(part):
    turns: Counter[Turn] = Counter()
    for seed in range(part * 40, part * 40 + 40):
        events, dice = history(seed), Random(-seed)
        through = loaded(warm()[0])
        alerts = run(through, events)
        cuts = sorted(dice.sample(range(len(events)), 2))
        broken, again = loaded(warm()[0]), list[Alert]()
        for first, last in zip([0, *cuts], [*cuts, len(events)], strict=True):
            again += run(broken, events[first:last])
            broken = loaded(broken.dump())
        assert again == alerts
        assert broken.dump() == through.dump()
        turns.update(alert.turn for alert in alerts)
        assert len({alert.id for alert in alerts}) == len(alerts)
    assert turns.keys() == set(Turn)
    assert turns.total() > 100


def test_a_restart_while_still_warming_changes_nothing():
    events = list(mix.events(9, 200))
    through, broken = Engine(mix.rules(), VENUES), Engine(mix.rules(), VENUES)
    for n, event in enumerate(events):
        if n % 1500 == 700:
            dumped = broken.dump()
            broken = Engine(mix.rules(), VENUES)
            broken.load(dumped)
        assert broken.feed(event) == through.feed(event)
    assert broken.dump() == through.dump()


def test_what_was_dumped_is_what_is_dumped_again():
    dumped = warm()[0]
    assert loaded(dumped).dump() == dumped


def test_events_are_the_same_after_their_way_through_redis():
    events = history(1)
    sent = [decode(encode(event)) for event in events]
    assert run(loaded(warm()[0]), sent) == run(loaded(warm()[0]), events)


def test_ticks_in_between_only_let_time_pass():
    # repeated Ticks of the same second are evidence of nothing new
    events = history(2)
    doubled = [
        e for event in events for e in ((event, event) if isinstance(event, Tick) else (event,))
    ]
    assert run(loaded(warm()[0]), doubled) == run(loaded(warm()[0]), events)


def test_a_clock_that_runs_backwards_does_not_turn_it_back():
    engine = Engine(RULES, VENUES)
    engine.feed(Tick(seen=START))
    engine.feed(feed("binance", Kind.LIQUIDATION, START - HOUR, True))
    (alert,) = engine.feed(liquidation("binance", START - HOUR, 5e6, asset="ETH"))
    assert (alert.seen, alert.at) == (START, START - HOUR - 20)


# ── alerts ──


def test_an_alert_tells_the_whole_story():
    engine, now = loaded(warm()[0]), warm()[1]
    events = [
        liquidation("bybit", now + SECOND, 5e6),
        *(Tick(seen=now + n * SECOND) for n in range(2, 200)),
    ]
    alerts = run(engine, events)
    opened = next(a for a in alerts if a.rule == "liq_above")
    assert opened.id == f"liq_above:BTC:{now + SECOND}:1"
    assert (opened.turn, opened.level, opened.value, opened.threshold) == (
        Turn.OPEN, Level.ALERT, 5.0, 4,
    )  # fmt: skip
    assert (opened.unit, opened.fires, opened.post) == ("M USD", "above", True)
    assert (opened.price, opened.price_before) == (100.0, 100.0)
    assert opened.venues == ("binance", "bybit")
    assert opened.facts.not_available == ("hyperliquid",)
    assert opened.facts.oi_pct == approx(100 * 5e6 / (1e8 * (1 + 1 / 2 + 1 / 3)))
    closed = next(a for a in alerts if a.rule == "liq_above" and a.turn is Turn.CLOSE)
    assert closed.id == f"liq_above:BTC:{now + SECOND}:2"
    assert (closed.value, closed.extreme, closed.extreme_at) == (0, 5, now + SECOND)
    assert closed.seen == now + SECOND + 2 * MINUTE + 20 * SECOND


def test_a_shadow_rule_is_never_posted():
    shadow = [msgspec.structs.replace(RULES[4], post=False)]
    engine = Engine(shadow)
    engine.feed(feed("binance", Kind.LIQUIDATION, START, True))
    assert [a.post for a in engine.feed(liquidation("binance", START, 5e6))] == [False]


def test_an_asset_without_a_row_is_not_remembered():
    engine = Engine([RULES[5]])
    for n in range(100):
        engine.feed(liquidation("binance", START + n, 5e6, asset=f"X{n}"))
    assert len(engine.dump()) < 100


def test_a_throttled_look_is_made_up_for_by_the_next_tick():
    rule = one("oi_net_2m_pct", "below", -1, critical=-8)
    engine = Engine([rule])
    for second in range(0, 180, 10):
        engine.feed(oi("binance", START + second * SECOND, 1000))
    now = START + 180 * SECOND
    assert engine.feed(oi("binance", now, 1000)) == []
    assert engine.feed(oi("binance", now + 400, 900)) == []
    assert [a.turn for a in engine.feed(Tick(seen=now + SECOND))] == [Turn.OPEN]


def test_rules_must_have_names_of_their_own_and_known_metrics():
    with raises(ValueError, match="two rules are called 'btc'"):
        Engine([RULES[5], RULES[5]])
    with raises(ValueError, match="unknown metric"):
        Engine([msgspec.structs.replace(RULES[5], metric="liq")])


# ── outages ──


def down(venues: Sequence[str], now: int) -> list[AnyEvent]:
    return [feed(venue, kind, now, False) for venue in venues for kind in Kind]


@mark.parametrize("seed", range(20))
def test_with_all_feeds_down_nothing_opens_and_nothing_closes(seed):
    engine = loaded(warm()[0])
    events = history(seed)
    run(engine, events)
    now = events[-1].seen + SECOND
    dark = [*down(VENUES, now), *(Tick(seen=now + n * SECOND) for n in range(1, 1200))]
    assert run(engine, dark) == []


def story(engine: Engine, since: int, until: int, usd: float, every: int = 5 * SECOND):
    """Books of BTC on all venues with ``usd`` for the largest, and Ticks."""
    events: list[AnyEvent] = []
    for t in range(since, until, SECOND):
        if (t - since) % every == 0:
            events += [depth(v, t, usd / (1 + n)) for n, v in enumerate(VENUES)]
        events.append(Tick(seen=t + SECOND))
    return [a for a in run(engine, events) if a.rule == "depth_below"]


def test_thin_depth_opens_survives_an_outage_and_closes_after_it():
    engine, now = loaded(warm()[0]), warm()[1]
    assert story(engine, now, now + 2 * MINUTE, 4e6) == []
    thin = story(engine, now + 2 * MINUTE, now + 4 * MINUTE, 2e6)
    assert [(a.turn, a.level) for a in thin][-1] == (Turn.UP, Level.CRITICAL)
    dark = down(VENUES, now + 4 * MINUTE) + [
        Tick(seen=now + 4 * MINUTE + n * SECOND) for n in range(600)
    ]
    assert run(engine, dark) == []
    back = story(engine, now + 14 * MINUTE, now + 17 * MINUTE, 4e6)
    assert [a.turn for a in back] == [Turn.CLOSE]
    # a minute of warming, then clear_for
    assert back[0].seen == now + 15 * MINUTE + 20 * SECOND


def test_a_dead_socket_without_a_word_is_no_evidence_either():
    engine, now = loaded(warm()[0]), warm()[1]
    story(engine, now, now + 2 * MINUTE, 2e6)
    silent = [Tick(seen=now + 2 * MINUTE + n * SECOND) for n in range(1200)]
    assert run(engine, silent) == []


def test_a_hole_starts_a_pending_breach_anew():
    rule = one("oi_net_2m_pct", "below", -1, alert=-4, hold=20 * SECOND)

    def opened(hole: int) -> list[Turn]:
        engine, events, t = Engine([rule]), list[AnyEvent](), START
        for n in range(40):
            t += 5 * SECOND + (hole if n == 29 else 0)
            events.append(oi("binance", t, 1000 if n < 27 else 900))
        return [a.turn for a in run(engine, events[:32])]

    assert opened(0) == [Turn.OPEN]
    assert opened(31 * SECOND) == []


def test_losing_the_venue_with_the_liquidations_is_no_recovery():
    engine, now = loaded(warm()[0]), warm()[1]
    opened = engine.feed(liquidation("bybit", now, 9e6, asset="ETH"))
    assert [a.turn for a in opened] == [Turn.OPEN]
    quiet = [feed("bybit", Kind.LIQUIDATION, now + SECOND, False)]
    quiet += [Tick(seen=now + n * SECOND) for n in range(2, 600)]
    assert run(engine, quiet) == []
    up = [feed("bybit", Kind.LIQUIDATION, now + 600 * SECOND, True)]
    up += [Tick(seen=now + n * SECOND) for n in range(600, 640)]
    assert [a.turn for a in run(engine, up)] == [Turn.CLOSE]


def test_the_state_of_a_feed_is_known_before_its_first_data():
    engine = Engine([RULES[4]])
    engine.feed(feed("binance", Kind.LIQUIDATION, START, True))
    engine.feed(feed("bybit", Kind.LIQUIDATION, START, False, symbol="BTCUSDT"))
    engine.feed(oi("bybit", START, 10, 3e8))
    engine.feed(oi("binance", START, 20, 7e8))
    (alert,) = engine.feed(liquidation("binance", START, 5e6))
    assert alert.missing == ("bybit",)


def test_a_word_for_the_whole_venue_overrules_earlier_ones():
    engine = Engine([RULES[4]])
    engine.feed(feed("binance", Kind.LIQUIDATION, START, False, symbol="BTCUSDT"))
    engine.feed(feed("binance", Kind.LIQUIDATION, START, True))
    engine.feed(oi("binance", START, 20, 7e8))
    engine.feed(feed("binance", Kind.LIQUIDATION, START, False))
    engine.feed(oi("bybit", START, 20, 7e8))
    assert [a.missing for a in engine.feed(liquidation("bybit", START, 5e6))] == []
    engine.feed(feed("binance", Kind.LIQUIDATION, START, True, symbol="BTCUSDT"))
    (alert,) = engine.feed(liquidation("bybit", START + 1, 1e6))
    assert alert.missing == ()


# ── changed rules, old state ──


def firing() -> tuple[bytes, int]:
    engine, now = loaded(warm()[0]), warm()[1]
    assert engine.feed(liquidation("bybit", now, 5e6))
    return engine.dump(), now


def test_an_open_episode_lives_on_under_changed_levels():
    dumped, now = firing()
    changed = msgspec.structs.replace(
        RULES[4], others=Row(levels={Level.ALERT: 3}, clear=0.1), clear_for=0
    )
    engine = loaded(dumped, [changed])
    ticks = [Tick(seen=now + n * SECOND) for n in range(1, 200)]
    (closed,) = run(engine, ticks)
    assert (closed.turn, closed.opened_at) == (Turn.CLOSE, now)


@mark.parametrize("change", [{"name": "other"}, {"metric": "liq_3m_musd"}, {"others": None}])
def test_an_episode_of_another_rule_metric_or_asset_is_dropped(change):
    dumped, now = firing()
    engine = loaded(dumped, [msgspec.structs.replace(RULES[4], **change), RULES[3]])
    assert run(engine, [Tick(seen=now + n * SECOND) for n in range(1, 400)]) == []


def test_a_new_rule_finds_what_was_remembered_for_others():
    engine = loaded(warm()[0], [one("depth_100bp_pct_of_normal", "below", 99, alert=98)])
    assert story(engine, warm()[1], warm()[1] + 2 * MINUTE, 2e6)[0].turn is Turn.OPEN


@mark.parametrize("dumped", [b"", b"{}", b"\x00" * 40])
def test_what_is_not_a_dump_is_refused_and_harms_nothing(dumped):
    engine = loaded(warm()[0])
    with raises(ValueError, match="start without it"):
        engine.load(dumped)
    assert engine.dump() == warm()[0]


def test_instruments_silent_for_a_day_are_forgotten():
    engine = Engine(RULES, VENUES)
    engine.feed(feed("bybit", Kind.LIQUIDATION, START, True, symbol="NEWUSDT"))
    engine.feed(liquidation("binance", START, 5e6, asset="OLD"))
    sizes = []
    for hour in range(27):
        now = START + hour * HOUR
        engine.feed(oi("binance", now, 1000))
        engine.feed(Tick(seen=now))
        sizes.append(b"OLD" in engine.dump() or b"NEW" in engine.dump())
    assert sizes == [True] * 25 + [False] * 2
    assert b"BTC" in engine.dump()


def test_after_a_long_absence_the_feeds_may_speak_first():
    engine = Engine(RULES, VENUES)
    engine.feed(liquidation("binance", START, 1e5))
    engine.feed(Tick(seen=START))
    engine.feed(Tick(seen=START + 60 * HOUR))
    assert b"BTC" in engine.dump()
    engine.feed(Tick(seen=START + 61 * HOUR))
    assert b"BTC" not in engine.dump()


def test_memory_does_not_grow_with_time():
    engine = Engine(RULES, VENUES)
    sizes: list[int] = []
    for hour in range(12):
        for second in range(0, 3600, 20):
            now = START + hour * HOUR + second * SECOND
            engine.feed(depth("binance", now, 4e6))
            engine.feed(oi("binance", now, 1000))
            engine.feed(price("binance", now, 100.0))
            engine.feed(liquidation("binance", now, 1e3))
            engine.feed(Tick(seen=now))
        sizes.append(len(engine.dump()))
    assert max(sizes[6:]) <= 1.02 * sizes[5]
