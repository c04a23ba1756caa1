"""A series against a naive list of everything that was ever appended."""

from hypothesis import given
from hypothesis import strategies as st
from pytest import raises

from rules.windows import Series

steps = st.lists(st.tuples(st.integers(-3, 40), st.integers(-9, 9)), max_size=120)
keeps = st.sampled_from([0, 1, 10, 50, 300])


def samples_of(deltas: list[tuple[int, int]]) -> list[tuple[int, float]]:
    """(time, value): times as they come, sometimes backwards."""
    now, rows = 1_000, list[tuple[int, float]]()
    for delta, value in deltas:
        now += delta
        rows.append((now, float(value)))
    return rows


def naive(rows: list[tuple[int, float]], spacing: int) -> list[tuple[int, float]]:
    """What must be remembered, if nothing is forgotten."""
    kept: list[tuple[int, float]] = []
    for time, value in rows:
        t = max(time, kept[-1][0]) if kept else time
        if kept and spacing and t // spacing == kept[-1][0] // spacing:
            kept.pop()
        kept.append((t, value))
    return kept


@given(steps, keeps, st.sampled_from([0, 1, 7, 60]))
def test_remembers_its_window_and_one_sample_before_it(deltas, keep, spacing):
    series = Series(1, keep, spacing)
    rows = samples_of(deltas)
    for n, (t, value) in enumerate(rows, 1):
        series.append(t, (value,))
        kept = naive(rows[:n], spacing)
        now = kept[-1][0]
        assert (series.last_time, series.last) == (now, (kept[-1][1],))
        for at in (now - keep, now - keep // 2, now):
            before = [row for row in kept if row[0] <= at]
            assert series.at_or_before(at) == (
                (before[-1][0], (before[-1][1],)) if before else None
            )
            assert list(series.values(0, series.window(at, now))) == [v for s, v in kept if s > at]
            assert list(series.times(series.window(at, now))) == [s for s, _ in kept if s > at]


@given(steps, keeps)
def test_forgets_all_but_the_window(deltas, keep):
    series = Series(1, keep)
    kept = naive(samples_of(deltas), 0)
    for t, value in kept:
        series.append(t, (value,))
    if kept:
        inside = sum(t > kept[-1][0] - keep for t, _ in kept)
        assert len(series) in (inside, inside + 1)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2**40)), min_size=1, max_size=300), keeps
)
def test_sums_are_exact_however_long_it_runs(deltas, keep):
    series = Series(2, keep)
    now, rows = 0, list[tuple[int, int]]()
    for delta, amount in deltas:
        now += delta
        rows.append((now, amount))
        series.add(now, (amount, 1))
    inside = [amount for t, amount in rows if t > now - keep]
    assert series.sums(now - keep) == (sum(inside), len(inside))


@given(steps, keeps, st.sampled_from([0, 7]), st.data())
def test_a_loaded_series_goes_on_as_if_nothing_happened(deltas, keep, spacing, data):
    rows = samples_of(deltas)
    cut = data.draw(st.integers(0, len(rows)))
    through, loaded = Series(1, keep, spacing), Series(1, keep, spacing)
    for t, value in rows[:cut]:
        through.append(t, (value,))
    loaded.load(through.dump())
    for t, value in rows[cut:]:
        through.append(t, (value,))
        loaded.append(t, (value,))
    assert loaded.dump() == through.dump()


def test_an_empty_series_answers_nothing():
    series = Series(2, 100)
    assert (series.last, series.last_time, series.at_or_before(5)) == (None, None, None)
    assert series.sums(0) == (0, 0)
    with raises(IndexError):
        series.pop()


def test_pop_takes_the_newest_away():
    series = Series(1, 100)
    series.append(1, (10,))
    series.append(2, (20,))
    series.pop()
    assert (series.last_time, series.last) == (1, (10,))


def test_a_dump_that_does_not_fit_is_refused():
    series = Series(2, 100)
    series.append(1, (1, 2))
    with raises(ValueError, match="another number of columns"):
        Series(1, 100).load(series.dump())
    whole = series.dump()
    with raises(ValueError, match="cut short"):
        Series(2, 100).load([*whole[:2], b""])


def test_a_sample_costs_eight_bytes_for_time_and_eight_for_each_column():
    series = Series(2, 3_600_000)
    for n in range(10_000):
        series.append(n * 1_000, (1.0, 2.0))
    assert [len(column) for column in series.dump()] == [8 * 3_601] * 3


@given(steps, keeps, st.sampled_from([0, 7]), st.integers(900, 3_000))
def test_samples_are_mended_from_a_time_on(deltas, keep, spacing, since):
    series = Series(2, keep, spacing)
    rows = samples_of(deltas)
    for t, value in rows:
        series.append(t, (value, value))
    before = [series.at_or_before(t) for t, _ in rows]
    series.mend(since, -1.0)
    for (t, _), sample in zip(rows, before, strict=True):
        if sample is not None:
            at, (first, second) = sample
            sample = at, (-1.0 if at >= since else first, second)
        assert series.at_or_before(t) == sample
