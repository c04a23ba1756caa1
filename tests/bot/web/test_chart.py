"""The last day of a coin, from a metric log that was written as live."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis

from bot.metriclog import MetricLog
from bot.web.chart import Chart, day_before
from bot.web.live import LivePage
from bot.web.page import PageInput, charted
from bot.web.probe import StatusProbe
from rules import alerts
from rules.snapshot import PRICE, Observed
from streams.bus.connection import Keys
from streams.bus.health import Health
from streams.durations import DAY, MINUTE
from streams.events import Ms
from tests.bot import asked
from tests.bot.asked import EPISODE, NOW, STANDING
from tests.bot.web.test_live import show

OI, DEPTH = "oi_net_1h_pct", "depth_25bp_pct_of_recent"
END = NOW // MINUTE * MINUTE


def write(
    folder: Path, minutes: range, value: float | None = None, asset: str = "BTC", end: Ms = END
) -> None:
    """The rows of so many minutes before and after ``end``; the price counts them."""
    log = MetricLog(folder, 400 * DAY, 1_000)
    for minute in minutes:
        now = end + minute * MINUTE
        row = [Observed(metric=PRICE, asset=asset, value=float(minute)),
               Observed(metric=OI, asset=asset, value=value)]  # fmt: skip
        log.write(now, row)


async def test_the_last_day_goes_over_midnight_and_no_further(tmp_path: Path) -> None:
    write(tmp_path, range(-1_500, 5))
    at, [price, oi] = await day_before(tmp_path, "BTC", [PRICE, OI], END)
    assert at == [(END + minute * MINUTE) // 1000 for minute in range(-1_440, 1)]
    assert price == [float(minute) for minute in range(-1_440, 1)]
    assert set(oi) == {None}


async def test_what_is_not_there_is_unknown(tmp_path: Path) -> None:
    assert await day_before(tmp_path, "BTC", [PRICE], END) == ([], [[]])
    write(tmp_path, range(-2, 0), -5.25)
    at, [depth, oi] = await day_before(tmp_path, "BTC", [DEPTH, OI], END)
    assert len(at) == 2 and depth == [None, None] and oi == [-5.25, -5.25]
    assert (await day_before(tmp_path, "ETH", [OI], END))[1] == [[None, None]]


async def test_columns_that_come_later_are_found(tmp_path: Path) -> None:
    log = MetricLog(tmp_path, 400 * DAY, 1_000)
    log.write(END - MINUTE, [Observed(metric=OI, asset="BTC", value=1.0)])
    log.write(END, [Observed(metric=PRICE, asset="A", value=9.0),
                    Observed(metric=OI, asset="BTC", value=2.0)])  # fmt: skip
    _, [oi, price] = await day_before(tmp_path, "BTC", [OI, PRICE], END)
    assert (oi, price) == ([1.0, 2.0], [None, None])
    assert (await day_before(tmp_path, "A", [PRICE], END))[1] == [[None, 9.0]]


@pytest.mark.parametrize("cut", [1, 40, 400])
async def test_of_a_torn_file_the_whole_rows_count(tmp_path: Path, cut: int) -> None:
    write(tmp_path, range(-60, 0), 1.5)
    [file] = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-cut])
    at, [oi] = await day_before(tmp_path, "BTC", [OI], END)
    assert 0 < len(at) < 60 and set(oi) == {1.5}


async def test_what_is_no_log_is_nothing(tmp_path: Path) -> None:
    write(tmp_path, range(-3, 0))
    [file] = tmp_path.iterdir()
    file.write_bytes(b"something else")
    assert (await day_before(tmp_path, "BTC", [OI], END))[0] == []


async def test_others_get_their_turn_while_a_day_is_read(tmp_path: Path) -> None:
    write(tmp_path, range(-400, 0))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    working = asyncio.create_task(others())
    await day_before(tmp_path, "BTC", [OI], END)
    working.cancel()
    assert turns >= 40


def test_what_is_charted_is_what_the_market_shows(tmp_path: Path) -> None:
    looked = PageInput(
        settings=asked.settings(tmp_path), language="en", now=NOW, status=None, standing=STANDING
    )
    assert charted(looked, "BTC") == {
        PRICE: "Price, USD",
        OI: "Open interest in 1h, %",
        DEPTH: "Depth ±0.25%, of the last hours",
        "liq_10m_musd": "Liquidations in 10 min, M USD",
        "funding_8h_pct": "Funding, % / 8h",
        "funding_predicted_8h_pct": "Predicted funding, % / 8h",
    }
    assert list(charted(looked, "A<B")) == [PRICE, "funding_8h_pct"]
    assert charted(looked, "ALL") == charted(looked, "../etc") == {}


@pytest.mark.parametrize(("language", "ending"), [("ja", "、百万ドル"), ("zh-TW", "，百萬美元")])
def test_a_chart_names_its_unit_as_its_readers_do(
    tmp_path: Path, language: str, ending: str
) -> None:
    looked = PageInput(
        settings=asked.settings(tmp_path), language=language, now=NOW, status=None,
        standing=STANDING,
    )  # fmt: skip
    names = charted(looked, "BTC")
    assert names["liq_10m_musd"].endswith(ending)
    assert not [name for name in names.values() if ", " in name]


async def test_a_chart_is_made_once_for_all_and_has_the_turns(tmp_path: Path, redis: Redis):
    chosen = asked.settings(tmp_path)
    await show(redis)
    await redis.xadd(Keys().alerts, {"a": alerts.encode(EPISODE[1])})
    write(chosen.data_dir / "metrics", range(-5, 1), -2.0)
    page = LivePage(chosen, redis, StatusProbe(chosen, redis, Health()), now=lambda: NOW)
    first, second = await asyncio.gather(page.chart("BTC", "en"), page.chart("BTC", "en"))
    assert first is second is not None
    chart = msgspec.json.decode(first, type=Chart)
    assert chart.title == "BTC, the last day" and len(chart.at) == 6
    labels = [series.label for series in chart.series]
    assert labels == ["Price, USD", "Open interest in 1h, %"]  # of others nothing is known
    assert [turn.tone for turn in chart.turns] == ["alert"]
    assert await page.chart("NOBODY", "en") is None
    other = await page.chart("ETH", "en")
    assert other is not None and b"no history" in other
