"""What became of an alert in a chat, by its plan and the posts of its queue. Pure."""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from bot.delivery.post import Post, PostState
from bot.destination import topic_of
from bot.plan.planner import Chat, NotPosted, PlanState
from bot.plan.threads import Thread
from rules.alerts import Alert
from streams.events import Ms


class Fate(StrEnum):
    """What became of an alert in a chat; the value is a part of its phrase's key.

    HIDDEN, HELD, SILENCED, MERGED and OVER are those of ``NotPosted``.
    """

    POSTED = "posted"
    EDITED = "edited"
    """The post of its event was edited since."""
    EDIT_WAITS = "edit_waits"
    """An edit that tells it is to come."""
    WAITS = "waits"
    """It waits for what belongs to its event."""
    NEXT = "next"
    """No post can be edited there: the next one of its event tells it."""
    QUIET = "quiet"
    """It waits for the end of the quiet hours."""
    QUEUED = "queued"
    """Its post waits to be sent."""
    UNCERTAIN = "uncertain"
    """Nobody knows yet whether its post arrived."""
    FAILED = "failed"
    """Its post was given up."""
    HIDDEN = "hidden"
    HELD = "held"
    SILENCED = "silenced"
    MERGED = "merged"
    OVER = "over"
    UNKNOWN = "unknown"
    """It is too long ago to be remembered."""


class AlertFate(msgspec.Struct, frozen=True):
    """A fate with its time or reason."""

    fate: Fate
    until: Ms | None = None
    """Of what waits in the plan: when it is due."""
    reason: str = ""
    """Why it failed."""


def alert_fate(alert: Alert, chat: Chat, plan: PlanState, posts: Iterable[Post]) -> AlertFate:
    """What became of ``alert``, which is for ``chat``. ``posts``: those of its queue."""
    here = [post for post in posts if post.topic == topic_of(chat.destination)]
    for post in here:
        if alert.id in (post.alerts or (post.message.alert_id,)):
            return _of_post(post)
    for post in here:
        if alert.id in post.grown:
            return AlertFate(Fate.EDITED if _edited(alert, post) else Fate.EDIT_WAITS)
    for thread in plan.threads.values():
        taken = thread.parts.get(str(alert.episode))
        if taken is not None and taken.id == alert.id and str(alert.episode) in thread.fresh:
            return _of_thread(thread)
    why: NotPosted | None = plan.not_posted.get(alert.id)
    return AlertFate(Fate.UNKNOWN if why is None else Fate(why))


def _of_thread(thread: Thread) -> AlertFate:
    """What becomes of what no post of ``thread`` tells yet."""
    if thread.asleep:
        return AlertFate(Fate.QUIET, thread.due)
    at = thread.next_at
    return AlertFate(Fate.NEXT) if at is None else AlertFate(Fate.WAITS, at)


def _of_post(post: Post) -> AlertFate:
    match post.state:
        case PostState.SENT:
            return AlertFate(Fate.POSTED)
        case PostState.QUEUED | PostState.RETRY | PostState.SENDING:
            return AlertFate(Fate.QUEUED)
        case PostState.UNCERTAIN:
            return AlertFate(Fate.UNCERTAIN)
        case _:
            return AlertFate(Fate.FAILED, reason=post.reason)


def _edited(alert: Alert, post: Post) -> bool:
    """Whether ``post`` was edited since ``alert``, which is to be told by an edit."""
    return post.state is PostState.SENT and post.edited_at >= alert.seen
