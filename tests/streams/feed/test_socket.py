"""A line against a real websocket server on loopback, in virtual time."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from websockets.asyncio.server import ServerConnection

from streams.events import Funding, Liquidation, Price
from streams.feed import session as sessions
from streams.feed import socket as lines
from streams.feed.socket import Socket
from streams.venue import Subscription
from tests.streams import frames
from tests.streams.venue_server import (
    Owner,
    Sockets,
    Talk,
    at_work,
    certified,
    forever,
    listening,
    repeating,
    tcp,
)
from tests.streams.virtual import EPOCH, virtual

MARKET = (frames.marks("BTCUSDT"), frames.minis("BTCUSDT"))


def line_of(owner: Owner, socket: str, *assets: str) -> Socket:
    name = owner.venue.SPEC.name
    known = frames.contracts(name, *assets)
    plans = owner.venue.subscriptions(known, owner.venue.SPEC.kinds)
    plan: Subscription = next(plan for plan in plans if plan.name == socket)
    return Socket(owner, plan, frames.listing_of(name, *assets))


def market(owner: Owner) -> Socket:
    """The socket of Binance that needs no subscribing."""
    return line_of(owner, "market", "BTC")


def losses(logs: list[Any]) -> list[str]:
    return [entry["event"] for entry in logs if entry["event"].startswith("lost ")]


@pytest.fixture(autouse=True)
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits without jitter: 0.5, 1, 2, 4 … 30 s. No proxy between us and loopback."""
    monkeypatch.setattr(lines.random, "random", lambda: 0.0)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


# ── the good days ───────────────────────────────────────────────────────


@virtual
async def test_it_connects_subscribes_and_publishes() -> None:
    bodies = [frames.bybit_says("subscribe"), frames.ticker("BTCUSDT")]
    async with listening(repeating(*bodies)) as server:
        owner = Owner("bybit", server.url)
        owner.connects_after_s = 3.0  # the venue does not let us sooner
        line = line_of(owner, "market-1", "BTC")
        async with at_work(line.run()):
            await asyncio.sleep(2.9)
            assert server.opened == []
            await asyncio.sleep(40)
            assert server.heard[0] == line.session.subscription.messages[0]
            assert server.heard[1:] == [owner.venue.SPEC.ping] * 1
            assert len(server.opened) == 1
        assert owner.turns == [
            "+funding BTCUSDT",
            "+liquidation BTCUSDT",
            "+open_interest BTCUSDT",
            "+price BTCUSDT",
            "+volume BTCUSDT",
        ]
        prices = [event for event in owner.published if isinstance(event, Price)]
        assert len(prices) == 40
        assert owner.frames[:2] == bodies  # raw, as they came
        assert EPOCH + 3_000 <= prices[0].seen < EPOCH + 3_100
        assert line.session.stats.frames == 80


@virtual
async def test_while_it_subscribes_slowly_it_already_listens() -> None:
    assets = [f"A{n}" for n in range(100)]
    async with listening(repeating(frames.coin_book("A0"))) as server:
        owner = Owner("hyperliquid", server.url, sends_per_second=5.0)
        async with at_work(line_of(owner, "book-1", *assets).run()):
            await asyncio.sleep(2.1)
            assert owner.turns == ["+depth A0"]
            assert len(server.heard) == 11  # five a second
            await asyncio.sleep(18)
            ping = owner.venue.SPEC.ping
            assert [message for message in server.heard if message != ping] == [
                *owner.venue.subscriptions(
                    frames.contracts("hyperliquid", *assets), owner.venue.SPEC.kinds
                )[1].messages
            ]
            assert server.heard.count(ping) == 1


@virtual
async def test_binary_frames_are_read_like_text() -> None:
    async def talk(connection: ServerConnection) -> None:
        while True:
            await connection.send(MARKET[0])
            await connection.send(MARKET[1])
            await connection.send(bytes(range(256)))
            await asyncio.sleep(1)

    async with listening(talk) as server:
        owner = Owner("binance", server.url)
        line = market(owner)
        with capture_logs() as logs:
            async with at_work(line.run()):
                await asyncio.sleep(5.5)
        assert [entry["event"] for entry in logs] == ["frame dropped"]
        assert line.session.stats.dropped == 6
        assert sum(isinstance(event, Funding) for event in owner.published) == 6


@virtual
async def test_snapshots_are_fetched_and_taken_and_a_late_one_does_no_harm() -> None:
    connections = 0

    async def talk(connection: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        await connection.send(frames.change("BTCUSDT", 10, 10), text=True)
        await asyncio.sleep(5)

    async with listening(talk) as server:
        owner = Owner("binance", server.url)
        async with at_work(line_of(owner, "book-1", "BTC").run()):
            await asyncio.sleep(1)
            assert [request.symbol for request in owner.asked] == ["BTCUSDT"]
            owner.takers[0]("BTCUSDT", frames.snapshot(10))
            await asyncio.sleep(1.1)
            assert owner.turns == ["+depth BTCUSDT"]
            await asyncio.sleep(3.1)
            assert owner.turns == ["+depth BTCUSDT", "-depth BTCUSDT"]
            owner.takers[0]("BTCUSDT", frames.snapshot(10))  # nobody is connected
            await asyncio.sleep(3)
            assert connections == 2
            owner.takers[0]("BTCUSDT", b"rubbish")
            assert owner.turns == ["+depth BTCUSDT", "-depth BTCUSDT"]
        owner.takers[0]("BTCUSDT", frames.snapshot(10))  # nobody is there


@virtual
async def test_a_listing_that_is_out_of_date_is_asked_for() -> None:
    async with listening(repeating(frames.contexts(3))) as server:
        owner = Owner("hyperliquid", server.url)
        line = line_of(owner, "contexts", "BTC", "ETH")
        async with at_work(line.run()):
            await asyncio.sleep(2.5)
            assert owner.relists == 3
            line.want(line.subscription, frames.listing_of("hyperliquid", "BTC", "ETH", "NEW"))
            await asyncio.sleep(1)
            assert owner.relists == 3
            assert len(owner.turns) == 4


# ── losses ──────────────────────────────────────────────────────────────


@virtual
async def test_a_server_that_says_nothing_is_left_and_tried_again() -> None:
    async with listening(forever) as server:
        owner = Owner("binance", server.url)
        line = market(owner)
        with capture_logs() as logs:
            async with at_work(line.run()):
                await asyncio.sleep(400)
        # 31 s of silence, then the wait
        assert [wait - 31 for wait in server.waits] == pytest.approx(
            [0.5, 1, 2, 4, 8, 16, 30, 30], abs=0.2
        )
        assert losses(logs) == ["lost Binance: no funding data for 31 s"]  # said once
        assert logs[0]["next_try_s"] == 0.5
        assert logs[0]["socket"] == "market"
        assert owner.published == []
        assert line.session.stats.connects == 9


@virtual
async def test_a_server_that_closes_at_once_is_not_hammered() -> None:
    async def bye(connection: ServerConnection) -> None:
        await connection.send(MARKET[0], text=True)
        await connection.close(1012, "service restart")

    async with listening(bye) as server:
        owner = Owner("binance", server.url)
        with capture_logs() as logs:
            async with at_work(market(owner).run()):
                await asyncio.sleep(130)
        assert server.waits == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30, 30], abs=0.2)
        words = "it closed the connection with code 1012 (service restart)"
        assert set(losses(logs)) == {f"lost Binance: {words}"}
        assert len(logs) == 10  # feeds were up each time, so each is news
        up, down = owner.turns[:3], owner.turns[3:6]
        assert up == ["+funding *", "+liquidation *", "+price *"]
        assert down == ["-funding *", "-liquidation *", "-price *"]
        assert owner.turns == (up + down) * 10


@pytest.mark.parametrize(
    ("refusal", "wait_s", "words", "blocked"),
    [
        ((500, {}, b""), 0.5, "it answered HTTP 500", False),
        ((503, {"Retry-After": "25"}, b""), 25, "it answered HTTP 503", False),
        ((429, {}, b""), 60, "it asked us to slow down (HTTP 429), pausing 60 s", False),
        ((429, {"Retry-After": "7"}, b""), 7, "it asked us to slow down (HTTP 429), pausing 7 s",
         False),
        ((429, {"Retry-After": "1e308"}, b""), 60,
         "it asked us to slow down (HTTP 429), pausing 60 s", False),
        ((429, {"Retry-After": "²"}, b""), 60,
         "it asked us to slow down (HTTP 429), pausing 60 s", False),
        ((429, {"Retry-After": "999999999"}, b""), 60,
         "it asked us to slow down (HTTP 429), pausing 60 s", False),
        ((418, {"Retry-After": "900"}, b"x"), 900,
         "it asked us to slow down (HTTP 418), pausing 900 s", False),
        ((418, {}, b""), 300, "it asked us to slow down (HTTP 418), pausing 300 s", False),
        ((403, {}, b"access too frequent"), 600,
         "it asked us to slow down (HTTP 403), pausing 600 s", False),
        ((403, {}, b"<html>"), 600, "it refuses this address (HTTP 403), most likely for its"
         " country: run Lowtide elsewhere, set another base URL, or take the venue out of"
         " the configuration", True),
        ((451, {}, b""), 600, "it refuses this address (HTTP 451), most likely for its"
         " country: run Lowtide elsewhere, set another base URL, or take the venue out of"
         " the configuration", True),
    ],
)  # fmt: skip
def test_a_refused_handshake(
    refusal: tuple[int, dict[str, str], bytes], wait_s: float, words: str, blocked: bool
) -> None:
    @virtual
    async def check() -> None:
        async with listening(repeating(*MARKET)) as server:
            server.refuse = [refusal]
            owner = Owner("binance", server.url)
            with capture_logs() as logs:
                async with at_work(market(owner).run()):
                    await asyncio.sleep(wait_s - 0.3)
                    assert len(server.opened) == 1
                    server.refuse = []
                    await asyncio.sleep(2)
                    assert server.waits == [pytest.approx(wait_s, abs=0.2)]
                    assert len(owner.turns) == 4
            assert owner.refusals == [words] * blocked
            assert losses(logs) == [f"lost Binance: {words}"] * (not blocked)

    check()


@virtual
async def test_a_country_that_is_refused_is_told_once_and_asked_rarely() -> None:
    async with listening(forever) as server:
        server.refuse = [(451, {}, b"")]
        owner = Owner("binance", server.url)
        async with at_work(market(owner).run()):
            await asyncio.sleep(590)
            assert len(server.opened) == 1
            assert len(owner.refusals) == 1
            await asyncio.sleep(590)
            assert len(server.opened) == 2


@virtual
async def test_a_certificate_that_is_not_valid(tmp_path: Path) -> None:
    async with listening(repeating(*MARKET), certified(tmp_path)) as server:
        owner = Owner("binance", server.url)
        plain = Owner("binance", server.url.replace("wss:", "ws:"))
        plain.connects_after_s = 0.2
        with capture_logs() as logs:
            async with at_work(market(owner).run()), at_work(market(plain).run()):
                await asyncio.sleep(5)
        assert set(losses(logs)) == {
            "lost Binance: its TLS certificate is not valid (self-signed certificate)",
            "lost Binance: it closed the connection without an answer",
        }


@pytest.mark.parametrize("place", ["http://[::1", "/elsewhere", "wss://example.invalid/x"])
@virtual
async def test_redirects_are_not_followed(place: str) -> None:
    async with listening(forever) as server:
        server.refuse = [(302, {"Location": place}, b"")]
        owner = Owner("binance", server.url)
        with capture_logs() as logs:
            async with at_work(market(owner).run()):
                await asyncio.sleep(5)
        assert losses(logs) == [
            "lost Binance: it answered HTTP 302, a redirect, which is not followed"
        ]
        assert len(server.opened) == 4  # it is tried again, and nothing else is


@virtual
async def test_a_frame_beyond_the_limit() -> None:
    async def talk(connection: ServerConnection) -> None:
        await connection.send(b"x" * (lines.MAX_FRAME_BYTES + 1), text=True)
        await asyncio.sleep(100)

    async with listening(talk) as server:
        owner = Owner("binance", server.url)
        with capture_logs() as logs:
            async with at_work(market(owner).run()):
                await asyncio.sleep(0.4)
        assert losses(logs) == ["lost Binance: it sent a frame of more than 16 MB"]


@virtual
async def test_a_connection_that_breaks_without_a_word() -> None:
    async def talk(connection: ServerConnection) -> None:
        await connection.send(MARKET[0], text=True)
        await asyncio.sleep(2)
        connection.transport.abort()

    async with listening(talk) as server:
        owner = Owner("binance", server.url)
        with capture_logs() as logs:
            async with at_work(market(owner).run()):
                await asyncio.sleep(2.4)
        assert losses(logs) == ["lost Binance: the connection broke"]


@virtual
async def test_a_server_that_no_longer_reads() -> None:
    async def talk(connection: ServerConnection) -> None:
        connection.transport.pause_reading()  # type: ignore[attr-defined]
        await repeating(*MARKET)(connection)

    async with listening(talk) as server:
        owner = Owner("binance", server.url)
        with capture_logs() as logs:
            async with at_work(market(owner).run()):
                await asyncio.sleep(49)
                assert len(server.opened) == 1
                await asyncio.sleep(4)
                assert len(server.opened) == 2
        assert losses(logs) == ["lost Binance: it no longer answers pings"]


@virtual
async def test_servers_that_are_none_and_names_that_are_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def stuck(_r: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(300)
        writer.close()

    async def rude(_r: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        writer.close()

    loop = asyncio.get_running_loop()
    look_up = loop.getaddrinfo

    async def no_name(host: str, *args: Any, **more: Any) -> Any:
        if host.endswith(".invalid"):
            raise socket.gaierror(-2, "Name or service not known")
        return await look_up(host, *args, **more)

    monkeypatch.setattr(loop, "getaddrinfo", no_name)
    async with tcp(stuck) as stuck_at, tcp(rude) as rude_at, tcp(other) as other_at:
        async with tcp(rude) as refused_at:
            pass
        for url, words in (
            (f"ws://{refused_at}", "the connection was refused"),
            (f"ws://{stuck_at}", "it did not answer in time"),
            (f"ws://{rude_at}", "it closed the connection without an answer"),
            (f"ws://{other_at}", "it did not answer as a websocket server does"),
            ("ws://fstream.example.invalid", "its name could not be looked up (no network?)"),
            ("ws://a..b", None),
            ("http://127.0.0.1", "the connection failed (InvalidURI)"),
        ):
            owner = Owner("binance", url)
            line = market(owner)
            with capture_logs() as logs:
                async with at_work(line.run()):
                    await asyncio.sleep(25)
            assert len(logs) == 1, url
            assert logs[0]["next_try_s"] == 0.5
            if words:
                assert losses(logs) == [f"lost Binance: {words}"]
                assert line.session.reason == words
        await asyncio.sleep(300)


@virtual
async def test_more_to_say_than_may_be_sent_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lines, "_UNSENT_AT_MOST", 5)
    async with listening(forever) as server:
        owner = Owner("hyperliquid", server.url)
        with capture_logs() as logs:
            async with at_work(line_of(owner, "book-1", *map(str, range(9))).run()):
                await asyncio.sleep(0.4)
        assert losses(logs) == ["lost Hyperliquid: more must be asked than the venue lets us send"]


@virtual
async def test_a_connection_that_has_had_its_messages_is_made_anew() -> None:
    """The subscription and two books begun anew are five; what comes after goes to another one."""
    btc = "BTC-USDT-SWAP"
    gap = frames.okx_book(btc, 10), frames.okx_book(btc, 19, previous=17)
    async with listening(repeating(*gap)) as server:
        owner = Owner("okx", server.url, messages_per_hour=5)
        with capture_logs() as logs:
            async with at_work(line_of(owner, "book-1", "BTC").run()):
                await asyncio.sleep(120)
        assert losses(logs) == ["lost OKX: the venue takes no more requests on it within this hour"]
        assert len(server.opened) > 2
        ping = owner.venue.SPEC.ping
        for heard in server.heard_from.values():
            assert len([message for message in heard if message != ping]) <= 5


@virtual
async def test_an_hour_later_a_connection_may_be_sent_as_much_again() -> None:
    btc = "BTC-USDT-SWAP"
    good, gap = frames.okx_book(btc, 10), frames.okx_book(btc, 19, previous=17)

    async def talk(connection: ServerConnection) -> None:
        while True:
            await connection.send(gap, text=True)
            for _ in range(200):
                await connection.send(good, text=True)
                await asyncio.sleep(20)

    async with listening(talk) as server:
        owner = Owner("okx", server.url, messages_per_hour=4)
        async with at_work(line_of(owner, "book-1", "BTC").run()):
            await asyncio.sleep(2.5 * 3_600)
        assert len(server.opened) == 1
        assert sum(message != owner.venue.SPEC.ping for message in server.heard) > 4 + 2


@pytest.mark.parametrize(("venue", "name", "every"), [("binance", "market", 20),
                                                        ("okx", "market", None)])  # fmt: skip
def test_who_does_not_answer_protocol_pings_gets_none(
    monkeypatch: pytest.MonkeyPatch, venue: str, name: str, every: int | None
) -> None:
    intervals: list[float | None] = []

    class Connect(lines._Connect):
        def __init__(self, *args: Any, **more: Any) -> None:
            intervals.append(more["ping_interval"])
            super().__init__(*args, **more)

    monkeypatch.setattr(lines, "_Connect", Connect)

    @virtual
    async def check() -> None:
        async with (
            listening(forever) as server,
            at_work(line_of(Owner(venue, server.url), name, "BTC").run()),
        ):
            await asyncio.sleep(5)

    check()
    assert intervals == [every]


# ── the replacement ─────────────────────────────────────────────────────


class Story:
    """Liquidations of growing size, twice a second, to all who are connected, late or not."""

    def __init__(self, *lags_s: float, keep: Callable[[int], tuple[bytes, ...]] | None = None):
        self.lags_s = lags_s
        self.keep = keep or (lambda place: MARKET)
        self.sent: list[float] = []
        self.connections = 0
        self.server: Sockets | None = None

    async def talk(self, connection: ServerConnection) -> None:
        place = self.connections
        self.connections += 1
        connection.lag_s = self.lags_s[place % len(self.lags_s)]  # type: ignore[attr-defined]
        await repeating(*self.keep(place))(connection)

    async def run(self, seconds: float) -> None:
        assert self.server is not None
        late = []
        for n in range(int(seconds * 2)):
            self.sent.append(n + 1.0)
            frame = frames.forced("BTCUSDT", n + 1.0, EPOCH + n)
            late += [asyncio.create_task(self._send(to, frame)) for to in self.server.open]
            await asyncio.sleep(0.5)
        await asyncio.gather(*late, return_exceptions=True)

    async def _send(self, connection: ServerConnection, frame: bytes) -> None:
        await asyncio.sleep(connection.lag_s)  # type: ignore[attr-defined]
        await connection.send(frame, text=True)


def sizes(owner: Owner) -> list[float]:
    return [event.base for event in owner.published if isinstance(event, Liquidation)]


@pytest.mark.parametrize("lags_s", [(0.0, 0.0), (0.0, 0.7), (0.7, 0.0), (0.3, 0.31, 1.2)])
def test_a_replacement_is_not_noticed(
    lags_s: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two replacements; old and new socket run ahead of each other by turns."""
    monkeypatch.setattr(lines, "_AGE_LOOK_S", 0.5)

    @virtual
    async def check() -> None:
        story = Story(*lags_s)
        async with listening(story.talk) as server:
            story.server = server
            owner = Owner("binance", server.url, socket_life_s=10.0)
            line = market(owner)
            with capture_logs() as logs:
                async with at_work(line.run()):
                    await asyncio.sleep(1)
                    await story.run(27)
                    await asyncio.sleep(0.2)
            assert [entry["event"] for entry in logs] == ["socket replaced"] * 2
            assert story.connections == 3
            assert not [turn for turn in owner.turns if turn.startswith("-")]
            assert len(owner.turns) == 4
            assert sorted(sizes(owner)) == story.sent  # none lost, none twice
            stats = line.session.stats
            assert stats.connects == 3
            assert stats.frames > 2 * 27 + len(story.sent)

    check()


@virtual
async def test_a_replacement_that_cannot_connect_leaves_the_old_one_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lines, "_HANDOVER_S", 20.0)
    monkeypatch.setattr(lines, "_RENEW_AGAIN_S", 30.0)
    async with listening(repeating(*MARKET)) as server:
        owner = Owner("binance", server.url, socket_life_s=100.0)
        with capture_logs() as logs:
            async with at_work(market(owner).run()):
                await asyncio.sleep(50)
                server.refuse = [(503, {}, b"")]
                await asyncio.sleep(100)
                assert len(server.open) == 1
                server.refuse = []
                await asyncio.sleep(60)
                assert len(server.open) == 1
        logged = [entry["event"] for entry in logs]
        assert logged.count("socket could not be replaced yet") == 1
        assert logged[-1] == "socket replaced"
        assert len(owner.turns) == 4


@virtual
async def test_a_replacement_without_all_feeds_is_given_up_or_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lines, "_HANDOVER_S", 15.0)
    for enough, expected in ((0.9, []), (0.7, ["-volume *"])):
        monkeypatch.setattr(lines, "_ENOUGH", enough)
        story = Story(0.0, keep=lambda place: MARKET[:1] if place else MARKET)
        async with listening(story.talk) as server:
            owner = Owner("binance", server.url, socket_life_s=50.0)
            async with at_work(market(owner).run()):
                await asyncio.sleep(75)
            assert owner.turns[4:] == expected
            assert story.connections == 2


@virtual
async def test_while_the_old_socket_is_down_the_new_one_may_speak_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = Story(0.0)
    async with listening(story.talk) as server:
        story.server = server
        owner = Owner("binance", server.url, socket_life_s=50.0)
        async with at_work(market(owner).run()):
            await asyncio.sleep(49)
            server.refuse = [(503, {}, b"")]
            await asyncio.sleep(6)  # the replacement is refused
            server.open[0].transport.abort()
            await asyncio.sleep(2)
            assert owner.turns[4:] == ["-funding *", "-liquidation *", "-price *", "-volume *"]
            server.refuse = []
            await asyncio.sleep(40)
            assert owner.turns[8:] == ["+funding *", "+liquidation *", "+price *", "+volume *"]
            assert len(server.open) == 1


class Tickers:
    """Bybit, as far as tickers go: each second those that a connection has asked for."""

    def __init__(self) -> None:
        self.server: Sockets | None = None

    async def talk(self, connection: ServerConnection) -> None:
        assert self.server is not None
        while True:
            asked = b"".join(self.server.heard_from.get(connection, []))
            for asset in ("BTC", "ETH", "NEW"):
                if f'"tickers.{asset}USDT"'.encode() in asked:
                    await connection.send(frames.ticker(f"{asset}USDT"), text=True)
            await asyncio.sleep(1)


@asynccontextmanager
async def tickers(*assets: str) -> AsyncIterator[tuple[Owner, Socket, Sockets]]:
    story = Tickers()
    async with listening(story.talk) as server:
        story.server = server
        owner = Owner("bybit", server.url)
        line = line_of(owner, "market-1", *assets)
        async with at_work(line.run()):
            await asyncio.sleep(3)
            owner.published.clear()
            yield owner, line, server


def want(owner: Owner, line: Socket, *assets: str) -> None:
    name = owner.venue.SPEC.name
    known = frames.contracts(name, *assets)
    running = {line.subscription.name: line.brings}
    plans = owner.venue.subscriptions(known, owner.venue.SPEC.kinds, running)
    plan = next(plan for plan in plans if plan.name == line.subscription.name)
    line.want(plan, frames.listing_of(name, *assets))


KINDS = ("funding", "liquidation", "open_interest", "price", "volume")


@virtual
async def test_a_contract_joins_and_one_leaves_and_the_third_does_not_notice() -> None:
    async with tickers("BTC", "ETH") as (owner, line, server):
        want(owner, line, "BTC", "NEW")
        left = [f"-{kind} ETHUSDT" for kind in KINDS]
        assert owner.turns == left  # at once
        await asyncio.sleep(20)
        assert owner.turns == [*left, *(f"+{kind} NEWUSDT" for kind in KINDS)]
        assert line.session.subscription.symbols == ("BTCUSDT", "NEWUSDT")
        assert len(server.open) == 1
        seen = [e.seen for e in owner.published if isinstance(e, Price) and e.symbol == "BTCUSDT"]
        assert max(b - a for a, b in pairwise(seen)) < 2_000
        await asyncio.sleep(100)
        assert len(server.opened) == 2


@virtual
async def test_a_contract_that_is_back_at_once_is_heard_again() -> None:
    async with tickers("BTC", "ETH") as (owner, line, server):
        want(owner, line, "BTC")
        assert line.brings == ("BTCUSDT", "ETHUSDT")
        want(owner, line, "BTC", "ETH")
        await asyncio.sleep(20)
        assert owner.turns == [f"{way}{kind} ETHUSDT" for way in "-+" for kind in KINDS]
        assert len(server.opened) == 2


@virtual
async def test_who_has_to_connect_anew_asks_for_what_is_wanted_by_then() -> None:
    async with tickers("BTC", "ETH") as (owner, line, server):
        want(owner, line, "BTC", "NEW")
        server.open[0].transport.abort()
        await asyncio.sleep(2)
        assert line.session.subscription.symbols == ("BTCUSDT", "NEWUSDT")
        assert {*owner.turns} >= {"+price NEWUSDT", "+price BTCUSDT"}
        await asyncio.sleep(60)
        assert len(server.opened) == 2


@virtual
async def test_one_socket_after_the_other_is_replaced() -> None:
    async with tickers("BTC", "ETH") as (owner, line, server):
        async with owner.replacing:
            want(owner, line, "BTC")
            await asyncio.sleep(60)
            assert len(server.opened) == 1
        await asyncio.sleep(20)
        assert len(server.opened) == 2
        assert line.session.subscription.symbols == ("BTCUSDT",)


@pytest.mark.parametrize("seconds", [0.0, 0.01, 5.0, 50.1, 50.5, 53.4, 60.0])
@pytest.mark.parametrize("talk", [forever, repeating(*MARKET)])
def test_whenever_it_is_cancelled_nothing_is_left_running(seconds: float, talk: Talk) -> None:
    """``virtual`` looks for tasks that were left behind."""

    @virtual
    async def check() -> None:
        async with listening(talk) as server:
            owner = Owner("binance", server.url, socket_life_s=50.0)
            task = asyncio.create_task(market(owner).run())
            await asyncio.sleep(seconds)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled()
            count = len(owner.published)
            await asyncio.sleep(5)
            assert len(owner.published) == count
            assert server.open == []

    check()


@virtual
async def test_a_fault_of_ours_ends_the_line_and_is_not_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a fault")

    async with listening(repeating(*MARKET)) as server:
        owner = Owner("binance", server.url)
        line = market(owner)
        monkeypatch.setattr(sessions.Session, "tick", broken)
        with pytest.raises(KeyError, match="a fault"):
            await line.run()
