"""The webhook: what arrives is signed, and what fails is sent again with the same key."""

import hashlib
import hmac
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis

from bot.delivery.post import Policy
from bot.delivery.sinks import LONGEST_WAIT_S, RefusalScope, Refused, RetryLater, Sinks
from bot.delivery.sinks.webhook import Endpoint, Webhook, _judge, key_of
from bot.destination import WebhookName
from tests.bot.delivery.test_sender import chat, openings, running, say, until
from tests.bot.posts import message
from tests.bot.receiver import Receiver
from tests.bot.sinks import Numbered

DOCS = Path(__file__).parents[4] / "docs" / "webhook.md"
SECRET = "a shared secret"
HOOK = WebhookName("mine")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as server:
        yield server


@pytest.fixture
async def webhook(receiver: Receiver) -> AsyncIterator[Webhook]:
    endpoint = Endpoint(url=receiver.url, secret=SECRET)
    sink = Webhook({"mine": endpoint}, timeout=60, now=lambda: 1_791_020_520.7)
    yield sink
    await sink.close()


async def test_what_arrives_is_json_signed_over_its_time(receiver: Receiver, webhook: Webhook):
    await webhook.send(HOOK, message("<b>A&amp;B</b> −5%"), key="the key")
    ((headers, body),) = receiver.got
    stamp = headers["Lowtide-Timestamp"]
    assert stamp == "1791020520"
    wanted = hmac.new(SECRET.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["Lowtide-Signature"] == f"sha256={wanted}"
    assert headers["Idempotency-Key"] == key_of("the key")
    received = msgspec.json.decode(body)
    assert received["text"] == "A&B −5%"
    assert received["html"] == "<b>A&amp;B</b> −5%"
    assert (received["level"], received["turn"], received["key"]) == ("alert", "open", "the key")


async def test_the_documentation_names_every_field_and_header(receiver: Receiver, webhook: Webhook):
    await webhook.send(HOOK, message("x"), key="k")
    ((headers, body),) = receiver.got
    text = DOCS.read_text(encoding="utf-8")
    sent = [name for name in headers if name.startswith(("Lowtide", "Idem"))]
    assert len(sent) == 3
    for name in [*msgspec.json.decode(body), *sent]:
        assert f"`{name}`" in text, name


def test_the_documented_check_accepts_what_is_signed():
    text = DOCS.read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    scope: dict[str, object] = {}
    exec(code, scope)  # noqa: S102  # it is our own documentation
    stamp, body = "1791020520", b'{"version":1}'
    good = hmac.new(SECRET.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    check, headers = scope["genuine"], {"Lowtide-Timestamp": stamp}
    signed = headers | {"Lowtide-Signature": f"sha256={good}"}
    assert check(SECRET, signed, body, now=1_791_020_530)
    assert not check("another", signed, body, now=1_791_020_530)
    assert not check(SECRET, signed, body + b" ", now=1_791_020_530)
    assert not check(SECRET, signed, body, now=1_791_029_999)


@pytest.mark.parametrize(
    ("status", "kind", "scope"),
    [
        (429, RetryLater, None),
        (500, RetryLater, None),
        (503, RetryLater, None),
        (401, Refused, RefusalScope.CHAT),
        (404, Refused, RefusalScope.CHAT),
        (302, Refused, RefusalScope.MESSAGE),
        (400, Refused, RefusalScope.MESSAGE),
    ],
)
async def test_answers_mean_later_or_never(receiver, webhook, status, kind, scope):
    receiver.statuses.append(status)
    receiver.headers = {"Retry-After": "7"}
    with pytest.raises(kind) as caught:
        await webhook.send(HOOK, message("x"))
    if status == 429:
        assert (caught.value.seconds, caught.value.flood) == (7, True)
    assert getattr(caught.value, "scope", None) is scope
    assert receiver.url not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [("7", 7), (" 7\t", 7), ("0", 1), ("600", 600), ("601", 600), ("86400", 600), ("86401", 10),
     ("1e308", 10), ("inf", 10), ("nan", 10), ("²", 10), ("٣", 10), ("-5", 10),
     ("9" * 400, 10), ("", 10), ("7.5", 10),
     ("Wed, 21 Oct 2026 07:28:00 GMT", 10)],
)  # fmt: skip
def test_a_wait_is_a_number_of_seconds_within_ten_minutes_or_ours(asked: str, seconds: float):
    """ "²" is a digit to str.isdigit and none to float; 400 nines are infinite."""
    with pytest.raises(RetryLater) as caught:
        _judge(429, asked, "webhook:mine")
    assert (caught.value.seconds, caught.value.flood) == (seconds, True)


@pytest.mark.parametrize("seconds", [1e308, float("inf"), float("nan"), -1.0])
def test_no_way_out_can_ask_for_more_than_a_day(seconds: float):
    assert 0 < RetryLater(seconds, "x").seconds <= LONGEST_WAIT_S


async def test_a_server_that_is_away_means_later_and_names_no_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoint = Endpoint(url=f"http://127.0.0.1:{port}/secret-path", secret=SECRET)
    webhook = Webhook({"mine": endpoint}, timeout=60)
    with pytest.raises(RetryLater, match="no answer: the connection was refused") as caught:
        await webhook.send(HOOK, message("x"))
    assert "secret-path" not in f"{caught.value} {endpoint!r} {caught.value.__cause__}"
    await webhook.close()


async def test_an_unknown_webhook_is_refused(webhook: Webhook):
    with pytest.raises(Refused, match="webhook:other is not in"):
        await webhook.check(WebhookName("other"))


async def test_the_outbox_sends_again_with_the_same_key(
    redis: Redis, tmp_path: Path, receiver: Receiver, webhook: Webhook, monkeypatch
):
    monkeypatch.setattr("bot.delivery.sinks.webhook._PAUSE_S", 0.01)
    receiver.statuses.extend([503, 500])
    ways = Sinks(Numbered(), webhooks=webhook)
    async with running(redis, tmp_path, ways, chat(0, destination=HOOK), policy=Policy()) as role:
        await say(redis, *openings("BTC", 1))
        await until(lambda: role.status().sent == 1)
    keys = [headers["Idempotency-Key"] for headers, _ in receiver.got]
    assert len(keys) == 3
    assert len(set(keys)) == 1
