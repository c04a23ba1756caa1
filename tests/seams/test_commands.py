"""From a ``config.toml`` and real roles to the answer of every command."""

import asyncio
import json
from pathlib import Path

from tests.bot.fake_updates import CHANNEL, OPERATORS, Sent
from tests.seams.system import System

CONFIG = f"""
[channel]
chat_id = "@lowtide"
[operators]
chat_id = {OPERATORS}
users = [11]
commands = "everyone"
"""
QUESTIONS = {
    "/start": "I tell when leverage leaves",
    "/help": "/status",
    "/status": "Bybit",
    "/top": "",
    "/funding BTC": "BTC",
    "/oi BTC": "BTC",
    "/depth BTC": "BTC",
    "/liq BTC": "BTC",
    "/rules": "What is judged",
    "/market": "",
    "/macro": "",
    "/regime BTC": "No rule looks at that",
    "/sectors": "",
    "/chart BTC": "BTC",
    "/why liq BTC": "liq on BTC",
    "/subscribe liq BTC": "liq: BTC",
    "/subscriptions": "",
    "/unsubscribe": "",
    "/nonsense": "",
    "/silence liq BTC 1h": "Sorry, only operators",
}
"""What is asked, and a part of the answer."""


async def test_every_question_is_answered_in_private(tmp_path: Path):
    async with System(tmp_path, CONFIG) as system:
        await system.start()
        await system.liquidate("BTCUSDT", 6e6)
        await system.until(lambda: [s for s in system.telegram.sent if s.chat == CHANNEL])
        asked = 20
        while not any(s.text.startswith("BTC") for s in system.telegram.sent if 20 < s.chat < 100):
            asked += 1  # until the rules have said what they see, which they do every ten seconds
            system.telegram.say("/liq BTC", user=asked)
            await system.until(lambda n=asked: [s for s in system.telegram.sent if s.chat == n])
        users = {text: 100 + n for n, text in enumerate(QUESTIONS)}
        for text, user in users.items():
            system.telegram.say(text, user=user)

        def answers() -> dict[int, str]:
            return {s.chat: s.text for s in system.telegram.sent if s.chat >= 100}

        await system.until(lambda: len(answers()) == len(users))
        for text, user in users.items():
            assert QUESTIONS[text] in answers()[user], (text, answers()[user])
        assert len([s for s in system.telegram.sent if s.chat >= 100]) == len(users)


async def test_what_operators_order_is_done_and_what_is_forwarded_is_not(tmp_path: Path):
    async with System(tmp_path, CONFIG) as system:
        await system.start()
        origin = {"type": "user", "date": 1, "sender_user": {"id": 99}}
        system.telegram.say("/silence liq ETH 1h", chat=OPERATORS, forward_origin=origin)
        system.telegram.say("/silence liq BTC 1h", chat=OPERATORS)
        await system.until(lambda: [s for s in system.telegram.sent if "Silenced" in s.text])
        await system.liquidate("BTCUSDT", 2e6)
        await system.liquidate("ETHUSDT", 2e6)
        await system.until(lambda: [s for s in system.telegram.sent if s.chat == CHANNEL])
        [post] = [s.first for s in system.telegram.sent if s.chat == CHANNEL]
        assert post.startswith("🟠 ETH liquidations")
        system.telegram.say("/unsilence liq BTC", chat=OPERATORS)
        system.telegram.say("/test", chat=OPERATORS)
        await system.until(lambda: [s for s in system.telegram.sent if "Test messages" in s.text])
        assert [s for s in system.telegram.sent if s.chat == CHANNEL and "this is a test" in s.text]
        assert "silence" in system.telegram.menus[str(OPERATORS)]
        assert "silence" not in system.telegram.menus["default"]


async def test_commands_come_back_after_a_401_and_a_message_that_nobody_can_read(tmp_path: Path):
    async with System(tmp_path, CONFIG) as system:
        await system.start()
        system.telegram.say("/start", user=12)
        await system.until(lambda: [s for s in system.telegram.sent if s.chat == 12])
        system.telegram.refuse.extend([(401, "Unauthorized"), (502, "Bad Gateway")])
        system.telegram.say("/start", user=13)
        system.telegram.garble(date={"not": "a date"}, chat=5)
        system.telegram.say("/start", user=14)
        await system.until(lambda: [s for s in system.telegram.sent if s.chat == 14])
        assert system.log.count("commands are not answered: Telegram refuses the token") <= 1


async def test_buttons_stay_under_a_post_through_edits_and_restarts_and_are_answered(
    tmp_path: Path,
):
    config = CONFIG.replace("[operators]", "buttons = true\n[operators]")
    async with System(tmp_path, config) as system:
        await system.start("streams", "rules", "bot")

        def posts() -> list[Sent]:
            return [s for s in system.telegram.sent if s.chat == CHANNEL and not s.photo]

        await system.liquidate("BTCUSDT", 2e6)
        await system.until(posts, 60)
        (post,) = posts()
        asking = (("Why", "why"), ("Chart", "chart"))
        assert post.buttons == asking
        number = system.telegram.sent.index(post) + 1
        await sent_is_kept(system, 1)  # else it is posted again, and its first copy is nobody's
        await system.kill("bot")
        await system.start("bot")
        users = iter(range(100, 200))

        async def asked(data: str, user: int) -> str:
            press = system.telegram.press(data, CHANNEL, number, user)
            return (await system.telegram.popup(press)).text

        while "too old" in (text := await asked("why", next(users))):
            await asyncio.sleep(0.2)  # until the new bot knows its posts
        assert text.startswith("🟠 liq on BTC") and len(text) <= 200
        assert (await asked("mute", next(users))).startswith("Sorry, only operators")
        while "again" in (text := await asked("mute", 11)):  # until it has not waited for the bot
            pass
        assert text.startswith("Silenced")
        await system.liquidate("BTCUSDT", 9e6)  # critical rings, and the first post points to it
        await system.until(lambda: len(posts()) == 2, 60)
        await system.until(lambda: post.text != post.first, 120)
        assert [s.buttons for s in posts()] == [asking] * 2
        system.telegram.say("/unsilence liq BTC", chat=OPERATORS)
        await system.until(lambda: [s for s in system.telegram.sent if "@user11" in s.text], 60)


async def sent_is_kept(system: System, count: int) -> None:
    """Wait until it is durable that so many posts arrived."""
    async with asyncio.timeout(60):
        sent = 0
        while sent < count:
            _, text = await system.command("status", "--json")
            sent = json.loads(text)["bot"]["sent"] if '"bot"' in text else 0


async def test_each_command_that_is_offered_is_asked_here(tmp_path: Path):
    """By the menus, as people see them."""
    orders = {"silence", "unsilence", "pause", "resume", "test"}
    asked = {question.split()[0].removeprefix("/") for question in QUESTIONS} | orders
    async with System(tmp_path, CONFIG) as system:
        await system.start()
        await system.until(lambda: str(OPERATORS) in system.telegram.menus, 60)
        await system.until(lambda: "default" in system.telegram.menus, 60)
        offered = {*system.telegram.menus["default"], *system.telegram.menus[str(OPERATORS)]}
    assert offered - asked == set()
    assert len(offered) > 15


async def test_in_a_pause_nothing_is_posted_and_it_ends_by_a_word(tmp_path: Path):
    def posts() -> list[str]:
        return [s.first for s in system.telegram.sent if s.chat == CHANNEL]

    def answers(words: str) -> list[str]:
        return [s.text for s in system.telegram.sent if s.chat == OPERATORS and words in s.text]

    async with System(tmp_path, CONFIG) as system:
        await system.start()
        system.telegram.say("/pause 30m", chat=OPERATORS)
        await system.until(lambda: answers("nothing new is posted"))
        await system.liquidate("BTCUSDT", 6e6)
        for user in range(200, 300):  # until the bot has heard of it and knows what became of it
            system.telegram.say("/why liq BTC", user=user)
            await system.until(lambda u=user: [s for s in system.telegram.sent if s.chat == u])
            (reply,) = [s.text for s in system.telegram.sent if s.chat == user]
            if "not posted" in reply:
                break
            await asyncio.sleep(0.2)
        assert posts() == []
        system.telegram.say("/resume", chat=OPERATORS)
        await system.until(lambda: answers("The pause is over"))
        await system.liquidate("ETHUSDT", 6e6)
        await system.until(posts)
        assert posts()[0].startswith("🔴 ETH liquidations")
