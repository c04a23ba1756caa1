"""The files of languages: each complete, of the present English, and safe to fill."""

import re
import string
from importlib.resources import files
from zoneinfo import ZoneInfo

import polib
import pytest

from bot.lang import ENGLISH, LANGUAGES, language_of, short_tag, unknown_language
from bot.lang.words import read_words

FILES = {name: files("bot.lang").joinpath(f"{name}.po").read_text("utf-8") for name in LANGUAGES}
ENGLISH_FILE = {entry.msgctxt: entry for entry in polib.pofile(FILES["en"])}


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("name", FILES)
def test_a_language_has_the_phrases_and_places_of_english(name: str):
    entries = list(polib.pofile(FILES[name]))
    keys = [entry.msgctxt for entry in entries]
    assert len(keys) == len(set(keys)), "a key stands twice"
    assert keys == list(ENGLISH_FILE), "in the order of English"
    assert LANGUAGES[name].language == name
    for entry in entries:
        english = ENGLISH_FILE[entry.msgctxt]
        now = (entry.msgid, entry.msgid_plural)
        assert now == (english.msgid, english.msgid_plural), f"{entry.msgctxt}: English has changed"
        assert not entry.fuzzy, entry.msgctxt
        texts = list(entry.msgstr_plural.values()) or [entry.msgstr]
        for text in texts if name != "en" else ():
            assert text, f"{entry.msgctxt}: missing"
        for text in filter(None, texts):
            assert places(text) == places(entry.msgid), entry.msgctxt


@pytest.mark.parametrize("name", FILES)
def test_no_phrase_ends_a_line_or_has_two_spaces(name: str):
    for key, text in LANGUAGES[name].phrases.items():
        assert text.strip(" ") == text.strip(), key
        assert "  " not in text, key


@pytest.mark.parametrize("name", FILES)
def test_there_is_a_form_for_every_number(name: str):
    words = LANGUAGES[name]
    for key, forms in words.plurals.items():
        assert {words.phrase(key, count) for count in range(200)} == set(forms)


def test_the_plurals_of_a_file_are_its_own():
    """Russian has three, chosen by the last digits; no code knows that."""
    russian = FILES["en"].replace(
        "nplurals=2; plural=(n != 1);",
        "nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 : n%10>=2 && n%10<=4 && "
        "(n%100<10 || n%100>=20) ? 1 : 2);",
    )
    orders = 'msgctxt "liq.orders"\nmsgid "{count} order"\nmsgid_plural "{count} orders"\n'
    forms = ("{count} ордер", "{count} ордера", "{count} ордеров")
    written = "".join(f'msgstr[{n}] "{form}"\n' for n, form in enumerate(forms))
    old = orders + 'msgstr[0] ""\nmsgstr[1] ""\n'
    assert old in russian
    words = read_words(russian.replace(old, orders + written))
    counted = [words.phrase("liq.orders", n).format(count=n) for n in (1, 2, 5, 11, 21, 112)]
    assert counted == [
        "1 ордер", "2 ордера", "5 ордеров", "11 ордеров", "21 ордер", "112 ордеров"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("tag", "language"),
    [("ja", "ja"), ("zh-hant", "zh-TW"), ("zh-TW", "zh-TW"), ("ZH", "zh-TW"), ("en-GB", "en"),
     ("zh_Hant_TW", "zh-TW"), ("ja_JP", "ja"), ("zh-hans", "zh-TW"),
     ("fr", None), ("", None), ("j", None)],
)  # fmt: skip
def test_a_reader_has_the_language_of_their_app(tag: str, language: str | None):
    assert language_of(tag) == language


@pytest.mark.parametrize(
    ("name", "meant"),
    [("zh-tw", "zh-TW"), ("zh_TW", "zh-TW"), ("zh", "zh-TW"), ("tw", "zh-TW"), ("jp", "ja"),
     ("ja-JP", "ja"), ("JA", "ja"), ("EN", "en"), ("en_US", "en")],
)  # fmt: skip
def test_a_language_written_otherwise_is_recognised(name: str, meant: str):
    text = unknown_language(name, f'"{name}"')
    assert text.startswith(f'unknown language "{name}" (did you mean "{meant}"?): choose from en,')


def test_a_language_that_nobody_knows_is_refused_with_those_that_are_there():
    assert unknown_language("tlh", '"tlh"') == ('unknown language "tlh": choose from en, ja, zh-TW')


SAME_EVERYWHERE = {
    "Lowtide", "Telegram", "Redis", "Valkey", "webhook", "streams", "rules", "bot", "General",
    "UTC", "OI", "bp", "post", "false", "lowtide", "show", "repair", "config", "toml", "HTTP",
    "TLS", "USD", "MB", "WebSocket", "ping", "URL", "REDIS_URL", "TELEGRAM_BOT_TOKEN", "BotFather",
    "LOWTIDE_WEB_TOKEN", "maxmemory", "policy", "noeviction", "redis", "max_mb", "data_dir", "lock",
    "manifest", "valkey", "server", "topic", "chat_id", "webhooks", "KOSPI", "VIX", "TLT", "WTI",
    "NFP", "NTP", "CPI", "DeFi", "AI", "DePIN",
    "MSTR", "COIN", "NVDA", "TSLA", "SOL", "BTC", "ETH", "oi_drop", "FR", "Bybit",
    "messengers", "to", "Asia", "Taipei", "Tokyo", "context", "sources", "JSON", "FOMC", "FRB",
    "timedatectl", "set", "ntp", "true",
    "apprise", "PATH", "pipx", "MSTR_COINS", "MSTR_SHARES", "mNAV",
}  # fmt: skip
"""Names: of products, of what a configuration or a command line has, and units."""


@pytest.mark.parametrize("name", [name for name in FILES if name != "en"])
def test_no_phrase_has_english_but_names(name: str):
    for entry in polib.pofile(FILES[name]):
        for text in [entry.msgstr, *entry.msgstr_plural.values()]:
            bare = re.sub(r"<[^>]+>|&amp;|\{\w*\}|/\w+|\b\d+\w|operators\.users", " ", text)
            words = set(re.findall(r"[A-Za-z][A-Za-z_]+", bare))
            assert words <= SAME_EVERYWHERE, (entry.msgctxt, words - SAME_EVERYWHERE)


@pytest.mark.parametrize("name", LANGUAGES)
def test_the_zone_of_a_language_is_one(name: str):
    assert ZoneInfo(LANGUAGES[name].phrases["format.zone"])


def test_no_two_languages_are_one_to_telegram():
    """Its menus tell them apart by two letters."""
    tags = [short_tag(name) for name in LANGUAGES]
    assert len(set(tags)) == len(tags)


def test_an_unknown_language_is_no_language():
    assert "xx" not in LANGUAGES
    assert LANGUAGES.get("xx") is None
    assert LANGUAGES["en"] is ENGLISH
