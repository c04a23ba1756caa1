"""Cascades: when several things together are one, and what they hide."""

from collections.abc import Sequence

import msgspec
import pytest
from pytest import approx, mark

from bot.destination import TelegramChat
from bot.plan.planner import Chat, PlanState, Quiet, plan
from rules.alerts import ALL, Alert, CascadeFacts, Level, Turn
from rules.composite import Composite, CompositeState, ConditionMatch, Worst
from rules.engine import Engine
from rules.episode import Transition
from rules.rule import Row, Rule
from streams.durations import MINUTE, SECOND
from streams.events import AnyEvent, Kind, Position, Tick
from tests.rules.facts import START, feed, liquidation, oi, price
from tests.rules.scenes import down, named, quick_rule, run

WATCH, ALERT, CRITICAL = Level
CASCADE = Composite(
    name="cascade",
    level=CRITICAL,
    within=60 * MINUTE,
    all_of=(("oi_drop", ALERT), ("liq_burst", ALERT), ("price_drop", WATCH)),
    hides=("oi_drop", "liq_burst", "price_drop"),
    hold=30 * MINUTE,
    cooldown=120 * MINUTE,
)
BITS = {"oi_drop": 1, "oi_drop:15m": 1, "liq_burst": 2, "price_drop": 4}


# ── the state alone ──


class Played:
    """A composite told of steps by hand: (minute, rule, turn, level)."""

    def __init__(self, spec: Composite = CASCADE) -> None:
        self.spec = spec
        self.state = CompositeState()
        self.unknown = 0
        self.dark: dict[str, int] = {}

    def step(self, minute: float, rule: str, turn: Turn, level: Level) -> Turn | None:
        now, family = round(minute * MINUTE), rule.partition(":")[0]
        named = enumerate(self.spec.all_of)
        conditions = {n: least for n, (name, least) in named if name == family}
        step = Transition(turn, level, -5.0, post=True)
        reached = self.state.hear(rule, conditions, now, step, now)
        return self._judge(now, reached)

    def tick(self, minute: float) -> Turn | None:
        return self._judge(round(minute * MINUTE), reached=False)

    def _judge(self, now: int, reached: bool) -> Turn | None:
        known = 7 & ~self.unknown
        return self.state.judge(self.spec, now, 7, lambda: known, reached, dark=self.dark)


def opened(*rules: str, spec: Composite = CASCADE) -> Played:
    """These rules at alert, a minute after each other."""
    played = Played(spec)
    for minute, rule in enumerate(rules):
        played.step(minute, rule, Turn.OPEN, ALERT)
    return played


def test_it_fires_when_the_last_condition_comes_true():
    played = opened("liq_burst", "oi_drop")
    assert played.tick(3) is None
    assert played.step(4, "price_drop", Turn.OPEN, WATCH) is Turn.OPEN


def test_a_level_below_the_condition_is_not_enough():
    played = opened("liq_burst", "price_drop")
    assert played.step(4, "oi_drop", Turn.OPEN, WATCH) is None
    assert played.step(5, "oi_drop", Turn.UP, ALERT) is Turn.OPEN


def test_what_is_over_counts_as_long_as_within_says():
    for minute, turn in ((59, Turn.OPEN), (61, None)):
        played = opened("liq_burst", "price_drop")
        played.step(1, "liq_burst", Turn.CLOSE, ALERT)
        assert played.step(minute, "oi_drop", Turn.OPEN, ALERT) is turn


def test_what_lasts_counts_however_long_ago_it_began():
    played = opened("liq_burst", "price_drop")
    assert played.step(300, "oi_drop", Turn.OPEN, ALERT) is Turn.OPEN


def test_any_window_of_a_family_will_do():
    played = opened("liq_burst", "price_drop")
    assert played.step(3, "oi_drop:15m", Turn.OPEN, ALERT) is Turn.OPEN
    rule, match = played.state.chain[0]
    assert (rule, match.at) == ("oi_drop:15m", 3 * MINUTE)


def test_what_cannot_be_judged_neither_helps_nor_blocks():
    played = opened("liq_burst")
    played.unknown = BITS["price_drop"]
    assert played.step(3, "oi_drop", Turn.OPEN, ALERT) is Turn.OPEN
    # but one thing alone is never several
    played = Played()
    played.unknown = BITS["price_drop"] | BITS["liq_burst"]
    assert played.step(3, "oi_drop", Turn.OPEN, ALERT) is None
    # and nothing fires because something went dark
    played = opened("liq_burst", "oi_drop")
    played.unknown = BITS["price_drop"]
    assert played.tick(3) is None
    # what was reached before it went dark was reached
    played = opened("liq_burst", "price_drop")
    played.unknown = BITS["price_drop"]
    assert played.step(3, "oi_drop", Turn.OPEN, ALERT) is Turn.OPEN
    assert played.state.needed == 3


def test_at_least_some_of_them():
    spec = msgspec.structs.replace(CASCADE, at_least=2)
    assert Played(spec).step(0, "oi_drop", Turn.OPEN, ALERT) is None
    played = opened("oi_drop", spec=spec)
    assert played.step(1, "liq_burst", Turn.OPEN, ALERT) is Turn.OPEN
    assert played.step(2, "price_drop", Turn.OPEN, WATCH) is Turn.WORSE
    played = opened("oi_drop", spec=spec)
    played.unknown = 6
    assert played.step(1, "oi_drop", Turn.UP, CRITICAL) is None


def fired(spec: Composite = CASCADE) -> Played:
    played = opened("liq_burst", "oi_drop", "price_drop", spec=spec)
    assert played.state.firing
    return played


def test_what_gets_worse_is_told_once_a_level():
    played = fired()
    assert played.step(5, "oi_drop", Turn.WORSE, ALERT) is None
    assert played.step(6, "oi_drop", Turn.UP, CRITICAL) is Turn.WORSE
    assert played.step(7, "oi_drop:15m", Turn.OPEN, CRITICAL) is None
    assert played.step(8, "price_drop", Turn.UP, CRITICAL) is Turn.WORSE
    # a quick window may be worse before the long one is
    played = fired()
    assert played.step(6, "oi_drop:15m", Turn.OPEN, ALERT) is None
    assert played.step(7, "oi_drop:15m", Turn.UP, CRITICAL) is Turn.WORSE
    assert played.step(8, "oi_drop", Turn.UP, CRITICAL) is None
    rule, match = played.state.chain[0]
    assert (rule, match.at, played.state.reported[0]) == ("oi_drop", MINUTE, CRITICAL)


def test_it_ends_when_too_little_held_within_the_time():
    played = fired()
    for rule in ("liq_burst", "oi_drop", "price_drop"):
        assert played.step(10, rule, Turn.CLOSE, ALERT) is None
    assert played.tick(69.9) is None
    assert played.tick(70) is Turn.CLOSE
    assert played.tick(71) is None


def test_it_does_not_end_in_the_dark():
    played = fired()
    played.step(10, "liq_burst", Turn.CLOSE, ALERT)
    played.unknown = 7
    assert played.tick(200) is None
    played.unknown = 3
    assert played.tick(201) is Turn.CLOSE


@mark.parametrize(
    ("at_least", "dark", "over", "ends"),
    [
        (0, "", "", None),
        (0, "", "liq_burst", 70),
        (0, "oi_drop", "", None),  # what can be judged holds: not for want of data
        (0, "oi_drop", "liq_burst", 70),  # over, whatever open interest does
        (0, "oi_drop liq_burst", "", None),
        (0, "oi_drop liq_burst", "price_drop", 70),  # nothing holds of what can be judged
        (0, "oi_drop liq_burst price_drop", "", None),
        (2, "", "liq_burst", None),
        (2, "", "liq_burst oi_drop", 70),
        (2, "oi_drop", "liq_burst", None),  # with open interest it would be two
        (2, "oi_drop", "liq_burst price_drop", 70),
        (2, "oi_drop liq_burst", "", None),
        (2, "oi_drop liq_burst", "price_drop", 70),
    ],
)
@mark.parametrize("over_before", [True, False])
def test_it_ends_by_what_can_be_judged_and_never_for_want_of_data(
    at_least, dark, over, ends, over_before
):
    """``dark`` from minute 5, when it was last judged, ``over`` by its own value at minute 10.

    All three are needed, or ``at_least`` so many.
    """
    played = fired(msgspec.structs.replace(CASCADE, at_least=at_least))
    played.step(4, "price_drop", Turn.UP, CRITICAL)  # all three were told of
    for rule in over.split() if over_before else ():
        assert played.step(10, rule, Turn.CLOSE, ALERT) is None
    played.dark = dict.fromkeys(dark.split(), 5 * MINUTE)
    played.unknown = sum(BITS[rule] for rule in dark.split())
    for rule in () if over_before else over.split():
        assert played.step(10, rule, Turn.CLOSE, ALERT) is None
    turns = {minute: turn for minute in (64, 66, 69.9, 70, 200) if (turn := played.tick(minute))}
    assert turns == ({} if ends is None else {ends: Turn.CLOSE})


@mark.parametrize(("back", "ends"), [("calm", 201), ("as bad", None), ("over", 201)])
def test_data_that_are_back_decide(back, ends):
    played = fired()
    played.dark, played.unknown = {"oi_drop": 5 * MINUTE}, BITS["oi_drop"]
    assert played.tick(200) is None
    played.dark, played.unknown = {}, 0
    if back == "as bad":
        again = ConditionMatch(201 * MINUTE, ALERT, -9.0, 0)
        assert played.state.resume("oi_drop", {0: ALERT}, again)
    elif back == "over":
        assert played.step(201, "oi_drop", Turn.CLOSE, ALERT) is Turn.CLOSE
    turn = played.tick(201)
    assert (turn is Turn.CLOSE) is (back == "calm")
    assert played.state.firing is (ends is None)


def test_it_hides_its_parts_while_it_fires_and_for_a_while_after():
    played = fired()
    for rule in ("liq_burst", "oi_drop", "price_drop"):
        played.step(10, rule, Turn.CLOSE, ALERT)
    hides = played.state.hides
    assert hides(CASCADE, "oi_drop", CRITICAL, 69 * MINUTE)
    assert not hides(CASCADE, "depth_thin", CRITICAL, 69 * MINUTE)
    played.tick(70)
    assert hides(CASCADE, "oi_drop", ALERT, 99 * MINUTE)
    assert not hides(CASCADE, "oi_drop", ALERT, 100 * MINUTE)
    assert not hides(CASCADE, "oi_drop", CRITICAL, 71 * MINUTE), "it tells of nothing any more"
    shadow = msgspec.structs.replace(CASCADE, post=False)
    assert not hides(shadow, "oi_drop", ALERT, 71 * MINUTE)


def test_the_cooldown_is_counted_from_the_last_firing():
    for minute, turn in ((119, None), (125, Turn.OPEN)):
        played = fired()
        for rule in ("liq_burst", "oi_drop", "price_drop"):
            played.step(10, rule, Turn.CLOSE, ALERT)
        played.tick(70)
        for rule in ("liq_burst", "oi_drop"):
            played.step(80, rule, Turn.OPEN, ALERT)
        assert played.step(minute, "price_drop", Turn.OPEN, WATCH) is turn
        assert len(played.state.history) == 1 + (turn is Turn.OPEN)


# ── in the engine ──


def part(name: str, metric: str, fires, clear: float, **levels) -> Rule:
    rule = quick_rule(metric, fires, clear, **levels)
    family = name.partition(":")[0]
    return msgspec.structs.replace(rule, name=name, family=family, cooldown=0, max_gap=5 * MINUTE)


PARTS = [
    part("oi_drop:2m", "oi_net_2m_pct", "below", -1, alert=-4, critical=-20),
    part("liq_burst", "liq_2m_musd", "above", 1, alert=4, critical=100),
    part("price_drop", "price_2m_pct", "below", -1, watch=-3),
    part("other", "liq_2m_musd", "above", 1, watch=2),
]
QUICK = msgspec.structs.replace(CASCADE, within=2 * MINUTE, hold=MINUTE, cooldown=0)


def calm(since: int, until: int, base=1000.0, px=100.0) -> list[AnyEvent]:
    events: list[AnyEvent] = []
    for now in range(since, until, 5 * SECOND):
        events += [oi(venue, now, base / 2, base / 2 * px) for venue in ("binance", "okx")]
        events.append(price("binance", now, px))
        events += [Tick(seen=now + n * SECOND) for n in range(5)]
    return events


def ready(composites: Sequence[Composite] = (QUICK,), rules: Sequence[Rule] = PARTS) -> Engine:
    engine = Engine(rules, ("binance",), composites)
    engine.feed(feed("binance", Kind.LIQUIDATION, START, True))
    assert run(engine, calm(START, START + 3 * MINUTE)) == []
    return engine


NOW = START + 3 * MINUTE
CRASH: list[AnyEvent] = [
    liquidation("binance", NOW, 5e6),
    *calm(NOW + 20 * SECOND, NOW + 40 * SECOND, base=900.0),
    *calm(NOW + 40 * SECOND, NOW + 80 * SECOND, base=900.0, px=95.0),
]


def brief(alerts: Sequence[Alert]) -> list[tuple[str, str, str]]:
    return [(a.rule, a.turn.value, a.hidden_by) for a in alerts]


def test_the_whole_story():
    engine = ready()
    alerts = run(engine, CRASH)
    assert brief(alerts) == [
        ("liq_burst", "open", ""),
        ("other", "open", ""),
        ("oi_drop:2m", "open", ""),
        ("price_drop", "open", "cascade"),
        ("cascade", "open", ""),
    ]
    cascade = alerts[-1]
    # what jumps counts with its second reading, 5 s later; open interest at both venues
    at = NOW + 45 * SECOND
    assert cascade.id == f"cascade:BTC:{at}:1"
    assert (cascade.level, cascade.value, cascade.threshold) == (CRITICAL, 3, 3)
    assert (cascade.metric, cascade.unit, cascade.family) == ("composite", "composite", "cascade")
    assert (cascade.price, cascade.price_before, cascade.post) == (95, 100, True)
    assert (cascade.fires, cascade.seen, cascade.opened_at) == ("above", at, at)
    assert cascade.at == at - 20  # when the venue said what completed it
    assert (cascade.extreme, cascade.extreme_at) == (3, at)
    facts = cascade.facts
    assert isinstance(facts, CascadeFacts)
    chain = [(link.at - NOW, link.family, link.rule, link.level) for link in facts.chain]
    assert chain == [
        (0, "liq_burst", "liq_burst", ALERT),
        (26 * SECOND, "oi_drop", "oi_drop:2m", ALERT),
        (45 * SECOND, "price_drop", "price_drop", WATCH),
    ]
    assert [link.value for link in facts.chain] == approx([5, -10, -5])
    assert facts.chain[0].facts.long_usd == 5e6
    assert (facts.needed, facts.no_data, facts.earlier, facts.last_at) == (3, (), 0, None)
    assert facts.record_from == START
    worse = run(engine, calm(NOW + 80 * SECOND, NOW + 90 * SECOND, base=700.0, px=95.0))
    assert brief(worse) == [("oi_drop:2m", "up", "cascade"), ("cascade", "worse", "")]
    over = run(engine, calm(NOW + 90 * SECOND, NOW + 15 * MINUTE, base=700.0, px=95.0))
    closed = next(a for a in over if a.rule == "cascade")
    assert (closed.turn, closed.opened_at, closed.extreme) == (Turn.CLOSE, at, 3)
    assert [link.extreme for link in closed.facts.chain] == approx([5, -30, -5])
    times = [link.extreme_at - NOW for link in closed.facts.chain]
    assert times == [0, 86 * SECOND, 45 * SECOND]  # the second reading at both venues
    ends = {a.rule: a.hidden_by for a in over if a.turn is Turn.CLOSE}
    assert ends["price_drop"] == "cascade"


def test_what_a_composite_hides_from_its_beginning_has_no_end_whatever_was_posted_before():
    engine, later = ready(), 30 * MINUTE
    alone = [*calm(NOW, NOW + 30 * SECOND, px=95.0), *calm(NOW + 30 * SECOND, NOW + later)]
    assert [(a.rule, a.turn, a.post) for a in run(engine, alone)] == [
        ("price_drop", Turn.OPEN, True), ("price_drop", Turn.CLOSE, True),
    ]  # fmt: skip
    crash = [
        msgspec.structs.replace(event, seen=event.seen + later)
        if isinstance(event, Tick)
        else msgspec.structs.replace(event, seen=event.seen + later, at=event.at + later)
        for event in CRASH
    ]
    end = NOW + later + 60 * SECOND
    alerts = run(engine, [*crash, *calm(end, end + 15 * MINUTE, base=900.0, px=95.0)])
    drops = [a for a in alerts if a.rule == "price_drop"]
    assert [(a.turn, a.hidden_by, a.post) for a in drops] == [
        (Turn.OPEN, "cascade", True), (Turn.CLOSE, "cascade", False),
    ]  # fmt: skip


BEFORE = [event for event in CRASH if event.seen < NOW + 40 * SECOND]


def falling(since: int, until: int, px: float, a_minute: float) -> list[AnyEvent]:
    """The price falls by so many percent a minute."""
    events: list[AnyEvent] = []
    for now in range(since, until, 10 * SECOND):
        px *= (1 - a_minute / 100) ** (1 / 6)
        events += calm(now, now + 10 * SECOND, base=900.0, px=px)
    return events


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("critical", [-4, -50])
def test_a_critical_part_that_goes_on_after_the_end_is_told_by_its_own_rule(
    restart: bool, critical: float
):
    """The price fell while the composite told of it, and falls faster when that is over."""
    price_drop = part("price_drop", "price_2m_pct", "below", -1, watch=-3, critical=critical)
    composite, rules = msgspec.structs.replace(QUICK, hold=30 * MINUTE), [*PARTS[:2], price_drop]
    engine = ready([composite], rules)
    alerts = run(engine, [*BEFORE, *falling(NOW + 40 * SECOND, NOW + 9 * MINUTE, 95.0, 3.0)])
    assert ("price_drop", "open", "cascade") in brief(alerts)
    assert [a.turn for a in alerts if a.rule == "cascade"][-1] is Turn.CLOSE
    assert [a for a in alerts if a.rule == "price_drop" and a.post and not a.hidden_by] == []
    if restart:
        restarted = Engine(rules, ("binance",), [composite])
        restarted.load(engine.dump())
        engine = restarted
    fell = run(engine, calm(NOW + 9 * MINUTE, NOW + 11 * MINUTE, base=900.0, px=55.0))
    posted = [a for a in fell if a.rule == "price_drop" and a.post and not a.hidden_by]
    if critical == -50:  # it stays below critical, and hidden for the hold
        assert posted == []
        return
    assert [(a.turn, a.level) for a in posted] == [(Turn.WORSE, CRITICAL)]
    assert posted[0].seen - (NOW + 9 * MINUTE) <= MINUTE


def test_a_side_s_worst_sum_is_told_beside_the_whole():
    for long, short in ((65.2, 7.9), (2.0, 11.5)):
        engine = ready()
        both = [
            liquidation("binance", NOW - SECOND, short * 1e6, Position.SHORT),
            liquidation("binance", NOW, long * 1e6),
        ]
        alerts = run(engine, [*both, *CRASH[1:]])
        cascade = next(a for a in alerts if a.rule == "cascade")
        burst = cascade.facts.chain[0]
        assert (burst.extreme, burst.extreme_longs) == (approx(long + short), approx(long))
        # of what has one side only, nothing is said of sides
        assert [link.extreme_longs for link in cascade.facts.chain[1:]] == [None, None]
        # shorts that follow later change nothing of what the worst was made of
        later = calm(NOW + 80 * SECOND, NOW + 150 * SECOND, base=700.0, px=95.0)
        late = liquidation("binance", NOW + 150 * SECOND, 1e6, Position.SHORT)
        more = run(engine, [*later, late, *calm(NOW + 150 * SECOND, NOW + 15 * MINUTE, 700, 95.0)])
        over = next(a for a in more if a.rule == "cascade" and a.turn is Turn.CLOSE)
        assert over.facts.chain[0].extreme_longs == approx(long)


def test_what_began_unseen_ends_unseen():
    engine = ready([msgspec.structs.replace(QUICK, within=10 * SECOND, hold=0)])
    liquidations = [liquidation("binance", NOW + n * 10 * SECOND, 5e6) for n in range(5)]
    alerts = run(engine, sorted([*CRASH, *liquidations], key=lambda e: e.seen))
    price_drop = [a for a in alerts if a.rule == "price_drop"]
    assert [a.hidden_by for a in price_drop] == ["cascade"]
    over = run(engine, calm(NOW + 80 * SECOND, NOW + 15 * MINUTE, base=900.0, px=95.0))
    closes = {a.rule: a for a in over if a.turn is Turn.CLOSE}
    assert closes["price_drop"].post is False
    assert closes["oi_drop:2m"].post is True


def test_no_data_is_listed():
    engine = ready()
    dark = down(["binance"], NOW)[4:5]  # price
    assert dark[0].kind is Kind.PRICE
    events = [event for event in CRASH if getattr(event, "mark", None) is None]
    alerts = run(engine, [*dark, *events])
    cascade = next(a for a in alerts if a.rule == "cascade")
    assert (cascade.facts.no_data, cascade.facts.needed) == (("price_drop",), 2)


# ── what cannot be judged ──

PAIR = msgspec.structs.replace(
    QUICK, all_of=(("oi_drop", ALERT), ("price_drop", WATCH)), within=60 * MINUTE
)
DAWN = NOW + 5 * 60 * MINUTE


def prices(since: int, until: int, px: float) -> list[AnyEvent]:
    """Prices alone: open interest is silent."""
    events: list[AnyEvent] = []
    for now in range(since, until, 10 * SECOND):
        events += [price("binance", now, px), Tick(seen=now)]
    return events


def dropped(composites: Sequence[Composite] = (PAIR,)) -> Engine:
    """Open interest has dropped, and its episode is open."""
    engine = ready(composites)
    alerts = run(engine, calm(NOW, NOW + 10 * SECOND, base=900.0))
    assert brief(alerts) == [("oi_drop:2m", "open", "")]
    return engine


def cascades(alerts: Sequence[Alert]) -> list[Turn]:
    return [a.turn for a in alerts if a.family == "cascade"]


def test_an_episode_from_before_a_long_hole_makes_no_composite():
    # all is dark for five hours, and prices are the first to be back
    engine = dropped()
    fall = [
        *prices(DAWN, DAWN + 3 * MINUTE, 100.0),
        *prices(DAWN + 3 * MINUTE, DAWN + 4 * MINUTE, 95),
    ]
    alerts = run(engine, fall)
    assert [a.rule for a in alerts] == ["price_drop"]
    # open interest alone is dark, while prices are there all the time
    engine = dropped()
    run(engine, prices(NOW + 10 * SECOND, NOW + 20 * MINUTE, 100.0))
    later = NOW + 20 * MINUTE
    alerts = run(engine, prices(later, later + MINUTE, 95.0))
    assert [a.rule for a in alerts] == ["price_drop"]


def test_an_episode_from_before_a_long_hole_stays_out_while_it_recovers():
    # open interest is back and calm; the old episode is open until it has been calm long enough
    engine = dropped()
    alerts = run(engine, calm(DAWN, DAWN + 2 * MINUTE, base=900.0))
    fall = calm(DAWN + 2 * MINUTE, DAWN + 2 * MINUTE + 15 * SECOND, base=900.0, px=95.0)
    alerts += run(engine, fall)
    assert brief(alerts) == [("price_drop", "open", "")]


def test_what_is_judged_again_and_still_bad_counts_again():
    engine = dropped()
    run(engine, calm(DAWN, DAWN + 2 * MINUTE, base=900.0))
    fall = calm(DAWN + 2 * MINUTE, DAWN + 2 * MINUTE + 15 * SECOND, base=900.0, px=95.0)
    assert cascades(run(engine, fall)) == []
    begin = DAWN + 2 * MINUTE + 15 * SECOND
    again = run(engine, calm(begin, begin + 10 * SECOND, base=800.0, px=95.0))
    assert cascades(again) == [Turn.OPEN]
    (cascade,) = [a for a in again if a.family == "cascade"]
    at = {link.family: link.at for link in cascade.facts.chain}
    assert at["oi_drop"] >= begin


def test_a_gap_that_is_no_hole_changes_nothing():
    engine = dropped()
    dark = NOW + 10 * SECOND
    run(engine, prices(dark, dark + 4 * MINUTE, 100.0))
    alerts = run(engine, prices(dark + 4 * MINUTE, dark + 4 * MINUTE + 30 * SECOND, 95.0))
    assert cascades(alerts) == [Turn.OPEN]


def test_what_is_dark_does_not_block_either():
    engine = dropped([msgspec.structs.replace(QUICK, within=60 * MINUTE)])
    run(engine, prices(NOW + 10 * SECOND, NOW + 20 * MINUTE, 100.0))
    later = NOW + 20 * MINUTE
    alerts = run(engine, [liquidation("binance", later, 5e6), *prices(later, later + MINUTE, 95.0)])
    cascade = next(a for a in alerts if a.family == "cascade")
    assert (cascade.facts.needed, cascade.facts.no_data) == (2, ("oi_drop",))
    assert [link.family for link in cascade.facts.chain] == ["liq_burst", "price_drop"]


def test_a_part_that_goes_dark_does_not_end_it_before_its_time():
    played = fired()
    played.dark = {"oi_drop": 5 * MINUTE}
    for rule in ("liq_burst", "price_drop"):
        assert played.step(10, rule, Turn.CLOSE, ALERT) is None
    assert played.tick(64.9) is None
    assert played.tick(65) is Turn.CLOSE


# ── worse with its parts ──


def test_a_value_that_its_rule_would_post_again_is_told():
    engine = ready()
    run(engine, CRASH)  # OI −10 %, price −5 %, and liquidations of 5 million
    at = NOW + 80 * SECOND
    assert cascades(run(engine, calm(at, at + 10 * SECOND, base=890.0, px=95.0))) == []
    # 1.25 times −10 is −12.5
    worse = run(engine, calm(at + 10 * SECOND, at + 20 * SECOND, base=870.0, px=95.0))
    assert cascades(worse) == [Turn.WORSE]
    # and then it is measured from there
    assert cascades(run(engine, calm(at + 20 * SECOND, at + 30 * SECOND, 845.0, 95.0))) == []
    assert cascades(run(engine, calm(at + 30 * SECOND, at + 40 * SECOND, 830.0, 95.0))) == [
        Turn.WORSE
    ]


def test_what_is_hidden_and_no_condition_is_told_too():
    spec = msgspec.structs.replace(QUICK, all_of=QUICK.all_of[:2], hides=QUICK.hides)
    rules = [
        *PARTS[:2],
        part("price_drop", "price_2m_pct", "below", -1, watch=-3, critical=-20),
    ]
    engine = ready([spec], rules)
    alerts = run(engine, CRASH)
    assert brief(alerts)[-2:] == [("cascade", "open", ""), ("price_drop", "open", "cascade")]
    at = NOW + 80 * SECOND
    (worse,) = [
        a
        for a in run(engine, calm(at, at + 10 * SECOND, base=900.0, px=92.0))
        if a.family == "cascade"
    ]
    assert worse.turn is Turn.WORSE
    (price_drop,) = worse.facts.also
    assert (price_drop.family, price_drop.extreme) == ("price_drop", approx(-8))
    assert price_drop.extreme_at == at + 5 * SECOND  # the second price confirms the first
    assert (price_drop.facts.window_ms, price_drop.facts.after) == (2 * MINUTE, 92.0)
    # a level as high as its own is told, however small the step
    run(engine, calm(at + 10 * SECOND, at + 20 * SECOND, base=900.0, px=81.0))
    more = run(engine, calm(at + 20 * SECOND, at + 25 * SECOND, base=900.0, px=79.9))
    assert brief(more) == [("price_drop", "up", "cascade"), ("cascade", "worse", "")]


TWIN = msgspec.structs.replace(
    QUICK,
    name="twin",
    level=ALERT,
    all_of=(("liq_burst", ALERT), ("liq2", ALERT)),
    hides=("liq_burst", "liq2"),
)
BURSTS = [
    part("liq_burst", "liq_2m_musd", "above", 1, alert=25, critical=100),
    part("liq2", "liq_1m_musd", "above", 5, watch=10, alert=20),
]
ONE_POST = Chat(destination=TelegramChat(-100), posts_per_hour=1)


def test_nothing_is_hidden_by_something_milder():
    for quiet in (None, Quiet(start=0, end=24 * 60 - 1, zone="UTC")):
        engine = ready([TWIN], BURSTS)
        alerts = run(engine, [liquidation("binance", NOW, 6e7), *calm(NOW, NOW + MINUTE)])
        assert [(a.rule, a.turn, a.level) for a in alerts] == [
            ("liq_burst", Turn.OPEN, ALERT),
            ("liq2", Turn.OPEN, ALERT),
            ("twin", Turn.OPEN, ALERT),
        ]
        at = NOW + MINUTE
        more = run(engine, [liquidation("binance", at, 2e8), *calm(at, at + MINUTE)])
        assert [(a.rule, a.turn, a.level, a.hidden_by) for a in more] == [
            ("liq_burst", Turn.UP, CRITICAL, "twin"),
            ("twin", Turn.UP, CRITICAL, ""),
            ("twin", Turn.WORSE, CRITICAL, ""),  # by the value of the other window
        ]
        # the budget of the hour is used up, or the chat is quiet
        chat = msgspec.structs.replace(ONE_POST, quiet=quiet)
        used = PlanState(now=NOW - SECOND, posts=[NOW - SECOND])
        _, posts = plan(used, [*alerts, *more], chat, (), at + 5 * MINUTE)
        critical = next(post for post in posts if not post.silent)
        assert max(a.level for a in critical.alerts if a.rule == "twin") is CRITICAL
        # it stays as high as it was, and its end too
        restarted = Engine(BURSTS, ("binance",), [TWIN])
        restarted.load(engine.dump())
        over = run(restarted, calm(at + MINUTE, at + 10 * MINUTE))
        (end,) = [a for a in over if a.rule == "twin"]
        assert (end.turn, end.level) == (Turn.CLOSE, CRITICAL)


def test_a_composite_begins_as_high_as_what_it_hides_and_a_rule_in_shadow_raises_nothing():
    for post, level in ((True, CRITICAL), (False, ALERT)):
        rules = [msgspec.structs.replace(BURSTS[0], post=post), BURSTS[1]]
        alerts = run(ready([TWIN], rules), [liquidation("binance", NOW, 2e8)])
        assert [(a.rule, a.level) for a in alerts if not a.hidden_by] == [
            ("liq_burst", CRITICAL),
            ("twin", level),
        ]
    # of a family that it hides without having it as a condition too
    fall = part("price_drop", "price_2m_pct", "below", -1, alert=-3, critical=-8)
    spec = msgspec.structs.replace(TWIN, hides=("liq2", "price_drop"))
    engine = ready([spec], [*BURSTS, fall])
    alerts = run(engine, [liquidation("binance", NOW, 6e7), *calm(NOW, NOW + MINUTE, px=90.0)])
    assert [(a.rule, a.turn, a.level, a.hidden_by) for a in alerts[-2:]] == [
        ("price_drop", Turn.OPEN, CRITICAL, "twin"),
        ("twin", Turn.UP, CRITICAL, ""),
    ]


def test_what_a_composite_cannot_tell_of_it_hides_only_when_it_is_as_high():
    """A rule over single contracts is no part of a composite over an asset."""
    contract = msgspec.structs.replace(
        part("liq2", "liq_2m_musd", "above", 1, alert=100, critical=150), scope="instrument"
    )
    asset = part("liq3", "liq_2m_musd", "above", 1, watch=20)
    spec = msgspec.structs.replace(
        TWIN, all_of=(("liq_burst", ALERT), ("liq3", WATCH)), hides=("liq_burst", "liq2", "liq3")
    )
    bursts = msgspec.structs.replace(BURSTS[0], others=Row(levels={ALERT: 25}, clear=1))
    engine = ready([spec], [bursts, asset, contract])
    run(engine, [liquidation("binance", NOW, 6e7)])
    for usd, level, hidden_by in ((5e7, ALERT, "twin"), (9e7, CRITICAL, "")):
        alerts = run(engine, [liquidation("binance", NOW + SECOND, usd)])
        (of_contract,) = [a for a in alerts if a.instrument]
        assert (of_contract.level, of_contract.hidden_by) == (level, hidden_by)


def test_the_worst_of_an_earlier_episode_of_a_part_is_kept():
    engine = ready([msgspec.structs.replace(QUICK, within=60 * MINUTE)])
    run(engine, CRASH)
    at = NOW + 80 * SECOND
    run(engine, [liquidation("binance", at, 9e7), *calm(at, at + 5 * MINUTE, 900.0, 95.0)])
    again = at + 5 * MINUTE
    alerts = run(
        engine, [liquidation("binance", again, 6e6), *calm(again, again + MINUTE, 600, 95.0)]
    )
    assert ("liq_burst", "open", "cascade") in brief(alerts)
    cascade = next(a for a in alerts if a.family == "cascade")
    burst = next(link for link in cascade.facts.chain if link.family == "liq_burst")
    assert (burst.extreme, burst.extreme_longs) == (approx(95), approx(95))


def test_an_asset_that_lacks_a_condition_has_no_composite():
    rules = [msgspec.structs.replace(PARTS[2], others=None), *PARTS[:2]]
    assert [a.rule for a in run(ready(rules=rules), CRASH) if a.rule == "cascade"] == []
    two = msgspec.structs.replace(QUICK, at_least=2)
    assert "cascade" in [a.rule for a in run(ready([two], rules), CRASH)]


def test_the_market_can_cascade_too():
    rows = {ALL: Row(levels={ALERT: -4}, clear=-1)}
    total = Rule(
        name="total", metric="oi_total_net_2m_pct", fires="below", rows=rows, scope="market"
    )
    wide = named("wide", total, metric="oi_total_net_1m_pct")
    spec = msgspec.structs.replace(QUICK, all_of=(("total", ALERT), ("wide", ALERT)))
    alerts = run(ready([spec], [total, wide]), CRASH)
    (cascade,) = [a for a in alerts if a.rule == "cascade"]
    assert (cascade.asset, cascade.scope) == (ALL, "market")


@mark.parametrize("cut", range(0, len(CRASH), 9))
def test_a_restart_in_the_middle_changes_nothing(cut):
    later = calm(NOW + 80 * SECOND, NOW + 10 * MINUTE, base=900.0, px=95.0)
    through = run(ready(), [*CRASH, *later])
    engine = ready()
    before = run(engine, CRASH[:cut])
    again = Engine(PARTS, ("binance",), [QUICK])
    again.load(engine.dump())
    assert before + run(again, [*CRASH[cut:], *later]) == through


def test_a_composite_that_is_new_does_not_fire_for_what_is_old():
    engine = ready(composites=())
    run(engine, CRASH)
    again = Engine(PARTS, ("binance",), [QUICK])
    again.load(engine.dump())
    later = calm(NOW + 80 * SECOND, NOW + 100 * SECOND, base=900.0, px=95.0)
    assert run(again, later) == []
    # but it knows of it when something more happens
    more = run(again, [liquidation("binance", NOW + 100 * SECOND, 3e8)])
    assert brief(more)[:2] == [("liq_burst", "up", "cascade"), ("cascade", "open", "")]


def test_changed_conditions_keep_the_cooldown_only():
    engine = ready()
    run(engine, CRASH)
    changed = msgspec.structs.replace(QUICK, all_of=CASCADE.all_of[:2], cooldown=60 * MINUTE)
    again = Engine(PARTS, ("binance",), [changed])
    again.load(engine.dump())
    alerts = run(again, [liquidation("binance", NOW + 100 * SECOND, 3e8)])
    assert "cascade" not in [a.rule for a in alerts]


# ── sums that prove a breach though most venues are down ──


def of_bybit(since: int, until: int, px: float = 100.0) -> list[AnyEvent]:
    events: list[AnyEvent] = []
    for now in range(since, until, 5 * SECOND):
        events += [oi("bybit", now, 100.0, 100 * px), price("bybit", now, px)]
        events += [Tick(seen=now + n * SECOND) for n in range(5)]
    return events


@mark.parametrize("kinds", [tuple(Kind), (Kind.LIQUIDATION, Kind.OPEN_INTEREST)])
def test_a_crash_rings_though_the_largest_venue_is_down(kinds: tuple[Kind, ...]):
    """A tenth of the open interest is left: its fall says nothing, its liquidations do."""
    engine = Engine(PARTS[:3], ("binance", "bybit"), (QUICK,))
    for venue in ("binance", "bybit"):
        engine.feed(feed(venue, Kind.LIQUIDATION, START, True))
    both = sorted([*calm(START, NOW), *of_bybit(START, NOW)], key=lambda event: event.seen)
    assert run(engine, both) == []
    for kind in kinds:
        engine.feed(feed("binance", kind, NOW, False))
    events = [liquidation("bybit", NOW, 3.9e6), *of_bybit(NOW, NOW + 10 * SECOND)]
    assert run(engine, events) == []
    burst = next(v for v in engine.standing().values if v.metric == "liq_2m_musd")
    assert burst.value is None, "too little to say anything of a level that is not exceeded"
    at = NOW + 10 * SECOND
    (opened,) = run(engine, [liquidation("bybit", at, 2e6)])
    assert (opened.rule, opened.value, opened.missing) == ("liq_burst", 5.9, ("binance",))
    crash = run(engine, of_bybit(at, at + 20 * SECOND, px=95.0))
    if kinds == tuple(Kind):
        assert brief(crash) == [("price_drop", "open", "cascade"), ("cascade", "open", "")]
        assert (crash[-1].facts.needed, crash[-1].facts.no_data) == (2, ("oi_drop",))
    # what cannot be judged does not end, and its episode says when it last could be
    later = run(engine, of_bybit(at + 20 * SECOND, at + 10 * MINUTE, px=95.0))
    assert [a for a in later if a.rule == "liq_burst"] == []
    assert [a.rule for a in engine.standing().stale] == ["liq_burst"]
    until = at + 10 * MINUTE
    engine.feed(feed("binance", Kind.LIQUIDATION, until, True))
    calmed = run(engine, [Tick(seen=until + n * SECOND) for n in range(1, 240)])
    assert [(a.turn, a.value) for a in calmed if a.rule == "liq_burst"] == [(Turn.CLOSE, 0)]


def test_what_is_too_little_to_be_judged_neither_helps_nor_blocks():
    engine = Engine(PARTS[:3], ("binance", "bybit"), (QUICK,))
    for venue in ("binance", "bybit"):
        engine.feed(feed(venue, Kind.LIQUIDATION, START, True))
    both = sorted([*of_bybit(START, NOW), *calm(START, NOW)], key=lambda event: event.seen)
    assert run(engine, both) == []
    engine.feed(feed("binance", Kind.LIQUIDATION, NOW, False))
    crash = [
        *CRASH[1:],
        *of_bybit(NOW, NOW + 40 * SECOND),
        *of_bybit(NOW + 40 * SECOND, NOW + 80 * SECOND, 95.0),
    ]
    crash.sort(key=lambda event: event.seen)
    alerts = run(engine, [liquidation("bybit", NOW, 3e6), *crash])
    (cascade,) = [a for a in alerts if a.rule == "cascade"]
    assert (cascade.facts.needed, cascade.facts.no_data) == (2, ("liq_burst",))


def test_since_when_a_composite_is_watched_is_known_and_survives_a_restart():
    engine = ready()
    restarted = Engine(PARTS, ("binance",), (QUICK,))
    restarted.load(engine.dump())
    for each in (engine, restarted):
        (cascade,) = each.standing().composites
        assert (cascade.composite, cascade.asset, cascade.since) == ("cascade", "BTC", START)


# ── what a hole and a clock leave of the state ──


def match(
    at: int, level: Level = ALERT, until: int | None = None, cut: bool = False
) -> ConditionMatch:
    return ConditionMatch(at=at, level=level, value=-5.0, opened_at=at, until=until, cut=cut)


def test_a_hole_ends_what_lasts_when_it_was_last_judged():
    state = CompositeState(matches={"oi_drop": {0: match(1), 1: match(2, until=3)}})
    state.interrupt("oi_drop", 9)
    state.interrupt("price_drop", 9)
    assert state.matches == {"oi_drop": {0: match(1, until=9, cut=True), 1: match(2, until=3)}}


@mark.parametrize(
    ("before", "level", "anew"),
    [
        (None, ALERT, True),
        (match(1, until=2), ALERT, True),
        (match(1), ALERT, False),
        (match(1, until=2), WATCH, False),
        (None, WATCH, False),
    ],
)
def test_a_condition_is_fulfilled_anew_after_a_hole(
    before: ConditionMatch | None, level: Level, anew: bool
):
    """At its level or above, unless it never ended; the other condition's level is out of reach."""
    state = CompositeState(matches={"oi_drop": {0: before}} if before else {})
    again = match(5, level)
    assert state.resume("oi_drop", {0: ALERT, 1: CRITICAL}, again) is anew
    left = again if anew else before
    assert state.matches == {"oi_drop": {0: left} if left else {}}
    assert state.matches["oi_drop"].get(0) is not again


def test_a_clock_set_back_leaves_nothing_later_but_the_name_of_what_fires():
    def state(firing: bool, at: int, name: int) -> CompositeState:
        return CompositeState(
            matches={"oi_drop": {0: match(at, until=at), 1: match(at)}},
            chain={0: ("oi_drop", match(at, until=at))},
            firing=firing, fired_at=name, ended_at=at, most_at=at, record_from=at,
            history=[at, name],
            worst={"oi_drop": Worst(-5.0, at, None, -5.0, 2, 0)},
        )  # fmt: skip

    def set_back(before: CompositeState) -> CompositeState:
        before.set_back(10)
        for matches in before.matches.values():
            for match in matches.values():
                match.opened_at = match.at  # when it opened is part of a name too, and stays
        for _, match in before.chain.values():
            match.opened_at = match.at
        return before

    assert set_back(state(True, 15, 20)) == state(True, 10, 20)
    assert set_back(state(False, 15, 20)) == state(False, 10, 10)
    assert set_back(state(False, 5, 4)) == state(False, 5, 4)
    fresh = CompositeState()
    fresh.set_back(10)
    assert fresh == CompositeState()
