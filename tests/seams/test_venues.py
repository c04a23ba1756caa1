"""From the sockets of each venue to a channel.

Three are as the demo's recording has them, which is played on loopback at the venue's own paths;
its answers to requests are the listing, the settlements and the open interest that the real
adapters ask for. The others are servers that do what the venue's documentation says.
"""

import asyncio
import json
import re
from pathlib import Path

import pytest
from aiohttp import web
from websockets.asyncio.server import ServerConnection

from bot.demo.playback import Playback
from streams.clock import wall_ms
from streams.venues import VENUES
from tests.bot import story
from tests.seams.system import System
from tests.streams import frames
from tests.streams.binance_spot_server import BinanceSpotServer
from tests.streams.bitfinex_server import BitfinexServer
from tests.streams.bitget_server import BitgetServer
from tests.streams.bybit_spot_server import BybitSpotServer
from tests.streams.coinbase_server import CoinbaseServer
from tests.streams.deribit_server import DeribitServer
from tests.streams.feed.test_client_inverse import CoinM, inverse_answer, inverse_talk
from tests.streams.gate_server import GateServer
from tests.streams.htx_server import HtxServer
from tests.streams.kraken_server import KrakenServer
from tests.streams.kraken_spot_server import KrakenSpotServer
from tests.streams.lighter_server import LighterServer
from tests.streams.okx_server import OkxServer, OkxSpotServer
from tests.streams.venue_server import listening, resting

TITLES = {"binance": "Binance", "bybit": "Bybit", "hyperliquid": "Hyperliquid"}


class Okx(OkxServer):
    now = property(lambda self: wall_ms())


class Bitget(BitgetServer):
    now = property(lambda self: wall_ms())


class Gate(GateServer):
    now = property(lambda self: wall_ms())


class Deribit(DeribitServer):
    now = property(lambda self: wall_ms())


class Kraken(KrakenServer):
    now = property(lambda self: wall_ms())


class Htx(HtxServer):
    now = property(lambda self: wall_ms())


class Bitfinex(BitfinexServer):
    now = property(lambda self: wall_ms())


class Lighter(LighterServer):
    now = property(lambda self: wall_ms())


class Aster(CoinM):
    """Its contracts are linear, its addresses those of another version."""

    def answer(self, request: web.Request) -> web.Response:
        match request.path:
            case "/fapi/v3/exchangeInfo":
                contract = {"symbol": "BTCUSDT", "contractType": "PERPETUAL", "status": "TRADING",
                            "baseAsset": "BTC", "quoteAsset": "USDT"}  # fmt: skip
                return web.json_response({"symbols": [contract]})
            case "/fapi/v3/openInterest":
                return web.json_response(
                    {"symbol": "BTCUSDT", "openInterest": "700", "time": wall_ms()}
                )
            case "/fapi/v3/fundingInfo":
                return web.json_response([{"symbol": "BTCUSDT", "fundingIntervalHours": 8}])
            case _:
                return web.json_response([])

    async def talk(self, connection: ServerConnection) -> None:
        while True:
            await connection.send(frames.marks("BTCUSDT"), text=True)
            await asyncio.sleep(1)


SERVERS = {"okx": Okx, "bitget": Bitget, "gate": Gate, "deribit": Deribit, "kraken": Kraken,
           "htx": Htx, "bitfinex": Bitfinex, "lighter": Lighter}  # fmt: skip

COMMON = """
[telegram]
api_url = "{telegram}"
[markets]
majors = ["BTC"]
tail   = "none"
[redis]
data_dir = "data"
[rules.estimate]
metric = "funding_predicted_8h_pct"
fires  = "below"
majors = {{ critical = 50, clear = 60 }}
"""
"""True of any rate: what is looked at is whether it arrives, and whose it is."""


@pytest.mark.parametrize("venue", TITLES)
async def test_what_a_venue_sends_is_told_in_a_channel(tmp_path: Path, venue: str):
    recording = story.cut(tmp_path / "story.jsonl.gz", 72, 76, lambda record: record.venue == venue)
    async with Playback(recording, speed=20) as playback:
        websocket, rest = playback.urls(venue)
        config = (
            '[channel]\nchat_id = "@lowtide"\n'
            f'[venues.{venue}]\nwebsocket = "{websocket}"\nrest = "{rest}"\n'
        )
        common = COMMON.replace("[markets]\n", f'[markets]\nvenues = ["{venue}"]\n')
        async with System(tmp_path, config, common=common) as system:
            await system.start("streams", "rules", "bot", heard=lambda: playback.topics > 2)
            playback.start()
            await system.until(lambda: system.telegram.sent)
    post = system.telegram.sent[0]
    assert post.first.startswith("🔴 BTC predicted funding") and "%" in post.first
    assert [name for name, title in TITLES.items() if title in post.text] == [venue]


@pytest.mark.parametrize("venue", SERVERS)
async def test_what_a_venue_says_by_its_documentation_is_told_in_a_channel(
    tmp_path: Path, venue: str
):
    server = SERVERS[venue]("BTC")
    async with listening(server.talk) as sockets, resting(server.answer) as rest:
        server.sockets = sockets
        await check_told(tmp_path, venue, sockets.url, rest)
    assert server.overdone == []


@pytest.mark.parametrize("venue", ["binance-coinm", "bybit-inverse", "aster"])
async def test_what_a_market_of_a_known_protocol_says_is_told_in_a_channel(
    tmp_path: Path, venue: str
):
    coin_m, aster = CoinM("BTCUSD_PERP"), Aster("BTCUSDT")
    answer, talk = {
        "binance-coinm": (coin_m.answer, coin_m.talk),
        "bybit-inverse": (inverse_answer, inverse_talk),
        "aster": (aster.answer, aster.talk),
    }[venue]
    async with listening(talk) as sockets, resting(answer) as rest:
        await check_told(tmp_path, venue, sockets.url, rest)


async def check_told(folder: Path, venue: str, websocket: str, rest: str) -> None:
    config = (
        '[channel]\nchat_id = "@lowtide"\n'
        f'[venues.{venue}]\nwebsocket = "{websocket}"\nrest = "{rest}"\n'
    )
    common = COMMON.replace("[markets]\n", f'[markets]\nvenues = ["{venue}"]\n')
    async with System(folder, config, common=common) as system:
        await system.start("streams", "rules", "bot", heard=lambda: True)
        await system.until(lambda: system.telegram.sent, 120)
    post = system.telegram.sent[0]
    assert post.first.startswith("🔴 BTC predicted funding") and "%" in post.first
    assert VENUES[venue].SPEC.title in post.text


async def test_a_liquidation_that_a_venue_repeats_to_a_new_process_is_told_once(tmp_path: Path):
    """Kraken begins a subscription with the last trades."""
    server = Kraken("BTC")
    server.held = 1e9
    common = COMMON.replace("[markets]\n", '[markets]\nvenues = ["kraken"]\n')
    async with listening(server.talk) as sockets, resting(server.answer) as rest:
        server.sockets = sockets
        config = (
            '[channel]\nchat_id = "@lowtide"\n'
            f'[venues.kraken]\nwebsocket = "{sockets.url}"\nrest = "{rest}"\n'
        )
        async with System(tmp_path, config, common=common) as system:
            await system.start(
                "rules",
                "bot",
                "streams",
                heard=lambda: system.folder.joinpath("data", "redis.sock").exists(),
            )
            for sizes in [1e5], [1e5, 2e5], [1e5, 2e5, 3e5]:
                server.liquidate(sizes[-1])
                assert await liquidated(system, sizes[-1]) == sizes
                await system.kill("streams")
                await system.start("streams", heard=lambda: True)


async def liquidated(system: System, last: float) -> list[float]:
    """The USD of each liquidation in the stream, once that of ``last`` is there."""
    usd: list[float] = []
    async with asyncio.timeout(90):
        while last not in usd:
            await asyncio.sleep(0.2)
            events = re.findall(r'{"type":"liquidation"[^}]*}', await system.stored())
            usd = [json.loads(event)["usd"] for event in events]
    return usd


class BinanceSpot(BinanceSpotServer):
    now = property(lambda self: wall_ms())


class Coinbase(CoinbaseServer):
    now = property(lambda self: wall_ms())


class BybitSpot(BybitSpotServer):
    now = property(lambda self: wall_ms())


class OkxSpot(OkxSpotServer):
    now = property(lambda self: wall_ms())


class KrakenSpot(KrakenSpotServer):
    now = property(lambda self: wall_ms())


SPOT_SERVERS = {"binance-spot": BinanceSpot, "coinbase": Coinbase, "bybit-spot": BybitSpot,
                "okx-spot": OkxSpot, "kraken-spot": KrakenSpot}  # fmt: skip


@pytest.mark.parametrize("venue", SPOT_SERVERS)
async def test_what_a_spot_market_sends_is_in_the_answer_to_a_question(tmp_path: Path, venue: str):
    server, spec = SPOT_SERVERS[venue]("BTC"), VENUES[venue].SPEC
    async with listening(server.talk) as sockets, resting(server.answer) as rest:
        server.sockets = sockets
        config = (
            '[channel]\nchat_id = "@lowtide"\n[operators]\ncommands = "everyone"\n'
            f'[venues.{venue}]\nwebsocket = "{sockets.url}"\nrest = "{rest}"\n'
            '[rules.spot]\nmetric = "spot_depth_25bp_pct_of_recent"\nfires = "below"\n'
            "majors = { alert = 50, clear = 60 }\n"
        )
        common = COMMON.replace("[markets]\n", f'[markets]\nvenues = ["{venue}"]\n')
        async with System(tmp_path, config, common=common) as system:
            await system.start("streams", "rules", "bot", heard=lambda: True)
            line = ""
            for user in range(100, 160):
                system.telegram.say("/status", user=user)
                await system.until(lambda u=user: [s for s in system.telegram.sent if s.chat == u])
                (reply,) = [s.text for s in system.telegram.sent if s.chat == user]
                line = next((x for x in reply.splitlines() if x.startswith(spec.title)), "")
                if "books up" in line:
                    break
                await asyncio.sleep(1)
    assert re.fullmatch(rf"{spec.title}, 1 contracts?: books up, prices up, volume up", line)
    assert server.overdone == []
