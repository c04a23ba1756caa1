"""The rules role: what ``bot/roles/rules.py`` does around the engine, on the model of Redis."""

from collections.abc import Callable

import msgspec

from bot.config import Settings
from rules import alerts
from rules.alerts import AlertOrNotice
from rules.engine import Engine
from streams.durations import SECOND
from streams.events import decode
from tests.simulate.redis_model import Crash, RedisModel

_BATCH = 500
SAVE_EVERY = 60 * SECOND
SHOW_EVERY = 2 * SECOND


class RulesModel:
    """One process: it begins from what is durable. ``on_output`` takes what was committed."""

    def __init__(
        self,
        settings: Settings,
        redis: RedisModel,
        crash: Crash,
        on_output: Callable[[AlertOrNotice], None],
    ) -> None:
        names = [venue.name for venue in settings.venues]
        self.engine = Engine(settings.rules, names, settings.composites)
        self._redis = redis
        self._crash = crash
        self._on_output = on_output
        self._cursor = 0
        self._muted_to = redis.bookmark
        if redis.snapshot is not None:
            self._cursor, state = redis.snapshot
            lost = self.engine.load(state)
            assert not lost, lost

    def work(self) -> None:
        """Judge what has come."""
        redis = self._redis
        while self._cursor < len(redis.events):
            batch = redis.events[self._cursor : self._cursor + _BATCH]
            turns: list[AlertOrNotice] = []
            for place, data in enumerate(batch, self._cursor):
                of_event = self.engine.feed(decode(data))
                if place >= self._muted_to:
                    turns += of_event
            self._cursor += len(batch)
            if self._cursor > self._muted_to:
                redis.commit(self._cursor, [alerts.encode(turn) for turn in turns], self._crash)
                for turn in turns:
                    self._on_output(turn)

    def save(self) -> None:
        """Keep the state; a restart goes on from it."""
        self._crash.point()
        self._redis.snapshot = self._cursor, self.engine.dump()
        self._crash.point()

    def show(self) -> None:
        """What is open, for the bot."""
        self._redis.episodes = msgspec.msgpack.encode(self.engine.open_episodes())
