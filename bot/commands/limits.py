"""How much one person may ask. Pure: time is an argument."""

from enum import Enum

from streams.events import Ms

PER_MINUTE = 20
MINUTE: Ms = 60_000
REFUSED_AGAIN: Ms = 3_600_000
"""Who may not ask is told so once an hour at most."""

_MOST_USERS = 2_000


class Pace(Enum):
    """What to do with one more message."""

    ANSWER = "answer"
    SAY_SO = "say once that it is too much"
    IGNORE = "say nothing"


class Limiter:
    """Remembers when each user asked, no more than is needed and no more users than can be."""

    def __init__(self, per_minute: int = PER_MINUTE) -> None:
        self._per_minute = per_minute
        self._asked: dict[int, list[Ms]] = {}
        self._scolded: set[int] = set()
        self._refused: dict[int, Ms] = {}

    def ask(self, user: int, now: Ms) -> Pace:
        """Counts one message of ``user``; what is ignored does not count."""
        self._sweep(now)
        asked = [at for at in self._asked.get(user, []) if now - at < MINUTE]
        if len(asked) < self._per_minute:
            self._asked[user] = [*asked, now]
            self._scolded.discard(user)
            return Pace.ANSWER
        self._asked[user] = asked
        if user in self._scolded:
            return Pace.IGNORE
        self._scolded.add(user)
        return Pace.SAY_SO

    def refuse(self, user: int, now: Ms) -> bool:
        """Whether to tell ``user`` that this bot does not answer them: once in a while."""
        self._sweep(now)
        if now - self._refused.get(user, -REFUSED_AGAIN) < REFUSED_AGAIN:
            return False
        self._refused[user] = now
        return True

    def _sweep(self, now: Ms) -> None:
        if len(self._asked) > _MOST_USERS:
            self._asked = {u: ats for u, ats in self._asked.items() if now - ats[-1] < MINUTE}
            self._scolded &= self._asked.keys()
        if len(self._refused) > _MOST_USERS:
            self._refused = {u: t for u, t in self._refused.items() if now - t < REFUSED_AGAIN}
