"""The README's picture, from what the demo really printed:

lowtide demo | python -m tests.picture docs/demo.svg
"""

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

SHOWN = (
    r"🟡 \d coins: ",
    r"🟠 \d coins, now at alert level",
    r"🔴 \d coins, deleveraging of longs, now critical",
    r"🔴 \d coins, deleveraging of longs: ",
)
WIDTH = 104
_COLOURS = {"🟡": "yellow", "🟠": "orange1", "🔴": "red", "⚪": "grey70"}


def main() -> None:
    """Read the demo's output, choose one message of each kind, write an SVG."""
    messages = re.split(r"\n\n(?=\d{4}-\d\d-\d\d )", sys.stdin.read())
    chosen = sorted(first(messages, pattern) for pattern in SHOWN)
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text("$ make demo", style="bold green"), end="\n\n")
    for message in chosen:
        console.print(painted(message), end="\n\n")
    svg = console.export_svg(title="Lowtide")
    svg = re.sub(r'src: local\("([^"]+)"\),.*?;', r'src: local("\1");', svg, flags=re.DOTALL)
    Path(sys.argv[1]).write_text(svg)


def first(messages: list[str], pattern: str) -> str:
    """The first message whose headline matches; a KeyError if the demo no longer has one."""
    end = re.compile(r"\n\n(Still going on|The story is over).*", re.DOTALL)
    for message in (end.sub("", message) for message in messages):
        if re.search(pattern, message.split("\n", 1)[0]):
            return "\n".join(message.rstrip().split("\n")[:8])
    raise KeyError(pattern)


def painted(message: str) -> Text:
    """As the console sink colours it."""
    time, head = message[:19], message[19:].split("\n", 1)
    text = Text(time, style="grey50")
    mark = next((mark for mark in _COLOURS if mark in head[0]), "")
    text.append(head[0], style=f"bold {_COLOURS.get(mark, 'white')}")
    return text.append("\n" + head[1] if len(head) > 1 else "", style="white")


if __name__ == "__main__":
    main()
