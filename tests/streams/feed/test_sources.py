"""Context sources live, against a local server that answers as sources do on a bad day."""

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp import web

from streams.events import AnyEvent, ContextFacts, Fault, FaultCode, RateOdds, Release
from streams.feed.sources import SAID_AFTER, SourceAddress, SourceClient
from streams.sources import SOURCES
from streams.sources.series import OwnSeriesSource
from tests.streams.sources.test_sources import (
    announcement,
    coin,
    kalshi_event,
    leg,
    polymarket_event,
    resolved,
    stable,
)
from tests.streams.virtual import EPOCH, Clock, virtual


def page() -> web.Response:
    return web.Response(text="<html>Just a moment...</html>", content_type="text/html")


def odds(days: int = 20) -> web.Response:
    event = kalshi_event()
    at = datetime.fromtimestamp(EPOCH / 1000, UTC) + timedelta(days=days)
    event["strike_date"] = at.isoformat()
    return web.Response(body=json.dumps({"events": [event]}).encode())


OWN = OwnSeriesSource("flows", "M USD", url="https://example.org/flows.csv")


class Bench:
    """A source that is asked for ``hours``, whose n-th answer is ``answers[n]``, then the last.
    ``beside``: path → what is answered there each time, which is not counted."""

    def __init__(
        self,
        name: str,
        *answers: Callable[[], web.Response],
        beside: Mapping[str, Callable[[], web.Response]] = {},
    ) -> None:
        self.name, self.answers, self.beside = name, answers, beside
        self.source = OWN if name == OWN.SPEC.name else SOURCES[name]
        self.events: list[AnyEvent] = []
        self.asked: list[tuple[float, str, str]] = []

    async def run(self, hours: float) -> SourceClient:
        clock = Clock()
        began = clock.now()

        async def handle(request: web.Request) -> web.Response:
            if request.path in self.beside:
                return self.beside[request.path]()
            place = min(len(self.asked), len(self.answers) - 1)
            agent = request.headers.get("User-Agent", "")
            self.asked.append(((clock.now() - began) / 60_000, request.path_qs, agent))
            return self.answers[place]()

        runner = web.AppRunner(web.Application())
        runner.app.router.add_route("*", "/{path:.*}", handle)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        place = SourceAddress(source=self.source, rest=f"http://127.0.0.1:{runner.addresses[0][1]}")
        client = SourceClient(place, self.events.append, clock)
        task = asyncio.create_task(client.run())
        await clock.sleep(hours * 3600)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await runner.cleanup()
        return client

    @property
    def facts(self) -> list[ContextFacts]:
        return [event for event in self.events if isinstance(event, ContextFacts)]

    @property
    def faults(self) -> list[tuple[bool, str]]:
        faults = [event for event in self.events if isinstance(event, Fault)]
        assert {(f.code, f.venue) for f in faults} <= {(FaultCode.SOURCE_SILENT, self.name)}
        return [(fault.over, fault.detail) for fault in faults]


@virtual
async def test_what_it_says_is_published_with_how_long_it_holds() -> None:
    bench = Bench("kalshi", odds)
    client = await bench.run(hours=2)
    assert 11 <= len(bench.facts) == len(bench.asked) <= 13
    first = bench.facts[0]
    assert (first.source, first.good_for) == ("kalshi", 3_600_000)
    assert isinstance(first.facts[0], RateOdds)
    assert {over for over, _ in bench.faults} == {True}
    assert client.status().trouble == ""
    assert client.status().answered_at == bench.facts[-1].seen


@virtual
async def test_a_calendar_is_asked_for_as_a_browser_does_once_an_hour() -> None:
    bench = Bench("forexfactory", lambda: web.Response(body=b"[]"))
    await bench.run(hours=5.5)
    assert len(bench.asked) == 6
    assert all(agent.startswith("Mozilla/5.0") for _, _, agent in bench.asked)


def busy() -> web.Response:
    return web.Response(status=429, headers={"Retry-After": "1800"})


BAD = {
    "html": page,
    "nothing": lambda: web.Response(body=b""),
    "decided": lambda: odds(-300),
    "gone": lambda: web.Response(status=404),
    "an error": lambda: web.Response(status=503),
    "huge": lambda: web.Response(body=b'{"events": [' + b"0," * 100 + b"1e999]}"),
}


@virtual
@pytest.mark.parametrize("answer", BAD.values(), ids=BAD.keys())
async def test_what_cannot_be_used_is_absent_and_said_once(
    answer: Callable[[], web.Response],
) -> None:
    """Operators hear of it after some failures, and of its end; what is known is not repeated."""
    bench = Bench("kalshi", odds, *[answer] * 6, odds)
    await bench.run(hours=2)
    faults = bench.faults
    began = [place for place, (over, _) in enumerate(faults) if not over]
    assert began[0] > 0  # after the first answer, which was good
    assert len(began) == 6 - SAID_AFTER + 1
    assert faults[-1] == (True, "")
    assert faults[began[0]][1]
    assert len(bench.facts) == len(bench.asked) - 6


@virtual
async def test_a_failure_or_two_are_no_news() -> None:
    bench = Bench("kalshi", page, page, odds)
    await bench.run(hours=1)
    assert {over for over, _ in bench.faults} == {True}
    minutes = [minute for minute, _, _ in bench.asked[:3]]
    assert minutes[0] < 0.1
    assert 0.9 < minutes[1] < 1.2
    assert 2.7 < minutes[2] < 3.3  # after one minute, then two


@virtual
async def test_a_source_that_asks_for_rest_gets_it() -> None:
    bench = Bench("coingecko", busy)
    await bench.run(hours=1.4)
    minutes = [minute for minute, _, _ in bench.asked]
    assert minutes == sorted(minutes)
    assert all(later - before >= 30 for before, later in pairwise(minutes))
    assert bench.facts == []


@virtual
async def test_a_refusal_is_said_at_once_and_not_asked_about_often() -> None:
    bench = Bench("kalshi", lambda: web.Response(status=451))
    client = await bench.run(hours=3)
    assert bench.faults[0][0] is False
    assert "leave it out of sources" in client.status().trouble
    assert len(bench.asked) <= 19
    assert len(set(bench.faults)) == 1  # the same fault, which is reported once


@virtual
async def test_an_error_of_ours_costs_that_source_alone() -> None:
    class Broken:
        SPEC = SOURCES["kalshi"].SPEC
        requests = staticmethod(SOURCES["kalshi"].requests)

        def decode(self, bodies: object, seen: int) -> list[object]:
            raise AttributeError("no such thing")

    events: list[AnyEvent] = []
    place = SourceAddress(source=Broken(), file=Path(__file__))  # pyright: ignore[reportArgumentType]
    client = SourceClient(place, events.append, Clock())
    task = asyncio.create_task(client.run())
    await Clock().sleep(3600)
    assert not task.done()
    task.cancel()
    assert "AttributeError" in client.status().trouble
    assert all(isinstance(event, Fault) for event in events)
    assert events


@virtual
async def test_a_file_of_the_operators_is_read_as_it_is_then(tmp_path: Path) -> None:
    path = tmp_path / "flows.csv"
    events: list[AnyEvent] = []
    place = SourceAddress(source=OwnSeriesSource("flows", "M USD"), file=path)
    client = SourceClient(place, events.append, Clock())
    task = asyncio.create_task(client.run())
    await Clock().sleep(30)
    assert "flows.csv cannot be read: No such file" in client.status().trouble
    path.write_text("date,flow\n2026-11-20,5\n", encoding="utf-8")
    await Clock().sleep(120)
    task.cancel()
    (facts,) = [event for event in events if isinstance(event, ContextFacts)]
    assert facts.source == "series:flows"


# ── each source against the same bad days ───────────────────────────────


def of_json(body: object) -> Callable[[], web.Response]:
    return lambda: web.Response(body=json.dumps(body).encode())


def in_days(event: dict[str, object], field: str, days: int) -> dict[str, object]:
    at = datetime.fromtimestamp(EPOCH / 1000, UTC) + timedelta(days=days)
    return event | {field: at.isoformat()}


def decision(**legs: tuple[float, float, float]) -> dict[str, object]:
    return in_days(polymarket_event(**legs), "endDate", 20)


GOOD: dict[str, Callable[[], web.Response]] = {
    "coingecko": of_json([coin(symbol="btc", market_cap_rank=1)]),
    "defillama": of_json({"peggedAssets": [stable("USDT", 180e9, 1.0003)]}),
    "kalshi": odds,
    "polymarket": of_json([decision()]),
    "forexfactory": lambda: web.Response(body=announcement()),
    OWN.SPEC.name: lambda: web.Response(body=b"date,flow\n2026-11-18,-523.2\n2026-11-19,60.6\n"),
}
BESIDE = {"/api/v3/global": of_json({"data": {"total_market_cap": {"usd": 3e12}}})}


def throttled() -> web.Response:
    return web.Response(status=429, headers={"Retry-After": "120"})


BAD_ANYWHERE = {
    "429": throttled,
    "html": page,
    "nothing": lambda: web.Response(body=b""),
    "an error": lambda: web.Response(status=503),
}


def test_each_source_has_its_bad_days() -> None:
    assert GOOD.keys() == {*SOURCES, OWN.SPEC.name}


@virtual
@pytest.mark.parametrize("answer", BAD_ANYWHERE.values(), ids=BAD_ANYWHERE.keys())
@pytest.mark.parametrize("name", GOOD)
async def test_each_source_is_right_or_absent(
    name: str, answer: Callable[[], web.Response]
) -> None:
    """A good answer, some bad ones, and good ones again: what is told is what the good ones say."""
    bench = Bench(name, GOOD[name], *[answer] * SAID_AFTER, GOOD[name], beside=BESIDE)
    client = await bench.run(hours=4)
    assert len(bench.facts) == len(bench.asked) - SAID_AFTER >= 3
    assert {event.facts for event in bench.facts} == {bench.facts[0].facts}
    assert bench.facts[0].facts
    down = [detail for over, detail in bench.faults if not over]
    assert len(down) == 1 and down[0]
    assert bench.faults[-1] == (True, "")
    assert client.status().trouble == ""


NOT_NOW = {
    "last year's decision": ("polymarket", of_json([resolved()])),
    "last year's, said to be open": (
        "polymarket", of_json([resolved() | {"closed": False, "endDate": decision()["endDate"]}]),
    ),
    "nobody bids or asks": ("polymarket", of_json([decision(**{"No change": (0.5, 0.0, 1.0)})])),
    "an empty side": (
        "kalshi",
        of_json({"events": [in_days(kalshi_event(leg(
            1, yes_bid_dollars="0.0000", yes_ask_dollars="1.0000", yes_ask_size_fp="0.00",
        )), "strike_date", 20)]}),
    ),
    "a list of long ago": (
        "coingecko", of_json([coin(symbol="btc", last_updated="2025-11-20T00:00:00Z")]),
    ),
    "a day that is to come": (
        OWN.SPEC.name, lambda: web.Response(body=b"date,flow\n2027-11-18,-523.2\n"),
    ),
}  # fmt: skip


@virtual
@pytest.mark.parametrize(("name", "answer"), NOT_NOW.values(), ids=NOT_NOW.keys())
async def test_what_is_not_of_now_is_absent(name: str, answer: Callable[[], web.Response]) -> None:
    bench = Bench(name, answer, beside=BESIDE)
    client = await bench.run(hours=2)
    assert bench.asked and bench.facts == []
    assert {over for over, _ in bench.faults} == {False}
    assert client.status().trouble and not client.status().answered_at


@virtual
async def test_a_calendar_that_is_revised_and_one_that_withdraws_are_believed_at_once() -> None:
    moved = announcement(date="2026-11-25T10:00:00-05:00", forecast="0.4%")
    answers = (announcement(date="2026-11-24T08:30:00-05:00"), moved, b"[]", moved)
    bench = Bench("forexfactory", *[lambda body=body: web.Response(body=body) for body in answers])
    await bench.run(hours=3.5)
    times_told = [
        [fact.at for fact in each.facts if isinstance(fact, Release)] for each in bench.facts
    ]
    first, second = (
        round(datetime.fromisoformat(text).timestamp() * 1000)
        for text in ("2026-11-24T13:30:00+00:00", "2026-11-25T15:00:00+00:00")
    )
    assert times_told == [[first], [second], [], [second]]
