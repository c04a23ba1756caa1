"""Conflation against a naive model: what a reader of the stream would know, and when."""

from collections.abc import Iterable
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.bus.conflate import FRONT_MS, RUNNING_MS, TAIL_MS, Conflator, lasting, newest_only
from streams.events import (
    AnyEvent,
    Band,
    Depth,
    FeedState,
    Funding,
    Kind,
    Liquidation,
    MacroPrice,
    MarketEvent,
    OpenInterest,
    Position,
    Price,
    Tick,
    Volume,
    kind_of,
)

T0 = 1_790_000_000_000
FACTS = tuple(FRONT_MS)


def fact(kind: Kind, value: float, seen: int, asset: str = "BTC", venue: str = "a") -> MarketEvent:
    where = {
        "venue": venue, "symbol": asset + "USDT", "asset": asset, "at": seen - 20, "seen": seen
    }  # fmt: skip
    match kind:
        case Kind.DEPTH:
            bands = (Band(10, value, value, True),)
            return Depth(**where, mid=100.0, spread_bp=1.0, bands=bands)
        case Kind.PRICE:
            return Price(**where, mark=value)
        case Kind.OPEN_INTEREST:
            return OpenInterest(**where, base=value)
        case Kind.VOLUME:
            return Volume(**where, usd_24h=value)
        case Kind.FUNDING:
            return Funding(**where, rate=value, hours=8, settled=False)
        case Kind.LIQUIDATION:
            return Liquidation(**where, position=Position.LONG, price=1.0, base=1.0, usd=value)


def macro(mark: float, seen: int) -> MacroPrice:
    return MacroPrice(
        venue="a", symbol="xyz:BTC", asset="BTC", at=seen, seen=seen, mark=mark, day_ago=90.0,
        usd_24h=1e6 + seen,
    )  # fmt: skip


def test_what_is_no_coin_is_held_back_by_itself_and_repeated_to_be_alive() -> None:
    conflator = Conflator(())
    coin = fact(Kind.PRICE, 100.0, T0, asset="xyz:BTC")
    assert conflator.offer(macro(100.0, T0)) and conflator.offer(coin)
    assert not conflator.offer(macro(150.0, T0 + 5_000))  # it runs, and nobody asks for seconds
    interval = TAIL_MS[Kind.PRICE]
    assert [e.mark for e in conflator.due(T0 + interval) if isinstance(e, MacroPrice)] == [150.0]
    assert not conflator.offer(macro(150.0, T0 + 2 * interval))  # nothing new but turnover
    assert conflator.offer(macro(150.0, T0 + 4 * interval))


def settled(seen: int, venue: str = "a") -> Funding:
    return Funding(
        venue=venue, symbol="BTCUSDT", asset="BTC", at=seen, seen=seen,
        rate=0.01, hours=8, settled=True,
    )  # fmt: skip


def state(kind: Kind, seen: int, up: bool, symbol: str = "*", venue: str = "a") -> FeedState:
    return FeedState(venue=venue, symbol=symbol, kind=kind, seen=seen, up=up)


def key(event: MarketEvent) -> tuple[object, ...]:
    return kind_of(event), event.venue, event.symbol


def value(event: MarketEvent) -> object:
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    return [fields[name] for name in fields if name not in ("at", "seen")]


def played(conflator: Conflator, events: Iterable[AnyEvent]) -> list[tuple[int, AnyEvent]]:
    """(when it came out, event), with ``due`` asked each second as the publisher does."""
    out: list[tuple[int, AnyEvent]] = []
    clock = T0
    for event in events:
        while clock + 1_000 <= event.seen:
            clock += 1_000
            out += [(clock, late) for late in conflator.due(clock)]
        out += [(event.seen, now) for now in conflator.offer(event)]
    for _ in range(310):
        clock += 1_000
        out += [(clock, late) for late in conflator.due(clock)]
    return out


market_events = st.tuples(
    st.sampled_from(FACTS),
    st.sampled_from(["BTC", "TAIL"]),
    st.sampled_from(["a", "b"]),
    st.sampled_from([1.0, 2.0, 3.0]),
)
kept_events = st.sampled_from(["liquidation", "settled", "tick", "up", "down", "down*"])
pauses = st.sampled_from([0, 100, 400, 900, 1_500, 6_000, 25_000])
histories = st.lists(st.tuples(pauses, market_events | kept_events), max_size=60)


def written_out(history: list[tuple[int, object]]) -> list[AnyEvent]:
    now, events = T0, list[AnyEvent]()
    for pause, what in history:
        now += pause
        match what:
            case (kind, asset, venue, number):
                events.append(fact(kind, number, now, asset, venue))
            case "liquidation":
                events.append(fact(Kind.LIQUIDATION, 5.0, now))
            case "settled":
                events.append(settled(now))
            case "tick":
                events.append(Tick(seen=now))
            case "up" | "down":
                events.append(state(Kind.DEPTH, now, what == "up", "BTCUSDT"))
            case _:
                events.append(state(Kind.OPEN_INTEREST, now, False))
    return events


@settings(max_examples=250, deadline=None)
@given(histories)
def test_the_last_value_of_each_feed_arrives_within_its_interval(history) -> None:
    events = written_out(history)
    out = played(Conflator({"BTC"}), events)
    for index, event in enumerate(events):
        if isinstance(event, FeedState | Tick) or lasting(event):
            continue
        limit = (FRONT_MS if event.asset == "BTC" else TAIL_MS)[kind_of(event)]
        deadline = event.seen + limit + 1_000  # due() is asked once a second
        later = [
            e for e in events[index + 1 :]
            if isinstance(e, MarketEvent) and not lasting(e) and key(e) == key(event)
        ]  # fmt: skip
        if later and later[0].seen <= deadline:
            continue  # replaced before it had to be there
        known = [
            e for when, e in out
            if when <= deadline and isinstance(e, MarketEvent) and not lasting(e)
            and key(e) == key(event)
        ]  # fmt: skip
        assert value(known[-1]) == value(event)


@settings(max_examples=250, deadline=None)
@given(histories)
def test_nothing_that_lasts_is_held_and_the_order_of_each_feed_is_kept(history) -> None:
    events = written_out(history)
    out = played(Conflator({"BTC"}), events)
    lasts = [e for e in events if lasting(e)]
    assert [(when, e) for when, e in out if lasting(e)] == [(e.seen, e) for e in lasts]
    place = {id(e): n for n, e in enumerate(events)}
    for kind in FACTS:
        for venue in ("a", "b"):
            for symbol in ("BTCUSDT", "TAILUSDT"):
                came = [place[id(e)] for _, e in out if concerns(e, kind, venue, symbol)]
                assert came == sorted(came)


def concerns(event: AnyEvent, kind: Kind, venue: str, symbol: str) -> bool:
    if isinstance(event, FeedState):
        return (event.kind, event.venue) == (kind, venue) and event.symbol in (symbol, "*")
    return not lasting(event) and key(event) == (kind, venue, symbol)


@pytest.mark.parametrize("kind", FACTS)
@pytest.mark.parametrize("asset", ["BTC", "TAIL"])
def test_at_most_one_an_interval(kind: Kind, asset: str) -> None:
    interval = (FRONT_MS if asset == "BTC" else TAIL_MS)[kind]
    events = [fact(kind, 1e6 + n, T0 + n * 100, asset) for n in range(6 * interval // 100)]
    out = [when for when, _ in played(Conflator({"BTC"}), events)]
    assert 6 <= len(out) <= 8
    assert all(b - a >= interval - 100 for a, b in pairwise(out))


@pytest.mark.parametrize("asset", ["BTC", "TAIL"])
@pytest.mark.parametrize(("percent", "seconds"), [(-10, 4), (10, 10), (-30, 20)])
def test_a_price_that_runs_is_never_far_from_what_went_on(
    asset: str, percent: float, seconds: int
) -> None:
    conflator, known = Conflator({"BTC"}), 100.0
    out: list[int] = []
    for n in range(seconds * 10):
        now, price = T0 + n * 100, 100 * (1 + percent / 100 * n / (seconds * 10))
        for event in conflator.offer(fact(Kind.PRICE, price, now, asset)):
            assert isinstance(event, Price) and event.mark
            known = event.mark
            out.append(now)
        # what it moves by in half a second, or what does not count as running yet
        assert abs(known - price) <= max(abs(percent) / seconds * RUNNING_MS / 1_000, 0.25) + 1e-9
    assert all(later - sooner >= RUNNING_MS for sooner, later in pairwise(out))


def test_one_of_two_prices_runs_and_the_one_that_is_held_goes_on_at_the_next_look() -> None:
    conflator = Conflator({"BTC"})
    price = fact(Kind.PRICE, 100.0, T0)
    assert isinstance(price, Price)
    assert conflator.offer(msgspec.structs.replace(price, index=100.0))
    ran = msgspec.structs.replace(price, index=99.7, seen=T0 + 400)
    assert not conflator.offer(ran)
    assert list(conflator.due(T0 + 450)) == []
    assert list(conflator.due(T0 + 1_000)) == [ran]
    near = msgspec.structs.replace(price, index=99.6, seen=T0 + 1_400)
    assert not conflator.offer(near)
    assert list(conflator.due(T0 + 2_000)) == []
    assert list(conflator.due(T0 + 2_500)) == [near]


def test_an_unchanged_fact_offered_again_shows_that_its_feed_is_alive() -> None:
    oi = [fact(Kind.OPEN_INTEREST, 1.0, T0 + n * 1_000) for n in range(120)]
    times = [when - T0 for when, _ in played(Conflator({"BTC"}), oi)]
    assert times == [0, 20_000, 40_000, 60_000, 80_000, 100_000]


def test_a_value_that_came_back_is_not_overtaken_by_what_was_held() -> None:
    kind = Kind.OPEN_INTEREST
    conflator = Conflator({"BTC"})
    assert conflator.offer(fact(kind, 1.0, T0))
    assert not conflator.offer(fact(kind, 2.0, T0 + 4_800))
    assert not conflator.offer(fact(kind, 1.0, T0 + 5_200))
    assert list(conflator.due(T0 + 6_000)) == []


def test_after_a_word_on_its_feed_a_value_goes_on_at_once() -> None:
    conflator, kind = Conflator({"BTC"}), Kind.DEPTH
    assert conflator.offer(fact(kind, 1.0, T0))
    assert not conflator.offer(fact(kind, 2.0, T0 + 100))
    other = state(kind, T0 + 150, False, "ETHUSDT")
    assert conflator.offer(other) == [other]
    down = state(kind, T0 + 200, False)
    assert conflator.offer(down) == [fact(kind, 2.0, T0 + 100), down]
    assert conflator.offer(fact(kind, 2.0, T0 + 300))
    assert list(conflator.due(T0 + 5_000)) == []


def test_a_clock_that_jumps_back_holds_nothing_up() -> None:
    conflator, kind = Conflator({"BTC"}), Kind.PRICE
    assert conflator.offer(fact(kind, 1.0, T0))
    assert not conflator.offer(fact(kind, 2.0, T0 + 10))
    assert conflator.offer(fact(kind, 3.0, T0 - 3_600_000))
    assert list(conflator.due(T0 + 10_000)) == []


@settings(max_examples=250, deadline=None)
@given(histories)
def test_newest_only_leaves_out_what_was_replaced_and_nothing_else(history) -> None:
    events = written_out(history)
    kept = newest_only(events)
    ids = [id(e) for e in events]
    places = [ids.index(id(e)) for e in kept]
    assert places == sorted(places)
    for place, event in enumerate(events):
        if isinstance(event, Tick):
            newer = [e for e in events[place + 1 :] if isinstance(e, Tick)]
        elif isinstance(event, FeedState) or lasting(event):
            newer = []
        else:
            newer = [
                e for e in events[place + 1 :]
                if isinstance(e, MarketEvent) and not lasting(e) and key(e) == key(event)
            ]  # fmt: skip
        assert (place in places) == (not newer)
