"""The command: what there is, what is not, and what the venue itself adds."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from aiohttp import web

from bot.backtest.sources import Sources
from bot.config import Settings, load
from bot.history import download
from bot.history.download import Fetched
from bot.history.files import ArchiveData, files_of
from bot.history.get import HistoryWanted, fetch_history, folder_of, outcome
from streams.durations import DAY, HOUR, MINUTE
from tests.bot.history.archive_server import START, Server, content, file_of
from tests.conftest import ROOT


def settings_of(folder: Path, url: str) -> Settings:
    """The shipped configuration with archive and venue at ``url``."""
    path = folder / "config.toml"
    places = f'\n[history]\nurl = "{url}"\n[venues.binance]\nrest = "{url}"\n'
    path.write_text((ROOT / "config.toml").read_text() + places, encoding="utf-8")
    return load(path, {})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_EVERY_S", 0.0)
    monkeypatch.setattr(download, "_WAIT_S", (0.0, 0.0, 0.0))


@pytest.mark.usefixtures("quick")
async def test_the_command_gets_what_there_is_and_says_what_is_not(server: Server, tmp_path: Path):
    settings = settings_of(tmp_path, server.url)
    for day in (0, 1, 3):
        server.put(file_of(day=day), content(size=400))
    server.put(file_of("1000PEPEUSDT", 3), content("1000PEPEUSDT", size=400))
    server.put(file_of("1000PEPEUSDT", 2), content("1000PEPEUSDT", size=400))
    server.checksums[file_of(day=1).path] = "0" * 64
    wanted = HistoryWanted(
        assets=frozenset({"BTC", "PEPE"}), start=START, end=START + 4 * DAY,
        data=(ArchiveData.METRICS,),
    )  # fmt: skip
    shares: list[float] = []
    got = await fetch_history(settings, wanted, START + 9 * DAY, shares.append)
    assert shares == sorted(shares) and shares[-1] == 1
    assert not got.done and len(got.failed) == 1
    words = outcome(got, folder_of(settings)).splitlines()
    assert words[0].startswith(
        "4 files came, 0 were here already, 0 had changed and were got again, 3 are not in the"
        " archive; 0.0 MB"
    )
    assert words[1:3] == [
        "not in the archive: 2 of metrics/1000PEPEUSDT",
        "not in the archive: 1 of metrics/BTCUSDT",
    ]
    assert "does not have the checksum" in words[3]
    server.checksums.clear()
    server.put(file_of(day=0), content(size=800))
    again = await fetch_history(settings, wanted, START + 9 * DAY)
    assert again.done and again.changed == [file_of(day=0).name]
    assert again.counts == {
        Fetched.NEW: 1, Fetched.CHANGED: 1, Fetched.KEPT: 3, Fetched.ABSENT: 3
    }  # fmt: skip
    assert "changed in the archive, and got again: BTCUSDT-metrics-2026-09-30.zip" in outcome(
        again, folder_of(settings)
    )


@pytest.mark.usefixtures("quick")
async def test_a_month_that_is_not_there_yet_comes_day_by_day(server: Server, tmp_path: Path):
    settings = settings_of(tmp_path, server.url)
    august = START - 60 * DAY  # 1 August 2026
    ways = next(files_of(ArchiveData.KLINES, "BTCUSDT", august, august + 31 * DAY))
    assert len(ways) == 32 and "/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2026-08.zip" in ways[0].path
    for day in ways[1:]:
        server.put(day, content(size=100))
    wanted = HistoryWanted(
        assets=frozenset({"BTC"}), start=august, end=august + 31 * DAY, data=(ArchiveData.KLINES,)
    )
    got = await fetch_history(settings, wanted, START)
    assert got.counts == {Fetched.NEW: 31} and got.done


@pytest.mark.usefixtures("quick")
async def test_a_server_that_is_gone_ends_the_run_with_one_sentence(tmp_path: Path):
    settings = settings_of(tmp_path, "http://127.0.0.1:1")
    got = await fetch_history(settings, HistoryWanted(assets=frozenset({"BTC"})), START)
    assert outcome(got, tmp_path).splitlines()[1:] == [
        "http://127.0.0.1:1 cannot be reached: the connection was refused; run it again to go on"
    ]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (HistoryWanted(assets=frozenset({"../BTC"})), "'../BTC' is no name of an asset"),
        (HistoryWanted(start=START, end=START), "there is nothing between --from and --to"),
        (HistoryWanted(start=START + 99 * DAY), "there is nothing between --from and --to"),
    ],
)
async def test_what_cannot_be_asked_for_is_said(tmp_path: Path, wanted: HistoryWanted, words: str):
    settings = settings_of(tmp_path, "http://127.0.0.1:1")
    with pytest.raises(ValueError, match=words):
        await fetch_history(settings, wanted, START + DAY)


async def ran(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """The command in a process of its own: its exit code, and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot", *arguments, "--config", str(folder / "config.toml"),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_from_the_command_line_to_a_backtest(server: Server, tmp_path: Path):
    settings = settings_of(tmp_path, server.url)
    for day in (0, 1):
        server.put(file_of(day=day), content(size=400))
    server.checksums[file_of(day=1).path] = "0" * 64
    what = ("--assets", "btc", "--from", "2026-09-30", "--to", "2026-10-02", "--data", "metrics")
    code, out, err = await ran(tmp_path, "history", "get", *what)
    assert code == 1 and not out and "1 files came" in err and "does not have the checksum" in err
    server.checksums.clear()
    code, out, err = await ran(tmp_path, "history", "get", *what)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == (
        f"What they would have been worth: lowtide backtest {folder_of(settings)}"
    )
    assert (folder_of(settings) / file_of().path).stat().st_mode & 0o077 == 0
    code, out, err = await ran(tmp_path, "backtest", str(folder_of(settings)))
    assert code == 0, err
    assert "liq_burst: no data of this kind" in out


def held(at: int) -> dict[str, str | int]:
    """Open interest as the venue tells it."""
    return {"symbol": "BTCUSDT", "sumOpenInterest": "1000.5", "sumOpenInterestValue": "84000000",
            "timestamp": at}  # fmt: skip


class Venue:
    """Answers for open interest each 5 minutes and for funding each 8 h, until ``now``."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.asked: list[tuple[str, int, int]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse | None:
        if not request.path.startswith(("/futures/data", "/fapi")):
            return None
        start, end = int(request.query["startTime"]), int(request.query["endTime"])
        self.asked.append((request.path, start, end))
        if start < self.now - 30 * DAY:
            return web.json_response({"code": -1130, "msg": "startTime is invalid"}, status=400)
        step = 5 * MINUTE if "openInterest" in request.path else 8 * HOUR
        times = range(-(-start // step) * step, min(end, self.now) + 1, step)
        if "openInterest" in request.path:
            return web.json_response([held(at) for at in [*times][: int(request.query["limit"])]])
        return web.json_response(
            [{"fundingTime": at + 3, "fundingRate": "-1.8E-7"} for at in times]
        )


NOW = START + 3 * DAY + 7 * HOUR + 1
LAST_DAYS = HistoryWanted(
    assets=frozenset({"BTC"}), start=START, data=(ArchiveData.METRICS, ArchiveData.FUNDING)
)


@pytest.mark.usefixtures("quick")
async def test_the_last_days_come_from_the_venue_itself(server: Server, tmp_path: Path):
    """Of four days the archive has two: the others, a day and an hour before them, and funding."""
    settings = settings_of(tmp_path, server.url)
    for day in (0, 1):
        server.put(file_of(day=day), content(size=400))
    venue = Venue(NOW)
    server.before = venue.answer
    got = await fetch_history(settings, LAST_DAYS, NOW)
    assert got.done, got.failed
    paths = [path for path, _, _ in venue.asked]
    assert paths == ["/futures/data/openInterestHist"] * 2 + ["/fapi/v1/fundingRate"]
    assert venue.asked[0][1] == START + 2 * DAY - DAY - HOUR and venue.asked[1][2] == NOW - 1
    assert all(end - start < 500 * 5 * MINUTE for _, start, end in venue.asked[:2])
    [oi, funding] = sorted((folder_of(settings) / "recent").iterdir(), reverse=True)
    rows = oi.read_text().splitlines()
    assert (
        rows[0] == "known_ms,venue,asset,oi_usd,oi_base,step"
        and len(rows) - 1 == (32 + 24) * 12 + 1
    )
    assert rows[1].endswith(",binance,BTC,84000000.0,1000.5,5m")
    assert funding.read_text().splitlines()[1] == f"{START + 3},binance,BTC,-1.8e-07,8"
    assert f"{got.recent} rows of the last days came from the venue" in outcome(got, tmp_path)
    names = ["oi_net_24h_pct", "funding_8h_pct"]
    sources = Sources([folder_of(settings)], settings, names)
    metrics = {key.metric for chunk in sources.pieces() for key in chunk.series}
    assert metrics == set(names)


@pytest.mark.usefixtures("quick")
async def test_never_more_than_the_venue_gives_and_nothing_where_all_is_here(
    server: Server, tmp_path: Path
):
    settings = settings_of(tmp_path, server.url)
    venue = Venue(NOW)
    server.before = venue.answer
    wanted = HistoryWanted(
        assets=frozenset({"BTC"}), start=START - 200 * DAY, data=(ArchiveData.METRICS,)
    )
    got = await fetch_history(settings, wanted, NOW)
    assert got.done and got.recent == (30 * 24 - 1) * 12
    venue.asked.clear()
    for day in (0, 1):
        server.put(file_of(day=day), content(size=400))
    wanted = HistoryWanted(
        assets=frozenset({"BTC"}), start=START, end=START + 2 * DAY, data=(ArchiveData.METRICS,)
    )
    got = await fetch_history(settings, wanted, NOW)
    assert got.done and got.recent == 0 and venue.asked == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("<html>", 200, "its answer cannot be read"),
        ("[]", 429, "it asked us to slow down (HTTP 429)"),
        ('[{"sumOpenInterest": 5}]', 200, "its answer cannot be read"),
    ],
)
async def test_what_the_venue_refuses_is_a_sentence_and_the_files_stay(
    server: Server, tmp_path: Path, body: str, status: int, words: str
):
    settings = settings_of(tmp_path, server.url)
    server.put(file_of(), content(size=400))

    async def refuse(request: web.Request) -> web.StreamResponse | None:
        if request.path.startswith("/futures"):
            return web.Response(text=body, status=status)
        return None

    server.before = refuse
    got = await fetch_history(settings, LAST_DAYS, NOW)
    [failed] = got.failed
    assert failed.startswith(f"BTCUSDT: the last days, from {server.url}: {words}")
    assert got.counts[Fetched.NEW] == 1 and not (folder_of(settings) / "recent").exists()


@pytest.mark.usefixtures("quick")
async def test_numbers_of_the_venue_that_cannot_be_are_left_out(server: Server, tmp_path: Path):
    settings = settings_of(tmp_path, server.url)
    bad = ("NaN", "-5", "1e999", "many", "9" * 90, "0")
    rows = [held(START + n * 5 * MINUTE) | {"sumOpenInterest": x} for n, x in enumerate(bad)]
    rows += [held(START - DAY), held(NOW + DAY), held(START + HOUR)]

    async def lie(request: web.Request) -> web.StreamResponse | None:
        if request.path.startswith("/futures"):
            return web.Response(text=json.dumps(rows))
        return web.json_response([]) if request.path.startswith("/fapi") else None

    server.before = lie
    got = await fetch_history(settings, LAST_DAYS, NOW)
    assert got.recent == 1
    [path] = (folder_of(settings) / "recent").iterdir()
    assert path.read_text().splitlines()[1:] == [f"{START + HOUR},binance,BTC,84000000.0,1000.5,5m"]
