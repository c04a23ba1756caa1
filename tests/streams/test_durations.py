import pytest

from streams.durations import DAY, HOUR, MINUTE, SECOND, compact, duration


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("0s", 0),
        ("90s", 90 * SECOND),
        ("15m", 15 * MINUTE),
        ("1h30m", 90 * MINUTE),
        ("007d", 7 * DAY),
        ("1d2h3m4s", DAY + 2 * HOUR + 3 * MINUTE + 4 * SECOND),
    ],
)
def test_a_length_of_time_is_counts_with_units_the_largest_first(text: str, length: int) -> None:
    assert duration(text) == length


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "m",
        "5 m",
        " 5m",
        "5m\n",
        "-5m",
        "1.5h",
        "5M",
        "5ms",
        "5w",
        "1m1h",
        "1h1h",
        "٥m",
        "9" * 5000 + "s",
    ],
)
def test_anything_else_is_no_length_of_time(text: str) -> None:
    assert duration(text) is None


@pytest.mark.parametrize(
    ("length", "text"),
    [(0, "0s"), (999, "0s"), (310 * SECOND, "5m10s"), (3720 * SECOND, "1h2m"), (8 * DAY, "8d")],
)
def test_a_length_of_time_is_written_as_it_is_read(length: int, text: str) -> None:
    assert compact(length) == text
    assert duration(text) == length - length % SECOND
