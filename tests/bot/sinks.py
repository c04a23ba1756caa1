"""Sinks for tests: chats in memory that number their messages as Telegram does."""

from bot.delivery.pace import NO_LIMITS
from bot.delivery.sinks import ChatInfo, Edited, Gate, Receipt
from bot.destination import Destination, TelegramChat, WebhookName
from bot.messages.render import Message


class Numbered:
    """Keeps each chat's messages by number; ``probe``: chats are channels of ours alone."""

    def __init__(self) -> None:
        self.limits = NO_LIMITS
        self.place = "a list"
        self.probe = True
        self.chats: dict[object, list[Message | None]] = {}
        self.replies: list[int | None] = []
        self.messages: list[Message] = []
        self.pictures: list[tuple[int, bytes, str]] = []
        self.edits: list[tuple[int, Message]] = []

    def join(self, gate: Gate) -> None:
        """Nothing but posts goes this way."""

    async def check(self, to: Destination) -> ChatInfo:
        return ChatInfo(title=self.place, probe=self.probe)

    async def send(
        self,
        to: Destination,
        message: Message,
        *,
        key: str = "",
        reply_to: int | None = None,
        markup: bool = True,
    ) -> Receipt:
        chat = self.chats.setdefault(_name(to), [])
        chat.append(message)
        self.messages.append(message)
        self.replies.append(reply_to)
        return Receipt(message_id=len(chat))

    async def edit(
        self, to: Destination, message_id: int, message: Message, *, markup: bool = True
    ) -> Edited:
        chat = self.chats.get(_name(to), [])
        if message_id > len(chat) or chat[message_id - 1] is None:
            return Edited.GONE
        if chat[message_id - 1].plain == message.plain:
            return Edited.SAME
        chat[message_id - 1] = message
        self.edits.append((message_id, message))
        return Edited.CHANGED

    async def picture(
        self, to: Destination, image: bytes, caption: str, *, reply_to: int
    ) -> Receipt:
        self.pictures.append((reply_to, image, caption))
        chat = self.chats.setdefault(_name(to), [])
        chat.append(None)
        return Receipt(message_id=len(chat))

    async def delete(self, to: Destination, message_id: int) -> None:
        self.chats[_name(to)][message_id - 1] = None

    async def close(self) -> None:
        """Nothing to let go of."""


def _name(to: Destination) -> object:
    """The number of a chat, the name of a webhook, None for the console."""
    match to:
        case TelegramChat(chat):
            return chat
        case WebhookName(name):
            return name
        case _:
            return None
