"""What the roles say of themselves (``bot.status``), as far as an answer needs it. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

ROLES = ("streams", "rules", "bot")


class Feed(msgspec.Struct, frozen=True):
    """How many feeds of one kind are up, and how many were lost."""

    up: int = 0
    down: int = 0


class Venue(msgspec.Struct, frozen=True):
    """One venue; ``trouble``: why it cannot be listened to, "" if it can. ``feeds``: by kind."""

    name: str = ""
    title: str = ""
    trouble: str = ""
    instruments: int = 0
    feeds: dict[str, Feed] = {}
    not_available: list[str] = []


class Reports(msgspec.Struct, frozen=True, kw_only=True):
    """``running``: the roles that were heard lately. ``sent`` and so on: posts since the bot role
    started; None: it was not heard. ``off``: chats that nothing is sent to, and why."""

    running: tuple[str, ...] = ()
    venues: tuple[Venue, ...] = ()
    sent: int | None = None
    refused: int = 0
    uncertain: int = 0
    queued: int = 0
    off: Mapping[str, str] = {}


class _Streams(msgspec.Struct):
    venues: list[Venue] = []


class _Bot(msgspec.Struct):
    sent: int = 0
    refused: int = 0
    uncertain: int = 0
    queued: int = 0
    off: dict[str, str] = {}


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
    )


def _as(given: Any, kind: type[_Streams] | type[_Bot]) -> Any:
    try:
        return None if given is None else msgspec.convert(given, kind)
    except msgspec.ValidationError:
        return None
