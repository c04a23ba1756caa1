"""The outbox in motion: a worker for each chat, so that none delays another.

Each step is durable before it is made and after it, see ``bot.outbox``.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import assert_never

import msgspec
import structlog

from bot.destination import Destination, queue_key, with_topic
from bot.episodes import live
from bot.lang import LANGUAGES
from bot.limiter import Limits, Overall
from bot.line import Line
from bot.outbox import ChatState, Policy, Post, State, as_message, episode
from bot.outbox_store import Loaded, OutboxStore
from bot.roles import FLUSH_S, to_the_end
from bot.sinks import Edited, Later, Moved, Refused, Sinks, Uncertain, What
from bot.steps import Delete, Edit, Probe, Send, Step, Trouble
from rules.alerts import Alert
from streams.clock import Clock
from streams.events import Ms

log = structlog.get_logger()

_LOOK_S = 0.25
"""A worker that waits for a time looks at the clock so often: a story's clock has its own pace."""

_JITTER = 0.1


class Counts(msgspec.Struct):
    """What became of posts since the start. ``arrived``: uncertain ones that were found posted;
    ``lost``: found not posted; ``resent``: sent again in doubt; ``doubles``: deleted again."""

    sent: int = 0
    edited: int = 0
    put_off: int = 0
    uncertain: int = 0
    arrived: int = 0
    lost: int = 0
    resent: int = 0
    doubles: int = 0
    refused: int = 0
    off: int = 0


class Sender:
    """Sends what is in the lines of ``store``.

    ``limits``: in place of those of the sinks. ``tell``: what is done about a trouble. ``settled``
    is set whenever a step is done. ``jitter``: between 0 and 1, for pauses.
    """

    def __init__(
        self,
        store: OutboxStore,
        sinks: Sinks,
        clock: Clock,
        policy: Policy,
        tell: Callable[[Trouble], Awaitable[None]],
        limits: Limits | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.lines: dict[str, Line] = {}
        self.counts = Counts()
        self.settled = asyncio.Event()
        self._store = store
        self._sinks = sinks
        self._clock = clock
        self._policy = policy
        self._tell = tell
        self._limits = limits
        self._jitter = jitter
        self._overall = Overall(limits or Limits())
        self._ready: set[str] = set()
        self._news: dict[str, asyncio.Event] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._orphans: dict[str, list[Post]] = {}
        self._number = 0

    def load(self, found: Loaded) -> None:
        """Take over what an earlier sender has left; what it was sending is uncertain now."""
        self._number = max((post.number for post in found.posts), default=0)
        for post in found.posts:
            self._orphans.setdefault(post.chat, []).append(post)
        for key, state in found.chats.items():
            self._begin(key, state)

    def line(self, destination: Destination) -> Line:
        """The line of ``destination``, a new one if there is none."""
        key = queue_key(destination)
        if key not in self.lines:
            self._begin(key, ChatState(destination=with_topic(destination, None)))
            self.lines[key].state_changed = True
        return self.lines[key]

    def number(self) -> int:
        """The place of a new post among all."""
        self._number += 1
        return self._number

    def add(self, posts: Sequence[Post]) -> None:
        """Posts that have been kept are sent as soon as may be."""
        for post in posts:
            self.lines[post.chat].add(post)
            self._news[post.chat].set()
        self.settled.set()

    def live(self, episodes: Sequence[Alert]) -> None:
        """What the open episodes look like now; their openings are edited in time."""
        said = {
            language: [(episode(alert), *live(alert, words)) for alert in episodes]
            for language, words in LANGUAGES.items()
        }
        for line in self.lines.values():
            for language, told in said.items():
                line.live(language, told)
            self._news[line.key].set()

    def idle(self) -> bool:
        """Whether everything is settled."""
        return all(line.idle() for line in self.lines.values())

    def try_again(self) -> None:
        """Somebody has changed something: chats that are off are tried at once."""
        for line in self.lines.values():
            line.try_again()
            self._news[line.key].set()

    async def drop(self, key: str, plans: Sequence[str]) -> None:
        """The chat is not served any more; what waits for it is not sent."""
        line = self.lines.pop(key)
        if worker := self._workers.pop(key, None):
            worker.cancel()
        left = len(line.waiting())
        log.info("a chat is not served any more", chat=key, posts_left_out=left)
        await self._store.forget(line, plans)

    async def run(self) -> None:
        """Send for ever. Raises Refused when nothing can be sent at all, and Overtaken."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for line in self.lines.values():
                self._workers[line.key] = tasks.create_task(self._work(line))
            await asyncio.Event().wait()

    def _begin(self, key: str, state: ChatState) -> None:
        posts = self._orphans.pop(key, [])
        limits = self._limits or self._sinks.of(state.destination).limits
        line = self.lines[key] = Line(key, state, limits, self._policy, posts)
        self._news[key] = asyncio.Event()
        if lost := line.recover():
            self.counts.uncertain += lost
            log.warning("stopped while sending; perhaps posted", chat=key)
        line.try_again()
        if self._tasks is not None:
            self._workers[key] = self._tasks.create_task(self._work(line))

    async def _work(self, line: Line) -> None:
        while True:
            now = self._clock.seen()
            if line.key not in self._ready:
                if (until := line.resting(now)) > now:
                    await self._rest(line, until)
                else:
                    await self._check(line)
                continue
            step = line.next(now)
            if isinstance(step, Send | Probe | Edit | Delete):
                if (free := self._overall.ready(now)) > now:
                    await self._rest(line, free)
                    continue
                self._overall.use(now)
                await to_the_end(self._do(line, step), FLUSH_S)
            else:
                await self._rest(line, step)

    async def _rest(self, line: Line, until: Ms | None) -> None:
        """Keep what has changed, then wait for news or until a time."""
        await self._keep(line)
        news = self._news[line.key]
        wait = None
        if until is not None:
            wait = min(max(0.001, (until - self._clock.seen()) / 1000), _LOOK_S)
        try:
            async with asyncio.timeout(wait):
                await news.wait()
        except TimeoutError:
            return
        news.clear()

    async def _check(self, line: Line) -> None:
        """Whether the chat can be used; not a precondition for others."""
        now = self._clock.seen()
        try:
            place = await self._sinks.of(line.state.destination).check(line.state.address())
        except (Later, Moved, Refused, Uncertain) as error:
            if isinstance(error, Refused) and error.what is What.ALL:
                raise
            self._failed(line, None, error, now)
        else:
            line.known(place.title, place.probe)
            self._ready.add(line.key)
            log.info("ready to send", to=place.title)
        await self._keep(line)

    async def _do(self, line: Line, step: Step) -> None:
        """One request, with what is durable before and after it."""
        step = line.begin(step, self._clock.seen())
        await self._store.save(line)
        try:
            await self._request(line, step)
        except (Later, Moved, Refused, Uncertain) as error:
            self._failed(line, step, error, self._clock.seen())
            if isinstance(error, Refused) and error.what is What.ALL:
                await self._store.save(line)
                raise
        await self._keep(line)
        self.settled.set()

    async def _request(self, line: Line, step: Step) -> None:
        sink, address = self._sinks.of(line.state.destination), line.state.address
        match step:
            case Send(post, reply_to):
                receipt = await sink.send(
                    address(post.topic), as_message(post, post.body),
                    key=post.key, reply_to=reply_to, markup=post.markup,
                )  # fmt: skip
                self._sent(line, step, receipt.message_id)
            case Probe(post, message_id):
                found = await sink.edit(
                    address(), message_id, as_message(post, post.body), markup=post.markup
                )
                self._probed(line, step, found)
            case Edit(post, text, message_id):
                found = await sink.edit(
                    address(), message_id, as_message(post, text), markup=post.markup
                )
                self.counts.edited += found is Edited.CHANGED
                line.edited(step, found, self._clock.seen())
            case Delete(message_id):
                await sink.delete(address(), message_id)
                self.counts.doubles += 1
                log.info("a double was deleted", chat=line.key, message=message_id)
                line.deleted(message_id)
            case _:
                assert_never(step)

    def _sent(self, line: Line, step: Send, message_id: int | None) -> None:
        post = step.post
        self.counts.sent += 1
        self.counts.resent += post.again
        line.sent(post, message_id, self._clock.seen())
        log.info("alert told", alert=post.message.alert_id, chat=line.key, message=message_id)

    def _probed(self, line: Line, step: Probe, found: Edited) -> None:
        line.probed(step, found, self._clock.seen())
        state = line.posts[step.post.key].state
        self.counts.arrived += state is State.SENT
        self.counts.sent += state is State.SENT
        self.counts.lost += state is State.RETRY
        log.info(
            "an uncertain post was looked for", alert=step.post.message.alert_id, chat=line.key,
            message=step.message_id, found=found.value,
        )  # fmt: skip

    def _failed(
        self,
        line: Line,
        step: Step | None,
        error: Later | Moved | Refused | Uncertain,
        now: Ms,
    ) -> None:
        """What an error means for the line."""
        post = step.post if isinstance(step, Send) else None
        told = "" if post is None else post.message.alert_id
        match error:
            case Later():
                self.counts.put_off += 1
                wait = round(error.seconds * 1000 * (1 + _JITTER * self._jitter()))
                line.put_off(post, now, now + wait, error.flood)
                log.warning("put off", chat=line.key, alert=told, reason=error.reason,
                            next_try_s=round(wait / 1000, 1))  # fmt: skip
            case Moved():
                line.moved(post, error.chat, now)
                self._ready.discard(line.key)
                log.warning("chat moved", chat=line.key, now=error.chat, put_in="chat_id")
            case Uncertain():
                log.warning("no clear answer", chat=line.key, alert=told, reason=error.reason)
                self.counts.uncertain += post is not None
                if isinstance(step, Probe):
                    line.unprobed(step, now)
                else:
                    line.doubtful(post, now)
            case Refused():
                self._refused(line, step, error, now)
            case _:
                assert_never(error)

    def _refused(self, line: Line, step: Step | None, error: Refused, now: Ms) -> None:
        post = step.post if isinstance(step, Send) else None
        told = "" if post is None else post.message.alert_id
        if error.what is What.ALL and post is not None:
            line.put_off(post, now, now)
        elif step is None or error.what is What.CHAT:
            self.counts.off += 1
            line.turned_off(post, error.reason, now)
            log.error(f"nothing is sent to {line.key} for now: {error.reason}")
        elif error.what is not What.ALL:
            log.error("refused", chat=line.key, alert=told, reason=error.reason)
            self.counts.refused += 1
            self._rejected(line, step, error, now)

    def _rejected(self, line: Line, step: Step, error: Refused, now: Ms) -> None:
        """What it means that this one request is refused."""
        match step:
            case Send() if error.what is What.MARKUP:
                line.refused_markup(step.post, error.reason, now)
            case Send():
                line.refused(step.post, error.reason, now)
            case Probe():
                line.unprobed(step, now)
            case Edit():
                line.edited(step, Edited.SAME, now)
            case Delete():
                line.deleted(step.message_id)

    async def _keep(self, line: Line) -> None:
        """Make all changes of ``line`` durable, and say what went wrong."""
        await self._store.save(line)
        troubles, line.troubles = line.troubles, []
        for trouble in troubles:
            await self._tell(trouble)
