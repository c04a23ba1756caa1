"""What Telegram sends about a message, as far as commands need it. Pure.

Each update is read by itself, so that one which is not as expected costs no other.
"""

from typing import Annotated, Any, cast

import msgspec

from bot.lang import language_of
from streams.text import printable

PRIVATE = "private"
_ID = msgspec.Meta(gt=-(2**53), lt=2**53)  # the Bot API: at most 52 significant bits


class MessageChat(msgspec.Struct, frozen=True):
    """Where a message is."""

    id: Annotated[int, _ID]
    type: str
    username: str | None = None
    """A public group's, without @."""

    def is_at(self, address: int | str) -> bool:
        """Whether it is the chat of this number or "@name"."""
        if isinstance(address, str):
            return (self.username or "").lower() == address.removeprefix("@").lower()
        return self.id == address


class Person(msgspec.Struct, frozen=True):
    """Who wrote it."""

    id: Annotated[int, _ID]
    first_name: str = ""
    last_name: str | None = None
    username: str | None = None
    language_code: Any = None
    """The tag of the language of their app, where Telegram says it."""

    @property
    def language(self) -> str | None:
        """The language of Lowtide that fits their app; None: none does, or it is not known."""
        return language_of(self.language_code) if isinstance(self.language_code, str) else None

    @property
    def name(self) -> str:
        """As others know them."""
        if self.username:
            return f"@{self.username}"
        return printable(f"{self.first_name} {self.last_name or ''}".strip(), 60)


class UserMessage(msgspec.Struct, frozen=True, kw_only=True, rename={"sender": "from"}):
    """A message in a chat."""

    date: Annotated[int, msgspec.Meta(ge=0, lt=2**40)]
    """In seconds."""
    chat: MessageChat
    sender: Person | None = None
    text: str | None = None
    message_thread_id: int | None = None
    """The topic, if ``is_topic_message``."""
    is_topic_message: bool = False
    sender_chat: Any = None
    """The chat in whose name somebody writes."""
    forward_origin: Any = None
    """Set if the sender has forwarded the text of another."""
    via_bot: Any = None
    """Set if a bot has made the text."""
    migrate_to_chat_id: Annotated[int, _ID] | None = None
    """The supergroup that the group has become."""

    @property
    def own_words(self) -> bool:
        """Whether its sender has written it: a forwarded command is nobody's order."""
        return self.forward_origin is None and self.via_bot is None

    @property
    def topic(self) -> int | None:
        """The topic it is in, if any."""
        return self.message_thread_id if self.is_topic_message else None


class PressedMessage(msgspec.Struct, frozen=True):
    """The message whose button was pressed."""

    message_id: int
    chat: MessageChat
    message_thread_id: int | None = None
    """The topic, if ``is_topic_message``."""
    is_topic_message: bool = False

    @property
    def topic(self) -> int | None:
        """The topic it is in, if any."""
        return self.message_thread_id if self.is_topic_message else None


class ButtonPress(msgspec.Struct, frozen=True, kw_only=True, rename={"sender": "from"}):
    """Somebody has pressed a button. Nothing says when."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    sender: Person
    message: PressedMessage | None = None
    """None: too old for Telegram."""
    data: str | None = None
    """What the button says; anything, since apps other than Telegram's may send it."""


class _Update(msgspec.Struct, frozen=True):
    message: UserMessage | None = None


class _PressUpdate(msgspec.Struct, frozen=True):
    callback_query: ButtonPress | None = None


def number(update: Any) -> int | None:
    """The update's number; None if it has none that could be confirmed."""
    fields = cast("dict[str, Any]", update) if isinstance(update, dict) else {}
    update_id = fields.get("update_id")
    return update_id if type(update_id) is int and 0 <= update_id < 2**53 else None


def new_message(update: Any) -> UserMessage | None:
    """The message in ``update``, None if it holds no new one. Raises msgspec.ValidationError."""
    return msgspec.convert(update, _Update).message


def new_press(update: Any) -> ButtonPress | None:
    """The press of a button in ``update``, None if there is none. Raises as ``new_message``."""
    return msgspec.convert(update, _PressUpdate).callback_query
