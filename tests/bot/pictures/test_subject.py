from pathlib import Path

import msgspec
import pytest

from bot.backtest.week import wanted
from bot.config import Settings
from bot.lang import LANGUAGES
from bot.messages.blocks import visible
from bot.messages.headline import metric_name
from bot.pictures.drawing import PictureEpisode, PictureLevel
from bot.pictures.letters import legible
from bot.pictures.subject import (
    alert_subject,
    drawable,
    metric_title,
    picture_caption,
    subject,
    week_caption,
    week_subject,
    zone_of,
)
from bot.plan.planner import Quiet
from rules.alerts import ALL, CascadeFacts, Level, Turn
from rules.snapshot import PRICE
from tests.bot import asked
from tests.bot.asked import HOUR, NOW

SPAN = (NOW - HOUR, NOW)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return asked.settings(tmp_path_factory.mktemp("asked"))


def test_a_metric_has_the_levels_of_its_rule_on_that_asset(settings: Settings) -> None:
    request = subject(settings, "oi_net_1h_pct", "BTC", SPAN, "UTC")
    assert list(request.subject.levels) == [
        PictureLevel(Level.WATCH, -2.5), PictureLevel(Level.ALERT, -5.0),
        PictureLevel(Level.CRITICAL, -8.0),
    ]  # fmt: skip
    assert not subject(settings, "price_3h_pct", "BTC", SPAN, "UTC").subject.levels


def test_of_two_rules_the_one_that_is_named_has_its_levels(settings: Settings) -> None:
    rule = next(rule for rule in settings.rules if rule.metric == "oi_net_15m_pct")
    request = subject(settings, "oi_net_1h_pct", "BTC", SPAN, "UTC", rule=rule)
    assert list(request.subject.levels) == [PictureLevel(Level.ALERT, -3.0)]


def test_the_venues_are_those_that_have_such_data(settings: Settings) -> None:
    def venues(name: str) -> list[str]:
        return list(subject(settings, name, "BTC", SPAN, "UTC").venues)

    assert venues("oi_net_1h_pct") == ["Binance", "Bybit", "Hyperliquid"]
    assert venues("liq_10m_musd") == ["Binance", "Bybit"], "Hyperliquid publishes none"
    assert venues("spot_depth_25bp_pct_of_recent") == ["Coinbase"]
    named = subject(settings, "oi_net_1h_pct", "BTC", SPAN, "UTC", venues=("bybit",))
    assert list(named.venues) == ["Bybit"]


def test_amounts_are_drawn_from_zero_and_shares_are_not(settings: Settings) -> None:
    assert subject(settings, "liq_10m_musd", "BTC", SPAN, "UTC").subject.from_zero
    assert not subject(settings, "depth_25bp_pct_of_recent", "BTC", SPAN, "UTC").subject.from_zero


def test_it_is_read_from_the_metric_log_of_the_data_folder(settings: Settings) -> None:
    settings = msgspec.structs.replace(settings, data_dir=Path("/somewhere"))
    request = subject(settings, "oi_total_net_1h_pct", ALL, SPAN, "UTC")
    assert request.folder == "/somewhere/metrics"
    assert (request.title, request.subject.asset) == ("The market", ALL)
    assert (request.start, request.end) == SPAN


def test_every_metric_of_the_rules_has_a_title_that_the_font_can_show(settings: Settings) -> None:
    for name in {rule.metric for rule in settings.rules if drawable(rule.metric)}:
        title = metric_title(name)
        assert legible(title) == title
        assert "%" in title or "," in title, "a unit"
    assert metric_title("oi_net_1h_pct") == "Open interest in 1h, %"
    assert metric_title("liq_10m_musd") == "Liquidations in 10 min, M USD (≥)"


@pytest.mark.parametrize("name", ["regime_reset", "composite"])
def test_a_state_is_no_line(name: str) -> None:
    assert not drawable(name)


def test_the_zone_is_that_of_quiet_hours_or_of_the_language() -> None:
    quiet = Quiet(start=0, end=60, zone="Europe/Lisbon")
    assert zone_of(quiet, LANGUAGES["ja"]) == "Europe/Lisbon"
    zones = [zone_of(None, words) for words in LANGUAGES.values()]
    assert sorted(zones) == ["Asia/Taipei", "Asia/Tokyo", "UTC"]


def test_an_alert_is_drawn_with_its_event_shaded(settings: Settings) -> None:
    alert = asked.EPISODE[0]
    request = alert_subject(settings, [alert], "UTC", "light", alert.seen)
    assert request is not None
    assert (request.subject.asset, request.subject.metric, request.theme) == (
        "BTC",
        "oi_net_1h_pct",
        "light",
    )
    assert list(request.episodes) == [PictureEpisode(alert.opened_at)]
    assert (request.end, request.subject.last) == (alert.seen, alert.value)
    assert request.end - request.start == 6 * HOUR
    assert [level.level for level in request.subject.levels] == [
        Level.WATCH,
        Level.ALERT,
        Level.CRITICAL,
    ]
    assert "open interest" in picture_caption(request, LANGUAGES["en"])


def test_an_event_that_is_over_is_shaded_to_its_end(settings: Settings) -> None:
    ended = msgspec.structs.replace(asked.EPISODE[0], turn=Turn.CLOSE)
    request = alert_subject(settings, [ended], "UTC", "dark", ended.seen + HOUR)
    assert request is not None
    assert list(request.episodes) == [PictureEpisode(ended.opened_at, ended.seen)]


def test_an_event_that_is_older_is_drawn_from_before_it_began(settings: Settings) -> None:
    began = NOW - 20 * HOUR
    alert = msgspec.structs.replace(asked.EPISODE[0], opened_at=began, seen=NOW)
    request = alert_subject(settings, [alert], "UTC", "dark", NOW)
    assert request is not None
    assert request.start == began - HOUR
    ancient = msgspec.structs.replace(alert, opened_at=NOW - 90 * 24 * HOUR)
    request = alert_subject(settings, [ancient], "UTC", "dark", NOW)
    assert request is not None
    assert request.end - request.start == 3 * 24 * HOUR


def test_of_a_composite_the_metric_that_began_it_is_drawn(settings: Settings) -> None:
    facts = asked.CASCADE.facts
    assert isinstance(facts, CascadeFacts)
    request = alert_subject(settings, [asked.CASCADE], "UTC", "dark", asked.CASCADE.seen)
    assert request is not None
    assert request.subject.metric == facts.chain[0].metric
    assert request.subject.last is None, "that of the composite is another"


def test_of_what_is_no_line_nothing_is_drawn(settings: Settings) -> None:
    alert = msgspec.structs.replace(asked.EPISODE[0], metric="regime_reset", unit="state")
    assert alert_subject(settings, [alert], "UTC", "dark", NOW) is None
    request = alert_subject(settings, [alert, asked.EPISODE[0]], "UTC", "dark", NOW)
    assert request is not None
    assert request.subject.metric == "oi_net_1h_pct"


@pytest.mark.parametrize(
    ("language", "of_price", "of_interest"),
    [
        ("en", "In the picture: price in 3h; last 1h, ", "In the picture: the price, and "),
        ("ja", "", ""),
        ("zh-TW", "", ""),
    ],
)
def test_a_caption_names_the_price_once(
    settings: Settings, language: str, of_price: str, of_interest: str
) -> None:
    words = LANGUAGES[language]
    price, interest = (
        picture_caption(subject(settings, name, "BTC", SPAN, "UTC"), words)
        for name in ("price_3h_pct", "oi_net_1h_pct")
    )
    assert price.startswith(of_price) and interest.startswith(of_interest)
    assert (price.count({"en": "price", "ja": "価格", "zh-TW": "價格"}[language])) == 1
    assert metric_name(words, "oi_net_1h_pct") in interest


def test_of_several_alerts_the_worst_is_drawn(settings: Settings) -> None:
    first = asked.EPISODE[0]
    other = msgspec.structs.replace(first, asset="ETH", level=Level.CRITICAL)
    assert first.level < Level.CRITICAL
    request = alert_subject(settings, [first, other], "UTC", "dark", NOW)
    assert request is not None
    assert request.subject.asset == "ETH"


def test_the_picture_of_a_week_has_what_its_report_states(settings: Settings) -> None:
    monday = 1_790_553_600_000 - 7 * 24 * HOUR
    request = week_subject(settings, monday, "Asia/Taipei", "light")
    assert [(panel.asset, panel.metric) for panel in request.panels] == [
        ("BTC", PRICE), ("BTC", "oi_net_24h_pct"), ("BTC", "funding_8h_pct"),
        ("BTC", "depth_25bp_pct_of_normal"), ("BTC", "volatility_7d_pct"),
        (ALL, "liq_total_24h_musd"),
    ]  # fmt: skip
    stated = wanted(["BTC"])
    assert all(stated(panel.metric, panel.asset) for panel in request.panels)
    assert all(panel.optional and not panel.levels for panel in request.panels)
    assert (request.start, request.end - request.start) == (monday, 7 * 24 * HOUR)
    assert (request.zone, request.theme) == ("Asia/Taipei", "light")
    assert request.panels[-1].title == "All coins: liquidations in 24h, M USD a day (≥)"
    assert all(legible(panel.title) == panel.title for panel in request.panels)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_a_picture_of_a_week_shows_is_said_in_the_language(
    settings: Settings, language: str
) -> None:
    request = week_subject(settings, NOW, "Asia/Taipei", "dark")
    text = week_caption(request, LANGUAGES[language])
    assert "BTC" in text and "Asia/Taipei" in text
    assert visible(text) <= 1024 and text.count(LANGUAGES[language].comma) >= 4
