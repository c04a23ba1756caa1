"""Why something failed, in a reader's language. Pure.

Whoever meets an error says why in English, once, for the log, the terminal and everybody who may
ask later. As gettext finds a translation by its English, so are reasons found: by the phrases
``reason.…`` of a language's file, whatever stands in their places. What is in a place is put in as
it is, but for places of these names:

- ``reason…``: again a reason;
- ``part…``: words or a list of them, such as ``episodes (2), records (1)``;
- ``length…``: a length of time, as ``streams.events.length_in_words`` writes it.

A sentence that nobody has translated, such as the words of another's server, is quoted.
"""

import re
import string
from collections.abc import Callable, Mapping, Sequence

from streams.durations import HOUR, MINUTE, SECOND
from streams.events import Ms

FOREIGN = "reason.foreign"
"""The key of the phrase that quotes what has no translation."""

_LENGTH = r"(?=\d)(?:[\d,]+ h)?(?: ?[\d,]+ min)?(?: ?[\d,]+ s)?"
_NUMBER = r"[-+\d.,e]+"
_SHAPES = (
    (re.compile(r"length"), rf"({_LENGTH})"),
    (re.compile(r"count|all$|status|size|number|times|code|free"), rf"({_NUMBER})"),
    (re.compile(r"role$"), r"(\w+)"),
    (re.compile(r""), "(.+?)"),
)
"""What may stand in a place, by the beginning of its name."""

_MOST_PARTS = 6
"""So many pieces with semicolons between them may be one reason: ours have two, what is quoted in
them perhaps more. Text of others has any number, and is not to be tried in all ways."""

_SIZES = {"h": HOUR, "min": MINUTE, "s": SECOND}
_SENTENCE = re.compile(r"[A-Za-z]{2,}\W? \W?[A-Za-z]{2,}")
"""Two words: what has fewer is a name or a number, and stands as it is."""


class Reasons:
    """Those of one language. ``translations``: by their English; ``length``: a length of time as
    the language writes it; ``semicolon`` and ``comma``: what it puts between items."""

    def __init__(
        self,
        translations: Mapping[str, str],
        quote: str,
        length: Callable[[Ms], str],
        semicolon: str,
        comma: str,
    ) -> None:
        forms = [_Form(english, text) for english, text in translations.items()]
        self._forms = sorted(forms, key=lambda form: form.fixed, reverse=True)
        self._quote = quote
        self._length = length
        self._semicolon = semicolon
        self._comma = comma

    def translated(self, reason: str) -> str:
        """``reason`` as readers have it; the lines of several one by one."""
        if not self._forms:
            return reason
        return "\n".join(self._line(line) for line in reason.split("\n"))

    def term(self, words: str) -> str:
        """``words`` that are part of a sentence, or each of a list of them."""
        known = self._known(words)
        if known is not None or ", " not in words:
            return words if known is None else known
        return self._comma.join(self.term(part) for part in words.split(", "))

    def _line(self, line: str) -> str:
        """A reason, or several with a semicolon or a comma between them."""
        items, texts = line.split("; "), list[str]()
        while items:
            for end in range(min(len(items), _MOST_PARTS), 0, -1):
                reason = "; ".join(items[:end])
                known = self._known(reason)
                if known is not None or end == 1:
                    texts.append(self._listed(reason) if known is None else known)
                    del items[:end]
                    break
        return self._semicolon.join(texts)

    def _listed(self, reason: str) -> str:
        parts = [self._known(part) for part in reason.split(", ")]
        known = [part for part in parts if part is not None]
        if len(known) == len(parts):
            return self._comma.join(known)
        return self._quote.format(text=reason) if _SENTENCE.search(reason) else reason

    def _known(self, reason: str) -> str | None:
        for form in self._forms:
            if (match := form.pattern.fullmatch(reason)) is not None:
                values = zip(form.places, match.groups(), strict=True)
                return form.text.format(**{place: self._put(place, x) for place, x in values})
        return None

    def _put(self, place: str, text: str) -> str:
        if place.startswith("reason"):
            return self._line(text)
        if place.startswith("length"):
            return self._length(_ms(text))
        return self.term(text) if place.startswith("part") else text


class _Form:
    """One phrase: its English as a pattern, and its translation."""

    def __init__(self, english: str, text: str) -> None:
        parts = list(string.Formatter().parse(english))
        self.places: Sequence[str] = [place for _, place, _, _ in parts if place]
        self.fixed = sum(len(literal) for literal, *_ in parts)
        """How much of it is fixed: of two that fit the one with more is meant."""
        self.text = text
        self.pattern = re.compile("".join(
            re.escape(literal) + (_shape(place) if place else "") for literal, place, _, _ in parts
        ))  # fmt: skip


def _shape(place: str) -> str:
    return next(shape for name, shape in _SHAPES if name.match(place))


def _ms(text: str) -> Ms:
    """The length of time that ``streams.events.length_in_words`` has written."""
    words = text.replace(",", "").split()
    return sum(int(n) * _SIZES[unit] for n, unit in zip(words[::2], words[1::2], strict=True))
