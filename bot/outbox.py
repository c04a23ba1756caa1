"""What is to be posted and what became of it, one record a post. Pure data.

queued → sending → sent | retry | uncertain | expired | failed. ``sending`` is durable before the
request is made, its outcome after. Whoever finds ``sending`` at a start knows that somebody died
while it was under way: it is uncertain whether it was posted.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from hashlib import blake2s
from typing import Literal

import msgspec

from bot.blocks import with_lines
from bot.destination import Destination, TelegramChat, with_topic
from bot.lang import LANGUAGES
from bot.lang.words import Words
from bot.limiter import Pace
from bot.messages import Message, plain
from bot.voice import say
from rules.alerts import Alert, Level, Turn
from streams.events import Ms

SECOND: Ms = 1_000
MINUTE: Ms = 60_000
HOUR: Ms = 3_600_000
DAY: Ms = 24 * HOUR


class State(StrEnum):
    """Where a post is. ``retry``: surely not posted yet, and to be tried again."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    RETRY = "retry"
    UNCERTAIN = "uncertain"
    EXPIRED = "expired"
    FAILED = "failed"


WAITING = (State.QUEUED, State.RETRY)
SETTLED = (State.SENT, State.EXPIRED, State.FAILED)


NEWS: Mapping[Level, Ms] = {Level.WATCH: HOUR, Level.ALERT: 2 * HOUR, Level.CRITICAL: 2 * HOUR}
"""How long an alert is news."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may choose about delivery.

    ``on_uncertain``: what becomes of a post that was perhaps posted and about which nothing can be
    found out. ``expires``: how long an alert is news. ``late``: from which age a post says so.
    ``edit_every``: at least so long between two edits of a post. ``off``: how long a chat that
    refuses the bot is left alone. ``backoff``: first and longest wait after an unclear answer.
    ``probes``: how often an uncertain post is looked for. ``crowded``: after a flood, more waiting
    posts than that become digests; ``rush``: as do more critical ones than that, if they cannot be
    sent at once. ``over``, ``oldest``, ``most``: a settled post is forgotten
    so long after its episode is over, so long after it was sent, and if there are more than so many
    in a chat.
    """

    on_uncertain: Literal["resend", "drop"] = "resend"
    expires: Mapping[Level, Ms] = msgspec.field(default_factory=lambda: NEWS)
    late: Ms = MINUTE
    edit_every: Ms = MINUTE
    off: Ms = 10 * MINUTE
    backoff: tuple[Ms, Ms] = (SECOND, MINUTE)
    probes: int = 5
    crowded: int = 5
    rush: int = 3
    over: Ms = 6 * HOUR
    oldest: Ms = 7 * DAY
    most: int = 1_000


class Post(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One post of one chat.

    ``key`` names it for ever. ``chat``: the line it waits in, see ``bot.destination.queue_key``.
    ``number``: its place among all. ``at``: when it was due; ``expires``: when it is no news any
    more. ``count`` alerts of ``names`` are told in it, of ``episodes``; those in ``open`` go on.
    ``openings``: the posts in which their beginning was told. ``gathered``: of how many posts it
    was made; ``heads``: what of each cannot be left out.
    ``ends``: of an end, what the opening of each episode is to say then. ``body``: the text as
    sent, in ``markup`` or plain. ``live``: the line below it that edits keep true; ``live_of``:
    what it says but for durations; ``shown``: that line as readers have it. ``again``: it is sent
    although it was perhaps posted; ``doubted``: and might turn out to be there twice.
    ``probes``: how often looking for it failed; ``found``: the messages that have its text;
    ``skipped``: how many numbers were looked at. ``left``: how many older ones it says were left
    out. ``kept_until``: when a settled post may be forgotten.
    """

    key: str
    chat: str
    number: int
    message: Message
    at: Ms
    expires: Ms
    language: str = "en"
    topic: int | None = None
    count: int = 1
    names: tuple[str, ...] = ()
    episodes: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    openings: tuple[str, ...] = ()
    ends: Mapping[str, str] = {}
    gathered: int = 1
    heads: tuple[str, ...] = ()
    state: State = State.QUEUED
    attempts: int = 0
    message_id: int | None = None
    body: str = ""
    markup: bool = True
    again: bool = False
    doubted: bool = False
    probes: int = 0
    skipped: int = 0
    found: tuple[int, ...] = ()
    left: int = 0
    live: str = ""
    live_of: str = ""
    shown: str = ""
    edited_at: Ms = 0
    reason: str = ""
    kept_until: Ms = 0

    @property
    def close(self) -> bool:
        """Whether it tells of ends."""
        return self.message.turn is Turn.CLOSE and bool(self.episodes)

    @property
    def critical(self) -> bool:
        """Whether it is of the critical lane by itself."""
        return self.message.level is Level.CRITICAL and not self.close

    @property
    def opens(self) -> bool:
        """Whether it is one episode's opening, which edits keep true."""
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

    def address(self, topic: int | None = None) -> Destination:
        """Where the chat, or a topic of it, is now."""
        now = self.destination if self.moved_to is None else TelegramChat(self.moved_to)
        return with_topic(now, topic)


def episode(alert: Alert) -> str:
    """The episode that ``alert`` is a turn of."""
    return f"{alert.rule} {alert.instrument or alert.asset} {alert.opened_at}"


def short_id(post: Post) -> str:
    """Six digits by which a reader can tell that two posts are the same."""
    return blake2s(post.key.encode()).hexdigest()[:6]


def composed(post: Post, state: ChatState, late: Ms, now: Ms) -> str:
    """The text of ``post`` if it is sent ``now``: how late it is, and what was left out before."""
    words = LANGUAGES[post.language]
    lines: list[str] = []
    if post.again:
        lines.append(say(words, "again", id=short_id(post)))
    if state.left and not post.close:
        lines.append(left_out(words, state.left, state.left_names))
    if now - post.at > late:
        lines.append(say(words, "late", length=words.length(now - post.at)))
    return with_lines(post.message.html, lines, post.count == 1)


def left_out(words: Words, count: int, names: Sequence[str]) -> str:
    """``+7 older left out: BTC, ETH, …``."""
    more = [*names, "…"] if count > len(names) else names
    return say(words, "left_out", count=str(count), names=", ".join(more))


def as_message(post: Post, text: str) -> Message:
    """``post``'s message with ``text`` in place of its own."""
    return msgspec.structs.replace(post.message, html=text, plain=plain(text))


def with_live(post: Post) -> str:
    """The text of ``post`` as an edit would have it."""
    return with_lines(post.body, [post.live] if post.live else [], post.count == 1)
