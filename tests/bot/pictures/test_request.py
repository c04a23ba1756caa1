"""Pictures from a metric log that was written as live."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from bot.metriclog import MetricLog
from bot.pictures.drawing import PictureLevel
from bot.pictures.request import PanelRequest, PictureRequest, recorded_picture
from rules.alerts import Level
from rules.snapshot import PRICE, Observed
from streams.durations import DAY, HOUR, MINUTE
from streams.events import Ms

METRIC = "oi_net_1h_pct"
END: Ms = 1_790_006_400_000 + 2 * HOUR
"""2026-09-21 18:00 UTC."""


def write(
    folder: Path, minutes: range, *, asset: str = "BTC", instrument: str = "", **more: Any
) -> None:
    """The rows of so many minutes before and after ``END``; both values count them."""
    log = MetricLog(folder, 400 * DAY, 1_000)
    for minute in minutes:
        row = [
            Observed(metric=PRICE, asset=asset, value=100.0 + minute),
            Observed(
                metric=METRIC, asset=asset, instrument=instrument, value=float(minute), **more
            ),
        ]
        log.write(END + minute * MINUTE, row)


def request(
    folder: Path,
    asset: str = "BTC",
    price: dict[str, Any] | None = None,
    panel: dict[str, Any] | None = None,
    **changes: Any,
) -> PictureRequest:
    """What is asked for in all tests, but for ``changes``, some of a panel."""
    above = {"metric": PRICE, "asset": asset, "title": "price, USD", "optional": True}
    below = {"metric": METRIC, "asset": asset, "title": "open interest in 1h, %"}
    usual: dict[str, Any] = {
        "folder": str(folder), "title": "BTC", "start": END - HOUR, "end": END,
        "panels": (PanelRequest(**(above | (price or {}))),
                   PanelRequest(**(below | (panel or {})))),
    }  # fmt: skip
    return PictureRequest(**(usual | changes))


def test_a_picture_has_the_price_above_the_metric(tmp_path: Path) -> None:
    write(tmp_path, range(-90, 5))
    levels = (PictureLevel(Level.ALERT, -4),)
    picture = recorded_picture(request(tmp_path, panel={"levels": levels}, venues=("Binance",)))
    assert picture is not None
    price, metric = picture.panels
    assert (price.title, metric.title) == ("price, USD", "open interest in 1h, %")
    assert list(price.at) == list(metric.at) == list(range(END - HOUR, END + 1, MINUTE))
    assert list(price.values) == [100.0 + n for n in range(-60, 1)]
    assert list(metric.values) == [float(n) for n in range(-60, 1)]
    assert (price.levels, metric.levels) == ((), levels)
    assert (picture.title, picture.start, picture.end) == ("BTC", END - HOUR, END)


def test_a_picture_goes_over_midnight(tmp_path: Path) -> None:
    write(tmp_path, range(-1_500, 1))
    picture = recorded_picture(request(tmp_path, start=END - 24 * HOUR))
    assert picture is not None
    assert len(picture.panels[1].at) == 1_441


def test_the_extremes_of_a_minute_are_in_it(tmp_path: Path) -> None:
    write(tmp_path, range(-3, 1), low=-9.0, high=4.5)
    picture = recorded_picture(request(tmp_path))
    assert picture is not None
    assert list(picture.panels[1].lows) == [-9.0] * 4
    assert list(picture.panels[1].highs) == [4.5] * 4


def test_what_was_not_recorded_is_a_hole(tmp_path: Path) -> None:
    write(tmp_path, range(-60, -40))
    write(tmp_path, range(-20, 1))
    picture = recorded_picture(request(tmp_path))
    assert picture is not None
    assert END - 30 * MINUTE not in picture.panels[1].at


def test_what_is_newer_than_the_last_row_is_its_end(tmp_path: Path) -> None:
    write(tmp_path, range(-60, 0))
    end = END + 20_000
    picture = recorded_picture(
        request(tmp_path, price={"last": 70.5}, panel={"last": -5.2}, end=end)
    )
    assert picture is not None
    for panel, value in zip(picture.panels, (70.5, -5.2), strict=True):
        assert (panel.at[-1], panel.values[-1]) == (end, value)


def test_a_lower_bound_says_so(tmp_path: Path) -> None:
    write(tmp_path, range(-60, 1), lower_bound=True)
    for title in ("open interest in 1h, %", "open interest in 1h, % (≥)"):
        picture = recorded_picture(request(tmp_path, panel={"title": title}))
        assert picture is not None
        assert picture.panels[1].title == "open interest in 1h, % (≥)"


def test_a_metric_of_one_contract_is_its_own(tmp_path: Path) -> None:
    write(tmp_path, range(-60, 1), instrument="binance/BTCUSDT")
    assert recorded_picture(request(tmp_path)) is None
    picture = recorded_picture(request(tmp_path, panel={"instrument": "binance/BTCUSDT"}))
    assert picture is not None
    assert len(picture.panels) == 2


def test_without_a_price_there_is_the_metric_alone(tmp_path: Path) -> None:
    log = MetricLog(tmp_path, 400 * DAY, 1_000)
    for minute in range(-60, 1):
        log.write(END + minute * MINUTE, [Observed(metric=METRIC, asset="ALL", value=1.0)])
    picture = recorded_picture(request(tmp_path, asset="ALL"))
    assert picture is not None
    assert [panel.title for panel in picture.panels] == ["open interest in 1h, %"]


@pytest.mark.parametrize("asset", ["ETH", ""])
def test_of_what_is_not_recorded_there_is_no_picture(tmp_path: Path, asset: str) -> None:
    write(tmp_path, range(-60, 1))
    assert recorded_picture(request(tmp_path, asset=asset)) is None
    assert recorded_picture(request(tmp_path / "nowhere")) is None
    assert recorded_picture(request(tmp_path, start=END + HOUR, end=END + 2 * HOUR)) is None


def test_one_value_is_no_picture(tmp_path: Path) -> None:
    write(tmp_path, range(-1, 0))
    assert recorded_picture(request(tmp_path)) is None
    assert recorded_picture(request(tmp_path, panel={"last": -5.0})) is not None


def test_a_torn_file_counts_as_far_as_it_is_whole(tmp_path: Path) -> None:
    write(tmp_path, range(-60, 1))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-20] + b"\xff" * 19)
    picture = recorded_picture(request(tmp_path))
    assert picture is not None
    assert 50 < len(picture.panels[1].at) < 61
    path.write_bytes(b"no log at all")
    assert recorded_picture(request(tmp_path)) is None


def test_of_several_metrics_those_that_are_not_recorded_are_left_out(tmp_path: Path) -> None:
    log = MetricLog(tmp_path, 400 * DAY, 1_000)
    for minute in range(-60, 1):
        row = [
            Observed(metric=name, asset=asset, value=float(minute))
            for name, asset in ((PRICE, "BTC"), (METRIC, "BTC"), (METRIC, "ETH"))
        ]
        log.write(END + minute * MINUTE, row)
    funding = PanelRequest(metric="funding_8h_pct", asset="BTC", title="funding", optional=True)
    other = PanelRequest(metric=METRIC, asset="ETH", title="of ETH", optional=True)
    usual = request(tmp_path)
    asked_for = msgspec.structs.replace(usual, panels=(*usual.panels, funding, other))
    picture = recorded_picture(asked_for)
    assert picture is not None
    titles = [panel.title for panel in picture.panels]
    assert titles == ["price, USD", "open interest in 1h, %", "of ETH"]
    assert list(picture.panels[2].values) == list(picture.panels[1].values)
    nothing = msgspec.structs.replace(usual, panels=(funding,))
    assert recorded_picture(nothing) is None
    needed = msgspec.structs.replace(funding, optional=False)
    assert recorded_picture(msgspec.structs.replace(usual, panels=(*usual.panels, needed))) is None
