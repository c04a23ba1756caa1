"""``lowtide report --statements``: what weekly notes on the market say, each as a line.

Twenty-five statements, in the order of the notes that Lowtide began with. Each has a value, since
when it is watched and who says it, or it is not available, with the reason; none is left out. A
lower bound says so. All of it is from the metric log, of the week and of those before it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from bot.backtest.classes import change_pct, class_changes, worst_in_words
from bot.backtest.conditions import (
    MONTH_WEEKS,
    rebounds_in_words,
    support_in_words,
    support_of_week,
    supports_of,
)
from bot.backtest.week import DOLLAR, NEAR, WEEK, RecordedWeek, WeekValues, sectors_at, wanted
from bot.lang import numbers
from bot.lang.words import Words
from bot.messages.blocks import plain
from bot.messages.headline import at_least, regime_in_words, sector_title
from bot.messages.voice import Html, say, title
from rules.alerts import ALL, Regime
from rules.context import CONTEXT, SERIES
from rules.metrics.regime import STATES
from rules.snapshot import MACRO_PRICE, PRICE
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Ms

WEEKS = MONTH_WEEKS
"""So many are read: what lasts for weeks, and what was not seen before, is of them."""

TECH = ("NVDA", "SP500", "NASDAQ100", "NIKKEI225", "KOSPI200")
METALS = ("GOLD", "SILVER")

TREASURY = ("MSTR_SHARES", "MSTR_COINS")
"""Series of the operator's own that say how many shares there are of MSTR, and how many coins it
has."""

APART = 0.005
"""A stablecoin so far below a dollar is not worth it."""

HOLE: Ms = HOUR
"""Of a time that has a longer one nobody can say what was not in it."""

Key = tuple[str, str]
"""A metric and an asset."""

_CAP, _CAP_DAY = "market_cap_trillion_usd", "market_cap_24h_pct"
_FUNDING = "funding_8h_pct"
_SPOT_DEPTH = "spot_depth_25bp_pct_of_recent"
_LIQUIDATED = "liq_total_24h_musd"


def needed(majors: Sequence[str]) -> Callable[[str, str], bool]:
    """What of the metric log the statements are made of."""
    of_report = wanted(majors)

    def is_needed(metric: str, asset: str) -> bool:
        if metric == CONTEXT:
            return True
        if metric in (_CAP, _CAP_DAY, *DOLLAR.values()):
            return asset == ALL
        return of_report(metric, asset) or (metric == _SPOT_DEPTH and asset in majors)

    return is_needed


def statements(
    weeks: Sequence[RecordedWeek],
    majors: Sequence[str],
    words: Words,
    supports: Mapping[str, tuple[float, ...]],
) -> str:
    """A line for each statement on the first of ``weeks``; the others are those before it.
    ``supports``: asset → levels of the operator's own."""
    return plain("\n".join(_Statements(weeks, majors, words, supports).lines()))


class _Statements:
    """The statements in one language."""

    def __init__(
        self,
        weeks: Sequence[RecordedWeek],
        majors: Sequence[str],
        words: Words,
        supports: Mapping[str, tuple[float, ...]],
    ) -> None:
        self._weeks, self._supports = weeks, supports
        self._week, self._before = weeks[0], [*weeks[1:]]
        self._majors = majors
        self._first = majors[0] if majors else ""
        self._words = words
        self._end = self._week.start + WEEK - MINUTE

    def lines(self) -> list[Html]:
        head = self._say("week.head", first=self._day(self._week.start), last=self._day(self._end))
        lines = [
            self._say(
                "note.line",
                number=str(number),
                what=self._say(f"note.{number}"),
                text=text(self) or self._none(),
            )
            for number, text in enumerate(_TEXTS, 1)
        ]
        return [head, Html(), *lines]

    # ── words ────────────────────────────────────────────────────────────

    def _say(self, key: str, **values: str) -> Html:
        return say(self._words, key, **values)

    def _day(self, at: Ms) -> str:
        return self._words.day(at, self._end)

    def _none(self) -> Html:
        """Nothing of it was recorded."""
        return self._missing("note.why.record")

    def _missing(self, why: str) -> Html:
        return self._say("note.missing", why=self._say(why))

    def _sourced(self, text: str, source: str, *keys: Key) -> Html:
        """``text`` with who says it, and since when all of ``keys`` are watched."""
        began = [self._since(key, self._of(*key).at[-1]) for key in keys if self._of(*key).at]
        if not began:
            return self._say("note.sourced", text=Html(text), source=source)
        day = self._day(max(began))
        return self._say("note.sourced_since", text=Html(text), source=source, day=day)

    def _since(self, key: Key, until: Ms) -> Ms:
        """When the time began that ends at ``until`` and in which ``key`` was watched without a
        hole of more than an hour, as far back as is read."""
        moments = sorted(
            at for week in (self._week, *self._before) for at in week.of(*key).at if at <= until
        )
        began = until
        for at in reversed(moments):
            if began - at > HOLE:
                break
            began = at
        return began

    def _own(self, text: str, *keys: Key) -> Html:
        return self._sourced(text, self._say("note.own"), *keys)

    def _and(self, parts: Sequence[Html]) -> Html:
        return Html(self._words.dot.join(part for part in parts if part))

    # ── values ───────────────────────────────────────────────────────────

    def _of(self, metric: str, asset: str) -> WeekValues:
        return self._week.of(metric, asset)

    def _context(self, name: str) -> dict[str, WeekValues]:
        """Source → the values of that name which it has said in the week."""
        end = f".{name}"
        return {
            asset.removesuffix(end): values
            for (metric, asset), values in sorted(self._week.values.items())
            if metric == CONTEXT and asset.endswith(end)
        }

    # ── the statements ───────────────────────────────────────────────────

    def market_cap(self) -> Html:
        """1: all coins together, and the largest fall in a day."""
        cap, day = self._of(_CAP, ALL), self._of(_CAP_DAY, ALL)
        if cap.at:
            (low, low_at), parts = cap.lowest(), list[Html]()
            usd = self._words.usd(low * 1e12)
            parts.append(self._say("note.lowest", value=usd, day=self._day(low_at)))
            parts.append(self._crossing(cap))
            if day.at:
                parts.append(self._fall_of_a_day(*day.lowest()))
            return self._own(self._and(parts), (_CAP, ALL))
        lines = [
            self._sourced(
                self._and([
                    self._say("note.lowest", value=self._words.usd(low), day=self._day(low_at)),
                    *(
                        self._fall_of_a_day(*changes.lowest())
                        for changes in [self._of(CONTEXT, f"{source}.market_cap_24h_pct")]
                        if changes.at
                    ),
                ]),
                title(source), (CONTEXT, f"{source}.market_cap"),
            )
            for source, known in self._context("market_cap").items()
            for low, low_at in [known.lowest()]
        ]  # fmt: skip
        return self._and(lines)

    def _fall_of_a_day(self, pct: float, at: Ms) -> Html:
        return self._say("note.day_fall", value=f"{numbers.change(pct)}%", day=self._day(at))

    def _crossing(self, cap: WeekValues) -> Html:
        """The round trillion below which it fell, and since when that had not been."""
        below = int(cap.value[0])
        at = next((at for at, low in zip(cap.at, cap.low, strict=True) if low < below), None)
        if at is None or not below:
            return Html()
        text = self._words.usd(below * 1e12)
        for week in self._before:
            known = week.of(_CAP, ALL)
            last = [then for then, low in zip(known.at, known.low, strict=True) if low < below]
            if last:
                return self._say(
                    "note.crossed_again", value=text, day=self._day(at), last=self._day(last[-1])
                )
        since = self._day(self._since((_CAP, ALL), at))
        return self._say("note.crossed", value=text, day=self._day(at), since=since)

    def worst_class(self) -> Html:
        """2: crypto against other classes, and for how many weeks it was the worst."""
        changes = class_changes(self._week, self._first)
        if not changes:
            return Html()
        parts = [self._change_in_words(asset, pct) for asset, pct in changes]
        parts.append(worst_in_words(self._weeks, self._first, self._words))
        return self._own(self._and(parts), (PRICE, self._first))

    def _change_in_words(self, asset: str, pct: float) -> Html:
        name = asset if asset == self._first else self._say(f"macro.{asset}")
        return self._say("note.change", name=name, pct=numbers.change(pct))

    def jobs(self) -> Html:
        """3: what came out of an announcement."""
        return self._missing("note.why.figures")

    def odds(self) -> Html:
        """4: the next rate decision, at each prediction market, over the week."""
        return self._and([
            self._odds(source) for source in self._context("hold")
        ])  # fmt: skip

    def _odds(self, source: str) -> Html:
        meetings = self._of(CONTEXT, f"{source}.meeting_day")
        day_of = dict(zip(meetings.at, meetings.value, strict=True))
        if not day_of:
            return Html()
        day = day_of[meetings.at[-1]]
        parts: list[Html] = []
        for side in ("cut", "hold", "hike"):
            known = self._of(CONTEXT, f"{source}.{side}")
            values = [
                100 * value
                for at, value in zip(known.at, known.value, strict=True)
                if day_of.get(at) == day
            ]
            if values:
                first, last = numbers.percent(values[0]), numbers.percent(values[-1])
                low, high = numbers.percent(min(values)), numbers.percent(max(values))
                parts.append(self._say(
                    f"note.odds_{side}", first=first, last=last, low=low, high=high
                ))  # fmt: skip
        meeting = self._say("note.meeting", day=self._day(int(day) * DAY))
        key = CONTEXT, f"{source}.hold"
        return self._sourced(self._and([meeting, *parts]), title(source), key)

    def japan(self) -> Html:
        """5: the yen; the curve has no source."""
        return self._and([self._moves(("USDJPY",)), self._missing("note.why.curve")])

    def indices(self) -> Html:
        """6"""
        return self._and([self._moves(TECH), self._missing("note.why.indices")])

    def metals(self) -> Html:
        """7"""
        return self._moves(METALS)

    def _moves(self, assets: Sequence[str]) -> Html:
        """Prices at the end of the week, and what they did in it."""
        parts: list[Html] = []
        known: list[Key] = []
        for asset in assets:
            change = change_pct(self._week, MACRO_PRICE, asset)
            values = self._of(MACRO_PRICE, asset)
            last = values.near(self._end)
            if change is not None and last is not None:
                known.append((MACRO_PRICE, asset))
                parts.append(self._say(
                    "note.price_change",
                    name=self._say(f"macro.{asset}"),
                    price=numbers.trimmed(last, 5), pct=numbers.change(change),
                ))  # fmt: skip
        return self._own(self._and(parts), *known) if parts else self._none()

    def funding(self) -> Html:
        """8: how long funding was negative."""
        known = self._of(_FUNDING, self._first)
        if not known.at:
            return Html()
        negative = [value < 0 for value in known.value]
        parts = [self._say(
            "note.negative_share", asset=self._first,
            pct=numbers.share(100 * sum(negative) / len(negative)),
        )]  # fmt: skip
        length, began = _longest(known.at, negative)
        if length:
            longest = self._words.length(length)
            parts.append(self._say("note.negative_run", length=longest, day=self._day(began)))
            parts.append(self._never_before(began, (_FUNDING, self._first)))
        return self._own(self._and(parts), (_FUNDING, self._first))

    def _never_before(self, began: Ms, key: Key) -> Html:
        """That the value was below 0 for the first time in what was recorded before, or when it
        was last."""
        last = [
            at
            for week in (self._week, *self._before)
            for known in [week.of(*key)]
            for at, value in zip(known.at, known.value, strict=True)
            if value < 0 and at < began
        ]
        if last:
            return self._say("note.negative_last", day=self._day(max(last)))
        return self._say("note.negative_first", day=self._day(self._since(key, began)))

    def spot_share(self) -> Html:
        """9"""
        return self._from_to("spot_share_pct", "note.from_to_pct")

    def correlation(self) -> Html:
        """10: the largest against the middle, at the end."""
        keys = [(f"correlation_{group}_7d", ALL) for group in ("top10", "51to100")]
        ends = [self._of(*key).near(self._end) for key in keys]
        parts = [
            self._say(f"week.{key}", value=numbers.trimmed(value, 2))
            for key, value in zip(("top10", "51to100"), ends, strict=True)
            if value is not None
        ]
        if not parts:
            return Html()
        if ends[0] is not None and ends[1] is not None:
            gap = numbers.trimmed(ends[0] - ends[1], 2)
            parts.append(self._say("note.gap", value=gap))
        return self._own(self._and(parts), *keys)

    def volatility(self) -> Html:
        """11"""
        key = "volatility_7d_pct", self._first
        now = self._of(*key).near(self._end)
        if now is None:
            return Html()
        text = self._say("note.of_asset", asset=self._first, value=f"{numbers.share(now)}%")
        return self._own(text, key)

    def sectors(self) -> Html:
        """12: over the week."""
        known = sectors_at(self._week, self._end)
        if not known:
            return self._missing("note.why.sectors")
        listed = self._words.dot.join(
            f"{sector_title(self._words, name)} {numbers.change(pct)}%" for pct, name in known
        )
        keys = [(f"sector_{name}_7d_pct", ALL) for _, name in known]
        return self._own(self._say("note.sectors", list=listed), *keys)

    def interest(self) -> Html:
        """13: of everything, from its high."""
        return self._drawdowns({"week.oi_all": "drawdown_oi_total_net_pct"})

    def long_tail(self) -> Html:
        """14: of the largest, and of the long tail."""
        return self._drawdowns({
            "week.oi_top10": "drawdown_oi_top10_net_pct",
            "week.oi_51to100": "drawdown_oi_51to100_net_pct",
        })  # fmt: skip

    def _drawdowns(self, metrics: Mapping[str, str]) -> Html:
        parts = [
            self._say(key, value=f"{numbers.change(now)}%")
            for key, metric in metrics.items()
            if (now := self._of(metric, ALL).near(self._end)) is not None
        ]
        keys = [(metric, ALL) for metric in metrics.values()]
        return self._own(self._and(parts), *keys) if parts else Html()

    def spot_depth(self) -> Html:
        """15"""
        return self._from_to(_SPOT_DEPTH, "note.average_lowest")

    def _from_to(self, metric: str, key: str) -> Html:
        """The average of the week with its least value, and the first and the last day's."""
        known = self._of(metric, self._first)
        if not known.at:
            return Html()
        first = [v for at, v in zip(known.at, known.value, strict=True) if at < known.at[0] + DAY]
        last = [v for at, v in zip(known.at, known.value, strict=True) if at > known.at[-1] - DAY]
        low, low_at = known.lowest()
        text = self._say(
            key,
            asset=self._first,
            first=numbers.share(sum(first) / len(first)),
            last=numbers.share(sum(last) / len(last)),
            mean=numbers.share(known.mean),
            low=numbers.share(low),
            day=self._day(low_at),
        )
        return self._own(text, (metric, self._first))

    def liquidated(self) -> Html:
        """16: the largest 24 hours; accounts are in no feed."""
        known = self._of(_LIQUIDATED, ALL)
        accounts = self._missing("note.why.accounts")
        if not known.at:
            return self._and([self._none(), accounts])
        most, at = known.highest()
        usd = at_least(self._words, most * 1e6)
        text = self._say("note.largest_day", usd=usd, day=self._day(at))
        return self._and([self._own(text, (_LIQUIDATED, ALL)), accounts])

    def against_record(self) -> Html:
        """17: that against the largest that was recorded before."""
        known = self._of(_LIQUIDATED, ALL)
        before = [
            (usd, at)
            for week in self._before
            for values in [week.of(_LIQUIDATED, ALL)]
            if values.at
            for usd, at in [values.highest()]
        ]
        if not known.at:
            return Html()
        if not before:
            return self._missing("note.why.no_week")
        (most, _), (record, record_at) = known.highest(), max(before)
        text = self._say(
            "note.against_record",
            usd=at_least(self._words, most * 1e6),
            record=at_least(self._words, record * 1e6),
            day=self._day(record_at),
        )
        return self._own(text, (_LIQUIDATED, ALL))

    def drawdown(self) -> Html:
        """18: from the high of all time, and how many days after it."""
        price = self._of(PRICE, self._first)
        if not price.at:
            return Html()
        low, low_at = price.lowest()
        parts: list[Html] = []
        for source, highs in self._context(f"{self._first}.high").items():
            days = self._of(CONTEXT, f"{source}.{self._first}.high_day")
            high = max(highs.value[-1], price.highest()[0])
            if days.at and high == highs.value[-1]:
                high_day = int(days.value[-1])
                text = self._say(
                    "note.from_high",
                    asset=self._first,
                    low=self._words.price(low), low_day=self._day(low_at),
                    pct=numbers.change(100 * (low / high - 1)),
                    high=self._words.price(high), high_day=self._day(high_day * DAY),
                    days=self._words.days(low_at // DAY - high_day),
                )  # fmt: skip
                parts.append(self._sourced(text, title(source), (PRICE, self._first)))
        return self._and(parts)

    def support(self) -> Html:
        """19: the support that was tested most, and how far the price rose from it."""
        named = self._supports.get(self._first, ())
        of = supports_of(self._weeks, self._first, named)
        if of is None:
            return self._missing("note.why.support")
        support, now = support_of_week(of, self._week.start), self._end
        since = self._day(of.since)
        if support is None:
            text = self._say("week.support_none", day=since)
        else:
            parts = [support_in_words(support, now, self._words)]
            parts.append(rebounds_in_words(support, self._words))
            text = self._and(parts)
        source = self._say("note.own")
        text = self._say("note.of_asset", asset=self._first, value=text)
        return self._say("note.sourced_since", text=text, source=source, day=since)

    def funds(self) -> Html:
        """20: series of the operator's own, since there is no open source."""
        parts = [
            self._series(source, known)
            for source, known in self._context("value").items()
            if source.startswith(SERIES) and source.removeprefix(SERIES) not in TREASURY
        ]
        return self._and(parts) or self._missing("note.why.series")

    def _series(self, source: str, known: WeekValues) -> Html:
        numbers_of = {
            name: self._of(CONTEXT, f"{source}.{name}").near(known.at[-1])
            for name in ("day", "low", "low_day", "first_day", "sum_30d")
        }
        if None in numbers_of.values():
            return Html()
        days = {name: int(value or 0) * DAY for name, value in numbers_of.items()}
        text = self._say(
            "note.series",
            value=numbers.trimmed(known.value[-1], 5), day=self._day(days["day"]),
            low=numbers.trimmed(numbers_of["low"] or 0.0, 5), low_day=self._day(days["low_day"]),
            first=self._day(days["first_day"]),
            sum=numbers.trimmed(numbers_of["sum_30d"] or 0.0, 5),
        )  # fmt: skip
        return self._sourced(text, title(source))

    def treasuries(self) -> Html:
        """21: the share of one of them, and its basic mNAV: what its shares cost in all by what its
        coins are worth. Shares and coins are series of the operator's own."""
        return self._and(
            [self._moves(("MSTR",)), self._mnav() or self._missing("note.why.holdings")]
        )

    def _mnav(self) -> Html:
        share = self._of(MACRO_PRICE, "MSTR").near(self._end)
        coin = self._of(PRICE, "BTC").near(self._end)
        shares, coins = (self._newest(name) for name in TREASURY)
        if share is None or coin is None or not shares or not coins or coins[0] <= 0:
            return Html()
        text = self._say(
            "note.mnav",
            value=numbers.trimmed(shares[0] * share / (coins[0] * coin), 3),
            shares=self._words.coins(shares[0]), shares_day=self._day(shares[1]),
            coins=self._words.coins(coins[0]), coins_day=self._day(coins[1]),
        )  # fmt: skip
        keys = (MACRO_PRICE, "MSTR"), (PRICE, "BTC")
        return self._sourced(text, self._words.comma.join(TREASURY), *keys)

    def _newest(self, name: str) -> tuple[float, Ms] | None:
        """The newest value of a series of the operator's own, and its day; None: unknown at the
        end."""
        value, day = (
            self._of(CONTEXT, f"{SERIES}{name}.{of}").near(self._end) for of in ("value", "day")
        )
        return None if value is None or day is None else (value, int(day) * DAY)

    def depth(self) -> Html:
        """22: how much of it was gone at worst."""
        parts: list[Html] = []
        for asset in self._majors:
            key = "depth_25bp_pct_of_normal", asset
            if self._of(*key).at:
                low, at = self._of(*key).lowest()
                text = self._say(
                    "note.depth_gone", asset=asset,
                    pct=numbers.share(max(0.0, 100 - low)), day=self._day(at),
                )  # fmt: skip
                parts.append(self._own(text, key))
        return self._and(parts)

    def stablecoins(self) -> Html:
        """23: which were not worth their dollar, and when."""
        own = {coin: (metric, ALL) for coin, metric in DOLLAR.items() if self._of(metric, ALL).at}
        lows = [
            (1 + pct / 100, at, coin)
            for coin, key in own.items()
            for pct, at in [self._of(*key).lowest()]
        ]
        parts = [self._own(self._lowest_coins(lows), *own.values())] if lows else []
        by_source: dict[str, list[tuple[float, Ms, str]]] = {}
        keys: list[Key] = []
        for name, known in self._context("price").items():
            source, _, coin = name.partition(".")
            by_source.setdefault(source, []).append((*known.lowest(), coin))
            keys.append((CONTEXT, f"{name}.price"))
        parts += [
            self._sourced(self._lowest_coins(lows), title(source), *keys)
            for source, lows in by_source.items()
        ]
        return self._and(parts)

    def _lowest_coins(self, lows: Sequence[tuple[float, Ms, str]]) -> Html:
        lost = [each for each in sorted(lows) if each[0] < 1 - APART]
        parts = [
            self._say("note.coin", asset=coin, price=f"{low:,.4f}", day=self._day(at))
            for low, at, coin in lost or sorted(lows)[:1]
        ]
        kept = Html() if lost else self._say("note.all_kept", count=str(len(lows)))
        return self._and([kept, *parts])

    def wallets(self) -> Html:
        """24"""
        return self._missing("note.why.wallets")

    def order(self) -> Html:
        """25: the market's regimes, in their order."""
        states = {state: self._of(f"regime_total_{state}", ALL) for state in STATES}
        turns = [*_turns(states)]
        if not turns:
            return Html()
        parts = [
            self._say("note.regime", regime=regime_in_words(self._words, regime), day=self._day(at))
            for at, regime in turns
        ]
        return self._own(Html(" → ".join(parts)), *((f"regime_total_{of}", ALL) for of in STATES))


def _longest(at: Sequence[Ms], holds: Sequence[bool]) -> tuple[Ms, Ms]:
    """The longest time without a hole in which it holds, and when that began; (0, 0): never."""
    longest, began, last = (0, 0), 0, 0
    for now, held in zip(at, holds, strict=True):
        if not held:
            began = 0
            continue
        if not began or now - last > NEAR:
            began = now
        longest = max(longest, (now - began + MINUTE, began), key=lambda run: run[0])
        last = now
    return longest


def _turns(states: Mapping[Regime, WeekValues]) -> Iterator[tuple[Ms, Regime]]:
    """Each regime with its beginning, as far as all states are known."""
    minutes = [dict(zip(known.at, known.value, strict=True)) for known in states.values()]
    known = sorted(set(minutes[0]).intersection(*minutes[1:])) if minutes else []
    before: Regime | None = None
    for at in known:
        holding = [state for state, values in zip(states, minutes, strict=True) if values[at] > 0]
        regime = holding[0] if holding else Regime.CALM
        if regime is not before:
            yield at, regime
        before = regime


_TEXTS: Sequence[Callable[[_Statements], Html]] = (
    _Statements.market_cap, _Statements.worst_class, _Statements.jobs, _Statements.odds,
    _Statements.japan, _Statements.indices, _Statements.metals, _Statements.funding,
    _Statements.spot_share, _Statements.correlation, _Statements.volatility, _Statements.sectors,
    _Statements.interest, _Statements.long_tail, _Statements.spot_depth, _Statements.liquidated,
    _Statements.against_record, _Statements.drawdown, _Statements.support, _Statements.funds,
    _Statements.treasuries, _Statements.depth, _Statements.stablecoins, _Statements.wallets,
    _Statements.order,
)  # fmt: skip
"""The statement at each number, from 1."""
