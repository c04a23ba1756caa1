"""What an answer is made of, and what it is. Pure: everything comes from outside, so does time."""

from collections.abc import Sequence

import msgspec

from bot.commands.reports import Reports
from bot.config import Settings
from bot.lang.words import Words
from bot.silences import Silence
from bot.subscriptions import Subscription
from bot.voice import Html, say
from rules.alerts import Alert
from rules.standing import Standing, Value
from streams.events import Ms

FRESH: Ms = 60_000
"""What the rules saw longer ago says nothing about now."""


class Asker(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: ``name`` as others know them, ``private``: alone with the bot."""

    user: int
    name: str
    private: bool


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What is known when somebody asks.

    ``standing`` None: the rules have not said anything lately. ``alerts``: those that the command
    asks for, the newest first. ``subscription``: the asker's; ``subscribers``: how many there are.
    ``silences``: those in force and those just over.
    """

    settings: Settings
    words: Words
    now: Ms
    asker: Asker
    standing: Standing | None = None
    reports: Reports = Reports()
    alerts: Sequence[Alert] = ()
    silences: tuple[Silence, ...] = ()
    subscription: Subscription | None = None
    subscribers: int = 0

    @property
    def fresh(self) -> Standing | None:
        """What the rules see, unless it is too old to say so."""
        standing = self.standing
        return standing if standing and self.now - standing.seen <= FRESH else None

    @property
    def values(self) -> tuple[Value, ...]:
        """All metrics that are watched, contracts apart left out; none if nobody says."""
        standing = self.fresh
        return tuple(v for v in standing.values if not v.instrument) if standing else ()

    def say(self, key: str, **values: str) -> Html:
        """The phrase ``key``."""
        return say(self.words, key, **values)


class AddSilence(msgspec.Struct, frozen=True):
    """A silence is to be kept."""

    silence: Silence


class EndSilence(msgspec.Struct, frozen=True):
    """The silence for this rule and asset is to end."""

    family: str
    asset: str


class Subscribe(msgspec.Struct, frozen=True):
    """A subscription is to be kept in the place of any other of this user; of nothing: ended."""

    subscription: Subscription


class SendTest(msgspec.Struct, frozen=True):
    """A test message is to be posted to every chat; what came of it is the rest of the answer."""


Effect = AddSilence | EndSilence | Subscribe | SendTest


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """``blocks`` of whole lines of Telegram HTML; what is to be done first; ``tell``: what the
    operators' chat is told if the answer is given elsewhere."""

    blocks: tuple[Html, ...]
    effects: tuple[Effect, ...] = ()
    tell: Html = Html()


def only(text: Html) -> Answer:
    """An answer of one block, which changes nothing."""
    return Answer(blocks=(text,))
