import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect

from bot.demo import playback as playing
from bot.demo.playback import Playback
from streams.feed.recording import Recorded, RecordingWriter

T0 = 1_760_000_000_000


def ws(t: int, venue: str, path: str, topic: str, frame: str, opens: bool = False) -> Recorded:
    return Recorded(
        t=T0 + t, venue=venue, channel=f"ws:{path}", frame=frame.encode(), topic=topic, opens=opens
    )


def http(t: int, venue: str, request: str, frame: str) -> Recorded:
    return Recorded(t=T0 + t, venue=venue, channel=f"http:{request}", frame=frame.encode())


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Callable]:
    opened: list[Playback] = []

    async def start(*frames: Recorded, speed: float | None = None) -> Playback:
        path = tmp_path / f"{len(opened)}.jsonl.gz"
        with RecordingWriter(path) as writer:
            for frame in frames:
                writer.write(frame)
        playback = Playback(path, speed=speed)
        await playback.open()
        opened.append(playback)
        return playback

    yield start
    for playback in opened:
        await playback.close()


async def ask(socket: ClientConnection, message: object) -> object:
    await socket.send(json.dumps(message))
    return json.loads(await socket.recv())


async def rest(socket: ClientConnection) -> list[str | bytes]:
    """What arrives until nothing does."""
    got: list[str | bytes] = []
    try:
        while True:
            async with asyncio.timeout(0.15):
                got.append(await socket.recv())
    except TimeoutError:
        return got


async def test_binance_topics_from_address_and_messages(play: Callable) -> None:
    playback = await play(
        ws(0, "binance", "/market/stream", "!forceOrder@arr", "liquidation"),
        ws(1, "binance", "/market/stream", "!miniTicker@arr", "volume"),
        ws(2, "binance", "/public/stream", "btcusdt@depth@500ms", "book"),
        ws(3, "binance", "/public/stream", "ethusdt@depth@500ms", "other book"),
        ws(4, "bybit", "/v5/public/linear", "!forceOrder@arr", "other venue"),
    )
    base, _ = playback.urls("binance")
    streams = "!markPrice@arr@1s/!forceOrder@arr"
    async with (
        connect(f"{base}/market/stream?streams={streams}") as market,
        connect(f"{base}/public/stream") as public,
        connect(f"{base}/public/stream") as wrong,
    ):
        subscribe = {"method": "SUBSCRIBE", "params": ["btcusdt@depth@500ms"], "id": 7}
        assert await ask(public, subscribe) == {"result": None, "id": 7}
        market_topic = {"method": "SUBSCRIBE", "params": ["!forceOrder@arr"], "id": 8}
        assert await ask(wrong, market_topic) == {"result": None, "id": 8}
        playback.start()
        await playback.finished.wait()
        assert await rest(market) == ["liquidation"]
        assert await rest(public) == ["book"]
        assert await rest(wrong) == []  # as at Binance: acknowledged, and silent for ever
    assert playback.now() == T0 + 4


async def test_bybit_answers_and_newest_snapshot(play: Callable) -> None:
    path, topic = "/v5/public/linear", "orderbook.1000.BTCUSDT"
    playback = await play(
        ws(0, "bybit", path, topic, "snapshot 1", opens=True),
        ws(1, "bybit", path, topic, "delta 1"),
        ws(2, "bybit", path, topic, "snapshot 2", opens=True),
        ws(3, "bybit", path, topic, "delta 2"),
        ws(3, "bybit", path, "tickers.BTCUSDT", "delta of a ticker"),
    )
    base, _ = playback.urls("bybit")
    async with connect(base + path) as early, connect(base + path) as late:
        status = await ask(early, {"req_id": "1", "op": "subscribe", "args": [topic]})
        assert status == {
            "success": True,
            "ret_msg": "subscribe",
            "conn_id": "playback",
            "req_id": "1",
            "op": "subscribe",
        }
        pong = await ask(early, {"op": "ping"})
        assert isinstance(pong, dict) and (pong["op"], pong["ret_msg"]) == ("ping", "pong")
        playback.start()
        await playback.finished.wait()
        assert await rest(early) == ["snapshot 1", "delta 1", "snapshot 2", "delta 2"]
        await ask(late, {"op": "subscribe", "args": [topic, "tickers.BTCUSDT"]})
        assert await rest(late) == ["snapshot 2", "delta 2"]
        await ask(late, {"op": "subscribe", "args": [topic]})
        assert await rest(late) == []
        await ask(late, {"op": "unsubscribe", "args": [topic]})
        await ask(late, {"op": "subscribe", "args": [topic]})
        assert await rest(late) == ["snapshot 2", "delta 2"]


async def test_hyperliquid_answers(play: Callable) -> None:
    playback = await play(
        ws(0, "hyperliquid", "/ws", "l2Book:BTC", "btc book"),
        ws(1, "hyperliquid", "/ws", "l2Book:ETH", "eth book"),
        ws(2, "hyperliquid", "/ws", "allDexsAssetCtxs", "contexts"),
    )
    base, _ = playback.urls("hyperliquid")
    async with connect(base + "/ws") as socket:
        for wanted in (
            {"type": "l2Book", "coin": "BTC", "nSigFigs": 4},
            {"type": "l2Book", "coin": "ETH", "nSigFigs": 4},
            {"type": "allDexsAssetCtxs"},
        ):
            subscribe = {"method": "subscribe", "subscription": wanted}
            answer = {"channel": "subscriptionResponse", "data": subscribe}
            assert await ask(socket, subscribe) == answer
        drop = {
            "method": "unsubscribe",
            "subscription": {"type": "l2Book", "coin": "ETH", "nSigFigs": 4},
        }
        await ask(socket, drop)
        assert await ask(socket, {"method": "ping"}) == {"channel": "pong"}
        playback.start()
        await playback.finished.wait()
        assert await rest(socket) == ["btc book", "contexts"]


async def test_frames_without_topic_go_to_all_of_the_path_and_bytes_stay_bytes(
    play: Callable,
) -> None:
    odd = Recorded(t=T0, venue="bybit", channel="ws:/v5/public/linear", frame=b"\xff\xfe")
    playback = await play(odd, ws(1, "bybit", "/v5/public/spot", "", "spot"))
    async with connect(playback.urls("bybit")[0] + "/v5/public/linear") as socket:
        playback.start()
        await playback.finished.wait()
        assert await rest(socket) == [b"\xff\xfe"]


async def test_answers_to_requests_follow_the_story(play: Callable) -> None:
    funding = 'POST /info {"type":"fundingHistory","coin":"BTC"}'
    playback = await play(
        http(0, "binance", "GET /fapi/v1/openInterest?symbol=BTCUSDT&limit=5", "first"),
        http(0, "hyperliquid", funding, "at nine"),
        http(1_000, "binance", "GET /fapi/v1/openInterest?symbol=BTCUSDT&limit=5", "second"),
        http(1_000, "hyperliquid", funding, "at ten"),
        http(120_000, "bybit", "GET /late", "late"),
        speed=100.0,
    )
    binance, bybit = playback.urls("binance")[1], playback.urls("bybit")[1]
    info = playback.urls("hyperliquid")[1] + "/info"
    body = b'{"startTime":1760000000000,"coin":"BTC","type":"fundingHistory"}'
    async with aiohttp.ClientSession() as http_client:

        async def get(url: str) -> tuple[int, str]:
            async with http_client.get(url) as answer:
                return answer.status, await answer.text()

        query = "/fapi/v1/openInterest?limit=5&symbol=BTCUSDT"  # in another order
        assert await get(binance + query) == (200, "first")
        assert await get(bybit + "/late") == (200, "late")
        async with http_client.post(info, data=body) as answer:
            assert await answer.text() == "at nine"
        assert (await get(binance + "/fapi/v1/openInterest?symbol=ETHUSDT"))[0] == 404
        assert (await get(playback.urls("nowhere")[1] + "/x"))[0] == 404
        playback.start()
        await playback.sleep(1.0)
        assert await get(binance + query) == (200, "second")
        async with http_client.post(info, data=body) as answer:
            assert await answer.text() == "at ten"
        assert (await get(bybit + "/late"))[0] == 404
        await playback.finished.wait()
        assert await get(bybit + "/late") == (200, "late")


async def test_time_of_story_passes_at_the_speed_asked_for(play: Callable) -> None:
    frames = [ws(100 * n, "bybit", "/v5/public/linear", "x", str(n)) for n in range(11)]
    playback = await play(*frames, speed=5.0)
    loop = asyncio.get_running_loop()
    assert playback.now() == T0
    playback.start()
    began = loop.time()
    await playback.sleep(0.5)
    half = loop.time() - began
    assert playback.now() >= T0 + 500
    await playback.finished.wait()
    assert half > 0.08
    assert loop.time() - began > 0.19


async def test_a_dead_client_is_cut_off_and_the_others_go_on(
    play: Callable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(playing, "PATIENCE_S", 0.2)

    def silent(url: str) -> connect:
        return connect(url, max_queue=1, close_timeout=0.1)

    path = "/v5/public/linear"
    frames = [ws(n, "bybit", path, "x", f"{n:06}" + "x" * 100_000) for n in range(100)]
    playback = await play(*frames)
    base, _ = playback.urls("bybit")
    subscribe = {"op": "subscribe", "args": ["x"]}
    async with connect(base + path) as live, silent(base + path) as dead:
        await ask(live, subscribe)
        await ask(dead, subscribe)
        playback.start()
        got = 0
        async with asyncio.timeout(5):
            async for frame in live:
                assert frame[:6] == f"{got:06}"
                got += 1
                if got == len(frames):
                    break
            await playback.finished.wait()
        assert got == len(frames)
    assert capsys.readouterr().out.count("slow client cut off") == 1


async def test_clients_have_received_a_second_of_story_before_the_next_begins(
    play: Callable,
) -> None:
    path = "/v5/public/linear"
    frames = [ws(500 * n, "bybit", path, "x", str(T0 + 500 * n)) for n in range(60)]
    playback = await play(*frames)
    async with connect(playback.urls("bybit")[0] + path) as socket:
        await ask(socket, {"op": "subscribe", "args": ["x"]})
        playback.start()
        lags = [playback.now() - int(await socket.recv()) for _ in frames]
    assert max(lags) <= 2_000


async def test_rubbish_from_a_client_ends_only_its_connection(play: Callable) -> None:
    playback = await play(ws(0, "bybit", "/v5/public/linear", "x", "frame"))
    url = playback.urls("bybit")[0] + "/v5/public/linear"
    async with connect(url) as good, connect(url) as bad:
        await ask(good, {"op": "subscribe", "args": ["x"]})
        await bad.send("not JSON")
        await bad.wait_closed()
        playback.start()
        await playback.finished.wait()
        assert await rest(good) == ["frame"]


async def test_failures_are_told(tmp_path: Path, play: Callable) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_bytes(b"")
    with pytest.raises(ValueError, match="holds no frames"):
        await Playback(empty).open()
    with pytest.raises(ValueError, match="speed must be above 0"):
        Playback(empty, speed=0)
