"""The outbox in Redis: one hash that only its present owner can write to.

Invariants:
- what was read, what the plans made of it and the posts that follow become durable in one step;
- an earlier owner writes nothing any more once another has claimed the outbox, however late it
  wakes up; nor does a request that was repeated undo what came after it.
"""

import asyncio
import contextlib
import re
import secrets
from collections.abc import Awaitable, Mapping, Sequence
from typing import TypeVar, cast

import msgspec
import structlog
from redis.asyncio import Redis

from bot.delivery.post import ChatState, Post
from bot.delivery.queue import ChatQueue
from bot.destination import telegram_or_console
from bot.plan.planner import PlanState
from bot.plan.releases import ReleaseNotes
from bot.plan.summaries import SummaryPosts
from bot.plan.weekly import WeeklyPosts
from rules.alerts import EpisodeKey
from rules.salvage import salvaged
from streams.bus.connection import Backoff, Keys, Overtaken, retry
from streams.events import Ms

log = structlog.get_logger()

_T = TypeVar("_T")

VERSION = 2
"""Of the records. They are read by their fields' names, so that a new field with a default needs no
other version; whatever else changes does, and then ``_decoded`` turns old records into new ones."""

_CLAIM = """local there = redis.call('HGETALL', KEYS[1])
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'rev', '0', 'version', ARGV[2])
return there"""

_WRITE = """local owner = redis.call('HGET', KEYS[1], 'owner')
if owner and owner ~= ARGV[1] then return 0 end
local rev = tonumber(redis.call('HGET', KEYS[1], 'rev') or '0')
if rev >= tonumber(ARGV[2]) then return 1 end
for i = 3, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('HDEL', KEYS[1], ARGV[i])
  else redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'rev', ARGV[2])
return 1"""
"""Owner, number of this write, then fields and their values; an empty value deletes."""


_ADDRESSED = re.compile(rb"(plan|chat|post( digest)?) https?://")
"""Records of webhooks as they were written before webhooks had names. Nothing of them ever arrived,
and their address is a secret that must not stay in Redis."""


class Loaded(msgspec.Struct, frozen=True):
    """What the outbox held."""

    cursor: str | None
    """How far alerts were read; None: none were."""
    plans: dict[str, PlanState]
    """The plan of each chat and topic, by ``Chat.key``."""
    chats: dict[str, ChatState]
    """What is known of each chat, by the key of its queue."""
    posts: list[Post]
    lost: list[str]
    """What could not be read, in words."""
    seen: Ms = 0
    """When alerts were last committed, by the clock that stamps alerts."""
    weekly: WeeklyPosts = WeeklyPosts()
    """Which weekly reports were posted."""
    summaries: SummaryPosts = SummaryPosts()
    """Which summaries were posted."""
    notes: ReleaseNotes = ReleaseNotes()
    """Of which announcements was told."""


class OutboxStore:
    """Writes one after the other, each durable when it returns. Raises Overtaken."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._key = keys.outbox
        self._owner = secrets.token_hex(8)
        self._written = 0
        self._lock = asyncio.Lock()
        self._backoff = Backoff("the outbox", "bot")

    async def claim(self) -> Loaded:
        """Become the only one who writes; what the outbox holds."""
        reply = await retry(
            self._backoff,
            lambda: cast(
                "Awaitable[list[bytes]]",
                self._redis.eval(_CLAIM, 1, self._key, self._owner, str(VERSION)),
            ),
        )
        flat = cast("list[bytes]", reply)
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        if addressed := [field for field in fields if _ADDRESSED.match(field)]:
            await self._write({field.decode(): b"" for field in addressed})
        return _loaded({key: value for key, value in fields.items() if key not in addressed})

    async def commit(
        self, cursor: str, plans: Mapping[str, PlanState], posts: Sequence[Post], seen: Ms = 0
    ) -> None:
        """The alerts up to ``cursor`` became ``plans``, those that changed, and ``posts``, at
        ``seen`` by the clock that stamps alerts."""
        fields = {"cursor": cursor.encode(), "seen": str(seen).encode()}
        fields |= {f"plan {key}": msgspec.msgpack.encode(plan) for key, plan in plans.items()}
        fields |= {f"post {post.key}": msgspec.msgpack.encode(post) for post in posts}
        await self._write(fields)

    async def keep(self, posts: Sequence[Post]) -> None:
        """New posts that no alert caused."""
        await self._write({f"post {post.key}": msgspec.msgpack.encode(post) for post in posts})

    async def keep_reports(self, posts: Sequence[Post], weekly: WeeklyPosts) -> None:
        """New posts of weekly reports, and which are posted with them, in one step."""
        fields = {f"post {post.key}": msgspec.msgpack.encode(post) for post in posts}
        await self._write(fields | {"weekly": msgspec.msgpack.encode(weekly)})

    async def keep_summaries(self, posts: Sequence[Post], summaries: SummaryPosts) -> None:
        """New posts of summaries, and which are posted with them, in one step."""
        fields = {f"post {post.key}": msgspec.msgpack.encode(post) for post in posts}
        await self._write(fields | {"summaries": msgspec.msgpack.encode(summaries)})

    async def keep_notes(self, posts: Sequence[Post], notes: ReleaseNotes) -> None:
        """New posts of announcements, and what was told with them, in one step."""
        fields = {f"post {post.key}": msgspec.msgpack.encode(post) for post in posts}
        await self._write(fields | {"notes": msgspec.msgpack.encode(notes)})

    async def save(self, *queues: ChatQueue) -> None:
        """All that has changed in ``queues``. It is durable before anything that is written later,
        also if somebody else writes it."""
        fields: dict[str, bytes] = {}
        for queue in queues:
            fields |= {
                f"post {key}": b"" if post is None else msgspec.msgpack.encode(post)
                for key, post in queue.changed.items()
            }
            if queue.state_changed:
                fields[f"chat {queue.key}"] = msgspec.msgpack.encode(queue.state)
            queue.changed, queue.state_changed = {}, False
        if fields:
            await self._write(fields)

    async def forget(self, queue: ChatQueue, plans: Sequence[str]) -> None:
        """A chat that is not served any more, and its plans."""
        fields = {f"post {key}": b"" for key in queue.posts} | {f"chat {queue.key}": b""}
        await self._write(fields | {f"plan {key}": b"" for key in plans})

    async def _write(self, fields: Mapping[str, bytes]) -> None:
        async with self._lock:
            self._written += 1
            number = str(self._written)
            flat = [part for item in fields.items() for part in item]
            done = await retry(
                self._backoff,
                lambda: cast(
                    "Awaitable[int]",
                    self._redis.eval(_WRITE, 1, self._key, self._owner, number, *flat),  # pyright: ignore[reportArgumentType]  # bytes are taken
                ),
            )
            if not done:
                raise Overtaken("another bot role is at work")


async def read_outbox(redis: Redis, keys: Keys) -> tuple[dict[str, PlanState], list[Post]]:
    """The plans by ``Chat.key``, and the posts, of an outbox that stays its owner's. What cannot be
    read is left out: its owner says so."""
    read = cast("Awaitable[dict[bytes, bytes]]", redis.hgetall(keys.outbox))
    plans: dict[str, PlanState] = {}
    posts: list[Post] = []
    for field, value in (await read).items():
        kind, _, key = field.decode().partition(" ")
        with contextlib.suppress(msgspec.MsgspecError):
            if kind == "plan":
                plans[key] = msgspec.msgpack.decode(value, type=PlanState)
            elif kind == "post":
                posts.append(msgspec.msgpack.decode(value, type=Post))
    return plans, posts


def _loaded(fields: Mapping[bytes, bytes]) -> Loaded:
    """What can be read of ``fields``; the rest stays in Redis, is logged and left out."""
    loaded = Loaded(None, {}, {}, [], [])
    cursor: str | None = None
    seen: Ms = 0
    weekly, summaries, notes = WeeklyPosts(), SummaryPosts(), ReleaseNotes()
    for field, value in fields.items():
        kind, _, key = field.decode().partition(" ")
        lost: list[str] = []
        try:
            match kind:
                case "cursor":
                    cursor = value.decode()
                case "seen":
                    seen = int(value)
                case "weekly":
                    weekly = _decoded(value, WeeklyPosts, lost)
                case "summaries":
                    summaries = _decoded(value, SummaryPosts, lost)
                case "notes":
                    notes = _decoded(value, ReleaseNotes, lost)
                case "version" if value.isdigit() and int(value) > VERSION:
                    loaded.lost.append(f"it is of a newer version, {int(value)}")
                case "plan":
                    loaded.plans[key] = _decoded(value, PlanState, lost)
                case "chat":
                    loaded.chats[key] = _chat_state(value, lost)
                case "post":
                    loaded.posts.append(_post(value, lost))
                case _:
                    pass
        except (msgspec.MsgspecError, ValueError) as error:
            lost.append(str(error)[:200])
        if lost:
            log.error("a record of the outbox could not be read in full",
                      record=f"{kind} {key}"[:200], lost=lost[:10])  # fmt: skip
            loaded.lost.append(f"{kind} {key}"[:200])
    return msgspec.structs.replace(
        loaded, cursor=cursor, seen=seen, weekly=weekly, summaries=summaries, notes=notes
    )


def _decoded(data: bytes, kind: type[_T], lost: list[str]) -> _T:
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.ValidationError:  # of another version
        return salvaged(msgspec.msgpack.decode(data), kind, lost)


def _post(data: bytes, lost: list[str]) -> Post:
    """A post, also as written when an episode was called ``oi_drop:1h BTC 1790006400000``."""
    post = _decoded(data, Post, lost)
    if not any(" " in name for name in post.episodes):
        return post
    return msgspec.structs.replace(
        post,
        episodes=tuple(map(_episode, post.episodes)),
        open=tuple(map(_episode, post.open)),
        values_at={_episode(name): at for name, at in post.values_at.items()},
    )


def _episode(name: str) -> str:
    match name.rsplit(" ", 2):
        case [rule, subject, opened_at] if opened_at.isdecimal():
            return str(EpisodeKey(rule, subject, int(opened_at)))
        case _:
            return name


def _chat_state(data: bytes, lost: list[str]) -> ChatState:
    """What is known of a chat, also as written before a destination had a type of its own: as the
    chat's number or name, None for the console."""
    fields = msgspec.msgpack.decode(data, type=dict[str, object])
    if "destination" not in fields:
        chat = cast("int | str | None", fields.pop("chat", None))
        fields["destination"] = msgspec.to_builtins(telegram_or_console(chat))
        data = msgspec.msgpack.encode(fields)
    return _decoded(data, ChatState, lost)
