"""A consumer against a whole venue on loopback: listing, sockets, polls and snapshots."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp import web
from structlog.testing import capture_logs
from websockets.asyncio.server import ServerConnection

from bot.demo.playback import Playback
from streams.events import (
    AnyEvent,
    Depth,
    Fault,
    FeedState,
    Funding,
    Instrument,
    Kind,
    Liquidation,
    MacroPrice,
    OpenInterest,
    Price,
)
from streams.feed import client as clients
from streams.feed.client import VenueClient
from streams.feed.recording import Recorded, encode
from streams.feed.session import Session
from tests.streams import frames
from tests.streams.protocol_server import ProtocolServer
from tests.streams.venue_server import (
    Sockets,
    StandIn,
    at_work,
    listening,
    repeating,
    resting,
    turns,
)
from tests.streams.virtual import EPOCH, Clock, virtual

pytestmark = pytest.mark.usefixtures("no_chance")
_Server = TypeVar("_Server", bound=ProtocolServer)


class Binance:
    """Binance on loopback. ``listed``: its contracts; ``status``: of all answers but 200.

    ``pace``: seconds between two frames of all markets. Hours need no frame each second, since what
    is tested in them goes by listings and polls.
    """

    version = "v1"
    market, books = "/market/stream", "/public/stream"

    def __init__(self, *listed: str) -> None:
        self.listed = list(listed)
        self.hours: dict[str, int] = {}
        self.more_intervals: list[Any] = []
        self.volumes: Any = []
        self.next_funding = frames.NEXT_FUNDING
        self.status = 200
        self.hold: set[str] = set()
        self.asked: list[str] = []
        self.interest: dict[str, str] = {}
        self.ends: dict[str, int] = {}
        self.talked: list[str] | None = None
        self.pace = 1.0

    def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        if self.status != 200:
            return web.Response(status=self.status)
        symbol = request.query.get("symbol", "")
        if symbol in self.hold:
            return web.Response(status=400)
        path = request.path.replace(f"/{self.version}/", "/v1/")
        return web.json_response(self._body(path, symbol))

    def _body(self, path: str, symbol: str) -> Any:
        match path:
            case "/fapi/v1/exchangeInfo":
                rows = [
                    {"symbol": s, "contractType": "PERPETUAL", "status": "TRADING",
                     "baseAsset": s.removesuffix("USDT").removesuffix("USDC"),
                     "quoteAsset": "USDC" if s.endswith("USDC") else "USDT",
                     "deliveryDate": self.ends.get(s, 4133404800000)}
                    for s in self.listed
                ]  # fmt: skip
                return {"symbols": rows}
            case "/fapi/v1/fundingInfo":
                return [
                    {"symbol": s, "fundingIntervalHours": hours} for s, hours in self.hours.items()
                ] + self.more_intervals
            case "/fapi/v1/ticker/24hr":
                return self.volumes
            case "/fapi/v1/fundingRate":
                return []
            case "/fapi/v1/openInterest":
                return {
                    "symbol": symbol, "openInterest": self.interest.get(symbol, "5"), "time": EPOCH
                }  # fmt: skip
            case "/fapi/v1/depth":
                return json.loads(frames.snapshot(_book_id()))
            case _:
                raise AssertionError(path)

    async def talk(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        symbols = self.talked or [*self.listed]
        if connection.request.path.startswith(f"{self.market}?streams="):
            while True:
                marks = frames.marks(*symbols, next_at=self.next_funding)
                for frame in (marks, frames.minis(*symbols)):
                    await connection.send(frame, text=True)
                await asyncio.sleep(self.pace)
        assert connection.request.path == self.books
        sent = _book_id() - 1
        while True:
            last = _book_id()
            for symbol in symbols if last > sent else ():
                await connection.send(frames.change(symbol, sent + 1, last), text=True)
            sent = last
            await asyncio.sleep(self.pace / 2)


def _book_id() -> int:
    """The id of the last change of every book: two a second."""
    return int(asyncio.get_running_loop().time() * 2)


class Listened:
    """A consumer at work and what it said."""

    def __init__(self, client: VenueClient, events: list[AnyEvent], server: Sockets) -> None:
        self.client = client
        self.events = events
        self.server = server
        self.listed: list[int] = []
        self.assets: Sequence[str] = ("BTC", "ETH")

    async def choose(self) -> Sequence[str]:
        return self.assets

    def run(self) -> Any:
        def listed(_: str, instruments: Sequence[Instrument]) -> None:
            self.listed.append(len(instruments))

        return self.client.run(listed, self.choose)

    @property
    def facts(self) -> list[AnyEvent]:
        return [event for event in self.events if not isinstance(event, Fault)]

    @property
    def faults(self) -> list[str]:
        """In words; what is over and was never said is left out."""
        words: list[str] = []
        standing: set[str] = set()
        for event in self.events:
            if isinstance(event, Fault):
                name = f"{event.code} {event.subject}".strip()
                if event.over is not (name in standing):
                    continue
                (standing.discard if event.over else standing.add)(name)
                words.append(f"{name} over" if event.over else name)
        return words

    def of(self, kind: type, symbol: str = "BTCUSDT") -> list[Any]:
        return [e for e in self.events if isinstance(e, kind) and e.symbol == symbol]


@asynccontextmanager
async def listened(
    name: str,
    answer: Callable[[web.Request], web.Response],
    talk: Callable[[ServerConnection], Any],
    **more: Any,
) -> AsyncIterator[Listened]:
    async with resting(answer) as rest, listening(talk) as server:
        events: list[AnyEvent] = []
        spec = {key: more.pop(key) for key in ("socket_life_s",) if key in more}
        client = VenueClient(
            StandIn(name, **spec), server.url + "/", rest, events.append, Clock(), **more
        )
        yield Listened(client, events, server)


@asynccontextmanager
async def at_work_on(
    name: str, server: _Server, watched: Sequence[str]
) -> AsyncIterator[tuple[_Server, Listened]]:
    """A client that watches these assets, at work on the server of one venue's protocol."""
    async with listened(name, server.answer, server.talk) as world:
        server.sockets, world.assets = world.server, watched
        async with at_work(world.run()):
            yield server, world
        assert server.overdone == []


@asynccontextmanager
async def binance(**more: Any) -> AsyncIterator[tuple[Binance, Listened]]:
    venue = Binance("BTCUSDT", "ETHUSDT", "XRPUSDT")
    async with listened("binance", venue.answer, venue.talk, **more) as world:
        yield venue, world


# ── the good days ───────────────────────────────────────────────────────


@virtual
async def test_everything_of_the_wanted_instruments_is_published() -> None:
    async with binance() as (venue, world):
        async with at_work(world.run()):
            await asyncio.sleep(20)
            assert sorted(turns(world.events)) == [
                "+depth BTCUSDT",
                "+depth ETHUSDT",
                "+funding *",
                "+liquidation *",
                "+open_interest BTCUSDT",
                "+open_interest ETHUSDT",
                "+price *",
                "+volume *",
            ]
            assert world.listed == [3]
            assert world.client.instruments == 2
            assert world.client.trouble == ""
            assert all(line.session.ready for line in world.client.sockets)
            for kind in (Funding, Price, OpenInterest, Depth):
                assert len(world.of(kind)) >= 2
                assert world.of(kind, "XRPUSDT") == []
            assert sum("depth" in path for path in venue.asked) == 2
        # cancelled: everything is said to be down, and nothing after that
        down = turns(world.events)[8:]
        assert sorted(down) == sorted(turn.replace("+", "-") for turn in turns(world.events)[:8])
        assert turns(world.events[-8:]) == down
        world.client.silence("again")
        assert len(turns(world.events)) == 16


@virtual
async def test_a_liquidation_feed_without_liquidations_is_repeated_to_be_up() -> None:
    async with binance() as (_, world), at_work(world.run()):
        await asyncio.sleep(130)
        again = [turn for turn in turns(world.events) if "liquidation" in turn]
        assert again == ["+liquidation *"] * 3


@virtual
async def test_only_these_symbols() -> None:
    async with binance(only=frozenset({"ETHUSDT"})) as (_, world), at_work(world.run()):
        await asyncio.sleep(5)
        assert world.of(Price) == []
        assert world.of(Price, "ETHUSDT")
        assert world.client.instruments == 1


@virtual
async def test_what_was_tapped_can_be_played_again(tmp_path: Path) -> None:
    """Requests are recorded as they went out, with their times filled in."""
    order = ("BTC", "ETH")
    coins = {"universe": [{"name": name} for name in order]}
    context = {"openInterest": "5", "markPx": "100"}

    def answer(request: web.Request) -> web.Response:
        return web.json_response([coins, [context, context]] if request._read_bytes == LIST else [])

    async def talk(connection: ServerConnection) -> None:
        await repeating(frames.contexts(2), *map(frames.coin_book, order))(connection)

    tapped: list[Recorded] = []
    async with listened("hyperliquid", answer, talk, tap=tapped.append) as world:
        async with at_work(world.run()):
            await asyncio.sleep(10)
        assert world.of(Depth, "ETH")
    channels = {record.channel for record in tapped}
    assert "ws:/ws" in channels
    assert any('"fundingHistory","coin":"ETH","startTime":17' in channel for channel in channels)
    path = tmp_path / "tapped.jsonl"
    path.write_bytes(b"".join(map(encode, tapped)))
    async with Playback(path):
        pass


LIST = b'{"type":"metaAndAssetCtxs"}'
DEXES = b'{"type":"allPerpMetas"}'


def macro_frame(gold: float, sp500: float) -> bytes:
    def context(mark: float) -> dict[str, str]:
        return {"markPx": str(mark), "midPx": str(mark), "prevDayPx": "1", "dayNtlVlm": "1e6"}

    frame = json.loads(frames.contexts(2))
    frame["data"]["ctxs"].append(["xyz", [context(gold), context(sp500)]])
    return json.dumps(frame).encode()


class OtherDexes:
    """Hyperliquid with a dex beside the main one. ``status``: of the answer that names coins."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.asked = self.opened = 0
        self.names = ["xyz:GOLD", "xyz:SP500"]
        self.prices = 4570.0, 7542.0
        self.mids = {"xyz:GOLD": "4570.5", "xyz:SP500": "7542.5"}

    def answer(self, request: web.Request) -> web.Response:
        if request._read_bytes == LIST:
            context = {"openInterest": "5", "markPx": "100"}
            main = {"universe": [{"name": "BTC"}, {"name": "ETH"}]}
            return web.json_response([main, [context, context]])
        if request._read_bytes != DEXES:
            return web.json_response([])
        self.asked += 1
        universe = [{"name": name} for name in self.names]
        return web.json_response(
            [None, {"universe": universe, "collateralToken": 0}], status=self.status
        )

    async def talk(self, connection: ServerConnection) -> None:
        self.opened += 1
        place = self.opened  # contexts, mids, books
        while True:
            mids = {"channel": "allMids", "data": {"mids": self.mids}}
            brought = macro_frame(*self.prices), json.dumps(mids).encode(), frames.coin_book("BTC")
            await connection.send(brought[place - 1], text=True)
            await asyncio.sleep(1)


@virtual
async def test_prices_of_other_dexes_come_beside_those_of_the_main_one() -> None:
    venue = OtherDexes()
    async with listened("hyperliquid", venue.answer, venue.talk) as world, at_work(world.run()):
        await asyncio.sleep(10)
        gold, sp500 = world.of(MacroPrice, "xyz:GOLD"), world.of(MacroPrice, "xyz:SP500")
        assert (gold[-1].mark, sp500[-1].mark, gold[-1].asset) == (4570, 7542, "GOLD")
        assert world.of(Price, "BTC")
        assert [*world.client.watched] == ["BTC", "ETH", "xyz:GOLD", "xyz:SP500"]
        asked = [json.loads(m)["subscription"] for m in world.server.heard if b"subscribe" in m]
        assert {"type": "allMids", "dex": "xyz"} in asked
        assert world.faults == []
        # its two rows change places at the same length: nothing wrong is told
        venue.prices = venue.prices[::-1]
        world.events.clear()
        await asyncio.sleep(40)
        assert world.of(MacroPrice, "xyz:GOLD") == world.of(MacroPrice, "xyz:SP500") == []
        assert world.of(Price, "BTC")
        # until a listing has them in that order
        venue.names.reverse()
        await asyncio.sleep(40)
        assert {e.mark for e in world.of(MacroPrice, "xyz:GOLD")} == {4570}


@virtual
async def test_without_the_names_of_other_dexes_the_main_one_is_listened_to() -> None:
    venue = OtherDexes(status=500)
    venue.mids = {}
    with capture_logs() as logs:
        async with listened("hyperliquid", venue.answer, venue.talk) as world, at_work(world.run()):
            await asyncio.sleep(30)
            assert world.of(Price, "BTC")
            assert world.facts and not world.of(MacroPrice, "xyz:GOLD")
            assert world.client.trouble == ""
            assert [*world.client.watched] == ["BTC", "ETH"]
    lines = [log["event"] for log in logs if "part of its listing" in log["event"]]
    assert len(lines) == 1 and "HTTP 500" in lines[0]
    assert venue.asked <= 2  # what nobody has named asks for nothing


@virtual
async def test_a_dex_that_vanishes_is_missed_and_the_main_one_goes_on() -> None:
    venue = OtherDexes()
    async with listened("hyperliquid", venue.answer, venue.talk) as world, at_work(world.run()):
        await asyncio.sleep(25)
        venue.names, venue.mids = [], {}
        world.client.ask_relist()
        await asyncio.sleep(60)
        assert world.faults == ["contract_missing xyz:GOLD", "contract_missing xyz:SP500"]
        await asyncio.sleep(660)
        assert [*world.client.watched] == ["BTC", "ETH"]
        # of ETH there never was a book here
        assert {turn for turn in turns(world.events) if turn.startswith("-")} <= {"-depth ETH"}


# ── the listing over time ───────────────────────────────────────────────


@virtual
async def test_new_funding_intervals_are_taken_over_in_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clients, "LISTING_EVERY_S", 60.0)
    async with binance() as (venue, world), at_work(world.run()):
        await asyncio.sleep(5)
        assert world.of(Funding)[-1].hours == 8.0
        venue.hours, venue.next_funding = {"BTCUSDT": 1}, EPOCH + 3_600_000
        venue.listed.append("NEWUSDT")
        await asyncio.sleep(65)
        assert world.of(Funding)[-1].hours == 1.0
        assert len(world.server.opened) == 2  # no socket was opened anew
        assert not [turn for turn in turns(world.events) if turn.startswith("-")]


@virtual
async def test_a_contract_that_one_listing_lacks_stays_and_operators_hear() -> None:
    async with binance() as (venue, world), at_work(world.run()):
        await asyncio.sleep(25)
        venue.listed.remove("ETHUSDT")
        world.client.ask_relist()
        await asyncio.sleep(60)
        assert world.faults[-1] == "contract_missing ETHUSDT"
        assert "ETHUSDT" in world.client.watched
        venue.listed.append("ETHUSDT")
        await asyncio.sleep(31)  # read anew every half minute, not in an hour
        assert world.faults[-1] == "contract_missing ETHUSDT over"
        assert len(world.server.opened) == 2  # nothing was disturbed
        assert not [turn for turn in turns(world.events) if turn.startswith("-")]


@virtual
@pytest.mark.parametrize("volumes", [{"code": -1003, "msg": "Too many requests"}, [5, None]])
async def test_a_listing_without_its_ranking_leaves_every_contract_where_it_was(volumes) -> None:
    async with binance() as (venue, world):
        venue.volumes = [
            {"symbol": symbol, "quoteVolume": volume}
            for symbol, volume in (("BTCUSDC", "2"), ("BTCUSDT", "9"), ("ETHUSDT", "5"))
        ]
        venue.listed.append("BTCUSDC")
        async with at_work(world.run()):
            await asyncio.sleep(25)
            before = [*world.client.watched]
            assert before == ["BTCUSDT", "BTCUSDC", "ETHUSDT"]
            venue.volumes = volumes
            world.client.ask_relist()
            await asyncio.sleep(60)
            assert "rows_unreadable" in world.faults
            assert [*world.client.watched] == before
            assert len(world.server.opened) == 2
            assert not [turn for turn in turns(world.events) if turn.startswith("-")]


@virtual
async def test_a_contract_that_is_gone_for_good_is_watched_again_once_it_is_listed() -> None:
    async with binance() as (venue, world), at_work(world.run()):
        await asyncio.sleep(25)
        venue.listed.remove("ETHUSDT")
        world.client.ask_relist()
        venue.pace = 10.0
        await asyncio.sleep(700)
        assert [*world.client.watched] == ["BTCUSDT"]
        down = [turn for turn in turns(world.events) if turn.startswith("-")]
        assert sorted(down) == ["-depth ETHUSDT", "-open_interest ETHUSDT"]
        assert len(world.server.opened) == 3  # the one of books was replaced
        standing = [e for e in world.events if isinstance(e, Fault)]
        world.events[:] = [e for e in standing if e.subject == "ETHUSDT"]
        venue.listed.append("ETHUSDT")
        await asyncio.sleep(330)
        assert world.faults[-1] == "contract_missing ETHUSDT over"
        assert world.of(OpenInterest, "ETHUSDT") and world.of(Depth, "ETHUSDT")


@pytest.mark.parametrize("listing", [[], ["XRPUSDT"], ["XRPUSDT", "BTCUSDT"]])
def test_a_listing_that_lacks_most_of_it_blinds_nobody(listing: list[str]) -> None:
    @virtual
    async def check() -> None:
        async with binance() as (venue, world), at_work(world.run()):
            world.assets = ("BTC", "ETH", "SOL")
            venue.listed.append("SOLUSDT")
            await asyncio.sleep(25)
            before, venue.listed = venue.listed, listing
            world.client.ask_relist()
            await asyncio.sleep(25)
            venue.talked, venue.pace = before, 10.0
            await asyncio.sleep(2_000)  # more than three times as long as a contract is missed
            empty = "BTCUSDT" not in listing
            assert ("listing_empty" in world.faults) is empty
            assert ("contract_missing ETHUSDT" in world.faults) is not empty
            assert world.client.instruments == 3
            assert not [turn for turn in turns(world.events) if turn.startswith("-")]
            assert world.of(OpenInterest, "ETHUSDT")[-1].seen > EPOCH + 1_900_000
            venue.listed = before
            await asyncio.sleep(31)
            over = "listing_empty over" if empty else "contract_missing ETHUSDT over"
            assert over in world.faults[-4:]

    check()


@virtual
async def test_a_contract_that_is_being_ended_is_not_watched_and_its_zero_is_no_fall() -> None:
    """An empty contract asks for the listing at once; the listing says that it is settled."""
    async with binance() as (venue, world), at_work(world.run()):
        await asyncio.sleep(70)
        held = len(world.of(OpenInterest, "ETHUSDT"))
        assert held
        venue.interest["ETHUSDT"] = "0"
        venue.ends["ETHUSDT"] = EPOCH + 100_000
        await asyncio.sleep(45)
        assert world.faults[-1].startswith("contract_settling ETHUSDT")
        assert [*world.client.watched] == ["BTCUSDT"]
        assert all(event.base for event in world.of(OpenInterest, "ETHUSDT"))
        assert "-open_interest ETHUSDT" in turns(world.events)


@virtual
async def test_one_zero_of_a_contract_that_goes_on_is_left_out() -> None:
    async with binance() as (venue, world), at_work(world.run()):
        await asyncio.sleep(50)
        venue.interest["BTCUSDT"] = "0"
        await asyncio.sleep(20)
        del venue.interest["BTCUSDT"]
        await asyncio.sleep(60)
        assert {event.base for event in world.of(OpenInterest)} == {5.0}
        assert not [turn for turn in turns(world.events) if turn.startswith("-")]


@virtual
async def test_once_a_day_others_may_rank_higher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "CHOOSE_EVERY_S", 100.0)
    async with binance() as (_, world), at_work(world.run()):
        await asyncio.sleep(5)
        world.assets = ("BTC", "XRP")
        world.client.ask_relist()
        await asyncio.sleep(30)
        assert world.client.instruments == 2
        assert "+depth XRPUSDT" not in turns(world.events)
        await asyncio.sleep(90)
        world.client.ask_relist()
        await asyncio.sleep(40)
        assert "-depth ETHUSDT" in turns(world.events)
        assert "+depth XRPUSDT" in turns(world.events)
        opened = len(world.server.opened)
        world.client.ask_relist()
        await asyncio.sleep(130)
        world.client.ask_relist()
        await asyncio.sleep(40)
        assert len(world.server.opened) == opened  # nothing ranks higher: nothing is disturbed


@virtual
async def test_hyperliquid_lists_a_coin_and_nothing_stops() -> None:
    order = ["BTC", "ETH"]
    context = {"openInterest": "5", "markPx": "100"}
    asked = 0

    def answer(request: web.Request) -> web.Response:
        nonlocal asked
        if request._read_bytes != LIST:
            return web.json_response([])
        asked += 1
        return web.json_response(
            [{"universe": [{"name": n} for n in order]}, [context] * len(order)]
        )

    async def talk(connection: ServerConnection) -> None:
        while True:
            await connection.send(frames.contexts(len(order)), text=True)
            for coin in order:
                await connection.send(frames.coin_book(coin), text=True)
            await asyncio.sleep(1)

    async with listened("hyperliquid", answer, talk) as world, at_work(world.run()):
        await asyncio.sleep(100)
        before = len(world.of(Price, "ETH"))
        order.insert(0, "NEW")
        await asyncio.sleep(2)
        assert asked == 2  # at once
        await asyncio.sleep(5)
        assert len(world.of(Price, "ETH")) >= before + 5
        assert len(world.server.opened) == 2
        assert not [turn for turn in turns(world.events) if turn.startswith("-")]


@virtual
async def test_a_listing_that_lags_behind_the_sockets_is_not_asked_for_all_the_time() -> None:
    context = {"openInterest": "5", "markPx": "100"}
    asked = 0

    def answer(request: web.Request) -> web.Response:
        nonlocal asked
        asked += request._read_bytes == LIST
        return web.json_response([{"universe": [{"name": "BTC"}]}, [context]])

    talk = repeating(frames.contexts(2), frames.coin_book("BTC"), every_s=0.5)
    async with listened("hyperliquid", answer, talk) as world, at_work(world.run()):
        await asyncio.sleep(119)
        assert 5 <= asked <= 7


@virtual
async def test_where_nothing_wanted_is_listed_nothing_is_opened_until_it_is() -> None:
    async with binance() as (venue, world):
        world.assets = ("SOL",)
        with capture_logs() as logs:
            async with at_work(world.run()):
                await asyncio.sleep(100)
                assert world.server.opened == []
                assert world.facts == []
                assert world.faults == ["listing_empty"]
                venue.listed.append("SOLUSDT")
                await asyncio.sleep(35)
                assert world.of(Price, "SOLUSDT")
                assert world.faults == ["listing_empty", "listing_empty over"]
        assert logs[0]["event"] == "Binance lists nothing of what is to be watched"


# ── losses ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "words", "tries"),
    [
        (500, "it answered HTTP 500", 6),
        (429, "it asked us to slow down (HTTP 429), pausing 60 s", 2),
        (451, "it refuses this address (HTTP 451), most likely for its country", 1),
    ],
)
def test_a_venue_that_cannot_be_listed_is_told_once_and_tried_for_ever(
    status: int, words: str, tries: int
) -> None:
    @virtual
    async def check() -> None:
        async with binance() as (venue, world):
            venue.status = status
            with capture_logs() as logs:
                async with at_work(world.run()):
                    await asyncio.sleep(100)
                    assert len(venue.asked) == tries
                    assert world.client.trouble.startswith(words)
                    assert world.facts == []
                    assert world.faults == ["venue_unreached"]
                    # where the venue asks for patience it is known at once, else after a while
                    fault = next(e for e in world.events if isinstance(e, Fault) and not e.over)
                    assert fault.detail.startswith(words[:40])
                    assert (fault.seen - EPOCH < 5_000) is (status == 451)
                    venue.status = 200
                    await asyncio.sleep(510 if status == 451 else 60)
                    assert world.client.trouble == ""
                    assert world.faults[:2] == ["venue_unreached", "venue_unreached over"]
                    assert world.of(Price)
            assert logs[0]["event"].startswith(f"cannot reach Binance: {words}")
            assert logs[0]["next_try_s"] == {500: 2, 429: 60, 451: 600}[status]
            assert [entry["event"] for entry in logs[1:]] == ["listening to Binance"]

    check()


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("http://127.0.0.1:1", "the connection was refused"),
        ("http://fapi.example.invalid", "its name could not be looked up (no network?)"),
    ],
)
def test_a_venue_that_nobody_finds_is_told_once_and_tried_for_ever(
    rest: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @virtual
    async def check() -> None:
        loop = asyncio.get_running_loop()
        look_up = loop.getaddrinfo

        async def no_name(host: str, *args: Any, **more: Any) -> Any:
            if host.endswith(".invalid"):
                raise socket.gaierror(-2, "Name or service not known")
            return await look_up(host, *args, **more)

        monkeypatch.setattr(loop, "getaddrinfo", no_name)
        async with listening(forever_silent) as server:
            events: list[AnyEvent] = []
            client = VenueClient(StandIn("binance"), server.url + "/", rest, events.append, Clock())
            world = Listened(client, events, server)
            async with at_work(world.run()):
                await asyncio.sleep(300)
                assert client.trouble.startswith(words)
            assert server.opened == []
        assert world.faults == ["venue_unreached"]
        fault = next(e for e in events if isinstance(e, Fault) and not e.over)
        assert fault.detail.startswith(words)

    check()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>", "its listing could not be read: JSON is malformed"),
        (b'{"symbols":{}}', "its listing could not be read: Expected `array`"),
        (b"[" * 100_000, "its listing could not be read: "),
        (b"\xff\xfe", "its listing could not be read: "),
    ],
)
def test_a_listing_that_cannot_be_read(body: bytes, words: str) -> None:
    @virtual
    async def check() -> None:
        answer = web.Response
        async with listened("binance", lambda _: answer(body=body), forever_silent) as world:
            with capture_logs() as logs:
                async with at_work(world.run()):
                    await asyncio.sleep(1)
                    assert world.client.trouble.startswith(words)
            assert logs[0]["event"].startswith("cannot reach Binance: its listing could not be")

    check()


async def forever_silent(connection: ServerConnection) -> None:
    await connection.wait_closed()


@virtual
async def test_a_listing_without_end() -> None:
    page = {"retCode": 0, "result": {"list": [], "nextPageCursor": "more"}}
    answer = web.json_response
    async with (
        listened("bybit", lambda _: answer(page), forever_silent) as world,
        at_work(world.run()),
    ):
        await asyncio.sleep(20)
        assert world.client.trouble == "its listing could not be read: its listing has no end"
        assert world.client.rest.usage.requests < 100


@virtual
async def test_sockets_refused_by_country_are_told_once_for_all() -> None:
    async with binance() as (_, world):
        world.server.refuse = [(403, {}, b"<html>")]
        with capture_logs() as logs:
            async with at_work(world.run()):
                await asyncio.sleep(30)
                assert len(world.server.opened) == 2
        log_lines = [entry["event"] for entry in logs if "country" in entry["event"]]
        assert len(log_lines) == 1
        assert log_lines[0].startswith("cannot reach Binance: it refuses this address (HTTP 403)")


@virtual
async def test_feeds_that_never_come_are_said_to_be_down_though_no_socket_was_ever_open() -> None:
    async with binance() as (_, world):
        world.server.refuse = [(403, {}, b"<html>")] * 1_000
        async with at_work(world.run()):
            await asyncio.sleep(50)
            assert [turn for turn in turns(world.events) if turn.startswith("-")] == []
            await asyncio.sleep(50)
            missing = [turn for turn in turns(world.events) if turn.startswith("-")]
            assert {"-depth BTCUSDT", "-depth ETHUSDT", "-price *"} <= set(missing)
            assert len(missing) == len(set(missing))
            await asyncio.sleep(100)
            assert [turn for turn in turns(world.events) if turn.startswith("-")] == missing


@virtual
async def test_the_venue_goes_away_and_comes_back() -> None:
    """All sockets at once, and REST: what is blind is said to be, and then seen again."""
    async with binance() as (venue, world), at_work(world.run()):
        await asyncio.sleep(20)
        world.events.clear()
        venue.status = 503
        world.server.refuse = [(503, {}, b"")]
        for connection in tuple(world.server.open):
            connection.transport.abort()
        await asyncio.sleep(50)
        assert sorted(turns(world.events)) == [
            "-depth BTCUSDT",
            "-depth ETHUSDT",
            "-funding *",
            "-liquidation *",
            "-open_interest BTCUSDT",
            "-open_interest ETHUSDT",
            "-price *",
            "-volume *",
        ]
        late = [event for event in world.events if event.seen > EPOCH + 21_000]
        assert all(isinstance(event, FeedState | Fault) for event in late)
        world.events.clear()
        venue.status = 200
        world.server.refuse = []
        await asyncio.sleep(70)
        assert len(set(turns(world.events))) == 8
        assert not [turn for turn in turns(world.events) if turn.startswith("-")]


@virtual
async def test_one_book_without_snapshots_costs_itself() -> None:
    async with binance() as (venue, world), at_work(world.run()):
        venue.hold = {"ETHUSDT"}
        await asyncio.sleep(60)
        assert "+depth BTCUSDT" in turns(world.events)
        assert "+depth ETHUSDT" not in turns(world.events)
        assert world.of(Price, "ETHUSDT")
        # at once, after 10 s, and then each 20 s
        assert sum("depth?symbol=ETHUSDT" in path for path in venue.asked) == 4
        venue.hold = set()
        await asyncio.sleep(100)
        assert "+depth ETHUSDT" in turns(world.events)


@virtual
async def test_books_and_all_survive_the_end_of_a_sockets_life(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with binance(socket_life_s=60.0) as (_, world), at_work(world.run()):
        await asyncio.sleep(100)
        assert len(world.server.opened) == 4
        assert len(world.server.open) == 2
        assert not [turn for turn in turns(world.events) if turn.startswith("-")]
        seconds = {event.seen // 1000 for event in world.of(Depth)}
        assert len(seconds) >= 94  # hardly a second without a depth


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.3, 1.5, 8.0, 30.0])
def test_whenever_it_is_cancelled_nothing_is_left_running_or_up(seconds: float) -> None:
    @virtual
    async def check() -> None:
        async with binance() as (_, world):
            task = asyncio.create_task(world.run())
            await asyncio.sleep(seconds)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled()
            up: set[str] = set()
            for turn in turns(world.events):
                (up.add if turn[0] == "+" else up.discard)(turn[1:])
            assert up == set()
            count = len(world.events)
            await asyncio.sleep(5)
            assert len(world.events) == count

    check()


@pytest.mark.parametrize("error", [KeyError("symbol"), AssertionError(), MemoryError("full")])
def test_an_error_of_ours_takes_this_venue_down_and_everything_begins_anew(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = Session.received

    def broken(session: Session, frame: bytes, now: int, seen: int) -> Any:
        if seen >= EPOCH + 70_000:
            raise error
        return received(session, frame, now, seen)

    @virtual
    async def check() -> None:
        async with binance() as (_, world):
            with capture_logs() as logs:
                async with at_work(world.run()):
                    monkeypatch.setattr(Session, "received", broken)
                    await asyncio.sleep(65)
                    assert world.faults == []
                    await asyncio.sleep(15)
                    down = [turn for turn in turns(world.events) if turn.startswith("-")]
                    assert len(set(down)) == 8
                    assert world.faults == ["venue_failed"]
                    assert "an error in Lowtide" in world.client.trouble
                    await asyncio.sleep(200)
                    monkeypatch.setattr(Session, "received", received)
                    await asyncio.sleep(600)
                    assert world.faults == ["venue_failed", "venue_failed over"]
                    assert world.of(Price)[-1].seen > EPOCH + 860_000
            entries = [entry for entry in logs if entry["event"] == "listening to Binance failed"]
            assert len(entries) == 1
            assert entries[0]["exc_info"] is not None
            # 2, 4, 8, … seconds: neither a busy loop nor an hour of silence
            assert 10 <= len(world.server.opened) <= 20

    check()


@virtual
async def test_a_number_without_end_costs_one_frame() -> None:
    digits = "9" * 400
    bad = (
        frames.marks("BTCUSDT").replace(b'"T":', b'"T":%s,"x":' % digits.encode()),
        frames.minis("BTCUSDT").replace(b'"E":', b'"E":%s,"x":' % (digits * 20).encode()),
    )

    async def talk(connection: ServerConnection) -> None:
        if connection.request and connection.request.path.startswith("/market"):
            for frame in bad:
                await connection.send(frame, text=True)
        await venue.talk(connection)

    venue = Binance("BTCUSDT")
    async with listened("binance", venue.answer, talk) as world, at_work(world.run()):
        await asyncio.sleep(30)
        assert world.of(Price) and world.faults == []
        assert len(world.server.opened) == 2


@virtual
async def test_names_that_nobody_can_read_are_refused_and_counted() -> None:
    bad = ("B\x1b[2JUSDT", "ETH\nUSDT", "\u202eBTCUSDT", "X" * 40, "A BUSDT", "\aUSDT")
    async with listened("binance", (venue := Binance("BTCUSDT", *bad)).answer, venue.talk) as world:
        world.assets = ("BTC", *(name.removesuffix("USDT") for name in bad))
        with capture_logs() as logs:
            async with at_work(world.run()):
                await asyncio.sleep(5)
                assert [*world.client.watched] == ["BTCUSDT"]
                assert world.client.refused_names == len(bad)
                (refused,) = (e for e in world.events if isinstance(e, Fault) and not e.over)
    assert refused.code == "names_refused"
    assert refused.detail == r"6 of 7, such as B\x1b[2JUSDT"
    assert all(str(entry["event"]).isprintable() for entry in logs)


@virtual
async def test_a_contract_that_cannot_be_read_is_left_out_and_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clients, "LISTING_EVERY_S", 60.0)
    venue = Binance("BTCUSDT", "ETHUSDT", "XRPUSDT")

    def answer(request: web.Request) -> web.Response:
        response = venue.answer(request)
        if request.path != "/fapi/v1/exchangeInfo":
            return response
        listed = json.loads(response.text or "")
        listed["symbols"][2] |= {"symbol": "XRP\x1bUSDT", "contractType": None}
        return web.json_response(listed)

    async with listened("binance", answer, venue.talk) as world:
        world.assets = ("BTC", "ETH", "XRP")
        async with at_work(world.run()):
            await asyncio.sleep(150)
            assert [*world.client.watched] == ["BTCUSDT", "ETHUSDT"]
            assert world.client.unreadable_rows == 1
            faults = [e for e in world.events if isinstance(e, Fault) and not e.over]
    assert {(e.code.value, e.venue, e.detail) for e in faults} >= {
        ("rows_unreadable", "binance", r"1, such as XRP\u001bUSDT")
    }


@virtual
@pytest.mark.parametrize("damage", [{"p": []}, {"T": 10**400}, {"s": None, "r": "-"}])
async def test_a_contract_that_cannot_be_read_in_frames_blinds_no_other(
    damage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told once while it lasts, over once nothing is unreadable any more."""
    venue, whole = Binance("BTCUSDT", "ETHUSDT", "XRPUSDT"), frames.marks
    unreadable = True

    def spoiled(*symbols: str, **fields: Any) -> bytes:
        frame = json.loads(whole(*symbols, **fields))
        if unreadable:
            frame["data"][2] |= damage
        return json.dumps(frame).encode()

    monkeypatch.setattr(frames, "marks", spoiled)
    monkeypatch.setattr(clients, "LISTING_EVERY_S", 60.0)
    monkeypatch.setattr(clients, "_READABLE_AFTER_S", 60.0)
    async with listened("binance", venue.answer, venue.talk) as world:
        world.assets = ("BTC", "ETH", "XRP")
        async with at_work(world.run()):
            await asyncio.sleep(120)
            assert [turn for turn in turns(world.events) if turn.startswith("-")] == []
            assert len(world.of(Price)) == len(world.of(Price, "ETHUSDT")) > 100
            assert world.of(Price, "XRPUSDT") == []
            (market,) = [
                line for line in world.client.sockets if line.session.stats.unreadable_rows
            ]
            assert market.session.stats.unreadable_rows > 100
            assert market.session.stats.dropped == 0
            assert world.client.unreadable_rows == 1
            faults = [
                e for e in world.events if isinstance(e, Fault) and e.code == "rows_unreadable"
            ]
            name = "XRPUSDT" if "s" not in damage else '{"e": "markPriceUpdate", "E": '
            assert {e.detail for e in faults if not e.over} == {f"1, such as {name}"}
            unreadable = False
            await asyncio.sleep(150)
            assert len(world.of(Price, "XRPUSDT")) > 100
            assert world.faults == ["rows_unreadable", "rows_unreadable over"]


@virtual
async def test_bybit_from_listing_to_liquidations() -> None:
    tickers = {"list": [{"symbol": "BTCUSDT", "turnover24h": "9"}]}
    contract = {"symbol": "BTCUSDT", "contractType": "LinearPerpetual", "status": "Trading",
                "baseCoin": "BTC", "quoteCoin": "USDT", "fundingInterval": 480}  # fmt: skip
    settled, before = (
        {"symbol": "BTCUSDT", "fundingRate": "0.1", "fundingRateTimestamp": str(at)}
        for at in (EPOCH - 4 * 3_600_000, EPOCH - 12 * 3_600_000)
    )

    def answer(request: web.Request) -> web.Response:
        result = {
            "/v5/market/tickers": tickers,
            "/v5/market/instruments-info": {"list": [contract], "nextPageCursor": ""},
            "/v5/market/funding/history": {"list": [settled, before]},
        }[request.path]
        return web.json_response({"retCode": 0, "result": result})

    async def talk(connection: ServerConnection) -> None:
        await connection.send(frames.bybit_book("BTCUSDT", 1), text=True)
        await connection.send(frames.liquidated("BTCUSDT", 1.0, 2.0), text=True)
        await repeating(frames.ticker("BTCUSDT"))(connection)

    async with listened("bybit", answer, talk) as world, at_work(world.run()):
        await asyncio.sleep(5)
        assert len(world.of(Liquidation)) == 4  # both sockets of this server send all
        assert {event.settled for event in world.of(Funding)} == {True, False}
        assert world.of(Depth)
        kinds = {turn.split()[0][1:] for turn in turns(world.events)}
        assert kinds == set(Kind)
