"""Who gets alerts: ``[channel]``, ``[[chats]]``, ``[operators]`` and ``[[webhooks]]``. Pure."""

from collections.abc import Collection, Iterator, Sequence

import msgspec

from bot.config.markets import Problem, Tiers, looks_like_asset
from bot.config.schema import TIERS, ChatTable, File, WantedTable
from bot.config.values import shown
from bot.destination import place_key
from bot.lang import unknown_language
from bot.meant import did_you_mean
from bot.plan.planner import DailyTime, HourlyTime, Pictures, Quiet, WeeklyTime
from rules.alerts import ALL, Level

WEBHOOK_SECRET = "LOWTIDE_WEBHOOK_SECRET"  # noqa: S105  # the variable's name
_LEAST_SECRET = 16


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which alerts a chat or a webhook gets."""

    rules: tuple[str, ...] = ()
    """Families; (): all."""
    assets: tuple[str, ...] = ()
    """Assets and tiers; (): all."""
    min_level: Level = Level.WATCH


class ChatSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One chat that gets alerts."""

    id: int | str | None = None
    """None: the console."""
    topic: int | None = None
    """The ``message_thread_id`` of a topic in a forum group."""
    language: str = "en"
    short: bool = False
    """Whether posts have their first line and their last alone."""
    wanted: Wanted = Wanted()
    posts_per_hour: int = 12
    quiet: Quiet | None = None
    recap: Level | None = None
    """An event that has reached this level is looked back on when it is over; None: none is."""
    pictures: Pictures = "dark"
    """Of the posts that ring."""
    summary: HourlyTime | DailyTime | None = None
    """When the last hour or the last day is summed up; None: never."""
    weekly_report: WeeklyTime | None = None
    """When the report on the last week is posted; None: never."""
    buttons: bool = False
    """Whether posts have buttons."""
    place: str = "channel.chat_id"
    """Where the configuration names it."""


class OperatorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Those who run Lowtide, and what others may do."""

    chat_id: int | str | None = None
    """The chat of notices; None: they are only logged."""
    users: tuple[int, ...] = ()
    """Who may change things by command."""
    status_at: DailyTime | None = None
    """When that chat gets the status, each day; None: never."""
    everyone: bool = False
    """Whether anybody may ask by command."""
    subscribers: int = 100
    """How many people may have alerts in private."""


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True):
    """An address that gets alerts as JSON."""

    name: str
    """What it is called everywhere else, since the address may be a secret of its receiver."""
    url: str
    wanted: Wanted = Wanted()


def chats(file: File) -> tuple[ChatSettings, ...]:
    """All chats, that of ``[channel]`` first; without any the console, with the channel's settings.

    A table of ``[[chats]]`` takes what it leaves out from ``[channel]``.
    """
    channel = file.channel
    first = ChatSettings(
        id=channel.chat_id,
        language=channel.language,
        short=channel.detail == "short",
        posts_per_hour=channel.posts_per_hour,
        quiet=channel.quiet,
        recap=channel.recap,
        pictures=channel.pictures,
        summary=channel.summary,
        weekly_report=channel.weekly_report,
        buttons=channel.buttons,
    )
    others = [_chat(n, table, first) for n, table in enumerate(file.chats)]
    return (first, *others) if channel.chat_id is not None or not others else tuple(others)


def _chat(number: int, table: ChatTable, channel: ChatSettings) -> ChatSettings:
    return ChatSettings(
        id=table.id,
        topic=table.topic,
        language=table.language or channel.language,
        short=channel.short if table.detail is None else table.detail == "short",
        wanted=wanted_in_table(table),
        posts_per_hour=table.posts_per_hour or channel.posts_per_hour,
        quiet=table.quiet if "quiet" in table.model_fields_set else channel.quiet,
        recap=table.recap if "recap" in table.model_fields_set else channel.recap,
        pictures=table.pictures or channel.pictures,
        summary=table.summary if "summary" in table.model_fields_set else channel.summary,
        weekly_report=table.weekly_report
        if "weekly_report" in table.model_fields_set
        else channel.weekly_report,
        buttons=channel.buttons if table.buttons is None else table.buttons,
        place=f"chats.id (table {number + 1})",
    )


def operators(file: File) -> OperatorSettings:
    """``[operators]``."""
    table = file.operators
    return OperatorSettings(
        chat_id=table.chat_id,
        users=tuple(dict.fromkeys(table.users)),
        status_at=table.status_at,
        everyone=table.commands == "everyone",
        subscribers=table.subscribers,
    )


def webhooks(file: File) -> tuple[WebhookSettings, ...]:
    """``[[webhooks]]``; one without a name has its number, counted from 1."""
    return tuple(
        WebhookSettings(name=name, url=table.url, wanted=wanted_in_table(table))
        for name, table in zip(_webhook_names(file), file.webhooks, strict=True)
    )


def _webhook_names(file: File) -> list[str]:
    return [table.name or str(number) for number, table in enumerate(file.webhooks, start=1)]


def wanted_in_table(table: WantedTable) -> Wanted:
    """Which alerts a table asks for."""
    return Wanted(
        rules=tuple(table.rules or ()),
        assets=tuple(table.assets or ()),
        min_level=table.min_level,
    )


def chat_problems(
    file: File, families: Sequence[str], where: Tiers, languages: Collection[str]
) -> list[Problem]:
    """What is wrong with chats and webhooks. ``families``: all names of rules and composites."""
    problems = _languages(file, languages)
    seen = {place_key(file.channel.chat_id): _spelt(file.channel.chat_id)}
    for n, table in enumerate(file.chats):
        place, spelt = place_key(table.id, table.topic), _spelt(table.id, table.topic)
        if place in seen:
            same = "" if seen[place] == spelt else f" as {seen[place]}, which is the same place"
            problems.append((("chats", n, "id"), f"{spelt} is told already{same}: name it once"))
        seen.setdefault(place, spelt)
        problems += wanted_problems(("chats", n), table, families, where)
    names = _webhook_names(file)
    for n, table in enumerate(file.webhooks):
        if names[n] in names[:n]:
            problems.append((("webhooks", n, "name"), f'"{names[n]}" is the name of another one'))
        problems += wanted_problems(("webhooks", n), table, families, where)
    return problems


def _spelt(chat: int | str | None, topic: int | None = None) -> str:
    return str(chat) if topic is None else f"{chat} (topic {topic})"


def _languages(file: File, languages: Collection[str]) -> list[Problem]:
    chosen: list[tuple[tuple[str | int, ...], str]] = [
        (("channel", "language"), file.channel.language),
        *((("chats", n, "language"), table.language) for n, table in enumerate(file.chats)
          if table.language is not None),
    ]  # fmt: skip
    return [
        (path, unknown_language(language, shown(language)))
        for path, language in chosen
        if language not in languages
    ]


def wanted_problems(
    path: tuple[str | int, ...],
    table: WantedTable,
    families: Sequence[str],
    where: Tiers,
) -> Iterator[Problem]:
    """What is wrong with the rules and the assets that a table at ``path`` asks for."""
    for key, names in (("rules", table.rules), ("assets", table.assets)):
        if names is not None and not names:
            yield (*path, key), f"is empty: leave it out for all {key}"
    for name in table.rules or ():
        if name not in families:
            yield (*path, "rules"), f'there is no rule "{name}"{did_you_mean(name, list(families))}'
    known = [*TIERS, *where.own, *where.listed, ALL]
    for name in table.assets or ():
        if name not in known and not (where.tail and looks_like_asset(name)):
            near = did_you_mean(name, known)
            yield (
                (*path, "assets"),
                f'"{name}" is neither a tier nor an asset that is watched{near}',
            )


def secret_problems(file: File, secret: str) -> list[str]:
    """What is wrong with the secret of the webhooks."""
    if not file.webhooks:
        return []
    if not secret:
        return [
            f"{WEBHOOK_SECRET} (environment): is missing: put any long random text there and into "
            "the receivers of [[webhooks]], which check the signature with it"
        ]
    if len(secret) < _LEAST_SECRET:
        return [f"{WEBHOOK_SECRET} (environment): must have at least {_LEAST_SECRET} characters"]
    return []
