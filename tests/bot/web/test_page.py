"""What the page shows of a market that was worked out by hand."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bot.delivery.fate import AlertFate, Fate
from bot.lang import ENGLISH, LANGUAGES
from bot.redaction import public
from bot.web.page import PageInput, PageTable, page_tables
from bot.web.readiness import ReadinessCheck
from rules.alerts import Alert, Turn
from rules.snapshot import OpenEpisodes
from tests.bot import asked
from tests.bot.asked import EPISODE, HOUR, MIN, NOW, STANDING, THINNER
from tests.bot.messages.test_messages import turned
from tests.bot.web import cases
from tests.golden import check_text

GOLDEN = Path(__file__).parent.parent / "golden"


def tables(folder: Path, **changes: Any) -> dict[str, PageTable]:
    fields: dict[str, Any] = {
        "settings": asked.settings(folder), "language": "en", "now": NOW, "standing": STANDING,
        "status": cases.status(streams={"seen": cases.NOW}), "alerts": EPISODE[::-1],
        "checks": [ReadinessCheck(name="roles", ok=True)], "subscribers": 1,
        "fates": {EPISODE[1].id: (AlertFate(Fate.POSTED),),
                  EPISODE[2].id: (AlertFate(Fate.HIDDEN),)},
    }  # fmt: skip
    return {table.name: table for table in page_tables(PageInput(**{**fields, **changes}))}


def texts(table: PageTable) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_state_is_what_people_have_agreed_on(tmp_path: Path, language: str) -> None:
    """The channel is in English, whoever reads the page."""
    shown = [msgspec.to_builtins(table) for table in tables(tmp_path, language=language).values()]
    path = GOLDEN / ("page.json" if language == "en" else f"page.{language}.json")
    check_text(path, msgspec.json.format(msgspec.json.encode(shown)).decode() + "\n")


def test_every_row_is_as_long_as_the_heads(tmp_path: Path) -> None:
    for table in tables(tmp_path).values():
        assert {len(row) for row in table.rows} == {len(table.columns)}, table.name


def test_what_is_unknown_is_a_dash_and_never_zero(tmp_path: Path) -> None:
    rows = {row[0]: row[1:] for row in texts(tables(tmp_path)["market"])}
    assert rows["ETH"] == ["$112,400", "0.0101%", "–", "+0.4%", "–", "0"]  # liquidations: reported
    assert rows["A<B"] == ["$112,400", "−0.84%", "–", "–", "–", "–"]
    nothing = msgspec.structs.replace(STANDING.values[0], value=None, price=None)
    standing = msgspec.structs.replace(STANDING, values=(nothing,))
    assert texts(tables(tmp_path, standing=standing)["market"]) == [["BTC", "–", "–"]]


def test_a_value_over_another_window_says_which(tmp_path: Path) -> None:
    values = [value for value in STANDING.values if value.metric != "oi_net_1h_pct"]
    later = msgspec.structs.replace(
        next(value for value in STANDING.values if value.metric == "oi_net_1h_pct"), asset="ETH"
    )
    fewer = msgspec.structs.replace(STANDING, values=(*values, later))
    market = tables(tmp_path, standing=fewer)["market"]
    place = [column.text for column in market.columns].index("Net OI 15 min")
    cells = {row[0].text: row[place].text for row in market.rows}
    assert cells == {"BTC": "−1.2%", "ETH": "−5.2% (1h)", "A<B": "–"}


def test_what_is_too_old_is_not_shown_as_present(tmp_path: Path) -> None:
    later = tables(tmp_path, now=NOW + HOUR)
    assert later["open"].rows == later["market"].rows == ()
    [why] = later["open"].notes
    assert why.startswith("The rules have had no data for 1 h")
    assert why in later["market"].notes


def test_without_rules_it_says_who_is_missing(tmp_path: Path) -> None:
    without = tables(tmp_path, standing=None, status=cases.status(rules=None))
    assert without["open"].notes == ("The rules role is not running, so nobody knows what is so"
                                     " now.",)  # fmt: skip
    nobody = tables(tmp_path, standing=None, status=None, trouble="Redis cannot be reached")
    assert texts(nobody["health"]) == [["Redis", "Redis cannot be reached"]]
    assert nobody["feeds"].notes and nobody["delivery"].notes
    assert nobody["feeds"].rows == nobody["delivery"].rows == ()


def test_an_episode_that_cannot_be_judged_now_is_dim_and_says_when_it_last_could(tmp_path: Path):
    stale = tuple(msgspec.structs.replace(alert, facts=None) for alert in THINNER.stale)
    standing = msgspec.structs.replace(THINNER, stale=stale)
    [[level, what, worst, _]] = tables(tmp_path, standing=standing)["open"].rows
    assert level.tone == "critical"
    assert (what.text, what.tone) == ("BTC depth: 31% of normal – last known 09:33 UTC", "dim")
    assert worst.text == "2%"


def test_what_is_open_is_the_newest_that_the_rules_have_said(tmp_path: Path) -> None:
    over = tables(tmp_path, episodes=OpenEpisodes(seen=NOW, episodes=()))
    assert over["open"].rows == ()
    assert over["open"].notes[0].startswith("Nothing is going on now")
    older = OpenEpisodes(seen=NOW - MIN, episodes=())
    assert len(tables(tmp_path, episodes=older)["open"].rows) == 2


def test_a_clock_that_was_set_back_leaves_the_length_unknown(tmp_path: Path) -> None:
    began = [msgspec.structs.replace(alert, began=NOW + HOUR) for alert in STANDING.episodes]
    standing = msgspec.structs.replace(STANDING, episodes=tuple(began))
    for row in tables(tmp_path, standing=standing)["open"].rows:
        assert row[3].text.endswith("for an unknown time")


@pytest.mark.parametrize(
    ("lag_ms", "ahead", "shown"),
    [(-30, None, "0 ms"), (-7_199_998, -7_200_000, "–"), (-7_199_998, None, "–")],
)
def test_a_lag_by_a_wrong_clock_is_unknown(
    tmp_path: Path, lag_ms: int, ahead: int | None, shown: str
) -> None:
    clock = ahead and {"ahead": ahead, "venues": ["bybit", "okx"]}
    late = cases.venue(sockets=[cases.socket(lag_ms=lag_ms)])
    report = cases.status(late, streams={"seen": cases.NOW, "clock": clock})
    [row] = texts(tables(tmp_path, status=report)["feeds"])
    assert row[3:5] == [shown, "now"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_liquidations_of_which_none_are_left_are_no_lower_bound(
    tmp_path: Path, language: str
) -> None:
    quiet = msgspec.structs.replace(turned("liq", Turn.OPEN), value=0.0)
    standing = msgspec.structs.replace(STANDING, episodes=(quiet,))
    shown = tables(
        tmp_path, standing=standing, alerts=(quiet,), language=language,
        episodes=OpenEpisodes(seen=NOW, episodes=(quiet,)),
    )  # fmt: skip
    words = LANGUAGES[language].phrases["liq.none"]
    for row in (texts(shown["open"])[0][1], texts(shown["timeline"])[0][2]):
        assert words in row and not re.search(r"\b0\b", row.replace("10", ""))


SECRETS = {
    "see https://user:pw@proxy.example/x?y": "see …",
    "chat -1001234567890 was kicked": "chat … was kicked",
    "@my_channel: not found": "…: not found",
    f"token 123456789:{'A' * 35}\nline two": "token <token> line two",
    "no 10.0.0.5, nor redis.example:6379 since 21:10": "no …, nor … since 21:10",
    "turned \u202e round": "turned \\u202e round",
}


def test_nothing_on_it_names_a_chat_an_address_or_a_token(tmp_path: Path) -> None:
    for text, shown in SECRETS.items():
        assert public(text) == shown
    secret = " ".join(SECRETS)
    socket = cases.socket(reason=secret, ready=False)
    status = cases.status(
        cases.venue(trouble=secret), cases.venue(name="binance", sockets=[socket]),
        bot={"off": {"-1001234567890": secret}, "destination": "My channel",
             "troubled": [{"chat": "@my_channel", "ready": False, "reason": secret}]},
    )  # fmt: skip
    checks = [ReadinessCheck(name="telegram", ok=False, reason=secret)]
    shown = msgspec.json.encode(
        list(tables(tmp_path, status=status, checks=checks, trouble="").values())
    ).decode()
    for hidden in ("proxy.example", "1001234567890", "my_channel", "A" * 35, "My channel", "pw@"):
        assert hidden not in shown
    assert "was kicked" in shown


def test_errors_of_feeds_stand_beside_their_venue(tmp_path: Path) -> None:
    silent = cases.socket(last_data=0, lag_ms=0, gaps=0, reason="no pong", ready=False)
    status = cases.status(
        cases.venue(sockets=[cases.socket(gaps=2), silent]),
        cases.venue(name="binance", title="Binance", sockets=[silent], feeds={}),
    )
    bybit, binance = texts(tables(tmp_path, status=status)["feeds"])
    assert bybit == [
        "Bybit", "20", "prices 19 up and 1 down", "120 ms", "now", "2", "no pong"
    ]  # fmt: skip
    assert binance == ["Binance", "20", "–", "–", "–", "0", "no pong"]


def test_of_open_interest_that_may_count_both_sides_it_is_said(tmp_path: Path) -> None:
    status = cases.status(cases.venue(sides_known=False), cases.venue())
    unknown, known = texts(tables(tmp_path, status=status)["feeds"])
    assert unknown[2] == f"{known[2]}, open interest in percent only (may count both sides)"


def test_no_turn_is_said_to_be_posted_that_was_not(tmp_path: Path) -> None:
    shadow = msgspec.structs.replace(EPISODE[1], rule="funding_predicted", post=False)
    ids = [alert.id for alert in EPISODE]
    secret = AlertFate(Fate.FAILED, reason="chat -1001234567890 is gone")
    fates = {ids[1]: (AlertFate(Fate.POSTED), secret), ids[2]: (AlertFate(Fate.HIDDEN),)}
    new = msgspec.structs.replace(EPISODE[2], id="new")
    rows = tables(tmp_path, alerts=(new, shadow, *EPISODE), fates=fates)["timeline"].rows
    assert [row[-1].text for row in rows] == [
        "",  # nobody has looked yet
        "not posted: the rule has post = false",
        "not posted: too soon after the last post, and not worse",
        "posted (1) · not posted: chat … is gone (1)",
        "left to cascade, which tells how bad it gets",
    ]


def test_all_that_stands_in_english_is_used(tmp_path: Path) -> None:
    """No phrase of the page is left over."""
    source = "".join(
        (Path(__file__).parents[3] / "bot" / "web" / name).read_text(encoding="utf-8")
        for name in ("page.py", "document.py")
    )
    ends = ("check", "level", "post", "column", "token")
    for key in ENGLISH.phrases:
        if key.startswith("page.") and key.split(".")[1] not in ends:
            last = key.rpartition(".")[2]
            assert f'"{key}"' in source or f'name="{last}"' in source, key


def test_a_metric_that_is_gone_from_the_program_does_not_break_it(tmp_path: Path) -> None:
    """An alert of another version is shown as well as it can be."""
    strange: Alert = msgspec.structs.replace(
        EPISODE[0], metric="moon_phase", facts=None, rule="moon", family="moon", unit="°", post=True
    )
    standing = msgspec.structs.replace(STANDING, episodes=(strange,))
    shown = tables(tmp_path, alerts=(strange,), standing=standing)
    assert texts(shown["timeline"])[0][2] == "BTC moon: −2.7 °"
    assert texts(shown["open"])[0][1:3] == ["BTC moon: −2.7 °", "−2.7 °"]
