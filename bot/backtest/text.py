"""A report as text for the terminal. Pure."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from bot.backtest.report import Coverage, Loud, Report, Told
from bot.lang.en import length
from streams.events import Ms


def text(report: Report) -> str:
    """All of it, in the order of the page in docs."""
    names = " against ".join(one.name for one in report.told)
    head = f"{names}: {day(report.start)} to {day(report.end)} UTC, {report.days} days with values"
    parts = [
        [head],
        _coverage(report),
        _posts(report),
        _busiest(report.told),
        _kept_back(report.told),
        _loudest(report.loudest),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def day(at: Ms) -> str:
    """``3 Feb 2025``."""
    when = datetime.fromtimestamp(at / 1000, UTC)
    return f"{when.day} {when:%b %Y}"


def moment(at: Ms | None) -> str:
    """``2025-02-03 02:00``."""
    return "-" if at is None else f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M}"


def _coverage(report: Report) -> list[str]:
    rows = [_covered(one) for one in report.coverage]
    lines = ["COVERAGE", *table(("metric", "assets", "hours", "frozen", "holes", "each"), rows)]
    if report.not_judged:
        lines.append("not judged:")
        for one in report.not_judged:
            some = f" for {', '.join(one.assets)}" if one.assets else ""
            lines.append(f"  {one.rule}{some}: {one.why}")
    return [*lines, *(f"note: {note}" for note in report.notes)]


def _covered(one: Coverage) -> tuple[str, ...]:
    frozen = f"{one.frozen_hours:,.0f} h" if one.frozen_hours else "-"
    some = len(one.assets)
    name = one.assets[0] if some == 1 else str(some)
    return one.metric, name, f"{one.hours:,.0f}", frozen, f"{one.holes:,}", each(one)


def each(one: Coverage) -> str:
    """How far apart values lie, in words."""
    if one.longest_step_ms == one.step_ms:
        return length(one.step_ms)
    return f"{length(one.step_ms)} to {length(one.longest_step_ms)}"


def _posts(report: Report) -> list[str]:
    keys = list(dict.fromkeys((p.rule, p.level) for one in report.told for p in one.posts))
    rows: list[tuple[str, ...]] = []
    for key in sorted(keys):
        found = [next((p for p in t.posts if (p.rule, p.level) == key), None) for t in report.told]
        rows.append((*key, *(f"{p.per_day:.3f} ({p.count:,})" if p else "-" for p in found)))
    days = max(report.days, 1)
    rows.append(("all", "", *(f"{t.total / days:.3f} ({t.total:,})" for t in report.told)))
    rows.append(("", "ringing", *(f"{t.rings / days:.3f} ({t.rings:,})" for t in report.told)))
    head = ("rule", "level", *(one.name for one in report.told))
    return [
        "POSTS PER DAY ON WHICH THE RULE HAD VALUES (and in all; ends not counted)",
        *table(head, rows),
    ]


def _busiest(told: Sequence[Told]) -> list[str]:
    return ["BUSIEST HOUR"] + [
        f"  {one.name}: {one.busiest} in the hour from {moment(one.busiest_at)};"
        f" at most {one.most_a_day} in a day"
        for one in told
    ]


def _kept_back(told: Sequence[Told]) -> list[str]:
    head = ("", "cool-down", "hidden", "over budget", "merged", "never posted", "ends told")
    rows = [
        tuple(map(str, (t.name, t.cooled, t.hidden, t.over_budget, t.merged, t.unposted, t.ends)))
        for t in told
    ]
    return ["NOT POSTED", *table(head, rows)]


def _loudest(found: Sequence[Loud]) -> list[str]:
    rows = [_loud(one) for one in found]
    head = ("opened", "rule", "asset", "level", "worst", "lasted", "price", "1h before", "1h after",
            "4h after", "24h after")  # fmt: skip
    return ["LOUDEST EPISODES", *table(head, rows)] if rows else ["LOUDEST EPISODES", "  none"]


def _loud(one: Loud) -> tuple[str, ...]:
    prices = one.prices
    moves = (prices.before_1h_pct, prices.after_1h_pct, prices.after_4h_pct, prices.after_24h_pct)
    lasted = "open" if one.closed_at is None else length(one.closed_at - one.opened_at)
    return (
        moment(one.opened_at),
        one.rule + ("" if one.posted else " (not posted)"),
        one.instrument or one.asset,
        one.level,
        f"{one.extreme:.4g} {one.unit}",
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
