"""Sinks: what each must do, and the ways in which sending can fail.

Whether to send again is part of the answer, never guessed by the caller.
"""

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Protocol, assert_never

import msgspec

from bot.delivery.pace import Lane, Limits
from bot.destination import (
    ConsoleOutput,
    Destination,
    MessengerName,
    Service,
    TelegramChat,
    WebhookName,
    destination_key,
)
from bot.messages.render import Message


class ChatInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A chat that can be used."""

    title: str
    """A few words for people."""
    probe: bool = False
    """Message numbers have no gaps and nobody but the bot posts, so that an uncertain post can be
    looked for."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The message arrived."""

    message_id: int | None = None
    """Under which number; None where a sink has none."""


class Edited(Enum):
    """What came of an edit."""

    CHANGED = "changed"
    SAME = "same"
    """It had that text already."""
    GONE = "gone"
    """There is no such message."""
    FOREIGN = "foreign"
    """Somebody else wrote it."""


LONGEST_WAIT_S = 24 * 3_600.0
"""Telegram has been seen to ask for hours; more than a day is a mistake of whoever asks for it."""

_LEAST_WAIT_S = 0.001


class SendError(Exception):
    """A request to a sink that was not confirmed. Every sink raises one of the four below and
    nothing else."""

    def __init__(self, reason: str, text: str = "") -> None:
        super().__init__(text or reason)
        self.reason = reason
        """For people: what the sink says, or how it could not be asked."""


class RetryLater(SendError):
    """Not done; may be done after ``seconds``, which are bounded, whoever asked for them.
    ``flood``: because too much was sent. ``answered``: an answer said so. ``in_doubt``: perhaps it
    was done, and who was asked will know by the key that it is the same."""

    def __init__(
        self,
        seconds: float,
        reason: str,
        *,
        flood: bool = False,
        answered: bool = False,
        in_doubt: bool = False,
    ) -> None:
        # this order of the two lets NaN be the least wait
        seconds = min(max(_LEAST_WAIT_S, seconds), LONGEST_WAIT_S)
        super().__init__(reason, f"{reason}; to be tried again in {seconds:g} s")
        self.seconds = seconds
        self.flood = flood
        self.answered = answered or flood
        self.in_doubt = in_doubt


class ChatMoved(SendError):
    """Not done: the chat is now ``chat``."""

    def __init__(self, chat: int) -> None:
        super().__init__(f"the chat is now {chat}")
        self.chat = chat


class RefusalScope(StrEnum):
    """How much is refused."""

    MARKUP = "markup"
    """The markup of this message."""
    MESSAGE = "message"
    TOPIC = "topic"
    """Everything for a topic of the chat."""
    CHAT = "chat"
    """Everything for the chat."""
    ALL = "all"
    """Everything: the token is refused."""


class Refused(SendError):
    """Not done, and doing the same again is no use."""

    def __init__(self, reason: str, scope: RefusalScope) -> None:
        super().__init__(reason)
        self.scope = scope


class OutcomeUnknown(SendError):
    """Done or not: nobody can say. Sending it again may post it twice. ``answered``: there was an
    answer that said neither yes nor no, so asking again is likely to be answered alike."""

    def __init__(self, reason: str, *, answered: bool = False) -> None:
        super().__init__(reason)
        self.answered = answered


class Busy(Exception):
    """Not done: its turn at the limiter (``Gate``) would have come too late."""


class Gate(Protocol):
    """The one limiter of a sink, which every request passes.

    The sender is it: posts take their turns there before they are made durable as being sent, and
    everything else does so by ``turn``. It knows where chats have moved to as well.
    """

    async def turn(
        self, chat: int | str | None, patience_s: float, lane: Lane = Lane.ASIDE
    ) -> None:
        """Wait until one more request may be made; ``chat`` None: one that goes to no chat.

        Raises Busy as soon as it is plain that this takes longer than ``patience_s``.
        """
        ...

    def flooded(self, chat: int | str | None, seconds: float) -> None:
        """The sink was asked to send less there, for so long."""
        ...

    def moved(self, chat: int | str, to: int) -> None:
        """``chat`` is now ``to``."""
        ...

    def address(self, chat: int | str) -> int | str:
        """Where the chat that the configuration calls ``chat`` is now."""
        ...


class Sink(Protocol):
    """Sends to any number of chats. Its methods raise SendError and nothing else."""

    limits: Limits
    """How many requests it bears."""

    def join(self, gate: Gate) -> None:
        """From now on, ask ``gate`` before every request that is no post."""
        ...

    async def check(self, to: Destination) -> ChatInfo:
        """Can messages be sent there?"""
        ...

    async def send(
        self,
        to: Destination,
        message: Message,
        *,
        key: str = "",
        reply_to: int | None = None,
        markup: bool = True,
    ) -> Receipt:
        """Send ``message``; returns once it has arrived.

        ``key``: the same whenever the same post is sent again. ``reply_to``: the message it answers
        to, if that is still there. ``markup`` False: the plain text instead of the HTML.
        """
        ...

    async def edit(
        self, to: Destination, message_id: int, message: Message, *, markup: bool = True
    ) -> Edited:
        """Give a message that was sent the text of ``message``."""
        ...

    async def picture(
        self, to: Destination, image: bytes, caption: str, *, reply_to: int | None
    ) -> Receipt:
        """Send ``image`` (PNG) with ``caption`` (HTML) below it, without a sound and in answer to a
        message; refused if that is not there any more. ``reply_to`` None: where messages have no
        numbers."""
        ...

    async def delete(self, to: Destination, message_id: int) -> None:
        """Delete a message that was sent; one that is gone already is fine."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class OneWay:
    """The part of a sink that only sends posts: messages have no numbers there, so nobody asks to
    edit or delete one."""

    def join(self, gate: Gate) -> None:
        """There is nothing to ask for."""

    async def edit(
        self, to: Destination, message_id: int, message: Message, *, markup: bool = True
    ) -> Edited:
        return Edited.GONE

    async def picture(
        self, to: Destination, image: bytes, caption: str, *, reply_to: int | None
    ) -> Receipt:
        raise Refused(f"{destination_key(to)} takes no pictures", RefusalScope.MESSAGE)

    async def delete(self, to: Destination, message_id: int) -> None:
        """It is gone as far as anybody knows."""


class Sinks:
    """The sink of each kind of destination; ``main`` where a kind has none of its own.
    ``telegram``: that of chats."""

    def __init__(
        self,
        main: Sink,
        *,
        telegram: Sink | None = None,
        console: Sink | None = None,
        webhooks: Sink | None = None,
        messengers: Mapping[Service, Sink] | None = None,
    ) -> None:
        self.telegram = telegram or main
        self._console = console or main
        self._webhooks = webhooks or main
        self._messengers = dict.fromkeys(Service, main) | dict(messengers or {})

    def of(self, destination: Destination) -> Sink:
        """The sink through which messages reach ``destination``."""
        match destination:
            case TelegramChat():
                return self.telegram
            case ConsoleOutput():
                return self._console
            case WebhookName():
                return self._webhooks
            case MessengerName(service):
                return self._messengers[service]
            case _:
                assert_never(destination)

    def join(self, gate: Gate) -> None:
        """Each of them asks ``gate`` from now on."""
        for sink in self._all():
            sink.join(gate)

    async def close(self) -> None:
        """Let go of connections."""
        for sink in {id(sink): sink for sink in self._all()}.values():
            await sink.close()

    def _all(self) -> tuple[Sink, ...]:
        return self.telegram, self._console, self._webhooks, *self._messengers.values()
