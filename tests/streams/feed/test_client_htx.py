"""HTX from its listing to its liquidations, against a server that speaks as it does."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from streams.events import Depth, Funding, Kind, Liquidation, OpenInterest, Price, Volume
from streams.venues import htx
from tests.streams.feed.test_client import Listened, at_work_on
from tests.streams.htx_server import HtxServer
from tests.streams.venue_server import turns
from tests.streams.virtual import virtual

pytestmark = pytest.mark.usefixtures("no_chance")

BTC, ETH, SOL = "BTC-USDT", "ETH-USDT", "SOL-USDT"


def at(
    *assets: str, watched: Sequence[str] = ()
) -> AbstractAsyncContextManager[tuple[HtxServer, Listened]]:
    """A client at work on a server with contracts on these assets."""
    return at_work_on("htx", HtxServer(*assets), watched or assets)


def of(world: Listened, kind: type, symbol: str = BTC) -> list[Any]:
    return world.of(kind, symbol)


@virtual
async def test_everything_of_the_wanted_contracts_is_published() -> None:
    async with at("BTC", "ETH", "SOL", watched=("BTC", "ETH")) as (server, world):
        await asyncio.sleep(70)
        server.liquidate(1.0, 2.0)
        server.liquidate(9.0, symbol=SOL)  # nobody has asked for it
        server.liquidate(4.0, long=False)
        await asyncio.sleep(2)
        assert {*turns(world.events)} == {
            "+liquidation *", "+funding *", "+open_interest *", "+volume *",
            *(f"+{kind} {symbol}" for symbol in (BTC, ETH) for kind in ("depth", "price")),
        }  # fmt: skip
        assert [(e.base, e.usd, str(e.position)) for e in of(world, Liquidation)] == [
            (1, 100, "long"), (2, 200, "long"), (4, 400, "short")
        ]  # fmt: skip
        assert (of(world, Price)[-1].mark, of(world, Price)[-1].index) == (100, 100)
        assert {(e.base, e.usd, e.one_side) for e in of(world, OpenInterest)} == {
            (10, 1_000, False)
        }  # fmt: skip
        assert {(e.settled, e.rate, e.hours) for e in of(world, Funding)} == {(False, 0.0001, 8)}
        assert of(world, Volume)[0].usd_24h == 1_000_000
        depth = of(world, Depth)[-1]
        assert depth.bands[0].bid_usd == pytest.approx(99.99 * 5 + 99.9 * 8)
        assert not [e for e in world.events if getattr(e, "symbol", "") == SOL]


@virtual
async def test_pings_are_answered_on_each_of_its_sockets() -> None:
    """In the words of each: it cuts a connection that leaves them unanswered."""
    async with at("BTC") as (_, world):
        await asyncio.sleep(122)
        assert len(world.server.opened) == len(world.server.open) == 3
        pongs = [json.loads(message) for message in world.server.heard if b"pong" in message]
        of_all = [pong for pong in pongs if "op" in pong]
        assert len(of_all) == 24 and len(pongs) == 3 * 24
        assert all(isinstance(pong["ts"], str) for pong in of_all)


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
async def test_a_venue_that_only_pings_is_left() -> None:
    async with at("BTC") as (server, world):
        await asyncio.sleep(10)
        server.silent = True
        await asyncio.sleep(90)
        lost = {turn for turn in turns(world.events) if turn.startswith("-")}
        assert lost == {f"-depth {BTC}", f"-price {BTC}"}
        server.silent = False
        await asyncio.sleep(60)
        assert turns(world.events).count(f"+depth {BTC}") == 2
        assert turns(world.events).count(f"+price {BTC}") == 2


@virtual
async def test_a_quiet_contract_costs_the_others_nothing() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(10)
        server.quiet.add(ETH)
        await asyncio.sleep(120)
        lost = {turn for turn in turns(world.events) if turn.startswith("-")}
        assert lost <= {f"-depth {ETH}", f"-price {ETH}"}
        assert len(world.server.opened) == 3


@virtual
async def test_a_connection_that_breaks_is_made_anew() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(10)
        server.liquidate(1.0)
        await asyncio.sleep(2)
        for connection in [*world.server.open]:
            connection.transport.abort()
        await asyncio.sleep(10)
        server.liquidate(3.0)
        await asyncio.sleep(1)
        assert [e.base for e in of(world, Liquidation)] == [1, 3]
        assert turns(world.events).count("+liquidation *") == 2
        assert turns(world.events).count(f"+price {ETH}") == 2
        assert len(world.server.open) == 3


@virtual
async def test_a_refused_contract_costs_itself_alone() -> None:
    async with at("BTC", "ETH", "SOL") as (server, world):
        server.refused.add(ETH)
        await asyncio.sleep(90)
        lost = {turn for turn in turns(world.events) if ETH in turn}
        assert lost == {f"-depth {ETH}", f"-price {ETH}"}
        for symbol in (BTC, SOL):
            assert of(world, Depth, symbol)
            assert of(world, Price, symbol)
        assert len(world.server.opened) == 3


@virtual
async def test_an_interval_that_changes_is_taken_as_it_is_told() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(40)
        server.change(ETH, 1)
        await asyncio.sleep(5)
        assert of(world, Funding, ETH)[0].hours == 8
        assert of(world, Funding, ETH)[-1].hours == 1
        assert of(world, Funding)[-1].hours == 8


@virtual
async def test_a_delisting_is_taken_as_soon_as_nothing_is_held_and_a_listing_again_too() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(30)
        server.contracts[ETH] |= {"contract_status": 6}
        server.coins = 0.0
        await asyncio.sleep(12)
        server.coins = 10.0
        await asyncio.sleep(20)
        assert world.faults == [f"contract_settling {ETH}"]
        depths = len(of(world, Depth, ETH))
        await asyncio.sleep(30)
        assert len(of(world, Depth, ETH)) == depths
        server.contracts[ETH] |= {"contract_status": 1}
        server.coins = 0.0
        await asyncio.sleep(12)
        server.coins = 10.0
        await asyncio.sleep(30)
        assert world.faults[1:] == [f"contract_settling {ETH} over"]
        assert len(of(world, Depth, ETH)) > depths
        assert {e.base for e in of(world, OpenInterest, ETH)} == {10}


@virtual
async def test_hundreds_of_contracts_stay_within_the_limits() -> None:
    """120 topics on a connection take six seconds."""
    assets = [f"A{n}" for n in range(200)]
    async with at(*assets) as (_, world):
        for _ in range(2):
            await asyncio.sleep(30)
            assert len(world.server.open) == 1 + 4 + 5
            for connection in [*world.server.open]:
                connection.transport.abort()
        await asyncio.sleep(30)
        up = {turn for turn in turns(world.events) if turn.startswith("+")}
        assert len(up) == 4 + 2 * 200
        kinds = {turn.split()[0][1:] for turn in up}
        assert kinds == {*map(str, htx.SPEC.kinds)} == {*map(str, Kind)}
