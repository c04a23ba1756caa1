"""Which symbol of a subscription makes a venue close the socket without a word. Pure.

Hyperliquid does so at a coin that it does not know, though the listing may have it (measured in
September 2026); all books of the socket would stay dark for the one. After some closures the
symbols are asked for part by part: the part after which the socket closes is halved, until it is
one symbol, which is asked for no more.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from streams.durations import SECOND
from streams.events import Ms

ASK_EVERY: Ms = 2 * SECOND
"""Between two parts: a socket that closes by then has closed for the part that was asked for."""

_CLOSINGS = 3
"""A symbol is believed to be the cause when the socket closed after it so often, and never did not:
networks fail."""


class Suspects:
    """The symbols of one socket, over all its reconnects."""

    def __init__(self, guilty: Iterable[str] = ()) -> None:
        self.guilty = {*guilty}
        """Asked for no more."""
        self._parts: list[tuple[str, ...]] = []
        """In the order in which they are asked for; none: all at once."""
        self._asked = 0
        """How many parts were asked for on this connection."""
        self._asked_at: Ms = 0
        self._closings: Counter[str] = Counter()

    @property
    def searching(self) -> bool:
        """Whether parts are asked for one after the other."""
        return bool(self._parts)

    def begin(self, symbols: Sequence[str]) -> None:
        """The socket closed again and again: search, unless that is done already."""
        left = [symbol for symbol in symbols if symbol not in self.guilty]
        if not self._parts and len(left) > 1:
            self._parts = _halves(left)

    def opened(self, now: Ms) -> tuple[str, ...]:
        """The socket is open: the part to ask for first, () for none of its own."""
        self._asked = 0
        return self._next(now)

    def tick(self, now: Ms) -> tuple[str, ...]:
        """The part to ask for now, () for none. When all were, and the socket stays open, all is
        asked for at once from the next connection on."""
        if not self._parts or now - self._asked_at < ASK_EVERY:
            return ()
        if self._asked:
            for symbol in self._parts[self._asked - 1]:
                self._closings.pop(symbol, None)
        if self._asked == len(self._parts):
            self._parts = []
            return ()
        return self._next(now)

    def closed(self, now: Ms, heard: bool) -> str:
        """The socket was closed; ``heard``: after other symbols had given data on it, so that it
        works. The symbol that is found guilty now, "" for none."""
        if not self._asked or now - self._asked_at >= ASK_EVERY:
            return ""
        before, part, rest = (
            self._parts[: self._asked - 1], self._parts[self._asked - 1],
            self._parts[self._asked :],
        )  # fmt: skip
        fine = tuple(symbol for known in before for symbol in known)
        symbol, *others = part
        if others:
            self._parts = [fine, *_halves(part), *rest] if fine else [*rest, *_halves(part)]
            return ""
        self._parts = [fine, *rest, part] if fine else [*rest, part]
        if not heard:
            return ""
        self._closings[symbol] += 1
        if self._closings[symbol] < _CLOSINGS:
            return ""
        self.guilty.add(symbol)
        self._parts.pop()
        return symbol

    def _next(self, now: Ms) -> tuple[str, ...]:
        if self._asked == len(self._parts):
            return ()
        self._asked += 1
        self._asked_at = now
        return self._parts[self._asked - 1]


def _halves(symbols: Sequence[str]) -> list[tuple[str, ...]]:
    middle = (len(symbols) + 1) // 2
    return [tuple(symbols[:middle]), tuple(symbols[middle:])]
