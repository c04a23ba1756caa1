from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.pictures.drawing import (
    LEAST_SIZE,
    SIZE,
    THEMES,
    Picture,
    PictureEpisode,
    PictureLevel,
    PicturePanel,
    ThemeName,
    draw,
)
from rules.alerts import Level
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Ms
from tests.bot.pictures.svg import Svg

START: Ms = 1_790_003_340_000
"""2026-09-21 15:09 UTC."""
PHONE = (390, 520)
"""A phone's width, in the pixels of its layout."""
SIZES = (SIZE, PHONE, LEAST_SIZE, (720, 900))
LEVELS = (
    PictureLevel(Level.WATCH, -2),
    PictureLevel(Level.ALERT, -4),
    PictureLevel(Level.CRITICAL, -7),
)


def crash(end: Ms = 6 * HOUR) -> Picture:
    """Price and open interest of a coin, which fall in the last hour; nothing is known of twenty
    minutes before."""
    at = range(START, START + end, MINUTE)
    fall = [max(0.0, (t - START - end + HOUR) / HOUR) for t in at]
    hole = range(at[len(at) // 2], at[len(at) // 2] + 20 * MINUTE)
    price = [None if t in hole else 112_400 - 6_000 * f for t, f in zip(at, fall, strict=True)]
    interest = [None if t in hole else -6.0 * f for t, f in zip(at, fall, strict=True)]
    return Picture(
        title="BTC",
        subtitle="open interest in 1h",
        venues=("Binance", "Bybit", "OKX", "Hyperliquid", "Bitget", "Deribit"),
        zone="Asia/Taipei",
        start=START,
        end=START + end,
        panels=(
            PicturePanel(title="price, USD", at=at, values=price),
            PicturePanel(title="open interest in 1h, %", at=at, values=interest, levels=LEVELS),
        ),
        episodes=(PictureEpisode(START + end - 40 * MINUTE),),
    )


def line(values: list[float | None], **more: object) -> Picture:
    """Values a minute apart."""
    at = [START + n * MINUTE for n in range(len(values))]
    panel = PicturePanel(title="x, %", at=at, values=values, **more)  # pyright: ignore[reportArgumentType]
    return Picture(title="X", start=START, end=START + HOUR, panels=(panel,))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("span", [10 * MINUTE, 6 * HOUR, DAY, 7 * DAY])
def test_a_picture_is_legible(size: tuple[int, int], theme: ThemeName, span: Ms) -> None:
    svg = Svg(draw(crash(span), size, theme))
    svg.expect_legible()
    assert (svg.width, svg.height) == size
    assert svg.of("title") == ["BTC"]
    assert "Asia/Taipei" in svg.of("when")[0]
    assert svg.of("name") == ["price, USD", "open interest in 1h, %"]
    assert len(svg.of("last")) == 2
    assert len(svg.elements("episode")) == 2
    assert len(svg.of("time")) >= 2


def test_a_picture_of_a_crash_names_what_it_shows() -> None:
    svg = Svg(draw(crash()))
    assert svg.of("subtitle") == ["open interest in 1h"]
    assert svg.of("venues") == ["Binance · Bybit · OKX · Hyperliquid · Bitget · Deribit"]
    assert svg.of("when") == ["21–22 Sep 2026, Asia/Taipei"]
    assert svg.of("time") == ["22 Sep", "01:00", "02:00", "03:00", "04:00", "05:00"]
    assert sorted(svg.of("level")) == ["alert −4", "critical −7", "watch −2"]
    assert svg.of("last") == ["106,500", "−5.9"]
    assert svg.of("tick")[0] == "110,000"


@pytest.mark.parametrize("size", SIZES)
def test_texts_are_large_enough_for_a_phone(size: tuple[int, int]) -> None:
    for text in Svg(draw(crash(), size)).texts:
        assert text.size * PHONE[0] / max(size[0], PHONE[0]) >= 9.0, text


@pytest.mark.parametrize("theme", list(THEMES))
def test_texts_and_lines_stand_out(theme: ThemeName) -> None:
    """By the contrast that WCAG 2 asks for: 4.5 of text, 3 of what is drawn."""
    colours = THEMES[theme]
    for colour in (colours.text, colours.muted, colours.price, colours.metric, *colours.levels):
        assert contrast(colour, colours.back) >= 4.5, colour


def contrast(first: str, second: str) -> float:
    """Of two colours, as WCAG 2 defines it."""
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    """Of ``#rrggbb``, from 0 to 1, as WCAG 2 defines it."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_gap_in_the_data_is_a_gap_in_the_line() -> None:
    prices, interest = Svg(draw(crash())).lines()
    for pieces in (prices, interest):
        assert len(pieces) == 2
        before, after = pieces
        assert after[0][0] - before[-1][0] > 20 * (before[1][0] - before[0][0])


def test_rows_that_are_missing_are_a_gap_too() -> None:
    at = [START + n * MINUTE for n in (0, 1, 2, 12, 13)]
    panel = PicturePanel(title="x", at=at, values=[1.0, 2.0, 3.0, 4.0, 5.0])
    picture = Picture(title="X", start=START, end=START + HOUR, panels=(panel,))
    (pieces,) = Svg(draw(picture)).lines()
    assert [len(piece) for piece in pieces] == [3, 2]


def test_one_minute_that_is_unknown_does_not_break_the_line() -> None:
    (pieces,) = Svg(draw(line([1.0, None, 2.0, 3.0]))).lines()
    assert len(pieces) == 1


def test_a_value_between_gaps_is_a_dot() -> None:
    (pieces,) = Svg(draw(line([1.0, 1.0, None, None, None, 3.0, None, None, None, 2.0]))).lines()
    assert [len(piece) for piece in pieces] == [2, 1, 1]


def test_a_spike_of_one_minute_is_seen_in_a_week() -> None:
    at = range(START, START + 7 * DAY, MINUTE)
    values = [0.0] * len(at)
    values[5_000] = -9.0
    lows: list[float | None] = [None] * len(at)
    lows[8_000] = -5.0
    panel = PicturePanel(title="x", at=at, values=values, lows=lows)
    picture = Picture(title="X", start=START, end=START + 7 * DAY, panels=(panel,))
    svg = Svg(draw(picture))
    ((points,),) = svg.lines()
    heights = sorted({y for _, y in points})
    assert len(heights) == 3
    level, low, lowest = heights
    assert (low - level) / (lowest - level) == pytest.approx(5 / 9, abs=0.01)
    assert len(points) < 4 * svg.width
    assert all(second[0] >= first[0] for first, second in pairwise(points))


def test_what_a_minute_went_through_is_seen_where_it_is_beyond_its_neighbours() -> None:
    """A value that falls has gone through all above it since the minute before: no spike."""
    falling = line([4.0, 3.0, 2.0, 1.0], highs=[None, 4.0, 3.0, 2.0], lows=[None, 3.0, 2.0, 1.0])
    ((points,),) = Svg(draw(falling)).lines()
    assert len(points) == 4
    spiked = line([4.0, 3.0, 2.0, 1.0], highs=[None, 4.0, 6.0, 2.0])
    ((points,),) = Svg(draw(spiked)).lines()
    assert len(points) == 5
    highest = min(points, key=lambda point: point[1])
    assert points.index(highest) == 2
    assert points[1][0] < highest[0] < points[3][0]


def test_levels_are_named_beside_the_title_or_where_there_is_no_room_by_their_values() -> None:
    picture = line([0.0, -2.0, -5.0], levels=LEVELS)
    assert Svg(draw(picture)).of("level") == ["critical −7", "alert −4", "watch −2"]
    (panel,) = picture.panels
    long = msgspec.structs.replace(panel, title="Depth ±0.25%, % of the last hours")
    picture = msgspec.structs.replace(picture, panels=(long,))
    assert Svg(draw(picture, PHONE)).of("level") == ["−7", "−4", "−2"]
    colours = {text.text: text.colour for text in Svg(draw(picture, PHONE)).texts}
    strokes = {e.get("stroke") for e in Svg(draw(picture, PHONE)).elements("level")} - {None}
    assert strokes == {colours[text] for text in ("−7", "−4", "−2")}


def test_higher_values_are_higher_and_the_last_is_named() -> None:
    ((points,),) = Svg(draw(line([1.0, 3.0, 2.0]))).lines()
    first, second, third = (y for _, y in points)
    assert second < third < first
    assert Svg(draw(line([1.0, 3.0, 2.5]))).of("last") == ["2.5"]


def test_a_level_without_room_is_named_and_has_no_line() -> None:
    svg = Svg(draw(line([0.01, 0.02, 0.015], levels=LEVELS)))
    assert svg.elements("level") == [e for e in svg.elements("level") if e.tag.endswith("text")]
    assert sorted(svg.of("level")) == ["alert −4", "critical −7", "watch −2"]


def test_a_level_has_its_line_where_its_value_is() -> None:
    svg = Svg(draw(line([0.0, -2.0, -5.0], levels=LEVELS)))
    ((points,),) = svg.lines()
    lines = [e.get("d", "") for e in svg.elements("level") if e.get("d")]
    assert len(lines) == 3
    assert f" {points[1][1]:.1f}H" in lines[-1], "watch −2, where the line is at its second point"


def test_an_episode_is_shaded_from_its_start_to_its_end() -> None:
    at = [START, START + HOUR]
    picture = Picture(
        title="X", start=START, end=START + HOUR,
        panels=(PicturePanel(title="x", at=at, values=[1.0, 2.0]),),
        episodes=(
            PictureEpisode(START - DAY, START + 15 * MINUTE),
            PictureEpisode(START + 30 * MINUTE),
            PictureEpisode(START - DAY, START - HOUR),
            PictureEpisode(START + DAY),
        ),
    )  # fmt: skip
    svg = Svg(draw(picture))
    spans = [(float(e.get("x", "")), float(e.get("width", ""))) for e in svg.elements("episode")]
    assert len(spans) == 2
    (left, wide), (later, rest) = spans
    assert later + rest == pytest.approx(left + 4 * wide, abs=1)
    assert later == pytest.approx(left + 2 * wide, abs=1)


@pytest.mark.parametrize("values", [[], [None], [None, None, None], [float("nan")], [1e101]])
def test_nothing_known_is_said(values: list[float | None]) -> None:
    svg = Svg(draw(line(values, levels=LEVELS)))
    assert svg.of("none") == ["no data"]
    assert svg.lines() == [[]]
    assert not svg.of("last")
    svg.expect_legible()


@pytest.mark.parametrize(
    ("values", "last"),
    [
        ([0.0], "0"),
        ([112_400.0, 112_401.5], "112,401.5"),
        ([0.00001234, 0.00001238], "0.00001238"),
        ([61_500_000_000.0, 64_100_000_000.0], "64.1B"),
        ([-3.0e-40], "−3e-40"),
        ([3.2e99], "3.2e+99"),
        ([-0.0031, -0.014], "−0.014"),
    ],
)
def test_numbers_of_any_size_are_readable(values: list[float | None], last: str) -> None:
    svg = Svg(draw(line(values), PHONE))
    svg.expect_legible()
    shown = svg.of("last")[0]
    assert number(shown) == pytest.approx(number(last), rel=1e-3)
    assert len(shown) <= 12


def number(text: str) -> float:
    """What a label says."""
    size = {"M": 1e6, "B": 1e9, "T": 1e12}.get(text[-1], 1.0)
    return float(text.replace("−", "-").replace(",", "").rstrip("MBT")) * size


@pytest.mark.parametrize(
    "name", ["<b>&\"'", "币安人生", "]]>", "A" * 300, "\x00\x1b[31m", "\ud800"]
)
def test_names_are_text_and_nothing_else(name: str) -> None:
    panel = PicturePanel(title=name, at=[START], values=[1.0])
    picture = Picture(
        title=name, subtitle=name, venues=(name, name), start=START, end=START + 1, panels=(panel,)
    )
    for size in SIZES:
        svg = Svg(draw(picture, size))
        svg.expect_legible()
        assert (
            svg.of("title")[0][:3]
            == "".join(c if c.isascii() and c >= " " else "?" for c in name)[:3]
        )


@pytest.mark.parametrize(
    ("zone", "start", "times"),
    [
        ("Asia/Kolkata", START, ["21:00", "21:30", "22:00", "22:30"]),
        # Berlin's clocks go back from 03:00 to 02:00 on 25 October 2026 at 01:00 UTC
        ("Europe/Berlin", 1_792_887_060_000, ["02:30", "02:00", "02:30", "03:00"]),
    ],
)
def test_times_are_those_of_the_zone(zone: str, start: Ms, times: list[str]) -> None:
    panel = PicturePanel(title="x", at=[start], values=[1.0])
    picture = Picture(title="X", zone=zone, start=start, end=start + 2 * HOUR, panels=(panel,))
    shown = Svg(draw(picture, (400, 480))).of("time")
    assert shown == times


FLOATS = st.floats(-1e99, 1e99) | st.floats(-1e6, 1e6) | st.sampled_from([0.0, -0.0, 5e-324, 1e-9])
VALUES = st.lists(st.none() | FLOATS, max_size=80)


@settings(max_examples=150, deadline=None)
@given(
    values=VALUES | st.builds(lambda v, n: [v] * n, FLOATS, st.integers(0, 50)),
    price=VALUES,
    levels=st.lists(st.builds(PictureLevel, st.sampled_from(Level), FLOATS), max_size=3),
    size=st.sampled_from(SIZES),
    span=st.sampled_from([MINUTE, HOUR, DAY, 30 * DAY]),
    start=st.integers(0, 4_000_000_000_000),
    name=st.text(max_size=60),
    from_zero=st.booleans(),
)
def test_whatever_is_drawn_is_legible(
    values: list[float | None],
    price: list[float | None],
    levels: list[PictureLevel],
    size: tuple[int, int],
    span: Ms,
    start: Ms,
    name: str,
    from_zero: bool,
) -> None:
    panels = [
        PicturePanel(
            title=name,
            at=[start + n * span // max(1, len(column)) for n in range(len(column))],
            values=column,
            levels=levels,
            from_zero=from_zero,
        )
        for column in (price, values)
    ]
    picture = Picture(
        title=name,
        subtitle=name,
        venues=(name, "Binance"),
        start=start,
        end=start + span,
        panels=panels,
        episodes=(PictureEpisode(start + span // 3),),
    )
    svg = Svg(draw(picture, size))
    svg.expect_legible()
    known = [v for v in values if v is not None]
    assert bool(svg.lines()[1]) is bool(known)


def test_what_cannot_be_drawn_is_refused() -> None:
    panel = PicturePanel(title="x", at=[START], values=[])
    with pytest.raises(ValueError, match="one value for each time"):
        draw(Picture(title="X", start=START, end=START + 1, panels=(panel,)))
    with pytest.raises(ValueError, match="at least"):
        draw(crash(), (319, 720))
    with pytest.raises(ValueError, match="an end after its start"):
        draw(Picture(title="X", start=START, end=START, panels=crash().panels))
