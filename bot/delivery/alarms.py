"""Alarms for operators that need neither the disk nor the outbox: straight to their chat.

An alarm is of what keeps everything else from being posted or asked: Redis that cannot write, a
role that is dead, commands that Telegram gives to somebody else. So it is kept in memory alone,
sent once, and once more when it is over; all that is new goes into one message, at most one a
minute, which takes its turn at the one limiter of Telegram (``Gate``). What counts is whether a
fault lasts and operators got the message: so this is not ``SayOnce``, which only keeps the same
words out of the log for a while.
"""

import asyncio
from collections.abc import Callable

import structlog

from bot.delivery.pace import Lane
from bot.delivery.sinks import Busy, Gate, OutcomeUnknown, Refused, SendError, Sink
from bot.destination import TelegramChat
from bot.lang import LANGUAGES
from bot.messages.blocks import plain
from bot.messages.render import own_message
from bot.messages.voice import Html, say
from rules.alerts import Turn
from streams.bus.health import HEALTH, Health
from streams.clock import wall_ms

log = structlog.get_logger()

LASTING_S = 60.0
"""A fault that is over sooner is no alarm."""

BY_HAND_S = 20.0
"""The same of one that somebody has to mend, as a full disk: with ``LOOK_S`` and the next try to
write, operators know after half a minute."""

LOOK_S = 5.0
EVERY_S = 60.0
_PATIENCE_S = 30.0
"""How long an alarm waits for its turn at the gate."""

_WHY = 300
"""So many characters of a reason are sent."""


class Alarms:
    """Watches ``health`` and sends alarms to ``chat``, by a sink made when it is first needed.

    ``gate``: the one limiter, while there is a bot role in this process.
    """

    def __init__(
        self,
        chat: TelegramChat | None,
        language: str,
        sink: Callable[[], Sink],
        health: Health = HEALTH,
    ) -> None:
        self.gate: Gate | None = None
        self._chat = chat
        self._words = LANGUAGES[language]
        self._make = sink
        self._sink: Sink | None = None
        self._health = health
        self._sent: dict[str, str] = {}
        self._unsent = ""

    async def run(self) -> None:
        """Never returns."""
        try:
            while True:
                waits = EVERY_S if await self.look() else LOOK_S
                await asyncio.sleep(waits)
        finally:
            if self._sink is not None:
                await self._sink.close()

    async def look(self) -> bool:
        """Send what is new; whether there was anything, and it arrived."""
        now = self._health.lasting(LASTING_S, BY_HAND_S)
        begun = {who: why for who, why in now.items() if who not in self._sent}
        over = [who for who in self._sent if who not in now]
        if not begun and not over:
            return False
        reasons = self._words.reasons
        lines = [
            say(self._words, "alarm.on", who=reasons.term(who), why=why[:_WHY])
            for who, why in begun.items()
        ]
        lines += [say(self._words, "alarm.over", who=reasons.term(who)) for who in over]
        if not await self._send(Html("\n".join(lines)), silent=not begun):
            return False
        self._sent = {who: why for who, why in self._sent.items() if who in now} | begun
        return True

    async def _send(self, text: Html, silent: bool) -> bool:
        words = plain(text)
        if self._chat is None:
            log.error("alarm for operators, who have no chat", text=words)
            return True
        turn = Turn.CLOSE if silent else Turn.OPEN
        message = own_message("alarm", "alarm", text, wall_ms(), turn=turn, silent=silent)
        try:
            if self.gate is not None:
                await self.gate.turn(self._chat.chat, _PATIENCE_S, Lane.URGENT)
            self._sink = self._sink or self._make()
            await self._sink.send(self._chat, message, markup=True)
        except (Busy, SendError) as error:
            if words != self._unsent:
                log.error("an alarm could not be told", text=words, reason=str(error))
            self._unsent = words
            return isinstance(error, Refused | OutcomeUnknown)  # sending it again is no use
        log.warning("alarm told to operators", text=words)
        return True
