"""Settlements that venues tell later, contract by contract, until records are filled with them.

They are never a value of now: a metric reads them for what was (``FundingMetric.past``). A contract
has each of them once, whoever tells it again. They are kept for two days, since other venues may
tell theirs later; up to when they go is remembered for as long as the contract.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from rules.market import Keep, Rate
from streams.durations import DAY, MINUTE
from streams.events import Ms, PastRate

KEPT: Ms = 2 * DAY
_MOST = 10_000
"""Rows of one contract, of more than a year by the hour; then the oldest go."""


class Settlements:
    """Those of one contract: 13 bytes each."""

    __slots__ = ("_hours", "_minutes", "_rates", "_told", "until")

    def __init__(self) -> None:
        self._minutes = array("i")  # since the epoch; venues stamp them within seconds
        self._rates = array("d")
        self._hours = array("b")
        self._told: Ms = 0  # when the last ones came
        self.until: Ms = 0
        """The newest of all that were ever told; 0: none was."""

    def __len__(self) -> int:
        return len(self._minutes)

    def take(self, rows: Iterable[PastRate], latest: Ms, now: Ms) -> bool:
        """Settlements up to ``latest``; False if there is none that was not known."""
        news = False
        for row in rows:
            minute = round(row.at / MINUTE)
            if not 0 < row.at <= latest or not 1 <= row.hours <= 24 or not -1 < row.rate < 1:
                continue
            place = bisect_left(self._minutes, minute)
            if place < len(self._minutes) and self._minutes[place] == minute:
                continue
            news = True
            self._minutes.insert(place, minute)
            self._rates.insert(place, row.rate)
            self._hours.insert(place, round(row.hours))
            self.until = max(self.until, minute * MINUTE)
        for column in (self._minutes, self._rates, self._hours):
            del column[:-_MOST]
        self._told = now
        return news

    def rates(self) -> list[Rate]:
        """All that are still kept, the oldest first."""
        rows = zip(self._minutes, self._rates, self._hours, strict=True)
        return [Rate(minute * MINUTE, rate, float(hours)) for minute, rate, hours in rows]

    def forget(self, now: Ms) -> None:
        """Lets them go once the records have had their time."""
        if now - self._told > KEPT:
            del self._minutes[:], self._rates[:], self._hours[:]

    def set_back(self, now: Ms) -> None:
        """The clock was set back to ``now``: settlements have the times of the venues."""
        self._told = min(self._told, now)

    def dump(self) -> list[bytes]:
        """All of it as bytes, in this machine's byte order."""
        times = array("q", [self._told, self.until])
        return [x.tobytes() for x in (times, self._minutes, self._rates, self._hours)]

    def load(self, dumped: Sequence[bytes]) -> None:
        """Takes over what was dumped. ValueError if it does not fit."""
        sizes = [len(part) for part in dumped]
        if len(sizes) != 4 or sizes[0] != 16 or sizes[1:] != [4 * sizes[3], 8 * sizes[3], sizes[3]]:
            raise ValueError("the dumped settlements are cut short: start without them")
        self._told, self.until = array("q", dumped[0])
        self._minutes, self._rates = array("i", dumped[1]), array("d", dumped[2])
        self._hours = array("b", dumped[3])


SETTLEMENTS = Keep("settlements", Settlements)
"""Where they are kept, of each market."""
