"""Telegram HTML as lines of runs, and how lines are made to fit."""

from hypothesis import given
from hypothesis import strategies as st

from bot.delivery.sinks.markup import (
    Line,
    RunStyle,
    TextRun,
    clean,
    fitted_lines,
    lines_of,
    plain_lines,
    utf8,
    utf16,
)


def written(line: Line) -> str:
    return "".join(run.text for run in line)


def test_tags_become_styles_and_entities_signs():
    html = "🟠 <b>A&amp;B &lt;1&gt;</b> (<i>x</i>)\n<code>/why</code>\n"
    assert lines_of(html) == [
        (
            TextRun("🟠 "),
            TextRun("A&B <1>", RunStyle.BOLD),
            TextRun(" ("),
            TextRun("x", RunStyle.ITALIC),
            TextRun(")"),
        ),
        (TextRun("/why", RunStyle.CODE),),
        (),
    ]


def test_a_style_goes_on_over_lines_and_ends_with_its_tag():
    assert lines_of("<blockquote expandable><b>a\nb</b>c</blockquote>") == [
        (TextRun("a", RunStyle.BOLD),),
        (TextRun("b", RunStyle.BOLD), TextRun("c")),
    ]


def test_a_time_keeps_its_second_and_whether_its_day_matters():
    clock = '<tg-time unix="1791014400" format="t">08:00 UTC</tg-time>'
    day = '<tg-time unix="1791014400" format="dt">3 Oct 08:00 UTC</tg-time>'
    ((first, between, second),) = lines_of(f"{clock}, {day}")
    assert first == TextRun("08:00 UTC", unix=1_791_014_400)
    assert between == TextRun(", ")
    assert second == TextRun("3 Oct 08:00 UTC", unix=1_791_014_400, dated=True)


def test_a_time_of_nobody_knows_when_is_text():
    ((run,),) = lines_of('<tg-time unix="²" format="t">soon</tg-time>')
    assert run == TextRun("soon")


def test_what_nobody_sees_is_escaped_and_spaces_that_hold_lines_together_stay():
    assert clean("a\x1b[31m\u202eb\u00a0USD\u200b") == "a\\x1b[31m\\u202eb\u00a0USD\\u200b"
    assert plain_lines("a\x00\n\nb") == [(TextRun("a\\x00"),), (), (TextRun("b"),)]


def test_lines_are_left_out_from_the_end_but_not_the_last():
    lines = plain_lines("head\nfirst\nsecond\n#BTC")
    assert fitted_lines(lines, written, len, 17) == "head\nfirst\n#BTC"
    assert fitted_lines(lines, written, len, 9) == "head\n#BTC"
    assert fitted_lines(lines, written, len, 8) == "head"
    assert fitted_lines(lines, written, len, 3) == "he…"


def test_a_time_that_is_cut_is_no_time_any_more():
    def write(line: Line) -> str:
        return "".join(run.text if run.unix is None else f"<{run.text}>" for run in line)

    line = (TextRun("at "), TextRun("08:00 UTC", unix=5))
    assert fitted_lines([line], write, len, 14) == "at <08:00 UTC>"
    assert fitted_lines([line], write, len, 13) == "at 08:00 UT…"


@given(
    st.lists(st.text(max_size=60), min_size=1, max_size=12),
    st.integers(min_value=4, max_value=200),
    st.sampled_from([utf8, utf16]),
)
def test_what_is_fitted_fits(texts: list[str], limit: int, size):
    lines = [(TextRun(text),) for text in texts]
    fitted = fitted_lines(lines, written, size, limit)
    assert size(fitted) <= limit
    whole = "\n".join(texts)
    assert fitted == whole or size(whole) > limit
