"""Sends what is in the outbox: a worker for each chat's queue, so that none delays another.

Each step is durable before it is made and after it, see ``bot.delivery.post``. Everything else that
goes through the same sinks (answers, checks, menus) takes its turns here as well, see
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
    STUCK,
    ChatReport,
    ChatState,
    DeleteStep,
    DeliveryProblem,
    DrawnPicture,
    EditStep,
    PictureStep,
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
    Busy,
    ChatMoved,
    Edited,
    OutcomeUnknown,
    RefusalScope,
    Refused,
    RetryLater,
    SendError,
    Sink,
    Sinks,
)
from bot.delivery.store import Loaded, OutboxStore
from bot.destination import (
    Destination,
    TelegramChat,
    knows_keys,
    queue_key,
    topic_of,
    with_topic,
)
from bot.plan.planner import Delivery
from rules.alerts import Alert
from streams.bus.connection import Overtaken
from streams.bus.health import HEALTH
from streams.bus.writer import FLUSH_S
from streams.clock import Clock
from streams.durations import MINUTE
from streams.events import Ms
from streams.feed.errors import SayOnce

log = structlog.get_logger()

T = TypeVar("T")

_LOOK_S = 0.25
"""A worker that waits for a time looks at the clock so often: the clock of a demo has its own
pace."""

_JITTER = 0.1
"""A pause is longer by up to this share, so that chats do not all go on at the same moment."""

_AFTER_BUG_S = (1.0, 30.0)
"""The pauses of a chat after a failure that nobody has foreseen: the first and the longest."""

_REFUSED_S = (3.0, 60.0)
"""How long a sink that refuses everything is left alone: at first, and at most."""

_TELEGRAM = "Telegram"
"""Who is failing then: only its token is one for all of its chats."""

_MOST_DRAWN = 20
"""So many pictures are being made at most; posts beyond get none unless there is still time."""

_MOST_PACES = 1_000
"""So many chats that get answers only are remembered; of more, only those that must wait."""


_Chat = int | str | None
"""A chat of Telegram; None: what goes to no chat."""


class SendCounts(msgspec.Struct):
    """What became of posts since the start."""

    sent: int = 0
    edited: int = 0
    put_off: int = 0
    """Requests that were surely not done, and are made again."""
    uncertain: int = 0
    """Posts of which it was unclear whether they arrived."""
    arrived: int = 0
    """Uncertain ones that were found posted."""
    lost: int = 0
    """Uncertain ones that were found not posted."""
    resent: int = 0
    """Sent again in doubt."""
    duplicates: int = msgspec.field(default=0, name="doubles")
    """Duplicates that were deleted. The status has them under the name of earlier versions."""
    refused: int = 0
    off: int = 0
    """How often a chat refused the bot."""


class _Refusal(msgspec.Struct):
    """A sink refuses everything, whatever chat it is for: its token."""

    until: Ms
    """When it is asked again, by one chat for all."""
    wait_s: float
    """How long after the next refusal it is left alone."""


class Sender:
    """Sends what is in the queues of ``store``. A sink that refuses everything is asked again now
    and then; the others do not notice.

    ``limits``: in place of those of the sinks. ``report``: what is done about a delivery problem.
    ``jitter``: between 0 and 1, for pauses. ``draw``: makes the picture that is to follow a post,
    or None where there is none; without it there are no pictures.
    """

    def __init__(
        self,
        store: OutboxStore,
        sinks: Sinks,
        clock: Clock,
        policy: Policy,
        report: Callable[[DeliveryProblem], Awaitable[None]],
        limits: Limits | None = None,
        jitter: Callable[[], float] = random.random,
        draw: Callable[[Post], Awaitable[DrawnPicture | None]] | None = None,
    ) -> None:
        self.queues: dict[str, ChatQueue] = {}
        self.counts = SendCounts()
        self.settled = asyncio.Event()
        """Set whenever a step is done."""
        self._store = store
        self._sinks = sinks
        self._clock = clock
        self._policy = policy
        self._report_problem = report
        self._limits = limits
        self._jitter = jitter
        self._draw = draw
        self._drawing: set[tuple[str, str]] = set()  # chat and post of pictures that are being made
        self._overall: dict[Sink, Overall] = {}
        self._paces: dict[int | str, Pace] = {}
        self._ready: set[str] = set()
        self._check_again: dict[str, Ms] = {}
        self._refusals: dict[Sink, _Refusal] = {}
        self._reasons: dict[str, str] = {}  # why the last request failed, of the chats where it did
        self._failing: dict[str, Ms] = {}  # since when, of the same
        self._began = clock.seen()
        self._bugs = SayOnce()
        self._news: dict[str, asyncio.Event] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._orphans: dict[str, list[Post]] = {}  # loaded posts whose chat has no queue yet
        self._number = 0
        self._present: Present = {}
        sinks.join(self)

    def load(self, loaded: Loaded) -> None:
        """Take over what an earlier sender has left; what it was sending is uncertain now."""
        self._number = max((post.number for post in loaded.posts), default=0)
        for post in loaded.posts:
            self._orphans.setdefault(post.chat, []).append(post)
        for key, state in loaded.chats.items():
            self._begin(key, state)

    def queue(self, destination: Destination) -> ChatQueue:
        """The queue of ``destination``; a new one if there is none."""
        key = queue_key(destination)
        if key not in self.queues:
            self._begin(key, ChatState(destination=with_topic(destination, None)))
            self.queues[key].state_changed = True
        return self.queues[key]

    def number(self) -> int:
        """The place of a new post among all."""
        self._number += 1
        return self._number

    def add(self, posts: Sequence[Post]) -> None:
        """Send posts that have been made durable, as soon as may be."""
        for post in posts:
            self.queues[post.chat].add(post)
            self._news[post.chat].set()
        self.settled.set()

    def live(self, episodes: Sequence[Alert]) -> None:
        """Take what the open episodes are like now; their threads are edited accordingly."""
        self._present = {alert.episode: alert for alert in episodes}
        for queue in self.queues.values():
            queue.present = self._present
            queue.live()
            self._news[queue.key].set()

    def grow(self, delivery: Delivery, to: Destination) -> bool:
        """The post of the delivery's thread shows it from now on. False: there is no such post."""
        queue = self.queue(to)
        grown = queue.grow(delivery, topic_of(to), self._clock.seen())
        self._news[queue.key].set()
        return grown

    def troubled(self) -> list[ChatReport]:
        """The destinations in which not all is well: not ready yet, refusing the bot, with posts
        that wait since the last request failed, or with something critical that waits for longer
        than ``STUCK``."""
        return [
            chat for chat in self._reports()
            if not chat.ready or (chat.reason and chat.queued) or chat.stuck
        ]  # fmt: skip

    def stuck(self) -> list[ChatReport]:
        """The destinations that have got nothing for longer than ``STUCK`` though posts wait, since
        we send; not those that refuse the bot, which is a problem of its own."""
        if self._clock.seen() - self._began <= STUCK:
            return []
        return [
            chat for chat in self._reports() if chat.stuck and not self.queues[chat.chat].state.off
        ]

    def _reports(self) -> list[ChatReport]:
        now = self._clock.seen()
        return [self._report(queue, now) for queue in self.queues.values()]

    def _report(self, queue: ChatQueue, now: Ms) -> ChatReport:
        open_posts = [post for post in queue.posts.values() if post.state not in SETTLED]
        critical = [now - post.at for post in open_posts if post.critical]
        return ChatReport(
            chat=queue.key,
            ready=queue.key in self._ready and not queue.state.off,
            reason=queue.state.off or self._reasons.get(queue.key, ""),
            queued=len(open_posts),
            critical_ms=max(critical, default=0),
            failing_ms=max(0, now - self._failing.get(queue.key, now)),
        )

    def idle(self) -> bool:
        """Whether everything is settled."""
        return all(queue.idle() for queue in self.queues.values())

    def try_again(self) -> None:
        """Somebody has changed something: chats that are off are tried at once."""
        for queue in self.queues.values():
            queue.try_again()
            self._news[queue.key].set()

    def set_back(self, by: Ms) -> None:
        """The clock was set back ``by`` so much, negative: ahead. What waits, waits as long as
        before; ``keep`` is to follow."""
        self._paces = {chat: pace.set_back(paced, by) for chat, paced in self._paces.items()}
        self._failing = {chat: since - by for chat, since in self._failing.items()}
        self._began -= by
        for queue in self.queues.values():
            queue.set_back(by)

    async def keep(self) -> None:
        """Keep all queues as they are now, and look at them again."""
        for queue in list(self.queues.values()):
            await self._keep(queue)
            self._news[queue.key].set()

    async def drop(self, key: str, plans: Sequence[str]) -> None:
        """The chat is not served any more; what waits for it is not sent."""
        queue = self.queues.pop(key)
        self._ready.discard(key)
        self._check_again.pop(key, None)
        self._works(key)
        if worker := self._workers.pop(key, None):
            worker.cancel()
        left = len(queue.waiting())
        log.info("a chat is not served any more", chat=key, posts_left_out=left)
        await self._store.forget(queue, plans)

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
        if (queue := self._queue_of(chat)) is not None:
            queue.count_request(now)
        elif chat is not None:
            self._paces[chat] = pace.used(self._pace(chat, now), now)

    def flooded(self, chat: _Chat, seconds: float) -> None:
        """See ``Gate``."""
        now = self._clock.seen()
        until = now + round(seconds * 1000)
        if (queue := self._queue_of(chat)) is not None:
            queue.put_off(None, now, until, flood=True)
        elif chat is not None:
            self._paces[chat] = pace.flooded(self._pace(chat, now), now, until)

    def moved(self, chat: int | str, to: int) -> None:
        """See ``Gate``."""
        if (queue := self._queue_of(chat)) is not None and queue.state.moved_to != to:
            queue.moved(None, to, self._clock.seen())
            self._ready.discard(queue.key)
            self._news[queue.key].set()

    def address(self, chat: int | str) -> int | str:
        """See ``Gate``."""
        queue = self._queue_of(chat)
        return chat if queue is None or queue.state.moved_to is None else queue.state.moved_to

    def _free(self, chat: _Chat, lane: Lane, now: Ms) -> Ms:
        """When one more request that is no post may be made."""
        overall = self._overall_of_telegram.ready(now, lane)
        if chat is None:
            return overall
        queue = self._queue_of(chat)
        paced = self._pace(chat, now) if queue is None else queue.state.pace
        limits = self._limits or self._sinks.telegram.limits
        return max(overall, pace.ready(paced, limits, now))

    def _queue_of(self, chat: _Chat) -> ChatQueue | None:
        """The queue of ``chat``, by what the configuration calls it or where it is now."""
        if chat is None:
            return None
        if (queue := self.queues.get(queue_key(TelegramChat(chat)))) is not None:
            return queue
        return next((q for q in self.queues.values() if q.state.moved_to == chat), None)

    def _pace(self, chat: int | str, now: Ms) -> Pace:
        """The pace of a chat without a queue."""
        if len(self._paces) > _MOST_PACES:
            self._paces = {
                other: paced
                for other, paced in self._paces.items()
                if paced.until > now or (paced.recent and paced.recent[-1] > now - MINUTE)
            }
        return self._paces.get(chat, Pace())

    @property
    def _overall_of_telegram(self) -> Overall:
        sink = self._sinks.telegram
        return self._overall.setdefault(sink, Overall(self._limits or sink.limits))

    async def run(self) -> None:
        """Send for ever. Raises Overtaken when somebody else has begun to."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for queue in self.queues.values():
                self._workers[queue.key] = tasks.create_task(self._work(queue))
            await asyncio.Event().wait()

    def _begin(self, key: str, state: ChatState) -> None:
        posts = self._orphans.pop(key, [])
        sink = self._sinks.of(state.destination)
        limits = self._limits or sink.limits
        self._overall.setdefault(sink, Overall(limits))
        queue = self.queues[key] = ChatQueue(key, state, limits, self._policy, posts)
        queue.present = self._present
        self._news[key] = asyncio.Event()
        if lost := queue.recover():
            self.counts.uncertain += lost
            log.warning("stopped while sending; perhaps posted", chat=key)
        queue.try_again()
        if self._tasks is not None:
            self._workers[key] = self._tasks.create_task(self._work(queue))

    async def _work(self, queue: ChatQueue) -> None:
        """Send there for ever; a bug that this chat meets costs this chat a while."""
        loop = asyncio.get_running_loop()
        wait, longest = _AFTER_BUG_S
        while True:
            began = loop.time()
            try:
                await self._send_on(queue)
            except Overtaken:
                raise
            except Exception as error:
                now = self._clock.seen()
                if self._is_new(queue, error):
                    log.exception("sending failed as nobody has foreseen", chat=queue.key)
                self._failed(queue, None, OutcomeUnknown(_bug(error)), now)
                queue.recover()
            wait = _AFTER_BUG_S[0] if loop.time() - began > longest else wait
            await asyncio.sleep(wait)
            wait = min(wait * 2, longest)

    async def _send_on(self, queue: ChatQueue) -> None:
        sink = self._sinks.of(queue.state.destination)
        while True:
            now = self._clock.seen()
            if (refusal := self._refusals.get(sink)) is not None and refusal.until > now:
                await self._rest(queue, refusal.until)
                continue
            if queue.key not in self._ready or self._check_again.get(queue.key, now + 1) <= now:
                if (until := queue.resting(now)) > now:
                    await self._rest(queue, until)
                else:
                    self._ask_for_all(sink, now)
                    await self._check(queue)
                continue
            self._draw_wanted(queue, now)
            step = queue.next(now)
            if isinstance(step, SendStep | ProbeStep | EditStep | PictureStep | DeleteStep):
                overall = self._overall[sink]
                if (free := overall.ready(now, _lane(step))) > now:
                    await self._rest(queue, free)
                    continue
                overall.use(now)
                self._ask_for_all(sink, now)
                await to_the_end(self._do(queue, step), FLUSH_S)
            else:
                due = [at for at in (step, self._check_again.get(queue.key)) if at is not None]
                await self._rest(queue, min(due, default=None))

    def _draw_wanted(self, queue: ChatQueue, now: Ms) -> None:
        """Begin to make the pictures that are to follow posts; no post waits for one."""
        if self._draw is None or self._tasks is None:
            return
        for post in queue.pictures_wanted(now):
            name = queue.key, post.key
            if post.key in queue.pictures or name in self._drawing:
                continue
            if len(self._drawing) >= _MOST_DRAWN:
                return
            self._drawing.add(name)
            self._tasks.create_task(self._drawn(self._draw, queue, post))

    async def _drawn(
        self,
        draw: Callable[[Post], Awaitable[DrawnPicture | None]],
        queue: ChatQueue,
        post: Post,
    ) -> None:
        """Make the picture of ``post``; a bug in it costs that picture alone."""
        try:
            picture = await draw(post)
        except Exception as error:
            picture = None
            if self._is_new(queue, error):
                log.exception("a picture failed as nobody has foreseen", chat=queue.key)
        finally:
            self._drawing.discard((queue.key, post.key))
        if picture is None:
            queue.without_picture(post.key)
        else:
            queue.pictures[post.key] = picture
        if self.queues.get(queue.key) is queue:
            self._news[queue.key].set()

    async def _rest(self, queue: ChatQueue, until: Ms | None) -> None:
        """Keep what has changed, then wait for news or until a time."""
        await self._keep(queue)
        news = self._news[queue.key]
        wait = None
        if until is not None:
            wait = min(max(0.001, (until - self._clock.seen()) / 1000), _LOOK_S)
        try:
            async with asyncio.timeout(wait):
                await news.wait()
        except TimeoutError:
            return
        news.clear()

    async def _check(self, queue: ChatQueue) -> None:
        """Ask whether the chat can be used; other chats do not wait for that. After an unclear
        answer its posts are sent all the same, and it is asked again later."""
        now = self._clock.seen()
        self._check_again.pop(queue.key, None)
        try:
            place = await self._known(queue, self._sinks.of(queue.state.destination).check(
                queue.state.address()))  # fmt: skip
        except OutcomeUnknown as error:
            if queue.key not in self._ready:
                log.warning("what the chat is cannot be read; it is posted to all the same",
                            chat=queue.key, reason=error.reason)  # fmt: skip
            self._ready.add(queue.key)
            self._check_again[queue.key] = now + self._policy.off
        except SendError as error:
            self._failed(queue, None, error, now)
        else:
            self._accepted(self._sinks.of(queue.state.destination))
            queue.identified(place.title, place.probe)
            self._ready.add(queue.key)
            self._works(queue.key)
            log.info("ready to send", to=place.title)
        await self._keep(queue)

    async def _do(self, queue: ChatQueue, step: QueueStep) -> None:
        """One request, with what is durable before and after it."""
        step = queue.begin(step, self._clock.seen())
        await self._store.save(queue)
        try:
            await self._known(queue, self._request(queue, step))
        except SendError as error:
            self._failed(queue, step, error, self._clock.seen())
        else:
            self._accepted(self._sinks.of(queue.state.destination))
        await self._keep(queue)
        self.settled.set()

    async def _known(self, queue: ChatQueue, request: Awaitable[T]) -> T:
        """What comes of ``request``, which fails with SendError alone: what a sink does not foresee
        is a failure of this request, in this chat."""
        try:
            return await request
        except SendError:
            raise
        except Exception as error:
            if self._is_new(queue, error):
                log.exception("a request failed as nobody has foreseen", chat=queue.key)
            if knows_keys(queue.state.destination):  # the key makes it safe
                raise RetryLater(_AFTER_BUG_S[1], _bug(error)) from error
            raise OutcomeUnknown(_bug(error), answered=True) from error

    def _is_new(self, queue: ChatQueue, error: Exception) -> bool:
        """Whether the log does not have this fault yet."""
        return self._bugs.is_news(f"{queue.key} {type(error).__name__}", self._clock.seen())

    async def _request(self, queue: ChatQueue, step: QueueStep) -> None:
        sink, address = self._sinks.of(queue.state.destination), queue.state.address
        match step:
            case SendStep(post, reply_to):
                topic = queue.topic(post, self._clock.seen())
                receipt = await sink.send(
                    address(topic), as_message(post, post.body), key=post.key,
                    # an answer lands in the topic of what it answers to
                    reply_to=reply_to if topic == post.topic else None, markup=post.markup,
                )  # fmt: skip
                self._sent(queue, step, receipt.message_id)
            case ProbeStep(post, message_id):
                outcome = await sink.edit(
                    address(), message_id, as_message(post, post.body), markup=post.markup
                )
                self._probed(queue, step, outcome)
            case EditStep(post, text, message_id):
                outcome = await sink.edit(
                    address(), message_id, as_message(post, text), markup=post.markup
                )
                self.counts.edited += outcome is Edited.CHANGED
                queue.edited(step, outcome, self._clock.seen())
            case PictureStep(post, message_id, picture):
                topic = queue.topic(post, self._clock.seen())
                receipt = await sink.picture(
                    address(topic), picture.image, picture.caption, reply_to=message_id
                )
                queue.pictured(receipt.message_id)
                log.info("picture sent", alert=post.message.alert_id, chat=queue.key)
            case DeleteStep(message_id):
                await sink.delete(address(), message_id)
                self.counts.duplicates += 1
                log.info("a duplicate was deleted", chat=queue.key, message=message_id)
                queue.deleted(message_id)
            case _:
                assert_never(step)

    def _sent(self, queue: ChatQueue, step: SendStep, message_id: int | None) -> None:
        post = step.post
        self.counts.sent += 1
        self.counts.resent += post.resend
        self._works(queue.key)
        queue.sent(post, message_id, self._clock.seen())
        log.info("alert told", alert=post.message.alert_id, chat=queue.key, message=message_id)

    def _works(self, key: str) -> None:
        """The last request there did not fail."""
        self._reasons.pop(key, None)
        self._failing.pop(key, None)

    def _probed(self, queue: ChatQueue, step: ProbeStep, outcome: Edited) -> None:
        uncertain = queue.posts[step.post.key].state is PostState.UNCERTAIN
        queue.probed(step, outcome, self._clock.seen())
        state = queue.posts[step.post.key].state
        self.counts.arrived += uncertain and state is PostState.SENT
        self.counts.sent += uncertain and state is PostState.SENT
        self.counts.lost += state is PostState.RETRY
        log.info(
            "an uncertain post was looked for" if uncertain else "a duplicate was looked for",
            alert=step.post.message.alert_id, chat=queue.key, message=step.message_id,
            found=outcome.value,
        )  # fmt: skip

    def _failed(
        self,
        queue: ChatQueue,
        step: QueueStep | None,
        error: SendError,
        now: Ms,
    ) -> None:
        """Apply what ``error`` means for the queue."""
        if isinstance(step, PictureStep):
            self._picture_failed(queue, step, error, now)
            return
        post = step.post if isinstance(step, SendStep) else None
        alert_id = "" if post is None else post.message.alert_id
        if not isinstance(error, ChatMoved):
            self._reasons[queue.key] = error.reason
            self._failing.setdefault(queue.key, now)
        match error:
            case RetryLater():
                self.counts.put_off += 1
                wait = round(error.seconds * 1000 * (1 + _JITTER * self._jitter()))
                queue.put_off(post, now, now + wait, error.flood, in_doubt=error.in_doubt)
                log.warning("put off", chat=queue.key, alert=alert_id, reason=error.reason,
                            next_try_s=round(wait / 1000, 1))  # fmt: skip
            case ChatMoved():
                queue.moved(post, error.chat, now)
                self._ready.discard(queue.key)
            case OutcomeUnknown():
                log.warning("no clear answer", chat=queue.key, alert=alert_id, reason=error.reason)
                self.counts.uncertain += post is not None
                match step:
                    case ProbeStep():
                        queue.unprobed(step, now)
                    case DeleteStep(message_id):
                        queue.undeleted(message_id, now)
                    case _:
                        queue.outcome_unknown(post, now, error.answered)
            case Refused():
                self._refused(queue, step, error, now)
            case _:
                raise error  # no sink raises another kind

    def _picture_failed(
        self, queue: ChatQueue, step: PictureStep, error: SendError, now: Ms
    ) -> None:
        """It is left out: its post has arrived, and those that follow are not to wait for it."""
        alert_id = step.post.message.alert_id
        log.warning("a picture was left out", chat=queue.key, alert=alert_id, reason=error.reason)
        match error:
            case RetryLater() if error.flood:
                queue.put_off(None, now, now + round(error.seconds * 1000), flood=True)
            case ChatMoved():
                queue.moved(None, error.chat, now)
                self._ready.discard(queue.key)
            case OutcomeUnknown():
                queue.pictured(None)
            case _:
                pass

    def _refused(self, queue: ChatQueue, step: QueueStep | None, error: Refused, now: Ms) -> None:
        post = step.post if isinstance(step, SendStep) else None
        if error.scope is RefusalScope.ALL:
            self._refuses_all(queue, post, error, now)
        elif step is None or error.scope is RefusalScope.CHAT:
            self.counts.off += 1
            queue.turned_off(post, error.reason, now)
            log.error(f"nothing is sent to {queue.key} for now: {error.reason}")
        else:
            self.counts.refused += 1
            self._rejected(queue, step, error, now)

    def _refuses_all(self, queue: ChatQueue, post: Post | None, error: Refused, now: Ms) -> None:
        """Everything of this sink waits. One such answer may be a mistake of the moment, so it is
        asked again within seconds; what lasts is mended by a person."""
        sink = self._sinks.of(queue.state.destination)
        first, longest = _REFUSED_S
        refusal = self._refusals.setdefault(sink, _Refusal(now, first))
        refusal.until = now + round(refusal.wait_s * 1000)
        refusal.wait_s = min(2 * refusal.wait_s, longest)
        queue.put_off(post, now, refusal.until)
        HEALTH.failing(_TELEGRAM, error.reason)
        log.error(f"nothing is sent for now: {error.reason}", chat=queue.key,
                  next_try_s=round((refusal.until - now) / 1000, 1))  # fmt: skip

    def _ask_for_all(self, sink: Sink, now: Ms) -> None:
        """If this sink refuses everything, the others of its chats wait for what it says now."""
        if (refusal := self._refusals.get(sink)) is not None:
            refusal.until = now + round(_REFUSED_S[0] * 1000)

    def _accepted(self, sink: Sink) -> None:
        """It did something: whatever it refused before, it does not refuse everything any more."""
        if self._refusals.pop(sink, None) is not None:
            HEALTH.works(_TELEGRAM)
            log.info("requests are accepted again")
            for news in self._news.values():
                news.set()

    def _rejected(self, queue: ChatQueue, step: QueueStep, error: Refused, now: Ms) -> None:
        """Apply that this one request is refused."""
        match step:
            case SendStep() if error.scope is RefusalScope.MARKUP:
                queue.refused_markup(step.post, error.reason, now)
            case SendStep() if error.scope is RefusalScope.TOPIC:
                queue.topic_refused(step.post, error.reason, now)
            case SendStep():
                queue.refused(step.post, error.reason, now)
            case ProbeStep():
                queue.unprobed(step, now)
            case EditStep() if error.scope is RefusalScope.MARKUP and step.post.markup:
                queue.refused_edit_markup(step)
            case EditStep():
                queue.edited(step, Edited.SAME, now)
            case DeleteStep():
                queue.deleted(step.message_id)
            case PictureStep():
                pass  # it is left out

    async def _keep(self, queue: ChatQueue) -> None:
        """Make all changes of ``queue`` durable, and report its problems."""
        await self._store.save(queue)
        problems, queue.problems = queue.problems, []
        for problem in problems:
            if problem.alert:
                log.error("a post was given up", chat=problem.chat, alert=problem.alert,
                          reason=problem.reason)  # fmt: skip
            await self._report_problem(problem)


def _bug(error: Exception) -> str:
    return f"a fault of Lowtide's own, see its log ({type(error).__name__})"


def _lane(step: QueueStep) -> Lane:
    """Edits and pictures can wait, and posts that are not urgent; a probe and a deletion hold up
    their chat."""
    aside = isinstance(step, EditStep | PictureStep)
    urgent = step.urgent if isinstance(step, SendStep) else not aside
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
