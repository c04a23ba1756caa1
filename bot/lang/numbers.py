"""Digits: how many are shown, and the true minus sign. The same in every language."""

from math import floor, log10

MINUS = "−"


def signed(text: str) -> str:
    """``text`` of a number with a true minus sign, and none before a bare zero."""
    if text.startswith("-"):
        return text[1:] if not text.strip("-0.,") else MINUS + text[1:]
    return text


def significant(value: float, digits: int) -> float:
    """``value`` rounded to so many significant digits; dust below 1e-15 is 0."""
    if abs(value) < 1e-15:
        return 0.0
    return round(value, digits - 1 - floor(log10(abs(value))))


def significant_below(value: float, digits: int) -> float:
    """``value`` cut to so many significant digits: never more than ``value``, but for dust."""
    exact = significant(value, 12)
    if exact == 0:
        return 0.0
    unit = 10.0 ** (floor(log10(abs(exact))) - digits + 1)
    return significant(floor(significant(exact / unit, 12)) * unit, digits)


def trimmed(value: float, digits: int) -> str:
    """``value`` to so many significant digits, thousands separated, no zeros at the end."""
    rounded = significant(value, digits)
    if rounded == 0:
        return "0"
    decimals = max(0, digits - 1 - floor(log10(abs(rounded))))
    text = f"{rounded:,.{decimals}f}"
    return signed(text.rstrip("0").rstrip(".") if decimals else text)


def rate(pct: float) -> str:
    """A funding rate in percent: −0.0031, −0.84. Tiny rates keep the digits that make them."""
    if abs(pct) >= 0.1:
        return signed(f"{pct:,.2f}")
    if abs(pct) >= 0.0001 or pct == 0:
        return signed(f"{pct:.4f}") if pct else "0"
    return signed(f"{pct:.6f}".rstrip("0").rstrip("."))


def percent(pct: float) -> str:
    """A percentage that may be large: −7.8, −0.04, −920."""
    size = abs(pct)
    decimals = 0 if size >= 100 else 1 if size >= 0.1 else 2
    text = signed(f"{pct:,.{decimals}f}")
    return "0" if text == "0.00" else text


def change(pct: float) -> str:
    """A change in percent, with its sign: −7.8, +0.6, 0."""
    text = percent(pct)
    return f"+{text}" if pct > 0 and text != "0" else text


def share(pct: float) -> str:
    """A share in percent: 54, 4.2, 0.5."""
    if pct >= 10:
        return f"{pct:,.0f}"
    return trimmed(pct, 2) if pct >= 0.005 else "0"
