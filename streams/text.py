"""Text that came from outside, fit for a log, a terminal and a message. Pure."""

_CUT = "…"


def printable(text: str, longest: int | None = 200) -> str:
    """``text`` on one line, at most ``longest`` characters, with everything unprintable escaped.

    Control characters, line breaks and marks that turn the direction of writing become ``\\x1b``,
    ``\\n``, ``\\u202e``; a space stays, other white space does not. What is cut ends in "…".
    ``longest`` None: nothing is cut.
    """
    cut = text if longest is None else text[: longest + 1]
    if not cut.isprintable():
        cut = "".join(c if c.isprintable() else _escaped(c) for c in cut)
    return cut if longest is None or len(cut) <= longest else cut[: longest - 1] + _CUT


def is_name(text: str, longest: int = 30) -> bool:
    """Whether a coin or a contract can be called so: printable, without spaces, not too long."""
    return text.isprintable() and 0 < len(text) <= longest and " " not in text


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
