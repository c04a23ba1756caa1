"""What Telegram sends of a message, as far as commands need it. Pure.

Each update is read by itself, so that one which is not as expected costs no other.
"""

from typing import Annotated, Any, cast

import msgspec

PRIVATE = "private"
_ID = msgspec.Meta(gt=-(2**53), lt=2**53)  # the Bot API: at most 52 significant bits


class MessageChat(msgspec.Struct, frozen=True):
    """Where a message is. ``username``: a public group's, without @."""

    id: Annotated[int, _ID]
    type: str
    username: str | None = None


class Person(msgspec.Struct, frozen=True):
    """Who wrote it."""

    id: Annotated[int, _ID]
    first_name: str = ""
    last_name: str | None = None
    username: str | None = None

    @property
    def name(self) -> str:
        """As others know them."""
        if self.username:
            return f"@{self.username}"
        return f"{self.first_name} {self.last_name or ''}".strip()[:60]


class Written(msgspec.Struct, frozen=True, kw_only=True, rename={"sender": "from"}):
    """A message. ``date`` in seconds; ``message_thread_id``: the topic, if ``is_topic_message``.

    ``sender_chat``: somebody who writes as a chat. ``forward_origin``, ``via_bot``: the text is not
    by who sent it. ``migrate_to_chat_id``: the group has become that supergroup.
    """

    date: Annotated[int, msgspec.Meta(ge=0, lt=2**40)]
    chat: MessageChat
    sender: Person | None = None
    text: str | None = None
    message_thread_id: int | None = None
    is_topic_message: bool = False
    sender_chat: Any = None
    forward_origin: Any = None
    via_bot: Any = None
    migrate_to_chat_id: Annotated[int, _ID] | None = None

    @property
    def own_words(self) -> bool:
        """Whether who sent it has written it: a forwarded command is nobody's order."""
        return self.forward_origin is None and self.via_bot is None

    @property
    def topic(self) -> int | None:
        """The topic it is in, if any."""
        return self.message_thread_id if self.is_topic_message else None


class _Update(msgspec.Struct, frozen=True):
    message: Written | None = None


def number(update: Any) -> int | None:
    """The update's number; None if it has none that could be confirmed."""
    fields = cast("dict[str, Any]", update) if isinstance(update, dict) else {}
    found = fields.get("update_id")
    return found if type(found) is int and 0 <= found < 2**53 else None


def written(update: Any) -> Written | None:
    """The message in ``update``, None if it holds no new one. Raises msgspec.ValidationError."""
    return msgspec.convert(update, _Update).message
