import asyncio
import gzip
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import aiohttp
import pytest
from websockets.asyncio.client import connect

from bot.demo.playback import Playback
from bot.demo.story import crash
from bot.demo.story.market import START
from streams.contracts import Contracts, Terms
from streams.durations import MINUTE
from streams.events import (
    Event,
    Funding,
    Instrument,
    Kind,
    Liquidation,
    OpenInterest,
    Position,
    Price,
    kind_of,
)
from streams.feed.recording import Recorded, RecordingWriter, read, replay
from streams.venue import BookUpdate, Listing, Poll, Request, Venue, facts
from streams.venues import VENUES


class Levels:
    """A book as simple as can be."""

    def __init__(self) -> None:
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}

    def apply(self, update: BookUpdate) -> None:
        if update.snapshot:
            self.bids, self.asks = {}, {}
        for side, changes in ((self.bids, update.bids), (self.asks, update.asks)):
            side.update(changes)
            for price, size in changes:
                if not size:
                    del side[price]

    def depth(self, bp: int) -> float:
        bid, ask = max(self.bids), min(self.asks)
        assert bid < ask
        mid, half = (bid + ask) / 2, (bid + ask) / 2 * bp / 10_000
        return sum(p * q for p, q in self.bids.items() if p >= mid - half) + sum(
            p * q for p, q in self.asks.items() if p <= mid + half
        )


STORY_VENUES = {name: VENUES[name] for name in ("binance", "bybit", "hyperliquid")}
"""The venues that the story is told by."""


class DecodedStory:
    """The recording, decoded by the adapters."""

    def __init__(self) -> None:
        self.records = list(replay(crash.PATH))
        self.listings = {name: listing(venue, self.records) for name, venue in STORY_VENUES.items()}
        self.events: list[Event] = []
        self.updates: dict[tuple[str, str], list[tuple[Recorded, BookUpdate]]] = defaultdict(list)
        for record in self.records:
            if record.channel.startswith("ws:"):
                self._decode(record)

    def _decode(self, record: Recorded) -> None:
        decoded = VENUES[record.venue].decode(record.frame, self.listings[record.venue], record.t)
        assert decoded, record
        for fact in decoded:
            if isinstance(fact, BookUpdate):
                self.updates[record.venue, fact.symbol].append((record, fact))
            elif not isinstance(fact, Terms):
                assert isinstance(fact, Event), record
                self.events.append(fact)

    def of(self, kind: type[Event], asset: str = "") -> Iterable:
        return (e for e in self.events if type(e) is kind and asset in ("", e.asset))

    def polls(self, name: str) -> list[Poll]:
        instruments = list(self.listings[name].instruments.values())
        return VENUES[name].polls(instruments, frozenset(Kind))


def answer(records: Iterable[Recorded], venue: str, request: Request) -> bytes:
    """The first recorded answer to a request for any window of time."""
    for record in records:
        if record.venue != venue or not record.channel.startswith("http:"):
            continue
        _, path, *body = record.channel.split(" ", 2)
        wanted = json.loads((request.body or b"{}").replace(b"{hour_ago}", b"0"))
        wanted.pop("startTime", None)
        if path == request.path and json.loads(body[0] if body else "{}") == wanted:
            return record.frame
    raise AssertionError(f"{venue} is asked for {request}, which is not in the recording")


def listing(venue: Venue, records: list[Recorded]) -> Listing:
    bodies = []
    for request in venue.listing_requests():
        bodies.append(answer(records, venue.SPEC.name, request))
        assert venue.next_listing_request(request, bodies[-1]) is None
    instruments, order, *_ = venue.instruments(bodies)
    return Listing(instruments={row.symbol: row for row in instruments}, order=order)


@pytest.fixture(scope="module")
def story() -> DecodedStory:
    return DecodedStory()


def test_the_file_is_what_the_generator_makes() -> None:
    file = gzip.decompress(crash.PATH.read_bytes())
    digest = hashlib.sha256(crash.text()).hexdigest()
    assert hashlib.sha256(file).hexdigest() == digest, "run: python -m bot.demo.story.crash"


def test_it_says_first_that_it_was_made_and_stays_small(story: DecodedStory) -> None:
    meta = next(read(crash.PATH))
    assert meta.channel == "meta" and b"not recorded" in meta.frame
    assert crash.PATH.stat().st_size < 3_000_000
    assert len(story.records) < 60_000
    times = [record.t for record in story.records]
    assert times == sorted(times)
    assert times[0] == START and 125 < (times[-1] - START) / MINUTE < 127


def test_the_venues_list_the_story_s_coins(story: DecodedStory) -> None:
    assets = {
        name: [row.asset for row in listed.instruments.values()]
        for name, listed in story.listings.items()
    }
    assert assets["binance"] == ["BTC", "ETH", "SOL", "DOGE", "HYPE", "PEPE"] == assets["bybit"]
    assert assets["hyperliquid"] == ["BTC", "ETH", "SOL", "HYPE"]
    pepe = story.listings["binance"].instruments["1000PEPEUSDT"]
    assert isinstance(pepe, Instrument) and pepe.multiplier == 1000


@pytest.mark.parametrize("name", STORY_VENUES)
def test_every_poll_is_answered_and_brings_facts(story: DecodedStory, name: str) -> None:
    for poll in story.polls(name):
        body = answer(story.records, name, poll.request)
        answers = VENUES[name].decode_poll(poll, body, story.listings[name], START)
        facts = [fact for fact in answers if not isinstance(fact, Terms)]
        assert facts and all(isinstance(fact, Event) for fact in facts), poll


@pytest.mark.parametrize("name", STORY_VENUES)
def test_every_subscription_brings_what_it_promises(story: DecodedStory, name: str) -> None:
    venue, listed = VENUES[name], story.listings[name]
    instruments = list(listed.instruments.values())
    sockets = venue.subscriptions(instruments, venue.SPEC.kinds)
    for socket in sockets:
        path = f"ws:{socket.path.partition('?')[0]}"
        asked = (socket.path + str(socket.messages)).lower()
        brought: set[Kind] = set()
        for record in story.records:
            topic = record.topic.rpartition(":")[2].lower()
            if record.channel != path or record.venue != name or topic not in asked:
                continue
            decoded = venue.decode(record.frame, listed, record.t)
            events, _ = facts(decoded, Contracts())
            brought.update(map(kind_of, events))
            brought.update(Kind.DEPTH for fact in decoded if isinstance(fact, BookUpdate))
            if brought >= socket.kinds:
                break
        assert brought >= socket.kinds, socket.name


@pytest.mark.parametrize("name", STORY_VENUES)
def test_no_feed_is_silent_for_longer_than_its_adapter_allows(
    story: DecodedStory, name: str
) -> None:
    venue, listed = VENUES[name], story.listings[name]
    last: dict[Kind, int] = dict.fromkeys(Kind, START)
    longest: dict[Kind, int] = dict.fromkeys(Kind, 0)
    heard = [(e.seen, kind_of(e)) for e in story.events if e.venue == name]
    for (of, _), updates in story.updates.items():
        heard += [(record.t, Kind.DEPTH) for record, _ in updates if of == name]
    for t, kind in sorted(heard):
        longest[kind] = max(longest[kind], t - last[kind])
        last[kind] = t
    for socket in venue.subscriptions(list(listed.instruments.values()), venue.SPEC.kinds):
        for kind, silence_s in socket.silence_s.items():
            assert longest[kind] / 1000 <= silence_s * 0.7, (kind, longest[kind])


def test_binance_books_continue_whenever_one_connects(story: DecodedStory) -> None:
    """Each snapshot ends with the very next change, where a new subscriber's changes begin."""
    for symbol in story.listings["binance"].instruments:
        path = f"http:GET /fapi/v1/depth?symbol={symbol}&limit=1000"
        waiting, previous, snapshots = None, None, 0
        for record in story.records:
            if record.channel == path:
                body = record.frame
                listed = story.listings["binance"]
                waiting = VENUES["binance"].decode_snapshot(symbol, body, listed)
                snapshots += 1
            elif record.topic == f"{symbol.lower()}@depth@500ms":
                change = json.loads(record.frame)["data"]
                assert previous is None or change["pu"] == previous
                assert change["pu"] < change["U"] <= change["u"]
                assert record.opens == (waiting is not None)
                assert waiting is None or waiting.last == change["u"]
                waiting, previous = None, change["u"]
        assert snapshots == 127


def test_bybit_and_hyperliquid_books_continue(story: DecodedStory) -> None:
    for (venue, symbol), updates in story.updates.items():
        assert updates[0][0].opens
        for (before, update), (after, following) in pairwise(updates):
            assert before.t < after.t
            if venue == "bybit":
                assert following.last == update.last + 1, symbol
                assert after.opens == following.snapshot
            if venue == "hyperliquid":
                assert (
                    after.opens
                    and following.snapshot
                    and len(following.bids) == len(following.asks) == 20
                )


def books(story: DecodedStory, asset: str) -> dict[str, list[tuple[float, float]]]:
    """By venue: minute, and USD within 25 bp. Fails on crossed books."""
    depths: dict[str, list[tuple[float, float]]] = {}
    for (venue, symbol), updates in story.updates.items():
        listed = story.listings[venue].instruments[symbol]
        if listed.asset != asset:
            continue
        book = Levels()
        if venue == "binance":
            path = f"/fapi/v1/depth?symbol={symbol}&limit=1000"
            body = answer(story.records, venue, Request(path=path))
            book.apply(VENUES[venue].decode_snapshot(symbol, body, story.listings[venue]))
            updates = updates[1:]  # the snapshot ends with it
        depths[venue] = []
        for record, update in updates:
            book.apply(update)
            depths[venue].append(((record.t - START) / MINUTE, book.depth(25)))
    return depths


@pytest.mark.parametrize("asset", ["BTC", "PEPE"])
def test_books_lose_at_least_95_percent_for_minutes(story: DecodedStory, asset: str) -> None:
    for venue, depth in books(story, asset).items():
        normal = sorted(usd for minute, usd in depth if minute < 45)
        median = normal[len(normal) // 2]
        assert normal[0] > 0.5 * median, venue
        thin = [minute for minute, usd in depth if usd < 0.05 * median]
        assert 74 < thin[0] < 79 and len(thin) > 12, venue
        assert min(usd for _, usd in depth) > 0
        assert depth[-1][1] > 0.3 * median


def test_prices_fall_as_reported(story: DecodedStory) -> None:
    prices: dict[str, list[float]] = defaultdict(list)
    for event in story.of(Price):
        prices[event.asset].append(event.mark)
    assert 116_500 < prices["BTC"][0] < 118_000
    assert 101_500 < min(prices["BTC"]) < 103_000
    fall = {asset: 1 - min(marks) / marks[0] for asset, marks in prices.items()}
    assert 0.15 < fall["ETH"] < fall["SOL"] < 0.3
    assert all(0.3 < fall[asset] < 0.7 for asset in ("DOGE", "HYPE", "PEPE"))


def test_open_interest_falls_by_a_third(story: DecodedStory) -> None:
    first: dict[tuple[str, str], float] = {}
    last: dict[tuple[str, str], float] = {}
    marks = {(e.venue, e.asset): e.mark for e in reversed(list(story.of(Price)))}
    ends = {(e.venue, e.asset): e.mark for e in story.of(Price)}
    polled = (
        (record.venue, json.loads(record.frame))
        for record in story.records
        if "/openInterest?" in record.channel
    )
    for venue, row in polled:
        listed = story.listings[venue].instruments[row["symbol"]]
        coins = float(row["openInterest"]) * listed.multiplier
        first.setdefault((venue, listed.asset), coins)
        last[venue, listed.asset] = coins
    for event in story.of(OpenInterest):
        first.setdefault((event.venue, event.asset), event.base)
        last[event.venue, event.asset] = event.base
    assert len(first) == 16
    before = sum(coins * marks[key] for key, coins in first.items())
    net = sum(coins * marks[key] for key, coins in last.items()) / before - 1
    usd = sum(coins * ends[key] for key, coins in last.items()) / before - 1
    assert 40e9 < before < 60e9
    assert -0.36 < net < -0.27
    assert -0.40 < usd < -0.30


def test_mostly_longs_are_liquidated_and_mostly_within_a_quarter_of_an_hour(
    story: DecodedStory,
) -> None:
    orders = list(story.of(Liquidation))
    total = sum(order.usd for order in orders)
    assert 3e9 < total < 4e9
    assert sum(o.usd for o in orders if o.position is Position.LONG) > 0.8 * total
    first, last = START + 69 * MINUTE, START + 84 * MINUTE
    assert sum(o.usd for o in orders if first <= o.seen <= last) > 0.6 * total
    assert sum(o.usd for o in orders if o.seen < START + 48 * MINUTE) < 0.01 * total
    seconds = [(o.symbol, o.at // 1000) for o in orders if o.venue == "binance"]
    assert len(seconds) - len(set(seconds)) == 0, "Binance tells one order a symbol and second"


def test_ten_minutes_of_bitcoin_liquidations_pass_40_then_120_million(story: DecodedStory) -> None:
    orders = [(o.seen, o.usd) for o in story.of(Liquidation, "BTC")]

    def passed(limit: float) -> int:
        return next(
            m
            for m in range(126)
            if sum(usd for t, usd in orders if 0 <= START + m * MINUTE - t < 10 * MINUTE) > limit
        )

    assert 52 < passed(40e6) < 66
    assert 70 < passed(120e6) < 75


def test_funding_turns_negative_and_is_settled_so_at_22_00(story: DecodedStory) -> None:
    for asset in ("BTC", "ETH", "SOL", "HYPE"):
        rates = [e for e in story.of(Funding, asset) if not e.settled]
        assert all(e.rate > 0 for e in rates if e.seen < START + 45 * MINUTE)
        assert all(e.rate < 0 for e in rates if e.seen > START + 90 * MINUTE)
    poll = next(p for p in story.polls("hyperliquid") if p.request.symbol == "BTC")
    settled = []
    for record in story.records:
        if record.channel == 'http:POST /info {"type":"fundingHistory","coin":"BTC"}':
            listed = story.listings["hyperliquid"]
            events = VENUES["hyperliquid"].decode_poll(poll, record.frame, listed, record.t)
            rates = [e for e in events if isinstance(e, Funding)]
            settled += [((e.at - START) // 3_600_000, e.rate > 0) for e in rates]
    assert settled == [(0, True), (1, True), (2, False)]


async def test_playback_gives_a_whole_binance_book_whenever_one_connects(
    story: DecodedStory, tmp_path: Path
) -> None:
    topic, path = "btcusdt@depth@500ms", "/fapi/v1/depth?symbol=BTCUSDT&limit=1000"
    with RecordingWriter(tmp_path / "part.jsonl.gz") as writer:
        for record in story.records:
            is_book = record.topic == topic or record.channel == f"http:GET {path}"
            if is_book and record.t < START + 5 * MINUTE:
                writer.write(record)
    async with (
        Playback(tmp_path / "part.jsonl.gz", speed=600) as playback,
        aiohttp.ClientSession() as http,
    ):
        ws_base, rest_base = playback.urls("binance")

        async def follow(after_s: float) -> int:
            await playback.sleep(after_s)
            async with connect(ws_base + "/public/stream") as socket:
                ask = {"method": "SUBSCRIBE", "params": [topic], "id": 1}
                await socket.send(json.dumps(ask))
                await socket.recv()
                async with http.get(rest_base + path) as reply:
                    last = (await reply.json())["lastUpdateId"]
                snapshot_id, applied = last, 0
                while True:
                    try:
                        async with asyncio.timeout(0.3):
                            change = json.loads(await socket.recv())["data"]
                    except TimeoutError:
                        if playback.finished.is_set():
                            return applied
                        continue
                    if change["u"] < snapshot_id:
                        continue
                    if applied == 0:
                        assert change["U"] <= snapshot_id <= change["u"]
                    else:
                        assert change["pu"] == last
                    last, applied = change["u"], applied + 1

        clients = [asyncio.create_task(follow(after)) for after in (0, 1, 59, 60, 61, 130, 185.5)]
        await asyncio.sleep(0.1)
        playback.start()
        applied = await asyncio.gather(*clients)
        assert applied[0] == 60
        assert all(count > 5 for count in applied)
