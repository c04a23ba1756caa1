"""Books of every venue in a crash, against the market itself kept in two dicts.

A market falls and rises by up to a third within seconds, quotes are pulled, sides run empty and
come back. Each venue tells of it in its own way; whatever the book then says is true of the
market, and it says nothing only where its venue did not tell enough.
"""

import random
from collections.abc import Iterator, Sequence
from math import ceil, floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events import BANDS_BP
from streams.feed.book import BEYOND, CROSSED, ONE_SIDED, Book, Sample, Verdict
from streams.venue import BookUpdate

HAIR = 1e-9
"""Relative: a price right on a band's edge belongs to the band, however it was rounded."""

STEPS = 45

GRIDS = [
    (0.1, 600_000),  # BTC
    (0.1, 1_000),
    (0.01, 9_000),
    (0.125, 800),  # eighths
    (0.5, 20_000),
    (1e-10, 9_900),  # less than a millionth of a dollar
    (1e-12, 310),
    (1e-9, 1),  # one step is half the price
    (1e-7, 1_234_567),
    (10.0, 1_000_000),  # ten millions
    (1e-15, 70_000),
]
"""Price steps, and how many of them the price is at first."""

Side = dict[int, float]


class Market:
    """Two dicts of price in steps → size, and a random history of disasters."""

    def __init__(self, rng: random.Random, tick: float, centre: int) -> None:
        self.rng, self.tick, self.centre = rng, tick, centre
        self.bids: Side = {}
        self.asks: Side = {}
        self.quote(rng.choice([3, 40, 400]))

    def price(self, steps: int) -> float:
        return float(f"{steps * self.tick:.12g}")

    def quote(self, count: int) -> None:
        """Levels on both sides, most of them near mid."""
        for side, sign in ((self.bids, -1), (self.asks, 1)):
            for _ in range(count):
                away = 1 + int(self.centre * 0.4 * self.rng.random() ** 4)
                if (steps := self.centre + sign * away) > 0:
                    side[steps] = float(f"{self.rng.random() * 9 + 0.001:.4g}")
        self.match()

    def match(self) -> None:
        for steps in [s for s in self.bids if s >= self.centre]:
            del self.bids[steps]
        for steps in [s for s in self.asks if s <= self.centre]:
            del self.asks[steps]

    def move(self) -> None:
        """One thing happens."""
        rng = self.rng
        match rng.randrange(12):
            case 0 | 1:  # a jump; three of them are a third
                self.centre = max(
                    1, int(self.centre * (1 + rng.choice([-1, 1]) * rng.random() / 9))
                )
                self.match()
                self.quote(rng.choice([0, 2, 30]))
            case 2 | 3:  # quotes near mid are pulled
                part = rng.choice([0.005, 0.015, 0.025, 0.1]) * self.centre
                for side in rng.choice([(self.bids,), (self.asks,), (self.bids, self.asks)]):
                    for steps in [s for s in side if abs(s - self.centre) <= part]:
                        del side[steps]
            case 4:  # a side runs empty
                rng.choice([self.bids, self.asks]).clear()
            case 5 | 6:  # recovery
                self.quote(rng.choice([10, 300]))
            case 7:  # crossed for a moment
                self.bids[self.centre + 1 + self.centre // 500] = 1.0
            case 8:  # the far end moves
                for side in (self.bids, self.asks):
                    for steps in rng.sample(sorted(side), len(side) // 3):
                        del side[steps]
            case _:
                self.match()
                self.quote(rng.randrange(4))

    def levels(self, side: Side) -> list[tuple[float, float]]:
        return [(self.price(steps), size) for steps, size in side.items()]


def nearest(side: Side, bids: bool, count: int) -> Side:
    return {steps: side[steps] for steps in sorted(side, reverse=bids)[:count]}


def changes(before: Side, after: Side) -> Side:
    gone = {steps: 0.0 for steps in before if steps not in after}
    return gone | {s: size for s, size in after.items() if before.get(s) != size}


def band(levels: Sequence[tuple[float, float]], mid: float, bp: int) -> float:
    half = mid * bp / 10_000 + mid * HAIR
    return sum(price * size for price, size in levels if abs(price - mid) <= half)


class BookFeed:
    """What a venue tells: updates of its book, and how far what it told is complete.

    ``low``, ``high``: from here to mid everything was told. ``bids``, ``asks``: the market as this
    venue shows it.
    """

    step = 0.0

    def __init__(self, market: Market, book: Book, rng: random.Random) -> None:
        self.market, self.book, self.rng = market, book, rng
        self.low, self.high = 0.0, float("inf")
        self.last = 100
        self.begin()

    @property
    def bids(self) -> list[tuple[float, float]]:
        return self.market.levels(self.market.bids)

    @property
    def asks(self) -> list[tuple[float, float]]:
        return self.market.levels(self.market.asks)

    def begin(self) -> None:
        raise NotImplementedError

    def tell(self, before: tuple[Side, Side], sample: Sample | str) -> None:
        """The market has moved since ``before``; ``sample`` is what the book said of it then."""
        raise NotImplementedError

    def update(self, **fields: object) -> None:
        update = BookUpdate(symbol="X", at=self.last, last=self.last, **fields)  # type: ignore[arg-type]
        assert self.book.update(update) in (Verdict.APPLIED, Verdict.WAITING)

    def change(self, bids: Side, asks: Side) -> None:
        self.last += 1
        levels = self.market.levels
        self.update(snapshot=False, first=self.last, bids=levels(bids), asks=levels(asks))


class Generic(BookFeed):
    """The whole book once, then every change."""

    def begin(self) -> None:
        self.update(snapshot=True, bids=self.bids, asks=self.asks)

    def tell(self, before: tuple[Side, Side], sample: Sample | str) -> None:
        market = self.market
        self.change(changes(before[0], market.bids), changes(before[1], market.asks))


class Binance(Generic):
    """Every change, and a snapshot of so many levels by REST, asked for when it is missed."""

    def begin(self) -> None:
        self.reach = self.rng.choice([5, 50, 1000])
        self.waiting: BookUpdate | None = None
        self.low, self.high = float("inf"), 0.0
        self.change({}, {})
        self.ask()

    def ask(self) -> None:
        market = self.market
        self.book.expect_snapshot()
        bids = market.levels(nearest(market.bids, True, self.reach))
        asks = market.levels(nearest(market.asks, False, self.reach))
        self.waiting = BookUpdate(
            symbol="X", at=self.last, snapshot=True, bids=bids, asks=asks, last=self.last,
            reach=self.reach,
        )  # fmt: skip
        self.answer()

    def answer(self) -> None:
        if self.waiting is None or self.rng.random() < 0.4:  # it takes a while
            return
        assert self.book.offer(self.waiting)
        bids, asks, self.waiting = self.waiting.bids, self.waiting.asks, None
        low = min(price for price, _ in bids) if len(bids) >= self.reach else 0.0
        high = max(price for price, _ in asks) if len(asks) >= self.reach else float("inf")
        self.low, self.high = min(self.low, low), max(self.high, high)

    def tell(self, before: tuple[Side, Side], sample: Sample | str) -> None:
        super().tell(before, sample)
        missed = sample == BEYOND or (isinstance(sample, Sample) and not sample.bands[0].covered)
        if self.waiting is not None:
            self.answer()
        elif missed or self.rng.random() < 0.05:
            self.ask()


class Bybit(BookFeed):
    """The best so many levels and their changes; what moves up into them is told as new."""

    def begin(self) -> None:
        self.reach = self.rng.choice([20, 200, 1000])
        self.view = self.look()
        self.load()

    def look(self) -> tuple[Side, Side]:
        bids = nearest(self.market.bids, True, self.reach)
        asks = nearest(self.market.asks, False, self.reach)
        full = self.reach - self.reach // 20
        self.low, self.high = 0.0, float("inf")
        if len(bids) >= full:
            self.low = min(map(self.market.price, bids))
        if len(asks) >= full:
            self.high = max(map(self.market.price, asks))
        return bids, asks

    def load(self) -> None:
        bids, asks = map(self.market.levels, self.view)
        self.update(snapshot=True, bids=bids, asks=asks, reach=self.reach, rolling=True)

    def tell(self, before: tuple[Side, Side], sample: Sample | str) -> None:
        old, self.view = self.view, self.look()
        if self.rng.random() < 0.05:
            self.last = 1
            self.load()
        else:
            self.change(changes(old[0], self.view[0]), changes(old[1], self.view[1]))


class Okx(Bybit):
    """The same of the best 400, by ids that name the one before; they may begin anew."""

    def begin(self) -> None:
        self.reach = 400
        self.view = self.look()
        self.load()

    def change(self, bids: Side, asks: Side) -> None:
        levels, before = self.market.levels, self.last
        self.last = self.rng.choice([before, before + 1, before + 40, 3])
        self.update(snapshot=False, previous=before, bids=levels(bids), asks=levels(asks))


class Bitget(Bybit):
    """The same, and of what leaves the best levels nothing is told, also if it goes later."""

    def change(self, bids: Side, asks: Side) -> None:
        market = self.market
        before, self.last = self.last, self.last + 1
        visible = [
            {steps: size for steps, size in side.items() if size or steps not in there}
            for side, there in ((bids, market.bids), (asks, market.asks))
        ]
        self.update(
            snapshot=False,
            previous=before,
            bids=market.levels(visible[0]),
            asks=market.levels(visible[1]),
        )


class Hyperliquid(BookFeed):
    """Twenty buckets a side, all of them each time."""

    def begin(self) -> None:
        self.last = 0
        self.tell(({}, {}), "")

    def tell(self, before: tuple[Side, Side], sample: Sample | str) -> None:
        wide = max(1, self.market.centre // 2_000)
        self.step = wide * self.market.tick
        bids, asks = {}, {}
        for steps, size in self.market.bids.items():
            at = floor(steps / wide) * wide
            bids[at] = bids.get(at, 0.0) + size
        for steps, size in self.market.asks.items():
            at = ceil(steps / wide) * wide
            asks[at] = asks.get(at, 0.0) + size
        bids.pop(0, None)
        self.low = self.high = 0.0
        bids, asks = nearest(bids, True, 20), nearest(asks, False, 20)
        self._bids, self._asks = self.market.levels(bids), self.market.levels(asks)
        self.low = min(map(self.market.price, bids)) if len(bids) >= 19 else 0.0
        self.high = max(map(self.market.price, asks)) if len(asks) >= 19 else float("inf")
        self.update(
            snapshot=True, bids=self._bids, asks=self._asks, reach=20, rolling=True, step=self.step
        )

    @property
    def bids(self) -> list[tuple[float, float]]:
        return self._bids

    @property
    def asks(self) -> list[tuple[float, float]]:
        return self._asks


def check(sample: Sample | str, feed: BookFeed) -> None:
    """The book says what is true of the market, or nothing where the venue did not tell enough."""
    bids, asks = feed.bids, feed.asks
    bid, ask = max((p for p, _ in bids), default=None), min((p for p, _ in asks), default=None)
    out = (bid is None or bid < feed.low, ask is None or ask > feed.high)
    if bid is None or ask is None:
        whole = (bid is not None or not feed.low) and (ask is not None or feed.high == float("inf"))
        assert sample == (ONE_SIDED if whole else BEYOND) or (sample == BEYOND and any(out))
    elif bid >= ask:
        assert sample == CROSSED or (sample in (BEYOND, ONE_SIDED) and any(out))
    elif any(out):
        assert sample in (BEYOND, ONE_SIDED)
    else:
        assert isinstance(sample, Sample), sample
        assert sample.mid == (bid + ask) / 2
        assert [b.bp for b in sample.bands] == list(BANDS_BP)
        for b in sample.bands:
            half = sample.mid * b.bp / 10_000
            margins = (
                sample.mid - half - feed.low,
                feed.high - sample.mid - half,
                half - 2 * feed.step,
            )
            if all(
                abs(margin) > sample.mid * HAIR for margin in margins
            ):  # else a matter of rounding
                assert b.covered is all(margin > 0 for margin in margins)
            for usd, levels in ((b.bid_usd, bids), (b.ask_usd, asks)):
                real = band(levels, sample.mid, b.bp)
                if b.covered:
                    assert usd == pytest.approx(real, rel=1e-9, abs=1e-12)
                else:
                    assert usd <= real * (1 + 1e-9)


def crash(venue: type[BookFeed], seed: int) -> Iterator[Sample | str]:
    """A book of ``venue`` through a crash; each sample was checked."""
    rng = random.Random(seed)
    market, book = Market(rng, *rng.choice(GRIDS)), Book()
    feed = venue(market, book, rng)
    sample: Sample | str = ""
    for _ in range(STEPS):
        if book.synced and rng.random() < 0.8:  # else more happens before the next sample
            sample = book.sample()
            check(sample, feed)
            yield sample
        before = dict(market.bids), dict(market.asks)
        market.move()
        feed.tell(before, sample)


VENUES = [Binance, Bybit, Hyperliquid, Okx, Bitget, Generic]


@pytest.mark.parametrize("venue", VENUES)
@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_in_a_crash_a_book_says_what_is_true_of_the_market(
    venue: type[BookFeed], seed: int
) -> None:
    """Each sample is checked as it is taken; four of five steps have one, once the book is told."""
    assert sum(1 for _ in crash(venue, seed)) > STEPS // 4


@pytest.mark.parametrize("venue", VENUES)
def test_the_crash_is_mostly_visible(venue: type[BookFeed]) -> None:
    """The property above is not kept by silence; each kind of answer occurs."""
    samples = [sample for seed in range(20) for sample in crash(venue, seed)]
    read = [sample for sample in samples if isinstance(sample, Sample)]
    assert len(read) > len(samples) / 2
    assert sum(sample.bands[1].covered for sample in read) > len(read) / 3
    assert {CROSSED, ONE_SIDED} <= {sample for sample in samples if isinstance(sample, str)}
    assert (BEYOND in samples) is (venue is Binance)


# ── by hand ─────────────────────────────────────────────────────────────


def ladder(tick: float, centre: int, count: int) -> tuple[list, list]:
    """``count`` levels of one coin a side, one in each step, nothing at ``centre``."""
    price = [float(f"{(centre + away) * tick:.12g}") for away in range(-count, count + 1)]
    return [(p, 1.0) for p in price[:count]], [(p, 1.0) for p in price[count + 1 :]]


def book_of(venue: str, bids: list, asks: list) -> Book:
    """A book that this venue told of, before anything happens."""
    book = Book()
    if venue == "binance":
        book.update(BookUpdate(symbol="X", at=1, snapshot=False, bids=(), asks=(), first=1, last=1))
        assert book.offer(
            BookUpdate(symbol="X", at=1, snapshot=True, bids=bids, asks=asks, last=1, reach=1000)
        )
    else:
        book.update(
            BookUpdate(
                symbol="X", at=1, snapshot=True, bids=bids, asks=asks, last=1,
                reach=1000 if venue == "bybit" else 0, rolling=venue == "bybit",
            )
        )  # fmt: skip
    assert isinstance(book.sample(), Sample)
    return book


def then(book: Book, last: int, bids: Sequence = (), asks: Sequence = ()) -> Sample:
    """The book after a change."""
    book.update(
        BookUpdate(symbol="X", at=1, snapshot=False, bids=bids, asks=asks, first=last, last=last)
    )
    sample = book.sample()
    assert isinstance(sample, Sample), sample
    return sample


@pytest.mark.parametrize("venue", ["binance", "bybit", "whole"])
@pytest.mark.parametrize(("tick", "centre"), [(0.1, 1000), (1e-9, 1000), (0.125, 4000)])
@pytest.mark.parametrize("part", [0.025, 0.015, 0.2])
def test_quotes_pulled_around_mid_leave_what_lies_further_out(
    venue: str, tick: float, centre: int, part: float
) -> None:
    """Bids 99.9 … 70.1, asks 100.1 … 129.9 by 0.1, and all within 2.5 % of 100 goes at once."""
    bids, asks = ladder(tick, centre, centre * 3 // 10 - 1 if centre == 1000 else 900)
    book = book_of(venue, bids, asks)
    mid = centre * tick
    kept_bids = [(p, q) for p, q in bids if p < mid * (1 - part)]
    kept_asks = [(p, q) for p, q in asks if p > mid * (1 + part)]
    sample = then(
        book, 2, [(p, 0.0) for p, _ in bids if (p, 1.0) not in kept_bids],
        [(p, 0.0) for p, _ in asks if (p, 1.0) not in kept_asks],
    )  # fmt: skip
    assert sample.mid == (max(kept_bids)[0] + min(kept_asks)[0]) / 2
    assert [b.bid_usd + b.ask_usd for b in sample.bands] == [0.0] * 4
    assert all(b.covered for b in sample.bands)
    back = then(book, 3, bids, asks)
    assert back.mid == pytest.approx(mid)
    assert back.bands[-1].bid_usd == pytest.approx(band(bids, mid, 100))


@pytest.mark.parametrize("sign", [-1, 1], ids=["fall", "rise"])
@pytest.mark.parametrize(("percent", "seconds"), [(2.5, 1), (5, 2), (10, 5), (30, 3), (1.25, 1)])
def test_a_price_that_runs_away_is_followed(sign: int, percent: float, seconds: int) -> None:
    """All within a fall goes, and a few new quotes come behind it; deletions are no best price."""
    bids, asks = ladder(0.1, 1000, 400)
    book = book_of("whole", bids, asks)
    alive = [dict(bids), dict(asks)]
    for second in range(1, seconds + 1):
        mid = round(100 * (1 + sign * percent / 100 * second / seconds), 1)
        eaten, quoted = (alive[0], alive[1]) if sign < 0 else (alive[1], alive[0])
        gone = [p for p in eaten if sign * p <= sign * mid]
        came = {round(mid - sign * n / 10, 1): 2.0 for n in (1, 2, 3)}
        for p in gone:
            del eaten[p]
        quoted.update(came)
        update = [(p, 0.0) for p in gone], list(came.items())
        sample = then(book, second + 1, *(update if sign < 0 else update[::-1]))
        assert sample.mid == (max(alive[0]) + min(alive[1])) / 2
        assert sample.mid == pytest.approx(mid, rel=0.002)
        for b in sample.bands:
            expected = [band(list(side.items()), sample.mid, b.bp) for side in alive]
            assert [b.bid_usd, b.ask_usd] == pytest.approx(expected)
            assert b.covered


@pytest.mark.parametrize("venue", ["binance", "bybit", "whole"])
@pytest.mark.parametrize("steps", [15, -15, 31, -200])
def test_what_a_jump_deletes_is_no_best_price(venue: str, steps: int) -> None:
    """Asks up to 101.5 go at once and bids up to 101.4 come: mid was 101.25 for 101.5, by an ask of
    101.1 that was deleted, and within 25 bp there was no ask, marked covered."""
    bids, asks = ladder(0.1, 1000, 299)
    book = book_of(venue, bids, asks)
    sign, far = (1, abs(steps)) if steps > 0 else (-1, abs(steps))
    eaten, quoted = (asks, bids) if steps > 0 else (bids, asks)
    gone, left = eaten[:far], eaten[far:]
    if steps < 0:
        gone, left = eaten[-far:], eaten[:-far]
    came = [(round(100 + sign * n / 10, 1), 2.0) for n in range(far)]
    update = [(price, 0.0) for price, _ in gone], came
    sample = then(book, 2, *(update[::-1] if steps > 0 else update))
    assert sample.mid == pytest.approx(100 + steps / 10)
    sides = ([*quoted, *came], left) if steps > 0 else (left, [*quoted, *came])
    for b in sample.bands:
        expected = [band(side, sample.mid, b.bp) for side in sides]
        assert [b.bid_usd, b.ask_usd] == pytest.approx(expected)
        assert min(expected) > 0 or b.bp == 10
        assert b.covered


@pytest.mark.parametrize(
    ("bid", "ask"),
    [(9.9e-7, 1.01e-6), (1.234e-7, 1.235e-7), (4.2e-13, 4.3e-13), (1e-9, 2e-9), (3e-18, 4e-18),
     (1.0e7, 1.1e7), (12_345_678.25, 12_345_678.5), (99.875, 100.125), (100 / 3, 100 / 2.9),
     (9e16, 9.1e16)],
)  # fmt: skip
@pytest.mark.parametrize("levels", [1, 300])
def test_prices_of_every_size_and_step(bid: float, ask: float, levels: int) -> None:
    step = (ask - bid) / 1024
    bids = [(bid - n * step, 1 / bid) for n in range(levels)]
    asks = [(ask + n * step, 1 / ask) for n in range(levels)]
    book = book_of("whole", bids, asks)
    for _ in range(2):
        sample = book.sample()
        assert isinstance(sample, Sample), sample
        assert sample.mid == (bid + ask) / 2
        for b in sample.bands:
            assert b.bid_usd == pytest.approx(band(bids, sample.mid, b.bp))
            assert b.ask_usd == pytest.approx(band(asks, sample.mid, b.bp))
    gone = then(book, 2, [(p, 0.0) for p, _ in bids[1:]], [(p, 0.0) for p, _ in asks[1:]])
    assert gone.mid == sample.mid
    assert book.levels() == 2


@pytest.mark.parametrize("factor", [100, 1_000, 1 / 100])
def test_a_price_scale_that_changes_at_once(factor: float) -> None:
    """A redenomination: everything goes, and everything comes at another price."""
    bids, asks = ladder(0.001, 100_000, 900)
    book = book_of("whole", bids, asks)
    new = [[(float(f"{p * factor:.12g}"), q) for p, q in side] for side in (bids, asks)]
    sample = then(
        book, 2, [(p, 0.0) for p, _ in bids] + new[0], [(p, 0.0) for p, _ in asks] + new[1]
    )
    assert sample.mid == pytest.approx(100 * factor)
    assert book.levels() == 1_800
    for b in sample.bands:
        assert b.covered
        assert b.ask_usd == pytest.approx(band(new[1], sample.mid, b.bp))


def test_one_bid_far_above_the_others_and_gone_again() -> None:
    """A venue that lies for a moment: crossed then, and right after."""
    bids, asks = ladder(0.1, 1000, 400)
    book = book_of("whole", bids, asks)
    for wild in (1e9, 150.0, 3e17):
        book.update(
            BookUpdate(
                symbol="X", at=1, snapshot=False, bids=[(wild, 1.0)], asks=(), first=2, last=2
            )
        )
        assert book.sample() == CROSSED
        sample = then(book, 3, [(wild, 0.0)])
        assert sample.mid == 100.0
        assert sample.bands[-1].bid_usd == pytest.approx(band(bids, 100.0, 100))
        book.update(BookUpdate(symbol="X", at=1, snapshot=True, bids=bids, asks=asks, last=1))


@pytest.mark.parametrize("reach", [200, 1000])
def test_a_rolling_book_that_fills_up_is_known_to_its_worst_level(reach: int) -> None:
    """Half full at first: the whole side. Then as many levels as the venue tells of."""
    bids, asks = ladder(0.01, 1_000_000, reach // 2)
    book = Book()
    book.update(
        BookUpdate(
            symbol="X", at=1, snapshot=True, bids=bids, asks=asks, last=1, reach=reach, rolling=True
        )
    )
    sample = book.sample()
    assert isinstance(sample, Sample)
    assert sample.bands[-1].covered
    more_bids, more_asks = ladder(0.01, 1_000_000, reach)
    sample = then(book, 2, more_bids, more_asks)
    reached_bp = reach / 100
    assert [b.covered for b in sample.bands] == [b.bp <= reached_bp for b in sample.bands]
    assert not sample.bands[-1].covered
    few = then(book, 3, [(p, 0.0) for p, _ in more_bids[:-9]], [(p, 0.0) for p, _ in more_asks[9:]])
    assert few.bands[-1].covered
    assert few.bands[-1].bid_usd == pytest.approx(band(more_bids[-9:], few.mid, 100))


def test_a_price_beyond_the_snapshot_is_unknown_until_the_next() -> None:
    """A level that was never told may be the best one."""
    bids, asks = ladder(0.01, 10_000, 1000)
    book = book_of("binance", bids, asks)
    left = [(80.0, 1.0)]
    book.update(
        BookUpdate(
            symbol="X", at=1, snapshot=False, bids=[(p, 0.0) for p, _ in bids] + left, asks=(),
            first=2, last=2,
        )
    )  # fmt: skip
    assert book.sample() == BEYOND
    book.expect_snapshot()
    assert book.offer(
        BookUpdate(
            symbol="X", at=1, snapshot=True, bids=[(85.0, 3.0), *left], asks=asks, last=2,
            reach=1000,
        )
    )  # fmt: skip
    sample = book.sample()
    assert isinstance(sample, Sample)
    assert sample.mid == (85.0 + asks[0][0]) / 2
    assert sample.bands[-1].covered


def test_levels_that_were_forgotten_are_not_claimed() -> None:
    """Memory stays bounded, and what is known ends where memory does."""
    bids, asks = ladder(0.01, 10_000, 9_000)
    book = book_of("whole", bids, asks)
    assert book.levels() < 3_000
    fall = [p for p, _ in bids if p > 92]
    sample = then(book, 2, [(p, 0.0) for p in fall], [(p, 1.0) for p in fall])
    assert sample.mid == pytest.approx(92.005)
    assert sample.bands[-1].covered
    assert sample.bands[-1].bid_usd == pytest.approx(
        band([(p, q) for p, q in bids if p <= 92], sample.mid, 100)
    )
    fall = [p for p, _ in bids if 60 < p <= 92]
    book.update(
        BookUpdate(
            symbol="X", at=1, snapshot=False, bids=[(p, 0.0) for p in fall],
            asks=[(p, 1.0) for p in fall], first=3, last=3,
        )
    )  # fmt: skip
    assert book.sample() == BEYOND


def test_levels_that_left_the_best_ones_without_a_word_are_not_there() -> None:
    """A fall of half a percent: a thousand asks come nearer, and of those that they push out of the
    best thousand nobody says that they go."""
    bids, asks = ladder(0.001, 100_000, 1000)
    book = Book()
    book.update(
        BookUpdate(
            symbol="X", at=1, snapshot=True, bids=bids, asks=asks, last=1, reach=1000, rolling=True
        )
    )
    gone = [(price, 0.0) for price, _ in bids if price > 99.5]
    nearer = [(round(99.501 + 0.0005 * n, 4), 0.001) for n in range(1000)]
    sample = then(book, 2, gone, nearer)
    assert book.levels() <= 2000
    # mid is 99.5005, and the best thousand asks end at 100.0005
    assert [band.covered for band in sample.bands] == [True, True, True, False]
    assert sample.bands[-1].ask_usd == pytest.approx(sum(p * x for p, x in nearer))
    # they go again, and the venue tells what is there then: not what was there before
    back = [(price, 0.0) for price, _ in nearer]
    sample = then(book, 3, (), [*back, (100.2, 5.0), (100.4, 5.0)])
    assert sample.bands[-1].ask_usd == pytest.approx(5 * (100.2 + 100.4))
