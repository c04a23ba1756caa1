"""The wires between the venues and us: frames and answers arrive, or do not."""

from collections.abc import Callable, Sequence
from random import Random

from streams.durations import SECOND
from streams.events import Ms
from tests.simulate.agenda import Agenda
from tests.simulate.faults import REST, WIRE, Trouble

LATENCY: Ms = 40
_SOON: Ms = 1_500
"""How much later a frame is than those after it, at most."""

Arrive = Callable[[bytes], None]


class Wires:
    """``touched``: frames that did not arrive as they were sent, by fault."""

    def __init__(self, agenda: Agenda, faults: Sequence[Trouble]) -> None:
        self._agenda = agenda
        self._faults = [fault for fault in faults if fault.kind in (*WIRE, *REST, "away")]
        self._dice = {fault.dice: Random(fault.dice) for fault in faults}
        self._free: dict[object, Ms] = {}
        self.touched: dict[str, int] = {}

    def carry(self, venue: str, channel: object, frame: bytes, arrive: Arrive) -> None:
        """A frame leaves ``venue``. Those of one channel arrive in their order, unless a fault
        mixes them."""
        now = self._agenda.now
        at, copies, ordered = now + LATENCY, 1, True
        for fault in self._faults:
            if fault.venue != venue or fault.kind not in WIRE or not fault.active(now):
                continue
            dice = self._dice[fault.dice]
            if dice.random() >= fault.size and fault.kind != "silent":
                continue
            self.touched[fault.kind] = self.touched.get(fault.kind, 0) + 1
            match fault.kind:
                case "lost" | "silent":
                    copies = 0
                case "late":
                    at += dice.randint(100, 5 * SECOND)
                case "doubled":
                    copies += 1
                case "reordered":
                    at, ordered = at + dice.randint(1, _SOON), False
                case _:
                    frame = damaged(frame, dice)
        if ordered:
            at = self._free[channel] = max(at, self._free.get(channel, 0))
        for _ in range(copies):
            self._agenda.put(at, lambda: arrive(frame))

    def refused(self, venue: str) -> bool:
        """Whether the venue takes no connection now."""
        return self._any("away", venue)

    def unanswered(self, venue: str) -> bool:
        """Whether a request gets no answer now."""
        return self._any("unanswered", venue) or self._any("away", venue)

    def _any(self, kind: str, venue: str) -> bool:
        now = self._agenda.now
        return any(f.kind == kind and f.venue == venue and f.active(now) for f in self._faults)


def damaged(frame: bytes, dice: Random) -> bytes:
    """``frame`` so that no reader can take it for one: an encrypted socket hands on no wrong
    digit, but its other end may stop in the middle of a word, or send something else."""
    cut = dice.randint(0, max(0, len(frame) - 1))
    match dice.randint(0, 2):
        case 0:
            return frame[:cut]
        case 1:
            return frame[:cut] + b"\xff\x00" + frame[cut:]
        case _:
            return b"<html>502 Bad Gateway</html>"
