"""Messengers beside Telegram: ``[[messengers]]`` and what the environment says of them. Pure."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import msgspec

from bot.config.chats import Wanted, wanted_in_table, wanted_problems
from bot.config.markets import Problem, Tiers
from bot.config.schema import File, MessengerTable
from bot.config.values import shown, url
from bot.destination import MessengerName, Service, destination_key, takes_pictures
from bot.lang import unknown_language
from bot.plan.planner import DailyTime, HourlyTime, Pictures, Quiet, WeeklyTime
from rules.alerts import Level

MESSENGER_SECRET = re.compile(
    rf"LOWTIDE_({'|'.join(service.name for service in Service)})_(URL|TOKEN)(_[A-Z0-9_]+)?"
)
"""Variables with which messengers are reached; the name of one of several follows."""

_NEEDED: Mapping[Service, tuple[str, str]] = {
    Service.DISCORD: ("URL", "the address that Discord shows under Integrations, Webhooks"),
    Service.SLACK: ("URL", "the address that Slack shows under Incoming Webhooks"),
    Service.NTFY: ("URL", "the topic's address, such as https://ntfy.sh/…"),
    Service.LINE: ("TOKEN", "the channel access token of LINE's Messaging API"),
    Service.APPRISE: ("URL", "an address of apprise, such as mailto://… or matrixs://…,"),
}
"""What a messenger cannot do without, and where it is to be had."""

_BASES = (Service.LINE,)
"""Services of which the address is that of a server, behind which paths are put."""

_TOKEN = re.compile(r"[!-~]+")
_NTFY_TOPIC = re.compile(r"[-_A-Za-z0-9]{1,64}")
"""What ntfy's server takes, https://github.com/binwiederhier/ntfy, server/server.go."""

_APPRISE_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[!-~]+")
_NEXT_URL = re.compile(r"[,;][A-Za-z0-9+.-]+://")
"""Where apprise takes a list of addresses apart, apprise/utils/parse.py."""


class MessengerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A messenger that gets alerts."""

    service: Service
    name: str = ""
    """What tells it from others of its service."""
    to: str = ""
    """Of LINE: the id of a user, a group or a room."""
    language: str = "en"
    short: bool = False
    """Whether posts have their first line and their last alone."""
    wanted: Wanted = Wanted()
    posts_per_hour: int = 12
    quiet: Quiet | None = None
    recap: Level | None = None
    """As of a chat."""
    pictures: Pictures = "none"
    """As of a chat; "none" where the service takes none."""
    summary: HourlyTime | DailyTime | None = None
    """As of a chat."""
    weekly_report: WeeklyTime | None = None
    """As of a chat."""

    @property
    def destination(self) -> MessengerName:
        """Where its posts go."""
        return MessengerName(self.service, self.name)

    @property
    def key(self) -> str:
        """What it is called everywhere, such as ``discord:desk``."""
        return destination_key(self.destination)

    def variable(self, what: str) -> str:
        """The variable of its ``URL`` or ``TOKEN``."""
        end = f"_{self.name.upper().replace('-', '_')}" if self.name else ""
        return f"LOWTIDE_{self.service.name}_{what}{end}"


def messengers(file: File) -> tuple[MessengerSettings, ...]:
    """``[[messengers]]``, which take what they leave out from ``[channel]``."""
    channel = file.channel
    return tuple(
        MessengerSettings(
            service=table.service,
            name=table.name or "",
            to=table.to or "",
            language=table.language or channel.language,
            short=(table.detail or channel.detail) == "short",
            wanted=wanted_in_table(table),
            posts_per_hour=table.posts_per_hour or channel.posts_per_hour,
            quiet=table.quiet if "quiet" in table.model_fields_set else channel.quiet,
            recap=table.recap if "recap" in table.model_fields_set else channel.recap,
            pictures=_pictures(table, channel.pictures),
            summary=table.summary if "summary" in table.model_fields_set else channel.summary,
            weekly_report=table.weekly_report
            if "weekly_report" in table.model_fields_set
            else channel.weekly_report,
        )
        for table in file.messengers
    )


def _pictures(table: MessengerTable, of_channel: Pictures) -> Pictures:
    wanted = table.pictures if table.pictures is not None else of_channel
    return wanted if takes_pictures(MessengerName(table.service)) else "none"


def messenger_table_problems(
    file: File, families: Sequence[str], where: Tiers, languages: Collection[str]
) -> Iterator[Problem]:
    """What is wrong with ``[[messengers]]``, as far as the file says it; as ``chat_problems``."""
    seen: set[str] = set()
    for n, (table, messenger) in enumerate(zip(file.messengers, messengers(file), strict=True)):
        path, variable = ("messengers", n), messenger.variable("URL")
        if variable in seen:
            yield (*path, "name"), f"{messenger.key} has the variables of another one: {variable}"
        seen.add(variable)
        yield from _to_problems(path, table)
        if table.pictures not in (None, "none") and messenger.pictures == "none":
            service = table.service
            yield (
                (*path, "pictures"),
                f"{service} takes no picture that is sent to it: leave it out",
            )
        if messenger.language not in languages:
            text = unknown_language(messenger.language, shown(messenger.language))
            yield (*path, "language"), text
        yield from wanted_problems(path, table, families, where)


def _to_problems(path: tuple[str | int, ...], table: MessengerTable) -> Iterator[Problem]:
    if table.service is Service.LINE and table.to is None:
        yield (*path, "to"), "is missing: the id of the user, group or room that LINE posts to"
    if table.service is not Service.LINE and table.to is not None:
        yield (*path, "to"), f"is for LINE only; the address of {table.service} says where it is"


def messenger_secrets(
    messengers: Iterable[MessengerSettings], env: Mapping[str, str]
) -> dict[str, str]:
    """The variables of ``env`` that ``messengers`` are reached by, addresses as clients open them;
    what is none stays as it is, and ``messenger_problems`` says so."""
    secrets: dict[str, str] = {}
    for messenger in messengers:
        for what in ("URL", "TOKEN"):
            name = messenger.variable(what)
            if value := env.get(name, "").strip():
                http = what == "URL" and messenger.service is not Service.APPRISE
                secrets[name] = _usable(value) if http else value
    return secrets


def _usable(address: str) -> str:
    try:
        return url(address, ("https", "http"))
    except ValueError:
        return address


def messenger_problems(
    messengers: Iterable[MessengerSettings], env: Mapping[str, str]
) -> Iterator[str]:
    """What is missing or wrong in the environment, without what it holds."""
    for messenger in messengers:
        what, where = _NEEDED[messenger.service]
        needed = messenger.variable(what)
        if not env.get(needed, "").strip():
            yield f"{needed} (environment): is missing: put {where} there"
        address, token = (messenger.variable(each) for each in ("URL", "TOKEN"))
        if value := env.get(address, "").strip():
            yield from _address_problems(address, value, messenger.service)
        if (value := env.get(token, "").strip()) and not _TOKEN.fullmatch(value):
            yield f"{token} (environment): has a sign in it that a token cannot hold"


def _address_problems(name: str, value: str, service: Service) -> Iterator[str]:
    if service is Service.APPRISE:
        yield from _apprise_problems(name, value)
        return
    try:
        usable = url(value, ("https", "http"), base=service in (*_BASES, Service.NTFY))
    except ValueError as error:
        yield f"{name} (environment): {error}"
        return
    place, _, path = usable.partition("://")[2].partition("/")
    if "@" in place:
        instead = f": put an access token in {name.replace('_URL', '_TOKEN', 1)}"
        yield (
            f"{name} (environment): must not have a user and a password, which {service} does not"
            f" take{instead if service is Service.NTFY else ''}"
        )
    if service not in _BASES and not path:
        yield f"{name} (environment): must have a path, such as that of the topic or the webhook"
    elif service is Service.NTFY and not _NTFY_TOPIC.fullmatch(path.rpartition("/")[2]):
        yield (
            f"{name} (environment): must end in the name of a topic, which has 1 to 64 of letters,"
            " digits, - and _"
        )


def _apprise_problems(name: str, value: str) -> Iterator[str]:
    """Which services there are knows the command alone."""
    if _NEXT_URL.search(value) or len(value.split()) > 1:
        yield f"{name} (environment): must be one address: of several each has a table and a name"
    elif not _APPRISE_URL.fullmatch(value):
        yield (
            f"{name} (environment): must be an address of apprise, such as mailto://…, with other"
            " signs than letters, digits and those of addresses as %…"
        )
