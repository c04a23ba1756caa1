"""Lines on what is remarkable: "First negative since 23 Aug (41 days)." Pure.

A record is bounded by what was observed, so where nothing like it was seen the line names the
beginning of the record; it never says "all-time".
"""

from bot.head_lines import window_of
from bot.voice import Html, Voice
from rules.alerts import Record, RecordKind
from streams.events import Ms

DAY: Ms = 86_400_000


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
        return voice.say("record.liq", window=window_of(voice.words, voice.alert.facts))
    if voice.topic == "depth":
        return voice.say("record.thin" if low else "record.thick")
    return voice.say("record.lowest" if low else "record.highest")
