"""OKX's spot market from its listing to its books, against a server that speaks as it does."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from streams.events import SPOT_KINDS, Depth, FeedState, Price, Volume
from tests.streams.feed.test_client import Listened, at_work_on
from tests.streams.okx_server import OkxSpotServer, pair
from tests.streams.venue_server import turns
from tests.streams.virtual import virtual

pytestmark = pytest.mark.usefixtures("no_chance")

BTC, ETH, SOL = "BTC-USDT", "ETH-USDT", "SOL-USDT"


def at(
    *assets: str, watched: Sequence[str] = ()
) -> AbstractAsyncContextManager[tuple[OkxSpotServer, Listened]]:
    """A client at work on a server with pairs of these assets."""
    return at_work_on("okx-spot", OkxSpotServer(*assets), watched or assets)


def of(world: Listened, kind: type, symbol: str = BTC) -> list[Any]:
    return world.of(kind, symbol)


@virtual
async def test_everything_of_the_wanted_pairs_is_published() -> None:
    async with at("BTC", "ETH", "SOL", watched=("BTC", "ETH")) as (_, world):
        await asyncio.sleep(10)
        assert {*turns(world.events)} == {
            f"+{kind} {symbol}" for symbol in (BTC, ETH) for kind in SPOT_KINDS
        }
        assert {(e.last, e.mark, e.index, e.spot) for e in of(world, Price)} == {
            (100, None, None, True)
        }
        assert {(e.usd_24h, e.spot) for e in of(world, Volume)} == {(1_000_000, True)}
        depth = of(world, Depth, ETH)[-1]
        assert depth.spot
        # the frames are written for contracts of half a coin, and here sizes are in coins
        assert depth.bands[0].bid_usd == pytest.approx(2 * (99.99 * 5 + 99.9 * 8))
        assert {getattr(event, "symbol", BTC) for event in world.events} == {BTC, ETH}
        assert len(world.server.open) == 1
        assert world.faults == []


@virtual
async def test_a_lost_change_costs_one_book_for_a_moment() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(20)
        before = len(world.events)
        server.skip.add(ETH)
        await asyncio.sleep(20)
        assert turns(world.events[before:]) == [f"-depth {ETH}", f"+depth {ETH}"]
        assert len(world.server.opened) == 1


@virtual
async def test_a_connection_on_which_nothing_comes_is_left() -> None:
    async with at("BTC") as (server, world):
        await asyncio.sleep(5)
        server.silent = True
        await asyncio.sleep(90)
        server.silent = False
        await asyncio.sleep(60)
        lost = {turn for turn in turns(world.events) if turn.startswith("-")}
        assert lost == {f"-{kind} {BTC}" for kind in SPOT_KINDS}
        assert turns(world.events).count(f"+depth {BTC}") == 2


@virtual
async def test_a_quiet_pair_costs_the_others_nothing() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(10)
        server.quiet.add(ETH)
        await asyncio.sleep(100)
        assert {turn for turn in turns(world.events) if turn.startswith("-")} == {f"-depth {ETH}"}
        assert len(world.server.opened) == 1


@virtual
async def test_a_connection_that_breaks_is_made_anew() -> None:
    async with at("BTC", "ETH") as (_, world):
        await asyncio.sleep(5)
        for connection in [*world.server.open]:
            connection.transport.abort()
        await asyncio.sleep(10)
        assert world.faults == []
        assert turns(world.events).count(f"+depth {BTC}") == 2


@virtual
async def test_a_refused_pair_costs_itself_alone() -> None:
    async with at("BTC", "ETH", "SOL") as (server, world):
        server.refused.add(ETH)
        await asyncio.sleep(90)
        of_eth = [event for event in world.events if getattr(event, "symbol", "") == ETH]
        assert of_eth and all(isinstance(e, FeedState) and not e.up for e in of_eth)
        for symbol in (BTC, SOL):
            assert of(world, Depth, symbol)
            assert of(world, Price, symbol)
        assert len(world.server.opened) == 1


@virtual
async def test_a_pair_that_is_halted_and_trades_again() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(5)
        server.contracts[ETH]["state"] = "suspend"
        world.client.ask_relist()
        await asyncio.sleep(30)
        assert world.faults == [f"contract_missing {ETH}"]
        server.contracts[ETH] = pair("ETH")
        await asyncio.sleep(60)
        assert world.faults[1:] == [f"contract_missing {ETH} over"]


@virtual
async def test_two_hundred_pairs_stay_within_the_limits() -> None:
    """Eight sockets of 25 books, before and after all of them are lost."""
    assets = [f"A{n}" for n in range(200)]
    async with at(*assets) as (_, world):
        for _ in range(2):
            await asyncio.sleep(20)
            assert len(world.server.open) == 8
            for connection in [*world.server.open]:
                connection.transport.abort()
        await asyncio.sleep(20)
        up = {turn for turn in turns(world.events) if turn.startswith("+")}
        assert len(up) == 3 * 200
