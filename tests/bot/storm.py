"""All roles and Redis killed and frozen at random, with the limits and leases as they are shipped.

Each role runs twice, as a process of its own, so that there is always one that waits for the
lease. Only children of ours are touched, by their id; everything is on this machine.
"""

import asyncio
import contextlib
import os
import random
import signal
import time
from asyncio.subprocess import Process
from collections import Counter
from pathlib import Path

import msgspec
from redis.exceptions import RedisError

from bot.config import load
from bot.delivery.post import SETTLED, Post, PostState
from bot.delivery.store import OutboxStore
from bot.plan.planner import PlanState
from rules import alerts
from rules.alerts import Alert
from rules.engine import Engine
from streams import events
from streams.bus.connection import Keys, connect
from streams.events import Liquidation
from tests.bot.fake_updates import CHANNEL, admin
from tests.seams.system import System, ends, short
from tests.valkey import Server

ROLES = ("streams", "rules", "bot")
NOTE = "↻"

CONFIG = f"""
[channel]
chat_id = {CHANNEL}
posts_per_hour = 100000
"""

FIRST_OF_COINS = -1_003_000_000_000
"""The number of the first coin's own channel; the next ones follow."""

LEAST_ALERTS, LEAST_HITS = 5, 3
"""A storm in which nothing happened shows nothing: until so many alerts and hits it goes on."""


class Storm:
    """``seed`` decides who is hit, how and when; how far the processes are then, it does not.

    ``shipped``: with the rules as they are shipped, their windows and cool-downs included; else
    with one rule of short windows, whose episodes begin, get worse and end all the time.
    """

    def __init__(self, folder: Path, seed: int, coins: int, shipped: bool) -> None:
        self.hits: Counter[str] = Counter()
        self._dice = random.Random(seed)
        self._folder = folder
        (folder / "redis").mkdir()
        self._server = Server(folder / "redis")
        self._coins = [f"C{n:02}" for n in range(coins)]
        channels = {FIRST_OF_COINS + n: coin for n, coin in enumerate(self._coins)}
        # in the channel all coins are one event of the market, in those of the coins each is one
        config = CONFIG + "".join(
            f'[[chats]]\nid = {chat}\nassets = ["{coin}"]\nposts_per_hour = 100000\n'
            for chat, coin in channels.items()
        )
        common = ends(self._coins, self._server.url)
        if shipped:
            self.system = System(folder, f'extends = "shipped"\n{config}', common=common)
        else:
            self.system = System(folder, config, common=common + short("1m", clear_for="5s"))
        for chat, coin in channels.items():
            self.system.telegram.chats[chat] = {"type": "channel", "title": coin}
            self.system.telegram.members[chat] = admin()
        self._coin_of = {str(chat): coin for chat, coin in channels.items()}
        self.system.venue.prices |= {f"{coin}USDT": 10.0 for coin in self._coins}
        self._processes: dict[str, Process] = {}
        self._sent = 0

    async def run(self, seconds: float) -> str:
        """Storm for so long, then wait until all is told, and judge. What happened, in words."""
        self._redis = connect(self._server.url, "storm")
        async with self.system:
            try:
                for role in ROLES:
                    for number in (1, 2):
                        self._processes[f"{role} {number}"] = await self.system.spawn(role)
                await self.system.until(self._subscribed, 60)
                feeding = asyncio.create_task(self._feed())
                end = time.monotonic() + seconds
                while time.monotonic() < end or await self._too_quiet(end):
                    await self._hit()
                    await asyncio.sleep(self._dice.uniform(0.2, 2.0))
                feeding.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await feeding
                await self._settled()
                return await self._judge()
            finally:
                for process in self._processes.values():
                    process.kill()
                    await process.wait()
                await self._redis.aclose()
                self._server.stop()

    def _subscribed(self) -> bool:
        return bool(self.system.venue.subscribers("allLiquidation."))

    async def _too_quiet(self, end: float) -> bool:
        """Whether a storm that should be over at ``end`` goes on, for a minute at most."""
        if time.monotonic() > end + 60:
            return False
        if sum(self.hits.values()) < LEAST_HITS:
            return True
        try:
            return int(await self._redis.xlen(Keys().alerts)) < LEAST_ALERTS
        except RedisError:
            return True

    async def _feed(self) -> None:
        """Liquidations, no two of the same size, in bursts of one coin."""
        while True:
            coin = self._dice.choice(self._coins)
            for _ in range(self._dice.randrange(1, 12)):
                self._sent += 1
                usd = self._dice.choice([2e4, 3e5, 2e6]) + self._sent
                await self.system.liquidate(f"{coin}USDT", usd, long=self._dice.random() < 0.7)
                await asyncio.sleep(0.02)
            await asyncio.sleep(self._dice.uniform(0, 0.4))

    async def _hit(self) -> None:
        victim = self._dice.choice([*self._processes, "redis", "redis"])
        freeze = self._dice.random() < 0.4
        self.hits[f"{victim.split()[0]} {'frozen' if freeze else 'killed'}"] += 1
        process = self._server.process if victim == "redis" else self._processes[victim]
        if freeze:
            os.kill(process.pid, signal.SIGSTOP)
            # a lease lasts three seconds: now and then it runs out meanwhile
            await asyncio.sleep(self._dice.choice([0.3, 1.0, 5.0]))
            os.kill(process.pid, signal.SIGCONT)
        elif victim == "redis":
            self._server.stop()
            await asyncio.sleep(self._dice.uniform(0, 1))
            self._server = await asyncio.to_thread(Server, self._folder / "redis")
        else:
            process.kill()
            await self._processes[victim].wait()
            self._processes[victim] = await self.system.spawn(victim.split()[0])

    async def _settled(self) -> None:
        """Return once all events are judged, all alerts planned, and all posts settled."""
        async with asyncio.timeout(600):
            steady = 0
            before: object = None
            while steady < 8:
                await asyncio.sleep(0.5)
                fields = await self._redis.hgetall(Keys().outbox)
                posts = [
                    msgspec.msgpack.decode(data, type=Post)
                    for name, data in fields.items()
                    if name.startswith(b"post ")
                ]
                last = await self._redis.xrevrange(Keys().alerts, count=1)
                now = (len(posts), last[0][0] if last else b"", fields.get(b"cursor"))
                at_end = not last or fields.get(b"cursor") == last[0][0]
                plans = [
                    msgspec.msgpack.decode(data, type=PlanState)
                    for name, data in fields.items()
                    if name.startswith(b"plan ")
                ]
                # what rings soon is told by no edit before
                waits = any(thread.fresh for plan in plans for thread in plan.threads.values())
                settled = at_end and not waits and all(post.state in SETTLED for post in posts)
                steady = steady + 1 if settled and now == before else 0
                before = now

    async def _judge(self) -> str:
        entries = await self._redis.xrange(Keys().events)
        seen = [events.decode(fields[b"e"]) for _, fields in entries]
        sizes = Counter(round(e.usd) for e in seen if isinstance(e, Liquidation))
        twice = {usd: times for usd, times in sizes.items() if times > 1}
        assert not twice, f"liquidations written twice: {twice}"

        settings = load(self._folder / "config.toml", {})
        venues = [venue.name for venue in settings.venues]
        engine = Engine(settings.rules, venues, settings.composites)
        expected = [a for e in seen for a in engine.feed(e) if isinstance(a, Alert)]
        outputs = [alerts.decode(f[b"a"]) for _, f in await self._redis.xrange(Keys().alerts)]
        actual = [alert for alert in outputs if isinstance(alert, Alert)]
        assert len(actual) >= LEAST_ALERTS, "too little happened to show anything"
        assert [a.id for a in actual] == [a.id for a in expected], "alerts lost, doubled or changed"

        loaded = await OutboxStore(self._redis, Keys()).claim()
        assert loaded.lost == []
        wrong = [(p.key, p.state, p.reason) for p in loaded.posts if p.state is not PostState.SENT]
        assert not wrong, wrong
        assert loaded.plans.keys() == {str(CHANNEL), *self._coin_of}
        for chat, plan in loaded.plans.items():
            coin = self._coin_of.get(chat)
            counts = msgspec.structs.asdict(plan.counts)
            due = sum(a.post for a in actual if coin in (None, a.asset))
            assert sum(counts.values()) == due, f"not all accounted for in {chat}: {counts}"
        for chat in (CHANNEL, *map(int, self._coin_of)):
            posts = [post for post in self.system.telegram.sent if post.chat == chat]
            self._nothing_twice([post.first for post in posts if not post.photo])
            pictured = Counter(post.reply_to for post in posts if post.photo)
            assert not pictured or max(pictured.values()) == 1, f"pictures twice: {pictured}"
        hits = ", ".join(f"{times} x {what}" for what, times in sorted(self.hits.items()))
        return (
            f"{hits}; {len(seen)} events with {sum(sizes.values())} liquidations of"
            f" {self._sent}, {len(actual)} alerts, {len(loaded.posts)} posts"
        )

    def _nothing_twice(self, texts: list[str]) -> None:
        """A post that might be there twice says so."""
        bare = Counter(text for text in texts if NOTE not in text)
        twice = {text: times for text, times in bare.items() if times > 1}
        assert not twice, f"posted twice without a word: {twice}"
