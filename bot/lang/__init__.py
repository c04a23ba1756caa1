"""The languages of the messages. Add one: a module with ``WORDS``, a line here."""

from bot.lang import en
from bot.lang.words import Words

LANGUAGES: dict[str, Words] = {"en": en.WORDS}
