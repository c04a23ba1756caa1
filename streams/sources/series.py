"""A series of the operator's own: a CSV file with a date and a number in each row.

From a file, or from a URL that gives one (as FRED's ``fredgraph.csv`` does). A number that is "."
or empty stands for a holiday.
"""

import csv
from collections.abc import Sequence
from datetime import UTC, datetime

from streams.durations import DAY
from streams.events import ContextFact, Ms, OwnSeries
from streams.source import SourceSpec
from streams.sources.wire import MOST, moment
from streams.venue import Malformed, Request

_HOLIDAY = ("", ".")
_MOST_ROWS = 20_000


class OwnSeriesSource:
    """A source of one series. ``url``: "" if the answers are read from a file."""

    def __init__(
        self, name: str, unit: str, *, url: str = "", column: str = "", every_s: float = 3600
    ) -> None:
        """``column``: the one with the numbers, by its name in the first row; "": the last."""
        scheme, _, rest = url.partition("://")
        host, slash, path = rest.partition("/")
        self._path, self._unit, self._column = slash + path or "/", unit, column
        self.SPEC = SourceSpec(
            name=f"series:{name}",
            title=name,
            rest=f"{scheme}://{host}",
            every_s=every_s,
            good_for_s=max(4 * every_s, 24 * 3600.0),
            requests_per_second=0.2,
        )

    def requests(self) -> list[Request]:
        """The file."""
        return [Request(path=self._path)]

    def decode(self, bodies: Sequence[bytes], seen: Ms) -> list[ContextFact]:
        """The series. Malformed, with the line, where a row is not a date and a number."""
        points = _points(bodies[0], self._column)
        values = {at: value for at, value in points if at <= seen}
        if not values:
            raise Malformed("it has no row of a day that has been")
        (low_at, low), (high_at, high) = (
            pick(values.items(), key=lambda point: (point[1], point[0])) for pick in (min, max)
        )
        at = max(values)
        return [
            OwnSeries(
                name=self.SPEC.title,
                unit=self._unit,
                first_at=min(values),
                at=at,
                value=values[at],
                low=low,
                low_at=low_at,
                high=high,
                high_at=high_at,
                sum_30d=sum(value for day, value in values.items() if day > at - 30 * DAY),
            )
        ]


def _points(body: bytes, column: str) -> list[tuple[Ms, float]]:
    try:
        rows = [row for row in csv.reader(body.decode("utf-8-sig").splitlines()) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Malformed("it is no CSV file") from error
    if not 2 <= len(rows) <= _MOST_ROWS or len(rows[0]) < 2:
        raise Malformed("it is no CSV file with a row of names, then a date and a number in each")
    if column and column not in rows[0]:
        raise Malformed(f"it has no column {column!r:.40}")
    place = rows[0].index(column) if column else len(rows[0]) - 1
    points: list[tuple[Ms, float]] = []
    for line, row in enumerate(rows[1:], 2):
        text = row[place].strip() if place < len(row) else ""
        at = _day(row[0].strip())
        if at is None:
            raise Malformed(f"row {line}: {row[0]!r:.40} is no day such as 2026-11-27")
        if text not in _HOLIDAY:
            points.append((at, _number(text, line)))
    return points


def _day(text: str) -> Ms | None:
    try:
        return round(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        return moment(text)


def _number(text: str, line: int) -> float:
    try:
        value = float(text.replace(",", ""))
    except ValueError as error:
        raise Malformed(f"row {line}: {text!r:.40} is no number") from error
    if not abs(value) <= MOST:
        raise Malformed(f"row {line}: {text!r:.40} cannot be")
    return value
