"""One configuration over recorded series: what it would have said, and what was told of it."""

from collections.abc import Callable, Sequence

import numpy as np

from bot.backtest.judged import Judged
from bot.backtest.reading import Sources
from bot.backtest.series import DAY, Chunk, Place, Series, Times
from bot.chats import chats
from bot.config import Settings
from bot.deliveries import Delivery, State
from bot.dispatch import next_due, plan
from rules.alerts import Alert
from rules.standing import PRICE
from streams.events import Ms


class Run:
    """What a configuration said: ``alerts``; and told: ``posts``. ``state``: the plan's counts."""

    def __init__(self, settings: Settings, start: Ms = 0) -> None:
        self.settings = settings
        self.alerts: list[Alert] = []
        self.posts: list[Delivery] = []
        self.state = State()
        self._judged = Judged(settings.rules, settings.composites, start)
        self._chat = chats(settings)[0]

    def take(self, chunk: Chunk) -> None:
        """The next piece of time."""
        alerts = list(self._judged.take(chunk))
        if alerts:  # the plan goes from alert to alert by itself, and copies its state at each call
            self.alerts += alerts
            self._plan(alerts, alerts[-1].seen)

    def end(self) -> None:
        """What still waits is told."""
        while (due := next_due(self.state)) is not None:
            self._plan((), due)

    def _plan(self, alerts: Sequence[Alert], now: Ms) -> None:
        self.state, posts = plan(self.state, alerts, self._chat, (), now)
        self.posts += posts


class Seen:
    """How much was observed of each place. ``rows``: live, ``frozen``: rows without a value."""

    def __init__(self) -> None:
        self.rows: dict[Place, int] = {}
        self.frozen: dict[Place, int] = {}
        self.holes: dict[Place, int] = {}
        self.live_ms: dict[Place, Ms] = {}
        self.steps: dict[Place, Ms] = {}
        self.first: dict[Place, Ms] = {}
        self.last: dict[Place, Ms] = {}
        self.days: set[int] = set()

    def take(self, chunk: Chunk) -> None:
        """The next piece of time."""
        for place, series in chunk.series.items():
            live = ~np.isnan(series.value)
            count = int(live.sum())
            self.frozen[place] = self.frozen.get(place, 0) + len(live) - count
            if count:
                self._note(place, series, series.at[live], count)

    def _note(self, place: Place, series: Series, at: Times, count: int) -> None:
        self.rows[place] = self.rows.get(place, 0) + count
        self.live_ms[place] = self.live_ms.get(place, 0) + count * series.step
        self.steps[place] = min(series.step, self.steps.get(place, series.step))
        first = self.first.setdefault(place, int(at[0]))
        since = int(at[0]) - self.last.get(place, first)
        self.holes[place] = self.holes.get(place, 0) + int(since > series.step * 3 // 2)
        self.last[place] = int(at[-1])
        if self.last[place] - int(at[0]) > (count - 1) * series.step:
            apart = np.diff(at)
            usual = np.maximum(series.step, np.roll(apart, 1))  # coarser data are one hole
            self.holes[place] += int((apart > usual * 3 // 2).sum())
        if place.metric != PRICE:
            first, last = int(at[0] // DAY), int(at[-1] // DAY)
            self.days.update((first,) if first == last else np.unique(at // DAY).tolist())


def run(
    sources: Sources,
    configurations: Sequence[Settings],
    progress: Callable[[float], None] | None = None,
) -> tuple[Seen, list[Run]]:
    """All of them over the same values, in one pass."""
    seen, runs = Seen(), [Run(settings) for settings in configurations]
    for chunk in sources.pieces(progress):
        seen.take(chunk)
        for one in runs:
            one.take(chunk)
    for one in runs:
        one.end()
    return seen, runs
