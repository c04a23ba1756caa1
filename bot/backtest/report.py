"""A report as text for the terminal. Pure.

What came of a backtest, in the order in which it is told. Pure.
"""

import textwrap
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bot.backtest.changes import Change, Changes
from bot.backtest.evaluate import Run, Seen
from bot.backtest.posts import ListedPost, is_end, listed
from bot.backtest.series import SeriesKey
from bot.config import Settings
from bot.lang import ENGLISH
from rules.alerts import Alert, Level, Turn
from rules.metrics import metric
from rules.rule import Rule
from rules.snapshot import PRICE
from streams.durations import DAY, HOUR
from streams.events import Ms

LOUDEST = 10
ALIKE = 2
"""So many of one rule on one asset are shown, so that one of them does not fill the list."""


class VenueCoverage(msgspec.Struct, frozen=True, kw_only=True):
    """When a venue took part in the values of a metric."""

    venue: str
    """Its name, ``all`` for a sum over all that a file holds; or the kind of file, if that does not
    say which venues made a value."""
    first: Ms
    """When the first day began (UTC)."""
    last: Ms
    """And when the last one did."""
    days: int
    """On how many days of these."""


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a metric was observed, of all ``assets`` together."""

    metric: str
    assets: tuple[str, ...]
    hours: float
    frozen_hours: float
    """Rows were there, without a value."""
    holes: int
    """How often values were away for more than one and a half of the step there."""
    step_ms: Ms
    """The shortest time between two values."""
    longest_step_ms: Ms
    """The longest step."""
    first: Ms
    """Time of the first value."""
    last: Ms
    """Time of the last value."""
    venues: tuple[VenueCoverage, ...]
    """Whose values they are, by name."""


class NotJudged(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that these data do not decide about."""

    rule: str
    assets: tuple[str, ...]
    """Empty: for any asset."""
    why: str


class Posts(msgspec.Struct, frozen=True, kw_only=True):
    """Posts of a rule at a level; ends are not counted."""

    rule: str
    level: str
    count: int
    days: int
    """On which the rule could be judged."""
    per_day: float
    """Of these days."""


class ConfigurationPosts(msgspec.Struct, frozen=True, kw_only=True):
    """What one configuration posted, and what it did not."""

    name: str
    """The file, with as much of its path as distinguishes it from the others."""
    posts: tuple[Posts, ...]
    total: int
    rings: int
    """Posts at alert and critical."""
    ends: int
    """Posts that an episode is over."""
    busiest_at: Ms | None
    """When the hour with most posts began."""
    busiest: int
    """Posts in that hour."""
    most_a_day: int
    cooled: int
    """Openings held back by the cool-down."""
    hidden: int
    """Alerts hidden by a composite."""
    over_budget: int
    """Alerts held back by the budget or by quiet hours."""
    merged: int
    """Alerts that another post shows."""
    unposted: int
    """Alerts of rules that never post."""
    listed: tuple[ListedPost, ...]
    """Every post by itself."""
    listed_ends: tuple[ListedPost, ...]
    """And every end."""


class PriceMoves(msgspec.Struct, frozen=True, kw_only=True):
    """What the price did around a moment, in percent of the price then."""

    at: float | None = None
    """The price then, quote per coin; None: unknown."""
    before_1h_pct: float | None = None
    after_1h_pct: float | None = None
    after_4h_pct: float | None = None
    after_24h_pct: float | None = None


class Loud(msgspec.Struct, frozen=True, kw_only=True):
    """An episode."""

    rule: str
    asset: str
    instrument: str
    metric: str
    unit: str
    level: str
    opened_at: Ms
    closed_at: Ms | None
    """None: it was open at the end."""
    value: float
    """When it opened, in ``unit``."""
    extreme: float
    """The worst value, in ``unit``."""
    extreme_at: Ms
    times: float
    """How many times its first level ``extreme`` is."""
    posted: bool
    prices: PriceMoves = PriceMoves()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole backtest."""

    start: Ms
    end: Ms
    """Not included."""
    days: int
    """On how many something was observed."""
    coverage: tuple[Coverage, ...]
    """By metric, prices last."""
    not_judged: tuple[NotJudged, ...]
    """Rules that could not be judged, and why."""
    notes: tuple[str, ...]
    """What was noticed while reading, in sentences."""
    posted: tuple[ConfigurationPosts, ...]
    """By configuration, that of the operator first."""
    loudest: tuple[Loud, ...]
    """The episodes that went furthest beyond their first level."""
    changes: Changes | None = None
    """Of the first configuration against the second; None: there is only the first."""


def coverage(
    seen: Seen, spoke: Mapping[str, Mapping[str, Collection[int]]]
) -> tuple[Coverage, ...]:
    """By metric, prices last. ``spoke``: by metric and venue, the days since the epoch."""
    names = sorted({place.metric for place in seen.rows}, key=lambda name: (name == PRICE, name))
    return tuple(_covered(seen, name, spoke.get(name, {})) for name in names)


def _covered(seen: Seen, name: str, spoke: Mapping[str, Collection[int]]) -> Coverage:
    places = [place for place in seen.rows if place.metric == name]
    first = min(seen.first[place] for place in places)
    last = max(seen.last[place] for place in places)
    asked = range(first // DAY, last // DAY + 1)  # charts look at the days around it, too
    inside = {venue: [day for day in days if day in asked] for venue, days in spoke.items()}
    return Coverage(
        metric=name,
        assets=tuple(sorted({place.asset for place in places})),
        hours=sum(seen.live_ms[place] for place in places) / HOUR,
        frozen_hours=sum(seen.frozen_ms[place] for place in places) / HOUR,
        holes=sum(seen.holes[place] for place in places),
        step_ms=min(seen.steps[place][0] for place in places),
        longest_step_ms=max(seen.steps[place][1] for place in places),
        first=first,
        last=last,
        venues=tuple(
            VenueCoverage(venue=venue, first=min(days) * DAY, last=max(days) * DAY, days=len(days))
            for venue, days in sorted(inside.items())
            if days
        ),
    )


def not_judged(
    seen: Seen, runs: Sequence[Run], why: dict[str, str], assets: frozenset[str]
) -> tuple[NotJudged, ...]:
    """Rules without a value, and those without one for an asset that they name."""
    missing_by_rule: dict[tuple[str, str], set[str]] = {}
    for rule in (rule for run in runs for rule in run.settings.rules):
        known = {place.asset for place in seen.rows if place.metric == rule.metric}
        reason = why.get(rule.metric, "its metric is not in the log")
        if not known:
            missing_by_rule.setdefault((rule.name, reason), set())
            continue
        missing = {a for a in rule.rows if a not in known and (not assets or a in assets)}
        if missing:
            reason = f"no values of {rule.metric} for them"
            missing_by_rule.setdefault((rule.name, reason), set()).update(missing)
    return tuple(
        NotJudged(rule=rule, assets=tuple(sorted(assets_of)), why=reason)
        for (rule, reason), assets_of in missing_by_rule.items()
    )


def names(paths: Sequence[Path]) -> list[str]:
    """The files' names, with as many of their folders as tell different files apart."""
    whole = [path.resolve().parts for path in paths]
    for count in range(1, max(map(len, whole), default=1)):
        ends = [parts[-count:] for parts in whole]
        if len(set(ends)) == len(set(whole)):
            return ["/".join(end) for end in ends]
    return ["/".join(parts) for parts in whole]


def days_of(settings: Settings, seen: Seen) -> dict[str, int]:
    """By rule or composite, the number of days on which it could be judged.

    A rule needs a value of its metric, or of one of its windows; a composite needs as many of its
    conditions as could make it fire.
    """
    known: dict[str, set[int]] = {}
    for rule in settings.rules:
        known.setdefault(rule.family, set()).update(seen.days.get(rule.metric, ()))
    counts = {family: len(days) for family, days in known.items()}
    for composite in settings.composites:
        conditions = {family for family, _ in composite.all_of}
        judged = Counter(day for family in conditions for day in known.get(family, ()))
        counts[composite.name] = sum(n >= min(2, len(conditions)) for n in judged.values())
    return counts


def posted(run: Run, seen: Seen, name: str) -> ConfigurationPosts:
    """The posts of one configuration. ``name``: what it is called in the report."""
    days = days_of(run.settings, seen)
    counts = run.state.counts
    posts = [post for post in run.posts if not is_end(post)]
    by = Counter((post.alerts[0].family, post.alerts[0].level) for post in posts)
    hours = Counter(post.at // HOUR for post in posts)
    busiest = max(hours, key=lambda hour: (hours[hour], -hour), default=None)
    silent = {rule.name for rule in run.settings.rules if not rule.post}
    openings = [alert for alert in run.alerts if alert.turn is Turn.OPEN and not alert.post]
    each_post, each_end = listed(run)
    return ConfigurationPosts(
        name=name,
        posts=tuple(
            Posts(
                rule=rule,
                level=level.name.lower(),
                count=n,
                days=days.get(rule, 0),
                per_day=n / max(days.get(rule, 0), 1),
            )
            for (rule, level), n in sorted(by.items())
        ),
        total=len(posts),
        rings=sum(n for (_, level), n in by.items() if level >= Level.ALERT),
        ends=len(run.posts) - len(posts),
        busiest_at=None if busiest is None else busiest * HOUR,
        busiest=max(hours.values(), default=0),
        most_a_day=max(Counter(post.at // DAY for post in posts).values(), default=0),
        cooled=sum(alert.rule not in silent for alert in openings),
        hidden=counts.hidden,
        over_budget=counts.held,
        merged=counts.merged,
        unposted=sum(alert.rule in silent for alert in openings),
        listed=each_post,
        listed_ends=each_end,
    )


def loudest(run: Run, most: int = LOUDEST) -> list[Loud]:
    """The worst episodes: by level, then by how far beyond the first level they went."""
    episodes: dict[tuple[str, str, Ms], list[Alert]] = {}
    for alert in run.alerts:
        key = alert.rule, alert.instrument or alert.asset, alert.opened_at
        episodes.setdefault(key, []).append(alert)
    rules = {rule.name: rule for rule in run.settings.rules}
    episodes_by_worst = [_loud(rules, alerts) for alerts in episodes.values()]
    episodes_by_worst.sort(
        key=lambda loud: (-Level[loud.level.upper()], -loud.times, loud.opened_at, loud.rule)
    )
    met: Counter[tuple[str, str]] = Counter()
    chosen: list[Loud] = []
    for loud in episodes_by_worst:
        met[loud.rule, loud.asset] += 1
        if met[loud.rule, loud.asset] <= ALIKE:
            chosen.append(loud)
    return chosen[:most]


def _loud(rules: dict[str, Rule], alerts: Sequence[Alert]) -> Loud:
    first, last = alerts[0], alerts[-1]
    return Loud(
        rule=first.rule,
        asset=first.asset,
        instrument=first.instrument,
        metric=first.metric,
        unit=first.unit,
        level=max(alert.level for alert in alerts).name.lower(),
        opened_at=first.opened_at,
        closed_at=last.seen if last.turn is Turn.CLOSE else None,
        value=first.value,
        extreme=last.extreme,
        extreme_at=last.extreme_at,
        times=_times(rules.get(first.rule), last),
        posted=any(alert.post and not alert.hidden_by for alert in alerts),
    )


def _times(rule: Rule | None, alert: Alert) -> float:
    if rule is None:
        return alert.extreme / max(alert.threshold, 1.0)
    row, distance = rule.row_of(alert.asset), metric(rule.metric).distance
    first = distance(next(iter(row.levels.values()))) if row else 0.0
    return distance(alert.extreme) / first if first else distance(alert.extreme)


def families(settings: Iterable[Settings]) -> list[str]:
    """The rules of all configurations by the name they have in the file, in its order."""
    rules = [rule.family for chosen in settings for rule in chosen.rules]
    composites = [composite.name for chosen in settings for composite in chosen.composites]
    return list(dict.fromkeys(rules + composites))


def place_of(loud: Loud) -> SeriesKey:
    """Where the series of an episode is."""
    return SeriesKey(loud.metric, loud.asset, loud.instrument)


def text(report: Report, width: int = 120) -> str:
    """All of it, in the order of the page in docs, in lines of ``width`` characters where a table
    can be made that narrow."""
    parts = [
        _answer(report, width),
        _coverage(report, width),
        _posts(report),
        _busiest(report.posted),
        _kept_back(report.posted),
        _loudest(report.loudest, width),
        *([_changes(report, report.changes)] if report.changes else []),
        *(part for configuration in report.posted for part in _lists(configuration, width)),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _answer(report: Report, width: int) -> list[str]:
    lines: list[str] = []
    for sentence in [title_of(report), *sentences_of(report)]:
        lines += wrap(sentence, width)
    return lines


def title_of(report: Report) -> str:
    """Which configurations, and which time."""
    names = " against ".join(configuration.name for configuration in report.posted)
    if not report.days:
        return f"{names}: nothing to judge: the files hold no values that a rule looks at"
    span = f"{day(report.start)} to {day(report.end)} UTC"
    return f"{names}: {span}, {_count(report.days, 'day')} with values"


def sentences_of(report: Report) -> list[str]:
    """What a trader wants to know first, in sentences."""
    if not report.days:
        return []
    sentences = [_in_short(configuration, report.days) for configuration in report.posted]
    if report.changes is not None:
        counts = report.changes.counts
        different = ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())) or "none differs"
        same = f"{report.changes.same} the same"
        sentences.append(f"Events against {report.posted[1].name}: {different}, {same}.")
    if rules := len({entry.rule for entry in report.not_judged}):
        sentences.append(
            f"Not judged, for all coins or some: {_count(rules, 'rule')}. Silence of these means"
            " nothing; the reasons are under coverage."
        )
    return sentences


def _in_short(posted: ConfigurationPosts, days: int) -> str:
    if not posted.total:
        return f"{posted.name} would have posted nothing."
    return (
        f"{posted.name} would have posted {_count(posted.total, 'time')},"
        f" {pace(posted.total, days)}; {posted.rings:,} of these ring, {pace(posted.rings, days)}."
        f" At most {posted.most_a_day} in a day."
    )


def pace(count: int, days: int) -> str:
    """``1.3 a day``, or of what is rarer ``1.3 a month``."""
    a_day = count / days
    return f"{a_day:.1f} a day" if a_day >= 1 or not count else f"{30 * a_day:.1f} a month"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def wrap(line: str, width: int, hanging: int = 0) -> list[str]:
    """Lines of at most ``width``, all but the first ``hanging`` characters further in."""
    return textwrap.wrap(
        line, max(width - 1, hanging + 30), subsequent_indent=" " * hanging,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _changes(report: Report, changes: Changes) -> list[str]:
    rows = [change_row(change) for change in changes.each]
    title = f"DIFFERENT FROM {report.posted[1].name}"
    same = f"  the same: {changes.same}"
    return [title, *(table(CHANGE_HEAD, rows) if rows else []), same]


CHANGE_HEAD = ("", "at (UTC)", "coin", "rule", "level", "before")


def change_row(change: Change) -> tuple[str, ...]:
    """``later  2025-02-03 02:10  ETH  price_drop  alert  10 min before, alert``."""
    level = change.level or change.before_level or ""
    if change.at is None or change.before_at is None:
        before = ""
    else:
        apart = change.at - change.before_at
        when = "at the same time" if not apart else f"{ENGLISH.length(abs(apart))} sooner"
        if apart < 0:
            when = f"{ENGLISH.length(-apart)} later"
        before = when if change.before_level == change.level else f"{when}, {change.before_level}"
    at = change.at if change.at is not None else change.before_at
    return str(change.kind), moment(at), change.subject, change.rule, level, before


def _lists(configuration: ConfigurationPosts, width: int) -> Iterator[list[str]]:
    yield [f"POSTS of {configuration.name} (UTC)", *_listed(configuration.listed, width)]
    if configuration.listed_ends:
        title = f"ENDS told by {configuration.name} (UTC)"
        yield [title, *_listed(configuration.listed_ends, width)]


def _listed(posts: Sequence[ListedPost], width: int) -> Iterator[str]:
    """When, which coin, how bad, the first line of the text, and by which rule."""
    if not posts:
        yield "  none"
    coin = max((len(post.about) for post in posts), default=0)
    for post in posts:
        start = f"  {moment(post.at)}  {post.about:<{coin}}  {post.level:<8}  "
        rules = ", ".join(post.rules)
        yield from wrap(f"{start}{post.headline} ({rules})", width, len(start))


def day(at: Ms) -> str:
    """``3 Feb 2025``."""
    when = datetime.fromtimestamp(at / 1000, UTC)
    return f"{when.day} {when:%b %Y}"


def moment(at: Ms | None) -> str:
    """``2025-02-03 02:00``."""
    return "-" if at is None else f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M}"


def _coverage(report: Report, width: int) -> list[str]:
    rows = [_coverage_row(entry) for entry in report.coverage]
    lines = ["COVERAGE", *table(("metric", "assets", "hours", "frozen", "holes", "each"), rows)]
    venues = [row for entry in report.coverage for row in venue_rows(entry)]
    lines += ["by venue:", *table(VENUE_HEAD, venues)] if venues else []
    if report.not_judged:
        lines.append("not judged:")
        for entry in report.not_judged:
            of_assets = f" for {', '.join(entry.assets)}" if entry.assets else ""
            lines += wrap(f"  {entry.rule}{of_assets}: {entry.why}", width, 6)
    for note in report.notes:
        lines += wrap(f"note: {note}", width, 6)
    return lines


VENUE_HEAD = ("metric", "venue", "from", "to", "days")


def venue_rows(entry: Coverage) -> Iterator[tuple[str, ...]]:
    """Which venues took part in a metric, and on which days."""
    for venue in entry.venues:
        yield entry.metric, venue.venue, day(venue.first), day(venue.last), f"{venue.days:,}"


def _coverage_row(entry: Coverage) -> tuple[str, ...]:
    frozen = f"{entry.frozen_hours:,.0f} h" if entry.frozen_hours else "-"
    count = len(entry.assets)
    name = entry.assets[0] if count == 1 else str(count)
    return entry.metric, name, f"{entry.hours:,.0f}", frozen, f"{entry.holes:,}", each(entry)


def each(entry: Coverage) -> str:
    """How far apart values lie, in words."""
    if entry.longest_step_ms == entry.step_ms:
        return ENGLISH.length(entry.step_ms)
    return f"{ENGLISH.length(entry.step_ms)} to {ENGLISH.length(entry.longest_step_ms)}"


def _posts(report: Report) -> list[str]:
    keys = list(dict.fromkeys((p.rule, p.level) for posted in report.posted for p in posted.posts))
    rows: list[tuple[str, ...]] = []
    for key in sorted(keys):
        posts = [
            next((p for p in t.posts if (p.rule, p.level) == key), None) for t in report.posted
        ]
        rows.append((*key, *(f"{p.per_day:.3f} ({p.count:,})" if p else "-" for p in posts)))
    days = max(report.days, 1)
    rows.append(("all", "", *(f"{t.total / days:.3f} ({t.total:,})" for t in report.posted)))
    rows.append(("", "ringing", *(f"{t.rings / days:.3f} ({t.rings:,})" for t in report.posted)))
    head = ("rule", "level", *(configuration.name for configuration in report.posted))
    return [
        "POSTS PER DAY ON WHICH THE RULE HAD VALUES (and in all; ends not counted)",
        *table(head, rows),
    ]


def _busiest(configurations: Sequence[ConfigurationPosts]) -> list[str]:
    return ["BUSIEST HOUR"] + [
        f"  {posted.name}: {posted.busiest} in the hour from {moment(posted.busiest_at)};"
        f" at most {posted.most_a_day} in a day"
        for posted in configurations
    ]


def _kept_back(configurations: Sequence[ConfigurationPosts]) -> list[str]:
    head = ("", "cool-down", "hidden", "over budget", "merged", "never posted", "ends told")
    rows = [
        tuple(map(str, (t.name, t.cooled, t.hidden, t.over_budget, t.merged, t.unposted, t.ends)))
        for t in configurations
    ]
    return ["NOT POSTED", *table(head, rows)]


_LOUD_HEAD = ("opened", "rule", "asset", "level", "worst", "lasted", "price", "1h before",
              "1h after", "4h after", "24h after")  # fmt: skip
_LOUD_LESS = ("1h before", "4h after", "price", "1h after", "lasted", "24h after")
"""What is left out first where the lines are too short."""


def _loudest(episodes: Sequence[Loud], width: int) -> list[str]:
    if not episodes:
        return ["LOUDEST EPISODES", "  none"]
    lines = [_LOUD_HEAD, *(_loud_row(loud) for loud in episodes)]
    shown = list(table(lines[0], lines[1:]))
    for name in _LOUD_LESS:
        if max(map(len, shown)) <= width:
            break
        place = lines[0].index(name)
        lines = [line[:place] + line[place + 1 :] for line in lines]
        shown = list(table(lines[0], lines[1:]))
    unposted = ["  * not posted"] if not all(loud.posted for loud in episodes) else []
    return ["LOUDEST EPISODES", *shown, *unposted]


def _loud_row(loud: Loud) -> tuple[str, ...]:
    prices = loud.prices
    moves = (prices.before_1h_pct, prices.after_1h_pct, prices.after_4h_pct, prices.after_24h_pct)
    lasted = "open" if loud.closed_at is None else ENGLISH.length(loud.closed_at - loud.opened_at)
    return (
        moment(loud.opened_at),
        loud.rule + ("" if loud.posted else "*"),
        loud.instrument or loud.asset,
        loud.level,
        f"{loud.extreme:.4g} {loud.unit}",
        lasted,
        "-" if prices.at is None else f"{prices.at:,.6g}",
        *("-" if x is None else f"{x:+.1f} %" for x in moves),
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as their widest cell; the first two to the left, numbers to the right."""
    lines = [head, *rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    for line in lines:
        cells = [
            cell.ljust(width) if n < 2 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield ("  " + "  ".join(cells)).rstrip()
