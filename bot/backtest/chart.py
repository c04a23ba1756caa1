"""Pictures of a report as SVG text. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from math import floor, log10

from bot.backtest.around import Line, Scene
from bot.backtest.series import DAY, Floats
from bot.backtest.text import day, moment
from rules.alerts import Level
from streams.events import Ms

WIDTH, HEIGHT = 1000, 220
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 18, 22
HOUR: Ms = 3_600_000


def bars(by_day: Mapping[int, Sequence[int]], first: int, last: int) -> str:
    """Posts by day (days since the epoch), watch below, critical on top; wider bars if many."""
    days = last - first + 1
    group = max(1, -(-days // 400))
    counts: dict[int, list[int]] = {}
    for n, some in by_day.items():
        bin_ = counts.setdefault((n - first) // group, [0] * len(some))
        for place, count in enumerate(some):
            bin_[place] += count
    most = max((sum(some) for some in counts.values()), default=1)
    wide = (WIDTH - LEFT - RIGHT) * group / days

    def x(day_number: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (day_number - first) / days

    def body() -> Iterator[str]:
        yield from _grid(0, most, "posts" if group == 1 else f"posts in {group} days")
        for n, some in sorted(counts.items()):
            below = 0
            for place, count in enumerate(some):
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
    line: Line,
    title: str,
    levels: Sequence[tuple[str, Level, float]],
    posts: Sequence[tuple[Ms, Level | None, str]],
) -> str:
    """A line with its levels, the episode shaded, and a stroke where something was posted.

    ``posts``: when, at which level (None: that it is over), and what.
    """
    low, high = float(line.low.min()), float(line.high.max())
    shown = [one for one in levels if low - (high - low) <= one[2] <= high + (high - low)]
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


def _points(line: Line, edge: Floats) -> Iterator[tuple[int, float]]:
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
