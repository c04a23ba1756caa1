"""A report as one page that opens without a network. Pure.

Pictures of a report as SVG text. Pure.

What was around an episode: its series, its prices, its posts; and what prices did.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10

import msgspec
import numpy as np

from bot.backtest.changes import Changes
from bot.backtest.evaluate import Run, plain
from bot.backtest.posts import ListedPost, is_end
from bot.backtest.report import (
    CHANGE_HEAD,
    VENUE_HEAD,
    ConfigurationPosts,
    Coverage,
    Loud,
    PriceMoves,
    Report,
    change_row,
    day,
    each,
    moment,
    place_of,
    sentences_of,
    venue_rows,
)
from bot.backtest.series import Floats, RecordedSeries, SeriesKey, Times
from bot.backtest.sources import Sources
from bot.lang import ENGLISH
from rules.alerts import Level
from rules.snapshot import PRICE
from streams.durations import DAY, HOUR
from streams.events import Ms

_FRESH: Ms = 2 * HOUR
_MOST = 500
"""So many points are enough for a line."""


@dataclass(slots=True)
class Curve:
    """Points of a line."""

    at: Times
    low: Floats
    high: Floats
    """The upper edge where many values became one point; else as ``low``."""


@dataclass(slots=True)
class Scene:
    """An episode with what surrounds it."""

    loud: Loud
    start: Ms
    """Of the picture, before the episode."""
    end: Ms
    """Of the picture, after it."""
    price: Curve | None
    values: Curve | None


def scene(sources: Sources, loud: Loud) -> Scene:
    """An episode and a day around it."""
    closed = loud.closed_at or loud.opened_at
    start, end = loud.opened_at - 24 * HOUR, min(closed, loud.opened_at + 96 * HOUR) + 24 * HOUR
    series = sources.between(loud.asset, start, end + HOUR).series
    prices = series.get(SeriesKey(PRICE, loud.asset))
    known = msgspec.structs.replace(loud, prices=_prices(prices, loud.opened_at))
    return Scene(known, start, end, _line(prices), _line(series.get(place_of(loud))))


def _prices(series: RecordedSeries | None, at: Ms) -> PriceMoves:
    now = _price(series, at)
    if now is None:
        return PriceMoves()

    def pct(t: Ms) -> float | None:
        other = _price(series, t)
        return None if other is None else 100 * (other - now) / now

    return PriceMoves(
        at=now,
        before_1h_pct=pct(at - HOUR),
        after_1h_pct=pct(at + HOUR),
        after_4h_pct=pct(at + 4 * HOUR),
        after_24h_pct=pct(at + 24 * HOUR),
    )


def _price(series: RecordedSeries | None, at: Ms) -> float | None:
    """The last price known at a moment, None if it is old."""
    if series is None:
        return None
    row = int(np.searchsorted(series.at, at, "right")) - 1
    if row < 0 or at - int(series.at[row]) > _FRESH or np.isnan(series.value[row]):
        return None
    return plain(float(series.value[row]))


def _line(series: RecordedSeries | None) -> Curve | None:
    if series is None:
        return None
    live = ~np.isnan(series.value)
    at, low, high = series.at[live], series.low[live], series.high[live]
    if not len(at):
        return None
    width = -(-len(at) // _MOST)
    starts = np.arange(0, len(at), width)
    return Curve(at[starts], np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts))


WIDTH, HEIGHT = 1000, 220
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 18, 22


def bars(by_day: Mapping[int, Sequence[int]], first: int, last: int) -> str:
    """Posts by day (days since the epoch), watch below, critical on top; wider bars if many."""
    days = last - first + 1
    group = max(1, -(-days // 400))
    counts: dict[int, list[int]] = {}
    for n, by_level in by_day.items():
        bin_ = counts.setdefault((n - first) // group, [0] * len(by_level))
        for place, count in enumerate(by_level):
            bin_[place] += count
    most = max((sum(by_level) for by_level in counts.values()), default=1)
    wide = (WIDTH - LEFT - RIGHT) * group / days

    def x(day_number: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (day_number - first) / days

    def body() -> Iterator[str]:
        yield from _grid(0, most, "posts" if group == 1 else f"posts in {group} days")
        for n, by_level in sorted(counts.items()):
            below = 0
            for place, count in enumerate(by_level):
                if count:
                    top = _y(below + count, 0, most)
                    tall = _y(below, 0, most) - top
                    left = x(first + n * group)
                    yield (
                        f'<rect class=l{place + 1} x="{left:.1f}" y="{top:.1f}"'
                        f' width="{max(wide - 0.5, 0.8):.1f}" height="{tall:.1f}">'
                        f"<title>{day((first + n * group) * DAY)}: {count}</title></rect>"
                    )
                below += count
        for share in (0, 0.25, 0.5, 0.75, 1):
            at = first + share * days
            yield _label(x(at), HEIGHT - 6, day(round(at * DAY)), _anchor(share))

    return _svg(body())


def lines(
    scene: Scene,
    line: Curve,
    title: str,
    levels: Sequence[tuple[str, Level, float]],
    posts: Sequence[tuple[Ms, Level | None, str]],
) -> str:
    """A line with its levels, the episode shaded, and a stroke where something was posted.

    ``posts``: when, at which level (None: that it is over), and what.
    """
    low, high = float(line.low.min()), float(line.high.max())
    shown = [level for level in levels if low - (high - low) <= level[2] <= high + (high - low)]
    low, high = min([low, *(x for _, _, x in shown)]), max([high, *(x for _, _, x in shown)])
    room = (high - low) * 0.06 or abs(high) * 0.01 or 1.0
    low, high = low - room, high + room

    def x(at: float) -> float:
        share = (at - scene.start) / (scene.end - scene.start)
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(share, 0), 1)

    def body() -> Iterator[str]:
        yield from _grid(low, high, title)
        yield _episode(scene, x(scene.loud.opened_at), x(scene.loud.closed_at or scene.end))
        for name, level, value in shown:
            y = _y(value, low, high)
            yield f'<path class=s{int(level)} d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
            yield _label(WIDTH - RIGHT, y - 3, f"{name} {value:g}", "end")
        for at, level, what in posts:
            kind = "end" if level is None else f"s{int(level)}"
            yield (
                f'<path class="post {kind}" d="M{x(at):.1f} {TOP}V{HEIGHT - BOTTOM}">'
                f"<title>{escape(what)}</title></path>"
            )
        upper = [(x(t), _y(v, low, high)) for t, v in _points(line, line.high)]
        lower = [(x(t), _y(v, low, high)) for t, v in _points(line, line.low)]
        if upper != lower:
            yield f'<path class=band d="{_path([*upper, *reversed(lower)])}Z"/>'
        middle = [(a, (b + c) / 2) for (a, b), (_, c) in zip(upper, lower, strict=True)]
        yield f'<path class=curve d="{_path(middle)}"/>'
        yield from _hours(scene, x)

    return _svg(body())


def _episode(scene: Scene, left: float, right: float) -> str:
    tall = HEIGHT - TOP - BOTTOM
    return (
        f'<rect class=open x="{left:.1f}" y="{TOP}" width="{max(right - left, 1):.1f}"'
        f' height="{tall}"><title>{escape(scene.loud.rule)} open</title></rect>'
    )


def _points(line: Curve, edge: Floats) -> Iterator[tuple[int, float]]:
    return zip(line.at.tolist(), edge.tolist(), strict=True)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _hours(scene: Scene, x: Callable[[float], float]) -> Iterator[str]:
    """Six to twelve times of day below the line."""
    hours = (scene.end - scene.start) / HOUR
    every = next(n for n in (1, 3, 6, 12, 24, 48) if hours / n <= 12 or n == 48) * HOUR
    at = -(-scene.start // every) * every
    while at < scene.end - every // 3:
        yield _label(x(at), HEIGHT - 6, moment(at)[5:], "middle")
        at += every


def _y(value: float, low: float, high: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / ((high - low) or 1))


def _grid(low: float, high: float, title: str) -> Iterator[str]:
    step = _round_step((high - low) / 4)
    value = (floor(low / step) + 1) * step if low else 0.0
    while value <= high:
        y = _y(value, low, high)
        yield f'<path class=grid d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        yield _label(LEFT - 6, y + 4, f"{0 if abs(value) < step / 2 else value:,.6g}", "end")
        value += step
    yield _label(LEFT, 11, title, "start")


def _round_step(rough: float) -> float:
    size = 10 ** floor(log10(rough)) if rough > 0 else 1.0
    return next((n * size for n in (1, 2, 5) if n * size >= rough), 10 * size)


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _anchor(share: float) -> str:
    return "start" if share == 0 else "end" if share == 1 else "middle"


def _svg(body: Iterator[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(body)}</svg>'


def page(report: Report, scenes: Sequence[Scene], runs: Sequence[Run]) -> str:
    """The whole page: first the answer, last what it was made of."""
    names = " against ".join(escape(item.name) for item in report.posted)
    parts = [
        f"<h1>Backtest of {names}</h1>",
        f"<p>{day(report.start)} to {day(report.end)} UTC, {report.days:,} days with values.</p>",
        *(f"<p class=answer>{escape(sentence)}</p>" for sentence in sentences_of(report)),
        *_per_day(report, runs),
        *(_changes(report, report.changes) if report.changes else ()),
        *_posts(report),
        *(part for configuration in report.posted for part in _listed(configuration)),
        *_loudest(report),
        *(part for item in scenes for part in _scene(item, runs[0])),
        *_kept_back(report.posted),
        *_coverage(report),
    ]
    return _FRAME.replace("{{body}}", "\n".join(parts))


def _changes(report: Report, changes: Changes) -> Iterator[str]:
    yield f"<h2>Different from {escape(report.posted[1].name)}</h2>"
    if changes.each:
        yield _scrolling(_table(CHANGE_HEAD, map(change_row, changes.each)))
    yield f"<p class=note>{changes.same:,} events are the same in both.</p>"


def _listed(configuration: ConfigurationPosts) -> Iterator[str]:
    yield f"<h2>All posts of {escape(configuration.name)}</h2>"
    if not configuration.listed:
        yield "<p>None.</p>"
        return
    yield _scrolling(_list(configuration.listed))
    if ends := configuration.listed_ends:
        summary = "1 end" if len(ends) == 1 else f"{len(ends):,} ends"
        yield f"<details><summary>{summary}</summary>{_scrolling(_list(ends))}</details>"


def _list(posts: Iterable[ListedPost]) -> str:
    """A row each; what is below the first line of a text unfolds."""

    def row(post: ListedPost) -> str:
        first, _, rest = post.text.partition("\n")
        text = escape(first)
        if rest:
            below = escape(rest).replace("\n", "<br>")
            text = f"<details><summary>{text}</summary>{below}</details>"
        coins = escape(", ".join(post.coins))
        coin = coins if len(post.coins) == 1 else f"<span title='{coins}'>{post.about}</span>"
        cells = (moment(post.at), coin, post.level, escape(", ".join(post.rules)), text)
        return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"

    names = ("posted (UTC)", "coin", "level", "rule", "text")
    head = "<tr>" + "".join(f"<th>{name}</th>" for name in names) + "</tr>"
    return (
        f"<table class=list><thead>{head}</thead><tbody>{''.join(map(row, posts))}</tbody></table>"
    )


def _scrolling(content: str) -> str:
    return f"<div class=scroll>{content}</div>"


def _coverage(report: Report) -> Iterator[str]:
    yield "<h2>Coverage</h2>"
    head = ("metric", "of", "hours observed", "hours frozen", "holes", "a value each")
    yield _table(head, (
        (c.metric, _few(c.assets), f"{c.hours:,.0f}", f"{c.frozen_hours:,.0f}",
         f"{c.holes:,}", each(c))
        for c in report.coverage
    ))  # fmt: skip
    yield from (_names(c) for c in report.coverage if len(c.assets) > _FEW)
    if venues := [row for entry in report.coverage for row in venue_rows(entry)]:
        yield "<h3>By venue</h3>"
        yield _scrolling(_table(VENUE_HEAD, venues))
    if report.not_judged:
        yield "<h3>Not judged</h3>"
        rows = ((n.rule, ", ".join(n.assets) or "all", n.why) for n in report.not_judged)
        yield _table(("rule", "of", "why"), rows)
    for note in report.notes:
        yield f"<p class=note>{escape(note)}</p>"


_FEW = 8
"""So many names stand in a cell; more of them are counted, and listed where one unfolds them."""


def _few(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= _FEW else f"{len(names)} coins"


def _names(entry: Coverage) -> str:
    names = escape(", ".join(entry.assets))
    summary = f"the {len(entry.assets)} coins of {escape(entry.metric)}"
    return f"<details class=note><summary>{summary}</summary>{names}</details>"


def _posts(report: Report) -> Iterator[str]:
    yield "<h2>By rule: posts per day on which it had values</h2>"
    keys = sorted(
        {(p.rule, p.level) for configuration in report.posted for p in configuration.posts}
    )
    days = max(report.days, 1)

    def cells(key: tuple[str, str]) -> Iterator[str]:
        for configuration in report.posted:
            posts = next((p for p in configuration.posts if (p.rule, p.level) == key), None)
            yield f"{posts.per_day:.3f} ({posts.count:,})" if posts else "–"

    rows = [(*key, *cells(key)) for key in keys]
    rows.append(("all", "", *(f"{t.total / days:.3f} ({t.total:,})" for t in report.posted)))
    rows.append(("all", "ringing", *(f"{t.rings / days:.3f} ({t.rings:,})" for t in report.posted)))
    yield _table(("rule", "level", *(t.name for t in report.posted)), rows)


def _per_day(report: Report, runs: Sequence[Run]) -> Iterator[str]:
    for run, configuration in zip(runs, report.posted, strict=True):
        posts = [post for post in run.posts if not is_end(post)]
        counts = Counter((post.at // DAY, post.alerts[0].level) for post in posts)
        by_day = {n: [counts[n, level] for level in Level] for n, _ in counts}
        yield f"<h3>{escape(configuration.name)}: posts by day</h3>"
        yield bars(by_day, report.start // DAY, report.end // DAY)
        yield _busiest(configuration)
    yield "<p class=key><b class=l1></b>watch <b class=l2></b>alert <b class=l3></b>critical</p>"


def _busiest(configuration: ConfigurationPosts) -> str:
    if configuration.busiest_at is None:
        return "<p>No posts.</p>"
    return (
        f"<p>Busiest hour: {configuration.busiest} posts from {moment(configuration.busiest_at)};"
        f" at most {configuration.most_a_day} in a day.</p>"
    )


def _kept_back(configurations: Iterable[ConfigurationPosts]) -> Iterator[str]:
    yield "<h2>Not posted</h2>"
    head = ("configuration", "cool-down", "hidden by a composite", "over budget or quiet",
            "told by another post", "rules that never post", "ends told")  # fmt: skip
    yield _table(head, (
        tuple(map(str, (t.name, t.cooled, t.hidden, t.over_budget, t.merged, t.unposted, t.ends)))
        for t in configurations
    ))  # fmt: skip


def _loudest(report: Report) -> Iterator[str]:
    yield "<h2>Loudest episodes</h2>"
    head = ("opened (UTC)", "rule", "asset", "level", "worst", "lasted", "price", "1 h before",
            "1 h after", "4 h after", "24 h after")  # fmt: skip
    rows: list[tuple[str, ...]] = []
    for loud in report.loudest:
        p = loud.prices
        moves = (p.before_1h_pct, p.after_1h_pct, p.after_4h_pct, p.after_24h_pct)
        lasted = (
            "still open"
            if loud.closed_at is None
            else ENGLISH.length(loud.closed_at - loud.opened_at)
        )
        rows.append((
            moment(loud.opened_at), loud.rule, loud.instrument or loud.asset, loud.level,
            f"{loud.extreme:.4g} {loud.unit}", lasted, "–" if p.at is None else f"{p.at:,.6g}",
            *("–" if x is None else f"{x:+.1f} %" for x in moves),
        ))  # fmt: skip
    yield _table(head, rows)


def _scene(shown: Scene, run: Run) -> Iterator[str]:
    loud = shown.loud
    name = loud.instrument or loud.asset
    yield f"<h3>{escape(name)}, {escape(loud.rule)}: {moment(loud.opened_at)}</h3>"
    posts = [
        (
            post.at,
            None if is_end(post) else post.alerts[0].level,
            f"{post.alerts[0].rule} {post.alerts[0].turn}",
        )
        for post in run.posts
        if shown.start <= post.at < shown.end and any(a.asset == loud.asset for a in post.alerts)
    ]
    rule = next((rule for rule in run.settings.rules if rule.name == loud.rule), None)
    row = rule.row_of(loud.asset) if rule else None
    levels = [(level.name.lower(), level, x) for level, x in row.levels.items()] if row else []
    if shown.price is not None:
        yield lines(shown, shown.price, "price", [], posts)
    if shown.values is not None:
        yield lines(shown, shown.values, f"{loud.metric}, {loud.unit}", levels, posts)
    if shown.price is None and shown.values is None:
        yield "<p>No values of this in the data: it is made of other rules.</p>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(tag: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line("td", row) for row in rows)
    table = f"<thead>{line('th', head)}</thead><tbody>{body}</tbody>"
    return f"<div class=wide><table>{table}</table></div>"


_FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Lowtide backtest</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; --ink: #1b2733; --soft: #6b7a88; --line: #dfe5ea; --page: #fff;
  --band: #f5f7f9; --blue: #1f6fb2; --l1: #c79a00; --l2: #e07b1a; --l3: #cf2e2e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ee; --soft: #93a1af; --line: #2c3742;
  --page: #12181e; --band: #1a222a; --blue: #62b0f0; --l1: #e3bd3f; --l2: #f29a4a;
  --l3: #f26a6a; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 1060px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top } th { color: var(--soft); font-weight: 500 }
td:nth-child(n+3) { white-space: nowrap } .note { color: var(--soft) }
.answer { font-size: 1.1rem; margin: .5rem 0 } summary { cursor: pointer }
.scroll { max-height: 28rem; overflow: auto; border: 1px solid var(--line); padding: 0 .6rem }
.scroll thead th { position: sticky; top: 0; background: var(--page) }
.list td { white-space: nowrap } .list td:last-child { white-space: normal; min-width: 16rem }
svg { display: block; width: 100%; height: auto; margin: .3rem 0 } svg text { font: 11px system-ui,
  sans-serif; fill: var(--soft); paint-order: stroke; stroke: var(--page);
  stroke-width: 4px } .grid { stroke: var(--line) } .curve { fill: none;
  stroke: var(--blue); stroke-width: 1.4 } .band { fill: var(--blue); opacity: .25 }
.open { fill: var(--blue); opacity: .08 } .s1 { stroke: var(--l1) } .s2 { stroke: var(--l2) }
.s3 { stroke: var(--l3) } .end { stroke: var(--soft) }
.s1, .s2, .s3 { stroke-dasharray: 4 3 } .post { stroke-dasharray: none;
  opacity: .8 } .l1 { fill: var(--l1) } .l2 { fill: var(--l2) } .l3 { fill: var(--l3) }
.key { color: var(--soft) } .key b { display: inline-block; width: .7em; height: .7em;
  margin: 0 .3em 0 1em } b.l1 { background: var(--l1) } b.l2 { background: var(--l2) }
b.l3 { background: var(--l3) }
</style></head><body>
{{body}}
</body></html>
"""
