"""OKX from its listing to its liquidations, against a server that speaks as it does."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from streams.events import Depth, Funding, Kind, Liquidation, OpenInterest, Price, Volume
from streams.venues import okx
from tests.streams.feed.test_client import Listened, at_work_on
from tests.streams.okx_server import OkxServer
from tests.streams.venue_server import turns
from tests.streams.virtual import virtual

pytestmark = pytest.mark.usefixtures("no_chance")

BTC, ETH, SOL = "BTC-USDT-SWAP", "ETH-USDT-SWAP", "SOL-USDT-SWAP"


def at(
    *assets: str, watched: Sequence[str] = ()
) -> AbstractAsyncContextManager[tuple[OkxServer, Listened]]:
    """A client at work on a server with contracts on these assets."""
    return at_work_on("okx", OkxServer(*assets), watched or assets)


def of(world: Listened, kind: type, symbol: str = BTC) -> list[Any]:
    return world.of(kind, symbol)


@virtual
async def test_everything_of_the_wanted_contracts_is_published() -> None:
    async with at("BTC", "ETH", "SOL", watched=("BTC", "ETH")) as (server, world):
        await asyncio.sleep(10)
        server.liquidate(1.0, 2.0)
        server.liquidate(9.0, symbol=SOL)  # nobody has asked for it
        await asyncio.sleep(2)
        assert sorted(turns(world.events)) == [
            f"+depth {BTC}", f"+depth {ETH}", "+funding *", "+liquidation *", "+open_interest *",
            f"+price {BTC}", f"+price {ETH}", "+volume *",
        ]  # fmt: skip
        assert [(e.base, e.usd) for e in of(world, Liquidation)] == [(1, 100), (2, 200)]
        assert {(e.mark, e.index) for e in of(world, Price)[-2:]} == {(100, 100)}
        assert {(e.base, e.usd) for e in of(world, OpenInterest)} == {(10, 1_000)}
        assert {(e.settled, e.hours) for e in of(world, Funding)} == {(True, 8), (False, 8)}
        assert of(world, Volume)[0].usd_24h == 1_000_000
        depth = of(world, Depth)[-1]
        assert depth.bands[0].bid_usd == pytest.approx(99.99 * 5 + 99.9 * 8)
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


@pytest.mark.parametrize("silent", [False, True], ids=["no answer to pings", "nothing at all"])
def test_a_connection_on_which_nothing_comes_is_left(silent: bool) -> None:
    @virtual
    async def check() -> None:
        async with at("BTC") as (server, world):
            await asyncio.sleep(5)
            server.replayed = [server.liquidate(1.0)]
            await asyncio.sleep(5)
            server.silent, server.answers_pings = silent, False
            await asyncio.sleep(70)
            server.silent, server.answers_pings = False, True
            await asyncio.sleep(70)
            lost = {turn for turn in turns(world.events) if turn.startswith("-")}
            others = {f"-depth {BTC}", f"-price {BTC}"}
            assert lost == {"-liquidation *"} | (others if silent else set())
            assert turns(world.events).count("+liquidation *") > 1
            assert [e.base for e in of(world, Liquidation)] == [1]  # however often it is repeated

    check()


@virtual
async def test_a_connection_that_breaks_is_made_anew_and_repeats_nothing() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(10)
        server.replayed = [server.liquidate(1.0, 1.0)]
        await asyncio.sleep(2)
        for connection in [*world.server.open]:
            connection.transport.abort()
        await asyncio.sleep(10)
        server.liquidate(3.0)
        await asyncio.sleep(1)
        assert [e.base for e in of(world, Liquidation)] == [1, 1, 3]
        assert turns(world.events).count("+liquidation *") == 2
        assert turns(world.events).count(f"+price {ETH}") == 2
        assert len(world.server.open) == 3


@virtual
async def test_a_service_upgrade_is_not_noticed() -> None:
    """A minute's notice: by then each socket has a successor that has all its feeds."""
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(10)
        server.replayed = [server.liquidate(2.0)]
        await asyncio.sleep(1)
        old, before = [*world.server.open], len(world.events)
        server.notice()
        await asyncio.sleep(58)
        for connection in old:
            connection.transport.abort()
        server.liquidate(4.0)
        await asyncio.sleep(10)
        assert turns(world.events[before:]) == ["+liquidation *"] * turns(
            world.events[before:]
        ).count("+liquidation *")  # it is said each minute
        assert [e.base for e in of(world, Liquidation)] == [2, 4]
        assert len(world.server.opened) == 6
        assert not {*old} & {*world.server.open}


@virtual
async def test_a_refused_contract_costs_itself_alone() -> None:
    async with at("BTC", "ETH") as (server, world):
        server.refused |= {ETH, "ETH-USDT"}
        await asyncio.sleep(20)
        assert {turn for turn in turns(world.events) if ETH in turn} == set()
        assert of(world, Depth)
        assert of(world, Price)
        assert of(world, OpenInterest, ETH)  # which is of all contracts


@virtual
async def test_an_interval_that_changes_is_taken_at_once() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(40)
        server.hours[ETH] = 1
        await asyncio.sleep(40)
        assert of(world, Funding, ETH)[-1].hours == 1
        assert of(world, Funding)[-1].hours == 8
        assert turns(world.events).count("+funding *") == 1


@virtual
async def test_a_delisting_is_taken_at_once_and_a_listing_again_too() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(30)
        server.change(ETH, expTime=str(server.now + 86_400_000))
        await asyncio.sleep(30)
        assert world.faults == [f"contract_settling {ETH}"]
        assert f"-depth {ETH}" in turns(world.events)
        depths = len(of(world, Depth, ETH))
        await asyncio.sleep(30)
        assert len(of(world, Depth, ETH)) == depths
        server.contracts[ETH]["expTime"] = ""
        await asyncio.sleep(3_600)
        assert world.faults[1:] == [f"contract_settling {ETH} over"]
        assert turns(world.events).count(f"+depth {ETH}") == 2
        assert f"-depth {BTC}" not in turns(world.events)  # though they share a socket


@virtual
async def test_a_contract_of_another_size_is_read_anew() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(30)
        bids = of(world, Depth)[-1].bands[0].bid_usd
        server.change(BTC, ctVal="0.05")
        await asyncio.sleep(30)
        server.liquidate(1.0)
        await asyncio.sleep(2)
        # what is 1 coin in the frames is 2 contracts, so a tenth of it now
        assert of(world, Liquidation)[-1].base == pytest.approx(0.1)
        assert len(server.asked) > 3 + 3
        assert of(world, Depth)[-1].bands[0].bid_usd < bids


@virtual
async def test_hundreds_of_contracts_stay_within_the_limits() -> None:
    """Three connections a second at most, at the start and after all of them are lost."""
    assets = [f"A{n}" for n in range(200)]
    async with at(*assets) as (server, world):
        for _ in range(2):
            await asyncio.sleep(30)
            assert len(world.server.open) == 1 + 3 + 8
            for connection in [*world.server.open]:
                connection.transport.abort()
        await asyncio.sleep(30)
        opened = world.server.opened
        assert len(opened) == 3 * 12
        for place in range(len(opened) - 3):
            assert opened[place + 3] - opened[place] >= 1.0
        up = {turn for turn in turns(world.events) if turn.startswith("+")}
        assert len(up) == 4 + 2 * 200
        kinds = {turn.split()[0][1:] for turn in up}
        assert kinds == {*map(str, okx.SPEC.kinds)} == {*map(str, Kind)}
        asked = {path.partition("&instId=")[0] for path in server.asked}
        assert len(asked) == 4 + 1  # and the settlements of each, which nobody waits for
