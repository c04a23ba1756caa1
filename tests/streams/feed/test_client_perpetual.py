"""Perpetual markets from their listing to their liquidations, against servers that speak as they
do. Those of Binance, Bybit and Hyperliquid are in ``test_client`` and ``test_client_inverse``."""

import asyncio
import itertools
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

import pytest

from streams.events import Depth, Funding, Kind, Liquidation, OpenInterest, Price, Volume
from streams.venues import VENUES
from tests.streams import frames
from tests.streams.bitfinex_server import BitfinexServer
from tests.streams.bitget_server import BitgetServer
from tests.streams.deribit_server import DeribitServer
from tests.streams.feed.test_client import Listened, at_work_on
from tests.streams.gate_server import GateServer
from tests.streams.htx_server import HtxServer
from tests.streams.kraken_server import KrakenServer
from tests.streams.lighter_server import LighterServer
from tests.streams.okx_server import OkxServer
from tests.streams.venue_server import turns
from tests.streams.virtual import virtual

pytestmark = pytest.mark.usefixtures("no_chance")

Act = Callable[[Any, str], object]
"""Something done to a contract at the server."""


class PerpetualMarket(NamedTuple):
    """How a venue's perpetual market differs from the others'."""

    venue: str
    server: Callable[..., Any]
    end: Act
    """The contract is delisted."""
    list_again: Act
    of_all: frozenset[Kind] = frozenset()
    """Feeds that are of all contracts together."""
    polled: frozenset[Kind] = frozenset()
    """Feeds that no socket has."""
    alive_by_pings: frozenset[Kind] = frozenset()
    """Feeds that are not lost while a venue that is silent pings."""
    quiet_costs: frozenset[Kind] = frozenset({Kind.DEPTH})
    """What may be lost of a contract of which nothing changes."""
    refusal_costs: frozenset[Kind] = frozenset(Kind) - {Kind.LIQUIDATION}
    """What is lost of a contract that the sockets refuse."""
    refuse: Act = lambda server, symbol: server.refused.add(symbol)
    rates: frozenset[tuple[bool, float]] = frozenset({(True, 8), (False, 8)})
    """Whether they are charged already, and for how many hours they are."""
    coins: float = 10
    """Open interest."""
    one_side: bool = False
    """Whether the venue says how it counts it."""
    sockets: int = 3
    """For a few contracts."""
    wait_s: float = 20
    """Until everything has come."""
    back_s: float = 90
    """After a silence, until all is there again."""
    change_hours: Act | None = None
    """Its funding interval becomes an hour; without it all have the same always."""
    hours_s: float = 40
    """Until a changed interval has come."""
    hold: Callable[[Any, float], object] | None = None
    """Its open interest becomes so many coins, which makes the listing be read where it is 0."""
    ended: str = "contract_settling"
    listing_s: float = 60
    """Until a delisting has come into effect."""
    relisting_s: float = 60
    """Until it is undone."""
    many_sockets: int = 0
    """For 200 contracts."""
    many_s: float = 15
    """Until everything of 200 contracts has come."""
    opens: tuple[int, float] = (1_000, 1)
    """At most so many sockets are opened in so many seconds."""

    def of(self, asset: str) -> str:
        """The symbol of its linear contract."""
        return frames.symbol_of(self.venue, asset)

    def at(
        self, *assets: str, watched: Sequence[str] = ()
    ) -> AbstractAsyncContextManager[tuple[Any, Listened]]:
        """A client at work on a server with contracts on these assets."""
        listed = [self.of(asset) for asset in assets] if self.server is BitgetServer else assets
        return at_work_on(self.venue, self.server(*listed), watched or assets)

    def feeds(self, *symbols: str) -> set[str]:
        """All that there are of these contracts, as their states name them."""
        of_each = frozenset(Kind) - self.of_all
        return {f"{kind} *" for kind in self.of_all} | {
            f"{kind} {symbol}" for symbol in symbols for kind in of_each
        }


def _hold_of(name: str, ratio: float = 1) -> Callable[[Any, float], object]:
    return lambda server, coins: setattr(server, name, coins * ratio)


def _update(**fields: object) -> Act:
    return lambda server, symbol: server.contracts[symbol].update(fields)


_POLLED = frozenset({Kind.FUNDING, Kind.OPEN_INTEREST, Kind.VOLUME})

OKX = PerpetualMarket(
    "okx", OkxServer, of_all=_POLLED | {Kind.LIQUIDATION}, polled=_POLLED, one_side=True,
    end=lambda server, symbol: server.change(symbol, expTime=str(server.now + 86_400_000)),
    list_again=_update(expTime=""), relisting_s=3_600,
    refuse=lambda server, symbol: server.refused.update({symbol, symbol.removesuffix("-SWAP")}),
    refusal_costs=frozenset({Kind.DEPTH, Kind.PRICE}),
    change_hours=lambda server, symbol: server.hours.update({symbol: 1}),
    many_sockets=1 + 3 + 8, many_s=30, opens=(3, 1),
)  # fmt: skip
GATE = PerpetualMarket(
    "gate", GateServer, of_all=frozenset({Kind.LIQUIDATION}), wait_s=70,
    end=_update(status="delisting", in_delisting=True), hold=_hold_of("coins"),
    list_again=_update(status="trading", in_delisting=False),
    change_hours=lambda server, symbol: server.hours.update({symbol: 1}), hours_s=5,
    many_sockets=1 + 2 + 4, opens=(5, 1),
)  # fmt: skip
BITGET = PerpetualMarket(
    "bitget", BitgetServer, of_all=frozenset(Kind) - {Kind.DEPTH},
    polled=_POLLED | {Kind.PRICE}, refusal_costs=frozenset({Kind.DEPTH}),
    end=lambda server, symbol: _update(limitOpenTime=str(server.now + 86_400_000))(server, symbol),
    list_again=_update(limitOpenTime="-1"), listing_s=3_600, relisting_s=3_600,
    change_hours=lambda server, symbol: server.hours.update({symbol: 1}),
    sockets=2, wait_s=90, many_sockets=1 + 5, many_s=60, opens=(1, 1),
)  # fmt: skip
DERIBIT = PerpetualMarket(
    "deribit", DeribitServer, of_all=frozenset({Kind.LIQUIDATION}), coins=1_000, wait_s=190,
    end=_update(state="delivered", is_active=False),
    list_again=_update(state="open", is_active=True),
    hold=_hold_of("held"), one_side=True, rates=frozenset({(False, 1), (True, 1)}),
    refuse=lambda server, symbol: server.unknown.add(symbol), many_sockets=1 + 2 + 2,
)  # fmt: skip
KRAKEN = PerpetualMarket(
    "kraken", KrakenServer, coins=1_000, sockets=2, wait_s=70, rates=frozenset({(False, 1)}),
    end=_update(lastTradingTime="2020-01-01T00:00:00.000Z"), hold=_hold_of("held"),
    list_again=lambda server, symbol: server.contracts[symbol].pop("lastTradingTime"),
    refuse=lambda server, symbol: server.unknown.add(symbol), refusal_costs=frozenset(Kind),
    many_sockets=2 + 4,
)  # fmt: skip
HTX = PerpetualMarket(
    "htx", HtxServer, of_all=_POLLED | {Kind.LIQUIDATION}, wait_s=70,
    polled=_POLLED - {Kind.FUNDING}, alive_by_pings=frozenset({Kind.FUNDING, Kind.LIQUIDATION}),
    quiet_costs=frozenset({Kind.DEPTH, Kind.PRICE}),
    refusal_costs=frozenset({Kind.DEPTH, Kind.PRICE}),
    end=_update(contract_status=6), list_again=_update(contract_status=1), hold=_hold_of("coins"),
    change_hours=lambda server, symbol: server.change(symbol, 1),
    hours_s=5, many_sockets=1 + 4 + 5, many_s=30,
)  # fmt: skip
BITFINEX = PerpetualMarket(
    "bitfinex", BitfinexServer, of_all=frozenset({Kind.LIQUIDATION, Kind.VOLUME}), wait_s=70,
    polled=frozenset({Kind.VOLUME}),
    quiet_costs=frozenset(Kind) - {Kind.LIQUIDATION, Kind.VOLUME},
    refusal_costs=frozenset(Kind) - {Kind.LIQUIDATION, Kind.VOLUME},
    end=lambda server, symbol: server.contracts.remove(symbol), ended="contract_missing",
    list_again=lambda server, symbol: server.contracts.append(symbol),
    rates=frozenset({(False, 8)}), hours_s=150, listing_s=100, relisting_s=100,
    change_hours=lambda server, symbol: server.hours.update({symbol: 1}),
    many_sockets=1 + 7 + 7, many_s=90, opens=(20, 60),
)  # fmt: skip
LIGHTER = PerpetualMarket(
    "lighter", LighterServer, of_all=frozenset(Kind) - {Kind.DEPTH, Kind.LIQUIDATION},
    refusal_costs=frozenset({Kind.DEPTH, Kind.LIQUIDATION}), back_s=120,
    end=_update(status="inactive"), list_again=_update(status="active"),
    rates=frozenset({(False, 1)}), many_sockets=3, many_s=420,
)  # fmt: skip
ALL = (OKX, GATE, BITGET, DERIBIT, KRAKEN, HTX, BITFINEX, LIGHTER)


def each(*markets: PerpetualMarket) -> pytest.MarkDecorator:
    """The test is of these."""
    return pytest.mark.parametrize("market", markets, ids=[market.venue for market in markets])


def without(*markets: PerpetualMarket) -> pytest.MarkDecorator:
    """The test is of all others."""
    return each(*(market for market in ALL if market not in markets))


def lost(world: Listened) -> set[str]:
    """The feeds that went down."""
    return {turn[1:] for turn in turns(world.events) if turn.startswith("-")}


def states(world: Listened, feed: str) -> str:
    """How it changed: ``+-+`` of one that was lost once."""
    signs = (turn[0] for turn in turns(world.events) if turn[1:] == feed)
    return "".join(sign for sign, _ in itertools.groupby(signs))


def break_all(world: Listened) -> None:
    """Every connection breaks."""
    for connection in [*world.server.open]:
        connection.transport.abort()


def liquidated(world: Listened, symbol: str) -> list[float]:
    """How many coins each time."""
    return [event.base for event in world.of(Liquidation, symbol)]


def liquidate(server: Any, symbol: str, coins: float) -> None:
    """At a venue that begins subscriptions with the last ones, these are the last."""
    frame = server.liquidate(coins, symbol=symbol)
    if hasattr(server, "replayed"):
        server.replayed = [frame]


@each(*ALL)
@virtual
async def test_everything_of_the_wanted_contracts_is_published(market: PerpetualMarket) -> None:
    """Of linear contracts; sizes are in coins whatever the venue counts in."""
    eth, other, sol = (market.of(asset) for asset in ("ETH", "A1", "SOL"))
    async with market.at("ETH", "A1", "SOL", watched=("ETH", "A1")) as (server, world):
        await asyncio.sleep(market.wait_s)
        server.liquidate(1.0, 2.0, symbol=eth)
        server.liquidate(9.0, symbol=sol)  # nobody has asked for it
        server.liquidate(4.0, symbol=eth, long=False)
        await asyncio.sleep(2)
        assert {*turns(world.events)} == {f"+{feed}" for feed in market.feeds(eth, other)}
        orders = world.of(Liquidation, eth)
        assert [(e.base, e.usd, str(e.position)) for e in orders] == [
            (1, 100, "long"), (2, 200, "long"), (4, 400, "short")
        ]  # fmt: skip
        prices = world.of(Price, eth)[-1]
        assert (prices.mark, prices.index, prices.spot) == (100, 100, False)
        assert {(e.base, e.usd, e.inverse, e.one_side) for e in world.of(OpenInterest, eth)} == {
            (market.coins, 100 * market.coins, False, market.one_side)
        }
        rates = world.of(Funding, eth)
        assert {(e.settled, e.hours) for e in rates} == market.rates
        assert {e.rate for e in rates if not e.settled} == {0.0001}
        assert world.of(Volume, eth)[0].usd_24h == 1_000_000
        assert world.of(Depth, eth)[-1].bands[0].bid_usd == pytest.approx(99.99 * 5 + 99.9 * 8)
        assert {getattr(event, "symbol", eth) for event in world.events} <= {eth, other, "*", ""}
        assert len(world.server.open) == market.sockets
        assert world.faults == []


@each(DERIBIT, KRAKEN)
@virtual
async def test_sizes_of_inverse_contracts_are_in_usd(market: PerpetualMarket) -> None:
    async with market.at("BTC", "ETH") as (server, world):
        (btc,) = {*server.contracts} - {market.of("ETH")}
        await asyncio.sleep(market.wait_s)
        server.liquidate(100.0, 200.0, symbol=btc)
        await asyncio.sleep(2)
        orders = world.of(Liquidation, btc)
        assert [(e.base, e.usd, str(e.position)) for e in orders] == [
            (1, 100, "long"), (2, 200, "long")
        ]  # fmt: skip
        assert not any(event.throttled for event in orders)
        assert {(e.base, e.usd, e.inverse) for e in world.of(OpenInterest, btc)} == {
            (10, 1_000, True)
        }
        assert {(e.settled, e.hours) for e in world.of(Funding, btc)} == market.rates
        assert {e.rate for e in world.of(Funding, btc)} == {0.0001}  # Kraken's is of a coin
        assert world.of(Depth, btc)[-1].bands[0].bid_usd == pytest.approx(5 + 8)


@without(BITFINEX)
@virtual
async def test_a_lost_change_costs_one_book_for_a_moment(market: PerpetualMarket) -> None:
    eth = market.of("ETH")
    async with market.at("BTC", "ETH") as (server, world):
        await asyncio.sleep(20)
        before = len(world.events)
        server.skip.add(eth)
        await asyncio.sleep(20)
        assert turns(world.events[before:]) == [f"-depth {eth}", f"+depth {eth}"]
        assert len(world.server.opened) == market.sockets


@virtual
async def test_a_lost_frame_of_bitfinex_costs_all_books_of_its_connection_for_a_moment() -> None:
    """Of which it was nobody knows; the other connections go on."""
    eth = BITFINEX.of("ETH")
    books = {f"depth {symbol}" for symbol in (BITFINEX.of("BTC"), eth)}
    async with BITFINEX.at("BTC", "ETH") as (server, world):
        await asyncio.sleep(20)
        before = len(world.events)
        server.skip.add(eth)
        await asyncio.sleep(20)
        heard = turns(world.events[before:])
        assert {*heard[:2]} == {f"-{book}" for book in books}
        assert {*heard[2:]} == {f"+{book}" for book in books}
        assert len(world.server.opened) == 4
        assert sum(socket.session.stats.gaps for socket in world.client.sockets) == 1


@virtual
async def test_a_book_of_bitfinex_that_is_crossed_is_asked_for_anew_by_its_channel() -> None:
    eth = BITFINEX.of("ETH")
    async with BITFINEX.at("BTC", "ETH") as (server, world):
        await asyncio.sleep(20)
        before = len(world.events)
        server.crossed.add(eth)
        await asyncio.sleep(5)
        server.crossed.clear()
        await asyncio.sleep(20)
        assert turns(world.events[before:]) == [f"-depth {eth}", f"+depth {eth}"]
        asked = [json.loads(message) for message in world.server.heard]
        assert sum(message["event"] == "unsubscribe" for message in asked) == 1
        assert len(world.server.opened) == 3


@virtual
async def test_a_book_of_bitget_that_counts_anew_is_asked_for_anew() -> None:
    """Its next id is lower, and it follows none: no old change, but the end of what was known."""
    btc = BITGET.of("BTC")
    async with BITGET.at("BTC", "ETH") as (server, world):
        await asyncio.sleep(20)
        before = len(world.events)
        server.anew.add(btc)
        await asyncio.sleep(20)
        assert turns(world.events[before:]) == [f"-depth {btc}", f"+depth {btc}"]


@each(*ALL)
@virtual
async def test_a_connection_on_which_nothing_comes_is_left(market: PerpetualMarket) -> None:
    """Whatever is repeated on the next one is told once. HTX goes on with its pings, and Kraken
    answers those of the protocol."""
    btc = market.of("BTC") if market is not DERIBIT and market is not KRAKEN else market.of("SOL")
    asset = "BTC" if btc == market.of("BTC") else "SOL"
    async with market.at(asset) as (server, world):
        await asyncio.sleep(5)
        liquidate(server, btc, 1.0)
        await asyncio.sleep(5)
        server.silent = True
        await asyncio.sleep(100)
        feeds = {
            feed for feed in market.feeds(btc)
            if Kind(feed.split()[0]) not in market.polled | market.alive_by_pings
        }  # fmt: skip
        assert feeds and lost(world) == feeds
        server.silent = False
        await asyncio.sleep(market.back_s)
        assert {states(world, feed) for feed in feeds} == {"+-+"}
        assert liquidated(world, btc) == [1]


@each(OKX, GATE, BITGET, DERIBIT)
@virtual
async def test_a_connection_without_answers_to_pings_is_left(market: PerpetualMarket) -> None:
    """Only such a one that may have nothing else to say."""
    async with market.at("SOL") as (server, world):
        await asyncio.sleep(5)
        liquidate(server, market.of("SOL"), 1.0)
        await asyncio.sleep(5)
        server.answers_pings = False
        await asyncio.sleep(90)
        server.answers_pings = True
        await asyncio.sleep(90)
        assert lost(world) == {"liquidation *"}
        assert turns(world.events).count("+liquidation *") > 1
        assert liquidated(world, market.of("SOL")) == [1]


@virtual
async def test_pings_keep_a_connection_to_deribit_open_on_which_nothing_else_is_said() -> None:
    """It is cut 30 s after the client's last word, whatever it is subscribed to."""
    async with DERIBIT.at("BTC", "ETH") as (_, world):
        await asyncio.sleep(600)
        assert not lost(world)
        assert len(world.server.opened) == 3


@virtual
async def test_pings_of_htx_are_answered_on_each_of_its_sockets() -> None:
    """In the words of each: it cuts a connection that leaves them unanswered."""
    async with HTX.at("BTC") as (_, world):
        await asyncio.sleep(122)
        assert len(world.server.opened) == len(world.server.open) == 3
        pongs = [json.loads(message) for message in world.server.heard if b"pong" in message]
        of_all = [pong for pong in pongs if "op" in pong]
        assert len(of_all) == 24 and len(pongs) == 3 * 24
        assert all(isinstance(pong["ts"], str) for pong in of_all)


@each(*ALL)
@virtual
async def test_a_quiet_contract_costs_the_others_nothing(market: PerpetualMarket) -> None:
    """After a minute its book is asked for anew; the socket is not dead."""
    eth = market.of("ETH")
    async with market.at("BTC", "ETH") as (server, world):
        await asyncio.sleep(10)
        server.quiet.add(eth)
        await asyncio.sleep(55)
        assert f"depth {eth}" not in lost(world)
        await asyncio.sleep(65)
        assert f"depth {eth}" in lost(world)
        assert lost(world) <= {f"{kind} {eth}" for kind in market.quiet_costs}
        if market not in (BITFINEX, HTX):
            assert states(world, f"depth {eth}") == "+-+"
        assert len(world.server.opened) == market.sockets


@each(*ALL)
@virtual
async def test_a_connection_that_breaks_is_made_anew_and_repeats_nothing(
    market: PerpetualMarket,
) -> None:
    eth = market.of("ETH")
    async with market.at("BTC", "ETH") as (server, world):
        await asyncio.sleep(20)
        liquidate(server, eth, 1.0)
        await asyncio.sleep(2)
        break_all(world)
        await asyncio.sleep(20)
        liquidate(server, eth, 3.0)
        await asyncio.sleep(2)
        assert liquidated(world, eth) == [1, 3]
        for feed in market.feeds(eth):
            kept = Kind(feed.split()[0]) in market.polled
            assert states(world, feed) == ("+" if kept else "+-+")
        assert world.faults == []
        assert len(world.server.open) == market.sockets


@virtual
async def test_what_kraken_liquidates_between_two_connections_is_told_and_what_is_old_is_not() -> (
    None
):
    """A connection begins with the last trades."""
    eth = KRAKEN.of("ETH")
    async with KRAKEN.at("BTC", "ETH") as (server, world):
        server.liquidate(1.0, symbol=eth)
        server.trades[eth][-1]["time"] -= 3_600_000  # an hour ago, and in the first answer
        await asyncio.sleep(10)
        server.liquidate(5.0, symbol=eth)
        await asyncio.sleep(2)
        break_all(world)
        server.liquidate(7.0, symbol=eth)
        await asyncio.sleep(10)
        assert liquidated(world, eth) == [5, 7]


@each(OKX, GATE)
@virtual
async def test_an_upgrade_is_not_noticed(market: PerpetualMarket) -> None:
    """A minute's notice: by then each socket has a successor that has all its feeds."""
    eth = market.of("ETH")
    async with market.at("BTC", "ETH") as (server, world):
        await asyncio.sleep(10)
        liquidate(server, eth, 2.0)
        await asyncio.sleep(1)
        old, before = [*world.server.open], len(world.events)
        server.notice()
        await asyncio.sleep(58)
        for connection in old:
            connection.transport.abort()
        liquidate(server, eth, 4.0)
        await asyncio.sleep(10)
        assert not [turn for turn in turns(world.events[before:]) if turn.startswith("-")]
        assert liquidated(world, eth) == [2, 4]
        assert len(world.server.opened) == 6
        assert not {*old} & {*world.server.open}


@each(*ALL)
@virtual
async def test_a_refused_contract_costs_itself_alone(market: PerpetualMarket) -> None:
    """Some refuse a request as a whole, some do not say what they refuse, some say nothing. What is
    polled of all contracts is there."""
    btc, eth, sol = (market.of(asset) for asset in ("A1", "ETH", "SOL"))
    async with market.at("A1", "ETH", "SOL") as (server, world):
        market.refuse(server, eth)
        await asyncio.sleep(90)
        assert lost(world) == {f"{kind} {eth}" for kind in market.refusal_costs}
        assert not [feed for feed in market.feeds(eth) if states(world, feed) == "-+"]
        for symbol in (btc, sol):
            assert world.of(Depth, symbol)
            assert world.of(Price, symbol)
        assert bool(world.of(OpenInterest, eth)) == (Kind.OPEN_INTEREST in market.of_all)
        assert len(world.server.opened) == market.sockets


@each(OKX, GATE, BITGET, HTX, BITFINEX)
@virtual
async def test_an_interval_that_changes_is_taken(market: PerpetualMarket) -> None:
    """Of Bitfinex no frame says it: the time of the next settlement shows it."""
    btc, eth = market.of("BTC"), market.of("ETH")
    assert market.change_hours is not None
    async with market.at("BTC", "ETH") as (server, world):
        await asyncio.sleep(40)
        assert world.of(Funding, eth)[-1].hours == 8
        market.change_hours(server, eth)
        await asyncio.sleep(market.hours_s)
        assert world.of(Funding, eth)[-1].hours == 1
        assert {event.hours for event in world.of(Funding, btc)} == {8}
        assert states(world, f"funding {eth}" if Kind.FUNDING not in market.of_all else
                      "funding *") == "+"  # fmt: skip


@each(*ALL)
@virtual
async def test_a_delisting_is_taken_and_a_listing_again_too(market: PerpetualMarket) -> None:
    """OKX says them; where nothing is held the listing is read at once, else when it is due."""
    btc, eth = market.of("A1"), market.of("ETH")

    async def changed(change: Act, wait_s: float) -> None:
        change(server, eth)
        if market.hold is not None:
            market.hold(server, 0.0)
            await asyncio.sleep(12)
            market.hold(server, market.coins)
        elif market not in (OKX, BITGET):
            world.client.ask_relist()
        await asyncio.sleep(wait_s)

    async with market.at("A1", "ETH") as (server, world):
        await asyncio.sleep(30)
        await changed(market.end, market.listing_s)
        assert world.faults == [f"{market.ended} {eth}"]
        assert f"depth {eth}" in lost(world)
        depths = len(world.of(Depth, eth))
        await asyncio.sleep(30)
        assert len(world.of(Depth, eth)) == depths
        await changed(market.list_again, market.relisting_s)
        assert world.faults[1:] == [f"{market.ended} {eth} over"]
        assert len(world.of(Depth, eth)) > depths
        assert f"depth {btc}" not in lost(world) or market is BITFINEX
        assert {event.base for event in world.of(OpenInterest, eth)} == {market.coins}


@virtual
async def test_a_contract_of_okx_of_another_size_is_read_anew() -> None:
    btc = OKX.of("BTC")
    async with OKX.at("BTC", "ETH") as (server, world):
        await asyncio.sleep(30)
        bids = world.of(Depth, btc)[-1].bands[0].bid_usd
        server.change(btc, ctVal="0.05")
        await asyncio.sleep(30)
        server.liquidate(1.0)
        await asyncio.sleep(2)
        # what is 1 coin in the frames is 2 contracts, so a tenth of it now
        assert world.of(Liquidation, btc)[-1].base == pytest.approx(0.1)
        assert len(server.asked) > 3 + 3
        assert world.of(Depth, btc)[-1].bands[0].bid_usd < bids


@virtual
async def test_contracts_of_bitget_on_a_thousand_coins_are_read_as_coins() -> None:
    """And what it tells 20 s late is told."""
    bonk = "1000BONKUSDT"
    async with at_work_on("bitget", BitgetServer("BTCUSDT", bonk), ("BTC", "BONK")) as (
        server,
        world,
    ):
        await asyncio.sleep(10)
        server.liquidate(3.0, symbol=bonk, late=20_000)
        await asyncio.sleep(80)
        orders = world.of(Liquidation, bonk)
        assert [(e.base, e.usd, e.price) for e in orders] == [(3_000, 300, 0.1)]
        assert {(e.mark, e.index) for e in world.of(Price, bonk)} == {(0.1, 0.1)}
        assert {(e.base, e.usd) for e in world.of(OpenInterest, bonk)} == {(10_000, 1_000)}


@virtual
async def test_what_bitfinex_liquidates_on_margin_pairs_is_none_of_a_perpetual() -> None:
    async with BITFINEX.at("BTC") as (server, world):
        await asyncio.sleep(20)
        server.liquidate(5.0, symbol="tBTCUSD")
        server.liquidate(1.0)
        await asyncio.sleep(2)
        assert [(e.symbol, e.base) for e in world.events if isinstance(e, Liquidation)] == [
            (BITFINEX.of("BTC"), 1)
        ]


@each(*ALL)
@virtual
async def test_two_hundred_contracts_stay_within_the_limits(market: PerpetualMarket) -> None:
    """Before and after all sockets are lost; of Lighter's 200 messages a minute the last book comes
    after minutes, so that they are not lost there."""
    losses = 0 if market is LIGHTER else 2
    async with market.at(*(f"A{n}" for n in range(200))) as (server, world):
        for _ in range(losses):
            await asyncio.sleep(market.many_s)
            assert len(world.server.open) == market.many_sockets
            break_all(world)
        await asyncio.sleep(market.many_s)
        up = {turn[1:] for turn in turns(world.events) if turn.startswith("+")}
        assert up == market.feeds(*(market.of(f"A{n}") for n in range(200)))
        assert {*VENUES[market.venue].SPEC.kinds} == {*Kind}
        opened, (most, seconds) = world.server.opened, market.opens
        assert len(opened) >= (losses + 1) * market.many_sockets
        assert all(
            sum(moment <= later < moment + seconds for later in opened) <= most for moment in opened
        )
        if market is BITGET:
            settlements = [path for path in server.asked if "history-fund-rate" in path]
            assert len(set(settlements)) in (0, 200)
        if market is OKX:
            asked = {path.partition("&instId=")[0] for path in server.asked}
            assert len(asked) == 4 + 1  # and the settlements of each, which nobody waits for
