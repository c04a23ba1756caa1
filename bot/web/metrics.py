"""The numbers of a running Lowtide, for Prometheus. Pure.

They are made anew from the roles' status each time they are asked for, so all roles are in them,
whichever process they run in. What is not known is left out, never zero.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bot import __version__
from bot.delivery.post import ChatReport
from bot.status import ROLES, lag_of, wrong_clock
from bot.web.readiness import ReadinessCheck
from rules.alerts import Level
from rules.snapshot import OpenEpisodes
from streams.bus.skew import ClockError
from streams.feed.status import SocketStatus, VenueStatus

_OUTCOMES = ("sent", "edited", "put_off", "uncertain", "arrived", "lost", "resent", "doubles",
             "refused")  # fmt: skip
"""Of posts, see ``bot.delivery.sender.SendCounts``."""


class _Families(Collector):
    """What was counted already, as a collector."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def exposition(families: Sequence[Metric]) -> bytes:
    """The text format of Prometheus, from a registry of its own."""
    registry = CollectorRegistry()
    registry.register(_Families(families))
    return generate_latest(registry)


def metric_families(
    status: Mapping[str, Any],
    checks: Sequence[ReadinessCheck],
    episodes: OpenEpisodes | None,
) -> list[Metric]:
    """All families. ``status``: of ``bot.status.collect``; ``episodes``: what is open, None if the
    rules do not say."""
    info = _gauge("lowtide_build_info", "1, with the version", "version")
    info.add_metric([__version__], 1)
    ready = _gauge("lowtide_ready", "1 if it is so, see /readyz", "check")
    for check in checks:
        ready.add_metric([check.name], check.ok)
    families: list[Metric] = [info, ready, *_roles(status), *_redis(status["redis"])]
    if status["streams"] is not None:
        families += _streams(status["streams"])
    if status["rules"] is not None:
        families += _rules(status["rules"])
    if status["bot"] is not None:
        families += _delivery(status["bot"])
    if episodes is not None:
        families.append(_open(episodes))
    return families


def _gauge(name: str, about: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, about, labels=labels)


def _counter(name: str, about: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, about, labels=labels)


def _roles(status: Mapping[str, Any]) -> list[Metric]:
    up = _gauge("lowtide_role_up", "1 if the role runs", "role")
    memory = _gauge("lowtide_role_memory_bytes", "resident memory of the role's process", "role")
    for role in ROLES:
        up.add_metric([role], status[role] is not None)
        if status[role] is not None:
            memory.add_metric([role], status[role]["rss_mb"] * 1e6)
    return [up, memory]


def _redis(redis: Mapping[str, Any]) -> list[Metric]:
    memory = _gauge("lowtide_redis_memory_bytes", "memory of Redis, as it says", "kind")
    for kind, name in (("used", "memory_mb"), ("resident", "rss_mb")):
        if redis[name] is not None:
            memory.add_metric([kind], redis[name] * 1e6)
    entries = _gauge("lowtide_stream_entries", "entries in a stream of Redis", "stream")
    span = _gauge("lowtide_stream_span_seconds", "time over which they reach", "stream")
    for name, stream in redis["streams"].items():
        entries.add_metric([name], stream["entries"])
        span.add_metric([name], stream["seconds"])
    return [memory, entries, span]


def _streams(streams: Mapping[str, Any]) -> list[Metric]:
    venues = msgspec.convert(streams["venues"], list[VenueStatus])
    written = _counter("lowtide_events_written", "events written to Redis")
    written.add_metric([], streams["written"])
    waiting = _gauge("lowtide_events_waiting", "events that wait for Redis")
    waiting.add_metric([], streams["waiting"])
    return [
        written,
        waiting,
        *_venues(venues),
        *_sockets(venues, streams["seen"], wrong_clock(streams)),
    ]


def _venues(venues: Sequence[VenueStatus]) -> list[Metric]:
    up = _gauge("lowtide_venue_up", "1 if the venue can be listened to", "venue")
    instruments = _gauge("lowtide_instruments", "contracts that are watched", "venue")
    feeds = _gauge(
        "lowtide_feeds", "feeds that are up, or have been lost", "venue", "feed", "state"
    )
    asked = _counter("lowtide_requests", "requests to the venue's REST API", "venue")
    failed = _counter("lowtide_requests_failed", "those that failed", "venue")
    for venue in venues:
        up.add_metric([venue.name], not venue.trouble)
        instruments.add_metric([venue.name], venue.instruments)
        asked.add_metric([venue.name], venue.requests)
        failed.add_metric([venue.name], venue.requests_failed)
        for kind, count in venue.feeds.items():
            feeds.add_metric([venue.name, kind, "up"], count.up)
            feeds.add_metric([venue.name, kind, "down"], count.down)
    return [up, instruments, feeds, asked, failed]


_COUNTED: Mapping[str, tuple[str, str]] = {
    "lowtide_socket_frames": ("frames", "frames received"),
    "lowtide_socket_events": ("events", "events made of them"),
    "lowtide_socket_connects": ("connects", "connections made"),
    "lowtide_socket_gaps": ("gaps", "gaps in what came"),
    "lowtide_socket_resyncs": ("resyncs", "books begun anew"),
    "lowtide_socket_duplicates": ("duplicates", "frames that came twice"),
    "lowtide_socket_dropped": ("dropped", "frames that could not be read"),
    "lowtide_socket_unreadable_rows": ("unreadable_rows", "rows of frames that could not be read"),
    "lowtide_socket_refused": ("refused", "subscriptions that the venue refused"),
}
"""Counter of each socket → its field in SocketStatus, and what it counts."""


def _sockets(venues: Sequence[VenueStatus], now: int, clock: ClockError | None) -> list[Metric]:
    labels = ("venue", "socket")
    up = _gauge("lowtide_socket_up", "1 if all that was asked for comes", *labels)
    lag = _gauge("lowtide_socket_lag_seconds", "how late the venue's data are here", *labels)
    age = _gauge("lowtide_socket_data_age_seconds", "time since data came", *labels)
    books = _gauge("lowtide_socket_books", "order books", *labels, "state")
    counters = {field: _counter(name, about, *labels) for name, (field, about) in _COUNTED.items()}
    for venue in venues:
        for socket in venue.sockets:
            at = [venue.name, socket.name]
            up.add_metric(at, socket.ready)
            if (lag_ms := lag_of(socket, clock)) is not None:
                lag.add_metric(at, lag_ms / 1000)
            if socket.last_data:
                age.add_metric(at, max(0, now - socket.last_data) / 1000)
            books.add_metric([*at, "live"], socket.books_live)
            books.add_metric([*at, "not_live"], socket.books - socket.books_live)
            for field, counter in counters.items():
                counter.add_metric(at, _count(socket, field))
    return [up, lag, age, books, *counters.values()]


def _count(socket: SocketStatus, field: str) -> float:
    return cast("float", getattr(socket, field))


def _rules(rules: Mapping[str, Any]) -> list[Metric]:
    counters = (
        ("lowtide_events_read", "events", "events that the rules have read"),
        ("lowtide_events_unreadable", "unreadable", "events that the rules left out"),
        ("lowtide_alerts", "alerts", "alerts and notices that the rules have written"),
    )
    families: list[Metric] = []
    for name, field, about in counters:
        counter = _counter(name, about)
        counter.add_metric([], rules[field])
        families.append(counter)
    lag = _gauge("lowtide_rules_lag_seconds", "how old the last event was when it was read")
    lag.add_metric([], rules["lag_ms"] / 1000)
    state = _gauge("lowtide_rules_state_bytes", "the rules' saved state")
    state.add_metric([], rules["state_bytes"])
    families += [lag, state]
    if "tick_ms" in rules:
        tick = _gauge("lowtide_rules_tick_age_seconds", "time since the last tick")
        tick.add_metric([], rules["tick_ms"] / 1000)
        families.append(tick)
    return families


def _delivery(bot: Mapping[str, Any]) -> list[Metric]:
    posts = _counter("lowtide_posts", "what became of posts", "outcome")
    for outcome in _OUTCOMES:
        posts.add_metric([outcome], bot["counts"][outcome])
    queued = _gauge("lowtide_posts_queued", "posts that wait to be sent")
    queued.add_metric([], bot["queued"])
    waiting = _gauge("lowtide_alerts_waiting", "alerts that wait for others of their kind")
    waiting.add_metric([], bot["waiting"])
    unposted = _counter("lowtide_alerts_unposted", "alerts that were not posted, and why", "why")
    for why in ("held", "hidden", "silenced"):
        unposted.add_metric([why], bot[why])
    off = _gauge("lowtide_chats_off", "chats that nothing is sent to")
    off.add_metric([], len(bot["off"]))
    troubled = msgspec.convert(bot.get("troubled", []), list[ChatReport])
    late = _gauge("lowtide_critical_wait_seconds", "the longest that something critical waits")
    late.add_metric([], max((chat.critical_ms for chat in troubled), default=0) / 1000)
    return [posts, queued, waiting, unposted, off, late]


def _open(episodes: OpenEpisodes) -> Metric:
    count = _gauge("lowtide_open_episodes", "episodes that are open", "level")
    for level in Level:
        count.add_metric(
            [level.name.lower()], sum(alert.level is level for alert in episodes.episodes)
        )
    return count
