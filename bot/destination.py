"""Where messages go: a tagged union, and the keys under which it is remembered. Pure.

A destination never holds an address: that of a webhook or a messenger is in the settings and
in the sink only, so that neither Redis nor the log nor a text can tell it.
"""

from enum import StrEnum
from typing import assert_never

import msgspec

GENERAL_TOPIC = 1
"""The topic "General" of a forum group. Telegram refuses requests that name it ("message thread not
found") and posts there when no topic is named."""


def place_key(chat: int | str | None, topic: int | None = None) -> tuple[int | str | None, int]:
    """The same for two spellings of one place in Telegram: names are told apart without regard to
    case, and General is where posts without a topic go."""
    return chat.lower() if isinstance(chat, str) else chat, topic or GENERAL_TOPIC


class TelegramChat(msgspec.Struct, frozen=True, tag="telegram", omit_defaults=True):
    """A chat of Telegram: its number or "@name", and the ``message_thread_id`` of a topic of a
    forum group, if any."""

    chat: int | str
    topic: int | None = None

    @property
    def thread(self) -> int | None:
        """The ``message_thread_id`` to send with a request; None: leave it out."""
        return None if self.topic == GENERAL_TOPIC else self.topic


class ConsoleOutput(msgspec.Struct, frozen=True, tag="console"):
    """Whoever reads the console."""


class WebhookName(msgspec.Struct, frozen=True, tag="webhook"):
    """The webhook of this name in the configuration."""

    name: str


class Service(StrEnum):
    """A messenger other than Telegram."""

    DISCORD = "discord"
    SLACK = "slack"
    NTFY = "ntfy"
    LINE = "line"
    APPRISE = "apprise"
    """Any of those that the command of this name knows."""


class MessengerName(msgspec.Struct, frozen=True, tag="messenger"):
    """The messenger of this service and name in the configuration."""

    service: Service
    name: str = ""


Destination = TelegramChat | ConsoleOutput | WebhookName | MessengerName


def destination_key(destination: Destination) -> str:
    """What a destination is called where it is remembered and in the log: ``console``, ``-100123``,
    ``-100123/7`` with a topic, ``webhook:NAME``, ``discord``, ``discord:NAME``."""
    match destination:
        case TelegramChat(chat, None):
            return str(chat)
        case TelegramChat(chat, topic):
            return f"{chat}/{topic}"
        case ConsoleOutput():
            return "console"
        case WebhookName(name):
            return f"webhook:{name}"
        case MessengerName(service, ""):
            return service.value
        case MessengerName(service, name):
            return f"{service.value}:{name}"
        case _:
            assert_never(destination)


def knows_keys(destination: Destination) -> bool:
    """Whether whoever takes posts there knows those with the same key for the same, so that one
    that was not confirmed may be sent again."""
    match destination:
        case WebhookName():
            return True
        case MessengerName(service):
            return service is Service.LINE
        case _:
            return False


def takes_pictures(destination: Destination) -> bool:
    """Whether a picture can be sent there from here: a webhook of Slack and LINE want the address
    of one that everybody can open, and of apprise nobody knows who takes any."""
    match destination:
        case TelegramChat():
            return True
        case MessengerName(service):
            return service in (Service.DISCORD, Service.NTFY)
        case _:
            return False


def queue_key(destination: Destination) -> str:
    """The queue of a destination: topics of one group share it, since Telegram's limits hold for
    all of them together."""
    return destination_key(with_topic(destination, None))


def topic_of(destination: Destination) -> int | None:
    """The ``message_thread_id`` of a topic, None where there is none."""
    return destination.topic if isinstance(destination, TelegramChat) else None


def with_topic(destination: Destination, topic: int | None) -> Destination:
    """``destination`` with another topic; only chats of Telegram have one."""
    if isinstance(destination, TelegramChat):
        return TelegramChat(destination.chat, topic)
    return destination


def telegram_or_console(chat: int | str | None, topic: int | None = None) -> Destination:
    """What the configuration's ``chat_id`` means; None: the console."""
    return ConsoleOutput() if chat is None else TelegramChat(chat, topic)
