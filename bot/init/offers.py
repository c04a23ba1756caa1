"""Which chats an update of Telegram names: where somebody posts, and where a post comes from. Pure.

Each update is read by itself, so that one which is not as expected costs no other.
"""

from collections.abc import Iterator
from typing import Annotated, Any, cast

import msgspec

from streams.text import printable

KINDS = ("message", "channel_post", "my_chat_member")
"""The updates to ask for: messages to the bot and in groups, posts in its channels, and that it was
put into a chat."""

_TITLE = 60
_ID = msgspec.Meta(gt=-(2**53), lt=2**53)  # the Bot API: at most 52 significant bits
_OUT = ("left", "kicked")


class ChatOffer(msgspec.Struct, frozen=True):
    """A chat that could get the alerts."""

    id: Annotated[int, _ID]
    type: str
    """channel, group, supergroup or private."""
    title: str = ""
    first_name: str = ""

    def __str__(self) -> str:
        name = printable(self.title or self.first_name or "without a name", _TITLE)
        if self.type == "private":
            return f"{name}, in private ({self.id})"
        return f"the {'channel' if self.type == 'channel' else 'group'} {name} ({self.id})"


def chats_in(update: Any) -> Iterator[ChatOffer]:
    """The chats that ``update`` names, the likeliest first: of a forwarded post the channel that it
    comes from, and not the private chat to which it was forwarded."""
    fields = _table(update)
    message = _table(fields.get("message"))
    origin = _table(message.get("forward_origin"))
    places = [
        origin.get("chat"),  # of a channel
        origin.get("sender_chat"),  # of a group's administrator without a name
        None if origin else message.get("chat"),
        _table(fields.get("channel_post")).get("chat"),
    ]
    joined = _table(fields.get("my_chat_member"))
    if _table(joined.get("new_chat_member")).get("status") not in _OUT:
        places.append(joined.get("chat"))
    for place in places:
        try:
            yield msgspec.convert(place, ChatOffer)
        except msgspec.ValidationError:
            continue


def _table(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
