"""What an answer is made of, the reports of the roles (``bot.status``) among it, and what an answer
is. Pure: everything is handed in, the time too."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bot.config import Settings
from bot.config.recipients import operators_language
from bot.delivery.fate import AlertFate
from bot.delivery.post import ChatReport
from bot.lang import LANGUAGES
from bot.lang.words import Words
from bot.messages.voice import Html, say
from bot.pictures.request import PictureRequest
from bot.plan.planner import ButtonAction
from bot.plan.silences import Silence
from bot.plan.subscriptions import Subscriber
from rules.alerts import Alert, Level
from rules.metrics import of_spot
from rules.snapshot import Standing, Value
from streams.durations import MINUTE
from streams.events import Ms
from streams.venues import VENUES

ROLES = ("streams", "rules", "bot")


class FeedReport(msgspec.Struct, frozen=True):
    """How many feeds of one kind are up, and how many were lost."""

    up: int = 0
    down: int = 0


class VenueReport(msgspec.Struct, frozen=True):
    """One venue."""

    name: str = ""
    title: str = ""
    trouble: str = ""
    """Why it cannot be listened to; "": it can."""
    instruments: int = 0
    feeds: dict[str, FeedReport] = {}
    """By kind."""
    not_available: list[str] = []
    """The kinds that it does not publish."""
    sides_known: bool = True
    """Whether its open interest is known to count one side, or both."""


class SourceReport(msgspec.Struct, frozen=True):
    """One context source."""

    name: str = ""
    trouble: str = ""
    """Why its last answer could not be used; "": it could."""


class Reports(msgspec.Struct, frozen=True, kw_only=True):
    """What the roles report, as far as an answer needs it. Posts are those since the bot role
    started."""

    running: tuple[str, ...] = ()
    """The roles that have reported lately."""
    venues: tuple[VenueReport, ...] = ()
    sources: tuple[SourceReport, ...] = ()
    sent: int | None = None
    """None: the bot role has not reported."""
    refused: int = 0
    uncertain: int = 0
    queued: int = 0
    off: Mapping[str, str] = {}
    """Chats that nothing is sent to, and why."""
    troubled: tuple[ChatReport, ...] = ()
    """Other destinations that are not ready, or where posts wait."""
    cannot_write: str = ""
    """Why Redis takes nothing, so that no role can report; "": it does, or nobody has tried."""


class _Streams(msgspec.Struct):
    venues: list[VenueReport] = []
    sources: list[SourceReport] = []


class _Bot(msgspec.Struct):
    sent: int = 0
    refused: int = 0
    uncertain: int = 0
    queued: int = 0
    off: dict[str, str] = {}
    troubled: list[ChatReport] = []


def reports(status: Mapping[str, Any]) -> Reports:
    """The answer of ``bot.status.collect``; a report that is not as expected counts as none."""
    streams, bot = _as(status.get("streams"), _Streams), _as(status.get("bot"), _Bot)
    return Reports(
        running=tuple(role for role in ROLES if status.get(role) is not None),
        venues=tuple(streams.venues) if streams else (),
        sources=tuple(streams.sources) if streams else (),
        sent=bot.sent if bot else None,
        refused=bot.refused if bot else 0,
        uncertain=bot.uncertain if bot else 0,
        queued=bot.queued if bot else 0,
        off=bot.off if bot else {},
        troubled=tuple(chat for chat in bot.troubled if chat.chat not in bot.off) if bot else (),
    )


def _as(report: Any, kind: type[_Streams] | type[_Bot]) -> Any:
    try:
        return None if report is None else msgspec.convert(report, kind)
    except msgspec.ValidationError:
        return None


FRESH: Ms = MINUTE
"""The rules' values count as present up to this age."""


class Asker(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks."""

    user: int
    """Their number."""
    name: str
    """As others know them."""
    private: bool
    """Whether they are alone with the bot."""


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What is known when somebody asks."""

    settings: Settings
    words: Words
    """In which is answered."""
    app_language: bool = False
    """Whether ``words`` are those of the asker's app, and not of who has not said which."""
    now: Ms
    asker: Asker
    standing: Standing | None = None
    """What the rules see; None: they have not written it lately."""
    reports: Reports = Reports()
    alerts: Sequence[Alert] = ()
    """Those that the command asks for, the newest first."""
    silences: tuple[Silence, ...] = ()
    """Those in force and those just over."""
    subscription: Subscriber | None = None
    """The asker's."""
    subscribers: int = 0
    """How many there are."""
    fates: Mapping[str, Sequence[AlertFate]] = {}
    """What became of ``alerts``, by their ids, in each chat that one is for; of subscribers' chats
    only the asker's."""

    @property
    def fresh(self) -> Standing | None:
        """What the rules see, unless it is too old to say so."""
        standing = self.standing
        return standing if standing and self.now - standing.seen <= FRESH else None

    @property
    def values(self) -> tuple[Value, ...]:
        """All metrics that are watched but those of single contracts, and those of spot markets
        where no venue is one; none if unknown."""
        standing = self.fresh
        if standing is None:
            return ()
        has_spot = any(VENUES[venue.name].SPEC.spot for venue in self.settings.venues)
        return tuple(
            v for v in standing.values if not v.instrument and (has_spot or not of_spot(v.metric))
        )

    def say(self, key: str, counted: int | None = None, /, **values: str) -> Html:
        """The phrase ``key``, as ``bot.messages.voice.say`` has it."""
        return say(self.words, key, counted, **values)

    def say_to_operators(self, key: str, **values: str) -> Html:
        """The phrase ``key`` in the language of the operators' chat."""
        return say(LANGUAGES[operators_language(self.settings)], key, **values)

    def level(self, level: Level) -> Html:
        """``alert``: the level by its name."""
        return self.say(f"ask.level.{level.value}")


class AddSilence(msgspec.Struct, frozen=True):
    """A silence is to be kept."""

    silence: Silence


class EndSilence(msgspec.Struct, frozen=True):
    """The silence for this rule and asset is to end, or (``critical``) the pause."""

    family: str
    asset: str
    critical: bool = False


class Subscribe(msgspec.Struct, frozen=True):
    """A subscription is to be kept in the place of any other of this user; of nothing: ended."""

    subscription: Subscriber


class SendTest(msgspec.Struct, frozen=True):
    """A test message is to be posted to every chat; what came of it is the rest of the answer."""


Effect = AddSilence | EndSilence | Subscribe | SendTest


class PictureAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A picture above an answer, and what is said in its place."""

    request: PictureRequest
    about: Html
    """What it shows: the end of its caption."""
    nothing: Html
    """Nothing of it is recorded."""
    failed: Html
    """It could not be made, or was refused."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What is answered, and what is done for it."""

    blocks: tuple[Html, ...]
    """Of whole lines of Telegram HTML."""
    effects: tuple[Effect, ...] = ()
    """What is to be done first."""
    to_operators: Html = Html()
    """What goes to the operators' chat if the answer is given elsewhere."""
    picture: PictureAnswer | None = None
    """What the blocks are the caption of; None: there is none."""
    buttons: tuple[ButtonAction, ...] = ()
    """What is under it."""


def only(text: Html) -> Answer:
    """An answer of one block, which changes nothing."""
    return Answer(blocks=(text,))
