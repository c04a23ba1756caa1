"""Guarded numbers and coins with multipliers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.venue import Malformed
from streams.venues import wire


@pytest.mark.parametrize(
    ("base", "coin", "count"),
    [
        ("BTC", "BTC", 1),
        ("1INCH", "1INCH", 1),
        ("1000PEPE", "PEPE", 1000),
        ("1000SATS", "SATS", 1000),
        ("10000SATS", "SATS", 10_000),
        ("1000000MOG", "MOG", 1_000_000),
        ("1000000BABYDOGE", "BABYDOGE", 1_000_000),
        ("1MBABYDOGE", "BABYDOGE", 1_000_000),
        ("SHIB1000", "SHIB", 1000),
        ("1000X", "X", 1000),
        ("SPX6900", "SPX6900", 1),
        ("100X", "100X", 1),
        ("B3", "B3", 1),
        ("4", "4", 1),
        ("0G", "0G", 1),
        ("1000", "1000", 1),
        ("2Z", "2Z", 1),
        ("1MX", "1MX", 1),
        ("币安人生", "币安人生", 1),
        ("MATIC", "POL", 1),
        ("FTM", "S", 1),
        ("RNDR", "RENDER", 1),
        ("XBT", "BTC", 1),
        ("1000XBT", "BTC", 1000),
        ("EOS1000", "A", 1000),
        ("MKR", "MKR", 1),  # 24,000 SKY for one: a price of its own
    ],
)
def test_coin_of(base: str, coin: str, count: float) -> None:
    assert wire.coin_of(base) == (coin, count)


def test_a_contract_on_nothing_is_malformed() -> None:
    with pytest.raises(Malformed, match="a contract on nothing"):
        wire.underlying("")
    assert wire.underlying("1000PEPE") == ("PEPE", 1000)


@pytest.mark.parametrize("text", ["abc", "1,5", "0x10", "{}"])
def test_text_that_is_no_number_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        wire.number(text)


def test_absence_is_none_and_never_zero() -> None:
    assert wire.number("") is None
    assert wire.number(None) is None
    assert wire.number("0") == 0.0
    assert wire.positive("0") is None
    assert wire.not_negative("0") == 0.0
    assert wire.not_negative("-1") is None
    assert wire.fraction("-1") is None
    assert wire.fraction("-0.75") == -0.75
    assert wire.moment("0") is None
    assert wire.moment("1795262400") is None
    assert wire.moment("1795262400000") == 1_795_262_400_000


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "Infinity", "1e308"])
def test_what_is_no_quantity_is_none(text: str) -> None:
    assert wire.number(text) is None


def test_levels_are_not_touched_where_a_unit_is_a_coin() -> None:
    levels = [(1.0, 2.0)]
    assert wire.per_coin(levels, 1.0) is levels


@given(
    price=st.floats(1e-9, 1e6), size=st.floats(0, 1e12), count=st.sampled_from((1000.0, 1e4, 1e6))
)
def test_notional_does_not_depend_on_the_multiplier(
    price: float, size: float, count: float
) -> None:
    ((per_coin, coins),) = wire.per_coin([(price, size)], count)
    assert per_coin * coins == pytest.approx(price * size)
    assert per_coin == pytest.approx(price / count)
