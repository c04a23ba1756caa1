"""Every number in every message of the shipped rules, each turn, in each language, is one of the
raw values that the message was made of, rounded: read back and rounded by code of this file alone.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bot.config import Settings, load
from bot.lang import LANGUAGES
from bot.messages.render import render
from bot.preview import sample_alert, sample_cascade, turns_of
from rules.alerts import Alert, LiquidationFacts, Turn

ROOT = Path(__file__).parents[2]

MONEY = {
    "en": r"(?P<sign>[+−]?)\$(?P<n>[\d,.]*\d)(?P<unit>[KMBT]?)",
    "zh-TW": r"(?P<sign>[+−]?)(?P<n>[\d,.]*\d)\s?(?P<unit>[萬億兆]?)\s?美元",
    "ja": r"(?P<sign>[+−]?)(?P<n>(?:[\d,]+[万億兆])*(?:[\d,.]*\d)?)(?<=[\d万億兆])(?P<unit>)ドル"
    r"(?!換算)",
}
SIZES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12,
         "萬": 10**4, "万": 10**4, "億": 10**8, "兆": 10**12}  # fmt: skip
NUMBER = r"[+−]?\d[\d,]*(?:\.\d+)?"
NAMES = r"USD[TC]|L[12]|Layer [12]|レイヤー[12]|#\S+"

FIXED = {1, 2, 8, 10, 24, 51, 100}
"""In words and not from values: one order a second, at least two signs, per 8 h, returns of 10
minutes, the top 10 and ranks 51 to 100, 24 h."""


@pytest.fixture(scope="module")
def alerts() -> list[Alert]:
    shipped: Settings = load(ROOT / "config.toml", {})
    singles = [sample_alert(rule, turn) for rule in shipped.rules for turn in turns_of(rule)]
    whole = [sample_cascade(c, shipped.rules, turn) for c in shipped.composites for turn in Turn]
    return [*singles, *whole]


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """Each number in an alert, with the name of its field."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, key if key.startswith(("by_", "lowest", "least")) else name)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner, key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, value


def raw_values(alert: Alert) -> set[Decimal]:
    """What may stand in the message, exactly: what is in the alert, and what follows from it."""
    fields = list(leaves(msgspec.to_builtins(alert)))
    numbers = [value for _, value in fields]
    by_name: dict[str, float] = dict(fields)
    of = by_name.get
    if alert.unit == "M USD" or "liq" in alert.metric:
        numbers += [value * 1e6 for value in (alert.value, alert.extreme)]
    if "trillion" in alert.unit:
        numbers += [value * 1e12 for value in (alert.value, alert.extreme)]
    if "funding" in alert.metric:
        numbers.append(alert.value * 3 * 365)
    for before, after in (("price_before", "price"), ("before", "after")):
        if of(before) and of(after):
            numbers.append((of(after, 0) / of(before, 1) - 1) * 100)
    for first, second in (
        ("net_usd", "price_usd"), ("bid_usd", "ask_usd"), ("long_usd", "short_usd"),
    ):  # fmt: skip
        if first in by_name and second in by_name:
            numbers.append(of(first, 0) + of(second, 0))
    if total := of("long_usd", 0) + of("short_usd", 0):
        numbers += [of("long_usd", 0) / total * 100, of("short_usd", 0) / total * 100]
    if "band_bp" in by_name:
        numbers.append(of("band_bp", 0) / 100)
    for link in getattr(alert.facts, "chain", ()):
        if "liq" in link.metric:
            numbers += [link.value * 1e6, link.extreme * 1e6, (link.extreme_longs or 0) * 1e6]
        inner = getattr(link.facts, "net_usd", None)
        numbers += [] if inner is None else [inner]
    return {Decimal(abs(value)) for value in numbers}


def lengths_and_counts(alert: Alert) -> set[int]:
    """Whole numbers that may stand there: parts of lengths of time, days, months, counts."""
    fields = list(leaves(msgspec.to_builtins(alert)))
    instants = {int(value) for _, value in fields if value > 1e12 and value < 2e12}
    whole = FIXED | {abs(int(value)) for _, value in fields if abs(value) < 1e6}
    spans = {int(value) for key, value in fields if key.endswith("_ms")} | {
        abs(first - second) for first in instants for second in instants
    }
    for span in spans:
        minutes = round(span / 60_000)
        whole |= {minutes, minutes % 60, minutes // 60, minutes // 60 % 24, minutes // 1440}
    for instant in instants:
        day = datetime.fromtimestamp(instant / 1_000, UTC)
        whole |= {day.day, day.month, day.hour}
    facts: dict[str, Any] = msgspec.to_builtins(alert.facts) if alert.facts else {}
    whole |= {len(value) for value in facts.values() if isinstance(value, dict | list | tuple)}
    for form in re.findall(r"\d+", alert.metric):
        whole |= {int(form)}
    return whole


def clocks(alert: Alert) -> set[str]:
    fields = leaves(msgspec.to_builtins(alert))
    return {
        f"{datetime.fromtimestamp(value / 1_000, UTC):%H:%M}"
        for _, value in fields
        if 1e12 < value < 2e12
    }


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


def decimal(text: str) -> Decimal:
    return Decimal(text.lstrip("+−").replace(",", ""))


def amount(match: re.Match[str], language: str) -> Decimal:
    if language != "ja":
        return decimal(match["n"]) * SIZES[match["unit"]]
    parts = re.findall(r"([\d,.]+)([万億兆]?)", match["n"])
    return sum((decimal(n) * SIZES[unit] for n, unit in parts), Decimal())


def bounded(text: str, match: re.Match[str]) -> bool:
    """Whether what stands there is said to be a lower bound."""
    return text[: match.start()].rstrip().endswith("≥") or text[match.end() :].startswith("以上")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_number_of_a_message_is_a_raw_value_rounded(alerts: list[Alert], language: str):
    read = 0
    for alert in alerts:
        text = render(alert, LANGUAGES[language]).plain.replace("\u00a0", " ")
        where = f"{alert.rule}, {alert.turn}:\n{text}\n"
        text = re.sub(NAMES, " ", text)
        raws, whole = raw_values(alert), lengths_and_counts(alert)
        for clock in re.findall(r"\d\d:\d\d", text):
            assert clock in clocks(alert), f"{where}{clock}"
        text = re.sub(r"\d\d:\d\d", " ", text)
        for match in re.finditer(MONEY[language], text):
            number, ways = amount(match, language), {bounded(text, match)}
            if isinstance(alert.facts, LiquidationFacts):  # a part is cut as the whole is
                ways.add(True)
            readings = [shown_as(number, r, at_least=way) for r in raws for way in ways]
            assert any(readings), f"{where}{match[0]}"
            read += 1
        text = re.sub(MONEY[language], " ", text)
        for match in re.finditer(NUMBER, text):
            number = decimal(match[0])
            raw = any(shown_as(number, r) for r in raws)
            assert raw or (match[0].isdigit() and int(match[0]) in whole), f"{where}{match[0]}"
            read += raw
    assert read > 1_000


HEADS = {
    "pct": ("oi_net", "price_", "oi_total", "depth", "funding", "volatility", "sector", "spot"),
    "usd": ("liq",),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_first_line_has_the_value_itself_with_its_sign(alerts: list[Alert], language: str):
    seen = 0
    for alert in alerts:
        first = render(alert, LANGUAGES[language]).plain.replace("\u00a0", " ").split("\n")[0]
        value = Decimal(alert.value)
        if alert.metric.startswith(HEADS["usd"]) and value:
            sums = [amount(m, language) for m in re.finditer(MONEY[language], first)]
            assert any(shown_as(n, value * 10**6, at_least=True) for n in sums), first
        elif alert.metric.startswith(HEADS["pct"]) and "share" not in alert.metric:
            sign = "−" if value < 0 else ""
            texts = re.findall(r"([+−]?\d[\d,.]*)%", first)
            assert any(t.startswith(sign) and shown_as(decimal(t), abs(value)) for t in texts), (
                first
            )
        else:
            continue
        seen += 1
    assert seen > 80
