"""The plan: waits, digests, hiding, silences, quiet hours, budget; and what always holds."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.destination import ConsoleOutput, TelegramChat, WebhookName, queue_key
from bot.lang import LANGUAGES
from bot.messages.digest import delivery_message
from bot.plan.planner import (
    GROUP_OPEN,
    GROUP_WAIT,
    Chat,
    Delivery,
    Filter,
    NotPosted,
    PlanState,
    Quiet,
    dump,
    load,
    next_due,
    plan,
    set_back,
)
from bot.plan.silences import Silence
from rules.alerts import Alert, Level, Turn
from streams.events import Ms

START: Ms = 1_791_020_520_000  # 3 Oct 2026 09:42 UTC
S, MIN, HOUR = 1_000, 60_000, 3_600_000
CHAT = Chat(destination=TelegramChat(-100), hides={"cascade": ("oi_drop", "liq_burst")})
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

    def at(self, now: Ms, *alerts: Alert) -> list[tuple[Ms, str]]:
        """What is posted by the call at ``now``: (when it was due, assets)."""
        state = load(dump(self.state))
        self.state, new = plan(state, alerts, self.chat, self.silences, START + now)
        assert state == load(dump(state)), "the given state is left alone"
        self.deliveries += new
        return [(d.at - START, " ".join(a.asset for a in d.alerts)) for d in new]


def test_critical_is_told_at_once_and_the_others_wait_by_level():
    planned = Planned()
    three = [alert(0, "BTC", WATCH), alert(0, "ETH", ALERT), alert(0, "SOL", CRITICAL)]
    assert planned.at(0, *three) == [(0, "SOL")]
    assert next_due(planned.state) == START + 20 * S
    assert planned.at(20 * S - 1) == []
    assert planned.at(90 * S) == [(20 * S, "ETH"), (60 * S, "BTC")]
    assert [d.silent for d in planned.deliveries] == [False, False, True]
    assert next_due(planned.state) is None


def test_waits_are_the_chat_s():
    planned = Planned(Chat(group_wait={WATCH: 5 * S}))
    assert planned.at(5 * S, alert(0, level=WATCH)) == [(5 * S, "BTC")]
    assert planned.at(9 * S, alert(9 * S, "ETH", level=ALERT)) == [(9 * S, "ETH")]


def test_what_is_not_to_be_posted_is_nothing_to_the_plan():
    planned = Planned()
    assert planned.at(HOUR, alert(0, post=False)) == []
    assert planned.state == PlanState(now=START + HOUR)


def test_four_assets_are_one_digest_the_worst_first():
    planned = Planned()
    values = {"BTC": -5.0, "ETH": -9.0, "SOL": -6.0}
    for n, (asset, value) in enumerate(values.items()):
        assert planned.at(n * S, alert(n * S, asset, value=value)) == []
    planned.at(3 * S, alert(3 * S, "DOGE", WATCH, value=-12.0))
    assert planned.at(MIN) == [(20 * S, "ETH SOL BTC DOGE")]
    assert not planned.deliveries[0].silent and not planned.deliveries[0].joined


def test_three_assets_are_three_posts_and_other_families_do_not_count():
    planned = Planned()
    planned.at(0, *(alert(0, asset) for asset in ("BTC", "ETH", "SOL")))
    planned.at(0, alert(0, "BTC", rule="depth_thin"), alert(0, "XRP", fires="above"))
    assert len(planned.at(MIN)) == 5


def test_who_joins_is_named_in_another_digest_ten_minutes_later():
    planned = Planned()
    planned.at(0, *(alert(0, asset) for asset in ("A", "B", "C", "D")))
    assert planned.at(20 * S) == [(20 * S, "A B C D")]
    planned.at(2 * MIN, alert(2 * MIN, "E"))
    planned.at(5 * MIN, alert(5 * MIN, "F"), alert(5 * MIN, "A", turn=Turn.WORSE, opened=0))
    assert planned.at(9 * MIN) == []
    slot = 20 * S + GROUP_OPEN
    assert planned.at(slot) == [(slot, "E F A")]
    assert planned.deliveries[-1].joined
    assert [a.turn for a in planned.deliveries[-1].alerts] == [Turn.OPEN, Turn.OPEN, Turn.WORSE]
    # a single one that joins is a message of its own, and the group is over
    planned.at(slot + MIN, alert(slot + MIN, "G"))
    assert planned.at(2 * GROUP_OPEN + MIN) == [(slot + GROUP_OPEN, "G")]
    assert not planned.deliveries[-1].joined
    late = 3 * GROUP_OPEN
    assert planned.at(late + MIN, alert(late, "H")) == [(late + 20 * S, "H")]


def test_after_four_posts_in_a_row_the_rest_is_a_digest():
    planned = Planned()
    for n, asset in enumerate("ABCDEFG"):
        planned.at(n * MIN, alert(n * MIN, asset, CRITICAL if asset == "G" else ALERT))
    assert [d.alerts[0].asset for d in planned.deliveries] == ["A", "B", "C", "D", "G"]
    fourth = 3 * MIN + 20 * S
    assert planned.at(HOUR) == [(fourth + GROUP_OPEN, "E F")]
    assert planned.deliveries[-1].joined


def test_critical_does_not_wait_for_the_digest_of_joiners():
    planned = Planned()
    planned.at(0, *(alert(0, asset) for asset in ("A", "B", "C", "D")))
    planned.at(20 * S)
    planned.at(MIN, alert(MIN, "E"))
    up = alert(2 * MIN, "E", CRITICAL, turn=Turn.UP, opened=MIN)
    assert planned.at(2 * MIN, up) == [(2 * MIN, "E")]
    assert planned.at(HOUR) == []
    assert planned.state.counts.merged == 1


def test_critical_alerts_of_one_moment_are_one_digest():
    planned = Planned()
    assert planned.at(0, *(alert(0, a, CRITICAL) for a in "ABCD")) == [(0, "A B C D")]
    assert planned.at(S, *(alert(S, a, CRITICAL, "price_drop") for a in "ABC")) == [
        (S, "A"), (S, "B"), (S, "C"),
    ]  # fmt: skip


def test_a_later_turn_replaces_the_one_that_waits_and_is_told_as_the_beginning():
    planned = Planned()
    planned.at(0, alert(0, level=WATCH, turn=Turn.OPEN))
    planned.at(30 * S, alert(30 * S, level=ALERT, turn=Turn.UP, opened=0))
    assert planned.at(2 * MIN) == [(50 * S, "BTC")]
    assert planned.deliveries[0].alerts[0].turn is Turn.OPEN
    planned.at(3 * MIN, alert(3 * MIN, level=ALERT, turn=Turn.WORSE, opened=0))
    planned.at(9 * MIN)
    assert planned.deliveries[1].alerts[0].turn is Turn.WORSE


def test_an_episode_that_was_just_told_does_not_say_at_once_that_it_got_worse():
    planned = Planned()
    planned.at(0, alert(0))
    planned.at(MIN, alert(MIN, turn=Turn.WORSE, opened=0, value=-6.0))
    planned.at(2 * MIN, alert(2 * MIN, turn=Turn.WORSE, opened=0, value=-7.0))
    assert planned.at(HOUR) == [(5 * MIN + 20 * S, "BTC")]
    assert planned.deliveries[-1].alerts[0].value == -7.0
    planned.at(HOUR, alert(HOUR, turn=Turn.WORSE, opened=0))
    assert planned.at(2 * HOUR) == [(HOUR + 20 * S, "BTC")]


def test_what_is_critical_and_gets_worse_is_told_at_once_but_of_composites_in_turn():
    planned = Planned()
    planned.at(0, alert(0, level=CRITICAL), alert(0, "ETH", level=CRITICAL, rule="cascade"))
    worse = alert(S, level=CRITICAL, turn=Turn.WORSE, opened=0)
    assert planned.at(S, worse) == [(S, "BTC")]
    for n in (1, 2):
        at = n * MIN
        planned.at(at, alert(at, "ETH", CRITICAL, "cascade", Turn.WORSE, opened=0, value=n))
    assert planned.at(HOUR) == [(5 * MIN, "ETH")]
    assert planned.deliveries[-1].alerts[0].value == 2
    later = alert(HOUR, "ETH", CRITICAL, "cascade", Turn.WORSE, opened=0)
    assert planned.at(HOUR, later) == [(HOUR, "ETH")]


def test_the_console_where_nothing_is_edited_has_a_line_a_minute_of_what_gets_worse():
    planned = Planned(msgspec.structs.replace(CHAT, destination=ConsoleOutput()))
    planned.at(0, alert(0), alert(0, "ETH", level=CRITICAL, rule="cascade"))
    for n in range(1, 13):  # every 15 s, for three minutes
        at = 30 * S + n * 15 * S
        worse = alert(at, turn=Turn.WORSE, opened=0, value=-5.0 - n)
        more = alert(at, "ETH", CRITICAL, "cascade", Turn.WORSE, opened=0, value=n)
        planned.at(at, worse, more)
    planned.at(HOUR)
    for asset in ("BTC", "ETH"):
        times = [d.at - START for d in planned.deliveries if d.alerts[0].asset == asset]
        assert 3 <= len(times) <= 5
        assert all(after - before >= MIN for before, after in itertools.pairwise(times))
        assert max(times) <= 4 * MIN + 50 * S
    critical = [alert(n * S, "SOL", CRITICAL, turn=Turn.WORSE, opened=0) for n in (0, 7, 9)]
    assert len([planned.at(HOUR + n, worse) for n, worse in enumerate(critical)]) == 3


def test_what_many_composites_add_is_one_digest():
    planned = Planned()
    for n, asset in enumerate("ABCD"):
        planned.at(n * MIN, alert(n * MIN, asset, CRITICAL, "cascade"))
        at = n * MIN + 30 * S
        planned.at(at, alert(at, asset, CRITICAL, "cascade", Turn.WORSE, opened=n * MIN))
    assert len(planned.deliveries) == 4
    assert planned.at(HOUR) == [(5 * MIN, "A B C D")]


def test_an_end_is_told_if_its_beginning_was_and_once():
    planned = Planned()
    planned.at(0, alert(0))
    planned.at(20 * S)
    close = alert(MIN, turn=Turn.CLOSE, opened=0)
    assert planned.at(MIN, close) == []
    assert planned.at(3 * MIN) == [(2 * MIN, "BTC")]
    assert planned.deliveries[-1].silent
    planned.at(4 * MIN, alert(4 * MIN, turn=Turn.CLOSE, opened=0))
    assert planned.at(9 * MIN) == []
    assert planned.state.counts.over == 1


def test_what_is_over_before_it_was_told_is_counted_and_not_told():
    planned = Planned()
    planned.at(0, alert(0, level=WATCH))
    planned.at(30 * S, alert(30 * S, level=WATCH, turn=Turn.CLOSE, opened=0))
    assert planned.at(HOUR) == []
    planned.at(HOUR, alert(HOUR, "ETH", CRITICAL))
    assert planned.deliveries[0].held == {"oi_drop": 1}


def test_a_new_episode_replaces_the_end_of_the_last_one_that_waits():
    planned = Planned()
    planned.at(0, alert(0))
    planned.at(MIN, alert(MIN, turn=Turn.CLOSE, opened=0))
    planned.at(MIN + S, alert(MIN + S))
    assert planned.at(HOUR) == [(MIN + 21 * S, "BTC")]
    assert planned.deliveries[-1].alerts[0].turn is Turn.OPEN


def test_a_composite_takes_over_the_parts_that_wait_and_those_that_come():
    planned = Planned()
    planned.at(0, alert(0, "BTC"), alert(0, "BTC", rule="liq_burst"), alert(0, "ETH"))
    planned.at(5 * S, alert(5 * S, "BTC", rule="depth_thin"))
    cascade = alert(10 * S, "BTC", CRITICAL, "cascade")
    assert planned.at(10 * S, cascade) == [(10 * S, "BTC")]
    assert planned.deliveries[0].hidden == 2
    late = alert(15 * S, "BTC", CRITICAL, turn=Turn.UP, opened=0, hidden_by="cascade")
    assert planned.at(15 * S, late) == []
    assert planned.at(MIN) == [(20 * S, "ETH"), (25 * S, "BTC")], "others are not its parts"
    worse = alert(2 * MIN, "BTC", CRITICAL, "cascade", Turn.WORSE, opened=10 * S)
    planned.at(2 * MIN, worse)
    planned.at(HOUR)
    assert planned.deliveries[-1].hidden == 1
    assert planned.state.counts.hidden == 3


def test_after_a_composite_s_end_a_critical_part_is_told_as_what_goes_on():
    planned = Planned()
    planned.at(0, alert(0, level=CRITICAL, post=False, hidden_by="cascade"))
    planned.at(S, alert(S, level=CRITICAL, rule="cascade", fires="above"))
    planned.at(HOUR, alert(HOUR, level=CRITICAL, rule="cascade", fires="above", turn=Turn.CLOSE,
                        opened=S))  # fmt: skip
    worse = alert(HOUR + MIN, level=CRITICAL, turn=Turn.WORSE, opened=0, value=-9.0)
    assert planned.at(HOUR + MIN, worse)[-1] == (HOUR + MIN, "BTC")
    assert planned.deliveries[-1].alerts[0].turn is Turn.WORSE
    assert planned.deliveries[-1].hidden == 0
    later = alert(2 * HOUR, level=CRITICAL, turn=Turn.UP, opened=HOUR + 2 * MIN)
    planned.at(2 * HOUR, later)
    assert planned.deliveries[-1].alerts[0].turn is Turn.OPEN, "it began after all was planned"


def test_one_event_that_moves_a_composite_twice_is_one_post():
    planned = Planned()
    planned.at(0, alert(0, level=ALERT, rule="cascade", fires="above", value=2.0))
    planned.at(MIN)
    at = 10 * MIN
    up = alert(at, level=CRITICAL, rule="cascade", fires="above", turn=Turn.UP, opened=0, value=2.0)
    worse = msgspec.structs.replace(up, id="worse", turn=Turn.WORSE, value=3.0)
    assert planned.at(at, up, worse) == [(at, "BTC")]
    [posted] = planned.deliveries[-1].alerts
    assert (posted.id, posted.turn, posted.value) == ("worse", Turn.UP, 3.0)
    assert planned.state.not_posted[up.id] is NotPosted.MERGED
    assert planned.at(HOUR) == []


def test_a_beginning_and_its_next_turn_of_one_moment_are_one_post():
    planned = Planned()
    opening = alert(0, level=CRITICAL, held=2)
    worse = alert(0, level=CRITICAL, turn=Turn.WORSE, value=-8.0, id="worse")
    assert planned.at(0, opening, worse, alert(0, "ETH", CRITICAL)) == [(0, "BTC"), (0, "ETH")]
    first = planned.deliveries[0].alerts[0]
    assert (first.turn, first.value, first.held) == (Turn.OPEN, -8.0, 2)


def test_a_composite_hides_a_critical_part_of_the_same_moment():
    planned = Planned()
    both = [alert(0, level=CRITICAL), alert(0, level=CRITICAL, rule="cascade")]
    planned.at(0, *both)
    assert [d.alerts[0].rule for d in planned.deliveries] == ["cascade"]


def test_a_composite_takes_over_nothing_that_is_higher_than_itself():
    planned = Planned()
    part = alert(0, level=CRITICAL, instrument="binance/BTCUSDT")
    assert planned.at(0, part, alert(0, level=ALERT, rule="cascade")) == [(0, "BTC")]
    assert planned.deliveries[0].alerts == (part,)


def test_the_end_of_a_part_told_before_is_folded_in_and_its_next_episode_is_new():
    planned = Planned()
    planned.at(0, alert(0))
    planned.at(5 * MIN, alert(5 * MIN, level=CRITICAL, rule="cascade"))
    planned.at(9 * MIN, alert(9 * MIN, turn=Turn.CLOSE, opened=0, hidden_by="cascade"))
    planned.at(HOUR)
    planned.at(3 * HOUR, alert(3 * HOUR))
    planned.at(4 * HOUR)
    assert [d.alerts[0].family for d in planned.deliveries] == ["oi_drop", "cascade", "oi_drop"]


def test_parts_are_told_if_their_composite_is_not():
    quiet = Silence(family="cascade", asset="*", until=START + HOUR)
    planned = Planned(silences=[quiet])
    planned.at(0, alert(0, level=ALERT, rule="cascade"))
    assert planned.at(MIN, alert(S, hidden_by="cascade")) == [(21 * S, "BTC")]
    shadow = Planned()
    shadow.at(0, alert(0, level=CRITICAL, rule="cascade", post=False))
    assert shadow.at(MIN, alert(S, hidden_by="cascade")) == [(21 * S, "BTC")]


def test_windows_of_one_rule_say_it_once():
    planned = Planned()
    planned.at(0, alert(0, rule="oi_drop:15m"), alert(0, rule="oi_drop:1h"))
    assert planned.at(MIN) == [(20 * S, "BTC")]
    planned.at(5 * MIN, alert(5 * MIN, rule="oi_drop:1d"))
    assert planned.at(6 * MIN) == []
    assert planned.state.counts.merged == 2
    up = alert(6 * MIN, level=CRITICAL, rule="oi_drop:1h", turn=Turn.UP, opened=0)
    assert planned.at(6 * MIN, up) == [(6 * MIN, "BTC")]
    assert planned.deliveries[-1].alerts[0].turn is Turn.OPEN
    # only what was posted is closed
    planned.at(HOUR, *(alert(HOUR, rule=f"oi_drop:{w}", turn=Turn.CLOSE, opened=0)
                    for w in ("15m", "1h")))  # fmt: skip
    planned.at(HOUR, alert(HOUR, rule="oi_drop:1d", turn=Turn.CLOSE, opened=5 * MIN))
    planned.at(2 * HOUR)
    assert [d.alerts[0].rule for d in planned.deliveries[2:]] == ["oi_drop:15m", "oi_drop:1h"]


def test_windows_after_a_while_speak_again():
    planned = Planned()
    planned.at(0, alert(0, rule="oi_drop:15m"))
    planned.at(30 * MIN, alert(30 * MIN, rule="oi_drop:1h"))
    assert planned.at(HOUR) == [(30 * MIN + 20 * S, "BTC")]


def test_a_digest_names_an_asset_once():
    planned = Planned()
    planned.at(0, *(alert(0, a, rule=f"oi_drop:{w}") for a in "ABCD" for w in ("15m", "1h")))
    assert planned.at(MIN) == [(20 * S, "A B C D")]
    assert planned.state.counts.merged == 4


def test_contracts_of_one_asset_are_told_apart():
    planned = Planned()
    planned.at(0, *(alert(0, instrument=f"{v}/BTCUSDT") for v in ("binance", "bybit")))
    assert len(planned.at(MIN)) == 2


def test_silences_hold_for_a_rule_and_an_asset_until_they_end_but_not_for_critical():
    silence = Silence(family="oi_drop", asset="SOL", until=START + HOUR)
    planned = Planned(silences=[silence])
    planned.at(0, alert(0, "SOL"), alert(0, "BTC"), alert(0, "SOL", rule="price_drop"))
    assert planned.at(MIN) == [(20 * S, "BTC"), (20 * S, "SOL")]
    assert planned.at(2 * MIN, alert(2 * MIN, "SOL", CRITICAL)) == [(2 * MIN, "SOL")]
    assert planned.state.counts.silenced == 1
    assert planned.at(2 * HOUR, alert(HOUR, "SOL")) == [(HOUR + 20 * S, "SOL")]


def test_an_end_that_is_silenced_takes_along_what_waits_of_its_episode():
    planned = Planned()
    planned.at(0, alert(0, level=WATCH), alert(0, "ETH"))
    planned.at(MIN)
    planned.at(MIN, alert(MIN, turn=Turn.UP, opened=0), alert(MIN, "SOL", WATCH))
    planned.silences = [Silence(family="oi_drop", asset="*", until=START + HOUR)]
    planned.at(MIN + S, *(alert(MIN + S, a, turn=Turn.CLOSE, opened=o) for a, o in
                       (("BTC", 0), ("SOL", MIN))))  # fmt: skip
    assert planned.at(HOUR) == []
    assert (planned.state.counts.merged, planned.state.counts.held) == (1, 1)
    assert planned.state.episodes.keys() == {"oi_drop ETH"}


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
    planned.at(0, alert(0, "BTC", WATCH), alert(0, "ETH", ALERT), alert(0, "SOL", CRITICAL))
    assert planned.at(2 * MIN) == [(20 * S, "ETH")]
    assert [(d.alerts[0].asset, d.silent) for d in planned.deliveries] == [
        ("SOL", False), ("ETH", True),
    ]  # fmt: skip
    assert next_due(planned.state) == START + MORNING
    assert planned.at(HOUR) == [(MORNING, "BTC")]
    assert planned.deliveries[-1].silent
    assert planned.state.counts.held == 0
    planned.at(HOUR + MIN, alert(HOUR, "XRP"))
    assert not planned.deliveries[-1].silent


def test_when_quiet_hours_end_one_digest_tells_what_is_still_true():
    planned = Planned(Chat(posts_per_hour=1, quiet=QUIET))
    planned.at(0, *(alert(0, coin, WATCH) for coin in ("BTC", "ETH")),
            alert(0, "BTC", WATCH, "liq_burst"), alert(0, "SOL", WATCH, "depth_thin"),
            alert(0, "HYPE", WATCH, "funding"))  # fmt: skip
    planned.at(5 * MIN, alert(5 * MIN, "ETH", WATCH, turn=Turn.WORSE, opened=0, value=-7.0))
    planned.at(6 * MIN, alert(6 * MIN, "SOL", WATCH, "depth_thin", Turn.CLOSE, 0))
    planned.at(7 * MIN, alert(7 * MIN, "HYPE", WATCH, "funding", Turn.CLOSE, 0, post=False))
    planned.at(8 * MIN, alert(8 * MIN, "XRP", ALERT))
    planned.at(HOUR)
    assert [d.at - START for d in planned.deliveries] == [8 * MIN + 20 * S, MORNING]
    morning = planned.deliveries[-1]
    assert [(a.asset, a.family, a.value, a.turn) for a in morning.alerts] == [
        ("ETH", "oi_drop", -7.0, Turn.OPEN),
        ("BTC", "oi_drop", -5.0, Turn.OPEN),
        ("BTC", "liq_burst", -5.0, Turn.OPEN),
    ]
    assert (morning.silent, morning.title) == (True, "quiet.over")
    text = delivery_message(morning, LANGUAGES["en"]).plain.split("\n")
    assert text[0] == "🟡 Quiet hours are over: 3 alerts go on"
    assert [line[:5] for line in text[1:-1]] == ["🟡 ETH", "🟡 BTC", "🟡 BTC"]


def test_what_got_worse_in_quiet_hours_is_told_then_and_not_again():
    planned = Planned(Chat(quiet=QUIET))
    planned.at(0, alert(0, "BTC", WATCH), alert(0, "ETH", WATCH))
    planned.at(5 * MIN, alert(5 * MIN, "BTC", CRITICAL, turn=Turn.UP, opened=0))
    assert planned.at(HOUR) == [(MORNING, "ETH")]
    planned.at(2 * HOUR, alert(2 * HOUR, "ETH", WATCH, turn=Turn.CLOSE, opened=0))
    assert planned.at(3 * HOUR) == [(2 * HOUR + MIN, "ETH")], (
        "its end is posted, as its beginning was"
    )


def test_a_silence_of_one_window_leaves_the_others():
    silence = Silence(family="oi_drop:1h", asset="BTC", until=START + 9 * HOUR)
    planned = Planned(silences=(silence,))
    planned.at(0, alert(0, "BTC", rule="oi_drop:1h"), alert(0, "ETH", rule="oi_drop:1h"),
            alert(0, "BTC", rule="oi_drop:4h"))  # fmt: skip
    planned.at(MIN)
    posted = [(a.asset, a.rule) for d in planned.deliveries for a in d.alerts]
    assert sorted(posted) == [("BTC", "oi_drop:4h"), ("ETH", "oi_drop:1h")]
    assert planned.state.counts.silenced == 1


def test_a_silence_made_in_quiet_hours_and_a_composite_take_what_waits():
    planned = Planned(Chat(quiet=QUIET, hides=CHAT.hides))
    planned.at(0, alert(0, "BTC", WATCH), alert(0, "ETH", WATCH), alert(0, "SOL", WATCH))
    planned.at(5 * MIN, alert(5 * MIN, "BTC", CRITICAL, "cascade"))
    planned.silences = (Silence(family="oi_drop", asset="ETH", until=START + 9 * HOUR),)
    assert planned.at(HOUR) == [(MORNING, "SOL")]
    counts = planned.state.counts
    assert (counts.hidden, counts.silenced) == (1, 1)


@pytest.mark.parametrize("changed", [None, Quiet(start=9 * 60, end=11 * 60, zone="UTC")])
def test_quiet_hours_that_are_changed_meanwhile(changed: Quiet | None):
    planned = Planned(Chat(quiet=QUIET))
    planned.at(2 * MIN, alert(0, "BTC", WATCH))
    planned.chat = Chat(quiet=changed)
    assert planned.at(3 * HOUR) == [(MORNING if changed is None else MORNING + HOUR, "BTC")]


@pytest.mark.parametrize(
    ("zone", "now", "hours"),
    [("UTC", utc(23, 30), 7.5), ("UTC", utc(3, 0), 4.0), ("Asia/Taipei", utc(15, 30), 7.5),
     ("Europe/Berlin", utc(21, 30, day=24), 8.5)],
)  # fmt: skip
def test_when_quiet_hours_end(zone: str, now: Ms, hours: float):
    """In the night to 25 October 2026 Berlin's clocks are set back by an hour."""
    assert Quiet(start=23 * 60, end=7 * 60, zone=zone).ends_after(now) - now == hours * HOUR


def test_quiet_hours_end_by_the_clock_that_was_set_back():
    planned = Planned(Chat(quiet=QUIET))
    planned.at(2 * MIN, alert(0, "BTC", WATCH))
    planned.state = set_back(planned.state, 10 * MIN, START - 8 * MIN)
    assert planned.at(MORNING - S) == []
    assert planned.at(MORNING) == [(MORNING, "BTC")]


def test_the_budget_is_of_an_hour():
    planned = Planned(Chat(posts_per_hour=1))
    planned.at(MIN, alert(0, "A"))
    planned.at(HOUR - S, alert(50 * MIN, "B"))
    assert [d.alerts[0].asset for d in planned.deliveries] == ["A"]
    planned.at(2 * HOUR, alert(HOUR + S, "C"))
    assert [d.alerts[0].asset for d in planned.deliveries] == ["A", "C"], (
        "an hour later there is room"
    )


def test_half_of_the_budget_is_not_for_watch():
    planned = Planned(Chat(posts_per_hour=5))
    for n in range(9):
        level = WATCH if n < 6 else ALERT
        planned.at(n * 2 * MIN, alert(n * 2 * MIN, f"A{n}", level))
    planned.at(HOUR)
    assert [d.alerts[0].asset for d in planned.deliveries] == ["A0", "A1", "A2", "A6", "A7"]


def test_alerts_leave_watch_its_half_while_there_is_room():
    planned = Planned(Chat(posts_per_hour=4))
    for n, level in enumerate((ALERT, ALERT, WATCH, ALERT, WATCH)):
        planned.at(n * 2 * MIN, alert(n * 2 * MIN, f"A{n}", level, rule=f"r{n}"))
    planned.at(HOUR)
    assert [d.alerts[0].asset for d in planned.deliveries] == ["A0", "A1", "A2", "A3"]


def test_what_is_critical_takes_nothing_from_the_budget():
    planned = Planned(Chat(posts_per_hour=1))
    for n in range(9):
        planned.at(n, alert(n, f"A{n}", CRITICAL))
    planned.at(2 * MIN, alert(MIN, "B", rule="x"), alert(MIN + S, "C", rule="y"))
    assert [d.alerts[0].asset for d in planned.deliveries[9:]] == ["B"]


def test_over_the_budget_only_critical_and_ends_come_and_the_rest_is_counted():
    planned = Planned(Chat(posts_per_hour=2))
    for n in range(5):
        planned.at(n * MIN, alert(n * MIN, f"A{n}"), alert(n * MIN, f"A{n}", rule="depth_thin"))
    assert len(planned.deliveries) == 2
    assert planned.at(9 * MIN, alert(9 * MIN, "X", CRITICAL)) == [(9 * MIN, "X")]
    assert planned.deliveries[-1].held == {"oi_drop": 4, "depth_thin": 4}
    assert planned.at(12 * MIN, alert(10 * MIN, "A0", turn=Turn.CLOSE, opened=0)) == [
        (11 * MIN, "A0")
    ]
    assert planned.at(13 * MIN, alert(12 * MIN, "A4", turn=Turn.CLOSE, opened=4 * MIN)) == []
    # an hour after the first post there is room again, and an untold episode begins for the reader
    planned.at(2 * HOUR, alert(2 * HOUR, "A1", turn=Turn.WORSE, opened=MIN))
    planned.at(3 * HOUR)
    assert planned.deliveries[-1].alerts[0].turn is Turn.OPEN
    assert planned.deliveries[-1].held == {}


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
    posts_per_hour=st.sampled_from([1, 3, 100]),
    quiet=st.sampled_from([None, Quiet(start=9 * 60 + 50, end=10 * 60, zone="UTC")]),
    hides=st.just(CHAT.hides),
)
END = 12 * HOUR


def batched(alerts: list[Alert], chat: Chat, cuts: list[int], extra: list[Ms]) -> Planned:
    """The alerts in batches that end at ``cuts``, and calls without any at ``extra``."""
    planned = Planned(chat)
    edges = sorted({START + c * 10 * S for c in cuts} | {START + e for e in extra})
    done = 0
    for edge in edges:
        batch = [a for a in alerts[done:] if a.seen <= edge]
        done += len(batch)
        planned.at(edge - START, *batch)
    planned.at(END, *alerts[done:])
    return planned


@settings(max_examples=60, deadline=None)
@given(engines(), CHATS, st.lists(st.integers(0, 300)), st.lists(st.integers(0, 3_000_000)))
def test_batches_change_nothing(alerts: list[Alert], chat: Chat, cuts: list[int], extra: list[Ms]):
    whole, cut = batched(alerts, chat, [], []), batched(alerts, chat, cuts, extra)
    assert whole.deliveries == cut.deliveries
    assert whole.state == cut.state


@settings(max_examples=60, deadline=None)
@given(engines(), CHATS)
def test_nothing_critical_is_late_and_nothing_is_lost(alerts: list[Alert], chat: Chat):
    planned = Planned(chat)
    for coming in alerts:
        planned.at(coming.seen - START, coming)
        critical = coming.post and coming.level is CRITICAL and coming.turn is not Turn.CLOSE
        more = coming.family == "cascade" and coming.turn is Turn.WORSE
        if critical and not coming.hidden_by and not more:
            last = planned.deliveries[-1]
            assert last.at == coming.seen and [a.id for a in last.alerts] == [coming.id]
            assert not last.silent
    planned.at(END)
    assert next_due(planned.state) is None
    counts = planned.state.counts
    delivered = sum(len(d.alerts) for d in planned.deliveries)
    assert counts.posted == delivered
    assert sum(1 for a in alerts if a.post) == sum(msgspec.structs.astuple(counts))
    named = sum(sum(d.held.values()) for d in planned.deliveries)
    assert counts.held == named + sum(planned.state.held.values())
    folded = sum(d.hidden for d in planned.deliveries)
    assert counts.hidden == folded + sum(planned.state.hidden.values())


@settings(max_examples=60, deadline=None)
@given(engines(), CHATS)
def test_an_episode_is_told_in_order_and_ends_only_if_it_began(alerts: list[Alert], chat: Chat):
    planned = batched(alerts, chat, [], [])
    began: dict[tuple[str, str, Ms], Ms] = {}
    composites: dict[str, Ms] = {}
    posts: list[Ms] = []
    for delivery in planned.deliveries:
        for posted in delivery.alerts:
            episode = (posted.rule, posted.asset, posted.opened_at)
            latest = posted.seen + max(GROUP_WAIT.values()) + GROUP_OPEN
            if posted.level is WATCH and chat.quiet is not None:
                latest = max(latest, chat.quiet.ends_after(posted.seen))
            assert posted.seen <= delivery.at <= latest
            if posted.family in chat.hides and posted.turn is not Turn.CLOSE:
                composites[posted.asset] = delivery.at
            by_composite = (
                posted.turn not in (Turn.OPEN, Turn.CLOSE)
                and posted.family in chat.hides.get("cascade", ())
                and composites.get(posted.asset, 0) >= posted.opened_at
            )
            assert (posted.turn is Turn.OPEN) == (episode not in began) or by_composite
            assert posted.seen >= began.get(episode, 0)
            began[episode] = posted.seen
        level = max(a.level for a in delivery.alerts)
        morning = chat.quiet is not None and chat.quiet.ends_after(delivery.at - 1) == delivery.at
        if morning and level is WATCH:
            posts.append(delivery.at)
        elif delivery.alerts[0].turn is not Turn.CLOSE and level is not CRITICAL:
            recent = [t for t in posts if t > delivery.at - HOUR]
            assert len(recent) < chat.posts_per_hour
            posts.append(delivery.at)
    assert [d.at for d in planned.deliveries] == sorted(d.at for d in planned.deliveries)


# What a chat does not take.


def at_least(level: Level, **changes: object) -> Chat:
    wanted = Filter(min_level=level, **changes)
    return msgspec.structs.replace(CHAT, filters=(wanted,))


def test_an_episode_that_rises_to_the_level_of_a_chat_begins_there():
    planned = Planned(at_least(ALERT))
    assert planned.at(0, alert(0, level=WATCH)) == []
    planned.at(MIN, alert(MIN, level=ALERT, turn=Turn.UP, opened=0))
    planned.at(2 * MIN)
    assert [a.turn for a in planned.deliveries[0].alerts] == [Turn.OPEN]
    planned.at(3 * MIN, alert(3 * MIN, level=ALERT, turn=Turn.CLOSE, opened=0))
    planned.at(HOUR)
    assert [d.alerts[0].turn for d in planned.deliveries] == [Turn.OPEN, Turn.CLOSE]


def test_an_end_is_not_told_where_its_beginning_was_too_mild():
    planned = Planned(at_least(CRITICAL))
    planned.at(0, alert(0), alert(0, "ETH", CRITICAL))
    planned.at(MIN, *(alert(MIN, asset, turn=Turn.CLOSE, opened=0) for asset in ("BTC", "ETH")))
    planned.at(HOUR)
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
    assert [(d.alerts[0].rule, d.alerts[0].asset) for d in planned.deliveries] == [
        ("oi_drop", "BTC")
    ]
    assert planned.state.counts.merged == 1


def test_a_tail_is_all_that_is_not_listed():
    tail = Filter(assets=frozenset({"SOL"}), all_but=frozenset({"BTC", "SOL", "ALL"}))
    assert [tail.wants_asset(a) for a in ("BTC", "SOL", "WIF", "ALL")] == [False, True, True, False]


@pytest.mark.parametrize("hides", [{}, CHAT.hides])
def test_a_composite_hides_nothing_where_it_is_not_told(hides):
    chat = at_least(WATCH, rules=frozenset({"oi_drop"}))
    planned = Planned(msgspec.structs.replace(chat, hides=hides))
    planned.at(0, alert(0, level=CRITICAL, rule="cascade"))
    planned.at(S, alert(S, hidden_by="cascade"))
    planned.at(HOUR)
    assert [d.alerts[0].family for d in planned.deliveries] == ["oi_drop"]


def test_a_composite_hides_nothing_any_more_once_it_is_not_asked_for():
    planned = Planned()
    planned.at(0, alert(0, level=CRITICAL, rule="cascade"))
    planned.chat = at_least(WATCH, rules=frozenset({"oi_drop"}))
    planned.chat = msgspec.structs.replace(planned.chat, hides={})
    planned.at(S, alert(S, hidden_by="cascade"))
    planned.at(HOUR)
    assert [d.alerts[0].family for d in planned.deliveries] == ["cascade", "oi_drop"]


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
    opened: set[tuple[str, str, Ms]] = set()
    for delivery in planned.deliveries:
        for posted in delivery.alerts:
            assert any(f.wants_rule(posted.family) and f.wants_asset(posted.asset) for f in filters)
            episode = (posted.rule, posted.asset, posted.opened_at)
            if posted.turn is Turn.CLOSE:
                assert episode in opened
            else:
                assert any(posted.level >= f.min_level and f.matches(posted) for f in filters)
                opened.add(episode)
    theirs = [a for a in alerts if chat.matches(a)]
    everything = msgspec.structs.replace(chat, filters=(Filter(),))
    assert batched(theirs, everything, [], []).deliveries == planned.deliveries
    counted = sum(msgspec.structs.astuple(planned.state.counts))
    assert counted == sum(1 for a in theirs if a.post)
