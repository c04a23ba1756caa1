"""Two sockets with the same liquidations: each is said once."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from streams.events import Liquidation, Position
from streams.feed.socket import Overlap


def liquidation(number: int, seen: int = 0) -> Liquidation:
    return Liquidation(
        venue="bybit", symbol="BTCUSDT", asset="BTC", at=number, seen=seen,
        position=Position.LONG, price=100.0, base=1.0, usd=100.0,
    )  # fmt: skip


@given(
    steps=st.lists(st.booleans(), max_size=40),
    alike=st.booleans(),
)
def test_each_is_said_once_wherever_the_change_falls(steps: list[bool], alike: bool) -> None:
    """Both sockets bring the same in order; one may lag behind the other by any number."""
    total = len(steps)
    facts = [liquidation(0 if alike else n) for n in range(total)]
    overlap, published = Overlap(), []
    old = new = 0
    for from_old in steps:  # while the old one speaks
        if from_old:
            overlap.published(facts[old])
            published.append(facts[old])
            old += 1
        else:
            overlap.received(facts[new])
            new += 1
    published += overlap.unpublished()
    while new < total:  # then the new one speaks
        if not overlap.is_repeat(facts[new]):
            published.append(facts[new])
        new += 1
    assert sorted(fact.at for fact in published) == sorted(
        fact.at for fact in facts[: max(total, old)]
    )


def test_two_alike_from_one_socket_are_two() -> None:
    for calls in set(permutations(["old", "old", "new", "new"])):
        overlap, published = Overlap(), 0
        for call in calls:
            if call == "old":
                overlap.published(liquidation(1))
                published += 1
            else:
                overlap.received(liquidation(1))
        assert published + len(overlap.unpublished()) == 2
        assert not overlap.is_repeat(liquidation(1))


def test_what_was_not_said_comes_in_order_and_once() -> None:
    overlap = Overlap()
    for number, seen in ((1, 30), (2, 10), (3, 20), (2, 15)):
        overlap.received(liquidation(number, seen))
    assert [event.seen for event in overlap.unpublished()] == [10, 15, 20, 30]
    assert overlap.unpublished() == []


def test_nothing_is_kept_of_what_both_have_brought() -> None:
    overlap = Overlap()
    for number in range(1000):
        overlap.published(liquidation(number))
        overlap.received(liquidation(number))
        overlap.received(liquidation(-number - 1))
        overlap.published(liquidation(-number - 1))
    assert not overlap._published
    assert not overlap._received
