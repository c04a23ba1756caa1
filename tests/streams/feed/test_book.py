"""The book against a naive one, its sequence rules as a table, and the recorded BTC book."""

import gzip
import random
from collections.abc import Sequence
from pathlib import Path

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events import BANDS_BP
from streams.feed.book import BEYOND, Book, Sample, Verdict
from streams.venue import BookUpdate

Levels = Sequence[tuple[float, float]]


class NaiveBook:
    """Two dicts and a full scan."""

    def __init__(self) -> None:
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}

    def apply(self, bids: Levels, asks: Levels) -> None:
        for side, changes in ((self.bids, bids), (self.asks, asks)):
            for price, size in changes:
                side.pop(price, None)
                if size:
                    side[price] = size

    def mid(self) -> float:
        return (max(self.bids) + min(self.asks)) / 2

    def band(self, bp: int) -> tuple[float, float]:
        hair = 1e-12  # a price right on the edge belongs to the band, however it was rounded
        low = self.mid() * (1 - bp / 10_000) * (1 - hair)
        high = self.mid() * (1 + bp / 10_000) * (1 + hair)
        bids = sum(p * q for p, q in self.bids.items() if p >= low)
        return bids, sum(p * q for p, q in self.asks.items() if p <= high)


def snapshot(bids: Levels, asks: Levels, **more: object) -> BookUpdate:
    return BookUpdate(symbol="X", at=1, snapshot=True, bids=bids, asks=asks, **more)  # type: ignore[arg-type]


def change(first: int, last: int, bids: Levels = (), asks: Levels = ()) -> BookUpdate:
    return BookUpdate(
        symbol="X", at=last, snapshot=False, bids=bids, asks=asks, first=first, last=last,
        previous=first - 1,
    )  # fmt: skip


def assert_equals_naive(book: Book, naive: NaiveBook) -> None:
    sample = book.sample()
    if not naive.bids or not naive.asks:
        assert sample == "one-sided"
    elif max(naive.bids) >= min(naive.asks):
        assert sample == "crossed"
    else:
        assert isinstance(sample, Sample)
        assert sample.mid == naive.mid()
        for band in sample.bands:
            expected = naive.band(band.bp)
            assert (band.bid_usd, band.ask_usd) == pytest.approx(expected, rel=1e-9, abs=1e-9)
            assert band.covered


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), tick=st.sampled_from([0.1, 0.01, 0.5, 1.0, 0.0001, 10.0]))
def test_any_history_equals_a_naive_book(seed: int, tick: float) -> None:
    """Whole books on every kind of grid, drifting and jumping prices, deletions of the unknown."""
    rng = random.Random(seed)
    decimals = 4 if tick < 0.01 else 2
    centre = start_at = rng.choice([997, 20_011])
    farthest = start_at // 100
    book, naive = Book(), NaiveBook()

    def levels(sign: int, count: int) -> list[tuple[float, float]]:
        out = []
        for _ in range(count):
            away = rng.choice([1, 3, 8, farthest]) * rng.random()
            price = round((centre + sign * (1 + int(away))) * tick, decimals)
            out.append((price, rng.choice([0.0, round(rng.random() * 9, 3)])))
        return [level for level in out if level[0] > 0]

    start = levels(-1, 30), levels(1, 30)
    book.update(snapshot(*start, last=100))
    naive.apply(*start)
    for step in range(101, 130):
        if rng.random() < 0.3:
            centre += rng.choice([-1, 1, 3, -3, farthest // 4, -farthest // 4])
            centre = min(max(centre, start_at - farthest // 2), start_at + farthest // 2)
        bids, asks = levels(-1, rng.randrange(6)), levels(1, rng.randrange(6))
        if naive.bids and naive.asks and rng.random() < 0.7:
            bids += [(p, 0.0) for p in naive.bids if p >= centre * tick]
            asks += [(p, 0.0) for p in naive.asks if p <= centre * tick]
        assert book.update(change(step, step, bids, asks)) is Verdict.APPLIED
        naive.apply(bids, asks)
        if rng.random() < 0.5:
            assert_equals_naive(book, naive)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_whatever_the_price_does_covered_bands_are_right(seed: int) -> None:
    """Prices that run away for per cents between two samples never make a wrong number."""
    rng = random.Random(seed)
    book, naive, centre = Book(), NaiveBook(), 10_000
    covered_count = 0
    for step in range(1, 40):
        centre += rng.choice([0, 3, -3, 150, -150, 600, -600])
        bids = [(float(centre - 1 - rng.randrange(300)), rng.random() + 0.1) for _ in range(9)]
        asks = [(float(centre + 1 + rng.randrange(300)), rng.random() + 0.1) for _ in range(9)]
        bids += [(p, 0.0) for p in naive.bids if p >= centre]
        asks += [(p, 0.0) for p in naive.asks if p <= centre]
        if step == 1:
            book.update(snapshot(bids, asks, last=1))
        else:
            book.update(change(step, step, bids, asks))
        naive.apply(bids, asks)
        sample = book.sample()
        if isinstance(sample, Sample):
            assert sample.mid == naive.mid() or not sample.bands[-1].covered
            for band in (band for band in sample.bands if band.covered):
                covered_count += 1
                expected = naive.band(band.bp)
                assert (band.bid_usd, band.ask_usd) == pytest.approx(expected, rel=1e-9)
    assert covered_count


def test_a_gap_throws_everything_away_until_a_snapshot_comes() -> None:
    book = Book()
    assert book.update(change(5, 6, [(99.0, 1.0)], [(101.0, 1.0)])) is Verdict.WAITING
    assert book.sample() == "out of sequence"
    assert book.offer(snapshot([(99.0, 2.0)], [(101.0, 2.0)], last=6))
    assert isinstance(book.sample(), Sample)
    assert book.update(change(9, 9, [(99.5, 1.0)])) is Verdict.GAP
    assert book.sample() == "out of sequence"
    assert book.offer(snapshot([(99.0, 3.0)], [(101.0, 3.0)], last=9))
    sample = book.sample()
    assert isinstance(sample, Sample)
    assert sample.bands[-1].bid_usd == pytest.approx(99 * 3)


def test_duplicates_and_reordered_changes_do_nothing() -> None:
    book = Book()
    book.update(snapshot([(99.0, 1.0)], [(101.0, 1.0)], last=10))
    assert book.update(change(11, 12, [(99.0, 5.0)])) is Verdict.APPLIED
    assert book.update(change(11, 12, [(99.0, 7.0)])) is Verdict.DUPLICATE
    assert book.update(change(4, 5, [(99.0, 8.0)])) is Verdict.DUPLICATE
    sample = book.sample()
    assert isinstance(sample, Sample)
    assert sample.bands[-1].bid_usd == pytest.approx(99 * 5)


@pytest.mark.parametrize("awaited", [False, True], ids=["in sequence", "a snapshot is awaited"])
def test_a_change_that_continues_is_next_whatever_its_own_id(awaited: bool) -> None:
    """A venue may begin to count anew, or say with the same id that nothing has changed."""
    book = Book()
    book.update(snapshot([(99.0, 1.0)], [(101.0, 1.0)], last=10))
    if awaited:
        book.expect_snapshot()
    for last, previous, size in ((10, 10, 2.0), (3, 10, 3.0), (3, 3, 4.0), (5, 3, 5.0)):
        next_change = msgspec.structs.replace(change(last, last, [(99.0, size)]), previous=previous)
        assert book.update(next_change) is Verdict.APPLIED
    sample = book.sample()
    assert isinstance(sample, Sample)
    assert sample.bands[-1].bid_usd == pytest.approx(99 * 5)


@pytest.mark.parametrize(
    ("last", "used"),
    [(9, False), (10, True), (11, True), (13, True), (15, True)],
    ids=["older than the first change", "right before it", "inside", "later", "newest"],
)
def test_which_snapshots_fit_the_changes(last: int, used: bool) -> None:
    """Binance: the first applied event has U <= lastUpdateId <= u, or pu == lastUpdateId."""
    book = Book()
    for first, final in ((11, 12), (13, 13), (14, 15)):
        book.update(change(first, final, [(99.0, float(final))], [(101.0, 1.0)]))
    assert book.offer(snapshot([(99.0, 1.0)], [(101.0, 1.0)], last=last)) is used
    sample = book.sample()
    if used:
        assert isinstance(sample, Sample)
        expected = 1.0 if last == 15 else 15.0
        assert sample.bands[-1].bid_usd == pytest.approx(99 * expected)
    else:
        assert sample == "out of sequence"


def test_a_snapshot_from_the_future_waits_for_the_stream() -> None:
    book = Book()
    book.update(change(11, 12, [(99.9, 1.0)], [(100.1, 1.0)]))
    assert book.offer(snapshot([(99.9, 4.0)], [(100.1, 1.0)], last=14))
    assert book.sample() == "out of sequence"
    book.update(change(13, 13, [(99.9, 2.0)]))
    assert book.sample() == "out of sequence"
    book.update(change(14, 16, [(99.8, 1.0)]))
    sample = book.sample()
    assert isinstance(sample, Sample)
    assert sample.bands[-1].bid_usd == pytest.approx(99.9 * 4 + 99.8)


def test_a_second_snapshot_widens_what_is_known() -> None:
    """Coverage is a union: prices that were told once stay told."""
    book = Book()
    near = snapshot([(99.9, 1.0), (99.8, 1.0)], [(100.1, 1.0), (100.2, 1.0)], last=5, reach=2)
    book.update(change(5, 5))
    assert book.offer(near)
    first = book.sample()
    assert isinstance(first, Sample)
    assert [band.covered for band in first.bands] == [True, False, False, False]
    book.expect_snapshot()
    book.update(change(6, 6, [(99.85, 2.0)]))
    wide = snapshot(
        [(99.9, 1.0), (98.9, 3.0)], [(100.1, 1.0), (101.2, 3.0)], last=5, reach=2
    )  # fmt: skip
    assert book.offer(wide)
    second = book.sample()
    assert isinstance(second, Sample)
    assert all(band.covered for band in second.bands)
    assert second.bands[-1].bid_usd == pytest.approx(99.9 + 99.85 * 2)


@pytest.mark.parametrize("full", ["bids", "asks"])
def test_a_side_of_as_many_levels_as_were_asked_for_is_known_to_its_worst(full: str) -> None:
    levels = {"bids": [(99.95, 1.0), (99.7, 1.0)], "asks": [(100.05, 1.0), (100.3, 1.0)]}
    short = "asks" if full == "bids" else "bids"
    levels[short].pop()
    for extra, covered in (({}, [True, True, False, False]), ({"reach": 3}, [True] * 4)):
        book = Book()
        book.update(snapshot(levels["bids"], levels["asks"], last=1, **{"reach": 2} | extra))
        sample = book.sample()
        assert isinstance(sample, Sample)
        assert [band.covered for band in sample.bands] == covered


@pytest.mark.parametrize("side", ["bids", "asks"])
def test_of_either_side_of_a_rolling_book_what_it_has_dropped_is_unknown(side: str) -> None:
    book = Book()
    bids, asks = [(99.95, 1.0), (99.7, 1.0)], [(100.05, 1.0), (100.3, 1.0)]
    book.update(snapshot(bids, asks, last=1, reach=2, rolling=True))
    nearer = {"bids": [(99.7, 0.0), (99.88, 1.0)], "asks": [(100.3, 0.0), (100.12, 1.0)]}
    book.update(change(2, 2, **{side: nearer[side]}))
    sample = book.sample()
    assert isinstance(sample, Sample)
    assert [band.covered for band in sample.bands] == [True, False, False, False]


def test_a_rolling_book_is_known_down_to_its_worst_level_only() -> None:
    book = Book()
    bids, asks = [(99.95, 1.0), (99.7, 1.0)], [(100.05, 1.0), (100.3, 1.0)]
    book.update(snapshot(bids, asks, last=1, reach=2, rolling=True))
    sample = book.sample()
    assert isinstance(sample, Sample)
    assert [band.covered for band in sample.bands] == [True, True, False, False]
    book.update(change(2, 2, [(99.7, 0.0), (99.88, 1.0)]))
    sample = book.sample()
    assert isinstance(sample, Sample)
    assert [band.covered for band in sample.bands] == [True, False, False, False]


def test_bands_narrower_than_the_venues_buckets_are_not_covered() -> None:
    book = Book()
    book.update(snapshot([(2000.0, 1.0)], [(2001.0, 1.0)], step=1.5))
    sample = book.sample()
    assert isinstance(sample, Sample)
    assert sample.spread_bp is None
    assert [band.covered for band in sample.bands] == [False, True, True, True]


def test_one_sided_and_crossed_books_say_so() -> None:
    book = Book()
    book.update(snapshot([], [(101.0, 1.0)]))
    assert book.sample() == "one-sided"
    book.update(snapshot([(102.0, 1.0)], [(101.0, 1.0)]))
    assert book.sample() == "crossed"


RECORDING = "frames/binance-usdm/btcusdt_ws_depth_trade_bookticker_2024-08-08"


def test_recorded_btc_has_no_gap_and_equals_a_naive_book(shared: Path) -> None:
    with gzip.open(shared / f"{RECORDING}.jsonl.gz") as lines:
        frames = [orjson.loads(line)["data"] for line in lines if b'"depthUpdate"' in line]
    body = orjson.loads((shared / f"{RECORDING}_rest_depth_snapshot.json").read_bytes())
    bids = [(float(p), float(q)) for p, q in body["bids"]]
    asks = [(float(p), float(q)) for p, q in body["asks"]]
    book, naive, samples = Book(), NaiveBook(), 0
    book.update(_binance(frames[0]))
    assert book.offer(snapshot(bids, asks, last=body["lastUpdateId"], reach=1000))
    naive.apply(bids, asks)
    for frame in frames[1:]:
        assert book.update(_binance(frame)) in (Verdict.APPLIED, Verdict.WAITING, Verdict.MERGED)
        if frame["u"] > body["lastUpdateId"]:
            naive.apply(_floats(frame["b"]), _floats(frame["a"]))
        if frame["u"] % 7 == 0 and book.synced:
            sample = book.sample()
            if max(naive.bids) < bids[-1][0] or min(naive.asks) > asks[-1][0]:
                assert sample == BEYOND  # the price has left the snapshot
                continue
            assert isinstance(sample, Sample)
            assert sample.mid == naive.mid()
            for band in sample.bands[:2]:
                assert (band.bid_usd, band.ask_usd) == pytest.approx(naive.band(band.bp), rel=1e-9)
            samples += 1
    assert samples > 300
    assert BANDS_BP[:2] == (10, 25)


def _binance(frame: dict[str, object]) -> BookUpdate:
    return BookUpdate(
        symbol="BTCUSDT", at=frame["E"], snapshot=False, bids=_floats(frame["b"]),
        asks=_floats(frame["a"]), first=frame["U"], last=frame["u"], previous=frame["pu"],
    )  # fmt: skip


def _floats(levels: object) -> list[tuple[float, float]]:
    return [(float(p), float(q)) for p, q in levels]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "level", [(99.7, -1.0), (99.7, float("inf")), (99.7, float("nan")), (-1.0, 1.0),
              (0.0, 1.0), (float("nan"), 1.0), (float("inf"), 1.0)],
)  # fmt: skip
def test_impossible_numbers_make_the_book_invalid_until_a_new_one(
    level: tuple[float, float],
) -> None:
    book = Book()
    book.update(snapshot([(99.5, 1.0)], [(101.0, 1.0)], last=1))
    assert isinstance(book.sample(), Sample)
    book.update(change(2, 2, [level]))
    assert "impossible" in str(book.sample())
    book.update(change(3, 3, [(99.6, 1.0)]))
    assert "impossible" in str(book.sample())
    book.update(snapshot([(99.5, 1.0)], [(101.0, 1.0)], last=9))
    assert isinstance(book.sample(), Sample)


@pytest.mark.parametrize("previous", [None, 41])
def test_ids_that_begin_anew_without_a_word_are_a_gap_and_no_duplicates(
    previous: int | None,
) -> None:
    """The stream goes on with lower ids; a book that calls them old would stand still for ever."""
    book, now = Book(), 1_790_000_000_000
    begun = snapshot([(100.0, 1.0)], [(101.0, 1.0)], last=1_000_000)
    book.update(msgspec.structs.replace(begun, at=now))
    late = msgspec.structs.replace(change(50, 50), at=now - 900)
    assert book.update(late) is Verdict.DUPLICATE
    anew = change(42, 50, [(90.0, 1.0)])
    anew = msgspec.structs.replace(anew, previous=previous, at=now + 6_000)
    assert book.update(anew) is Verdict.GAP
    assert not book.synced
