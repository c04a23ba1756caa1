"""The vocabulary of facts: how foreign text is kept harmless, and what is read back."""

import pytest

from streams.bus.conflate import Conflator, newest_only
from streams.events import Fault, FaultCode, Tick, decode, encode, fault
from streams.text import printable

NASTY = "BTC\x1b[31m\a\n\u202egnol\u2028"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("BTCUSDT", "BTCUSDT"),
        ("1000PEPE 币安", "1000PEPE 币安"),
        (NASTY, r"BTC\x1b[31m\x07\n\u202egnol\u2028"),
        ("\ud800\x85\x7f\t", r"\ud800\x85\x7f\t"),
        ("x" * 5_000, "x" * 199 + "…"),
        ("\x00" * 5_000, (r"\x00" * 50)[:199] + "…"),
    ],
)
def test_what_cannot_be_printed_is_escaped(text: str, shown: str):
    assert printable(text) == shown
    assert printable(shown) == shown


def test_a_fault_takes_foreign_text_without_harm():
    names_refused = fault(
        FaultCode.NAMES_REFUSED, 1_795_262_412_345, venue="bybit", subject=NASTY, detail=NASTY * 50
    )
    assert names_refused.subject.isprintable() and len(names_refused.subject) <= 40
    assert names_refused.detail.isprintable() and len(names_refused.detail) <= 160
    assert decode(encode(names_refused)) == names_refused


def test_faults_are_neither_held_back_nor_replaced():
    faults = [
        Fault(code=FaultCode.CONTRACT_MISSING, seen=n, venue="a", subject="X", over=bool(n % 2))
        for n in range(4)
    ]
    conflator = Conflator(())
    assert [going for offered in faults for going in conflator.offer(offered)] == faults
    assert newest_only([*faults, Tick(seen=1), Tick(seen=2)]) == [*faults, Tick(seen=2)]
