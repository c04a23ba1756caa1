"""Rows of venues → the series of metrics, each value made only of what was known by then.

A value over a window needs a row at its start: so rows each 4 h give no value over 1 h. What is
assumed where history says less than live feeds do is in docs/backtest.md.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bot.backtest.rows import (
    EVERY_VENUE,
    EVERYONE,
    LOOK_BACK,
    MARKS,
    Numbers,
    RowForm,
    RowPart,
    Rows,
    RowSource,
    VenueChoice,
    united,
)
from bot.backtest.series import (
    Chunk,
    RecordedSeries,
    SeriesKey,
    Times,
    add_series,
    cut,
    rows_where,
    series_of,
)
from bot.lang import ENGLISH
from rules.alerts import ALL, CAUSES
from rules.cause import cause
from rules.market import FORGET_AFTER
from rules.metric import LEAST_SHARE
from rules.metrics import logged
from rules.metrics.cause import cause_metric
from rules.metrics.depth import RECENT, RECENT_READY
from rules.metrics.funding import SETTLED_LATE
from rules.metrics.market_wide import least_coins
from rules.snapshot import PRICE
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Ms

_NORMAL_DAYS = 14
_READY_DAYS = 5
_USUAL_FOR: Ms = 30 * DAY
"""So long what a venue held when it was last heard counts as usual: longer than any outage or hole
of a file, shorter than a venue that closed should weigh on the others."""


def add_where_silent(
    known_series: dict[SeriesKey, RecordedSeries], series: dict[SeriesKey, RecordedSeries]
) -> dict[SeriesKey, Times]:
    """Adds the rows at moments at which ``known_series`` is silent: one source speaks at a time.
    The moments at which rows were added.

    A source is silent from one and a half of its steps after its last row, so whether another one
    may speak is known at that moment and does not depend on what comes later.
    """
    added: dict[SeriesKey, Times] = {}
    for place, other in series.items():
        known = known_series.get(place)
        if known is None:
            known_series[place] = other
            added[place] = other.at
            continue
        last = np.searchsorted(known.at, other.at, "right") - 1
        silent = (last < 0) | (other.at - known.at[last] > known.step[last] * 3 // 2)
        if silent.any():
            add_series(Chunk(0, 0, known_series), {place: rows_where(other, silent)})
            added[place] = other.at[silent]
    return added


def starts(at: Times, window: Ms) -> NDArray[np.intp]:
    """For each row that at the start of the window which it ends, -1 where there is none.

    One that is older than the start by more than a quarter of the window is none.
    """
    first = np.searchsorted(at, at - window, "right") - 1
    return np.where((first >= 0) & (at - window - at[first] <= window // 4), first, -1)


def both_ends(
    rows: Rows, at: Times, window: Ms
) -> tuple[Numbers, Numbers, Numbers, Numbers, Numbers]:
    """Coins before and after, USD before, the step, and the usual coins, at each moment.

    Usual is what the newest row said, also when it is old: a venue that is not heard still holds
    its contracts.
    """
    last = rows.newest(at)
    age = at - rows.at[last]
    fresh = (last >= 0) & (age <= np.maximum(rows.step[last] * 3 // 2, MINUTE))
    first = starts(rows.at, window)[last]
    base, usd = rows.numbers["base"], rows.numbers["usd"]
    known = fresh & (first >= 0)
    usual = np.where((last >= 0) & (age <= _USUAL_FOR), base[last], np.nan)
    before, after, held = base[first], base[last], usd[first]
    return (
        np.where(known, before, np.nan),
        np.where(known, after, np.nan),
        np.where(known, held, np.nan),
        np.where(known, rows.step[last], np.nan),
        usual,
    )


def normally(at: Times, step: Times, usd: Numbers) -> tuple[Numbers, Numbers]:
    """What is there, and the median of the last 14 days within an hour of this hour of day; NaN
    before 5 days. Told anew with the first row of each hour, as live does."""
    normal = np.full(len(at), np.nan)
    firsts = np.flatnonzero(np.diff(at // HOUR, prepend=-1))
    for n, end in pairwise([*firsts.tolist(), len(at)]):
        now = int(at[n])
        first = int(np.searchsorted(at, now - _NORMAL_DAYS * DAY))
        before: Times = at[first:n]
        apart: Times = (before - now) % DAY
        near = ((apart <= HOUR) | (apart >= DAY - HOUR)) & ~np.isnan(usd[first:n])
        kept: Times = before[near] // DAY
        days: set[int] = {*kept.tolist()}
        if len(days) >= _READY_DAYS:
            normal[n:end] = np.median(usd[first:n][near])
    return usd, normal


def recently(at: Times, step: Times, usd: Numbers) -> tuple[Numbers, Numbers]:
    """The median of the last minute's samples, two at least, and that of the minute medians of the
    last 4 h; NaN before half an hour of them, and where samples are farther apart than a minute.

    As live, but that the normal of an episode that is open is not held.
    """
    current, normal = np.full(len(at), np.nan), np.full(len(at), np.nan)
    known = ~np.isnan(usd) & (step <= MINUTE)
    at, rows, usd = at[known], np.flatnonzero(known), usd[known]
    begins = np.searchsorted(at, at - MINUTE, "right")
    firsts = np.flatnonzero(np.diff(at // MINUTE, prepend=-1))
    minutes, medians = at[firsts] // MINUTE, np.zeros(len(firsts))
    oldest_of = np.searchsorted(minutes, minutes - RECENT // MINUTE).tolist()
    for place, (n, end) in enumerate(pairwise([*firsts.tolist(), len(at)])):
        medians[place] = np.median(usd[n:end])
        oldest = oldest_of[place]
        if place - oldest >= RECENT_READY:
            normal[rows[n:end]] = np.median(medians[oldest:place])
        for row in range(n, end):
            if row > begins[row]:
                current[rows[row]] = np.median(usd[begins[row] : row + 1])
    return current, normal


def pct_8h(rows: Rows) -> Numbers:
    return 100 * rows.numbers["rate"] * 8 / rows.numbers["interval_h"]


def known_values(
    name: str,
    asset: str,
    at: Times,
    value: Numbers,
    step: Times | None = None,
    floor: Numbers | None = None,
) -> dict[SeriesKey, RecordedSeries]:
    """The rows that have a value, nothing if none has."""
    known = ~np.isnan(value)
    if not known.any():
        return {}
    least = np.full(len(at), np.inf) if floor is None else floor
    stated = None if step is None else step[known]
    return {SeriesKey(name, asset): series_of(at[known], value[known], stated, least[known])}


def with_settlements(
    name: str, asset: str, at: Times, pct: Numbers, settled: Times, hours: Numbers
) -> dict[SeriesKey, RecordedSeries]:
    series = series_of(at, pct, (hours * HOUR).astype(np.int64), np.full(len(at), np.inf))
    series.settled = ((at - settled) / MINUTE).astype(np.float32)
    series.interval = (60 * hours).astype(np.float32)
    return {SeriesKey(name, asset): series}


LEAST_CONTRACTS = 20
"""A share of fewer contracts is not one of the market."""


_KINDS: dict[str, tuple[RowForm, ...]] = {
    "funding": (RowForm.FUNDING_SETTLED, RowForm.FUNDING_PREDICTED),
    "oi": (RowForm.OPEN_INTEREST,),
    "price": (RowForm.PRICE_BARS,),
    "liq": (RowForm.LIQUIDATIONS,),
    "depth": (RowForm.DEPTH,),
    "cause": (RowForm.OPEN_INTEREST,),
}
"""The first word of a metric's name → the rows that it is made of."""

_OF_MARKET = ("oi_total", "funding_negative", "price_down_share")
"""How the metrics of all assets together begin."""


class History:
    """Rows of venues as a source of series of ``metrics`` and of prices.

    ``venues``: in the order of the configuration; others count for open interest only. An asset is
    read at a time, and of its rows those of a piece of time and what ``LOOK_BACK`` says before it.
    """

    def __init__(
        self,
        sources: Sequence[RowSource],
        venues: Sequence[str],
        metrics: Sequence[str],
        falls: Mapping[str, Mapping[str, float]] = {},
        chosen: VenueChoice = EVERY_VENUE,
    ) -> None:
        self._chosen = chosen
        self._falls = falls
        self._sources = tuple(sources)
        self._venues = tuple(venues)
        self._metrics = tuple(dict.fromkeys(metrics))
        self._heard: dict[RowForm, _Heard] = {}
        self._spoke: dict[str, dict[str, set[int]]] = {}

    def span(self) -> tuple[Ms, Ms] | None:
        """When the first and the last row are known."""
        spans = [span for source in self._sources if (span := source.span()) is not None]
        if not spans:
            return None
        return min(first for first, _ in spans), max(last for _, last in spans)

    def edges(self) -> Collection[Ms]:
        """Time may be cut anywhere."""
        return ()

    def assets(self, start: Ms, end: Ms) -> Collection[str]:
        """All that rows are of, and ALL if a metric is of the market."""
        names = {name: None for source in self._sources for name in source.assets()}
        if names and any(name.startswith(_OF_MARKET) for name in self._metrics):
            names[ALL] = None
        return names.keys()

    def read(self, asset: str, start: Ms, end: Ms) -> dict[SeriesKey, RecordedSeries]:
        """The series of an asset from ``start`` to before ``end``."""
        chunk = Chunk(start, end, {})
        of_market = [name for name in self._metrics if name.startswith(_OF_MARKET)]
        if asset == ALL:
            for name in of_market:
                add_series(chunk, self._of_market(name, start, end))
        else:
            rows = self._rows(asset, start, end)
            add_series(chunk, rows.prices())
            for name in self._metrics:
                if name not in of_market:
                    add_series(chunk, rows.of(name))
        return cut(chunk.series, start, end).series

    def spoke(self) -> Mapping[str, Mapping[str, set[int]]]:
        """By metric and venue, the days (since the epoch) on which the venue took part in a value,
        of what was read so far."""
        return self._spoke

    def note(self, name: str, venue: str, at: Times, start: Ms, end: Ms) -> None:
        """A venue takes part in values of a metric at these moments, if they are in the piece."""
        days = np.unique(at[(at >= start) & (at < end)] // DAY).tolist()
        if days:
            self._spoke.setdefault(name, {}).setdefault(venue, set()).update(days)

    def note_as(self, name: str, of: str, series: Mapping[SeriesKey, RecordedSeries]) -> None:
        """``series`` of a metric are made of what is noted of another one."""
        for recorded in series.values():
            on = {*np.unique(recorded.at // DAY).tolist()}
            for venue, days in self._spoke.get(of, {}).items():
                if days & on:
                    self._spoke.setdefault(name, {}).setdefault(venue, set()).update(days & on)

    def why(self) -> dict[str, str]:
        """Why a metric has no values, of what was read so far, by its name."""
        return {name: self._why(name) for name in self._metrics}

    def _rows(self, asset: str, start: Ms, end: Ms) -> "_AssetRows":
        return _AssetRows(self, asset, self._venues, start, end)

    def parts(self, form: RowForm, asset: str, start: Ms, end: Ms) -> list[RowPart]:
        """The rows of a form, each venue and scope once, the finest scope of a venue first."""
        same: dict[tuple[str, str], list[RowPart]] = {}
        for source in self._sources:
            for part in source.parts(form, asset, start, end):
                if not self._chosen.keeps(part.venue):
                    continue
                same.setdefault((part.venue, part.scope), []).append(part)
        united_parts = [
            alike[0] if len(alike) == 1 else alike[0]._replace(rows=united(alike))
            for alike in same.values()
        ]
        for part in united_parts:
            self._heard.setdefault(form, _Heard()).note(part)
        return sorted(united_parts, key=lambda part: int(part.rows.step[0]))

    def _of_market(self, name: str, start: Ms, end: Ms) -> dict[SeriesKey, RecordedSeries]:
        assets = [asset for asset in self.assets(start, end) if asset != ALL]
        each = (self._rows(asset, start, end) for asset in assets)
        window = logged(name).window
        if name.startswith("price_down_share"):
            falls = self._falls.get(name, {})
            moves = f"price_{(window or 0) // MINUTE}m_pct"
            series = _down_share(name, moves, falls, [a for a in each if a.asset in falls])
            self.note_as(name, moves, cut(series, start, end).series)
            return series
        if window:
            series = _total(f"{name} by coin", name, window, each)
            self.note_as(name, f"{name} by coin", cut(series, start, end).series)
            return series
        return self._negative_share(name, each, start, end)

    def _negative_share(
        self, name: str, each: Iterable["_AssetRows"], start: Ms, end: Ms
    ) -> dict[SeriesKey, RecordedSeries]:
        """Of contracts of the configured venues, at moments at which enough of them are known."""
        contracts = [
            (venue, rows)
            for of_asset in each
            for venue, rows in of_asset.of_venues(RowForm.FUNDING_SETTLED).items()
            if venue in self._venues
        ]
        if not contracts:
            return {}
        at = np.unique(np.concatenate([rows.at for _, rows in contracts]))
        known, negative = np.zeros(len(at)), np.zeros(len(at))
        by_venue: dict[str, NDArray[np.bool_]] = {}
        for venue, rows in contracts:
            last = rows.newest(at)
            due = rows.at[last] + (rows.numbers["interval_h"][last] * HOUR).astype(np.int64)
            live = (last >= 0) & (at <= due + SETTLED_LATE)
            known += live
            negative += live & (rows.numbers["rate"][last] < 0)
            by_venue[venue] = by_venue.get(venue, np.zeros(len(at), np.bool_)) | live
        enough = known >= LEAST_CONTRACTS
        for venue, live in by_venue.items():
            self.note(name, venue, at[live & enough], start, end)
        pct = 100 * negative[enough] / known[enough]
        return known_values(name, ALL, at[enough], pct)

    def _why(self, name: str) -> str:
        kind, window = name.partition("_")[0], logged(name).window or 0
        heard = [self._heard[form] for form in _KINDS.get(kind, ()) if form in self._heard]
        if not _is_derived(name):
            return "history has no samples close enough for it" if heard else NO_DATA
        if kind == "funding":
            return self._why_no_funding(name)
        if not heard:
            return NO_DATA
        of_kind = heard[0]
        # of open interest what speaks for an asset, the rest only adds to it
        speaks = (EVERYONE, *self._venues[:1]) if kind in ("oi", "cause") else ()
        speaking = [venue for venue in speaks if venue in of_kind.venues]
        length, best = of_kind.length(speaking), of_kind.finest_step(speaking)
        apart = f"the data come each {ENGLISH.length(best)} at best, which is too coarse"
        if kind == "depth":
            band = int(re.findall(r"\d+", name)[0])
            if band not in of_kind.bands:
                return f"the data are of {', '.join(map(str, sorted(of_kind.bands)))} bp"
            if name.endswith("_pct_of_normal"):
                return "less than five days of it"
            ready = ENGLISH.length(RECENT_READY * MINUTE)
            return apart if best > MINUTE else f"less than {ready} of it"
        if best > window:
            return f"{apart} for its window"
        if length < window:
            return f"there are {ENGLISH.length(length)} of it, which is shorter than its window"
        if kind == "liq":
            return "its bars cannot be put together to its window"
        if name.startswith("price_down_share"):
            return f"fewer than {least_coins(self._falls.get(name, {}))} of its coins have prices"
        if kind == "price":
            return "no two prices are one window apart"
        return self._why_no_interest(name, of_kind)

    def _why_no_funding(self, name: str) -> str:
        """Of which rates nothing could be said."""
        predicted = name.startswith("funding_predicted")
        form = RowForm.FUNDING_PREDICTED if predicted else RowForm.FUNDING_SETTLED
        heard = self._heard.get(form)
        if heard is None:
            return NO_DATA
        if not heard.venues & {*self._venues}:
            return f"it is of {', '.join(sorted(heard.venues))}, which the configuration has not"
        if name.startswith("funding_negative"):
            return f"fewer than {LEAST_CONTRACTS} contracts of it at a time"
        return (
            f"it is not of {self._venues[0]}, and open interest to weigh the others by is missing"
        )

    def _why_no_interest(self, name: str, heard: "_Heard") -> str:
        if not heard.coins and RowForm.PRICE_BARS not in self._heard:
            return "it is in USD alone, and no prices are there to make coins of it"
        if name.startswith("cause") and RowForm.PRICE_BARS not in self._heard:
            return "no prices beside it"
        if not heard.venues & {EVERYONE, *self._venues[:1]}:
            few = ", ".join(sorted(heard.venues))
            first = self._venues[0] if self._venues else "the first configured venue"
            return f"it is of {few} alone: only {first} or a sum over all speaks for an asset"
        if name.startswith("oi_total") and heard.assets < 3:
            return "fewer than three assets are known at a time"
        return "too little of what is usually held is known at both ends of its window"


NO_DATA = "no data of this kind"


class _Heard:
    """What was read of one form: the steps, venues, bands and how long it is."""

    def __init__(self) -> None:
        self.bands: set[int] = set()
        self.coins = False
        """Whether open interest is given in coins anywhere."""
        self._steps: dict[str, set[Ms]] = {}
        self._ends: dict[tuple[str, str], tuple[Ms, Ms]] = {}

    def note(self, part: RowPart) -> None:
        """Rows were read."""
        if not len(part.rows.at):
            return
        self._steps.setdefault(part.venue, set()).update(np.unique(part.rows.step).tolist())
        key, first, last = (part.venue, part.asset), int(part.rows.at[0]), int(part.rows.at[-1])
        known = self._ends.get(key, (first, last))
        self._ends[key] = min(first, known[0]), max(last, known[1])
        if part.form is RowForm.DEPTH:
            self.bands.update(np.unique(part.rows.numbers["band_bp"]).astype(int).tolist())
        if part.form is RowForm.OPEN_INTEREST:
            self.coins |= not bool(np.isnan(part.rows.numbers["oi_base"]).all())

    @property
    def venues(self) -> set[str]:
        """Whose rows they are."""
        return {*self._steps}

    def finest_step(self, venues: Collection[str] = ()) -> Ms:
        """How far rows are apart at best, of these venues or of all; 0: they do not say."""
        steps = (self._steps[venue] for venue in venues or self._steps)
        return min((step for known in steps for step in known if step > 0), default=0)

    def length(self, venues: Collection[str] = ()) -> Ms:
        """From the first to the last row of one asset at one of these venues, the longest."""
        ends = ((v, first, last) for (v, _), (first, last) in self._ends.items())
        return max(
            (last - first for v, first, last in ends if not venues or v in venues), default=0
        )

    @property
    def assets(self) -> int:
        """Of how many assets there are rows."""
        return len({asset for _, asset in self._ends})


def _is_derived(name: str) -> bool:
    """Whether rows can give the metric at all."""
    return _kind(name) in _AssetRows.DERIVED or name.startswith(_OF_MARKET)


def _kind(name: str) -> str:
    """The name of a metric without its window or band."""
    return name if name.startswith("funding") else re.sub(r"_\d+[a-z]+(_|$)", r"\1", name)


class _AssetRows:
    """The rows of one asset in a piece of time, and the series made of them."""

    DERIVED = frozenset(
        {
            "funding_8h_pct", "funding_predicted_8h_pct", "oi_net_pct", "price_pct", "liq_musd",
            "depth_pct_of_normal", "depth_pct_of_recent", "cause",
        }
    )  # fmt: skip

    def __init__(
        self, history: History, asset: str, venues: Sequence[str], start: Ms, end: Ms
    ) -> None:
        self.asset = asset
        self._history = history
        self._venues = tuple(venues)
        self._start, self._end = start, end
        self._parts: dict[tuple[RowForm, Ms], list[RowPart]] = {}

    def parts(self, form: RowForm, back: Ms | None = None) -> list[RowPart]:
        """The rows of a form, those of ``back`` before the piece among them."""
        key = form, LOOK_BACK[form] if back is None else back
        if key not in self._parts:
            parts = self._history.parts(form, self.asset, self._start - key[1], self._end)
            self._parts[key] = parts
        return self._parts[key]

    def of_venues(self, form: RowForm) -> dict[str, Rows]:
        """Of each venue the rows of all its scopes together."""
        scopes: dict[str, list[RowPart]] = {}
        for part in self.parts(form):
            scopes.setdefault(part.venue, []).append(part)
        return {venue: united(parts) for venue, parts in scopes.items()}

    def of(self, name: str) -> dict[SeriesKey, RecordedSeries]:
        """The series of a metric, nothing if these rows cannot give it."""
        window = logged(name).window
        match _kind(name):
            case "funding_8h_pct":
                return self._settled(name)
            case "funding_predicted_8h_pct":
                return self._estimates(name)
            case "oi_net_pct" if window:
                return self._net(name, window)
            case "price_pct" if window:
                return self._moves(name, window)
            case "cause" if window:
                return self._causes(name, window)
            case "liq_musd" if window:
                return self._liquidated(name, window)
            case "depth_pct_of_normal":
                return self._thinned(name, normally)
            case "depth_pct_of_recent":
                return self._thinned(name, recently)
            case _:
                return {}

    def prices(self, back: Ms | None = None) -> dict[SeriesKey, RecordedSeries]:
        """The price: one venue speaks at a time."""
        series: dict[SeriesKey, RecordedSeries] = {}
        for part in self._in_order(self.parts(RowForm.PRICE_BARS, back)):
            rows = part.rows
            close = series_of(rows.at, rows.numbers["close"], rows.step)
            self._add(series, part.venue, {SeriesKey(PRICE, self.asset): close})
        return series

    def _add(
        self,
        series: dict[SeriesKey, RecordedSeries],
        venue: str,
        of_venue: dict[SeriesKey, RecordedSeries],
    ) -> None:
        """What a venue says, where those before it are silent."""
        for place, at in add_where_silent(series, of_venue).items():
            self._note(place.metric, venue, at)

    def _note(self, name: str, venue: str, at: Times) -> None:
        self._history.note(name, venue, at, self._start, self._end)

    def _in_order(self, parts: Sequence[RowPart]) -> list[RowPart]:
        """By the order of venues, mark prices before trades; venues that are not configured come
        last."""
        rank = {venue: n for n, venue in enumerate(self._venues)}

        def place(part: RowPart) -> tuple[int, str, bool]:
            return rank.get(part.venue, len(rank)), part.venue, part.scope != MARKS

        return sorted(parts, key=place)

    def _moves(self, name: str, window: Ms) -> dict[SeriesKey, RecordedSeries]:
        series: dict[SeriesKey, RecordedSeries] = {}
        for part in self._in_order(self.parts(RowForm.PRICE_BARS)):
            rows = part.rows
            first = starts(rows.at, window)
            # the price at a bar's low was compared with one that was no lower than the low then
            ends = {
                edge: np.where(first < 0, np.nan, 100 * (x / x[first] - 1))
                for edge, x in rows.numbers.items()
                if edge in ("close", "low", "high")
            }
            moves = known_values(name, self.asset, rows.at, ends["close"], rows.step)
            for move in moves.values():
                known = ~np.isnan(ends["close"])
                move.low = np.fmin(move.value, ends["low"][known].astype(np.float32))
                move.high = np.fmax(move.value, ends["high"][known].astype(np.float32))
            self._add(series, part.venue, moves)
        return series

    def _net(self, name: str, window: Ms) -> dict[SeriesKey, RecordedSeries]:
        at, before, after, usd, step = self.ends(name, window)
        with np.errstate(divide="ignore", invalid="ignore"):
            pct = 100 * (after - before) / before
        return known_values(name, self.asset, at, pct, step, usd / 1e6)

    def _causes(self, name: str, window: Ms) -> dict[SeriesKey, RecordedSeries]:
        """From the signs of price and open interest alone, at the moments of the latter."""
        of = cause_metric(window)
        moved = self._moves(of.moves.name, window).get(SeriesKey(of.moves.name, self.asset))
        held = self._net(of.interest.name, window).get(SeriesKey(of.interest.name, self.asset))
        if moved is None or held is None:
            return {}
        last = np.searchsorted(moved.at, held.at, "right") - 1
        known = (last >= 0) & (held.at - moved.at[last] <= moved.step[last] * 3 // 2)
        numbers = [
            float(CAUSES.index(cause(window, float(price), float(interest)))) if live else np.nan
            for price, interest, live in zip(moved.value[last], held.value, known, strict=True)
        ]
        causes = known_values(name, self.asset, held.at, np.array(numbers), held.step)
        inside = cut(causes, self._start, self._end).series
        self._history.note_as(name, of.interest.name, inside)
        return causes

    def ends(self, name: str, window: Ms) -> tuple[Times, Numbers, Numbers, Numbers, Times]:
        """Coins at both ends of the window, USD at its start, NaN where they cannot be said; and
        the longest step of those that speak.

        The sum over all venues where it is known at both ends, else those venues that are, if they
        hold enough of what is usual: of what the venues that were read held, if the first
        configured one is among them, as live; else of the sum. All of it is what was known at that
        moment.
        """
        venues: dict[str, list[Rows]] = {}
        for part in self.parts(RowForm.OPEN_INTEREST):
            if len((coins := self._coins(part.rows)).at):
                venues.setdefault(part.venue, []).append(coins)
        times = [rows.at for scopes in venues.values() for rows in scopes]
        at = np.unique(np.concatenate([np.zeros(0, np.int64), *times]))
        sums = {name: np.zeros(len(at)) for name in ("before", "after", "usd", "usual")}
        steps = np.zeros(len(at))
        whole: tuple[Numbers, Numbers, Numbers, Numbers] | None = None
        total = np.zeros(len(at))
        heard: dict[str, NDArray[np.bool_]] = {}
        speaks = np.zeros(len(at), np.bool_)  # one small venue is not the asset
        led = np.zeros(len(at), np.bool_)
        for venue, scopes in venues.items():
            before, after, usd, step, usual = _venue_ends(scopes, at, window)
            if venue in (EVERYONE, *self._venues[:1]):
                speaks |= ~np.isnan(usual)
                if venue != EVERYONE:
                    led |= ~np.isnan(usual)
            if venue == EVERYONE:
                whole, total = (before, after, usd, step), np.nan_to_num(usual)
                continue
            known = heard[venue] = ~np.isnan(before)
            steps = np.fmax(steps, step)
            for key, part in (("before", before), ("after", after), ("usd", usd)):
                sums[key] += np.where(known, part, 0)
            sums["usual"] += np.nan_to_num(usual)
        usual = np.where((total > 0) & ~led, total, sums["usual"])
        enough = speaks & (sums["before"] > 0) & (sums["after"] >= LEAST_SHARE * usual)
        ends = [np.where(enough, sums[key], np.nan) for key in ("before", "after", "usd")]
        ends.append(steps)
        if whole is not None:
            self._note(name, EVERYONE, at[~np.isnan(whole[0])])
            enough &= np.isnan(whole[0])
        for venue, known in heard.items():
            self._note(name, venue, at[known & enough])
        if whole is not None:
            ends = [np.where(np.isnan(whole[0]), e, w) for e, w in zip(ends, whole, strict=True)]
        return at, ends[0], ends[1], ends[2], ends[3].astype(np.int64)

    def _coins(self, rows: Rows) -> Rows:
        """Rows whose coins are known: where only USD were given, by the price of that moment."""
        base, usd = rows.numbers["oi_base"], rows.numbers["oi_usd"]
        prices = None
        if np.isnan(base).any():
            back = LOOK_BACK[RowForm.OPEN_INTEREST] + 2 * HOUR
            prices = self.prices(back).get(SeriesKey(PRICE, self.asset))
        if prices is not None:
            last = np.searchsorted(prices.at, rows.at, "right") - 1
            fresh = (last >= 0) & (rows.at - prices.at[last] <= 2 * HOUR)
            base = np.where(np.isnan(base) & fresh, usd / prices.value[last], base)
        known = base > 0
        return Rows(rows.at[known], rows.step[known], {"base": base[known], "usd": usd[known]})

    def _settled(self, name: str) -> dict[SeriesKey, RecordedSeries]:
        funding = self.of_venues(RowForm.FUNDING_SETTLED)
        series = self._weighted(name, funding)
        for venue in self._venues[:1]:  # of unknown weight, the first speaks for all
            if (rows := funding.get(venue)) is not None:
                hours = rows.numbers["interval_h"]
                alone = with_settlements(name, self.asset, rows.at, pct_8h(rows), rows.at, hours)
                self._add(series, venue, alone)
        return series

    def _weighted(self, name: str, funding: dict[str, Rows]) -> dict[SeriesKey, RecordedSeries]:
        """Weighted by open interest, at moments at which that of all venues is known that settled
        in the last 30 days. A venue of which nothing was heard yet is none.
        """
        rates = {venue: funding[venue] for venue in self._venues if venue in funding}
        at = np.unique(np.concatenate([np.zeros(0, np.int64), *(r.at for r in rates.values())]))
        total, mean, largest = (np.zeros(len(at)) for _ in range(3))
        settled, hours = np.zeros(len(at), np.int64), np.full(len(at), 8.0)
        newest = np.zeros(len(at), np.int64)
        weighed: dict[str, NDArray[np.bool_]] = {}
        for rows in rates.values():
            last = rows.newest(at)
            newest = np.maximum(newest, np.where(last >= 0, rows.at[last], 0))
        for venue, rows in rates.items():
            last = rows.newest(at)
            interval = rows.numbers["interval_h"][last]
            due = rows.at[last] + (interval * HOUR).astype(np.int64)
            weight = self._held_usd(venue, at)
            weight[(at > due + SETTLED_LATE) | (due <= newest + MINUTE)] = np.nan
            weight[(last < 0) | (at - rows.at[last] > _USUAL_FOR)] = 0
            weighed[venue] = weight > 0
            total, mean = total + weight, mean + weight * pct_8h(rows)[last]
            most = weight > largest
            largest = np.where(most, weight, largest)
            settled, hours = np.where(most, rows.at[last], settled), np.where(most, interval, hours)
        known = total > 0
        if not known.any():
            return {}
        for venue, weighs in weighed.items():
            self._note(name, venue, at[known & weighs])
        columns = (at[known], mean[known] / total[known], settled[known], hours[known])
        return with_settlements(name, self.asset, *columns)

    def _held_usd(self, venue: str, at: Times) -> Numbers:
        """The newest open interest of a venue in USD, whatever its scope; NaN where nothing was
        heard in the last 30 days."""
        usd, newest_at = np.full(len(at), np.nan), at - _USUAL_FOR - 1
        for part in self.parts(RowForm.OPEN_INTEREST):
            if part.venue == venue:
                last = part.rows.newest(at)
                when = np.where(last >= 0, part.rows.at[last], -1)
                newer = when > newest_at
                usd[newer] = part.rows.numbers["oi_usd"][last[newer]]
                newest_at[newer] = when[newer]
        return usd

    def _estimates(self, name: str) -> dict[SeriesKey, RecordedSeries]:
        series: dict[SeriesKey, RecordedSeries] = {}
        for part in self._in_order(self.parts(RowForm.FUNDING_PREDICTED)):
            pct = 100 * part.rows.numbers["rate_8h_close"]
            estimates = known_values(name, self.asset, part.rows.at, pct)
            self._add(series, part.venue, estimates)
        return series

    def _liquidated(self, name: str, window: Ms) -> dict[SeriesKey, RecordedSeries]:
        series: dict[SeriesKey, RecordedSeries] = {}
        for part in self._in_order(self.parts(RowForm.LIQUIDATIONS)):
            rows = part.rows
            musd = (rows.numbers["long_usd"] + rows.numbers["short_usd"]) / 1e6
            for width in sorted({*rows.step.tolist()} - {0}):
                if window % width == 0:
                    bars = rows.step == width
                    sums = _summed(name, self.asset, rows.at[bars], musd[bars], window, width)
                    self._add(series, part.venue, sums)
        return series

    def _thinned(
        self, name: str, usual: Callable[[Times, Times, Numbers], tuple[Numbers, Numbers]]
    ) -> dict[SeriesKey, RecordedSeries]:
        band = int(re.findall(r"\d+", name)[0])
        series: dict[SeriesKey, RecordedSeries] = {}
        for part in self._in_order(self.parts(RowForm.DEPTH)):
            right = part.rows.numbers["band_bp"] == band
            usd = (part.rows.numbers["bid_usd"] + part.rows.numbers["ask_usd"])[right]
            at, steps = part.rows.at[right], part.rows.step[right]
            current, normal = usual(at, steps, usd)
            with np.errstate(divide="ignore", invalid="ignore"):
                pct, lost = 100 * current / normal, (normal - current) / 1e6
            pct[~(normal > 0)] = np.nan
            self._add(series, part.venue, known_values(name, self.asset, at, pct, steps, lost))
        return series


def _down_share(
    name: str, moves: str, falls: Mapping[str, float], each: Sequence["_AssetRows"]
) -> dict[SeriesKey, RecordedSeries]:
    """Of the assets heard of in the day before; where the price of one is not known, a lower bound.
    As live, nothing where these are too few (``least_coins``)."""
    rows = {a.asset: moved for a in each for moved in a.of(moves).values()}
    if not rows:
        return {}
    at = np.unique(np.concatenate([moved.at for moved in rows.values()]))
    step = np.zeros(len(at), np.int64)
    fallen, dipped, live, heard = (np.zeros(len(at)) for _ in range(4))
    for asset, moved in rows.items():
        last = np.searchsorted(moved.at, at, "right") - 1
        age = at - moved.at[last]
        heard += (last >= 0) & (age < np.maximum(FORGET_AFTER, moved.step[last] * 3 // 2))
        known = (last >= 0) & (age < moved.step[last] * 3 // 2)
        live += known
        fallen += known & (moved.value[last] <= -falls[asset])
        dipped += known & (moved.low[last] <= -falls[asset])
        step = np.maximum(step, np.where(known, moved.step[last], 0))
    enough = heard >= least_coins(falls)
    if not enough.any():
        return {}
    fallen, dipped, live, heard = (x[enough] for x in (fallen, dipped, live, heard))
    series = series_of(at[enough], 100 * fallen / heard, step[enough])
    series.high = (100 * dipped / heard).astype(np.float32)
    few = live < LEAST_SHARE * heard
    series.bound = np.where(few, 2, np.where(live < heard, 1, np.nan)).astype(np.float32)
    return {SeriesKey(name, ALL): series}


def _total(
    by_coin: str, name: str, window: Ms, each: Iterable[_AssetRows]
) -> dict[SeriesKey, RecordedSeries]:
    """All assets together, at moments at which at least three of them are known.

    ``by_coin``: under which name it is noted who speaks of each.
    """
    moved: dict[int, float] = {}
    held: dict[int, float] = {}
    count: dict[int, int] = {}
    longest: dict[int, Ms] = {}
    for of_asset in each:
        at, before, after, usd, step = of_asset.ends(by_coin, window)
        known = ~np.isnan(before)
        columns = (column[known].tolist() for column in (at, before, after, usd, step))
        for t, b, a, u, s in zip(*columns, strict=True):
            longest[t] = max(s, longest.get(t, 0))
            moved[t] = moved.get(t, 0.0) + (a - b) / b * u
            held[t] = held.get(t, 0.0) + u
            count[t] = count.get(t, 0) + 1
    times = sorted(t for t, n in count.items() if n >= 3)
    pct = np.array([100 * moved[t] / held[t] for t in times])
    musd = np.array([held[t] / 1e6 for t in times])
    step = np.array([longest[t] for t in times], np.int64)
    return known_values(name, ALL, np.array(times, np.int64), pct, step, musd)


def _venue_ends(
    scopes: Sequence[Rows], at: Times, window: Ms
) -> tuple[Numbers, Numbers, Numbers, Numbers, Numbers]:
    """As ``both_ends``: of the first scope that knows them; usual is what was heard last of any."""
    before, after, usd, step, usual = (np.full(len(at), np.nan) for _ in range(5))
    newest_at = np.full(len(at), -1)
    for rows in scopes:
        *ends, newest = both_ends(rows, at, window)
        take = np.isnan(before) & ~np.isnan(ends[0])
        for column, end in zip((before, after, usd, step), ends, strict=True):
            column[take] = end[take]
        last = rows.newest(at)
        when = np.where(last >= 0, rows.at[last], -1)
        newer = (when > newest_at) & ~np.isnan(newest)
        usual[newer], newest_at[newer] = newest[newer], when[newer]
    usual = np.where(np.isnan(after), usual, after)  # compared with what is counted alike
    return before, after, usd, step, usual


def _summed(
    name: str, asset: str, at: Times, musd: Numbers, window: Ms, width: Ms
) -> dict[SeriesKey, RecordedSeries]:
    """Sums over whole windows of bars of one width."""
    count = window // width
    sums = np.convolve(musd, np.ones(count))[: len(musd)]
    first = np.arange(len(musd)) - (count - 1)
    whole = (first >= 0) & (at - at[first] == (count - 1) * width)
    steps = np.full(int(whole.sum()), width, np.int64)
    return known_values(name, asset, at[whole], sums[whole], steps, sums[whole])
