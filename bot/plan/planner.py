"""Which posts each chat gets, of which alerts, and when. Pure: time comes from alerts and ``now``.

A chat's filters choose alerts by rule, asset and level. Those of one event are told in one thread
(``bot.plan.threads``), whose post waits a little for what belongs to it, and then grows by edits.
Programs behind webhooks get each alert by itself. What waits, and what the plan remembers between
calls, is in the state, which survives restarts.

Invariants:
- an event that becomes critical is told by the call that takes it;
- every alert that the engine wants posted is in a post or in an edit, or counted under the reason
  why not;
- an alert that no filter of the chat matches is neither posted nor counted;
- turns of one episode are told in their order, and an end only if the beginning was told;
- where no post can be edited further ones tell what gets much worse or newly critical, without a
  sound and so far apart as ``FURTHER_EVERY`` says; what no post has told yet stays ``fresh``;
- a post points to the market's only from the call on that posts that; until then its event is its
  own, with its rings, edits and end;
- the last edit of an event is wanted by ``grown`` until the call after the one that asked for it:
  whoever calls has made all edits of a state durable before the next call, and whoever takes over
  asks ``grown`` first;
- how alerts are split over calls changes nothing but what critical alerts of one moment are told
  together, and how many edits there are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from bot.destination import (
    ConsoleOutput,
    Destination,
    MessengerName,
    WebhookName,
    destination_key,
)
from bot.plan.silences import Silence, silenced
from bot.plan.threads import (
    AFTER,
    MARKET_FROM,
    OLDEST,
    Thread,
    coins_of,
    further_after,
    joined_by,
    market_of,
    rings_again,
    theme_of,
    thread_with,
)
from rules.alerts import ALL, Alert, Level, Turn
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import Ms

replace = msgspec.structs.replace


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which alerts a chat wants, by rule, asset and level."""

    rules: frozenset[str] | None = None
    """Families, composites among them; None: every rule."""
    assets: frozenset[str] | None = None
    """None: every asset. The whole market is the asset ``rules.alerts.ALL``."""
    all_but: frozenset[str] | None = None
    """Besides ``assets``, every asset that is not among these."""
    min_level: Level = Level.WATCH

    def matches(self, alert: Alert) -> bool:
        """Whether ``alert`` is wanted.

        An end is, whatever its level: whether its beginning was posted is for the plan to know.
        """
        family = alert.family or alert.rule
        high = alert.turn is Turn.CLOSE or alert.level >= self.min_level
        return high and self.wants_rule(family) and self.wants_asset(alert.asset)

    def wants_rule(self, family: str) -> bool:
        """Whether alerts of this rule may be wanted."""
        return self.rules is None or family in self.rules

    def wants_asset(self, asset: str) -> bool:
        """Whether alerts on this asset may be wanted."""
        if self.assets is None or asset in self.assets:
            return True
        return self.all_but is not None and asset not in self.all_but


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What one post is made of, or what the post of a thread has become."""

    alerts: tuple[Alert, ...]
    """The worst first. Of a thread: each of its episodes, ended ones too."""
    at: Ms
    """When it was due."""
    silent: bool
    held: Mapping[str, int] = {}
    """Family → alerts that the budget kept back, or that were over too soon, since the last
    post."""
    thread: str = ""
    """The key of the event; "": one alert by itself."""
    market: bool = False
    """It is an event of the market, with the coins in it."""
    turn: Turn = Turn.OPEN
    """What happened to the event: a post that rings because it rose or got worse says so."""
    edit: bool = False
    """It is no post of its own: the one of the thread is edited."""
    into: str = ""
    """The key of the market's event, if it is told there from now on."""
    unwatched: bool = False
    """Nobody judges it any more, since the configuration has changed."""
    began: Ms | None = None
    """When the event began, by the clock of ``at``; None: as its alerts say."""
    since: Mapping[Ms, Mapping[str, float]] = {}
    """How long after the end → asset → the change of its price since then, in percent."""

    recap: bool = False
    """It looks back on an event that is over, in a post of its own."""
    ended: Ms | None = None
    """Of a recap: when the event was over, by the clock of ``at``."""
    before: Mapping[str, float] = {}
    """Of a recap: asset → its price before the event, as far as known."""
    after: Mapping[str, float] = {}
    """Of a recap: asset → its price at the end, as far as known."""

    @property
    def goes_on(self) -> bool:
        """Whether the event goes on, and is told here."""
        return not self.into and not self.unwatched and self.turn is not Turn.CLOSE


def severity(alert: Alert) -> tuple[bool, int, float]:
    """Sorts the worst first, and what has ended last."""
    sign = 1 if alert.fires == "below" else -1
    return alert.turn is Turn.CLOSE, -alert.level, sign * alert.value


class Waiting(msgspec.Struct, frozen=True):
    """An alert that an earlier version wanted to post at ``due``."""

    alert: Alert
    due: Ms


class Group(msgspec.Struct):
    """What earlier versions, which had no threads, wanted to post together."""

    waiting: list[Waiting] = []


class NotPosted(StrEnum):
    """Why an alert was not posted."""

    HIDDEN = "hidden"
    """A composite covered it, in earlier versions."""
    HELD = "held"
    """The budget kept it back."""
    SILENCED = "silenced"
    """A silence covers it."""
    MERGED = "merged"
    """A later turn of the episode was told in its place."""
    OVER = "over"
    """Its episode was over before it was told, or it is the end of one that was not told."""


class PlanCounts(msgspec.Struct):
    """How many alerts were told so far, and how many were not, by ``NotPosted``."""

    posted: int = msgspec.field(default=0, name="told")
    """In posts and in edits."""
    hidden: int = 0
    """By earlier versions."""
    held: int = 0
    """By the budget, or because the episode was over too soon."""
    silenced: int = 0
    merged: int = 0
    over: int = 0
    """Ends of episodes whose beginnings were not told."""


class PlanState(msgspec.Struct):
    """Everything that the next answer depends on.

    A ``name`` is what older versions wrote the field under; plans they kept stay readable.
    """

    now: Ms = 0
    """The time up to which all that was due has been posted."""
    threads: dict[str, Thread] = {}
    """The events by their keys: those that go on, and those whose prices are still looked at."""
    episodes: dict[str, Ms] = msgspec.field(default_factory=dict[str, Ms], name="told")
    """Rule and subject → beginning of the open episode that was posted by itself: to a webhook, or
    by an earlier version."""
    held: dict[str, int] = {}
    """Family → alerts kept back since the last post, which the next one counts."""
    posts: list[Ms] = []
    """Times within the last hour of posts that were not critical."""
    watch_posts: list[Ms] = []
    """The same of posts at watch."""
    counts: PlanCounts = msgspec.field(default_factory=PlanCounts)
    groups: dict[str, Group] = {}
    """What an earlier version has left; the next call takes it."""
    quiet: dict[str, Alert] = {}
    """The same, of what waited for the end of the quiet hours."""
    not_posted: dict[str, NotPosted] = msgspec.field(
        default_factory=dict[str, NotPosted], name="unsaid"
    )
    """The ids of the last NOT_POSTED_KEPT alerts that were not posted, and why."""


def set_back(state: PlanState, by: Ms, now: Ms) -> PlanState:
    """``state`` after the clock was set back ``by`` so much, to ``now``: everything is as long ago,
    or as far away, as it was. The end of quiet hours is looked at again when it is due: it is a
    time of day."""
    later = load(dump(state))
    later.now = now
    for thread in later.threads.values():
        thread.set_back(by)
    later.posts = [at - by for at in later.posts]
    later.watch_posts = [at - by for at in later.watch_posts]
    return later


def dump(state: PlanState) -> bytes:
    """The state as bytes."""
    return msgspec.msgpack.encode(state)


def load(data: bytes) -> PlanState:
    """What ``dump`` wrote. Raises msgspec.MsgspecError if it is something else."""
    return msgspec.msgpack.decode(data, type=PlanState)


GROUP_WAIT: Mapping[Level, Ms] = {
    Level.WATCH: 60 * SECOND,
    Level.ALERT: 20 * SECOND,
    Level.CRITICAL: 0,
}

CLOCKS_APART: Ms = MINUTE
"""The clock that stamps alerts may be so far ahead of ours."""

SOON: Ms = MINUTE
"""What rings again so soon is not edited before."""

NOT_POSTED_KEPT = 100
"""For so many of the last alerts that were not posted the reason is remembered."""


class Quiet(msgspec.Struct, frozen=True, kw_only=True):
    """Hours in which little rings: minutes of the day in ``zone`` (an IANA name), end excluded."""

    start: int
    end: int
    zone: str

    def covers(self, now: Ms) -> bool:
        """Whether ``now`` is within; hours may go past midnight."""
        local = datetime.fromtimestamp(now / 1000, UTC).astimezone(ZoneInfo(self.zone))
        minute = local.hour * 60 + local.minute
        if self.start <= self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end

    def ends_after(self, now: Ms) -> Ms:
        """When the hours that cover ``now`` end."""
        local, end = _today(now, self.end, self.zone)
        if end <= local:
            end += timedelta(days=1)  # by the clock on the wall, whatever summer time does
        return round(end.timestamp() * 1000)


class DailyTime(msgspec.Struct, frozen=True, kw_only=True):
    """Once a day at this ``minute`` of it in ``zone`` (an IANA name)."""

    minute: int
    zone: str

    def last_until(self, now: Ms) -> Ms:
        """The newest such time that is not after ``now``."""
        local, at = _today(now, self.minute, self.zone)
        if at.timestamp() > local.timestamp():
            at -= timedelta(days=1)  # by the clock on the wall, whatever summer time does
        return round(at.timestamp() * 1000)


class HourlyTime(msgspec.Struct, frozen=True, kw_only=True):
    """Each hour, on the hour."""

    def last_until(self, now: Ms) -> Ms:
        """The newest such time that is not after ``now``."""
        return now - now % HOUR


WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
"""The days of the week as a configuration names them."""


class WeeklyTime(msgspec.Struct, frozen=True, kw_only=True):
    """Once a week: on ``weekday``, a place in ``WEEKDAYS``, at this ``minute`` in ``zone`` (an IANA
    name)."""

    weekday: int
    minute: int
    zone: str

    def last_until(self, now: Ms) -> Ms:
        """The newest such time that is not after ``now``."""
        local, at = _today(now, self.minute, self.zone)
        at -= timedelta(days=(local.weekday() - self.weekday) % 7)
        if at.timestamp() > local.timestamp():
            at -= timedelta(days=7)  # by the clock on the wall, whatever summer time does
        return round(at.timestamp() * 1000)


def _today(now: Ms, minute: int, zone: str) -> tuple[datetime, datetime]:
    """``now`` in ``zone``, and the ``minute`` of the same day."""
    local = datetime.fromtimestamp(now / 1000, UTC).astimezone(ZoneInfo(zone))
    hour, of_hour = divmod(minute, 60)
    return local, local.replace(hour=hour, minute=of_hour, second=0, microsecond=0, fold=0)


Pictures = Literal["dark", "light", "none"]
"""The colours of the pictures that follow posts; none do."""


class ButtonAction(StrEnum):
    """What a button asks for; the value is what Telegram sends back when it is pressed, at most 64
    bytes."""

    WHY = "why"
    CHART = "chart"
    """The picture of what the post tells of."""
    MUTE = "mute"
    """No alerts of its rules on its assets for an hour, but what is critical."""
    SUBSCRIBE = "subscribe"
    """Every alert on the majors, in private; under the answer to /start, and no post."""


class Chat(msgspec.Struct, frozen=True, kw_only=True):
    """Where posts go, of which alerts, and how many at most."""

    destination: Destination = ConsoleOutput()
    language: str = "en"
    short: bool = False
    """Whether posts have their first line and their last alone."""
    filters: tuple[Filter, ...] = (Filter(),)
    """An alert is for this chat if one of them matches it."""
    private: bool = False
    """Whether it is one person's chat with the bot."""
    posts_per_hour: int = 12
    """Once so many were posted within an hour, only critical posts still come; of watch, at most
    half as many. Critical posts, edits and ends are not counted."""
    quiet: Quiet | None = None
    """In these hours events at watch wait until the hours end, and those at alert are silent."""
    majors: frozenset[str] = frozenset()
    """Coins that ring for themselves in an event of the market."""
    group_wait: Mapping[Level, Ms] = msgspec.field(default_factory=lambda: GROUP_WAIT)
    """How long a post waits for what belongs to its event; a critical one never does."""
    recap: Level | None = None
    """An event that has reached this level is looked back on when it is over; None: none is."""
    pictures: Pictures = "none"
    """Of the posts that ring and of reports, where a picture can be sent."""
    summary: HourlyTime | DailyTime | None = None
    """When the last hour or the last day is summed up; None: never."""
    weekly_report: WeeklyTime | None = None
    """When the report on the last week is posted; None: never."""
    release_note: Ms | None = None
    """How long before NFP, CPI and FOMC it gets a note; None: it gets none."""
    buttons: tuple[ButtonAction, ...] = ()
    """What is under posts of events."""

    @property
    def key(self) -> str:
        """What the chat is called where it is remembered."""
        return destination_key(self.destination)

    @property
    def threaded(self) -> bool:
        """Whether events are told in threads: to people, and not to programs."""
        return not isinstance(self.destination, WebhookName)

    @property
    def edits(self) -> bool:
        """Whether a post can be edited."""
        return self.threaded and not isinstance(self.destination, ConsoleOutput | MessengerName)

    @property
    def posts_further(self) -> bool:
        """Whether further posts tell what edits would. On the console the beginning, the rings and
        the end do, as in a backtest."""
        return isinstance(self.destination, MessengerName)

    def matches(self, alert: Alert) -> bool:
        """Whether ``alert`` is for this chat. An end is told only if its beginning was."""
        return any(wanted.matches(alert) for wanted in self.filters)


def next_post(state: PlanState) -> Ms | None:
    """When ``plan`` has something to post even if nothing more happens; None: never."""
    if state.groups or state.quiet:
        return state.now
    return min((at for t in state.threads.values() if (at := t.next_at) is not None), default=None)


def next_due(state: PlanState) -> Ms | None:
    """When ``plan`` has something to do even if nothing more happens, looking at what the price has
    done since an end, and forgetting what is finished, included; None: never."""
    threads = state.threads.values()
    looks = [at for thread in threads if (at := thread.after_due()) is not None]
    looks += [state.now for thread in threads if thread.finished]
    post = next_post(state)
    return min([*looks, *([] if post is None else [post])], default=None)


def with_changed_quiet(state: PlanState, chat: Chat, now: Ms) -> PlanState:
    """What waits for the end of the quiet hours, under those that ``chat`` has now: due when these
    end, at once where it is not quiet any more."""
    covered = chat.quiet is not None and chat.quiet.covers(now)
    due = chat.quiet.ends_after(now) if chat.quiet is not None and covered else now
    threads = {
        key: replace(thread, due=due) if thread.asleep else thread
        for key, thread in state.threads.items()
    }
    return replace(state, threads=threads)


def plan(
    state: PlanState,
    alerts: Iterable[Alert],
    chat: Chat,
    silences: Sequence[Silence],
    now: Ms,
    prices: Mapping[str, float] | None = None,
) -> tuple[PlanState, list[Delivery]]:
    """The state after ``alerts``, and what is due up to ``now``; ``state`` itself is not changed.

    An alert from long after ``now`` is one of a clock that is ahead of ours, and is not waited for.
    ``prices``: those of ``now`` by asset, as far as known. All edits that ``state`` came with are
    durable.
    """
    coming = [a for a in alerts if a.turn is Turn.CLOSE or (a.post and chat.matches(a))]
    due = next_due(state)
    if not coming and (due is None or due > max(now, state.now)):
        return replace(state, now=max(now, state.now)), []
    planner = _Planner(load(dump(state)), chat, silences, prices or {})
    planner.forget_finished()
    planner.take_over(now)
    for alert in coming:
        planner.take(alert, now)
    planner.finish(now)
    return planner.state, planner.deliveries


def grown(state: PlanState, chat: Chat) -> list[Delivery]:
    """What the post of each thread that was posted is to show: for one who has taken over a plan
    and does not know which edits were made durable."""
    if not chat.edits:
        return []
    return [
        _shown(thread, state.now)
        for thread in state.threads.values()
        if thread.posted and thread.parts and not _rings_soon(thread, state.now)
    ]


def _rings_soon(thread: Thread, now: Ms) -> bool:
    """Whether it is posted, or rings again, so soon that nothing need tell what is new before."""
    return thread.due is not None and thread.due - now <= SOON


def going_on(state: PlanState) -> list[Delivery]:
    """The events that were posted and are not over, as they are."""
    threads = [t for t in state.threads.values() if t.posted and t.parts and t.ended is None]
    return [_shown(thread, state.now) for thread in threads]


def unwatched(
    state: PlanState,
    chat: Chat,
    watched: Callable[[Alert], bool],
    now: Ms,
    prices: Mapping[str, float] | None = None,
) -> tuple[PlanState, list[Delivery]]:
    """The state after the configuration has changed, and the edits that say so. ``watched``:
    whether the episode of an alert is still judged; ``prices`` as in ``plan``."""
    gone = {
        thread.key: keys
        for thread in state.threads.values()
        if thread.ended is None
        and (keys := [k for k, a in thread.parts.items() if _goes_on(a) and not watched(a)])
    }
    if not gone:
        return state, []
    planner = _Planner(load(dump(state)), chat, (), prices or {})
    planner.drop(gone, now)
    return planner.state, planner.deliveries


def _goes_on(alert: Alert) -> bool:
    return alert.turn is not Turn.CLOSE


def _shown(thread: Thread, at: Ms, turn: Turn | None = None) -> Delivery:
    """``thread`` as an edit of its post shows it. ``turn``: that of a post which rings again: who
    hears that it rose or got worse, hears which of its episodes did."""
    alerts = [
        alert
        if turn in (Turn.UP, Turn.WORSE) or alert.turn is Turn.CLOSE
        else replace(alert, turn=Turn.OPEN)
        for alert in thread.parts.values()
    ]
    over = thread.ended is not None and not thread.unwatched and not thread.market
    return Delivery(
        alerts=tuple(sorted(alerts, key=severity)),
        at=at,
        silent=True,
        thread=thread.key,
        market=thread.subject == ALL,
        turn=Turn.CLOSE if over else turn or Turn.OPEN,
        edit=True,
        began=thread.began,
        since=thread.since,
        unwatched=thread.unwatched,
        into=thread.market,
    )


def _recap(thread: Thread, now: Ms) -> Delivery:
    """What a post that looks back on ``thread``, which is over, tells."""
    delivery = _shown(thread, now, None)
    return replace(
        delivery, turn=Turn.CLOSE, edit=False, recap=True, ended=thread.ended,
        before=thread.before, after=thread.prices,
    )  # fmt: skip


class _Planner:
    """One call of ``plan``: a state of its own, and what is to be delivered."""

    def __init__(
        self,
        state: PlanState,
        chat: Chat,
        silences: Sequence[Silence],
        prices: Mapping[str, float],
    ) -> None:
        self.state = state
        self.deliveries: list[Delivery] = []
        self._chat = chat
        self._silences = silences
        self._prices = prices
        self._grown: dict[str, None] = {}  # threads whose posts are to be edited
        self._moment: set[str] = set()  # threads that became critical at the present moment,
        self._seen: Ms = 0  # which is this one

    def forget_finished(self) -> None:
        """Forget what an earlier call has finished."""
        threads = self.state.threads
        self.state.threads = {key: t for key, t in threads.items() if not t.finished}

    def drop(self, gone: Mapping[str, Sequence[str]], now: Ms) -> None:
        """Nobody judges these parts of threads any more. An event of which nothing else is open is
        over, without an end and without a look at the price since."""
        self.state.now = max(now, self.state.now)
        for name, parts in gone.items():
            thread = self.state.threads[name]
            for key in [key for key in parts if key in thread.fresh]:
                thread.fresh.remove(key)
                self._count(thread.parts[key], NotPosted.OVER)
            left = {key: alert for key, alert in thread.parts.items() if key not in parts}
            if not thread.posted:
                thread.parts = left
                if not left:
                    del self.state.threads[name]
                continue
            if any(map(_goes_on, left.values())):
                thread.parts = left
                if not thread.going_on:
                    self._end(thread)
            else:
                thread.ended, thread.due, thread.unwatched = self.state.now, None, True
                thread.further_at, thread.done = None, [*AFTER]
                if not self._chat.edits:  # ends, which nobody will hear of
                    for alert in thread.news:
                        self._count(alert, NotPosted.OVER)
                    thread.fresh = []
            self._edit(thread)

    def take_over(self, now: Ms) -> None:
        """Take what an earlier version has left waiting."""
        waiting = [w.alert for group in self.state.groups.values() for w in group.waiting]
        waiting += self.state.quiet.values()
        self.state.groups, self.state.quiet = {}, {}
        for alert in sorted(waiting, key=lambda alert: alert.seen):
            self.take(alert, now)

    def take(self, alert: Alert, now: Ms) -> None:
        """Put ``alert`` into its thread, or count why not."""
        if alert.seen != self._seen:
            self._seen = alert.seen
            self._moment.clear()
        self._advance(min(alert.seen, now + CLOCKS_APART))
        if not self._chat.threaded:
            self._deliver_alone(alert)
            return
        thread = self._thread_of(alert)
        if alert.turn is Turn.CLOSE:
            if thread is not None and thread.key in self._moment:  # critical is told, if briefly
                self._moment.discard(thread.key)
                self._advance(self.state.now)
                thread = self._thread_of(alert)
            self._close(thread, alert)
        elif self._silenced(alert, alert.seen):
            self._count(alert, NotPosted.SILENCED)
        else:
            self._add(thread, alert)

    def finish(self, now: Ms) -> None:
        """Post what is due up to ``now``, and edit what has grown."""
        self._advance(now)
        self._moment.clear()
        self._advance(now)
        for key in list(self._grown):
            thread = self.state.threads.get(key)
            if thread is not None and thread.posted and not _rings_soon(thread, self.state.now):
                self._edit(thread)
        self._grown = {}

    # Threads.

    def _thread_of(self, alert: Alert) -> Thread | None:
        """The thread that knows its episode."""
        known = thread_with(self.state.threads.values(), alert)
        if known is not None or self.state.episodes.get(_instance(alert)) != alert.opened_at:
            return known
        # an earlier version has posted it by itself: its post goes on as that of a thread
        del self.state.episodes[_instance(alert)]
        thread = self._begin(alert)
        opened = replace(alert, turn=Turn.OPEN)
        thread.parts[str(alert.episode)] = opened
        thread.rung = alert.level - (alert.turn is Turn.UP)
        thread.rang_at = self.state.now
        return thread

    def _begin(self, alert: Alert, subject: str | None = None) -> Thread:
        subject = alert.asset if subject is None else subject
        now, theme = self.state.now, theme_of(alert)
        key = f"{theme}:{subject}:{now}"
        while key in self.state.threads:
            key += "'"
        thread = Thread(key=key, theme=theme, subject=subject, began=now, grew=now)
        self.state.threads[key] = thread
        return thread

    def _add(self, thread: Thread | None, alert: Alert) -> None:
        now, key = self.state.now, str(alert.episode)
        if thread is not None and thread.parts[key].turn is Turn.CLOSE:
            self._count(alert, NotPosted.MERGED)  # its end is known
            return
        begun = False
        if thread is not None and thread.ended is not None:  # it goes on after its event
            thread = None
        if thread is None:
            thread = joined_by(self.state.threads.values(), alert, now)
        if thread is None:
            thread, begun = self._begin(alert), True
        earlier = thread.parts.get(key)
        if key in thread.fresh and earlier is not None:
            thread.fresh.remove(key)
            self._count(earlier, NotPosted.MERGED)
            # one event can give a composite two turns, and the first post tells of a beginning
            if not thread.posted or earlier.seen == alert.seen:
                alert = replace(merge_turns(earlier, alert), id=alert.id)
        before = dict(thread.parts)
        thread.add(alert)
        for gone in [known for known in thread.fresh if known not in thread.parts]:
            thread.fresh.remove(gone)  # the end of a milder episode before this one
            self._count(before[gone], NotPosted.MERGED)
        thread.fresh.append(key)
        thread.grew = now
        if begun and (coins := market_of(self.state.threads.values(), thread, now)):
            thread = self._market(thread, coins, alert)
        self._wait(thread, alert, begun)

    def _market(self, begun: Thread, coins: Sequence[Thread], alert: Alert) -> Thread:
        """The thread of the market, with what nobody has heard of yet of ``coins``. The others go
        on as they are until it is posted."""
        market = begun if begun.subject == ALL else self._begin(alert, ALL)
        self._fold([coin for coin in coins if not coin.posted], market)
        return market

    def _fold(self, coins: Iterable[Thread], market: Thread) -> None:
        """``coins``, of which nobody has heard, become parts of ``market``."""
        for coin in coins:
            market.take_in(coin, self.state.now)
            del self.state.threads[coin.key]

    def _wait(self, thread: Thread, alert: Alert, begun: bool) -> None:
        """Decide when the thread is posted, or rings, because of ``alert``."""
        now, key = self.state.now, str(alert.episode)
        first = now + self._chat.group_wait.get(alert.level, 0)
        if thread.asleep and alert.level > Level.WATCH:
            thread.asleep, thread.due = False, None
        due = first
        if thread.posted:
            again = rings_again(thread, alert, first, self._chat.majors)
            self._grown[thread.key] = None
            if self._chat.posts_further:
                self._wait_further(thread, alert, again)
            if again is None:
                return
            due = again
            if alert.level <= thread.rung:
                thread.reasons.append(key)
        elif thread.asleep:
            return
        thread.due = due if thread.due is None else min(thread.due, due)
        if thread.due == now:
            self._moment.add(thread.key)

    def _wait_further(self, thread: Thread, alert: Alert, rings_at: Ms | None) -> None:
        """Decide when a further post tells ``alert``, unless a ring does as soon."""
        at = further_after(thread, alert, self.state.now)
        if at is None or (rings_at is not None and rings_at <= at):
            return
        thread.further_at = at
        if at == self.state.now:
            self._moment.add(thread.key)

    def _close(self, thread: Thread | None, alert: Alert) -> None:
        """An episode has ended."""
        key = str(alert.episode)
        if thread is None:
            if alert.post and self._chat.matches(alert):
                self._count(alert, NotPosted.OVER)
            return
        earlier = thread.parts[key]
        if thread.ended is not None:  # the end of the event was told
            thread.parts[key] = alert
            if alert.post:
                self._count(alert, NotPosted.MERGED)
            return
        untold = not thread.posted and key in thread.fresh and earlier.turn is not Turn.CLOSE
        if untold:  # over before it was told: worth a count, not a post
            del thread.parts[key]
            thread.fresh.remove(key)
            self._hold(earlier, NotPosted.OVER)
        if untold or earlier.turn is Turn.CLOSE:
            if alert.post:
                self._count(alert, NotPosted.OVER)
        else:
            if key in thread.fresh:
                thread.fresh.remove(key)
                self._count(earlier, NotPosted.MERGED)
            thread.parts[key] = with_level_of(earlier, alert)
            if alert.post:
                thread.fresh.append(key)
        self._grown[thread.key] = None
        if not thread.parts:
            del self.state.threads[thread.key]
        elif thread.posted and not thread.going_on:
            self._end(thread)
            if not self._chat.edits:
                self._edit(thread)

    def _looks_back(self, thread: Thread) -> bool:
        """Whether ``thread`` has a recap when it is over."""
        return self._chat.recap is not None and thread.level >= self._chat.recap

    def _end(self, thread: Thread) -> None:
        thread.end(self.state.now, self._prices)
        if self._looks_back(thread):
            self.deliveries.append(_recap(thread, self.state.now))
        if not self._chat.edits:
            thread.done = [*AFTER]  # nobody would read it

    # Time.

    def _advance(self, now: Ms) -> None:
        """Post what is due up to ``now``, in the order in which it is due."""
        if now > self.state.now:
            self._moment.clear()
        now = max(now, self.state.now)
        while ready := [
            thread
            for thread in self.state.threads.values()
            if (at := thread.next_at) is not None and at <= now and thread.key not in self._moment
        ]:
            thread = min(ready, key=lambda t: (t.next_at or 0, -t.level, t.began, t.key))
            self.state.now = max(self.state.now, thread.next_at or 0)
            if thread.due is None or thread.due > self.state.now:
                self._post_further(thread)
            else:
                self._post_due(self._waiting_market(thread) or thread)
        self.state.now = now
        for key, thread in list(self.state.threads.items()):
            if thread.ended is not None and thread.take_prices(now, self._prices):
                self._grown[key] = None
            if now - thread.grew > OLDEST:
                del self.state.threads[key]

    def _post_due(self, thread: Thread) -> None:
        """Post ``thread``, or let it ring again, unless quiet hours or the budget forbid."""
        thread.due = None
        if thread.asleep:
            thread = self._wake(thread)
        woken, thread.asleep = thread.asleep, False
        if not thread.parts:
            self.state.threads.pop(thread.key, None)
            return
        now, first = self.state.now, not thread.posted
        coins = self._coins_of(thread) if first else []
        rising = [coin for coin in coins if coin.due is not None and coin.due <= now]
        level = max(t.level for t in (thread, *rising))
        quiet = self._chat.quiet
        is_quiet = quiet is not None and quiet.covers(now)
        if quiet is not None and is_quiet and first and level is Level.WATCH:
            thread.asleep, thread.due = True, quiet.ends_after(now)
            return
        worsened = [] if first or level > thread.rung else thread.worsened()
        if not first and level <= thread.rung and not worsened:
            self._grown[thread.key] = None  # it is over by now: how bad it was is told by an edit
            thread.reasons = []
            return
        free = level is Level.CRITICAL or woken
        if not free and self._spent(level):
            if first:
                for alert in thread.news:
                    self._hold(alert)
                del self.state.threads[thread.key]
            else:
                self._grown[thread.key] = None
            return
        turn = Turn.OPEN
        if not first:
            turn = Turn.UP if level > thread.rung else Turn.WORSE
        for alert in worsened:
            thread.rang_worse(alert, now, self._chat.majors)
        silent = level is Level.WATCH or (is_quiet and level is not Level.CRITICAL)
        for coin in coins:
            thread.take_in(coin, now)
        if not silent or (thread.due or 0) <= now:
            thread.due = None  # of what is much worse, and has to wait for its ring, nothing rang
        self._deliver(thread, turn, level, silent)
        for coin in coins:
            self._edit(coin)

    def _post_further(self, thread: Thread) -> None:
        """Tell what is new in ``thread`` by a further post, unless it rings soon, or is told in the
        market's post soon, or the budget leaves it to a later one."""
        now, market = self.state.now, self._waiting_market(thread)
        soon = [t.due for t in (thread, market) if t is not None and _rings_soon(t, now)]
        thread.further_at = max((at + 1 for at in soon if at is not None), default=None)
        if soon:  # unless the budget keeps that back
            return
        level = max((alert.level for alert in thread.news), default=None)
        if level is None or (level < Level.CRITICAL and self._spent(level)):
            return
        worse = any(map(_goes_on, thread.news))
        self._deliver(thread, Turn.WORSE if worse else Turn.OPEN, level, silent=True)

    def _coins_of(self, thread: Thread) -> list[Thread]:
        """The threads of coins that are told in ``thread`` once it is posted."""
        if thread.subject != ALL:
            return []
        now = self.state.now
        return [t for t in coins_of(self.state.threads.values(), thread.theme, now) if t.posted]

    def _waiting_market(self, coin: Thread) -> Thread | None:
        """The thread that takes in ``coin`` once it is posted, which is soon."""
        waiting = [t for t in self.state.threads.values() if not (t.posted or t.asleep or t.ended)]
        return next((t for t in waiting if coin in self._coins_of(t)), None)

    def _wake(self, thread: Thread) -> Thread:
        """``thread``, which has waited for the end of the quiet hours, without what was silenced
        meanwhile; together with the others that did, if they are many."""
        asleep = [t for t in self.state.threads.values() if t.asleep and t.theme == thread.theme]
        for sleeper in asleep:
            for key in list(sleeper.fresh):
                if self._silenced(sleeper.parts[key], self.state.now):
                    sleeper.fresh.remove(key)
                    self._count(sleeper.parts.pop(key), NotPosted.SILENCED)
        coins = [t for t in asleep if t.parts and t.subject != ALL]
        if len({t.subject for t in coins}) < MARKET_FROM:
            return thread
        alert = next(iter(coins[0].parts.values()))
        market = next((t for t in asleep if t.subject == ALL), None) or self._begin(alert, ALL)
        self._fold(coins, market)
        market.due = None
        return market

    # What is delivered.

    def _deliver(self, thread: Thread, turn: Turn, level: Level, silent: bool) -> None:
        """A post of ``thread``. ``level``: that of what is new in it."""
        state = self.state
        held, state.held = state.held, {}
        state.posts += [state.now] if level < Level.CRITICAL else []
        state.watch_posts += [state.now] if level is Level.WATCH else []
        delivery = _shown(thread, state.now, turn)
        self.deliveries.append(replace(delivery, silent=silent, edit=False, held=held))
        state.counts.posted += len(thread.fresh)
        thread.fresh, thread.rung = [], max(thread.rung, thread.level)
        if not silent:
            thread.rang(state.now)
        thread.posted_at, thread.further_at = state.now, None
        self._grown.pop(thread.key, None)

    def _edit(self, thread: Thread) -> None:
        """The post of ``thread`` is edited; where none can be, the end is told by a post: the
        recap, or one that says it. Until then what is new waits for a further post."""
        delivery = _shown(thread, self.state.now)
        self._grown.pop(thread.key, None)
        if self._chat.edits:
            self.deliveries.append(delivery)
        elif delivery.turn is not Turn.CLOSE:
            return
        elif not self._looks_back(thread):
            self.deliveries.append(replace(delivery, edit=False))
        self.state.counts.posted += len(thread.fresh)
        thread.fresh = []

    def _deliver_alone(self, alert: Alert) -> None:
        """A post of ``alert`` alone, at once."""
        state, instance = self.state, _instance(alert)
        close = alert.turn is Turn.CLOSE
        begun = state.episodes.get(instance) == alert.opened_at
        if close and begun:
            del state.episodes[instance]
        if not alert.post or not self._chat.matches(alert):
            return
        if self._silenced(alert, alert.seen):
            self._count(alert, NotPosted.SILENCED)
        elif close and not begun:
            self._count(alert, NotPosted.OVER)
        else:
            if not close:
                state.episodes[instance] = alert.opened_at
            shown = alert if begun else replace(alert, turn=Turn.OPEN)
            silent = close or alert.level is Level.WATCH
            self.deliveries.append(Delivery(alerts=(shown,), at=state.now, silent=silent))
            state.counts.posted += 1

    def _silenced(self, alert: Alert, at: Ms) -> bool:
        return silenced(alert, self._silences, at)

    def _hold(self, alert: Alert, why: NotPosted = NotPosted.HELD) -> None:
        self._remember(alert, why)
        self.state.counts.held += 1
        self.state.held[alert.family] = self.state.held.get(alert.family, 0) + 1

    def _count(self, alert: Alert, why: NotPosted) -> None:
        self._remember(alert, why)
        counts = self.state.counts
        setattr(counts, why.value, getattr(counts, why.value) + 1)

    def _remember(self, alert: Alert, why: NotPosted) -> None:
        reasons = self.state.not_posted
        reasons[alert.id] = why
        while len(reasons) > NOT_POSTED_KEPT:
            del reasons[next(iter(reasons))]

    def _spent(self, level: Level) -> bool:
        """Whether the budget of the hour is spent. Half of it is not for watch."""
        state, most = self.state, self._chat.posts_per_hour
        state.posts = [t for t in state.posts if t > state.now - HOUR]
        state.watch_posts = [t for t in state.watch_posts if t > state.now - HOUR]
        watched = level is Level.WATCH and len(state.watch_posts) >= (most + 1) // 2
        return watched or len(state.posts) >= most


def merge_turns(alert: Alert, later: Alert) -> Alert:
    """Two turns of one episode, neither its end, as one: the newest values, under the turn that a
    reader who has seen neither must see first (a beginning before a rise before a worsening), with
    the highest level that was reached; the records as by ``with_level_of``."""
    first = max(later, alert, key=lambda turn: _FIRST_TO_READ.index(turn.turn))
    return msgspec.structs.replace(
        with_level_of(alert, later),
        id=first.id,
        turn=first.turn,
        held=alert.held + later.held,
    )


def with_level_of(alert: Alert, later: Alert) -> Alert:
    """``later`` with what stays true of ``alert``: the higher level, and its records if ``later``
    has none and is worse, by its value or its level."""
    higher = max(later, alert, key=lambda turn: turn.level)
    sign = -1 if later.fires == "below" else 1
    as_bad = later.level > alert.level or sign * later.value > sign * alert.value
    return msgspec.structs.replace(
        later,
        level=higher.level,
        threshold=higher.threshold,
        records=later.records or (alert.records if as_bad else ()),
    )


_FIRST_TO_READ = (Turn.WORSE, Turn.UP, Turn.OPEN)
"""The last of these takes the place of the others."""


def _instance(alert: Alert) -> str:
    return f"{alert.rule} {alert.instrument or alert.asset}"
