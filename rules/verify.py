"""Whether what is heard of venues is what they say by a second way, and what the others say. Pure.

For a command that listens for a minute and tells whoever waits for it: there are no episodes and no
faults here, but rounds. In each round what the venue says by the second way (``checks`` in
``streams.venue``) is held against everything that was heard of the same number in the last
``WINDOW``, so that neither a market that moves nor prints that come late are taken for a
difference. What venues say against each other is compared as ``rules.drift`` does it while Lowtide
runs. A venue is accused of what was so in two rounds, one after the other: of most of its
contracts, or of one that is so far off that no noise explains it.
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from math import inf, log, log10
from statistics import median
from typing import NamedTuple

import msgspec

from rules import drift, likeness
from rules.market import Memory
from streams.durations import MINUTE, SECOND
from streams.events import (
    KINDS,
    AnyEvent,
    Depth,
    FeedState,
    Funding,
    Kind,
    MarketEvent,
    Ms,
    OpenInterest,
    Price,
    Volume,
    length_in_words,
)

WINDOW: Ms = 90 * SECOND
"""A second source may be kept for a minute by the venue before it is made anew."""

STILL_FOR: Ms = 45 * SECOND
"""The slowest prices come each 13 s."""

CLOCK_APART: Ms = 15 * SECOND
"""Whether a clock is behind or everything comes late nobody can say, and some come seconds late.
What is less is told while Lowtide runs, by the quickest of what comes."""

SECOND_OLD: Ms = 20 * MINUTE
"""Statistics are made each 5 minutes."""

_TIMES = 2
"""In so many rounds, one after the other, a difference must be there."""

_SHARE = 0.6
"""Such a part of the contracts must have it, or one must be far off."""

_PRICE_KEEP: Ms = 10 * MINUTE
_TIMED = (Kind.PRICE, Kind.DEPTH, Kind.LIQUIDATION)
_SUM = "all"


class Agreement(StrEnum):
    """What became of a check."""

    OK = "ok"
    DRIFT = "drift"
    NOT_AVAILABLE = "not available"


class CheckRow(msgspec.Struct, frozen=True):
    """One check of one venue."""

    venue: str
    """"": this machine."""
    check: str
    against: str
    """What its numbers are held against."""
    verdict: Agreement
    compared: int = 0
    """Contracts or coins, in the last round."""
    worst: str = ""
    """How far the one furthest off is, in basis points or in words; "" if none is."""
    instrument: str = ""
    """Which one that is."""
    reason: str = ""
    """What is wrong, or why there is nothing to compare."""


class _Number(NamedTuple):
    """A number of which there are two sources."""

    name: str
    kind: Kind
    allowed: float
    """How far it may be from what was heard, as a part of it."""
    per_minute: float = 0.0
    """So much further for each minute that the second source is older."""
    least: float = 0.0
    """How far it may be in any case."""
    far: float = 10.0
    """One contract that is so many times further off than allowed is enough."""


_MARK = _Number("mark price", Kind.PRICE, 0.003, 0.02)
_INDEX = _Number("index price", Kind.PRICE, 0.003, 0.02)
_LAST = _Number("last price", Kind.PRICE, 0.003, 0.02)
_MID = _Number("mid of the book", Kind.DEPTH, 0.003, 0.02)
_DEPTH = _Number("depth of the book", Kind.DEPTH, 2.0, far=8.0)
"""What rests near the mid price doubles and halves within seconds."""
_INTEREST = _Number("open interest", Kind.OPEN_INTEREST, 0.03, 0.06)
_VALUE = _Number("open interest in USD", Kind.OPEN_INTEREST, 0.05, 0.06)
_TOTAL = _Number("sum of open interest in USD", Kind.OPEN_INTEREST, 0.05, 0.06, far=1.0)
_RATE = _Number("funding rate per 8 h", Kind.FUNDING, 0.3, 0.1, least=0.00002, far=3.0)
_INTERVAL = _Number("funding interval", Kind.FUNDING, 0.001, far=1.0)
_TURNOVER = _Number("24 h volume", Kind.VOLUME, 0.1, 0.02)
_NUMBERS = (_MARK, _INDEX, _MID, _DEPTH, _INTEREST, _VALUE, _TOTAL, _RATE, _INTERVAL, _TURNOVER)
_SPOT_NUMBERS = (_LAST, _MID, _DEPTH, _TURNOVER)

INTERVALS = "funding_interval"
"""The key in ``no_second_source`` of a venue whose interval is not said anywhere."""

_SECOND = "second source"
_VENUES = "other venues"
_ITSELF = "itself"
_LISTING = "its listing"
_MOVING = f"{_SECOND}, {_VENUES}"
_OURS = "the venues' clocks"
_SIZES = "contract sizes"
_SEQUENCE = "sequence of the books"
_MOVEMENT = "movement of the mark price"
_SPOT_MOVEMENT = "movement of the last price"
_AGE = "age of the second source"
_CLOCK = "clock"
_LONGER = "price movement"
"""The checks of ``rules.drift`` that take longer than anybody waits."""
_USUAL = "open interest"


class _Second(NamedTuple):
    """What the second source said."""

    value: float
    at: Ms
    seen: Ms


class _Difference(msgspec.Struct):
    """How far one number of one contract is from what the second source says."""

    value: float = 0.0
    """As it was heard, what is nearest to the second source."""
    second: float = 0.0
    off: float = 0.0
    """How many times further off than allowed it is; 0: it was heard just so."""
    rounds: int = 0
    """In how many rounds it was compared."""
    apart: int = 0
    """In how many of the last ones it was further off than allowed."""
    far: int = 0
    """And in how many of those so far that one is enough."""


class _Still(msgspec.Struct):
    """Whether a mark price, of spot a last price, has moved."""

    value: float
    since: Ms
    moved: bool = False

    def take(self, value: float) -> None:
        self.moved = self.moved or value != self.value


class _Judged(msgspec.Struct):
    """A check of a venue as a whole: in how many of the last rounds it did not hold, and what the
    last one showed."""

    apart: int = 0
    row: CheckRow | None = None


_Key = tuple[str, str]
"""Venue and symbol."""


class Verification:
    """Takes what is heard and what second sources say, and judges it round by round."""

    def __init__(
        self, reasons: Mapping[str, Mapping[str, str]], spot: Collection[str] = ()
    ) -> None:
        """``reasons``: of every venue that is listened to, why a kind has no second source.

        ``spot``: which of them are spot markets. They are held against themselves alone.
        """
        self._reasons = reasons
        self._spot = frozenset(spot)
        self._memory = Memory([*reasons], _PRICE_KEEP, {})
        self._heard: dict[tuple[_Key, _Number], deque[tuple[Ms, float]]] = {}
        self._bands: dict[tuple[_Key, int], deque[tuple[Ms, float]]] = {}
        self._still: dict[_Key, _Still] = {}
        self._second_still: dict[_Key, _Still] = {}
        self._assets: dict[_Key, str] = {}
        self._second: dict[tuple[_Key, _Number], _Second] = {}
        self._second_bands: dict[_Key, dict[int, _Second]] = {}
        self._differences: dict[tuple[str, _Number], dict[str, _Difference]] = {}
        self._judged: dict[tuple[str, str, str], _Judged] = {}
        self._failed: dict[str, str] = {}
        self._sizes: dict[str, tuple[int, dict[str, str]]] = {}
        self._gaps: dict[str, list[int]] = {}
        self._books: dict[str, int] = {}
        self._began: Ms | None = None

    # ── what is heard ───────────────────────────────────────────────────

    def take(self, event: AnyEvent) -> None:
        """An event of a feed."""
        if isinstance(event, FeedState):
            self._memory.hear(event, event.seen)
            return
        if not isinstance(event, Price | Depth | OpenInterest | Funding | Volume):
            return
        now, key = event.seen, (event.venue, event.symbol)
        self._began = now if self._began is None else self._began
        self._assets[key] = event.asset
        view = self._memory.view(event.asset)
        half = view.spot if event.spot else view
        market = half.market(*key) or self._memory.meet(view, *key, spot=event.spot)
        kind = KINDS[type(event)]
        market.data(kind, now)
        if event.at != now and kind in _TIMED:
            market.clock.hear(event.at, now)
        if not isinstance(event, Depth):
            market.take(event, now)
        for number, value in _numbers(event):
            _add(self._heard.setdefault((key, number), deque()), now, value)
            if number in (_MARK, _LAST):
                self._still.setdefault(key, _Still(value, now)).take(value)
        if isinstance(event, OpenInterest) and not event.inverse:
            marks = self._heard.get((key, _MARK))
            if marks and event.base:
                _add(self._heard.setdefault((key, _VALUE), deque()), now, event.base * marks[-1][1])
        if isinstance(event, Depth):
            for band in event.bands:
                if band.covered:
                    bands = self._bands.setdefault((key, band.bp), deque())
                    _add(bands, now, band.bid_usd + band.ask_usd)

    def take_second(self, event: MarketEvent) -> None:
        """A fact that the second source says. A book is a Depth, without bands where only its best
        prices are said."""
        key = (event.venue, event.symbol)
        for number, value in _numbers(event):
            if isinstance(event, Depth) and event.bands and (key, number) in self._second:
                continue  # the best prices by themselves are the better word
            if number is _INTERVAL and INTERVALS in self._reasons[event.venue]:
                continue
            self._second[key, number] = _Second(value, event.at, event.seen)
            if number in (_MARK, _LAST):
                self._second_still.setdefault(key, _Still(value, event.seen)).take(value)
        if isinstance(event, OpenInterest) and not event.inverse and event.usd:
            self._second[key, _VALUE] = _Second(event.usd, event.at, event.seen)
        if isinstance(event, Depth) and event.bands:
            self._second_bands[key] = {
                band.bp: _Second(band.bid_usd + band.ask_usd, event.at, event.seen)
                for band in event.bands
                if band.covered
            }

    def take_interval(self, venue: str, symbol: str, hours: float, seen: Ms) -> None:
        """The funding interval in a listing that was read anew."""
        self._second[(venue, symbol), _INTERVAL] = _Second(hours, seen, seen)

    def take_sizes(self, venue: str, compared: int, changed: Mapping[str, str]) -> None:
        """Contracts whose size in a listing that was read anew is not the one that is used, each
        with both in words; ``compared``: of how many."""
        self._sizes[venue] = compared, dict(changed)

    def take_gaps(self, venue: str, gaps: int, books: int) -> None:
        """Gaps in the sequences of a venue's books since the start. ``books``: how many have one,
        0 where each book comes whole."""
        self._gaps.setdefault(venue, []).append(gaps)
        self._books[venue] = books

    def fail(self, venue: str, reason: str) -> None:
        """A request to the second source brought nothing."""
        self._failed[venue] = reason

    # ── rounds ──────────────────────────────────────────────────────────

    def judge(self, now: Ms) -> None:
        """A round is over."""
        for (key, number), second in self._second.items():
            heard = self._heard.get((key, number))
            if heard and now - heard[-1][0] <= WINDOW + MINUTE:
                self._compare(key, number, heard, second)
        for key, bands in self._second_bands.items():
            shared = [bp for bp in bands if self._bands.get((key, bp))]
            heard = self._bands[key, max(shared)] if shared else ()
            if heard and now - heard[-1][0] <= WINDOW + MINUTE:
                self._compare(key, _DEPTH, heard, bands[max(shared)])
        views = [*self._memory.views.values()]
        for _ in likeness.look(views, now):
            pass  # the others of its name are then another asset
        compared = drift.comparable(views, now)
        for venue in self._reasons:
            self._total(venue, now)
            for row in self._of_venue(venue, compared.get(venue, {}), now):
                self._judge(row)
        self._judge_clocks()
        self._second.clear()
        self._second_bands.clear()

    def rows(self) -> list[CheckRow]:
        """The table, as of the last round."""
        table: list[CheckRow] = []
        for venue in self._reasons:
            numbers = _SPOT_NUMBERS if venue in self._spot else _NUMBERS
            table += [self._number_row(venue, number) for number in numbers]
            table += [
                judged.row
                for (whose, *_), judged in self._judged.items()
                if whose == venue and judged.row is not None
            ]
        table += [
            j.row for (whose, *_), j in self._judged.items() if not whose and j.row is not None
        ]
        return table

    # ── one number ──────────────────────────────────────────────────────

    def _compare(
        self,
        key: _Key,
        number: _Number,
        heard: Sequence[tuple[Ms, float]],
        second: _Second,
    ) -> None:
        values = [value for _, value in heard]
        if number is _INTERVAL:
            values = values[-1:]
        low, high = min(values), max(values)
        age = 0.0
        if second.at != second.seen:
            clock = self._memory.venues[key[0]].clock
            age = max(0.0, (clock.time(second.seen) - second.at) / MINUTE)
        near = low if second.value < low else high if second.value > high else second.value
        pick = max if number is _RATE else min  # as a factor, half is as far as twice
        scale = pick(abs(near), abs(second.value))
        allowed = max((number.allowed + number.per_minute * age) * scale, number.least)
        difference, gap = self._difference(key, number), abs(near - second.value)
        difference.value, difference.second = near, second.value
        difference.off = gap / allowed if allowed else inf if gap else 0.0
        difference.rounds += 1
        difference.apart = difference.apart + 1 if difference.off > 1 else 0
        difference.far = difference.far + 1 if difference.off > number.far else 0

    def _difference(self, key: _Key, number: _Number) -> _Difference:
        of_venue = self._differences.setdefault((key[0], number), {})
        return of_venue.setdefault(key[1], _Difference())

    def _total(self, venue: str, now: Ms) -> None:
        """The sum over all contracts of which the second source says the worth."""
        keys = [key for key, number in self._second if number is _VALUE and key[0] == venue]
        shared = [key for key in keys if self._heard.get((key, _VALUE))]
        if len(shared) < 2:
            return
        readings = [self._heard[key, _VALUE] for key in shared]
        sums = [sum(pick(v for _, v in values) for values in readings) for pick in (min, max)]
        second = sum(self._second[key, _VALUE].value for key in shared)
        oldest = min((self._second[key, _VALUE] for key in shared), key=lambda s: s.at - s.seen)
        heard = [(now, total) for total in sums]
        self._compare((venue, _SUM), _TOTAL, heard, oldest._replace(value=second))

    def _number_row(self, venue: str, number: _Number) -> CheckRow:
        differences = {
            symbol: difference
            for symbol, difference in self._differences.get((venue, number), {}).items()
            if difference.rounds >= _TIMES
        }
        if not differences:
            reason = self._why_not(venue, number)
            return CheckRow(venue, number.name, _SECOND, Agreement.NOT_AVAILABLE, reason=reason)
        symbol, worst = max(
            differences.items(), key=lambda item: (item[1].apart >= _TIMES, item[1].off)
        )
        apart = [it for it in differences.values() if it.apart >= _TIMES]
        is_far = any(it.far >= _TIMES for it in apart)
        drifts = is_far or (apart and len(apart) >= _SHARE * len(differences))
        reason = ""
        if drifts:
            reason = f"{len(apart)} of {len(differences)}{_hint(number, apart)}"
        moved = worst.off > 0
        return CheckRow(
            venue,
            number.name,
            _SECOND,
            Agreement.DRIFT if drifts else Agreement.OK,
            len(differences),
            _gap(number, worst) if moved else "",
            symbol if moved else "",
            reason,
        )

    def _why_not(self, venue: str, number: _Number) -> str:
        reasons = self._reasons[venue]
        if number is _INTERVAL and INTERVALS in reasons:
            return reasons[INTERVALS]
        if number is not _INTERVAL and number.kind in reasons:
            return reasons[number.kind]
        heard = {key for key, of in self._heard if of is number and key[0] == venue}
        if number is _DEPTH:
            heard = {key for key, _ in self._bands if key[0] == venue}
        if number is not _TOTAL and not heard:
            return "nothing came that could be compared"
        return self._failed.get(venue) or "its second source does not say it"

    # ── a venue as a whole ──────────────────────────────────────────────

    def _judge(self, row: CheckRow) -> None:
        """A round says ``row``; it is drift from the second one on, but for what has lasted."""
        judged = self._judged.setdefault((row.venue, row.check, row.against), _Judged())
        judged.apart = judged.apart + 1 if row.verdict is Agreement.DRIFT else 0
        lasts = row.check in (_MOVEMENT, _SPOT_MOVEMENT)
        if row.verdict is Agreement.DRIFT and judged.apart < _TIMES and not lasts:
            row = msgspec.structs.replace(row, verdict=Agreement.OK, reason="")
        judged.row = row

    def _of_venue(
        self, venue: str, compared: Mapping[str, Sequence[drift.Pair]], now: Ms
    ) -> Iterator[CheckRow]:
        yield self._movement(venue, now)
        yield self._age_of_second(venue)
        yield self._sequence(venue)
        if venue in self._spot:
            return
        count, changed = self._sizes.get(venue, (0, {}))
        if not count:
            reason = self._failed.get(venue) or "it was not read anew"
            yield _missing(venue, _SIZES, _LISTING, reason)
        else:
            first = next(iter(changed), "")
            yield CheckRow(
                venue,
                _SIZES,
                _LISTING,
                Agreement.DRIFT if changed else Agreement.OK,
                count,
                changed.get(first, ""),
                first,
                f"{len(changed)} of {count}" if changed else "",
            )
        for check in drift.CHECKS:
            if check.what not in (_LONGER, _USUAL):
                yield _of_check(venue, check, compared.get(check.what, ()))

    def _movement(self, venue: str, now: Ms) -> CheckRow:
        spot = venue in self._spot
        price, movement = (_LAST, _SPOT_MOVEMENT) if spot else (_MARK, _MOVEMENT)
        known = {
            key: still
            for key, still in self._still.items()
            if key[0] == venue
            and now - still.since >= STILL_FOR
            and now - self._heard[key, price][-1][0] < STILL_FOR
        }
        if not known:
            reason = f"listens for less than {length_in_words(STILL_FOR)}"
            return _missing(venue, movement, _MOVING, reason)
        others = {
            self._assets[key] for key, it in self._still.items() if it.moved and key[0] != venue
        }
        moving = {key for key in known if self._assets[key] in others}
        moving |= {
            key for key in known if key in self._second_still and self._second_still[key].moved
        }
        moving |= {key for key in known if known[key].moved}
        if not moving:
            return _missing(venue, movement, _MOVING, "no price has moved anywhere")
        frozen = [key for key in moving if not known[key].moved]
        wrong = len(frozen) >= _SHARE * len(moving)
        return CheckRow(
            venue,
            movement,
            _MOVING,
            Agreement.DRIFT if wrong else Agreement.OK,
            len(moving),
            f"still for {length_in_words(now - known[frozen[0]].since)}" if frozen else "",
            frozen[0][1] if frozen else "",
            f"{len(frozen)} of {len(moving)} stand still" if wrong else "",
        )

    def _age_of_second(self, venue: str) -> CheckRow:
        ages: dict[str, Ms] = {}
        clock = self._memory.venues[venue].clock if venue in self._memory.venues else None
        for (key, number), second in self._second.items():
            if key[0] == venue and second.at != second.seen and clock is not None:
                age = clock.time(second.seen) - second.at
                ages[f"{key[1]}, {number.name}"] = age
        if not ages:
            reason = self._failed.get(venue) or "its answers have no time"
            return _missing(venue, _AGE, _ITSELF, reason)
        worst = max(ages, key=lambda name: ages[name])
        old = [age for age in ages.values() if age > SECOND_OLD]
        return CheckRow(
            venue,
            _AGE,
            _ITSELF,
            Agreement.DRIFT if old else Agreement.OK,
            len(ages),
            length_in_words(max(0, ages[worst])),
            worst,
            f"{len(old)} of {len(ages)} are old" if old else "",
        )

    def _sequence(self, venue: str) -> CheckRow:
        gaps = self._gaps.get(venue, [])
        if not gaps or not self._books[venue]:
            reason = "each of its books comes whole" if gaps else "nothing came"
            return _missing(venue, _SEQUENCE, _ITSELF, reason)
        fresh = gaps[-1] - (gaps[-2] if len(gaps) > 1 else 0)
        return CheckRow(
            venue,
            _SEQUENCE,
            _ITSELF,
            Agreement.DRIFT if fresh else Agreement.OK,
            self._books[venue],
            f"{fresh} gaps" if fresh else "",
            reason=f"{gaps[-1]} gaps since the start" if fresh else "",
        )

    def _judge_clocks(self) -> None:
        late = {
            venue: -memory.clock.known
            for venue, memory in self._memory.venues.items()
            if memory.clock.known is not None
        }
        for venue in self._reasons:
            if venue not in late:
                self._judge(_missing(venue, _CLOCK, _VENUES, "it sends no times"))
        if not late:
            return
        ours = _middle(late.values())
        for venue, ms in late.items():
            off = ms - ours
            self._judge(_clock_row(venue, off, len(late), "behind" if off > 0 else "ahead"))
        self._judge(_clock_row("", ours, len(late), "ahead" if ours > 0 else "behind"))


def _clock_row(venue: str, off: Ms, clocks: int, way: str) -> CheckRow:
    wrong = abs(off) > CLOCK_APART
    if venue and clocks < 2:
        return _missing(venue, _CLOCK, _VENUES, "there is no other venue to ask")
    text = f"{length_in_words(abs(off))} {way}" if abs(off) >= SECOND else ""
    against = _VENUES if venue else _OURS
    return CheckRow(
        venue,
        _CLOCK,
        against,
        Agreement.DRIFT if wrong else Agreement.OK,
        clocks,
        text,
        reason="unless everything arrives so late" if wrong else "",
    )


def _missing(venue: str, check: str, against: str, reason: str) -> CheckRow:
    return CheckRow(venue, check, against, Agreement.NOT_AVAILABLE, reason=reason)


def _of_check(venue: str, check: drift.Check, pairs: Sequence[drift.Pair]) -> CheckRow:
    """A comparison of ``rules.drift``, which other venues are needed for, or not."""
    against = _ITSELF if check.alone else _VENUES
    if len(pairs) < (1 if check.alone else drift.ENOUGH):
        reason = f"less than {drift.ENOUGH} coins that enough other venues have too"
        if check.alone:
            reason = "nothing came of both" if check.what == _VALUE.name else "no time came with it"
        return _missing(venue, check.what, against, reason)
    worst = max(pairs, key=lambda pair: abs(log(pair.ratio)) if pair.ratio > 0 else 1e9)
    apart = check.apart(pairs)
    return CheckRow(
        venue,
        check.what,
        against,
        Agreement.DRIFT if apart else Agreement.OK,
        len(pairs),
        check.shown(worst.own) if check.what.startswith("age") else f"{_bp(worst.ratio - 1)} bp",
        worst.asset,
        drift.in_numbers(check, pairs) if apart else "",
    )


def _numbers(event: MarketEvent) -> Iterator[tuple[_Number, float]]:
    """The numbers in an event of which there may be a second source."""
    match event:
        case Price():
            if event.mark is not None:
                yield _MARK, event.mark
            if event.index is not None:
                yield _INDEX, event.index
            if event.last is not None:
                yield _LAST, event.last
        case Depth():
            yield _MID, event.mid
        case OpenInterest():
            held = event.usd if event.inverse else event.base
            if held is not None:
                yield _INTEREST, held
        case Funding():
            if not event.settled:
                yield _RATE, event.rate * 8 / event.hours
                yield _INTERVAL, event.hours
        case Volume():
            yield _TURNOVER, event.usd_24h
        case _:
            return


def _add(values: deque[tuple[Ms, float]], now: Ms, value: float) -> None:
    """What was heard, with the last one before the window: it held until the next came."""
    values.append((now, value))
    while len(values) > 1 and values[1][0] < now - WINDOW:
        values.popleft()


def _gap(number: _Number, difference: _Difference) -> str:
    if number is _RATE:
        return f"{_bp(difference.value - difference.second)} bp"
    if number is _INTERVAL:
        return f"{difference.value:g} h, not {difference.second:g} h"
    return f"{_bp(difference.value / difference.second - 1)} bp" if difference.second else "not 0"


def _bp(part: float) -> str:
    basis = part * 10_000
    return f"{basis:+,.1f}" if abs(basis) < 10 else f"{basis:+,.0f}"


def _hint(number: _Number, apart: Iterable[_Difference]) -> str:
    """What the difference looks like, "" if like nothing that is known."""
    pairs = [(it.value, it.second) for it in apart if it.second]
    if number is _RATE and pairs and all(own * second < 0 for own, second in pairs):
        return ": the sign is the opposite one"
    if number is _INTERVAL or not pairs:
        return ""
    ratio = median([own / second for own, second in pairs])
    if ratio <= 0:
        return ""
    if number in (_INTEREST, _VALUE, _TOTAL) and (
        0.95 < ratio / 2 < 1.05 or 0.95 < ratio * 2 < 1.05
    ):
        return f": {ratio:.3g} times, as both sides in place of one"
    if not 0.2 < ratio < 5:
        power = abs(log10(ratio))
        unit = ", as in another unit" if abs(power - round(power)) < 0.05 else ""
        return f": {ratio:,.3g} times{unit}"
    return ""


def _middle(late: Iterable[Ms]) -> Ms:
    """The median; of two, the one nearer to none at all."""
    ordered = sorted(late)
    return min(ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2], key=abs)
