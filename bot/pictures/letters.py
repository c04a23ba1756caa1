"""How wide a text is in ``static/Roboto-Medium.ttf``, the one font of pictures. Pure.

The font is part of Lowtide, since a new machine has none. It has Latin letters, digits and a few
signs, and neither kerning nor ligatures, so that a text is as wide as its characters together.
"""

from collections.abc import Mapping

FAMILY = "Roboto"
WEIGHT = 500

_EM = 2048
"""Units of the font in the size of a text."""

_BY_WIDTH: Mapping[int, str] = {
    346: "'",
    451: ",",
    487: ";",
    509: "¦",
    510: " ",
    513: "j",
    514: "|",
    524: "il",
    529: "¸",
    539: "ìíîï",
    543: ":¡",
    549: "!",
    562: "[]",
    572: ".",
    578: "I·ÌÍÎÏ",
    660: "`",
    664: '"',
    668: "´",
    673: "-",
    682: "t",
    687: "{}",
    715: "(",
    716: "•",
    720: "r",
    723: ")",
    726: "f",
    758: "²³¹",
    779: "°",
    811: "/",
    856: "\\",
    876: "^",
    901: "¨",
    906: "*",
    914: "ª",
    924: "_",
    935: "º",
    988: "¯",
    994: "«»",
    997: "?y¿ýÿ",
    1006: "¶",
    1014: "v",
    1031: "xz",
    1041: "<≤",
    1058: "s",
    1066: ">≥",
    1069: "k",
    1073: "cç",
    1089: "¥",
    1093: "×",
    1099: "e±èéêë",
    1109: "Laàáâãäå",
    1126: "F",
    1134: "¬",
    1137: "Jh",
    1138: "uùúûü",
    1139: "nñ",
    1142: "+",
    1146: "=",
    1149: "¢",
    1153: "bp",
    1155: "−",
    1157: "d",
    1158: "EÈÉÊË",
    1161: "gøρ",
    1163: "q",
    1164: "$0123456789",
    1166: "oòóôõö",
    1167: "≈",
    1169: "σ",
    1170: "÷",
    1175: "þ",
    1191: "ð",
    1206: "£",
    1211: "µ",
    1227: "Þ",
    1234: "Z",
    1237: "S",
    1244: "T",
    1248: "YÝ",
    1250: "#",
    1256: "ß",
    1273: "§",
    1279: "R",
    1291: "K",
    1293: "B",
    1296: "X",
    1309: "&",
    1310: "P",
    1321: "–",
    1326: "V",
    1336: "UÙÚÛÜ",
    1337: "CÇ",
    1338: "D",
    1361: "~",
    1363: "AÀÁÂÃÄÅ",
    1368: "Ð",
    1395: "G",
    1413: "Ø",
    1414: "OQÒÓÔÕÖ",
    1438: "¤",
    1446: "…",
    1455: "NÑ",
    1456: "H",
    1488: "¼",
    1504: "%",
    1522: "w",
    1579: "½",
    1584: "—",
    1605: "©®",
    1623: "¾",
    1729: "æ",
    1783: "m",
    1793: "M",
    1803: "W",
    1833: "@",
    1925: "Æ",
}
"""Units of the font → the characters that are as wide, by its table ``hmtx``."""

_WIDTHS = {char: width for width, chars in _BY_WIDTH.items() for char in chars}
_UNKNOWN = "?"


def legible(text: str) -> str:
    """``text`` with ``?`` for each character that the font does not have."""
    return "".join(char if char in _WIDTHS else _UNKNOWN for char in text)


def width(text: str, size: float) -> float:
    """How wide a legible ``text`` is, in the unit of ``size``."""
    return sum(_WIDTHS[char] for char in text) * size / _EM


def shortened(text: str, size: float, most: float) -> str:
    """As much of a legible ``text`` as is not wider than ``most``, with ``…`` for what is not; ""
    if that is nothing."""
    if width(text, size) <= most:
        return text
    while text and width(text.rstrip() + "…", size) > most:
        text = text[:-1]
    return text.rstrip() + "…" if text else ""
