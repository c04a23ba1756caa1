"""Messages as JSON to anybody's own HTTP address, signed: see docs/webhook.md.

The same post always carries the same key, so a receiver that remembers keys gets each one once,
however often it is sent.
"""

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from bot.delivery.pace import Limits
from bot.delivery.sinks import (
    LONGEST_WAIT_S,
    ChatInfo,
    OneWay,
    Receipt,
    RefusalScope,
    Refused,
    RetryLater,
)
from bot.delivery.sinks.posting import HttpPoster, NoAddress, NoAnswer
from bot.destination import Destination, WebhookName, destination_key
from bot.messages.render import Message
from streams.feed.errors import wait_s
from streams.proxies import NO_PROXIES, Proxies

_PAUSE_S = 10.0
"""After a failure for which the receiver names no pause."""

_LONGEST_S = 600.0
"""A receiver that asks for a longer pause is asked again by then: one that says a day, by mistake
perhaps, does not hold back what is critical for so long."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where to post. Neither field is ever logged: an address may be a secret itself."""

    url: str
    secret: str
    """Signs what is posted."""

    def __repr__(self) -> str:
        return "<endpoint>"


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """What is posted; docs/webhook.md says what each field means."""

    version: int = 1
    action: Literal["post"] = "post"
    key: str = ""
    alert: str = ""
    rule: str = ""
    asset: str = ""
    turn: str = ""
    level: str = ""
    silent: bool = True
    hidden_by: str = ""
    at: int = 0
    text: str = ""
    html: str = ""

    @property
    def content(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode(self)


class Webhook(OneWay):
    """Posts to the endpoints of webhooks, by name. ``timeout``: seconds for one request."""

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        timeout: float = 20.0,
        now: Callable[[], float] = time.time,
        proxies: Proxies = NO_PROXIES,
    ) -> None:
        self._endpoints = endpoints
        self._poster = HttpPoster(timeout, proxies)
        self._now = now
        self.limits = Limits(per_minute=60, reserved=0)

    async def check(self, to: Destination) -> ChatInfo:
        self._endpoint(to)
        return ChatInfo(title=destination_key(to))

    async def send(
        self,
        to: Destination,
        message: Message,
        *,
        key: str = "",
        reply_to: int | None = None,
        markup: bool = True,
    ) -> Receipt:
        body = Body(
            key=key,
            alert=message.alert_id,
            rule=message.rule,
            asset=message.asset,
            turn=message.turn,
            level=message.level.name.lower(),
            silent=message.silent,
            hidden_by=message.hidden_by,
            at=message.at,
            text=message.plain,
            html=message.html,
        )
        await self._post(self._endpoint(to), key, body.content, destination_key(to))
        return Receipt()

    async def close(self) -> None:
        await self._poster.close()

    def _endpoint(self, to: Destination) -> Endpoint:
        endpoint = self._endpoints.get(to.name) if isinstance(to, WebhookName) else None
        if endpoint is None:
            key = destination_key(to)
            raise Refused(f"{key} is not in [[webhooks]] of the configuration", RefusalScope.CHAT)
        return endpoint

    async def _post(self, endpoint: Endpoint, key: str, content: bytes, name: str) -> None:
        stamp = str(int(self._now()))
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": key_of(key),
            "Lowtide-Timestamp": stamp,
            "Lowtide-Signature": f"sha256={signature(endpoint.secret, stamp, content)}",
        }
        try:
            answer = await self._poster.post(endpoint.url, content, headers)
        except NoAddress:
            raise Refused(f"{name} has no usable address", RefusalScope.CHAT) from None
        except NoAnswer as error:
            # the key makes it safe to send again what may have arrived
            reason = f"{name} gives no answer: {error.reason}"
            raise RetryLater(_PAUSE_S, reason, in_doubt=error.sent) from None
        _judge(answer.status, answer.retry_after, name)


def signature(secret: str, timestamp: str, content: bytes) -> str:
    """HMAC-SHA256 in hexadecimal of the timestamp, a full stop and the body."""
    return hmac.new(
        secret.encode(), timestamp.encode() + b"." + content, hashlib.sha256
    ).hexdigest()


def key_of(key: str) -> str:
    """A post's key as a header may hold it."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _judge(status: int, retry_after: str, name: str) -> None:
    """Raises unless ``status`` says that the message was taken."""
    if 200 <= status < 300:
        return
    if status == 429:
        seconds = min(wait_s(retry_after, LONGEST_WAIT_S) or _PAUSE_S, _LONGEST_S)
        raise RetryLater(seconds, f"{name} asks to send less", flood=True)
    if status >= 500 or status == 408:
        raise RetryLater(_PAUSE_S, f"{name} answers {status}", in_doubt=True)
    if status in (401, 403, 404, 410):
        reason = f"{name} answers {status}: check its address and secret"
        raise Refused(reason, RefusalScope.CHAT)
    raise Refused(f"{name} refuses the message with {status}", RefusalScope.MESSAGE)
