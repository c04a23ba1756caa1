"""The languages of the messages. Add one: a file beside ``en.po`` with the same keys."""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files

from bot.lang.words import Words, read_words

_FILES = {
    file.name.removesuffix(".po"): file
    for file in files(__name__).iterdir()
    if file.name.endswith(".po")
}


@cache
def _words(name: str) -> Words:
    return read_words(_FILES[name].read_text(encoding="utf-8"))


class _Languages(Mapping[str, Words]):
    """Each language by its name, read when it is first asked for."""

    def __getitem__(self, name: str) -> Words:
        return _words(name)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(_FILES))

    def __len__(self) -> int:
        return len(_FILES)


LANGUAGES: Mapping[str, Words] = _Languages()
"""By the names of their files: ``en``."""


def short_tag(language: str) -> str:
    """``zh`` of ``zh-TW``: the language without its country, as Telegram names those of readers."""
    return language.partition("-")[0]


def language_of(tag: str) -> str | None:
    """The language for a reader whose app is in ``tag``: ``ja``, ``zh-hant``; None: none fits."""
    wanted = short_tag(tag.lower())
    return next((name for name in LANGUAGES if short_tag(name) == wanted), None)


ENGLISH = LANGUAGES["en"]
"""What is for the terminal and the log is in English."""
