"""Saved states of earlier versions, turned into those of later ones, on plain data. Pure.

A step takes the lists and dicts that a version wrote and gives those of the next one. It uses no
class of today, since those write today's format. Numbers in bytes are in the machine's byte order.
"""

from array import array
from collections.abc import Callable, Mapping, Sequence
from math import nan
from typing import Any, cast

from streams.durations import MINUTE

Plain = list[Any]


def migrated(dump: object, version: int) -> Plain:
    """``dump``, whose first item is its version, as one of ``version``.

    A later version than that stays as it is. ValueError, LookupError or TypeError if it is none.
    """
    plain = cast("Plain", dump) if isinstance(dump, list) else []
    if not plain or not isinstance(plain[0], int):
        raise ValueError("no version")
    for step in range(plain[0], version):
        plain = [step + 1, *_STEPS[step](plain)[1:]]
    return plain


_RENAMED = {
    ("oi_drop", "oi_net_1h_pct"): ("oi_drop:1h", "oi_net_1h_pct"),
    ("oi_drop_fast", "oi_net_15m_pct"): ("oi_drop:15m", "oi_net_15m_pct"),
    ("depth_thin", "depth_25bp_pct_of_normal"): ("depth_thin:25bp", "depth_25bp_pct_of_recent"),
    ("depth_thin_wide", "depth_100bp_pct_of_normal"): (
        "depth_thin:100bp",
        "depth_100bp_pct_of_recent",
    ),
}
"""Shipped rules and their metrics, before and after windows had a rule of their own. The normal of
the last four hours became ``recent`` when that of the hour of day came."""


def _from_1(old: Plain) -> Plain:
    """The first engine: rules on assets alone, one price an asset, one series a number."""
    version, now, sweep_at, (venues, views), watches, awake = old
    names = {(rule, asset): metric for rule, metric, asset, *_ in watches}
    renamed: Plain = [
        [*_RENAMED.get((rule, metric), (rule, metric)), [asset, ""], {}, True, episode]
        for rule, metric, asset, _, episode in watches
    ]
    roused = [
        [_RENAMED.get((rule, names[rule, asset]), (rule, names[rule, asset]))[1], [asset, ""]]
        for rule, asset in awake
        if (rule, asset) in names
    ]
    memory = [venues, [[asset, _markets(markets, prices, source)]
                       for asset, markets, prices, source in views]]  # fmt: skip
    feeds: Plain = [{}, {}, None, False, 0]
    return [version, now, sweep_at, memory, feeds, renamed, [], [], [], roused, []]


def _markets(markets: Plain, prices: Sequence[Any], source: Sequence[str] | None) -> Plain:
    migrated_markets: Plain = []
    for venue, symbol, oi_base, oi_usd, spread_bp, series in markets:
        priced = source is not None and [venue, symbol] == list(source)
        kept = _prices(*prices) if priced else _prices(b"", [b""])
        rates = [_rate(series.get(f"funding.{name}")) for name in ("settled", "predicted")]
        memos = {
            name: [times, *columns]
            for name, (times, columns) in series.items()
            if name.startswith(("oi.", "liq."))
        }
        memos |= _books(series)
        migrated_markets.append([venue, symbol, oi_base, oi_usd, *rates, spread_bp, kept, memos])
    return migrated_markets


def _rate(series: Sequence[Any] | None) -> list[float] | None:
    """The newest (time, rate, hours) of a series."""
    if not series or not series[0]:
        return None
    times, columns = _columns(series)
    return [times[-1], columns[0][-1], columns[1][-1]]


def _prices(times: bytes, columns: Sequence[bytes]) -> list[bytes]:
    """The newest price and the first one of each 10 s of the last hour."""
    stamps, (prices,) = _columns([times, columns])
    slots: dict[int, float] = {}
    for t, price in zip(stamps, prices, strict=True):
        slots.setdefault(t // 10_000, price)
    return [times[-8:], columns[0][-8:], *_ring(372, slots)]


def _books(series: Mapping[str, Any]) -> dict[str, list[bytes]]:
    """Samples of the last minute, medians of the last 240 minutes; 336 hours not yet observed."""
    books: dict[str, list[bytes]] = {}
    for name, (times, columns) in series.items():
        if name.startswith("depth.") and f"{name}.minutes" in series:
            stamps, (medians,) = _columns(series[f"{name}.minutes"])
            slots = {t // MINUTE: usd for t, usd in zip(stamps, medians, strict=True)}
            books[name] = [times, *columns[:2], *_ring(240, slots), *_ring(336, {})]
    return books


def _ring(size: int, slots: Mapping[int, float]) -> list[bytes]:
    """The number of the newest slot, and 32-bit values, each at its number modulo ``size``."""
    newest = max(slots, default=-1)
    values = array("f", [nan] * size if slots else [])
    for slot, value in slots.items():
        if slot > newest - size:
            values[slot % size] = value
    return [newest.to_bytes(8, "little", signed=True), values.tobytes()]


def _columns(series: Sequence[Any]) -> tuple["array[int]", list["array[float]"]]:
    times, columns = series
    return array("q", times), [array("d", column) for column in columns]


_STEPS: Mapping[int, Callable[[Plain], Plain]] = {1: _from_1}
