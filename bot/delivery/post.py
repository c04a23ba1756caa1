"""What can be done next in a chat, and what operators should hear of. Pure data.

What is to be posted and what became of it, one record a post. Pure data.

queued → sending → sent | retry | uncertain | expired | failed. ``sending`` is durable before the
request is made, its outcome after. Whoever finds ``sending`` at a start knows that somebody died
while it was under way: it is uncertain whether it was posted.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

import msgspec

from bot.delivery.pace import Pace
from bot.destination import Destination, TelegramChat, with_topic
from bot.messages.blocks import plain
from bot.messages.render import Message
from bot.plan.planner import Delivery
from rules.alerts import Level, Turn
from streams.durations import DAY, HOUR, MINUTE, SECOND
from streams.events import Ms


class PostState(StrEnum):
    """Where a post is. ``retry``: surely not posted yet, and to be tried again."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    RETRY = "retry"
    UNCERTAIN = "uncertain"
    EXPIRED = "expired"
    FAILED = "failed"


WAITING = (PostState.QUEUED, PostState.RETRY)
SETTLED = (PostState.SENT, PostState.EXPIRED, PostState.FAILED)


NEWS: Mapping[Level, Ms] = {Level.WATCH: HOUR, Level.ALERT: 2 * HOUR, Level.CRITICAL: 2 * HOUR}
"""How long an alert is news."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may choose about delivery.

    ``on_uncertain``: what becomes of a post that was perhaps posted and about which nothing can be
    found out. ``expires``: how long an alert is news. ``late``: from which age a post says so.
    ``edit_every``: at least so long between two edits of a post. ``off``: how long a chat that
    refuses the bot is left alone. ``backoff``: first and longest wait after an unclear answer.
    ``probes``: how often an uncertain post is looked for, and a double tried to be deleted.
    ``unread``: a post is given up after so many answers that could not be read. ``crowded``: after
    a flood, more waiting posts than that become digests; ``rush``: as do more critical ones than
    that, if they cannot be sent at once. ``over``, ``oldest``, ``most``: a settled post is
    forgotten so long after its episode is over, so long after it was sent, and if there are more
    than so many in a chat.
    """

    on_uncertain: Literal["resend", "drop"] = "resend"
    expires: Mapping[Level, Ms] = msgspec.field(default_factory=lambda: NEWS)
    late: Ms = MINUTE
    edit_every: Ms = MINUTE
    off: Ms = 10 * MINUTE
    backoff: tuple[Ms, Ms] = (SECOND, MINUTE)
    probes: int = 5
    unread: int = 3
    crowded: int = 5
    rush: int = 3
    over: Ms = 6 * HOUR
    oldest: Ms = 7 * DAY
    most: int = 1_000


Part = Delivery | str
"""What a post is made of: what the plan wanted told, or a first line that is finished text."""


class Post(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One post of one chat."""

    key: str
    """Names it for ever."""
    chat: str
    """The queue it waits in, see ``bot.destination.queue_key``."""
    number: int
    """Its place among all posts."""
    message: Message
    """As it was last rendered. Of a post without ``parts``: the finished text."""
    at: Ms
    """When it was due."""
    expires: Ms
    """When it is no news any more."""
    parts: tuple[Part, ...] = ()
    """What it is rendered from when it is sent; () of notices, and once nothing can change."""
    alerts: tuple[str, ...] = ()
    """The ids of the alerts that are told in it."""
    title: str = ""
    """Of a post in place of several: the key of the phrase above their first lines."""
    language: str = "en"
    topic: int | None = None
    """The ``message_thread_id`` of a topic."""
    count: int = 1
    """How many alerts are told in it."""
    names: tuple[str, ...] = ()
    """What it is about, for a line that says it was left out."""
    episodes: tuple[str, ...] = ()
    """The episodes that are told of: each the text of an ``EpisodeKey``, as in all that follow."""
    open: tuple[str, ...] = ()
    """Those that go on."""
    begins: tuple[str, ...] = ()
    """Those whose beginning is told here and nowhere before."""
    openings: tuple[str, ...] = ()
    """The posts in which the beginning of the others was told."""
    ends: Mapping[str, str] = {}
    """Of an end: what the opening of each episode is to say then."""
    gathered: int = 1
    """Of how many posts it was made."""
    heads: tuple[str, ...] = ()
    """Of a post without ``parts`` that stands for several: what of each cannot be left out."""
    state: PostState = PostState.QUEUED
    attempts: int = 0
    """How often it was sent."""
    message_id: int | None = None
    """Where it is."""
    body: str = ""
    """The text as it was sent, by which it is looked for."""
    lines: tuple[str, ...] = ()
    """What the text says of the post itself, below the message: late, others left out, again."""
    markup: bool = True
    """Whether it is sent as HTML."""
    again: bool = False
    """It is sent although it was perhaps posted."""
    doubted: bool = False
    """It might turn out to be there twice."""
    unread: int = 0
    """How often it was answered in a way that could not be read."""
    probes: int = 0
    """How often looking for it failed."""
    skipped: int = 0
    """How many message numbers were looked at."""
    found: tuple[int, ...] = ()
    """The messages that have its text."""
    values_at: Mapping[str, Ms] = {}
    """Of each of its episodes, from when the value is that was sent."""
    left: int = 0
    """How many older ones it says were left out."""
    live: str = ""
    """The line below the message that edits keep true."""
    live_of: str = ""
    """What that line says but for durations."""
    shown: str = ""
    """That line as readers have it."""
    edited_at: Ms = 0
    reason: str = ""
    """Why it failed."""
    kept_until: Ms = 0
    """When a settled post may be forgotten."""

    @property
    def close(self) -> bool:
        """Whether it tells of ends."""
        return self.message.turn is Turn.CLOSE and bool(self.episodes)

    @property
    def delivery(self) -> Delivery | None:
        """What it tells, if that is one delivery of one rule's alerts and no end."""
        part = self.parts[0] if len(self.parts) == 1 and not (self.close or self.title) else None
        return part if isinstance(part, Delivery) and not part.title else None

    @property
    def critical(self) -> bool:
        """Whether it is of the critical lane by itself."""
        return self.message.level is Level.CRITICAL and not self.close

    @property
    def opens(self) -> bool:
        """Whether it is one episode's opening, below which a line tells how it goes on."""
        return len(self.episodes) == 1 and not self.openings and not self.close


class ChatState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a chat.

    ``destination``: where it is, without a topic. ``moved_to``: where it is now, if it has moved.
    ``probe``: its message numbers have no gaps and nobody else posts there, so a post can be looked
    for. ``last_id``: the number of the last message, None: unknown. ``flooded``: too much was sent;
    the queue is to be collapsed after the pause. ``troubles``: unclear answers in a row. ``off``:
    why nothing is sent there, until ``off_until``. ``left``: posts that expired and were not
    yet said to be left out, of ``left_names``. ``doomed``: messages that are surely
    double and are to be deleted.
    """

    destination: Destination
    moved_to: int | None = None
    title: str = ""
    probe: bool = False
    last_id: int | None = None
    pace: Pace = Pace()
    flooded: bool = False
    troubles: int = 0
    off: str = ""
    off_until: Ms = 0
    left: int = 0
    left_names: tuple[str, ...] = ()
    doomed: tuple[int, ...] = ()
    undeleted: int = 0
    """How often it was unclear whether the first of them was deleted."""
    closed_topics: Mapping[int, Ms] = {}
    """Topics that take nothing, and until when posts for them go to the topic "General"."""

    def address(self, topic: int | None = None) -> Destination:
        """Where the chat, or a topic of it, is now."""
        now = self.destination if self.moved_to is None else TelegramChat(self.moved_to)
        return with_topic(now, topic)


def as_message(post: Post, text: str) -> Message:
    """``post``'s message with ``text`` in place of its own."""
    return msgspec.structs.replace(post.message, html=text, plain=plain(text))


class SendStep(msgspec.Struct, frozen=True):
    """Send this post, as a reply to that message."""

    post: Post
    reply_to: int | None
    urgent: bool


class ProbeStep(msgspec.Struct, frozen=True):
    """Look whether this post is the message of that number."""

    post: Post
    message_id: int


class EditStep(msgspec.Struct, frozen=True):
    """Give this post a new text."""

    post: Post
    text: str
    message_id: int


class DeleteStep(msgspec.Struct, frozen=True):
    """Delete a message that is there twice."""

    message_id: int


QueueStep = SendStep | ProbeStep | EditStep | DeleteStep


class DeliveryProblem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that operators should know: the key of its phrase, where, about what and why."""

    phrase: str
    chat: str
    reason: str
    alert: str = ""


class ChatReport(msgspec.Struct, frozen=True, kw_only=True):
    """How it goes in one chat. ``ready``: it was asked what it is, and does not refuse the bot.
    ``reason``: what the last request failed by, "" if none did. ``queued``: posts that are not
    settled. ``critical_ms``: for how long the oldest critical one of them has been due; 0: there is
    none."""

    chat: str
    ready: bool
    reason: str = ""
    queued: int = 0
    critical_ms: Ms = 0
