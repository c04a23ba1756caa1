"""Notices of feeds: once a venue, after 15 s, and never for a reconnect."""

from collections.abc import Sequence

from msgspec.structs import replace
from pytest import mark

from rules.alerts import Alert, Kind, Notice, decode, encode
from rules.engine import Engine
from streams.durations import MINUTE, SECOND
from streams.events import NOT_WATCHED, AnyEvent, Fault, FaultCode, FeedState, Tick
from tests.rules.facts import START, feed, liquidation, oi
from tests.rules.mix import rule

OI, DEPTH, FUNDING = Kind.OPEN_INTEREST, Kind.DEPTH, Kind.FUNDING
RULES = [rule("oi_net_1h_pct", "below", (-3.0,), -1)]


def at(seconds: float) -> int:
    return START + round(seconds * SECOND)


def ticks(since: int, until: int) -> list[AnyEvent]:
    return [Tick(seen=at(n)) for n in range(since, until)]


def notices(engine: Engine, events: Sequence[AnyEvent]) -> list[Notice]:
    outputs = [output for event in events for output in engine.feed(event)]
    assert not any(isinstance(output, Alert) for output in outputs)
    return outputs


def brief(notices: Sequence[Notice]) -> list[tuple[str, str, bool, int]]:
    """(venue, kinds, up, seconds after it went down)."""
    return [(n.venue, "+".join(n.kinds), n.up, (n.seen - n.since) // SECOND) for n in notices]


def fresh() -> Engine:
    engine = Engine(RULES)
    up = [feed(venue, kind, START, True) for venue in ("binance", "bybit") for kind in (OI, DEPTH)]
    assert notices(engine, [*up, *ticks(0, 60)]) == []
    return engine


def test_a_silent_venue_is_one_notice_and_one_more_when_it_is_back():
    engine = fresh()
    down = [
        FeedState(venue="bybit", symbol="*", kind=kind, seen=at(60), up=False, reason="socket lost")
        for kind in (DEPTH, OI)
    ]
    notices_down = notices(engine, [*down, *ticks(60, 200)])
    assert brief(notices_down) == [("bybit", "open_interest+depth", False, 15)]
    assert notices_down[0].reason == "socket lost"
    up = [feed("bybit", kind, at(200), True) for kind in (DEPTH, OI)]
    back = notices(engine, [*up, *ticks(200, 300)])
    assert brief(back) == [("bybit", "open_interest+depth", True, 155)]
    assert back[0].since == at(60)
    assert back[0].id != notices_down[0].id


def lost(notices: Sequence[Notice]) -> list[tuple[str, bool, int]]:
    """(venue, over, seconds after it went down)."""
    return [
        (n.venue, n.up, (n.seen - n.since) // SECOND)
        for n in notices
        if n.fault is FaultCode.VENUE_LOST
    ]


def test_a_venue_lost_for_minutes_is_told_once_more_and_once_when_it_is_over():
    engine = fresh()
    down = [
        FeedState(venue="bybit", symbol="*", kind=kind, seen=at(60), up=False, reason="socket lost")
        for kind in (DEPTH, OI)
    ]
    notices_down = notices(engine, [*down, *ticks(60, 900)])
    assert lost(notices_down) == [("bybit", False, 180)]
    assert [n.reason for n in notices_down] == ["socket lost", "socket lost"]
    again = Engine(RULES)
    again.load(engine.dump())
    assert lost(notices(again, ticks(900, 1_500))) == []
    back = notices(again, [feed("bybit", DEPTH, at(1_500), True), *ticks(1_500, 1_900)])
    assert lost(back) == [("bybit", True, 1_455)]


def test_a_venue_of_which_one_feed_is_left_or_that_is_back_soon_is_not_lost():
    engine = fresh()
    assert lost(notices(engine, [feed("bybit", OI, at(60), False), *ticks(60, 900)])) == []
    short = [feed("bybit", DEPTH, at(900), False), *ticks(900, 1_070)]
    short += [feed("bybit", DEPTH, at(1_070), True), *ticks(1_070, 1_400)]
    assert lost(notices(engine, short)) == []


def test_a_venue_that_was_never_reached_is_lost_after_minutes():
    engine = Engine(RULES)
    engine.feed(oi("binance", at(0), 1000.0))
    down = [feed("bybit", kind, at(0), False) for kind in (OI, DEPTH)]
    assert lost(notices(engine, [*down, *ticks(0, 400)])) == [("bybit", False, 180)]


def test_a_reconnect_is_no_news():
    engine = fresh()
    events: list[AnyEvent] = []
    for minute in range(1, 10):
        events += [feed("bybit", OI, at(60 * minute), False), *ticks(60 * minute, 60 * minute + 10)]
        events += [feed("bybit", OI, at(60 * minute + 10), True)]
        events += ticks(60 * minute + 10, 60 * minute + 60)
    assert notices(engine, events) == []


def test_flapping_is_one_silence():
    engine = fresh()
    assert notices(engine, [feed("bybit", OI, at(60), False), *ticks(60, 90)]) != []
    events: list[AnyEvent] = []
    for second in range(90, 190, 10):
        events += [feed("bybit", OI, at(second), second % 20 == 0), *ticks(second, second + 10)]
    assert notices(engine, events) == []


def test_kinds_that_fall_at_different_times_are_told_apart():
    engine = fresh()
    first = notices(engine, [feed("bybit", OI, at(60), False), *ticks(60, 90)])
    second = notices(engine, [feed("bybit", DEPTH, at(90), False), *ticks(90, 120)])
    assert [n.kinds for n in first + second] == [(OI,), (DEPTH,)]


def markets(count: int, up: bool, since: int, of: int = 10) -> list[AnyEvent]:
    return [feed("bybit", DEPTH, at(since), up, symbol=f"A{n}USDT") for n in range(of)[:count]]


def test_single_books_are_no_notice_and_half_of_them_are_one_by_name():
    engine = fresh()
    assert notices(engine, [*markets(10, True, 60), *ticks(60, 90)]) == []
    assert notices(engine, [*markets(4, False, 90), *ticks(90, 200)]) == []
    notices_down = notices(engine, [*markets(5, False, 200), *ticks(200, 300)])
    assert [(n.kinds, n.up, n.subjects) for n in notices_down] == [((DEPTH,), False, symbols(0, 5))]
    assert notices(engine, [*markets(2, True, 300), *ticks(300, 400)]) == []
    back = notices(engine, [*markets(4, True, 400), *ticks(400, 500)])
    assert [(n.up, n.subjects, n.since) for n in back] == [(True, symbols(0, 4), at(90))]
    assert notices(engine, [*markets(5, True, 500), *ticks(500, 600)])[0].subjects == symbols(4, 5)


def symbols(first: int, end: int) -> tuple[str, ...]:
    return tuple(f"A{n}USDT" for n in range(first, end))


def test_books_that_are_lost_after_half_of_them_are_named_by_halves_of_the_rest():
    """However many books a venue has, it is a handful of notices, the last of all of them."""
    engine = fresh()
    assert notices(engine, [*markets(10, True, 60), *ticks(60, 90)]) == []
    lost = [event for n in range(1, 11) for event in [
        *markets(n, False, 60 + 30 * n), *ticks(60 + 30 * n, 90 + 30 * n)
    ]]  # fmt: skip
    halves = [(n.subjects, n.up) for n in notices(engine, lost)]
    assert halves == [
        (symbols(0, 5), False), (symbols(5, 8), False), (symbols(8, 9), False), ((), False)
    ]  # fmt: skip
    engine.load(engine.dump())
    back = notices(engine, [*markets(9, True, 400), *ticks(400, 500)])
    assert [(n.subjects, n.up) for n in back] == [(symbols(0, 9), True)]
    last = notices(engine, [*markets(10, True, 500), *ticks(500, 600)])
    assert [(n.subjects, n.up) for n in last] == [(symbols(9, 10), True)]


def states(asset: str, up: bool, since: int, reason: str = "") -> list[AnyEvent]:
    """Of all kinds of feeds of a contract at Kraken."""
    return [
        FeedState(
            venue="kraken", symbol=f"PF_{asset}USD", kind=kind, seen=at(since), up=up,
            reason=reason, asset=asset,
        )
        for kind in Kind
    ]  # fmt: skip


def test_a_contract_that_is_refused_is_named_and_the_venue_is_not_silent():
    """Kraken with BTC and ETH, and ETH refused: BTC's feeds are up and in all the sums."""
    engine = Engine(RULES)
    events = [*states("BTC", True, 1), *states("ETH", False, 1, "refused: Invalid product id")]
    (notice,) = notices(engine, [*events, *ticks(1, 400)])
    assert (notice.venue, notice.kinds, notice.up) == ("kraken", tuple(Kind), False)
    assert notice.subjects == ("PF_ETHUSD",)
    assert notice.reason == "refused: Invalid product id"
    (back,) = notices(engine, [*states("ETH", True, 400), *ticks(400, 500)])
    assert (back.kinds, back.up, back.subjects) == (tuple(Kind), True, ("PF_ETHUSD",))


def named(*assets: str) -> Engine:
    row = RULES[0].row_of("BTC")
    assert row is not None
    return Engine([replace(RULES[0], rows=dict.fromkeys(assets, row))])


def test_a_named_asset_that_never_came_is_told_once_whatever_its_share():
    engine = named("BTC", "ETH")
    others = [event for n in range(9) for event in states(f"A{n}", True, 1)]
    refused = [*states("BTC", False, 1, "refused: no"), *states("A9", False, 1, "refused: no")]
    (notice,) = notices(engine, [*others, *refused, *ticks(1, 400)])
    assert (notice.subjects, notice.seen - notice.since) == (("PF_BTCUSD",), MINUTE)
    again = named("BTC", "ETH")
    again.load(engine.dump())
    assert notices(again, ticks(400, 800)) == []
    lost = [*states("ETH", True, 800), *states("ETH", False, 820), *ticks(820, 870)]
    assert notices(again, lost) == []
    back = notices(again, [*states("BTC", True, 870), *ticks(870, 900)])
    assert [(n.subjects, n.up) for n in back] == [(("PF_ETHUSD",), False), (("PF_BTCUSD",), True)]


def test_nothing_is_expected_of_what_is_not_watched_or_not_listed_any_more():
    engine = named("BTC", "ETH", "SOL")
    up = [event for name in ("BTC", "ETH", "SOL") for event in states(name, True, 1)]
    gone = Fault(code=FaultCode.CONTRACT_SETTLING, venue="kraken", subject="PF_ETHUSD", seen=at(20))
    down = [*states("ETH", False, 20), gone, *states("SOL", False, 20, NOT_WATCHED)]
    after = notices(engine, [*up, *ticks(1, 20), *down, *ticks(20, 400)])
    assert [n.fault for n in after] == [FaultCode.CONTRACT_SETTLING]


def test_a_feed_that_never_came_is_told_and_that_it_comes():
    engine = Engine(RULES)
    engine.feed(oi("bybit", at(0), 1000.0))
    down = [feed("bybit", DEPTH, at(60), False, symbol=name) for name in ("BTCUSDT", "ETHUSDT")]
    first = notices(engine, [*ticks(0, 60), *down, *ticks(60, 120)])
    assert [(n.kinds, n.up) for n in first] == [((DEPTH,), False)]
    up = [feed("bybit", DEPTH, at(120), True, symbol=name) for name in ("BTCUSDT", "ETHUSDT")]
    again = notices(engine, [*up, *ticks(120, 180)])
    assert [(n.kinds, n.up) for n in again] == [((DEPTH,), True)]


def test_data_proves_a_feed_up():
    engine = Engine(RULES)
    engine.feed(oi("bybit", at(0), 1000.0))
    down = notices(engine, [feed("bybit", OI, at(1), False), *ticks(1, 60)])
    assert [n.up for n in down] == [False]
    data: list[AnyEvent] = [oi("bybit", at(60), 1000.0), *ticks(60, 120)]
    assert [n.up for n in notices(engine, data)] == [True]


def test_no_tick_for_half_a_minute_is_said_when_something_comes():
    engine = fresh()
    late = [oi("bybit", at(70 + n), 1000.0) for n in range(40)]
    notices_down = notices(engine, late)
    assert brief(notices_down) == [("", "", False, 36)]
    assert notices_down[0].reason == "no tick for 36 s"
    back = notices(engine, ticks(120, 125))
    assert brief(back) == [("", "", True, 61)]
    assert notices(engine, [*late, *ticks(125, 130)]) == []


def test_after_an_absence_of_all_the_feeds_may_speak_first():
    engine = fresh()
    down = [feed(venue, OI, at(60), False) for venue in ("binance", "bybit")]
    assert notices(engine, down) == []
    up = [feed(venue, OI, at(603), True) for venue in ("binance", "bybit")]
    first_notices = notices(engine, [Tick(seen=at(600)), *up, *ticks(601, 700)])
    assert brief(first_notices) == [("", "", True, 541)]


def test_one_notice_after_an_absence_says_how_long_it_was_and_how_much_was_open():
    engine = Engine([rule("liq_10m_musd", "above", (1,), 0.5)])
    up = [feed("bybit", Kind.LIQUIDATION, START, True)]
    burst = [liquidation("bybit", at(50), 5e6), liquidation("bybit", at(51), 5e6, asset="ETH")]
    opened = [turn for event in [*up, *ticks(0, 50), *burst] for turn in engine.feed(event)]
    assert [type(turn) for turn in opened] == [Alert, Alert]
    assert notices(engine, ticks(52, 60)) == []
    again = Engine([rule("liq_10m_musd", "above", (1,), 0.5)])
    again.load(engine.dump())
    first = [feed("bybit", Kind.LIQUIDATION, at(216), True), oi("bybit", at(216.5), 1000.0)]
    (notice,) = notices(again, [*first, *ticks(217, 300)])
    assert brief([notice]) == [("", "", True, 158)]
    assert (notice.since, notice.open_episodes) == (at(59), 2)


def test_feeds_that_are_down_by_an_absence_are_told_only_if_they_stay_so():
    engine = fresh()
    both, kinds = ("binance", "bybit"), (OI, DEPTH)
    down = [feed(venue, kind, at(60), False) for venue in both for kind in kinds]
    assert notices(engine, down) == []
    up = [feed("binance", kind, at(140), True) for kind in kinds]
    after = notices(engine, [*ticks(104, 140), *up, *ticks(140, 180)])
    assert brief(after) == [("", "", True, 45), ("bybit", "open_interest+depth", False, 89)]
    engine = fresh()  # a quick restart, from which feeds come back late, is none to speak of
    up = [feed(venue, kind, at(78), True) for venue in both for kind in kinds]
    assert notices(engine, [*down, *ticks(76, 78), *up, *ticks(78, 140)]) == []


@mark.parametrize("apart", [6, 20, 40, 60])
def test_a_silent_feed_is_told_however_far_apart_ticks_are(apart: int):
    engine = fresh()
    down = [feed("bybit", OI, at(60), False), *(Tick(seen=at(t)) for t in range(60, 400, apart))]
    assert ("bybit", "open_interest", False) in [
        entry[:3] for entry in brief(notices(engine, down))
    ]


def test_a_restart_tells_nothing_twice():
    engine = fresh()
    down = [feed("bybit", OI, at(60), False), *ticks(60, 90)]
    assert len(notices(engine, down)) == 1
    again = Engine(RULES)
    again.load(engine.dump())
    assert notices(again, ticks(90, 200)) == []
    assert len(notices(again, [feed("bybit", OI, at(200), True), *ticks(200, 230)])) == 1


def test_a_notice_and_an_alert_share_a_stream():
    engine = fresh()
    (notice,) = notices(engine, [feed("bybit", OI, at(60), False), *ticks(60, 90)])
    assert decode(encode(notice)) == notice
    assert isinstance(decode(encode(notice)), Notice)
    assert notice.seen - notice.since < MINUTE
