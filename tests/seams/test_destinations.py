"""From a ``config.toml`` through the real roles to a receiver, for every kind of destination."""

import asyncio
import contextlib
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.bot.fake_updates import CHANNEL, FORUM, OPERATORS
from tests.seams.system import System, ends, short

SECRET = "a long random text"
HOOK = {"LOWTIDE_WEBHOOK_SECRET": SECRET}


@pytest.mark.parametrize(
    ("config", "chat", "topic"),
    [
        ('[channel]\nchat_id = "@lowtide"\n', CHANNEL, None),
        (f"[[chats]]\nid = {FORUM}\ntopic = 7\n", FORUM, 7),
        (f"[[chats]]\nid = {FORUM}\ntopic = 1\n", FORUM, None),
    ],
    ids=["channel", "topic", "general topic"],
)
async def test_a_chat_of_telegram(tmp_path: Path, config: str, chat: int, topic: int | None):
    async with System(tmp_path, config) as system:
        await system.start()
        await system.liquidate("BTCUSDT", 6e6)
        await system.until(lambda: system.telegram.sent)
    (post,) = system.telegram.sent
    assert (post.chat, post.topic, post.silent) == (chat, topic, False)
    assert post.first.startswith("🔴 BTC liquidations ≥ $6M in 10 min")


async def test_a_closed_topic_loses_nothing(tmp_path: Path):
    """What is for it goes to the topic General, and operators are told once."""
    config = f"[[chats]]\nid = {FORUM}\ntopic = 7\n[operators]\nchat_id = {OPERATORS}\n"
    async with System(tmp_path, config) as system:
        await system.start()
        system.telegram.closed_topics = {7}
        for symbol in ("BTCUSDT", "ETHUSDT"):
            await system.liquidate(symbol, 6e6)
        await system.until(lambda: len([s for s in system.telegram.sent if s.chat == FORUM]) == 2)
        await system.until(lambda: [s for s in system.telegram.sent if s.chat == OPERATORS])
    posts = [sent for sent in system.telegram.sent if sent.chat == FORUM]
    assert [(sent.topic, sent.first[:5]) for sent in posts] == [(None, "🔴 BTC"), (None, "🔴 ETH")]
    (notice,) = [sent.text for sent in system.telegram.sent if sent.chat == OPERATORS]
    assert "no open topic 7" in notice


async def test_a_private_subscriber(tmp_path: Path):
    config = '[channel]\nchat_id = "@lowtide"\n[operators]\ncommands = "everyone"\n'
    async with System(tmp_path, config) as system:
        await system.start()
        system.telegram.say("/subscribe liq ETH", user=11)
        await system.until(lambda: [s for s in system.telegram.sent if s.chat == 11])
        await system.until(lambda: "posts to 11" in system.log)
        await system.liquidate("BTCUSDT", 6e6)
        await system.until(lambda: [s for s in system.telegram.sent if s.chat == CHANNEL])
        await system.liquidate("ETHUSDT", 7e6)
        await system.until(lambda: len([s for s in system.telegram.sent if s.chat == 11]) == 2)
    private = [sent for sent in system.telegram.sent if sent.chat == 11]
    assert private[1].first.startswith("🔴 ETH liquidations ≥ $7M in 10 min")


async def test_the_operators_chat(tmp_path: Path):
    """A configuration that is taken over is told there, and alerts are not."""
    config = f'[channel]\nchat_id = "@lowtide"\n[operators]\nchat_id = {OPERATORS}\n'
    async with System(tmp_path, config) as system:
        await system.start()
        await system.liquidate("BTCUSDT", 6e6)
        await system.until(lambda: system.telegram.sent)
        system.write(config.replace("@lowtide", f"{CHANNEL}"))
        await system.until(lambda: [s for s in system.telegram.sent if "config.toml" in s.text])
    notices = [sent for sent in system.telegram.sent if sent.chat == OPERATORS]
    assert [sent for sent in notices if "config.toml" in sent.text]
    assert not [sent for sent in notices if "liquidations" in sent.text]


@pytest.mark.parametrize("name", ["", 'name = "discord"\n'], ids=["without a name", "named"])
async def test_a_webhook_and_its_address_is_told_to_nobody(tmp_path: Path, name: str):
    config = (
        f'[channel]\nchat_id = "@lowtide"\n[operators]\nchat_id = {OPERATORS}\n'
        f'[[webhooks]]\n{name}url = "{{webhook}}/T0P53CR3T"\n'
    )
    called = "webhook:discord" if name else "webhook:1"
    async with System(tmp_path, config, env=HOOK) as system:
        await system.start()
        await system.liquidate("BTCUSDT", 6e6)
        await system.until(lambda: system.webhook.got and system.telegram.sent)
        system.webhook.statuses.extend([404] * 10)
        await system.liquidate("ETHUSDT", 6e6)
        await system.until(lambda: [s for s in system.telegram.sent if called in s.text])
        status = ""
        async with asyncio.timeout(20):  # it is written every few seconds
            while called not in status:
                _, status = await system.command("status", "--json")
        stored = await system.stored()
    body = system.webhook.bodies[0]
    assert body["text"].startswith("🔴 BTC liquidations ≥ $6M in 10 min")
    assert (body["rule"], body["level"], body["turn"]) == ("liq", "critical", "open")
    notice = next(sent.text for sent in system.telegram.sent if sent.chat == OPERATORS)
    assert called in notice
    assert called in json.loads(status)["bot"]["off"]
    assert f"chat {called}" in stored
    for text in (notice, status, system.log, system.console, stored):
        assert "T0P53CR3T" not in text
        assert SECRET not in text


MESSENGERS = {
    "discord": ("", {"LOWTIDE_DISCORD_URL": "{webhook}/T0P53CR3T"}, b'{"id":"1"}', "content"),
    "slack": ("", {"LOWTIDE_SLACK_URL": "{webhook}/T0P53CR3T"}, b"ok", "text"),
    "ntfy": (
        "",
        {"LOWTIDE_NTFY_URL": "{webhook}/T0P53CR3T", "LOWTIDE_NTFY_TOKEN": "tk_T0P53CR3T"},
        b'{"id":"1"}',
        "title",
    ),
    "line": (
        f'to = "U{"0" * 32}"\n',
        {"LOWTIDE_LINE_URL": "{webhook}", "LOWTIDE_LINE_TOKEN": "T0P53CR3T"},
        b'{"sentMessages":[{"id":"1"}]}',
        "messages",
    ),
    "apprise": (
        "",
        {"LOWTIDE_APPRISE_URL": "json://me:T0P53CR3T@{webhook}/T0P53CR3T"},
        b"",
        "title",
    ),
}
"""What a service needs of the file and of the environment, what it answers, and which field of a
body has the first line."""


@pytest.mark.parametrize("service", MESSENGERS)
async def test_a_messenger_and_its_secret_is_told_to_nobody(tmp_path: Path, service: str):
    table, env, taken, field = MESSENGERS[service]
    config = (
        f'[channel]\nchat_id = "@lowtide"\n[operators]\nchat_id = {OPERATORS}\n'
        f'[[messengers]]\nservice = "{service}"\nname = "desk"\nlanguage = "ja"\n{table}'
    )
    commands = Path(sys.executable).parent
    if service == "apprise" and not (commands / "apprise").exists():
        pytest.skip("the command apprise is not installed here: see requirements-dev.lock")
    async with System(tmp_path, config) as system:
        system.environ["PATH"] = f"{commands}{os.pathsep}{os.environ['PATH']}"
        system.webhook.usual, system.webhook.body = 200, taken
        system.environ |= {
            f"{name}_DESK": reached(value, system.webhook.url) for name, value in env.items()
        }
        await system.start()
        await system.liquidate("BTCUSDT", 6e6)
        await system.until(lambda: system.webhook.got and system.telegram.sent, 60)
        system.webhook.statuses.extend([404] * 10)
        await system.liquidate("ETHUSDT", 6e6)
        await system.until(lambda: notices(system, f"{service}:desk"), 60)
        (notice,) = notices(system, f"{service}:desk")
        stored = await system.stored()
    (headers, _), *_ = system.webhook.got
    if "TOKEN" in "".join(env):
        assert headers["Authorization"].endswith("T0P53CR3T")
    first = system.webhook.bodies[0][field]
    text = first[0]["text"] if service == "line" else first
    assert "BTC" in text and "清算" in text
    assert "404" in notice
    for text in (notice, system.log, system.console, stored):
        assert "T0P53CR3T" not in text


def reached(form: str, webhook: str) -> str:
    """The address of the receiver in the form that a service wants."""
    if "@" in form:  # of apprise, which has a scheme of its own
        webhook = webhook.removeprefix("http://")
    return form.format(webhook=webhook)


def notices(system: System, words: str) -> list[str]:
    return [s.text for s in system.telegram.sent if s.chat == OPERATORS and words in s.text]


async def test_test_in_the_chat_tries_each_webhook_and_one_that_fails_costs_no_other(
    tmp_path: Path,
):
    config = (
        f'[channel]\nchat_id = "@lowtide"\n[operators]\nchat_id = {OPERATORS}\nusers = [11]\n'
        '[[webhooks]]\nname = "gone"\nurl = "http://127.0.0.1:1/T0P53CR3T"\n'
        '[[webhooks]]\nname = "pager"\nurl = "{webhook}/T0P53CR3T"\n'
    )
    async with System(tmp_path, config, env=HOOK) as system:
        await system.start()
        system.telegram.say("/test", chat=OPERATORS, user=11)
        await system.until(lambda: [s for s in system.telegram.sent if "Test messages" in s.text])
        [answer] = [s.text for s in system.telegram.sent if "Test messages" in s.text]
    assert [body["text"] for body in system.webhook.bodies] == [
        "⚪ Lowtide: this is a test. Alerts will come here."
    ]
    assert "posted to webhook:pager" in answer
    assert "webhook:gone" in answer.replace("posted to webhook:pager", "")
    for text in (answer, system.log):
        assert "T0P53CR3T" not in text


async def test_a_recap_follows_the_end_in_a_silent_post(tmp_path: Path):
    config = '[channel]\nchat_id = "@lowtide"\nrecap = "critical"\n'
    common = ends() + short("1m")
    async with System(tmp_path, config, common=common) as system:
        await system.start()
        await system.liquidate("BTCUSDT", 6e6)
        await system.until(
            lambda: [s for s in system.telegram.sent if "looking back" in s.text], 150
        )
    event, recap = system.telegram.sent
    assert (event.silent, recap.silent) == (False, True)
    assert recap.first.startswith("⚪ BTC: looking back, ")
    assert "≥ $6M liquidated in all, 100% longs." in recap.text


@pytest.mark.parametrize("refused", [False, True])
async def test_a_picture_answers_a_post_that_rings_or_costs_it_nothing(
    tmp_path: Path, refused: bool
):
    """Of what was not recorded yet when the first post was sent, none is drawn. One that takes too
    long on a busy machine is given up, so others ring until one is drawn."""
    config = '[channel]\nchat_id = "@lowtide"\nlanguage = "zh-TW"\n'
    coins = ("BTC", "ETH", "SOL", "XRP", "DOGE", "ADA")
    async with System(tmp_path, config, common=ends(coins[2:]) + short()) as system:
        system.telegram.refuse_photos = refused
        system.telegram.pictures_beside = True
        await system.start()
        await system.liquidate("BTCUSDT", 6e6)
        await system.until(lambda: system.telegram.sent, 60)
        before = written(tmp_path)
        await system.until(lambda: written(tmp_path) > before, 150)
        drawn = "a picture was left out" if refused else "picture sent"
        for tried, coin in enumerate(coins[1:], start=1):
            await system.liquidate(f"{coin}USDT", 6e6)
            await system.until(lambda n=tried: rung(system) > n, 60)
            late = system.log.count("a picture was not made")
            with contextlib.suppress(TimeoutError):
                await system.until(
                    lambda n=late: drawn in system.log
                    or system.log.count("a picture was not made") > n, 20
                )  # fmt: skip
            if drawn in system.log:
                break
    texts = [sent for sent in system.telegram.sent if not sent.photo]
    pictures = [sent for sent in system.telegram.sent if sent.photo]
    assert [text.first[:5] for text in texts] == [f"🔴 {coin}"[:5] for coin in coins[: len(texts)]]
    assert not any(text.silent for text in texts)
    assert "sendPhoto" in system.telegram.requests
    assert bool(pictures) is not refused
    for picture in pictures:
        assert picture.photo.startswith(b"\x89PNG") and len(picture.photo) > 5_000
        assert picture.silent and picture.reply_to is not None
        assert "爆倉" in picture.text
        assert system.telegram.sent[picture.reply_to - 1].first.startswith("🔴 ")


def rung(system: System) -> int:
    """How many texts have been posted."""
    return sum(not sent.photo for sent in system.telegram.sent)


def written(folder: Path) -> int:
    """How much of the metric log is there, in bytes."""
    return sum(path.stat().st_size for path in (folder / "data" / "metrics").glob("*"))


async def test_quiet_hours_taken_away_let_go_what_waits(tmp_path: Path):
    now = datetime.now(UTC)
    hours = f"{now - timedelta(hours=1):%H:%M}-{now + timedelta(hours=3):%H:%M}"
    config = f'[channel]\nchat_id = "@lowtide"\nquiet = "{hours}"\n'
    async with System(tmp_path, config) as system:
        await system.start()
        await system.liquidate("BTCUSDT", 2e5)
        waiting = 0
        async with asyncio.timeout(20):  # it is written every few seconds
            while not waiting:
                _, text = await system.command("status", "--json")
                waiting = json.loads(text)["bot"]["waiting"] if '"bot"' in text else 0
        assert system.telegram.sent == []
        system.write(config.replace(hours, "none"))
        await system.until(lambda: [s for s in system.telegram.sent if "BTC" in s.text])


async def test_the_console_alone(tmp_path: Path):
    async with System(tmp_path, "", env={"TELEGRAM_BOT_TOKEN": None}) as system:
        await system.start()
        await system.liquidate("BTCUSDT", 6e6)
        await system.until(lambda: "BTC liquidations" in system.console)
    assert "🔴 BTC liquidations ≥ $6M in 10 min" in system.console
    assert system.telegram.sent == []


async def test_roles_in_processes_of_their_own(tmp_path: Path):
    async with System(tmp_path, '[channel]\nchat_id = "@lowtide"\n') as system:
        await system.start("bot", "rules", "streams")
        await system.liquidate("BTCUSDT", 6e6)
        await system.until(lambda: "alert told" in system.log)
        await system.kill("bot")
        await system.liquidate("ETHUSDT", 6e6)
        await system.start("bot")
        await system.until(lambda: len(system.telegram.sent) >= 2)
    assert [sent.first[:5] for sent in system.telegram.sent] == ["🔴 BTC", "🔴 ETH"]
