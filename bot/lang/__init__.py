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
    """The language for a reader whose app is in ``tag``: ``ja``, ``zh-hant``; None: none fits.

    Of a language that is there for one country only readers elsewhere have that too: those of
    simplified Chinese can read the traditional.
    """
    wanted = short_tag(tag.lower().replace("_", "-"))
    return next((name for name in LANGUAGES if short_tag(name) == wanted), None)


_ALSO_CALLED = {"jp": "ja", "jpn": "ja", "tw": "zh-TW", "zht": "zh-TW", "hk": "zh-TW", "us": "en"}
"""Countries and older codes that are written for a language."""


def unknown_language(name: str, shown: str) -> str:
    """What to say of ``name``, which is no language here, with the one that was probably meant."""
    near = language_of(name) or _ALSO_CALLED.get(short_tag(name.lower().replace("_", "-")))
    meant = f' (did you mean "{near}"?)' if near else ""
    return f"unknown language {shown}{meant}: choose from {', '.join(LANGUAGES)}"


ENGLISH: Words
"""What is for the terminal and the log is in English."""


def __getattr__(name: str) -> Words:
    """``ENGLISH`` too is read when it is first asked for: that is a tenth of a second."""
    if name == "ENGLISH":
        return LANGUAGES["en"]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
