"""What an answer is made of, and what it is. Pure: everything comes from outside, so does time.

What the roles say of themselves (``bot.status``), as far as an answer needs it. Pure.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bot.config import Settings
from bot.delivery.fate import AlertFate
from bot.delivery.post import ChatReport
from bot.lang.words import Words
from bot.messages.voice import Html, say
from bot.plan.silences import Silence
from bot.plan.subscriptions import Subscriber
from rules.alerts import Alert
from rules.snapshot import Standing, Value
from streams.durations import MINUTE
from streams.events import Ms

ROLES = ("streams", "rules", "bot")


class FeedReport(msgspec.Struct, frozen=True):
    """How many feeds of one kind are up, and how many were lost."""

    up: int = 0
    down: int = 0


class VenueReport(msgspec.Struct, frozen=True):
    """One venue; ``trouble``: why it cannot be listened to, "" if it can. ``feeds``: by kind."""

    name: str = ""
    title: str = ""
    trouble: str = ""
    instruments: int = 0
    feeds: dict[str, FeedReport] = {}
    not_available: list[str] = []


class Reports(msgspec.Struct, frozen=True, kw_only=True):
    """``running``: the roles that were heard lately. ``sent`` and so on: posts since the bot role
    started; None: it was not heard. ``off``: chats that nothing is sent to, and why. ``troubled``:
    other destinations that are not ready, or where posts wait."""

    running: tuple[str, ...] = ()
    venues: tuple[VenueReport, ...] = ()
    sent: int | None = None
    refused: int = 0
    uncertain: int = 0
    queued: int = 0
    off: Mapping[str, str] = {}
    troubled: tuple[ChatReport, ...] = ()


class _Streams(msgspec.Struct):
    venues: list[VenueReport] = []


class _Bot(msgspec.Struct):
    sent: int = 0
    refused: int = 0
    uncertain: int = 0
    queued: int = 0
    off: dict[str, str] = {}
    troubled: list[ChatReport] = []


def reports(status: Mapping[str, Any]) -> Reports:
    """The answer of ``bot.status.collect``; what is not as expected counts as not heard."""
    streams, bot = _as(status.get("streams"), _Streams), _as(status.get("bot"), _Bot)
    return Reports(
        running=tuple(role for role in ROLES if status.get(role) is not None),
        venues=tuple(streams.venues) if streams else (),
        sent=bot.sent if bot else None,
        refused=bot.refused if bot else 0,
        uncertain=bot.uncertain if bot else 0,
        queued=bot.queued if bot else 0,
        off=bot.off if bot else {},
        troubled=tuple(chat for chat in bot.troubled if chat.chat not in bot.off) if bot else (),
    )


def _as(given: Any, kind: type[_Streams] | type[_Bot]) -> Any:
    try:
        return None if given is None else msgspec.convert(given, kind)
    except msgspec.ValidationError:
        return None


FRESH: Ms = MINUTE
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
    subscription: Subscriber | None = None
    subscribers: int = 0
    fates: Mapping[str, Sequence[AlertFate]] = {}
    """What became of ``alerts``, by their ids: in each chat that takes one, those of subscribers
    left out but for the asker's."""

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

    subscription: Subscriber


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
