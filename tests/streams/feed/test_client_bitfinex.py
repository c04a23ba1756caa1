"""Bitfinex from its listing to its liquidations, against a server that speaks as it does."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from itertools import groupby
from typing import Any

import pytest

from streams.events import Depth, Funding, Kind, Liquidation, OpenInterest, Price, Volume
from tests.streams.bitfinex_server import BitfinexServer
from tests.streams.feed.test_client import Listened, at_work_on
from tests.streams.venue_server import turns
from tests.streams.virtual import virtual

pytestmark = pytest.mark.usefixtures("no_chance")

BTC, ETH, SOL = "tBTCF0:USTF0", "tETHF0:USTF0", "tSOLF0:USTF0"
OF_STATUS = (Kind.FUNDING, Kind.OPEN_INTEREST, Kind.PRICE)


def at(
    *assets: str, watched: Sequence[str] = ()
) -> AbstractAsyncContextManager[tuple[BitfinexServer, Listened]]:
    """A client at work on a server with contracts on these assets."""
    return at_work_on("bitfinex", BitfinexServer(*assets), watched or assets)


def of(world: Listened, kind: type, symbol: str = BTC) -> list[Any]:
    return world.of(kind, symbol)


def lost(world: Listened) -> set[str]:
    """The feeds that went down."""
    return {turn for turn in turns(world.events) if turn.startswith("-")}


@virtual
async def test_everything_of_the_wanted_contracts_is_published() -> None:
    async with at("BTC", "ETH", "SOL", watched=("BTC", "ETH")) as (server, world):
        await asyncio.sleep(70)
        server.liquidate(1.0, 2.0)
        server.liquidate(9.0, symbol=SOL)  # nobody has asked for it
        server.liquidate(5.0, symbol="tBTCUSD")  # a margin position on a pair
        server.liquidate(4.0, long=False)
        await asyncio.sleep(2)
        assert {*turns(world.events)} == {
            "+liquidation *", "+volume *",
            *(f"+{k} {symbol}" for symbol in (BTC, ETH) for k in (*OF_STATUS, Kind.DEPTH)),
        }  # fmt: skip
        assert [(e.base, e.usd, str(e.position)) for e in of(world, Liquidation)] == [
            (1, 100, "long"), (2, 200, "long"), (4, 400, "short")
        ]  # fmt: skip
        assert {(e.mark, e.index) for e in of(world, Price)} == {(100, 100)}
        assert {(e.base, e.usd, e.one_side) for e in of(world, OpenInterest)} == {
            (10, 1_000, False)
        }  # fmt: skip
        assert {(e.settled, e.rate, e.hours) for e in of(world, Funding)} == {(False, 0.0001, 8)}
        assert of(world, Volume)[0].usd_24h == 1_000_000
        depth = of(world, Depth)[-1]
        assert depth.bands[0].bid_usd == pytest.approx(99.99 * 5 + 99.9 * 8)
        assert not [e for e in world.events if getattr(e, "symbol", "") == SOL]
        assert len(world.server.open) == 3


@virtual
async def test_a_lost_frame_costs_all_books_of_its_connection_until_the_next_one() -> None:
    """Of which it was nobody knows; the other connections go on."""
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(20)
        before = len(world.events)
        server.skip.add(ETH)
        await asyncio.sleep(20)
        heard = turns(world.events[before:])
        assert {*heard[:2]} == {f"-depth {symbol}" for symbol in (BTC, ETH)}
        assert {*heard[2:]} == {f"+depth {symbol}" for symbol in (BTC, ETH)}
        assert len(world.server.opened) == 4
        assert sum(socket.session.stats.gaps for socket in world.client.sockets) == 1


@virtual
async def test_a_book_that_is_crossed_is_asked_for_anew_by_its_channel() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(20)
        before = len(world.events)
        server.crossed.add(ETH)
        await asyncio.sleep(5)
        server.crossed.clear()
        await asyncio.sleep(20)
        assert turns(world.events[before:]) == [f"-depth {ETH}", f"+depth {ETH}"]
        asked = [json.loads(message) for message in world.server.heard]
        assert sum(message["event"] == "unsubscribe" for message in asked) == 1
        assert len(world.server.opened) == 3


@virtual
async def test_a_connection_on_which_nothing_comes_is_left() -> None:
    async with at("BTC") as (server, world):
        await asyncio.sleep(10)
        server.silent = True
        await asyncio.sleep(90)
        kinds = (*OF_STATUS, Kind.DEPTH)
        assert lost(world) == {"-liquidation *", *(f"-{kind} {BTC}" for kind in kinds)}
        server.silent = False
        await asyncio.sleep(70)
        for feed in ("liquidation *", f"depth {BTC}", f"price {BTC}"):
            states = [turn[0] for turn in turns(world.events) if turn[1:] == feed]
            assert [sign for sign, _ in groupby(states)] == ["+", "-", "+"]


@virtual
async def test_a_quiet_contract_costs_the_others_nothing() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(10)
        server.quiet.add(ETH)
        await asyncio.sleep(120)
        assert lost(world) <= {f"-{kind} {ETH}" for kind in (*OF_STATUS, Kind.DEPTH)}
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
        assert turns(world.events).count("+liquidation *") == 2
        assert turns(world.events).count(f"+price {ETH}") == 2
        assert turns(world.events).count(f"+depth {ETH}") == 2
        assert len(world.server.open) == 3


@virtual
async def test_a_refused_contract_costs_itself_alone() -> None:
    """The others are asked for again and refused as they are there already, which is no harm."""
    async with at("BTC", "ETH", "SOL") as (server, world):
        server.refused.add(ETH)
        await asyncio.sleep(90)
        assert {turn for turn in turns(world.events) if ETH in turn} == {
            f"-{kind} {ETH}" for kind in (*OF_STATUS, Kind.DEPTH)
        }
        for symbol in (BTC, SOL):
            assert of(world, Depth, symbol)
            assert of(world, Price, symbol)
        assert not {turn for turn in lost(world) if ETH not in turn}
        assert len(world.server.opened) == 3


@virtual
async def test_an_interval_that_changes_is_taken_as_it_shows() -> None:
    """No frame says it: the time of the next settlement is not that of an interval of 8 h."""
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(40)
        server.hours[ETH] = 1
        await asyncio.sleep(150)
        assert of(world, Funding, ETH)[0].hours == 8
        assert of(world, Funding, ETH)[-1].hours == 1
        assert {e.hours for e in of(world, Funding)} == {8}


@virtual
async def test_a_contract_that_is_delisted_is_missing_and_back_when_it_is_listed_again() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(30)
        server.contracts.remove(ETH)
        world.client.ask_relist()
        await asyncio.sleep(100)
        assert world.faults == [f"contract_missing {ETH}"]
        assert f"-depth {ETH}" in lost(world)
        depths = len(of(world, Depth, ETH))
        await asyncio.sleep(20)
        assert len(of(world, Depth, ETH)) == depths
        server.contracts.append(ETH)
        world.client.ask_relist()
        await asyncio.sleep(90)
        assert world.faults[1:] == [f"contract_missing {ETH} over"]
        assert len(of(world, Depth, ETH)) > depths


@virtual
async def test_hundreds_of_contracts_stay_within_the_limits() -> None:
    """30 channels on a connection, of which 20 are opened a minute."""
    assets = [f"A{n}" for n in range(200)]
    async with at(*assets) as (_, world):
        for _ in range(2):
            await asyncio.sleep(90)
            assert len(world.server.open) == 1 + 7 + 7
            for connection in [*world.server.open]:
                connection.transport.abort()
        await asyncio.sleep(90)
        up = {turn for turn in turns(world.events) if turn.startswith("+")}
        assert len(up) == 2 + 4 * 200
        assert {turn.split()[0][1:] for turn in up} == {*map(str, Kind)}
        opened = world.server.opened
        assert all(
            sum(moment <= later < moment + 60 for later in opened) <= 20 for moment in opened
        )
