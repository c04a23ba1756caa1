"""Kraken from its listing to its liquidations, against a server that speaks as it does."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from streams.events import Depth, Funding, Kind, Liquidation, OpenInterest, Price, Volume
from streams.venues import kraken
from tests.streams.feed.test_client import Listened, at_work_on
from tests.streams.kraken_server import KrakenServer
from tests.streams.venue_server import turns
from tests.streams.virtual import virtual

pytestmark = pytest.mark.usefixtures("no_chance")

BTC, ETH, SOL = "PI_XBTUSD", "PF_ETHUSD", "PF_SOLUSD"


def at(
    *assets: str, watched: Sequence[str] = ()
) -> AbstractAsyncContextManager[tuple[KrakenServer, Listened]]:
    """A client at work on a server with contracts on these assets."""
    return at_work_on("kraken", KrakenServer(*assets), watched or assets)


def of(world: Listened, kind: type, symbol: str = BTC) -> list[Any]:
    return world.of(kind, symbol)


@virtual
async def test_everything_of_the_wanted_contracts_is_published() -> None:
    """Sizes of BTC are in USD here, those of ETH in coins."""
    async with at("BTC", "ETH", "SOL", watched=("BTC", "ETH")) as (server, world):
        await asyncio.sleep(70)
        server.liquidate(100.0, 200.0)
        server.liquidate(9.0, symbol=SOL)  # nobody has asked for it
        server.liquidate(4.0, symbol=ETH, long=False)
        await asyncio.sleep(2)
        assert {*turns(world.events)} == {
            f"+{kind} {symbol}" for symbol in (BTC, ETH) for kind in Kind
        }
        for symbol, expected in (
            (BTC, [(1, 100, "long"), (2, 200, "long")]),
            (ETH, [(4, 400, "short")]),
        ):
            orders = of(world, Liquidation, symbol)
            assert [(e.base, e.usd, str(e.position)) for e in orders] == expected
            assert not any(e.throttled for e in orders)
        assert {(e.mark, e.index) for e in of(world, Price)} == {(100, 100)}
        for symbol, expected in ((BTC, (10, 1_000, True)), (ETH, (1_000, 100_000, False))):
            interest = of(world, OpenInterest, symbol)
            assert {(e.base, e.usd, e.inverse) for e in interest} == {expected}
            assert not any(e.one_side for e in interest)
            rates = of(world, Funding, symbol)
            assert {(e.settled, e.rate, e.hours) for e in rates} == {(False, 0.0001, 1)}
        assert of(world, Volume)[0].usd_24h == 1_000_000
        assert of(world, Depth)[-1].bands[0].bid_usd == pytest.approx(5 + 8)
        assert of(world, Depth, ETH)[-1].bands[0].bid_usd == pytest.approx(99.99 * 5 + 99.9 * 8)
        assert not [e for e in world.events if getattr(e, "symbol", "") == SOL]
        assert len(world.server.open) == 2


@virtual
async def test_a_lost_change_costs_one_book_for_a_moment() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(20)
        before = len(world.events)
        server.skip.add(ETH)
        await asyncio.sleep(20)
        assert turns(world.events[before:]) == [f"-depth {ETH}", f"+depth {ETH}"]
        assert len(world.server.opened) == 2


@virtual
async def test_a_connection_on_which_nothing_comes_is_left() -> None:
    """It answers the pings of the protocol all the while."""
    async with at("BTC") as (server, world):
        await asyncio.sleep(5)
        server.silent = True
        await asyncio.sleep(90)
        server.silent = False
        await asyncio.sleep(60)
        lost = {turn for turn in turns(world.events) if turn.startswith("-")}
        assert lost == {f"-{kind} {BTC}" for kind in kraken.SPEC.kinds}
        assert turns(world.events).count(f"+liquidation {BTC}") > 1


@virtual
async def test_a_quiet_contract_costs_the_others_nothing() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(10)
        server.quiet.add(ETH)
        await asyncio.sleep(55)
        assert not [turn for turn in turns(world.events) if turn.startswith("-")]
        await asyncio.sleep(60)
        lost = [turn for turn in turns(world.events) if turn.startswith("-")]
        assert lost == [f"-depth {ETH}"]
        assert turns(world.events).count(f"+depth {ETH}") == 2
        assert len(world.server.opened) == 2


@virtual
async def test_a_connection_that_breaks_is_made_anew_and_nothing_is_told_twice_or_missed() -> None:
    """A connection begins with the last trades: those that the one before has told are left out,
    and so are old ones; what was liquidated in between is told."""
    async with at("BTC", "ETH") as (server, world):
        server.liquidate(1.0)
        server.trades[BTC][-1]["time"] -= 3_600_000  # an hour ago, and in the first answer
        await asyncio.sleep(10)
        server.liquidate(5.0)
        await asyncio.sleep(2)
        for connection in [*world.server.open]:
            connection.transport.abort()
        server.liquidate(7.0)
        await asyncio.sleep(10)
        server.liquidate(10.0)
        await asyncio.sleep(1)
        assert [e.usd for e in of(world, Liquidation)] == pytest.approx([5, 7, 10])
        assert world.faults == []
        assert turns(world.events).count(f"+liquidation {BTC}") == 2
        assert turns(world.events).count(f"+price {ETH}") == 2
        assert len(world.server.open) == 2


@virtual
async def test_a_refused_contract_costs_itself_alone() -> None:
    """Kraken does not say which one it refuses; after a minute it is said to be down."""
    async with at("BTC", "ETH", "SOL") as (server, world):
        server.unknown.add(ETH)
        await asyncio.sleep(90)
        lost = [turn for turn in turns(world.events) if ETH in turn]
        assert {*lost} == {f"-{kind} {ETH}" for kind in kraken.SPEC.kinds}
        for symbol in (BTC, SOL):
            assert of(world, Depth, symbol)
            assert of(world, Price, symbol)
        assert len(world.server.opened) == 2


@virtual
async def test_a_delisting_is_taken_as_soon_as_nothing_is_held_and_a_listing_again_too() -> None:
    """Nothing says it but the listing, which an open interest of 0 makes be read."""
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(30)
        server.contracts[ETH]["lastTradingTime"] = "2020-01-01T00:00:00.000Z"
        server.held = 0.0
        await asyncio.sleep(10)
        server.held = 1_000.0
        await asyncio.sleep(20)
        assert world.faults == [f"contract_settling {ETH}"]
        depths = len(of(world, Depth, ETH))
        await asyncio.sleep(30)
        assert len(of(world, Depth, ETH)) == depths
        del server.contracts[ETH]["lastTradingTime"]
        server.held = 0.0
        await asyncio.sleep(10)
        server.held = 1_000.0
        await asyncio.sleep(30)
        assert world.faults[1:] == [f"contract_settling {ETH} over"]
        assert len(of(world, Depth, ETH)) > depths
        assert {e.base for e in of(world, OpenInterest, ETH)} == {1_000}


@virtual
async def test_hundreds_of_contracts_stay_within_the_limits() -> None:
    """Six sockets of the 100 connections of an address, before and after all of them are lost."""
    assets = [f"A{n}" for n in range(200)]
    async with at(*assets) as (_, world):
        for _ in range(2):
            await asyncio.sleep(15)
            assert len(world.server.open) == 2 + 4
            for connection in [*world.server.open]:
                connection.transport.abort()
        await asyncio.sleep(15)
        up = {turn for turn in turns(world.events) if turn.startswith("+")}
        assert len(up) == 6 * 200
        assert {turn.split()[0][1:] for turn in up} == {*map(str, Kind)}
