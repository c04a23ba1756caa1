"""One long day: the demo's crash, then hours of calm, and the complete list of messages as golden.

The story's frames are decoded as live, by ``bot.replay``. After them the markets stand still and
their books are full again, so that every alert comes to its end.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bot.config import load
from bot.demo.story import crash as story
from bot.lang import LANGUAGES
from bot.messages.thread import delivery_message
from bot.metriclog import MetricLog
from bot.plan.planner import Delivery
from bot.replay import Replay, messages
from rules.alerts import Alert, AlertOrNotice, Level, Notice, Turn
from rules.engine import Engine
from streams.events import (
    AnyEvent,
    Depth,
    Kind,
    Liquidation,
    MarketEvent,
    Ms,
    OpenInterest,
    Price,
    Tick,
    kind_of,
)
from tests.bot.backtest.logs import KEEP
from tests.bot.fake_telegram import parsed
from tests.bot.scenarios.market import MINUTE, SECOND
from tests.bot.scenarios.test_rules import CONFIG, channel, check_messages, text

CALM = 80 * MINUTE
STEP = 4 * SECOND
"""A book that says nothing for longer is unknown."""

Key = tuple[str, str, Kind]


class Day:
    """All events of the day; remembers what each feed said first and last."""

    def __init__(self, replayed: Iterator[AnyEvent]) -> None:
        self._replayed = replayed
        self._first: dict[Key, MarketEvent] = {}
        self._last: dict[Key, MarketEvent] = {}
        self.now: Ms = 0
        self.liquidations: list[Liquidation] = []

    def events(self) -> Iterator[AnyEvent]:
        for event in self._replayed:
            self.now = max(self.now, event.seen)
            if isinstance(event, Liquidation):
                self.liquidations.append(event)
            if isinstance(event, Price | OpenInterest | Depth):
                key = (event.venue, event.symbol, kind_of(event))
                self._first.setdefault(key, event)
                self._last[key] = event
            yield event
        end = self.now + CALM
        while self.now < end:
            self.now += STEP
            yield Tick(seen=self.now)
            yield from self._standing()

    def _standing(self) -> Iterator[MarketEvent]:
        for key, event in self._last.items():
            repeated = self._first[key] if isinstance(event, Depth) else event
            if isinstance(repeated, Depth) or self.now % (40 * SECOND) < STEP:
                yield msgspec.structs.replace(repeated, at=self.now, seen=self.now)


class Crash:
    """What came of the day, and the metric log that was written of it in ``folder``."""

    def __init__(self, folder: Path) -> None:
        settings = self.settings = load(CONFIG, {})
        self.outputs: list[AlertOrNotice] = []
        self._log = MetricLog(folder, KEEP, 1_000)
        day = Day(Replay(settings).events([story.PATH]))
        self.messages = list(messages(self._noted(day.events()), channel(settings)))
        self.liquidations = day.liquidations
        self.logs = sorted(folder.iterdir())
        self.deliveries = [message for message in self.messages if isinstance(message, Delivery)]
        self.posts = [delivery for delivery in self.deliveries if not delivery.edit]
        self.alerts = [
            output for output in self.outputs if isinstance(output, Alert) and output.post
        ]

    def _noted(self, events: Iterator[AnyEvent]) -> Iterator[AlertOrNotice]:
        venues = [venue.name for venue in self.settings.venues]
        engine = Engine(self.settings.rules, venues, self.settings.composites)
        for event in events:
            outputs = engine.feed(event)
            self.outputs += outputs
            yield from outputs
            if isinstance(event, Tick) and self._log.due(event.seen):
                self._log.write(event.seen, engine.observed())


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_complete_list_of_messages(crash: Crash, language: str):
    name = "crash_day" if language == "en" else f"crash_day_{language}"
    check_messages(name, text(crash.messages, LANGUAGES[language]))


def test_it_is_no_more_than_a_trader_would_bear(crash: Crash):
    assert len(crash.alerts) > 100
    assert len(crash.posts) <= 12
    assert len([post for post in crash.posts if not post.silent]) <= 8


def test_the_crash_is_one_event_with_all_coins_and_one_end(crash: Crash):
    threads = {
        delivery.thread for delivery in crash.deliveries if delivery.thread.startswith("leverage")
    }
    assert len(threads) == 1
    last = crash.deliveries[-1]
    assert {a.asset for a in last.alerts} == {"BTC", "ETH", "SOL", "DOGE", "HYPE", "PEPE", "ALL"}
    turns = [delivery.turn for delivery in crash.deliveries if delivery.thread in threads]
    assert turns.count(Turn.CLOSE) == 1
    assert last.turn is Turn.CLOSE


def test_what_becomes_critical_rings_at_once(crash: Crash):
    first = next(a for a in crash.alerts if a.level is Level.CRITICAL)
    ring = next(post for post in crash.posts if any(a.level is Level.CRITICAL for a in post.alerts))
    assert (ring.at, ring.silent) == (first.seen, False)
    shown_at = {
        a.id: delivery.at for delivery in reversed(crash.deliveries) for a in delivery.alerts
    }
    merged = 0
    for a in crash.alerts:
        merged += a.id not in shown_at
        assert shown_at.get(a.id, a.seen) <= a.seen + MINUTE
    assert merged < len(crash.alerts) / 3


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_message_is_sound(crash: Crash, language: str):
    for delivery in crash.deliveries:
        message = delivery_message(delivery, LANGUAGES[language])
        assert len(parsed(message.html)) <= (500 if len(delivery.alerts) == 1 else 2_000)
        assert not re.search(r"\b(None|nan|inf)\b|  ", message.plain)


def test_operators_hear_of_no_trouble_that_is_none(crash: Crash):
    assert [message for message in crash.messages if isinstance(message, Notice)] == []
