"""The README's pictures of a channel in each language, from the golden texts of the crash day:

python -m tests.channel_picture docs
"""

import re
import sys
from html import escape
from pathlib import Path
from typing import NamedTuple

SCENARIOS = Path(__file__).parent / "bot" / "scenarios"
CHANNEL = {"en": "channel", "ja": "チャンネル", "zh-TW": "頻道"}
SHOWN = (
    r"🟡 \d coins: ",
    r"🟠 \d coins, now at alert level",
    r"🔴 \d coins, deleveraging of longs, now critical",
    r"⚪ \d coins, deleveraging of longs: over",
)
"""The posts of one event, the last as its edit at the end has it, by their beginnings in
English."""

WIDTH, LINE, PAD, GAP = 600, 20, 12, 10
COLUMNS, BOLD_COLUMNS = 76, 66
"""So many signs of Latin fit into a line, also where the font is a wide one."""
_FONT = "font-family=\"'Segoe UI', 'Helvetica Neue', Arial, sans-serif\""
_WIDE = r"[\u3000-\u30ff\u4e00-\u9fff\uff00-\uff60]"
_TAG = re.compile(r"(#\w+)")


class Post(NamedTuple):
    """``at``: hours and minutes; ``lines``: the text as it stands."""

    at: str
    rings: bool
    lines: list[str]


def main() -> None:
    """Write the pictures into the folder that the command line names."""
    for language in CHANNEL:
        Path(sys.argv[1], file_name(language)).write_text(picture(language), encoding="utf-8")


def file_name(language: str) -> str:
    """The name of a picture in ``docs/``."""
    return "channel.svg" if language == "en" else f"channel.{language}.svg"


def picture(language: str) -> str:
    """The picture as SVG."""
    golden = SCENARIOS / ("crash_day.txt" if language == "en" else f"crash_day_{language}.txt")
    all_posts = posts(golden.read_text(encoding="utf-8"))
    english = posts((SCENARIOS / "crash_day.txt").read_text(encoding="utf-8"))
    places = [
        next(n for n, post in enumerate(english) if re.match(start, post.lines[0]))
        for start in SHOWN
    ]
    chosen = [all_posts[place] for place in places]
    reply_to = chosen[2].lines[0]
    y, parts = 70, list[str]()
    for post in chosen:
        quoted = reply_to if post is chosen[-1] else ""
        drawn, height = bubble(post, quoted, y)
        parts.append(drawn)
        y += height + GAP
    return "\n".join([_head(y, CHANNEL[language]), *parts, "</svg>\n"])


def posts(golden: str) -> list[Post]:
    """The posts of a file of golden texts."""
    post_list: list[Post] = []
    for block in re.split(r"(?m)^=== ", golden)[1:]:
        head, _, text = block.partition("\n")
        clock, _, how = head.partition(", ")
        post_list.append(Post(clock.split()[-1][:5], how == "rings", text.strip().split("\n")))
    return post_list


def bubble(post: Post, quoted: str, y: int) -> tuple[str, int]:
    """One post at height ``y``, and how high it is."""
    texts = [_text(PAD * 2 + 10, y + 24, cut(quoted, 60), "#6ab3f3")] if quoted else []
    bar = f'<rect x="{PAD * 2}" y="{y + 10}" width="3" height="20" fill="#6ab3f3"/>'
    down = y + (52 if quoted else 26)
    for n, line in enumerate(post.lines):
        bold = n == 0 and len(post.lines) > 1
        for row in wrap(line, BOLD_COLUMNS if bold else COLUMNS):
            texts.append(_text(PAD * 2, down, row, "#ffffff", bold=bold))
            down += LINE
    mark = "" if post.rings else "🔕 "
    texts.append(_text(WIDTH - PAD * 2, down - LINE + 4, f"{mark}{post.at}", "#7d8b99", end=True))
    height = down - LINE + 14 - y
    back = f'<rect x="{PAD}" y="{y}" width="{WIDTH - 2 * PAD}" height="{height}" rx="12"'
    return "\n".join([f'{back} fill="#182533"/>', *([bar] if quoted else []), *texts]), height


def wrap(line: str, most: int) -> list[str]:
    """``line`` in rows of ``most`` columns, broken at spaces and between signs as wide as two."""
    rows = [""]
    for space, word in re.findall(rf"( ?)({_WIDE}[。、：）]?|(?:(?!{_WIDE})\S)+)", line):
        if rows[-1] and columns(rows[-1] + space + word) > most:
            rows.append(word)
        else:
            rows[-1] = f"{rows[-1]}{space}{word}"
    return rows


def columns(text: str) -> int:
    """How wide ``text`` is, in signs of Latin."""
    return len(text) + len(re.findall(_WIDE, text))


def cut(text: str, most: int) -> str:
    """As Telegram shows the message that is replied to."""
    if columns(text) <= most:
        return text
    while columns(text) > most:
        text = text[:-1]
    return text.rstrip() + "…"


def _text(x: int, y: int, text: str, colour: str, bold: bool = False, end: bool = False) -> str:
    tagged = _TAG.sub(r'<tspan fill="#6ab3f3">\1</tspan>', escape(text, quote=False))
    weight = ' font-weight="600"' if bold else ""
    anchor = ' text-anchor="end"' if end else ""
    return f'<text x="{x}" y="{y}" fill="{colour}"{weight}{anchor}>{tagged}</text>'


def _head(height: int, about: str) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
            f' width="{WIDTH}" {_FONT} font-size="14">',
            f'<rect width="{WIDTH}" height="{height}" rx="14" fill="#0e1621"/>',
            f'<path d="M0 14a14 14 0 0 1 14-14h{WIDTH - 28}a14 14 0 0 1 14 14v42H0z"'
            ' fill="#17212b"/>',
            '<circle cx="36" cy="28" r="17" fill="#2b6ea8"/>',
            '<path d="M25 30q5.5-6 11 0t11 0" fill="none" stroke="#fff" stroke-width="2.5"/>',
            _text(64, 26, "Lowtide", "#ffffff", bold=True),
            _text(64, 44, about, "#7d8b99"),
        ]
    )


if __name__ == "__main__":
    main()
