"""The metric log: what is written is read, whatever end the writer came to."""

import random
import stat
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from bot.backtest.evaluate import readings
from bot.backtest.logfile import read_day
from bot.backtest.series import Notes, SeriesKey
from bot.metriclog import BLOCK, COLUMNS, MetricLog, blocks
from rules.snapshot import Observed
from streams.durations import DAY, HOUR, MINUTE
from tests.bot.backtest.logs import KEEP, START, observed, write

OI, PRICE = SeriesKey("oi_net_1h_pct", "BTC"), SeriesKey("price", "BTC")


def rows(count: int) -> list[dict[tuple[str, str], float | None]]:
    dice = random.Random(7)
    return [
        {("oi_net_1h_pct", "BTC"): None if n % 9 == 4 else dice.gauss(0, 2), ("price", "BTC"): 1e5}
        for n in range(count)
    ]


def only(folder: Path) -> Path:
    [path] = folder.iterdir()
    return path


def test_what_is_written_is_read(tmp_path: Path):
    logged_rows = rows(200)
    write(tmp_path, logged_rows)
    chunk = read_day(only(tmp_path), Notes())
    series = chunk.series[OI]
    assert (chunk.start, chunk.end) == (START, START + DAY)
    assert list(series.at) == [START + n * MINUTE for n in range(200)]
    expected = [np.nan if row["oi_net_1h_pct", "BTC"] is None else row["oi_net_1h_pct", "BTC"]
                for row in logged_rows]  # fmt: skip
    assert np.array_equal(series.value, np.array(expected, np.float32), equal_nan=True)
    assert set(chunk.series[PRICE].value) == {np.float32(1e5)}


number = st.floats(width=32, allow_nan=False, allow_infinity=False)
maybe = st.none() | number


BOUNDS: list[dict[str, bool]] = [
    {},
    {"lower_bound": True},
    {"lower_bound": True, "breach_only": True},
]


@st.composite
def histories(draw: st.DrawFn) -> list[list[Observed]]:
    """Minutes in which places come and go, with all that may stand beside a value."""

    def draw_observed(metric: str, asset: str) -> Observed:
        value = draw(maybe)
        return Observed(
            metric=metric, asset=asset, value=value,
            low=draw(maybe), high=draw(maybe), floor_musd=draw(maybe),
            **draw(st.sampled_from(BOUNDS)),
        )  # fmt: skip

    names = st.lists(st.sampled_from(["BTC", "ETH", "SOL"]), unique=True, min_size=1)
    return [
        [draw_observed("m", asset) for asset in draw(names)] for _ in range(draw(st.integers(1, 6)))
    ]


@given(histories())
def test_every_number_survives(
    tmp_path_factory: pytest.TempPathFactory, minutes: list[list[Observed]]
):
    folder = tmp_path_factory.mktemp("log")
    log = MetricLog(folder, KEEP, 1_000)
    for n, minute in enumerate(minutes):
        log.write(START + n * MINUTE, minute)
    chunk = read_day(only(folder), Notes())
    for n, minute in enumerate(minutes):
        for expected in minute:
            series = chunk.series[SeriesKey("m", expected.asset)]
            row = int(np.searchsorted(series.at, START + n * MINUTE))
            value = float("nan") if expected.value is None else expected.value

            def same(column: object, x: float | None, row: int = row) -> bool:
                assert isinstance(column, np.ndarray)
                return np.array_equal(column[row], np.nan if x is None else x, equal_nan=True)

            assert same(series.value, value)
            assert same(series.low, value if expected.low is None else expected.low)
            assert same(series.high, value if expected.high is None else expected.high)
            assert series.floor is None or same(series.floor, expected.floor_musd)
            [read] = readings(series, row, [value])
            assert (read.lower_bound, read.breach_only) == (
                expected.lower_bound,
                expected.breach_only,
            )


@pytest.mark.parametrize("lost", [1, 7, 40, 400])
def test_a_torn_tail_costs_the_rows_in_it_and_is_cut_off_by_the_next(tmp_path: Path, lost: int):
    logged_rows = rows(300)
    write(tmp_path, logged_rows[:200])
    path = only(tmp_path)
    path.write_bytes(path.read_bytes()[:-lost])
    notes = Notes()
    kept = len(read_day(path, notes).series[OI].at)
    assert 150 < kept < 200 and len(notes.sentences) == 1 and "not whole" in notes.sentences[0]
    write(tmp_path, logged_rows[200:], START + 200 * MINUTE)
    notes = Notes()
    series = read_day(path, notes).series[OI]
    assert notes.sentences == []
    assert len(series.at) == kept + 100 and list(np.unique(series.at)) == list(series.at)


def test_a_minute_is_written_once_also_after_a_restart(tmp_path: Path):
    logged_rows = rows(50)
    write(tmp_path, logged_rows)
    write(tmp_path, logged_rows[30:], START + 30 * MINUTE)
    write(tmp_path, rows(1), START + 50 * MINUTE)
    assert list(read_day(only(tmp_path), Notes()).series[OI].at) == [
        START + n * MINUTE for n in range(51)
    ]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("ahead", [8 * HOUR, 20 * MINUTE, 400 * DAY])
def test_rows_are_written_at_once_after_a_clock_that_was_ahead(
    tmp_path: Path, ahead: int, restarted: bool
):
    """As the rules role feeds it: after a restart what was committed is fed again."""
    log, logged_rows = MetricLog(tmp_path, KEEP, 1_000), rows(30)
    times = [START + ahead * (n in (5, 6)) + n * MINUTE for n in range(30)]
    for n in range(12):
        assert log.due(times[n])
        log.write(times[n], observed(logged_rows[n]))
    if restarted:
        log = MetricLog(tmp_path, KEEP, 1_000)
        for n in range(3, 12):
            log.write(times[n], observed(logged_rows[n]), again=True)
    for n in range(12, 30):
        assert log.due(times[n])
        log.write(times[n], observed(logged_rows[n]))
    read_values = {}
    for path in sorted(tmp_path.iterdir()):
        series = read_day(path, Notes()).series[OI]
        assert list(series.at) == sorted(set(series.at))
        read_values |= dict(zip(series.at.tolist(), series.value.tolist(), strict=True))
    values = [row["oi_net_1h_pct", "BTC"] for row in logged_rows]
    expected = {time: np.nan if x is None else x for time, x in zip(times, values, strict=True)}
    assert read_values == pytest.approx(expected, nan_ok=True, rel=1e-6)


def test_a_process_that_begins_after_a_clock_that_was_ahead_writes_at_once(tmp_path: Path):
    write(tmp_path, rows(3), START + 8 * HOUR)
    write(tmp_path, rows(10))
    series = read_day(only(tmp_path), Notes()).series[OI]
    assert list(series.at) == [
        *(START + n * MINUTE for n in range(10)), *(START + 8 * HOUR + n * MINUTE for n in range(3))
    ]  # fmt: skip


@pytest.mark.parametrize("ahead", [8 * HOUR, 40 * DAY, 4_000 * DAY])
def test_a_clock_ahead_deletes_nothing(tmp_path: Path, ahead: int):
    log = MetricLog(tmp_path, 30 * DAY, 1_000)
    for day in range(20):
        log.write(START + day * DAY, observed(rows(1)[0]))
    before = set(tmp_path.iterdir())
    for n in range(100):
        log.write(START + 19 * DAY + ahead + n * HOUR, observed(rows(1)[0]))
    assert before <= set(tmp_path.iterdir())
    # and of a full log one day goes for each day that comes
    log = MetricLog(tmp_path, 19 * DAY, 1_000)
    log.write(START + 20 * DAY, observed(rows(1)[0]))
    assert len(before - set(tmp_path.iterdir())) == 1


def test_days_have_files_and_old_ones_go(tmp_path: Path):
    log = MetricLog(tmp_path, 3 * DAY, 1_000)
    for day in range(7):
        log.write(START + day * DAY, observed(rows(1)[0]))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"2026-10-0{day}.metrics" for day in (6, 7, 8, 9)
    ]


def test_the_oldest_go_when_there_is_too_much(tmp_path: Path):
    dice = random.Random(1)
    log = MetricLog(tmp_path, KEEP, 1)
    for n in range(0, 5 * 1440, 3):
        observations = [Observed(metric="m", asset=str(a), value=dice.random()) for a in range(300)]
        log.write(START + n * MINUTE, observations)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names[-1] == "2026-10-07.metrics" and "2026-10-03.metrics" not in names
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) < 1_100_000


def test_a_disk_that_takes_nothing_is_said_once_and_stops_nothing(tmp_path: Path):
    folder = tmp_path / "data"
    folder.write_text("a file where the folder should be")
    log = MetricLog(folder / "metrics", KEEP, 1)
    with capture_logs() as log_entries:
        for n in range(5):
            assert log.due(START + n * MINUTE)
            log.write(START + n * MINUTE, observed(rows(1)[0]))
        folder.unlink()
        log.write(START + 5 * MINUTE, observed(rows(1)[0]))
    assert [entry["event"] for entry in log_entries] == [
        "the metric log cannot be written; the rules go on without it",
        "the metric log is written again",
    ]
    assert stat.S_ISREG(only(folder / "metrics").stat().st_mode)


def test_what_is_no_log_is_said(tmp_path: Path):
    path = tmp_path / "2026-10-03.metrics"
    for content in (b"", b"known_ms,price\n", b"lowtide metrics 1\n"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=str(path)):
            read_day(path, Notes())


def test_a_row_that_cannot_be_unpacked_is_said(tmp_path: Path):
    """Its length and CRC are right: whoever wrote it wrote something else."""
    write(tmp_path, rows(3))
    path, noise = only(tmp_path), b"\xff" * 20
    row = BLOCK.pack(b"R", len(noise), zlib.crc32(noise), START // MINUTE + 3) + noise
    path.write_bytes(path.read_bytes() + row)
    with pytest.raises(ValueError, match=f"{path}.*damaged after byte"):
        read_day(path, Notes())


def test_the_price_of_what_is_no_coin_is_kept_and_no_series_of_a_coin_of_its_name(
    tmp_path: Path,
) -> None:
    write(tmp_path, [{("price", "GOLD"): 0.5, ("macro_price", "GOLD"): 4570.0}] * 3)
    with only(tmp_path).open("rb") as file:
        heads = [block for block in blocks(file) if block.kind == COLUMNS]
    assert b'["macro_price","GOLD","","value"]' in zlib.decompress(heads[0].data)
    chunk = read_day(only(tmp_path), Notes())
    assert [*chunk.series] == [SeriesKey("price", "GOLD")]
    assert set(chunk.series[SeriesKey("price", "GOLD")].value) == {np.float32(0.5)}
