"""What a language offers: phrases with named places, and how numbers and times are written in it.

Phrases are Telegram HTML written by the translator; values put into them are escaped. A phrase
whose values are partly unknown is not used, so none needs to cope with a gap.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from gettext import c2py

import polib

from bot.lang.numbers import MINUS, significant, significant_below, trimmed
from bot.lang.reasons import FOREIGN, Reasons
from streams.durations import HOUR
from streams.events import Ms


class Words:
    """One language."""

    def __init__(
        self,
        language: str,
        phrases: Mapping[str, str],
        plurals: Mapping[str, Sequence[str]],
        form: Callable[[int], int],
        reasons: Mapping[str, str],
    ) -> None:
        self.language = language
        """Its name, as a configuration has it."""
        self.phrases = phrases
        """By their keys, but for those that count something."""
        self.plurals = plurals
        """The forms of phrases that count something."""
        self._form = form
        units = [unit.split(":") for unit in phrases["format.units"].split()]
        self._units = [(float(scale), word) for scale, word in units]
        self._unit_count = int(phrases["format.unit_count"])
        self._months = phrases["format.months"].split()
        self.comma = self.between("list.comma")
        """What stands between the things of a list: ", ", or "、"."""
        self.dot = self.between("list.dot")
        """Between values side by side: " · "."""
        self.semicolon = self.between("list.semicolon")
        """Between lists: "; "."""
        self.sentence = self.between("list.sentence")
        """Between sentences of one line: " ", or nothing."""
        self.reasons = Reasons(reasons, phrases[FOREIGN], self.length, self.semicolon, self.comma)
        """Why something failed, as it was said in English, put into this language."""

    def phrase(self, key: str, counted: int | None = None) -> str:
        """The phrase ``key``; ``counted``: of its forms the one for so many."""
        if counted is None:
            return self.phrases[key]
        return self.plurals[key][self._form(counted)]

    def between(self, key: str) -> str:
        """What the phrase ``key`` has between its places ``first`` and ``then``."""
        return self.phrases[key].format(first="", then="")

    def usage(self, text: str) -> str:
        """How a command is written, ``/why [RULE] ASSET``, with this language's words for what is
        to be put in."""
        for place in ("rule", "asset", "word", "metric"):
            text = text.replace(place.upper(), self.phrases[f"ask.place.{place}"])
        return text

    def usd(self, value: float) -> str:
        """An amount, three digits: $5.37B, $226M, $64.2M, $90.4K, $512."""
        text, scaled = self._scaled(abs(value), 3, 0)
        return self._put("usd_scaled" if scaled else "usd", amount=text)

    def usd_at_least(self, value: float) -> str:
        """A lower bound, never rounded up, so that "≥" before it is true: $65.1M for 65.19
        million."""
        return self.usd(significant_below(abs(value), 3))

    def signed_usd(self, value: float) -> str:
        """A change: −$7.35B, +$400M."""
        return (MINUS if value < 0 else "+") + self.usd(value)

    def coins(self, value: float) -> str:
        """A number of coins, without the asset, four digits: 612,400; 12.34; 210M; 4.107B."""
        return self._scaled(value, 4, 1e8)[0]

    def price(self, value: float) -> str:
        """USD per coin: $112,400; $34.12; $0.171; $0.0000123."""
        text = trimmed(value, 4)
        if value >= 1:
            text = f"{value:,.0f}" if value >= 1_000 else f"{value:.2f}"
        return self._put("usd", amount=text)

    def length(self, ms: Ms) -> str:
        """A span of time, its two largest units: 1 h 12 min; 42 min; 16 h; 2 d 3 h; 45 s."""
        seconds = ms // 1000
        if seconds < 60:
            return self._put("seconds", count=str(seconds))
        minutes = seconds // 60
        days, hours, rest = minutes // 1440, minutes % 1440 // 60, minutes % 60
        counts = [(days, "days"), (hours, "hours"), (0 if days else rest, "minutes")]
        parts = [self._put(unit, count=str(count)) for count, unit in counts if count]
        return parts[0] if len(parts) == 1 else self._put("length", large=parts[0], small=parts[1])

    def window(self, ms: Ms) -> str:
        """A span as the name of a window: 1h, 24h, 14d as traders write them, but 10 min."""
        hours = ms // HOUR
        if ms % HOUR or not hours:
            return self.length(ms)
        if hours % 24 == 0 and hours > 24:
            return self._put("window_days", count=str(hours // 24))
        return self._put("window_hours", count=str(hours))

    def clock(self, ms: Ms) -> str:
        """A time of day, with UTC: 09:42 UTC."""
        return self._put("clock", clock=self.bare_clock(ms))

    def bare_clock(self, ms: Ms) -> str:
        """A time of day without UTC, beside others: 09:42."""
        return f"{_moment(ms):%H:%M}"

    def date(self, ms: Ms) -> str:
        """A time of day with its day: 3 Oct 09:42 UTC."""
        return self._put("date", day=self.day(ms, ms), clock=self.bare_clock(ms))

    def day(self, ms: Ms, now: Ms) -> str:
        """The day alone, for a reader at ``now``: 23 Aug; 2 Mar 2025 if that is not this year."""
        when = _moment(ms)
        month, day, year = self._months[when.month - 1], str(when.day), str(when.year)
        if when.year == _moment(now).year:
            return self._put("day", month=month, day=day)
        return self._put("day_of_year", month=month, day=day, year=year)

    def days(self, count: int) -> str:
        """A number of days: 41 days; 1 day."""
        return self.phrase("days", count).format(count=f"{count:,}")

    def _put(self, name: str, **values: str) -> str:
        return self.phrases[f"format.{name}"].format(**values)

    def _scaled(self, value: float, digits: int, smallest: float) -> tuple[str, bool]:
        """``value`` to so many digits, in the largest unit that it has one of, and whether it is in
        a unit at all; ``smallest``: smaller numbers are written out."""
        rounded = significant(value, digits)
        units = [unit for unit in reversed(self._units) if unit[0] <= rounded]
        if not units or rounded < smallest:
            return trimmed(rounded, digits), False
        scale, word = units[0]
        if self._unit_count == 1:
            return self._put("scaled", number=trimmed(rounded / scale, digits), unit=word), True
        whole, rest = divmod(round(rounded), round(scale))
        text = self._put("scaled", number=f"{whole:,}", unit=word)
        return text + (self._scaled(rest, digits, 0)[0] if rest else ""), True


class PhraseError(ValueError):
    """Something that cannot be done, as a phrase that says why."""

    def __init__(self, phrase: str, **values: str) -> None:
        super().__init__(phrase, values)
        self.phrase = phrase
        self.values = values

    def in_words(self, words: Words) -> str:
        """Why, not escaped."""
        return words.phrases[self.phrase].format(**self.values)


def read_words(text: str) -> Words:
    """The language of a .po file: of each phrase its translation, in English itself the English."""
    file = polib.pofile(text)
    phrases: dict[str, str] = {}
    plurals: dict[str, Sequence[str]] = {}
    reasons: dict[str, str] = {}
    for entry in file:
        key = entry.msgctxt or ""
        if key.startswith("reason.") and key != FOREIGN:
            if entry.msgstr:
                reasons[entry.msgid] = entry.msgstr
        elif entry.msgid_plural:
            english = (entry.msgid, entry.msgid_plural)
            forms = entry.msgstr_plural.values()
            plurals[key] = tuple(forms) if all(forms) else english
        else:
            phrases[key] = entry.msgstr or entry.msgid
    rule = file.metadata["Plural-Forms"].partition("plural=")[2].strip().rstrip(";")
    return Words(file.metadata["Language"], phrases, plurals, c2py(rule), reasons)


def _moment(ms: Ms) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
