"""The outbox in motion: a worker for each chat, so that none delays another.

Each step is durable before it is made and after it, see ``bot.delivery.post``. Whatever else goes
out by the same ways (answers, checks, menus) takes its turns here as well, see
``bot.delivery.sinks.Gate``.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TypeVar, assert_never

import msgspec
import structlog

from bot.delivery import pace
from bot.delivery.pace import Lane, Limits, Overall, Pace
from bot.delivery.post import (
    SETTLED,
    ChatReport,
    ChatState,
    DeleteStep,
    DeliveryProblem,
    EditStep,
    Policy,
    Post,
    PostState,
    ProbeStep,
    QueueStep,
    SendStep,
    as_message,
)
from bot.delivery.queue import ChatQueue
from bot.delivery.rendering import Present
from bot.delivery.sinks import (
    SEND_PROBLEMS,
    Busy,
    Edited,
    Later,
    Moved,
    Refused,
    SendProblem,
    Sink,
    Sinks,
    Uncertain,
    What,
)
from bot.delivery.store import Loaded, OutboxStore
from bot.destination import Destination, TelegramChat, queue_key, with_topic
from bot.lang import LANGUAGES
from bot.messages.render import live
from rules.alerts import Alert
from streams.bus.writer import FLUSH_S
from streams.clock import Clock
from streams.durations import MINUTE
from streams.events import Ms

log = structlog.get_logger()

T = TypeVar("T")

_LOOK_S = 0.25
"""A worker that waits for a time looks at the clock so often: a story's clock has its own pace."""

_JITTER = 0.1
_MOST_PACES = 1_000
"""So many chats that get answers only are remembered; then those that wait for nothing are not."""


_Chat = int | str | None
"""A chat of Telegram; None: what goes to no chat."""


STUCK: Ms = 2 * MINUTE
"""A critical post goes first: one that waits for so long says that nothing goes out there."""


class SendCounts(msgspec.Struct):
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
        tell: Callable[[DeliveryProblem], Awaitable[None]],
        limits: Limits | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.lines: dict[str, ChatQueue] = {}
        self.counts = SendCounts()
        self.settled = asyncio.Event()
        self._store = store
        self._sinks = sinks
        self._clock = clock
        self._policy = policy
        self._tell = tell
        self._limits = limits
        self._jitter = jitter
        self._overall: dict[Sink, Overall] = {}
        self._paces: dict[int | str, Pace] = {}
        self._ready: set[str] = set()
        self._check_again: dict[str, Ms] = {}
        self._reasons: dict[str, str] = {}
        self._news: dict[str, asyncio.Event] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._orphans: dict[str, list[Post]] = {}
        self._number = 0
        self._present: Present = {}
        sinks.join(self)

    def load(self, found: Loaded) -> None:
        """Take over what an earlier sender has left; what it was sending is uncertain now."""
        self._number = max((post.number for post in found.posts), default=0)
        for post in found.posts:
            self._orphans.setdefault(post.chat, []).append(post)
        for key, state in found.chats.items():
            self._begin(key, state)

    def line(self, destination: Destination) -> ChatQueue:
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
        self._present = {alert.episode: alert for alert in episodes}
        lines = {
            language: [(str(key), *live(alert, words)) for key, alert in self._present.items()]
            for language, words in LANGUAGES.items()
        }
        for line in self.lines.values():
            line.present = self._present
            for language, told in lines.items():
                line.live(language, told)
            self._news[line.key].set()

    def troubled(self) -> list[ChatReport]:
        """The destinations in which not all is well: not ready yet, refusing the bot, with posts
        that wait since the last request failed, or with something critical that waits for longer
        than ``STUCK``."""
        now = self._clock.seen()
        reports = (self._report(line, now) for line in self.lines.values())
        return [
            chat for chat in reports
            if not chat.ready or (chat.reason and chat.queued) or chat.critical_ms > STUCK
        ]  # fmt: skip

    def _report(self, line: ChatQueue, now: Ms) -> ChatReport:
        open_posts = [post for post in line.posts.values() if post.state not in SETTLED]
        critical = [now - post.at for post in open_posts if post.critical]
        return ChatReport(
            chat=line.key,
            ready=line.key in self._ready and not line.state.off,
            reason=line.state.off or self._reasons.get(line.key, ""),
            queued=len(open_posts),
            critical_ms=max(critical, default=0),
        )

    def idle(self) -> bool:
        """Whether everything is settled."""
        return all(line.idle() for line in self.lines.values())

    def try_again(self) -> None:
        """Somebody has changed something: chats that are off are tried at once."""
        for line in self.lines.values():
            line.try_again()
            self._news[line.key].set()

    async def set_back(self, by: Ms) -> None:
        """The clock was set back ``by`` so much: what waits, waits as long as before."""
        self._paces = {chat: pace.set_back(paced, by) for chat, paced in self._paces.items()}
        for line in list(self.lines.values()):
            line.set_back(by)
            await self._keep(line)
            self._news[line.key].set()

    async def drop(self, key: str, plans: Sequence[str]) -> None:
        """The chat is not served any more; what waits for it is not sent."""
        line = self.lines.pop(key)
        self._ready.discard(key)
        self._check_again.pop(key, None)
        self._reasons.pop(key, None)
        if worker := self._workers.pop(key, None):
            worker.cancel()
        left = len(line.waiting())
        log.info("a chat is not served any more", chat=key, posts_left_out=left)
        await self._store.forget(line, plans)

    async def turn(self, chat: _Chat, patience_s: float, lane: Lane = Lane.ASIDE) -> None:
        """See ``Gate``."""
        now = self._clock.seen()
        deadline = now + round(patience_s * 1000)
        while (free := self._free(chat, lane, now)) > now:
            if free > deadline:
                raise Busy(f"there was no room for one more request within {patience_s:g} s")
            await asyncio.sleep(min((free - now) / 1000, _LOOK_S))
            now = self._clock.seen()
        self._overall_of_telegram.use(now)
        if (line := self._line_at(chat)) is not None:
            line.asked(now)
        elif chat is not None:
            self._paces[chat] = pace.used(self._pace(chat, now), now)

    def flooded(self, chat: _Chat, seconds: float) -> None:
        """See ``Gate``."""
        now = self._clock.seen()
        until = now + round(seconds * 1000)
        if (line := self._line_at(chat)) is not None:
            line.put_off(None, now, until, flood=True)
        elif chat is not None:
            self._paces[chat] = pace.flooded(self._pace(chat, now), now, until)

    def moved(self, chat: int | str, to: int) -> None:
        """See ``Gate``."""
        if (line := self._line_at(chat)) is not None and line.state.moved_to != to:
            line.moved(None, to, self._clock.seen())
            self._ready.discard(line.key)
            self._news[line.key].set()

    def address(self, chat: int | str) -> int | str:
        """See ``Gate``."""
        line = self._line_at(chat)
        return chat if line is None or line.state.moved_to is None else line.state.moved_to

    def _free(self, chat: _Chat, lane: Lane, now: Ms) -> Ms:
        """When one more request that is no post may be made."""
        overall = self._overall_of_telegram.ready(now, lane)
        if chat is None:
            return overall
        line = self._line_at(chat)
        paced = self._pace(chat, now) if line is None else line.state.pace
        limits = self._limits or self._sinks.telegram.limits
        return max(overall, pace.ready(paced, limits, now))

    def _line_at(self, chat: _Chat) -> ChatQueue | None:
        """The line of ``chat``, by what the configuration calls it or where it is now."""
        if chat is None:
            return None
        if (line := self.lines.get(queue_key(TelegramChat(chat)))) is not None:
            return line
        return next((one for one in self.lines.values() if one.state.moved_to == chat), None)

    def _pace(self, chat: int | str, now: Ms) -> Pace:
        """The pace of a chat without a line."""
        if len(self._paces) > _MOST_PACES:
            self._paces = {
                one: paced
                for one, paced in self._paces.items()
                if paced.until > now or (paced.recent and paced.recent[-1] > now - MINUTE)
            }
        return self._paces.get(chat, Pace())

    @property
    def _overall_of_telegram(self) -> Overall:
        sink = self._sinks.telegram
        return self._overall.setdefault(sink, Overall(self._limits or sink.limits))

    async def run(self) -> None:
        """Send for ever. Raises Refused when nothing can be sent at all, and Overtaken."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for line in self.lines.values():
                self._workers[line.key] = tasks.create_task(self._work(line))
            await asyncio.Event().wait()

    def _begin(self, key: str, state: ChatState) -> None:
        posts = self._orphans.pop(key, [])
        sink = self._sinks.of(state.destination)
        limits = self._limits or sink.limits
        self._overall.setdefault(sink, Overall(limits))
        line = self.lines[key] = ChatQueue(key, state, limits, self._policy, posts)
        line.present = self._present
        self._news[key] = asyncio.Event()
        if lost := line.recover():
            self.counts.uncertain += lost
            log.warning("stopped while sending; perhaps posted", chat=key)
        line.try_again()
        if self._tasks is not None:
            self._workers[key] = self._tasks.create_task(self._work(line))

    async def _work(self, line: ChatQueue) -> None:
        while True:
            now = self._clock.seen()
            if line.key not in self._ready or self._check_again.get(line.key, now + 1) <= now:
                if (until := line.resting(now)) > now:
                    await self._rest(line, until)
                else:
                    await self._check(line)
                continue
            step = line.next(now)
            if isinstance(step, SendStep | ProbeStep | EditStep | DeleteStep):
                overall = self._overall[self._sinks.of(line.state.destination)]
                if (free := overall.ready(now, _lane(step))) > now:
                    await self._rest(line, free)
                    continue
                overall.use(now)
                await to_the_end(self._do(line, step), FLUSH_S)
            else:
                due = [at for at in (step, self._check_again.get(line.key)) if at is not None]
                await self._rest(line, min(due, default=None))

    async def _rest(self, line: ChatQueue, until: Ms | None) -> None:
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

    async def _check(self, line: ChatQueue) -> None:
        """Whether the chat can be used; not a precondition for others. An unclear answer is none
        for what waits either: it is sent, and the chat is asked again later."""
        now = self._clock.seen()
        self._check_again.pop(line.key, None)
        try:
            place = await self._sinks.of(line.state.destination).check(line.state.address())
        except Uncertain as error:
            if line.key not in self._ready:
                log.warning("what the chat is cannot be read; it is posted to all the same",
                            chat=line.key, reason=error.reason)  # fmt: skip
            self._ready.add(line.key)
            self._check_again[line.key] = now + self._policy.off
        except (Later, Moved, Refused) as error:
            if isinstance(error, Refused) and error.what is What.ALL:
                raise
            self._failed(line, None, error, now)
        else:
            line.known(place.title, place.probe)
            self._ready.add(line.key)
            self._reasons.pop(line.key, None)
            log.info("ready to send", to=place.title)
        await self._keep(line)

    async def _do(self, line: ChatQueue, step: QueueStep) -> None:
        """One request, with what is durable before and after it."""
        step = line.begin(step, self._clock.seen())
        await self._store.save(line)
        try:
            await self._request(line, step)
        except SEND_PROBLEMS as error:
            self._failed(line, step, error, self._clock.seen())
            if isinstance(error, Refused) and error.what is What.ALL:
                await self._store.save(line)
                raise
        await self._keep(line)
        self.settled.set()

    async def _request(self, line: ChatQueue, step: QueueStep) -> None:
        sink, address = self._sinks.of(line.state.destination), line.state.address
        match step:
            case SendStep(post, reply_to):
                topic = line.topic(post, self._clock.seen())
                receipt = await sink.send(
                    address(topic), as_message(post, post.body), key=post.key,
                    # an answer lands in the topic of what it answers to
                    reply_to=reply_to if topic == post.topic else None, markup=post.markup,
                )  # fmt: skip
                self._sent(line, step, receipt.message_id)
            case ProbeStep(post, message_id):
                found = await sink.edit(
                    address(), message_id, as_message(post, post.body), markup=post.markup
                )
                self._probed(line, step, found)
            case EditStep(post, text, message_id):
                found = await sink.edit(
                    address(), message_id, as_message(post, text), markup=post.markup
                )
                self.counts.edited += found is Edited.CHANGED
                line.edited(step, found, self._clock.seen())
            case DeleteStep(message_id):
                await sink.delete(address(), message_id)
                self.counts.doubles += 1
                log.info("a double was deleted", chat=line.key, message=message_id)
                line.deleted(message_id)
            case _:
                assert_never(step)

    def _sent(self, line: ChatQueue, step: SendStep, message_id: int | None) -> None:
        post = step.post
        self.counts.sent += 1
        self.counts.resent += post.again
        self._reasons.pop(line.key, None)
        line.sent(post, message_id, self._clock.seen())
        log.info("alert told", alert=post.message.alert_id, chat=line.key, message=message_id)

    def _probed(self, line: ChatQueue, step: ProbeStep, found: Edited) -> None:
        line.probed(step, found, self._clock.seen())
        state = line.posts[step.post.key].state
        self.counts.arrived += state is PostState.SENT
        self.counts.sent += state is PostState.SENT
        self.counts.lost += state is PostState.RETRY
        log.info(
            "an uncertain post was looked for", alert=step.post.message.alert_id, chat=line.key,
            message=step.message_id, found=found.value,
        )  # fmt: skip

    def _failed(
        self,
        line: ChatQueue,
        step: QueueStep | None,
        error: SendProblem,
        now: Ms,
    ) -> None:
        """What an error means for the line."""
        post = step.post if isinstance(step, SendStep) else None
        told = "" if post is None else post.message.alert_id
        if not isinstance(error, Moved):
            self._reasons[line.key] = error.reason
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
            case Uncertain():
                log.warning("no clear answer", chat=line.key, alert=told, reason=error.reason)
                self.counts.uncertain += post is not None
                match step:
                    case ProbeStep():
                        line.unprobed(step, now)
                    case DeleteStep(message_id):
                        line.undeleted(message_id, now)
                    case _:
                        line.doubtful(post, now, error.answered)
            case Refused():
                self._refused(line, step, error, now)
            case _:
                assert_never(error)

    def _refused(self, line: ChatQueue, step: QueueStep | None, error: Refused, now: Ms) -> None:
        post = step.post if isinstance(step, SendStep) else None
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

    def _rejected(self, line: ChatQueue, step: QueueStep, error: Refused, now: Ms) -> None:
        """What it means that this one request is refused."""
        match step:
            case SendStep() if error.what is What.MARKUP:
                line.refused_markup(step.post, error.reason, now)
            case SendStep() if error.what is What.TOPIC:
                line.topic_refused(step.post, error.reason, now)
            case SendStep():
                line.refused(step.post, error.reason, now)
            case ProbeStep():
                line.unprobed(step, now)
            case EditStep():
                line.edited(step, Edited.SAME, now)
            case DeleteStep():
                line.deleted(step.message_id)

    async def _keep(self, line: ChatQueue) -> None:
        """Make all changes of ``line`` durable, and say what went wrong."""
        await self._store.save(line)
        troubles, line.troubles = line.troubles, []
        for trouble in troubles:
            await self._tell(trouble)


def _lane(step: QueueStep) -> Lane:
    """Edits can wait; so can posts that are not urgent; a probe and a double hold up their chat."""
    urgent = step.urgent if isinstance(step, SendStep) else not isinstance(step, EditStep)
    return Lane.URGENT if urgent else Lane.POST


async def to_the_end(work: Coroutine[object, object, T], seconds: float) -> T:
    """``work``'s result; when we are cancelled it gets so many seconds to finish all the same."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
