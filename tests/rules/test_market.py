"""What is worked out once between two events, and that it changes no answer."""

import random
from collections.abc import Iterator

import msgspec
import pytest

from rules.alerts import Alert
from rules.engine import Engine
from rules.market import EventCount, Memory, MemoryDump, View
from streams.durations import HOUR, SECOND
from streams.events import AnyEvent, FeedState, Kind, Ms, Price, Tick
from tests.rules import mix

EPOCH: Ms = 1_795_000_000_000


def test_work_is_done_once_between_two_events():
    moment, done = EventCount(), list[Ms]()

    def work(view: View, now: Ms) -> int:
        done.append(now)
        return len(done)

    view = View("BTC", moment=moment)
    assert [view.once(work, 1), view.once(work, 1)] == [1, 1]
    moment.number += 1
    assert [view.once(work, 2), view.once(work, 2)] == [2, 2] and done == [1, 2]


def test_where_nobody_counts_events_nothing_is_kept():
    done = list[Ms]()

    def work(view: View, now: Ms) -> None:
        done.append(now)

    view = View("BTC")
    view.once(work, 1)
    view.once(work, 1)
    assert done == [1, 1]


def test_the_mark_goes_on_where_the_index_stood_when_that_fails():
    """A switch from one to the other, 4 % apart, is no move; a fall of the mark is one."""
    memory = Memory(["binance"], price_keep=HOUR, keeps={})
    market = memory.meet(memory.view("BTC"), "binance", "BTCUSDT")
    prices: list[float | None] = []
    rows = [(96.0, 100.0), (96.0, 100.1), (96.0, 99.9), (96.0, None), (48.0, None), (None, 50.0)]
    for number, (mark, index) in enumerate(rows):
        at = EPOCH + number * 3 * SECOND
        event = Price(
            venue="binance", symbol="BTCUSDT", asset="BTC", at=at, seen=at, mark=mark, index=index
        )
        assert market.take(event, at)
        prices.append(market.prices.latest.price)
    assert prices == pytest.approx([100, 100.1, 99.9, 100, 50, 50])
    again = Memory(["binance"], price_keep=HOUR, keeps={})
    dumped = msgspec.msgpack.decode(msgspec.msgpack.encode(memory.dump()), type=MemoryDump)
    again.load(dumped, ["BTC"], EPOCH, [])
    (resumed,) = again.view("BTC")
    assert resumed.basis == market.basis
    assert resumed.basis.usual == 0.96


def crash(dice: random.Random, seconds: int) -> Iterator[AnyEvent]:
    """The usual mix, in which prices fall and jump, and feeds go down and come back."""
    fallen = 1.0
    for event in mix.events(12, seconds):
        if isinstance(event, Price) and event.index is not None:
            jump = dice.choice((0.9, 1.1)) if dice.random() < 0.002 else 1.0
            event = msgspec.structs.replace(event, index=event.index * fallen * jump)
        if isinstance(event, Tick):
            fallen *= 0.9995
            if dice.random() < 0.05:
                venue, up = dice.choice(mix.VENUES), dice.random() < 0.5
                yield FeedState(
                    venue=venue, symbol="*", kind=Kind.PRICE, seen=event.seen, up=up
                )  # fmt: skip
        yield event


@pytest.mark.parametrize("seed", range(2))
def test_what_is_kept_between_two_events_changes_no_answer(
    seed: int, monkeypatch: pytest.MonkeyPatch
):
    story = list(crash(random.Random(seed), 1_200))

    def answers(judge: Engine) -> list[object]:
        heard: list[object] = []
        for event in story:
            heard += judge.feed(event)
            if isinstance(event, Tick) and event.seen // SECOND % 60 == 0:
                heard += [judge.observed(), judge.standing()]
        return heard

    shared = answers(mix.engine())
    monkeypatch.setattr(View, "once", lambda view, work, now: work(view, now))  # pyright: ignore
    assert any(isinstance(answer, Alert) for answer in shared)
    assert shared == answers(mix.engine())
