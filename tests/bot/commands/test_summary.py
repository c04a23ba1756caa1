"""The summary of an hour or a day in words, against golden texts and by its cases."""

from pathlib import Path

import msgspec
import pytest

from bot.commands.summary import EPISODES, summary_body, summary_head
from bot.config import Settings
from bot.lang import ENGLISH, LANGUAGES
from bot.messages.blocks import plain
from bot.plan.summaries import DueSummary
from rules.alerts import Alert, Level, Turn
from rules.snapshot import Standing
from tests.bot import asked
from tests.bot.asked import DAY, EPISODE, HOUR, MIN, NOW, STANDING, context, turn
from tests.bot.fake_telegram import parsed
from tests.golden import check_text

GOLDEN = Path(__file__).parents[1] / "golden" / "summary_en.txt"
OF_DAY = DueSummary(since=NOW - DAY, at=NOW)
OF_HOUR = DueSummary(since=NOW - HOUR, at=NOW)
QUIET = msgspec.structs.replace(STANDING, episodes=())
OVER = turn(4, Turn.CLOSE, Level.WATCH, -1.1, NOW - MIN, **asked.WORST)
SHADOW = turn(1, Turn.OPEN, Level.ALERT, -6.0, NOW - MIN, post=False)
MANY = tuple(
    turn(1, Turn.OPEN, Level(1 + n % 3), -5.0 - n, NOW - MIN, asset=f"C{n:02d}",
         opened_at=NOW - (40 - n) * MIN, id=f"oi_drop:1h:C{n:02d}:{NOW - (40 - n) * MIN}:1")
    for n in range(EPISODES + 4)
)  # fmt: skip

CASES: dict[str, tuple[DueSummary, Standing | None, tuple[Alert, ...]]] = {
    "a day with a cascade that goes on": (OF_DAY, STANDING, EPISODE[::-1]),
    "an hour in which a fall began and ended": (OF_HOUR, QUIET, (OVER, *EPISODE[::-1])),
    "an hour of nothing": (OF_HOUR, QUIET, ()),
    "a day of many": (OF_DAY, msgspec.structs.replace(STANDING, episodes=MANY), MANY[::-1]),
    "the rules do not run": (OF_DAY, None, (OVER, *EPISODE[::-1])),
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return asked.settings(tmp_path_factory.mktemp("asked"))


def body(settings: Settings, name: str, language: str = "en", wanted=lambda alert: True) -> str:
    due, standing, alerts = CASES[name]
    about = context(settings, words=LANGUAGES[language], standing=standing, alerts=alerts)
    return f"<b>{summary_head(due, about)}</b>\n\n{summary_body(due, wanted, about)}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_summary_is_worded_as_agreed(settings: Settings, language: str):
    texts = []
    for name in CASES:
        text = body(settings, name, language)
        assert parsed(text).strip()
        texts.append(f"=== {name}\n{text if language == 'en' else plain(text)}\n")
    check_text(GOLDEN.with_name(f"summary_{language}.txt"), "\n".join(texts))


def reported(settings: Settings, alerts: tuple[Alert, ...], standing: Standing = QUIET, **how):
    about = context(settings, standing=standing, alerts=alerts)
    text = summary_body(OF_HOUR, how.get("wanted", lambda alert: True), about)
    return plain(text).split("\n\n")[0]


NOTHING = ENGLISH.phrases["summary.none"]


def test_what_was_before_or_is_after_the_time_is_not_in_it(settings: Settings):
    for seen in (NOW - HOUR - 1, NOW):
        assert reported(settings, (turn(2, Turn.UP, Level.ALERT, -5.3, seen),)) == NOTHING
    assert "BTC" in reported(settings, (turn(2, Turn.UP, Level.ALERT, -5.3, NOW - HOUR),))


def test_what_no_post_told_is_not_in_it(settings: Settings):
    hidden = turn(1, Turn.OPEN, Level.ALERT, -6.0, NOW - MIN, hidden_by="cascade")
    assert reported(settings, (SHADOW,)) == NOTHING
    assert reported(settings, (hidden,)) == NOTHING
    open_now = msgspec.structs.replace(STANDING, episodes=(SHADOW, hidden))
    assert reported(settings, (), open_now) == NOTHING


def test_of_other_chats_nothing_is_in_it(settings: Settings):
    wanted = {"wanted": lambda alert: alert.asset == "ETH"}
    assert reported(settings, EPISODE[::-1], STANDING, **wanted) == NOTHING


def test_its_mark_is_the_worst_that_was_told_and_its_value_that_of_now(settings: Settings):
    milder = turn(4, Turn.WORSE, Level.WATCH, -2.6, NOW - MIN, **asked.WORST)
    text = reported(settings, (milder, *EPISODE[::-1]))
    assert text.split("\n")[0] == "1 alert:"
    assert "−2.6% (worst −7.1%)" in text
    (line,) = text.split("\n")[1:]
    assert line.startswith("🟠")


def test_what_goes_on_for_days_is_in_it(settings: Settings):
    old = turn(3, Turn.WORSE, Level.ALERT, -6.0, NOW - 30 * HOUR, opened_at=NOW - 3 * DAY,
               id=f"oi_drop:1h:BTC:{NOW - 3 * DAY}:3")  # fmt: skip
    text = reported(settings, (), msgspec.structs.replace(STANDING, episodes=(old,)))
    assert text.startswith("1 alert:\n🟠 BTC oi_drop:1h −6.0%")
