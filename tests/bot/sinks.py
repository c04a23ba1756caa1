"""Sinks for tests: chats in memory that number their messages as Telegram does."""

from bot.limiter import NONE
from bot.messages import Message
from bot.sinks import Edited, Place, Receipt, To


class Numbered:
    """Keeps each chat's messages by number; ``probe``: chats are channels of ours alone."""

    def __init__(self) -> None:
        self.limits = NONE
        self.place = "a list"
        self.probe = True
        self.chats: dict[object, list[Message | None]] = {}
        self.replies: list[int | None] = []
        self.messages: list[Message] = []
        self.edits: list[tuple[int, Message]] = []

    async def check(self, to: To) -> Place:
        return Place(title=self.place, probe=self.probe)

    async def send(
        self,
        to: To,
        message: Message,
        *,
        key: str = "",
        reply_to: int | None = None,
        markup: bool = True,
    ) -> Receipt:
        chat = self.chats.setdefault(to.chat, [])
        chat.append(message)
        self.messages.append(message)
        self.replies.append(reply_to)
        return Receipt(chat=to.chat, message_id=len(chat))

    async def edit(
        self, to: To, message_id: int, message: Message, *, markup: bool = True
    ) -> Edited:
        chat = self.chats.get(to.chat, [])
        if message_id > len(chat) or chat[message_id - 1] is None:
            return Edited.GONE
        if chat[message_id - 1].plain == message.plain:
            return Edited.SAME
        chat[message_id - 1] = message
        self.edits.append((message_id, message))
        return Edited.CHANGED

    async def delete(self, to: To, message_id: int) -> None:
        self.chats[to.chat][message_id - 1] = None

    async def close(self) -> None:
        """Nothing to let go of."""
