"""The engine's state as it is written down: everything that the answers to events depend on."""

import msgspec

from rules.alerts import Level
from rules.composite import Gathering
from rules.episode import Episode
from rules.faults import Faults
from rules.memory import MemoryDump
from rules.notices import Feeds
from rules.records import Trail
from rules.rule import Fires
from streams.events import Ms

VERSION = 2

Place = tuple[str, str]
"""An asset, and one instrument of it (``venue/symbol``) or ""."""


class WatchDump(msgspec.Struct, array_like=True):
    """The state of one rule, under what must be unchanged for it to be taken over.

    ``levels``: what it was judged by; under others, what is so already is no news.
    """

    rule: str
    metric: str
    place: Place
    levels: dict[Level, float]
    unsettled: bool
    episode: Episode


class BeatDump(msgspec.Struct, array_like=True):
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


class ClusterDump(msgspec.Struct, array_like=True):
    """The state of one composite; ``all_of`` is what its conditions were."""

    name: str
    asset: str
    all_of: list[tuple[str, Level]]
    gathering: Gathering


class EngineDump(msgspec.Struct, array_like=True):
    """Everything the engine knows. ``awake``, ``firing``: in the order in which a Tick asks."""

    version: int
    now: Ms
    sweep_at: Ms | None
    memory: MemoryDump
    feeds: Feeds
    watches: list[WatchDump]
    beats: list[BeatDump]
    trails: list[TrailDump]
    clusters: list[ClusterDump]
    awake: list[tuple[str, Place]]
    firing: list[tuple[str, str]]
    faults: Faults = msgspec.field(default_factory=Faults)


_decoder = msgspec.msgpack.Decoder(EngineDump)
_encoder = msgspec.msgpack.Encoder()


def encode(dump: EngineDump) -> bytes:
    """The state as bytes."""
    return _encoder.encode(dump)


def decode(dumped: bytes) -> EngineDump:
    """The state behind ``dumped``. ValueError if it is not one of this version."""
    try:
        state = _decoder.decode(dumped)
    except msgspec.MsgspecError as error:
        raise ValueError("the engine's dump is not readable: start without it") from error
    if state.version != VERSION:
        raise ValueError("the engine's dump is of another version: start without it")
    return state
