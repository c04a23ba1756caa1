"""Who may use which command, and how much one person may ask. Pure: time is an argument."""

from enum import Enum

from bot.commands.context import Asker
from bot.commands.parsing import SPECS, CommandSpec
from bot.config.chats import OperatorSettings
from streams.durations import HOUR, MINUTE
from streams.events import Ms

PER_MINUTE = 20
REFUSED_AGAIN: Ms = HOUR
"""Somebody who may not ask gets an answer that says so at most this often."""

_MOST_USERS = 2_000
"""Of more users, those are forgotten whose times do not matter any more."""


class AskPace(Enum):
    """What to do with one more message."""

    ANSWER = "answer"
    WARN = "say once that it is too much"
    IGNORE = "say nothing"


class AskLimiter:
    """Remembers when each user asked: times of the last minute, of a bounded number of users.

    What is too much is dropped here. ``bot.delivery.pace`` limits what we send, where nothing is
    dropped but waits, and ``streams.feed.rest`` what we ask of a venue, by its weights.
    """

    def __init__(self, per_minute: int = PER_MINUTE) -> None:
        self._per_minute = per_minute
        self._asked: dict[int, list[Ms]] = {}
        self._warned: set[int] = set()
        self._refused: dict[int, Ms] = {}

    def ask(self, user: int, now: Ms) -> AskPace:
        """Count one message of ``user``, unless it is ignored; what to do with it."""
        self._sweep(now)
        asked = [at for at in self._asked.get(user, []) if now - at < MINUTE]
        if len(asked) < self._per_minute:
            self._asked[user] = [*asked, now]
            self._warned.discard(user)
            return AskPace.ANSWER
        self._asked[user] = asked
        if user in self._warned:
            return AskPace.IGNORE
        self._warned.add(user)
        return AskPace.WARN

    def refuse(self, user: int, now: Ms) -> bool:
        """Whether to answer ``user`` that this bot does not answer them: once in REFUSED_AGAIN."""
        self._sweep(now)
        if now - self._refused.get(user, -REFUSED_AGAIN) < REFUSED_AGAIN:
            return False
        self._refused[user] = now
        return True

    def _sweep(self, now: Ms) -> None:
        if len(self._asked) > _MOST_USERS:
            self._asked = {u: ats for u, ats in self._asked.items() if now - ats[-1] < MINUTE}
            self._warned &= self._asked.keys()
        if len(self._refused) > _MOST_USERS:
            self._refused = {u: t for u, t in self._refused.items() if now - t < REFUSED_AGAIN}


class Denial(Enum):
    """Why somebody may not use a command; the value is the phrase that says so."""

    STRANGER = "ask.no.stranger"
    CHANGE = "ask.no.change"
    NOT_PRIVATE = "ask.no.not_private"
    NO_SUBSCRIBERS = "ask.no.subscribers"


def refusal(spec: CommandSpec, asker: Asker, operators: OperatorSettings) -> Denial | None:
    """Why ``asker`` may not use the command; None: they may."""
    listed = asker.user in operators.users
    if not listed and not operators.everyone:
        return Denial.STRANGER
    if spec.changes and not listed:
        return Denial.CHANGE
    if spec.own and not operators.subscribers:
        return Denial.NO_SUBSCRIBERS
    if spec.own and not asker.private:
        return Denial.NOT_PRIVATE
    return None


def offered(asker: Asker, operators: OperatorSettings) -> tuple[CommandSpec, ...]:
    """The commands that help lists for ``asker``."""
    return tuple(s for s in SPECS.values() if refusal(s, asker, operators) is None)


def menus(operators: OperatorSettings) -> tuple[tuple[CommandSpec, ...], tuple[CommandSpec, ...]]:
    """The commands that Telegram's menu shows: to everyone, and in the operators' chat."""
    nobody = Asker(user=0, name="", private=True)
    public = offered(nobody, operators) or (SPECS["start"],)
    return public, tuple(s for s in SPECS.values() if not s.own)
