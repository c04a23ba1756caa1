"""From context sources, a server and a file, to the answer of /macro."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web

from tests.bot.fake_updates import OPERATORS
from tests.seams.system import System

CONFIG = f"""
[channel]
chat_id = "@lowtide"
[operators]
chat_id = {OPERATORS}
users = [11]
commands = "everyone"
[context]
sources = ["kalshi", "polymarket"]
urls = {{ kalshi = "URL", polymarket = "URL" }}
[[context.series]]
name = "flows"
unit = "M USD"
file = "flows.csv"
"""


def decision() -> bytes:
    """Of a meeting that is to come: a cut 10 %, a hold 80 %, a hike 10 %."""
    quotes = {"C25": ("0.0900", "0.1100"), "H0": ("0.7900", "0.8100"), "H25": ("0.0900", "0.1100")}
    at = datetime.now(UTC) + timedelta(days=20)
    legs = [
        {"ticker": f"KXFEDDECISION-X-{end}", "status": "active", "yes_bid_dollars": bid,
         "yes_ask_dollars": ask, "yes_ask_size_fp": "5.00"}
        for end, (bid, ask) in quotes.items()
    ]  # fmt: skip
    event = {
        "event_ticker": "KXFEDDECISION-X", "series_ticker": "KXFEDDECISION",
        "strike_date": at.isoformat(), "markets": legs,
    }  # fmt: skip
    return json.dumps({"events": [event]}).encode()


@asynccontextmanager
async def sources() -> AsyncIterator[str]:
    """A server that answers for one source, and refuses the other."""

    async def answer(request: web.Request) -> web.Response:
        if "trade-api" in request.path:
            return web.Response(body=decision())
        return web.Response(status=451)

    runner = web.AppRunner(web.Application())
    runner.app.router.add_get("/{path:.*}", answer)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def answered(system: System, text: str, holds: Callable[[str], bool]) -> str:
    """The answer to ``text``, asked for until it holds: the rules say what they see every ten
    seconds."""
    for user in range(100, 160):
        system.telegram.say(text, user=user)
        await system.until(lambda u=user: [s for s in system.telegram.sent if s.chat == u], 60)
        (reply,) = [s.text for s in system.telegram.sent if s.chat == user]
        if holds(reply):
            return reply
    raise AssertionError(reply)


async def test_what_sources_say_is_answered_and_one_that_refuses_costs_itself(tmp_path: Path):
    (tmp_path / "flows.csv").write_text("date,flow\n2025-11-18,-523.2\n2025-11-19,60.6\n")
    async with sources() as url, System(tmp_path, CONFIG.replace("URL", url)) as system:
        await system.start()
        reply = await answered(system, "/macro", lambda text: "hold 80.0%" in text)
        assert "Kalshi" in reply
        assert "cut 10.0% · hold 80.0% · hike 10.0%" in reply
        assert "$60.6M" in reply
        assert "lowest −$523M" in reply
        assert "Not available: Polymarket (it refuses this address" in reply
        notices = [s.text for s in system.telegram.sent if s.chat == OPERATORS]
        assert sum("Polymarket gives nothing" in text for text in notices) == 1
        assert not any("Kalshi gives nothing" in text for text in notices)
        await system.liquidate("BTCUSDT", 6e6)  # and the market is watched as ever
        await answered(system, "/liq BTC", lambda text: text.startswith("BTC"))
