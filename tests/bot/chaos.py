"""A sender process that is killed again and again, before a Telegram that fails in every way."""

import asyncio
import multiprocessing
import random
import re
import time
from collections import defaultdict
from pathlib import Path

import msgspec
from redis.asyncio import Redis

from bot.delivery.pace import Limits
from bot.delivery.post import SETTLED, Policy, Post, PostState
from bot.delivery.sinks import Refused, Sinks, telegram
from bot.delivery.sinks.telegram import TelegramClient
from bot.destination import TelegramChat
from bot.plan import planner, threads
from bot.plan.planner import Chat, PlanState
from bot.roles.bot import Audience, BotRole
from rules import alerts
from rules.alerts import Alert, Level, Turn
from streams.bus.connection import Keys, Overtaken, connect
from tests.bot.fake_telegram import CHANNEL, GROUP, MOVED_TO, TOKEN, UNCLEAR, FakeTelegram, Fault
from tests.bot.role_fixtures import lively, settings

FAULTS = (
    Fault.FLOOD,
    Fault.MIGRATED,
    Fault.MARKUP,
    Fault.UNAUTHORIZED,
    Fault.KICKED,
    Fault.NOT_FOUND,
    Fault.CONFLICT,
    Fault.BAD_GATEWAY,
    Fault.HTML_AFTER,
    Fault.DROPPED_BEFORE,
    Fault.DROPPED_AFTER,
    Fault.SLOW,
)
FAST = Limits(per_minute=1_000_000, gap=0, overall=1_000_000, burst=1, reserved=0, edits=1_000_000)
POLICY = Policy(off=5, backoff=(1, 10), edit_every=1, edit_after=0)
NOTE = "↻"

_TOLD = re.compile(r"(A\d{3}) r\d+(?: now critical| over)?: (\d+) u")


def send_alerts(folder: str, url: str, api: str) -> None:
    """The life of a sender process: what the supervisor does, only sooner."""
    threads.JOIN = threads.MARKET_WITHIN = -1  # each episode is an event
    telegram._PAUSE_S = 0.005
    telegram._seconds = lambda _: 0.01
    asyncio.run(_send_alerts(Path(folder), url, api))


async def _send_alerts(folder: Path, url: str, api: str) -> None:
    redis = connect(url, "bot")
    chats = tuple(
        Chat(
            destination=TelegramChat(number),
            posts_per_hour=1_000_000,
            group_wait=dict.fromkeys(Level, 0),
        )
        for number in (CHANNEL, GROUP)
    )
    # each episode has a rule of its own, which the configuration has: else a restart would end it
    rules = tuple(msgspec.structs.replace(lively()[0], name=f"r{n:03}") for n in range(1_000))
    while True:
        sinks = Sinks(TelegramClient(TOKEN, api, read_timeout=0.5, connect_timeout=30))
        role = BotRole(
            settings(folder, rules=rules), redis, sinks, who=lambda *_: Audience(chats=chats),
            policy=POLICY, limits=FAST,
        )  # fmt: skip
        try:
            await role.run()
        except* (Refused, Overtaken):
            await asyncio.sleep(0.01)
        finally:
            await sinks.close()


class Storm:
    """``count`` alerts, three to an episode, each with a value of its own; and their way."""

    def __init__(self, redis: Redis, url: str, folder: Path, seed: int, count: int) -> None:
        self.redis, self.url, self.folder = redis, url, folder
        self.dice = random.Random(seed)
        self.fake = FakeTelegram(seed)
        self.fake.slow_s = 5
        self.kills = 0
        self.episodes = [f"A{n:03}" for n in range(count // 3)]
        self.values: dict[str, list[int]] = {}
        self.confirmed: dict[str, int] = {}
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.bot.chaos"])
        self._process: multiprocessing.Process | None = None

    def start(self) -> None:
        arguments = (str(self.folder), self.url, self.fake.url)
        self._process = self._context.Process(target=send_alerts, args=arguments, daemon=True)
        self._process.start()

    async def kill(self) -> None:
        assert self._process is not None
        assert self._process.is_alive(), "the sender ended by itself"
        self._process.kill()
        while self._process.is_alive():
            await asyncio.sleep(0.002)
        self._process = None

    async def run(self, kills: int, pause: float) -> None:
        """Tell all alerts through at least so many kills, the last sender lives until the end."""
        async with self.fake:
            self.start()
            await self._say("A999", 0, 999)  # from here on the number of the last post is known
            await self._until_settled(1)
            self.fake.chances = dict.fromkeys(FAULTS, 0.1)
            feeding = asyncio.create_task(self._feed(kills * pause))
            while self.kills < kills or not feeding.done():
                await asyncio.sleep(self.dice.uniform(0, 2 * pause))
                await self.kill()
                self.kills += 1
                await self._note_confirmed()
                self.start()
            await feeding
            await self._until_settled(3 * len(self.episodes) + 1)
            await self.kill()

    async def _feed(self, seconds: float) -> None:
        steps = [(asset, turn) for asset in self.episodes for turn in range(3)]
        self.dice.shuffle(steps)
        left: dict[str, int] = defaultdict(int)
        for number, (asset, _) in enumerate(steps, start=1):
            await self._say(asset, left[asset], number)
            left[asset] += 1
            await asyncio.sleep(self.dice.uniform(0, 2 * seconds / len(steps)))

    async def _say(self, asset: str, turn: int, value: int) -> None:
        """The ``turn``-th turn of the only episode of ``asset``."""
        now = time.time_ns() // 1_000_000
        self.values.setdefault(asset, []).append(value)
        level = self.dice.choice([Level.WATCH, Level.ALERT]) if turn == 0 else Level.CRITICAL
        alert = Alert(
            id=f"r{asset[1:]}:{asset}:1:{turn}", rule=f"r{asset[1:]}", family=f"r{asset[1:]}",
            metric="x", unit="u", asset=asset, turn=(Turn.OPEN, Turn.UP, Turn.CLOSE)[turn],
            level=level, value=float(value), threshold=1.0, fires="above", at=now, seen=now,
            opened_at=1, extreme=float(value), extreme_at=now, post=True,
        )  # fmt: skip
        await self.redis.xadd(Keys().alerts, {"a": alerts.encode(alert)})

    async def records(self) -> dict[str, Post]:
        fields = await self.redis.hgetall(Keys().outbox)
        return {
            name.decode(): msgspec.msgpack.decode(data, type=Post)
            for name, data in fields.items()
            if name.startswith(b"post ")
        }

    async def _plans(self) -> list[PlanState]:
        fields = await self.redis.hgetall(Keys().outbox)
        plans = [data for name, data in fields.items() if name.startswith(b"plan ")]
        return [planner.load(data) for data in plans]

    async def _taken(self) -> int:
        """How many alerts were told, or are not to be: the same moment has a later turn."""
        return sum(sum(msgspec.structs.astuple(plan.counts)) for plan in await self._plans())

    async def _note_confirmed(self) -> None:
        for name, post in (await self.records()).items():
            if post.state is PostState.SENT:
                # its message is lost where a chat becomes another one: then it is posted once more
                key = f"{name} again" if post.reposted else name
                assert self.confirmed.setdefault(key, post.attempts) == post.attempts, key

    async def _until_settled(self, count: int) -> None:
        """Until so many alerts are told in each chat and nothing is under way."""
        quiet = 0
        async with asyncio.timeout(100):
            while True:
                await asyncio.sleep(0.05)
                posts = (await self.records()).values()
                settled = all(
                    post.state in SETTLED and (post.live == post.shown or post.message_id is None)
                    for post in posts
                )
                quiet = quiet + 1 if settled and await self._taken() >= 2 * count else 0
                if quiet > 5:  # edits are made from what the plans remember
                    return

    async def judge(self) -> str:
        """Raises AssertionError unless all promises were kept; else what happened."""
        await self._note_confirmed()
        posts = (await self.records()).values()
        count = sum(map(len, self.values.values()))
        assert await self._taken() == 2 * count, "taken twice, or not at all"
        untold = sum(sum(msgspec.structs.astuple(p.counts)[1:]) for p in await self._plans())
        shown = {(post.chat, name) for post in posts for name in (*post.alerts, *post.grown)}
        assert len(shown) + untold == 2 * count, "not told at all"
        wrong = [(p.key, p.state, p.reason) for p in posts if p.state is not PostState.SENT]
        assert not wrong, wrong
        in_channel = self.fake.seen(CHANNEL)
        in_group = [p for p in self.fake.posted if p.chat in (GROUP, MOVED_TO)]
        for there in (in_channel, in_group):
            self._all_told_in_order([post.first for post in there], [p.text for p in there])
        channel, group = ([post.first for post in there] for there in (in_channel, in_group))
        again = self._repeats_are_said(channel)
        # where a copy may follow that nobody has seen, the number of the last message is not known
        blind = any(p.chat == str(CHANNEL) and 0 < len(p.copies) < p.attempts for p in posts)
        unseen = sum(
            times
            for (method, fault), times in self.fake.thrown.items()
            if method == "editMessageText" and fault in (*UNCLEAR, Fault.MARKUP)
        )
        assert blind or unseen >= POLICY.probes * again, (
            f"{again} posts were repeated although they could be found: {self.fake.thrown}"
        )
        group_again = self._repeats_are_said(group)
        deleted = sum(post.deleted for post in self.fake.posted)
        return (
            f"{self.kills} kills, {len(self.fake.requests)} requests,"
            f" {sum(self.fake.thrown.values())} faults, {len(channel)} posts in the channel,"
            f" {again} of them sent again in doubt, {deleted} doubles deleted;"
            f" {len(group)} in the group, {group_again} again"
        )

    def _all_told_in_order(self, firsts: list[str], texts: list[str]) -> None:
        """``firsts``: the texts as they were sent, ``texts``: as they are now. A turn that waited
        is told by the next one in its post."""
        values = [pair for text in (*firsts, *texts) for pair in _TOLD.findall(text)]
        first: dict[int, int] = {}
        for place, (_, value) in enumerate(values):
            first.setdefault(int(value), place)
        for asset, turns in self.values.items():
            assert turns[-1] in first, f"{asset} {turns[-1]}, what became of it, never posted"
            places = [first[value] for value in turns if value in first]
            assert places == sorted(places), f"{asset} out of order"

    def _repeats_are_said(self, texts: list[str]) -> int:
        """How many posts say that they were sent again; all repeats must."""
        known: set[str] = set()
        for text in texts:
            for pair in _TOLD.findall(text):
                assert pair[1] not in known or NOTE in text, f"{pair} repeated: {text}"
                known.add(pair[1])
        return sum(NOTE in text for text in texts)
