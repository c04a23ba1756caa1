"""``lowtide init`` from the outside: what is typed, what Telegram says, which files there are."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.config.environment import environment
from bot.init.dialogue import Dialogue, Terminal
from bot.init.files import InitError
from tests.bot.fake_telegram import TOKEN
from tests.bot.fake_updates import CHANNEL, OPERATORS, FakeUpdates
from tests.conftest import ROOT

WRONG = "987654321:" + "x" * 35


@pytest.fixture
async def fake() -> AsyncIterator[FakeUpdates]:
    async with FakeUpdates() as server:
        yield server


async def init(
    folder: Path, url: str, typed: str, *arguments: str, **more: str
) -> tuple[int, str, str]:
    """Run it in ``folder``; the exit code, and what was written to both outputs."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **more}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot", "init", "--api-url", url, *arguments,
        cwd=folder, env=env, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate(typed.encode())
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


async def test_from_an_empty_folder_to_a_post_in_the_channel(fake: FakeUpdates, tmp_path: Path):
    fake.say("anything", chat=CHANNEL, kind="channel_post")
    code, out, err = await init(tmp_path, fake.url, f"{TOKEN}\n\ny\nBTC, SOL\n")
    assert (code, err) == (0, "")
    assert names(tmp_path) == [".env", "config.toml", "lowtide.schema.json"]
    assert (tmp_path / "config.toml").read_text().startswith("#:schema ./lowtide.schema.json\n")
    schema = json.loads((tmp_path / "lowtide.schema.json").read_text())
    assert "channel" in schema["properties"]
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    assert (
        f"chat_id = {CHANNEL}   # the channel Lowtide\n" in (tmp_path / "config.toml").read_text()
    )
    assert "The bot is @lowtide_bot." in out
    assert "config.toml, " in out and " rules\n" in out and "warning" not in out
    assert len(out.splitlines()) < 30
    assert "posted to Lowtide\n" in out
    assert [(post.chat, post.silent) for post in fake.sent] == [(CHANNEL, True)]
    assert TOKEN not in out and "Start it: " in out


async def test_a_forwarded_post_tells_the_channel(fake: FakeUpdates, tmp_path: Path):
    """And what others have written to the bot before is passed over, if one says so."""
    fake.say("hello", user=13)
    origin = {"type": "channel", "chat": {"id": CHANNEL, **fake.chats[CHANNEL]}, "message_id": 3}
    fake.say("a post", forward_origin=origin)
    code, out, err = await init(tmp_path, fake.url, f"{TOKEN}\n\nn\n\n\n")
    assert (code, err) == (0, "")
    assert "Found: Ann, in private (13)." in out and f"the channel Lowtide ({CHANNEL})." in out
    assert [post.chat for post in fake.sent] == [CHANNEL]


async def test_a_chat_may_be_named_and_mistakes_are_asked_again(fake: FakeUpdates, tmp_path: Path):
    typed = f"nonsense\n{WRONG}\n{TOKEN}\nlowtide\nt.me/lowtide/5\nBTCUSDT\nBTC\n"
    code, out, err = await init(tmp_path, fake.url, typed)
    assert (code, err) == (0, "")
    assert "That is no token" in out and "Telegram refuses this token" in out
    assert "The chat must be a number without quotes" in out
    assert "BTCUSDT is a contract: write the coin, BTC." in out
    assert [post.chat for post in fake.sent] == [CHANNEL]
    assert WRONG not in out + err


@pytest.mark.parametrize("typed", ["@nosuch", "-1009999999999", "t.me/nosuch"])
async def test_a_chat_that_telegram_does_not_know_is_asked_again(
    typed: str, fake: FakeUpdates, tmp_path: Path
):
    code, out, err = await init(tmp_path, fake.url, f"{TOKEN}\n{typed}\n{CHANNEL}\nBTC\n")
    assert (code, err) == (0, "")
    assert "Telegram finds no chat " in out
    assert [post.chat for post in fake.sent] == [CHANNEL]


async def test_without_a_token_messages_go_to_the_terminal(tmp_path: Path):
    code, out, err = await init(tmp_path, "http://127.0.0.1:1", "\n\n")
    assert (code, err) == (0, "")
    assert names(tmp_path) == ["config.toml", "lowtide.schema.json"]
    assert "2. The chat" not in out


async def test_a_token_that_is_there_is_used(fake: FakeUpdates, tmp_path: Path):
    (tmp_path / ".env").write_text(f"TELEGRAM_BOT_TOKEN={TOKEN} # mine\n")
    (tmp_path / ".env").chmod(0o600)
    code, out, err = await init(tmp_path, fake.url, f"{CHANNEL}\nBTC\n")
    assert (code, err) == (0, "")
    assert "The token in .env is used: the bot is @lowtide_bot." in out
    assert (tmp_path / ".env").read_text() == f"TELEGRAM_BOT_TOKEN={TOKEN} # mine\n"
    assert [post.chat for post in fake.sent] == [CHANNEL]


async def test_what_send_test_misses_ends_it_with_what_to_do(fake: FakeUpdates, tmp_path: Path):
    fake.members[CHANNEL] = {"status": "member"}
    code, out, err = await init(tmp_path, fake.url, f"{TOKEN}\n{CHANNEL}\nBTC\n")
    assert code == 1
    assert f"the bot is no administrator of the channel {CHANNEL}; add it under" in err
    assert "send-test" in err.splitlines()[-1] and "Start it" not in out
    assert names(tmp_path) == [
        ".env",
        "config.toml",
        "lowtide.schema.json",
    ]  # to be mended, not to be typed again


@pytest.mark.parametrize(
    ("typed", "url", "sentence"),
    [
        ("", None, "the answers ended before the questions: nothing was set up"),
        (f"{TOKEN}\n", None, "the answers ended before the questions: nothing was set up"),
        (f"{TOKEN}\n", "http://127.0.0.1:1",
         "Telegram cannot be reached (ConnectError) at http://127.0.0.1:1: check the network, or"
         " name a proxy in ALL_PROXY; nothing was set up"),
        (TOKEN, "telegram.org", "--api-url must be a URL that starts with https:// or http://"),
    ],
)  # fmt: skip
async def test_what_goes_wrong_is_one_sentence_and_leaves_nothing(
    typed: str, url: str | None, sentence: str, fake: FakeUpdates, tmp_path: Path
):
    code, _, err = await init(tmp_path, url or fake.url, typed)
    assert (code, err) == (2, sentence + "\n")
    assert names(tmp_path) == []


async def test_nothing_is_overwritten(fake: FakeUpdates, tmp_path: Path):
    (tmp_path / "config.toml").write_text("mine")
    code, out, err = await init(tmp_path, fake.url, f"{TOKEN}\n\n\n")
    assert (code, out) == (2, "")
    assert err == (
        "config.toml is there already, and init overwrites nothing: change it by hand, or name"
        " another file with --config\n"
    )
    code, out, err = await init(
        tmp_path, fake.url, f"{TOKEN}\n{CHANNEL}\n\n", "--config", "other.toml"
    )
    assert (code, err) == (0, "")
    assert (tmp_path / "config.toml").read_text() == "mine"
    assert out.endswith("run --config other.toml\n")


class Typist(Terminal):
    """Answers from a list; ``lines``: what was said."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.lines = [*answers], list[str]()

    def say(self, text: str) -> None:
        self.lines.append(text)

    def ask(self, *, secret: bool = False) -> str:
        if not self.answers:
            raise InitError("no more answers")
        return self.answers.pop(0)


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        (None, "   Nothing came. Is the bot an administrator there? Its settings show it."),
        ((409, "Conflict: terminated by other getUpdates request"),
         "   Telegram serves another one with this token (Conflict: terminated by other getUpdates"
         " request): stop what uses it, and try again"),
    ],
)  # fmt: skip
async def test_a_search_without_success_asks_again(
    refusal: tuple[int, str] | None, sentence: str, fake: FakeUpdates, tmp_path: Path
):
    if refusal is not None:
        fake.refuse.append(refusal)
    typist = Typist(TOKEN, "", str(OPERATORS), "BTC")
    path = tmp_path / "config.toml"
    dialogue = Dialogue(path, environment({}, tmp_path), fake.url, typist, wait_s=0.05)
    await asyncio.to_thread(dialogue.run)
    assert sentence in typist.lines
    assert f"chat_id = {OPERATORS}\n" in path.read_text()


async def test_a_stored_token_that_telegram_refuses_is_named_by_its_place(
    fake: FakeUpdates, tmp_path: Path
):
    env = environment({"TELEGRAM_BOT_TOKEN": WRONG}, tmp_path)
    dialogue = Dialogue(tmp_path / "config.toml", env, fake.url, Typist())
    with pytest.raises(InitError, match="refuses the token in the environment, TELEGRAM_BOT_TOK"):
        await asyncio.to_thread(dialogue.run)
    assert names(tmp_path) == []
