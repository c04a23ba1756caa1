"""The format of the engine's saved state: everything that the answers to events depend on.

The structs below are the format. A new field goes to the end of its struct and has a default; any
other change of them, or of what a memo dumps, raises ``VERSION`` and adds a step to
``rules.migrations``. ``tests/rules/test_released.py`` loads what released versions wrote.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec

from rules.alerts import Level
from rules.composite import CompositeState
from rules.context import ContextMemory
from rules.drift import Drifts
from rules.episode import Episode
from rules.faults import Faults
from rules.feed_health import Feeds
from rules.macro import MacroPrices
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
    """The state of one rule instance.

    It is taken over where rule, metric and place are the same.
    """

    rule: str
    metric: str
    place: Place
    levels: dict[Level, float]
    """The levels that it was judged by: under others the episode is carried over without a turn."""
    unsettled: bool
    episode: Episode
    since: Ms | None = None
    """When it began to watch; None: unknown."""


class MetricInstanceDump(msgspec.Struct, array_like=True):
    """When one metric instance is evaluated again."""

    metric: str
    place: Place
    due: Ms
    waiting: bool
    """There was data since the last evaluation."""


class TrailDump(msgspec.Struct, array_like=True):
    """What was observed of one metric over months, on one side."""

    metric: str
    fires: Fires
    place: Place
    trail: Trail


class CompositeDump(msgspec.Struct, array_like=True):
    """The state of one composite instance."""

    name: str
    asset: str
    all_of: list[tuple[str, Level]]
    """Its conditions: under others only the cool-down is taken over."""
    state: CompositeState


class EngineDump(msgspec.Struct, array_like=True):
    """Everything that the engine knows."""

    version: int
    now: Ms
    sweep_at: Ms | None
    """When silent instruments are next removed; None: there was no Tick yet."""
    memory: MemoryDump
    feeds: Feeds = msgspec.field(default_factory=Feeds)
    rule_instances: list[RuleInstanceDump] = []
    metric_instances: list[MetricInstanceDump] = []
    trails: list[TrailDump] = []
    composites: list[CompositeDump] = []
    awake: list[tuple[str, Place]] = []
    """The metric instances that Ticks evaluate, by metric and place, in their order."""
    firing: list[tuple[str, str]] = []
    """The composites that fire, by name and asset, in the order in which a Tick judges them."""
    faults: Faults = msgspec.field(default_factory=Faults)
    compare_at: Ms = 0
    """When contracts of one name are next compared."""
    timeline: Timeline = msgspec.field(default_factory=Timeline)
    unclear: list[AnyEvent] = []
    """Events after a step ahead of the clock that may be none: they are not judged yet."""
    turn_at: Ms = 0
    """When the venues' clocks are next compared."""
    macro: MacroPrices = msgspec.field(default_factory=MacroPrices)
    drifts: Drifts = msgspec.field(default_factory=Drifts)
    context: ContextMemory = msgspec.field(default_factory=ContextMemory)


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
    "macro": "prices of what is no coin",
    "drifts": "what does not check out",
    "context": "what sources say",
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
