"""A ring of slots against a dict."""

from hypothesis import given
from hypothesis import strategies as st
from pytest import raises

from rules.windows import Ring

steps = st.lists(st.tuples(st.integers(0, 30), st.integers(-99, 99)), max_size=80)


@given(steps, st.sampled_from([1, 7, 24]), st.sampled_from([1, 7, 24]))
def test_it_keeps_the_newest_slots(steps, size, other):
    ring, values, slot = Ring(size), dict[int, float](), 5
    for by, value in steps:
        slot += by
        values[slot] = value
        ring.put(slot, value)
        values = {n: x for n, x in values.items() if n > slot - size}
        slots = range(slot - 9, slot + 3)
        assert [ring.at(n) for n in slots] == [values.get(n) for n in slots]
        assert ring.among(slots) == [values[n] for n in slots if n in values]
        again = Ring(size)
        again.load(ring.dump())
        assert again.dump() == ring.dump()
    if steps:
        # of another size it takes over what fits
        resized = Ring(other)
        resized.load(ring.dump())
        fits = {n: x for n, x in values.items() if n > slot - other}
        assert {n: resized.at(n) for n in range(slot + 2) if resized.at(n) is not None} == fits


def test_an_empty_ring_has_nothing():
    ring = Ring(7)
    assert (ring.newest, ring.at(0), ring.among(range(-3, 9))) == (-1, None, [])
    loaded = Ring(9)
    loaded.load(ring.dump())
    assert loaded.dump() == ring.dump()
    with raises(ValueError, match="cut short"):
        ring.load([b"", b""])
