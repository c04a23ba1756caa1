"""Gate from its listing to its liquidations, against a server that speaks as it does."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from streams.events import Depth, Funding, Kind, Liquidation, OpenInterest, Price, Volume
from streams.venues import gate
from tests.streams.feed.test_client import Listened, at_work_on
from tests.streams.gate_server import GateServer
from tests.streams.venue_server import turns
from tests.streams.virtual import virtual

pytestmark = pytest.mark.usefixtures("no_chance")

BTC, ETH, SOL = "BTC_USDT", "ETH_USDT", "SOL_USDT"


def at(
    *assets: str, watched: Sequence[str] = ()
) -> AbstractAsyncContextManager[tuple[GateServer, Listened]]:
    """A client at work on a server with contracts on these assets."""
    return at_work_on("gate", GateServer(*assets), watched or assets)


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
            "+liquidation *",
            *(f"+{kind} {symbol}" for symbol in (BTC, ETH)
              for kind in ("depth", "funding", "open_interest", "price", "volume")),
        }  # fmt: skip
        assert [(e.base, e.usd, str(e.position)) for e in of(world, Liquidation)] == [
            (1, 100, "long"), (2, 200, "long"), (4, 400, "short")
        ]  # fmt: skip
        assert {(e.mark, e.index) for e in of(world, Price)} == {(100, 100)}
        assert {(e.base, e.usd, e.one_side) for e in of(world, OpenInterest)} == {
            (10, 1_000, False)
        }  # fmt: skip
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
            server.silent, server.answers_pings = silent, False
            await asyncio.sleep(90)
            server.silent, server.answers_pings = False, True
            await asyncio.sleep(90)
            lost = {turn for turn in turns(world.events) if turn.startswith("-")}
            others = {f"-{kind} {BTC}" for kind in (*gate.SPEC.kinds,) if kind != "liquidation"}
            assert lost == {"-liquidation *"} | (others if silent else set())
            assert turns(world.events).count("+liquidation *") > 1

    check()


@virtual
async def test_a_quiet_contract_costs_the_others_nothing() -> None:
    """It had neither a ticker nor a change of its book for 36 s. After a minute its book is asked
    for anew, and is there again at once; the socket is not dead."""
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(10)
        server.quiet.add(ETH)
        await asyncio.sleep(55)
        assert not [turn for turn in turns(world.events) if turn.startswith("-")]
        await asyncio.sleep(60)
        lost = [turn for turn in turns(world.events) if turn.startswith("-")]
        assert lost == [f"-depth {ETH}"]
        assert turns(world.events).count(f"+depth {ETH}") == 2
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
async def test_an_upgrade_is_not_noticed() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(10)
        old, before = [*world.server.open], len(world.events)
        server.notice()
        await asyncio.sleep(58)
        for connection in old:
            connection.transport.abort()
        server.liquidate(4.0)
        await asyncio.sleep(10)
        assert not [turn for turn in turns(world.events[before:]) if turn.startswith("-")]
        assert [e.base for e in of(world, Liquidation)] == [4]
        assert len(world.server.opened) == 6
        assert not {*old} & {*world.server.open}


@virtual
async def test_a_refused_contract_costs_itself_alone() -> None:
    """Of tickers it is refused by name, with all that were asked for; its book is acknowledged and
    never comes, which is told after a minute."""
    async with at("BTC", "ETH", "SOL") as (server, world):
        server.refused.add(ETH)
        await asyncio.sleep(90)
        lost = [turn for turn in turns(world.events) if ETH in turn]
        assert lost and {*lost} <= {
            f"-{kind} {ETH}" for kind in gate.SPEC.kinds - {Kind.LIQUIDATION}
        }
        for symbol in (BTC, SOL):
            assert of(world, Depth, symbol)
            assert of(world, Price, symbol)
        assert len(world.server.opened) == 3


@virtual
async def test_an_interval_that_changes_is_taken_at_once() -> None:
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(40)
        server.hours[ETH] = 1
        await asyncio.sleep(5)
        assert of(world, Funding, ETH)[-1].hours == 1
        assert of(world, Funding)[-1].hours == 8
        assert turns(world.events).count(f"+funding {ETH}") == 1


@virtual
async def test_a_delisting_is_taken_as_soon_as_nothing_is_held_and_a_listing_again_too() -> None:
    """No channel says it; an open interest of 0 makes the listing be read."""
    async with at("BTC", "ETH") as (server, world):
        await asyncio.sleep(30)
        server.contracts[ETH] |= {"status": "delisting", "in_delisting": True}
        server.coins = 0.0
        await asyncio.sleep(10)
        server.coins = 10.0
        await asyncio.sleep(20)
        assert world.faults == [f"contract_settling {ETH}"]
        depths = len(of(world, Depth, ETH))
        await asyncio.sleep(30)
        assert len(of(world, Depth, ETH)) == depths
        server.contracts[ETH] |= {"status": "trading", "in_delisting": False}
        server.coins = 0.0
        await asyncio.sleep(10)
        server.coins = 10.0
        await asyncio.sleep(30)
        assert world.faults[1:] == [f"contract_settling {ETH} over"]
        assert len(of(world, Depth, ETH)) > depths
        assert {e.base for e in of(world, OpenInterest, ETH)} == {10}


@virtual
async def test_hundreds_of_contracts_stay_within_the_limits() -> None:
    """Seven sockets of the 300 that an address may have, before and after all of them are lost."""
    assets = [f"A{n}" for n in range(200)]
    async with at(*assets) as (_, world):
        for _ in range(2):
            await asyncio.sleep(15)
            assert len(world.server.open) == 1 + 2 + 4
            for connection in [*world.server.open]:
                connection.transport.abort()
        await asyncio.sleep(15)
        opened = world.server.opened
        assert len(opened) == 3 * 7
        for place in range(len(opened) - 5):
            assert opened[place + 5] - opened[place] >= 1.0
        up = {turn for turn in turns(world.events) if turn.startswith("+")}
        assert len(up) == 1 + 5 * 200
        kinds = {turn.split()[0][1:] for turn in up}
        assert kinds == {*map(str, gate.SPEC.kinds)} == {*map(str, Kind)}
