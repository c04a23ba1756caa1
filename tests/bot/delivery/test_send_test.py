"""``lowtide send-test``: a message in every chat, or the one sentence that says what is missing."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.__main__ import main
from bot.config import Settings, load
from bot.delivery.send_test import NO_BOT, NO_CHAT, SendTestOutcome, send_test_to_all
from tests.bot.fake_telegram import TOKEN
from tests.bot.fake_updates import CHANNEL, FORUM, OPERATORS, OTHER_GROUP, FakeUpdates, admin
from tests.bot.receiver import Receiver

HEAD = '[markets]\nvenues = ["binance"]\nmajors = ["BTC"]\n'


@pytest.fixture
async def fake() -> AsyncIterator[FakeUpdates]:
    async with FakeUpdates() as server:
        yield server


def read(folder: Path, url: str, text: str, token: str = TOKEN, **more: str) -> Settings:
    path = folder / "config.toml"
    path.write_text(f'{HEAD}[telegram]\napi_url = "{url}"\n{text}')
    return load(path, {"TELEGRAM_BOT_TOKEN": token, **more})


async def test_every_chat_gets_a_message_without_a_sound(fake: FakeUpdates, tmp_path: Path):
    text = (
        f'[channel]\nchat_id = "@lowtide"\n[[chats]]\nid = {FORUM}\ntopic = 7\n'
        f"[[chats]]\nid = 11\n[operators]\nchat_id = {OPERATORS}\n"
    )
    fake.chats[11] = {"type": "private", "first_name": "Ann"}
    assert await send_test_to_all(read(tmp_path, fake.url, text)) == (
        SendTestOutcome(True, "posted to Lowtide"),
        SendTestOutcome(True, "posted to Forum, topic 7"),
        SendTestOutcome(True, "posted to Ann"),
        SendTestOutcome(True, "posted to Ops"),
    )
    assert [(posted.chat, posted.topic, posted.silent) for posted in fake.sent] == [
        (CHANNEL, None, True), (FORUM, 7, True), (11, None, True), (OPERATORS, None, True),
    ]  # fmt: skip
    assert {posted.text for posted in fake.sent} == {
        "⚪ Lowtide: this is a test. Alerts will come here."
    }


async def test_every_webhook_is_tried_too_and_says_what_it_answers(
    fake: FakeUpdates, tmp_path: Path
):
    async with Receiver() as receiver:
        receiver.statuses.extend([204, 404])
        hooks = "".join(
            f'[[webhooks]]\nname = "{name}"\nurl = "{url}"\n'
            for name, url in (
                ("good", receiver.url), ("gone", receiver.url), ("shut", "http://127.0.0.1:9/"),
            )
        )  # fmt: skip
        path = tmp_path / "config.toml"
        text = f'[telegram]\napi_url = "{fake.url}"\n[channel]\nchat_id = "@lowtide"\n'
        path.write_text(f"{HEAD}{text}{hooks}")
        env = {"TELEGRAM_BOT_TOKEN": TOKEN, "LOWTIDE_WEBHOOK_SECRET": "a long random text"}
        outcomes = await send_test_to_all(load(path, env))
    assert outcomes == (
        SendTestOutcome(True, "posted to Lowtide"),
        SendTestOutcome(True, "posted to webhook:good"),
        SendTestOutcome(False, "webhook:gone answers 404: check its address and secret"),
        SendTestOutcome(False, "webhook:shut gives no answer: the connection was refused"),
    )
    body = receiver.bodies[0]
    assert (body["rule"], body["alert"], body["silent"]) == ("test", "test", True)


async def test_every_messenger_is_tried_too_in_its_language(fake: FakeUpdates, tmp_path: Path):
    text = f'[telegram]\napi_url = "{fake.url}"\n[channel]\nchat_id = "@lowtide"\n' + "".join(
        f'[[messengers]]\nservice = "{service}"\n{rest}\n'
        for service, rest in (
            ("ntfy", ""), ("slack", 'language = "ja"'), ("slack", 'name = "shut"'),
            ("line", f'to = "U{"0" * 32}"'),
        )
    )  # fmt: skip
    async with Receiver() as receiver:
        receiver.statuses.extend([200, 200, 404])
        receiver.body = b"ok"
        path = tmp_path / "config.toml"
        path.write_text(f"{HEAD}{text}")
        env = {
            "TELEGRAM_BOT_TOKEN": TOKEN,
            "LOWTIDE_NTFY_URL": "http://127.0.0.1:9/T0PIC-1",
            "LOWTIDE_SLACK_URL": f"{receiver.url}/T0PIC-2",
            "LOWTIDE_SLACK_URL_SHUT": "http://127.0.0.1:9/T0PIC-3",
            "LOWTIDE_LINE_TOKEN": "T0PIC-4",
            "LOWTIDE_LINE_URL": "http://127.0.0.1:9",
        }
        outcomes = await send_test_to_all(load(path, env))
    assert outcomes == (
        SendTestOutcome(True, "posted to Lowtide"),
        SendTestOutcome(False, "ntfy gives no answer: the connection was refused"),
        SendTestOutcome(True, "posted to slack"),
        SendTestOutcome(False, "slack:shut gives no answer: the connection was refused"),
        SendTestOutcome(False, "line gives no answer: the connection was refused"),
    )
    (body,) = receiver.bodies
    assert body["text"] == "⚪ \u200b*Lowtide：テスト送信です。*\u200bアラートはここに届きます。"


ADD = 'add it under Administrators, with the right "Post messages"'
GIVE = 'give it the right "Post messages" there'


@pytest.mark.parametrize(
    ("chat", "member", "refusal", "problem"),
    [
        (
            '"@nowhere"', None, None,
            "Telegram finds no chat @nowhere; check chat_id in the configuration, and add "
            "the bot to the chat (to a channel as an administrator)",
        ),
        (CHANNEL, {"status": "left"}, None,
         f"the bot is no administrator of the channel -1001; {ADD}"),
        (CHANNEL, {"status": "member"}, None,
         f"the bot is no administrator of the channel -1001; {ADD}"),
        (CHANNEL, {"status": "hidden"}, None,
         f"the bot is no administrator of the channel -1001; {ADD}"),
        (CHANNEL, admin(can_post_messages=False), None,
         f"the bot may not post to -1001; {GIVE}"),
        (CHANNEL, admin(), (400, "Bad Request: need administrator rights in the channel chat"),
         f"the bot may not post to -1001; {GIVE}"),
        (CHANNEL, admin(), (403, "Forbidden: bot is not a member of the channel chat"),
         f"the bot is no administrator of the channel -1001; {ADD}"),
        (OTHER_GROUP, {"status": "left"}, None, "the bot is not in the group -300; add it there"),
        (OTHER_GROUP, {"status": "member"}, (403, "Forbidden: bot was kicked from the group chat"),
         "the bot is not in -300 any more (Forbidden: bot was kicked from the group chat); "
         "add it again"),
        (11, {}, (403, "Forbidden: bot can't initiate conversation with a user"),
         "the user 11 does not let the bot write (Forbidden: bot can't initiate conversation with "
         "a user); write /start to it there"),
        (CHANNEL, admin(), (400, "Bad Request: message text is odd"),
         "Telegram refuses the message: Message text is odd"),
        (CHANNEL, admin(), (502, "Bad Gateway"), "no clear answer from Telegram (Bad Gateway) at "
         "URL; check the network, or telegram.api_url in the configuration"),
    ],
)  # fmt: skip
async def test_what_is_missing_is_one_sentence(
    fake: FakeUpdates, tmp_path: Path, chat, member, refusal, problem: str
):
    fake.chats[11] = {"type": "private", "first_name": "Ann"}
    if member is not None:
        fake.members[chat] = member
    if refusal is not None:
        fake.refusals[chat] = refusal
    (outcome,) = await send_test_to_all(read(tmp_path, fake.url, f"[channel]\nchat_id = {chat}\n"))
    place = "" if problem.startswith("no clear answer") else "channel.chat_id: "
    assert outcome == SendTestOutcome(False, place + problem.replace("URL", fake.url))
    assert fake.sent == []


async def test_a_topic_that_is_not_there(fake: FakeUpdates, tmp_path: Path):
    text = f"[[chats]]\nid = {FORUM}\ntopic = 8\n[[chats]]\nid = {OPERATORS}\ntopic = 7\n"
    assert await send_test_to_all(read(tmp_path, fake.url, text)) == (
        SendTestOutcome(
            False,
            "chats.id (table 1): chat -1002 has no open topic 8; open it again, or mend topic in "
            "its table",
        ),
        SendTestOutcome(
            False,
            "chats.id (table 2): -200 has no topics; take topic out of its table, or switch topics "
            "on",
        ),
    )


async def test_a_wrong_token_and_no_network_are_said_once(fake: FakeUpdates, tmp_path: Path):
    text = "[channel]\nchat_id = -1\n[[chats]]\nid = -2\n"
    fake.token = "other"
    (refused,) = await send_test_to_all(read(tmp_path, fake.url, text))
    assert refused.text == (
        "Telegram refuses the token in TELEGRAM_BOT_TOKEN; get a new one from @BotFather"
    )
    (away,) = await send_test_to_all(read(tmp_path, "http://127.0.0.1:1", text))
    assert away.text.startswith("Telegram cannot be reached (ConnectError) at http://127.0.0.1:1; ")


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_a_dead_proxy_is_said_to_be_one(scheme: str, tmp_path: Path):
    text = "[channel]\nchat_id = -1\n"
    proxy = f"{scheme}://bob:SECRET@127.0.0.1:1"
    settings = read(tmp_path, "http://api.telegram.test", text, HTTP_PROXY=proxy)
    (away,) = await send_test_to_all(settings)
    assert away.text == (
        "Telegram cannot be reached (the proxy cannot be reached, or does not connect); "
        "check HTTPS_PROXY and ALL_PROXY"
    )


async def test_without_a_token_or_a_chat_it_says_where_to_get_one(
    fake: FakeUpdates, tmp_path: Path
):
    assert await send_test_to_all(read(tmp_path, fake.url, "", token="")) == (
        SendTestOutcome(False, NO_BOT),
    )
    assert await send_test_to_all(read(tmp_path, fake.url, "")) == (
        SendTestOutcome(False, NO_CHAT),
    )
    assert "@BotFather" in NO_BOT and ".env" in NO_BOT and "[channel]" in NO_CHAT


def test_the_command_ends_with_what_came_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "config.toml"
    path.write_text(HEAD)
    monkeypatch.delenv("TELEGRAM_BOT_TOKEN", raising=False)

    def run() -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as done:
            main(["send-test", "--config", str(path)])
        return (done.value.code, *capsys.readouterr())

    assert run() == (1, "", f"{NO_BOT}\n")

    async def fine(_settings: Settings) -> tuple[SendTestOutcome, ...]:
        return SendTestOutcome(True, "posted to A"), SendTestOutcome(False, "no such chat")

    monkeypatch.setattr("bot.delivery.send_test.send_test_to_all", fine)
    assert run() == (1, "posted to A\n", "no such chat\n")
