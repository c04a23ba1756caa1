"""The books of a session: sequences broken and mended, silence, crossing, reach, memory."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from random import Random

import pytest

from streams.events import Depth, FeedState, Ms
from streams.feed.actions import Action
from streams.feed.book import WAIT_MS, Book, Sample
from tests.streams import frames
from tests.streams.frames import BIDS
from tests.streams.played import Played, depths, fetches, notes, reasons, sent, turns
from tests.streams.virtual import EPOCH

NARROW = (((99.99, 5.0),), ((100.01, 5.0),))
CROSSED = (((101.0, 1.0),), ())


def test_impossible_numbers_in_a_book_cost_at_most_that_book() -> None:
    played = Played("binance", "book-1", "BTC", "ETH")
    played.open()
    played.live_book("BTCUSDT")
    played.live_book("ETHUSDT")
    inf = float("inf")
    odd = [inf, -inf, float("nan"), 0.0, -5.0, 1e300, 1e-300, 1e18, 1e-18, 99.990000001, 3.0]
    last = 10
    for price in odd:
        for levels in (((price, 1e18), (price, 1e-18)), ((99.0, price), (101.0, price))):
            last += 1
            played.hear(frames.change("BTCUSDT", last, last, levels[:1], levels[1:]))
            played.tick(1, frames.change("ETHUSDT", last, last))
            assert depths(played.done[-1:]) == ["ETHUSDT"]
    for depth in played.done:
        if isinstance(depth, Depth):
            sums = [usd for band in depth.bands for usd in (band.bid_usd, band.ask_usd)]
            assert all(0 <= usd < inf for usd in [depth.mid, *sums])
    assert "-depth ETHUSDT" not in turns(played.done)


# ── books: Binance ──────────────────────────────────────────────────────


def test_a_binance_book_asks_once_its_stream_began_and_is_up_with_the_snapshot() -> None:
    played = Played("binance", "book-1", "BTC", "ETH")
    played.open()
    assert played.tick(3) == []  # before the stream a snapshot would be too old
    assert fetches(played.hear(frames.change("BTCUSDT", 8, 10))) == ["BTCUSDT"]
    assert played.hear(frames.change("BTCUSDT", 11, 12)) == []
    assert played.tick() == []
    assert played.fetch("BTCUSDT", frames.snapshot(11)) == []
    actions = played.tick()
    assert turns(actions) == ["+depth BTCUSDT"]
    assert depths(actions) == ["BTCUSDT"]
    assert played.session.books() == (1, 2)
    assert not played.session.ready
    assert depths(played.tick(3, frames.change("ETHUSDT", 5, 5))) == ["BTCUSDT"] * 3
    depth = played.done[-1]
    assert isinstance(depth, Depth)
    assert depth.mid == 100.0
    assert depth.seen == played.seen


def test_a_snapshot_ahead_of_the_stream_waits_and_is_not_asked_for_again() -> None:
    played = Played("binance", "book-1", "BTC")
    played.open()
    played.hear(frames.change("BTCUSDT", 1, 1))
    played.tick(12)  # it waited in the queue
    played.fetch("BTCUSDT", frames.snapshot(100))
    assert played.tick(9, frames.change("BTCUSDT", 2, 2)) == []
    assert fetches(played.hear(frames.change("BTCUSDT", 3, 101, previous=2))) == []
    assert turns(played.tick()) == ["+depth BTCUSDT"]


def test_a_snapshot_older_than_the_stream_is_asked_for_again() -> None:
    played = Played("binance", "book-1", "BTC")
    played.open()
    assert fetches(played.hear(frames.change("BTCUSDT", 50, 60))) == ["BTCUSDT"]
    assert played.fetch("BTCUSDT", frames.snapshot(20)) == []
    assert fetches(played.tick(1, frames.change("BTCUSDT", 61, 61))) == ["BTCUSDT"]
    played.fetch("BTCUSDT", frames.snapshot(60))
    assert turns(played.tick()) == ["+depth BTCUSDT"]


def test_snapshots_that_are_always_too_old_are_asked_for_ever_more_rarely() -> None:
    played = Played("binance", "book-1", "BTC")
    played.open()
    played.hear(frames.change("BTCUSDT", 50, 60))
    asked = []
    for second in range(1, 600):
        played.fetch("BTCUSDT", frames.snapshot(20))
        if fetches(played.tick(1, frames.change("BTCUSDT", 60 + second, 60 + second))):
            asked.append(second)
    assert asked == [1, 3, 7, 15, 31, *range(51, 600, 20)]


def many(count: int) -> list[str]:
    """The assets of a socket with so many books, the first of them BTC."""
    return ["BTC", *(f"COIN{n}" for n in range(1, count))]


@pytest.mark.parametrize(
    ("books", "expected"),
    [
        (200, [0, 10, 30, 70, 150, 310, 470, 630]),
        (67, [0, 10, 30, 70, *range(124, 699, 54)]),
        (1, [0, 10, *range(30, 699, 20)]),
    ],
)
def test_a_snapshot_that_never_comes_is_asked_for_ever_more_rarely(
    books: int, expected: list[int]
) -> None:
    """The fewer books there are to be asked for, the less rarely."""
    played = Played("binance", "book-1", *many(books))
    played.open()
    asked = [
        place
        for place in range(699)
        if "BTCUSDT" in fetches(played.tick(1, frames.change("BTCUSDT", place + 1, place + 1)))
    ]
    assert asked == expected


def test_an_answer_for_one_book_ends_the_long_waits_of_the_others() -> None:
    """REST was away for ten minutes: whoever is answered first shows that it is back."""
    assets = many(200)
    played = Played("binance", "book-1", *assets)
    played.open()
    for last in range(1, 601):
        alive = [frames.change(f"{asset}USDT", last, last) for asset in assets[:20]]
        played.tick(1, *alive)
    alive = [frames.change(f"{asset}USDT", 601, 601) for asset in assets[:20]]
    assert fetches(played.tick(1, *alive)) == []
    played.fetch("BTCUSDT", frames.snapshot(601))
    asked = fetches(played.tick(1, *alive))
    assert sorted(asked) == sorted(f"{asset}USDT" for asset in assets[1:20])


def test_a_book_that_waits_for_hours_stays_small_and_can_still_begin() -> None:
    """REST may be banned for days while the stream goes on."""
    played = Played("binance", "book-1", "BTC")
    played.open()
    last = 0
    for _ in range(1000):
        last += 1
        price = 90 + last / 1000
        levels = [(price, 1.0)], [(price + 20, 1.0)]
        played.hear(frames.change("BTCUSDT", last, last, *levels, at=EPOCH + last * 500))
    book = played.session._books._states["BTCUSDT"].book
    assert len(book._buffer or []) <= 2 * WAIT_MS / 500
    assert book.levels() == 0
    played.fetch("BTCUSDT", frames.snapshot(last))
    assert turns(played.tick()) == ["+depth BTCUSDT"]
    played.hear(frames.change("BTCUSDT", last + 1, last + 1))
    assert depths(played.tick()) == ["BTCUSDT"]


def test_a_gap_costs_one_symbol_and_only_that_is_asked_for() -> None:
    played = Played("binance", "book-1", "BTC", "ETH", "SOL")
    played.open()
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        played.live_book(symbol)
    played.tick(20, *(frames.change(s, 10, 10) for s in ("BTCUSDT", "ETHUSDT", "SOLUSDT")))
    actions = played.hear(frames.change("ETHUSDT", 15, 16))
    assert turns(actions) == ["-depth ETHUSDT"]
    assert reasons(actions) == ["book: a change is missing"]
    assert isinstance(actions[0], FeedState)
    assert fetches(actions) == ["ETHUSDT"]
    assert played.session.stats.gaps == 1
    actions = played.tick(2, frames.change("BTCUSDT", 10, 10))
    assert depths(actions) == ["BTCUSDT", "SOLUSDT"] * 2
    assert fetches(actions) == []
    played.fetch("ETHUSDT", frames.snapshot(16))
    assert turns(played.tick()) == ["+depth ETHUSDT"]


def test_a_gap_right_after_another_waits_for_its_turn() -> None:
    played = Played("binance", "book-1", "BTC")
    played.open()
    played.live_book("BTCUSDT", 10)
    played.tick(10)
    assert fetches(played.hear(frames.change("BTCUSDT", 15, 16))) == ["BTCUSDT"]
    assert fetches(played.hear(frames.change("BTCUSDT", 19, 19))) == []
    assert played.session.stats.gaps == 2
    assert fetches(played.tick(9, frames.change("BTCUSDT", 20, 20))) == []
    assert fetches(played.tick(1)) == ["BTCUSDT"]


def test_duplicates_and_reordered_changes_are_ignored() -> None:
    played = Played("binance", "book-1", "BTC")
    played.open()
    played.live_book("BTCUSDT", 10)
    for last in (11, 12, 13):
        assert played.hear(frames.change("BTCUSDT", last, last, [(99.95, last)])) == []
    for last in (12, 11, 13, 10):
        assert played.hear(frames.change("BTCUSDT", last, last, [(99.95, 1e6)])) == []
    assert played.session.stats.duplicates == 4
    depth = played.tick()[0]
    assert isinstance(depth, Depth)
    assert depth.bands[0].bid_usd == pytest.approx(99.99 * 5 + 99.95 * 13 + 99.9 * 7, rel=1e-6)


def follows(venue: str, symbol: str, last: int, at: Ms) -> bytes:
    """A change of one order that follows the id before ``last``."""
    bids, asks = [(99.95, 2.0)], list[tuple[float, float]]()
    match venue:
        case "binance":
            return frames.change(symbol, last, last, bids, asks, at=at)
        case "bybit":
            return frames.bybit_book(symbol, last, bids, asks, delta=True, at=at)
        case "okx":
            return frames.okx_book(symbol, last, bids, asks, previous=last - 1, at=at)
        case "gate":
            return frames.gate_book(symbol, last, bids, asks, first=last, at=at)
        case "deribit":
            return frames.deribit_book(symbol, last, bids, asks, previous=last - 1, at=at)
        case "htx":
            return frames.htx_book(symbol, last, bids, asks, "update", at)
        case "lighter":
            return frames.lighter_book(symbol, last, bids, asks, last - 1, at)
        case _:
            (change,) = frames.kraken_changes(symbol, last, bids, at=at)
            return change


def at_thousand(venue: str, symbol: str) -> Played:
    """A book that is up, and whose newest id is 1000."""
    played = Played(venue, "book-1", "BTC")
    played.open()
    match venue:
        case "binance":
            played.live_book(symbol, 1_000)
        case "bybit":
            played.hear(frames.bybit_book(symbol, 1_000))
        case "okx":
            played.hear(frames.okx_book(symbol, 1_000))
        case "gate":
            played.hear(frames.gate_book(symbol, 1_000))
        case "deribit":
            played.hear(frames.deribit_book(symbol, 1_000))
        case "htx":
            played.hear(frames.htx_book(symbol, 1_000))
        case "lighter":
            played.hear(frames.lighter_book(symbol, 1_000))
        case _:
            played.hear(frames.kraken_book(symbol, 1_000))
    played.tick(12)
    return played


SEQUENCED = ["binance", "bybit", "okx", "gate", "deribit", "kraken", "htx", "lighter"]


@pytest.mark.parametrize("behind_s", [60, 3_600])
@pytest.mark.parametrize("venue", SEQUENCED)
def test_ids_that_begin_anew_while_the_clock_of_the_venue_is_behind_are_a_gap(
    venue: str, behind_s: int
) -> None:
    """After a failover, or where the last change was dated ahead: it lasts for seconds of our
    clock, and not until the venue's is where it was."""
    symbol = frames.symbol_of(venue, "BTC")
    played = at_thousand(venue, symbol)
    played.hear(follows(venue, symbol, 1_001, EPOCH + behind_s * 1_000))
    for second in range(1, 6):
        actions = played.tick(1, follows(venue, symbol, second + 4, EPOCH + second * 1_000))
        assert turns(actions) == [] and depths(actions) == [symbol]
    actions = played.tick(1, follows(venue, symbol, 10, EPOCH + 6_000))
    assert turns(actions) == [f"-depth {symbol}"]
    assert reasons(actions) == ["book: a change is missing"] and depths(actions) == []
    assert fetches(actions) == [symbol] if venue == "binance" else sent(actions)
    assert (played.session.stats.gaps, played.session.stats.duplicates) == (1, 5)


@pytest.mark.parametrize("venue", SEQUENCED)
def test_old_changes_beside_a_stream_that_goes_on_are_no_gap(venue: str) -> None:
    """A copy of the stream that comes late continues itself for as long as it lasts; and what is
    told again now and then continues nothing."""
    symbol = frames.symbol_of(venue, "BTC")
    played = at_thousand(venue, symbol)
    for second in range(1, 21):
        late = follows(venue, symbol, 900 + second, EPOCH)
        actions = played.tick(1, late, follows(venue, symbol, 1_000 + second, EPOCH))
        assert turns(actions) == [] and depths(actions) == [symbol]
    for second in range(20):
        actions = played.tick(1, follows(venue, symbol, 900 + 2 * (second % 3), EPOCH))
        assert turns(actions) == [] and depths(actions) == [symbol]
    assert (played.session.stats.gaps, played.session.stats.duplicates) == (0, 40)


@pytest.mark.parametrize("venue", SEQUENCED)
def test_a_book_crossed_for_three_seconds_is_asked_for_anew(venue: str) -> None:
    played = Played(venue, "book-1", "BTC")
    played.open()
    symbol = frames.symbol_of(venue, "BTC")
    if venue == "binance":
        played.live_book("BTCUSDT", 10)
        crossing, healing = (
            frames.change("BTCUSDT", 11, 11, *CROSSED),
            frames.change("BTCUSDT", 12, 12, [(101.0, 0.0)]),
        )
    elif venue == "okx":
        played.hear(frames.okx_book(symbol, 10))
        crossing, healing = (
            frames.okx_book(symbol, 11, *CROSSED, previous=10),
            frames.okx_book(symbol, 12, [(101.0, 0.0)], [], previous=11),
        )
    elif venue == "gate":
        played.hear(frames.gate_book(symbol, 10))
        crossing, healing = (
            frames.gate_book(symbol, 11, *CROSSED, first=11),
            frames.gate_book(symbol, 12, [(101.0, 0.0)], [], first=12),
        )
    elif venue == "lighter":
        played.hear(frames.lighter_book(symbol, 10))
        crossing = frames.lighter_book(symbol, 11, *CROSSED, previous=10)
        healing = frames.lighter_book(symbol, 12, [(101.0, 0.0)], [], 11)
    elif venue == "htx":
        played.hear(frames.htx_book(symbol, 10))
        crossing = frames.htx_book(symbol, 11, *CROSSED, event="update")
        healing = frames.htx_book(symbol, 12, [(101.0, 0.0)], [], "update")
    elif venue == "kraken":
        played.hear(frames.kraken_book(symbol, 10))
        (crossing,) = frames.kraken_changes(symbol, 11, *CROSSED)
        (healing,) = frames.kraken_changes(symbol, 12, [(101.0, 0.0)])
    elif venue == "deribit":
        played.hear(frames.deribit_book(symbol, 10))
        crossing, healing = (
            frames.deribit_book(symbol, 11, *CROSSED, previous=10),
            frames.deribit_book(symbol, 12, [(101.0, 0.0)], [], previous=11),
        )
    else:
        played.hear(frames.bybit_book("BTCUSDT", 10))
        crossing, healing = (
            frames.bybit_book("BTCUSDT", 11, *CROSSED, delta=True),
            frames.bybit_book("BTCUSDT", 12, [(101.0, 0.0)], [], delta=True),
        )
    played.tick(12)
    played.hear(crossing)
    assert played.tick(2) == []  # for a moment: nothing is said of it, and it stays up
    played.hear(healing)
    actions = played.tick()
    assert turns(actions) == []
    assert depths(actions) == [symbol]
    again = {
        "binance": frames.change("BTCUSDT", 13, 13, *CROSSED),
        "bybit": frames.bybit_book("BTCUSDT", 13, *CROSSED, delta=True),
        "okx": frames.okx_book(symbol, 13, *CROSSED, previous=12),
        "gate": frames.gate_book(symbol, 13, *CROSSED, first=13),
        "deribit": frames.deribit_book(symbol, 13, *CROSSED, previous=12),
        "kraken": frames.kraken_changes(symbol, 13, *CROSSED)[0],
        "htx": frames.htx_book(symbol, 13, *CROSSED, event="update"),
        "lighter": frames.lighter_book(symbol, 13, *CROSSED, previous=12),
    }
    played.hear(again[venue])
    assert played.tick(3) == []
    actions = played.tick()
    assert turns(actions) == [f"-depth {symbol}"]
    assert reasons(actions) == ["book: crossed"]
    assert depths(actions) == []
    if venue == "binance":
        assert fetches(actions) == ["BTCUSDT"]
        played.hear(frames.change("BTCUSDT", 20, 20))
        played.fetch("BTCUSDT", frames.snapshot(20))
    else:
        asked = [message for message in sent(actions) if message != b"ping"]
        if venue == "htx":
            asked = [{"op": "subscribe" if "sub" in m else "unsubscribe"} for m in asked]
        names = ("op", "event", "method", "type")
        events = [message[name] for message in asked for name in names if message.get(name)]
        pings = ("public/test", "ping")
        assert [event.removeprefix("public/") for event in events if event not in pings] == [
            "unsubscribe", "subscribe"
        ]  # fmt: skip
        fresh = {
            "bybit": frames.bybit_book(symbol, 20),
            "okx": frames.okx_book(symbol, 20),
            "gate": frames.gate_book(symbol, 20),
            "deribit": frames.deribit_book(symbol, 20),
            "kraken": frames.kraken_book(symbol, 20),
            "htx": frames.htx_book(symbol, 20),
            "lighter": frames.lighter_book(symbol, 20),
        }
        played.hear(fresh[venue])
    assert turns(played.tick()) == [f"+depth {symbol}"]


def test_a_book_of_impossible_numbers_is_invalid_and_asked_for_anew() -> None:
    played = Played("binance", "book-1", "BTC")
    played.open()
    played.live_book("BTCUSDT", 10)
    played.tick(12)
    played.hear(frames.change("BTCUSDT", 11, 11, [(99.98, -5.0)]))
    assert played.tick(3) == []
    actions = played.tick()
    assert reasons(actions) == ["book: of impossible sizes"]
    assert depths(actions) == []
    assert fetches(actions) == ["BTCUSDT"]
    played.hear(frames.change("BTCUSDT", 12, 12))
    played.fetch("BTCUSDT", frames.snapshot(12))
    assert turns(played.tick()) == ["+depth BTCUSDT"]


def test_a_one_sided_book_is_said_to_be_so_once() -> None:
    played = Played("binance", "book-1", "BTC")
    played.open()
    played.live_book("BTCUSDT", 10)
    played.hear(frames.change("BTCUSDT", 11, 11, [(price, 0.0) for price, _ in BIDS]))
    actions = played.tick(20, frames.change("BTCUSDT", 11, 11))
    assert turns(actions) == ["-depth BTCUSDT"]
    assert reasons(actions) == ["book: one-sided"]
    assert depths(actions) == []
    assert fetches(actions) == []
    played.hear(frames.change("BTCUSDT", 12, 12, [(99.99, 1.0)]))
    assert turns(played.tick()) == ["+depth BTCUSDT"]


def test_a_book_whose_side_stays_empty_is_asked_for_after_a_minute() -> None:
    """It may be true of a market that nobody quotes; likelier something was missed."""
    played = Played("binance", "book-1", "BTC")
    played.open()
    played.live_book("BTCUSDT", 10)
    played.hear(frames.change("BTCUSDT", 11, 11, [(price, 0.0) for price, _ in BIDS]))
    alive = frames.change("BTCUSDT", 11, 11)
    asked = [n for n in range(300) if fetches(played.tick(1, alive))]
    assert asked[0] == 60
    assert len(asked) <= 13
    assert turns(played.done) == ["+depth BTCUSDT", "-depth BTCUSDT"]
    assert turns(played.fetch("BTCUSDT", frames.snapshot(11))) == ["+depth BTCUSDT"]
    assert depths(played.tick()) == ["BTCUSDT"]


def test_a_narrow_band_that_was_covered_and_is_lost_is_asked_for_after_five_seconds() -> None:
    """The price moves by a hundredth of a per cent; the band of 25 bp just reached before."""
    played = Played("binance", "book-1", "BTC")
    played.open()
    bids = [(n * 0.00025, 1.0) for n in range(399_999, 398_999, -1)]
    asks = [(n * 0.00025, 1.0) for n in range(400_001, 401_001)]
    played.hear(frames.change("BTCUSDT", 10, 10))
    played.fetch("BTCUSDT", frames.snapshot(10, bids, asks))
    played.tick(2)
    depth = played.done[-1]
    assert isinstance(depth, Depth)
    assert [band.covered for band in depth.bands] == [True, True, False, False]
    gone, came = [(p, 0.0) for p, _ in bids[:40]], [(p, 1.0) for p, _ in bids[:39]]
    played.hear(frames.change("BTCUSDT", 11, 11, gone, came))
    alive = frames.change("BTCUSDT", 11, 11)
    asked = [n for n in range(100) if fetches(played.tick(1, alive))]
    assert asked == [2, 12, 32, 52, 72, 92]  # after five seconds; then nothing is answered
    bids, asks = (
        [(99.98975 - n / 1e4, 1.0) for n in range(1000)],
        [(99.99025 + n / 1e4, 1.0) for n in range(1000)],
    )
    played.fetch("BTCUSDT", frames.snapshot(11, bids, asks))
    asked = [n for n in range(100) if fetches(played.tick(1, alive))]
    assert asked == [52]  # a minute after an answer that did not help
    assert turns(played.done) == ["+depth BTCUSDT"]


def test_a_book_beyond_its_snapshot_that_is_never_answered_goes_down_and_comes_back() -> None:
    played = Played("binance", "book-1", "BTC")
    played.open()
    bids = [(99.99 - n / 100, 1.0) for n in range(1000)]
    asks = [(100.01 + n / 100, 1.0) for n in range(1000)]
    played.hear(frames.change("BTCUSDT", 10, 10))
    played.fetch("BTCUSDT", frames.snapshot(10, bids, asks))
    played.tick(10, frames.change("BTCUSDT", 10, 10))
    played.hear(frames.change("BTCUSDT", 11, 11, [(p, 0.0) for p, _ in bids] + [(80.0, 1.0)]))
    alive = frames.change("BTCUSDT", 11, 11)
    actions = played.tick(30, alive)
    assert turns(actions) == []
    assert depths(actions) == []
    assert len(fetches(actions)) == 2
    actions = played.tick(1, alive)
    assert reasons(actions) == ["book: beyond what is known"]
    actions = played.fetch("BTCUSDT", frames.snapshot(11, [(90.0, 1.0), (80.0, 1.0)], asks))
    assert turns(actions) == ["+depth BTCUSDT"]
    assert depths(actions) == ["BTCUSDT"]


class Fall:
    """Binance's book of a price that falls, sampled as it is: changes twice a second, and snapshots
    of 1000 levels a side that come ``delay_ms`` after they were asked for, if they come."""

    PRICE, LEVELS = 80_000.0, 3_000

    def __init__(self, reach_bp: float, delay_ms: int) -> None:
        self.step = round(self.PRICE * reach_bp / 1e7, 3)
        self.delay_ms = delay_ms
        self.played = Played("binance", "book-1", "BTC")
        self.played.open()
        self.mid = round(self.PRICE / self.step)
        self.last = 100
        self.coming: list[int] = []
        self.answers = True
        self.asked: list[int] = []
        self.depths: list[Depth] = []
        self.share = self.covered_10 = self.covered_25 = 0.0
        self.hear(())
        self.play([self.PRICE] * 4)
        self.depths.clear()

    def sides(self, mid: int, count: int) -> tuple[range, range]:
        return range(mid - 1, mid - 1 - count, -1), range(mid + 1, mid + 1 + count)

    def levels(self, places: Iterable[int], size: float = 1.0) -> list[tuple[float, float]]:
        return [(round(place * self.step, 3), size) for place in places]

    def hear(self, actions: Sequence[Action], *, moved_to: int | None = None) -> None:
        """A message of the stream, if the price has moved; what came of it or of ``actions``."""
        old, new = self.sides(self.mid, self.LEVELS), self.sides(moved_to or self.mid, self.LEVELS)
        changes = [
            self.levels((n for n in was if n not in now), 0.0)
            + self.levels(n for n in now if n not in was)
            for was, now in zip(old, new, strict=True)
        ]
        if moved_to is not None or not self.asked:
            self.mid, self.last = moved_to or self.mid, self.last + 1
            frame = frames.change("BTCUSDT", self.last, self.last, *changes, previous=self.last - 1)
            actions = self.played.hear(frame)
        self.depths += [depth for depth in actions if isinstance(depth, Depth)]
        if fetches(actions):
            self.asked.append(self.played.now)
            self.coming.append(self.played.now + self.delay_ms)

    def play(self, prices: Sequence[float]) -> None:
        """A second for each price. ``share``: of these seconds, in how many a depth was said;
        ``covered_10``, ``covered_25``: in how many of one whose band of so many bp is covered."""
        with_depth = covered_10 = covered_25 = 0
        for price in prices:
            before, self.depths = self.mid, []
            target = round(price / self.step)
            for tenth in range(10):
                self.played.now += 100
                if tenth in (4, 9):
                    self.hear((), moved_to=target if tenth == 9 else (before + target) // 2)
                if tenth == 9:
                    self.hear(self.played.tick(0) or self.second())
                for when in [n for n in self.coming if n <= self.played.now]:
                    self.coming.remove(when)
                    if self.answers:
                        sides = [self.levels(side) for side in self.sides(self.mid, 1000)]
                        self.hear(self.played.fetch("BTCUSDT", frames.snapshot(self.last, *sides)))
            for depth in self.depths:
                places = depth.mid / self.step
                assert min(before, target) - 1 <= places <= max(before, target) + 1
                for band in depth.bands:  # a lower bound where it is not covered
                    real = depth.mid * (depth.mid * band.bp / 10_000 / self.step)
                    assert band.bid_usd <= real * 1.05
                    assert not band.covered or band.bid_usd >= real * 0.9
            with_depth += bool(self.depths)
            covered_10 += any(depth.bands[0].covered for depth in self.depths)
            covered_25 += any(depth.bands[1].covered for depth in self.depths)
        self.share, self.covered_10, self.covered_25 = (
            count / len(prices) for count in (with_depth, covered_10, covered_25)
        )

    def second(self) -> list[Action]:
        self.played.now -= 1_000
        return self.played.tick()


def falling(percent: float, seconds: int, after: int = 0) -> list[float]:
    """The price at the end of each second, and ``after`` seconds more of the last one."""
    steps = [min(1, (n + 1) / seconds) for n in range(seconds + after)]
    return [Fall.PRICE * (1 - percent / 100 * step) for step in steps]


@pytest.mark.parametrize("delay_ms", [200, 1_000])
@pytest.mark.parametrize(
    ("percent", "seconds", "reach_bp", "share", "covered_10", "covered_25"),
    [  # 25 bp: as far as a snapshot reaches on one side, which a rise makes less
        (10, 60, 25, 0.98, 0.98, 0.98),
        (10, 120, 25, 1.0, 0.98, 0.65),
        (10, 300, 25, 1.0, 0.98, 0.33),
        (5, 20, 25, 0.94, 0.94, 0.94),
        (-10, 60, 25, 0.98, 0.98, 0.0),
        (10, 60, 12.5, 0.9, 0.9, 0.0),
        (30, 60, 25, 0.9, 0.9, 0.9),
        (10, 10, 50, 0.9, 0.9, 0.9),
    ],
)
def test_depth_is_told_while_the_price_leaves_each_snapshot_behind(
    percent: float,
    seconds: int,
    reach_bp: float,
    share: float,
    covered_10: float,
    covered_25: float,
    delay_ms: int,
) -> None:
    fall = Fall(reach_bp, delay_ms)
    fall.play(falling(percent, seconds))
    assert fall.share >= share
    assert fall.covered_10 >= covered_10
    assert fall.covered_25 >= covered_25
    assert turns(fall.played.done) == ["+depth BTCUSDT"]
    waits = [later - sooner for sooner, later in pairwise(fall.asked)]
    assert min(waits) >= 1_000  # 1,200 of the 2,400 that the venue allows a minute


@pytest.mark.parametrize("reach_bp", [12.5, 25])
def test_depth_is_told_of_a_price_that_jumps_half_a_percent_each_second(reach_bp: float) -> None:
    random = Random(1)
    fall = Fall(reach_bp, 1_000)
    fall.play(falling(10, 5))
    fall.play([72_000 * random.uniform(0.995, 1.005) for _ in range(300)])
    assert fall.share > 0.8
    assert fall.covered_10 > 0.8
    assert turns(fall.played.done) == ["+depth BTCUSDT"]


def test_a_price_that_ran_away_and_is_answered_with_nothing_goes_down() -> None:
    fall = Fall(25, 1_000)
    fall.answers = False
    fall.play(falling(10, 10, after=15))
    assert turns(fall.played.done) == ["+depth BTCUSDT"]
    fall.play([72_000.0] * 15)
    assert turns(fall.played.done) == ["+depth BTCUSDT", "-depth BTCUSDT"]
    assert reasons(fall.played.done) == ["", "book: beyond what is known"]


def test_a_calm_price_is_hardly_asked_for() -> None:
    """A hundredth of a per cent to and fro: snapshots join up, and then the bands stay covered."""
    random = Random(2)
    fall = Fall(26, 200)
    fall.play([Fall.PRICE * random.uniform(0.9998, 1.0002) for _ in range(600)])
    assert fall.covered_10 == 1.0 and fall.covered_25 > 0.99  # the first seconds apart
    assert len(fall.asked) < 15


def test_what_a_book_cannot_bear_costs_that_book_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played("binance", "book-1", "BTC", "ETH")
    played.open()
    played.live_book("BTCUSDT", 10)
    played.live_book("ETHUSDT", 10)
    alive = frames.change("ETHUSDT", 10, 10)
    played.tick(10, alive)
    broken = played.session._books._states["BTCUSDT"].book

    def fail(self: Book, bands_bp: object = None) -> Sample | str:
        if self is broken and self.synced:
            raise OverflowError("cannot convert float infinity to integer")
        return sample(self)

    sample = Book.sample
    monkeypatch.setattr(Book, "sample", fail)
    actions = played.tick(1, alive)
    assert turns(actions) == ["-depth BTCUSDT"]
    assert notes(actions) == ["book failed"]
    assert fetches(actions) == ["BTCUSDT"]
    assert depths(actions) == ["ETHUSDT"]
    monkeypatch.undo()
    played.hear(frames.change("BTCUSDT", 20, 20))
    played.fetch("BTCUSDT", frames.snapshot(20))
    actions = played.tick()
    assert turns(actions) == ["+depth BTCUSDT"]
    assert depths(actions) == ["BTCUSDT", "ETHUSDT"]


@pytest.mark.parametrize(
    "venue",
    [
        "binance",
        "bybit",
        "hyperliquid",
        "bitget",
        "okx",
        "gate",
        "deribit",
        "kraken",
        "htx",
        "bitfinex",
        "lighter",
    ],
)
@pytest.mark.parametrize(("percent", "seconds"), [(2.5, 1), (5, 2), (10, 5), (-10, 5), (-30, 10)])
def test_depth_is_told_in_each_second_of_a_crash(venue: str, percent: float, seconds: int) -> None:
    """A fall, and the five minutes after it: depth in each second, and never down."""
    symbol = frames.symbol_of(venue, "BTC")
    played = Played(venue, "book-1", "BTC")
    played.open()
    count = {"hyperliquid": 20, "bitfinex": 250}.get(venue, 400)
    last = 10

    def book(mid: float) -> tuple[dict[float, float], dict[float, float]]:
        bids = {round(mid - 0.1 - n / 10, 1): 1.0 for n in range(count)}
        return bids, {round(mid + 0.1 + n / 10, 1): 1.0 for n in range(count)}

    def tell(mid: float, before: float | None) -> list[bytes]:
        nonlocal last
        now = book(mid)
        if before is not None and venue != "hyperliquid":
            old = book(before)
            gone = [
                {p: 0.0 for p in was if p not in is_} for was, is_ in zip(old, now, strict=True)
            ]
            now = gone[0] | now[0], gone[1] | now[1]
        levels = [list(side.items()) for side in now]
        if venue == "hyperliquid":
            return [frames.coin_book(symbol, *levels)]
        if venue == "bybit":
            return [frames.bybit_book(symbol, last, *levels, delta=before is not None)]
        if venue == "okx":
            previous = None if before is None else last - 1
            return [frames.okx_book(symbol, last, *levels, previous=previous)]
        if venue == "bitget":
            previous = None if before is None else last - 1
            return [frames.bitget_book(symbol, last, *levels, previous=previous)]
        if venue == "deribit":
            previous = None if before is None else last - 1
            return [frames.deribit_book(symbol, last, *levels, previous=previous)]
        if venue == "lighter":
            previous = None if before is None else last - 1
            return [frames.lighter_book(symbol, last, *levels, previous=previous)]
        if venue == "bitfinex":
            rows = frames.bitfinex_levels(*levels)
            opens = [frames.bitfinex_opens(7, symbol, "book")] if before is None else []
            if before is None:
                return [*opens, frames.bitfinex_tells(7, last, rows)]
            numbered = [frames.bitfinex_tells(7, n, row) for n, row in enumerate(rows, last)]
            last += len(rows) - 1
            return numbered
        if venue == "htx":
            event = "snapshot" if before is None else "update"
            return [frames.htx_book(symbol, last, *levels, event=event)]
        if venue == "kraken":
            if before is None:
                return [frames.kraken_book(symbol, last, *levels)]
            changes = frames.kraken_changes(symbol, last, *levels)
            last += len(changes) - 1
            return changes
        if venue == "gate":
            return [frames.gate_book(symbol, last, *levels, first=None if before is None else last)]
        return [frames.change(symbol, last, last, *levels)]

    if venue == "binance":
        played.hear(frames.change(symbol, last, last))
        played.fetch(symbol, frames.snapshot(last, *(list(s.items()) for s in book(100.0))))
    else:
        played.hear(*tell(100.0, None))
    played.tick(5)
    mid = 100.0
    for second in range(seconds + 300):
        before, last = mid, last + 1
        mid = round(100 * (1 - percent / 100 * min(1, (second + 1) / seconds)), 1)
        played.hear(*tell(mid, before))
        depth = played.tick()[-1]
        assert isinstance(depth, Depth)
        assert depth.mid == pytest.approx(mid)
        assert depth.bands[-1].covered
        assert depth.bands[-1].bid_usd > 0
    assert turns(played.done) == [f"+depth {symbol}"]


def test_a_book_that_stands_still_among_live_ones_is_subscribed_and_asked_for() -> None:
    played = Played("binance", "book-1", "BTC", "ETH")
    played.open()
    played.live_book("BTCUSDT", 10)
    played.live_book("ETHUSDT", 10)
    alive = frames.change("BTCUSDT", 10, 10)
    assert turns(played.tick(59, alive)) == []
    actions = played.tick(1, alive) + played.tick(1, alive)
    assert turns(actions) == ["-depth ETHUSDT"]
    assert reasons(actions) == ["book: silent"]
    assert sent(actions) == [{"method": "SUBSCRIBE", "params": ["ethusdt@depth@500ms"], "id": 1}]
    assert fetches(actions) == ["ETHUSDT"]
    played.fetch("ETHUSDT", frames.snapshot(30))
    actions = played.tick(50, alive)  # no stream, so the snapshot alone proves nothing
    assert set(depths(actions)) == {"BTCUSDT"}
    assert fetches(actions) == []
    played.hear(frames.change("ETHUSDT", 30, 31))
    assert turns(played.tick(1, alive)) == ["+depth ETHUSDT"]


def test_a_book_whose_stream_never_began_is_subscribed_again_each_minute() -> None:
    played = Played("hyperliquid", "book-1", "BTC", "ETH")
    played.open()
    actions = played.tick(185, frames.coin_book("BTC"))
    again = [m["subscription"]["coin"] for m in sent(actions) if m["method"] == "subscribe"]
    assert again == ["ETH", "ETH", "ETH"]
    assert turns(played.tick(1, frames.coin_book("ETH"))) == ["+depth ETH"]


def test_narrow_bands_out_of_reach_are_asked_for_once_a_minute() -> None:
    """A snapshot of 1000 levels that ends 2 bp away."""
    played = Played("binance", "book-1", "BTC")
    played.open()
    bids = [(99.99 - n / 100_000, 1.0) for n in range(1000)]
    asks = [(100.01 + n / 100_000, 1.0) for n in range(1000)]
    played.hear(frames.change("BTCUSDT", 10, 10))
    played.fetch("BTCUSDT", frames.snapshot(10, bids, asks))
    asked = [n for n in range(125) if fetches(played.tick(1, frames.change("BTCUSDT", 10, 10)))]
    assert len(asked) == 2
    assert all(later - earlier >= 60 for earlier, later in pairwise(asked))
    assert turns(played.done) == ["+depth BTCUSDT"]  # what is known stays known meanwhile
    depth = played.done[-1]
    assert isinstance(depth, Depth)
    assert not depth.bands[0].covered


def test_a_snapshot_asked_for_on_the_connection_before_does_no_harm() -> None:
    played = Played("binance", "book-1", "BTC")
    played.open()
    assert fetches(played.hear(frames.change("BTCUSDT", 10, 10))) == ["BTCUSDT"]
    played.close()
    assert played.fetch("BTCUSDT", frames.snapshot(9)) == []
    played.open()
    assert played.fetch("BTCUSDT", frames.snapshot(10)) == []  # before the stream began
    assert played.tick() == []
    played.hear(frames.change("BTCUSDT", 500, 510))  # what came between is lost
    assert played.tick() == []
    assert fetches(played.tick(11, frames.change("BTCUSDT", 511, 511))) == ["BTCUSDT"]
    played.fetch("BTCUSDT", frames.snapshot(511))
    assert turns(played.tick()) == ["+depth BTCUSDT"]


def test_books_start_empty_on_every_connection() -> None:
    played = Played("binance", "book-1", "BTC")
    played.open()
    played.live_book("BTCUSDT", 10)
    assert turns(played.close()) == ["-depth BTCUSDT"]
    assert played.session.books() == (0, 0)
    played.open()
    assert played.tick(5) == []
    assert fetches(played.hear(frames.change("BTCUSDT", 11, 11))) == ["BTCUSDT"]


def test_a_book_of_what_is_no_longer_listed_says_nothing() -> None:
    played = Played("binance", "book-1", "BTC", "ETH")
    played.open()
    played.live_book("BTCUSDT", 10)
    played.session.listing = frames.listing_of("binance", "ETH")
    played.tick(5)
    assert played.hear(frames.change("BTCUSDT", 11, 11)) == []
    assert notes(played.fetch("BTCUSDT", frames.snapshot(11))) == ["snapshot dropped"]


# ── books: Bybit and Hyperliquid ────────────────────────────────────────


def test_bybit_starts_a_book_anew_by_subscribing_anew() -> None:
    played = Played("bybit", "book-1", "BTC", "ETH")
    played.open()
    assert played.tick(5) == []  # snapshots come by themselves
    played.hear(frames.bybit_book("BTCUSDT", 5), frames.bybit_book("ETHUSDT", 8))
    assert turns(played.tick()) == ["+depth BTCUSDT", "+depth ETHUSDT"]
    actions = played.hear(frames.bybit_book("BTCUSDT", 9, *NARROW, delta=True))
    assert turns(actions) == ["-depth BTCUSDT"]
    topic = ["orderbook.1000.BTCUSDT"]
    assert sent(actions) == [
        {"op": "unsubscribe", "args": topic},
        {"op": "subscribe", "args": topic},
    ]
    assert played.hear(frames.bybit_book("BTCUSDT", 10, *NARROW, delta=True)) == []
    assert depths(played.tick()) == ["ETHUSDT"]
    played.hear(frames.bybit_book("BTCUSDT", 20))
    played.hear(frames.bybit_book("BTCUSDT", 21, *NARROW, delta=True))
    actions = played.tick()
    assert turns(actions) == ["+depth BTCUSDT"]
    assert depths(actions) == ["BTCUSDT", "ETHUSDT"]


def test_a_new_snapshot_of_bybit_is_no_gap() -> None:
    played = Played("bybit", "book-1", "BTC")
    played.open()
    played.hear(frames.bybit_book("BTCUSDT", 5))
    played.tick()
    assert played.hear(frames.bybit_book("BTCUSDT", 1, delta=True)) == []  # u == 1: a restart
    assert played.hear(frames.bybit_book("BTCUSDT", 2, *NARROW, delta=True)) == []
    assert turns(played.tick()) == []


def test_okx_starts_a_book_anew_by_subscribing_anew() -> None:
    played = Played("okx", "book-1", "BTC", "ETH")
    played.open()
    btc, eth = "BTC-USDT-SWAP", "ETH-USDT-SWAP"
    played.hear(frames.okx_book(btc, 50), frames.okx_book(eth, 80))
    assert turns(played.tick()) == [f"+depth {btc}", f"+depth {eth}"]
    actions = played.hear(frames.okx_book(btc, 59, *NARROW, previous=57))
    assert turns(actions) == [f"-depth {btc}"]
    topic = [{"channel": "books", "instId": btc}]
    assert sent(actions) == [
        {"op": "unsubscribe", "args": topic},
        {"op": "subscribe", "args": topic},
    ]
    assert played.hear(frames.okx_book(btc, 61, *NARROW, previous=59)) == []
    assert depths(played.tick()) == [eth]
    played.hear(frames.okx_book(btc, 70), frames.okx_book(btc, 71, *NARROW, previous=70))
    assert turns(played.tick()) == [f"+depth {btc}"]
    assert played.session.stats.gaps == 1


def test_okx_begins_to_count_anew_and_says_that_a_book_is_alive() -> None:
    """After maintenance the new id is lower; every minute one comes that changes nothing."""
    played = Played("okx", "book-1", "BTC")
    played.open()
    btc = "BTC-USDT-SWAP"
    played.hear(frames.okx_book(btc, 1_000))
    played.tick(12)
    alive = frames.okx_book(btc, 1_000, [], [], previous=1_000)
    assert played.hear(alive, frames.okx_book(btc, 7, *NARROW, previous=1_000)) == []
    assert played.hear(frames.okx_book(btc, 9, [(99.95, 3.0)], [], previous=7)) == []
    depth = played.tick()[-1]
    assert isinstance(depth, Depth)
    assert depth.bands[0].bid_usd > 99.95 * 3
    assert (played.session.stats.gaps, played.session.stats.duplicates) == (0, 0)


def test_okx_begins_to_count_anew_while_a_book_with_an_empty_side_is_asked_for() -> None:
    played = Played("okx", "book-1", "BTC")
    played.open()
    btc = "BTC-USDT-SWAP"
    played.hear(frames.okx_book(btc, 1_000, frames.BIDS, []))
    played.tick(70, frames.okx_book(btc, 1_000, [], [], previous=1_000))
    assert [m for m in sent(played.done) if m != b"ping"][-1]["op"] == "subscribe"
    played.hear(frames.okx_book(btc, 7, [], frames.ASKS, previous=1_000))
    played.hear(frames.okx_book(btc, 9, [(99.95, 3.0)], [], previous=7))
    assert turns(played.tick()) == [f"+depth {btc}"]
    assert (played.session.stats.gaps, played.session.stats.duplicates) == (0, 0)


def test_hyperliquid_needs_no_resync() -> None:
    played = Played("hyperliquid", "book-1", "BTC", "ETH")
    assert len(sent(played.open())) == 2
    assert played.tick(3) == []
    played.hear(frames.coin_book("BTC"), frames.coin_book("ETH"))
    actions = played.tick(10)
    assert depths(actions) == ["BTC", "ETH"] * 10
    played.hear(frames.coin_book("BTC", [(101.0, 1.0)], [(100.0, 1.0)]))
    actions = played.tick(10)
    assert turns(actions) == ["-depth BTC"]
    assert sent(actions) == [{"method": "ping"}]
    assert fetches(actions) == []
    played.hear(frames.coin_book("BTC"))
    assert turns(played.tick()) == ["+depth BTC"]
    assert played.session.stats.resyncs == 0


@pytest.mark.parametrize(
    ("price", "tick", "covered_bp"),
    [(95_000, 10, 10), (82_000, 10, 10), (70_000, 10, 25), (30_000, 10, 50), (3_500, 1, 50)],
)
def test_hyperliquid_knows_bands_as_far_as_its_twenty_buckets_reach(
    price: int, tick: int, covered_bp: int
) -> None:
    """25 bp of BTC between 80,000 and 100,000 are more than 20 buckets of $10."""
    played = Played("hyperliquid", "book-1", "BTC")
    played.open()
    bids = [(float(price - tick * n), 2.0) for n in range(20)]
    asks = [(float(price + tick * n), 2.0) for n in range(1, 21)]
    played.hear(frames.coin_book("BTC", bids, asks))
    depth = played.tick()[-1]
    assert isinstance(depth, Depth)
    assert [b.bp for b in depth.bands if b.covered] == [
        bp for bp in (10, 25, 50, 100) if bp <= covered_bp
    ]
