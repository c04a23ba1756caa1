"""Numbers of answers, digests, threads and recaps, in each language, against the raw values that
they were made of: read back, and written anew, by code of the tests alone.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

import msgspec
import pytest

from bot.commands.context import Context
from bot.config import Settings
from bot.lang import LANGUAGES
from bot.messages.blocks import plain
from bot.messages.thread import delivery_message
from bot.plan.planner import Delivery
from rules.alerts import (
    DepthFacts,
    FundingFacts,
    LiquidationDayFacts,
    LiquidationFacts,
    OpenInterestFacts,
    SpotDepthFacts,
)
from rules.snapshot import Value
from tests.bot import asked
from tests.bot.commands.test_commands import CASES as ASKED
from tests.bot.messages.test_messages import POSTS
from tests.bot.read_numbers import alike, decimal, leaves, readings, shown_as, sizes
from tests.bot.test_preview_numbers import raw_values

OTHERS = [name for name in LANGUAGES if name != "en"]
NAMES = re.compile(
    r"USD[TC]|L[12]|Layer [12]|レイヤー[12]|#\S+|「[^」]*」"
    r"|S&P 500|(Nasdaq|ナスダック|那斯達克|KOSPI) ?\d+"
    r"|\b(expected|before|予想|前回|預期|前值) \d+K"
)
"""What has digits and is no number of ours: names, and figures as somebody else writes them."""


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return asked.settings(tmp_path_factory.mktemp("asked"))


def about(configured: Settings, name: str, language: str) -> Context:
    settings = msgspec.structs.replace(configured, language=language)
    return asked.context(settings, **{"words": LANGUAGES[language], **ASKED[name][1]})


def answered(configured: Settings, name: str, language: str) -> str:
    """What is answered there, as it is read."""
    reply = asked.replied(ASKED[name][0], about(configured, name, language))
    assert reply is not None
    text = plain(f"{asked.message(reply, LANGUAGES[language])}\n{reply.to_operators}")
    return NAMES.sub(" ", text.replace("\u00a0", " "))


@pytest.mark.parametrize("language", OTHERS)
def test_an_answer_has_the_numbers_of_english(configured: Settings, language: str):
    read = 0
    for name in (name for name in ASKED if not name.startswith("help")):
        english = alike(answered(configured, name, "en"), "en")
        assert alike(answered(configured, name, language), language) == english, name
        read += english.total()
    assert read > 700


@pytest.mark.parametrize("language", OTHERS)
def test_a_post_of_several_has_the_numbers_of_english(language: str):
    for name, post in POSTS.items():
        texts = {
            of: NAMES.sub(" ", delivery_message(post, LANGUAGES[of]).plain)
            for of in ("en", language)
        }
        lines = {of: text.count("\n") for of, text in texts.items()}
        if lines["en"] == lines[language]:  # a longer language may have no room for the last facts
            assert alike(texts["en"], "en") == alike(texts[language], language), name


def raw_of(post: Delivery) -> set[Decimal]:
    """What may stand in a post of several alerts: what each may say, and sums over them."""
    raws: set[Decimal] = set()
    sums = defaultdict[str, float](float)
    for alert in post.alerts:
        raws |= raw_values(alert)
        for link in getattr(alert.facts, "chain", ()):
            raws |= sizes({link.extreme * 1e6, link.value * 1e6})
        fields = dict(leaves(msgspec.to_builtins(alert.facts))) if alert.facts else {}
        for key, value in fields.items():
            sums[key] += value if key.endswith("_usd") else 0.0
        sums["value"] += alert.value * (1e6 if alert.metric.startswith("liq_") else 1)
        sums["long_usd"] += fields.get("short_usd", 0)
        sums["ask_usd"] += fields.get("bid_usd", 0)
    most = {
        alert.asset: (alert.liquidated.long_usd, alert.liquidated.short_usd)
        for alert in post.alerts if alert.liquidated is not None
    }  # fmt: skip
    longs, shorts = (sum(of[side] for of in most.values()) for side in (0, 1))
    sums["liquidated"] = longs + shorts
    sums["longs"] = 100 * longs / (longs + shorts or 1)
    sums["normal_usd"] -= sums["ask_usd"]  # what is missing in the books
    rest = msgspec.structs.replace(post, alerts=())
    others = {value for _, value in leaves(msgspec.to_builtins(rest))}
    return raws | sizes({*sums.values(), *others})


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_amount_of_a_post_of_several_is_a_raw_value(language: str):
    read = 0
    for name, post in POSTS.items():
        text = NAMES.sub(" ", delivery_message(post, LANGUAGES[language]).plain)
        raws = raw_of(post)
        for each in readings(text, language):
            if each.kind in ("money", "%", "σ"):
                number = decimal(each.value)
                ways = {each.at_least, True} if each.kind == "money" else {False}
                known = any(shown_as(number, raw, at_least=way) for raw in raws for way in ways)
                assert known, f"{name}: {each}\n{text}"
                read += 1
    assert read > 300


# Written anew: what a reader of each language expects of a raw value.


def usd(value: float, language: str, *, at_least: bool = False) -> str:
    """``value`` as money to three digits, a lower bound cut."""
    exact = Decimal(repr(abs(value)))
    digit = Decimal(1).scaleb(exact.adjusted() - 2) if exact else Decimal(1)
    exact = exact.quantize(digit, ROUND_FLOOR if at_least else ROUND_HALF_EVEN)
    if language == "ja":
        whole, text = int(exact), ""
        for size, unit in ((10**12, "兆"), (10**8, "億"), (10**4, "万"), (1, "")):
            count, whole = divmod(whole, size)
            text += f"{count:,}{unit}" if count else ""
        return f"{text or '0'}ドル"
    units = {"en": "T B M K", "zh-TW": "兆 億 萬"}[language].split()
    scales = {"en": (12, 9, 6, 3), "zh-TW": (12, 8, 4)}[language]
    for unit, scale in zip(units, scales, strict=True):
        if exact >= Decimal(10) ** scale:
            number = exact.scaleb(-scale)
            text = f"{number:,f}"
            text = text.rstrip("0").rstrip(".") if "." in text else text
            return f"${text}{unit}" if language == "en" else f"{text} {unit}美元"
    return f"${exact:,}" if language == "en" else f"{exact:,} 美元"


def fixed(value: float, places: int) -> str:
    """``value`` to so many places, with a true minus sign."""
    text = f"{abs(Decimal(repr(value))).quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN):,f}"
    return f"−{text}" if value < 0 and Decimal(text.replace(",", "")) else text


def change(value: float) -> str:
    """A change in percent, signed."""
    text = fixed(value, 1 if abs(value) >= 0.1 else 2)
    return f"+{text}" if value > 0 else text


def expected(value: Value, language: str) -> Iterator[str]:
    """What an answer about one coin has of ``value``."""
    facts, number = value.facts, value.value
    assert number is not None
    match facts:
        case FundingFacts():
            yield f"{fixed(number, 4 if abs(number) < 0.1 else 2)}%"
            for venue in facts.by_venue_pct_8h.values() if len(facts.by_venue_pct_8h) > 1 else ():
                yield fixed(venue, 4 if abs(venue) < 0.1 else 2)
        case OpenInterestFacts():
            yield f"{change(number)}%"
            yield usd(facts.net_usd, language)
            yield ("−" if facts.price_usd < 0 else "+") + usd(facts.price_usd, language)
            both = facts.net_usd + facts.price_usd
            yield ("−" if both < 0 else "+") + usd(both, language)
            yield from (f"{change(venue)}%" for venue in facts.by_venue_pct.values() if venue)
        case DepthFacts() | SpotDepthFacts():
            books = facts.spot if isinstance(facts, SpotDepthFacts) else facts
            yield f"{fixed(number, 0)}%"
            yield from (usd(x, language) for x in (books.bid_usd, books.ask_usd, books.normal_usd))
            yield from (f"{fixed(venue, 0)}%" for venue in books.by_venue_pct.values())
        case LiquidationFacts() if number:
            both = facts.long_usd + facts.short_usd
            for least in (both, facts.long_usd, facts.short_usd):
                text = usd(least, language, at_least=True)
                yield f"{text}以上" if language == "ja" else f"≥ {text}"
            yield usd(facts.largest_usd, language)
            yield f"{fixed(100 * facts.long_usd / both, 0)}%"
        case LiquidationDayFacts():
            for least in (facts.long_usd, facts.short_usd, facts.largest_usd):
                text = usd(least, language, at_least=True)
                yield f"{text}以上" if language == "ja" else f"≥ {text}"
        case _:
            pass


ABOUT_ONE = {
    "funding of an asset": ("funding_8h", "BTC"),
    "funding that is positive": ("funding_8h", "ETH"),
    "open interest of an asset": ("oi_net", "BTC"),
    "open interest, not to be judged": ("oi_net", "ETH"),
    "depth of an asset": ("depth_25bp_pct_of_recent", "BTC"),
    "liquidations of an asset": ("liq_10m", "BTC"),
    "market, its structure": ("liq_total", "ALL"),
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ABOUT_ONE)
def test_an_answer_says_what_the_raw_value_is(configured: Settings, name: str, language: str):
    metric, asset = ABOUT_ONE[name]
    text = answered(configured, name, language)
    standing = about(configured, name, language).standing
    assert standing is not None
    values = [
        value
        for value in standing.values
        if value.metric.startswith(metric) and value.asset == asset
        and value.value is not None and not value.instrument
    ]  # fmt: skip
    assert values
    for value in values:
        for part in expected(value, language):
            assert part in text, f"{name}: {part}\n{text}"
