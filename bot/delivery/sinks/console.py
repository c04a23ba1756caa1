"""Messages as plain text on a terminal, in a file or in a pipe."""

import os
import sys
from datetime import UTC, datetime
from typing import TextIO

from bot.delivery.pace import NO_LIMITS
from bot.delivery.sinks import ChatInfo, OneWay, Receipt
from bot.destination import Destination
from bot.messages.blocks import NO_BREAK
from bot.messages.render import Message
from rules.alerts import Level, Turn
from streams.text import printable

_RESET, _DIM, _BOLD = "\033[0m", "\033[2m", "\033[1m"
_COLOURS = {Level.WATCH: "\033[33m", Level.ALERT: "\033[33m", Level.CRITICAL: "\033[31m"}


class Console(OneWay):
    """Prints each message with its UTC time in front and an empty line behind.

    Colours only where a person reads (a terminal), and has not asked for none by a variable
    ``NO_COLOR`` (https://no-color.org).
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self.limits = NO_LIMITS

    async def check(self, to: Destination) -> ChatInfo:
        return ChatInfo(title="the console")

    async def send(
        self,
        to: Destination,
        message: Message,
        *,
        key: str = "",
        reply_to: int | None = None,
        markup: bool = True,
    ) -> Receipt:
        self._stream.write(self._text(message))
        self._stream.flush()
        return Receipt()

    async def close(self) -> None:
        """Nothing to let go of."""

    def _text(self, message: Message) -> str:
        time = f"{datetime.fromtimestamp(message.at / 1000, UTC):%Y-%m-%d %H:%M:%S}"
        text = message.plain.replace(NO_BREAK, " ")  # a terminal breaks lines where it likes
        first, *rest = (printable(line, None) for line in text.split("\n"))
        if self._stream.isatty() and not os.environ.get("NO_COLOR"):
            colour = _DIM if message.turn is Turn.CLOSE else _BOLD + _COLOURS[message.level]
            time, first = f"{_DIM}{time}{_RESET}", f"{colour}{first}{_RESET}"
        return "\n".join([f"{time}  {first}", *(f"    {line}" for line in rest), "", ""])
