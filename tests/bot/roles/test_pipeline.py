"""All roles in processes of their own, killed while frames flow: from frames to posts."""

import asyncio
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from bot.config import load
from bot.delivery.post import SETTLED, Post, PostState
from bot.demo.playback import Playback
from rules import alerts
from rules.alerts import AlertOrNotice
from rules.engine import Engine
from streams import events
from streams.bus.connection import Keys, connect
from streams.bus.embedded import Embedded
from tests.bot.fake_telegram import CHANNEL, CHANNEL_NAME, MORE, TOKEN, FakeTelegram, Fault
from tests.bot.fake_telegram import Post as Message
from tests.bot.story import cut

ROOT = Path(__file__).parents[3]
KEYS = Keys()
ROLES = ("streams", "rules", "bot")
ENDED = (0, -signal.SIGTERM)
"""Exit codes after SIGTERM; the second of a process that was not up yet."""

CONFIG = """
[channel]
chat_id = "{chat}"
[telegram]
api_url = "{api}"
[markets]
venues = ["bybit"]
majors = ["BTC", "ETH"]
large  = ["SOL", "DOGE", "HYPE"]
tail   = "none"
[venues.bybit]
websocket = "{websocket}"
rest = "{rest}"
[redis]
data_dir = "data"
[defaults]
cooldown  = "1s"
clear_for = "1s"
repost_if = 1.2
[rules.liq]
metric = "liq_10m_musd"
fires  = "above"
majors = {{ watch = 0.1, alert = 1, critical = 4, clear = 0.05 }}
large  = {{ watch = 0.05, alert = 0.5, critical = 2, clear = 0.01 }}
[rules.oi]
metric = "oi_net_15m_pct"
fires  = "below"
majors = {{ watch = -0.5, alert = -1, critical = -3, clear = -0.2 }}
large  = {{ watch = -0.5, alert = -1, critical = -3, clear = -0.2 }}
"""
COINS = ("BTC", "ETH", "SOL", "DOGE", "HYPE")
EACH_COIN = "".join(
    f'[[chats]]\nid = {chat}\nassets = ["{coin}"]\n' for chat, coin in zip(MORE, COINS, strict=True)
)
"""Besides the channel, where all of it is one event of the market, a channel for each coin."""


class Lowtide:
    """The three roles as an operator would run them; what they log is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.running: dict[str, asyncio.subprocess.Process] = {}

    async def command(self, *arguments: str) -> asyncio.subprocess.Process:
        env = {**os.environ, "TELEGRAM_BOT_TOKEN": TOKEN}
        env.pop("REDIS_URL", None)
        config = str(self.folder / "config.toml")
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bot", *arguments, "--config", config,
                cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip

    async def start(self, role: str) -> None:
        self.running[role] = await self.command(role)

    async def kill(self, role: str) -> None:
        process = self.running.pop(role)
        process.send_signal(signal.SIGKILL)
        await process.wait()

    async def stop(self) -> None:
        """SIGTERM, until all have ended."""
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            assert await process.wait() in ENDED


async def drained(redis: Redis, seconds: float) -> None:
    """Return when every event is judged, every alert planned and every post settled."""
    async with asyncio.timeout(seconds):
        while True:
            await asyncio.sleep(0.2)
            try:
                ends = [await redis.xrevrange(key, count=1) for key in (KEYS.events, KEYS.alerts)]
                read = await redis.get(KEYS.bookmark("rules"))
                marks = [read, await redis.hget(KEYS.outbox, "cursor")]
                quiet = all(post.state in SETTLED for post in await outbox(redis))
                quiet &= int(ends[0][0][0].split(b"-")[0]) < time.time() * 1000 - 600
            except (RedisError, IndexError):
                continue
            if [end[0][0] for end in ends] == marks and quiet:
                return


async def outbox(redis: Redis) -> list[Post]:
    fields = await redis.hgetall(KEYS.outbox)
    records = [data for name, data in fields.items() if name.startswith(b"post ")]
    return [msgspec.msgpack.decode(data, type=Post) for data in records]


async def stored_outputs(redis: Redis) -> list[AlertOrNotice]:
    return [alerts.decode(fields[b"a"]) for _, fields in await redis.xrange(KEYS.alerts)]


@pytest.fixture
def story(tmp_path: Path) -> Path:
    def wanted(record) -> bool:
        return record.venue == "bybit" and not record.topic.startswith("orderbook")

    return cut(tmp_path / "story.jsonl.gz", 72, 77, wanted)


async def test_roles_killed_while_frames_flow_lose_and_repeat_nothing(
    tmp_path: Path, story: Path
) -> None:
    seed = random.randrange(10_000)
    print(f"seed {seed}")
    dice = random.Random(seed)
    lowtide = Lowtide(tmp_path)
    async with Playback(story, speed=40) as playback, FakeTelegram() as telegram:
        telegram.faults.extend([Fault.SLOW] * 5_000)
        telegram.slow_s = 0.03
        websocket, rest = playback.urls("bybit")
        (tmp_path / "config.toml").write_text(
            CONFIG.format(chat=CHANNEL_NAME, api=telegram.url, websocket=websocket, rest=rest)
            + EACH_COIN
        )
        redis = connect(Embedded(tmp_path / "data", 24).url, "test")
        try:
            for role in ROLES:
                await lowtide.start(role)
            await _topics(playback)
            playback.start()
            while not playback.finished.is_set():
                await asyncio.sleep(dice.uniform(0.3, 1.5))
                role = dice.choice(ROLES)
                await lowtide.kill(role)
                await lowtide.start(role)
            stopping = lowtide.running.pop("streams")  # without it the stream comes to an end
            stopping.send_signal(signal.SIGTERM)
            assert await stopping.wait() in ENDED
            await drained(redis, 60)
            outputs = await stored_outputs(redis)
            entries = [fields[b"e"] for _, fields in await redis.xrange(KEYS.events)]
            status = await (await lowtide.command("status", "--json")).communicate()
            posts, messages = await _at_rest(redis, telegram)
        finally:
            await redis.aclose()
            await lowtide.stop()
    log = lowtide.log.read_text()
    settings = load(tmp_path / "config.toml", {})
    engine = Engine(settings.rules, ["bybit"])
    expected = [output for entry in entries for output in engine.feed(events.decode(entry))]
    assert len(entries) > 150
    assert len(expected) > 10
    assert [alert.id for alert in outputs] == [alert.id for alert in expected]
    assert outputs == expected
    _each_posted_once(posts, messages)
    assert json.loads(status[0])["redis"]["streams"]["events"]["entries"] == len(entries)
    assert "Traceback" not in log
    assert "did not stop in time" not in log


async def _topics(playback: Playback) -> None:
    async with asyncio.timeout(60):
        while playback.topics < 5:
            await asyncio.sleep(0.05)


async def _at_rest(redis: Redis, telegram: FakeTelegram) -> tuple[list[Post], list[Message]]:
    """What is posted and what readers have, of one moment: a market's second ring may come yet."""
    async with asyncio.timeout(60):
        while True:
            before, posts = _messages(telegram), await outbox(redis)
            if all(post.state in SETTLED for post in posts) and before == _messages(telegram):
                return posts, before
            await asyncio.sleep(0.1)


def _messages(telegram: FakeTelegram) -> list[Message]:
    return [
        msgspec.structs.replace(message)
        for chat in (CHANNEL, *MORE)
        for message in telegram.seen(chat)
    ]


def _each_posted_once(posts: list[Post], messages: list[Message]) -> None:
    """All that was to be posted, and no text twice: not even what was being sent at a kill, since
    it is looked for. A picture answers a post, whose reader has one of them."""
    assert {post.state for post in posts} == {PostState.SENT}
    pictures = [(message.chat, message.reply_to) for message in messages if message.photo]
    texts = {(message.chat, message.message_id) for message in messages if not message.photo}
    assert len(pictures) == len(set(pictures)) and texts.issuperset(pictures)
    seen = [message.text for message in messages if not message.photo]
    first = [(message.chat, message.first) for message in messages if not message.photo]
    assert len(posts) == len(seen) == len(set(first)) > 3
    assert not [text for text in seen if "↻" in text]
    for post in posts:
        assert any(post.message.plain.split("\n")[0] in text for text in seen), post.key
