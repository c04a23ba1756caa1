"""Which posts each chat gets, of which alerts, and when. Pure: time comes from alerts and ``now``.

A chat's filters choose alerts by rule, asset and level. Alerts wait a little, so that a composite
can hide its parts and so that one event on many assets becomes one digest. What waits, and what
the plan remembers between calls, is in the state, which survives restarts.

Invariants:
- a critical alert is delivered by the call that takes it; only a composite hides it, and only what
  a composite adds to its post of shortly before may wait;
- every alert that the engine wants posted is posted, or counted under the reason why not;
- an alert that no filter of the chat matches is neither posted nor counted;
- turns of one episode are posted in their order, and an end only if the beginning was posted;
- how alerts are split over calls changes nothing but how critical alerts of one moment are bundled.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec

from bot.destination import ConsoleOutput, Destination, WebhookName, destination_key
from bot.plan.silences import Silence, silenced
from rules.alerts import Alert, Level, Turn
from streams.durations import HOUR, MINUTE, SECOND
from streams.events import Ms


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
    """What one post is made of: one alert, or a digest of several."""

    alerts: tuple[Alert, ...]
    """The worst first."""
    at: Ms
    """When it was due."""
    silent: bool
    joined: bool = False
    """A digest of what came after an earlier digest."""
    hidden: int = 0
    """How many alerts were folded into this composite since its last post."""
    held: Mapping[str, int] = {}
    """Family → alerts that the budget kept back, or that were over too soon, since the last
    post."""
    title: str = ""
    """The key of the phrase above a digest of several rules; "" where all are of one rule."""


def severity(alert: Alert) -> tuple[int, float]:
    """Sorts the worst first."""
    sign = 1 if alert.fires == "below" else -1
    return -alert.level, sign * alert.value


class Waiting(msgspec.Struct, frozen=True):
    """An alert to be posted at ``due``."""

    alert: Alert
    due: Ms


class Group(msgspec.Struct):
    """What is posted together: alerts of one family, in one direction."""

    waiting: list[Waiting] = []
    posted: dict[str, Ms] = msgspec.field(default_factory=dict[str, Ms], name="told")
    """Subject → when it was posted; forgotten after GROUP_OPEN."""
    digest_at: Ms | None = None
    """The last digest, or when so many had been posted that what joins waits for one."""


class LastPost(msgspec.Struct, frozen=True):
    """The last post of a family, a direction and a subject."""

    rule: str
    level: Level
    at: Ms


class NotPosted(StrEnum):
    """Why an alert was not posted."""

    HIDDEN = "hidden"
    """A composite covers it."""
    HELD = "held"
    """The budget kept it back."""
    SILENCED = "silenced"
    """A silence covers it."""
    MERGED = "merged"
    """A later turn of the episode, or another window of the rule, was posted in its place."""
    OVER = "over"
    """Its episode was over before it was posted, or it is the end of one that was not posted."""


class PlanCounts(msgspec.Struct):
    """How many alerts were posted so far, and how many were not, by ``NotPosted``."""

    posted: int = msgspec.field(default=0, name="told")
    hidden: int = 0
    held: int = 0
    """By the budget, or because the episode was over too soon."""
    silenced: int = 0
    merged: int = 0
    over: int = 0
    """Ends of episodes whose beginnings were not posted."""


class PlanState(msgspec.Struct):
    """Everything that the next answer depends on. A subject is an asset or a contract.

    A ``name`` is what older versions wrote the field under; plans they kept stay readable.
    """

    now: Ms = 0
    """The time up to which all that was due has been posted."""
    groups: dict[str, Group] = {}
    """Family and direction → its group."""
    episodes: dict[str, Ms] = msgspec.field(default_factory=dict[str, Ms], name="told")
    """Rule and subject → beginning of the episode that was posted, while that is open."""
    last_posts: dict[str, LastPost] = msgspec.field(
        default_factory=dict[str, LastPost], name="said"
    )
    """Family, direction and subject → its last post."""
    hiding: dict[str, Ms] = {}
    """Composite and asset whose parts it hides → when it was taken."""
    hidden: dict[str, int] = {}
    """Composite and asset → alerts hidden since its last post, which the next one counts."""
    held: dict[str, int] = {}
    """Family → alerts kept back since the last post, which the next one counts."""
    posts: list[Ms] = []
    """Times within the last hour of posts that were not critical."""
    watch_posts: list[Ms] = []
    """The same of posts at watch."""
    counts: PlanCounts = msgspec.field(default_factory=PlanCounts)
    quiet: dict[str, Alert] = {}
    """What waits for the end of the quiet hours: rule and subject → its newest turn."""
    quiet_until: Ms | None = None
    """When they end."""
    not_posted: dict[str, NotPosted] = msgspec.field(
        default_factory=dict[str, NotPosted], name="unsaid"
    )
    """The ids of the last NOT_POSTED_KEPT alerts that were not posted, and why."""


def set_back(state: PlanState, by: Ms, now: Ms) -> PlanState:
    """``state`` after the clock was set back ``by`` so much, to ``now``: everything is as long ago,
    or as far away, as it was."""
    later = load(dump(state))
    later.now = now
    for group in later.groups.values():
        group.waiting = [Waiting(waiting.alert, waiting.due - by) for waiting in group.waiting]
        group.posted = {subject: at - by for subject, at in group.posted.items()}
        group.digest_at = None if group.digest_at is None else group.digest_at - by
    later.last_posts = {
        topic: msgspec.structs.replace(post, at=post.at - by)
        for topic, post in later.last_posts.items()
    }
    later.hiding = {composite: at - by for composite, at in later.hiding.items()}
    later.posts = [at - by for at in later.posts]
    later.watch_posts = [at - by for at in later.watch_posts]
    # looked at again then: it is a time of day
    later.quiet_until = None if later.quiet_until is None else later.quiet_until - by
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
CLOSE_WAIT: Ms = 60 * SECOND
GROUP_OPEN: Ms = 10 * MINUTE
"""How long what comes belongs to the same group: posted in digests, once there are DIGEST_FROM."""

WINDOWS_AGREE: Ms = 30 * MINUTE
"""How long after a post the other windows of its rule have nothing to add on the same asset, unless
at a higher level."""

CLOCKS_APART: Ms = MINUTE
"""The clock that stamps alerts may be so far ahead of ours."""

UPDATE_EVERY: Ms = 5 * MINUTE
"""At most so often a post says that a posted episode got worse; meanwhile its post is edited. A
critical alert says so at once, unless it is a composite: what makes a composite worse are its
parts, which it hides."""

PRINT_EVERY: Ms = MINUTE
"""The same on the console, where nothing can be edited and a line more disturbs nobody. A webhook
gets it at once: how often is too often is for its receiver to say."""

NOT_POSTED_KEPT = 40
"""For so many of the last alerts that were not posted the reason is remembered."""

DIGEST_FROM = 4
"""So many assets (or contracts) that wait together become one digest; after so many posts, whatever
else joins waits for the next digest."""


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
        local = datetime.fromtimestamp(now / 1000, UTC).astimezone(ZoneInfo(self.zone))
        hour, minute = divmod(self.end, 60)
        end = local.replace(hour=hour, minute=minute, second=0, microsecond=0, fold=0)
        if end <= local:
            end += timedelta(days=1)  # by the clock on the wall, whatever summer time does
        return round(end.timestamp() * 1000)


class Chat(msgspec.Struct, frozen=True, kw_only=True):
    """Where posts go, of which alerts, and how many at most."""

    destination: Destination = ConsoleOutput()
    language: str = "en"
    filters: tuple[Filter, ...] = (Filter(),)
    """An alert is for this chat if one of them matches it."""
    private: bool = False
    """Whether it is one person's chat with the bot."""
    posts_per_hour: int = 12
    """Once so many were posted within an hour, only critical alerts still come; of watch, at most
    half as many. Critical alerts and ends are not counted."""
    quiet: Quiet | None = None
    """In these hours alerts at watch wait until the hours end, and those at alert are silent."""
    group_wait: Mapping[Level, Ms] = msgspec.field(default_factory=lambda: GROUP_WAIT)
    """How long an alert waits for others; a critical one never does."""
    hides: Mapping[str, Sequence[str]] = {}
    """Composite → the families of its parts."""

    @property
    def key(self) -> str:
        """What the chat is called where it is remembered."""
        return destination_key(self.destination)

    def matches(self, alert: Alert) -> bool:
        """Whether ``alert`` is for this chat. An end is posted only if its beginning was."""
        return any(wanted.matches(alert) for wanted in self.filters)


def next_due(state: PlanState) -> Ms | None:
    """When ``plan`` has something to post even if nothing more happens; None: never."""
    due = [waiting.due for group in state.groups.values() for waiting in group.waiting]
    if state.quiet and state.quiet_until is not None:
        due.append(state.quiet_until)
    return min(due, default=None)


def plan(
    state: PlanState, alerts: Iterable[Alert], chat: Chat, silences: Sequence[Silence], now: Ms
) -> tuple[PlanState, list[Delivery]]:
    """The state after ``alerts``, and what is due up to ``now``; ``state`` itself is not changed.

    An alert from long after ``now`` is one of a clock that is ahead of ours, and is not waited for.
    """
    planner = _Planner(load(dump(state)), chat, silences)
    for alert in alerts:
        if alert.post and chat.matches(alert):
            planner.take(alert, now)
        elif alert.turn is Turn.CLOSE:
            planner.end_unposted(alert, now)
    planner.advance(now)
    planner.ring()
    return planner.state, planner.deliveries


class _Planner:
    """One call of ``plan``: a state of its own, and what is to be delivered."""

    def __init__(self, state: PlanState, chat: Chat, silences: Sequence[Silence]) -> None:
        self.state = state
        self.deliveries: list[Delivery] = []
        self._chat = chat
        self._silences = silences
        self._ringing: list[Alert] = []

    def take(self, alert: Alert, now: Ms) -> None:
        """Put ``alert`` where it waits, or count why it does not."""
        self.advance(min(alert.seen, now + CLOCKS_APART))
        if self._hidden(alert):
            self._hide(alert, alert.hidden_by)
        elif self._silenced(alert):
            self.state.counts.silenced += 1
            self._not_posted(alert, NotPosted.SILENCED)
            self.state.hiding.pop(_composite(alert.family, alert), None)
            self._end_without_post(alert)
        elif alert.turn is Turn.CLOSE:
            self._take_close(alert)
        else:
            self._fold_parts(alert)
            alert = self._with_ringing(alert)
            earlier = self._take_back(alert)
            self._merged(earlier)
            if earlier is not None and earlier.alert.turn is Turn.CLOSE:
                earlier = None
            pause = self._pause(alert)
            rings = alert.level is Level.CRITICAL
            if rings and not (pause and alert.family in self._chat.hides):
                self._ringing.append(alert)
            else:
                wait = self._chat.group_wait.get(alert.level, 0)
                self._wait(alert, max(wait, pause), earlier)

    def end_unposted(self, alert: Alert, now: Ms) -> None:
        """Take an end that is not to be posted: what ended in quiet hours is not posted when they
        are over."""
        self.advance(min(alert.seen, now + CLOCKS_APART))
        asleep = self.state.quiet.get(_instance(alert))
        if asleep is not None and asleep.opened_at == alert.opened_at:
            del self.state.quiet[_instance(alert)]
            self._hold(asleep, NotPosted.OVER)

    def advance(self, now: Ms) -> None:
        """Post what is due up to ``now``, in the order in which it is due."""
        if now > self.state.now:
            self.ring()
        now = max(now, self.state.now)
        while (due := next_due(self.state)) is not None and due <= now:
            self.state.now = max(self.state.now, due)
            for group in self.state.groups.values():
                if any(w.due <= due for w in group.waiting):
                    self._post_due(group, due)
            if self.state.quiet and (self.state.quiet_until or 0) <= due:
                self._end_quiet()
        self.state.now = now
        for key, group in list(self.state.groups.items()):
            _forget_posted(group, now)
            if not group.waiting and not group.posted and not _open(group, now):
                del self.state.groups[key]

    def ring(self) -> None:
        """Post the critical alerts of this moment, bundled among themselves only."""
        by_group: dict[str, list[Alert]] = {}
        for alert in self._ringing:
            by_group.setdefault(_group(alert), []).append(alert)
        self._ringing = []
        for alerts in by_group.values():
            if len(_subjects(alerts)) >= DIGEST_FROM:
                self._deliver(alerts)
            else:
                for alert in alerts:
                    self._deliver([alert])

    def _not_posted(self, alert: Alert, why: NotPosted) -> None:
        reasons = self.state.not_posted
        reasons[alert.id] = why
        while len(reasons) > NOT_POSTED_KEPT:
            del reasons[next(iter(reasons))]

    def _hidden(self, alert: Alert) -> bool:
        """Whether this chat gets a composite instead."""
        hides = _composite(alert.hidden_by, alert) in self.state.hiding
        return hides and alert.hidden_by in self._chat.hides

    def _silenced(self, alert: Alert, now: Ms | None = None) -> bool:
        """Whether a silence covers it when it came, or ``now``."""
        if alert.level is Level.CRITICAL:
            return False
        at = alert.seen if now is None else now
        return silenced(alert, self._silences, at)

    def _with_ringing(self, alert: Alert) -> Alert:
        """``alert`` as the only post of its moment: one event can move two windows of a composite,
        which then rises and gets worse."""
        for ringing in self._ringing:
            if _instance(ringing) == _instance(alert):
                self._ringing.remove(ringing)
                self._merged(Waiting(ringing, self.state.now))
                return msgspec.structs.replace(merge_turns(ringing, alert), id=alert.id)
        return alert

    def _take_close(self, alert: Alert) -> None:
        posted = self._posted(alert)
        waited = self._take_back(alert)
        if posted:
            self._merged(waited)
            self._wait(alert, CLOSE_WAIT, None)
            return
        self.state.counts.over += 1
        self._not_posted(alert, NotPosted.OVER)
        if waited is not None:  # over before it was posted: worth a count, not a post
            self._hold(waited.alert, NotPosted.OVER)

    def _merged(self, waited: Waiting | None) -> None:
        if waited is not None:
            self.state.counts.merged += 1
            self._not_posted(waited.alert, NotPosted.MERGED)

    def _pause(self, alert: Alert) -> Ms:
        """How long to wait until a post may say that the posted episode got worse."""
        every = UPDATE_EVERY
        match self._chat.destination:
            case WebhookName():
                return 0
            case ConsoleOutput():
                every = PRINT_EVERY
            case _:
                pass
        last = self.state.last_posts.get(_topic(alert))
        if alert.turn is not Turn.WORSE or not self._posted(alert) or last is None:
            return 0
        return max(0, last.at + every - self.state.now)

    def _posted(self, alert: Alert) -> bool:
        """Whether the beginning of its episode was posted, and its end was not."""
        return self.state.episodes.get(_instance(alert)) == alert.opened_at

    def _fold_parts(self, alert: Alert) -> None:
        """A composite takes over those of its parts that are still to be posted."""
        parts = self._chat.hides.get(alert.family)
        if parts is None:
            return
        self.state.hiding[_composite(alert.family, alert)] = self.state.now

        def part(other: Alert) -> bool:
            mine = other.asset == alert.asset and other.family in parts
            # nothing is hidden by something milder
            return mine and other.turn is not Turn.CLOSE and other.level <= alert.level

        for group in self.state.groups.values():
            for waiting in [w for w in group.waiting if part(w.alert)]:
                group.waiting.remove(waiting)
                self._hide(waiting.alert, alert.family)
        for key, other in [item for item in self.state.quiet.items() if part(item[1])]:
            del self.state.quiet[key]
            self._hide(other, alert.family)
        for other in [a for a in self._ringing if part(a)]:
            self._ringing.remove(other)
            self._hide(other, alert.family)

    def _hide(self, alert: Alert, composite: str) -> None:
        key = _composite(composite, alert)
        self.state.counts.hidden += 1
        self._not_posted(alert, NotPosted.HIDDEN)
        self.state.hidden[key] = self.state.hidden.get(key, 0) + 1
        self._end_without_post(alert)

    def _hold(self, alert: Alert, why: NotPosted = NotPosted.HELD) -> None:
        held = self.state.held
        self._not_posted(alert, why)
        self.state.counts.held += 1
        held[alert.family] = held.get(alert.family, 0) + 1
        self.state.hiding.pop(_composite(alert.family, alert), None)

    def _end_without_post(self, alert: Alert) -> None:
        """The end of an episode that is not posted: what still waits of it is not posted either."""
        if alert.turn is Turn.CLOSE:
            posted = self._posted(alert)
            waited = self._take_back(alert)
            if posted:
                self._merged(waited)
            elif waited is not None:
                self._hold(waited.alert, NotPosted.OVER)
            self._forget(alert)

    def _forget(self, alert: Alert) -> None:
        """The episode is over, whether its end is posted or not."""
        if alert.turn is Turn.CLOSE and self._posted(alert):
            del self.state.episodes[_instance(alert)]

    def _take_back(self, alert: Alert) -> Waiting | None:
        """Take out what waits of the same rule and subject: the newer alert replaces it."""
        instance = _instance(alert)
        for group in self.state.groups.values():
            for waiting in group.waiting:
                if _instance(waiting.alert) == instance:
                    group.waiting.remove(waiting)
                    return waiting
        if (asleep := self.state.quiet.pop(instance, None)) is not None:
            return Waiting(asleep, self.state.quiet_until or self.state.now)
        return None

    def _wait(self, alert: Alert, wait: Ms, earlier: Waiting | None) -> None:
        now = self.state.now
        group = self.state.groups.setdefault(_group(alert), Group())
        due = now + wait
        if group.digest_at is not None and _open(group, now):
            slot = group.digest_at + GROUP_OPEN
            due = max(due, slot) if _patient(alert) else due
        elif not group.waiting:
            group.digest_at = None
        if earlier is not None:
            due = min(due, earlier.due)
        group.waiting.append(Waiting(alert, due))

    def _post_due(self, group: Group, due: Ms) -> None:
        subjects = len(_subjects([w.alert for w in group.waiting]))
        joined = group.digest_at is not None
        if subjects >= DIGEST_FROM or (joined and subjects > 1):
            alerts = [w.alert for w in group.waiting]
            group.waiting.clear()
            group.digest_at = due if self._deliver(alerts, joined=joined) else None
            return
        ready = [w for w in group.waiting if w.due <= due]
        group.waiting = [w for w in group.waiting if w.due > due]
        group.digest_at = None
        for waiting in sorted(ready, key=lambda w: -w.alert.level):
            self._deliver([waiting.alert])

    def _deliver(self, alerts: list[Alert], joined: bool = False) -> bool:
        """Deliver ``alerts`` as one post, unless quiet hours, the budget or other posts forbid.

        Whether there is a post.
        """
        alerts = self._worth_posting(alerts)
        if not alerts:
            return False
        level = max(a.level for a in alerts)
        close = alerts[0].turn is Turn.CLOSE
        quiet = self._chat.quiet is not None and self._chat.quiet.covers(self.state.now)
        free = close or level is Level.CRITICAL
        if quiet and level is Level.WATCH and not close:
            self._wait_for_morning(alerts)
            return False
        if not free and self._spent(level):
            for alert in alerts:
                self._hold(alert)
            return False
        silent = close or level is Level.WATCH or (quiet and level is not Level.CRITICAL)
        self._post(alerts, silent, joined)
        return True

    def _wait_for_morning(self, alerts: Sequence[Alert]) -> None:
        """Keep alerts at watch for the end of the quiet hours."""
        if self._chat.quiet is not None:
            self.state.quiet |= {_instance(alert): alert for alert in alerts}
            self.state.quiet_until = self._chat.quiet.ends_after(self.state.now)

    def _end_quiet(self) -> None:
        """Post one digest of what has waited and is still open; what has ended is left out."""
        state = self.state
        if self._chat.quiet is not None and self._chat.quiet.covers(state.now):
            state.quiet_until = self._chat.quiet.ends_after(state.now)  # the hours have changed
            return
        waited, state.quiet, state.quiet_until = list(state.quiet.values()), {}, None
        silenced = [a for a in waited if self._silenced(a, state.now)]
        state.counts.silenced += len(silenced)
        for alert in silenced:
            self._not_posted(alert, NotPosted.SILENCED)
        by_group: dict[str, list[Alert]] = {}
        for alert in waited:
            if alert not in silenced:
                by_group.setdefault(_group(alert), []).append(alert)
        alerts = [alert for group in by_group.values() for alert in self._worth_posting(group)]
        if alerts:
            alerts.sort(key=severity)
            title = "quiet.over" if len(alerts) > 1 else ""
            self._post(alerts, silent=True, joined=False, title=title)

    def _worth_posting(self, alerts: list[Alert]) -> list[Alert]:
        """The worst first, one for each subject, without what another window has just posted."""
        chosen: dict[str, Alert] = {}
        for alert in sorted(alerts, key=severity):
            if _subject(alert) in chosen or self._just_posted(alert):
                self.state.counts.merged += 1
                self._not_posted(alert, NotPosted.MERGED)
                self._forget(alert)
            else:
                chosen[_subject(alert)] = alert
        return list(chosen.values())

    def _just_posted(self, alert: Alert) -> bool:
        """Whether another window of the rule has just been posted, at no lower level."""
        last = self.state.last_posts.get(_topic(alert))
        if last is None or last.rule == alert.rule or alert.level is Level.CRITICAL:
            return False
        return last.level >= alert.level and self.state.now - last.at < WINDOWS_AGREE

    def _spent(self, level: Level) -> bool:
        """Whether the budget of the hour is spent. Half of it is not for watch."""
        state, most = self.state, self._chat.posts_per_hour
        state.posts = [t for t in state.posts if t > state.now - HOUR]
        state.watch_posts = [t for t in state.watch_posts if t > state.now - HOUR]
        watched = level is Level.WATCH and len(state.watch_posts) >= (most + 1) // 2
        return watched or len(state.posts) >= most

    def _post(self, alerts: list[Alert], silent: bool, joined: bool, title: str = "") -> None:
        state = self.state
        close = alerts[0].turn is Turn.CLOSE
        hidden = sum(state.hidden.pop(_composite(alert.family, alert), 0) for alert in alerts)
        held: dict[str, int] = {}
        if not close:
            held, state.held = state.held, {}
            level = max(alert.level for alert in alerts)
            state.posts += [state.now] if level < Level.CRITICAL else []
            state.watch_posts += [state.now] if level is Level.WATCH else []
        self._join(alerts)
        self.deliveries.append(
            Delivery(
                alerts=tuple(self._mark_posted(alert) for alert in alerts),
                at=state.now,
                silent=silent,
                joined=joined,
                title=title,
                hidden=hidden,
                held=held,
            )
        )

    def _join(self, alerts: Sequence[Alert]) -> None:
        """Posts that follow each other closely make a group, as if they had waited together."""
        now = self.state.now
        for key in dict.fromkeys(map(_group, alerts)):
            group = self.state.groups.setdefault(key, Group())
            _forget_posted(group, now)
            mine = [alert for alert in alerts if _group(alert) == key]
            group.posted |= dict.fromkeys(_subjects(mine), now)
            if len(group.posted) >= DIGEST_FROM and not _open(group, now):
                group.digest_at = now

    def _mark_posted(self, alert: Alert) -> Alert:
        """``alert`` as it is posted: the first post of an episode says that it began."""
        state = self.state
        state.counts.posted += 1
        if alert.turn is Turn.CLOSE:
            self._forget(alert)
            return alert
        state.last_posts[_topic(alert)] = LastPost(alert.rule, alert.level, state.now)
        begun = self._posted(alert)
        state.episodes[_instance(alert)] = alert.opened_at
        if begun or self._posted_by_composite(alert):
            return alert
        return msgspec.structs.replace(alert, turn=Turn.OPEN)

    def _posted_by_composite(self, alert: Alert) -> bool:
        """Whether a post of a composite covers its episode: what is new is how it goes on."""
        composites = [name for name, parts in self._chat.hides.items() if alert.family in parts]
        posts = [self.state.last_posts.get(f"{name} above {alert.asset}") for name in composites]
        posted = any(post is not None and post.at >= alert.opened_at for post in posts)
        return posted and alert.turn is not Turn.OPEN and alert.level is Level.CRITICAL


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


def _subject(alert: Alert) -> str:
    return alert.instrument or alert.asset


def _instance(alert: Alert) -> str:
    return f"{alert.rule} {_subject(alert)}"


def _topic(alert: Alert) -> str:
    return f"{_group(alert)} {_subject(alert)}"


def _composite(name: str, alert: Alert) -> str:
    return f"{name}:{alert.asset}"


def _group(alert: Alert) -> str:
    end = " end" if alert.turn is Turn.CLOSE else ""
    return f"{alert.family} {alert.fires}{end}"


def _subjects(alerts: Iterable[Alert]) -> list[str]:
    return list(dict.fromkeys(_subject(alert) for alert in alerts))


def _forget_posted(group: Group, now: Ms) -> None:
    group.posted = {name: at for name, at in group.posted.items() if now < at + GROUP_OPEN}


def _open(group: Group, now: Ms) -> bool:
    return group.digest_at is not None and now < group.digest_at + GROUP_OPEN


def _patient(alert: Alert) -> bool:
    """Whether it may wait for a digest of what joins."""
    return alert.turn is Turn.CLOSE or alert.level is not Level.CRITICAL
