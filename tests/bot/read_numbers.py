"""Numbers of a text read back, in each language, by code that shares nothing with what writes them.

What is read is held against raw values: a number of a text is one of them, rounded.
"""

import re
from collections import Counter
from collections.abc import Iterator, Set
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any

import msgspec

MONEY = {
    "en": r"(?P<sign>[+−]?)\$(?P<n>[\d,.]*\d)(?P<unit>[KMBT]?)",
    "zh-TW": r"(?P<sign>[+−]?)(?P<n>[\d,.]*\d)\s?(?P<unit>[萬億兆]?)\s?美元",
    "ja": r"(?P<sign>[+−]?)(?P<n>(?:[\d,]+[万億兆])*(?:[\d,.]*\d)?)(?<=[\d万億兆])(?P<unit>)ドル"
    r"(?!換算)",
}
COUNTS = {
    "en": r"(?P<n>\b[\d,.]*\d)(?P<unit>[KMBT])\b",
    "zh-TW": r"(?P<n>[\d,.]*\d)\s?(?P<unit>[萬億兆])",
    "ja": r"(?P<n>(?:[\d,]+[万億兆])+)(?P<unit>)",
}
"""Of what is no money: coins."""

DAYS = {
    "en": r"(?P<d>\d{1,2}) (?P<m>Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
    r"(?: (?P<y>20\d\d))?\b",
    "zh-TW": r"(?:(?P<y>20\d\d)/)?(?P<m>\d{1,2})/(?P<d>\d{1,2})(?![\d/])",
    "ja": r"(?:(?P<y>20\d\d)年)?(?P<m>\d{1,2})月(?P<d>\d{1,2})日",
}
SIZES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12,
         "萬": 10**4, "万": 10**4, "億": 10**8, "兆": 10**12}  # fmt: skip
NUMBER = r"[+−]?\d[\d,]*(?:\.\d+)?"
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_BY_NAME = ("by_", "lowest", "least", "later_pct")
"""Fields that hold numbers by venue, coin or length of time."""

_CLOCK = r"(?<!\d)\d\d:\d\d(?!\d)"


class Reading(msgspec.Struct, frozen=True):
    """A number that a text has."""

    kind: str
    """``money``, ``count`` (of coins, with a unit), ``%``, ``σ``, ``day`` (as month and day),
    ``clock``, or ``number``."""
    value: str
    """``money`` and ``count``: in full; otherwise as it stands there, without separators."""
    at_least: bool = False
    """It is said to be a lower bound."""


def readings(text: str, language: str) -> Iterator[Reading]:
    """Every number of ``text``."""
    text = text.replace("\u00a0", " ")
    for match in re.finditer(MONEY[language], text):
        sign = "−" if match["sign"] == "−" else ""
        yield Reading(
            "money", f"{sign}{amount(match, language).normalize():f}", bounded(text, match)
        )
    text = re.sub(MONEY[language], " ¤ ", text)
    for match in re.finditer(COUNTS[language], text):
        yield Reading("count", f"{amount(match, language).normalize():f}", bounded(text, match))
    text = re.sub(COUNTS[language], " ", text)
    for match in re.finditer(DAYS[language], text):
        month = match["m"]
        number = _MONTHS.index(month) + 1 if month in _MONTHS else int(month)
        yield Reading("day", f"{number}/{int(match['d'])}")
    text = re.sub(DAYS[language], " ", text)
    for match in re.finditer(_CLOCK, text):
        yield Reading("clock", match[0])
    text = re.sub(_CLOCK, " ", text)
    for match in re.finditer(rf"({NUMBER})([%σ]?)", text):
        kind = match[2] or "number"
        yield Reading(kind, match[1].replace(",", "").lstrip("+"), bounded(text, match))


def alike(text: str, language: str) -> Counter[tuple[str, str]]:
    """What has to be the same in every language: all but whole numbers, which may be words."""
    return Counter(
        (each.kind, each.value)
        for each in readings(text, language)
        if each.kind != "number" or "." in each.value
    )


def amount(match: re.Match[str], language: str) -> Decimal:
    """The USD of a match of ``MONEY``, without its sign."""
    if language != "ja":
        return decimal(match["n"]) * SIZES[match["unit"]]
    parts = re.findall(r"([\d,.]+)([万億兆]?)", match["n"])
    return sum((decimal(n) * SIZES[unit] for n, unit in parts), Decimal())


def decimal(text: str) -> Decimal:
    """The size of the number in ``text``."""
    return Decimal(text.lstrip("+−").replace(",", ""))


def bounded(text: str, match: re.Match[str]) -> bool:
    """Whether what stands there is said to be a lower bound."""
    return text[: match.start()].rstrip().endswith("≥") or text[match.end() :].startswith("以上")


def shown_as(number: Decimal, raw: Decimal, *, at_least: bool = False) -> bool:
    """Whether ``number`` is ``raw`` to two significant digits or more; of a lower bound, cut."""
    if raw == 0 or number == 0:
        return abs(raw - number) < Decimal("0.05")
    rounding = ROUND_FLOOR if at_least else ROUND_HALF_EVEN
    exact = raw.quantize(Decimal(1).scaleb(raw.adjusted() - 11))  # without what a float cannot hold
    steps = {Decimal(1).scaleb(raw.adjusted() - digits) for digits in range(1, 8)}
    steps |= {Decimal(1)} if raw >= 10 else set()
    return any(
        value.quantize(step, rounding) == number
        for step in steps
        if step <= raw * 2
        for value in (raw, exact)
    )


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """Each number in a structure, with the name of its field."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, key if key.startswith(_BY_NAME) else str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner, key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, value


def sizes(numbers: Set[float]) -> set[Decimal]:
    """Raw values as ``shown_as`` takes them."""
    return {Decimal(abs(number)) for number in numbers}


def clocks(instants: Set[int]) -> set[str]:
    return {f"{datetime.fromtimestamp(at / 1_000, UTC):%H:%M}" for at in instants}
