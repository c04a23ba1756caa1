"""One configuration over recorded series: what it would have said, and what was told of it."""

from collections.abc import Callable, Sequence

import numpy as np

from bot.backtest.judged import Judged
from bot.backtest.reading import Sources
from bot.backtest.series import DAY, Chunk, Place, Times
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
    """How much was observed of each place.

    ``rows``: rows with a value; ``live_ms``, ``frozen_ms``: the time that rows with and without a
    value speak of, each moment counted once. ``steps``: the shortest and the longest. ``holes``:
    how often a row came more than one and a half of its steps after the one before. ``days``: by
    metric, those with a value (days since the epoch).
    """

    def __init__(self) -> None:
        self.rows: dict[Place, int] = {}
        self.holes: dict[Place, int] = {}
        self.live_ms: dict[Place, Ms] = {}
        self.frozen_ms: dict[Place, Ms] = {}
        self.steps: dict[Place, tuple[Ms, Ms]] = {}
        self.first: dict[Place, Ms] = {}
        self.last: dict[Place, Ms] = {}
        self._last_row: dict[Place, Ms] = {}
        self.days: dict[str, set[int]] = {}

    def take(self, chunk: Chunk) -> None:
        """The next piece of time."""
        for place, series in chunk.series.items():
            at, step = series.at, series.step
            before = self._last_row.get(place, int(at[0] - step[0]))
            speaks = np.minimum(step, np.diff(at, prepend=before))
            live = ~np.isnan(series.value)
            frozen = int(speaks[~live].sum())
            self.frozen_ms[place] = self.frozen_ms.get(place, 0) + frozen
            self._last_row[place] = int(at[-1])
            if live.any():
                self._note(place, at[live], step[live], int(speaks[live].sum()))

    def _note(self, place: Place, at: Times, step: Times, live_ms: Ms) -> None:
        self.rows[place] = self.rows.get(place, 0) + len(at)
        self.live_ms[place] = self.live_ms.get(place, 0) + live_ms
        shortest, longest = self.steps.get(place, (int(step[0]), 0))
        self.steps[place] = min(shortest, int(step.min())), max(longest, int(step.max()))
        self.first.setdefault(place, int(at[0]))
        apart = np.diff(at, prepend=self.last.get(place, int(at[0])))
        self.holes[place] = self.holes.get(place, 0) + int((apart > step * 3 // 2).sum())
        self.last[place] = int(at[-1])
        if place.metric != PRICE:
            self.days.setdefault(place.metric, set()).update(np.unique(at // DAY).tolist())


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
