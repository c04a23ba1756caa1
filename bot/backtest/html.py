"""A report as one page that opens without a network. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from bot.backtest import chart
from bot.backtest.around import Scene
from bot.backtest.report import Report, Told, is_end
from bot.backtest.run import Run
from bot.backtest.series import DAY
from bot.backtest.text import day, each, moment
from bot.lang.en import length
from rules.alerts import Level


def page(report: Report, scenes: Sequence[Scene], runs: Sequence[Run]) -> str:
    """The whole page."""
    names = " against ".join(escape(one.name) for one in report.told)
    parts = [
        f"<h1>Backtest of {names}</h1>",
        f"<p>{day(report.start)} to {day(report.end)} UTC, {report.days:,} days with values.</p>",
        *_coverage(report),
        *_posts(report),
        *_per_day(report, runs),
        *_kept_back(report.told),
        *_loudest(report),
        *(part for one in scenes for part in _scene(one, runs[0])),
    ]
    return _FRAME.replace("{{body}}", "\n".join(parts))


def _coverage(report: Report) -> Iterator[str]:
    yield "<h2>Coverage</h2>"
    head = ("metric", "of", "hours observed", "hours frozen", "holes", "a value each")
    yield _table(head, (
        (c.metric, ", ".join(c.assets), f"{c.hours:,.0f}", f"{c.frozen_hours:,.0f}",
         f"{c.holes:,}", each(c))
        for c in report.coverage
    ))  # fmt: skip
    if report.not_judged:
        yield "<h3>Not judged</h3>"
        rows = ((n.rule, ", ".join(n.assets) or "all", n.why) for n in report.not_judged)
        yield _table(("rule", "of", "why"), rows)
    for note in report.notes:
        yield f"<p class=note>{escape(note)}</p>"


def _posts(report: Report) -> Iterator[str]:
    yield "<h2>Posts per day on which the rule had values</h2>"
    keys = sorted({(p.rule, p.level) for told in report.told for p in told.posts})
    days = max(report.days, 1)

    def cells(key: tuple[str, str]) -> Iterator[str]:
        for told in report.told:
            found = next((p for p in told.posts if (p.rule, p.level) == key), None)
            yield f"{found.per_day:.3f} ({found.count:,})" if found else "–"

    rows = [(*key, *cells(key)) for key in keys]
    rows.append(("all", "", *(f"{t.total / days:.3f} ({t.total:,})" for t in report.told)))
    rows.append(("all", "ringing", *(f"{t.rings / days:.3f} ({t.rings:,})" for t in report.told)))
    yield _table(("rule", "level", *(t.name for t in report.told)), rows)


def _per_day(report: Report, runs: Sequence[Run]) -> Iterator[str]:
    for one, told in zip(runs, report.told, strict=True):
        posts = [post for post in one.posts if not is_end(post)]
        counts = Counter((post.at // DAY, post.alerts[0].level) for post in posts)
        by_day = {n: [counts[n, level] for level in Level] for n, _ in counts}
        yield f"<h3>{escape(told.name)}: posts by day</h3>"
        yield chart.bars(by_day, report.start // DAY, report.end // DAY)
        yield _busiest(told)
    yield "<p class=key><b class=l1></b>watch <b class=l2></b>alert <b class=l3></b>critical</p>"


def _busiest(told: Told) -> str:
    if told.busiest_at is None:
        return "<p>No posts.</p>"
    return (
        f"<p>Busiest hour: {told.busiest} posts from {moment(told.busiest_at)};"
        f" at most {told.most_a_day} in a day.</p>"
    )


def _kept_back(told: Iterable[Told]) -> Iterator[str]:
    yield "<h2>Not posted</h2>"
    head = ("configuration", "cool-down", "hidden by a composite", "over budget or quiet",
            "told by another post", "rules that never post", "ends told")  # fmt: skip
    yield _table(head, (
        tuple(map(str, (t.name, t.cooled, t.hidden, t.over_budget, t.merged, t.unposted, t.ends)))
        for t in told
    ))  # fmt: skip


def _loudest(report: Report) -> Iterator[str]:
    yield "<h2>Loudest episodes</h2>"
    head = ("opened (UTC)", "rule", "asset", "level", "worst", "lasted", "price", "1 h before",
            "1 h after", "4 h after", "24 h after")  # fmt: skip
    rows: list[tuple[str, ...]] = []
    for one in report.loudest:
        p = one.prices
        moves = (p.before_1h_pct, p.after_1h_pct, p.after_4h_pct, p.after_24h_pct)
        lasted = "still open" if one.closed_at is None else length(one.closed_at - one.opened_at)
        rows.append((
            moment(one.opened_at), one.rule, one.instrument or one.asset, one.level,
            f"{one.extreme:.4g} {one.unit}", lasted, "–" if p.at is None else f"{p.at:,.6g}",
            *("–" if x is None else f"{x:+.1f} %" for x in moves),
        ))  # fmt: skip
    yield _table(head, rows)


def _scene(one: Scene, run: Run) -> Iterator[str]:
    loud = one.loud
    name = loud.instrument or loud.asset
    yield f"<h3>{escape(name)}, {escape(loud.rule)}: {moment(loud.opened_at)}</h3>"
    posts = [
        (
            post.at,
            None if is_end(post) else post.alerts[0].level,
            f"{post.alerts[0].rule} {post.alerts[0].turn}",
        )
        for post in run.posts
        if one.start <= post.at < one.end and any(a.asset == loud.asset for a in post.alerts)
    ]
    rule = next((rule for rule in run.settings.rules if rule.name == loud.rule), None)
    row = rule.row_of(loud.asset) if rule else None
    levels = [(level.name.lower(), level, x) for level, x in row.levels.items()] if row else []
    if one.price is not None:
        yield chart.lines(one, one.price, "price", [], posts)
    if one.values is not None:
        yield chart.lines(one, one.values, f"{loud.metric}, {loud.unit}", levels, posts)
    if one.price is None and one.values is None:
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
