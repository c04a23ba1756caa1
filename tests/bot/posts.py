"""Posts and queues for tests."""

from collections.abc import Sequence

from bot.delivery.pace import NO_LIMITS, Limits
from bot.delivery.post import ChatState, Policy, Post, SendStep
from bot.delivery.queue import ChatQueue
from bot.destination import TelegramChat
from bot.messages.blocks import plain
from bot.messages.render import Message
from rules.alerts import Level, Turn

START = 1_791_020_520_000
S, MIN, HOUR = 1_000, 60_000, 3_600_000


def message(text: str, level: Level = Level.ALERT, turn: Turn = Turn.OPEN) -> Message:
    return Message(
        alert_id=text, asset=text, rule="r", turn=turn, level=level,
        silent=level is Level.WATCH, html=text, plain=plain(text), at=START,
    )  # fmt: skip


def post(
    name: str,
    number: int,
    level: Level = Level.ALERT,
    episodes: Sequence[str] | None = None,
    at: int = 0,
    **changes: object,
) -> Post:
    """A post named and worded ``name``, of an episode of its own if none is given."""
    turn = changes.pop("turn", Turn.OPEN)
    keys = (name,) if episodes is None else tuple(episodes)
    return Post(
        **{
            "key": name,
            "chat": "-1",
            "number": number,
            "message": message(f"<b>{name}</b>\nfacts\n#tag", level, turn),
            "at": START + at,
            "expires": START + at + HOUR,
            "names": (name,),
            "episodes": keys,
            "open": () if turn is Turn.CLOSE else keys,
            **changes,
        }
    )


def chat_queue(
    *posts: Post, probe: bool = True, limits: Limits = NO_LIMITS, policy: Policy | None = None
) -> ChatQueue:
    """A queue whose last message has the number 10."""
    queue = ChatQueue(
        "-1", ChatState(destination=TelegramChat(-1), probe=probe, last_id=10), limits, policy
    )
    for new in posts:
        queue.add(new)
    return queue


def sent(queue: ChatQueue, now: int, message_id: int | None = None) -> Post:
    """The next post is sent ``now`` and confirmed."""
    step = queue.next(START + now)
    assert isinstance(step, SendStep), step
    begun = queue.begin(step, START + now)
    assert isinstance(begun, SendStep)
    number = (queue.state.last_id or 0) + 1 if message_id is None else message_id
    queue.sent(begun.post, number, START + now)
    return queue.posts[begun.post.key]


def order(queue: ChatQueue, now: int = 0) -> list[str]:
    """All that is sent, one after the other, at ``now``."""
    keys = []
    while isinstance(queue.next(START + now), SendStep):
        keys.append(sent(queue, now).key)
    return keys
