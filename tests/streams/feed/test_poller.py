"""Polls at their times, what their failures cost, and the queue of book snapshots."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from structlog.testing import capture_logs

from streams.contracts import Terms
from streams.durations import HOUR
from streams.events import AnyEvent, FeedState, Funding, Instrument, Kind, OpenInterest
from streams.feed.poller import Poller, SnapshotQueue, TakeSnapshot, next_due
from streams.feed.recording import request_channel
from streams.feed.rest import Rest, Unavailable
from streams.venue import Decoded, Listing, Malformed, Poll, Request
from streams.venues import VENUES
from tests.streams.virtual import EPOCH, Clock, ended, virtual

Answer = Callable[[Request], bytes | Exception | float]
"""A body, a failure, or how long to hang before it fails."""


class FakeRest:
    """Stands for Rest: answers by function, remembers when it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.clock = Clock()
        self.asked: list[tuple[int, Request]] = []
        self.paused_s = 0.0
        self.doubts = 0

    async def ask(self, request: Request, spare: bool = False) -> bytes:
        self.asked.append((self.clock.now(), request))
        answer = self.answer(request)
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            raise Unavailable("it did not answer in time")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def doubt(self) -> None:
        self.doubts += 1

    def times(self, symbol: str) -> list[int]:
        return [at for at, request in self.asked if request.symbol == symbol]


class FakeVenue:
    """A venue whose polls bring open interest: the body is the number of coins."""

    SPEC = VENUES["binance"].SPEC

    def __init__(self, polls: Sequence[Poll]) -> None:
        self._polls = list(polls)

    def polls(self, instruments: Sequence[Instrument], kinds: frozenset[Kind]) -> list[Poll]:
        return self._polls

    def decode_poll(self, poll: Poll, body: bytes, listing: Listing, seen: int) -> list[Decoded]:
        if body == b"nothing":
            return []
        if not body.isdigit():
            raise Malformed(f"not a number: {body!r}")
        symbol = poll.request.symbol
        about = {"venue": "binance", "symbol": symbol, "asset": symbol, "at": seen, "seen": seen}
        if body == b"2":
            return [Funding(**about, rate=0.1, hours=1, settled=False)]
        if poll.kind is Kind.FUNDING:
            about["at"], hours = (int(body), 8) if len(body) == 13 else (seen, 1)
            before = Terms(symbol=symbol, settled_before=about["at"] - hours * HOUR)
            return [before, Funding(**about, rate=0.1, hours=1, settled=True)]
        return [OpenInterest(**about, base=float(body))]


def poll(symbol: str, every_s: float = 15.0, offset_s: float = 0.0, **more: object) -> Poll:
    request = Request(path=f"/oi?{symbol}", symbol=symbol)
    more = {"kind": Kind.OPEN_INTEREST, "request": request} | more
    return Poll(every_s=every_s, offset_s=offset_s, **more)  # type: ignore[arg-type]


class Polling:
    """A poller at work on ``polls``."""

    def __init__(self, polls: Sequence[Poll], answer: Answer) -> None:
        self.rest = FakeRest(answer)
        self.events: list[AnyEvent] = []
        self.tapped: list[tuple[Request, bytes]] = []
        self.unreadable: list[str] = []
        self.poller = Poller(
            FakeVenue(polls),  # type: ignore[arg-type]
            self.rest,  # type: ignore[arg-type]
            Listing(instruments={}),
            [],
            self.events.append,
            Clock(),
            lambda request, body: self.tapped.append((request, body)),
            self.unreadable.extend,
        )

    async def go(self, seconds: float) -> None:
        task = asyncio.create_task(self.poller.run())
        await asyncio.sleep(seconds)
        await ended(task)

    def seen(self) -> int:
        return self.rest.clock.seen()

    def states(self) -> list[tuple[str, bool, str]]:
        return [(s.symbol, s.up, s.reason) for s in self.events if isinstance(s, FeedState)]


@virtual
async def test_polls_are_asked_at_their_offsets_and_once_at_start() -> None:
    polls = [poll("A", 15, 0), poll("B", 60, 1.3333), poll("C", 3600, 20, at_start=False)]
    polling = Polling(polls, lambda _: b"1")
    await asyncio.sleep(7)
    await polling.go(125)
    assert polling.rest.times("A") == [7_000, *range(15_000, 132_000, 15_000)]
    assert polling.rest.times("B") == [7_000, 61_333, 121_333]
    assert polling.rest.times("C") == [20_000]


@pytest.mark.parametrize("name", sorted(VENUES))
def test_due_times_of_every_venue_never_stand_still(name: str) -> None:
    known = [Instrument(venue=name, symbol=str(n), asset=str(n), quote="USDT") for n in range(37)]
    for poll in VENUES[name].polls(known, VENUES[name].SPEC.kinds):
        due = next_due(poll, EPOCH)
        assert due > EPOCH
        assert next_due(poll, due) == due + poll.every_s * 1000  # right on time, not asked twice
        assert next_due(poll, due - 1) == due


@virtual
async def test_the_hour_before_is_filled_in_and_so_recorded() -> None:
    body = b'{"type":"fundingHistory","coin":"BTC","startTime":{hour_ago}}'
    request = Request(path="/info?since={hour_ago}&until={now}", body=body, symbol="BTC")
    polling = Polling([poll("BTC", request=request, kind=Kind.FUNDING)], lambda _: b"1")
    await polling.go(0.5)
    stamp = str(EPOCH - 3_600_000)
    (_, asked), (tapped, answer) = polling.rest.asked[0], polling.tapped[0]
    assert asked == tapped
    assert asked.path == f"/info?since={stamp}&until={EPOCH}"
    assert asked.body == body.replace(b"{hour_ago}", stamp.encode())
    assert request_channel(tapped).endswith(f'"startTime":{stamp}}}')
    assert answer == b"1"


@virtual
async def test_up_with_data_and_down_after_three_failures_in_a_row() -> None:
    bad = Unavailable("it answered HTTP 500")
    answers: list[bytes | Exception] = [
        b"nothing", b"5", bad, bad, b"6", bad, bad, b"nonsense", bad, bad, b"7",
    ]  # fmt: skip
    polling = Polling([poll("A")], lambda _: answers.pop(0) if answers else b"8")
    with capture_logs() as logs:
        await polling.go(30)
        assert polling.states() == [("A", True, "")]  # an answer without data is not up
        await polling.go(15 * 9)
    assert [(up, reason) for _, up, reason in polling.states()] == [
        (True, ""),
        (False, "an answer could not be read: not a number: b'nonsense'"),
        (True, ""),
    ]
    assert isinstance(polling.events[0], FeedState)  # before the first data
    assert polling.poller.dropped == 1
    assert [entry["event"] for entry in logs] == [
        "Binance did not answer a poll: it answered HTTP 500",
        "Binance did not answer a poll: an answer could not be read: not a number: b'nonsense'",
    ]


@virtual
async def test_one_that_fails_or_hangs_does_not_stop_the_others() -> None:
    def answer(request: Request) -> bytes | Exception | float:
        match request.symbol:
            case "BAD":
                return Unavailable("it answered HTTP 400")
            case "SLOW":
                return 50.0
            case _:
                return b"1"

    symbols = ["BAD", "SLOW", *map(str, range(30))]
    polling = Polling([poll(symbol, 15, place / 4) for place, symbol in enumerate(symbols)], answer)
    await polling.go(119)
    assert {symbol for symbol, up, _ in polling.states() if up} == set(map(str, range(30)))
    for symbol in map(str, range(30)):
        assert len(polling.rest.times(symbol)) == 9
    assert polling.rest.times("SLOW") == [0, 60_250]  # not again before it has failed
    assert len(polling.rest.times("BAD")) == 8


@virtual
async def test_settled_funding_says_nothing_of_the_feed() -> None:
    polling = Polling([poll("A", kind=Kind.FUNDING)], lambda _: b"1")
    await polling.go(50)
    assert len(polling.events) == 4
    assert polling.states() == []


@virtual
@pytest.mark.parametrize("late_s", [0, 10, 100])
async def test_a_settlement_that_is_not_there_yet_is_asked_for_again(late_s: int) -> None:
    eight = EPOCH // (8 * HOUR) * 8 * HOUR + 8 * HOUR
    there = eight + 20_000 + late_s * 1000

    def answer(_: Request) -> bytes:
        at = eight if polling.seen() >= there else eight - 8 * HOUR
        return str(at + 2).encode()

    polling = Polling([poll("", 3600, 20, kind=Kind.FUNDING, at_start=False)], answer)
    await asyncio.sleep((eight - 60_000 - polling.seen()) / 1000)
    await polling.go(60 + 20 + 300)
    settlements = [(e.at - 2, e.seen) for e in polling.events if isinstance(e, Funding)]
    assert settlements[-1][0] == eight
    assert settlements[-1][1] - there <= min(3_000 + late_s * 1000, 30_000)
    assert len(polling.rest.asked) <= 8


@virtual
async def test_a_settlement_that_never_comes_is_asked_for_eleven_times_more_an_hour() -> None:
    failing = Unavailable("it answered HTTP 500")
    for answer in (lambda _: b"nothing", lambda _: failing):
        polling = Polling([poll("A", 3600, 20, kind=Kind.FUNDING, at_start=False)], answer)
        await asyncio.sleep(3600 - polling.seen() / 1000 % 3600)
        await polling.go(3600)
        assert len(polling.rest.asked) == 12


@virtual
async def test_an_interval_that_became_shorter_owes_the_next_settlement_sooner() -> None:
    eight = EPOCH // (8 * HOUR) * 8 * HOUR + 8 * HOUR
    polling = Polling(
        [poll("A", 3600, 20, kind=Kind.FUNDING, at_start=False)],
        lambda _: str(eight).encode(),  # the row of nine does not come
    )
    polling.poller.listing.contracts.take(Terms(symbol="A", funding_hours=1))
    await asyncio.sleep((eight - polling.seen()) / 1000)
    await polling.go(3600 + 300)
    assert len(polling.rest.asked) == 1 + 12


@virtual
async def test_down_says_once_what_was_up() -> None:
    polling = Polling([poll("A"), poll("B")], lambda r: b"1" if r.symbol == "A" else b"nothing")
    await polling.go(20)
    polling.events.clear()
    polling.poller.down("stopped")
    polling.poller.down("stopped")
    assert polling.states() == [("A", False, "stopped")]


@virtual
async def test_without_polls_a_poller_only_waits() -> None:
    polling = Polling([], lambda _: b"")
    await polling.go(10)
    assert (polling.rest.asked, polling.events) == ([], [])


class Snapshots:
    """A snapshot queue at work."""

    def __init__(self, answer: Answer) -> None:
        self.rest = FakeRest(answer)
        self.tapped: list[str] = []
        self.queue = SnapshotQueue(
            self.rest,  # type: ignore[arg-type]
            lambda request, _: self.tapped.append(request.symbol),
            self.rest.clock.now,
        )
        self.taken: list[str] = []

    def add(self, *symbols: str, lost: bool = True) -> None:
        for symbol in symbols:
            self.add_for(symbol, self.take, lost)

    def add_for(self, symbol: str, take: TakeSnapshot, lost: bool = True) -> None:
        self.queue.add(Request(path="/depth", symbol=symbol), take, lost)

    def take(self, symbol: str, body: bytes) -> None:
        self.taken.append(symbol)


@virtual
async def test_snapshots_come_in_order_of_rank_once_each() -> None:
    snapshots = Snapshots(lambda _: b"book")
    snapshots.queue.rank = {"BTC": 0, "ETH": 1, "SOL": 2, "DOGE": 3}
    task = asyncio.create_task(snapshots.queue.run())
    await asyncio.sleep(1)
    snapshots.add("?", "DOGE", "SOL", "ETH", "BTC", "DOGE", "SOL")
    await asyncio.sleep(1)
    assert snapshots.taken == snapshots.tapped == ["BTC", "ETH", "SOL", "DOGE", "?"]
    snapshots.add("SOL")
    await asyncio.sleep(1)
    assert snapshots.taken[5:] == ["SOL"]
    await ended(task)


@virtual
async def test_books_that_are_always_wanted_share_what_the_venue_allows() -> None:
    """Sixty books that ask again with each answer, and one more that asks once in a while."""
    budget = asyncio.Semaphore(0)

    async def answer(request: Request, spare: bool = False) -> bytes:
        await budget.acquire()
        return b"book"

    snapshots = Snapshots(lambda _: b"book")
    snapshots.rest.ask = answer  # type: ignore[method-assign]
    names = [f"C{place}" for place in range(60)]
    snapshots.queue.rank = {name: place for place, name in enumerate(names)}

    def take(symbol: str, body: bytes) -> None:
        snapshots.taken.append(symbol)
        snapshots.add_for(symbol, take, lost=False)

    task = asyncio.create_task(snapshots.queue.run())
    await asyncio.sleep(0.1)
    for name in reversed(names):
        snapshots.add_for(name, take, lost=False)
    for _ in range(600):
        budget.release()
        await asyncio.sleep(0.01)
    times = [snapshots.taken.count(name) for name in names]
    assert set(snapshots.taken) == set(names)
    assert times == sorted(times, reverse=True)
    assert 2 * times[3] < times[0] < 100
    assert 2 * times[29] < times[9]
    first = [snapshots.taken.index(name) for name in names]
    assert first == sorted(first)
    snapshots.taken.clear()
    snapshots.add("late", lost=False)  # of no rank: behind all others, once
    for _ in range(400):
        budget.release()
        await asyncio.sleep(0.01)
    assert "late" in snapshots.taken
    await ended(task)


@virtual
async def test_two_sessions_that_want_one_book_both_get_it() -> None:
    snapshots = Snapshots(lambda _: b"book")
    others: list[str] = []
    snapshots.add("BTC")
    snapshots.add_for("BTC", lambda s, _: others.append(s))
    # run() forgets what waited before it
    task = asyncio.create_task(snapshots.queue.run())
    await asyncio.sleep(0.1)
    assert (snapshots.taken, others) == ([], [])
    snapshots.add("BTC")
    snapshots.add_for("BTC", lambda s, _: others.append(s))
    await asyncio.sleep(0.1)
    assert (snapshots.taken, others) == (["BTC"], ["BTC"])
    assert len(snapshots.rest.asked) == 1
    await ended(task)


@virtual
async def test_who_is_not_content_with_a_snapshot_may_ask_again_at_once() -> None:
    snapshots = Snapshots(lambda _: b"book")
    wanted = 3

    def take(symbol: str, body: bytes) -> None:
        nonlocal wanted
        wanted -= 1
        if wanted:
            snapshots.add_for(symbol, take)

    task = asyncio.create_task(snapshots.queue.run())
    snapshots.add_for("BTC", take)
    await asyncio.sleep(0.1)
    snapshots.add_for("BTC", take)
    await asyncio.sleep(0.1)
    assert wanted == 0
    await ended(task)


@virtual
async def test_a_snapshot_that_hangs_or_fails_does_not_hold_up_the_others() -> None:
    def answer(request: Request) -> bytes | Exception | float:
        bad = {"SLOW": 20.0, "BAD": Unavailable("it answered HTTP 400")}
        return bad.get(request.symbol, b"book")

    snapshots = Snapshots(answer)
    snapshots.queue.rank = {"SLOW": 0, "BAD": 1}
    task = asyncio.create_task(snapshots.queue.run())
    await asyncio.sleep(0.1)
    with capture_logs() as logs:
        for _ in range(5):
            snapshots.add("SLOW", "BAD", *map(str, range(10)))
            await asyncio.sleep(10)
    assert sorted(snapshots.taken) == sorted([*map(str, range(10))] * 5)
    assert [entry["reason"] for entry in logs] == [
        "it answered HTTP 400",
        "it did not answer in time",
    ]
    await ended(task)


@virtual
async def test_no_snapshot_is_tried_while_the_venue_wants_a_pause() -> None:
    snapshots = Snapshots(lambda _: b"book")
    task = asyncio.create_task(snapshots.queue.run())
    snapshots.rest.paused_s = 500.0
    await asyncio.sleep(0.1)
    snapshots.add("BTC")
    await asyncio.sleep(30)
    assert snapshots.rest.asked == []
    snapshots.rest.paused_s = 0.0
    await asyncio.sleep(1.1)
    assert snapshots.taken == ["BTC"]
    await ended(task)


class Budgeted(Rest):
    """Asks within Binance's budget; each answer takes ``answers_in_s``."""

    def __init__(self, answers_in_s: float) -> None:
        self.clock = Clock()
        self.sent: list[tuple[int, Request]] = []
        self._answers_in_s = answers_in_s
        super().__init__(FakeVenue.SPEC, "", self.clock.now, self.clock.sleep)

    async def _asked(self, request: Request, apart: bool) -> bytes:
        self.sent.append((self.clock.seen(), request))
        await asyncio.sleep(self._answers_in_s)
        return b"1"


@virtual
@pytest.mark.parametrize(
    ("count", "answers_in_s", "served_in_s"), [(300, 0.4, 360), (300, 1.5, 360), (500, 0.4, 720)]
)
async def test_open_interest_is_on_time_while_all_books_are_lost_at_once(
    count: int, answers_in_s: float, served_in_s: int
) -> None:
    names = [f"C{place}" for place in range(count)]
    polls = VENUES["binance"].polls(
        [Instrument(venue="binance", symbol=name, asset=name, quote="USDT") for name in names],
        frozenset((Kind.OPEN_INTEREST,)),
    )
    rest = Budgeted(answers_in_s)
    poller = Poller(
        FakeVenue(polls), rest, Listing(instruments={}), [], lambda _: None, rest.clock,
        lambda _request, _body: None, lambda _rows: None,
    )  # type: ignore[arg-type]  # fmt: skip
    queue = SnapshotQueue(rest, lambda _request, _body: None, rest.clock.now)
    queue.rank = {name: place for place, name in enumerate(names)}
    ask_depth = {name: VENUES["binance"].resync(name, None) for name in names}  # type: ignore[arg-type]
    served: dict[str, int] = {}

    def take(symbol: str, body: bytes) -> None:
        """The price runs: whoever has a book wants another one a second later."""
        served.setdefault(symbol, rest.clock.seen())
        asyncio.get_running_loop().call_later(1, queue.add, ask_depth[symbol], take, False)

    async with asyncio.TaskGroup() as tasks:
        working = [tasks.create_task(poller.run()), tasks.create_task(queue.run())]
        await asyncio.sleep(70)  # after the polls of the start
        lost_at = rest.clock.seen()
        for name in reversed(names):
            queue.add(ask_depth[name], take, True)  # type: ignore[arg-type]
        await asyncio.sleep(served_in_s)
        for task in working:
            task.cancel()

    times: dict[str, list[int]] = {name: [] for name in names}
    for at, request in rest.sent:
        if request.weight == 1:
            times[request.symbol].append(at)
    late_ms = 0
    for asked in polls:
        due = next_due(asked, lost_at)
        sent = iter(times[asked.request.symbol])
        while due < lost_at + served_in_s * 1000 - 15_000:
            late_ms = max(late_ms, next(at for at in sent if at >= due) - due)
            due = next_due(asked, due)
    assert late_ms <= 250
    assert len(served) == count
    assert max(served.values()) - lost_at <= served_in_s * 1000
    depths = [request.symbol for _, request in rest.sent if request.weight == 20]
    assert [*dict.fromkeys(depths)] == names  # the largest first
    within, began = 0, 0
    for at, request in rest.sent:
        within += request.weight
        while at - rest.sent[began][0] >= 60_000:
            within -= rest.sent[began][1].weight
            began += 1
        assert within <= 2400


@virtual
async def test_lost_books_and_followed_ones_share_and_no_lost_one_waits_for_another_twice() -> None:
    snapshots = Snapshots(lambda _: b"book")
    names = ["BTC", "ETH", "SOL", "DOGE", "XRP", "ADA"]
    snapshots.queue.rank = {name: place for place, name in enumerate(names)}
    again = {"BTC": 2}

    def take(symbol: str, body: bytes) -> None:
        snapshots.taken.append(symbol)
        if again.get(symbol, 0):
            again[symbol] -= 1
            snapshots.add_for(symbol, take)  # it did not fit

    task = asyncio.create_task(snapshots.queue.run())
    await asyncio.sleep(1)
    snapshots.add_for("ADA", take, lost=False)
    snapshots.add_for("XRP", take, lost=False)
    for name in ("DOGE", "SOL", "ETH", "BTC"):
        snapshots.add_for(name, take)
    snapshots.add_for("ADA", take)  # lost while it waited
    await asyncio.sleep(1)
    assert snapshots.taken == ["BTC", "ETH", "XRP", "SOL", "DOGE", "ADA", "BTC", "BTC"]
    snapshots.taken.clear()
    for name in reversed(names):  # another loss begins anew with the largest
        snapshots.add_for(name, take)
    await asyncio.sleep(1)
    assert snapshots.taken == names
    await ended(task)


@virtual
async def test_estimates_that_are_polled_are_a_feed_and_settlements_alone_are_none() -> None:
    estimates = poll("", 30, kind=Kind.FUNDING)
    polling = Polling([estimates], lambda _: b"2")
    await polling.go(61)
    assert polling.states() == [("*", True, "")]
    assert len(polling.rest.asked) == 3  # nothing is owed, so none is asked for again
    settlements = Polling([estimates], lambda _: b"1")
    await settlements.go(61)
    assert settlements.states() == []


@virtual
async def test_estimates_that_fail_three_times_are_down() -> None:
    answers = [b"2", *[Unavailable("it is away")] * 3, b"2"]
    polling = Polling([poll("", 30, kind=Kind.FUNDING)], lambda _: answers.pop(0))
    await polling.go(60)
    assert polling.states() == [("*", True, ""), ("*", False, "it is away"), ("*", True, "")]
