"""The bot role: what ``bot/roles/bot.py`` and the sender do around the plan and the queue.

One chat. Not modelled: the limit of all chats together, subscribers, commands, the operators' chat.
"""

from collections.abc import Callable

import msgspec

from bot.config import Settings
from bot.config.recipients import chats
from bot.delivery.outgoing import delivery_post
from bot.delivery.pace import Limits
from bot.delivery.post import (
    ChatState,
    DeleteStep,
    EditStep,
    Policy,
    Post,
    PostState,
    ProbeStep,
    QueueStep,
    SendStep,
)
from bot.delivery.queue import ChatQueue
from bot.delivery.sinks import Edited, OutcomeUnknown, Receipt, RetryLater, SendError
from bot.destination import queue_key, with_topic
from bot.plan import planner
from bot.plan.planner import Delivery, PlanState
from rules import alerts
from rules.alerts import Alert
from rules.snapshot import OpenEpisodes
from streams.clock import STEP, WallClock
from streams.durations import MINUTE, SECOND
from streams.events import Ms
from tests.simulate.redis_model import Crash, Killed, RedisModel
from tests.simulate.telegram_model import Outcome, TelegramModel

LIVE_EVERY = 10 * SECOND
TIDY_EVERY = MINUTE


class BotModel:
    """One process: it begins from what is durable."""

    def __init__(
        self,
        settings: Settings,
        redis: RedisModel,
        crash: Crash,
        clock: WallClock,
        telegram: TelegramModel,
        dying: Callable[[], None],
    ) -> None:
        """``dying``: it was killed where nobody but the agenda waits for it."""
        self.alive = True
        self.chat = chats(settings)[0]
        self._redis = redis
        self._crash = crash
        self._clock = clock
        self._telegram = telegram
        self._dying = dying
        self._policy = Policy()
        self._busy = False
        self._rest_until: Ms | None = 0
        outbox = redis.outbox
        self._cursor = int(outbox.get("cursor", b"0"))
        plan = outbox.get("plan")
        self.plan = planner.load(plan) if plan else PlanState()
        key = queue_key(self.chat.destination)
        state = outbox.get("chat")
        self.queue = ChatQueue(
            key,
            msgspec.msgpack.decode(state, type=ChatState)
            if state
            else ChatState(destination=with_topic(self.chat.destination, None)),
            Limits(),
            self._policy,
            [
                msgspec.msgpack.decode(value, type=Post)
                for name, value in outbox.items()
                if name.startswith("post ")
            ],
        )
        self.queue.recover()
        self.queue.try_again()
        self.queue.identified("the channel", True)
        self._number = max((post.number for post in self.queue.posts.values()), default=0)
        times = [post.edited_at or post.at for post in self.queue.posts.values()]
        self._latest = max([int(outbox.get("seen", b"0")), *times, self.plan.now])
        self._mind_clock()
        self.look()
        self._edit(planner.grown(self.plan, self.chat))

    def work(self) -> None:
        """Read, plan, keep; then send what is next."""
        redis = self._redis
        self._mind_clock()
        batch = redis.alerts[self._cursor :]
        due = planner.next_due(self.plan)
        if batch or (due is not None and due <= self._clock.seen()):
            self._take(batch)
            self._rest_until = 0
        self.send()

    def look(self) -> None:
        """Take what the open episodes are like now."""
        if not self._redis.episodes:
            return
        seen = msgspec.msgpack.decode(self._redis.episodes, type=OpenEpisodes)
        self.queue.present = {alert.episode: alert for alert in seen.episodes}
        self.queue.live()
        self._rest_until = 0

    def tidy(self) -> None:
        """Forget what was settled long ago."""
        self.queue.prune(self._clock.seen())
        self._save()

    def _mind_clock(self) -> None:
        now = self._clock.seen()
        back = self._latest - now
        if back <= STEP:
            self._latest = max(self._latest, now)
            return
        self._latest = now
        self.plan = planner.set_back(self.plan, back, now)
        self._commit([])
        self.queue.set_back(back)
        self._save()

    def _take(self, batch: list[bytes]) -> None:
        turns = [alerts.decode(data) for data in batch]
        market_alerts = [turn for turn in turns if isinstance(turn, Alert)]
        posts: list[Post] = []
        self.plan, deliveries = planner.plan(
            self.plan, market_alerts, self.chat, (), self._clock.seen()
        )
        for delivery in deliveries:
            if not delivery.edit:
                posts.append(self._post(delivery, posts))
        self._cursor += len(batch)
        self._commit(posts)
        for post in posts:
            self.queue.add(post)
        self._edit([delivery for delivery in deliveries if delivery.edit])

    def _post(self, delivery: Delivery, posts: list[Post]) -> Post:
        self._number += 1
        return delivery_post(delivery, self.chat, self.queue, posts, self._number, self._policy)

    def _edit(self, deliveries: list[Delivery]) -> None:
        """The posts of threads show what is so; those that have none get new ones."""
        posts: list[Post] = []
        for delivery in deliveries:
            grown = self.queue.grow(delivery, None, self._clock.seen())
            if not (grown or delivery.into or delivery.since):
                anew = msgspec.structs.replace(delivery, edit=False)
                posts.append(self._post(anew, posts))
        if posts:
            self._commit(posts)
        for post in posts:
            self.queue.add(post)
        if deliveries:
            self._save()

    def _commit(self, posts: list[Post]) -> None:
        """What was read, what the plan made of it, and the posts, in one step."""
        fields = {
            "cursor": str(self._cursor).encode(),
            "seen": str(self._latest).encode(),
            "plan": planner.dump(self.plan),
        }
        fields |= {f"post {post.key}": msgspec.msgpack.encode(post) for post in posts}
        self._redis.write(fields, self._crash)

    def _save(self) -> None:
        queue = self.queue
        fields = {
            f"post {key}": b"" if post is None else msgspec.msgpack.encode(post)
            for key, post in queue.changed.items()
        }
        if queue.state_changed:
            fields["chat"] = msgspec.msgpack.encode(queue.state)
        queue.changed, queue.state_changed = {}, False
        self._redis.write(fields, self._crash)

    # ── sending ─────────────────────────────────────────────────────────

    def send(self) -> None:
        """Make the next step, if nothing is under way."""
        now = self._clock.seen()
        if self._busy or self._rest_until is None or now < self._rest_until:
            return
        step = self.queue.next(now)
        if not isinstance(step, SendStep | ProbeStep | EditStep | DeleteStep):
            self._rest_until = step
            self._save()
            return
        step = self.queue.begin(step, now)
        self._save()
        self._busy = True
        self._request(step)

    def _request(self, step: QueueStep) -> None:
        telegram = self._telegram

        def take(outcome: Outcome) -> None:
            if self.alive:
                self._answered(step, outcome)

        match step:
            case SendStep(post, reply_to):
                telegram.send(post.key, post.body, reply_to, take)
            case ProbeStep(post, number):
                telegram.edit(number, post.body, take)
            case EditStep(_, text, number):
                telegram.edit(number, text, take)
            case DeleteStep(number):
                telegram.delete(number, take)

    def _answered(self, step: QueueStep, outcome: Outcome) -> None:
        self._busy, self._rest_until = False, 0
        now = self._clock.seen()
        self._apply(step, outcome, now)
        try:
            self._save()
            self.send()
        except Killed:
            self._dying()

    def _apply(self, step: QueueStep, outcome: Outcome, now: Ms) -> None:
        """What the sender does with an outcome."""
        queue = self.queue
        match step, outcome:
            case _, SendError():
                self._failed(step, outcome, now)
            case SendStep(), Receipt():
                queue.sent(step.post, outcome.message_id, now)
            case ProbeStep(), Edited():
                queue.probed(step, outcome, now)
            case EditStep(), Edited():
                queue.edited(step, outcome, now)
            case DeleteStep(), _:
                queue.deleted(step.message_id)
            case _:
                raise AssertionError(f"{outcome} is no answer to {step}")

    def _failed(self, step: QueueStep, error: SendError, now: Ms) -> None:
        queue, post = self.queue, step.post if isinstance(step, SendStep) else None
        match error:
            case RetryLater():
                queue.put_off(post, now, now + round(error.seconds * 1000), error.flood)
            case OutcomeUnknown():
                match step:
                    case ProbeStep():
                        queue.unprobed(step, now)
                    case DeleteStep(number):
                        queue.undeleted(number, now)
                    case _:
                        queue.outcome_unknown(post, now, error.answered)
            case _:
                raise AssertionError(f"no fault of the model says {error!r}")

    def unsettled(self) -> list[Post]:
        """Posts that are neither sent nor given up."""
        settled = (PostState.SENT, PostState.EXPIRED, PostState.FAILED)
        return [post for post in self.queue.posts.values() if post.state not in settled]
