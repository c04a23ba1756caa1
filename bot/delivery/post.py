"""The records of delivery: posts, what is known of a chat, the steps of its queue. Pure data.

A post goes queued → sending → sent | retry | uncertain | expired | failed. ``sending`` is durable
before the request is made, its outcome after. A post that is ``sending`` at a start was under way
when an earlier process died: it is uncertain whether it was posted.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

import msgspec

from bot.delivery.pace import Pace
from bot.destination import Destination, TelegramChat, with_topic
from bot.lang import LANGUAGES
from bot.messages.blocks import plain, unbroken
from bot.messages.render import Button, Message
from bot.plan.planner import ButtonAction, Delivery, Pictures
from rules.alerts import Level, Turn
from streams.durations import DAY, HOUR, MINUTE, SECOND
from streams.events import Ms


class PostState(StrEnum):
    """How far a post has got."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    RETRY = "retry"
    """Surely not posted yet, and to be tried again."""
    UNCERTAIN = "uncertain"
    """Perhaps posted: the answer was lost, or could not be read."""
    EXPIRED = "expired"
    """Too old to be posted."""
    FAILED = "failed"


WAITING = (PostState.QUEUED, PostState.RETRY)
"""States of posts that are to be sent."""

SETTLED = (PostState.SENT, PostState.EXPIRED, PostState.FAILED)
"""States in which a post is sent no more, and may be forgotten."""

GIVEN_UP = (PostState.EXPIRED, PostState.FAILED)
"""States of posts that readers have never got."""


NEWS: Mapping[Level, Ms] = {Level.WATCH: HOUR, Level.ALERT: 2 * HOUR, Level.CRITICAL: 2 * HOUR}
"""How long an alert is news."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may choose about delivery."""

    on_uncertain: Literal["resend", "drop"] = "resend"
    """What becomes of a post that was perhaps posted and about which nothing can be found out."""
    expires: Mapping[Level, Ms] = msgspec.field(default_factory=lambda: NEWS)
    """How long an alert is news."""
    late: Ms = MINUTE
    """From this age on a post says how late it is."""
    edit_every: Ms = MINUTE
    """The least time between two edits of a post that say that something has happened …"""
    edit_after: float = 0.25
    """… and that only follow the values, as a share of the age of the post: every minute at first,
    every quarter of an hour after an hour."""
    off: Ms = 10 * MINUTE
    """How long a chat that refuses the bot is left alone."""
    backoff: tuple[Ms, Ms] = (SECOND, MINUTE)
    """The first and the longest wait after an unclear answer."""
    pictured: Ms = 5 * MINUTE
    """A picture does not follow a post that was due so long ago."""
    probes: int = 5
    """How often an uncertain post is looked for, and a duplicate tried to be deleted."""
    unread: tuple[Ms, ...] = (5 * SECOND, 20 * SECOND, MINUTE, 3 * MINUTE, 10 * MINUTE)
    """How long after each answer that could not be read a post is sent again, perhaps twice; after
    one more it is given up. What stands between may have kept the post, or its answer alone."""
    crowded: int = 5
    """After a flood, more waiting posts than that become digests."""
    rush: int = 3
    """More critical posts than that become a digest if they cannot be sent at once."""
    over: Ms = 6 * HOUR
    """So long after its episode is over a settled post is forgotten …"""
    thread_over: Ms = 26 * HOUR
    """… that of a thread, which says what the price has done since …"""
    oldest: Ms = 7 * DAY
    """… or so long after it was sent …"""
    most: int = 1_000
    """… or if more than so many are settled in the chat."""


Part = Delivery | str
"""What a post is made of: a delivery of the plan, or a first line that is finished text."""


class Post(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One post of one chat, and what became of it.

    A ``name`` is what older versions wrote the field under; records they kept stay readable.
    """

    key: str
    """Its name, which stays the same however often it is sent."""
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
    """The ids of the alerts in it."""
    title: str = ""
    """Of a post in place of several: the key of the phrase above their first lines."""
    language: str = "en"
    short: bool = False
    """Whether it has its first line and its last alone."""
    topic: int | None = None
    """The ``message_thread_id`` of a topic."""
    count: int = 1
    """How many alerts are in it."""
    buttons: tuple[ButtonAction, ...] = ()
    """What is under it."""
    names: tuple[str, ...] = ()
    """What it is about, for a line that says it was left out."""
    episodes: tuple[str, ...] = ()
    """The episodes of its alerts: each the text of an ``EpisodeKey``, as in all that follow."""
    open: tuple[str, ...] = ()
    """Those that go on."""
    thread: str = ""
    """The event it tells of, which goes on in it by edits; "": one alert by itself, or none."""
    grown: tuple[str, ...] = ()
    """The ids of the alerts that edits have told, or are to tell, the newest of them."""
    into: str = ""
    """The market's thread that tells its event from now on; "": none does."""
    goes_on: Literal["", "next", "market", "unwatched"] = ""
    """Where its event goes on, if not here: in the next post of the thread, or in the market's."""
    openings: tuple[str, ...] = ()
    """The keys of the posts in which readers heard first of what it tells of."""
    picture: Pictures = "none"
    """Which picture is to follow once it has rung; "none": none is, or one was sent."""
    week: Ms = 0
    """The Monday of the week that it reports on, which the picture is of; 0: it reports on none."""
    gathered: int = 1
    """Of how many posts it was made."""
    heads: tuple[str, ...] = ()
    """Of a post without ``parts`` that stands for several: what of each cannot be left out."""
    state: PostState = PostState.QUEUED
    attempts: int = 0
    """How often it was sent."""
    message_id: int | None = None
    """The number of its message in the chat; None: not sent, or the sink has no numbers."""
    body: str = ""
    """The text as it was sent, by which it is looked for."""
    lines: tuple[str, ...] = ()
    """What the text says of the post itself, below the message: late, others left out, again."""
    markup: bool = True
    """Whether it is sent as HTML."""
    resend: bool = msgspec.field(default=False, name="again")
    """It is sent although it was perhaps posted."""
    maybe_duplicate: bool = msgspec.field(default=False, name="doubted")
    """It might turn out to be there twice: the number of its message will show it."""
    unread: int = 0
    """How often it was answered in a way that could not be read."""
    probes: int = 0
    """How often looking for it failed, while it is uncertain."""
    skipped: int = 0
    """How many message numbers were looked at."""
    copies: tuple[int, ...] = msgspec.field(default=(), name="found")
    """The numbers of messages that were found to have its text."""
    values_at: Mapping[str, Ms] = {}
    """Episode → the time of the value that was sent."""
    ages: Mapping[str, Ms] = {}
    """Episode → its age at that time."""
    left: int = 0
    """How many older ones it says were left out."""
    live: str = ""
    """What it is to say: a line on what has happened, a change of which is worth an edit soon, and
    the text with present values."""
    shown: str = ""
    """The same as readers have it."""
    reposted: bool = False
    """Somebody deleted it, and it was posted once more."""
    edited_at: Ms = 0
    """When it was sent or last edited."""
    reason: str = ""
    """Why it failed."""
    kept_until: Ms = 0
    """When a settled post may be forgotten."""

    @property
    def close(self) -> bool:
        """Whether it is about ends of episodes."""
        return self.message.turn is Turn.CLOSE and bool(self.episodes)

    @property
    def delivery(self) -> Delivery | None:
        """The delivery it is made of, if it is of one and no end."""
        part = self.parts[0] if len(self.parts) == 1 and not (self.close or self.title) else None
        return part if isinstance(part, Delivery) else None

    @property
    def threaded(self) -> Delivery | None:
        """What it tells of its thread, whether that is over or not."""
        part = self.parts[0] if self.thread and len(self.parts) == 1 else None
        return part if isinstance(part, Delivery) else None

    @property
    def critical(self) -> bool:
        """Whether it is of the critical lane by itself."""
        return self.message.level is Level.CRITICAL and not self.close


class ChatState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a chat. A ``name`` as in ``Post``."""

    destination: Destination
    """Where it is, without a topic."""
    moved_to: int | None = None
    """Where it is now, if it has moved."""
    title: str = ""
    """What a sink calls it, for people."""
    probe: bool = False
    """Its message numbers have no gaps and nobody else posts there, so a post can be looked for."""
    last_id: int | None = None
    """The number of the last message; None: unknown."""
    pace: Pace = Pace()
    flooded: bool = False
    """Too much was sent: what waits is to be bundled after the pause."""
    unclear: int = msgspec.field(default=0, name="troubles")
    """How many unclear answers there were in a row."""
    off: str = ""
    """Why nothing is sent there; "": it is."""
    off_until: Ms = 0
    """When it is tried again."""
    left: int = 0
    """How many alerts expired without a post having said so yet."""
    left_names: tuple[str, ...] = ()
    """What some of these were about."""
    duplicates: tuple[int, ...] = msgspec.field(default=(), name="doomed")
    """The numbers of messages that are surely there twice and are to be deleted."""
    undeleted: int = 0
    """How often it was unclear whether the first of them was deleted, or whose the first suspect
    is."""
    suspects: tuple[int, ...] = ()
    """The numbers of messages that may be duplicates of the post ``suspected``, or somebody
    else's: an edit shows whose."""
    suspected: str = ""
    closed_topics: Mapping[int, Ms] = {}
    """Topics that take nothing, and until when posts for them go to the topic "General"."""

    def address(self, topic: int | None = None) -> Destination:
        """Where the chat, or a topic of it, is now."""
        now = self.destination if self.moved_to is None else TelegramChat(self.moved_to)
        return with_topic(now, topic)


def as_message(post: Post, text: str) -> Message:
    """``post``'s message with ``text`` in place of its own, and the buttons under it. In ``html``
    no line breaks within a number; ``plain``, which programs read too, has spaces as they are."""
    phrases = LANGUAGES[post.language].phrases
    buttons = tuple(Button(phrases[f"button.{action}"], action) for action in post.buttons)
    return msgspec.structs.replace(
        post.message, html=unbroken(text), plain=plain(text), buttons=buttons
    )


class SendStep(msgspec.Struct, frozen=True):
    """Send a post."""

    post: Post
    reply_to: int | None
    """The number of the message that it answers."""
    urgent: bool
    """Whether it goes by the critical lane."""


class ProbeStep(msgspec.Struct, frozen=True):
    """Look whether this post is the message of that number."""

    post: Post
    message_id: int


class EditStep(msgspec.Struct, frozen=True):
    """Give this post a new text."""

    post: Post
    text: str
    message_id: int


class DrawnPicture(msgspec.Struct, frozen=True):
    """A picture that is to follow a post."""

    image: bytes
    """PNG."""
    caption: str
    """Telegram HTML."""


class PictureStep(msgspec.Struct, frozen=True):
    """Send a picture in answer to this post."""

    post: Post
    message_id: int | None
    """That of the post; None: messages have no numbers there."""
    picture: DrawnPicture


class DeleteStep(msgspec.Struct, frozen=True):
    """Delete a message that is there twice."""

    message_id: int


QueueStep = SendStep | ProbeStep | EditStep | PictureStep | DeleteStep


STUCK: Ms = 2 * MINUTE
"""After so long operators are told that a chat gets nothing."""


class DeliveryProblem(msgspec.Struct, frozen=True, kw_only=True):
    """Something about a chat that operators should know."""

    phrase: str
    """The key of its phrase."""
    chat: str
    """The key of the queue."""
    reason: str
    alert: str = ""
    """The id of the alert concerned, if there is one."""


class ChatReport(msgspec.Struct, frozen=True, kw_only=True):
    """How delivery goes in one chat."""

    chat: str
    """The key of the queue."""
    ready: bool
    """It was asked what it is, and does not refuse the bot."""
    reason: str = ""
    """Why the last request failed; "": it did not."""
    queued: int = 0
    """How many posts are not settled."""
    critical_ms: Ms = 0
    """For how long the oldest critical one of them has been due; 0: there is none."""
    failing_ms: Ms = 0
    """For how long requests have failed, without one that did not; 0: the last did not."""

    @property
    def stuck(self) -> bool:
        """Nothing goes out there though it should: a critical post, which goes first, waits for
        longer than ``STUCK``, or others while requests have failed for as long."""
        return self.critical_ms > STUCK or (self.queued > 0 and self.failing_ms > STUCK)
