"""What is to be told, and what the plan remembers between calls. Pure."""

from collections.abc import Mapping

import msgspec

from rules.alerts import Alert, Level
from streams.events import Ms


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What one post is made of: one alert, or a digest of several, the worst first.

    ``at``: when it was due. ``joined``: a digest of what came after an earlier one. ``hidden``:
    alerts folded into this composite since it was last told. ``held``: family → alerts that the
    budget or quiet hours kept back since the last post.
    """

    alerts: tuple[Alert, ...]
    at: Ms
    silent: bool
    joined: bool = False
    hidden: int = 0
    held: Mapping[str, int] = {}
    title: str = ""
    """The key of the phrase above a digest of several rules; "" where all are of one rule."""


def severity(alert: Alert) -> tuple[int, float]:
    """Sorts the worst first."""
    sign = 1 if alert.fires == "below" else -1
    return -alert.level, sign * alert.value


class Waiting(msgspec.Struct, frozen=True):
    """An alert to be told at ``due``."""

    alert: Alert
    due: Ms


class Group(msgspec.Struct):
    """What is told together: one family, one direction.

    ``told``: subjects told lately, and when. ``digest_at``: the last digest, or when so many were
    told that what joins waits for one.
    """

    waiting: list[Waiting] = []
    told: dict[str, Ms] = {}
    digest_at: Ms | None = None


class LastPost(msgspec.Struct, frozen=True):
    """The last post of a family, a direction and a subject."""

    rule: str
    level: Level
    at: Ms


class Counts(msgspec.Struct):
    """What became of the alerts so far.

    ``merged``: another alert was told in its place, a later turn of the episode or another window
    of the rule. ``over``: the end of an episode whose beginning was not told.
    """

    told: int = 0
    hidden: int = 0
    held: int = 0
    silenced: int = 0
    merged: int = 0
    over: int = 0


class State(msgspec.Struct):
    """Everything that the next answer depends on.

    A subject is an asset or a contract. ``told``: rule and subject → beginning of the episode that
    was told. ``said``: family, direction and subject → its last post. ``hiding``: composite and
    asset whose parts it hides → when it was taken. ``hidden``, ``held``: not yet said. ``posts``:
    times within the last hour, of posts that were not critical; ``watch_posts``: of watch alone.
    """

    now: Ms = 0
    groups: dict[str, Group] = {}
    told: dict[str, Ms] = {}
    said: dict[str, LastPost] = {}
    hiding: dict[str, Ms] = {}
    hidden: dict[str, int] = {}
    held: dict[str, int] = {}
    posts: list[Ms] = []
    watch_posts: list[Ms] = []
    counts: Counts = msgspec.field(default_factory=Counts)
    quiet: dict[str, Alert] = {}
    """What waits for the end of the quiet hours: rule and subject → its newest turn."""
    quiet_until: Ms | None = None
    """When they end."""


def set_back(state: State, by: Ms, now: Ms) -> State:
    """``state`` after the clock was set back ``by`` so much, to ``now``: everything is as long ago,
    or as far away, as it was."""
    later = load(dump(state))
    later.now = now
    for group in later.groups.values():
        group.waiting = [Waiting(one.alert, one.due - by) for one in group.waiting]
        group.told = {subject: at - by for subject, at in group.told.items()}
        group.digest_at = None if group.digest_at is None else group.digest_at - by
    later.said = {
        topic: msgspec.structs.replace(post, at=post.at - by) for topic, post in later.said.items()
    }
    later.hiding = {composite: at - by for composite, at in later.hiding.items()}
    later.posts = [at - by for at in later.posts]
    later.watch_posts = [at - by for at in later.watch_posts]
    # looked at again then: it is a time of day
    later.quiet_until = None if later.quiet_until is None else later.quiet_until - by
    return later


def dump(state: State) -> bytes:
    """The state as bytes."""
    return msgspec.msgpack.encode(state)


def load(data: bytes) -> State:
    """What ``dump`` wrote. Raises msgspec.MsgspecError if it is something else."""
    return msgspec.msgpack.decode(data, type=State)
