"""The traps of public archives, on real files of them; what each file says, and what it never says.

The files are read in place; where a name of the archive's own matters, a link has it.
"""

import io
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bot.backtest.archive import ArchiveFiles, named, opened, read_archive
from bot.backtest.csvfile import BadFile
from bot.backtest.history import History, recently
from bot.backtest.rows import LATEST, MARKS, RowForm, RowPart
from bot.backtest.series import Notes, RecordedSeries, SeriesKey
from bot.backtest.sources import Sources
from bot.config import load
from bot.history.files import ArchiveName, archive_name
from streams.durations import DAY, HOUR, MINUTE
from tests.conftest import ROOT

FIVE = 5 * MINUTE
HEAD = "create_time,symbol,sum_open_interest,sum_open_interest_value,a,b,c,d"


@pytest.fixture(scope="module")
def samples(shared: Path) -> Path:
    folder = shared / "archives"
    if not folder.is_dir():
        pytest.skip(f"no samples of archives in {shared}")
    return folder


def name_of(text: str) -> ArchiveName:
    name = archive_name(text)
    assert name is not None
    return name


def parts_of(text: str, name: str, notes: Notes | None = None) -> Sequence[RowPart]:
    return read_archive(io.StringIO(text), name_of(name), name, notes or Notes())


def sample(path: Path, name: str) -> Sequence[RowPart]:
    return parts_of(path.read_text(), name)


def linked(folder: Path, path: Path, name: str) -> Path:
    link = folder / name
    link.symlink_to(path)
    return link


def zipped(folder: Path, name: str, text: str, member: str = "") -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member or name.replace(".zip", ".csv"), text)
    return path


def test_open_interest_comes_in_any_order_and_is_put_in_order_of_time(samples: Path):
    path = samples / "um_metrics_BTCUSDT_2026-09-30_head20_tail5.csv"
    [part] = sample(path, "BTCUSDT-metrics-2026-09-30.csv")
    lines = path.read_text().splitlines()[1:]
    times = [line.split(",")[0] for line in lines]
    assert times != sorted(times) and len(part.rows.at) == len(lines) == 25
    assert (np.diff(part.rows.at) > 0).all()
    assert (part.form, part.venue, part.asset) == (RowForm.OPEN_INTEREST, "binance", "BTC")
    whole = dict(zip(part.rows.at.tolist(), part.rows.numbers["oi_base"].tolist(), strict=True))
    start = name_of("BTCUSDT-metrics-2026-09-30.csv").start
    assert whole[start + 2 * HOUR + 30 * MINUTE] == 92849.166
    price = part.rows.numbers["oi_usd"] / part.rows.numbers["oi_base"]
    assert (price > 82_900).all() and (price < 85_200).all()


def test_rows_that_stand_twice_count_once_and_those_that_differ_not_at_all(samples: Path):
    """Files until May 2021 hold each row twice."""
    path = samples / "um_metrics_BTCUSDT_2026-09-30_head20_tail5.csv"
    head, *lines = path.read_text().splitlines()
    name, notes = "BTCUSDT-metrics-2026-09-30.csv", Notes()
    [once] = sample(path, name)
    [twice] = parts_of("\n".join([head, *(line for row in lines for line in (row, row))]), name)
    assert twice.rows.at.tolist() == once.rows.at.tolist()
    assert np.array_equal(twice.rows.numbers["oi_base"], once.rows.numbers["oi_base"])
    other = lines[3].replace(lines[3].split(",")[2], "1.0")
    [left] = parts_of("\n".join([head, *lines, other]), name, notes)
    assert len(left.rows.at) == 24
    [note] = notes.sentences
    assert note == (
        f"{name}: 2 rows say otherwise than one of the same time: which is right cannot be known,"
        " and all of them are left out"
    )


def test_bars_without_a_header_say_the_same_as_with_one(samples: Path):
    old = samples / "um_klines_1m_BTCUSDT_2021-05_tail8.csv"
    new = samples / "um_klines_1m_AVAXUSDT_2026-02_head120.csv"
    assert old.read_text()[0].isdigit() and new.read_text().startswith("open_time")
    [part] = sample(old, "BTCUSDT-1m-2021-05.csv")
    assert len(part.rows.at) == 8 and part.rows.numbers["close"][-1] == 37243.38
    headed = new.read_text().splitlines()[0] + "\n" + old.read_text()
    [again] = parts_of(headed, "BTCUSDT-1m-2021-05.csv")
    assert again.rows.at.tolist() == part.rows.at.tolist()
    [avax] = sample(new, "AVAXUSDT-1m-2026-02.csv")
    assert len(avax.rows.at) == 120 and (avax.asset, avax.scope) == ("AVAX", "trades")
    [near] = sample(
        samples / "um_klines_1m_NEARUSDT_2023-02_head120.csv", "NEARUSDT-1m-2023-02.csv"
    )
    assert near.rows.numbers["close"][0] == 2.33


def test_a_bar_is_known_at_its_end(samples: Path):
    [part] = sample(
        samples / "um_klines_1m_AVAXUSDT_2026-02_head120.csv", "AVAXUSDT-1m-2026-02.csv"
    )
    assert part.rows.at[0] == 1769904000000 + MINUTE
    assert set(part.rows.step.tolist()) == {MINUTE}
    assert set((part.rows.at % MINUTE).tolist()) == {0}


def test_microseconds_are_the_times_that_they_are_and_another_market(samples: Path):
    """Spot files since 2025 have them: they are prices, though not the perpetual's."""
    path = samples / "um_klines_1m_AVAXUSDT_2026-02_head120.csv"
    [part] = sample(path, "AVAXUSDT-1m-2026-02.csv")
    head, *lines = path.read_text().splitlines()

    def micro(line: str) -> str:
        cells = line.split(",")
        cells[0], cells[6] = f"{cells[0]}000", f"{cells[6]}999"
        return ",".join(cells)

    [spot] = parts_of("\n".join([head, *map(micro, lines)]), "AVAXUSDT-1m-2026-02.csv")
    assert spot.rows.at.tolist() == part.rows.at.tolist()
    assert (spot.venue, part.venue) == ("binance-spot", "binance")


def test_rates_with_an_exponent_are_read(samples: Path):
    [part] = sample(
        samples / "um_fundingRate_BTCUSDT_exponent_rows.csv", "BTCUSDT-fundingRate-2026-06.csv"
    )
    assert part.rows.numbers["rate"][0] == -1.8e-7 and part.rows.numbers["rate"][2] == -6e-8
    [month] = sample(
        samples / "um_fundingRate_BTCUSDT_2026-08_head20_tail5.csv",
        "BTCUSDT-fundingRate-2026-08.csv",
    )
    assert set(month.rows.numbers["interval_h"].tolist()) == {8.0} and len(month.rows.at) == 25
    assert month.rows.at[0] == 1785542400001  # some ms after the settlement


def test_empty_fields_in_quotes_are_holes(samples: Path):
    path = samples / "cm_metrics_BTCUSD_PERP_2023-06-25_head3.csv"
    assert '"",""' in path.read_text()
    perpetual = path.read_text().replace("BTCUSD_PERP", "BTCUSDT")
    [part] = parts_of(perpetual, "BTCUSDT-metrics-2023-06-25.csv")
    assert len(part.rows.at) == 3
    emptied = perpetual.replace("5578209.00000000", '""')
    [holed] = parts_of(emptied, "BTCUSDT-metrics-2023-06-25.csv")
    assert np.isnan(holed.rows.numbers["oi_base"]).tolist() == [False, True, False]


def test_contracts_are_not_coins(samples: Path, tmp_path: Path):
    """5,578,700 contracts of 100 USD are no coins: coin-margined files are left out, and said."""
    notes = Notes()
    paths = [
        linked(tmp_path, samples / source, name)
        for source, name in (
            ("cm_metrics_BTCUSD_PERP_2023-06-25_head3.csv", "BTCUSD_PERP-metrics-2023-06-25.csv"),
            ("BTCUSD_PERP-1m-2025-10-10_markPriceKlines.zip", "BTCUSD_PERP-1m-2025-10-10.zip"),
        )
    ]
    files = ArchiveFiles(paths, notes)
    assert not files.assets() and files.span() is None
    assert notes.sentences == [
        "BTCUSD_PERP: a contract margined in coins or with a date of delivery, counted in"
        " contracts, which Lowtide does not watch; left out"
    ]


def test_liquidations_of_the_archive_are_not_taken_for_those_that_lowtide_counts(
    samples: Path, tmp_path: Path
):
    path = samples / "cm_liquidationSnapshot_BTCUSD_PERP_2023-06-25_head3.csv"
    lines = path.read_text().splitlines()[1:]
    assert len(set(lines)) < len(lines)  # each stands there twice
    notes = Notes()
    link = linked(tmp_path, path, "BTCUSD_PERP-liquidationSnapshot-2023-06-25.csv")
    assert not ArchiveFiles([link], notes).assets()
    assert "until October 2024" in notes.sentences[0] and "left out" in notes.sentences[0]


def depth_of(samples: Path, date: str) -> dict[int, RowPart]:
    path = samples / f"BTCUSDT-bookDepth-{date}.zip"
    name = named(path)
    assert name is not None
    with opened(path) as file:
        parts = read_archive(file, name, str(path), Notes())
    return {int(part.rows.numbers["band_bp"][0]): part for part in parts}


def test_bands_are_those_of_the_file_however_they_are_written(samples: Path):
    """-5 and -5.00 are one band; 0.20 came in 2026, and is 20 bp."""
    old, new = depth_of(samples, "2023-10-16"), depth_of(samples, "2026-01-31")
    assert list(old) == [100, 200, 300, 400, 500] and list(new) == [20, *old]
    assert len(old[100].rows.at) == 2880 and len(new[100].rows.at) == 2717
    first = {key: old[100].rows.numbers[key][0] for key in ("bid_usd", "ask_usd")}
    head = (samples / "um_bookDepth_2023-10-16_head240.csv").read_text().splitlines()[1:11]
    cells = {row.split(",")[1]: float(row.split(",")[3]) for row in head}
    assert first == {"bid_usd": cells["-1"], "ask_usd": cells["1"]}
    [same, *_] = parts_of("\n".join(head), "BTCUSDT-bookDepth-2023-10-16.csv")
    assert same.rows.at.tolist() == old[100].rows.at[:1].tolist()


def test_a_file_of_the_day_on_which_the_bands_changed_holds_both():
    rows = [
        "2026-01-15 00:00:09,-1,10,1000", "2026-01-15 00:00:09,1,10,1001",
        "2026-01-15 12:00:09,-1.00,10,1002", "2026-01-15 12:00:09,1.00,10,1003",
        "2026-01-15 12:00:09,-0.20,1,100.5", "2026-01-15 12:00:09,0.20,1,101",
    ]  # fmt: skip
    narrow, wide = parts_of("\n".join(rows), "BTCUSDT-bookDepth-2026-01-15.csv")
    assert (narrow.scope, wide.scope) == ("20 bp", "100 bp")
    assert len(narrow.rows.at) == 1 and wide.rows.numbers["bid_usd"].tolist() == [1000, 1002]


def test_real_days_have_no_frozen_side(samples: Path):
    for date in ("2023-10-16", "2026-01-31"):
        for band, part in depth_of(samples, date).items():
            unknown = np.isnan(part.rows.numbers["bid_usd"] + part.rows.numbers["ask_usd"]).sum()
            assert unknown <= (6 if band == 20 else 0), (date, band)


def test_a_frozen_side_is_unknown(samples: Path):
    """In the crash of 10 October 2025 the bids stood at a dead level far above the market."""
    text = (samples / "um_bookDepth_2025-10-10_frozen_bids.csv").read_text()
    assert "\n " in text and "weighted_avg_price" in text  # as its author published it
    parts = {part.scope: part.rows for part in parts_of(text, "BTCUSDT-bookDepth-2025-10-10.csv")}
    for scope in ("100 bp", "200 bp", "300 bp"):
        rows = parts[scope]
        evening = rows.at > rows.at[0] + 20 * HOUR
        assert np.isnan(rows.numbers["bid_usd"][evening]).all() and evening.sum() >= 8
        assert not np.isnan(rows.numbers["bid_usd"][0])
    afternoon = ~(parts["300 bp"].at > parts["300 bp"].at[0] + 20 * HOUR)
    assert not np.isnan(parts["300 bp"].numbers["bid_usd"][afternoon]).any()


def test_a_side_stands_still_from_the_third_equal_sample_on_and_an_empty_one_does_not():
    def day(bids: Sequence[float]) -> str:
        return "\n".join(
            line
            for n, usd in enumerate(bids)
            for line in (
                f"2026-02-01 00:{n // 2:02}:{n % 2 * 30:02},-1.00,{usd / 100},{usd}",
                f"2026-02-01 00:{n // 2:02}:{n % 2 * 30:02},1.00,10,{1001 + n}",
            )
        )

    [part] = parts_of(day([500, 600, 600, 600, 600, 700, 700]), "BTCUSDT-bookDepth-2026-02-01.csv")
    frozen = np.isnan(part.rows.numbers["bid_usd"]).tolist()
    assert frozen == [False, False, False, True, True, False, False]
    [empty] = parts_of(day([500, 0, 0, 0, 0]), "BTCUSDT-bookDepth-2026-02-01.csv")
    assert not np.isnan(empty.rows.numbers["bid_usd"]).any()


def history(paths: Sequence[Path], metrics: Sequence[str], notes: Notes | None = None) -> History:
    return History([ArchiveFiles(paths, notes or Notes())], ["binance"], metrics)


def test_wide_bands_are_never_told_as_narrow_ones(samples: Path):
    names = [f"depth_{bp}bp_pct_of_{of}" for bp in (10, 25, 50, 100) for of in ("recent", "normal")]
    files = history([samples / "BTCUSDT-bookDepth-2026-01-31.zip"], names)
    series_by_key = files.read("BTC", 0, LATEST)
    assert {key.metric for key in series_by_key} == {"depth_100bp_pct_of_recent"}
    why = files.why()
    assert why["depth_25bp_pct_of_recent"] == "the data are of 20, 100, 200, 300, 400, 500 bp"
    assert why["depth_100bp_pct_of_normal"] == "less than five days of it"


def minute(at: int) -> str:
    return f"{at % DAY // HOUR:02}:{at % HOUR // MINUTE:02}"


def recent(samples: Path, date: str) -> RecordedSeries:
    name = "depth_100bp_pct_of_recent"
    files = history([samples / f"BTCUSDT-bookDepth-{date}.zip"], [name])
    return files.read("BTC", 0, LATEST)[SeriesKey(name, "BTC")]


def test_the_minutes_in_which_depth_was_gone_are_seen(samples: Path):
    """31 January 2026, 18:44: of 351 M$ within 1 % there were 78, and five minutes later they were
    back; 16 October 2023, 13:30: false news."""
    series = recent(samples, "2026-01-31")
    assert "18:44" in {minute(at) for at in series.at[series.value < 40].tolist()}
    after = (series.at % DAY > 18 * HOUR + 49 * MINUTE) & (series.at % DAY < 19 * HOUR)
    assert (series.value[after] > 60).all() and after.sum() > 15
    series = recent(samples, "2023-10-16")
    thin = {minute(at) for at in series.at[series.value < 45].tolist()}
    assert {"13:32", "13:41"} < thin and not any(text > "13:58" for text in thin)


def test_the_normal_of_depth_is_that_of_the_hours_before():
    """Half an hour is needed; two samples make a minute; a minute apart is too coarse."""
    at = np.arange(1, 400, dtype=np.int64) * 30_000
    usd = np.where(at < 100 * MINUTE, 200.0, 50.0)
    current, normal = recently(at, np.full(len(at), MINUTE), usd)
    known = ~np.isnan(normal)
    assert int(at[known][0]) == 31 * MINUTE - MINUTE and np.isnan(current[0])
    assert normal[known][0] == 200 and current[at == 100 * MINUTE + 30_000][0] == 50
    assert normal[-1] == 200 and np.isnan(recently(at * 4, np.full(len(at), 2 * MINUTE), usd)).all()


def test_a_file_of_mark_prices_has_no_volume_and_is_no_file_of_trades(samples: Path):
    """Its name is that of a file of trades."""
    path = samples / "BTCUSDT-5m-2025-10-11_markPriceKlines.zip"
    name = named(path)
    assert name is not None and name.content == "5m" and name.symbol == "BTCUSDT"
    with opened(path) as file:
        [part] = read_archive(file, name, str(path), Notes())
    assert part.scope == MARKS and len(part.rows.at) == 288
    assert np.isnan(part.rows.numbers["volume_base"]).all()
    assert set(part.rows.step.tolist()) == {FIVE}


def test_mark_prices_speak_before_trades(samples: Path, tmp_path: Path):
    """The rules look at mark prices, so where both are known, these are judged."""
    marks = linked(
        tmp_path, samples / "BTCUSDT-5m-2025-10-11_markPriceKlines.zip", "BTCUSDT-5m-2025-10-11.zip"
    )
    start = name_of("BTCUSDT-1m-2025-10-11.csv").start
    bars = [
        f"{start + n * MINUTE},1,1,1,1,5,{start + (n + 1) * MINUTE - 1},5,3,1,1,0"
        for n in range(2 * 1440)
    ]
    trades = tmp_path / "BTCUSDT-1m-2025-10-11.csv"
    trades.write_text("\n".join(bars))
    prices = history([trades, marks], []).read("BTC", 0, LATEST)[SeriesKey("price", "BTC")]
    assert prices.value[0] == 1 and prices.at[0] == start + MINUTE  # before the first mark price
    first_day = prices.value[(prices.at > start + FIVE) & (prices.at <= start + DAY)]
    assert (first_day > 100_000).all()
    assert (prices.value[prices.at > start + DAY + 10 * MINUTE] == 1).all()


def test_times_need_no_grid():
    """Some rows come 2 s late."""
    start = name_of("BTCUSDT-metrics-2026-01-10.csv").start
    assert start == 1768003200000
    rows = [HEAD]
    for n in range(40):
        late = ":02" if n in (7, 20) else ":00"
        rows.append(f"2026-01-10 {n // 12:02}:{n % 12 * 5:02}{late},BTCUSDT,{1000 - n},1e8,1,1,1,1")
    [part] = parts_of("\n".join(rows), "BTCUSDT-metrics-2026-01-10.csv")
    assert [t for t in part.rows.at.tolist() if t % FIVE] == [start + 7 * FIVE + 2_000,
                                                             start + 20 * FIVE + 2_000]  # fmt: skip


def test_off_grid_rows_give_values(tmp_path: Path):
    rows = [HEAD]
    for n in range(40):
        late = ":02" if n % 3 == 0 else ":00"
        rows.append(f"2026-01-10 {n // 12:02}:{n % 12 * 5:02}{late},BTCUSDT,{1000 - n},1e8,1,1,1,1")
    path = zipped(tmp_path, "BTCUSDT-metrics-2026-01-10.zip", "\n".join(rows))
    [series] = history([path], ["oi_net_1h_pct"]).read("BTC", 0, LATEST).values()
    assert len(series.at) == 40 - 12  # of the first hour there is no beginning
    assert (np.abs(series.value + 100 * 12 / 1000) < 0.15).all()


def test_a_thousand_coins_in_one_are_a_thousand(tmp_path: Path):
    row = "2026-01-10 00:05:00,1000PEPEUSDT,5,1000,1,1,1,1"
    [part] = parts_of(f"{HEAD}\n{row}", "1000PEPEUSDT-metrics-2026-01-10.csv")
    assert (part.asset, part.rows.numbers["oi_base"].tolist()) == ("PEPE", [5_000])
    [bars] = parts_of(
        "1769904000000,10,12,8,11,7,1769904059999,1,1,1,1,0", "1000PEPEUSDT-1m-2026-02.csv"
    )
    assert bars.rows.numbers["close"][0] == 0.011 and bars.rows.numbers["volume_base"][0] == 7_000


REFUSED = {
    "another file": ("x,y\n1,2", "BTCUSDT-metrics-2026-09-30.csv",
                     "line 1: has no column create_time: the file is another one"),
    "another contract": (f"{HEAD}\n2026-09-30 00:05:00,ETHUSDT,1,1,1,1,1,1",
                         "BTCUSDT-metrics-2026-09-30.csv",
                         "line 2: holds rows of 'ETHUSDT', and its name says BTCUSDT"),
    "empty": ("", "BTCUSDT-metrics-2026-09-30.csv", "line 1: is empty"),
    "a row cut off": ("1769904000000,10,12,8", "BTCUSDT-1m-2026-02.csv",
                      "line 1: has 4 fields where 12 were expected"),
    "not a number": (f"{HEAD}\n2026-09-30 00:05:00,BTCUSDT,many,1,1,1,1,1",
                     "BTCUSDT-metrics-2026-09-30.csv",
                     "line 2: sum_open_interest 'many' is not a number"),
    "infinite": (f"{HEAD}\n2026-09-30 00:05:00,BTCUSDT,1e999,1,1,1,1,1",
                 "BTCUSDT-metrics-2026-09-30.csv", "line 2: sum_open_interest is '1e999'"),
    "negative": (f"{HEAD}\n2026-09-30 00:05:00,BTCUSDT,-5,1,1,1,1,1",
                 "BTCUSDT-metrics-2026-09-30.csv", "line 2: holds a negative size"),
    "no time": (f"{HEAD}\n30.9.2026,BTCUSDT,5,1,1,1,1,1", "BTCUSDT-metrics-2026-09-30.csv",
                "line 2: has the time '30.9.2026', which is none"),
    "seconds": ("1785542400,8,0.1", "BTCUSDT-fundingRate-2026-08.csv",
                "line 1: has the time '1785542400', which is none"),
    "no bar": ("1769904000000,10,9,8,11,7,1769904059999,1,1,1,1,0", "BTCUSDT-1m-2026-02.csv",
               "line 1: has a bar of '10', '9', '8', '11', which cannot be"),
    "no rate": ("1785542400001,0,0.1", "BTCUSDT-fundingRate-2026-08.csv",
                "line 1: has a rate of 0.1 each 0 h, which cannot be"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_what_its_name_says_is_told_with_its_line(case: str):
    text, name, words = REFUSED[case]
    with pytest.raises(BadFile) as error:
        parts_of(text, name)
    assert str(error.value) == f"{name}, {words}"


def test_a_damaged_file_is_left_out_and_the_others_are_read(tmp_path: Path):
    rows = [HEAD, *(f"2026-09-{day} 00:05:00,BTCUSDT,5,100,1,1,1,1" for day in (28, 29, 30))]
    good = zipped(tmp_path, "BTCUSDT-metrics-2026-09-30.zip", "\n".join(rows))
    torn = tmp_path / "BTCUSDT-metrics-2026-09-29.zip"
    torn.write_bytes(good.read_bytes()[:-30])
    wrong = tmp_path / "BTCUSDT-metrics-2026-09-28.zip"
    data = bytearray(good.read_bytes())
    data[60] ^= 0xFF
    wrong.write_bytes(data)
    notes = Notes()
    files = ArchiveFiles([torn, good, wrong], notes)
    [part] = files.parts(RowForm.OPEN_INTEREST, "BTC", 0, LATEST)
    assert len(part.rows.at) == 3
    assert sorted(notes.sentences) == sorted(
        f"{path}: is damaged: get it again; left out" for path in (torn, wrong)
    )


def test_zips_that_are_no_archive_files_are_refused(tmp_path: Path):
    name = "BTCUSDT-metrics-2026-09-30.zip"
    outside = zipped(tmp_path, name, HEAD, "../BTCUSDT-metrics-2026-09-30.csv")
    refusals: list[str] = []

    def refused(path: Path) -> str:
        with pytest.raises(BadFile) as error, opened(path) as file:
            file.read()
        return str(error.value).removeprefix(f"{path}: ")

    refusals.append(refused(outside))
    with zipfile.ZipFile(outside, "w") as archive:
        archive.writestr("a.csv", HEAD)
        archive.writestr("b.csv", HEAD)
    refusals.append(refused(outside))
    bomb = zipped(tmp_path, name, "0" * 70_000_000)
    assert bomb.stat().st_size < 100_000
    refusals.append(refused(bomb))
    liar = bytearray(zipped(tmp_path, name, "0" * 5_000_000).read_bytes())
    for place in (22, liar.rindex(b"PK\x01\x02") + 24):  # both heads say that it has 1,000 bytes
        struct.pack_into("<I", liar, place, 1_000)
    (tmp_path / name).write_bytes(liar)
    refusals.append(refused(tmp_path / name))
    assert refusals == [
        "holds a file with the name '../BTCUSDT-metrics-2026-09-30.csv', which is no CSV file",
        "holds 2 files, and one was expected",
        "would unpack to 67 MB, and at most 64 MB are read",
        "is damaged: get it again",
    ]


def test_a_file_with_another_name_is_refused_before_anything_is_read(samples: Path):
    for other in ("bybit_xrpusdt-ob500.data.zip",):
        with pytest.raises(ValueError, match="the name of an archive file says what it is of"):
            ArchiveFiles([samples / other], Notes())


def test_a_folder_is_read_with_what_is_below_it_and_without_what_still_comes(tmp_path: Path):
    settings = load(ROOT / "config.toml", {})
    below = tmp_path / "data" / "metrics"
    below.mkdir(parents=True)
    rows = [f"2026-09-30 {n // 12:02}:{n % 12 * 5:02}:00,BTCUSDT,5,100,1,1,1,1" for n in range(60)]
    name = "BTCUSDT-metrics-2026-09-30.zip"
    path = zipped(below, name, "\n".join([HEAD, *rows]))
    other = path.with_name(f".BTCUSDT-metrics-2026-10-01.zip.{'0' * 16}.part")
    other.write_bytes(b"half")
    path.with_name(".BTCUSDT-metrics-2026-10-02.zip").write_bytes(b"half")
    sources = Sources([tmp_path], settings, ["oi_net_1h_pct"])
    [series] = [s for chunk in sources.pieces() for s in chunk.series.values()]
    assert len(series.at) == 48 and sources.notes.sentences == []


def test_only_the_files_of_a_piece_of_time_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    days = [f"{month:02}-{day:02}" for month in (1, 2, 3, 4) for day in range(1, 29)]
    paths = [
        zipped(
            tmp_path,
            f"{symbol}-metrics-2026-{day}.zip",
            f"{HEAD}\n2026-{day} 00:05:00,{symbol},5,100,1,1,1,1",
        )
        for day in days
        for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    read: list[str] = []
    real = ArchiveFiles._read  # pyright: ignore[reportPrivateUsage]

    def noted(self: ArchiveFiles, path: Path, name: ArchiveName) -> Sequence[RowPart]:
        read.append(path.name)
        return real(self, path, name)

    monkeypatch.setattr(ArchiveFiles, "_read", noted)
    files = ArchiveFiles(paths, Notes())
    start = name_of("BTCUSDT-metrics-2026-03-01.zip").start
    [part] = files.parts(RowForm.OPEN_INTEREST, "BTC", start, start + 2 * DAY)
    assert len(part.rows.at) == 2
    # the last row of a day may be known a little after it
    assert read == [f"BTCUSDT-metrics-2026-{day}.zip" for day in ("02-28", "03-01", "03-02")]


def test_files_under_a_former_name_are_of_the_same_coin(tmp_path: Path) -> None:
    """MATIC's contract ended on 9 September 2024 and POL's began on the 13th."""
    paths = [
        zipped(
            tmp_path,
            f"{symbol}-metrics-2024-09-{day}.zip",
            f"{HEAD}\n2024-09-{day} 00:05:00,{symbol},{coins},100,1,1,1,1",
        )
        for symbol, day, coins in (("MATICUSDT", "08", 5), ("POLUSDT", "14", 7))
    ]
    files = ArchiveFiles(paths, Notes())
    assert [*files.assets()] == ["POL"]
    start = name_of("MATICUSDT-metrics-2024-09-08.zip").start
    [part] = files.parts(RowForm.OPEN_INTEREST, "POL", start, start + 7 * DAY)
    assert (part.asset, len(part.rows.at)) == ("POL", 2)
