"""The report on a week's market structure: figures, and where they are not covered.

A figure is given only if enough of the week is known for it (``COVERED``); what is not says so in
its place. The words are those of the languages' files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise
from math import prod
from statistics import median

from bot.backtest.classes import class_changes, worst_in_words
from bot.backtest.conditions import Condition, named_conditions
from bot.backtest.week import (
    CORRELATIONS,
    COVERED,
    DOLLAR,
    FUNDING,
    INTEREST,
    MINUTES,
    RecordedWeek,
    WeekValues,
    sectors_at,
)
from bot.backtest.week_alerts import ReportedEpisode, merged
from bot.lang import numbers
from bot.lang.words import Words
from bot.messages.blocks import plain
from bot.messages.headline import amount, at_least, regime_in_words, sector_title
from bot.messages.voice import Html, say, title, topic
from bot.plan.weekly import WEEK
from rules.alerts import ALL, Level, Regime
from rules.context import CONTEXT
from rules.judge import COMPOSITE
from rules.metrics.liquidation_day import LONGS, OF_ALL
from rules.metrics.regime import STATES
from rules.snapshot import MACRO_PRICE, PRICE
from streams.durations import DAY, MINUTE
from streams.events import Ms


def week_report(
    weeks: Sequence[RecordedWeek],
    majors: Sequence[str],
    words: Words,
    supports: Mapping[str, tuple[float, ...]],
) -> str:
    """The report on the first of ``weeks`` as plain text, a figure a line; the others are those
    before it. ``supports``: asset → levels of the operator's own."""
    return plain("\n".join(_Report(weeks, words, supports).lines(majors)))


class _Report:
    """One report in one language."""

    def __init__(
        self,
        weeks: Sequence[RecordedWeek],
        words: Words,
        supports: Mapping[str, tuple[float, ...]],
    ) -> None:
        week = weeks[0]
        self._weeks, self._week = weeks, week
        self._words = words
        self._supports = supports
        self._end = week.start + WEEK - MINUTE

    def lines(self, majors: Sequence[str]) -> list[Html]:
        week = self._week
        lines = [
            self._say(
                "week.head", first=self._day(week.start), last=self._day(week.start + 6 * DAY)
            )
        ]
        for section in self._sections(majors):
            lines += [Html(), *section]
        return lines

    def _sections(self, majors: Sequence[str]) -> Iterator[Sequence[Html]]:
        """Lines that belong together; between two sections is an empty line, where a report that is
        too long for one message is split."""
        for asset in majors:
            yield self._coin(asset)
        yield self._market(majors)
        yield self._conditions(majors)
        yield self._reported()
        yield [self._watched(), self._feeds()]

    def _say(self, key: str, **values: str) -> Html:
        return say(self._words, key, **values)

    def _day(self, at: Ms) -> str:
        return self._words.day(at, self._week.start)

    def _missing(self, what: Html, share: float | None = None) -> Html:
        """``what`` is not covered; ``share`` of it is known."""
        if not share:
            return self._say("week.none", what=what)
        return self._say("week.part", what=what, pct=numbers.share(100 * share))

    def _figure(self, what: Html, known: WeekValues, text: Callable[[WeekValues], Html]) -> Html:
        """``text`` of what is known, if that is enough."""
        if known.covered < COVERED:
            return self._missing(what, known.covered)
        return self._say("week.figure", what=what, text=text(known))

    def _coin(self, asset: str) -> list[Html]:
        week = self._week

        def figure(name: str, metric: str, text: Callable[[WeekValues], Html]) -> Html:
            return self._figure(self._say(name, asset=asset), week.of(metric, asset), text)

        return [
            self._price(asset),
            figure("week.funding", FUNDING, self._funding),
            self._streak(asset),
            self._interest(asset),
            figure("week.depth", "depth_25bp_pct_of_normal", self._depth),
            self._volatility(asset),
            figure("week.spot", "spot_share_pct", self._average),
            self._regime(self._say("week.regime", asset=asset), "regime_", asset),
        ]

    def _volatility(self, asset: str) -> Html:
        """At the end, when it looks back over the whole week."""
        what = self._say("week.volatility", asset=asset)
        known = self._week.of("volatility_7d_pct", asset)
        now = known.near(self._end)
        if now is None:
            return self._missing(what, known.covered)
        return self._say("week.figure", what=what, text=f"{numbers.share(now)}%")

    def _price(self, asset: str) -> Html:
        """Both ends of the week must be known."""
        words, known = self._words, self._week.of(PRICE, asset)
        what = self._say("week.price", asset=asset)
        first, last = known.near(self._week.start), known.near(self._end)
        if known.covered < COVERED or not first or last is None:
            return self._missing(what, known.covered)
        (low, low_at), (high, high_at) = known.lowest(), known.highest()
        text = self._say(
            "week.price_text",
            first=words.price(first), last=words.price(last),
            pct=numbers.change(100 * (last / first - 1)),
            low=words.price(low), low_day=self._day(low_at),
            high=words.price(high), high_day=self._day(high_at),
        )  # fmt: skip
        return self._say("week.figure", what=what, text=text)

    def _funding(self, known: WeekValues) -> Html:
        negative = sum(value < 0 for value in known.value) / len(known.value)
        return self._say(
            "week.funding_text",
            mean=numbers.rate(known.mean), low=numbers.rate(known.lowest()[0]),
            high=numbers.rate(known.highest()[0]), pct=numbers.share(100 * negative),
        )  # fmt: skip

    def _streak(self, asset: str) -> Html:
        """How long the settled rate has had the sign that it has at the end."""
        what = self._say("week.streak", asset=asset)
        streak = self._week.streaks.get((FUNDING, asset))
        if streak is None:
            return self._missing(what, self._week.of(FUNDING, asset).covered)
        length = self._words.length(self._end - streak.since + MINUTE)
        key = {-1: "week.streak_negative", 0: "week.streak_zero", 1: "week.streak_positive"}
        text = self._say(
            "week.streak_bound" if streak.bound else "week.streak_text",
            sign=self._say(key[streak.sign]), length=length, day=self._day(streak.since),
        )  # fmt: skip
        return self._say("week.figure", what=what, text=text)

    def _interest(self, asset: str) -> Html:
        """From the changes of the seven days, each of which must be known."""
        what = self._say("week.oi", asset=asset)
        days = [self._week.day_end("oi_net_24h_pct", asset, day) for day in range(7)]
        known = [day for day in days if day is not None]
        if len(known) < len(days):
            return self._missing(what, len(known) / len(days))
        change = 100 * (prod(1 + day / 100 for day in known) - 1)
        text = self._say("week.over_the_week", value=f"{numbers.change(change)}%")
        return self._say("week.figure", what=what, text=text)

    def _depth(self, known: WeekValues) -> Html:
        low, at = known.lowest()
        return self._say(
            "week.depth_text",
            mean=numbers.share(known.mean), low=numbers.share(low), day=self._day(at),
        )  # fmt: skip

    def _average(self, known: WeekValues) -> Html:
        return self._say("week.average", value=f"{numbers.share(known.mean)}%")

    def _market(self, majors: Sequence[str]) -> list[Html]:
        negative = self._week.of("funding_negative_share_pct", ALL)
        return [
            self._at_the_end("week.oi_below", INTEREST, lambda x: f"{numbers.change(x)}%"),
            self._liquidations(),
            self._figure(self._say("week.negative"), negative, self._breadth),
            self._at_the_end("week.correlation", CORRELATIONS, lambda x: numbers.trimmed(x, 2)),
            self._sectors(),
            self._regime(self._say("week.regime_market"), "regime_total_", ALL),
            self._stablecoins(),
            self._macro(),
            *self._classes(majors),
        ]

    def _regime(self, what: Html, prefix: str, asset: str) -> Html:
        """For which share of the minutes that are known each regime lasted."""
        states = {of: self._week.of(f"{prefix}{of}", asset) for of in STATES}
        covered = min(known.covered for known in states.values())
        if covered < COVERED:
            return self._missing(what, covered)
        shares = {of: 100 * known.mean for of, known in states.items()}
        shares = {Regime.CALM: 100 - sum(shares.values()), **shares}
        parts = [
            self._say(
                "week.regime_part",
                regime=regime_in_words(self._words, of), pct=numbers.share(share),
            )
            for of, share in shares.items()
            if share > 0 or of is Regime.CALM
        ]  # fmt: skip
        text = Html(self._words.dot.join(parts))
        return self._say("week.figure", what=what, text=text)

    def _at_the_end(
        self, name: str, metrics: Mapping[str, str], text: Callable[[float], str]
    ) -> Html:
        """The values at the end of the week; of what is not known then that is said."""
        parts: list[Html] = []
        for key, metric in metrics.items():
            value = self._week.of(metric, ALL).near(self._end)
            shown = self._say("week.unknown") if value is None else Html(text(value))
            parts.append(self._say(key, value=shown))
        listed = Html(self._words.dot.join(parts))
        return self._say("week.figure", what=self._say(name), text=listed)

    def _sectors(self) -> Html:
        """Each against the market over the week, the worst first."""
        known = sectors_at(self._week, self._end)
        if not known:
            return self._missing(self._say("week.no_sectors"))
        parts = [
            self._say(
                "week.sector",
                sector=sector_title(self._words, name), value=f"{numbers.change(pct)}%",
            )
            for pct, name in known
        ]  # fmt: skip
        text = Html(self._words.dot.join(parts))
        return self._say("week.figure", what=self._say("week.sectors"), text=text)

    def _conditions(self, majors: Sequence[str]) -> list[Html]:
        """What market notes ask for before they speak of a bottom."""
        every = named_conditions(self._weeks, majors, self._supports, self._words)
        return [self._say("week.conditions"), *(self._condition(each) for each in every)]

    def _condition(self, of: Condition) -> Html:
        what = self._say(f"week.condition_{of.name}", asset=of.asset)
        met = self._say({True: "week.met", False: "week.not_met", None: "week.unknown"}[of.met])
        if of.text:
            met = self._say("week.condition", met=met, text=of.text)
        return self._say("week.figure", what=what, text=met)

    def _liquidations(self) -> Html:
        """Of the days of which the sum is known."""
        what, usd = self._say("week.liquidations"), self._usd
        days = _days_of(self._week, OF_ALL.name)
        if not days:
            return self._missing(what)
        most, day = max((musd, day) for day, musd in days.items())
        longs, sides = _days_of(self._week, LONGS), Html()
        if longs.keys() == days.keys():
            of_longs = sum(longs.values())
            of_shorts = max(0.0, sum(days.values()) - of_longs)  # the log keeps seven digits
            sides = self._say("week.liquidations_sides", longs=usd(of_longs), shorts=usd(of_shorts))
        text = self._say(
            "week.liquidations_text",
            usd=usd(sum(days.values())),
            sides=sides,
            count=str(len(days)),
            most=usd(most),
            day=self._day(self._week.start + day * DAY),
        )
        before = [
            (musd, week.start + day * DAY)
            for week in self._weeks[1:]
            for day, musd in _days_of(week, OF_ALL.name).items()
        ]
        if before:
            record, at = max(before)
            of_record = self._say("week.liquidations_record", usd=usd(record), day=self._day(at))
            text = Html(f"{text}{of_record}")
        return self._say("week.figure", what=what, text=text)

    def _usd(self, musd: float) -> str:
        """A sum of what venues report, which is a lower bound."""
        return at_least(self._words, musd * 1e6)

    def _breadth(self, known: WeekValues) -> Html:
        most, at = known.highest()
        return self._say(
            "week.negative_text",
            mean=numbers.share(known.mean), high=numbers.share(most), day=self._day(at),
        )  # fmt: skip

    def _macro(self) -> Html:
        what = self._say("week.macro")
        parts: list[Html] = []
        for (metric, asset), known in sorted(self._week.values.items()):
            first = known.near(self._week.start) if metric == MACRO_PRICE else None
            last = known.near(self._end)
            if first and last is not None:
                known_name = f"macro.{asset}" in self._words.phrases
                name = self._say(f"macro.{asset}") if known_name else asset
                pct = numbers.change(100 * (last / first - 1))
                parts.append(self._say("note.change", name=name, pct=pct))
        if not parts:
            return self._missing(what)
        return self._say("week.figure", what=what, text=Html(self._words.dot.join(parts)))

    def _classes(self, majors: Sequence[str]) -> list[Html]:
        """The first major among other classes of assets, the worst first."""
        if not majors:
            return []
        first = majors[0]
        what = self._say("week.classes", asset=first)
        changes = class_changes(self._week, first)
        if not changes:
            return [self._missing(what)]
        parts = [
            self._say(
                "note.change",
                name=asset if asset == first else self._say(f"macro.{asset}"),
                pct=numbers.change(pct),
            )
            for asset, pct in changes
        ]
        parts.append(worst_in_words(self._weeks, first, self._words))
        text = Html(self._words.dot.join(parts))
        return [self._say("week.figure", what=what, text=text)]

    def _stablecoins(self) -> Html:
        """Of each the lowest of the week and the last, and what became of its supply."""
        what, parts = self._say("week.stablecoins"), list[Html]()
        for coin, metric in DOLLAR.items():
            known = self._week.of(metric, ALL)
            last = known.near(self._end)
            if known.at and last is not None:
                low, low_at = known.lowest()
                parts.append(self._say(
                    "week.stablecoin",
                    coin=coin, low=_dollars(low), day=self._day(low_at), last=_dollars(last),
                ))  # fmt: skip
            parts += self._supply(coin)
        if not parts:
            return self._missing(what)
        text = Html(self._words.dot.join(parts))
        return self._say("week.figure", what=what, text=text)

    def _supply(self, coin: str) -> Iterator[Html]:
        """Over the week, by each source that says it."""
        end = f".{coin}.supply"
        for (metric, name), known in sorted(self._week.values.items()):
            if metric != CONTEXT or not name.endswith(end):
                continue
            first, last = known.near(self._week.start), known.near(self._end)
            if first and last is not None:
                yield self._say(
                    "week.supply",
                    coin=coin,
                    pct=numbers.change(100 * (last / first - 1)),
                    source=title(name.removesuffix(end)),
                )

    def _watched(self) -> Html:
        """How much of the week there is a row of, and the longest hole."""
        week, words = self._week, self._words
        ends = [week.start - MINUTE, *week.minutes, week.start + WEEK]
        hole, at = max((later - before - MINUTE, -before) for before, later in pairwise(ends))
        pct = numbers.percent(1_000 * len(week.minutes) // MINUTES / 10)  # a hole is no 100 %
        if hole < MINUTE:
            return self._say("week.watched", pct=pct)
        return self._say(
            "week.watched_hole", pct=pct, length=words.length(hole), day=self._day(-at + MINUTE)
        )

    def _reported(self) -> list[Html]:
        """What the rules reported, a line a rule, and what the price did in the day after it."""
        what, known = self._say("week.reported"), self._week.alerts
        if known is None:
            return [self._missing(what)]
        lines: list[Html] = []
        if known.since > self._week.start:
            lines.append(self._say("week.reported_since", day=self._day(known.since)))
        rules: dict[str, list[ReportedEpisode]] = {}
        for episode in known.episodes:
            rules.setdefault(episode.family, []).append(episode)
        if not rules:
            return [self._say("week.figure", what=what, text=self._say("week.nothing")), *lines]
        most_first = sorted(rules.items(), key=lambda rule: (-len(rule[1]), rule[0]))
        lines += [self._rule(name, episodes) for name, episodes in most_first]
        return [self._say("week.reported_head", what=what), *lines]

    def _rule(self, name: str, episodes: Sequence[ReportedEpisode]) -> Html:
        words = self._words
        critical = sum(episode.level is Level.CRITICAL for episode in episodes)
        parts = [self._say("week.count", count=str(len(episodes)), critical=str(critical))]
        worst = max(episodes, key=lambda episode: (episode.level, _badness(episode)))
        if worst.metric != COMPOSITE:
            value = amount(words, topic(worst.metric), worst.extreme, worst.unit)
            subject = self._say("week.market") if worst.asset == ALL else worst.asset
            day = self._day(worst.extreme_at)
            parts.append(self._say("week.worst", value=value, asset=subject, day=day))
        changes = [pct for episode in episodes if (pct := self._after(episode)) is not None]
        if changes:
            pct, count = numbers.change(median(changes)), str(len(changes))
            parts.append(self._say("week.after", pct=pct, count=count))
        text = Html(words.semicolon.join(parts))
        return self._say("week.figure", what=Html(escape(name, quote=False)), text=text)

    def _after(self, episode: ReportedEpisode) -> float | None:
        """The change of its price in the day after it was reported, in percent; None: unknown."""
        prices = self._week.of(PRICE, episode.asset)
        first, last = prices.near(episode.at), prices.near(episode.at + DAY)
        return 100 * (last / first - 1) if first and last is not None else None

    def _feeds(self) -> Html:
        """Of each venue of which all feeds of a kind were silent for how much of the time nothing
        was, and how long which."""
        what, known = self._say("week.feeds"), self._week.alerts
        if known is None:
            return self._missing(what)
        parts: list[str] = []
        for venue, kinds in sorted(known.silent.items()):
            start, end = known.since, self._week.start + WEEK
            every = merged((span for spans in kinds.values() for span in spans), start, end)
            if not every:
                continue
            share = 1 - sum(last - first for first, last in every) / (end - start)
            outages = [
                self._say(
                    "week.silent",
                    kind=self._say(f"kind.{kind}"),
                    length=self._words.length(sum(last - first for first, last in spans)),
                )
                for kind, spans in sorted(kinds.items())
            ]
            listed = Html(self._words.comma.join(outages))
            pct = numbers.percent(int(1_000 * share) / 10)  # an outage is no 100 %
            parts.append(
                self._say("week.uptime", venue=title(venue, self._words), pct=pct, list=listed)
            )
        text = Html(self._words.dot.join(parts)) if parts else self._say("week.no_outage")
        return self._say("week.figure", what=what, text=text)


def _days_of(week: RecordedWeek, metric_name: str) -> dict[int, float]:
    """What each day of the week had come to at its end, by its place, as far as it is known."""
    ends = {day: week.day_end(metric_name, ALL, day) for day in range(7)}
    return {day: value for day, value in ends.items() if value is not None}


def _dollars(pct: float) -> str:
    """What a stablecoin is worth that is so far from a dollar: ``0.9919``."""
    return f"{1 + pct / 100:.4f}"


def _badness(episode: ReportedEpisode) -> float:
    return -episode.extreme if episode.fires == "below" else episode.extreme
