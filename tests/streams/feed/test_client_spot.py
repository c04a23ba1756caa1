"""Spot markets from their listing to their books, against servers that speak as they do."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

import pytest

from streams.events import SPOT_KINDS, Depth, FeedState, Ms, Price, Volume
from streams.feed.hub import Hub, VenueAddress
from streams.feed.selection import Markets
from streams.venues import coinbase
from tests.streams.binance_spot_server import BinanceSpotServer
from tests.streams.bybit_spot_server import BybitSpotServer
from tests.streams.bybit_spot_server import pair as bybit_pair
from tests.streams.coinbase_server import CoinbaseServer, product
from tests.streams.feed.test_client import Listened, at_work_on
from tests.streams.kraken_spot_server import KrakenSpotServer
from tests.streams.okx_server import OkxSpotServer
from tests.streams.okx_server import pair as okx_pair
from tests.streams.venue_server import turns
from tests.streams.virtual import Clock, virtual

pytestmark = pytest.mark.usefixtures("no_chance")

Act = Callable[[Any, str], object]
"""Something done to a pair at the server."""


class SpotMarket(NamedTuple):
    """How a venue's spot market differs from the others'."""

    venue: str
    server: Callable[..., Any]
    symbols: str
    """The pair of an asset."""
    bid_usd: Sequence[float]
    """What may be bid within the narrowest band."""
    halt: Act
    resume: Act
    sockets: int = 1
    """For a few pairs."""
    wait_s: float = 10
    """Until books have come."""
    quiet_s: float = 100
    refuse: Act = lambda server, symbol: server.unknown.add(symbol)

    def of(self, asset: str) -> str:
        """The symbol of its pair."""
        return self.symbols.format(asset)

    def at(
        self, *assets: str, watched: Sequence[str] = ()
    ) -> AbstractAsyncContextManager[tuple[Any, Listened]]:
        """A client at work on a server with pairs of these assets."""
        return at_work_on(self.venue, self.server(*assets), watched or assets)


_WRITTEN = 99.99 * 5 + 99.9 * 8
"""What the frames of Bybit and OKX bid."""

BINANCE = SpotMarket(
    "binance-spot", BinanceSpotServer, "{}USDT", [99.99 * 5], wait_s=20, quiet_s=120,
    halt=lambda server, symbol: server.halted.add(symbol),
    resume=lambda server, symbol: server.halted.clear(),
)  # fmt: skip
COINBASE = SpotMarket(
    "coinbase", CoinbaseServer, "{}-USD", [99.99 * 5], quiet_s=120,
    halt=lambda server, symbol: server.products[symbol].update(trading_disabled=True),
    resume=lambda server, symbol: server.products.update({symbol: product("ETH")}),
)  # fmt: skip
BYBIT = SpotMarket(
    "bybit-spot", BybitSpotServer, "{}USDT", [_WRITTEN], sockets=2,
    halt=lambda server, symbol: server.pairs.pop(symbol),
    resume=lambda server, symbol: server.pairs.update({symbol: bybit_pair("ETH")}),
)  # fmt: skip
OKX = SpotMarket(
    # the frames are written for contracts of half a coin, and here sizes are in coins
    "okx-spot", OkxSpotServer, "{}-USDT", [2 * _WRITTEN],
    halt=lambda server, symbol: server.contracts[symbol].update(state="suspend"),
    resume=lambda server, symbol: server.contracts.update({symbol: okx_pair("ETH")}),
    refuse=lambda server, symbol: server.refused.add(symbol),
)  # fmt: skip
KRAKEN = SpotMarket(
    "kraken-spot", KrakenSpotServer, "{}/USD", [99.99 * size for size in range(5, 12)],
    halt=lambda server, symbol: server.pairs.update({symbol: "cancel_only"}),
    resume=lambda server, symbol: server.pairs.update({symbol: "online"}),
)  # fmt: skip


def each(*markets: SpotMarket) -> pytest.MarkDecorator:
    """The test is of these."""
    return pytest.mark.parametrize("spot", markets, ids=[market.venue for market in markets])


def lost(world: Listened) -> list[str]:
    """The feeds that went down."""
    return [turn for turn in turns(world.events) if turn.startswith("-")]


def break_all(world: Listened) -> None:
    """Every connection breaks."""
    for connection in [*world.server.open]:
        connection.transport.abort()


@each(BINANCE, COINBASE, BYBIT, OKX, KRAKEN)
@virtual
async def test_everything_of_the_wanted_pairs_is_published(spot: SpotMarket) -> None:
    """Once, and not under another name that it has (Coinbase)."""
    btc, eth = spot.of("BTC"), spot.of("ETH")
    async with spot.at("BTC", "ETH", "SOL", watched=("BTC", "ETH")) as (server, world):
        await asyncio.sleep(spot.wait_s)
        assert {*turns(world.events)} == {
            f"+{kind} {symbol}" for symbol in (btc, eth) for kind in SPOT_KINDS
        }
        assert {(e.last, e.mark, e.index, e.spot) for e in world.of(Price, btc)} == {
            (100, None, None, True)
        }
        assert {(e.usd_24h, e.spot) for e in world.of(Volume, btc)} == {(1_000_000, True)}
        depth = world.of(Depth, eth)[-1]
        assert depth.spot
        assert depth.bands[0].bid_usd in [pytest.approx(usd) for usd in spot.bid_usd]
        if spot in (BINANCE, COINBASE):
            assert depth.mid == 100
            assert all(band.covered for band in depth.bands)
            assert [band.bid_usd for band in depth.bands] == [pytest.approx(99.99 * 5)] * 4
            assert depth.bands[-1].ask_usd == pytest.approx(100.01 * 5 + 100.02 * 7)
        if spot is BINANCE:
            assert sum("depth" in path for path in server.asked) == 2
        assert {getattr(event, "symbol", btc) for event in world.events} == {btc, eth}
        assert len(world.server.open) == spot.sockets
        assert world.faults == []


@each(BINANCE, BYBIT, OKX, KRAKEN)
@virtual
async def test_a_lost_change_costs_one_book_for_a_moment(spot: SpotMarket) -> None:
    """Of Kraken the checksum of the next one, which is of the other side, shows it."""
    eth = spot.of("ETH")
    async with spot.at("BTC", "ETH") as (server, world):
        await asyncio.sleep(20)
        before = len(world.events)
        server.skip.add(eth)
        await asyncio.sleep(20)
        assert turns(world.events[before:]) == [f"-depth {eth}", f"+depth {eth}"]
        assert len(world.server.opened) == spot.sockets


@virtual
async def test_a_lost_frame_of_coinbase_costs_all_books_until_the_next_connection() -> None:
    btc, eth = COINBASE.of("BTC"), COINBASE.of("ETH")
    async with COINBASE.at("BTC", "ETH") as (server, world):
        await asyncio.sleep(10)
        before = len(world.events)
        server.skip.add(eth)
        await asyncio.sleep(10)
        heard = turns(world.events[before:])
        states = {f"{kind} {symbol}" for kind in SPOT_KINDS for symbol in (btc, eth)}
        assert {*heard[: len(states)]} == {f"-{state}" for state in states}
        assert {*heard[len(states) :]} == {f"+{state}" for state in states}
        assert len(world.server.opened) == 2
        assert sum(socket.session.stats.gaps for socket in world.client.sockets) == 1
        assert world.of(Depth, eth)[-1].bands[0].bid_usd == pytest.approx(99.99 * 5)


@each(BINANCE, COINBASE, BYBIT, OKX, KRAKEN)
@virtual
async def test_a_connection_on_which_nothing_comes_is_left(spot: SpotMarket) -> None:
    btc = spot.of("BTC")
    async with spot.at("BTC") as (server, world):
        await asyncio.sleep(5)
        server.silent = True
        await asyncio.sleep(90)
        server.silent = False
        await asyncio.sleep(60)
        assert {*lost(world)} == {f"-{kind} {btc}" for kind in SPOT_KINDS}
        assert turns(world.events).count(f"+depth {btc}") == 2


@each(BINANCE, COINBASE, BYBIT, OKX, KRAKEN)
@virtual
async def test_a_quiet_pair_costs_the_others_nothing(spot: SpotMarket) -> None:
    eth = spot.of("ETH")
    async with spot.at("BTC", "ETH") as (server, world):
        await asyncio.sleep(10)
        server.quiet.add(eth)
        await asyncio.sleep(spot.quiet_s)
        assert {*lost(world)} == {f"-depth {eth}"}
        if spot in (BINANCE, COINBASE):
            assert len(lost(world)) == 1
        if spot is COINBASE:  # it was asked for, and came whole
            assert turns(world.events).count(f"+depth {eth}") == 2
        assert len(world.server.opened) == spot.sockets


@each(BINANCE, COINBASE)
@virtual
async def test_a_book_that_loses_a_side_is_unknown_and_not_thin(spot: SpotMarket) -> None:
    btc = spot.of("BTC")
    async with spot.at("BTC", "ETH") as (server, world):
        await asyncio.sleep(10)
        server.one_sided.add(btc)
        await asyncio.sleep(3)
        before = len(world.of(Depth, btc))
        await asyncio.sleep(20)
        assert len(world.of(Depth, btc)) == before
        assert lost(world) == [f"-depth {btc}"]
        server.one_sided.discard(btc)
        await asyncio.sleep(5)
        assert len(world.of(Depth, btc)) > before
        assert world.of(Depth, btc)[-1].bands[0].bid_usd == pytest.approx(99.99 * 5)


@each(BINANCE, COINBASE, BYBIT, OKX, KRAKEN)
@virtual
async def test_a_connection_that_breaks_is_made_anew(spot: SpotMarket) -> None:
    async with spot.at("BTC", "ETH") as (_, world):
        await asyncio.sleep(5)
        break_all(world)
        await asyncio.sleep(10)
        assert world.faults == []
        assert turns(world.events).count(f"+depth {spot.of('BTC')}") == 2
        assert sum(socket.session.stats.gaps for socket in world.client.sockets) == 0


@each(COINBASE, BYBIT, OKX, KRAKEN)
@virtual
async def test_a_refused_pair_costs_itself_alone(spot: SpotMarket) -> None:
    """Some refuse a request as a whole; asked singly the others are taken."""
    eth = spot.of("ETH")
    async with spot.at("BTC", "ETH", "SOL") as (server, world):
        spot.refuse(server, eth)
        await asyncio.sleep(90)
        of_eth = [event for event in world.events if getattr(event, "symbol", "") == eth]
        assert of_eth and all(isinstance(e, FeedState) and not e.up for e in of_eth)
        assert {turn for turn in turns(world.events) if eth in turn} == {
            f"-{kind} {eth}" for kind in SPOT_KINDS
        }
        for symbol in (spot.of("BTC"), spot.of("SOL")):
            assert world.of(Depth, symbol)
            assert world.of(Price, symbol)
        assert len(world.server.opened) == spot.sockets


@each(BINANCE, COINBASE, BYBIT, OKX, KRAKEN)
@virtual
async def test_a_pair_that_is_halted_is_missing_and_back_when_it_trades_again(
    spot: SpotMarket,
) -> None:
    eth = spot.of("ETH")
    async with spot.at("BTC", "ETH") as (server, world):
        await asyncio.sleep(5)
        spot.halt(server, eth)
        world.client.ask_relist()
        await asyncio.sleep(30)
        assert world.faults == [f"contract_missing {eth}"]
        spot.resume(server, eth)
        await asyncio.sleep(60)
        assert world.faults[1:] == [f"contract_missing {eth} over"]


@pytest.mark.parametrize(
    ("spot", "sockets", "wait_s"),
    [
        pytest.param(COINBASE, 10, 20, id="coinbase"),
        pytest.param(BYBIT, 2, 20, id="bybit-spot"),
        pytest.param(OKX, 8, 20, id="okx-spot"),  # of 25 books
        pytest.param(KRAKEN, 4, 40, id="kraken-spot"),  # one is opened each five seconds
    ],
)
@virtual
async def test_two_hundred_pairs_stay_within_the_limits(
    spot: SpotMarket, sockets: int, wait_s: float
) -> None:
    """Before and after all sockets are lost."""
    async with spot.at(*(f"A{n}" for n in range(200))) as (_, world):
        for _ in range(2):
            await asyncio.sleep(wait_s)
            assert len(world.server.open) == sockets
            break_all(world)
        await asyncio.sleep(wait_s)
        assert len({turn for turn in turns(world.events) if turn.startswith("+")}) == 3 * 200


@virtual
async def test_a_hundred_and_twenty_pairs_of_binance_stay_within_the_limits() -> None:
    """Their books come within minutes: an answer weighs 250 of 6,000 a minute."""
    async with BINANCE.at(*(f"A{n}" for n in range(120))) as (_, world):
        await asyncio.sleep(20)
        assert len(world.server.open) == 2
        break_all(world)
        await asyncio.sleep(4 * 60)
        books = {turn for turn in turns(world.events) if turn.startswith("+depth")}
        assert len(books) < 120  # 24 a minute
        await asyncio.sleep(4 * 60)
        assert len({turn for turn in turns(world.events) if turn.startswith("+")}) == 3 * 120


@virtual
async def test_what_a_spot_market_never_has_is_not_missing_in_its_status() -> None:
    hub = Hub([VenueAddress(venue=coinbase)], Markets(majors=(), large=(), tail=0), id, Clock())
    (status,) = hub.status()
    assert (status.not_available, status.sides_known) == ([], True)
    assert {*status.feeds} == SPOT_KINDS


@virtual
async def test_when_data_came_last_is_told_by_the_clock_as_it_goes_now() -> None:
    """A clock that stepped since is no silence of a venue."""

    class Stepping(Clock):
        steady, ahead = 50_000, 0

        def now(self) -> Ms:
            return self.steady

        def seen(self) -> Ms:
            return 1_790_000_000_000 + self.steady + self.ahead

    clock = Stepping()
    async with COINBASE.at("BTC") as (_, world):
        hub = Hub([VenueAddress(venue=coinbase)], Markets(majors=(), large=(), tail=0), id, clock)
        await asyncio.sleep(5)
        hub.clients[0].sockets = world.client.sockets
        stats = world.client.sockets[0].session.stats
        stats.last_data = 0
        assert [socket.last_data for socket in hub.status()[0].sockets] == [0]
        stats.last_data = clock.steady
        clock.steady, clock.ahead = 53_000, 600_000
        (status,) = hub.status()
        assert [clock.seen() - socket.last_data for socket in status.sockets] == [3_000]
