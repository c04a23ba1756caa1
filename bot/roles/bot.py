"""Alerts → posts in every chat: reads, plans, makes it durable; the sender does the rest."""

import asyncio
import contextlib
import functools
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from bot.commands import store
from bot.commands.updates import MessageChat
from bot.config import Settings
from bot.config.recipients import (
    chats,
    messenger_chats,
    operators_language,
    rule_names,
    subscribed_chats,
    webhook_chats,
)
from bot.config.reload import ConfigWatch, Rejected, checked, on_sighup, with_addresses_of
from bot.delivery.alarms import Alarms
from bot.delivery.fate import AlertFate, alert_fate
from bot.delivery.outgoing import (
    delivery_post,
    gone_rules_message,
    gone_subscriptions_message,
    missing_report_message,
    notice_post,
    problem_message,
    recap_post,
    release_post,
    report_posts,
    summary_posts,
)
from bot.delivery.pace import Limits
from bot.delivery.post import ChatReport, DeliveryProblem, DrawnPicture, Policy, Post
from bot.delivery.rendering import alerts_of
from bot.delivery.sender import SendCounts, Sender
from bot.delivery.sinks import Sinks
from bot.delivery.store import OutboxStore
from bot.destination import TelegramChat, queue_key, topic_of
from bot.lang import LANGUAGES
from bot.messages.notices import apart_notice, clock_notice, notice_message, state_notice
from bot.pictures.maker import PictureFailed, PictureMaker
from bot.pictures.subject import (
    alert_subject,
    picture_caption,
    week_caption,
    week_subject,
    zone_of,
)
from bot.plan import planner, silences
from bot.plan.planner import Chat, Delivery, PlanState, set_back
from bot.plan.releases import ReleaseNotes, due_notes, with_noted
from bot.plan.silences import Silence
from bot.plan.subscriptions import Subscriber, gone_rules
from bot.plan.summaries import not_ahead, span_of, with_summaries
from bot.plan.weekly import with_posted, without_future
from bot.roles import report, role, rss_mb
from bot.roles.summaries import Summaries
from bot.roles.weekly import Maker, WeeklyReports, make_report
from rules import alerts
from rules.alerts import Alert, EpisodeKey, Notice
from rules.snapshot import OpenEpisodes
from streams.bus.connection import START, Backoff, Keys, StreamReader, retry
from streams.clock import APART, STEP, Clock, FollowingClock, WallClock, wall_ms
from streams.durations import HOUR, MINUTE
from streams.events import FaultCode, Ms, clock_stepped

log = structlog.get_logger()

NEWS_MS: Ms = 2 * HOUR
"""How far back the first start ever looks for alerts."""

TIDY_S = 60.0
_FIRST_LOOKS = 8
LIVE_S = 10.0
_COMPARE_S = 0.5
SUBSCRIBERS_S = 2.0
STUCK_LOOK_S = 5.0
REPORT_LOOK_S = 20.0
_PRICES_FRESH: Ms = MINUTE
_CALENDAR_FRESH: Ms = HOUR
"""So long after the rules fell silent what calendars said is still so."""

_NAMED = 5
_REPORTED = 20
_SAME_CLOCK: Ms = 5 * MINUTE
"""The rules say within this time that the clock was set back, if it is the clock of the bot too."""


class Audience(msgspec.Struct, frozen=True, kw_only=True):
    """Who gets alerts and notices."""

    chats: tuple[Chat, ...]
    """They get alerts."""
    operators: Chat | None = None
    """They get notices and delivery problems; None: the log does."""


def audience(settings: Settings, subscriptions: Sequence[Subscriber] = ()) -> Audience:
    """The chats of ``settings``, and those of subscribers. Without a token, operators have the
    log and nobody has subscribed."""
    operators = settings.operators.chat_id if settings.token is not None else None
    subscribed = subscribed_chats(subscriptions, settings) if settings.token is not None else ()
    return Audience(
        chats=(*chats(settings), *webhook_chats(settings), *messenger_chats(settings), *subscribed),
        operators=None
        if operators is None
        else Chat(destination=TelegramChat(operators), language=operators_language(settings)),
    )


class BotStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status of the bot role."""

    seen: Ms
    """Our clock."""
    rss_mb: float
    cursor: str
    """The last alert that was read."""
    destination: str
    sent: int
    """Posts, as in ``counts``."""
    refused: int
    uncertain: int
    waiting: int
    """Alerts that wait for others of their event."""
    held: int
    """Alerts that were not posted, see ``bot.plan.planner``; so are the next two."""
    hidden: int
    silenced: int
    queued: int
    """Posts that wait to be sent."""
    off: dict[str, str]
    """Chats that nothing is sent to → why."""
    counts: SendCounts
    """What became of posts since the start."""
    troubled: list[ChatReport] = []
    """Destinations that are not ready, or where posts wait for something that failed, at most
    _REPORTED."""
    telegram: str | None = None
    """Why Telegram does not answer, "" if it does; None: it was not asked yet."""


class BotRole:
    """Alerts → posts. What was confirmed is never posted again, what was not is not lost.

    ``who``: the chats that settings ask for. ``clock``: the one whose time is on alerts. ``limits``
    in place of those of the sinks. ``resumed``: what an earlier one has left is known.
    ``make_report``: what makes weekly reports.
    """

    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        sinks: Sinks,
        *,
        who: Callable[[Settings, Sequence[Subscriber]], Audience] = audience,
        clock: Clock | None = None,
        watch: ConfigWatch | None = None,
        policy: Policy | None = None,
        limits: Limits | None = None,
        make_report: Maker = make_report,
    ) -> None:
        self._path = settings.path
        self._watch = watch or ConfigWatch(settings.path)
        self.settings = settings
        self._who = who
        self._read_subscribers: tuple[Subscriber, ...] = ()
        self._subscribed: tuple[Subscriber, ...] = ()
        self._informed: dict[int, tuple[str, ...]] = {}
        """User → rules that they know to be gone, since it was changed here."""
        self._audience = who(settings, ())
        self._redis = redis
        self._backoff = Backoff("the bot role", "bot")
        self._clock = clock or WallClock()
        self._policy = policy or _policy(settings)
        self._reader = StreamReader(redis, Keys(), "bot", Keys().alerts)
        self._store = OutboxStore(redis, Keys())
        self._plans: dict[str, PlanState] = {}
        self._cursor = START
        self.resumed = asyncio.Event()
        self._latest: Ms = 0
        self._telegram: str | None = None
        self._prices: OpenEpisodes | None = None
        self._weekly = WeeklyReports(self._clock, make_report)
        self._summaries = Summaries(redis, self._clock)
        self._notes = ReleaseNotes()
        self._set_back_at: Ms | None = None
        self._stuck: dict[str, str] = {}  # destinations that operators know to get nothing, and why
        self._ahead: Ms = 0
        """How far the clock went ahead since what waits was kept last."""
        if isinstance(self._clock, WallClock):
            self._clock.on_step(self._stepped)
        self.pictures = PictureMaker()
        self.sender = Sender(
            self._store, sinks, self._clock, self._policy, self.trouble, limits, draw=self._draw
        )

    async def _draw(self, post: Post) -> DrawnPicture | None:
        """The picture that is to follow ``post``; None: there is nothing to be drawn."""
        theme, words = post.picture, LANGUAGES[post.language]
        if theme == "none":
            return None
        chat = next((c for c in self._audience.chats if _told_in(c, post)), None)
        zone = zone_of(None if chat is None else chat.quiet, words)
        if post.week:
            request = week_subject(self.settings, post.week, zone, theme)
            caption = week_caption(request, words)
        else:
            now = self._clock.seen()
            request = alert_subject(self.settings, alerts_of(post.parts), zone, theme, now)
            if request is None:
                return None
            caption = picture_caption(request, words)
        try:
            image = await self.pictures.make(request)
        except PictureFailed as error:
            log.warning("a picture was not made", alert=post.message.alert_id, reason=str(error))
            return None
        return None if image is None else DrawnPicture(image, caption)

    def status(self) -> BotStatus:
        """How it goes."""
        plans, queues = self._plans.values(), self.sender.queues.values()
        counts = self.sender.counts
        return BotStatus(
            seen=wall_ms(),
            rss_mb=rss_mb(),
            cursor=self._cursor,
            destination=_named(sorted({queue.state.title for queue in queues} - {""})),
            sent=counts.sent,
            refused=counts.refused,
            uncertain=counts.uncertain,
            waiting=sum(
                len(thread.fresh)
                for plan in plans
                for thread in plan.threads.values()
                if thread.next_at is not None
            ),
            held=sum(plan.counts.held for plan in plans),
            hidden=sum(plan.counts.hidden for plan in plans),
            silenced=sum(plan.counts.silenced for plan in plans),
            queued=sum(len(queue.waiting()) for queue in queues),
            off={queue.key: queue.state.off for queue in queues if queue.state.off},
            counts=counts,
            troubled=sorted(
                self.sender.troubled(), key=lambda chat: (chat.ready, -chat.critical_ms)
            )[:_REPORTED],
            telegram=self._telegram,
        )

    def hear_of_telegram(self, trouble: str) -> None:
        """Telegram answers, or (``trouble``) why it does not."""
        self._telegram = trouble

    def fates(self, asked: Sequence[Alert], user: int) -> dict[str, list[AlertFate]]:
        """What became of ``asked`` in each chat that takes them, by their ids; of subscribers' in
        that of ``user`` alone."""
        own = TelegramChat(user)
        chats = [
            chat for chat in self._audience.chats if not chat.private or chat.destination == own
        ]
        return {
            alert.id: [self._fate(alert, chat) for chat in chats if chat.matches(alert)]
            for alert in asked
            if alert.post
        }

    def episodes_of(self, chat: MessageChat, message_id: int) -> list[EpisodeKey]:
        """The episodes of the post with this number there, those that go on first."""
        for queue in self.sender.queues.values():
            address = queue.state.address()
            if not isinstance(address, TelegramChat) or not chat.is_at(address.chat):
                continue
            posts = [post for post in queue.posts.values() if post.message_id == message_id]
            for post in posts[:1]:
                names = dict.fromkeys((*post.open, *post.episodes))
                return [key for name in names if (key := EpisodeKey.parse(name)) is not None]
        return []

    def _fate(self, alert: Alert, chat: Chat) -> AlertFate:
        queue = self.sender.queue(chat.destination)
        plan = self._plans.get(chat.key, PlanState())
        return alert_fate(alert, chat, plan, queue.posts.values())

    async def run(self) -> None:
        """Read, plan, send; runs until cancelled. Raises Overtaken when another one is at work."""
        apart = await self._compare_clocks()
        await self._resume()
        if apart is not None:
            await self._tell(apart)
        self.resumed.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.sender.run())
            tasks.create_task(self._read_on())
            tasks.create_task(self._mark())
            tasks.create_task(self._tidy())
            tasks.create_task(self._mind_subscribers())
            tasks.create_task(self._look())
            tasks.create_task(self._mind_stuck())
            tasks.create_task(self._mind_reports())

    async def tell_operators(self, post: Callable[[Chat, int], Post]) -> None:
        """Keep and send what ``post`` makes for the operators' chat, if there is one."""
        if (chat := self._audience.operators) is not None:
            notice = post(chat, self.sender.number())
            self.sender.queue(chat.destination)
            await self._store.keep([notice])
            self.sender.add([notice])

    async def trouble(self, trouble: DeliveryProblem) -> None:
        """Tell operators, unless it is their chat that cannot be written to."""
        subscriber = next((s for s in self._subscribed if str(s.user) == trouble.chat), None)
        if subscriber is not None and trouble.phrase == "trouble.off":
            log.info("a subscriber left", reason=trouble.reason)
            await store.drop_subscription(self._redis, subscriber.user)
            return
        operators = self._audience.operators
        moved = trouble.phrase == "trouble.moved"
        theirs = operators is not None and queue_key(operators.destination) == trouble.chat
        if moved:
            posts = any(
                queue_key(chat.destination) == trouble.chat for chat in self._audience.chats
            )
            where = [*["chat_id"] * posts, *["operators.chat_id"] * theirs]
            log.warning(
                "chat moved", chat=trouble.chat, now=trouble.reason, put_in=" and ".join(where)
            )
        if operators is None or (theirs and not moved):
            return
        now = self._clock.seen()
        await self.tell_operators(
            lambda chat, number: notice_post(
                problem_message(trouble, chat, now), chat, number, self._policy, now
            )
        )

    async def _mind_stuck(self) -> None:
        while True:
            await asyncio.sleep(STUCK_LOOK_S)
            await self.tell_stuck()

    async def tell_stuck(self) -> None:
        """Tell operators which destinations get nothing, once, and once when they take posts again;
        what fails for one reason is one notice. A subscriber's chat is the subscriber's affair."""
        private = {str(subscriber.user) for subscriber in self._subscribed}
        now = {
            report.chat: report.reason or "what is urgent waits for its turn there"
            for report in self.sender.stuck()
            if report.chat not in private
        }
        begun = {chat: reason for chat, reason in now.items() if chat not in self._stuck}
        over = [chat for chat in self._stuck if chat not in now]
        self._stuck = now
        for reason in dict.fromkeys(begun.values()):
            chats = [chat for chat, why in begun.items() if why == reason]
            log.error("nothing is taken there", chats=chats, reason=reason)
            await self._tell_of_chats("trouble.stuck", chats, reason)
        if over:
            log.info("posts are taken there again", chats=over)
            await self._tell_of_chats("trouble.flows", over, "")

    async def _tell_of_chats(self, phrase: str, chats: Sequence[str], reason: str) -> None:
        """Inform operators, unless it is their chat alone."""
        operators = self._audience.operators
        theirs = "" if operators is None else queue_key(operators.destination)
        if chats := [chat for chat in chats if chat != theirs]:
            problem = DeliveryProblem(phrase=phrase, chat=_named(chats), reason=reason)
            await self.trouble(problem)

    async def _read_on(self) -> None:
        while True:
            batch = await self._reader.read(self._cursor)
            await self._mind_clock()
            if self._watch.due():
                await self._reload()
            if self._read_subscribers != self._subscribed:
                await self._welcome()
                await self._tell_of_gone_rules()
            if self._weekly.outcomes:
                await self._post_reports()
            if self._summaries.made:
                await self._post_summaries()
            await self._post_notes()
            if batch or any(self._due(plan) for plan in self._plans.values()):
                await self._take(batch)

    async def _mind_reports(self) -> None:
        """Have weekly reports and summaries made; they are posted between two batches."""
        while True:
            if not self._summaries.made:
                with contextlib.suppress(RedisError, OSError, TimeoutError):
                    await self._summaries.look(self.settings, self._audience.chats)
            if not self._weekly.outcomes:
                await self._weekly.look(self.settings, self._audience.chats)
            await asyncio.sleep(REPORT_LOOK_S)

    async def _post_summaries(self) -> None:
        """Post the summaries that were made, once each, whatever happens after."""
        waiting, now = list(self._summaries.made), self._clock.seen()
        chats = {chat.key: chat for chat in self._audience.chats}
        posts: list[Post] = []
        for summary in waiting:
            if summary.head and (chat := chats.get(summary.chat)) is not None:
                posts += summary_posts(
                    summary.head, summary.body, summary.due, chat, self.sender.number, now
                )
        kept = with_summaries(self._summaries.kept, {s.chat: s.due.at for s in waiting})
        await self._store.keep_summaries(posts, kept)
        self._summaries.kept = kept
        del self._summaries.made[: len(waiting)]  # nobody looks before that
        self.sender.add(posts)

    async def _post_reports(self) -> None:
        """Post the reports that were made, once each, whatever happens after; operators hear once
        of those that are not to be had."""
        outcomes = list(self._weekly.outcomes)
        kept, now = self._weekly.kept, self._clock.seen()
        chats = {chat.key: chat for chat in self._audience.chats}
        posts: list[Post] = []
        weeks: dict[str, Ms] = {}
        for outcome in outcomes:
            chat, due = chats.get(outcome.chat), outcome.due
            if chat is None:
                continue
            if outcome.text or due.too_late:
                weeks[chat.key] = due.week
            if outcome.text:
                try:
                    posts += report_posts(outcome.text, due, chat, self.sender.number, now)
                except Exception:  # it must not stop all alerts for ever
                    log.exception("a weekly report was left out", chat=chat.key)
            else:
                log.warning("a weekly report is missing", chat=chat.key, reason=outcome.reason)
        missing = next((o for o in outcomes if o.reason and o.due.week > kept.told), None)
        if missing is not None:
            kept = msgspec.structs.replace(kept, told=missing.due.week)
            if (operators := self._audience.operators) is not None:
                message = missing_report_message(
                    missing.due, missing.reason, now, LANGUAGES[operators.language]
                )
                self.sender.queue(operators.destination)
                number = self.sender.number()
                posts.append(notice_post(message, operators, number, self._policy, now))
        kept = with_posted(kept, weeks)
        await self._store.keep_reports(posts, kept)
        self._weekly.kept = kept
        del self._weekly.outcomes[: len(outcomes)]  # nobody looks before that
        self.sender.add(posts)

    async def _post_notes(self) -> None:
        """A note before each announcement of weight, once in each chat, whatever happens after."""
        seen, now = self._prices, self._clock.seen()
        if seen is None or not seen.releases or abs(now - seen.seen) > _CALENDAR_FRESH:
            return
        notes, posts = self._notes, list[Post]()
        for chat in self._audience.chats:
            if chat.release_note is None:
                continue
            due = due_notes(seen.releases, chat.release_note, notes, chat.key, now)
            notes = with_noted(notes, chat.key, due) if due else notes
            try:
                posts += [release_post(r, chat, self.sender.number(), now) for r in due]
            except Exception:  # it must not stop all alerts for ever
                log.exception("a note before an announcement was left out", chat=chat.key)
        if notes is not self._notes:
            await self._store.keep_notes(posts, notes)
            self._notes = notes
            self.sender.add(posts)

    async def _mind_subscribers(self) -> None:
        """Look who has subscribed; they are served from the next batch on."""
        while True:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                self._read_subscribers = await store.subscriptions(self._redis)
            await asyncio.sleep(SUBSCRIBERS_S)

    async def _welcome(self) -> None:
        """A queue for each who subscribed, none for who left."""
        self._subscribed = self._read_subscribers
        self._audience = self._who(self.settings, self._subscribed)
        await self._serve()

    async def _tell_of_gone_rules(self) -> None:
        """Who subscribed to a rule that is gone hears of it once, and operators of how many."""
        rules, now = rule_names(self.settings), self._clock.seen()
        chats = {chat.destination: chat for chat in self._audience.chats if chat.private}
        counts: Counter[str] = Counter()
        changed: dict[int, tuple[str, ...]] = {}
        posts: list[Post] = []
        for subscriber in self._subscribed:
            chat = chats.get(TelegramChat(subscriber.user))
            gone = gone_rules(subscriber, rules)
            informed = self._informed.get(subscriber.user, subscriber.informed)
            if chat is None or set(gone) == set(informed):
                continue
            if new := [rule for rule in gone if rule not in informed]:
                message, number = gone_rules_message(new, chat, now), self.sender.number()
                posts.append(notice_post(message, chat, number, self._policy, now))
                counts.update(new)
            changed[subscriber.user] = gone
        if posts:
            await self._store.keep(posts)
            self.sender.add(posts)
            log.warning("subscribers want rules that are gone", rules=dict(counts))
            await self.tell_operators(
                lambda chat, number: notice_post(
                    gone_subscriptions_message(counts, chat, now), chat, number, self._policy, now
                )
            )
        self._informed |= changed
        for user, informed in changed.items():
            keep = functools.partial(store.keep_informed, self._redis, user, informed)
            await retry(self._backoff, keep)

    def _due(self, plan: PlanState) -> bool:
        due = planner.next_due(plan)
        return due is not None and due <= self._clock.seen()

    async def _reload(self) -> None:
        """Take over changed chats; the rules role says what is wrong with the settings."""
        try:
            settings, _ = await asyncio.to_thread(checked, self._path, os.environ)
        except Rejected:
            log.info("the chats' settings stay as they are")
            return
        # these sinks have the addresses of the start: changes take effect with a restart
        settings = with_addresses_of(self.settings, settings)
        self.settings = settings
        self._audience = self._who(settings, self._subscribed)
        await self._serve()
        await self._end_unwatched()
        await self._tell_of_gone_rules()
        self.sender.try_again()

    async def _end_unwatched(self) -> None:
        """What the configuration does not watch any more says so, since it has no end."""
        plans: dict[str, PlanState] = {}
        posts: list[Post] = []
        edits: list[tuple[Chat, Delivery]] = []
        for chat in self._audience.chats:
            before, now = self._plans[chat.key], self._clock.seen()
            after, deliveries = planner.unwatched(
                before, chat, self._watched, now, self._prices_at(now)
            )
            if after is not before:
                plans[chat.key] = after
                posts += self._posts(chat, [d for d in deliveries if not d.edit], posts)
                edits += [(chat, delivery) for delivery in deliveries if delivery.edit]
        if plans:
            await self._store.commit(self._cursor, plans, posts, self._latest)
            self._plans |= plans
            self.sender.add(posts)
            await self._edit(edits)

    def _watched(self, alert: Alert) -> bool:
        """Whether the configuration still has its rule, and that its asset."""
        rule = next((rule for rule in self.settings.rules if rule.name == alert.rule), None)
        if rule is None:
            return any(composite.name == alert.rule for composite in self.settings.composites)
        return rule.row_of(alert.asset) is not None

    async def _serve(self) -> None:
        """A queue for each chat of the audience, and none for others."""
        audience = self._audience
        chats = [*audience.chats, *([audience.operators] if audience.operators else [])]
        for key in set(self.sender.queues) - {queue_key(chat.destination) for chat in chats}:
            plans = [plan for plan in self._plans if plan.partition("/")[0] == key]
            await self.sender.drop(key, plans)
        for chat in chats:
            self.sender.queue(chat.destination)
        now = self._clock.seen()
        self._plans = {
            chat.key: planner.with_changed_quiet(self._plans.get(chat.key, PlanState()), chat, now)
            for chat in audience.chats
        }

    async def _resume(self) -> None:
        """Take over what an earlier one has left."""
        saved = await self._store.claim()
        self._plans, self._weekly.kept = saved.plans, saved.weekly
        self._summaries.kept = saved.summaries
        self._notes = saved.notes
        bookmark = await self._reader.bookmark()
        self._cursor = saved.cursor or bookmark
        if self._cursor == START:
            self._cursor = await self._reader.recent(NEWS_MS)
        self.sender.load(saved)
        self._read_subscribers = await retry(
            self._backoff, lambda: store.subscriptions(self._redis)
        )
        await self._welcome()
        times = [post.edited_at or post.at for post in saved.posts]
        plans = [plan.now for plan in saved.plans.values()]
        self._latest = max([saved.seen, *times, *plans])
        await self._mind_clock()
        await self._refresh()
        await self._edit(
            [
                (chat, delivery)
                for chat in self._audience.chats
                for delivery in planner.grown(self._plans[chat.key], chat)
            ]
        )
        await self._end_unwatched()
        await self._tell_of_gone_rules()
        if saved.lost:
            await self._tell_lost(saved.lost)

    def _stepped(self, by: Ms, now: Ms) -> None:
        """The clock stepped by ``by``. Where it went ahead nothing is older for it: what waits is
        dated anew before anybody sees the new time."""
        if by > 0:
            self._ahead += by
            self._latest = now
            self._plans = {key: set_back(plan, -by, now) for key, plan in self._plans.items()}
            self.sender.set_back(-by)

    async def _mind_clock(self, known: bool = False) -> None:
        """After the clock was set back what waits is dated anew, here or while nobody was there;
        what was dated anew because it went ahead is kept. ``known``: operators know why."""
        now = self._clock.seen()
        if self._ahead:
            ahead, self._ahead = self._ahead, 0
            how_far = clock_stepped(now, ahead).detail
            log.warning("the clock went ahead: what waits is dated anew", how_far=how_far)
            await self._keep_redated(-ahead, now)
        back = self._latest - now
        if back <= STEP:
            self._latest = max(self._latest, now)
            return
        self._latest, self._set_back_at = now, self._clock.now()
        fault = clock_stepped(now, -back)
        log.warning("the clock was set back: what waits is dated anew", how_far=fault.detail)
        self._plans = {key: set_back(plan, back, now) for key, plan in self._plans.items()}
        self.sender.set_back(back)
        await self._keep_redated(back, now)
        self._weekly.kept = without_future(self._weekly.kept, now)
        await self._store.keep_reports([], self._weekly.kept)
        spans = {c.key: span_of(c.summary) for c in self._audience.chats if c.summary is not None}
        self._summaries.kept = not_ahead(self._summaries.kept, spans, now)
        if not known:
            await self._tell(clock_notice(fault, "what waits is dated anew"))

    async def _compare_clocks(self) -> Notice | None:
        """Wait until it is known by whose clock posts go, so that nothing is left out as too old,
        or called late, by a clock that is hours ahead; the notice, if it is not this machine's."""
        clock = self._clock
        while isinstance(clock, FollowingClock) and not clock.settled:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                seen = await store.open_episodes(self._redis)
                if seen is not None and clock.hear(seen.seen):
                    return self._apart(clock)
            await asyncio.sleep(_COMPARE_S)
        return None

    def _apart(self, clock: FollowingClock) -> Notice:
        notice = apart_notice(clock.ahead, clock.seen(), over=abs(clock.ahead) < APART)
        log.warning("the clocks of two machines differ", reason=notice.reason)
        return notice

    async def _follow(self, theirs: Ms) -> None:
        """It was ``theirs`` a moment ago by the clock whose time is on alerts. If that is not this
        machine's, posts go by it, and operators hear of it."""
        clock = self._clock
        if isinstance(clock, FollowingClock) and clock.hear(theirs):
            notice = self._apart(clock)
            await self._mind_clock(known=True)
            await self._tell(notice)

    async def _keep_redated(self, back: Ms, now: Ms) -> None:
        """Keep what was dated anew since the clock was set ``back`` so much, negative: ahead."""
        await self._store.commit(self._cursor, self._plans, [], now)
        await self.sender.keep()
        with contextlib.suppress(RedisError, OSError, TimeoutError):  # then they last as they were
            await store.change_silences(self._redis, lambda kept: silences.set_back(kept, back))

    async def _tell(self, notice: Notice) -> None:
        """Tell operators of ``notice``, at the next opportunity."""
        await self.tell_operators(
            lambda chat, number: notice_post(
                notice_message(notice, LANGUAGES[chat.language]),
                chat,
                number,
                self._policy,
                notice.seen,
            )
        )

    async def _tell_lost(self, lost: Sequence[str]) -> None:
        """Of what was saved a part cannot be taken over: operators hear of it."""
        await self._tell(state_notice("bot", _named(lost), self._clock.seen()))

    async def _take(self, batch: Sequence[tuple[str, bytes]]) -> None:
        """What was read, what the plans make of it, and the posts become durable in one step."""
        turns = [turn for entry_id, data in batch if (turn := _read(entry_id, data)) is not None]
        market_alerts = [turn for turn in turns if isinstance(turn, Alert)]
        silenced: tuple[Silence, ...] = await retry(
            self._backoff, lambda: store.silences(self._redis)
        )
        posts: list[Post] = self._notices([turn for turn in turns if isinstance(turn, Notice)])
        edits: list[tuple[Chat, Delivery]] = []
        plans = {
            chat.key: self._plan(chat, market_alerts, silenced, posts, edits)
            for chat in self._audience.chats
        }
        changed = {key: plan for key, plan in plans.items() if _differs(plan, self._plans[key])}
        cursor = batch[-1][0] if batch else self._cursor
        await self._store.commit(cursor, changed, posts, self._latest)
        self._cursor, self._plans = cursor, self._plans | plans
        self.sender.add(posts)
        # an edit that is lost here is made by the next one who takes over the plans
        await self._edit(edits)

    async def _edit(self, deliveries: Sequence[tuple[Chat, Delivery]]) -> None:
        """The posts of threads show what is so, and will after a restart; those whose posts were
        given up, or are digests, get new ones, without a sound."""
        posts: list[Post] = []
        for chat, delivery in deliveries:
            grown = self.sender.grow(delivery, chat.destination)
            if grown or delivery.into or delivery.unwatched or delivery.since:
                continue
            anew = msgspec.structs.replace(delivery, edit=False)
            posts += self._posts(chat, [anew], posts)
        if posts:
            await self._store.keep(posts)
            self.sender.add(posts)
        if deliveries:
            await self._store.save(*[self.sender.queue(c.destination) for c, _ in deliveries])

    def _posts(
        self, chat: Chat, deliveries: Sequence[Delivery], fresh: Sequence[Post]
    ) -> list[Post]:
        """Posts of ``deliveries``. ``fresh``: those that are not in any queue yet."""
        posts: list[Post] = []
        queue = self.sender.queue(chat.destination)
        for delivery in deliveries:
            number, earlier = self.sender.number(), [*fresh, *posts]
            make = recap_post if delivery.recap else delivery_post
            posts.append(make(delivery, chat, queue, earlier, number, self._policy))
        return posts

    def _plan(
        self,
        chat: Chat,
        market_alerts: Sequence[Alert],
        silenced: Sequence[Silence],
        posts: list[Post],
        edits: list[tuple[Chat, Delivery]],
    ) -> PlanState:
        """The chat's plan after ``market_alerts``; what it wants told is added to ``posts`` and to
        ``edits``."""
        before = self._plans[chat.key]
        try:
            now = self._clock.seen()
            after, deliveries = planner.plan(
                before, market_alerts, chat, silenced, now, self._prices_at(now)
            )
            planned = self._posts(chat, [d for d in deliveries if not d.edit], posts)
        except Exception:  # one alert must not stop all others for ever
            log.exception(
                "the plan failed; alerts were left out", alerts=[a.id for a in market_alerts]
            )
            return before
        posts += planned
        edits += [(chat, delivery) for delivery in deliveries if delivery.edit]
        return after

    def _prices_at(self, now: Ms) -> Mapping[str, float]:
        """The prices that the rules have published lately."""
        prices = self._prices
        fresh = prices is not None and abs(now - prices.seen) <= _PRICES_FRESH
        return prices.prices if prices is not None and fresh else {}

    def _notices(self, notices: Sequence[Notice]) -> list[Post]:
        """Posts for the operators' chat, if there is one; the log has them in any case."""
        posts: list[Post] = []
        chat, now = self._audience.operators, self._clock.seen()
        for notice in notices:
            if notice.fault is FaultCode.CLOCK_SET_BACK and self._just_set_back():
                continue  # it is the clock that we have just told of
            message = notice_message(notice, LANGUAGES["en" if chat is None else chat.language])
            log.info("notice for operators", text=message.plain)
            if chat is not None:
                posts.append(notice_post(message, chat, self.sender.number(), self._policy, now))
        return posts

    def _just_set_back(self) -> bool:
        at = self._set_back_at
        return at is not None and self._clock.now() - at < _SAME_CLOCK

    async def _mark(self) -> None:
        """The bookmark says up to where everything has been told."""
        marked = ""
        while True:
            await self.sender.settled.wait()
            self.sender.settled.clear()
            nothing_due = all(planner.next_post(plan) is None for plan in self._plans.values())
            if self._cursor != marked and nothing_due and self.sender.idle():
                marked = self._cursor
                await self._reader.commit(marked, [])

    async def _tidy(self) -> None:
        """Forget what was settled long ago."""
        while True:
            await asyncio.sleep(TIDY_S)
            for queue in list(self.sender.queues.values()):
                queue.prune(self._clock.seen())
                await self._store.save(queue)

    async def _look(self) -> None:
        """Keep the openings of open episodes true, by what the rules see."""
        for _ in range(_FIRST_LOOKS):  # the clocks are compared before much is told
            await asyncio.sleep(LIVE_S / _FIRST_LOOKS)
            await self._refresh()
        while True:
            await asyncio.sleep(LIVE_S)
            await self._refresh()

    async def _refresh(self) -> None:
        """What posts say is what the rules saw last."""
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            if (seen := await store.open_episodes(self._redis)) is not None:
                await self._follow(seen.seen)
                self._prices = seen
                self.sender.live(seen.episodes)


def _told_in(chat: Chat, post: Post) -> bool:
    """Whether ``post`` is one of ``chat``, which may be a topic."""
    return (queue_key(chat.destination), topic_of(chat.destination)) == (post.chat, post.topic)


def _differs(plan: PlanState, before: PlanState) -> bool:
    """Whether more of a plan changed than how late it is, which is the same for all."""
    return msgspec.structs.replace(plan, now=before.now) != before


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _read(entry_id: str, data: bytes) -> Alert | Notice | None:
    try:
        return alerts.decode(data)
    except msgspec.MsgspecError as error:
        log.error("an alert could not be read", entry=entry_id, reason=str(error)[:200])
        return None


def _policy(settings: Settings) -> Policy:
    return Policy(on_uncertain="resend" if settings.resend else "drop")


async def bot_role(
    settings: Settings,
    url: str,
    sinks: Callable[[], Sinks],
    clock: Clock | None = None,
    *,
    policy: Policy | None = None,
    alarms: Alarms | None = None,
) -> None:
    """Alerts → posts. Runs until cancelled.

    ``clock``: the one whose time is on alerts. ``alarms`` take turns at our limiter meanwhile.
    """
    async with role(url, "bot") as (redis, _):
        ways_out, watch = sinks(), ConfigWatch(settings.path)
        bot = BotRole(settings, redis, ways_out, clock=clock, watch=watch, policy=policy)
        if alarms is not None:
            alarms.gate = bot.sender
        try:
            with on_sighup(watch):
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(report(redis, "bot", bot.status))
                    tasks.create_task(bot.run())
                    if settings.token is not None:
                        tasks.create_task(_commands(bot, redis, ways_out))
        finally:
            if alarms is not None:
                alarms.gate = None
            await ways_out.close()


async def _commands(bot: BotRole, redis: Redis, ways_out: Sinks) -> None:
    """Answer commands by the way on which posts go, once it is known which chats have moved."""
    # imported where they are used: without Telegram its library is not held
    from bot.commands.telegram import serve
    from bot.delivery.sinks.telegram import TelegramClient

    await bot.resumed.wait()
    if isinstance(ways_out.telegram, TelegramClient):
        await serve(
            lambda: bot.settings,
            redis,
            ways_out.telegram,
            bot.sender,
            fates=bot.fates,
            hear=bot.hear_of_telegram,
            episodes=bot.episodes_of,
            pictures=bot.pictures,
        )
