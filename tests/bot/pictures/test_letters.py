import pytest

from bot.pictures.letters import legible, shortened, width
from tests.bot.pictures.svg import advances


def test_widths_are_those_of_the_font() -> None:
    for char in map(chr, advances()):
        if legible(char) == char:
            assert width(char, 2048) == advances()[ord(char)], char
    assert {char for char in advances() if legible(chr(char)) != chr(char)} == {0xA0, 0xAD}


def test_every_sign_of_our_numbers_is_in_the_font() -> None:
    text = "0123456789 −+.,:%$≥≈±σ·–…"
    assert legible(text) == text


@pytest.mark.parametrize("name", ["币安人生", "ブルー", "a\x00b\n", "\ud800", "🚀", "‮evil"])
def test_what_the_font_does_not_have_is_a_question_mark(name: str) -> None:
    shown = legible(name)
    assert "?" in shown
    assert len(shown) == len(name)
    assert width(shown, 10) > 0


@pytest.mark.parametrize("most", [0.0, 3.0, 20.0, 60.0, 1000.0])
def test_a_text_is_shortened_to_its_room(most: float) -> None:
    text = shortened("Hyperliquid and others", 10, most)
    assert width(text, 10) <= most or text == "…"
    assert text == "Hyperliquid and others" if most == 1000 else text.endswith("…") or text == ""
