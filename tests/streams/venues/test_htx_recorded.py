"""Recorded frames of HTX as they came, packed, and its recorded listings."""

import itertools
import json
from pathlib import Path

import msgspec

from streams.venue import Reply
from streams.venues import htx
from tests.streams.venue_cases import SEEN, check_golden
from tests.streams.venues.test_venues_recorded import HTX, frames, known, raw

FOLDER = "frames/htx"
LINEAR = "cryptofeed_htx_linear_swap_ws2.jsonl.gz"


def test_packed_frames_are_what_they_are_unpacked(shared: Path) -> None:
    text = (shared / FOLDER / "cryptofeed_htx_linear_swap_first40.rawgz_hex.tsv").read_text()
    packed = [bytes.fromhex(line.split("\t")[1]) for line in text.splitlines()]
    unpacked = [*frames(shared / FOLDER / LINEAR)][: len(packed)]
    listed = known("htx", HTX[LINEAR][1])
    assert len(packed) == 40
    for frame, plain in zip(packed, unpacked, strict=True):
        assert frame.startswith(b"\x1f\x8b")
        assert htx.decode(frame, listed, SEEN) == htx.decode(plain, listed, SEEN)


def test_each_recorded_ping_has_its_answer(shared: Path) -> None:
    """Six within half a minute, each 5 s."""
    pings: list[int] = []
    for frame in frames(shared / FOLDER / LINEAR):
        message = json.loads(frame)
        if "ping" in message:
            (reply,) = htx.decode(frame, known("htx", "BTC-USDT"), SEEN)
            assert isinstance(reply, Reply)
            assert json.loads(reply.answer) == {"pong": message["ping"]}
            pings.append(message["ping"])
    assert len(pings) == 6
    assert {round((b - a) / 1000) for a, b in itertools.pairwise(pings)} == {5}


def test_recorded_listings(shared: Path) -> None:
    """Of 2022 without an interval, which is assumed then; of 2021 with dated contracts."""
    folder = shared / FOLDER
    tickers = raw(folder / "jkorf_usdtmarginswap_GetTickers.json")
    rows: list[str] = []
    for name in (
        "cryptofeed_api_hbdm_com_linear_swap_api_v1_swap_contract_info.json",
        "jkorf_usdtmarginswap_GetContractInfo.json",
    ):
        contracts, _, unreadable, _ = htx.instruments([raw(folder / name), tickers])
        assert unreadable == ()
        assert all(of.funding_assumed and of.ends_at is None for of in contracts)
        assert contracts[0].volume_24h_usd == 273_472_535.834
        rows += [msgspec.json.encode(of).decode() for of in contracts]
    assert len(rows) == 121 + 1
    by_symbol = {json.loads(row)["symbol"]: json.loads(row) for row in rows}
    assert by_symbol["FTM-USDT"]["asset"] == "S"
    assert by_symbol["1INCH-USDT"]["asset"] == "1INCH"
    check_golden("recorded/htx/listing.jsonl", rows)


def test_recorded_contracts_in_coins_are_not_watched(shared: Path) -> None:
    name = "cryptofeed_api_hbdm_com_swap_api_v1_swap_contract_info.json"
    contracts, *_ = htx.instruments([raw(shared / FOLDER / name), b'{"ticks":[]}'])
    assert contracts == []
