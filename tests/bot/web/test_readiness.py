"""Ready is: it hears every venue, its rules tick, Telegram answers. A market that falls is none."""

import re
from typing import Any

import msgspec
import pytest

from bot.delivery.post import ChatReport
from bot.lang import LANGUAGES
from bot.status import Unheard
from bot.web.readiness import readiness
from streams.bus.skew import ClockError
from streams.events import Ms
from streams.feed.status import FeedCount, SilentContract
from tests.bot.web.cases import NOW, socket, status, venue


def wrong(report: dict[str, Any], failing: dict[str, str] | None = None) -> dict[str, str]:
    checks = readiness(report, failing or {}, telegram=True)
    assert [check.name for check in checks] == [
        "roles", "venues", "ticks", "clock", "process", "telegram",
    ]  # fmt: skip
    return {check.name: check.reason for check in checks if not check.ok}


UNHEARD = SilentContract(
    symbol="PI_XBTUSD", kinds=["funding", "open_interest"], since=NOW - 180_000,
    reason="refused: Invalid id",
)  # fmt: skip


SET_IT = "set it, by NTP for example: timedatectl set-ntp true"


def clock(ahead: Ms, *venues: str) -> dict[str, Any]:
    return {"clock": msgspec.to_builtins(ClockError(ahead=ahead, venues=[*venues]))}


def test_all_is_well() -> None:
    assert wrong(status()) == {}
    assert len(readiness(status(bot={"telegram": None}), {}, telegram=False)) == 5


@pytest.mark.parametrize(
    ("report", "reasons"),
    [
        (status(rules=None), {
            "roles": "rules not running (nothing heard for 30 s)",
            "ticks": "the rules role is not heard"}),
        (status(streams=None, bot=None), {
            "roles": "streams not running (nothing heard for 30 s); bot not running (nothing heard"
            " for 30 s)",
            "venues": "the streams role is not heard",
            "telegram": "the bot role is not heard"}),
        (status(venue(), venue("okx", "OKX", trouble="it answers\n451")),
         {"venues": "OKX: it answers 451"}),
        (status(venue(sockets=[socket(last_data=NOW - 45_000), socket(last_data=NOW - 75_000)])),
         {"venues": "Bybit: nothing has come for 45 s"}),
        (status(venue(sockets=[socket(last_data=0)])), {"venues": "Bybit: nothing has come yet"}),
        (status(venue(silent=[UNHEARD, msgspec.structs.replace(UNHEARD, symbol="PF_ETHUSD",
                                                               since=NOW - 179_000)])),
         {"venues": "Bybit: PI_XBTUSD silent: funding, open interest (refused: Invalid id)"}),
        (status(venue(silent=[UNHEARD], sockets=[socket(last_data=NOW - 60_000)])),
         {"venues": "Bybit: nothing has come for 60 s"}),
        (status(venue(sockets=[])), {"venues": "Bybit: nothing has come yet"}),
        (status(streams=clock(-7_200_000, "binance", "bybit")),
         {"clock": f"this machine's clock is 2 h behind the exchanges'; {SET_IT}"}),
        (status(streams=clock(-2_100, "binance", "bybit")),
         {"clock": f"this machine's clock is 2 s behind the exchanges'; {SET_IT}"}),
        (status(streams=clock(600_000, "binance", "bybit")),
         {"clock": "this machine's clock is 10 min ahead of the exchanges', unless everything"
          f" arrives so late; {SET_IT}"}),
        (status(streams=clock(-90_000, "bybit")),
         {"clock": "this machine's clock is 90 s behind that of Bybit, the only one heard;"
          " set the one that is wrong"}),
        (status(rules={"tick_ms": 30_001}), {"ticks": "no tick for 30 s"}),
        (status(bot={"telegram": "Telegram cannot be reached (ConnectError)"}),
         {"telegram": "Telegram cannot be reached (ConnectError)"}),
        (status(bot={"telegram": None}), {"telegram": "Telegram has not answered yet"}),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(report: dict[str, Any], reasons: dict[str, str]) -> None:
    assert wrong(report) == reasons


def test_what_has_failed_in_this_process_is_said() -> None:
    full = {"the metric log": "it cannot be written: No space left on device"}
    reason = "the metric log: it cannot be written: No space left on device"
    assert wrong(status(), full) == {"process": reason}


def test_something_critical_that_waits_is_said() -> None:
    chat = ChatReport(chat="-100", ready=True, queued=1, critical_ms=130_000)
    report = status(bot={"troubled": [msgspec.to_builtins(chat)]})
    words = "bot a chat, 1 post waits, the oldest critical one for 130 s"
    assert wrong(report) == {"roles": words}


@pytest.mark.parametrize("chat", ["-1001234567890", "@my_channel", "-42", "webhook:desk"])
def test_a_stuck_chat_is_not_named(chat: str) -> None:
    stuck = ChatReport(
        chat=chat, ready=False, queued=2, critical_ms=130_000,
        reason=f"no answer from {chat} at https://hooks.example/T0/secret, host 10.0.0.5:6379",
    )  # fmt: skip
    report = status(bot={"troubled": [msgspec.to_builtins(stuck)]})
    assert wrong(report) == {
        "roles": "bot a chat is not ready, 2 posts wait, the oldest critical one for 130 s:"
        " no answer from … at … host …"
    }


def test_the_end_of_a_role_names_no_chat() -> None:
    ended = {"reason": "Telegram finds no chat -1001234567890\nadd it", "seconds_ago": 120}
    report = status(bot=None) | {"ended": {"bot": ended}}
    reason = "bot not running: it ended 2 min ago: Telegram finds no chat … add it"
    assert wrong(report)["roles"] == reason


@pytest.mark.parametrize(
    "report",
    [
        # half of the sockets gone quiet, feeds lost, gaps, a clock that stepped back, old roles
        status(venue(sockets=[socket(), socket(last_data=NOW - 900_000, ready=False)])),
        status(venue(feeds={"price": FeedCount(up=0, down=40)})),
        status(venue(sockets=[socket(gaps=10_000, lag_ms=9_000)])),
        status(streams={"seen": NOW - 7_200_000}),
        status(venue(sockets=[socket(last_data=NOW - 44_000)])),
        # all exchanges late together, which looks like a clock that is ahead
        status(streams=clock(59_000, "binance", "bybit")),
        status(rules={"alerts": 100_000, "lag_ms": 20_000}, bot={"queued": 400, "held": 900}),
    ],
)
def test_a_crash_of_the_market_is_no_fault(report: dict[str, Any]) -> None:
    assert wrong(report) == {}


@pytest.mark.parametrize(
    ("unheard", "words"),
    [
        (Unheard(1.0, False), "rules has not reported yet"),
        (Unheard(26.0, False), "rules not running (nothing heard for 30 s)"),
        (Unheard(4.0, True),
         "rules reports anew in a moment: Redis was restarted, or its clock stepped"),
        (Unheard(31.0, True), "rules not running (nothing heard for 30 s)"),
    ],
)  # fmt: skip
def test_a_role_is_not_called_dead_before_that_is_known(unheard: Unheard, words: str) -> None:
    report = status(rules=None) | {"unheard": {"rules": unheard}}
    assert wrong(report) == {"roles": words, "ticks": "the rules role is not heard"}


@pytest.mark.parametrize("language", ["zh-TW", "ja"])
@pytest.mark.parametrize(
    "report",
    [
        status(streams=None, rules=None),
        *(status(streams=None) | {"unheard": {"streams": Unheard(1.0, before)}}
          for before in (True, False)),
        *(status(streams=clock(ahead, *venues))
          for ahead in (-7_200_000, 7_200_000) for venues in (("bybit",), ("bybit", "okx"))),
    ],
)  # fmt: skip
def test_readers_have_it_in_their_language(report: dict[str, Any], language: str) -> None:
    english = re.compile(
        r"\b(?!streams|rules|bot|Redis|NTP|Bybit|min|timedatectl|set-ntp|ntp|true)[A-Za-z]{2,}",
        re.ASCII,
    )
    for reason in wrong(report).values():
        assert not english.findall(LANGUAGES[language].reasons.translated(reason))


def test_the_status_of_an_earlier_version_is_understood() -> None:
    report = status()
    del report["rules"]["tick_ms"], report["streams"]["clock"]
    assert wrong(report) == {}
