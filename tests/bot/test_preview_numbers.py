"""Every number in every message of the shipped rules, each turn, in each language, is one of the
raw values that the message was made of, rounded: read back and rounded by code of this file alone.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bot.config import Settings, load
from bot.lang import LANGUAGES
from bot.messages.render import render
from bot.preview import sample_alert, sample_cascade, turns_of
from rules.alerts import Alert, LiquidationFacts, Turn
from tests.bot.read_numbers import (
    MONEY,
    NUMBER,
    amount,
    bounded,
    clocks,
    decimal,
    leaves,
    shown_as,
    sizes,
)

ROOT = Path(__file__).parents[2]

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
    return sizes(set(numbers))


def instants(alert: Alert) -> set[int]:
    """Every time in an alert, ms."""
    fields = leaves(msgspec.to_builtins(alert))
    return {int(value) for _, value in fields if 1e12 < value < 2e12}


def lengths_and_counts(alert: Alert) -> set[int]:
    """Whole numbers that may stand there: parts of lengths of time, days, months, counts."""
    fields = list(leaves(msgspec.to_builtins(alert)))
    at = instants(alert)
    whole = FIXED | {abs(int(value)) for _, value in fields if abs(value) < 1e6}
    spans = {int(value) for key, value in fields if key.endswith("_ms")} | {
        abs(first - second) for first in at for second in at
    }
    for span in spans:
        minutes = round(span / 60_000)
        whole |= {minutes, minutes % 60, minutes // 60, minutes // 60 % 24, minutes // 1440}
    for instant in at:
        day = datetime.fromtimestamp(instant / 1_000, UTC)
        whole |= {day.day, day.month, day.hour}
    facts: dict[str, Any] = msgspec.to_builtins(alert.facts) if alert.facts else {}
    whole |= {len(value) for value in facts.values() if isinstance(value, dict | list | tuple)}
    for form in re.findall(r"\d+", alert.metric):
        whole |= {int(form)}
    return whole


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_number_of_a_message_is_a_raw_value_rounded(alerts: list[Alert], language: str):
    read = 0
    for alert in alerts:
        text = render(alert, LANGUAGES[language]).plain.replace("\u00a0", " ")
        where = f"{alert.rule}, {alert.turn}:\n{text}\n"
        text = re.sub(NAMES, " ", text)
        raws, whole = raw_values(alert), lengths_and_counts(alert)
        for clock in re.findall(r"\d\d:\d\d", text):
            assert clock in clocks(instants(alert)), f"{where}{clock}"
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
