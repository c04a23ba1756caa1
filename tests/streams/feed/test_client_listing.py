"""A contract joins and another one leaves in the middle of everything, and the others go on."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from typing import Any

import pytest

from streams.events import NOT_WATCHED, Depth, FeedState, Liquidation, Price
from streams.feed import selection
from tests.streams.bitget_server import BitgetServer
from tests.streams.deribit_server import DeribitServer
from tests.streams.feed.test_client import Listened, at_work_on, binance
from tests.streams.gate_server import GateServer
from tests.streams.kraken_server import KrakenServer
from tests.streams.okx_server import OkxServer
from tests.streams.venue_server import at_work, turns
from tests.streams.virtual import virtual

pytestmark = pytest.mark.usefixtures("no_chance")

ASSETS = ("BTC", "ETH", "NEW", "SOL")
SERVERS: dict[str, Callable[..., Any]] = {
    "bitget": lambda *assets: BitgetServer(*(f"{asset}USDT" for asset in assets)),
    "deribit": DeribitServer,
    "gate": GateServer,
    "kraken": KrakenServer,
    "okx": OkxServer,
}


def at(venue: str) -> AbstractAsyncContextManager[tuple[Any, Listened]]:
    """A client at work on a server with contracts on BTC, ETH and SOL."""
    return at_work_on(venue, SERVERS[venue]("BTC", "ETH", "SOL"), ASSETS)


def of(asset: str, server: Any) -> str:
    """The symbol of its contract."""
    names = {"BTC": ("BTC", "XBT")}.get(asset, (asset,))
    return next(s for s in server.contracts if any(name in s for name in names))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A contract is gone as soon as one listing lacks it."""
    monkeypatch.setattr(selection, "GONE_AFTER_MS", 0)


async def liquidate_for(server: Any, seconds: int) -> list[float]:
    """One liquidation of BTC a second, of changing size; those sizes."""
    sizes = [1.0 + n % 8 for n in range(seconds)]
    for size in sizes:
        server.liquidate(size)
        await asyncio.sleep(1)
    await asyncio.sleep(5)
    return sizes


def unbroken(world: Listened, symbol: str, since: int) -> None:
    """Its book and prices come each second, and nothing of it was down."""
    assert symbol not in [turn.split()[1] for turn in turns(world.events[since:]) if turn[0] == "-"]
    for kind, apart in ((Depth, 2_000), (Price, 4_000)):
        times = [e.seen for e in world.events[since:] if isinstance(e, kind) and e.symbol == symbol]
        assert len(times) > 10
        assert max(b - a for a, b in pairwise(times)) <= apart


@pytest.mark.parametrize("venue", SERVERS)
def test_a_contract_joins_another_leaves_and_the_others_go_on(venue: str) -> None:
    @virtual
    async def check() -> None:
        async with at(venue) as (server, world):
            await asyncio.sleep(70)
            btc, eth, sol = (of(asset, server) for asset in ("BTC", "ETH", "SOL"))
            since, opened = len(world.events), len(world.server.open)
            del server.contracts[eth]
            server.contracts |= SERVERS[venue]("NEW").contracts
            new = of("NEW", server)
            world.client.ask_relist()
            sizes = await liquidate_for(server, 60)
            for symbol in (btc, sol):
                unbroken(world, symbol, since)
            down = [turn for turn in turns(world.events[since:]) if turn.startswith("-")]
            assert {turn.split()[1] for turn in down} == {eth}
            assert {*turns(world.events[since:])} >= {f"+depth {new}", f"-depth {eth}"}
            reasons = {
                e.reason
                for e in world.events[since:]
                if isinstance(e, FeedState) and e.symbol == eth and not e.up
            }
            assert reasons == {NOT_WATCHED}
            orders = world.of(Liquidation, btc)
            factor = orders[0].base / sizes[0]
            assert [e.base / factor for e in orders] == pytest.approx(sizes)
            assert len(world.server.open) == opened
            # and the other way round: what left is back, what joined is gone
            since = len(world.events)
            server.contracts |= SERVERS[venue]("ETH").contracts
            del server.contracts[new]
            world.client.ask_relist()
            await asyncio.sleep(60)
            assert f"+depth {eth}" in turns(world.events[since:])
            for symbol in (btc, sol):
                unbroken(world, symbol, since)
            assert [*world.client.watched] == [btc, eth, sol]
            assert len(world.server.open) == opened

    check()


@virtual
async def test_another_order_of_ranks_opens_no_socket_anew() -> None:
    async with binance() as (venue, world):
        venue.listed.append("BTCUSDC")
        venue.volumes = [
            {"symbol": "BTCUSDC", "quoteVolume": "2"}, {"symbol": "BTCUSDT", "quoteVolume": "9"},
        ]  # fmt: skip
        async with at_work(world.run()):
            await asyncio.sleep(25)
            assert [*world.client.watched] == ["BTCUSDT", "BTCUSDC", "ETHUSDT"]
            venue.volumes[0]["quoteVolume"] = "99"
            world.client.ask_relist()
            await asyncio.sleep(60)
            assert [*world.client.watched] == ["BTCUSDC", "BTCUSDT", "ETHUSDT"]
            assert len(world.server.opened) == 2
            assert not [turn for turn in turns(world.events) if turn.startswith("-")]
