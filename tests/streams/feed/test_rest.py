"""REST: the budget in virtual time, pauses that venues ask for, and excuses in words."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

import streams.feed.rest as resting
from streams.feed.errors import SayOnce, in_words, refusal
from streams.feed.rest import Rest, Unavailable
from streams.venue import Request, Spec
from streams.venues import VENUES
from tests.streams.venue_server import certified
from tests.streams.virtual import Clock, virtual

BINANCE = VENUES["binance"].SPEC
BYBIT = VENUES["bybit"].SPEC
Handler = Callable[[web.Request], web.Response]
"""Answers all requests of a test."""


@asynccontextmanager
async def answering(handler: Handler, spec: Spec = BINANCE) -> AsyncIterator[Rest]:
    async def handle(request: web.Request) -> web.Response:
        await request.read()
        return handler(request)

    runner = web.AppRunner(web.Application())
    runner.app.router.add_route("*", "/{path:.*}", handle)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    clock = Clock()
    try:
        port = runner.addresses[0][1]
        async with Rest(spec, f"http://127.0.0.1:{port}/", clock.now, clock.sleep) as rest:
            yield rest
    finally:
        await runner.cleanup()


def ok(_: web.Request) -> web.Response:
    return web.Response(body=b"{}")


def status(code: int, body: bytes = b"", **headers: str) -> Handler:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: web.Response(status=code, body=body, headers=named)


async def failure(rest: Rest, request: Request | None = None) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        await rest.ask(request or Request(path="/x"))
    return caught.value


class FreeRest(Rest):
    """Answers at once, so that only the budget takes time."""

    async def _asked(self, request: Request, apart: bool) -> bytes:
        return b""


@virtual
async def test_get_and_post_arrive_as_they_are_written() -> None:
    seen: list[tuple[str, str]] = []

    def echo(request: web.Request) -> web.Response:
        seen.append((request.method, request.raw_path))
        return web.Response(body=b"body")

    async with answering(echo) as rest:
        assert await rest.ask(Request(path="/a?cursor=x%2Cy%3D")) == b"body"
        assert await rest.ask(Request(path="/info", body=b'{"type":"x"}')) == b"body"
        assert rest.usage.requests == 2
    assert seen == [("GET", "/a?cursor=x%2Cy%3D"), ("POST", "/info")]


@settings(max_examples=25, deadline=None)
@given(
    weights=st.lists(st.sampled_from([0, 1, 2, 20, 40, 300]), min_size=1, max_size=120),
    rests=st.lists(st.integers(0, 90), max_size=10),
    per_minute=st.sampled_from([60, 1200, 2400]),
)
def test_no_minute_costs_more_than_the_budget(
    weights: list[int], rests: list[int], per_minute: int
) -> None:
    spent: list[tuple[int, int]] = []

    @virtual
    async def ask_all() -> None:
        clock = Clock()
        spec = msgspec.structs.replace(BINANCE, weight_per_minute=per_minute)
        rest = FreeRest(spec, "", clock.now, clock.sleep)
        for place, weight in enumerate(weights):
            await rest.ask(Request(path="", weight=weight), spare=place % 3 == 0)
            spent.append((clock.now(), weight))
            if place < len(rests):
                await asyncio.sleep(rests[place])

    ask_all()
    for place, (began, _) in enumerate(spent):
        within = sum(weight for at, weight in spent[place:] if at < began + 60_000)
        assert within <= per_minute + max(weights)  # one that is larger than the burst


@virtual
async def test_a_budget_without_weights_counts_requests() -> None:
    clock = Clock()
    rest = FreeRest(BYBIT, "", clock.now, clock.sleep)
    times: list[int] = []
    for _ in range(400):
        await rest.ask(Request(path="", weight=20))
        times.append(clock.now())
    assert times[239] == 0  # a fifth of a minute's 1200 at once
    assert all(50 <= later - earlier <= 80 for earlier, later in pairwise(times[240:]))


@virtual
async def test_first_come_first_served_so_that_snapshots_do_not_starve_polls() -> None:
    clock = Clock()
    rest = FreeRest(BINANCE, "", clock.now, clock.sleep)
    order: list[str] = []

    async def ask(name: str, weight: int) -> None:
        await rest.ask(Request(path="", weight=weight))
        order.append(name)

    async with asyncio.TaskGroup() as tasks:
        for n in range(60):
            tasks.create_task(ask(f"snapshot {n}", 20))
            tasks.create_task(ask(f"poll {n}", 1))
    assert order[1::2] == [f"poll {n}" for n in range(60)]


@virtual
async def test_what_is_spare_takes_what_nothing_else_wants_and_gets_all_of_it() -> None:
    clock = Clock()
    rest = FreeRest(BINANCE, "", clock.now, clock.sleep)
    sent: list[tuple[str, int]] = []

    async def ask(name: str, weight: int, spare: bool) -> None:
        await rest.ask(Request(path="", weight=weight), spare)
        sent.append((name, clock.now()))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(100):
            tasks.create_task(ask("snapshot", 20, True))
        await asyncio.sleep(5.1)
        asked_at = clock.now()
        for _ in range(30):
            tasks.create_task(ask("poll", 1, False))
    polls = [at - asked_at for name, at in sent if name == "poll"]
    assert max(polls) <= 30 / 32 * 1000 + 40
    snapshots = [at for name, at in sent if name == "snapshot"]
    assert snapshots[23] == 0  # all of the burst
    assert not any(asked_at < at < asked_at + max(polls) for at in snapshots)
    assert max(snapshots) <= ((100 * 20 - 480 + 30) / 32) * 1000 + 200


@virtual
async def test_a_short_pause_is_sat_out_for_as_long_as_the_venue_says() -> None:
    answers = [status(429, Retry_After="7"), ok]
    async with answering(lambda request: answers.pop(0)(request)) as rest:
        assert str(await failure(rest)) == (
            "it asked us to slow down (HTTP 429), pausing 7 s"
        )  # fmt: skip
        began = asyncio.get_running_loop().time()
        assert await rest.ask(Request(path="/x")) == b"{}"
        assert 7 <= asyncio.get_running_loop().time() - began < 7.1
        assert (rest.usage.requests, rest.usage.failures) == (2, 1)


@pytest.mark.parametrize(
    ("code", "body", "headers", "seconds", "blocked"),
    [
        (429, b"", {}, 60, False),
        (429, b"", {"Retry_After": "Fri, 31 Dec 2027 23:59:59 GMT"}, 60, False),
        (429, b"", {"Retry_After": "120"}, 120, False),
        (418, b"", {}, 300, False),
        (418, b"", {"Retry_After": "3600"}, 3600, False),
        (418, b"", {"Retry_After": "inf"}, 300, False),
        (418, b"", {"Retry_After": "nan"}, 300, False),
        (403, b"403, access too frequent", {}, 600, False),
        (403, b"Access Too Frequent", {}, 600, False),
        (403, b"<html>CloudFront: blocked in your country</html>", {}, 600, True),
        (451, b'{"code":0,"msg":"Service unavailable from a restricted location"}', {}, 600, True),
        (503, b"", {"Retry_After": "90"}, 90, False),
        (500, b"", {}, 0, False),
        (404, b"", {}, 0, False),
    ],
)
def test_pauses(code: int, body: bytes, headers: dict, seconds: float, blocked: bool) -> None:
    @virtual
    async def check() -> None:
        asked: list[str] = []

        def answer(request: web.Request) -> web.Response:
            asked.append(request.path)
            return status(code, body, **headers)(request) if len(asked) == 1 else ok(request)

        async with answering(answer) as rest:
            first = await failure(rest)
            assert first.blocked is blocked
            assert str(code) in str(first)
            assert "country" in str(first) if blocked else "country" not in str(first)
            assert rest.paused_s == pytest.approx(seconds, abs=0.1)
            if seconds > resting._PATIENCE_S:
                again = await failure(rest)  # without asking
                assert (str(again), again.blocked, len(asked)) == (str(first), blocked, 1)
                await asyncio.sleep(seconds - 5)
            assert await rest.ask(Request(path="/x")) == b"{}"
            assert len(asked) == 2

    check()


@pytest.mark.parametrize(
    ("code", "headers", "seconds"),
    [(403, {}, 0), (451, {}, 0), (503, {"Retry_After": "90"}, 0), (404, {}, 0), (429, {}, 60)],
)
def test_what_is_asked_apart_pauses_nothing_but_where_it_is_too_often(
    code: int, headers: dict, seconds: float
) -> None:
    @virtual
    async def check() -> None:
        async with answering(status(code, b"", **headers)) as rest:
            with pytest.raises(Unavailable, match=str(code)) as refused:
                await rest.ask(Request(path="/x"), spare=True, apart=True)
            assert not refused.value.blocked
            assert rest.paused_s == pytest.approx(seconds, abs=0.1)

    check()


@virtual
async def test_a_body_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resting, "MAX_BODY_BYTES", 3 << 20)
    sizes = [3 << 20, (3 << 20) + 1]
    async with answering(lambda _: web.Response(body=b"x" * sizes.pop(0))) as rest:
        assert len(await rest.ask(Request(path="/x"))) == 3 << 20
        assert str(await failure(rest)) == "it sent more than 3 MB"


@virtual
async def test_what_cannot_be_reached_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    refused = f"http://127.0.0.1:{port}"

    async def no_name(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", no_name)
    for base, words in (
        (refused, "the connection was refused"),
        ("http://fapi.example.invalid", "its name could not be looked up (no network?)"),
        ("http://a..example", None),
    ):
        async with Rest(BINANCE, base, clock.now, clock.sleep) as rest:
            message = str(await failure(rest))
            assert message == words if words else message
            assert (rest.usage.requests, rest.usage.failures) == (1, 1)


@virtual
async def test_a_server_that_never_answers_or_hangs_up_at_once() -> None:
    silent = await asyncio.start_server(lambda _r, _w: asyncio.sleep(100), "127.0.0.1", 0)
    rude = await asyncio.start_server(lambda _r, writer: writer.close(), "127.0.0.1", 0)
    clock = Clock()
    async with silent, rude:
        for server, words, seconds in (
            (silent, "it did not answer in time", 20),
            (rude, "it closed the connection without an answer", 0),
        ):
            port = server.sockets[0].getsockname()[1]
            async with Rest(BINANCE, f"http://127.0.0.1:{port}", clock.now, clock.sleep) as rest:
                began = clock.now()
                assert str(await failure(rest)) == words
                assert (clock.now() - began) / 1000 == pytest.approx(seconds, abs=1)
        await asyncio.sleep(100)


@virtual
async def test_a_certificate_that_is_not_valid_is_said_in_words(tmp_path: Path) -> None:
    async def never(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0, ssl=certified(tmp_path))
    clock = Clock()
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with Rest(BINANCE, f"https://127.0.0.1:{port}", clock.now, clock.sleep) as rest:
            words = str(await failure(rest))
        assert words == "its TLS certificate is not valid (self-signed certificate)"
        async with Rest(BINANCE, f"http://127.0.0.1:{port}", clock.now, clock.sleep) as rest:
            assert str(await failure(rest)) == "it closed the connection without an answer"
    assert in_words(ssl.SSLCertVerificationError("none")) == "the connection failed (" + (
        "SSLCertVerificationError)"
    )


@pytest.mark.parametrize("code", [301, 302, 307, 308])
@virtual
async def test_redirects_are_not_followed(code: int) -> None:
    paths: list[str] = []

    def answer(request: web.Request) -> web.Response:
        paths.append(request.path)
        place = "/elsewhere" if request.method == "GET" else "http://[::1"
        return web.Response(status=code, headers={"Location": place})

    async with answering(answer) as rest:
        for request in (Request(path="/x"), Request(path="/y", body=b"{}")):
            assert str(await failure(rest, request)) == (
                f"it answered HTTP {code}, a redirect, which is not followed"
            )
    assert paths == ["/x", "/y"]


@virtual
async def test_a_connection_that_only_errs_is_not_kept() -> None:
    """One of several machines behind an address may be broken; the next try may meet another."""
    transports: list[object] = []  # kept, so that none has the identity of another

    def answer(request: web.Request) -> web.Response:
        transports.append(request.transport)
        return web.Response(status=500 if request.path == "/broken" else 200, body=b"<html>")

    async with answering(answer) as rest:
        for path in ("/", "/", "/broken", "/", "/"):
            with suppress(Unavailable):
                await rest.ask(Request(path=path))
        rest.doubt()
        await asyncio.gather(*(rest.ask(Request(path="/")) for _ in range(3)))
        await rest.ask(Request(path="/"))
    assert len({*map(id, transports[:3])}) == len({*map(id, transports[3:5])}) == 1
    assert {*map(id, transports[:3])}.isdisjoint(map(id, transports[3:]))
    assert {*map(id, transports[3:5])}.isdisjoint(map(id, transports[5:]))
    assert transports[-1] in transports[5:-1]


@virtual
async def test_who_waits_for_an_answer_gets_it_though_others_had_bad_ones() -> None:
    release = asyncio.Event()

    async def handle(request: web.Request) -> web.Response:
        if request.path == "/slow":
            await release.wait()
        return web.Response(status=500 if request.path == "/broken" else 200, body=b"x")

    runner = web.AppRunner(web.Application())
    runner.app.router.add_route("*", "/{path:.*}", handle)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    clock = Clock()
    async with Rest(BINANCE, f"http://127.0.0.1:{runner.addresses[0][1]}", clock.now) as rest:
        slow = asyncio.create_task(rest.ask(Request(path="/slow")))
        await asyncio.sleep(1)
        await failure(rest, Request(path="/broken"))
        assert await rest.ask(Request(path="/")) == b"x"
        release.set()
        assert await slow == b"x"
        assert len(rest._users) == 1
    await runner.cleanup()


def test_words_for_several_addresses_and_the_unknown() -> None:
    both = OSError(
        "Multiple exceptions: [Errno 111] Connect call failed ('127.0.0.1', 1),"
        " [Errno 111] Connect call failed ('::1', 1, 0, 0)"
    )
    assert in_words(both) == "the connection was refused"
    assert in_words(OSError(101, "x")) == "it cannot be reached from here (no network?)"
    assert in_words(ConnectionResetError(104, "x")) == "the connection was reset"
    assert in_words(KeyError("x")) == "the connection failed (KeyError)"
    assert refusal(500, {}).words == "it answered HTTP 500"


def test_the_same_words_are_news_once_in_ten_minutes() -> None:
    say_once = SayOnce()
    assert [say_once.is_news("a", now) for now in (0, 1, 599_999, 600_000, 700_000)] == [
        True, False, False, True, False,
    ]  # fmt: skip
    assert say_once.is_news("b", 700_000)
    say_once.forget()
    assert say_once.is_news("b", 700_001)
    assert all(say_once.is_news(str(n), n) for n in range(10_000))
    assert len(say_once._at) <= 50
