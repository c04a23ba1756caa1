"""The engine: restart anywhere changes nothing, an outage proves nothing, memory is bounded."""

from collections import Counter
from random import Random

import msgspec
from pytest import approx, mark, param, raises

from rules.alerts import Alert, AlertOrNotice, Level, LiveShare, Turn
from rules.engine import Engine
from rules.rule import Row, Rule
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import AnyEvent, Kind, Tick, decode, encode
from tests.rules import mix
from tests.rules.facts import START, depth, feed, liquidation, oi, price, settled
from tests.rules.scenes import (
    COMPOSITES,
    RULES,
    VENUES,
    down,
    feed_all,
    history,
    loaded,
    quick_rule,
    run,
    warm,
)  # fmt: skip


@mark.parametrize("part", range(5))
def test_a_restart_anywhere_changes_nothing(part):
    turns: Counter[Turn] = Counter()
    rules: set[str] = set()
    for seed in range(part * 14, part * 14 + 14):
        events, dice = history(seed), Random(-seed)
        through = loaded(warm()[0])
        outputs = feed_all(through, events)
        cuts = sorted(dice.sample(range(len(events)), 2))
        broken, again = loaded(warm()[0]), list[AlertOrNotice]()
        for first, last in zip([0, *cuts], [*cuts, len(events)], strict=True):
            again += feed_all(broken, events[first:last])
            broken = loaded(broken.dump())
        assert again == outputs
        assert broken.dump() == through.dump()
        turns.update(alert.turn for alert in outputs if isinstance(alert, Alert))
        rules.update(alert.rule for alert in outputs if isinstance(alert, Alert))
        assert len({output.id for output in outputs}) == len(outputs)
    assert turns.keys() == set(Turn)
    assert turns.total() > 60
    assert rules >= {rule.name for rule in RULES} | {spec.name for spec in COMPOSITES}


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
    engine = Engine([RULES[4]], VENUES)
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
    # 100,000 coins at the first venue, half and a third of it at the others, at the price of now
    assert opened.facts.oi_pct == approx(100 * 5e6 / (1e5 * 100.0 * (1 + 1 / 2 + 1 / 3)))
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
    rule = quick_rule("oi_net_2m_pct", "below", -1, critical=-8)
    engine = Engine([rule])
    for second in range(0, 180, 10):
        engine.feed(oi("binance", START + second * SECOND, 1000))
    now = START + 180 * SECOND
    engine.feed(oi("binance", now - 5 * SECOND, 900))
    engine.feed(oi("binance", now + 5 * SECOND, 900))
    assert engine.feed(oi("binance", now + 14_600, 900)) == []
    now += 15 * SECOND
    assert engine.feed(oi("binance", now + 300, 900)) == []
    assert [a.turn for a in engine.feed(Tick(seen=now + SECOND))] == [Turn.OPEN]


def test_rules_must_have_names_of_their_own_and_known_metrics():
    with raises(ValueError, match="two rules are called 'btc'"):
        Engine([RULES[5], RULES[5]])
    with raises(ValueError, match="unknown metric"):
        Engine([msgspec.structs.replace(RULES[5], metric="liq")])


# ── outages ──


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
    # a minute of warming, then clear_for, looked at every other second
    assert back[0].seen - (now + 15 * MINUTE + 20 * SECOND) in range(2 * SECOND)


def test_a_dead_socket_without_a_word_is_no_evidence_either():
    engine, now = loaded(warm()[0]), warm()[1]
    story(engine, now, now + 2 * MINUTE, 2e6)
    silent = [Tick(seen=now + 2 * MINUTE + n * SECOND) for n in range(1200)]
    assert run(engine, silent) == []


def test_a_hole_starts_a_pending_breach_anew():
    rule = quick_rule("oi_net_2m_pct", "below", -1, alert=-4, hold=20 * SECOND)

    def opened(hole: int) -> list[Turn]:
        engine, events, t = Engine([rule]), list[AnyEvent](), START
        for n in range(43):
            t += 5 * SECOND + (hole if n == 39 else 0)
            events += [oi(venue, t, 1000 if n < 36 else 900) for venue in ("binance", "bybit")]
            events.append(Tick(seen=t))
        return [a.turn for a in run(engine, events)]

    assert opened(0) == [Turn.OPEN]
    assert opened(31 * SECOND) == []


def test_losing_the_venue_with_the_liquidations_is_no_recovery():
    engine, now = loaded(warm()[0], [RULES[4]]), warm()[1]
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


@mark.parametrize(
    ("interest", "pct"),
    [
        param([("binance", 20, True), ("bybit", 10, True)], approx(200 / 3), id="known"),
        param([("binance", 20, True)], None, id="not told by the one that is left out"),
        param([("binance", 20, True), ("bybit", 10, False)], None, id="of unknown sides"),
    ],
)  # fmt: skip
def test_a_message_says_how_much_is_left_without_a_venue(interest, pct):
    engine = Engine([RULES[4]])
    for venue in ("binance", "bybit"):
        engine.feed(feed(venue, Kind.LIQUIDATION, START, True))
        engine.feed(price(venue, START, 100.0))
    for venue, base, one_side in interest:
        engine.feed(oi(venue, START, base, 100.0 * base, one_side=one_side))
    (complete,) = engine.feed(liquidation("binance", START, 5e6))
    assert (complete.missing, complete.coverage) == ((), None)
    engine.feed(feed("bybit", Kind.LIQUIDATION, START + 1, False))
    (alert,) = engine.feed(liquidation("binance", START + 2, 9e6))
    assert alert.missing == ("bybit",)
    assert alert.coverage == LiveShare(live=1, expected=2, held_pct=pct)


def test_a_word_for_the_whole_venue_overrules_earlier_ones():
    engine = Engine([RULES[4]])
    engine.feed(feed("binance", Kind.LIQUIDATION, START, False, symbol="BTCUSDT"))
    engine.feed(feed("binance", Kind.LIQUIDATION, START, True))
    engine.feed(oi("binance", START, 20, 7e8))
    engine.feed(feed("binance", Kind.LIQUIDATION, START, False))
    engine.feed(oi("bybit", START, 20, 7e8))
    assert [a.missing for a in engine.feed(liquidation("bybit", START, 5e6))] == [("binance",)]
    engine.feed(feed("binance", Kind.LIQUIDATION, START, True, symbol="BTCUSDT"))
    (alert,) = engine.feed(liquidation("bybit", START + 1, 4e6))
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
    alerts = run(engine, [Tick(seen=now + n * SECOND) for n in range(1, 400)])
    assert [alert for alert in alerts if alert.opened_at <= now] == []


def test_a_new_rule_finds_what_was_remembered_for_others():
    engine = loaded(warm()[0], [quick_rule("depth_100bp_pct_of_recent", "below", 99, alert=98)])
    assert story(engine, warm()[1], warm()[1] + 2 * MINUTE, 2e6)[0].turn is Turn.OPEN


@mark.parametrize("dumped", [b"", b"{}", b"\x00" * 40])
def test_what_is_not_a_dump_is_refused_and_harms_nothing(dumped):
    engine = loaded(warm()[0])
    with raises(ValueError, match="not readable"):
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


# ── changed levels ──


def held_at(since: int, seconds: int, coins: float) -> list[AnyEvent]:
    """Open interest told every five seconds, and Ticks."""
    events: list[AnyEvent] = []
    for t in range(since, since + seconds * SECOND, 5 * SECOND):
        events += [oi("binance", t, coins), *(Tick(seen=t + n * SECOND) for n in range(5))]
    return events


DROP = quick_rule("oi_net_2m_pct", "below", -1, hold=20 * SECOND, watch=-2, alert=-6, critical=-20)


def dropped() -> tuple[bytes, int]:
    """Open at watch: 5 % less than two minutes ago."""
    engine = Engine([DROP])
    run(engine, held_at(START, 240, 1000.0))
    now = START + 4 * MINUTE
    alerts = run(engine, held_at(now, 60, 950.0))
    assert [(a.turn, a.level) for a in alerts] == [(Turn.OPEN, Level.WATCH)]
    return engine.dump(), now + MINUTE


def relevelled(**levels: float) -> Rule:
    row = Row(levels={Level[name.upper()]: x for name, x in levels.items()}, clear=-1)
    return msgspec.structs.replace(DROP, others=row)


def test_a_level_that_a_changed_threshold_reaches_is_no_news():
    dumped, now = dropped()
    changed = relevelled(watch=-2, alert=-4, critical=-20)
    engine = loaded(dumped, [changed])
    assert run(engine, held_at(now, 50, 950.0)) == []
    # what is worse than that is news
    alerts = run(engine, held_at(now + 50 * SECOND, 60, 700.0))
    assert [(a.turn, a.level) for a in alerts][-1] == (Turn.UP, Level.CRITICAL)


def test_without_a_change_the_same_level_is_reached_aloud():
    dumped, now = dropped()
    engine = loaded(dumped, [DROP])
    alerts = run(engine, held_at(now, 60, 930.0))
    assert [(a.turn, a.level) for a in alerts][-1] == (Turn.UP, Level.ALERT)


def test_milder_levels_open_nothing_twice_and_end_beyond_the_new_clear():
    dumped, now = dropped()
    changed = relevelled(watch=-10, alert=-20)
    alerts = run(loaded(dumped, [changed]), held_at(now, 240, 950.0))
    assert [(a.turn, a.post) for a in alerts] == [(Turn.CLOSE, True)]


def test_a_restart_before_the_first_look_changes_nothing():
    dumped, now = dropped()
    changed = relevelled(watch=-2, alert=-4)
    later = held_at(now, 240, 950.0)
    twice = loaded(loaded(dumped, [changed]).dump(), [changed])
    assert run(twice, later) == run(loaded(dumped, [changed]), later)


def test_what_is_not_open_opens_by_changed_levels():
    engine = Engine([DROP])
    run(engine, held_at(START, 240, 1000.0))
    now = START + 4 * MINUTE
    assert run(engine, held_at(now, 60, 985.0)) == []
    changed = relevelled(watch=-1.2, alert=-6)
    alerts = run(loaded(engine.dump(), [changed]), held_at(now + MINUTE, 60, 985.0))
    assert [(a.turn, a.post) for a in alerts] == [(Turn.OPEN, True)]


# ── records ──


def test_an_alert_says_what_it_is_the_first_of_since():
    both = (RULES[0], quick_rule("liq_1m_musd", "above", 0.5, alert=1))
    rules = [msgspec.structs.replace(rule, cooldown=0, max_gap=5 * MINUTE) for rule in both]
    engine, alerts = Engine(rules, VENUES), list[Alert]()
    engine.feed(feed("okx", Kind.LIQUIDATION, START, True))
    engine.feed(feed("okx", Kind.FUNDING, START, True))
    for n in range(60):
        at = START + n * 8 * HOUR
        rate = -0.0001 if n in (3, 59) else 0.0001
        alerts += run(engine, [oi("okx", at, 1e3, 1e8), settled("okx", at, rate, seen=at + SECOND)])
        if n in (10, 59):
            alerts += run(engine, [liquidation("okx", at + SECOND, n * 1e6)])
        alerts += run(engine, [Tick(seen=t) for t in range(at, at + 8 * HOUR, 4 * MINUTE)])
    opened = [a for a in alerts if a.turn is Turn.OPEN]
    assert [(a.rule, a.records) for a in opened[:2]] == [("funding_below", ()), ("liq_above", ())]
    funding, liquidated = opened[-2:]
    assert [(r.kind, r.since, r.run) for r in funding.records] == [
        ("first", START + 3 * 8 * HOUR, 1),
        ("lowest", START + 3 * 8 * HOUR + SECOND, None),
    ]
    assert [(r.kind, r.since) for r in liquidated.records] == [("highest", None)]
    assert liquidated.records[0].record_from <= START
    assert all(a.records == () for a in alerts if a.turn in (Turn.CLOSE, Turn.WORSE))
