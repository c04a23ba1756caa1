"""What rings were worth, against what the price did: ``lowtide score``. Pure.

A *fall* of an asset begins where a low lies ``FALL_PCT`` or more below the highest price of 24 h
before it. It is over once the price has made good half of it, or when 24 h brought no lower low. A
*ring* is a post at alert or critical about the asset, or about the whole market, that is no end.

A fall is *caught* by a ring from its high to its low; its *lead* is the time from that ring to the
low, and what was *to come* is the share of the fall, high to low, that still lay ahead. A fall that
was not caught counts with nothing to come, so that no mean hides a miss. A ring between the low and
the end of a fall is late, any other one is without a fall.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from statistics import fmean, median

import msgspec
import numpy as np

from bot.backtest.evaluate import Run
from bot.backtest.posts import is_end
from bot.backtest.report import names
from bot.backtest.series import Chunk, Floats, Times
from bot.config import Settings
from bot.config.markets import Tiers
from bot.lang import ENGLISH
from bot.plan.planner import Delivery
from rules.alerts import ALL, Level
from rules.rule import Row, Rule
from rules.snapshot import PRICE
from streams.durations import DAY, HOUR
from streams.events import Ms

FALL_PCT = {"majors": 7.0, "large": 10.0, "tail": 18.0}
"""How far a price must fall within 24 h to be counted, by tier, %: a choice, and told each time."""

_HOLE = 4 * DAY
"""A longer time without a price is not watched time."""
MONTH = 30 * DAY
DEEPEST = 12
"""So many falls of a tier are listed in the terminal; JSON has them all."""


class Fall(msgspec.Struct, frozen=True, kw_only=True):
    """A fall of an asset's price."""

    asset: str
    tier: str
    high_at: Ms
    high: float
    """USD, from which it fell."""
    low_at: Ms
    low: float
    """USD, the lowest that it came to."""
    ended_at: Ms
    """When it was over, or the last price that is known."""

    @property
    def pct(self) -> float:
        """How far the price fell, %, below zero."""
        return (self.low / self.high - 1) * 100

    def to_come(self, price: float) -> float:
        """The share of the fall that is still ahead at ``price``, 0 to 1."""
        return min(1.0, max(0.0, (price - self.low) / (self.high - self.low)))


def falls(
    asset: str, tier: str, at: Times, high: Floats, low: Floats, least_pct: float
) -> Iterator[Fall]:
    """The falls in the rows of one asset, in order. Rows that are NaN must not be among them."""
    highs: deque[tuple[Ms, float]] = deque()  # the highest of 24 h, falling from left to right
    top: tuple[Ms, float] | None = None
    bottom: tuple[Ms, float] = (0, 0.0)
    now = 0
    for now, above, below in zip(at.tolist(), high.tolist(), low.tolist(), strict=True):
        if top is not None:
            if below < bottom[1]:
                bottom = now, below
            elif above >= bottom[1] + (top[1] - bottom[1]) / 2 or now - bottom[0] > DAY:
                yield _fall(asset, tier, top, bottom, now)
                top = None
                highs.clear()
        if top is not None:
            continue
        while highs and highs[0][0] < now - DAY:
            highs.popleft()
        if highs and below <= highs[0][1] * (1 - least_pct / 100):
            top, bottom = highs[0], (now, below)
            continue
        while highs and highs[-1][1] <= above:
            highs.pop()
        highs.append((now, above))
    if top is not None:
        yield _fall(asset, tier, top, bottom, now)


def _fall(asset: str, tier: str, top: tuple[Ms, float], bottom: tuple[Ms, float], end: Ms) -> Fall:
    return Fall(
        asset=asset, tier=tier, high_at=top[0], high=top[1],
        low_at=bottom[0], low=bottom[1], ended_at=end,
    )  # fmt: skip


class Prices:
    """Every asset's prices, collected piece by piece; and of which metrics there were values."""

    def __init__(self) -> None:
        self.known: set[tuple[str, str]] = set()
        """Metrics and assets of which there was a value."""
        self._parts: dict[str, list[tuple[Times, Floats, Floats, Floats]]] = {}

    def take(self, chunk: Chunk) -> None:
        """The next piece of time."""
        for key, series in chunk.series.items():
            live = ~np.isnan(series.value)
            if live.any():
                self.known.add((key.metric, key.asset))
            if key.metric == PRICE and key.asset != ALL:
                rows = tuple(
                    column[live] for column in (series.at, series.value, series.high, series.low)
                )
                self._parts.setdefault(key.asset, []).append(rows)  # pyright: ignore[reportArgumentType]

    def assets(self) -> list[str]:
        return sorted(self._parts)

    def rows(self, asset: str) -> tuple[Times, Floats, Floats, Floats]:
        """Times, values, highs and lows."""
        at, value, high, low = (
            np.concatenate(parts) for parts in zip(*self._parts[asset], strict=True)
        )
        self._parts[asset] = [(at, value, high, low)]
        return at, value, high, low

    def at(self, asset: str, now: Ms) -> float | None:
        """The last price known at ``now``."""
        at, value, _, _ = self.rows(asset)
        row = int(np.searchsorted(at, now, "right")) - 1
        return float(value[row]) if row >= 0 else None


class Caught(msgspec.Struct, frozen=True, kw_only=True):
    """What one configuration made of a fall."""

    asset: str
    high_at: Ms
    low_at: Ms
    fall_pct: float
    rings: int
    """Rings from the high to the low."""
    first_at: Ms | None = None
    """The first of them; None: the fall was missed."""
    rule: str = ""
    lead_ms: Ms = 0
    to_come: float = 0.0
    """The share of the fall that lay ahead at the first ring; 0 where there was none."""


class Worth(msgspec.Struct, frozen=True, kw_only=True):
    """The sum of it, for a tier or for one rule in it."""

    name: str
    posts: int
    """Ends not counted."""
    rings: int
    without_fall: int
    """Rings at a time without a fall."""
    late: int
    """Rings between the low and the end of a fall."""
    falls: int
    caught: int
    median_lead_ms: Ms | None
    mean_to_come: float
    """Over all falls, the missed ones with 0."""
    calm_months: float
    """Months (30 days) of watched time without a fall of any asset of the tier."""
    calm_posts_a_month: float
    calm_rings_a_month: float


class TierScore(msgspec.Struct, frozen=True, kw_only=True):
    """What the rings of one configuration were worth in one tier."""

    tier: str
    whole: Worth
    """By any rule."""
    rules: tuple[Worth, ...]
    """By each rule alone, those that posted nothing left out."""
    not_judged: tuple[str, ...]
    """Rules of which nothing can be said: there is no value of their metric for the tier."""
    judged: bool
    """Whether anything can be said of the configuration: some rule had values."""
    caught: tuple[Caught, ...]
    """Every fall, the missed ones too, in the order of time."""


class ConfigurationScore(msgspec.Struct, frozen=True, kw_only=True):
    """One configuration, or one of the rules that anybody could write."""

    name: str
    tiers: tuple[TierScore, ...]
    line: str = ""
    """The name of the rule of one line that it is; "" for a configuration."""
    other_level: bool = False
    """Whether it is that at another level than the one to compare with."""


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """What the rings of each configuration were worth."""

    start: Ms
    end: Ms
    """Not included."""
    fall_pct: Mapping[str, float]
    """What counted as a fall, by tier, below zero."""
    scores: tuple[ConfigurationScore, ...]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that anybody could write in a line: ``metric`` at or below a level."""

    name: str
    label: str
    """For people; ``{:g}`` is the level."""
    metric: str
    levels: tuple[float, ...]
    """The first is the one to compare with; the others are tried with ``--levels``."""

    def rule(self, level: float) -> Rule:
        """At most one ring an hour and asset; it ends half way back."""
        row = Row(levels={Level.ALERT: level}, clear=level / 2 or 0.0001)
        return Rule(
            name=f"{self.name}{level:g}", metric=self.metric, fires="below", rows={}, others=row,
            cooldown=HOUR, repost_if=1e9,
        )  # fmt: skip


_FALLS = (-5.0, -1.5, -2.0, -2.5, -3.0, -3.5, -4.0, -4.5, -5.5, -6.0, -7.0, -8.0, -10.0, -12.0)
LINES = (
    Line(name="price", label="price {:g} % in 1 h", metric="price_1h_pct", levels=_FALLS),
    Line(
        name="oi", label="open interest {:g} % in 1 h", metric="oi_net_1h_pct", levels=_FALLS,
    ),
    Line(
        name="funding", label="charged funding below {:g} %", metric="funding_8h_pct",
        levels=(0.0, -0.005, -0.01, -0.02, -0.03, -0.05, -0.1, -0.2),
    ),
)  # fmt: skip


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration to judge."""

    name: str
    settings: Settings
    line: Line | None = None
    """The line that it is, None for a configuration."""
    level: float | None = None


def lines_of_rules(settings: Settings, levels: bool) -> Iterator[Judgement]:
    """``settings`` with one rule of a line alone, each at its first level or at all of them."""
    for line in LINES:
        for level in line.levels if levels else line.levels[:1]:
            alone = msgspec.structs.replace(settings, rules=(line.rule(level),), composites=())
            name = line.label.format(level)
            yield Judgement(name=name, settings=alone, line=line, level=level)


def compare(
    prices: Prices, runs: Sequence[tuple[Judgement, Run]], tiers: Tiers, start: Ms, end: Ms
) -> Score:
    """All configurations against the same falls."""
    by_tier: dict[str, list[str]] = {}
    for asset in prices.assets():
        by_tier.setdefault(tiers.tier(asset), []).append(asset)
    falls_by_tier: dict[str, list[Fall]] = {}
    for tier, assets in by_tier.items():
        falls_by_tier[tier] = sorted(
            (fall for asset in assets for fall in _falls(prices, asset, tier)),
            key=lambda fall: fall.low_at,
        )
    ordered = [tier for tier in FALL_PCT if tier in by_tier]
    scores = tuple(
        ConfigurationScore(
            name=judgement.name,
            tiers=tuple(
                _tier(tier, frozenset(by_tier[tier]), falls_by_tier[tier], prices, run)
                for tier in ordered
            ),
            line="" if judgement.line is None else judgement.line.name,
            other_level=judgement.line is not None and judgement.level != judgement.line.levels[0],
        )
        for judgement, run in runs
    )
    return Score(start=start, end=end, fall_pct=FALL_PCT, scores=scores)


def _falls(prices: Prices, asset: str, tier: str) -> Iterator[Fall]:
    at, _, high, low = prices.rows(asset)
    return falls(asset, tier, at, high, low, FALL_PCT[tier])


def _tier(
    tier: str, assets: frozenset[str], of_tier: Sequence[Fall], prices: Prices, run: Run
) -> TierScore:
    everybody = frozenset({ALL}) if tier != "tail" else frozenset[str]()
    posts = [p for p in run.posts if not is_end(p) and _about(p, assets | everybody)]
    calm = _calm(of_tier, prices, assets)
    families = dict.fromkeys(alert.family for post in posts for alert in post.alerts)
    by_rule = {name: _of_rule(posts, name) for name in sorted(families)}
    rules = [
        _worth(name, own, of_tier, _each_caught(of_tier, own, prices), calm)
        for name, own in by_rule.items()
    ]
    asked = {
        rule.name: any((rule.metric, asset) in prices.known for asset in assets | {ALL})
        for rule in run.settings.rules
        if rule.scope == "market" or any(rule.row_of(asset) for asset in assets)
    }
    caught = _each_caught(of_tier, posts, prices)
    return TierScore(
        tier=tier,
        not_judged=tuple(name for name, known in asked.items() if not known),
        judged=any(asked.values()),
        whole=_worth(tier, posts, of_tier, caught, calm),
        rules=tuple(rules),
        caught=tuple(caught),
    )


def _about(post: Delivery, assets: frozenset[str], level: Level = Level.WATCH) -> bool:
    return any(alert.asset in assets and alert.level >= level for alert in post.alerts)


def _of_rule(posts: Iterable[Delivery], family: str) -> list[Delivery]:
    """The same posts, of one rule's alerts only."""
    kept = (
        msgspec.structs.replace(p, alerts=tuple(a for a in p.alerts if a.family == family))
        for p in posts
    )
    return [post for post in kept if post.alerts]


def _each_caught(
    of_tier: Sequence[Fall], posts: Sequence[Delivery], prices: Prices
) -> list[Caught]:
    return [_caught(fall, posts, prices) for fall in of_tier]


def _caught(fall: Fall, posts: Sequence[Delivery], prices: Prices) -> Caught:
    everybody = {ALL} if fall.tier != "tail" else set[str]()
    subject = frozenset({fall.asset, *everybody})
    rings = [
        post
        for post in posts
        if fall.high_at < post.at <= fall.low_at and _about(post, subject, Level.ALERT)
    ]
    whole = Caught(
        asset=fall.asset, high_at=fall.high_at, low_at=fall.low_at, fall_pct=fall.pct,
        rings=len(rings),
    )  # fmt: skip
    if not rings:
        return whole
    first = rings[0]
    alert = next(a for a in first.alerts if a.asset in subject and a.level >= Level.ALERT)
    price = prices.at(fall.asset, first.at)
    return msgspec.structs.replace(
        whole,
        first_at=first.at,
        rule=alert.rule,
        lead_ms=fall.low_at - first.at,
        to_come=0.0 if price is None else fall.to_come(price),
    )


class _Calm:
    """The watched time of a tier in which none of its assets fell."""

    def __init__(self, watched: Sequence[tuple[Ms, Ms]], fell: Sequence[tuple[Ms, Ms]]) -> None:
        self._fell = fell
        inside = sum(
            max(0, min(end, last) - max(start, first))
            for first, last in watched
            for start, end in fell
        )
        self.months = (sum(last - first for first, last in watched) - inside) / MONTH

    def holds(self, now: Ms) -> bool:
        return not any(start <= now <= end for start, end in self._fell)


def _calm(of_tier: Iterable[Fall], prices: Prices, assets: Iterable[str]) -> _Calm:
    watched = _united(stretch for asset in assets for stretch in _stretches(prices.rows(asset)[0]))
    return _Calm(watched, _united((fall.high_at, fall.ended_at) for fall in of_tier))


def _stretches(at: Times) -> Iterator[tuple[Ms, Ms]]:
    """From where to where there are prices, holes of days left out."""
    if len(at):
        ends = np.flatnonzero(np.diff(at) > _HOLE)
        starts = [0, *(ends + 1).tolist()]
        for start, end in zip(starts, [*ends.tolist(), len(at) - 1], strict=True):
            yield int(at[start]), int(at[end])


def _united(stretches: Iterable[tuple[Ms, Ms]]) -> list[tuple[Ms, Ms]]:
    united: list[tuple[Ms, Ms]] = []
    for start, end in sorted(stretches):
        if united and start <= united[-1][1]:
            united[-1] = united[-1][0], max(end, united[-1][1])
        else:
            united.append((start, end))
    return united


def _worth(
    name: str,
    posts: Sequence[Delivery],
    of_tier: Sequence[Fall],
    caught: Sequence[Caught],
    calm: _Calm,
) -> Worth:
    rings = [p for p in posts if any(a.level >= Level.ALERT for a in p.alerts)]
    leads = [fall.lead_ms for fall in caught if fall.first_at is not None]
    inside = [p for p in rings if _within(p, of_tier, late=False)]
    late = [p for p in rings if p not in inside and _within(p, of_tier, late=True)]
    quiet = [p for p in posts if calm.holds(p.at)]
    months = max(calm.months, 1e-9)
    return Worth(
        name=name,
        posts=len(posts),
        rings=len(rings),
        without_fall=len(rings) - len(inside) - len(late),
        late=len(late),
        falls=len(of_tier),
        caught=len(leads),
        median_lead_ms=round(median(leads)) if leads else None,
        mean_to_come=fmean([fall.to_come for fall in caught]) if caught else 0.0,
        calm_months=calm.months,
        calm_posts_a_month=len(quiet) / months,
        calm_rings_a_month=sum(calm.holds(p.at) for p in rings) / months,
    )


def _within(post: Delivery, of_tier: Iterable[Fall], *, late: bool) -> bool:
    """Whether it is about a fall: between high and low, or, ``late``, between low and end."""
    subjects = {alert.asset for alert in post.alerts if alert.level >= Level.ALERT}
    for fall in of_tier:
        if fall.asset in subjects or ALL in subjects:
            first, last = (fall.low_at, fall.ended_at) if late else (fall.high_at, fall.low_at)
            if first < post.at <= last:
                return True
    return False


def judgements(configurations: Sequence[Settings], levels: bool) -> list[Judgement]:
    """The configurations by their files' names, then the rules of one line."""
    files = names([settings.path for settings in configurations])
    return [
        *(Judgement(name=n, settings=c) for n, c in zip(files, configurations, strict=True)),
        *lines_of_rules(configurations[0], levels),
    ]


def text(score: Score) -> str:
    """For the terminal: the sums by tier, each rule of the first one, the deepest falls."""
    days = ", ".join(f"{tier} {pct:g} %" for tier, pct in score.fall_pct.items())
    lines = [
        f"{_day(score.start)} to {_day(score.end)}. A fall: so much within 24 h: {days}.",
        "Caught: a ring before the low. To come: the share of the fall that lay ahead at the first"
        " ring, a missed fall counting as 0.",
    ]
    for number, tier in enumerate(tier.tier for tier in score.scores[0].tiers):
        judged = [scored for scored in score.scores if scored.tiers[number].judged]
        beside = [scored for scored in judged if not scored.other_level]
        wholes = [(scored.name, scored.tiers[number].whole) for scored in beside]
        lines += ["", *_sums(tier, wholes)]
        lines += [
            f"{configuration.name}: not judged, there are no values of its metric"
            for configuration in score.scores
            if configuration not in judged and not configuration.other_level
        ]
        first = score.scores[0].tiers[number]
        lines += _at_equal(first.whole, score.scores[0].name, judged, number)
        if first.rules:
            alone = [(worth.name, worth) for worth in first.rules]
            lines += ["", *_sums(f"{tier}, each rule alone", alone)]
        if first.not_judged:
            lines.append(f"not judged, no values: {', '.join(first.not_judged)}")
        lines += ["", *_each_fall(tier, beside, number)]
    return "\n".join(lines)


def _at_equal(
    whole: Worth, name: str, judged: Sequence[ConfigurationScore], number: int
) -> Iterator[str]:
    """Each rule of one line at the level at which it is no louder, or catches no less."""
    if not any(scored.other_level for scored in judged):
        return
    lines: dict[str, list[tuple[str, Worth]]] = {}
    for scored in judged:
        if scored.line:
            lines.setdefault(scored.line, []).append((scored.name, scored.tiers[number].whole))
    noise, caught = whole.calm_rings_a_month, whole.caught
    no_louder = [
        max(quiet, key=lambda entry: entry[1].mean_to_come)
        for line in lines.values()
        if (quiet := [entry for entry in line if entry[1].calm_rings_a_month <= noise])
    ]
    no_blinder = [
        min(seeing, key=lambda entry: entry[1].calm_rings_a_month)
        for line in lines.values()
        if (seeing := [entry for entry in line if entry[1].caught >= caught])
    ]
    yield ""
    yield from _sums(f"no louder than {name}, the most to come", no_louder)
    yield ""
    yield from _sums(f"catch as much as {name}, the least calm rings", no_blinder)


def _sums(title: str, worths: Sequence[tuple[str, Worth]]) -> Iterator[str]:
    width = max(len(title), *(len(label) for label, _ in worths), 0)
    yield (
        f"{title:{width}}  caught   lead  to come  rings  without fall  late"
        "  calm: posts, rings a month"
    )
    for label, worth in worths:
        lead = "–" if worth.median_lead_ms is None else ENGLISH.length(worth.median_lead_ms)
        caught = f"{worth.caught} of {worth.falls}"
        yield (
            f"{label:{width}}  {caught:>8}  {lead:>5}  {worth.mean_to_come:6.0%}  {worth.rings:5}"
            f"  {worth.without_fall:12}  {worth.late:4}"
            f"  {worth.calm_posts_a_month:11.2f}, {worth.calm_rings_a_month:.2f}"
        )


def _each_fall(tier: str, judged: Sequence[ConfigurationScore], number: int) -> Iterator[str]:
    if not judged:
        return
    rows = list(zip(*(entry.tiers[number].caught for entry in judged), strict=True))
    deepest = sorted(rows, key=lambda of_fall: of_fall[0].fall_pct)[:DEEPEST]
    left_out = f", the {DEEPEST} deepest of {len(rows)}; --json has all" * (len(rows) > DEEPEST)
    yield f"{tier}: falls{left_out}, and the first ring before the low: " + "; ".join(
        entry.name for entry in judged
    )
    for of_fall in sorted(deepest, key=lambda of_fall: of_fall[0].low_at):
        fall = of_fall[0]
        rings = (
            "missed" if entry.first_at is None
            else f"{ENGLISH.length(entry.lead_ms)} before, {entry.to_come:.0%} to come"
            for entry in of_fall
        )  # fmt: skip
        yield f"  {_minute(fall.low_at)} {fall.asset} {fall.fall_pct:.1f} %: {'; '.join(rings)}"


def _day(at: Ms) -> str:
    return f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d}"


def _minute(at: Ms) -> str:
    return f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M}"
