"""What goes wrong: drawn from the seed, each with a dice of its own.

So a run with some of them left out has the others exactly as they were, and a story can be shrunk.
"""

from random import Random

import msgspec

from streams.durations import SECOND
from streams.events import Ms
from tests.simulate.market import CALM_S, STORY_S

WIRE = ("lost", "late", "doubled", "reordered", "damaged", "silent")
"""Of frames. ``late`` keeps their order, as a socket does; the others break it."""

SOCKET = ("cut", "away")
"""``cut``: the sockets break at once. ``away``: and the venue takes no others for a while."""

REST = ("unanswered",)
"""Requests get no answer."""

LIES = ("crossed", "spike", "nonsense", "no interest")
"""Of a venue: bids above asks, a price half as high again for some seconds, prices that are no
numbers, an open interest of zero."""

HARMLESS = ("unlisted", "interval")
"""Of a venue, and of no consequence: its listing lacks the contract for a while, its funding
interval changes."""

CLOCK = ("clock",)
"""The machine's clock steps by ``size`` seconds."""

ROLES = ("rules killed", "bot killed")
TELEGRAM = ("flood", "request lost", "reply lost", "slow")
DARK = (*WIRE, *SOCKET, *REST, *LIES)
"""Those that touch data."""

VENUE = (*DARK, *HARMLESS)
KINDS = (*VENUE, *CLOCK, *ROLES, *TELEGRAM)


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """One fault. ``at``, ``until``: ms since the beginning, on the steady clock."""

    kind: str
    at: Ms
    until: Ms
    dice: int
    """The seed of what it draws."""
    venue: str = ""
    size: float = 0.0
    """How much of what it may touch; of kills, after how many durable steps."""

    def active(self, now: Ms) -> bool:
        """Whether it goes on."""
        return self.at <= now < self.until

    def __str__(self) -> str:
        of = f" {self.venue}" if self.venue else ""
        return f"{self.kind}{of} {self.at / 1000:g}-{self.until / 1000:g} s, {self.size:g}"


def troubles(seed: int, kinds: tuple[str, ...] = KINDS) -> list[Trouble]:
    """The faults of a seed, in order of time."""
    random = Random(f"{seed} faults")
    drawn: list[Trouble] = []
    for number in range(random.randint(1, 10)):
        kind = random.choice(kinds)
        at = 1000 * CALM_S + random.randint(-60_000, 1000 * STORY_S - 60_000)
        drawn.append(
            Trouble(
                kind=kind,
                at=at,
                until=at + _length(kind, random),
                dice=1000 * seed + number,
                venue=random.choice(("binance", "bybit")) if kind in VENUE else "",
                size=_size(kind, random),
            )
        )
    return sorted(drawn, key=lambda trouble: trouble.at)


def _length(kind: str, random: Random) -> Ms:
    if kind in ROLES:
        return random.choice((100, 2_000, 20_000, 90_000))
    if kind in ("cut", *CLOCK):
        return 1
    if kind == "spike":
        return random.randint(1, 5) * SECOND
    if kind == "interval":
        return 3600 * SECOND
    return random.randint(SECOND, 60 * SECOND)


def _size(kind: str, random: Random) -> float:
    if kind in ROLES:
        return float(random.randint(0, 6))
    if kind in CLOCK:
        return float(random.choice((-7200, -30, -8, 8, 30, 300, 7200)))
    return random.choice((0.05, 0.3, 1.0))
