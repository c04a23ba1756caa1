"""What an opening post says of its episode as it goes on, in its last line. Pure."""

from bot.head_lines import amount, extreme, parts
from bot.lang.words import Words
from bot.voice import Voice
from rules.alerts import Alert, CascadeFacts


def live(alert: Alert, words: Words) -> tuple[str, str]:
    """What ``alert``, an open episode with its present value, looks like now.

    Without and with what changes by itself: only a change of the first is worth an edit.
    """
    voice = Voice(alert, words)
    length = words.length(max(0, alert.seen - alert.opened_at))
    if isinstance(alert.facts, CascadeFacts):
        now = parts(words, alert.facts)
        return str(now), str(voice.say("live.parts", parts=now, length=length))
    now, worst = amount(words, voice.topic, alert.value, alert.unit), extreme(voice)
    time = voice.bare_time(alert.extreme_at)
    said = voice.say("live", now=now, worst=worst, time=time, length=length)
    return f"{now} {worst}", str(said)


def ended(alert: Alert, words: Words) -> str:
    """What the opening says once its episode has ended with ``alert``."""
    voice = Voice(alert, words)
    length = words.length(max(0, alert.seen - alert.opened_at))
    return str(voice.say("live.over", time=voice.time(alert.seen), length=length))
