"""Saved state of another shape: what fits stays, what does not is named."""

import msgspec
from pytest import raises

from rules.salvage import salvaged


class Inner(msgspec.Struct, array_like=True):
    at: int
    name: str = "?"


class Outer(msgspec.Struct):
    first: int
    items: list[Inner] = []
    by_name: dict[str, Inner] = {}
    by_number: dict[int, float] = {}
    note: str | None = None


def read(plain: object) -> tuple[Outer, list[str]]:
    lost: list[str] = []
    return salvaged(plain, Outer, lost), lost


def test_what_fits_is_as_it_was() -> None:
    plain = {"first": 1, "items": [[2, "a"], [3]], "by_name": {"x": [4, "b"]}, "note": "n"}
    assert read(plain) == (
        Outer(1, [Inner(2, "a"), Inner(3)], {"x": Inner(4, "b")}, {}, "n"),
        [],
    )


def test_what_does_not_fit_is_named_and_the_rest_stays() -> None:
    plain = {
        "first": 1,
        "items": [[2, 9], ["x"], [3, "c"], None],
        "by_name": {"x": [4, "b"], "y": 5},
        "by_number": {1: 1.5, "two": 2.5},
        "note": 7,
        "unknown": [1],
    }
    outer, lost = read(plain)
    assert outer == Outer(1, [Inner(2), Inner(3, "c")], {"x": Inner(4, "b")}, {1: 1.5})
    assert lost == ["items[0].name", "items[1]", "items[3]", "by_name[y]", "[two]", "note"]


def test_a_list_of_another_kind_gets_its_default() -> None:
    assert read({"first": 1, "items": {"a": 1}}) == (Outer(1), ["items"])


def test_without_what_is_required_there_is_nothing() -> None:
    for plain in ({"first": "x"}, {"items": []}, [], None):
        with raises(msgspec.ValidationError):
            read(plain)
