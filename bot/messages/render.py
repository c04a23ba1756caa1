"""Alert → text. Pure: the words come from ``bot.lang``, the facts from the alert.

Every message: a first line that makes sense alone on a lock screen, one fact per line, a unit on
every number, a last line with hashtags and time, at most 500 characters (Telegram limits longer
ones sooner). What is unknown is left out. Whatever comes from a venue is escaped.

Lines on what is remarkable: "First negative since 23 Aug (41 days)." Pure.

A record is bounded by what was observed, so where nothing like it was seen the line names the
beginning of the record; it never says "all-time".
"""

import re
from collections.abc import Sequence

import msgspec

from bot.lang import numbers
from bot.lang.words import Words
from bot.messages.blocks import POST_CHARS, fitted, plain
from bot.messages.facts import fact_lines
from bot.messages.headline import (
    amount,
    extreme,
    head,
    opinion,
    parts,
    regime_in_words,
    regime_of,
    window_of,
)
from bot.messages.voice import Html, Voice, title, topic
from rules.alerts import ALL, Alert, CascadeFacts, FundingFacts, Level, Record, RecordKind, Turn
from rules.metrics.market_cap import ROUNDS_UNIT
from rules.metrics.support import UNIT as SUPPORT_UNIT
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Ms


def record_lines(voice: Voice) -> list[Html]:
    """One line for each record of the alert."""
    return [_line(voice, record) for record in voice.alert.records]


def _line(voice: Voice, record: Record) -> Html:
    what, words, now = _what(voice, record), voice.words, voice.alert.seen
    if record.since is None:
        return voice.say("record.never", what=what, date=words.day(record.record_from, now))
    days = words.days(max(0, round((now - record.since) / DAY)))
    return voice.say("record.since", what=what, date=words.day(record.since, now), days=days)


def _what(voice: Voice, record: Record) -> Html:
    sign = "negative" if voice.alert.value < 0 else "positive"
    if record.kind is RecordKind.FIRST:
        return voice.say(f"record.first_{sign}")
    if record.kind is RecordKind.LONGEST:
        return voice.say(f"record.longest_{sign}", run=str(record.run or 1))
    low = record.kind is RecordKind.LOWEST
    window = window_of(voice.words, voice.alert.facts, "record.window")
    if voice.topic in ("oi", "total", "price"):
        return voice.say("record.fall" if low else "record.rise", window=window)
    if voice.topic == "liq" and not low:
        over = window_of(voice.words, voice.alert.facts, "record.liq_window")
        return voice.say("record.liq", window=over)
    if voice.topic == "depth":
        return voice.say("record.thin" if low else "record.thick")
    if voice.topic == "regime":
        regime = regime_in_words(voice.words, regime_of(voice.alert.metric))
        return voice.say("record.regime", regime=regime)
    return voice.say("record.lowest" if low else "record.highest")


MARKS = {Level.WATCH: "🟡", Level.ALERT: "🟠", Level.CRITICAL: "🔴"}
OVER = "⚪"
BESIDE = " · "
"""In the last line of a post, in every language: with a space, so that no hashtag goes on."""


class Button(msgspec.Struct, frozen=True):
    """What can be pressed below a message."""

    label: str
    action: str
    """What the sink is told when it is pressed."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What a sink sends. ``html`` and ``plain`` say the same; ``silent``: without a sound.

    ``alert_id`` names what is told: the alert, or the first of several. ``hidden_by``: the
    composite that tells of it as well.
    """

    alert_id: str
    asset: str
    rule: str
    turn: Turn
    level: Level
    silent: bool
    html: str
    plain: str
    at: Ms
    hidden_by: str = ""
    buttons: tuple[Button, ...] = ()
    """Where a sink has any."""


def render(
    alert: Alert,
    words: Words,
    *,
    silent: bool | None = None,
    held: int = 0,
) -> Message:
    """The message of ``alert`` in one language.

    ``silent``: None lets the alert's level decide. ``held``: others that were kept back before it.
    """
    voice = Voice(alert, words)
    lines = [first_line(alert, words)]
    if alert.turn is not Turn.CLOSE:
        lines += _facts(voice, held)
    quiet = alert.turn is Turn.CLOSE or alert.level is Level.WATCH
    return message_of(alert, lines, quiet if silent is None else silent)


def first_line(alert: Alert, words: Words) -> Html:
    """What makes sense alone on a lock screen: how it is now, and how bad it has been. An end is
    one line in all."""
    voice = Voice(alert, words)
    if alert.turn is Turn.CLOSE:
        return _close(voice)
    return Html(f"{MARKS[alert.level]} {head(voice)}{_worst(voice)}")


def was_worse(alert: Alert, words: Words) -> bool:
    """Whether it has been worse than it is, so that a reader sees a difference."""
    of, sign = topic(alert.metric), -1 if alert.fires == "below" else 1
    if of == "regime":  # one is in it or not
        return False
    now, worst = (amount(words, of, value, alert.unit) for value in (alert.value, alert.extreme))
    return now != worst and sign * alert.extreme > sign * alert.value


def _worst(voice: Voice) -> Html:
    """The worst value, if it is another one than the present."""
    alert, words = voice.alert, voice.words
    if voice.topic == "cascade" or not was_worse(alert, words):
        return Html()
    return voice.say("worst", value=extreme(voice), time=voice.our_time(alert.extreme_at))


def message_of(
    alert: Alert, lines: Sequence[Html], silent: bool, limit: int = POST_CHARS
) -> Message:
    """A message of these lines that tells of ``alert``, at most ``limit`` characters long."""
    text = fitted(lines, limit)
    return Message(
        alert_id=alert.id,
        asset=alert.asset,
        rule=alert.rule,
        turn=alert.turn,
        level=alert.level,
        silent=silent,
        html=text,
        plain=plain(text),
        at=alert.at,
        hidden_by=alert.hidden_by,
    )


def own_message(
    alert_id: str,
    rule: str,
    text: Html,
    at: Ms,
    *,
    turn: Turn = Turn.OPEN,
    level: Level = Level.WATCH,
    silent: bool = False,
) -> Message:
    """A message of Lowtide's own: it tells of no asset, and ``rule`` says what it is about."""
    return Message(
        alert_id=alert_id,
        asset="",
        rule=rule,
        turn=turn,
        level=level,
        silent=silent,
        html=str(text),
        plain=plain(text),
        at=at,
    )


def footer(voice: Voice, held: int, single: bool = True) -> Html:
    """Hashtags, time, and how many alerts were kept back. ``single``: it is of one asset."""
    alert, facts = voice.alert, voice.alert.facts
    time = voice.time(alert.at)
    if isinstance(facts, FundingFacts):
        time = _rate_time(voice, facts)
    parts = [" ".join(tags(voice) if single else tags(voice)[-1:]), time]
    if held:
        parts.append(voice.say("held", count=str(held)))
    return Html(BESIDE.join(parts))


def tags(voice: Voice) -> list[Html]:
    """The hashtags of an alert: the coin, and what it is about."""
    alert = voice.alert
    tag = re.sub(r"\W", "", alert.asset)
    own = [Html(f"#{tag}")] if tag and alert.asset != ALL else []
    return [*own, voice.say(f"tag.{voice.topic}", rule=alert.family or alert.rule)]


def _facts(voice: Voice, held: int) -> list[Html]:
    """All lines but the first."""
    facts = [*record_lines(voice), *kept_below(voice), *fact_lines(voice)]
    facts += [*missing(voice), *release_line(voice), *_history(voice)]
    return [*(fact for fact in facts if fact), footer(voice, held)]


def _close(voice: Voice) -> Html:
    """One line: where it is now, how long it lasted, how far it went."""
    return voice.sentences(f"{OVER} {head(voice)}", _lasted(voice), *missing(voice))


def _lasted(voice: Voice) -> Html:
    alert, facts = voice.alert, voice.alert.facts
    length = voice.lasted()
    if voice.topic == "cascade":
        if isinstance(facts, CascadeFacts) and facts.chain:
            return voice.say("lasted.cascade", length=length, parts=parts(voice.words, facts))
        return voice.say("lasted.bare", length=length)
    if voice.topic == "regime" or voice.alert.unit in (ROUNDS_UNIT, SUPPORT_UNIT):
        return voice.say("lasted.bare", length=length)
    thin = voice.topic == "depth" and not voice.above
    lasted = voice.say("lasted.thin" if thin else "lasted", length=length)
    side = "peak" if voice.topic == "liq" else "high" if voice.above else "low"
    far = voice.say(f"extreme.{side}", value=extreme(voice), time=voice.our_time(alert.extreme_at))
    return Html(lasted + far)


def kept_below(voice: Voice) -> list[Html]:
    """Why it is told at watch though its value is at alert: what other metrics say."""
    alert, words = voice.alert, voice.words
    against = [opinion(words, other) for other in alert.opinions if not other.agrees]
    if alert.alone is None or alert.alone <= alert.level or not against:
        return []
    level = voice.say(f"level.{alert.alone.value}")
    return [voice.say("opinion.kept", level=level, list=Html(words.semicolon.join(against)))]


def missing(voice: Voice) -> list[Html]:
    """Which venues are left out, if any, and how much is left."""
    names = voice.words.comma.join(title(venue, voice.words) for venue in voice.alert.missing)
    if not names:
        return []
    without = voice.say("missing", venues=names)
    if (of := voice.alert.coverage) is None:
        return [without]
    live, expected = str(of.live), str(of.expected)
    if of.held_pct is not None:
        share = numbers.share(of.held_pct)
        left = voice.say("missing.left_held", live=live, expected=expected, share=share)
    else:
        left = voice.say("missing.left", live=live, expected=expected)
    return [voice.sentences(without, left)]


def release_line(voice: Voice) -> list[Html]:
    """``Within an hour of NFP (13:30 UTC).``: of which announcement, if of any."""
    release = voice.alert.release
    if release is None:
        return []
    return [voice.say("release.near", name=release.kind.upper(), time=voice.time(release.at))]


def _history(voice: Voice) -> list[Html]:
    alert = voice.alert
    lines: list[Html] = []
    age = alert.seen - voice.began
    # one that began before the clock was set back by nobody knows how much has no beginning by it
    if age >= 2 * MINUTE or (age >= 0 and alert.turn in (Turn.UP, Turn.WORSE)):
        began = voice.our_time(voice.began)
        lines.append(voice.say("began", time=began, length=voice.lasted()))
    if alert.held:
        lines.append(voice.say("held.before", alert.held, count=str(alert.held)))
    return lines


def _rate_time(voice: Voice, facts: FundingFacts) -> Html:
    """Venues settle on the full hour; an alert at another time was not caused by a settlement."""
    time = voice.time(voice.alert.at)
    if not facts.settled:
        return voice.say("estimate", time=time)
    return voice.say("settled", time=time) if voice.alert.at % HOUR < MINUTE else time
