"""Bitget from its listing to its liquidations, against a server that speaks as it does."""

import asyncio
import itertools
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import pytest

from streams.events import Depth, Funding, Kind, Liquidation, OpenInterest, Price, Volume
from streams.venues import bitget
from tests.streams.bitget_server import BitgetServer
from tests.streams.feed.test_client import Listened, at_work_on
from tests.streams.venue_server import turns
from tests.streams.virtual import virtual

pytestmark = pytest.mark.usefixtures("no_chance")

BTC, ETH, BONK = "BTCUSDT", "ETHUSDT", "1000BONKUSDT"


def at(
    *symbols: str, watched: Sequence[str] = ()
) -> AbstractAsyncContextManager[tuple[BitgetServer, Listened]]:
    """A client at work on a server with these contracts."""
    assets = watched or [symbol.removesuffix("USDT") for symbol in symbols]
    return at_work_on("bitget", BitgetServer(*symbols), assets)


@virtual
async def test_everything_of_the_wanted_contracts_is_published() -> None:
    async with at(BTC, BONK, ETH, watched=("BTC", "BONK")) as (server, world):
        await asyncio.sleep(10)
        server.liquidate(1.0, 2.0, late=20_000)
        server.liquidate(3.0, symbol=BONK)
        server.liquidate(9.0, symbol=ETH)  # nobody has asked for it
        await asyncio.sleep(80)
        assert sorted({*turns(world.events)}) == [
            f"+depth {BONK}", f"+depth {BTC}", "+funding *", "+liquidation *", "+open_interest *",
            "+price *", "+volume *",
        ]  # fmt: skip
        assert [(e.base, e.usd) for e in world.of(Liquidation, BTC)] == [(1, 100), (2, 200)]
        assert [(e.base, e.usd, e.price) for e in world.of(Liquidation, BONK)] == [(3e3, 300, 0.1)]
        assert {(e.mark, e.index) for e in world.of(Price, BTC)} == {(100, 100)}
        assert {(e.mark, e.index) for e in world.of(Price, BONK)} == {(0.1, 0.1)}
        assert len(world.of(Price, BTC)) > 40
        assert {(e.base, e.usd) for e in world.of(OpenInterest, BONK)} == {(1e4, 1_000)}
        assert {(e.settled, e.hours) for e in world.of(Funding, BTC)} == {(True, 8), (False, 8)}
        assert world.of(Volume, BTC)[0].usd_24h == 1_000_000
        depth = world.of(Depth, BTC)[-1]
        assert depth.bands[0].bid_usd == pytest.approx(99.99 * 5 + 99.9 * 8)
        assert not [e for e in world.events if getattr(e, "symbol", "") == ETH]
        assert len(world.server.open) == 2


@virtual
async def test_a_lost_change_costs_one_book_for_a_moment() -> None:
    async with at(BTC, ETH) as (server, world):
        await asyncio.sleep(20)
        before = len(world.events)
        server.skip.add(ETH)
        await asyncio.sleep(20)
        assert turns(world.events[before:]) == [f"-depth {ETH}", f"+depth {ETH}"]
        assert len(world.server.opened) == 2


@virtual
async def test_a_book_that_counts_anew_is_asked_for_anew() -> None:
    """Its next id is lower, and it follows none: no old change, but the end of what was known."""
    async with at(BTC, ETH) as (server, world):
        await asyncio.sleep(20)
        before = len(world.events)
        server.anew.add(BTC)
        await asyncio.sleep(20)
        assert turns(world.events[before:]) == [f"-depth {BTC}", f"+depth {BTC}"]


@pytest.mark.parametrize("silent", [False, True], ids=["no answer to pings", "nothing at all"])
def test_a_connection_on_which_nothing_comes_is_left(silent: bool) -> None:
    @virtual
    async def check() -> None:
        async with at(BTC) as (server, world):
            await asyncio.sleep(5)
            server.replayed = [server.liquidate(1.0)]
            await asyncio.sleep(5)
            server.silent, server.answers_pings = silent, False
            await asyncio.sleep(70)
            server.silent, server.answers_pings = False, True
            await asyncio.sleep(70)
            lost = {turn for turn in turns(world.events) if turn.startswith("-")}
            assert lost == {"-liquidation *"} | ({f"-depth {BTC}"} if silent else set())
            assert turns(world.events).count("+liquidation *") > 1
            assert [e.base for e in world.of(Liquidation, BTC)] == [1]  # though it is repeated

    check()


@virtual
async def test_a_connection_that_breaks_is_made_anew_and_repeats_nothing() -> None:
    async with at(BTC, ETH) as (server, world):
        await asyncio.sleep(10)
        server.replayed = [server.liquidate(1.0, 1.0)]
        await asyncio.sleep(2)
        for connection in [*world.server.open]:
            connection.transport.abort()
        await asyncio.sleep(10)
        server.liquidate(3.0)
        await asyncio.sleep(1)
        assert [e.base for e in world.of(Liquidation, BTC)] == [1, 1, 3]
        assert turns(world.events).count("+liquidation *") == 2
        assert turns(world.events).count(f"+depth {ETH}") == 2
        assert "-price *" not in turns(world.events)
        assert len(world.server.open) == 2


@virtual
async def test_a_refused_contract_costs_itself_alone() -> None:
    async with at(BTC, ETH) as (server, world):
        server.refused.add(ETH)
        await asyncio.sleep(20)
        assert f"+depth {ETH}" not in turns(world.events)
        assert world.of(Depth, BTC)
        assert world.of(OpenInterest, ETH)  # which is of all contracts


@virtual
async def test_an_interval_that_changes_is_taken_at_once() -> None:
    async with at(BTC, ETH) as (server, world):
        await asyncio.sleep(40)
        server.hours[ETH] = 1
        await asyncio.sleep(40)
        assert world.of(Funding, ETH)[-1].hours == 1
        assert world.of(Funding, BTC)[-1].hours == 8
        assert turns(world.events).count("+funding *") == 1


@virtual
async def test_a_delisting_is_taken_with_the_next_listing_and_a_listing_again_too() -> None:
    async with at(BTC, ETH) as (server, world):
        await asyncio.sleep(30)
        server.contracts[ETH]["limitOpenTime"] = str(server.now + 86_400_000)
        await asyncio.sleep(3_600)
        assert world.faults == [f"contract_settling {ETH}"]
        depths = len(world.of(Depth, ETH))
        await asyncio.sleep(30)
        assert len(world.of(Depth, ETH)) == depths
        server.contracts[ETH]["limitOpenTime"] = "-1"
        await asyncio.sleep(3_600)
        assert world.faults[1:] == [f"contract_settling {ETH} over"]
        assert turns(world.events).count(f"+depth {ETH}") == 2


@virtual
async def test_hundreds_of_contracts_stay_within_the_limits() -> None:
    """A connection a second at most, at the start and after all of them are lost."""
    async with at(*(f"A{n}USDT" for n in range(200))) as (server, world):
        for _ in range(2):
            await asyncio.sleep(60)
            assert len(world.server.open) == 1 + 5
            for connection in [*world.server.open]:
                connection.transport.abort()
        await asyncio.sleep(60)
        opened = world.server.opened
        assert len(opened) == 3 * 6
        assert min(b - a for a, b in itertools.pairwise(opened)) >= 1.0
        up = {turn for turn in turns(world.events) if turn.startswith("+")}
        assert len(up) == 5 + 200
        kinds = {turn.split()[0][1:] for turn in up}
        assert kinds == {*map(str, bitget.SPEC.kinds)} == {*map(str, Kind)}
        settlements = [path for path in server.asked if "history-fund-rate" in path]
        assert len(set(settlements)) in (0, 200)
