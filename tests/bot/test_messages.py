"""Every rule and turn against golden texts, and what must hold for any alert.

After a change of words, run it with LOWTIDE_GOLDEN=write and read the diff.
"""

import os
import re
import string
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.dispatch import plan
from bot.lang import LANGUAGES, en, numbers
from bot.messages import MAX_CHARS, Message, render
from bot.voice import family
from rules import metrics
from rules.alerts import (
    Alert,
    DepthFacts,
    Facts,
    FundingFacts,
    Level,
    LiquidationFacts,
    OpenInterestFacts,
    Turn,
)
from tests.bot.fake_telegram import parsed

GOLDEN = Path(__file__).parent / "golden" / "messages_en.txt"
AT = 1_791_020_520_000  # 3 Oct 2026 09:42 UTC
SETTLEMENT = 1_791_014_400_000  # 08:00
MIN, HOUR = 60_000, 3_600_000

FUNDING = FundingFacts(
    settled=True,
    by_venue_pct_8h={"binance": -0.0042, "bybit": -0.0028, "hyperliquid": -0.0016},
    hours={"binance": 8, "bybit": 8, "hyperliquid": 1},
    predicted_pct_8h=-0.0051,
)
OI = OpenInterestFacts(
    window_ms=HOUR,
    before_base=612_412,
    after_base=564_633,
    net_usd=-5.37e9,
    price_usd=-1.98e9,
    by_venue_pct={"binance": -9.1, "bybit": -8.4, "hyperliquid": -3.9},
)
DEPTH = DepthFacts(
    band_bp=25,
    bid_usd=94e6,
    ask_usd=132e6,
    normal_usd=418e6,
    normal_ms=24 * HOUR,
    by_venue_pct={"binance": 50.4, "bybit": 61.2, "hyperliquid": 70},
    live=3,
    expected=3,
    spread_bp=0.31,
)
LIQ = LiquidationFacts(
    window_ms=10 * MIN,
    long_usd=58.9e6,
    short_usd=5.3e6,
    orders=214,
    largest_usd=7.1e6,
    largest_venue="bybit",
    largest_price=3412.4,
    oi_pct=0.52,
    saturation_pct={"binance": 68.2},
    not_available=("hyperliquid",),
)


def alert(**changes: object) -> Alert:
    base = Alert(
        id="oi_drop:BTC:1:0",
        rule="oi_drop",
        metric="oi_net_1h_pct",
        unit="%",
        asset="BTC",
        turn=Turn.OPEN,
        level=Level.ALERT,
        value=-7.8,
        threshold=-5,
        fires="below",
        at=AT,
        seen=AT + 80,
        opened_at=AT + 80,
        extreme=-7.8,
        extreme_at=AT + 80,
        post=True,
        price=108_916.2,
        price_before=112_400,
        venues=("binance", "bybit", "hyperliquid"),
        facts=OI,
    )
    return msgspec.structs.replace(base, **changes)


KINDS: dict[str, tuple[dict[str, object], dict[Turn, float]]] = {
    "funding": (
        {
            "rule": "funding_negative",
            "metric": "funding_8h_pct",
            "at": SETTLEMENT,
            "seen": SETTLEMENT + 4_000,
            "price": 112_400.0,
            "price_before": None,
            "facts": FUNDING,
        },
        {Turn.OPEN: -0.0031, Turn.UP: -0.0412, Turn.WORSE: -0.0052, Turn.CLOSE: 0.0021},
    ),
    "predicted": (
        {
            "rule": "funding_predicted",
            "metric": "funding_predicted_8h_pct",
            "level": Level.WATCH,
            "price": 112_400.0,
            "price_before": None,
            "facts": msgspec.structs.replace(FUNDING, settled=False),
        },
        {Turn.OPEN: -0.0031, Turn.UP: -0.0412, Turn.WORSE: -0.0052, Turn.CLOSE: 0.0044},
    ),
    "oi": ({}, {Turn.OPEN: -7.8, Turn.UP: -9.6, Turn.WORSE: -9.8, Turn.CLOSE: -0.93}),
    "depth": (
        {"rule": "depth_thin", "metric": "depth_25bp_pct_of_normal", "facts": DEPTH},
        {Turn.OPEN: 54.1, Turn.UP: 34.2, Turn.WORSE: 43.0, Turn.CLOSE: 93.1},
    ),
    "liq": (
        {
            "rule": "liq_burst",
            "metric": "liq_10m_musd",
            "fires": "above",
            "asset": "ETH",
            "price": 3_398.0,
            "price_before": 3_471.5,
            "facts": LIQ,
        },
        {Turn.OPEN: 64.2, Turn.UP: 131.4, Turn.WORSE: 82.0, Turn.CLOSE: 1.24},
    ),
    "other": (
        {"rule": "vol_spike", "metric": "rv_7d_pct", "fires": "above", "facts": None},
        {Turn.OPEN: 81.2, Turn.UP: 96.0, Turn.WORSE: 104.3, Turn.CLOSE: 55.0},
    ),
}


def turned(kind: str, turn: Turn) -> Alert:
    """The sample of one kind and turn; all but openings began 72 minutes before."""
    changes, values = KINDS[kind]
    sample = alert(**changes, turn=turn, value=values[turn])
    if turn is Turn.OPEN:
        return sample
    level = Level.CRITICAL if turn is Turn.UP else sample.level
    worst = values[Turn.UP]
    return msgspec.structs.replace(
        sample,
        level=level,
        opened_at=sample.seen - 72 * MIN,
        extreme=worst,
        extreme_at=sample.seen - 16 * MIN,
    )


def changed(kind: str, facts: dict[str, object], **changes: object) -> Alert:
    """An opening with some facts, or facts of its feed, replaced."""
    sample = turned(kind, Turn.OPEN)
    assert sample.facts is not None
    replaced: Facts = msgspec.structs.replace(sample.facts, **facts)
    return msgspec.structs.replace(sample, facts=replaced, **changes)


def edges() -> dict[str, Alert]:
    bare: dict[str, object] = {"facts": None, "price": None, "price_before": None}
    one = {"by_venue_pct_8h": {"binance": -0.84}, "hours": {"binance": 4}}
    return {
        "funding, one venue with another interval, held": changed(
            "funding",
            {**one, "predicted_pct_8h": None},
            asset="WLFI",
            level=Level.CRITICAL,
            value=-0.84,
            price=0.1712,
            held=2,
        ),
        "funding, one venue": changed(
            "funding", {"by_venue_pct_8h": {"bybit": -0.0031}, "hours": {"bybit": 8}}
        ),
        "funding, not caused by a settlement": changed("funding", {}, at=SETTLEMENT + 13 * MIN),
        "funding above": changed(
            "funding",
            {"by_venue_pct_8h": {"binance": 0.11, "bybit": 0.09}, "predicted_pct_8h": 0.1},
            fires="above",
            value=0.1042,
        ),
        "funding low but not negative": changed("funding", {}, value=0.0012),
        "funding closed below zero": msgspec.structs.replace(
            turned("funding", Turn.CLOSE), value=-0.0151, missing=("bybit",)
        ),
        "funding closed after days": msgspec.structs.replace(
            turned("funding", Turn.CLOSE),
            opened_at=SETTLEMENT - 51 * HOUR,
            extreme_at=SETTLEMENT - 48 * HOUR,
        ),
        "oi, a venue missing": changed(
            "oi",
            {"by_venue_pct": {"binance": -9.1, "hyperliquid": -3.9}},
            missing=("bybit",),
            held=1,
        ),
        "oi, price against": changed(
            "oi", {"price_usd": 4.1e8}, price=112_400.0, price_before=111_700.0
        ),
        "oi, no price known": changed(
            "oi", {"net_usd": None, "price_usd": None}, price=None, price_before=None
        ),
        "oi above": changed(
            "oi",
            {"net_usd": 5.4e6, "price_usd": 2e5, "by_venue_pct": {"bybit": 30.2}},
            fires="above",
            value=30.2,
        ),
        "oi, small coin with large numbers": changed(
            "oi",
            {
                "before_base": 4.1066e12,
                "after_base": 3.2e12,
                "net_usd": -11_212_345.0,
                "price_usd": -999_600.0,
                "window_ms": 15 * MIN,
            },
            asset="PEPE",
            value=-22.1,
            price=0.0000123,
            price_before=0.00001342,
        ),
        "depth, a book missing": changed(
            "depth",
            {"live": 2, "expected": 3, "spread_bp": None, "by_venue_pct": {"binance": 50.4}},
            missing=("bybit", "hyperliquid"),
        ),
        "depth, tail": changed(
            "depth",
            {"band_bp": 100, "bid_usd": 41_200.0, "ask_usd": 0.0, "normal_usd": 1.1e6},
            asset="WIF",
            value=3.745,
        ),
        "liq, shorts, one order": changed(
            "liq",
            {
                "long_usd": 0.0,
                "short_usd": 5_210_000.0,
                "orders": 1,
                "oi_pct": None,
                "saturation_pct": {},
                "not_available": (),
                "largest_usd": 5_210_000.0,
            },
            value=5.21,
        ),
        "liq, closed in silence": msgspec.structs.replace(turned("liq", Turn.CLOSE), value=0.0),
        "liq, two venues publish none": changed("liq", {"not_available": ("dydx", "hyperliquid")}),
        "up to alert": msgspec.structs.replace(turned("oi", Turn.UP), level=Level.ALERT),
        "funding above, worse": msgspec.structs.replace(
            turned("predicted", Turn.WORSE), fires="above", value=0.062
        ),
        "funding low, worse": msgspec.structs.replace(turned("funding", Turn.WORSE), value=0.0004),
        "oi above, worse": msgspec.structs.replace(
            turned("oi", Turn.WORSE), fires="above", value=12.0
        ),
        "depth above, worse": msgspec.structs.replace(
            turned("depth", Turn.WORSE), fires="above", value=312.0
        ),
        "an asset that needs escaping": alert(asset="A&B<i>", missing=("x<y",)),
        "no facts, funding": alert(
            metric="funding_8h_pct", rule="funding_negative", value=-0.0031, **bare
        ),
        "no facts, oi": alert(**bare),
        "no facts, depth": alert(metric="depth_25bp_pct_of_normal", value=54.0, **bare),
        "no facts, liq": alert(metric="liq_10m_musd", fires="above", value=64.2, **bare),
    }


CASES = {f"{kind} {turn}": turned(kind, turn) for kind in KINDS for turn in Turn} | edges()


def golden_text() -> str:
    parts: list[str] = []
    for name, sample in CASES.items():
        message = render(sample, en.WORDS)
        sound = "silent" if message.silent else "rings"
        parts.append(f"=== {name} ({sound})\n{message.plain}\n--- html\n{message.html}\n")
    return "\n".join(parts)


def test_golden():
    text = golden_text()
    if os.environ.get("LOWTIDE_GOLDEN") == "write":
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


@pytest.mark.parametrize("name", CASES)
def test_every_message_is_sound(name: str):
    sample = CASES[name]
    message = render(sample, en.WORDS)
    check(sample, message)
    linked = render(sample, en.WORDS, "https://example.org/c/{metric}/{asset}")
    assert parsed(linked.html).removesuffix(" · chart") == message.plain


def check(sample: Alert, message: Message) -> None:
    visible = parsed(message.html)
    assert len(visible) <= MAX_CHARS
    assert message.plain == visible
    assert not re.search(r"None|\bnan\b|\binf\b|  |[{}]|−0(\.0+)?%", visible)
    assert not re.search(r"-\d", visible.split("\n#")[0]), "a hyphen is no minus sign"
    first = visible.split("\n")[0]
    assert first[0] in "🟡🟠🔴⚪"
    assert sample.asset in first
    assert message.silent == (sample.turn is Turn.CLOSE or sample.level is Level.WATCH)


def test_a_chart_is_a_link_in_html_and_an_address_in_plain_text():
    message = render(alert(asset="A/B"), en.WORDS, 'https://example.org/c/{metric}/{asset}?a=1&b="')
    address = "https://example.org/c/oi_net_1h_pct/A%2FB?a=1"
    assert f'<a href="{address}&amp;b=&quot;">chart</a>' in message.html
    assert message.plain.endswith(f'· chart: {address}&b="')


def test_too_many_facts_are_cut_by_whole_lines():
    many = {f"venue_with_a_long_name_{n}": -float(n) for n in range(30)}
    message = render(changed("oi", {"by_venue_pct": many}), en.WORDS)
    assert "venue_with" not in message.plain
    assert "612,400 → 564,600 BTC" in message.plain
    assert message.plain.endswith("#BTC #OI · 09:42 UTC")


def test_plain_text_never_loses_or_unescapes_twice():
    message = render(alert(asset="&amp;<b>"), en.WORDS)
    assert message.plain.startswith("🟠 &amp;<b> open interest")
    assert "&amp;amp;&lt;b&gt; open interest" in message.html


numbers_of_any_size = st.floats(-1e15, 1e15) | st.floats(-1, 1) | st.just(0.0)
positive = st.floats(0, 1e15) | st.floats(0, 1)


@given(value=numbers_of_any_size, price=st.none() | positive, turn=st.sampled_from(Turn))
def test_any_number_can_be_told(value: float, price: float | None, turn: Turn):
    for kind in KINDS:
        amount = abs(value) if kind in ("liq", "depth") else value
        sample = msgspec.structs.replace(
            turned(kind, turn), value=amount, extreme=amount, price=price, price_before=price
        )
        visible = parsed(render(sample, en.WORDS).html)
        assert len(visible) <= MAX_CHARS
        assert "e+" not in visible
        assert "e-" not in visible.replace("e-1", "")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5.371e9, "$5.37B"),
        (226e6, "$226M"),
        (64.2e6, "$64.2M"),
        (999_600, "$1M"),
        (999_400, "$999K"),
        (512.4, "$512"),
        (1.2e12, "$1.2T"),
        (0, "$0"),
    ],
)
def test_amounts(value: float, text: str):
    assert en.usd(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (112_400, "$112,400"),
        (3412.4, "$3,412"),
        (34.1, "$34.10"),
        (0.171, "$0.171"),
        (0.0000123, "$0.0000123"),
    ],
)
def test_prices(value: float, text: str):
    assert en.price(value) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (72 * MIN, "1 h 12 min"),
        (16 * HOUR, "16 h"),
        (42 * MIN + 59_999, "42 min"),
        (45_000, "45 s"),
        (51 * HOUR, "2 d 3 h"),
        (0, "0 s"),
    ],
)
def test_lengths(ms: int, text: str):
    assert en.length(ms) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-0.0031, "−0.0031"),
        (-0.84, "−0.84"),
        (-0.00004, "−0.00004"),
        (-0.0000000001, "0"),
        (0.01, "0.0100"),
        (0.0, "0"),
    ],
)
def test_rates(value: float, text: str):
    assert numbers.rate(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(-7.84, "−7.8"), (0.6, "+0.6"), (-920.4, "−920"), (-0.04, "−0.04"), (-0.001, "0"), (0, "0")],
)
def test_changes(value: float, text: str):
    assert numbers.change(value) == text


def test_every_metric_has_words_of_its_own():
    for form in metrics.METRICS:
        name = form.replace("<duration>", "1h").replace("<bp>", "25")
        assert metrics.metric(name).name == name
        assert family(name) != "other"


def test_languages_have_the_phrases_and_places_of_english():
    def places(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    for words in LANGUAGES.values():
        assert words.phrases.keys() == en.PHRASES.keys()
        for key, text in words.phrases.items():
            assert places(text) == places(en.PHRASES[key]), key


def test_no_phrase_is_left_over():
    used = golden_text()
    for key, text in en.PHRASES.items():
        fixed = max(re.split(r"<[^>]+>|\{[^}]+\}", text), key=len)
        assert fixed in used or key in ("chart", "level.1"), key


def test_only_what_is_to_be_posted_is_planned_in_order():
    alerts = [alert(id="a"), alert(id="b", post=False), alert(id="c", turn=Turn.CLOSE)]
    planned = plan(alerts, "@name")
    assert [(d.alert.id, d.chat) for d in planned] == [("a", "@name"), ("c", "@name")]
