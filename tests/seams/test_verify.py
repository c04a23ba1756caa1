"""``lowtide verify`` as an operator runs it, against a venue on loopback."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from streams.clock import wall_ms
from tests.bot.lying_venue import COINS, LyingVenue, lying

ROOT = Path(__file__).parents[2]
CONFIG = """
[channel]
chat_id = "@lowtide"
[markets]
venues = ["bybit"]
majors = [{coins}]
large  = []
tail   = "none"
[venues.bybit]
websocket = "{websocket}"
rest = "{rest}"
[rules.liq]
metric = "liq_10m_musd"
fires  = "above"
majors = {{ alert = 1, clear = 0.5 }}
"""


async def _run(folder: Path, *arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot", "verify", *arguments, "--config", str(folder / "config.toml"),
        cwd=ROOT, env={**os.environ, "TELEGRAM_BOT_TOKEN": ""},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 120)
    return process.returncode, out.decode(), err.decode()


def _both_sides(venue: LyingVenue) -> None:
    def doubled(row: dict[str, str]) -> dict[str, str]:
        fields = ("singleOpenInterest", "singleOpenInterestValue")
        return row | {name: str(2 * float(row[name])) for name in fields}

    venue.said = doubled


@pytest.mark.parametrize("lies", [False, True])
async def test_the_table_and_the_exit_code_say_whether_numbers_agree(
    tmp_path: Path, lies: bool
) -> None:
    async with lying(wall_ms) as (venue, websocket, rest):
        if lies:
            _both_sides(venue)
        named = ", ".join(f'"{coin}"' for coin in COINS)
        config = CONFIG.format(coins=named, websocket=websocket, rest=rest)
        (tmp_path / "config.toml").write_text(config, encoding="utf-8")
        code, out, err = await _run(tmp_path, "--venue", "bybit", "--seconds", "6")
    lines = out.splitlines()
    print(out, err)
    assert lines[0].split() == [
        "venue", "check", "against", "compared", "worst", "instrument", "verdict",
    ]  # fmt: skip
    interest = next(line for line in lines if "  open interest  " in line)
    assert err == "Listening to Bybit for 6 s.\n"
    if lies:
        assert code == 1
        assert "+10,000 bp" in interest
        assert "drift: 5 of 5: 2 times, as both sides in place of one" in interest
        assert "did not hold: bybit: open interest" in lines[-1]
    else:
        assert code == 0
        assert interest.endswith("ok")
        assert lines[-1].startswith("All that could be compared agrees: 1")


async def test_a_venue_that_there_is_not_is_refused(tmp_path: Path) -> None:
    config = CONFIG.format(coins='"BTC"', websocket="ws://127.0.0.1:9", rest="http://127.0.0.1:9")
    (tmp_path / "config.toml").write_text(config, encoding="utf-8")
    code, out, err = await _run(tmp_path, "--venue", "bibit")
    assert (code, out) == (2, "")
    assert err.startswith("no venue is called 'bibit': choose from binance, bybit, ")
