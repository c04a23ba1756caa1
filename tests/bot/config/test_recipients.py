"""Chats of the configuration and of subscribers, as the plan gets them."""

from pathlib import Path

import pytest

from bot.config import Settings, load
from bot.config.chats import Wanted
from bot.config.errors import ConfigError
from bot.config.recipients import (
    chats,
    filter_of,
    messenger_chats,
    subscribed_chats,
    webhook_chats,
)
from bot.config.warnings import warnings
from bot.destination import ConsoleOutput, TelegramChat, WebhookName
from bot.lang import ENGLISH
from bot.lang.words import PhraseError
from bot.plan.planner import ButtonAction, Chat, Filter, WeeklyTime
from bot.plan.subscriptions import (  # fmt: skip
    ANY,
    MOST_ASSETS,
    Subscriber,
    dump,
    with_assets,
    without_assets,
)
from bot.plan.subscriptions import load as loaded
from rules.alerts import ALL, Level
from tests.bot.config.written import HEAD

TEXT = """
[markets]
venues = ["binance"]
majors = ["BTC", "ETH"]
large = ["SOL", "DOGE"]
memes = ["DOGE", "PEPE"]
tail = "next 60 by OI"
[defaults]
group_wait = "9s"
[rules.oi_drop]
metric = "oi_net_1h_pct"
fires = "below"
majors = { alert = -5, clear = -1 }
memes = { alert = -9, clear = -1 }
[rules.liq]
metric = "liq_10m_musd"
fires = "above"
majors = { alert = 40, clear = 8 }
[rules.cascade]
within = "1h"
all_of = ["oi_drop:alert", "liq:alert"]
hides = ["oi_drop", "liq"]
[rules.mild]
level = "watch"
within = "1h"
all_of = ["oi_drop:alert", "liq:alert"]
hides = ["liq"]
[rules.shadow]
post = false
within = "1h"
all_of = ["oi_drop:alert", "liq:alert"]
hides = ["liq"]
"""


def read(folder: Path, text: str = "") -> Settings:
    path = folder / "config.toml"
    path.write_text(TEXT + text)
    return load(path, {})


def test_without_a_chat_there_is_the_console(tmp_path: Path):
    (chat,) = chats(read(tmp_path, "[channel]\nposts_per_hour = 3\n"))
    assert chat.majors == {"BTC", "ETH"}
    assert (chat.destination, chat.posts_per_hour) == (ConsoleOutput(), 3)
    assert chat.group_wait[Level.ALERT] == 9_000


def test_each_chat_has_its_own(tmp_path: Path):
    text = '[channel]\nchat_id = "@lowtide"\n[[chats]]\nid = -5\ntopic = 7\nposts_per_hour = 2\n'
    channel, topic = chats(read(tmp_path, text))
    assert (channel.key, channel.posts_per_hour) == ("@lowtide", 12)
    assert (topic.destination, topic.posts_per_hour) == (TelegramChat(-5, 7), 2)
    assert not topic.private


def test_pictures_are_chosen_by_the_channel_or_by_each(tmp_path: Path):
    text = '[channel]\nchat_id = "@lowtide"\n[[chats]]\nid = -5\n[[chats]]\nid = -6\npictures = '
    assert [chat.pictures for chat in chats(read(tmp_path, text + '"none"'))] == [
        "dark", "dark", "none",
    ]  # fmt: skip
    light = text.replace("[[chats]]", 'pictures = "light"\n[[chats]]', 1) + '"dark"'
    settings = read(tmp_path, light)
    assert [chat.pictures for chat in chats(settings)] == ["light", "light", "dark"]
    with pytest.raises(ConfigError, match="pictures"):
        read(tmp_path, text + '"pink"')


def test_recaps_are_switched_on_by_the_channel_or_by_each(tmp_path: Path):
    text = (
        '[channel]\nchat_id = "@lowtide"\nrecap = "critical"\n[[chats]]\nid = -5\n'
        '[[chats]]\nid = -6\nrecap = "none"\n[[chats]]\nid = -7\nrecap = "watch"\n'
        '[[messengers]]\nservice = "slack"\n[[messengers]]\nservice = "ntfy"\nrecap = "alert"\n'
    )
    path = tmp_path / "config.toml"
    path.write_text(TEXT + text)
    env = {f"LOWTIDE_{name}_URL": "https://example.org/hidden" for name in ("SLACK", "NTFY")}
    settings = load(path, env)
    assert [chat.recap for chat in chats(settings)] == [
        Level.CRITICAL, Level.CRITICAL, None, Level.WATCH,
    ]  # fmt: skip
    assert [chat.recap for chat in messenger_chats(settings)] == [Level.CRITICAL, Level.ALERT]
    assert [chat.recap for chat in chats(read(tmp_path))] == [None]


def test_buttons_are_under_the_posts_of_chats_that_want_them(tmp_path: Path):
    text = (
        '[channel]\nchat_id = "@lowtide"\nbuttons = true\n'
        "[[chats]]\nid = -5\n[[chats]]\nid = -6\nbuttons = false\n[[chats]]\nid = 11\n"
        "[operators]\nchat_id = -5\nusers = [11]\n"
    )
    settings = read(tmp_path, text)
    asking = (ButtonAction.WHY, ButtonAction.CHART)
    every = (*asking, ButtonAction.MUTE)
    assert [chat.buttons for chat in chats(settings)] == [asking, every, (), every]
    people = [Subscriber(user=user, wants={ANY: (ANY,)}) for user in (11, 12)]
    assert [chat.buttons for chat in subscribed_chats(people, settings)] == [every, asking]
    off = read(tmp_path)
    assert [chat.buttons for chat in (*chats(off), *subscribed_chats(people, off))] == [()] * 3


def test_weekly_reports_are_switched_on_by_the_channel_or_by_each(tmp_path: Path):
    text = (
        '[channel]\nchat_id = "@lowtide"\nweekly_report = "Mon 09:00"\n[[chats]]\nid = -5\n'
        '[[chats]]\nid = -6\nweekly_report = "none"\n'
        '[[messengers]]\nservice = "slack"\nweekly_report = "Tue 10:00 Asia/Tokyo"\n'
    )
    path = tmp_path / "config.toml"
    path.write_text(TEXT + text)
    settings = load(path, {"LOWTIDE_SLACK_URL": "https://example.org/hidden"})
    monday = WeeklyTime(weekday=0, minute=540, zone="UTC")
    assert [chat.weekly_report for chat in chats(settings)] == [monday, monday, None]
    tuesday = WeeklyTime(weekday=1, minute=600, zone="Asia/Tokyo")
    assert [chat.weekly_report for chat in messenger_chats(settings)] == [tuesday]
    assert [chat.weekly_report for chat in chats(read(tmp_path))] == [None]


@pytest.mark.parametrize(
    ("assets", "inside"),
    [
        ((), "BTC ETH SOL DOGE PEPE WIF ALL"),
        (("majors",), "BTC ETH"),
        (("majors", "SOL"), "BTC ETH SOL"),
        (("memes",), "DOGE PEPE"),
        (("tail",), "PEPE WIF"),
        (("tail", "BTC", "ALL"), "BTC PEPE WIF ALL"),
        (("large", "WIF"), "SOL DOGE WIF"),
    ],
)
def test_tiers_are_assets(tmp_path: Path, assets: tuple[str, ...], inside: str):
    wanted = filter_of(Wanted(assets=assets), read(tmp_path).tiers)
    names = ("BTC", "ETH", "SOL", "DOGE", "PEPE", "WIF", ALL)
    assert [name for name in names if wanted.wants_asset(name)] == inside.split()


def test_a_webhook_is_a_chat_without_a_limit_of_posts(tmp_path: Path):
    path = tmp_path / "config.toml"
    wanted = 'url = "https://example.org/in"\nrules = ["liq"]\nmin_level = "alert"\n'
    path.write_text(f"{TEXT}[[webhooks]]\n{wanted}")
    (chat,) = webhook_chats(load(path, {"LOWTIDE_WEBHOOK_SECRET": "a long random text"}))
    assert (chat.destination, chat.threaded) == (WebhookName("1"), False)
    assert chat.filters == (Filter(rules=frozenset({"liq"}), min_level=Level.ALERT),)


def test_a_subscriber_is_a_private_chat(tmp_path: Path):
    subscriber = Subscriber(user=11, wants={"oi_drop": ("BTC", "SOL"), "liq": (ANY,)})
    (chat,) = subscribed_chats([subscriber], read(tmp_path))
    assert (chat.destination, chat.private) == (TelegramChat(11), True)
    wanted = {
        (rule, asset)
        for rule in ("oi_drop", "liq", "cascade")
        for asset in ("BTC", "WIF")
        if any(f.wants_rule(rule) and f.wants_asset(asset) for f in chat.filters)
    }
    assert wanted == {("oi_drop", "BTC"), ("liq", "BTC"), ("liq", "WIF")}


def test_who_wants_nothing_is_told_nothing(tmp_path: Path):
    (chat,) = subscribed_chats([Subscriber(user=1)], read(tmp_path))
    assert isinstance(chat, Chat)
    assert chat.filters == ()


def test_wishes_add_up_and_can_be_taken_back():
    subscriber = with_assets(Subscriber(user=1), "oi_drop", ["BTC", "ETH"])
    subscriber = with_assets(with_assets(subscriber, "oi_drop", ["ETH", "SOL"]), "liq", ["BTC"])
    assert subscriber.wants == {"oi_drop": ("BTC", "ETH", "SOL"), "liq": ("BTC",)}
    assert without_assets(subscriber, "oi_drop", ["ETH"]).wants["oi_drop"] == ("BTC", "SOL")
    assert without_assets(subscriber, "oi_drop", []).wants == {"liq": ("BTC",)}
    assert without_assets(subscriber, "liq", ["BTC"]).wants == {"oi_drop": ("BTC", "ETH", "SOL")}
    assert without_assets(subscriber, "none", ["BTC"]) == subscriber
    assert without_assets(subscriber, ANY, []).wants == {}
    assert with_assets(subscriber, "oi_drop", [ANY]).wants["oi_drop"] == (ANY,)
    assert with_assets(with_assets(subscriber, "x", [ANY]), "x", ["BTC"]).wants["x"] == (ANY,)


def test_a_subscription_is_bounded():
    names = [f"A{n}" for n in range(MOST_ASSETS)]
    subscriber = with_assets(Subscriber(user=1), "oi_drop", names)
    with pytest.raises(PhraseError) as error:
        with_assets(subscriber, "oi_drop", ["B"])
    assert error.value.in_words(ENGLISH).startswith("at most 30 assets for one rule")


def test_a_subscription_is_kept():
    subscriber = Subscriber(user=1, wants={"oi_drop": ("BTC",)}, language="en")
    assert loaded(dump(subscriber)) == subscriber


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        ('id = "@Lowtide_en"', 'id = "@lowtide_EN"',
         "@lowtide_EN is told already as @Lowtide_en, which is the same place: name it once"),
        ("id = -1002", "id = -1002\ntopic = 1",
         "-1002 (topic 1) is told already as -1002, which is the same place: name it once"),
        ('id = "@desk"\ntopic = 1', 'id = "@Desk"',
         "@Desk is told already as @desk (topic 1), which is the same place: name it once"),
        ("id = -1002\ntopic = 7", "id = -1002\ntopic = 7",
         "-1002 (topic 7) is told already: name it once"),
        ("id = -1002", "id = -1002\ntopic = 7", ""),
        ("id = -1002\ntopic = 1", "id = -1002\ntopic = 7", ""),
        ('id = "@desk"', 'id = "@desks"', ""),
    ],
)  # fmt: skip
def test_a_place_is_named_once_however_it_is_written(
    tmp_path: Path, first: str, second: str, problem: str
):
    path = tmp_path / "config.toml"
    path.write_text(f"{TEXT}\n[[chats]]\n{first}\n[[chats]]\n{second}\n")
    if not problem:
        assert len(load(path, {}).chats) > 1
        return
    with pytest.raises(ConfigError) as error:
        load(path, {})
    assert [line.partition("chats.id: ")[2] for line in error.value.problems] == [problem]


def test_operators_are_known_by_name_in_whatever_case(tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text(
        HEAD + '[channel]\nchat_id = "@Desk"\nlanguage = "ja"\nbuttons = true\n'
        '[[chats]]\nid = -5\n[operators]\nchat_id = "@desk"\nusers = [11]\n'
    )
    settings = load(path, {})
    desk, other = chats(settings)
    assert desk.buttons == (ButtonAction.WHY, ButtonAction.CHART, ButtonAction.MUTE)
    assert other.buttons == (ButtonAction.WHY, ButtonAction.CHART)
    assert [line for line in warnings(settings) if "@Desk" in line and "buttons" in line] == []
