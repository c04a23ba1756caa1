"""Silences: what an operator does not want posted for a while. Pure.

A silence names a rule (all its windows, or one as ``oi_drop:1h``), an asset and an end. Critical
alerts are posted in spite of it. A pause is one that covers everything, these included.
"""

from collections.abc import Collection, Iterable, Sequence

import msgspec

from bot.lang.words import PhraseError, Words
from rules.alerts import Alert, Level
from streams.durations import DAY, duration
from streams.events import Ms

ANY = "*"
"""Every rule, or every asset."""

LONGEST: Ms = 30 * DAY
LONGEST_PAUSE: Ms = DAY


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts of ``family`` on ``asset`` are not posted before ``until``."""

    family: str
    """A rule, one window of a rule, or ANY."""
    asset: str
    """Its ticker, or ANY."""
    until: Ms
    by: str = ""
    """Who asked for it; "": not known."""
    critical: bool = False
    """Whether what is critical is not posted either."""

    def covers(self, family: str, asset: str, now: Ms) -> bool:
        """Whether an alert of ``family`` on ``asset`` is silenced at ``now``."""
        return now < self.until and self.family in (ANY, family) and self.asset in (ANY, asset)


def silence(text: str, families: Collection[str], now: Ms, by: str = "") -> Silence:
    """The silence that ``oi_drop SOL 6h`` asks for, beginning ``now``, at the wish of ``by``.

    ``families``: the rules there are. PhraseError says in one sentence what is wrong.
    """
    words = text.split()
    if len(words) != 3:
        raise PhraseError("ask.silence.usage")
    family, asset, length = words
    if family != ANY and family not in families:
        raise PhraseError("ask.silence.no_rule", rule=family, rules=", ".join(families))
    ms = _length(length)
    if ms > LONGEST:
        raise PhraseError("ask.silence.too_long", length=length)
    return Silence(family=family, asset=asset.upper(), until=now + ms, by=by)


def pause(length: str, now: Ms, by: str = "") -> Silence:
    """The silence of everything for so long (``30m``). PhraseError as ``silence``."""
    ms = _length(length)
    if ms > LONGEST_PAUSE:
        raise PhraseError("ask.pause.too_long", length=length)
    return Silence(family=ANY, asset=ANY, until=now + ms, by=by, critical=True)


def _length(text: str) -> Ms:
    if not (ms := duration(text)):
        raise PhraseError("ask.silence.no_duration", length=text)
    return ms


def silenced(alert: Alert, silences: Iterable[Silence], now: Ms) -> bool:
    """Whether ``alert`` is not to be posted ``now``: one of ``silences`` covers it, and what is
    critical is no exception from it."""
    critical = alert.level is Level.CRITICAL
    return covered(alert, (s for s in silences if s.critical or not critical), now)


def covered(alert: Alert, silences: Iterable[Silence], now: Ms) -> bool:
    """Whether any of ``silences`` is of the alert's rule, or of its window alone, ``now``."""
    names = dict.fromkeys((alert.family, alert.rule))
    return any(s.covers(name, alert.asset, now) for s in silences for name in names)


def with_silence(silences: Sequence[Silence], new: Silence) -> tuple[Silence, ...]:
    """``silences`` and ``new``, which replaces an earlier one of the same."""
    return (*without_silence(silences, new.family, new.asset, new.critical), new)


def without_silence(
    silences: Sequence[Silence], family: str, asset: str, critical: bool = False
) -> tuple[Silence, ...]:
    """``silences`` without the one for this rule and asset. ``critical``: without a pause, which a
    silence of everything is not."""
    same = (family, asset, critical)
    return tuple(s for s in silences if (s.family, s.asset, s.critical) != same)


def pause_in_force(silences: Iterable[Silence], now: Ms) -> Silence | None:
    """The pause that nothing is posted for ``now``; None: there is none."""
    return next((s for s in silences if s.critical and now < s.until), None)


def set_back(silences: Sequence[Silence], by: Ms) -> tuple[Silence, ...]:
    """``silences`` after the clock was set back ``by`` so much: each lasts no longer for it."""
    return tuple(msgspec.structs.replace(s, until=s.until - by) for s in silences)


def split_by_end(
    silences: Sequence[Silence], now: Ms
) -> tuple[tuple[Silence, ...], tuple[Silence, ...]]:
    """Those in force at ``now``, and those that are over, of which operators are informed."""
    return (
        tuple(s for s in silences if now < s.until),
        tuple(s for s in silences if now >= s.until),
    )


def silence_lines(silences: Sequence[Silence], words: Words, now: Ms) -> list[str]:
    """``oi_drop SOL, 5 h 12 min left (@ann)``: one line each, the next to end first."""
    in_force = sorted(split_by_end(silences, now)[0], key=lambda s: s.until)

    def line(of: Silence) -> str:
        key = "ask.silence.pause" if of.critical else "ask.silence.by" if of.by else "ask.silence"
        return words.phrases[key].format(
            rule=of.family, asset=of.asset, length=words.length(of.until - now), who=of.by or "?"
        )

    return [line(of) for of in in_force]


def dump(silences: Sequence[Silence]) -> bytes:
    """As JSON, for Redis."""
    return msgspec.json.encode(silences)


def load(data: bytes) -> tuple[Silence, ...]:
    """What ``dump`` wrote. Raises msgspec.MsgspecError if it is something else."""
    return msgspec.json.decode(data, type=tuple[Silence, ...])
