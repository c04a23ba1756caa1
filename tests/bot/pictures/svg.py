"""An SVG picture by its structure: its texts with their places, measured by the font itself."""

import struct
import xml.etree.ElementTree as ElementTree
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import msgspec

import bot.pictures

FONT = Path(bot.pictures.__file__).parent / "static/Roboto-Medium.ttf"
_SVG = "{http://www.w3.org/2000/svg}"


class SvgText(msgspec.Struct, frozen=True):
    """A text, and the box that it fills."""

    kind: str
    text: str
    size: float
    colour: str
    left: float
    top: float
    right: float
    bottom: float


class Svg:
    """A picture that was drawn."""

    def __init__(self, text: str) -> None:
        self.root = ElementTree.fromstring(text)  # noqa: S314  # made by us a moment ago
        self.width = float(self.root.get("width", "nan"))
        self.height = float(self.root.get("height", "nan"))
        self.texts = [_text(element) for element in self.root.iter(f"{_SVG}text")]

    def of(self, kind: str) -> list[str]:
        """The texts of a kind, as they are drawn."""
        return [text.text for text in self.texts if text.kind == kind]

    def elements(self, kind: str) -> list[ElementTree.Element]:
        """The shapes of a kind."""
        return [element for element in self.root.iter() if element.get("class") == kind]

    def lines(self) -> list[list[list[tuple[float, float]]]]:
        """Of each panel its pieces of line, each the points of it."""
        panels = [element for element in self.root.iter(f"{_SVG}g") if element.get("class")]
        return [
            [_points(line) for line in panel if line.get("class") == "line"] for panel in panels
        ]

    def expect_legible(self) -> None:
        """No text leaves the picture or lies on another one, and no line leaves it."""
        for text in self.texts:
            assert text.left >= -0.1, text
            assert text.top >= 0, text
            assert text.right <= self.width + 0.1, text
            assert text.bottom <= self.height, text
        for first, second in combinations(self.texts, 2):
            apart = (
                first.right <= second.left + 0.2 or second.right <= first.left + 0.2
                or first.bottom <= second.top + 0.2 or second.bottom <= first.top + 0.2
            )  # fmt: skip
            assert apart, (first, second)
        for x, y in (point for panel in self.lines() for line in panel for point in line):
            assert 0 <= x <= self.width
            assert 0 <= y <= self.height


def _points(line: ElementTree.Element) -> list[tuple[float, float]]:
    if line.tag == f"{_SVG}circle":
        return [(float(line.get("cx", "nan")), float(line.get("cy", "nan")))]
    pairs = [point.split(",") for point in line.get("points", "").split()]
    return [(float(x), float(y)) for x, y in pairs]


def _text(element: ElementTree.Element) -> SvgText:
    text, size = element.text or "", float(element.get("font-size", "nan"))
    x, base = float(element.get("x", "nan")), float(element.get("y", "nan"))
    wide = sum(advances()[ord(char)] for char in text) * size / 2048
    share = {"start": 0.0, "middle": 0.5, "end": 1.0}[element.get("text-anchor", "start")]
    left = x - share * wide
    return SvgText(
        element.get("class", ""), text, size, element.get("fill", ""),
        left, base - 0.75 * size, left + wide, base + 0.21 * size,
    )  # fmt: skip


@lru_cache
def advances() -> dict[int, int]:
    """Each character of the font, and how wide it is in 2048ths of its size: its tables ``cmap``
    (format 4) and ``hmtx``."""
    data = FONT.read_bytes()
    tables: dict[bytes, int] = {}
    for n in range(struct.unpack_from(">H", data, 4)[0]):
        tag, _, offset, _ = struct.unpack_from(">4sIII", data, 12 + 16 * n)
        tables[tag] = offset
    assert struct.unpack_from(">H", data, tables[b"head"] + 18)[0] == 2048
    (metrics,) = struct.unpack_from(">H", data, tables[b"hhea"] + 34)
    widths: dict[int, int] = {}
    for char, glyph in _glyphs(data, tables[b"cmap"]).items():
        place = tables[b"hmtx"] + 4 * min(glyph, metrics - 1)
        (widths[char],) = struct.unpack_from(">H", data, place)
    return widths


def _glyphs(data: bytes, cmap: int) -> dict[int, int]:
    (count,) = struct.unpack_from(">H", data, cmap + 2)
    offsets = [struct.unpack_from(">HHI", data, cmap + 4 + 8 * n)[2] for n in range(count)]
    table = next(cmap + o for o in offsets if struct.unpack_from(">H", data, cmap + o)[0] == 4)
    (twice,) = struct.unpack_from(">H", data, table + 6)
    segments = twice // 2
    ends, starts, deltas, ranges = (
        struct.unpack_from(f">{segments}H", data, table + 14 + part * twice + 2 * (part > 0))
        for part in range(4)
    )
    glyphs: dict[int, int] = {}
    for n in range(segments):
        for char in range(starts[n], min(ends[n], 0xFFFE) + 1):
            if ranges[n] == 0:
                glyphs[char] = (char + deltas[n]) & 0xFFFF
            else:
                at = table + 16 + 3 * twice + 2 * n + ranges[n] + 2 * (char - starts[n])
                glyphs[char] = struct.unpack_from(">H", data, at)[0]
    return glyphs
