"""Whether Lowtide does what it is for: it hears the venues, its rules tick, Telegram answers, and
its clock is right. Pure.

A fall of the market is none of it: nothing here looks at what the venues say. No reason names a
chat, an address or a person.
"""

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from bot.redaction import public
from bot.roles import NO_TICK_S
from bot.status import faults, silent_contract, wrong_clock
from streams.bus.skew import clock_words
from streams.durations import MINUTE, SECOND
from streams.events import Ms
from streams.feed.status import VenueStatus

SILENT: Ms = 45 * SECOND
"""A venue of which nothing has come for so long is not heard. Operators are told then as well: its
sockets are lost after 30 s, and ``rules.feed_health`` waits for 15 more."""


CONTRACT_SILENT: Ms = 3 * MINUTE
"""A contract of a named asset of which something has not come for so long is not heard: a book that
is lost in a fall is back earlier."""


class ReadinessCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One of the things that have to be so."""

    name: str
    ok: bool
    reason: str = ""
    """What is wrong, on one line."""


def readiness(
    status: Mapping[str, Any], failing: Mapping[str, str], *, telegram: bool
) -> list[ReadinessCheck]:
    """Each check. ``status``: of ``bot.status.collect``; ``failing``: who has failed for a while in
    this process, and why; ``telegram``: whether there is a bot."""
    checks = [
        _check("roles", faults(dict(status), nameless=True)),
        _check("venues", _not_heard(status["streams"])),
        _check("ticks", _no_tick(status["rules"])),
        _check("clock", _wrong_clock(status["streams"])),
        _check("process", [f"{who}: {why}" for who, why in failing.items()]),
    ]
    return [*checks, _check("telegram", _telegram(status["bot"]))] if telegram else checks


def _check(name: str, reasons: list[str]) -> ReadinessCheck:
    return ReadinessCheck(name=name, ok=not reasons, reason=public("; ".join(reasons), None))


def _not_heard(streams: Any) -> list[str]:
    if streams is None:
        return ["the streams role is not heard"]
    venues = msgspec.convert(streams["venues"], list[VenueStatus])
    reasons = [f"{venue.title}: {why}" for venue in venues if (why := _why(venue, streams["seen"]))]
    return reasons if venues else ["no venue is listened to"]


def _why(venue: VenueStatus, now: Ms) -> str:
    """Why a venue is not heard; "" if it is."""
    if venue.trouble:
        return venue.trouble
    latest = max((socket.last_data for socket in venue.sockets), default=0)
    if not latest:
        return "nothing has come yet"
    # its clock and ours are one here, unless it has stepped between the two
    silent = now - latest
    if silent >= SILENT:
        return f"nothing has come for {silent / 1000:.0f} s"
    return "; ".join(
        silent_contract(contract)
        for contract in venue.silent
        if now - contract.since >= CONTRACT_SILENT
    )


def _no_tick(rules: Any) -> list[str]:
    if rules is None:
        return ["the rules role is not heard"]
    tick_ms = cast("Ms", rules.get("tick_ms", 0))
    return [f"no tick for {tick_ms / 1000:.0f} s"] if tick_ms > NO_TICK_S * 1000 else []


def _wrong_clock(streams: Any) -> list[str]:
    error = wrong_clock(streams)
    if error is None:
        return []
    venues = msgspec.convert(streams["venues"], list[VenueStatus])
    titles = {venue.name: venue.title for venue in venues}
    heard = [titles.get(name, name) for name in error.venues]
    return [f"this machine's clock is {clock_words(error.ahead, heard)}"]


def _telegram(bot: Any) -> list[str]:
    if bot is None:
        return ["the bot role is not heard"]
    trouble = cast("str | None", bot.get("telegram"))
    return ["Telegram has not answered yet"] if trouble is None else [trouble] if trouble else []
