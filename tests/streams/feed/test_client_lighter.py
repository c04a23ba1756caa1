"""Lighter from its listing to its liquidations, against a server that speaks as it does."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from itertools import groupby
from typing import Any

import pytest

from streams.events import Depth, Funding, Kind, Liquidation, OpenInterest, Price, Volume
from tests.streams import frames
from tests.streams.feed.test_client import Listened, at_work_on
from tests.streams.lighter_server import LighterServer
from tests.streams.venue_server import turns
from tests.streams.virtual import virtual

pytestmark = pytest.mark.usefixtures("no_chance")

BTC, ETH, SOL = (frames.symbol_of("lighter", asset) for asset in ("BTC", "ETH", "SOL"))
OF_ALL = ("funding", "open_interest", "price", "volume")


def at(
    *assets: str, watched: Sequence[str] = ()
) -> AbstractAsyncContextManager[tuple[LighterServer, Listened]]:
    """A client at work on a server with markets of these assets."""
    return at_work_on("lighter", LighterServer(*assets), watched or assets)


def of(world: Listened, kind: type, symbol: str = BTC) -> list[Any]:
    return world.of(kind, symbol)


def lost(world: Listened) -> set[str]:
    """The feeds that went down."""
    return {turn for turn in turns(world.events) if turn.startswith("-")}


@virtual
async def test_everything_of_the_wanted_markets_is_published() -> None:
    """Funding is in percent of an hour, and open interest in USD."""
    async with at("BTC", "ETH", "SOL", watched=("BTC", "ETH")) as (server, world):
        await asyncio.sleep(20)
        server.liquidate(1.0, 2.0)
        server.liquidate(9.0, symbol=SOL)  # nobody has asked for it
        server.liquidate(4.0, long=False)
        await asyncio.sleep(2)
        assert {*turns(world.events)} == {
            *(f"+{kind} *" for kind in OF_ALL),
            *(f"+{kind} {symbol}" for symbol in (BTC, ETH) for kind in ("depth", "liquidation")),
        }
        assert [(e.base, e.usd, str(e.position), e.trade_id) for e in of(world, Liquidation)] == [
            (1, 100, "long", "1"), (2, 200, "long", "2"), (4, 400, "short", "3")
        ]  # fmt: skip
        assert {(e.mark, e.index) for e in of(world, Price)} == {(100, 100)}
        assert {(e.base, e.usd, e.one_side) for e in of(world, OpenInterest)} == {
            (10, 1_000, False)
        }  # fmt: skip
        assert {(e.settled, e.rate, e.hours) for e in of(world, Funding)} == {(False, 0.0001, 1)}
        assert of(world, Volume)[0].usd_24h == 1_000_000
        depth = of(world, Depth)[-1]
        assert depth.bands[0].bid_usd == pytest.approx(99.99 * 5 + 99.9 * 8)
        assert all(band.covered for band in depth.bands)
        assert not [e for e in world.events if getattr(e, "symbol", "") == SOL]
        assert len(world.server.open) == 3


@virtual
async def test_a_lost_change_costs_one_book_for_a_moment() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(20)
        before = len(world.events)
        server.skip.add(ETH)
        await asyncio.sleep(20)
        assert turns(world.events[before:]) == [f"-depth {ETH}", f"+depth {ETH}"]
        assert len(world.server.opened) == 3


@virtual
async def test_a_connection_on_which_nothing_comes_is_left() -> None:
    async with at("BTC") as (server, world):
        await asyncio.sleep(10)
        server.silent = True
        await asyncio.sleep(100)
        feeds = {*(f"{kind} *" for kind in OF_ALL), f"depth {BTC}", f"liquidation {BTC}"}
        assert lost(world) == {f"-{feed}" for feed in feeds}
        server.silent = False
        await asyncio.sleep(120)
        for feed in feeds:
            states = [turn[0] for turn in turns(world.events) if turn[1:] == feed]
            assert [sign for sign, _ in groupby(states)] == ["+", "-", "+"]


@virtual
async def test_a_quiet_market_costs_the_others_nothing() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(10)
        server.quiet.add(ETH)
        await asyncio.sleep(120)
        assert lost(world) <= {f"-depth {ETH}"}
        assert len(world.server.opened) == 3


@virtual
async def test_a_connection_that_breaks_is_made_anew() -> None:
    """What its liquidations begin with was told before."""
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(20)
        server.liquidate(1.0)
        await asyncio.sleep(2)
        for connection in [*world.server.open]:
            connection.transport.abort()
        await asyncio.sleep(20)
        server.liquidate(3.0)
        await asyncio.sleep(2)
        assert [e.base for e in of(world, Liquidation)] == [1, 3]
        for feed in ("price *", f"liquidation {ETH}", f"depth {ETH}"):
            states = [turn[0] for turn in turns(world.events) if turn[1:] == feed]
            assert [sign for sign, _ in groupby(states)] == ["+", "-", "+"]
        assert len(world.server.open) == 3


@virtual
async def test_a_refused_market_costs_itself_alone() -> None:
    """The others are asked for again and refused as they are there already, which is no harm."""
    async with at("BTC", "ETH", "SOL") as (server, world):
        server.refused.add(ETH)
        await asyncio.sleep(90)
        assert {turn for turn in turns(world.events) if turn.endswith(f" {ETH}")} == {
            f"-depth {ETH}", f"-liquidation {ETH}"
        }  # fmt: skip
        assert lost(world) == {f"-depth {ETH}", f"-liquidation {ETH}"}
        for symbol in (BTC, SOL):
            assert of(world, Depth, symbol)
            assert of(world, Price, symbol)
        assert len(world.server.opened) == 3


@virtual
async def test_a_delisting_is_taken_with_the_listing_and_a_listing_again_too() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(30)
        server.contracts[ETH]["status"] = "inactive"
        world.client.ask_relist()
        await asyncio.sleep(30)
        assert world.faults == [f"contract_settling {ETH}"]
        depths = len(of(world, Depth, ETH))
        await asyncio.sleep(30)
        assert len(of(world, Depth, ETH)) == depths
        server.contracts[ETH]["status"] = "active"
        world.client.ask_relist()
        await asyncio.sleep(60)
        assert world.faults[1:] == [f"contract_settling {ETH} over"]
        assert len(of(world, Depth, ETH)) > depths


@virtual
async def test_hundreds_of_markets_stay_within_the_limits() -> None:
    """200 messages a minute over all sockets: the last of 200 books comes after minutes."""
    assets = [f"A{n}" for n in range(200)]
    async with at(*assets) as (_, world):
        await asyncio.sleep(420)
        assert len(world.server.open) == 3
        up = {turn for turn in turns(world.events) if turn.startswith("+")}
        assert len(up) == 4 + 2 * 200
        assert {turn.split()[0][1:] for turn in up} == {*map(str, Kind)}
