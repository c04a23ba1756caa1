"""Notices for operators → messages: feeds that fall silent, faults, a changed configuration. Pure.

They are in italics and without hashtags, so that nobody takes them for the market, and all but the
``LOUD`` ones are quiet.
"""

from collections.abc import Sequence

import msgspec

from bot.lang.words import Words
from bot.messages.render import Message, own_message
from bot.messages.voice import Html, say, time, title
from rules.alerts import Notice, Turn
from streams.events import Fault, FaultCode, Kind, Ms, length_in_words

CONFIG = "config"
"""The beginning of the id of a notice about the configuration; ``reason`` says it all."""

LOUD = frozenset({FaultCode.VENUE_LOST})
"""Faults that ring: whoever relies on the bot must know that it is blind."""

_NAMED = 10
"""So many symbols or assets are named; the others are counted."""


def config_notice(taken: bool, reason: str, now: Ms) -> Notice:
    """The configuration was taken over, or was not because of ``reason``."""
    return Notice(
        id=f"{CONFIG}:{now}", venue="", kinds=(), up=taken, since=now, seen=now, reason=reason
    )


def state_notice(role: str, lost: str, now: Ms) -> Notice:
    """Of what the ``role`` had saved, ``lost`` could not be taken over."""
    return _fault_notice(FaultCode.STATE_LOST, role, lost, now, (role,))


def redis_notice(reason: str, now: Ms) -> Notice:
    """The server is not safe to use: ``reason``."""
    return _fault_notice(FaultCode.REDIS_UNSAFE, "", reason, now)


def clock_notice(fault: Fault, effect: str) -> Notice:
    """This role's clock was set back, and ``effect`` is what it did about it."""
    return _fault_notice(fault.code, "bot", f"{fault.detail}; {effect}", fault.seen)


def apart_notice(ahead: Ms, now: Ms, *, over: bool) -> Notice:
    """The bot's clock is ``ahead`` of the one whose time is on alerts, negative: behind. ``over``:
    it is the same again."""
    if over:
        notice = _fault_notice(FaultCode.CLOCK_SKEWED, "bot", "", now)
        return msgspec.structs.replace(notice, up=True)
    way, length = "ahead of" if ahead > 0 else "behind", length_in_words(abs(ahead))
    reason = f"that of the bot is {length} {way} that of the streams role, by which posts go now"
    return _fault_notice(FaultCode.CLOCK_SKEWED, "bot", reason, now)


def _fault_notice(
    code: FaultCode, role: str, reason: str, now: Ms, subjects: tuple[str, ...] = ()
) -> Notice:
    """A fault of this machine; ``role``: the one it concerns, "" if it concerns all."""
    return Notice(
        id=f"fault:{code}:{role}:{now}",
        venue="",
        kinds=(),
        up=False,
        since=now,
        seen=now,
        reason=reason,
        fault=code,
        subjects=subjects,
    )


def notice_message(notice: Notice, words: Words) -> Message:
    """The message of ``notice``."""
    if notice.id.startswith(f"{CONFIG}:"):
        key = "settings.taken" if notice.up else "settings.kept"
        text = say(words, key, reason=notice.reason)
    else:
        text = say(words, "notice", text=_what(notice, words))
    turn = Turn.CLOSE if notice.up else Turn.OPEN
    silent = notice.fault not in LOUD
    return own_message(notice.id, "feeds", text, notice.seen, turn=turn, silent=silent)


def _what(notice: Notice, words: Words) -> Html:
    return _feeds(notice, words) if notice.fault is None else _fault(notice, words)


def _fault(notice: Notice, words: Words) -> Html:
    key = f"fault.{notice.fault}.over" if notice.up else f"fault.{notice.fault}"
    return say(
        words,
        key,
        venue=title(notice.venue, words),
        subjects=_subjects([_named(subject, notice, words) for subject in notice.subjects], words),
        reason=say(words, "notice.reason", reason=notice.reason) if notice.reason else Html(),
        length=words.length(max(0, notice.seen - notice.since)),
    )


_IN_WORDS = frozenset({FaultCode.VENUE_DRIFTS, FaultCode.STATE_LOST})
"""Faults whose subjects are words of ours; those of others are names."""


def _named(subject: str, notice: Notice, words: Words) -> str:
    if notice.fault in (FaultCode.HISTORY_REFUSED, FaultCode.HISTORY_APART):
        return say(words, f"kind.{subject}") if subject in {*Kind} else subject
    return words.reasons.term(subject) if notice.fault in _IN_WORDS else subject


def _subjects(subjects: Sequence[str], words: Words) -> str:
    more = len(subjects) - _NAMED
    names = words.comma.join(subjects[:_NAMED])
    return names + say(words, "notice.more", count=str(more)) if more > 0 else names


def _feeds(notice: Notice, words: Words) -> Html:
    ticks, venue = not notice.venue, title(notice.venue, words)
    if notice.up:
        length = words.length(max(0, notice.seen - notice.since))
        if ticks:
            number = notice.open_episodes
            still = say(words, "notice.still_open", number, count=str(number)) if number else Html()
            since = time(words, notice.since, notice.seen)
            return say(words, "notice.tick", length=length, time=since, still_open=still)
        key = "notice.up_of" if notice.subjects else "notice.up"
        return say(
            words,
            key,
            venue=venue,
            kinds=_kinds(notice, words),
            subjects=_subjects(notice.subjects, words),
            length=length,
        )
    reason = say(words, "notice.reason", reason=notice.reason) if notice.reason else Html()
    since = time(words, notice.since, notice.seen)
    if ticks:
        return say(words, "notice.no_tick", time=since, reason=reason)
    return say(
        words,
        "notice.down_of" if notice.subjects else "notice.down",
        venue=venue,
        kinds=_kinds(notice, words),
        subjects=_subjects(notice.subjects, words),
        time=since,
        reason=reason,
        effect=say(words, "notice.effect", venue=venue),
    )


def _kinds(notice: Notice, words: Words) -> Html:
    if len(notice.kinds) == len(Kind):
        return say(words, "kind.all")
    names = [say(words, f"kind.{kind}") for kind in notice.kinds]
    if len(names) < 2:
        return Html("".join(names))
    return Html(words.comma.join(names[:-1]) + say(words, "notice.and") + names[-1])
