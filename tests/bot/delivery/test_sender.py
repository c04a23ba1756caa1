"""The sender: killed between any two steps, many chats at once, operators, edits, a burst."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
import structlog
from redis.asyncio import Redis

from bot.commands.store import save_subscription
from bot.config import Settings
from bot.delivery.outgoing import delivery_post
from bot.delivery.pace import NO_LIMITS, Lane, Limits, Overall
from bot.delivery.post import ChatReport, ChatState, DeleteStep, Policy, SendStep
from bot.delivery.queue import ChatQueue
from bot.delivery.rendering import edited
from bot.delivery.sinks import (
    ChatMoved,
    OutcomeUnknown,
    Receipt,
    RefusalScope,
    Refused,
    RetryLater,
    Sinks,
)
from bot.delivery.sinks.telegram import TelegramClient
from bot.destination import TelegramChat, WebhookName
from bot.messages.blocks import MOST_CHARS, visible
from bot.plan.planner import Chat, Filter, PlanState, next_due, plan
from bot.plan.subscriptions import Subscriber
from bot.roles.bot import Audience, BotRole
from rules import alerts
from rules.alerts import Alert, Level, Turn
from rules.snapshot import OpenEpisodes
from streams.bus.connection import Keys
from streams.bus.health import Health
from streams.durations import MINUTE
from tests.bot.fake_telegram import CHANNEL, GROUP, TOKEN, FakeTelegram
from tests.bot.plan.test_planner import START, alert
from tests.bot.role_fixtures import lively, settings
from tests.bot.sinks import Numbered

KEYS = Keys()
QUICK = Policy(backoff=(1, 10), off=50, unread=(1, 1))


def chat(number: int | str, **changes: object) -> Chat:
    waits = dict.fromkeys(Level, 0)
    return Chat(
        **{
            "destination": TelegramChat(number),
            "group_wait": waits,
            "posts_per_hour": 1_000,
            **changes,
        }
    )


def openings(asset: str, count: int = 3, level: Level = Level.CRITICAL) -> list[Alert]:
    """At most three events that begin within a moment, now: each has a post of its own."""
    now = time.time_ns() // 1_000_000 - START
    metrics = ("oi_net_1h_pct", "funding_8h_pct", "funding_8h_pct")
    return [
        alert(now + n, name, level, f"rule_{n}", value=-5.0 - n, extreme=-5.0 - n, metric=metric)
        for n, (name, metric) in enumerate(zip((asset, asset, f"{asset}2"), metrics, strict=True))
    ][:count]


async def say(redis: Redis, *news: Alert) -> None:
    for raised in news:
        await redis.xadd(KEYS.alerts, {"a": alerts.encode(raised)})


@contextlib.asynccontextmanager
async def running(
    redis: Redis, folder: Path, sink: Numbered | Sinks, *chats: Chat, **how: object
) -> AsyncIterator[BotRole]:
    operators: Chat | None = how.pop("operators", None)
    who = Audience(chats=chats or (chat(-1),), operators=operators)
    ways = sink if isinstance(sink, Sinks) else Sinks(sink)
    role = BotRole(
        settings(folder), redis, ways, who=lambda *_: who,
        **{"policy": QUICK, "limits": NO_LIMITS, **how},
    )  # fmt: skip
    task = asyncio.create_task(role.run())
    try:
        yield role
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(reached, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not reached():
            await asyncio.sleep(0.002)


def firsts(sink: Numbered, number: int = -1) -> list[str]:
    return [m.plain.split("\n")[0] for m in sink.chats.get(number, []) if m is not None]


# Killed between any two steps.


class Killed(BaseException):
    """The process is gone."""


class Cut:
    """Ends everything at the ``at``-th step; ``after``: once that step is done."""

    def __init__(self, at: int | None, after: bool) -> None:
        self.at, self.after, self.steps = at, after, 0
        self.dead = asyncio.Event()
        self.names: list[str] = []

    def around(self, name: str, call):
        async def cut(*args, **kwargs):
            if self.dead.is_set():
                await asyncio.Event().wait()
            self.names.append(name)
            self.steps += 1
            fatal = self.steps == self.at
            if fatal and not self.after:
                await self._die()
            answer = await call(*args, **kwargs)
            if fatal:
                await self._die()
            return answer

        return cut

    async def _die(self) -> None:
        self.dead.set()
        await asyncio.Event().wait()


async def life(redis: Redis, folder: Path, sink: Numbered, cut: Cut, wanted: int) -> None:
    """One process: runs until it is killed, or has told all there is."""
    role = BotRole(
        settings(folder), redis, Sinks(sink), limits=NO_LIMITS, policy=QUICK,
        who=lambda *_: Audience(chats=(chat(-1),)),
    )  # fmt: skip
    role._store._write = cut.around("redis", role._store._write)
    send, edit = sink.send, sink.edit
    sink.send, sink.edit = cut.around("send", send), cut.around("edit", edit)
    task = asyncio.create_task(role.run())
    dead = asyncio.create_task(cut.dead.wait())
    done = asyncio.create_task(until(lambda: len(sink.messages) >= wanted and role.sender.idle()))
    await asyncio.wait([task, dead, done], return_when=asyncio.FIRST_COMPLETED)
    role.sender._work = None
    cut.dead.set()
    for running_ in (task, dead, done):
        running_.cancel()
    await asyncio.gather(task, dead, done, return_exceptions=True)
    sink.send, sink.edit = send, edit


@pytest.mark.parametrize("after", [False, True])
async def test_killed_between_any_two_steps_nothing_is_lost_or_repeated(
    redis: Redis, tmp_path: Path, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.delivery.sender.FLUSH_S", 0.001)
    cut = Cut(None, after)
    cuts = 0
    while True:
        cuts += 1
        await redis.flushall()
        sink = Numbered()
        await say(redis, *openings("BTC", 1))
        await life(redis, tmp_path, sink, Cut(None, after), 1)
        news = openings("ETH")
        await say(redis, *news)
        cut = Cut(cuts, after)
        await life(redis, tmp_path, sink, cut, 4)
        whole = cut.steps < cuts
        await life(redis, tmp_path, sink, Cut(None, after), 4)
        values = [m.plain.split("%")[0] for m in sink.messages]
        assert len(values) == 4, (cuts, cut.names, firsts(sink))
        numbers = [float(v.split()[-1].replace("−", "-")) for v in values[1:]]
        assert numbers == [-5, -6, -7], cuts
        if whole:
            break
    assert cuts > 8


# Many chats.


class Moody(Numbered):
    """Fails for some chats: ``moods`` says how, one answer a request."""

    def __init__(self) -> None:
        super().__init__()
        self.moods: dict[object, list[Exception | float]] = {}

    async def send(self, to, message, **how) -> Receipt:
        mood = self.moods[to.chat].pop(0) if self.moods.get(to.chat) else 0.0
        if isinstance(mood, Exception):
            raise mood
        await asyncio.sleep(mood)
        return await super().send(to, message, **how)


async def test_no_chat_delays_another(redis: Redis, tmp_path: Path) -> None:
    sink = Moody()
    flood, refused = RetryLater(60, "too much", flood=True), Refused("no", RefusalScope.CHAT)
    sink.moods = {-1: [flood], -2: [30.0], -3: [refused]}
    chats = [chat(-n) for n in range(1, 6)]
    async with running(redis, tmp_path, sink, *chats) as role:
        await say(redis, *openings("BTC", 2))
        # a pause of a minute and a request of half a one are still going on
        await until(lambda: len(firsts(sink, -4)) == len(firsts(sink, -5)) == 2)
        assert firsts(sink, -1) == firsts(sink, -2) == []
        assert role.status().queued >= 3


async def test_a_chat_that_is_off_is_tried_again_and_operators_are_told_once(
    redis: Redis, tmp_path: Path
) -> None:
    sink = Moody()
    sink.moods = {-1: [Refused("the bot was kicked", RefusalScope.CHAT)] * 3}
    async with running(redis, tmp_path, sink, operators=Chat(destination=TelegramChat(-9))) as role:
        await say(redis, *openings("BTC", 2))
        await until(lambda: len(firsts(sink)) == 2)
        assert role.status().off == {}
        await until(lambda: firsts(sink, -9))
    assert firsts(sink, -9) == ["⚪ Delivery: nothing is sent to -1 for now: the bot was kicked"]


async def test_a_moved_chat_is_followed_after_a_restart_too(redis: Redis, tmp_path: Path) -> None:
    sink = Moody()
    sink.moods = {-1: [ChatMoved(-100)]}
    for asset in ("BTC", "ETH"):
        async with running(
            redis, tmp_path, sink, operators=Chat(destination=TelegramChat(-9))
        ) as role:
            await say(redis, *openings(asset, 1))
            await until(lambda role=role: role.status().sent >= 1 and role.sender.idle())
    assert len(firsts(sink, -100)) == 2
    assert firsts(sink) == []
    assert firsts(sink, -9)[0].startswith("⚪ Delivery: -1 is now -100; it is followed.")


@pytest.mark.parametrize("refusals", [1, 4])
async def test_a_refused_token_delays_no_other_way_out_and_loses_nothing(
    redis: Redis, tmp_path: Path, refusals: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.delivery.sender._REFUSED_S", (0.05, 0.1))
    health = Health()
    monkeypatch.setattr("bot.delivery.sender.HEALTH", health)
    telegram, hooks, failing = Moody(), Numbered(), list[str]()
    refused = Refused("no such token", RefusalScope.ALL)
    telegram.moods = {-1: [refused] * refusals, -2: [refused] * refusals}
    chats = (chat(-1), chat(-2), chat(0, destination=WebhookName("mine")))
    ways = Sinks(telegram, webhooks=hooks)

    def both_arrived() -> bool:
        failing.extend(health.lasting(0))
        return len(firsts(telegram, -1)) == len(firsts(telegram, -2)) == 2

    async with running(redis, tmp_path, ways, *chats) as role:
        await say(redis, *openings("BTC", 1))
        await until(lambda: len(hooks.messages) == 1)
        await say(redis, *openings("ETH", 1))
        await until(lambda: len(hooks.messages) == 2 and both_arrived())
        assert (role.status().uncertain, role.status().off) == (0, {})
    assert "Telegram" in failing
    assert health.lasting(0) == {}


async def test_one_chat_asks_for_all_while_the_token_is_refused(
    redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[float]()

    class Refusing(Numbered):
        async def send(self, to, message, **how) -> Receipt:
            asked.append(time.monotonic())
            raise Refused("no such token", RefusalScope.ALL)

    monkeypatch.setattr("bot.delivery.sender._REFUSED_S", (0.2, 0.2))
    chats = [chat(-n) for n in range(1, 41)]
    async with running(redis, tmp_path, Refusing(), *chats):
        await say(redis, *openings("BTC", 1))
        await until(lambda: len(asked) >= len(chats) + 5)
    # each chat may have begun before the first was refused
    later = asked[len(chats) :]
    assert all(after - before > 0.1 for before, after in pairwise(later))


async def test_topics_of_a_group_share_its_pace_and_have_plans_of_their_own(
    redis: Redis, tmp_path: Path
) -> None:
    sink = Numbered()
    chats = (chat(-1, destination=TelegramChat(-1, 7)), chat(-1, destination=TelegramChat(-1, 8)))
    async with running(redis, tmp_path, sink, *chats) as role:
        await say(redis, *openings("BTC", 1))
        await until(lambda: role.status().sent == 2)
        assert list(role.sender.queues) == ["-1"]


async def test_a_chat_that_is_not_served_any_more_is_forgotten(
    redis: Redis, tmp_path: Path
) -> None:
    sink = Moody()
    sink.moods = {-2: [RetryLater(60, "busy")]}
    async with running(redis, tmp_path, sink, chat(-1), chat(-2)) as role:
        await say(redis, *openings("BTC", 1))
        await until(lambda: role.status().sent == 1 and not sink.moods[-2])
    async with running(redis, tmp_path, sink, chat(-1)), asyncio.timeout(60):
        fields = [name for name in await redis.hkeys(KEYS.outbox) if b"-2" in name]
        while fields:
            await asyncio.sleep(0.002)
            fields = [name for name in await redis.hkeys(KEYS.outbox) if b"-2" in name]
    assert fields == []


# Live openings.


async def test_openings_are_kept_true_and_say_when_it_is_over(
    redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, (opening,) = Numbered(), openings("BTC", 1)
    later = {"seen": opening.seen + 38 * 60_000, "extreme_at": opening.at}
    worse = msgspec.structs.replace(opening, value=-4.2, extreme=-9.4, **later)
    monkeypatch.setattr("bot.roles.bot.LIVE_S", 0.02)
    policy = Policy(edit_every=1)
    async with running(redis, tmp_path, sink, policy=policy) as role:
        await say(redis, opening)
        await until(lambda: role.status().sent == 1)
        published = OpenEpisodes(seen=worse.seen, episodes=(worse,))
        await redis.set(KEYS.episodes, msgspec.msgpack.encode(published))
        await until(lambda: role.status().counts.edited == 1)
        first = sink.chats[-1][0].plain.split("\n")[0]
        assert first.startswith("🔴 BTC open interest −4.2% (worst −9.4% at ")
        await say(redis, msgspec.structs.replace(opening, turn=Turn.CLOSE, id="x:close"))
        await until(lambda: role.status().counts.edited == 2)
    assert sink.chats[-1][0].plain.startswith("⚪ BTC open interest steadier")
    assert sink.replies == [None], "there is no other post"


def watching(folder: Path, *rules: str) -> Settings:
    """Settings with these rules, on BTC and ETH."""
    return settings(folder, rules=tuple(msgspec.structs.replace(
        lively()[0], name=name, rows={asset: lively()[0].others for asset in ("BTC", "ETH")},
        others=None) for name in rules))  # fmt: skip


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("asset", ["BTC", "DOGE"])
async def test_an_opening_that_nobody_judges_any_more_says_so_in_its_last_edit(
    redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarted: bool, asset: str
) -> None:
    """A rule that is taken out, or an asset (DOGE) out of a rule, has no end that could be told."""
    gone, kept = openings(asset, 1), openings("ETH", 2)[1:]
    rules = ("rule_1", "rule_0") if asset == "DOGE" else ("rule_1",)
    after = watching(tmp_path, *rules)
    monkeypatch.setattr("bot.roles.bot.checked", lambda *_: (after, None))
    sink, policy = Numbered(), Policy(edit_every=1)
    async with running(redis, tmp_path, sink, policy=policy) as role:
        await say(redis, *gone, *kept)
        await until(lambda: role.status().sent == 2)
        if not restarted:
            await role._reload()
            await until(lambda: role.status().counts.edited == 1)
    if restarted:
        monkeypatch.setattr(f"{__name__}.settings", lambda _folder: after)
        async with running(redis, tmp_path, sink, policy=policy) as role:
            await until(lambda: role.status().counts.edited == 1)
    posts = [post.plain.split("\n") for post in sink.chats[-1]]
    assert ["not watched any more" in last for *_, last in posts] == [True, False]
    assert posts[0][0].startswith(f"🔴 {asset} open interest −5.0%")


# A burst.


def burst() -> list[Alert]:
    """300 alerts within a second: 12 coins are critical, and 288 are not."""
    raised = [
        alert(3 * n, f"C{n}", Level.CRITICAL, rule=f"liq_{n % 3}", metric="liq_10m_musd")
        for n in range(12)
    ]
    for n in range(288):
        level = Level.ALERT if n % 2 else Level.WATCH
        raised.append(alert(n * 3, f"T{n}", level, rule=f"oi_{n % 4}"))
    return sorted(raised, key=lambda new: new.seen)


def test_a_burst_is_one_event_that_is_told_first_where_it_is_critical():
    """By a clock of numbers: plan, outbox and limiter together."""
    reader = Chat(destination=TelegramChat(-1))
    queue = ChatQueue("-1", ChatState(destination=TelegramChat(-1)), Limits())
    overall, state, waiting = Overall(Limits()), PlanState(), burst()
    posted: list[tuple[int, Level, int, str]] = []
    number = 0
    for now in range(START, START + 20 * MINUTE, 50):
        due = [raised for raised in waiting if raised.seen <= now]
        waiting = waiting[len(due) :]
        if due or ((at := next_due(state)) is not None and at <= now):
            state, deliveries = plan(state, due, reader, (), now)
            for delivery in deliveries:
                if delivery.edit:
                    assert queue.grow(delivery, None, now)
                    continue
                number += 1
                queue.add(delivery_post(delivery, reader, queue, [], number, Policy()))
        step = queue.next(now)
        if isinstance(step, SendStep) and overall.ready(now, Lane.URGENT) <= now:
            overall.use(now)
            begun = queue.begin(step, now)
            assert isinstance(begun, SendStep)
            queue.sent(begun.post, len(posted) + 1, now)
            posted.append((now, step.post.message.level, step.post.count, begun.post.body))
    assert posted[0][0] - START <= 2_000
    assert {level for _, level, *_ in posted} == {Level.CRITICAL}
    assert len(posted) <= 5
    for at, *_ in posted:
        assert len([1 for t, *_ in posted if at <= t < at + MINUTE]) <= 18
    (market,) = [post for post in queue.posts.values() if post.open]
    assert len(market.names) == 300
    assert visible(edited(market).html) <= MOST_CHARS


async def test_a_burst_through_the_role_keeps_to_the_limits(redis: Redis, tmp_path: Path) -> None:
    """In real time: what is critical goes first, before anything that came before it."""
    sink, levels = Numbered(), []
    now = time.time_ns() // 1_000_000 - START
    send = sink.send

    async def timed(to, message, **how) -> Receipt:
        levels.append(message.level)
        return await send(to, message, **how)

    sink.send = timed
    storm = [
        msgspec.structs.replace(raised, seen=raised.seen + now, at=raised.at + now)
        for raised in burst()
    ]
    async with running(
        redis, tmp_path, sink, Chat(destination=TelegramChat(-1)), limits=Limits()
    ) as role:
        await until(lambda: role.status().destination)
        pipe = redis.pipeline(transaction=False)
        for raised in storm:
            pipe.xadd(KEYS.alerts, {"a": alerts.encode(raised)})
        await pipe.execute()
        await until(lambda: levels)
    assert levels[0] is Level.CRITICAL


# Failures of the way out, one after the other.


@pytest.mark.parametrize("seed", range(4))
async def test_moods_of_every_kind_lose_nothing(redis: Redis, tmp_path: Path, seed: int) -> None:
    kinds = [
        RetryLater(0.001, "busy", flood=True),
        OutcomeUnknown("lost"),
        Refused("m", RefusalScope.MARKUP),
        0.001,
    ]
    sink = Moody()
    sink.moods = {-1: [kinds[(seed + n * (seed + 1)) % 4] for n in range(10)]}
    async with running(redis, tmp_path, sink) as role:
        await say(redis, *openings("BTC", 3))
        await until(lambda: role.sender.idle() and role.status().sent + role.status().refused >= 3)
        counts = role.status().counts
        assert counts.sent + counts.refused >= 3


@pytest.mark.parametrize("probe", [False, True])
async def test_a_server_that_always_answers_rubbish_gets_a_post_a_few_times_and_operators_hear(
    redis: Redis, tmp_path: Path, probe: bool
) -> None:
    """In a group nothing can be looked for; in a channel looking for it is answered alike."""
    mumbling, operators = (CHANNEL, GROUP) if probe else (GROUP, CHANNEL)
    async with FakeTelegram() as fake:
        telegram = TelegramClient(TOKEN, fake.url, read_timeout=1, connect_timeout=1)
        async with running(
            redis, tmp_path, Sinks(telegram), chat(mumbling), operators=chat(operators)
        ) as role:
            await say(redis, *openings("ETH", 1))
            await until(lambda: role.status().sent == 1)
            fake.mumbles.add(mumbling)
            await say(redis, *openings("BTC", 1))
            await until(lambda: fake.seen(operators), 10)
            fake.mumbles.clear()
            await say(redis, *openings("SOL", 2)[1:])
            await until(lambda: role.sender.idle() and role.status().sent == 3, 10)
        await telegram.close()
        firsts = [post.first.split("\n")[0] for post in fake.seen(mumbling)]
        [trouble] = [post.text for post in fake.seen(operators)]
    assert [sum(name in text for text in firsts) for name in ("ETH", "BTC", "SOL")] == [1, 3, 1]
    assert "perhaps posted: 3 answers could not be read" in trouble


_WHOLE = '{{"message_id": {}, "date": 1, "chat": {{"id": -1, "type": "channel"}}}}'


@pytest.mark.parametrize(
    "result",
    ["true", "[]", "5", *(_WHOLE.format(number) for number in (10**30, 0, -1, "true", '"x"'))],
)
async def test_an_answer_that_names_no_message_is_no_end_of_the_role(
    redis: Redis, tmp_path: Path, result: str
) -> None:
    async with FakeTelegram() as fake:
        fake.rubbish = f'{{"ok": true, "result": {result}}}'.encode()
        telegram = TelegramClient(TOKEN, fake.url, read_timeout=1, connect_timeout=1)
        async with running(
            redis, tmp_path, Sinks(telegram), chat(GROUP), operators=chat(CHANNEL)
        ) as role:
            await say(redis, *openings("ETH", 1))
            await until(lambda: role.status().sent == 1)
            fake.mumbles.add(GROUP)
            await say(redis, *openings("BTC", 1))
            await until(lambda: fake.seen(CHANNEL), 10)
            fake.mumbles.clear()
            await say(redis, *openings("SOL", 1))
            await until(lambda: role.sender.idle() and role.status().sent == 3, 10)
        await telegram.close()
    firsts = [post.first.split("\n")[0] for post in fake.seen(GROUP)]
    assert [sum(name in text for text in firsts) for name in ("ETH", "BTC")] == [1, 3]
    assert "SOL" in fake.seen(GROUP)[-1].text, "the third coin makes it an event of the market"
    assert "perhaps posted: 3 answers could not be read" in fake.seen(CHANNEL)[0].text


async def test_a_delete_that_is_never_answered_clearly_holds_nothing_up_for_ever() -> None:
    queue = ChatQueue(
        "-1", ChatState(destination=TelegramChat(-1), duplicates=(7, 8)), NO_LIMITS, QUICK
    )
    now = 0
    for _ in range(QUICK.probes):
        now = max(now, resting) if isinstance(resting := queue.next(now), int) else now
        assert queue.next(now) == DeleteStep(7)
        queue.undeleted(7, now)
    assert (queue.state.duplicates, queue.state.undeleted) == ((8,), 0)


# Chats that are not ready.


class Unclear(Numbered):
    """Nobody can read what it says of a chat; ``refuses``: nor does it take posts."""

    def __init__(self, refuses: bool = False) -> None:
        super().__init__()
        self.refuses = refuses
        self.checks = 0

    async def check(self, to):
        self.checks += 1
        raise OutcomeUnknown("Telegram's answer cannot be read (TypeError: a field is missing)")

    async def send(self, to, message, **how):
        if self.refuses:
            raise RetryLater(0.01, "Telegram cannot be reached")
        return await super().send(to, message, **how)


async def test_a_chat_that_cannot_be_read_is_posted_to_at_once(tmp_path: Path, redis: Redis):
    sink = Unclear()
    patient = msgspec.structs.replace(QUICK, off=600_000, backoff=(60_000, 60_000))
    async with running(redis, tmp_path, sink, policy=patient) as role:
        await say(redis, *openings("BTC", 1), *openings("ETH", 1, Level.ALERT))
        await until(lambda: len(firsts(sink)) == 2)
        assert role.status().troubled == []
        assert sink.checks == 1


async def test_a_chat_that_moved_is_logged_once_with_where_to_put_it(tmp_path: Path, redis: Redis):
    class Elsewhere(Numbered):
        async def check(self, to):
            if to.chat == -9:
                role.sender.moved(-9, -99)  # as the way to Telegram does
                raise ChatMoved(-99)
            return await super().check(to)

    operators = chat(-9)
    with structlog.testing.capture_logs() as logs:
        async with running(redis, tmp_path, Elsewhere(), operators=operators) as role:
            await until(lambda: [entry for entry in logs if entry["event"] == "chat moved"])
            await until(lambda: [entry for entry in logs if entry.get("to") == "a list"])
    [moved] = [entry for entry in logs if entry["event"] == "chat moved"]
    assert (moved["chat"], moved["now"], moved["put_in"]) == ("-9", "-99", "operators.chat_id")


async def test_a_chat_that_cannot_be_read_is_asked_again_later(tmp_path: Path, redis: Redis):
    sink = Unclear()
    async with running(redis, tmp_path, sink) as role:
        await until(lambda: sink.checks >= 3)
        assert role.status().troubled == []  # it may post all the same
    assert firsts(sink) == []


async def test_what_waits_in_a_chat_that_takes_nothing_is_reported(tmp_path: Path, redis: Redis):
    sink = Unclear(refuses=True)
    async with running(redis, tmp_path, sink, chat(-1), chat(-2)) as role:
        await until(lambda: len(role.sender.queues) == 2)
        await say(redis, *openings("BTC", 1), *openings("ETH", 1, Level.ALERT))
        await until(lambda: role.sender.counts.put_off > 1 and role.status().queued == 4)
        reports = role.status().troubled
        assert [(report.ready, report.reason) for report in reports] == [
            (True, "Telegram cannot be reached")
        ] * 2
        for queue in role.sender.queues.values():
            queue.posts = {
                key: msgspec.structs.replace(post, at=post.at - 121_000)
                for key, post in queue.posts.items()
            }
        first, second = role.status().troubled
    assert {first.chat, second.chat} == {"-1", "-2"}
    assert (first.ready, first.queued) == (True, 2)
    assert first.critical_ms > 120_000
    assert first.reason == "Telegram cannot be reached"


# Bulkheads between destinations, and what is stuck.


@pytest.mark.parametrize("bug", [ValueError("Invalid IPv6 URL"), KeyError("x"), RuntimeError("!")])
async def test_what_a_sink_does_not_foresee_costs_its_destination_alone(
    redis: Redis, tmp_path: Path, bug: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Numbered):
        async def send(self, to, message, **how):
            raise bug

    monkeypatch.setattr("bot.delivery.sender._AFTER_BUG_S", (0.01, 0.02))
    sink, hook = Numbered(), chat(0, destination=WebhookName("mine"))
    with structlog.testing.capture_logs() as logs:
        async with running(redis, tmp_path, Sinks(sink, webhooks=Broken()), chat(-1), hook) as role:
            await say(redis, *openings("BTC", 2))
            await until(lambda: len(firsts(sink)) == 2 and role.sender.counts.put_off >= 3)
            (report,) = role.status().troubled
    assert (report.chat, report.queued) == ("webhook:mine", 2)
    assert report.reason == f"a fault of Lowtide's own, see its log ({type(bug).__name__})"
    assert sum(bool(entry.get("exc_info")) for entry in logs) == 1


async def test_what_a_telegram_chat_does_not_foresee_is_not_repeated_for_ever(
    redis: Redis, tmp_path: Path
) -> None:
    """Nobody knows whether it arrived: given up after a few, and operators hear."""
    sink = Moody()
    sink.moods = {-1: [AttributeError("message_id")] * 50}
    sink.probe = False
    async with running(redis, tmp_path, sink, operators=Chat(destination=TelegramChat(-9))) as role:
        await say(redis, *openings("BTC", 1))
        await until(lambda: firsts(sink, -9) and role.sender.idle())
    assert len(sink.moods[-1]) == 50 - len(QUICK.unread) - 1
    assert "was not posted to -1: perhaps posted" in firsts(sink, -9)[0]


async def test_a_bug_between_requests_costs_its_chat_alone(
    redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.delivery.sender._AFTER_BUG_S", (0.01, 0.02))
    sink, next_step = Numbered(), ChatQueue.next
    bugs = [ZeroDivisionError()] * 3

    def step(queue: ChatQueue, now: int):
        if queue.key == "-1" and queue.waiting() and bugs:
            raise bugs.pop()
        return next_step(queue, now)

    monkeypatch.setattr(ChatQueue, "next", step)
    async with running(redis, tmp_path, sink, chat(-1), chat(-2)):
        await say(redis, *openings("BTC", 1))
        await until(lambda: len(firsts(sink, -2)) == len(firsts(sink, -1)) == 1)
    assert not bugs


async def test_operators_hear_of_a_destination_that_takes_nothing_and_of_its_end(
    redis: Redis, tmp_path: Path
) -> None:
    """By the limit of ``lowtide status``; critical or not, and once for what fails alike."""
    sink, hook = Moody(), chat(0, destination=WebhookName("mine"))
    away = Unclear(refuses=True)
    operators = Chat(destination=TelegramChat(-9))
    ways = Sinks(sink, webhooks=away)
    async with running(redis, tmp_path, ways, chat(-1), hook, operators=operators) as role:
        await say(redis, *openings("BTC", 1, Level.ALERT))
        await until(lambda: firsts(sink) and role.sender.counts.put_off > 1)
        await role.tell_stuck()
        assert role.sender.stuck() == []
        role.sender.set_back(2 * MINUTE + 1)
        for _ in range(3):
            await role.tell_stuck()
        await until(lambda: firsts(sink, -9))
        away.refuses = False
        await until(lambda: role.sender.idle())
        for _ in range(3):
            await role.tell_stuck()
        await until(lambda: len(firsts(sink, -9)) == 2)
    assert firsts(sink, -9) == [
        "⚪ Delivery: webhook:mine has taken nothing for 2 minutes: Telegram cannot be reached. "
        "What waits is tried again while it is news.",
        "⚪ Delivery: webhook:mine takes posts again.",
    ]


@pytest.mark.parametrize(
    ("report", "stuck"),
    [
        ({"queued": 1, "critical_ms": 2 * MINUTE}, False),
        ({"queued": 1, "critical_ms": 2 * MINUTE + 1}, True),
        ({"queued": 1, "failing_ms": 2 * MINUTE}, False),
        ({"queued": 1, "failing_ms": 2 * MINUTE + 1}, True),
        ({"queued": 0, "failing_ms": 10 * MINUTE}, False),  # what waited is no news any more
        ({"queued": 9}, False),
    ],
)
def test_a_destination_is_stuck_while_what_waits_is_not_taken_for_two_minutes(
    report: dict[str, int], stuck: bool
) -> None:
    assert ChatReport(chat="-1", ready=True, **report).stuck is stuck


async def test_what_was_due_before_the_start_has_waited_for_nobody_yet(
    redis: Redis, tmp_path: Path
) -> None:
    """A critical alert of a while ago, found at the start, is late and no fault of its chat."""
    async with running(redis, tmp_path, Unclear(refuses=True)) as role:
        await say(redis, *openings("BTC", 1))
        await until(lambda: role.sender.counts.put_off > 1)
        role.sender.queues["-1"].set_back(3 * MINUTE)  # as if it had been due so long before
        assert [chat.stuck for chat in role.sender.troubled()] == [True]
        assert role.sender.stuck() == []
        role.sender.set_back(2 * MINUTE + 1)
        assert [chat.chat for chat in role.sender.stuck()] == ["-1"]
        role.sender.queues["-1"].turned_off(None, "it blocked the bot", time.time_ns() // 1_000_000)
        assert role.sender.stuck() == []  # operators were told that already


async def test_operators_are_told_of_it_by_themselves_and_of_no_private_chat(
    redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subscriber who blocks the bot, or is away, is the subscriber's affair."""
    monkeypatch.setattr("bot.roles.bot.STUCK_LOOK_S", 0.02)

    class Partly(Moody):
        async def send(self, to, message, **how):
            if to.chat != -9:
                raise RetryLater(0.01, "Telegram cannot be reached")
            return await super().send(to, message, **how)

    sink, operators = Partly(), Chat(destination=TelegramChat(-9))
    await save_subscription(redis, Subscriber(user=7, wants={"liq": ("BTC",)}))
    async with running(redis, tmp_path, sink, chat(-1), chat(7), operators=operators) as role:
        await until(lambda: role._subscribed)
        await say(redis, *openings("BTC", 1))
        await until(lambda: len(role.sender.troubled()) == 2)
        role.sender.set_back(2 * MINUTE + 1)
        await until(lambda: firsts(sink, -9))
    (notice,) = firsts(sink, -9)
    assert notice.startswith("⚪ Delivery: -1 has taken nothing for 2 minutes: ")


async def test_the_chat_of_the_operators_gets_no_notice_of_itself(
    redis: Redis, tmp_path: Path
) -> None:
    operators = Chat(destination=TelegramChat(-9))
    sink = Unclear(refuses=True)
    async with running(redis, tmp_path, sink, chat(-9), operators=operators) as role:
        await say(redis, *openings("BTC", 1))
        await until(lambda: role.sender.counts.put_off > 1)
        role.sender.set_back(2 * MINUTE + 1)
        await role.tell_stuck()
        assert [report.chat for report in role.sender.stuck()] == ["-9"]
        assert len(role.sender.queues["-9"].posts) == 1


async def test_several_chats_that_fail_alike_are_one_notice(redis: Redis, tmp_path: Path) -> None:
    class Partly(Moody):
        async def send(self, to, message, **how):
            if to.chat != -9:
                raise RetryLater(0.01, "Telegram cannot be reached")
            return await super().send(to, message, **how)

    sink, operators = Partly(), Chat(destination=TelegramChat(-9))
    async with running(
        redis, tmp_path, sink, *[chat(-n) for n in range(1, 9)], operators=operators
    ) as role:
        await say(redis, *openings("BTC", 1))
        await until(lambda: len(role.sender.troubled()) == 8)
        role.sender.set_back(2 * MINUTE + 1)
        await role.tell_stuck()
        await until(lambda: firsts(sink, -9))
    (notice,) = firsts(sink, -9)
    assert "and 3 more has taken nothing" in notice


# What a commit costs.


@pytest.mark.parametrize("critical", [True, False])
async def test_only_plans_that_changed_are_written(tmp_path: Path, redis: Redis, critical: bool):
    """Of 1,000 subscribers five want the asset; the plans of the others stay as they are."""
    wants = {True: Filter(assets=frozenset(["BTC"])), False: Filter(assets=frozenset(["ETH"]))}
    chats = [chat(n, filters=(wants[n % 200 == 0],), private=True) for n in range(1, 1_001)]
    commits: list[dict[str, int]] = []
    async with running(redis, tmp_path, Numbered(), *chats) as role:
        await role.resumed.wait()
        write = role._store._write

        async def counted(fields):
            if "cursor" in fields:
                commits.append({name: len(value) for name, value in fields.items()})
            await write(fields)

        role._store._write = counted
        await say(redis, *openings("BTC", 1, Level.CRITICAL if critical else Level.ALERT))
        await until(lambda: commits, 20)
    plans = {name: size for name, size in commits[0].items() if name.startswith("plan ")}
    assert set(plans) == {f"plan {n}" for n in (200, 400, 600, 800, 1_000)}
    assert sum(commits[0].values()) < 20_000
    assert not [name for commit in commits[1:] for name in commit if name.startswith("plan ")]
