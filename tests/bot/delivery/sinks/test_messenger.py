"""Messengers against a local server: what arrives, and what each answer means."""

import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis

from bot.delivery.sinks import (
    OutcomeUnknown,
    Receipt,
    RefusalScope,
    Refused,
    RetryLater,
    SendError,
    Sinks,
)
from bot.delivery.sinks.messenger import Messenger, judge_answer
from bot.delivery.sinks.services import SERVICES, Account
from bot.destination import MessengerName, Service
from tests.bot.delivery.test_sender import chat, openings, running, say, until
from tests.bot.posts import message
from tests.bot.receiver import Receiver
from tests.bot.sinks import Numbered

TAKEN: Mapping[Service, bytes] = {
    Service.DISCORD: b'{"id":"1234567890123456789","type":0,"content":"x"}',
    Service.SLACK: b"ok",
    Service.NTFY: b'{"id":"sPs71M8A2T","time":1791014400,"event":"message","topic":"topic"}',
    Service.LINE: b'{"sentMessages":[{"id":"461230966842064897"}]}',
}
"""What each service answers to a message that it has taken."""

PATHS = {
    Service.DISCORD: "/hook/topic?wait=true",
    Service.SLACK: "/hook/topic",
    Service.NTFY: "/hook/",
    Service.LINE: "/hook/topic/v2/bot/message/push",
}
PAGE = b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>"
SECRET = "tk_S3CR3T"


def messenger(service: Service, url: str) -> Messenger:
    account = Account(url=f"{url}/topic", token=SECRET, to="U1")
    return Messenger(service, {"desk": account}, timeout=60)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as server:
        server.usual = 200
        yield server


async def outcome(service: Service, url: str) -> SendError | Receipt:
    sink = messenger(service, url)
    try:
        return await sink.send(MessengerName(service, "desk"), message("<b>x</b>"), key="k")
    except SendError as error:
        return error
    finally:
        await sink.close()


@pytest.mark.parametrize("service", SERVICES)
async def test_a_message_that_is_taken_has_arrived(receiver: Receiver, service: Service):
    receiver.body = TAKEN[service]
    assert await outcome(service, receiver.url) == Receipt()
    assert receiver.paths == [PATHS[service]]
    ((headers, body),) = receiver.got
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert isinstance(msgspec.json.decode(body), dict)


async def test_discord_that_says_nothing_has_taken_it(receiver: Receiver):
    receiver.usual = 204
    assert await outcome(Service.DISCORD, receiver.url) == Receipt()


CHAT, MARKUP, MESSAGE = RefusalScope.CHAT, RefusalScope.MARKUP, RefusalScope.MESSAGE


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    ("status", "kind", "scope"),
    [
        (429, RetryLater, None),
        (301, Refused, CHAT), (302, Refused, CHAT),
        (401, Refused, CHAT), (403, Refused, CHAT), (404, Refused, CHAT), (410, Refused, CHAT),
        (400, Refused, MARKUP), (413, Refused, MARKUP), (422, Refused, MARKUP),
        (405, Refused, MESSAGE), (418, Refused, MESSAGE),
    ],
)  # fmt: skip
async def test_a_refusal_says_how_much_is_refused(
    receiver: Receiver, service: Service, status: int, kind: type[SendError], scope: object
):
    receiver.statuses.append(status)
    receiver.body = PAGE
    error = await outcome(service, receiver.url)
    assert type(error) is kind
    assert getattr(error, "scope", None) is scope
    assert getattr(error, "flood", False) is (status == 429)
    for text in (str(error), repr(error.__cause__), repr(error.__context__)):
        assert SECRET not in text and "/topic" not in text and "html" not in text


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
@pytest.mark.parametrize("service", SERVICES)
async def test_a_server_in_trouble_leaves_in_doubt_but_where_keys_are_known(
    receiver: Receiver, service: Service, status: int
):
    receiver.statuses.append(status)
    receiver.body = PAGE
    error = await outcome(service, receiver.url)
    assert type(error) is (RetryLater if service is Service.LINE else OutcomeUnknown)
    assert not error.answered  # it is asked again until the news is old
    assert str(status) in error.reason


@pytest.mark.parametrize("body", [PAGE, b"", b"\xff\xfe", b"[1]", b'{"id":7}', b"{" * 5_000])
@pytest.mark.parametrize("service", SERVICES)
async def test_a_page_in_place_of_an_answer_is_no_arrival(
    receiver: Receiver, service: Service, body: bytes
):
    receiver.body = body
    if (service, body[:1]) in ((Service.LINE, b"{"), (Service.DISCORD, b"")):
        return
    error = await outcome(service, receiver.url)
    assert isinstance(error, OutcomeUnknown)
    assert error.answered
    assert "check its address" in error.reason


@pytest.mark.parametrize("service", SERVICES)
async def test_an_answer_that_is_lost_leaves_in_doubt_but_where_keys_are_known(
    receiver: Receiver, service: Service
):
    receiver.hangs_up = True
    error = await outcome(service, receiver.url)
    assert len(receiver.got) == 1
    assert type(error) is (RetryLater if service is Service.LINE else OutcomeUnknown)
    assert "gives no answer" in error.reason


@pytest.mark.parametrize("service", SERVICES)
async def test_who_cannot_be_reached_has_surely_nothing(service: Service):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = await outcome(service, f"http://127.0.0.1:{port}")
    assert type(error) is RetryLater
    assert error.reason == f"{service}:desk gives no answer: the connection was refused"


@pytest.mark.parametrize("service", SERVICES)
async def test_an_address_that_is_none_is_refused(service: Service):
    error = await outcome(service, "http://[::1")
    assert (type(error), error.scope) == (Refused, CHAT)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_messenger_that_is_not_configured_is_refused(service: Service):
    sink = messenger(service, "http://127.0.0.1:1")
    for to in (
        MessengerName(service, "other"),
        MessengerName(Service.SLACK),
        MessengerName(service),
    ):
        with pytest.raises(Refused, match="is not in"):
            await sink.check(to)
    assert (await sink.check(MessengerName(service, "desk"))).title == f"{service}:desk"
    await sink.close()


WAITS = [
    ("7", b"", 7),
    ("", b'{"message":"You are being rate limited.","retry_after":1.337,"global":false}', 1.337),
    ("65", b'{"retry_after":64.57,"global":true}', 64.57),
    ("7", b'{"retry_after":"soon"}', 7),
    ("7", b'{"retry_after":true}', 7),
    ("7", b'{"retry_after":-1}', 7),
    ("7", b'{"retry_after":1e999}', 7),
    ("7", b'{"retry_after":' + b"9" * 400 + b"}", 7),
    ("", b'{"retry_after":86000}', 600),
    ("601", b"", 600),
    ("86401", b"", 10),
    ("\u00b2", b"", 10),
    ("", b'{"code":42901,"http":429,"error":"limit reached: too many requests"}', 10),
    ("", PAGE, 10),
    ("", b"", 10),
]


@pytest.mark.parametrize(("header", "body", "seconds"), WAITS)
@pytest.mark.parametrize("service", SERVICES)
def test_how_long_to_wait_is_what_the_service_says_within_ten_minutes(
    service: Service, header: str, body: bytes, seconds: float
):
    with pytest.raises(RetryLater) as caught:
        judge_answer(service, 429, header, body, "x")
    assert (caught.value.seconds, caught.value.flood) == (seconds, True)


@pytest.mark.parametrize(
    ("service", "status", "body", "words"),
    [
        (Service.SLACK, 404, b"no_service", "slack answers 404 (no_service): check its"),
        (
            Service.DISCORD,
            404,
            b'{"message": "Unknown Webhook", "code": 10015}',
            "(Unknown Webhook)",
        ),
        (Service.LINE, 401, b'{"message":"Authentication failed."}', "(Authentication failed.)"),
        (Service.NTFY, 403, b'{"code":40301,"http":403,"error":"forbidden"}', "(forbidden)"),
        (Service.SLACK, 400, b"invalid_payload", "with 400 (invalid_payload)"),
        (Service.DISCORD, 400, b'{"message": "a\\u001b[31m"}', "(a\\x1b[31m)"),
        (Service.SLACK, 404, b"a" * 4_000, "slack answers 404: check its"),
        (Service.SLACK, 404, PAGE, "slack answers 404: check its"),
    ],
)
def test_what_a_service_says_of_a_refusal_is_passed_on_in_short(
    service: Service, status: int, body: bytes, words: str
):
    with pytest.raises(Refused) as caught:
        judge_answer(service, status, "", body, service.value)
    assert words in caught.value.reason
    assert caught.value.reason.isprintable()


def test_what_only_line_answers():
    judge_answer(Service.LINE, 409, "", b'{"message":"The retry key is already accepted"}', "line")
    with pytest.raises(Refused, match="no more messages this month") as caught:
        judge_answer(
            Service.LINE, 429, "", b'{"message":"You have reached your monthly limit."}', "line"
        )
    assert caught.value.scope is CHAT
    with pytest.raises(Refused, match="knows nobody under its to") as caught:
        body = b'{"message":"The property, \'to\', in the request body is invalid (line: -)"}'
        judge_answer(Service.LINE, 400, "", body, "line")
    assert caught.value.scope is CHAT
    with pytest.raises(Refused) as caught:
        judge_answer(Service.SLACK, 409, "", b"", "slack")
    assert caught.value.scope is MESSAGE


def keys(receiver: Receiver) -> list[str]:
    return [headers.get("X-Line-Retry-Key", "") for headers, _ in receiver.got]


@pytest.mark.parametrize("service", SERVICES)
async def test_the_outbox_sends_again_what_is_in_doubt_and_says_so_where_no_key_is_known(
    redis: Redis, tmp_path: Path, receiver: Receiver, service: Service, monkeypatch
):
    monkeypatch.setattr("bot.delivery.sinks.messenger._PAUSE_S", 0.01)
    receiver.body = TAKEN[service]
    receiver.statuses.append(503)
    desk = chat(0, destination=MessengerName(service, "desk"))
    sink = messenger(service, receiver.url)
    ways = Sinks(Numbered(), messengers={service: sink})
    async with running(redis, tmp_path, ways, desk) as role:
        await say(redis, *openings("BTC", 1))
        await until(lambda: role.status().sent == 1, 60)
    await sink.close()
    first, second = (str(body) for body in receiver.bodies)
    if service is Service.LINE:
        assert len(set(keys(receiver))) == 1
        assert first == second
    else:
        assert "perhaps" not in first
        assert len(second) > len(first), "a line says that it may be there twice"
    assert "BTC" in first and "BTC" in second


@pytest.mark.parametrize("service", SERVICES)
async def test_the_outbox_tries_a_refused_text_once_more_as_simple_as_can_be(
    redis: Redis, tmp_path: Path, receiver: Receiver, service: Service
):
    receiver.body = TAKEN[service]
    receiver.statuses.append(400)
    desk = chat(0, destination=MessengerName(service, "desk"))
    sink = messenger(service, receiver.url)
    ways = Sinks(Numbered(), messengers={service: sink})
    async with running(redis, tmp_path, ways, desk) as role:
        await say(redis, *openings("BTC", 1))
        await until(lambda: role.status().sent == 1, 60)
    await sink.close()
    first, second = receiver.bodies
    assert not {"embeds", "attachments"} & second.keys()
    assert ("embeds" in first) == (service is Service.DISCORD)


async def pictured(service: Service, url: str) -> SendError | Receipt:
    sink = messenger(service, url)
    try:
        to = MessengerName(service, "desk")
        return await sink.picture(to, b"\x89PNG", "<b>In</b> the picture", reply_to=None)
    except SendError as error:
        return error
    finally:
        await sink.close()


@pytest.mark.parametrize("service", [Service.DISCORD, Service.NTFY])
async def test_a_picture_is_uploaded(receiver: Receiver, service: Service):
    receiver.body = TAKEN[service]
    assert await pictured(service, receiver.url) == Receipt()
    ((_, body),) = receiver.got
    assert b"\x89PNG" in body
    assert "In the picture" in body.decode("latin-1") or "In+the+picture" in receiver.paths[0]


@pytest.mark.parametrize("service", [Service.SLACK, Service.LINE])
async def test_where_none_is_taken_none_is_sent(receiver: Receiver, service: Service):
    error = await pictured(service, receiver.url)
    assert isinstance(error, Refused) and error.scope is MESSAGE
    assert not receiver.got


@pytest.mark.parametrize(
    ("status", "kind"), [(413, Refused), (429, RetryLater), (500, OutcomeUnknown)]
)
async def test_a_picture_that_is_not_taken_says_so_as_a_text_does(
    receiver: Receiver, status: int, kind: type[SendError]
):
    receiver.statuses.append(status)
    assert type(await pictured(Service.DISCORD, receiver.url)) is kind


async def test_a_picture_that_takes_too_long_is_given_up(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("bot.delivery.sinks.messenger._PICTURE_S", 0.0)
    assert isinstance(await pictured(Service.DISCORD, receiver.url), OutcomeUnknown)
