"""The engine's state as it is written down: everything that the answers to events depend on.

The structs below are the format. A new field goes to the end of its struct and has a default; any
other change of them, or of what a memo dumps, raises ``VERSION`` and adds a step to
``rules.migrations``. ``tests/rules/test_released.py`` loads what released versions wrote.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec

from rules.alerts import Level
from rules.composite import CompositeState
from rules.episode import Episode
from rules.faults import Faults
from rules.feed_health import Feeds
from rules.market import MemoryDump
from rules.migrations import migrated
from rules.records import Trail
from rules.rule import Fires
from rules.salvage import salvaged
from rules.timeline import Timeline
from streams.events import AnyEvent, Ms

VERSION = 2

Place = tuple[str, str]
"""An asset, and one instrument of it (``venue/symbol``) or ""."""


class RuleInstanceDump(msgspec.Struct, array_like=True):
    """The state of one rule, under what must be unchanged for it to be taken over.

    ``levels``: what it was judged by; under others, what is so already is no news. ``since``: when
    it began to watch, None: not known.
    """

    rule: str
    metric: str
    place: Place
    levels: dict[Level, float]
    unsettled: bool
    episode: Episode
    since: Ms | None = None


class MetricInstanceDump(msgspec.Struct, array_like=True):
    """When one metric is looked at again, and whether data waits for that."""

    metric: str
    place: Place
    due: Ms
    waiting: bool


class TrailDump(msgspec.Struct, array_like=True):
    """What was observed of one metric over months, on one side."""

    metric: str
    fires: Fires
    place: Place
    trail: Trail


class CompositeDump(msgspec.Struct, array_like=True):
    """The state of one composite; ``all_of`` is what its conditions were."""

    name: str
    asset: str
    all_of: list[tuple[str, Level]]
    state: CompositeState


class EngineDump(msgspec.Struct, array_like=True):
    """Everything the engine knows. ``awake``, ``firing``: in the order in which a Tick asks."""

    version: int
    now: Ms
    sweep_at: Ms | None
    memory: MemoryDump
    feeds: Feeds = msgspec.field(default_factory=Feeds)
    rule_instances: list[RuleInstanceDump] = []
    metric_instances: list[MetricInstanceDump] = []
    trails: list[TrailDump] = []
    composites: list[CompositeDump] = []
    awake: list[tuple[str, Place]] = []
    firing: list[tuple[str, str]] = []
    faults: Faults = msgspec.field(default_factory=Faults)
    compare_at: Ms = 0
    timeline: Timeline = msgspec.field(default_factory=Timeline)
    unclear: list[AnyEvent] = []
    """What came after a step ahead that may be none, and is not judged yet."""
    turn_at: Ms = 0


_decoder = msgspec.msgpack.Decoder(EngineDump)
_encoder = msgspec.msgpack.Encoder()

_NAMES = {
    "memory": "what was measured",
    "feeds": "the state of feeds",
    "rule_instances": "episodes",
    "metric_instances": "when to look next",
    "trails": "records",
    "composites": "composites",
    "awake": "when to look next",
    "firing": "composites",
    "faults": "faults",
    "timeline": "how the clock stepped",
    "unclear": "the last seconds",
}
"""What operators call a part of the dump."""


def encode(dump: EngineDump) -> bytes:
    """The state as bytes."""
    return _encoder.encode(dump)


def decode(dumped: bytes, lost: list[str]) -> EngineDump:
    """The state behind ``dumped``, of this version or any other, as far as it can be read.

    What cannot is left out and named in ``lost``, see ``in_words``. ValueError if nothing can.
    """
    try:
        state = _decoder.decode(dumped)
        if state.version == VERSION:
            return state
    except msgspec.MsgspecError:
        pass  # of another version, or damaged
    try:
        plain = migrated(msgspec.msgpack.decode(dumped), VERSION)
        return salvaged(plain, EngineDump, lost)
    except (msgspec.MsgspecError, ValueError, LookupError, TypeError) as error:
        raise ValueError("the engine's saved state is not readable: it starts anew") from error


def in_words(lost: Iterable[str]) -> str:
    """How much of which part was left out: ``episodes (2), records (1)``."""
    parts = Counter(_NAMES.get(path.partition(".")[0].partition("[")[0], path) for path in lost)
    return ", ".join(f"{part} ({count})" for part, count in parts.items())
