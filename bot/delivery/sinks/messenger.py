"""Messages to messengers other than Telegram: see ``bot.delivery.sinks.services``."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeVar

from bot.delivery.sinks import (
    LONGEST_WAIT_S,
    ChatInfo,
    OneWay,
    OutcomeUnknown,
    Receipt,
    RefusalScope,
    Refused,
    RetryLater,
)
from bot.delivery.sinks.posting import HttpPoster, NoAddress, NoAnswer
from bot.delivery.sinks.services import (
    SERVICES,
    Account,
    MessengerRequest,
    json_object,
    picture_request,
    request_of,
)
from bot.destination import Destination, MessengerName, Service, destination_key, knows_keys
from bot.messages.blocks import plain
from bot.messages.render import Message
from bot.redaction import redact
from streams.feed.errors import wait_s
from streams.proxies import NO_PROXIES, Proxies
from streams.text import printable

_Account = TypeVar("_Account")

_PAUSE_S = 10.0
"""After a failure for which the service names no pause."""

_LONGEST_S = 600.0
"""A service that asks for a longer pause is asked again by then: one that says a day, by mistake
perhaps, does not hold back what is critical for so long."""

_PICTURE_S = 10.0
"""A picture that takes longer is given up: the next text waits for it."""

_SHOWN = 80
"""So much of what a service says of a failure is shown."""


class Messenger(OneWay):
    """Posts to the accounts of one service, by name. ``timeout``: seconds for one request."""

    def __init__(
        self,
        service: Service,
        accounts: Mapping[str, Account],
        timeout: float = 20.0,
        proxies: Proxies = NO_PROXIES,
    ) -> None:
        self._service = service
        self._accounts = accounts
        self._poster = HttpPoster(timeout, proxies)
        self.limits = SERVICES[service].limits

    async def check(self, to: Destination) -> ChatInfo:
        self._account(to)
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
        account = self._account(to)
        await self._posted(
            to, lambda: request_of(self._service, message, account, key, markup=markup)
        )
        return Receipt()

    async def picture(
        self, to: Destination, image: bytes, caption: str, *, reply_to: int | None
    ) -> Receipt:
        """A message of its own behind that of the text; the text waits for nothing of it."""
        account = self._account(to)
        request = picture_request(self._service, image, plain(caption), account)
        if request is None:
            raise Refused(f"{destination_key(to)} takes no pictures", RefusalScope.MESSAGE)
        try:
            async with asyncio.timeout(_PICTURE_S):
                await self._posted(to, lambda: request)
        except TimeoutError:
            raise OutcomeUnknown(f"{destination_key(to)} takes too long for a picture") from None
        return Receipt()

    async def _posted(self, to: Destination, request: Callable[[], MessengerRequest]) -> None:
        """Raises unless it was taken."""
        name = destination_key(to)
        try:
            to_post = request()
            answer = await self._poster.post(to_post.url, to_post.content, to_post.headers)
        except (NoAddress, ValueError):  # the second of one that cannot be taken apart
            raise Refused(f"{name} has no usable address", RefusalScope.CHAT) from None
        except NoAnswer as error:
            reason = f"{name} gives no answer: {error.reason}"
            if error.sent and not knows_keys(to):
                raise OutcomeUnknown(reason) from None
            raise RetryLater(_PAUSE_S, reason, in_doubt=error.sent) from None
        judge_answer(self._service, answer.status, answer.retry_after, answer.body, name)

    async def close(self) -> None:
        await self._poster.close()

    def _account(self, to: Destination) -> Account:
        return configured(self._accounts, self._service, to)


def configured(accounts: Mapping[str, _Account], service: Service, to: Destination) -> _Account:
    """Which of the accounts of ``service``, by name, is meant. Raises Refused if it is none."""
    if isinstance(to, MessengerName) and to.service is service and to.name in accounts:
        return accounts[to.name]
    key = destination_key(to)
    raise Refused(f"{key} is not in [[messengers]] of the configuration", RefusalScope.CHAT)


def judge_answer(service: Service, status: int, retry_after: str, body: bytes, name: str) -> None:
    """Raises unless the answer says that the message was taken. ``name``: what the messenger is
    called."""
    form = SERVICES[service]
    if form.retry_key and status == 409:
        return  # taken before
    if 200 <= status < 300:
        if not form.confirms(body):
            reason = f"{name} answers {status}, but not as {form.title} does: check its address"
            raise OutcomeUnknown(reason, answered=True)
        return
    if reason := form.refuses(status, body, name):
        raise Refused(reason, RefusalScope.CHAT)
    if status == 429:
        raise RetryLater(_pause_s(retry_after, body), f"{name} asks to send less", flood=True)
    if status >= 500 or status == 408:
        if form.retry_key:
            raise RetryLater(_PAUSE_S, f"{name} answers {status}", in_doubt=True)
        raise OutcomeUnknown(f"{name} answers {status}")
    why = _why(body)
    if status in (401, 403, 404, 410) or 300 <= status < 400:
        reason = (
            f"{name} answers {status} ({why}): check its address and token"
            if why
            else f"{name} answers {status}: check its address and token"
        )
        raise Refused(reason, RefusalScope.CHAT)
    reason = (
        f"{name} refuses the message with {status} ({why})"
        if why
        else f"{name} refuses the message with {status}"
    )
    scope = RefusalScope.MARKUP if status in (400, 413, 422) else RefusalScope.MESSAGE
    raise Refused(reason, scope)


def _pause_s(retry_after: str, body: bytes) -> float:
    """What the header says, or Discord's body, which has parts of a second."""
    asked = json_object(body).get("retry_after")
    number = asked if isinstance(asked, int | float) and not isinstance(asked, bool) else 0
    if 0 < number <= LONGEST_WAIT_S:  # NaN is not
        return min(float(number), _LONGEST_S)
    return min(wait_s(retry_after, LONGEST_WAIT_S) or _PAUSE_S, _LONGEST_S)


def _why(body: bytes) -> str:
    """What the service says in a few words, if it does: not a page, and no secret."""
    fields = json_object(body)
    reason = next((fields[key] for key in ("message", "error") if fields.get(key)), None)
    text = reason if isinstance(reason, str) else body.decode("utf-8", "replace")
    text = " ".join(text.split())
    if not text or text[0] in "<{[" or len(text) > 2 * _SHOWN:
        return ""
    return printable(redact(text), _SHOWN)
