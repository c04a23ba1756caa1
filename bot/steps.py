"""What can be done next in a chat, and what operators should hear of. Pure data."""

import msgspec

from bot.outbox import Post


class Send(msgspec.Struct, frozen=True):
    """Send this post, as a reply to that message."""

    post: Post
    reply_to: int | None
    urgent: bool


class Probe(msgspec.Struct, frozen=True):
    """Look whether this post is the message of that number."""

    post: Post
    message_id: int


class Edit(msgspec.Struct, frozen=True):
    """Give this post a new text."""

    post: Post
    text: str
    message_id: int


class Delete(msgspec.Struct, frozen=True):
    """Delete a message that is there twice."""

    message_id: int


Step = Send | Probe | Edit | Delete


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """Something that operators should know: the key of its phrase, where, about what and why."""

    phrase: str
    chat: str
    reason: str
    alert: str = ""
