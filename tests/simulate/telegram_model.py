"""Telegram as one channel that only the bot writes to: messages with numbers that have no gaps."""

from collections.abc import Callable, Sequence
from random import Random

import msgspec

from bot.delivery.sinks import Edited, OutcomeUnknown, Receipt, RetryLater, SendError
from streams.durations import SECOND
from streams.events import Ms
from tests.simulate.agenda import Agenda
from tests.simulate.faults import TELEGRAM, Trouble

ANSWER: Ms = 120
Outcome = Receipt | Edited | SendError | None
Take = Callable[[Outcome], None]


class Message(msgspec.Struct):
    """A message in the channel. ``key``: of its post, which Telegram does not know."""

    number: int
    key: str
    text: str
    at: Ms
    """On the steady clock."""
    reply_to: int | None = None
    gone: bool = False


class TelegramModel:
    """``messages`` in their order, those that were deleted too."""

    def __init__(self, agenda: Agenda, faults: Sequence[Trouble]) -> None:
        self.messages: list[Message] = []
        self.requests = 0
        self._agenda = agenda
        self._faults = [fault for fault in faults if fault.kind in TELEGRAM]
        self._dice = {fault.dice: Random(fault.dice) for fault in self._faults}

    def send(self, key: str, text: str, reply_to: int | None, take: Take) -> None:
        """A new message."""

        def done() -> Outcome:
            number = len(self.messages) + 1
            self.messages.append(
                Message(number=number, key=key, text=text, at=self._agenda.now, reply_to=reply_to)
            )
            return Receipt(message_id=number)

        self._request(done, take)

    def edit(self, number: int, text: str, take: Take) -> None:
        """Another text for a message."""

        def done() -> Outcome:
            if not 0 < number <= len(self.messages) or self.messages[number - 1].gone:
                return Edited.GONE
            message = self.messages[number - 1]
            if message.text == text:
                return Edited.SAME
            message.text = text
            return Edited.CHANGED

        self._request(done, take)

    def delete(self, number: int, take: Take) -> None:
        """A message is to go."""

        def done() -> Outcome:
            self.messages[number - 1].gone = True
            return None

        self._request(done, take)

    def _request(self, do: Callable[[], Outcome], take: Take) -> None:
        self.requests += 1
        agenda = self._agenda

        def arrive() -> None:
            fault = self._fault()
            wait, outcome = ANSWER, None
            match fault.kind if fault else "":
                case "flood":
                    seconds = self._dice[fault.dice].choice((1, 3, 30))  # type: ignore[union-attr]
                    outcome = RetryLater(seconds, "too many requests", flood=True)
                case "request lost":
                    outcome, wait = OutcomeUnknown("the connection broke"), 2 * SECOND
                case "reply lost":
                    do()
                    outcome, wait = OutcomeUnknown("the connection broke"), 2 * SECOND
                case "slow":
                    outcome, wait = do(), 8 * SECOND
                case _:
                    outcome = do()
            agenda.put(agenda.now + wait, lambda: take(outcome))

        agenda.put(agenda.now + ANSWER, arrive)

    def _fault(self) -> Trouble | None:
        active = (fault for fault in self._faults if fault.active(self._agenda.now))
        dice = self._dice
        return next((f for f in active if dice[f.dice].random() < max(0.3, f.size)), None)
