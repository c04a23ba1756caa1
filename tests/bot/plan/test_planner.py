"""The plan: an event's life, silences, quiet hours, budget; and what always holds."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.destination import (
    ConsoleOutput,
    MessengerName,
    Service,
    TelegramChat,
    WebhookName,
    queue_key,
)
from bot.plan.planner import (
    Chat,
    DailyTime,
    Delivery,
    Filter,
    Group,
    NotPosted,
    PlanState,
    Quiet,
    Waiting,
    dump,
    going_on,
    grown,
    load,
    next_due,
    next_post,
    plan,
    set_back,
    unwatched,
    with_changed_quiet,
)
from bot.plan.silences import Silence, pause
from rules.alerts import Alert, Level, Turn
from streams.events import Ms

START: Ms = 1_791_020_520_000  # 3 Oct 2026 09:42 UTC
S, MIN, HOUR = 1_000, 60_000, 3_600_000
CHAT = Chat(destination=TelegramChat(-100))
WATCH, ALERT, CRITICAL = Level


def alert(
    at: Ms,
    asset: str = "BTC",
    level: Level = ALERT,
    rule: str = "oi_drop",
    turn: Turn = Turn.OPEN,
    opened: Ms | None = None,
    **changes: object,
) -> Alert:
    """An alert ``at`` Ms after START; ``opened``: the same of its episode."""
    seen = START + at
    opened_at = seen if opened is None else START + opened
    return Alert(
        **{
            "id": f"{rule}:{asset}:{opened_at}:{seen}",
            "rule": rule,
            "family": rule.partition(":")[0],
            "metric": "oi_net_1h_pct",
            "unit": "%",
            "asset": asset,
            "turn": turn,
            "level": level,
            "value": -5.0,
            "threshold": -5.0,
            "fires": "below",
            "at": seen,
            "seen": seen,
            "opened_at": opened_at,
            "extreme": -5.0,
            "extreme_at": seen,
            "post": True,
            **changes,
        }
    )


class Planned:
    """A plan in use: a call for each ``at``, with a restart in between."""

    def __init__(self, chat: Chat = CHAT, silences: Sequence[Silence] = ()) -> None:
        self.state = PlanState()
        self.chat = chat
        self.silences = silences
        self.deliveries: list[Delivery] = []

    def at(self, now: Ms, *alerts: Alert, **prices: float) -> list[tuple[Ms, str]]:
        """What is posted by the call at ``now``: (when it was due, assets)."""
        state = load(dump(self.state))
        before = dump(state)
        self.state, new = plan(state, alerts, self.chat, self.silences, START + now, prices)
        assert dump(state) == before, "the given state is left alone"
        self.deliveries += new
        posts = [delivery for delivery in new if not delivery.edit]
        return [(d.at - START, " ".join(assets(d))) for d in posts]

    @property
    def posts(self) -> list[Delivery]:
        """What was posted, without the edits."""
        return [delivery for delivery in self.deliveries if not delivery.edit]

    @property
    def edits(self) -> list[Delivery]:
        return [delivery for delivery in self.deliveries if delivery.edit]


def assets(delivery: Delivery) -> list[str]:
    return list(dict.fromkeys(a.asset for a in delivery.alerts))


MAJORS = msgspec.structs.replace(CHAT, majors=frozenset({"BTC", "ETH"}))


def rings(planned: Planned) -> list[tuple[Ms, Turn]]:
    """When it rang, and because of what."""
    return [(d.at - START, d.turn) for d in planned.posts if not d.silent]


# An event's life.


def test_critical_is_told_at_once_and_the_others_wait_by_level():
    planned = Planned()
    assert planned.at(0, alert(0, "BTC", WATCH)) == []
    assert next_due(planned.state) == START + MIN
    assert planned.at(MIN) == [(MIN, "BTC")]
    planned.at(HOUR, alert(HOUR, "ETH", ALERT))
    assert next_due(planned.state) == START + HOUR + 20 * S
    assert planned.at(2 * HOUR) == [(HOUR + 20 * S, "ETH")]
    assert planned.at(2 * HOUR, alert(2 * HOUR, "SOL", CRITICAL)) == [(2 * HOUR, "SOL")]
    assert [d.silent for d in planned.posts] == [True, False, False]


def test_waits_are_the_chat_s():
    planned = Planned(Chat(group_wait={WATCH: 5 * S}))
    assert planned.at(5 * S, alert(0, level=WATCH)) == [(5 * S, "BTC")]
    assert planned.at(9 * S, alert(9 * S, "ETH", level=ALERT)) == [(9 * S, "ETH")]


def test_what_is_not_to_be_posted_is_nothing_to_the_plan():
    planned = Planned()
    assert planned.at(HOUR, alert(0, post=False)) == []
    assert planned.state == PlanState(now=START + HOUR)


def test_an_event_opens_grows_rings_when_it_is_much_worse_and_ends_once():
    """Depth, liquidations, open interest and price of one coin within minutes are one post."""
    planned = Planned()
    planned.at(0, alert(0, rule="depth_thin", level=WATCH))
    assert planned.at(MIN) == [(MIN, "BTC")]
    # a part joins, and is told by an edit
    planned.at(5 * MIN, alert(5 * MIN, rule="liq_burst", level=WATCH, fires="above"))
    assert [len(d.alerts) for d in planned.edits] == [2]
    # it rises: one ring, after the wait for what belongs to it
    planned.at(6 * MIN, alert(6 * MIN, rule="oi_drop"))
    planned.at(7 * MIN, alert(6 * MIN + 5 * S, rule="price_drop"))
    assert rings(planned) == [(6 * MIN + 20 * S, Turn.UP)]
    assert len(planned.posts[-1].alerts) == 4
    # it gets worse at the same level: no ring
    planned.at(8 * MIN, alert(8 * MIN, rule="oi_drop", turn=Turn.WORSE, opened=6 * MIN))
    # it becomes critical, and then much worse
    planned.at(10 * MIN, alert(10 * MIN, rule="cascade", level=CRITICAL))
    for n in range(1, 30):
        at = 10 * MIN + n * 20 * S
        planned.at(at, alert(at, rule="cascade", level=CRITICAL, turn=Turn.WORSE, opened=10 * MIN))
    assert rings(planned)[1:] == [(10 * MIN, Turn.UP), (15 * MIN, Turn.WORSE)]
    assert len({d.thread for d in planned.deliveries}) == 1
    # the parts end, and with the last one the event
    began = {"depth_thin": 0, "liq_burst": 5 * MIN, "oi_drop": 6 * MIN,
             "price_drop": 6 * MIN + 5 * S, "cascade": 10 * MIN}  # fmt: skip
    for n, (rule, opened) in enumerate(began.items()):
        assert all(d.goes_on for d in planned.deliveries)
        at = HOUR + n * MIN
        fires = "above" if rule == "liq_burst" else "below"
        planned.at(
            at, alert(at, rule=rule, turn=Turn.CLOSE, opened=opened, fires=fires, price=100.0)
        )
    assert len(planned.posts) == 4
    assert (planned.edits[-1].turn, planned.edits[-1].goes_on) == (Turn.CLOSE, False)
    # an hour and a day later
    end = HOUR + 4 * MIN
    assert next_due(planned.state) == START + end + HOUR
    planned.at(end + HOUR, BTC=98.0)
    assert planned.edits[-1].since == {HOUR: {"BTC": pytest.approx(-2)}}
    planned.at(end + 24 * HOUR, BTC=103.0)
    assert planned.edits[-1].since[24 * HOUR] == {"BTC": pytest.approx(3)}
    assert grown(planned.state, CHAT) == planned.edits[-1:], "until that is durable"
    planned.at(end + 24 * HOUR + S)
    assert (len(planned.posts), planned.state.threads) == (4, {})
    assert planned.state.counts.posted + planned.state.counts.merged == 4 + 1 + 1 + 29 + 5


def test_coins_that_ring_within_minutes_are_one_event_of_the_market():
    planned = Planned()
    planned.at(0, alert(0, "BTC"))
    planned.at(MIN, alert(MIN, "ETH"))
    assert planned.at(2 * MIN, alert(2 * MIN, "SOL")) == [(MIN + 20 * S, "ETH")]
    assert [d for d in planned.deliveries if d.into] == [], "there is nothing to point to yet"
    assert planned.at(3 * MIN) == [(2 * MIN + 20 * S, "SOL BTC ETH")]
    market = planned.posts[-1]
    assert market.market
    assert [(assets(d), d.into) for d in planned.deliveries[-2:]] == [
        (["BTC"], market.thread), (["ETH"], market.thread),
    ]  # fmt: skip
    assert [silent for _, silent in [(d.at, d.silent) for d in planned.posts]] == [False] * 3
    # who comes later is in it, without a sound; so is what is said of the market itself
    planned.at(20 * MIN, alert(20 * MIN, "XRP"), alert(20 * MIN, "ALL", scope="market"))
    assert planned.at(30 * MIN) == []
    assert assets(planned.edits[-1]) == ["SOL", "BTC", "ETH", "XRP", "ALL"]
    # it is critical for one of them: the market rings, once
    planned.at(40 * MIN, alert(40 * MIN, "XRP", CRITICAL, turn=Turn.UP, opened=20 * MIN))
    planned.at(41 * MIN, alert(41 * MIN, "BTC", CRITICAL, turn=Turn.UP, opened=0))
    planned.at(HOUR)
    assert rings(planned)[3:] == [(40 * MIN, Turn.UP)], "one more coin is not much worse"


def test_coins_that_wait_together_have_one_post_and_none_of_their_own():
    planned = Planned()
    for n, coin in enumerate(("BTC", "ETH", "SOL", "DOGE")):
        planned.at(n * S, alert(n * S, coin, value=-5.0 - n))
    assert planned.at(MIN) == [(20 * S, "DOGE SOL ETH BTC")]
    assert planned.edits == []


def test_two_coins_are_two_events_and_one_rule_s_funding_another():
    planned = Planned()
    planned.at(0, alert(0, "BTC"), alert(0, "ETH"))
    planned.at(0, alert(0, "BTC", rule="funding_negative", metric="funding_8h_pct"))
    assert sorted(planned.at(MIN)) == [(20 * S, "BTC"), (20 * S, "BTC"), (20 * S, "ETH")]


def test_what_is_said_of_the_whole_market_takes_in_what_has_been_told_of_coins():
    planned = Planned()
    assert planned.at(0, alert(0, "BTC", CRITICAL)) == [(0, "BTC")]
    planned.at(9 * MIN, alert(9 * MIN, "ALL", WATCH, rule="market_fall", scope="market"))
    assert planned.at(12 * MIN) == [(10 * MIN, "BTC ALL")]
    assert planned.posts[-1].silent, "what is new is mild"
    assert [assets(d) for d in planned.edits if d.into] == [["BTC"]]


def test_a_coin_that_falls_again_hours_later_is_a_new_event():
    planned = Planned()
    planned.at(0, alert(0))
    planned.at(2 * HOUR, alert(2 * HOUR, rule="price_drop"))
    planned.at(3 * HOUR)
    assert rings(planned) == [(20 * S, Turn.OPEN), (2 * HOUR + 20 * S, Turn.OPEN)]
    assert len({d.thread for d in planned.posts}) == 2


def test_what_goes_on_after_its_event_begins_another():
    """The window of a day stays open; it gets worse when everything else is long over."""
    planned = Planned()
    slow = {"rule": "oi_drop:24h", "metric": "oi_net_24h_pct"}
    planned.at(0, alert(0, level=CRITICAL), alert(0, **slow))
    planned.at(HOUR, alert(HOUR, turn=Turn.CLOSE, opened=0))
    assert planned.edits[-1].turn is Turn.CLOSE
    planned.at(3 * HOUR, alert(3 * HOUR, turn=Turn.WORSE, opened=0, **slow))
    assert planned.at(4 * HOUR) == [(3 * HOUR + 20 * S, "BTC")]
    assert [a.turn for a in planned.posts[-1].alerts] == [Turn.OPEN]


def test_critical_alerts_of_one_moment_are_told_together():
    planned = Planned()
    both = [alert(0, level=CRITICAL), alert(0, level=CRITICAL, rule="cascade")]
    assert planned.at(0, *both) == [(0, "BTC")]
    assert len(planned.posts[0].alerts) == 2
    five = (alert(HOUR, coin, CRITICAL) for coin in "ABCDE")
    assert planned.at(HOUR, *five) == [(HOUR, "A B C D E")]


def test_a_later_turn_replaces_the_one_that_waits_and_is_told_as_the_beginning():
    planned = Planned()
    planned.at(0, alert(0, level=WATCH))
    planned.at(30 * S, alert(30 * S, level=ALERT, turn=Turn.UP, opened=0, value=-9.0))
    assert planned.at(2 * MIN) == [(50 * S, "BTC")]
    (opening,) = planned.posts[0].alerts
    assert (opening.turn, opening.value) == (Turn.OPEN, -9.0)
    assert planned.state.counts.merged == 1


def test_one_event_that_moves_a_composite_twice_is_one_post():
    planned = Planned()
    planned.at(0, alert(0, level=ALERT, rule="cascade", fires="above", value=2.0))
    planned.at(MIN)
    at = 10 * MIN
    up = alert(at, level=CRITICAL, rule="cascade", fires="above", turn=Turn.UP, opened=0, value=2.0)
    worse = msgspec.structs.replace(up, id="worse", turn=Turn.WORSE, value=3.0)
    assert planned.at(at, up, worse) == [(at, "BTC")]
    [posted] = planned.posts[-1].alerts
    assert (posted.id, posted.turn, posted.value) == ("worse", Turn.UP, 3.0)
    assert planned.state.not_posted[up.id] is NotPosted.MERGED
    assert planned.at(HOUR) == []


def test_what_is_over_before_it_was_told_is_counted_and_not_told():
    planned = Planned()
    planned.at(0, alert(0, level=WATCH))
    planned.at(30 * S, alert(30 * S, level=WATCH, turn=Turn.CLOSE, opened=0))
    assert planned.at(HOUR) == []
    planned.at(HOUR, alert(HOUR, "ETH", CRITICAL))
    assert planned.posts[0].held == {"oi_drop": 1}
    counts = planned.state.counts
    assert (counts.posted, counts.held, counts.over) == (1, 1, 1)


def test_an_end_that_is_not_to_be_posted_ends_its_part_all_the_same():
    planned = Planned()
    planned.at(0, alert(0, level=CRITICAL))
    planned.at(MIN, alert(MIN, turn=Turn.CLOSE, opened=0, post=False))
    assert planned.edits[-1].turn is Turn.CLOSE
    assert planned.state.counts.posted == 1


def test_an_event_that_is_over_before_the_market_s_post_ends_in_its_own():
    planned = Planned()
    planned.at(0, alert(0))
    planned.at(MIN, alert(MIN, "ALL", WATCH, scope="market"))
    planned.at(MIN + 2 * S, alert(MIN + 2 * S, turn=Turn.CLOSE, opened=0))
    planned.at(3 * MIN)
    assert [(d.turn, assets(d), d.into) for d in planned.deliveries[1:]] == [
        (Turn.CLOSE, ["BTC"], ""), (Turn.OPEN, ["ALL"], ""),
    ]  # fmt: skip


def waiting_market(planned: Planned, level: Level = ALERT) -> None:
    """BTC was posted, and two coins more begin: they wait, as the market."""
    planned.at(0, alert(0, "BTC", level))
    planned.at(MIN)
    planned.at(2 * MIN, alert(2 * MIN, "ETH", WATCH))
    planned.at(2 * MIN + S, alert(2 * MIN + S, "SOL", WATCH))


@pytest.mark.parametrize("chat", [
    Chat(destination=TelegramChat(-1), posts_per_hour=1),
    Chat(destination=TelegramChat(-1), quiet=Quiet(start=9 * 60 + 43, end=17 * 60, zone="UTC")),
])  # fmt: skip
def test_coins_that_the_market_s_post_never_comes_for_go_on_in_their_own(chat: Chat):
    """The budget is spent, or it waits for the morning: nothing points to it."""
    planned = Planned(chat)
    waiting_market(planned)
    worse = alert(9 * MIN, "BTC", turn=Turn.WORSE, opened=0, value=-9.0)
    planned.at(9 * MIN, worse)
    assert [a.value for a in planned.edits[-1].alerts] == [-9.0]
    planned.at(20 * MIN, alert(20 * MIN, "BTC", turn=Turn.CLOSE, opened=0))
    assert [d.into for d in planned.deliveries] == ["", "", ""]
    assert planned.edits[-1].turn is Turn.CLOSE


def test_a_coin_that_rings_while_the_market_waits_rings_as_the_market():
    planned = Planned()
    waiting_market(planned)
    up = alert(2 * MIN + 2 * S, "BTC", CRITICAL, turn=Turn.UP, opened=0)
    assert planned.at(2 * MIN + 2 * S, up) == [(2 * MIN + 2 * S, "BTC ETH SOL")]
    assert [d.silent for d in planned.posts] == [False, False]
    assert planned.at(HOUR) == []


def test_a_major_that_becomes_critical_rings_whatever_rang_for_others():
    planned = Planned(MAJORS)
    alts, worse = ("SOL", "DOGE", "XRP"), {"turn": Turn.WORSE, "level": CRITICAL}
    planned.at(0, *(alert(0, coin, CRITICAL) for coin in alts))
    planned.at(5 * MIN, alert(5 * MIN, "SOL", opened=0, value=-8.0, **worse))
    late = 5 * MIN + 16 * S
    planned.at(late, alert(late, "BTC", value=-2.0))
    rise = alert(late + S, "BTC", CRITICAL, turn=Turn.UP, opened=late, value=-7.0)
    planned.at(late + S, rise)
    # as bad again, of two rules: once more, and of the alts nothing within the hour
    for at in (late + 5 * S, late + 20 * S):
        planned.at(at, alert(at, "BTC", opened=late, value=-11.0, metric="price_1m_pct", **worse))
        planned.at(at, alert(at, "BTC", CRITICAL, rule="liq_burst", fires="above"))
        planned.at(at, alert(at, "AVAX", CRITICAL), alert(at, "DOGE", opened=0, **worse))
    planned.at(HOUR)
    assert rings(planned) == [
        (0, Turn.OPEN), (5 * MIN, Turn.WORSE), (late + S, Turn.WORSE), (late + 31 * S, Turn.WORSE),
    ]  # fmt: skip
    assert "BTC" in assets(planned.posts[-1])


def test_a_major_of_an_event_that_the_market_takes_in_has_rung_at_critical():
    planned = Planned(MAJORS)
    planned.at(0, alert(0, "BTC", CRITICAL))
    planned.at(5 * MIN, alert(5 * MIN, "SOL", CRITICAL), alert(5 * MIN, "XRP", CRITICAL))
    planned.at(6 * MIN, alert(6 * MIN, "BTC", CRITICAL, rule="liq_burst", fires="above"))
    planned.at(7 * MIN, alert(7 * MIN, "ETH", CRITICAL))
    planned.at(HOUR)
    # what is much worse for one waits, and is told by the ring of the other
    assert [at for at, _ in rings(planned)] == [0, 5 * MIN, 7 * MIN]
    assert planned.state.threads[planned.posts[-1].thread].worse == {"BTC": START + 7 * MIN}


def test_majors_that_become_critical_within_seconds_ring_once():
    planned = Planned(MAJORS)
    planned.at(0, *(alert(0, coin, CRITICAL) for coin in ("SOL", "DOGE", "XRP")))
    planned.at(3 * S, alert(3 * S, "BTC", CRITICAL))
    planned.at(4 * S, alert(4 * S, "ETH", CRITICAL))
    planned.at(HOUR)
    assert rings(planned) == [(0, Turn.OPEN), (10 * S, Turn.WORSE)]


def test_much_worse_rings_while_it_is_and_not_minutes_later():
    planned = Planned(MAJORS)
    coins = ("BTC", "ETH", "SOL")
    worse = {"turn": Turn.WORSE, "opened": 0, "level": CRITICAL, "value": -20.0,
             "metric": "price_1m_pct"}  # fmt: skip
    planned.at(0, *(alert(0, coin, CRITICAL) for coin in coins))
    planned.at(10 * S, *(alert(10 * S, coin, **worse) for coin in coins))
    planned.at(HOUR)
    assert rings(planned) == [(0, Turn.OPEN), (30 * S, Turn.WORSE)]


def test_what_was_much_worse_and_is_over_does_not_ring_and_its_worst_is_told():
    planned = Planned(MAJORS)
    coins = ("BTC", "ETH", "SOL")
    worse = {"turn": Turn.WORSE, "opened": 0, "level": CRITICAL}
    planned.at(0, *(alert(0, coin, CRITICAL) for coin in coins))
    planned.at(10 * S, alert(10 * S, "BTC", value=-20.0, extreme=-20.0, **worse))
    over = alert(20 * S, "BTC", CRITICAL, turn=Turn.CLOSE, opened=0, value=-1.0, extreme=-20.0)
    planned.at(20 * S, over)
    planned.at(HOUR)
    assert rings(planned) == [(0, Turn.OPEN)]
    assert -20.0 in [shown.extreme for shown in planned.edits[-1].alerts]
    # and it has used up nothing
    planned.at(HOUR + MIN, alert(HOUR + MIN, "ETH", value=-20.0, **worse))
    assert rings(planned)[1:] == [(HOUR + MIN, Turn.WORSE)]


def test_a_coin_that_got_much_worse_and_whose_market_is_mild_rings_when_it_may():
    planned = Planned()
    waiting_market(planned, CRITICAL)
    worse = {"turn": Turn.WORSE, "opened": 0, "level": CRITICAL}
    planned.at(2 * MIN + 2 * S, alert(2 * MIN + 2 * S, "BTC", value=-9.0, **worse))
    assert planned.at(4 * MIN) == [(3 * MIN, "BTC ETH SOL")]
    assert planned.posts[-1].silent
    assert planned.at(10 * MIN) == [(5 * MIN, "BTC ETH SOL")]
    planned.at(20 * MIN, alert(20 * MIN, "BTC", value=-12.0, **worse))
    planned.at(30 * MIN)
    assert rings(planned) == [(0, Turn.OPEN), (5 * MIN, Turn.WORSE)]


def test_a_coin_the_market_takes_in_has_rung_for_being_much_worse():
    planned = Planned()
    planned.at(0, alert(0, "BTC", CRITICAL))
    worse = {"turn": Turn.WORSE, "opened": 0, "level": CRITICAL}
    planned.at(6 * MIN, alert(6 * MIN, "BTC", value=-9.0, **worse))
    planned.at(7 * MIN, alert(7 * MIN, "ETH", WATCH), alert(7 * MIN, "ALL", WATCH, scope="market"))
    planned.at(9 * MIN)
    planned.at(15 * MIN, alert(15 * MIN, "BTC", value=-12.0, **worse))
    planned.at(30 * MIN)
    assert rings(planned) == [(0, Turn.OPEN), (6 * MIN, Turn.WORSE)]


def test_critical_alerts_of_a_backlog_are_told_though_they_are_over():
    """Read late, from before the time up to which everything has been posted."""
    planned = Planned()
    planned.at(-HOUR, alert(-HOUR, "DOGE"))
    planned.at(0)
    brief = alert(-4 * MIN, level=CRITICAL)
    over = alert(-MIN, level=CRITICAL, turn=Turn.CLOSE, opened=-4 * MIN)
    again = alert(-MIN, level=CRITICAL)
    planned.at(0, brief, over, again)
    mine = [d for d in planned.deliveries if "BTC" in assets(d)]
    assert [(d.turn, d.edit, d.silent) for d in mine] == [
        (Turn.OPEN, False, False), (Turn.OPEN, False, False), (Turn.CLOSE, True, True),
    ]  # fmt: skip
    assert len({d.thread for d in mine}) == 2


def test_of_a_backlog_too_only_what_is_of_one_moment_is_told_together():
    backlog = [alert(-4 * MIN, level=CRITICAL), alert(-3 * MIN, level=CRITICAL, rule="liq_burst")]
    one_call, each = Planned(), Planned()
    for planned in (one_call, each):
        planned.at(-HOUR, alert(-HOUR, "DOGE"))
        planned.at(0)
    one_call.at(0, *backlog)
    for late in backlog:
        each.at(0, late)
    assert [d.alerts for d in one_call.posts] == [d.alerts for d in each.posts]


def test_what_is_critical_and_over_at_the_same_moment_is_told():
    planned = Planned()
    both = alert(0, level=CRITICAL), alert(0, level=CRITICAL, turn=Turn.CLOSE, opened=0)
    assert planned.at(0, *both) == [(0, "BTC")]
    assert planned.edits[-1].turn is Turn.CLOSE


def test_a_turn_that_comes_after_the_end_changes_nothing():
    planned = Planned()
    planned.at(0, alert(0, price=100.0))
    planned.at(10 * MIN, alert(10 * MIN, turn=Turn.CLOSE, opened=0, price=100.0), BTC=100.0)
    planned.at(11 * MIN, alert(9 * MIN, turn=Turn.WORSE, opened=0, value=-9.0))
    planned.at(10 * MIN + HOUR, BTC=90.0)
    assert planned.edits[-1].since == {HOUR: {"BTC": pytest.approx(-10)}}
    assert [len(d.alerts) for d in planned.deliveries] == [1, 1, 1]
    assert planned.state.counts.merged == 1


# What nobody watches any more.


def drop(planned: Planned, now: Ms, *gone: str) -> None:
    """The configuration does not have these assets or rules any more."""
    planned.state, new = unwatched(
        planned.state, planned.chat, lambda a: not {a.asset, a.rule} & {*gone}, START + now
    )
    planned.deliveries += new


def test_what_nobody_watches_any_more_says_so_and_has_no_end():
    planned = Planned()
    planned.at(0, alert(0))
    planned.at(MIN)
    drop(planned, 2 * MIN, "BTC")
    assert [(d.unwatched, d.turn) for d in planned.edits] == [(True, Turn.OPEN)]
    assert grown(planned.state, CHAT) == planned.edits[-1:], "until that is durable"
    planned.at(3 * MIN)
    assert planned.state.threads == {}
    drop(planned, 4 * MIN, "BTC")
    assert len(planned.deliveries) == 2


def test_of_several_that_nobody_watches_each_says_so_that_was_told():
    planned = Planned()
    planned.at(0, alert(0, "BTC", WATCH), alert(0, "ETH", CRITICAL))
    drop(planned, S, "BTC", "ETH")
    assert [(assets(d), d.unwatched) for d in planned.edits] == [(["ETH"], True)]
    planned.at(MIN)
    assert planned.state.threads == {}


def test_what_goes_on_is_as_it_is_now_and_was_told():
    planned = Planned()
    assert going_on(planned.state) == []
    planned.at(0, alert(0, "BTC", CRITICAL), alert(0, "ETH", WATCH))
    planned.at(S)
    (delivery,) = going_on(planned.state)
    assert (assets(delivery), delivery.at) == (["BTC"], START + S)
    planned.at(5 * MIN, alert(5 * MIN, "BTC", turn=Turn.CLOSE, opened=0))
    assert [assets(d) for d in going_on(planned.state)] == [["ETH"]]


def test_what_waits_and_is_not_watched_any_more_is_counted():
    planned = Planned()
    planned.at(0, alert(0, "BTC", WATCH), alert(0, "ETH", WATCH))
    drop(planned, S, "BTC")
    assert planned.at(2 * MIN) == [(MIN, "ETH")]
    counts = planned.state.counts
    assert (counts.posted, counts.over) == (1, 1)


def test_coins_of_a_waiting_market_that_are_not_watched_any_more_say_so_in_their_own_posts():
    planned = Planned()
    waiting_market(planned)
    drop(planned, 2 * MIN + 5 * S, "BTC", "ETH", "SOL")
    planned.at(2 * HOUR)
    assert [(assets(d), d.unwatched, d.into) for d in planned.edits] == [(["BTC"], True, "")]
    assert (len(planned.posts), planned.state.counts.over) == (1, 2)
    assert planned.state.threads == {}


def test_what_looks_back_over_a_day_keeps_nothing_open_that_is_not_watched_any_more():
    planned = Planned()
    slow = {"rule": "oi_drop:24h", "metric": "oi_net_24h_pct"}
    planned.at(0, alert(0), alert(0, rule="price_drop", metric="price_1h_pct"), alert(0, **slow))
    planned.at(MIN)
    planned.at(5 * MIN, alert(5 * MIN, turn=Turn.CLOSE, opened=0))
    drop(planned, 6 * MIN, "price_drop")
    assert planned.edits[-1].turn is Turn.CLOSE


def test_on_the_console_where_nothing_is_edited_the_end_is_a_post():
    planned = Planned(msgspec.structs.replace(CHAT, destination=ConsoleOutput()))
    planned.at(0, alert(0, level=CRITICAL))
    planned.at(MIN, alert(MIN, rule="liq_burst"))
    planned.at(2 * MIN, alert(2 * MIN, turn=Turn.CLOSE, opened=0))
    end = alert(3 * MIN, rule="liq_burst", turn=Turn.CLOSE, opened=MIN, price=5.0)
    assert planned.at(3 * MIN, end) == [(3 * MIN, "BTC")]
    assert (planned.edits, planned.posts[-1].silent) == ([], True)
    planned.at(3 * MIN + S)
    assert next_due(planned.state) is None, "nobody would read what came of it"


DISCORD = MessengerName(Service.DISCORD)


def further(planned: Planned) -> list[tuple[Ms, str, Turn]]:
    """The posts without a sound that tell what edits would, where there are none."""
    return [(d.at - START, " ".join(sorted(assets(d))), d.turn) for d in planned.posts if d.silent]


def test_a_messenger_hears_of_what_is_newly_critical_in_a_market_that_is_so_already():
    planned = Planned(Chat(destination=DISCORD))
    planned.at(0, alert(0, "ETH"), alert(0, "BTC"), alert(0, "SOL"))
    up = alert(11 * S, "ETH", CRITICAL, turn=Turn.UP, opened=0, value=-6.2)
    assert planned.at(11 * S, up) == [(11 * S, "ETH BTC SOL")]
    for n, coin in enumerate(("BTC", "ETH", "SOL")):
        at = (20 + 7 * n) * S
        planned.at(at, alert(at, coin, CRITICAL, "cascade", value=3 + n, fires="above"))
    fall = alert(60 * S, "SOL", CRITICAL, turn=Turn.UP, opened=0, value=-24.8)
    planned.at(60 * S, fall)
    assert planned.state.counts.posted == 3, "nothing is counted as told that was not"
    assert next_post(planned.state) == START + 71 * S
    assert planned.at(71 * S) == [(71 * S, "SOL ETH BTC")]
    post = planned.posts[-1]
    assert (post.silent, post.turn, post.thread) == (True, Turn.WORSE, planned.posts[0].thread)
    assert fall in post.alerts
    assert {a.asset for a in post.alerts if a.rule == "cascade"} == {"BTC", "ETH", "SOL"}
    assert planned.state.counts.posted == 7
    assert planned.at(HOUR) == [], "of other coins one more that is critical is not much worse"
    assert next_post(planned.state) is None, "what only moves its values is not posted"
    assert planned.edits == []


def test_a_messenger_hears_each_minute_how_much_worse_it_is_and_rings_as_elsewhere():
    turns = [alert(0, level=CRITICAL)]
    turns += [
        alert(n * 20 * S, level=CRITICAL, turn=Turn.WORSE, opened=0, value=-5.0 - n)
        for n in range(1, 25)
    ]
    planned, chat = Planned(Chat(destination=DISCORD)), Planned()
    for turn in turns:
        planned.at(turn.seen - START, turn)
        chat.at(turn.seen - START, turn)
    planned.at(HOUR)
    chat.at(HOUR)
    assert rings(planned) == rings(chat) == [(0, Turn.OPEN), (5 * MIN, Turn.WORSE)]
    minutes = [1, 2, 3, 6, 7, 8, 9]
    assert [at for at, _, _ in further(planned)] == [m * MIN for m in minutes], (
        "none a minute before it rings"
    )
    assert planned.posts[-1].alerts == (turns[-1],), "the peak, and the minute that it came in"
    assert all(later.at - post.at >= MIN for post, later in itertools.pairwise(planned.posts))
    end = alert(HOUR, level=CRITICAL, turn=Turn.CLOSE, opened=0, extreme=-29.0)
    planned.at(HOUR, end)
    assert planned.posts[-1].turn is Turn.CLOSE
    counts = planned.state.counts
    assert counts.posted + counts.merged == len(turns) + 1


def test_what_is_critical_and_over_before_the_minute_is_told_all_the_same():
    planned = Planned(Chat(destination=DISCORD))
    planned.at(0, alert(0, level=CRITICAL), alert(0, rule="cascade", level=CRITICAL))
    peak = alert(10 * S, level=CRITICAL, turn=Turn.WORSE, opened=0, value=-20.0)
    planned.at(10 * S, peak)
    planned.at(30 * S, alert(30 * S, level=CRITICAL, turn=Turn.CLOSE, opened=0, extreme=-24.8))
    assert planned.at(2 * MIN) == [(MIN, "BTC")]
    post = planned.posts[-1]
    assert -24.8 in {a.extreme for a in post.alerts}
    assert (post.turn, post.silent) == (Turn.OPEN, True), "what is over does not get worse"


def test_below_critical_a_messenger_hears_every_five_minutes_what_is_much_worse():
    planned = Planned(Chat(destination=DISCORD, posts_per_hour=3))
    planned.at(0, alert(0))
    planned.at(20 * S)
    for n in range(1, 31):
        worse = alert(n * MIN, turn=Turn.WORSE, opened=0, value=-5.0 - n)
        planned.at(n * MIN, worse, alert(n * MIN, rule=f"other{n}"))
    every = 5 * MIN
    assert further(planned) == [(20 * S + n * every, "BTC", Turn.WORSE) for n in (1, 2)], (
        "two more is what the budget has"
    )
    assert len(planned.state.threads) == 1
    planned.at(31 * MIN, alert(31 * MIN, "ETH", CRITICAL))
    assert assets(planned.posts[-1]) == ["ETH"]


def test_further_posts_come_in_quiet_hours_too_and_after_a_clock_that_was_set_back():
    night = Quiet(start=9 * 60, end=11 * 60, zone="UTC")
    planned = Planned(Chat(destination=DISCORD, quiet=night, posts_per_hour=0))
    planned.at(0, alert(0, level=CRITICAL))
    planned.at(30 * S, alert(30 * S, level=CRITICAL, rule="liq_burst"))
    planned.state = set_back(planned.state, HOUR, START + 30 * S - HOUR)
    assert next_post(planned.state) == START + MIN - HOUR
    assert planned.at(MIN - HOUR) == [(MIN - HOUR, "BTC")]
    assert [d.silent for d in planned.posts] == [False, True]


def test_a_coin_whose_market_is_told_soon_has_no_further_post_of_its_own():
    wait = {WATCH: 50 * S, ALERT: 50 * S}
    planned = Planned(Chat(destination=DISCORD, group_wait=wait))
    planned.at(0, alert(0, "ETH", CRITICAL))
    planned.at(30 * S, alert(30 * S, "BTC"), alert(30 * S, "SOL"))
    planned.at(40 * S, alert(40 * S, "ETH", CRITICAL, "liq_burst"))
    planned.at(4 * MIN)
    assert [(d.at - START, d.market, sorted(assets(d))) for d in planned.posts[1:]] == [
        (80 * S, True, ["BTC", "ETH", "SOL"])
    ]


def test_what_nobody_watches_any_more_is_not_counted_as_told_where_nothing_says_so():
    planned = Planned(Chat(destination=DISCORD))
    planned.at(0, alert(0, level=CRITICAL), alert(0, rule="liq_burst", level=CRITICAL))
    worse = alert(10 * S, level=CRITICAL, turn=Turn.WORSE, opened=0, value=-9.0)
    planned.at(10 * S, worse)
    planned.at(20 * S, alert(20 * S, level=CRITICAL, turn=Turn.CLOSE, opened=0))
    state, posts = unwatched(
        planned.state, planned.chat, lambda a: a.rule != "liq_burst", START + 30 * S
    )
    assert posts == []
    assert (state.counts.posted, state.counts.over, next_post(state)) == (2, 1, None)
    assert [thread.fresh for thread in state.threads.values()] == [[]], "nothing is to tell it"


def test_a_webhook_gets_each_alert_by_itself_and_at_once():
    planned = Planned(Chat(destination=WebhookName("desk"), posts_per_hour=1))
    for n, coin in enumerate("ABCDE"):
        assert planned.at(n, alert(n, coin, WATCH, hidden_by="cascade")) == [(n, coin)]
    up = alert(MIN, "A", CRITICAL, turn=Turn.UP, opened=0)
    planned.at(MIN, up, alert(MIN, "F", turn=Turn.CLOSE, opened=0))
    planned.at(2 * MIN, alert(2 * MIN, "A", turn=Turn.CLOSE, opened=0))
    turns = [(d.alerts[0].turn, d.silent) for d in planned.posts]
    assert turns[4:] == [(Turn.OPEN, True), (Turn.UP, False), (Turn.CLOSE, True)]
    assert planned.state.counts.over == 1
    assert planned.state.episodes.keys() == {f"oi_drop {coin}" for coin in "BCDE"}


def test_what_readers_of_one_rule_get_is_the_event_of_that_rule():
    planned = Planned(at_least(WATCH, rules=frozenset({"oi_drop"})))
    planned.at(0, alert(0, rule="depth_thin", level=CRITICAL), alert(0))
    planned.at(MIN)
    assert [[a.family for a in d.alerts] for d in planned.deliveries] == [["oi_drop"]]


# What an earlier version has left.


def test_what_waited_before_there_were_threads_is_told_and_goes_on_in_its_post():
    waiting = Group(waiting=[Waiting(alert(0, "ETH"), START + 20 * S)])
    state = PlanState(
        now=START, episodes={"oi_drop BTC": START}, groups={"oi_drop below": waiting},
        quiet={"liq SOL": alert(0, "SOL", WATCH, "liq")},
    )  # fmt: skip
    planned = Planned()
    planned.state = state
    assert next_due(state) == START
    assert planned.at(MIN + S) == [(20 * S, "ETH"), (MIN, "SOL")]
    planned.at(5 * MIN, alert(5 * MIN, turn=Turn.WORSE, opened=0, value=-9.0))
    assert [assets(d) for d in planned.edits] == [["BTC"]]
    up = alert(6 * MIN, level=CRITICAL, turn=Turn.UP, opened=0)
    assert planned.at(6 * MIN, up) == [(6 * MIN, "BTC")]
    planned.at(HOUR, alert(HOUR, level=CRITICAL, turn=Turn.CLOSE, opened=0))
    assert planned.edits[-1].turn is Turn.CLOSE
    assert planned.state.episodes == {}


def test_who_takes_over_a_plan_makes_its_posts_what_they_should_be():
    planned = Planned()
    planned.at(0, alert(0, level=CRITICAL))
    planned.at(0, alert(0, "ETH", WATCH))
    planned.at(MIN, alert(MIN, rule="liq_burst"))
    again = grown(planned.state, CHAT)
    assert [d for d in again if "BTC" in assets(d)] == [
        msgspec.structs.replace(planned.edits[-1], at=START + MIN)
    ]
    assert grown(planned.state, msgspec.structs.replace(CHAT, destination=ConsoleOutput())) == []


# Silences.


def test_silences_hold_for_a_rule_and_an_asset_until_they_end_but_not_for_critical():
    silence = Silence(family="oi_drop", asset="SOL", until=START + HOUR)
    planned = Planned(silences=[silence])
    planned.at(0, alert(0, "SOL"), alert(0, "BTC"), alert(0, "SOL", rule="price_drop"))
    planned.at(MIN)
    posted = [(d.alerts[0].asset, d.alerts[0].family) for d in planned.posts]
    assert sorted(posted) == [("BTC", "oi_drop"), ("SOL", "price_drop")]
    assert planned.at(2 * MIN, alert(2 * MIN, "SOL", CRITICAL)) == [(2 * MIN, "SOL")]
    assert planned.state.counts.silenced == 1
    assert planned.at(2 * HOUR, alert(HOUR, "SOL")) == [(HOUR + 20 * S, "SOL")]


def test_in_a_pause_nothing_new_is_posted_and_what_was_posted_ends():
    planned = Planned()
    planned.at(0, alert(0, "BTC"))
    planned.at(MIN)
    planned.silences = [pause("30m", START + MIN)]
    planned.at(2 * MIN, alert(2 * MIN, "SOL", CRITICAL), alert(2 * MIN, "ETH"))
    planned.at(10 * MIN, alert(10 * MIN, "BTC", turn=Turn.CLOSE, opened=0))
    assert [d.turn for d in planned.edits] == [Turn.CLOSE]
    assert [d.alerts[0].asset for d in planned.posts] == ["BTC"]
    assert planned.state.counts.silenced == 2
    worse = alert(32 * MIN, "SOL", CRITICAL, turn=Turn.WORSE, opened=2 * MIN)
    assert planned.at(32 * MIN, worse) == [(32 * MIN, "SOL")], "and is told once it is worse"


def test_an_end_is_told_though_its_rule_is_silenced_since():
    planned = Planned()
    planned.at(0, alert(0))
    planned.at(MIN)
    planned.silences = [Silence(family="oi_drop", asset="*", until=START + HOUR)]
    planned.at(2 * MIN, alert(2 * MIN, turn=Turn.WORSE, opened=0))
    planned.at(3 * MIN, alert(3 * MIN, turn=Turn.CLOSE, opened=0))
    assert [d.turn for d in planned.edits] == [Turn.CLOSE]
    assert planned.state.counts.silenced == 1


def test_a_silence_of_one_window_leaves_the_others():
    silence = Silence(family="oi_drop:1h", asset="BTC", until=START + 9 * HOUR)
    planned = Planned(silences=(silence,))
    planned.at(0, alert(0, "BTC", rule="oi_drop:1h"), alert(0, "ETH", rule="oi_drop:1h"),
            alert(0, "BTC", rule="oi_drop:4h"))  # fmt: skip
    planned.at(MIN)
    posted = [(a.asset, a.rule) for d in planned.posts for a in d.alerts]
    assert sorted(posted) == [("BTC", "oi_drop:4h"), ("ETH", "oi_drop:1h")]
    assert planned.state.counts.silenced == 1


# Quiet hours.


def utc(hour: int, minute: int = 0, day: int = 3) -> Ms:
    return int(datetime(2026, 10, day, hour, minute, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("zone", "hour", "minute", "quiet"),
    [
        ("UTC", 22, 59, False),
        ("UTC", 23, 0, True),
        ("UTC", 6, 59, True),
        ("UTC", 7, 0, False),
        ("Asia/Taipei", 14, 59, False),
        ("Asia/Taipei", 15, 0, True),
        ("Asia/Taipei", 22, 59, True),
        ("Asia/Taipei", 23, 0, False),
        ("Asia/Kolkata", 17, 29, False),
        ("Asia/Kolkata", 17, 30, True),
    ],
)
def test_quiet_hours_are_those_of_the_zone(zone: str, hour: int, minute: int, quiet: bool):
    hours = Quiet(start=23 * 60, end=7 * 60, zone=zone)
    assert hours.covers(utc(hour, minute)) is quiet


def test_quiet_hours_follow_summer_time():
    hours = Quiet(start=13 * 60, end=14 * 60, zone="Europe/Berlin")
    assert hours.covers(utc(11, 30, day=24)) and not hours.covers(utc(12, 30, day=24))
    assert hours.covers(utc(12, 30, day=26)) and not hours.covers(utc(11, 30, day=26))


QUIET = Quiet(start=9 * 60, end=10 * 60, zone="UTC")
MORNING = 18 * MIN
"""From START, which is 9:42, to the end of QUIET."""


def test_in_quiet_hours_watch_waits_alert_is_silent_and_critical_rings():
    planned = Planned(Chat(quiet=QUIET))
    planned.at(0, alert(0, "BTC", WATCH), alert(0, "ETH", ALERT))
    assert planned.at(2 * MIN) == [(20 * S, "ETH")]
    assert planned.posts[0].silent
    assert next_due(planned.state) == START + MORNING
    funding = {"rule": "funding", "metric": "funding_8h_pct"}
    assert planned.at(3 * MIN, alert(3 * MIN, "SOL", CRITICAL, **funding)) == [(3 * MIN, "SOL")]
    assert not planned.posts[-1].silent
    assert planned.at(HOUR) == [(MORNING, "BTC")]
    assert planned.posts[-1].silent
    assert planned.state.counts.held == 0
    planned.at(HOUR + MIN, alert(HOUR, "XRP"))
    assert not planned.posts[-1].silent


def test_when_quiet_hours_end_it_is_told_what_is_still_true():
    planned = Planned(Chat(destination=TelegramChat(-1), posts_per_hour=1, quiet=QUIET))
    planned.at(0, alert(0, "BTC", WATCH), alert(0, "SOL", WATCH, "depth_thin"))
    planned.at(S, alert(S, "BTC", WATCH, "liq_burst"))
    planned.at(5 * MIN, alert(5 * MIN, "BTC", WATCH, turn=Turn.WORSE, opened=0, value=-7.0))
    planned.at(6 * MIN, alert(6 * MIN, "SOL", WATCH, "depth_thin", Turn.CLOSE, 0))
    assert planned.at(HOUR) == [(MORNING, "BTC")]
    (morning,) = planned.posts
    assert [(a.family, a.value, a.turn) for a in morning.alerts] == [
        ("oi_drop", -7.0, Turn.OPEN), ("liq_burst", -5.0, Turn.OPEN),
    ]  # fmt: skip
    assert morning.silent


def test_many_coins_of_a_quiet_night_are_one_post_in_the_morning():
    planned = Planned(Chat(quiet=Quiet(start=9 * 60, end=12 * 60, zone="UTC")))
    for n, coin in enumerate("ABCD"):
        planned.at(n * 25 * MIN, alert(n * 25 * MIN, coin, WATCH))
    planned.silences = (Silence(family="oi_drop", asset="D", until=START + 9 * HOUR),)
    morning = MORNING + 2 * HOUR
    assert planned.at(4 * HOUR) == [(morning, "A B C")]
    assert planned.posts[0].market
    assert planned.state.counts.silenced == 1
    assert all(thread.parts for thread in planned.state.threads.values()), "nothing empty is left"


def test_what_got_worse_in_quiet_hours_is_told_then_and_not_again():
    planned = Planned(Chat(quiet=QUIET))
    planned.at(0, alert(0, "BTC", WATCH))
    planned.at(2 * MIN)
    planned.at(5 * MIN, alert(5 * MIN, "BTC", CRITICAL, turn=Turn.UP, opened=0))
    assert planned.at(HOUR) == []
    assert rings(planned) == [(5 * MIN, Turn.OPEN)]


@pytest.mark.parametrize("changed", [None, Quiet(start=9 * 60, end=11 * 60, zone="UTC")])
def test_quiet_hours_that_are_changed_meanwhile(changed: Quiet | None):
    planned = Planned(Chat(quiet=QUIET))
    planned.at(2 * MIN, alert(0, "BTC", WATCH))
    planned.chat = Chat(quiet=changed)
    assert planned.at(3 * HOUR) == [(MORNING if changed is None else MORNING + HOUR, "BTC")]


@pytest.mark.parametrize(
    ("changed", "at"),
    [
        (None, 5 * MIN),
        (Quiet(start=8 * 60, end=9 * 60 + 45, zone="UTC"), 5 * MIN),  # over since 9:45
        (Quiet(start=9 * 60, end=9 * 60 + 50, zone="UTC"), 8 * MIN),
        (Quiet(start=9 * 60, end=11 * 60, zone="UTC"), MORNING + HOUR),
        (QUIET, MORNING),
    ],
)
def test_quiet_hours_that_are_changed_hold_at_once(changed: Quiet | None, at: Ms):
    planned = Planned(Chat(quiet=QUIET))
    planned.at(2 * MIN, alert(0, "BTC", WATCH))
    planned.chat = Chat(quiet=changed)
    planned.state = with_changed_quiet(planned.state, planned.chat, START + 5 * MIN)
    posted = planned.at(5 * MIN) + planned.at(3 * HOUR)
    assert posted == [(at, "BTC")]


@pytest.mark.parametrize(
    ("zone", "now", "hours"),
    [("UTC", utc(23, 30), 7.5), ("UTC", utc(3, 0), 4.0), ("Asia/Taipei", utc(15, 30), 7.5),
     ("Europe/Berlin", utc(21, 30, day=24), 8.5)],
)  # fmt: skip
def test_when_quiet_hours_end(zone: str, now: Ms, hours: float):
    """In the night to 25 October 2026 Berlin's clocks are set back by an hour."""
    assert Quiet(start=23 * 60, end=7 * 60, zone=zone).ends_after(now) - now == hours * HOUR


@pytest.mark.parametrize(
    ("zone", "now", "hours"),
    [("UTC", utc(9, 0), 0), ("UTC", utc(8, 59), 24 - 1 / 60), ("Asia/Taipei", utc(1, 30), 0.5),
     ("Asia/Taipei", utc(0, 30), 23.5), ("Europe/Berlin", utc(7, 30, day=25), 24.5)],
)  # fmt: skip
def test_a_time_of_day_was_last(zone: str, now: Ms, hours: float):
    """In the night to 25 October 2026 Berlin's clocks are set back: 24.5 h after 9:00, at 8:30."""
    last = DailyTime(minute=9 * 60, zone=zone).last_until(now)
    assert now - last == pytest.approx(hours * HOUR)


def test_quiet_hours_end_by_the_clock_that_was_set_back():
    planned = Planned(Chat(quiet=QUIET))
    planned.at(2 * MIN, alert(0, "BTC", WATCH))
    planned.state = set_back(planned.state, 10 * MIN, START - 8 * MIN)
    assert planned.at(MORNING - S) == []
    assert planned.at(MORNING) == [(MORNING, "BTC")]


# The budget.


def far_apart(n: int, level: Level = ALERT) -> Alert:
    """An event of its own."""
    return alert(n * 11 * MIN, f"A{n}", level)


def test_the_budget_is_of_an_hour():
    planned = Planned(Chat(posts_per_hour=1))
    planned.at(MIN, alert(0, "A"))
    planned.at(HOUR - S, alert(50 * MIN, "B"))
    assert [d.alerts[0].asset for d in planned.posts] == ["A"]
    planned.at(2 * HOUR, alert(HOUR + S, "C"))
    assert [d.alerts[0].asset for d in planned.posts] == ["A", "C"], "there is room again"
    assert planned.posts[-1].held == {"oi_drop": 1}


@pytest.mark.parametrize(("level", "limit"), [(ALERT, 1), (WATCH, 2)])
@pytest.mark.parametrize(("early", "posted"), [(1, ["A"]), (0, ["A", "B"])])
def test_a_post_counts_for_exactly_an_hour(level: Level, limit: int, early: Ms, posted: list[str]):
    planned = Planned(Chat(posts_per_hour=limit))
    planned.at(2 * MIN, alert(0, "A", level))
    planned.at(2 * HOUR, alert(HOUR - early, "B", level))
    assert [d.alerts[0].asset for d in planned.posts] == posted


def test_half_of_the_budget_is_not_for_watch():
    planned = Planned(Chat(posts_per_hour=2))
    for n, level in enumerate((WATCH, WATCH, ALERT, ALERT)):
        planned.at(n * 11 * MIN, far_apart(n, level))
    planned.at(44 * MIN)
    assert [d.alerts[0].asset for d in planned.posts] == ["A0", "A2"]


def test_what_is_critical_comes_and_what_grows_too():
    planned = Planned(Chat(destination=TelegramChat(-1), posts_per_hour=1))
    planned.at(MIN, alert(0, "A"), alert(0, "B"))
    assert [d.alerts[0].asset for d in planned.posts] == ["A"]
    planned.at(2 * MIN, alert(2 * MIN, "A", rule="liq_burst"))
    assert len(planned.edits) == 1
    planned.at(3 * MIN, alert(3 * MIN, "B", CRITICAL, turn=Turn.UP, opened=0))
    assert [a.turn for a in planned.posts[-1].alerts] == [Turn.OPEN], "readers hear of it first"
    assert planned.posts[-1].held == {"oi_drop": 1}


def test_a_ring_for_which_there_is_no_room_is_an_edit():
    planned = Planned(Chat(destination=TelegramChat(-1), posts_per_hour=1))
    planned.at(MIN, alert(0, "A", WATCH))
    planned.at(MIN + S, alert(MIN + S, "A", ALERT, turn=Turn.UP, opened=0))
    planned.at(2 * MIN)
    assert (len(planned.posts), len(planned.edits)) == (1, 1)
    assert planned.edits[0].alerts[0].level is ALERT


# What always holds, for any alerts of an engine: episodes in order, ends last.

RULES = ("oi_drop:15m", "oi_drop:1h", "liq_burst", "depth_thin", "cascade")


@st.composite
def engines(draw: st.DrawFn) -> list[Alert]:
    """The alerts of a few episodes on a few assets, in order of time."""
    alerts: list[Alert] = []
    for asset in ("A", "B", "C", "D", "E"):
        for rule in draw(st.sets(st.sampled_from(RULES), max_size=3)):
            alerts += draw(episodes(asset, rule))
    return sorted(alerts, key=lambda a: a.seen)


@st.composite
def episodes(draw: st.DrawFn, asset: str, rule: str) -> list[Alert]:
    at, turned = 0, []
    for _ in range(draw(st.integers(1, 2))):
        at += draw(st.integers(1, 40)) * 10 * S
        opened, level = at, draw(st.sampled_from(Level))
        hidden = draw(st.sampled_from(["", "", "cascade"]))
        turns = draw(st.lists(st.sampled_from([Turn.UP, Turn.WORSE]), max_size=3))
        for turn in (Turn.OPEN, *turns, Turn.CLOSE):
            if turn is Turn.UP:
                level = Level(min(CRITICAL, level + 1))
            post = turn is not Turn.CLOSE or draw(st.booleans())
            turned.append(alert(at, asset, level, rule, turn, opened, hidden_by=hidden, post=post))
            at += draw(st.integers(1, 60)) * 7 * S
    return turned


CHATS = st.builds(
    Chat,
    destination=st.sampled_from(
        [TelegramChat(-1), ConsoleOutput(), WebhookName("desk"), MessengerName(Service.LINE)]
    ),
    posts_per_hour=st.sampled_from([1, 3, 100]),
    quiet=st.sampled_from([None, Quiet(start=9 * 60 + 50, end=10 * 60, zone="UTC")]),
)
END = 40 * HOUR


def batched(alerts: list[Alert], chat: Chat, cuts: list[int], extra: list[Ms]) -> Planned:
    """The alerts in batches that end at ``cuts``, and calls without any at ``extra``."""
    planned = Planned(chat)
    edges = sorted({START + c * 10 * S for c in cuts} | {START + e for e in extra})
    done = 0
    for edge in edges:
        batch = [a for a in alerts[done:] if a.seen <= edge]
        done += len(batch)
        planned.at(edge - START, *batch)
    planned.at(END - 30 * HOUR, *alerts[done:])
    planned.at(END)
    planned.at(END + S)
    return planned


@settings(max_examples=60, deadline=None)
@given(engines(), CHATS, st.lists(st.integers(0, 300)), st.lists(st.integers(0, 3_000_000)))
def test_batches_change_no_post(alerts: list[Alert], chat: Chat, cuts: list[int], extra: list[Ms]):
    whole, cut = batched(alerts, chat, [], []), batched(alerts, chat, cuts, extra)
    assert [(d.at, d.silent, d.alerts) for d in whole.posts] == [
        (d.at, d.silent, d.alerts) for d in cut.posts
    ]
    if chat.edits:
        ends = [{d.thread: d.alerts for d in p.edits if not d.goes_on} for p in (whole, cut)]
        assert ends[0].items() <= ends[1].items()


@settings(max_examples=60, deadline=None)
@given(engines(), CHATS)
def test_nothing_critical_is_late_and_nothing_is_lost(alerts: list[Alert], chat: Chat):
    planned = Planned(chat)
    rung = False
    for coming in alerts:
        planned.at(coming.seen - START, coming)
        if not coming.post or coming.turn is Turn.CLOSE or coming.level is not CRITICAL:
            continue
        mine = [d for d in planned.deliveries if coming.id in {a.id for a in d.alerts}]
        soon = next_post(planned.state) or START + END
        at_once = mine and mine[-1].at == coming.seen
        assert at_once or soon <= coming.seen + MIN or isinstance(chat.destination, ConsoleOutput)
        if not rung or not chat.threaded:
            assert (planned.posts[-1].at, planned.posts[-1].silent) == (coming.seen, False)
        rung = True
    planned.at(END)
    planned.at(END + S)
    assert next_due(planned.state) is None
    counts = planned.state.counts
    assert sum(1 for a in alerts if a.post) == sum(msgspec.structs.astuple(counts))
    named = sum(sum(d.held.values()) for d in planned.posts)
    assert counts.held == named + sum(planned.state.held.values())


@settings(max_examples=60, deadline=None)
@given(engines(), CHATS)
def test_an_episode_is_told_in_order_and_ends_only_if_it_began(alerts: list[Alert], chat: Chat):
    planned = batched(alerts, chat, [], [])
    shown: dict[tuple[str, str, Ms], Alert] = {}
    posts: list[Ms] = []
    threads: set[str] = set()
    for delivery in planned.deliveries:
        for turn in delivery.alerts:
            episode = (turn.rule, turn.asset, turn.opened_at)
            before = shown.get(episode)
            heard = before is not None or (delivery.thread and delivery.thread in threads)
            # or ended in the same call in which the market takes in its event, which was posted
            heard = heard or (delivery.market and any(turn.asset == other for _, other, _ in shown))
            assert heard or turn.turn is not Turn.CLOSE
            assert before is None or turn.seen >= before.seen
            assert before is None or turn.level >= before.level or not chat.threaded
            shown[episode] = turn
        threads.add(delivery.thread)
        level = max(a.level for a in delivery.alerts)
        morning = chat.quiet is not None and chat.quiet.ends_after(delivery.at - 1) == delivery.at
        if delivery.edit or not chat.threaded or delivery.turn is Turn.CLOSE:
            continue
        if level is not CRITICAL and not (morning and level is WATCH):
            assert len([t for t in posts if t > delivery.at - HOUR]) < chat.posts_per_hour
        posts += [delivery.at] if level is not CRITICAL else []
    assert [d.at for d in planned.posts] == sorted(d.at for d in planned.posts)


@settings(max_examples=60, deadline=None)
@given(engines())
def test_an_event_has_few_posts_and_one_end(alerts: list[Alert]):
    planned = batched(alerts, Chat(destination=TelegramChat(-1), posts_per_hour=100), [], [])
    by_thread: dict[str, list[Delivery]] = {}
    for delivery in planned.deliveries:
        by_thread.setdefault(delivery.thread, []).append(delivery)
    for deliveries in by_thread.values():
        posts = [d for d in deliveries if not d.edit]
        turns = [d.turn for d in posts]
        assert turns[0] in (Turn.OPEN, Turn.CLOSE)
        assert turns.count(Turn.UP) <= 2
        worse = [d.at for d in posts if d.turn is Turn.WORSE]
        assert all(later - at >= HOUR for at, later in itertools.pairwise(worse))
        ends = [d.turn for d in deliveries if d.turn is Turn.CLOSE]
        assert len(ends) == 1 or deliveries[-1].into


# What a chat does not take.


def at_least(level: Level, **changes: object) -> Chat:
    wanted = Filter(min_level=level, **changes)
    return msgspec.structs.replace(CHAT, filters=(wanted,))


def test_an_episode_that_rises_to_the_level_of_a_chat_begins_there():
    planned = Planned(at_least(ALERT))
    assert planned.at(0, alert(0, level=WATCH)) == []
    planned.at(MIN, alert(MIN, level=ALERT, turn=Turn.UP, opened=0))
    planned.at(2 * MIN)
    assert [a.turn for a in planned.posts[0].alerts] == [Turn.OPEN]
    planned.at(3 * MIN, alert(3 * MIN, level=ALERT, turn=Turn.CLOSE, opened=0))
    assert [d.alerts[0].turn for d in planned.deliveries] == [Turn.OPEN, Turn.CLOSE]


def test_an_end_is_not_told_where_its_beginning_was_too_mild():
    planned = Planned(at_least(CRITICAL))
    planned.at(0, alert(0), alert(0, "ETH", CRITICAL))
    planned.at(MIN, *(alert(MIN, asset, turn=Turn.CLOSE, opened=0) for asset in ("BTC", "ETH")))
    assert [(d.alerts[0].asset, d.alerts[0].turn) for d in planned.deliveries] == [
        ("ETH", Turn.OPEN), ("ETH", Turn.CLOSE),
    ]  # fmt: skip
    assert planned.state.counts.over == 1


def test_rules_and_assets_that_a_chat_did_not_ask_for_are_nothing_to_it():
    planned = Planned(at_least(WATCH, rules=frozenset({"oi_drop"}), assets=frozenset({"BTC"})))
    planned.at(
        0, alert(0), alert(0, "ETH"), alert(0, rule="price_drop"), alert(0, rule="oi_drop:1h")
    )
    planned.at(HOUR)
    (post,) = planned.posts
    assert [(a.rule, a.asset) for a in post.alerts] == [("oi_drop", "BTC"), ("oi_drop:1h", "BTC")]


def test_a_tail_is_all_that_is_not_listed():
    tail = Filter(assets=frozenset({"SOL"}), all_but=frozenset({"BTC", "SOL", "ALL"}))
    assert [tail.wants_asset(a) for a in ("BTC", "SOL", "WIF", "ALL")] == [False, True, True, False]


def test_a_chat_has_a_name_that_lasts():
    places = (ConsoleOutput(), TelegramChat(-100), TelegramChat("@a", 7), WebhookName("mine"))
    keys = [Chat(destination=place).key for place in places]
    assert keys == ["console", "-100", "@a/7", "webhook:mine"]
    assert [queue_key(place) for place in places] == ["console", "-100", "@a", "webhook:mine"]


FILTERS = st.lists(
    st.builds(
        Filter,
        rules=st.none() | st.frozensets(st.sampled_from(["oi_drop", "liq_burst", "cascade"])),
        assets=st.none() | st.frozensets(st.sampled_from("ABCDE")),
        all_but=st.none() | st.frozensets(st.sampled_from("ABCDE")),
        min_level=st.sampled_from(Level),
    ),
    min_size=1,
    max_size=2,
).map(tuple)


@settings(max_examples=80, deadline=None)
@given(engines(), CHATS, FILTERS)
def test_nothing_is_told_that_was_not_asked_for_and_all_else_is_as_if_there_was_no_more(
    alerts: list[Alert], chat: Chat, filters: tuple[Filter, ...]
):
    chat = msgspec.structs.replace(chat, filters=filters)
    planned = batched(alerts, chat, [], [])
    for delivery in planned.deliveries:
        for turn in delivery.alerts:
            assert any(f.wants_rule(turn.family) and f.wants_asset(turn.asset) for f in filters)
            if turn.turn is not Turn.CLOSE:
                assert any(turn.level >= f.min_level and f.matches(turn) for f in filters)
    theirs = [a for a in alerts if chat.matches(a)]
    everything = msgspec.structs.replace(chat, filters=(Filter(),))
    assert batched(theirs, everything, [], []).deliveries == planned.deliveries
    counted = sum(msgspec.structs.astuple(planned.state.counts))
    assert counted == sum(1 for a in theirs if a.post)
