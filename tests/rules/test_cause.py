"""What is happening, from the signs of price and open interest."""

from math import sqrt

from hypothesis import given
from hypothesis import strategies as st
from pytest import mark

from rules.alerts import CAUSES, Cause
from rules.cause import INTEREST_NOISE, PRICE_NOISE, cause
from streams.durations import HOUR, MINUTE


@mark.parametrize(
    ("price", "interest", "word"),
    [
        (-3.1, -7.8, Cause.LONG_UNWINDING), (3.4, -8.0, Cause.SHORT_COVERING),
        (-2.0, 4.0, Cause.NEW_SHORTS), (2.0, 4.0, Cause.NEW_LONGS),
        (0.2, -8.0, Cause.UNCLEAR), (-0.2, 8.0, Cause.UNCLEAR), (-5.0, 0.4, Cause.UNCLEAR),
        (0.0, 0.0, Cause.UNCLEAR),
    ],
)  # fmt: skip
def test_two_signs_are_one_of_four_words_and_noise_is_none(price, interest, word):
    assert cause(HOUR, price, interest) is word


def test_noise_grows_with_the_square_root_of_time():
    for window in (15 * MINUTE, HOUR, 24 * HOUR):
        scale = sqrt(window / HOUR)
        beyond = PRICE_NOISE * scale * 1.01, INTEREST_NOISE * scale * 1.01
        assert cause(window, -beyond[0], -beyond[1]) is Cause.LONG_UNWINDING
        assert cause(window, -PRICE_NOISE * scale * 0.99, -beyond[1]) is Cause.UNCLEAR
        assert cause(window, -beyond[0], -INTEREST_NOISE * scale * 0.99) is Cause.UNCLEAR


@mark.parametrize(
    ("price", "interest", "longs", "word"),
    [
        # the price stands still, so the side that is liquidated tells whose positions are closed
        (0.1, -8, 0.9, Cause.LONG_UNWINDING), (-0.1, -8, 0.1, Cause.SHORT_COVERING),
        (0.1, -8, 0.5, Cause.UNCLEAR), (0.1, -8, None, Cause.UNCLEAR),
        # they bear the price out, or speak against it
        (-4, -8, 0.95, Cause.LONG_UNWINDING), (4, -8, 0.05, Cause.SHORT_COVERING),
        (-4, -8, 0.1, Cause.UNCLEAR), (4, -8, 0.9, Cause.UNCLEAR),
        (-4, -8, 0.5, Cause.LONG_UNWINDING),
    ],
)  # fmt: skip
def test_of_closed_positions_the_side_that_is_liquidated_tells(price, interest, longs, word):
    assert cause(HOUR, price, interest, longs=longs) is word


@mark.parametrize(
    ("price", "funding", "word"),
    [
        (0.1, -0.05, Cause.NEW_SHORTS), (0.1, 0.05, Cause.NEW_LONGS), (0.1, 0.01, Cause.UNCLEAR),
        (0.1, None, Cause.UNCLEAR), (-2, 0.05, Cause.NEW_SHORTS),
    ],
)  # fmt: skip
def test_of_opened_positions_the_side_that_pays_tells_where_price_does_not(price, funding, word):
    assert cause(HOUR, price, 6, funding_pct_8h=funding) is word


@given(
    st.floats(-50, 50),
    st.floats(-50, 50),
    st.none() | st.floats(0, 1),
    st.none() | st.floats(-1, 1),
)
def test_the_mirror_of_a_market_has_the_mirror_of_its_cause(price, interest, longs, funding):
    mirror = {
        Cause.LONG_UNWINDING: Cause.SHORT_COVERING, Cause.SHORT_COVERING: Cause.LONG_UNWINDING,
        Cause.NEW_SHORTS: Cause.NEW_LONGS, Cause.NEW_LONGS: Cause.NEW_SHORTS,
        Cause.UNCLEAR: Cause.UNCLEAR,
    }  # fmt: skip
    there = cause(HOUR, price, interest, longs)
    assert cause(HOUR, -price, interest, None if longs is None else 1 - longs) is mirror[there]
    closing = (Cause.LONG_UNWINDING, Cause.SHORT_COVERING)
    assert interest < 0 or cause(HOUR, price, interest, longs, funding) not in closing


def test_the_numbers_in_the_metric_log_stay_what_they_are():
    assert CAUSES == (
        "unclear", "long unwinding", "short covering", "new shorts", "new longs",
    )  # fmt: skip
