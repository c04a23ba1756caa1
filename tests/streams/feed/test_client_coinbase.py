"""Coinbase from its listing to its books, against a server that speaks as it does."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from streams.events import SPOT_KINDS, Depth, Price, Volume
from streams.feed.hub import Hub, VenueAddress
from streams.feed.selection import Markets
from streams.venues import coinbase
from tests.streams.coinbase_server import CoinbaseServer, product
from tests.streams.feed.test_client import Listened, at_work_on
from tests.streams.venue_server import turns
from tests.streams.virtual import Clock, virtual

pytestmark = pytest.mark.usefixtures("no_chance")

BTC, ETH, SOL = "BTC-USD", "ETH-USD", "SOL-USD"


def at(
    *assets: str, watched: Sequence[str] = ()
) -> AbstractAsyncContextManager[tuple[CoinbaseServer, Listened]]:
    """A client at work on a server with pairs of these assets."""
    return at_work_on("coinbase", CoinbaseServer(*assets), watched or assets)


def of(world: Listened, kind: type, symbol: str = BTC) -> list[Any]:
    return world.of(kind, symbol)


@virtual
async def test_everything_of_the_wanted_pairs_is_published_once() -> None:
    """Not under the other name that each has."""
    async with at("BTC", "ETH", "SOL", watched=("BTC", "ETH")) as (_, world):
        await asyncio.sleep(10)
        assert {*turns(world.events)} == {
            f"+{kind} {symbol}" for symbol in (BTC, ETH) for kind in coinbase.SPEC.kinds
        }
        assert {(e.last, e.mark, e.index, e.spot) for e in of(world, Price)} == {
            (100, None, None, True)
        }
        assert {(e.usd_24h, e.spot) for e in of(world, Volume)} == {(1_000_000, True)}
        depth = of(world, Depth, ETH)[-1]
        assert depth.spot
        assert depth.mid == 100
        assert all(band.covered for band in depth.bands)
        assert [band.bid_usd for band in depth.bands] == [pytest.approx(99.99 * 5)] * 4
        assert [band.ask_usd for band in depth.bands][-1] == pytest.approx(100.01 * 5 + 100.02 * 7)
        assert {getattr(event, "symbol", BTC) for event in world.events} == {BTC, ETH}
        assert len(world.server.open) == 1
        assert world.faults == []


@virtual
async def test_a_lost_frame_costs_all_books_until_the_next_connection() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(10)
        before = len(world.events)
        server.skip.add(ETH)
        await asyncio.sleep(10)
        heard = turns(world.events[before:])
        states = {f"{kind} {symbol}" for kind in coinbase.SPEC.kinds for symbol in (BTC, ETH)}
        assert {*heard[: len(states)]} == {f"-{state}" for state in states}
        assert {*heard[len(states) :]} == {f"+{state}" for state in states}
        assert len(world.server.opened) == 2
        assert sum(socket.session.stats.gaps for socket in world.client.sockets) == 1
        assert of(world, Depth, ETH)[-1].bands[0].bid_usd == pytest.approx(99.99 * 5)


@virtual
async def test_a_connection_on_which_nothing_comes_is_left() -> None:
    async with at("BTC") as (server, world):
        await asyncio.sleep(5)
        server.silent = True
        await asyncio.sleep(90)
        server.silent = False
        await asyncio.sleep(60)
        lost = {turn for turn in turns(world.events) if turn.startswith("-")}
        assert lost == {f"-{kind} {BTC}" for kind in coinbase.SPEC.kinds}
        assert turns(world.events).count(f"+depth {BTC}") == 2


@virtual
async def test_a_quiet_pair_costs_the_others_nothing() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(10)
        server.quiet.add(ETH)
        await asyncio.sleep(120)
        lost = [turn for turn in turns(world.events) if turn.startswith("-")]
        assert lost == [f"-depth {ETH}"]
        assert turns(world.events).count(f"+depth {ETH}") == 2  # it was asked for, and came whole
        assert len(world.server.opened) == 1


@virtual
async def test_a_book_that_loses_a_side_is_unknown_and_not_thin() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(10)
        server.one_sided.add(BTC)
        await asyncio.sleep(3)
        before = len(of(world, Depth))
        await asyncio.sleep(20)
        assert len(of(world, Depth)) == before
        assert [turn for turn in turns(world.events) if turn.startswith("-")] == [f"-depth {BTC}"]
        server.one_sided.discard(BTC)
        await asyncio.sleep(5)
        assert len(of(world, Depth)) > before
        assert of(world, Depth)[-1].bands[0].bid_usd == pytest.approx(99.99 * 5)


@virtual
async def test_a_connection_that_breaks_is_made_anew() -> None:
    async with at("BTC", "ETH") as (_, world):
        await asyncio.sleep(5)
        for connection in [*world.server.open]:
            connection.transport.abort()
        await asyncio.sleep(10)
        assert world.faults == []
        assert turns(world.events).count(f"+depth {BTC}") == 2
        assert sum(socket.session.stats.gaps for socket in world.client.sockets) == 0


@virtual
async def test_a_refused_pair_costs_itself_alone() -> None:
    """It refuses a request as a whole; asked singly the others are taken."""
    async with at("BTC", "ETH", "SOL") as (server, world):
        server.unknown.add(ETH)
        await asyncio.sleep(90)
        lost = {turn for turn in turns(world.events) if ETH in turn}
        assert lost == {f"-{kind} {ETH}" for kind in coinbase.SPEC.kinds}
        for symbol in (BTC, SOL):
            assert of(world, Depth, symbol)
            assert of(world, Price, symbol)
        assert len(world.server.opened) == 1


@virtual
async def test_a_pair_that_is_halted_and_listed_again() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(5)
        server.products[ETH]["trading_disabled"] = True
        world.client.ask_relist()
        await asyncio.sleep(30)
        assert world.faults == [f"contract_missing {ETH}"]
        server.products[ETH] = product("ETH")
        await asyncio.sleep(60)
        assert world.faults[1:] == [f"contract_missing {ETH} over"]


@virtual
async def test_two_hundred_pairs_stay_within_the_limits() -> None:
    assets = [f"A{n}" for n in range(200)]
    async with at(*assets) as (_, world):
        for _ in range(2):
            await asyncio.sleep(20)
            assert len(world.server.open) == 10
            for connection in [*world.server.open]:
                connection.transport.abort()
        await asyncio.sleep(20)
        up = {turn for turn in turns(world.events) if turn.startswith("+")}
        assert len(up) == 3 * 200


@virtual
async def test_what_a_spot_market_never_has_is_not_missing_in_its_status() -> None:
    hub = Hub([VenueAddress(venue=coinbase)], Markets(majors=(), large=(), tail=0), id, Clock())
    (status,) = hub.status()
    assert (status.not_available, status.sides_known) == ([], True)
    assert {*status.feeds} == SPOT_KINDS
