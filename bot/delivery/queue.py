"""The queue of one chat's posts: which step is next, and what its outcome changes. Pure.

Invariants:
- one thing at a time: until it is settled whether a post arrived, nothing else is sent;
- critical posts go first, the others as they came; a critical post takes with it the earlier ones
  of its episodes, so that turns of an episode keep their order;
- a post that was confirmed is never sent again;
- an end is posted only if readers heard of its episode; the first post that they get of one is its
  beginning, and says so, whatever was given up before it;
- what waits of one event becomes one post, with the values of when it leaves; a post by itself is
  one event with the other turns of its episode, but not with its end;
- a picture follows a post that has rung, or a report, when nothing waits to be sent; it is tried
  once;
- a thread goes on in its newest post, by edits; the ones before say so, and so do those of a coin
  that the market's thread has taken in, once a post in which it goes on has arrived.

Every change is noted until somebody has made it durable. Posts that waited too long become digests.
"""

from collections.abc import Iterable, Sequence

import msgspec

from bot.delivery import pace
from bot.delivery.pace import Limits
from bot.delivery.post import (
    GIVEN_UP,
    SETTLED,
    WAITING,
    ChatState,
    DeleteStep,
    DeliveryProblem,
    DrawnPicture,
    EditStep,
    Part,
    PictureStep,
    Policy,
    Post,
    PostState,
    ProbeStep,
    QueueStep,
    SendStep,
)
from bot.delivery.rendering import (
    Present,
    ages,
    as_it_is,
    as_openings,
    edited,
    lines_below,
    live_text,
    merged_delivery,
    open_episodes,
    post_heads,
    rendered,
    set_back,
    values_at,
    with_present,
)
from bot.delivery.sinks import Edited
from bot.destination import TelegramChat, knows_keys, takes_pictures
from bot.lang import LANGUAGES
from bot.messages.blocks import MOST_CHARS, visible
from bot.messages.thread import delivery_message
from bot.messages.voice import say
from bot.plan.planner import Delivery
from rules.alerts import CascadeFacts, Turn
from streams.events import Ms

_ROOM = MOST_CHARS - 400
"""How long a digest may be. The rest of a message is for values that have changed when it is sent,
and for lines that say that it is late, or that others were left out."""


def digests(posts: Sequence[Post], title: str) -> list[Post]:
    """As few posts as can be in place of ``posts``, in their order. ``title``: a phrase's key.

    In them are the first lines of all, and the lists of those that are digests already. Facts are
    left out: longer messages reach Telegram's limits sooner. One that is left alone stays as it is.
    """
    groups: list[list[Post]] = []
    room = 0
    for post in posts:
        size = sum(visible(head) + 1 for head in post_heads(post))
        if not groups or size > room:
            groups.append([])
            room = _ROOM - visible(_title(posts, title))
        groups[-1].append(post)
        room -= size
    return [_digest(group, title) if len(group) > 1 else group[0] for group in groups]


def _title(posts: Sequence[Post], title: str) -> str:
    words = LANGUAGES[posts[0].language]
    return say(words, title, count=str(sum(post.gathered for post in posts)))


def _digest(posts: Sequence[Post], title: str) -> Post:
    last = posts[-1]
    worst = max(posts, key=lambda post: post.message.level)
    closes = all(post.close for post in posts)
    message = msgspec.structs.replace(
        worst.message,
        asset="",
        turn=Turn.CLOSE if closes else Turn.OPEN,
        silent=all(post.message.silent for post in posts),
        at=max(post.message.at for post in posts),
    )
    digest = Post(
        key=f"digest {posts[0].key} +{len(posts) - 1}",
        chat=last.chat,
        number=last.number,
        message=message,
        at=max(post.at for post in posts),
        expires=max(post.expires for post in posts),
        parts=tuple(part for post in posts for part in _parts(post)),
        title=title,
        language=last.language,
        topic=last.topic,
        count=sum(post.count for post in posts),
        alerts=_union(post.alerts for post in posts),
        grown=_union(post.grown for post in posts)[-_GROWN:],
        names=_union(post.names for post in posts),
        episodes=_union(post.episodes for post in posts),
        open=_union(post.open for post in posts),
        openings=_union(post.openings for post in posts) if closes else (),
        gathered=sum(post.gathered for post in posts),
        picture=max((post.picture for post in posts), key=lambda theme: theme != "none"),
    )
    return msgspec.structs.replace(digest, message=rendered(digest))


def _merged(first: Post, later: Post) -> Post | None:
    """Both in the place of ``first``; None if they are not of the same episodes."""
    older, newer = (p.threaded if p.thread else p.delivery for p in (first, later))
    same = first.thread == later.thread
    if not first.thread:
        same = same and set(first.episodes) == set(later.episodes)
    if older is None or newer is None or not same:
        return None
    delivery = merged_delivery(older, newer)
    return msgspec.structs.replace(
        first,
        message=delivery_message(delivery, LANGUAGES[first.language]),
        expires=max(first.expires, later.expires),
        parts=(delivery,),
        alerts=_union((first.alerts, later.alerts)),
        grown=_union((first.grown, later.grown))[-_GROWN:],
        names=_union((first.names, later.names)),
        episodes=_union((first.episodes, later.episodes)),
        open=later.open,
        count=len(delivery.alerts),
        markup=True,
    )


def _covered_by(sent: Post, post: Post) -> bool:
    """Whether ``sent`` showed all episodes of ``post`` with values as new, at a level as high, and
    with a sound if ``post`` has one."""
    delivery = post.delivery
    if sent.state is not PostState.SENT or delivery is None:
        return False
    if sent.message.level < post.message.level or sent.message.silent > post.message.silent:
        return False
    for alert in delivery.alerts:
        # one event can give a composite two turns, of which the second knows more
        later, key = isinstance(alert.facts, CascadeFacts), str(alert.episode)
        if sent.values_at.get(key, -1) < alert.seen + later:
            return False
        if key in sent.ages and sent.ages[key] < alert.age + later:
            return False  # the clock of the streams was set back in between
    return set(sent.episodes) == set(post.episodes)


def _still_to_say(before: Delivery, later: Delivery) -> Delivery:
    """``later`` in a post that is still to be sent: what happened, as ``before`` says it."""
    turns = {alert.episode: alert.turn for alert in before.alerts}
    alerts = [
        alert
        if alert.turn is Turn.CLOSE
        else replace(alert, turn=turns.get(alert.episode, alert.turn))
        for alert in later.alerts
    ]
    over = later.turn is Turn.CLOSE
    return replace(
        later,
        alerts=tuple(alerts),
        turn=later.turn if over else before.turn,
        silent=over or before.silent,
        held=before.held,
        at=before.at,
    )


def _parts(post: Post) -> tuple[Part, ...]:
    """What it is rendered from; of a post without alerts the lines that cannot be left out."""
    return post.parts or post_heads(post)


def _union(several: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for names in several for name in names))


replace = msgspec.structs.replace

_GROWN = 200
"""So many of the alerts that edits have told are remembered of a post."""

_NAMES = 5
"""So many names of what was left out are shown."""

_DOUBLINGS = 6
"""So often the wait after an unclear answer doubles."""


class ChatQueue:
    """The posts of one chat: what is next, what is known of the chat, and what has changed."""

    def __init__(
        self,
        key: str,
        state: ChatState,
        limits: Limits,
        policy: Policy | None = None,
        posts: Iterable[Post] = (),
    ) -> None:
        self.key = key
        self.state = state
        self.limits = limits
        self.policy = policy or Policy()
        self.posts = {post.key: post for post in sorted(posts, key=lambda p: p.number)}
        self.changed: dict[str, Post | None] = {}
        """Posts by key that are not durable as they are; None: forgotten."""
        self.state_changed = False
        """Whether what is known of the chat is not durable as it is."""
        self.problems: list[DeliveryProblem] = []
        """Those that operators have not been informed of yet."""
        self.present: Present = {}
        self.pictures: dict[str, DrawnPicture] = {}
        """Those that are ready, by the keys of the posts that they are to follow."""
        for post in list(self.posts.values()):
            self._end_episodes(post)

    def waiting(self) -> list[Post]:
        """The posts that are to be sent, the oldest first."""
        return [post for post in self.posts.values() if post.state in WAITING]

    def idle(self) -> bool:
        """Whether everything is settled but edits."""
        settled = all(post.state in SETTLED for post in self.posts.values())
        return settled and not self.state.duplicates and not self.state.suspects

    def opening(self, episode: str, topic: int | None) -> Post | None:
        """The post in which readers of this topic hear of ``episode`` first."""
        posts = self._posts_of(episode, topic)
        return next((post for post in posts if post.state not in GIVEN_UP), None)

    def heard(self, thread: str, topic: int | None, number: int | None = None) -> bool:
        """Whether readers of this topic get a post of this thread (before that of the number)."""
        return any(
            post.thread == thread
            and post.topic == topic
            and (number is None or post.number < number)
            for post in self.posts.values()
            if post.state not in GIVEN_UP
        )

    def lost(self, episode: str, topic: int | None) -> bool:
        """Whether readers of this topic got no post of ``episode``, since each was given up."""
        posts = self._posts_of(episode, topic)
        return bool(posts) and all(post.state in GIVEN_UP for post in posts)

    def _posts_of(self, episode: str, topic: int | None) -> list[Post]:
        return [
            post
            for post in self.posts.values()
            if episode in post.episodes and post.topic == topic and not post.close
        ]

    def add(self, post: Post) -> None:
        """``post``, which has been kept already, joins the queue; a second time it is ignored."""
        if post.key not in self.posts:
            self.posts[post.key] = post
            self._end_episodes(post)

    def grow(self, delivery: Delivery, topic: int | None, now: Ms) -> bool:
        """The post of the delivery's thread shows it from now on. False: there is no such post."""
        post = self._living(delivery, topic)
        if post is None:
            return self._grow_in_digest(delivery, topic)
        if delivery.into and self._unsent(post) and self.heard(delivery.into, topic):
            self._drop(post.key)
            self._ring_instead(post)
            return self.grow(delivery, topic, now)  # one before it may have arrived
        if post.state in WAITING and post.threaded is not None:
            delivery = _still_to_say(post.threaded, delivery)
        alerts = _union((post.grown, tuple(alert.id for alert in delivery.alerts)))
        changed = replace(
            post,
            thread=delivery.thread,
            into=delivery.into,
            goes_on="unwatched" if delivery.unwatched else "",
            parts=(replace(delivery, into="", unwatched=False),),
            episodes=_union((post.episodes, tuple(str(a.episode) for a in delivery.alerts))),
            names=tuple(dict.fromkeys(alert.asset for alert in delivery.alerts)),
            count=len(delivery.alerts),
            grown=tuple(name for name in alerts if name not in post.alerts)[-_GROWN:],
            open=() if delivery.unwatched else open_episodes([delivery]),
        )
        if delivery.into and self._arrived_after(changed):
            changed = replace(changed, goes_on="market", open=())
        if post.state in WAITING and not self._perhaps_taken(post):
            message = delivery_message(delivery, LANGUAGES[post.language])
            changed = replace(changed, message=message)
        live = live_text(changed)
        state = (live, changed.open, changed.thread, changed.into)
        if state == (post.live, post.open, post.thread, post.into):
            return True
        until = post.kept_until if changed.open else now + self.policy.thread_over
        changed = replace(changed, live=live, kept_until=until)
        self.posts[post.key] = self.changed[post.key] = changed
        ends = bool(post.open) and delivery.turn is Turn.CLOSE
        if changed.open or ends:
            self._post_untold(changed, now)
        return True

    def _living(self, delivery: Delivery, topic: int | None) -> Post | None:
        """The post in which the thread goes on: its newest one; of one that began before there were
        threads, the opening of its episodes."""
        here = [p for p in self.posts.values() if p.topic == topic and p.state not in GIVEN_UP]
        posts = [post for post in here if post.thread == delivery.thread]
        if posts:
            return max(posts, key=lambda post: post.number)
        of = {str(alert.episode) for alert in delivery.alerts}
        older = [p for p in here if not (p.thread or p.title or p.close or of.isdisjoint(p.open))]
        return next(iter(older), None)

    def _grow_in_digest(self, delivery: Delivery, topic: int | None) -> bool:
        """The same in the newest digest that is still to be sent and tells of it; or one that was
        sent has told it."""
        for post in reversed(self.waiting()):
            mine = [p for p in post.parts if isinstance(p, Delivery) and p.thread]
            if post.topic != topic or delivery.thread not in {part.thread for part in mine}:
                continue
            first = next(part for part in mine if part.thread == delivery.thread)
            parts = tuple(
                _still_to_say(first, delivery) if part is first else part
                for part in post.parts
                if part is first or part not in mine or part.thread != delivery.thread
            )
            grown = tuple(alert.id for alert in delivery.alerts if alert.id not in post.alerts)
            self.posts[post.key] = self.changed[post.key] = replace(
                post,
                parts=parts,
                grown=_union((post.grown, grown))[-_GROWN:],
                episodes=_union((post.episodes, tuple(str(a.episode) for a in delivery.alerts))),
                open=open_episodes(parts),
            )
            return True
        ids = {alert.id for alert in delivery.alerts}
        settled = [p for p in self.posts.values() if p.title and p.topic == topic]
        return any(
            ids <= {*post.alerts, *post.grown} for post in settled if post.state not in GIVEN_UP
        )

    def _ring_instead(self, dropped: Post) -> None:
        """What waits of the episodes of a post that is not sent any more rings if that would have
        rung."""
        for post in self.waiting():
            common = not set(post.episodes).isdisjoint(dropped.episodes)
            if not common or post.topic != dropped.topic:
                continue
            silent = post.message.silent and dropped.message.silent
            alerts = _union((post.alerts, dropped.alerts))
            self._put(post, message=replace(post.message, silent=silent), alerts=alerts)

    def _uneditable(self, post: Post) -> bool:
        """Whether it was posted where posts can be edited, and is not there any more."""
        chat = isinstance(self.state.destination, TelegramChat)
        return (
            chat and post.state is PostState.SENT and post.message_id is None and not post.reposted
        )

    def _told_elsewhere(self, post: Post) -> bool:
        """Whether other posts, digests too, tell what edits of ``post`` told or were to tell."""
        if post.goes_on:
            return post.goes_on != "unwatched"
        if post.into and self.heard(post.into, post.topic):
            return True  # in the market's, which may wait still
        others = [p for p in self.posts.values() if p.key != post.key and p.topic == post.topic]
        ids = {of for p in others if p.state not in GIVEN_UP for of in (*p.alerts, *p.grown)}
        return bool(post.grown) and ids.issuperset(post.grown)

    def _post_untold(self, post: Post, now: Ms) -> None:
        """Post what an edit was to say, where there is none to be made and nothing else says it."""
        if self._uneditable(post) and not self._told_elsewhere(post):
            self._post_again(post, now)

    def _post_again(self, post: Post, now: Ms) -> None:
        """Its message is not there any more: it is posted once more, without a sound."""
        self._put(
            post,
            state=PostState.QUEUED,
            reposted=True,
            attempts=0,
            message_id=None,
            message=replace(post.message, silent=True),
            at=now,
            expires=now + self.policy.expires[post.message.level],
        )

    def live(self) -> None:
        """Take what the rules have published: threads are edited accordingly."""
        for post in [p for p in self.posts.values() if p.thread and p.open and not p.goes_on]:
            if post.state in WAITING or post.state in GIVEN_UP:
                continue  # what waits is rendered when it leaves
            parts = with_present(post.parts, self.present)
            if parts != post.parts:
                # that it rose or got worse was news when it was sent
                changed = replace(post, parts=as_openings(parts, post.open))
                self.posts[post.key] = replace(changed, live=live_text(changed))

    def set_back(self, by: Ms) -> None:
        """The clock was set back ``by`` so much, negative: ahead. Everything is as old as it was.

        Values keep their time where it went ahead: what comes has a later one in any case.
        """
        for post in list(self.posts.values()):
            changes: dict[str, object] = {
                name: max(0, at - by)
                for name in ("at", "expires", "edited_at", "kept_until")
                if (at := getattr(post, name))
            }
            if by > 0:
                changes["values_at"] = {of: at - by for of, at in post.values_at.items()}
                changes["parts"] = set_back(post.parts, by)
            self._put(post, **changes)
        closed = {topic: max(0, at - by) for topic, at in self.state.closed_topics.items()}
        off = max(0, self.state.off_until - by)
        self._update(pace=pace.set_back(self.state.pace, by), off_until=off, closed_topics=closed)

    def prune(self, now: Ms) -> None:
        """Forget what has been settled for long."""
        settled = [post for post in self.posts.values() if post.state in SETTLED]
        surplus = settled[: max(0, len(settled) - self.policy.most)]
        for post in [*surplus, *(p for p in settled if p.kept_until < now)]:
            self._drop(post.key)

    def _end_episodes(self, close: Post) -> None:
        """The episodes of ``close``, if that is an end, are over."""
        for post in list(self.posts.values()) if close.close else []:
            if post is close or not set(post.open) & set(close.episodes):
                continue
            rest = tuple(of for of in post.open if of not in close.episodes)
            until = post.kept_until if rest else close.at + self.policy.over
            self._put(post, open=rest, kept_until=until)

    def _fail(self, post: Post, reason: str, now: Ms) -> None:
        self._settle(post, now, state=PostState.FAILED, reason=reason)
        self.problems.append(
            DeliveryProblem(
                phrase="trouble.failed",
                chat=self.key,
                reason=reason,
                alert=post.message.alert_id,
            )
        )

    def _settle(self, post: Post, now: Ms, **changes: object) -> None:
        keep = self.policy.thread_over if post.thread else self.policy.over
        keep = self.policy.oldest if post.open else keep
        settled = self._put(post, kept_until=now + keep, **changes)
        if settled.state is not PostState.SENT:
            self._begin_later(self._put(settled, parts=()))
        else:
            self._forget_parts(settled)

    def _begin_later(self, post: Post) -> None:
        """``post`` was given up: what began in it begins in the next post of each episode."""
        for later in list(self.posts.values()):
            common = [of for of in later.episodes if of in post.episodes]
            if later.state in SETTLED or later.topic != post.topic or not common:
                continue
            changes: dict[str, object] = {}
            if later.openings:
                changes["openings"] = self._openings(later)
            begins = [of for of in common if self.opening(of, later.topic) is later]
            first = later.thread != "" and not self.heard(later.thread, later.topic, later.number)
            if (begins or first) and not later.close:
                changes["parts"] = as_openings(later.parts, begins, first=first)
            self._reworded(self._put(later, **changes))

    def _reworded(self, post: Post) -> Post:
        """``post`` with the message of its parts."""
        if self._perhaps_taken(post):
            return post
        if post.title:
            return self._put(post, message=rendered(post))
        if post.parts and isinstance(part := post.parts[0], Delivery):
            return self._put(post, message=delivery_message(part, LANGUAGES[post.language]))
        return post

    def _forget_parts(self, post: Post) -> None:
        """Once its text cannot change any more, it need not be rendered again."""
        if not post.open and (post.live == post.shown or post.message_id is None):
            self._put(post, parts=())

    def _put(self, post: Post, **changes: object) -> Post:
        live = self.posts.get(post.key, post)  # an edit may have been asked for meanwhile
        changed = replace(
            post,
            live=live.live,
            open=live.open,
            parts=live.parts,
            into=live.into,
            goes_on=live.goes_on,
            episodes=live.episodes,
            grown=live.grown,
            names=live.names,
            picture=live.picture,
        )
        changed = replace(changed, **changes)
        self.posts[post.key] = self.changed[post.key] = changed
        return changed

    def _drop(self, key: str) -> None:
        if self.posts.pop(key, None) is not None:
            self.changed[key] = None

    def count_request(self, now: Ms) -> None:
        """Something that is no post was sent to the chat: an answer, a check, a menu."""
        self._update(pace=pace.used(self.state.pace, now))

    def _update(self, **changes: object) -> None:
        self.state = replace(self.state, **changes)
        self.state_changed = True

    def recover(self) -> int:
        """After a start: posts that were under way are uncertain. How many these are."""
        lost = [post for post in self.posts.values() if post.state is PostState.SENDING]
        for post in lost:
            self._put(post, state=PostState.UNCERTAIN)
        return len(lost)

    def resting(self, now: Ms) -> Ms:
        """Until when nothing may be asked of the chat; ``now`` if it may."""
        return max(now, self.state.pace.until, self.state.off_until if self.state.off else now)

    # What is next.

    def next(self, now: Ms) -> QueueStep | Ms | None:
        """What to do now, or when to ask again; None: when something has been added."""
        self._merge()
        self._expire(now)
        if self.state.off and now < self.state.off_until:
            return self.state.off_until
        if self.state.flooded and self.state.pace.until <= now:
            self._update(flooded=False)
            self._collapse(urgent=False)
        step = self._first(now)
        if step is None:
            return self._next_picture_or_edit(now)
        urgent = not isinstance(step, SendStep) or step.urgent
        ready = pace.ready(self.state.pace, self.limits, now, urgent=urgent)
        if ready <= now:
            return step
        if isinstance(step, SendStep) and urgent and self.state.pace.until <= now:
            self._collapse(urgent=True)
        return ready

    def _first(self, now: Ms) -> QueueStep | None:
        for post in list(self.posts.values()):
            if post.state is PostState.UNCERTAIN and (probe := self._resolve(post, now)):
                return probe
        if self.state.suspects:
            if (suspected := self.posts.get(self.state.suspected)) is not None:
                return ProbeStep(suspected, self.state.suspects[0])
            self._update(suspects=())
        if self.state.duplicates:
            return DeleteStep(self.state.duplicates[0])
        waiting = self.waiting()
        if not waiting:
            return None
        urgent = _urgent(waiting)
        in_doubt = next((p for p in waiting if p.maybe_duplicate or p.resend), None)
        post = in_doubt or next((p for p in waiting if p.key in urgent), waiting[0])
        return SendStep(post, self._reply_to(post), post.key in urgent or post.maybe_duplicate)

    def _resolve(self, post: Post, now: Ms) -> ProbeStep | None:
        """How an uncertain post is looked for; None: it cannot be, so its state is decided here.

        The bot is the only one who posts, so it can only be the message after the last one.
        """
        last, policy = self.state.last_id, self.policy
        if self.state.probe and last is not None and post.probes < policy.probes:
            return ProbeStep(post, last + 1 + post.skipped)
        if post.copies:
            self._arrived(post, now)
            if len(post.copies) < post.attempts:  # one more may follow that nobody has seen
                self._update(last_id=None)
            return None
        if post.unread > len(policy.unread):
            reason = f"perhaps posted: {post.unread} answers could not be read"
            self._fail(post, reason, now)
            self._update(last_id=None)
            return None
        if policy.on_uncertain == "drop" or post.expires < now:
            self._fail(post, "perhaps posted, not sent again", now)
            self._update(last_id=None)
            return None
        self._put(post, state=PostState.RETRY, resend=True, maybe_duplicate=post.skipped == 0)
        return None

    def pictures_wanted(self, now: Ms) -> list[Post]:
        """The posts that a picture is to follow, ready or not."""
        if not takes_pictures(self.state.destination):
            return []
        numbered = isinstance(self.state.destination, TelegramChat)
        return [
            post
            for post in self.posts.values()
            if post.picture != "none"
            and post.state is PostState.SENT
            and (post.message_id is not None or not numbered)
            and (post.week or not (post.message.silent or post.close or post.goes_on))
            and now - post.at <= self.policy.pictured
        ]

    def _next_picture_or_edit(self, now: Ms) -> QueueStep | Ms | None:
        steps = [self._next_picture(now), self._next_edit(now)]
        times = [step for step in steps if isinstance(step, int)]
        at_once = [step for step in steps if step is not None and not isinstance(step, int)]
        return at_once[0] if at_once else min(times, default=None)

    def _next_picture(self, now: Ms) -> QueueStep | Ms | None:
        wanted = {post.key: post for post in self.pictures_wanted(now)}
        self.pictures = {key: ready for key, ready in self.pictures.items() if key in wanted}
        post = next((wanted[key] for key in self.pictures), None)
        if post is None:
            return None
        due = pace.ready(self.state.pace, self.limits, now, edit=True)
        if due > now:
            return due
        return PictureStep(post, post.message_id, self.pictures[post.key])

    def _next_edit(self, now: Ms) -> QueueStep | Ms | None:
        stale = [
            (max(post.edited_at + self._edit_wait(post, now), now), post)
            for post in self.posts.values()
            if post.state is PostState.SENT
            and post.live != post.shown
            and post.message_id is not None
            and post.thread
        ]
        if not stale:
            return None
        due, post = min(stale, key=lambda item: (item[0], item[1].edited_at, item[1].number))
        due = max(due, pace.ready(self.state.pace, self.limits, now, edit=True))
        if due > now or post.message_id is None:
            return due
        return EditStep(post, edited(post).html, post.message_id)

    def _edit_wait(self, post: Post, now: Ms) -> Ms:
        """How long after an edit the next one may follow: less if something has happened."""
        happened = post.live.partition(" ")[0] != post.shown.partition(" ")[0]
        slow = 0 if happened else int((now - post.at) * self.policy.edit_after)
        return max(self.policy.edit_every, slow)

    def _reply_to(self, post: Post) -> int | None:
        if len(post.openings) != 1:
            return None
        opening = self.posts.get(post.openings[0])
        return opening.message_id if opening else None

    def _expire(self, now: Ms) -> None:
        too_old = {"state": PostState.EXPIRED, "reason": "too old to be news"}
        for key in [post.key for post in self.waiting() if not post.close and post.expires < now]:
            self._settle(self.posts[key], now, **too_old)
            self._leave_out(self.posts[key])
        ends = [post for post in self.waiting() if post.close]
        lost = self._lost() if ends else set[tuple[str, int | None]]()
        for end in ends:
            if all((of, end.topic) in lost for of in end.episodes):
                reason = "its beginning was not told"
                self._settle(end, now, state=PostState.EXPIRED, reason=reason)
            elif end.expires < now:
                self._settle(end, now, **too_old)

    def _lost(self) -> set[tuple[str, int | None]]:
        """Episodes, each with a topic, for which ``lost`` is true."""
        given_up: dict[tuple[str, int | None], bool] = {}
        for post in self.posts.values():
            for of in post.episodes if not post.close else ():
                earlier = given_up.get((of, post.topic), True)
                given_up[of, post.topic] = earlier and post.state in GIVEN_UP
        return {of for of, lost in given_up.items() if lost}

    def _leave_out(self, post: Post) -> None:
        names = tuple(dict.fromkeys((*self.state.left_names, *post.names)))[:_NAMES]
        self._update(left=self.state.left + post.count, left_names=names)

    def _collapse(self, urgent: bool) -> None:
        """Put digests in the place of waiting posts, if too many of one lane wait."""
        lane, doubtful = _urgent(self.waiting()), self._perhaps_shown()
        posts = [
            p for p in self.waiting()
            if self._unsent(p) and (p.key in lane) is urgent
            and doubtful.isdisjoint((*p.episodes, p.thread))
        ]  # fmt: skip
        title, crowd = "collapsed", self.policy.crowded
        if urgent:
            title, crowd = "rush", self.policy.rush
        if len(posts) <= crowd:
            return
        for topic in dict.fromkeys((post.topic, post.language) for post in posts):
            group = [post for post in posts if (post.topic, post.language) == topic]
            self._replace(group, digests(group, title))

    def _perhaps_shown(self) -> set[str]:
        """The episodes and threads of posts that may have arrived: what else waits of them may have
        been shown with those, which is known once they are found or sent again."""
        posts = [
            p for p in self.posts.values()
            if p.state is PostState.UNCERTAIN
            or (p.state in WAITING and (p.resend or p.maybe_duplicate))
        ]  # fmt: skip
        return {name for p in posts for name in (*p.episodes, p.thread) if name}

    def _unsent(self, post: Post) -> bool:
        """Whether it waits, and has surely not arrived, so that another post may take its place.
        Who knows posts by their keys alone may have taken what was not confirmed."""
        tried = post.attempts > 0 and knows_keys(self.state.destination)
        return post.state in WAITING and not (post.resend or post.maybe_duplicate or tried)

    def _perhaps_taken(self, post: Post) -> bool:
        """Whether it may have been taken by somebody who will take no other text under its key: it
        is sent again as it was, so that what is new is told after it."""
        return post.resend and post.body != "" and knows_keys(self.state.destination)

    def _merge(self) -> None:
        """Make one post of those that wait of the same episodes, in the place of the first; drop
        what the last post before it has shown already."""
        waiting = {of for post in self.waiting() for of in (*post.episodes, post.thread)}
        last: dict[tuple[str, int | None, str], Post] = {}
        for post in list(self.posts.values()) if waiting else []:
            names = [post.thread] if post.thread else post.episodes
            keys = [(of, post.topic, post.language) for of in names if of in waiting]
            before = last.get(keys[0]) if keys else None
            if before is not None and all(last.get(key) is before for key in keys):
                post = self._merged_into(before, post) or post
            last |= dict.fromkeys(keys, post)

    def _merged_into(self, before: Post, post: Post) -> Post | None:
        """``before`` with ``post``, which needs no post of its own then; None if it does."""
        if not self._unsent(post):
            return None
        if self._unsent(before) and (both := _merged(before, post)) is not None:
            self._replace([before, post], [both])
            return both
        if _covered_by(before, post):
            self._drop(post.key)
            grown = _union((before.grown, post.grown))[-_GROWN:]
            return self._put(before, alerts=_union((before.alerts, post.alerts)), grown=grown)
        return None

    def _replace(self, group: Sequence[Post], instead: Sequence[Post]) -> None:
        for post in group:
            self._drop(post.key)
        for digest in instead:
            self.posts[digest.key] = self.changed[digest.key] = digest
        self.posts = dict(sorted(self.posts.items(), key=lambda item: item[1].number))
        for post in list(self.posts.values()):
            if any(key not in self.posts for key in post.openings):
                self._put(post, openings=self._openings(post))

    def _openings(self, post: Post) -> tuple[str, ...]:
        """The keys of the posts in which its episodes begin now."""
        openings = [self.opening(episode, post.topic) for episode in post.episodes]
        earlier = [
            opening.key
            for opening in openings
            if opening is not None and opening.number < post.number
        ]
        return tuple(dict.fromkeys(earlier))

    # What came of it.

    def begin(self, step: QueueStep, now: Ms) -> QueueStep:
        """``step`` is about to be made; a post gets the values of ``now``."""
        aside = isinstance(step, EditStep | PictureStep)
        self._update(pace=pace.used(self.state.pace, now, edit=aside))
        if isinstance(step, PictureStep):
            self.without_picture(step.post.key)
        if not isinstance(step, SendStep):
            return step
        if self._perhaps_taken(step.post):
            attempts = step.post.attempts + 1
            return replace(
                step, post=self._put(step.post, state=PostState.SENDING, attempts=attempts)
            )
        parts = as_it_is(with_present(step.post.parts, self.present), self.present)
        live = live_text(replace(step.post, parts=parts))
        lines = lines_below(step.post, self.state, self.policy.late, now)
        message = rendered(replace(step.post, parts=parts), lines)
        post = self._put(
            step.post,
            state=PostState.SENDING,
            attempts=step.post.attempts + 1,
            parts=parts,
            message=message if parts else step.post.message,
            body=message.html,
            values_at=values_at(parts),
            ages=ages(parts),
            live=live,
            shown=live,
            lines=lines,
            left=0 if step.post.close else self.state.left,
            probes=0,
            skipped=0,
            copies=(),
        )
        return replace(step, post=post)

    def sent(self, post: Post, message_id: int | None, now: Ms) -> None:
        """It arrived. If the numbers jump after a doubt, it may have arrived before as well: what
        lies between are its duplicates, or what somebody else has posted meanwhile."""
        last = self.state.last_id
        doubt = post.maybe_duplicate and self.state.probe
        if doubt and last is not None and message_id is not None:
            earlier = range(last + 1, message_id)
            if len(earlier) < post.attempts:
                self._update(suspects=tuple(earlier), suspected=post.key, undeleted=0)
        if message_id is not None:
            self._update(last_id=message_id)
        if (until := self.state.closed_topics.get(post.topic or 0)) is not None and until <= now:
            topics = {t: at for t, at in self.state.closed_topics.items() if t != post.topic}
            self._update(closed_topics=topics)  # it was sent there: the topic is open again
        self._settle(post, now, state=PostState.SENT, message_id=message_id, edited_at=now)
        self._point_to(post)
        if post.left:
            self._update(left=max(0, self.state.left - post.left), left_names=())
        self._forget_refusals()

    def without_picture(self, key: str) -> None:
        """No picture is to follow this post any more: one is being sent, or there is none."""
        self.pictures.pop(key, None)
        if (post := self.posts.get(key)) is not None:
            self._put(post, picture="none")

    def pictured(self, message_id: int | None) -> None:
        """A picture arrived as the message of that number; None: perhaps, and nobody knows which
        number the last message has."""
        self._update(last_id=message_id)

    def _point_to(self, post: Post) -> None:
        """Earlier posts of its thread, and of the coins that this has taken in, say that it goes on
        in ``post``."""
        for earlier in list(self.posts.values()) if post.thread else []:
            if earlier.goes_on or not _follows(earlier, post):
                continue
            goes_on = "next" if earlier.thread == post.thread else "market"
            changed = replace(earlier, goes_on=goes_on, open=())
            self._put(changed, goes_on=goes_on, open=(), live=live_text(changed))

    def _arrived_after(self, post: Post) -> bool:
        """Whether a post has arrived in which what ``post`` tells of goes on."""
        posts = [p for p in self.posts.values() if p.state is PostState.SENT]
        return any(_follows(post, later) for later in posts)

    def put_off(
        self,
        post: Post | None,
        now: Ms,
        until: Ms,
        flood: bool = False,
        in_doubt: bool = False,
    ) -> None:
        """The request may be made again from ``until`` on; it was surely not done unless it is
        ``in_doubt``."""
        if post is not None:
            self._put(post, state=PostState.RETRY, resend=post.resend or in_doubt)
        if flood:
            self._update(pace=pace.flooded(self.state.pace, now, until), flooded=True)
        else:
            self._update(pace=pace.paused(self.state.pace, until))

    def outcome_unknown(self, post: Post | None, now: Ms, answered: bool = False) -> None:
        """Nobody knows whether the request was done. ``post``: what was being sent; None: it was
        something that may be repeated. ``answered``: see ``OutcomeUnknown``."""
        if post is not None:
            self._put(post, state=PostState.UNCERTAIN, unread=post.unread + answered)
        first, longest = self.policy.backoff
        wait = min(longest, first * 2 ** min(self.state.unclear, _DOUBLINGS))
        if post is not None and answered and post.unread < len(self.policy.unread):
            wait = self.policy.unread[post.unread]
        self._update(
            unclear=self.state.unclear + 1,
            pace=pace.paused(self.state.pace, now + wait),
        )

    def refused_markup(self, post: Post, reason: str, now: Ms) -> None:
        """The text was refused: once more as plain text, then not at all."""
        if post.markup:
            self._put(post, state=PostState.RETRY, markup=False, reason=reason)
        else:
            self.refused(post, reason, now)

    def refused_edit_markup(self, step: EditStep) -> None:
        """The text of an edit, which may tell an end, was refused: once more as plain text."""
        self._put(self.posts[step.post.key], markup=False)

    def refused(self, post: Post, reason: str, now: Ms) -> None:
        """It will never be posted."""
        self._fail(post, reason, now)

    def topic(self, post: Post, now: Ms) -> int | None:
        """In which topic ``post`` is sent ``now``: "General" in place of one that takes nothing."""
        closed = post.topic is not None and now < self.state.closed_topics.get(post.topic, 0)
        return None if closed else post.topic

    def topic_refused(self, post: Post, reason: str, now: Ms) -> None:
        """The topic takes nothing: the post and those that follow go to "General" for a while."""
        closed = self.state.closed_topics
        self._put(post, state=PostState.RETRY)
        if post.topic is not None:
            if post.topic not in closed:
                self.problems.append(
                    DeliveryProblem(phrase="trouble.topic", chat=self.key, reason=reason)
                )
            self._update(closed_topics={**closed, post.topic: now + self.policy.off})

    def turned_off(self, post: Post | None, reason: str, now: Ms) -> None:
        """The chat does not let the bot post. What waits stays; later the next one is tried."""
        if post is not None and post.state is PostState.SENDING:
            self._put(post, state=PostState.RETRY)
        if not self.state.off:
            self.problems.append(
                DeliveryProblem(phrase="trouble.off", chat=self.key, reason=reason)
            )
        self._update(off=reason, off_until=now + self.policy.off)

    def try_again(self) -> None:
        """Somebody has changed something: a chat that is off is tried at once."""
        if self.state.off:
            self._update(off_until=0)

    def moved(self, post: Post | None, to: int, now: Ms) -> None:
        """The chat is now another one, where old message numbers mean nothing."""
        if post is not None:
            self._put(post, state=PostState.RETRY)
        if self.state.moved_to == to:
            return  # known already, from another answer or from the chat itself
        self.problems.append(DeliveryProblem(phrase="trouble.moved", chat=self.key, reason=str(to)))
        for old in list(self.posts.values()):
            if old.message_id is not None:
                gone = self._put(old, message_id=None)
                if gone.thread and gone.live != gone.shown:
                    self._post_untold(gone, now)
        self._update(moved_to=to, last_id=None, duplicates=(), suspects=())

    def probed(self, step: ProbeStep, answer: Edited, now: Ms) -> None:
        """Take what is at the number at which an uncertain post was looked for.

        A message of ours that had another text was a copy too, from an earlier try. A post
        that was tried more than once may be there more than once: the last copy is kept.
        """
        post = self.posts[step.post.key]
        if step.message_id in self.state.suspects:
            ours = answer in (Edited.SAME, Edited.CHANGED)
            self._clear_suspect(step.message_id, duplicate=ours)
        elif answer in (Edited.SAME, Edited.CHANGED):
            here = (*post.copies, step.message_id)
            post = self._put(post, copies=here, skipped=post.skipped + 1)
            if answer is Edited.SAME and post.attempts == 1 and len(here) == 1:
                self._arrived(post, now)
        elif post.copies:
            self._arrived(post, now)
        elif answer is Edited.GONE:
            self._put(post, state=PostState.RETRY, maybe_duplicate=post.skipped == 0)
            self._forget_refusals()
        else:
            self._put(post, probes=post.probes + 1, skipped=post.skipped + 1)

    def _arrived(self, post: Post, now: Ms) -> None:
        *earlier, last = post.copies
        self._update(duplicates=(*self.state.duplicates, *earlier))
        self.sent(replace(post, maybe_duplicate=False), last, now)

    def unprobed(self, step: ProbeStep, now: Ms) -> None:
        """It could not be looked for."""
        if step.message_id in self.state.suspects:
            self._update(undeleted=self.state.undeleted + 1)
            if self.state.undeleted >= self.policy.probes:
                self._clear_suspect(step.message_id, duplicate=False)
        else:
            post = self.posts[step.post.key]
            self._put(post, probes=post.probes + 1)
        self.outcome_unknown(None, now)

    def _clear_suspect(self, message_id: int, *, duplicate: bool) -> None:
        """It is known whose this message is, or nobody can say: then it stays."""
        suspects = tuple(number for number in self.state.suspects if number != message_id)
        here = (message_id,) if duplicate else ()
        self._update(suspects=suspects, duplicates=(*self.state.duplicates, *here), undeleted=0)

    def edited(self, step: EditStep, answer: Edited, now: Ms) -> None:
        """Take what came of an edit. A message that is gone is not edited again."""
        post = self.posts[step.post.key]
        lost = answer in (Edited.GONE, Edited.FOREIGN)
        number = None if lost else post.message_id
        post = self._put(post, shown=step.post.live, edited_at=now, message_id=number)
        if post.open and self._uneditable(post):
            self._post_again(post, now)
        else:
            self._forget_parts(post)
        self._forget_refusals()

    def deleted(self, message_id: int) -> None:
        """It is gone, or cannot be deleted."""
        duplicates = tuple(number for number in self.state.duplicates if number != message_id)
        self._update(duplicates=duplicates, undeleted=0)

    def undeleted(self, message_id: int, now: Ms) -> None:
        """It is unclear whether it was deleted; what waits behind it does not wait for ever."""
        self._update(undeleted=self.state.undeleted + 1)
        if self.state.undeleted >= self.policy.probes:
            self.deleted(message_id)
        self.outcome_unknown(None, now)

    def identified(self, title: str, probe: bool) -> None:
        """Take what the chat says of itself."""
        if (self.state.title, self.state.probe) != (title, probe):
            self._update(title=title, probe=probe)

    def _forget_refusals(self) -> None:
        """The chat takes requests: earlier refusals and unclear answers count no more."""
        if self.state.unclear or self.state.off:
            self._update(unclear=0, off="", off_until=0)


def _follows(post: Post, later: Post) -> bool:
    """Whether what ``post`` tells of goes on in ``later``: it is of the same thread, or of the
    market's that has taken that in."""
    if later.topic != post.topic or post.key == later.key:
        return False
    if later.thread == post.thread:
        return later.thread != "" and later.number > post.number
    return later.thread != "" and later.thread == post.into


def _urgent(waiting: Sequence[Post]) -> set[str]:
    """The critical lane: critical posts, and the earlier ones of their episodes."""
    keys: set[str] = set()
    episodes: set[str] = set()
    for post in reversed(waiting):
        if post.critical or not episodes.isdisjoint(post.episodes):
            keys.add(post.key)
            episodes.update(post.episodes)
    return keys
