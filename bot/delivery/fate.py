"""What became of an alert in a chat, by its plan and the posts of its queue. Pure."""

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from bot.delivery.post import Post, PostState
from bot.destination import topic_of
from bot.plan.planner import Chat, NotPosted, PlanState
from rules.alerts import Alert
from streams.events import Ms


class Fate(StrEnum):
    """What became of an alert in a chat; the value is a part of its phrase's key.

    HIDDEN, HELD, SILENCED, MERGED and OVER are those of ``NotPosted``.
    """

    POSTED = "posted"
    EDITED = "edited"
    """The post of its episode was edited since."""
    EDITED_WAITS = "edited_waits"
    """That, and a post of its own waits for the pause between updates."""
    WAITS = "waits"
    """It waits for others of its kind, or for the pause between updates."""
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
    edited = _edited(alert, here)
    for group in plan.groups.values():
        for waiting in group.waiting:
            if waiting.alert.id == alert.id:
                return AlertFate(Fate.EDITED_WAITS if edited else Fate.WAITS, waiting.due)
    if any(other.id == alert.id for other in plan.quiet.values()):
        return AlertFate(Fate.QUIET, plan.quiet_until)
    if edited:
        return AlertFate(Fate.EDITED)
    why: NotPosted | None = plan.not_posted.get(alert.id)
    return AlertFate(Fate.UNKNOWN if why is None else Fate(why))


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


def _edited(alert: Alert, posts: Sequence[Post]) -> bool:
    """Whether a post of its episode has been edited since, with values that are not older."""
    return any(
        post.state is PostState.SENT
        and not post.close
        and str(alert.episode) in post.episodes
        and post.shown != ""
        and post.edited_at >= alert.seen
        and _reaches(post, alert)
        for post in posts
    )


def _reaches(post: Post, alert: Alert) -> bool:
    """Whether ``post`` shows values of the alert's episode that are not older than the alert: by
    their time, and by the age of the episode, since the clock may have been set back in between."""
    deliveries = [part for part in post.parts if not isinstance(part, str)]
    shown = [other for delivery in deliveries for other in delivery.alerts]
    mine = [other for other in shown if other.episode == alert.episode]
    return not mine or any(other.seen >= alert.seen and other.age >= alert.age for other in mine)
