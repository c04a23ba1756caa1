"""The figures of docs/defaults.md, made of a run of the shipped configuration."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from bot.backtest.evaluate import Run, Seen
from bot.backtest.posts import is_end
from bot.plan.planner import Delivery
from rules.alerts import ALL, Alert, Level, Turn
from rules.rule import Row, Rule
from streams.durations import DAY
from streams.events import Ms

MONTH = 30 * DAY
LATE = DAY // 2
"""Windows of a day and bars of 4 h tell of a day after it."""


def ms(day: str) -> Ms:
    return round(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)


def rings(post: Delivery, assets: set[str], rule: str = "") -> bool:
    """Whether a post is at alert or above for one of ``assets``, by that rule if one is named."""
    return any(
        a.level >= Level.ALERT and a.asset in assets and rule in ("", a.rule) for a in post.alerts
    )


def rang_for(run: Run, day: str, asset: str) -> list[tuple[Delivery, list[Alert]]]:
    """The posts of a day that rang, of events in which the asset is at alert or above, with its
    alerts there. What joins an event that has rung is told by an edit, and in the end's post."""
    events: dict[str, list[Alert]] = {}
    for post in run.posts:
        alerts = [a for a in post.alerts if a.asset == asset and a.level >= Level.ALERT]
        events.setdefault(post.thread, []).extend(alerts)
    ringing = [post for post in of_day(run, day) if not post.silent]
    return [(post, events[post.thread]) for post in ringing if events[post.thread]]


def news(posts: Iterable[Delivery]) -> Iterator[tuple[Delivery, list[Alert]]]:
    """Each post but the ends, with those of its alerts that no post before has shown at a level as
    high: a post of an event shows all that belongs to it."""
    levels: dict[str, Level] = {}
    for post in posts:
        if not is_end(post):
            fresh = [a for a in post.alerts if a.level > levels.get(str(a.episode), 0)]
            levels |= {str(a.episode): a.level for a in fresh}
            yield post, [a for a in fresh if a.turn is not Turn.CLOSE]


def figures(seen: Seen, run: Run, stress: Mapping[str, str]) -> str:
    """Both tables."""
    return "\n".join([*by_rule(seen, run, stress), "", *by_day(run, stress)])


def by_rule(seen: Seen, run: Run, stress: Mapping[str, str]) -> Iterator[str]:
    yield (
        "| rule | for | watch / alert / critical | posts a month, at the same levels"
        " | days of stress that rang | missed |"
    )
    yield "|---|---|---|---|---|---|"
    for rule in (rule for rule in run.settings.rules if rule.post):
        for tier, assets, row in tiers(rule, run, seen):
            yield line(rule, tier, assets, row, seen, run, stress)


def tiers(rule: Rule, run: Run, seen: Seen) -> Iterator[tuple[str, set[str], Row]]:
    """Assets with the same row, named by their tier."""
    if rule.scope == "market":
        yield "the market", {ALL}, rule.rows[ALL]
        return
    named = run.settings.tiers
    groups: dict[tuple[str, tuple[float, ...]], set[str]] = {}
    for asset, row in rule.rows.items():
        key = named.tier(asset), (*row.levels.values(), row.clear)
        groups.setdefault(key, set()).add(asset)
    for (tier, _), assets in groups.items():
        whole = sum(name == tier for name, _ in groups) == 1
        yield tier if whole else ", ".join(sorted(assets)), assets, rule.rows[min(assets)]
    if rule.others is not None:
        met = {place.asset for place in seen.rows} - set(rule.rows) - {ALL}
        yield "tail", met, rule.others


def line(
    rule: Rule,
    tier: str,
    assets: set[str],
    row: Row,
    seen: Seen,
    run: Run,
    stress: Mapping[str, str],
) -> str:
    levels = " / ".join(f"{row.levels[lv]:g}" if lv in row.levels else "–" for lv in Level)
    head = f"| {rule.name} | {tier} | {levels} |"
    places = [p for p in seen.rows if p.metric == rule.metric and p.asset in assets]
    if not places:
        return f"{head} not judged: no data that fine | | |"
    first, last = min(seen.first[p] for p in places), max(seen.last[p] for p in places)
    months = max((last - first) / MONTH, 1)
    counts: Counter[Level] = Counter()
    for _, fresh in news(run.posts):
        alert_levels = [a.level for a in fresh if a.rule == rule.name and a.asset in assets]
        if alert_levels:
            counts[max(alert_levels)] += 1
    rates = " / ".join(f"{counts[lv] / months:.2f}" if lv in row.levels else "–" for lv in Level)
    if max(row.levels) < Level.ALERT:
        return f"{head} {rates} | never rings | |"
    days = [d for d in stress if any(seen.first[p] <= ms(d) <= seen.last[p] for p in places)]
    caught = [d for d in days if any(rings(post, assets, rule.name) for post in of_day(run, d))]
    missed = ", ".join(d for d in days if d not in caught) or "–"
    return f"{head} {rates} | {len(caught)} of {len(days)} | {missed} |"


def of_day(run: Run, day: str) -> list[Delivery]:
    """The posts of a day and of the twelve hours after it; ends are no news."""
    return [p for p in run.posts if ms(day) <= p.at < ms(day) + DAY + LATE and not is_end(p)]


def by_day(run: Run, stress: Mapping[str, str]) -> Iterator[str]:
    yield "| day of stress | asset | its event's first post that rang | by |"
    yield "|---|---|---|---|"
    for day, asset in stress.items():
        posts = rang_for(run, day, asset)
        first = posts[0][0] if posts else None
        when = f"{datetime.fromtimestamp(first.at / 1000, UTC):%d %b %H:%M}" if first else "missed"
        rules = dict.fromkeys(a.rule for _, alerts in posts for a in alerts)
        yield f"| {day} | {asset} | {when} | {', '.join(rules)} |"
